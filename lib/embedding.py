"""Embeddings: vectors of tokens and of patches, and what they are near to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import KVCache
from lib.module import Linear, Module
from lib.shapes import require_between, require_divides, require_sizes, require_width

__all__ = ["nearest_neighbors", "PatchEmbedding", "Smear", "BigramEmbedding"]


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

    Home lesson: 04_embeddings
    """
    if vectors.dim() != 2:
        raise ValueError(f"vectors has shape {tuple(vectors.shape)}; it must be (V, D)")
    require_between(0, len(vectors) - 1, index=index)
    require_between(1, len(vectors) - 1, k=k)
    unit = F.normalize(vectors.detach(), dim=-1)  # every vector gets length 1
    cosines = unit @ unit[index]  # (V,)
    cosines[index] = -2.0  # below every cosine: not its own neighbour
    nearest = cosines.topk(k)
    return nearest.indices.tolist(), nearest.values.tolist()


class PatchEmbedding(Module):
    """Cut pictures into square patches and turn each into a vector.

    Args:
        image_size: height and width of a picture, in pixels.
        patch_size: height and width of a patch, in pixels; must divide ``image_size``.
        d_model: size of the vectors D.
        n_channels: numbers per pixel C: 1 for grey, 3 for colours.

    Attributes:
        n_patches: patches per picture N.

    Shapes:
        images ``(B, C, image_size, image_size)`` -> ``(B, N, D)``, row by row from the
        top left.

    Raises:
        ValueError: for a size below 1, a ``patch_size`` that does not divide, or
            pictures of another shape.

    Source: Dosovitskiy et al. (2021), section 3.1.

    Home lesson: 18_beyond_text
    """

    def __init__(
        self, image_size: int, patch_size: int, d_model: int, n_channels: int = 1
    ) -> None:
        super().__init__()
        require_sizes(image_size=image_size, patch_size=patch_size)
        require_sizes(d_model=d_model, n_channels=n_channels)
        require_divides(patch_size=patch_size, image_size=image_size)
        self.patch_size, self.n_patches = patch_size, (image_size // patch_size) ** 2
        self.shape = (n_channels, image_size, image_size)
        self.project = Linear(n_channels * patch_size**2, d_model)

    def forward(self, images: Tensor) -> Tensor:
        """Return one vector per patch."""
        if images.dim() != 4 or images.shape[1:] != self.shape:
            raise ValueError(
                f"images has shape {tuple(images.shape)}; it must be (B, "
                f"{', '.join(map(str, self.shape))})"
            )
        p = self.patch_size
        x = images.unfold(2, p, p).unfold(3, p, p)  # (B, C, rows, columns, p, p)
        x = x.permute(0, 2, 3, 1, 4, 5)  # (B, rows, columns, C, p, p)
        return self.project(x.flatten(3).flatten(1, 2))  # (B, N, C p p) -> (B, N, D)


class Smear(Module):
    r"""Add to each token's vector a learned share of the vector before it.

    :math:`x_t + s \odot x_{t-1}`, with one number in s for each of the D. They start
    at 0: a model begins as if nothing were smeared. The first blocks need not learn any
    more to look one token back. It is no part of the Transformer: it changes what a
    position sees before any attention.

    Args:
        d_model: size of the vectors D.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``. With a cache, x continues what it holds. Where
        rows hold several texts, or shorter ones behind padding: positions, int64
        ``(B, T)``; what stands at position 0 has nothing before it.

    Raises:
        ValueError: if ``d_model`` is below 1, or x has another last dimension.

    Source: the repository modded-nanogpt, under the same name; a relative is the shift
    of tokens in RWKV.

    Home lesson: 19_modern_blocks
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        require_sizes(d_model=d_model)
        self.share = nn.Parameter(torch.zeros(d_model))
        self.d_model = d_model

    def forward(
        self,
        x: Tensor,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the vectors with a share of those before them."""
        require_width(x, self.d_model)
        so_far = x
        if cache is not None:
            rows = x.unsqueeze(1)  # (B, 1, T, D), as of a single head
            so_far = cache.append(rows, rows)[0].squeeze(1)
        before = F.pad(so_far, (0, 0, 1, 0))[:, -x.size(1) - 1 : -1]  # (B, T, D)
        if positions is not None:
            before = before * (positions > 0).unsqueeze(-1)
        return torch.addcmul(x, before, self.own("share"))


class BigramEmbedding(Module):
    r"""A table of pairs: a vector for each token together with the one before it.

    The vector of the pair (a, b) is row :math:`a V + b`. All rows start at 0: a model
    begins as if there were no table. To look a row up takes no time, whatever the size
    of the table, but to train it does, and its memory grows with the square of V: it is
    for alphabets.

    Args:
        vocab_size: number of different tokens V.
        d_model: size of the vectors D.

    Shapes:
        ids ``(B, T)`` -> ``(B, T, D)``, to be added to the vectors of the tokens. With
        a cache, the ids continue what it holds. Where rows hold several texts, or
        shorter ones behind padding: positions, int64 ``(B, T)``. What has nothing
        before it is looked up in V more rows.

    Raises:
        ValueError: if a size is below 1, or an id is not one of 0 .. V - 1.

    Source: Roy et al. (2022), N-Grammer, who group tokens first.

    Home lesson: 19_modern_blocks
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        require_sizes(vocab_size=vocab_size, d_model=d_model)
        self.vocab_size = vocab_size
        zeros = torch.zeros((vocab_size + 1) * vocab_size, d_model)
        self.pairs = nn.Embedding.from_pretrained(zeros, freeze=False)

    def forward(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the vectors of the pairs."""
        low, high = ids.min().item(), ids.max().item()
        require_between(0, self.vocab_size - 1, ids=low)
        require_between(0, self.vocab_size - 1, ids=high)
        so_far = ids
        if cache is not None:
            rows = ids[:, None, :, None]  # (B, 1, T, 1), as of a single head
            so_far = cache.append(rows, rows)[0][:, 0, :, 0]
        before = F.pad(so_far, (1, 0), value=self.vocab_size)  # nothing: a token V
        before = before[:, -ids.size(1) - 1 : -1]  # (B, T)
        if positions is not None:
            before = before.masked_fill(positions == 0, self.vocab_size)
        return self.pairs(before * self.vocab_size + ids)
