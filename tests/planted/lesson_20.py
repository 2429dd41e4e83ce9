"""Wrong answers to the exercises of lesson 20, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_20.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import math

import torch

# Exercise 1


def room(config, clip=True, every=True, from_zero=False, swap=False):
    """The tokens that all blocks together have room for."""
    c, length = config, config.context_length
    window = length if c.window is None else c.window
    window = min(window, length) if clip else window
    n_full = c.n_layers // c.full_every if c.full_every and every else 0
    if from_zero and c.full_every:
        n_full = -(-c.n_layers // c.full_every)
    if swap and c.full_every:
        n_full = c.n_layers - n_full
    return n_full * length + (c.n_layers - n_full) * window


def product(config, tokens, heads=None, width=None, copies=2, size=4):
    heads = heads or config.n_kv_heads or config.n_heads
    width = width or config.d_head or config.d_model // config.n_heads
    return copies * size * heads * width * tokens


def no_window(config):
    return product(config, config.n_layers * config.context_length)


def all_windows(config):
    return product(config, room(config, every=False))


def not_clipped(config):
    return product(config, room(config, clip=False))


def counted_from_zero(config):
    return product(config, room(config, from_zero=True))


def swapped(config):
    return product(config, room(config, swap=True))


def keys_only(config):
    return product(config, room(config), copies=1)


def half_precision(config):
    return product(config, room(config), size=2)


def numbers_only(config):
    return product(config, room(config), size=1)


def query_heads(config):
    return product(config, room(config), heads=config.n_heads)


def derived_width(config):
    return product(config, room(config), width=config.d_model // config.n_heads)


def whole_width(config):
    return product(config, room(config), width=config.d_model)


def grows_with_none(config):
    return product(config, config.n_layers * config.window)


def as_words(config):
    return f"{product(config, room(config))} bytes"


def printed(config):
    product(config, room(config))


# Exercise 2


def parts(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = torch.maximum(m1, m2)
    return m1, l1, o1, m2, l2, o2, m, (m1 - m).exp(), (m2 - m).exp()


def only_added(first, second):
    _, l1, o1, _, l2, o2, m, _, _ = parts(first, second)
    return m, l1 + l2, o1 + o2


def o_not_shrunk(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    return m, s1 * l1 + s2 * l2, o1 + o2


def second_is_newer(first, second):
    _, l1, o1, _, l2, o2, m, s1, _ = parts(first, second)
    return m, s1 * l1 + l2, s1 * o1 + o2


def other_way_round(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    return m, l1 / s1 + l2 / s2, o1 / s1 + o2 / s2


def already_divided(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    total = s1 * l1 + s2 * l2
    return m, total, (s1 * o1 + s2 * o2) / total


def mean_of_outputs(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    return m, s1 * l1 + s2 * l2, (o1 / l1 + o2 / l2) / 2


def one_m_for_all(first, second):
    m1, l1, o1, m2, l2, o2, *_ = parts(first, second)
    m = torch.full_like(m1, max(m1.max(), m2.max()))
    s1, s2 = (m1 - m).exp(), (m2 - m).exp()
    return m, s1 * l1 + s2 * l2, s1 * o1 + s2 * o2


def smaller_m(first, second):
    m1, l1, o1, m2, l2, o2, *_ = parts(first, second)
    m = torch.minimum(m1, m2)
    s1, s2 = (m1 - m).exp(), (m2 - m).exp()
    return m, s1 * l1 + s2 * l2, s1 * o1 + s2 * o2


def shrinks_in_place(first, second):
    m1, l1, o1, m2, l2, o2, m, s1, s2 = parts(first, second)
    l1 *= s1
    o1 *= s1
    return m, l1 + s2 * l2, o1 + s2 * o2


def through_outputs(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    return m, s1 * l1 + s2 * l2, s1 * l1 * (o1 / l1) + s2 * l2 * (o2 / l2)


def without_m(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    return s1 * l1 + s2 * l2, s1 * o1 + s2 * o2


def as_numbers(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    merged = m, s1 * l1 + s2 * l2, s1 * o1 + s2 * o2
    return tuple(tensor.tolist() for tensor in merged)


def rows_lost(first, second):
    _, l1, o1, _, l2, o2, m, s1, s2 = parts(first, second)
    return m.squeeze(-1), s1 * l1 + s2 * l2, s1 * o1 + s2 * o2


# Exercise 3


def distances(n_new, n_keys):
    return torch.arange(n_keys - n_new, n_keys)[:, None] - torch.arange(n_keys)


def first_positions(n_new, n_keys, window):
    d = torch.arange(n_new)[:, None] - torch.arange(n_keys)
    return (d >= 0) & (d < window)


def too_wide(n_new, n_keys, window):
    d = distances(n_new, n_keys)
    return (d >= 0) & (d <= window)


def too_narrow(n_new, n_keys, window):
    d = distances(n_new, n_keys)
    return (d >= 0) & (d < window - 1)


def not_itself(n_new, n_keys, window):
    d = distances(n_new, n_keys)
    return (d > 0) & (d <= window)


def without_window(n_new, n_keys, window):
    return distances(n_new, n_keys) >= 0


def both_directions(n_new, n_keys, window):
    return distances(n_new, n_keys).abs() < window


def with_the_future(n_new, n_keys, window):
    return distances(n_new, n_keys) < window


def forbidden(n_new, n_keys, window):
    d = distances(n_new, n_keys)
    return (d < 0) | (d >= window)


def as_floats(n_new, n_keys, window):
    d = distances(n_new, n_keys)
    return ((d >= 0) & (d < window)).float()


def as_scores(n_new, n_keys, window):
    d = distances(n_new, n_keys)
    return torch.where((d >= 0) & (d < window), 0.0, -math.inf)


def square(n_new, n_keys, window):
    d = distances(n_keys, n_keys)
    return (d >= 0) & (d < window)


def example_only(n_new, n_keys, window):
    d = distances(4, 7)
    return (d >= 0) & (d < 3)


def as_a_list(n_new, n_keys, window):
    d = distances(n_new, n_keys)
    return ((d >= 0) & (d < window)).tolist()


def without_shrinking(first, second):
    """Undoes both m at once: nan for large scores."""
    m = torch.maximum(first[0], second[0])
    l, o = (
        (first[0].exp() * a + second[0].exp() * b) / m.exp()
        for a, b in zip(first[1:], second[1:])
    )
    return m, l, o


def finite_lowest(first, second):
    """An empty half gets a large number in place of -inf."""
    m1, m2 = (side[0].clamp(min=-1e4) for side in (first, second))
    m = torch.maximum(m1, m2)
    shrink = (m1 - m).exp(), (m2 - m).exp()
    l, o = (shrink[0] * a + shrink[1] * b for a, b in zip(first[1:], second[1:]))
    return m, l, o


def rounded_full(c):
    return blocks_full(c, lambda n, every: round(n / every))


def one_full_at_least(c):
    return blocks_full(c, lambda n, every: max(1, n // every))


def blocks_full(c, count):
    n_full = count(c.n_layers, c.full_every) if c.full_every else 0
    room = min(c.window or c.context_length, c.context_length)
    tokens = n_full * c.context_length + (c.n_layers - n_full) * room
    d_head = c.d_head or c.d_model // c.n_heads
    return 8 * (c.n_kv_heads or c.n_heads) * d_head * tokens


def whole_table(n_new, n_keys, window):
    table = torch.ones(n_keys, n_keys, dtype=torch.bool)
    return table.tril().triu(1 - window)[-n_new:]


WRONG = {
    "check_window_bytes": [
        (no_window, "room for `window` tokens"),
        (all_windows, "have no window"),
        (not_clipped, "wider than the context"),
        (counted_from_zero, "counted from 1"),
        (swapped, "swapped the two kinds"),
        (rounded_full, "'full_every': 3} the caches take"),
        (one_full_at_least, "'full_every': 3} the caches take"),
        (keys_only, "keys *and* values"),
        (half_precision, "keys *and* values"),
        (numbers_only, "takes 4 bytes"),
        (query_heads, "the *key* heads"),
        (derived_width, "`d_head` is given"),
        (whole_width, "`d_head` wide"),
        (grows_with_none, "have no window"),
        (as_words, "must be a number"),
        (printed, "is a `return` missing"),
    ],
    "check_merge": [
        (only_added, "added l without shrinking"),
        (o_not_shrunk, "added o without shrinking"),
        (second_is_newer, "Only one side of l"),
        (other_way_round, "l grew"),
        (already_divided, "not yet divided by l"),
        (mean_of_outputs, "the same weight"),
        (one_m_for_all, "for each query on its own"),
        (smaller_m, "not the smaller"),
        (without_shrinking, "where scores are large"),
        (finite_lowest, "`m`"),
        (shrinks_in_place, "changed what it was given"),
        (through_outputs, "holds nan or inf"),
        (without_m, "Return three tensors"),
        (as_numbers, "must be a tensor"),
        (rows_lost, "must have the shape"),
    ],
    "check_new_mask": [
        (first_positions, "they are the last"),
        (whole_table, "compute the new rows only"),
        (too_wide, "one too wide"),
        (too_narrow, "one too narrow"),
        (not_itself, "may look at itself"),
        (without_window, "no window in yours"),
        (both_directions, "into the future"),
        (with_the_future, "against the future"),
        (forbidden, "where looking is allowed"),
        (as_floats, "must be bool"),
        (as_scores, "must be bool"),
        (square, "must have the shape"),
        (example_only, "must have the shape"),
        (as_a_list, "must be a tensor"),
    ],
}
