"""One writer in a folder: a lock of the system, which ends with its process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.train.parallel import any_process, rank
from lib.train.tensor_file import checkpoint_path

__all__ = ["one_writer"]

LOCK_FILE = ".lock"  # on Windows, where a folder itself cannot be locked


class _Taken(Exception):
    """Another process writes here."""


@contextmanager
def one_writer(out: str | Path) -> Iterator[None]:
    """Let nobody else write into the folder of a checkpoint meanwhile.

    The folder is made, and removed again where nothing has come into it. Of several
    processes of one run the first one does this for all of them.

    Raises:
        ValueError: if another program writes there.
        OSError: if the folder cannot be made.
    """
    folder, made, lock, problem = checkpoint_path(out).parent, [], None, None
    if rank() == 0:
        try:
            made = _make(folder)
            lock = _take(folder)
        except _Taken:
            problem = ValueError(f"{folder} is being written by another program")
        except OSError as error:
            problem = OSError(f"path={str(out)!r} cannot be written: {error}")
    try:
        if any_process(problem is not None):
            raise problem or SystemExit(1)  # the first process says it
        yield
    finally:
        if lock is not None:
            os.close(lock)
        for each in made:
            with suppress(OSError):  # there is something in it
                each.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; return which are new, the innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{str(folder)!r} is not yours to write in")
    except OSError:
        for each in missing:
            with suppress(OSError):
                each.rmdir()
        raise
    return missing


def _take(folder: Path) -> int | None:
    """Lock a folder; return what to close in the end, None where no lock is known."""
    if sys.platform == "win32":
        return _take_file(folder / LOCK_FILE)
    import fcntl

    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(place)
        raise _Taken from None
    except OSError:  # a file system without locks: go on as if alone
        os.close(place)
        return None
    return place


def _take_file(path: Path) -> int:
    """Lock a file that the system removes when its process ends, however it ends."""
    import msvcrt

    try:
        place = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TEMPORARY)
    except PermissionError:  # it is open elsewhere
        raise _Taken from None
    try:
        msvcrt.locking(place, msvcrt.LK_NBLCK, 1)
    except OSError:
        os.close(place)
        raise _Taken from None
    return place
