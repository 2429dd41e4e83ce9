"""Wrong answers to the exercises of lesson 09, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_09.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import copy

import torch
from torch import nn

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.ffn import FeedForward


# Exercise 1


def a_block(d_model, n_heads, d_ff, pre_norm: bool = True):
    parts = MultiHeadAttention(d_model, n_heads), FeedForward(d_model, d_ff)
    return Block(*parts, pre_norm=pre_norm)


def blocks_with(change):
    """Fresh blocks, with the sizes changed by a function."""

    def make_blocks(n_layers, d_model, n_heads, d_ff):
        return [a_block(*change(d_model, n_heads, d_ff)) for _ in range(n_layers)]

    return make_blocks


def copies(n_layers, d_model, n_heads, d_ff):
    block = a_block(d_model, n_heads, d_ff)
    return [copy.deepcopy(block) for _ in range(n_layers)]


def one_memory(n_layers, d_model, n_heads, d_ff):
    blocks = [a_block(d_model, n_heads, d_ff) for _ in range(n_layers)]
    for block in blocks:
        block.ffn.up.weight.data = blocks[0].ffn.up.weight.data
    return blocks


def one_ffn_for_all(n_layers, d_model, n_heads, d_ff):
    ffn = FeedForward(d_model, d_ff)
    return [Block(MultiHeadAttention(d_model, n_heads), ffn) for _ in range(n_layers)]


def one_norm_for_all(n_layers, d_model, n_heads, d_ff):
    blocks = [a_block(d_model, n_heads, d_ff) for _ in range(n_layers)]
    for block in blocks:
        block.ffn_norm = block.attention_norm
    return blocks


class Bare(Block):
    """A block that has its residuals, and forgets its norms."""

    def forward(self, x, mask=None):
        x = x + self.attention(x, mask)[0]
        return x + self.ffn(x)


def bare_blocks(n_layers, d_model, n_heads, d_ff):
    parts = [(MultiHeadAttention(d_model, n_heads), FeedForward(d_model, d_ff))]
    return [Bare(*parts[0]) for _ in range(n_layers)]


def pairs_of_parts(n_layers, d_model, n_heads, d_ff):
    return [
        (MultiHeadAttention(d_model, n_heads), FeedForward(d_model, d_ff))
        for _ in range(n_layers)
    ]


def generated(n_layers, d_model, n_heads, d_ff):
    return (a_block(d_model, n_heads, d_ff) for _ in range(n_layers))


def in_a_row(n_layers, d_model, n_heads, d_ff):
    return nn.Sequential(*blocks_with(lambda *s: s)(n_layers, d_model, n_heads, d_ff))


def frozen(n_layers, d_model, n_heads, d_ff):
    blocks = blocks_with(lambda *s: s)(n_layers, d_model, n_heads, d_ff)
    return [block.requires_grad_(False) for block in blocks]


# Exercise 2


def rms(
    gained: bool = True,
    outside: bool = False,
    fixed: bool = False,
    centred: bool = False,
    total: bool = False,
    unbiased: bool = False,
    rooted: bool = True,
    dim=-1,
):
    """An RMS norm with one mistake in it."""

    def rms_norm(x, gain, eps=1e-5):
        eps = 1e-5 if fixed else eps
        x = x - x.mean(dim=-1, keepdim=True) if centred else x
        squares = x.square()
        size = (squares.sum if total else squares.mean)(dim=dim, keepdim=True)
        size = size * x.size(-1) / (x.size(-1) - 1) if unbiased else size
        root = size.sqrt() + eps if outside else (size + eps) ** (0.5 if rooted else 1)
        return x / root * (gain if gained else 1)

    return rms_norm


def rms_in_place(x, gain, eps=1e-5):
    x /= (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    return x * gain


def rms_gain_in_place(x, gain, eps=1e-5):
    gain /= (x.square().mean() + eps).sqrt()
    return x * gain


def rms_flat(x, gain, eps=1e-5):
    return x.square().mean(dim=-1).add(eps).sqrt()


def rms_std(x, gain, eps=1e-5):
    return gain * x / (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()


def rms_of_three_dimensions(x, gain, eps=1e-5):
    return rms(dim=2 if x.dim() > 2 else 0)(x, gain, eps)


def rms_of_four(x, gain, eps=1e-5):
    size = x.square().sum(dim=-1, keepdim=True) / 4
    return gain * x / (size + eps).sqrt()


# Exercise 3


def added(read=None, attend=None, give=None):
    """What the two parts of a block add, with one mistake in it."""

    def residual_parts(block, x, mask):
        a = (attend or right_attention)(block, x, mask)
        f = (read or right_network)(block, x, a)
        return give(x, a, f) if give else (a, f)

    return residual_parts


def right_attention(block, x, mask):
    return block.attention(block.attention_norm(x), mask)[0]


def right_network(block, x, a):
    return block.ffn(block.ffn_norm(x + a))


def own_mask(block, x, mask):
    return right_attention(block, x, causal_mask(x.size(1)))


def added_in_place(block, x, mask):
    a = right_attention(block, x, mask)
    with torch.no_grad():
        x += a
    return a, block.ffn(block.ffn_norm(x))


def added_in_evaluation(block, x, mask):
    block.eval()
    return added()(block, x, mask)


def added_with_gains_of_one(block, x, mask):
    for norm in (block.attention_norm, block.ffn_norm):
        nn.init.ones_(norm.gain)
    return added()(block, x, mask)


# Exercise 4


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


def norms_on_the_way(model, ids):
    """The stream itself goes through the last norm at each depth."""
    x, mask = model.positions(model.tokens(ids)), causal_mask(ids.size(1))
    rows = []
    for block in [None, *model.blocks]:
        x = model.final_norm(x if block is None else block(x, mask))
        rows.append(model.head(x))
    return torch.stack(rows)


def two_blocks(model, ids):
    x, mask = model.positions(model.tokens(ids)), causal_mask(ids.size(1))
    first = model.blocks[0](x, mask)
    second = model.blocks[1](first, mask) if len(model.blocks) > 1 else first
    stream = torch.stack([x, first, second])
    return model.head(model.final_norm(stream))


def short_mask(model, ids):
    """The mask belongs to another text: it allows one place of the future."""
    x = model.positions(model.tokens(ids))
    mask = torch.ones(ids.size(1), ids.size(1)).tril(1).bool()
    vectors = [x]
    for block in model.blocks:
        vectors.append(block(vectors[-1], mask))
    return model.head(model.final_norm(torch.stack(vectors)))


def batch_first(model, ids):
    return depths()(model, ids).transpose(0, 1)


def ids_in_place(model, ids):
    ids[:, 0] = 0
    return depths()(model, ids)


def lens_in_evaluation(model, ids):
    model.eval()
    return depths()(model, ids)


def last_everywhere(model, ids):
    return model(ids).expand(len(model.blocks) + 1, -1, -1, -1)


def predictions(model, ids):
    return depths()(model, ids).argmax(dim=-1)


WRONG = {
    "check_make_blocks": [
        (lambda n, d, h, f: [a_block(d, h, f)] * n, "share parameters"),
        (copies, "begin with the same numbers"),
        (one_memory, "share parameters"),
        (one_ffn_for_all, "share parameters"),
        (one_norm_for_all, "share parameters"),
        (lambda n, d, h, f: a_block(d, h, f), "return a list"),
        (generated, "yours is a generator"),
        (in_a_row, "yours is a Sequential"),
        (pairs_of_parts, "make each with Block"),
        (bare_blocks, "Norm, part, plus"),
        (frozen, "could not learn"),
        (lambda n, d, h, f: [a_block(d, h, f) for _ in range(n + 1)], "asks for 3"),
        (lambda n, d, h, f: [a_block(d, h, f) for _ in range(1, n)], "asks for 3"),
        (lambda n, d, h, f: [a_block(d, h, f) for _ in range(3)], "asks for 1"),
        (blocks_with(lambda d, h, f: (d, d // h, f)), "must have 2 heads"),
        (blocks_with(lambda d, h, f: (d, h, 4 * d)), "must go from 24 to 40"),
        (blocks_with(lambda d, h, f: (24, 2, 40)), "must be 16 wide"),
        (blocks_with(lambda d, h, f: (d, h, f, False)), "post-norm"),
        (lambda n, d, h, f: None, "is a `return` missing"),
    ],
    "check_rms_norm": [
        (lambda x, gain, eps=0.0: rms()(x, gain, 0.0), "eps is missing"),
        (rms(gained=False), "gain is missing"),
        (lambda x, g, eps=1e-5: rms(gained=False)(x, g, eps) + g, "you add it"),
        (rms(outside=True), "inside the root"),
        (rms(fixed=True), "the eps that is passed in"),
        (rms(centred=True), "Leave the mean out"),
        (rms_std, "standard deviation"),
        (rms(total=True), "take their mean"),
        (rms(unbiased=True), "the mean divides by D"),
        (rms(rooted=False), "root is missing"),
        (rms(dim=(0, 1, 2)), "dim=-1"),
        (rms(dim=0), "first dimension"),
        (rms_of_three_dimensions, "first dimension"),
        (rms_of_four, "the mean divides by D"),
        (rms_in_place, "You changed `x` itself"),
        (rms_gain_in_place, "You changed `gain` itself"),
        (rms_flat, "must have the shape (2, 3, 4)"),
        (lambda x, g, eps=1e-5: rms()(x, g, eps).tolist(), "must be a tensor"),
        (lambda x, g, eps=1e-5: rms()(x, g, eps).numpy(), "must be a tensor"),
        (lambda x, g, eps=1e-5: rms()(x.detach(), g, eps), "the gradient of x"),
        (lambda x, g, eps=1e-5: rms()(x, g.data, eps), "the gradient of gain"),
        (lambda x, g, eps=1e-5: rms()(x, g, eps).float(), "dtype torch.float32"),
    ],
    "check_residual_parts": [
        (lambda b, x, m: added()(b, x, m)[::-1], "return the pair as (a, f)"),
        (added(attend=lambda b, x, m: b.attention(b.attention_norm(x), m)[1]), "None"),
        (lambda b, x, m: [t.squeeze() for t in added()(b, x, m)], "must have the"),
        (added(read=lambda b, x, a: b.ffn(b.ffn_norm(x))), "after* the attention"),
        (added(read=lambda b, x, a: b.ffn(b.ffn_norm(a))), "not a alone"),
        (added(read=lambda b, x, a: b.ffn(x + a)), "ffn_norm comes first"),
        (added(read=lambda b, x, a: b.ffn(b.attention_norm(x + a))), "has its own"),
        (added(read=lambda b, x, a: b.ffn_norm(b.ffn(x + a))), "not after it"),
        (
            added(attend=lambda b, x, m: b.attention(x, m)[0]),
            "attention_norm comes first",
        ),
        (
            added(attend=lambda b, x, m: b.attention(b.attention_norm(x))[0]),
            "Pass the mask",
        ),
        (added(attend=own_mask), "not one of your own"),
        (
            added(attend=lambda b, x, m: b.attention_norm(b.attention(x, m)[0])),
            "post-norm order",
        ),
        (
            added(attend=lambda b, x, m: b.attention(b.ffn_norm(x), m)[0]),
            "has its own norm, attention_norm",
        ),
        (added(give=lambda x, a, f: (x + a, f)), "return what is added"),
        (added(give=lambda x, a, f: (a, x + a + f)), "stream after the block"),
        (added(give=lambda x, a, f: (a, a + f)), "return the two apart"),
        (added(give=lambda x, a, f: a + f), "Return a pair"),
        (added(give=lambda x, a, f: torch.stack([a, f])), "Return a pair"),
        (added(give=lambda x, a, f: ((a, None), f)), "take the first"),
        (added(give=lambda x, a, f: (a[:1], f[:1])), "a must have the shape"),
        (added(give=lambda x, a, f: (a.detach().numpy(), f)), "must be a tensor"),
        (added(give=lambda x, a, f: (a, f.detach())), "cut off"),
        (torch.no_grad()(added()), "cut off"),
        (added_in_place, "You changed `x` itself"),
        (added_in_evaluation, "the mode of the block"),
        (added_with_gains_of_one, "the parameters of the block"),
    ],
    "check_logits_by_depth": [
        (depths(norm="none"), "final_norm is missing"),
        (depths(norm="last"), "Only the last row"),
        (depths(masked=False), "causal mask"),
        (short_mask, "what the one before it gave"),
        (depths(places=False), "positions are missing"),
        (depths(first=False), "One row is missing"),
        (every_block_alone, "what the one before it gave"),
        (norms_on_the_way, "Row 1 is the first"),
        (two_blocks, "One row is missing"),
        (last_everywhere, "All rows are the last one"),
        (lambda m, ids: list(depths()(m, ids)), "torch.stack"),
        (lambda m, ids: depths()(m, ids).detach().numpy(), "must be a tensor"),
        (lambda m, ids: depths()(m, ids).flip(0), "wrong order"),
        (lambda m, ids: depths()(m, ids).softmax(dim=-1), "return the logits"),
        (lambda m, ids: m(ids), "must have the shape (3, 2, 9, 11)"),
        (batch_first, "must have the shape"),
        (predictions, "must have the shape"),
        (ids_in_place, "You changed `ids` itself"),
        (lens_in_evaluation, "the mode of the model"),
    ],
}
