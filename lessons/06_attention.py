# %% [markdown]
# # 06 · Attention
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/06_attention.ipynb)
#
# You build attention: each position decides, by what stands there, how much to take from
# every position before it.
#
# - **You will build** the causal mask, scaled dot-product attention, and a language model
#   with one head of it.
# - **You will see** why the scores are divided by a square root, and a bug that makes the loss
#   look wonderful, even on validation text.
# - **Needs** lessons [04](04_embeddings.ipynb) and [05](05_positions.ipynb).
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
# The counted bigram of lesson [02](02_bigram.ipynb) reads one character and reaches 2.4819
# nats. The window models of the last two lessons read eight, but each place in the window
# always gets the same weights, whatever character stands there. How can a position *choose*
# what to take? <!-- from: 02_bigram#smoothing "validation:" -->

# %% [markdown]
# ## The machine
#
# So far fixed weights joined a window. Attention chooses them anew at each position.

# %% mystnb={"image": {"alt": "Diagram of the model so far: token ids become vectors, positions are added, and the new part, attention, lets each position gather from itself and from earlier positions."}}
from lib.show import diagrams

diagrams.stream("attention")

# %% [markdown]
# ## By hand
#
# A Python dictionary takes a query and returns the value of the key that equals it. Attention
# is a soft dictionary: it returns a *mix* of all values, and a key that fits the query better
# gives its value a larger share.
#
# Take three words of a text: `cat`, `sleeps`, `it`. The word `it` wants to know who is meant, so
# it looks for a noun. Give each word two numbers that say what it is: (how much of a noun, how
# much of a verb). That is its **key**. What `it` looks for is its **query**: (1, 0), a noun.
# The **score** of a word is the [dot product](../book/glossary.md#dot-product) of query and
# key: multiply number by number, then add. The softmax turns the scores into shares. And each
# word hands over its **value**: here (an animal, an action).

# %%
import math

import torch

query = torch.tensor([1.0, 0.0])
keys = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])  # cat, sleeps, it
values = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
scores = keys @ query
print("scores:   ", scores.tolist())
print("e^scores: ", [round(s, 2) for s in scores.exp().tolist()])
print("weights:  ", [round(w, 2) for w in scores.softmax(dim=0).tolist()])
print("mix:      ", [round(m, 2) for m in (scores.softmax(dim=0) @ values).tolist()])

# %% [markdown]
# Check the first weight on paper: $7.39 / (7.39 + 1 + 2.72) = 0.67$. So `it` receives mostly
# "an animal". No table of word pairs was consulted: the weights came out of what the words
# *are*. That is [attention](../book/glossary.md#attention), except for a division and a mask.

# %% [markdown]
# ## The formula
#
# Write the queries of all positions as the rows of a matrix $Q$, the keys as the rows of
# $K$, the values as the rows of $V$:
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{D_h}}\right) V$$
#
# This is equation (1) in section 3.2.1 of Vaswani et al. (2017), who write $d_k$ for our
# $D_h$: all scores at once, divided; a softmax in each row; a weighted mean of the values.
#
# | symbol | shape | what it is |
# |---|---|---|
# | $Q$ | `(T, Dh)` | queries of $D_h$ numbers, in code `d_head`: what each position looks for |
# | $K$ | `(T, Dh)` | keys: what each position offers to be found by |
# | $V$ | `(T, Dv)` | values: what each position hands over; usually $D_v = D_h$ |
# | $Q K^\top$ | `(T, T)` | scores: row $i$, column $j$: how well query $i$ fits key $j$ |
#
# The same as a picture, with two things that come below: the three matrices that make $Q$, $K$ and
# $V$, and a mask.

# %% mystnb={"image": {"alt": "Diagram: the vectors x of shape (T, D) are multiplied by three matrices and become queries, keys and values; queries and keys give a T by T table of scores, the softmax turns it into weights, and the weights mix the values."}}
diagrams.qkv()

# %% [markdown]
# ## Build
#
# ### A matrix product can take means
#
# Forget choosing for a moment, and let each position take the plain mean of itself and
# everything before it. `tril` keeps the lower triangle of a matrix and sets the rest to 0.
# Look at the rows of `shares`.

# %%
x = torch.tensor([[2.0, 0.0], [4.0, 8.0], [0.0, 4.0], [2.0, 4.0]])  # (T, 2)
triangle = torch.ones(4, 4).tril()
shares = triangle / triangle.sum(dim=1, keepdim=True)
for row in shares.tolist():
    print([round(share, 2) for share in row])
print("means:", (shares @ x).tolist())

# %% [markdown]
# Row $i$ holds the shares of position $i$: the first takes all of itself, the second one half
# and one half, and so on. **A matrix product with shares in its rows mixes positions.** That
# is the second half of attention. What is missing is the choice.
#
# Which positions may be looked at is a table of its own, the [causal
# mask](../book/glossary.md#causal-mask): true where the column is not later than the row.
# (`require_sizes` refuses a length below 1.)

# %% tags=["lib:attention.causal_mask"]
from torch import Tensor

from lib.shapes import require_sizes


def causal_mask(length: int) -> Tensor:
    require_sizes(length=length)
    return torch.ones(length, length, dtype=torch.bool).tril()


# %% [markdown]
# Now reach the same shares by a softmax. Give every position the score 0, and every
# forbidden one the score $-\infty$. `~` swaps true and false; `masked_fill` writes a number
# wherever a mask is true.

# %%
scores = torch.zeros(4, 4).masked_fill(~causal_mask(4), -math.inf)
print("scores of row 1:", scores[1].tolist())
print("shares of row 1:", scores.softmax(dim=-1)[1].tolist())
assert torch.allclose(scores.softmax(dim=-1), shares)

# %% [markdown]
# As $e^0 = 1$ and $e^{-\infty} = 0$, the allowed positions share equally. This way has a
# place for a choice: put scores that depend on the content where the zeros are.

# %% mystnb={"image": {"alt": "Diagram: a grid with a row for each position that looks and a column for each position that is looked at. The triangle above the diagonal, the future, is hatched; one row is outlined."}}
diagrams.attention_grid()

# %% [markdown]
# ### Queries, keys, values
#
# Nobody writes noun-and-verb numbers by hand. Each position has a vector of `d_model`
# numbers, and three learned matrices turn it into its query, its key and its value: *what I
# look for*, *what I offer to be found by*, *what I hand over*. `nn.Linear(d_model, d_head,
# bias=False)` is such a matrix; `transpose(-2, -1)` swaps the last two dimensions, so that
# `@` multiplies every query with every key, in each text of the batch by itself. Follow the shapes.

# %%
from torch import nn

torch.manual_seed(0)
to_q, to_k, to_v = (nn.Linear(64, 16, bias=False) for _ in range(3))
x = torch.randn(2, 6, 64)  # (B, T, D)
q, k, v = to_q(x), to_k(x), to_v(x)  # each (B, T, Dh)
scores = q @ k.transpose(-2, -1)  # (B, T, T)
print("q, k, v:", tuple(q.shape), " scores:", tuple(scores.shape))

# %% [markdown]
# Why *three* matrices? A position may look for something that it is not itself, as `it`
# looked for a noun; and the key by which it is found need not equal the value that it gives.

# %% [markdown]
# ### Why divide by a square root
#
# Suppose that the numbers in queries and keys are drawn independently, with mean 0 and variance
# (mean square) 1. Then each product of two has mean 0 and variance 1 as well. Variances of
# independent numbers add up: a score, the sum of $D_h$ products, has variance $D_h$. Its typical size,
# the standard deviation, is the root, $\sqrt{D_h}$ (footnote 4 of the paper). Measure it: a thousand queries, eight keys each. Look at the
# largest of the eight weights, on average; an equal share would be one eighth.


# %%
def largest_weight(scores):
    return scores.softmax(dim=-1).max(dim=-1).values.mean().item()


generator = torch.Generator().manual_seed(0)
for d_head in (4, 16, 64, 256):
    q = torch.randn(1_000, 1, d_head, generator=generator)
    k = torch.randn(1_000, 8, d_head, generator=generator)
    scores = q @ k.transpose(-2, -1)  # (1000, 1, 8)
    raw, divided = largest_weight(scores), largest_weight(scores / math.sqrt(d_head))
    print(f"d_head {d_head:3}: std {scores.std():4.1f}, largest {raw:.2f}", end="")
    print(f"; divided: {divided:.2f}")
    assert abs(scores.std() / math.sqrt(d_head) - 1) < 0.05

# %% [markdown]
# With 256 numbers, one of the eight wins almost everything, by pure chance. Then a small change
# of a score hardly changes the weights, so almost no gradient comes back (*Deeper*, below).
# Divided by $\sqrt{D_h}$, the scores begin at the same size for every `d_head`. A trained head
# may well learn larger ones.

# %% [markdown]
# ### Attention
#
# Now the formula in code. The three dots in a shape `(..., T, Dh)` stand for any dimensions in
# front, such as the batch; `T_q` and `T_k` are the numbers of queries and of keys.


# %% tags=["naive:attention.attention_weights"]
def attention_weights(q, k, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if mask is None:
        return scores.softmax(dim=-1)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)  # the softmax of a row of -inf is NaN


# %% tags=["naive:attention.scaled_dot_product_attention"]
def scaled_dot_product_attention(q, k, v, mask=None):
    weights = attention_weights(q, k, mask)
    return weights @ v, weights


# %% [markdown]
# What is the last line of `attention_weights` for? A position that may look at *nothing* has
# only scores of $-\infty$, and its softmax divides 0 by 0: NaN, "not a number".

# %%
nothing = torch.zeros(1, 3, dtype=torch.bool)  # none of three may be looked at
print("softmax:", torch.full((1, 3), -math.inf).softmax(dim=-1).tolist())
query, keys = torch.randn(1, 4), torch.randn(3, 4)
print("ours:   ", attention_weights(query, keys, nothing).tolist())

# %% [markdown]
# Such a row takes nothing from anyone. The library's [version](../book/api.md#attention) also refuses shapes that do not fit, and
# it calls PyTorch's *fused* kernel if the weights are not needed: that one never stores the
# `(T, T)` table. All give the same numbers.

# %% tags=["same:attention.scaled_dot_product_attention", "same:attention.attention_weights", "proof"]
# @title Proof: ours equals the library's, fused and not
from lib import attention as library

q, k, v = torch.randn(3, 2, 1, 6, 16)  # three times (B, 1, T, Dh)
ours, weights = scaled_dot_product_attention(q, k, v, causal_mask(6))
fused, none = library.scaled_dot_product_attention(q, k, v, causal_mask(6))
assert none is None and torch.allclose(ours, fused, atol=1e-6)
plain, theirs = library.scaled_dot_product_attention(
    q, k, v, causal_mask(6), need_weights=True
)
assert torch.allclose(ours, plain) and torch.allclose(weights, theirs)
assert torch.allclose(weights, library.attention_weights(q, k, causal_mask(6)))
assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 1, 6))
print("ours = the library's = PyTorch's fused kernel")

# %% [markdown]
# ### A head, and a language model around it
#
# The three matrices and the function make one [head](../book/glossary.md#head) of attention.
# Here queries, keys and values come from the same text: *self-attention*. This head is as
# wide as the model. (The last layer of a model, which makes the logits, is called a head too.)


# %%
class Head(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.k = nn.Linear(d_model, d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, mask):
        output, _ = scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), mask)
        return output


# %% [markdown]
# In front of the head belong the token and position vectors of the last two lessons, behind
# it a layer that makes logits. This frame stays until lesson 09; only the `blocks` in its
# middle will grow. `nn.ModuleList` is a list whose modules count as parts of the model.

# %% tags=["naive:models.language_model.LanguageModel"]
from lib.position import LearnedPositions


class LanguageModel(nn.Module):
    def __init__(self, vocab_size, d_model, context_length, blocks):
        super().__init__()
        self.context_length = context_length
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = LearnedPositions(context_length, d_model)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, ids):
        mask = causal_mask(ids.size(1))
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(x)  # (B, T, D) -> (B, T, V)


# %% tags=["same:models.language_model.LanguageModel", "proof"]
# @title Proof: the library's LanguageModel computes the same
from lib.models import language_model as library

ours = LanguageModel(vocab_size=10, d_model=8, context_length=6, blocks=[Head(8)])
theirs = library.LanguageModel(10, 8, 6, [Head(8)])
theirs.load_state_dict(ours.state_dict())
ids = torch.randint(10, (2, 6), generator=torch.Generator().manual_seed(0))
assert torch.equal(ours(ids), theirs(ids))
print("same weights, same logits")

# %% [markdown]
# The data, and the counted bigram to compare with.

# %% tags=["corpus"]
from lib.models.bigram import count_pairs
from lib.text.batches import split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
pairs = (count_pairs(train, V) + 1).double()
pairs /= pairs.sum(dim=1, keepdim=True)
bigram_loss = -pairs[validation[:-1], validation[1:]].log().mean().item()
print(f"{corpus.name}; counted bigram: {bigram_loss:.4f} nats")

# %% [markdown]
# How large is the model? Look at where the [parameters](../book/glossary.md#parameter) are.

# %%
model = LanguageModel(V, d_model=64, context_length=32, blocks=[Head(64)])
for name, parameter in model.named_parameters():
    print(f"{name:22} {str(tuple(parameter.shape)):9} {parameter.numel():6,}")
n_parameters = sum(parameter.numel() for parameter in model.parameters())
print(f"{n_parameters:,} parameters")

# %% [markdown]
# 22,721, more than half of them in the three matrices of attention (`blocks.0`). Their size does
# not depend on the length of the text: the weights of attention are computed, not stored.

# %% [markdown]
# ## Check
#
# Ours equals PyTorch's `F.scaled_dot_product_attention`, outputs and gradients.

# %% tags=["proof"]
# @title Proof: outputs and gradients equal PyTorch's, with three masks
from torch.nn import functional as F

no_row = causal_mask(6)
no_row[2] = False
for name, mask in (("no", None), ("causal", causal_mask(6)), ("empty row", no_row)):
    q, k, v = (torch.randn(2, 1, 6, 16, requires_grad=True) for _ in range(3))
    torchs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    ours, _ = scaled_dot_product_attention(q, k, v, mask)
    assert torch.allclose(ours, torchs, atol=1e-6)
    grads = (torch.autograd.grad(o.square().sum(), (q, k, v)) for o in (ours, torchs))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*grads))
    print(f"{name} mask: equal outputs, equal gradients")

# %% [markdown]
# ### The classic bug: a leak from the future
#
# A model that predicts the next character must not see it. Two ways to get that wrong: a
# triangle that is one too wide, and a mask that comes *after* the softmax, when the future has
# already been counted in the denominator. (`ones_like` makes ones of the same shape and type, and
# `tril(diagonal=1)` keeps one diagonal more.)


# %%
class OneTooWide(Head):
    def forward(self, x, mask):
        return super().forward(x, torch.ones_like(mask).tril(diagonal=1))


class MaskTooLate(Head):
    def forward(self, x, mask):
        weights = attention_weights(self.q(x), self.k(x))
        return (weights * mask) @ self.v(x)


# %% [markdown]
# The test costs no training: change the *last* token, and see whether the logits of any
# *earlier* position change. An honest model cannot know.


# %%
@torch.no_grad()
def sees_the_future(model):
    ids = torch.arange(8).unsqueeze(0)  # (1, T): any tokens will do
    changed = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 9]])
    before, after = model(ids)[:, :-1], model(changed)[:, :-1]
    return not torch.allclose(before, after, atol=1e-6)


for kind in (Head, OneTooWide, MaskTooLate):
    torch.manual_seed(0)
    model = LanguageModel(V, d_model=64, context_length=32, blocks=[kind(64)])
    print(f"{kind.__name__:12} sees the future: {sees_the_future(model)}")
    assert sees_the_future(model) == (kind is not Head)

# %% [markdown]
# What happens to those who skip the test? Train all three for a short while, and look at the
# loss on the *validation* split.


# %%
from lib.text.batches import random_batch
from lib.train import estimate_loss, fit


def train_model(kind, n_steps, seed):
    torch.manual_seed(seed)
    model = LanguageModel(V, d_model=64, context_length=32, blocks=[kind(64)])
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: random_batch(train, 32, 32, generator)
    losses = fit(model, next_batch, n_steps=n_steps, learning_rate=3e-3)
    return model, losses


# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

short = {}
for kind in (Head, OneTooWide, MaskTooLate):
    short[kind], _ = train_model(kind, n_steps=200, seed=0)
    loss = estimate_loss(short[kind], validation, 32)
    print(f"{kind.__name__:12} {loss:.2f} nats on the validation split")
    claim((loss < 0.3) == (kind is OneTooWide), "only the model that copies looks good")
cheat = short[OneTooWide]

# %% [markdown]
# A tenth of a nat, on text that it has never seen! That is far below the floor that people set
# in lesson [01](01_text_and_tokens.ipynb). A small model that does it is not brilliant but broken. **The
# validation loss does not find it**, for the future stands in the validation text as well. Let
# it write:

# %% tags=["corpus", "sample"]
from lib.generate import sample

prompt = torch.tensor([tokenizer.encode("T")])
generator = torch.Generator().manual_seed(0)
print(repr(tokenizer.decode(sample(cheat, prompt, 60, 1.0, generator)[0])))

# %% [markdown]
# It has learned to copy the next place. At the last place there is none, and all that it can
# copy is itself. **A wonderful loss with terrible text is a sign of a leak.** The second leak
# has an ordinary loss: only the test finds it.
#
# Another bug hides well: dividing by the root of `d_model` instead of `d_head`. In our `Head`
# both are equal, so a test of it cannot catch that. **Test with sizes that differ.**

# %% [markdown]
# ## Look
#
# ### How widely does it look?
#
# One number says how spread out a row of weights is: its
# [entropy](../book/glossary.md#entropy) $-\sum_j w_j \ln w_j$, as in lesson
# [01](01_text_and_tokens.ipynb). `torch.special.entr(w)` is $-w \ln w$, and 0 where $w$ is 0.
# (`at_least_float32` matters only for numbers that are stored with few digits.)

# %% tags=["lib:evaluate.attention_maps.attention_entropy"]
from lib.device import at_least_float32


def attention_entropy(weights: Tensor) -> Tensor:
    return torch.special.entr(at_least_float32(weights)).sum(dim=-1)


# %%
for row in ([1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]):
    entropy = attention_entropy(torch.tensor(row)).item()
    print(row, f"{entropy:.3f} nats, as if {math.exp(entropy):.0f} alike")

# %% [markdown]
# Now a line in which each *different* character has a random vector, used as query and as key:
# each position looks for its own character. Nothing is learned. The slider multiplies the
# scores. At which factor does the last `e` give all its weight to the two `e`, half to each?

# %%
from lib.show import plot

line = "to be or not to be"
generator = torch.Generator().manual_seed(0)
vectors = {c: torch.randn(16, generator=generator) for c in sorted(set(line))}
x = torch.stack([vectors[c] for c in line])  # (T, 16)

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider

labels, mask = plot.visible(list(line)), causal_mask(len(line))
axes = "at this position", "this position looks"


def draw(factor):
    weights = attention_weights(factor * x, x, mask)
    return plot.heat_map(weights, labels, labels, *axes, (5.6, 5), 1.0, label="weight")


def describe(factor):
    weights = attention_weights(factor * x, x, mask)
    entropy, first_e = attention_entropy(weights).mean(), weights[-1, 4]
    return (
        f"Factor {factor}: mean entropy {entropy:.2f} nats; the last e puts "
        f"{first_e:.2f} on the e of the first be, {weights[-1, -1]:.2f} on itself."
    )


slider(draw, [0, 0.25, 0.5, 1, 2, 4], "factor on the scores", alt=describe, start=3)

# %% [markdown]
# *At factor 0 every position takes the mean of its past; as the factor grows, the weight
# gathers on equal characters, however far back they are. At 4 the two `e` share all of it.*
#
# A model can learn such a factor: longer queries make sharper choices.

# %% [markdown]
# ## Experiment: one head on Shakespeare
#
# Two models in the same frame. One has a `Head`. The other takes the plain mean of the past:
# it has values, and no choice.


# %%
class Mean(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.v = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, mask):
        return (mask / mask.sum(dim=-1, keepdim=True)) @ self.v(x)


# %% [markdown]
# After a hundred steps the mean hardly improves.

# %% tags=["corpus", "measured"]
import time

mean_model, mean_curve = train_model(Mean, n_steps=400, seed=0)
mean_loss = estimate_loss(mean_model, validation, 32)
start = time.process_time()
runs = [train_model(Head, n_steps=1_500, seed=seed) for seed in range(3)]
seconds = (time.process_time() - start) / 3
losses = [estimate_loss(model, validation, 32) for model, _ in runs]
head_loss = sum(losses) / 3
print(f"plain mean of the past: {mean_loss:.2f} nats")
print(f"one head: {head_loss:.4f} nats; seeds {[round(loss, 2) for loss in losses]}")
claim(mean_loss > bigram_loss + 0.4, "the plain mean of the past is far worse")
claim(max(losses) < bigram_loss - 0.07, "the head is better than the bigram")

# %% [markdown]
# A plain mean, with no nonlinearity before it, is a bag of tokens, far worse than reading one
# character. With a choice the same window beats the bigram by about a tenth of a nat, with every
# seed. (Not yet the window models of lessons 04 and 05, which have a hidden layer.)

# %% tags=["corpus"] mystnb={"image": {"alt": "Line chart of training losses, each point a mean over 50 steps. The plain mean of the past flattens out near three nats. The head falls below the dashed line of the counted bigram and goes on falling slowly."}}
curves = {"one head": runs[0][1], "mean of the past": mean_curve}
smooth = {
    name: torch.tensor(curve).unfold(0, 50, 1).mean(dim=-1).tolist()
    for name, curve in curves.items()
}
plot.loss_curve(smooth, {"bigram, counted (validation)": bigram_loss})

# %% [markdown]
# *Training losses, each point a mean over 50 steps (`unfold` cuts a row of numbers into
# windows), and the validation loss of the bigram as a dashed line. The mean of the past
# flattens out far above it; the head goes below.*
#
# ### Where does it look?
#
# Take many windows of the validation split, and all three models. `diagonal(-n, 1, 2)` takes the
# weights of what stands $n$ places back; the entropy is that of the last position.


# %%
@torch.no_grad()
def head_weights(model, ids):
    head, x = model.blocks[0], model.positions(model.tokens(ids))
    return attention_weights(head.q(x), head.k(x), causal_mask(ids.size(1)))


# %% tags=["corpus", "measured:wide"]
from lib.text.batches import consecutive_batches

windows, _ = next(consecutive_batches(validation, 500, 32))
for model, _ in runs:
    weights = head_weights(model, windows)  # (B, T, T)
    back = [weights.diagonal(-n, 1, 2).mean().item() for n in range(4)]
    entropy = attention_entropy(weights)[:, -1].mean().item()
    print("own, 1, 2, 3 back:", [round(w, 2) for w in back], f"; entropy {entropy:.1f}")
    claim(back[0] > 0.5, "most of the weight stays on its own character")
    claim(back[1] > max(0.1, *back[2:]), "most of the rest goes one back")

# %% [markdown]
# All three tell the same story: more than half of the weight stays on the character itself, most
# of the rest goes one back. A row sums to 1, so weight on other characters is taken from the one
# that matters most.
#
# The rung for the [ladder](../book/ladder.md), with what the model writes:

# %% tags=["corpus", "sample"]
from lib.show.ladder import rung

generator = torch.Generator().manual_seed(1)
text = tokenizer.decode(sample(runs[0][0], prompt, 160, 1.0, generator)[0, 1:])
rung("One head of attention", n_parameters, head_loss, seconds, text, seeds=3)

# %% [markdown]
# ## Predict, then run
#
# <details><summary>Take the positions away and swap two characters in the past. What changes in the output of the last position?</summary>
#
# Nothing. The output is a sum over positions, and a sum has no order. Only position vectors
# tell in which order its past stands.
#
# </details>
#
# <details><summary>All keys are zero. What are the weights?</summary>
#
# All scores are 0, so each position takes the plain mean of itself and its past. The entropy
# at position $i$, counted from 0, is $\ln (i + 1)$.
#
# </details>
#
# <details><summary>You double the length of the text. How many scores are computed, and how many parameters does the head have?</summary>
#
# Four times as many scores; the same parameters. That is the price of letting everyone look at
# everyone. Lesson 20 is about it.
#
# </details>

# %% tags=["answer"]
# @title Answers: swapped, without keys, twice as long
head, ids = runs[0][0].blocks[0], torch.arange(8)
swapped = ids[[1, 0, 2, 3, 4, 5, 6, 7]]
with torch.no_grad():
    tokens = runs[0][0].tokens
    outputs = [head(tokens(i), causal_mask(8))[-1] for i in (ids, swapped)]
assert torch.allclose(*outputs, atol=1e-5)

weights = attention_weights(torch.randn(8, 16), torch.zeros(8, 16), causal_mask(8))
assert torch.allclose(attention_entropy(weights), torch.arange(1, 9).log())
for length in (32, 64):
    q = torch.randn(length, 16)
    print(f"{length} positions: {attention_weights(q, q).numel():,} scores")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_06 import (
    check_dependencies,
    check_effective_positions,
    check_local_mask,
    check_previous_token,
)

# %% [markdown]
# ### Exercise 1: How many positions alike
#
# *warm-up · 5 minutes* · [Solution](../solutions/06_attention.ipynb#exercise-1-how-many-positions-alike)
#
# An entropy of $\ln n$ nats means "as if $n$ positions got the same weight". Turn weights
# `(..., T)`, whose rows sum to 1, into that number $n$ for each row, a tensor `(...)`. Weights
# may be exactly 0.
#
# <details><summary>Hint</summary>
#
# Which function undoes the logarithm? And mind $0 \ln 0$: `attention_entropy` does.
#
# </details>


# %%
def effective_positions(weights):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_effective_positions(effective_positions)

# %% [markdown]
# ### Exercise 2: Only the near past
#
# *core · 10 minutes* · [Solution](../solutions/06_attention.ipynb#exercise-2-only-the-near-past)
#
# Many models let a position look only at a *window*: itself and the `window - 1` positions before
# it. Return that mask as a bool tensor `(length, length)`,
# true where row $i$ may look at column $j$. `window` is at least 1, and may be larger than
# `length`.
#
# <details><summary>Hint</summary>
#
# Combine the causal mask with `& ~` what is too far back. `tril(diagonal=-n)` keeps what is
# $n$ or more places left of the main diagonal. Or compare row numbers with column numbers.
#
# </details>


# %%
def local_mask(length, window):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_local_mask(local_mask)

# %% [markdown]
# ### Exercise 3: What depends on what
#
# *core · 20 minutes* · [Solution](../solutions/06_attention.ipynb#exercise-3-what-depends-on-what)
#
# `sees_the_future` says yes or no. Build the whole picture. `mix` is any function that takes
# vectors `(T, D)` and returns vectors `(T, E)`. Given `mix` and some random `x` of shape `(T,
# D)`, return a bool tensor `(T, T)`: entry $(i, j)$ is true where row $i$ of the output changes
# when row $j$ of `x` is replaced by other random numbers. Leave `x` as it is. For causal
# attention the result is the causal mask.
#
# <details><summary>Hint</summary>
#
# One $j$ at a time: copy `x`, change row $j$ of the copy, call `mix`, compare with the output
# for `x`. Which rows differ is *column* $j$ of the answer.
#
# </details>


# %%
def dependencies(mix, x):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_dependencies(dependencies)

# %% [markdown]
# ### Exercise 4: A head that looks one step back
#
# *stretch · 30 minutes* · [Solution](../solutions/06_attention.ipynb#exercise-4-a-head-that-looks-one-step-back)
#
# Training finds queries and keys. Here you choose them. Return a pair `(q, k)` of tensors, each
# `(length, Dh)`, with any `Dh` that you like, such that in `attention_weights(q, k,
# causal_mask(length))` every position but the first puts at least nine tenths of its weight on
# the position right before it. (The first can only look at itself.) It must work for any
# `length` from two to a hundred.
#
# <details><summary>Hint</summary>
#
# Let each key say "I am position $j$", in numbers that are all 0 but one: `torch.eye(length)`
# has such rows. What must the query of position $i$ say? Then make the scores large: remember
# that they are divided by $\sqrt{D_h}$, and that all the other positions together may get a
# tenth.
#
# </details>


# %%
def previous_token(length):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_previous_token(previous_token)

# %% [markdown]
# ## Recap
#
# - You built the **causal mask** and **attention**: scores from queries and keys, a softmax, a
#   weighted mean of values.
# - You saw why the scores are **divided by $\sqrt{D_h}$**: without it, the softmax of a large
#   head begins with a winner.
# - You saw a **leak** reach a tenth of a nat and write one letter again and again, and a test
#   that finds it before any training.
# - You put one head into a **language model**, which beats the bigram by about a tenth of a
#   nat.
#
# What is still wrong: each position has one row of weights, and it sums to 1. To look at two
# things, a head has to blur them. Lesson [07](07_multi_head_attention.ipynb) gives it several
# rows at once.
#
# The library's entries: [causal_mask, attention_weights and
# scaled_dot_product_attention](../book/api.md#attention),
# [attention_entropy](../book/api.md#evaluateattention_maps),
# [LanguageModel](../book/api.md#modelslanguage_model).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, section 3.2.1 with footnote 4, and the
#   last paragraph of section 3.2.3: this lesson in one page.
# - Bahdanau et al. (2015), *Neural Machine Translation by Jointly Learning to Align and
#   Translate*: attention before the Transformer; figure 3 shows maps like yours.
# - Clark et al. (2019), *What Does BERT Look At?*, section 3: heads of a trained model,
#   described by where they look, their entropy among other things.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: why a softmax with a winner does not learn
#
# When a score grows a little, its weight $w$ grows by $w (1 - w)$ times as much. (Take the
# [derivative](../book/mathematics.md#derivative) of $1 / (1 + \text{rest} \cdot e^{-s})$.) Check it with
# PyTorch on the three words of the beginning.

# %%
s = torch.tensor([2.0, 0.0, 1.0], requires_grad=True)
w = s.softmax(dim=0)
w[0].backward()
print(f"PyTorch: {s.grad[0]:.3f}, w (1 - w): {(w[0] * (1 - w[0])).item():.3f}")

# %% [markdown]
# The slope is almost 0 when $w$ is near 0 *or* near 1: such a softmax is *saturated*, and
# hardly any gradient gets through. Draw its mean for growing heads, with the division and
# without.

# %% mystnb={"image": {"alt": "Line chart of the mean slope of the softmax over d_head from 4 to 256. Divided by the square root the line is flat; without the division it falls steeply, to less than a fifth of where it starts."}}
def mean_slope(d_head, scale):
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1_000, n, d_head, generator=generator) for n in (1, 8))
    w = (q @ k.transpose(-2, -1) / scale).softmax(dim=-1)
    return (w * (1 - w)).mean().item()


sizes = (4, 8, 16, 32, 64, 128, 256)
raw = [mean_slope(d_head, 1.0) for d_head in sizes]
divided = [mean_slope(d_head, math.sqrt(d_head)) for d_head in sizes]
print(f"d_head 4 to 256: {raw[0]:.3f} to {raw[-1]:.3f} without the division")
assert raw[-1] < raw[0] / 5 and max(divided) < 1.1 * min(divided)
lines = {"divided by the square root": divided, "not divided": raw}
plot.line_chart(lines, "d_head", "mean slope of the softmax", x=sizes)

# %% [markdown]
# *Divided by $\sqrt{D_h}$ the softmax keeps its slope at every size; without the division the
# slope dies as the heads grow.*

# %% [markdown]
# ## Deeper: where the leak pays
#
# The last position of a window has nothing after it to copy from. Measure it apart from the
# others.

# %% tags=["corpus", "measured"]
from lib.evaluate.losses import cross_entropy

inputs, targets = next(consecutive_batches(validation, 2_000, 32))
with torch.no_grad():
    logits = cheat(inputs)
last = cross_entropy(logits[:, -1], targets[:, -1]).item()
others = cross_entropy(logits[:, :-1], targets[:, :-1]).item()
print(f"last position {last:.1f} nats, all others {others:.3f} nats")
claim(last > 2.5 and others < 0.2, "nearly all of the loss is at the last position")

# %% [markdown]
# The one position of 32 that cannot copy pays for nearly all of the loss.
