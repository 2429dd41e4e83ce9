"""How much memory a training needs, before any of it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from lib.device import memory_of
from lib.models import Config, build_model
from lib.module import sizes_only
from lib.train.parallel import n_processes
from lib.train.settings import TrainConfig

__all__ = ["bytes_of_training", "require_memory"]

NUMBER = 4  # bytes in float32


def bytes_of_training(config: Config, s: TrainConfig, recompute: bool = False) -> int:
    """Return about how many bytes each process needs for a training; rather too few.

    The settings have a ``batch_size``. What counts: weights, their gradients and at
    least one number of the optimiser for each; and what a part of a batch leaves behind
    on its way through the layers.
    """
    return _of_model(config) + _of_batch(config, s, recompute)


def _of_model(config: Config) -> int:
    """Return the bytes that are there whatever is learned from."""
    with sizes_only():
        model = build_model(config)
    weights = sum(p.numel() for p in model.parameters())
    return NUMBER * (3 * weights + sum(b.numel() for b in model.buffers()))


def _of_batch(config: Config, s: TrainConfig, recompute: bool) -> int:
    """Return the bytes of one part of a batch."""
    rows = -(-s.batch_size // (s.accumulation * n_processes()))
    d_model = getattr(config, "d_model", 0) or 0
    inside = 0 if recompute else 7 * d_model + 2 * (getattr(config, "d_ff", 0) or 0)
    per_token = getattr(config, "n_layers", 0) * (d_model + inside)
    per_token += 2 * config.vocab_size + 2 * d_model  # logits and their gradients
    tokens = 4 * s.batch_size  # ids have eight bytes, and there are targets
    return NUMBER * config.context_length * (rows * per_token + tokens)


def require_memory(
    config: Config, s: TrainConfig, device: torch.device, recompute: bool = False
) -> None:
    """Refuse a training that a device has no memory for.

    Raises:
        ValueError: which says what would fit.
    """
    most = memory_of(device)
    model, batch = _of_model(config), _of_batch(config, s, recompute)
    if most is None or model + batch <= most:
        return
    shortest = _of_model(replace(config, context_length=1))
    per_place = (model - shortest) / max(1, config.context_length - 1)

    def with_batch(size: int) -> bool:
        smaller = replace(s, batch_size=size, accumulation=min(size, s.accumulation))
        return model + _of_batch(config, smaller, recompute) <= most

    def with_context(size: int) -> bool:
        short = replace(config, context_length=size)
        one = replace(s, batch_size=1, accumulation=1)
        return shortest + size * per_place + _of_batch(short, one, recompute) <= most

    advice = "take a smaller preset"
    if size := _largest(with_batch, s.batch_size):
        advice = f"a batch size of {size:,} would fit"
    elif size := _largest(with_context, config.context_length):
        advice = f"a batch size of 1 and a context length of {size:,} would fit"
    raise ValueError(
        f"batch_size={s.batch_size} with context_length={config.context_length} needs "
        f"{_gigabytes(model + batch)} or more, and {device.type} has "
        f"{_gigabytes(most)}: {advice}"
    )


def _largest(fits: Callable[[int], bool], size: int) -> int:
    """Return the largest size up to one that fits; 0 if none does."""
    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GB"
