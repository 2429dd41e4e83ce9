"""Rule 7: the same lesson on every machine; the tags, the emulation and the tool.

`make machines` runs the course on all emulated machines; here is what that rests on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import machines
import nbformat
import pytest
from cells import expect_none, printed
from nbformat import NotebookNode
from notebooks import (
    ROOT,
    code_cells,
    lesson_paths,
    pair_name,
    read_ipynb,
    solution_paths,
    tags,
)
from small_lessons import code, complaint, lesson
from stored_outputs import BANDS, NOT_COMPARED, band_of, snapped

PAIRS = lesson_paths() + solution_paths()
KNOWN = {*BANDS, NOT_COMPARED}
PRINTS = "V is 65, loss 2.35 nats, 98.1 % right\n"


# What `pytest --nbval` makes of a cell


NEAR = "V is 65, loss 2.37 nats, 97.4 % right\n"
FAR = "V is 65, loss 2.75 nats, 97.4 % right\n"
CELLS = {  # name: what the cell prints now, its tags, whether it passes
    "exact": (PRINTS, [], True),
    "exact_near": (NEAR, [], False),
    "near": (NEAR, ["measured"], True),
    "far": (FAR, ["measured"], False),
    "wide": (NEAR.replace("2.37", "2.75"), ["measured:wide"], True),
    "words": (NEAR.replace("nats", "bits"), ["measured"], False),
    "sample": ("ROMEO: And thou", ["sample"], True),
}


def failed_cells(folder: Path, cells: dict[str, list[NotebookNode]], *options: str):
    """Run pytest as for the lessons on notebooks with these cells; say what failed."""
    for name, of_it in cells.items():
        notebook = lesson(*of_it)
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    root = (ROOT / "conftest.py").read_text("utf-8")
    root = root.replace("Path(__file__).parent", f"Path({str(ROOT)!r})")
    (folder / "conftest.py").write_text(root, "utf-8")
    command = [sys.executable, "-m", "pytest", "--nbval", "--junit-xml=report.xml", "."]
    env = os.environ | {"COURSE_OFFLINE": "1"}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=env, capture_output=True
    )
    assert done.returncode in (0, 1), done.stdout
    return machines.failures(ElementTree.parse(folder / "report.xml").getroot())


def test_pytest_compares_each_cell_as_its_tag_says(tmp_path: Path) -> None:
    cells = {
        name: [code(f"print({now!r}, end='')", PRINTS, tags=cell_tags)]
        for name, (now, cell_tags, _) in CELLS.items()
    }
    failed = failed_cells(tmp_path, cells)
    wanted = {name for name, (_, _, passes) in CELLS.items() if not passes}
    assert {name.split(".ipynb")[0].split(".")[0] for name in failed} == wanted, failed


def test_twice_finds_what_works_only_once(tmp_path: Path) -> None:
    count = "n = globals().get('n', 0) + 1; print(n)"
    cells = {
        "fine": [code("f = len"), code("f([]); f = 3"), code(count, "1\n")],
        "name": [code("f = globals().get('f', len)"), code("f([]); f = 3")],
        "path": [code("open('path.ipynb').close()")],
    }
    failed = failed_cells(tmp_path, cells, "--twice")
    assert {name.split(".ipynb")[0].split(".")[0] for name in failed} == {
        "name",
        "path",
    }


# The bands


@pytest.mark.parametrize(
    ("now", "stored"),
    [
        ("loss 2.36", "loss 2.3548"),
        ("97.9 %", "98.1 %"),
        ("+0.01 nats", "-0.01 nats"),
        ("   0.42   9.5", "   0.44  10.2".replace("10.2", "9.7")),
        ("1,234 steps", "1,234 steps"),
    ],
)
def test_numbers_inside_the_band_count_as_equal(now: str, stored: str) -> None:
    band = BANDS["measured"]
    assert snapped(now, stored, band) == snapped(stored, stored, band)


@pytest.mark.parametrize(
    ("now", "stored"),
    [
        ("loss 2.36", "loss 2.56"),
        ("93 %", "98 %"),
        ("65 characters", "66 characters"),  # whole numbers are exact
        ("step 180", "step 200"),
        ("2.36 bits", "2.36 nats"),
        ("2.36 and 1.0", "2.36"),
        ("2.36", "2.36 and 1.0"),
        ("0.98", "98 %"),
        ("nan", "2.36"),
        ("2", "2.0"),
    ],
)
def test_everything_else_is_a_difference(now: str, stored: str) -> None:
    band = BANDS["measured"]
    assert snapped(now, stored, band) != snapped(stored, stored, band)


def test_the_wide_band_has_an_end_too() -> None:
    wide = BANDS["measured:wide"]
    assert snapped("share 0.41", "share 0.60", wide) == "share 0.60"
    assert snapped("share 0.10", "share 0.60", wide) != "share 0.60"
    assert snapped("7 heads", "10 heads", wide) == "10 heads"
    assert snapped("2 heads", "10 heads", wide) != "10 heads"


# The tags, on the course


def tag_problems(name: str, notebook: NotebookNode) -> list[str]:
    """Tags that do not fit what the cell prints."""
    problems = []
    for number, cell in enumerate(code_cells(notebook)):
        where, own = f"{name}, code cell {number}", tags(cell)
        if len(KNOWN & set(own)) > 1:
            problems.append(f"{where}: {own} are two ways to compare")
        text = printed(cell)
        if band_of(own) and not any(c.isdigit() for c in text):
            problems.append(f"{where}: it is measured, and prints no number")
        letters, digits = sum(map(str.isalpha, text)), sum(map(str.isdigit, text))
        if NOT_COMPARED in own and letters <= 2 * digits:
            problems.append(f"{where}: a sample is text, this is {text[:40]!r}")
    return problems


@pytest.mark.parametrize("path", PAIRS, ids=pair_name)
def test_tags_fit_their_cells(path: Path) -> None:
    expect_none(tag_problems(pair_name(path), read_ipynb(path)))


def test_tags_that_do_not_fit_are_found() -> None:
    for cell, words in (
        (code("x", "ROMEO: ay", tags=["measured"]), "prints no number"),
        (code("x", "0.41 0.52 0.63 a", tags=["sample"]), "a sample is text"),
        (code("x", " ", tags=["sample"]), "a sample is text"),
        (code("x", "ROMEO: 1", tags=["sample", "measured"]), "two ways to compare"),
    ):
        assert words in complaint(tag_problems("x", lesson(cell)))
    fine = code("x", "loss 2.31", tags=["measured", "corpus"])
    assert not tag_problems("x", lesson(fine, code("x", "ROMEO: ay", tags=["sample"])))


# The emulation


def on_machine(changes: str, source: str) -> str:
    """Return what a Python program prints on an emulated machine."""
    path = os.pathsep.join([str(ROOT / "tests" / "emulation"), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "COURSE_MACHINE": changes}
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.stdout + done.stderr


UPDATE = """
import torch
model = torch.nn.Linear(100, 1)
before = model.weight.clone()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
for _ in range(2):
    model(torch.ones(1, 100)).sum().backward()
    optimizer.step()
change = (model.weight / before - 1).abs()
print(0 < change.max().item() < 2e-6, change.mean().item() > 1e-8)
"""


def test_bfloat16_is_forced_on_and_off() -> None:
    source = "import torch\nfrom lib.device import has_bfloat16\n"
    source += "print(has_bfloat16(torch.device('cpu')))"
    assert on_machine("bfloat16=on", source) == "True\n"
    assert on_machine("bfloat16=off", source) == "False\n"


def test_jitter_changes_the_weights_once_and_a_little() -> None:
    assert on_machine("jitter=1", UPDATE) == "True True\n"
    assert on_machine("", UPDATE) == "False False\n"


def test_seeds_are_others_everywhere() -> None:
    source = "import torch\nprint(torch.manual_seed(5).initial_seed(), "
    source += "torch.Generator().manual_seed(7).initial_seed())"
    assert on_machine("seeds=1000", source) == "1005 1007\n"


def test_an_unknown_change_is_refused() -> None:
    assert "no setting ['sedes']" in on_machine("sedes=1", "import torch")


# The tool


def test_a_failure_is_found_with_its_reason() -> None:
    report = ElementTree.fromstring(
        "<testsuites><testsuite>"
        '<testcase classname="a" name="good"/>'
        '<testcase classname="a" name="bad"><failure message="m">Traceback\n'
        "AssertionError: the run contradicts the lesson: it is less\nmore</failure>"
        '</testcase><testcase name="worse"><error message="no kernel"/></testcase>'
        "</testsuite></testsuites>"
    )
    found = machines.failures(report)
    assert found["a::bad"].startswith("AssertionError: the run contradicts")
    assert found["::worse"] == "no kernel" and len(found) == 2


def test_a_test_that_fails_only_there_is_reported(tmp_path: Path) -> None:
    test = tmp_path / "test_small.py"
    test.write_text(
        "import torch\ndef test_seed():\n"
        "    assert torch.manual_seed(0).initial_seed() == 0\n",
        "utf-8",
    )
    assert machines.run("bfloat16-on", [str(test)], workers=1) == {}
    (reason,) = machines.run("seeds-1", [str(test)], workers=1).values()
    assert "1000" in reason


def test_every_machine_says_what_it_is() -> None:
    env = machines.environment(machines.MACHINES["avx2"])
    assert env["ATEN_CPU_CAPABILITY"] == "avx2" and env["OMP_NUM_THREADS"] == "1"
    assert env["COURSE_MACHINE"] == "bfloat16=off"
    assert all(machine.says for machine in machines.MACHINES.values())
