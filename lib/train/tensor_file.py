"""Tensors and words in one safetensors file, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lib.models.tensor_table import TensorFile
from lib.text.files import naming, parse_json, printable, write_files

__all__ = ["checkpoint_path", "read_tensors", "tensor_writer", "write_tensors"]

Plan = TypeVar("Plan")


def checkpoint_path(path: str | Path) -> Path:
    """Return the checkpoint that a path means: the file, or the one in the folder."""
    path = Path(path)
    is_file = path.suffix == ".safetensors" or path.is_file()
    return path if is_file else path / "checkpoint.safetensors"


def write_tensors(path: Path, tensors: dict[str, Tensor], words: dict) -> None:
    """Write next to the file, make sure that it is on the disk, then take its place.

    Args:
        path: the file; its folder is made.
        tensors: by name.
        words: plain values to keep with them.

    Raises:
        OSError: if it cannot be written; the old file is still there.
        TypeError: for words that are no plain values.
    """
    write_files(path.parent, {path.name: tensor_writer(tensors, words)})


def tensor_writer(tensors: dict[str, Tensor], words: dict) -> Callable[[Path], None]:
    """Return what writes tensors and words to a path, with the sum of all of it."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    metadata = {name: json.dumps(value) for name, value in words.items()}
    metadata["sha256"] = _sum(tensors, metadata)

    def write(place: Path) -> None:
        try:
            save_file(tensors, place, metadata)
        except SafetensorError as error:
            raise OSError(f"{error}") from error

    return write


def read_tensors(
    path: Path, kind: str, format: int, check: Callable[[dict, TensorFile], Plan]
) -> tuple[dict[str, Tensor], Plan]:
    """Return the tensors of a file, after a check of all that it says and of every bit.

    Args:
        path: the file.
        kind: what the word ``course`` must be.
        format: what the word ``format`` must be.
        check: looks at the words, and at what the file says of its tensors, before any
            memory is taken for them; what it returns is passed on.

    Raises:
        ValueError: for a file that is damaged, of another kind or another format, or
            that ``check`` refuses.
    """
    name = f"path={str(path)!r}"
    with naming(name), _open(path, name) as file:
        expected = file.metadata.pop("sha256", None)
        words = _words(name, file.metadata, kind, format)
        plan = check(words, file)
        tensors = {each: file.read(each) for each in file.entries}
        if _sum(tensors, file.metadata) != expected:
            raise ValueError(f"{name} is damaged: its sha256 does not fit")
        return tensors, plan


def _open(path: Path, name: str) -> TensorFile:
    """Open a file whose header must be right."""
    try:
        return TensorFile(path)
    except ValueError as error:
        raise ValueError(f"{name} is damaged: {error}") from error


def _words(name: str, metadata: dict[str, str], kind: str, format: int) -> dict:
    """Return what the metadata say, after checking that they are ours."""
    if metadata.get("course") != json.dumps(kind):
        raise ValueError(f"{name} is no checkpoint of this course")
    if (found := metadata.get("format")) != json.dumps(format):
        raise ValueError(
            f"{name} has format {printable(found, 60)}; this version of the course "
            f"reads format {format}: update the course"
        )
    return {key: parse_json(value) for key, value in metadata.items()}


def _sum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Return the sha256 of all that a file says."""
    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
