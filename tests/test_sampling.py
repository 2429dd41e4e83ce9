"""Choosing a token: each rule against a slow version of it written from its words."""

import math

import pytest
import torch
from against_torch import few, random
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib.generate.sampling import (
    choose_next,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    sample_next,
)

NONE = torch.zeros(1, 0, dtype=torch.long)  # no tokens so far
rows = st.lists(
    st.lists(st.integers(-20, 20), min_size=5, max_size=5), min_size=1, max_size=3
)


def kept(logits: Tensor) -> list[set[int]]:
    """The tokens of each row that can still be chosen."""
    return [set(row.isfinite().nonzero().flatten().tolist()) for row in logits]


def log(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


@few
@given(rows, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(rows, p):
    logits = torch.tensor(rows) / 4 + torch.arange(5) * 1e-3  # no two are equal
    for row, chosen in zip(logits.double().softmax(-1), kept(keep_top_p(logits, p))):
        reach = [
            chosen_by_bits
            for chosen_by_bits in range(1, 2**5)
            if sum(row[i] for i in range(5) if chosen_by_bits >> i & 1) >= p - 1e-6
        ]
        fewest = min(n.bit_count() for n in reach)
        assert len(chosen) == fewest
        assert chosen == set(row.argsort(descending=True)[:fewest].tolist())


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_top_p_of_one_drops_nothing_of_a_large_vocabulary(spread):
    logits = spread * random(2, 50_257)
    assert torch.equal(keep_top_p(logits, 1.0), logits)
    for p in (1 - 1e-6, 1 - 1e-8, 1 - 1e-12):  # float32 knows no number so near to 1
        dropped = keep_top_p(logits, p).isinf()
        lost = (logits.double().softmax(-1) * dropped).sum(-1)
        least = logits.double().softmax(-1).masked_fill(dropped, 1).min(-1).values
        assert (lost <= (1 - p) * (1 + 1e-4)).all()
        assert (lost + least >= (1 - p) * (1 - 1e-4)).all()  # no other could go


def test_top_p_leaves_the_other_logits_alone():
    logits = log(0.1, 0.5, 0.3, 0.1)
    assert torch.equal(keep_top_p(logits, 0.7)[0, 1:3], logits[0, 1:3])
    assert kept(keep_top_p(logits, 0.7)) == [{1, 2}]
    assert kept(keep_top_p(logits, 0.81)) == [{0, 1, 2}]  # of equal ones the first
    assert kept(keep_top_p(logits, 1e-9)) == [{1}]
    assert kept(keep_top_p(log(0.25, 0.25, 0.25, 0.25), 1.0)) == [{0, 1, 2, 3}]
    assert kept(keep_top_p(log(0.5, 0.25, 0.25), 0.5)) == [{0}]  # reached exactly


@few
@given(rows, st.integers(1, 7))
def test_top_k_keeps_the_k_highest_and_of_equal_ones_the_first(rows, k):
    logits = torch.tensor(rows) / 4.0
    result = keep_top_k(logits, k)
    for row, new, chosen in zip(rows, result, kept(result)):
        assert chosen == set(sorted(range(5), key=lambda i: (-row[i], i))[:k])
        assert all(new[i] == row[i] / 4 for i in chosen)
        assert all(new[i] == -math.inf for i in set(range(5)) - chosen)


@few
@given(rows, st.lists(st.integers(0, 4), min_size=1, max_size=6), st.floats(0.2, 5))
def test_the_penalty_makes_what_was_there_less_likely(rows, ids, penalty):
    logits = torch.tensor(rows) / 4.0
    result = penalize_repetition(logits, torch.tensor([ids] * len(rows)), penalty)
    for row, new in zip(logits.tolist(), result.tolist()):
        for i in range(5):
            changed = row[i] / penalty if row[i] > 0 else row[i] * penalty
            expected = changed if i in ids else row[i]
            assert new[i] == pytest.approx(expected, rel=1e-6)


def test_each_row_has_its_own_past():
    new = penalize_repetition(torch.ones(2, 3), torch.tensor([[0, 0], [2, 1]]), 2.0)
    assert new.tolist() == [[0.5, 1, 1], [1, 0.5, 0.5]]


def test_the_logits_that_were_given_stay_as_they_were():
    logits = random(2, 6)
    before = logits.clone()
    ids = torch.zeros(2, 3, dtype=torch.long)
    choose_next(logits, ids, 0.5, 3, 0.8, 2.0)
    assert torch.equal(logits, before)


def test_greedy_takes_the_likeliest_whatever_else_is_set():
    logits = random(50, 9)
    for how in ({}, {"top_k": 3}, {"top_p": 0.2}, {"top_k": 1, "top_p": 0.9}):
        chosen = choose_next(logits, NONE, temperature=0, **how)
        assert torch.equal(chosen, logits.argmax(-1, keepdim=True))


def test_a_low_temperature_sharpens_and_a_high_one_flattens():
    logits, shares = log(0.6, 0.3, 0.1).expand(20_000, 3), []
    for temperature in (0.3, 1.0, 3.0):
        generator = torch.Generator().manual_seed(0)
        drawn = choose_next(logits, NONE, temperature, generator=generator)
        share = drawn.flatten().bincount(minlength=3) / 20_000
        expected = (logits[0] / temperature).softmax(-1)
        torch.testing.assert_close(share, expected, atol=0.015, rtol=0)
        shares.append(share[0].item())
    assert shares == sorted(shares, reverse=True)


def drawn(logits: Tensor, ids: Tensor = NONE, **how) -> set[int]:
    """All tokens that come up in many draws."""
    generator = torch.Generator().manual_seed(0)
    many = logits.expand(3_000, -1), ids.expand(3_000, -1)
    return set(choose_next(*many, generator=generator, **how).flatten().tolist())


def test_only_what_was_left_is_drawn():
    logits = log(0.4, 0.3, 0.2, 0.1)
    assert drawn(logits) == {0, 1, 2, 3}
    assert drawn(logits, top_k=3) == {0, 1, 2}
    assert drawn(logits, top_p=0.6) == {0, 1}


def test_penalty_then_temperature_then_top_k_then_top_p():
    seen = torch.tensor([[0]])
    logits = log(0.4, 0.3, 0.2, 0.1)
    # The penalty takes token 0 out of the top 2 before they are chosen.
    assert drawn(logits, seen, repetition_penalty=9.0, top_k=2) == {1, 2}
    # Two flat tokens reach 0.8 after a high temperature only with a third.
    logits = log(0.5, 0.4, 0.09, 0.01)
    assert drawn(logits, top_p=0.8) == {0, 1}
    assert drawn(logits, top_p=0.8, temperature=4.0) == {0, 1, 2}
    # Of the two that top-k leaves, 0.55 is reached by the first alone.
    assert drawn(log(0.4, 0.3, 0.2, 0.1), top_k=2, top_p=0.55) == {0}
    assert drawn(log(0.4, 0.3, 0.2, 0.1), top_p=0.55) == {0, 1}
    # The penalty looks at the logits before the temperature divides them: a positive
    # logit of 1 becomes 0.5, which is more than the other's 0.4.
    assert choose_next(
        torch.tensor([[1.0, 0.4]]), seen, 0, repetition_penalty=2.0
    ).tolist() == [[0]]


@pytest.mark.parametrize("penalty", [0, -1.0, math.nan, math.inf])
def test_penalties_that_are_not_above_zero(penalty):
    with pytest.raises(ValueError, match=f"penalty={penalty} must be above 0"):
        choose_next(random(1, 4), torch.zeros(1, 1).long(), repetition_penalty=penalty)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [1e-3, 1e-20, 1e-42, 1e-320])
def test_a_tiny_temperature_is_greedy(temperature, dtype):
    logits = (1_000 * random(50, 9)).to(dtype)
    assert (logits.topk(2).values.diff() != 0).all()
    greedy = logits.argmax(-1, keepdim=True)
    for how in ({}, {"top_k": 3}, {"top_p": 0.9}):
        assert torch.equal(choose_next(logits, NONE, temperature, **how), greedy)
    assert torch.equal(sample_next(logits, temperature), greedy)


def test_a_tiny_top_p_leaves_the_likeliest():
    logits = random(50, 9)
    chosen = choose_next(logits, NONE, top_p=1e-300)
    assert torch.equal(chosen, logits.argmax(-1, keepdim=True))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize(
    "how", [{}, {"temperature": 0}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.9}]
)
def test_logits_that_are_no_numbers(wrong, how):
    logits = random(3, 9)
    logits[1, 4] = wrong
    with pytest.raises(ValueError, match="the largest logit of a row is (nan|inf)"):
        choose_next(logits, NONE, **how)
    with pytest.raises(ValueError, match="the largest logit of a row is -inf"):
        sample_next(torch.full((1, 4), -math.inf))


@pytest.mark.parametrize(
    "how, message",
    [
        ({"top_k": 0}, "k=0 must be at least 1"),
        ({"top_k": -2}, "k=-2 must be at least 1"),
        ({"top_p": 0.0}, "p=0.0 must be above 0 and at most 1"),
        ({"top_p": 1.5}, "p=1.5 must be above 0 and at most 1"),
        ({"top_p": math.nan}, "p=nan must be above 0"),
        ({"temperature": -0.5}, "temperature=-0.5 must be 0 or more"),
        ({"temperature": math.nan}, "temperature=nan must be 0 or more, and finite"),
        ({"temperature": math.inf}, "temperature=inf must be 0 or more, and finite"),
    ],
)
def test_settings_outside_their_range(how, message):
    with pytest.raises(ValueError, match=message):
        choose_next(random(1, 4), NONE, **how)
    with pytest.raises(ValueError, match="temperature=-1"):
        sample_next(random(1, 4), -1)
