"""Which parts a reader may write: where each stands, its adapter and its tests."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from lib.own.adapters import (
    adapt_attend,
    adapt_attention,
    adapt_block,
    adapt_function,
    adapt_module,
    adapt_positions,
    adapt_rule,
)
from lib.own.tests import attention, block, ffn, lora, losses, norm, position, sampling

__all__ = ["PARTS", "Part", "find_part"]


@dataclass(frozen=True)
class Part:
    """A part of the library that a reader may write.

    Attributes:
        adapt: makes of a reader's part what the library can use.
        tests: each takes a part, the library's or an adapted one, and raises
            `lib.own.tests.near.Wrong` if it does not do what it should.
        name: where it stands, such as ``norm.LayerNorm``.
    """

    adapt: Callable
    tests: tuple[Callable[[Callable], None], ...]
    name: str = ""

    @property
    def module(self) -> ModuleType:
        """The module of the library that it stands in."""
        return importlib.import_module(f"lib.{self.name.rpartition('.')[0]}")

    @property
    def short(self) -> str:
        """Its name without that of its module."""
        return self.name.rpartition(".")[2]


PARTS: dict[str, Part] = {
    "attention.attention_weights": Part(adapt_function, attention.WEIGHTS),
    "attention.scaled_dot_product_attention": Part(adapt_attend, attention.ATTENTION),
    "attention.MultiHeadAttention": Part(adapt_attention, attention.MULTI_HEAD),
    "position.LearnedPositions": Part(adapt_positions, position.LEARNED),
    "position.SinusoidalPositions": Part(adapt_positions, position.SINUSOIDAL),
    "norm.LayerNorm": Part(adapt_module, norm.LAYER_NORM),
    "norm.RMSNorm": Part(adapt_module, norm.RMS_NORM),
    "ffn.FeedForward": Part(adapt_module, ffn.FEED_FORWARD),
    "ffn.SwiGLU": Part(adapt_module, ffn.SWIGLU),
    "block.Block": Part(adapt_block, block.BLOCK),
    "evaluate.losses.cross_entropy": Part(adapt_function, losses.CROSS_ENTROPY),
    "generate.sampling.sample_next": Part(adapt_rule, sampling.SAMPLE_NEXT),
    "generate.sampling.penalize_repetition": Part(adapt_rule, sampling.PENALTY),
    "generate.sampling.keep_top_k": Part(adapt_rule, sampling.TOP_K),
    "generate.sampling.keep_top_p": Part(adapt_rule, sampling.TOP_P),
    "generate.sampling.choose_next": Part(adapt_rule, sampling.CHOOSE_NEXT),
    "tune.lora.LoRA": Part(adapt_module, lora.LORA),
}
PARTS = {name: Part(p.adapt, p.tests, name) for name, p in PARTS.items()}


def find_part(name: str) -> Part:
    """Return a part by its name.

    Raises:
        ValueError: if there is none.
    """
    if name not in PARTS:
        raise ValueError(f"name={name!r} must be one of {', '.join(PARTS)}")
    return PARTS[name]
