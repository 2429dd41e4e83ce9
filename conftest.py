"""What every test run needs: the library on the path, one corpus, stored outputs.

A cell's output is compared with the stored one as its tags say
(tests/stored_outputs.py), and what a lesson claims must hold (lib/checks/claims.py):
all that for a plain ``pytest --nbval lessons/`` too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from stored_outputs import NOT_COMPARED, band_of, in_bands  # noqa: E402

# Kernels inherit the environment; pytest's own `pythonpath` does not reach them.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COURSE_QUIET", "1")
os.environ.setdefault("COURSE_STRICT", "1")
STAND_IN = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Find the corpus once, before any kernel starts and would look for itself."""
    if not getattr(config.option, "nbval", False):
        return
    from lib.text.corpus import load_corpus

    config.stash[STAND_IN] = load_corpus().is_stand_in


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which corpus the notebooks run on, and what follows for the comparison."""
    stand_in = config.stash.get(STAND_IN, None)
    if stand_in is None:
        return None
    if not stand_in:
        return "corpus: Tiny Shakespeare"
    return (
        "corpus: the stand-in play; all cells run and all assertions hold, but stored "
        "outputs of cells tagged `corpus` are Tiny Shakespeare's and not compared"
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Compare the outputs of each cell as its tags say.

    On the stand-in, outputs that depend on the corpus are not compared.
    """
    not_compared = {NOT_COMPARED}
    if config.stash.get(STAND_IN, False):
        not_compared.add("corpus")
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is None:
            continue
        tags = cell.metadata.get("tags", [])
        if not_compared & set(tags):
            item.options["check"] = False
        elif (band := band_of(tags)) is not None:
            item.compare_outputs = in_bands(item.compare_outputs, band)
