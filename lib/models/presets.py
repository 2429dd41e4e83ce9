"""Models by name, from a table of bigrams to GPT-2."""

from __future__ import annotations

from dataclasses import replace

from lib.models import Config
from lib.models.attention_lm import AttentionConfig
from lib.models.bigram import BigramConfig
from lib.models.gpt import GPTConfig

__all__ = ["PRESETS", "preset_config"]


def _gpt2(d_model: int, n_heads: int, n_layers: int) -> GPTConfig:
    """Return a configuration of GPT-2, whose parts are the defaults."""
    sizes = {"d_model": d_model, "n_heads": n_heads, "n_layers": n_layers}
    sizes |= {"d_ff": 4 * d_model, "vocab_size": 50_257, "context_length": 1_024}
    return GPTConfig(**sizes, ffn="gelu_tanh")


def _plain(vocab_size: int, d_model: int, n_heads: int, n_layers: int, **changes):
    """Return a configuration with GPT-2's parts and the exact GELU."""
    gpt2 = _gpt2(d_model, n_heads, n_layers)
    return replace(gpt2, **({"vocab_size": vocab_size, "ffn": "gelu"} | changes))


def _modern(vocab_size: int, d_model: int, n_heads: int, n_layers: int, **changes):
    """Return a configuration with rotary positions, and weights scaled by width."""
    modern = {"position": "rotary", "attention_bias": False, "init": "fan_in"}
    return _plain(vocab_size, d_model, n_heads, n_layers, **(modern | changes))


def _today(vocab_size: int, d_model: int, n_heads: int, n_layers: int, **changes):
    """Return a configuration with the parts of lesson 19; d_ff is near 8/3 D."""
    parts = {"norm": "rms", "ffn": "swiglu", "qk_norm": True, "tie_weights": False}
    parts |= {"n_kv_heads": n_heads // 2, "d_ff": round(8 * d_model / 3 / 8) * 8}
    return _modern(vocab_size, d_model, n_heads, n_layers, **(parts | changes))


def _demo() -> GPTConfig:
    """Return the configuration of the model of lesson 00, which counts."""
    sizes = {"vocab_size": 10, "d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32}
    parts = {"attention_bias": False, "final_norm": False, "head_bias": True}
    parts |= {"tie_weights": False, "init": "normal"}
    return GPTConfig(**sizes, context_length=32, **parts)


_UNTIED = {"tie_weights": False, "init": "fan_in"}

PRESETS: dict[str, Config] = {
    "demo": _demo(),
    "bigram": BigramConfig(d_model=32),
    "single-head": AttentionConfig(n_heads=1),
    "multi-head": AttentionConfig(n_heads=4),
    "block": _plain(65, 64, 4, 1, context_length=32, tie_weights=False, head_bias=True),
    "mini": _plain(65, 128, 4, 3, context_length=64, **_UNTIED),
    "solver": _plain(65, 64, 4, 2, context_length=64, **_UNTIED, attention_bias=False),
    "toy": _plain(65, 80, 4, 3, context_length=64, tie_weights=False),
    "base": _modern(65, 128, 4, 4, context_length=128, tie_weights=False),
    "modern": _today(65, 128, 4, 4, context_length=128),
    "base-512": _plain(65, 512, 8, 6, context_length=256),
    "tiny": _modern(2_048, 256, 8, 8, context_length=256),
    "small": _modern(12_288, 512, 8, 6, context_length=512),
    "medium": _modern(16_384, 768, 12, 12, context_length=1_024),
    "gpt2": _gpt2(768, 12, 12),
    "gpt2-medium": _gpt2(1_024, 16, 24),
    "gpt2-large": _gpt2(1_280, 20, 36),
    "gpt2-xl": _gpt2(1_600, 25, 48),
}
"""The configurations by name."""


def preset_config(name: str, **changes) -> Config:
    """Return the configuration of a preset, with some of its values changed.

    Raises:
        ValueError: for an unknown name or value.
        TypeError: for a change of something that the configuration does not have.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} must be one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
