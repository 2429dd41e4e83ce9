"""A language model passes its tokens through any blocks, and never back in time."""

import pytest
import torch
from against_torch import assert_near, few, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.ffn import FeedForward, SwiGLU
from lib.models.gpt import GPT
from lib.models.language_model import LanguageModel
from lib.models.presets import preset_config
from lib.norm import LayerNorm

small = st.integers(1, 4)


def random_ids(*shape: int, vocab_size: int = 10, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, shape, generator=generator)


def make_model(n_blocks: int, pre_norm: bool = True) -> LanguageModel:
    blocks = [
        Block(MultiHeadAttention(8, 2), SwiGLU(8, 12), pre_norm=pre_norm)
        for _ in range(n_blocks)
    ]
    model = LanguageModel(10, 8, 12, blocks, LayerNorm(8))
    random_weights(model)
    return model


class Recorder(nn.Module):
    """A block that adds one and keeps what it was given."""

    def forward(self, x, mask):
        self.x, self.mask = x, mask
        return x + 1


@few
@given(small, small, small, small, small, st.integers(0, 2))
def test_shapes(batch, vocab_size, n_heads, d_head, length, n_blocks):
    d_model = n_heads * d_head
    blocks = (
        Block(MultiHeadAttention(d_model, n_heads), FeedForward(d_model, 3))
        for _ in range(n_blocks)
    )
    model = LanguageModel(vocab_size, d_model, 4, blocks)
    ids = random_ids(batch, length, vocab_size=vocab_size)
    assert model(ids).shape == (batch, length, vocab_size)
    assert len(model.blocks) == n_blocks and model.context_length == 4


def test_blocks_run_one_after_the_other_with_a_causal_mask():
    first, second, norm = Recorder(), Recorder(), LayerNorm(4)
    model, ids = LanguageModel(5, 4, 6, [first, second], norm), random_ids(2, 3) % 5
    logits = model(ids)
    assert torch.equal(first.x, model.positions(model.tokens(ids)))
    assert torch.equal(second.x, first.x + 1)
    assert torch.equal(logits, model.head(norm(second.x + 1)))
    assert torch.equal(first.mask, causal_mask(3))
    assert torch.equal(second.mask, causal_mask(3))


def test_without_blocks_only_the_token_and_its_position_count():
    model, ids = make_model(n_blocks=0), random_ids(2, 12)
    logits = model(ids)
    for t in range(12):
        others = random_ids(2, 12, seed=t + 1)
        others[:, t] = ids[:, t]
        assert torch.equal(model(others)[:, t], logits[:, t])
    same = model(torch.full((1, 12), 3))[0]
    assert len({tuple(row) for row in same.tolist()}) == 12


@few
@given(st.integers(1, 11), st.integers(1, 3), st.booleans())
def test_the_future_changes_nothing(t, n_blocks, pre_norm):
    model, ids = make_model(n_blocks, pre_norm), random_ids(2, 12)
    changed = ids.clone()
    changed[:, t:] = (changed[:, t:] + 3) % 10
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :t], after[:, :t])
    assert (before != after).any(-1)[:, t:].all()


def test_the_past_counts():
    model, ids = make_model(n_blocks=1), random_ids(1, 12)
    changed = ids.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 10
    assert (model(ids) != model(changed)).any(-1).all()


def test_a_shorter_text_has_the_same_logits():
    model, ids = make_model(n_blocks=2), random_ids(2, 12)
    logits = model(ids)
    for length in range(1, 13):
        assert_near(model(ids[:, :length]), logits[:, :length])


@pytest.mark.parametrize("final_norm", [False, True])
def test_gpt_is_a_language_model_of_blocks(final_norm):
    gpt = GPT(preset_config("demo", final_norm=final_norm, n_layers=3))
    blocks = [
        Block(MultiHeadAttention(16, 2, bias=False), FeedForward(16, 32))
        for _ in range(3)
    ]
    by_hand = LanguageModel(10, 16, 32, blocks, LayerNorm(16) if final_norm else None)
    by_hand.load_state_dict(gpt.state_dict())
    assert torch.equal(gpt(random_ids(2, 32)), by_hand(random_ids(2, 32)))


def test_an_input_longer_than_the_context():
    make_model(1)(random_ids(1, 12))
    with pytest.raises(ValueError, match="length=13 .* context_length=12"):
        make_model(1)(random_ids(1, 13))


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "context_length"])
@pytest.mark.parametrize("size", [0, -2])
def test_sizes_below_one(name, size):
    sizes = {"vocab_size": 5, "d_model": 4, "context_length": 3, name: size}
    with pytest.raises(ValueError, match=f"{name}={size} must be at least 1"):
        LanguageModel(**sizes, blocks=[])
