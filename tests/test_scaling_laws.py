"""What training costs, held against what PyTorch counts and keeps; and laws of size."""

import dataclasses
import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.evaluate.losses import cross_entropy
from lib.evaluate.scaling_laws import (
    ScalingLaw,
    fit_scaling_law,
    flops_per_token,
    kept_bytes,
    predicted_interval,
    training_bytes,
)
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import preset_config
from lib.train.optimizer import make_optimizers
from lib.train.recompute import recompute_blocks
from lib.train.settings import TrainConfig

PLAIN = GPTConfig(65, 32, 4, 3, 128, 48)
CHANGES = [
    {},
    {"tie_weights": False, "d_ff": 80},
    {"position": "rotary", "attention_bias": False},
    {"n_kv_heads": 2, "norm": "rms"},
    {"d_head": 12, "ffn": "swiglu"},
    {"ffn": "none"},
    {"vocab_size": 300, "n_layers": 1},
    {"n_experts": 4, "n_active": 2, "shared_expert": True},
    {"window": 5, "position": "rotary"},
]


def batch(config: GPTConfig, rows: int = 4, length: int | None = None):
    shape = rows, length or config.context_length
    generator = torch.Generator().manual_seed(0)
    return torch.randint(config.vocab_size, shape, generator=generator)


# Operations


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("length", [None, 7])
def test_operations_are_those_that_torch_counts(changes, length) -> None:
    config = dataclasses.replace(PLAIN, **changes)
    model, ids = GPT(config), batch(config, length=length)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # of the fused kernel it counts nothing
        cross_entropy(model(ids), ids).backward()
    expected = counter.get_total_flops()
    assert flops_per_token(config, length) * ids.numel() == expected


def test_six_for_each_weight_is_near_where_the_context_is_short() -> None:
    config = preset_config("gpt2")
    with torch.device("meta"):
        model = GPT(config)
    tables = sum(p.numel() for p in model.positions.parameters())
    n = sum(p.numel() for p in model.parameters()) - tables  # the head is tied
    assert flops_per_token(config, 64) == pytest.approx(6 * n, rel=0.1)
    assert flops_per_token(config) > 1.1 * 6 * n


@pytest.mark.parametrize("length", [0, 49])
def test_a_length_that_the_model_does_not_read(length) -> None:
    with pytest.raises(ValueError, match=f"length={length} must be in 1 .. 48"):
        flops_per_token(PLAIN, length)


# Bytes


@pytest.mark.parametrize("changes", [{}, {"tie_weights": False}, {"n_layers": 6}])
@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_those_that_torch_keeps(changes, recompute) -> None:
    config = dataclasses.replace(PLAIN, **changes)
    model, ids = GPT(config), batch(config)
    if recompute:
        recompute_blocks(model)
    measured = kept_bytes(model, lambda: cross_entropy(model(ids), ids))
    counted = training_bytes(config, len(ids), recompute=recompute)["activations"]
    assert counted == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_gradients_and_states_are_those_of_torch(optimizer) -> None:
    model, ids = GPT(PLAIN), batch(PLAIN)
    kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    made = kinds[optimizer](model.parameters())
    cross_entropy(model(ids), ids).backward()
    made.step()
    states = [t for each in made.state.values() for t in each.values()]
    counted = training_bytes(PLAIN, 4, optimizer)
    assert counted["weights"] == sum(p.nbytes for p in model.parameters())
    assert counted["gradients"] == sum(p.grad.nbytes for p in model.parameters())
    measured = sum(t.nbytes for t in states if t.numel() > 1)
    assert counted["optimizer"] == measured


def test_muon_keeps_half_of_what_adamw_keeps() -> None:
    config = TrainConfig(1, optimizer="muon")
    muon = make_optimizers(GPT(PLAIN), config)[1]
    parameters = muon.param_groups[0]["params"]
    for p in parameters:
        p.grad = torch.ones_like(p)
    muon.step()
    kept = sum(t.nbytes for each in muon.state.values() for t in each.values())
    assert kept == sum(p.nbytes for p in parameters)
    states = [training_bytes(PLAIN, 1, name)["optimizer"] for name in ("muon", "adamw")]
    assert states[1] == 2 * states[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "rms"}, "norm='rms' must be in .'layer'."),
        ({"ffn": "swiglu"}, "ffn='swiglu' must be in"),
        ({"dropout": 0.1}, "dropout=0.1 must be in .0.0."),
        ({"position": "rotary"}, "position='rotary' must be in"),
        ({"n_kv_heads": 2}, "n_kv_heads=2 must be in"),
        ({"n_experts": 2}, "n_experts=2 must be in"),
        ({"window": 3}, "window=3 must be in"),
    ],
)
def test_parts_that_keep_other_numbers_are_refused(changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        training_bytes(dataclasses.replace(PLAIN, **changes), 4)


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        training_bytes(PLAIN, 0)
    with pytest.raises(ValueError, match="optimizer='lion' must be in"):
        training_bytes(PLAIN, 1, "lion")


# On a GPU


def test_a_benchmark_of_the_gpu_says_where_there_is_none(monkeypatch, capsys) -> None:
    import bench

    before = bench.BENCHMARKS.read_bytes()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["bench", "gpu"])
    assert bench.main() == 0
    assert "no GPU here" in capsys.readouterr().out
    assert bench.BENCHMARKS.read_bytes() == before


# Laws


SIZES = [1e4, 2e4, 4e4, 8e4, 16e4]


@pytest.mark.parametrize("law", [ScalingLaw(1.5, 30, 0.4), ScalingLaw(0.7, 5, 0.2)])
def test_a_law_is_found_again(law) -> None:
    losses = [law.predict(n) for n in SIZES]
    found = fit_scaling_law(SIZES, losses)
    assert found.predict(5e5) == pytest.approx(law.predict(5e5), abs=2e-3)
    assert found.floor == pytest.approx(law.floor, abs=0.02)
    assert found.exponent == pytest.approx(law.exponent, abs=0.02)


def test_several_runs_of_a_size_count_each() -> None:
    law = ScalingLaw(1.5, 30, 0.4)
    losses = [law.predict(n) for n in SIZES]
    once, twice = fit_scaling_law(SIZES, losses), fit_scaling_law(SIZES * 2, losses * 2)
    assert dataclasses.astuple(twice) == pytest.approx(dataclasses.astuple(once))


def test_the_interval_is_as_wide_as_the_seeds_vary() -> None:
    law, widths = ScalingLaw(1.5, 30, 0.4), []
    for noise in (0.0, 0.002, 0.01):
        losses = [[law.predict(n) + s * noise for s in (-1, 0, 1)] for n in SIZES]
        low, high = predicted_interval(SIZES, losses, 5e5, n=100)
        assert low - 2e-3 <= law.predict(5e5) <= high + 2e-3
        widths.append(high - low)
    assert widths[0] < 1e-6 < widths[1] < widths[2]


@pytest.mark.parametrize(
    ("sizes", "losses", "words"),
    [
        ([1, 2], [3.0, 2.0], "three or more different"),
        ([1, 2, 2, 1], [3.0, 2.0, 2.0, 3.0], "three or more different"),
        ([1, 2, 3], [3.0, 2.0], "3 sizes do not fit 2 losses"),
        ([1, 2, 0], [3.0, 2.0, 1.0], "must be above 0"),
        ([1, 2, 3], [3.0, 2.0, -1.0], "must be above 0"),
    ],
)
def test_what_no_law_fits(sizes, losses, words) -> None:
    with pytest.raises(ValueError, match=words):
        fit_scaling_law(sizes, losses)
    with pytest.raises(ValueError, match="n_floors=1 must be at least 2"):
        fit_scaling_law(SIZES, SIZES, n_floors=1)


def test_an_interval_needs_two_runs_of_each_size() -> None:
    with pytest.raises(ValueError, match="two runs of each size"):
        predicted_interval(SIZES, [[2.0]] * 5, 5e5)
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        predicted_interval(SIZES, [[2.0, 2.1]] * 5, 5e5, n=0)


# What is known to go wrong


def test_a_line_through_losses_without_a_floor_is_noticed() -> None:
    """Log-log without E goes below what can be reached."""
    law = ScalingLaw(1.5, 30, 0.4)
    losses = [law.predict(n) for n in SIZES]
    x, y = (torch.tensor(v).log() for v in (SIZES, losses))
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    wrong = math.exp(y.mean() + slope * (math.log(5e7) - x.mean()))
    assert wrong < law.predict(5e7) - 0.2
    right = fit_scaling_law(SIZES, losses).predict(5e7)
    assert right == pytest.approx(law.predict(5e7), abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c, n, tables: 2 * n,
        lambda c, n, tables: 6 * n,
        lambda c, n, tables: 6 * (n + tables),
        lambda c, n, tables: 6 * n + 4 * c.n_layers * c.context_length * c.d_model,
    ],
    ids=["forward only", "no attention", "tables multiplied", "attention forward only"],
)
def test_operations_that_are_counted_wrongly_are_noticed(wrong) -> None:
    config = GPTConfig(300, 32, 4, 2, 128, 256, tie_weights=False)
    model = GPT(config)
    tables = model.tokens.weight.numel()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    positions = sum(p.numel() for p in model.positions.parameters())
    n = sum(p.numel() for p in matrices) - tables - positions
    counted = flops_per_token(config)
    assert counted == 6 * n + 12 * 2 * 256 * 32
    assert wrong(config, n, tables) != pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_run_that_diverged_is_no_point_of_a_law(wrong) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        fit_scaling_law([1, 2, 3], [3.0, wrong, 1.0])
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        fit_scaling_law([1, wrong, 3], [3.0, 2.0, 1.0])
