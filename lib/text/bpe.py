"""Byte pair encoding: tokens longer than a character, learnt from a text."""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import regex

from lib.text.files import printable, read_regular
from lib.text.stored import StoredTokenizer

__all__ = [
    "split_words",
    "merge_pair",
    "Chain",
    "PairTable",
    "learn_merges",
    "apply_merges",
    "gpt2_bytes",
    "read_gpt2_merges",
    "ByteBPE",
    "BPETokenizer",
]

Pair = tuple[int, int]

SPLIT = regex.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
LARGEST = 2**24  # bytes of all tokens together: merges can double 40 times over
KNOWN_WORDS = 65_536  # as many encoded words does a tokenizer remember


def split_words(text: str) -> list[str]:
    """Cut a text into the words that no token reaches across, as GPT-2 does.

    A word is letters, digits or signs with at most one space before them, an English
    ending such as ``'ll``, or white space. Together the words are the text.

    Source: Radford et al. (2019), section 2.2; the pattern is in GPT-2's own code.

    Home lesson: 14_tokenization
    """
    return SPLIT.findall(text)


def merge_pair(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Replace a pair of neighbours by one id, wherever it stands, from left to right.

    ``new_id`` must be an id that ``ids`` does not hold.

    Source: Gage (1994), where one unused byte takes the place of two.

    Home lesson: 14_tokenization
    """
    merged: list[int] = []
    for i in ids:
        if merged and (merged[-1], i) == pair:
            merged[-1] = new_id
        else:
            merged.append(i)
    return merged


class Chain:
    """Ids in a row, in which two neighbours become one without moving the others.

    Args:
        ids: the ids; -1 stands at the end of each word.

    Attributes:
        ids: None where an id was joined to the one before it.
        before: the place of the id before each.
        after: the place of the id after each; after the last comes the first.

    Home lesson: 14_tokenization
    """

    def __init__(self, ids: Iterable[int]) -> None:
        self.ids: list[int | None] = list(ids)
        n = len(self.ids)
        self.before, self.after = [*range(-1, n - 1)], [*range(1, n), 0]

    def pair(self, place: int) -> Pair:
        """Return the id at a place and the id after it."""
        return self.ids[place], self.ids[self.after[place]]

    def join(self, place: int, new_id: int) -> None:
        """Put one id where a pair stands."""
        gone = self.after[place]
        self.ids[place], self.ids[gone] = new_id, None
        self.after[place] = self.after[gone]
        self.before[self.after[gone]] = place


class PairTable:
    """How often each pair of neighbours occurs in words, and where.

    Args:
        words: each different word and how often it occurs.

    Attributes:
        chain: all words, one after the other.
        counts: how often each pair occurs.
        places: where each pair begins, or once began.

    Home lesson: 14_tokenization
    """

    def __init__(self, words: Mapping[str, int]) -> None:
        spelt = [[*word.encode("utf-8"), -1] for word in words]
        self.chain = Chain(i for word in spelt for i in word)
        times = zip(map(len, spelt), words.values())
        self.times = [n for length, n in times for _ in range(length)]
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, set[int]] = defaultdict(set)
        for place in range(len(self.times)):
            self._count(place, 1, self.counts)

    def _count(self, place: int, sign: int, counts: dict[Pair, int]) -> None:
        pair = self.chain.pair(place)
        if -1 not in pair:
            counts[pair] += sign * self.times[place]
            self.places[pair].add(place)

    def merge(self, pair: Pair, new_id: int) -> list[Pair]:
        """Merge a pair in all words and return the pairs whose count has changed."""
        chain, change = self.chain, defaultdict(int)
        for place in sorted(self.places[pair]):
            if chain.pair(place) != pair:
                continue  # an earlier merge has taken one of the two
            for near in (chain.before[place], place, chain.after[place]):
                self._count(near, -1, change)
            chain.join(place, new_id)
            for near in (chain.before[place], place):
                self._count(near, 1, change)
        for other in change:
            self.counts[other] += change[other]
        return [other for other in change if change[other]]


def learn_merges(words: Mapping[str, int], n_merges: int) -> list[Pair]:
    """Merge the most frequent pair of neighbours again and again; return the pairs.

    The first merge makes token 256, the next 257; the tokens 0 to 255 are the bytes. Of
    equally frequent pairs the one with the smaller ids comes first.

    Args:
        words: each different word and how often it occurs.
        n_merges: how many merges to learn; fewer if no pair occurs twice any more.

    Source: Gage (1994); Sennrich et al. (2016), section 3.2.

    Home lesson: 14_tokenization
    """
    table = PairTable(words)
    queue = [(-count, pair) for pair, count in table.counts.items()]
    heapq.heapify(queue)  # the smallest comes out first: the largest count
    merges: list[Pair] = []
    while queue and len(merges) < n_merges:
        count, pair = heapq.heappop(queue)
        if -count == table.counts[pair] > 1:  # otherwise it is rare, or out of date
            for other in table.merge(pair, 256 + len(merges)):
                heapq.heappush(queue, (-table.counts[other], other))
            merges.append(pair)
    return merges


def apply_merges(ids: list[int], ranks: Mapping[Pair, int]) -> list[int]:
    """Merge neighbours of one word in the order in which the merges were learnt.

    ``ranks`` says which id a pair becomes; a smaller id was learnt earlier.

    Source: Sennrich et al. (2016), section 3.2.

    Home lesson: 14_tokenization
    """
    chain = Chain([*ids, -1])
    queue = [(ranks[p], i) for i, p in enumerate(zip(ids, ids[1:])) if p in ranks]
    heapq.heapify(queue)
    while queue:
        new_id, place = heapq.heappop(queue)
        if ranks.get(chain.pair(place)) == new_id:  # otherwise it is out of date
            chain.join(place, new_id)
            for near in (chain.before[place], place):
                if (pair := chain.pair(near)) in ranks:
                    heapq.heappush(queue, (ranks[pair], near))
    return [i for i in chain.ids[:-1] if i is not None]


def gpt2_bytes() -> dict[str, int]:
    """Return the character that GPT-2 writes for each byte, in the order of its ids.

    Bytes that can be seen come first and stand for themselves; each of the others gets
    a character from 256 on, so that ``Ġ`` is the space.

    Source: Radford et al. (2019), the function ``bytes_to_unicode`` of their code.

    Home lesson: 14_tokenization
    """
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = sorted(set(range(256)) - set(seen))
    return {chr(b): b for b in seen} | {chr(256 + i): b for i, b in enumerate(unseen)}


def read_gpt2_merges(path: str | Path) -> list[Pair]:
    """Read merges from a file in GPT-2's format: a line ``Ġ t`` merges `` `` and ``t``.

    Raises:
        ValueError: for a line that does not join two tokens of the lines above.

    Home lesson: 14_tokenization
    """
    text = read_regular(path, LARGEST).decode("utf-8")
    lines = text.removesuffix("\n").split("\n")
    ids = {character: i for i, character in enumerate(gpt2_bytes())}
    merges, start = [], int(lines[0].startswith("#version"))
    for number, line in enumerate(lines[start:], start + 1):
        parts = line.split(" ")
        if len(parts) != 2 or not ids.keys() >= set(parts):
            raise ValueError(
                f"path={str(path)!r}, line {number}: {_short(line)} must be two tokens "
                "with a space between, each a byte or made by a line above"
            )
        merges.append((ids[parts[0]], ids[parts[1]]))
        ids["".join(parts)] = len(ids)
    return merges


class ByteBPE:
    """Any bytes to ids and back: the tokens are the 256 bytes and one for each merge.

    Args:
        merges: pairs of ids as `learn_merges` returns them.
        alphabet: the 256 bytes in the order of their ids.

    Attributes:
        tokens: ``tokens[i]`` are the bytes of token ``i``.

    Raises:
        ValueError: for a merge of tokens that do not exist, or an alphabet that is not
            the 256 bytes; in `decode_bytes` for an id outside ``0 .. vocab_size - 1``.

    Source: Sennrich et al. (2016), section 3.2; Radford et al. (2019), section 2.2.

    Home lesson: 14_tokenization
    """

    def __init__(
        self, merges: Iterable[Pair], alphabet: Iterable[int] = range(256)
    ) -> None:
        self.merges, self.alphabet = [tuple(pair) for pair in merges], list(alphabet)
        _check_merges(self.merges, self.alphabet)
        self.tokens = [bytes([byte]) for byte in self.alphabet]
        for first, second in self.merges:
            self.tokens.append(self.tokens[first] + self.tokens[second])
        self._ids = {byte: i for i, byte in enumerate(self.alphabet)}
        self._ranks = {pair: 256 + k for k, pair in enumerate(self.merges)}
        self._known: dict[str, list[int]] = {}  # words that were encoded before

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    def encode_bytes(self, data: bytes) -> list[int]:
        """Return the ids of any bytes; those that are not utf-8 keep their own."""
        ids: list[int] = []
        for word in split_words(data.decode("utf-8", "surrogateescape")):
            ids += self._known.get(word) or self._encode_word(word)
        return ids

    def _encode_word(self, word: str) -> list[int]:
        data = word.encode("utf-8", "surrogateescape")
        ids = apply_merges([self._ids[byte] for byte in data], self._ranks)
        if len(self._known) < KNOWN_WORDS:
            self._known[word] = ids
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that ``ids`` (integers or a 1-d tensor) stand for."""
        ids = [int(i) for i in ids]
        for position, i in enumerate(ids):
            if not 0 <= i < self.vocab_size:
                last = self.vocab_size - 1
                raise ValueError(f"ids[{position}]={i} is outside 0 .. {last}")
        return b"".join(self.tokens[i] for i in ids)

    def token_bytes(self, i: int) -> bytes:
        """Return the bytes of one token."""
        return self.decode_bytes([i])


class BPETokenizer(ByteBPE, StoredTokenizer):
    """Text to ids and back, with tokens learnt from a text, and special tokens.

    Args:
        merges: as in `ByteBPE`, and so is ``alphabet``.
        special_tokens: marks such as ``"<|endoftext|>"``; their ids come last. The
            attribute of this name is a dictionary with the id of each.

    Raises:
        TypeError: for a text, or special tokens, of another type.
        ValueError: for a special token that is empty or there twice; in `train` for an
            empty text or a vocabulary that is too small; in `encode` for half of a
            surrogate pair; in `load` for a file that `save` did not write.

    Source: Radford et al. (2019), section 2.2.

    Home lesson: 14_tokenization
    """

    def __init__(
        self,
        merges: Iterable[Pair],
        special_tokens: Iterable[str] = (),
        alphabet: Iterable[int] = range(256),
    ) -> None:
        super().__init__(merges, alphabet)
        self.special_tokens = _number_special(special_tokens, len(self.tokens))
        self.tokens += [mark.encode("utf-8") for mark in self.special_tokens]

    @classmethod
    def train(
        cls, text: str, vocab_size: int, special_tokens: Sequence[str] = ()
    ) -> Self:
        """Learn from a text, but not from the special tokens in it.

        It stops early where no pair occurs twice any more.
        """
        words, n_merges = _plan(text, vocab_size, special_tokens)
        return cls(learn_merges(words, n_merges), special_tokens)

    @classmethod
    def from_gpt2(cls, merges_path: str | Path) -> Self:
        """Read GPT-2's own ``merges.txt``, for the same 50,257 ids."""
        merges = read_gpt2_merges(merges_path)
        return cls(merges, ["<|endoftext|>"], gpt2_bytes().values())

    def encode(self, text: str, allowed_special: bool = False) -> list[int]:
        """Return the ids of a text; a special token in it is text unless allowed."""
        marks = self.special_tokens if allowed_special else {}
        ids: list[int] = []
        for part in _cut_at(marks, text):
            ids += [marks[part]] if part in marks else self.encode_bytes(part.encode())
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``; what is no utf-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def to_dict(self) -> dict:
        """Return merges, special tokens and alphabet as plain values."""
        values = {"merges": self.merges, "alphabet": self.alphabet}
        return values | {"special_tokens": list(self.special_tokens)}

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Return the tokenizer that `to_dict` described."""
        if any([*map(type, pair)] != [int, int] for pair in values["merges"]):
            raise ValueError("merges must be pairs of integers")
        if any(type(byte) is not int for byte in values.get("alphabet", ())):
            raise ValueError("alphabet must hold integers")
        return cls(**values)


def _check_merges(merges: list[Pair], alphabet: list[int]) -> None:
    if sorted(alphabet) != list(range(256)):
        raise ValueError("alphabet must hold each of the bytes 0 .. 255 once")
    lengths, n_bytes = [1] * 256, 256
    for k, (first, second) in enumerate(merges):
        if not (0 <= first < 256 + k and 0 <= second < 256 + k):
            allowed = f"must join two of the tokens 0 .. {255 + k}"
            raise ValueError(f"merges[{k}]={(first, second)} {allowed}")
        lengths.append(lengths[first] + lengths[second])
        n_bytes += lengths[-1]
        if n_bytes > LARGEST:
            raise ValueError(f"merges[{k}] makes all tokens longer than {LARGEST:,}")


def _number_special(special_tokens: Iterable[str], start: int) -> dict[str, int]:
    marks = list(special_tokens)
    if isinstance(special_tokens, str) or not all(isinstance(m, str) for m in marks):
        raise TypeError(f"special_tokens={special_tokens!r} must be a list of strings")
    if "" in marks or len(set(marks)) < len(marks):
        raise ValueError(f"special_tokens={marks} must be different and not empty")
    return {mark: start + k for k, mark in enumerate(marks)}


def _plan(text: str, vocab_size: int, marks: Sequence[str]) -> tuple[Counter, int]:
    """Return the words between the marks, and how many merges to learn from them."""
    numbered = _number_special(marks, 256)
    least = 256 + len(numbered)
    _check_text(text)
    if not text:
        raise ValueError("text='' has no pairs to learn from")
    if vocab_size < least:
        needed = f"256 bytes and {least - 256} special tokens need {least}"
        raise ValueError(f"vocab_size={vocab_size} is too small: {needed}")
    words: Counter[str] = Counter()
    for part in _cut_at(numbered, text):
        words.update([] if part in numbered else split_words(part))
    return words, vocab_size - least


def _cut_at(marks: Mapping[str, int], text: str) -> list[str]:
    """Cut a text into marks and what stands between; the longest mark wins."""
    _check_text(text)
    longest_first = sorted(marks, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return re.split(f"({pattern})", text) if marks else [text]


def _short(line: str) -> str:
    """Return a line of a file as a message shows it."""
    return printable(repr(line), 120)


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text has the type {type(text).__name__}; it must be str")
