"""What the commands share: one line for wrong input, and options from settings."""

from __future__ import annotations

import functools
import gc
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, NoReturn, get_type_hints

import typer
from torch import distributed

from lib import stopping
from lib.command_line.output import (
    CLOSED_PIPE,
    first_to_say,
    one_line,
    replace_bad_input,
    throw_away_output,
)

__all__ = [
    "Given",
    "given_path",
    "help_texts",
    "option_name",
    "refuse_together",
    "run_command",
    "stopped",
    "typed",
    "with_settings",
]

# How the library calls what these options say.
INNER = {"n_new": "--length", "k": "--top-k", "p": "--top-p", "n_beams": "--beams"}
INNER |= {"penalty": "--repetition-penalty"}
NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "cannot allocate")


def run_command(*commands: Callable) -> None:
    """Run a command line; wrong input ends in one line on stderr and exit status 1.

    Of several commands the first word chooses one: ``sft`` is ``sft_command``. A signal
    that asks to stop ends it with 128 and its number, as a shell says it, so 130 for
    Ctrl-C; output that nobody reads any more ends it without a word.
    """
    begun: list[Callable] = []
    app = _make_app(commands, begun)
    replace_bad_input()
    if not gc.isenabled():  # a command starts: what is loaded stays; to look whether
        gc.freeze()  # it is garbage took a third of the time of a short one
        gc.enable()
    try:
        with stopping.interrupts():
            app()
    except (ValueError, TypeError, OSError) as error:
        _end(_with_option(one_line(str(error))))
    except (MemoryError, RuntimeError) as error:
        if not _is_about_memory(error):
            raise
        _end("the memory of this machine is not enough: take smaller sizes")
    except KeyboardInterrupt:  # while the options were made out
        stopping.let_go(status := _say_stopped("stopped"))
        sys.exit(status)
    except SystemExit as end:
        if end.code == 130 and stopping.first_wish() and not begun:
            end.code = _say_stopped("stopped")  # while the options were made out
        stopping.let_go(end.code if isinstance(end.code, int) else 1)
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _make_app(commands: tuple[Callable, ...], begun: list[Callable]) -> typer.Typer:
    """Return the command line of commands, which note in a list that they begin."""
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    for command in commands:
        name = command.__name__.removesuffix("_command")
        app.command(name)(_guarded(command, begun))
    return app


def _guarded(command: Callable, begun: list[Callable]) -> Callable:
    """Return a command that ends well where it is stopped, or nobody reads it.

    It puts itself into ``begun`` when it begins.
    """

    @functools.wraps(command)
    def guarded(*arguments, **options) -> None:
        begun.append(command)
        try:
            command(*arguments, **options)
            if sys.stdout is not None:
                sys.stdout.flush()
        except KeyboardInterrupt:
            stopped("stopped")
        except BrokenPipeError:
            throw_away_output()
            raise typer.Exit(CLOSED_PIPE) from None
        except OSError:
            throw_away_output()  # it may be what cannot be written
            raise

    return guarded


def stopped(words: str) -> NoReturn:
    """Say in one line how a command was stopped, and end with the signal's status.

    Raises:
        typer.Exit: always.
    """
    raise typer.Exit(_say_stopped(words)) from None


def _say_stopped(words: str) -> int:
    """Say how a command was stopped; return the status of the signal."""
    typer.echo(words, err=True)
    return 128 + (stopping.first_wish() or 2)


def _end(message: str) -> NoReturn:
    """End with a message; of several processes one says it."""
    message = f"error: {message}"
    status = message if first_to_say(message) else 1
    stopping.let_go(1)
    sys.exit(status)


def _with_option(message: str) -> str:
    """Put the option before a message that names what the library calls it."""
    name = message.partition("=")[0]
    option = INNER.get(name, option_name(name))
    same = option == f"--{name.replace('_', '-')}"
    was_typed = any(word.partition("=")[0] == option for word in sys.argv[1:])
    return f"{option}: {message}" if was_typed and not same else message


def _is_about_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(w in words for w in NO_MEMORY)


def given_path(words: str) -> Path:
    """Return a path of the command line; an empty one is refused.

    Raises:
        typer.BadParameter: for an empty one, as of a variable that is not set.
    """
    if not words.strip():
        raise typer.BadParameter(f"{words!r} is empty: name a file or a folder")
    return Path(words)


Given = functools.partial(typer.Option, parser=given_path, metavar="PATH")
"""An option of a command that is a path."""


def typed(context: typer.Context, name: str) -> bool:
    """Return whether an option was given on the command line."""
    return context.get_parameter_source(name).name == "COMMANDLINE"


def refuse_together(context: typer.Context, option: str, *names: str) -> None:
    """Refuse options that were given, though they do not go with another one.

    Raises:
        ValueError: for the first of them.
    """
    for name in names:
        if typed(context, name):
            value, flag = context.params[name], option_name(name.rstrip("_"))
            words = flag if isinstance(value, bool) else f"{flag} {value}"
            raise ValueError(f"{words} does not go with {option}")


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
        for field in sorted(fields(settings), key=lambda f: order.get(f.name, 0)):
            name = option_name(field.name)
            if kinds[field.name] is bool:
                name += f"/--no-{name[2:]}"
            option = typer.Option(name, help=texts.get(field.name))
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
    order = {name: place for place, name in enumerate(texts)}
    return decorate


def option_name(field: str) -> str:
    """Return the option of a setting: ``--steps`` for ``n_steps``."""
    return "--" + field.removeprefix("n_").replace("_", "-")


def help_texts(settings: type) -> dict[str, str]:
    """Return what the docstrings of a settings class say of each of its fields.

    With ``python -OO`` there are none, and they say nothing.
    """
    texts = {}
    for part in settings.__mro__[:-1]:  # its own come first
        said = inspect.getdoc(part) or ""
        listed = said.partition("Attributes:\n")[2].partition("\n\n")[0]
        for name, words in re.findall(r"(?m)^    (\w+): ((?:.|\n {8})*)", listed):
            texts.setdefault(name, " ".join(words.split()))
    return texts
