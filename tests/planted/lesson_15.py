"""Wrong answers to the exercises of lesson 15, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_15.py: three wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

from types import SimpleNamespace

import torch
from torch.nn import functional as F

from lib.attention import causal_mask, padding_mask
from lib.generate.targets import generate_targets

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


class Sorter:
    """A model that follows a rule, for words in the ids of the lesson."""

    config = SimpleNamespace(pad_id=0, bos_id=1, eos_id=2)

    def __init__(self, rule, end: bool = True):
        self.rule, self.end = rule, end

    def modules(self):
        return []

    def train(self, mode):
        pass

    def begin(self, src, max_len):
        rows = []
        for ids in src.tolist():
            word = "".join(LETTERS[i - 3] for i in ids if i > 2)
            letters = [3 + LETTERS.index(letter) for letter in self.rule(word)]
            rows.append((letters + [2 if self.end else 1] * max_len)[:max_len])
        self.coming = iter(torch.tensor(rows).T)  # the tokens of each step
        return None, None, None

    def decode(self, ids, memory, memory_mask, cache):
        return F.one_hot(next(self.coming), 13).float().unsqueeze(1)


def ordered(word):
    return "".join(sorted(word))


def half_ordered(word):
    return ordered(word[:5]) + word[5:]


class Endless(Sorter):
    """A model that sorts and then goes on with letters, as without <eos>."""

    def __init__(self):
        super().__init__(lambda word: (ordered(word) + "t" * 12)[:12], end=False)


class Silent(Sorter):
    """A model that writes the start token again and again."""

    def __init__(self):
        super().__init__(lambda word: "", end=False)


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
        (first_source_only, "yours says the opposite"),
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
        (writer(extra=1), "one step too many"),
        (
            lambda m, src, n: generate_targets(m, src, n, temperature=0),
            "Write the loop yourself",
        ),
        (lambda m, src, n: m.begin(src, n), "`begin` makes caches"),
        (lambda m, src, n: writer()(m, src, n)[0], "one tensor (B, L)"),
    ],
    "check_sorter": [
        (Sorter(lambda word: word[::-1]), "writes words backwards"),
        (Sorter(str), "copies the word"),
        (Sorter(lambda word: ordered(word)[::-1]), "end of the alphabet"),
        (Sorter(lambda word: "".join(sorted(set(word)))), "twice stay twice"),
        (Sorter(ordered, end=False), "it does not end"),
        (Sorter(half_ordered), "do sources and targets end"),
        (Silent(), "shifted by one"),
        (Endless(), "do targets end with <eos>"),
        ("sorter", "not its name or its class"),
    ],
}
