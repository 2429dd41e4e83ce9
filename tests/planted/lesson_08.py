"""Wrong answers to the exercises of lesson 08, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_08.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import math

from torch.nn import functional as F


def exact_d_ff(d_model: int, d_ff: int) -> float:
    return (2 * d_model * d_ff + d_ff + d_model) / (3 * d_model)


def biased_d_ff(d_model: int, d_ff: int) -> int:
    return round((2 * d_model * d_ff + d_ff) / (3 * d_model + 2))


def tent(last: bool = True, down: float = -2.0, scale: bool = True, sign: float = -1.0):
    """The weights of a tent with one mistake in it."""

    def weights(centre, width):
        places = [centre - width, centre, centre + width]
        c = [1.0, down, 1.0]
        if not last:
            places, c = places[:2], c[:2]
        slope = 1 / width if scale else 1.0
        ones = [1.0] * len(c)
        return ones, [sign * place for place in places], [slope * y for y in c], 0.0

    return weights


def lifted_tent(centre, width):
    a, b, c, _ = tent()(centre, width)
    return a, b, c, 1.0


def uneven_tent(centre, width):
    return [1.0], [-centre, -width], [1.0], 0.0


def on(ffn, x):
    return ffn.up(x) > 0


def decides(
    sign: int = 1,
    other: bool = True,
    active: bool = True,
    relu: bool = False,
    total: bool = False,
):
    """The contributions of the units with one mistake in them."""

    def contributions(ffn, head, x, a, b):
        votes = head.weight @ ffn.down.weight
        bend = F.relu if relu else ffn.activation if active else lambda z: z
        given = sign * bend(ffn.up(x)) * (votes[a] - other * votes[b])
        return given.sum(dim=-1) if total else given

    return contributions


def votes_alone(ffn, head, x, a, b):
    vote = (head.weight[a] - head.weight[b]) @ ffn.down.weight
    return vote.expand(*x.shape[:-1], -1)


def biases_spread(ffn, head, x, a, b):
    bias = head(ffn.down.bias)
    return decides()(ffn, head, x, a, b) + (bias[a] - bias[b]) / ffn.up.out_features


def without_up_bias(ffn, head, x, a, b):
    votes = (head.weight[a] - head.weight[b]) @ ffn.down.weight
    return ffn.activation(x @ ffn.up.weight.T) * votes


WRONG = {
    "check_equal_d_ff": [
        (lambda d_model, d_ff: round(2 * d_ff / 3), "Count the biases"),
        (lambda d_model, d_ff: 2 * d_ff // 3, "Count the biases"),
        (lambda d_model, d_ff: d_ff, "third matrix"),
        (lambda d_model, d_ff: int(exact_d_ff(d_model, d_ff)), "You rounded down"),
        (lambda d_model, d_ff: math.ceil(exact_d_ff(d_model, d_ff)), "You rounded up"),
        (exact_d_ff, "nearest integer"),
        (biased_d_ff, "SwiGLU has none"),
    ],
    "check_tent_weights": [
        (tent(last=False), "never becomes level"),
        (tent(down=-1.0), "the changes of slope must sum to 0"),
        (tent(scale=False), "1 / width"),
        (tent(sign=1.0), "b = -p"),
        (lifted_tent, "Far to the left it must be 0"),
        (uneven_tent, "one number for each unit"),
        (lambda centre, width: [1.0, -2.0, 1.0], "Return four things"),
    ],
    "check_dead_units": [
        (lambda f, x: on(f, x).flatten(0, -2).any(0).sum().item(), "units that live"),
        (lambda f, x: (~on(f, x)).flatten(0, -2).any(0).sum().item(), "at *some*"),
        (lambda f, x: (~on(f, x)).sum().item(), "every pair"),
        (lambda f, x: (f.up(x) < 0).flatten(0, -2).all(0).sum(), "exactly 0 is off"),
        (lambda f, x: (~on(f, x)).flatten(0, -2).all(0).float().mean(), "a share"),
        (lambda f, x: (~on(f, x)).all(0).sum().item(), "flatten all but the last"),
        (lambda f, x: (~on(f, x)).flatten(0, -2).all(1).sum(), "ask the units"),
        (lambda f, x: (~on(f, x)).float().flatten(0, -2).mean(0).gt(0.5).sum(), "most"),
    ],
    "check_who_decides": [
        (decides(sign=-1), "other way round"),
        (decides(other=False), "vote for a alone"),
        (decides(active=False), "left out the activation"),
        (decides(relu=True), "use ffn.activation"),
        (decides(total=True), "do not sum over them"),
        (votes_alone, "how active the unit is"),
        (without_up_bias, "The bias of ffn.up is missing"),
        (biases_spread, "belong to no unit"),
    ],
}
