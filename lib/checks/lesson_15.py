"""The checks of the exercises in lesson 15, encoder and decoder."""

from __future__ import annotations

import operator
from itertools import combinations

import torch
from torch import Tensor, nn

from lib.attention import causal_mask, padding_mask
from lib.checks import Mistake, exercise, expect, hint_for, returned
from lib.generate.targets import generate_targets
from lib.models.encoder_decoder import Decoder, Transformer, TransformerConfig
from lib.text.tokenizer import pad_batch

__all__ = [
    "check_decoder_block_parameters",
    "check_prefix_mask",
    "check_write_again",
    "check_sorter",
]


@exercise
def check_decoder_block_parameters(decoder_block_parameters) -> str:
    """Takes a function of d_model, d_ff, attention_bias."""
    for d_model, d_ff, bias in ((8, 20, False), (512, 2048, False), (8, 20, True)):
        with torch.device("meta"):
            decoder = Decoder(d_model, 1, 1, d_ff, attention_bias=bias)
        right = sum(p.numel() for p in decoder.blocks[0].parameters())
        given = _whole(decoder_block_parameters(d_model, d_ff, bias))
        mistakes = _bias_mistakes if bias else _block_mistakes
        hint = hint_for(given, mistakes(d_model, d_ff), "Add up its parts.")
        expect(
            given == right,
            f"With d_model={d_model}, d_ff={d_ff}, attention_bias={bias} a block has "
            f"{right:,} parameters; you return {given:,}. {hint}",
        )
    return "Two attentions, one feed-forward network, three norms."


def _whole(answer: object) -> int:
    """Return the reader's count; `Mistake` where it is no whole number."""
    try:
        return operator.index(returned(answer))
    except TypeError:
        kind = type(answer).__name__
        raise Mistake(f"Return a whole number, an int; yours is a {kind}.") from None


def _block_mistakes(d: int, f: int) -> dict[float, str]:
    """Return what known mistakes give without biases in the attentions."""
    attention = 4 * d * d
    ffn, norm = 2 * d * f + f + d, 2 * d
    right = 2 * attention + ffn + 3 * norm
    return {
        attention + ffn + 2 * norm: "That is a block of the encoder.",
        attention + ffn + 3 * norm: "There are two attentions.",
        2 * attention + ffn + 2 * norm: "Each of the three parts has a norm.",
        2 * attention + ffn + 4 * norm: "The last norm belongs to the stack, not here.",
        2 * attention
        + 2 * d * f
        + 3 * norm: "The feed-forward network has two biases.",
        2 * attention + 2 * d * f + 2 * d + 3 * norm: (
            "The first bias of the feed-forward network has d_ff numbers."
        ),
        2 * attention + ffn + 3 * d: "A norm has a gain and a bias.",
        right - 2 * d * d: "Each attention has four projections: q, k, v and out.",
        right + 8 * d: "With attention_bias=False there are no biases.",
        6 * right: "That is the whole stack of six; return one block.",
    }


def _bias_mistakes(d: int, f: int) -> dict[float, str]:
    """Return what known mistakes give with biases, where the rest is right."""
    right = 2 * (4 * d * d + 4 * d) + 2 * d * f + f + d + 3 * 2 * d
    all_four = "All four projections of an attention have a bias: q, k, v and out."
    return {
        right - 8 * d: "With attention_bias=True each projection has a bias.",
        right - 4 * d: "There are two attentions with four biases each.",
        right - 2 * d: all_four,
        right - 6 * d: all_four,
        right - 8 * d + 8: "A bias has d_model numbers.",
    }


@exercise
def check_prefix_mask(prefix_mask) -> str:
    """Takes a function of ids, n_source, pad_id."""
    ids = torch.tensor([[4, 5, 6, 7, 8, 9], [6, 7, 5, 4, 1, 1], [3, 4, 5, 6, 7, 1]])
    cases = (
        (ids, torch.tensor([3, 2, 1]), 1),
        (ids[1:], torch.tensor([4, 2]), 1),
        (ids.where(ids != 1, torch.tensor(0)), torch.tensor([1, 3, 5]), 0),
    )
    for rows, n_source, pad_id in cases:
        before = rows.clone(), n_source.clone()
        given = returned(prefix_mask(rows, n_source, pad_id))
        expect(
            torch.equal(rows, before[0]) and torch.equal(n_source, before[1]),
            "You changed `ids` or `n_source`; make new tensors.",
        )
        _check_mask(given, rows, n_source, pad_id)
    return "One stack, and it reads the source in both directions."


def _check_mask(given: object, ids: Tensor, n_source: Tensor, pad_id: int) -> None:
    B, T = ids.shape
    shape = (B, 1, T, T)
    expect(isinstance(given, Tensor), "Return a tensor.")
    expect(
        tuple(given.shape) == shape,
        f"For ids of shape {(B, T)} the mask must have the shape {shape}, yours has "
        f"{tuple(given.shape)}. One mask for each row of the batch, a 1 for the heads.",
    )
    expect(given.dtype == torch.bool, f"The mask must be bool, yours is {given.dtype}.")
    right, mistakes = _masks(ids, n_source, pad_id)
    if torch.equal(given, right):
        return
    for hint, wrong in mistakes.items():
        expect(not torch.equal(given, wrong.expand(shape)), hint)
    b, _, i, j = (given != right).nonzero()[0].tolist()
    verb = "may" if right[b, 0, i, j] else "may not"
    raise Mistake(
        f"ids[{b}] is {ids[b].tolist()} with n_source {int(n_source[b])} and "
        f"pad_id={pad_id}: position {i} {verb} look at position {j}, yours says the "
        "opposite."
    )


def _masks(
    ids: Tensor, n_source: Tensor, pad_id: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the right mask, and what known mistakes give."""
    T = ids.size(1)
    causal, tokens = causal_mask(T), padding_mask(ids, pad_id)
    places, n = torch.arange(T), n_source[:, None, None, None]
    source, beyond = places < n, places <= n
    right = (causal | source) & tokens
    return right, {
        "That is the opposite: True must mean that looking is allowed.": ~right,
        "Padding is looked at. Use `pad_id`; it need not be 0.": causal | source,
        "The source is read from left to right only; inside the source everyone may "
        "look at everyone.": causal & tokens,
        "The target looks into its own future; outside the source, only j <= i.": (
            tokens
        ),
        "Each source is one token too long: positions are counted from 0.": (
            (causal | beyond) & tokens
        ),
        "The target must also see itself and its own past, not only the source.": (
            source & tokens
        ),
        "A position may look at j if j is in the past *or* in the source; you ask for "
        "both.": causal & source & tokens,
        "Rows and columns are exchanged: the row looks, the column is looked at.": (
            right.transpose(-2, -1)
        ),
        "Rows of the source see everything. It is the *column* that must belong to the "
        "source.": (causal | source.mT) & tokens,
        "Columns decide about padding, not rows.": (
            (causal | source) & tokens.transpose(-2, -1)
        ),
    }


class _Watched(Transformer):
    """A Transformer that counts how often it reads, and does not write itself."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        layers = {"n_encoder_layers": 1, "n_decoder_layers": 1}
        sizes = {"d_model": 8, "n_heads": 2, "d_ff": 16, "context_length": 20}
        ids = {"pad_id": 5, "bos_id": 4, "eos_id": 3}  # not those of the page
        parts = {"pre_norm": True, "tie_weights": False}
        super().__init__(TransformerConfig(6, 6, **parts, **layers, **sizes, **ids))
        for parameter in self.parameters():  # with these it writes different tokens
            nn.init.normal_(parameter, std=0.4)
        self.n_read = 0

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor]:
        self.n_read += 1
        return super().encode(src)

    def begin(self, *_) -> tuple:
        raise Mistake(
            "Write the loop yourself, with `encode` and `decode` only: without "
            "`generate_targets`, and `begin` makes caches."
        )


@exercise
def check_write_again(write_again) -> str:
    """Takes a function of model, src, max_len."""
    state = torch.get_rng_state()
    try:
        for seed in (39, 25, 30, 38, 58):  # rows of different lengths
            for max_len in (10, 3):
                _check_writing(write_again, _Watched(seed).eval(), seed, max_len)
    finally:
        torch.set_rng_state(state)
    return "The same tokens as with the caches, and the source is read once."


@torch.no_grad()
def _check_writing(write_again, model: _Watched, seed: int, max_len: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    src = torch.randint(0, 3, (4, 5), generator=generator)
    src[1, 3:] = model.config.pad_id
    _, right = _written(model, src, max_len)
    model.n_read = 0
    given = returned(write_again(model, src.clone(), max_len))
    expect(
        isinstance(given, Tensor) and given.dim() == 2 and len(given) == 4,
        "Return one tensor (B, L).",
    )
    if not torch.equal(given, right):
        hint = _writing_hint(given, model, src, max_len)
        raise Mistake(f"The tokens are not right. {hint}")
    expect(
        model.n_read == 1,
        f"The tokens are right, but the encoder ran {model.n_read} times, and once is "
        "enough: call `encode` before the loop.",
    )


def _written(
    model: _Watched,
    src: Tensor,
    max_len: int,
    masked: bool = True,
    no_pad: bool = True,
    **wrong,
) -> tuple[Tensor, Tensor]:
    """Return what greedy choice writes without an end, and with it.

    With `masked` False the decoder sees the padding, with `no_pad` False it may write
    it; `wrong` replaces special ids.
    """
    c = vars(model.config) | wrong
    pad, eos = c["pad_id"], c["eos_id"]
    memory, mask = model.encode(src)
    ids = torch.full((len(src), 1), c["bos_id"])
    for _ in range(max_len):
        logits = model.decode(ids, memory, mask if masked else None)[:, -1]
        if no_pad:
            logits[:, pad] = -float("inf")
        ids = torch.cat([ids, logits.argmax(dim=-1, keepdim=True)], dim=1)
    free = ids[:, 1:]
    ends = (free == eos).cumsum(dim=1)
    after = (ends - (free == eos).long()) > 0  # behind the first end
    n_steps = int((~after).sum(dim=1).max())
    return free, free.masked_fill(after, pad)[:, :n_steps]


def _uses_ids_of_the_page(given: Tensor, model: _Watched, src: Tensor, n: int) -> bool:
    """Return whether 0, 1 and 2 of the page, or some of them, give these tokens."""
    page = {"pad_id": 0, "bos_id": 1, "eos_id": 2}
    return any(
        torch.equal(given, _written(model, src, n, **{k: page[k] for k in names})[1])
        for n_wrong in (1, 2, 3)
        for names in combinations(page, n_wrong)
    )


def _writing_hint(given: Tensor, model: _Watched, src: Tensor, max_len: int) -> str:
    """Return words for the likely mistake."""
    c, (free, right) = model.config, _written(model, src, max_len)
    if (given[:, 0] == c.bos_id).all() and torch.equal(given[:, 1:], right):
        return "Return what comes after the start token, not the start token itself."
    same = min(given.size(1), right.size(1))
    if torch.equal(given[:, :same], right[:, :same]):
        return _length_hint(given.size(1), right.size(1), max_len)
    wrong_fill = _filling_hint(given, free, c)
    if wrong_fill:
        return wrong_fill
    if torch.equal(given, _written(model, src, max_len, no_pad=False)[1]):
        return (
            "pad_id was chosen as a token: set the logit of `model.config.pad_id` to "
            "minus infinity."
        )
    if _uses_ids_of_the_page(given, model, src, max_len):
        return (
            "You use 0, 1 or 2 of the page as special tokens; this model has others, "
            "in `model.config`."
        )
    if torch.equal(given, _written(model, src, max_len, masked=False)[1]):
        return "The source's padding is seen: hand over the mask that `encode` returns."
    return (
        "Give `decode` the whole beginning, from bos_id on, and take the likeliest "
        "token of the *last* position."
    )


def _length_hint(given: int, right: int, max_len: int) -> str:
    """Return words for too many or too few steps."""
    if given > max_len:
        return f"With max_len={max_len} you write {given} tokens: one step too many."
    steps = f"after {right} steps, yours has {given}"
    if given > right:
        return f"All rows have ended {steps}: stop when `ended.all()`, or at max_len."
    return f"The last row ends {steps}: wait for all rows, keep the end token."


def _filling_hint(given: Tensor, free: Tensor, c) -> str:
    """Return words for wrong tokens after the end; "" if there are none."""
    same = min(given.size(1), free.size(1))
    if torch.equal(given[:, :same], free[:, :same]):
        return "A row goes on after `model.config.eos_id`; fill it with pad_id."
    ended_with_eos = free.where(_tokens(free, c), torch.tensor(c.eos_id))
    if torch.equal(given[:, :same], ended_with_eos[:, :same]):
        return "After its end a row holds pad_id, not eos_id again and again."
    return ""


def _tokens(free: Tensor, c) -> Tensor:
    """Return where a token stands that is not behind the first end."""
    is_end = free == c.eos_id
    return (is_end.cumsum(dim=1) - is_end.long()) == 0


LETTERS = "adeilnorst"  # ids 3 .. 12


@exercise
def check_sorter(sorter) -> str:
    """Takes a trained Transformer."""
    expect(
        hasattr(sorter, "begin") and not isinstance(sorter, type),
        "Give me the trained model, not its name or its class: an object that "
        "`Transformer(...)` made.",
    )
    words = _words(200)
    rows = [[*(3 + LETTERS.index(letter) for letter in word), 2] for word in words]
    written = generate_targets(sorter, pad_batch(rows), max_len=12, temperature=0)
    texts = [_text(row) for row in written.tolist()]
    right = ["".join(sorted(word)) for word in words]
    share = sum(a == b for a, b in zip(texts, right)) / len(words)
    hint = _sorting_hint(words, texts)
    expect(
        share >= 0.95,
        f"{share:.0%} of 200 words are right, for example {words[0]} -> {texts[0]}. "
        f"{hint}",
    )
    return f"{share:.0%} of 200 words are sorted without a mistake."


def _words(n_words: int) -> list[str]:
    generator = torch.Generator().manual_seed(2_000)
    lengths = torch.randint(3, 9, (n_words,), generator=generator).tolist()
    rows = [torch.randint(10, (length,), generator=generator) for length in lengths]
    return ["".join(LETTERS[i] for i in row.tolist()) for row in rows]


def _text(ids: list[int]) -> str:
    """Return letters up to the end token; other ids become a question mark."""
    ids = ids[: ids.index(2)] if 2 in ids else [*ids, -1]
    return "".join(LETTERS[i - 3] if 3 <= i < 13 else "?" for i in ids)


def _sorting_hint(words: list[str], texts: list[str]) -> str:
    """Return words for what the model does instead of sorting."""
    mistakes = {
        "It writes words backwards: that is the model of the lesson.": (
            lambda w: w[::-1]
        ),
        "It copies the word: what was its target?": str,
        "It sorts from the end of the alphabet: use `sorted(word)`.": (
            lambda w: "".join(sorted(w, reverse=True))
        ),
        "It writes every letter once; letters that come twice stay twice.": (
            lambda w: "".join(sorted(set(w)))
        ),
    }
    for hint, rule in mistakes.items():
        if sum(rule(w) == t for w, t in zip(words, texts)) > len(words) / 2:
            return hint
    begun = [text.startswith("".join(sorted(w))) for w, text in zip(words, texts)]
    if all("?" in text for text in texts) and sum(begun) > len(words) / 2:
        return "The letters are right, but it does not end: do targets end with <eos>?"
    if all("?" in text for text in texts):
        return (
            "It writes no end, or special tokens. Is the target shifted by one, and "
            "does it end with <eos>?"
        )
    return (
        "Look at the loss of the last steps. If it is near 0: do sources and targets "
        "end with <eos>? If not: train longer."
    )
