"""ZeRO, stage 1: each process keeps its share of the optimiser's state."""

from __future__ import annotations

import torch
from torch import distributed

from lib.shapes import require_sizes
from lib.train.parallel import n_processes, rank

__all__ = ["share_out", "ShardedOptimizer"]

# They update each parameter by itself, and leave out those without a gradient.
KINDS = (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.Muon)


def share_out(sizes: list[int], n_shares: int) -> list[int]:
    """Return the share that each of several things goes to, so that shares are even.

    The largest comes first, and each goes to the share that is smallest so far.

    Args:
        sizes: how large each thing is.
        n_shares: the number of shares.

    Returns:
        For each thing the number of its share, from 0.

    Raises:
        ValueError: for less than one share.

    Source: Graham (1969), the rule "longest processing time first".

    Home lesson: 22_scaling
    """
    require_sizes(n_shares=n_shares)
    owners, totals = [0] * len(sizes), [0] * n_shares
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        owners[place] = totals.index(min(totals))
        totals[owners[place]] += sizes[place]
    return owners


class ShardedOptimizer:
    """An optimiser whose state is shared out over the processes (ZeRO, stage 1).

    All processes have all weights and, after a backward pass, all gradients. Each makes
    the update of the weights that it owns, and sends them to the others.

    Args:
        optimizer: AdamW, Adam, SGD or Muon, the same in every process.

    Attributes:
        owners: for each parameter the process that updates it.

    Raises:
        TypeError: for another kind of optimiser, which may need all gradients at once.
        ValueError: for weights that FSDP has cut: their state is shared out already.

    Source: Rajbhandari et al. (2020), section 5.1.

    Home lesson: 22_scaling
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        if not isinstance(optimizer, KINDS):
            raise TypeError(
                f"optimizer is a {type(optimizer).__name__}; it must be one of "
                f"{', '.join(kind.__name__ for kind in KINDS)}"
            )
        self.optimizer = optimizer
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]
        if any(hasattr(p, "full_tensor") for p in self.parameters):
            raise ValueError("optimizer holds weights that FSDP has cut up already")
        sizes = [p.numel() for p in self.parameters]
        self.owners = share_out(sizes, n_processes())
        self.load_state_dict(optimizer.state_dict())  # forget what others keep

    @property
    def param_groups(self) -> list[dict]:
        """The groups of the optimiser, with their rates."""
        return self.optimizer.param_groups

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Update the weights that this process owns; exchange all of them."""
        for p, owner in zip(self.parameters, self.owners):
            if owner != rank():
                p.grad = None  # the optimiser leaves out what has no gradient
        self.optimizer.step()
        if n_processes() == 1:
            return
        pairs = zip(self.parameters, self.owners)
        sent = [
            distributed.broadcast(p.data, owner, async_op=True) for p, owner in pairs
        ]
        for work in sent:
            work.wait()

    def state_dict(self) -> dict:
        """Return the whole state, from all processes, which must ask together."""
        own = self.optimizer.state_dict()
        parts = [own["state"]]
        if n_processes() > 1:
            sent = {
                place: {name: tensor.cpu() for name, tensor in each.items()}
                for place, each in own["state"].items()
            }
            parts = [sent] * n_processes()
            distributed.all_gather_object(parts, sent)
        state = {place: each for part in parts for place, each in part.items()}
        return own | {"state": dict(sorted(state.items()))}

    def load_state_dict(self, saved: dict) -> None:
        """Take this process's share of a whole state."""
        state = saved["state"].items()
        own = {place: each for place, each in state if self.owners[place] == rank()}
        self.optimizer.load_state_dict(saved | {"state": own})
