"""GPT: tokens and positions in, a stack of blocks, logits of the next token out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import KVCache, MultiHeadAttention
from lib.block import Block
from lib.embedding import BigramEmbedding, Smear
from lib.ffn import FeedForward, SwiGLU
from lib.latent import LatentAttention
from lib.module import Linear, Module
from lib.moe import MoE
from lib.norm import LayerNorm, RMSNorm
from lib.position import (
    LearnedPositions,
    Rotary,
    RotaryScaling,
    SinusoidalPositions,
)
from lib.shapes import require_sizes

__all__ = ["GPTConfig", "GPT"]


def _squared_relu(x: Tensor) -> Tensor:
    """Return the square of what is above 0: quicker to learn with than a power."""
    bent = F.relu(x)
    return bent * bent


NORMS = {"layer": LayerNorm, "rms": RMSNorm}
POSITIONS = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu2": _squared_relu,
}
CHOICES = {
    "norm": [*NORMS],
    "position": [*POSITIONS, "rotary"],
    "ffn": [*ACTIVATIONS, "swiglu", "none"],
    "init": ["normal", "gpt2", "fan_in"],
}
OPTIONAL_SIZES = ("n_kv_heads", "d_head", "window", "full_every", "kv_rank")
OPTIONAL_SIZES += ("n_experts",)
ROUTING = ("n_active", "renormalise", "capacity_factor", "balance_weight", "bias_rate")


@dataclass(frozen=True)
class GPTConfig:
    """What a `GPT` is made of; the defaults are GPT-2's parts at a laptop's size.

    Attributes:
        vocab_size: number of different tokens V.
        d_model: size of the vectors D.
        n_heads: heads per block H; must divide ``d_model`` if there is no ``d_head``.
        n_layers: number of blocks.
        d_ff: size of the feed-forward networks in the middle.
        context_length: the longest input allowed.
        n_kv_heads: key and value heads; None for as many as ``n_heads``.
        norm: ``"layer"`` or ``"rms"``.
        position: ``"learned"``, ``"sinusoidal"`` or ``"rotary"``.
        ffn: the activation of the feed-forward network, ``"gelu"``, ``"gelu_tanh"``
            (GPT-2's approximation), ``"relu"`` or ``"relu2"`` (squared);
            ``"swiglu"``; or ``"none"`` for blocks of attention only.
        attention_bias: whether the projections of the attention have a bias.
        final_norm: whether a norm stands between the last block and the head.
        head_bias: whether the head has a bias.
        tie_weights: whether the head uses the token embeddings as its weights.
        dropout: share of numbers set to 0 in training, after the embedding and after
            each part of a block.
        init: ``"normal"``, all weights from N(0, 0.02); ``"gpt2"``, the same with those
            that write into the stream divided by the root of their number; or
            ``"fan_in"``, for narrow models: so too, but with matrices from
            N(0, 0.7 / sqrt(fan-in)) and embeddings from N(0, 0.5).
        d_head: size of queries, keys and values; None for ``d_model / n_heads``.
        qk_norm: whether queries and keys are normalised, each head on its own.
        norm_eps: what the norms add inside their root.
        rotary_base: sets the longest wavelength of rotary positions.
        rotary_scaling: how their rotations are slowed down; None for not at all.
        window: how many positions each may look at, itself and those before it; None
            for all before it.
        full_every: with a window: each block whose number is a multiple of this has
            none, counted from 1; None for a window in all blocks.
        kv_rank: size of the latent vectors of `LatentAttention`, which keys and values
            are made of; None for keys and values made of x.
        n_experts: how many experts, each a network as ``ffn`` and ``d_ff`` say, stand
            in the place of one, in a `MoE`; None for that one.
        n_active: of a `MoE`: number of experts that each token uses.
        shared_expert: whether there is one more that every token uses.
        renormalise, capacity_factor, balance_weight, bias_rate: of a `MoE`.
        smear: whether a `Smear` adds to each token's vector a share of the one before.
        bigrams: whether a `BigramEmbedding` adds to each token's vector that of its
            pair with the token before.

    Raises:
        TypeError: for a number, a switch or a scaling that is none.
        ValueError: for a size below 1, an unknown choice, a dropout outside [0, 1), a
            tied head with a bias, a base or epsilon that is not above 0 and finite,
            settings that exclude each other, or what a `MoE` refuses or only it has.

    Source: Radford et al. (2019), section 2.3.

    Home lesson: 10_gpt
    """

    vocab_size: int = 65
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 4
    d_ff: int = 512
    context_length: int = 128
    n_kv_heads: int | None = None
    norm: str = "layer"
    position: str = "learned"
    ffn: str = "gelu"
    attention_bias: bool = True
    final_norm: bool = True
    head_bias: bool = False
    tie_weights: bool = True
    dropout: float = 0.0
    init: str = "gpt2"
    d_head: int | None = None
    qk_norm: bool = False
    norm_eps: float = 1e-5
    rotary_base: float = 1e4
    rotary_scaling: RotaryScaling | None = None
    window: int | None = None
    full_every: int | None = None
    kv_rank: int | None = None
    n_experts: int | None = None
    n_active: int = 1
    shared_expert: bool = False
    renormalise: bool = False
    capacity_factor: float | None = None
    balance_weight: float = 0.01
    bias_rate: float = 0.0
    smear: bool = False
    bigrams: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            self._require_type(name, value)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be in {allowed}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        for name in ("norm_eps", "rotary_base"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name}={value} must be above 0 and finite")
        if isinstance(self.rotary_scaling, dict):  # as a checkpoint keeps it
            scaling = RotaryScaling(**self.rotary_scaling)
            object.__setattr__(self, "rotary_scaling", scaling)
        if not isinstance(self.rotary_scaling, RotaryScaling | None):
            given = self.rotary_scaling
            raise TypeError(f"rotary_scaling={given!r} must be a RotaryScaling or None")
        if self.tie_weights and self.head_bias:
            raise ValueError(
                "tie_weights=True needs head_bias=False: embeddings have none"
            )
        self._require_attention()
        self._require_experts()

    @classmethod
    def _require_type(cls, name: str, value: object) -> None:
        """Refuse a value of another type than the default's, and a size below 1."""
        kind = int if name in OPTIONAL_SIZES else type(getattr(cls, name))
        if value is None and name in OPTIONAL_SIZES:
            return
        if kind is bool and type(value) is not bool:
            raise TypeError(f"{name}={value!r} must be True or False")
        if kind is float and type(value) not in (int, float):
            raise TypeError(f"{name}={value!r} must be a number")
        if kind is int:
            if type(value) is not int:
                raise TypeError(f"{name}={value!r} must be an integer")
            require_sizes(**{name: value})

    def _require_attention(self) -> None:
        """Refuse options of attention that exclude each other."""
        if self.rotary_scaling is not None and self.position != "rotary":
            place = f"position={self.position!r}"
            raise ValueError(f"rotary_scaling needs position='rotary', not {place}")
        if self.kv_rank is not None and getattr(self.rotary_scaling, "gain", 1) != 1:
            raise ValueError("kv_rank needs a rotary_scaling without a gain")
        if self.full_every is not None and self.window is None:
            raise ValueError(f"full_every={self.full_every} needs a window")
        latent = {"position": "rotary", "n_kv_heads": None, "qk_norm": False}
        for name, needed in latent.items():
            if self.kv_rank is not None and (value := getattr(self, name)) != needed:
                raise ValueError(f"kv_rank needs {name}={needed!r}; it is {value!r}")

    def _require_experts(self) -> None:
        """Refuse what a `MoE` refuses, and its options without experts."""
        if self.n_experts is not None and self.ffn == "none":
            raise ValueError(f"n_experts={self.n_experts} needs an ffn, not 'none'")
        if self.n_experts is not None:
            MoE.require_options(self.n_experts, **self.routing())
            return
        for name in (*ROUTING, "shared_expert"):
            if getattr(self, name) != getattr(GPTConfig, name):
                raise ValueError(f"{name}={getattr(self, name)} needs n_experts")

    def routing(self) -> dict:
        """Return the options of a `MoE` by name."""
        return {name: getattr(self, name) for name in ROUTING}


class GPT(Module):
    """A decoder-only Transformer: predicts the next token at every position.

    Args:
        config: sizes and parts.

    Shapes:
        ids ``(B, T)``, T <= context_length -> logits ``(B, T, V)``. With a cache the
        ids continue what the cache holds, and both together must fit. Where rows hold
        several texts, or shorter ones behind padding: positions, int64 ``(B, T)``, and
        a mask, bool ``(B, 1, T, T_k)`` or ``(B, 1, 1, T_k)``, of what may be looked at
        besides the causal mask, such as a `document_mask` or a `padding_mask` of all
        tokens read so far.

    Raises:
        ValueError: if the input is longer than ``context_length``, or heads do not
            divide.

    Source: Radford et al. (2018), section 3.1; Radford et al. (2019), section 2.3.

    Home lesson: 10_gpt
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.context_length = c.context_length
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        pairs = BigramEmbedding(c.vocab_size, c.d_model) if c.bigrams else None
        self.bigrams, self.smear = pairs, Smear(c.d_model) if c.smear else None
        self.positions, rotary = _make_positions(c)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(
            _make_block(c, rotary, _window(c, n)) for n in range(1, c.n_layers + 1)
        )
        self.final_norm = _norm(c)(c.d_model) if c.final_norm else nn.Identity()
        self.head = Linear(c.d_model, c.vocab_size, bias=c.head_bias)
        if c.tie_weights:
            self.head.weight = self.tokens.weight
        _initialise(self)

    def forward(
        self,
        ids: Tensor,
        cache: list[KVCache] | None = None,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the logits of the next token at each position."""
        start = 0 if cache is None else cache[0].length
        x = self.tokens(ids)  # (B, T) -> (B, T, D)
        n_caches = len(self.blocks) + len(self._early())
        caches = [None] * n_caches if cache is None else [*cache]
        if self.bigrams is not None:
            x = x + self.bigrams(ids, caches.pop(), positions)
        if self.smear is not None:
            x = self.smear(x, caches.pop(), positions)
        if self.positions is not None:
            x = self.positions(x, start if positions is None else positions)
        if mask is not None:
            mask = _and_causal(mask, ids, start)
        if self.dropout.training:
            x = self.dropout(x)
        for block, own in zip(self.blocks, caches, strict=True):
            x = block(x, mask, is_causal=mask is None, cache=own, positions=positions)
        return self.head(self.final_norm(x))  # (B, T, D) -> (B, T, V)

    def new_cache(self) -> list[KVCache]:
        """Return an empty cache for each block, and for what looks back before them."""
        length = self.context_length
        caches = [block.attention.new_cache(length) for block in self.blocks]
        return [*caches, *(KVCache(length) for _ in self._early())]

    def _early(self) -> list[nn.Module]:
        """Return the parts before the blocks that look one token back."""
        return [part for part in (self.smear, self.bigrams) if part is not None]


def _and_causal(mask: Tensor, ids: Tensor, start: int) -> Tensor:
    """Return what both a mask and the causal mask allow, ``(B, 1, T, T_k)``."""
    n_rows, n_new = ids.shape
    needed, given = (n_rows, 1, n_new, start + n_new), tuple(mask.shape)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}; it must be torch.bool")
    if given not in (needed, (n_rows, 1, 1, start + n_new)):
        raise ValueError(
            f"mask has shape {given}; it must be (B, 1, T, T_k) = {needed}, or with a "
            "1 for T"
        )
    places = torch.arange(start + n_new, device=mask.device)
    return mask & (places <= places[start:, None])


def _make_positions(c: GPTConfig) -> tuple[nn.Module | None, Rotary | None]:
    """Return what adds positions to the embeddings, or what rotates in attention."""
    if c.position == "rotary":
        d_head = c.d_head or c.d_model // c.n_heads
        if c.kv_rank is not None:
            if d_head % 4:
                raise ValueError(
                    f"kv_rank={c.kv_rank} needs a d_head that 4 divides, not {d_head}: "
                    "positions turn half as many numbers, in pairs"
                )
            d_head //= 2
        return None, Rotary(d_head, c.context_length, c.rotary_base, c.rotary_scaling)
    return POSITIONS[c.position](c.context_length, c.d_model), None


def _window(c: GPTConfig, number: int) -> int | None:
    """Return how far the block of this number may look; the first has number 1."""
    is_full = c.full_every is not None and number % c.full_every == 0
    return None if is_full else c.window


def _make_attention(
    c: GPTConfig, rotary: Rotary | None, window: int | None
) -> MultiHeadAttention:
    """Return one attention as the configuration describes it."""
    options = {"bias": c.attention_bias, "d_head": c.d_head, "window": window}
    if c.kv_rank is not None:
        return LatentAttention(c.d_model, c.n_heads, c.kv_rank, rotary, **options)
    options |= {"n_kv_heads": c.n_kv_heads, "rotary": rotary}
    options |= {"qk_norm": _norm(c) if c.qk_norm else None}
    return MultiHeadAttention(c.d_model, c.n_heads, **options)


def _make_block(c: GPTConfig, rotary: Rotary | None, window: int | None) -> Block:
    """Return one block with the parts that the configuration names."""
    attention = _make_attention(c, rotary, window)
    return Block(attention, _make_ffn(c), norm=_norm(c), dropout=c.dropout)


def _make_ffn(c: GPTConfig) -> nn.Module | None:
    """Return a feed-forward network, or several of them as experts, or none."""

    def make_one() -> nn.Module:
        if c.ffn == "swiglu":
            return SwiGLU(c.d_model, c.d_ff)
        return FeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.ffn])

    if c.ffn == "none":
        return None
    if c.n_experts is None:
        return make_one()
    experts = [make_one() for _ in range(c.n_experts)]
    shared = make_one() if c.shared_expert else None
    return MoE(c.d_model, experts, shared=shared, **c.routing())


def _norm(c: GPTConfig) -> Callable[[int], nn.Module]:
    """Return what makes the norms of vectors of a given size."""
    return partial(NORMS[c.norm], eps=c.norm_eps)


@torch.no_grad()
def _initialise(model: GPT) -> None:
    """Draw the weights; biases and pairs start at 0, gains at 1."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and not name.startswith("bigrams"):
            nn.init.normal_(weight, std=_standard_deviation(name, weight, model.config))
        elif name.endswith("bias"):
            nn.init.zeros_(weight)


def _standard_deviation(name: str, weight: Tensor, c: GPTConfig) -> float:
    """Return how widely the numbers of a matrix or a table are drawn."""
    std = 0.02
    if c.init == "fan_in":
        tables = ("positions",) if c.tie_weights else ("positions", "tokens")
        table = name.startswith(tables)  # a tied table is drawn like a head
        std = 0.5 if table else 0.7 / math.sqrt(weight.size(1))
    if c.init != "normal" and name.endswith(("out_proj.weight", "down.weight")):
        std /= math.sqrt(2 * c.n_layers)  # as many summands as the stream gets
    return std
