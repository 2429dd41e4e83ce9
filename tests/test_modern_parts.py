"""What modern models changed: options of attention and positions, rows of many texts.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from against_torch import random
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lib.attention import (
    MultiHeadAttention,
    causal_mask,
    document_mask,
    padding_mask,
)
from lib.models import build_model, config_from_dict, config_to_dict
from lib.models.gpt import GPT, GPTConfig
from lib.norm import LayerNorm, RMSNorm
from lib.position import LearnedPositions, Rotary, RotaryScaling, SinusoidalPositions

POSITIONS = ["learned", "sinusoidal", "rotary"]
MODERN = GPTConfig(
    20, 24, 4, 2, 40, 16, n_kv_heads=2, norm="rms", position="rotary", ffn="swiglu"
)
IDS = torch.randint(1, 20, (2, 12), generator=torch.Generator().manual_seed(0))


def model_with(config: GPTConfig = MODERN, **changes) -> GPT:
    """A model whose weights are large enough that each of them matters."""
    model = GPT(dataclasses.replace(config, **changes)).eval()
    for seed, p in enumerate(model.parameters()):
        p.data.add_(0.3 * random(*p.shape, seed=seed))
    return model


def assert_near(ours: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


# Norms of queries and keys, and their own width


@pytest.mark.parametrize("norm", [RMSNorm, LayerNorm])
def test_queries_and_keys_are_normalised_head_by_head_before_they_turn(norm) -> None:
    options = {"n_kv_heads": 2, "rotary": Rotary(6, 9), "d_head": 6}
    ours = MultiHeadAttention(20, 4, **options, qk_norm=norm)
    ours.q_norm.gain.data = random(6, seed=7)
    ours.k_norm.gain.data = random(6, seed=8)
    x = random(2, 9, 20)
    q = ours.q_proj(x).view(2, 9, 4, 6).transpose(1, 2)
    k, v = (
        p(x).view(2, 9, 2, 6).transpose(1, 2).repeat_interleave(2, dim=1)
        for p in (ours.k_proj, ours.v_proj)
    )
    q, k = ours.rotary(ours.q_norm(q)), ours.rotary(ours.k_norm(k))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    expected = ours.out_proj(mixed.transpose(1, 2).reshape(2, 9, 24))
    assert_near(ours(x, is_causal=True)[0], expected)


def test_the_norm_of_the_keys_goes_into_the_cache_and_into_a_memory() -> None:
    model = model_with(qk_norm=True)
    cache = model.new_cache()
    cached = torch.cat([model(IDS[:, :5], cache), model(IDS[:, 5:], cache)], dim=1)
    assert_near(cached, model(IDS))
    attention = MultiHeadAttention(8, 2, qk_norm=RMSNorm)
    x, memory = random(1, 3, 8), random(1, 5, 8, seed=1)
    read = attention(x, memory=attention.read(memory))[0]
    assert_near(read, attention(x, memory=memory)[0])


def test_scaled_queries_change_nothing_behind_a_norm() -> None:
    model = model_with(qk_norm=True, attention_bias=False)
    plain = model_with(attention_bias=False)
    for each in (model, plain):
        before = each(IDS)
        for block in each.blocks:
            block.attention.q_proj.weight.data *= 50
        near = torch.allclose(each(IDS), before, atol=1e-2)
        assert near == (each is model)


@pytest.mark.parametrize("d_head", [2, 6, 16])
def test_heads_of_any_width(d_head: int) -> None:
    model = model_with(d_head=d_head)
    attention = model.blocks[0].attention
    assert attention.q_proj.weight.shape == (4 * d_head, 24)
    assert attention.k_proj.weight.shape == (2 * d_head, 24)
    assert attention.out_proj.weight.shape == (24, 4 * d_head)
    assert model(IDS).shape == (2, 12, 20)
    copy = build_model(config_from_dict(config_to_dict(model.config)))
    copy.load_state_dict(model.state_dict())
    assert_near(copy(IDS), model(IDS), atol=0)


def test_the_width_may_be_one_that_the_heads_do_not_divide() -> None:
    assert MultiHeadAttention(10, 4, d_head=6)(random(1, 3, 10))[0].shape == (1, 3, 10)
    with pytest.raises(ValueError, match="n_heads=4 does not divide d_model=10"):
        MultiHeadAttention(10, 4)
    with pytest.raises(ValueError, match="d_head=0 must be at least 1"):
        MultiHeadAttention(10, 4, d_head=0)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("norm_eps", "1e-5", TypeError),
        ("norm_eps", 0.0, ValueError),
        ("rotary_base", None, TypeError),
        ("rotary_base", math.inf, ValueError),
        ("qk_norm", "yes", TypeError),
        ("qk_norm", 1, TypeError),
        ("rotary_scaling", 2.0, TypeError),
        ("window", True, TypeError),
        ("window", 8.0, TypeError),
        ("full_every", "2", TypeError),
        ("kv_rank", 8.5, TypeError),
        ("n_experts", True, TypeError),
        ("n_layers", None, TypeError),
        ("shared_expert", "no", TypeError),
        ("dropout", "0", TypeError),
        ("window", 0, ValueError),
    ],
)
def test_an_option_that_makes_no_sense(name, value, error) -> None:
    with pytest.raises(error, match=f"^{name}={value!r} must be"):
        model_with(**{name: value})


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_the_epsilon_is_that_of_all_norms(norm: str) -> None:
    model = model_with(norm=norm, qk_norm=True, norm_eps=0.3)
    kinds = (RMSNorm, LayerNorm)
    norms = [part for part in model.modules() if isinstance(part, kinds)]
    assert len(norms) == 1 + 2 * 4 and {part.eps for part in norms} == {0.3}


# Rotary: base and scaling


def test_the_base_sets_the_frequencies() -> None:
    rotary = model_with(rotary_base=500.0).blocks[0].attention.rotary
    frequencies = 500.0 ** -(torch.arange(0, 6, 2) / 6)
    assert_near(rotary.cos[7], (7 * frequencies).cos())


def test_one_factor_for_all_is_interpolation_of_the_positions() -> None:
    x = random(2, 9, 8)
    slowed = Rotary(8, 40, scaling=RotaryScaling(4.0))(x, 12)
    at_quarters = torch.stack([Rotary(8, 40)(x[:, ::4], 3)[:, i] for i in range(3)], 1)
    assert_near(slowed[:, ::4], at_quarters)


def test_fast_pairs_are_spared_and_slow_ones_slowed_by_the_factor() -> None:
    scaling = RotaryScaling(8.0, n_slow=1, n_fast=4, trained_length=100)
    turns = torch.tensor([0.5, 1.0, 2.5, 4.0, 9.0])
    slowed = scaling.slowed(turns * 2 * math.pi / 100) * 100 / (2 * math.pi)
    share = torch.tensor([1 / 8, 1 / 8, (1 + 1 / 8) / 2, 1.0, 1.0])
    assert_near(slowed / turns, share)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factor": 0.5}, "factor=0.5 must be at least 1"),
        ({"factor": math.inf}, "factor=inf must be at least 1 and finite"),
        ({"factor": math.nan}, "factor=nan must be at least 1"),
        ({"factor": 2, "n_slow": 4, "n_fast": 4}, "n_fast=4 must be above n_slow=4"),
        ({"factor": 2, "n_slow": 4}, "n_fast=None must be above n_slow=4"),
        ({"factor": 2, "n_fast": 4}, "n_fast=4 must be above n_slow=None"),
        ({"factor": 2, "trained_length": 0}, "trained_length=0 must be at least 1"),
    ],
)
def test_a_scaling_that_makes_no_sense(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RotaryScaling(**values)


def test_a_scaling_comes_back_from_a_checkpoint() -> None:
    scaling = RotaryScaling(8.0, n_slow=1.0, n_fast=4.0, trained_length=8)
    config = dataclasses.replace(MODERN, rotary_scaling=scaling)
    again = config_from_dict(config_to_dict(config))
    assert again == config and again.rotary_scaling == scaling


# Positions of each row


@pytest.mark.parametrize(
    "make",
    [partial(LearnedPositions, 10), partial(SinusoidalPositions, 10)],
    ids=["learned", "sinusoidal"],
)
def test_positions_may_be_given_token_by_token(make: Callable) -> None:
    part, x = make(6), random(2, 3, 6)
    places = torch.tensor([[4, 0, 9], [1, 1, 2]])
    for row, column in ((r, c) for r in range(2) for c in range(3)):
        one = x[row : row + 1, column : column + 1]
        expected = part(one, int(places[row, column]))
        assert_near(part(x, places)[row, column], expected[0, 0])


def test_rotary_positions_may_be_given_token_by_token() -> None:
    rotary, x = Rotary(6, 10), random(2, 4, 3, 6)
    places = torch.tensor([[4, 0, 9], [1, 1, 2]])
    for row, column in ((r, c) for r in range(2) for c in range(3)):
        expected = rotary(x[row, :, column : column + 1], int(places[row, column]))
        assert_near(rotary(x, places)[row, :, column], expected[:, 0])


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    ("places", "error", "message"),
    [
        (torch.full((2, 12), 16), ValueError, "between 16 and 16; .* 0 and 15"),
        (torch.full((2, 12), -1), ValueError, "between -1 and -1; .* 0 and 15"),
        (torch.zeros(12, dtype=torch.long), ValueError, r"shape \(12,\)"),
        (torch.zeros(2, 9, dtype=torch.long), ValueError, r"shape \(2, 9\)"),
        (torch.zeros(2, 12), TypeError, "dtype torch.float32"),
    ],
)
def test_positions_that_do_not_exist(position, places, error, message) -> None:
    with pytest.raises(error, match=message):
        model_with(position=position)(IDS, positions=places)


# Several texts in a row, and rows of unequal length


def packed() -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Three texts, one row that holds them, their positions and their numbers."""
    texts = [IDS[0, :5], IDS[0, 5:8], IDS[1, :4]]
    places = torch.cat([torch.arange(len(text)) for text in texts])
    numbers = torch.cat([torch.full((len(t),), n) for n, t in enumerate(texts)])
    return texts, torch.cat(texts)[None], places[None], numbers[None]


@pytest.mark.parametrize("position", POSITIONS)
def test_texts_in_one_row_are_read_as_if_each_were_alone(position: str) -> None:
    model, (texts, row, places, numbers) = model_with(position=position), packed()
    logits = model(row, positions=places, mask=document_mask(numbers))[0]
    assert_near(logits, torch.cat([model(text[None])[0] for text in texts]))


@pytest.mark.parametrize("position", POSITIONS)
def test_so_are_their_gradients(position: str) -> None:
    model = model_with(position=position).double()  # the sums are large
    texts, row, places, numbers = packed()
    loss = model(row, positions=places, mask=document_mask(numbers)).square().sum()
    together = torch.autograd.grad(loss, list(model.parameters()))
    loss = sum(model(text[None]).square().sum() for text in texts)
    alone = torch.autograd.grad(loss, list(model.parameters()))
    for ours, expected in zip(together, alone, strict=True):
        assert_near(ours, expected)


@pytest.mark.parametrize("position", POSITIONS)
def test_another_text_in_the_row_changes_nothing(position: str) -> None:
    model, (texts, row, places, numbers) = model_with(position=position), packed()
    options = {"positions": places, "mask": document_mask(numbers)}
    changed = row.clone()
    changed[:, :5] = (changed[:, :5] + 1) % 20
    before, after = model(row, **options), model(changed, **options)
    assert torch.equal(before[:, 5:], after[:, 5:])
    assert not torch.allclose(before[:, :5], after[:, :5], atol=1e-3)


@pytest.mark.parametrize("position", POSITIONS)
def test_positions_that_start_again_do_not_keep_texts_apart(position: str) -> None:
    model, (texts, row, places, _) = model_with(position=position), packed()
    leaking = model(row, positions=places)[0]
    alone = torch.cat([model(text[None])[0] for text in texts])
    assert_near(leaking[:5], alone[:5])
    assert not torch.allclose(leaking[5:], alone[5:], atol=1e-2)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("qk_norm", [False, True])
def test_rows_behind_padding_are_read_as_if_each_were_alone(position, qk_norm) -> None:
    model = model_with(position=position, qk_norm=qk_norm)
    rows, n_padding = IDS.clone(), torch.tensor([0, 4])
    rows[1, :4] = 0
    places = (torch.arange(12) - n_padding[:, None]).clamp(min=0)
    cache, logits = model.new_cache(), []
    for start, end in ((0, 7), (7, 8), (8, 12)):  # prefill, one token, several
        options = {"positions": places[:, start:end]}
        options["mask"] = padding_mask(rows[:, :end], pad_id=0)
        logits.append(model(rows[:, start:end], cache, **options))
    logits = torch.cat(logits, dim=1)
    assert_near(logits[:1], model(rows[:1]))
    assert_near(logits[1:, 4:], model(rows[1:, 4:]))
    assert logits.isfinite().all()


def test_a_mask_is_added_to_the_causal_one() -> None:
    model = model_with()
    everything = torch.ones(2, 1, 12, 12, dtype=torch.bool)
    assert_near(model(IDS, mask=everything), model(IDS))


def test_a_number_may_be_a_whole_one() -> None:
    whole = {"dropout": 0, "balance_weight": 0, "bias_rate": 0, "n_experts": 2}
    assert model_with(**whole).config.dropout == 0


def test_a_scaling_needs_something_that_turns() -> None:
    with pytest.raises(ValueError, match="rotary_scaling needs position='rotary'"):
        model_with(position="learned", rotary_scaling=RotaryScaling(2.0))
    gain = {"rotary_scaling": RotaryScaling(2.0, gain=1.1), "n_kv_heads": None}
    with pytest.raises(ValueError, match="kv_rank needs .* without a gain"):
        model_with(kv_rank=8, d_head=8, **gain)
    for name, value in (("gain", "1"), ("n_slow", "1"), ("trained_length", 8.5)):
        with pytest.raises(TypeError, match=f"{name}={value!r} must be"):
            RotaryScaling(**({"factor": 2.0, "n_fast": 4.0} | {name: value}))


def test_without_a_mask_none_is_built() -> None:
    model, seen = model_with(), []
    spy = lambda block, args, options: seen.append((args[1], options["is_causal"]))
    model.blocks[0].register_forward_pre_hook(spy, with_kwargs=True)
    model(IDS)
    model(IDS, model.new_cache())
    model(IDS, mask=torch.ones(2, 1, 1, 12, dtype=torch.bool))
    assert seen[:2] == [(None, True)] * 2
    assert seen[2][0].shape == (2, 1, 12, 12) and not seen[2][1]


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest new tensor holds."""

    n_numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            self.n_numbers = max(self.n_numbers, output.numel())
        return output


@torch.no_grad()
def test_a_masked_step_with_a_cache_builds_one_row_of_the_mask() -> None:
    model, length = model_with(context_length=400), 399
    cache, ids = model.new_cache(), IDS[:, :1].expand(2, length)
    model(ids, cache)
    mask = torch.ones(2, 1, 1, length + 1, dtype=torch.bool)
    with Largest() as largest:
        model(ids[:, :1], cache, mask=mask)
    assert largest.n_numbers < length**2 / 4


def test_numbers_of_documents_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"documents has shape \(4,\)"):
        document_mask(torch.zeros(4))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 1, 5, 5\)"):
        model_with()(IDS, mask=document_mask(torch.zeros(2, 5)))
    with pytest.raises(TypeError, match="mask has dtype torch.float32"):
        model_with()(IDS, mask=torch.zeros(2, 1, 12, 12))


def test_a_mask_of_the_new_tokens_alone_is_refused() -> None:
    model = model_with()
    cache = model.new_cache()
    model(IDS[:, :5], cache)
    with pytest.raises(ValueError, match=r"\(2, 1, 1, 1\); .* = \(2, 1, 1, 6\)"):
        model(IDS[:, 5:6], cache, mask=padding_mask(IDS[:, 5:6], pad_id=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    model, (_, row, places, numbers) = model_with(qk_norm=True), packed()
    options = {"positions": places, "mask": document_mask(numbers)}
    expected = model(row, **options)
    ours = model.to(dtype)(row, **options).float()
    rounding = 0 if dtype == torch.float32 else 0.05 * expected.abs().max().item()
    assert_near(ours, expected, atol=rounding)


# What is known to go wrong


def heads_repeated_in_turn(self: Tensor, repeats: int, dim: int) -> Tensor:
    return torch.cat([self] * repeats, dim=dim)


def test_heads_shared_in_the_wrong_order_are_noticed(monkeypatch) -> None:
    """`repeat` gives the heads 0 1 0 1, where 0 0 1 1 is meant."""
    expected = model_with()(IDS)
    monkeypatch.setattr(Tensor, "repeat_interleave", heads_repeated_in_turn)
    with pytest.raises(AssertionError):
        assert_near(model_with()(IDS), expected)


def test_a_width_of_heads_taken_for_granted_is_noticed() -> None:
    """Heads need not be ``d_model / n_heads`` wide."""
    model = model_with(position="learned", d_head=12)
    expected = model(IDS)
    model.blocks[0].attention.d_head = 24 // 4
    assert model(IDS).shape == expected.shape
    with pytest.raises(AssertionError):
        assert_near(model(IDS), expected)


def test_a_rotation_that_forgets_the_cache_is_noticed(monkeypatch) -> None:
    turn, model, cache = Rotary.forward, model_with(), None
    expected, cache = model(IDS), model.new_cache()
    monkeypatch.setattr(Rotary, "forward", lambda self, x, start=0: turn(self, x, 0))
    parts = [model(IDS[:, :5], cache), model(IDS[:, 5:], cache)]
    with pytest.raises(AssertionError):
        assert_near(torch.cat(parts, dim=1), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, eps: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + eps),
        lambda x, eps: x / (x.pow(2).sum(-1, keepdim=True) + eps).sqrt(),
        lambda x, eps: x / (x.var(-1, keepdim=True) + eps).sqrt(),
    ],
    ids=["epsilon outside the root", "sum for mean", "variance for mean square"],
)
def test_another_formula_of_the_norm_is_noticed(wrong: Callable) -> None:
    x = torch.cat([random(3, 8), 1e-3 * random(3, 8, seed=1)])
    expected = F.rms_norm(x, (8,), eps=1e-5)
    assert_near(RMSNorm(8)(x), expected)
    assert not torch.allclose(wrong(x, 1e-5), expected, atol=1e-2)


def test_squares_that_overflow_in_half_precision_do_not() -> None:
    x = torch.full((1, 8), 300.0, dtype=torch.float16)
    assert x.pow(2).isinf().all()
    assert_near(RMSNorm(8).half()(x), torch.ones_like(x), atol=1e-3)


def test_a_causal_mask_at_the_wrong_corner_is_noticed() -> None:
    """The queries are the last of the positions, not the first."""
    model, cache = model_with(), None
    expected, cache = model(IDS), model.new_cache()
    model(IDS[:, :5], cache)
    wrong = causal_mask(12)[:7].expand(2, 1, 7, 12)
    with pytest.raises(AssertionError):
        assert_near(model(IDS[:, 5:], cache, mask=wrong), expected[:, 5:])
