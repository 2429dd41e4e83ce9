"""Adapters in files, without their base, as Hugging Face's peft keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.models.tensor_table import TensorFile, require_finite, require_floats
from lib.text.files import naming, printable, read_json, write_files
from lib.train.tensor_file import read_tensors, tensor_writer
from lib.tune.lora import (
    LoRAConfig,
    adapter_names,
    attach,
    fingerprint,
    lora_layers,
    reason_against,
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
    """Write one adapter alone, in two files that peft can read: both or none.

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
    text = json.dumps(settings, indent=2) + "\n"
    writers = {SETTINGS: lambda place: place.write_text(text, encoding="utf-8")}
    write_files(Path(folder), writers | {WEIGHTS: tensor_writer(tensors, words)})


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

    def check(names: Collection[str], file: TensorFile) -> None:
        for place, pair in sorted(_pairs(names).items()):
            _require_fit(model, place, pair, file, config.rank)

    tensors, base = _read(path, check)
    if base is not None and not any_base and base != fingerprint(model):
        raise ValueError(
            f"folder={str(folder)!r} holds an adapter for another base: this model has "
            "other weights than the one that it was trained beside"
        )
    pairs = _pairs(tensors)
    attach(model, dict.fromkeys(pairs, config), name)
    with torch.no_grad():
        for place, pair in pairs.items():
            adapter = model.get_submodule(place).adapters[name]
            for matrix, tensor in pair.items():
                getattr(adapter, matrix).copy_(tensors[tensor])


def _read_config(path: Path) -> LoRAConfig:
    """Return the settings of a file, unless they ask for another computation."""
    with naming(f"path={str(path)!r} does not fit"):
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError("it must hold an object in braces")
        for key, needed in PLAIN.items():
            value = found.get(key, needed)
            if value != needed and (value or key == "peft_type"):
                given = printable(repr(value), 60)
                raise ValueError(f"{key}={given}: the course has {needed!r} only")
        numbers = found["lora_alpha"], found.get("lora_dropout", 0.0)
        if not all(type(number) in (int, float) for number in numbers):
            raise TypeError("lora_alpha and lora_dropout must be numbers")
        alpha, dropout = map(float, numbers)
        return LoRAConfig(found["r"], alpha, dropout=dropout)


def _read(
    path: Path, check: Callable[[Collection[str], TensorFile], None]
) -> tuple[dict[str, Tensor], str | None]:
    """Return the tensors of a file, and the fingerprint of its base if it says it."""

    def check_ours(words: dict, file: TensorFile) -> str:
        check(file.entries, file)
        return words["base"]

    name, base = f"path={str(path)!r}", None
    try:
        file = TensorFile(path)
    except (OSError, ValueError) as error:
        with naming(name):
            raise ValueError(f"{name} is damaged: {error}") from error
    with naming(name), file:
        if "course" in file.metadata:
            tensors, base = read_tensors(path, KIND, FORMAT, check_ours)
        else:
            check(file.entries, file)
            tensors = {each: file.read(each) for each in file.entries}
        for each, tensor in tensors.items():
            require_finite(each, tensor, torch.float32)
    return tensors, base


def _pairs(names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the names of the matrices A and B of each layer by its name."""
    pairs: dict[str, dict[str, str]] = {}
    for key in names:
        matrix = next((m for m, end in ENDS.items() if key.endswith(end)), None)
        if matrix is None or not key.startswith(PREFIX):
            raise ValueError(f"{printable(key, 200)} is no matrix of an adapter")
        place = key.removeprefix(PREFIX).removesuffix(ENDS[matrix])
        pairs.setdefault(place, {})[matrix] = key
    for place, pair in pairs.items():
        if len(pair) < len(ENDS):
            raise ValueError(f"{printable(place, 200)} has only {[*pair]}")
    if not pairs:
        raise ValueError("it is empty")
    return pairs


def _require_fit(
    model: nn.Module, place: str, pair: dict[str, str], file: TensorFile, rank: int
) -> None:
    """Refuse matrices without a layer, or of another shape than it needs."""
    layer = dict(model.named_modules()).get(place)
    if not isinstance(layer, nn.Linear):
        kind = type(model).__name__
        raise ValueError(f"the {kind} has no layer {printable(place, 200)}")
    if reason := reason_against(model, place):
        raise ValueError(f"{place} {reason}")
    wanted = {"a": (rank, layer.in_features), "b": (layer.out_features, rank)}
    for matrix, name in pair.items():
        entry = file.entries[name]
        if entry.shape != wanted[matrix]:
            raise ValueError(
                f"{place} has a {matrix} of shape {entry.shape}; the model needs "
                f"{wanted[matrix]}"
            )
        require_floats(name, entry.dtype)
