"""The command ``python -m lib.train``: train a model of the course."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from lib.command_line import option_name, run_command, with_settings
from lib.models import count_parameters
from lib.own import for_command
from lib.shapes import require_sizes
from lib.train.checkpoint import load_checkpoint
from lib.train.parallel import join_processes, rank
from lib.train.run import Run, saved_settings
from lib.train.run_settings import RunSettings


@with_settings(RunSettings)
def train_command(
    context: typer.Context,
    out: Annotated[Path, Option(help="Folder of the run; its checkpoint goes there.")],
    resume: Annotated[
        bool, Option("--resume", help="Go on with the run in the folder.")
    ] = False,
    device: Annotated[str, Option(help="auto, cpu, cuda, mps, ...")] = "auto",
    every: Annotated[
        int | None, Option(help="Evaluate, save each N steps.  [default: ten times]")
    ] = None,
    compile_: Annotated[
        bool, Option("--compile", help="Slow start, faster steps.")
    ] = False,
    parallel: Annotated[
        str | None,
        Option(help="Under torchrun: ddp, or zero1 or fsdp, which save memory."),
    ] = None,
    recompute: Annotated[
        bool, Option("--recompute", help="Less memory, slower steps.")
    ] = False,
    own: Annotated[
        Path | None, Option(help="Folder of parts that you wrote: it runs their code.")
    ] = None,
    **settings,
) -> None:
    """Train a model of the course on a text, or on a task.

    Ctrl-C saves; --resume goes on where the run stopped. On several processes or
    machines: torchrun --nproc-per-node 2 -m lib.train ...

    Example: python -m lib.train --preset tiny --text my.txt --epochs 10 --out runs/x
    """
    require_sizes(every=1 if every is None else every)
    context.with_resource(for_command(own))
    spread = {"parallel": parallel, "recompute": recompute}
    if resume:
        _refuse_changes(context, out, settings)
        run = Run.resume(out, join_processes(device), **spread)
    else:
        chosen, words = RunSettings(**settings), shlex.join(sys.argv[1:])
        command = f"python -m lib.train {words}"
        run = Run.new(out, chosen, join_processes(device), command, **spread)
    if compile_:
        run.compile()
    t, place = run.training, shlex.quote(str(out))
    _print_once(
        f"{run.settings.preset}: {count_parameters(t.model):,} parameters on "
        f"{run.device}; {run.source.describe()}; steps {t.n_done} to "
        f"{t.config.n_steps}"
    )
    try:
        run.train(every)
    except KeyboardInterrupt:
        _print_once(
            f"stopped after step {t.n_done}; go on with "
            f"python -m lib.train --out {place} --resume"
        )
        raise typer.Exit(130) from None
    step, loss = t.validation[-1]
    _print_once(f"step {step}: validation loss {loss:.4f} nats per token")
    for line in run.source.closing(t.model, place):
        _print_once(line)


def _print_once(line: str) -> None:
    """Print a line, in the first of the processes only."""
    if rank() == 0:
        typer.echo(line)


def _refuse_changes(context: typer.Context, out: Path, settings: dict) -> None:
    """Refuse settings on the command line that are not those of the run."""
    saved = vars(saved_settings(load_checkpoint(out), out))
    for name, value in settings.items():
        typed = context.get_parameter_source(name).name == "COMMANDLINE"
        if typed and value != saved[name]:
            flag = option_name(name)
            raise ValueError(
                f"{flag} {value} cannot change: the run in {out} has {saved[name]!r}"
            )


if __name__ == "__main__":
    run_command(train_command)
