"""The checks of the exercises in lesson 23, in-context learning."""

from __future__ import annotations

import itertools
import random

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.attention import causal_mask
from lib.checks import Mistake, exercise, expect, hint_for_tensor, rounded, tensor
from lib.evaluate.induction import without_head
from lib.models.gpt import GPT, GPTConfig
from lib.tasks.repeats import draw_repeats

__all__ = ["check_longest_tail", "check_looks_back", "check_damage", "check_followers"]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=_generator(seed))


# Exercise 1


@exercise
def check_longest_tail(longest_tail) -> str:
    """Takes a function of a text and the longest tail that counts."""
    texts = ["mrpkmr", "abcabdab", "abxcbxab", "xabcyabdab", "aaaa", "abcd", "a", ""]
    draw = random.Random(3)
    texts += ["".join(draw.choices("abc"[:n], k=14)) for n in (2, 2, 3, 3) * 3]
    for text, most in itertools.product(texts, (1, 2, 3, 4)):
        given, right = longest_tail(text, most), _longest(text, most)
        expect(
            given == right and type(given) is type(right),
            f"longest_tail({text!r}, most={most}) is {right!r}; yours: {given!r}. "
            + _match_hint(text, most, given),
        )
    for text in texts:
        given = longest_tail(text)
        expect(
            given == _longest(text, 3),
            f"Without a second argument `most` is 3: for {text!r} that gives "
            f"{_longest(text, 3)!r}; yours: {given!r}.",
        )
    return "The longest tail that stood before, and what followed it."


def _look_up(text: str, n: int, latest: bool = False) -> str | None:
    """Return what followed the last n letters at an earlier place."""
    ends = [e for e in range(n, len(text)) if text[e - n : e] == text[-n:]]
    return text[ends[-1 if latest else 0]] if ends else None


def _longest(text: str, most: int, latest: bool = False) -> str | None:
    found = (_look_up(text, n, latest) for n in range(most, 0, -1))
    return next((letter for letter in found if letter is not None), None)


def _match_hint(text: str, most: int, given: object) -> str:
    """Return words for a known mistake."""
    if given == "" or (given is not None and not isinstance(given, str)):
        return "Return one letter, or None where not even the last letter stood before."
    hints = [
        (_look_up(text, 1), "Begin with the longest tail, not with one letter."),
        (_longest(text, most, latest=True), "Take the earliest place, not the latest."),
        (_longest(text, most + 1), "A tail has `most` letters at most."),
        (_look_up(text, most), "Where the longest is not found, try a shorter one."),
        (_longest(text, most - 1), "The first tail to try has `most` letters."),
        (text[-1:], "That is the last letter itself; what followed it is wanted."),
    ]
    otherwise = "Try `look_up(text, n)` with n from `most` down to 1."
    return next((words for letter, words in hints if letter == given), otherwise)


# Exercise 2


@exercise
def check_looks_back(looks_back) -> str:
    """Takes a function of attention weights and a number of distances."""
    for n_rows, n_heads, length, n_back in ((2, 3, 7, 4), (1, 1, 5, 5), (4, 2, 9, 1)):
        scores = _noise(n_rows, n_heads, length, length, seed=length)
        hidden = ~causal_mask(length)
        weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
        before = weights.clone()
        given = tensor(looks_back(weights, n_back), (n_heads, n_back))
        expect(
            torch.equal(weights, before),
            "Your function changed `weights` itself: leave it as it is.",
        )
        right = _by_distance(weights, n_back)
        if not torch.allclose(given.double(), right.double(), atol=1e-5):
            far = ~torch.isclose(given.double(), right.double(), atol=1e-5)
            head, back = far.nonzero()[0].tolist()
            raise Mistake(
                f"Head {head}, {back} back: {given[head, back]:.3f}, not "
                f"{right[head, back]:.3f}. "
                + hint_for_tensor(given, _distance_mistakes(weights, n_back), OTHERWISE)
            )
    return "So much for each distance."


OTHERWISE = "Take the mean of `weights.diagonal(-d, dim1=-2, dim2=-1)` for each d."


def _by_distance(weights: Tensor, n_back: int, first: int = 0) -> Tensor:
    diagonals = [weights.diagonal(-first - d, -2, -1) for d in range(n_back)]
    return torch.stack([each.mean(dim=(0, 2)) for each in diagonals], dim=1)


def _distance_mistakes(weights: Tensor, n_back: int) -> dict[str, Tensor]:
    right, (n_rows, _, length, _) = _by_distance(weights, n_back), weights.shape
    counts = length - torch.arange(n_back)
    wrong = {
        "Divide by the positions that have one so far back, T - d of them.": right
        * counts
        / length,
        "That is the sum over the positions; a mean is wanted.": right * counts,
        "That is the sum over rows and positions; a mean is wanted.": right
        * counts
        * n_rows,
        "That is the sum over the rows; a mean is wanted.": right * n_rows,
        "Only the first row was used: take the mean over all rows.": _by_distance(
            weights[:1], n_back
        ),
        "Above the diagonal is the future; below it lies what was before.": (
            _by_distance(weights.transpose(-1, -2), n_back)
        ),
        "These are the last positions only; take the mean over all.": torch.stack(
            [weights[:, :, -1, -1 - d].mean(dim=0) for d in range(n_back)], dim=1
        ),
    }
    if n_back < length:
        words = "Column 0 is the position itself, column 1 the one before."
        wrong[words] = _by_distance(weights, n_back, first=1)
    return wrong


# Exercise 3


@exercise
def check_damage(damage) -> str:
    """Takes a function of a model and a measure."""
    for changes in (
        dict(n_layers=2, n_heads=2),
        dict(n_layers=3, n_heads=4, n_kv_heads=2),
        dict(n_layers=1, n_heads=3, d_head=5, ffn="none"),
    ):
        torch.manual_seed(0)
        model = GPT(GPTConfig(vocab_size=11, d_model=12, d_ff=16, **changes)).eval()
        for seed, p in enumerate(model.parameters()):
            p.data.add_(0.5 * _noise(*p.shape, seed=seed))
        before = {name: p.clone() for name, p in model.state_dict().items()}
        kept = [(p, p.requires_grad) for p in model.parameters()]
        shape, right = (changes["n_layers"], changes["n_heads"]), _damage(model)
        given = tensor(damage(model, _measure), shape)
        for name, p in model.state_dict().items():
            expect(
                torch.equal(p, before[name]),
                f"Your function left the model changed, in {name}: each head has to "
                "come back.",
            )
        now = [(p, p.requires_grad) for p in model.parameters()]
        expect(
            not model.training
            and all(a is b and on == off for (a, on), (b, off) in zip(kept, now)),
            "The numbers are back, but the model is another: leave its mode, its "
            "parameters and their `requires_grad` as they were.",
        )
        _expect_damage(given, right, model)
    return "How much each head carries."


def _measure(model: GPT) -> float:
    """Return a number that every head changes."""
    ids = torch.randint(11, (4, 9), generator=_generator(1))
    with torch.no_grad():
        return model(ids).sin().mean().item() + 3


def _damage(model: GPT) -> Tensor:
    whole, blocks = _measure(model), model.blocks
    attention = blocks[0].attention
    n_heads = attention.out_proj.in_features // attention.d_head
    right = torch.zeros(len(blocks), n_heads)
    for layer, head in itertools.product(range(len(blocks)), range(n_heads)):
        with without_head(model, layer, head):
            right[layer, head] = whole - _measure(model)
    return right


def _expect_damage(given: Tensor, right: Tensor, model: GPT) -> None:
    if torch.allclose(given.double(), right.double(), atol=1e-5):
        return
    whole = _measure(model)
    hints = {
        "That is what is left; return by how much it falls.": whole - right,
        "The sign is wrong: a measure that falls did damage, above 0.": -right,
        "That is the share of the fall; return the fall itself.": right / whole,
        "These are falls from 0: measure the whole model first.": right - whole,
        "No head was left out while you measured: measure inside of `with`.": (
            torch.zeros_like(right)
        ),
        "Each head comes back before the next one goes: they add up in yours.": (
            _adding_up(model, *right.shape)
        ),
    }
    otherwise = "Whole minus `measure(model)` inside of `with without_head(...)`."
    raise Mistake(
        f"The falls are {rounded(right)[:4]} ..., yours {rounded(given)[:4]} ... "
        + hint_for_tensor(given, hints, otherwise)
    )


def _adding_up(model: GPT, n_layers: int, n_heads: int) -> Tensor:
    """Return the damage where heads that were left out stay away."""
    whole, found = _measure(model), torch.zeros(n_layers, n_heads)
    kept = {name: p.clone() for name, p in model.state_dict().items()}
    for layer, block in enumerate(model.blocks):
        size = block.attention.d_head
        for head in range(n_heads):
            weight = block.attention.out_proj.weight.data
            weight[:, head * size : (head + 1) * size] = 0
            found[layer, head] = whole - _measure(model)
    model.load_state_dict(kept)
    return found


# Exercise 4


@exercise
def check_followers(followers) -> str:
    """Takes a function of ids and a vocabulary size."""
    for n_rows, length, vocab_size, periods in (
        (3, 12, 5, (3, 6)),
        (1, 9, 20, (4, 4)),
        (2, 15, 4, (14, 15)),
        (4, 1, 3, (1, 1)),
        (5, 30, 7, (2, 11)),
    ):
        ids, _ = draw_repeats(n_rows, length, vocab_size, periods, _generator(length))
        before = ids.clone()
        given = tensor(followers(ids, vocab_size), (n_rows, length, vocab_size))
        expect(
            torch.equal(ids, before),
            "Your function changed `ids` itself: leave it as it is.",
        )
        expect(
            given.is_floating_point(),
            f"Shares are decimal numbers; yours have the type {given.dtype}.",
        )
        expect(
            bool(given.isfinite().all()),
            "There are NaN or inf in it: a position without an earlier one gets zeros.",
        )
        right = _followers(ids, vocab_size)
        if not torch.allclose(given.double(), right.double(), atol=1e-4):
            _raise_followers(given, right, ids)
    return "An induction head, and nothing was trained."


def _raise_followers(given: Tensor, right: Tensor, ids: Tensor) -> None:
    far = ~torch.isclose(given.double(), right.double(), atol=1e-4).all(dim=-1)
    row, place = far.nonzero()[0].tolist()
    hints = _follower_mistakes(ids, right.size(-1))
    raise Mistake(
        f"After {ids[row, : place + 1].tolist()} the shares are "
        f"{rounded(right[row, place])}; yours {rounded(given[row, place])}. "
        + hint_for_tensor(
            given, hints, "Compare each letter with the letters before each place."
        )
    )


def _followers(ids: Tensor, vocab_size: int, **changes: object) -> Tensor:
    """Return the shares, counted with tables, or what a known mistake makes of them."""
    n_rows, length = ids.shape
    before = torch.cat([ids.new_full((n_rows, 1), -1), ids[:, :-1]], dim=1)
    before = changes.get("before", before)
    found = (ids[:, :, None] == before[:, None]) & causal_mask(length)  # (B, T, T)
    found = changes.get("found", lambda table: table)(found)
    shares = found / found.sum(dim=-1, keepdim=True).clamp(min=1)
    if changes.get("counts"):
        shares = found.float()
    return shares @ F.one_hot(ids, vocab_size).float()


def _follower_mistakes(ids: Tensor, vocab_size: int) -> dict[str, Tensor]:
    """Return what known mistakes make of the shares."""
    changes = {
        "You found the places of the same letter; what followed them is wanted.": {
            "before": ids
        },
        "What followed may be the position itself, as in `aa`: the mask keeps the "
        "diagonal.": {"found": lambda table: table.tril(-1)},
        "All earlier places count alike, not only the latest.": {"found": _latest},
        "All earlier places count alike, not only the first.": {
            "found": lambda table: table & (table.cumsum(-1) == 1)
        },
        "These are counts; shares of a position add up to 1.": {"counts": True},
        "Position 0 has no letter before it: `roll` brings the last one there.": {
            "before": ids.roll(1, 1)
        },
        "You looked at the letter after, not at the one before.": {
            "before": ids.roll(-1, 1)
        },
        "Position 0 has no letter before it; 0 is a letter of its own.": {
            "before": F.pad(ids[:, :-1], (1, 0))
        },
    }
    found = {w: _followers(ids, vocab_size, **own) for w, own in changes.items()}
    return found | {
        "A position must not see the future: a causal mask is missing.": _future(
            ids, vocab_size
        ),
        "A position whose letter has not stood before gets zeros.": _never_none(
            ids, vocab_size
        ),
    }


def _never_none(ids: Tensor, vocab_size: int) -> Tensor:
    """Return the shares, and equal ones where there are none."""
    right = _followers(ids, vocab_size)
    return torch.where(right.sum(-1, keepdim=True) == 0, 1 / vocab_size, right)


def _latest(table: Tensor) -> Tensor:
    """Keep the last place of each row of a table."""
    return table & (table.flip(-1).cumsum(-1).flip(-1) == 1)


def _future(ids: Tensor, vocab_size: int) -> Tensor:
    """Return the shares without a causal mask."""
    table = (ids[:, :, None] == ids.roll(1, 1)[:, None]).float()
    table[:, :, 0] = 0
    table = table / table.sum(dim=-1, keepdim=True).clamp(min=1)
    return table @ F.one_hot(ids, vocab_size).float()
