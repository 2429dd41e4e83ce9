"""The checks of the exercises in lesson 06, attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.attention import attention_weights, causal_mask
from lib.checks import (
    Mistake,
    exercise,
    expect,
    hint_for_tensor,
    returned,
    rounded,
    tensor,
)

__all__ = [
    "check_effective_positions",
    "check_local_mask",
    "check_dependencies",
    "check_previous_token",
]


@exercise
def check_effective_positions(effective_positions) -> str:
    """Takes a function of weights."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(2, 3, 5, generator=generator).softmax(dim=-1)
    masked = attention_weights(
        *torch.randn(2, 5, 4, generator=generator), causal_mask(5)
    )
    for weights in (mixed, masked, torch.eye(5), mixed[:1, :1]):
        entropy = -torch.xlogy(weights, weights).sum(dim=-1)
        own = weights.clone()
        given = tensor(
            effective_positions(own),
            tuple(weights.shape[:-1]),
            f"For weights {tuple(weights.shape)} the answer",
        )
        expect(
            torch.equal(own, weights), "You changed `weights` itself; leave it as is."
        )
        expect(
            not given.isnan().any(),
            "A weight of 0 gives NaN: 0 times the logarithm of 0 must count as 0.",
        )
        mistakes = _entropy_mistakes(weights, entropy)
        expect(
            torch.allclose(given.float(), entropy.exp(), rtol=1e-3),
            _first_wrong(weights, given, entropy.exp())
            + hint_for_tensor(
                given, mistakes, "It is e to the entropy of each row, in nats."
            ),
        )
    return "One position alike where all the weight is on one."


def _first_wrong(weights: Tensor, given: Tensor, right: Tensor) -> str:
    """Say for which row the answer is wrong first."""
    row = int(torch.isclose(given.float(), right, rtol=1e-3).flatten().int().argmin())
    return (
        f"For the weights {rounded(weights.flatten(0, -2)[row])} the answer is "
        f"{right.flatten()[row]:.3f}, yours is {given.flatten()[row]:.3f}. "
    )


def _entropy_mistakes(weights: Tensor, entropy: Tensor) -> dict[str, Tensor]:
    n_above, squares = (weights > 0).sum(dim=-1), weights.square().sum(dim=-1)
    to_e = "The entropy is in nats: undo its logarithm by e to the power, not 2 to the"
    return {
        "That is the entropy itself; undo its logarithm.": entropy,
        "The sign is the other way round: e to *plus* the entropy.": (-entropy).exp(),
        f"{to_e} power.": 2**entropy,
        "You counted the weights above 0; small ones must count less.": n_above,
        "One over the sum of squares is another such measure; use the entropy.": 1
        / squares,
        "One over the largest weight looks at one position only.": 1
        / weights.amax(dim=-1),
    }


@exercise
def check_local_mask(local_mask) -> str:
    """Takes a function of length, window."""
    for length, window in ((5, 2), (6, 4), (4, 1), (3, 7)):
        case = f"local_mask({length}, {window})"
        given = tensor(local_mask(length, window), (length, length), case)
        expect(
            given.dtype == torch.bool,
            f"{case} has dtype {given.dtype}; a mask is torch.bool. A comparison, & "
            "and ~ give bools.",
        )
        back = torch.arange(length)[:, None] - torch.arange(length)
        right = (back >= 0) & (back < window)
        mistakes = _window_mistakes(back, window)
        row = int((given != right).any(dim=1).int().argmax())  # the first wrong one
        expect(
            torch.equal(given, right),
            f"{case}: row {row} may look at the columns {_places(right[row])}, yours "
            f"may look at {_places(given[row])}. "
            + hint_for_tensor(
                given, mistakes, "Column j is allowed if i - window < j <= i."
            ),
        )
    return "A window as long as the text is the causal mask."


def _window_mistakes(back: Tensor, window: int) -> dict[str, Tensor]:
    """Return wrong masks; `back` says how far back a column lies from its row."""
    past, near = back >= 0, back < window
    return {
        "It is the other way round: true is where looking is *allowed*.": ~(
            past & near
        ),
        "Rows and columns are exchanged: it is the row that looks.": (past & near).T,
        "The future is open: leave out what is right of the diagonal.": back.abs()
        < window,
        "The future is open: a position may not look at later ones.": near,
        "One too many: the window counts the position itself.": past & (back <= window),
        "One too few: the window holds `window` positions, itself included.": past
        & (back < window - 1),
        "The position itself is missing.": (back > 0) & near,
        "That is the whole causal mask: leave out what is too far back.": past,
        "You kept what is too far back, and left out the window.": ~near,
    }


def _places(row: Tensor) -> list[int]:
    """Return the columns where a row of a mask is true."""
    return row.nonzero().flatten().tolist()


def _attention_mixes() -> dict[str, tuple]:
    """Return attentions of x (5, 3), each with what depends on what in it."""
    generator = torch.Generator().manual_seed(0)
    w_q, w_k = 0.45 * torch.randn(2, 3, 3, generator=generator).double()
    # Large values: whatever the new row is, the output shows it.
    w_v = 1_000 * torch.randn(3, 4, generator=generator).double()
    mask, everything = causal_mask(5), torch.ones(5, 5, dtype=torch.bool)

    def weights(x: Tensor, mask: Tensor | None = None) -> Tensor:
        return attention_weights(x @ w_q, x @ w_k, mask)

    return {
        "causal attention": (lambda x: weights(x, mask) @ (x @ w_v), mask),
        "attention without a mask": (lambda x: weights(x) @ (x @ w_v), everything),
        "a mask after the softmax": (
            lambda x: (weights(x) * mask) @ (x @ w_v),
            everything,
        ),
    }


def _row_mixes(length: int) -> dict[str, tuple]:
    """Return mixes of x (T, D) in which few rows depend on few."""
    own = torch.eye(length, dtype=torch.bool)
    before = own.roll(1, 0)

    def once(x: Tensor) -> Tensor:  # half of the output never changes
        return torch.stack([torch.ones(len(x)), x.roll(1, 0)[:, 2]], dim=1)

    return {
        "each row, twice as large": (lambda x: 2 * x, own),
        "the row before, in one number of two": (once, before),
        "the row before and its opposite": (
            lambda x: torch.cat([x, -x], dim=1).roll(1, 0),
            before,
        ),
        "each row without its own mean": (lambda x: x - x.mean(1, keepdim=True), own),
        "each row, made one long": (lambda x: F.normalize(x, dim=1), own),
        "the sum of each row": (lambda x: x.sum(dim=1, keepdim=True), own),
        "each row without its signs": (lambda x: x.abs(), own),
        "a copy of the next row": (lambda x: x.roll(-1, 0), own.roll(-1, 0)),
        "a hundredth of the row before": (
            lambda x: x + 0.01 * x.roll(1, 0),
            own | before,
        ),
    }


@exercise
def check_dependencies(dependencies) -> str:
    """Takes a function of mix, x."""
    for length, width, mixes in (
        (5, 3, _attention_mixes() | _row_mixes(5)),
        (7, 4, _row_mixes(7)),
    ):
        generator = torch.Generator().manual_seed(20_601)
        x = torch.randn(length, width, generator=generator).double()
        case = f"For x of shape ({length}, {width}) the answer"
        for name, (mix, right) in mixes.items():
            before = x.clone()
            with torch.no_grad():
                answer = dependencies(mix, before)
            given = tensor(answer, (length, length), case)
            expect(
                torch.equal(before, x),
                "You changed `x` itself; change a copy, a new one for each row.",
            )
            expect(
                given.dtype == torch.bool,
                f"The answer has dtype {given.dtype}; it must be torch.bool.",
            )
            _expect_dependencies(name, given, right)
    return "You can now see what any part of a model depends on."


def _expect_dependencies(name: str, given: Tensor, right: Tensor) -> None:
    """Expect that a table of what depends on what is right."""
    if torch.equal(given, right):
        return
    mistakes = {
        "Rows and columns are exchanged: the *column* is the row of x that you "
        "changed.": right.T,
        "It is the other way round: true is where something changes.": ~right,
        "After the first change the others stayed: take a fresh copy of x for each "
        "row.": right.int().cumsum(dim=1) > 0,
    }
    if given.any() and (given.all(dim=0) | ~given.any(dim=0)).all():  # whole columns
        mistakes = {
            "Do you compare row by row, each time with a fresh copy of x?": given,
        }
    otherwise = (
        "You missed a change. Replace the row by random numbers, because adding the "
        "same to all of them can cancel, and count any difference above 0.0001, up or "
        "down, in any number of the output row."
    )
    if (given & ~right).any():
        otherwise = "Compare with the output for `x` itself, row by row."
    row, column = (given != right).nonzero()[0].tolist()
    does = "does" if right[row, column] else "does not"
    raise Mistake(
        f"For {name}, output {row} {does} depend on row {column} of x; you say the "
        f"opposite. {hint_for_tensor(given, mistakes, otherwise)}"
    )


@exercise
def check_previous_token(previous_token) -> str:
    """Takes a function of length."""
    for length in (8, 2, 3, 50, 100):
        pair = returned(previous_token(length))
        expect(
            isinstance(pair, tuple | list) and len(pair) == 2,
            "Return a pair of tensors: `return q, k`.",
        )
        q, k = pair
        for name, part in (("q", q), ("k", k)):
            expect(
                isinstance(part, Tensor) and part.dim() == 2 and len(part) == length,
                f"For length {length}, {name} must be a tensor of shape "
                f"({length}, Dh); yours is {_kind(part)}.",
            )
        expect(q.size(1) == k.size(1), "q and k need the same number of columns, Dh.")
        weights = attention_weights(q.float(), k.float(), causal_mask(length))
        _expect_previous(weights, q.float(), k.float())
    return "A head without training. Copy a text with it."


def _kind(answer: object) -> str:
    """Return the shape of a tensor, or the type of anything else."""
    if isinstance(answer, Tensor):
        return str(tuple(answer.shape))
    return f"of the type {type(answer).__name__}"


def _expect_previous(weights: Tensor, q: Tensor, k: Tensor) -> None:
    """Expect that each row but the first puts its weight one step back."""
    length = len(weights)
    expect(
        not weights.isnan().any(),
        "The weights are NaN: some score is infinite or NaN. Large, finite numbers do.",
    )
    back = weights.diagonal(-1)
    worst = int(back.argmin()) + 1
    own = weights.diagonal()[1:]
    if length > 2 and bool((own > 0.9).all()):
        hint = "It looks at itself: the query must say i - 1, not i."
    elif length > 2 and bool((attention_weights(q, k).diagonal(1) > 0.9).all()):
        hint = "Without the mask it would look at the *next* position: move by -1."
    elif bool((weights.argmax(dim=-1)[1:] == torch.arange(length - 1)).all()):
        hint = (
            "The right position wins, but not by enough: make the scores larger. They "
            "are divided by the root of Dh, and a longer text has more rivals."
        )
    else:
        hint = "Let the query of position i fit the key of position i - 1 alone."
    expect(
        bool((back >= 0.9).all()),
        f"For length {length}, position {worst} puts {back.min():.3f} of its weight on "
        f"position {worst - 1}; it must be 0.9 or more. {hint}",
    )
