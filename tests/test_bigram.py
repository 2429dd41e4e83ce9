"""The bigram model, its loss, its training and its writing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib.evaluate.losses import cross_entropy, entropy, nats_to_bits
from lib.generate import sample
from lib.generate.sampling import sample_next
from lib.models.bigram import BigramConfig, BigramLM, count_pairs
from lib.train import estimate_loss, fit


def random_tokens(n: int, vocab_size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, (n,), generator=generator)


@given(st.lists(st.integers(0, 4), min_size=2))
def test_counts_equal_a_loop(ids):
    expected = torch.zeros(5, 5, dtype=torch.long)
    for before, after in zip(ids, ids[1:]):
        expected[before, after] += 1
    assert torch.equal(count_pairs(torch.tensor(ids), 5), expected)


@pytest.mark.parametrize("bad", [-1, 5])
def test_counting_tokens_outside_the_vocabulary(bad):
    with pytest.raises(ValueError, match="vocab_size=5 allows 0 .. 4"):
        count_pairs(torch.tensor([0, bad, 1]), 5)


def test_both_forms_have_4225_parameters_for_65_characters():
    for d_model in (None, 32):
        model = BigramLM(BigramConfig(65, d_model))
        assert sum(p.numel() for p in model.parameters()) == 4_225
        assert model(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 65)


def test_only_the_last_token_counts():
    model, ids = BigramLM(BigramConfig(7, 4)), random_tokens(12, 7).view(2, 6)
    changed = ids.clone()
    changed[:, :5] = (changed[:, :5] + 1) % 7
    assert torch.equal(model(ids)[:, 5], model(changed)[:, 5])


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_cross_entropy_equals_torch(batch, length, vocab_size, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 10 * torch.randn(batch, length, vocab_size, generator=generator)
    targets = torch.randint(vocab_size, (batch, length), generator=generator)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(
        cross_entropy(logits, targets), expected, atol=1e-6, rtol=1e-5
    )


def test_cross_entropy_survives_huge_logits():
    loss = cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([1]))
    assert loss.item() == 2e4


def test_cross_entropy_of_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"targets has shape \(2,\).*\(2, 3\)"):
        cross_entropy(torch.zeros(2, 3, 5), torch.zeros(2, dtype=torch.long))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda p: sum(p) > 0.1))
def test_entropy_equals_torch(weights):
    p = torch.tensor(weights) / sum(weights)
    expected = torch.special.entr(p).sum()
    torch.testing.assert_close(entropy(p), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("p", [[0.5, 0.6], [1.5, -0.5], [0.2, 0.2]])
def test_entropy_of_what_is_no_distribution(p):
    with pytest.raises(ValueError, match="probabilities must be >= 0 and sum to 1"):
        entropy(torch.tensor(p))


def test_one_bit_is_the_logarithm_of_two():
    assert nats_to_bits(math.log(2)) == 1


def test_training_reaches_the_counts():
    tokens = torch.tensor([0, 1, 0, 2] * 50)
    model = BigramLM(BigramConfig(3))
    losses = fit(model, lambda: (tokens[None, :-1], tokens[None, 1:]), 200, 0.1)
    assert losses[-1] < losses[0]
    p = model(torch.tensor([[0]])).softmax(-1)[0, 0]
    torch.testing.assert_close(p, torch.tensor([0.0, 0.5, 0.5]), atol=0.02, rtol=0)


def test_the_estimate_is_the_loss_of_all_pairs_for_any_window():
    torch.manual_seed(0)
    model, tokens = BigramLM(BigramConfig(9)), random_tokens(230, 9)
    expected = F.cross_entropy(model(tokens[:-1]), tokens[1:]).item()
    for context_length, batch_size in ((1, 256), (7, 3), (64, 2), (229, 1)):
        estimate = estimate_loss(model, tokens, context_length, batch_size)
        assert estimate == pytest.approx(expected, abs=1e-5)


def test_the_estimate_switches_dropout_off_and_on_again():
    model = torch.nn.Sequential(BigramLM(BigramConfig(9)), torch.nn.Dropout(0.5))
    tokens = random_tokens(100, 9)
    assert estimate_loss(model, tokens, 8) == estimate_loss(model, tokens, 8)
    assert model.training


def test_greedy_takes_the_likeliest():
    model = BigramLM(BigramConfig(4))
    model.logits.weight.data = torch.eye(4).roll(1, dims=1)  # 0 -> 1 -> 2 -> 3 -> 0
    assert sample(model, torch.tensor([[2], [0]]), 4, 0).tolist() == [
        [2, 3, 0, 1, 2],
        [0, 1, 2, 3, 0],
    ]


def test_draws_have_the_probabilities_of_the_softmax():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    generator = torch.Generator().manual_seed(0)
    for temperature in (1.0, 0.5, 3.0):
        draws = sample_next(logits, temperature, generator).flatten()
        shares = draws.bincount(minlength=3) / len(draws)
        expected = (logits[0] / temperature).softmax(-1)
        torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)


def test_the_same_seed_writes_the_same_text():
    model, prompt = BigramLM(BigramConfig(50)), torch.zeros(1, 1, dtype=torch.long)
    one, two, other = (
        sample(model, prompt, 30, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_sampling_leaves_the_global_random_state_alone():
    model, prompt = BigramLM(BigramConfig(5)), torch.zeros(1, 1, dtype=torch.long)
    before = torch.get_rng_state()
    sample(model, prompt, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_prompts_and_temperatures():
    with pytest.raises(ValueError, match="temperature=-1"):
        sample_next(torch.zeros(1, 3), -1)
    with pytest.raises(ValueError, match=r"ids has shape \(1, 0\)"):
        sample(BigramLM(BigramConfig(3)), torch.zeros(1, 0, dtype=torch.long), 1)
    with pytest.raises(ValueError, match=r"ids has shape \(4,\)"):
        sample(BigramLM(BigramConfig(3)), torch.zeros(4, dtype=torch.long), 1)
