"""How a tokenizer is kept: as plain values, in a file of its own or in a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

__all__ = ["StoredTokenizer"]


class StoredTokenizer:
    """What all tokenizers share: a file. Each has its ``to_dict`` and ``from_dict``.

    Raises:
        ValueError: in `load` for a file that `save` did not write.
    """

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to a JSON file, whole or not at all."""
        half = Path(f"{path}.tmp")  # a crash while writing leaves the old file whole
        half.write_text(json.dumps(self.to_dict()), "utf-8")
        half.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a tokenizer that `save` wrote."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text("utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"path={str(path)!r} holds no saved tokenizer") from error
