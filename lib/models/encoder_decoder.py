"""The original Transformer: an encoder reads, a decoder writes and looks at it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import KVCache, MultiHeadAttention, padding_mask
from lib.block import Block
from lib.device import at_least_float32
from lib.ffn import FeedForward
from lib.module import in_mode
from lib.norm import LayerNorm
from lib.position import SinusoidalPositions
from lib.shapes import require_between, require_sizes

__all__ = ["Encoder", "Decoder", "TransformerConfig", "Transformer"]

Pairs = list[tuple[Tensor, Tensor]]  # keys and values of a source, for each block
Choose = Callable[[Tensor, Tensor], Tensor]  # logits, ids so far -> the next ids


class _Stack(nn.Module):
    """The blocks of an encoder or of a decoder; `Encoder` explains the sizes."""

    has_memory = False  # whether the blocks look at what an encoder read

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_ff: int,
        dropout: float = 0.0,
        pre_norm: bool = True,
        attention_bias: bool = False,
    ) -> None:
        super().__init__()
        require_sizes(d_model=d_model, n_layers=n_layers)
        blocks = []
        for _ in range(n_layers):
            attention = MultiHeadAttention(d_model, n_heads, bias=attention_bias)
            cross = None
            if self.has_memory:
                cross = MultiHeadAttention(d_model, n_heads, bias=attention_bias)
            ffn = FeedForward(d_model, d_ff, F.relu)
            blocks.append(Block(attention, ffn, cross, pre_norm, dropout=dropout))
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = LayerNorm(d_model) if pre_norm else nn.Identity()


class Encoder(_Stack):
    """A stack of blocks in which every position looks at all others.

    Args:
        d_model: size of the vectors D.
        n_heads: heads per block; must divide ``d_model``.
        n_layers: number of blocks.
        d_ff: size of the feed-forward networks in the middle.
        dropout: see `Block`.
        pre_norm: see `Block`; pre-norm ends with one more normalisation.
        attention_bias: whether the projections of the attention have a bias.

    Shapes:
        x ``(B, S, D)``, mask ``(S, S)`` or ``(B, 1, 1, S)`` -> ``(B, S, D)``.

    Raises:
        ValueError: for a size below 1, heads that do not divide, or if an input does
            not fit.

    Source: Vaswani et al. (2017), section 3.1.

    Home lesson: 15_encoder_decoder
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a vector for each position that knows about the others."""
        for block in self.blocks:
            x = block(x, mask)
        return self.final_norm(x)


class Decoder(_Stack):
    """A stack of blocks that look at their own past, and at what an encoder read.

    Args:
        d_model: size of the vectors D.
        n_heads: heads per block; must divide ``d_model``.
        n_layers: number of blocks.
        d_ff: size of the feed-forward networks in the middle.
        dropout: see `Block`.
        pre_norm: see `Block`; pre-norm ends with one more normalisation.
        attention_bias: whether the projections of the attention have a bias.

    Shapes:
        x ``(B, T, D)``, memory ``(B, S, D)`` or what `read` made of it, memory_mask
        ``(B, 1, 1, S)`` -> ``(B, T, D)``. With a cache, x continues what it holds.

    Raises:
        ValueError: for a size below 1, heads that do not divide, or if an input does
            not fit.

    Source: Vaswani et al. (2017), section 3.1.

    Home lesson: 15_encoder_decoder
    """

    has_memory = True

    def forward(
        self,
        x: Tensor,
        memory: Tensor | Pairs,
        memory_mask: Tensor | None = None,
        cache: list[KVCache] | None = None,
    ) -> Tensor:
        """Return a vector for each position of x, from its past and the memory."""
        n_layers = len(self.blocks)
        memories = [memory] * n_layers if isinstance(memory, Tensor) else memory
        caches = [None] * n_layers if cache is None else cache
        for block, source, own in zip(self.blocks, memories, caches, strict=True):
            x = block(x, None, source, memory_mask, is_causal=True, cache=own)
        return self.final_norm(x)

    def read(self, memory: Tensor) -> Pairs:
        """Return the keys and values of a memory for each block, to compute once."""
        return [block.cross_attention.read(memory) for block in self.blocks]

    def new_cache(self, context_length: int) -> list[KVCache]:
        """Return an empty cache of the decoder's own past for each block."""
        return [KVCache(context_length) for _ in self.blocks]


@dataclass(frozen=True)
class TransformerConfig:
    """What a `Transformer` is made of; the defaults are the paper's base model.

    Attributes:
        src_vocab_size: number of different source tokens.
        tgt_vocab_size: number of different target tokens V.
        d_model: size of the vectors D.
        n_heads: heads per attention H; must divide ``d_model``.
        n_encoder_layers: blocks of the encoder.
        n_decoder_layers: blocks of the decoder.
        d_ff: size of the feed-forward networks in the middle.
        dropout: share of numbers set to 0 in training, after the embedding and after
            each part of a block.
        context_length: the longest source or target allowed.
        pre_norm: see `Block`; the paper's is False.
        attention_bias: whether the projections of the attention have a bias.
        tie_weights: whether the head uses the target embeddings as its weights.
        pad_id: the token that fills rows up, in source and target.
        bos_id: the token that a target starts with.
        eos_id: the token that a target ends with.

    Raises:
        TypeError: for a value of another type than the default's.
        ValueError: for a size below 1, a dropout outside [0, 1), or a special token
            that is outside a vocabulary or is another one, too.

    Source: Vaswani et al. (2017), table 3, row "base".

    Home lesson: 15_encoder_decoder
    """

    src_vocab_size: int = 10_000
    tgt_vocab_size: int = 10_000
    d_model: int = 512
    n_heads: int = 8
    n_encoder_layers: int = 6
    n_decoder_layers: int = 6
    d_ff: int = 2048
    dropout: float = 0.1
    context_length: int = 512
    pre_norm: bool = False
    attention_bias: bool = False
    tie_weights: bool = True
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        ids = ("pad_id", "bos_id", "eos_id")
        for name, value in vars(self).items():
            kind = type(getattr(type(self), name))  # of the default
            if type(value) is not kind and (kind, type(value)) != (float, int):
                raise TypeError(f"{name}={value!r} must be of type {kind.__name__}")
            if kind is int and name not in ids:
                require_sizes(**{name: value})
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        for name in ids:
            largest = self.tgt_vocab_size - 1
            if name == "pad_id":
                largest = min(largest, self.src_vocab_size - 1)
            require_between(0, largest, **{name: getattr(self, name)})
        special = {name: getattr(self, name) for name in ids}
        if len(set(special.values())) < len(ids):
            raise ValueError(f"the special tokens {special} must differ")


class Transformer(nn.Module):
    """The encoder-decoder of "Attention Is All You Need".

    Args:
        config: sizes and parts; None for those given by name.
        sizes: fields of `TransformerConfig`, instead of a configuration.

    Shapes:
        src ``(B, S)``, tgt ``(B, T)``, filled up with ``pad_id`` at the end -> logits
        ``(B, T, V)`` of the token that follows each target token.

    Raises:
        TypeError: for a configuration of another kind, or together with sizes.
        ValueError: if heads do not divide, or an input is longer than
            ``context_length``.

    Source: Vaswani et al. (2017), section 3.

    Home lesson: 15_encoder_decoder
    """

    def __init__(self, config: TransformerConfig | None = None, **sizes) -> None:
        super().__init__()
        c = self.config = _one_configuration(config, sizes)
        self.source = nn.Embedding(c.src_vocab_size, c.d_model)
        self.target = nn.Embedding(c.tgt_vocab_size, c.d_model)
        self.positions = SinusoidalPositions(c.context_length, c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        parts = (c.d_ff, c.dropout, c.pre_norm, c.attention_bias)
        self.encoder = Encoder(c.d_model, c.n_heads, c.n_encoder_layers, *parts)
        self.decoder = Decoder(c.d_model, c.n_heads, c.n_decoder_layers, *parts)
        self.head = nn.Linear(c.d_model, c.tgt_vocab_size, bias=False)
        if c.tie_weights:
            self.head.weight = self.target.weight
        _initialise(self)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Return the logits of the token after each target token."""
        return self.decode(tgt, *self.encode(src))

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the encoder made of a source, and where it holds tokens."""
        mask = padding_mask(src, self.config.pad_id)  # (B, 1, 1, S)
        return self.encoder(self._embed(self.source, src), mask), mask

    def decode(
        self,
        tgt: Tensor,
        memory: Tensor | Pairs,
        memory_mask: Tensor,
        cache: list[KVCache] | None = None,
    ) -> Tensor:
        """Return the logits after each target token, given an encoded source."""
        x = self._embed(self.target, tgt, 0 if cache is None else cache[0].length)
        return self.head(self.decoder(x, memory, memory_mask, cache))

    def _embed(self, table: nn.Embedding, ids: Tensor, start: int = 0) -> Tensor:
        """Return scaled token vectors with their positions, ``(B, T, D)``."""
        x = table(ids) * math.sqrt(self.config.d_model)
        return self.dropout(self.positions(x, start))

    def begin(self, src: Tensor, max_len: int) -> tuple[Pairs, Tensor, list[KVCache]]:
        """Return what `decode` needs besides the target, to write up to so many tokens.

        These are the keys and values of the source, computed once, where it holds
        tokens, and an empty cache for the target.
        """
        require_between(1, self.config.context_length, max_len=max_len)
        memory, mask = self.encode(src)
        return self.decoder.read(memory), mask, self.decoder.new_cache(max_len)

    @torch.no_grad()
    def generate(
        self,
        src: Tensor,
        max_len: int = 50,
        temperature: float = 0.8,
        generator: torch.Generator | None = None,
        choose: Choose | None = None,
    ) -> Tensor:
        """Write a target for each source, token by token, in evaluation mode.

        A ``temperature`` of 0 is greedy, and ``choose`` replaces the draw: it takes
        logits ``(B, V)`` and the ids so far, and returns ids ``(B, 1)``. The result is
        ``(B, L)`` without the start token, L <= ``max_len``: each row ends with
        ``eos_id``, or where ``max_len`` is reached, and is filled up with ``pad_id``.
        """
        c, draw = self.config, partial(_draw, temperature, generator)
        choose = draw if choose is None else choose
        with in_mode(self, training=False):
            memory, mask, cache = self.begin(src, max_len)
            ids = src.new_full((len(src), 1), c.bos_id)
            ended = torch.zeros_like(ids, dtype=torch.bool)
            while ids.size(1) <= max_len and not ended.all():
                logits = self.decode(ids[:, -1:], memory, mask, cache)[:, -1]  # (B, V)
                logits[:, c.pad_id] = -math.inf  # it stands after the end only
                chosen = choose(logits, ids).masked_fill(ended, c.pad_id)
                ids = torch.cat([ids, chosen], dim=1)
                ended = ended | (chosen == c.eos_id)
        return ids[:, 1:]


def _one_configuration(
    config: TransformerConfig | None, sizes: dict
) -> TransformerConfig:
    """Return the configuration of a model, from one or from sizes by name."""
    if config is None:
        return TransformerConfig(**sizes)
    if not isinstance(config, TransformerConfig):
        raise TypeError(
            f"config={config!r} must be a TransformerConfig; sizes are given by name, "
            "as in Transformer(src_vocab_size=10_000)"
        )
    if sizes:
        raise TypeError(f"config was given, and {', '.join(sizes)} too; give one")
    return config


def _draw(
    temperature: float, generator: torch.Generator | None, logits: Tensor, ids: Tensor
) -> Tensor:
    """Choose a token for each row of logits; `sample_next` says how."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature} must be 0 or more, and finite")
    best = at_least_float32(logits.amax(dim=-1, keepdim=True))  # (B, 1)
    if not best.isfinite().all():
        raise ValueError("the model's logits are not numbers: its weights are damaged")
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    least = torch.finfo(best.dtype).tiny
    sharp = (at_least_float32(logits) - best) / max(temperature, least)
    return torch.multinomial(sharp.softmax(dim=-1), 1, generator=generator)


@torch.no_grad()
def _initialise(model: Transformer) -> None:
    """Draw the weights as is usual for this model; biases start at 0 and gains at 1."""
    tables = {id(model.source.weight), id(model.target.weight)}
    for name, weight in model.named_parameters():
        if id(weight) in tables:
            nn.init.normal_(weight, std=model.config.d_model**-0.5)
        elif weight.dim() > 1:
            nn.init.xavier_uniform_(weight)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)
