"""No file of the course names a folder of some machine, or where packages come from.

The course is moved, mirrored and installed in many places; an address that happens to
work on one of them does not belong into a file or into a stored output.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import expect_none
from notebooks import ROOT
from small_lessons import complaint

HOMES = ("work", "root", "home")
HOSTS = ("pypi.", "files.python", "registry.npm", "deb.deb", "download.py", "anaconda.")
ENDS = ("org", "hosted", "js", "ian", "torch", "org")
SIBLING = ".." + "/shared"
ALLOWED = {
    (".ci/run", SIBLING),
    ("tests/test_pairs.py", "/home" + "/ada"),  # made up, for that test's own test
    ("tests/test_pairs.py", "C:" + r"\Users"),
}

TRACES = re.compile(
    "|".join(
        [rf"(?<![\w.}}])/{home}/[\w.-]+" for home in HOMES]
        + [r"\b[A-Z]:\\{1,2}Users\b"]
        + [re.escape(host + end) for host, end in zip(HOSTS, ENDS, strict=True)]
        + [re.escape(SIBLING)]
    )
)


def traces(name: str, text: str) -> list[str]:
    """The lines of a file that name such a place; `name` is the path from the root."""
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        for found in (match[0] for match in TRACES.finditer(line)):
            if (name, found) not in ALLOWED:
                problems.append(f"{name}, line {number}: {found}")
    return problems


def kept_files(root: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every text file that git keeps, or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=root, capture_output=True, check=True)
    for name in sorted(set(listing.stdout.decode("utf-8").split("\0")) - {""}):
        try:
            yield name, (root / name).read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # a picture, or a file that was just deleted


def test_no_file_names_a_machine_or_a_package_host() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the course was not made by git")
    expect_none(sum((traces(*file) for file in kept_files(ROOT)), []))


# The test's own test, on small files


def test_a_trace_is_found(tmp_path: Path) -> None:
    places = [f"/{home}/someone" for home in HOMES]
    places += [host + end for host, end in zip(HOSTS, ENDS, strict=True)]
    places += ["C:" + r"\Users", SIBLING]
    for place in places:
        said = complaint(traces("lessons/02_x.ipynb", f'one\n"text": "in {place}/x"'))
        assert said.startswith("lessons/02_x.ipynb, line 2: ")
    assert not traces(".ci/run", f"COURSE_DATA={SIBLING}/data")


def test_other_addresses_are_no_traces() -> None:
    for text in ("https://example.org/home/x", "./work/x", "${{ x }}/root/x", "/home"):
        assert not traces("README.md", text), text


def test_files_that_are_not_committed_yet_are_read(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("built.txt\n", encoding="utf-8")
    for name in ("built.txt", "new.txt"):
        (tmp_path / name).write_text("text", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    assert [name for name, _ in kept_files(tmp_path)] == [".gitignore", "new.txt"]
