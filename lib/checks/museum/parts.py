"""Room 2 of the bug museum: the parts of a Transformer."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from lib.checks import expect, python_number, rounded, tensor
from lib.checks.museum.exhibit import Exhibit, Mutant, near, noise

__all__ = ["EXHIBITS"]


def split_heads(x, n_heads):
    """(B, T, D) to (B, H, T, D / H): each head gets its slice of every vector."""
    n_rows, length, d_model = x.shape
    return x.view(n_rows, n_heads, length, d_model // n_heads)


def check_split_heads(answer):
    """Takes a function of x and n_heads."""
    for n_rows, length, n_heads, d_head in ((1, 3, 2, 2), (2, 4, 3, 5), (3, 1, 2, 4)):
        x = noise(n_rows, length, n_heads * d_head)
        given = tensor(answer(x, n_heads), (n_rows, n_heads, length, d_head))
        for head in range(n_heads):
            wanted = x[:, :, head * d_head : (head + 1) * d_head]
            for token in range(length):
                expect(
                    near(given[:, head, token], wanted[:, token]),
                    f"With {n_heads} heads of {d_head} numbers, head {head} does not "
                    f"get its slice of the vector at position {token}.",
                )
    return "Each head sees every position, and its slice alone."


def share_heads(k, n_heads):
    """Keys (B, H_kv, T, Dh) to (B, H, T, Dh): neighbouring query heads share one."""
    n_shared = n_heads // k.size(1)
    return k.repeat(1, n_shared, 1, 1)


def check_share_heads(answer):
    """Takes a function of k and n_heads."""
    for n_kv_heads, n_heads in ((2, 4), (3, 6), (1, 3), (2, 2), (2, 6)):
        k = noise(2, n_kv_heads, 3, 4)
        given = tensor(answer(k, n_heads), (2, n_heads, 3, 4))
        found = [
            next((i for i in range(n_kv_heads) if near(head, k[:, i])), None)
            for head in given.unbind(dim=1)
        ]
        wanted = [i * n_kv_heads // n_heads for i in range(n_heads)]
        expect(
            found == wanted,
            f"{n_heads} query heads and {n_kv_heads} key heads: the query heads get "
            f"the key heads {found}; neighbours share where it is {wanted}.",
        )
    return "Neighbours share."


class LayerNorm(nn.Module):
    """Bring each vector to mean 0 and variance 1, as `nn.LayerNorm` does."""

    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x):
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return self.gain * (x - mean) / (std + self.eps) + self.bias


def check_layer_norm(answer):
    """Takes a class."""
    for width in (2, 4, 64):
        ours, theirs = answer(width), nn.LayerNorm(width)
        for part, size in (("ordinary", 1.0), ("small", 1e-3)):
            x = size * noise(3, width)
            given = tensor(ours(x), (3, width))
            expect(
                near(given, theirs(x), 1e-3),
                f"For {part} vectors of {width} numbers the largest output is "
                f"{given.abs().max():.3f}; that of nn.LayerNorm is "
                f"{theirs(x).abs().max():.3f}.",
            )
    ours = answer(4)
    ours.load_state_dict({"gain": 2 * torch.ones(4), "bias": torch.ones(4)})
    right = 2 * F.layer_norm(x[:, :4], (4,)) + 1
    words = "A gain of 2 and a bias of 1 must act on the normalised vector."
    expect(near(ours(x[:, :4]), right, 1e-3), words)
    return "Equal to PyTorch's own, at every width."


class TiedModel(nn.Module):
    """The table that turns ids into vectors scores the next token, too."""

    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.table = nn.Embedding(vocab_size, d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, ids):
        x = self.norm(self.table(ids))  # (B, T, D)
        return x @ self.table.weight.T  # (B, T, V)


def check_tied_model(answer):
    """Takes a class."""
    torch.manual_seed(0)
    for vocab_size, d_model in ((200, 64), (300, 128)):
        model = answer(vocab_size, d_model)
        ids = torch.arange(vocab_size).view(2, -1)
        logits = tensor(model(ids), (*ids.shape, vocab_size))
        targets = ids.flatten().roll(1)
        loss = F.cross_entropy(logits.flatten(0, 1), targets)
        fair = math.log(vocab_size)
        expect(
            loss.item() < fair + 0.3,
            f"Before any training the loss is {loss.item():.1f}; a model that gives "
            f"all {vocab_size} tokens the same probability has {fair:.1f}.",
        )
        expect(model.table.weight.std(dim=0).min() > 0, "All tokens have one vector.")
        likeliest = logits.argmax(dim=-1)
        words = "A token's vector no longer scores that token; the table should."
        expect((likeliest == ids).float().mean() > 0.5, words)
    return "It begins by knowing nothing, and says so."


def balance_loss(probabilities, chosen):
    """1 if all E experts get the same; probabilities (N, E), chosen (N, K)."""
    n_experts = probabilities.size(-1)
    times = F.one_hot(chosen, n_experts).sum(dim=1).float()  # (N, E)
    share, mean = times.mean(dim=0), probabilities.mean(dim=0)  # (E,)
    return n_experts * (share * mean).sum()


def check_balance_loss(answer):
    """Takes a function of probabilities and chosen."""
    for n_active in (1, 2, 4):
        even = torch.full((8, 4), 0.25)
        chosen = (torch.arange(8)[:, None] + torch.arange(n_active)) % 4
        given = python_number(float(answer(even, chosen)))
        expect(
            abs(given - 1) < 1e-4,
            f"Each token uses {n_active} of 4 experts, all equally often, and the loss "
            f"is {given:.2f}.",
        )
    chosen = torch.zeros(8, 1, dtype=torch.int64)
    sure = F.one_hot(chosen[:, 0], 4).float()
    given = float(answer(sure, chosen))
    words = f"One of 4 experts has all, and the loss is {given:.2f}; it should be 4."
    expect(abs(given - 4) < 1e-4, words)
    learns = noise(8, 4).softmax(dim=-1).requires_grad_()
    loss = answer(learns, chosen)
    expect(loss.requires_grad, "No gradient reaches the router.")
    loss.backward()
    slopes = rounded(learns.grad[0])
    words = f"The gradients are {slopes}: nothing pushes tokens away from the first."
    expect(slopes[0] > slopes[1], words)
    return "1 for an even load, however many experts a token uses."


EXHIBITS = [
    Exhibit(
        "heads",
        split_heads,
        check_split_heads,
        (
            (
                "x.view(n_rows, n_heads, length, d_model // n_heads)",
                "x.view(n_rows, length, n_heads, d_model // n_heads).transpose(1, 2)",
            ),
        ),
        Mutant(
            "attention.py",
            "return wide.view(n_rows, length, -1, self.d_head).transpose(1, 2)",
            "return wide.view(n_rows, -1, length, self.d_head)",
        ),
        "test_attention.py::test_layer_equals_torch",
    ),
    Exhibit(
        "shared-heads",
        share_heads,
        check_share_heads,
        (("k.repeat(1, n_shared, 1, 1)", "k.repeat_interleave(n_shared, dim=1)"),),
        Mutant(
            "attention.py",
            "return k.repeat_interleave(n_shared, dim=1), "
            "v.repeat_interleave(n_shared, 1)",
            "return k.repeat(1, n_shared, 1, 1), v.repeat(1, n_shared, 1, 1)",
        ),
        "test_attention_options.py::"
        "test_grouped_heads_equal_full_heads_with_repeated_weights",
    ),
    Exhibit(
        "layer-norm",
        LayerNorm,
        check_layer_norm,
        (
            (
                "mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)",
                "mean = x.mean(-1, keepdim=True)\n"
                "        variance = x.var(-1, keepdim=True, correction=0)",
            ),
            ("(std + self.eps)", "(variance + self.eps).sqrt()"),
        ),
        Mutant(
            "norm.py",
            "return F.layer_norm(x, (self.d_model,), gain, bias, self.eps)",
            "centred = x - x.mean(-1, keepdim=True)\n"
            "        std = x.std(-1, keepdim=True)\n"
            "        return gain * centred / (std + self.eps) + bias",
        ),
        "test_parts.py::test_layer_norm_equals_torch",
    ),
    Exhibit(
        "first-loss",
        TiedModel,
        check_tied_model,
        (
            (
                "self.table = nn.Embedding(vocab_size, d_model)",
                "self.table = nn.Embedding(vocab_size, d_model)\n"
                "        nn.init.normal_(self.table.weight, std=0.02)",
            ),
        ),
        Mutant("models/gpt.py", "    std = 0.02\n", "    std = 1.0\n"),
        "test_gpt.py::test_a_tied_model_knows_nothing_at_the_start",
    ),
    Exhibit(
        "balance-loss",
        balance_loss,
        check_balance_loss,
        (("times.mean(dim=0),", "times.mean(dim=0) / chosen.size(1),"),),
        Mutant(
            "moe.py",
            "counts.to(mean.dtype) / chosen.numel() * mean",
            "counts.to(mean.dtype) / len(chosen) * mean",
        ),
        "test_moe.py::test_it_is_transformers_by_the_number_of_active_experts",
    ),
]
