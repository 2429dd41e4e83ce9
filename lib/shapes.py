"""Guards: a wrong size or shape gets an error that names it."""

from __future__ import annotations

from torch import Tensor

__all__ = ["require_sizes", "require_width"]


def require_sizes(**sizes: int) -> None:
    """Check that sizes, given by name, are at least 1.

    Raises:
        ValueError: for a size below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} must be at least 1")


def require_width(x: Tensor, d_model: int, name: str = "x") -> None:
    """Check that the vectors in a tensor ``(..., D)`` have ``d_model`` numbers.

    Raises:
        ValueError: if the last dimension is another.
    """
    if x.dim() == 0 or x.size(-1) != d_model:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; its last dimension must be "
            f"d_model={d_model}"
        )
