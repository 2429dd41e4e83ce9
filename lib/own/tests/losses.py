"""The tests of the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.own.tests.near import (
    expect,
    expect_gradient_near,
    expect_near,
    expect_unchanged,
    random,
)

__all__ = ["CROSS_ENTROPY"]

Loss = Callable[[Tensor, Tensor], Tensor]


def _case(scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Return logits ``(2, 5, 7)`` and targets ``(2, 5)``."""
    targets = torch.randint(7, (2, 5), generator=torch.Generator().manual_seed(1))
    return scale * random(2, 5, 7), targets


def cross_entropy_equals_torch(loss: Loss, scale: float = 3.0) -> None:
    """The loss and its gradient are those of PyTorch, for any leading dimensions."""
    logits, targets = _case(scale)
    same = logits.double().requires_grad_()
    expected = F.cross_entropy(same.flatten(0, 1), targets.flatten())
    logits.requires_grad_()
    answer = loss(logits, targets)
    hints = {
        "it is a sum over the targets, not their mean": expected.detach() * 10,
        "its sign is turned": -expected.detach(),
        "it is in bits, not in nats": expected.detach() / torch.tensor(2.0).log(),
    }
    expect_near(answer, expected, "the loss", hints=hints)
    answer.backward()
    expected.backward()
    expect_gradient_near(logits.grad, same.grad)


def does_not_overflow(loss: Loss) -> None:
    """Logits of a thousand give a finite loss."""
    logits, targets = _case(1000.0)
    words = "logits of 1,000 give %s: take the log and the softmax in one step"
    answer = loss(logits, targets)
    expect(bool(answer.isfinite()), words % answer.item())
    cross_entropy_equals_torch(loss, 1000.0)


def takes_a_row_of_logits(loss: Loss) -> None:
    """Logits ``(N, V)`` with targets ``(N,)`` do, too."""
    logits, targets = (x.flatten(0, 1) for x in _case())
    expected = F.cross_entropy(logits.double(), targets)
    expect_near(loss(logits, targets), expected, "the loss")


def takes_bfloat16(loss: Loss) -> None:
    """Logits in half precision give nearly the exact loss."""
    logits, targets = _case()
    logits = logits.to(torch.bfloat16)
    expected = F.cross_entropy(logits.double().flatten(0, 1), targets.flatten())
    far = abs(loss(logits, targets).item() - expected.item())
    expect(far < 0.02 * (1 + expected.item()), f"in bfloat16 it is off by {far:.3g}")


def leaves_its_input_as_it_is(loss: Loss) -> None:
    """Logits and targets are not changed in place."""
    expect_unchanged(loss, *_case())


CROSS_ENTROPY = (
    cross_entropy_equals_torch,
    does_not_overflow,
    takes_a_row_of_logits,
    takes_bfloat16,
    leaves_its_input_as_it_is,
)
