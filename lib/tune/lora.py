"""LoRA: beside each frozen matrix a small product of two, which learns for it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.device import at_least_float32
from lib.module import Linear, Module, sizes_only
from lib.moe import MoE
from lib.shapes import require_sizes

__all__ = [
    "LoRAConfig",
    "LoRA",
    "LoRALinear",
    "add_lora",
    "use_adapter",
    "merge",
    "unmerge",
    "remove_lora",
]

ALL = "all"  # as targets: every linear layer that may have an adapter, but heads
NO_NAMES = set(dir(nn.ModuleDict()))


@dataclass(frozen=True)
class LoRAConfig:
    """What an adapter is made of.

    Attributes:
        rank: Numbers in the middle of each product.
        alpha: Strength of the product: it is multiplied by alpha / rank.
        targets: Linear layers by name, or by the end of their name, such as q_proj;
            "all" for every one but heads, routers and those that share their weights.
        dropout: Share of an adapter's input that is set to 0 in training.

    Raises:
        TypeError: for a rank that is no integer, an alpha or dropout that is no number,
            or targets that are not "all" or several names.
        ValueError: for a rank below 1, no targets, an alpha that is not above 0 and
            finite, or a dropout outside [0, 1).

    Home lesson: 27_lora
    """

    rank: int = 8
    alpha: float = 16.0
    targets: str | tuple[str, ...] = ALL
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if type(self.rank) is not int:
            raise TypeError(f"rank={self.rank!r} must be an integer")
        require_sizes(rank=self.rank)
        for name in ("alpha", "dropout"):
            if type(value := getattr(self, name)) not in (int, float):
                raise TypeError(f"{name}={value!r} must be a number")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha={self.alpha} must be above 0 and finite")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if isinstance(self.targets, str) and self.targets != ALL:
            given = self.targets
            raise TypeError(f"targets={given!r} must be {ALL!r} or a tuple of names")
        if not self.targets:
            raise ValueError("targets is empty: name a layer or more")


class LoRA(Module):
    r"""The product of two thin matrices: :math:`\frac{\alpha}{r}\, B A x`.

    Args:
        d_in: size of the input.
        d_out: size of the output.
        rank: size in the middle r.
        alpha: strength :math:`\alpha`.
        dropout: share of the input that is set to 0 in training.

    Attributes:
        a: the matrix A ``(r, d_in)``, drawn evenly from
            :math:`\pm 1 / \sqrt{d_{in}}`.
        b: the matrix B ``(d_out, r)``, zeros at first.

    Shapes:
        x ``(..., d_in)`` -> ``(..., d_out)``, in the number format of A and B.

    Source: Hu et al. (2021), section 4.1.

    Home lesson: 27_lora
    """

    def __init__(
        self, d_in: int, d_out: int, rank: int, alpha: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, alpha / rank
        bound = 1 / math.sqrt(d_in)
        self.a = nn.Parameter(torch.empty(rank, d_in).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the output of the frozen layer."""
        x = self.dropout(x.to(self.a.dtype))
        return self.scale * F.linear(F.linear(x, self.a), self.b)

    def product(self) -> Tensor:
        """Return the same as one matrix ``(d_out, d_in)``."""
        return self.scale * (at_least_float32(self.b) @ at_least_float32(self.a))


class LoRALinear(Linear):
    """A linear layer with adapters beside it, of which one at most is active.

    Args:
        base: the layer whose weights it takes over, under their names.

    Attributes:
        adapters: each `LoRA` by its name.
        active: the name of the adapter that is used; None for the base alone.
        merged: the name of the adapter that is part of the weight; None for none.

    Shapes:
        x ``(..., d_in)`` -> ``(..., d_out)``, in the number format of the base.

    Raises:
        ValueError: if it is called in training mode while an adapter is merged: the
            adapter would learn nothing.

    Home lesson: 27_lora
    """

    def __init__(self, base: nn.Linear) -> None:
        Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.register_parameter("weight", base.weight)
        self.register_parameter("bias", base.bias)
        self.register_buffer("kept", None, persistent=False)  # the base's, if merged
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self.merged: str | None = None
        self.training = base.training

    def forward(self, x: Tensor) -> Tensor:
        """Return the base's output, and what the active adapter adds to it."""
        y = super().forward(x)
        if self.merged is not None:
            if self.training:
                raise ValueError(f"merged={self.merged!r}: unmerge before training")
            return y
        if self.active not in self.adapters:
            return y
        return (y + self.adapters[self.active](x)).to(y.dtype)


def add_lora(model: nn.Module, config: LoRAConfig, name: str = "default") -> list[str]:
    """Freeze a model and put an adapter beside each of the layers that are named.

    Until it is trained, the model computes what it did before. Adapters that the model
    has already stay, and rest.

    Args:
        model: any model of the course; changed in place.
        config: rank, strength, and which layers.
        name: of the new adapter.

    Returns:
        The names of the layers that have it.

    Raises:
        ValueError: for a target that is no linear layer of the model, shares its
            weights with another part, or is a router; a name that is taken or no name;
            or while an adapter is merged. The model is unchanged then.

    Source: Hu et al. (2021), section 4.

    Home lesson: 27_lora
    """
    places = _find(model, config.targets)
    attach(model, dict.fromkeys(places, config), name)
    return places


def attach(model: nn.Module, configs: dict[str, LoRAConfig], name: str) -> None:
    """Put an adapter beside each layer that is named, freeze the rest, and use it."""
    _require_unmerged(model)
    if not name.isidentifier() or name in NO_NAMES:
        raise ValueError(f"name={name!r} must be a word of letters, digits and _")
    if name in adapter_names(model):
        raise ValueError(f"name={name!r} is taken; the model has such an adapter")
    for place, c in configs.items():
        layer = model.get_submodule(place)
        if not isinstance(layer, LoRALinear):
            layer = LoRALinear(layer)
            parent, _, last = place.rpartition(".")
            setattr(model.get_submodule(parent), last, layer)
        sizes = layer.in_features, layer.out_features, c.rank
        adapter = LoRA(*sizes, c.alpha, c.dropout).train(layer.training)
        layer.adapters[name] = adapter.to(layer.weight.device)
    model.requires_grad_(False)
    use_adapter(model, name)


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """Yield the layers that have adapters, with their names."""
    for name, part in model.named_modules():
        if isinstance(part, LoRALinear):
            yield name, part


def adapter_names(model: nn.Module) -> list[str]:
    """Return the names of the adapters that a model has."""
    return list(dict.fromkeys(n for _, p in lora_layers(model) for n in p.adapters))


def use_adapter(model: nn.Module, name: str | None) -> None:
    """Let one adapter work, and learn, and the others rest.

    Args:
        model: changed in place.
        name: of the adapter; None for the base alone.

    Raises:
        ValueError: for a name that the model does not have, or while one is merged.

    Home lesson: 27_lora
    """
    _require_unmerged(model)
    if name is not None and name not in (known := adapter_names(model)):
        raise ValueError(f"name={name!r} must be one of {known}, or None")
    for _, layer in lora_layers(model):
        layer.active = name
        for other, adapter in layer.adapters.items():
            adapter.requires_grad_(other == name)


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Add the active adapter to the weights beside it: no work is left to do.

    The weights of the base are kept, so that `unmerge` gives them back to the bit.

    Args:
        model: changed in place.

    Raises:
        ValueError: if there is no active adapter, or one is merged already.

    Source: Hu et al. (2021), section 4.1, "no additional inference latency".

    Home lesson: 27_lora
    """
    _require_unmerged(model)
    layers = [p for _, p in lora_layers(model) if p.active in p.adapters]
    if not layers:
        raise ValueError("there is no active adapter to merge: see use_adapter")
    for layer in layers:
        layer.kept, layer.merged = layer.weight.clone(), layer.active
        total = at_least_float32(layer.weight) + layer.adapters[layer.active].product()
        layer.weight.copy_(total)


@torch.no_grad()
def unmerge(model: nn.Module) -> None:
    """Take the merged adapter out of the weights again.

    Raises:
        ValueError: if no adapter is merged.

    Home lesson: 27_lora
    """
    layers = [part for _, part in lora_layers(model) if part.merged is not None]
    if not layers:
        raise ValueError("no adapter is merged")
    for layer in layers:
        layer.weight.copy_(layer.kept)
        layer.kept = layer.merged = None


def remove_lora(model: nn.Module) -> None:
    """Give each layer back as it was without adapters, but for what is merged.

    The model can be saved as a checkpoint then. Its parameters stay frozen:
    ``model.requires_grad_(True)`` lets them learn.

    Raises:
        ValueError: if the model has no adapters.

    Home lesson: 27_lora
    """
    layers = list(lora_layers(model))
    if not layers:
        raise ValueError("the model has no adapters")
    for name, layer in layers:
        with sizes_only():  # its weights come next
            plain = Linear(layer.in_features, layer.out_features, bias=False)
        plain.register_parameter("weight", layer.weight)
        plain.register_parameter("bias", layer.bias)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, plain.train(layer.training))


def fingerprint(model: nn.Module) -> str:
    """Return a sum of the base's weights, the same with adapters and without."""
    merged = {f"{n}.weight": p.kept for n, p in lora_layers(model) if p.merged}
    own = {id(p) for _, part in lora_layers(model) for p in part.adapters.parameters()}
    total = hashlib.sha256()
    for name, p in sorted(model.named_parameters()):
        if id(p) not in own:
            weight = merged.get(name, p).detach().cpu().contiguous()
            total.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            total.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _require_unmerged(model: nn.Module) -> None:
    """Refuse to change adapters while one is part of the weights."""
    for name, layer in lora_layers(model):
        if layer.merged is not None:
            raise ValueError(f"merged={layer.merged!r} in {name}: unmerge it first")


def _find(model: nn.Module, targets: str | tuple[str, ...]) -> list[str]:
    """Return the names of the layers that targets mean; refuse those that cannot."""
    linear = [n for n, p in model.named_modules() if isinstance(p, nn.Linear)]
    reasons = {name: reason_against(model, name) for name in linear}
    if targets == ALL:
        heads = [name for name in linear if name.split(".")[-1] == "head"]
        found = [n for n in linear if not reasons[n] and n not in heads]
        if not found:
            raise ValueError(f"targets={ALL!r}: this {type(model).__name__} has none")
        return found
    found = []
    for target in targets:
        own = [name for name in linear if f".{name}".endswith(f".{target}")]
        if not own:
            ends = sorted({name.split(".")[-1] for name in linear})
            raise ValueError(f"targets={target!r} is no linear layer; there are {ends}")
        for name in own:
            if reasons[name]:
                raise ValueError(f"targets={target!r}: {name} {reasons[name]}")
        found += own
    return [name for name in linear if name in found]


def reason_against(model: nn.Module, name: str) -> str | None:
    """Return why a layer cannot have an adapter; None where it can."""
    layer, (parent, _, _) = model.get_submodule(name), name.rpartition(".")
    if isinstance(model.get_submodule(parent), MoE):
        return "is a router, whose weights are used without calling it"
    every = list(model.named_parameters(remove_duplicate=False))
    count = Counter(id(p) for _, p in every)
    if count[id(layer.weight)] > 1:
        twins = [n for n, p in every if p is layer.weight and n != f"{name}.weight"]
        return f"shares its weights with {twins[0]}: merged, both would change"
    return None
