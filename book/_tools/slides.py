"""Write slides for a class: ``_build/slides``, a PDF for each lesson and its diagrams.

``python book/_tools/slides.py`` writes for each lesson a deck, 16:9: what the lesson
promises, its diagrams, and the questions of *Predict, then run*, without the answers.
What a diagram shows in words is the note of its slide: programs for speakers find it in
the PDF, and it stands in ``06_attention.md``. Each diagram is a file, too, such as
``06_attention_1.svg``, in light colours, or in dark ones with ``--dark``. The pictures
come out of the stored notebooks.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

from notebook_parts import (
    ROOT,
    dark,
    light,
    name_of,
    pictures,
    plain,
    promise,
    questions,
    read,
    title,
)
from paper import printer
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Text

NOT_SHOWN = 32  # of the PDF's flags of a note: no icon on the slide
FONT = "'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
@page {{ size: 960px 540px; margin: 0; }}
body {{ color: #1c2733; font-family: system-ui, {font}; margin: 0; }}
section {{ break-after: page; box-sizing: border-box; display: flex; gap: 14px;
  flex-direction: column; height: 540px; padding: 36px 56px 30px; width: 960px; }}
section:last-child {{ break-after: auto; }}
h1, h2 {{ font-weight: 600; margin: 0; }}
h1 {{ font-size: 52px; }} h2 {{ color: #0f766e; font-size: 26px; }}
p {{ font-size: 30px; line-height: 1.4; margin: 0; }}
.middle {{ display: flex; flex: 1; flex-direction: column; gap: 24px;
  justify-content: center; min-height: 0; }}
.middle svg {{ height: 100% !important; margin: auto; max-width: 100% !important;
  width: 100%; }}
footer {{ color: #55606c; font-size: 14px; }}
</style>{slides}</html>"""


@dataclass(frozen=True)
class Slide:
    """One slide: a heading, what stands in its middle, and what a speaker may say."""

    heading: str
    middle: str
    note: str = ""


def slides(notebook: dict) -> list[Slide]:
    """Return a lesson's slides."""
    found = [
        Slide("", f"<h1>{escape(title(notebook))}</h1>{_words(promise(notebook))}")
    ]
    for svg, alt in pictures(notebook):
        found.append(Slide(name_of(svg), light(svg), alt))
    asked = questions(notebook)
    for number, question in enumerate(asked, start=1):
        heading = f"Predict, then run: {number} of {len(asked)}"
        found.append(Slide(heading, f"<p>{question}</p>"))
    return found


def _words(text: str) -> str:
    """Return a paragraph of Markdown as HTML."""
    html = escape(plain(text), quote=False)
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    html = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html)
    html = re.sub(r"\*(.+?)\*", r"<i>\1</i>", html)
    return f"<p>{html}</p>"


def deck(notebook: dict) -> str:
    """Return the page from which a lesson's slides are printed."""
    name, made = title(notebook), []
    found = slides(notebook)
    for number, slide in enumerate(found, start=1):
        heading = f"<h2>{escape(slide.heading)}</h2>" if slide.heading else ""
        foot = f"<footer>{escape(name)} · {number} of {len(found)}</footer>"
        middle = f'<div class="middle">{slide.middle}</div>'
        made.append(f"<section>{heading}{middle}{foot}</section>")
    return PAGE.format(title=escape(name), font=FONT, slides="\n".join(made))


def notes(notebook: dict) -> str:
    """Return the notes of a lesson's slides as a text."""
    lines = [f"# {title(notebook)}"]
    for number, slide in enumerate(slides(notebook), start=1):
        if slide.note:
            lines.append(f"Slide {number}, {slide.heading}. {slide.note}")
    return "\n\n".join(lines) + "\n"


def noted(pdf: bytes, notebook: dict) -> PdfWriter:
    """Return the slides with their notes.

    Raises:
        ValueError: if a slide did not fit on its page.
    """
    writer, found = PdfWriter(PdfReader(io.BytesIO(pdf))), slides(notebook)
    if len(writer.pages) != len(found):
        raise ValueError(f"{title(notebook)}: {len(found)} slides do not fit")
    for number, slide in enumerate(found):
        if slide.note:
            note = Text(rect=(4, 4, 20, 20), text=slide.note, flags=NOT_SHOWN)
            writer.add_annotation(page_number=number, annotation=note)
    writer.metadata = {"/Title": title(notebook)}
    return writer


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8", newline="\n")


def main(arguments: list[str] | None = None) -> int:
    """Write the decks and the diagrams, and say how many."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("lessons", nargs="*", help="numbers such as 06; else all")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "slides")
    parser.add_argument("--dark", action="store_true", help="diagrams in dark colours")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    n_slides = n_pictures = 0
    with printer(options.out, "http://localhost/") as page:
        for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb")):
            if options.lessons and path.stem[:2] not in options.lessons:
                continue
            notebook, out = read(path), options.out / path.stem
            for number, (svg, _) in enumerate(pictures(notebook), start=1):
                drawn = dark(svg) if options.dark else light(svg)
                _write(out.with_name(f"{out.name}_{number}.svg"), drawn + "\n")
                n_pictures += 1
            _write(out.with_suffix(".md"), notes(notebook))
            page.set_content(deck(notebook))
            printed = page.pdf(prefer_css_page_size=True, print_background=True)
            noted(printed, notebook).write(out.with_suffix(".pdf"))
            n_slides += len(slides(notebook))
    print(f"{n_slides} slides and {n_pictures} diagrams in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
