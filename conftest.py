"""What every test run needs: the library on the path, one corpus, strict notebooks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

# Kernels inherit the environment; pytest's own `pythonpath` does not reach them.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COURSE_QUIET", "1")
STAND_IN = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Find the corpus once, before any kernel starts and would look for itself."""
    if not getattr(config.option, "nbval", False):
        return
    from lib.corpus import load_corpus

    config.stash[STAND_IN] = load_corpus().is_stand_in


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which corpus the notebooks run on, and what follows for the comparison."""
    stand_in = config.stash.get(STAND_IN, None)
    if stand_in is None:
        return None
    if not stand_in:
        return "corpus: Tiny Shakespeare; every stored output is compared"
    return (
        "corpus: the stand-in play; all cells run and all assertions hold, but stored "
        "outputs of cells tagged `corpus` are Tiny Shakespeare's and not compared"
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """On the stand-in, compare only the outputs that do not depend on the corpus."""
    if not config.stash.get(STAND_IN, False):
        return
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is not None and "corpus" in cell.metadata.get("tags", []):
            item.options["check"] = False
