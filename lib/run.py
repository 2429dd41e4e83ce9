"""A training run on a text: its settings, its data, and the folder that it lives in."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed

from lib.bpe import BPETokenizer
from lib.checkpoint import load_run, save_checkpoint
from lib.corpus import load_corpus, read_text
from lib.data import random_batch, split_text
from lib.device import choose_device
from lib.presets import build_model, preset_config
from lib.tokenizer import CharTokenizer
from lib.train import (
    TrainConfig,
    Training,
    _over_processes,
    _require_shares,
    _world,
    estimate_loss,
    train,
)

__all__ = ["RunSettings", "Run", "checkpoint_path"]

LARGEST_ALPHABET = 256  # presets with more tokens than this read byte pairs


@dataclass(frozen=True)
class RunSettings:
    """What a run is made from; `TrainConfig` explains the settings of the training.

    Attributes:
        preset: a model of `lib.presets`.
        text: a utf-8 file; None for Tiny Shakespeare.
        epochs: updates, as passes over the training text.
        steps: updates, instead of ``epochs``.
        batch_size: rows per update, in all processes together.
        context_length: tokens per row; None for the preset's.
        tokenizer: ``"characters"``, ``"bpe"``, or ``"auto"`` for the preset's.
        vocab_size: tokens of ``"bpe"``; None for the preset's.
        seed: of weights, batches and dropout.
    """

    preset: str = "mini"
    text: str | None = None
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 16
    accumulation: int = 1
    context_length: int | None = None
    tokenizer: str = "auto"
    vocab_size: int | None = None
    dropout: float | None = None
    optimizer: str = "muon"
    learning_rate: float = 0.005
    muon_learning_rate: float = 0.01
    weight_decay: float = 0.0
    schedule: str = "linear"
    warmup: int = 20
    clip: float = 1.0
    dtype: str = "auto"
    seed: int = 0

    def train_config(self, n_tokens: int, context_length: int) -> TrainConfig:
        """Return how to train on a text of so many tokens.

        Raises:
            ValueError: for settings outside their range.
        """
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"epochs={self.epochs} must be above 0 and finite")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")
        _require_shares(self.batch_size)
        steps = self.epochs * n_tokens / (self.batch_size * context_length)
        names = TrainConfig.__dataclass_fields__.keys() & asdict(self).keys()
        return TrainConfig(
            n_steps=math.ceil(steps) if self.steps is None else self.steps,
            n_warmup=self.warmup,
            **{name: getattr(self, name) for name in names},
        )


class Run:
    """A training run in a folder, new or to be gone on with.

    Args:
        folder: where its checkpoint goes.
        settings: of a new run; None to go on with the run in the folder.
        device: see `choose_device`; under ``torchrun`` each process takes its own GPU.
        compile: whether to compile the model.
        command: how it was started, for the notes of the checkpoint.

    Raises:
        ValueError: for a folder that already holds a run, a setting outside its range,
            or a text that does not fit.
        OSError: if the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: RunSettings | None,
        device: str = "auto",
        compile: bool = False,
        command: str = "",
    ) -> None:
        self.path = checkpoint_path(folder)
        old = load_run(self.path) if settings is None else None
        if settings is not None and self.path.exists():
            raise ValueError(f"{self.path} holds a run already: resume it, or move it")
        self.settings = s = settings or RunSettings(**old.notes["settings"])
        text, self.notes = _read(s.text)
        self.notes |= {"settings": asdict(s), "command": command, "seed": s.seed}
        if old is not None and old.notes["data_sha256"] != self.notes["data_sha256"]:
            raise ValueError(f"text={s.text!r} has changed since the run began")
        self.device = choose_device(device)
        self.tokenizer = old.tokenizer if old else _make_tokenizer(s, text)
        torch.manual_seed(s.seed)
        model = old.model if old else _make_model(s, self.tokenizer.vocab_size)
        self.length = model.config.context_length
        self.tokens, self.validation = self._encode(text)
        config = s.train_config(len(self.tokens), self.length)
        self.training = Training(model.to(self.device), config)
        self.generator = torch.Generator().manual_seed(s.seed)
        if old is not None:
            self.notes["command"] = old.notes["command"]
            old.resume(self.training, self.generator)
        if compile:
            self.training.runner = torch.compile(self.training.runner)

    def train(self, every: int | None = None) -> None:
        """Go on to the end; evaluate and save after every so many steps (10 times)."""
        if self.training.n_done == 0:
            self.save()  # a folder that cannot be written says so before the work
        every = every or math.ceil(self.training.config.n_steps / 10)
        train(self.training, self.next_batch, every, self.evaluate, self.save)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Draw a batch of the training text."""
        return random_batch(
            self.tokens, self.settings.batch_size, self.length, self.generator
        )

    def evaluate(self) -> float:
        """Return the loss on the whole validation text, in nats per token.

        Each process reads its share of the windows.
        """
        n_targets, total = len(self.validation) - 1, 0.0
        n_windows = math.ceil(n_targets / self.length)
        share = math.ceil(n_windows / _world()) * self.length  # targets per process
        first = share * (distributed.get_rank() if _world() > 1 else 0)
        own = self.validation[first : first + share + 1]
        if (n := len(own) - 1) > 0:
            length = min(n, self.length)
            total = n * estimate_loss(self.training.model, own, length)
        return _over_processes(total) / n_targets

    @property
    def is_first(self) -> bool:
        """Whether this is the first, or the only, of the processes that train."""
        return not distributed.is_initialized() or distributed.get_rank() == 0

    def save(self) -> None:
        """Write the checkpoint; of several processes the first one does it."""
        if not self.is_first:
            return
        t = self.training
        save_checkpoint(
            self.path, t.model, self.tokenizer, t, self.generator, **self.notes
        )

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


def checkpoint_path(path: str | Path) -> Path:
    """Return the checkpoint that a path means: the file, or the one in the folder."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / "checkpoint.safetensors"


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
    changes = {"vocab_size": vocab_size}
    if s.context_length is not None:
        changes["context_length"] = s.context_length
    if s.dropout is not None:
        changes["dropout"] = s.dropout
    try:
        return build_model(preset_config(s.preset, **changes))
    except TypeError:
        raise ValueError(f"preset {s.preset!r} has no dropout") from None
