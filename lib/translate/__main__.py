"""The command ``python -m lib.translate``: train a translator, or ask one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from lib import stopping
from lib.command_line import Given, refuse_together, run_command
from lib.evaluate.bleu import bleu
from lib.models import count_parameters
from lib.models.encoder_decoder import Transformer
from lib.shapes import require_between, require_sizes
from lib.tasks.english_french import translation_data
from lib.text.tokenizer import WordTokenizer
from lib.train.checkpoint import save_checkpoint
from lib.train.lock import one_writer
from lib.train.ranges import require_seed
from lib.train.settings import TrainConfig
from lib.train.tensor_file import checkpoint_path
from lib.train.uses import load_for_command
from lib.translate import translate
from lib.translate.translator import (
    SIZES,
    TRAINING,
    alignment,
    exact_match,
    train_translator,
)

MOST_WORDS = 14  # of the longest sentence of the grammar
SHIPPED = Path(__file__).resolve().parents[2] / "data" / "translator.safetensors"


def translate_command(
    context: typer.Context,
    say: Annotated[str | None, Option(help="An English sentence.")] = None,
    train_new: Annotated[
        bool, Option("--train", help="Train a translator, in half a minute.")
    ] = False,
    model: Annotated[
        Path | None,
        Given(help="Folder or file of a translator.  [default: the course's]"),
    ] = None,
    out: Annotated[
        Path, Given(help="Folder that a new translator goes to.")
    ] = "runs/french",
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
    if say is not None:
        _check_sentence(say)
    else:
        refuse_together(context, "--train without --say", "beams")
    require_sizes(beams=beams)
    require_seed(seed)
    if train_new:
        refuse_together(context, "--train: see --out", "model")
        model = _train(out, steps, seed, _normal(say or ""))
    else:
        refuse_together(context, "--say without --train", "out", "steps", "seed")
    if say is not None:
        checkpoint = load_for_command("translate", model or SHIPPED)
        _print_translation(checkpoint.model, *checkpoint.tokenizer, _normal(say), beams)
        if (n := len(_normal(say).split())) > MOST_WORDS:
            learnt = f"the translator has learnt from {MOST_WORDS} at most"
            typer.echo(f"the sentence has {n} words; {learnt}", err=True)


def _train(out: Path, steps: int, seed: int, sentence: str) -> Path:
    """Train a translator, say how good it is, and keep it; return where.

    A sentence that it will not be able to read is refused first.
    """
    path, config = checkpoint_path(out), TrainConfig(steps, **TRAINING)
    with one_writer(out):
        if path.exists():
            raise ValueError(f"{path} holds a model already: move it, or choose --out")
        data = translation_data()
        ids = WordTokenizer(pair.english for pair in data.train).encode(sentence)
        require_between(0, SIZES["context_length"], **{"words of --say": len(ids)})
        model, source, target = train_translator(data, config, seed)
        typer.echo(f"{count_parameters(model):,} parameters, {steps} steps")
        notes = {"seed": seed}
        words = f"python -m lib.translate --train --steps {steps} --seed {seed}"
        notes["command"] = words
        for name, pairs in (("unseen", data.unseen), ("held_out", data.held_out)):
            written = translate(model, source, target, [pair.english for pair in pairs])
            notes[name] = right = exact_match(written, pairs)
            score = bleu(written, [pair.french for pair in pairs])
            typer.echo(
                f"{len(pairs)} {name.replace('_', '-')} sentences: {right:.1%} right, "
                f"BLEU {score:.1f}"
            )
        with stopping.finish_first():
            save_checkpoint(path, model, (source, target), **notes)
    typer.echo(f"kept in {path}")
    return path


def _check_sentence(say: str) -> None:
    """Refuse what is no sentence."""
    words = _normal(say).split()
    if not words:
        raise ValueError(f"say={say!r} has no words")
    for word in words:
        if word.startswith("<") and word.endswith(">"):
            raise ValueError(f"say has {word!r}, a mark of the model, which is no word")


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
