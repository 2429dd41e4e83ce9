"""Room 5 of the bug museum: reinforcement learning and preferences."""

from __future__ import annotations

import copy  # noqa: F401  (a mend needs it)
import math

import torch
from torch import nn

from lib.checks import expect, number, rounded, tensor
from lib.checks.museum.exhibit import Exhibit, Mutant, near, noise

__all__ = ["EXHIBITS"]


def answer_loss(losses, written):
    """The mean over each answer's tokens, then over answers; both (B, T)."""
    per_answer = (losses * written).mean(dim=1)  # (B,)
    return per_answer.mean()


def check_answer_loss(answer):
    """Takes a function of losses and written."""
    lengths = torch.tensor([2, 5])
    for width in (5, 8, 50):
        written = torch.arange(width) < lengths[:, None]
        losses = torch.where(written, torch.tensor([[3.0], [1.0]]), 7.0)
        loss = number(answer(losses, written))
        expect(
            abs(loss - 2) < 1e-4,
            f"Each token of one answer has the loss 3, each of another one 1; in rows "
            f"of {width} places their loss is {loss:.3f}, not 2.",
        )
    losses, written = noise(1, 6), torch.arange(6)[None] < 4
    right = losses[0, :4].mean().item()
    alone = number(answer(losses, written))
    expect(abs(alone - right) < 1e-4, "One answer of 4 tokens does not get their mean.")
    return "Filling has no say, and each answer has one."


class Policy:
    """Draws tokens from logits (V,) at a temperature, and says how likely they were."""

    def __init__(self, logits, temperature):
        self.logits, self.temperature = logits, temperature

    def sample(self, n, generator=None):
        p = (self.logits / self.temperature).softmax(dim=-1)
        return torch.multinomial(p, n, replacement=True, generator=generator)

    def log_probability(self, tokens):
        return self.logits.log_softmax(dim=-1)[tokens]


def check_policy(answer):
    """Takes a class."""
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
    for temperature in (1.0, 0.5, 2.0):
        policy = answer(logits, temperature)
        drawn = policy.sample(8000, torch.Generator().manual_seed(0))
        found = drawn.bincount(minlength=4) / 8000
        right = (logits / temperature).softmax(dim=-1)
        words = f"At {temperature=} tokens are drawn as often as {rounded(found)}; "
        expect(near(found, right, 0.03), words + f"it should be {rounded(right)}.")
        said = tensor(policy.log_probability(torch.arange(4)), (4,)).exp()
        expect(
            near(said, right, 1e-3),
            f"At {temperature=} it draws with the probabilities {rounded(right)}, and "
            f"says {rounded(said)}, of the sum {said.sum():.2f}.",
        )
    return "It says what it does."


def kl_estimate(new, reference):
    """How far two log-probabilities are apart, e^d - 1 - d; never below 0."""
    d = reference - new
    return d.exp() - 1 - d


def check_kl_estimate(answer):
    """Takes a function of new and reference."""
    for size in (2.0, 0.5, 1e-2, 1e-3, 1e-4):
        d = torch.tensor([size, -size, 0.7 * size])
        new = torch.zeros(3)
        given = tensor(answer(new, new + d), (3,)).double()
        right = torch.expm1(d.double()) - d.double()
        worst = (given / right - 1).abs().max().item()
        expect(
            worst < 0.01,
            f"With log-probabilities {size:g} apart some estimates are wrong by more "
            "than a hundredth of what they should be.",
        )
    expect(tensor(answer(new, new), (3,)).abs().max() == 0, "Equal ones are 0 apart.")
    return "Right to the last digits, also where it is small."


def start_tuning(model):
    """Return the model to tune, and a reference that stays what the model is now."""
    reference = model
    for p in reference.parameters():
        p.grad = None
    return model, reference


def check_start_tuning(answer):
    """Takes a function of model."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = noise(5, 3)
    before = model(x).detach()
    returned = answer(model)
    expect(isinstance(returned, tuple) and len(returned) == 2, "Return two models.")
    tuned, reference = returned
    expect(near(tuned(x), before), "The model to tune is not the one that was given.")
    expect(near(reference(x), before), "The reference is not what the model was.")
    learns = all(p.requires_grad for p in tuned.parameters())
    expect(learns, "The model to tune is frozen: it would learn nothing.")
    optimizer = torch.optim.SGD(tuned.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        tuned(x).square().mean().backward()
        optimizer.step()
    moved = (tuned(x) - before).abs().max().item()
    expect(moved > 1e-2, "After three updates the model to tune is what it was.")
    also = (reference(x) - before).abs().max().item()
    words = f"After three updates the outputs of the model moved by {moved:.2f}, those "
    expect(also < 1e-6, words + f"of the reference by {also:.2f}.")
    return "The model moves, the reference stays."


def clipped_gain(ratio, advantage, clip=0.2):
    """The gain that is made large, token by token: the smaller of two; both (N,)."""
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return torch.minimum(ratio, clipped) * advantage


def check_clipped_gain(answer):
    """Takes a function of ratio, advantage and clip."""
    for a in (1.0, -1.0, -2.0):
        for r in (0.5, 0.9, 1.0, 1.1, 1.5, 4.0):
            ratio = torch.tensor([r], requires_grad=True)
            given = answer(ratio, torch.tensor([a]), 0.2)
            gain = number(given)
            right = min(r * a, min(max(r, 0.8), 1.2) * a)
            expect(
                math.isclose(gain, right, abs_tol=1e-5),
                f"A token with the advantage {a:g} has become {r:g} times as likely: "
                f"its gain is {gain:.2f}; of {r * a:.2f} and the clipped "
                f"{min(max(r, 0.8), 1.2) * a:.2f} it is the smaller, {right:.2f}.",
            )
    return "A bad token that became likelier is pushed back."


EXHIBITS = [
    Exhibit(
        "answer-loss",
        answer_loss,
        check_answer_loss,
        (
            (
                "(losses * written).mean(dim=1)",
                "(losses * written).sum(dim=1) / written.sum(dim=1)",
            ),
        ),
        Mutant(
            "tune/grpo.py",
            "return (losses.sum(dim=1) / written.sum(dim=1).clamp(min=1)).mean()",
            "return losses.mean(dim=1).mean()",
        ),
        "test_rl.py::test_filling_changes_no_loss",
    ),
    Exhibit(
        "first-ratio",
        Policy,
        check_policy,
        (
            (
                "self.logits.log_softmax(dim=-1)",
                "(self.logits / self.temperature).log_softmax(dim=-1)",
            ),
        ),
        Mutant(
            "tune/grpo.py",
            "at_least_float32(model(rollouts.ids[:, :-1])) / rollouts.temperature",
            "at_least_float32(model(rollouts.ids[:, :-1]))",
        ),
        "test_rl.py::test_drawn_at_a_temperature_and_scored_at_it_agree",
    ),
    Exhibit(
        "distance",
        kl_estimate,
        check_kl_estimate,
        (("d.exp() - 1 - d", "torch.expm1(d) - d"),),
        Mutant(
            "tune/grpo.py",
            "return torch.expm1(apart) - apart",
            "return apart.exp() - 1 - apart",
        ),
        "test_rl.py::test_the_distance_is_never_below_0_and_exact_near_it",
    ),
    Exhibit(
        "reference",
        start_tuning,
        check_start_tuning,
        (("reference = model", "reference = copy.deepcopy(model)"),),
        Mutant("tune/grpo.py", "copy.deepcopy(model).requires_grad_(False)", "model"),
        "test_rl.py::test_a_weight_on_the_distance_holds_the_model_back",
    ),
    Exhibit(
        "clipped-gain",
        clipped_gain,
        check_clipped_gain,
        (
            (
                "torch.minimum(ratio, clipped) * advantage",
                "torch.minimum(ratio * advantage, clipped * advantage)",
            ),
        ),
        Mutant(
            "tune/grpo.py",
            "torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)",
            "torch.minimum(ratio, ratio.clamp(1 - clip, 1 + clip)) * a",
        ),
        "test_rl.py::test_the_loss_and_its_gradient_are_the_formula",
    ),
]
