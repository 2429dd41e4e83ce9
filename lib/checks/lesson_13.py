"""The checks of the exercises in lesson 13, generation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lib.checks import (
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    number,
    returned,
    rounded,
)
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import preset_config

__all__ = [
    "check_nucleus_size",
    "check_keep_min_p",
    "check_texts_that_fit",
    "check_write_until",
]


@exercise
def check_nucleus_size(nucleus_size) -> str:
    """Takes a function of probabilities, p."""
    unsure, sure = [0.05, 0.5, 0.15, 0.3], [0.01, 0.02, 0.95, 0.02]
    rows = torch.tensor([unsure, sure, [0.25] * 4])  # sums equal to p only in the last
    for p in (0.1, 0.4, 0.7, 0.9, 0.98, 0.75):
        before = rows.clone()
        given = returned(nucleus_size(rows, p))
        expect(torch.equal(rows, before), "You changed `probabilities`; make a copy.")
        expect(
            isinstance(given, Tensor) and given.shape == (3,),
            "Return one number for each row, a tensor of shape (B,).",
        )
        right = _sizes(rows, p)
        expect(
            torch.equal(given.long(), right),
            f"For p={p} and the rows {[rounded(row) for row in rows]} top-p keeps "
            f"{right.tolist()} tokens, you return {given.tolist()}. "
            + hint_for_tensor(
                given, _size_mistakes(rows, p), "How many sums are still below p?"
            ),
        )
        expect(
            not given.is_floating_point(),
            "A number of tokens is an integer; yours are floats.",
        )
    return "A sure model needs one token, an unsure one many."


def _sizes(rows: Tensor, p: float, descending: bool = True) -> Tensor:
    sums = rows.sort(dim=-1, descending=descending).values.cumsum(dim=-1)
    return (sums < p).sum(dim=-1) + 1


def _size_mistakes(rows: Tensor, p: float) -> dict[str, Tensor]:
    right = _sizes(rows, p)
    return {
        "The token that reaches p belongs to the set as well: one more.": right - 1,
        "A sum equal to p is enough: count the sums that are *below* p.": (
            (rows.sort(dim=-1, descending=True).values.cumsum(-1) <= p).sum(-1) + 1
        ),
        "Sort each row first, largest first.": (rows.cumsum(-1) < p).sum(-1) + 1,
        "You sorted the smallest first.": _sizes(rows, p, descending=False),
        "That is the number of tokens that fall away.": rows.size(-1) - right,
        "You compare each probability with p; compare their running sum.": (
            (rows >= p).sum(-1)
        ),
    }


@exercise
def check_keep_min_p(keep_min_p) -> str:
    """Takes a function of logits, min_p."""
    generator = torch.Generator().manual_seed(0)
    for min_p in (0.05, 0.3, 1.0):
        logits = 2 * torch.randn(3, 8, generator=generator)
        logits[0] += 5.0  # rows differ in level, and that must not matter
        before = logits.clone()
        given = returned(keep_min_p(logits, min_p))
        expect(torch.equal(logits, before), "You changed `logits` itself; make a copy.")
        expect(
            isinstance(given, Tensor) and given.shape == logits.shape,
            "Return logits of the shape of the given ones, (B, V).",
        )
        right = _min_p(logits, min_p)
        given = given.float()
        good = torch.isclose(given, right).all(dim=-1)  # (3,)
        row = int(good.int().argmin())  # the first that is wrong
        expect(
            bool(good.all()),
            f"With min_p={min_p} row {row} of the logits, {rounded(logits[row])}, must "
            f"become {rounded(right[row])}, yours is {rounded(given[row])}. "
            + _min_p_hint(given, logits, min_p),
        )
    return "min_p=1 leaves the likeliest token alone: greedy."


def _min_p(logits: Tensor, min_p: float) -> Tensor:
    p = logits.softmax(dim=-1)
    drop = p < min_p * p.max(dim=-1, keepdim=True).values
    return logits.masked_fill(drop, -math.inf)


def _min_p_hint(given: Tensor, logits: Tensor, min_p: float) -> str:
    right = _min_p(logits, min_p)
    drop = right.isinf()
    low = given.isfinite() & (given < -100)
    if torch.equal(low, drop) and torch.allclose(given[~drop], right[~drop]):
        return "The right ones fall away, but not quite: use minus infinity."
    mistakes = _min_p_mistakes(logits, min_p)
    return hint_for_tensor(given, mistakes, "Compare with the row's largest.")


def _min_p_mistakes(logits: Tensor, min_p: float) -> dict[str, Tensor]:
    p, right = logits.softmax(dim=-1), _min_p(logits, min_p)
    drop = right.isinf()
    largest = p.max(dim=-1, keepdim=True).values
    return {
        "The likeliest token fell away: at least min_p times means >=.": (
            logits.masked_fill(p <= min_p * largest, -math.inf)
        ),
        "You compare logits with logits; min_p is a share of a *probability*.": (
            logits.masked_fill(
                logits < min_p * logits.max(dim=-1, keepdim=True).values, -math.inf
            )
        ),
        "The bar is the same for all rows; each row has its own largest "
        "probability.": logits.masked_fill(p < min_p * p.max(), -math.inf),
        "The bar is min_p itself; it must be min_p times the largest probability of "
        "the row.": logits.masked_fill(p < min_p, -math.inf),
        "You return probabilities; return logits.": p.masked_fill(drop, 0.0),
        "You return probabilities; return logits, unchanged where kept.": (
            right.softmax(dim=-1)
        ),
        "What falls away must be minus infinity; a logit of 0 can still be drawn.": (
            logits.masked_fill(drop, 0.0)
        ),
        "You keep what should fall away.": logits.masked_fill(~drop, -math.inf),
    }


@exercise
def check_texts_that_fit(texts_that_fit) -> str:
    """Takes a function of config, n_bytes, bytes_per_number."""
    sizes = {"d_model": 48, "n_heads": 6, "n_layers": 5, "context_length": 100}
    for n_kv_heads, width in ((None, 4), (2, 4), (1, 2)):
        config = preset_config("demo", n_kv_heads=n_kv_heads, **sizes)
        kv = n_kv_heads or config.n_heads
        one = 2 * 5 * kv * 8 * 100 * width
        for n_bytes in (7 * one + one // 2, 3 * one, one - 1):
            given = number(texts_that_fit(config, n_bytes, width))
            right = n_bytes // one
            hint = hint_for(
                given, _fit_mistakes(config, kv, n_bytes, width), "Count one text."
            )
            expect(
                given == right,
                f"With {n_bytes:,} bytes, n_kv_heads={n_kv_heads}, d_model=48, "
                "n_heads=6, n_layers=5, context_length=100 and "
                f"{width} bytes per number, {right} texts fit; you return {given:g}. "
                f"{hint}",
            )
    return "One text is 2 * layers * heads * numbers * positions * bytes."


def _fit_mistakes(
    config: GPTConfig, kv: int, n_bytes: int, width: int
) -> dict[float, str]:
    """Return what known mistakes give, later ones first where they agree."""
    numbers = 2 * 5 * kv * 8 * 100  # one text
    one = numbers * width
    whole = "Only whole texts count: round down."
    shared = "There are n_kv_heads heads, not n_heads, of d_model // n_heads numbers."
    heads = "A head has d_model // n_heads numbers, not d_model."
    return {
        n_bytes // (numbers * 4): "Use the bytes_per_number that is passed in.",
        n_bytes // numbers: "Multiply by the bytes of one number.",
        n_bytes // (one * config.n_heads // kv): shared,
        n_bytes // (2 * 5 * kv * 48 * 100 * width): heads,
        n_bytes // (one // 100): "Each text has a key at every position.",
        n_bytes // (one // 5): "Every layer has a cache of its own.",
        n_bytes // (one // 2): "Keys *and* values are kept: twice as much.",
        -(-n_bytes // one): whole,
        n_bytes / one: whole,
    }


class _Watched(nn.Module):
    """A GPT that counts the tokens that it is given."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        sizes = {"vocab_size": 7, "d_model": 16, "n_heads": 2, "context_length": 40}
        self.gpt, self.n_read = GPT(preset_config("demo", **sizes)), 0
        for parameter in self.gpt.parameters():  # far from each other: no close calls
            nn.init.normal_(parameter, std=0.6)
        self.context_length, self.config = 40, self.gpt.config

    def forward(self, ids: Tensor, cache: list | None = None) -> Tensor:
        self.n_read += ids.size(1)
        return self.gpt(ids, cache)

    def new_cache(self) -> list:
        return self.gpt.new_cache()


@exercise
def check_write_until(write_until) -> str:
    """Takes a function of model, ids, n_new, stop_id."""
    state = torch.get_rng_state()
    try:
        for seed in range(8):
            _check_writing(write_until, _Watched(seed).eval(), seed)
    finally:
        torch.set_rng_state(state)
    return "Each row ends where it should, and no token is read twice."


@torch.no_grad()
def _check_writing(write_until, model: _Watched, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids, n_new = torch.randint(7, (4, 5), generator=generator), 12
    for stop_id in (3, int(ids[0, 2])):
        free, right = _written(model, ids, n_new, stop_id)
        model.n_read = 0
        given = returned(write_until(model, ids.clone(), n_new, stop_id))
        n_steps = right.size(1) - 5
        expect(
            isinstance(given, Tensor) and given.dim() == 2 and len(given) == 4,
            "Return one tensor (B, T + n).",
        )
        hint = _writing_hint(given, ids, free, right, stop_id)
        expect(torch.equal(given, right), f"The tokens are not right. {hint}")
        expect(
            model.n_read <= 5 + n_steps,
            f"The texts are right, but the model was given {model.n_read} tokens per "
            f"row, and {5 + n_steps - 1} are enough: the prompt once, then each new "
            "token once. Use the cache.",
        )


def _written(
    model: _Watched, ids: Tensor, n_new: int, stop_id: int
) -> tuple[Tensor, Tensor]:
    """Return what greedy choice writes without an end, and with it."""
    free = ids
    for _ in range(n_new):
        free = torch.cat([free, model(free)[:, -1].argmax(-1, keepdim=True)], dim=1)
    new = free[:, ids.size(1) :]
    ended = (new == stop_id).cumsum(dim=1) > 0
    stopped = torch.where(ended, stop_id, new)
    n_steps = int((~ended).sum(dim=1).max()) + 1  # the longest row and its stop
    return free, torch.cat([ids, stopped[:, : min(n_steps, n_new)]], dim=1)


def _writing_hint(
    given: Tensor, ids: Tensor, free: Tensor, right: Tensor, stop_id: int
) -> str:
    """Return words for the likely mistake."""
    length, T = given.size(1), ids.size(1)
    if length < T or not torch.equal(given[:, :T], ids):
        return "The prompts come first, unchanged: return prompts and new tokens."
    ended = (free[:, T:] == stop_id).cumsum(dim=1) > 0
    firsts = ended.int().argmax(dim=1)[ended.any(dim=1)]
    same = min(length, right.size(1))
    if torch.equal(given[:, :same], right[:, :same]):
        if length > right.size(1):
            return (
                f"All rows are done after {right.size(1) - T} steps, yours go on to "
                f"{length - T}: stop when `done.all()`."
            )
        if len(firsts) and length - T == int(firsts.min()) + 1:
            return "You stop when the first row is done; wait for all of them."
        return (
            f"It ends after {length - T} steps; {right.size(1) - T} are needed. Does a "
            "stop in the prompt count for you? Is the stop itself in the text?"
        )
    if torch.equal(given[:, :same], free[:, :same]):
        return "A row that has chosen stop_id goes on with other tokens."
    return (
        "Take the likeliest token of the *last* position, look for stop_id among the "
        "new tokens only, and feed the cache each token once."
    )
