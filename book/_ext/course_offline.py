"""Keeps the site free of other people's servers: formulas and scripts come with it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx

MATHJAX = "tex-chtml.js"
PARTS = (MATHJAX, "input/tex/extensions", "output/chtml/fonts/woff-v2", "a11y")


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy the parts of MathJax that the pages use into the built site."""
    if error is not None or app.builder.format != "html":
        return
    # The package's name has hyphens: it can be found, but not imported by name.
    spec = find_spec("sphinx-mathjax-offline")
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / part, target / part)


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Leave out the scripts of sphinx-thebe: no page uses them and they name a CDN."""
    # In place: what other extensions add later goes to this very list.
    context["script_files"][:] = [
        script for script in context["script_files"] if not _is_thebe(script)
    ]


def _is_thebe(script: object) -> bool:
    name = str(getattr(script, "filename", script))
    body = str(getattr(script, "attributes", {}).get("body", ""))
    return "sphinx-thebe" in name or "THEBE_JS_URL" in body


def setup(app: Sphinx) -> None:
    """Hook both into the build."""
    app.config.mathjax_path = f"mathjax/{MATHJAX}"
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", drop_thebe, priority=900)
