"""Wrong answers to the exercises of lesson 04, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_04.py: wrong answers, each with
a few words of the message that it must get. The right answers are the solutions.
"""

import torch
from torch import nn
from torch.nn import functional as F


def counts(ids, vocab_size):
    return F.one_hot(ids, vocab_size).sum(dim=1).float()


def without_adding_up(ids, vocab_size):
    """Writes through an index, where equal places count once."""
    result = torch.zeros(len(ids), vocab_size)
    result[torch.arange(len(ids)).unsqueeze(1), ids] += 1
    return result


def counted_in_place(ids, vocab_size):
    result = counts(ids, vocab_size)
    ids.zero_()
    return result


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


def everything(vectors):
    return torch.ones(len(vectors), len(vectors))


mean_cosines = groups_of(unit_products, without_self)


def cosine_of_centres(vectors, groups):
    g = int(groups.max()) + 1
    return unit_products(torch.stack([vectors[groups == a].mean(0) for a in range(g)]))


def self_as_zero(vectors, groups):
    table = lambda v: unit_products(v) - torch.eye(len(v))
    return groups_of(table, everything)(vectors, groups)


def no_twins(vectors):
    return (unit_products(vectors) < 0.9999).float()


def scaled_in_place(vectors, groups):
    vectors /= vectors.norm(dim=-1, keepdim=True)
    return mean_cosines(vectors, groups)


def upper_half(vectors, groups):
    return mean_cosines(vectors, groups).triu()


def no_right_angles(vectors):
    return (unit_products(vectors).abs() > 1e-6) * without_self(vectors)


def nor_short_vectors(vectors):
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1)
    return unit @ unit.T


def without_any_diagonal(vectors, groups):
    cosines, result = unit_products(vectors), mean_cosines(vectors, groups)
    for a in range(len(result)):
        for b in range(len(result)):
            block = cosines[groups == a][:, groups == b]
            n, m = block.shape
            if n == m:
                result[a, b] = (block.sum() - block.trace()) / (n * n - n)
    return result


def sorted_groups(vectors, groups):
    return mean_cosines(vectors, groups.sort().values)


class Right(nn.Module):
    """The right model, for mistakes to inherit from."""

    activation = staticmethod(torch.tanh)

    def __init__(self, vocab_size, context_length, d_model, d_hidden, **biases):
        super().__init__()
        wide = context_length * d_model
        self.embed = nn.Embedding(vocab_size, d_model)
        self.hidden = nn.Linear(wide, d_hidden, bias=biases.get("d", True))
        self.head = nn.Linear(d_hidden, vocab_size, bias=biases.get("b", True))
        self.direct = nn.Linear(wide, vocab_size, bias=biases.get("w", False))

    def join(self, ids):
        return self.embed(ids).flatten(1)

    def forward(self, ids):
        x = self.join(ids)
        return self.head(self.activation(self.hidden(x))) + self.direct(x)


def with_biases(**biases):
    return lambda *sizes: Right(*sizes, **biases)


def with_activation(function):
    return type("Other", (Right,), {"activation": staticmethod(function)})


class NotAdded(Right):
    def forward(self, ids):
        return self.head(self.hidden(self.join(ids)).tanh())


class TanhOfVectors(Right):
    def join(self, ids):
        return super().join(ids).tanh()


class TanhInDirect(Right):
    def forward(self, ids):
        x = self.join(ids)
        return self.head(self.hidden(x).tanh()) + self.direct(x.tanh())


class Probabilities(Right):
    def forward(self, ids):
        return super().forward(ids).softmax(dim=-1)


class LogProbabilities(Right):
    def forward(self, ids):
        return super().forward(ids).log_softmax(dim=-1)


class Mixed(Right):
    def join(self, ids):
        return self.embed(ids).transpose(0, 1).reshape(len(ids), -1)


class NumberByNumber(Right):
    def join(self, ids):
        return self.embed(ids).transpose(1, 2).flatten(1)


class Backwards(Right):
    def join(self, ids):
        return super().join(ids.flip(1))


class EveryPlace(Right):
    def forward(self, ids):
        return super().forward(ids).unsqueeze(1).repeat(1, ids.size(1), 1)


class DetachedVectors(Right):
    def join(self, ids):
        return super().join(ids).detach()


class NoGradient(Right):
    def forward(self, ids):
        with torch.no_grad():
            return super().forward(ids)


class Scaled(Right):
    def forward(self, ids):
        return super().forward(ids) / 10


class WithPositions(Right):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__(vocab_size, context_length, d_model, d_hidden)
        self.places = nn.Parameter(torch.zeros(context_length, d_model))


class Normed(Right):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__(vocab_size, context_length, d_model, d_hidden)
        self.norm = nn.LayerNorm(context_length * d_model)

    def join(self, ids):
        return self.norm(super().join(ids))


class Padded(Right):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__(vocab_size, context_length, d_model, d_hidden)
        self.embed = nn.Embedding(vocab_size, d_model, padding_idx=0)


class Summed(Right):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__(vocab_size, 1, d_model, d_hidden)

    def join(self, ids):
        return self.embed(ids).sum(dim=1)


WRONG = {
    "check_bag": [
        (lambda ids, v: counts(ids, v).clamp(max=1), "counts twice"),
        (without_adding_up, "counts twice"),
        (lambda ids, v: F.one_hot(ids, v).float().mean(dim=1), "These are shares"),
        (lambda ids, v: counts(ids, v).sum(0).repeat(len(ids), 1), "the whole batch"),
        (lambda ids, v: counts(ids + 1, v + 1)[:, :v], "ids begin at 0"),
        (lambda ids, v: F.one_hot(ids).sum(dim=1).float(), "must have the shape"),
        (lambda ids, v: F.one_hot(ids, v).float(), "must have the shape"),
        (lambda ids, v: F.one_hot(ids, v).sum(dim=0).float(), "must have the shape"),
        (lambda ids, v: counts(ids, v).long(), "must have torch.float32"),
        (lambda ids, v: counts(ids, v).double(), "must have torch.float32"),
        (lambda ids, v: counts(ids, v).numpy(), "must be a tensor"),
        (lambda ids, v: counts(ids, v).tolist(), "must be a tensor"),
        (lambda ids, v: counts(ids[:, :-1], v), "Count every place"),
        (counted_in_place, "You changed `ids`"),
        (lambda ids, v: None, "is a `return` missing"),
    ],
    "check_mean_cosines": [
        (groups_of(unit_products, everything), "leave out the diagonal"),
        (self_as_zero, "the mean has fewer terms"),
        (groups_of(unit_products, no_twins), "by its place, not by its value"),
        (groups_of(lambda v: v @ v.T, without_self), "divide by both lengths"),
        (
            groups_of(lambda v: v @ v.T / v.square().sum(), without_self),
            "each row has a length of its own",
        ),
        (groups_of(lambda v: unit_products(v, 0), without_self), "the rows must be"),
        (cosine_of_centres, "not the mean of the cosines"),
        (lambda v, g: unit_products(v), "must have the shape"),
        (lambda v, g: mean_cosines(v, g).tolist(), "must be a tensor"),
        (lambda v, g: mean_cosines(v, g).numpy(), "must be a tensor"),
        (scaled_in_place, "You changed `vectors`"),
        (upper_half, "Only one half is filled"),
        (sorted_groups, "the mean over all pairs of rows"),
        (groups_of(unit_products, no_right_angles), "A right angle is a pair"),
        (groups_of(nor_short_vectors, without_self), "the entry"),
        (without_any_diagonal, "the diagonal of every block"),
    ],
    "check_neural_lm": [
        (with_activation(lambda h: h), "tanh between H and U is missing"),
        (with_activation(torch.relu), "not ReLU"),
        (with_activation(torch.sigmoid), "not a sigmoid"),
        (with_activation(F.gelu), "not GELU"),
        (with_activation(torch.square), "term by term"),
        (NotAdded, "is not added"),
        (TanhOfVectors, "not to the vectors"),
        (TanhInDirect, "starts from x"),
        (Probabilities, "no softmax"),
        (LogProbabilities, "log-softmax itself"),
        (Scaled, "term by term"),
        (Mixed, "different windows were mixed"),
        (NumberByNumber, "vector after vector"),
        (Backwards, "read backwards"),
        (EveryPlace, "must have the shape"),
        (DetachedVectors, "is something detached"),
        (NoGradient, "no gradient"),
        (WithPositions, "more parameters"),
        (Normed, "more parameters"),
        (Padded, "one row never learns"),
        (Summed, "Your hidden layer reads d_model"),
        (with_biases(w=True), "W has no bias"),
        (with_biases(b=False), "U needs its bias"),
        (with_biases(d=False), "H needs its bias"),
        (lambda v, t, d, h: nn.Embedding(v, v), "has no Embedding"),
    ],
}
