"""A release: both archives, their sums, the change log, and how to cite the course."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import release
import yaml
from notebooks import ROOT

PAGES = {
    "index.html": "<a href='lessons/02.html'>02</a>",
    "lessons/02.html": "é",
    "_static/course.css": "a {}",
}
HIDDEN = [".buildinfo", "_static/.cache", ".doctrees/index"]
# Keys of the Citation File Format 1.2.0 (citation-file-format.github.io).
NEEDED = {"cff-version", "message", "title", "authors"}
KNOWN = NEEDED | {
    *("abstract", "commit", "contact", "date-released", "doi", "identifiers"),
    *("keywords", "license", "license-url", "preferred-citation", "references"),
    *("repository", "repository-artifact", "repository-code", "type", "url", "version"),
}
ENTITY = {"name", "address", "city", "country", "email", "website", "alias", "orcid"}
PERSON = {"given-names", "family-names", "affiliation", "alias", "email", "orcid"}


# How to cite, and what is new


def citation_flaws(root: Path) -> Iterator[str]:
    """Yield what the format does not allow, and what the other files say otherwise."""
    given = yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    yield from (f"no {key}" for key in sorted(NEEDED - set(given)))
    yield from (f"unknown key {key}" for key in sorted(set(given) - KNOWN))
    if str(given.get("cff-version")) != "1.2.0":
        yield "cff-version is not 1.2.0"
    if given.get("type", "software") not in {"software", "dataset"}:
        yield f"type {given['type']}"
    for author in given.get("authors") or [{}]:
        if not author or not (set(author) <= ENTITY or set(author) <= PERSON):
            yield f"author {author}"
    if given.get("repository-code") != config["repository"]["url"]:
        yield "repository-code is not the repository of _config.yml"
    if given.get("url") != config["html"]["baseurl"]:
        yield "url is not the site of _config.yml"
    if "version" in given:
        yield "version stands in pyproject.toml alone"


def test_the_citation_is_valid_and_says_what_the_other_files_say():
    assert list(citation_flaws(ROOT)) == []


@pytest.mark.parametrize(
    "right, wrong, said",
    [
        ("message:", "mesage:", "no message"),
        ("cff-version: 1.2.0", "cff-version: 1.1.0", "cff-version"),
        ("type: software", "type: course", "type course"),
        ("  - name:", "  - nom:", "author"),
        ("/course\n", "/courses\n", "repository-code"),
        ("url: https", "url: http", "url is not"),
        ("license: MIT", "version: 1.0", "version stands"),
        ("license: MIT", "licence: MIT", "unknown key licence"),
    ],
)
def test_a_flaw_of_the_citation_is_named(tmp_path, right, wrong, said):
    shutil.copy(ROOT / "_config.yml", tmp_path)
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert right in text
    (tmp_path / "CITATION.cff").write_text(text.replace(right, wrong), "utf-8")
    assert said in " · ".join(citation_flaws(tmp_path))


def test_the_change_log_begins_with_the_version_of_the_project():
    assert len(release.changes(ROOT)) > 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", release.version(ROOT))


# A small course with a site, in a repository of its own


def commit(root: Path) -> None:
    """Commit every file of a folder."""
    words = ["git", "-C", str(root), "-c", "user.name=ada"]
    words += ["-c", "user.email=ada@example.invalid"]
    subprocess.run([*words, "add", "--all"], check=True)
    subprocess.run([*words, "commit", "--quiet", "-m", "x"], check=True)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of version 1.2.0, committed, with a built site that git ignores."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    root = tmp_path / "small"
    root.mkdir()
    for name, text in {
        "pyproject.toml": '[project]\nname = "small"\nversion = "1.2.0"\n',
        "CHANGELOG.md": "# New\n\n## 1.2.0: words\n\n- More.\n\n## 1.1.0\n\nLess.\n",
        ".gitignore": "site/\ndist/\n",
        "lesson.py": "print('é')\n",
    }.items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")
    for name, text in {**PAGES, **dict.fromkeys(HIDDEN, "x")}.items():
        path = root / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    commit(root)
    return root


def test_a_release_holds_the_site_the_sources_and_their_sums(small):
    paths = release.release(small, small / "site", small / "dist")
    assert [path.name for path in paths] == [
        *("course-1.2.0-site.zip", "course-1.2.0.tar.gz", "SHA256SUMS"),
    ]
    with zipfile.ZipFile(paths[0]) as file:
        assert file.testzip() is None
        assert {name: file.read(name).decode("utf-8") for name in file.namelist()} == {
            f"course-1.2.0-site/{name}": text for name, text in PAGES.items()
        }
    with tarfile.open(paths[1]) as file:
        files = {m.name: m for m in file.getmembers() if m.isfile()}
        assert set(files) == {
            f"course-1.2.0/{name}"
            for name in (".gitignore", "CHANGELOG.md", "lesson.py", "pyproject.toml")
        }
        lesson = file.extractfile("course-1.2.0/lesson.py").read()
        assert lesson == "print('é')\n".encode()
    for line in paths[2].read_text("utf-8").splitlines():
        total, name = line.split("  ")
        assert hashlib.sha256((small / "dist" / name).read_bytes()).hexdigest() == total


def test_two_releases_of_one_site_are_the_same_bytes(small, tmp_path):
    first = release.release(small, small / "site", tmp_path / "a")
    for n, path in enumerate(sorted((small / "site").rglob("*"))):  # built again later
        os.utime(path, (10**9 + n, 10**9 + n))
        path.chmod(0o755 if path.is_dir() else 0o600)
    second = release.release(small, small / "site", tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    (small / "site" / "index.html").write_text("other", encoding="utf-8")
    third = release.release(small, small / "site", tmp_path / "c")
    same = [a.read_bytes() == b.read_bytes() for a, b in zip(first, third, strict=True)]
    assert same == [False, True, False]


def test_no_time_of_packing_is_in_the_archives(small):
    site, sources, _ = release.release(small, small / "site", small / "dist")
    with zipfile.ZipFile(site) as file:
        kinds = {(e.date_time, e.create_system, e.external_attr) for e in file.filelist}
    assert kinds == {(release.MOMENT, 3, 0o100644 << 16)}
    packed = sources.read_bytes()
    assert packed[4:8] == bytes(4)  # gzip's own time
    made = int(release.git(small, "log", "-1", "--format=%ct"))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as file:
        assert {m.mtime for m in file.getmembers()} == {made}


def test_an_old_release_leaves_nothing_behind(small):
    (small / "dist").mkdir()
    (small / "dist" / "course-1.1.0-site.zip").write_bytes(b"old")
    paths = release.release(small, small / "site", small / "dist")
    assert sorted((small / "dist").iterdir()) == sorted(paths)


@pytest.mark.parametrize("name", ["lesson.py", "new.py"])
def test_what_is_not_committed_is_not_released(small, name):
    (small / name).write_text("changed\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"not committed: {name}"):
        release.release(small, small / "site", small / "dist")
    assert not (small / "dist").exists()


@pytest.mark.parametrize(
    "text, said",
    [
        ("# New\n\n## 1.1.0\n\nLess.\n", "begins with version 1.1.0"),
        ("# New\n\n## 1.2.0\n\n## 1.1.0\n\nLess.\n", "begins with version 1.2.0"),
        ("# New\n", "begins with version none"),
    ],
)
def test_what_is_new_must_be_written_down(small, text, said):
    (small / "CHANGELOG.md").write_text(text, encoding="utf-8")
    commit(small)
    with pytest.raises(ValueError, match=said):
        release.release(small, small / "site", small / "dist")


def test_a_site_that_is_not_built_is_named(small):
    (small / "site" / "index.html").unlink()
    with pytest.raises(ValueError, match="run `make site` first"):
        release.release(small, small / "site", small / "dist")
    assert not (small / "dist").exists()


def test_the_command_says_what_is_missing(small, monkeypatch, capsys):
    monkeypatch.setattr(release, "ROOT", small)
    monkeypatch.setattr("sys.argv", ["release.py", "--check"])
    assert release.main() == 0
    assert capsys.readouterr().out == "1.2.0 can be released\n"
    monkeypatch.setattr("sys.argv", ["release.py"])
    assert release.main() == 1
    assert "index.html" in capsys.readouterr().out
