"""The checks of the exercises in lesson 05, positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.checks import (
    Mistake,
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    returned,
    rounded,
    tensor,
)

__all__ = [
    "check_similarity_by_distance",
    "check_positions_from_the_end",
    "check_shift_positions",
    "check_find_position",
]


@exercise
def check_similarity_by_distance(similarity_by_distance) -> str:
    """Takes a function of d_model, base, n."""
    for d_model, base, n in ((6, 100, 6), (32, 10_000, 40), (4, 10.0, 9), (2, 50, 1)):
        case = f"similarity_by_distance({d_model}, {base:g}, {n})"
        answer = returned(similarity_by_distance(d_model, base, n))
        if isinstance(answer, Tensor) and answer.dim() > 1:
            raise Mistake(
                f"{case} has the shape {tuple(answer.shape)}; it must be ({n},). Add "
                "up over the hands."
            )
        given = tensor(answer, (n,), f"For the {n} distances 0 .. {n - 1}, {case}")
        right = _sum_of_cosines(_frequencies(d_model, base), n)
        hint, always = "You used base 10,000 whatever `base` is.", 10_000
        fixed = {hint: _sum_of_cosines(_frequencies(d_model, always), n)}
        if base == always:
            fixed = {}
        _compare(
            case,
            given,
            right,
            hint_for_tensor(
                given,
                _similarity_mistakes(d_model, base, n) | fixed,
                "Each hand adds cos(frequency * distance).",
            ),
        )
    return "Equal to the dot products of the table."


def _frequencies(d_model: int, base: float) -> Tensor:
    return base ** (-torch.arange(0, d_model, 2).double() / d_model)


def _sum_of_cosines(frequencies: Tensor, n: int) -> Tensor:
    return (torch.arange(n).double().unsqueeze(1) * frequencies).cos().sum(dim=1)


def _compare(case: str, given: Tensor, right: Tensor, hint: str) -> None:
    """Expect equal numbers, and name the first one that is wrong."""
    wrong = ~torch.isclose(given.detach().double(), right, rtol=0, atol=2e-4)
    place = int(wrong.int().argmax())
    expect(
        not wrong.any(),
        f"{case}: at distance {place} the answer is {right[place]:.3f}, yours is "
        f"{given[place]:.3f}. {hint}",
    )


def _similarity_mistakes(d_model: int, base: float, n: int) -> dict[str, Tensor]:
    frequencies, columns = _frequencies(d_model, base), torch.arange(d_model).double()
    pairs = torch.arange(d_model // 2).double()
    right = _sum_of_cosines(frequencies, n)
    angles = torch.arange(n).double().unsqueeze(1) * frequencies
    return {
        "That is the cosine of the angle, not the dot product: do not divide by the "
        "number of hands.": right / len(frequencies),
        "Each hand is one pair, and counts once: there are d_model / 2.": 2 * right,
        "The exponent counts columns; it must count pairs, 2 i / d_model for pair "
        "i.": _sum_of_cosines(base ** (-columns / d_model), n),
        "The exponent of pair i is 2 i / d_model; the 2 is missing.": _sum_of_cosines(
            base ** (-pairs / d_model), n
        ),
        "The hands must slow down from pair to pair: the exponent is "
        "negative.": _sum_of_cosines(1 / frequencies, n),
        "Two hands at the same position add 1, not 0: what remains of the product is "
        "a cosine, not a sine.": angles.sin().sum(dim=1),
        "Your first distance is 1; begin with 0.": _sum_of_cosines(frequencies, n + 1)[
            1:
        ],
        "You took the cosine of a sum; take the sum of the cosines.": angles.sum(
            dim=1
        ).cos(),
    }


@exercise
def check_positions_from_the_end(positions_from_the_end) -> str:
    """Takes a class built with context_length, d_model."""
    for context_length, d_model in ((6, 4), (5, 8)):
        torch.manual_seed(0)
        module = positions_from_the_end(context_length, d_model)
        expect(
            isinstance(module, nn.Module), "PositionsFromTheEnd must be an nn.Module."
        )
        table = _only_table(module, context_length, d_model)
        for batch, length in ((3, 4), (1, context_length), (2, 2), (4, 1)):
            _check_rows(module, table, torch.randn(batch, length, d_model))
        with torch.no_grad():
            table.mul_(10)
        _check_rows(module, table, torch.randn(2, 3, d_model), "after a training step ")
        _check_gradient(module, table, torch.randn(2, 3, d_model))
    return "The last vector gets row 0, however short the text is."


def _only_table(module: nn.Module, context_length: int, d_model: int) -> Tensor:
    """Return the one learned table that the module may have."""
    learned = [p for p in module.parameters() if p.requires_grad]
    shapes = [tuple(p.shape) for p in learned]
    expect(
        bool(shapes),
        "Your module has nothing to learn. A table is an nn.Embedding, or an "
        "nn.Parameter; a plain tensor or a buffer is not trained.",
    )
    expect(
        shapes == [(context_length, d_model)],
        f"PositionsFromTheEnd({context_length}, {d_model}) needs one table of shape "
        f"({context_length}, {d_model}); yours learns {shapes}.",
    )
    return next(module.parameters())


def _check_rows(module: nn.Module, table: Tensor, x: Tensor, when: str = "") -> None:
    before, length, rows = x.clone(), x.size(1), table.detach().clone()
    case = f"For x of shape {tuple(x.shape)} and {len(table)} rows, {when}the result"
    given = tensor(module(x), tuple(x.shape), case).detach()
    expect(torch.equal(x, before), "You changed `x` itself; return a new tensor.")
    expect(torch.equal(table, rows), "You changed the table itself; only look it up.")
    expect(
        given.dtype == x.dtype,
        f"{case} has dtype {given.dtype}; it must have that of x, {x.dtype}.",
    )
    right = x + rows[:length].flip(0)
    wrong = ~torch.isclose(given, right, rtol=0, atol=1e-5).all(dim=-1)  # (B, T)
    if not wrong.any():
        return
    t = int(wrong.any(dim=0).int().argmax())  # the first wrong position
    near = (given[:, t, None] - x[:, t, None] - rows).abs().amax(dim=-1) < 1e-5
    same = near.all(dim=0).nonzero().flatten().tolist()
    yours = f"row {same[0]}" if same else "something else"
    raise Mistake(
        f"{case} is wrong at position {t}: row {length - 1 - t} must be added there, "
        f"you add {yours}. "
        + hint_for_tensor(
            given,
            _row_mistakes(x, rows),
            "Row 0 is for the last vector of the text."
            if same
            else "Each vector gets exactly one row, as it is now, added to it.",
        )
    )


def _row_mistakes(x: Tensor, rows: Tensor) -> dict[str, Tensor]:
    """Return wrong results; `rows` is the whole table."""
    length = x.size(1)
    used = rows[:length]
    return {
        "That counts from the front: turn the order of the rows around.": x + used,
        "You turned the whole table around and then took its first rows: take the "
        "first T rows first, then turn these around.": x + rows.flip(0)[:length],
        "You took the last rows of the table; row 0 belongs to the last vector.": x
        + rows[len(rows) - length :],
        "You turned the vectors around, not the rows: the text comes out "
        "reversed.": x.flip(1) + used,
        "You turned the text around as well as the rows; only the rows.": x.flip(1)
        + used.flip(0),
        "`flip(1)` turns each row around; `flip(0)` turns their order.": x
        + used.flip(1),
        "Add the rows to `x`; you return the rows alone.": used.flip(0).expand_as(x),
        "Add the rows; you subtracted them.": x - used.flip(0),
        "You return `x` as it is.": x,
    }


def _check_gradient(module: nn.Module, table: Tensor, x: Tensor) -> None:
    x.requires_grad_()
    result = module(x)
    learns = result.requires_grad
    table_grad, x_grad = (
        torch.autograd.grad(result.sum(), (table, x), allow_unused=True)
        if learns
        else (None, None)
    )
    expect(
        table_grad is not None,
        "No gradient reaches the table, so it cannot learn: leave out `detach`, "
        "`.data` and `no_grad`.",
    )
    expect(
        bool((table_grad[: x.size(1)] != 0).all()),
        "Some of the rows that were added get no gradient, so they cannot learn.",
    )
    expect(
        x_grad is not None,
        "No gradient reaches `x`, so the tokens cannot learn: leave out `detach`.",
    )


@exercise
def check_shift_positions(shift_positions) -> str:
    """Takes a function of p, k, base."""
    cases = ([3.0], 3), ([0.0, 7.0, 0.5], 5), ([9.0, 20.0], -4), ([2.0, 5.0], 0)
    for d_model, base in ((8, 10_000), (6, 100.0), (2, 10)):
        for places, k in cases:
            many = _waves(torch.tensor(places), d_model, base)
            for p in (many[0], many, torch.stack([many, many.flip(0)])):
                before = p.clone()
                answer = shift_positions(p, k, base)
                _compare_shifted(answer, before, k, base)
                expect(
                    torch.equal(p, before), "You changed `p` itself; make a new tensor."
                )
    p = _waves(torch.tensor([4.0]), 8, 10_000)
    _compare_shifted(shift_positions(p, 3), p, 3, 10_000)
    return "The same rotation at every position."


def _waves(places: Tensor, d_model: int, base: float) -> Tensor:
    angles = places.double().unsqueeze(-1) * _frequencies(d_model, base)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


def _compare_shifted(answer: object, p: Tensor, k: int, base: float) -> None:
    answer, in_pairs = returned(answer), p.unflatten(-1, (-1, 2)).shape
    expect(
        not isinstance(answer, Tensor) or answer.shape != in_pairs,
        "The pairs are still apart: join them with `flatten(-2)`.",
    )
    case = f"For p of shape {tuple(p.shape)} the result"
    given = tensor(answer, tuple(p.shape), case).detach().double()
    angles = k * _frequencies(p.size(-1), base)
    right, mistakes = _turned(p, angles), _shift_mistakes(p, angles, k, base)
    wrong = ~torch.isclose(given, right, rtol=0, atol=1e-3).reshape(-1, p.size(-1))
    row, column = divmod(int(wrong.int().argmax()), p.size(-1))
    i = column // 2 * 2  # the first pair that is wrong
    before, wanted, got = (
        rounded(t.reshape(wrong.shape)[row, i : i + 2]) for t in (p, right, given)
    )
    expect(
        not wrong.any(),
        f"For k={k}, base={base:g} the pair in columns {i} and {i + 1}, {before}, "
        f"must become {wanted}, yours becomes {got}. "
        + hint_for_tensor(
            given, mistakes, "Turn each pair by k times its own frequency."
        ),
    )


def _turned(p: Tensor, angles: Tensor) -> Tensor:
    sines, cosines = p.double()[..., 0::2], p.double()[..., 1::2]
    turned = [
        sines * angles.cos() + cosines * angles.sin(),
        cosines * angles.cos() - sines * angles.sin(),
    ]
    return torch.stack(turned, dim=-1).flatten(-2)


def _overwritten(p: Tensor, angles: Tensor) -> Tensor:
    sines, cosines = p.double()[..., 0::2], p.double()[..., 1::2]
    sines = sines * angles.cos() + cosines * angles.sin()
    cosines = cosines * angles.cos() - sines * angles.sin()
    return torch.stack([sines, cosines], dim=-1).flatten(-2)


def _shift_mistakes(
    p: Tensor, angles: Tensor, k: int, base: float
) -> dict[str, Tensor]:
    right, d_model = _turned(p, angles), p.size(-1)
    pairs = torch.arange(d_model // 2).double()
    signs = "a negative k goes back." if k < 0 else "look at the signs of the sines."
    other_angles = {
        f"It went the other way: {signs}": -angles,
        "The exponent of pair i is 2 i / D; the 2 is missing.": k
        * base ** (-pairs / d_model),
        "Every pair was turned by the same angle; each has its own "
        "frequency.": torch.full_like(angles, float(k)),
        "You moved one position; move k.": angles / (k or 1),
        "Nothing was turned" + (": a negative k goes back." if k < 0 else "."): 0
        * angles,
        "You used base 10,000 whatever `base` is.": k * _frequencies(d_model, 10_000),
    }
    return (
        {words: _turned(p, angle) for words, angle in other_angles.items()}
        | {
            "All sines come first now, then all cosines; interleave them.": torch.cat(
                [right[..., 0::2], right[..., 1::2]], dim=-1
            ),
            "You used the new sine for the cosine; take both from p.": _overwritten(
                p, angles
            ),
            "You added the vector of position k; a shift is a rotation.": p
            + _waves(torch.tensor([float(k)]), d_model, base)[0],
        }
        | _pair_mistakes(p, angles)
    )


def _pair_mistakes(p: Tensor, angles: Tensor) -> dict[str, Tensor]:
    """Return the results of taking other pairs."""
    half = p.size(-1) // 2
    halves = p.unflatten(-1, (2, half)).transpose(-1, -2).flatten(-2)
    turned = _turned(halves, angles).unflatten(-1, (half, 2))
    swapped = p.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    right = _turned(p, angles).unflatten(-1, (-1, 2))
    return {
        "In each pair of the result the sine comes first, then the cosine.": (
            right.flip(-1).flatten(-2)
        ),
        "You paired the first half of the columns with the second; the pairs are "
        "columns 0 and 1, 2 and 3, ...": turned.transpose(-1, -2).flatten(-2),
        "In each pair the sine comes first, then the cosine.": _turned(swapped, angles),
    }


@exercise
def check_find_position(find_position) -> str:
    """Takes a function of p, n, base."""
    cases = (
        (32, 10_000, 100, (50, 99, 98, 2, 1, 0)),
        (8, 10_000, 3_000, (7, 1_234, 2_999)),
        (16, 500, 700, (30, 699)),
        (2, 10_000, 6, (5, 3)),
        (6, 10_000, 2_000, (1_500, 40)),
    )
    for d_model, base, n, places in cases:
        for place in places:
            exact = _waves(torch.tensor(float(place)), d_model, base)
            p = (exact * 100).round() / 100
            before = p.clone()
            given = _whole_number(find_position(p, n, base))
            expect(torch.equal(p, before), "You changed `p` itself; leave it as it is.")
            expect(
                given == place,
                f"For n={n}, base={base:g}, {d_model} numbers that begin "
                f"{rounded(p[:4])}, the position is {place}, you return {given}. "
                + _found_hint(given, p, n, base),
            )
    expect(
        find_position(_waves(torch.tensor(77.0), 32, 10_000), 100) == 77,
        "Without `base` it must use 10,000.",
    )
    return "All hands together are exact, where each alone is not."


def _whole_number(answer: object) -> int:
    answer = returned(answer)
    expect(
        isinstance(answer, int) and not isinstance(answer, bool),
        f"Return a Python int; yours has the type {type(answer).__name__}. "
        "`.item()` makes one of a tensor, `round` one of a float.",
    )
    return answer


def _found_hint(given: int, p: Tensor, n: int, base: float) -> str:
    table = _waves(torch.arange(n).float(), len(p), base)
    place = int((table @ p).argmax())
    first = _angle(p[0], p[1])
    slowest = float(_frequencies(len(p), base)[-1])
    others = _other_places(p, n, base) if 0 < given < n - 1 else {}
    return hint_for(
        given,
        others
        | {
            place + 1: "Positions begin with 0.",
            place - 1: "One too few: begin with position 0, and take the largest dot "
            "product, not the first large one.",
            round(first): "The fast hand alone repeats itself every 2 pi positions.",
            int(first): "The fast hand alone repeats itself every 2 pi positions.",
            round(_angle(p[-2], p[-1]) / slowest): "The slow hand alone is not "
            "accurate enough, because p is rounded.",
            int((table @ p).argmin()): "That is the position whose dot product is "
            "*smallest*.",
            int((_waves(torch.arange(n).float(), len(p), 1e4) @ p).argmax()): "You "
            "used base 10,000 whatever `base` is.",
        },
        "Compare p with the vectors of all n positions.",
    )


def _other_places(p: Tensor, n: int, base: float) -> dict[float, str]:
    """Return the positions that wrong vectors find, with what is wrong with them."""
    right, table = _frequencies(len(p), base), _waves(torch.arange(n), len(p), base)
    halved = base ** (-torch.arange(len(p) // 2).double() / len(p))
    sines, cosines = (table[:, k::2] @ p[k::2] for k in (0, 1))
    return {
        int(sines.argmax()): "You used the sines only.",
        int(cosines.argmax()): "You used the cosines only.",
        _best(p, right, n, "swapped"): "In each pair of p the sine comes first.",
        _best(p, right, n, "halves"): "In p each cosine stands beside its sine.",
        _best(p, halved, n): "The exponent of pair i is 2 i / D; the 2 is missing.",
    }


def _best(p: Tensor, frequencies: Tensor, n: int, order: str = "pairs") -> int:
    """Return the position whose vector, built in another way, has most in common."""
    angles = torch.arange(n).double().unsqueeze(-1) * frequencies  # (n, D/2)
    waves = angles.sin(), angles.cos()
    if order == "halves":
        return int((torch.cat(waves, dim=-1).float() @ p).argmax())
    waves = waves[::-1] if order == "swapped" else waves
    return int((torch.stack(waves, dim=-1).flatten(-2).float() @ p).argmax())


def _angle(sine: Tensor, cosine: Tensor) -> float:
    """Return the angle of a hand, from 0 to 2 pi."""
    return float(torch.atan2(sine, cosine) % (2 * torch.pi))
