"""The directive `playground`: a model of the course that writes in the page.

Its scripts are those of lib/show/playground. They and the models' weights are written
into the site's static files; only pages with a playground load them.
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

from lib.show.playground import page_script, place, weights_script  # noqa: E402

FOLDER = "_static/playground"
SCRIPT = "playground/playground.js"
MODELS = {  # name on the page -> its file
    "base": ROOT / "data" / "base-fp16.safetensors",
    "gpt-mini": ROOT / "data" / "gpt-mini-fp16.safetensors",
}
NO_SCRIPT = (
    "The live model needs JavaScript. Without it, this page shows no more of it."
)


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
        folder = relpath(FOLDER, str(Path(self.env.docname).parent))
        html = place(f"{folder}/", names, options)
        return [nodes.raw("", f"{html}<noscript>{NO_SCRIPT}</noscript>", format="html")]


def add_script(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Give the script to a page that has a playground."""
    if "data-playground" in context.get("body", ""):
        app.add_js_file(SCRIPT, loading_method="defer")


def write_files(app: Sphinx, error: Exception | None) -> None:
    """Write the script and the models."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "playground.js").write_text(page_script(), "utf-8")
    for name, path in MODELS.items():
        script = weights_script(name, path.read_bytes())
        (folder / f"{name}.js").write_text(script, "utf-8")


def setup(app: Sphinx) -> None:
    """Hook all of this into the build."""
    app.add_directive("playground", Playground)
    app.connect("html-page-context", add_script, priority=800)
    app.connect("build-finished", write_files)
