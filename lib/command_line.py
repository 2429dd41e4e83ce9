"""What the commands share: one line for wrong input, and options from settings."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, get_type_hints

import typer
from torch import distributed

__all__ = ["help_texts", "option_name", "run_command", "with_settings"]


def run_command(*commands: Callable) -> None:
    """Run a command line; wrong input ends in one line on stderr and exit status 1.

    Of several commands the first word chooses one: ``sft`` is ``sft_command``.
    """
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    for command in commands:
        app.command(command.__name__.removesuffix("_command"))(command)
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def with_settings(settings: type) -> Callable:
    """Give a command an option for each field of a settings class.

    Args:
        settings: a dataclass whose docstring says what each field is; ``n_steps``
            becomes ``--steps``.

    Returns:
        A decorator for a command with ``**settings``, which gets the values by name.
    """

    def decorate(command: Callable) -> Callable:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        for field in sorted(fields(settings), key=lambda f: order.index(f.name)):
            name = option_name(field.name)
            if kinds[field.name] is bool:
                name += f"/--no-{name[2:]}"
            option = typer.Option(name, help=texts[field.name])
            own.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=field.default,
                    annotation=Annotated[kinds[field.name], option],
                )
            )
        command.__signature__ = signature.replace(parameters=own)
        return command

    kinds, texts = get_type_hints(settings), help_texts(settings)
    order = [*texts]
    return decorate


def option_name(field: str) -> str:
    """Return the option of a setting: ``--steps`` for ``n_steps``."""
    return "--" + field.removeprefix("n_").replace("_", "-")


def help_texts(settings: type) -> dict[str, str]:
    """Return what the docstrings of a settings class say of each of its fields."""
    texts = {}
    for part in settings.__mro__[:-1]:  # its own come first
        listed = inspect.getdoc(part).partition("Attributes:\n")[2].partition("\n\n")[0]
        for name, words in re.findall(r"(?m)^    (\w+): ((?:.|\n {8})*)", listed):
            texts.setdefault(name, " ".join(words.split()))
    return texts
