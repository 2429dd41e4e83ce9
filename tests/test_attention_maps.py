"""The weights that `attention_maps` shows are the ones the model used, and the two
numbers that sum them up are what their formulas say.
"""

import math

import pytest
import torch
from against_torch import assert_near, few, random
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.evaluate.attention_maps import (
    attention_distance,
    attention_entropy,
    attention_maps,
)
from lib.ffn import FeedForward
from lib.models.gpt import GPT
from lib.models.presets import preset_config

lengths = st.integers(1, 6)


def entropy_of(row: list[float]) -> float:
    return -sum(w * math.log(w) for w in row if w > 0)


@few
@given(st.integers(1, 3), lengths, lengths, st.booleans())
def test_entropy_equals_the_formula(heads, n_queries, n_keys, with_zeros):
    weights = (3 * random(heads, n_queries, n_keys)).softmax(-1)
    if with_zeros:
        weights[:, 0] = 0
    expected = [[entropy_of(row) for row in head] for head in weights.tolist()]
    assert_near(attention_entropy(weights), torch.tensor(expected))


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_entropy_of_one_of_all_and_of_none(n):
    one, all_, none = torch.eye(n)[0], torch.full((n,), 1 / n), torch.zeros(n)
    entropies = attention_entropy(torch.stack([one, all_, none]))
    assert_near(entropies, torch.tensor([0, math.log(n), 0]))


def test_distance_by_hand():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    assert attention_distance(weights).tolist() == [0, 0.5, 0.75]
    both_ways = torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    assert attention_distance(both_ways).tolist() == [2, 1, 0]


@few
@given(st.integers(1, 2), st.integers(1, 3), lengths)
def test_distance_equals_the_formula(batch, heads, n):
    weights = random(batch, heads, n, n).softmax(-1)
    expected = torch.zeros(batch, heads, n)
    for i in range(n):
        for j in range(n):
            expected[:, :, i] += weights[:, :, i, j] * abs(i - j)
    assert_near(attention_distance(weights), expected)


def test_a_distance_needs_as_many_keys_as_queries():
    with pytest.raises(ValueError, match=r"weights has shape \(2, 3, 4\)"):
        attention_distance(torch.zeros(2, 3, 4))


def hooks_of(model: nn.Module) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()
    )


class TwoSteps(nn.Module):
    """Makes its attentions in one order and runs them in the other."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.first = MultiHeadAttention(6, 3), MultiHeadAttention(6, 2)

    def forward(self, x, memory):
        x, _ = self.first(x, causal_mask(x.size(1)))
        return self.second(x, memory=memory)[0]


def test_maps_are_the_weights_in_the_order_of_running():
    model, x, memory = TwoSteps(), random(2, 4, 6), random(2, 5, 6, seed=1)
    first, second = attention_maps(model, x, memory)
    between, expected = model.first(x, causal_mask(4), need_weights=True)
    assert_near(first, expected)
    assert_near(second, model.second(between, memory=memory, need_weights=True)[1])
    assert first.shape == (2, 2, 4, 4) and second.shape == (2, 3, 4, 5)


def test_a_block_with_a_memory_has_two_maps():
    block = Block(MultiHeadAttention(6, 2), FeedForward(6, 8), MultiHeadAttention(6, 3))
    maps = attention_maps(block, random(1, 4, 6), causal_mask(4), random(1, 5, 6))
    assert [tuple(m.shape) for m in maps] == [(1, 2, 4, 4), (1, 3, 4, 5)]


def test_gpt_has_one_map_per_layer_and_head():
    ids = torch.zeros(2, 5, dtype=torch.long)
    maps = attention_maps(GPT(preset_config("demo", n_layers=3)), ids)
    assert [tuple(m.shape) for m in maps] == [(2, 2, 5, 5)] * 3
    for weights in maps:
        assert_near(weights.sum(-1), torch.ones(2, 2, 5))
        assert (weights.triu(1) == 0).all()


def test_looking_changes_nothing():
    model, x, memory = TwoSteps(), random(2, 4, 6), random(2, 5, 6)
    before, seen = model(x, memory), []
    hook = model.register_forward_hook(lambda module, args, out: seen.append(out))
    maps = attention_maps(model, x, memory)
    hook.remove()
    assert_near(seen[0], before)  # while looking
    assert torch.equal(model(x, memory), before)
    assert hooks_of(model) == 0
    assert model.first(x)[1] is None
    assert not any(weights.requires_grad for weights in maps)
    assert all(p.grad is None for p in model.parameters())


def test_a_model_that_fails_is_left_as_it_was():
    model = TwoSteps()
    with pytest.raises(ValueError, match="memory has shape"):
        attention_maps(model, random(2, 4, 6), random(2, 5, 7))
    assert hooks_of(model) == 0
    assert model.first(random(2, 4, 6))[1] is None


def test_a_model_without_attention_has_no_maps():
    assert attention_maps(nn.Linear(3, 2), random(4, 3)) == []
