"""Splits, batches and windows: targets shifted by one, nothing left out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.text.batches import consecutive_batches, random_batch, split_text


@given(st.text(), st.floats(0.01, 0.99))
def test_the_two_splits_are_the_text(text, fraction):
    train, validation = split_text(text, fraction)
    assert train + validation == text
    assert len(train) == int(fraction * len(text))


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 90])
def test_a_fraction_that_is_none(fraction):
    with pytest.raises(ValueError, match=f"train_fraction={fraction}"):
        split_text("text", fraction)


@given(st.integers(1, 5), st.integers(1, 9))
def test_random_windows_are_pieces_with_shifted_targets(batch_size, context_length):
    tokens = torch.arange(100, 110)
    generator = torch.Generator().manual_seed(0)
    inputs, targets = random_batch(tokens, batch_size, context_length, generator)
    assert tuple(inputs.shape) == tuple(targets.shape) == (batch_size, context_length)
    assert torch.equal(targets, inputs + 1)
    assert inputs.min() >= 100 and targets.max() <= 109


def test_random_windows_start_everywhere():
    tokens = torch.arange(10)
    starts = random_batch(tokens, 500, 4, torch.Generator().manual_seed(0))[0][:, 0]
    assert sorted(set(starts.tolist())) == [0, 1, 2, 3, 4, 5]


def test_the_same_seed_gives_the_same_batch():
    tokens = torch.arange(1_000)
    one, two, other = (
        random_batch(tokens, 4, 8, torch.Generator().manual_seed(s))[0]
        for s in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


@given(st.integers(2, 60), st.integers(1, 7), st.integers(1, 4))
def test_every_token_but_the_first_is_a_target_once(n, context_length, batch_size):
    if context_length >= n:
        return
    tokens = torch.arange(n)
    batches = list(consecutive_batches(tokens, batch_size, context_length))
    targets = torch.cat([targets.flatten() for _, targets in batches])
    assert torch.equal(targets, tokens[1:])
    for inputs, targets in batches:
        assert torch.equal(targets, inputs + 1)
        assert len(inputs) <= batch_size and inputs.size(1) <= context_length


@pytest.mark.parametrize(
    "batch", [random_batch, lambda *a: next(consecutive_batches(*a))]
)
@pytest.mark.parametrize(
    ("tokens", "batch_size", "context_length", "message"),
    [
        (torch.arange(8), 0, 4, "batch_size=0"),
        (torch.arange(8), 2, -1, "context_length=-1"),
        (torch.arange(8), 2, 8, "context_length=8 needs 9 tokens .* holds 8"),
        (torch.zeros(2, 8), 2, 4, r"tokens has shape \(2, 8\)"),
    ],
)
def test_sizes_that_do_not_fit(batch, tokens, batch_size, context_length, message):
    with pytest.raises(ValueError, match=message):
        batch(tokens, batch_size, context_length)
