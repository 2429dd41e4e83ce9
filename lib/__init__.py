"""The small library that the lessons build and share.

Each file is one idea, and imports only from the rows above its own:

    stopping                               Ctrl-C, for commands
    shapes, device, module, command_line   guards; machine; quick calls; commands
    attention, flash, latent, position,    the parts: each file one box of the paper
    norm, ffn, moe, embedding, block
    own/          parts that a reader has written: tested, kept, and used
    text/         from a file to batches of tokens
    tasks/        made-up data with held-out splits
    models/       the parts put together; ``python -m lib.models`` lists them
    evaluate/     how good a model is, and where it looks
    train/        the training loop; ``python -m lib.train``
    generate/     writing with a model; ``python -m lib.generate``
    translate/    ``python -m lib.translate``
    tune/         a trained model learns to do what is asked; ``python -m lib.tune``
    show/         pictures and tables of the lessons
    checks/       what looks at a reader's exercises

Each public name says in its docstring which lesson builds it in front of the reader.
The environment variables that the library reads are read here and nowhere else.
"""

import gc
import io
import os
import sys
from pathlib import Path

from lib import stopping

__all__ = [
    "data_folder",
    "is_offline",
    "is_quiet",
    "is_strict",
    "meeting_place",
    "place_among_processes",
    "rungs_file",
    "stay_offline",
]

TOLD = "told"  # value of COURSE_OFFLINE once a reader knows that there is no download

STRICT = ("strict", "surrogateescape")  # these end at a character that is not there

if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in STRICT:
    # Where output goes to a narrow code page, as into a file on Windows, a character
    # that it lacks is shown as a question mark; it does not end the program.
    sys.stdout.reconfigure(errors="replace")
if sys.argv[:1] == ["-m"]:  # a command starts: its module is still looked for
    gc.disable()  # nothing that loads is garbage; `run_command` switches it on again
    stopping.before_the_start(speaks=os.environ.get("RANK", "0") == "0")


def data_folder() -> str | None:
    """Return the folder that holds the reader's own data: ``COURSE_DATA``."""
    return os.environ.get("COURSE_DATA") or None


def is_offline() -> bool:
    """Return whether nothing may be fetched: ``COURSE_OFFLINE`` is set, not to 0."""
    return os.environ.get("COURSE_OFFLINE", "0") not in ("", "0")


def stay_offline() -> bool:
    """Give up downloads, in our child processes too; return whether that is new."""
    new = os.environ.get("COURSE_OFFLINE") != TOLD
    os.environ["COURSE_OFFLINE"] = TOLD
    return new


def is_quiet() -> bool:
    """Return whether progress bars are off: ``COURSE_QUIET``, or nowhere to show."""
    return "COURSE_QUIET" in os.environ or sys.stderr is None


def is_strict() -> bool:
    """Return whether a claim that does not hold is an error: ``COURSE_STRICT``."""
    return bool(os.environ.get("COURSE_STRICT"))


def rungs_file() -> Path | None:
    """Return where a notebook that is built records its results: ``COURSE_RUNGS``."""
    name = os.environ.get("COURSE_RUNGS")
    return Path(name) if name else None


def place_among_processes() -> tuple[int, int] | None:
    """Return this process's number in all, and on its machine, as torchrun sets them.

    They are its variables ``RANK`` and ``LOCAL_RANK``; None without torchrun.
    """
    if "RANK" not in os.environ:
        return None
    rank, local = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK"))
    if not (rank.isdecimal() and local.isdecimal()):
        given = f"RANK={rank!r} and LOCAL_RANK={local!r}"
        raise ValueError(f"{given} must be numbers, as torchrun sets them")
    return int(rank), int(local)


def meeting_place() -> tuple[str, int] | None:
    """Return host and port where the processes of torchrun meet; None without it.

    They are its variables ``MASTER_ADDR`` and ``MASTER_PORT``.
    """
    port = os.environ.get("MASTER_PORT", "")
    if "RANK" not in os.environ or not (port.isdecimal() and int(port) < 2**16):
        return None
    return os.environ.get("MASTER_ADDR", "localhost"), int(port)
