"""What a training loop is wrapped in: its progress bar, and a check of its numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tqdm import tqdm

from lib import is_quiet
from lib.train.parallel import rank

__all__ = ["progress_bar", "require_finite"]


@contextmanager
def progress_bar(n_done: int, n_steps: int) -> Iterator[Callable[[float, int], None]]:
    """Show how far a training is, unless ``COURSE_QUIET`` is set.

    Gives a function to call after each step, with its loss and its number of tokens.
    """
    start, seen = time.perf_counter(), 0
    quiet = is_quiet() or rank() > 0  # of several processes one bar is enough
    bar = _Bar(total=n_steps, initial=n_done, disable=quiet, leave=False)
    try:

        def advance(loss: float, n_tokens: int) -> None:
            nonlocal seen
            seen += n_tokens
            speed = seen / (time.perf_counter() - start)
            words = f"loss {loss:.3f}, {speed:,.0f} tokens/s"
            bar.set_postfix_str(words, refresh=False)
            bar.update()

        yield advance
    finally:
        with suppress(OSError):
            bar.close()


class _Bar(tqdm):
    """A bar that ends, and not the training, when nobody sees it any more.

    An error on the way out of tqdm's own would leave its lock shut: the next bar of
    another thread would wait for ever.
    """

    def display(self, *args, **options) -> None:
        """Show it, or never again."""
        try:
            super().display(*args, **options)
        except OSError:
            self.disable = True


def require_finite(n_done: int, **values: float) -> None:
    """Stop a run that has lost its way before it saves or spoils anything.

    Raises:
        ValueError: if a value, given by name, is no finite number.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(
                f"{name.replace('_', ' ')}={value} after {n_done} updates must be "
                "finite: the training stops, and what was saved before stays; try a "
                "lower learning rate"
            )
