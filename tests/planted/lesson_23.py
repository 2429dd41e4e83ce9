"""Wrong answers to the exercises of lesson 23, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_23.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import torch
from torch.nn import functional as F

from lib.attention import causal_mask
from lib.evaluate.induction import without_head

# Exercise 1


def ends_of(text, n):
    return [e for e in range(n, len(text)) if text[e - n : e] == text[-n:]]


def latest_place(text, most=3):
    for n in range(most, 0, -1):
        if ends := ends_of(text, n):
            return text[ends[-1]]


def only_the_longest(text, most=3):
    ends = ends_of(text, most)
    return text[ends[0]] if ends else None


def shortest_first(text, most=3):
    for n in range(1, most + 1):
        if ends := ends_of(text, n):
            return text[ends[0]]


def one_too_long(text, most=3):
    return longest(text, most + 1)


def one_too_short(text, most=3):
    return longest(text, most - 1)


def longest(text, most=3):
    for n in range(most, 0, -1):
        if ends := ends_of(text, n):
            return text[ends[0]]


def empty_for_none(text, most=3):
    return longest(text, most) or ""


def where_it_stands(text, most=3):
    for n in range(most, 0, -1):
        if ends := ends_of(text, n):
            return ends[0]


def the_letter_itself(text, most=3):
    for n in range(most, 0, -1):
        if ends := ends_of(text, n):
            return text[ends[0] - 1]


def always_three(text, most=3):
    return longest(text, 3)


def two_by_default(text, most=2):
    return longest(text, most)


def nothing(text, most=3):
    longest(text, most)


# Exercise 2


def sums(weights, n_back):
    each = [weights.diagonal(-d, -2, -1).sum((0, 2)) for d in range(n_back)]
    return torch.stack(each, dim=1)


def means(weights, n_back, first=0):
    each = [weights.diagonal(-first - d, -2, -1) for d in range(n_back)]
    return torch.stack([e.mean((0, 2)) for e in each], dim=1)


def over_all_positions(weights, n_back):
    return sums(weights, n_back) / len(weights) / weights.size(-1)


def summed_over_positions(weights, n_back):
    return sums(weights, n_back) / len(weights)


def from_one_back(weights, n_back):
    padded = F.pad(weights, (0, 0, 1, 0))
    return means(weights, n_back, 1) if n_back < weights.size(-1) else padded[0, :, 0]


def future(weights, n_back):
    return means(weights.transpose(-1, -2), n_back)


def first_row(weights, n_back):
    return means(weights[:1], n_back)


def last_position(weights, n_back):
    return weights[:, :, -1].flip(-1)[..., :n_back].mean(dim=0)


def heads_last(weights, n_back):
    return means(weights, n_back).T


def rows_kept(weights, n_back):
    each = [weights.diagonal(-d, -2, -1).mean(-1) for d in range(n_back)]
    return torch.stack(each, dim=-1)


def four_distances(weights, n_back):
    return means(weights, min(4, weights.size(-1)))


def as_lists(weights, n_back):
    return means(weights, n_back).tolist()


def masked_in_place(weights, n_back):
    right = means(weights, n_back)
    weights.tril_(-1)
    return right


# Exercise 3


def sizes(model):
    attention = model.blocks[0].attention
    return len(model.blocks), attention.out_proj.in_features // attention.d_head


def table(model, value):
    n_layers, n_heads = sizes(model)
    found = torch.zeros(n_layers, n_heads)
    for layer in range(n_layers):
        for head in range(n_heads):
            with without_head(model, layer, head):
                found[layer, head] = value(model)
    return found


def what_is_left(model, measure):
    return table(model, measure)


def rises(model, measure):
    return table(model, measure) - measure(model)


def shares(model, measure):
    whole = measure(model)
    return (whole - table(model, measure)) / whole


def measured_outside(model, measure):
    n_layers, n_heads = sizes(model)
    whole, found = measure(model), torch.zeros(n_layers, n_heads)
    for layer in range(n_layers):
        for head in range(n_heads):
            with without_head(model, layer, head):
                pass
            found[layer, head] = whole - measure(model)
    return found


def right_damage(model, measure):
    n_layers, n_heads = sizes(model)
    whole, found = measure(model), torch.zeros(n_layers, n_heads)
    for layer in range(n_layers):
        for head in range(n_heads):
            with without_head(model, layer, head):
                found[layer, head] = whole - measure(model)
    return found


def left_in_training(model, measure):
    found = right_damage(model, measure)
    model.train()
    return found


def frozen_for_good(model, measure):
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return right_damage(model, measure)


def other_parameters(model, measure):
    found = right_damage(model, measure)
    for block in model.blocks:
        projection = block.attention.out_proj
        projection.weight = torch.nn.Parameter(projection.weight.data.clone())
    return found


def heads_stay_away(model, measure):
    n_layers, n_heads = sizes(model)
    whole, found = measure(model), torch.zeros(n_layers, n_heads)
    for layer, block in enumerate(model.blocks):
        size = block.attention.d_head
        for head in range(n_heads):
            block.attention.out_proj.weight.data[:, head * size : (head + 1) * size] = 0
            found[layer, head] = whole - measure(model)
    return found


def two_by_two(model, measure):
    whole, found = measure(model), torch.zeros(2, 2)
    for layer in range(min(2, len(model.blocks))):
        for head in range(2):
            with without_head(model, layer, head):
                found[layer, head] = whole - measure(model)
    return found


def rows_of_the_matrix(model, measure):
    n_layers, n_heads = sizes(model)
    whole, found = measure(model), torch.zeros(n_layers, n_heads)
    for layer, block in enumerate(model.blocks):
        weight, size = block.attention.out_proj.weight.data, block.attention.d_head
        for head in range(n_heads):
            kept = weight.clone()
            weight[head * size : (head + 1) * size] = 0
            found[layer, head] = whole - measure(model)
            weight.copy_(kept)
    return found


def nested_lists(model, measure):
    return (measure(model) - table(model, measure)).tolist()


def flat(model, measure):
    return (measure(model) - table(model, measure)).flatten()


# Exercise 4


def counted(ids, vocab_size, before, mask=None, normalise=True):
    mask = causal_mask(ids.size(1)) if mask is None else mask
    same = ((ids[:, :, None] == before[:, None]) & mask).float()
    if normalise:
        same = same / same.sum(-1, keepdim=True).clamp(min=1)
    return same @ F.one_hot(ids, vocab_size).float()


def left(ids):
    return F.pad(ids[:, :-1], (1, 0), value=-1)


def same_letter(ids, vocab_size):
    return counted(ids, vocab_size, ids)


def wraps_around(ids, vocab_size):
    return counted(ids, vocab_size, ids.roll(1, 1))


def zero_is_a_letter(ids, vocab_size):
    return counted(ids, vocab_size, F.pad(ids[:, :-1], (1, 0)))


def letter_after(ids, vocab_size):
    return counted(ids, vocab_size, ids.roll(-1, 1))


def without_the_diagonal(ids, vocab_size):
    return counted(ids, vocab_size, left(ids), causal_mask(ids.size(1)).tril(-1))


def sees_the_future(ids, vocab_size):
    return counted(ids, vocab_size, left(ids), torch.ones(ids.size(1), ids.size(1)) > 0)


def counts(ids, vocab_size):
    return counted(ids, vocab_size, left(ids), normalise=False)


def latest_only(ids, vocab_size):
    same = (ids[:, :, None] == left(ids)[:, None]) & causal_mask(ids.size(1))
    last = same & (same.flip(-1).cumsum(-1).flip(-1) == 1)
    return last.float() @ F.one_hot(ids, vocab_size).float()


def not_a_number(ids, vocab_size):
    same = ((ids[:, :, None] == left(ids)[:, None]) & causal_mask(ids.size(1))).float()
    return same / same.sum(-1, keepdim=True) @ F.one_hot(ids, vocab_size).float()


def softmax_of_zeros(ids, vocab_size):
    same = ((ids[:, :, None] == left(ids)[:, None]) & causal_mask(ids.size(1))).float()
    scores = (100 * same).masked_fill(~causal_mask(ids.size(1)), -torch.inf)
    return scores.softmax(dim=-1) @ F.one_hot(ids, vocab_size).float()


def equal_shares_for_none(ids, vocab_size):
    right = counted(ids, vocab_size, left(ids))
    return torch.where(right.sum(-1, keepdim=True) == 0, 1 / vocab_size, right)


def whole_numbers(ids, vocab_size):
    return counted(ids, vocab_size, left(ids), normalise=False).long()


def moved_in_place(ids, vocab_size):
    before = left(ids)
    right = counted(ids, vocab_size, before)
    ids.copy_(before.clamp(min=0))
    return right


def positions_of_the_best(ids, vocab_size):
    return counted(ids, vocab_size, left(ids)).argmax(dim=-1)


def first_row_only(ids, vocab_size):
    return counted(ids[:1], vocab_size, left(ids[:1])).expand(len(ids), -1, -1)


WRONG = {
    "check_longest_tail": [
        (latest_place, "Take the earliest place"),
        (only_the_longest, "try a shorter one"),
        (shortest_first, "Begin with the longest tail"),
        (one_too_long, "`most` letters at most"),
        (one_too_short, "The first tail to try"),
        (empty_for_none, "or None"),
        (where_it_stands, "Return one letter"),
        (the_letter_itself, "the last letter itself"),
        (always_three, "longest_tail("),
        (two_by_default, "`most` is 3"),
        (nothing, "longest_tail("),
    ],
    "check_looks_back": [
        (over_all_positions, "T - d of them"),
        (summed_over_positions, "sum over the positions"),
        (sums, "sum over rows and positions"),
        (from_one_back, "Column 0 is the position itself"),
        (future, "Above the diagonal is the future"),
        (first_row, "Only the first row"),
        (last_position, "the last positions only"),
        (heads_last, "must have the shape"),
        (rows_kept, "must have the shape"),
        (four_distances, "must have the shape"),
        (as_lists, "must be a tensor"),
        (masked_in_place, "changed `weights` itself"),
    ],
    "check_damage": [
        (what_is_left, "That is what is left"),
        (rises, "The sign is wrong"),
        (shares, "the share of the fall"),
        (measured_outside, "measure inside of `with`"),
        (heads_stay_away, "left the model changed"),
        (left_in_training, "the model is another"),
        (frozen_for_good, "the model is another"),
        (other_parameters, "the model is another"),
        (two_by_two, "must have the shape"),
        (rows_of_the_matrix, "Whole minus"),
        (nested_lists, "must be a tensor"),
        (flat, "must have the shape"),
    ],
    "check_followers": [
        (same_letter, "the same letter"),
        (wraps_around, "`roll` brings the last one"),
        (zero_is_a_letter, "0 is a letter of its own"),
        (letter_after, "You looked at the letter after"),
        (without_the_diagonal, "keeps the diagonal"),
        (sees_the_future, "must not see the future"),
        (counts, "These are counts"),
        (latest_only, "not only the latest"),
        (not_a_number, "NaN or inf"),
        (softmax_of_zeros, "the shares are"),
        (equal_shares_for_none, "gets zeros"),
        (whole_numbers, "Shares are decimal numbers"),
        (moved_in_place, "changed `ids` itself"),
        (positions_of_the_best, "must have the shape"),
        (first_row_only, "the shares are"),
    ],
}
