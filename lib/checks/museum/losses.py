"""Room 3 of the bug museum: losses and gradients."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from lib.checks import expect, number, rounded, tensor
from lib.checks.museum.exhibit import Exhibit, Mutant, near, noise

__all__ = ["EXHIBITS"]


def next_token_loss(logits, targets):
    """Nats, from logits (B, T, V); targets[:, t] is the token after input t."""
    logits, targets = logits[:, :-1], targets[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def check_next_token_loss(answer):
    """Takes a function of logits and targets."""
    targets = torch.tensor([[3, 1, 4, 1], [5, 0, 2, 6]])
    perfect = 30.0 * F.one_hot(targets, 7).float()
    loss = number(answer(perfect, targets))
    expect(
        abs(loss) < 1e-3,
        f"A model that is sure of each next token, and right, gets {loss:.2f} nats.",
    )
    logits = noise(2, 4, 7)
    loss = number(answer(logits, targets))
    right = F.cross_entropy(logits.view(-1, 7), targets.view(-1)).item()
    words = f"Over all 8 targets the mean loss is {right:.4f}; yours: {loss:.4f}."
    expect(abs(loss - right) < 1e-4, words)
    return "Every target is held against the logits of its own input."


def token_loss(logits, targets):
    """The mean of -ln p(target), with p = softmax(logits): (N, V) and (N,)."""
    probabilities = logits.softmax(dim=-1)
    return F.cross_entropy(probabilities, targets)


def check_token_loss(answer):
    """Takes a function of logits and targets."""
    targets = torch.tensor([0, 2, 1])
    even = number(answer(torch.zeros(3, 4), targets))
    words = f"Four equal scores give {even:.3f} nats, not ln 4."
    expect(abs(even - math.log(4)) < 1e-4, words)
    for size in (30.0, 200.0):
        right = size * F.one_hot(targets, 4).float()
        loss = number(answer(right, targets))
        words = f"A model that is right, with a score {size:g} above all others, gets "
        expect(abs(loss) < 1e-3, words + f"{loss:.3f} nats.")
        loss = number(answer(-right, targets))
        words = f"A model that is wrong, with a score {size:g} below all others, gets "
        expect(abs(loss - size - math.log(3)) < 1e-2, words + f"{loss:.3f} nats.")
    logits = noise(3, 4)
    loss, true = number(answer(logits, targets)), F.cross_entropy(logits, targets)
    words = f"Ordinary scores give {loss:.4f} nats, not {true:.4f}."
    expect(abs(loss - true.item()) < 1e-4, words)
    return "It can fall to 0, and rise without end."


def backward_in_parts(model, loss_of, parts):
    """Add up the gradients of a batch that comes in parts: [(inputs, targets), ...].

    loss_of is the mean over the targets of a part that are not -100, which do not
    count. Returns the loss of the whole batch.
    """
    total = 0.0
    for inputs, targets in parts:
        loss = loss_of(model(inputs), targets) / len(parts)
        loss.backward()
        total += loss.item()
    return total


def check_backward_in_parts(answer):
    """Takes a function of model, loss_of and parts."""
    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 5), noise(6, 3)
    targets = torch.tensor([0, 4, 2, -100, -100, 1])
    model.zero_grad()
    whole = F.cross_entropy(model(inputs), targets)
    whole.backward()
    right = model.weight.grad.clone()
    for sizes in ((6,), (3, 3), (4, 2), (2, 1, 3)):
        model.zero_grad()
        parts = [*zip(inputs.split(sizes), targets.split(sizes))]
        loss = number(answer(model, F.cross_entropy, parts))
        expect(model.weight.grad is not None, "There are no gradients.")
        expect(
            near(model.weight.grad, right),
            f"In parts of {[*sizes]} rows the gradient has the length "
            f"{model.weight.grad.norm():.3f}; that of the batch in one piece has "
            f"{right.norm():.3f}, and the two are not the same.",
        )
        words = f"In parts of {[*sizes]} rows the loss is {loss:.4f}, in one piece "
        expect(abs(loss - whole.item()) < 1e-4, words + f"{whole.item():.4f}.")
    return "In parts as in one piece."


def clip_gradients(parameters, limit):
    """Shorten the gradient of a list of parameters to the length `limit`."""
    for p in parameters:
        length = p.grad.norm()
        if length > limit:
            p.grad *= limit / length


def check_clip_gradients(answer):
    """Takes a function of parameters and limit."""
    cases = [((3.0, 0.4), 1.0), ((0.8, 0.9, 0.7), 1.0), ((2.0,), 0.5)]
    for sizes, limit in (*cases, ((0.3, 0.2), 1.0), ((6.0, 8.0), 20.0)):
        weights = [nn.Parameter(torch.zeros(4)) for _ in sizes]
        for seed, (weight, size) in enumerate(zip(weights, sizes)):
            weight.grad = size * F.normalize(noise(4, seed=seed), dim=0)
        before = torch.cat([weight.grad.clone() for weight in weights])
        answer(weights, limit)
        after = torch.cat([weight.grad for weight in weights])
        wanted = before * min(1.0, limit / before.norm().item())
        lengths = [round(weight.grad.norm().item(), 3) for weight in weights]
        cosine = F.cosine_similarity(before, after, dim=0).item()
        expect(
            near(after, wanted, 1e-3),
            f"With {limit=} parameters whose gradients have the lengths {[*sizes]} get "
            f"{lengths}: together {after.norm():.3f}, and the cosine with the "
            f"direction before is {cosine:.3f}.",
        )
    return "Shorter, and the same direction."


def dropout_mask(shape, seed, rank, step):
    """What process `rank` drops at a step; a run that is started again repeats it."""
    generator = torch.Generator().manual_seed(seed + step)
    return torch.rand(shape, generator=generator) < 0.1


def check_dropout_mask(answer):
    """Takes a function of shape, seed, rank and step."""
    first = tensor(answer((64,), 7, 0, 3), (64,))
    again = answer((64,), 7, 0, 3)
    expect(first.equal(again), "Started again, the run drops other numbers.")
    share = answer((4000,), 7, 1, 5).float().mean().item()
    expect(0.07 < share < 0.13, f"{share:.0%} of the numbers are dropped, not 10 %.")
    expect(not first.equal(answer((64,), 8, 0, 3)), "Another seed changes nothing.")
    steps = *range(20), 100, 1000, 10_000
    places = [(rank, step) for rank in range(16) for step in steps]
    seen = {}
    for place in places:
        drawn = tuple(rounded(answer((64,), 7, *place).float()))
        other = seen.setdefault(drawn, place)
        expect(
            other == place,
            "Process {} at step {} and process {} at step {} drop the same "
            "numbers.".format(*other, *place),
        )
    return "No two processes, and no two steps, drop the same."


EXHIBITS = [
    Exhibit(
        "next-token-loss",
        next_token_loss,
        check_next_token_loss,
        (("    logits, targets = logits[:, :-1], targets[:, 1:]\n", ""),),
        Mutant(
            "train/__init__.py",
            "    return cross_entropy(model(inputs), targets)\n",
            "    return cross_entropy(model(inputs)[:, :-1], targets[:, 1:])\n",
        ),
        "test_train.py::test_the_loss_is_that_of_the_whole_batch_before_the_update",
    ),
    Exhibit(
        "token-loss",
        token_loss,
        check_token_loss,
        (
            (
                "    probabilities = logits.softmax(dim=-1)\n"
                "    return F.cross_entropy(probabilities, targets)",
                "    return F.cross_entropy(logits, targets)",
            ),
        ),
        Mutant(
            "evaluate/losses.py",
            "    logits = at_least_float32(logits)\n",
            "    logits = at_least_float32(logits).softmax(dim=-1)\n",
        ),
        "test_bigram.py::test_cross_entropy_equals_torch",
    ),
    Exhibit(
        "parts-of-a-batch",
        backward_in_parts,
        check_backward_in_parts,
        (
            (
                "total = 0.0",
                "total, counted = 0.0, sum((t != -100).sum() for _, t in parts)",
            ),
            ("/ len(parts)", "* (targets != -100).sum() / counted"),
        ),
        Mutant(
            "train/parallel.py",
            "return [number / mean for number in numbers]",
            "return [1 / len(parts) for _ in numbers]",
        ),
        "test_counted_targets.py::test_parts_give_the_loss_and_gradients_of_the_whole",
    ),
    Exhibit(
        "clipping",
        clip_gradients,
        check_clip_gradients,
        (
            (
                "    for p in parameters:\n"
                "        length = p.grad.norm()\n"
                "        if length > limit:\n"
                "            p.grad *= limit / length",
                "    squares = sum(p.grad.square().sum() for p in parameters)\n"
                "    length = squares.sqrt()\n"
                "    for p in parameters:\n"
                "        if length > limit:\n"
                "            p.grad *= limit / length",
            ),
        ),
        Mutant(
            "train/__init__.py",
            "nn.utils.clip_grad_norm_(self.model.parameters(), c.clip)",
            "[nn.utils.clip_grad_norm_([p], c.clip) for p in self.model.parameters()]",
        ),
        "test_train.py::test_all_gradients_together_are_clipped",
    ),
    Exhibit(
        "dropout-mask",
        dropout_mask,
        check_dropout_mask,
        (("manual_seed(seed + step)", "manual_seed(hash((seed, rank, step)))"),),
        Mutant("train/parallel.py", "{seed} {rank()} {step}", "{seed} {step}"),
        "test_parallel.py::test_no_two_processes_and_no_two_steps_draw_the_same",
    ),
]
