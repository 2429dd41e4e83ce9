"""The checks of the exercises in lesson 08, feed-forward networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.checks import Mistake, exercise, expect, hint_for_tensor, returned
from lib.ffn import FeedForward

__all__ = [
    "check_equal_d_ff",
    "check_tent_weights",
    "check_dead_units",
    "check_who_decides",
]


def _integer(answer: object, what: str) -> int:
    """Return the reader's integer; `Mistake` where it is none."""
    answer = returned(answer)
    kind = type(answer).__name__
    expect(
        isinstance(answer, int) and not isinstance(answer, bool),
        f"{what} must be an int; yours has the type {kind}. `round(x)` makes an int of "
        "a float, `x.item()` a Python number of a tensor.",
    )
    return answer


def _expect_unchanged(before: list[Tensor], after: list[Tensor], what: str) -> None:
    """Expect that the reader's function left its inputs alone."""
    same = all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    expect(same, f"You changed {what}; work on a copy, or change nothing in place.")


SIZES = ((64, 256), (12, 48), (768, 3072), (9, 84), (19, 73), (12, 44))


def _count(d_model: int, d_ff: int) -> int:
    """Return the parameters of a `FeedForward`."""
    return 2 * d_model * d_ff + d_ff + d_model


def _d_ff_mistakes(D: int, F: int) -> dict[str, int]:
    """Return what mistakes would give, for a `FeedForward` of these sizes."""
    return {
        "That is the d_ff of the other network: SwiGLU has a third matrix.": F,
        "The wrong way round: SwiGLU must be narrower.": round(3 * F / 2),
        "Count the biases too: there are d_ff + d_model of them.": round(2 * F / 3),
        "Count the biases too, and round to the nearest integer.": 2 * F // 3,
        "The bias of down is missing: d_model numbers.": round(
            (2 * D * F + F) / (3 * D)
        ),
        "The bias of up is missing: d_ff numbers.": round((2 * D * F + D) / (3 * D)),
        "You gave the SwiGLU biases; it has none.": round(
            (2 * D * F + F) / (3 * D + 2)
        ),
        "You rounded down; take the nearest integer.": _count(D, F) // (3 * D),
        "You rounded up; take the nearest integer.": -(-_count(D, F) // (3 * D)),
    }


def _fitting(given: list[int], mistakes: list[dict[str, int]], otherwise: str) -> str:
    """Return the words of the mistake that explains every answer."""
    for words in mistakes[0]:
        if given == [of_case[words] for of_case in mistakes]:
            return words
    return otherwise


@exercise
def check_equal_d_ff(equal_d_ff) -> str:
    """Takes a function of d_model, d_ff."""
    given = [_integer(equal_d_ff(*size), "d_ff") for size in SIZES]
    otherwise = "Set the two counts equal, and solve for the d_ff of the SwiGLU."
    hint = _fitting(given, [_d_ff_mistakes(*size) for size in SIZES], otherwise)
    for (d_model, d_ff), yours in zip(SIZES, given, strict=True):
        nearest = round(_count(d_model, d_ff) / (3 * d_model))
        expect(
            yours == nearest,
            f"FeedForward({d_model}, {d_ff}) has {_count(d_model, d_ff):,} parameters; "
            f"SwiGLU({d_model}, {nearest}) comes nearest with "
            f"{3 * d_model * nearest:,}. You return {yours}. {hint}",
        )
    return "Fair to within half a neuron, for networks of six sizes."


def _numbers(part: object, name: str) -> Tensor:
    """Return a list of the reader's as a tensor; `Mistake` where it is none."""
    try:
        numbers = torch.as_tensor(part, dtype=torch.double)
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.zeros(0, 0)
    kind = type(part).__name__
    expect(
        numbers.dim() == 1,
        f"{name} must be a list with one number for each neuron; yours is a {kind}.",
    )
    return numbers


def _as_function(answer: object) -> Callable[[Tensor], Tensor]:
    """Look at the form of a, b, c, d and return the function that they make."""
    expect(
        isinstance(returned(answer), tuple | list) and len(answer) == 4,
        "Return four things: `return a, b, c, d`.",
    )
    parts = zip(answer[:3], "abc", strict=True)
    a, b, c = (_numbers(part, name) for part, name in parts)
    d, sizes = answer[3], [len(part) for part in (a, b, c)]
    expect(
        len(set(sizes)) == 1,
        f"a, b and c need one number for each neuron each; they have {sizes}.",
    )
    expect(
        isinstance(d, int | float) or (isinstance(d, Tensor) and d.dim() == 0),
        f"d must be a number; yours has the type {type(d).__name__}.",
    )
    return lambda x: float(d) + (a * x[:, None] + b).clamp(min=0) @ c


def _tent_mistake(f: Callable[[Tensor], Tensor], centre: float, width: float) -> str:
    """Name what is wrong with a tent, from what it does."""
    places = [centre - 50 * width, centre + 50 * width, centre + 100 * width]
    left, right, further = f(torch.tensor(places).double()).tolist()
    tops = [centre, -centre, math.floor(centre), math.trunc(centre)]
    top, mirrored, *integers = f(torch.tensor(tops).double()).tolist()
    if abs(left) > 1e-6:
        return "Far to the left it must be 0: what do d and your neurons give there?"
    if abs(right - further) > 1e-6:
        return (
            "To the right it never becomes level: the changes of slope must sum to 0. "
            "Is there a neuron that begins at centre + width?"
        )
    if abs(right) > 1e-6:
        return "It becomes level on the right, but not at 0: the second slope is wrong."
    near = f(torch.tensor([centre - width / 2, centre + width / 2]).double())
    if abs(top - 1) < 1e-6 and abs(near[0] - near[1]) < 1e-6 < abs(near[0] - 0.5):
        side = "nearer" if near[0] < 0.5 else "further out"
        tops = f(torch.tensor([centre - width / 4, centre + width / 4]).double())
        if (tops > 0.99).all():
            return "It is level around the centre; it must fall to both sides."
        return f"It must reach 0 at centre ± width; yours does {side}."
    if min(abs(top - width), abs(top - width**2)) < 1e-6:
        return "The height must be 1 for every width: the slopes are 1 / width."
    if abs(mirrored - 1) < 1e-6:
        return "Your tent stands at -centre: a neuron that begins at p has b = -p."
    if any(abs(height - 1) < 1e-6 for height in integers):
        return "Your tent stands at an integer; centre and width may be any numbers."
    return "At which places does the slope of a tent change, and by how much?"


@exercise
def check_tent_weights(tent_weights) -> str:
    """Takes a function of centre, width."""
    places = torch.linspace(-12, 12, 481).double()
    for centre, width in (
        (0.0, 1.0),
        (2.0, 0.5),
        (-3.0, 4.0),
        (0.73, 2.25),
        (-1.6, 0.85),
    ):
        f = _as_function(tent_weights(centre, width))
        x = torch.cat([places, torch.tensor([centre, -100.0, 100.0]).double()])
        right = (1 - (x - centre).abs() / width).clamp(min=0)
        worst = (f(x) - right).abs().nan_to_num(torch.inf).argmax()
        expect(
            torch.allclose(f(x), right, atol=1e-5),
            f"With centre={centre:g} and width={width:g}, f({x[worst]:.2f}) is "
            f"{f(x)[worst]:.5g} and should be {right[worst]:.5g}. "
            + _tent_mistake(f, centre, width),
        )
    return "Add enough tents, and you can draw any curve."


def _half_dead_network(d_model: int, d_ff: int) -> FeedForward:
    """Return a network with neurons that are dead, always active, or always at 0."""
    ffn = FeedForward(d_model, d_ff, activation=F.relu)
    generator = torch.Generator().manual_seed(d_ff)
    for parameter in ffn.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    ffn.up.bias.data[: d_ff // 3] = -50.0
    ffn.up.bias.data[d_ff // 3 : d_ff // 2] = 50.0
    ffn.up.weight.data[-1], ffn.up.bias.data[-1] = 0.0, 0.0  # its input is exactly 0
    return ffn.requires_grad_(False)


def _dead_mistakes(inputs: Tensor) -> dict[str, int]:
    """Return what mistakes would count; inputs ``(..., F)``."""
    rows = inputs.reshape(-1, inputs.size(-1))  # (N, F)
    off = rows <= 0
    several = "x has more than two dimensions here: bring ffn.up(x) to (N, F)."
    if inputs.dim() == 1:
        several = "x is a single vector here: `reshape(-1, F)` makes (1, F) of it."
    counts = {
        "That is the number of neurons that live.": off.all(0).logical_not(),
        "You counted neurons that are silent at *some* position; dead means at all.": (
            off.any(0)
        ),
        "You counted every pair of a position and a silent neuron.": off,
        several: (inputs <= 0).all(0),
        "You asked the positions; ask the neurons, one column each.": off.all(1),
        "A neuron whose input is exactly 0 is not above 0: it is dead, too.": (
            rows < 0
        ).all(0),
        "Silent at most positions is not dead; dead is silent at all of them.": (
            off.float().mean(0) > 0.5
        ),
        "Silent on average is not dead: look at each position.": rows.mean(0) <= 0,
        "The first position alone says nothing: ask all of them.": off[0],
    }
    return {words: int(counted.sum()) for words, counted in counts.items()}


@exercise
def check_dead_units(dead_units) -> str:
    """Takes a function of ffn, x."""
    _judge_dead(dead_units, {(4,): 41, (5, 30): 60, (2, 3, 2): 33})
    try:
        _judge_dead(dead_units, {(): 24})
    except (IndexError, RuntimeError) as error:
        raise Mistake(
            "With x of shape (5,), a single vector, your code raised "
            f"{type(error).__name__}; `reshape(-1, F)` makes (N, F) of any shape."
        ) from error
    return "It counts on any shape."


def _judge_dead(dead_units, cases: dict[tuple[int, ...], int]) -> None:
    """Compare the numbers of dead neurons; cases are shapes in front -> d_ff."""
    generator = torch.Generator().manual_seed(0)
    given, right, mistakes = [], [], []
    for shape, d_ff in cases.items():
        ffn = _half_dead_network(5, d_ff)
        x = torch.randn(*shape, 5, generator=generator)
        highest = (x @ ffn.up.weight[0]).max()
        ffn.up.bias[0] = 0.01 - highest  # neuron 0 lives at one position
        inputs, before = ffn.up(x), [t.clone() for t in (x, *ffn.parameters())]
        given.append(_integer(dead_units(ffn, x), "The number of dead neurons"))
        _expect_unchanged(before, [x, *ffn.parameters()], "x or the network itself")
        right.append(int((inputs.reshape(-1, d_ff) <= 0).all(0).sum()))
        mistakes.append(_dead_mistakes(inputs))
    otherwise = "Look at ffn.up(x): a neuron lives if it is above 0 somewhere."
    hint = _fitting(given, mistakes, otherwise)
    for shape, yours, count in zip(cases, given, right, strict=True):
        expect(
            yours == count,
            f"With x of shape {(*shape, 5)}, {count} neurons are dead, you count "
            f"{yours}. {hint}",
        )


@exercise
def check_who_decides(who_decides) -> str:
    """Takes a function of ffn, head, x, a, b."""
    generator = torch.Generator().manual_seed(0)
    for activation, shape, pair in (
        (F.relu, (7, 6), (5, 2)),
        (F.gelu, (2, 5, 6), (0, 7)),
        (torch.tanh, (6,), (3, 1)),
    ):
        ffn, head = FeedForward(6, 9, activation), nn.Linear(6, 8)
        for parameter in (*ffn.parameters(), *head.parameters()):
            parameter.data = torch.randn(parameter.shape, generator=generator)
        x = torch.randn(shape, generator=generator)
        _judge_decision(who_decides, ffn, head, x, pair)
    return "Their sum, and the biases, are exactly the difference of the two logits."


def _judge_decision(who_decides, ffn: FeedForward, head: nn.Linear, x, pair) -> None:
    """Compare one answer with the votes, times the activations."""
    (a, b), shape = pair, (*x.shape[:-1], 9)
    with torch.no_grad():
        votes = head.weight @ ffn.down.weight  # (V, F)
        right = ffn.activation(ffn.up(x)) * (votes[a] - votes[b])
        mistakes = _decision_mistakes(ffn, head, x, a, b)
    before = [t.clone() for t in (x, *ffn.parameters(), *head.parameters())]
    given = returned(who_decides(ffn, head, x, a, b))
    what = "x, the network or the head itself"
    _expect_unchanged(before, [x, *ffn.parameters(), *head.parameters()], what)
    kind = type(given).__name__
    expect(isinstance(given, Tensor), f"Return a tensor; yours has the type {kind}.")
    expect(
        tuple(given.shape) == shape,
        f"With x of shape {tuple(x.shape)} and 9 neurons, return {shape}; yours is "
        f"{tuple(given.shape)}. Sum over no neuron, and keep the dimensions before as "
        "in x.",
    )
    wrong = ~torch.isclose(given.double(), right.double(), atol=1e-4)
    if wrong.any():
        *position, neuron = wrong.nonzero()[0].tolist()
        raise Mistake(
            f"With a={a} and b={b}, neuron {neuron} adds {right[wrong][0]:.3f} at "
            f"position {position}; yours is {given[wrong][0]:.3f}. "
            + hint_for_tensor(
                given,
                mistakes,
                "Use rows a and b of head.weight, and columns of ffn.down.weight.",
            )
        )


def _decision_mistakes(
    ffn: FeedForward, head: nn.Linear, x: Tensor, a: int, b: int
) -> dict[str, Tensor]:
    votes, inputs = head.weight @ ffn.down.weight, ffn.up(x)
    vote, active = votes[a] - votes[b], ffn.activation(inputs)
    unbiased = ffn.activation(x @ ffn.up.weight.T)
    biases = (head(ffn.down.bias)[a] - head(ffn.down.bias)[b]) / active.size(-1)
    return {
        "The sign is the other way round: a minus b.": -active * vote,
        "That is the vote for a alone; subtract the vote for b.": active * votes[a],
        "That is the vote for b alone; take a minus b.": active * votes[b],
        "You added the two votes; subtract that for b.": active * (votes[a] + votes[b]),
        "The activation function is missing: ffn.activation(ffn.up(x)).": inputs * vote,
        "You took a ReLU; use ffn.activation.": F.relu(inputs) * vote,
        "You took a GELU; use ffn.activation.": F.gelu(inputs) * vote,
        "The bias of ffn.up is missing: it belongs to the neurons.": unbiased * vote,
        "That is the vote alone; multiply by the activation.": vote.expand_as(active),
        "A bias was spread over the neurons; it belongs to none.": active * vote
        + biases,
        "The bias of the head belongs to no neuron.": active * vote
        + (head.bias[a] - head.bias[b]),
        "The bias of ffn.down belongs to no neuron.": active * vote
        + (head.weight[a] - head.weight[b]) @ ffn.down.bias,
    }
