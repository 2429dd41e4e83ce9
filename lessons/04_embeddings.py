# %% [markdown]
# # 04 · Embeddings
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/04_embeddings.ipynb)
#
# You give each token a vector, and see similar characters move together. Then a model reads
# eight characters at once, without a table of all pasts.
#
# - **You will build** a search for the nearest vectors, and two models that read a window of
#   text: one adds its vectors, one puts them side by side.
# - **You will see** characters of one kind come together, what the
#   order of eight characters is worth, and what it costs.
# - **Needs** lessons [02](02_bigram.ipynb) and [03](03_gradients.ipynb).
# - **Takes** about 75 minutes without exercise 3; the notebook runs in under 45 s.

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
# The counted bigram of lesson [02](02_bigram.ipynb) reads one character and reaches 2.4819
# nats. Reading more must help. But a table for eight characters needs a row for each possible
# past, $65^8$ of them, and nearly all of these rows would stay empty. How can a model read
# eight characters *without* a table of pasts? <!-- from: 02_bigram#smoothing "validation:" -->
# <!-- from: 02_bigram#counting "different" -->
#
# The plan: give each character a vector, a short list of numbers, and put the vectors of the
# past together. Where do good numbers come from, and how do you put vectors together?

# %% [markdown]
# ## The machine
#
# This picture will grow, lesson by lesson, into a whole GPT. What is new is in colour. Tokens
# go in at the top, their ids as a batch of shape `(B, T)`, and each id becomes a vector of `D` numbers.

# %% mystnb={"image": {"alt": "Diagram of the model so far: four tokens enter at the top, and the new part, the token embedding, turns each id into a vector. The shape goes from (B, T) to (B, T, D)."}}
from lib.show import diagrams

diagrams.stream("embeddings")

# %% [markdown]
# ## By hand
#
# ### Near and far
#
# Give three characters a vector of two numbers each. Which two are similar? Look at the angle
# between them. Its [cosine](../book/glossary.md#cosine-similarity) is 1 for the same direction,
# 0 for a right angle, and -1 for opposite directions. To compute it, multiply the vectors
# number by number and add up (the [dot product](../book/glossary.md#dot-product), `@`), then
# divide by both lengths, `norm()`.

# %%
import torch

a, n, o = torch.tensor([[2.0, 1.0], [-1.0, 2.0], [3.0, 1.0]])


def cosine(x, y):
    return (x @ y / (x.norm() * y.norm())).item()


print(f"a and o: {cosine(a, o):.3f}")
print(f"a and n: {cosine(a, n):.3f}")

# %% [markdown]
# Check the first on paper: the dot product is $2 \cdot 3 + 1 \cdot 1 = 7$, the lengths are
# $\sqrt{5}$ and $\sqrt{10}$, and $7 / (\sqrt{5} \cdot \sqrt{10}) = 0.990$. So `a` and `o` point
# almost the same way, and `n` is at a right angle to `a`.
#
# ### Two ways to read `on`
#
# Now make one past out of two vectors. You can add them. Or you can put them side by side, as
# one longer vector; `torch.cat` does that. Do this for `on`, and then for `no`.

# %%
print("added:       ", (o + n).tolist(), (n + o).tolist())
print("side by side:", torch.cat([o, n]).tolist(), torch.cat([n, o]).tolist())

# %% [markdown]
# A sum has no order. A model that adds cannot tell `on` from `no`, nor `to be or` from `or be
# to`: it sees which characters there are, not where. That is called a [bag of
# tokens](../book/glossary.md#bag-of-tokens). Side by side, each character keeps its place, and
# the vector gets longer with each of them. You will build both.

# %% [markdown]
# ## The formula
#
# The similarity of two vectors is the cosine of their angle:
#
# $$\cos(a, b) = \frac{a \cdot b}{|a| \, |b|}$$
#
# A model that reads a window of $T$ tokens $w_1, \ldots, w_T$ looks up a row of a table $E$ for
# each of them, and makes one vector $x$ of these rows, by a sum or side by side:
#
# $$x = E_{w_1} + E_{w_2} + \cdots + E_{w_T}
# \qquad \text{or} \qquad x = [\, E_{w_1}, E_{w_2}, \ldots, E_{w_T} \,]$$
#
# Two linear layers turn $x$ into logits. Between them stands a function that is not linear; without
# it the two are one, since a product of matrices is a matrix. The [ReLU](../book/glossary.md#relu) replaces each negative
# number by 0; what comes out, $h$, is the *hidden layer*.
#
# $$h = \operatorname{ReLU}(x W_1^\top + b_1), \qquad z = h W_2^\top + b_2$$
#
# (PyTorch keeps one row of $W$ for each *output*, hence the $^\top$.)
#
# | symbol | shape | what it is |
# |---|---|---|
# | $w_t$ | number | the id of the token at place $t$ of the window |
# | $E$ | `(V, D)` | the [embedding](../book/glossary.md#embedding): one vector per token, learned |
# | $x$ | `(D,)` or `(T * D,)` | the whole window as one vector |
# | $W_1, b_1$ | `(d_hidden, width)`, `(d_hidden,)` | the first layer; `width` is the length of $x$ |
# | $W_2, b_2$ | `(V, d_hidden)`, `(V,)` | the second layer |
# | $h$ | `(d_hidden,)` | the hidden layer |
# | $z$ | `(V,)` | the logits of the next token |
#
# Side by side, this is nearly the model of Bengio et al. (2003), section 2, equation 1. They used
# another function in between and one more layer; that is exercise 3.

# %% [markdown]
# ## Build
#
# ### A lookup is a product
#
# A network is made of products and sums. How does picking a row fit in? Write each id as a row of
# zeros with a single 1, its [one-hot](../book/glossary.md#one-hot) vector, and multiply.

# %%
from torch.nn import functional as F

table = torch.stack([a, n, o])  # (3, 2)
ids = torch.tensor([2, 1])  # "on"
one_hot = F.one_hot(ids, num_classes=3).float()
print("one-hot:", one_hot.tolist())
print("product:", (one_hot @ table).tolist())
print("lookup: ", table[ids].tolist())

# %% [markdown]
# The same rows: in each sum all products but one are 0. So an embedding (`nn.Embedding` in
# PyTorch) *is* a linear layer without a bias, read quickly, and it learns as every layer does.

# %% [markdown]
# ### The nearest vectors
#
# To see what a table has learned, take one row and ask which others are nearest, with the largest
# cosine. `F.normalize` divides each row by its length, and `topk`
# finds the largest numbers and where they are.

# %%
print(F.normalize(torch.tensor([[0.0, 2.0], [-4.0, 0.0]]), dim=-1).tolist())
print(torch.tensor([0.5, -1.0, 0.9]).topk(2).indices.tolist())

# %% [markdown]
# Once all lengths are 1, a cosine is just a dot product, and one matrix product gives the cosines
# of a row with *all* rows. The row itself would always win, so its cosine is set below all others.


# %% tags=["naive:embedding.nearest_neighbors"]
def nearest_neighbors(vectors, index, k=5):
    unit = F.normalize(vectors.detach(), dim=-1)  # every row gets length 1
    cosines = unit @ unit[index]  # (V,)
    cosines[index] = -2.0  # below every cosine: not its own neighbour
    nearest = cosines.topk(k)
    return nearest.indices.tolist(), nearest.values.tolist()


# %%
rows, cosines = nearest_neighbors(table, index=0, k=2)
print("nearest to a:", ["ano"[i] for i in rows], [round(c, 3) for c in cosines])

# %% [markdown]
# First `o` with 0.99, then `n` with 0, as by hand.

# %% [markdown]
# ### Eight characters, one prediction
#
# Now the text.

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
# And the two ways to read a window. `sum(dim=1)` adds up over the window; `flatten(1)` keeps the
# batch and joins all dimensions after it. Follow two windows of three vectors each:


# %%
def add(x):
    return x.sum(dim=1)  # (B, T, D) -> (B, D)


def side_by_side(x):
    return x.flatten(1)  # (B, T, D) -> (B, T * D)


x = torch.arange(12).view(2, 3, 2)
print(x.tolist())
print("added:       ", add(x).tolist())
print("side by side:", side_by_side(x).tolist())

# %% [markdown]
# As a picture: one id picks one row (above); eight rows side by side are one wide vector (below).

# %% mystnb={"image": {"alt": "Diagram: above, the id of one token picks a row of the (V, D) table, its vector. Below, eight tokens pick eight vectors, which are put side by side to one vector of 8 times D numbers."}}
diagrams.embedding_lookup()

# %% [markdown]
# The model takes one of the two functions as `join`, and tries it on zeros to learn how wide the
# joined vector is. Its logits `(B, 1, V)` are one prediction per window, not one per token.


# %%
from torch import nn


class WindowLM(nn.Module):
    def __init__(self, join, context_length, d_hidden=128):
        super().__init__()
        self.join, self.context_length = join, context_length
        self.embed = nn.Embedding(V, 32)
        width = join(torch.zeros(1, context_length, 32)).size(1)
        self.hidden = nn.Linear(width, d_hidden)
        self.head = nn.Linear(d_hidden, V)

    def forward(self, ids):
        x = self.join(self.embed(ids))  # (B, T) -> (B, width)
        h = self.hidden(x).relu()  # (B, d_hidden)
        return self.head(h).unsqueeze(1)  # (B, 1, V)


# %%
adding, joining = WindowLM(add, context_length=8), WindowLM(side_by_side, 8)
for model in (adding, joining):
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    shape = tuple(model.hidden.weight.shape)
    print(f"{model.join.__name__:12} hidden {shape}, {n_parameters:,} parameters")

# %% [markdown]
# Look at the matrices `hidden`: one row for each output. Side by side, each row is eight
# times as long. Its first piece of 32 numbers multiplies the first character, its second the
# second, and so on. **Side by side, each place has its own piece of the weights. Adding, all places share
# one.**

# %% [markdown]
# ## Check
#
# ### Adding is the special case
#
# If that is true, then eight *equal* pieces must compute what the adding model computes. So copy
# its weights, but write the hidden matrix eight times side by side, with `repeat(1, 8)`. (`state_dict` is a dictionary
# of all weights; `|` joins two, the second wins.)

# %%
ids = torch.tensor([tokenizer.encode("to be or"), tokenizer.encode("or be to")])
joining.load_state_dict(
    adding.state_dict() | {"hidden.weight": adding.hidden.weight.repeat(1, 8)}
)
assert torch.allclose(adding(ids), joining(ids), atol=1e-5)
print("eight equal pieces: the same logits")

# %% [markdown]
# They do: the model side by side can do all that the adding one can, and more. Give it fresh
# weights. Which of the two tells `to be or` from `or be to`?

# %%
joining = WindowLM(side_by_side, context_length=8)
for model in (adding, joining):
    first, second = model(ids)
    same = torch.allclose(first, second, atol=1e-5)
    print(f"{model.join.__name__:12} same logits for both texts: {same}")
    assert same == (model is adding)

# %% [markdown]
# ### The classic bug: dot products instead of cosines
#
# It is easy to take plain dot products and forget the lengths. Nothing crashes. Take a fourth
# vector, a long one.


# %%
def nearest_by_dot_product(vectors, index, k=5):
    products = vectors @ vectors[index]
    products[index] = -torch.inf
    return products.topk(k).indices.tolist(), products.topk(k).values.tolist()


four = torch.stack([a, n, o, torch.tensor([4.0, 12.0])])
for search in (nearest_by_dot_product, nearest_neighbors):
    rows, values = search(four, index=0, k=3)
    print(f"{search.__name__:22}", rows, [round(value, 2) for value in values])

# %% [markdown]
# By dot product the nearest to `a` is row 3. It points elsewhere, and wins because it is long. The
# cosine finds row 2, the `o`. A test that catches the bug: stretch each row by a factor of its own.
# No direction changes, so no neighbour may change.


# %%
def ignores_lengths(search):
    vectors = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    factors = 2.0 ** torch.arange(30).remainder(4)  # 1, 2, 4, 8, 1, 2 ...
    stretched = vectors * factors.unsqueeze(1)
    return all(
        search(vectors, i, k=3)[0] == search(stretched, i, k=3)[0] for i in range(30)
    )


for search in (nearest_by_dot_product, nearest_neighbors):
    print(f"{search.__name__:22} ignores lengths: {ignores_lengths(search)}")
    assert ignores_lengths(search) == (search is nearest_neighbors)

# %% [markdown]
# The library's `nearest_neighbors` equals ours, and refuses rows that do not exist.

# %% tags=["same:embedding.nearest_neighbors", "proof"]
# @title Proof: ours equals the library's and PyTorch's
from lib import embedding as library

vectors = torch.randn(V, 32)
for index in (0, 7, V - 1):
    rows, cosines = nearest_neighbors(vectors, index, k=V - 1)
    assert (rows, cosines) == library.nearest_neighbors(vectors, index, k=V - 1)
    torchs = F.cosine_similarity(vectors[index], vectors[rows], dim=-1)
    assert torch.allclose(torch.tensor(cosines), torchs, atol=1e-6)
    assert cosines == sorted(cosines, reverse=True) and index not in rows
try:
    library.nearest_neighbors(vectors, index=V)
except ValueError as error:
    print("no such row:", error)
print("ours = the library's = PyTorch's cosines")

# %% tags=["proof"]
# @title Proof: nn.Embedding is a linear layer on one-hot rows, gradients included
embedding = nn.Embedding(V, 32)
one_hot = F.one_hot(ids, V).float()  # (2, 8, V)
looked_up, multiplied = embedding(ids), one_hot @ embedding.weight
assert torch.allclose(looked_up, multiplied)
table = embedding.weight
grads = (torch.autograd.grad(x.square().sum(), table) for x in (looked_up, multiplied))
assert torch.allclose(*(grad for (grad,) in grads), atol=1e-5)
print("lookup = product")

# %% [markdown]
# ## Look
#
# ### Letters on the move
#
# Where do good numbers come from? From training. Nobody tells a model which characters are alike.
# Does it find out? Take the bigram model with an embedding, as in lesson [02](02_bigram.ipynb), but
# with only *two* numbers per character, so that they are points in a plane. Keep a copy of the
# table after every hundred steps.

# %%
from lib.models.bigram import BigramConfig, BigramLM
from lib.train import fit


def tables_while_training(d_model, seed):
    torch.manual_seed(seed)
    model = BigramLM(BigramConfig(V, d_model))
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: random_batch(train, 128, 8, generator)
    tables = [model.logits[0].weight.detach().clone()]
    for _ in range(5):
        fit(model, next_batch, n_steps=100, learning_rate=0.01)
        tables.append(model.logits[0].weight.detach().clone())
    return tables


flat = [tables_while_training(d_model=2, seed=seed) for seed in range(3)]


# %% [markdown]
# Sort the characters into four kinds by hand. The model never sees these; they only colour the
# picture.


# %%
def kind(character):
    if character.islower():
        return "vowel" if character in "aeiou" else "consonant"
    return "capital" if character.isupper() else "other"


kinds = [kind(character) for character in tokenizer.characters]
print({name: kinds.count(name) for name in ("vowel", "consonant", "capital", "other")})

# %% [markdown]
# Move the slider through the training of the first seed.

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
import matplotlib.pyplot as plt

from lib.show import plot
from lib.show.frames import slider

COLOURS = {"vowel": "C0", "consonant": "C1", "capital": "C2", "other": "0.35"}
labels = plot.visible(tokenizer.characters)
reach = 1.08 * max(table.abs().max().item() for table in flat[0])


def draw(step):
    figure, axes = plt.subplots(figsize=(6, 5.6))
    for label, name, point in zip(labels, kinds, flat[0][step // 100].tolist()):
        style = {"color": COLOURS[name], "size": 12, "weight": "bold"}
        axes.text(*point, label, ha="center", va="center", **style)
    for name, colour in COLOURS.items():
        axes.plot([], [], "o", color=colour, label=name)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set(xlabel="first number", ylabel="second number")
    axes.legend(loc="upper left", ncols=2)
    return figure


def describe(step):
    centres = []
    for name in COLOURS:
        own = torch.tensor([own == name for own in kinds])
        x, y = flat[0][step // 100][own].mean(dim=0).tolist()
        centres.append(f"{name} ({x:.1f}, {y:.1f})")
    centres = ", ".join(centres)
    return f"All characters in a plane after {step} steps; centres: {centres}."


slider(draw, [0, 100, 200, 300, 400, 500], "training step", alt=describe, start=5)

# %% [markdown]
# *At step 0 the characters lie at random. In training those of one kind come closer.*

# %% tags=["corpus", "measured:wide", "proof"]
# @title Proof: with three seeds, characters of one kind come closer than others
from lib.checks.claims import claim

i, j = torch.triu_indices(V, V, offset=1)  # each pair of characters once
alike = torch.tensor([kinds[first] == kinds[second] for first, second in zip(i, j)])


def spread(table):
    distances = (table[i] - table[j]).norm(dim=-1)
    return (distances[alike].mean() / distances[~alike].mean()).item()


before, after = ([spread(tables[k]) for tables in flat] for k in (0, -1))
print(f"before {[f'{s:.2f}' for s in before]}, after {[f'{s:.2f}' for s in after]}")
claim(min(before) > 0.85, "before training the kinds make no difference")
claim(max(after) < 0.85, "training brings characters of one kind together")

# %% [markdown]
# ### Similar futures, similar vectors
#
# Why does it happen? The last layer computes each logit from the vector. Characters that are
# *followed by the same things* need the same logits, so training pulls their vectors the same way.
# If that is right, similar futures should mean similar vectors, for all pairs of characters.
#
# How similar are two futures? Write them as two rows of probabilities, $p$ and $q$, and predict both
# with their mean $m = (p + q) / 2$. That costs $-\sum_k p_k \ln m_k$ on the first and
# $-\sum_k q_k \ln m_k$ on the second. Take the mean of the two: it is $-\sum_k m_k \ln m_k$, the
# entropy of $m$. Take away the mean of their own entropies: the *Jensen-Shannon divergence*.

# %%
from lib.evaluate.losses import entropy


def divergence(p, q):
    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


p = torch.tensor([1.0, 0.0])
for q in ([1.0, 0.0], [0.5, 0.5], [0.0, 1.0]):
    print(p.tolist(), q, f"{divergence(p, torch.tensor(q)):.3f}")

# %% [markdown]
# It is 0 for equal futures, and $\ln 2 = 0.693$ for futures with nothing in common. With a minus
# sign it says how *close* two futures are. Now all pairs of characters, `i` and `j`: the futures come from
# counting, plus one, the vectors from training, this time with 32 numbers each.

# %%
from lib.models.bigram import count_pairs

i, j = torch.triu_indices(V, V, offset=1)  # each pair of characters once
futures = (count_pairs(train, V) + 1).double()
futures /= futures.sum(dim=1, keepdim=True)  # (V, V): what follows each character
closeness = -divergence(futures[i], futures[j])  # one number per pair

wide = [tables_while_training(d_model=32, seed=seed) for seed in range(3)]


# %% [markdown]
# Each pair is a point: to the right, how close the futures are; upwards, the cosine of the vectors.

# %% tags=["hide-input", "corpus"] mystnb={"image": {"alt": "Two scatter plots of all pairs of characters, the cosine of their vectors over the closeness of their futures. Before training the cloud is level. After training it rises from the lower left to the upper right."}}
# @title The scatter plot
_, both = plt.subplots(ncols=2, figsize=(7, 3.6), sharey=True)
both[0].set_ylabel("cosine of vectors")
for axes, table, when in zip(both, (wide[0][0], wide[0][-1]), ("before", "after")):
    cosines = F.cosine_similarity(table[i], table[j], dim=-1)
    axes.plot(closeness, cosines, ".", markersize=4, alpha=0.35)
    axes.set(title=f"{when} training", xlabel="closeness of futures (nats)")

# %% [markdown]
# *Before training the cloud is level. After it, the cloud rises: closer futures, larger cosines.*
#
# How clear is that? The *correlation* runs from -1, all points on a falling line, to 1, all on a
# rising line; near 0 neither fits. `corrcoef` computes it:

# %%
for other in ([4.0, 5.0, 6.0], [6.0, 5.0, 4.0], [5.0, 6.0, 5.0]):
    both = torch.tensor([[1.0, 2.0, 3.0], other])
    print(both.tolist(), f"{both.corrcoef()[0, 1]:z.2f}")  # z: no minus at 0

# %% [markdown]
# Now for all pairs of characters:


# %%
def correlation(table):
    cosines = F.cosine_similarity(table[i], table[j], dim=-1)
    return torch.stack([cosines, closeness]).corrcoef()[0, 1].item()


# %% tags=["corpus", "measured:wide"]
before, after = ([correlation(tables[k]) for tables in wide] for k in (0, -1))
print("before training:", [f"{r:.2f}" for r in before])
print("after training: ", [f"{r:.2f}" for r in after])
claim(max(before) < 0.15, "before training vectors and futures have no relation")
claim(min(after) > 0.35, "characters with similar futures get similar vectors")

# %% [markdown]
# With every seed: nothing before, a clear relation after. Expect neighbours that make sense, and a
# few that do not:

# %% tags=["corpus", "sample"]
for character in "a?T":
    for when, table in (("before", wide[0][0]), ("after", wide[0][-1])):
        rows, _ = nearest_neighbors(table, tokenizer.ids[character], k=5)
        names = plot.visible([tokenizer.characters[row] for row in rows])
        print(f"nearest to {character}, {when:6} training: {' '.join(names)}")

# %% [markdown]
# That is the "meaning" in an embedding: what helps to predict.

# %% [markdown]
# ## Experiment: add, or side by side?
#
# Which window model predicts the ninth character better? The control is a third one, which adds,
# with a hidden layer so wide that it has about as many parameters as the model side by side. Each gets
# 300 steps of 256 windows, from three [seeds](../book/glossary.md#seed). Guess first: can eight
# characters without their order beat the last one alone?


# %%
def train_window(join, context_length, d_hidden=128, seed=0, model_class=WindowLM):
    torch.manual_seed(seed)
    model = model_class(join, context_length, d_hidden)
    generator = torch.Generator().manual_seed(seed)

    def next_batch():
        inputs, targets = random_batch(train, 256, context_length, generator)
        return inputs, targets[:, -1:]  # one target per window

    fit(model, next_batch, n_steps=300, learning_rate=0.005)
    return model


# %% [markdown]
# Measure on the whole validation split. `unfold(0, size, step)` lists all windows:

# %%
print(torch.arange(5).unfold(0, 3, 1).tolist())

# %% [markdown]
# The first characters of the split have fewer than eight before them, so their windows borrow from
# the end of the training split. Thus every token but the first is a target, as in every loss on the
# [ladder](../book/ladder.md).


# %%
from lib.evaluate.losses import cross_entropy


@torch.no_grad()
def window_loss(model, context_length):
    text = torch.cat([train[len(train) - context_length + 1 :], validation])
    windows, total = text.unfold(0, context_length + 1, 1), 0.0  # (N - 1, T + 1)
    for part in windows.split(4_096):
        loss = cross_entropy(model(part[:, :-1]), part[:, -1:])
        total += loss.item() * len(part)
    return total / len(windows)


# %% tags=["corpus"]
log_futures = futures.log()
bigram_loss = window_loss(lambda ids: log_futures[ids[:, -1:]], context_length=1)
print(f"bigram, counted: {bigram_loss:.4f} nats")

# %% [markdown]
# Now the window models:

# %% tags=["corpus", "measured"]
import time

kinds_of_model = {
    "added": (add, 128),
    "added, more hidden": (add, 421),
    "side by side": (side_by_side, 128),
}
models, losses = {}, {}
for name, (join, d_hidden) in kinds_of_model.items():
    start = time.process_time()
    models[name] = [train_window(join, 8, d_hidden, seed) for seed in range(3)]
    seconds = (time.process_time() - start) / 3
    losses[name] = [window_loss(model, context_length=8) for model in models[name]]
    n_parameters = sum(p.numel() for p in models[name][0].parameters())
    mean, each = sum(losses[name]) / 3, [f"{loss:.2f}" for loss in losses[name]]
    print(f"{name:18} {n_parameters:,} parameters, {mean:.2f} nats, seeds {each}")

# %% tags=["corpus", "measured", "proof"]
# @title Proof: the claims of the next paragraph
bag, large_bag, ordered = losses.values()
order_is_worth = (sum(bag) - sum(ordered)) / 3
print(f"the order is worth {order_is_worth:.2f} nats")
claim(min(bag + large_bag) > bigram_loss + 0.15, "adding is worse than the bigram")
claim(max(ordered) < bigram_loss - 0.2, "side by side is better than the bigram")
claim(order_is_worth > 0.6, "the order is worth more than 0.6 nats")

# %% [markdown]
# Added, and after this short training, eight characters are worth *less* than the last one alone by
# counting, even with three times the parameters. The model knows that a `t` and an `h` are in the window, but not that the `h` came
# last. Side by side, the same eight characters beat the bigram clearly. Here the order is worth
# more than 0.6 nats.
# <!-- from: experiment-add-or-side-by-side "is worth more than" -->

# %% [markdown]
# Let two of them write, after `to be or`, and put the better one, the last that was trained, on the
# ladder:

# %% tags=["corpus", "sample"]
from lib.generate import sample
from lib.show.ladder import rung

prompt, texts = torch.tensor([tokenizer.encode("to be or")]), {}
for name in ("added", "side by side"):
    generator = torch.Generator().manual_seed(1)
    ids = sample(models[name][0], prompt, 120, 1.0, generator)[0, 8:]
    texts[name] = tokenizer.decode(ids)
print("added:", repr(texts["added"][:80]))
name = "Eight characters, side by side"
rung(name, n_parameters, mean, seconds, texts["side by side"], seeds=3)

# %% [markdown]
# The first has frequent letters in no order, the second words.
#
# ### What if it reads more?
#
# If eight characters are good, should 32 not be better? Train both kinds for windows of 1 to 32
# characters, 300 steps each. <!-- from: what-if-it-reads-more "lengths, curves" -->
# <!-- from: experiment-add-or-side-by-side "n_steps=300" -->

# %% tags=["corpus", "measured"]
lengths, curves = (1, 2, 4, 8, 32), {}
for name, join in (("added", add), ("side by side", side_by_side)):
    runs = [models[name][0] if n == 8 else train_window(join, n) for n in lengths]
    curves[name] = [window_loss(model, model.context_length) for model in runs]
    weights = [model.hidden.weight.numel() for model in runs]
    print(f"{name:12}", "losses ", [f"{loss:.2f}" for loss in curves[name]])
    print(f"{name:12}", "weights", [f"{n:,}" for n in weights])

# %% [markdown]
# As a picture:

# %% tags=["corpus"] mystnb={"image": {"alt": "Line chart of the validation loss over the number of characters read, 1 to 32. Both lines start together near the dashed line of the bigram. Added: lower at 2, then it rises far above the bigram. Side by side: it falls until 4 and then rises slowly, staying below the bigram."}}
plot.line_chart(
    curves, "characters read", "validation loss (nats)", lengths,
    levels={"bigram, counted": bigram_loss},
)  # fmt: skip

# %% tags=["corpus", "proof"]
# @title Proof: the claims of the next paragraph
added, joined = curves.values()
claim(abs(added[0] - joined[0]) < 0.02, "with one character both are the same model")
claim(min(added[3:]) > bigram_loss + 0.15, "added, eight are worse than the bigram")
claim(added[4] > added[3] + 0.1, "and the longer the worse")
claim(joined[2] < joined[1] - 0.04, "side by side, four are better than two")
claim(joined[4] > joined[3] + 0.08, "side by side, 32 characters are worse than eight")
claim(max(joined[1:]) < bigram_loss - 0.05, "but better than the bigram")

# %% [markdown]
# With one character both are the same model. Added, a
# second character still helps; then each makes the bag bigger, and the last one harder to find.
# Side by side, four characters are best here. With eight the loss is a little higher already, and
# with 32 clearly (one run each). Each
# further character brings 4,096 new weights, which begin as random numbers and learn from that one
# place alone. For them 300 steps are probably too few.
# <!-- from: what-if-it-reads-more "lengths, curves" -->
# <!-- from: experiment-add-or-side-by-side "n_steps=300" -->
# <!-- from: what-if-it-reads-more "weights" -->
#
# And side by side no window can be longer than in training: the new places have no weights.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A batch holds only the text "to be or". After <code>backward</code>, how many rows of the embedding have a gradient that is not 0?</summary>
#
# 6: one for each different character that was read (`t`, `o`, the space, `b`, `e`, `r`). In the
# product with one-hot rows, all others were multiplied by 0.
#
# </details>
#
# <details><summary>Reverse every window, in training and in validation, so that each model reads its eight characters backwards. Which of the two gets worse?</summary>
#
# Neither. A sum does not notice. And the model side by side does not know that one place is next
# to another: it has a piece of weights for each, and which place comes first makes no
# difference, as long as it is always the same.
#
# </details>
#
# <details><summary>Leave out the ReLU of the model side by side. Does it still know the order? Does it still beat the bigram?</summary>
#
# Yes to both, but it is clearly worse than with the ReLU. Without it the logits are a *sum* of
# eight parts, one from each place, and what a `q` in one place says cannot depend on what stands
# in another.
#
# </details>

# %% tags=["corpus", "measured", "answer"]
# @title Answers: how many rows have a gradient, and windows backwards
model = WindowLM(side_by_side, context_length=8)
model(prompt).sum().backward()
n_rows = (model.embed.weight.grad != 0).any(dim=1).sum().item()
print(f"{n_rows} rows have a gradient")
assert n_rows == len(set("to be or"))


def backwards(x):  # (B, T, D), the last character first
    return side_by_side(x.flip(dims=[1]))


loss = window_loss(train_window(backwards, 8), 8)
print(f"side by side, backwards: {loss:.2f} nats, forwards {ordered[0]:.2f}")
claim(abs(loss - ordered[0]) < 0.06, "backwards it learns as much")


# %% tags=["corpus", "measured", "answer"]
# @title Answer: without the ReLU
class WithoutReLU(WindowLM):
    def forward(self, ids):
        x = self.join(self.embed(ids))
        return self.head(self.hidden(x)).unsqueeze(1)


linear_loss = window_loss(train_window(side_by_side, 8, model_class=WithoutReLU), 8)
print(f"without the ReLU: {linear_loss:.2f} nats")
claim(max(ordered) + 0.1 < linear_loss < bigram_loss - 0.05, "between the two")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_04 import check_bag, check_mean_cosines, check_neural_lm

# %% [markdown]
# ### Exercise 1: What a sum still knows
#
# *warm-up · 5 minutes* · [Solution](../solutions/04_embeddings.ipynb#exercise-1-what-a-sum-still-knows)
#
# A sum of vectors depends only on *how often* each token is in the window. Write a function that
# counts: from ids `(B, T)` make a tensor of floats `(B, V)`, where row $b$ says how often each of
# the `vocab_size` tokens is in window $b$. Then `bag(ids, V) @ table` is the sum of its vectors.
#
# <details><summary>Hint</summary>
#
# Start from `F.one_hot(ids, vocab_size)`, of shape `(B, T, V)`. Which dimension has to go?
#
# </details>


# %%
def bag(ids, vocab_size):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_bag(bag)

# %% [markdown]
# ### Exercise 2: How similar are two groups?
#
# *core · 15 minutes* · [Solution](../solutions/04_embeddings.ipynb#exercise-2-how-similar-are-two-groups)
#
# Given `vectors` of shape `(V, D)` and `groups`, a tensor `(V,)` with the number of each row's
# group (0 to G - 1, each with two rows or more), return a tensor `(G, G)`: entry `[g, h]` is the
# mean cosine over all pairs of *different* rows, one from group `g` and one from group `h`.
#
# <details><summary>Hint</summary>
#
# First make all cosines, `(V, V)`, from rows of length 1. Then take the block that belongs to `g`
# and `h`: `cosines[groups == g][:, groups == h]`. Within one group, what stands on the diagonal?
#
# </details>


# %%
def mean_cosines(vectors, groups):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_mean_cosines(mean_cosines)

# %% [markdown]
# ### Exercise 3: Two ways to the logits
#
# *stretch · 25 minutes* · [Solution](../solutions/04_embeddings.ipynb#exercise-3-two-ways-to-the-logits)
#
# Bengio et al. (2003) put the vectors of the window side by side, as you did. From the joined
# vector $x$ they computed the logits (section 2, equation 1):
#
# $$z = b + W x + U \tanh(d + H x)$$
#
# There is `tanh` in place of ReLU, and $W$, a direct way from $x$ to the logits that skips the
# hidden layer. Write the model with one `nn.Embedding` and three `nn.Linear`: $H$ with the bias
# $d$, from `context_length * d_model` to `d_hidden` numbers; $U$ with the bias $b$, to
# `vocab_size` logits; and $W$ without a bias. It maps ids `(B, T)` to logits `(B, V)`. (The
# solution trains it: does the direct way help?)
#
# <details><summary>Hint</summary>
#
# `flatten(1)` puts the vectors side by side. `bias=False` makes a linear layer without a bias, and
# `torch.tanh` works on each number of a tensor.
#
# </details>


# %%
class NeuralLM(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__()
        raise NotImplementedError("your code here")

    def forward(self, ids):
        raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_neural_lm(NeuralLM)

# %% [markdown]
# ## Recap
#
# - An **embedding** gives each token a vector. It is a linear layer on one-hot rows, read quickly.
# - You built a search for the **nearest vectors** by cosine, and a test that catches one which forgets the
#   lengths.
# - You saw letters of one kind **move together**, and why: similar futures, similar vectors.
# - You built two **window models**. Added, after a short training, eight lost to one. Side by side,
#   they beat the bigram: the order is worth more than 0.6 nats.
#   <!-- from: experiment-add-or-side-by-side "is worth more than" -->
#
# What is still wrong: you have to choose. A sum needs only the same few weights for any window, but
# cannot tell `on` from `no`. Side by side, the model knows the order, but it needs a piece of
# weights per place, and what one piece learns the others do not know. Can a sum know the order? In
# lesson [05](05_positions.ipynb) the *places* get vectors, too.
#
# The library's entry: [nearest_neighbors](../book/api.md#embedding).

# %% [markdown]
# ## To read
#
# - Bengio et al. (2003), *A Neural Probabilistic Language Model*, sections 1.1 and 2: why tables of
#   pasts fail, and the model of exercise 3.
# - Mikolov et al. (2013), *Efficient Estimation of Word Representations in Vector Space*, section
#   3.1: a model that averages on purpose, to learn vectors of words; section 4: what neighbours say.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
