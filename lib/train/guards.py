"""What a training loop is wrapped in: its progress bar, Ctrl-C, and the first check."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from lib import is_quiet
from lib.train.parallel import rank

__all__ = ["interrupt_between_steps", "progress_bar", "require_finite"]


@contextmanager
def progress_bar(n_done: int, n_steps: int) -> Iterator[Callable[[float, int], None]]:
    """Show how far a training is, unless ``COURSE_QUIET`` is set.

    Gives a function to call after each step, with its loss and its number of tokens.
    """
    start, seen = time.perf_counter(), 0
    quiet = is_quiet() or rank() > 0  # of several processes one bar is enough
    with tqdm(total=n_steps, initial=n_done, disable=quiet, leave=False) as bar:

        def advance(loss: float, n_tokens: int) -> None:
            nonlocal seen
            seen += n_tokens
            speed = seen / (time.perf_counter() - start)
            words = f"loss {loss:.3f}, {speed:,.0f} tokens/s"
            bar.set_postfix_str(words, refresh=False)
            bar.update()

        yield advance


@contextmanager
def interrupt_between_steps() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of a step; a second one stops at once."""
    asked = threading.Event()

    def ask(*_) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


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
