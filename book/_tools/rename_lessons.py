"""Give every lesson the number of its place in `book/course.yml`, everywhere.

Put the lessons of `book/course.yml` into their new order; one that comes between gets
`number: new`. Then run `make renumber`: scripts, notebooks, solutions, checks, planted
answers, links, sentences that name a number ("lessons 03 to 07"), contents and recorded
results follow. `NAMES="old_slug=new_slug"` renames a lesson as well. The site forwards
old addresses: `was` in `book/course.yml` keeps them. Afterwards `make lessons` executes
what has changed. Nothing is written if something is wrong.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENTRY = re.compile(r"  - number: (\w+)\n    slug: (\w+)\n(?:    was: \[(.*)\]\n)?")
STEM = r"(?<![A-Za-z0-9_])(\d\d_[a-z][a-z0-9_]*)"
GAP = r"(?:\s|\n# )+"  # between words of a sentence, also in a script's comment
LIST = rf"\d\d(?:(?:,{GAP}|{GAP}(?:and|or|to){GAP}|,{GAP}(?:and|or){GAP})\d\d)*"
NAMED = re.compile(rf"\b([Ll]essons?{GAP})({LIST})\b")
MODULE = re.compile(r"\blesson_(\d\d)\b")
LABEL = re.compile(rf"\[(?:\d\d)\](\([./a-z]*){STEM}")


class Renaming:
    """Which number and which name each lesson had and gets.

    Args:
        course: the text of `book/course.yml`, in the new order.
        slugs: new slugs by old ones.

    Raises:
        ValueError: for a slug that no lesson has or that two would have.
    """

    def __init__(self, course: str, slugs: dict[str, str]) -> None:
        self.course, self.slugs = course, slugs
        entries = [match.groups()[:2] for match in ENTRY.finditer(course)]
        names = [slug for _, slug in entries]
        if unknown := slugs.keys() - set(names):
            raise ValueError(f"no lesson has the slug {sorted(unknown)}")
        names = [slugs.get(slug, slug) for slug in names]
        if len(set(names)) < len(names):
            raise ValueError(f"two lessons would have one slug: {sorted(names)}")
        self.numbers: dict[str, str] = {}
        self.stems: dict[str, str] = {}
        for place, ((number, old), new) in enumerate(zip(entries, names, strict=True)):
            if number != "new":
                self.numbers[f"{int(number):02}"] = f"{place:02}"
                self.stems[f"{int(number):02}_{old}"] = f"{place:02}_{new}"

    def text(self, text: str) -> str:
        """Return a text in which every mention has the new number and name."""

        def number(match: re.Match) -> str:
            return self.numbers.get(match[0], match[0])

        def label(match: re.Match) -> str:
            new = self.stems.get(match[2])
            return f"[{new[:2]}]{match[1]}{match[2]}" if new else match[0]

        text = NAMED.sub(lambda m: m[1] + re.sub(r"\d\d", number, m[2]), text)
        text = MODULE.sub(lambda m: f"lesson_{self.numbers.get(m[1], m[1])}", text)
        text = LABEL.sub(label, text)
        return re.sub(STEM, lambda m: self.stems.get(m[1], m[1]), text)

    def course_text(self) -> str:
        """Return `book/course.yml` with the new numbers, names and old addresses."""
        places = iter(range(len(ENTRY.findall(self.course))))

        def entry(match: re.Match) -> str:
            place, old = next(places), match[2]
            lines = f"  - number: {place}\n    slug: {self.slugs.get(old, old)}\n"
            was = [stem for stem in (match[3] or "").split(", ") if stem]
            stem = "" if match[1] == "new" else f"{int(match[1]):02}_{old}"
            if stem and self.stems[stem] != stem:
                was = [*was, stem]
            was = [stem for stem in was if stem not in self.stems.values()]
            return lines + (f"    was: [{', '.join(was)}]\n" if was else "")

        numbered = ENTRY.sub(entry, self.course)
        return MODULE.sub(lambda m: f"lesson_{self.numbers.get(m[1], m[1])}", numbered)

    def file(self, path: str, text: str) -> str:
        """Return the new text of a file of the course."""
        if path == "book/course.yml":
            return self.course_text()
        if path.endswith(".ipynb"):
            return self._notebook(text, Path(path).stem)
        return self._heading(self.text(text), Path(path).stem)

    def _notebook(self, text: str, stem: str) -> str:
        """Rename in the sources of a notebook, cell by cell; outputs stay."""
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            source = self._heading(self.text("".join(cell["source"])), stem)
            cell["source"] = source.splitlines(keepends=True)
        return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"

    def _heading(self, text: str, stem: str) -> str:
        """Number the first heading of a lesson or its solutions, `# 04 · Attention`."""
        if stem not in self.stems:
            return text
        heading = rf"^((?:# )?# (?:Solutions )?){stem[:2]} · "
        new = rf"\g<1>{self.stems[stem][:2]} · "
        return re.sub(heading, new, text, count=1, flags=re.MULTILINE)

    def path(self, path: str) -> str:
        """Return the new path of a file."""
        folder, _, name = path.rpartition("/")
        stem, dot, suffix = name.partition(".")
        stem = self.stems.get(stem, MODULE.sub(lambda m: self.text(m[0]), stem))
        return f"{folder}/{stem}{dot}{suffix}" if folder else f"{stem}{dot}{suffix}"


def tracked(root: Path) -> list[str]:
    """Return the files of the course that can name a lesson."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    kinds = (".py", ".ipynb", ".md", ".yml", ".json", ".toml", ".bib", "Makefile")
    names = dict.fromkeys(listed.stdout.splitlines())
    return [name for name in names if name.endswith(kinds) and (root / name).is_file()]


def rename(root: Path, slugs: dict[str, str]) -> list[str]:
    """Rename in a whole tree; return the paths that were written.

    Raises:
        ValueError: if two files would get one path, or the slugs do not fit.
    """
    course = (root / "book" / "course.yml").read_text(encoding="utf-8")
    renaming = Renaming(course, slugs)
    files = {name: (root / name).read_text(encoding="utf-8") for name in tracked(root)}
    skip = {"book/_tools/rename_lessons.py", "tests/test_rename_lessons.py"}
    new = {}
    for name, text in files.items():
        path = renaming.path(name)
        if path in new:
            raise ValueError(f"two files would become {path}")
        new[path] = text if name in skip else renaming.file(name, text)
    changed = [path for path, text in new.items() if files.get(path) != text]
    for path in changed:
        (root / path).write_text(new[path], encoding="utf-8", newline="\n")
    for gone in files.keys() - new.keys():
        (root / gone).unlink()
    return changed


def main(arguments: list[str]) -> None:
    """Rename in this repository."""
    try:
        written = rename(ROOT, dict(pair.split("=") for pair in arguments))
    except ValueError as error:
        sys.exit(f"rename_lessons: {error}; nothing was written")
    print(f"{len(written)} files changed; now run `make lessons`")


if __name__ == "__main__":
    main(sys.argv[1:])
