"""Wrong answers to the exercises of lesson 31, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_31.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import math

import torch

# Exercise 1


def exact(p, half, z=1.96):
    return z**2 * p * (1 - p) / half**2


def rounded_down(p, half):
    return int(exact(p, half))


def one_more(p, half):
    return math.ceil(exact(p, half)) + 1


def always_half(p, half):
    return math.ceil(exact(0.5, half))


def whole_width(p, half):
    return math.ceil(exact(p, half / 2))


def width_halved(p, half):
    return math.ceil(exact(p, 2 * half))


def without_z(p, half):
    return math.ceil(exact(p, half, z=1))


def z_once(p, half):
    return math.ceil(exact(p, half) / 1.96)


def not_squared(p, half):
    return math.ceil(1.96 * math.sqrt(p * (1 - p)) / half)


def ignores_z(p, half, z=1.96):
    return math.ceil(exact(p, half))


def at_least_two(p, half, z=1.96):
    return max(2, math.ceil(exact(p, half, z)))


def a_float(p, half):
    return float(math.ceil(exact(p, half)))


# Exercise 2


def total(documents, size=lambda text: len(text.encode()), unit=math.log(2)):
    nats = sum(losses.sum().item() for _, losses in documents)
    return nats / unit / sum(size(text) for text, _ in documents)


def per_character(documents):
    return total(documents, size=len)


def in_nats(documents):
    return total(documents, unit=1)


def multiplied(documents):
    return total(documents, unit=1 / math.log(2))


def per_token(documents):
    nats = torch.cat([losses for _, losses in documents])
    return nats.mean().item() / math.log(2)


def mean_of_means(documents):
    own = [total([pair]) for pair in documents if pair[0]]
    return sum(own) / len(own)


def not_divided(documents):
    return sum(losses.sum().item() for _, losses in documents) / math.log(2)


def first_only(documents):
    return total(documents[:1])


def through_str(documents):
    return total(documents, size=lambda text: len(str(text.encode())))


def a_tensor(documents):
    return torch.tensor(total(documents))


def in_place(documents):
    found = total(documents)
    for _, losses in documents:
        losses.div_(math.log(2))
    return found


def drops_empty(documents):
    found = total(documents)
    documents.remove(documents[-1])
    return found


# Exercise 3


def win_rate(points, equal=0.5):
    def of_pair(a, b, judge):
        found = points(judge(a, b), judge(b, a))
        return found if a != b or equal is None else equal

    def swapped_judge(pairs, judge):
        return sum(of_pair(a, b, judge) for a, b in pairs) / len(pairs)

    return swapped_judge


def right(one, two):
    return ((one == 1) + (two == 2)) / 2


def one_order(pairs, judge):
    return sum(judge(a, b) == 1 for a, b in pairs) / len(pairs)


def ties_left_out(pairs, judge):
    points = [right(judge(a, b), judge(b, a)) if a != b else 0.5 for a, b in pairs]
    decided = [p for p in points if p != 0.5]
    return sum(decided) / len(decided) if decided else 0.5


def not_a_share(pairs, judge):
    return win_rate(right)(pairs, judge) * len(pairs)


def empties_the_list(pairs, judge):
    points, n = 0, len(pairs)
    while pairs:
        a, b = pairs.pop()
        points += right(judge(a, b), judge(b, a))
    return points / n


def once_each(pairs, judge):
    found = {}
    for a, b in pairs:
        found[a, b] = right(judge(a, b), judge(b, a)) if a != b else 0.5
    return sum(found.values()) / len(found)


def in_percent(pairs, judge):
    return 100 * win_rate(right)(pairs, judge)


def asks_itself(pairs, judge):
    for a, b in pairs:
        judge(a, b), judge(b, a)
    return sum(a > b for a, b in pairs) / len(pairs)


def short_cut(pairs, judge):
    won = sum(judge(a, b) == 1 and judge(b, a) == 2 for a, b in pairs)
    return won / len(pairs)


def as_tensor(pairs, judge):
    return torch.tensor(win_rate(right)(pairs, judge))


WRONG = {
    "check_needed": [
        (rounded_down, "Round up"),
        (one_more, "one more than is needed"),
        (always_half, "not always one half"),
        (whole_width, "not the whole width"),
        (width_halved, "half of the width"),
        (without_z, "z is missing"),
        (ignores_z, "Use the argument `z`"),
        (at_least_two, "one more than is needed"),
        (z_once, "z is squared"),
        (not_squared, "Square it"),
        (a_float, "is an int"),
    ],
    "check_byte_losses": [
        (per_character, "bits per character"),
        (in_nats, "These are nats"),
        (multiplied, "you multiplied"),
        (per_token, "bits per token"),
        (mean_of_means, "A mean of means"),
        (not_divided, "Divide by the number of bytes"),
        (first_only, "the first document only"),
        (through_str, "`str` of bytes"),
        (a_tensor, "You return a tensor"),
        (in_place, "changed `documents`"),
        (drops_empty, "changed `documents`"),
    ],
    "check_swapped_judge": [
        (one_order, "both orders"),
        (win_rate(lambda one, two: one == 1), "one order only"),
        (win_rate(lambda one, two: two == 2), "the other order only"),
        (win_rate(lambda one, two: ((one == 1) + (two == 1)) / 2), "the verdict 2"),
        (win_rate(lambda one, two: one == 1 and two == 2), "A tie is worth one half"),
        (win_rate(lambda one, two: one == 1 or two == 2), "not a win"),
        (win_rate(lambda one, two: 1 - right(one, two)), "of the b's"),
        (win_rate(right, equal=None), "The win rate is"),
        (once_each, "The win rate is"),
        (in_percent, "in percent"),
        (asks_itself, "The win rate is"),
        (short_cut, "do not ask the second time"),
        (ties_left_out, "Ties stay in"),
        (not_a_share, "Divide by the number of pairs"),
        (empties_the_list, "changed the list `pairs`"),
        (as_tensor, "You return a tensor"),
    ],
}
