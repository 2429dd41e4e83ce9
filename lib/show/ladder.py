"""The ladder: every model of the course on one scale, one split, one metric."""

from __future__ import annotations

import json

from lib import rungs_file

__all__ = ["rung"]


def rung(
    name: str,
    parameters: int,
    validation_loss: float,
    cpu_seconds: float,
    sample: str = "",
    seeds: int = 1,
) -> None:
    """Print a model's rung and its sample; a lesson that is built records them too.

    Args:
        name: how the ladder page calls the model.
        parameters: how many numbers were learned.
        validation_loss: nats per character on the whole validation split.
        cpu_seconds: processor time of the training; recorded, not printed, because it
            differs from run to run.
        sample: a text sample of the model.
        seeds: how many runs the loss is the mean of.

    Only while ``make lessons`` builds a notebook is a file written: the one that
    ``COURSE_RUNGS`` names.
    """
    row = {
        "name": name,
        "parameters": parameters,
        "cpu_seconds": round(cpu_seconds, 2),
        "seeds": seeds,
        "validation_loss": round(validation_loss, 4),
        "sample": sample,
    }
    if recorder := rungs_file():
        with recorder.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    print(
        f"Ladder | {name} | {parameters:,} parameters | "
        f"{validation_loss:.4f} nats per character"
    )
    if sample:
        print(f"  {sample!r}")
