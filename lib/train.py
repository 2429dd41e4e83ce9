"""Training: the small loop, the full one, and the loss over a whole split.

As a command it trains a model on any text: ``python -m lib.train --help``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm, trange

from lib.data import consecutive_batches
from lib.device import choose_dtype
from lib.metrics import cross_entropy
from lib.optimizer import make_optimizers
from lib.schedule import SCHEDULES
from lib.shapes import require_sizes

__all__ = ["fit", "estimate_loss", "TrainConfig", "Training", "train"]


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


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        n_steps: number of updates.
        learning_rate: of AdamW, before the schedule.
        optimizer: ``"adamw"``, or ``"muon"`` for the matrices and AdamW for the rest.
        muon_learning_rate: of Muon, before the schedule.
        embedding_learning_rate: of the tables; None for ``learning_rate``.
        weight_decay: share of the rate by which matrices shrink at each step.
        betas: memory of AdamW: of the gradient, and of its square.
        momentum: memory of Muon.
        rounds: of Muon's orthogonalisation, 1 to 5.
        schedule: ``"constant"``, ``"cosine"``, ``"linear"``, or ``"noam"``, which needs
            a warm-up.
        n_warmup: number of steps in which the rate rises.
        clip: largest norm of all gradients together; None for no limit.
        accumulation: parts into which each batch is cut, to save memory.
        dtype: of matrix products: ``"auto"``, ``"float32"`` or ``"bfloat16"``.

    Raises:
        ValueError: for a size below 1, a rate or clip that is not above 0, a negative
            warm-up, or an unknown name.

    Home lesson: 09_training
    """

    n_steps: int
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    muon_learning_rate: float = 0.02
    embedding_learning_rate: float | None = None
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.95
    rounds: int = 5
    schedule: str = "cosine"
    n_warmup: int = 0
    clip: float | None = 1.0
    accumulation: int = 1
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_sizes(n_steps=self.n_steps, accumulation=self.accumulation)
        for name in ("learning_rate", "muon_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
        if self.n_warmup < 0:
            raise ValueError(f"n_warmup={self.n_warmup} must be 0 or more")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip} must be above 0, or None")
        for name, allowed in (
            ("optimizer", ["adamw", "muon"]),
            ("schedule", [*SCHEDULES]),
            ("dtype", ["auto", "float32", "bfloat16"]),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be in {allowed}")


def next_token_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss in nats of a language model on a batch, both ``(B, T)``.

    Home lesson: 09_training
    """
    return cross_entropy(model(inputs), targets)


class Training:
    """A training run: the model, its optimisers, and how far it has come.

    Args:
        model: changed in place. In a process group (``torchrun``) every process trains
            its share of each batch, and PyTorch's DDP averages the gradients.
        config: how it is trained.
        loss_of: the loss of the model on a batch, ``loss_of(model, *batch)``.

    Attributes:
        n_done: updates made so far.
        losses: the loss of each of them, in nats, measured before the update.
        validation: pairs of ``n_done`` and validation loss.

    Home lesson: 09_training
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
        self.runner = DistributedDataParallel(model) if _world() > 1 else model

    def step(self, batch: tuple[Tensor, ...]) -> float:
        """Make one update on a batch ``(B, ...)``; return its loss."""
        c = self.config
        factor = SCHEDULES[c.schedule](self.n_done, c.n_steps, c.n_warmup)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        loss = self._gradients(_share(batch))
        if c.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), c.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.n_done += 1
        self.losses.append(loss)
        return loss

    def _gradients(self, batch: tuple[Tensor, ...]) -> float:
        """Add up the gradients of the parts of a batch; return its mean loss."""
        total, device = 0.0, batch[0].device
        dtype = choose_dtype(self.config.dtype, device)
        mixed = dtype != torch.float32
        for part in zip(*(t.chunk(self.config.accumulation) for t in batch)):
            with torch.autocast(device.type, dtype, enabled=mixed):
                loss = self.loss_of(self.runner, *part) * (len(part[0]) / len(batch[0]))
            loss.backward()
            total += _mean_over_processes(loss.detach())
        return total


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
        save: writes a checkpoint. Ctrl-C ends the step, saves, and then stops.

    Returns:
        The loss of each step so far, in nats.

    A progress bar is shown while it runs, unless ``COURSE_QUIET`` is set.

    Home lesson: 09_training
    """
    with _interrupt_between_steps() as interrupted:
        for batch in _remaining_batches(training, next_batch):
            training.step(batch)
            due = _evaluate_if_due(training, every, evaluate)
            if _save_if_due(due, save, interrupted):
                raise KeyboardInterrupt
    return training.losses


def _remaining_batches(training: Training, next_batch: Callable) -> Iterator[tuple]:
    """Draw a batch for each step that is left; show a bar with loss and speed."""
    n_steps, quiet = training.config.n_steps, "COURSE_QUIET" in os.environ
    start, n_tokens = time.perf_counter(), 0
    options = {"initial": training.n_done, "disable": quiet, "leave": False}
    with tqdm(total=n_steps, **options) as bar:
        while training.n_done < n_steps:
            batch = next_batch()
            yield batch
            n_tokens += batch[0].numel()
            speed = n_tokens / (time.perf_counter() - start)
            seen = f"loss {training.losses[-1]:.3f}, {speed:,.0f} tokens/s"
            bar.set_postfix_str(seen, refresh=False)
            bar.update()


def _evaluate_if_due(
    training: Training, every: int, evaluate: Callable[[], float] | None
) -> bool:
    """Evaluate after every so many steps, and after the last; return whether due."""
    last = training.n_done == training.config.n_steps
    due = every > 0 and (last or training.n_done % every == 0)
    if due and evaluate is not None:
        training.validation.append((training.n_done, evaluate()))
    return due


def _save_if_due(
    due: bool, save: Callable[[], None] | None, interrupted: Callable[[], bool]
) -> bool:
    """Save where it is due, and before a stop; return whether to stop."""
    stop = _anyone(interrupted())
    if save is not None and (due or stop):
        save()
    return stop


@contextmanager
def _interrupt_between_steps() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of a step; a second one stops at once."""
    asked = threading.Event()

    def ask(*_) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _world() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _anyone(flag: bool) -> bool:
    """Return whether the flag is set in any process, so that all stop together."""
    if _world() == 1:
        return flag
    flags = torch.tensor(float(flag))
    distributed.all_reduce(flags)
    return flags.item() > 0


def _share(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the rows of a batch that this process trains on."""
    if _world() == 1:
        return batch
    if len(batch[0]) % _world():
        raise ValueError(f"a batch of {len(batch[0])} cannot be shared by {_world()}")
    return tuple(t[distributed.get_rank() :: _world()] for t in batch)


def _mean_over_processes(loss: Tensor) -> float:
    """Return the mean of the losses of all processes."""
    if _world() > 1:
        distributed.all_reduce(loss)
    return loss.item() / _world()


if __name__ == "__main__":
    from lib.commands import run, train_command

    run(train_command)
