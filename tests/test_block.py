"""A block equals torch's encoder and decoder layers, pre-norm and post-norm, forward
and backward; a stack of blocks does not see the future or the padding.
"""

import pytest
import torch
from against_torch import (
    assert_gradient_near,
    assert_gradients_near,
    assert_near,
    block_by_torchs_names,
    both_types,
    few,
    gradients,
    random,
    random_weights,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lib.attention import MultiHeadAttention, causal_mask, padding_mask
from lib.block import Block
from lib.ffn import FeedForward, SwiGLU
from lib.norm import LayerNorm, RMSNorm

small, length = st.integers(1, 3), st.integers(1, 6)
dtypes = st.sampled_from(both_types)
either_norm = pytest.mark.parametrize("pre_norm", [True, False])
PAD = -1


def make_block(d_model=12, n_heads=3, d_ff=20, cross=False, pre_norm=True) -> Block:
    attention = MultiHeadAttention(d_model, n_heads)
    cross_attention = MultiHeadAttention(d_model, n_heads) if cross else None
    block = Block(attention, FeedForward(d_model, d_ff), cross_attention, pre_norm)
    random_weights(block)
    return block


def torchs_layer(block: Block, n_heads: int) -> nn.Module:
    """Torch's own layer with the weights of a block, in float64."""
    kind = nn.TransformerEncoderLayer
    if block.cross_attention is not None:
        kind = nn.TransformerDecoderLayer
    d_model, d_ff = block.attention.d_model, block.ffn.up.out_features
    options = {"batch_first": True, "norm_first": block.pre_norm}
    layer = kind(d_model, n_heads, d_ff, 0.0, F.gelu, **options).double()
    layer.load_state_dict(block_by_torchs_names(block))
    return layer


def assert_backward_near(output, expected, inputs, same_inputs, block, layer) -> None:
    signs = random(*output.shape, seed=9).sign()
    output.backward(signs.to(output.dtype))
    expected.backward(signs.double())
    for x, same_x in zip(inputs, same_inputs, strict=True):
        assert_gradient_near(x.grad, same_x.grad)
    assert_gradients_near(block_by_torchs_names(block, gradients), layer)


@few
@given(small, length, small, st.integers(4, 6), length, st.booleans(), dtypes)
def test_equals_torchs_encoder_layer(b, t, n_heads, d_head, d_ff, pre_norm, dtype):
    d_model = n_heads * d_head
    block = make_block(d_model, n_heads, d_ff, pre_norm=pre_norm).to(dtype)
    layer, mask = torchs_layer(block, n_heads), causal_mask(t)
    x = random(b, t, d_model).to(dtype)
    same_x, x = x.double().requires_grad_(), x.requires_grad_()
    output, expected = block(x, mask), layer(same_x, src_mask=~mask)
    assert output.dtype == dtype
    assert_near(output, expected)
    assert_backward_near(output, expected, [x], [same_x], block, layer)


@few
@given(small, length, length, small, st.integers(4, 6), st.booleans(), dtypes)
def test_equals_torchs_decoder_layer(b, t, n_keys, n_heads, d_head, pre_norm, dtype):
    d_model = n_heads * d_head
    block = make_block(d_model, n_heads, 5, cross=True, pre_norm=pre_norm).to(dtype)
    layer, mask = torchs_layer(block, n_heads), causal_mask(t)
    ids = torch.zeros(b, n_keys, dtype=torch.long)
    ids[-1, max(1, n_keys - 2) :] = PAD
    inputs = [random(b, n, d_model, seed=n).to(dtype) for n in (t, n_keys)]
    same_inputs = [y.double().requires_grad_() for y in inputs]
    x, memory = (y.requires_grad_() for y in inputs)
    output = block(x, mask, memory, padding_mask(ids, PAD))
    expected = layer(*same_inputs, tgt_mask=~mask, memory_key_padding_mask=ids == PAD)
    assert_near(output, expected)
    assert_backward_near(output, expected, inputs, same_inputs, block, layer)


@either_norm
def test_without_a_mask_equals_torch(pre_norm):
    block, x = make_block(pre_norm=pre_norm), random(2, 7, 12)
    assert_near(block(x), torchs_layer(block, 3)(x.double()))


@either_norm
@pytest.mark.parametrize("t", range(1, 7))
def test_three_blocks_do_not_see_the_future(pre_norm, t):
    blocks = [make_block(pre_norm=pre_norm) for _ in range(3)]
    x = random(2, 7, 12)
    changed = x.clone()
    changed[:, t:] = random(2, 7 - t, 12, seed=1)
    before, after = x, changed
    for block in blocks:
        before, after = (block(y, causal_mask(7)) for y in (before, after))
    assert torch.equal(before[:, :t], after[:, :t])
    assert (before != after).any(-1)[:, t:].all()


@either_norm
def test_three_blocks_do_not_see_the_padding(pre_norm):
    blocks = [make_block(pre_norm=pre_norm) for _ in range(3)]
    ids = torch.tensor([[0, 0, 0, PAD, PAD], [0, PAD, PAD, PAD, PAD]])
    real = ids != PAD

    def real_outputs(x, ids):
        for block in blocks:
            x = block(x, padding_mask(ids, PAD))
        return x[:, :5][real]

    x = random(2, 5, 12)
    other_content = torch.where(real.unsqueeze(-1), x, random(2, 5, 12, seed=1))
    longer = torch.cat([x, random(2, 3, 12, seed=2)], dim=1)
    assert_near(real_outputs(other_content, ids), real_outputs(x, ids))
    longer_ids = F.pad(ids, (0, 3), value=PAD)
    assert_near(real_outputs(longer, longer_ids), real_outputs(x, ids))


@either_norm
def test_the_padding_of_a_memory_changes_nothing(pre_norm):
    block, x = make_block(cross=True, pre_norm=pre_norm), random(2, 4, 12)
    memory, ids = random(2, 5, 12, seed=1), torch.tensor([[0] * 5, [0, 0] + [PAD] * 3])
    changed = memory.clone()
    changed[1, 2:] = random(3, 12, seed=2)
    masks = [causal_mask(4), padding_mask(ids, PAD)]
    output = block(x, masks[0], memory, masks[1])
    assert torch.equal(block(x, masks[0], changed, masks[1]), output)
    changed[:, 1] += 1
    assert (block(x, masks[0], changed, masks[1]) != output).any(-1).all()


def test_parameter_counts():
    attention = 4 * (12 * 12 + 12)
    for ffn, of_ffn in ((FeedForward(12, 20), 512), (SwiGLU(12, 20), 720)):
        block = Block(MultiHeadAttention(12, 3), ffn)
        count = sum(p.numel() for p in block.parameters())
        assert count == attention + of_ffn + 2 * 24
    count = sum(p.numel() for p in make_block(cross=True).parameters())
    assert count == 2 * attention + 512 + 3 * 24


def test_pre_norm_leaves_a_path_from_input_to_output():
    block, x = make_block(), random(2, 4, 12)
    for last in (block.attention.out_proj, block.ffn.down):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    assert torch.equal(block(x), x)


def test_a_memory_needs_a_cross_attention_and_the_other_way_round():
    x = random(2, 4, 12)
    with pytest.raises(ValueError, match="memory was given .* cross_attention=None"):
        make_block()(x, memory=x)
    with pytest.raises(ValueError, match="memory=None .* a cross_attention"):
        make_block(cross=True)(x)


@either_norm
def test_vectors_of_another_width(pre_norm):
    with pytest.raises(ValueError, match=r"x has shape \(2, 4, 11\).* d_model=12"):
        make_block(pre_norm=pre_norm)(random(2, 4, 11))
    with pytest.raises(ValueError, match=r"memory has shape \(2, 4, 11\).*d_model=12"):
        make_block(cross=True, pre_norm=pre_norm)(
            random(2, 4, 12), memory=random(2, 4, 11)
        )


@either_norm
def test_the_norms_are_made_by_what_is_given(pre_norm):
    parts = MultiHeadAttention(12, 3), FeedForward(12, 20), MultiHeadAttention(12, 3)
    block = Block(*parts, pre_norm, norm=lambda width: RMSNorm(width, eps=0.5))
    norms = [block.attention_norm, block.cross_norm, block.ffn_norm]
    assert all(type(n) is RMSNorm and n.eps == 0.5 for n in norms)
    assert len({id(n) for n in norms}) == 3
    assert type(make_block().ffn_norm) is LayerNorm


def test_a_block_with_another_norm_is_wired_the_same():
    block = Block(MultiHeadAttention(12, 3), FeedForward(12, 20), norm=RMSNorm)
    random_weights(block)
    x, mask = random(2, 5, 12), causal_mask(5)
    y = x + block.attention(block.attention_norm(x), mask)[0]
    assert_near(block(x, mask), y + block.ffn(block.ffn_norm(y)))


@either_norm
def test_dropout_is_torchs_and_off_outside_training(pre_norm):
    """The same draws drop the same numbers as in torch's layer, which has two more
    places for dropout: in the attention weights and inside the feed-forward.
    """
    parts = MultiHeadAttention(12, 3), FeedForward(12, 20)
    block = Block(*parts, pre_norm=pre_norm, dropout=0.4)
    random_weights(block)
    layer, x = torchs_layer(block, 3).float(), random(1, 6, 12)
    layer.dropout1.p = layer.dropout2.p = 0.4
    torch.manual_seed(1)
    expected = layer(x)
    torch.manual_seed(1)
    assert_near(block(x), expected, atol=1e-5)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert_near(block(x), layer.eval()(x), atol=1e-5)


def test_dropout_drops_what_is_added_and_not_the_stream():
    block, x = Block(*make_parts_of_zero(), dropout=0.5), random(4, 6, 12)
    assert torch.equal(block(x), x)


def make_parts_of_zero() -> list[nn.Module]:
    parts = [MultiHeadAttention(12, 3), FeedForward(12, 20)]
    for part in parts:
        for weight in part.parameters():
            nn.init.zeros_(weight)
    return parts


def test_options_go_on_to_the_self_attention_only():
    class Attention(MultiHeadAttention):
        def forward(self, x, mask=None, **options):
            self.given = options
            return super().forward(x, mask)

    attention = Attention(12, 3)
    cross = MultiHeadAttention(12, 3)
    block = Block(attention, FeedForward(12, 20), cross)
    block(random(2, 4, 12), memory=random(2, 3, 12), cache=7, colour="red")
    assert attention.given == {"cache": 7, "colour": "red"}
    with pytest.raises(TypeError, match="colour"):
        make_block()(random(2, 4, 12), colour="red")
