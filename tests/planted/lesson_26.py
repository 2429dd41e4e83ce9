"""Wrong answers to the exercises of lesson 26, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_26.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import copy

import torch

from lib.text.batches import random_batch

# Exercise 1


def all_but_the_rest(model, n):
    model.tokens.requires_grad_(False)
    model.blocks[:n].requires_grad_(False)
    model.blocks[n:].requires_grad_(True)
    return count(model)


def positions_too(model, n):
    model.requires_grad_(True)
    tables = [part for part in (model.tokens, model.positions) if part]
    freeze(*tables, *model.blocks[:n])
    return count(model)


def on_a_copy(model, n):
    model = copy.deepcopy(model).requires_grad_(True)
    freeze(model.tokens, *model.blocks[:n])
    return count(model)


def count(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def freeze(*parts):
    for part in parts:
        part.requires_grad_(False)


def frozen_stay_frozen(model, n):
    freeze(model.tokens, *model.blocks[:n])
    return count(model)


def embedding_learns(model, n):
    model.requires_grad_(True)
    freeze(*model.blocks[:n])
    return count(model)


def one_block_more(model, n):
    model.requires_grad_(True)
    freeze(model.tokens, *model.blocks[: n + 1])
    return count(model)


def one_block_less(model, n):
    model.requires_grad_(True)
    freeze(model.tokens, *model.blocks[: max(n - 1, 0)])
    return count(model)


def the_last_ones(model, n):
    model.requires_grad_(True)
    freeze(model.tokens, *model.blocks[len(model.blocks) - n :])
    return count(model)


def by_prefix(model, n):
    model.requires_grad_(True)
    for name, p in model.named_parameters():
        if name.startswith(("tokens", *(f"blocks.{i}" for i in range(n)))):
            p.requires_grad_(False)
    return count(model)


def how_many_are_frozen(model, n):
    total = sum(p.numel() for p in model.parameters())
    model.requires_grad_(True)
    freeze(model.tokens, *model.blocks[:n])
    return total - count(model)


def tensors(model, n):
    model.requires_grad_(True)
    freeze(model.tokens, *model.blocks[:n])
    return sum(p.requires_grad for p in model.parameters())


def as_a_tensor(model, n):
    model.requires_grad_(True)
    freeze(model.tokens, *model.blocks[:n])
    return torch.tensor(count(model))


def nothing_returned(model, n):
    model.requires_grad_(True)
    freeze(model.tokens, *model.blocks[:n])


def set_to_zero(model, n):
    model.requires_grad_(True)
    for part in (model.tokens, *model.blocks[:n]):
        for p in part.parameters():
            p.data.zero_()
            p.requires_grad_(False)
    return count(model)


# Exercise 2


def pairs(before, after):
    both = zip(before.named_parameters(), after.named_parameters())
    for (name, old), (_, new) in both:
        yield name, old.detach(), new.detach()


def undivided(before, after):
    return {n: (new - old).norm().item() for n, old, new in pairs(before, after)}


def by_the_new_norm(before, after):
    return {n: ((b - a).norm() / b.norm()).item() for n, a, b in pairs(before, after)}


def squared(before, after):
    return {
        n: ((b - a).square().sum() / a.square().sum()).item()
        for n, a, b in pairs(before, after)
    }


def difference_of_norms(before, after):
    return {n: (b.norm() / a.norm() - 1).item() for n, a, b in pairs(before, after)}


def number_by_number(before, after):
    return {n: ((b - a) / a).norm().item() for n, a, b in pairs(before, after)}


def means(before, after):
    return {
        n: ((b - a).abs().mean() / a.abs().mean()).item()
        for n, a, b in pairs(before, after)
    }


def largest(before, after):
    return {n: (b - a).abs().max().item() for n, a, b in pairs(before, after)}


def tensors_in_it(before, after):
    return {n: (b - a).norm() / a.norm() for n, a, b in pairs(before, after)}


def a_list(before, after):
    return [((b - a).norm() / a.norm()).item() for n, a, b in pairs(before, after)]


def without_head(before, after):
    found = {n: ((b - a).norm() / a.norm()).item() for n, a, b in pairs(before, after)}
    found.popitem()
    return found


def what_learns(before, after):
    names = {n for n, p in after.named_parameters() if p.requires_grad}
    moved = ((n, (b - a).norm() / a.norm()) for n, a, b in pairs(before, after))
    return {n: share.item() for n, share in moved if n in names}


def freezes_both(before, after):
    before.requires_grad_(False), after.requires_grad_(False)
    return {n: ((b - a).norm() / a.norm()).item() for n, a, b in pairs(before, after)}


def sums_of_sizes(before, after):
    return {
        n: ((b - a).abs().sum() / a.abs().sum()).item()
        for n, a, b in pairs(before, after)
    }


def in_place(before, after):
    return {n: (b.sub_(a).norm() / a.norm()).item() for n, a, b in pairs(before, after)}


# Exercise 3


def both(new, old, size, n_old, T, generator):
    batches = [
        random_batch(text, n, T, generator)
        for text, n in ((old, n_old), (new, size - n_old))
        if n
    ]
    return tuple(torch.cat(each) for each in zip(*batches))


def new_first(new, old, size, n_old, T, generator):
    return tuple(each.flip(0) for each in both(new, old, size, n_old, T, generator))


def counts_swapped(new, old, size, n_old, T, generator):
    return both(new, old, size, size - n_old, T, generator)


def targets_not_shifted(new, old, size, n_old, T, generator):
    inputs, _ = both(new, old, size, n_old, T, generator)
    return inputs, inputs.clone()


def own_seed(new, old, size, n_old, T, generator):
    return both(new, old, size, n_old, T, torch.Generator().manual_seed(0))


def no_generator(new, old, size, n_old, T, generator):
    return both(new, old, size, n_old, T, None)


def windows(text, starts, T):
    index = starts.unsqueeze(1) + torch.arange(T)
    return text[index], text[index + 1]


def by_hand(new, old, n_new, n_old, T, generator, less=0, alike=False):
    parts = []
    for text, n in ((old, n_old), (new, n_new)):
        room = max(len(text) - T - less, 1)
        starts = torch.randint(room, (n,), generator=generator)
        parts.append(windows(text, starts[:1].expand(n) if alike and n else starts, T))
    return tuple(torch.cat(each) for each in zip(*parts))


def last_place_missing(new, old, size, n_old, T, generator):
    return by_hand(new, old, size - n_old, n_old, T, generator, less=1)


def larger_numbers(new, old, size, n_old, T, generator):
    inputs, _ = both(new, old, size, n_old, T, generator)
    return inputs, inputs + 1


def float_targets(new, old, size, n_old, T, generator):
    inputs, targets = both(new, old, size, n_old, T, generator)
    return inputs, targets.float()


def short_integers(new, old, size, n_old, T, generator):
    return tuple(x.int() for x in both(new, old, size, n_old, T, generator))


def one_after_the_other(new, old, size, n_old, T, generator):
    parts = []
    for text, n in ((old, n_old), (new, size - n_old)):
        room = len(text) - T
        start = torch.randint(room, (1,), generator=generator)
        parts.append(windows(text, (start + torch.arange(n)) % room, T))
    return tuple(torch.cat(each) for each in zip(*parts))


def all_rows_alike(new, old, size, n_old, T, generator):
    return by_hand(new, old, size - n_old, n_old, T, generator, alike=True)


def size_rows_of_each(new, old, size, n_old, T, generator):
    return by_hand(new, old, size, n_old, T, generator)


def one_tensor(new, old, size, n_old, T, generator):
    return both(new, old, size, n_old, T, generator)[0]


def as_floats(new, old, size, n_old, T, generator):
    return tuple(x.float() for x in both(new, old, size, n_old, T, generator))


def text_changed(new, old, size, n_old, T, generator):
    answer = both(new, old, size, n_old, T, generator)
    new.add_(1)
    return answer


WRONG = {
    "check_freeze_first": [
        (frozen_stay_frozen, "Let everything learn first"),
        (embedding_learns, "the embedding is frozen too"),
        (one_block_more, "only blocks before number"),
        (one_block_less, "blocks are frozen"),
        (the_last_ones, "With n="),
        (by_prefix, "does not learn"),
        (how_many_are_frozen, "how many are frozen"),
        (tensors, "Those are tensors"),
        (as_a_tensor, "Return an int"),
        (nothing_returned, "is a `return` missing"),
        (set_to_zero, "must stay as they are"),
        (all_but_the_rest, "Let everything learn first"),
        (positions_too, "does not learn"),
        (on_a_copy, "no copy"),
    ],
    "check_drift": [
        (undivided, "Divide by the norm of what it was before"),
        (by_the_new_norm, "the norm afterwards"),
        (squared, "take the root"),
        (difference_of_norms, "Subtract the matrices"),
        (number_by_number, "Take both norms first"),
        (means, "sum of squares"),
        (what_learns, "One entry for each parameter"),
        (freezes_both, "You froze parts"),
        (sums_of_sizes, "sum of squares"),
        (largest, "not the largest"),
        (tensors_in_it, "not a Python float"),
        (a_list, "Return a dictionary"),
        (without_head, "One entry for each parameter"),
        (in_place, "changed the model `after` itself"),
    ],
    "check_mixed_batch": [
        (new_first, "must come from `old`"),
        (counts_swapped, "must come from `old`"),
        (targets_not_shifted, "one place further"),
        (larger_numbers, "not larger numbers"),
        (float_targets, "of the type int64"),
        (short_integers, "of the type int64"),
        (one_after_the_other, "the same distance"),
        (own_seed, "there are places 0 to"),
        (no_generator, "use `generator`"),
        (last_place_missing, "there are places 0 to"),
        (all_rows_alike, "start at the same place"),
        (size_rows_of_each, "must have the shape"),
        (one_tensor, "Return two tensors"),
        (as_floats, "of the type int64"),
        (text_changed, "itself"),
    ],
}
