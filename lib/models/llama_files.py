"""Llama's and Qwen3's weights in, ours out: the files of transformers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

from lib.models import config_of
from lib.models.gpt import GPT, GPTConfig
from lib.models.hf_files import (
    Weights,
    build_from,
    drop_tied_head,
    read_config,
    require_depth,
    shown,
    write_folder,
)
from lib.position import RotaryScaling
from lib.text.files import printable

__all__ = ["llama_config", "load_llama", "export_llama"]

KINDS = {  # model_type -> its class in transformers, and what its files may leave out
    "llama": ("LlamaForCausalLM", {"head_dim": None}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 128}),
}
SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "context_length",
}
OPTIONAL = ("num_key_value_heads", "head_dim")  # may be null
CHOICES = {"attention_bias": "attention_bias", "tie_word_embeddings": "tie_weights"}
PARTS = {"norm": "rms", "position": "rotary", "ffn": "swiglu"}
PARTS |= {"final_norm": True, "head_bias": False, "window": None, "kv_rank": None}
PARTS |= {"n_experts": None, "smear": False, "bigrams": False}
ONLY = {  # what else a file may ask for, and the one value that we have
    "hidden_act": "silu",
    "mlp_bias": False,
    "use_sliding_window": False,
    "partial_rotary_factor": 1.0,
}
SCALING = {  # rope_type -> its names of the numbers, and ours
    "default": {},
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "low_freq_factor": "n_slow",
        "high_freq_factor": "n_fast",
        "original_max_position_embeddings": "trained_length",
    },
    "yarn": {
        "factor": "factor",
        "beta_slow": "n_slow",
        "beta_fast": "n_fast",
        "original_max_position_embeddings": "trained_length",
        "attention_factor": "gain",
    },
}
ONLY_YARN = {"mscale": None, "mscale_all_dim": None, "truncate": True}
MODULES = {  # Llama's name of a part, and ours
    "model.embed_tokens": "tokens",
    "model.layers.{i}.input_layernorm": "blocks.{i}.attention_norm",
    "model.layers.{i}.self_attn.q_proj": "blocks.{i}.attention.q_proj",
    "model.layers.{i}.self_attn.k_proj": "blocks.{i}.attention.k_proj",
    "model.layers.{i}.self_attn.v_proj": "blocks.{i}.attention.v_proj",
    "model.layers.{i}.self_attn.q_norm": "blocks.{i}.attention.q_norm",
    "model.layers.{i}.self_attn.k_norm": "blocks.{i}.attention.k_norm",
    "model.layers.{i}.self_attn.o_proj": "blocks.{i}.attention.out_proj",
    "model.layers.{i}.post_attention_layernorm": "blocks.{i}.ffn_norm",
    "model.layers.{i}.mlp.gate_proj": "blocks.{i}.ffn.gate",
    "model.layers.{i}.mlp.up_proj": "blocks.{i}.ffn.up",
    "model.layers.{i}.mlp.down_proj": "blocks.{i}.ffn.down",
    "model.norm": "final_norm",
    "lm_head": "head",
}


def llama_config(hf: dict) -> GPTConfig:
    """Translate what the ``config.json`` of a Llama or a Qwen3 says.

    Args:
        hf: the file's contents; its dropout is left out.

    Returns:
        The configuration of the `GPT` that computes the same.

    Raises:
        ValueError: if it is of another kind, lacks a size, or asks for what a `GPT`
            does not compute, such as another ``hidden_act``.

    Source: Touvron et al. (2023), section 2.2, for Llama; Yang et al. (2025), section
    2, for Qwen3.

    Home lesson: 19_modern_blocks
    """
    _require(hf, "model_type", None, [*KINDS])
    hf = {"rms_norm_eps": 1e-6, **KINDS[hf["model_type"]][1], **hf}
    given = [name for name in OPTIONAL if hf.get(name) is not None]
    _require_numbers(hf, int, *SIZES, *given)
    _require_numbers(hf, float, "rms_norm_eps")
    for name, value in ONLY.items():
        _require(hf, name, value, [value])
    for name in CHOICES:
        _require(hf, name, False, [False, True])
    _require_full_attention(hf)
    sizes = {ours: hf[theirs] for theirs, ours in SIZES.items()}
    choices = {ours: hf.get(theirs, False) for theirs, ours in CHOICES.items()}
    own = {"n_kv_heads": hf.get("num_key_value_heads"), "d_head": hf["head_dim"]}
    own |= {"norm_eps": hf["rms_norm_eps"], "qk_norm": hf["model_type"] == "qwen3"}
    return GPTConfig(**sizes, **choices, **own, **PARTS, **_rotary(hf), init="normal")


def _require_full_attention(hf: dict) -> None:
    kinds, n_layers = hf.get("layer_types"), hf["num_hidden_layers"]
    if kinds is None:
        return
    is_list = isinstance(kinds, list) and len(kinds) == n_layers
    if not is_list or any(kind != "full_attention" for kind in kinds):
        words = "must be 'full_attention' for each layer"
        raise ValueError(f"config.json: {shown(hf, 'layer_types')} {words}")


def _rotary(hf: dict) -> dict:
    """Return base and scaling, from the new or the old place in the file."""
    name = "rope_parameters" if hf.get("rope_parameters") else "rope_scaling"
    given = hf.get(name) or {}
    if not isinstance(given, dict):
        raise ValueError(f"config.json: {shown(hf, name)} must be an object")
    rope = {"rope_theta": hf.get("rope_theta", 1e4), **given}
    rope.setdefault("rope_type", rope.get("type", "default"))
    _require(rope, "rope_type", None, [*SCALING])
    _require(rope, "partial_rotary_factor", 1.0, [1.0])
    kind = rope["rope_type"]
    if kind == "yarn":
        rope = _yarn(rope)
    names = SCALING[kind]
    whole = {"original_max_position_embeddings"} & names.keys()
    _require_numbers(rope, int, *whole)
    _require_numbers(rope, float, "rope_theta", *names.keys() - whole)
    values = {ours: rope[theirs] for theirs, ours in names.items()}
    scaling = RotaryScaling(**values, by_pair=kind == "yarn") if values else None
    return {"rotary_base": rope["rope_theta"], "rotary_scaling": scaling}


def _yarn(rope: dict) -> dict:
    """Return YaRN's numbers with those that a file may leave out."""
    for name, only in ONLY_YARN.items():
        _require(rope, name, only, [only])
    given = {name: value for name, value in rope.items() if value is not None}
    factor = given.get("factor")
    if type(factor) in (int, float) and factor >= 1:
        given.setdefault("attention_factor", 0.1 * math.log(factor) + 1)
    return {"beta_slow": 1.0, "beta_fast": 32.0, **given}


def _require(hf: dict, name: str, default: object, allowed: list) -> None:
    value = hf.get(name, default)
    truths = isinstance(value, bool), isinstance(allowed[0], bool)  # 1 == True
    if value not in allowed or truths[0] != truths[1]:
        words = printable(f"{name}={printable(repr(value), 60)} must be in {allowed}")
        raise ValueError(f"config.json: {words}")


def _require_numbers(hf: dict, kind: type, *names: str) -> None:
    for name in names:
        if type(hf.get(name)) not in (int, kind):
            word = "an integer" if kind is int else "a number"
            raise ValueError(f"config.json: {shown(hf, name)} must be {word}")


def tensor_names(c: GPTConfig) -> dict[str, list[str]]:
    """Return Llama's name of each tensor, and our name of it."""
    names = {}
    for i, (theirs, ours) in product(range(c.n_layers), MODULES.items()):
        theirs, ours = theirs.format(i=i), ours.format(i=i)
        absent = ours.endswith(("q_norm", "k_norm")) and not c.qk_norm
        if absent or (ours == "head" and c.tie_weights):
            continue
        weight = "gain" if ours.endswith("norm") else "weight"
        names[f"{theirs}.weight"] = [f"{ours}.{weight}"]
        if c.attention_bias and ours.endswith("_proj"):
            names[f"{theirs}.bias"] = [f"{ours}.bias"]
    return names


def load_llama(folder: str | Path, context_length: int | None = None) -> GPT:
    """Build the `GPT` that has a Llama's or a Qwen3's weights, and so its logits.

    Args:
        folder: with ``config.json`` and ``model.safetensors`` (or its shards and their
            index), as transformers writes it.
        context_length: the longest input allowed, at most that of the file; None for
            that. A cache takes memory for all of it.

    Returns:
        The model, in float32 whatever the file has, and without dropout.

    Raises:
        ValueError: for a file that cannot be read, a configuration that `llama_config`
            refuses, a longer context than the file's, a head that is tied and
            differs, or a missing, unknown or misshapen tensor.

    Source: Touvron et al. (2023), section 2.2.

    Home lesson: 19_modern_blocks
    """
    folder = Path(folder)
    config = llama_config(read_config(folder))
    longest = config.context_length
    if context_length is not None:
        if not 1 <= context_length <= longest:
            raise ValueError(f"context_length={context_length} must be 1 .. {longest}")
        config = replace(config, context_length=context_length)
    weights = Weights(folder)
    if config.tie_weights:
        drop_tied_head(weights, "model.embed_tokens.weight")
    require_depth(config, weights)
    return build_from(config, weights, tensor_names(config))


def export_llama(model: GPT, folder: str | Path) -> None:
    """Write a model as a Llama that transformers loads, with the same logits.

    Args:
        model: one that is a Llama but for its sizes, or with ``qk_norm`` a Qwen3. The
            files do not say which tokens are special.
        folder: where ``config.json`` and ``model.safetensors`` are put, each whole or
            not at all.

    Raises:
        ValueError: if they have no such part, as ``norm="layer"`` or a head with a
            bias; or for weights that do not fit the configuration, as beside adapters.

    Source: Touvron et al. (2023), section 2.2.

    Home lesson: 19_modern_blocks
    """
    config, ours = _hf_config(model.config), model.state_dict()
    config_of(model)  # which refuses other weights than those of its configuration
    names = tensor_names(model.config)
    tensors = {name: ours[own].contiguous() for name, (own,) in names.items()}
    write_folder(Path(folder), config, tensors)


def _hf_config(c: GPTConfig) -> dict:
    """Return the ``config.json`` of a model, or raise what Llama cannot express."""
    for name, only in PARTS.items():
        if (value := getattr(c, name)) != only:
            raise ValueError(f"{name}={value!r} must be {only!r} for a Llama")
    kind = "qwen3" if c.qk_norm else "llama"
    config = {"architectures": [KINDS[kind][0]], "model_type": kind, **ONLY}
    config |= {theirs: getattr(c, ours) for theirs, ours in (SIZES | CHOICES).items()}
    config |= {"num_key_value_heads": c.n_kv_heads or c.n_heads}
    config |= {"head_dim": c.d_head or c.d_model // c.n_heads}
    config |= {"rms_norm_eps": c.norm_eps, "attention_dropout": 0.0}
    rope = _rope(c)
    old = {name: value for name, value in rope.items() if name != "rope_theta"}
    config |= {"rope_parameters": rope}  # of transformers 5, and of version 4:
    config |= {"rope_theta": c.rotary_base, "rope_scaling": c.rotary_scaling and old}
    return config | {"bos_token_id": None, "eos_token_id": None}


def _rope(c: GPTConfig) -> dict:
    """Return base and scaling as the file names them."""
    scaling = c.rotary_scaling
    if scaling is None:
        kind = "default"
    elif scaling.by_pair:
        kind = "yarn"
    else:
        kind = "linear" if scaling.n_slow is None else "llama3"
    if kind in ("linear", "llama3") and scaling.gain != 1:
        raise ValueError(f"gain={scaling.gain} must be 1 without by_pair for a Llama")
    values = {t: getattr(c.rotary_scaling, ours) for t, ours in SCALING[kind].items()}
    return {"rope_type": kind, "rope_theta": c.rotary_base, **values}
