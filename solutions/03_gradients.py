# %% [markdown]
# # Solutions 03 · Gradients
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/03_gradients.ipynb)
#
# One way to solve each exercise of lesson [03](../lessons/03_gradients.ipynb), and what to
# learn from it.

# %% tags=["remove-cell"]
# @title Set-up: makes the course's library importable; on Colab it fetches the course
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads would wait for each other
url = os.getenv("COURSE_URL", "https://github.com/from-bigram-to-transformer/course")
if find_spec("google") and find_spec("google.colab") and not Path("course").exists():
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", url, "course"])
here = globals().get("__file__") or os.getenv("JPY_SESSION_NAME", "lesson")
places = [*Path(here).resolve().parents, Path("course").resolve()]
found = [place for place in places if Path(place, "lib", "text", "corpus.py").is_file()]
assert found, f"lib/ not found: run `git clone {url}` and open this lesson in it"
sys.path.insert(0, str(found[0]))

# %% tags=["hide-input"]
# @title The Value of the lesson
import math

import torch


class Value:
    made = 0  # how many there are so far

    def __init__(self, data, inputs=(), slopes=()):
        self.data, self.inputs, self.slopes, self.grad = data, inputs, slopes, 0.0
        Value.made += 1
        self.number = Value.made

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, [self, other], [1.0, 1.0])

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, [self, other], [other.data, self.data])

    def __pow__(self, n):  # n is a plain number
        return Value(self.data**n, [self], [n * self.data ** (n - 1)])

    def exp(self):
        return Value(math.exp(self.data), [self], [math.exp(self.data)])

    def log(self):
        return Value(math.log(self.data), [self], [1 / self.data])

    def backward(self):
        found, to_visit = {self}, [self]
        while to_visit:
            sources = set(to_visit.pop().inputs) - found
            found |= sources
            to_visit += sources
        self.grad = 1.0
        for value in sorted(found, key=lambda value: -value.number):
            for source, slope in zip(value.inputs, value.slopes):
                source.grad += value.grad * slope


Value.__neg__ = lambda self: self * -1
Value.__sub__ = lambda self, other: self + -other
Value.__truediv__ = lambda self, other: self * other**-1
Value.__radd__, Value.__rmul__ = Value.__add__, Value.__mul__

# %%
from lib.checks.lesson_03 import (
    check_linear_gradients,
    check_numeric_gradient,
    check_sum_to_shape,
    check_tanh,
)

# %% [markdown]
# ## Exercise 1: Nudge from both sides
#
# [Exercise](../lessons/03_gradients.ipynb#exercise-1-nudge-from-both-sides)


# %%
def numeric_gradient(f, point, h=1e-4):
    slopes = []
    for place in range(len(point)):
        up, down = list(point), list(point)
        up[place] += h
        down[place] -= h
        slopes.append((f(up) - f(down)) / (2 * h))
    return slopes


# %% tags=["exercise"]
check_numeric_gradient(numeric_gradient)

# %% [markdown]
# How much better are two sides, and how small should the nudge be? The function $x^3$ has the
# slope 12 at 2.


# %%
def cube(p):
    return p[0] * p[0] * p[0]


for h in (1e-1, 1e-3, 1e-5, 1e-9, 1e-13):
    one_side = (cube([2.0 + h]) - cube([2.0])) / h
    two_sides = numeric_gradient(cube, [2.0], h)[0]
    print(f"h {h:.0e}: one side {one_side:.8f}, two sides {two_sides:.8f}")

# %% [markdown]
# From one side the error shrinks like $h$, from two sides like $h^2$: the curvature, which makes
# the slope larger on one side, makes it smaller on the other. But below some size it gets worse
# again. The computer keeps a fixed number of digits, and when two almost equal numbers are
# subtracted, few of them are left.

# %% [markdown]
# ## Exercise 2: A new kind of step
#
# [Exercise](../lessons/03_gradients.ipynb#exercise-2-a-new-kind-of-step)


# %%
def tanh(self):
    t = math.tanh(self.data)
    return Value(t, [self], [1 - t * t])


Value.tanh = tanh

# %% tags=["exercise"]
check_tanh(Value)

# %% [markdown]
# Compare it with PyTorch, in a formula that uses `a` twice.

# %%
a, b = Value(0.5), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
(a * (a + 1).tanh()).backward()
(b * (b + 1).tanh()).backward()
print(f"ours {a.grad:.6f}, PyTorch's {b.grad:.6f}")
assert math.isclose(a.grad, b.grad.item())

# %% [markdown]
# You could also build it from powers of $e$: $(e^{2a} - 1) / (e^{2a} + 1)$, with the right gradient
# for free. But for large $a$ the powers are too large for the computer. A step of its own is quicker,
# and safe.

# %% [markdown]
# ## Exercise 3: Undo a broadcast
#
# [Exercise](../lessons/03_gradients.ipynb#exercise-3-undo-a-broadcast)


# %%
def sum_to_shape(grad, shape):
    while grad.dim() > len(shape):
        grad = grad.sum(dim=0)
    for dim, size in enumerate(shape):
        if size == 1:
            grad = grad.sum(dim=dim, keepdim=True)
    return grad


# %% tags=["exercise"]
check_sum_to_shape(sum_to_shape)

# %% [markdown]
# Broadcasting aligns shapes at their *last* dimension. So what is missing is missing in front, and
# is summed first. Summing over a dimension that has size 1 in both changes nothing.

# %%
grad = torch.arange(6.0).view(2, 3)
for shape in ((3,), (2, 1), (1, 1), ()):
    ours = sum_to_shape(grad, shape)
    print(shape, ours.tolist())
    assert torch.equal(ours, grad.sum_to_size(shape))

# %% [markdown]
# ## Exercise 4: A linear layer, backward
#
# [Exercise](../lessons/03_gradients.ipynb#exercise-4-a-linear-layer-backward)


# %%
def linear_gradients(x, w, b, grad_y):
    rows, grad_rows = x.flatten(0, -2), grad_y.flatten(0, -2)
    grad_w = rows.T @ grad_rows  # (D, N) @ (N, F) -> (D, F)
    return grad_y @ w.T, grad_w, grad_rows.sum(dim=0)


# %% tags=["exercise"]
check_linear_gradients(linear_gradients)

# %% [markdown]
# The gradient of `x` needs no flattening: each place has its own. How many multiplications is
# that, for a layer from 64 to 256 numbers and a batch of 32 sequences of 32?

# %%
n_places, d, f = 32 * 32, 64, 256
forward = n_places * d * f
print(f"forward {forward:,}, backward {2 * forward:,}")

# %% [markdown]
# Forward is one matrix product, backward two of the same size. That is a rule of thumb for every
# model of this course: backward costs about twice as much as forward.
