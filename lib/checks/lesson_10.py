"""The checks of the exercises in lesson 10, GPT."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from unittest import mock

import torch
from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.checks import Mistake, exercise, expect, hint_for_tensor, returned, tensor
from lib.models import count_parameters
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import PRESETS, preset_config
from lib.module import sizes_only

__all__ = [
    "check_count_by_formula",
    "check_shared_names",
    "check_split_c_attn",
    "check_start_anew",
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
SWITCHES = ("attention_bias", "final_norm", "head_bias", "tie_weights")


# Exercise 1


@exercise
def check_count_by_formula(count_by_formula) -> str:
    """Takes a function of a configuration."""
    plain = replace(TINY, tie_weights=True, head_bias=False)
    cases = [plain, *_switched(plain), replace(plain, n_layers=5, n_heads=1)]
    cases += [*_switched(replace(TINY, d_ff=12, n_layers=1, context_length=30))]
    cases += [PRESETS[name] for name in ("demo", "toy", "gpt2", "gpt2-xl")]
    for config in cases:
        with sizes_only():
            right = count_parameters(GPT(config))
        with mock.patch.object(nn.Module, "__init__", _no_model):
            given = _integer(count_by_formula(config))
        expect(
            given == right,
            f"With {_named(config)} there are {right:,} parameters; yours: {given:,}. "
            + _count_hint(given - right, config),
        )
    return "Every configuration comes out, up to GPT-2's largest."


def _named(config: GPTConfig) -> str:
    """Return the sizes and switches that a count depends on."""
    sizes = ("vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "context_length")
    return ", ".join(f"{name}={getattr(config, name)}" for name in sizes + SWITCHES)


def _switched(config: GPTConfig) -> list[GPTConfig]:
    """Return a configuration with its four switches in all positions that exist."""
    found = [dict(zip(SWITCHES, on)) for on in product((False, True), repeat=4)]
    found = [c for c in found if not (c["head_bias"] and c["tie_weights"])]
    return [replace(config, **switches) for switches in found]


def _no_model(*args, **kwargs) -> None:
    raise Mistake("Build no model: the numbers of the configuration are enough.")


def _integer(answer: object) -> int:
    """Return the reader's integer; `Mistake` for anything else."""
    kind = type(returned(answer)).__name__
    expect(type(answer) is int, f"Return an integer; yours is a {kind}: {answer!r}.")
    return answer


def _count_hint(excess: int, c: GPTConfig) -> str:
    """Say what was left out or counted too much, if the difference tells."""
    V, D, F, L, T = c.vocab_size, c.d_model, c.d_ff, c.n_layers, c.context_length
    asked = excess < 0  # a part is missing: its switch must be on
    parts = {
        "the positions": T * D,
        "the biases of the attention (attention_bias)": (
            (c.attention_bias == asked) * 4 * L * D
        ),
        "the last norm (final_norm), gain and bias": (c.final_norm == asked) * 2 * D,
        "half of the last norm: a norm has a gain and a bias": c.final_norm * D,
        "the bias of the head (head_bias)": (c.head_bias == asked) * V,
        "one table of V x D; a tied head (tie_weights) has none of its own": V * D,
        "half of each block's norms: each has a gain and a bias": 2 * L * D,
        "the norms of the blocks": 4 * L * D,
        "the biases of the feed-forward networks": L * (F + D),
        "one of the two biases of the feed-forward networks, F": L * F,
        "one of the two biases of the feed-forward networks, D": L * D,
        "all blocks but one": (L - 1) * (4 * D * D + 2 * D * F + F + 5 * D),
        "one of the four matrices of the attention": L * D * D,
        "the matrices of the attention once more for each head; heads share the four "
        "of D x D": 4 * L * D * D * (c.n_heads - 1),
        "a part of the feed-forward networks; d_ff need not be 4 x d_model": (
            L * (4 * D - F) * (2 * D + 1)
        ),
    }
    for part, size in parts.items():
        if size and abs(excess) == abs(size):
            return f"{'Too much' if excess > 0 else 'Missing'}: {part}."
    return "Build the sum row by row, and print each row."


# Exercise 2


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
        "two layers that hold the same numbers": _equal_layers(),
        "a model without parameters": nn.ReLU(),
        "a norm with buffers that stands twice": _norm_twice(),
        "a shared layer that is frozen": _thrice().requires_grad_(False),
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


def _norm_twice() -> nn.Module:
    norm = nn.BatchNorm1d(3)
    return nn.Sequential(norm, nn.Linear(3, 3), norm)


def _two_pairs() -> nn.Module:
    model = GPT(replace(TINY, tie_weights=True))
    model.blocks[1].ffn.up.weight = model.blocks[0].ffn.up.weight
    return model


def _equal_layers() -> nn.Module:
    layers = nn.Linear(2, 2), nn.Linear(2, 2)
    layers[1].load_state_dict(layers[0].state_dict())
    return nn.Sequential(*layers)


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
    if any(name not in parameters for group in given for name in group):
        return "Buffers are no parameters: leave them out."
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


# Exercise 3


@exercise
def check_split_c_attn(split_c_attn) -> str:
    """Takes a function of weight, bias."""
    kinds = (6, torch.float32), (4, torch.float64), (1, torch.float32)
    for d_model, dtype in (*kinds, (32, torch.bfloat16), (8, torch.float32)):
        generator = torch.Generator().manual_seed(d_model)
        weight = torch.randn(d_model, 3 * d_model, generator=generator).to(dtype)
        bias = torch.randn(3 * d_model, generator=generator).to(dtype)
        before = weight.clone(), bias.clone()
        given = returned(split_c_attn(weight, bias))
        expect(
            torch.equal(weight, before[0]) and torch.equal(bias, before[1]),
            "You changed `weight` or `bias`; leave them as they are.",
        )
        _check_keys(given)
        _check_entries(given, weight, bias)
        attention = MultiHeadAttention(d_model, 1).to(dtype)
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
            name, entry = f"{x}_proj.{kind}", given[f"{x}_proj.{kind}"]
            piece = tensor(entry, tuple(wanted.shape), name)
            hint = hint_for_tensor(
                piece, _split_mistakes(weight, bias, i, kind), "Which columns is it?"
            )
            expect(
                torch.allclose(piece.double(), wanted.double(), atol=1e-6),
                f"{name} has the right shape but not the right numbers. {hint}",
            )
            expect(
                piece.dtype == weight.dtype,
                f"{name} has the dtype {piece.dtype}; keep that of the weight, "
                f"{weight.dtype}.",
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


# Exercise 4


@exercise
def check_start_anew(start_anew) -> str:
    """Takes a function of a model and a generator."""
    wide = replace(TINY, vocab_size=97, d_model=48, d_ff=64, context_length=80)
    for options in (
        dict(n_layers=3, attention_bias=True, final_norm=True, tie_weights=True),
        dict(n_layers=8, head_bias=True),
    ):
        config = replace(wide, **options)
        model = _used_model(config)
        names = [n for n, _ in model.named_parameters(remove_duplicate=False)]
        objects = dict(model.named_parameters())
        state = torch.get_rng_state()
        given = start_anew(model, torch.Generator().manual_seed(1))
        same = torch.equal(torch.get_rng_state(), state)
        _expect_the_model(given, model, names, objects)
        expect(model.training, "Leave the model in the mode that it was in.")
        for name, parameter in model.named_parameters():
            _check_drawn(name, parameter.detach(), config)
        words = "Draw from `generator` alone: PyTorch's own state has moved."
        expect(same, words)
        _check_all_differ(model)
        _check_generator(start_anew, config)
    return "Each number starts as in GPT-2."


def _used_model(config: GPTConfig) -> GPT:
    """Return a model whose numbers are all far from those of a start."""
    model = GPT(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.5)
    return model


def _expect_the_model(
    given: object, model: GPT, names: list[str], objects: dict[str, nn.Parameter]
) -> None:
    expect(
        given is model, "Change the model that you are given, in place, and return it."
    )
    found = dict(model.named_parameters())
    same = found.keys() == objects.keys()
    same = same and all(found[name] is objects[name] for name in found)
    listed = [n for n, _ in model.named_parameters(remove_duplicate=False)]
    expect(
        same and listed == names,
        "A parameter was put in the place of another: with that, tied weights are no "
        "longer tied. Change the numbers in place.",
    )
    expect(
        all(parameter.requires_grad for parameter in found.values()),
        "Some parameters no longer want a gradient: the model could not learn.",
    )


def _check_drawn(name: str, numbers: Tensor, config: GPTConfig) -> None:
    """Compare the numbers of one parameter with how they should have been drawn."""
    if numbers.dim() == 1:
        value = 0.0 if name.endswith("bias") else 1.0
        what = "Biases start at 0" if value == 0 else "The gain of a norm starts at 1"
        expect(
            bool((numbers == value).all()),
            f"{name} is not {value:g} everywhere: it starts with {numbers[0]:.4g}. "
            f"{what}, whatever the model held before.",
        )
        return
    n = config.n_layers
    last = name.endswith(("out_proj.weight", "down.weight"))
    right = 0.01 if name.startswith("positions") else 0.02
    right /= math.sqrt(2 * n) if last else 1
    std = numbers.double().std().item()
    expect(
        abs(std / right - 1) < 0.08,
        f"With {n} blocks {name} has the standard deviation {std:.4f}; it must be near "
        f"{right:.4f}. {_std_hint(std, name, last, n)}",
    )
    far = numbers.double().abs().max().item() / std
    expect(
        abs(numbers.double().mean().item()) < 5 * right / math.sqrt(numbers.numel()),
        f"The mean of {name} is not 0.",
    )
    expect(far > 2.2, f"{name} is not drawn from a bell curve; nn.init.normal_ does.")


def _check_all_differ(model: GPT) -> None:
    """Expect that no two parts begin with the same numbers, in any size."""
    firsts: dict[float, str] = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            first = parameter.detach().flatten()[:2]
            share = round((first[0] / first[1]).item(), 4)
            words = f"{firsts.get(share)} and {name} begin with the same numbers: draw "
            expect(share not in firsts, words + "each anew, and seed nothing again.")
            firsts[share] = name


def _std_hint(std: float, name: str, last: bool, n: int) -> str:
    """Name the slip that gives this standard deviation."""
    slips = {
        0.02 / math.sqrt(n): "There are 2 n parts that write, two in each block.",
        0.02 / (2 * n): "Divide by the *root* of 2 n.",
        0.02 / math.sqrt(2): "n is the number of blocks of the model.",
        0.02 / math.sqrt(24): "n is the number of blocks of *this* model, not 12.",
        0.02: "It writes into the stream: divide by the root of 2 n.",
    }
    if not last:
        slips = {
            0.02: "OpenAI draws the positions with 0.01.",
            0.01: "Only the positions have 0.01.",
            0.02 / math.sqrt(2 * n): "It does not write into the stream: no root here.",
            0.01 / math.sqrt(2 * n): "It does not write into the stream: no root here.",
        }
    for wrong, words in slips.items():
        if abs(std / wrong - 1) < 0.08:
            return words
    if std > 0.5:
        return "These numbers were not drawn anew."
    return "nn.init.normal_ takes the standard deviation, not the variance, as `std`."


def _check_generator(start_anew, config: GPTConfig) -> None:
    model = _used_model(config)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(drawn))
        other = start_anew(copy.deepcopy(model), torch.Generator().manual_seed(seed))
        drawn.append([p.detach() for p in other.parameters() if p.dim() == 2])
    expect(
        all(map(torch.equal, drawn[0], drawn[1])),
        "The same generator gave other numbers: hand `generator` to every draw.",
    )
    expect(
        not any(map(torch.equal, drawn[0], drawn[2])),
        "Another generator gave the same numbers: use the one that is passed in, and "
        "set no seed of your own.",
    )
