"""Files from anywhere: read within bounds, shown in one line, written whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "naming",
    "open_regular",
    "parse_json",
    "printable",
    "read_json",
    "read_regular",
    "write_files",
]

LONGEST = 400  # characters of a message
LARGEST = 2**24  # bytes of a JSON text: 16 MB
DEEPEST = 64  # brackets inside of brackets
MOST = 2**20  # brackets in all: each takes far more memory than it has bytes
BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def printable(words: object, longest: int = LONGEST) -> str:
    r"""Return a text from a file in one line that is safe to print.

    What cannot be seen, such as line ends and the codes that steer a terminal, is
    written as Python writes it, ``\x1b``. Of a long text the middle is left out.
    """
    text = str(words)
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Let what is wrong with a file begin with its name, in one line.

    Raises:
        ValueError: for whatever Python raises where values of a file are of another
            kind than they must be.
    """
    try:
        yield
    except KeyError as error:
        raise ValueError(printable(f"{name} does not say its {error}")) from error
    except (AttributeError, OSError, OverflowError, TypeError, ValueError) as error:
        words = str(error)
        words = words.removeprefix(name) if words.startswith(name) else f": {words}"
        raise ValueError(f"{printable(name)}{printable(words)}") from error


def open_regular(path: str | Path) -> int:
    """Open a file for reading; return its number, as `os.open` does.

    Raises:
        OSError: if it cannot be opened, or is a folder, a pipe or a device: they have
            no end, or none that anybody knows.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | _no_wait())
    except ValueError as error:  # a name that no file can have
        raise OSError(f"{error}") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError("it is a folder, a pipe or a device, and must be a file")
    return number


def _no_wait() -> int:
    """Return the flag that lets a pipe without a writer be opened at once."""
    return getattr(os, "O_NONBLOCK", 0)


def read_json(path: str | Path, largest: int = LARGEST) -> object:
    """Return what a JSON file says; see `parse_json`.

    Raises:
        OSError: if it cannot be opened, or is no file.
        ValueError: as `parse_json` does.
    """
    return parse_json(read_regular(path, largest), largest)


def read_regular(path: str | Path, largest: int | None = None) -> bytes:
    """Return the bytes of a file that is one; see `open_regular`.

    Raises:
        OSError: if it cannot be opened, or is no file.
        ValueError: if it has more bytes than are allowed.
    """
    with open(open_regular(path), "rb") as file:
        data = file.read() if largest is None else file.read(largest + 1)
    if largest is not None and len(data) > largest:
        raise ValueError(f"path={str(path)!r} has more than {largest:,} bytes")
    return data


def parse_json(data: bytes | str, largest: int = LARGEST) -> object:
    """Return what a JSON text says, if it is small and flat enough to be read.

    Args:
        data: the text, or its bytes in utf-8.
        largest: bytes, or characters, that it may have.

    Raises:
        ValueError: for what is no JSON, is larger, nests its brackets deeper than 64,
            has more than a million of them, or says a name twice in one object.
    """
    if len(data) > largest:
        raise ValueError(f"it has more than {largest:,} bytes")
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    _require_flat(text)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error}") from None


def _require_flat(text: str) -> None:
    """Refuse brackets that nest too deeply, or are too many; strings do not count."""
    depth = n_brackets = 0
    for found in BRACKETS.finditer(text):
        sign = found[0][0]
        if sign in "[{":
            depth, n_brackets = depth + 1, n_brackets + 1
        elif sign in "]}":
            depth -= 1
        if depth > DEEPEST or n_brackets > MOST:
            most = f"{DEEPEST} deep" if depth > DEEPEST else f"{MOST:,} in all"
            raise ValueError(f"its brackets are too many to read: {most} are allowed")


def _unique(pairs: list[tuple[str, object]]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it says {printable(twice, 60)!r} twice")
    return values


def write_files(folder: Path, writers: dict[str, Callable[[Path], object]]) -> None:
    """Write files into a folder: all of them take their places, or none does.

    Args:
        folder: is made; removed again where writing fails.
        writers: by the name of each file, what writes it to the path that it is given.

    Raises:
        OSError: if one cannot be written. The files that were there are there still.
    """
    first, new = next(iter(writers)), _missing(folder)
    draft = folder / f"{first}.tmp"  # a folder: all in it may be thrown away
    whole = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove(draft)  # what a program that was killed has left
        draft.mkdir()
        for name, write in writers.items():
            write(draft / name)
            (draft / name).chmod(_mode_of_new(draft))
            with open(draft / name, "rb+") as file:
                os.fsync(file.fileno())
        _take_places(draft, folder, [*writers])
        whole = True
    except OSError as error:
        place = folder / first
        raise OSError(f"path={str(place)!r} cannot be written: {error}") from error
    finally:
        remove(draft)
        for made in [] if whole else new:
            with suppress(OSError):
                made.rmdir()


def remove(draft: Path) -> None:
    """Remove a draft, a folder or a file, if it is there and that is possible."""
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _missing(folder: Path) -> list[Path]:
    """Return a folder and those above it that are not there, the deepest first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def _mode_of_new(draft: Path) -> int:
    """Return the rights that this system gives to a new file: the umask's."""
    (draft / "new").touch()
    mode = (draft / "new").stat().st_mode & 0o777
    (draft / "new").unlink()
    return mode


def _take_places(draft: Path, folder: Path, names: list[str]) -> None:
    """Put the new files where they belong; put the old ones back if one fails."""
    (draft / "old").mkdir()
    for name in names[:-1]:  # after the last one nothing can fail
        if (folder / name).is_file():
            shutil.copy2(folder / name, draft / "old" / name)
    taken: list[str] = []
    try:
        for name in names:
            (draft / name).replace(folder / name)
            taken.append(name)
    except BaseException:
        for name in taken:
            old = draft / "old" / name
            if old.exists():
                os.replace(old, folder / name)
            else:
                (folder / name).unlink()
        raise
