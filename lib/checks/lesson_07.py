"""The checks of the exercises in lesson 07, multi-head attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.attention import (
    MultiHeadAttention,
    causal_mask,
    scaled_dot_product_attention,
)
from lib.checks import Mistake, exercise, expect, hint_for, hint_for_tensor, returned

__all__ = [
    "check_multiplications",
    "check_from_torch",
    "check_head_contributions",
    "check_two_heads",
]

LAYERS = {  # the layers of an attention and what their matrices are for
    "q_proj": "queries",
    "k_proj": "keys",
    "v_proj": "values",
    "out_proj": "output",
}


@exercise
def check_multiplications(multiplications) -> str:
    """Takes a function of length, d_model, n_heads."""
    for T, D, H in ((10, 64, 8), (128, 512, 8), (5, 12, 3), (7, 6, 1), (40, 12, 2)):
        right = 4 * T * D * D + 2 * T * T * D
        given = returned(multiplications(T, D, H))
        expect(
            isinstance(given, int | float) and not isinstance(given, bool),
            f"Return a plain number; yours is a {type(given).__name__}.",
        )
        expect(
            given == right,
            f"For length={T}, d_model={D}, n_heads={H} there are {right:,} "
            f"multiplications, you return {given:,}. "
            + hint_for(
                given, _counts(T, D, H), "Write down the shapes of each product."
            ),
        )
    return "The number of heads makes no difference."


def _counts(T: int, D: int, H: int) -> dict[float, str]:
    """Return wrong counts, each with words for its mistake."""
    layers, looking = 4 * T * D * D, 2 * T * T * D
    right = layers + looking
    return {
        layers / 4 + looking: "There are four layers.",
        layers * 3 / 4 + looking: "The output projection is missing.",
        looking: "The four layers are missing.",
        layers: "The scores and the mixing of the values are missing.",
        layers + looking / 2: "Scores *and* mixing: two products for each head.",
        layers + looking / H: "You counted the scores and the mixing of one head; "
        "there are n_heads of them.",
        layers + looking * H: "In the scores and in the mixing a head has d_head "
        "numbers per position, not d_model.",
        layers * H + looking: "One layer of d_model x d_model serves all heads "
        "together.",
        layers / H + looking: "Each layer goes from d_model to d_model, not to d_head.",
        layers / T + looking: "Each of the `length` positions goes through the layers.",
        2 * right: "Count the multiplications only, not the additions.",
        layers + T * (T + 1) * D: "The mask hides half of the scores, but all of them "
        "are computed.",
        layers + 2 * T * D: "A score is needed for each *pair* of positions.",
        layers + T * T * (D + H): "Both products work with d_head numbers: the scores "
        "and the mixing.",
    }


@exercise
def check_from_torch(from_torch) -> str:
    """Takes a function of an nn.MultiheadAttention."""
    generator = torch.Generator().manual_seed(0)
    for D, H in ((12, 3), (8, 2), (6, 6), (8, 1)):
        torchs = nn.MultiheadAttention(D, H, bias=False, batch_first=True)
        for parameter in torchs.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)
        before = _state(torchs)
        given = _attention(from_torch(torchs), D, H)
        expect(
            _unchanged(torchs, before),
            "You changed PyTorch's module; copy its weights, and leave it as it is.",
        )
        x = torch.randn(2, 5, D, generator=generator)
        wanted = torchs(x, x, x, attn_mask=~causal_mask(5), need_weights=False)[0]
        output = given(x, causal_mask(5))[0]
        expect(
            torch.allclose(output, wanted, atol=1e-5),
            f"With D={D} and H={H} the outputs differ. {_wrong_matrix(given, torchs)}",
        )
        _expect_independent(given, torchs, before)
    return "Weights are only numbers: whoever knows their order can move them."


def _attention(answer: object, D: int, H: int) -> nn.Module:
    """Return the reader's attention; `Mistake` where it is none of this size."""
    answer = returned(answer)
    whole = isinstance(answer, nn.Module) and all(hasattr(answer, n) for n in LAYERS)
    expect(
        whole,
        "Return a MultiHeadAttention of this course; yours has the type "
        f"{type(answer).__name__}.",
    )
    expect(
        answer.d_head == D // H,
        f"Your heads have {answer.d_head} numbers each; d_model={D} and n_heads={H} "
        f"give {D // H}: MultiHeadAttention({D}, {H}).",
    )
    for name in LAYERS:
        layer = getattr(answer, name)
        weight = layer.weight
        expect(
            tuple(weight.shape) == (D, D) and weight.dtype == torch.float32,
            f"{name}.weight must have the shape {(D, D)} and torch.float32; yours has "
            f"{tuple(weight.shape)} and {weight.dtype}.",
        )
        expect(
            layer.bias is None or not layer.bias.any(),
            f"{name} has a bias, which starts as random numbers: leave the biases out, "
            "in the library's class by `bias=False`.",
        )
    return answer


def _state(module: nn.Module) -> tuple[list[Tensor], list]:
    """Return copies of a module's weights, and whatever else must not change."""
    weights = [parameter.detach().clone() for parameter in module.parameters()]
    trains = [parameter.requires_grad for parameter in module.parameters()]
    parts = [(m.training, len(m._forward_hooks)) for m in module.modules()]
    return weights, [trains, parts]


def _unchanged(module: nn.Module, before: tuple[list[Tensor], list]) -> bool:
    weights, rest = _state(module)
    same = len(weights) == len(before[0]) and all(map(torch.equal, weights, before[0]))
    return same and rest == before[1]


def _wrong_matrix(given: nn.Module, torchs: nn.MultiheadAttention) -> str:
    """Say which of the four matrices is the first wrong one, and what it is."""
    D, H = torchs.embed_dim, torchs.num_heads
    rows, output = torchs.in_proj_weight, torchs.out_proj.weight
    right = dict(zip(LAYERS.values(), (*rows.chunk(3), output)))
    by_head = rows.view(H, 3, -1, D).transpose(0, 1).reshape(3, D, D)
    known = {f"that of the {name}": matrix for name, matrix in right.items()}
    known |= {f"that of the {name}, transposed": m.T for name, m in right.items()}
    known |= {
        f"made of the rows that are number {i} of three in each head, but the three "
        "matrices lie below each other whole": matrix
        for i, matrix in enumerate(by_head, start=1)
    }
    for layer, name in LAYERS.items():
        weight = getattr(given, layer).weight
        if not torch.allclose(weight, right[name], atol=1e-6):
            said = [words for words, m in known.items() if torch.allclose(weight, m)]
            said = said or ["none of PyTorch's: was it copied?"]
            return (
                f"{layer} must hold the matrix of the {name}; its matrix is {said[0]}"
            )
    return "All four matrices are right: what does your `forward` do with them?"


def _expect_independent(
    given: nn.Module, torchs: nn.Module, before: tuple[list[Tensor], list]
) -> None:
    """Expect that both modules can be trained, each by itself."""
    for name in LAYERS:
        weight = getattr(given, name).weight
        expect(
            weight.requires_grad and weight.is_leaf,
            f"{name}.weight cannot be trained any more; copy the numbers into it with "
            "`.data.copy_(...)`.",
        )
        with torch.no_grad():
            weight.add_(1)
        expect(
            _unchanged(torchs, before),
            f"{name} shares its numbers with PyTorch's module: train one, and the "
            "other changes. Copy them: `clone()` or `copy_`.",
        )


@exercise
def check_head_contributions(head_contributions) -> str:
    """Takes a function of attention, x, mask."""
    generator = torch.Generator().manual_seed(0)
    for D, H, T in ((12, 3, 4), (8, 2, 5), (6, 6, 3), (4, 1, 6)):
        attention = MultiHeadAttention(D, H, bias=False)
        for parameter in attention.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)
        x, mask = torch.randn(2, T, D, generator=generator), causal_mask(T)
        mask[2, 0] = H == 3  # except in the first case not the causal one
        before, vectors, looks = _state(attention), x.clone(), mask.clone()
        given = returned(head_contributions(attention, x, mask))
        expect(
            _unchanged(attention, before),
            "You changed the attention; work on a copy, and leave no hook behind.",
        )
        expect(
            torch.equal(x, vectors) and torch.equal(mask, looks),
            "You changed `x` or `mask` in place; leave them as they are.",
        )
        with torch.no_grad():
            _expect_contributions(given, attention, x, mask)
    return "The heads add up to the output."


def _expect_contributions(
    given: object, attention: MultiHeadAttention, x: Tensor, mask: Tensor
) -> None:
    H = attention.d_model // attention.d_head
    expect(
        isinstance(given, Tensor),
        f"Return one tensor; yours is a {type(given).__name__}. `torch.stack` makes a "
        "tensor of a list.",
    )
    shape = (H, *x.shape)
    expect(
        tuple(given.shape) == shape and given.dtype == x.dtype,
        f"With {H} heads and x of shape {tuple(x.shape)} the terms are {x.dtype} of "
        f"the shape {shape}, yours {given.dtype} of {tuple(given.shape)}. The heads "
        "come first, and each term is as wide as the output.",
    )
    right = _contributions(attention, x, mask)
    wrong = [h for h in range(H) if not torch.allclose(given[h], right[h], atol=1e-4)]
    if wrong:
        hints = _contribution_mistakes(attention, x, mask, right)
        otherwise = _what_the_sum_says(given, right)
        raise Mistake(
            f"With {H} heads, the term of head {wrong[0]} (counted from 0) is not "
            f"right. {hint_for_tensor(given, hints, otherwise)}"
        )


def _what_the_sum_says(given: Tensor, right: Tensor) -> str:
    if torch.allclose(given.sum(dim=0), right.sum(dim=0), atol=1e-4):
        return "The terms add up to the output, but they are not what one head adds."
    return "All terms together do not give the output of the attention."


def _gathered(
    attention: MultiHeadAttention, x: Tensor, mask: Tensor | None, mistake: str = ""
) -> Tensor:
    """What each head has gathered, ``(B, H, T, Dh)``."""
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    B, T, Dh = len(x), x.size(1), attention.d_head
    if mistake == "view":
        q, k, v = (layer(x).view(B, -1, T, Dh) for layer in layers)
    else:
        q, k, v = (layer(x).view(B, T, -1, Dh).transpose(1, 2) for layer in layers)
    scale = (Dh / attention.d_model) ** 0.5 if mistake == "scale" else 1.0
    return scaled_dot_product_attention(q * scale, k, v, mask)[0]


def _contributions(
    attention: MultiHeadAttention, x: Tensor, mask: Tensor | None, mistake: str = ""
) -> Tensor:
    """The terms, perhaps with a mistake: "rows", "view" or "scale"."""
    mixed = _gathered(attention, x, mask, mistake)
    W = attention.out_proj.weight
    W = W.T if mistake == "rows" else W
    parts = W.split(attention.d_head, dim=1)  # H times (D, Dh)
    return torch.stack([mixed[:, h] @ part.T for h, part in enumerate(parts)])


def _contribution_mistakes(
    attention: MultiHeadAttention, x: Tensor, mask: Tensor, right: Tensor
) -> dict[str, Tensor]:
    H, Dh = len(right), attention.d_head
    mixed, W = _gathered(attention, x, mask), attention.out_proj.weight
    alone, straight = torch.zeros_like(right), torch.zeros_like(right)
    for h in range(H):
        mine = slice(h * Dh, (h + 1) * Dh)
        alone[h, ..., mine] = mixed[:, h]
        straight[h] = mixed[:, h] @ W[:, mine].T.flip(0)
    output = right.sum(dim=0)
    return {
        "A linear layer computes x times the transposed weight: a head meets columns "
        "of out_proj.weight, not rows.": _contributions(attention, x, mask, "rows"),
        "Your split is a view without a transpose.": _contributions(
            attention, x, mask, "view"
        ),
        "Divide the scores by the root of d_head, not of d_model.": _contributions(
            attention, x, mask, "scale"
        ),
        "The mask is not used.": _contributions(attention, x, None),
        "Use the mask that is given, which may be another than the "
        "causal one.": _contributions(attention, x, causal_mask(x.size(1))),
        "That is what the head gathers, before the output projection.": alone,
        "That is the output without the head; asked is what it adds.": output - right,
        "The heads are in reverse order.": right.flip(0),
        "Every term is the whole output.": output.expand_as(right),
        "Each term is an equal share of the output.": output.expand_as(right) / H,
        "The columns of a head are in reverse order.": straight,
    }


@exercise
def check_two_heads(two_heads) -> str:
    """Takes a function of nothing that returns a MultiHeadAttention(16, 2)."""
    expect(
        not isinstance(two_heads, nn.Module),
        "Pass the function itself, without calling it: `check_two_heads(two_heads)`.",
    )
    attention = _attention(two_heads(), 16, 2)
    with torch.no_grad():
        _expect_two_letters(attention)
    return "One looks at itself, the other one step back."


def _expect_two_letters(attention: nn.Module) -> None:
    for letters in ([3, 0, 7, 7, 1, 5, 2, 6], [4, 1, 6, 0, 2], [5, 2], [1, 1, 1, 4]):
        own, T = torch.eye(8)[letters], len(letters)
        x = torch.cat([own, torch.eye(8)[:T]], dim=-1).unsqueeze(0)  # (1, T, 16)
        output, weights = attention(x, causal_mask(T), need_weights=True)
        expect(
            not output.isnan().any(),
            "The output is NaN: some weight is infinite. Large, finite numbers do.",
        )
        wanted = torch.cat([own[1:], own[:-1]], dim=-1)  # (T - 1, 16)
        far = (output[0, 1:] - wanted).abs().amax(dim=-1) > 0.01
        expect(
            not far.any(),
            f"For the letters {letters}, position {int(far.int().argmax()) + 1} does "
            "not give [own letter, letter before]. "
            + _two_heads_hint(output[0, 1:], own, weights[0]),
        )


def _two_heads_hint(given: Tensor, own: Tensor, weights: Tensor) -> str:
    now, before, places = own[1:], own[:-1], torch.eye(8)[: len(own)]
    if _near(given, [before, now]):
        return "The two halves are swapped."
    if _near(given, [now, now]):
        return "Both heads look at their own letter."
    if _near(given, [before, before]):
        return "Both heads look at the letter before."
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
            "out_proj the identity? What you did not set is still random: set it to 0."
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
