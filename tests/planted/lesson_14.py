"""Wrong answers to the exercises of lesson 14, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_14.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import math

import regex

from lib.text.bpe import SPLIT, apply_merges, split_words


def bits(loss, n_tokens, text):
    return loss * n_tokens / math.log(2) / len(text.encode())


def longest(shortest: bool = False, one_byte: bool = False, once: bool = False):
    """The longest match with one mistake in it."""

    def match(word, tokens):
        ids, i = [], 0
        while i < len(word):
            ends = range(i + 1, len(word) + 1)
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


def earliest_token_first(word, tokens):
    pairs = [(a, b) for a in range(len(tokens)) for b in range(len(tokens))]
    spelt = {tokens[a] + tokens[b]: (a, b) for a, b in pairs}
    ranks = {spelt[token]: i for i, token in enumerate(tokens) if token in spelt}
    return apply_merges([tokens.index(bytes([byte])) for byte in word], ranks)


def without_digits(text):
    pattern = SPLIT.pattern.replace(r"| ?\p{N}+", r"|\p{N}")
    return regex.findall(pattern, text)


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
    ],
    "check_split_digits": [
        (split_words, "Numbers are still whole"),
        (without_digits, "stays with its first digit"),
        (only_digits_apart, "Change nothing but the part"),
        (list, "Only digits stand alone"),
        (lambda text: regex.findall(r"\p{L}+|\p{N}", text), "must be the whole text"),
        (lambda text: regex.findall(r"( ?)(\p{N})|.", text), "a group in the pattern"),
    ],
    "check_decode_stream": [
        (lambda tokens: [t.decode("utf-8", "replace") for t in tokens], "must wait"),
        (lambda tokens: [t.decode("utf-8", "ignore") for t in tokens], "are lost"),
        (from_the_start, "Each piece is what is new"),
        (lambda tokens: [b"".join(tokens).decode()], "some may be empty"),
        (rest_at_the_end, "Show what is complete at once"),
        (whole_token_waits, "only the unfinished character waits"),
        (no_mark_at_the_end, "of the text itself is whole"),
    ],
}
