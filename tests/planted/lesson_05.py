"""Wrong answers to the exercises of lesson 05, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_05.py: wrong answers, each with
a few words of the message that it must get. The right answers are the solutions.
"""

import math

import torch
from torch import nn


def similarity(exponent=lambda d: torch.arange(0, d, 2) / d, start=0, wave=torch.cos):
    """The similarity by distance with one mistake in it."""

    def by_distance(d_model, base, n):
        distances = torch.arange(start, start + n).unsqueeze(1)
        return wave(distances * base ** -exponent(d_model)).sum(dim=1)

    return by_distance


def cosine_by_distance(d_model, base, n):
    return similarity()(d_model, base, n) / (d_model / 2)


def hands_apart(d_model, base, n):
    frequencies = base ** (-torch.arange(0, d_model, 2) / d_model)
    return (torch.arange(n).unsqueeze(1) * frequencies).cos()


def sum_over_distances(d_model, base, n):
    return hands_apart(d_model, base, n).sum(dim=0)


def cosine_of_the_sum(d_model, base, n):
    frequencies = base ** (-torch.arange(0, d_model, 2) / d_model)
    return (torch.arange(n).unsqueeze(1) * frequencies).sum(dim=1).cos()


def in_degrees(d_model, base, n):
    return similarity(wave=lambda angles: torch.deg2rad(angles).cos())(d_model, base, n)


class FromTheEnd(nn.Module):
    """The right module, for mistakes to inherit from."""

    def __init__(self, context_length, d_model):
        super().__init__()
        self.table = nn.Embedding(context_length, d_model)

    def rows(self, length):
        return self.table.weight[:length].flip(0)

    def forward(self, x):
        return x + self.rows(x.size(1))


class FromTheFront(FromTheEnd):
    def rows(self, length):
        return self.table.weight[:length]


class WholeTableTurned(FromTheEnd):
    def rows(self, length):
        return self.table.weight.flip(0)[:length]


class LastRows(FromTheEnd):
    def rows(self, length):
        return self.table.weight[-length:]


class LastRowsTurned(FromTheEnd):
    def rows(self, length):
        return self.table.weight[-length:].flip(0)


class ColumnsTurned(FromTheEnd):
    def rows(self, length):
        return self.table.weight[:length].flip(1)


class OffByOne(FromTheEnd):
    def rows(self, length):
        numbers = torch.arange(length, 0, -1).clamp(max=len(self.table.weight) - 1)
        return self.table(numbers)


class WholeTable(FromTheEnd):
    """Right where the text is as long as the table, a crash elsewhere."""

    def forward(self, x):
        if x.size(1) < len(self.table.weight):
            return x
        return x + self.table.weight.flip(0)


class TextTurned(FromTheEnd):
    def forward(self, x):
        return x.flip(1) + self.table.weight[: x.size(1)]


class InPlace(FromTheEnd):
    def forward(self, x):
        x += self.rows(x.size(1)).detach()
        return x


class RowsAlone(FromTheEnd):
    def forward(self, x):
        return self.rows(x.size(1)).expand_as(x)


class WithoutBatch(FromTheEnd):
    def forward(self, x):
        return x[0] + self.rows(x.size(1))


class ByTheBatch(FromTheEnd):
    """Takes the wrong dimension for the positions."""

    def forward(self, x):
        return x + self.rows(x.size(0))[:1]


class Detached(FromTheEnd):
    def rows(self, length):
        return self.table.weight.data[:length].flip(0)


class PartlyDetached(FromTheEnd):
    def rows(self, length):
        rows = self.table.weight[:length]
        return torch.cat([rows[:1], rows[1:].detach()]).flip(0)


class FrozenCopy(FromTheEnd):
    """Looks up what the table held when it was made."""

    def __init__(self, context_length, d_model):
        super().__init__(context_length, d_model)
        self.turned = self.table.weight.flip(0)

    def rows(self, length):
        return self.turned[-length:]


class DoubleRows(FromTheEnd):
    def rows(self, length):
        return super().rows(length).double()


class DetachedTokens(FromTheEnd):
    def forward(self, x):
        return x.detach() + self.rows(x.size(1))


class NotLearned(nn.Module):
    def __init__(self, context_length, d_model):
        super().__init__()
        self.table = torch.randn(context_length, d_model)

    def forward(self, x):
        return x + self.table[: x.size(1)].flip(0)


class TooManyRows(FromTheEnd):
    def __init__(self, context_length, d_model):
        super().__init__(context_length + 1, d_model)


def shifted(sign=1, step=None, factor=2, own_base=True, one_angle=False, apart=False):
    """The vectors of positions further on, with one mistake."""

    def shift(p, k, base=10_000):
        d, base, k = (
            p.size(-1),
            base if own_base else 10_000,
            k if step is None else step,
        )
        angles = k * base ** (-factor * torch.arange(d // 2) / d)
        angles = torch.full_like(angles, float(k)) if one_angle else angles
        s, c, sin, cos = p[..., 0::2], p[..., 1::2], angles.sin() * sign, angles.cos()
        turned = s * cos + c * sin, c * cos - s * sin
        if apart:
            return torch.cat(turned, dim=-1)
        return torch.stack(turned, dim=-1).flatten(-2)

    return shift


def shifted_halves(p, k, base=10_000):
    d = p.size(-1)
    angles = k * base ** (-torch.arange(0, d, 2) / d)
    s, c = p[..., : d // 2], p[..., d // 2 :]
    turned = s * angles.cos() + c * angles.sin(), c * angles.cos() - s * angles.sin()
    return torch.cat(turned, dim=-1)


def cosine_first(p, k, base=10_000):
    swapped = p.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return shifted()(swapped, k, base)


def shifted_in_place(p, k, base=10_000):
    p[..., :] = shifted()(p, k, base)
    return p


def not_joined(p, k, base=10_000):
    return shifted()(p, k, base).unflatten(-1, (-1, 2))


def added(p, k, base=10_000):
    angles = k * base ** (-torch.arange(0, p.size(-1), 2) / p.size(-1))
    return p + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def overwritten(p, k, base=10_000):
    angles = k * base ** (-torch.arange(0, p.size(-1), 2) / p.size(-1))
    q = p.clone()
    q[..., 0::2] = q[..., 0::2] * angles.cos() + q[..., 1::2] * angles.sin()
    q[..., 1::2] = q[..., 1::2] * angles.cos() - q[..., 0::2] * angles.sin()
    return q


def looked_up(p, k, base=10_000):
    """Finds the position in a table of whole positions, and takes a later row."""
    table = vectors(100, p.size(-1), base)
    return table[(p @ table.T).argmax(dim=-1) + k]


def flattened_too_far(p, k, base=10_000):
    return shifted()(p, k, base).flatten()


def vectors(n, d_model, base):
    frequencies = base ** (-torch.arange(0, d_model, 2) / d_model)
    angles = torch.arange(n).unsqueeze(1) * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def found(own_base=True, first=0, as_int=int, choose=torch.argmax, extra=0):
    """The position with one mistake."""

    def find(p, n, base=10_000):
        table = vectors(n + extra, len(p), base if own_base else 10_000)[first:]
        return as_int(choose(table @ p))

    return find


def by_the_fast_hand(p, n, base=10_000):
    return round(math.atan2(p[0], p[1]) % (2 * math.pi))


def by_the_slow_hand(p, n, base=10_000):
    frequency = base ** (-(len(p) - 2) / len(p))
    return round(math.atan2(p[-2], p[-1]) / frequency)


def by_equality(p, n, base=10_000):
    equal = (vectors(n, len(p), base) == p).all(dim=1)
    return int(equal.int().argmax())


def first_large(p, n, base=10_000):
    return int((vectors(n, len(p), base) @ p > 0.9 * len(p) / 2).int().argmax())


def along_the_wrong_dimension(p, n, base=10_000):
    return int((vectors(n, len(p), base) * p).sum(dim=0).argmax())


def with_a_fixed_base(p, n, base=500):
    return found()(p, n, base)


def rounded_in_place(p, n, base=10_000):
    p.round_()
    return found()(p, n, base)


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
        (sum_over_distances, "must have the shape"),
        (cosine_of_the_sum, "take the sum of the cosines"),
        (in_degrees, "Each hand adds cos"),
        (lambda d, b, n: similarity()(32, 10_000, n), "at distance 0 the answer is"),
        (lambda d, b, n: similarity()(d, 10_000, n), "whatever `base` is"),
        (lambda d, b, n: similarity()(d, b, n + 1), "must have the shape"),
        (lambda d, b, n: similarity()(d, b, n).tolist(), "must be a tensor"),
        (lambda d, b, n: similarity()(d, b, n).numpy(), "must be a tensor"),
        (lambda d, b, n: similarity()(d, b, n).round(), "Each hand adds cos"),
        (lambda d, b, n: None, "is a `return` missing"),
    ],
    "check_positions_from_the_end": [
        (FromTheFront, "counts from the front"),
        (WholeTableTurned, "take the first T rows first"),
        (LastRows, "row 0 belongs to the last vector"),
        (LastRowsTurned, "take the first T rows first"),
        (ColumnsTurned, "`flip(0)` turns their order"),
        (OffByOne, "must be added there"),
        (WholeTable, "You return `x` as it is"),
        (TextTurned, "the text comes out reversed"),
        (InPlace, "You changed `x` itself"),
        (RowsAlone, "you return the rows alone"),
        (WithoutBatch, "must have the shape"),
        (ByTheBatch, "must be added there"),
        (Detached, "leave out `detach`, `.data`"),
        (PartlyDetached, "rows that were added get no gradient"),
        (FrozenCopy, "exactly one row, as it is now"),
        (DoubleRows, "it must have that of x"),
        (DetachedTokens, "the tokens cannot learn"),
        (NotLearned, "nothing to learn"),
        (TooManyRows, "needs one table"),
        (lambda n, d: torch.zeros(n, d), "must be an nn.Module"),
    ],
    "check_shift_positions": [
        (shifted(sign=-1), "the other way"),
        (shifted(factor=1), "the 2 is missing"),
        (shifted(own_base=False), "whatever `base` is"),
        (shifted(one_angle=True), "each has its own frequency"),
        (shifted(apart=True), "interleave them"),
        (shifted(step=1), "move k"),
        (
            lambda p, k, base=10_000: shifted()(p, abs(k), base),
            "a negative k goes back",
        ),
        (overwritten, "take both from p"),
        (shifted_halves, "columns 0 and 1"),
        (cosine_first, "the sine comes first"),
        (shifted_in_place, "You changed `p` itself"),
        (not_joined, "join them with `flatten(-2)`"),
        (flattened_too_far, "must have the shape"),
        (added, "a shift is a rotation"),
        (looked_up, "k times its own frequency"),
        (lambda p, k, base=500: shifted()(p, k, base), "base=10000"),
        (lambda p, k, base=10_000: shifted()(p, k, base).tolist(), "must be a tensor"),
        (lambda p, k, base=10_000: shifted()(p, k, base).numpy(), "must be a tensor"),
    ],
    "check_find_position": [
        (by_the_fast_hand, "The fast hand alone"),
        (by_the_slow_hand, "The slow hand alone"),
        (by_equality, "Compare p with the vectors"),
        (first_large, "not the first large one"),
        (along_the_wrong_dimension, "you return"),
        (found(own_base=False), "whatever `base` is"),
        (with_a_fixed_base, "Without `base`"),
        (found(first=1), "One too few"),
        (found(choose=torch.argmin), "*smallest*"),
        (found(as_int=lambda t: t), "Return a Python int"),
        (found(as_int=float), "Return a Python int"),
        (found(as_int=lambda t: int(t) + 1), "Positions begin with 0"),
        (found(extra=-1), "you return"),
        (rounded_in_place, "You changed `p` itself"),
        (lambda p, n, base=10_000: None, "is a `return` missing"),
    ],
}
