# %% [markdown]
# # Solutions 05 · Positions
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/05_positions.ipynb)
#
# One way to solve each exercise of lesson [05](../lessons/05_positions.ipynb), and what to
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

# %% tags=["corpus"]
import torch
from torch import nn

from lib.checks.claims import claim
from lib.checks.lesson_05 import (
    check_find_position,
    check_positions_from_the_end,
    check_shift_positions,
    check_similarity_by_distance,
)
from lib.evaluate.losses import cross_entropy
from lib.position import LearnedPositions, SinusoidalPositions
from lib.show import plot
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer
from lib.train import fit

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens, {V} different")

# %% [markdown]
# Two solutions end in a training: the window model of the lesson, 200 steps, three seeds.


# %%
class WindowLM(nn.Module):
    def __init__(self, positions):
        super().__init__()
        self.embed, self.positions = nn.Embedding(V, 32), positions
        self.hidden, self.head = nn.Linear(32, 128), nn.Linear(128, V)

    def forward(self, ids):
        x = self.hidden(self.positions(self.embed(ids))).relu()  # (B, T, 128)
        return self.head(x.mean(dim=1, keepdim=True))  # (B, 1, V)


def train_window(make_positions, seed):
    torch.manual_seed(seed)
    model = WindowLM(make_positions())
    generator = torch.Generator().manual_seed(seed)

    def next_batch():
        inputs, targets = random_batch(train, 256, 8, generator)
        return inputs, targets[:, -1:]

    fit(model, next_batch, n_steps=200, learning_rate=0.02)
    return model


@torch.no_grad()
def window_loss(model, length):
    windows = validation.unfold(0, length + 1, 8)
    return cross_entropy(model(windows[:, :-1]), windows[:, -1:]).item()


# %% [markdown]
# ## Exercise 1: Similarity without a table
#
# [Exercise](../lessons/05_positions.ipynb#exercise-1-similarity-without-a-table)


# %%
def similarity_by_distance(d_model, base, n):
    frequencies = base ** (-torch.arange(0, d_model, 2) / d_model)  # (D/2,)
    return (torch.arange(n).unsqueeze(1) * frequencies).cos().sum(dim=1)  # (n,)


# %% tags=["exercise"]
check_similarity_by_distance(similarity_by_distance)

# %% [markdown]
# What does the base do? Here are three curves, divided by the number of hands so that they
# begin at 1.

# %% mystnb={"image": {"alt": "Three curves of the cosine over 64 distances. The curve of base 10 falls within a few positions to about 0 and swings around it; that of base 100 falls less; that of base 10,000 stays above 0.3."}}
curves = {
    f"base {base:,}": similarity_by_distance(32, base, 64) / 16
    for base in (10, 100, 10_000)
}
print({name: f"{curve[4]:.2f}" for name, curve in curves.items()}, "at distance 4")
assert curves["base 10"][4] < 0.2 < 0.3 < curves["base 10,000"].min()
plot.line_chart(
    {name: curve.tolist() for name, curve in curves.items()}, "distance", "cosine"
)

# %% [markdown]
# *A small base makes all hands fast, and even near positions differ clearly. A large base keeps
# far positions similar, and has hands that tell positions apart over many thousands.*
#
# The lesson explained why sines and cosines help its model less than random vectors: with base
# 10,000 most hands hardly move within eight positions. If that is right, faster hands must do
# better.

# %% tags=["corpus", "measured"]
losses = {}
for base in (10_000, 10):
    make_positions = lambda: SinusoidalPositions(8, 32, base)
    models = [train_window(make_positions, seed) for seed in range(3)]
    losses[base] = [window_loss(model, 8) for model in models]
    mean, each = sum(losses[base]) / 3, [f"{loss:.2f}" for loss in losses[base]]
    print(f"base {base:6,}: mean {mean:.2f} nats, seeds {each}")
faster_wins = [fast < slow - 0.01 for slow, fast in zip(*losses.values())]
claim(all(faster_wins), "faster hands do better, with every seed")

# %% [markdown]
# They do, with every seed.

# %% [markdown]
# ## Exercise 2: Count from the end
#
# [Exercise](../lessons/05_positions.ipynb#exercise-2-count-from-the-end)


# %%
class PositionsFromTheEnd(nn.Module):
    def __init__(self, context_length, d_model):
        super().__init__()
        self.table = nn.Embedding(context_length, d_model)

    def forward(self, x):
        return x + self.table.weight[: x.size(1)].flip(0)


# %% tags=["exercise"]
check_positions_from_the_end(PositionsFromTheEnd)

# %% [markdown]
# First take the rows in use, then turn them around. The other way round works only for texts as
# long as the table.
#
# What is it good for? Train both kinds on windows of eight characters, then let the models read
# windows of four.

# %% tags=["corpus", "measured"]
losses = {}
for make in (LearnedPositions, PositionsFromTheEnd):
    models = [train_window(lambda: make(8, 32), seed) for seed in range(3)]
    losses[make] = [[window_loss(m, length) for m in models] for length in (8, 4)]
    eight, four = (sum(each) / 3 for each in losses[make])
    print(f"{make.__name__:20} eight {eight:.2f} nats, four {four:.2f}")
(front_8, front_4), (end_8, end_4) = losses.values()
claim(abs(sum(end_8) - sum(front_8)) / 3 < 0.05, "on eight characters both are equal")
claim(max(end_4) < min(front_4) - 0.5, "on four, counting from the end is far better")

# %% [markdown]
# On the windows of the training both are equal: only the rows have other names. On shorter ones,
# counting from the front puts the last character where the model expects one of the middle, and
# the loss explodes. Counted from the end, it stands where it always stood. Lesson 19 goes one
# step further: there, only the distance between two tokens counts.

# %% [markdown]
# ## Exercise 3: Walk without knowing where you are
#
# [Exercise](../lessons/05_positions.ipynb#exercise-3-walk-without-knowing-where-you-are)


# %%
def shift_positions(p, k, base=10_000):
    d_model = p.size(-1)
    angles = k * base ** (-torch.arange(0, d_model, 2) / d_model)  # (D/2,)
    sines, cosines = p[..., 0::2], p[..., 1::2]
    turned = [
        sines * angles.cos() + cosines * angles.sin(),
        cosines * angles.cos() - sines * angles.sin(),
    ]
    return torch.stack(turned, dim=-1).flatten(-2)


# %% tags=["exercise"]
check_shift_positions(shift_positions)

# %% [markdown]
# Walk from position 0 in steps of one, a thousand times, and compare with the table. Each step
# adds a rounding error of the machine; do they grow?

# %%
table = SinusoidalPositions(1_001, 32).table
p = table[0]
for step in range(1_000):
    p = shift_positions(p, 1)
error = (p - table[1_000]).abs().max().item()
print(f"after 1,000 steps the largest error is below 0.001: {error < 1e-3}")
assert error < 1e-3

# %% [markdown]
# A rotation changes no length, so nothing explodes. You can also rotate queries and keys instead
# of adding anything. That is called rotary positions, and its arithmetic is the one you just
# wrote.

# %% [markdown]
# ## Exercise 4: Read the clocks
#
# [Exercise](../lessons/05_positions.ipynb#exercise-4-read-the-clocks)
#
# The vectors of all positions in one table, one product, and the largest entry. Each hand votes
# for the positions that fit it, and only the right one gets the votes of all.


# %%
def find_position(p, n, base=10_000):
    table = SinusoidalPositions(n, len(p), base).table  # (n, D)
    return (table @ p).argmax().item()


# %% tags=["exercise"]
check_find_position(find_position)

# %% [markdown]
# How much noise do the clocks bear? Add random numbers to the vectors of 1,000 positions, find all
# of them with one product, and count how many are right, and how many are off by one at most.

# %%
exact = SinusoidalPositions(1_000, 32).table
noise = torch.randn(1_000, 32, generator=torch.Generator().manual_seed(0))
for size in (0.1, 0.3, 0.5):
    found = ((exact + size * noise) @ exact.T).argmax(dim=1)
    off = (found - torch.arange(1_000)).abs()
    right, near = (off == 0).float().mean(), (off <= 1).float().mean()
    print(f"noise {size}: {right:.0%} right, {near:.0%} off by one at most")
assert right < 0.9 < near

# %% [markdown]
# A tenth does no harm. With more, a neighbour is taken for the position itself, because the dot
# products of the two differ by less than one. A few are then far off.
