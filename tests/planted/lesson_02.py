"""Wrong answers to the exercises of lesson 02, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_02.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import math

import torch


def smoothed(dim=1, early: bool = False, once: bool = False, keepdim: bool = True):
    """Smoothing with one mistake in it."""

    def probabilities(counts, alpha):
        added = counts + (alpha > 0) if once else counts + alpha
        total = (counts if early else added).sum(dim=dim, keepdim=keepdim)
        return added / total

    return probabilities


def smoothed_in_place(counts, alpha):
    counts += int(alpha) + 1
    return counts / counts.sum(dim=1, keepdim=True)


def gradient_times(factor: float, by_total: bool = False):
    """The right gradient, times a factor."""

    def gradient(logits, counts):
        rows = counts.sum(dim=1, keepdim=True) * logits.softmax(dim=1)
        return factor * (rows - counts) / (1 if by_total else counts.sum())

    return gradient


def unweighted(logits, counts):
    rows = counts.sum(dim=1, keepdim=True).clamp(min=1)
    return logits.softmax(dim=1) - counts / rows


def by_backward(logits, counts):
    (-(counts * logits.log_softmax(dim=1)).sum() / counts.sum()).backward()
    return logits.grad


def seen_pairs_only(logits, counts):
    return gradient_times(1.0)(logits, counts) * (counts > 0)


def plain_exponentials(logits, counts):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return (counts.sum(dim=1, keepdim=True) * p - counts) / counts.sum()


def weighted_rows(logits, counts):
    rows = counts.sum(dim=1, keepdim=True)
    return (logits.softmax(dim=1) - counts / rows) * rows / counts.sum()


def wrong_axis(logits, counts):
    rows = counts.sum(dim=1, keepdim=True)
    return (rows * logits.softmax(dim=0) - counts) / counts.sum()


def no_column(logits, counts):
    return (counts.sum(dim=1) * logits.softmax(dim=1) - counts) / counts.sum()


def trigrams(dim=-1, total: bool = False, add: float | None = None, keepdim=True):
    """A trigram loss with one mistake in it."""

    def loss(train_ids, other_ids, vocab_size, alpha):
        start = float(alpha if add is None else add)
        counts = torch.full((vocab_size,) * 3, start, dtype=torch.double)
        for a, b, c in zip(train_ids[:-2], train_ids[1:-1], train_ids[2:]):
            counts[a, b, c] += 1
        p = counts / counts.sum(dim=dim, keepdim=keepdim)
        surprise = -p[other_ids[:-2], other_ids[1:-1], other_ids[2:]].log()
        return (surprise.sum() if total else surprise.mean()).item()

    return loss


WRONG = {
    "check_most_likely_next": [
        (lambda n, t, c: t.characters[n[:, t.ids[c]].argmax()], "what comes *before*"),
        (lambda n, t, c: int(n[t.ids[c]].argmax()), "has the id i"),
        (
            lambda n, t, c: t.characters[n[t.ids[c]].argmin()],
            "own row",
        ),
        (lambda n, t, c: n[t.ids[c]].argmax(), "the type Tensor"),
        (lambda n, t, c: "b", "the answer is"),
        (
            lambda n, t, c: t.characters[(n / n.sum(1))[t.ids[c]].argmax()],
            "own row",
        ),
        (
            lambda n, t, c: t.characters[(n + n.T)[t.ids[c]].argmax()],
            "the answer is",
        ),
        (lambda n, t, c: t.characters[n.sum(dim=0).argmax()], "after"),
        (lambda n, t, c: t.characters[n[t.ids[c]].mul_(2).argmax()], "only read it"),
    ],
    "check_smoothed_probabilities": [
        (smoothed(dim=0), "Each column sums to 1"),
        (smoothed(early=True), "Add alpha first"),
        (smoothed(once=True), "You added 1, not alpha"),
        (smoothed(keepdim=False), "keepdim=True"),
        (smoothed(dim=(0, 1)), "whole table sums to 1"),
        (smoothed_in_place, "You changed `counts` itself"),
        (lambda n, a: smoothed()(n, a).tolist(), "yours has the type list"),
        (lambda n, a: smoothed()(n, a)[:, :2], "must have the shape (3, 3)"),
        (lambda n, a: (n / n.sum(1, keepdim=True)).nan_to_num(1 / 3), "every count"),
        (lambda n, a: (n + a).softmax(dim=1), "every count"),
        (lambda n, a: smoothed()(n.T, a), "the transposed counts"),
        (lambda n, a: (n + a) / (n.sum(1, keepdim=True) + 3 * a), "must sum to 1"),
        (lambda n, a: smoothed()(n, min(a, 1)), "You added 1, not alpha"),
    ],
    "check_bigram_gradient": [
        (gradient_times(-1.0), "sign is the other way round"),
        (gradient_times(1.0, by_total=True), "gradient of the sum"),
        (weighted_rows, "0 / 0"),
        (unweighted, "a row with more pairs must weigh more"),
        (lambda z, n: unweighted(z, n) / len(n), "not over rows"),
        (by_backward, "without backward()"),
        (seen_pairs_only, "A pair that never came"),
        (plain_exponentials, "take softmax"),
        (wrong_axis, "dim=1"),
        (lambda z, n: None, "is a `return` missing"),
        (no_column, "keepdim=True"),
        (lambda z, n: gradient_times(1.0)(z, n).tolist(), "the type list"),
        (lambda z, n: z.softmax(1) - n / n.sum(), "a sum over rows"),
        (lambda z, n: gradient_times(1.0)(z, n.add_(0).clamp_(max=5)), "You changed"),
    ],
    "check_trigram_loss": [
        (trigrams(dim=0), "by their own sum over the last dimension"),
        (trigrams(keepdim=False), "keepdim=True keeps the sums"),
        (lambda a, b, v, s: -trigrams()(a, b, v, s), "The sign is missing"),
        (lambda a, b, v, s: math.exp(trigrams()(a, b, v, s)), "the perplexity"),
        (trigrams(dim=1), "middle dimension sums to 1"),
        (trigrams(dim=(0, 1, 2)), "whole table sums to 1"),
        (trigrams(total=True), "not the sum"),
        (trigrams(add=0), "probability 0: add alpha"),
        (trigrams(add=1), "You added 1, not alpha"),
        (lambda a, b, v, s: trigrams()(a, a, v, s), "judge other_ids"),
        (lambda a, b, v, s: trigrams()(a, b, v, s) / 0.6931472, "in bits"),
        (lambda a, b, v, s: str(trigrams()(a, b, v, s)), "must be a number"),
    ],
}
