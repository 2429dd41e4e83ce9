"""Wrong answers to the exercises of lesson 16, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_16.py: three wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

import math
from collections import Counter
from functools import reduce

import torch


def entropy(*shares):
    return -sum(p * math.log(p) for p in shares if p > 0)


def lowest(top: bool = True, others: bool = True, apart: bool = False, base=math.e):
    """The lowest loss with one mistake in it."""

    def lowest_loss(smoothing, vocab_size):
        share = smoothing / vocab_size
        first = 1 - smoothing + share
        if apart:
            share, first = smoothing / (vocab_size - 1), 1 - smoothing
        parts = [first] * top + [share] * (vocab_size - 1) * others
        return entropy(*parts) / math.log(base)

    return lowest_loss


def one_too_many(smoothing, vocab_size):
    share = smoothing / vocab_size
    return entropy(1 - smoothing + share, *[share] * vocab_size)


def unguarded(smoothing, vocab_size):
    share = smoothing / vocab_size
    top = 1 - smoothing + share
    return -top * math.log(top) - (vocab_size - 1) * share * math.log(share)


def surprise_of_the_right(smoothing, vocab_size):
    return -math.log(1 - smoothing + smoothing / vocab_size)


def half_spread(smoothing, vocab_size):
    """Only the part that is spread counts, as if the target were uniform."""
    return smoothing * math.log(vocab_size)


def loss_at_one(smoothing, vocab_size):
    """The loss of a model that gives the right word all probability but a little."""
    return lowest()(smoothing, vocab_size) if vocab_size > 3 else 0.0


def runs(text, n):
    words = text.split()
    return Counter(zip(*(words[i:] for i in range(n))))


def matches(join, clip: bool = True, once: bool = False, words: bool = False):
    """Matches of runs with one mistake in it."""

    def run_matches(candidate, references, n):
        own, wanted = runs(candidate, n), join([runs(r, n) for r in references])
        if once:
            return len(own.keys() & wanted.keys()), len(own)
        found = (own & wanted).total()
        if not clip:
            found = sum(count for run, count in own.items() if run in wanted)
        return found, len(candidate.split()) if words else own.total()

    return run_matches


def largest(counters):
    return reduce(lambda a, b: a | b, counters, Counter())


def summed_matches(candidate, references, n):
    own = runs(candidate, n)
    return sum((own & runs(r, n)).total() for r in references), own.total()


def matches_backwards(candidate, references, n):
    return tuple(reversed(matches(largest)(candidate, references, n)))


def negative_matches(candidate, references, n):
    found, _ = matches(largest)(candidate, references, n)
    return found, len(candidate.split()) - n + 1


def matches_in_text(candidate, references, n):
    own = runs(candidate, n)
    found = sum(
        min(count, max(text.count(" ".join(run)) for text in references))
        for run, count in own.items()
    )
    return found, own.total()


def lower_matches(candidate, references, n):
    lower = [reference.lower() for reference in references]
    return matches(largest)(candidate.lower(), lower or [""], n)


def matches_up_to_four(candidate, references, n):
    return matches(largest)(candidate, references or [""], min(n, 4))


def some_matches(candidate, references, n):
    """Counts nothing where there is no reference, not even the candidate's runs."""
    return matches(largest)(candidate, references, n) if references else (0, 0)


def eating_matches(candidate, references, n):
    answer = matches(largest)(candidate, references, n)
    references.clear()
    return answer


def logs(
    shift: bool = True, soft: bool = True, pad_id=None, end: bool = True, total="sum"
):
    """A log probability with one mistake in it."""

    def log_probability(model, src, tgt):
        c = model.config
        read, wanted = (tgt[:, :-1], tgt[:, 1:]) if shift else (tgt, tgt)
        values = model(src, read)
        values = values.log_softmax(dim=-1) if soft else values
        values = values.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
        real = wanted != (c.pad_id if pad_id is None else pad_id)
        if not end:
            real = real & (wanted != c.eos_id)
        sums = (values * real).sum(dim=-1)
        return sums / real.sum(dim=-1) if total == "mean" else sums

    return log_probability


def log_of_softmax(model, src, tgt):
    p = model(src, tgt[:, :-1]).softmax(dim=-1).gather(-1, tgt[:, 1:, None])
    real = (tgt[:, 1:] != model.config.pad_id).unsqueeze(-1)
    return p.log().masked_fill(~real, 0.0).sum(dim=(1, 2))


def log_of_one(model, src, tgt):
    """Right for one target; of several it adds all up."""
    return logs()(model, src, tgt).sum().reshape(1)


def eating_logs(model, src, tgt):
    answer = logs()(model, src, tgt)
    tgt[tgt == model.config.pad_id] = 3
    return answer


def stutters(more: int = 0, skipped: int = 0, value: bool = True, any_row=False):
    """What is forbidden, with one mistake in it."""

    def forbidden(ids, vocab_size, n):
        n += more
        mask = torch.zeros(len(ids), vocab_size, dtype=torch.bool)
        for i, row in enumerate(ids.tolist()):
            start = row[max(0, len(row) - n + 1) :]
            for place in range(len(row) - n + 1 - skipped):
                if row[place : place + n - 1] == start:
                    mask[i, row[place + n - 1]] = True
        mask = mask.any(dim=0).expand_as(mask) if any_row else mask
        return mask if value else ~mask

    return forbidden


def first_row(ids, vocab_size, n, everywhere: bool):
    mask = stutters()(ids, vocab_size, n)
    if everywhere:
        return mask[:1].repeat(len(ids), 1)
    mask[1:] = False
    return mask


def all_that_were_there(ids, vocab_size, n):
    return torch.zeros(len(ids), vocab_size, dtype=torch.bool).scatter(1, ids, True)


def vocabulary_of_eight(ids, vocab_size, n):
    return stutters()(ids, 8, n)


def pairs_only(ids, vocab_size, n):
    return stutters()(ids, vocab_size, 2)


def changed_ids(ids, vocab_size, n):
    answer = stutters()(ids, vocab_size, n)
    ids[:, 0] = 0
    return answer


def minus_zero(ids, vocab_size, n):
    mask = torch.zeros(len(ids), vocab_size, dtype=torch.bool)
    for i, row in enumerate(ids.tolist()):
        start = row[-(n - 1) :]
        for place in range(len(row) - n + 1):
            if row[place : place + n - 1] == start:
                mask[i, row[place + n - 1]] = True
    return mask


WRONG = {
    "check_lowest_loss": [
        (lambda smoothing, vocab_size: 0.0, "Which probabilities"),
        (lambda smoothing, vocab_size: math.log(vocab_size), "knows nothing"),
        (surprise_of_the_right, "without its weight"),
        (lowest(others=False), "The other words are part"),
        (lowest(top=False), "The right word is part"),
        (lowest(apart=True), "also gets its share"),
        (lowest(base=2), "in bits"),
        (lambda s, v: -lowest()(s, v), "minus the logarithm"),
        (lambda s, v: lowest()(s, v) if s else math.nan, "0 times ln 0"),
        (unguarded, "0 times ln 0"),
        (one_too_many, "they are V - 1"),
        (half_spread, "Which probabilities"),
        (loss_at_one, "With smoothing=0.5 and 2 words"),
        (lambda s, v: torch.tensor(lowest()(s, v)), "You return a tensor"),
        (lambda s, v: f"{lowest()(s, v):.4f}", "must be a number"),
        (lambda s, v: round(lowest()(s, v), 3), "With smoothing"),
    ],
    "check_run_matches": [
        (matches(lambda counters: counters[0]), "only the first"),
        (matches(lambda counters: counters[-1]), "only the last"),
        (matches(lambda counters: sum(counters, Counter())), "not added up"),
        (matches(largest, clip=False), "at most as often"),
        (matches(lambda c: reduce(lambda a, b: a & b, c)), "*all* references"),
        (matches(largest, once=True), "counts twice"),
        (matches(largest, words=True), "runs of n words, not words"),
        (matches_backwards, "Matches first"),
        (summed_matches, "the best for each run"),
        (eating_matches, "changed the list"),
        (lambda *a: matches(largest)(*a)[0], "two integers"),
        (lambda *a: tuple(torch.tensor(matches(largest)(*a))), "two integers"),
        (negative_matches, "fewer than n words"),
        (matches_in_text, "Compare whole words"),
        (lower_matches, "Upper and lower case"),
        (matches_up_to_four, "also above 4"),
        (some_matches, "Without references"),
        (lambda *a: list(map(float, matches(largest)(*a))), "two integers"),
    ],
    "check_log_probability": [
        (logs(shift=False), "*after* it"),
        (logs(soft=False), "raw logits"),
        (logs(pad_id=-1), "Padding counts"),
        (logs(pad_id=0), "not always 0"),
        (logs(end=False), "<eos> counts"),
        (logs(total="mean"), "needs the sum"),
        (lambda *a: -logs()(*a), "at most 0"),
        (lambda *a: logs()(*a).exp(), "return its logarithm"),
        (lambda *a: logs()(*a).sum(), "must have the shape (3,)"),
        (lambda *a: logs()(*a).tolist(), "must be a tensor"),
        (lambda *a: logs()(*a).detach(), "no gradient reaches"),
        (log_of_softmax, "take log_softmax"),
        (log_of_one, "must have the shape (3,)"),
        (eating_logs, "You changed `src` or `tgt`"),
    ],
    "check_forbidden": [
        (stutters(value=False), "not for allowed"),
        (stutters(any_row=True), "its own past"),
        (lambda *a: first_row(*a, True), "Rows are independent"),
        (lambda *a: first_row(*a, False), "Rows are independent"),
        (stutters(more=1), "one token too many"),
        (stutters(skipped=1), "one place more"),
        (all_that_were_there, "every token that was there"),
        (minus_zero, "row[-0:]"),
        (lambda *a: stutters()(*a).float(), "Return bools"),
        (lambda *a: stutters()(*a).nonzero(), "tensor (B, V)"),
        (lambda *a: stutters()(*a).tolist(), "tensor (B, V)"),
        (vocabulary_of_eight, "Here that is (6, 3)"),
        (pairs_only, "that is n=2"),
        (changed_ids, "You changed `ids` itself"),
    ],
}
