"""Checkpoints: a model, its vocabulary and its training run in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.models import build_model, config_of, config_to_dict
from lib.models.tensor_table import require_floats
from lib.text.files import naming
from lib.text.vocabulary import Tokenizer, tokenizer_to_dict
from lib.train import Training
from lib.train.checked import (
    plan_checkpoint,
    require_sound,
    require_states,
    require_vocabulary,
)
from lib.train.optimizer import load_optimizers, optimizer_tensors
from lib.train.sharding import take_weights
from lib.train.tensor_file import checkpoint_path, read_tensors, write_tensors

__all__ = [
    "Checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]

COURSE = "From Bigram to Transformer"
FORMAT = 1  # a file of a later format says so, and is refused


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        model: with its weights, in evaluation mode.
        tokenizer: its vocabulary, a pair of them for a translator; None if it was saved
            without.
        notes: what was noted when it was saved: command, seed, sha256 of the data, ...
        run: the state of a training run by name, empty if it was saved without.

    Home lesson: 12_training_runs
    """

    model: nn.Module
    tokenizer: Tokenizer | tuple[Tokenizer, Tokenizer] | None
    notes: dict
    run: dict[str, Tensor]

    def resume(self, training: Training, generator: torch.Generator) -> None:
        """Put a run where it was: weights, optimisers, curves and random numbers.

        Raises:
            ValueError: if the checkpoint holds no run, or one of another training.
        """
        if "run.generator" not in self.run:
            raise ValueError("the checkpoint holds weights only; it cannot be resumed")
        if self.notes["config"] != json.loads(json.dumps(asdict(training.config))):
            raise ValueError("the checkpoint comes from a training with other settings")
        if self.model.config != training.model.config:
            raise ValueError("the checkpoint holds another model than the training")
        losses = self.run["run.losses"].tolist()
        if len(losses) > (n_steps := training.config.n_steps):
            raise ValueError(f"the checkpoint holds {len(losses)} of {n_steps} steps")
        require_states(training, self.run, len(losses))
        take_weights(training.model, self.model)
        load_optimizers(training.optimizers, self.run)
        training.losses[:] = losses
        training.n_done = len(training.losses)
        training.validation[:] = [tuple(pair) for pair in self.notes["validation"]]
        generator.set_state(self.run["run.generator"])
        torch.set_rng_state(self.run["run.torch"])
        if "run.cuda" in self.run:
            torch.cuda.set_rng_state(self.run["run.cuda"])


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    tokenizer: Tokenizer | tuple[Tokenizer, Tokenizer] | None = None,
    training: Training | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    **notes,
) -> None:
    """Write a checkpoint; whatever happens, the old file or the new one is there whole.

    Args:
        path: the file, ``.safetensors``.
        model: has the ``config`` that it was built from, as what `build_model` returns
            has.
        tokenizer: its vocabulary, or a pair of them.
        training: the run to go on with later; needs ``generator``.
        generator: draws the batches of the run.
        dtype: number format of the weights; None for their own.
        notes: plain values to keep with it.

    Raises:
        ValueError: for a training without a generator, or what `load_checkpoint` would
            refuse: a model that cannot be built again, a vocabulary larger than it, or
            weights that are no finite fractions in the file.
        TypeError: for a tokenizer or a note that cannot be kept.
        OSError: if the file cannot be written; the old one is still there.

    Source: safetensors, the format of Hugging Face: no code in it, unlike pickle.

    Home lesson: 12_training_runs
    """
    config, path = config_of(model), Path(path)
    words = {
        "course": COURSE,
        "format": FORMAT,
        "model": config_to_dict(config),
        "tokenizer": tokenizer_to_dict(tokenizer),
        "notes": notes,
    }
    require_vocabulary(path, config, tokenizer)
    own = model.named_parameters()  # tied ones once
    tensors = {f"model.{name}": w.to(dtype or w.dtype) for name, w in own}
    if training is not None:
        tensors |= _run_tensors(training, generator)
        words["notes"] = notes | {
            "config": asdict(training.config),
            "validation": training.validation,
        }
    for name, tensor in tensors.items():
        if name.startswith("model."):
            require_floats(name, tensor.dtype)
    require_sound(tensors)
    write_tensors(path, tensors, words)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `save_checkpoint` wrote, and check every bit of it.

    Args:
        path: the file, or the folder of a run of ``lib.train``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is damaged, of another kind or of a later format, or
            whose weights do not fit its model.

    Home lesson: 12_training_runs
    """
    path = checkpoint_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such checkpoint")
    tensors, plan = read_tensors(path, COURSE, FORMAT, plan_checkpoint)
    with naming(f"path={str(path)!r}"):
        require_sound(tensors)
    model = build_model(plan.config)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # tied ones once
            weight.copy_(tensors.pop(f"model.{name}"))
    return Checkpoint(model.eval(), plan.tokenizer, plan.notes, tensors)


def _run_tensors(
    training: Training, generator: torch.Generator | None
) -> dict[str, Tensor]:
    """Return the state of a run as tensors."""
    if generator is None:
        raise ValueError("generator=None: a training cannot go on without it")
    tensors = {
        "run.losses": torch.tensor(training.losses, dtype=torch.float64),
        "run.generator": generator.get_state(),
        "run.torch": torch.get_rng_state(),
    }
    if next(training.model.parameters()).is_cuda:
        tensors["run.cuda"] = torch.cuda.get_rng_state()
    return tensors | optimizer_tensors(training.optimizers)
