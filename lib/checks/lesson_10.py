"""The checks of the exercises in lesson 10, GPT."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable
from dataclasses import replace
from unittest import mock

import torch
from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.checks import Mistake, exercise, expect, hint_for_tensor, number, returned
from lib.models import count_parameters
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import PRESETS, preset_config

__all__ = [
    "check_count_by_formula",
    "check_shared_names",
    "check_split_c_attn",
    "check_widest",
]

TINY = preset_config(
    "demo",
    vocab_size=11,
    d_model=12,
    n_heads=3,
    n_layers=2,
    d_ff=40,
    context_length=7,
    head_bias=False,
)
ON = {"attention_bias": True, "final_norm": True, "head_bias": True}


@exercise
def check_count_by_formula(count_by_formula) -> str:
    """Takes a function of a configuration."""
    cases = [TINY, *(replace(TINY, **{name: True}) for name in ON)]
    cases += [replace(TINY, tie_weights=True), replace(TINY, n_layers=5, n_heads=1)]
    cases += [PRESETS["demo"], replace(TINY, **ON), PRESETS["toy"], PRESETS["gpt2"]]
    for config in cases:
        with torch.device("meta"):
            right = count_parameters(GPT(config))
        with mock.patch.object(nn.Module, "__init__", _no_model):
            given = _integer(count_by_formula(config))
        expect(
            given == right,
            f"{config} has {right:,} parameters; yours: {given:,}. "
            + _count_hint(given - right, config),
        )
    return "Every configuration comes out, up to GPT-2."


def _no_model(*args, **kwargs) -> None:
    raise Mistake("Build no model: the numbers of the configuration are enough.")


def _integer(answer: object) -> int:
    """Return the reader's integer, of whatever kind; `Mistake` for a fraction."""
    try:
        return operator.index(returned(answer))
    except TypeError:
        kind = type(answer).__name__
    raise Mistake(f"Return an integer; yours is a {kind}: {answer!r}.")


def _count_hint(excess: int, c: GPTConfig) -> str:
    """Say what was left out or counted too much, if the difference tells."""
    V, D, F, L, T = c.vocab_size, c.d_model, c.d_ff, c.n_layers, c.context_length
    parts = {
        "the positions": T * D,
        "the biases of the attention (attention_bias)": c.attention_bias * 4 * L * D,
        "the last norm (final_norm), gain and bias": 2 * D,
        "half of the last norm: a norm has a gain and a bias": D,
        "the bias of the head (head_bias)": V,
        "one table of V x D; a tied head (tie_weights) has none of its own": V * D,
        "half of each block's norms: each has a gain and a bias": 2 * L * D,
        "the norms of the blocks": 4 * L * D,
        "the biases of the feed-forward networks": L * (F + D),
        "one of the two biases of the feed-forward networks": L * F,
        "all blocks but one": (L - 1) * (4 * D * D + 2 * D * F + F + 5 * D),
        "one of the four matrices of the attention": L * D * D,
        "a part of the feed-forward networks; d_ff need not be 4 x d_model": (
            L * (4 * D - F) * (2 * D + 1)
        ),
    }
    if c.attention_bias is False and excess == 4 * L * D:
        return "Too much: the biases of the attention; attention_bias is False here."
    for part, size in parts.items():
        if size and abs(excess) == abs(size):
            return f"{'Too much' if excess > 0 else 'Missing'}: {part}."
    return "Build the sum row by row, and print each row."


@exercise
def check_shared_names(shared_names) -> str:
    """Takes a function of a module."""
    cases = {
        "a tied GPT": GPT(replace(TINY, tie_weights=True)),
        "a GPT with a head of its own": GPT(TINY),
        "a GPT whose head is a copy, equal but not the same": _copied(),
        "a GPT whose head is another parameter in the same memory": _same_memory(),
        "a stack in which one layer stands three times": _thrice(),
        "a model in which two pairs are shared": _two_pairs(),
    }
    for what, model in cases.items():
        before = [p.detach().clone() for p in model.parameters()]
        given = _as_groups(returned(shared_names(model)))
        after = [*model.parameters()]
        expect(
            len(before) == len(after) and all(map(torch.equal, before, after)),
            "Your function changed the model; it should only look.",
        )
        right = _groups(model)
        expect(
            given == right,
            f"For {what}, the answer is {sorted(map(list, right))}; yours: "
            f"{sorted(map(list, given))}. " + _shared_hint(given, right, model),
        )
    return "It tells the same from the equal."


def _copied() -> GPT:
    model = GPT(TINY)
    model.head.weight = nn.Parameter(model.tokens.weight.detach().clone())
    return model


def _same_memory() -> GPT:
    model = GPT(TINY)
    model.head.weight = nn.Parameter(model.tokens.weight.data)
    return model


def _thrice() -> nn.Module:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(3, 3), layer)


def _two_pairs() -> nn.Module:
    model = GPT(replace(TINY, tie_weights=True))
    model.blocks[1].ffn.up.weight = model.blocks[0].ffn.up.weight
    return model


def _groups(model: nn.Module) -> set[tuple[str, ...]]:
    """Return the names of each parameter that has more than one, sorted."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {tuple(sorted(group)) for group in names.values() if len(group) > 1}


def _as_groups(given: object) -> set[tuple[str, ...]]:
    """Check the form of an answer, and return it as a set."""
    expect(
        isinstance(given, Iterable) and not isinstance(given, str | dict),
        "Return a list, with one list of names for each shared parameter.",
    )
    groups = [*given]
    for group in groups:
        expect(
            isinstance(group, list | tuple) and all(type(n) is str for n in group),
            f"Each entry must be a list of names; one of yours is {group!r}.",
        )
        expect(
            list(group) == sorted(group),
            f"The names of an entry must be in alphabetical order: {group!r}.",
        )
    expect(
        len({tuple(group) for group in groups}) == len(groups),
        "The same entry stands in your list more than once.",
    )
    return {tuple(group) for group in groups}


def _shared_hint(given: set, right: set, model: nn.Module) -> str:
    """Say what a wrong list of shared names looks like."""
    if not given:
        return (
            "named_parameters() leaves out the second name of a parameter; "
            "remove_duplicate=False keeps it."
        )
    if any(len(group) == 1 for group in given):
        return "A parameter with one name is not shared: leave it out."
    parameters = dict(model.named_parameters(remove_duplicate=False))
    different = [g for g in given if len({id(parameters.get(n)) for n in g}) > 1]
    if different:
        return (
            f"{different[0]} are not the same object: equal numbers, equal shapes or "
            "the same memory are not enough. Compare with `is`, or by id()."
        )
    joined = {n for g in given for n in g} == {n for g in right for n in g}
    if joined:
        return "One entry per parameter, with all of its names."
    return "Some shared parameter is missing."


@exercise
def check_split_c_attn(split_c_attn) -> str:
    """Takes a function of weight, bias."""
    for d_model, seed in ((6, 0), (4, 1), (32, 2)):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(d_model, 3 * d_model, generator=generator)
        bias = torch.randn(3 * d_model, generator=generator)
        before = weight.clone(), bias.clone()
        given = returned(split_c_attn(weight, bias))
        expect(
            torch.equal(weight, before[0]) and torch.equal(bias, before[1]),
            "You changed `weight` or `bias`; leave them as they are.",
        )
        _check_keys(given)
        _check_entries(given, weight, bias)
        attention = MultiHeadAttention(d_model, 2)
        attention.load_state_dict(given, strict=False)
    return "The six tensors fit, and give the same queries, keys and values."


def _check_keys(given: object) -> None:
    keys = {f"{x}_proj.{kind}" for x in "qkv" for kind in ("weight", "bias")}
    expect(
        isinstance(given, dict),
        f"Return a dictionary; yours is a {type(given).__name__}.",
    )
    expect(
        set(given) == keys,
        f"The keys must be {sorted(keys)}; yours are {sorted(map(str, given))}.",
    )


def _check_entries(given: dict, weight: Tensor, bias: Tensor) -> None:
    d_model = len(weight)
    for i, x in enumerate("qkv"):
        columns = weight[:, i * d_model : (i + 1) * d_model]
        right = {"weight": columns.T, "bias": bias[i * d_model : (i + 1) * d_model]}
        for kind, wanted in right.items():
            name, tensor = f"{x}_proj.{kind}", given[f"{x}_proj.{kind}"]
            expect(
                isinstance(tensor, Tensor) and tensor.shape == wanted.shape,
                f"{name} must be a tensor of shape {tuple(wanted.shape)}; yours: "
                f"{tuple(getattr(tensor, 'shape', ()))}.",
            )
            hint = hint_for_tensor(
                tensor, _split_mistakes(weight, bias, i, kind), "Which columns is it?"
            )
            expect(
                torch.allclose(tensor.double(), wanted.double(), atol=1e-6),
                f"{name} has the right shape but not the right numbers. {hint}",
            )


def _split_mistakes(weight: Tensor, bias: Tensor, i: int, kind: str) -> dict:
    """Return what common slips give, by the words that name them."""
    order = "q comes first, then k, then v; you have another order."
    mixed = (
        "You take every third column; queries, keys and values lie side by side, each "
        "in one piece."
    )
    whole = weight if kind == "weight" else bias
    pieces = whole.chunk(3, dim=-1)
    turn = (lambda t: t.T) if kind == "weight" else (lambda t: t)
    mistakes = {
        order: turn(pieces[(i + 1) % 3]),
        order + " ": turn(pieces[(i + 2) % 3]),
    }
    mistakes[mixed] = turn(whole[..., i::3])
    if kind == "weight":
        mistakes["It is not turned: an nn.Linear has one row per output."] = pieces[i]
        mistakes["reshape does not turn or cut: take columns, then .T."] = (
            weight.reshape(3, len(weight), -1)[i]
        )
    return mistakes


def _size(d_model: int, V: int, T: int, L: int) -> int:
    return (V + T) * d_model + L * (12 * d_model**2 + 13 * d_model) + 2 * d_model


@exercise
def check_widest(widest) -> str:
    """Takes a function of budget, vocab_size, context_length, n_layers, n_heads."""
    sizes = [
        (50_257, 1_024, 12, 12),
        (65, 64, 3, 4),
        (65, 32, 1, 1),
        (2_048, 256, 8, 8),
    ]
    start = time.process_time()
    for V, T, L, H in sizes:
        for width in (0, H, 16 * H, 64 * H):
            exact = _size(width, V, T, L)
            for budget in {exact, max(exact - 1, 1), exact + 1}:
                _check_width(widest, budget, V, T, L, H)
    for width in (25_000, 1_000_000, 41_666_600):  # 3.6e11, 5.8e14, 1e18 parameters
        exact = _size(width, 50_257, 1_024, 48)
        for budget in (exact - 1, exact, 124_439_808, 10**18):
            _check_width(widest, budget, 50_257, 1_024, 48, 25)
    expect(
        time.process_time() - start < 5,
        "The answers are right, but slow: a large budget needs larger steps.",
    )
    return "Not one parameter too many, for budgets up to a billion billions."


def _check_width(widest, budget: int, V: int, T: int, L: int, H: int) -> None:
    low, high = 0, 1  # in units of H: low fits, high does not
    while _size(high * H, V, T, L) <= budget:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        fits = _size(middle * H, V, T, L) <= budget
        low, high = (middle, high) if fits else (low, middle)
    right, given = low * H, number(widest(budget, V, T, L, H))
    asked = (
        f"For budget={budget:,}, vocab_size={V}, context_length={T}, n_layers={L}, "
        f"n_heads={H} the answer is {right:,}; yours: {given:,.12g}."
    )
    expect(given % H == 0, f"{asked} It must be a multiple of n_heads.")
    if given > right:
        need = _size(int(given), V, T, L)
        last_bit = " A root of floats is not exact." if need - budget < 10 else ""
        expect(
            False,
            f"{asked} A model that wide has {need:,} parameters: too many."
            + (last_bit if budget > 2**53 else ""),
        )
    at_budget = _size(right, V, T, L) == budget
    edge = " It has exactly as many parameters as allowed." if at_budget else ""
    expect(given == right, f"{asked} A wider model fits.{edge}")
