"""Training: the small loop, the full one, and the loss over a whole split.

As a command it trains a model on any text: ``python -m lib.train --help``.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm, trange

from lib.data import consecutive_batches
from lib.device import choose_dtype
from lib.metrics import cross_entropy
from lib.mode import in_mode
from lib.optimizer import make_optimizers
from lib.schedule import SCHEDULES
from lib.shapes import require_sizes

__all__ = ["fit", "estimate_loss", "TrainConfig", "Training", "train"]

LARGEST_OUTPUT = 2**26  # numbers that one layer gives in an evaluation: 256 MB


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
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.0)
    losses = []
    with in_mode(model, training=True):
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
    total, size = 0.0, batch_size or _windows_that_fit(model, context_length)
    with in_mode(model, training=False):
        for inputs, targets in consecutive_batches(tokens, size, context_length):
            total += cross_entropy(model(inputs), targets).item() * targets.numel()
    return total / (len(tokens) - 1)


def _windows_that_fit(model: nn.Module, context_length: int) -> int:
    """Return how many windows to evaluate at once.

    For one token no layer gives more numbers than the longest side of a weight: the
    vocabulary, or the middle of a feed-forward network.
    """
    widest = max((size for p in model.parameters() for size in p.shape), default=1)
    return max(1, min(256, LARGEST_OUTPUT // (context_length * widest)))


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
        ValueError: for a size below 1, a rate that is not above 0 and finite, a clip
            that is not above 0, a negative warm-up or weight decay, Noam without a
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
        for name in ("learning_rate", "muon_learning_rate", "embedding_learning_rate"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < math.inf:
                raise ValueError(f"{name}={rate} must be above 0 and finite")
        for name in ("n_warmup", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be 0 or more and finite"
                )
        if self.schedule == "noam":
            require_sizes(n_warmup=self.n_warmup)
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
        loss_of: the mean loss of the model on a batch, ``loss_of(model, *batch)``. It
            counts each row the same; a mean over some of the targets says so with
            `mean_over`. So parts and processes change nothing.

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
        self.runner = _SharedModel(model) if _world() > 1 else model

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
        with in_mode(self.model, training=True):
            loss = self._gradients(_share(batch))
        _require_finite(self, "loss", loss)
        if c.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), c.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.n_done += 1
        self.losses.append(loss)
        return loss

    def _gradients(self, batch: tuple[Tensor, ...]) -> float:
        """Add up the gradients of the parts of a batch; return its mean loss."""
        total, kind = 0.0, batch[0].device.type
        dtype = choose_dtype(self.config.dtype, batch[0].device)
        parts = list(zip(*(t.chunk(self.config.accumulation) for t in batch)))
        weights = _part_weights(self.loss_of, self.model, parts)
        for number, (part, weight) in enumerate(zip(parts, weights), start=1):
            with _without_exchange(self.runner, number < len(parts)):
                with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
                    loss = weight * self.loss_of(self.runner, *part)
                loss.backward()
            total += loss.item() if weight else 0.0  # a mean of nothing is no number
        return _over_processes(total) / _world()


class _SharedModel(DistributedDataParallel):
    """DDP that also has the attributes of its model, for losses that ask for them."""

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


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

    Raises:
        ValueError: for a negative ``every``, or when a loss, a validation loss or a
            weight to be saved is not finite: the last checkpoint stays as it is.

    Each step is made in training mode, whatever mode the model is in: a model from a
    checkpoint is tuned with its dropout. Afterwards it is in the mode that it was in.

    A progress bar is shown while it runs, unless ``COURSE_QUIET`` is set.

    Home lesson: 09_training
    """
    if every < 0:
        raise ValueError(f"every={every} must be 0 or more")
    with _interrupt_between_steps() as interrupted:
        for batch in _remaining_batches(training, next_batch):
            training.step(batch)
            due = _evaluate_if_due(training, every, evaluate)
            if _save_if_due(training, due, save, interrupted):
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
        loss = evaluate()
        _require_finite(training, "validation loss", loss)
        training.validation.append((training.n_done, loss))
    return due


def _save_if_due(
    training: Training,
    due: bool,
    save: Callable[[], None] | None,
    interrupted: Callable[[], bool],
) -> bool:
    """Save where it is due, and before a stop; return whether to stop."""
    stop = _anyone(interrupted())
    if save is not None and (due or stop):
        largest = nn.utils.get_total_norm(training.model.parameters(), math.inf)
        _require_finite(training, "largest weight", largest.item())
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


def _require_finite(training: Training, name: str, value: float) -> None:
    """Stop a run that has lost its way before it saves or spoils anything."""
    if not math.isfinite(value):
        raise ValueError(
            f"{name}={value} after {training.n_done} updates must be finite: the "
            "training stops, and what was saved before stays; try a lower learning rate"
        )


def _part_weights(
    loss_of: Callable, model: nn.Module, parts: list[tuple[Tensor, ...]]
) -> list[float]:
    """Return how much the mean loss of each part counts, by its targets or rows.

    In each process 1 in all on average, since DDP takes the mean over the processes.
    """
    counts = getattr(getattr(loss_of, "func", loss_of), "counts", None)  # or a partial
    numbers = [int(counts(model, *p).sum()) if counts else len(p[0]) for p in parts]
    mean = _over_processes(sum(numbers)) / _world() or 1  # where nothing counts
    return [number / mean for number in numbers]


def _without_exchange(runner: nn.Module, waiting: bool) -> AbstractContextManager:
    """Let DDP wait with the exchange of gradients while there are parts to come."""
    return runner.no_sync() if waiting and _world() > 1 else nullcontext()


def _world() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _anyone(flag: bool) -> bool:
    """Return whether the flag is set in any process, so that all stop together."""
    return _over_processes(flag) > 0


def _share(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the rows of a batch that this process trains on."""
    if _world() == 1:
        return batch
    _require_shares(len(batch[0]))
    return tuple(t[distributed.get_rank() :: _world()] for t in batch)


def _require_shares(batch_size: int) -> None:
    """Refuse a batch that the processes cannot share evenly."""
    if batch_size % _world():
        raise ValueError(
            f"batch_size={batch_size} must be a multiple of {_world()}, the number of "
            "processes"
        )


def _over_processes(number: float) -> float:
    """Return the sum of a number over all processes."""
    if _world() == 1:
        return number
    total = torch.tensor(number, dtype=torch.float64)
    distributed.all_reduce(total)
    return total.item()


if __name__ == "__main__":
    from lib.commands import run, train_command

    run(train_command)
