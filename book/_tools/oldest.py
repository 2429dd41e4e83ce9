"""Print the oldest versions that the course supports, as constraints for pip.

``python book/_tools/oldest.py`` reads ``pyproject.toml``, where every dependency names
its lower bound, and prints one ``name==version`` a line. ``make oldest`` installs these
in an environment of its own and runs all tests in it. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BOUND = re.compile(r"([a-z0-9][a-z0-9-]*)(>=|==)(\d[\w.]*)")


def requirements(root: Path = ROOT) -> list[str]:
    """Return what the extras ask for, without the project's own extras, sorted."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += [line for line in extra if not line.startswith(project["name"])]
    return sorted(set(lines))


def oldest(root: Path = ROOT) -> dict[str, str]:
    """Return the oldest supported version of each package that is named.

    Raises:
        ValueError: a package has no lower bound, or two of them.
    """
    bounds: dict[str, str] = {}
    for line in requirements(root):
        match = BOUND.fullmatch(line)
        if match is None:
            raise ValueError(f"pyproject.toml: {line!r} is not name>=version")
        name, _, version = match.groups()
        if bounds.setdefault(name, version) != version:
            raise ValueError(f"pyproject.toml: {name} has two lower bounds")
    return bounds


def main() -> None:
    """Print the constraints."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, version in oldest().items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
