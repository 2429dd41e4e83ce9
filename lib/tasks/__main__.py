"""The command ``python -m lib.tasks``: list what a model can be trained on."""

from __future__ import annotations

from dataclasses import fields

import typer

from lib.command_line import help_texts, run_command
from lib.tasks import TASKS
from lib.tasks.task import ExampleTask


def tasks_command() -> None:
    """List the tasks, their settings, and what a row of each looks like.

    Train one: python -m lib.train --task addition:digits=2,style=steps --out runs/sums
    """
    for name, kind in TASKS.items():
        task, texts = kind(), help_texts(kind)
        typer.echo(f"{name}: {kind.__doc__.splitlines()[0]}")
        for field in fields(kind):
            says = texts.get(field.name, "")
            typer.echo(f"  {field.name}={field.default}: {says}")
        typer.echo(f"  such as {_first_row(task)}\n")


def _first_row(task) -> str:
    """Return the first row of a test as text."""
    if isinstance(task, ExampleTask):
        prompt, answer, _ = task.test_examples[0]
        return f"{prompt!r} -> {answer!r}"
    return repr(task.tokenizer.decode(task.test.inputs[0]))


if __name__ == "__main__":
    run_command(tasks_command)
