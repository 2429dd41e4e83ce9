# %% [markdown]
# # 04 · Embeddings and positions
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/04_embeddings.ipynb)
#
# You give each token a vector, and each place in the text one too. With both, a model
# can read eight characters without a row for every past.
#
# - **You will build** a search for the nearest vectors, learned positions, positions
#   made of sines and cosines, and a small model that reads eight characters at once.
# - **You will see** characters with similar uses move together, why a sum forgets the
#   order, and how much the order is worth.
# - **Needs** lesson [02](02_bigram.ipynb).
# - **Takes** about two and a half hours to read and do; the notebook runs in under 60 s.

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
# Lesson [02](02_bigram.ipynb) stopped at 2.4819 nats, with one character of memory. A
# table for eight characters would need a row for each possible past, and with 65
# characters there are $65^8$ of them. How can a model read eight characters *without* a
# table of pasts? <!-- from: 02_bigram#smoothing "validation:" -->
# <!-- from: 02_bigram#counting "different" -->
#
# The plan: give each character a vector, and put the vectors of the past together by
# arithmetic. Then one vector per character serves every past there is. The plan has one hole, and this
# lesson is about closing it.

# %% [markdown]
# ## By hand
#
# ### Near and far
#
# Give three characters a vector of two numbers each. Are two of them similar? Look at
# the angle between them. The [cosine](../book/glossary.md#cosine-similarity) of the
# angle is 1 for the same direction, 0 for a right angle, -1 for opposite directions. To
# compute it, multiply the vectors number by number and add up (the [dot
# product](../book/glossary.md#dot-product), `@`), then divide by both lengths.

# %%
import torch

a, n, o = torch.tensor([[2.0, 1.0], [-1.0, 2.0], [3.0, 1.0]])


def cosine(x, y):
    return (x @ y / (x.norm() * y.norm())).item()


print(f"a and o: {cosine(a, o):.3f}")
print(f"a and n: {cosine(a, n):.3f}")
print(f"o and n: {cosine(o, n):.3f}")

# %% [markdown]
# Check the first on paper: the dot product is $2 \cdot 3 + 1 \cdot 1 = 7$, the lengths
# are $\sqrt{5}$ and $\sqrt{10}$, and 7 divided by both is 0.990. So `a` and `o` nearly
# point in the same direction, and `n` stands at a right angle to `a`.
#
# ### The hole: `on` and `no`
#
# Now put a past together. The simplest way is to add its vectors. Look at what becomes
# of `on` and `no`.

# %%
print("on:", (o + n).tolist(), "  no:", (n + o).tolist())
assert torch.equal(o + n, n + o)

# %% [markdown]
# The same. A sum does not know the order of its terms. For a model that adds, `on` and
# `no` are one past, and `to be or` is no other past than `or be to`.
#
# So give each *place* a vector too, and add it to the vector of the character that
# stands there. Does that help?

# %%
first, second = torch.tensor([[1.0, -2.0], [-2.0, 1.0]])  # one vector per place
on = torch.stack([o + first, n + second])
no = torch.stack([n + first, o + second])
print("vectors of on:", on.tolist(), "sum:", on.sum(dim=0).tolist())
print("vectors of no:", no.tolist(), "sum:", no.sum(dim=0).tolist())

# %% [markdown]
# Each vector is different now, and still the sums agree! Of course: both add up $o$,
# $n$ and the two places. Addition mixes what it should keep together.
#
# Something must happen to each vector *before* the sum, and it must be more than
# adding. The simplest such thing is a bend: replace each negative number by 0. It is
# called [ReLU](../book/glossary.md#relu), in PyTorch `relu`, and lesson 08 says more
# about it.

# %%
print("bend, then sum, on:", on.relu().sum(dim=0).tolist())
print("bend, then sum, no:", no.relu().sum(dim=0).tolist())
assert torch.equal(on.sum(dim=0), no.sum(dim=0))
assert not torch.equal(on.relu().sum(dim=0), no.relu().sum(dim=0))

# %% [markdown]
# Now the order shows. With a vector for each place *and* a bend before the sum the hole
# can be closed, if the vectors are chosen well; that is left to training.

# %% [markdown]
# ## The formula
#
# The token $w_t$ at position $t$ becomes the row of a table, plus a vector for its
# place:
#
# $$x_t = E_{w_t} + p_t$$
#
# The similarity of two vectors is the cosine of their angle:
#
# $$\cos(a, b) = \frac{a \cdot b}{|a| \, |b|}$$
#
# The places can have a table of their own, learned like $E$. Or they are computed, once
# and for all, as [sines and cosines](../book/glossary.md#sinusoidal-positions). For
# pair $i = 0, \ldots, D/2 - 1$:
#
# $$p_{t,\,2i} = \sin(\omega_i t), \qquad p_{t,\,2i+1} = \cos(\omega_i t),
# \qquad \omega_i = \text{base}^{-2i/D}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $w_t$ | number | the id of the token at position $t$ |
# | $E$ | `(V, D)` | the embedding: one vector per token |
# | $p$ | `(T, D)` | one vector per position |
# | $x_t$ | `(D,)` | what the rest of the model sees at position $t$ |
# | $\omega_i$ | number | how far pair $i$ turns from one position to the next, in radians |
# | base | number | 10,000 in [Vaswani et al. (2017)](../book/bibliography.md) |
#
# Learned positions stand in the first GPT paper (Radford et al., 2018, section 3.1,
# equation 2), sines and cosines in *Attention Is All You Need* (Vaswani et al., 2017,
# section 3.5).

# %% [markdown]
# ## Build
#
# ### Looking up is multiplying
#
# First the data, as before.

# %% tags=["corpus"]
from lib.text.corpus import load_corpus
from lib.text.batches import random_batch, split_text
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens, {V} different")

# %% [markdown]
# In lesson [02](02_bigram.ipynb) you met `nn.Embedding`: a table of which rows are
# looked up by id. Is that a new kind of layer? Write an id as a row of zeros with a
# single 1 in column `id`, its [one-hot](../book/glossary.md#one-hot) vector, and
# multiply it with the table.

# %%
from torch import Tensor, nn

torch.manual_seed(0)
table = nn.Embedding(V, 32)
ids = torch.tensor([tokenizer.encode("to be or")])  # (1, 8)
one_hot = nn.functional.one_hot(ids, V).float()  # (1, 8, V)
looked_up, multiplied = table(ids), one_hot @ table.weight  # both (1, 8, D)
print(tuple(one_hot.shape), "@", tuple(table.weight.shape), "->", (*multiplied.shape,))
assert torch.allclose(looked_up, multiplied)

# %% [markdown]
# The same vectors: all but one of the 65 products in each sum are 0, and what is left is
# one row. So an [embedding](../book/glossary.md#embedding) *is* a linear layer without a
# bias, read fast. It learns as every layer does, but only the rows that were read get a
# gradient.

# %% [markdown]
# ### The nearest vectors
#
# To see what a table of vectors has learned, ask for the neighbours of one row: the
# rows with the largest cosine. `F` holds PyTorch's functions; `F.normalize` gives every
# row the length 1; then one product with the chosen row gives all cosines at once, and
# `topk` finds the largest. The row's own cosine would always win, so it is set below
# all others. (`require_between` refuses a row or a number of neighbours that there is not.)

# %% tags=["lib:embedding.nearest_neighbors"]
from torch.nn import functional as F

from lib.shapes import require_between


def nearest_neighbors(
    vectors: Tensor, index: int, k: int = 5
) -> tuple[list[int], list[float]]:
    if vectors.dim() != 2:
        raise ValueError(f"vectors has shape {tuple(vectors.shape)}; it must be (V, D)")
    require_between(0, len(vectors) - 1, index=index)
    require_between(1, len(vectors) - 1, k=k)
    unit = F.normalize(vectors.detach(), dim=-1)  # every vector gets length 1
    cosines = unit @ unit[index]  # (V,)
    cosines[index] = -2.0  # below every cosine: not its own neighbour
    nearest = cosines.topk(k)
    return nearest.indices.tolist(), nearest.values.tolist()


# %% [markdown]
# Try it on the three vectors from above. The nearest to `a` must be `o`, with 0.990.

# %%
rows, cosines = nearest_neighbors(torch.stack([a, n, o]), index=0, k=2)
print("nearest to a:", ["ano"[i] for i in rows], [round(c, 3) for c in cosines])
assert rows == [2, 1] and abs(cosines[0] - cosine(a, o)) < 1e-6

# %% [markdown]
# ### What training does to the vectors
#
# Nobody tells the model that `a` and `o` are vowels. Does it find out? Train the bigram
# model with an embedding of 32 numbers, as in lesson [02](02_bigram.ipynb), from three
# seeds, and keep a copy of the table before each step. (`fit` asks for a batch before
# each step, so that is where the copy is made.)

# %%
from lib.models.bigram import BigramConfig, BigramLM
from lib.train import fit


def tables_while_training(seed):
    torch.manual_seed(seed)
    model = BigramLM(BigramConfig(V, d_model=32))
    generator = torch.Generator().manual_seed(seed)
    table, copies = model.logits[0].weight, []

    def next_batch():
        copies.append(table.detach().clone())
        return random_batch(train, 256, 8, generator)

    fit(model, next_batch, n_steps=500, learning_rate=0.01)
    return torch.stack([*copies, table.detach()])  # (501, V, D)


histories = [tables_while_training(seed) for seed in range(3)]

# %% [markdown]
# We need a number that says how well the characters are sorted. Put them into four
# kinds by hand. Then look at the three nearest neighbours of each character: what share
# of them is of the character's own kind?

# %%
KINDS = ["vowel", "consonant", "capital", "other"]


def kind(character):
    if character.islower():
        return "vowel" if character in "aeiou" else "consonant"
    return "capital" if character.isupper() else "other"


kinds = [kind(character) for character in tokenizer.characters]
print({name: kinds.count(name) for name in KINDS})
chance = sum(kinds.count(k) - 1 for k in kinds) / (V * (V - 1))
print(f"share if neighbours were drawn by lot: {chance:.2f}")


# %% [markdown]
# 0.30 is what luck alone gives: there are many other capitals that a capital can meet,
# but only four other vowels for a vowel. Now measure: before training, on the way, and
# at the end.


# %%
def own_kind(table):
    neighbors = [nearest_neighbors(table, i, k=3)[0] for i in range(V)]
    hits = [kinds[i] == kinds[j] for i in range(V) for j in neighbors[i]]
    return sum(hits) / len(hits)


# %% tags=["corpus", "measured:wide"]
from lib.checks.claims import claim

shares = {}
for step in (0, 50, 500):
    shares[step] = [own_kind(history[step]) for history in histories]
    print(f"step {step:3}: {[f'{share:.2f}' for share in shares[step]]}")
claim(sum(shares[0]) / 3 < chance + 0.1, "before training the neighbours are luck")
claim(min(shares[500]) > chance + 0.2, "training brings the kinds together")

# %% [markdown]
# From a third, which is luck, to about two thirds, with every seed. Look at a few rows
# of the first table.

# %% tags=["corpus", "sample"]
from lib.show import plot

trained = histories[0][-1]
for character in ".R,ae":
    rows, _ = nearest_neighbors(trained, tokenizer.ids[character], k=4)
    names = plot.visible([tokenizer.characters[i] for i in rows])
    print(f"nearest to {character}: {' '.join(names)}")

# %% [markdown]
# Another seed gives other lists, and in each of them some neighbours make no sense to us.
# But marks tend to stand near other marks. What do they have in common?

# %% tags=["corpus"]
space_or_newline = torch.tensor(tokenizer.encode(" \n"))
for mark in ".,?:;":
    after = train[1:][train[:-1] == tokenizer.ids[mark]]
    share = torch.isin(after, space_or_newline).float().mean()
    print(f"after {mark} comes a space or a new line in {share:.0%} of the cases")
    assert share > 0.9

# %% [markdown]
# Their future. The last layer computes each logit as a dot product with the vector, so
# vectors that point the same way give similar predictions. And two characters with the
# same futures get gradients that push them the same way. So **characters with similar
# futures should get similar vectors.**
#
# Do they? Count what follows each character, as in lesson [02](02_bigram.ipynb). Two
# rows of that table differ by their *Jensen-Shannon divergence*: the entropy of the mean
# of both rows, minus the mean of their entropies. It is 0 for equal rows.

# %%
from lib.models.bigram import count_pairs
from lib.evaluate.losses import entropy

futures = (count_pairs(train, V) + 1).double()
futures = futures / futures.sum(dim=1, keepdim=True)  # (V, V): a row per character
both = (futures[:, None] + futures[None]) / 2  # (V, V, V): the mean of two rows
entropies = entropy(futures)  # (V,)
divergence = entropy(both) - (entropies[:, None] + entropies[None]) / 2  # (V, V)

# %% [markdown]
# Each pair of characters now has two numbers, its cosine and its divergence. Their
# correlation says how well one predicts the other: 1 or -1 is perfectly, 0 is not at all.


# %%
def agreement(vectors):
    """Correlation of the cosines of all pairs with minus their divergences."""
    i, j = torch.triu_indices(V, V, offset=1)  # each pair once
    cosines = F.cosine_similarity(vectors[i], vectors[j], dim=-1)  # (pairs,)
    return torch.stack([cosines, -divergence[i, j]]).corrcoef()[0, 1].item()


# %% tags=["corpus", "measured:wide"]
before = [agreement(history[0]) for history in histories]
after = [agreement(history[-1]) for history in histories]
print("before training:", [f"{r:.2f}" for r in before])
print("after training: ", [f"{r:.2f}" for r in after])
claim(max(before) < 0.15, "before training vectors and futures have no relation")
claim(min(after) > 0.4, "characters with similar futures get similar vectors")

# %% [markdown]
# They do, with every seed: no relation before the training, a clear one after it. It is a
# tendency, no more; a correlation of 1 is far away. All rows began as random numbers. How
# much of that is left?

# %% tags=["corpus", "measured"]
start_and_end = F.cosine_similarity(histories[0][0], trained, dim=-1)
print(f"first and last vector of a character, on average: {start_and_end.mean():.2f}")
claim(start_and_end.mean() > 0.7, "most vectors still point where they started")

# %% [markdown]
# Much of it, after 500 steps: on average the vectors still point roughly where they
# started, though single ones have turned further.
#
# Move the slider through the training. Each picture has all cosines, the mean over the
# three seeds, with the characters sorted by kind. (`cosine_similarity` is PyTorch's
# own; the two `None` make a column of vectors and a row of vectors, so that each meets
# each.)

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.show.frames import slider

by_kind = sorted(range(V), key=lambda i: KINDS.index(kinds[i]))
labels = plot.visible([tokenizer.characters[i] for i in by_kind])


def all_cosines(step):
    sorted_tables = [history[step][by_kind] for history in histories]
    return torch.stack(
        [F.cosine_similarity(x[:, None], x[None], dim=-1) for x in sorted_tables]
    ).mean(dim=0)


def draw(step):
    axes = "vowels, consonants, capitals, other", "the same characters"
    size = (8, 7.2)
    return plot.heat_map(
        all_cosines(step), labels, labels, *axes, size=size, top=0.6, label="cosine"
    )


def describe(step):
    shares = [own_kind(history[step]) for history in histories]
    return (
        f"Heat map of 65 by 65 cosines after {step} steps; of the nearest neighbours "
        f"{sum(shares) / 3:.0%} are of the same kind."
    )


slider(draw, [0, 100, 500], "training step", alt=describe, start=2)

# %% [markdown]
# *At the start (move the slider to the left) each character is similar to itself alone.
# With training, pale blocks appear along the diagonal: vowels, consonants, capitals and
# the rest each become more similar among themselves than to the others. (Colours end at
# 0.6.)*
#
# The next cell holds that sentence to account: for each kind, the mean cosine with its
# own kind and with the rest.

# %% tags=["corpus", "measured:wide"]
cosines = all_cosines(500)
sorted_kinds = [kinds[i] for i in by_kind]
for name in KINDS:
    inside = torch.tensor([k == name for k in sorted_kinds])
    block, count = cosines[inside], inside.sum()
    own = (block[:, inside].sum() - count) / (count * (count - 1))  # not with itself
    rest = block[:, ~inside].mean()
    print(f"{name:9} own kind {own:.2f}, the rest {rest:.2f}")
    claim(own > rest + 0.05, f"{name}s are more similar to each other than to the rest")

# %% [markdown]
# ### Eight characters, one vector
#
# Now the plan from above. Look up eight vectors, widen each one to 128 numbers with a
# linear layer, bend, take the mean over the eight, and let a last layer turn it into the
# logits of the character that comes next. Where do the positions go? Right after the
# look-up. We leave that part open, so that we can put in one or another.


# %%
class WindowLM(nn.Module):
    def __init__(self, positions, bend):
        super().__init__()
        self.embed = nn.Embedding(V, 32)
        self.positions = positions
        self.widen, self.bend = nn.Linear(32, 128), bend
        self.head = nn.Linear(128, V)

    def forward(self, ids):
        x = self.positions(self.embed(ids))  # (B, T, D)
        x = self.bend(self.widen(x)).mean(dim=1)  # (B, 128)
        return self.head(x)  # (B, V)


# %% [markdown]
# `nn.Identity()` returns what it gets. With it as `positions`, the model is what is
# called a [bag](../book/glossary.md#bag-of-tokens): it knows which characters came, not
# in which order. Give it the same eight characters in two orders and compare the
# logits.

# %%
reverse = ids.flip(dims=[1])
print(repr(tokenizer.decode(ids[0])), "and", repr(tokenizer.decode(reverse[0])))

torch.manual_seed(0)
bag = WindowLM(nn.Identity(), nn.ReLU())
difference = (bag(ids) - bag(reverse)).abs().max().item()
print(f"largest difference between their logits: {difference:.4f}")
assert difference < 1e-5

# %% [markdown]
# None, and no training can change that: the order is lost before the last layer sees
# anything. Do not blame the mean alone. Every model that treats all places alike and
# then adds them up has this hole, and plain [attention](../book/glossary.md#attention),
# the subject of lesson 06, is one of them.

# %% [markdown]
# ### One learned vector per place
#
# The first repair: a second table, with one row per place, learned like the first. A
# row is called a [position embedding](../book/glossary.md#position-embedding). Row $t$ of
# the table is added to the vector at place $t$.


# %% tags=["naive:position.LearnedPositions"]
class LearnedPositions(nn.Module):
    def __init__(self, context_length, d_model):
        super().__init__()
        self.table = nn.Embedding(context_length, d_model)

    def forward(self, x):
        return x + self.table.weight[: x.size(-2)]


# %% [markdown]
# `table.weight[:T]` has the shape `(T, D)` and `x` has `(B, T, D)`: PyTorch adds the same
# rows to each sequence of the batch. A text shorter than the table uses the first rows;
# for a longer one there are no rows, and PyTorch refuses to add.

# %% [markdown]
# ### Adding is not enough
#
# Put learned positions into the model, once without a bend (`nn.Identity()`) and once
# with it. By hand, the sums of `on` and `no` agreed until the bend came. Is it the same
# here?

# %%
for bend in (nn.Identity(), nn.ReLU()):
    torch.manual_seed(0)
    model = WindowLM(LearnedPositions(8, 32), bend)
    difference = (model(ids) - model(reverse)).abs().max().item()
    name = type(bend).__name__
    print(f"{name:8} largest difference {difference:.2f}")
    assert (difference > 0.01) == (name == "ReLU")

# %% [markdown]
# Without a bend the positions are there and do nothing. The mean of $E_{w_t} + p_t$ is
# the mean of the $E_{w_t}$ plus the mean of the $p_t$, and the second part is the same
# for every text. The bend acts on each sum $E_{w_t} + p_t$ as a whole, so that a
# character in one place can do something else than the same character in another.

# %% [markdown]
# ### Hands of clocks
#
# The second repair learns nothing. How would you write down a place with numbers that
# stay small? The way a clock does: with several hands, fast and slow. The fast hand
# tells neighbours apart, the slow hand says roughly where you are. The tip of a hand at
# the angle $\omega t$ has the coordinates $\sin(\omega t)$ and $\cos(\omega t)$, so
# each hand takes two numbers.
#
# Here are two hands, one that turns by 1 radian per position and one that turns by a
# tenth.

# %%
import math

print("t      sin t      cos t    sin t/10  cos t/10")
for t in range(4):
    numbers = [f(speed * t) for speed in (1, 0.1) for f in (math.sin, math.cos)]
    print(t, "".join(f"{number:11.3f}" for number in numbers))

# %% [markdown]
# The first pair runs, the second creeps. Each row is the vector of a place. The class
# makes such a table for any number of hands. `stack` puts sines and cosines side by
# side in a new last dimension, and `flatten(1)` makes one row of the pairs: sine,
# cosine, sine, cosine. `register_buffer` keeps a tensor that belongs to the module and
# is *not* learned; `persistent=False` leaves it out of saved files, because it can be
# computed again.


# %% tags=["naive:position.SinusoidalPositions"]
class SinusoidalPositions(nn.Module):
    def __init__(self, context_length, d_model, base=1e4):
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
# For 32 numbers per vector there are half as many hands. A hand of speed $\omega$ comes round
# after $2 \pi / \omega$ positions, its wavelength.

# %%
waves = SinusoidalPositions(64, 32).table
speeds = torch.atan2(waves[1, 0::2], waves[1, 1::2])  # the angles of place 1
print("positions for a full turn:", [round(2 * math.pi / s) for s in speeds.tolist()])
n_learned = sum(p.numel() for p in SinusoidalPositions(64, 32).parameters())
print("learned numbers:", n_learned)
assert n_learned == 0
assert torch.allclose(speeds[1:] / speeds[:-1], speeds[1], rtol=1e-3)

# %% [markdown]
# (`atan2` reads the angle of a hand off its sine and cosine.) The fastest hand turns
# once in 6 positions, the slowest once in 35,333, and each takes the same factor longer
# than the one before.

# %% [markdown]
# ### A step is a turn
#
# Why both sine *and* cosine? Because then "three places further" is the same operation
# everywhere. The addition theorems say, for one hand:
#
# $$\begin{pmatrix} \sin \omega (t + k) \\ \cos \omega (t + k) \end{pmatrix} =
# \begin{pmatrix} \cos \omega k & \sin \omega k \\ -\sin \omega k & \cos \omega k
# \end{pmatrix} \begin{pmatrix} \sin \omega t \\ \cos \omega t \end{pmatrix}$$
#
# The matrix is a rotation, and no $t$ stands in it. Check it on the second hand, for
# all places at once.

# %%
k, hand = 3, waves[:, 2:4]  # the second pair of columns, (T, 2)
angle = k * speeds[1].item()
turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
turned = hand @ torch.tensor(turn).T  # vectors are rows here
assert torch.allclose(turned[:-k], hand[k:], atol=1e-5)
print(f"one turn takes {len(hand) - k} places to the place {k} further")

# %% [markdown]
# So a linear layer can say "the place before this one", whatever the place is. One more
# consequence. The dot product of two positions adds up
# $\sin \omega s \sin \omega t + \cos \omega s \cos \omega t = \cos \omega (s - t)$ over
# all hands. Only the *distance* $s - t$ is left. The Check holds it against the
# numbers.

# %% [markdown]
# ## Check
#
# ### Equal to the paper, and to PyTorch
#
# The table, entry by entry, from the formula of the paper with Python's own sine and
# cosine. The cosines of `nearest_neighbors` against PyTorch's. The learned positions
# against a look-up of 0, 1, 2, ...

# %%
for t in range(64):
    for j in range(32):
        angle = t / 10_000 ** (2 * (j // 2) / 32)
        expected = math.cos(angle) if j % 2 else math.sin(angle)
        assert abs(waves[t, j].item() - expected) < 1e-5

vectors = table.weight.detach()
rows, cosines = nearest_neighbors(vectors, 7, k=V - 1)
torchs = F.cosine_similarity(vectors[7], vectors[rows], dim=-1)
assert torch.allclose(torch.tensor(cosines), torchs, atol=1e-6)

learned, x = LearnedPositions(8, 32), torch.randn(2, 5, 32)
assert torch.equal(learned(x), x + learned.table(torch.arange(5)))
print(f"{waves.numel():,} entries and {len(cosines)} cosines agree")

# %% [markdown]
# The library's positions are the same, with guards around them: a wrong size or a text
# that is too long gets a message that names it. They also take the place of the first
# vector, which is 0 until lesson 13, where a model reads a text piece by piece.

# %% tags=["same:position.LearnedPositions", "same:position.SinusoidalPositions", "proof"]
from lib import position as library

theirs = library.LearnedPositions(8, 32)
theirs.load_state_dict(learned.state_dict())
assert torch.equal(learned(x), theirs(x))
ours, theirs = SinusoidalPositions(64, 32), library.SinusoidalPositions(64, 32)
assert torch.equal(ours.table, theirs.table)
assert torch.equal(ours(x), theirs(x))
try:
    theirs(torch.randn(1, 65, 32))
except ValueError as error:
    print("too long:", error)

# %% [markdown]
# ### The classic bug: the exponent counts columns
#
# The exponent is $2i/D$, where $i$ counts *pairs*: columns 0 and 1 share one speed,
# columns 2 and 3 the next. It is easy to count columns instead, and to give column $j$
# the exponent $j/D$. Then a sine and its cosine turn at different speeds, and they are
# no hand of a clock any more.


# %%
def wrong_waves(context_length, d_model, base=1e4):
    columns = torch.arange(d_model)
    angles = torch.arange(context_length).unsqueeze(1) * base ** (-columns / d_model)
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos())


# %% [markdown]
# The shape is right, and all numbers lie between -1 and 1. Test what the pairs are for:
# at one distance, all dot products must agree.

# %%
for name, positions in (("right", waves), ("wrong", wrong_waves(64, 32))):
    products = positions @ positions.T  # (T, T)
    for k in (0, 1, 8):
        same = products.diagonal(k)  # all pairs of places at distance k
        print(f"{name}: distance {k}: from {same.min():5.2f} to {same.max():5.2f}")
        assert (same.max() - same.min() < 1e-3) == (name == "right")

# %% [markdown]
# In the right table the dot product at distance 1 is 15.31 wherever you are. In the
# wrong one it runs from 12.75 to 18.14. Even the length of a vector (distance 0)
# depends on the place.
#
# Another arrangement looks like a bug and is none: all sines first, then all cosines.
# That only renames the columns, and every linear layer can learn the renamed ones as
# well. It matters when you load weights that somebody trained with the other order.

# %%
halves = torch.cat([waves[:, 0::2], waves[:, 1::2]], dim=1)
assert not torch.equal(halves, waves)
assert torch.allclose(halves @ halves.T, waves @ waves.T, atol=1e-4)
print("other columns, the same dot products")

# %% [markdown]
# ## Look
#
# The whole table of sines and cosines. Each row is a place, each column one number of
# its vector. Watch how fast the colours change, from left to right.

# %% mystnb={"image": {"alt": "Heat map with 64 rows and 32 columns. In the left columns red and blue alternate every few rows; towards the right the stripes grow longer, and the last columns keep one colour from top to bottom."}}
places, columns = [str(t) for t in range(64)], [str(j) for j in range(32)]
changes = (waves.sign().diff(dim=0) != 0).sum(dim=0)  # per column
assert 18 < changes[0] < 22 and changes[-2:].max() <= 1
axes = "number in the vector", "position"
plot.heat_map(waves, places, columns, *axes, size=(7, 9.5), label="value")

# %% [markdown]
# *The hands slow down from column to column: the first two change their colour every
# three rows, the last ones keep theirs over all 64. A hand that has hardly left its
# start has a sine near 0, white, and a cosine near 1, dark blue.*
#
# Which places does the table make similar? Pick one place and compare it with all
# others. The table of sines and cosines is drawn together with learned positions
# *before* training, which are random numbers. Move the slider.

# %% tags=["hide-input", "nbval-ignore-output"]
torch.manual_seed(0)
random_table = LearnedPositions(64, 32).table.weight.detach()


def similarity(table, t):
    return F.cosine_similarity(table, table[t], dim=-1)


def draw(t):
    lines = {
        "sines and cosines": similarity(waves, t).tolist(),
        "learned, before training": similarity(random_table, t).tolist(),
    }
    return plot.line_chart(lines, "position", f"cosine with position {t}")


def describe(t):
    return (
        f"Two curves over 64 positions, both 1 at position {t}. That of sines and "
        "cosines falls in ripples; the other jumps up and down around 0."
    )


slider(draw, [0, 8, 16, 24, 32, 40, 48, 56, 63], "position", alt=describe, start=4)

# %% [markdown]
# *The curve of the sines and cosines keeps its form and moves along with the place:
# near places are similar, and only the distance counts. For random vectors it says
# nothing about the cosine whether two places are near.*

# %%
curve = similarity(waves, 0)  # by distance
for t in range(64):
    assert torch.allclose(similarity(waves, t)[t:], curve[: 64 - t], atol=1e-5)
print("cosines at distances 1, 2, 3, 4, 5:", [f"{c:.2f}" for c in curve[1:6]])
assert (curve[1:] < curve[1] + 1e-6).all()

beside = F.cosine_similarity(random_table[1:], random_table[:-1], dim=-1).mean()
print(f"random vectors, distance 1, on average: {beside:.1f}")
claim(abs(beside) < 0.1, "random vectors of neighbours are no more similar than others")

# %% [markdown]
# The curve has ripples: distance 5 is even a little more similar than distance 4. But
# no other distance comes as near as a neighbour, with 0.96. And it never falls to 0,
# because the slow hands have hardly moved and agree everywhere.

# %% [markdown]
# ## Experiment: what is the order worth?
#
# Three models, the same in everything but the positions: none, learned, sines and
# cosines. Each reads eight characters and predicts the ninth; 400 steps of 256 windows;
# three seeds each. Only the last target of each window is used, since the model gives
# one prediction per window.


# %%
def train_window(make_positions, seed):
    torch.manual_seed(seed)
    model = WindowLM(make_positions(), nn.ReLU())
    generator = torch.Generator().manual_seed(seed)

    def next_batch():
        inputs, targets = random_batch(train, 256, 8, generator)
        return inputs, targets[:, -1]

    fit(model, next_batch, n_steps=400, learning_rate=0.01)
    return model


# %% [markdown]
# Measure on every run of nine characters in the validation split (`unfold` lists them).
# Measure the counted bigram model of lesson [02](02_bigram.ipynb) on the same targets;
# it reads only the last of the eight characters.

# %%
from lib.evaluate.losses import cross_entropy


@torch.no_grad()
def window_loss(model, windows):
    total = 0.0
    for part in windows.split(1_024):
        inputs, targets = part[:, :-1], part[:, -1]
        total += cross_entropy(model(inputs), targets).item() * len(part)
    return total / len(windows)


# %% tags=["corpus"]
windows = validation.unfold(0, 9, 1)  # (N - 8, 9)
log_counts = (count_pairs(train, V) + 1).float().log()
bigram_loss = window_loss(lambda ids: log_counts[ids[:, -1]], windows)
print(f"bigram, counted: {bigram_loss:.2f} nats on {len(windows):,} windows")

# %% [markdown]
# Guess before you look: can eight characters without their order beat the last one
# alone?

# %% tags=["corpus", "measured"]
kinds_of_positions = {
    "no positions": nn.Identity,
    "learned": lambda: LearnedPositions(8, 32),
    "sines and cosines": lambda: SinusoidalPositions(8, 32),
}
models, losses = {}, {}
for name, make in kinds_of_positions.items():
    models[name] = [train_window(make, seed) for seed in range(3)]
    losses[name] = [window_loss(model, windows) for model in models[name]]
    n_parameters = sum(p.numel() for p in models[name][0].parameters())
    mean, each = sum(losses[name]) / 3, [f"{loss:.2f}" for loss in losses[name]]
    print(f"{name:17} {n_parameters:,} parameters, mean {mean:.2f} nats {each}")

# %% [markdown]
# Without positions the eight characters are worth *less* than the last one alone: 2.9
# nats against 2.5. The bag knows that a `t` and an `h` are somewhere in the window,
# but not that the `h` came last. With positions, the same model beats the bigram. In
# this model, after 400 steps, the order is worth more than half a nat.
# <!-- from: experiment-what-is-the-order-worth "no positions 14,689" -->
# <!-- from: experiment-what-is-the-order-worth "bigram, counted" -->
# <!-- from: experiment-what-is-the-order-worth "n_steps=400" -->

# %% tags=["corpus", "measured"]
bag_losses, learned_losses, sine_losses = losses.values()
worth = sum(bag_losses) / 3 - sum(learned_losses) / 3
print(f"order is worth {worth:.2f} nats")
print(f"learned {max(learned_losses):.2f} or less,", end=" ")
print(f"sines and cosines {min(sine_losses):.2f} or more")
claim(min(bag_losses) > bigram_loss + 0.3, "the bag is worse than the bigram")
claim(max(sine_losses) < bigram_loss, "with positions the model beats the bigram")
claim(max(learned_losses) < min(sine_losses), "learned positions do better here")
claim(worth > 0.5, "the order is worth more than half a nat")

# %% [markdown]
# After 400 steps, learned positions do better than fixed ones here, with every seed.
# One guess at the reason: most of the hands are so slow that they hardly move within
# eight places. The
# [solution](../solutions/04_embeddings.ipynb#exercise-1-similarity-without-a-table)
# of exercise 1 tests it. <!-- from: experiment-what-is-the-order-worth "n_steps=400" -->

# %% [markdown]
# ### Shuffle the past
#
# Do the trained models really use the order? Keep the last character of each validation
# window and shuffle the seven before it, each window in its own way. (`argsort` of
# random numbers is a random order.)

# %% tags=["corpus", "measured"]
generator = torch.Generator().manual_seed(0)
order = torch.rand(len(windows), 7, generator=generator).argsort(dim=1)
shuffled = torch.cat([windows[:, :7].gather(1, order), windows[:, 7:]], dim=1)
for name in models:
    before, after = losses[name][0], window_loss(models[name][0], shuffled)
    print(f"{name:17} {before:.2f} nats, shuffled {after:.2f}")
    if name == "no positions":
        assert abs(after - before) < 1e-3
    else:
        claim(before < bigram_loss < after, f"{name}: shuffled, it loses to the bigram")

# %% [markdown]
# The bag does not notice. The other two lose more than they had gained over the bigram:
# they count on the character before the last standing where it always stood.

# %% [markdown]
# ### What the learned positions look like
#
# The table began as random numbers. Is there a structure in it now? The cosines between
# its eight rows, the mean over the three seeds:

# %% mystnb={"image": {"alt": "Heat map of 8 by 8 cosines between positions. The upper left, positions 0 to 4, is blue; the last row and the last column are pale red except for their corner."}} tags=["corpus", "measured:wide"]
tables = [model.positions.table.weight.detach() for model in models["learned"]]
near = torch.stack([F.cosine_similarity(p[:, None], p[None], dim=-1) for p in tables])
far_away = [(p[:5, :5].sum() - 5) / 20 for p in near]  # not with itself
last_one = [p[7, :7].mean() for p in near]
print("positions 0 to 4 among each other:", [f"{c:.2f}" for c in far_away])
print("position 7 with the others:       ", [f"{c:.2f}" for c in last_one])
claim(min(far_away) > 0.2, "the five far places have become similar")
claim(max(last_one) < 0, "the last place leans away from the others")
names = [str(t) for t in range(8)]
plot.heat_map(near.mean(dim=0), names, names, "position", "position", label="cosine")

# %% [markdown]
# *The five places farthest from the prediction have become similar; the last place
# leans away from the others.*
#
# So the model makes little difference between the far places, and a large one between
# the last place and the rest. Is that a fact about its predictions, or only about its
# table? Test it: swap two neighbouring characters in each window (every fourth
# window will do), and see what the swap costs.

# %% mystnb={"image": {"alt": "Bar chart of the cost of swapping two neighbouring places. The bars for the first four pairs are close to 0, the next two are small, and the bar for places 6 and 7 towers over them."}} tags=["corpus", "measured:wide"]
some, model, costs = windows[::4], models["learned"][0], {}
for t in range(7):
    swapped = some.clone()
    swapped[:, [t, t + 1]] = some[:, [t + 1, t]]
    costs[f"{t}, {t + 1}"] = window_loss(model, swapped) - window_loss(model, some)
# z: no minus sign before a zero
print("cost of a swap, in nats:", {pair: f"{c:z.2f}" for pair, c in costs.items()})
claim(abs(costs["0, 1"]) < 0.05, "in front a swap costs hardly anything")
claim(costs["6, 7"] > worth, "at the end it costs more than the order was worth")
plot.bar_chart(costs, "places that are swapped", "cost (nats)")

# %% [markdown]
# *In front a swap costs hardly anything; at the end it costs more than the whole order
# was worth.*
#
# The table says what the model has learned: whether a character stands last, or last
# but one, matters much; whether it stands seventh or eighth from the end, hardly at
# all. That is not the curve of the sines and cosines, where only the distance counts.
# Either way the places can be told apart, which is what this model needs most.

# %% [markdown]
# ### Eight votes
#
# How does this model read eight characters? After the bend the vectors are only
# averaged, and one linear layer follows. So each character adds a vote of its own to
# the logits. If that is so, changing the first and the last character *together* must
# do no more than the two changes one by one, added up. Take `to be or` and put an `a`
# first, a `q` last, or both.

# %%
four = ids.repeat(4, 1)  # four times "to be or"
four[1::2, 0] = tokenizer.ids["a"]  # rows 1 and 3: another first character
four[2:, 7] = tokenizer.ids["q"]  # rows 2 and 3: another last one
with torch.no_grad():
    neither, first_only, last_only, both = models["learned"][0](four)
together = (both - neither) - (first_only - neither) - (last_only - neither)
print(f"what both changes do beyond their sum: {together.abs().max():.4f}")
assert together.abs().max() < 1e-4

# %% [markdown]
# Nothing. The vote of a character depends on the character and on its place, never on
# the other characters.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A batch holds only the text "to be or". After <code>backward</code>, how many rows of the embedding have a gradient that is not 0?</summary>
#
# 6: one for each different character that was read (`t`, `o`, the space, `b`, `e`,
# `r`). The other rows were multiplied by 0, so nothing depends on them.
#
# </details>
#
# <details><summary>You train with the wrong exponent of the Check. How much worse does the loss get?</summary>
#
# Not at all: the two losses are within 0.05 nats of each other. Eight places need eight
# vectors that can be told apart, and the wrong ones can. No loss shows you this bug
# here; the test of the dot products does.
#
# </details>
#
# <details><summary>Sines and cosines can be computed for any place. The model was trained on 8 characters. Give it a longer table and 16 characters: does it predict better?</summary> <!-- from: predict-then-run "SinusoidalPositions(16" -->
#
# Far worse than the bag. The vectors of the new places exist, but the model never saw
# them, and the newest character now stands at the last of them. Even one character more
# costs about half a nat. Longer than trained is a problem of its own.
#
# </details>

# %% tags=["corpus", "measured"]
torch.manual_seed(0)
model = WindowLM(LearnedPositions(8, 32), nn.ReLU())
model(ids).sum().backward()
n_rows = (model.embed.weight.grad != 0).any(dim=1).sum().item()
print(f"{n_rows} rows have a gradient")
assert n_rows == len(set("to be or"))


class WrongPositions(SinusoidalPositions):
    def __init__(self):
        super().__init__(8, 32)
        self.table = wrong_waves(8, 32)


wrong = [window_loss(train_window(WrongPositions, seed), windows) for seed in range(3)]
print(f"wrong exponent {sum(wrong) / 3:.2f} nats, right {sum(sine_losses) / 3:.2f}")
claim(abs(sum(wrong) - sum(sine_losses)) / 3 < 0.05, "the loss does not show the bug")

# %% [markdown]
# And the longer texts, with the first model that has sines and cosines:

# %% tags=["corpus", "measured"]
model = models["sines and cosines"][0]
model.positions = SinusoidalPositions(16, 32)
for length in (8, 9, 16):
    loss = window_loss(model, validation.unfold(0, length + 1, 1))
    print(f"{length:2} characters: {loss:.2f} nats")
    claim((loss > bigram_loss) == (length > 8), "longer texts lose to the bigram")
claim(loss > max(bag_losses) + 0.3, "16 characters cost more than the bag")

# %% [markdown]
# ## Exercises

# %%
from lib.checks.lesson_04 import (
    check_concat_lm,
    check_mean_cosines,
    check_shift_positions,
    check_similarity_by_distance,
)

# %% [markdown]
# ### Exercise 1: Similarity without a table
#
# *warm-up · 10 minutes* · [Solution](../solutions/04_embeddings.ipynb#exercise-1-similarity-without-a-table)
#
# The dot product of two positions made of sines and cosines depends on their distance
# alone. Write a function that returns it for the distances 0, 1, ..., `n - 1` as a
# tensor of shape `(n,)`, without making a table of positions. `d_model` is even; `base`
# is the base of the speeds. Then ask what the base does: compare base 10 with base
# 10,000.
# <!-- from: solutions/04_embeddings#exercise-1-similarity-without-a-table "10,000" -->
#
# <details><summary>Hint</summary>
#
# "A step is a turn" ends with what one hand adds. Add it up over all `d_model / 2`
# hands. A column of distances times a row of speeds gives a table of angles.
#
# </details>


# %%
def similarity_by_distance(d_model, base, n):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_similarity_by_distance(similarity_by_distance)

# %% [markdown]
# ### Exercise 2: How similar are two groups?
#
# *core · 15 minutes* · [Solution](../solutions/04_embeddings.ipynb#exercise-2-how-similar-are-two-groups)
#
# Given `vectors` of shape `(V, D)` and `groups`, a tensor `(V,)` with the number of
# each row's group (0 to G - 1, each with two rows or more), return a tensor `(G, G)`:
# entry `[g, h]` is the mean cosine over all pairs of *different* rows, one from group
# `g` and one from group `h`.
#
# <details><summary>Hint</summary>
#
# Compute all cosines `(V, V)` first, from rows of length 1. Then, for each `g` and `h`,
# pick the block of the table that belongs to them. Within one group, what stands on the
# diagonal?
#
# </details>


# %%
def mean_cosines(vectors, groups):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_mean_cosines(mean_cosines)

# %% [markdown]
# ### Exercise 3: Walk without knowing where you are
#
# *core · 20 minutes* · [Solution](../solutions/04_embeddings.ipynb#exercise-3-walk-without-knowing-where-you-are)
#
# You get the vector of some position, made of sines and cosines, but not the position.
# Return the vector of the position `k` places further. `p` has the shape `(..., D)`,
# one vector or many; `k` may be negative; the result has the shape of `p`, and `p`
# itself stays as it is.
#
# <details><summary>Hint</summary>
#
# Take the columns `p[..., 0::2]` (sines) and `p[..., 1::2]` (cosines), and turn all
# pairs at once, each by its own angle. At the end the two must be interleaved again, as
# in the class.
#
# </details>


# %%
def shift_positions(p, k, base=10_000.0):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_shift_positions(shift_positions)

# %% [markdown]
# ### Exercise 4: Another way to keep the order
#
# *stretch · 30 minutes* · [Solution](../solutions/04_embeddings.ipynb#exercise-4-another-way-to-keep-the-order)
#
# An early and famous neural language model (Bengio et al., 2003) had no position
# vectors. It puts the vectors of the window side by side, one long vector of $T \cdot
# D$ numbers, so that each place has columns of its own. Write it as a module: an
# embedding of `vocab_size` rows of `d_model` numbers; the `context_length` vectors of
# the window side by side; a linear layer to `d_hidden` numbers; a ReLU; a linear layer
# to `vocab_size` logits. Both layers have a bias. It maps ids `(B, T)` to logits `(B,
# V)`, where T is always `context_length`. Then train it like the models above: what
# does it gain, and what does it cost?
#
# <details><summary>Hint</summary>
#
# `flatten(start_dim=1)` keeps the batch and joins all dimensions after it. How many
# numbers go into the first linear layer?
#
# </details>


# %%
class ConcatLM(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__()
        raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_concat_lm(ConcatLM)

# %% [markdown]
# ## Recap
#
# - You saw that an **embedding** is a linear layer of one-hot vectors, and built a
#   search for the **nearest neighbours** by cosine. Training moves characters with
#   similar futures together.
# - You saw **why order is lost**: a sum of vectors has none. A vector for each place
#   brings it back, but only with something that is not a sum in between.
# - You built **learned positions** and **sines and cosines**, hands of clocks for which
#   a step is a turn. Their dot product depends on the distance only, if sine and cosine
#   share a speed: test that, because the loss does not.
# - You measured that **the order is worth more than half a nat** to this model. Eight
#   characters without it cost 2.9 nats, more than the bigram; with learned positions 2.3.
#   <!-- from: experiment-what-is-the-order-worth "no positions 14,689" -->
#   <!-- from: experiment-what-is-the-order-worth "learned 14,945" -->
#
# What is still wrong: the votes. The model can learn that the last place counts most,
# but not that a `q` there settles everything, and after `to b` it cannot decide to look
# at how the word began. No character can change what another one says. In lesson 06 it
# can: that is attention.
#
# The library entries of what you built: [nearest_neighbors](../book/api.md#embedding),
# [LearnedPositions and SinusoidalPositions](../book/api.md#position).

# %% [markdown]
# ## To read
#
# - Bengio et al. (2003), *A Neural Probabilistic Language Model*, section 2: the model
#   of exercise 4, with embeddings that are trained together with the rest of it.
# - Mikolov et al. (2013), *Efficient Estimation of Word Representations in Vector
#   Space*, section 3.1: a bag of words, as a way to learn vectors; section 4: what
#   their neighbours say.
# - Vaswani et al. (2017), *Attention Is All You Need*, section 3.5: the sines and
#   cosines, and one sentence on learned positions that did as well.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
