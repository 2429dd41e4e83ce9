"""Wrong answers to the exercises of lesson 14, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_14.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import codecs
import codecs
import math

import regex
import torch

from lib.text.bpe import SPLIT, apply_merges, split_words


def bits(loss, n_tokens, text):
    return loss * n_tokens / math.log(2) / len(text.encode())


def longest(
    shortest: bool = False, one_byte: bool = False, once: bool = False, most: int = 99
):
    """The longest match with one mistake in it."""

    def match(word, tokens):
        ids, i = [], 0
        while i < len(word):
            ends = range(i + 1, min(i + most, len(word)) + 1)
            ends = ends if shortest else reversed(ends)
            end = next(end for end in ends if word[i:end] in tokens)
            ids.append(tokens.index(word[i:end]))
            i = i + 1 if one_byte else end
            if once:
                break
        return ids

    return match


def from_the_end(word, tokens):
    ids = []
    while word:
        start = next(i for i in range(len(word)) if word[i:] in tokens)
        ids.insert(0, tokens.index(word[start:]))
        word = word[:start]
    return ids


def longest_anywhere(word, tokens):
    for length in range(len(word), 0, -1):
        for i in range(len(word) - length + 1):
            if word[i : i + length] in tokens:
                left = longest_anywhere(word[:i], tokens)
                right = longest_anywhere(word[i + length :], tokens)
                return [*left, tokens.index(word[i : i + length]), *right]
    return []


def grow_while_a_token(word, tokens):
    ids, piece = [], b""
    for byte in word:
        if piece + bytes([byte]) not in tokens:
            ids.append(tokens.index(piece))
            piece = b""
        piece += bytes([byte])
    return [*ids, tokens.index(piece)] if piece else ids


def sorts_in_place(word, tokens):
    places = {token: i for i, token in enumerate(tokens)}
    tokens.sort(key=len, reverse=True)
    return [places[tokens[i]] for i in longest()(word, tokens)]


def places_in_another_order(word, tokens):
    return longest()(word, sorted(tokens, key=len, reverse=True))


def letters_of_text(word, tokens):
    texts = [token.decode("utf-8", "replace") for token in tokens]
    return longest()(word.decode("utf-8", "replace"), texts)


def sorts_in_place(word, tokens):
    places = {token: i for i, token in enumerate(tokens)}
    tokens.sort(key=len, reverse=True)
    return [places[tokens[i]] for i in longest()(word, tokens)]


def places_in_another_order(word, tokens):
    return longest()(word, sorted(tokens, key=len, reverse=True))


def letters_of_text(word, tokens):
    texts = [token.decode("utf-8", "replace") for token in tokens]
    return longest()(word.decode("utf-8", "replace"), texts)


def earliest_token_first(word, tokens):
    pairs = [(a, b) for a in range(len(tokens)) for b in range(len(tokens))]
    spelt = {tokens[a] + tokens[b]: (a, b) for a, b in pairs}
    ranks = {spelt[token]: i for i, token in enumerate(tokens) if token in spelt}
    return apply_merges([tokens.index(bytes([byte])) for byte in word], ranks)


def without_digits(text):
    pattern = SPLIT.pattern.replace(r"| ?\p{N}+", r"|\p{N}")
    return regex.findall(pattern, text)


def digits_of_ascii(text):
    return regex.findall(SPLIT.pattern.replace(r"\p{N}+", "[0-9]"), text)


def in_threes(text):
    return regex.findall(SPLIT.pattern.replace(r"\p{N}+", r"\p{N}{1,3}"), text)


def spaces_too(text):
    words = split_words(text)
    apart = lambda w: list(w) if w.strip().isnumeric() else [w]
    return [part for w in words for part in apart(w)]


def no_white_space(text):
    words = regex.findall(SPLIT.pattern.replace(r"\p{N}+", r"\p{N}"), text)
    return [word.strip() for word in words if word.strip()]


def digits_of_ascii(text):
    return regex.findall(SPLIT.pattern.replace(r"\p{N}+", "[0-9]"), text)


def in_threes(text):
    return regex.findall(SPLIT.pattern.replace(r"\p{N}+", r"\p{N}{1,3}"), text)


def spaces_too(text):
    words = split_words(text)
    apart = lambda w: list(w) if w.strip().isnumeric() else [w]
    return [part for w in words for part in apart(w)]


def no_white_space(text):
    words = regex.findall(SPLIT.pattern.replace(r"\p{N}+", r"\p{N}"), text)
    return [word.strip() for word in words if word.strip()]


def only_digits_apart(text):
    return regex.findall(r"\d|\D+", text)


def rest_at_the_end(tokens):
    shown = [""] * len(tokens)
    if tokens:
        shown[-1] = b"".join(tokens).decode()
    return shown


def from_the_start(tokens):
    data = [b"".join(tokens[: k + 1]) for k in range(len(tokens))]
    return [text.decode("utf-8", "ignore") for text in data]


def whole_token_waits(tokens):
    shown, kept = [], b""
    for token in tokens:
        kept += token
        try:
            shown.append(kept.decode())
            kept = b""
        except UnicodeDecodeError:
            shown.append("")
    return shown


def no_mark_at_the_end(tokens):
    data = [b"".join(tokens[: k + 1]) for k in range(len(tokens))]
    texts = ["", *(text.decode(errors="replace").rstrip("\ufffd") for text in data)]
    return [text[len(before) :] for before, text in zip(texts, texts[1:])]


def takes_them_out(tokens):
    shown, kept = [], b""
    while tokens:
        kept += tokens.pop(0)
        text = kept.decode("utf-8", "ignore")
        shown.append(text)
        kept = kept[len(text.encode()) :]
    return shown


def with_a_signature(tokens):
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    return [decoder.decode(token) for token in tokens]


def without_white_space(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(token).strip() for token in tokens]


def waits_for_ascii(tokens):
    shown, kept = [], b""
    for token in tokens:
        kept += token
        whole = kept[-1] < 128
        shown.append(kept.decode() if whole else "")
        kept = b"" if whole else kept
    return shown


def only_what_is_not_empty(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [text for token in tokens if (text := decoder.decode(token))]


def takes_them_out(tokens):
    shown, kept = [], b""
    while tokens:
        kept += tokens.pop(0)
        text = kept.decode("utf-8", "ignore")
        shown.append(text)
        kept = kept[len(text.encode()) :]
    return shown


def with_a_signature(tokens):
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    return [decoder.decode(token) for token in tokens]


def without_white_space(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(token).strip() for token in tokens]


def waits_for_ascii(tokens):
    shown, kept = [], b""
    for token in tokens:
        kept += token
        whole = kept[-1] < 128
        shown.append(kept.decode() if whole else "")
        kept = b"" if whole else kept
    return shown


def only_what_is_not_empty(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [text for token in tokens if (text := decoder.decode(token))]


WRONG = {
    "check_bits_per_byte": [
        (lambda loss, n, text: bits(loss, n, text) * math.log(2), "That is in nats"),
        (lambda loss, n, text: bits(loss, n, text) * math.log(2) ** 2, "do not multip"),
        (lambda loss, n, text: loss * n / len(text) / math.log(2), "per character"),
        (
            lambda loss, n, text: loss * len(text.encode()) / n / math.log(2),
            "The other way round",
        ),
        (lambda loss, n, text: bits(loss, 1, text), "multiply by their number"),
        (lambda loss, n, text: loss * n / math.log(2), "That is the total"),
        (lambda loss, n, text: round(bits(loss, n, text), 4), "do not round"),
        (lambda loss, n, text: round(bits(loss, n, text), 1), "do not round"),
        (
            lambda loss, n, text: loss * n / math.log(2) / len(str(text.encode())),
            "the characters of str(bytes)",
        ),
        (
            lambda loss, n, text: loss * n / math.log(2) / len(text.encode("utf-16")),
            "take utf-8",
        ),
        (lambda loss, n, text: bits(loss, n, text.strip()), "its bytes count"),
        (
            lambda loss, n, text: loss * n / math.log(2) / len(set(text.encode())),
            "each different byte once",
        ),
        (lambda loss, n, text: loss / math.log(2), "in bits per token"),
        (lambda loss, n, text: bits(loss, n, text) // 1, "do not round"),
        (lambda loss, n, text: torch.tensor(bits(loss, n, text)), ".item() makes"),
        (lambda loss, n, text: f"{bits(loss, n, text)}", "must be a number"),
        (
            lambda loss, n, text: loss * n / math.log(2) / len(str(text.encode())),
            "the characters of str(bytes)",
        ),
        (
            lambda loss, n, text: loss * n / math.log(2) / len(text.encode("utf-16")),
            "take utf-8",
        ),
        (lambda loss, n, text: bits(loss, n, text.strip()), "its bytes count"),
        (
            lambda loss, n, text: loss * n / math.log(2) / len(set(text.encode())),
            "each different byte once",
        ),
        (lambda loss, n, text: loss / math.log(2), "in bits per token"),
        (lambda loss, n, text: bits(loss, n, text) // 1, "do not round"),
        (lambda loss, n, text: torch.tensor(bits(loss, n, text)), ".item() makes"),
        (lambda loss, n, text: f"{bits(loss, n, text)}", "must be a number"),
        (lambda loss, n, text: None, "is a `return` missing"),
    ],
    "check_longest_match": [
        (longest(shortest=True), "You took the shortest"),
        (longest(one_byte=True), "go on n bytes further"),
        (longest(once=True), "until the word is used up"),
        (from_the_end, "Did you go from the end"),
        (longest_anywhere, "the longest token anywhere in the word"),
        (grow_while_a_token, "although a shorter piece is none"),
        (earliest_token_first, "or in the order of merges"),
        (
            lambda word, tokens: [tokens[i] for i in longest()(word, tokens)],
            "return their ids",
        ),
        (longest(most=4), "You miss long tokens"),
        (sorts_in_place, "changes the list"),
        (places_in_another_order, "as it was given"),
        (letters_of_text, "look it up in `tokens`"),
        (lambda word, tokens: tuple(longest()(word, tokens)), "has the type tuple"),
        (lambda word, tokens: torch.tensor(longest()(word, tokens)), "type Tensor"),
        (
            lambda word, tokens: [str(i) for i in longest()(word, tokens)],
            "yours holds '258', a str",
        ),
        (longest(most=4), "You miss long tokens"),
        (sorts_in_place, "changes the list"),
        (places_in_another_order, "as it was given"),
        (letters_of_text, "look it up in `tokens`"),
        (lambda word, tokens: tuple(longest()(word, tokens)), "has the type tuple"),
        (lambda word, tokens: torch.tensor(longest()(word, tokens)), "type Tensor"),
        (
            lambda word, tokens: [str(i) for i in longest()(word, tokens)],
            "yours holds '258', a str",
        ),
    ],
    "check_split_digits": [
        (split_words, "Numbers are still whole"),
        (without_digits, "stays with its first digit"),
        (only_digits_apart, "Change nothing but the part"),
        (list, "Only digits stand alone"),
        (lambda text: regex.findall(r"\p{L}+|\p{N}", text), "must be the whole text"),
        (lambda text: regex.findall(r"( ?)(\p{N})|.", text), "a group in the pattern"),
        (digits_of_ascii, "must be the whole text"),
        (in_threes, "Groups of three digits"),
        (spaces_too, "stays with its first digit"),
        (no_white_space, "must be the whole text"),
        (lambda text: " ".join(split_words(text)), "has the type str"),
        (lambda text: tuple(split_words(text)), "has the type tuple"),
        (digits_of_ascii, "must be the whole text"),
        (in_threes, "Groups of three digits"),
        (spaces_too, "stays with its first digit"),
        (no_white_space, "must be the whole text"),
        (lambda text: " ".join(split_words(text)), "has the type str"),
        (lambda text: tuple(split_words(text)), "has the type tuple"),
    ],
    "check_decode_stream": [
        (lambda tokens: [t.decode("utf-8", "replace") for t in tokens], "must wait"),
        (lambda tokens: [t.decode("utf-8", "ignore") for t in tokens], "are lost"),
        (from_the_start, "Each piece is what is new"),
        (lambda tokens: [b"".join(tokens).decode()], "some may be empty"),
        (rest_at_the_end, "Show what is complete at once"),
        (whole_token_waits, "only the unfinished character waits"),
        (no_mark_at_the_end, "of the text itself is whole"),
        (takes_them_out, "changes the list"),
        (with_a_signature, "The mark U+FEFF"),
        (without_white_space, "White space is text"),
        (waits_for_ascii, "only the unfinished character waits"),
        (only_what_is_not_empty, "some may be empty"),
        (lambda tokens: b"".join(tokens).decode(), "has the type str"),
        (takes_them_out, "changes the list"),
        (with_a_signature, "The mark U+FEFF"),
        (without_white_space, "White space is text"),
        (waits_for_ascii, "only the unfinished character waits"),
        (only_what_is_not_empty, "some may be empty"),
        (lambda tokens: b"".join(tokens).decode(), "has the type str"),
    ],
}
