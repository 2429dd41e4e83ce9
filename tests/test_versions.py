"""The versions that the course supports: from the lower bounds to the pinned ones.

``make oldest`` installs the lower bounds of ``pyproject.toml``, ``make colab`` what
Colab brings (``colab.txt``), ``make test`` the pins, ``make newest`` no pins at all.
Here the numbers are compared; no package is asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import oldest
import pytest
from notebooks import ROOT
from packaging.specifiers import SpecifierSet
from packaging.version import Version

COLAB = ROOT / "tests" / "colab.txt"
PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==(\d[\w.]*)")
OURS = {"anywidget", "ipython", "ipywidgets", "matplotlib", "numpy", "torch", "tqdm"}


def pins(path: Path) -> dict[str, str]:
    """Return the versions of a file of constraints; every line is a pin or a comment.

    Raises:
        ValueError: a line is neither, or a package is pinned twice.
    """
    found: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = PIN.fullmatch(line)
        if match is None or match[1] in found:
            raise ValueError(f"{path.name}: {line!r}")
        found[match[1]] = match[2]
    return found


def notes(path: Path) -> dict[str, str]:
    """Return what the comments of a file say, as in `# python: 3.12.12`."""
    return dict(re.findall(r"^# (\w+): (.+)$", path.read_text("utf-8"), re.M))


def older(bounds: dict[str, str], versions: dict[str, str]) -> list[str]:
    """Return the packages of which a version lies below its lower bound."""
    return [
        f"{name}: {versions[name]} is older than {bound}"
        for name, bound in bounds.items()
        if name in versions and Version(versions[name]) < Version(bound)
    ]


def test_every_dependency_has_a_lower_bound_that_the_pins_keep():
    bounds, pinned = oldest.oldest(), pins(ROOT / "constraints.txt")
    assert set(bounds) <= set(pinned) and OURS <= set(bounds)
    assert not older(bounds, pinned)


def test_no_lower_bound_excludes_what_colab_brings():
    bounds, colab = oldest.oldest(), pins(COLAB)
    assert not older(bounds, colab)
    assert OURS <= set(colab) and set(colab) <= set(pins(ROOT / "constraints.txt"))


def test_colab_says_from_when_and_where_its_versions_are():
    said = notes(COLAB)
    assert re.fullmatch(r"20\d\d-[01]\d", said["taken"])
    assert said["runtime"].startswith(said["taken"].replace("-", "."))
    assert "googlecolab/backend-info" in said["from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert said["python"] in SpecifierSet(project["requires-python"])


def test_the_tool_prints_constraints():
    words = [sys.executable, str(ROOT / "book" / "_tools" / "oldest.py")]
    lines = subprocess.run(
        words, capture_output=True, text=True, encoding="utf-8", check=True
    ).stdout.splitlines()
    assert dict(PIN.fullmatch(line).groups() for line in lines) == oldest.oldest()
    assert lines == sorted(lines)


# The tests' own tests, on small files


def project(root: Path, *extras: list[str]) -> Path:
    """Write a `pyproject.toml` with these extras; return its folder."""
    lines = [f"extra{n} = {extra!r}" for n, extra in enumerate(extras)]
    head = '[project]\nname = "small"\ndependencies = []\n'
    text = f"{head}[project.optional-dependencies]\n" + "\n".join(lines)
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    return root


def test_bounds_of_a_small_project(tmp_path):
    root = project(tmp_path, ["b>=1.2", "a==0.1.post1"], ["small[extra0]", "b>=1.2"])
    assert oldest.oldest(root) == {"a": "0.1.post1", "b": "1.2"}


@pytest.mark.parametrize("line", ["b", "b>1", "b>=1,<2", "b~=1.0", "B>=1", "b>=x"])
def test_a_dependency_without_a_plain_lower_bound_is_named(tmp_path, line):
    with pytest.raises(ValueError, match=re.escape(repr(line))):
        oldest.oldest(project(tmp_path, ["a>=1", line]))


def test_two_bounds_are_one_too_many(tmp_path):
    with pytest.raises(ValueError, match="b has two lower bounds"):
        oldest.oldest(project(tmp_path, ["b>=1"], ["b>=2"]))


@pytest.mark.parametrize("line", ["a>=1", "a==1+cpu", "a==1\na==2", "a", ""])
def test_a_line_that_is_no_pin_is_named(tmp_path, line):
    path = tmp_path / "x.txt"
    path.write_text(f"# python: 3.12\n{line}\nz==1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="x.txt"):
        pins(path)


def test_older_versions_are_found():
    assert older({"a": "1.10", "b": "2"}, {"a": "1.9", "c": "0"}) == [
        "a: 1.9 is older than 1.10"
    ]
    assert not older({"a": "1.10"}, {"a": "1.10.0"})
