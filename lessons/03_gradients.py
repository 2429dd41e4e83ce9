# %% [markdown]
# # 03 · Gradients
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/03_gradients.ipynb)
#
# You build `backward` from nothing: about forty lines that find every gradient of any formula,
# and train a bigram to the same loss as PyTorch.
#
# - **You will build** numbers that remember how they were computed, `backward`, and gradient
#   descent with momentum.
# - **You will see** why gradients are added and never overwritten, and what a learning rate
#   does when it is too small or too large.
# - **Needs** lesson [02](02_bigram.ipynb).
# - **Takes** about 75 minutes without exercise 4; the notebook runs in under 45 s.

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

# %% [markdown]
# ## The question
#
# In lesson [02](02_bigram.ipynb), `loss.backward()` computed a gradient for each of 4,225
# logits, and you do not know how. For one row of logits you did it on paper. The models to come
# have parts of many kinds, and nobody derives their gradients on paper. How does `backward` do
# it? <!-- from: 02_bigram#the-model-as-a-module "None" -->

# %% [markdown]
# ## The machine
#
# Take the smallest model that can learn: multiply a number `x` by a weight `w`, add a bias
# `b`, and compare with a target. The loss is the squared difference. Cut the formula into
# single operations, and it is a *computation graph*. Read the upper number in each box first.

# %% mystnb={"image": {"alt": "Computation graph of the squared error of w times x plus b for w = 2, x = 3, b = 1, target 5. Values go forward: 6, 7, 2, 4. Gradients go backward: 1 at the square, 4 at the difference, the sum, the product and b, minus 4 at the target, 8 at x, 12 at w."}}
from lib.show import diagrams

diagrams.computation_graph()

# %% [markdown]
# Values go forward, from left to right, and end in the loss, 4. The lower numbers are
# [gradients](../book/glossary.md#gradient). They go backward. In a moment you can compute each
# of them.

# %% [markdown]
# ## By hand
#
# ### Nudge and see
#
# The [derivative](../book/mathematics.md#derivative) of the loss with respect to `w` answers a
# simple question: if `w` grows a little, how many times as much does the loss grow? So nudge
# `w`, and see.


# %%
def loss_of(w, x=3.0, b=1.0, target=5.0):
    return (w * x + b - target) ** 2


for nudge in (0.1, 0.01, 0.001, 0.0001):
    change = loss_of(2.0 + nudge) - loss_of(2.0)
    print(f"nudge {nudge}: the loss grows by {change:.6f}, ratio {change / nudge:.4f}")

# %% [markdown]
# The smaller the nudge, the closer the ratio comes to 12. That is the gradient of `w` in the
# picture: the loss grows 12 times as fast as `w`. To make the loss smaller, make `w` smaller.
#
# Nudging works for every formula. But each parameter needs a nudge of its own, and with it a new
# run of the whole model. The model of lesson [00](00_quickstart.ipynb) has 5,162 parameters:
# 5,162 more runs for a single step of training. <!-- from: 00_quickstart#the-model "parameters" -->
#
# ### Backward, one box at a time
#
# There is a way to get all gradients in one go. Begin at the end, and ask at each box: if this
# number grows a little, how many times as much does the loss grow? For the box that its arrow leads
# to you know the answer already. Multiply it by the derivative of the step between the two, its *slope*.
# That is the [chain rule](../book/mathematics.md#derivative).

# %%
w, x, b, target = 2.0, 3.0, 1.0, 5.0
difference = w * x + b - target

at_difference = 1 * 2 * difference  # the loss by itself: 1; slope 2 * difference
at_sum = at_difference * 1  # sum - target grows as fast as the sum
at_b = at_product = at_sum * 1  # product + b grows as fast as each of them
at_w = at_product * x  # w * x grows x times as fast as w
at_x = at_product * w  # and w times as fast as x
print(f"gradients: w {at_w}, x {at_x}, b {at_b}, difference {at_difference}")

# %% [markdown]
# The same 12, and the gradients of `x` and `b` came with it. Compare the four numbers with the
# picture. The target is subtracted, so its slope is $-1$, and its gradient $-4$.

# %% [markdown]
# ## The formula
#
# One thing is still missing. A number may be used more than once:

# %% mystnb={"image": {"alt": "A node that is used twice: a = 3 goes into b = 2 a = 6 and into c = a + 1 = 4, and both are multiplied. Backward, a receives 8 through b and 6 through c, and its gradient is the sum, 14."}} tags=["from: backward"]
diagrams.shared_node()

# %% [markdown]
# If `a` grows a little, the product grows by way of `b` *and* by way of `c`. Both changes
# happen, so the two gradients **add up**: $8 + 6 = 14$. (The 8 is 4 at `b` times its slope 2, the 6
# is 6 at `c` times 1.) (Check it: $2a (a + 1) = 2a^2 + 2a$ has
# the derivative $4a + 2$; at 3 that is 14.) <!-- from: backward "second picture" -->
#
# For a number $v$ that goes *directly* into the steps $u_1, u_2, \ldots$:
#
# $$\frac{\partial L}{\partial v} = \sum_{i} \frac{\partial L}{\partial u_i} \cdot \frac{\partial u_i}{\partial v}$$
#
# | symbol | what it is |
# |---|---|
# | $\partial L / \partial v$ | the gradient of $v$: how many times as fast as $v$ the loss $L$ grows |
# | $\partial L / \partial u_i$ | the gradient of a number that was computed from $v$ |
# | $\partial u_i / \partial v$ | the slope of that one step |
#
# All that has to be derived on paper is the slope of each *kind* of step. Five kinds are enough
# for a bigram:
#
# | step | slope for $a$ | slope for $b$ |
# |---|---|---|
# | $a + b$ | 1 | 1 |
# | $a \cdot b$ | $b$ | $a$ |
# | $a^n$ | $n a^{n-1}$ | |
# | $e^a$ | $e^a$ | |
# | $\ln a$ | $1/a$ | |
#
# Computing gradients in this way, from the end to the beginning, is called *backpropagation*
# (Rumelhart, Hinton and Williams, 1986), or *reverse-mode automatic differentiation*.

# %% [markdown]
# ## Build
#
# ### A number that remembers
#
# A `Value` holds a number, and remembers what it was computed from: its `inputs`, and for each of
# them the slope. Each operation is one row of the table above. (A name such as `__add__` tells
# Python what `+` means.) Every new value also gets a `number`, one higher than the last; you
# will see what for.


# %%
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


# %% [markdown]
# Two more kinds of step. (A class can get new methods later.) Subtraction and division need no
# slopes of their own: $a - b = a + (-1) \cdot b$ and $a / b = a \cdot b^{-1}$. The methods with an
# `r` are for a plain number on the left, as in `2 * a`; `sum` needs one, too: it begins with 0.

# %%
import math

Value.exp = lambda self: Value(math.exp(self.data), [self], [math.exp(self.data)])
Value.log = lambda self: Value(math.log(self.data), [self], [1 / self.data])
Value.__neg__ = lambda self: self * -1
Value.__sub__ = lambda self, other: self + -other
Value.__truediv__ = lambda self, other: self * other**-1
Value.__radd__, Value.__rmul__ = Value.__add__, Value.__mul__
Value.__rsub__ = lambda self, other: other + -self
Value.__rtruediv__ = lambda self, other: other * self**-1

# %% [markdown]
# Compute the product of the first picture, and look at what it remembers.

# %%
w, x, b = Value(2.0), Value(3.0), Value(1.0)
product = w * x
print("value", product.data)
for source, slope in zip(product.inputs, product.slopes):
    print("made from", source.data, "with slope", slope)

# %% [markdown]
# No gradient yet: only the values, and the slope of every single step.
#
# ### Backward
#
# Each value must hand its gradient on to its inputs, times the slope. In which order? A value
# may do so only when its own gradient is complete: after everything that uses it. Such an order
# is called *topological*. Here it is simple: a value is always made *before* whatever uses it,
# so go from the newest to the oldest. That is what the numbers are for. `newest_first` collects
# all that the loss was made from, then sorts it.


# %%
def newest_first(loss):
    found, to_visit = {loss}, [loss]
    while to_visit:
        sources = set(to_visit.pop().inputs) - found
        found |= sources
        to_visit += sources
    return sorted(found, key=lambda value: -value.number)


def backward(loss):
    loss.grad = 1.0
    for value in newest_first(loss):
        for source, slope in zip(value.inputs, value.slopes):
            source.grad += value.grad * slope


Value.backward = backward

# %% [markdown]
# The line with `+=` is the formula: a gradient times a slope, added to what is there already. Do
# both pictures come out?

# %%
w, x, b = Value(2.0), Value(3.0), Value(1.0)
loss = (w * x + b - 5) ** 2
loss.backward()
print("first picture:  w", w.grad, " x", x.grad, " b", b.grad)

a = Value(3.0)
(2 * a * (a + 1)).backward()
print("second picture: a", a.grad)
assert (w.grad, x.grad, b.grad, a.grad) == (12, 8, 4, 14)

# %% [markdown]
# That is all of `backward`. It works for whatever you can write with the five operations.
#
# ### A bigram, trained by your own gradients
#
# On the whole table of lesson 02 our `backward` would be slow: it goes from number to number, in
# plain Python. So take a small one: only the eight most frequent characters, and the pairs in
# which both characters are among them. (`topk` finds the largest entries, and `.indices` says
# where they stand.)

# %% tags=["corpus"]
import torch

from lib.models.bigram import count_pairs
from lib.show import plot
from lib.text.batches import split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
train = torch.tensor(tokenizer.encode(split_text(corpus.text)[0]))
top = train.bincount(minlength=tokenizer.vocab_size).topk(8).indices
all_counts = count_pairs(train, tokenizer.vocab_size)
counts = all_counts[top][:, top].double()  # these rows, these columns: (8, 8)
shares = counts / counts.sum()

# %% tags=["corpus"]
names = plot.visible([tokenizer.characters[i] for i in top.tolist()])
print(" ".join(names), f"in {counts.sum() / all_counts.sum():.0%} of all pairs")
p = counts / counts.sum(dim=1, keepdim=True)
counted_loss = -torch.xlogy(shares, p).sum().item()
print(f"guessing {math.log(8):.4f} nats, by counting {counted_loss:.4f} nats")

# %% [markdown]
# These are almost a third of all pairs, and no table can do better on them than the counts.
# Guessing gives each of the eight the same probability. (`xlogy(s, p)` is $s \ln p$, and 0 where
# $s$ is 0.)
#
# The loss is the one of lesson 02: for each pair, $\ln \sum_k e^{z_k}$ minus the logit of the
# character that came, weighted by the share of that pair.


# %%
def bigram_loss(logits, shares):
    loss = 0.0
    for row, row_shares in zip(logits, shares):
        log_total = sum(z.exp() for z in row).log()
        loss += sum(s * (log_total - z) for z, s in zip(row, row_shares))
    return loss


# %% [markdown]
# Training has its four moves. (The rate can be 10, since the shares of the pairs make
# each gradient tiny.) This is plain *gradient descent*: each logit moves by
# its gradient times the [learning rate](../book/glossary.md#learning-rate), and *against* the
# gradient, which says where the loss grows.


# %%
def train_bigram(rate, n_steps, backward=backward):
    flat = [Value(0.0) for _ in range(64)]
    logits, losses = [flat[i : i + 8] for i in range(0, 64, 8)], []
    for step in range(n_steps):
        loss = bigram_loss(logits, shares.tolist())  # measure
        losses.append(loss.data)
        for z in flat:
            z.grad = 0.0  # forget
        backward(loss)  # compute
        for z in flat:
            z.data -= rate * z.grad  # move
    return logits, losses


# %% tags=["corpus"]
logits, losses = train_bigram(rate=10, n_steps=50)
for step in (0, 1, 10, 49):
    print(f"step {step:2}: {losses[step]:.4f} nats")

# %% [markdown]
# From guessing to about a hundredth of a nat above the counts, with your own gradients.
#
# ### Whole tensors
#
# PyTorch does the same, but each step works on whole tensors. The [matrix
# product](../book/mathematics.md#matrix-product) matters most. Let $Y = X W + b$, and let $G$
# hold the gradients of all numbers in $Y$. The weight $W_{kj}$ enters $Y_{ij}$ for every row $i$,
# with slope $X_{ik}$; and $X_{ik}$ enters $Y_{ij}$ for every column $j$, with slope $W_{kj}$. The
# gradients add up:
#
# $$\frac{\partial L}{\partial W_{kj}} = \sum_i X_{ik} \, G_{ij} \qquad
# \frac{\partial L}{\partial X_{ik}} = \sum_j G_{ij} \, W_{kj}$$
#
# As matrices, where $X^\top$, in code `x.T`, is $X$ with rows and columns exchanged:
#
# $$\frac{\partial L}{\partial W} = X^\top G \qquad \frac{\partial L}{\partial X} = G \, W^\top$$
#
# The bias $b_j$ is added to every row, by
# [broadcasting](../book/mathematics.md#broadcasting), with slope 1. So its gradient is the *sum of
# $G$ over the rows*. **Where the forward step repeats a number, the backward step adds.** Check
# all three against PyTorch.

# %%
generator = torch.Generator().manual_seed(0)
x, w, b = (torch.randn(s, generator=generator) for s in ((3, 2), (2, 4), (4,)))
leaves = [t.requires_grad_() for t in (x, w, b)]  # their gradients are wanted
y = x @ w + b  # (3, 2) @ (2, 4) + (4,) -> (3, 4)
loss = y.square().sum()
loss.backward()

# %%
with torch.no_grad():
    g = 2 * y  # the slope of a square, (3, 4)
    by_hand = [g @ w.T, x.T @ g, g.sum(dim=0)]
for name, leaf, hand in zip(("x", "w", "b"), leaves, by_hand):
    equal = torch.allclose(leaf.grad, hand, atol=1e-6)
    print(f"{name}: shape {tuple(hand.shape)}, equal to PyTorch's: {equal}")
    assert equal

# %% [markdown]
# A gradient always has the shape of the tensor itself. That helps to remember the two products:
# with the shapes `(3, 2)`, `(2, 4)` and `(3, 4)` nothing else fits.
#
# PyTorch keeps a graph like yours. `grad_fn` is the step that made a tensor, and
# `next_functions` are the steps that made its inputs. Walk from the loss back to `x`.

# %% tags=["hide-input"]
# @title The walk
step = loss.grad_fn
while step is not None:
    print(type(step).__name__)
    step = step.next_functions[0][0] if step.next_functions else None

# %% [markdown]
# Sum, square, plus, matrix product, each with its own backward rule. The last one,
# `AccumulateGrad`, is our `+=`: it adds what arrives to `x.grad`.

# %% [markdown]
# ## Check
#
# Train the same bigram with PyTorch: a table of logits, its own `log_softmax`, and `SGD`, its
# plain gradient descent, in double precision, as Python computes.


# %%
def train_with_torch(rate, n_steps):
    table = torch.zeros(8, 8, dtype=torch.float64, requires_grad=True)
    optimizer, losses = torch.optim.SGD([table], lr=rate), []
    for step in range(n_steps):
        loss = -(shares * table.log_softmax(dim=1)).sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return table, losses


# %% tags=["corpus"]
from lib.checks.claims import claim

table, torchs = train_with_torch(rate=10, n_steps=50)
ours = torch.tensor([[z.grad for z in row] for row in logits], dtype=table.dtype)
print(f"last loss: ours {losses[-1]:.6f}, PyTorch's {torchs[-1]:.6f} nats")
print("all gradients equal:", torch.allclose(ours, table.grad, atol=1e-6))
claim(max(abs(a - b) for a, b in zip(losses, torchs)) < 1e-6, "the same losses")
claim(torch.allclose(ours, table.grad, atol=1e-6), "the same gradients")

# %% [markdown]
# The same losses at every step, and the same gradients at the end.

# %% tags=["proof"]
# @title Proof: fifty random formulas have PyTorch's gradients
import random


def formula(a, b, c):
    inner = (a * b + c) / (b * b + 1.5) - a**3
    return (inner.exp() + a * a + 0.5).log() * (2 - c) + (b + 2.5) ** -0.5 * inner


rng = random.Random(0)
for _ in range(50):
    numbers = [rng.uniform(-2, 2) for _ in range(3)]
    values = [Value(number) for number in numbers]
    formula(*values).backward()
    tensors = [torch.tensor(n, dtype=torch.float64).requires_grad_() for n in numbers]
    formula(*tensors).backward()
    for value, tensor in zip(values, tensors):
        assert math.isclose(value.grad, tensor.grad.item(), rel_tol=1e-9, abs_tol=1e-9)
print("equal to nine digits")

# %% [markdown]
# ### The classic bug: a gradient that is overwritten
#
# The `+` of `+=` is easily forgotten. Try it on the two pictures.


# %%
def overwriting_backward(loss):
    loss.grad = 1.0
    for value in newest_first(loss):
        for source, slope in zip(value.inputs, value.slopes):
            source.grad = value.grad * slope  # the bug


# %%
w, a = Value(2.0), Value(3.0)
overwriting_backward((w * 3 + 1 - 5) ** 2)
overwriting_backward(2 * a * (a + 1))
print(f"first picture: w {w.grad}; second picture: a {a.grad}")
assert w.grad == 12 and a.grad != 14

# %% [markdown]
# In the first picture each number is used once, and the bug does not show. In the second, one of
# the two gradients is lost. So **test with a number that is used twice**. In a bigram every
# logit is: in the sum of its row, and in its own pair.

# %% tags=["corpus"]
_, broken = train_bigram(rate=10, n_steps=50, backward=overwriting_backward)
print(f"with the bug, step 0: {broken[0]:.4f} nats, step 49: {broken[49]:.4f} nats")
claim(broken[49] > math.log(8) - 0.01, "with the bug it learns nothing")

# %% [markdown]
# No error, no warning, and nothing learned: after 50 steps it still guesses. (Going
# back, the newest come first. So what arrives through `log_total - z` is overwritten by what arrives
# last, through `exp` and the sum of the row. This is in proportion to $p$. All $p$ of a row start
# equal, so its logits move alike, and the $p$ stay equal.)
#
# Adding has a price: what is not cleared is added to the next gradient. That is the bug of lesson
# [00](00_quickstart.ipynb#the-classic-bug-gradients-that-pile-up), a training loop without
# `zero_grad`. Here it is in two lines.

# %%
a = Value(3.0)
for turn in ("first", "second"):
    (2 * a * (a + 1)).backward()  # a new graph, but the same a
    print(f"{turn} backward: a {a.grad}")

# %% [markdown]
# ## Look
#
# Gradients say which way is down. How far should you go? Two parameters are enough to see it:
# the `w` and `b` of the first picture, now with three points on the line $2x + 1$. The descent
# begins at `w` = 2, `b` = 6.


# %%
def line_loss(w, b):
    return sum((w * x + b - t) ** 2 for x, t in ((1, 3), (2, 5), (3, 7))) * (1 / 3)


def descend(rate, momentum=0.0, n_steps=40):
    w, b = Value(2.0), Value(6.0)
    path, velocity = [], {w: 0.0, b: 0.0}
    for step in range(n_steps):
        path.append((w.data, b.data))
        w.grad = b.grad = 0.0
        line_loss(w, b).backward()
        for p in (w, b):
            velocity[p] = momentum * velocity[p] + p.grad
            p.data -= rate * velocity[p]
    return path


# %% [markdown]
# Ignore `momentum` for now: at 0 it changes nothing. Each thin line connects points of the same
# loss. Together they show a long, narrow valley; the cross is its lowest point. Move the slider. What happens when the
# learning rate is very small, and what when it is the largest?

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
import matplotlib.pyplot as plt

from lib.show.frames import slider


def landscape(paths):
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    w, b = torch.meshgrid(
        torch.linspace(-2, 5, 141), torch.linspace(-1, 8, 141), indexing="xy"
    )
    levels = [0.05, 0.3, 1, 3, 7, 14, 25, 40, 60]
    axes.contour(w, b, line_loss(w, b), levels, colors="0.7", linewidths=0.8)
    for name, path in paths.items():
        axes.plot(*zip(*path), marker="o", markersize=3.5, linewidth=1.2, label=name)
    axes.plot(2, 1, "x", color="black", markersize=9)
    axes.set(xlabel="w", ylabel="b", xlim=(-2, 5), ylim=(-1, 8))
    axes.legend(loc="lower left")
    plt.close(figure)
    return figure


def draw(rate):
    return landscape({f"learning rate {rate}": descend(rate)})


def describe(rate):
    w, b = descend(rate)[-1]
    return (
        f"Learning rate {rate}: the path over the valley ends at w = {w:.2f}, "
        f"b = {b:.2f}, where the loss is {line_loss(w, b):.3f}."
    )


rates = [0.003, 0.01, 0.03, 0.1, 0.17, 0.185]
slider(draw, rates, "learning rate", alt=describe, start=2)

# %% [markdown]
# *A small rate creeps. A good one drops into the valley, then walks slowly along its floor. A
# larger one jumps from side to side, and beyond a limit each jump is longer than the last.*
#
# The steep direction sets the limit for the rate, and then the steps along the flat one are too
# short. [**Momentum**](../book/glossary.md#momentum) helps: keep a *velocity*, which loses a tenth
# in each step and gains the new gradient. What changes its sign cancels; what stays grows:
#
# $$v \leftarrow 0.9 \, v + \frac{\partial L}{\partial w} \qquad w \leftarrow w - \text{rate} \cdot v$$

# %% mystnb={"image": {"alt": "Two paths over the narrow valley from the same start. Without momentum the path drops to the floor of the valley and ends far from the cross. With momentum it swings from side to side, runs along the valley, and ends around the cross."}}
paths = {"plain": descend(0.03), "momentum 0.9": descend(0.03, momentum=0.9)}
for name, path in paths.items():
    print(f"{name}: loss {line_loss(*path[-1]):.3f} after 39 steps")
print(f"plain, at its best rate, 0.17: loss {line_loss(*descend(0.17)[-1]):.3f}")
landscape(paths)

# %% [markdown]
# *The same rate, the same number of steps. The plain path drops to the floor of the valley and is
# still far from the cross; the one with momentum swings, and comes close. At its own best rate the
# plain one gets much further, but still not as far as with momentum.*
#
# (In PyTorch it is `SGD(..., momentum=0.9)`.)

# %% tags=["proof"]
# @title Proof: momentum is PyTorch's
ours = descend(0.03, momentum=0.9)
w, b = (torch.tensor(n, dtype=torch.float64).requires_grad_() for n in (2, 6))
optimizer = torch.optim.SGD([w, b], lr=0.03, momentum=0.9)
for place in ours:
    assert abs(w.item() - place[0]) < 1e-4 and abs(b.item() - place[1]) < 1e-4
    optimizer.zero_grad()
    line_loss(w, b).backward()
    optimizer.step()
print("the same", len(ours), "places")

# %% [markdown]
# ## Experiment: which learning rate?
#
# For a whole table you can only try: the same bigram, 50 steps, seven
# rates, each about three times the one before. Guess the shape of the curve.

# %% tags=["corpus", "measured"]
rates = (0.1, 0.3, 1, 3, 10, 30, 100)
ends = {rate: train_bigram(rate, n_steps=50)[1][-1] for rate in rates}
for rate, loss in ends.items():
    print(f"rate {rate:5}: {loss:.3f} nats after 50 steps")
claim(min(ends, key=ends.get) in (10, 30), "the best rate is 10 or 30")
claim(ends[100] > math.log(8), "the largest rate is worse than guessing")

# %% mystnb={"image": {"alt": "Line chart of the loss after 50 steps over the learning rate, which grows from left to right. The line falls from near the dashed level of guessing, flattens out, and then shoots up far above guessing at the last rate."}} tags=["corpus"]
levels = {"guessing": math.log(8)}
labels = [str(rate) for rate in rates]
axes = "learning rate", "loss (nats per token)"
plot.line_chart({"after 50 steps": list(ends.values())}, *axes, labels, levels)

# %% [markdown]
# *A U with one steep side. Too small a rate costs time. The best of these rates lies next to one
# that breaks everything.*
#
# You will meet this curve with every model. So try rates in *factors*, about three apart. And when
# you must guess, guess low.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>What are the inputs of a * a, and what is the gradient of a at 3?</summary>
#
# `a` twice, each time with slope 3. The gradients add up to 6, which is $2a$: the same as for
# `a**2`.
#
# </details>
#
# <details><summary>Suppose backward went from the oldest value to the newest. What would w get in the first picture?</summary>
#
# 0. The first box hands its gradient on before any has arrived. Only the direct inputs of the
# loss get something.
#
# </details>
#
# <details><summary>Nudging needs one more run for each logit. How much work is backward?</summary>
#
# One multiplication and one addition for each arrow of the graph: about as much as one or two
# runs forward, however many parameters there are. That is why it scales to billions.
#
# </details>

# %% tags=["answer"]
# @title Answers: a * a, oldest first, the work of backward
a = Value(3.0)
(a * a).backward()
print("gradient of a:", a.grad)

w = Value(2.0)
loss = (w * 3 + 1 - 5) ** 2
loss.grad = 1.0
for value in reversed(newest_first(loss)):
    for source, slope in zip(value.inputs, value.slopes):
        source.grad += value.grad * slope
print("oldest first: w", w.grad)

values = newest_first(bigram_loss(logits, shares.tolist()))
arrows = sum(len(value.inputs) for value in values)
print(f"bigram: {len(values)} values, {arrows} arrows")
assert (a.grad, w.grad) == (6, 0)

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_03 import (
    check_linear_gradients,
    check_numeric_gradient,
    check_sum_to_shape,
    check_tanh,
)

# %% [markdown]
# ### Exercise 1: Nudge from both sides
#
# *warm-up · 5 minutes* · [Solution](../solutions/03_gradients.ipynb#exercise-1-nudge-from-both-sides)
#
# Whoever writes a backward rule tests it by nudging. Nudging up and down is more exact:
#
# $$\frac{f(x + h) - f(x - h)}{2h}$$
#
# Given a function `f` of a list of numbers, and such a list, `point`, return the list of these
# slopes, one for each number. Nudge one at a time, and leave `point` as it is. For
# `lambda p: p[0]**2 + 5 * p[1]` at `[3, -2]` they are 6 and 5, nearly.
#
# <details><summary>Hint</summary>
#
# For each place make two copies of the list, `list(point)`, and change them at this place only.
#
# </details>


# %%
def numeric_gradient(f, point, h=1e-4):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_numeric_gradient(numeric_gradient)

# %% [markdown]
# ### Exercise 2: A new kind of step
#
# *core · 10 minutes* · [Solution](../solutions/03_gradients.ipynb#exercise-2-a-new-kind-of-step)
#
# Give `Value` the method `tanh`. The function $\tanh a$ squeezes any number into the range from
# $-1$ to 1; `math.tanh` computes it. Its slope is $1 - \tanh^2 a$. Return a new `Value` that
# remembers where it came from. It must work for large numbers too, such as a thousand.
#
# <details><summary>Hint</summary>
#
# `exp` is the model: one input, one slope. Compute the number first; the slope is made of it.
#
# </details>


# %%
def tanh(self):
    raise NotImplementedError("your code here")


Value.tanh = tanh

# %% tags=["exercise"]
check_tanh(Value)

# %% [markdown]
# ### Exercise 3: Undo a broadcast
#
# *core · 10 minutes* · [Solution](../solutions/03_gradients.ipynb#exercise-3-undo-a-broadcast)
#
# A tensor of the shape `shape` was broadcast to a larger shape, and `grad` is the gradient of the
# large one. Return the gradient of the small one, a tensor of exactly this shape: add up
# whatever was repeated. `shape` may have fewer dimensions than `grad` (the missing ones stand
# in front), and dimensions of size 1.
# (PyTorch has `sum_to_size` for this; write your own.)
# From ones of the shape `(4, 3)` to the shape `(4, 1)` comes a column of threes.
#
# <details><summary>Hint</summary>
#
# Two steps. While `grad` has more dimensions than `shape`, sum over the first one. Then sum over
# each dimension where `shape` has a 1, with `keepdim=True`.
#
# </details>


# %%
def sum_to_shape(grad, shape):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_sum_to_shape(sum_to_shape)

# %% [markdown]
# ### Exercise 4: A linear layer, backward
#
# *stretch · 15 minutes* · [Solution](../solutions/03_gradients.ipynb#exercise-4-a-linear-layer-backward)
#
# In every model to come, a linear layer works on a whole batch: `y = x @ w + b` with `x` of shape
# `(..., D)`, `w` of shape `(D, F)` and `b` of shape `(F,)`. Given these three and `grad_y` of
# shape `(..., F)`, return the gradients of `x`, `w` and `b` in this order, without `backward`.
# There may be one or more dimensions in front.
#
# <details><summary>Hint</summary>
#
# The same `w` is used at every place of every sequence. `flatten(0, -2)` makes all dimensions
# but the last into one; then the formulas of this page fit. `grad_x` needs no flattening.
#
# </details>


# %%
def linear_gradients(x, w, b, grad_y):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_linear_gradients(linear_gradients)

# %% [markdown]
# ## Recap
#
# - You built **numbers that remember** how they were computed, and **`backward`**: go from the
#   loss to the oldest value, and add gradient times slope at every input. It trains a bigram to
#   the same loss as PyTorch, with the same gradients.
# - You saw why gradients **add up**: a number that is used twice moves the loss in two ways.
#   Overwrite instead, and this bigram learns nothing. Forget to clear, and old gradients come back.
# - You know the rules for **whole tensors**: $X^\top G$ and $G \, W^\top$ for a matrix product, a
#   sum over what was repeated for broadcasting.
# - You built **gradient descent with momentum**, and measured the learning rate's **U-curve**: the
#   best rate lies just below the one that breaks everything.
#
# `backward` is no longer magic, and it works for any model. What is still wrong is the model: a
# bigram sees one character. Lesson [04](04_embeddings.ipynb) begins one that reads a long past.

# %% [markdown]
# ## To read
#
# - Rumelhart, Hinton and Williams (1986), *Learning representations by back-propagating errors*:
#   the formula of this page, and momentum, in four pages.
# - Baydin et al. (2018), *Automatic Differentiation in Machine Learning: a Survey*, section 3:
#   forward and reverse mode side by side, with a table of every step.
# - Goh (2017), *Why Momentum Really Works*: the narrow valley, with sliders.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: a whole GPT with your own gradients
#
# If `backward` works for whatever you can write, it works for a GPT. Here is one, in plain Python
# on top of `Value`, with nothing imported but `math` and `random`. It is the model of lesson
# [00](00_quickstart.ipynb), only narrower and with one block, and it learns to count. Lessons 04
# to 10 explain its parts; read it now for how little there is, and again after lesson 10.
#
# Most of a GPT is sums of products. As a single step with many inputs, such a sum is much
# quicker than as many small ones. A vector is a list of values, a matrix a list of rows.


# %%
import random


def dot(a, b):
    xs, ys = [x.data for x in a], [y.data for y in b]
    return Value(sum(x * y for x, y in zip(xs, ys)), [*a, *b], ys + xs)


def linear(matrix, x):
    return [dot(row, x) for row in matrix]


def add(a, b):
    return [x + y for x, y in zip(a, b)]


# %% [markdown]
# The softmax and the loss. Both subtract the largest score first, as `logsumexp` does in lesson
# [02](02_bigram.ipynb#logits-and-cross-entropy).


# %%
def softmax(scores):
    top = max(score.data for score in scores)
    powers = [(score - top).exp() for score in scores]
    one_over_sum = sum(powers) ** -1
    return [power * one_over_sum for power in powers]


def surprise(logits, target):
    top = max(z.data for z in logits)
    return sum((z - top).exp() for z in logits).log() + top - logits[target]


# %% [markdown]
# A layer norm gives a vector mean 0 and variance 1, then a learned gain and bias. GELU is a new
# kind of step: $a$ times the probability that a normally distributed number is below $a$.


# %%
def layer_norm(x, gain, bias):
    mean = sum(x) * (1 / len(x))
    x = [v - mean for v in x]
    scale = (dot(x, x) * (1 / len(x)) + 1e-5) ** -0.5
    return [v * scale * g + b for v, g, b in zip(x, gain, bias)]


def gelu(a):
    below = 0.5 * (1 + math.erf(a.data / math.sqrt(2)))
    density = math.exp(-a.data * a.data / 2) / math.sqrt(2 * math.pi)
    return Value(a.data * below, [a], [below + a.data * density])


# %% [markdown]
# The parameters come in matrices of small random numbers, and in vectors.


# %%
def matrix(rng, n_rows, n_columns):
    return [[Value(rng.gauss(0, 0.2)) for _ in range(n_columns)] for _ in range(n_rows)]


def vector(size, number):
    return [Value(number) for _ in range(size)]


# %% [markdown]
# A block has two norms, four matrices for attention, and a feed-forward network of two layers.


# %%
def new_block(rng, d_model, d_ff):
    return {
        "norm": [vector(d_model, 1.0), vector(d_model, 0.0)],
        "q": matrix(rng, d_model, d_model),
        "k": matrix(rng, d_model, d_model),
        "v": matrix(rng, d_model, d_model),
        "out": matrix(rng, d_model, d_model),
        "ffn_norm": [vector(d_model, 1.0), vector(d_model, 0.0)],
        "up": matrix(rng, d_ff, d_model),
        "up_bias": vector(d_ff, 0.0),
        "down": matrix(rng, d_model, d_ff),
        "down_bias": vector(d_model, 0.0),
    }


# %% [markdown]
# The whole GPT: a table of tokens, one of positions, the blocks, and the head. `parameters`
# collects all values, however deep they are nested.


# %%
def new_gpt(rng, vocab_size, d_model, n_layers, d_ff, context_length):
    return {
        "tokens": matrix(rng, vocab_size, d_model),
        "positions": matrix(rng, context_length, d_model),
        "blocks": [new_block(rng, d_model, d_ff) for _ in range(n_layers)],
        "head": matrix(rng, vocab_size, d_model),
        "head_bias": vector(vocab_size, 0.0),
    }


def parameters(part):
    if isinstance(part, Value):
        return [part]
    parts = part.values() if isinstance(part, dict) else part
    return [p for inner in parts for p in parameters(inner)]


# %% [markdown]
# Attention: each position compares its query with the keys up to its own, and takes a mix of their
# values, once per head.


# %%
def attention(block, xs, n_heads):
    q, k, v = ([linear(block[name], x) for x in xs] for name in ("q", "k", "v"))
    d_head = len(xs[0]) // n_heads
    mixed = [[] for _ in xs]
    for start in range(0, n_heads * d_head, d_head):
        head = slice(start, start + d_head)
        for t in range(len(xs)):  # position t looks at 0 .. t
            scores = [dot(q[t][head], k[u][head]) * d_head**-0.5 for u in range(t + 1)]
            columns = zip(*(v[u][head] for u in range(t + 1)))
            weights = softmax(scores)
            mixed[t] += [dot(weights, column) for column in columns]
    return [linear(block["out"], row) for row in mixed]


# %% [markdown]
# The forward pass: look up, go through the blocks, each of which adds to the vectors, and make
# logits.


# %%
def feed_forward(block, x):
    wide = [gelu(v) for v in add(linear(block["up"], x), block["up_bias"])]
    return add(linear(block["down"], wide), block["down_bias"])


def forward(gpt, ids, n_heads=2):
    xs = [add(gpt["tokens"][i], gpt["positions"][t]) for t, i in enumerate(ids)]
    for block in gpt["blocks"]:
        mixed = attention(block, [layer_norm(x, *block["norm"]) for x in xs], n_heads)
        xs = [add(x, y) for x, y in zip(xs, mixed)]
        normed = [layer_norm(x, *block["ffn_norm"]) for x in xs]
        xs = [add(x, feed_forward(block, y)) for x, y in zip(xs, normed)]
    return [add(linear(gpt["head"], x), gpt["head_bias"]) for x in xs]


# %% [markdown]
# The optimiser Adam keeps two running means for each parameter, of its gradients and of their
# squares, and moves by their ratio. (Lesson 11 explains it.)


# %%
def adam_step(weights, memory, step, rate):
    for w in weights:
        mean, square = memory.get(w, (0.0, 0.0))
        mean, square = 0.9 * mean + 0.1 * w.grad, 0.999 * square + 0.001 * w.grad**2
        memory[w] = mean, square
        mean, square = mean / (1 - 0.9**step), square / (1 - 0.999**step)
        w.data -= rate * mean / (square**0.5 + 1e-8)


# %% [markdown]
# The loss of some rows of counting, eight digits each: the mean surprise, as ever.


# %%
def counting_loss(gpt, starts):
    losses = []
    for start in starts:
        digits = [(start + i) % 10 for i in range(9)]
        pairs = zip(forward(gpt, digits[:-1]), digits[1:])
        losses += [surprise(logits, target) for logits, target in pairs]
    return sum(losses) * (1 / len(losses))


# %% [markdown]
# Training: two rows in each step, and the four moves. The rate falls to almost nothing towards the
# end.


# %%
def train_counter(seed, n_steps=60):
    rng = random.Random(seed)
    gpt = new_gpt(rng, 10, d_model=8, n_layers=1, d_ff=16, context_length=8)
    weights, memory = parameters(gpt), {}
    for step in range(1, n_steps + 1):
        loss = counting_loss(gpt, [rng.randrange(10), rng.randrange(10)])
        for w in weights:
            w.grad = 0.0
        loss.backward()
        adam_step(weights, memory, step, rate=0.03 * (1 - step / (n_steps + 1)))
    return gpt, loss.data


# %% [markdown]
# The test is that of lesson 00: one digit to start with, then always the likeliest next one. From
# each of the ten starts, all twenty digits must be right.


# %%
def count_on(gpt, start, n_new):
    ids = [start]
    for _ in range(n_new):
        logits = forward(gpt, ids[-8:])[-1]
        ids.append(max(range(10), key=lambda i: logits[i].data))
    return ids


# %% tags=["measured"]
gpt, loss = train_counter(seed=0)
written = [count_on(gpt, start, n_new=20) for start in range(10)]
right = [[(start + i) % 10 for i in range(21)] for start in range(10)]
n_right = sum(a == b for a, b in zip(written, right))
print(f"loss {loss:.2f} nats, {n_right} of 10 rows right")
claim(n_right == 10, "every row is right to the last digit")
print("".join(map(str, written[7])), "written by", len(parameters(gpt)), "parameters")

# %% [markdown]
# A complete GPT, trained by gradients that you can follow from number to number. PyTorch's is
# the same model: with the same weights it gives the same logits and the same gradients.

# %% tags=["proof"]
# @title Proof: the library's GPT gives the same logits
from lib.models.gpt import GPT, GPTConfig

sizes = {"vocab_size": 10, "d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 16}
parts = {"attention_bias": False, "final_norm": False, "head_bias": True}
config = GPTConfig(**sizes, context_length=8, tie_weights=False, **parts)
theirs, weights = GPT(config).double(), parameters(gpt)
numbers = torch.tensor([w.data for w in weights], dtype=torch.float64)
torch.nn.utils.vector_to_parameters(numbers, theirs.parameters())

digits = [3, 1, 4, 1, 5, 9, 2, 6, 5]  # no counting: every digit is a surprise
logits, torchs = forward(gpt, digits[:-1]), theirs(torch.tensor([digits[:-1]]))
ours = torch.tensor([[z.data for z in row] for row in logits], dtype=torch.float64)
assert torch.allclose(ours, torchs[0], atol=1e-6)

# %% tags=["proof"]
# @title Proof: and the same gradients
from lib.evaluate.losses import cross_entropy

loss = sum(surprise(z, target) for z, target in zip(logits, digits[1:])) * (1 / 8)
for w in weights:
    w.grad = 0.0
loss.backward()
cross_entropy(torchs, torch.tensor([digits[1:]])).backward()

ours = torch.tensor([w.grad for w in weights], dtype=torch.float64)
grads = torch.cat([p.grad.flatten() for p in theirs.parameters()])
assert torch.allclose(ours, grads, atol=1e-6)
print(f"equal logits, and {len(weights)} equal gradients")

# %% [markdown]
# What PyTorch adds is speed: its nodes are tensors, so one step of Python moves thousands of
# numbers at once, on whatever processor you have.
