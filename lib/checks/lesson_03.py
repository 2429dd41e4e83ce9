"""The checks of the exercises in lesson 03, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from unittest import mock

import torch
from torch import Tensor

from lib.checks import (
    Mistake,
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    number,
    returned,
    rounded,
    tensor,
)

__all__ = [
    "check_numeric_gradient",
    "check_tanh",
    "check_sum_to_shape",
    "check_linear_gradients",
]

Function = Callable[[Sequence[float]], float]


@exercise
def check_numeric_gradient(numeric_gradient) -> str:
    """Takes a function of f, point, h."""
    for name, f, point, h in _functions():
        before = list(point)
        given = returned(numeric_gradient(f, before, h))
        expect(
            before == point, "You changed `point` itself; nudge a copy, one per place."
        )
        expect(
            isinstance(given, list),
            f"The answer must be a list; yours has the type {type(given).__name__}.",
        )
        expect(
            len(given) == len(point),
            f"{name} has {len(point)} numbers, so the answer has as many; yours has "
            f"{len(given)}.",
        )
        for slope in given:
            expect(
                isinstance(slope, int | float),
                f"The slopes must be plain numbers; yours has the type "
                f"{type(slope).__name__}.",
            )
        _expect_slopes(f"{name} at {point} with h={h}", f, point, h, given)
    return "Now you can test any backward rule."


def _functions() -> list[tuple[str, Function, list[float], float]]:
    """Return functions with their names, points to nudge, and sizes of the nudge."""
    return [
        ("p[0]**2 + 5 * p[1]", lambda p: p[0] ** 2 + 5 * p[1], [3.0, -2.0], 0.1),
        ("p[0] * p[1]**2 + p[2]**3", _three, [2.0, -3.0, -1.0], 0.01),
        ("p[0]**3", lambda p: p[0] ** 3, [2.0], 0.5),
        ("exp(p[1])", lambda p: math.exp(p[1]), [4.0, 0.0, 7.0, 1.0], 1e-4),
        ("p[0] + p[1]**2", lambda p: p[0] + p[1] ** 2, [2.0, 2.0], 0.25),
        ("p[0]**2", lambda p: p[0] ** 2, [0.0], 0.25),
    ]


def _three(p: Sequence[float]) -> float:
    return p[0] * p[1] ** 2 + p[2] ** 3


def _nudged(point: Sequence[float], places: Sequence[int], h: float) -> list[float]:
    """Return a copy of a point, moved by h at some places."""
    return [x + h * (i in places) for i, x in enumerate(point)]


def _expect_slopes(
    case: str, f: Function, point: list[float], h: float, slopes: list[float]
) -> None:
    """Expect the slopes of f from both sides, and name the first wrong one."""
    for place, given in enumerate(slopes):
        up, down = (f(_nudged(point, [place], step)) for step in (h, -h))
        right, here, so_far = (up - down) / (2 * h), f(point), range(place + 1)
        every = range(len(point))
        together = f(_nudged(point, every, h)) - f(_nudged(point, every, -h))
        kept = f(_nudged(point, so_far, h)) - f(_nudged(point, so_far, -h))
        hints = {
            (up - here) / h: "You nudged up only; nudge down as well.",
            (here - down) / h: "You nudged down only; nudge up as well.",
            2 * right: "From x - h to x + h it is 2h: divide by 2h.",
            h * h * right: "You multiplied by h; divide by 2h.",
            -right: "The sign is the other way round: up minus down, and keep it.",
            up - down: "That is the change; divide it by 2h.",
            up: "That is the function itself, not how it changes.",
            together / (2 * h): "You nudged all numbers together; one at a time.",
            kept / (2 * h): "The places before are still nudged: take a new copy of "
            "`point` for each place.",
        }
        others = [f(_nudged(point, [i], h)) - f(_nudged(point, [i], -h)) for i in every]
        for i in set(every) - {place}:
            hints.setdefault(others[i] / (2 * h), f"That is the slope at place {i}.")
        hints[0.0] = "Are up and down one and the same list? Make two copies."
        otherwise = "Nudge this place alone, up and down, by the `h` that is passed in."
        expect(
            math.isclose(given, right, rel_tol=1e-6, abs_tol=1e-6),
            f"The slope of {case} at place {place} is {right:.4f}, yours is "
            f"{given:.4f}. {hint_for(given, hints, otherwise)}",
        )


@exercise
def check_tanh(value_class) -> str:
    """Takes the class Value."""
    first = value_class(0.5)
    expect(
        hasattr(first, "tanh"),
        "Your Value has no method `tanh`: end the cell with `Value.tanh = tanh`.",
    )
    for x in (0.5, -2.0, 0.0, 1.5, 6.0, 1_000.0, -1_000.0):
        a = value_class(x)
        y = _tanh_of(a, value_class)
        expect(
            a.grad == 0 and a.data == x,
            "You changed the value itself. Return a new Value; the gradients are "
            "filled by `backward`.",
        )
        y.backward()
        _expect_slope(x, a.grad, 1 - math.tanh(x) ** 2)
    _expect_chained(value_class)
    a, b = value_class(0.5), value_class(0.5)
    (a.tanh() + b.tanh()).backward()
    slope = 1 - math.tanh(0.5) ** 2
    expect(
        math.isclose(a.grad, slope) and math.isclose(b.grad, slope),
        "Two values with the same number are still two: do not keep results by number.",
    )
    moved = value_class(0.25)
    moved.tanh()
    moved.data = 1.0  # as training moves it
    _expect_number(1.0, number(moved.tanh().data))
    return "A new kind of step is a number and its slope."


def _tanh_of(a: object, value_class: type) -> object:
    """Return the reader's tanh of a value, if it is a value with the right number."""
    x = a.data
    try:
        y = returned(a.tanh())
    except OverflowError:
        raise Mistake(
            f"For {x} your code overflows. tanh is never above 1: use `math.tanh`, and "
            "compute the slope from it."
        ) from None
    expect(a.data == x, "You changed the value itself. Return a new Value.")
    expect(
        isinstance(y, value_class),
        f"tanh must return a Value; yours returns the type {type(y).__name__}.",
    )
    expect(y is not a, "tanh must return a new Value, not the same one.")
    expect(
        isinstance(y.inputs, list | tuple) and isinstance(y.slopes, list | tuple),
        "Inputs and slopes are lists, even with one entry: `[self], [slope]`.",
    )
    expect(
        all(isinstance(source, value_class) for source in y.inputs),
        "The inputs are Values, not their numbers: `[self]`.",
    )
    expect(
        not isinstance(y.data, Tensor),
        "A Value holds a plain number, not a tensor: use math.tanh.",
    )
    _expect_number(a.data, number(y.data))
    return y


def _expect_number(x: float, given: float) -> None:
    """Expect the tanh of x."""
    right = math.tanh(x)
    hints = {
        x: "That is the number itself.",
        math.tan(x): "That is the tangent; take math.tanh.",
        math.atan(x): "That is the arc tangent; take math.tanh.",
        1 - right**2: "That is the slope; it belongs to the slopes.",
        0.5 + math.tanh(x / 2) / 2: "That is the sigmoid.",
    }
    expect(
        math.isclose(given, right, rel_tol=1e-9, abs_tol=1e-12),
        f"tanh of {x} is {right:.9g}, yours is {given:.9g}. "
        + hint_for(given, hints, "Compute it with math.tanh."),
    )


def _expect_slope(x: float, given: object, right: float) -> None:
    """Expect the gradient that tanh must hand on at x."""
    expect(
        isinstance(given, int | float),
        f"After backward the gradient has the type {type(given).__name__}. A slope is "
        "a plain number: compute it from `.data`.",
    )
    t = math.tanh(x)
    hints = {
        0.0: "Nothing arrives: the new Value must know its input, `self`, and the "
        "slope; the gradient of `self` is left to `backward`.",
        1.0: "The slope is not 1: the new Value must know the slope of tanh.",
        t: "You gave the result as the slope; it is 1 minus its square.",
        1 - t: "Square it: the slope is 1 minus the *square* of tanh.",
        1 - x * x: "The square is that of tanh(a), not that of a.",
        -right: "The sign is the other way round.",
        1 + t * t: "It is 1 *minus* the square.",
        2 * right: "It arrives twice: one input, one slope.",
    }
    expect(
        math.isclose(given, right, rel_tol=1e-7, abs_tol=1e-9),
        f"At {x} the slope of tanh is {right:.9g}, but {given:.9g} arrives. "
        + hint_for(given, hints, "The slope is 1 minus the square of tanh."),
    )


def _expect_chained(value_class: type) -> None:
    """Expect the right gradient where tanh stands inside a longer formula."""
    a, b = value_class(0.3), value_class(-0.7)
    y = (a * b + 1).tanh()
    ((y * y + a).tanh() * a * 3).backward()
    right = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, -0.7)
    ]
    z = (right[0] * right[1] + 1).tanh()
    ((z * z + right[0]).tanh() * right[0] * 3).backward()
    for name, given, leaf in (("a", a.grad, right[0]), ("b", b.grad, right[1])):
        expect(
            math.isclose(given, leaf.grad.item(), rel_tol=1e-7),
            f"Alone it is right, but inside a longer formula {name} gets "
            f"{given:.4f} instead of {leaf.grad:.4f}. The input is `self`, the slope "
            "depends on nothing else, and gradients are left to `backward`.",
        )


@exercise
def check_sum_to_shape(sum_to_shape) -> str:
    """Takes a function of grad, shape."""
    generator = torch.Generator().manual_seed(0)
    for large, small in _broadcasts():
        grad = torch.randn(large, generator=generator, dtype=torch.float64)
        before = grad.clone()
        case = f"sum_to_shape(grad of shape {large}, {small})"
        with mock.patch.object(Tensor, "sum_to_size", _refuse), torch.no_grad():
            answer = returned(sum_to_shape(grad, small))
        expect(torch.equal(grad, before), "You changed `grad` itself; leave it as is.")
        given = tensor(answer, small, case)
        leaf = torch.zeros(small, dtype=grad.dtype, requires_grad=True)
        (leaf.expand(large) * before).sum().backward()
        expect(
            torch.allclose(given.double(), leaf.grad, rtol=1e-5, atol=1e-6),
            f"{case} begins with {rounded(leaf.grad)[:3]}, yours with "
            f"{rounded(given)[:3]}. "
            + hint_for_tensor(
                given,
                _sum_mistakes(before, small),
                "Sum over the dimensions that were repeated, and only these.",
            ),
        )
        expect(
            given.dtype == grad.dtype,
            f"The answer has dtype {given.dtype}; keep that of `grad`, {grad.dtype}.",
        )
    return "Wherever something was repeated, the gradients add up."


def _refuse(*_: object) -> None:
    raise Mistake("Write your own sum, without PyTorch's `sum_to_size`.")


def _broadcasts() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return large shapes, each with a small one that broadcasts to it."""
    return [
        ((4, 3), (3,)),
        ((4, 3), (4, 1)),
        ((4, 3), (1, 3)),
        ((3, 3), (3,)),
        ((3, 3), (3, 1)),
        ((2, 4, 3), (4, 1)),
        ((2, 4, 3), (3,)),
        ((2, 4, 3), (2, 1, 3)),
        ((2, 4, 3, 2), (1, 3, 1)),
        ((2, 2, 2, 4, 3), (3,)),
        ((2, 3, 4), (1, 1, 1)),
        ((4, 1), (4, 1)),
        ((4, 3), (4, 3)),
        ((1, 3), (3,)),
        ((2, 3), (1, 1)),
        ((2, 3), ()),
    ]


def _sum_mistakes(grad: Tensor, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return wrong answers of the right shape."""
    missing = grad.dim() - len(shape)
    ones = [i for i, n in enumerate((1,) * missing + shape) if n == 1]
    wrong = {}
    if ones:
        mean = grad.mean(dim=ones, keepdim=True)
        first = grad
        for i in ones:
            first = first.narrow(i, 0, 1)
        wrong["Take the sum, not the mean."] = mean.reshape(shape)
        wrong["You kept the first one only; add them all up."] = first.reshape(shape)
    if grad.dim() == 2 and grad.size(0) == grad.size(1):
        other = grad.sum(dim=1 if shape == (3,) else 0).reshape(shape)
        wrong[
            "You summed over the other dimension. Shapes are compared from the end."
        ] = other
    return wrong


@exercise
def check_linear_gradients(linear_gradients) -> str:
    """Takes a function of x, w, b, grad_y."""
    generator = torch.Generator().manual_seed(0)
    for *front, d, f in (
        (2, 3, 4, 5),
        (6, 4, 2),
        (3, 3, 3),
        (2, 1, 3, 2, 4),
        (1, 1, 2),
    ):
        x, w, b, grad_y = (
            torch.randn(shape, generator=generator)
            for shape in ((*front, d), (d, f), (f,), (*front, f))
        )
        if d == 3 == f:
            x, w, b, grad_y = (t.double() for t in (x, w, b, grad_y))
        if len(front) == 2:  # not one block of memory, as after a transpose
            x, grad_y = (t.transpose(0, 1) for t in (x, grad_y))
        given = _three_tensors(linear_gradients, (x, w, b, grad_y))
        leaves = [t.clone().requires_grad_() for t in (x, w, b)]
        ((leaves[0] @ leaves[1] + leaves[2]) * grad_y).sum().backward()
        _expect_gradients(given, leaves, _linear_mistakes(x, w, grad_y))
    return "That is half of the work of training any model."


def _expect_gradients(
    given: list[Tensor], leaves: list[Tensor], mistakes: dict[str, dict[str, Tensor]]
) -> None:
    """Expect the gradients of x, w and b, and name the first wrong one."""
    shapes = " and w of shape ".join(str(tuple(leaf.shape)) for leaf in leaves[:2])
    otherwise = (
        "Follow one number forward, to every place where it is used; take the `grad_y` "
        "that is given."
    )
    for name, own, leaf in zip(("x", "w", "b"), given, leaves, strict=True):
        expect(
            own.dtype == leaf.dtype,
            f"The gradient of {name} has dtype {own.dtype}; {name} has {leaf.dtype}.",
        )
        expect(
            torch.allclose(own, leaf.grad, rtol=1e-4, atol=1e-5),
            f"For x of shape {shapes} the gradient of {name} begins with "
            f"{rounded(leaf.grad)[:3]}, yours with {rounded(own)[:3]}. "
            + hint_for_tensor(own, mistakes[name], otherwise),
        )


def _called(linear_gradients, inputs: tuple[Tensor, ...]) -> object:
    """Return what the reader's function returns; `Mistake` where it cannot compute."""
    try:
        with torch.no_grad():  # without backward()
            return returned(linear_gradients(*inputs))
    except NotImplementedError:
        raise
    except (RuntimeError, ValueError) as error:
        shape = tuple(inputs[0].shape)
        if "require grad" in str(error):
            raise Mistake("Write it without backward(), as three formulas.") from None
        raise Mistake(
            f"With x of shape {shape} your code raised {type(error).__name__}: {error} "
            "(`.T` and `view` are for matrices in one piece: bring all dimensions in "
            "front into one, with `flatten(0, -2)`.)"
        ) from None


def _three_tensors(linear_gradients, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the reader's three gradients, if they have the right types and shapes."""
    before = [t.clone() for t in inputs]
    answer = _called(linear_gradients, inputs)
    for name, t, copy in zip(("x", "w", "b", "grad_y"), inputs, before, strict=True):
        expect(
            torch.equal(t, copy) and t.grad is None and not t.requires_grad,
            f"You changed `{name}` itself, or its `grad`; leave it as is, and do "
            "without backward.",
        )
    expect(
        isinstance(answer, tuple | list) and len(answer) == 3,
        "Return three gradients: `return grad_x, grad_w, grad_b`.",
    )
    return [
        tensor(
            own, tuple(t.shape), f"With x of shape {tuple(before[0].shape)}, grad_{n}"
        )
        for own, t, n in zip(answer, before[:3], ("x", "w", "b"), strict=True)
    ]


def _linear_mistakes(x: Tensor, w: Tensor, g: Tensor) -> dict[str, dict[str, Tensor]]:
    """Return wrong gradients of each input, with the words that name the mistake."""
    rows, out = x.flatten(0, -2), g.flatten(0, -2)
    mean = "Take the sum over all places, not the mean."
    first = "You used only a part of the batch: every place uses the same weights."
    wrong = {
        "x": {"w must be transposed: its rows and columns change roles.": g @ w}
        if w.size(0) == w.size(1)
        else {},
        "w": {
            mean: rows.T @ out / len(rows),
            "It is transposed: x comes first.": out.T @ rows,
            first: rows[: len(rows) // len(x)].T @ out[: len(rows) // len(x)],
            "Divide by nothing: the batch is not averaged here.": rows.T @ out / len(x),
        },
        "b": {
            mean: out.mean(dim=0),
            "b was added at every place: sum over all of them.": out[0],
            first: out[: len(rows) // len(x)].sum(dim=0),
        },
    }
    if len(out) == out.size(1):
        wrong["b"]["You summed over the wrong dimension."] = out.sum(dim=1)
        wrong["w"]["x must be transposed, not multiplied as it is."] = rows @ out
    return wrong
