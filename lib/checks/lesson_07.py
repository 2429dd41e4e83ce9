"""The checks of the exercises in lesson 07, multi-head attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.attention import (
    MultiHeadAttention,
    causal_mask,
    scaled_dot_product_attention,
)
from lib.checks import (
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    number,
    returned,
)

__all__ = [
    "check_multiplications",
    "check_lengths_mask",
    "check_head_contributions",
    "check_two_heads",
]


@exercise
def check_multiplications(multiplications) -> str:
    """Takes a function of length, d_model, n_heads."""
    for T, D, H in ((10, 64, 4), (128, 512, 8), (5, 12, 3)):
        weights, looking = T * D * D, T * T * D
        right = 4 * weights + 2 * looking
        given = number(multiplications(T, D, H))
        hints = {
            3 * weights + 2 * looking: "The output projection is missing.",
            2 * looking: "The four projections are missing.",
            4 * weights: "The scores and the mixing of the values are missing.",
            4 * weights + looking: "Scores *and* mixing: two products for each head.",
            4 * weights + 2 * looking / H: "You counted the scores and the mixing of "
            "one head; there are n_heads of them.",
            4 * weights + 2 * looking * H: "In the scores and in the mixing a head has "
            "d_head numbers per position, not d_model.",
            4 * weights * H + 2 * looking: "One projection of d_model x d_model serves "
            "all heads together.",
            4 * weights / H + 2 * looking: "Each projection goes from d_model to "
            "d_model, not to d_head.",
            4 * D * D + 2 * looking: "Each of the `length` positions is projected.",
            2 * right: "Count the multiplications only, not the additions.",
            4 * weights + looking + T * D: "The mask hides half of the scores, but all "
            "of them are computed.",
            4 * weights + 2 * T * D: "A score is needed for each *pair* of positions.",
        }
        expect(
            math.isclose(given, right),
            f"For length={T}, d_model={D}, n_heads={H} there are {right:,} "
            f"multiplications, you return {given:,.0f}. "
            + hint_for(given, hints, "Write down the shapes of every product."),
        )
    return "The number of heads makes no difference."


@exercise
def check_lengths_mask(lengths_mask) -> str:
    """Takes a function of lengths, T."""
    for numbers, T in (([3, 1, 5], 5), ([2, 1], 6), ([4, 2, 1, 3], 4)):
        lengths = torch.tensor(numbers)
        given = returned(lengths_mask(lengths, T))
        expect(
            isinstance(given, Tensor),
            f"Return a tensor; yours is a {type(given).__name__}.",
        )
        _expect_mask_shape(given, len(numbers), T)
        right = torch.tensor([[t < n for t in range(T)] for n in numbers])
        right = right[:, None, None, :]
        at_most = torch.tensor([[t <= n for t in range(T)] for n in numbers])
        hints = (
            (~right, "It is the other way round: True is where a token stands."),
            (at_most[:, None, None, :], "One too many: positions count from 0."),
            (right.flip(-1), "The padding stands at the end, not at the beginning."),
        )
        said = [words for wrong, words in hints if torch.equal(given, wrong)]
        expect(
            torch.equal(given, right),
            f"For lengths={numbers} and T={T} the mask of the first sequence must be "
            f"{right[0, 0, 0].int().tolist()}, yours is "
            f"{given[0, 0, 0].int().tolist()}. "
            + (said[0] if said else "Compare each position with its own length."),
        )
    return "It fits every attention of this course."


def _expect_mask_shape(given: Tensor, B: int, T: int) -> None:
    reasons = {
        (B, T): "Add two dimensions of size 1 in the middle, for heads and queries.",
        (B, 1, T): "One dimension is missing: heads *and* queries need a 1 each.",
        (B, 1, T, 1): "That mask stops padded positions from looking; it must stop "
        "others from looking at them. The positions come last.",
        (1, 1, B, T): "The sequences must be the first dimension.",
        (B, 1, T, T): "One row is enough; it is repeated for all queries.",
        (B, T, T): "Every row would be the same: one row for all queries is enough.",
    }
    shape = tuple(given.shape)
    expect(
        shape == (B, 1, 1, T),
        f"The mask must have the shape {(B, 1, 1, T)}, yours has {shape}. "
        + reasons.get(shape, "T is the second argument, not the largest length."),
    )
    expect(given.dtype == torch.bool, f"The mask must be bool, yours is {given.dtype}.")


@exercise
@torch.no_grad()
def check_head_contributions(head_contributions) -> str:
    """Takes a function of attention, x, mask."""
    generator = torch.Generator().manual_seed(0)
    for D, H, T, bias in ((12, 3, 4, True), (8, 2, 5, False), (6, 6, 3, True)):
        attention = MultiHeadAttention(D, H, bias=bias)
        for parameter in attention.parameters():
            parameter.normal_(0, 0.5, generator=generator)
        x = torch.randn(2, T, D, generator=generator)
        before = [parameter.clone() for parameter in attention.parameters()]
        given = returned(head_contributions(attention, x, causal_mask(T)))
        after = zip(before, attention.parameters())
        expect(
            all(torch.equal(old, new) for old, new in after),
            "You changed the weights of the attention; work on a copy.",
        )
        _expect_contributions(given, attention, x, H)
    return "The heads add up to the output."


def _expect_contributions(
    given: Tensor, attention: MultiHeadAttention, x: Tensor, H: int
) -> None:
    shape = (H, *x.shape)
    expect(
        tuple(given.shape) == shape,
        f"With {H} heads and x of shape {tuple(x.shape)} the terms have the shape "
        f"{shape}, yours {tuple(given.shape)}. The heads come first, and each term is "
        "as wide as the output.",
    )
    right = _contributions(attention, x, causal_mask(x.size(1)))
    hints = _contribution_mistakes(attention, x, right)
    expect(
        torch.allclose(given, right, atol=1e-4),
        f"With {H} heads the terms are not right. "
        + hint_for_tensor(given, hints, _what_the_sum_says(given, right)),
    )


def _what_the_sum_says(given: Tensor, right: Tensor) -> str:
    if torch.allclose(given.sum(dim=0), right.sum(dim=0), atol=1e-4):
        return "They add up to the output, but a term is not what one head adds."
    return "Together with the bias they do not give the output of the attention."


def _by_head(attention: MultiHeadAttention, x: Tensor) -> list[Tensor]:
    """Queries, keys and values of each head, all ``(B, H, T, Dh)``."""
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    shape = (-1, attention.d_head)
    return [p(x).unflatten(-1, shape).transpose(1, 2) for p in projections]


def _contributions(
    attention: MultiHeadAttention, x: Tensor, mask: Tensor | None, rows: bool = False
) -> Tensor:
    """The terms; with `rows`, the weight is cut along the wrong dimension."""
    q, k, v = _by_head(attention, x)
    mixed = scaled_dot_product_attention(q, k, v, mask)[0]  # (B, H, T, Dh)
    W = attention.out_proj.weight.T if rows else attention.out_proj.weight
    parts = W.split(attention.d_head, dim=1)  # H times (D, Dh)
    return torch.stack([mixed[:, h] @ part.T for h, part in enumerate(parts)])


def _contribution_mistakes(
    attention: MultiHeadAttention, x: Tensor, right: Tensor
) -> dict[str, Tensor]:
    causal, b = causal_mask(x.size(1)), attention.out_proj.bias
    bias = torch.zeros(()) if b is None else b
    H, Dh = len(right), attention.d_head
    q, k, v = _by_head(attention, x)
    mixed = scaled_dot_product_attention(q, k, v, causal)[0]
    alone = torch.zeros_like(right)
    for h in range(H):
        alone[h, ..., h * Dh : (h + 1) * Dh] = mixed[:, h]
    output = right.sum(dim=0)
    return {
        "Each term holds the bias of the output projection; leave it out.": right
        + bias,
        "You shared the bias out among the heads; leave it out.": right + bias / H,
        "A linear layer computes x times the transposed weight: a head meets columns "
        "of out_proj.weight, not rows.": _contributions(attention, x, causal, True),
        "The mask is not used.": _contributions(attention, x, None),
        "That is what the head gathers, before the output projection.": alone,
        "That is the output without the head; asked is what it adds.": output - right,
        "That is the output (with its bias) without the head; asked is what it "
        "adds.": output + bias - right,
    }


@exercise
@torch.no_grad()
def check_two_heads(two_heads) -> str:
    """Takes a function of nothing that returns a MultiHeadAttention(16, 2)."""
    attention = returned(two_heads())
    expect(
        getattr(attention, "d_model", None) == 16 and attention.out_proj.bias is None,
        "Return a MultiHeadAttention(16, 2, bias=False), without the biases that "
        "start as random numbers.",
    )
    for letters in ([3, 0, 7, 7, 1, 5, 2, 6], [4, 1, 6, 0, 2], [5, 2]):
        own, T = torch.eye(8)[letters], len(letters)
        x = torch.cat([own, torch.eye(8)[:T]], dim=-1).unsqueeze(0)  # (1, T, 16)
        output, weights = attention(x, causal_mask(T), need_weights=True)
        expect(
            tuple(weights.shape) == (1, 2, T, T),
            f"For {T} letters two heads give weights of the shape {(1, 2, T, T)}; "
            f"yours have {tuple(weights.shape)}. Use MultiHeadAttention(16, 2).",
        )
        wanted = torch.cat([own[1:], own[:-1]], dim=-1)  # (T - 1, 16)
        given = output[0, 1:]
        expect(
            torch.allclose(given, wanted, atol=0.01),
            f"For the letters {letters} the output is not [own letter, letter before]. "
            + _two_heads_hint(given, own, weights[0]),
        )
    return "One looks at itself, the other one step back."


def _two_heads_hint(given: Tensor, own: Tensor, weights: Tensor) -> str:
    now, before, places = own[1:], own[:-1], torch.eye(8)[: len(own)]
    if _near(given, [before, now]):
        return "The two halves are swapped."
    if _near(given, [now, now]):
        return "Both heads look at the own letter."
    if _near(given, [places[1:], places[:-1]]):
        return "It gives positions; the values must be the letters."
    return _where_they_look(weights)


def _where_they_look(weights: Tensor) -> str:
    T = weights.size(-1)
    first, second = weights[:, 1:].argmax(dim=-1)  # where each head looks most
    here = torch.arange(1, T)
    evenly = causal_mask(T) / torch.arange(1, T + 1).unsqueeze(1)
    if torch.equal(first, here) and torch.equal(second, here - 1):
        if weights[:, 1:].max(dim=-1).values.min() < 0.995:
            return (
                "Both heads look at the right places most, but not only there: make "
                "the queries larger, so that the softmax decides."
            )
        return (
            "Both heads look at the right places. Are the values the letters, and is "
            "out_proj the identity?"
        )
    if T > 2 and torch.allclose(weights[1, 1:-1], evenly[1:-1], atol=1e-3):
        return (
            "The second head looks at all the past alike. Does it ask for the next "
            "position, which the mask hides? Row i of a weight makes number i."
        )
    return (
        "Print the weights: the first head must look at its own position, the second "
        "at the one before."
    )


def _near(given: Tensor, halves: list[Tensor]) -> bool:
    return torch.allclose(given, torch.cat(halves, dim=-1), atol=0.01)
