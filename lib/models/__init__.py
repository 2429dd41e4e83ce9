"""The models of the course: what each is built from, and how it is built.

As a command it lists them: ``python -m lib.models``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import get_args, get_type_hints

from torch import nn

from lib.models.attention_lm import AttentionConfig, AttentionLM
from lib.models.bigram import BigramConfig, BigramLM
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.models.gpt import GPT, GPTConfig
from lib.models.masked_lm import MaskedLM, MaskedLMConfig
from lib.module import sizes_only
from lib.position import RotaryScaling

__all__ = [
    "Config",
    "MODELS",
    "LANGUAGE_MODELS",
    "build_model",
    "config_of",
    "config_to_dict",
    "config_from_dict",
    "count_parameters",
]

Config = BigramConfig | AttentionConfig | GPTConfig | TransformerConfig | MaskedLMConfig
MODELS: dict[str, tuple[type, type[nn.Module]]] = {
    "bigram": (BigramConfig, BigramLM),
    "attention": (AttentionConfig, AttentionLM),
    "gpt": (GPTConfig, GPT),
    "transformer": (TransformerConfig, Transformer),
    "masked": (MaskedLMConfig, MaskedLM),
}
"""Each kind of model by the name that checkpoints give it: configuration and class."""

LANGUAGE_MODELS = (BigramLM, AttentionLM, GPT)
"""The models that predict the next token, and so can write a text."""

FIRST_EDITION = {  # its kinds of "small" models, and what they are now
    "bigram": ("bigram", {"d_model": 32}),
    "single-head": ("attention", {"n_heads": 1}),
    "multi-head": ("attention", {"n_heads": 4}),
}


def build_model(config: Config) -> nn.Module:
    """Return a new model of the kind that its configuration belongs to.

    Raises:
        TypeError: for what is not a configuration of the course.
    """
    for kind, model in MODELS.values():
        if isinstance(config, kind):
            return model(config)
    kinds = ", ".join(kind.__name__ for kind, _ in MODELS.values())
    raise TypeError(f"config={config!r} must be one of {kinds}")


def config_of(model: nn.Module) -> Config:
    """Return the configuration that a model can be built from again.

    Raises:
        ValueError: for a model without one, or whose weights do not fit it.
    """
    config, kind = getattr(model, "config", None), type(model).__name__
    if not isinstance(config, tuple(known for known, _ in MODELS.values())):
        raise ValueError(
            f"a {kind} without a configuration cannot be saved: take a model of "
            f"{', '.join(model.__name__ for _, model in MODELS.values())}"
        )
    with sizes_only():
        twin = build_model(config)
    built, own = (
        {name: tensor.shape for name, tensor in m.named_parameters()}
        for m in (twin, model)
    )
    if type(twin) is not type(model) or built != own:
        differ = sorted(name for name, _ in built.items() ^ own.items())
        raise ValueError(
            f"this {kind} cannot be saved: its configuration builds a "
            f"{type(twin).__name__} with other weights {differ[:3]}"
        )
    return config


def config_to_dict(config: Config) -> dict:
    """Return a configuration as plain values, which `config_from_dict` reads."""
    name = next(n for n, (kind, _) in MODELS.items() if isinstance(config, kind))
    return {"model": name} | asdict(config)


def config_from_dict(values: dict) -> Config:
    """Return the configuration that `config_to_dict` wrote, also in the first edition.

    Raises:
        ValueError: for a kind of model, or a value, that does not exist.
    """
    values = dict(values)
    name = values.pop("model", None)
    if name == "small" and values.get("kind") in [*FIRST_EDITION]:
        name, sizes = FIRST_EDITION[values.pop("kind")]
        values |= sizes
    if name not in [*MODELS]:
        raise ValueError(f"model={name!r} must be in {[*MODELS]}")
    kind = MODELS[name][0]
    try:
        _require_types(kind, values)
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"the configuration does not fit: {error}") from error


def _require_types(kind: type, values: dict) -> None:
    """Refuse values of other types than a configuration's fields have."""
    for name, hint in get_type_hints(kind).items():
        allowed = {*(get_args(hint) or (hint,))}
        if float in allowed:
            allowed |= {int}
        if RotaryScaling in allowed:
            allowed |= {dict}
        if name in values and type(values[name]) not in allowed:
            words = getattr(hint, "__name__", hint)
            raise TypeError(f"{name}={values[name]!r} must be of type {words}")


def count_parameters(model: nn.Module) -> int:
    """Return how many weights a model has, frozen ones too; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
