"""Which weights a model has, before any memory is taken for it."""

from __future__ import annotations

from dataclasses import fields, replace

from torch import nn

from lib.models import Config, build_model
from lib.module import sizes_only

__all__ = ["weight_shapes"]

LARGEST_TABLES = 2**26  # bytes that fixed tables of positions may always have: 64 MB
DEPTHS = {  # sizes that say how many blocks there are, and how their names begin
    "n_layers": ("blocks.", "encoder.blocks."),
    "n_encoder_layers": ("encoder.blocks.",),
    "n_decoder_layers": ("decoder.blocks.",),
}


def weight_shapes(
    config: Config, n_tensors: int, n_bytes: int
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a model that a file should hold.

    All blocks of a stack are alike, so one of each is looked at. No memory is taken.

    Args:
        config: of the model, as a file says it.
        n_tensors: that the file has: a deeper model cannot be in it.
        n_bytes: of the file: neither can a wider one.

    Raises:
        ValueError: for a configuration that the file is too small for, or that builds
            no model; for tables of positions, which no file holds, that would be larger
            than the file and 64 MB.
    """
    sizes = {f.name: getattr(config, f.name) for f in fields(config)}
    for name in (f.name for f in fields(config) if "int" in f.type):
        size, most = sizes[name] or 0, n_bytes + LARGEST_TABLES
        if name in DEPTHS or name == "n_experts":
            most = n_tensors
        if size > most:
            raise ValueError(
                f"{name}={size} is too large for a file of {n_tensors} tensors and "
                f"{n_bytes:,} bytes"
            )
    shallow = replace(config, **{name: 1 for name in DEPTHS if name in sizes})
    twin = _without_memory(shallow)
    n_fixed = sum(b.numel() * b.element_size() for b in twin.buffers())
    if n_fixed > max(n_bytes, LARGEST_TABLES):
        raise ValueError(
            f"context_length={sizes['context_length']} needs {n_fixed:,} bytes for its "
            f"positions; a file of {n_bytes:,} bytes may ask for {LARGEST_TABLES:,}"
        )
    depths = {p: sizes[name] for name in DEPTHS if name in sizes for p in DEPTHS[name]}
    return {
        each: tuple(weight.shape)
        for name, weight in twin.named_parameters()  # tied ones once
        for each in _in_all_blocks(name, depths)
    }


def _without_memory(config: Config) -> nn.Module:
    """Build a model whose tensors have sizes only."""
    try:
        with sizes_only():
            return build_model(config)
    except (OverflowError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"its sizes build no model: {reason}") from error


def _in_all_blocks(name: str, depths: dict[str, int]) -> list[str]:
    """Return the names that a weight of the first block has in each block."""
    for prefix, depth in depths.items():
        if name.startswith(f"{prefix}0."):
            rest = name.removeprefix(f"{prefix}0.")
            return [f"{prefix}{number}.{rest}" for number in range(depth)]
    return [name]
