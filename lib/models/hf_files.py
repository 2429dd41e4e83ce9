"""Folders of Hugging Face's transformers: a configuration, and tensors by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.models.gpt import GPT, GPTConfig
from lib.models.tensor_table import Entry, TensorFile, require_finite, require_shape
from lib.models.weight_shapes import weight_shapes
from lib.text.files import printable, read_json, write_files

__all__ = [
    "FILES",
    "read_config",
    "Weights",
    "drop_tied_head",
    "require_depth",
    "build_from",
    "shown",
    "write_folder",
]

FILES = ("config.json", "model.safetensors")
INDEX = f"{FILES[1]}.index.json"
HEAD = "lm_head.weight"
SHARD = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)


def read_config(folder: Path) -> dict:
    """Return what the ``config.json`` of a folder says.

    Raises:
        ValueError: if it cannot be read, or is no object; it names the file.
    """
    return _read_object(folder / FILES[0])


def _read_object(path: Path) -> dict:
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError("it must hold an object in braces")
        return values
    except (OSError, ValueError) as error:
        raise ValueError(printable(f"{path} cannot be read: {error}")) from None


def shown(values: dict, name: str) -> str:
    """Return a value by its name, as a message shows it."""
    return printable(f"{name}={printable(repr(values.get(name)), 60)}")


class Weights:
    """The tensors of one file, or of the shards that an index lists.

    Args:
        folder: where they lie.

    Attributes:
        entries: what the files say of each tensor, by name.
        n_bytes: of all files together.

    Raises:
        ValueError: for a file that cannot be read, or that lies elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.n_bytes = folder, 0
        self.entries: dict[str, Entry] = {}
        self._places: dict[str, tuple[str, str]] = {}  # the file, and the name in it
        for file in _weight_files(folder):
            with self._open(file) as stored:
                self.n_bytes += stored.n_bytes
                self.entries |= stored.entries
                self._places |= {name: (file, name) for name in stored.entries}

    @contextmanager
    def _open(self, file: str) -> Iterator[TensorFile]:
        try:
            with TensorFile(self.folder / file) as stored:
                yield stored
        except (OSError, ValueError) as error:
            words = f"{self.folder / file} cannot be read: {error}"
            raise ValueError(printable(words)) from None

    def rename(self, name: str, new: str) -> None:
        """Call a tensor by another name."""
        self.entries[new] = self.entries.pop(name)
        self._places[new] = self._places.pop(name)

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        file, stored_name = self._places[name]
        with self._open(file) as stored:
            if stored.entries.get(stored_name) != self.entries[name]:
                raise ValueError("it has changed while it was read")
            return stored.read(stored_name)


def _weight_files(folder: Path) -> list[str]:
    """Return the names of the files with weights, all of them in the folder itself."""
    index = folder / INDEX
    if (folder / FILES[1]).exists() or not index.exists():
        return [FILES[1]]
    shards = _read_object(index).get("weight_map")
    names = [*shards.values()] if isinstance(shards, dict) else [shards]
    for name in names:
        if not isinstance(name, str) or not SHARD.fullmatch(name):
            words = f"{index}: {printable(repr(name), 60)} must be the name of a file"
            raise ValueError(f"{printable(words)} beside it, as model-1.safetensors")
    return sorted(set(names))


def drop_tied_head(weights: Weights, embedding: str) -> None:
    """Leave out a head that repeats the embedding to which it is tied.

    Raises:
        ValueError: if it differs.
    """
    head, other = weights.entries.get(HEAD), weights.entries.get(embedding)
    if head is None or other is None:
        return
    same = (head.shape, head.dtype) == (other.shape, other.dtype)
    if not same or not weights.read(HEAD).equal(weights.read(embedding)):
        raise ValueError(f"{HEAD} must equal {embedding}, to which it is tied")
    del weights.entries[HEAD]


def require_depth(config: GPTConfig, weights: Weights) -> None:
    """Refuse more blocks than there are tensors, before each gets its names.

    Raises:
        ValueError: if there are more.
    """
    if config.n_layers > (n_tensors := len(weights.entries)):
        raise ValueError(
            f"config.json: n_layers={config.n_layers} is too large for {n_tensors} "
            "tensors"
        )


def build_from(
    config: GPTConfig,
    weights: Weights,
    names: dict[str, list[str]],
    turn: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> GPT:
    """Build a model, and put each tensor where its name says that it belongs.

    All names, shapes and number formats are looked at before memory is taken.

    Args:
        config: of the model.
        weights: the tensors, by the names that the files give them.
        names: of each of them, and our names of what it holds, one above the other.
        turn: turns one of their tensors, given its name, as ours are, or back.

    Raises:
        ValueError: for a tensor that is missing or not known, or has another shape, no
            fractions, or a number that is not finite; or sizes that no such file has.
    """
    for name in sorted(weights.entries.keys() ^ names.keys()):
        fault = "missing" if name in names else "not known"
        raise ValueError(printable(f"{printable(name, 200)} is {fault}"))
    ours = weight_shapes(config, len(weights.entries), weights.n_bytes)
    for name, parts in names.items():
        n_rows = sum(ours[part][0] for part in parts)
        whole = torch.empty(n_rows, *ours[parts[0]][1:], device="meta")
        require_shape(name, weights.entries[name], turn(name, whole).shape)
    model = GPT(config)
    _copy(dict(model.named_parameters()), weights, names, turn)
    return model


@torch.no_grad()
def _copy(
    ours: dict[str, nn.Parameter],
    weights: Weights,
    names: dict[str, list[str]],
    turn: Callable[[str, Tensor], Tensor],
) -> None:
    """Copy tensors of the right shapes into a model."""
    for name, parts in names.items():
        tensor = weights.read(name)
        require_finite(name, tensor, torch.float32)
        rows = turn(name, tensor).chunk(len(parts))
        for part, piece in zip(parts, rows):
            ours[part].copy_(piece)


def write_folder(folder: Path, config: dict, tensors: dict[str, Tensor]) -> None:
    """Write the two files of a model: both are written, or none is."""

    def save(place: Path) -> None:
        try:
            save_file(tensors, place, {"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"{error}") from error

    text = json.dumps(config, indent=2)
    config_file, weights_file = FILES
    writers = {config_file: lambda place: place.write_text(text, "utf-8")}
    write_files(folder, writers | {weights_file: save})
