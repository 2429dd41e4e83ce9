"""Keep the parts that you wrote: they are tested, stored, and used by the library.

For example::

    from lib.own import keep, use_own

    keep(LayerNorm, "norm.LayerNorm")  # your class, out of a cell or a script
    use_own()  # from here on, models are built with it

What is kept is a file in a folder, ``own/`` at the top of the course. `use_own` imports
it: use folders only whose code you would run yourself.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType, ModuleType

import torch

from lib import place_among_processes
from lib.own.alone import Elsewhere, stand_alone
from lib.own.folder import (
    default_folder,
    file_of,
    import_file,
    is_checked,
    kept_names,
    record,
    sha256,
    shown,
)
from lib.own.parts import PARTS, Part, find_part
from lib.own.swap import swap
from lib.own.tests.near import Wrong

__all__ = [
    "PARTS",
    "Refused",
    "for_command",
    "in_use",
    "keep",
    "use_library",
    "use_own",
]

EARLY = "lib.latent", "lib.models.gpt"  # they derive from parts, or list them
_used: dict[str, tuple[object, object, str]] = {}  # name -> library's, own, sha256


class Refused(ValueError):
    """Raised where a reader's own part is not what it should be.

    Attributes:
        part: its name.
        test: the name of the test that failed.
        words: what the test saw.
    """

    def __init__(self, part: str, test: str, words: str) -> None:
        self.part, self.test, self.words = part, test, words
        super().__init__(f"own code for {part} is refused by its test {test}: {words}")


def keep(
    thing: type | FunctionType,
    name: str,
    folder: str | Path | None = None,
    tell: Callable[[str], object] = print,
) -> Path:
    """Check a part that you wrote with the library's own tests; keep it if it is right.

    The file holds its code and the imports that it needs. The tests run on what has
    been imported from that file. A part that fails leaves no file, and one of the same
    name that was kept before stays.

    Args:
        thing: your class or function.
        name: which part it is, one of `PARTS`, such as ``norm.LayerNorm``.
        folder: where parts are kept; None for ``own`` at the top of the course.
        tell: gets a line that says where it is.

    Returns:
        The file.

    Raises:
        Refused: with the test that failed, and what it saw.
        ValueError: for a name that is no part.
    """
    part = find_part(name)
    try:
        text, taken = stand_alone(_as_definition(thing), name)
    except Elsewhere as error:
        raise Refused(name, "stands_alone", str(error)) from None
    path = file_of(default_folder() if folder is None else Path(folder), part)
    made = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".py.half")
    try:
        half.write_text(text, "utf-8")
        _checked(part, half)
        os.replace(half, path)
        record(path, part)
        made.clear()
    finally:
        half.unlink(missing_ok=True)
        for empty in made:
            empty.rmdir()
    tell(f"{name} passes its {len(part.tests)} tests and is kept in {shown(path)}")
    if taken:
        names = ", ".join(taken)
        tell(f"it takes {names} from the library, or from what you have kept")
    return path


def _as_definition(thing: object) -> type | FunctionType:
    """Refuse what has no code of its own, such as an object of a class."""
    if not isinstance(thing, type | FunctionType) or thing.__name__ == "<lambda>":
        kind = type(thing).__name__
        words = "give the class or the function itself, a def"
        raise Elsewhere(f"{words}; this is a {kind}")
    return thing


def _checked(part: Part, path: Path) -> tuple[ModuleType, object]:
    """Import a part from a file, and test it; return both, as the library can use it.

    Raises:
        Refused: with the test that failed, and what it saw.
    """
    test = "can_be_imported"
    try:
        module = import_file(path, part)
        test = "fits_the_library"
        own = part.adapt(part.name, getattr(module, part.short), _library(part))
        with torch.random.fork_rng(devices=[]):
            for check in part.tests:
                test = check.__name__
                torch.manual_seed(0)
                check(own)
    except Exception as error:  # the reader's code may raise anything
        words = _words(error, path, test)
        raise Refused(part.name, test, words) from None
    return module, own


def _words(error: Exception, path: Path, test: str) -> str:
    """Return what a test saw; where a reader's own code raised, also in which line."""
    if isinstance(error, Wrong) or test == "can_be_imported":
        return str(error)
    lines = [
        frame.line
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    where = f", in the line `{lines[-1]}`" if lines else ""
    return f"it raised {type(error).__name__}: {error}{where}"


def _library(part: Part) -> object:
    """Return the library's own part, also while another one is in use."""
    if part.name in _used:
        return _used[part.name][0]
    return getattr(part.module, part.short)


def use_own(
    folder: str | Path | None = None,
    names: Iterable[str] | None = None,
    tell: Callable[[str], object] = print,
) -> ExitStack:
    """Let the library work with the parts that you have kept.

    It imports the files of the folder: use only what you would run yourself. A file
    that has changed since it was checked is tested again. All names are replaced in the
    library, or none. Models that are there already, and names that a notebook has
    imported before, stay as they are: call it first. A model that asks for an option
    that your part does not know gets the library's part there, and a line says so.

    Args:
        folder: where the parts are; None for ``own`` at the top of the course.
        names: of the parts; None for all that are in the folder.
        tell: gets a line for each part.

    Returns:
        What may be left to itself, or used as ``with use_own(): ...``: then the library
        has its own parts back afterwards.

    Raises:
        Refused: for a part that has changed and is wrong now.
        ValueError: for a folder without parts, or without one of those that are asked
            for; or with a record of a part whose file is gone.
    """
    place = default_folder() if folder is None else Path(folder)
    kept, others = kept_names(place)
    wanted = kept if names is None else list(names)
    for name in wanted:
        find_part(name)
        if name not in kept:
            there = kept or "no part"
            raise ValueError(f"{shown(place)} has no {name}; it has {there}")
    if not wanted:
        call = "keep(YourClass, 'norm.LayerNorm')"
        raise ValueError(f"{shown(place)} has no part: {call}")
    use_library()
    chosen = {name: _opened(find_part(name), place, tell) for name in wanted}
    for file in others:
        tell(f"{shown(place / file)} is no part of the library: it is not read")
    for module in EARLY:
        importlib.import_module(module)
    swap([(theirs, own) for theirs, own, _ in chosen.values()])
    _used.update(chosen)
    for name, (_, own, _) in chosen.items():
        if isinstance(own, type):
            own._tell = tell
        tell(f"own code: {name} from {shown(file_of(place, PARTS[name]))}")
    stack = ExitStack()
    stack.callback(use_library)
    return stack


def _opened(
    part: Part, folder: Path, tell: Callable[[str], object]
) -> tuple[object, object, str]:
    """Return the library's part, the one in a folder, and the sha256 of its file."""
    path, library = file_of(folder, part), _library(part)
    if is_checked(path, part):
        module = import_file(path, part)
        own = part.adapt(part.name, getattr(module, part.short), library)
    else:
        module, own = _checked(part, path)
        record(path, part)
        n_tests = len(part.tests)
        tell(f"{shown(path)} is new or has changed: it passes its {n_tests} tests")
    sys.modules[module.__name__] = module  # so that what it imports is swapped, too
    return library, own, sha256(path)


def use_library() -> None:
    """Give the library its own parts back; models stay as they were built."""
    swap([(own, theirs) for theirs, own, _ in _used.values()])
    _used.clear()


def in_use() -> dict[str, str]:
    """Return which parts are a reader's own at present: name -> sha256 of the file."""
    return {name: code for name, (_, _, code) in _used.items()}


def for_command(folder: Path | None) -> ExitStack:
    """Do what ``--own`` of a command asks for; the first process says so on stderr.

    Args:
        folder: as for `use_own`; None where the option was not given.

    Returns:
        As `use_own` does, for the end of the command.
    """
    if folder is None:
        return ExitStack()
    if not folder.is_dir():
        raise ValueError(f"own={str(folder)!r} is no folder")
    is_first = (place_among_processes() or (0, 0))[0] == 0
    speak = functools.partial(print, file=sys.stderr, flush=True)
    return use_own(folder, tell=speak if is_first else lambda line: None)
