"""Wrong answers to the exercises of lesson 15, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_15.py: three wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

from types import SimpleNamespace

import torch
from torch import nn

from lib.attention import causal_mask, padding_mask
from lib.generate.targets import generate_targets
from lib.models.encoder_decoder import Decoder, Transformer

LETTERS = "adeilnorst"


def block(
    attentions: int = 2,
    norms: int = 3,
    biases: bool = True,
    gains: int = 2,
    biased: int | None = None,
    layers: int = 1,
):
    """A count of a decoder's block with one mistake in it."""

    def decoder_block_parameters(d_model, d_ff, attention_bias):
        total = attentions * 4 * d_model**2 + norms * gains * d_model
        total += 2 * d_model * d_ff + (d_ff + d_model) * biases
        with_bias = attentions if biased is None else biased
        return layers * (total + 4 * d_model * with_bias * attention_bias)

    return decoder_block_parameters


def partly_biased(n_biases):
    """A count in which so many of the eight projections have a bias."""

    def decoder_block_parameters(d_model, d_ff, attention_bias):
        total = block()(d_model, d_ff, False)
        return total + n_biases * d_model * attention_bias

    return decoder_block_parameters


def divided(d_model, d_ff, attention_bias):
    return block()(2 * d_model, d_ff, attention_bias) / 2


def built(d_model, d_ff, attention_bias):
    """A count of a model that is built for it."""
    decoder = Decoder(d_model, 1, 1, d_ff, attention_bias=attention_bias)
    return sum(p.numel() for p in decoder.blocks[0].parameters())


def masks(combine, shape=lambda mask: mask):
    """A prefix mask with one mistake in it."""

    def prefix_mask(ids, n_source, pad_id):
        T = ids.size(1)
        source = torch.arange(T) < n_source[:, None, None, None]
        parts = causal_mask(T), source, padding_mask(ids, pad_id)
        return shape(combine(*parts).expand(len(ids), 1, T, T))

    return prefix_mask


def one_too_many(ids, n_source, pad_id):
    return masks(lambda c, s, t: (c | s) & t)(ids, n_source + 1, pad_id)


prefix = masks(lambda c, s, t: (c | s) & t)  # without a mistake


def larger_than_pad(ids, n_source, pad_id):
    return masks(lambda c, s, t: (c | s) & (ids > pad_id)[:, None, None])(
        ids, n_source, pad_id
    )


def page_padding(ids, n_source, pad_id):
    return masks(lambda c, s, t: (c | s) & t)(ids, n_source, 0)


def first_source_only(ids, n_source, pad_id):
    return masks(lambda c, s, t: (c | s) & t)(ids, n_source[:1], pad_id)


def writer(
    once: bool = True,
    no_pad: bool = True,
    fill: str = "pad_id",
    wait: bool = True,
    end: bool = True,
    whole: bool = False,
    last: int = -1,
    start: str = "bos_id",
    masked: bool = True,
    newest: bool = False,
    extra: int = 0,
    page: tuple = (),
):
    """Writing without a cache, with one mistake in it."""

    @torch.no_grad()
    def write_again(model, src, max_len):
        ids_of_the_page = {"pad_id": 0, "bos_id": 1, "eos_id": 2}
        special = {name: ids_of_the_page[name] for name in page}
        c = SimpleNamespace(**(vars(model.config) | special))
        memory, mask = model.encode(src)
        ids = torch.full((len(src), 1), getattr(c, start))
        ended = torch.zeros_like(ids, dtype=torch.bool)
        for _ in range(max_len + extra):
            memory = memory if once else model.encode(src)[0]
            read = ids[:, -1:] if newest else ids
            logits = model.decode(read, memory, mask if masked else None)[:, last]
            if no_pad:
                logits[:, c.pad_id] = -float("inf")
            chosen = logits.argmax(dim=-1, keepdim=True)
            if fill:
                chosen = chosen.masked_fill(ended, getattr(c, fill))
            ids, ended = torch.cat([ids, chosen], dim=1), ended | (chosen == c.eos_id)
            if end and (ended.all() if wait else ended.any()):
                break
        return ids if whole else ids[:, 1:]

    return write_again


def always_all_steps(model, src, max_len):
    """Right tokens, by max_len steps, trimmed at the end."""
    tokens = writer(end=False)(model, src, max_len)
    longest = int((tokens != model.config.pad_id).sum(dim=1).max())
    return tokens[:, :longest]


def empties_the_source(model, src, max_len):
    tokens = writer()(model, src, max_len)
    src.zero_()
    return tokens


def one_token_for_all(model, src, max_len):
    """The argmax over the whole batch, instead of each row."""
    with torch.no_grad():
        c, (memory, mask) = model.config, model.encode(src)
        ids = torch.full((len(src), 1), c.bos_id)
        for _ in range(max_len):
            best = model.decode(ids, memory, mask)[:, -1].amax(dim=0).argmax()
            ids = torch.cat([ids, best.expand(len(src), 1)], dim=1)
    return ids[:, 1:]


# Exercise 4

SIZES = dict(src_vocab_size=13, tgt_vocab_size=13, d_model=8, n_heads=1, d_ff=8)
SIZES |= dict(n_encoder_layers=1, n_decoder_layers=1)


class SortsWithPython:
    """An object that looks like a model and sorts with Python."""

    config = SimpleNamespace(pad_id=0, bos_id=1, eos_id=2)

    def generate(self, src, max_len, temperature):
        rows = [sorted(i for i in ids if i > 2) + [2] for ids in src.tolist()]
        return torch.tensor([(row + [0] * max_len)[:max_len] for row in rows])


class SortsInside(Transformer):
    """A Transformer whose `generate` sorts with Python."""

    generate = SortsWithPython.generate


class OfThePage(nn.Module):
    """The small version of the lesson."""

    def encode(self, src):
        return src, src


def other_parts():
    model = Transformer(**SIZES)
    model.encoder = nn.Identity()
    return model


WRONG = {
    "check_decoder_block_parameters": [
        (block(attentions=1), "There are two attentions"),
        (block(attentions=1, norms=2), "a block of the encoder"),
        (block(norms=2), "Each of the three parts has a norm"),
        (block(norms=4), "belongs to the stack"),
        (block(gains=1), "a gain and a bias"),
        (block(biases=False), "two biases"),
        (block(biased=0), "each projection has a bias"),
        (block(biased=1), "two attentions with four biases"),
        (partly_biased(6), "All four projections"),
        (partly_biased(2), "All four projections"),
        (divided, "yours is a float"),
        (built, "You build a Decoder"),
        (lambda *sizes: torch.tensor(block()(*sizes)), "yours is a Tensor"),
        (lambda *sizes: str(block()(*sizes)), "yours is a str"),
        (block(layers=6), "the whole stack of six"),
        (lambda d_model, d_ff, attention_bias: d_model, "Add up its parts"),
        (lambda d_model, d_ff, attention_bias: None, "returned None"),
    ],
    "check_prefix_mask": [
        (masks(lambda c, s, t: c & t), "from left to right only"),
        (masks(lambda c, s, t: c | s), "Padding is looked at"),
        (masks(lambda c, s, t: s & t), "itself and its own past"),
        (masks(lambda c, s, t: c & s & t), "you ask for both"),
        (masks(lambda c, s, t: t), "its own future"),
        (masks(lambda c, s, t: ~((c | s) & t)), "the opposite"),
        (masks(lambda c, s, t: ((c | s) & t).mT), "Rows and columns are exchanged"),
        (masks(lambda c, s, t: (c | s.mT) & t), "the *column* that must belong"),
        (masks(lambda c, s, t: (c | s) & t.mT), "Columns decide about padding"),
        (masks(lambda c, s, t: (c | s) & t, lambda m: m[:, 0]), "1 for the heads"),
        (masks(lambda c, s, t: (c | s) & t, lambda m: m.int()), "must be bool"),
        (page_padding, "Use `pad_id`"),
        (one_too_many, "one token too long"),
        (first_source_only, "Every row has its own source"),
        (lambda ids, n, pad: prefix(ids, n.amax(0, True), pad), "Every row has its"),
        (lambda ids, n, pad: prefix(ids, n - 1, pad), "one token too short"),
        (masks(lambda c, s, t: (c | s) & t & t.mT), "padded rows look, too"),
        (masks(lambda c, s, t: (c.tril(-1) | s) & t), "must see itself"),
        (larger_than_pad, "by `!=`"),
        (lambda ids, n, pad: prefix(ids.clamp_(min=0).add_(0), n.sub_(1), pad), "make"),
        (lambda ids, n, pad: prefix(ids, n, pad).tolist(), "yours is a list"),
    ],
    "check_write_again": [
        (writer(once=False), "before the loop"),
        (writer(no_pad=False), "minus infinity"),
        (writer(fill=""), "fill it with pad_id"),
        (writer(fill="eos_id"), "not eos_id again"),
        (writer(wait=False), "wait for all rows"),
        (writer(end=False), "stop when `ended.all()`"),
        (writer(whole=True), "not the start token itself"),
        (writer(last=0), "of the *last* position"),
        (writer(start="eos_id"), "from bos_id on"),
        (writer(newest=True), "the whole beginning"),
        (writer(masked=False), "the mask that `encode`"),
        (writer(page=("pad_id", "bos_id", "eos_id")), "others, in `model.config`"),
        (writer(page=("eos_id",)), "goes on after `model.config.eos_id`"),
        (writer(extra=1), "too many steps"),
        (
            lambda m, src, n: generate_targets(m, src, n, temperature=0),
            "Write the loop yourself",
        ),
        (lambda m, src, n: m.begin(src, n), "`begin` makes caches"),
        (lambda m, src, n: writer()(m, src, n)[0], "one tensor (B, L)"),
        (lambda m, src, n: m.generate(src, n, temperature=0), "the loop yourself"),
        (always_all_steps, "stop as soon as `ended.all()`"),
        (empties_the_source, "You changed `src`"),
        (lambda m, src, n: writer()(m, src, n).int(), "they are torch.int32"),
        (lambda m, src, n: writer()(m, src, n).float(), "they are torch.float32"),
        (one_token_for_all, "the argmax of each row"),
    ],
    "check_sorter": [
        ("sorter", "not its name or its class"),
        (Transformer, "not its name or its class"),
        (SortsWithPython(), "yours is a SortsWithPython"),
        (SortsInside(**SIZES), "yours is a SortsInside"),
        (OfThePage(), "a Transformer of the library"),
        (Transformer(**SIZES), "0% of 200 words are right"),
        (Transformer(**SIZES | {"src_vocab_size": 10}), "This page has 13 tokens"),
        (Transformer(**SIZES, pad_id=2, eos_id=0), "<pad>, <bos>, <eos> are 0, 1, 2"),
        (Transformer(**SIZES, context_length=8), "too short for words of eight"),
        (other_parts(), "Its parts are not those"),
    ],
}
