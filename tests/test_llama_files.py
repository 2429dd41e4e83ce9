"""Llama's and Qwen3's weights give the logits of transformers, read or written."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
import transformers
from against_torch import random
from packaging.version import Version
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lib.generate import generate
from lib.models.gpt import GPT, GPTConfig
from lib.models.llama_files import export_llama, llama_config, load_llama
from lib.position import RotaryScaling

SIZES = {
    "vocab_size": 65,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
SILENT = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 24,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}
OURS = GPTConfig(
    65,
    32,
    4,
    2,
    44,
    64,
    n_kv_heads=2,
    norm="rms",
    position="rotary",
    ffn="swiglu",
    attention_bias=False,
    tie_weights=False,
    init="normal",
)
IDS = torch.randint(65, (3, 50), generator=torch.Generator().manual_seed(0))
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
K_PROJ = "model.layers.1.self_attn.k_proj.weight"

KINDS = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 12}),
}


def move_weights(model: nn.Module) -> None:
    """Put all weights somewhere around 0, or around 1 for gains; none stays there."""
    for seed, p in enumerate(model.parameters()):
        p.data.round_().add_(0.15 * random(*p.shape, seed=seed))


def theirs(kind: str, **options) -> PreTrainedModel:
    model, config, own = KINDS[kind]
    if Version(transformers.__version__).major < 5 and "rope_parameters" in options:
        scaling = dict(options.pop("rope_parameters"))
        options["rope_theta"] = scaling.pop("rope_theta")
        if scaling["rope_type"] != "default":
            options["rope_scaling"] = scaling
    model = model(config(**(SIZES | SILENT | own | options))).eval()
    move_weights(model)
    return model


def ours(**options) -> GPT:
    model = GPT(dataclasses.replace(OURS, **options)).eval()
    move_weights(model)
    return model


@torch.no_grad()
def assert_same_logits(ours: nn.Module, theirs: nn.Module, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, atol=atol, rtol=0)


@pytest.fixture(params=[*KINDS])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a model of each kind, as transformers saves it."""
    theirs(request.param).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def change_tensors(folder: Path, **changes) -> None:
    tensors = {n: t.clone() for n, t in load_file(folder / WEIGHTS).items()} | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / WEIGHTS)


# Theirs in


@pytest.mark.parametrize("kind", [*KINDS])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 1, "rms_norm_eps": 1e-3},
        {"num_key_value_heads": 4, "attention_bias": True},
        {"head_dim": 6},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 77.0}},
        {"rope_parameters": LLAMA3},
        {"rope_parameters": LINEAR},
        {"rope_parameters": YARN},
        {"rope_parameters": YARN | {"beta_fast": 30.0, "factor": 8.0}},
        {"rope_parameters": YARN | {"attention_factor": 1.7}},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_the_logits_are_theirs(kind: str, options: dict, tmp_path: Path) -> None:
    model = theirs(kind, **options)
    model.save_pretrained(tmp_path)
    assert_same_logits(load_llama(tmp_path), model)


def test_in_half_precision_they_differ_by_its_rounding(folder: Path) -> None:
    kind = json.loads((folder / "config.json").read_text("utf-8"))["model_type"]
    exact = load_llama(folder)
    half, their_half = load_llama(folder).bfloat16(), theirs(kind).bfloat16()
    with torch.no_grad():
        logits = exact(IDS)
        own = (their_half(IDS).logits.float() - logits).abs().mean().item()
        assert (half(IDS).float() - logits).abs().mean().item() < 1.5 * own


def test_the_greedy_text_is_theirs(folder: Path) -> None:
    kind = json.loads((folder / "config.json").read_text("utf-8"))["model_type"]
    prompt, ours = IDS[:, :4], load_llama(folder).eval()
    text = generate(ours, prompt, 30, temperature=0.0)
    expected = theirs(kind).generate(prompt, max_new_tokens=30, do_sample=False)
    assert torch.equal(text, expected)


def test_shards_are_put_together(folder: Path, tmp_path: Path) -> None:
    kind = json.loads((folder / "config.json").read_text("utf-8"))["model_type"]
    model = theirs(kind)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20kB")
    assert len([*(tmp_path / "shards").glob("*-of-*.safetensors")]) > 1
    assert_same_logits(load_llama(tmp_path / "shards"), model)


def test_a_shard_outside_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).rename(tmp_path / WEIGHTS)
    for name in ("../" + WEIGHTS, str(tmp_path / WEIGHTS), 3):
        index = {"weight_map": {"lm_head.weight": name}}
        (folder / INDEX).write_text(json.dumps(index), "utf-8")
        with pytest.raises(ValueError, match="must be the name of a file beside it"):
            load_llama(folder)
    (folder / INDEX).write_text("{}", "utf-8")
    with pytest.raises(ValueError, match="None must be the name of a file"):
        load_llama(folder)


@pytest.mark.parametrize("scaling", [LLAMA3, {"type": "linear", "factor": 3.0}])
def test_older_files_keep_base_and_scaling_apart(scaling: dict, folder: Path) -> None:
    old = {"rope_theta": 500.0, "rope_scaling": scaling, "rope_parameters": None}
    config = json.loads((folder / "config.json").read_text("utf-8"))
    c = llama_config(config | old)
    assert c.rotary_base == 500 and c.rotary_scaling.factor == scaling["factor"]
    assert (c.rotary_scaling.n_slow is None) == (scaling is not LLAMA3)


def test_yarn_is_switched_on_when_its_file_is_read(tmp_path: Path) -> None:
    """With it off, or without its gain, the logits are others."""
    theirs("llama", rope_parameters=YARN).save_pretrained(tmp_path)
    model = load_llama(tmp_path)
    scaling = model.config.rotary_scaling
    assert scaling.by_pair and scaling.gain == pytest.approx(0.1 * math.log(4) + 1)
    expected = model(IDS)
    wrong = [None, dataclasses.replace(scaling, gain=1.0), RotaryScaling(4.0)]
    for other in wrong:
        off = GPT(dataclasses.replace(model.config, rotary_scaling=other))
        off.load_state_dict(model.state_dict())
        assert not torch.allclose(off(IDS), expected, atol=1e-3)


def test_half_precision_is_loaded_as_float32(folder: Path) -> None:
    tensors = {n: t.bfloat16() for n, t in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    model = load_llama(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.head.weight, tensors["lm_head.weight"].float())


def test_a_shorter_context_saves_memory(folder: Path) -> None:
    model, whole = load_llama(folder, context_length=20), load_llama(folder)
    assert model.context_length == 20
    assert torch.equal(model(IDS[:, :20]), whole(IDS[:, :20]))
    for length in (0, 65):
        with pytest.raises(ValueError, match=f"context_length={length} must be 1 .. 6"):
            load_llama(folder, context_length=length)


# What is wrong with a file


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, **{K_PROJ: None})
    with pytest.raises(ValueError, match=f"^{K_PROJ} is missing"):
        load_llama(folder)


@pytest.mark.parametrize("name", ["model.layers.2.mlp.up_proj.weight", "lm_head.bias"])
def test_an_unknown_tensor_is_named(name: str, folder: Path) -> None:
    change_tensors(folder, **{name: torch.ones(3)})
    with pytest.raises(ValueError, match=f"^{name} is not known"):
        load_llama(folder)


def test_a_tied_head_may_be_stored_but_not_differ(tmp_path: Path) -> None:
    model = theirs("llama", tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    table = load_file(tmp_path / WEIGHTS)["model.embed_tokens.weight"]
    change_tensors(tmp_path, **{"lm_head.weight": table.clone()})
    assert_same_logits(load_llama(tmp_path), model)
    change_tensors(tmp_path, **{"lm_head.weight": table + 1})
    with pytest.raises(ValueError, match="lm_head.weight must equal model.embed_tok"):
        load_llama(tmp_path)


def test_a_misshapen_tensor_is_named(folder: Path) -> None:
    """Keys for each head, where heads share them."""
    whole = load_file(folder / WEIGHTS)[K_PROJ]
    change_tensors(folder, **{K_PROJ: torch.cat([whole, whole])})
    with pytest.raises(ValueError, match=f"^{K_PROJ} has shape .*; it must be "):
        load_llama(folder)


def test_norms_of_queries_that_a_llama_does_not_have(folder: Path) -> None:
    change_config(folder, model_type="llama", head_dim=12)
    name = "model.layers.0.self_attn.q_norm.weight"
    change_tensors(folder, **{name: torch.ones(12)})
    with pytest.raises(ValueError, match="q_norm.weight is not known|k_norm.weight is"):
        load_llama(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_type", "mistral"),
        ("hidden_act", "gelu"),
        ("mlp_bias", True),
        ("use_sliding_window", True),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("hidden_size", None),
        ("num_hidden_layers", 2.0),
        ("num_attention_heads", "4"),
        ("head_dim", True),
        ("num_key_value_heads", "2"),
        ("num_key_value_heads", True),
        ("rms_norm_eps", "1e-6"),
        ("rms_norm_eps", None),
        ("rms_norm_eps", True),
        ("layer_types", "full_attention"),
        ("layer_types", ["full_attention"]),
        ("rope_parameters", [1e4]),
        ("mlp_bias", 0),
        ("attention_bias", 1),
        ("tie_word_embeddings", "no"),
        ("attention_bias", 3),
        ("partial_rotary_factor", 0.5),
    ],
)
def test_a_setting_that_we_do_not_have(name: str, value: object, folder: Path) -> None:
    change_config(folder, **{name: value})
    with pytest.raises(ValueError, match=f"config.json: {name}=.* must be"):
        load_llama(folder)


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "rope_type='dynamic' must be in"),
        ({"rope_type": "linear"}, "factor=None must be a number"),
        (YARN | {"factor": None}, "factor=None must be a number"),
        (YARN | {"truncate": False}, "truncate=False must be in"),
        (YARN | {"mscale": 1.0}, "mscale=1.0 must be in"),
        (LLAMA3 | {"low_freq_factor": "1"}, "low_freq_factor='1' must be a number"),
        (LLAMA3 | {"original_max_position_embeddings": 24.5}, "24.5 must be an int"),
        ({"rope_theta": "1e4"}, "rope_theta='1e4' must be a number"),
        ({"rope_theta": None}, "rope_theta=None must be a number"),
        ({"rope_theta": True}, "rope_theta=True must be a number"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 must be in"),
        (LLAMA3 | {"high_freq_factor": 0.5}, "n_fast=0.5 must be above n_slow=1.0"),
        (
            {"rope_type": "default", "rope_theta": 0.0},
            "rotary_base=0.0 must be above 0",
        ),
    ],
)
def test_a_rotation_that_we_do_not_have(rope: dict, message: str, folder: Path) -> None:
    change_config(folder, rope_parameters=rope)
    with pytest.raises(ValueError, match=message):
        load_llama(folder)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
@pytest.mark.parametrize("how", ["foreign", "truncated", "missing"])
def test_a_file_that_cannot_be_read(name: str, how: str, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if how == "foreign":
        torch.save([1, 2], folder / name)
    elif how == "truncated":
        (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{name} cannot be read: "):
        load_llama(folder)


# Ours out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tie_weights": True, "n_kv_heads": None},
        {"attention_bias": True, "norm_eps": 1e-6},
        {"qk_norm": True, "d_head": 10},
        {"rotary_scaling": RotaryScaling(3.0)},
        {"rotary_scaling": RotaryScaling(8.0, 1.0, 4.0, 24), "rotary_base": 500.0},
        {"rotary_scaling": RotaryScaling(4.0, 1.0, 4.0, 24, 1.2, True)},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_there_and_back(options: dict, tmp_path: Path) -> None:
    model = ours(**options)
    export_llama(model, tmp_path / "new" / "folder")
    kind = KINDS["qwen3" if "qk_norm" in options else "llama"][0]
    there, found = kind.from_pretrained(
        tmp_path / "new" / "folder", output_loading_info=True
    )
    assert not any(found.values())
    assert_same_logits(model, there.eval())
    back = load_llama(tmp_path / "new" / "folder")
    assert_same_logits(back, there)
    wanted = dataclasses.replace(model.config, n_kv_heads=model.config.n_kv_heads or 4)
    wanted = dataclasses.replace(wanted, d_head=model.config.d_head or 8)
    assert back.config == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("norm", "layer"),
        ("position", "learned"),
        ("ffn", "gelu"),
        ("final_norm", False),
        ("head_bias", True),
        ("window", 8),
        ("kv_rank", 8),
    ],
)
def test_what_a_llama_cannot_express(name: str, value: object, tmp_path: Path) -> None:
    options = {name: value}
    if name == "kv_rank":
        options["n_kv_heads"] = None
    with pytest.raises(ValueError, match=f"^{name}={value!r} must be .* for a Llama"):
        export_llama(ours(**options), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_gain_without_its_ramp_cannot_be_written(tmp_path: Path) -> None:
    scaling = RotaryScaling(8.0, 1.0, 4.0, 24, gain=1.2)
    with pytest.raises(ValueError, match="gain=1.2 must be 1 without by_pair"):
        export_llama(ours(rotary_scaling=scaling), tmp_path / "model")
