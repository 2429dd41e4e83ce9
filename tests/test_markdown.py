"""No line of the texts gets lost on its way through Markdown."""

import re
from collections.abc import Iterator
from pathlib import Path

from notebooks import ROOT

CELL = re.compile(r"# %%( \[markdown\])?.*")
# A line of a formula that begins so is a list, a heading or a quotation to Markdown.
BREAKS_A_FORMULA = ("+", "-", "#", "*", ">")
MARKUP = re.compile(r"\$|\*\*|`|\\[a-zA-Z]+")


def markdown(path: Path) -> Iterator[tuple[int, str]]:
    """Each line of Markdown of a page or of a notebook's script, with its number."""
    is_text = path.suffix == ".md"
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if path.suffix == ".md":
            yield number, line
        elif cell := CELL.fullmatch(line):
            is_text = cell[1] is not None
            yield number, ""  # a cell ends all that is open
        elif is_text:
            yield number, line.removeprefix("#").removeprefix(" ")


def source_problems(path: Path) -> list[str]:
    """Lines that Markdown swallows, or shows as they are."""
    problems = []
    in_fence = in_formula = in_summary = False
    for number, line in markdown(path):
        text = line.strip()
        in_fence ^= text.startswith(("```", "~~~"))
        if in_fence:
            continue
        if text.startswith("%"):
            problems.append(f"{number}: a comment to MyST: {text}")
        if in_formula and text.startswith(BREAKS_A_FORMULA):
            problems.append(f"{number}: breaks its formula: {text}")
        in_summary |= "<summary>" in line
        if in_summary and MARKUP.search(text):
            problems.append(f"{number}: a summary shows it as it is: {text}")
        in_summary &= "</summary>" not in line
        in_formula ^= line.count("$$") % 2 == 1
    return [f"{path.parent.name}/{path.name}:{problem}" for problem in problems]


def sources() -> list[Path]:
    """The scripts of all notebooks, and all pages around them."""
    notebooks = ("lessons/*.py", "solutions/*.py", "book/museum/*.py")
    patterns = (*notebooks, "book/*.md", "*.md", "data/*.md")
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def test_no_line_is_swallowed_or_breaks_a_formula() -> None:
    problems = [problem for path in sources() for problem in source_problems(path)]
    assert not problems, "\n".join(["", *problems])


# The test's own test

BROKEN = '''# %% [markdown]
# Padding costs 12
# % of the gradient.
#
# $$
# a = b
# + c
# $$
# <details><summary>Why `a`
# or $b$?</summary>Because **x**.</details>
# ```
# % right here
# ```

# %%
# % a comment of Python
x = """
+ 1
"""
'''


def test_lines_that_are_swallowed_are_found(tmp_path: Path) -> None:
    script = tmp_path / "01_x.py"
    script.write_text(BROKEN, encoding="utf-8")
    said = source_problems(script)
    assert [line.split(":")[1] for line in said] == ["3", "7", "9", "10"]
    page = tmp_path / "x.md"
    page.write_text("```\n% code\n```\n%lost\n$$\n- b$$\n", encoding="utf-8")
    assert [line.split(":")[1] for line in source_problems(page)] == ["4", "6"]
