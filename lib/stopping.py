"""Ctrl-C, and the other wishes of a terminal or a system that a program stops.

A notebook keeps its own way to stop; all of this is for commands, from the first moment
of ``python -m lib.train`` on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = [
    "at_once",
    "before_the_start",
    "finish_first",
    "first_wish",
    "interrupts",
    "let_go",
    "stop_if_wished",
    "wait_for_me",
]

# Ctrl-C; what ends a job; a terminal that is closed; Ctrl-Break on Windows.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
ONE_WISH = 3.0  # seconds: a key that is pressed again within them says nothing new

Handler = Callable[[int, FrameType | None], None]


class _Wishes:
    """The first wish since a command has begun, and when the program last heeded it."""

    number: int | None = None
    since: float = 0.0
    own_program = False  # whether nothing else runs here, as in a notebook or a test

    def is_new(self, number: int) -> bool:
        """Note a wish; return whether it is the first, or comes late after it."""
        now = time.monotonic()
        new = self.number is None or now - self.since > ONE_WISH
        if self.number is None:
            self.number, self.since = number, now
        return new


_wishes = _Wishes()


def first_wish() -> int | None:
    """Return the number of the signal that asked to stop; None while none has."""
    return _wishes.number


def stop_if_wished() -> None:
    """Raise KeyboardInterrupt if one was raised before and somebody swallowed it."""
    if _wishes.number is not None:
        raise KeyboardInterrupt


def before_the_start(speaks: bool = True) -> None:
    """Let a signal end the program at once while its modules are being imported.

    Nothing is lost then. An exception would be swallowed by one import, or shown by
    another one in many lines.
    """

    def leave(number: int, _: FrameType | None) -> None:
        _leave(number, b"stopped before it began\n" if speaks else b"")

    _wishes.own_program = True
    for number in SIGNALS:
        if _is_wanted(number):
            signal.signal(number, leave)


@contextmanager
def interrupts() -> Iterator[None]:
    """While a command runs, let every such signal be a KeyboardInterrupt, once.

    What comes soon after says nothing new; what comes late ends a program that hangs.
    """
    _wishes.number = None
    with _handled(_interrupt):
        yield


@contextmanager
def wait_for_me() -> Iterator[Callable[[], bool]]:
    """Give what says whether to stop; meanwhile nothing interrupts the work.

    A second wish is a KeyboardInterrupt after all: at once in a notebook, and where it
    comes late in a command, whose keys are often pressed twice.
    """
    asked = threading.Event()

    def ask(number: int, _: FrameType | None) -> None:
        new = _wishes.is_new(number)
        if asked.is_set() and (new or not in_command):
            raise KeyboardInterrupt
        asked.set()

    in_command = signal.getsignal(signal.SIGINT) is _interrupt
    if not in_command:
        _wishes.number = None
    elif _wishes.number is not None:
        asked.set()  # somebody has swallowed it
    with _handled(ask, SIGNALS if in_command else [signal.SIGINT]):
        yield asked.is_set


@contextmanager
def finish_first() -> Iterator[None]:
    """Let no signal interrupt what is under way; afterwards it is heeded."""
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number in SIGNALS if callable(before[number])]
    with _handled(lambda number, _: heard.append(number), taken):
        yield
    _wishes.since = time.monotonic()
    for number in heard[:1]:
        before[number](number, None)


@contextmanager
def at_once() -> Iterator[None]:
    """Let a signal end the program as the system does it, also in a call that waits."""
    with _handled(signal.SIG_DFL):
        yield


def let_go(status: int) -> None:
    """When all is done, let a signal end what is left of the program with a status."""
    if _wishes.own_program:
        for number in SIGNALS:
            if _is_wanted(number):
                signal.signal(number, lambda *_: os._exit(status))


def _interrupt(number: int, _: FrameType | None) -> None:
    """Be a KeyboardInterrupt the first time, and the end of a program that hangs."""
    first = _wishes.number is None
    if not _wishes.is_new(number):
        return
    if first:
        raise KeyboardInterrupt
    _leave(number, b"stopped\n")


def _leave(number: int, words: bytes) -> None:
    """End the program without a look back."""
    try:
        os.write(2, words)
    finally:
        os._exit(128 + number)


def _is_wanted(number: int) -> bool:
    """Return whether a signal is to be heard: `nohup` says that SIGHUP is not."""
    return number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN


@contextmanager
def _handled(handler: Handler | int, numbers: list[int] = SIGNALS) -> Iterator[None]:
    """Handle signals in one way, then as before; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, handler) for n in numbers if _is_wanted(n)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
