"""Pack a release: the built site, the sources, and a sum for each of them.

``python book/_tools/release.py`` writes ``dist/course-<version>-site.zip``, whose one
folder opens from disk with its ``index.html``, ``dist/course-<version>.tar.gz`` with
every file that git keeps, and ``dist/SHA256SUMS``. The same site and the same commit
give the same bytes, with the same release of Python's zlib. ``--check`` writes nothing:
it only says whether a release could be made from these files. ``make release`` checks,
builds the site, and packs. Needs nothing but Python and git.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = Path("_build", "html")
MOMENT = (1980, 1, 1, 0, 0, 0)  # of every file in the archive: the first that zip knows
HEADING = re.compile(r"^## (\d[\w.]*)\b.*\n", re.M)


def version(root: Path = ROOT) -> str:
    """Return the version of the course, which stands in `pyproject.toml` alone."""
    text = (root / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)["project"]["version"]


def changes(root: Path = ROOT) -> str:
    """Return what `CHANGELOG.md` says of this version.

    Raises:
        ValueError: the newest section is of another version, or it is empty.
    """
    parts = HEADING.split((root / "CHANGELOG.md").read_text("utf-8"))
    newest, words = (parts[1], parts[2].strip()) if len(parts) > 2 else ("none", "")
    if newest != version(root) or not words:
        raise ValueError(
            f"CHANGELOG.md begins with version {newest}, pyproject.toml has "
            f"{version(root)}: write down what is new in it"
        )
    return words


def git(root: Path, *words: str) -> bytes:
    """Return what a git command prints."""
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True).stdout


def require_clean(root: Path = ROOT) -> None:
    """Ask git whether every file is as committed.

    Raises:
        ValueError: files are changed, or lie there and are not committed.
    """
    if found := git(root, "status", "--porcelain").decode("utf-8").splitlines():
        raise ValueError("not committed: " + ", ".join(line[3:] for line in found))


def site_files(site: Path) -> list[str]:
    """Return the files of a built site, as names with /, in one order everywhere.

    Files and folders whose names begin with a dot are the builder's own.

    Raises:
        ValueError: there is no built site.
    """
    names = [path.relative_to(site).as_posix() for path in site.rglob("*")]
    kept = [
        name
        for name in names
        if (site / name).is_file() and not re.search(r"(^|/)\.", name)
    ]
    if "index.html" not in kept:
        raise ValueError(f"{site} holds no index.html: run `make site` first")
    return sorted(kept)


def pack_site(site: Path, archive: Path) -> None:
    """Write a built site into one folder of a zip file, named as the file is."""
    folder = archive.name.removesuffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name in site_files(site):
            entry = zipfile.ZipInfo(f"{folder}/{name}", MOMENT)
            entry.create_system = 3  # as if packed on Unix, wherever it is packed
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, (site / name).read_bytes())


def pack_sources(root: Path, archive: Path) -> None:
    """Write every file of the commit, as git keeps it, into a tar file."""
    folder = archive.name.removesuffix(".tar.gz")
    words = ["-c", "core.autocrlf=false", "-c", "tar.umask=0022", "archive"]
    tar = git(root, *words, "--format=tar", f"--prefix={folder}/", "HEAD")
    archive.write_bytes(gzip.compress(tar, 9, mtime=0))


def sums(paths: list[Path]) -> str:
    """Return a line for each file, as `sha256sum --check` reads them."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(paths)
    )


def release(root: Path, site: Path, out: Path) -> list[Path]:
    """Write both archives and their sums into an empty folder; return the paths.

    Raises:
        ValueError: the files are not committed, the change log is not written, or the
            site is not built.
    """
    require_clean(root)
    changes(root)
    site_files(site)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    name = f"course-{version(root)}"
    archives = [out / f"{name}-site.zip", out / f"{name}.tar.gz"]
    pack_site(site, archives[0])
    pack_sources(root, archives[1])
    listing = out / "SHA256SUMS"
    listing.write_text(sums(archives), encoding="utf-8", newline="\n")
    return [*archives, listing]


def main() -> int:
    """Check, and pack; return 1 and say why where that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    try:
        if options.check:
            require_clean(ROOT)
            changes(ROOT)
            print(f"{version(ROOT)} can be released")
        else:
            for path in release(ROOT, ROOT / SITE, ROOT / "dist"):
                print(f"{path.name}: {path.stat().st_size:,} bytes")
    except ValueError as problem:
        print(problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
