"""The command ``python -m lib.translate``: train a translator, or ask one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from typer import Option

from lib.attention_maps import attention_maps
from lib.checkpoint import load_for, save_checkpoint
from lib.encoder_decoder import Transformer
from lib.english_french import Pair, TranslationData, translation_data
from lib.metrics import bleu
from lib.presets import count_parameters
from lib.run import checkpoint_path
from lib.shapes import require_sizes
from lib.tokenizer import WordTokenizer
from lib.train import TrainConfig, Training, train
from lib.translate import PairBatches, encode_pairs, translate, translation_loss

__all__ = [
    "SIZES",
    "TRAINING",
    "train_translator",
    "exact_match",
    "alignment",
    "translate_command",
]

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "translator.safetensors"
SIZES = {"d_model": 64, "n_heads": 4, "n_encoder_layers": 2, "n_decoder_layers": 2}
SIZES |= {"d_ff": 256, "dropout": 0.0, "context_length": 64, "pre_norm": True}
SIZES |= {"tie_weights": False}
TRAINING = {"optimizer": "muon", "learning_rate": 0.005, "muon_learning_rate": 0.01}
TRAINING |= {"schedule": "linear", "n_warmup": 30}


def train_translator(
    data: TranslationData, config: TrainConfig, seed: int = 0, **sizes
) -> tuple[Transformer, WordTokenizer, WordTokenizer]:
    """Train a translator on sentence pairs, 64 at a time.

    Args:
        data: see `translation_data`.
        config: how it is trained.
        seed: of weights and batches.
        sizes: options of the `Transformer` in place of those in `SIZES`.

    Returns:
        The model, and the vocabularies of the English and of the French words.
    """
    source = WordTokenizer(pair.english for pair in data.train)
    target = WordTokenizer(pair.french for pair in data.train)
    torch.manual_seed(seed)
    model = Transformer(source.vocab_size, target.vocab_size, **(SIZES | sizes))
    rows = encode_pairs(data.train, source, target)
    batches = PairBatches(*rows, 64, torch.Generator().manual_seed(seed))
    train(Training(model, config, translation_loss), batches)
    return model.eval(), source, target


def exact_match(candidates: Sequence[str], pairs: Sequence[Pair]) -> float:
    """Return the share of translations that are right word for word."""
    right = [text == pair.french for text, pair in zip(candidates, pairs, strict=True)]
    return sum(right) / len(right)


def alignment(
    model: Transformer,
    source: WordTokenizer,
    target: WordTokenizer,
    sentence: str,
    n_beams: int = 1,
) -> list[tuple[str, str, float]]:
    """Translate a sentence, and tell what the model looked at for each word.

    Returns:
        For each French word: the word, the English word (or ``<eos>``) that the last
        layer of the decoder looks at most when it predicts it, and how much, 0 to 1.

    Raises:
        ValueError: for a word outside the vocabulary.
    """
    french = translate(model, source, target, [sentence], n_beams)[0]
    (src,), (tgt,) = encode_pairs([Pair(sentence, french, ())], source, target)
    maps = attention_maps(model, torch.tensor([src]), torch.tensor([tgt[:-1]]))
    weights = maps[-1][0].mean(dim=0)  # (T, S): the mean of the heads
    shares, places = weights[: len(french.split())].max(dim=-1)
    words = [source.words[src[place]] for place in places]
    return list(zip(french.split(), words, shares.tolist()))


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
        checkpoint = load_for("translate", checkpoint_path(model or SHIPPED))
        _say(checkpoint.model, *checkpoint.tokenizer, _normal(say), beams)


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


def _say(
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
