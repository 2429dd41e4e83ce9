"""A training run: its settings, what it learns from, and the folder it lives in."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lib.device import choose_device
from lib.models import build_model
from lib.models.presets import preset_config
from lib.own import in_use
from lib.text.vocabulary import Tokenizer
from lib.train import train
from lib.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lib.train.parallel import losing_nobody, require_shares, seed_by_place
from lib.train.run_settings import RunSettings
from lib.train.sharding import put_together
from lib.train.sources import TaskSource, TextSource, open_source
from lib.train.spread import spread_training
from lib.train.tensor_file import checkpoint_path

__all__ = ["Run", "saved_settings"]

FIRST_EDITION = {"steps": "n_steps", "warmup": "n_warmup"}  # names of settings


class Run:
    """A training run in a folder; make one with `Run.new` or `Run.resume`.

    Attributes:
        path: its checkpoint.
        settings: what it was made from.
        device: where it computes.
        source: what it learns from.
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
        self.source = source = open_source(s)
        self.notes = {"settings": asdict(s), "seed": s.seed} | source.about | notes
        if parts := (old.notes.get("own", {}) if old else {}) | in_use():
            self.notes["own"] = parts  # what a reader has written of the model
        if old is not None and old.notes["data_sha256"] != self.notes["data_sha256"]:
            name, value = ("task", s.task) if s.task else ("text", s.text)
            raise ValueError(f"{name}={value!r} has changed since the run began")
        self.device = choose_device(device)
        self.tokenizer = old.tokenizer if old else source.make_tokenizer()
        torch.manual_seed(s.seed)
        model = old.model if old else _make_model(s, self.tokenizer, source)
        model = model.to(self.device)
        source.prepare(self.tokenizer, model.config.context_length, self.device)
        config = s.train_config(source.n_steps())
        spread |= {"loss_of": source.loss_of}
        self.training = spread_training(model, config, **spread)
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

    def next_batch(self) -> tuple[Tensor, ...]:
        """Draw a batch to learn from, the same in every process."""
        seed_by_place(self.settings.seed, self.training.n_done)
        return self.source.batch(self.generator)

    def evaluate(self) -> float:
        """Return the validation loss, in nats per token."""
        return self.source.loss(self.training.model)

    def save(self) -> None:
        """Write the checkpoint; of several processes the first one does it."""
        model = put_together(self.training)
        if model is not None:
            run = self.tokenizer, self.training, self.generator
            save_checkpoint(self.path, model, *run, **self.notes)


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


def _make_model(
    s: RunSettings, tokenizer: Tokenizer, source: TextSource | TaskSource
) -> torch.nn.Module:
    """Return the model that the settings name, for a vocabulary and a source."""
    changes = {"context_length": source.context_length, "dropout": s.dropout}
    if s.context_length is not None:
        changes["context_length"] = s.context_length
    changes = {n: v for n, v in changes.items() if v is not None}
    changes["vocab_size"] = tokenizer.vocab_size
    try:
        return build_model(preset_config(s.preset, **changes))
    except TypeError:
        raise ValueError(f"preset {s.preset!r} has no dropout") from None
