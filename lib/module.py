"""What all parts share: quick calls, and training or evaluation mode for a while."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, is_grad_enabled, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["Linear", "Module", "in_mode", "sizes_only"]

DRAWN = {"normal_", "uniform_", "kaiming_uniform_", "trunc_normal_"}
POINTWISE = {"cos", "div", "mul", "neg", "sin", "__rpow__"}


class Module(nn.Module):
    """`torch.nn.Module`, without what a call costs when nobody looks on.

    PyTorch searches the parts and parameters of a module in a function of Python, and
    asks eight tables for hooks at each call. Where one token is read that takes as long
    as the arithmetic. Here a part is an attribute like any other, `own` finds a
    parameter, and where no gradients are wanted a module without hooks computes at
    once. All else is PyTorch's.
    """

    def __call__(self, *args, **kwargs):
        """Return what `forward` computes."""
        if is_grad_enabled() or self._forward_hooks or self._forward_pre_hooks:
            return super().__call__(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def own(self, name: str) -> Tensor | None:
        """Return a parameter, quicker than as an attribute."""
        table = self._parameters
        if name in table:
            return table[name]
        return getattr(self, name)  # somebody computes it anew at each call

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in self.__dict__.get("_modules", ()):
            self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self.__dict__.pop(name, None)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Add a part, or put it in the place of another."""
        self.__dict__.pop(name, None)
        super().add_module(name, module)


class Linear(Module, nn.Linear):
    """`torch.nn.Linear`, as quick to call as the function that it calls."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x W^T + b``."""
        return F.linear(x, self.own("weight"), self.own("bias"))


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


@contextmanager
def sizes_only() -> Iterator[None]:
    """Build models whose tensors have sizes and take no memory, at once.

    PyTorch can do that alone; but for functions that are written in Python it loads its
    compiler first, which takes longer than all the rest. Those that models are begun
    with are answered here.
    """
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Gives tensors of the right size to functions that would fill them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        tensors = [value for value in args if isinstance(value, Tensor)]
        if name in DRAWN:
            return args[0] if args else kwargs["tensor"]
        if name == "arange" and all(type(value) is int for value in args):
            return torch.empty(len(range(*args)), dtype=kwargs.get("dtype", torch.long))
        if name == "stack":
            return _stacked(*args, **kwargs)
        if name in POINTWISE and any(t.is_floating_point() for t in tensors):
            shape = torch.broadcast_shapes(*(t.shape for t in tensors))
            return torch.empty(shape, dtype=_widest(tensors))
        return function(*args, **kwargs)


def _stacked(tensors: list[Tensor], dim: int = 0) -> Tensor:
    """Return a tensor of the size that these have in a new dimension of their own."""
    shape = list(tensors[0].shape)
    shape.insert(dim % (len(shape) + 1), len(tensors))
    return torch.empty(shape, dtype=_widest(tensors))


def _widest(tensors: list[Tensor]) -> torch.dtype:
    """Return the type of number that arithmetic with these tensors gives."""
    return functools.reduce(torch.promote_types, (t.dtype for t in tensors))
