# %% [markdown]
# # Solutions 04 · Embeddings and positions
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/04_embeddings.ipynb)
#
# One way to solve each exercise of lesson
# [04](../lessons/04_embeddings.ipynb), and what to learn from it.

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
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from lib.show import plot
from lib.models.bigram import BigramConfig, BigramLM
from lib.checks.lesson_04 import (
    check_concat_lm,
    check_mean_cosines,
    check_shift_positions,
    check_similarity_by_distance,
)
from lib.checks.claims import claim
from lib.text.corpus import load_corpus
from lib.text.batches import random_batch, split_text
from lib.evaluate.losses import cross_entropy
from lib.position import SinusoidalPositions
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
# Two exercises end in a training, with the recipe of the lesson: batches of 256 windows
# of eight characters, measured on every second window of the validation split.


# %%
def train_and_measure(make_model, seed, n_steps):
    torch.manual_seed(seed)
    model, generator = make_model(), torch.Generator().manual_seed(seed)

    def next_batch():
        inputs, targets = random_batch(train, 256, 8, generator)
        return inputs, targets[:, -1]

    fit(model, next_batch, n_steps, learning_rate=0.01)
    windows = validation.unfold(0, 9, 2)
    with torch.no_grad():
        total = sum(
            cross_entropy(model(part[:, :-1]), part[:, -1]).item() * len(part)
            for part in windows.split(1_024)
        )
    return total / len(windows)


# %% [markdown]
# ## Exercise 1: Similarity without a table
#
# [Exercise](../lessons/04_embeddings.ipynb#exercise-1-similarity-without-a-table)


# %%
def similarity_by_distance(d_model, base, n):
    speeds = base ** (-torch.arange(0, d_model, 2) / d_model)  # (D/2,)
    return (torch.arange(n).unsqueeze(1) * speeds).cos().sum(dim=1)  # (n,)


# %% tags=["exercise"]
check_similarity_by_distance(similarity_by_distance)

# %% [markdown]
# What does the base do? Three curves, divided by the number of hands so that they begin
# at 1.

# %% mystnb={"image": {"alt": "Three curves of the cosine over 64 distances. The curve of base 10 falls within a few places to about 0 and swings around it; that of base 10,000 stays above 0.3."}}
curves = {
    f"base {base:,}": similarity_by_distance(32, base, 64) / 16
    for base in (10, 100, 10_000)
}
far = {name: curve[32:].mean().item() for name, curve in curves.items()}
print({name: f"{curve[4]:.2f}" for name, curve in curves.items()}, "at distance 4")
print({name: f"{mean:.2f}" for name, mean in far.items()}, "from distance 32 on")
assert abs(far["base 10"]) < 0.1 < 0.3 < curves["base 10,000"].min()
plot.line_chart(
    {name: curve.tolist() for name, curve in curves.items()}, "distance", "cosine"
)

# %% [markdown]
# *A small base makes all hands fast: even near places differ clearly. A large base
# keeps far places similar, and has hands that can tell places apart over thousands of
# positions.*
#
# The lesson had a guess: with base 10,000 most hands hardly move within eight places,
# and so the model learns less. If that is right, faster hands must do better.


# %%
class WindowLM(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.embed = nn.Embedding(V, 32)
        self.positions = SinusoidalPositions(8, 32, base)
        self.widen, self.head = nn.Linear(32, 128), nn.Linear(128, V)

    def forward(self, ids):
        return self.head(self.widen(self.positions(self.embed(ids))).relu().mean(dim=1))


# %% tags=["corpus", "measured"]
losses = {}
for base in (10, 10_000):
    make = partial(WindowLM, base)  # a function that calls WindowLM(base)
    losses[base] = [train_and_measure(make, seed, n_steps=250) for seed in range(3)]
    mean, each = sum(losses[base]) / 3, [f"{loss:.2f}" for loss in losses[base]]
    print(f"base {base:6,}: mean {mean:.2f} nats {each}")
faster_wins = [fast < slow - 0.01 for fast, slow in zip(*losses.values())]
claim(all(faster_wins), "faster hands do better, with every seed")

# %% [markdown]
# They do, with every seed: 2.4 instead of 2.5 nats after 250 steps.

# %% [markdown]
# ## Exercise 2: How similar are two groups?
#
# [Exercise](../lessons/04_embeddings.ipynb#exercise-2-how-similar-are-two-groups)


# %%
def mean_cosines(vectors, groups):
    unit = F.normalize(vectors, dim=-1)
    cosines = unit @ unit.T  # (V, V)
    different = 1 - torch.eye(len(vectors))
    member = F.one_hot(groups).float()  # (V, G)
    sums = member.T @ (cosines * different) @ member  # (G, G)
    return sums / (member.T @ different @ member)


# %% tags=["exercise"]
check_mean_cosines(mean_cosines)

# %% [markdown]
# Two products with the one-hot groups add up the blocks: the first adds the rows of
# each group, the second the columns. The same sums over `different` count the pairs.
# Now the vectors of a bigram model, capital letters against small ones, before and
# after training.

# %% tags=["corpus", "measured:wide"]
torch.manual_seed(0)
model = BigramLM(BigramConfig(V, d_model=32))
generator = torch.Generator().manual_seed(0)
table = model.logits[0].weight
letters = [i for i in range(V) if tokenizer.characters[i].isalpha()]
groups = torch.tensor([int(tokenizer.characters[i].isupper()) for i in letters])
for n_steps in (0, 300):
    fit(model, lambda: random_batch(train, 256, 8, generator), n_steps, 0.01)
    means = mean_cosines(table.detach()[letters], groups)
    small, mixed, capital = means[0, 0], means[0, 1], means[1, 1]
    print(f"{n_steps:3} steps: small {small:z.2f}, capital {capital:z.2f}", end="")
    print(f", mixed {mixed:z.2f}")  # z: no minus sign before a zero
claim(min(small, capital) > mixed + 0.03, "each group is similar to itself")

# %% [markdown]
# Before training all three are close to 0. After it, small letters are similar to small
# letters and capitals to capitals. Had you counted each vector with itself, the groups
# would look similar even before training.

# %% [markdown]
# ## Exercise 3: Walk without knowing where you are
#
# [Exercise](../lessons/04_embeddings.ipynb#exercise-3-walk-without-knowing-where-you-are)


# %%
def shift_positions(p, k, base=10_000.0):
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
# Walk from place 0 in steps of one, a thousand times, and compare with the table. Each
# step adds the rounding errors of the machine; do they grow?

# %%
table = SinusoidalPositions(1_001, 32).table
p = table[0]
for step in range(1_000):
    p = shift_positions(p, 1)
error = (p - table[1_000]).abs().max().item()
print(f"after 1,000 steps the largest error is below 0.001: {error < 1e-3}")
assert error < 1e-3

# %% [markdown]
# A turn changes no length, so nothing explodes. You can also turn queries and keys
# instead of adding anything: that is RoPE, and its arithmetic is the one you just
# wrote.

# %% [markdown]
# ## Exercise 4: Another way to keep the order
#
# [Exercise](../lessons/04_embeddings.ipynb#exercise-4-another-way-to-keep-the-order)


# %%
class ConcatLM(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.hidden = nn.Linear(context_length * d_model, d_hidden)
        self.head = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids):
        x = self.embed(ids).flatten(start_dim=1)  # (B, T * D)
        return self.head(self.hidden(x).relu())


# %% tags=["exercise"]
check_concat_lm(ConcatLM)

# %% tags=["corpus", "measured"]
loss = train_and_measure(partial(ConcatLM, V, 8, 32, 128), seed=0, n_steps=400)
n_parameters = sum(p.numel() for p in ConcatLM(V, 8, 32, 128).parameters())
print(f"side by side: {n_parameters:,} parameters, {loss:.2f} nats")
claim(loss < min(losses[10]) - 0.1, "side by side the model learns more")

# %% [markdown]
# About 2.1 nats, much better than the 2.3 of the learned positions in lesson
# [04](../lessons/04_embeddings.ipynb). The price: three times as many
# parameters, because every place has a matrix of its own, and nothing that the model
# learns about `th` at one place helps it at another. For a context of a thousand
# characters the first layer would be a thousand times as large as for one. And still
# the matrix is fixed: each place weighs the same, whatever stands there.
# <!-- from: exercise-4-another-way-to-keep-the-order "side by side" -->
# <!-- from: lessons/04_embeddings#experiment-what-is-the-order-worth "learned 14,945" -->
