"""The page of what a small model can and cannot do shows what was recorded."""

import abilities
import pytest
from course_data import read_abilities
from notebooks import ROOT

from lib.models import build_model, count_parameters
from lib.models.presets import preset_config
from lib.tasks import TASKS, make_task

NAMES = ["asked", "lesson", "task", "steps", "batch_size", "preset"]


def test_every_row_is_recorded_and_nothing_else():
    recorded = [tuple(row[name] for name in NAMES) for row in read_abilities()]
    assert recorded == abilities.ROWS


@pytest.mark.parametrize("row", read_abilities(), ids=lambda row: row["asked"])
def test_a_row_says_what_its_command_trains(row):
    task = make_task(row["task"])
    sizes = {
        "vocab_size": task.tokenizer.vocab_size,
        "context_length": task.context_length,
    }
    model = build_model(preset_config(row["preset"], **sizes))
    assert row["parameters"] == count_parameters(model)
    assert row["example"] == abilities.first_row(task)
    assert len(row["right"]) == 3 and all(0 <= share <= 1 for share in row["right"])
    assert (ROOT / "lessons" / f"{row['lesson']}.py").exists()
    abilities.settings_of(tuple(row[name] for name in NAMES), seed=0)


def test_every_task_has_a_row():
    shown = {row["task"].partition(":")[0] for row in read_abilities()}
    assert shown == set(TASKS)
