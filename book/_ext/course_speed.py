"""Makes a build quick: on several processors, and without asking for the same again."""

from __future__ import annotations

import gc
import os
from functools import lru_cache

import pybtex.plugin
from pydata_sphinx_theme import utils
from sphinx.application import Sphinx

MOST = 4  # processes: more of them wait for the largest page
# To look for garbage as often as usual takes a quarter of the time: nearly all of a
# document lives until the end.
RARELY = (200_000, 50, 100)
# They read and write one page at a time, but do not say so: one adds nodes and
# transforms, the other numbers the sections when all pages are there.
SAFE = ("sphinx_jupyterbook_latex", "sphinx_multitoc_numbering")
# Never empty, and slow to make: the theme need not try whether they are.
FULL = ["sbt-sidebar-nav.html"]


def allow_processes(app: Sphinx) -> None:
    """Say of these extensions what they leave unsaid."""
    for name in SAFE:
        app.extensions[name].parallel_read_safe = True


def setup(app: Sphinx) -> None:
    """Use the processors; look for each plug-in of the bibliography once, and list
    all pages only where the list is shown.
    """
    gc.set_threshold(*RARELY)
    app.parallel = min(os.cpu_count() or 1, MOST)
    pybtex.plugin._load_entry_point = lru_cache(pybtex.plugin._load_entry_point)
    try_templates = utils._update_and_remove_templates

    def try_quick_ones(*args, templates_skip_empty_check=(), **given) -> list[str]:
        skipped = [*templates_skip_empty_check, *FULL]
        return try_templates(*args, templates_skip_empty_check=skipped, **given)

    utils._update_and_remove_templates = try_quick_ones
    app.connect("builder-inited", allow_processes)
