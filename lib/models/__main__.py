"""The command ``python -m lib.models``: list the models of the course."""

from __future__ import annotations

import typer

from lib.command_line import run_command
from lib.models import build_model, count_parameters
from lib.models.presets import PRESETS
from lib.module import sizes_only


def presets_command() -> None:
    """List the models of the course with their sizes."""
    typer.echo(
        f"{'preset':12} {'parameters':>13} {'layers':>6} {'heads':>5} "
        f"{'width':>5} {'context':>7} {'tokens':>6}"
    )
    for name, config in PRESETS.items():
        with sizes_only():
            n = count_parameters(build_model(config))
        sizes = [getattr(config, a, "") for a in ("n_layers", "n_heads", "d_model")]
        typer.echo(
            f"{name:12} {n:13,} {sizes[0]:>6} {sizes[1]:>5} {sizes[2]:>5} "
            f"{config.context_length:7,} {config.vocab_size:6,}"
        )


if __name__ == "__main__":
    run_command(presets_command)
