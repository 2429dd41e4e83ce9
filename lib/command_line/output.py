"""What the commands say: in one line, once, and to nobody if nobody reads it."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from datetime import timedelta

from torch import distributed

from lib import meeting_place

__all__ = [
    "CLOSED_PIPE",
    "first_to_say",
    "one_line",
    "replace_bad_input",
    "throw_away_output",
]

CLOSED_PIPE = 141  # what a shell says of a program that a closed pipe has ended
LONGEST = 600  # characters of a message
PATIENCE = timedelta(seconds=5)


def one_line(message: str) -> str:
    """Return a message as one line in which no character moves the cursor.

    What came from a file or a command line may hold such characters: they are written
    as Python writes them. The middle of a very long message is left out.
    """
    shown = []
    for character in " ".join(message.splitlines()):
        plain = character.isprintable()
        shown.append(character if plain else repr(character)[1:-1])
    text = "".join(shown)
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} ... {text[-half:]}"


def replace_bad_input() -> None:
    """Read what is no text as question marks, instead of ending there."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def throw_away_output() -> None:
    """Let nobody complain at the end of what could not be written."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            with suppress(OSError, ValueError, AttributeError):
                if stream.fileno() == number:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def first_to_say(message: str) -> bool:
    """Return whether no other process of ``torchrun`` has said this before."""
    place = meeting_place()
    if place is None:
        return True
    try:
        store = distributed.TCPStore(*place, is_master=False, timeout=PATIENCE)
        return store.add(f"lib: {message}", 1) == 1
    except (RuntimeError, TypeError, ValueError):  # nobody is there to ask
        return True
