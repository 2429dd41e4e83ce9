"""How a tokenizer is kept: as plain values, in a file of its own or in a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from lib.text.files import naming, read_json, write_files

__all__ = ["StoredTokenizer", "require_texts"]


class StoredTokenizer:
    """What all tokenizers share: a file. Each has its ``to_dict`` and ``from_dict``.

    Raises:
        OSError: in `save` if the file cannot be written, and in `load` if there is
            none.
        ValueError: in `load` for a file that `save` did not write.
    """

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to a JSON file, whole or not at all."""
        path, text = Path(path), json.dumps(self.to_dict())
        write_files(path.parent, {path.name: lambda p: p.write_text(text, "utf-8")})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a tokenizer that `save` wrote."""
        try:
            values = read_json(path)
            if not isinstance(values, dict):
                raise TypeError("it must hold an object in braces")
            return cls.from_dict(values)
        except (ValueError, KeyError, TypeError) as error:
            with naming(f"path={str(path)!r}"):
                raise ValueError(f"holds no saved tokenizer: {error}") from error


def require_texts(name: str, values: object) -> list[str]:
    """Return values from a file, if they are a list of texts.

    Raises:
        ValueError: if they are not.
    """
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise ValueError(f"{name} must be a list of texts")
    return values
