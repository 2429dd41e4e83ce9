"""The command ``python -m lib.train``: train a model of the course."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from lib import stopping
from lib.command_line import (
    Given,
    refuse_together,
    run_command,
    typed,
    with_settings,
)
from lib.models import count_parameters
from lib.own import for_command
from lib.train.lock import one_writer
from lib.train.parallel import join_processes, rank
from lib.train.ranges import require_size
from lib.train.run import Run
from lib.train.run_settings import RunSettings


@with_settings(RunSettings)
def train_command(
    context: typer.Context,
    out: Annotated[Path, Given(help="Folder of the run; its checkpoint goes there.")],
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
        Path | None, Given(help="Folder of parts that you wrote: it runs their code.")
    ] = None,
    **settings,
) -> None:
    """Train a model of the course on a text, or on a task.

    Ctrl-C saves; --resume goes on where the run stopped. On several processes or
    machines: torchrun --nproc-per-node 2 -m lib.train ...

    Example: python -m lib.train --preset tiny --text my.txt --epochs 10 --out runs/x
    """
    if every is not None:
        require_size(every=every)
    context.with_resource(for_command(own))
    spread = {"parallel": parallel, "recompute": recompute}
    given = {name: v for name, v in settings.items() if typed(context, name)}
    command = f"python -m lib.train {shlex.join(sys.argv[1:])}"
    chosen = None if resume else RunSettings(**settings)
    if "n_steps" in given:
        refuse_together(context, f"--steps {settings['n_steps']}", "epochs")
    if "task" in given:
        refuse_together(context, f"--task {settings['task']}", "epochs")
    where = join_processes(device)
    with one_writer(out):
        if resume:
            run = Run.resume(out, where, given, **spread)
        else:
            run = Run.new(out, chosen, where, command, **spread)
        if compile_:
            run.compile()
        _train(run, every, shlex.quote(str(out)))


def _train(run: Run, every: int | None, place: str) -> None:
    """Train, and say what came out of it."""
    t = run.training
    _print_once(
        f"{run.settings.preset}: {count_parameters(t.model):,} parameters on "
        f"{run.device}; {run.source.describe()}; steps {t.n_done} to "
        f"{t.config.n_steps}"
    )
    try:
        run.train(every)
    except KeyboardInterrupt:
        if run.n_kept is None:
            raise
        _print_once(
            f"stopped after step {run.n_kept}; go on with "
            f"python -m lib.train --out {place} --resume"
        )
        raise typer.Exit(128 + (stopping.first_wish() or 2)) from None
    step, loss = t.validation[-1]
    _print_once(f"step {step}: validation loss {loss:.4f} nats per token")
    for line in run.source.closing(t.model, place):
        _print_once(line)


def _print_once(line: str) -> None:
    """Print a line, in the first of the processes only."""
    if rank() == 0:
        typer.echo(line)


if __name__ == "__main__":
    run_command(train_command)
