"""The checks of the exercises in lesson 14, tokenization."""

from __future__ import annotations

import codecs
import math

import regex

from lib.checks import exercise, expect, hint_for, python_number, returned
from lib.text.bpe import split_words

__all__ = [
    "check_bits_per_byte",
    "check_longest_match",
    "check_split_digits",
    "check_decode_stream",
]


def _list_of(kind: type, answer: object, of_what: str) -> list:
    """Return the reader's list; `Mistake` where it or what is in it is another type."""
    given = returned(answer)
    expect(
        isinstance(given, list),
        f"Return a list of {of_what}; yours has the type {type(given).__name__}.",
    )
    for item in given:
        expect(
            type(item) is kind,
            f"Return a list of {of_what}; yours holds {item!r}, a "
            f"{type(item).__name__}.",
        )
    return given


def _with_unchanged(function, *given: list | bytes):
    """Call the reader's function on copies; `Mistake` where it changes one of them."""
    copies = [list(g) if isinstance(g, list) else g for g in given]
    answer = function(*copies)
    for before, after in zip(given, copies):
        expect(
            before == after,
            "Your function changes the list that it is given: the next caller needs it "
            "as it was. Work on a copy.",
        )
    return answer


@exercise
def check_bits_per_byte(bits_per_byte) -> str:
    """Takes a function of loss, n_tokens, text."""
    cases = [(4.0, 6, "déjà vu 😀"), (2.5, 3, "plain text")]
    cases += [(3.1, 40, "  \n两行\n "), (4.1, 9_000, "a whole page\n" * 900)]
    for loss, n_tokens, text in [*cases, (0.0, 2, "ab")]:
        given = python_number(bits_per_byte(loss, n_tokens, text))
        n_bytes, bit = len(text.encode("utf-8")), math.log(2)
        right = loss * n_tokens / n_bytes / bit
        expect(
            math.isclose(given, right, rel_tol=1e-6, abs_tol=1e-12),
            f"{loss} nats per token, {n_tokens} tokens, {n_bytes} bytes make "
            f"{right:.6f} bits per byte; you return {given:.6f}. "
            + _bits_hint(given, right, loss, n_tokens, text),
        )
    return "Now losses can be compared across tokenizers and languages."


def _bits_hint(
    given: float, right: float, loss: float, n_tokens: int, text: str
) -> str:
    data, bit = text.encode("utf-8"), math.log(2)
    total = loss * n_tokens / bit
    hints = {
        right * bit: "That is in nats: divide by ln 2.",
        right * bit * bit: "One bit is ln 2 nats, so fewer nats are more bits: "
        "divide by ln 2, do not multiply.",
        total / len(text): "That is per character; count the bytes of "
        "text.encode('utf-8').",
        total / len(str(data)): "You count the characters of str(bytes), with its b'' "
        "and \\x..: take len of the bytes themselves.",
        total / len(text.encode("utf-16")): "That is per byte of utf-16; take utf-8.",
        total / len(text.strip().encode()): "You leave out the white space at "
        "the ends: its bytes count.",
        total / len(set(data)): "You count each different byte once; count all.",
        loss * len(data) / n_tokens / bit: "The other way round: the total is loss "
        "times tokens, and the bytes share it.",
        loss / len(data) / bit: "The loss is per token: multiply by their number "
        "first.",
        total: "That is the total; divide it by the bytes.",
        loss / bit: "That is in bits per token.",
    }
    if text == text.strip():
        del hints[total / len(text.strip().encode())]
    nearly = math.isclose(given, right, rel_tol=0.02) or given == right // 1
    otherwise = "Nearly: do not round." if nearly else "Total nats, then bits."
    return hint_for(given, hints, otherwise)


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
    learnt = [b"ab", b"bc", b"abc", b"cd", b"bcde", b"\xc3\xa9", b"the\xff"]
    learnt += [b" abcdefgh", b"abcdefgh" * 5]
    alphabet = [bytes([byte]) for byte in range(256)]
    # In "abcd" the longest token of all comes first; in "bcde", "bcd" is no token.
    words = [b"abcd", b"abcde", b"bcabxcd", b"bcde", b"xbcde", "éab".encode(), b"z"]
    words += [b" abcdefghab", b"the\xff\xfe", b"the\xef", b"", b"abcdefgh" * 6, b"ABcd"]
    for word in words:
        # The order says nothing about the length: long tokens first, then last.
        for tokens in ([*alphabet, *learnt], [*reversed(learnt), *alphabet]):
            answer = returned(_with_unchanged(longest_match, word, tokens))
            right = _longest(word, tokens)
            expect(
                not isinstance(answer, list)
                or answer != [tokens[i] for i in right]
                or not word,
                "Those are the tokens; return their ids, their places in the list.",
            )
            given = _list_of(int, answer, "ids, which are ints")
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
    short = [token if len(token) <= 4 else b"" for token in tokens]
    if given == list(word) or given == _longest(word, tokens, min):
        return "You took the shortest; begin with the longest piece and shrink it."
    if given == _longest(word, short):
        return "You miss long tokens: try all ends, up to the end of the word."
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
    orders = [sorted(tokens), sorted(tokens, key=len), tokens[::-1]]
    orders.append(sorted(tokens, key=len, reverse=True))
    if given in [[order.index(tokens[i]) for i in right] for order in orders]:
        return "The id is the place in `tokens` as it was given, not in another order."
    if given == right[: len(given)]:
        return "Go on behind the token until the word is used up."
    known = [tokens[i] for i in given if 0 <= i < len(tokens)]
    if sum(map(len, known)) > len(word):
        return "After a token of n bytes, go on n bytes further, not one."
    return "At each place try the longest piece first, and look it up in `tokens`."


@exercise
def check_split_digits(split_digits) -> str:
    """Takes a function of text."""
    cases = {
        "1984": ["1", "9", "8", "4"],
        "to 42": ["to", " 4", "2"],
        "In 10 days, 3.5 or x86?\n": None,
        "they'll  pay\n\n $100   or 7½": None,
        "line 7\n12 Æsops, 3rd; ٣٤\t5's": None,
        "½¾ or 2²!": None,
        "三十 and a  42": None,
        "so... 5!\n\n7": ["so", "...", " 5", "!", "\n", "\n", "7"],
        "we've said I'm 3": None,
        "": [],
    }
    for text, right in cases.items():
        given = returned(split_digits(text))
        loose = isinstance(given, list) and any(isinstance(w, tuple) for w in given)
        expect(
            not loose,
            "Return a list of strings: a group in the pattern makes findall return it.",
        )
        given = _list_of(str, given, "strings")
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
        if regex.fullmatch(r" ?\p{N}+", word):
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
    if given == [part for w in split_words(text) for part in _threes(w)]:
        return "Groups of three digits are still one word: each digit stands alone."
    if given == loose:
        return "A space before a number stays with its first digit."
    if all(len(word) == 1 for word in given):
        return "Only digits stand alone; letters and signs are cut as before."
    return "Change nothing but the part of the pattern that takes digits."


def _threes(word: str) -> list[str]:
    """Cut a number into groups of three digits; leave other words."""
    digits, space = word.strip(), word[: len(word) - len(word.lstrip(" "))]
    if not digits.isnumeric():
        return [word]
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return [space + groups[0], *groups[1:]]


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
        [b"a" + emoji[:3], emoji[3:]],
        [b"a", b"", b"b"],
        [bytes([byte]) for byte in "né中😀".encode()],
        ["a\ufffd".encode(), b"b\xef\xbf", b"\xbd", b"c"],
        ["\ufeffa ".encode(), b"\r\n", b"\0b\n"],
        [b"x" + emoji, emoji[:3], emoji[3:] + emoji[:2], emoji[2:], "né".encode()],
        [],
    ]
    for tokens in cases:
        answer = _with_unchanged(decode_stream, tokens)
        given = _list_of(str, answer, "strings, one for each token")
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
    if "".join(given) == "".join(right).removeprefix("\ufeff") != "".join(right):
        return "The mark U+FEFF is a character of the text: plain utf-8 keeps it."
    if [text.strip() for text in given] == [text.strip() for text in right]:
        return "White space is text: show it as it is."
    if "\ufffd" in "".join(right):
        return "A \ufffd of the text itself is whole: do not hold it back or drop it."
    if len(given) != len(tokens):
        return f"{len(tokens)} tokens need {len(tokens)} strings; some may be empty."
    if "".join(given) == "".join(right):
        return "Show what is complete at once; only the unfinished character waits."
    return "Keep the bytes that were not shown, and put the next token behind them."
