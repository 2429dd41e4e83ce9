"""Makes a build quick: on several processors, and without asking for the same again."""

from __future__ import annotations

import os
from functools import lru_cache

import pybtex.plugin
from sphinx.application import Sphinx

MOST = 4  # processes: more of them wait for the largest page
# They read and write one page at a time, but do not say so: one adds nodes and
# transforms, the other numbers the sections when all pages are there.
SAFE = ("sphinx_jupyterbook_latex", "sphinx_multitoc_numbering")


def allow_processes(app: Sphinx) -> None:
    """Say of these extensions what they leave unsaid."""
    for name in SAFE:
        app.extensions[name].parallel_read_safe = True


def setup(app: Sphinx) -> None:
    """Use the processors; look for each plug-in of the bibliography once."""
    app.parallel = min(os.cpu_count() or 1, MOST)
    pybtex.plugin._load_entry_point = lru_cache(pybtex.plugin._load_entry_point)
    app.connect("builder-inited", allow_processes)
