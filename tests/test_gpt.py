"""The block and the GPT equal PyTorch's own layers, and have the sizes they say."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.attention import causal_mask
from lib.block import Block
from lib.ffn import FeedForward
from lib.gpt import GPT, GPTConfig
from lib.norm import LayerNorm
from lib.position import LearnedPositions


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_layer_norm_equals_torch():
    ours, x = LayerNorm(9), 5 + 3 * random(4, 6, 9)
    nn.init.normal_(ours.gain)
    nn.init.normal_(ours.bias)
    expected = F.layer_norm(x, (9,), ours.gain, ours.bias, eps=1e-5)
    torch.testing.assert_close(ours(x), expected, atol=1e-6, rtol=1e-5)


def test_layer_norm_of_equal_numbers_is_its_bias():
    assert torch.equal(LayerNorm(4)(torch.full((2, 4), 7.0)), torch.zeros(2, 4))


def test_feed_forward_equals_torch_and_keeps_positions_apart():
    ours, x = FeedForward(6, 24), random(2, 5, 6)
    hidden = F.gelu(F.linear(x, ours.up.weight, ours.up.bias))
    expected = F.linear(hidden, ours.down.weight, ours.down.bias)
    torch.testing.assert_close(ours(x), expected)
    changed = x.clone()
    changed[:, 2] += 1
    same = (ours(changed) == ours(x)).all(-1)
    assert same[:, [0, 1, 3, 4]].all() and not same[:, 2].any()


def copied_layer(block: Block) -> nn.TransformerEncoderLayer:
    """PyTorch's own pre-norm layer, with the weights of our block."""
    layer = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    attention = block.attention
    inputs = [attention.q_proj, attention.k_proj, attention.v_proj]
    state = {
        "self_attn.in_proj_weight": torch.cat([p.weight for p in inputs]),
        "self_attn.in_proj_bias": torch.cat([p.bias for p in inputs]),
        "self_attn.out_proj.weight": attention.out_proj.weight,
        "self_attn.out_proj.bias": attention.out_proj.bias,
        "linear1.weight": block.ffn.up.weight,
        "linear1.bias": block.ffn.up.bias,
        "linear2.weight": block.ffn.down.weight,
        "linear2.bias": block.ffn.down.bias,
        "norm1.weight": block.attention_norm.gain,
        "norm1.bias": block.attention_norm.bias,
        "norm2.weight": block.ffn_norm.gain,
        "norm2.bias": block.ffn_norm.bias,
    }
    layer.load_state_dict(state)
    return layer


def test_block_equals_torch_with_the_same_weights():
    block = Block(d_model=12, n_heads=3, d_ff=20)
    for norm in (block.attention_norm, block.ffn_norm):
        nn.init.normal_(norm.gain)
        nn.init.normal_(norm.bias)
    x, mask = random(2, 7, 12), causal_mask(7)
    expected = copied_layer(block)(x, src_mask=~mask)
    torch.testing.assert_close(block(x, mask)[0], expected, atol=1e-5, rtol=1e-5)


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


def test_attention_maps_have_one_map_per_layer_and_head():
    maps = GPT(GPTConfig(n_layers=3)).attention_maps(
        torch.zeros(2, 5, dtype=torch.long)
    )
    assert [tuple(m.shape) for m in maps] == [(2, 2, 5, 5)] * 3


def test_an_input_longer_than_the_context():
    with pytest.raises(ValueError, match="length=33 .* context_length=32"):
        GPT(GPTConfig())(torch.zeros(1, 33, dtype=torch.long))


def test_positions_tell_equal_tokens_apart():
    x = torch.zeros(1, 4, 8)
    rows = LearnedPositions(4, 8)(x)[0]
    assert len({tuple(row) for row in rows.tolist()}) == 4


@pytest.mark.parametrize(
    "name", ["vocab_size", "d_model", "n_layers", "context_length"]
)
@pytest.mark.parametrize("size", [0, -3])
def test_sizes_below_one(name, size):
    with pytest.raises(ValueError, match=f"{name}={size}"):
        GPTConfig(**{name: size})


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match="n_heads=3 .* d_model=16"):
        GPT(GPTConfig(n_heads=3))
