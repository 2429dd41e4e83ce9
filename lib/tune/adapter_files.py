"""Adapters in files, without their base, as Hugging Face's peft keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lib.train.tensor_file import read_tensors, write_tensors
from lib.tune.lora import (
    LoRAConfig,
    adapter_names,
    attach,
    fingerprint,
    lora_layers,
)

__all__ = ["save_adapter", "load_adapter"]

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
KIND, FORMAT = "From Bigram to Transformer: adapter", 1
PREFIX = "base_model.model."  # where peft puts the model that it wraps
ENDS = {"a": ".lora_A.weight", "b": ".lora_B.weight"}
PLAIN = {  # settings of peft that other computations need, and what they must be
    "peft_type": "LORA",
    "bias": "none",
    "fan_in_fan_out": False,
    "use_rslora": False,
    "use_dora": False,
    "lora_bias": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
    "target_parameters": None,
    "trainable_token_indices": None,
    "layer_replication": None,
    "alora_invocation_tokens": None,
    "use_qalora": False,
    "use_bdlora": None,
}


def save_adapter(folder: str | Path, model: nn.Module, name: str | None = None) -> None:
    """Write one adapter alone, in two files that peft can read.

    Args:
        folder: for ``adapter_model.safetensors`` and ``adapter_config.json``; made.
        model: has the adapter.
        name: of the adapter; None for the one that works.

    Raises:
        ValueError: for a name that the model does not have, or None where no adapter
            works.
        OSError: if a file cannot be written.

    Source: peft's own format; safetensors holds no code.
    """
    layers = dict(lora_layers(model))
    if name is None:
        name = next((part.active for part in layers.values()), None)
    adapters = {n: p.adapters[name] for n, p in layers.items() if name in p.adapters}
    if not adapters:
        raise ValueError(f"name={name!r} must be one of {adapter_names(model)}")
    tensors = {
        f"{PREFIX}{place}{end}": getattr(adapter, matrix)
        for place, adapter in adapters.items()
        for matrix, end in ENDS.items()
    }
    one = next(iter(adapters.values()))
    settings = PLAIN | {
        "r": len(one.a),
        "lora_alpha": one.alpha,
        "lora_dropout": one.dropout.p,
        "target_modules": sorted(adapters),
        "base_model_name_or_path": None,
        "inference_mode": True,
        "task_type": None,
    }
    words = {"course": KIND, "format": FORMAT, "base": fingerprint(model)}
    write_tensors(Path(folder, WEIGHTS), tensors, words)
    text = json.dumps(settings, indent=2) + "\n"
    Path(folder, SETTINGS).write_text(text, encoding="utf-8")


def load_adapter(
    folder: str | Path, model: nn.Module, name: str = "default", any_base: bool = False
) -> None:
    """Read an adapter of `save_adapter` or of peft; put it into a model and use it.

    Args:
        folder: holds the two files.
        model: the base; changed in place, as `add_lora` does. Where anything is
            refused it is as it was.
        name: for the adapter.
        any_base: whether the base may have other weights than the one that the adapter
            was trained beside, such as the same in fewer bits.

    Raises:
        FileNotFoundError: if there are no such files.
        ValueError: for a damaged file, for settings that the course does not have, for
            another base, a layer that the model lacks, a matrix of another shape, or
            a name that is taken.
    """
    path, settings = Path(folder, WEIGHTS), Path(folder, SETTINGS)
    for file in (path, settings):
        if not file.is_file():
            raise FileNotFoundError(f"folder={str(folder)!r} has no {file.name}")
    config = _read_config(settings)
    tensors, base = _read(path)
    if base is not None and not any_base and base != fingerprint(model):
        raise ValueError(
            f"folder={str(folder)!r} holds an adapter for another base: this model has "
            "other weights than the one that it was trained beside"
        )
    pairs = _pairs(path, tensors)
    for place, pair in sorted(pairs.items()):
        _require_fit(path, model, place, pair, config.rank)
    attach(model, dict.fromkeys(pairs, config), name)
    with torch.no_grad():
        for place, pair in pairs.items():
            adapter = model.get_submodule(place).adapters[name]
            for matrix, tensor in pair.items():
                own = getattr(adapter, matrix)
                own.copy_(tensor)


def _read_config(path: Path) -> LoRAConfig:
    """Return the settings of a file, unless they ask for another computation."""
    try:
        found = json.loads(path.read_text("utf-8"))
        for key, needed in PLAIN.items():
            value = found.get(key, needed)
            if value != needed and (value or key == "peft_type"):
                raise ValueError(f"{key}={value!r}: the course has {needed!r} only")
        values = found["r"], float(found["lora_alpha"])
        return LoRAConfig(*values, dropout=float(found.get("lora_dropout", 0)))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"path={str(path)!r} does not fit: {error}") from error


def _read(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Return the tensors of a file, and the fingerprint of its base if it says it."""
    try:
        with safe_open(path, "pt") as file:
            ours = "course" in (file.metadata() or {})
            tensors = {} if ours else {n: file.get_tensor(n) for n in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"path={str(path)!r} is damaged: {error}") from error
    if not ours:
        return tensors, None
    tensors, words = read_tensors(path, KIND, FORMAT)
    return tensors, words["base"]


def _pairs(path: Path, tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the matrices A and B of each layer by its name."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        matrix = next((m for m, end in ENDS.items() if key.endswith(end)), None)
        if matrix is None or not key.startswith(PREFIX):
            raise ValueError(f"path={str(path)!r}: {key} is no matrix of an adapter")
        place = key.removeprefix(PREFIX).removesuffix(ENDS[matrix])
        pairs.setdefault(place, {})[matrix] = tensor
    for place, pair in pairs.items():
        if len(pair) < len(ENDS):
            raise ValueError(f"path={str(path)!r}: {place} has only {[*pair]}")
    if not pairs:
        raise ValueError(f"path={str(path)!r} is empty")
    return pairs


def _require_fit(
    path: Path, model: nn.Module, place: str, pair: dict[str, Tensor], rank: int
) -> None:
    """Refuse matrices without a layer, or of another shape than it needs."""
    layer = dict(model.named_modules()).get(place)
    if not isinstance(layer, nn.Linear):
        kind = type(model).__name__
        raise ValueError(f"path={str(path)!r}: the {kind} has no layer {place}")
    wanted = {"a": (rank, layer.in_features), "b": (layer.out_features, rank)}
    for matrix, tensor in pair.items():
        if tuple(tensor.shape) != wanted[matrix]:
            raise ValueError(
                f"path={str(path)!r}: {place} has a {matrix} of shape "
                f"{tuple(tensor.shape)}; the model needs {wanted[matrix]}"
            )
