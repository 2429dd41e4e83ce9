"""Wrong answers to the exercises of lesson 07, which their checks must reject."""

import copy

import torch
from torch import nn

from lib.attention import (
    MultiHeadAttention,
    causal_mask,
    scaled_dot_product_attention,
)


def work(layers=4, products=2, heads_in=False, wide=False, pairs=True, rows=True):
    """A count of multiplications with one mistake in it."""

    def multiplications(length, d_model, n_heads):
        d_head = d_model // n_heads
        narrow = d_model if wide else d_head
        looking = (1 if heads_in else n_heads) * length * narrow
        looking *= length if pairs else 1 / (n_heads if wide else 1)
        return layers * (length if rows else 1) * d_model**2 + products * looking

    return multiplications


def right_work(length, d_model, n_heads):
    return 4 * length * d_model**2 + 2 * length**2 * d_model


def work_as_text(length, d_model, n_heads):
    return str(right_work(length, d_model, n_heads))


def work_as_tensor(length, d_model, n_heads):
    return torch.tensor(right_work(length, d_model, n_heads))


def work_of_the_paper(length, d_model, n_heads):
    return right_work(length, 512, 8)


def narrow_layers(length, d_model, n_heads):
    d_head = d_model // n_heads
    return 4 * length * d_model * d_head + 2 * length**2 * d_model


def half_masked(length, d_model, n_heads):
    return 4 * length * d_model**2 + length * (length + 1) * d_model


def moved(order=(0, 1, 2), turn=False, out=True, by_head=False, n_heads=None):
    """A module with PyTorch's weights and one mistake in it."""

    def from_torch(torchs):
        D, H = torchs.embed_dim, n_heads or torchs.num_heads
        ours = MultiHeadAttention(D, H, bias=False)
        matrices = torchs.in_proj_weight.chunk(3)
        if by_head:
            matrices = torchs.in_proj_weight.view(H, 3, -1, D).transpose(0, 1)
        layers = (ours.q_proj, ours.k_proj, ours.v_proj)
        for layer, index in zip(layers, order):
            matrix = matrices[index].reshape(D, D)
            layer.weight.data.copy_(matrix.T if turn else matrix)
        if out:
            ours.out_proj.weight.data.copy_(torchs.out_proj.weight)
        return ours

    return from_torch


def shared_rows(torchs):
    ours = moved()(torchs)
    ours.q_proj.weight.data = torchs.in_proj_weight.data.chunk(3)[0]
    return ours


def shared_layer(torchs):
    ours = moved()(torchs)
    ours.out_proj = torchs.out_proj
    return ours


def frozen(torchs):
    return moved()(torchs).requires_grad_(False)


def with_biases(torchs):
    ours = MultiHeadAttention(torchs.embed_dim, torchs.num_heads)
    ours.load_state_dict(moved()(torchs).state_dict(), strict=False)
    return ours


def the_other_way(torchs):
    ours = MultiHeadAttention(torchs.embed_dim, torchs.num_heads, bias=False)
    rows = [p.weight for p in (ours.q_proj, ours.k_proj, ours.v_proj)]
    torchs.in_proj_weight.data.copy_(torch.cat(rows))
    torchs.out_proj.weight.data.copy_(ours.out_proj.weight)
    return ours


def switched_off(torchs):
    torchs.requires_grad_(False)
    return moved()(torchs)


def in_double(torchs):
    return moved()(torchs).double()


def a_dictionary(torchs):
    return moved()(torchs).state_dict()


def contributions(rows=False, masked=True, dim=0, project=True, reverse=False):
    """The terms of the heads with one mistake in them."""

    def head_contributions(attention, x, mask):
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        heads = [layer(x).unflatten(-1, (-1, attention.d_head)) for layer in layers]
        q, k, v = (w.transpose(1, 2) for w in heads)
        mixed = scaled_dot_product_attention(q, k, v, mask if masked else None)[0]
        W, Dh, terms = attention.out_proj.weight, attention.d_head, []
        for h in range(q.size(1)):
            mine = slice(h * Dh, (h + 1) * Dh)
            term = mixed[:, h] @ (W[mine] if rows else W[:, mine].T)
            if not project:
                term = torch.zeros_like(x)
                term[..., mine] = mixed[:, h]
            terms.append(term)
        return torch.stack(terms[::-1] if reverse else terms, dim=dim)

    return head_contributions


def own_mask(attention, x, mask):
    return contributions()(attention, x, causal_mask(x.size(1)))


def a_list(attention, x, mask):
    return list(contributions()(attention, x, mask))


def wrong_precision(attention, x, mask):
    return contributions()(attention, x, mask).double()


def bare_view(attention, x, mask):
    B, T, D = x.shape
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    q, k, v = (layer(x).view(B, -1, T, attention.d_head) for layer in layers)
    mixed = scaled_dot_product_attention(q, k, v, mask)[0]
    pieces = attention.out_proj.weight.split(attention.d_head, dim=1)
    return torch.stack([mixed[:, h] @ piece.T for h, piece in enumerate(pieces)])


def hook_left(attention, x, mask):
    attention.out_proj.register_forward_hook(lambda *call: None)
    return contributions()(attention, x, mask)


def equal_shares(attention, x, mask):
    n_heads = attention.d_model // attention.d_head
    return torch.stack([attention(x, mask)[0] / n_heads] * n_heads)


def three_heads(attention, x, mask):
    width = attention.d_model // 3 if attention.d_model % 3 == 0 else attention.d_head
    cut = copy.deepcopy(attention)
    cut.d_head = width
    return contributions()(cut, x, mask)


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


def overwritten(attention, x, mask):
    terms = contributions()(attention, x, mask)
    x.zero_()
    return terms


def hand_made(scale=30.0, steps=(0, 1), values="letter", out=True, n_heads=2):
    """Two heads with weights set by hand and one mistake in them."""

    def two_heads():
        attention = MultiHeadAttention(16, n_heads, bias=False)
        one, none = torch.eye(8), torch.zeros(8, 8)
        place, letter = torch.cat([none, one], dim=1), torch.cat([one, none], dim=1)
        heads = [one.roll(step, dims=1) for step in steps]
        queries = [torch.cat([none, scale * wish], dim=1) for wish in heads]
        carried = letter if values == "letter" else place
        attention.q_proj.weight.data = torch.cat(queries)
        attention.k_proj.weight.data = torch.cat([place, place])
        attention.v_proj.weight.data = torch.cat([carried, carried])
        attention.out_proj.weight.data = torch.eye(16) * (1 if out else -1)
        return attention

    return two_heads


def random_biases():
    attention = MultiHeadAttention(16, 2)
    attention.load_state_dict(hand_made()().state_dict(), strict=False)
    return attention


def infinite():
    return hand_made(scale=float("inf"))()


def for_one_word():
    attention = hand_made()()
    attention.k_proj.weight.data[5:8] = 0  # only as many positions as one word has
    attention.k_proj.weight.data[13:16] = 0
    return attention


def of_torch():
    return nn.MultiheadAttention(16, 2, bias=False, batch_first=True)


WRONG = {
    "check_multiplications": [
        (work(layers=3), "output projection is missing"),
        (work(products=1), "Scores *and* mixing"),
        (work(products=0), "scores and the mixing of the values are missing"),
        (work(heads_in=True), "there are n_heads of them"),
        (work(wide=True), "not d_model"),
        (work(rows=False), "`length` positions goes through"),
        (work(pairs=False), "each *pair* of positions"),
        (narrow_layers, "not to d_head"),
        (half_masked, "all of them are computed"),
        (work_as_text, "yours is a str"),
        (work_as_tensor, "yours is a Tensor"),
        (work_of_the_paper, "Write down the shapes"),
    ],
    "check_from_torch": [
        (moved(order=(1, 0, 2)), "its matrix is that of the keys"),
        (moved(order=(0, 2, 1)), "k_proj must hold the matrix of the keys"),
        (moved(turn=True), "that of the queries, transposed"),
        (moved(out=False), "out_proj must hold the matrix of the output"),
        (moved(by_head=True), "lie below each other whole"),
        (moved(n_heads=2), "Your heads have 6 numbers each"),
        (shared_rows, "q_proj shares its numbers"),
        (shared_layer, "out_proj shares its numbers"),
        (frozen, "cannot be trained any more"),
        (with_biases, "leave the biases out"),
        (the_other_way, "You changed PyTorch's module"),
        (switched_off, "leave it as it is"),
        (in_double, "yours has (12, 12) and torch.float64"),
        (a_dictionary, "Return a MultiHeadAttention of this course"),
        (lambda torchs: torchs, "yours has the type MultiheadAttention"),
    ],
    "check_head_contributions": [
        (contributions(rows=True), "not rows"),
        (contributions(masked=False), "The mask is not used"),
        (own_mask, "Use the mask that is given"),
        (contributions(project=False), "before the output projection"),
        (contributions(dim=1), "The heads come first"),
        (contributions(reverse=True), "reverse order"),
        (equal_shares, "equal share"),
        (three_heads, "With 6 heads"),
        (a_list, "yours is a list"),
        (wrong_precision, "yours torch.float64"),
        (bare_view, "view without a transpose"),
        (hook_left, "leave no hook behind"),
        (in_place, "You changed the attention"),
        (the_others, "without the head; asked"),
        (overwritten, "You changed `x`"),
    ],
    "check_two_heads": [
        (hand_made(steps=(1, 0)), "two halves are swapped"),
        (hand_made(scale=3.0), "make the queries larger"),
        (hand_made(steps=(0, -1)), "which the mask hides"),
        (hand_made(steps=(0, 0)), "Both heads look at their own letter"),
        (hand_made(steps=(1, 1)), "Both heads look at the letter before"),
        (hand_made(values="place"), "values must be the letters"),
        (hand_made(out=False), "is out_proj the identity"),
        (hand_made(n_heads=4), "give 8: MultiHeadAttention(16, 2)"),
        (random_biases, "leave the biases out"),
        (infinite, "some weight is infinite"),
        (for_one_word, "Print the weights"),
        (of_torch, "of this course"),
    ],
}
