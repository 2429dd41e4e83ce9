"""What the tools for a class take out of a lesson's notebook: questions, pictures."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDED = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>\n*", re.S)
QUESTIONS = "## Predict, then run"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\([^)]+\)")
COMMENT = re.compile(r"\s*<!--.*?-->", re.S)
STYLE = re.compile(r"<style>.*?</style>\n?", re.S)
VARIABLE = re.compile(r"--(d-[\w-]+):(#[0-9a-f]{6})")
CLASSES = re.compile(r' class="(?:d-[\w-]+ ?)+"')
NAME = re.compile(r"<title[^>]*>(.*?)</title>", re.S)


def read(path: Path) -> dict:
    """Return a notebook."""
    return json.loads(path.read_text("utf-8"))


def source(cell: dict) -> str:
    """Return the text of a cell."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """Return the tags of a cell."""
    return cell["metadata"].get("tags", [])


def is_hint(title: str) -> bool:
    """Whether something folded is a hint to an exercise."""
    return title.strip().lower().endswith("hint")


def questions(notebook: dict) -> list[str]:
    """Return the questions of *Predict, then run*, without their answers."""
    for cell in notebook["cells"]:
        text = source(cell)
        if cell["cell_type"] == "markdown" and text.startswith(QUESTIONS):
            return [" ".join(m[1].split()) for m in FOLDED.finditer(text)]
    return []


def promise(notebook: dict) -> str:
    """Return the sentence of promise below a lesson's title."""
    paragraphs = source(notebook["cells"][0]).split("\n\n")
    return " ".join(next(p for p in paragraphs if p[0] not in "#[-").split())


def title(notebook: dict) -> str:
    """Return a lesson's heading, such as ``06 · Attention``."""
    return source(notebook["cells"][0]).splitlines()[0].removeprefix("# ")


def plain(text: str) -> str:
    """Return Markdown without its links and comments."""
    return LINK.sub(r"\1", COMMENT.sub("", text))


def pictures(notebook: dict) -> list[tuple[str, str]]:
    """Return the diagrams as SVG, each with the alt text of its cell."""
    found = []
    for cell in notebook["cells"]:
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for output in cell.get("outputs", []):
            if svg := output.get("data", {}).get("image/svg+xml"):
                found.append(("".join(svg), alt))
    return found


def name_of(svg: str) -> str:
    """Return the title of a diagram."""
    return unescape(NAME.search(svg)[1])


def light(svg: str) -> str:
    """Return a diagram as a file of its own, in light colours, without style sheets."""
    svg = STYLE.sub("", svg).replace('font-family="system-ui, ', 'font-family="')
    return CLASSES.sub("", svg.replace(' class="d-diagram"', ""))


def dark(svg: str) -> str:
    """Return a diagram as a file of its own, in its dark colours."""
    block = STYLE.search(svg)[0]
    in_light, in_dark = block.split("prefers-color-scheme: dark")
    names = dict(VARIABLE.findall(in_dark))
    colours = {value: names[name] for name, value in VARIABLE.findall(in_light)}
    found = "|".join(colours)
    return re.sub(found, lambda match: colours[match[0]], light(svg))
