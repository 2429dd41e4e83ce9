"""Keeps the site free of other people's servers: formulas and scripts come with it.

And of what no page loads. Notebooks can be downloaded without their outputs, which the
pages show: they make three quarters of a notebook.
"""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx

MATHJAX = "tex-chtml.js"
PARTS = (MATHJAX, "input/tex/extensions", "output/chtml/fonts/woff-v2")
ALL_PACKAGES = "input/tex/extensions/all-packages.js"  # the others once more
# Words in the scripts of parts that no page uses; sphinx-thebe names a CDN, too.
UNUSED = ("sphinx-thebe", "THEBE_JS_URL", "toggle", "design-tabs")
UNUSED_FILES = ("sphinx-thebe.js", "togglebutton.js", "design-tabs.js")
UNUSED_FOLDERS = ("vendor/fontawesome", "locales")  # an icon font; other languages
SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=\S+\s*$")


def arrange_files(app: Sphinx, error: Exception | None) -> None:
    """Put into the built site what its pages load, and nothing else."""
    if error is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        copy_mathjax(static / "mathjax")
        for name in UNUSED_FOLDERS:
            shutil.rmtree(static / name)
        for name in UNUSED_FILES:
            (static / name).unlink()
        remove_source_maps(static)
        for path in (Path(app.outdir) / "_sources").rglob("*.ipynb"):
            path.write_text(without_outputs(path.read_text("utf-8")), "utf-8")


def remove_source_maps(static: Path) -> None:
    """Remove the maps from packed scripts and sheets to the theme's own sources."""
    for path in static.rglob("*.map"):
        path.unlink()
        script = path.with_suffix("")
        if script.suffix == ".js":
            text = SOURCE_MAP.sub("\n", script.read_text("utf-8"))
            script.write_text(text, encoding="utf-8")


def without_outputs(notebook: str) -> str:
    """A notebook before it ran."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def copy_mathjax(target: Path) -> None:
    """Copy the parts of MathJax that the pages use into a folder."""
    # The package's name has hyphens: it can be found, but not imported by name.
    spec = find_spec("sphinx-mathjax-offline")
    source = Path(spec.origin).parent / "static" / "mathjax"
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / part, target / part)
    (target / ALL_PACKAGES).unlink()


def keep_used_scripts(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Leave out scripts that a page has no use for, and let the others wait for it.

    Without formulas it needs no MathJax. Where a template adds scripts that call them
    at once, as on the search page, they do not wait.
    """
    unused = UNUSED
    if 'class="math' not in context.get("body", ""):
        unused += ("MathJax",)
    # In place: what other extensions add later goes to this very list.
    context["script_files"][:] = [
        script for script in context["script_files"] if not _is_one_of(script, unused)
    ]
    if template == "page.html":
        context["script_files"][:] = map(_waiting, context["script_files"])


def _waiting(script: object) -> object:
    """The same script, run when the page is there; except the one that others need."""
    name = str(getattr(script, "filename", ""))
    if not name.endswith(".js") or "documentation_options" in name:
        return script
    attributes = {**script.attributes, "defer": "defer"}
    return type(script)(name, priority=script.priority, **attributes)


def _is_one_of(script: object, words: tuple[str, ...]) -> bool:
    name = str(getattr(script, "filename", script)).replace("mathjax", "MathJax")
    body = str(getattr(script, "attributes", {}).get("body", ""))
    return any(word in name + body for word in words)


def setup(app: Sphinx) -> None:
    """Hook all of this into the build."""
    app.config.mathjax_path = f"mathjax/{MATHJAX}"
    app.connect("build-finished", arrange_files)
    app.connect("html-page-context", keep_used_scripts, priority=900)
