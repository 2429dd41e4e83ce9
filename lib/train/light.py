"""Optimisers of PyTorch that begin at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim import Adam, Optimizer

__all__ = ["AdamW", "Light"]


def _unwrapped(method: Callable) -> Callable:
    """Return what PyTorch has wrapped, to keep its compiler away from it."""
    return getattr(method, "__wrapped__", method)


class Light(Optimizer):
    """What all optimisers do, without loading PyTorch's compiler.

    PyTorch's own methods load it at the first call, to tell it that it should leave
    them alone. That takes longer than many trainings of the course, and 90 MB.
    """

    add_param_group = _unwrapped(Optimizer.add_param_group)
    zero_grad = _unwrapped(Optimizer.zero_grad)
    state_dict = _unwrapped(Optimizer.state_dict)
    load_state_dict = _unwrapped(Optimizer.load_state_dict)


class AdamW(Light, torch.optim.AdamW):
    """PyTorch's AdamW (Loshchilov and Hutter, 2019); it computes the same."""

    step = torch.no_grad()(_unwrapped(Adam.step))
