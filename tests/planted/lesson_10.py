"""Wrong answers to the exercises of lesson 10, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_10.py: three wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

import torch

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
):
    """A count with one mistake in it."""

    def count_by_formula(c):
        V, D, F, T = c.vocab_size, c.d_model, c.d_ff, c.context_length
        F = 4 * D if four else F
        biases = 4 * D if always_biased else c.attention_bias * attention_bias * 4 * D
        block = 4 * D * D + biases + 2 * D * F + F + D + norms * D
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


def split_tuple(weight, bias):
    return weight.T.chunk(3)


def size(D, V, T, L):
    return (V + T) * D + L * (12 * D * D + 13 * D) + 2 * D


def search(fits, multiple: bool = True, extra: int = 0):
    """A width found by halving, with one mistake in it."""

    def widest(budget, V, T, L, H):
        step = H if multiple else 1
        low, high = 0, 1
        while fits(size(high * step, V, T, L), budget):
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            if fits(size(middle * step, V, T, L), budget):
                low = middle
            else:
                high = middle
        return (low + extra) * step

    return widest


def rule_of_thumb(budget, V, T, L, H):
    return int((budget / (12 * L)) ** 0.5) // H * H


def float_root(budget, V, T, L, H):
    a, b = 12 * L, V + T + 13 * L + 2
    return int((-b + (b * b + 4 * a * budget) ** 0.5) / (2 * a)) // H * H


def at_least_one(budget, V, T, L, H):
    return max(H, search(lambda size, budget: size <= budget)(budget, V, T, L, H))


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
        (lambda weight, bias: splitting()(weight.mul_(2), bias), "You changed"),
    ],
    "check_widest": [
        (search(lambda size, budget: size < budget), "exactly as many"),
        (search(lambda size, budget: size <= budget, extra=1), "too many"),
        (search(lambda size, budget: size <= budget, multiple=False), "multiple"),
        (search(lambda size, budget: 2 * size <= budget), "A wider model fits"),
        (rule_of_thumb, "too many"),
        (float_root, "A root of floats"),
        (at_least_one, "too many"),
        (lambda *sizes: torch.tensor(7.5), "multiple of n_heads"),
    ],
}
