"""Wrong answers to the exercises of lesson 08, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_08.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import math

import torch
from torch.nn import functional as F


def exact_d_ff(d_model: int, d_ff: int) -> float:
    return (2 * d_model * d_ff + d_ff + d_model) / (3 * d_model)


def with_biases(d_model: int, d_ff: int) -> int:
    return round((2 * d_model * d_ff + d_ff) / (3 * d_model + 2))


def tent(
    last: bool = True,
    down: float = -2.0,
    scale: bool = True,
    sign: float = -1.0,
    change=lambda number: number,
):
    """The weights of a tent with one mistake in it."""

    def weights(centre, width):
        centre = change(centre)
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


def list_for_d(centre, width):
    return *tent()(centre, width)[:3], [0.0]


def number_for_a(centre, width):
    return 1.0, *tent()(centre, width)[1:]


def on(ffn, x):
    return ffn.up(x) > 0


def dead(ffn, x):
    return int((~on(ffn, x).reshape(-1, ffn.up.out_features).any(dim=0)).sum())


def centres_x(ffn, x):
    right = dead(ffn, x)
    x -= x.mean()
    return right


def clears_bias(ffn, x):
    right = dead(ffn, x)
    ffn.up.bias.data.zero_()
    return right


def columns(ffn, x):
    return (~on(ffn, x)).reshape(-1, ffn.up.out_features)


def three_dimensions_only(ffn, x):
    return int((~on(ffn, x)).all(dim=0).all(dim=0).sum()) if x.dim() > 1 else 0


def average(ffn, x):
    return int((ffn.up(x).reshape(-1, ffn.up.out_features).mean(dim=0) <= 0).sum())


def silent_output(ffn, x):
    return int((ffn(x).reshape(-1, x.size(-1)) <= 0).all(dim=0).sum())


def decides(
    sign: int = 1,
    other: float = -1.0,
    active: bool = True,
    function=None,
    total: bool = False,
):
    """The contributions of the neurons with one mistake in them."""

    def contributions(ffn, head, x, a, b):
        votes = head.weight @ ffn.down.weight
        phi = function or (ffn.activation if active else lambda z: z)
        given = sign * phi(ffn.up(x)) * (votes[a] + other * votes[b])
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


def row_in_place(ffn, head, x, a, b):
    difference = head.weight.data[a]
    difference -= head.weight.data[b]
    return ffn.activation(ffn.up(x)) * (difference @ ffn.down.weight)


def x_in_place(ffn, head, x, a, b):
    right = decides()(ffn, head, x, a, b)
    x.clamp_(min=0)
    return right


def shown_ids_only(ffn, head, x, a, b):
    return decides()(ffn, head, x, 5, 2)


WRONG = {
    "check_equal_d_ff": [
        (lambda d_model, d_ff: round(2 * d_ff / 3), "Count the biases too: there"),
        (lambda d_model, d_ff: 2 * d_ff // 3, "Count the biases too, and round"),
        (lambda d_model, d_ff: d_ff, "third matrix"),
        (lambda d_model, d_ff: round(1.5 * d_ff), "SwiGLU must be narrower"),
        (lambda d_model, d_ff: int(exact_d_ff(d_model, d_ff)), "You rounded down"),
        (lambda d_model, d_ff: math.ceil(exact_d_ff(d_model, d_ff)), "You rounded up"),
        (lambda d_model, d_ff: round((2 * d_ff + d_ff / d_model) / 3), "bias of down"),
        (lambda d_model, d_ff: round((2 * d_ff + 1) / 3), "bias of up"),
        (with_biases, "You gave the SwiGLU biases"),
        (exact_d_ff, "must be an int; yours has the type float"),
        (lambda d_model, d_ff: str(round(exact_d_ff(d_model, d_ff))), "type str"),
        (lambda d_model, d_ff: torch.tensor(exact_d_ff(d_model, d_ff)).round(), "Tens"),
        (lambda d_model, d_ff: 172, "You return 172"),
    ],
    "check_tent_weights": [
        (tent(last=False), "never becomes level"),
        (tent(down=-1.0), "the changes of slope must sum to 0"),
        (tent(scale=False), "1 / width"),
        (tent(sign=1.0), "b = -p"),
        (tent(change=int), "may be any numbers"),
        (tent(change=math.floor), "may be any numbers"),
        (lambda centre, width: tent()(centre, width / 2), "yours does nearer"),
        (lambda centre, width: tent()(centre, 2 * width), "yours does further out"),
        (lifted_tent, "Far to the left it must be 0"),
        (uneven_tent, "one number for each neuron"),
        (list_for_d, "d must be a number"),
        (number_for_a, "a must be a list"),
        (lambda centre, width: [1.0, -2.0, 1.0], "Return four things"),
        (lambda centre, width: None, "is a `return` missing"),
    ],
    "check_dead_units": [
        (lambda f, x: int((~columns(f, x)).any(0).sum()), "neurons that live"),
        (lambda f, x: int(columns(f, x).any(0).sum()), "at *some*"),
        (lambda f, x: int(columns(f, x).sum()), "every pair"),
        (lambda f, x: int((f.up(x) < 0).flatten(0, -2).all(0).sum()), "exactly 0"),
        (lambda f, x: columns(f, x).all(0).float().mean().item(), "must be an int"),
        (lambda f, x: columns(f, x).all(0).sum(), "yours has the type Tensor"),
        (lambda f, x: int((~on(f, x)).all(0).sum()), "bring ffn.up(x) to (N, F)"),
        (lambda f, x: int(columns(f, x).all(1).sum()), "ask the neurons"),
        (lambda f, x: int(columns(f, x).float().mean(0).gt(0.5).sum()), "at most"),
        (lambda f, x: int(columns(f, x).float().mean(0).gt(0.9).sum()), "somewhere"),
        (average, "Silent on average"),
        (lambda f, x: int(columns(f, x)[0].sum()), "first position alone"),
        (three_dimensions_only, "you count 0"),
        (silent_output, "Look at ffn.up(x)"),
        (lambda f, x: int((~on(f, x).flatten(0, -2).any(0)).sum()), "a single vector"),
        (centres_x, "You changed x"),
        (clears_bias, "or the network itself"),
    ],
    "check_who_decides": [
        (decides(sign=-1), "other way round"),
        (decides(other=0.0), "vote for a alone"),
        (decides(other=1.0), "You added the two votes"),
        (decides(active=False), "activation function is missing"),
        (decides(function=F.relu), "use ffn.activation"),
        (decides(function=F.gelu), "use ffn.activation"),
        (decides(total=True), "Sum over no neuron"),
        (votes_alone, "multiply by the activation"),
        (without_up_bias, "The bias of ffn.up is missing"),
        (biases_spread, "it belongs to none"),
        (row_in_place, "You changed x, the network or the head"),
        (x_in_place, "You changed x, the network or the head"),
        (shown_ids_only, "With a=0 and b=7"),
        (lambda *given: decides()(*given).tolist(), "yours has the type list"),
    ],
}
