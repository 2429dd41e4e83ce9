"""The checks of the exercises in lesson 15, encoder and decoder."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from unittest import mock

import torch
from torch import Tensor, nn

from lib.attention import causal_mask, padding_mask
from lib.checks import Mistake, exercise, expect, hint_for, returned
from lib.models.encoder_decoder import Decoder, Transformer, TransformerConfig
from lib.module import sizes_only
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
    sizes = ((8, 20), (512, 2048), (6, 30))
    for d_model, d_ff, bias in [(*pair, b) for b in (False, True) for pair in sizes]:
        with sizes_only():
            decoder = Decoder(d_model, 1, 1, d_ff, attention_bias=bias)
        right = sum(p.numel() for p in decoder.blocks[0].parameters())
        with _no_modules():
            given = _whole(decoder_block_parameters(d_model, d_ff, bias))
        mistakes = _bias_mistakes if bias else _block_mistakes
        hint = hint_for(given, mistakes(d_model, d_ff), "Add up its parts.")
        expect(
            given == right,
            f"With d_model={d_model}, d_ff={d_ff}, attention_bias={bias} a block has "
            f"{right:,} parameters; you return {given:,}. {hint}",
        )
    return "Two attentions, one feed-forward network, three norms."


@contextmanager
def _no_modules() -> Iterator[None]:
    """Refuse to build a module meanwhile."""

    def refuse(self: nn.Module, *args: object, **kwargs: object) -> None:
        raise Mistake(
            f"You build a {type(self).__name__}; add its numbers up in a formula of "
            "d_model and d_ff instead."
        )

    with mock.patch.object(nn.Module, "__init__", refuse):
        yield


def _whole(answer: object) -> int:
    """Return the reader's count; `Mistake` where it is no whole number."""
    answer, kind = returned(answer), type(answer).__name__
    right = not isinstance(answer, Tensor | bool)
    try:
        number = operator.index(answer)
    except TypeError:
        right = False
    expect(right, f"Return a whole number, an int; yours is a {kind}.")
    return number


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
    square = torch.tensor([[5, 6, 2], [4, 9, 9], [3, 4, 9]])
    cases = (
        (ids, [3, 2, 1], 1),
        (ids[1:], [4, 2], 1),
        (ids.where(ids != 1, torch.tensor(0)), [1, 3, 5], 0),
        (square, [1, 1, 2], 9),
        (square[:1, :1], [1], 9),
        (ids[:2, :5].int(), [5, 3], 1),
    )
    for rows, lengths, pad_id in cases:
        n_source = torch.tensor(lengths, dtype=rows.dtype)
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
    kind = type(given).__name__
    expect(isinstance(given, Tensor), f"Return a bool tensor; yours is a {kind}.")
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
    mistakes = _wrong_rules(causal, source, beyond, tokens)
    return right, mistakes | _wrong_places(ids, n, pad_id)


def _wrong_rules(
    causal: Tensor, source: Tensor, beyond: Tensor, tokens: Tensor
) -> dict[str, Tensor]:
    """Return the masks of rules that are wrong, by words that name the mistake."""
    right = (causal | source) & tokens
    return {
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
    }


def _wrong_places(ids: Tensor, n: Tensor, pad_id: int) -> dict[str, Tensor]:
    """Return the masks of rows, columns or lengths that are wrong, by words."""
    T = ids.size(1)
    causal, tokens, places = causal_mask(T), padding_mask(ids, pad_id), torch.arange(T)
    source = places < n
    right = (causal | source) & tokens
    larger, smaller = (ids > pad_id)[:, None, None], (ids < pad_id)[:, None, None]
    ordered = "Compare with pad_id by `!=`: it may be smaller or larger than other ids."
    one = "Every row has its own source: n_source[b] belongs to ids[b]."
    return {
        "Rows and columns are exchanged: the row looks, the column is looked at.": (
            right.transpose(-2, -1)
        ),
        "Rows of the source see everything. It is the *column* that must belong to the "
        "source.": (causal | source.mT) & tokens,
        "Columns decide about padding, not rows: padded rows look, too.": (
            (causal | source) & tokens.transpose(-2, -1)
        ),
        "Each source is one token too short: columns 0 .. n_source - 1 belong to it.": (
            (causal | (places < n - 1)) & tokens
        ),
        "A position must see itself, too: j <= i.": (
            (causal.tril(-1) | source) & tokens
        ),
        ordered: (causal | source) & larger,
        f"{ordered} ": (causal | source) & smaller,
        one: (causal | source[:1]) & tokens,
        f"{one} ": (causal | source.any(dim=0)) & tokens,
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
        self.n_read = self.n_decoded = 0

    def decode(self, *args, **kwargs) -> Tensor:
        self.n_decoded += 1
        return super().decode(*args, **kwargs) - 20.0  # changes no probability

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor]:
        self.n_read += 1
        return super().encode(src)

    def begin(self, *_) -> tuple:
        raise Mistake(
            "Write the loop yourself, with `encode` and `decode` only: without "
            "`generate`, and `begin` makes caches."
        )


@exercise
def check_write_again(write_again) -> str:
    """Takes a function of model, src, max_len."""
    state = torch.get_rng_state()
    try:
        for seed in (39, 25, 30, 38, 58):  # rows of different lengths
            for max_len in (10, 3):
                _check_writing(write_again, seed, max_len)
        for size, max_len in (((1, 5), 6), ((6, 2), 1), ((3, 9), 12)):
            _check_writing(write_again, 39, max_len, size)
    finally:
        torch.set_rng_state(state)
    return "The same tokens as with the caches, and the source is read once."


@torch.no_grad()
def _check_writing(
    write_again, seed: int, max_len: int, size: tuple[int, int] = (4, 5)
) -> None:
    model, generator = _Watched(seed).eval(), torch.Generator().manual_seed(seed)
    src = torch.randint(0, 3, size, generator=generator)
    src[1:2, 3:] = model.config.pad_id
    _, right = _written(model, src, max_len)
    model.n_read, model.n_decoded, before = 0, 0, src.clone()
    given = returned(write_again(model, src, max_len))
    n_read, n_decoded = model.n_read, model.n_decoded
    expect(torch.equal(src, before), "You changed `src`; make new tensors.")
    expect(
        isinstance(given, Tensor) and given.dim() == 2 and len(given) == len(src),
        f"Return one tensor (B, L), here with B={len(src)}.",
    )
    if not torch.equal(given, right):
        hint = _writing_hint(given, model, src, max_len)
        raise Mistake(f"The tokens are not right. {hint}")
    expect(
        given.dtype == src.dtype,
        f"The tokens are right, but they are {given.dtype}; ids are {src.dtype}.",
    )
    expect(
        n_read == 1,
        f"The tokens are right, but the encoder ran {n_read} times, and once is "
        "enough: call `encode` before the loop.",
    )
    expect(
        n_decoded == right.size(1),
        f"The tokens are right, but `decode` ran {n_decoded} times for "
        f"{right.size(1)} tokens: stop as soon as `ended.all()`.",
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
    if given.size(1) == 0:
        return "You return no token at all."
    if (given[:, 0] == c.bos_id).all() and torch.equal(given[:, 1:], right):
        return "Return what comes after the start token, not the start token itself."
    same = min(given.size(1), right.size(1))
    if torch.equal(given[:, :same], right[:, :same]):
        return _length_hint(given.size(1), right.size(1), max_len)
    if (given == given[:1]).all() and not (right == right[:1]).all():
        return "All rows get the same tokens: take the argmax of each row, over V."
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
        "Perhaps: give `decode` the whole beginning, from bos_id on, take the "
        "likeliest token of the *last* position; a row that has ended stays ended."
    )


def _length_hint(given: int, right: int, max_len: int) -> str:
    """Return words for too many or too few steps."""
    if given > max_len:
        return f"With max_len={max_len} you write {given} tokens: too many steps."
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
    """Takes a trained Transformer, or a function that returns one."""
    if callable(sorter) and not isinstance(sorter, nn.Module | type):
        sorter = returned(sorter())
    model, words = _twin(sorter), _words(200)
    texts = _written_texts(model, words)
    right = ["".join(sorted(word)) for word in words]
    share = sum(a == b for a, b in zip(texts, right)) / len(words)
    hint = _sorting_hint(words, texts)
    expect(
        share >= 0.95,
        f"{share:.0%} of 200 words are right, for example {words[0]} -> {texts[0]}. "
        f"{hint}",
    )
    padding = _padding_after_the_end(model, words, right)
    expect(
        padding < 0.5,
        f"The words are right, but after <eos> the model predicts <pad> with "
        f"probability {padding:.2f}: your loss counts the padding. Set ignore_index.",
    )
    return f"{share:.0%} of 200 words are sorted without a mistake."


def _twin(sorter: object) -> Transformer:
    """Return a plain Transformer with the weights of the reader's model."""
    kind = type(sorter).__name__
    expect(
        type(sorter) is Transformer,
        f"Give me the trained model itself, a Transformer of the library, not its name "
        f"or its class or another kind of object; yours is a {kind}.",
    )
    c = sorter.config
    sizes = c.src_vocab_size, c.tgt_vocab_size
    expect(sizes == (13, 13), f"This page has 13 tokens; your vocabularies: {sizes}.")
    ids = c.pad_id, c.bos_id, c.eos_id
    expect(ids == (0, 1, 2), f"<pad>, <bos>, <eos> are 0, 1, 2; yours are {ids}.")
    expect(
        c.context_length >= 12,
        f"context_length={c.context_length} is too short for words of eight letters.",
    )
    state, twin = torch.get_rng_state(), Transformer(c)
    torch.set_rng_state(state)
    try:
        twin.load_state_dict(sorter.state_dict())
    except RuntimeError as error:
        said = "Its parts are not those of a Transformer of its configuration"
        raise Mistake(f"{said}: {str(error).splitlines()[-1].strip()}") from None
    return twin.eval()


def _ids(word: str) -> list[int]:
    return [*(3 + LETTERS.index(letter) for letter in word), 2]


def _written_texts(model: Transformer, words: list[str]) -> list[str]:
    """Return what a model writes for each word."""
    src = pad_batch([_ids(word) for word in words])
    return [_text(row) for row in model.generate(src, 12, temperature=0).tolist()]


@torch.no_grad()
def _padding_after_the_end(
    model: Transformer, words: list[str], right: list[str]
) -> float:
    """Return the mean probability of padding once a target has ended."""
    found = []
    for length in range(3, 9):
        pairs = [(w, t) for w, t in zip(words, right) if len(w) == length]
        src = torch.tensor([_ids(word) for word, _ in pairs])
        tgt = torch.tensor([[1, *_ids(text)] for _, text in pairs])
        found.append(model(src, tgt)[:, -1].softmax(dim=-1)[:, 0])  # (pairs,)
    return torch.cat(found).mean().item()


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
