"""The checks of the exercises in lesson 11, training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lib.checks import (
    Mistake,
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    python_number,
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
    for n_warmup in (10, 400, 1, 20_000):
        for times in (4, 9, 400, 10_000_000):
            _check_factor(inverse_root_schedule, times * n_warmup, n_warmup)
        for n in (n_warmup + 2, n_warmup, max(1, n_warmup // 2), 2, 1, 100_000):
            _check_factor(inverse_root_schedule, n, n_warmup)
    return "It rises, and never quite ends."


def _check_factor(schedule: Callable, n: int, n_warmup: int) -> None:
    given, right = python_number(schedule(n - 1, n_warmup)), _inverse_root(n, n_warmup)
    hint = hint_for(given, _schedule_mistakes(n, n_warmup), "Draw two lines.")
    if given > right and (n >= 400 * n_warmup or n * 1_000 < n_warmup):
        hint = "There is no smallest factor: near the start and far out it is tiny."
    expect(
        math.isclose(given, right, rel_tol=1e-4, abs_tol=1e-9),
        f"With n_warmup={n_warmup} step {n - 1} must get {right:.6g}, yours is "
        f"{given:.6g}. {hint}",
    )


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
        min(float(n // n_warmup), fall): "`//` cuts off what is after the point.",
        n * n_warmup**-1.5: "Between 1 / n_warmup and 1: that is the paper's line, "
        "which ends at 1 / root of n_warmup.",
    }


@exercise
def check_clip_gradients(clip_gradients) -> str:
    """Takes a function of gradients, limit."""
    generator = torch.Generator().manual_seed(0)
    random = [torch.randn(*s, generator=generator) for s in ((3, 4), (5,), (2, 1, 2))]
    length = torch.cat([g.flatten() for g in random]).norm().item()
    pair = [torch.tensor([3.0]), torch.tensor([4.0])]
    cases = [
        (random, 2.0),
        (random, 0.1),
        (pair, 1.0),
        (pair, 4.9),  # each alone is shorter than the limit
        (pair, 5.2),  # their sum, and their square, are above it
        ([g / length * 0.9 for g in random], 1.0),
        ([g / length * 1.2 for g in random], 1.0),
        ([g / length * 0.02 for g in random], 0.01),
        ([g / length * 1.5 for g in random], 2.0),
        ([g / length * 0.5 for g in random], 0.4),
        ([g.double() for g in random], 1.0),
        ([torch.zeros(2, 2), torch.zeros(3)], 1.0),
        ([random[0], *(g.double() for g in random[1:]), torch.tensor(3.0)], 1.0),
    ]
    for gradients, limit in cases:
        before, own = [g.clone() for g in gradients], list(gradients)
        answer = returned(clip_gradients(own, limit))
        words = "You changed the list that was given: leave it as it is."
        expect(len(own) == len(before), words)
        expect(
            all(torch.equal(g, b) for g, b in zip(gradients, before, strict=True)),
            "You changed the gradients that were given; make new tensors.",
        )
        _check_clipped(answer, gradients, limit)
    return "One factor for all, and zeros stay zeros."


def _check_clipped(answer: object, gradients: list[Tensor], limit: float) -> None:
    expect(
        isinstance(answer, tuple | list) and len(answer) == 2,
        "Return a pair: the list of clipped gradients, and the length before.",
    )
    expect(
        isinstance(answer[0], tuple | list)
        and all(isinstance(g, Tensor) for g in answer[0]),
        "The first of the pair must be a list of tensors; yours has the type "
        f"{type(answer[0]).__name__}.",
    )
    clipped, length = answer[0], python_number(answer[1])
    for word in ("shape", "dtype"):
        wanted, found = ([getattr(g, word) for g in gs] for gs in (gradients, clipped))
        expect(
            found == wanted,
            f"The clipped gradients must have each {word} of the given ones, {wanted}; "
            f"yours: {found}.",
        )
    flat = torch.cat([g.flatten() for g in gradients]).double()
    _check_length(length, flat, [g.norm().item() for g in gradients], limit)
    given = torch.cat([g.flatten() for g in clipped]).double()
    hint = "Gradients of zeros: 0 / 0 is not a number. Ask before you divide."
    expect(not given.isnan().any(), hint)
    _check_factor_for_all(given, flat, gradients, limit)


def _check_factor_for_all(
    given: Tensor, flat: Tensor, gradients: list[Tensor], limit: float
) -> None:
    length = flat.norm().item()
    right = flat * min(1.0, limit / max(length, 1e-12))
    otherwise = "The same factor for all of them: the limit divided by the length."
    hint = hint_for_tensor(given, _clip_mistakes(gradients, limit), otherwise)
    if length > limit and torch.equal(given, flat):
        hint = "They are not clipped: compare the length of all with the limit itself."
    expect(
        torch.allclose(given, right, rtol=2e-4, atol=1e-9),
        f"For gradients of the length {length:.4f} and the limit {limit} the first "
        f"number must become {right[0]:.6f}, yours is {given[0]:.6f}. {hint}",
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
        "A length below the limit must stay as it is.": (
            flat * limit / length if length < limit else torch.tensor(0.0)
        ),
        "You clipped each gradient by its own length; take all of them together.": (
            torch.cat([g.flatten() for g in each]).double()
        ),
        "You clipped number by number; shorten the whole vector.": flat.clamp(
            -limit, limit
        ),
        "Divide by the length and multiply by the limit.": flat / length,
        "What you add to the length changes small gradients; ask for 0 instead.": (
            flat * min(1.0, limit / (length.item() + 1e-3))
        ),
    }


def _parts(seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [((2, 3), (4, 8)), ((3, 8), (1, 2), (2, 5)), ((4, 6), (4, 1))][seed]
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
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        model, parts = GPT(preset_config("demo", init="fan_in")), _parts(seed)
        model.train(seed < 2)
        stale = _weighted(model, parts, [5.0] * len(parts)).clone()
        if seed == 2:
            model.zero_grad()  # .grad is None: nothing stood there before
            stale.zero_()
        before = [p.detach().clone() for p in model.parameters()]
        given_loss = _run_accumulate(accumulate, model, parts)
        expect(
            all(torch.equal(p, b) for p, b in zip(model.parameters(), before)),
            "You changed the parameters; only their gradients are asked for.",
        )
        expect(
            model.training == (seed < 2),
            "The model is in another mode than before: leave train and eval alone.",
        )
        expect(
            all(p.grad is not None for p in model.parameters()),
            "There are parameters without a gradient: is a `backward` missing?",
        )
        given = _all_gradients(model).clone()
        _check_accumulated(given_loss, given, model, parts, stale)
    return "Every target has the same say."


def _run_accumulate(accumulate: Callable, model: nn.Module, parts: list) -> float:
    """Run the reader's function and watch its forward and backward passes."""
    waiting, passes = [0], [0]

    def after_backward(gradient: Tensor) -> None:
        waiting[0] = 0

    def forward(model: nn.Module, inputs: tuple, logits: Tensor) -> None:
        passes[0] += 1
        expect(
            waiting[0] == 0,
            "Two parts are in memory at once: call `backward` for each part, before "
            "the next one, and take its loss from the one pass.",
        )
        if logits.requires_grad:
            waiting[0] = 1
            logits.register_hook(after_backward)

    given = [(x.clone(), y.clone()) for x, y in parts]
    watch = model.register_forward_hook(forward)
    try:
        loss = python_number(accumulate(model, given))
    except AttributeError as error:
        if "NoneType" in str(error):
            raise Mistake(
                "A .grad may be None at the start; model.zero_grad() clears them all."
            ) from error
        raise
    finally:
        watch.remove()
    _check_passes(passes[0], given, parts)
    return loss


def _check_passes(n_passes: int, given: list, parts: list) -> None:
    """Every part was read on its own, and none was changed."""
    expect(
        n_passes >= len(parts),
        f"There are {len(parts)} parts, and the model was called {n_passes} times: go "
        "through them one by one.",
    )
    same = [len(given) == len(parts)]
    same += [torch.equal(a, b) for g, p in zip(given, parts) for a, b in zip(g, p)]
    expect(all(same), "You changed the parts that were given.")


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
    for decay in (0.9, 0.5, 0.99):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 4))
        model[0].bias.requires_grad_(False)  # frozen, and still a parameter
        other, path, seen = WeightAverage(0.5), WeightAverage(decay), []
        for _ in range(4):
            with torch.no_grad():
                for p in (*model.parameters(), *model.buffers()):
                    p.copy_(torch.randn(p.shape))
            seen.append({n: p.detach().clone() for n, p in model.named_parameters()})
            path.update(model)
            for name, parameter in model.named_parameters():
                expect(
                    torch.equal(parameter, seen[-1][name]),
                    "`update` changed the model; it must only look.",
                )
            expect(
                not any(t.grad_fn for t in _tensors_in(vars(path))),
                "The means that you keep have a history, which grows at each update: "
                "use `parameter.detach()`, or `torch.no_grad()`.",
            )
            _check_average(path, seen, decay)
        _check_alone(other, model)
    return "A mean of the whole path, corrected for its start."


def _tensors_in(thing: object) -> Iterator[Tensor]:
    """All tensors in a tensor, a list or a dictionary."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict | list | tuple):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from _tensors_in(part)


def _check_alone(other: object, model: nn.Module) -> None:
    """A second object, made earlier, knows nothing of the first one's updates."""
    other.update(model)
    now, given = dict(model.named_parameters()), returned(other.average())
    expect(
        all(torch.allclose(given[name], now[name], atol=1e-5) for name in now),
        "Two objects share their means, or their count: keep both on `self`, made in "
        "`__init__`.",
    )


def _check_average(path: object, seen: list[dict], decay: float) -> None:
    first, given = returned(path.average()), returned(path.average())
    expect(isinstance(given, dict), "`average` must return a dictionary, name to mean.")
    _check_names(given, seen[-1])
    for name in seen[-1]:
        expect(
            torch.equal(first[name], given[name]),
            "Two calls of `average` give two answers: it must change nothing.",
        )
        expect(not given[name].requires_grad, "The means have a history: detach them.")
        values = torch.stack([s[name] for s in seen])
        right = _running_mean(values, decay) / (1 - decay ** len(values))
        hint = hint_for_tensor(
            given[name], _mean_mistakes(values, decay), "Write it out for two updates."
        )
        expect(
            torch.allclose(given[name], right, rtol=1e-3, atol=1e-5),
            f"After {len(values)} updates with decay={decay} the mean of {name!r} is "
            f"not right: it begins with {rounded(given[name])[0]}, it should with "
            f"{rounded(right)[0]}. {hint}",
        )
    if len(seen) == 4:
        _check_handed_out(path, given)


def _check_names(given: dict, wanted: dict) -> None:
    missing, more = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    expect(
        not missing,
        f"The names {sorted(missing)} are missing. A frozen parameter has a mean, too.",
    )
    expect(
        not more,
        f"{sorted(more)} are not in `named_parameters()`: the state of a model also "
        "holds buffers, which are counted or measured, not learned.",
    )


def _check_handed_out(path: object, given: dict[str, Tensor]) -> None:
    """What `average` returns belongs to whoever asked."""
    kept = {name: mean.clone() for name, mean in given.items()}
    for mean in given.values():
        mean.mul_(2)
    given.clear()
    again = path.average()
    expect(
        again.keys() == kept.keys()
        and all(torch.equal(again[name], kept[name]) for name in kept),
        "Whoever changes what `average` returned changes the means themselves: return "
        "a new dictionary of new tensors.",
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
