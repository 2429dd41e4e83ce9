"""Wrong answers to the exercises of lesson 03, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_03.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import math
from itertools import count

import torch


def slopes(up=1.0, down=1.0, over=2.0, fresh: bool = True, together: bool = False):
    """Nudging with one mistake in it."""

    def gradient(f, point, h=1e-4):
        found, above, below = [], list(point), list(point)
        for i in range(len(point)):
            if fresh:
                above, below = list(point), list(point)
            for j in range(len(point)) if together else [i]:
                above[j] += up * h
                below[j] -= down * h
            found.append((f(above) - f(below)) / (over * h))
        return found

    return gradient


def nudged_itself(f, point, h=1e-4):
    found = []
    for i in range(len(point)):
        point[i] += h
        up = f(point)
        point[i] -= 2 * h
        found.append((up - f(point)) / (2 * h))
    return found


def first_place_only(f, point, h=1e-4):
    return slopes()(f, point, h)[:1]


def own_nudge(f, point, h=1e-4):
    return slopes()(f, point, 1e-4)


def in_the_loop(f, point, h=1e-4):
    for i in range(len(point)):
        return slopes()(f, point, h)[i]


def new_class():
    """The class Value of the lesson, as far as the check needs it."""

    class Value:
        numbers = count()

        def __init__(self, data, inputs=(), slopes=()):
            self.data, self.inputs, self.slopes, self.grad = data, inputs, slopes, 0.0
            self.number = next(self.numbers)

        def __add__(self, other):
            other = other if isinstance(other, Value) else Value(other)
            return Value(self.data + other.data, [self, other], [1.0, 1.0])

        def __mul__(self, other):
            other = other if isinstance(other, Value) else Value(other)
            return Value(self.data * other.data, [self, other], [other.data, self.data])

        def __pow__(self, n):
            return Value(self.data**n, [self], [n * self.data ** (n - 1)])

        def exp(self):
            return Value(math.exp(self.data), [self], [math.exp(self.data)])

        def backward(self):
            found, to_visit = {self}, [self]
            while to_visit:
                sources = set(to_visit.pop().inputs) - found
                found |= sources
                to_visit += sources
            self.grad = 1.0
            for value in sorted(found, key=lambda value: -value.number):
                for source, slope in zip(value.inputs, value.slopes, strict=False):
                    source.grad = source.grad + slope * value.grad

        __radd__, __rmul__ = __add__, __mul__

    return Value


def with_tanh(method):
    """A class Value whose tanh is `method(Value, self, the right number)`."""
    value_class = new_class()
    value_class.tanh = lambda self: method(value_class, self, math.tanh(self.data))
    return value_class


def tanh_of_powers(Value, self, t):
    twice = (self * 2).exp()
    return (twice + -1) * (twice + 1) ** -1


def tanh_in_place(Value, self, t):
    self.data = t
    return self


def tanh_fills_gradients(Value, self, t):
    self.grad += 1 - t * t
    return Value(t, [self], [1 - t * t])


def tanh_of_a_copy(Value, self, t):
    return Value(t, [Value(self.data)], [1 - t * t])


def tanh_with_a_value_as_slope(Value, self, t):
    return Value(t, [self], [Value(t) * -1 * Value(t) + 1])


def tanh_kept_by_number():
    kept = {}

    def method(Value, self, t):
        return kept.setdefault((Value, self.data), Value(t, [self], [1 - t * t]))

    return method


def first_inputs_too(Value, self, t):
    """Hands the gradient to the inputs of its input as well."""
    return Value(t, [self, *self.inputs], [1 - t * t] * (1 + len(self.inputs)))


def front(grad, shape):
    while grad.dim() > len(shape):
        grad = grad.sum(dim=0)
    return grad


def ones(grad, shape, how="sum", keepdim=True):
    for i, n in enumerate(shape):
        if n == 1:
            grad = getattr(grad, how)(dim=i, keepdim=keepdim)
    return grad


def summed(grad, shape):
    return ones(front(grad, shape), shape)


def means(grad, shape):
    while grad.dim() > len(shape):
        grad = grad.mean(dim=0)
    return ones(grad, shape, "mean")


def first_entries(grad, shape):
    while grad.dim() > len(shape):
        grad = grad[0]
    for i, n in enumerate(shape):
        if n == 1:
            grad = grad.narrow(i, 0, 1)
    return grad


def from_the_left(grad, shape):
    """Compares shapes from the first dimension."""
    while grad.dim() > len(shape):
        grad = grad.sum(dim=-1)
    return ones(grad, shape)


def sum_in_place(grad, shape):
    right = summed(grad, shape).clone()
    grad *= 0
    return right


def written_into_zeros(grad, shape):
    return torch.zeros(shape) + summed(grad, shape).float()


def linear(x, w, b, g, /, **changed):
    """The right gradients, some of them changed."""
    rows, out = x.flatten(0, -2), g.flatten(0, -2)
    right = {"x": g @ w.T, "w": rows.T @ out, "b": out.sum(dim=0)}
    return tuple((right | changed).values())


def linear_in_place(x, w, b, g):
    g *= 2
    return linear(x, w, b, g / 2)


def linear_by_view(x, w, b, g):
    rows, out = x.view(-1, x.size(-1)), g.view(-1, g.size(-1))
    return g @ w.T, rows.T @ out, out.sum(dim=0)


def linear_of_two_dimensions(x, w, b, g):
    return g @ w.T, x.transpose(-2, -1) @ g, g.sum(dim=0)


def linear_bias_of_the_last(x, w, b, g):
    return linear(x, w, b, g, b=g.flatten(0, -2)[0])


def linear_means(x, w, b, g):
    rows, out = x.flatten(0, -2), g.flatten(0, -2)
    return linear(x, w, b, g, w=rows.T @ out / len(rows), b=out.mean(dim=0))


WRONG = {
    "check_numeric_gradient": [
        (slopes(down=0, over=1), "You nudged up only"),
        (slopes(up=0, over=1), "You nudged down only"),
        (slopes(over=1), "divide by 2h"),
        (slopes(up=-1, down=-1), "The sign is the other way round"),
        (slopes(fresh=False), "take a new copy"),
        (slopes(together=True), "one at a time"),
        (nudged_itself, "You changed `point` itself"),
        (own_nudge, "by the `h` that is passed in"),
        (first_place_only, "so the answer has as many; yours has 1"),
        (in_the_loop, "yours has the type float"),
        (lambda f, p, h=1: torch.tensor(slopes()(f, p, h)), "the type Tensor"),
        (lambda f, p, h=1: [*torch.tensor(slopes()(f, p, h))], "plain numbers"),
        (lambda f, p, h=1: [abs(s) for s in slopes()(f, p, h)], "and keep it"),
        (lambda f, p, h=1: tuple(slopes()(f, p, h)), "the type tuple"),
        (lambda f, p, h=1: [s * 2 * h for s in slopes()(f, p, h)], "divide it by 2h"),
        (lambda f, p, h=1: [str(s) for s in slopes()(f, p, h)], "the type str"),
        (lambda f, p, h=1: [round(s, 2) for s in slopes()(f, p, h)], "The slope of"),
        (lambda f, p, h=1: [f(p) for _ in p], "The slope of"),
        (lambda f, p, h=1: None, "is a `return` missing"),
    ],
    "check_tanh": [
        (new_class(), "no method `tanh`"),
        (with_tanh(lambda V, a, t: None), "is a `return` missing"),
        (with_tanh(lambda V, a, t: t), "returns the type float"),
        (with_tanh(lambda V, a, t: V(t)), "Nothing arrives"),
        (with_tanh(lambda V, a, t: V(t, [a])), "Nothing arrives"),
        (with_tanh(lambda V, a, t: V(t, [a], [1.0])), "The slope is not 1"),
        (with_tanh(lambda V, a, t: V(t, [a], [t])), "the result as the slope"),
        (with_tanh(lambda V, a, t: V(t, [a], [1 - t])), "Square it"),
        (with_tanh(lambda V, a, t: V(t, [a], [1 + t * t])), "*minus*"),
        (
            with_tanh(lambda V, a, t: V(t, [a], [1 - a.data**2])),
            "The square is that of tanh(a)",
        ),
        (with_tanh(lambda V, a, t: V(t, [a], [t * t - 1])), "The sign"),
        (with_tanh(lambda V, a, t: V(t, [a, a], [1 - t * t] * 2)), "It arrives twice"),
        (with_tanh(lambda V, a, t: V(t, a, 1 - t * t)), "`[self], [slope]`"),
        (with_tanh(lambda V, a, t: V(math.tan(a.data), [a], [1])), "the tangent"),
        (with_tanh(lambda V, a, t: V(1 - t * t, [a], [t])), "That is the slope"),
        (with_tanh(lambda V, a, t: a), "a new Value"),
        (
            with_tanh(lambda V, a, t: V(torch.tensor(t), [a], [1 - t * t])),
            "not a tensor",
        ),
        (with_tanh(tanh_of_powers), "use `math.tanh`"),
        (with_tanh(lambda V, a, t: V(t, [a.data], [1 - t * t])), "inputs are Values"),
        (with_tanh(tanh_kept_by_number()), "still two"),
        (with_tanh(tanh_in_place), "a new Value"),
        (with_tanh(tanh_fills_gradients), "You changed the value itself"),
        (with_tanh(tanh_of_a_copy), "Nothing arrives"),
        (with_tanh(tanh_with_a_value_as_slope), "compute it from `.data`"),
        (with_tanh(first_inputs_too), "inside a longer formula"),
    ],
    "check_sum_to_shape": [
        (means, "not the mean"),
        (lambda g, s: g.sum_to_size(s), "without PyTorch's `sum_to_size`"),
        (first_entries, "You kept the first one only"),
        (front, "must have the shape (4, 1)"),
        (ones, "must have the shape (3,)"),
        (from_the_left, "must have the shape (3,)"),
        (lambda g, s: ones(front(g, s), s, keepdim=False), "must have the shape"),
        (
            lambda g, s: summed(g.T if g.shape == (3, 3) else g, s),
            "over the other dimension",
        ),
        (lambda g, s: g.flatten()[: math.prod(s)].reshape(s), "begins with"),
        (lambda g, s: torch.full(s, g.sum().item()).double(), "begins with"),
        (sum_in_place, "You changed `grad` itself"),
        (written_into_zeros, "keep that of `grad`"),
        (lambda g, s: summed(g, s).tolist(), "the type list"),
        (lambda g, s: summed(g, s).numpy(), "the type ndarray"),
        (lambda g, s: g.sum(), "must have the shape"),
        (lambda g, s: None, "is a `return` missing"),
    ],
    "check_linear_gradients": [
        (linear_of_two_dimensions, "grad_w must have the shape (4, 5)"),
        (linear_means, "not the mean"),
        (linear_by_view, "in one piece"),
        (lambda x, w, b, g: linear(x, w, b, g, w=x.T @ g), "are for matrices"),
        (linear_bias_of_the_last, "b was added at every place"),
        (linear_in_place, "You changed `grad_y` itself"),
        (
            lambda x, w, b, g: linear(
                x, w, b, g, w=x[0].T @ g[0] if x.dim() > 2 else 0
            ),
            "only a part of the batch",
        ),
        (
            lambda x, w, b, g: linear(x, w, b, g, x=g @ (w if len(w) == 3 else w.T)),
            "w must be transposed",
        ),
        (
            lambda x, w, b, g: linear(x, w, b, g, w=(x.mT @ g).mean(0)),
            "the batch is not averaged",
        ),
        (lambda x, w, b, g: linear(x, w, b, g, b=g.sum()), "grad_b must have"),
        (lambda x, w, b, g: linear(x, w, b, g, b=g.sum(dim=-1)), "grad_b must have"),
        (lambda x, w, b, g: linear(x, w, b, g)[:2], "Return three gradients"),
        (
            lambda x, w, b, g: linear(x.double(), w.double(), b, g.double()),
            "has dtype torch.float64",
        ),
        (lambda x, w, b, g: linear(x, w, b, g)[::-1], "grad_x must have"),
        (
            lambda x, w, b, g: [t.tolist() for t in linear(x, w, b, g)],
            "yours has the type list",
        ),
        (lambda x, w, b, g: linear(x, w, b, g, b=b * g.sum()), "gradient of b begins"),
        (
            lambda x, w, b, g: linear(
                x, w, b, g, w=x.flatten(0, -2).T @ x.flatten(0, -2) @ w
            ),
            "gradient of w begins",
        ),
        (lambda x, w, b, g: None, "is a `return` missing"),
    ],
}
