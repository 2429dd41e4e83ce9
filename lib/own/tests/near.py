"""What the tests of the parts share: random numbers, and how near is equal.

The reference computes in float64, so a difference is an error of the part alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

__all__ = [
    "Wrong",
    "Unknown",
    "expect",
    "random",
    "random_weights",
    "size",
    "expect_near",
    "expect_gradient_near",
    "expect_near_both_ways",
    "expect_unchanged",
    "expect_weights",
]


class Wrong(AssertionError):
    """Raised by a test of a part: the message says what it saw."""


class Unknown(ValueError):
    """Raised where a part is asked for an option that it does not know."""


def expect(condition: bool, words: str) -> None:
    """Raise `Wrong` with the words unless the condition holds."""
    if not condition:
        raise Wrong(words)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Return normal random numbers, the same at each call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_weights(module: nn.Module) -> None:
    """Draw every weight anew, also gains of one and biases of zero."""
    for seed, p in enumerate(module.parameters()):
        width = p.size(-1) if p.dim() == 2 else 4
        p.data.copy_(random(*p.shape, seed=seed) / width**0.5)


def size(x: Tensor) -> float:
    """Return how far the numbers of a tensor are from 0: their root mean square."""
    return x.square().mean().sqrt().item()


def expect_near(
    ours: Tensor,
    expected: Tensor,
    what: str = "the output",
    atol: float = 1e-6,
    average: float = 0.02,
    hints: Mapping[str, Tensor] | None = None,
) -> None:
    """Raise `Wrong` unless each number is within ``atol`` and its last digits.

    Numbers in bfloat16 need to be near on average only.

    Args:
        ours: what the part gave.
        expected: what it must be, in float64 or as exact.
        what: how the words call it.
        atol: the difference that is allowed to each number.
        average: the one that is allowed to the mean of those in bfloat16.
        hints: words that name a mistake -> what this mistake gives.
    """
    kind = type(ours).__name__
    expect(isinstance(ours, Tensor), f"{what} must be a tensor; it is a {kind}")
    shapes = tuple(ours.shape), tuple(expected.shape)
    expect(shapes[0] == shapes[1], f"{what} has shape %s; it must be %s" % shapes)
    if not _is_near(ours, expected, atol, average):
        for words, wrong in (hints or {}).items():
            if ours.shape == wrong.shape and _is_near(ours, wrong, atol, average):
                raise Wrong(f"{what} is wrong: {words}")
        far = (ours.double() - expected).abs().max().item()
        raise Wrong(f"{what} is not what it must be: it is off by up to {far:.3g}")


def _is_near(ours: Tensor, expected: Tensor, atol: float, average: float) -> bool:
    """Whether two tensors of one shape agree, as `expect_near` says."""
    if ours.dtype == torch.bfloat16:
        return size(ours.double() - expected) <= average * (1 + size(expected.double()))
    same = expected.to(ours.dtype)
    return bool(torch.isclose(ours, same, atol=atol, rtol=1e-5).all())


def expect_gradient_near(
    ours: Tensor | None, expected: Tensor, what: str = "the gradient"
) -> None:
    """Expect a gradient: a sum over all positions, so more last digits are lost."""
    expect(ours is not None, f"{what} is missing: was the graph cut on the way?")
    expect_near(ours, expected, what, atol=1e-5, average=0.1)


def expect_near_both_ways(
    ours: Callable[[Tensor], Tensor],
    torchs: Callable[[Tensor], Tensor],
    x: Tensor,
    weights: Iterable[nn.Parameter],
    same_weights: Iterable[Tensor],
    hints: Mapping[str, Tensor] | None = None,
) -> None:
    """Expect the output, and the gradients of the input and of the weights."""
    same_x, x = x.double().requires_grad_(), x.requires_grad_()
    output, expected = ours(x), torchs(same_x)
    expect_near(output, expected, hints=hints)
    dtypes = output.dtype, x.dtype
    expect(dtypes[0] == dtypes[1], "the output has dtype %s for an x of %s" % dtypes)
    output.backward(torch.ones_like(output))
    expected.backward(torch.ones_like(expected))
    expect_gradient_near(x.grad, same_x.grad, "the gradient of x")
    for weight, same_weight in zip(weights, same_weights, strict=True):
        expect_gradient_near(weight.grad, same_weight.grad, "the gradient of a weight")


def expect_unchanged(call: Callable[..., object], *inputs: Tensor) -> None:
    """Expect that a call leaves its inputs as they were."""
    before = [x.clone() for x in inputs]
    with torch.no_grad():
        call(*inputs)
    for number, (x, old) in enumerate(zip(inputs, before), start=1):
        words = f"input number {number} was changed in place; make a new tensor instead"
        expect(torch.equal(x, old), words)


def expect_weights(part: nn.Module, **shapes: tuple[int, ...]) -> None:
    """Expect weights of these names and shapes; ``__`` stands for a dot.

    A model finds its weights in a file by these names.
    """
    given = {name: tuple(p.shape) for name, p in part.named_parameters()}
    wanted = {name.replace("__", "."): shape for name, shape in shapes.items()}
    for name, shape in wanted.items():
        expect(name in given, f"there is no weight {name}; there are {[*given]}")
        words = f"the weight {name} has shape {given[name]}; it must be {shape}"
        expect(given[name] == shape, words)
    more = sorted(set(given) - set(wanted))
    expect(not more, f"the weights {more} are in no file of the library's model")
