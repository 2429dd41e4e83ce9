"""Training: the small loop, and the loss over a whole split."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm import trange

from lib.data import consecutive_batches
from lib.metrics import cross_entropy

__all__ = ["fit", "estimate_loss"]


def fit(
    model: nn.Module, next_batch: Callable, n_steps: int, learning_rate: float
) -> list[float]:
    """Train a model with AdamW at a constant learning rate, without weight decay.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``; changed in place.
        next_batch: returns the next inputs and targets, both ``(B, T)``.
        n_steps: number of updates.
        learning_rate: step size of AdamW.

    Returns:
        The loss of each step in nats, measured before its update.

    A progress bar is shown while it runs, unless ``COURSE_QUIET`` is set.

    Source: Loshchilov and Hutter (2019) for AdamW.

    Home lesson: 02_bigram
    """
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.0)
    losses = []
    for _ in trange(n_steps, leave=False, disable="COURSE_QUIET" in os.environ):
        inputs, targets = next_batch()
        loss = cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def estimate_loss(
    model: nn.Module, tokens: Tensor, context_length: int, batch_size: int = 256
) -> float:
    """Return the mean loss over a whole split, read in windows that do not overlap.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``.
        tokens: the token ids of the split, shape ``(N,)``.
        context_length: tokens per window T.
        batch_size: windows per batch; changes the speed, not the result.

    Returns:
        The mean over all N - 1 targets, in nats per token.

    Raises:
        ValueError: if the split is too short for one window.

    Home lesson: 02_bigram
    """
    was_training = model.training
    model.eval()
    total = 0.0
    for inputs, targets in consecutive_batches(tokens, batch_size, context_length):
        total += cross_entropy(model(inputs), targets).item() * targets.numel()
    model.train(was_training)
    return total / (len(tokens) - 1)
