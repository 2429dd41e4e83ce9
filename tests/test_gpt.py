"""The GPT has the sizes it says, starts out knowing nothing, and looks back only."""

import math

import pytest
import torch
from torch.nn import functional as F

from lib.gpt import GPT, GPTConfig


def test_demo_has_exactly_5162_parameters():
    assert sum(p.numel() for p in GPT(GPTConfig()).parameters()) == 5_162


def test_final_norm_and_attention_bias_add_their_parameters():
    config = GPTConfig(final_norm=True, attention_bias=True)
    added = 2 * 16 + 2 * 4 * 16  # a gain and a bias; four biases in each of two blocks
    assert sum(p.numel() for p in GPT(config).parameters()) == 5_162 + added


def test_a_new_model_knows_nothing():
    ids = torch.randint(10, (64, 32), generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(
        GPT(GPTConfig())(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    )
    assert abs(loss.item() - math.log(10)) < 0.02


def test_changing_the_future_changes_nothing():
    model, ids = GPT(GPTConfig()), torch.arange(20).unsqueeze(0) % 10
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 3) % 10
    assert torch.equal(model(ids)[:, :12], model(changed)[:, :12])
    assert not torch.equal(model(ids)[:, 12:], model(changed)[:, 12:])


def test_an_input_longer_than_the_context():
    with pytest.raises(ValueError, match="length=33 .* context_length=32"):
        GPT(GPTConfig())(torch.zeros(1, 33, dtype=torch.long))


@pytest.mark.parametrize(
    "name", ["vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "context_length"]
)
@pytest.mark.parametrize("size", [0, -3])
def test_sizes_below_one(name, size):
    with pytest.raises(ValueError, match=f"{name}={size}"):
        GPTConfig(**{name: size})


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match="n_heads=3 .* d_model=16"):
        GPT(GPTConfig(n_heads=3))
