"""The checks of the exercises in lesson 09, the Transformer block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.checks import exercise, expect, hint_for_tensor, returned
from lib.ffn import FeedForward
from lib.models.language_model import LanguageModel
from lib.norm import LayerNorm

__all__ = [
    "check_make_blocks",
    "check_rms_norm",
    "check_residual_parts",
    "check_logits_by_depth",
]


@exercise
def check_make_blocks(make_blocks) -> str:
    """Takes a function of n_layers, d_model, n_heads, d_ff."""
    for n_layers, d_model, n_heads, d_ff in ((3, 24, 2, 40), (1, 16, 4, 16)):
        blocks = returned(make_blocks(n_layers, d_model, n_heads, d_ff))
        expect(
            not hasattr(blocks, "attention"),
            "You returned one block; return a list of n_layers blocks.",
        )
        blocks = list(blocks)
        expect(
            len(blocks) == n_layers,
            f"n_layers={n_layers} asks for {n_layers} blocks; yours: {len(blocks)}.",
        )
        for block in blocks:
            _check_sizes_of(block, d_model, n_heads, d_ff)
        for part in (lambda b: b, lambda b: b.attention, lambda b: b.ffn):
            expect(
                len({id(part(block)) for block in blocks}) == n_layers,
                "The blocks share parameters: the same object stands in the list more "
                "than once. Make a new attention, network and block for every layer.",
            )
    return "Every block has parameters of its own."


def _check_sizes_of(block: nn.Module, d_model: int, n_heads: int, d_ff: int) -> None:
    asked = f"With d_model={d_model}, n_heads={n_heads}, d_ff={d_ff} "
    attention = block.attention
    found = attention.d_model // attention.d_head
    expect(
        attention.d_model == d_model,
        f"{asked}the attention must be {d_model} wide, yours is {attention.d_model}.",
    )
    expect(
        found == n_heads,
        f"{asked}the attention must have {n_heads} heads, yours has {found}.",
    )
    up = block.ffn.up
    expect(
        (up.in_features, up.out_features) == (d_model, d_ff),
        f"{asked}the feed-forward network must go from {d_model} to {d_ff} and back, "
        f"yours goes from {up.in_features} to {up.out_features}.",
    )
    expect(block.pre_norm, "These blocks are post-norm; the task asks for pre-norm.")


@exercise
def check_rms_norm(rms_norm) -> str:
    """Takes a function of x, gain, eps."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 4), 1.0), ((5,), 3.0), ((4, 4), 1.0), ((2, 8), 1e-3)
    for eps in (1e-5, 1e-2):
        for shape, size in shapes:
            x = size * (torch.randn(*shape, generator=generator) + 0.5)
            gain = torch.rand(shape[-1], generator=generator) + 0.5
            before = x.clone()
            given = returned(rms_norm(x, gain, eps))
            expect(torch.equal(x, before), "You changed `x` itself; make a new tensor.")
            expect(
                given.shape == x.shape,
                f"The result must have the shape of x, {shape}; yours is "
                f"{tuple(given.shape)}.",
            )
            right = gain * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
            expect(
                _near(given, right),
                f"For an x of shape {shape} with numbers of size {size} and eps={eps} "
                "the result is not right. "
                + hint_for_tensor(
                    given, _rms_mistakes(x, gain, eps), "Is the mean over D?"
                ),
            )
    return "Equal for all shapes, and for tiny vectors too."


def _near(given: Tensor, right: Tensor) -> bool:
    return given.shape == right.shape and torch.allclose(
        given.float(), right.float(), rtol=1e-3, atol=1e-5
    )


def _rms_mistakes(x: Tensor, gain: Tensor, eps: float) -> dict[str, Tensor]:
    squares, centred = x.square(), x - x.mean(-1, keepdim=True)
    mean = squares.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return {
        "The gain is missing.": x / (mean + eps).sqrt(),
        "eps belongs inside the root, added to the mean of the squares.": gain
        * x
        / (mean.sqrt() + eps),
        "Use the eps that is passed in.": gain * x / (mean + 1e-5).sqrt(),
        "eps is missing.": gain * x / mean.sqrt(),
        "You subtract the mean: that is the layer norm. Leave the mean out.": gain
        * centred
        / (variance + eps).sqrt(),
        "You divide by the standard deviation; take the mean of the squares of x "
        "itself.": gain * x / (variance + eps).sqrt(),
        "You take the sum of the squares; take their mean.": gain
        * x
        / (squares.sum(-1, keepdim=True) + eps).sqrt(),
        "The root is missing.": gain * x / (mean + eps),
        "You take one mean over all numbers; each vector has its own: dim=-1.": gain
        * x
        / (squares.mean() + eps).sqrt(),
        "You take the mean over the first dimension; it runs over the last.": gain
        * x
        / (squares.mean(0) + eps).sqrt(),
    }


def _random_model(n_layers: int, seed: int, d_model: int = 16) -> LanguageModel:
    """A language model whose norms are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [
        Block(MultiHeadAttention(d_model, 2), FeedForward(d_model, 24))
        for _ in range(n_layers)
    ]
    model = LanguageModel(11, d_model, 9, blocks, LayerNorm(d_model))
    for parameter in model.parameters():
        width = parameter.size(-1) if parameter.dim() == 2 else 2
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(2 * noise / width**0.5)
    return model


@exercise
def check_residual_parts(residual_parts) -> str:
    """Takes a function of block, x, mask."""
    for seed, length in ((0, 5), (1, 8)):
        block = _random_model(1, seed).blocks[0]
        generator = torch.Generator().manual_seed(seed)
        x, mask = torch.randn(2, length, 16, generator=generator), causal_mask(length)
        before = x.clone()
        with torch.no_grad():
            given = returned(residual_parts(block, x, mask))
            expect(torch.equal(before, x), "You changed `x` itself; make a new tensor.")
            _check_pair(given, x)
            right = _notes(block, x, mask)
            _check_notes(block, x, mask, given, right)
    return "x + a + f is what the block returns."


def _check_pair(given: object, x: Tensor) -> None:
    expect(
        isinstance(given, tuple | list) and len(given) == 2,
        "Return a pair (a, f): two tensors, one per part.",
    )
    for name, note in zip("af", given):
        expect(
            isinstance(note, Tensor),
            f"{name} is a {type(note).__name__}; it must be a tensor. The attention "
            "returns a pair, its output and the weights: take the first.",
        )
        expect(
            note.shape == x.shape,
            f"{name} must have the shape of x, {tuple(x.shape)}; yours is "
            f"{tuple(note.shape)}.",
        )


def _notes(block: Block, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    a = block.attention(block.attention_norm(x), mask)[0]
    return a, block.ffn(block.ffn_norm(x + a))


def _check_notes(
    block: Block,
    x: Tensor,
    mask: Tensor,
    given: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
) -> None:
    """Compare the two notes of a reader with the right ones."""
    a, f = right
    mistakes = {
        "That is what the network adds: return the pair as (a, f).": f,
        "The attention reads the *normalised* stream: attention_norm comes "
        "first.": block.attention(x, mask)[0],
        "Pass the mask to the attention.": _notes(block, x, None)[0],
        "That is the stream after the attention, x + a; return what is added.": x + a,
        "That is the post-norm order; here the norm comes before the part.": (
            block.attention_norm(block.attention(x, mask)[0])
        ),
        "The attention has its own norm, attention_norm.": block.attention(
            block.ffn_norm(x), mask
        )[0],
    }
    hint = hint_for_tensor(given[0], mistakes, "Which norm and which mask does it get?")
    expect(_near(given[0], a), f"a is not what the attention adds. {hint}")
    hint = hint_for_tensor(
        given[1], _network_mistakes(block, x, a, f), "What does ffn read?"
    )
    expect(_near(given[1], f), f"f is not what the network adds. {hint}")


def _network_mistakes(block: Block, x: Tensor, a: Tensor, f: Tensor) -> dict:
    return {
        "The network reads the board *after* the attention has written: x + a.": (
            block.ffn(block.ffn_norm(x))
        ),
        "The network reads the stream x + a, not the note a alone.": block.ffn(
            block.ffn_norm(a)
        ),
        "The network reads the *normalised* stream: ffn_norm comes first.": block.ffn(
            x + a
        ),
        "That is the stream after the block; return what is added.": x + a + f,
        "That is a + f; return the two notes apart.": a + f,
        "The network has its own norm, ffn_norm.": block.ffn(
            block.attention_norm(x + a)
        ),
    }


@exercise
def check_logits_by_depth(logits_by_depth) -> str:
    """Takes a function of model, ids."""
    for n_layers, length in ((2, 9), (3, 4)):
        model = _random_model(n_layers, seed=n_layers)
        generator = torch.Generator().manual_seed(n_layers)
        ids = torch.randint(11, (2, length), generator=generator)
        with torch.no_grad():
            given = returned(logits_by_depth(model, ids))
            _check_depths(given, model, ids)
    return "The last row is the model's own answer."


def _check_depths(given: object, model: LanguageModel, ids: Tensor) -> None:
    expect(
        isinstance(given, Tensor),
        f"Return one tensor; yours is a {type(given).__name__}. torch.stack makes one "
        "of a list.",
    )
    n_layers = len(model.blocks)
    asked = (n_layers + 1, *ids.shape, 11)
    short = "" if len(given) != n_layers else " Row 0 is before any block."
    expect(
        given.shape == asked,
        f"With {n_layers} blocks and ids of shape {tuple(ids.shape)} the result must "
        f"have the shape {asked}; yours is {tuple(given.shape)}.{short}",
    )
    stream = _stream(model, ids, causal_mask(ids.size(1)))
    right = model.head(model.final_norm(stream))
    hint = hint_for_tensor(
        given,
        _depth_mistakes(model, ids, stream),
        "Feed each block what the block before it gave.",
    )
    if _near(given[0], model.head(model.final_norm(model.tokens(ids)))):
        hint = "The positions are missing: the stream starts as token plus position."
    expect(_near(given, right), f"The logits are not right. {hint}")


def _depth_mistakes(model: LanguageModel, ids: Tensor, stream: Tensor) -> dict:
    bare, right = model.head(stream), model.head(model.final_norm(stream))
    no_mask = model.head(model.final_norm(_stream(model, ids, None)))
    return {
        "final_norm is missing: every row goes through final_norm and head.": bare,
        "Only the last row went through final_norm; every row must.": torch.cat(
            [bare[:-1], right[-1:]]
        ),
        "Each block needs the causal mask, or it reads the future.": no_mask,
        "The rows are in the wrong order: row 0 is before any block.": right.flip(0),
    }


def _stream(model: LanguageModel, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Return the vectors after 0, 1, 2 ... blocks, ``(n_layers + 1, B, T, D)``."""
    vectors = [model.positions(model.tokens(ids))]
    for block in model.blocks:
        vectors.append(block(vectors[-1], mask))
    return torch.stack(vectors)
