"""Guards: a wrong size or shape gets an error that names it."""

from __future__ import annotations

from torch import Tensor

__all__ = ["require_sizes", "require_width", "require_same_but"]


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


def require_same_but(dim: int, **tensors: Tensor) -> None:
    """Check that two tensors, given by name, differ in one dimension at most.

    Raises:
        ValueError: if another size, the number format or the device differs.
    """
    (name, x), (other, kept) = tensors.items()
    sizes = [[*t.shape[:dim], *t.shape[dim + 1 :]] for t in (x, kept)]
    if sizes[0] != sizes[1] or (x.dtype, x.device) != (kept.dtype, kept.device):
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}, {x.dtype} on {x.device}; it must fit "
            f"{other} of shape {tuple(kept.shape)}, {kept.dtype} on {kept.device}, in "
            f"all but dimension {dim}"
        )
