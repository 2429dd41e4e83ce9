"""The course's models live: in a page of the site, and in a notebook.

There are three kinds: the playground of a GPT, the translator and the tokenizer. The
parts of the models in JavaScript are ``parts.js``, the forward passes ``engine.js`` and
``encoder_decoder.js``; ``panel.js`` and its like show them. Here they become one script
for each kind, without another tool: a classic one for pages, which also works from a
disk, and a module for the widget of a notebook.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from html import escape
from pathlib import Path

__all__ = ["KINDS", "source", "page_script", "widget_module", "weights_script", "place"]

HERE = Path(__file__).parent
MODEL = ("files.js", "tokens.js", "parts.js", "sampling.js")
KINDS = {  # of panels: the files of each, which may use those before them
    "playground": ("panel.css", *MODEL, "engine.js", "view.js", "panel.js"),
    "translator": (
        *("panel.css", "translator.css", *MODEL, "encoder_decoder.js"),
        *("translation.js", "view.js", "translator_panel.js"),
    ),
    "tokenizer": (
        *("panel.css", "tokenizer.css", "tokens.js", "view.js", "tokenizer_panel.js"),
    ),
}
WAITING = {
    "playground": "A live model stands here: on the course's site, or when you run "
    "this cell.",
    "translator": "The translator stands here, on the course's site.",
    "tokenizer": "The tokenizer stands here, on the course's site.",
}
PAGE = """\
(() => {
"use strict";
const KIND = "%s";
%s
%s
})();
"""


@cache
def source(kind: str = "playground", until: str | None = None) -> str:
    """Return the files of a kind as one script: no imports, no exports.

    The style comes first, as a string. The script ends with the file ``until``, or with
    the last one.
    """
    files = KINDS[kind][: None if until is None else KINDS[kind].index(until) + 1]
    text = {name: (HERE / name).read_text("utf-8") for name in files}
    style = "".join(text[name] for name in files if name.endswith(".css"))
    scripts = [text[name] for name in files if name.endswith(".js")]
    joined = "\n".join([f"const CSS = `{style}`;", *scripts])
    joined = re.sub(r"^import .*;\n", "", joined, flags=re.MULTILINE)
    return re.sub(r"^export ", "", joined, flags=re.MULTILINE)


def page_script(kind: str = "playground") -> str:
    """Return a kind's script for pages: it starts the panels that come into view."""
    return PAGE % (kind, source(kind), (HERE / "page.js").read_text("utf-8"))


def widget_module() -> str:
    """Return the module that anywidget wants: its ``render`` fills an element."""
    return source() + (HERE / "widget.js").read_text("utf-8")


def weights_script(name: str, content: bytes) -> str:
    """Return a script that puts a file's bytes where the page's script looks.

    A page that was opened from a disk may not fetch a file, but it may run a script.
    """
    text = base64.b64encode(content).decode("ascii")
    return f'(window.COURSE_MODELS ??= {{}})["{name}"] = "{text}";\n'


def place(
    folder: str, models: list[str], options: dict, kind: str = "playground"
) -> str:
    """Return the element of a page that its script fills.

    Args:
        folder: where the scripts of the models are, seen from the page, with a slash.
        models: names of models; the first is shown, the others can be chosen.
        options: of the panel, such as ``prompt`` and ``temperature``.
        kind: of `KINDS`.
    """
    data = {"folder": folder, "models": " ".join(models)}
    data |= {"options": json.dumps(options)}
    attributes = " ".join(f'data-{name}="{escape(v)}"' for name, v in data.items())
    return f"<div data-{kind} {attributes}><p>{WAITING[kind]}</p></div>"
