"""GPT-2's weights in, ours out: the files of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from lib import is_offline
from lib.device import cache_folder
from lib.models import config_of
from lib.models.gpt import GPT, GPTConfig
from lib.models.hf_files import (
    FILES,
    HEAD,
    Weights,
    build_from,
    drop_tied_head,
    read_config,
    require_depth,
    shown,
    write_folder,
)
from lib.text.bpe import BPETokenizer

__all__ = ["gpt2_config", "load_gpt2", "load_gpt2_tokenizer", "export_gpt2"]

PAGE = "https://huggingface.co/openai-community/{}/resolve/{}/"
RELEASED = {  # the commit, and the sha256 of each of FILES
    "gpt2": (
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "0daed7749b4f02b8f76240d5444551d7b08712dab4d0adb8239c56ba823bb7b4",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
    "gpt2-medium": (
        "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        "ef1a44d889ad1a0acc7731c78134f1b87d2d222f110e97dd10fd4117331caf22",
        "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd",
    ),
    "gpt2-large": (
        "32b71b12589c2f8d625668d2335a01cac3249519",
        "7fccdcfd6622055342a734c663ee0b61ff4fd697f42467595df0bf4448c8c170",
        "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
    ),
    "gpt2-xl": (
        "15ea56dee5df4983c59b2538573817e1667135e2",
        "be48115d52314bc27327e160bf10197760db02ea689d10adb24db4102edf7a8a",
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
    ),
}
MERGES = "merges.txt"  # the same in all of them
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
PATIENCE = (5, 30)  # seconds to connect, and without a byte

SIZES = {
    "vocab_size": "vocab_size",
    "n_embd": "d_model",
    "n_head": "n_heads",
    "n_layer": "n_layers",
    "n_inner": "d_ff",
    "n_positions": "context_length",
}
FFNS = {"gelu_new": "gelu_tanh", "gelu": "gelu", "relu": "relu", "relu2": "relu2"}
FFNS |= dict.fromkeys(("gelu_pytorch_tanh", "gelu_fast"), "gelu_tanh")  # other names
PARTS = {"norm": "layer", "position": "learned", "final_norm": True, "head_bias": False}
PARTS |= {"d_head": None, "qk_norm": False, "norm_eps": 1e-5, "window": None}
PARTS |= {"n_experts": None, "smear": False, "bigrams": False}
ONLY = {  # what else a file may ask for, and the one value that we have
    "model_type": "gpt2",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}
MODULES = {  # GPT-2's name of a part, and ours; * is q, k and v, there side by side
    "wte": "tokens",
    "wpe": "positions.table",
    "h.{i}.ln_1": "blocks.{i}.attention_norm",
    "h.{i}.attn.c_attn": "blocks.{i}.attention.*_proj",
    "h.{i}.attn.c_proj": "blocks.{i}.attention.out_proj",
    "h.{i}.ln_2": "blocks.{i}.ffn_norm",
    "h.{i}.mlp.c_fc": "blocks.{i}.ffn.up",
    "h.{i}.mlp.c_proj": "blocks.{i}.ffn.down",
    "ln_f": "final_norm",
}
CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # stored transposed
BUFFERS = ("attn.bias", "attn.masked_bias")  # the causal mask, in old files


def gpt2_config(hf: dict) -> GPTConfig:
    """Translate what the ``config.json`` of a GPT-2 says.

    Args:
        hf: the file's contents; its dropout is left out.

    Returns:
        The configuration of the `GPT` that computes the same.

    Raises:
        ValueError: if it is no GPT-2's, lacks a size, or asks for what a `GPT` does not
            compute, such as another ``layer_norm_epsilon``.

    Source: Radford et al. (2019), section 2.3.

    Home lesson: 10_gpt
    """
    hf = {"n_positions": hf.get("n_ctx"), "activation_function": "gelu_new", **hf}
    if hf.get("n_inner") is None and type(hf.get("n_embd")) is int:
        hf["n_inner"] = 4 * hf["n_embd"]
    _check_config(hf)
    sizes = {ours: hf[theirs] for theirs, ours in SIZES.items()}
    ffn, tied = FFNS[hf["activation_function"]], hf.get("tie_word_embeddings", True)
    own = {"attention_bias": True, "tie_weights": tied, "init": "gpt2"}
    return GPTConfig(**sizes, **PARTS, **own, ffn=ffn)


def _check_config(hf: dict) -> None:
    allowed = {name: [value] for name, value in ONLY.items()}
    allowed |= {"activation_function": [*FFNS], "tie_word_embeddings": [True, False]}
    for name, values in allowed.items():
        if hf.get(name, values[0]) not in values:
            raise ValueError(f"config.json: {shown(hf, name)} must be in {values}")
    for name in SIZES:
        if type(hf.get(name)) is not int:
            raise ValueError(f"config.json: {shown(hf, name)} must be an integer")


def tensor_names(c: GPTConfig) -> dict[str, list[str]]:
    """Return GPT-2's name of each tensor, and our names of what it holds."""
    names = {} if c.tie_weights else {"lm_head.weight": ["head.weight"]}
    for i, (theirs, ours) in product(range(c.n_layers), MODULES.items()):
        theirs, ours = f"transformer.{theirs}".format(i=i), ours.format(i=i)
        parts = [ours.replace("*", x) for x in ("qkv" if "*" in ours else "*")]
        weight = "gain" if ours.endswith("norm") else "weight"
        names[f"{theirs}.weight"] = [f"{part}.{weight}" for part in parts]
        if not theirs.endswith(("wte", "wpe")):
            names[f"{theirs}.bias"] = [f"{part}.bias" for part in parts]
    return names


def load_gpt2(path_or_name: str | Path) -> GPT:
    """Build the `GPT` that has a GPT-2's weights, and so its logits.

    Args:
        path_or_name: a folder with ``config.json`` and ``model.safetensors`` (or its
            shards and their index), as transformers writes it; or ``"gpt2"``,
            ``"gpt2-medium"``, ``"gpt2-large"`` or ``"gpt2-xl"``, OpenAI's weights of
            0.5, 1.5, 3.2 and 6.4 GB: fetched once, checked by their sha256, cached.

    Returns:
        The model, in float32 whatever the file has, and without dropout.

    Raises:
        ValueError: for an unknown name, a file that cannot be read, a configuration
            that `gpt2_config` refuses, or a missing, unknown or misshapen tensor.
        OSError: if the download fails, or ``COURSE_OFFLINE`` forbids it.

    Source: Radford et al. (2019), section 2.3.

    Home lesson: 10_gpt
    """
    folder = _folder(path_or_name, FILES)
    config = gpt2_config(read_config(folder))
    weights = _weights(folder)
    if config.tie_weights:
        drop_tied_head(weights, "transformer.wte.weight")
    require_depth(config, weights)
    for layer, buffer in product(range(config.n_layers), BUFFERS):
        weights.entries.pop(f"transformer.h.{layer}.{buffer}", None)
    return build_from(config, weights, tensor_names(config), transpose_conv1d)


def load_gpt2_tokenizer(path_or_name: str | Path) -> BPETokenizer:
    """Read the tokenizer that a GPT-2 was trained with: 50,257 tokens.

    Args:
        path_or_name: a folder with ``merges.txt``, or a name as in `load_gpt2`, whose
            file of 0.5 MB is fetched once, checked by its sha256, and cached.

    Raises:
        ValueError: for an unknown name, or a file that is not in GPT-2's format.
        OSError: if the file is missing, the download fails, or ``COURSE_OFFLINE``
            forbids it.

    Source: Radford et al. (2019), section 2.2.

    Home lesson: 14_tokenization
    """
    return BPETokenizer.from_gpt2(_folder(path_or_name, [MERGES]) / MERGES)


def transpose_conv1d(name: str, tensor: Tensor) -> Tensor:
    """Swap rows and columns of the weights that GPT-2 keeps the other way round."""
    return tensor.T if name.endswith(CONV1D) else tensor


def _weights(folder: Path) -> Weights:
    """List the tensors; in OpenAI's files the names lack their first word."""
    weights = Weights(folder)
    if not any(name.startswith("transformer.") for name in weights.entries):
        for name in weights.entries.keys() - {HEAD}:
            weights.rename(name, f"transformer.{name}")
    return weights


def _folder(path_or_name: str | Path, files: Sequence[str]) -> Path:
    """Return a reader's folder, or that of a released model with these files in it."""
    released = path_or_name in RELEASED
    folder = fetch(path_or_name, files) if released else Path(path_or_name)
    if not folder.is_dir():
        allowed = f"a folder or one of {[*RELEASED]}"
        raise ValueError(f"path_or_name={str(path_or_name)!r} must be {allowed}")
    return folder


def fetch(name: str, files: Sequence[str]) -> Path:
    """Return the folder of a released model; download what the cache lacks."""
    import pooch

    def refuse(*_: object) -> None:
        raise OSError("COURSE_OFFLINE is set")

    commit, *checksums = RELEASED[name]
    sha256 = dict(zip(FILES, checksums)) | {MERGES: MERGES_SHA256}
    page, folder = PAGE.format(name, commit), cache_folder() / name
    download = pooch.HTTPDownloader(True, chunk_size=2**20, timeout=PATIENCE)
    downloader = refuse if is_offline() else download
    try:
        for file in files:
            pooch.retrieve(
                page + file, sha256[file], file, folder, downloader=downloader
            )
    except (OSError, ValueError) as error:
        wanted = " and ".join(page + file for file in files)
        raise OSError(
            f"{name} was not downloaded ({error}): try again with a network and with "
            f"COURSE_OFFLINE=0, or save {wanted} in {folder}"
        ) from None
    return folder


def export_gpt2(model: GPT, folder: str | Path) -> None:
    """Write a model as a GPT-2 that transformers loads, with the same logits.

    Args:
        model: one that is a GPT-2 but for its sizes. Its attention may lack biases:
            zeros are written. The files do not say which tokens are special.
        folder: where ``config.json`` and ``model.safetensors`` are put, each whole or
            not at all.

    Raises:
        ValueError: if GPT-2 has no such part, as ``norm="rms"`` or a head with a bias;
            or for weights that do not fit the configuration, as beside adapters.

    Source: Radford et al. (2019), section 2.3.

    Home lesson: 10_gpt
    """
    config = _hf_config(model.config)
    config_of(model)  # which refuses other weights than those of its configuration
    write_folder(Path(folder), config, gpt2_tensors(model))


def gpt2_tensors(model: GPT) -> dict[str, Tensor]:
    """Return a model's weights as GPT-2 names and lays them out."""
    ours, tensors = model.state_dict(), {}
    no_bias = ours["tokens.weight"].new_zeros(model.config.d_model)  # of an attention
    for name, parts in tensor_names(model.config).items():
        rows = torch.cat([ours.get(part, no_bias) for part in parts])
        tensors[name] = transpose_conv1d(name, rows).contiguous()
    return tensors


def _hf_config(c: GPTConfig) -> dict:
    """Return the ``config.json`` of a model, or raise what GPT-2 cannot express."""
    allowed = {name: [value] for name, value in PARTS.items()}
    allowed |= {"ffn": [*FFNS.values()], "n_kv_heads": [None, c.n_heads]}
    for name, values in allowed.items():
        if (value := getattr(c, name)) not in values:
            raise ValueError(f"{name}={value!r} must be in {values} for a GPT-2")
    config = {theirs: getattr(c, ours) for theirs, ours in SIZES.items()}
    config |= {"architectures": ["GPT2LMHeadModel"], **ONLY}
    config |= {"activation_function": {v: k for k, v in reversed(FFNS.items())}[c.ffn]}
    config |= {"tie_word_embeddings": c.tie_weights, "attn_pdrop": 0.0}
    config |= dict.fromkeys(("embd_pdrop", "resid_pdrop"), c.dropout)
    return config | {"bos_token_id": None, "eos_token_id": None}
