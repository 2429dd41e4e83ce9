"""Write the repository's address, kept in `_config.yml`, wherever it is repeated.

``python book/_tools/address.py`` stamps the Colab badge and the first code cell of
every lesson and solution, and the clone, Colab, Binder and status links of other texts.
A lesson without badge or first cell gets them. ``--check`` only prints the differences.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("bootstrap.py.txt")
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
FIRST_CODE_CELL = re.compile(r"^# %%(?! \[markdown\]).*\n(?:(?!# %%).*\n?)*", re.M)
TITLE = re.compile(r"^# # .+\n", re.M)


@dataclass(frozen=True)
class Address:
    """Where the course is kept: its address on GitHub and the branch to show."""

    url: str
    branch: str

    @property
    def name(self) -> str:
        """The part `owner/repository` of the address."""
        return urlsplit(self.url).path.strip("/").removesuffix(".git")

    def colab(self, page: str) -> str:
        """Return the address that opens a file of the repository in Colab."""
        return f"https://colab.research.google.com/github/{self.name}/blob/{page}"


def read_address(root: Path = ROOT) -> Address:
    """Read the address from `_config.yml`.

    Raises:
        ValueError: if it is not of the form https://github.com/owner/repository.
    """
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    repository = config["repository"]
    address = Address(repository["url"].rstrip("/"), repository["branch"])
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address.url):
        raise ValueError(
            f"_config.yml: repository.url={address.url} is not of the form "
            "https://github.com/owner/repository, which Colab and Binder need"
        )
    return address


def with_links(text: str, address: Address) -> str:
    """Return a text whose links to the course's repository have this address."""
    repository = r"[\w.-]+/[\w.-]+"
    for pattern, link in (
        (rf"git clone https://github\.com/{repository}", f"git clone {address.url}"),
        (
            rf"https://colab\.research\.google\.com/github/{repository}/blob/[\w.-]+",
            address.colab(address.branch),
        ),
        (
            rf"https://mybinder\.org/v2/gh/{repository}/[\w.-]+",
            f"https://mybinder.org/v2/gh/{address.name}/{address.branch}",
        ),
        (rf"https://github\.com/{repository}/actions", f"{address.url}/actions"),
    ):
        text = re.sub(pattern, link, text)
    return text


def with_badge(text: str, address: Address, page: str) -> str:
    """Return a lesson whose badge opens this page; it is added below the title."""
    link = address.colab(f"{address.branch}/{page}")
    badge = f"[![Open in Colab](../book/_static/colab-badge.svg)]({link})"
    if BADGE.search(text):
        return BADGE.sub(lambda _: badge, text)
    return TITLE.sub(lambda title: f"{title[0]}#\n# {badge}\n", text, count=1)


def bootstrap(address: Address) -> str:
    """Return the first code cell of every lesson, which makes `lib/` importable."""
    return TEMPLATE.read_text(encoding="utf-8").replace("REPOSITORY_URL", address.url)


def with_bootstrap(text: str, address: Address) -> str:
    """Return a lesson that begins with the bootstrap cell; it is added if missing."""
    cell = f'# %% tags=["remove-cell"]\n{bootstrap(address)}\n'
    first = FIRST_CODE_CELL.search(text)
    if first is None:
        return f"{text.rstrip()}\n\n{cell}"
    end = first.end() if "remove-cell" in first[0].split("\n")[0] else first.start()
    return text[: first.start()] + cell + text[end:]


def stamped(path: Path, root: Path, address: Address) -> str:
    """Return the text that a file should have."""
    text = with_links(path.read_text(encoding="utf-8"), address)
    if path.suffix == ".py":
        page = path.relative_to(root).with_suffix(".ipynb").as_posix()
        text = with_bootstrap(with_badge(text, address, page), address)
    return text


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every file that repeats the address, lessons first."""
    yield from sorted((root / "lessons").glob("[0-9][0-9]_*.py"))
    yield from sorted((root / "solutions").glob("[0-9][0-9]_*.py"))
    yield from (p for p in (root / "README.md", root / "CONTRIBUTING.md") if p.exists())
    yield from sorted((root / "book").glob("*.md"))


def differences(root: Path = ROOT) -> dict[Path, str]:
    """Return the text that each file should have, for the files that have another."""
    address = read_address(root)
    wanted = {path: stamped(path, root, address) for path in files(root)}
    return {p: t for p, t in wanted.items() if t != p.read_text(encoding="utf-8")}


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Stamp the files, or with --check say what stamping would change."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="print, change nothing")
    check = parser.parse_args(arguments).check
    found = differences(root)
    for path, text in found.items():
        name = path.relative_to(root).as_posix()
        if check:
            old = path.read_text(encoding="utf-8").splitlines()
            print(
                *difflib.unified_diff(
                    old,
                    text.splitlines(),
                    name,
                    name,
                    "is",
                    "should be",
                    n=0,
                    lineterm="",
                ),
                sep="\n",
            )
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"stamped {name}")
    if not found:
        print("every address agrees with _config.yml")
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
