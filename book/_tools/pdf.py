"""Print the built site as one book: ``_build/course.pdf``.

``python book/_tools/pdf.py`` prints a cover, a table of contents, all lessons, the
answers to their questions, and the pages that one looks things up in; with
``--solutions`` the solved exercises, too. Chromium prints each page of the site, and
the pages become one file whose links, also from page to page, stay inside of it.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag

import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    NullObject,
    NumberObject,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from course_data import read_course  # noqa: E402
from paper import open_for_paper, printer  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

HERE = Path(__file__).resolve().parent
BEFORE = ("how_to_use",)
LOOK_UP = ("mathematics", "notation", "glossary", "bibliography")
COVER = """\
<div class="cover"><p><img src="{logo}" alt=""></p><h1>{title}</h1>
<p>A course in notebooks: {n} lessons, printed from the site</p><p>{site}</p></div>
<div class="contents"><h1 class="break">Contents</h1><p>The answers and hints that are
folded on the site stand at the end. Each question leads to its answer, and the answer
leads back. A picture with a slider shows one of its positions.</p>{rows}</div>"""
STAMP = "Q q BT /FoBT 8 Tf 0.33 g {x:.1f} 24 Td ({words}) Tj ET Q"


@dataclass
class Chapter:
    """One page of the site in the book: its address, its heading, its part.

    Attributes:
        address: such as ``lessons/06_attention.html``; answers end in ``?answers``.
        title: what the contents call it.
        part: the heading above it in the contents.
        reader: its pages, once it is printed.
        sections: id and words of the headings in it.
        first: index of its first page in the book.
    """

    address: str
    title: str
    part: str
    reader: PdfReader | None = None
    sections: list[tuple[str, str]] = field(default_factory=list)
    first: int = 0


def settings(root: Path = ROOT) -> dict:
    """Return what `_config.yml` says about the site."""
    return yaml.safe_load((root / "_config.yml").read_text("utf-8"))


def chapters(solutions: bool = False, root: Path = ROOT) -> list[Chapter]:
    """Return what the book holds, in its order."""
    course = read_course(root)
    book = [_page(name, "Before you begin", root) for name in BEFORE]
    for one in course.lessons:
        part = f"Part {one.part}: {course.parts[one.part]}"
        book.append(Chapter(f"lessons/{one.name}.html", one.heading, part))
    for one in course.lessons:
        address = f"lessons/{one.name}.html?answers"
        book.append(Chapter(address, f"Answers to {one.heading}", "Answers and hints"))
    if solutions:
        for one in course.lessons:
            title, address = f"Solutions to {one.heading}", f"solutions/{one.name}.html"
            book.append(Chapter(address, title, "Solutions"))
    return book + [_page(name, "Look it up", root) for name in LOOK_UP]


def _page(name: str, part: str, root: Path) -> Chapter:
    text = (root / "book" / f"{name}.md").read_text("utf-8")
    return Chapter(f"book/{name}.html", re.search(r"(?m)^# (.+)$", text)[1], part)


def print_page(page: Page) -> PdfReader:
    """Print what a tab shows."""
    page.evaluate("paper.places()")
    return PdfReader(io.BytesIO(page.pdf(format="A4", prefer_css_page_size=True)))


def print_chapters(page: Page, base: str, book: list[Chapter]) -> Iterator[Chapter]:
    """Print all chapters, a lesson's answers right after it, and yield each."""
    known = {chapter.address: chapter for chapter in book}
    for chapter in book:
        if chapter.reader is not None or chapter.address.endswith("?answers"):
            continue
        answers = known.get(f"{chapter.address}?answers")
        open_for_paper(page, base + chapter.address)
        _dress(page)
        if answers:
            page.evaluate("a => paper.fold(a)", base + answers.address)
        chapter.sections = page.evaluate("paper.sections()")
        chapter.reader = print_page(page)
        yield chapter
        if answers:
            page.evaluate("title => paper.answers(title)", answers.title)
            answers.reader = print_page(page)
            yield answers


def _dress(page: Page) -> None:
    """Give a page the book's style and the functions that change it."""
    page.add_style_tag(content=(HERE / "pdf.css").read_text("utf-8"))
    page.add_script_tag(content=(HERE / "pdf.js").read_text("utf-8"))
    page.evaluate(
        "document.querySelectorAll('details.hide').forEach(d => {d.open = 1})"
    )


def print_front(page: Page, base: str, book: list[Chapter]) -> Chapter:
    """Print the cover and the contents, with the page numbers of the chapters."""
    rows, part = [], ""
    for chapter in book:
        if chapter.part != part:
            part = chapter.part
            rows.append(f"<h2>{escape(part)}</h2>")
        link = f'<a href="{base}{chapter.address}">{escape(chapter.title)}</a>'
        rows.append(f"<p>{link}<i></i><span>{chapter.first + 1}</span></p>")
    html = COVER.format(
        logo=f"{base}_static/logo.svg",
        title=settings()["title"],
        n=sum(c.part.startswith("Part ") for c in book),
        site=base,
        rows="\n".join(rows),
    )
    open_for_paper(page, base + "book/how_to_use.html")
    _dress(page)
    page.evaluate("html => document.querySelector('article').innerHTML = html", html)
    page.evaluate("Promise.all([...document.images].map(i => i.decode()))")
    return Chapter("", settings()["title"], "", print_page(page))


def place(book: list[Chapter], n_front: int) -> int:
    """Give each chapter the index of its first page; return the number of pages."""
    at = n_front
    for chapter in book:
        chapter.first = at
        at += len(chapter.reader.pages)
    return at


def bind(front: Chapter, book: list[Chapter], base: str) -> PdfWriter:
    """Make one file of all chapters: links, outline, page numbers."""
    writer, all_of_it = PdfWriter(), [front, *book]
    for chapter in all_of_it:
        for sheet in chapter.reader.pages:
            writer.add_page(sheet)
    goals = {base + c.address: c for c in all_of_it}
    font = writer._add_object(_helvetica())
    for chapter in all_of_it:
        for index in range(len(chapter.reader.pages)):
            sheet = writer.pages[chapter.first + index]
            for entry in sheet.get("/Annots") or ():
                lead(writer, entry.get_object(), chapter, goals)
            if chapter is not front or index:
                stamp(writer, sheet, chapter, chapter.first + index + 1, font)
    outline(writer, book)
    writer.metadata = {"/Title": settings()["title"]}
    writer.compress_identical_objects(remove_duplicates=True)
    return writer


def lead(
    writer: PdfWriter, link: DictionaryObject, home: Chapter, goals: dict[str, Chapter]
) -> None:
    """Make a link to a chapter one to its page; what leads elsewhere stays."""
    if "/Dest" in link:
        target, name = home, str(link["/Dest"])
    elif "/A" in link and "/URI" in link["/A"]:
        address, name = urldefrag(str(link["/A"]["/URI"]))
        target, name = goals.get(address), f"/{unquote(name)}"
    else:
        return
    if target is not None:
        link.pop("/A", None)
        link[NameObject("/Dest")] = destination(writer, target, name)


def destination(writer: PdfWriter, chapter: Chapter, name: str) -> ArrayObject:
    """Return where a place of a chapter is; its first page if it has no such place."""
    found = chapter.reader.named_destinations.get(unquote(name))
    number, top = 0, NullObject()
    if found is not None:
        number = chapter.reader.get_page_number(found.page.get_object())
        top = FloatObject(found.top)
    sheet = writer.pages[chapter.first + number].indirect_reference
    return ArrayObject([sheet, NameObject("/XYZ"), NullObject(), top, NullObject()])


def stamp(
    writer: PdfWriter, sheet: DictionaryObject, chapter: Chapter, number: int, font
) -> None:
    """Write the chapter's title and the page's number at the foot of a page."""
    width = float(sheet.mediabox.width)
    fonts = (
        sheet["/Resources"]
        .get_object()
        .setdefault(NameObject("/Font"), DictionaryObject())
    )
    fonts.get_object()[NameObject("/FoBT")] = font
    lines = [
        STAMP.format(x=43, words=_quoted(chapter.title)),
        STAMP.format(x=width - 43 - 4.5 * len(str(number)), words=number)[2:],
    ]
    streams = []
    for data in (b"q", "\n".join(lines).encode("cp1252")):
        stream = DecodedStreamObject()
        stream.set_data(data)
        streams.append(writer._add_object(stream))
    old = sheet["/Contents"].get_object()
    kept = old if isinstance(old, ArrayObject) else [old.indirect_reference]
    sheet[NameObject("/Contents")] = ArrayObject([streams[0], *kept, streams[1]])


def _quoted(words: str) -> str:
    return re.sub(r"([()\\])", r"\\\1", words)


def _helvetica() -> DictionaryObject:
    names = {"Type": "Font", "Subtype": "Type1", "BaseFont": "Helvetica"}
    names["Encoding"] = "WinAnsiEncoding"
    return DictionaryObject(
        {NameObject(f"/{key}"): NameObject(f"/{name}") for key, name in names.items()}
    )


def outline(writer: PdfWriter, book: list[Chapter]) -> None:
    """Write the list of parts, chapters and sections that a viewer shows."""
    parts = {}
    for chapter in book:
        if chapter.part not in parts:
            parts[chapter.part] = writer.add_outline_item(
                title=chapter.part, page_number=chapter.first
            )
        above = writer.add_outline_item(
            title=chapter.title,
            page_number=chapter.first,
            parent=parts[chapter.part],
            is_open=False,
        )
        for name, words in chapter.sections:
            sheet = destination(writer, chapter, f"/{name}")[0]
            number = writer.get_page_number(sheet.get_object())
            writer.add_outline_item(title=words, page_number=number, parent=above)


def write(writer: PdfWriter, path: Path) -> None:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".tmp")
    with half.open("wb") as file:
        writer.write(file)
    half.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Print the book, and say how many pages it has."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "course.pdf")
    parser.add_argument("--solutions", action="store_true", help="with solutions")
    parser.add_argument("--only", nargs="+", help="lessons such as 06, to try it")
    options = parser.parse_args(arguments)
    if not (options.site / "index.html").exists():
        print("the site is not built: run `make site`", file=sys.stderr)
        return 1
    book = chapters(options.solutions)
    if options.only:
        pattern = rf"(lessons|solutions)/({'|'.join(options.only)})_"
        book = [c for c in book if re.match(pattern, c.address)]
    base = settings()["html"]["baseurl"]
    with printer(options.site, base) as page:
        for chapter in print_chapters(page, base, book):
            print(f"{len(chapter.reader.pages):>4} pages  {chapter.title}", flush=True)
        front = print_front(page, base, book)
        place(book, len(front.reader.pages))
        front = print_front(page, base, book)  # now with the numbers
    n_pages = place(book, len(front.reader.pages))
    write(bind(front, book, base), options.out)
    print(f"{n_pages} pages in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
