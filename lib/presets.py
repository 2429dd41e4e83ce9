"""Models by name, from a table of bigrams to GPT-2.

As a command it prints them all: ``python -m lib.presets``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.bigram import BigramLM
from lib.encoder_decoder import Transformer, TransformerConfig
from lib.gpt import GPT, GPTConfig
from lib.language_model import LanguageModel
from lib.masked_lm import MaskedLM, MaskedLMConfig
from lib.shapes import require_sizes

__all__ = [
    "SmallConfig",
    "PRESETS",
    "preset_config",
    "build_model",
    "config_to_dict",
    "config_from_dict",
    "count_parameters",
]

SMALL = ("bigram", "single-head", "multi-head")


@dataclass(frozen=True)
class SmallConfig:
    """A model of lessons 02 to 05, with the sizes that its lesson gives it.

    Attributes:
        kind: ``"bigram"`` (embedding of 32), ``"single-head"`` or ``"multi-head"``
            (attention alone, 64 wide).
        vocab_size: number of different tokens V.
        context_length: the longest input allowed.

    Raises:
        ValueError: for an unknown kind or a size below 1.
    """

    kind: str
    vocab_size: int = 65
    context_length: int = 32

    def __post_init__(self) -> None:
        if self.kind not in SMALL:
            raise ValueError(f"kind={self.kind!r} must be in {SMALL}")
        require_sizes(vocab_size=self.vocab_size, context_length=self.context_length)


Config = GPTConfig | SmallConfig | TransformerConfig | MaskedLMConfig


def _gpt2(d_model: int, n_heads: int, n_layers: int) -> GPTConfig:
    """Return a configuration of GPT-2."""
    return GPTConfig(
        vocab_size=50_257,
        d_model=d_model,
        n_heads=n_heads,
        n_layers=n_layers,
        d_ff=4 * d_model,
        context_length=1_024,
        ffn="gelu_tanh",
        attention_bias=True,
        final_norm=True,
        head_bias=False,
        tie_weights=True,
        init="gpt2",
    )


def _plain(vocab_size: int, d_model: int, n_heads: int, n_layers: int, **changes):
    """Return a configuration with GPT-2's parts and the exact GELU."""
    gpt2 = _gpt2(d_model, n_heads, n_layers)
    return replace(gpt2, **({"vocab_size": vocab_size, "ffn": "gelu"} | changes))


def _modern(vocab_size: int, d_model: int, n_heads: int, n_layers: int, **changes):
    """Return a configuration with rotary positions, and weights scaled by width."""
    modern = {"position": "rotary", "attention_bias": False, "init": "fan_in"}
    return _plain(vocab_size, d_model, n_heads, n_layers, **(modern | changes))


PRESETS: dict[str, GPTConfig | SmallConfig] = {
    "demo": GPTConfig(),
    "bigram": SmallConfig("bigram"),
    "single-head": SmallConfig("single-head"),
    "multi-head": SmallConfig("multi-head"),
    "block": _plain(65, 64, 4, 1, context_length=32, tie_weights=False, head_bias=True),
    "mini": _plain(65, 128, 4, 3, context_length=64, tie_weights=False, init="fan_in"),
    "toy": _plain(65, 80, 4, 3, context_length=64, tie_weights=False),
    "base": _modern(65, 128, 4, 4, context_length=128, tie_weights=False),
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


def preset_config(name: str, **changes) -> GPTConfig | SmallConfig:
    """Return the configuration of a preset, with some of its values changed.

    Raises:
        ValueError: for an unknown name or value.
        TypeError: for a change of something that the configuration does not have.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} must be one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)


def build_model(config: Config) -> nn.Module:
    """Return a new model; its ``config`` says how it was built."""
    if isinstance(config, GPTConfig):
        return GPT(config)
    if isinstance(config, TransformerConfig):
        return Transformer(**asdict(config))
    if isinstance(config, MaskedLMConfig):
        return MaskedLM(**asdict(config))
    if config.kind == "bigram":
        model = BigramLM(config.vocab_size, d_model=32)
    else:
        n_heads = 1 if config.kind == "single-head" else 4
        attention = MultiHeadAttention(64, n_heads, bias=False)
        if n_heads == 1:
            attention.out_proj = nn.Identity()  # one head has nothing to mix
        block = _AttentionAlone(attention)
        model = LanguageModel(config.vocab_size, 64, config.context_length, [block])
    model.config = config
    return model


class _AttentionAlone(nn.Module):
    """The block of lessons 04 and 05: what attention gathers, without a stream."""

    def __init__(self, attention: MultiHeadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return what each position gathered."""
        return self.attention(x, mask)[0]


CONFIGS = {
    "gpt": GPTConfig,
    "small": SmallConfig,
    "transformer": TransformerConfig,
    "masked": MaskedLMConfig,
}


def config_to_dict(config: Config) -> dict:
    """Return a configuration as plain values, which `config_from_dict` reads."""
    kind = next(name for name, kind in CONFIGS.items() if isinstance(config, kind))
    return {"model": kind} | asdict(config)


def config_from_dict(values: dict) -> Config:
    """Return the configuration that `config_to_dict` wrote.

    Raises:
        ValueError: for a kind of model, or a value, that does not exist.
    """
    values = dict(values)
    kind = values.pop("model", None)
    if kind not in CONFIGS:
        raise ValueError(f"model={kind!r} must be in {[*CONFIGS]}")
    try:
        return CONFIGS[kind](**values)
    except TypeError as error:
        raise ValueError(f"the configuration does not fit: {error}") from error


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a model learns; tied weights count once."""
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    from lib.commands import presets_command, run

    run(presets_command)
