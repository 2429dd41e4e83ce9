"""Folders of Hugging Face's transformers: a configuration, and tensors by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

__all__ = [
    "FILES",
    "read_json",
    "read_tensors",
    "drop_tied_head",
    "require_names",
    "copy_weights",
    "write_folder",
]

FILES = ("config.json", "model.safetensors")
INDEX = f"{FILES[1]}.index.json"
HEAD = "lm_head.weight"


def read_json(path: Path) -> dict:
    """Return what a file says, or raise a ValueError that names it."""
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of one file, or of the shards that an index lists."""
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(folder):
        try:
            tensors |= load_file(folder / file)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{folder / file} cannot be read: {error}") from None
    return tensors


def _weight_files(folder: Path) -> list[str]:
    """Return the names of the files with weights, all of them in the folder itself."""
    index = folder / INDEX
    if (folder / FILES[1]).exists() or not index.exists():
        return [FILES[1]]
    shards = read_json(index).get("weight_map")
    names = [*shards.values()] if isinstance(shards, dict) else [shards]
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{index}: {name!r} must be the name of a file beside it")
    return sorted(set(names))


def drop_tied_head(tensors: dict[str, Tensor], embedding: str) -> None:
    """Remove a head that repeats the embedding to which it is tied.

    Raises:
        ValueError: if it differs.
    """
    head = tensors.pop(HEAD, None)
    if head is not None and embedding in tensors and not head.equal(tensors[embedding]):
        raise ValueError(f"{HEAD} must equal {embedding}, to which it is tied")


def require_names(given: Collection[str], needed: Collection[str]) -> None:
    """Refuse tensors of which one is missing or not known."""
    for name in sorted(set(given) ^ set(needed)):
        raise ValueError(f"{name} is {'missing' if name in needed else 'not known'}")


@torch.no_grad()
def copy_weights(
    model: nn.Module,
    tensors: dict[str, Tensor],
    names: dict[str, list[str]],
    turn: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> None:
    """Put each tensor where its name says that it belongs.

    Args:
        model: whose weights are overwritten.
        tensors: by the names that the files give them.
        names: of each of them, and our names of what it holds, one above the other.
        turn: turns one of their tensors, given its name, as ours are, or back.

    Raises:
        ValueError: for a tensor of another shape.
    """
    ours = dict(model.named_parameters())
    for name, parts in names.items():
        targets, shape = [ours[part] for part in parts], tuple(tensors[name].shape)
        needed = tuple(turn(name, torch.cat(targets)).shape)
        if shape != needed:
            raise ValueError(f"{name} has shape {shape}; it must be {needed}")
        rows = turn(name, tensors[name]).chunk(len(targets))
        for target, piece in zip(targets, rows):
            target.copy_(piece)


def write_folder(folder: Path, config: dict, tensors: dict[str, Tensor]) -> None:
    """Write the two files of a model, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as draft:
        Path(draft, FILES[0]).write_text(json.dumps(config, indent=2), "utf-8")
        save_file(tensors, Path(draft, FILES[1]), {"format": "pt"})
        for file in FILES:
            os.replace(Path(draft, file), folder / file)
