"""What an exhibit of the bug museum is: faulty code, its mend, and what looks at it."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Exhibit", "Mutant", "near", "noise"]

Pairs = tuple[tuple[str, str], ...]


class Mutant(NamedTuple):
    """The same bug in the library: a text of a file, and what stands there instead.

    Attributes:
        file: its path in ``lib/``.
        text: stands there exactly once.
        replacement: is faulty.
    """

    file: str
    text: str
    replacement: str


@dataclass(frozen=True)
class Exhibit:
    """A bug that somebody had. `book/museum.yml` has its story.

    Attributes:
        slug: its name.
        bug: a function or class, in the style in which such code is written.
        check: takes a reader's version of it, raises `Mistake` while the bug shows, and
            returns one sentence when it does not.
        mend: pairs of a text of the faulty source and what must stand there.
        mutant: the same bug in the library.
        caught_by: the test that fails then, such as ``test_rl.py::test_x``.
    """

    slug: str
    bug: Callable
    check: Callable[[object], str]
    mend: Pairs
    mutant: Mutant
    caught_by: str

    @property
    def source(self) -> str:
        """The faulty code."""
        return textwrap.dedent(inspect.getsource(self.bug)).rstrip("\n")

    def changed(self, pairs: Pairs | None = None) -> str:
        """Return the code with some texts replaced; by default it is mended.

        Raises:
            ValueError: for a text that does not stand there exactly once.
        """
        source = self.source
        for found, replacement in self.mend if pairs is None else pairs:
            if (count := source.count(found)) != 1:
                raise ValueError(f"{self.slug}: {found!r} stands {count} times there")
            source = source.replace(found, replacement)
        return source

    def made_from(self, source: str) -> object:
        """Return the function or class that some source defines, as a reader's cell."""
        names = dict(vars(sys.modules[self.bug.__module__]))
        exec(compile(source, f"<{self.slug}>", "exec"), names)
        return names[self.bug.__name__]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers from N(0, 1), the same at each call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def near(a: Tensor, b: Tensor, distance: float = 1e-4) -> bool:
    """Return whether two tensors of one shape are equal but for rounding."""
    return bool(torch.isclose(a.double(), b.double(), rtol=1e-4, atol=distance).all())
