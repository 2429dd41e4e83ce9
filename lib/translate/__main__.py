"""The command ``python -m lib.translate``: train a translator, or ask one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from lib.command_line import run_command
from lib.evaluate.bleu import bleu
from lib.models import count_parameters
from lib.models.encoder_decoder import Transformer
from lib.shapes import require_sizes
from lib.tasks.english_french import translation_data
from lib.text.tokenizer import WordTokenizer
from lib.train.checkpoint import save_checkpoint
from lib.train.settings import TrainConfig
from lib.train.tensor_file import checkpoint_path
from lib.train.uses import load_for_command
from lib.translate import translate
from lib.translate.translator import TRAINING, alignment, exact_match, train_translator

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "translator.safetensors"


def translate_command(
    say: Annotated[str | None, Option(help="An English sentence.")] = None,
    train_new: Annotated[
        bool, Option("--train", help="Train a translator, in half a minute.")
    ] = False,
    model: Annotated[
        Path | None,
        Option(help="Folder or file of a translator.  [default: the course's]"),
    ] = None,
    out: Annotated[Path, Option(help="Folder that a new translator goes to.")] = Path(
        "runs/french"
    ),
    steps: Annotated[int, Option(help="Updates of a new translator.")] = 400,
    beams: Annotated[int, Option(help="Beginnings to follow; 1 is greedy.")] = 4,
    seed: Annotated[int, Option(help="Of weights and batches.")] = 0,
) -> None:
    """Translate a sentence into French, and show what each word looked at.

    The translator knows the 107 English words of a small grammar, and no others.

    Example: python -m lib.translate --say "the small boy does not see the black cats"
    """
    if say is None and not train_new:
        raise ValueError("give a sentence with --say, or train with --train")
    if say is not None and not _normal(say):
        raise ValueError(f"say={say!r} has no words")
    require_sizes(beams=beams)
    if train_new:
        if model is not None:
            raise ValueError(f"--model {model} does not go with --train: see --out")
        model = _train(out, steps, seed)
    if say is not None:
        checkpoint = load_for_command("translate", model or SHIPPED)
        _print_translation(checkpoint.model, *checkpoint.tokenizer, _normal(say), beams)


def _train(out: Path, steps: int, seed: int) -> Path:
    """Train a translator, say how good it is, and keep it; return where."""
    path = checkpoint_path(out)
    if path.exists():
        raise ValueError(f"{path} holds a model already: move it, or choose --out")
    data, config = translation_data(), TrainConfig(steps, **TRAINING)
    model, source, target = train_translator(data, config, seed)
    typer.echo(f"{count_parameters(model):,} parameters, {steps} steps")
    notes = {"seed": seed}
    notes["command"] = f"python -m lib.translate --train --steps {steps} --seed {seed}"
    for name, pairs in (("unseen", data.unseen), ("held_out", data.held_out)):
        written = translate(model, source, target, [pair.english for pair in pairs])
        notes[name] = right = exact_match(written, pairs)
        score = bleu(written, [pair.french for pair in pairs])
        typer.echo(
            f"{len(pairs)} {name.replace('_', '-')} sentences: {right:.1%} right, "
            f"BLEU {score:.1f}"
        )
    save_checkpoint(path, model, (source, target), **notes)
    typer.echo(f"kept in {path}")
    return path


def _normal(sentence: str) -> str:
    """Return a sentence as the grammar writes it."""
    words = sentence.lower().rstrip(" .!?").split()
    return " ".join("I" if word == "i" else word for word in words)


def _print_translation(
    model: Transformer,
    source: WordTokenizer,
    target: WordTokenizer,
    sentence: str,
    n_beams: int,
) -> None:
    """Print a translation, and for each word what it looked at."""
    rows = alignment(model, source, target, sentence, n_beams)
    typer.echo(" ".join(word for word, _, _ in rows).replace("' ", "'"))
    width = max((len(word) for word, _, _ in rows), default=0)
    for word, english, share in rows:
        bar = "█" * round(10 * share)
        typer.echo(f"  {word:{width}}  {share:4.0%} {bar:10} {english}")


if __name__ == "__main__":
    run_command(translate_command)
