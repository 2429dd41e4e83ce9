"""A training run: its settings, what it learns from, and the folder it lives in."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lib import stopping
from lib.device import choose_device
from lib.models import Config, build_model
from lib.models.presets import preset_config
from lib.own import in_use
from lib.text.vocabulary import Tokenizer
from lib.train import train
from lib.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lib.train.memory import require_memory
from lib.train.parallel import losing_nobody, rank, require_shares, seed_by_place
from lib.train.run_settings import RunSettings
from lib.train.saved import require_same, saved_settings
from lib.train.sharding import put_together
from lib.train.sources import TaskSource, TextSource, open_source
from lib.train.spread import spread_training
from lib.train.tensor_file import checkpoint_path

__all__ = ["Run"]


class Run:
    """A training run in a folder; make one with `Run.new` or `Run.resume`.

    Attributes:
        path: its checkpoint.
        settings: what it was made from.
        device: where it computes.
        source: what it learns from.
        tokenizer: its vocabulary.
        training: the model and its optimisers, and how far they have come.
        n_kept: the step that its checkpoint holds; None while there is none.
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
        tokenizer = old.tokenizer if old else None
        self.source = source = open_source(s, tokenizer)
        self.notes = {"settings": asdict(s), "seed": s.seed} | source.about | notes
        if parts := (old.notes.get("own", {}) if old else {}) | in_use():
            self.notes["own"] = parts  # what a reader has written of the model
        if old is not None and old.notes["data_sha256"] != self.notes["data_sha256"]:
            name, value = ("task", s.task) if s.task else ("text", s.text)
            raise ValueError(f"{name}={value!r} has changed since the run began")
        self.device = choose_device(device)
        self.tokenizer = tokenizer or source.make_tokenizer()
        sizes = old.model.config if old else _model_config(s, self.tokenizer, source)
        source.prepare(self.tokenizer, sizes.context_length, self.device)
        config = s.train_config(source.n_steps())
        require_memory(sizes, s, self.device, bool(spread.get("recompute")))
        torch.manual_seed(s.seed)
        model = (old.model if old else build_model(sizes)).to(self.device)
        spread |= {"loss_of": source.loss_of}
        self.training = spread_training(model, config, **spread)
        self.generator = torch.Generator().manual_seed(s.seed)
        self.n_kept, self.is_new = None, old is None
        if old is not None:
            old.resume(self.training, self.generator)
            self.n_kept = self.training.n_done

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
        if _is_there(path):
            raise ValueError(f"{path} is there already: --resume its run, or move it")
        return cls(path, settings, device, {"command": command}, None, **spread)

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        device: str = "auto",
        typed: dict | None = None,
        **spread,
    ) -> Self:
        """Go on with the run in a folder.

        Args:
            folder: where its checkpoint is.
            device: see `choose_device`.
            typed: settings that must be those of the run. A text may lie elsewhere,
                as long as it is the same.
            spread: see `new`.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: for a checkpoint of something else, another setting, or a text
                that has changed.
        """
        path = checkpoint_path(folder)
        old = load_checkpoint(path)
        settings = require_same(old, saved_settings(old, path), typed or {}, folder)
        notes = {"command": old.notes["command"]}
        return cls(path, settings, device, notes, old, **spread)

    def compile(self) -> None:
        """Compile the model: a slow start, and faster steps."""
        self.training.runner = torch.compile(self.training.runner)

    def train(self, every: int | None = None) -> None:
        """Go on to the end; evaluate and save after every so many steps (10 times)."""
        every = every or math.ceil(self.training.config.n_steps / 10)
        try:
            with losing_nobody():
                if self.training.n_done == 0:  # a folder that cannot be written says so
                    with stopping.finish_first():
                        self.save()
                train(self.training, self.next_batch, every, self.evaluate, self.save)
        except Exception:
            if self.is_new and self.training.n_done == 0 and rank() == 0:
                self.path.resolve().unlink(missing_ok=True)  # it holds no work
            raise

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
            path = self.path.resolve() if self.path.is_symlink() else self.path
            save_checkpoint(path, model, *run, **self.notes)
        self.n_kept = self.training.n_done


def _is_there(path: Path) -> bool:
    """Return whether there is a file, at the end of a link, too.

    Raises:
        OSError: for a link that leads to itself, or a folder that is closed.
    """
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _model_config(
    s: RunSettings, tokenizer: Tokenizer, source: TextSource | TaskSource
) -> Config:
    """Return the model that the settings name, for a vocabulary and a source."""
    changes = {"context_length": source.context_length, "dropout": s.dropout}
    if s.context_length is not None:
        changes["context_length"] = s.context_length
    changes = {n: v for n, v in changes.items() if v is not None}
    changes["vocab_size"] = tokenizer.vocab_size
    try:
        return preset_config(s.preset, **changes)
    except TypeError:
        raise ValueError(f"preset {s.preset!r} has no dropout") from None
