"""The tensors of a safetensors file: listed, then checked, then read one by one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lib.text.files import open_regular, parse_json, printable

__all__ = ["Entry", "TensorFile", "require_finite", "require_floats", "require_shape"]

LARGEST_HEADER = 2**25  # bytes: 32 MB
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Entry:
    """What a file says of one tensor.

    Attributes:
        dtype: its number format.
        shape: its sizes.
        start: where its bytes begin, behind the header.
        stop: where they end.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class TensorFile:
    """A safetensors file whose header was read and found right.

    The file is read, never mapped into memory: whoever cuts it off meanwhile does no
    harm to what was read, and a file that is replaced stays the one that was opened.

    Attributes:
        path: where it was opened.
        entries: what it says of each tensor, by name.
        metadata: texts by name.
        n_bytes: its size.

    Raises:
        OSError: if it cannot be opened, or is no file.
        ValueError: for a header that does not fit its bytes; in `read` for a file that
            has become shorter.

    Source: the format of safetensors, Hugging Face.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.file = Path(path), open(open_regular(path), "rb")
        try:
            self.n_bytes = os.fstat(self.file.fileno()).st_size
            length = int.from_bytes(self._take(8), "little")
            if not 2 <= length <= min(self.n_bytes - 8, LARGEST_HEADER):
                raise ValueError("the length of its header is wrong")
            header = parse_json(self._take(length), LARGEST_HEADER)
            self.start = 8 + length
            self.metadata = _metadata(header)
            self.entries = _entries(header, self.n_bytes - self.start)
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def _take(self, n_bytes: int) -> bytes:
        data = self.file.read(n_bytes)
        if len(data) < n_bytes:
            raise ValueError("it ends too early")
        return data

    def read(self, name: str) -> Tensor:
        """Return one tensor, with memory of its own."""
        entry = self.entries[name]
        tensor = torch.empty(entry.shape, dtype=entry.dtype)
        self.file.seek(self.start + entry.start)
        room = tensor.reshape(-1).view(torch.uint8).numpy()
        if self.file.readinto(memoryview(room)) < len(room):
            raise ValueError(f"it ends before the end of {printable(name, 60)}")
        return tensor


def _metadata(header: object) -> dict[str, str]:
    """Take the metadata out of a header, which must be an object."""
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) for text in metadata.values()
    ):
        raise ValueError("its metadata must be texts by name")
    return metadata


def _entries(header: dict, n_bytes: int) -> dict[str, Entry]:
    """Return what a header says of each tensor: together they are all of the bytes."""
    entries = {name: _entry(name, told) for name, told in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        n_own = math.prod(entry.shape) * entry.dtype.itemsize
        if entry.start != end or entry.stop != end + n_own:
            shown = printable(name, 60)
            raise ValueError(f"the bytes of {shown} are not where it says")
        end = entry.stop
    if end != n_bytes:
        raise ValueError(f"its tensors have {end:,} bytes, but it has {n_bytes:,}")
    return entries


def _entry(name: str, told: object) -> Entry:
    """Return what a header says of one tensor, if that is of the right form."""
    wanted = {"dtype", "shape", "data_offsets"}
    if isinstance(told, dict) and told.keys() == wanted:
        kind, shape, places = told["dtype"], told["shape"], told["data_offsets"]
        if kind in [*DTYPES] and _sizes(shape) and _sizes(places) and len(places) == 2:
            return Entry(DTYPES[kind], tuple(shape), *places)
    words = f"what it says of {name[:60]} cannot be read: {told}"
    raise ValueError(printable(words, 200))


def _sizes(values: object) -> bool:
    """Whether these are sizes of tensors, which 8 bytes can hold."""
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**63 for value in values
    )


def require_shape(name: str, entry: Entry, shape: Iterable[int]) -> None:
    """Check that a stored tensor has a shape, and holds numbers with fractions.

    Raises:
        ValueError: if it does not.
    """
    if entry.shape != tuple(shape):
        raise ValueError(f"{name} has shape {entry.shape}; it must be {tuple(shape)}")
    require_floats(name, entry.dtype)


def require_floats(name: str, dtype: torch.dtype) -> None:
    """Check that a number format is one that weights have.

    Raises:
        ValueError: for whole numbers, truth values, complex ones, or 8 bits.
    """
    if dtype not in FLOATS:
        raise ValueError(f"{name} has dtype {dtype}; it must be one of {[*FLOATS]}")


def require_finite(name: str, tensor: Tensor, dtype: torch.dtype | None = None) -> None:
    """Check that a tensor has no NaN and no infinity, also in another number format.

    Raises:
        ValueError: if it has.
    """
    if not tensor.to(dtype or tensor.dtype).isfinite().all():
        raise ValueError(f"{name} has numbers that are not finite")
