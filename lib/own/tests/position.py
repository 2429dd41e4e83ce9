"""The tests of the positions that are added to the tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from lib.own.tests.near import (
    expect,
    expect_near,
    expect_near_both_ways,
    expect_unchanged,
    expect_weights,
    random,
    random_weights,
)

__all__ = ["LEARNED", "SINUSOIDAL"]

Part = Callable[..., nn.Module]


def has_a_table(part: Part) -> None:
    """The weight has the name that files use: one row for each position."""
    expect_weights(part(7, 6), table__weight=(7, 6))


def adds_the_row_of_each_position(
    part: Part, dtype: torch.dtype = torch.float32
) -> None:
    """Output and gradients are those of a table that is added, as far as x goes."""
    ours = part(7, 6).to(dtype)
    random_weights(ours)
    weight = ours.table.weight
    same = [weight.detach().double().requires_grad_()]
    for length in (7, 4):
        weight.grad = same[0].grad = None
        x = random(2, length, 6).to(dtype)
        with torch.no_grad():
            hints = {"every position gets the first row": x.double() + same[0][0]}
        expect_near_both_ways(
            ours, lambda x: x + same[0][: x.size(1)], x, [weight], same, hints
        )


def starts_where_it_is_told(part: Part) -> None:
    """A text that goes on gets the rows from there on, also one per row of a batch."""
    ours, x = part(9, 6), random(2, 3, 6)
    rows = ours(torch.zeros(1, 9, 6)).detach()[0]
    expect_near(ours(x, 4).detach(), x + rows[4:7], "what starts at position 4")
    places = torch.tensor([[0, 1, 2], [5, 6, 8]])
    expect_near(ours(x, places).detach(), x + rows[places], "what has its own places")


def refuses_what_is_too_long(part: Part) -> None:
    """For an input longer than the context there is an error, not a guess."""
    try:
        part(4, 6)(random(1, 5, 6))
    except (ValueError, RuntimeError, IndexError):
        return
    expect(False, "5 positions went through, but context_length=4")


def equals_sines_and_cosines(part: Part, dtype: torch.dtype = torch.float32) -> None:
    """Pairs of a sine and a cosine, side by side, each pair slower than the last."""
    context, width = 9, 6
    pairs = torch.arange(0, width, 2, dtype=torch.float64)
    angles = torch.arange(context).unsqueeze(1) * 1e4 ** (-pairs / width)
    table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    x = random(2, context, width).to(dtype)
    wide, swapped = x.double(), torch.stack([angles.cos(), angles.sin()], -1)
    hints = {
        "sines stand in one half and cosines in the other; they must take turns": wide
        + torch.cat([angles.sin(), angles.cos()], dim=-1),
        "each cosine stands before its sine": wide + swapped.flatten(1),
    }
    output = part(context, width).to(dtype)(x)
    expect_near(output, wide + table, atol=1e-5, hints=hints)
    expect(output.dtype == dtype, f"the output has dtype {output.dtype} for {dtype}")


def learns_nothing(part: Part) -> None:
    """There is no weight, and nothing that a file would hold."""
    ours = part(9, 6)
    expect_weights(ours)
    words = "its table would be saved: register_buffer(..., persistent=False)"
    expect(not ours.state_dict(), words)


def leaves_its_input_as_it_is(part: Part) -> None:
    """The input is not changed in place."""
    expect_unchanged(part(7, 6), random(2, 5, 6))


def learned_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    adds_the_row_of_each_position(part, torch.bfloat16)


def sinusoidal_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    equals_sines_and_cosines(part, torch.bfloat16)


LEARNED = (
    has_a_table,
    adds_the_row_of_each_position,
    starts_where_it_is_told,
    refuses_what_is_too_long,
    leaves_its_input_as_it_is,
    learned_in_bfloat16,
)
SINUSOIDAL = (
    learns_nothing,
    equals_sines_and_cosines,
    starts_where_it_is_told,
    refuses_what_is_too_long,
    leaves_its_input_as_it_is,
    sinusoidal_in_bfloat16,
)
