"""What all parts share: quick calls, and training or evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, is_grad_enabled, nn
from torch.nn import functional as F

__all__ = ["Linear", "Module", "in_mode"]


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
