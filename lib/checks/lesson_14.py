"""The checks of the exercises in lesson 14, tokenization."""

from __future__ import annotations

import codecs
import math

from lib.checks import exercise, expect, hint_for, number, returned
from lib.text.bpe import split_words

__all__ = [
    "check_bits_per_byte",
    "check_longest_match",
    "check_split_digits",
    "check_decode_stream",
]


@exercise
def check_bits_per_byte(bits_per_byte) -> str:
    """Takes a function of loss, n_tokens, text."""
    for loss, n_tokens, text in ((4.0, 6, "déjà vu 😀"), (2.5, 3, "plain text")):
        given = number(bits_per_byte(loss, n_tokens, text))
        n_bytes, bit = len(text.encode("utf-8")), math.log(2)
        right = loss * n_tokens / n_bytes / bit
        hints = {
            right * bit: "That is in nats: divide by ln 2.",
            right * bit * bit: "One bit is ln 2 nats, so fewer nats are more bits: "
            "divide by ln 2, do not multiply.",
            loss * n_tokens / len(text) / bit: "That is per character; count the bytes "
            "of text.encode('utf-8').",
            loss * n_bytes / n_tokens / bit: "The other way round: the total is loss "
            "times tokens, and the bytes share it.",
            loss / n_bytes / bit: "The loss is per token: multiply by their number "
            "first.",
            loss * n_tokens / bit: "That is the total; divide it by the bytes.",
            loss / bit: "That is in bits per token.",
        }
        nearly = math.isclose(given, right, rel_tol=0.02)
        otherwise = "Nearly: do not round." if nearly else "Total nats, then bits."
        expect(
            math.isclose(given, right, rel_tol=1e-6),
            f"{loss} nats per token, {n_tokens} tokens, {n_bytes} bytes make "
            f"{right:.6f} bits per byte; you return {given:.6f}. "
            + hint_for(given, hints, otherwise),
        )
    return "Now losses can be compared across tokenizers and languages."


def _longest(word: bytes, tokens: list[bytes], pick=max) -> list[int]:
    """Take, place by place, the token that `pick` chooses by its length."""
    ids, i = [], 0
    while i < len(word):
        fitting = [token for token in tokens if word.startswith(token, i)]
        ids.append(tokens.index(pick(fitting, key=len)))
        i += len(tokens[ids[-1]])
    return ids


def _from_the_end(word: bytes, tokens: list[bytes]) -> list[int]:
    ids: list[int] = []
    while word:
        best = max((token for token in tokens if word.endswith(token)), key=len)
        ids.insert(0, tokens.index(best))
        word = word[: -len(best)]
    return ids


def _longest_anywhere(word: bytes, tokens: list[bytes]) -> list[int]:
    """Take the longest token of all that occurs, then cut what is left and right."""
    if not word:
        return []
    best = max((token for token in tokens if token in word), key=len)
    left, _, right = word.partition(best)
    middle = [tokens.index(best)]
    return _longest_anywhere(left, tokens) + middle + _longest_anywhere(right, tokens)


def _growing(word: bytes, tokens: list[bytes]) -> list[int]:
    """Let the piece grow only as long as it is a token."""
    ids, i = [], 0
    while i < len(word):
        end = i + 1
        while end < len(word) and word[i : end + 1] in tokens:
            end += 1
        ids.append(tokens.index(word[i:end]))
        i = end
    return ids


@exercise
def check_longest_match(longest_match) -> str:
    """Takes a function of word, tokens."""
    learnt = [b"ab", b"bc", b"abc", b"cd", b"bcde", b"\xc3\xa9"]
    alphabet = [bytes([byte]) for byte in range(256)]
    # In "abcd" the longest token of all comes first; in "bcde", "bcd" is no token.
    words = b"abcd", b"abcde", b"bcabxcd", b"bcde", b"xbcde", "éab".encode(), b"z", b""
    for word in words:
        # The order says nothing about the length: long tokens first, then last.
        for tokens in ([*alphabet, *learnt], [*reversed(learnt), *alphabet]):
            given = returned(longest_match(word, list(tokens)))
            given = [i if isinstance(i, bytes) else int(i) for i in given]
            right = _longest(word, tokens)
            expect(
                given == right,
                f"With the tokens {learnt} and the bytes, the word {word!r} becomes "
                f"{right}; you return {given}. "
                + _longest_hint(given, word, tokens, right),
            )
    return "It asks how long tokens are, never when they were merged."


def _longest_hint(
    given: list, word: bytes, tokens: list[bytes], right: list[int]
) -> str:
    if given == [tokens[i] for i in right]:
        return "Those are the tokens; return their ids, their places in the list."
    if given == list(word) or given == _longest(word, tokens, min):
        return "You took the shortest; begin with the longest piece and shrink it."
    if given == _growing(word, tokens):
        return "A longer token may fit although a shorter piece is none."
    if given == _longest_anywhere(word, tokens):
        return (
            "You began with the longest token anywhere in the word; begin at its left."
        )
    if given == _from_the_end(word, tokens):
        return (
            "Did you go from the end, or in the order of merges? Begin at the left, "
            "with the longest token that fits there."
        )
    if given == right[: len(given)]:
        return "Go on behind the token until the word is used up."
    if sum(len(tokens[i]) for i in given if isinstance(i, int)) > len(word):
        return "After a token of n bytes, go on n bytes further, not one."
    return "At each place try the longest piece first, and look it up in `tokens`."


@exercise
def check_split_digits(split_digits) -> str:
    """Takes a function of text."""
    cases = {
        "to 42": ["to", " 4", "2"],
        "1984": ["1", "9", "8", "4"],
        "In 10 days, 3.5 or x86?\n": None,
        "they'll  pay\n\n $100   or 7½": None,
    }
    for text, right in cases.items():
        given = list(returned(split_digits(text)))
        expect(
            all(isinstance(word, str) for word in given),
            "Return a list of strings: a group in the pattern makes findall return it.",
        )
        right = right or _split_after_digits(split_words(text))
        expect(
            given == right,
            f"{text!r} must become {right}; you return {given}. "
            + _digits_hint(text, given, right),
        )
    return "No token will ever hold two digits."


def _split_after_digits(words: list[str]) -> list[str]:
    cut: list[str] = []
    for word in words:
        if word.strip().isnumeric():
            first = len(word) - len(word.strip()) + 1
            cut += [word[:first], *word[first:]]
        else:
            cut.append(word)
    return cut


def _digits_hint(text: str, given: list[str], right: list[str]) -> str:
    if "".join(given) != text:
        return "The words together must be the whole text."
    if given == split_words(text):
        return (
            "Numbers are still whole: the `+` behind \\p{N} takes all digits at once."
        )
    loose = [part for w in right for part in ([" ", w[1:]] if _spaced(w) else [w])]
    if given == loose:
        return "A space before a number stays with its first digit."
    if all(len(word) == 1 for word in given):
        return "Only digits stand alone; letters and signs are cut as before."
    return "Change nothing but the part of the pattern that takes digits."


def _spaced(word: str) -> bool:
    return word[0] == " " and word[1:].isnumeric()


@exercise
def check_decode_stream(decode_stream) -> str:
    """Takes a function of tokens."""
    emoji = "😀".encode()
    cases = [
        [b"so", b" long"],
        [b"caf", b"\xc3", b"\xa9", b"!"],
        [b"a" + emoji[:1], emoji[1:3], emoji[3:] + b"b\xc3", b"\xa9"],
        [bytes([byte]) for byte in "né中😀".encode()],
        ["a\ufffd".encode(), b"b\xef\xbf", b"\xbd", b"c"],
        [],
    ]
    for tokens in cases:
        given = list(returned(decode_stream(list(tokens))))
        decoder = codecs.getincrementaldecoder("utf-8")()
        right = [decoder.decode(token) for token in tokens]
        expect(
            given == right,
            f"After the tokens {tokens} the pieces to show are {right}; you return "
            f"{given}. " + _stream_hint(tokens, given, right),
        )
    return "No half character is ever shown, and none is lost."


def _stream_hint(tokens: list[bytes], given: list[str], right: list[str]) -> str:
    joined = [b"".join(tokens[: k + 1]) for k in range(len(tokens))]
    if given == [token.decode("utf-8", "replace") for token in tokens]:
        return "A character that is not complete must wait, not become \ufffd."
    if given == [token.decode("utf-8", "ignore") for token in tokens]:
        return "The bytes of an unfinished character are lost; keep them for later."
    if given == [text.decode("utf-8", "ignore") for text in joined]:
        return "Each piece is what is new; you show the text from the start each time."
    if "\ufffd" in "".join(right):
        return "A \ufffd of the text itself is whole: do not hold it back or drop it."
    if len(given) != len(tokens):
        return f"{len(tokens)} tokens need {len(tokens)} strings; some may be empty."
    if "".join(given) == "".join(right):
        return "Show what is complete at once; only the unfinished character waits."
    return "Keep the bytes that were not shown, and put the next token behind them."
