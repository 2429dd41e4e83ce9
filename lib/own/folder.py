"""The folder of a reader's own parts: a file for each, and a record of its check."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

from lib.own.parts import PARTS, Part

__all__ = [
    "default_folder",
    "file_of",
    "import_file",
    "is_checked",
    "kept_names",
    "record",
    "shown",
]

ROOT = Path(__file__).resolve().parents[2]


def default_folder() -> Path:
    """Return the folder ``own`` at the top of the course."""
    return ROOT / "own"


def file_of(folder: Path, part: Part) -> Path:
    """Return where a part is kept: ``norm_LayerNorm.py``."""
    return folder / f"{part.name.replace('.', '_')}.py"


def shown(path: Path) -> str:
    """Return a path as one would type it here."""
    for near in (Path.cwd(), ROOT):
        if path.resolve().is_relative_to(near):
            return path.resolve().relative_to(near).as_posix()
    return str(path)


def import_file(path: Path, part: Part) -> ModuleType:
    """Run a file that defines a part, and return the module.

    Raises:
        ValueError: if it cannot be run, or does not define the part.
    """
    module = ModuleType(f"own_{part.name.replace('.', '_')}")
    module.__file__ = str(path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # as a dataclass expects while it is made
    try:
        code = compile(path.read_text("utf-8"), str(path), "exec")
        exec(code, module.__dict__)
        if not hasattr(module, part.short):
            raise ValueError(f"it does not define {part.short}")
    except Exception as error:  # the reader's code may raise anything
        words = f"{type(error).__name__}: {error}"
        raise ValueError(f"{shown(path)} cannot be imported: {words}") from error
    finally:
        sys.modules.pop(module.__name__)
        if before is not None:
            sys.modules[module.__name__] = before
    return module


def record(path: Path, part: Part) -> None:
    """Write down that a file has passed the tests of its part, whole or not at all."""
    words = {"part": part.name, "sha256": sha256(path), "tests": _names(part)}
    half = path.with_suffix(".json.half")
    half.write_text(json.dumps(words, indent=1) + "\n", "utf-8")
    os.replace(half, path.with_suffix(".json"))


def is_checked(path: Path, part: Part) -> bool:
    """Return whether this very file has passed the tests that the part has now."""
    try:
        words = json.loads(path.with_suffix(".json").read_text("utf-8"))
        same = words["sha256"] == sha256(path) and words["part"] == part.name
        return same and words["tests"] == _names(part)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _names(part: Part) -> list[str]:
    return [test.__name__ for test in part.tests]


def kept_names(folder: Path) -> tuple[list[str], list[str]]:
    """Return the parts in a folder by name, and files that are no part of the library.

    Raises:
        ValueError: if a part has a record, but its file is gone.
    """
    files = {path.name for path in folder.glob("*.py")}
    names = [n for n, part in PARTS.items() if file_of(folder, part).name in files]
    for part in PARTS.values():
        path = file_of(folder, part)
        if path.with_suffix(".json").exists() and path.name not in files:
            raise ValueError(
                f"{shown(path)} is missing, though its record is there: keep "
                f"{part.name} again, or delete {path.with_suffix('.json').name}"
            )
    known = {file_of(folder, PARTS[name]).name for name in names}
    return names, sorted(files - known)
