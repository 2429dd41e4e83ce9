"""The command ``python -m lib.generate``: continue a prompt with a trained model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from typer import Argument, Option

from lib import stopping
from lib.command_line import Given, given_path, refuse_together, run_command
from lib.device import choose_device
from lib.generate import stream_text
from lib.generate.chat import TEMPLATES, reply
from lib.generate.sampling import choose_next
from lib.generate.speculative import speculative_generate
from lib.own import for_command
from lib.text.bpe import BPETokenizer
from lib.text.tokenizer import CharTokenizer
from lib.train.checkpoint import Checkpoint
from lib.train.ranges import require_seed, require_size
from lib.train.uses import load_for_command


def generate_command(
    context: typer.Context,
    path: Annotated[
        Path,
        Argument(
            help="Folder of a run, or a checkpoint file.",
            parser=given_path,
            metavar="PATH",
        ),
    ],
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
    chat: Annotated[
        bool, Option("--chat", help="Answer each line, as lib.tune taught it.")
    ] = False,
    draft: Annotated[
        Path | None, Given(help="A smaller model that proposes tokens.")
    ] = None,
    samples: Annotated[int, Option(help="Texts to write.")] = 1,
    cache: Annotated[bool, Option(help="Keep keys and values.")] = True,
    seed: Annotated[int | None, Option(help="Same seed, same text.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, mps, ...")] = "auto",
    own: Annotated[
        Path | None, Given(help="Folder of parts that you wrote: it runs their code.")
    ] = None,
) -> None:
    """Continue a prompt with a trained model, token by token.

    Example: python -m lib.generate runs/x --prompt "ROMEO:" --top-p 0.9

    A model that lib.tune has tuned: python -m lib.generate runs/mine --chat
    """
    _check_numbers(samples, length, seed)
    context.with_resource(for_command(own))
    if chat and strategy is None and (temperature, top_k, top_p) == (1.0, None, None):
        strategy = "greedy"
    else:
        _refuse_contradictions(context, strategy, temperature)
    options = _strategy(strategy, temperature, top_k, top_p)
    where = choose_device(device)
    checkpoint = load_for_command("generate", path)
    model = checkpoint.model.to(where)
    _fit_top_k(options, top_k, model.config.vocab_size)
    if not chat:
        prompt = _first_prompt(checkpoint.tokenizer) if prompt is None else prompt
        _tell_of_a_long_prompt(checkpoint, prompt)
    generator = _generator(where, seed)
    if draft is not None:
        penalty = None if repetition_penalty == 1 else repetition_penalty
        flags = {"chat": chat or None, "no_cache": None if cache else True}
        _refuse("draft", **flags, stop=stop, repetition_penalty=penalty)
        options |= {"generator": generator, "n_tokens": length}
        _speculate(checkpoint, draft, prompt, samples, options)
        return
    options |= {"repetition_penalty": repetition_penalty, "use_cache": cache}
    if chat:
        _refuse("chat", prompt=prompt, stop=stop, samples=_several(samples))
        _chat(checkpoint, length, options | {"generator": generator})
        return
    write = partial(stream_text, model, checkpoint.tokenizer, prompt, length, stop)
    for number in range(samples):
        _show(prompt, write(generator=generator, **options), number)


def _generator(device: torch.device, seed: int | None) -> torch.Generator:
    """Return what draws the random numbers: the same for a seed, else others."""
    generator = torch.Generator(device)
    generator.manual_seed(seed) if seed is not None else generator.seed()
    return generator


def _several(samples: int) -> int | None:
    """Return a number of texts; None for one, which needs no option."""
    return samples if samples > 1 else None


def _check_numbers(samples: int, length: int, seed: int | None) -> None:
    """Refuse numbers beyond all measure; the rest is checked where it is used."""
    require_size(samples=samples)
    if length > 0:
        require_size(length=length)
    if seed is not None:
        require_seed(seed)


def _refuse_contradictions(
    context: typer.Context, strategy: str | None, temperature: float
) -> None:
    """Refuse options that have no effect beside others that were given."""
    if strategy == "greedy" and temperature:
        refuse_together(context, "strategy='greedy'", "temperature")
    if temperature == 0:
        zero = "--temperature 0, which takes the likeliest token"
        refuse_together(context, zero, "top_k", "top_p")
        if strategy not in (None, "greedy"):
            refuse_together(context, zero, "strategy")


def _fit_top_k(options: dict, given: int | None, vocab_size: int) -> None:
    """Refuse more tokens than there are; without a number take what there is."""
    if given is not None and given > vocab_size:
        raise ValueError(
            f"top_k={given} is more than the vocabulary has: {vocab_size} tokens"
        )
    if options["top_k"] is not None:
        options["top_k"] = min(options["top_k"], vocab_size)


def _tell_of_a_long_prompt(checkpoint: Checkpoint, prompt: str) -> None:
    """Say where a model cannot read all of a prompt."""
    n, most = len(checkpoint.tokenizer.encode(prompt)), checkpoint.model.context_length
    if n > most:
        typer.echo(
            f"the prompt has {n:,} tokens; the model reads the last {most:,} at most",
            err=True,
        )


def _show(prompt: str, pieces: Iterator[str], number: int) -> None:
    """Show a text as it comes, behind a line if it is not the first."""
    first = next(pieces)  # wrong input is refused before anything is shown
    typer.echo("-" * 40 + "\n" if number else "", nl=False)
    typer.echo(prompt + first, nl=False)
    for piece in pieces:
        stopping.stop_if_wished()
        typer.echo(piece, nl=False)
    typer.echo()


def _refuse(option: str, **given: object) -> None:
    """Refuse options that do not go with another one; None is not given."""
    for name, value in given.items():
        if value is not None:
            flag = f"--{name.replace('_', '-')}"
            flag += "" if value is True else f" {value!r}"
            raise ValueError(f"{flag} does not go with --{option}")


def _speculate(
    checkpoint: Checkpoint, path: Path, prompt: str, samples: int, options: dict
) -> None:
    """Write texts with a model that proposes tokens; say how many were accepted."""
    draft, device = load_for_command("generate", path), options["generator"].device
    tokenizer = checkpoint.tokenizer
    if tokenizer.to_dict() != draft.tokenizer.to_dict():
        raise ValueError("--draft has another vocabulary: both must have the same one")
    if not prompt:
        raise ValueError("prompt='' is empty; give the model something to go on from")
    models = checkpoint.model, draft.model.to(device)
    ids = torch.tensor([tokenizer.encode(prompt)], device=device)
    for number in range(samples):
        run = speculative_generate(*models, ids, **options)
        _show("", iter([tokenizer.decode(run.ids[0].tolist())]), number)
        share = f"{run.n_accepted} of {run.n_drafted} drafted tokens"
        typer.echo(f"accepted {share}, in {run.n_passes} passes", err=True)


def _chat(checkpoint: Checkpoint, length: int, options: dict) -> None:
    """Answer line after line, until there are none.

    Raises:
        typer.Exit: at the end, if there were questions and no answer.
    """
    notes, messages, errors, answers = checkpoint.notes, [], 0, 0
    name, n_turns = notes.get("template", "questions"), notes.get("n_turns", 1)
    if name not in TEMPLATES or type(n_turns) is not int or n_turns < 1:
        raise ValueError("the checkpoint says of no template how to talk to it")
    sizes = length, TEMPLATES[name]
    _check_chat(length, checkpoint.model.config.vocab_size, **options)
    while (question := _next_line()) is not None:
        messages.append({"role": "user", "content": question})
        messages = messages[1 - 2 * n_turns :]
        try:
            answer = reply(
                checkpoint.model, checkpoint.tokenizer, messages, *sizes, **options
            )
        except ValueError as error:
            typer.echo(f"error: {error}", err=True)
            messages, errors = [], errors + 1
            continue
        typer.echo(answer)
        answers += 1
        messages.append({"role": "assistant", "content": answer})
    if errors and not answers:
        raise typer.Exit(1)


def _check_chat(
    length: int, vocab_size: int, use_cache: bool, generator: object, **settings
) -> None:
    """Refuse before the first question what would be refused for each of them."""
    require_size(length=length)
    ids = torch.zeros(1, 1, dtype=torch.long)
    choose_next(torch.zeros(1, vocab_size), ids, **settings)


def _next_line() -> str | None:
    """Return the next line that is not empty; None where there is none."""
    if sys.stdin is None:
        raise ValueError("there is no input to answer: it is closed")
    try:
        while not (line := input("> " if sys.stdin.isatty() else "").strip()):
            pass
    except (EOFError, KeyboardInterrupt):
        return None
    return line


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


if __name__ == "__main__":
    run_command(generate_command)
