"""The checks of the exercises in lesson 25, reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib.checks import Mistake, exercise, expect, hint_for, hint_for_tensor
from lib.checks import number as as_number
from lib.checks import tensor
from lib.tune.grpo import kl_estimate, policy_loss
from lib.tune.grpo import advantages as of_groups

__all__ = ["check_verifier", "check_advantages", "check_policy_loss", "check_kl"]


def _noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _expect_untouched(before: list[Tensor], now: list[Tensor], names: str) -> None:
    for name, old, new in zip(names.split(), before, now, strict=True):
        same = torch.allclose(old.double(), new.double(), 0.0, 0.0, equal_nan=True)
        expect(same, f"Your function changed `{name}` itself: leave it as it is.")


def _expect_gradient(given: object, right: Tensor, leaf: Tensor, why: str) -> None:
    """Expect that training would reach what the answer was computed from."""
    words = "The number is right, but without its gradient nothing would learn: "
    words += "leave out `detach`, `.data` and `.item()`, and return a tensor."
    expect(isinstance(given, Tensor) and given.requires_grad, words)
    (wanted,) = torch.autograd.grad(right, leaf)
    (own,) = torch.autograd.grad(given.sum(), leaf, allow_unused=True)
    expect(own is not None, words)
    expect(
        bool(own.isfinite().all()),
        "The number is right, but its gradient is not finite: use `torch.where` "
        "before you compute with what was not written.",
    )
    expect(
        torch.allclose(own, wanted, atol=1e-4, rtol=1e-2),
        f"The number is right, but its gradient is not: {why}",
    )


# Exercise 1

DIFFERENCES = ("17-25=", "25-17=", "09-09=", "90-08=", "100-001=", "5-9=", "001-100=")
DIFFERENCES += ("7-19=", "100-1=", "2-1000=")
ALWAYS_WRONG = {
    "": "An empty answer gets 0.",
    ".": "A stop alone gets 0.",
    "{0}": "Without the stop an answer is not finished: 0.",
    "{0}..": "Nothing may follow the first stop.",
    "{0}.{0}.": "Nothing may follow the first stop.",
    ">{0}.>{0}.": "Nothing may follow the first stop.",
    "{0}.7": "Nothing may follow the first stop.",
    " {0}.": "Spaces are not allowed: compare the text, not `int` of it.",
    "{0} .": "Spaces are not allowed: compare the text, not `int` of it.",
    "{0}.\n": "A line's end behind the stop is not allowed: do not strip it.",
    "{1}.": "Without its sign, or with another one, a result is wrong.",
    "{0}>{1}.": "What counts is what stands after the *last* `>`.",
    "{0}>.": "What counts is what stands after the *last* `>`; here that is nothing.",
    "{2}.": "Leading zeros and a plus are not allowed: compare the text.",
    "{3}.": "Digits of other scripts are not allowed: `int` takes them.",
    "{0}.0.": "`0` after a stop is something, too.",
    "it is {0}.": "Words before the result are not allowed, unless a `>` ends them.",
    "none": "What cannot be read gets 0.",
}
RIGHT = {
    "{0}.": "This is exactly right.",
    "17;25;>{0}.": "What stands before the last `>` does not matter.",
    "{1}>{0}.": "What stands before the last `>` does not matter, even if it is wrong.",
    ">>{0}.": "What stands before the *last* `>` does not matter.",
    "1>22>333>{0}.": "What stands before the *last* `>` does not matter.",
    "17\n25\n>{0}.": "Before the last `>` there may be anything, new lines too.",
    "step;" * 30 + ">{0}.": "Before the last `>` there may be long texts too.",
}


def _answers(prompt: str) -> tuple[str, str, str, str]:
    """Return the right result, and three that are not."""
    a, b = map(int, prompt[:-1].split("-"))
    right = str(a - b)
    other = str(b - a) if a != b else "-0"
    zeros = "-0" + right[1:] if a < b else "+0" + right
    script = right.translate({ord(str(i)): chr(0x660 + i) for i in range(10)})
    return right, other, zeros, script


@exercise
def check_verifier(verifier) -> str:
    """Takes a function of prompt and answer."""
    for prompt in DIFFERENCES:
        words = _answers(prompt)
        for worth, cases in ((1, RIGHT), (0, ALWAYS_WRONG)):
            for pattern, why in cases.items():
                answer = pattern.format(*words)
                try:
                    given = as_number(verifier(prompt, answer))
                except (ValueError, IndexError, TypeError, AttributeError) as error:
                    raise Mistake(
                        f"For the answer {answer!r} your function raised "
                        f"{type(error).__name__}; it must return 0.0 or 1.0."
                    ) from error
                expect(
                    given == worth,
                    f"The answer {answer!r} to {prompt!r} must get {worth}, yours "
                    f"gives {given:g}. {why}",
                )
        one = verifier(prompt, words[0] + ".")
        expect(type(one) is float, "Return a Python float: 1.0 or 0.0.")
    return "It pays for what is right, and for nothing else."


# Exercise 2


@exercise
def check_advantages(group_advantages) -> str:
    """Takes a function of rewards, groups and method."""
    for seed, sizes in enumerate(((4, 4), (2, 5, 3), (6,), (3, 2, 2, 4))):
        names = torch.tensor([7, 2, 9, 0])[: len(sizes)]  # in no order
        groups = names.repeat_interleave(torch.tensor(sizes))
        mixed = torch.randperm(len(groups), generator=torch.Generator().manual_seed(9))
        groups = groups[mixed]
        rewards = _noise(len(groups), seed=seed)
        if seed == 2:
            rewards = torch.tensor([0.0, 1, 0, 0, 1, 0])
        for method in ("reinforce", "rloo", "dr_grpo", "grpo"):
            before = [rewards.clone(), groups.clone()]
            answer = group_advantages(rewards, groups, method)
            given = tensor(answer, (len(groups),))
            _expect_untouched(before, [rewards, groups], "rewards groups")
            right = _by_group(rewards, groups, method)
            if torch.allclose(given.double(), right.double(), atol=1e-4):
                continue
            hints = _advantage_mistakes(rewards, groups, method)
            raise Mistake(
                f"With groups of {list(sizes)} answers {method} is wrong. "
                + hint_for_tensor(given, hints, "Work on one group at a time.")
            )
    _expect_small(group_advantages)
    equal = group_advantages(torch.ones(4), torch.tensor([3, 3, 1, 1]), "grpo")
    expect(
        bool(tensor(equal, (4,)).abs().max() < 1e-3),
        "If all rewards of a group are the same, its advantages are 0: add 1e-4 to the "
        "standard deviation.",
    )
    return "Each answer against its own group."


def _expect_small(group_advantages: Callable) -> None:
    """Expect that the argument `small` is used."""
    rewards, groups = torch.tensor([0.0, 1, 0, 1]), torch.zeros(4, dtype=torch.int64)
    given = tensor(group_advantages(rewards, groups, "grpo", 0.5), (4,))
    right = (rewards - 0.5) / (rewards.std() + 0.5)
    words = "`small` is what is added to the standard deviation: use the argument."
    expect(torch.allclose(given.double(), right.double(), atol=1e-4), words)


def _by_group(rewards: Tensor, groups: Tensor, method: str) -> Tensor:
    result = torch.zeros_like(rewards)
    for group in groups.unique():
        own = groups == group
        result[own] = of_groups(rewards[own].view(1, -1), method)[0]
    return result


def _advantage_mistakes(rewards: Tensor, groups: Tensor, method: str) -> dict:
    right = _by_group(rewards, groups, method)
    centred = _by_group(rewards, groups, "dr_grpo")
    spread = _spread(rewards, groups)
    order = groups.argsort(stable=True)
    own = {"reinforce": _reinforce, "rloo": _rloo, "grpo": _grpo}.get(method)
    divided = "That divides by the standard deviation; only GRPO does."
    always = {} if method == "grpo" else {divided: centred / (spread + 1e-4)}
    return (own(rewards, groups, centred) if own else {}) | always | {
        "The mean went over all answers; it goes over those to the same prompt.": (
            of_groups(rewards.view(1, -1), method)[0]
        ),
        "These are the rewards: take the mean of the group away.": rewards,
        "The advantages are right, but in the order of the groups.": right[order],
        "The sign is wrong: better than the mean is above 0.": -right,
    }


def _spread(rewards: Tensor, groups: Tensor, unbiased: bool = True) -> Tensor:
    """Return the standard deviation of each answer's group."""
    spread = torch.zeros_like(rewards)
    for group in groups.unique():
        own = groups == group
        spread[own] = rewards[own].std(unbiased=unbiased)
    return spread


def _reinforce(rewards: Tensor, groups: Tensor, centred: Tensor) -> dict:
    words = "REINFORCE takes nothing away: these are the rewards themselves."
    return {words: centred}


def _rloo(rewards: Tensor, groups: Tensor, centred: Tensor) -> dict:
    sizes = (groups.unsqueeze(0) == groups.unsqueeze(1)).sum(dim=1)
    n = len(rewards)
    return {
        "The mean of the *others* leaves the answer itself out.": centred,
        "The factor of RLOO is G / (G - 1), not its inverse.": centred
        * ((sizes - 1) / sizes),
        "Each group has its own size in G / (G - 1).": centred * (n / (n - 1)),
    }


def _grpo(rewards: Tensor, groups: Tensor, centred: Tensor) -> dict:
    spread = _spread(rewards, groups)
    biased = _spread(rewards, groups, unbiased=False)
    return {
        "Divide by the standard deviation of the group.": centred,
        "Add 1e-4 to the standard deviation.": centred / spread,
        "Use the standard deviation of samples, `std()` as it is.": centred
        / (biased + 1e-4),
        "That divides by the variance; take its root.": centred / (spread**2 + 1e-4),
        "Add `small` to the standard deviation, not under its root.": centred
        / (spread**2 + 1e-4).sqrt(),
    }


# Exercise 3

INF, NAN = float("inf"), float("nan")
FILLINGS = ((-2.0, -2.0), (INF, -2.0), (-2.0, -INF), (NAN, NAN), (500.0, -500.0))
CLIPPED = "where the smaller of both gains is the clipped one there is none, elsewhere "
CLIPPED += "there is."


def _answer_rows(seed: int, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return scores with anything at all where nothing was written."""
    width = max(lengths) + 4
    written = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        written[row, 2 : 2 + length] = True
    old = -_noise(len(lengths), width, seed=seed).abs()
    new = old + 0.6 * _noise(len(lengths), width, seed=seed + 1)
    return new, old, _noise(len(lengths), seed=seed + 2), written


@exercise
def check_policy_loss(answer_loss) -> str:
    """Takes a function of new, old, advantages, written and clip."""
    for seed, (lengths, clip) in enumerate(
        (((3, 3), 0.2), ((1, 6, 2), 0.1), ((5,), 0.3), ((2, 4, 7, 1), 0.2))
    ):
        new, old, a, written = _answer_rows(10 * seed, lengths)
        for fillings in FILLINGS:
            new, old = (
                values.masked_fill(~written, filling)
                for values, filling in zip((new, old), fillings)
            )
            leaf = new.requires_grad_()
            values = [leaf + 0, old, a, written]
            before = [value.detach().clone() for value in values]
            answer = answer_loss(*values, clip)
            now = [value.detach() for value in values]
            _expect_untouched(before, now, "new old advantages written")
            right = _paper_loss(leaf, old, a, written, clip)
            _expect_loss(answer, right, (leaf.detach(), old, a, written), clip)
            _expect_gradient(answer, right, leaf, CLIPPED)
            new = leaf.detach()
    return "Each answer counts once, however long it is."


def _paper_loss(
    new: Tensor, old: Tensor, a: Tensor, written: Tensor, clip: float
) -> Tensor:
    new, old = (torch.where(written, values, 0.0) for values in (new, old))
    return policy_loss(new, old, a, written, "answers", clip=clip)


def _expect_loss(
    answer: object, right: Tensor, values: tuple[Tensor, ...], clip: float
) -> None:
    given = as_number(answer)
    if abs(given - right.item()) < 1e-4:
        return
    new, old, a, written = values
    finite, old = (torch.where(written, values, -2.0) for values in (new, old))
    lengths = written.sum(dim=1).tolist()
    raise Mistake(
        f"With answers of {lengths} tokens the loss is {right:.4f}; yours: "
        f"{given:.4f}. "
        + hint_for(
            given,
            _loss_mistakes(finite, old, a, written, clip),
            "The smaller of both gains at each token, its mean for each answer, and "
            "the mean of these; with a minus. Filling must not matter.",
        )
    )


def _loss_mistakes(
    new: Tensor, old: Tensor, a: Tensor, written: Tensor, clip: float
) -> dict[float, str]:
    ratio, row = (new - old).exp(), a.unsqueeze(-1)
    kept = ratio.clamp(1 - clip, 1 + clip)
    both = torch.minimum(ratio * row, kept * row)
    lengths = written.sum(dim=1)

    def mean(gain: Tensor) -> float:
        return -((gain * written).sum(dim=1) / lengths).mean().item()

    zeros = torch.zeros_like(new)
    return {
        -mean(both): "A loss falls as the gain rises: the minus is missing.",
        mean(torch.maximum(ratio * row, kept * row)): "Take the smaller of both gains.",
        mean(kept * row): "The clipped gain alone: take the smaller of both.",
        mean(ratio * row): "Nothing is clipped.",
        mean(torch.minimum(ratio, kept) * row): "Multiply by the advantage before you "
        "take the smaller: with a negative advantage the larger ratio is smaller.",
        mean((old - new).exp() * row): "The ratio is new over old.",
        -(both * written).mean().item(): "That is a mean over the padded width: divide "
        "by the tokens that were written.",
        -both[written].mean().item(): "That is a mean over "
        "all tokens: long answers count more. First over each answer, then over all.",
        -(both * written).sum(dim=1).mean().item(): "Divide by the length of each "
        "answer.",
        -(both * written).sum().item(): "That is a sum; take both means.",
        -both.mean().item(): "Filling and prompt count in yours.",
        mean(new * row): "That is A log p; the ratio of new and old is missing.",
        mean(zeros): "Nothing was counted.",
    }


# Exercise 4


@exercise
def check_kl(mean_distance) -> str:
    """Takes a function of new, reference and written."""
    for seed, (lengths, scale) in enumerate(
        (((3, 5), 0.5), ((1, 6, 2), 1.5), ((4,), 1e-3), ((2, 7), 1e-4))
    ):
        _, old, _, written = _answer_rows(20 * seed, lengths)
        reference = old if scale > 0.01 else torch.zeros_like(old)
        new = reference + scale * _noise(*old.shape, seed=seed)
        leaf = new.requires_grad_()
        values = [leaf + 0, reference, written]
        before = [value.detach().clone() for value in values]
        answer = mean_distance(*values)
        now = [value.detach() for value in values]
        _expect_untouched(before, now, "new reference written")
        given = as_number(answer)
        right = kl_estimate(leaf, reference)[written].mean()
        hints = _kl_mistakes(leaf.detach(), reference, written)
        expect(
            abs(given / right.item() - 1) < 0.01,
            f"With distances of about {scale:g} the mean is {right:.3g}; yours: "
            f"{given:.3g}. "
            + _relative_hint(given, hints, "Only written tokens count; digits are lost "
            "where nearly equal numbers are subtracted: see `torch.expm1`."),
        )  # fmt: skip
        _expect_gradient(answer, right, leaf, "all of `new` must stay attached.")
    return "Never below 0, and right where it is small."


def _relative_hint(given: float, hints: dict[str, float], otherwise: str) -> str:
    for words, value in hints.items():
        if abs(given - value) <= 1e-3 * abs(value):
            return words
    return otherwise


def _kl_mistakes(new: Tensor, reference: Tensor, written: Tensor) -> dict[str, float]:
    d = reference - new
    k3 = torch.expm1(d) - d
    back = torch.expm1(-d) + d
    return {
        "You swapped new and reference.": back[written].mean().item(),
        "Filling and prompt count in yours.": k3.mean().item(),
        "Divide by the written tokens, not by the width.": (k3 * written).mean().item(),
        "That is a sum; take the mean.": k3[written].sum().item(),
        "That is the mean of new - reference: some of it is negative, and it is "
        "noisy.": -d[written].mean().item(),
        "That is half of the square: only nearly right.": (d**2 / 2)[written]
        .mean()
        .item(),
        "Mean over each row first: then short answers count more.": (
            (k3 * written).sum(dim=1) / written.sum(dim=1)
        )
        .mean()
        .item(),
        "The sign is wrong.": -k3[written].mean().item(),
        "The 1 is missing: e^d - 1 - d.": (d.exp() - d)[written].mean().item(),
    }
