"""Which machine computes, and in which number format."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = [
    "choose_device",
    "choose_dtype",
    "has_bfloat16",
    "at_least_float32",
    "windows_that_fit",
    "cache_folder",
]

LARGEST_OUTPUT = 2**26  # numbers that one layer gives in an evaluation: 256 MB
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name; ``"auto"`` takes an accelerator where there is one.

    Raises:
        ValueError: for a device that this machine does not have.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={name!r} cannot be used here: {reason}") from error
    return device


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
        found = torch.cpu.get_capabilities()
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
    widest = max((size for p in model.parameters() for size in p.shape), default=1)
    return max(1, min(256, LARGEST_OUTPUT // (context_length * widest)))


def cache_folder() -> Path:
    """Return the folder where this system keeps what programs download."""
    import pooch

    return Path(pooch.os_cache("from-bigram-to-transformer"))
