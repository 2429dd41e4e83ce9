# %% [markdown]
# # 05 · Positions
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/05_positions.ipynb)
#
# You give each position of a text a vector of its own, so that a model that adds its
# tokens up can tell `on` from `no`.
#
# - **You will build** learned positions, and positions made of sines and cosines.
# - **You will see** why a sum forgets the order, how the hands of clocks write down a
#   number, and a bug that no loss shows.
# - **Needs** lesson [04](04_embeddings.ipynb).
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
# Lesson [04](04_embeddings.ipynb) ended with two window models. One puts its vectors side by
# side: it knows the order, but each place in the window needs weights of its own. The other
# adds the vectors up, and a few weights serve any number of them. But to a sum, `on` and `no`
# are the same text. Can a model add *and* know the order, well enough to beat the counted
# bigram of lesson [02](02_bigram.ipynb), which reaches 2.4819 nats with one character?
# <!-- from: 02_bigram#smoothing "validation:" -->

# %% [markdown]
# ## The machine
#
# Read from the top. Each token id becomes a vector, as before. What is new: every position has a
# vector too, which is added to the vector of the token that stands there.

# %% mystnb={"image": {"alt": "Diagram of the model so far: four tokens become vectors through the token embedding; the new part adds the vector of its position to each of them. The shape stays (B, T, D)."}}
from lib.show import diagrams

diagrams.stream("positions")

# %% [markdown]
# ## By hand
#
# ### `on` and `no`
#
# Give the two letters a vector of two numbers each, and the two positions as well. Add the
# position to each letter, then add everything up. Are the sums different now?

# %%
import torch

o, n = torch.tensor([[3.0, 1.0], [-1.0, 2.0]])  # one vector per letter
first, second = torch.tensor([[1.0, -3.0], [-2.0, 1.0]])  # one vector per position
on = torch.stack([o + first, n + second])
no = torch.stack([n + first, o + second])
print("vectors of on:", on.tolist(), " sum:", on.sum(dim=0).tolist())
print("vectors of no:", no.tolist(), " sum:", no.sum(dim=0).tolist())

# %% [markdown]
# The vectors differ, and still the sums are equal! Each sum holds both letters and both positions.
#
# So something must happen to each vector *before* the sum, and a linear layer is not enough: its
# outputs add up, too. It takes a nonlinearity, such as [ReLU](../book/glossary.md#relu), which
# replaces negative numbers by 0.

# %%
print("ReLU, then sum, on:", on.relu().sum(dim=0).tolist())
print("ReLU, then sum, no:", no.relu().sum(dim=0).tolist())

# %% [markdown]
# Now the order shows. A model that adds needs **a vector per position, and a nonlinearity
# before the sum.**
#
# ### Clocks that count
#
# Which numbers should a position get? Its own number $t$ is the plainest idea. But $t$ grows: far
# into a text it is larger than anything in the vector of the token. Divide $t$ by the length of
# the text, and a step has a different size in each text.
#
# Clocks do better: their hands never grow. A fast hand tells neighbours apart, a slow one says
# roughly where you are.

# %% mystnb={"image": {"alt": "Diagram: the hands of four clocks at the positions 0, 1, 2 and 8. The first is back after 4 positions, the second after 8, and so on, each half as fast as the one before. At position 8 the first two hands point up again, as at position 0; the third points down, the fourth to the right."}}
diagrams.clock_hands()

# %% [markdown]
# At position 8 the first two hands are back where they were at position 0. The other two tell the
# positions apart.
#
# Turn a hand clockwise from the top by an angle $a$: its tip is $\sin a$ to the right of the
# centre and $\cos a$ above it. So each hand takes two numbers. Here is the hand that is back after
# 8 positions:

# %%
import math

for t in range(5):
    angle = 2 * math.pi * t / 8  # a full turn is 2 pi
    sine, cosine = math.sin(angle), math.cos(angle)
    print(f"t = {t}: {360 * t / 8:3.0f} degrees, sine {sine:.3f}, cosine {cosine:6.3f}")

# %% [markdown]
# Check the row $t = 1$: after 45 degrees the tip is as far to the right as it is high, 0.707.
# Why both numbers? The sine alone is the same at $t = 1$ and $t = 3$; the pair is not.

# %% [markdown]
# ## The formula
#
# At position $t$ the model sees the vector of the token $w_t$ plus the vector of the position:
#
# $$x_t = E_{w_t} + p_t$$
#
# The vectors $p_t$ are learned, as $E$ is. Or they are computed, as clocks. For the hands $i =
# 0, 1, \ldots, D/2 - 1$:
#
# $$p_{t,\,2i} = \sin(\omega_i t), \qquad p_{t,\,2i+1} = \cos(\omega_i t),
# \qquad \omega_i = \text{base}^{-2i/D}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $E$ | `(V, D)` | the embedding: one vector per token |
# | $p$ | `(T, D)` | one vector per position |
# | $x_t$ | `(D,)` | their sum at position $t$ |
# | $\omega_i$ | number | frequency: how far hand $i$ turns per position |
# | base | number | how slow the slowest hand is |
#
# Angles are in radians: a full turn is $2 \pi$. Hand 0 has the frequency 1, and each further hand
# is slower by the same factor. Learned positions: Radford et al. (2018), section 3.1, equation
# 2. Sines and cosines, with base 10,000: Vaswani et al. (2017), section 3.5.
# <!-- from: sines-and-cosines "base=10_000" -->

# %% [markdown]
# ## Build
#
# ### The permutation test
#
# First the data.

# %% tags=["corpus"]
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens, {V} different")

# %% [markdown]
# In lesson 04 the sum came first. Here each vector first goes through the hidden layer and the
# nonlinearity; then comes the mean over the window, which is the sum divided by its length. What `positions` does is left open. `keepdim=True` keeps the dimension of the mean, with
# size 1: one prediction per window.


# %%
from torch import nn


class WindowLM(nn.Module):
    context_length = 8

    def __init__(self, positions, activation):
        super().__init__()
        self.embed = nn.Embedding(V, 32)
        self.positions = positions
        self.hidden, self.activation = nn.Linear(32, 128), activation
        self.head = nn.Linear(128, V)

    def forward(self, ids):
        x = self.positions(self.embed(ids))  # (B, T) -> (B, T, 32)
        x = self.activation(self.hidden(x))  # (B, T, 128)
        return self.head(x.mean(dim=1, keepdim=True))  # (B, 1, V)


# %% [markdown]
# Does a model know the order? Give it the same tokens in another order, a *permutation*, and see
# whether the logits change. `torch.randperm(8)` is a random order of the numbers 0 to 7;
# `nn.Identity()` returns what it gets: no positions.


# %%
@torch.no_grad()
def knows_the_order(model):
    ids = torch.tensor([tokenizer.encode("to be or")])  # (1, 8)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    return not torch.allclose(model(ids[:, order]), model(ids), atol=1e-5)


without = WindowLM(nn.Identity(), nn.ReLU())
print("without positions it knows the order:", knows_the_order(without))

# %% [markdown]
# It does not, and no training will change that. Every model that treats all positions alike and
# then adds sees a [bag of tokens](../book/glossary.md#bag-of-tokens). Attention, in the next
# lesson, is no exception.

# %% [markdown]
# ### A learned vector per position
#
# A second lookup table has one row per position, its [position
# embedding](../book/glossary.md#position-embedding). The rows begin as random numbers and are
# trained like all weights.


# %% tags=["naive:position.LearnedPositions"]
class LearnedPositions(nn.Module):
    def __init__(self, context_length, d_model):
        super().__init__()
        self.table = nn.Embedding(context_length, d_model)

    def forward(self, x):
        n_tokens = x.size(-2)  # T
        return x + self.table.weight[:n_tokens]  # (B, T, D) + (T, D)


# %% [markdown]
# A text shorter than the table uses its first rows, the same for each sequence of the batch
# ([broadcasting](../book/mathematics.md#broadcasting)). For a longer one there are no vectors. Now
# the test again, without a nonlinearity and with one:

# %%
for activation in (nn.Identity(), nn.ReLU()):
    model = WindowLM(LearnedPositions(8, 32), activation)
    name = type(activation).__name__
    print(f"with positions and {name} it knows the order:", knows_the_order(model))

# %% [markdown]
# As by hand: only the two together know the order.

# %% [markdown]
# ### Why add the position, and not append it?
#
# Look at what a linear layer makes of such a pair. `split` cuts its matrix into the columns that read
# the token and those that read the position.

# %%
layer = nn.Linear(32 + 8, 128, bias=False)
token, position = torch.randn(32), torch.randn(8)
appended = layer(torch.cat([token, position]))
for_token, for_position = layer.weight.split([32, 8], dim=1)  # (128, 32), (128, 8)
added = for_token @ token + for_position @ position
print("the same:", torch.allclose(appended, added, atol=1e-5))

# %% [markdown]
# The layer *adds*: a part from the token and a part from the position. Adding right away is the
# special case in which both share one matrix, and nothing becomes wider.

# %% [markdown]
# ### Sines and cosines
#
# First the angles: each position times each frequency. `unsqueeze(1)` makes a column of the
# positions, and a column times a row is a table of all products. Take two hands, the second a
# quarter as fast:

# %%
frequencies = torch.tensor([1.0, 0.25])
column = torch.arange(3).unsqueeze(1)  # (3,) -> (3, 1)
print(column.tolist(), "*", frequencies.tolist())
print((column * frequencies).tolist())  # (3, 1) * (2,) -> (3, 2)

# %% [markdown]
# Row $t$ holds the angles at position $t$. Then sines and cosines must alternate. `stack` with
# `dim=-1` pairs two tables number by number; `flatten(1)` makes one row of each row of pairs.
# Watch where the tens go:

# %%
a, b = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[10, 20], [30, 40]])
pairs = torch.stack([a, b], dim=-1)  # (2, 2) and (2, 2) -> (2, 2, 2)
print("stack:  ", pairs.tolist())
print("flatten:", pairs.flatten(1).tolist())  # (2, 4)

# %% [markdown]
# With sines for `a` and cosines for `b` a row reads sine, cosine, sine, cosine. In the class,
# `register_buffer` keeps a tensor that belongs to a module and is *not* learned;
# `persistent=False` leaves it out of saved files, since it can be computed again.


# %% tags=["naive:position.SinusoidalPositions"]
class SinusoidalPositions(nn.Module):
    def __init__(self, context_length, d_model, base=10_000):
        super().__init__()
        pairs = torch.arange(0, d_model, 2, dtype=torch.float64)  # 2i: (D/2,)
        frequencies = base ** (-pairs / d_model)
        angles = torch.arange(context_length).unsqueeze(1) * frequencies  # (T, D/2)
        table = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (T, D/2, 2)
        table = table.flatten(1).float()  # (T, D)
        self.register_buffer("table", table, persistent=False)

    def forward(self, x):
        return x + self.table[: x.size(-2)]


# %% [markdown]
# A hand of frequency $\omega$ is back after $2 \pi / \omega$ positions, its *wavelength*. Here
# are all wavelengths for vectors of 32 numbers.

# %%
waves = SinusoidalPositions(context_length=64, d_model=32).table
wavelengths = [2 * math.pi * 10_000 ** (2 * i / 32) for i in range(16)]
print([round(wavelength) for wavelength in wavelengths])

# %% [markdown]
# They run from 6 to 35,333 positions, each longer by the same factor, which was 2 for the clocks
# above. Whatever the distance between two positions, up to thousands, some hand has made a good part
# of a turn on the way.

# %% [markdown]
# ### A step is a rotation
#
# Go three positions further: every hand moves on by three times its frequency, wherever it
# stands. To turn points around a centre, all by one angle, is a *rotation*. For one hand and $k$
# steps it is the addition theorem of sine and cosine:
#
# $$\sin \omega (t + k) = \cos(\omega k) \sin \omega t + \sin(\omega k) \cos \omega t$$
#
# $$\cos \omega (t + k) = \cos(\omega k) \cos \omega t - \sin(\omega k) \sin \omega t$$
#
# Try it: turn the vector of position 2, and compare with that of position 5.

# %%
frequency, k = 0.25, 3
sine, cosine = math.sin(frequency * 2), math.cos(frequency * 2)  # position 2
turn_sine, turn_cosine = math.sin(frequency * k), math.cos(frequency * k)
new_sine = turn_cosine * sine + turn_sine * cosine
new_cosine = turn_cosine * cosine - turn_sine * sine
print(f"position 2, turned: ({new_sine:.3f}, {new_cosine:.3f})")
print(f"position 5:         ({math.sin(0.25 * 5):.3f}, {math.cos(0.25 * 5):.3f})")

# %% [markdown]
# The same. The factors $\cos \omega k$ and $\sin \omega k$ contain $k$, not $t$: "three further" is one linear map for all
# positions. The authors of the Transformer hoped that this would help. Lesson 19 rotates
# vectors in this way and adds nothing.

# %% [markdown]
# ### The dot product sees the distance
#
# How similar are two positions $s$ and $t$? To their dot product every hand adds $\sin \omega s
# \sin \omega t + \cos \omega s \cos \omega t$. Take the second formula with $s$ for $t$ and $-t$ for
# $k$. (Change the sign of an angle, and its sine changes sign; its cosine stays.)
#
# $$\cos \omega (s - t) = \cos \omega t \cos \omega s + \sin \omega t \sin \omega s$$
#
# So:
#
# $$p_s \cdot p_t = \sum_i \cos\bigl(\omega_i (s - t)\bigr)$$
#
# Only the distance is left. Look at all pairs of one distance: `diagonal(k)` takes the entries
# `k` columns to the right of the main diagonal.

# %%
products = waves @ waves.T  # (64, 64): every position with every other
for distance in (0, 1, 4, 6, 32):
    same = products.diagonal(distance)
    print(f"distance {distance:2}: from {same.min():5.2f} to {same.max():5.2f}")

# %% [markdown]
# At one distance all products are equal. Neighbours are the most similar; farther out it goes up and
# down. These vectors also say *how far* two tokens are apart.

# %% [markdown]
# ## Check
#
# The library's classes compute the same. Compare with the formula of the paper,
# entry by entry, with Python's own sine and cosine:


# %%
def by_the_paper(t, j, d_model=32):
    angle = t / 10_000 ** (2 * (j // 2) / d_model)
    return math.cos(angle) if j % 2 else math.sin(angle)


paper = torch.tensor([[by_the_paper(t, j) for j in range(32)] for t in range(64)])
print(f"largest difference: {(waves - paper).abs().max():.4f}")

# %% tags=["same:position.LearnedPositions", "same:position.SinusoidalPositions", "proof"]
# @title Proof: both classes equal the library's, and PyTorch's lookup
from torch.nn import functional as F

from lib import position as library

ours, theirs = LearnedPositions(8, 32), library.LearnedPositions(8, 32)
theirs.load_state_dict(ours.state_dict())
for length in (1, 5, 8):
    x = torch.randn(2, length, 32)
    looked_up = F.embedding(torch.arange(length), ours.table.weight)
    assert torch.equal(ours(x), theirs(x)) and torch.equal(ours(x), x + looked_up)
for d_model, base in ((32, 10_000), (6, 100.0), (2, 10.0)):
    ours = SinusoidalPositions(64, d_model, base)
    theirs = library.SinusoidalPositions(64, d_model, base)
    x = torch.randn(2, 40, d_model)
    assert torch.equal(ours.table, theirs.table) and torch.equal(ours(x), theirs(x))
print("the same vectors, learned and computed")

# %% [markdown]
# ### The classic bug: almost the right table
#
# In the exponent $2i/D$ the letter $i$ counts pairs: columns 0 and 1 share one frequency. It is
# easy to write $j/D$ with the column $j$, to lose the 2, or to put all sines first and then all cosines.
# All three have the right shape, and numbers between -1 and 1. (`torch.where` takes from its second
# argument where the first is true, else from the third.)

# %%
t = torch.arange(64).unsqueeze(1)  # (64, 1)
j, i = torch.arange(32), torch.arange(16)  # columns, pairs
columns, halved = t * 10_000 ** (-j / 32), t * 10_000 ** (-i / 32)
tables = {
    "right": waves,
    "counts columns": torch.where(j % 2 == 0, columns.sin(), columns.cos()),
    "loses the 2": torch.stack([halved.sin(), halved.cos()], dim=-1).flatten(1),
    "all sines first": torch.cat([waves[:, 0::2], waves[:, 1::2]], dim=1),
}

# %% [markdown]
# Two tests: at one distance, are all dot products equal? And are the entries those of the paper?

# %%
for name, table in tables.items():
    same, off = (table @ table.T).diagonal(8), (table - paper).abs().max()
    print(f"{name:15}: distance 8, from {same.min():5.2f} to {same.max():5.2f}", end="")
    print(f"; largest difference {off:.2f}")
    assert (off > 0.1) == (name != "right")

# %% [markdown]
# In the first wrong table a sine and its cosine turn at different speeds, so the dot product
# depends on the position. The second passes that test: each sine still has its cosine, but the slow
# hands are far too fast. The third is not wrong by itself, since only its columns are reordered; it breaks weights
# that were trained with the other order. **Only the comparison with the formula finds all
# three.** Would training notice? See *Predict, then run*.

# %% [markdown]
# ## Look
#
# The whole table of sines and cosines. Each column is a position, each row one number of its
# vector. Watch how fast the colours change, from top to bottom.

# %% mystnb={"image": {"alt": "Heat map with 32 rows and 64 columns. In the top rows blue and red alternate every three positions. Going down, the stripes become longer, and the lowest rows keep one colour over all 64 positions."}}
from lib.show import plot

rows = [str(j) if j % 4 == 0 else "" for j in range(32)]
columns = [str(t) if t % 8 == 0 else "" for t in range(64)]
axes = "position", "place in the vector"
plot.heat_map(waves.T, rows, columns, *axes, size=(7.5, 4), label="value")

# %% [markdown]
# *Fast hands at the top, slow ones at the bottom. A hand that has hardly moved has a sine near 0,
# white, and a cosine near 1, blue.*
#
# Choose a position with the slider; the curves compare it with all others by
# [cosine](../book/glossary.md#cosine-similarity). The second curve is for a learned table *before*
# training: random vectors.

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider

torch.manual_seed(0)
random_table = LearnedPositions(64, 32).table.weight.detach()


def similarity(table, t):
    return nn.functional.cosine_similarity(table, table[t], dim=-1)


def draw(t):
    lines = {
        "sines and cosines": similarity(waves, t).tolist(),
        "learned, before training": similarity(random_table, t).tolist(),
    }
    return plot.line_chart(lines, "position", f"cosine with position {t}")


def describe(t):
    return (
        f"Two curves over 64 positions, both 1 at position {t}. That of sines and "
        "cosines falls in ripples on both sides; the other jumps up and down around 0."
    )


slider(draw, [0, 8, 16, 24, 32, 40, 48, 56, 63], "position", alt=describe, start=4)

# %% [markdown]
# *The curve of the sines and cosines moves along and keeps its form. To random vectors, near and
# far are the same.*

# %% [markdown]
# ## Experiment: which positions help?
#
# Four models differ in their positions only: none, sines and cosines, learned, and a control with
# random numbers that are *not* trained. If learned positions are better because they are learned,
# the control must be worse.


# %%
def random_positions():
    positions = LearnedPositions(8, 32)
    positions.table.requires_grad_(False)  # it stays as it was drawn
    return positions


kinds = {
    "none": nn.Identity,
    "sines and cosines": lambda: SinusoidalPositions(8, 32),
    "random, not trained": random_positions,
    "learned": lambda: LearnedPositions(8, 32),
}

# %% [markdown]
# Each model reads eight characters and predicts the ninth: 300 steps of 256 windows. The loss, and
# that of the counted bigram, is measured on every eighth window of the validation split.
# (`unfold` lists the windows of nine characters.)


# %%
from lib.evaluate.losses import cross_entropy
from lib.train import fit


def train_window(make_positions, seed):
    torch.manual_seed(seed)
    model = WindowLM(make_positions(), nn.ReLU())
    generator = torch.Generator().manual_seed(seed)

    def next_batch():
        inputs, targets = random_batch(train, 256, 8, generator)
        return inputs, targets[:, -1:]  # one prediction per window

    fit(model, next_batch, n_steps=300, learning_rate=0.02)
    return model


# %%
from lib.models.bigram import count_pairs


@torch.no_grad()
def window_loss(model, windows):
    parts = windows.split(1_024)
    losses = [cross_entropy(model(p[:, :-1]), p[:, -1:]) * len(p) for p in parts]
    return sum(losses).item() / len(windows)


windows = validation.unfold(0, 9, 8)  # (N, 9)
log_counts = (count_pairs(train, V) + 1).float().log()
bigram_loss = window_loss(lambda ids: log_counts[ids[:, -1:]], windows)

# %% [markdown]
# Guess before you look: which of the four comes first, and which last?

# %% tags=["corpus", "measured"]
models, losses = {}, {}
print(f"bigram, counted: {bigram_loss:.2f} nats")
for name, make in kinds.items():
    models[name] = [train_window(make, seed) for seed in range(3)]
    losses[name] = [window_loss(model, windows) for model in models[name]]
    mean, each = sum(losses[name]) / 3, [f"{loss:.2f}" for loss in losses[name]]
    print(f"{name:20} {mean:.2f} nats, seeds {each}")

# %% tags=["corpus", "measured", "proof"]
# @title Proof: the claims of the next paragraph
from lib.checks.claims import claim

bag, sines, fixed, learned = losses.values()
claim(min(bag) > bigram_loss + 0.3, "without positions it is worse than the bigram")
claim(max(sines + fixed + learned) < bigram_loss, "with positions it beats the bigram")
order_is_worth = (sum(bag) - sum(learned)) / 3
claim(order_is_worth > 0.5, "the order is worth more than half a nat")
claim(abs(sum(fixed) - sum(learned)) / 3 < 0.05, "learning the vectors adds little")
claim(max(fixed + learned) < min(sines), "random or learned do better than sines")
print(f"the order is worth {order_is_worth:.1f} nats")

# %% [markdown]
# Without positions, eight characters are worth *less* than the last one alone. With any positions
# the same model beats the bigram, though not yet the side-by-side model of lesson 04 with its many
# weights. The order is worth more than half a nat.
#
# The control does *not* lose: random vectors that nobody trained do as well as learned ones,
# and both do better than sines and cosines, with every seed. It seems that
# positions must be easy to tell apart, and most hands hardly move within eight
# positions. The [solution](../solutions/05_positions.ipynb#exercise-1-similarity-without-a-table)
# of exercise 1 tests this.
#
# Do the trained models use the order? Keep the last character of each window and shuffle the
# seven before it. (Column 7 is the last character, column 8 the target. `argsort` of random numbers
# is a random order; `gather` picks by it.)

# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

generator = torch.Generator().manual_seed(0)
order = torch.rand(len(windows), 7, generator=generator).argsort(dim=1)
shuffled = torch.cat([windows[:, :7].gather(1, order), windows[:, 7:]], dim=1)
for name in kinds:
    before, after = losses[name][0], window_loss(models[name][0], shuffled)
    print(f"{name:20} {before:.2f} nats, shuffled {after:.2f}")
    if name != "none":
        claim(after > bigram_loss, f"{name}: shuffled, it loses to the bigram")

# %% [markdown]
# The model without positions does not notice. The others lose more than they had gained over the
# bigram: they rely on the order. Let two of them write:

# %% tags=["corpus", "sample"]
from lib.generate import sample

prompt = torch.tensor([tokenizer.encode("to be or")])
for name in ("none", "learned"):
    generator = torch.Generator().manual_seed(0)
    text = sample(models[name][0], prompt, 60, 1.0, generator)[0]
    print(f"{name:8}", repr(tokenizer.decode(text)))

# %% [markdown]
# The first writes letters in no order. The second begins to have syllables.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You train with one of the wrong exponents from the Check. How much worse does the loss get?</summary>
#
# Hardly, or not at all. Eight positions need eight vectors that can be told apart, and the wrong
# tables have them: their losses differ from the right one's by less than 0.1 nats. No loss shows
# you this bug; the comparison with the formula does.
#
# </details>

# %% tags=["corpus", "measured", "answer"]
# @title Answer: two wrong exponents, trained
for name in ("counts columns", "loses the 2"):

    def wrong_positions():
        positions = SinusoidalPositions(8, 32)
        positions.table = tables[name][:8].float()
        return positions

    wrong = [window_loss(train_window(wrong_positions, s), windows) for s in range(3)]
    print(f"{name:15} {sum(wrong) / 3:.2f} nats, right {sum(sines) / 3:.2f}")
    claim(abs(sum(wrong) - sum(sines)) / 3 < 0.1, "the loss does not show the bug")

# %% [markdown]
# <details><summary>A model was trained with sine and cosine alternating. You load its weights into a class that puts all sines first. What happens?</summary>
#
# Its loss becomes worse than that of the bigram. Each table is fine, but every weight that reads
# the vectors expects the other order of the columns.
#
# </details>

# %% tags=["corpus", "measured", "answer"]
# @title Answer: another order of the columns, after training
model = models["sines and cosines"][0]
model.positions.table = tables["all sines first"][:8]
loss = window_loss(model, windows)
print(f"alternating {losses['sines and cosines'][0]:.2f} nats, sines first {loss:.2f}")
claim(loss > bigram_loss, "another order breaks the model")

# %% [markdown]
# <details><summary>The model was trained on eight characters. Give it a table of sixteen sines and cosines. Does it predict better when it reads sixteen?</summary>
#
# Far worse, worse than without positions. The vectors of the new positions exist, but no weight
# has ever seen them, and the newest character now stands at the last of them. Even one character
# more costs several tenths of a nat. Lesson 20 is about texts that are longer than in training.
#
# </details>

# %% tags=["corpus", "measured", "answer"]
# @title Answer: more characters than in training
model.positions = SinusoidalPositions(16, 32)
for length in (8, 9, 16):
    loss = window_loss(model, validation.unfold(0, length + 1, 8))
    print(f"{length:2} characters: {loss:.2f} nats")
    claim((loss > bigram_loss) == (length > 8), "longer texts lose to the bigram")
claim(loss > max(bag) + 0.3, "16 characters cost more than no positions")

# %% [markdown]
# <details><summary>You change the first character of the window, and the logits move. You change the last one instead, and they move. What if you change both?</summary>
#
# They move by exactly the sum of the two. After the nonlinearity the vectors are only averaged, so
# each character adds a vote of its own, which depends on itself and on its position, never on the
# other characters.
#
# </details>

# %% tags=["answer"]
# @title Answer: one change, the other, and both
four = torch.tensor([tokenizer.encode("to be or")]).repeat(4, 1)
four[1::2, 0] = tokenizer.ids["a"]  # rows 1 and 3: another first character
four[2:, 7] = tokenizer.ids["q"]  # rows 2 and 3: another last one
with torch.no_grad():
    neither, first_only, last_only, both = models["learned"][0](four)
together = (both - neither) - (first_only - neither) - (last_only - neither)
print(f"what both changes do beyond their sum: {together.abs().max():.3f}")
assert together.abs().max() < 1e-4

# %% [markdown]
# ## Exercises
#
# Each check tells you what is wrong in words. An exercise that you leave out stops nothing.

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_05 import (
    check_find_position,
    check_positions_from_the_end,
    check_shift_positions,
    check_similarity_by_distance,
)

# %% [markdown]
# ### Exercise 1: Similarity without a table
#
# *warm-up · 10 minutes* · [Solution](../solutions/05_positions.ipynb#exercise-1-similarity-without-a-table)
#
# The dot product of two vectors of sines and cosines depends on the distance alone. Return it for
# the distances 0, 1, ..., `n - 1`, a tensor `(n,)`, without making the vectors. `d_model` is even.
# Then compare base 10 with base 10,000: what does the base do?
# <!-- from: solutions/05_positions#exercise-1-similarity-without-a-table "10,000" -->
#
# <details><summary>Hint</summary>
#
# The formula stands in "The dot product sees the distance". A column of distances times a row of
# frequencies gives a table of angles; add up over the hands.
#
# </details>


# %%
def similarity_by_distance(d_model, base, n):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_similarity_by_distance(similarity_by_distance)

# %% [markdown]
# ### Exercise 2: Count from the end
#
# *core · 15 minutes* · [Solution](../solutions/05_positions.ipynb#exercise-2-count-from-the-end)
#
# The last character matters most, but in a shorter window it has another position. Write learned
# positions that count from the end: row 0 of the table is added to the *last* vector of `x` `(B, T,
# D)`, row 1 to the one before it, and so on. The table has `context_length` rows; T may be
# smaller. Leave `x` as it is.
#
# <details><summary>Hint</summary>
#
# Which rows are in use when the text has T tokens? Take these first, then turn their order around:
# `flip(0)`.
#
# </details>


# %%
class PositionsFromTheEnd(nn.Module):
    def __init__(self, context_length, d_model):
        super().__init__()
        raise NotImplementedError("your code here")

    def forward(self, x):
        raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_positions_from_the_end(PositionsFromTheEnd)

# %% [markdown]
# ### Exercise 3: Walk without knowing where you are
#
# *core · 15 minutes* · [Solution](../solutions/05_positions.ipynb#exercise-3-walk-without-knowing-where-you-are)
#
# You get the vector `p` of some position, made of sines and cosines, but not the position. Return
# the vector of the position `k` further. `p` is `(..., D)`, one vector or many; `k` may be
# negative. Leave `p` as it is.
#
# <details><summary>Hint</summary>
#
# `p[..., 0::2]` are the sines, `p[..., 1::2]` the cosines. Turn all pairs at once, each by `k` times
# its own frequency. At the end, interleave them again, as in the class; `flatten(-2)` joins the last
# two dimensions.
#
# </details>


# %%
def shift_positions(p, k, base=10_000):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_shift_positions(shift_positions)

# %% [markdown]
# ### Exercise 4: Read the clocks
#
# *stretch · 20 minutes* · [Solution](../solutions/05_positions.ipynb#exercise-4-read-the-clocks)
#
# You get the vector `p`, `(D,)`, of one of the positions 0, 1, ..., `n - 1`, made of sines and
# cosines and then rounded to two decimals. Return the position, as a Python `int`.
#
# <details><summary>Hint</summary>
#
# The fast hand has come round many times, and the slow one is too inaccurate: no single hand is
# enough. But a dot product asks all of them. With which position is it largest?
#
# </details>


# %%
def find_position(p, n, base=10_000):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_find_position(find_position)

# %% [markdown]
# ## Recap
#
# - You saw **why a sum forgets the order**: the permutation test shows it before any training. A
#   vector per position brings it back, but only with a nonlinearity before the sum.
# - You built **learned positions** and **sines and cosines**: a hand is two numbers, a step is a
#   rotation, and the dot product of two positions sees only their distance.
# - You saw **a bug that no loss shows**. The comparison with the formula finds it.
# - You measured that **the order is worth more than half a nat** to this model, and that its
#   vectors need not be learned, as long as they can be told apart.
#
# What is still wrong: each position has its share, one in eight, whatever character stands there.
# The model cannot *choose* where to look. In lesson [06](06_attention.ipynb) it can: that is
# attention.
#
# The library's entries: [LearnedPositions and SinusoidalPositions](../book/api.md#position).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, section 3.5: why sines and cosines, and one
#   sentence on learned positions that did as well.
# - Gehring et al. (2017), *Convolutional Sequence to Sequence Learning*, section 3.1: learned
#   positions, added, before the Transformer.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: which positions does it tell apart?
#
# Swap two neighbouring characters in each window, and see what the swap costs the model with
# learned positions. Where does it notice?

# %% mystnb={"image": {"alt": "Bar chart of the cost of swapping two neighbouring positions. The bars for the first pairs are close to 0, those for 4, 5 and 5, 6 are small, and the bar for 6, 7 towers over all others."}} tags=["corpus", "measured:wide"]
costs = {}
for t in range(7):
    swapped = windows.clone()
    swapped[:, [t, t + 1]] = windows[:, [t + 1, t]]
    pairs = zip(models["learned"], losses["learned"])
    costs[f"{t}, {t + 1}"] = sum(window_loss(m, swapped) - l for m, l in pairs) / 3
print("cost in nats:", {pair: f"{cost:+.2f}" for pair, cost in costs.items()})
claim(costs["0, 1"] < 0.05, "in front a swap costs hardly anything")
claim(costs["6, 7"] > order_is_worth, "at the end it costs more than the order")
plot.bar_chart(costs, "positions that are swapped", "cost (nats)")

# %% [markdown]
# *In front a swap costs hardly anything; at the end it costs more than the whole order is worth.*
#
# Whether a character is the last or the last but one matters much, whether it is the seventh or the
# eighth from the end hardly at all. That is what characters are like: the next one depends most
# on the near ones.
