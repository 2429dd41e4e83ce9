"""Tensors and words in one safetensors file, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["checkpoint_path", "read_tensors", "write_tensors"]


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
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    metadata = {name: json.dumps(value) for name, value in words.items()}
    metadata["sha256"] = _sum(tensors, metadata)
    draft = path.with_name(f"{path.name}.tmp")  # a folder: all in it may be thrown away
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(draft)  # what a run that was killed has left
        draft.mkdir()
        save_file(tensors, draft / path.name, metadata)
        mode = draft.stat().st_mode & 0o666  # what the umask leaves; it lets only
        (draft / path.name).chmod(mode)  # the owner read, whatever that is
        with open(draft / path.name, "rb+") as file:
            os.fsync(file.fileno())
        (draft / path.name).replace(path)
    except (OSError, SafetensorError) as error:
        raise OSError(f"path={str(path)!r} cannot be written: {error}") from error
    finally:
        _remove(draft)


def _remove(draft: Path) -> None:
    """Remove a draft, a folder or a file, if it is there and that is possible."""
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def read_tensors(path: Path, kind: str, format: int) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors of a file and its words, after a check of every bit.

    Args:
        path: the file.
        kind: what the word ``course`` must be.
        format: what the word ``format`` must be.

    Raises:
        ValueError: for a file that is damaged, of another kind or another format.
    """
    before = path.stat().st_mtime_ns
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, _checked_words(path, tensors, metadata, kind, format)
    except (SafetensorError, OSError, ValueError) as error:
        if path.stat().st_mtime_ns != before:  # somebody saved meanwhile: read that
            return read_tensors(path, kind, format)
        if isinstance(error, ValueError):
            raise
        raise ValueError(f"path={str(path)!r} is damaged: {error}") from error


def _checked_words(
    path: Path, tensors: dict, metadata: dict[str, str], kind: str, format: int
) -> dict:
    """Return what the metadata say, after checking that they are ours and whole."""
    if metadata.get("course") != json.dumps(kind):
        raise ValueError(f"path={str(path)!r} is no checkpoint of this course")
    if metadata.get("format") != json.dumps(format):
        raise ValueError(
            f"path={str(path)!r} has format {metadata.get('format')}; this version of "
            f"the course reads format {format}: update the course"
        )
    expected = metadata.pop("sha256", None)
    if _sum(tensors, metadata) != expected:
        raise ValueError(f"path={str(path)!r} is damaged: its sha256 does not fit")
    try:
        return {name: json.loads(value) for name, value in metadata.items()}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"path={str(path)!r}: {error}") from error


def _sum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Return the sha256 of all that a file says."""
    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
