"""Wrong answers to the exercises of lesson 22, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_22.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import math

import torch

# Exercise 1


def operations(
    config, matrices=3, heads=1, keys=None, outputs=2, narrow=2, attention=None
):
    c = config
    n_kv_heads = (c.n_kv_heads or c.n_heads) if keys is None else keys(c)
    shared = c.d_model**2 * n_kv_heads // c.n_heads
    weights = c.n_layers * (outputs * c.d_model**2 + narrow * shared)
    weights += c.n_layers * matrices * c.d_model * c.d_ff
    weights += heads * c.d_model * c.vocab_size
    rest = 12 * c.n_layers * c.context_length * c.d_model
    return 6 * weights + (rest if attention is None else attention(c, rest))


def two_matrices(config):
    return operations(config, matrices=2)


def four_squares(config):
    return operations(config, keys=lambda c: c.n_heads)


def narrow_output(config):
    return operations(config, outputs=1, narrow=3)


def keys_alone(config):
    return operations(config, narrow=1)


def no_head(config):
    return operations(config, heads=0)


def with_tables(config):
    return operations(config, heads=2)


def no_attention(config):
    return operations(config, attention=lambda c, rest: 0)


def attention_of_key_heads(config):
    return operations(
        config,
        attention=lambda c, rest: rest * (c.n_kv_heads or c.n_heads) // c.n_heads,
    )


def forward_only(config):
    return operations(config) // 3


def multiplications(config):
    return operations(config) // 2


def whole_row(config):
    return operations(config) * config.context_length


def flops_as_words(config):
    return f"{operations(config):,}"


def flops_printed(config):
    operations(config)


def only_without_sharing(config):
    return operations(config, keys=lambda c: min(c.n_heads, 4))


# Exercise 2


def plain_mean(gradients, counts):
    return sum(gradients) / len(gradients)


def plain_sum(gradients, counts):
    return sum(gradients)


def not_divided(gradients, counts):
    return sum(n * g for n, g in zip(counts, gradients))


def by_processes(gradients, counts):
    return sum(n * g for n, g in zip(counts, gradients)) / len(counts)


def inverse_weights(gradients, counts):
    return sum(g / max(1, n) for n, g in zip(counts, gradients)) / sum(counts)


def first_alone(gradients, counts):
    return gradients[0].clone()


def wrong_order(gradients, counts):
    pairs = zip(reversed(counts), gradients)
    return sum(n * g for n, g in pairs) / sum(counts)


def gradients_in_place(gradients, counts):
    for n, g in zip(counts, gradients):
        g *= n / sum(counts)
    return sum(gradients)


def adds_to_the_first(gradients, counts):
    total = gradients[0]
    total *= counts[0]
    for n, g in zip(counts[1:], gradients[1:]):
        total += n * g
    return total / sum(counts)


def empties_the_counts(gradients, counts):
    total = sum(counts)
    return sum(counts.pop(0) * g for g in gradients) / total


def as_list(gradients, counts):
    return [(sum(n * g for n, g in zip(counts, gradients)) / sum(counts)).tolist()]


def two_processes_only(gradients, counts):
    first, second = gradients[:2]
    n, m = counts[:2]
    return (n * first + m * second) / (n + m)


def stacked(gradients, counts):
    return torch.stack([n * g / sum(counts) for n, g in zip(counts, gradients)])


# Exercise 3


def rest_is_lost(n_numbers, n_processes, rank):
    size = n_numbers // n_processes
    return rank * size, (rank + 1) * size


def rest_to_the_last(n_numbers, n_processes, rank):
    size = n_numbers // n_processes
    end = n_numbers if rank == n_processes - 1 else (rank + 1) * size
    return rank * size, end


def rounded_up(n_numbers, n_processes, rank):
    size = math.ceil(n_numbers / n_processes)
    return rank * size, min((rank + 1) * size, n_numbers)


def rounded_up_and_over(n_numbers, n_processes, rank):
    size = math.ceil(n_numbers / n_processes)
    return min(rank * size, n_numbers), (rank + 1) * size


def end_included(n_numbers, n_processes, rank):
    start, end = even(n_numbers, n_processes, rank)
    return start, end - 1


def from_one(n_numbers, n_processes, rank):
    start, end = even(n_numbers, n_processes, rank)
    return start + 1, end + 1


def fractions(n_numbers, n_processes, rank):
    return rank * n_numbers / n_processes, (rank + 1) * n_numbers / n_processes


def floors(n_numbers, n_processes, rank):
    return rank * n_numbers // n_processes, (rank + 1) * n_numbers // n_processes


def as_a_slice(n_numbers, n_processes, rank):
    return slice(*even(n_numbers, n_processes, rank))


def start_and_length(n_numbers, n_processes, rank):
    start, end = even(n_numbers, n_processes, rank)
    return start, end - start


def even(n_numbers, n_processes, rank):
    size, rest = divmod(n_numbers, n_processes)
    start = rank * size + min(rank, rest)
    return start, start + size + (rank < rest)


# Exercise 4


def no_floor(law, loss):
    return (law.scale / loss) ** (1 / law.exponent) if loss > law.floor else math.inf


def without_the_root(law, loss):
    return reached(law, loss, lambda left: (law.scale / left) ** law.exponent)


def upside_down(law, loss):
    return reached(law, loss, lambda left: (left / law.scale) ** (1 / law.exponent))


def multiplied(law, loss):
    return reached(law, loss, lambda left: (left * law.scale) ** (1 / law.exponent))


def divided(law, loss):
    return reached(law, loss, lambda left: law.scale / left / law.exponent)


def logarithm(law, loss):
    return reached(law, loss, lambda left: math.log(law.scale / left) / law.exponent)


def the_loss(law, loss):
    return law.predict(loss)


def complex_below(law, loss):
    if loss == law.floor:
        return math.inf
    return (law.scale / (loss - law.floor)) ** (1 / law.exponent)


def zero_below(law, loss):
    return reached(law, loss, right_size(law), below=0)


def crash_at_the_floor(law, loss):
    if loss < law.floor:
        return math.inf
    left = max(loss - law.floor, 1e-9)
    return (law.scale / left) ** (1 / law.exponent)


def size_as_words(law, loss):
    return f"{reached(law, loss, right_size(law)):,.0f}"


def right_size(law):
    return lambda left: (law.scale / left) ** (1 / law.exponent)


def reached(law, loss, size, below=math.inf):
    return size(loss - law.floor) if loss > law.floor else below


def floor_of_the_page(law, loss):
    if loss <= 1.7:
        return math.inf
    return (law.scale / (loss - law.floor)) ** (1 / law.exponent)


def with_the_empty(gradients, counts):
    return sum(n * g for g, n in zip(gradients, counts)) / sum(counts)


WRONG = {
    "check_modern_flops": [
        (two_matrices, "*three* matrices"),
        (four_squares, "`n_kv_heads` of them"),
        (narrow_output, "as wide as all query heads"),
        (keys_alone, "is missing: q, k, v"),
        (no_head, "The head takes part"),
        (with_tables, "looked up, not multiplied"),
        (no_attention, "products without weights"),
        (attention_of_key_heads, "lent to all queries"),
        (forward_only, "the forward pass"),
        (multiplications, "multiplied *and* added"),
        (whole_row, "For one token"),
        (flops_as_words, "must be a number"),
        (flops_printed, "is a `return` missing"),
        (only_without_sharing, "one token takes"),
    ],
    "check_mean_gradient": [
        (with_the_empty, "may hold NaN"),
        (plain_mean, "the plain mean"),
        (plain_sum, "without weights"),
        (not_divided, "now divide by all of them"),
        (by_processes, "by the number of processes"),
        (inverse_weights, "where you should multiply"),
        (first_alone, "the first process alone"),
        (wrong_order, "in the same order"),
        (gradients_in_place, "changed what it was given"),
        (adds_to_the_first, "changed what it was given"),
        (empties_the_counts, "changed what it was given"),
        (as_list, "must be a tensor"),
        (two_processes_only, "Weigh each gradient"),
        (stacked, "must have the shape"),
    ],
    "check_own_slice": [
        (rest_is_lost, "some belong to nobody"),
        (rest_to_the_last, "the first processes get one more"),
        (rounded_up, "no two may differ by more than 1"),
        (rounded_up_and_over, "there are no more"),
        (end_included, "a gap"),
        (from_one, "process 0 starts at 1"),
        (fractions, "two Python ints"),
        (floors, "the first processes get one more"),
        (as_a_slice, "two Python ints"),
        (start_and_length, "belong to nobody"),
    ],
    "check_size_for": [
        (no_floor, "You forgot the floor"),
        (floor_of_the_page, "gives 0.6893 nats"),
        (without_the_root, "raise to 1 / a"),
        (upside_down, "The exponent is negative"),
        (multiplied, "Divide A by L - E"),
        (divided, "take a root"),
        (logarithm, "logarithm of the size"),
        (the_loss, "You predicted a loss"),
        (complex_below, "complex number"),
        (zero_below, "No size reaches"),
        (crash_at_the_floor, "No size reaches"),
        (size_as_words, "must be a number"),
    ],
}
