"""The checks of the exercises in lesson 04, embeddings and positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.checks import exercise, expect, hint_for_tensor, returned, rounded

__all__ = [
    "check_similarity_by_distance",
    "check_mean_cosines",
    "check_shift_positions",
    "check_concat_lm",
]


def as_numbers(answer: object) -> Tensor:
    """Return the reader's tensor, list or array in double precision."""
    return torch.as_tensor(returned(answer)).detach().double()


@exercise
def check_similarity_by_distance(similarity_by_distance) -> str:
    """Takes a function of d_model, base, n."""
    for d_model, base, n in ((4, 100.0, 6), (32, 10_000.0, 40), (6, 10.0, 9)):
        given = as_numbers(similarity_by_distance(d_model, base, n))
        expect(
            tuple(given.shape) == (n,),
            f"With n={n} there are {n} distances, 0 .. {n - 1}: the shape must be "
            f"({n},), yours is {tuple(given.shape)}. Add up over the hands.",
        )
        right = _sum_of_cosines(_speeds(d_model, base), n)
        mistakes = _similarity_mistakes(d_model, base, n)
        expect(
            torch.allclose(given, right, atol=1e-3),
            f"With d_model={d_model}, base={base:g} it begins {rounded(right[:3])}, "
            f"yours begins {rounded(given[:3])}. "
            + hint_for_tensor(given, mistakes, "Each hand adds cos(speed * distance)."),
        )
    return "Equal to the dot products of the table."


def _speeds(d_model: int, base: float) -> Tensor:
    return base ** (-torch.arange(0, d_model, 2).double() / d_model)


def _sum_of_cosines(speeds: Tensor, n: int) -> Tensor:
    return (torch.arange(n).double().unsqueeze(1) * speeds).cos().sum(dim=1)


def _similarity_mistakes(d_model: int, base: float, n: int) -> dict[str, Tensor]:
    speeds, columns = _speeds(d_model, base), torch.arange(d_model).double()
    pairs = torch.arange(d_model // 2).double()
    right = _sum_of_cosines(speeds, n)
    distances = torch.arange(n).double().unsqueeze(1)
    return {
        "That is the cosine of the angle, not the dot product: do not divide by the "
        "number of hands.": right / len(speeds),
        "Each hand is one pair, and counts once: there are d_model / 2.": 2 * right,
        "The exponent counts columns; it must count pairs, 2 i / d_model for pair "
        "i.": _sum_of_cosines(base ** (-columns / d_model), n),
        "The exponent of pair i is 2 i / d_model; the 2 is missing.": _sum_of_cosines(
            base ** (-pairs / d_model), n
        ),
        "The speeds must fall from pair to pair: the exponent is "
        "negative.": _sum_of_cosines(1 / speeds, n),
        "Two hands at the same place add 1, not 0: what remains of the product is a "
        "cosine, not a sine.": (distances * speeds).sin().sum(dim=1),
        "Your first distance is 1; begin with 0.": _sum_of_cosines(speeds, n + 1)[1:],
    }


@exercise
def check_mean_cosines(mean_cosines) -> str:
    """Takes a function of vectors, groups."""
    generator = torch.Generator().manual_seed(0)
    for groups in ([0, 0, 1, 1, 1], [2, 0, 1, 2, 0, 1, 1, 2]):
        groups = torch.tensor(groups)
        vectors = 3 * torch.randn(len(groups), 4, generator=generator) + 1
        given = as_numbers(mean_cosines(vectors.clone(), groups))
        n_groups = int(groups.max()) + 1
        expect(
            tuple(given.shape) == (n_groups, n_groups),
            f"There are {n_groups} groups, so the shape must be "
            f"({n_groups}, {n_groups}); yours is {tuple(given.shape)}.",
        )
        right = _block_means(_cosines(vectors), groups)
        mistakes = _group_mistakes(vectors, groups)
        expect(
            torch.allclose(given, right, atol=1e-4),
            f"For the groups {groups.tolist()} the first row must be "
            f"{rounded(right[0])}, yours is {rounded(given[0])}. "
            + hint_for_tensor(given, mistakes, "Take the mean over pairs, per block."),
        )
    return "And no vector was counted as its own neighbour."


def _cosines(vectors: Tensor, dim: int = -1) -> Tensor:
    unit = F.normalize(vectors.double(), dim=dim)
    return unit @ unit.T


def _block_means(
    table: Tensor, groups: Tensor, with_self: bool = False, total: bool = False
) -> Tensor:
    member = F.one_hot(groups).double()  # (V, G)
    pairs = torch.ones_like(table)
    if not with_self:
        pairs -= torch.eye(len(table))
    sums, counts = (member.T @ t @ member for t in (table * pairs, pairs))
    return sums if total else sums / counts


def _group_mistakes(vectors: Tensor, groups: Tensor) -> dict[str, Tensor]:
    cosines, x = _cosines(vectors), vectors.double()
    member = F.one_hot(groups).double()
    centres = (member / member.sum(dim=0)).T @ x
    off = cosines - torch.eye(len(cosines))
    itself = "Within a group each row was also paired with itself, cosine 1: leave out "
    zeros = _block_means(off, groups, with_self=True)
    return {
        itself + "the diagonal.": _block_means(cosines, groups, with_self=True),
        itself + "the pair, not only its cosine: the mean has fewer terms.": zeros,
        "These are dot products; divide by both lengths.": _block_means(
            x @ x.T, groups
        ),
        "You scaled the columns to length 1; the rows must be.": _block_means(
            _cosines(vectors, dim=0), groups
        ),
        "These are sums; take the mean over the pairs.": _block_means(
            cosines, groups, total=True
        ),
        "The cosine of two mean vectors is not the mean of the cosines.": _cosines(
            centres
        ),
    }


@exercise
def check_shift_positions(shift_positions) -> str:
    """Takes a function of p, k, base."""
    for d_model, base in ((8, 10_000.0), (6, 100.0)):
        for places, k in (([3.0], 2), ([0.0, 7.0, 0.5], 5), ([9.0, 20.0], -4)):
            p = _waves(torch.tensor(places), d_model, base)
            p = p[0] if len(places) == 1 else p  # one vector, or many
            before = p.clone()
            answer = returned(shift_positions(p, k, base))
            expect(torch.equal(p, before), "You changed `p` itself; make a new tensor.")
            _compare_shifted(as_numbers(answer), before, k, base)
    return "The same turn at every place."


def _waves(places: Tensor, d_model: int, base: float) -> Tensor:
    angles = places.double().unsqueeze(-1) * _speeds(d_model, base)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


def _compare_shifted(given: Tensor, p: Tensor, k: int, base: float) -> None:
    expect(
        given.shape == p.shape,
        f"The result must have the shape of p, {tuple(p.shape)}; yours has "
        f"{tuple(given.shape)}. Interleave sines and cosines, then join the pairs.",
    )
    angles = k * _speeds(p.size(-1), base)
    right, mistakes = _turned(p, angles), _shift_mistakes(p, angles, k, base)
    wrong = ((given - right).abs() > 1e-3).reshape(-1, p.size(-1))
    row, column = divmod(int(wrong.int().argmax()), p.size(-1))
    i = column // 2 * 2  # the first pair that is wrong
    before, wanted, got = (
        rounded(t.reshape(wrong.shape)[row, i : i + 2]) for t in (p, right, given)
    )
    expect(
        torch.allclose(given, right, atol=1e-3),
        f"For k={k}, base={base:g} the pair in columns {i} and {i + 1}, {before}, "
        f"must become {wanted}, yours becomes {got}. "
        + hint_for_tensor(given, mistakes, "Turn each pair by k times its own speed."),
    )


def _turned(p: Tensor, angles: Tensor) -> Tensor:
    sines, cosines = p.double()[..., 0::2], p.double()[..., 1::2]
    turned = [
        sines * angles.cos() + cosines * angles.sin(),
        cosines * angles.cos() - sines * angles.sin(),
    ]
    return torch.stack(turned, dim=-1).flatten(-2)


def _overwritten(p: Tensor, angles: Tensor) -> Tensor:
    sines, cosines = p.double()[..., 0::2], p.double()[..., 1::2]
    sines = sines * angles.cos() + cosines * angles.sin()
    cosines = cosines * angles.cos() - sines * angles.sin()
    return torch.stack([sines, cosines], dim=-1).flatten(-2)


def _shift_mistakes(
    p: Tensor, angles: Tensor, k: int, base: float
) -> dict[str, Tensor]:
    right, d_model = _turned(p, angles), p.size(-1)
    halves = p.unflatten(-1, (2, d_model // 2)).transpose(-1, -2).flatten(-2)
    turned = _turned(halves, angles).unflatten(-1, (d_model // 2, 2))
    pairs = torch.arange(d_model // 2).double()
    once = p.double() + _waves(torch.tensor([float(k)]), d_model, base)[0]
    return {
        "It went the other way: look at the signs of the sines.": _turned(p, -angles),
        "All sines come first now, then all cosines; interleave them.": torch.cat(
            [right[..., 0::2], right[..., 1::2]], dim=-1
        ),
        "You paired the first half of the columns with the second; the pairs are "
        "columns 0 and 1, 2 and 3, ...": turned.transpose(-1, -2).flatten(-2),
        "The exponent of pair i is 2 i / D; the 2 is missing.": _turned(
            p, k * base ** (-pairs / d_model)
        ),
        "Every pair was turned by the same angle; each has its own speed.": _turned(
            p, torch.full_like(angles, float(k))
        ),
        "You used the new sine for the cosine; take both from p.": _overwritten(
            p, angles
        ),
        "You moved one place; move k places.": _turned(p, angles / k),
        "You used base 10,000 whatever `base` is.": _turned(
            p, k * _speeds(d_model, 10_000.0)
        ),
        "You added the vector of position k; a shift is a turn.": once,
    }


@exercise
def check_concat_lm(concat_lm) -> str:
    """Takes a class built with vocab_size, context_length, d_model, d_hidden."""
    for sizes in ((7, 4, 5, 6), (5, 2, 3, 8)):
        vocab_size, context_length = sizes[:2]
        torch.manual_seed(0)
        model = concat_lm(*sizes)
        expect(isinstance(model, nn.Module), "ConcatLM must be an nn.Module.")
        ids = torch.randint(vocab_size, (3, context_length))
        with torch.no_grad():
            logits = returned(model(ids))
        expect(
            tuple(logits.shape) == (3, vocab_size),
            f"For ids (3, {context_length}) the logits must be (3, {vocab_size}), "
            f"yours are {tuple(logits.shape)}: one prediction per window.",
        )
        _check_parameters(model, *sizes)
        expect(
            bool((logits < 0).any()) and not _near_one(logits.sum(-1)),
            "Logits are scores of any size, negative ones too: no softmax, and no "
            "ReLU after the last layer.",
        )
        with torch.no_grad():
            _check_reading(model, ids)
            _check_bend(model, ids)
    return "Order is kept, without a vector for any place."


def _near_one(sums: Tensor) -> bool:
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-4)


def _check_parameters(
    model: nn.Module, vocab_size: int, context_length: int, d_model: int, d_hidden: int
) -> None:
    table = vocab_size * d_model
    head = d_hidden * vocab_size + vocab_size
    joined = context_length * d_model * d_hidden
    right = table + joined + d_hidden + head
    given = sum(parameter.numel() for parameter in model.parameters())
    hints = {
        table + d_model * d_hidden + d_hidden + head: "Your first layer reads d_model "
        "numbers: the vectors were added up, not put side by side.",
        right - d_hidden: "The first layer has no bias.",
        right - vocab_size: "The last layer has no bias.",
        right + (context_length - 1) * table: "One embedding serves all places; you "
        "have one for each.",
        right + context_length * d_model: "There are position vectors in it; this "
        "model needs none.",
    }
    count = f"{table} + {joined} + {d_hidden} + {head - vocab_size} + {vocab_size}"
    expect(
        given == right,
        f"ConcatLM({vocab_size}, {context_length}, {d_model}, {d_hidden}) has {count} "
        f"= {right} parameters, yours has {given}. "
        + hints.get(given, "Count them layer by layer."),
    )


def _check_reading(model: nn.Module, ids: Tensor) -> None:
    alone = torch.cat([model(row.unsqueeze(0)) for row in ids])
    expect(
        torch.allclose(model(ids), alone, atol=1e-5),
        "A window's logits depend on the other windows of the batch: keep dimension 0 "
        "when you join the vectors.",
    )
    vocab_size = int(model(ids).size(-1))
    for place in range(ids.size(1)):
        changed = ids.clone()
        changed[:, place] = (ids[:, place] + 1) % vocab_size
        expect(
            not torch.allclose(model(changed), model(ids), atol=1e-6),
            f"Another character at place {place} changes nothing: is it read at all?",
        )
    ids = torch.arange(ids.size(1)).unsqueeze(0)
    expect(
        not torch.allclose(model(ids.flip(1)), model(ids), atol=1e-6),
        "The same characters in reverse give the same logits: the order is lost.",
    )


def _check_bend(model: nn.Module, ids: Tensor) -> None:
    """Without a bend, what two characters do together is the sum of what each does."""
    together = 0.0
    for tokens in ((0, 1), (2, 3)):
        both = ids[:1].repeat(4, 1)
        both[1::2, 0], both[0::2, 0] = tokens
        both[2:, 1], both[:2, 1] = tokens
        one, first, second, two = model(both)
        together = max(together, (one - first - second + two).abs().max().item())
    expect(
        together > 1e-5,
        "The logits are a plain sum of what each place adds: is there a ReLU between "
        "the two linear layers?",
    )
