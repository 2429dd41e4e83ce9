"""Wrong answers to the exercises of lesson 07, which their checks must reject."""

import copy

import torch

from lib.attention import MultiHeadAttention, scaled_dot_product_attention


def work(projections=4, products=2, heads_in=False, wide=False, pairs=True, rows=True):
    """A count of multiplications with one mistake in it."""

    def multiplications(length, d_model, n_heads):
        d_head = d_model // n_heads
        narrow = d_model if wide else d_head
        looking = (1 if heads_in else n_heads) * length * narrow
        looking *= length if pairs else 1 / (n_heads if wide else 1)
        return projections * (length if rows else 1) * d_model**2 + products * looking

    return multiplications


def mask_from(compare=torch.lt, shape=(-1, 1, 1), flip=False, longest=False):
    """A mask from lengths with one mistake in it."""

    def lengths_mask(lengths, T):
        places = torch.arange(int(lengths.max()) if longest else T)
        mask = compare(places, lengths.unsqueeze(1))
        mask = mask.flip(-1) if flip else mask
        return mask.reshape(len(lengths), *shape[1:], len(places))

    return lengths_mask


def queries_last(lengths, T):
    return (torch.arange(T) < lengths.unsqueeze(1))[:, None, :, None]


def numbers_not_bool(lengths, T):
    return (torch.arange(T) < lengths.unsqueeze(1))[:, None, None, :].float()


def contributions(rows=False, share=0.0, masked=True, dim=0, project=True):
    """The terms of the heads with one mistake in them."""

    def head_contributions(attention, x, mask):
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        heads = [p(x).unflatten(-1, (-1, attention.d_head)) for p in projections]
        q, k, v = (w.transpose(1, 2) for w in heads)
        mixed = scaled_dot_product_attention(q, k, v, mask if masked else None)[0]
        W, Dh, terms = attention.out_proj.weight, attention.d_head, []
        for h in range(q.size(1)):
            mine = slice(h * Dh, (h + 1) * Dh)
            term = mixed[:, h] @ (W[mine] if rows else W[:, mine].T)
            if not project:
                term = torch.zeros_like(x)
                term[..., mine] = mixed[:, h]
            if attention.out_proj.bias is not None:
                term = term + attention.out_proj.bias * share
            terms.append(term)
        return torch.stack(terms, dim=dim)

    return head_contributions


def in_place(attention, x, mask):
    H = attention.d_model // attention.d_head
    weight, terms = attention.out_proj.weight.clone(), []
    for h in range(H):
        mine = slice(h * attention.d_head, (h + 1) * attention.d_head)
        attention.out_proj.weight.data.zero_()
        attention.out_proj.weight.data[:, mine] = weight[:, mine]
        terms.append(attention(x, mask)[0])
    return torch.stack(terms)


def the_others(attention, x, mask):
    terms = []
    for h in range(attention.d_model // attention.d_head):
        pruned = copy.deepcopy(attention)
        mine = slice(h * attention.d_head, (h + 1) * attention.d_head)
        pruned.out_proj.weight.data[:, mine] = 0
        terms.append(pruned(x, mask)[0])
    return torch.stack(terms)


def hand_made(scale=30.0, step=1, swap=False, values="letter", out=True, n_heads=2):
    """Two heads with weights set by hand and one mistake in them."""

    def two_heads():
        attention = MultiHeadAttention(16, n_heads, bias=False)
        one, none = torch.eye(8), torch.zeros(8, 8)
        back = one.roll(step, dims=1)
        heads = (back, one) if swap else (one, back)
        place, letter = torch.cat([none, one], dim=1), torch.cat([one, none], dim=1)
        queries = [torch.cat([none, scale * wish], dim=1) for wish in heads]
        carried = letter if values == "letter" else place
        attention.q_proj.weight.data = torch.cat(queries)
        attention.k_proj.weight.data = torch.cat([place, place])
        attention.v_proj.weight.data = torch.cat([carried, carried])
        attention.out_proj.weight.data = torch.eye(16) * (1 if out else -1)
        return attention

    return two_heads


WRONG = {
    "check_multiplications": [
        (work(projections=3), "output projection is missing"),
        (work(products=1), "Scores *and* mixing"),
        (work(products=0), "scores and the mixing of the values are missing"),
        (work(heads_in=True), "there are n_heads of them"),
        (work(wide=True), "not d_model"),
        (work(rows=False), "`length` positions is projected"),
        (work(pairs=False), "each *pair* of positions"),
    ],
    "check_lengths_mask": [
        (mask_from(compare=torch.le), "positions count from 0"),
        (mask_from(compare=torch.ge), "other way round"),
        (mask_from(shape=(-1,)), "two dimensions of size 1"),
        (mask_from(shape=(-1, 1)), "One dimension is missing"),
        (mask_from(flip=True), "stands at the end"),
        (mask_from(longest=True), "not the largest length"),
        (queries_last, "The positions come last"),
        (numbers_not_bool, "must be bool"),
    ],
    "check_head_contributions": [
        (contributions(rows=True), "not rows"),
        (contributions(share=1.0), "leave it out"),
        (contributions(masked=False), "The mask is not used"),
        (contributions(project=False), "before the output projection"),
        (contributions(dim=1), "The heads come first"),
        (in_place, "You changed the weights"),
        (the_others, "without the head; asked"),
    ],
    "check_two_heads": [
        (hand_made(swap=True), "two halves are swapped"),
        (hand_made(scale=3.0), "make the queries larger"),
        (hand_made(step=-1), "which the mask hides"),
        (hand_made(step=0), "Both heads look at the own letter"),
        (hand_made(values="place"), "values must be the letters"),
        (hand_made(out=False), "is out_proj the identity"),
        (hand_made(n_heads=4), "Use MultiHeadAttention(16, 2)"),
    ],
}
