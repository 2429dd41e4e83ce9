"""The commands: ``python -m lib.train``, ``lib.generate`` and ``lib.presets``."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, get_type_hints

import torch
import typer
from torch import distributed
from typer import Argument, Option

from lib.bpe import BPETokenizer
from lib.checkpoint import load_for, load_run
from lib.device import choose_device
from lib.generate import stream_text
from lib.presets import PRESETS, build_model, count_parameters
from lib.run import Run, RunSettings, checkpoint_path
from lib.shapes import require_sizes
from lib.tokenizer import CharTokenizer

__all__ = ["train_command", "generate_command", "presets_command", "run"]

SETTINGS = {  # what --help says of each setting of a run
    "preset": "A model of `python -m lib.presets`.",
    "text": "Any utf-8 text.  [default: Tiny Shakespeare]",
    "epochs": "Updates, as passes over the training text.",
    "steps": "Updates, instead of epochs.",
    "batch_size": "Rows per update, in all processes together.",
    "accumulation": "Parts of each batch, to save memory.",
    "context_length": "Tokens per row.  [default: the preset's]",
    "tokenizer": "characters, bpe, or auto for the preset's.",
    "vocab_size": "Tokens of bpe.  [default: the preset's]",
    "dropout": "Share of numbers set to 0.  [default: the preset's]",
    "optimizer": "muon or adamw.",
    "learning_rate": "Of AdamW; of Muon's embeddings, head and vectors.",
    "muon_learning_rate": "Of Muon's matrices.",
    "weight_decay": "Of matrices and tables.",
    "schedule": "linear, cosine, constant or noam.",
    "warmup": "Steps in which the learning rate rises.",
    "clip": "Largest norm of a gradient.",
    "dtype": "float32, bfloat16, or auto: bfloat16 where it is fast.",
    "seed": "Of weights, batches, dropout.",
}


def run(command: Callable) -> None:
    """Run a command line; wrong input ends in one line on stderr and exit status 1."""
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.command()(_with_settings(command))
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _with_settings(command: Callable) -> Callable:
    """Give a command with ``**settings`` an option for each field of `RunSettings`."""
    signature = inspect.signature(command, eval_str=True)
    if "settings" not in signature.parameters:
        return command
    kinds = get_type_hints(RunSettings)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for field in fields(RunSettings):
        option = Annotated[kinds[field.name], Option(help=SETTINGS[field.name])]
        words = {"default": field.default, "annotation": option}
        own.append(inspect.Parameter(field.name, own[0].KEYWORD_ONLY, **words))
    command.__signature__ = signature.replace(parameters=own)
    return command


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
    **settings,
) -> None:
    """Train a model of the course on a text.

    Ctrl-C saves; --resume goes on where the run stopped. On several processes or
    machines: torchrun --nproc-per-node 2 -m lib.train ...

    Example: python -m lib.train --preset tiny --text my.txt --epochs 10 --out runs/x
    """
    if every is not None:
        require_sizes(every=every)
    if resume:
        _refuse_changes(context, out, settings)
    device, words = _join_processes(device), shlex.join(sys.argv[1:])
    chosen = None if resume else RunSettings(**settings)
    work = Run(out, chosen, device, compile_, f"python -m lib.train {words}")
    t = work.training
    if work.is_first:
        n = count_parameters(t.model)
        typer.echo(
            f"{work.settings.preset}: {n:,} parameters on {work.device}; "
            f"{len(work.tokens):,} tokens; steps {t.n_done} to {t.config.n_steps}"
        )
    try:
        work.train(every)
    except KeyboardInterrupt:
        if work.is_first:
            typer.echo(
                f"stopped after step {t.n_done}; go on with "
                f"python -m lib.train --out {shlex.quote(str(out))} --resume"
            )
        raise typer.Exit(130) from None
    if work.is_first:
        step, loss = t.validation[-1]
        typer.echo(f"step {step}: validation loss {loss:.4f} nats per token")
        place = shlex.quote(str(out))
        typer.echo(f'write with it: python -m lib.generate {place} --prompt "..."')


def generate_command(
    path: Annotated[Path, Argument(help="Folder of a run, or a checkpoint file.")],
    prompt: Annotated[
        str | None, Option(help="The text to go on from.  [default: a new line]")
    ] = None,
    length: Annotated[int, Option(help="Tokens to write.")] = 500,
    strategy: Annotated[
        str | None, Option(help="greedy, sample, top-k or top-p.")
    ] = None,
    temperature: Annotated[float, Option(help="Below 1: sharper.")] = 1.0,
    top_k: Annotated[
        int | None, Option(help="Only the k likeliest tokens.  [top-k: 10]")
    ] = None,
    top_p: Annotated[
        float | None, Option(help="Only the likeliest that reach p.  [top-p: 0.9]")
    ] = None,
    repetition_penalty: Annotated[
        float, Option(help="Above 1: tokens that were there are less likely.")
    ] = 1.0,
    stop: Annotated[str | None, Option(help="End before this string.")] = None,
    samples: Annotated[int, Option(help="Texts to write.")] = 1,
    cache: Annotated[bool, Option(help="Keep keys and values.")] = True,
    seed: Annotated[int | None, Option(help="Same seed, same text.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, mps, ...")] = "auto",
) -> None:
    """Continue a prompt with a trained model, token by token.

    Example: python -m lib.generate runs/x --prompt "ROMEO:" --top-p 0.9
    """
    how = _strategy(strategy, temperature, top_k, top_p)
    checkpoint = load_for("generate", checkpoint_path(path))
    where = choose_device(device)
    model = checkpoint.model.to(where)
    if prompt is None:
        prompt = _first_prompt(checkpoint.tokenizer)
    generator = torch.Generator(where)
    generator.manual_seed(seed) if seed is not None else generator.seed()
    how |= {"repetition_penalty": repetition_penalty, "use_cache": cache}
    write = partial(stream_text, model, checkpoint.tokenizer, prompt, length, stop)
    if samples < 1:
        raise ValueError(f"samples={samples} must be at least 1")
    for number in range(samples):
        pieces = write(generator=generator, **how)
        first = next(pieces)  # wrong input is refused before anything is shown
        typer.echo("-" * 40 + "\n" if number else "", nl=False)
        typer.echo(prompt + first, nl=False)
        for piece in pieces:
            typer.echo(piece, nl=False)
        typer.echo()


def presets_command() -> None:
    """List the models of the course with their sizes."""
    typer.echo(
        f"{'preset':12} {'parameters':>13} {'layers':>6} {'heads':>5} "
        f"{'width':>5} {'context':>7} {'tokens':>6}"
    )
    for name, config in PRESETS.items():
        with torch.device("meta"):  # sizes without memory
            n = count_parameters(build_model(config))
        sizes = [getattr(config, a, "") for a in ("n_layers", "n_heads", "d_model")]
        typer.echo(
            f"{name:12} {n:13,} {sizes[0]:>6} {sizes[1]:>5} {sizes[2]:>5} "
            f"{config.context_length:7,} {config.vocab_size:6,}"
        )


def _strategy(
    name: str | None, temperature: float, top_k: int | None, top_p: float | None
) -> dict:
    """Return the settings of a strategy; refuse those that contradict it."""
    used = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    wrong = {
        None: [],
        "greedy": ["temperature", "top_k", "top_p"],
        "sample": ["top_k", "top_p"],
        "top-k": ["top_p"],
        "top-p": ["top_k"],
    }
    if name not in wrong:
        names = [n for n in wrong if n]
        raise ValueError(f"strategy={name!r} must be one of {', '.join(names)}")
    default = {"temperature": 1.0, "top_k": None, "top_p": None}
    for option in wrong[name]:
        if used[option] != default[option]:
            flag = option.replace("_", "-")
            raise ValueError(
                f"--{flag} {used[option]} does not go with strategy={name!r}"
            )
    match name:
        case "greedy":
            used["temperature"] = 0.0
        case "top-k":
            used["top_k"] = 10 if top_k is None else top_k
        case "top-p":
            used["top_p"] = 0.9 if top_p is None else top_p
    return used


def _first_prompt(tokenizer: CharTokenizer | BPETokenizer) -> str:
    """Return a new line; the first token where the vocabulary has no new line."""
    try:
        tokenizer.encode("\n")
    except ValueError:
        return tokenizer.decode([0])
    return "\n"


def _refuse_changes(context: typer.Context, out: Path, settings: dict) -> None:
    """Refuse settings on the command line that are not those of the run."""
    kept = load_run(checkpoint_path(out)).notes["settings"]
    for name, value in settings.items():
        typed = context.get_parameter_source(name).name == "COMMANDLINE"
        if typed and value != kept[name]:
            raise ValueError(
                f"{name}={value!r} cannot change: the run in {out} has {kept[name]!r}"
            )


def _join_processes(device: str) -> str:
    """Under torchrun, join the other processes; return this one's device."""
    if "RANK" not in os.environ:
        return device
    kind = choose_device(device).type
    distributed.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    if distributed.get_rank() > 0:
        os.environ["COURSE_QUIET"] = "1"  # one progress bar is enough
    if kind != "cuda":
        return kind
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return f"cuda:{os.environ['LOCAL_RANK']}"
