"""Several processes that train one model together, each on its share of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lib import place_among_processes, stopping
from lib.device import choose_device

__all__ = [
    "SharedModel",
    "add_over_processes",
    "any_process",
    "cut_like",
    "is_cut",
    "join_processes",
    "losing_nobody",
    "n_processes",
    "part_weights",
    "rank",
    "require_shares",
    "seed_by_place",
    "share_of",
    "shared",
    "sum_over_processes",
    "whole",
    "without_exchange",
]


def join_processes(device: str) -> str:
    """Under torchrun, join the other processes; return this one's device."""
    place = place_among_processes()
    if place is None:
        return device
    kind = choose_device(device).type
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    with stopping.at_once():  # it waits for the others, deaf to everything else
        distributed.init_process_group(backend)
    if kind != "cuda":
        return kind
    torch.cuda.set_device(place[1])
    return f"cuda:{place[1]}"


def n_processes() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them; the first, or the only, is 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


class SharedModel(DistributedDataParallel):
    """DDP that also has the attributes of its model, for losses that ask for them."""

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def shared(model: nn.Module) -> nn.Module:
    """Return what computes the loss: DDP around a model where processes share it.

    A single process computes with the model as it is, and so does FSDP, which has put
    the exchange into the model itself.
    """
    alone = n_processes() == 1 or is_cut(model)
    return model if alone else SharedModel(model)


def is_cut(model: nn.Module) -> bool:
    """Return whether FSDP has cut the weights of a model, also of a compiled one."""
    return hasattr(model, "set_requires_gradient_sync")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in one piece; of one that is cut all processes must ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def cut_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a tensor cut as another one of its shape is, without an exchange."""
    cut = [hasattr(t, "full_tensor") for t in (tensor, other)]
    if cut != [False, True] or tensor.shape != other.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    where = other.device_mesh, other.placements
    return distribute_tensor(tensor.to(other.device), *where, src_data_rank=None)


def part_weights(
    loss_of: Callable, model: nn.Module, parts: list[tuple[Tensor, ...]]
) -> list[float]:
    """Return how much the mean loss of each part counts, by its targets or rows.

    In each process 1 in all on average, since DDP takes the mean over the processes.
    """
    counts = getattr(getattr(loss_of, "func", loss_of), "counts", None)  # or a partial
    numbers = [int(counts(model, *p).sum()) if counts else len(p[0]) for p in parts]
    mean = sum_over_processes(sum(numbers)) / n_processes() or 1  # where nothing counts
    return [number / mean for number in numbers]


def without_exchange(runner: nn.Module, waiting: bool) -> AbstractContextManager:
    """Let the exchange of gradients wait while there are parts to come."""
    if is_cut(runner):
        runner.set_requires_gradient_sync(not waiting)
        return nullcontext()
    return runner.no_sync() if waiting and n_processes() > 1 else nullcontext()


@contextmanager
def losing_nobody() -> Iterator[None]:
    """End in one line where another process has gone.

    Raises:
        ConnectionError: in place of what the exchange says then.
    """
    try:
        yield
    except RuntimeError as error:
        words = ("gloo", "nccl", "peer", "socket", "broken pipe")
        if n_processes() == 1 or not any(w in str(error).lower() for w in words):
            raise
        raise ConnectionError(
            "another process has ended: the training stops, and what was saved before "
            "stays; go on with --resume"
        ) from error


def any_process(flag: bool) -> bool:
    """Return whether the flag is set in any process, so that all stop together."""
    return sum_over_processes(flag) > 0


def share_of(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the rows of a batch that this process trains on."""
    if n_processes() == 1:
        return batch
    require_shares(len(batch[0]))
    return tuple(t[rank() :: n_processes()] for t in batch)


def require_shares(batch_size: int) -> None:
    """Refuse a batch that the processes cannot share evenly."""
    if batch_size % n_processes():
        raise ValueError(
            f"batch_size={batch_size} must be a multiple of {n_processes()}, the "
            "number of processes"
        )


def seed_by_place(seed: int, step: int) -> None:
    """Seed all processes but the first anew, by their place and the step.

    So each has dropout of its own, and the same again after a stop.
    """
    if rank() > 0:
        words = f"{seed} {rank()} {step}".encode()
        torch.manual_seed(int(hashlib.sha256(words).hexdigest()[:8], 16))


def sum_over_processes(number: float) -> float:
    """Return the sum of a number over all processes."""
    if n_processes() == 1:
        return number
    return add_over_processes(torch.tensor(number, dtype=torch.float64)).item()


def add_over_processes(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, the same in each of them."""
    if n_processes() == 1:
        return x
    total = x.clone()
    distributed.all_reduce(total)
    return total
