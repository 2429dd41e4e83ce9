"""What a run was made from, as its checkpoint says it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lib.command_line import option_name
from lib.text.bpe import BPETokenizer
from lib.text.pieces import TextFacts, text_pieces
from lib.text.tokenizer import CharTokenizer
from lib.train.checkpoint import Checkpoint
from lib.train.run_settings import RunSettings

__all__ = ["require_same", "saved_settings"]

FIRST_EDITION = {"steps": "n_steps", "warmup": "n_warmup"}  # names of settings
KINDS = {CharTokenizer: "characters", BPETokenizer: "bpe"}


def saved_settings(checkpoint: Checkpoint, path: Path) -> RunSettings:
    """Return the settings of the run that a checkpoint holds.

    Raises:
        ValueError: if it holds no run.
    """
    needed = {"settings", "config", "validation", "data_sha256", "command"}
    if not needed <= checkpoint.notes.keys() or not checkpoint.run:
        raise ValueError(f"path={str(path)!r} holds no run of lib.train to go on with")
    values = checkpoint.notes["settings"]
    try:
        values = {FIRST_EDITION.get(n, n): v for n, v in values.items()}
        pairs = {n: (*v,) for n, v in values.items() if isinstance(v, list)}  # of JSON
        return RunSettings(**values | pairs)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"path={str(path)!r}: its settings: {error}") from error


def require_same(
    old: Checkpoint, saved: RunSettings, typed: dict, folder: str | Path
) -> RunSettings:
    """Refuse settings that are not those of a run; return these, with its text's place.

    What a run has taken from its preset, or from its text, may be said as well.

    Raises:
        ValueError: for another value.
    """
    taken = {
        "n_steps": old.notes["config"]["n_steps"],
        "context_length": old.model.config.context_length,
        "dropout": getattr(old.model.config, "dropout", None),
        "vocab_size": getattr(old.tokenizer, "vocab_size", None),
        "tokenizer": KINDS.get(type(old.tokenizer)),
    }
    for name, value in typed.items():
        own = getattr(saved, name)
        if value in (own, taken.get(name)):
            continue
        if name == "text" and own and _sha256(value) == old.notes["data_sha256"]:
            saved = replace(saved, text=value)
            continue
        raise ValueError(
            f"{option_name(name)} {value} cannot change: the run in {folder} has "
            f"{taken.get(name) if own is None else own!r}"
        )
    return saved


def _sha256(path: str) -> str | None:
    """Return what the notes of a run say of a text; None of one that is none."""
    facts = TextFacts()
    with suppress(ValueError):
        for _ in facts.watch(text_pieces(path)):
            pass
        return facts.sha256
    return None
