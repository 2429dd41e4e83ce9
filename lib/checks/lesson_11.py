"""The checks of the exercises in lesson 11, training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lib.checks import (
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    number,
    returned,
    rounded,
)
from lib.models.gpt import GPT
from lib.models.presets import preset_config
from lib.train import next_token_loss

__all__ = [
    "check_inverse_root_schedule",
    "check_clip_gradients",
    "check_accumulate",
    "check_WeightAverage",
]


@exercise
def check_inverse_root_schedule(inverse_root_schedule) -> str:
    """Takes a function of step, n_warmup."""
    for n_warmup in (10, 400, 1):
        for n in (4 * n_warmup, 9 * n_warmup, n_warmup + 2, n_warmup, 2, 1, 100_000):
            given = number(inverse_root_schedule(n - 1, n_warmup))
            right = _inverse_root(n, n_warmup)
            hint = hint_for(given, _schedule_mistakes(n, n_warmup), "Draw two lines.")
            expect(
                math.isclose(given, right, rel_tol=1e-4, abs_tol=1e-7),
                f"With n_warmup={n_warmup} step {n - 1} must get {right:.4f}, yours is "
                f"{given:.4f}. {hint}",
            )
    return "It rises, and never quite ends."


def _inverse_root(n: int, n_warmup: int) -> float:
    return min(n / n_warmup, math.sqrt(n_warmup / max(n, 1)))


def _schedule_mistakes(n: int, n_warmup: int) -> dict[float, str]:
    rise, fall = n / n_warmup, math.sqrt(n_warmup / n)
    anew = min(rise, 1 / math.sqrt(max(n - n_warmup, 1)))
    return {
        max(rise, fall): "Take the smaller of the two lines, not the larger.",
        anew: "The fall does not begin anew after the warm-up: n counts from the very "
        "first step.",
        min(1.0, rise): "That only warms up: after the warm-up it must fall.",
        fall: "In the warm-up it must rise: step 0 is 1 / n_warmup.",
        1 / math.sqrt(n): "It must be 1 at the end of the warm-up.",
        min(rise, n_warmup / n): "It falls with one over the *root* of n.",
        _inverse_root(n - 1, n_warmup): "Steps are counted from 0: step 0 is already "
        "the first update.",
        _inverse_root(n + 1, n_warmup): "You are one step ahead.",
    }


@exercise
def check_clip_gradients(clip_gradients) -> str:
    """Takes a function of gradients, limit."""
    generator = torch.Generator().manual_seed(0)
    random = [torch.randn(*s, generator=generator) for s in ((3, 4), (5,), (2, 1, 2))]
    small = [g / 100 for g in random]
    zeros = [torch.zeros(2, 2), torch.zeros(3)]
    pair = [torch.tensor([3.0]), torch.tensor([4.0])]
    cases = (random, 2.0), (random, 0.1), (small, 1.0), (pair, 1.0), (zeros, 1.0)
    for gradients, limit in cases:
        before = [g.clone() for g in gradients]
        answer = returned(clip_gradients(gradients, limit))
        expect(
            all(torch.equal(g, b) for g, b in zip(gradients, before)),
            "You changed the gradients that were given; make new tensors.",
        )
        _check_clipped(answer, gradients, limit)
    return "One factor for all, and zeros stay zeros."


def _check_clipped(answer: object, gradients: list[Tensor], limit: float) -> None:
    expect(
        isinstance(answer, tuple | list) and len(answer) == 2,
        "Return a pair: the list of clipped gradients, and the length before.",
    )
    clipped, length = list(answer[0]), number(answer[1])
    shapes = [tuple(g.shape) for g in gradients]
    found = [tuple(g.shape) for g in clipped]
    expect(
        found == shapes,
        f"The clipped gradients must have the shapes of the given ones, {shapes}; "
        f"yours: {found}.",
    )
    flat = torch.cat([g.flatten() for g in gradients]).double()
    _check_length(length, flat, [g.norm().item() for g in gradients], limit)
    given = torch.cat([g.flatten() for g in clipped]).double()
    hint = "Gradients of zeros: 0 / 0 is not a number. Ask before you divide."
    expect(not given.isnan().any(), hint)
    right = flat * min(1.0, limit / max(flat.norm().item(), 1e-12))
    mistakes = _clip_mistakes(gradients, limit)
    expect(
        torch.allclose(given, right, rtol=1e-3, atol=1e-6),
        f"For gradients of the length {flat.norm():.3f} and the limit {limit} the "
        f"first number must become {right[0]:.4f}, yours is {given[0]:.4f}. "
        + hint_for_tensor(given, mistakes, "The same factor for all of them."),
    )


def _check_length(length: float, flat: Tensor, each: list[float], limit: float) -> None:
    right = flat.norm().item()
    hints = {
        min(right, limit): "That is the length after clipping; return the one before.",
        right**2: "The root is missing.",
        sum(each): "Lengths do not add up; their squares do.",
        max(each): "That is the longest single gradient; take all of them together.",
        flat.abs().sum().item(): "That is the sum of the sizes; take the root of the "
        "sum of the squares.",
        flat.abs().max().item(): "That is the largest number; take the length of all.",
    }
    expect(
        math.isclose(length, right, rel_tol=1e-4, abs_tol=1e-7),
        f"For gradients of the lengths {[round(x, 3) for x in each]} the length of all "
        f"is {right:.4f}, you return {length:.4f}. "
        + hint_for(length, hints, "Square, add up, take the root."),
    )


def _clip_mistakes(gradients: list[Tensor], limit: float) -> dict[str, Tensor]:
    flat = torch.cat([g.flatten() for g in gradients]).double()
    each = [g * min(1.0, limit / max(g.norm().item(), 1e-12)) for g in gradients]
    length = flat.norm().clamp(min=1e-12)
    return {
        "A length below the limit must stay as it is.": flat * limit / length,
        "They are not clipped.": flat,
        "You clipped each gradient by its own length; take all of them together.": (
            torch.cat([g.flatten() for g in each]).double()
        ),
        "You clipped number by number; shorten the whole vector.": flat.clamp(
            -limit, limit
        ),
        "Divide by the length and multiply by the limit.": flat / length,
    }


def _parts(seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((3, 8), (1, 2), (2, 5)) if seed else ((2, 3), (4, 8))
    ids = [torch.randint(10, (b, t + 1), generator=generator) for b, t in shapes]
    return [(x[:, :-1], x[:, 1:]) for x in ids]


def _all_gradients(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def _weighted(model: nn.Module, parts: list, weights: list[float]) -> Tensor:
    """Return the gradient of a weighted sum of the parts' mean losses."""
    model.zero_grad()
    losses = [next_token_loss(model, *part) for part in parts]
    sum(w * loss for w, loss in zip(weights, losses)).backward()
    return _all_gradients(model)


@exercise
def check_accumulate(accumulate) -> str:
    """Takes a function of model, parts."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        model, parts = GPT(preset_config("demo", init="fan_in")), _parts(seed)
        _weighted(model, parts, [5.0] * len(parts))  # what stood there before
        stale = _all_gradients(model).clone()
        before = [p.detach().clone() for p in model.parameters()]
        given_loss = number(accumulate(model, parts))
        expect(
            all(torch.equal(p, b) for p, b in zip(model.parameters(), before)),
            "You changed the parameters; only their gradients are asked for.",
        )
        expect(
            all(p.grad is not None for p in model.parameters()),
            "There are parameters without a gradient: is a `backward` missing?",
        )
        _check_accumulated(
            given_loss, _all_gradients(model).clone(), model, parts, stale
        )
    return "Every target has the same say."


def _shares(parts: list) -> dict[str, list[float]]:
    """Return what a mistake does -> the weights that it gives to the parts."""
    targets, rows = [y.numel() for _, y in parts], [len(y) for _, y in parts]
    right = [n / sum(targets) for n in targets]
    return {
        "": right,
        "You weigh by rows; a longer row has more targets.": [
            n / sum(rows) for n in rows
        ],
        "That is the mean of the means; a part with more targets must weigh more.": (
            [1 / len(parts)] * len(parts)
        ),
        "That is the sum of the means.": [1.0] * len(parts),
        "That is the sum over all targets; divide by their number.": targets,
        "Only the last part has arrived: backward() adds, do not clear the gradients "
        "in between.": [0.0] * (len(parts) - 1) + right[-1:],
    }


def _check_accumulated(
    given_loss: float, given: Tensor, model: nn.Module, parts: list, stale: Tensor
) -> None:
    ways = _shares(parts)
    gradients = {way: _weighted(model, parts, w).clone() for way, w in ways.items()}
    losses = [next_token_loss(model, *part).item() for part in parts]
    sums = {way: sum(w * x for w, x in zip(ws, losses)) for way, ws in ways.items()}
    right, right_loss = gradients.pop(""), sums.pop("")
    gradients["The old gradients are still in there: clear them first."] = right + stale
    expect(
        torch.allclose(given, right, rtol=1e-3, atol=1e-6),
        "The gradient is not that of the mean over all targets. "
        + hint_for_tensor(given, gradients, "What weight does each part get?"),
    )
    hints = {loss: way for way, loss in sums.items()}
    expect(
        math.isclose(given_loss, right_loss, rel_tol=1e-4),
        f"The gradient is right, but the loss must be {right_loss:.4f}, you return "
        f"{given_loss:.4f}. " + hint_for(given_loss, hints, "Weigh the losses, too."),
    )


@exercise
def check_WeightAverage(WeightAverage) -> str:
    """Takes a class with update(model) and average()."""
    for decay in (0.9, 0.5):
        torch.manual_seed(0)
        model, path = nn.Linear(3, 2), WeightAverage(decay)
        seen = []
        for n_updates in (1, 2, 3, 4):
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(torch.randn_like(p))
            seen.append({n: p.detach().clone() for n, p in model.named_parameters()})
            path.update(model)
            for name, parameter in model.named_parameters():
                expect(
                    torch.equal(parameter, seen[-1][name]),
                    "`update` changed the model; it must only look.",
                )
            _check_average(path, seen, decay)
    return "A mean of the whole path, corrected for its start."


def _check_average(path: object, seen: list[dict], decay: float) -> None:
    first, given = returned(path.average()), returned(path.average())
    expect(isinstance(given, dict), "`average` must return a dictionary, name to mean.")
    expect(
        given.keys() == seen[-1].keys(),
        f"The names must be {sorted(seen[-1])}; yours are {sorted(given)}.",
    )
    for name in given:
        expect(
            torch.equal(first[name], given[name]),
            "Two calls of `average` give two answers: it must change nothing.",
        )
        expect(not given[name].requires_grad, "The means have a history: detach them.")
        values = torch.stack([s[name] for s in seen])
        right = _running_mean(values, decay) / (1 - decay ** len(values))
        hint = hint_for_tensor(
            given[name], _mean_mistakes(values, decay), "Count them."
        )
        expect(
            torch.allclose(given[name], right, rtol=1e-3, atol=1e-5),
            f"After {len(values)} updates with decay={decay} the mean of {name!r} is "
            f"not right: it begins with {rounded(given[name])[0]}, it should with "
            f"{rounded(right)[0]}. {hint}",
        )


def _running_mean(values: Tensor, decay: float, start: Tensor | float = 0.0) -> Tensor:
    mean = start + torch.zeros_like(values[0])
    for value in values:
        mean = decay * mean + (1 - decay) * value
    return mean


def _mean_mistakes(values: Tensor, decay: float) -> dict[str, Tensor]:
    n, plain = len(values), _running_mean(values, decay)
    turned = _running_mean(values, 1 - decay)
    return {
        "The correction is missing: divide by the share that it holds.": plain,
        "That is the last model, not a mean. Is it the same memory?": values[-1],
        "You started the mean at the first weights; start at 0 and correct, as AdamW "
        "does.": _running_mean(values, decay, values[0]),
        "That is the plain mean; newer weights count more.": values.mean(dim=0),
        "`decay` is how much of the *old* mean stays, not of the new.": turned,
        "It is turned: `decay` is how much of the *old* mean stays.": (
            turned / (1 - (1 - decay) ** n)
        ),
        "The correction is 1 - decay ** n with n updates, not one more.": plain
        / (1 - decay ** (n + 1)),
    }
