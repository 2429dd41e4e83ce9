"""Embeddings: what the vector of a token is near to."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["nearest_neighbors"]


def nearest_neighbors(
    vectors: Tensor, index: int, k: int = 5
) -> tuple[list[int], list[float]]:
    r"""Find the vectors that point in the most similar direction to one of them.

    Similar is what has a large cosine,
    :math:`\cos(a, b) = a \cdot b \, / \, (|a| \, |b|)`.

    Args:
        vectors: one vector per row, ``(V, D)``; a row of zeros has cosine 0 with all.
        index: the row whose neighbours are wanted.
        k: how many, at most V - 1: the row itself is left out.

    Returns:
        The rows of the neighbours, nearest first, and their cosines.

    Raises:
        ValueError: if ``vectors`` is not ``(V, D)``, or ``index`` or ``k`` is too
            small or too large.

    Source: Mikolov et al. (2013), section 4.

    Home lesson: 03_embeddings_and_positions
    """
    if vectors.dim() != 2:
        raise ValueError(f"vectors has shape {tuple(vectors.shape)}; it must be (V, D)")
    if not 0 <= index < len(vectors):
        raise ValueError(f"index={index} must be 0 .. {len(vectors) - 1}")
    if not 1 <= k < len(vectors):
        raise ValueError(f"k={k} must be 1 .. {len(vectors) - 1}")
    unit = F.normalize(vectors.detach(), dim=-1)  # every vector gets length 1
    cosines = unit @ unit[index]  # (V,)
    cosines[index] = -2.0  # below every cosine: not its own neighbour
    nearest = cosines.topk(k)
    return nearest.indices.tolist(), nearest.values.tolist()
