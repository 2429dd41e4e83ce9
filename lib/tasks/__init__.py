"""Made-up data, drawn with a seed, with held-out splits by construction.

``python -m lib.tasks`` lists the tasks that ``python -m lib.train --task`` can train.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import get_type_hints

from lib.tasks.arithmetic import Addition
from lib.tasks.commands import Commands
from lib.tasks.instructions import Instructions
from lib.tasks.logic import Logic
from lib.tasks.patterns import Patterns
from lib.tasks.repeats import Repeats
from lib.tasks.task import Task
from lib.tasks.tools import Calculation

__all__ = ["TASKS", "make_task"]

TASKS: dict[str, type[Task]] = {
    "addition": Addition,
    "calculation": Calculation,
    "commands": Commands,
    "instructions": Instructions,
    "logic": Logic,
    "patterns": Patterns,
    "repeats": Repeats,
}
"""The tasks by name."""


def make_task(words: str) -> Task:
    """Return the task that words describe, such as ``addition:digits=4,style=steps``.

    Args:
        words: the name of a task, and its settings if they are not the usual ones.

    Raises:
        ValueError: for an unknown task or setting, or a value that it does not allow.
    """
    if not isinstance(words, str):
        raise TypeError(f"task={words!r} must be a text")
    name, _, listed = words.partition(":")
    if name not in TASKS:
        raise ValueError(f"task={name!r} must be one of {', '.join(TASKS)}")
    kind, values = TASKS[name], {}
    kinds = get_type_hints(kind)
    for part in filter(None, listed.split(",")):
        setting, _, value = part.partition("=")
        if setting not in (known := [field.name for field in fields(kind)]):
            raise ValueError(
                f"task={words!r}: {setting!r} must be one of {', '.join(known)}"
            )
        if setting in values:
            raise ValueError(f"task={words!r}: {setting} stands there twice")
        if kinds[setting] is not str and not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise ValueError(f"task={words!r}: {setting}={value!r} must be a number")
        values[setting] = value if kinds[setting] is str else int(value)
    return kind(**values)
