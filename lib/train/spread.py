"""A training in one process or spread over several, in each of the ways there are."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, distributed, nn

from lib.train import Training, next_token_loss
from lib.train.recompute import recompute_blocks
from lib.train.settings import TrainConfig
from lib.train.sharding import cut_up, keep_state_whole
from lib.train.zero import ShardedOptimizer

__all__ = ["PARALLEL", "spread_training"]

PARALLEL = ["ddp", "zero1", "fsdp"]


def spread_training(
    model: nn.Module,
    config: TrainConfig,
    parallel: str | None = None,
    recompute: bool = False,
    loss_of: Callable[..., Tensor] = next_token_loss,
) -> Training:
    """Return a training whose processes share the work, and perhaps the memory.

    Args:
        model: on its device; changed in place.
        config: how it is trained.
        parallel: ``"ddp"``, all of the model in each process, as without a word;
            ``"zero1"``, the optimiser's state shared out; ``"fsdp"``, weights and
            gradients too.
        recompute: see `recompute_blocks`.
        loss_of: what is made small; see `Training`.

    Raises:
        ValueError: for another word, or a word in a process that is alone.
    """
    if parallel not in (None, *PARALLEL):
        raise ValueError(f"parallel={parallel!r} must be in {PARALLEL}")
    if parallel is not None and not distributed.is_initialized():
        raise ValueError(
            f"parallel={parallel!r} needs several processes: start them with torchrun"
        )
    if recompute:
        recompute_blocks(model)
    if parallel == "fsdp":
        cut_up(model)
    training = Training(model, config, loss_of)
    if parallel == "zero1":
        training.optimizers = [ShardedOptimizer(o) for o in training.optimizers]
    if parallel == "fsdp":
        for optimizer in training.optimizers:
            keep_state_whole(optimizer)
    return training
