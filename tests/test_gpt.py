"""The GPT has the sizes it says, starts out knowing nothing, and looks back only, with
each of its options; with a cache it computes the same as without.
"""

import itertools
import math

import pytest
import torch
from against_torch import assert_near, few, random, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib.ffn import SwiGLU
from lib.models.gpt import GPT
from lib.models.presets import PRESETS, preset_config
from lib.norm import LayerNorm, RMSNorm

norms, positions = ["layer", "rms"], ["learned", "sinusoidal", "rotary"]
ffns = ["gelu", "gelu_tanh", "relu", "relu2", "swiglu"]


def random_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(10, shape, generator=generator)


def make(**changes) -> GPT:
    """A small model whose weights are large enough for every part to matter."""
    model = GPT(preset_config("demo", **changes)).eval()
    random_weights(model)
    return model


def test_demo_has_exactly_5162_parameters():
    assert sum(p.numel() for p in GPT(PRESETS["demo"]).parameters()) == 5_162


def test_final_norm_and_attention_bias_add_their_parameters():
    config = preset_config("demo", final_norm=True, attention_bias=True)
    added = 2 * 16 + 2 * 4 * 16  # a gain and a bias; four biases in each of two blocks
    assert sum(p.numel() for p in GPT(config).parameters()) == 5_162 + added


def test_a_new_model_knows_nothing():
    ids = torch.randint(10, (64, 32), generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(
        GPT(PRESETS["demo"])(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    )
    assert abs(loss.item() - math.log(10)) < 0.02


def test_changing_the_future_changes_nothing():
    model, ids = GPT(PRESETS["demo"]), torch.arange(20).unsqueeze(0) % 10
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 3) % 10
    assert torch.equal(model(ids)[:, :12], model(changed)[:, :12])
    assert not torch.equal(model(ids)[:, 12:], model(changed)[:, 12:])


def test_an_input_longer_than_the_context():
    with pytest.raises(ValueError, match="length=33 .* context_length=32"):
        GPT(PRESETS["demo"])(torch.zeros(1, 33, dtype=torch.long))


@pytest.mark.parametrize(
    "name", ["vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "context_length"]
)
@pytest.mark.parametrize("size", [0, -3])
def test_sizes_below_one(name, size):
    with pytest.raises(ValueError, match=f"{name}={size}"):
        preset_config("demo", **{name: size})


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match="n_heads=3 .* d_model=16"):
        GPT(preset_config("demo", n_heads=3))


# Options


@pytest.mark.parametrize("norm, position", [*itertools.product(norms, positions)])
@pytest.mark.parametrize("ffn", ffns)
def test_options_change_the_parts_and_nothing_else(norm, position, ffn):
    config = preset_config(
        "demo", norm=norm, position=position, ffn=ffn, final_norm=True
    )
    model, per_norm = GPT(config), 32 if norm == "layer" else 16
    per_ffn = 3 * 16 * 32 if ffn == "swiglu" else 2 * 16 * 32 + 32 + 16
    expected = 2 * (4 * 16 * 16 + per_ffn) + 5 * per_norm + 2 * 10 * 16 + 10
    expected += 32 * 16 if position == "learned" else 0
    assert sum(p.numel() for p in model.parameters()) == expected
    kinds = {type(m) for m in model.modules() if type(m) in (LayerNorm, RMSNorm)}
    assert kinds == {LayerNorm if norm == "layer" else RMSNorm}
    assert (type(model.blocks[1].ffn) is SwiGLU) == (ffn == "swiglu")


@few
@given(
    st.sampled_from(norms),
    st.sampled_from(positions),
    st.sampled_from(ffns),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
    st.integers(1, 11),
)
def test_with_any_options_it_looks_back_only(norm, position, ffn, kv, bias, t):
    model = make(
        norm=norm,
        position=position,
        ffn=ffn,
        n_heads=4,
        n_kv_heads=kv,
        attention_bias=bias,
    )
    ids = random_ids(2, 12)
    changed = ids.clone()
    changed[:, t:] = (changed[:, t:] + 3) % 10
    before, after = model(ids), model(changed)
    assert_near(before[:, :t], after[:, :t])
    assert (before != after).any(-1)[:, t:].all()


@pytest.mark.parametrize("position", positions)
def test_every_kind_of_position_tells_the_order(position):
    model, ids = make(position=position), torch.tensor([[1, 2, 3, 4]])
    swapped = torch.tensor([[2, 1, 3, 4]])
    assert (model(ids) - model(swapped))[0, -1].abs().max() > 1e-3


@pytest.mark.parametrize("ffn", ffns[:-1])
def test_the_bend_is_the_one_with_that_name(ffn):
    bends = {
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "relu": F.relu,
        "relu2": lambda x: F.relu(x) ** 2,
    }
    part, x = make(ffn=ffn).blocks[0].ffn, random(3, 16)
    expected = {name: part.down(bend(part.up(x))) for name, bend in bends.items()}
    assert_near(part(x), expected.pop(ffn))
    for other in expected.values():
        assert (part(x) - other).abs().max() > 1e-5


def test_a_tied_head_is_the_table_of_tokens():
    model = make(tie_weights=True, head_bias=False)
    assert model.head.weight is model.tokens.weight
    assert sum(p.numel() for p in model.parameters()) == 5_162 - 10 - 10 * 16
    assert len(dict(model.named_parameters())) == len(set(model.parameters()))
    model(random_ids(1, 3)).sum().backward()
    assert (model.tokens.weight.grad != 0).all()  # also of tokens that were not read


def test_a_model_of_one_kind_has_what_it_is_made_of():
    model = make(tie_weights=True, head_bias=False, final_norm=True, n_layers=1)
    ids, block = random_ids(2, 7), model.blocks[0]
    x = model.tokens(ids) + model.positions.table.weight[:7]
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    x = x + block.attention(block.attention_norm(x), mask)[0]
    x = x + block.ffn(block.ffn_norm(x))
    assert_near(model(ids), model.final_norm(x) @ model.tokens.weight.T)


def test_dropout_works_in_training_only_and_at_each_of_its_places():
    model, ids = make(dropout=0.5), random_ids(2, 9)
    assert torch.equal(model(ids), model(ids))
    assert torch.equal(model(ids), make()(ids))
    places = [model.dropout, *(block.dropout for block in model.blocks)]
    for place in places:
        place.train()
        assert not torch.equal(model(ids), model(ids))
        place.eval()
    dropped = model.train().dropout(torch.ones(10_000))
    assert set(dropped.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("init", ["normal", "gpt2", "fan_in"])
def test_the_weights_are_drawn_as_wide_as_documented(init):
    sizes = {"vocab_size": 99, "d_model": 64, "d_ff": 128, "n_layers": 3}
    model = GPT(
        preset_config("demo", **sizes, attention_bias=True, final_norm=True, init=init)
    )
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            assert (weight == (0 if name.endswith("bias") else 1)).all()
        elif name.startswith("blocks"):
            std = 0.7 / weight.size(1) ** 0.5 if init == "fan_in" else 0.02
            writes = name.endswith(("out_proj.weight", "down.weight"))
            if writes and init != "normal":
                std /= 6**0.5  # six parts write into the stream
            assert weight.std().item() == pytest.approx(std, rel=0.05)
        elif init != "fan_in":
            assert weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("init", ["normal", "gpt2", "fan_in"])
def test_a_tied_model_knows_nothing_at_the_start(init):
    sizes = {"vocab_size": 500, "d_model": 64, "final_norm": True}
    config = preset_config(
        "demo", **sizes, head_bias=False, tie_weights=True, init=init
    )
    ids = torch.randint(500, (8, 32), generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(GPT(config)(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert abs(loss.item() - math.log(500)) < 0.5


@pytest.mark.parametrize(
    "values, message",
    [
        ({"norm": "batch"}, r"norm='batch' must be in \['layer', 'rms'\]"),
        ({"position": "alibi"}, "position='alibi' must be in .*'rotary'"),
        ({"ffn": "tanh"}, "ffn='tanh' must be in .*'none'"),
        ({"init": "zeros"}, "init='zeros' must be in .*'normal'"),
        ({"dropout": 1.0}, r"dropout=1.0 must lie in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout=-0.1 must lie in \[0, 1\)"),
        ({"n_kv_heads": 0}, "n_kv_heads=0 must be at least 1"),
        ({"tie_weights": True}, "tie_weights=True needs head_bias=False"),
    ],
)
def test_options_that_do_not_exist(values, message):
    with pytest.raises(ValueError, match=message):
        preset_config("demo", **values)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"n_heads": 4, "n_kv_heads": 3}, "n_kv_heads=3 does not divide n_heads=4"),
        ({"n_heads": 16, "position": "rotary"}, "d_head=1 must be even"),
        ({"d_model": 15, "n_heads": 3, "position": "sinusoidal"}, "d_model=15 .* even"),
    ],
)
def test_sizes_that_do_not_fit_together(values, message):
    with pytest.raises(ValueError, match=message):
        GPT(preset_config("demo", **values))


# With a cache


@few
@given(
    st.sampled_from(norms),
    st.sampled_from(positions),
    st.sampled_from(ffns),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 3),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
)
def test_with_a_cache_it_is_the_same_in_chunks(norm, position, ffn, kv, batch, chunks):
    model = make(norm=norm, position=position, ffn=ffn, n_heads=4, n_kv_heads=kv)
    ids, cache = random_ids(batch, sum(chunks)), model.new_cache()
    logits = [model(chunk, cache) for chunk in ids.split(chunks, dim=1)]
    assert_near(torch.cat(logits, dim=1), model(ids), atol=1e-5)


@pytest.mark.parametrize("position", positions)
def test_a_full_cache_takes_no_more(position):
    model = make(position=position, context_length=8)
    cache = model.new_cache()
    model(random_ids(1, 8), cache)
    with pytest.raises(ValueError, match="length=9 .* context_length=8"):
        model(random_ids(1, 1), cache)


def test_each_block_has_its_own_cache():
    model = make()
    cache = model.new_cache()
    model(random_ids(1, 5), cache)
    assert [kept.length for kept in cache] == [5, 5]
    assert not torch.equal(cache[0].keys[:, :, :5], cache[1].keys[:, :, :5])
    assert [kept.length for kept in model.new_cache()] == [0, 0]


def test_a_cache_of_another_batch_or_model_does_not_answer():
    model = make()
    cache = model.new_cache()
    model(random_ids(2, 3), cache)
    for batch in (1, 3):
        with pytest.raises(ValueError, match=r"k has .*must have shape \(2, "):
            model(random_ids(batch, 1), cache)
    deeper = make(n_layers=3)
    with pytest.raises(ValueError, match="shorter"):
        deeper(random_ids(2, 1), cache)
