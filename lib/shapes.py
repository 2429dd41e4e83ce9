"""Guards: a wrong size or shape gets an error that names it."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = [
    "require_sizes",
    "require_above_0",
    "require_divides",
    "require_width",
    "require_vectors",
    "require_like",
    "require_between",
    "require_windows",
]


def require_sizes(**sizes: int) -> None:
    """Check that sizes, given by name, are at least 1.

    Raises:
        TypeError: for a number with a fraction.
        ValueError: for a size below 1.
    """
    for name, size in sizes.items():
        if isinstance(size, float):
            raise TypeError(f"{name}={size} must be an integer")
        if size < 1:
            raise ValueError(f"{name}={size} must be at least 1")


def require_divides(**sizes: int) -> None:
    """Check that the first of two sizes, given by name, divides the second.

    Raises:
        ValueError: if it does not.
    """
    (name, size), (other, whole) = sizes.items()
    if whole % size:
        raise ValueError(f"{name}={size} does not divide {other}={whole}")


def require_above_0(**numbers: float) -> None:
    """Check that numbers, given by name, are above 0 and finite.

    Raises:
        ValueError: for another one.
    """
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name}={number} must be above 0 and finite")


def require_width(
    x: Tensor, d_model: int, name: str = "x", size: str = "d_model"
) -> None:
    """Check that the vectors in a tensor ``(..., D)`` have ``d_model`` numbers.

    The error calls their number by its ``size``, such as d_head.

    Raises:
        ValueError: if the last dimension is another.
    """
    if x.dim() == 0 or x.size(-1) != d_model:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; its last dimension must be "
            f"{size}={d_model}"
        )


def require_vectors(x: Tensor, d_model: int, name: str = "x") -> None:
    """Check that a tensor is ``(B, T, D)`` with D = ``d_model``.

    Raises:
        ValueError: if it has another width or number of dimensions.
    """
    if x.dim() != 3 or x.size(2) != d_model:
        require_width(x, d_model, name)
        raise ValueError(f"{name} has shape {tuple(x.shape)}; it must be (B, T, D)")


def require_like(x: Tensor, place: Tensor, name: str = "x") -> None:
    """Check that a tensor fits a place: the same shape, number format and device.

    Raises:
        ValueError: if it does not.
    """
    if x.shape != place.shape or x.dtype != place.dtype or x.device != place.device:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}, {x.dtype} on {x.device}; it must have "
            f"shape {tuple(place.shape)}, {place.dtype} on {place.device}"
        )


def require_between(low: int, high: int, **sizes: int) -> None:
    """Check that sizes, given by name, lie between two numbers, both included.

    Raises:
        ValueError: for one outside.
    """
    for name, size in sizes.items():
        if not low <= size <= high:
            raise ValueError(f"{name}={size} must be {low} .. {high}")


def require_windows(tokens: Tensor, batch_size: int, context_length: int) -> None:
    """Check that a row of tokens ``(N,)`` is long enough for a window and its target.

    Raises:
        ValueError: if it is not, is no row, or for a size below 1.
    """
    require_sizes(batch_size=batch_size, context_length=context_length)
    if tokens.dim() != 1:
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}; it must be (N,)")
    if len(tokens) <= context_length:
        raise ValueError(
            f"context_length={context_length} needs {context_length + 1} tokens "
            f"or more; tokens holds {len(tokens)}"
        )
