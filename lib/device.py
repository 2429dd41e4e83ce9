"""Which machine computes, and in which number format."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = [
    "choose_device",
    "choose_dtype",
    "has_bfloat16",
    "memory_of",
    "require_file",
    "at_least_float32",
    "windows_that_fit",
    "cache_folder",
]

# Numbers that one layer gives in an evaluation. 4 MB stay near a processor; more is
# slower and needs more memory. A GPU is slow with less than it can compute at once.
LARGEST_OUTPUT, LARGEST_ON_GPU = 2**20, 2**26
DEVICES = ("cpu", "cuda", "mps", "xpu")  # what the course can compute with
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
PER_BYTE = 17  # bytes of memory for each byte of a text: itself, a list, a tensor
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name; ``"auto"`` takes an accelerator where there is one.

    Raises:
        ValueError: for a device that this machine does not have.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (kind == "cpu" and number not in ("", "0")):
        allowed = "it must be auto, cpu, cuda, cuda:1, mps or xpu"
        raise ValueError(f"device={name!r} cannot be used here: {allowed}")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={name!r} cannot be used here: {reason}") from error
    return device


def memory_of(device: torch.device) -> int | None:
    """Return how many bytes a device has in all; None where it does not say.

    Of a processor it is the memory of the machine, or what this program may have of it.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    if device.type != "cpu":
        return None
    return min(_limits(), default=None)


def require_file(path: str | Path, per_byte: int = PER_BYTE) -> None:
    """Refuse what may never end, as a pipe or a device, and what is too large.

    Args:
        path: of a text.
        per_byte: bytes of memory that each of its bytes will need.

    Raises:
        ValueError: for those.
        OSError: if there is no such file.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"path={str(path)!r} is no file but a pipe or a device")
    size, memory = path.stat().st_size, memory_of(torch.device("cpu"))
    if memory is not None and size * per_byte > memory:
        raise ValueError(
            f"path={str(path)!r} has {size:,} bytes; with the memory of this machine "
            f"a text may have {memory // per_byte:,}"
        )


def _limits() -> list[int]:
    """Return the bytes of the machine, and of each limit that is set for a program."""
    if sys.platform == "win32":
        return []
    import resource

    found = []
    with suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it is the word max
            found.append(int(Path(path).read_text("utf-8")))
    found.append(resource.getrlimit(resource.RLIMIT_AS)[0])
    return [size for size in found if size > 0]  # -1 is no limit


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number format of matrix products by name.

    ``"auto"`` takes bfloat16 where the device computes with it, else float32.

    Raises:
        ValueError: for an unknown name.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise ValueError(f"dtype={name!r} must be 'auto' or one of {list(DTYPES)}")
    return torch.bfloat16 if has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch 2.9 has none
        return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def at_least_float32(x: Tensor) -> Tensor:
    """Return the same numbers in float32, or as they are if they have more digits.

    Sums, logarithms and softmaxes of 16-bit numbers are computed from these.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def windows_that_fit(model: nn.Module, context_length: int) -> int:
    """Return how many windows to evaluate at once.

    For one token no layer gives more numbers than the longest side of a weight: the
    vocabulary, or the middle of a feed-forward network.
    """
    weights = [*model.parameters()]
    widest = max((size for p in weights for size in p.shape), default=1)
    on_gpu = any(p.device.type not in ("cpu", "meta") for p in weights)
    largest = LARGEST_ON_GPU if on_gpu else LARGEST_OUTPUT
    return max(1, min(256, largest // (context_length * widest)))


def cache_folder() -> Path:
    """Return the folder where this system keeps what programs download."""
    import pooch

    return Path(pooch.os_cache("from-bigram-to-transformer"))
