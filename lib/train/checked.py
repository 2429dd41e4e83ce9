"""What a checkpoint may say: all of it is looked at before any tensor is read."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib.models import Config, config_from_dict
from lib.models.encoder_decoder import TransformerConfig
from lib.models.tensor_table import (
    Entry,
    TensorFile,
    require_finite,
    require_floats,
    require_shape,
)
from lib.models.weight_shapes import weight_shapes
from lib.moe import MoE
from lib.text.files import printable
from lib.text.vocabulary import Tokenizer, tokenizer_from_dict
from lib.train import Training

__all__ = ["Plan", "plan_checkpoint", "require_sound", "require_states", "vocab_sizes"]

OURS = "model."
ADAMW, MUON = {"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"}
NAMES = "step|exp_avg|exp_avg_sq|momentum_buffer"
STATE = re.compile(rf"optimizer\.[01]\.\d{{1,6}}\.({NAMES})")
RANDOM = ("run.generator", "run.torch", "run.cuda")


@dataclass(frozen=True)
class Plan:
    """What the words of a checkpoint describe.

    Attributes:
        config: of the model.
        tokenizer: its vocabulary, or two, or none.
        notes: by name.
    """

    config: Config
    tokenizer: Tokenizer | tuple[Tokenizer, Tokenizer] | None
    notes: dict


def plan_checkpoint(words: dict, file: TensorFile) -> Plan:
    """Return what the words of a checkpoint describe, if its tensors fit them.

    Raises:
        KeyError: for a word that is missing.
        TypeError, ValueError: for words that describe nothing of the course, a
            vocabulary larger than the model's, or a tensor that is missing, not known,
            or of another shape or number format.
    """
    for name in ("model", "notes"):
        if not isinstance(words[name], dict):
            given = printable(repr(words[name]), 60)
            raise ValueError(f"{name}={given} must be an object in braces")
    config, tokenizer = config_from_dict(words["model"]), words["tokenizer"]
    shapes = weight_shapes(config, len(file.entries), file.n_bytes)
    for name in sorted({n[6:] for n in file.entries if n.startswith(OURS)} ^ {*shapes}):
        there, wanted = file.entries.get(OURS + name), shapes.get(name)
        _refuse_weight(name, there and there.shape, wanted)
    for name, shape in shapes.items():
        entry = file.entries[OURS + name]
        if entry.shape != shape:
            _refuse_weight(name, entry.shape, shape)
        require_floats(OURS + name, entry.dtype)
    _require_run(file.entries, words["notes"])
    tokenizer = tokenizer_from_dict(tokenizer)
    require_vocabulary(file.path, config, tokenizer)
    return Plan(config, tokenizer, words["notes"])


def _refuse_weight(name: str, there: tuple | None, wanted: tuple | None) -> None:
    raise ValueError(
        f"{printable(name, 200)} is {there or 'missing'}, but the model has "
        f"{wanted or 'no such weight'}"
    )


def _require_run(entries: dict[str, Entry], notes: dict) -> None:
    """Refuse tensors that are no state of a run, and a run without its words."""
    run = {name: e for name, e in entries.items() if not name.startswith(OURS)}
    for name, entry in run.items():
        if name == "run.losses" and len(entry.shape) == 1:
            require_floats(name, entry.dtype)
        elif STATE.fullmatch(name):
            require_floats(name, entry.dtype)
        elif name not in RANDOM or entry.dtype != torch.uint8 or len(entry.shape) != 1:
            words = f"{printable(name, 200)} of shape {entry.shape}, {entry.dtype}"
            raise ValueError(f"{words}, is no state of a run")
    if run:
        for name in ("run.losses", "run.generator", "run.torch"):
            if name not in run:
                raise ValueError(f"{name} is missing from the state of its run")
        for name in RANDOM[:2]:
            size = torch.get_rng_state().shape
            if run[name].shape != size:
                given = run[name].shape
                raise ValueError(f"{name} has shape {given}; it must be {tuple(size)}")
        _require_curve(notes["validation"], run["run.losses"].shape[0])
        if not isinstance(notes["config"], dict):
            raise ValueError("config must be an object in braces")


def _require_curve(validation: object, n_done: int) -> None:
    """Refuse what is no list of steps, each with its loss."""
    pairs = validation if isinstance(validation, list) else [None]
    for pair in pairs:
        if isinstance(pair, list) and [*map(type, pair)] in ([int, int], [int, float]):
            if 0 <= pair[0] <= n_done and math.isfinite(pair[1]):
                continue
        given = printable(repr(pair), 60)
        raise ValueError(f"validation holds {given}; it must hold steps and losses")


def vocab_sizes(config: Config) -> list[int]:
    """Return how many tokens a model knows: of a translator in both languages."""
    if isinstance(config, TransformerConfig):
        return [config.src_vocab_size, config.tgt_vocab_size]
    return [config.vocab_size]


def require_vocabulary(path: Path, config: Config, tokenizer: object) -> None:
    """Refuse a vocabulary that is larger than the model's."""
    tokenizers = tokenizer if isinstance(tokenizer, tuple) else (tokenizer,)
    for size, one in zip(vocab_sizes(config), tokenizers):
        if one is not None and one.vocab_size > size:
            raise ValueError(
                f"path={str(path)!r} has a vocabulary of {one.vocab_size} for a model "
                f"of {size} tokens"
            )


def require_sound(tensors: dict[str, Tensor]) -> None:
    """Refuse tensors of a checkpoint with numbers that nothing can go on from.

    Raises:
        ValueError: for a NaN or an infinity, as float32, or a sum of squares below 0.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            is_loss = name == "run.losses"
            require_finite(name, tensor, None if is_loss else torch.float32)
        if name.endswith((".exp_avg_sq", ".step")) and (tensor < 0).any():
            raise ValueError(f"{name} has numbers below 0")


def require_states(training: Training, run: dict[str, Tensor], n_done: int) -> None:
    """Refuse states that are not those of the weights and numbers of a training.

    PyTorch's own check looks at how many groups there are; what is too small is
    written past its end.

    Args:
        training: that will take them.
        run: tensors by name; those of others are passed over.
        n_done: steps that the run has done.

    Raises:
        ValueError: for a state of no weight, one whose names or shapes are others, a
            weight that learns and has none after a step, or random numbers that cannot
            be gone on with.
    """
    _require_random(run)
    experts = [m for m in training.model.modules() if isinstance(m, MoE)]
    may_lack = {p for m in experts for p in m.parameters()}  # no token came to them
    states = defaultdict(dict)
    for name, tensor in run.items():
        if name.startswith("optimizer."):
            states[name.rpartition(".")[0]][name.rpartition(".")[2]] = tensor
    for number, optimizer in enumerate(training.optimizers):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        own = [f"optimizer.{number}.{place}" for place in range(len(weights))]
        keys = ADAMW if "betas" in optimizer.param_groups[0] else MUON
        for name, weight in zip(own, weights):
            if name in states:
                _require_state(name, states.pop(name), weight, keys, n_done)
            elif n_done and weight.requires_grad and weight not in may_lack:
                raise ValueError(f"{name} has no state after {n_done} steps")
    if states:
        raise ValueError(f"{next(iter(states))} is the state of no weight")


def _require_random(run: dict[str, Tensor]) -> None:
    """Refuse what is no state of random numbers."""
    for name in RANDOM[:2]:
        try:
            torch.Generator().set_state(run[name])
        except RuntimeError as error:
            raise ValueError(f"{name} is no state of random numbers") from error


def _require_state(
    name: str, state: dict[str, Tensor], weight: Tensor, keys: set[str], n_done: int
) -> None:
    """Refuse a state of other names or sizes than a weight needs."""
    if state.keys() != keys:
        raise ValueError(f"{name} has {sorted(state)}, not {sorted(keys)}")
    for key, tensor in state.items():
        given, needed = tuple(tensor.shape), tuple(weight.shape)
        if given != (() if key == "step" else needed):
            raise ValueError(f"{name}.{key} has shape {given} for a weight {needed}")
    if "step" in state and not 0 < state["step"] <= n_done:
        given = state["step"].item()
        raise ValueError(f"{name}.step={given} must lie in 1 .. {n_done}")
