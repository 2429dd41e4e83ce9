"""Wrong answers to the exercises of lesson 09, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_09.py: three wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

import torch

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.ffn import FeedForward


def a_block(d_model, n_heads, d_ff, pre_norm: bool = True):
    parts = MultiHeadAttention(d_model, n_heads), FeedForward(d_model, d_ff)
    return Block(*parts, pre_norm=pre_norm)


def blocks_with(change):
    """Fresh blocks, with the sizes changed by a function."""

    def make_blocks(n_layers, d_model, n_heads, d_ff):
        return [a_block(*change(d_model, n_heads, d_ff)) for _ in range(n_layers)]

    return make_blocks


def one_ffn_for_all(n_layers, d_model, n_heads, d_ff):
    ffn = FeedForward(d_model, d_ff)
    return [Block(MultiHeadAttention(d_model, n_heads), ffn) for _ in range(n_layers)]


def rms(
    gained: bool = True,
    outside: bool = False,
    fixed: bool = False,
    centred: bool = False,
    total: bool = False,
    rooted: bool = True,
    dim=-1,
):
    """An RMS norm with one mistake in it."""

    def rms_norm(x, gain, eps):
        eps = 1e-5 if fixed else eps
        x = x - x.mean(dim=-1, keepdim=True) if centred else x
        squares = x.square()
        size = (squares.sum if total else squares.mean)(dim=dim, keepdim=True)
        root = size.sqrt() + eps if outside else (size + eps) ** (0.5 if rooted else 1)
        return x / root * (gain if gained else 1)

    return rms_norm


def rms_in_place(x, gain, eps):
    x /= (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    return x * gain


def rms_flat(x, gain, eps):
    return x.square().mean(dim=-1).add(eps).sqrt()


def notes(read=None, attend=None, give=None):
    """The two notes of a block, with one mistake in them."""

    def residual_parts(block, x, mask):
        a = (attend or right_attention)(block, x, mask)
        f = (read or right_network)(block, x, a)
        return give(x, a, f) if give else (a, f)

    return residual_parts


def right_attention(block, x, mask):
    return block.attention(block.attention_norm(x), mask)[0]


def right_network(block, x, a):
    return block.ffn(block.ffn_norm(x + a))


def depths(
    norm: str = "all", masked: bool = True, places: bool = True, first: bool = True
):
    """A logit lens with one mistake in it."""

    def logits_by_depth(model, ids):
        mask = causal_mask(ids.size(1)) if masked else None
        x = model.tokens(ids)
        x = model.positions(x) if places else x
        vectors = [x] if first else []
        for block in model.blocks:
            x = block(x, mask)
            vectors.append(x)
        if norm != "none":
            kept = 0 if norm == "all" else -1
            vectors[kept:] = [model.final_norm(vector) for vector in vectors[kept:]]
        return torch.stack([model.head(vector) for vector in vectors])

    return logits_by_depth


def every_block_alone(model, ids):
    x, mask = model.positions(model.tokens(ids)), causal_mask(ids.size(1))
    vectors = [x] + [block(x, mask) for block in model.blocks]
    return torch.stack([model.head(model.final_norm(vector)) for vector in vectors])


WRONG = {
    "check_make_blocks": [
        (lambda n, d, h, f: [a_block(d, h, f)] * n, "share parameters"),
        (one_ffn_for_all, "share parameters"),
        (lambda n, d, h, f: a_block(d, h, f), "return a list"),
        (lambda n, d, h, f: [a_block(d, h, f) for _ in range(n + 1)], "asks for 3"),
        (blocks_with(lambda d, h, f: (d, d // h, f)), "must have 2 heads"),
        (blocks_with(lambda d, h, f: (d, h, 4 * d)), "must go from 24 to 40"),
        (blocks_with(lambda d, h, f: (d, h, f, False)), "post-norm"),
        (lambda n, d, h, f: None, "is a `return` missing"),
    ],
    "check_rms_norm": [
        (lambda x, gain, eps=0.0: rms()(x, gain, 0.0), "eps is missing"),
        (rms(gained=False), "gain is missing"),
        (rms(outside=True), "inside the root"),
        (rms(fixed=True), "the eps that is passed in"),
        (rms(centred=True), "Leave the mean out"),
        (rms(total=True), "take their mean"),
        (rms(rooted=False), "root is missing"),
        (rms(dim=(0, 1, 2)), "dim=-1"),
        (rms(dim=0), "first dimension"),
        (rms_in_place, "You changed `x` itself"),
        (rms_flat, "must have the shape of x"),
    ],
    "check_residual_parts": [
        (lambda b, x, m: notes()(b, x, m)[::-1], "return the pair as (a, f)"),
        (notes(read=lambda b, x, a: b.ffn(b.ffn_norm(x))), "after* the attention"),
        (notes(read=lambda b, x, a: b.ffn(b.ffn_norm(a))), "not the note a alone"),
        (notes(read=lambda b, x, a: b.ffn(x + a)), "ffn_norm comes first"),
        (
            notes(attend=lambda b, x, m: b.attention(x, m)[0]),
            "attention_norm comes first",
        ),
        (
            notes(attend=lambda b, x, m: b.attention(b.attention_norm(x))[0]),
            "Pass the mask",
        ),
        (
            notes(attend=lambda b, x, m: b.attention_norm(b.attention(x, m)[0])),
            "post-norm order",
        ),
        (notes(give=lambda x, a, f: (x + a, f)), "return what is added"),
        (notes(give=lambda x, a, f: (a, x + a + f)), "stream after the block"),
        (notes(give=lambda x, a, f: a + f), "Return a pair"),
        (notes(give=lambda x, a, f: ((a, None), f)), "take the first"),
    ],
    "check_logits_by_depth": [
        (depths(norm="none"), "final_norm is missing"),
        (depths(norm="last"), "Only the last row"),
        (depths(masked=False), "causal mask"),
        (depths(places=False), "positions are missing"),
        (depths(first=False), "before any block"),
        (every_block_alone, "what the block before it gave"),
        (lambda m, ids: list(depths()(m, ids)), "torch.stack"),
        (lambda m, ids: depths()(m, ids).flip(0), "wrong order"),
    ],
}
