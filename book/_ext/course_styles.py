"""One small style sheet for all pages, made from those of the theme and of the course.

The theme brings 400 kB of rules for every page that anybody may write. Here stay those
for classes that a page or a script of this site names. The theme has colours for pages
that are `light` or `dark`; here a page that chose neither, because JavaScript is off,
looks as the system asks, and every page is printed in light colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from course_icons import icon_styles
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
SHEET = "site.css"
PARTS = (  # in this order, in _static
    "basic.css",
    "styles/bootstrap.css",
    "styles/pydata-sphinx-theme.css",
    "pygments.css",
    "styles/sphinx-book-theme.css",
    "copybutton.css",
    "mystnb.*.css",
    "course.css",
)
# What the pages of this course do not use.
UNUSED = ("sphinx-thebe.css", "sphinx-design.min.css", "togglebutton.css")
# Scripts know these parts of Bootstrap, and act where a page has them.
WORD = re.compile(r"[a-zA-Z_][\w-]*")
COMPONENTS = (
    "accordion",
    "alert",
    "carousel",
    "modal",
    "offcanvas",
    "popover",
    "toast",
)

CLASS_OR_ID = re.compile(r"[.#](?:\\.|[\w-])+")
ATTRIBUTE = re.compile(r"""\b(class|id)=["']([^"']*)""")
THEME = re.compile(r"""html\[data-theme=["']?(?:light|dark)["']?\]""")
LIGHT = re.compile(r"""html\[data-theme=["']?light""")
DARK = re.compile(r"""html\[data-theme=["']?dark""")
NOT_DARK = "html:not([data-theme=dark])"
IN_DARK = "html[data-theme=dark]"
UNCHOSEN = "html:not([data-theme=light],[data-theme=dark])"
SYSTEM_DARK = "@media screen and (prefers-color-scheme: dark)"


def rules(css: str) -> Iterator[tuple[str, str | None]]:
    """Each rule of a style sheet without comments: what stands before its braces, and
    in them; a statement without braces has None there."""
    start = 0
    while (brace := css.find("{", start)) >= 0:
        head = css[start:brace].strip()
        if head.startswith(("@import", "@charset")):
            end = css.index(";", start)
            yield css[start:end].strip(), None
        else:
            end, depth = brace, 1
            while depth:
                end += 1
                depth += {"{": 1, "}": -1}.get(css[end], 0)
            yield head, css[brace + 1 : end].strip()
        start = end + 1


def selectors(head: str) -> list[str]:
    """The selectors of a rule; a comma in parentheses does not divide."""
    found, depth = [""], 0
    for sign in head:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and not depth:
            found.append("")
        else:
            found[-1] += sign
    return [selector.strip() for selector in found]


class Names:
    """The classes and ids that pages and scripts of a site use."""

    def __init__(self, pages: Iterable[str], scripts: Iterable[str]) -> None:
        self.names: set[str] = set()  # such as .class and #id
        for page in pages:
            for kind, values in set(ATTRIBUTE.findall(page)):
                sign = "." if kind == "class" else "#"
                self.names.update(sign + value for value in values.split())
        starts = set()
        for script in scripts:
            words = {w for w in WORD.findall(script) if not w.startswith(COMPONENTS)}
            self.names.update(sign + word for word in words for sign in ".#")
            starts.update(word for word in words if word.endswith("-") and word[1:])
        # Scripts put names together, such as `bs-${name}-auto`.
        self.starts = tuple(sign + word for word in starts for sign in ".#")

    def use(self, selector: str) -> bool:
        """Whether there may be an element that a selector means."""
        while selector != (bare := re.sub(r"\([^()]*\)", "", selector)):
            selector = bare
        return all(
            name in self.names or name.startswith(self.starts)
            for name in CLASS_OR_ID.findall(selector)
        )


def compact(css: str) -> str:
    """A style sheet without its comments and the layout of its text."""
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL))


def slim(css: str, names: Names) -> str:
    """The rules of a style sheet that some page may need."""
    kept = []
    for head, body in rules(css):
        if body is None:
            continue
        if head.startswith(("@media", "@supports")):
            body = slim(body, names)
        elif not head.startswith("@"):
            head = ",".join(one for one in selectors(head) if names.use(one))
        if head and body:
            kept.append(f"{head}{{{body}}}\n")
    return "".join(kept)


def every_theme(css: str) -> str:
    """Rules for light and dark, made to hold on paper and without a choice, too."""
    plain, on_paper, dark, unchosen = [], [], [], []
    for head, body in rules(css):
        themed = not head.startswith("@") and THEME.search(head)
        for one in selectors(head) if themed else [head]:
            if DARK.search(one):
                dark.append(f"{one}{{{body}}}\n")
                unchosen.append(f"{THEME.sub(UNCHOSEN, one)}{{{body}}}\n")
            elif LIGHT.search(one):
                plain.append(f"{THEME.sub(NOT_DARK, one)}{{{body}}}\n")
                on_paper.append(f"{THEME.sub(IN_DARK, one)}{{{body}}}\n")
            else:
                plain.append(f"{one}{{{body}}}\n")
    blocks = {"@media print": on_paper, "@media screen": dark, SYSTEM_DARK: unchosen}
    return "".join(plain) + "".join(
        f"{medium}{{\n{''.join(block)}}}\n" for medium, block in blocks.items() if block
    )


def one_sheet(app: Sphinx, page: str, template: str, context: dict, _: object) -> None:
    """Link no sheet but the one that the template names."""
    for sheet in context["css_files"]:
        name = str(getattr(sheet, "filename", sheet)).removeprefix("_static/")
        if not any(Path(name).match(part) for part in (*PARTS, *UNUSED)):
            LOGGER.warning(f"{name} is no part of {SHEET}: see course_styles.py")
    context["css_files"][:] = []


def write_sheet(app: Sphinx, error: Exception | None) -> None:
    """Write the sheet from the parts, and remove these."""
    if error is not None or app.builder.format != "html":
        return
    site, static = Path(app.outdir), Path(app.outdir) / "_static"
    pages = (path.read_text("utf-8") for path in site.rglob("*.html"))
    scripts = (path.read_text("utf-8") for path in own_scripts(static))
    names = Names(pages, scripts)
    parts = []
    for pattern in PARTS:
        (path,) = static.glob(pattern)
        parts.append(every_theme(slim(compact(path.read_text("utf-8")), names)))
        path.unlink()
    for name in (*UNUSED, "styles/theme.css"):
        (static / name).unlink()
    text = "".join([*parts, icon_styles()])
    (static / SHEET).write_text(text, encoding="utf-8")


def own_scripts(static: Path) -> Iterator[Path]:
    """The scripts that change what a page looks like with classes."""
    yield from static.glob("*.js")
    yield from static.glob("scripts/*.js")


def setup(app: Sphinx) -> None:
    """Hook both into the build; the sheet last, when all pages are there."""
    app.connect("html-page-context", one_sheet, priority=950)
    app.connect("build-finished", write_sheet, priority=950)
