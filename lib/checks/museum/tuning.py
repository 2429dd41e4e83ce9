"""Room 6 of the bug museum: fine-tuning and evaluation."""

from __future__ import annotations

import math

import torch
from torch import nn

from lib.checks import expect, number, python_number, tensor
from lib.checks.museum.exhibit import Exhibit, Mutant, near, noise

__all__ = ["EXHIBITS"]


class Adapter(nn.Module):
    """What LoRA adds to the output of a frozen layer: (..., d_in) to (..., d_out)."""

    def __init__(self, d_in, d_out, rank, alpha):
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, d_in) / math.sqrt(d_in))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.scale = alpha

    def forward(self, x):
        return self.scale * (x @ self.a.T @ self.b.T)


def check_adapter(answer):
    """Takes a class."""
    for rank in (1, 4, 16):
        adapter = answer(8, 3, rank, 16.0)
        first = adapter(noise(2, 8))
        expect(first.abs().max() == 0, "It changes the model before any training.")
        ones = {"a": torch.ones(rank, 8), "b": torch.ones(3, rank)}
        adapter.load_state_dict(ones)
        given = tensor(adapter(torch.ones(2, 8)), (2, 3))[0, 0].item()
        expect(
            abs(given - 16 * 8) < 1e-3,
            f"With alpha=16, {rank=} and 1 for all numbers the output is {given:g}; "
            "the adapters of other libraries give 128 at every rank.",
        )
    return "Another rank needs no other learning rate."


class NewAdapter(nn.Module):
    """An adapter of low rank, with its two matrices as they are before training."""

    def __init__(self, d_in, d_out, rank, alpha):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(rank, d_in))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.scale * (x @ self.a.T @ self.b.T)


def check_new_adapter(answer):
    """Takes a class."""
    torch.manual_seed(0)
    adapter, x, target = answer(6, 5, 3, 3.0), noise(20, 6), noise(20, 5, seed=1)
    first = tensor(adapter(x), (20, 5))
    expect(first.abs().max() == 0, "It changes the model before any training.")
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.02)
    losses = []
    for _ in range(60):  # many more let rounding part rows that began as equals
        loss = (adapter(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    words = f"In 60 updates the loss goes from {losses[0]:.3f} to {losses[-1]:.3f}."
    expect(losses[-1] < 0.95 * losses[0], words)
    sizes = torch.linalg.svdvals((adapter.b @ adapter.a).detach())
    rank = int((sizes > 0.01 * sizes[0]).sum())
    expect(rank == 3, f"The adapter has rank=3, but what it learns has only {rank}.")
    return "It begins at nothing, and learns."


def batch_of(answers, stop_id):
    """Each answer is a list of ids; each of its turns (often one) ends with stop_id.

    Returns ids and labels, both (B, T); -100 where a label does not count.
    """
    width = max(map(len, answers))
    ids = torch.tensor([a + [stop_id] * (width - len(a)) for a in answers])
    labels = ids.masked_fill(ids == stop_id, -100)
    return ids, labels


def check_batch_of(answer):
    """Takes a function of answers and stop_id."""
    answers = [[5, 6, 9], [7, 9, 8, 4, 9], [3, 9]]
    returned = answer([[*row] for row in answers], 9)
    expect(isinstance(returned, tuple) and len(returned) == 2, "Return ids and labels.")
    ids, labels = (tensor(each, (3, 5)) for each in returned)
    for row, wanted in enumerate(answers):
        own = ids[row, : len(wanted)].tolist()
        expect(own == wanted, f"The answer {wanted} has become {own}.")
        counted = labels[row][labels[row] != -100].tolist()
        expect(
            counted == wanted,
            f"From the answer {wanted} the model learns to write {counted}; 9 is the "
            "stop.",
        )
    return "It learns to stop, and nothing from the filling."


def pass_at_k(n, n_right, k):
    """How likely is one of k samples right? n samples were drawn, n_right are right."""
    return 1 - (1 - n_right / n) ** k


def check_pass_at_k(answer):
    """Takes a function of n, n_right and k."""
    cases = [(4, 1, 4), (5, 2, 2), (10, 0, 3), (10, 10, 1), (10, 3, 1), (6, 3, 5)]
    for n, n_right, k in (*cases, (200, 5, 100)):
        given = python_number(answer(n, n_right, k))
        right = 1 - math.comb(n - n_right, k) / math.comb(n, k)
        expect(
            abs(given - right) < 1e-6,
            f"Of {n} samples {n_right} are right. Of all ways to take {k} of these "
            f"{n}, {right:.1%} hold a right one; yours says {given:.1%}.",
        )
    return "The share of all ways to take k of the n."


def validation_loss(loss_of, tokens, length):
    """The mean loss over all N - 1 targets of a text, read in windows of `length`.

    loss_of returns the mean of a window.
    """
    losses = []
    for start in range(0, len(tokens) - 1, length):
        window = tokens[start : start + length + 1]
        losses.append(loss_of(window[:-1], window[1:]))
    return sum(losses) / len(losses)


def check_validation_loss(answer):
    """Takes a function of loss_of, tokens and length."""
    tokens = torch.tensor([2.0, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31])
    right = tokens[1:].mean().item()
    for length in (10, 1, 5, 4, 7, 20):
        seen = []

        def loss_of(inputs, targets):
            seen.extend(targets.tolist())
            return targets.mean()

        loss = number(answer(loss_of, tokens, length))
        words = f"With {length=} {len(seen)} targets are read, not each of the 10 once."
        expect(sorted(seen) == tokens[1:].tolist(), words)
        expect(
            abs(loss - right) < 1e-4,
            f"With {length=} the loss is {loss:.3f}; over the 10 targets one by one it "
            f"is {right:.3f}.",
        )
    return "The same text has one loss."


EXHIBITS = [
    Exhibit(
        "adapter",
        Adapter,
        check_adapter,
        (("self.scale = alpha", "self.scale = alpha / rank"),),
        Mutant(
            "tune/lora.py",
            "self.alpha, self.scale = alpha, alpha / rank",
            "self.alpha, self.scale = alpha, alpha",
        ),
        "test_lora.py::test_the_adapter_of_peft_gives_its_logits",
    ),
    Exhibit(
        "new-adapter",
        NewAdapter,
        check_new_adapter,
        (("torch.zeros(rank, d_in)", "torch.randn(rank, d_in) / d_in**0.5"),),
        Mutant(
            "tune/lora.py",
            "nn.Parameter(torch.empty(rank, d_in).uniform_(-bound, bound))",
            "nn.Parameter(torch.zeros(rank, d_in))",
        ),
        "test_lora.py::test_a_is_drawn_as_peft_draws_it",
    ),
    Exhibit(
        "stop",
        batch_of,
        check_batch_of,
        (
            (
                "labels = ids.masked_fill(ids == stop_id, -100)",
                "lengths = torch.tensor([len(a) for a in answers])\n"
                "    filling = torch.arange(width) >= lengths[:, None]\n"
                "    labels = ids.masked_fill(filling, -100)",
            ),
        ),
        Mutant(
            "text/chat.py",
            "(content, False, own), (after, True, own)]",
            "(content, False, own), (after, True, False)]",
        ),
        "test_data_preparation.py::"
        "test_the_stop_is_learnt_and_the_newline_after_it_is_not",
    ),
    Exhibit(
        "pass-at-k",
        pass_at_k,
        check_pass_at_k,
        (
            (
                "1 - (1 - n_right / n) ** k",
                "1 - math.comb(n - n_right, k) / math.comb(n, k)",
            ),
        ),
        Mutant(
            "evaluate/pass_at_k.py",
            "none_right *= max(n - n_right - i, 0) / (n - i)",
            "none_right *= (n - n_right) / n",
        ),
        "test_evaluation.py::test_pass_at_k_is_the_share_of_draws_with_a_right_one",
    ),
    Exhibit(
        "validation-loss",
        validation_loss,
        check_validation_loss,
        (
            (
                "losses.append(loss_of(window[:-1], window[1:]))",
                "losses.append(loss_of(window[:-1], window[1:]) * (len(window) - 1))",
            ),
            ("sum(losses) / len(losses)", "sum(losses) / (len(tokens) - 1)"),
        ),
        Mutant(
            "train/__init__.py",
            "            total += cross_entropy(model(inputs), targets).item() "
            "* targets.numel()\n"
            "    return total / (len(tokens) - 1)",
            "            total += cross_entropy(model(inputs), targets).item()\n"
            "    return total / len([*consecutive_batches(tokens, size, "
            "context_length)])",
        ),
        "test_bigram.py::test_the_estimate_is_the_loss_of_all_pairs_for_any_window",
    ),
]
