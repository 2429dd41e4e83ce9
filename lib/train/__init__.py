"""Training: the small loop, the full one, and the loss over a whole split.

As a command it trains a model on any text: ``python -m lib.train --help``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm import trange

from lib import is_quiet, stopping
from lib.device import choose_dtype, windows_that_fit
from lib.evaluate.losses import cross_entropy
from lib.module import in_mode
from lib.moe import MoE, extra_losses
from lib.shapes import require_windows
from lib.text.batches import consecutive_batches
from lib.train.guards import progress_bar, require_finite
from lib.train.light import AdamW
from lib.train.optimizer import make_optimizers
from lib.train.parallel import (
    add_over_processes,
    any_process,
    n_processes,
    part_weights,
    share_of,
    shared,
    sum_over_processes,
    whole,
    without_exchange,
)
from lib.train.schedule import SCHEDULES
from lib.train.settings import TrainConfig

__all__ = ["fit", "estimate_loss", "next_token_loss", "Training", "train"]


def fit(
    model: nn.Module, next_batch: Callable, n_steps: int, learning_rate: float
) -> list[float]:
    """Train a model with AdamW at a constant learning rate, without weight decay.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``; changed in place. It is in
            training mode meanwhile, and afterwards in the mode that it was in.
        next_batch: returns the next inputs and targets, both ``(B, T)``.
        n_steps: number of updates.
        learning_rate: step size of AdamW.

    Returns:
        The loss of each step in nats, measured before its update.

    A progress bar is shown while it runs, unless ``COURSE_QUIET`` is set.

    Source: Loshchilov and Hutter (2019) for AdamW.

    Home lesson: 02_bigram
    """
    rates = {"lr": learning_rate, "weight_decay": 0.0}
    optimizer = AdamW(model.parameters(), fused=True, **rates)  # quicker
    losses = []
    with in_mode(model, training=True):
        for _ in trange(n_steps, leave=False, disable=is_quiet()):
            inputs, targets = next_batch()
            loss = cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@torch.no_grad()
def estimate_loss(
    model: nn.Module,
    tokens: Tensor,
    context_length: int,
    batch_size: int | None = None,
) -> float:
    """Return the mean loss over a whole split, read in windows that do not overlap.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``.
        tokens: the token ids of the split, shape ``(N,)``.
        context_length: tokens per window T.
        batch_size: windows per batch; changes the speed, not the result. None for 256,
            or fewer where they would need too much memory.

    Returns:
        The mean over all N - 1 targets, in nats per token, in evaluation mode;
        afterwards the model is in the mode that it was in.

    Raises:
        ValueError: if the split is too short for one window.

    Home lesson: 02_bigram
    """
    total, size = 0.0, batch_size
    require_windows(tokens, 1 if size is None else size, context_length)
    if size is None:
        size = windows_that_fit(model, context_length)
    with in_mode(model, training=False):
        for inputs, targets in consecutive_batches(tokens, size, context_length):
            total += cross_entropy(model(inputs), targets).item() * targets.numel()
    return total / (len(tokens) - 1)


def next_token_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss in nats of a language model on a batch, both ``(B, T)``.

    Home lesson: 11_training
    """
    return cross_entropy(model(inputs), targets)


class Training:
    """A training run: the model, its optimisers, and how far it has come.

    Args:
        model: changed in place. In a process group (``torchrun``) every process trains
            its share of each batch, and the gradients are averaged over all of them.
        config: how it is trained.
        loss_of: the mean loss of the model on a batch, ``loss_of(model, *batch)``. It
            counts each row the same; a mean over some of the targets says so with
            `mean_over`. So parts and processes change nothing.

    What the experts of a model add to its loss (`extra_losses`) is trained on with the
    weight of its part, and is not reported: losses stay comparable. Experts balance the
    tokens of each part and process on its own; only their biases see them all.

    Attributes:
        n_done: updates made so far.
        losses: the loss of each of them, in nats, measured before the update.
        validation: pairs of ``n_done`` and validation loss.

    Home lesson: 11_training
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        loss_of: Callable[..., Tensor] = next_token_loss,
    ) -> None:
        self.model, self.config, self.loss_of = model, config, loss_of
        self.optimizers = make_optimizers(model, config)
        self.n_done, self.losses, self.validation = 0, [], []
        self.runner = shared(model)
        self.mixtures = [part for part in model.modules() if isinstance(part, MoE)]

    def step(self, batch: tuple[Tensor, ...]) -> float:
        """Make one update on a batch ``(B, ...)``; return its loss.

        The loss is computed in training mode; afterwards the model is in the mode that
        it was in. A loss that is not finite is a ValueError, before the update.
        """
        c = self.config
        factor = SCHEDULES[c.schedule](self.n_done, c.n_steps, c.n_warmup)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        for part in self.mixtures:
            part.load = None  # of other passes
        with in_mode(self.model, training=True):
            loss = self._gradients(share_of(batch))
        require_finite(self.n_done, loss=loss)
        if c.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), c.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        for part in self.mixtures:
            if part.router.weight.requires_grad:  # what is frozen stays as it is
                part.rebalance(add_over_processes)
        self.n_done += 1
        self.losses.append(loss)
        return loss

    def _gradients(self, batch: tuple[Tensor, ...]) -> float:
        """Add up the gradients of the parts of a batch; return its mean loss."""
        total, kind = 0.0, batch[0].device.type
        dtype = choose_dtype(self.config.dtype, batch[0].device)
        parts = list(zip(*(t.chunk(self.config.accumulation) for t in batch)))
        weights = part_weights(self.loss_of, self.model, parts)
        for number, (part, weight) in enumerate(zip(parts, weights), start=1):
            with without_exchange(self.runner, number < len(parts)):
                half = torch.autocast(kind, dtype, enabled=dtype != torch.float32)
                with half, extra_losses(self.model) as extra:
                    loss = weight * self.loss_of(self.runner, *part)
                sum((weight * each for each in extra), loss).backward()
            total += loss.item() if weight else 0.0  # a mean of nothing is no number
        return sum_over_processes(total) / n_processes()


def train(
    training: Training,
    next_batch: Callable[[], tuple[Tensor, ...]],
    every: int = 0,
    evaluate: Callable[[], float] | None = None,
    save: Callable[[], None] | None = None,
) -> list[float]:
    """Go on with a training run to its last step.

    Args:
        training: a new run, or one that was stopped.
        next_batch: returns the next batch, the same in every process.
        every: evaluate and save after so many steps, and after the last one.
        evaluate: returns the validation loss in nats.
        save: writes a checkpoint. Ctrl-C ends the step, saves, and then stops; in a
            command, so does a signal that ends a job or closes its terminal.

    Returns:
        The loss of each step so far, in nats.

    Raises:
        ValueError: for a negative ``every``, or when a loss, a validation loss or a
            weight to be saved is not finite: the last checkpoint stays as it is.

    Each step is made in training mode, whatever mode the model is in: a model from a
    checkpoint is tuned with its dropout. Afterwards it is in the mode that it was in.

    A progress bar is shown while it runs, unless ``COURSE_QUIET`` is set.

    Home lesson: 11_training
    """
    if every < 0:
        raise ValueError(f"every={every} must be 0 or more")
    n_steps = training.config.n_steps
    bar = progress_bar(training.n_done, n_steps)
    with stopping.wait_for_me() as interrupted, bar as advance:
        while training.n_done < n_steps:
            batch = next_batch()
            loss = training.step(batch)
            advance(loss, batch[0].numel())
            due = _evaluate_if_due(training, every, evaluate)
            if _save_if_due(training, due, save, interrupted):
                raise KeyboardInterrupt
    return training.losses


def _evaluate_if_due(
    training: Training, every: int, evaluate: Callable[[], float] | None
) -> bool:
    """Evaluate after every so many steps, and after the last; return whether due."""
    last = training.n_done == training.config.n_steps
    due = every > 0 and (last or training.n_done % every == 0)
    if due and evaluate is not None:
        loss = evaluate()
        require_finite(training.n_done, validation_loss=loss)
        training.validation.append((training.n_done, loss))
    return due


def _save_if_due(
    training: Training,
    due: bool,
    save: Callable[[], None] | None,
    interrupted: Callable[[], bool],
) -> bool:
    """Save where it is due, and before a stop; return whether to stop."""
    stop = any_process(interrupted())
    if save is not None and (due or stop):
        largest = nn.utils.get_total_norm(training.model.parameters())
        require_finite(training.n_done, norm_of_weights=whole(largest).item())
        with stopping.finish_first():
            save()
    return stop
