"""Train a small model on each task of the course, and record how often it is right.

``python book/_tools/abilities.py`` writes ``data/abilities.json`` for the page "What a
small model can and cannot do". Each row is one command of ``python -m lib.train``, with
three seeds. With words (``repeats commands``) it makes the rows whose task has one of
them anew and keeps the others.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.exact_match import exact_match  # noqa: E402
from lib.models import count_parameters  # noqa: E402
from lib.tasks import make_task  # noqa: E402
from lib.tasks.task import ExampleTask, Task  # noqa: E402
from lib.train.run import Run  # noqa: E402
from lib.train.run_settings import RunSettings  # noqa: E402

RECORD = Path("data", "abilities.json")
SEEDS = range(3)
LONGEST_SHOWN = 40  # letters of a row
FEW = "n_examples=1000"
L23, L24 = "23_in_context_learning", "24_reasoning"
SMALL = "solver"
ROWS = [  # what it is asked, lesson, task, steps, rows per step, preset
    ("find what came before", L23, "repeats", 800, 32, SMALL),
    ("the same, with one layer", L23, "repeats", 800, 32, "block"),
    ("guess a rule from examples", L23, "patterns", 800, 64, SMALL),
    ("add, answer at once", L24, f"addition:{FEW}", 300, 64, SMALL),
    ("add, answer backwards", L24, f"addition:style=reversed,{FEW}", 300, 64, SMALL),
    ("add, step by step", L24, f"addition:style=steps,{FEW}", 300, 64, SMALL),
    ("longer sums", L24, "addition:style=steps,test_digits=4", 300, 128, SMALL),
    ("true or false, at once", L24, f"logic:{FEW}", 400, 128, SMALL),
    ("true or false, in steps", L24, f"logic:style=steps,{FEW}", 400, 128, SMALL),
    ("calculate, at once", L24, f"calculation:{FEW}", 400, 64, SMALL),
    ("call a calculator", L24, f"calculation:style=tool,{FEW}", 400, 64, SMALL),
    ("follow commands", L24, "commands", 600, 64, SMALL),
    ("a new verb", L24, "commands:split=jump", 600, 64, SMALL),
    ("32 examples of it", L24, "commands:split=jump,n_jump=32", 600, 64, SMALL),
]


def settings_of(row: tuple, seed: int) -> RunSettings:
    """Return how a row is trained."""
    _, _, task, n_steps, batch_size, preset = row
    return RunSettings(
        preset=preset,
        task=task,
        n_steps=n_steps,
        batch_size=batch_size,
        n_warmup=50,
        dtype="float32",
        seed=seed,
    )


def train_once(settings: RunSettings) -> tuple[float, float, int]:
    """Train one model; return how often it is right, its seconds and parameters."""
    with TemporaryDirectory() as folder:
        run = Run.new(folder, settings, "cpu")
        start = time.process_time()
        run.train()
        seconds = time.process_time() - start
        model = run.training.model
        right = exact_match(model, *run.source.rows)
        return right, seconds, count_parameters(model)


def first_row(task: Task) -> str:
    """Return the first question of a test with its answer."""
    if isinstance(task, ExampleTask):
        return " ".join(task.test_examples[0][:2])
    return task.tokenizer.decode(task.test.inputs[0, :LONGEST_SHOWN])


def measure(row: tuple) -> dict:
    """Return what is recorded of a row."""
    words, lesson, task, n_steps, batch_size, preset = row
    found = [train_once(settings_of(row, seed)) for seed in SEEDS]
    right, seconds, parameters = zip(*found)
    return {
        "asked": words,
        "lesson": lesson,
        "task": task,
        "steps": n_steps,
        "batch_size": batch_size,
        "preset": preset,
        "parameters": parameters[0],
        "seconds": round(median(seconds), 1),
        "right": [round(share, 3) for share in right],
        "example": first_row(make_task(task)),
    }


def main() -> None:
    """Measure the rows that are asked for, and write all."""
    record = ROOT / RECORD
    known = json.loads(record.read_text("utf-8"))["rows"] if record.exists() else []
    old, wanted = {(row["asked"], row["task"]): row for row in known}, sys.argv[1:]
    rows = []
    for row in ROWS:
        key = (row[0], row[2])
        if key not in old or not wanted or row[2].partition(":")[0] in wanted:
            old[key] = measure(row)
            print(f"{row[0]}: {old[key]['right']}, {old[key]['seconds']} s")
        rows.append(old[key])
    record.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
