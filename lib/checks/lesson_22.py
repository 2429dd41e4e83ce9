"""The checks of the exercises in lesson 22, scaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.checks import exercise, expect, hint_for, hint_for_tensor, returned, rounded
from lib.checks import number as as_number
from lib.checks import tensor
from lib.evaluate.scaling_laws import ScalingLaw, flops_per_token
from lib.models.gpt import GPTConfig

__all__ = [
    "check_modern_flops",
    "check_mean_gradient",
    "check_own_slice",
    "check_size_for",
]


# Exercise 1


@exercise
def check_modern_flops(modern_flops) -> str:
    """Takes a function of a config."""
    for values in (
        dict(d_model=32, n_heads=4, n_layers=3, d_ff=88, context_length=48),
        dict(d_model=24, n_heads=6, n_kv_heads=2, n_layers=2, d_ff=50, vocab_size=30),
        dict(d_model=40, n_heads=8, n_kv_heads=1, n_layers=1, d_ff=64),
        dict(d_model=64, n_heads=4, n_kv_heads=4, n_layers=5, d_ff=10, vocab_size=300),
    ):
        config = GPTConfig(**values, ffn="swiglu", position="rotary")
        right, given = flops_per_token(config), as_number(modern_flops(config))
        expect(
            given == right,
            f"With {values} one token takes {right:,} operations; yours: "
            f"{given:,.0f}. "
            + hint_for(given, _flops_mistakes(config), FLOPS_OTHERWISE),
        )
    return "As many as PyTorch counts."


FLOPS_OTHERWISE = "Count q, k, v, the output, three matrices, the head, attention."


def _flops_mistakes(c: GPTConfig) -> dict[float, str]:
    n_kv_heads = c.n_kv_heads or c.n_heads
    square, shared = c.d_model**2, c.d_model**2 * n_kv_heads // c.n_heads
    feed, head = c.d_model * c.d_ff, c.d_model * c.vocab_size
    rest = 12 * c.n_layers * c.context_length * c.d_model

    def total(projections: float, matrices: int, n_heads: int = 1, attention=rest):
        weights = c.n_layers * (projections + matrices * feed) + n_heads * head
        return 6 * weights + attention

    both = 2 * square + 2 * shared
    few = rest * n_kv_heads / c.n_heads
    return {
        total(both, 2): "SwiGLU has *three* matrices: gate, up and down.",
        total(4 * square, 3): "Keys and values are narrower: `n_kv_heads` of them.",
        total(square + 3 * shared, 3): "The output is as wide as all query heads.",
        total(2 * square + shared, 3): "Keys *and* values: two matrices.",
        total(square + 2 * shared, 3): "One D x D matrix is missing: q, k, v, output.",
        total(3 * square + shared, 3): "Keys *and* values are narrower.",
        total(both, 3, n_heads=0): "The head takes part in a product too.",
        total(both, 3, n_heads=2): "The embeddings are looked up, not multiplied.",
        total(both, 3, attention=0): "Attention has products without weights.",
        total(both, 3, attention=few): "Shared heads are lent to all queries: "
        "attention itself takes as much as before.",
        total(both, 3) / 3: "That is the forward pass; training takes three times it.",
        total(both, 3) / 2: "Each weight is multiplied *and* added: 6, not 3.",
        total(both, 3) * c.context_length: "For one token, not for a row of them.",
    }


# Exercise 2


def _noise(*shape: int, seed: int) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@exercise
def check_mean_gradient(mean_gradient) -> str:
    """Takes a function of gradients and counts."""
    for shape, counts in (((3, 2), [6, 2]), ((4,), [1, 5, 3]), ((2, 2), [0, 4, 9, 3])):
        parts = [_noise(*shape, seed=i) for i in range(len(counts))]
        parts = [p if n else p * math.nan for p, n in zip(parts, counts)]
        before, numbers = [part.clone() for part in parts], list(counts)
        given = tensor(mean_gradient(parts, counts), shape)
        expect(
            all(torch.allclose(*pair, equal_nan=True) for pair in zip(before, parts))
            and numbers == counts,
            "Your function changed what it was given: return a new tensor.",
        )
        parts = [part.nan_to_num(0.0) for part in parts]
        right = sum(n * part for n, part in zip(counts, parts)) / sum(counts)
        expect(
            not given.isnan().any(),
            "A process without targets may hold NaN, and 0 times NaN is NaN: leave it "
            "out.",
        )
        expect(
            torch.allclose(given.float(), right, atol=1e-5),
            f"With counts={counts} the mean is {rounded(right)}; yours is "
            f"{rounded(given)}. "
            + hint_for_tensor(given, _mean_mistakes(parts, counts), MEAN_OTHERWISE),
        )
    return "Every target counts the same, wherever it lies."


MEAN_OTHERWISE = "Weigh each gradient by its count; divide by the sum of counts."


def _mean_mistakes(parts: list[Tensor], counts: list[int]) -> dict[str, Tensor]:
    total, n = sum(counts), len(parts)
    weighed = sum(c * part for c, part in zip(counts, parts))
    return {
        "That is the plain mean: processes with few targets count too much.": (
            sum(parts) / n
        ),
        "That is the sum of the gradients, without weights.": sum(parts),
        "You weighed by the counts; now divide by all of them.": weighed,
        "You divided by the number of processes, not by that of targets.": weighed / n,
        "You divided by counts where you should multiply.": (
            sum(part / max(1, c) for c, part in zip(counts, parts)) / total
        ),
        "You used the first process alone.": parts[0],
        "The counts belong to the gradients in the same order.": (
            sum(c * part for c, part in zip(counts[::-1], parts)) / total
        ),
    }


# Exercise 3


@exercise
def check_own_slice(own_slice) -> str:
    """Takes a function of n_numbers, n_processes and rank."""
    for n_numbers, n_processes in ((10, 2), (10, 3), (11, 4), (7, 7), (3, 5), (64, 1)):
        ranks = range(n_processes)
        ends = [_ends(own_slice(n_numbers, n_processes, rank)) for rank in ranks]
        what = f"With {n_numbers} numbers in {n_processes} processes"
        _expect_no_gaps(ends, n_numbers, what)
        lengths = [end - start for start, end in ends]
        _expect_even(lengths, f"{what} the slices are {lengths} long")
    return "Nothing twice, nothing lost, and nobody has two more than another."


def _ends(answer: object) -> tuple[int, int]:
    answer = returned(answer)
    whole = isinstance(answer, tuple | list) and len(answer) == 2
    whole = whole and all(type(end) is int for end in answer)
    expect(whole, f"Return two Python ints, start and end; yours is {answer!r}.")
    return answer[0], answer[1]


def _expect_no_gaps(ends: list[tuple[int, int]], n_numbers: int, what: str) -> None:
    """Refuse slices that do not follow each other from the first number to the last."""
    for rank, (start, end) in enumerate(ends):
        expect(
            start <= end,
            f"{what} process {rank} has {start}:{end}, which ends before it starts.",
        )
    first, last = ends[0][0], ends[-1][1]
    expect(
        first == 0,
        f"{what} process 0 starts at {first}; the first number is number 0.",
    )
    for rank, (one, other) in enumerate(zip(ends, ends[1:])):
        kind = "a gap" if one[1] < other[0] else "an overlap"
        expect(
            one[1] == other[0],
            f"{what} process {rank} ends at {one[1]}, and the next starts at "
            f"{other[0]}: {kind}.",
        )
    lost = "some belong to nobody" if last < n_numbers else "there are no more"
    expect(
        last == n_numbers,
        f"{what} the last process ends at {last}, not {n_numbers}: {lost}.",
    )


def _expect_even(lengths: list[int], what: str) -> None:
    """Refuse slices of uneven lengths, or with the longer ones at the end."""
    even = max(lengths) - min(lengths) <= 1
    expect(even, f"{what}; no two may differ by more than 1.")
    falling = lengths == sorted(lengths, reverse=True)
    expect(falling, f"{what}; the first processes get one more.")


# Exercise 4


@exercise
def check_size_for(size_for) -> str:
    """Takes a function of a law and a loss."""
    for law, size in (
        (ScalingLaw(1.7, 6.5, 0.3), 5e5),
        (ScalingLaw(0.0, 4.0, 0.05), 1e6),
        (ScalingLaw(1.2, 40.0, 0.5), 300.0),
        (ScalingLaw(0.5, 3.0, 0.4), 1e3),
        (ScalingLaw(2.5, 3.0, 0.4), 1e9),
    ):
        loss = law.predict(size)
        given = _real(size_for(law, loss))
        near = math.isclose(given, size, rel_tol=1e-4)
        expect(
            near or abs(given - size) < 1.01,  # rounded, up or down
            f"{law} gives {loss:.4f} nats at {size:,.0f} weights; yours: {given:,.4g}. "
            + hint_for(given, _size_mistakes(law, loss), SIZE_OTHERWISE),
        )
    low, high = ScalingLaw(1.7, 6.5, 0.3), ScalingLaw(2.5, 6.5, 0.3)
    for law, loss in ((low, 1.7), (low, 1.5), (high, 2.4)):
        given = _real(size_for(law, loss))
        expect(
            given == math.inf,
            f"No size reaches {loss} nats when the floor is {law.floor}: return "
            f"`math.inf`; yours: {given:,.4g}.",
        )
    return "Now you know what a hundredth of a nat costs."


SIZE_OTHERWISE = "Solve L - E = A N^-a for N."


def _real(answer: object) -> float:
    expect(
        not isinstance(answer, complex),
        "Your answer is a complex number: below the floor no size is enough.",
    )
    return as_number(answer)


def _size_mistakes(law: ScalingLaw, loss: float) -> dict[float, str]:
    E, A, a = law.floor, law.scale, law.exponent
    return {
        (A / loss) ** (1 / a): "You forgot the floor: what falls is L - E.",
        (A / (loss - E)) ** a: "The root: raise to 1 / a, not to a.",
        ((loss - E) / A) ** (1 / a): "The exponent is negative: A / (L - E).",
        (A * (loss - E)) ** (1 / a): "Divide A by L - E.",
        (A / (loss - E)) / a: "a is an exponent: take a root, do not divide.",
        math.log(A / (loss - E)) / a: "That is the logarithm of the size.",
        law.predict(loss): "You predicted a loss; here the loss is given.",
    }
