"""Wrong answers to the exercises of lesson 11, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_11.py: three wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

import math

import torch

from lib.train import next_token_loss


def inverse_root(start: int = 1, pick=min, power: float = 0.5, rise: bool = True):
    """The schedule with one mistake in it."""

    def schedule(step, n_warmup):
        n = max(step + start, 1e-9)
        fall = (n_warmup / n) ** power
        return pick(n / n_warmup, fall) if rise else fall

    return schedule


def only_warm(step, n_warmup):
    return min(1.0, (step + 1) / n_warmup)


def not_scaled(step, n_warmup):
    return 1 / math.sqrt(step + 1) if step >= n_warmup else (step + 1) / n_warmup


def begins_anew(step, n_warmup):
    n = step + 1
    return min(n / n_warmup, 1 / math.sqrt(max(n - n_warmup, 1)))


def clip(
    length=lambda gs: math.sqrt(sum(g.square().sum().item() for g in gs)),
    always: bool = False,
    after: bool = False,
):
    """Clipping with one mistake in it."""

    def clip_gradients(gradients, limit):
        n = length(gradients)
        factor = limit / (n + 1e-12) if always or n > limit else 1.0
        return [g * factor for g in gradients], n * factor if after else n

    return clip_gradients


def clip_each(gradients, limit):
    clipped = [g * min(1.0, limit / max(g.norm().item(), 1e-12)) for g in gradients]
    return clipped, torch.cat([g.flatten() for g in gradients]).norm().item()


def clip_numbers(gradients, limit):
    length = torch.cat([g.flatten() for g in gradients]).norm().item()
    return [g.clamp(-limit, limit) for g in gradients], length


def clip_in_place(gradients, limit):
    length = torch.cat([g.flatten() for g in gradients]).norm().item()
    for g in gradients:
        g.mul_(min(1.0, limit / max(length, 1e-12)))
    return gradients, length


def clip_zeros(gradients, limit):
    length = torch.cat([g.flatten() for g in gradients]).norm()
    return [
        g * torch.clamp(limit / length, max=1) * length / length for g in gradients
    ], (length)


def clip_flat(gradients, limit):
    length = torch.cat([g.flatten() for g in gradients]).norm().item()
    return [g.flatten() for g in gradients], length


def accumulated(weigh, clear=lambda model, first: first, step: bool = False):
    """Accumulation with one mistake in it."""

    def accumulate(model, parts):
        total = 0.0
        for i, (inputs, targets) in enumerate(parts):
            if clear(model, i == 0):
                model.zero_grad()
            loss = next_token_loss(model, inputs, targets) * weigh(parts, targets)
            loss.backward()
            total += loss.item()
        if step:
            torch.optim.SGD(model.parameters(), 0.1).step()
        return total

    return accumulate


def by_targets(parts, targets):
    return targets.numel() / sum(y.numel() for _, y in parts)


def last_loss(model, parts):
    accumulated(by_targets)(model, parts)
    return sum(next_token_loss(model, *part).item() for part in parts)


def no_backward(model, parts):
    model.zero_grad()
    return sum(
        next_token_loss(model, *p).item() * by_targets(parts, p[1]) for p in parts
    )


def averaging(
    corrected: bool = True,
    turned: bool = False,
    from_first: bool = False,
    late: int = 0,
    detached: bool = True,
    drifting: bool = False,
):
    """A class with one mistake in it."""

    class WeightAverage:
        def __init__(self, decay):
            self.old = 1 - decay if turned else decay
            self.n, self.means = 0, {}

        def update(self, model):
            self.n += 1
            for name, p in model.named_parameters():
                p = p.detach() if detached else p
                first = p if from_first else torch.zeros_like(p)
                mean = self.means.get(name, first)
                self.means[name] = self.old * mean + (1 - self.old) * p

        def average(self):
            share = 1 - self.old ** (self.n + late) if corrected else 1.0
            self.n += drifting
            return {name: mean / share for name, mean in self.means.items()}

    return WeightAverage


class Last:
    def __init__(self, decay):
        self.seen = {}

    def update(self, model):
        self.seen = {name: p.detach() for name, p in model.named_parameters()}

    def average(self):
        return self.seen


class PlainMean:
    def __init__(self, decay):
        self.seen = []

    def update(self, model):
        named = model.named_parameters()
        self.seen.append({name: p.detach().clone() for name, p in named})

    def average(self):
        n = len(self.seen)
        return {name: sum(s[name] for s in self.seen) / n for name in self.seen[0]}


class Overwrites(Last):
    def update(self, model):
        super().update(model)
        for p in self.seen.values():
            p.mul_(0.9)


WRONG = {
    "check_inverse_root_schedule": [
        (inverse_root(start=0), "counted from 0"),
        (inverse_root(start=2), "one step ahead"),
        (inverse_root(pick=max), "the smaller of the two"),
        (inverse_root(power=1.0), "*root*"),
        (inverse_root(rise=False), "In the warm-up it must rise"),
        (only_warm, "only warms up"),
        (not_scaled, "1 at the end of the warm-up"),
        (begins_anew, "does not begin anew"),
    ],
    "check_clip_gradients": [
        (clip(always=True), "below the limit must stay"),
        (clip(after=True), "return the one before"),
        (clip(lambda gs: sum(g.norm().item() for g in gs)), "their squares do"),
        (clip(lambda gs: sum(g.square().sum().item() for g in gs)), "root is missing"),
        (clip(lambda gs: max(g.norm().item() for g in gs)), "longest single"),
        (clip_each, "by its own length"),
        (clip_numbers, "number by number"),
        (clip_in_place, "You changed the gradients"),
        (clip_zeros, "0 / 0"),
        (clip_flat, "the shapes of the given ones"),
        (lambda gs, limit: [g / 2 for g in gs], "Return a pair"),
    ],
    "check_accumulate": [
        (accumulated(lambda parts, y: 1 / len(parts)), "mean of the means"),
        (accumulated(lambda parts, y: 1.0), "sum of the means"),
        (accumulated(lambda parts, y: len(y) / sum(len(b) for _, b in parts)), "rows"),
        (accumulated(lambda parts, y: y.numel()), "divide by their number"),
        (accumulated(by_targets, lambda m, first: True), "Only the last part"),
        (accumulated(by_targets, lambda m, first: False), "old gradients"),
        (accumulated(by_targets, step=True), "You changed the parameters"),
        (no_backward, "is a `backward` missing"),
        (last_loss, "the loss must be"),
        (lambda model, parts: None, "is a `return` missing"),
    ],
    "check_WeightAverage": [
        (averaging(corrected=False), "correction is missing"),
        (averaging(turned=True), "the *old* mean stays"),
        (averaging(from_first=True, corrected=False), "start at 0 and correct"),
        (averaging(late=1), "not one more"),
        (averaging(detached=False), "detach them"),
        (averaging(drifting=True), "must change nothing"),
        (Last, "same memory"),
        (PlainMean, "newer weights count more"),
        (Overwrites, "changed the model"),
    ],
}
