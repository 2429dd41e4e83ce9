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
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2, 9, generator=generator).softmax(dim=-1)
    cases = [(rows, p) for p in (0.1, 0.4, 0.7, 0.9, 0.98, 0.75)]
    cases += [(wide, 0.95), (rows[:1], 0.7), (rows.double(), 0.9)]
    cases += [(torch.tensor([[0.0, 1.0, 0.0]]), 0.99)]
    for probabilities, p in cases:
        before = probabilities.clone()
        given = returned(nucleus_size(probabilities, p))
        same = torch.equal(probabilities, before)
        expect(same, "You changed `probabilities`; make a copy.")
        _expect_sizes(given, probabilities, p)
    return "A sure model needs one token, an unsure one many."


def _expect_sizes(given: object, rows: Tensor, p: float) -> None:
    """Check the sizes of all rows."""
    expect(
        isinstance(given, Tensor) and given.shape == (len(rows),),
        "Return one number for each row, a tensor of shape (B,). For probabilities of "
        f"shape {tuple(rows.shape)} that is ({len(rows)},).",
    )
    right = _sizes(rows, p)
    hint = hint_for_tensor(
        given, _size_mistakes(rows, p), "How many sums are still below p?"
    )
    expect(
        torch.equal(given.double(), right.double()),
        f"For p={p} and the rows {[rounded(row) for row in rows]} top-p keeps "
        f"{right.tolist()} tokens, you return {given.tolist()}. {hint}",
    )
    expect(
        given.dtype == torch.long,
        "A number of tokens is an integer, and torch counts in int64; yours has the "
        f"dtype {given.dtype}.",
    )


def _sizes(rows: Tensor, p: float, descending: bool = True) -> Tensor:
    sums = rows.sort(dim=-1, descending=descending).values.cumsum(dim=-1)
    return (sums < p).sum(dim=-1) + 1


def _size_mistakes(rows: Tensor, p: float) -> dict[str, Tensor]:
    right = _sizes(rows, p)
    first = rows[0].sort(descending=True).values
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
        "You compare each probability with p; compare the running *sum*.": (
            (rows < p).sum(-1) + 1
        ),
        "Every row has its own size; you give the first one's to all.": (
            ((first.cumsum(-1) < p).sum() + 1).expand(len(rows))
        ),
        "You add up over the rows; each row stands for itself: dim=-1.": (
            (rows.sort(dim=-1, descending=True).values.cumsum(0) < p).sum(-1) + 1
        ),
    }


@exercise
def check_keep_min_p(keep_min_p) -> str:
    """Takes a function of logits, min_p."""
    generator = torch.Generator().manual_seed(0)
    cases = [(3, 8, m, torch.float32) for m in (0.05, 0.3, 1.0)]
    cases += [(1, 5, 0.2, torch.float32), (2, 30, 0.1, torch.float64)]
    cases += [(2, 4, 1e-9, torch.float32)]  # nothing falls away
    for n_rows, width, min_p, dtype in cases:
        logits = 2 * torch.randn(n_rows, width, generator=generator).to(dtype)
        logits[0] += 100.0  # rows differ in level, and that must not matter
        logits[0, 1] = -math.inf  # another rule has dropped it already
        before = logits.clone()
        given = returned(keep_min_p(logits, min_p))
        expect(torch.equal(logits, before), "You changed `logits` itself; make a copy.")
        expect(
            isinstance(given, Tensor) and given.shape == logits.shape,
            "Return logits of the shape of the given ones, (B, V).",
        )
        _expect_min_p(given, logits, min_p)
        expect(
            given.dtype == dtype,
            f"The given logits are {dtype}, yours {given.dtype}: keep their dtype.",
        )
        expect(
            given.data_ptr() != logits.data_ptr(),
            "You return the given tensor itself; return a new one.",
        )
    return "min_p=1 leaves the likeliest token alone: greedy."


def _expect_min_p(given: Tensor, logits: Tensor, min_p: float) -> None:
    """Check the logits, and name the first row that is wrong."""
    right, given = _min_p(logits, min_p).double(), given.double()
    good = torch.isclose(given, right).all(dim=-1)  # (B,)
    row = int(good.int().argmin())  # the first that is wrong
    expect(
        bool(good.all()),
        f"With min_p={min_p} row {row} of the logits, {rounded(logits[row])}, must "
        f"become {rounded(right[row])}, yours is {rounded(given[row])}. "
        + _min_p_hint(given, logits, min_p),
    )


def _min_p(logits: Tensor, min_p: float) -> Tensor:
    p = logits.softmax(dim=-1)
    drop = p < min_p * p.max(dim=-1, keepdim=True).values
    return logits.masked_fill(drop, -math.inf)


def _min_p_hint(given: Tensor, logits: Tensor, min_p: float) -> str:
    right = _min_p(logits, min_p).double()
    drop = right.isinf()
    low = given.isfinite() & (given < -100)
    if torch.equal(low | given.isinf(), drop) and torch.allclose(
        given[~drop], right[~drop]
    ):
        return "The right ones fall away, but not quite: use minus infinity."
    mistakes = _min_p_mistakes(logits, min_p)
    return hint_for_tensor(given, mistakes, "Compare with the row's largest.")


def _min_p_mistakes(logits: Tensor, min_p: float) -> dict[str, Tensor]:
    p, right = logits.softmax(dim=-1), _min_p(logits, min_p)
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
        "Your softmax runs over the rows; it must run over the vocabulary, dim=-1.": (
            _min_p(logits.T, min_p).T
        ),
    } | _min_p_results(logits, right)


def _min_p_results(logits: Tensor, right: Tensor) -> dict[str, Tensor]:
    """The right tokens, returned in a wrong form."""
    p, drop = logits.softmax(dim=-1), right.isinf()
    return {
        "You return probabilities; return logits.": p.masked_fill(drop, 0.0),
        "You return probabilities; return logits, unchanged where kept.": (
            right.softmax(dim=-1)
        ),
        "You return logarithms of probabilities; return the logits unchanged.": (
            right.log_softmax(dim=-1)
        ),
        "What falls away must be minus infinity; a logit of 0 can still be drawn.": (
            logits.masked_fill(drop, 0.0)
        ),
        "You keep what should fall away.": logits.masked_fill(~drop, -math.inf),
        "The result is the given logits: does `masked_fill` return a new tensor that "
        "you throw away?": logits,
    }


@exercise
def check_texts_that_fit(texts_that_fit) -> str:
    """Takes a function of config, n_bytes, bytes_per_number."""
    sizes = {"d_model": 48, "n_heads": 6, "n_layers": 5, "context_length": 100}
    other = {"d_model": 64, "n_heads": 4, "n_layers": 3, "context_length": 50}
    cases = [(sizes, None, 4), (sizes, 2, 4), (sizes, 1, 2), (other, 2, 1)]
    for changes, n_kv_heads, width in cases:
        config = preset_config("demo", n_kv_heads=n_kv_heads, **changes)
        one = _bytes_of_one(config, width)
        for n_bytes in (7 * one + one // 2, 3 * one, one - 1, 10**17 * one - 1):
            answer = texts_that_fit(config, n_bytes, width)
            given, right = number(answer), n_bytes // one
            hint = hint_for(given, _fit_mistakes(config, n_bytes, width), "Count one.")
            said = ", ".join(f"{name}={value}" for name, value in changes.items())
            expect(
                given == right or (right > 2**53 and math.isclose(given, right)),
                f"With {n_bytes:,} bytes, n_kv_heads={n_kv_heads}, {said} and "
                f"{width} bytes per number, {right} texts fit; you return {given:g}. "
                f"{hint}",
            )
            expect(
                type(answer) is int,
                "A number of texts is an `int`; yours has the type "
                f"{type(answer).__name__}. `//` divides and rounds down.",
            )
            expect(
                answer == right,
                f"With {n_bytes:,} bytes {right:,} texts fit, you return {answer:,}. "
                "A float rounds large numbers: `//` between ints does not.",
            )
    return "One text is 2 * layers * heads * numbers * positions * bytes."


def _bytes_of_one(config: GPTConfig, width: int) -> int:
    """Return the bytes of the full cache of one text."""
    kv = config.n_kv_heads or config.n_heads
    numbers = kv * (config.d_model // config.n_heads)
    return 2 * config.n_layers * numbers * config.context_length * width


def _fit_mistakes(config: GPTConfig, n_bytes: int, width: int) -> dict[float, str]:
    """Return what known mistakes give, later ones first where they agree."""
    c, one = config, _bytes_of_one(config, width)
    kv, numbers = c.n_kv_heads or c.n_heads, one // width
    whole = "Only whole texts count: round down."
    shared = "There are n_kv_heads heads, not n_heads, of d_model // n_heads numbers."
    heads = "A head has d_model // n_heads numbers, not d_model."
    return {
        n_bytes // (numbers * 4): "Use the bytes_per_number that is passed in.",
        n_bytes // numbers: "Multiply by the bytes of one number.",
        n_bytes // (one * c.n_heads // kv): shared,
        n_bytes // (one * c.n_heads): heads,
        n_bytes // (one // c.context_length): "Each text has a key at every position.",
        n_bytes // (one // c.n_layers): "Every layer has a cache of its own.",
        n_bytes // (one // 2): "Keys *and* values are kept: twice as much.",
        n_bytes * 8 // one: "n_bytes are bytes already, not bits.",
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
            n_rows, length = ((4, 5), (1, 3), (3, 1))[seed % 3]
            _check_writing(write_until, _Watched(seed).eval(), seed, n_rows, length)
    finally:
        torch.set_rng_state(state)
    return "Each row ends where it should, and no token is read twice."


@torch.no_grad()
def _check_writing(
    write_until, model: _Watched, seed: int, n_rows: int, length: int
) -> None:
    """Check one model and prompt, with several stops and limits."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(7, (n_rows, length), generator=generator)
    for stop_id, n_new in ((3, 12), (int(ids[0, length // 2]), 12), (0, 1), (0, 12)):
        free, right = _written(model, ids, n_new, stop_id)
        model.n_read, before = 0, ids.clone()
        given = returned(write_until(model, ids, n_new, stop_id))
        expect(torch.equal(ids, before), "You changed `ids` itself; make a copy.")
        n_steps = right.size(1) - length
        expect(
            isinstance(given, Tensor) and given.dim() == 2 and len(given) == n_rows,
            "Return one tensor (B, T + n).",
        )
        expect(
            given.dtype == torch.long,
            f"Ids are int64, as the prompts are; yours have the dtype {given.dtype}.",
        )
        hint = _writing_hint(given, ids, free, right, stop_id)
        expect(torch.equal(given, right), f"The tokens are not right. {hint}")
        expect(
            model.n_read <= length + n_steps,
            f"The texts are right, but the model was given {model.n_read} tokens per "
            f"row, and {length + n_steps - 1} are enough: the prompt once, then each "
            "new token once. Use the cache, and stop as soon as all rows are done.",
        )


@torch.no_grad()
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
                f"{length - T}: stop when `done.all()`, and never beyond n_new."
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
        "new tokens only, fill finished rows with stop_id, and feed the cache each "
        "token once."
    )
