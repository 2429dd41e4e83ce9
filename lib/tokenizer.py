"""Text to integers and back, one token per character."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self

__all__ = ["CharTokenizer"]


class CharTokenizer:
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

    def save(self, path: str | Path) -> None:
        """Write the vocabulary to a JSON file."""
        half = Path(f"{path}.tmp")  # a crash while writing leaves the old file whole
        half.write_text(json.dumps({"characters": self.characters}), "utf-8")
        half.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a vocabulary that `save` wrote."""
        try:
            return cls("".join(json.loads(Path(path).read_text("utf-8"))["characters"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"path={str(path)!r} holds no saved vocabulary") from error
