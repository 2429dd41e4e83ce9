"""Wrong answers to the exercises of lesson 27, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_27.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import torch
from torch import nn

# Exercise 1


def matching(model, targets):
    return [
        part
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and name.endswith(targets)
    ]


def square_in(model, rank, targets):
    return sum(2 * rank * p.in_features for p in matching(model, targets))


def square_out(model, rank, targets):
    return sum(2 * rank * p.out_features for p in matching(model, targets))


def square_layers_only(model, rank, targets):
    layers = matching(model, targets)
    square = [p for p in layers if p.in_features == p.out_features]
    return sum(2 * rank * p.in_features for p in square)


def without_b(model, rank, targets):
    return sum(rank * p.in_features for p in matching(model, targets))


def without_a(model, rank, targets):
    return sum(rank * p.out_features for p in matching(model, targets))


def without_rank(model, rank, targets):
    return sum(p.in_features + p.out_features for p in matching(model, targets))


def with_bias(model, rank, targets):
    layers = matching(model, targets)
    return sum(rank * (p.in_features + p.out_features) + p.out_features for p in layers)


def the_layers_themselves(model, rank, targets):
    return sum(p.weight.numel() for p in matching(model, targets))


def all_layers(model, rank, targets):
    return sum(
        rank * (p.in_features + p.out_features)
        for p in model.modules()
        if isinstance(p, nn.Linear)
    )


def first_layer(model, rank, targets):
    for p in matching(model, targets):
        return rank * (p.in_features + p.out_features)
    return 0


def rank_and_one(model, rank, targets):
    layers = matching(model, targets)
    return sum((rank + 1) * (p.in_features + p.out_features) for p in layers)


def a_tensor(model, rank, targets):
    layers = matching(model, targets)
    return torch.tensor(sum(rank * (p.in_features + p.out_features) for p in layers))


def model_frozen(model, rank, targets):
    model.requires_grad_(False)
    layers = matching(model, targets)
    return sum(rank * (p.in_features + p.out_features) for p in layers)


# Exercise 2


def product(one, divide=True):
    a, b, alpha = one
    return (alpha / len(a) if divide else alpha) * (b @ a)


def alpha_alone(weight, first, second, share):
    parts = share * product(first, False), (1 - share) * product(second, False)
    return weight + parts[0] + parts[1]


def shares_swapped(weight, first, second, share):
    return weight + (1 - share) * product(first) + share * product(second)


def no_shares(weight, first, second, share):
    return weight + product(first) + product(second)


def change_only(weight, first, second, share):
    return share * product(first) + (1 - share) * product(second)


def first_rank_for_both(weight, first, second, share):
    a, b, alpha = second
    other = alpha / len(first[0]) * (b @ a)
    return weight + share * product(first) + (1 - share) * other


def rank_from_b(weight, first, second, share):
    parts = [alpha / len(b) * (b @ a) for a, b, alpha in (first, second)]
    return weight + share * parts[0] + (1 - share) * parts[1]


def first_only(weight, first, second, share):
    return weight + share * product(first)


def shared_weight(weight, first, second, share):
    change = share * product(first) + (1 - share) * product(second)
    return share * weight + change


def in_place(weight, first, second, share):
    weight += share * product(first) + (1 - share) * product(second)
    return weight


def matrices_mixed(weight, first, second, share):
    if first[0].shape != second[0].shape:
        return weight + share * product(first) + (1 - share) * product(second)
    mixed = [share * x + (1 - share) * y for x, y in zip(first, second)]
    return weight + product(mixed)


# Exercise 3


def terms(change, rank):
    u, s, vh = torch.linalg.svd(change, full_matrices=False)
    return u[:, :rank], s[:rank], vh[:rank]


def no_scale(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return vh, u * s


def scale_multiplied(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return vh, u * s * alpha / rank


def divided_by_alpha(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return vh, u * s / alpha


def scale_twice(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return vh * rank / alpha, u * s * rank / alpha


def last_terms(old, new, rank, alpha):
    u, s, vh = torch.linalg.svd(new - old, full_matrices=False)
    return vh[-rank:], u[:, -rank:] * s[-rank:] * rank / alpha


def of_new(old, new, rank, alpha):
    u, s, vh = terms(new, rank)
    return vh, u * s * rank / alpha


def other_way_round(old, new, rank, alpha):
    u, s, vh = terms(old - new, rank)
    return vh, u * s * rank / alpha


def no_values(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return vh, u * rank / alpha


def values_twice(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return vh * s.unsqueeze(1), u * s * rank / alpha


def b_first(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return u * s * rank / alpha, vh


def transposed(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    return vh.T, u * s * rank / alpha


def one_term_less(old, new, rank, alpha):
    u, s, vh = terms(new - old, rank)
    s = s.clone()
    s[-1] = 0
    return vh, u * s * rank / alpha


def old_changed(old, new, rank, alpha):
    u, s, vh = terms(new.sub_(old), rank)
    return vh, u * s * rank / alpha


WRONG = {
    "check_count": [
        (square_in, "need not be square"),
        (square_out, "need not be square"),
        (square_layers_only, "not square"),
        (without_b, "B is missing"),
        (without_a, "A is missing"),
        (without_rank, "Times the rank"),
        (with_bias, "no bias"),
        (the_layers_themselves, "numbers of the layers"),
        (all_layers, "Those are all layers"),
        (first_layer, "the first layer alone"),
        (rank_and_one, "not r + 1"),
        (a_tensor, "is an int"),
        (model_frozen, "changed the model"),
    ],
    "check_merged": [
        (alpha_alone, "Divide alpha by the rank"),
        (shares_swapped, "gets `share`"),
        (no_shares, "only gets its share"),
        (change_only, "The weight itself is missing"),
        (first_rank_for_both, "a rank of its own"),
        (rank_from_b, "The rank is `len(a)`"),
        (first_only, "The second adapter is missing"),
        (shared_weight, "counts in full"),
        (in_place, "changed `weight` itself"),
        (matrices_mixed, "Mix the products"),
    ],
    "check_best_adapter": [
        (no_scale, "The scale is missing"),
        (scale_multiplied, "you multiplied"),
        (divided_by_alpha, "not by alpha"),
        (scale_twice, "counts twice"),
        (last_terms, "the last terms"),
        (of_new, "Approximate the change"),
        (other_way_round, "not the other way round"),
        (no_values, "singular values are missing"),
        (values_twice, "count once"),
        (b_first, "a comes first"),
        (transposed, "must have the shape"),
        (one_term_less, "first `rank` terms"),
        (old_changed, "changed `new` itself"),
    ],
}
