"""Wrong answers to the exercises of lesson 06, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_06.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import math

import torch


def entropy(weights, dim=-1):
    return -torch.xlogy(weights, weights).sum(dim=dim)


def in_place(weights):
    return (-(weights.mul_(weights.clone().clamp(min=1e-30).log())).sum(-1)).exp()


def plain_log(weights):
    return (-(weights * weights.log()).sum(dim=-1)).exp()


def band(first: int = 0, extra: int = 0, future: bool = False):
    """A local mask that begins or ends in the wrong place."""

    def mask(length, window):
        back = torch.arange(length)[:, None] - torch.arange(length)
        if future:
            back = back.abs()
        return (back >= first) & (back < window + extra)

    return mask


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


def other(row):
    """Other random numbers, always the same ones."""
    return torch.randn(row.shape, generator=torch.Generator().manual_seed(7))


def any_number(difference):
    return difference.abs().amax(dim=-1) > 1e-6


def changed_rows(fresh: bool = True, copy: bool = True, new=other, moved=any_number):
    """Dependencies with one mistake in how rows are changed, or compared."""

    def dependencies(mix, x):
        before, columns = mix(x), []
        changed = x.clone() if copy else x
        for j in range(len(x)):
            changed = x.clone() if fresh else changed
            changed[j] = new(changed[j].clone())
            columns.append(moved(mix(changed) - before))
        return torch.stack(columns, dim=1)

    return dependencies


def first_number_only(row):
    row[0] += 1
    return row


def changed_columns(mix, x):
    before, columns = mix(x), []
    for j in range(x.size(1)):
        changed = x.clone()
        changed[:, j] += 1
        columns.append((mix(changed) - before).abs().amax(dim=-1) > 1e-6)
    return torch.stack(columns, dim=1)


def numbers_instead_of_bools(mix, x):
    return changed_rows()(mix, x).float()


def against_the_last(mix, x):
    """Compares with the output of the row before instead of the first one."""
    before, columns = mix(x), []
    for j in range(len(x)):
        changed = x.clone()
        changed[j] = other(changed[j])
        after = mix(changed)
        columns.append((after - before).abs().amax(dim=-1) > 1e-6)
        before = after
    return torch.stack(columns, dim=1)


def one_hot(shift: int = 1, scale: float = 20.0):
    """One-hot keys and queries, moved by a wrong number or of a wrong size."""

    def previous_token(length):
        k = torch.eye(length)
        rows = (torch.arange(length) - shift).clamp(0, length - 1)
        return scale * math.sqrt(length) * k[rows], k

    return previous_token


def not_enough_for_long(length):
    k = torch.eye(length)
    return 25 * k[(torch.arange(length) - 1).clamp(min=0)], k


def infinite(length):
    q, k = one_hot()(length)
    return q * math.inf, k


def whole_outputs(mix, x):
    answer, out = torch.zeros(len(x), len(x), dtype=torch.bool), mix(x)
    for j in range(len(x)):
        y = x.clone()
        y[j] = torch.randn(x.size(1))
        answer[:, j] = not torch.allclose(mix(y), out)
    return answer


def five_by_five(mix, x):
    return changed_rows()(mix, x)[:5, :5]


WRONG = {
    "check_effective_positions": [
        (entropy, "That is the entropy itself"),
        (lambda w: entropy(w).exp().squeeze(), "must have the shape (1, 1)"),
        (plain_log, "NaN: 0 times"),
        (lambda w: (-entropy(w)).exp(), "The sign is the other way round"),
        (lambda w: 2 ** entropy(w), "not 2 to the power"),
        (lambda w: (w > 0).sum(dim=-1), "small ones must count less"),
        (lambda w: 1 / w.square().sum(dim=-1), "another such measure"),
        (lambda w: 1 / w.amax(dim=-1), "looks at one position only"),
        (lambda w: entropy(w).mean().exp(), "must have the shape"),
        (lambda w: entropy(w, dim=-2).exp(), "must have the shape"),
        (lambda w: None, "is a `return` missing"),
        (
            lambda w: entropy(w).exp().tolist(),
            "must be a tensor; yours has the type list",
        ),
        (lambda w: entropy(w).exp().numpy(), "yours has the type ndarray"),
        (lambda w: entropy(w).exp().round().int(), "For the weights"),
        (in_place, "You changed `weights` itself"),
        (lambda w: 1 + entropy(w), "For the weights"),
        (lambda w: entropy(w.clamp(min=1e-2)).exp(), "For the weights"),
    ],
    "check_local_mask": [
        (band(future=True), "The future is open"),
        (lambda n, w: ~causal(n).tril(-w), "may not look at later ones"),
        (band(extra=1), "One too many"),
        (band(extra=-1), "One too few"),
        (band(first=1), "position itself is missing"),
        (lambda n, w: band()(n, w).T, "Rows and columns are exchanged"),
        (lambda n, w: ~band()(n, w), "true is where looking is *allowed*"),
        (lambda n, w: causal(n), "leave out what is too far back"),
        (lambda n, w: causal(n).tril(-w), "You kept what is too far back"),
        (lambda n, w: band()(n, w).float(), "a mask is torch.bool"),
        (lambda n, w: band()(w, w), "must have the shape"),
        (lambda n, w: band()(n, w).tolist(), "yours has the type list"),
        (lambda n, w: band()(n, 2), "row"),
    ],
    "check_dependencies": [
        (lambda mix, x: changed_rows()(mix, x).T, "Rows and columns are exchanged"),
        (lambda mix, x: ~changed_rows()(mix, x), "true is where something changes"),
        (changed_rows(fresh=False), "a fresh copy of x"),
        (changed_rows(fresh=False, copy=False), "You changed `x` itself"),
        (
            changed_rows(moved=lambda d: d.abs().amax(dim=-1) > 0.1),
            "You missed a change",
        ),
        (changed_rows(new=lambda row: row + 1), "adding the same"),
        (changed_rows(new=first_number_only), "Replace the row by random numbers"),
        (changed_rows(moved=lambda d: (d != 0).all(-1)), "in any number"),
        (changed_rows(moved=lambda d: d.sum(-1).abs() > 1e-6), "in any number"),
        (changed_columns, "must have the shape (5, 5)"),
        (numbers_instead_of_bools, "it must be torch.bool"),
        (lambda mix, x: changed_rows()(mix, x).tolist(), "yours has the type list"),
        (lambda mix, x: torch.ones(5, 5).tril().bool(), "depend on row"),
        (changed_rows(new=lambda row: 2 * row), "You missed a change"),
        (changed_rows(new=lambda row: -row), "You missed a change"),
        (changed_rows(new=lambda row: row.flip(0)), "You missed a change"),
        (whole_outputs, "compare row by row"),
        (five_by_five, "must have the shape (7, 7)"),
        (against_the_last, "Compare with the output for `x` itself"),
    ],
    "check_previous_token": [
        (one_hot(shift=0), "It looks at itself"),
        (one_hot(shift=-1), "look at the *next* position"),
        (one_hot(scale=1.0), "make the scores larger"),
        (not_enough_for_long, "a longer text has more rivals"),
        (infinite, "The weights are NaN"),
        (one_hot(shift=2), "position i - 1 alone"),
        (lambda n: one_hot()(n)[0], "Return a pair"),
        (lambda n: one_hot()(n + 1), "must be a tensor of shape"),
        (lambda n: [w.tolist() for w in one_hot()(n)], "of the type list"),
        (lambda n: one_hot()(8), "must be a tensor of shape"),
        (lambda n: (one_hot()(n)[0], one_hot()(n)[0]), "position i - 1 alone"),
    ],
}
