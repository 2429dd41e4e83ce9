"""A training run on a text: its settings, its data, and the folder that it lives in."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lib.device import choose_device
from lib.models import build_model
from lib.models.presets import preset_config
from lib.shapes import require_sizes
from lib.text.batches import random_batch, split_text
from lib.text.bpe import BPETokenizer
from lib.text.corpus import load_corpus, read_text
from lib.text.tokenizer import CharTokenizer
from lib.train import estimate_loss, train
from lib.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lib.train.parallel import (
    is_cut,
    losing_nobody,
    n_processes,
    rank,
    require_shares,
    seed_by_place,
    sum_over_processes,
)
from lib.train.settings import TrainConfig
from lib.train.sharding import put_together
from lib.train.spread import spread_training
from lib.train.tensor_file import checkpoint_path

__all__ = ["RunSettings", "Run", "saved_settings"]

LARGEST_ALPHABET = 256  # presets with more tokens than this read byte pairs
FIRST_EDITION = {"steps": "n_steps", "warmup": "n_warmup"}  # names of settings


@dataclass(frozen=True)
class RunSettings(TrainConfig):
    """What a run of ``python -m lib.train`` is made from; see also `TrainConfig`.

    Attributes:
        preset: A model of `python -m lib.models`.
        text: Any utf-8 text. None for Tiny Shakespeare.
        epochs: Updates, as passes over the training text.
        n_steps: Updates, instead of epochs.
        batch_size: Rows per update, in all processes together.
        context_length: Tokens per row. None for the preset's.
        tokenizer: characters, bpe, or auto for the preset's.
        vocab_size: Tokens of bpe. None for the preset's.
        dropout: Share of numbers set to 0. None for the preset's.
        seed: Of weights, batches, dropout.

    Raises:
        ValueError: for a value that its model or its training does not allow.
    """

    preset: str = "mini"
    text: str | None = None
    epochs: float = 1.0
    n_steps: int | None = None
    batch_size: int = 16
    context_length: int | None = None
    tokenizer: str = "auto"
    vocab_size: int | None = None
    dropout: float | None = None
    optimizer: str = "muon"
    learning_rate: float = 0.005
    muon_learning_rate: float = 0.01
    schedule: str = "linear"
    n_warmup: int = 20
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_sizes(batch_size=self.batch_size)
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"epochs={self.epochs} must be above 0 and finite")
        self.train_config(1)  # which refuses what a training does not allow

    def train_config(self, n_tokens: int, context_length: int = 1) -> TrainConfig:
        """Return how to train on a text of so many tokens."""
        steps = self.epochs * n_tokens / (self.batch_size * context_length)
        values = {f.name: getattr(self, f.name) for f in fields(TrainConfig)}
        if self.n_steps is None:
            values["n_steps"] = math.ceil(steps)
        return TrainConfig(**values)


class Run:
    """A training run in a folder; make one with `Run.new` or `Run.resume`.

    Attributes:
        path: its checkpoint.
        settings: what it was made from.
        device: where it computes.
        tokenizer: its vocabulary.
        training: the model and its optimisers, and how far they have come.
    """

    def __init__(
        self,
        path: Path,
        settings: RunSettings,
        device: str,
        notes: dict,
        old: Checkpoint | None,
        **spread,
    ) -> None:
        self.path, self.settings, s = path, settings, settings
        require_shares(s.batch_size)
        text, about = _read(s.text)
        self.notes = {"settings": asdict(s), "seed": s.seed} | about | notes
        if old is not None and old.notes["data_sha256"] != self.notes["data_sha256"]:
            raise ValueError(f"text={s.text!r} has changed since the run began")
        self.device = choose_device(device)
        self.tokenizer = old.tokenizer if old else _make_tokenizer(s, text)
        torch.manual_seed(s.seed)
        model = old.model if old else _make_model(s, self.tokenizer.vocab_size)
        self.length = model.config.context_length
        self.tokens, self.validation = self._encode(text)
        config = s.train_config(len(self.tokens), self.length)
        self.training = spread_training(model.to(self.device), config, **spread)
        self.generator = torch.Generator().manual_seed(s.seed)
        if old is not None:
            old.resume(self.training, self.generator)

    @classmethod
    def new(
        cls,
        folder: str | Path,
        settings: RunSettings,
        device: str = "auto",
        command: str = "",
        **spread,
    ) -> Self:
        """Begin a run.

        Args:
            folder: where its checkpoint goes.
            settings: what it is made from.
            device: see `choose_device`; under ``torchrun`` each process has its own.
            command: how it was started, for the notes of the checkpoint.
            spread: ``parallel`` and ``recompute`` of `spread_training`; a run may go on
                with others.

        Raises:
            ValueError: for a folder that already holds a run, a setting outside its
                range, or a text that does not fit.
        """
        path = checkpoint_path(folder)
        if path.exists():
            raise ValueError(f"{path} holds a run already: resume it, or move it")
        return cls(path, settings, device, {"command": command}, None, **spread)

    @classmethod
    def resume(cls, folder: str | Path, device: str = "auto", **spread) -> Self:
        """Go on with the run in a folder.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: for a checkpoint of something else, or a text that has changed.
        """
        path = checkpoint_path(folder)
        old = load_checkpoint(path)
        settings = saved_settings(old, path)
        notes = {"command": old.notes["command"]}
        return cls(path, settings, device, notes, old, **spread)

    def compile(self) -> None:
        """Compile the model: a slow start, and faster steps."""
        self.training.runner = torch.compile(self.training.runner)

    def train(self, every: int | None = None) -> None:
        """Go on to the end; evaluate and save after every so many steps (10 times)."""
        every = every or math.ceil(self.training.config.n_steps / 10)
        with losing_nobody():
            if self.training.n_done == 0:
                self.save()  # a folder that cannot be written says so before the work
            train(self.training, self.next_batch, every, self.evaluate, self.save)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Draw a batch of the training text, the same in every process."""
        seed_by_place(self.settings.seed, self.training.n_done)
        return random_batch(
            self.tokens, self.settings.batch_size, self.length, self.generator
        )

    def evaluate(self) -> float:
        """Return the loss on the whole validation text, in nats per token.

        Each process reads its share of the windows; with FSDP, which needs all of them
        at each step, the whole text.
        """
        n_targets, total = len(self.validation) - 1, 0.0
        n_windows, cut = math.ceil(n_targets / self.length), is_cut(self.training.model)
        n_shares, place = (1, 0) if cut else (n_processes(), rank())
        share = math.ceil(n_windows / n_shares) * self.length  # targets of each
        first = share * place
        own = self.validation[first : first + share + 1]
        if (n := len(own) - 1) > 0:
            length = min(n, self.length)
            total = n * estimate_loss(self.training.model, own, length)
        return sum_over_processes(total) / n_targets * n_shares / n_processes()

    def save(self) -> None:
        """Write the checkpoint; of several processes the first one does it."""
        model = put_together(self.training)
        if model is not None:
            run = self.tokenizer, self.training, self.generator
            save_checkpoint(self.path, model, *run, **self.notes)

    def _encode(self, text: str) -> list[Tensor]:
        """Return the tokens of the training text and of the validation text."""
        splits = []
        for name, part in zip(("training", "validation"), split_text(text)):
            ids = torch.tensor(self.tokenizer.encode(part), device=self.device)
            if len(ids) <= self.length:
                raise ValueError(
                    f"the {name} text has {len(ids)} tokens; context_length="
                    f"{self.length} needs {self.length + 1} or more: "
                    "take a longer text or a shorter context"
                )
            splits.append(ids)
        return splits


def saved_settings(checkpoint: Checkpoint, path: Path) -> RunSettings:
    """Return the settings of the run that a checkpoint holds.

    Raises:
        ValueError: if it holds no run.
    """
    needed = {"settings", "config", "validation", "data_sha256", "command"}
    if not needed <= checkpoint.notes.keys() or not checkpoint.run:
        raise ValueError(f"path={str(path)!r} holds no run of lib.train to go on with")
    values = checkpoint.notes["settings"]
    return RunSettings(**{FIRST_EDITION.get(n, n): v for n, v in values.items()})


def _read(path: str | None) -> tuple[str, dict]:
    """Return a text, and notes of where it came from."""
    if path is None:
        corpus = load_corpus()
        text, name = corpus.text, corpus.name
    else:
        text, name = read_text(path), Path(path).name
    return text, {
        "data": name,
        "data_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "torch": torch.__version__,
    }


def _make_tokenizer(s: RunSettings, text: str) -> CharTokenizer | BPETokenizer:
    """Return the tokenizer that the settings name, made from the text."""
    vocab_size = s.vocab_size or preset_config(s.preset).vocab_size
    kind = s.tokenizer
    if kind == "auto":
        pairs = s.vocab_size or vocab_size > LARGEST_ALPHABET
        kind = "bpe" if pairs else "characters"
    if kind == "characters":
        if s.vocab_size is not None:
            raise ValueError(f"vocab_size={s.vocab_size} needs tokenizer='bpe'")
        return CharTokenizer(text)
    if kind != "bpe":
        raise ValueError(f"tokenizer={kind!r} must be auto, characters or bpe")
    return BPETokenizer.train(split_text(text)[0], vocab_size)


def _make_model(s: RunSettings, vocab_size: int) -> torch.nn.Module:
    """Return the model that the settings name, for a vocabulary."""
    changes = {"context_length": s.context_length, "dropout": s.dropout}
    changes = {n: v for n, v in changes.items() if v is not None}
    changes["vocab_size"] = vocab_size
    try:
        return build_model(preset_config(s.preset, **changes))
    except TypeError:
        raise ValueError(f"preset {s.preset!r} has no dropout") from None
