"""LoRA: as peft's, in numbers and in files; merged, switched, frozen, refused.

Every fault that such code is known for is put into it once, and must be noticed. What
peft computes was recorded by `peft_adapter/make.py`.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from against_torch import random
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lib.generate import generate
from lib.models import build_model
from lib.models.attention_lm import AttentionConfig
from lib.models.bigram import BigramConfig
from lib.models.encoder_decoder import TransformerConfig
from lib.models.gpt import GPT, GPTConfig
from lib.models.masked_lm import MaskedLMConfig
from lib.module import Linear
from lib.train import TrainConfig, Training, next_token_loss, train
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.tune import lora
from lib.tune.adapter_files import load_adapter, save_adapter
from lib.tune.freezing import train_only, trainable_parameters
from lib.tune.lora import (
    LoRA,
    LoRAConfig,
    LoRALinear,
    add_lora,
    fingerprint,
    merge,
    remove_lora,
    unmerge,
    use_adapter,
)

PEFT = Path(__file__).parent / "peft_adapter"
CONFIG = GPTConfig(
    20, 16, 4, 2, 24, 16, n_kv_heads=2, norm="rms", position="rotary", ffn="swiglu"
)
EXPERTS = GPTConfig(20, 16, 2, 2, 24, 16, n_experts=3, shared_expert=True)
IDS = torch.randint(20, (3, 12), generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(20, (3, 12), generator=torch.Generator().manual_seed(1))
SETTINGS = LoRAConfig(rank=3, alpha=12)


def base(config: GPTConfig = CONFIG) -> GPT:
    """A model whose weights are large enough that each of them matters."""
    model = GPT(config).eval()
    for seed, p in enumerate(model.parameters()):
        p.data.copy_(0.3 * random(*p.shape, seed=seed))
    return model


def shake(model: nn.Module, name: str = "default", size: float = 0.3) -> nn.Module:
    """Give an adapter numbers as a training would."""
    for number, (_, layer) in enumerate(lora.lora_layers(model)):
        if name in layer.adapters:
            for seed, p in enumerate(layer.adapters[name].parameters()):
                p.data.copy_(size * random(*p.shape, seed=100 + 2 * number + seed))
    return model


def tuned(config: GPTConfig = CONFIG, settings: LoRAConfig = SETTINGS) -> GPT:
    """A model with an adapter that has learned something."""
    model = base(config)
    add_lora(model, settings)
    return shake(model)


def assert_near(ours: Tensor, expected: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(ours, expected, atol=atol, rtol=1e-6)


# As peft


def from_peft() -> tuple[GPT, dict[str, Tensor]]:
    """Peft's adapter, read into our model, and what peft computes with it."""
    reference = load_file(PEFT / "reference.safetensors")
    model = GPT(CONFIG).eval()
    for name, p in model.named_parameters():
        p.data.copy_(reference[f"base.{name}"])
    return model, reference


def test_the_adapter_of_peft_gives_its_logits() -> None:
    model, reference = from_peft()
    before = model(reference["ids"])
    load_adapter(PEFT, model)
    assert_near(model(reference["ids"]), reference["logits"], atol=1e-5)
    assert (before - reference["logits"]).abs().max() > 1


def test_its_gradients_are_those_of_peft() -> None:
    model, reference = from_peft()
    load_adapter(PEFT, model)
    model(reference["ids"]).square().sum().backward()
    expected = {
        name.removeprefix("gradient.base_model.model.")
        .replace(".lora_A.default.weight", ".adapters.default.a")
        .replace(".lora_B.default.weight", ".adapters.default.b"): gradient
        for name, gradient in reference.items()
        if name.startswith("gradient.")
    }
    ours = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == expected.keys() and len(ours) == 28
    for name, gradient in expected.items():
        atol = 1e-6 * gradient.abs().max().item()
        torch.testing.assert_close(ours[name], gradient, atol=atol, rtol=1e-4)


def test_its_files_are_those_of_peft(tmp_path: Path) -> None:
    model, _ = from_peft()
    load_adapter(PEFT, model)
    save_adapter(tmp_path, model)
    theirs = load_file(PEFT / "adapter_model.safetensors")
    ours = load_file(tmp_path / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    theirs, ours = (
        json.loads((folder / "adapter_config.json").read_text("utf-8"))
        for folder in (PEFT, tmp_path)
    )
    for key, value in ours.items():
        if key != "target_modules":  # peft writes the ends of these names
            assert theirs[key] == value, key
    ends = {name.split(".")[-1] for name in ours["target_modules"]}
    assert ends == set(theirs["target_modules"])


# What it computes


@pytest.mark.parametrize("sizes", [(5, 7), (7, 5), (6, 6), (1, 4)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_is_its_base_and_the_product(sizes: tuple, bias: bool) -> None:
    model = nn.Sequential(nn.Linear(*sizes, bias=bias))
    plain, x = copy.deepcopy(model), random(2, 3, sizes[0])
    add_lora(model, LoRAConfig(rank=2, alpha=3.0, targets=("0",)))
    assert_near(model(x), plain(x), atol=0)
    shake(model)
    a, b = (model[0].adapters["default"].get_parameter(n) for n in "ab")
    assert a.shape == (2, sizes[0]) and b.shape == (sizes[1], 2)
    weight = plain[0].weight + 3.0 / 2 * b @ a
    assert_near(model(x), F.linear(x, weight, plain[0].bias))


@pytest.mark.parametrize("rank", [1, 2, 8, 32])
def test_at_first_it_changes_nothing(rank: int) -> None:
    model = base()
    expected = model(IDS)
    add_lora(model, LoRAConfig(rank))
    assert torch.equal(model(IDS), expected)


def test_a_is_drawn_as_peft_draws_it() -> None:
    a = LoRA(64, 8, rank=50, alpha=1.0).a
    assert a.abs().max() <= 1 / 8 and a.std().item() == pytest.approx(
        1 / 8 / math.sqrt(3), rel=0.05
    )
    bound = math.sqrt(6 / ((1 + 5) * 64))  # kaiming_uniform_ with a = sqrt(5)
    assert bound == pytest.approx(1 / 8)


def test_the_first_step_moves_b_alone() -> None:
    model = base()
    add_lora(model, SETTINGS)
    next_token_loss(model, IDS, TARGETS).backward()
    for name, p in trainable_parameters(model).items():
        assert (p.grad.abs().max() > 0) == name.endswith(".b")


@pytest.mark.parametrize("config", [CONFIG, EXPERTS])
def test_with_a_cache_it_computes_the_same(config: GPTConfig) -> None:
    model = tuned(config)
    cache = model.new_cache()
    parts = [model(part, cache) for part in (IDS[:, :5], IDS[:, 5:6], IDS[:, 6:])]
    assert_near(torch.cat(parts, dim=1), model(IDS), atol=1e-5)


def test_it_writes_the_same_merged_and_with_a_cache() -> None:
    model = tuned()
    texts = [
        generate(model, IDS[:1, :3], 9, temperature=0, use_cache=use)
        for use in (False, True)
    ]
    merge(model)
    texts.append(generate(model, IDS[:1, :3], 9, temperature=0))
    assert torch.equal(texts[0], texts[1]) and torch.equal(texts[1], texts[2])
    assert not torch.equal(generate(base(), IDS[:1, :3], 9, temperature=0), texts[0])


def test_dropout_is_the_adapters_alone() -> None:
    """The base reads all of x; and in evaluation so does the adapter."""
    model = tuned(settings=LoRAConfig(3, 12, dropout=0.5))
    plain = tuned()
    assert torch.equal(model(IDS), plain(IDS))
    layer = model.blocks[0].ffn.up.train()
    x = random(4_000, 16)
    torch.manual_seed(0)
    added = layer(x) - F.linear(x, layer.weight, layer.bias)
    adapter = layer.adapters["default"]
    torch.manual_seed(0)
    kept = F.dropout(x, 0.5) @ adapter.a.T @ adapter.b.T * 4
    assert_near(added, kept, atol=1e-5)
    with torch.no_grad():
        adapter.b.zero_()
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    """The base in 16 bits; the adapter keeps its 32, as peft's does."""
    model = base().to(dtype)
    add_lora(model, SETTINGS)
    shake(model)
    exact = copy.deepcopy(model).double()
    assert {p.dtype for p in trainable_parameters(model).values()} == {torch.float32}
    ours, expected = model(IDS), exact(IDS)
    assert ours.dtype == dtype
    near = 0.02 if dtype == torch.float16 else 0.1
    assert (ours.double() - expected).norm() < near * expected.norm()
    merge(model)
    assert (model(IDS).double() - expected).norm() < near * expected.norm()


def test_inside_of_autocast_it_is_near() -> None:
    model = tuned()
    expected = model(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        assert (model(IDS).float() - expected).norm() < 0.1 * expected.norm()


# Which layers


MODELS = [
    (CONFIG, 2 * 7),
    (dataclasses.replace(CONFIG, tie_weights=False), 2 * 7),
    (EXPERTS, 2 * (4 + 4 * 2)),
    (GPTConfig(20, 16, 2, 2, 24, 16, position="rotary", kv_rank=4), 2 * 8),
    (AttentionConfig(20, 16, 2, 12), None),
    (TransformerConfig(20, 20, 16, 2, 1, 1, 24), 3 * 4 + 2 * 2),
    (MaskedLMConfig(20, 16, 2, 1, 24, 16), None),
]


@pytest.mark.parametrize(("config", "n_layers"), MODELS)
def test_all_means_every_layer_that_is_called(config, n_layers: int | None) -> None:
    """Each adapter changes the output: none stands beside a layer that nobody calls."""
    torch.manual_seed(0)
    model = build_model(config).eval()
    pair = isinstance(config, TransformerConfig)
    arguments = (IDS, TARGETS) if pair else (IDS[:, :8],)
    before = model(*arguments)
    places = add_lora(model, LoRAConfig(2, 4))
    assert n_layers in (None, len(places)) and places
    assert not [place for place in places if place.endswith(("head", "router"))]
    for place in places:
        adapter = model.get_submodule(place).adapters["default"]
        nn.init.normal_(adapter.b)
        assert not torch.equal(model(*arguments), before), place
        nn.init.zeros_(adapter.b)
    assert torch.equal(model(*arguments), before)


def test_targets_are_names_or_their_ends() -> None:
    model = base()
    one = "blocks.1.attention.q_proj"
    assert add_lora(model, LoRAConfig(targets=(one,)), "one") == [one]
    ends = add_lora(model, LoRAConfig(targets=("q_proj", "v_proj")), "two")
    assert ends == [f"blocks.{i}.attention.{n}_proj" for i in (0, 1) for n in "qv"]
    assert len(add_lora(model, LoRAConfig(targets=("ffn.up",)), "three")) == 2


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("q_proj", "query"), "targets='query' is no linear layer; there are"),
        (("proj",), "targets='proj' is no linear layer"),
        (("tokens",), "targets='tokens' is no linear layer"),
        (("head",), "head shares its weights with tokens.weight: merged, both"),
        (("router",), "blocks.0.ffn.router is a router, whose weights are used"),
    ],
)
def test_a_layer_that_cannot_have_one(targets: tuple, message: str) -> None:
    model = base(EXPERTS)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=message):
        add_lora(model, LoRAConfig(targets=targets))
    assert before == {name: p.requires_grad for name, p in model.named_parameters()}
    assert not any(isinstance(part, LoRALinear) for part in model.modules())


def test_a_head_of_its_own_may_have_one() -> None:
    model = base(dataclasses.replace(CONFIG, tie_weights=False))
    assert add_lora(model, LoRAConfig(targets=("head",))) == ["head"]
    shake(model)
    expected = model(IDS)
    merge(model)
    assert_near(model(IDS), expected, atol=1e-4)


def test_a_network_that_stands_in_two_places_is_refused() -> None:
    one = Linear(4, 4)
    model = nn.ModuleDict({"first": one, "second": one})
    with pytest.raises(ValueError, match="first shares its weights with second.weight"):
        add_lora(model, LoRAConfig(targets=("first",)))


def test_a_model_without_such_layers() -> None:
    with pytest.raises(ValueError, match="this BigramLM has none"):
        add_lora(build_model(BigramConfig(20)), LoRAConfig())


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank=0 must be at least 1"),
        ({"rank": 2.0}, TypeError, "rank=2.0 must be an integer"),
        ({"alpha": 0.0}, ValueError, "alpha=0.0 must be above 0 and finite"),
        ({"alpha": math.nan}, ValueError, "alpha=nan must be above 0"),
        ({"alpha": "8"}, TypeError, "alpha='8' must be a number"),
        ({"dropout": None}, TypeError, "dropout=None must be a number"),
        ({"dropout": 1.0}, ValueError, r"dropout=1.0 must lie in \[0, 1\)"),
        ({"targets": "q_proj"}, TypeError, "targets='q_proj' must be 'all' or a tuple"),
        ({"targets": ()}, ValueError, "targets is empty"),
    ],
)
def test_settings_that_make_no_sense(values: dict, error, message: str) -> None:
    with pytest.raises(error, match=message):
        LoRAConfig(**values)


@pytest.mark.parametrize("name", ["", "two words", "a.b", "keys", "training"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"name={name!r} must be a word"):
        add_lora(base(), SETTINGS, name)


# Frozen


def test_only_the_adapter_learns() -> None:
    model = base(dataclasses.replace(EXPERTS, n_active=3))  # each expert computes
    add_lora(model, SETTINGS)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for optimizer in ("adamw", "muon"):
        config = TrainConfig(2, 0.01, optimizer=optimizer, weight_decay=0.5)
        train(Training(model, config), lambda: (IDS, TARGETS))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (".adapters." not in name), name
    count = sum(p.numel() for p in trainable_parameters(model).values())
    sizes = [(p.in_features + p.out_features) for _, p in lora.lora_layers(model)]
    assert count == 3 * sum(sizes)


def test_a_training_lowers_the_loss_and_starts_where_the_base_is() -> None:
    model = base()
    before = next_token_loss(model, IDS, TARGETS).item()
    add_lora(model, LoRAConfig(4, 8))
    losses = train(Training(model, TrainConfig(30, 0.02)), lambda: (IDS, TARGETS))
    assert losses[0] == pytest.approx(before) and losses[-1] < before - 0.3


def test_parts_are_frozen_by_name() -> None:
    model = base(dataclasses.replace(CONFIG, tie_weights=False))
    train_only(model, "blocks.1", "head")
    names = [*trainable_parameters(model)]
    assert names and all(name.startswith(("blocks.1.", "head.")) for name in names)
    assert len(names) == len([*model.blocks[1].parameters()]) + 1
    train_only(model)
    assert not trainable_parameters(model)
    train_only(model, "final_norm.gain")
    assert [*trainable_parameters(model)] == ["final_norm.gain"]


def test_the_name_of_a_part_is_a_whole_one() -> None:
    model = base(dataclasses.replace(CONFIG, n_layers=11))
    train_only(model, "blocks.1")
    assert all(n.startswith("blocks.1.") for n in trainable_parameters(model))
    before = [*trainable_parameters(model)]
    with pytest.raises(ValueError, match="parts='block' has no parameters; the model"):
        train_only(model, "head", "block")
    assert [*trainable_parameters(model)] == before


def test_a_tied_head_is_its_embedding() -> None:
    model = base()
    train_only(model, "head")
    assert [*trainable_parameters(model)] == ["tokens.weight"]


# Merged


@pytest.mark.parametrize("config", [CONFIG, EXPERTS])
def test_merged_it_computes_the_same(config: GPTConfig) -> None:
    model = tuned(config)
    expected, weights = model(IDS), fingerprint(model)
    assert (expected - base(config)(IDS)).abs().max() > 0.1
    merge(model)
    assert_near(model(IDS), expected, atol=1e-4)
    assert fingerprint(model) == weights
    unmerge(model)
    assert torch.equal(model(IDS), expected)
    use_adapter(model, None)
    assert torch.equal(model(IDS), base(config)(IDS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unmerged_the_base_is_the_old_one_to_the_bit(dtype: torch.dtype) -> None:
    model = base().to(dtype)
    add_lora(model, SETTINGS)
    shake(model, size=3.0)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):
        merge(model)
        unmerge(model)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before))


@pytest.mark.parametrize("config", [CONFIG, EXPERTS])
def test_a_merged_model_is_a_checkpoint_like_any_other(config, tmp_path: Path) -> None:
    model = tuned(config)
    expected, file = model(IDS), tmp_path / "merged.safetensors"
    with pytest.raises(ValueError, match="cannot be saved: its configuration builds"):
        save_checkpoint(file, model)
    merge(model)
    remove_lora(model)
    save_checkpoint(file, model)
    again = load_checkpoint(file).model
    assert_near(again(IDS), expected, atol=1e-4)
    assert type(again) is GPT and again.config == config
    assert trainable_parameters(again)


def test_without_a_merge_what_is_left_is_the_base() -> None:
    model = tuned()
    remove_lora(model)
    assert torch.equal(model(IDS), base()(IDS))
    assert type(model.blocks[0].ffn.up) is Linear
    assert [n for n, _ in model.named_parameters()] == [
        n for n, _ in base().named_parameters()
    ]
    with pytest.raises(ValueError, match="has no adapters"):
        remove_lora(model)


def test_what_cannot_be_done_while_one_is_merged() -> None:
    model = tuned()
    with pytest.raises(ValueError, match="no adapter is merged"):
        unmerge(model)
    merge(model)
    words = "merged='default' in blocks.0.attention.q_proj: unmerge it first"
    for forbidden in (
        merge,
        lambda m: use_adapter(m, None),
        lambda m: add_lora(m, SETTINGS, "other"),
    ):
        with pytest.raises(ValueError, match=words):
            forbidden(model)
    with pytest.raises(ValueError, match="unmerge before training"):
        model.train()(IDS)
    unmerge(model)
    use_adapter(model, None)
    with pytest.raises(ValueError, match="there is no active adapter to merge"):
        merge(model)


# Several adapters


def two() -> GPT:
    model = base()
    add_lora(model, SETTINGS, "first")
    add_lora(model, LoRAConfig(2, 8, ("q_proj", "up")), "second")
    return shake(shake(model, "first"), "second", 0.7)


def test_one_of_several_adapters_works() -> None:
    model, alone = two(), base()
    add_lora(alone, LoRAConfig(2, 8, ("q_proj", "up")), "second")
    outputs = {}
    for name in ("first", "second", None):
        use_adapter(model, name)
        outputs[name] = model(IDS)
        learn = trainable_parameters(model)
        assert all(f".adapters.{name}." in each for each in learn)
        assert bool(learn) == (name is not None)
    assert torch.equal(outputs[None], base()(IDS))
    assert not torch.allclose(outputs["first"], outputs["second"], atol=0.1)
    use_adapter(model, "first")
    assert_near(outputs["first"], tuned()(IDS), atol=0)


def test_the_one_that_works_is_the_one_that_is_merged() -> None:
    model = two()
    expected = model(IDS)
    assert {part.active for _, part in lora.lora_layers(model)} == {"second"}
    merge(model)
    assert_near(model(IDS), expected, atol=1e-4)
    weights = [p.merged for _, p in lora.lora_layers(model)]
    assert weights.count("second") == 4 and weights.count(None) == 10


def test_names_of_adapters_that_do_not_fit() -> None:
    model = two()
    with pytest.raises(ValueError, match=r"name='third' must be one of \['first', 's"):
        use_adapter(model, "third")
    with pytest.raises(ValueError, match="name='first' is taken"):
        add_lora(model, SETTINGS, "first")


# Files


def test_an_adapter_comes_back(tmp_path: Path) -> None:
    model = tuned(EXPERTS, LoRAConfig(3, 5.0, dropout=0.25))
    save_adapter(tmp_path, model)
    again = base(EXPERTS)
    load_adapter(tmp_path, again, "other")
    assert torch.equal(again(IDS), model(IDS))
    adapter = again.blocks[0].attention.q_proj.adapters["other"]
    assert (adapter.alpha, adapter.dropout.p, len(adapter.a)) == (5.0, 0.25, 3)
    assert all(".adapters.other." in n for n in trainable_parameters(again))
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    numbers = sum(p.numel() for p in trainable_parameters(model).values())
    assert max(sizes) < 4 * numbers + 20_000


def test_one_of_several_is_saved_by_its_name(tmp_path: Path) -> None:
    model = two()
    save_adapter(tmp_path / "one", model, "first")
    save_adapter(tmp_path / "two", model)
    again = base()
    load_adapter(tmp_path / "two", again, "second")
    assert_near(again(IDS), model(IDS), atol=0)
    load_adapter(tmp_path / "one", again, "first")
    assert_near(again(IDS), tuned()(IDS), atol=0)
    with pytest.raises(ValueError, match=r"name='third' must be one of \['first'"):
        save_adapter(tmp_path, model, "third")
    with pytest.raises(ValueError, match=r"name=None must be one of \[\]"):
        save_adapter(tmp_path, base())


def test_a_merged_adapter_is_saved_with_the_base_that_it_was_trained_beside(
    tmp_path: Path,
) -> None:
    model = tuned()
    merge(model)
    save_adapter(tmp_path, model)
    again = base()
    load_adapter(tmp_path, again)
    assert_near(again(IDS), model(IDS), atol=1e-4)


def test_another_base_is_refused_by_name(tmp_path: Path) -> None:
    save_adapter(tmp_path, tuned())
    other = base()
    other.blocks[0].ffn.up.weight.data[0, 0] += 1e-3
    for wrong in (other, base().to(torch.bfloat16)):
        with pytest.raises(ValueError, match="holds an adapter for another base"):
            load_adapter(tmp_path, wrong)
        assert not any(isinstance(part, LoRALinear) for part in wrong.modules())
        load_adapter(tmp_path, wrong, any_base=True)
    for change, words in (
        ({"d_ff": 32}, r"ffn.down has a a of .* \(3, 24\); the model needs \(3, 32\)"),
        ({"n_layers": 1}, "the GPT has no layer blocks.1.attention.k_proj"),
        ({"ffn": "gelu"}, "the GPT has no layer blocks.0.ffn.gate"),
    ):
        wrong = base(dataclasses.replace(CONFIG, **change))
        with pytest.raises(ValueError, match=words):
            load_adapter(tmp_path, wrong, any_base=True)
        assert not any(isinstance(part, LoRALinear) for part in wrong.modules())


def edited(folder: Path, **changes) -> Path:
    """The files of peft with other settings."""
    shutil.copytree(PEFT, folder)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora=True: the course has False only"),
        ({"use_rslora": True}, "use_rslora=True: the course has False only"),
        ({"bias": "all"}, "bias='all': the course has 'none' only"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern={'q_proj': 2}: the course"),
        ({"modules_to_save": ["head"]}, "the course has None only"),
        ({"peft_type": "IA3"}, "peft_type='IA3': the course has 'LORA' only"),
        ({"r": 4}, r"has a a of shape \(3, 16\); the model needs \(4, 16\)"),
        ({"r": 0}, "rank=0 must be at least 1"),
        ({"r": None}, "rank=None must be an integer"),
    ],
)
def test_files_that_ask_for_something_else(changes, message, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        load_adapter(edited(tmp_path / "it", **changes), base())


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no adapter_model.safetensors"):
        load_adapter(tmp_path, base())
    save_adapter(tmp_path, tuned())
    file = tmp_path / "adapter_model.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-8], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            load_adapter(tmp_path, base())
    file.write_bytes(whole)
    (tmp_path / "adapter_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="adapter_config.json.* does not fit"):
        load_adapter(tmp_path, base())


def test_matrices_that_belong_to_nothing(tmp_path: Path) -> None:
    folder = edited(tmp_path / "it")
    tensors = load_file(folder / "adapter_model.safetensors")
    key = "base_model.model.blocks.0.attention.q_proj.lora_A.weight"
    for wrong, message in (
        (tensors | {"head.weight": torch.ones(1)}, "head.weight is no matrix of an"),
        ({key: tensors[key]}, "blocks.0.attention.q_proj has only"),
        ({}, "is empty"),
    ):
        save_file(wrong, folder / "adapter_model.safetensors")
        with pytest.raises(ValueError, match=message):
            load_adapter(folder, base())


# What is known to go wrong


def alpha_alone(self: LoRA, x: Tensor) -> Tensor:
    return self.alpha * F.linear(F.linear(x, self.a), self.b)


def dropped_base(self: LoRALinear, x: Tensor) -> Tensor:
    adapter = self.adapters[self.active]
    x = adapter.dropout(x)
    return F.linear(x, self.weight, self.bias) + adapter.scale * (
        x @ adapter.a.T @ adapter.b.T
    )


def turned(self: LoRA, x: Tensor) -> Tensor:
    return self.scale * (x @ self.a.T @ self.b.T).flip(-1)


@pytest.mark.parametrize("wrong", [alpha_alone, turned])
def test_another_product_is_noticed(wrong: Callable, monkeypatch) -> None:
    """Such as alpha without r: right only for a rank of 1."""
    monkeypatch.setattr(LoRA, "forward", wrong)
    with pytest.raises(AssertionError):
        test_the_adapter_of_peft_gives_its_logits()
    with pytest.raises(AssertionError):
        test_merged_it_computes_the_same(CONFIG)


def test_alpha_without_r_is_not_seen_at_rank_one(monkeypatch) -> None:
    expected = tuned(settings=LoRAConfig(1, 8))(IDS)
    monkeypatch.setattr(LoRA, "forward", alpha_alone)
    assert torch.equal(tuned(settings=LoRAConfig(1, 8))(IDS), expected)


def test_a_random_b_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(torch, "zeros", torch.ones)
    with pytest.raises(AssertionError):
        test_at_first_it_changes_nothing(2)


def test_adapters_of_square_matrices_only_are_noticed(monkeypatch) -> None:
    def square(model: nn.Module, targets: object) -> list[str]:
        linear = [(n, p) for n, p in model.named_modules() if isinstance(p, nn.Linear)]
        return [n for n, p in linear if p.in_features == p.out_features]

    monkeypatch.setattr(lora, "_find", square)
    with pytest.raises(AssertionError):
        test_all_means_every_layer_that_is_called(*MODELS[0])


def test_a_second_merge_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(lora, "_require_unmerged", lambda model: None)
    with pytest.raises(pytest.fail.Exception):
        test_what_cannot_be_done_while_one_is_merged()


def test_a_base_that_is_not_frozen_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(nn.Module, "requires_grad_", lambda self, on=True: self)
    with pytest.raises(AssertionError):
        test_only_the_adapter_learns()


def test_dropout_before_the_base_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(LoRALinear, "forward", dropped_base)
    with pytest.raises(AssertionError):
        test_dropout_is_the_adapters_alone()
