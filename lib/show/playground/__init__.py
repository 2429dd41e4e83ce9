"""The course's models live: in a page of the site, and in a notebook.

The forward pass in JavaScript is ``engine.js``, the panel around it ``panel.js``. Here
they become one script, without another tool: a classic one for pages, which also works
from a disk, and a module for the widget of a notebook.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from html import escape
from pathlib import Path

__all__ = ["page_script", "widget_module", "weights_script", "place"]

HERE = Path(__file__).parent
FILES = ("engine.js", "panel.js")  # each may use those before it
WAITING = "A live model stands here: on the course's site, or when you run this cell."
PAGE = """\
(() => {
"use strict";
%s
%s
})();
"""


@cache
def _source() -> str:
    """Return all parts as one script: no imports, no exports, the style as a string."""
    style = (HERE / "panel.css").read_text("utf-8")
    parts = [f"const CSS = `{style}`;", *((HERE / f).read_text("utf-8") for f in FILES)]
    joined = re.sub(r"^import .*;\n", "", "\n".join(parts), flags=re.MULTILINE)
    return re.sub(r"^export ", "", joined, flags=re.MULTILINE)


def page_script() -> str:
    """Return the script for pages: it finds their panels and starts those in view."""
    return PAGE % (_source(), (HERE / "page.js").read_text("utf-8"))


def widget_module() -> str:
    """Return the module that anywidget wants: its ``render`` fills an element."""
    return _source() + (HERE / "widget.js").read_text("utf-8")


def weights_script(name: str, content: bytes) -> str:
    """Return a script that puts a checkpoint's bytes where the page's script looks.

    A page that was opened from a disk may not fetch a file, but it may run a script.
    """
    text = base64.b64encode(content).decode("ascii")
    return f'(window.COURSE_MODELS ??= {{}})["{name}"] = "{text}";\n'


def place(folder: str, models: list[str], options: dict) -> str:
    """Return the element of a page that its script fills.

    Args:
        folder: where the scripts of the models are, seen from the page, with a slash.
        models: names of models; the first is shown, the others can be chosen.
        options: of the panel, such as ``prompt`` and ``temperature``.
    """
    data = {"folder": folder, "models": " ".join(models)}
    data |= {"options": json.dumps(options)}
    attributes = " ".join(f'data-{name}="{escape(v)}"' for name, v in data.items())
    return f"<div data-playground {attributes}><p>{WAITING}</p></div>"
