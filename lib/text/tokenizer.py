"""Text to integers and back, one token per character or per word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor

from lib.text.stored import StoredTokenizer, require_texts

__all__ = ["CharTokenizer", "WordTokenizer", "pad_batch"]

SPECIAL_WORDS = ["<pad>", "<bos>", "<eos>"]  # ids 0, 1, 2: filling, start, end


class CharTokenizer(StoredTokenizer):
    """Give each distinct character of a text its own id, in sorted order.

    Args:
        text: the text whose characters become the vocabulary.

    Attributes:
        characters: the vocabulary; ``characters[i]`` is the character with id ``i``.
        ids: the id of each character.

    Raises:
        ValueError: for an empty text; in `encode` for a character outside the
            vocabulary (named with its position); in `decode` for an id outside
            ``0 .. vocab_size - 1``; in `load` for a file that `save` did not write.

    Home lesson: 01_text_and_tokens
    """

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError(
                "text='' has no characters; a vocabulary needs one or more"
            )
        self.characters = sorted(set(text))
        self.ids = {character: i for i, character in enumerate(self.characters)}

    @property
    def vocab_size(self) -> int:
        """The number of distinct characters."""
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Return one id per character of ``text``."""
        for position, character in enumerate(text):
            if character not in self.ids:
                raise ValueError(
                    f"text[{position}]={character!r} is not in the vocabulary of "
                    f"{self.vocab_size} characters"
                )
        return [self.ids[character] for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that ``ids`` (integers or a 1-d tensor) stand for."""
        ids = [int(i) for i in ids]
        for position, i in enumerate(ids):
            if not 0 <= i < self.vocab_size:
                raise ValueError(
                    f"ids[{position}]={i} is outside 0 .. {self.vocab_size - 1}"
                )
        return "".join(self.characters[i] for i in ids)

    def to_dict(self) -> dict:
        """Return the vocabulary as plain values."""
        return {"characters": self.characters}

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Return the tokenizer that `to_dict` described."""
        characters = require_texts("characters", values["characters"])
        tokenizer = cls("".join(characters))
        if tokenizer.characters != characters:
            raise ValueError("characters must be different, in order, and one each")
        return tokenizer


class WordTokenizer(StoredTokenizer):
    """Give each distinct word of some sentences its own id, in sorted order.

    Ids 0, 1 and 2 are ``<pad>``, ``<bos>`` and ``<eos>``: filling, start and end.

    Args:
        sentences: words with spaces between them.

    Attributes:
        words: the vocabulary; ``words[i]`` is the word with id ``i``.
        ids: the id of each word.

    Raises:
        ValueError: for no words at all, or a special word inside a sentence; in
            `encode` for a word outside the vocabulary (named with its place); in
            `decode` for an id outside ``0 .. vocab_size - 1``.

    Home lesson: 16_translation
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        words = {word for sentence in sentences for word in sentence.split()}
        if not words:
            raise ValueError("sentences have no words; a vocabulary needs one or more")
        if words & set(SPECIAL_WORDS):
            raise ValueError(f"sentences must not contain {' '.join(SPECIAL_WORDS)}")
        self.words = SPECIAL_WORDS + sorted(words)
        self.ids = {word: i for i, word in enumerate(self.words)}

    @property
    def vocab_size(self) -> int:
        """The number of distinct words, with the three special ones."""
        return len(self.words)

    def encode(self, sentence: str) -> list[int]:
        """Return one id per word of a sentence."""
        for place, word in enumerate(sentence.split(), start=1):
            if word not in self.ids:
                raise ValueError(
                    f"word {place}, {word!r}, is not in the vocabulary of "
                    f"{self.vocab_size} words"
                )
        return [self.ids[word] for word in sentence.split()]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words up to the first ``<eos>``, without special ones."""
        words = []
        for place, i in enumerate(int(i) for i in ids):
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"ids[{place}]={i} must be 0 .. {self.vocab_size - 1}")
            if self.words[i] == "<eos>":
                break
            if self.words[i] not in SPECIAL_WORDS:
                words.append(self.words[i])
        return " ".join(words)

    def to_dict(self) -> dict:
        """Return the vocabulary as plain values."""
        return {"words": self.words}

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Return the tokenizer that `to_dict` described."""
        words = require_texts("words", values["words"])
        tokenizer = cls(words[len(SPECIAL_WORDS) :])
        if tokenizer.words != words:
            raise ValueError(f"words must be {SPECIAL_WORDS}, and others in order")
        return tokenizer


def pad_batch(rows: Sequence[Sequence[int]], pad_id: int = 0) -> Tensor:
    """Fill rows of ids up to the length of the longest.

    Args:
        rows: B lists of ids.
        pad_id: what they are filled up with, at their ends.

    Returns:
        Ids ``(B, T)``.

    Raises:
        ValueError: if there are no rows.

    Home lesson: 15_encoder_decoder
    """
    if not rows:
        raise ValueError("rows=[] is empty; a batch needs one row or more")
    batch = torch.full((len(rows), max(map(len, rows))), pad_id)
    for filled, row in zip(batch, rows):
        filled[: len(row)] = torch.tensor(row, dtype=torch.long)
    return batch
