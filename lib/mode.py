"""Training mode and evaluation mode, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["in_mode"]


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put a model into training or evaluation mode for a while.

    Afterwards, also after an error, each part of the model is in the mode in which it
    was before: a part that somebody has put into evaluation mode stays there.

    Args:
        model: any model; dropout works in training mode only.
        training: True for training mode, False for evaluation mode.

    Home lesson: 02_bigram
    """
    before = {part: part.training for part in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for part, was_training in before.items():
            part.training = was_training
