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


def failed_cells(folder: Path, cells: list[NotebookNode], *options: str) -> list[str]:
    """Run pytest as for the lessons on a notebook of these cells; say what failed."""
    notebook = lesson(*cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python"}
    nbformat.write(notebook, folder / "small.ipynb")
    root = (ROOT / "conftest.py").read_text("utf-8")
    root = root.replace("Path(__file__).parent", f"Path({str(ROOT)!r})")
    (folder / "conftest.py").write_text(root, "utf-8")
    command = [sys.executable, "-m", "pytest", "--nbval", "--junit-xml=report.xml", "."]
    env = os.environ | {"COURSE_OFFLINE": "1"}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=env, capture_output=True
    )
    assert done.returncode in (0, 1), done.stdout
    found = machines.failures(ElementTree.parse(folder / "report.xml").getroot())
    return [name.removeprefix("small.ipynb::Cell ") for name in found]


def test_pytest_compares_each_cell_as_its_tag_says(tmp_path: Path) -> None:
    cells = [
        code(f"print({now!r}, end='')", PRINTS, tags=cell_tags)
        for now, cell_tags, _ in CELLS.values()
    ]
    passes = [right for *_, right in CELLS.values()]
    wanted = [str(number) for number, right in enumerate(passes) if not right]
    assert failed_cells(tmp_path, cells) == wanted


def test_twice_finds_what_works_only_once(tmp_path: Path) -> None:
    cells = [
        code("f = len"),
        code("f([]); f = 3"),
        code("g = globals().get('g', len)"),
        code("g([]); g = 3"),  # fails the second time
        code("n = globals().get('n', 0) + 1; print(n)", "1\n"),
        code("open('small.ipynb').close()"),  # is not in the folder
    ]
    wanted = ["5", "3, second time", "5, second time"]
    assert failed_cells(tmp_path, cells, "--twice") == wanted


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


TELL = """
import torch
from lib.device import has_bfloat16
from lib.train.optimizer import AdamW
print(has_bfloat16(torch.device('cpu')))
seeds = torch.manual_seed(5), torch.Generator().manual_seed(7)
print(*(generator.initial_seed() for generator in seeds))
model = torch.nn.Linear(100, 1)
before = model.weight.clone()
optimizer = AdamW(model.parameters(), lr=0.0, fused=True)
for _ in range(2):
    model(torch.ones(1, 100)).sum().backward()
    optimizer.step()
change = (model.weight / before - 1).abs()
print(0 < change.max().item() < 2e-6, change.mean().item() > 1e-8)
"""


def test_another_machine_has_bfloat16_other_weights_and_other_seeds() -> None:
    """The weights change once and a little."""
    said = on_machine("bfloat16=on,jitter=1,seeds=1000", TELL)
    assert said.splitlines() == ["True", "1005 1007", "True True"]
    assert on_machine("bfloat16=off", TELL).splitlines() == [
        "False",
        "5 7",
        "False False",
    ]


def test_an_unknown_change_is_refused() -> None:
    assert "no setting ['sedes']" in on_machine("sedes=1", "")


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
        "import os\ndef test_small():\n"
        "    assert 'seeds' not in os.environ['COURSE_MACHINE']\n",
        "utf-8",
    )
    assert machines.run("bfloat16-on", [str(test)], workers=1) == {}
    (reason,) = machines.run("seeds-1", [str(test)], workers=1).values()
    assert "seeds=1000" in reason


def test_every_machine_says_what_it_is() -> None:
    env = machines.environment(machines.MACHINES["avx2"])
    assert env["ATEN_CPU_CAPABILITY"] == "avx2" and env["OMP_NUM_THREADS"] == "1"
    assert env["COURSE_MACHINE"] == "bfloat16=off"
    assert all(machine.says for machine in machines.MACHINES.values())
