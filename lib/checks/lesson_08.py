"""The checks of the exercises in lesson 08, feed-forward networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.checks import (
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    number,
    returned,
)
from lib.ffn import FeedForward

__all__ = [
    "check_equal_d_ff",
    "check_tent_weights",
    "check_dead_units",
    "check_who_decides",
]


@exercise
def check_equal_d_ff(equal_d_ff) -> str:
    """Takes a function of d_model, d_ff."""
    for d_model, d_ff in ((64, 256), (12, 48), (768, 3072), (16, 64), (5, 7)):
        count = 2 * d_model * d_ff + d_ff + d_model
        exact = count / (3 * d_model)
        given, right = number(equal_d_ff(d_model, d_ff)), round(exact)
        third = "That is the d_ff of the other network: SwiGLU has a third matrix."
        biases = (
            "Count the biases: a FeedForward has two, a SwiGLU has none. Then round to "
            "the nearest integer."
        )
        hints = {
            round((count - d_model) / (3 * d_model + 2)): biases,
            round(2 * d_ff / 3): biases,
            2 * d_ff / 3: biases,
            2 * d_ff // 3: biases,
            round(3 * d_ff / 2): "The wrong way round: SwiGLU must be narrower.",
            d_ff: third,
            exact: "Round to the nearest integer.",
            int(exact): "You rounded down; take the nearest integer.",
            int(exact) + 1: "You rounded up; take the nearest integer.",
        }
        expect(
            given == right,
            f"FeedForward({d_model}, {d_ff}) has {count:,} parameters; "
            f"SwiGLU({d_model}, {right}) comes nearest with {3 * d_model * right:,}. "
            f"You return {given:g}. "
            + hint_for(given, hints, "Set the two counts equal and solve."),
        )
    return "Fair within half a unit, for networks of five sizes."


def _as_network(answer: object) -> tuple[Tensor, Tensor, Tensor, float]:
    """Look at the form of a, b, c, d and return them as tensors."""
    expect(
        isinstance(answer, tuple | list) and len(answer) == 4,
        "Return four things: a, b, c and d.",
    )
    a, b, c = (torch.as_tensor(part, dtype=torch.double) for part in answer[:3])
    d = torch.as_tensor(answer[3], dtype=torch.double)
    expect(d.numel() == 1, f"d is one number; you return {d.numel()}.")
    sizes = [tuple(part.shape) for part in (a, b, c)]
    expect(
        a.dim() == 1 and len(set(sizes)) == 1,
        f"a, b and c need one number for each unit; their shapes are {sizes}.",
    )
    return a, b, c, d.item()


def _tent_mistake(f, centre: float, width: float) -> str:
    """Name what is wrong with a tent, from what it does."""
    here, far = torch.tensor([centre]).double(), torch.tensor([width]).double() * 50
    right, further = f(here + far)[0], f(here + 2 * far)[0]
    if abs(f(here - far)[0]) > 1e-6:
        return "Far to the left it must be 0: no unit may be on there, and d is 0."
    if abs(right - further) > 1e-6:
        return (
            "To the right it never becomes level: the changes of slope must sum to 0. "
            "Is there a unit that switches on at centre + width?"
        )
    if abs(right) > 1e-6:
        return "It levels off on the right, but not at 0: the second slope is too flat."
    if abs(f(here)[0] - width) < 1e-6 or abs(f(here)[0] - width**2) < 1e-6:
        return "The height must be 1 for every width: the slopes are 1 / width."
    if abs(f(-here)[0] - 1) < 1e-6:
        return "Your tent stands at -centre: a unit that switches on at p has b = -p."
    return "At which places does the slope of a tent change, and by how much?"


@exercise
def check_tent_weights(tent_weights) -> str:
    """Takes a function of centre, width."""
    x = torch.linspace(-12, 12, 481).double()
    for centre, width in ((0.0, 1.0), (2.0, 0.5), (-3.0, 4.0)):
        a, b, c, d = _as_network(returned(tent_weights(centre, width)))

        def f(x: Tensor) -> Tensor:
            return d + (a * x[:, None] + b).clamp(min=0) @ c

        right = (1 - (x - centre).abs() / width).clamp(min=0)
        worst = (f(x) - right).abs().argmax()
        expect(
            torch.allclose(f(x), right, atol=1e-5),
            f"With centre={centre:g} and width={width:g}, f({x[worst]:.2f}) is "
            f"{f(x)[worst]:.2f} and should be {right[worst]:.2f}. "
            + _tent_mistake(f, centre, width),
        )
    return "Add enough tents, and you can draw any curve."


def _half_dead_network(d_model: int, d_ff: int) -> FeedForward:
    """A network in which some units are always off, some always on, one always at 0."""
    ffn = FeedForward(d_model, d_ff, activation=F.relu)
    generator = torch.Generator().manual_seed(d_ff)
    for parameter in ffn.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 4
    ffn.up.bias.data[: d_ff // 3] = -50.0
    ffn.up.bias.data[d_ff // 3 : d_ff // 2] = 50.0
    ffn.up.weight.data[-1], ffn.up.bias.data[-1] = 0.0, 0.0  # its input is exactly 0
    return ffn.requires_grad_(False)


@exercise
def check_dead_units(dead_units) -> str:
    """Takes a function of ffn, x."""
    generator = torch.Generator().manual_seed(0)
    for shape, d_ff in (((4, 5), 21), ((3, 6, 5), 30), ((2, 3, 2, 5), 12)):
        ffn, x = _half_dead_network(5, d_ff), torch.randn(shape, generator=generator)
        off = (ffn.up(x) <= 0).flatten(0, -2)  # (N, F)
        right, given = int(off.all(0).sum()), number(dead_units(ffn, x))
        by_row = (ffn.up(x) <= 0).all(0).sum().item()
        hints = {
            d_ff - right: "That is the number of units that live.",
            off.any(0).sum().item(): "You counted units that are off at *some* "
            "position; dead means off at all of them.",
            off.sum().item(): "You counted every pair of a position and a unit that is "
            "off.",
            right / d_ff: "That is a share; return the number of units.",
            by_row: "x has more than two dimensions here: flatten all but the last.",
            off.all(1).sum().item(): "You asked the positions; ask the units, one "
            "column each.",
            right - 1: "A unit whose input is exactly 0 is off, too.",
            (off.float().mean(0) > 0.5).sum().item(): "Off at most positions is not "
            "dead; dead is off at all of them.",
        }
        expect(
            given == right,
            f"With x of shape {shape}, {right} of {d_ff} units are dead, you count "
            f"{given:g}. "
            + hint_for(given, hints, "Look at ffn.up(x): on means above 0."),
        )
    return "It counts positions of any shape."


@exercise
def check_who_decides(who_decides) -> str:
    """Takes a function of ffn, head, x, a, b."""
    generator = torch.Generator().manual_seed(0)
    for activation, shape in ((F.relu, (7, 6)), (F.gelu, (2, 5, 6))):
        torch.manual_seed(0)
        ffn, head = FeedForward(6, 9, activation), nn.Linear(6, 8)
        x = 2 * torch.randn(shape, generator=generator)
        with torch.no_grad():
            _judge_decision(who_decides, ffn, head, x)
    return "Their sum, and the biases, are exactly the difference of the two logits."


def _judge_decision(who_decides, ffn: FeedForward, head: nn.Linear, x: Tensor) -> None:
    """Compare one answer with the votes, times the activations."""
    a, b = 5, 2
    votes = head.weight @ ffn.down.weight  # (V, F)
    right = ffn.activation(ffn.up(x)) * (votes[a] - votes[b])
    given, shape = returned(who_decides(ffn, head, x, a, b)), tuple(right.shape)
    expect(
        tuple(given.shape) == shape,
        f"With x of shape {tuple(x.shape)} and 9 units, return {shape}; yours is "
        f"{tuple(given.shape)}. One number for each unit: do not sum over them.",
    )
    biases = head(ffn.down.bias)[a] - head(ffn.down.bias)[b]
    mistakes = _decision_mistakes(ffn, x, votes[a], votes[b], biases)
    otherwise = "Use row a and row b of head.weight, and the columns of ffn.down."
    expect(
        torch.allclose(given, right, atol=1e-5),
        f"What the units add to the difference of the logits {a} and {b} is not "
        "right. " + hint_for_tensor(given, mistakes, otherwise),
    )


def _decision_mistakes(
    ffn: FeedForward, x: Tensor, for_a: Tensor, for_b: Tensor, biases: Tensor
) -> dict[str, Tensor]:
    inputs, vote = ffn.up(x), for_a - for_b
    active, unbiased = ffn.activation(inputs), ffn.activation(x @ ffn.up.weight.T)
    alone = vote.expand_as(active)
    spread = active * vote + biases / active.size(-1)
    return {
        "The sign is the other way round: a minus b.": -active * vote,
        "That is the vote for a alone; subtract the vote for b.": active * for_a,
        "You left out the activation: apply ffn.activation to ffn.up(x).": inputs
        * vote,
        "You took a ReLU; use ffn.activation.": F.relu(inputs) * vote,
        "You took a GELU; use ffn.activation.": F.gelu(inputs) * vote,
        "The bias of ffn.up is missing: it belongs to the units.": unbiased * vote,
        "That is the vote alone; multiply by how active the unit is.": alone,
        "A bias was spread over the units; biases belong to no unit.": spread,
    }
