"""Mixture of experts: as transformers' Mixtral, balanced, limited, trained, saved.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import math
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import torch
from against_torch import random
from processes import in_two_processes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lib import moe
from lib.block import Block
from lib.ffn import FeedForward, SwiGLU
from lib.generate import generate
from lib.models import build_model, config_from_dict, config_to_dict
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import export_gpt2
from lib.models.llama_files import export_llama
from lib.moe import MoE, balance_loss, extra_losses, within_capacity
from lib.train import TrainConfig, Training, fit, next_token_loss
from lib.train.checkpoint import load_checkpoint, save_checkpoint

SMALL = GPTConfig(20, 16, 2, 2, 24, 16, n_experts=4)
IDS = torch.randint(20, (4, 12), generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(20, (4, 12), generator=torch.Generator().manual_seed(1))


def theirs_of_mixtral() -> ModuleType:
    """Loaded where it is asked for: processes of a test have no use for it."""
    return importlib.import_module("transformers.models.mixtral.modeling_mixtral")


def model_with(config: GPTConfig = SMALL, **changes) -> GPT:
    """A model whose weights are large enough that each of them matters."""
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(config, **changes)).eval()
    for seed, (name, p) in enumerate(model.named_parameters()):
        wide = 1.0 if "router" in name else 0.3
        p.data.add_(wide * random(*p.shape, seed=seed))
    return model


def mixture(n_experts: int = 4, n_active: int = 1, **options) -> MoE:
    """Experts of 8 numbers and a router that is sure of what it chooses."""
    experts = [FeedForward(8, 6) for _ in range(n_experts)]
    part = MoE(8, experts, n_active, **options)
    for seed, p in enumerate(part.parameters()):
        p.data.copy_(random(*p.shape, seed=seed))
    if part.bias is not None:
        part.bias.data.zero_()
    return part.eval()


def assert_near(ours: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


def by_formula(part: MoE, x: Tensor) -> Tensor:
    """Every expert computes every token, and the gates of most are 0."""
    p = (x @ part.router.weight.T).softmax(dim=-1)
    gates = torch.where(p >= p.topk(part.n_active).values[..., -1:], p, 0)
    if part.renormalise:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    outputs = torch.stack([expert(x) for expert in part.experts], dim=-1)
    y = (outputs * gates.unsqueeze(-2)).sum(dim=-1)
    return y if part.shared is None else y + part.shared(x)


# What it computes


@pytest.mark.parametrize("n_active", [1, 2, 4])
@pytest.mark.parametrize("shared", [False, True])
def test_it_is_the_sum_over_the_chosen_experts(n_active: int, shared: bool) -> None:
    part = mixture(n_active=n_active, shared=FeedForward(8, 5) if shared else None)
    x = random(3, 7, 8, seed=9)
    assert_near(part(x), by_formula(part, x))
    double, wide = copy.deepcopy(part).double(), x.double()
    assert_near(double(wide), by_formula(double, wide), atol=1e-12)


def mixtral(n_experts: int, n_active: int, d_ff: int) -> tuple[nn.Module, MoE]:
    """A Mixtral block of transformers, and ours with its weights."""
    sizes = {"hidden_size": 8, "intermediate_size": d_ff, "num_experts_per_tok": 2}
    mixtral = theirs_of_mixtral()
    config = mixtral.MixtralConfig(**sizes, num_local_experts=n_experts)
    config._experts_implementation = "eager"
    theirs = mixtral.MixtralSparseMoeBlock(config).eval()
    for seed, p in enumerate(theirs.parameters()):
        p.data.copy_(random(*p.shape, seed=seed))
    experts = [SwiGLU(8, d_ff) for _ in range(n_experts)]
    ours = MoE(8, experts, n_active, renormalise=True).eval()
    ours.router.weight.data.copy_(theirs.gate.weight)
    for number, expert in enumerate(ours.experts):
        if isinstance(theirs.experts, nn.ModuleList):  # of transformers 4
            its = theirs.experts[number]
            gate, up, down = its.w1.weight, its.w3.weight, its.w2.weight
        else:
            gate, up = theirs.experts.gate_up_proj[number].chunk(2)
            down = theirs.experts.down_proj[number]
        for part, weight in ((expert.gate, gate), (expert.up, up), (expert.down, down)):
            part.weight.data.copy_(weight)
    return theirs, ours


def test_it_is_transformers_mixtral_block() -> None:
    theirs, ours = mixtral(n_experts=5, n_active=2, d_ff=6)
    x = 0.3 * random(3, 7, 8, seed=9)
    y = theirs(x)
    assert_near(ours(x), y[0] if isinstance(y, tuple) else y)
    one = x[:1, :1]
    y = theirs(one)
    assert_near(ours(one), y[0] if isinstance(y, tuple) else y)


@pytest.mark.parametrize("renormalise", [False, True])
def test_renormalised_gates_are_a_softmax_over_the_chosen(renormalise: bool) -> None:
    part, rows = mixture(n_active=2, renormalise=renormalise), random(30, 8, seed=9)
    probabilities, gates, chosen = part.route(rows)
    logits = (rows @ part.router.weight.T).gather(-1, chosen)
    same = torch.allclose(gates, logits.softmax(dim=-1), atol=1e-6)
    assert same == renormalise
    assert_near(probabilities.sum(dim=-1), torch.ones(30))
    assert (gates[:, 0] >= gates[:, 1]).all() and (chosen[:, 0] != chosen[:, 1]).all()


def test_the_experts_of_the_last_call_are_kept() -> None:
    part, x = mixture(n_active=2), random(3, 7, 8, seed=9)
    part(x)
    assert part.chosen.shape == (3, 7, 2)
    assert torch.equal(part.chosen.flatten(0, 1), part.route(x.flatten(0, 1))[2])


def test_gradients_are_those_of_the_formula() -> None:
    part, x = mixture(n_active=2), random(3, 7, 8, seed=9).requires_grad_()
    ours = torch.autograd.grad(part(x).square().sum(), [x, *part.parameters()])
    loss = by_formula(part, x).square().sum()
    expected = torch.autograd.grad(loss, [x, *part.parameters()])
    for gradient, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-4, rtol=1e-4)


# Numbers of 16 bits


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_active", [1, 2])
def test_half_precision_is_near(dtype: torch.dtype, n_active: int) -> None:
    half = mixture(n_active=n_active).to(dtype)
    x = random(3, 7, 8, seed=9).to(dtype)
    exact = copy.deepcopy(half).double()
    expected = exact(x.double())
    assert half(x).dtype == dtype
    assert torch.equal(half.chosen, exact.chosen)  # the router chose the same
    step = torch.finfo(dtype).eps * 8
    assert (half(x).double() - expected).abs().max() <= step * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_router_computes_in_float32(dtype: torch.dtype) -> None:
    part, rows = mixture(n_active=2).to(dtype), random(50, 8, seed=9).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        probabilities, gates, _ = part.route(rows)
    assert probabilities.dtype == gates.dtype == torch.float32
    exact = (rows.double() @ part.router.weight.double().T).softmax(dim=-1)
    assert_near(probabilities.double(), exact, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_balance_loss_of_half_precision_is_that_of_float32(dtype) -> None:
    p = random(5_000, 6).softmax(dim=-1).to(dtype)
    chosen = p.topk(1).indices
    exact = balance_loss(p.double(), chosen)
    assert balance_loss(p, chosen).dtype == torch.float32
    assert balance_loss(p, chosen).item() == pytest.approx(exact.item(), abs=1e-6)


def test_inside_of_autocast_a_model_with_experts_is_near() -> None:
    model = model_with(n_active=2)
    expected = model(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        ours = model(IDS)
    assert (ours.float() - expected).norm() < 0.1 * expected.norm()


# Balance


@pytest.mark.parametrize("n_experts", [1, 2, 3, 8])
def test_the_balance_loss_of_a_uniform_router_is_exactly_one(n_experts: int) -> None:
    for n_active in range(1, n_experts + 1):
        for seed in range(3):  # whatever it chooses
            order = random(50, n_experts, seed=seed)
            chosen = order.topk(n_active).indices
            uniform = torch.full((50, n_experts), 1 / n_experts)
            loss = balance_loss(uniform, chosen).item()
            assert loss == pytest.approx(1, abs=2e-7)


def test_where_one_expert_has_all_it_is_their_number() -> None:
    p = F.one_hot(torch.zeros(9, dtype=torch.long), 5).float()
    assert balance_loss(p, p.topk(1).indices).item() == 5


@pytest.mark.parametrize("n_active", [1, 2, 3])
def test_it_is_transformers_by_the_number_of_active_experts(n_active: int) -> None:
    logits = random(40, 5)
    p = logits.softmax(dim=-1)
    theirs = theirs_of_mixtral().load_balancing_loss_func((logits,), 5, n_active)
    assert_near(balance_loss(p, p.topk(n_active).indices), theirs / n_active)


def test_its_gradient_pushes_down_the_busiest_expert() -> None:
    logits = random(40, 5)
    logits[:, 2] += 2
    logits.requires_grad_()
    p = logits.softmax(dim=-1)
    balance_loss(p, p.topk(1).indices).backward()
    mean = logits.grad.mean(dim=0)
    assert mean.argmax() == 2 and mean[2] > 0


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"probabilities has shape \(3, 4, 5\)"):
        balance_loss(torch.ones(3, 4, 5), torch.ones(3, 4, 1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"and chosen \(3, 1\); they must be \(N, E\)"):
        balance_loss(torch.ones(4, 5), torch.ones(3, 1, dtype=torch.long))


def test_a_bias_changes_the_choice_and_not_the_gates() -> None:
    part, rows = mixture(bias_rate=0.1), random(30, 8, seed=9)
    before, _, _ = part.route(rows)
    part.bias.data[2] = 5.0
    probabilities, gates, chosen = part.route(rows)
    assert (chosen == 2).all() and torch.equal(probabilities, before)
    assert torch.equal(gates[:, 0], before[:, 2])


def test_the_bias_moves_against_the_load() -> None:
    part, x = mixture(bias_rate=0.1).train(), random(30, 8, seed=9)
    part(x)
    part(x)
    load = part.chosen.flatten().bincount(minlength=4) * 2
    assert torch.equal(part.load, load)
    part.rebalance()
    assert_near(part.bias.data, 0.1 * (15 - load.float()).sign())
    before = part.bias.clone()
    part.rebalance()  # nothing was read since then
    assert torch.equal(part.bias, before)
    part.eval()(x)
    part.rebalance()  # nor is this a training
    assert torch.equal(part.bias, before)


def test_a_bias_alone_balances() -> None:
    part, x = mixture(bias_rate=0.02).train(), random(400, 8, seed=9)
    part(x)
    before = part.chosen.flatten().bincount(minlength=4).max()
    for _ in range(100):
        part(x)
        part.rebalance()
    load = part.chosen.flatten().bincount(minlength=4)
    assert before > 130 and load.max() < 115


# Capacity


def test_first_come_first_served() -> None:
    chosen = torch.tensor([[0, 1], [0, 2], [1, 0], [1, 0], [1, 2]])
    fits = [[True, True], [True, True], [True, False], [False, False], [False, True]]
    assert within_capacity(chosen, n_experts=3, capacity=2).tolist() == fits
    assert within_capacity(chosen, n_experts=3, capacity=4).all()
    ones = torch.zeros(4, 1, dtype=torch.long)
    fits = within_capacity(ones, n_experts=2, capacity=3)
    assert fits.flatten().tolist() == [True, True, True, False]


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_of_nothing(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity={capacity} must be at least 1"):
        within_capacity(torch.zeros(4, 1, dtype=torch.long), 2, capacity)


@pytest.mark.parametrize(
    ("factor", "n_tokens", "n_active", "capacity"),
    [(1.0, 8, 1, 2), (1.0, 9, 1, 3), (1.25, 16, 1, 5), (0.5, 8, 2, 2), (0.01, 4, 1, 1)],
)
def test_the_capacity_is_a_multiple_of_the_even_share_rounded_up(
    factor: float, n_tokens: int, n_active: int, capacity: int
) -> None:
    part = mixture(n_active=n_active, capacity_factor=factor).train()
    part.router.weight.data[0] = 0
    part.router.weight.data[0, 0] = 50.0
    x = random(n_tokens, 8, seed=9)
    x[:, 0] = 1.0  # all choose the first expert
    part(x)
    assert (part.chosen == 0).sum() == capacity
    assert part.chosen[:, 0].tolist()[:capacity] == [0] * capacity


def crowded() -> tuple[MoE, Tensor]:
    """An expert that all tokens want, with room for one in four."""
    part = mixture(capacity_factor=1.0)
    part.router.weight.data.zero_()
    part.router.weight.data[1, 0] = 50.0
    x = random(1, 8, 8, seed=9)
    x[..., 0] = 1.0
    return part, x


def test_tokens_without_a_place_keep_their_residual() -> None:
    part, x = crowded()
    block = Block(Silent(8), part.train(), norm=lambda d_model: nn.Identity())
    y = block(x)
    assert torch.equal(y[:, 2:], x[:, 2:]) and not torch.isclose(y, x)[:, :2].all()
    assert part.chosen.flatten().tolist() == [1, 1] + [-1] * 6


class Silent(nn.Module):
    """An attention that adds nothing."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
        return torch.zeros_like(x), None


def test_a_shared_expert_takes_them_all() -> None:
    part, x = crowded()
    part.shared = FeedForward(8, 5)
    assert_near(part.train()(x)[:, 2:], part.shared(x)[:, 2:])


def test_in_evaluation_there_is_no_limit() -> None:
    part, x = crowded()
    assert_near(part.eval()(x), by_formula(part, x))
    assert (part.chosen == 1).all()


# The whole model


OPTIONS = [
    {},
    {"n_active": 2, "renormalise": True, "ffn": "swiglu"},
    {"n_active": 3, "shared_expert": True, "bias_rate": 0.01},
    {"capacity_factor": 0.5, "position": "rotary", "norm": "rms"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_with_a_cache_it_computes_the_same(options: dict) -> None:
    model = model_with(**options)
    cache = model.new_cache()
    parts = [model(part, cache) for part in (IDS[:, :5], IDS[:, 5:6], IDS[:, 6:])]
    assert_near(torch.cat(parts, dim=1), model(IDS))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_text_is_continued_as_without_a_cache(options: dict) -> None:
    model = model_with(**options)
    cached = generate(model, IDS[:1, :3], 9, temperature=0)
    with torch.no_grad():
        row = IDS[:1, :3]
        for _ in range(9):
            row = torch.cat([row, model(row)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(cached, row)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("training", [False, True])
def test_changing_the_future_changes_nothing(options: dict, training: bool) -> None:
    """In training too, where a later token could take a place."""
    model = model_with(**options).train(training)
    changed = IDS[:1].clone()
    changed[:, 6:] = (changed[:, 6:] + 3) % 20
    assert_near(model(IDS[:1])[:, :6], model(changed)[:, :6])
    assert not torch.allclose(model(IDS[:1]), model(changed), atol=1e-3)


@pytest.mark.parametrize("options", OPTIONS)
def test_other_rows_change_nothing_in_evaluation(options: dict) -> None:
    model = model_with(**options)
    assert_near(model(IDS)[2:3], model(IDS[2:3]))


def test_parameters_and_their_names() -> None:
    dense, sparse = GPT(dataclasses.replace(SMALL, n_experts=None)), GPT(SMALL)
    own = dict(sparse.named_parameters())
    for name, p in dense.named_parameters():
        same = name.replace("ffn.", "ffn.experts.3.")
        assert own[same].shape == p.shape
    routers = [name for name in own if "router" in name]
    assert routers == [f"blocks.{i}.ffn.router.weight" for i in range(2)]
    n_ffn = sum(p.numel() for p in dense.blocks[0].ffn.parameters())
    n_dense = sum(p.numel() for p in dense.parameters())
    n_sparse = sum(p.numel() for p in sparse.parameters())
    assert n_sparse == n_dense + 2 * (3 * n_ffn + 4 * 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_experts": 0}, "n_experts=0 must be at least 1"),
        ({"n_active": 5}, "n_active=5 must be 1 .. 4"),
        ({"n_active": 0}, "n_active=0 must be at least 1"),
        ({"renormalise": True}, "renormalise=True needs n_active=2 or more"),
        ({"capacity_factor": 0.0}, "capacity_factor=0.0 must be above 0 and finite"),
        ({"capacity_factor": math.inf}, "capacity_factor=inf must be above 0"),
        ({"capacity_factor": math.nan}, "capacity_factor=nan must be above 0"),
        ({"balance_weight": -0.1}, "balance_weight=-0.1 must be 0 or more"),
        ({"balance_weight": math.inf}, "balance_weight=inf must be 0 or more and"),
        ({"bias_rate": math.nan}, "bias_rate=nan must be 0 or more and finite"),
        ({"n_experts": None, "n_active": 2}, "n_active=2 needs n_experts"),
        ({"n_experts": None, "shared_expert": True}, "shared_expert=True needs n_exp"),
        ({"n_experts": None, "bias_rate": 0.1}, "bias_rate=0.1 needs n_experts"),
    ],
)
def test_configurations_that_make_no_sense(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_a_part_by_itself_refuses_the_same() -> None:
    with pytest.raises(ValueError, match="n_experts=0 must be at least 1"):
        MoE(8, [])
    with pytest.raises(ValueError, match="n_active=3 must be 1 .. 2"):
        mixture(n_experts=2, n_active=3)
    with pytest.raises(ValueError, match="bias_rate=-1 must be 0 or more"):
        mixture(bias_rate=-1)
    with pytest.raises(ValueError, match=r"x has shape \(3, 7\); .* d_model=8"):
        mixture()(torch.ones(3, 7))


def test_llamas_and_gpt2_have_no_experts(tmp_path) -> None:
    parts = {"norm": "rms", "position": "rotary", "ffn": "swiglu"}
    for export, kind in ((export_llama, "llama"), (export_gpt2, "gpt2")):
        model = GPT(dataclasses.replace(SMALL, **(parts if kind == "llama" else {})))
        with pytest.raises(ValueError, match="n_experts=4 must be"):
            export(model, tmp_path / kind)


# Training


def training_of(model: GPT, **settings) -> Training:
    settings = {"n_steps": 6, "clip": None} | settings
    return Training(model, TrainConfig(**settings))


def gradients(model: nn.Module) -> list[Tensor]:
    learned = [p for p in model.parameters() if p.requires_grad]
    return [p.grad.clone() for p in learned]


def expected_gradients(model: GPT, parts: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Of the mean over parts of the loss, and of both balance losses at 0.01."""
    routed, total = [], 0.0
    handles = [
        block.ffn.register_forward_pre_hook(
            lambda part, x: routed.append(part.route(x[0].flatten(0, 1)))
        )
        for block in model.blocks
    ]
    for inputs, targets in parts:
        routed.clear()
        total = total + next_token_loss(model, inputs, targets) / len(parts)
        for p, _, chosen in routed:
            total = total + 0.01 * balance_loss(p, chosen) / len(parts)
    for handle in handles:
        handle.remove()
    learned = [p for p in model.parameters() if p.requires_grad]
    return list(torch.autograd.grad(total, learned))


def assert_same(ours: list[Tensor], expected: list[Tensor]) -> None:
    for gradient, other in zip(ours, expected, strict=True):
        assert_near(gradient, other, atol=1e-6)


@pytest.mark.parametrize("n_parts", [1, 2, 4])
def test_the_balance_loss_counts_once_however_many_parts(n_parts: int) -> None:
    model = model_with(n_active=2).train()
    parts = list(zip(IDS.chunk(n_parts), TARGETS.chunk(n_parts)))
    expected = expected_gradients(model, parts)
    loss = next_token_loss(model, IDS, TARGETS).item()
    reported = training_of(model, accumulation=n_parts)._gradients((IDS, TARGETS))
    assert_same(gradients(model), expected)
    assert reported == pytest.approx(loss, abs=1e-6)  # without the balance loss


def test_a_dense_model_has_nothing_to_add() -> None:
    model = GPT(dataclasses.replace(SMALL, n_experts=None)).train()
    with extra_losses(model) as extra:
        model(IDS)
    assert extra == []


def test_nothing_is_kept_outside_of_a_training_or_with_a_weight_of_0() -> None:
    model = model_with().train()
    model(IDS)
    with extra_losses(model) as extra:
        model.eval()(IDS)
    assert extra == [] and all(b.ffn.collected is None for b in model.blocks)
    unweighted = model_with(balance_weight=0.0).train()
    with extra_losses(unweighted) as extra:
        unweighted(IDS)
    assert extra == []


def test_each_block_and_each_pass_adds_its_loss() -> None:
    model = model_with().train()
    with extra_losses(model) as extra:
        model(IDS)
        model(IDS)
    assert len(extra) == 4 and all(0.0099 <= e.item() <= 0.04 for e in extra)
    assert all(e.requires_grad for e in extra)


def test_a_model_that_was_trained_can_be_copied() -> None:
    model = model_with(bias_rate=0.01)
    training_of(model).step((IDS, TARGETS))
    fit(model, lambda: (IDS, TARGETS), 1, 0.001)
    assert_near(copy.deepcopy(model).eval()(IDS), model.eval()(IDS), atol=0)


def test_activations_may_be_computed_again_in_the_backward_pass() -> None:
    found = []
    for again in (False, True):
        model = model_with(n_active=2, bias_rate=0.01)
        if again:
            for block in model.blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        training_of(model).step((IDS, TARGETS))
        found.append(gradients(model) + [block.ffn.bias for block in model.blocks])
    assert_same(*found)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_lowers_the_loss_and_moves_every_expert(optimizer: str) -> None:
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(SMALL, init="fan_in", bias_rate=0.01))
    before = {name: p.clone() for name, p in model.named_parameters()}
    training = training_of(model, n_steps=30, learning_rate=0.01, optimizer=optimizer)
    losses = [training.step((IDS, TARGETS)) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    for name, p in model.named_parameters():
        assert not torch.equal(p, before[name]), name
        assert p.isfinite().all()


def test_an_expert_without_tokens_gets_zeros_as_its_gradient() -> None:
    """Not none: processes that train together wait for each other's."""
    model = model_with()
    for block in model.blocks:
        block.ffn.router.weight.data.zero_()
        block.ffn.router.weight.data[1, 0] = 100.0  # to one side of it, never 2 or 3
    training_of(model)._gradients((IDS, TARGETS))
    for block in model.blocks:
        used = set(block.ffn.chosen.flatten().tolist())
        idle = [e for n, e in enumerate(block.ffn.experts) if n not in used]
        assert idle
        for p in (p for expert in idle for p in expert.parameters()):
            assert p.grad is not None and not p.grad.any()


def test_the_bias_moves_once_a_step_whatever_the_parts() -> None:
    found = []
    for n_parts in (1, 2, 4):
        model = model_with(bias_rate=0.1, balance_weight=0.0)
        for block in model.blocks:
            block.ffn.bias.data.zero_()
        training_of(model, accumulation=n_parts).step((IDS, TARGETS))
        found.append(torch.cat([block.ffn.bias for block in model.blocks]))
        assert set((10 * found[-1]).round().tolist()) <= {-1.0, 0.0, 1.0}
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert found[0].any()


def test_a_checkpoint_keeps_experts_and_biases(tmp_path) -> None:
    model = model_with(n_active=2, bias_rate=0.01, shared_expert=True)
    training_of(model).step((IDS, TARGETS))
    save_checkpoint(tmp_path / "x.safetensors", model)
    loaded = load_checkpoint(tmp_path / "x.safetensors").model
    assert loaded.config == model.config
    assert torch.equal(loaded.blocks[0].ffn.bias, model.blocks[0].ffn.bias)
    assert torch.equal(loaded(IDS), model.eval()(IDS))
    twin = build_model(config_from_dict(config_to_dict(model.config)))
    assert twin.config == model.config


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, optimizer: str) -> None:
    def new() -> tuple[Training, torch.Generator]:
        torch.manual_seed(0)
        model = GPT(dataclasses.replace(SMALL, bias_rate=0.01))
        return training_of(model, optimizer=optimizer), torch.Generator()

    whole, _ = new()
    for _ in range(4):
        whole.step((IDS, TARGETS))
    first, generator = new()
    for _ in range(2):
        first.step((IDS, TARGETS))
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, first.model, None, first, generator)
    second, generator = new()
    load_checkpoint(path).resume(second, generator)
    for _ in range(2):
        second.step((IDS, TARGETS))
    assert second.losses == whole.losses
    for p, other in zip(second.model.parameters(), whole.model.parameters()):
        assert torch.equal(p, other)


# Two processes


def in_a_process(number: int, folder: str) -> None:
    """What each of two processes does, and keeps."""
    torch.save(two_steps(), f"{folder}/found{number}")


def two_steps(n_parts: int = 1, ids: Tensor = IDS, targets: Tensor = TARGETS) -> dict:
    """Gradients, losses and weights after two steps; expert 3 is never chosen."""
    model = model_with(bias_rate=0.01)
    for block in model.blocks:
        block.ffn.bias.data.copy_(torch.tensor([0.0, 0.0, 0.0, -9.0]))
    training = training_of(model, accumulation=n_parts)
    losses = [training.step((ids, targets)) for _ in range(2)]
    weights = [p.detach().clone() for p in model.parameters()]
    return {"losses": losses, "gradients": gradients(model), "weights": weights}


def test_two_processes_train_as_one_with_two_parts(tmp_path) -> None:
    in_two_processes(in_a_process, str(tmp_path))
    found = [torch.load(tmp_path / f"found{rank}") for rank in (0, 1)]
    order = torch.tensor([0, 2, 1, 3])  # the rows of the first process, of the second
    one = two_steps(2, IDS[order], TARGETS[order])
    assert found[0]["losses"] == pytest.approx(one["losses"], abs=1e-6)
    assert_same(found[0]["gradients"], one["gradients"])
    for a, b, c in zip(found[0]["weights"], found[1]["weights"], one["weights"]):
        assert torch.equal(a, b)
        assert_near(a, c, atol=1e-4)


# What is known to go wrong


def scaled_by_k(probabilities: Tensor, chosen: Tensor) -> Tensor:
    return chosen.size(1) * balance_loss(probabilities, chosen)


def softmax_twice(probabilities: Tensor, chosen: Tensor) -> Tensor:
    return balance_loss(probabilities.softmax(dim=-1), chosen)


def without_their_number(probabilities: Tensor, chosen: Tensor) -> Tensor:
    return balance_loss(probabilities, chosen) / probabilities.size(1)


def of_dropped_ones(probabilities: Tensor, chosen: Tensor) -> Tensor:
    fits = within_capacity(chosen, probabilities.size(1), 6).all(dim=1)
    return balance_loss(probabilities[fits], chosen[fits])


@pytest.mark.parametrize(
    "wrong", [scaled_by_k, softmax_twice, without_their_number, of_dropped_ones]
)
def test_another_balance_loss_is_noticed(wrong: Callable) -> None:
    logits = random(40, 5) + torch.tensor([2.0, 0, 0, 0, 0])
    p = logits.softmax(dim=-1)
    chosen = p.topk(2).indices
    theirs = theirs_of_mixtral().load_balancing_loss_func((logits,), 5, 2) / 2
    assert_near(balance_loss(p, chosen), theirs)
    assert not torch.isclose(wrong(p, chosen), theirs, atol=1e-3)


def test_statistics_in_bfloat16_are_noticed() -> None:
    """They are a percent off, and a count past 256 does not grow any more."""
    p = (random(5_000, 6) + torch.tensor([1.0, 0, 0, 0, 0, 0])).softmax(dim=-1)
    counts = F.one_hot(p.argmax(dim=-1), 6).bfloat16()
    running = torch.zeros(6, dtype=torch.bfloat16)
    for row in counts[:2_000]:
        running += row
    assert running.max() == 256 < counts[:2_000].float().sum(dim=0).max()
    shares, mean = counts.mean(dim=0), p.bfloat16().mean(dim=0)
    wrong = 6 * (shares * mean).sum()
    assert abs(wrong.float() - balance_loss(p, p.topk(1).indices)) > 1e-4


def test_a_softmax_after_the_choice_teaches_the_router_nothing() -> None:
    part, x = mixture(), random(30, 8, seed=9)
    right = torch.autograd.grad(part(x).square().sum(), part.router.weight)[0]
    part.renormalise = True  # what the constructor refuses with one active expert
    wrong = torch.autograd.grad(part(x).square().sum(), part.router.weight)[0]
    assert wrong.abs().max() < 1e-4 * right.abs().max()


def test_a_renormalised_mixtral_is_noticed_without_it() -> None:
    theirs, ours = mixtral(n_experts=5, n_active=2, d_ff=6)
    ours.renormalise = False
    x = 0.3 * random(3, 7, 8, seed=9)
    y = theirs(x)
    assert not torch.allclose(ours(x), y[0] if isinstance(y, tuple) else y, atol=1e-3)


def test_a_bias_in_the_gates_is_noticed(monkeypatch) -> None:
    part, rows = mixture(n_active=2, bias_rate=0.1), random(30, 8, seed=9)
    part.bias.data.copy_(torch.tensor([0.5, 0.0, 0.2, 0.0]))
    probabilities, gates, chosen = part.route(rows)
    wrong = (probabilities + part.bias).gather(-1, chosen)
    assert torch.equal(gates, probabilities.gather(-1, chosen))
    assert not torch.allclose(gates, wrong, atol=1e-2)


def highest_gates_first(chosen: Tensor, n_experts: int, capacity: int) -> Tensor:
    """A later token takes the place of an earlier one: it leaks from the future."""
    back = within_capacity(chosen.flip(0), n_experts, capacity)
    return back.flip(0)


def test_places_that_later_tokens_take_are_noticed(monkeypatch) -> None:
    """For some later tokens at least: not every change takes a place."""
    monkeypatch.setattr(moe, "within_capacity", highest_gates_first)
    model, same = model_with(**OPTIONS[3]).train(), []
    before = model(IDS[:1])[:, :6]
    for shift in range(1, 20):
        changed = IDS[:1].clone()
        changed[:, 6:] = (changed[:, 6:] + shift) % 20
        same.append(torch.allclose(model(changed)[:, :6], before, atol=1e-5))
    assert not all(same)


def test_a_limit_in_evaluation_is_noticed(monkeypatch) -> None:
    """Then a token's output depends on which others are read with it."""
    right = MoE.forward

    def limited(self: MoE, x: Tensor) -> Tensor:
        with_limit, self.training = self.training, True
        y = right(self, x)
        self.training = with_limit
        return y

    monkeypatch.setattr(MoE, "forward", limited)
    with pytest.raises(AssertionError):
        test_with_a_cache_it_computes_the_same(OPTIONS[3])


def test_dropped_tokens_that_lose_their_residual_are_noticed(monkeypatch) -> None:
    """The block then multiplies what it should add to by what was kept."""
    right = Block.forward

    def wrong(self: Block, x: Tensor) -> Tensor:
        y = right(self, x)
        return y * (self.ffn.chosen >= 0).any(dim=-1, keepdim=True)

    monkeypatch.setattr(Block, "forward", wrong)
    with pytest.raises(AssertionError):
        test_tokens_without_a_place_keep_their_residual()


def test_a_balance_loss_of_each_part_in_full_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(
        "lib.moe.balance_loss", lambda p, chosen: 4 * balance_loss(p, chosen)
    )
    with pytest.raises(AssertionError):
        test_the_balance_loss_counts_once_however_many_parts(4)


def test_an_expert_that_is_not_called_is_noticed(monkeypatch) -> None:
    right = MoE._mix

    @torch.enable_grad()
    def lazy(self: MoE, rows: Tensor, gates: Tensor, chosen: Tensor) -> Tensor:
        experts, used = self.experts, set(chosen.flatten().tolist())
        self.experts = nn.ModuleList(
            expert if number in used else Untouched()
            for number, expert in enumerate(experts)
        )
        y = right(self, rows, gates, chosen)
        self.experts = experts
        return y

    monkeypatch.setattr(MoE, "_mix", lazy)
    with pytest.raises(AssertionError):
        test_an_expert_without_tokens_gets_zeros_as_its_gradient()


class Untouched(nn.Module):
    """An expert that gives what it gets: nothing, of nothing."""

    def forward(self, rows: Tensor) -> Tensor:
        assert len(rows) == 0
        return rows


def test_gates_of_experts_that_are_hardly_likely_are_numbers() -> None:
    experts = [FeedForward(4, 8) for _ in range(4)]
    part = MoE(4, experts, 2, renormalise=True, bias_rate=0.1)
    part.router.weight.data = torch.zeros(4, 4)
    part.router.weight.data[0, 0] = 800.0
    part.bias.data[0] = -2.0  # so that the likeliest is not chosen
    x = torch.ones(1, 4)
    _, gates, chosen = part.route(x)
    assert 0 not in chosen and torch.equal(gates, torch.full((1, 2), 0.5))


def test_a_batch_without_tokens() -> None:
    part = MoE(4, [FeedForward(4, 8) for _ in range(3)], 2)
    assert part(torch.zeros(0, 4)).shape == (0, 4) and part.chosen.shape == (0, 2)
    with pytest.raises(TypeError, match="capacity_factor='1' must be a number"):
        MoE(4, [FeedForward(4, 8)], capacity_factor="1")


def test_other_passes_do_not_count_for_the_balance_of_a_training() -> None:
    config = GPTConfig(10, 8, 2, 1, 16, 8, n_experts=2, bias_rate=0.1)
    batch = torch.arange(8).view(1, 8), torch.arange(1, 9).view(1, 8)
    biases = []
    for busy in (False, True):
        torch.manual_seed(0)
        training = Training(GPT(config), TrainConfig(1))
        part = training.mixtures[0]
        part.load = torch.tensor([900, 0]) if busy else None
        training.step(batch)
        biases.append(part.bias.tolist())
    assert biases[0] == biases[1]
