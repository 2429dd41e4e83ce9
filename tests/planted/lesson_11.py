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
    ], length.item()


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


def in_the_end(model, parts):
    """One `backward` after all parts: every graph is in memory at once."""
    model.zero_grad()
    losses = [next_token_loss(model, *p) * by_targets(parts, p[1]) for p in parts]
    sum(losses).backward()
    return sum(losses).item()


def keeps_graph(model, parts):
    model.zero_grad()
    total = 0.0
    for part in parts:
        loss = next_token_loss(model, *part) * by_targets(parts, part[1])
        loss.backward()
        total = total + loss
    return total


def left_on_eval(model, parts):
    model.eval()
    return accumulated(by_targets)(model, parts)


def padded(model, parts):
    """One batch with all rows, filled up with zeros that do not count."""
    model.zero_grad()
    width = max(y.size(1) for _, y in parts)
    pad = torch.nn.functional.pad
    x = torch.cat([pad(x, (0, width - x.size(1))) for x, _ in parts])
    y = torch.cat([pad(y, (0, width - y.size(1)), value=-1) for _, y in parts])
    loss = torch.nn.functional.cross_entropy(model(x)[y >= 0], y[y >= 0])
    loss.backward()
    return loss.item()


def zero_in_place(model, parts):
    for p in model.parameters():
        p.grad.zero_()
    return accumulated(by_targets, lambda m, first: False)(model, parts)


def pops_parts(model, parts):
    whole = list(parts)
    loss = accumulated(by_targets)(model, whole)
    parts.clear()
    return loss


def last_loss(model, parts):
    accumulated(by_targets)(model, parts)
    with torch.no_grad():
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


class Everything(averaging()):
    """Takes the whole state, buffers too."""

    def update(self, model):
        self.n += 1
        for name, p in model.state_dict().items():
            mean = self.means.get(name, torch.zeros_like(p, dtype=torch.float32))
            self.means[name] = self.old * mean + (1 - self.old) * p


class OnlyTrained(averaging()):
    """Leaves frozen parameters out."""

    def average(self):
        means = super().average()
        return {n: m for n, m in means.items() if n != "0.bias"}


class Grows:
    """Detaches what it returns, and keeps a graph that grows."""

    def __init__(self, decay):
        self.decay, self.n, self.means = decay, 0, {}

    def update(self, model):
        self.n += 1
        for name, p in model.named_parameters():
            mean = self.decay * self.means.get(name, 0.0) + (1 - self.decay) * p
            self.means[name] = mean

    def average(self):
        share = 1 - self.decay**self.n
        return {name: mean.detach() / share for name, mean in self.means.items()}


class HandsOut(averaging()):
    """Keeps what it returns, and returns it again."""

    def update(self, model):
        super().update(model)
        self.made = super().average()

    def average(self):
        return self.made


class Shared:
    """Keeps the means on the class, not on the object."""

    means, n = {}, 0

    def __init__(self, decay):
        self.decay = decay
        Shared.means, Shared.n = {}, 0

    def update(self, model):
        Shared.n += 1
        for name, p in model.named_parameters():
            old = Shared.means.get(name, torch.zeros_like(p))
            Shared.means[name] = self.decay * old + (1 - self.decay) * p.detach()

    def average(self):
        share = 1 - self.decay**Shared.n
        return {name: mean / share for name, mean in Shared.means.items()}


def with_norm(norm_of):
    """Clipping that decides by another length than that of all."""

    def clip_gradients(gradients, limit):
        n = math.sqrt(sum(g.square().sum().item() for g in gradients))
        factor = limit / n if norm_of(gradients, n, limit) else 1.0
        return [g * factor for g in gradients], n

    return clip_gradients


def norms(gradients):
    return [g.norm().item() for g in gradients]


def right_clip(gradients, limit):
    return with_norm(lambda gs, n, limit: n > limit)(gradients, limit)


def clip_with_eps(gradients, limit):
    n = math.sqrt(sum(g.square().sum().item() for g in gradients))
    return [g * min(1.0, limit / (n + 1e-3)) for g in gradients], n


def clip_to_double(gradients, limit):
    clipped, n = right_clip(gradients, limit)
    return [g.double() for g in clipped], n


def clip_to_float(gradients, limit):
    clipped, n = right_clip(gradients, limit)
    return [g.float() for g in clipped], n


def clip_generator(gradients, limit):
    clipped, n = right_clip(gradients, limit)
    return (g for g in clipped), n


def clip_tensor(gradients, limit):
    clipped, n = right_clip(gradients, limit)
    return clipped, torch.tensor(n)


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
        (
            lambda s, w: max(0.001, min((s + 1) / w, (w / (s + 1)) ** 0.5)),
            "no smallest factor",
        ),
        (lambda s, w: min((s + 1) // w, (w / (s + 1)) ** 0.5), "cuts off"),
        (
            lambda s, w: torch.tensor(min((s + 1) / w, (w / (s + 1)) ** 0.5)),
            "a Python float",
        ),
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
        (clip_flat, "each shape of the given ones"),
        (lambda gs, limit: [g / 2 for g in gs], "Return a pair"),
        (with_norm(lambda gs, n, limit: n > 1.0), "below the limit must stay"),
        (with_norm(lambda gs, n, limit: n**2 > limit), "below the limit must stay"),
        (with_norm(lambda gs, n, limit: n > 1.5 * limit), "compare the length of all"),
        (
            with_norm(lambda gs, n, limit: max(g.abs().max() for g in gs) > limit),
            "compare the length of all",
        ),
        (
            with_norm(lambda gs, n, limit: any(x > limit for x in norms(gs))),
            "compare the length of all",
        ),
        (
            with_norm(lambda gs, n, limit: sum(norms(gs)) > limit),
            "below the limit must stay",
        ),
        (clip_with_eps, "changes small gradients"),
        (clip_to_double, "each dtype"),
        (clip_to_float, "each dtype"),
        (clip_generator, "must be a list"),
        (clip_tensor, "a Python float"),
    ],
    "check_accumulate": [
        (accumulated(lambda parts, y: 1 / len(parts)), "mean of the means"),
        (accumulated(lambda parts, y: 1.0), "sum of the means"),
        (accumulated(lambda parts, y: len(y) / sum(len(b) for _, b in parts)), "rows"),
        (accumulated(lambda parts, y: y.numel()), "divide by their number"),
        (accumulated(by_targets, lambda m, first: True), "Only the last part"),
        (accumulated(by_targets, lambda m, first: False), "old gradients"),
        (accumulated(by_targets, step=True), "You changed the parameters"),
        (no_backward, "call `backward` for each part"),
        (last_loss, "the loss must be"),
        (lambda model, parts: None, "is a `return` missing"),
        (in_the_end, "in memory at once"),
        (keeps_graph, "a Python float"),
        (left_on_eval, "another mode"),
        (padded, "one by one"),
        (zero_in_place, "may be None at the start"),
        (pops_parts, "changed the parts"),
    ],
    "check_WeightAverage": [
        (averaging(corrected=False), "correction is missing"),
        (averaging(turned=True), "the *old* mean stays"),
        (averaging(from_first=True, corrected=False), "start at 0 and correct"),
        (averaging(late=1), "not one more"),
        (averaging(detached=False), "have a history"),
        (averaging(drifting=True), "must change nothing"),
        (Last, "same memory"),
        (PlainMean, "newer weights count more"),
        (Overwrites, "changed the model"),
        (Everything, "buffers"),
        (OnlyTrained, "A frozen parameter"),
        (Grows, "grows at each update"),
        (HandsOut, "changes the means themselves"),
        (Shared, "Two objects share"),
    ],
}
