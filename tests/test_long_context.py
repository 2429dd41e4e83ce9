"""Longer texts: attention in blocks, windows and their cache, latent keys and values.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable

import pytest
import torch
from against_torch import assert_near, both_types, few, random, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import lib.attention
import lib.flash
from lib.attention import (
    KVCache,
    MultiHeadAttention,
    WindowCache,
    causal_mask,
    document_mask,
    padding_mask,
    scaled_dot_product_attention,
    window_mask,
)
from lib.flash import flash_attention
from lib.generate import generate
from lib.latent import LatentAttention
from lib.models import build_model, config_from_dict, config_to_dict, count_parameters
from lib.models.gpt import GPT, GPTConfig
from lib.position import Rotary, RotaryScaling
from lib.train.checkpoint import load_checkpoint, save_checkpoint

IDS = torch.randint(1, 20, (2, 30), generator=torch.Generator().manual_seed(0))
PLAIN = GPTConfig(20, 24, 4, 3, 40, 32, position="rotary", init="fan_in")
WINDOWS = [
    {"window": 5},
    {"window": 1},
    {"window": 40},
    {"window": 5, "full_every": 2},
    {"window": 5, "position": "learned", "n_kv_heads": 2, "qk_norm": True},
]
LATENT = [{"kv_rank": 7, "d_head": 8}, {"kv_rank": 7, "d_head": 8, "window": 5}]
CHUNKS = [(30,), (1,) * 30, (12, 18), (3, 1, 1, 9, 2, 14), (4, 5, 6, 15)]


def model_with(**changes) -> GPT:
    """A model whose weights are large enough that each of them matters."""
    model = GPT(dataclasses.replace(PLAIN, **changes)).eval()
    random_weights(model)
    return model


def in_chunks(model: GPT, chunks: tuple[int, ...], ids: Tensor = IDS) -> Tensor:
    """The logits of tokens that come in pieces, with a cache."""
    cache, parts, start = model.new_cache(), [], 0
    for length in chunks:
        parts.append(model(ids[:, start : start + length], cache))
        start += length
    return torch.cat(parts, dim=1)


# Flash attention


def inputs(t_q: int, t_k: int, dtype=torch.float32) -> list[Tensor]:
    shapes = ((2, 3, t_q, 8), (2, 3, t_k, 8), (2, 3, t_k, 5))
    made = [random(*shape, seed=seed).to(dtype) for seed, shape in enumerate(shapes)]
    return [tensor.requires_grad_() for tensor in made]


def band(t_q: int, t_k: int, is_causal: bool, window: int | None) -> Tensor:
    """What may be looked at, as one table."""
    if not is_causal:
        return torch.ones(t_q, t_k, dtype=torch.bool)
    mask = causal_mask(t_k) if window is None else window_mask(t_k, window)
    return mask[t_k - t_q :]


@few
@given(
    st.integers(1, 12),
    st.integers(0, 9),
    st.integers(1, 16),
    st.booleans(),
    st.sampled_from([None, 1, 2, 5, 50]),
)
def test_flash_is_torchs_attention_forward_and_backward(
    t_q, before, block_size, is_causal, window
) -> None:
    t_k, window = t_q + before, window if is_causal else None
    q, k, v = inputs(t_q, t_k)
    ours = flash_attention(
        q, k, v, is_causal=is_causal, window=window, block_size=block_size
    )
    allowed = band(t_q, t_k, is_causal, window)
    expected = F.scaled_dot_product_attention(q, k, v, allowed)
    assert_near(ours, expected, atol=1e-5)
    weight = random(*ours.shape, seed=9)
    for own, torchs in zip(
        torch.autograd.grad(ours, (q, k, v), weight),
        torch.autograd.grad(expected, (q, k, v), weight),
        strict=True,
    ):
        assert_near(own, torchs, atol=1e-5)


def test_flash_has_the_gradients_of_its_numbers() -> None:
    q, k, v = inputs(4, 6, torch.float64)

    def flash(*qkv: Tensor) -> Tensor:
        return flash_attention(*qkv, is_causal=True, window=4, block_size=4)

    assert torch.autograd.gradcheck(flash, (q, k, v))


def test_no_query_may_look_ahead() -> None:
    q, k, v = (w.detach() for w in inputs(7, 7))
    before = flash_attention(q, k, v, is_causal=True, block_size=3)
    k[..., 4:, :] += 1
    v[..., 4:, :] -= 1
    after = flash_attention(q, k, v, is_causal=True, block_size=3)
    assert torch.equal(before[..., :4, :], after[..., :4, :])
    assert not torch.allclose(before[..., 4:, :], after[..., 4:, :], atol=1e-2)


@pytest.mark.parametrize("n_padding", [0, 1, 3, 5, 6])
def test_a_first_block_without_a_key_and_rows_without_any(n_padding: int) -> None:
    """Left padding hides the whole first block; all six hide everything."""
    q, k, v = inputs(6, 6)
    mask = (torch.arange(6) >= n_padding).view(1, 1, 6)
    ours = flash_attention(q, k, v, mask, is_causal=True, block_size=3)
    allowed = (mask.unsqueeze(-2) & causal_mask(6)).expand(2, 3, 6, 6)
    expected, _ = scaled_dot_product_attention(q, k, v, allowed)
    assert_near(ours, expected, atol=1e-5)
    for own, torchs in zip(
        torch.autograd.grad(ours.square().sum(), (q, k, v)),
        torch.autograd.grad(expected.square().sum(), (q, k, v)),
        strict=True,
    ):
        assert own.isfinite().all()
        assert_near(own, torchs, atol=1e-5)


@pytest.mark.parametrize("level", [-2e5, 2e5])
def test_scores_far_from_zero_change_nothing(level: float) -> None:
    """A finite mask value such as -1e4 would be the largest score here."""
    q, k, v = inputs(6, 6)
    with torch.no_grad():
        q[..., 0], k[..., 0] = level, math.sqrt(8)  # adds the level to every score
    ours = flash_attention(q, k, v, is_causal=True, block_size=4)
    wide = (w.double() for w in (q, k, v))
    expected = F.scaled_dot_product_attention(*wide, is_causal=True)
    assert_near(ours, expected, atol=0.1)  # the scores have few digits left
    assert_near(ours[..., 0, :], v[..., 0, :])


@pytest.mark.parametrize("dtype", both_types)
def test_flash_in_both_number_formats(dtype: torch.dtype) -> None:
    q, k, v = inputs(9, 9, dtype)
    ours = flash_attention(q, k, v, is_causal=True, block_size=4)
    assert ours.dtype == dtype
    wide = [w.detach().double() for w in (q, k, v)]
    assert_near(ours, F.scaled_dot_product_attention(*wide, is_causal=True))
    gradients = torch.autograd.grad(ours.sum(), (q, k, v))
    assert {gradient.dtype for gradient in gradients} == {dtype}


def test_flash_stays_in_float32_under_autocast() -> None:
    q, k, v = inputs(9, 9)
    expected = flash_attention(q, k, v, block_size=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = flash_attention(q, k, v, block_size=4)
        gradients = torch.autograd.grad(ours.sum(), (q, k, v))
    assert torch.equal(ours, expected)
    for own, whole in zip(
        gradients, torch.autograd.grad(expected.sum(), (q, k, v)), strict=True
    ):
        assert torch.equal(own, whole)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor of a computation holds."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def largest_of(attend: Callable, length: int) -> int:
    q, k, v = (random(1, 1, length, 8, seed=n).requires_grad_() for n in range(3))
    with Largest() as found:
        attend(q, k, v).sum().backward()
    return found.numbers


def test_memory_is_linear_in_the_length() -> None:
    def flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flash_attention(q, k, v, is_causal=True, block_size=16)

    def table(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return scaled_dot_product_attention(q, k, v, causal_mask(len(q[0, 0])), True)[0]

    assert [largest_of(flash, t) for t in (64, 128, 256)] == [1024, 2048, 4096]
    assert [largest_of(table, t) for t in (64, 128, 256)] == [64**2, 128**2, 256**2]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"block_size": 0}, ValueError, "block_size=0 must be at least 1"),
        ({"window": 0}, ValueError, "window=0 must be at least 1"),
        ({"window": 3}, ValueError, "window=3 needs is_causal=True"),
        ({"q": random(2, 3, 6, 7)}, ValueError, "q has d_head=7 but k has d_head=8"),
        ({"v": random(2, 3, 5, 8)}, ValueError, "k has 6 positions but v has 5"),
        ({"q": random(2, 1, 6, 8)}, ValueError, "q, k, v have shapes"),
        ({"mask": torch.ones(2, 3, 6)}, TypeError, "mask has dtype torch.float32"),
        (
            {"mask": torch.ones(2, 6, dtype=torch.bool)},
            ValueError,
            r"mask has shape \(2, 6\); it must be \(2, 3, 6\)",
        ),
        (
            {"q": random(2, 3, 7, 8), "is_causal": True},
            ValueError,
            "with 7 queries for 6 keys",
        ),
    ],
)
def test_what_flash_refuses(changes: dict, error: type, message: str) -> None:
    given = {name: random(2, 3, 6, 8) for name in "qkv"} | changes
    with pytest.raises(error, match=message):
        flash_attention(**given)


# Windows


@few
@given(st.integers(1, 12), st.integers(1, 15))
def test_a_window_is_itself_and_the_few_before(length: int, window: int) -> None:
    mask = window_mask(length, window)
    for i, row in enumerate(mask.tolist()):
        assert row == [i - window < j <= i for j in range(length)]
    with pytest.raises(ValueError, match="window=0 must be at least 1"):
        window_mask(length, 0)


def test_a_window_is_torchs_attention_with_that_mask() -> None:
    ours, x = MultiHeadAttention(12, 3, window=4), random(2, 9, 12)
    plain = MultiHeadAttention(12, 3)
    plain.load_state_dict(ours.state_dict())
    expected, weights = plain(x, window_mask(9, 4), need_weights=True)
    found, own = ours(x, is_causal=True, need_weights=True)
    assert_near(found, expected)
    assert_near(own, weights)
    assert_near(ours(x, is_causal=True)[0], expected)
    assert_near(ours(x, causal_mask(9))[0], expected)
    with pytest.raises(ValueError, match="window=4 needs is_causal=True or a mask"):
        ours(x)
    with pytest.raises(ValueError, match="memory was given with a window"):
        ours(x, memory=x)


@pytest.mark.parametrize("dtype", both_types)
def test_a_window_in_both_number_formats(dtype: torch.dtype) -> None:
    model = model_with(window=5)
    expected = model(IDS).double()
    assert_near(model.to(dtype)(IDS), expected, average=0.05)


@pytest.mark.parametrize("options", WINDOWS + LATENT)
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_with_a_cache_the_logits_are_the_same(options: dict, chunks: tuple) -> None:
    """Also beyond the window, and where more tokens come at once than it holds."""
    model = model_with(**options)
    assert_near(in_chunks(model, chunks), model(IDS), atol=1e-5)


def test_a_window_wider_than_the_text_changes_nothing() -> None:
    plain, wide = model_with(), model_with(window=30)
    assert_near(wide(IDS), plain(IDS))
    assert not torch.allclose(model_with(window=29)(IDS), plain(IDS), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "reach"),
    [({"window": 5}, 12), ({"window": 5, "full_every": 3}, 29), ({"window": 1}, 0)],
)
def test_how_far_back_a_token_can_reach(options: dict, reach: int) -> None:
    """Each block with a window reaches window - 1 further back."""
    model, changed = model_with(**options), IDS.clone()
    before = model(IDS)[:, -1]
    changed[:, : 29 - reach] = (changed[:, : 29 - reach] + 1) % 20
    assert torch.allclose(model(changed)[:, -1], before, atol=1e-6)
    if reach < 29:
        changed[:, 29 - reach] = (changed[:, 29 - reach] + 1) % 20
        assert not torch.allclose(model(changed)[:, -1], before, atol=1e-6)


@pytest.mark.parametrize("options", [*WINDOWS, *LATENT, {}])
def test_a_later_token_changes_nothing_earlier(options: dict) -> None:
    model, changed = model_with(**options), IDS.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 20
    before, after = model(IDS), model(changed)
    assert_near(before[:, :20], after[:, :20], atol=1e-6)
    assert not torch.allclose(before[:, 20], after[:, 20], atol=1e-4)
    chunks = (12, 18)
    before, after = in_chunks(model, chunks), in_chunks(model, chunks, changed)
    assert_near(before[:, :20], after[:, :20], atol=1e-6)


@pytest.mark.parametrize("options", [{"window": 5}, LATENT[1]])
def test_padding_and_several_texts_in_a_row(options: dict) -> None:
    model, places = model_with(**options), torch.arange(30).expand(2, 30)
    rows, shifted = IDS.clone(), (torch.arange(30) - torch.tensor([[0], [9]]))
    rows[1, :9] = 0
    shifted, cache, logits = shifted.clamp(min=0), model.new_cache(), []
    for start, end in ((0, 13), (13, 14), (14, 30)):
        mask = padding_mask(rows[:, :end], pad_id=0)
        given = {"positions": shifted[:, start:end], "mask": mask}
        logits.append(model(rows[:, start:end], cache, **given))
    logits = torch.cat(logits, dim=1)
    assert_near(logits[:1], model(rows[:1]), atol=1e-5)
    assert_near(logits[1:, 9:], model(rows[1:, 9:]), atol=1e-5)
    numbers = (places >= 11).long()
    packed = model(IDS, positions=places - 11 * numbers, mask=document_mask(numbers))
    assert_near(packed[:, 11:], model(IDS[:, 11:]), atol=1e-5)


def test_the_text_written_is_the_same_with_and_without_a_cache() -> None:
    for options in (*WINDOWS, *LATENT):
        model, prompt = model_with(**options), IDS[:, :9]
        texts = [
            generate(model, prompt, 40, temperature=0.0, use_cache=use_cache)
            for use_cache in (False, True)
        ]
        assert torch.equal(*texts)


# The ring


def test_the_ring_keeps_the_last_tokens_and_counts_all() -> None:
    cache = WindowCache(20, window=4)
    tokens = torch.arange(10.0).view(1, 1, 10, 1)
    for start, end, first in ((0, 2, 0), (2, 5, 0), (5, 6, 2)):
        k, v = cache.append(tokens[:, :, start:end], -tokens[:, :, start:end])
        assert k.flatten().tolist() == [*range(first, end)]
        assert torch.equal(k, -v)
    assert cache.length == 6 and cache.keys.shape == (1, 1, 4, 1)
    assert cache.keys.flatten().tolist() == [4, 5, 2, 3]
    k, _ = cache.append(tokens[:, :, 6:], tokens[:, :, 6:])
    assert k.flatten().tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert cache.keys.flatten().tolist() == [8, 9, 6, 7]


def test_what_the_ring_refuses() -> None:
    with pytest.raises(ValueError, match="window=0 must be at least 1"):
        WindowCache(4, 0)
    cache, k = WindowCache(5, 2), random(1, 2, 3, 4)
    cache.append(k, k)
    with pytest.raises(ValueError, match="length=6 is more than self.context_length=5"):
        cache.append(k, k)
    one = k[:, :, :1]
    for wrong, name in (((one[:, :1], one), "k"), ((one, one.double()), "v")):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            cache.append(*wrong)
    assert cache.length == 3


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, 3 * 2 * 24 * 32),
        ({"n_kv_heads": 1}, 3 * 2 * 6 * 32),
        ({"window": 5}, 3 * 2 * 24 * 5),
        ({"window": 5, "full_every": 2}, 2 * 24 * (5 + 32 + 5)),
        ({"window": 99}, 3 * 2 * 24 * 32),
        ({"kv_rank": 7, "d_head": 8}, 3 * (7 + 4) * 32),
        ({"kv_rank": 7, "d_head": 8, "window": 5}, 3 * (7 + 4) * 5),
    ],
)
def test_the_bytes_of_a_full_cache(options: dict, numbers: int) -> None:
    """Counted in what is stored; no tensor behind it is larger."""
    model = model_with(**options)
    caches = model.new_cache()
    model(IDS, caches)
    kept = [w for cache in caches for w in (cache.keys, cache.values)]
    rows = len(IDS)
    assert sum(w.nbytes for w in kept) == 4 * numbers * rows
    assert sum(w.untyped_storage().nbytes() for w in kept) == 4 * numbers * rows


# Latent attention


def test_latent_attention_is_its_formula() -> None:
    ours = LatentAttention(12, 3, 5, Rotary(2, 9), d_head=4)
    random_weights(ours)
    x = random(2, 9, 12)
    latent, shared = ours.latent_proj(x), ours.rotary(ours.turned_proj(x))
    q = ours.q_proj(x).view(2, 9, 3, 6).transpose(1, 2)
    mixed = []
    for head in range(3):
        rows = slice(4 * head, 4 * head + 4)
        k = F.linear(latent, ours.k_proj.weight[rows], ours.k_proj.bias[rows])
        v = F.linear(latent, ours.v_proj.weight[rows], ours.v_proj.bias[rows])
        turned = ours.rotary(q[:, head, :, 4:])
        scores = q[:, head, :, :4] @ k.mT + turned @ shared.mT
        scores = (scores / 6**0.5).masked_fill(~causal_mask(9), -math.inf)
        mixed.append(scores.softmax(dim=-1) @ v)
    expected = ours.out_proj(torch.cat(mixed, dim=-1))
    assert_near(ours(x, is_causal=True)[0], expected, atol=1e-5)


def test_the_key_matrix_can_move_into_the_query() -> None:
    """q . (W c) = (W^T q) . c, so nobody needs to make the keys."""
    ours = LatentAttention(12, 3, 5, Rotary(2, 9), bias=False, d_head=4)
    x = random(2, 9, 12)
    shared, latent = ours.read(x)
    k, _ = ours.lend(ours.rotary(shared), latent)
    q = ours.split(ours.q_proj(x))
    plain = q[..., :4] @ ours.k_proj.weight.view(3, 4, 5)  # (B, H, T, R)
    scores = plain @ latent.mT
    assert_near(scores, q[..., :4] @ k[..., :4].mT, atol=1e-5)


@pytest.mark.parametrize("dtype", both_types)
def test_latent_attention_in_both_number_formats(dtype: torch.dtype) -> None:
    model = model_with(**LATENT[0])
    expected = model(IDS).double()
    assert_near(model.to(dtype)(IDS), expected, average=0.05)


def test_a_model_with_these_parts_comes_back_from_its_settings() -> None:
    for options in (*WINDOWS, *LATENT):
        model = model_with(**options)
        copy = build_model(config_from_dict(config_to_dict(model.config)))
        copy.load_state_dict(model.state_dict())
        assert torch.equal(copy(IDS), model(IDS))
        plain = dict.fromkeys(("window", "full_every"))
        same = GPT(dataclasses.replace(model.config, **plain))
        assert count_parameters(same) == count_parameters(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window=0 must be at least 1"),
        ({"kv_rank": 0}, "kv_rank=0 must be at least 1"),
        ({"window": 4, "full_every": 0}, "full_every=0 must be at least 1"),
        ({"full_every": 2}, "full_every=2 needs a window"),
        ({"kv_rank": 4, "position": "learned"}, "needs position='rotary'"),
        ({"kv_rank": 4, "n_kv_heads": 2}, "needs n_kv_heads=None; it is 2"),
        ({"kv_rank": 4, "qk_norm": True}, "needs qk_norm=False; it is True"),
        ({"kv_rank": 4, "d_head": 6}, "kv_rank=4 needs a d_head that 4 divides, not 6"),
    ],
)
def test_settings_that_exclude_each_other(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPT(dataclasses.replace(PLAIN, **options))


# YaRN


def test_the_gain_multiplies_queries_and_keys() -> None:
    x = random(2, 9, 8)
    scaling = RotaryScaling(4.0, 1.0, 4.0, 24)
    plain = Rotary(8, 9, scaling=scaling)(x)
    sharp = Rotary(8, 9, scaling=dataclasses.replace(scaling, gain=1.5))(x)
    assert_near(sharp, 1.5 * plain)


def test_whole_pairs_bound_the_ramp() -> None:
    """From 64 positions and base 10,000: pairs 0 .. 7 turn 10.2 to 0.003 times."""
    frequencies = 1e4 ** -(torch.arange(8) / 8)
    scaling = RotaryScaling(4.0, 1.0, 5.0, 64, by_pair=True)
    kept = scaling.slowed(frequencies) / frequencies
    share = torch.tensor([1, 2 / 3, 1 / 3, 0, 0, 0, 0, 0])
    assert_near(kept, share + (1 - share) / 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gain": 0.0}, "gain=0.0 must be above 0 and finite"),
        ({"gain": math.nan}, "gain=nan must be above 0 and finite"),
        ({"by_pair": True}, "by_pair=True needs n_slow=None above 0"),
        (
            {"by_pair": True, "n_slow": 0.0, "n_fast": 2.0},
            "by_pair=True needs n_slow=0.0 above 0",
        ),
    ],
)
def test_a_scaling_that_makes_no_sense(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RotaryScaling(4.0, **changes)


def test_one_pair_has_no_ramp() -> None:
    scaling = RotaryScaling(4.0, 1.0, 4.0, 24, by_pair=True)
    with pytest.raises(ValueError, match="by_pair=True needs 2 pairs or more, not 1"):
        Rotary(2, 9, scaling=scaling)


# What is known to go wrong


def append_with(fault: str = "none") -> Callable:
    """An `append` that keeps the last tokens in their order, with one fault."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        n_new, window = k.size(2), self.window
        if self.length > 0:
            k, v = torch.cat([self.keys, k], 2), torch.cat([self.values, v], 2)
        if fault == "trimmed before attending":
            k, v = k[:, :, -window:], v[:, :, -window:]
        n_kept = window - 2 if fault == "window off by one" else window
        self.keys, self.values = k[:, :, -n_kept:], v[:, :, -n_kept:]
        self.length = self.length + n_new
        if fault == "kept offsets":
            self.length = self.keys.size(2)
        if fault == "order of the ring":
            self.keys, self.values = self.keys.roll(1, 2), self.values.roll(1, 2)
        return k, v

    return append


@pytest.mark.parametrize(
    "fault",
    ["trimmed before attending", "window off by one", "kept offsets"]
    + ["order of the ring"],
)
def test_a_ring_with_a_fault_is_noticed(fault: str, monkeypatch) -> None:
    model = model_with(window=5)
    expected = model(IDS)
    monkeypatch.setattr(WindowCache, "append", append_with())
    assert_near(in_chunks(model, (12, 4, 14)), expected, atol=1e-5)
    monkeypatch.setattr(WindowCache, "append", append_with(fault))
    with pytest.raises((AssertionError, ValueError, RuntimeError)):
        assert_near(in_chunks(model, (12, 4, 14)), expected, atol=1e-5)


def test_causality_broken_by_the_ring_is_noticed(monkeypatch) -> None:
    """Several tokens at once see all that the cache returns, also what comes later."""
    model, changed = model_with(window=5), IDS.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 20
    everything = lambda length, window: torch.ones(length, length, dtype=torch.bool)
    monkeypatch.setattr(lib.attention, "window_mask", everything)
    before = in_chunks(model, (12, 18))
    with pytest.raises(AssertionError):
        assert_near(in_chunks(model, (12, 18), changed)[:, :20], before[:, :20])


@pytest.mark.parametrize("change", [-1, 1])
def test_a_mask_off_by_one_is_noticed(change: int, monkeypatch) -> None:
    right, model = window_mask, model_with(window=5)
    before, changed = model(IDS)[:, -1], IDS.clone()
    wrong = lambda length, window: right(length, window + change)
    monkeypatch.setattr(lib.attention, "window_mask", wrong)
    changed[:, :17] = (changed[:, :17] + 1) % 20
    near = torch.allclose(model(changed)[:, -1], before, atol=1e-6)
    assert not near  # with the right mask they are: the test of the reach


def test_a_latent_cache_that_keeps_all_heads_is_noticed(monkeypatch) -> None:
    """The output is right; only the bytes tell."""
    model = model_with(kv_rank=7, d_head=8)

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        turned, latent = self.turned_proj(memory), self.latent_proj(memory)
        return turned.unsqueeze(1), latent.unsqueeze(1).repeat(1, 4, 1, 1)

    lend = LatentAttention.lend
    monkeypatch.setattr(LatentAttention, "read", read)
    first = lambda self, k, v: lend(self, k, v[:, :1])
    monkeypatch.setattr(LatentAttention, "lend", first)
    with pytest.raises(AssertionError):
        test_the_bytes_of_a_full_cache({"kv_rank": 7, "d_head": 8}, 3 * 11 * 32)
    assert_near(in_chunks(model, (12, 18)), model(IDS), atol=1e-5)


def flash_with(old: str, new: str) -> Callable:
    """The library's `flash_attention` with other words in its code."""
    source = inspect.getsource(lib.flash)
    assert old in source
    found: dict = {"__name__": "faulty"}
    exec(source.replace(old, new), found)
    return found["flash_attention"]


def check_flash(flash: Callable) -> None:
    """Hold against PyTorch what the tests above do, in one go."""
    hidden = (torch.arange(8) >= 3).view(1, 1, 8)
    for n_queries, window, mask, level in (
        (8, None, None, 0.0),
        (5, 3, None, 0.0),
        (8, None, hidden, 0.0),
        (8, None, None, -2e5),
    ):
        q, k, v = inputs(n_queries, 8)
        with torch.no_grad():
            if level:
                q[..., 0], k[..., 0] = level, math.sqrt(8)
        ours = flash(q, k, v, mask, is_causal=True, window=window, block_size=3)
        allowed = band(n_queries, 8, True, window).expand(2, 3, -1, -1)
        allowed = allowed if mask is None else allowed & mask.unsqueeze(-2)
        expected, _ = scaled_dot_product_attention(q, k, v, allowed)
        assert_near(ours, expected, atol=0.1 if level else 1e-5)
        if not level:
            for own, torchs in zip(
                torch.autograd.grad(ours.square().sum(), (q, k, v)),
                torch.autograd.grad(expected.square().sum(), (q, k, v)),
                strict=True,
            ):
                assert_near(own, torchs, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shrink * total[", "total["),
        ("shrink * out[", "out["),
        ("base = new.masked_fill(new == -math.inf, 0)", "base = new"),
        ("total.clamp_(min=1)", "pass"),
        ("top.masked_fill_(top == -math.inf, 0)", "pass"),
        ("top + total.log()", "top"),
        ("(from_weights - taken[..., rows, :])", "from_weights"),
        ("hidden, -math.inf", "hidden, -1e4"),
        ("queries + k.size(-2) - q.size(-2) - places", "queries - places"),
        ("distance >= reach", "distance > reach"),
        ("distance < 0", "distance < -1"),
        ("first = max(0, start - before)", "first = max(0, start)"),
        ("end - 1 + reach - before", "end - 2 + reach - before"),
        ("range(0, n_keys, block_size)", "range(0, n_keys - 2, block_size)"),
    ],
)
def test_a_flash_attention_with_a_fault_is_noticed(old: str, new: str) -> None:
    check_flash(flash_attention)
    with pytest.raises((AssertionError, RuntimeError)):
        check_flash(flash_with(old, new))


def test_a_model_with_yarn_is_saved_and_loaded(tmp_path) -> None:
    yarn = RotaryScaling(2.0, 1.0, 32.0, 16, 1.07, by_pair=True)
    sizes = dict(d_model=16, n_heads=2, n_layers=1, d_ff=16, context_length=8)
    model = GPT(GPTConfig(**sizes, position="rotary", rotary_scaling=yarn))
    save_checkpoint(tmp_path / "yarn.safetensors", model)
    copy = load_checkpoint(tmp_path / "yarn.safetensors").model
    ids = torch.arange(8).unsqueeze(0)
    assert copy.config == model.config and torch.equal(copy(ids), model.eval()(ids))


def test_a_mask_that_changes_later_is_not_used_silently() -> None:
    q, mask = random(1, 4, 8).requires_grad_(), torch.ones(1, 4, dtype=torch.bool)
    out = flash_attention(q, q, q, mask)
    mask[:, 2:] = False
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_window_that_holds_all_keys_builds_no_mask() -> None:
    attention = lib.attention.MultiHeadAttention(8, 2, window=4)
    cache, x = attention.new_cache(20), random(1, 20, 8)
    attention(x[:, :10], is_causal=True, cache=cache)
    q, k = random(1, 2, 1, 4), random(1, 2, 4, 4)
    assert attention._in_window(None, True, q, k) is None
    with pytest.raises(TypeError, match="mask has dtype torch.float32"):
        attention(x, torch.ones(20, 20))
    with pytest.raises(ValueError, match=r"\(20, 3\); it must have 20 keys"):
        attention(x, torch.ones(20, 3, dtype=torch.bool))
