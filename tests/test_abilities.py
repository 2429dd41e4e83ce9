"""The page of what a small model can and cannot do shows what was recorded."""

import json

import pytest
from course_data import read_abilities
from notebooks import ROOT

from lib.models.presets import PRESETS
from lib.tasks import TASKS, make_task

ROWS = [pytest.param(row, id=row.asked) for row in read_abilities()]
TRAINED = [row for row in read_abilities() if row.training]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_several_runs_and_a_lesson(row):
    assert len(row.right) >= 3 and all(0 <= share <= 1 for share in row.right)
    assert (ROOT / "lessons" / f"{row.lesson}.py").exists()


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.asked)
def test_an_example_is_one_of_its_test(row):
    examples = make_task(row.training["task"]).test_examples
    assert row.example in {" ".join(example[:2]) for example in examples}


def test_the_preset_is_what_the_rows_were_trained_with():
    base = json.loads((ROOT / "data" / "reasoning.json").read_text("utf-8"))["base"]
    assert {n: getattr(PRESETS["solver"], n) for n in base} == base


def test_every_task_is_on_the_page():
    shown = {row.training["task"].partition(":")[0] for row in TRAINED}
    assert shown | {"repeats", "patterns", "instructions"} == set(TASKS)
