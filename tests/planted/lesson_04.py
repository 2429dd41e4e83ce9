"""Wrong answers to the exercises of lesson 04, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_04.py: wrong answers, each with
a few words of the message that it must get. The right answers are the solutions.
"""

import torch
from torch import nn
from torch.nn import functional as F


def similarity(exponent=lambda d: torch.arange(0, d, 2) / d, start=0, wave=torch.cos):
    """The similarity by distance with one mistake in it."""

    def by_distance(d_model, base, n):
        distances = torch.arange(start, start + n).unsqueeze(1)
        return wave(distances * base ** -exponent(d_model)).sum(dim=1)

    return by_distance


def cosine_by_distance(d_model, base, n):
    return similarity()(d_model, base, n) / (d_model / 2)


def hands_apart(d_model, base, n):
    speeds = base ** (-torch.arange(0, d_model, 2) / d_model)
    return (torch.arange(n).unsqueeze(1) * speeds).cos()


def groups_of(table, pairs):
    """The mean of a table over the pairs of each two groups."""

    def means(vectors, groups):
        g = int(groups.max()) + 1
        result, entries, counted = torch.zeros(g, g), table(vectors), pairs(vectors)
        for a in range(g):
            for b in range(g):
                inside = (groups == a).unsqueeze(1) & (groups == b)
                total = (entries * counted.bool())[inside].sum()
                result[a, b] = total / counted[inside].sum()
        return result

    return means


def unit_products(vectors, dim=-1):
    unit = F.normalize(vectors, dim=dim)
    return unit @ unit.T


def without_self(vectors):
    return 1 - torch.eye(len(vectors))


def cosine_of_centres(vectors, groups):
    g = int(groups.max()) + 1
    return unit_products(torch.stack([vectors[groups == a].mean(0) for a in range(g)]))


def self_as_zero(vectors, groups):
    return groups_of(
        lambda v: unit_products(v) - torch.eye(len(v)),
        lambda v: torch.ones(len(v), len(v)),
    )(vectors, groups)


def shifted(sign=1, factor=2, own_base=True, one_angle=False, apart=False, step=None):
    """A shift with one mistake in it."""

    def shift(p, k, base=10_000.0):
        d = p.size(-1)
        speeds = (base if own_base else 1e4) ** (-factor * torch.arange(d // 2) / d)
        angles = (step or k) * (torch.ones(d // 2) if one_angle else speeds) * sign
        s, c = p[..., 0::2], p[..., 1::2]
        s, c = s * angles.cos() + c * angles.sin(), c * angles.cos() - s * angles.sin()
        return torch.cat([s, c], -1) if apart else torch.stack([s, c], -1).flatten(-2)

    return shift


def shifted_halves(p, k, base=10_000.0):
    d = p.size(-1)
    angles = k * base ** (-torch.arange(0, d, 2) / d)
    s, c = p[..., : d // 2], p[..., d // 2 :]
    turned = s * angles.cos() + c * angles.sin(), c * angles.cos() - s * angles.sin()
    return torch.cat(turned, dim=-1)


def shifted_in_place(p, k, base=10_000.0):
    p[..., :] = shifted()(p, k, base)
    return p


def not_joined(p, k, base=10_000.0):
    return shifted()(p, k, base).unflatten(-1, (-1, 2))


def added(p, k, base=10_000.0):
    angles = k * base ** (-torch.arange(0, p.size(-1), 2) / p.size(-1))
    return p + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Concat(nn.Module):
    """The right model, for mistakes to inherit from."""

    def __init__(self, vocab_size, context_length, d_model, d_hidden, bias=True):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.hidden = nn.Linear(context_length * d_model, d_hidden, bias)
        self.head = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids):
        return self.head(self.hidden(self.embed(ids).flatten(1)).relu())


class Probabilities(Concat):
    def forward(self, ids):
        return super().forward(ids).softmax(dim=-1)


class BentTwice(Concat):
    def forward(self, ids):
        return super().forward(ids).relu()


class Summed(Concat):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__(vocab_size, 1, d_model, d_hidden)

    def forward(self, ids):
        return self.head(self.hidden(self.embed(ids).sum(dim=1)).relu())


class Straight(Concat):
    def forward(self, ids):
        return self.head(self.hidden(self.embed(ids).flatten(1)))


class Mixed(Concat):
    def forward(self, ids):
        x = self.embed(ids).transpose(0, 1).reshape(len(ids), -1)
        return self.head(self.hidden(x).relu())


class EveryPlace(Concat):
    def forward(self, ids):
        logits = super().forward(ids)
        return logits.unsqueeze(1).repeat(1, ids.size(1), 1)


class FirstOnly(Concat):
    def forward(self, ids):
        return super().forward(ids[:, :1].expand_as(ids))


class Sorted(Concat):
    def forward(self, ids):
        return super().forward(ids.sort(dim=1).values)


def overwritten(p, k, base=10_000.0):
    angles = k * base ** (-torch.arange(0, p.size(-1), 2) / p.size(-1))
    q = p.clone()
    q[..., 0::2] = q[..., 0::2] * angles.cos() + q[..., 1::2] * angles.sin()
    q[..., 1::2] = q[..., 1::2] * angles.cos() - q[..., 0::2] * angles.sin()
    return q


WRONG = {
    "check_similarity_by_distance": [
        (similarity(lambda d: torch.arange(d) / d), "The exponent counts columns"),
        (similarity(lambda d: torch.arange(d // 2) / d), "the 2 is missing"),
        (similarity(lambda d: -torch.arange(0, d, 2) / d), "exponent is negative"),
        (similarity(lambda d: torch.arange(d) // 2 * 2 / d), "counts once"),
        (similarity(start=1), "first distance is 1"),
        (similarity(wave=torch.sin), "a cosine, not a sine"),
        (cosine_by_distance, "do not divide"),
        (hands_apart, "Add up over the hands"),
        (lambda d, b, n: None, "is a `return` missing"),
    ],
    "check_mean_cosines": [
        (
            groups_of(unit_products, lambda v: torch.ones(len(v), len(v))),
            "leave out the diagonal",
        ),
        (self_as_zero, "the mean has fewer terms"),
        (groups_of(lambda v: v @ v.T, without_self), "divide by both lengths"),
        (groups_of(lambda v: unit_products(v, 0), without_self), "the rows must be"),
        (cosine_of_centres, "not the mean of the cosines"),
        (lambda v, g: unit_products(v), "groups, so the shape must be"),
    ],
    "check_shift_positions": [
        (shifted(sign=-1), "the other way"),
        (shifted(factor=1), "the 2 is missing"),
        (shifted(own_base=False), "whatever `base` is"),
        (shifted(one_angle=True), "each has its own speed"),
        (shifted(apart=True), "interleave them"),
        (shifted(step=1), "move k places"),
        (overwritten, "take both from p"),
        (shifted_halves, "columns 0 and 1"),
        (shifted_in_place, "You changed `p` itself"),
        (not_joined, "join the pairs"),
        (added, "a shift is a turn"),
    ],
    "check_concat_lm": [
        (Summed, "added up, not put side by side"),
        (Probabilities, "no softmax"),
        (BentTwice, "after the last layer"),
        (Straight, "is there a ReLU"),
        (Mixed, "keep dimension 0"),
        (EveryPlace, "one prediction per window"),
        (FirstOnly, "place 1 changes nothing"),
        (Sorted, "the order is lost"),
        (lambda v, t, d, h: Concat(v, t, d, h, bias=False), "first layer has no bias"),
        (lambda v, t, d, h: nn.Embedding(v, v), "one prediction per window"),
    ],
}
