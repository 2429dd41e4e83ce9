"""Wrong answers to the exercises of lesson 10, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_10.py: eight wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

import math

import torch
from torch import nn

from lib.models import count_parameters
from lib.models.gpt import GPT


def counting(
    positions: bool = True,
    attention_bias: bool = True,
    final_norm: int = 2,
    head_bias: bool = True,
    tied: bool = True,
    norms: int = 4,
    four: bool = False,
    blocks: bool = True,
    always_biased: bool = False,
    ffn_biases: int = 2,
    per_head: bool = False,
):
    """A count with one mistake in it."""

    def count_by_formula(c):
        V, D, F, T = c.vocab_size, c.d_model, c.d_ff, c.context_length
        F = 4 * D if four else F
        biases = 4 * D if always_biased else c.attention_bias * attention_bias * 4 * D
        block = 4 * D * D * (c.n_heads if per_head else 1) + biases + norms * D
        block += 2 * D * F + (0, F, F + D)[ffn_biases]
        total = V * D + (T * D if positions else 0)
        total += block * (c.n_layers if blocks else 1)
        total += c.final_norm * final_norm * D
        return total + (1 - c.tie_weights * tied) * V * D + c.head_bias * head_bias * V

    return count_by_formula


def building(config):
    with torch.device("meta"):
        return count_parameters(GPT(config))


def grouped(key, keep=lambda names: len(names) > 1, all_names: bool = True):
    """A detector that takes parameters for the same when their keys are equal."""

    def shared_names(model):
        groups = {}
        for name, p in model.named_parameters(remove_duplicate=not all_names):
            groups.setdefault(key(p), []).append(name)
        return [sorted(names) for names in groups.values() if keep(names)]

    return shared_names


def pairs(model):
    named = list(model.named_parameters(remove_duplicate=False))
    return [
        sorted([a, b])
        for i, (a, p) in enumerate(named)
        for b, q in named[i + 1 :]
        if p is q
    ]


def only_the_head(model):
    if hasattr(model, "head") and model.head.weight is model.tokens.weight:
        return [["head.weight", "tokens.weight"]]
    return []


def both_directions(model):
    return [names for pair in pairs(model) for names in (pair, pair)]


def flat(model):
    return [name for names in grouped(id)(model) for name in names]


def unsorted(model):
    return [names[::-1] for names in grouped(id)(model)]


def splitting(turn=lambda t: t.T, cut=None, order="qkv", biases: bool = True):
    """A split with one mistake in it."""

    def split_c_attn(weight, bias):
        cut_ = cut or (lambda t: t.chunk(3, dim=-1))
        entries = {}
        for x, w, b in zip(order, cut_(weight), cut_(bias)):
            entries[f"{x}_proj.weight"] = turn(w)
            if biases:
                entries[f"{x}_proj.bias"] = b
        return entries

    return split_c_attn


def split_rows(weight, bias):
    entries = splitting()(weight, bias)
    for x, w in zip("qkv", weight.reshape(3, len(weight), -1)):
        entries[f"{x}_proj.weight"] = w
    return entries


def split_as_float(weight, bias):
    return {n: t.float() for n, t in splitting()(weight, bias).items()}


def split_only_the_first_bias(weight, bias):
    entries = splitting()(weight, bias)
    return entries | {f"{x}_proj.bias": bias[: len(weight)] for x in "qkv"}


def split_in_place(weight, bias):
    entries = {n: t.clone() for n, t in splitting()(weight, bias).items()}
    weight.zero_()
    return entries


def split_lists(weight, bias):
    return {n: t.tolist() for n, t in splitting()(weight, bias).items()}


def split_tuple(weight, bias):
    return weight.T.chunk(3)


LAST = ("out_proj.weight", "down.weight")


def starting(
    places: float = 0.01,
    table: float = 0.02,
    last: tuple = LAST,
    root=lambda n: math.sqrt(2 * n),
    biases: bool = True,
    gains: float | None = 1.0,
    draw=nn.init.normal_,
    seed: int | None = None,
    own: bool = True,
    result: bool = True,
):
    """A start with one mistake in it."""

    def start_anew(model, generator):
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
        for name, p in model.named_parameters():
            std = places if name.startswith("positions") else table
            std /= root(len(model.blocks)) if name.endswith(last) else 1
            with torch.no_grad():
                if p.dim() == 2:
                    draw(p, 0.0, std, generator=generator if own else None)
                elif name.endswith("bias") and biases:
                    p.zero_()
                elif name.endswith("gain") and gains is not None:
                    p.fill_(gains)
        return model if result else None

    return start_anew


def evenly(p, mean, std, generator):
    """Numbers of the right size that are drawn evenly."""
    half = std * math.sqrt(3)
    return nn.init.uniform_(p, -half, half, generator=generator)


def shifted(p, mean, std, generator):
    return nn.init.normal_(p, std, std, generator=generator)


def with_variance(p, mean, std, generator):
    return nn.init.normal_(p, mean, std**2, generator=generator)


def untie(model, generator):
    model = starting()(model, generator)
    model.head.weight = nn.Parameter(model.tokens.weight.detach().clone())
    return model


def a_new_model(model, generator):
    return starting()(GPT(model.config), generator)


def also_the_parts_inside(model, generator):
    last = ("proj.weight", "up.weight", "down.weight")
    return starting(last=last)(model, generator)


def frozen(model, generator):
    return starting()(model, generator).requires_grad_(False)


def seeded_again(p, mean, std, generator):
    generator.manual_seed(generator.initial_seed())
    nn.init.normal_(p, mean, std, generator=generator)


def with_buffers(model):
    names = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
    return [sorted(group) for group in names.values() if len(group) > 1]


def only_what_learns(model):
    names = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names.setdefault(id(parameter), []).append(name)
    return [sorted(group) for group in names.values() if len(group) > 1]


WRONG = {
    "check_count_by_formula": [
        (counting(positions=False), "Missing: the positions"),
        (counting(attention_bias=False), "Missing: the biases of the attention"),
        (counting(always_biased=True), "Too much: the biases of the attention"),
        (counting(final_norm=0), "Missing: the last norm"),
        (counting(final_norm=1), "Missing: half of the last norm"),
        (counting(head_bias=False), "Missing: the bias of the head"),
        (counting(tied=False), "a tied head"),
        (counting(norms=2), "half of each block's norms"),
        (counting(four=True), "d_ff need not be"),
        (counting(blocks=False), "Missing: all blocks but one"),
        (lambda config: None, "None"),
        (lambda config: float(counting()(config)), "Return an integer"),
        (lambda config: torch.tensor(counting()(config)), "Return an integer"),
        (counting(ffn_biases=0), "Missing: the biases of the feed-forward"),
        (counting(ffn_biases=1), "Missing: one of the two biases"),
        (counting(per_head=True), "once more for each head"),
        (building, "Build no model"),
    ],
    "check_shared_names": [
        (grouped(id, all_names=False), "remove_duplicate=False"),
        (grouped(lambda p: tuple(p.flatten().tolist())), "not the same object"),
        (grouped(lambda p: p.shape), "not the same object"),
        (grouped(lambda p: p.data_ptr()), "not the same object"),
        (grouped(id, keep=lambda names: True), "leave it out"),
        (pairs, "with all of its names"),
        (only_the_head, "remove_duplicate=False"),
        (both_directions, "more than once"),
        (flat, "list of names"),
        (unsorted, "alphabetical"),
        (with_buffers, "Buffers are no parameters"),
        (only_what_learns, "a shared layer that is frozen"),
        (lambda model: True, "Return a list"),
    ],
    "check_split_c_attn": [
        (splitting(turn=lambda t: t), "not turned"),
        (splitting(order="kqv"), "another order"),
        (splitting(order="vkq"), "another order"),
        (splitting(cut=lambda t: [t[..., i::3] for i in range(3)]), "every third"),
        (splitting(biases=False), "The keys must be"),
        (splitting(cut=lambda t: t.chunk(3, dim=0)), "shape"),
        (split_rows, "reshape does not turn"),
        (split_tuple, "Return a dictionary"),
        (split_as_float, "keep that of the weight"),
        (split_only_the_first_bias, "k_proj.bias has the right shape"),
        (split_in_place, "You changed"),
        (split_lists, "must be a tensor"),
        (lambda weight, bias: splitting()(weight.mul_(2), bias), "You changed"),
    ],
    "check_start_anew": [
        (starting(places=0.02), "positions with 0.01"),
        (starting(table=0.01), "Only the positions"),
        (starting(last=()), "It writes into the stream"),
        (starting(last=("out_proj.weight",)), "It writes into the stream"),
        (starting(root=math.sqrt), "There are 2 n parts"),
        (starting(root=lambda n: 2 * n), "the *root* of 2 n"),
        (starting(root=lambda n: math.sqrt(24)), "not 12"),
        (starting(root=lambda n: math.sqrt(2)), "blocks of the model"),
        (also_the_parts_inside, "no root here"),
        (starting(biases=False), "Biases start at 0"),
        (starting(gains=None), "gain of a norm starts at 1"),
        (starting(gains=0.0), "gain of a norm starts at 1"),
        (starting(draw=evenly), "bell curve"),
        (starting(draw=shifted), "is not 0"),
        (starting(draw=with_variance), "not the variance"),
        (starting(own=False), "Draw from `generator` alone"),
        (starting(draw=seeded_again), "begin with the same numbers"),
        (lambda model, generator: starting()(model, generator).eval(), "the mode"),
        (starting(seed=0), "use the one that is passed in"),
        (starting(result=False), "and return it"),
        (a_new_model, "in place, and return it"),
        (untie, "no longer tied"),
        (frozen, "could not learn"),
        (lambda model, generator: model, "were not drawn anew"),
    ],
}
