"""The directives `playground`, `translator` and `tokenizer`: live parts of a page.

Their scripts are those of lib/show/playground. They and the models' weights are written
into the site's static files; only pages with such a part load them, each its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from posixpath import relpath
from typing import ClassVar

from course_data import ROOT
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(ROOT))

from lib.show.playground import (  # noqa: E402
    KINDS,
    page_script,
    place,
    weights_script,
)

FOLDER = "_static/playground"
MODELS = {  # name on the page -> its file
    "base": ROOT / "data" / "base-fp16.safetensors",
    "gpt-mini": ROOT / "data" / "gpt-mini-fp16.safetensors",
}
OTHERS = {  # kind -> the name and the file of what it shows
    "translator": ("translator-model", ROOT / "data" / "translator.safetensors"),
    "tokenizer": ("bpe-1024", ROOT / "data" / "bpe-1024.json"),
}
NO_SCRIPT = "{} needs JavaScript. Without it, this page shows no more of it."
NAMES = {
    "playground": "The live model",
    "translator": "The translator",
    "tokenizer": "The tokenizer",
}


def live_part(page: str, kind: str, models: list[str], options: dict) -> nodes.raw:
    """Return the element that a kind's script fills, with a word for those without."""
    folder = relpath(FOLDER, str(Path(page).parent))
    html = place(f"{folder}/", models, options, kind)
    html += f"<noscript>{NO_SCRIPT.format(NAMES[kind])}</noscript>"
    # Its height depends on its width: see course.css.
    return nodes.raw("", f'<div class="live-part">{html}</div>', format="html")


class Playground(SphinxDirective):
    """A live model; its options are those of the panel."""

    option_spec: ClassVar = {
        "models": directives.unchanged,
        "compact": directives.flag,
        "prompt": directives.unchanged,
        "temperature": float,
        "top-k": directives.nonnegative_int,
        "top-p": float,
        "seed": directives.nonnegative_int,
        "speed": directives.nonnegative_int,
    }

    def run(self) -> list[nodes.Node]:
        """Write the element that the script fills."""
        options = {name.replace("-", "_"): v for name, v in self.options.items()}
        if "compact" in options:  # a flag has no value
            options["compact"] = True
        names = options.pop("models", "base").split()
        if unknown := set(names) - MODELS.keys():
            raise self.error(f"models={sorted(unknown)} must be in {[*MODELS]}")
        return [live_part(self.env.docname, "playground", names, options)]


class Other(SphinxDirective):
    """The translator or the tokenizer; the option is the text to begin with."""

    option_spec: ClassVar = {
        "sentence": directives.unchanged,
        "text": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Write the element that the script fills."""
        name, _ = OTHERS[self.name]
        return [live_part(self.env.docname, self.name, [name], self.options)]


def add_script(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Give a page the script of each kind that it holds."""
    for kind in KINDS:
        if f"<div data-{kind} " in context.get("body", ""):
            app.add_js_file(f"playground/{kind}.js", loading_method="defer")


def write_files(app: Sphinx, error: Exception | None) -> None:
    """Write the scripts and the models."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / f"{kind}.js").write_text(page_script(kind), "utf-8")
    for name, path in [*MODELS.items(), *OTHERS.values()]:
        script = weights_script(name, path.read_bytes())
        (folder / f"{name}.js").write_text(script, "utf-8")


def setup(app: Sphinx) -> None:
    """Hook all of this into the build."""
    app.add_directive("playground", Playground)
    for kind in OTHERS:
        app.add_directive(kind, Other)
    app.connect("html-page-context", add_script, priority=800)
    app.connect("build-finished", write_files)
