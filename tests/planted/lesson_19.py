"""Wrong answers to the exercises of lesson 19, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_19.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import torch

# Exercise 1


def product(config, n_kv_heads=None, d_head=None, length=None, copies=2, size=4):
    heads = config.n_kv_heads or config.n_heads if n_kv_heads is None else n_kv_heads
    width = config.d_head or config.d_model // config.n_heads
    width = width if d_head is None else d_head
    length = config.context_length if length is None else length
    return config.n_layers * copies * heads * length * width * size


def query_heads(config):
    return product(config, n_kv_heads=config.n_heads)


def whole_width(config):
    return product(config, d_head=config.d_model)


def derived_width(config):
    return product(config, d_head=config.d_model // config.n_heads)


def numbers_only(config):
    return product(config, size=1)


def half_precision(config):
    return product(config, size=2)


def keys_only(config):
    return product(config, copies=1)


def one_block(config):
    return product(config) // config.n_layers


def one_position(config):
    return product(config, length=1)


def as_words(config):
    return f"{product(config)} bytes"


def as_kilobytes(config):
    return product(config) / 1024


def printed(config):
    product(config)


# Exercise 2


def in_place(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    weight.copy_(torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1))
    return weight


def as_it_is(weight, n_heads):
    return weight.clone()


def all_rows_at_once(weight, n_heads):
    return torch.cat([weight[0::2], weight[1::2]])


def the_way_back(weight, n_heads):
    first, second = weight.unflatten(0, (n_heads, -1)).chunk(2, dim=1)
    return torch.stack([first, second], dim=2).flatten(0, 2)


def odd_first(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    return torch.cat([heads[:, 1::2], heads[:, 0::2]], dim=1).flatten(0, 1)


def columns(weight, n_heads):
    return torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)


def heads_left_apart(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1)


def two_heads_always(weight, n_heads):
    heads = weight.unflatten(0, (2, -1))
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)


def as_a_list(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1).tolist()


# Exercise 3


def summed(weight, n_heads, n_kv_heads):
    shape = (n_kv_heads, n_heads // n_kv_heads, -1)
    return weight.unflatten(0, shape).sum(dim=1).flatten(0, 1)


def first_of_each(weight, n_heads, n_kv_heads):
    shape = (n_kv_heads, n_heads // n_kv_heads, -1)
    return weight.unflatten(0, shape)[:, 0].flatten(0, 1)


def first_heads(weight, n_heads, n_kv_heads):
    return weight[: len(weight) // n_heads * n_kv_heads].clone()


def in_turn(weight, n_heads, n_kv_heads):
    shape = (n_heads // n_kv_heads, n_kv_heads, -1)
    return weight.unflatten(0, shape).mean(dim=0).flatten(0, 1)


def across_heads(weight, n_heads, n_kv_heads):
    shape = (n_kv_heads, -1, n_heads // n_kv_heads)
    return weight.unflatten(0, shape).mean(dim=2).flatten(0, 1)


def not_flattened(weight, n_heads, n_kv_heads):
    shape = (n_kv_heads, n_heads // n_kv_heads, -1)
    return weight.unflatten(0, shape).mean(dim=1)


def pairs_only(weight, n_heads, n_kv_heads):
    return weight.unflatten(0, (n_heads // 2, 2, -1)).mean(dim=1).flatten(0, 1)


def divided_in_place(weight, n_heads, n_kv_heads):
    n_shared = n_heads // n_kv_heads
    weight /= n_shared
    return weight.unflatten(0, (n_kv_heads, n_shared, -1)).sum(dim=1).flatten(0, 1)


def one_option_at_a_time(c):
    width = c.d_model
    if c.n_kv_heads is not None:
        width = c.n_kv_heads * (c.d_model // c.n_heads)
    elif c.d_head is not None:
        width = c.n_heads * c.d_head
    return 8 * c.n_layers * c.context_length * width


def the_other_first(c):
    width = c.d_model
    if c.d_head is not None:
        width = c.n_heads * c.d_head
    elif c.n_kv_heads is not None:
        width = c.n_kv_heads * (c.d_model // c.n_heads)
    return 8 * c.n_layers * c.context_length * width


WRONG = {
    "check_cache_bytes": [
        (query_heads, "the *key* heads"),
        (whole_width, "`d_head` wide"),
        (derived_width, "`d_head` is given"),
        (one_option_at_a_time, "'d_head': 14} the cache takes"),
        (the_other_first, "'d_head': 14} the cache takes"),
        (numbers_only, "takes 4 bytes"),
        (half_precision, "keys *and* values"),
        (keys_only, "keys *and* values"),
        (one_block, "each block has a cache"),
        (one_position, "room for all"),
        (as_words, "must be a number"),
        (as_kilobytes, "Multiply blocks"),
        (printed, "is a `return` missing"),
    ],
    "check_half_split": [
        (in_place, "changed `weight` itself"),
        (as_it_is, "the order that you were given"),
        (all_rows_at_once, "rows of each head"),
        (the_way_back, "the way back"),
        (odd_first, "Even rows first"),
        (columns, "first the even rows"),
        (heads_left_apart, "must have the shape"),
        (two_heads_always, "first the even rows"),
        (as_a_list, "must be a tensor"),
    ],
    "check_share_heads": [
        (summed, "sum of each group"),
        (first_of_each, "kept the first head"),
        (first_heads, "the mean of its group"),
        (in_turn, "groups are neighbours"),
        (across_heads, "across heads"),
        (not_flattened, "must have the shape"),
        (pairs_only, "must have the shape"),
        (divided_in_place, "changed `weight` itself"),
    ],
}
