# %% [markdown]
# # 06 · Attention
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/06_attention.ipynb)
#
# You build attention: each position decides, by
# what stands there, how much to take from every position before it.
#
# - **You will build** the causal mask, scaled dot-product attention, a measure of how widely it
#   looks around, and a language model around it.
# - **You will see** why the scores are divided by a square root, and a bug that makes every
#   loss look wonderful.
# - **Needs** lessons [02](02_bigram.ipynb) and [04](04_embeddings.ipynb).
# - **Takes** about three hours to read and do; the notebook runs in under 60 s.

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
# The counted bigram of lesson [02](02_bigram.ipynb) stands at 2.4819 nats and reads one
# character. Lesson [04](04_embeddings.ipynb) read a whole window, but took the
# same share of every character in it, whatever that character was. How can a position *choose*
# what to take? <!-- from: 02_bigram#smoothing "validation:" -->

# %% [markdown]
# ## By hand
#
# Three words: `cat sleeps it`. The word `it` wants to know who is meant, so it looks for a
# noun. Give each word a pair of numbers that says what it is: (how much of a noun, how much of
# a verb). That is its **key**. What `it` looks for is a pair of the same kind, its **query**:
# (1, 0), a noun please. The **score** of a word is the dot product of the query and its key:
# multiply number by number, add up.
#
# The [softmax](../book/glossary.md#softmax) turns the three scores into shares. Each word also
# has something to hand over, its **value**: here (an animal, an action). Look at which word
# gets the most weight, and at the mix that arrives.

# %%
import math

import torch

words = ["cat", "sleeps", "it"]
query = torch.tensor([1.0, 0.0])
keys = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
values = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
scores = keys @ query
weights = scores.softmax(dim=0)
for word, score, weight in zip(words, scores.tolist(), weights):
    print(f"{word:7} score {score:.0f}, e^score {math.exp(score):.2f}: {weight:.2f}")
print(f"sum of e^score: {scores.exp().sum():.2f}")
print("mix:", [round(number, 2) for number in (weights @ values).tolist()])

# %% [markdown]
# On paper: $7.39 / 11.11 = 0.67$. So `cat` gives two thirds of what `it` receives, and the mix
# is mostly "an animal". Nothing was looked up in a table of pairs of words: the weights came
# out of what the words *are*. That is all of [attention](../book/glossary.md#attention), but
# for one division and one mask.

# %% [markdown]
# ## The formula
#
# Write the queries of all positions as the rows of a matrix $Q$, the keys as the rows of $K$,
# the values as the rows of $V$:
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{D_h}}\right) V$$
#
# For one position $i$ that is a weighted mean of the values,
#
# $$o_i = \sum_j w_{ij} \, v_j \qquad w_{ij} = \frac{e^{s_{ij}}}{\sum_{m} e^{s_{im}}} \qquad s_{ij} = \frac{q_i \cdot k_j}{\sqrt{D_h}}$$
# where $j$ and $m$ run over the positions that $i$ may look at. The softmax goes row by row.
# $D_h$, in code `d_head`, is how many numbers a query and a key have; $D_v$ is how many a
# value has.
#
# | symbol | shape | what it is |
# |---|---|---|
# | $Q$ | `(T, Dh)` | queries: what each position looks for |
# | $K$ | `(T, Dh)` | keys: what each position offers to be found by |
# | $V$ | `(T, Dv)` | values: what each position hands over |
# | $s_{ij}$ | `(T, T)` | scores: row = the position that looks, column = the one looked at |
# | $w_{ij}$ | `(T, T)` | weights; each **row** sums to 1 |
# | $o_i$ | `(T, Dv)` | output: what each position receives |
#
# In the paper, Vaswani et al. (2017), this is equation (1) in section 3.2.1; the mask is in
# section 3.2.3. (There $d_k$ is our $D_h$.)

# %% [markdown]
# ## Build
#
# ### Averaging the past, three ways
#
# Start with weights that do *not* depend on what stands there: each position takes the mean of
# itself and everything before it. Four positions with two numbers each, first with a loop, then
# as one matrix product. `tril` keeps the lower triangle of a matrix and sets the rest to 0;
# `stack` puts rows on top of each other.

# %%
x = torch.tensor([[2.0, 0.0], [4.0, 8.0], [0.0, 4.0], [2.0, 4.0]])  # (T, 2)
by_loop = torch.stack([x[: i + 1].mean(dim=0) for i in range(len(x))])

triangle = torch.ones(4, 4).tril()
shares = triangle / triangle.sum(dim=1, keepdim=True)
print([[round(share, 2) for share in row] for row in shares.tolist()])
print((shares @ x).tolist())
assert torch.allclose(shares @ x, by_loop)

# %% [markdown]
# Row $i$ of `shares` holds the weights of position $i$: the first takes all of itself, the
# second one half and one half, and so on. **A matrix product with weights in its rows mixes
# positions.** That is the second half of attention; only the weights are still missing their
# choice.
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
# The third way to the same mean: give all positions the score 0, the forbidden ones the score
# $-\infty$, and take the softmax. `~` turns true and false around; `masked_fill` writes a
# number wherever a mask is true. As $e^0 = 1$ and $e^{-\infty} = 0$, the allowed positions
# share equally.

# %%
mask = causal_mask(4)
print(mask.int().tolist())
masked_zeros = torch.zeros(4, 4).masked_fill(~mask, -math.inf)
by_softmax = masked_zeros.softmax(dim=-1) @ x
assert torch.allclose(by_softmax, by_loop)
print("loop, matrix product and softmax agree")

# %% [markdown]
# Three ways, one result. The third has a place for a choice: replace the zeros by scores that
# depend on the content.

# %% [markdown]
# ### Queries, keys, values
#
# Nobody writes noun-and-verb numbers by hand. Each position has a vector $x_i$ of `d_model`
# numbers, and three learned matrices turn it into its query, its key and its value. The image
# to keep: the query is *what I look for*, the key is *what I offer to be found by*, the value
# is *what I hand over*.
#
# `nn.Linear(d_model, d_head, bias=False)` is such a matrix. `transpose(-2, -1)` swaps the last
# two dimensions, and `@` multiplies the matrices of a batch side by side. Look at the shapes.

# %%
from torch import nn

torch.manual_seed(0)
d_model, d_head = 64, 16
x = torch.randn(2, 6, d_model)  # (B, T, D)
to_q, to_k, to_v = (nn.Linear(d_model, d_head, bias=False) for _ in range(3))
q, k, v = to_q(x), to_k(x), to_v(x)
scores = q @ k.transpose(-2, -1)
print("q, k, v:", tuple(q.shape), " scores:", tuple(scores.shape))
assert torch.allclose(scores[1, 4, 2], q[1, 4] @ k[1, 2], atol=1e-5)

# %% [markdown]
# One product gives every query's score with every key: a 6 by 6 table for each of the two
# sequences. Why *three* matrices? A position may look for something that it is not itself, as
# `it` looked for a noun; and what makes it easy to find need not be what it has to say.

# %% [markdown]
# ### Why divide by a square root
#
# A score is a sum of `d_head` products. If the numbers in a query and a key are independent,
# with mean 0 and variance 1, then each product has mean 0 and variance 1 too, and variances of
# independent terms add up. So the score has variance `d_head`, and the standard deviation
# $\sqrt{D_h}$. (Footnote 4 of the paper has this argument.) Measure it: a thousand random
# queries, eight random keys each. Look at the standard deviation and at the mean of the largest
# of the eight weights.

# %%
sizes = (4, 16, 64, 256)
for d_head in sizes:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1_000, 1, d_head, generator=generator)
    k = torch.randn(1_000, 8, d_head, generator=generator)
    scores = q @ k.transpose(-2, -1)  # (1000, 1, 8)
    largest = scores.softmax(dim=-1).max(dim=-1).values.mean()
    scaled = (scores / math.sqrt(d_head)).softmax(dim=-1).max(dim=-1).values.mean()
    print(f"d_head {d_head:3}: std {scores.std():4.1f}, largest {largest:.2f}", end="")
    print(f"; after division: std {scores.std() / math.sqrt(d_head):.1f}, {scaled:.2f}")
    assert abs(scores.std() / math.sqrt(d_head) - 1) < 0.05

# %% [markdown]
# The larger the vectors, the larger the scores: with 256 numbers the winner takes 0.94 of
# everything, by pure chance. Divided by $\sqrt{D_h}$, the scores have the same size for every
# `d_head`, and the winner takes 0.36. (All this is about the start. In a trained head queries
# and keys are no longer independent, and it may well have learned larger scores.)
#
# A winner who takes everything is bad for learning. When its own score grows a little, a weight
# $w$ of a softmax grows by $w (1 - w)$ times as much. (Take the slope of $e^{s} / (e^{s} +
# \text{rest})$.) That is almost 0 when $w$ is near 0 *or* near 1: the softmax is *saturated*,
# and hardly any gradient gets through it. First check the slope on the scores of the three
# words, then draw its mean for growing `d_head`, with and without the division.

# %%
s = torch.tensor([2.0, 0.0, 1.0], requires_grad=True)
w = s.softmax(dim=0)
w[0].backward()
print(f"PyTorch: {s.grad[0]:.3f}, w (1 - w): {(w[0] * (1 - w[0])).item():.3f}")
assert torch.allclose(s.grad[0], w[0] * (1 - w[0]))


# %% mystnb={"image": {"alt": "Line chart of the mean slope of the softmax over d_head from 4 to 256. Divided by the square root the line is flat; without the division it falls steeply, to less than a fifth of where it starts."}}
from lib.show import plot


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
# slope dies as the vectors grow.*

# %% [markdown]
# ### The weights
#
# Now the first half of attention as one function: scores, division, mask, softmax. The three
# dots in a shape `(..., T, Dh)` stand for any dimensions in front, such as the batch. Look at
# the last line.


# %% tags=["naive:attention.attention_weights"]
def attention_weights(q, k, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if mask is None:
        return scores.softmax(dim=-1)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)  # the softmax of a row of -inf is NaN


# %% [markdown]
# What is the last line for? If a position may look at *nothing*, all its scores are $-\infty$,
# and the softmax divides 0 by 0. (It happens to sequences that are filled up with padding.) One
# NaN, "not a number", spoils everything that it is added to.

# %%
nothing = torch.full((1, 3), -math.inf)
print("softmax:", nothing.softmax(dim=-1).tolist())

query, k = torch.randn(1, 4), torch.randn(3, 4)
allowed = torch.zeros(1, 3, dtype=torch.bool)  # none of the three
weights = attention_weights(query, k, allowed)
print("ours:   ", weights.tolist())
assert (weights == 0).all()

# %% [markdown]
# A row without a single allowed position takes nothing from anyone: zeros.

# %% [markdown]
# ### Attention
#
# The second half mixes the values. The function returns the output and, for those who want to
# look at them, the weights.


# %% tags=["naive:attention.scaled_dot_product_attention"]
def scaled_dot_product_attention(q, k, v, mask=None):
    weights = attention_weights(q, k, mask)
    return weights @ v, weights


# %% [markdown]
# That is all. The library's function of this name refuses tensors that do not fit, and it has a
# second way to the same output. PyTorch has a function of its own for all of it. For tensors of
# four dimensions, which lesson 07 brings, it runs a *fused kernel*: one piece of code that
# computes the output block by block and never writes the table of weights down. The library
# calls it unless you ask for the weights with `need_weights=True`. All must agree. And how large
# would the table be that the fused kernel saves, for a text of 4,096 tokens?

# %% tags=["same:attention.scaled_dot_product_attention", "same:attention.attention_weights", "proof"]
from lib import attention as library

q, k, v = torch.randn(3, 2, 1, 6, 16)  # three times (B, 1, T, Dh): four dimensions
ours, weights = scaled_dot_product_attention(q, k, v, causal_mask(6))
fused, none = library.scaled_dot_product_attention(q, k, v, causal_mask(6))
assert none is None and torch.allclose(ours, fused, atol=1e-6)
plain, theirs = library.scaled_dot_product_attention(
    q, k, v, causal_mask(6), need_weights=True
)
assert torch.allclose(ours, plain) and torch.allclose(weights, theirs)
assert torch.allclose(weights, library.attention_weights(q, k, causal_mask(6)))
assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 1, 6))
print("all ways agree; weights:", tuple(weights.shape))
print(f"weights of 4,096 positions: {4 * 4_096**2 / 1e6:.0f} MB")

# %% [markdown]
# 67 MB for one sequence and one attention, 4 bytes per number. Large models have hundreds of
# attentions or more: not having to write the table down is worth a lot.

# %% [markdown]
# ### How widely does it look?
#
# One number says how spread out a row of weights is: its
# [entropy](../book/glossary.md#entropy), $-\sum_j w_j \ln w_j$, which you know from lesson
# [01](01_text_and_tokens.ipynb). `torch.special.entr(w)` is $-w \ln w$, and 0 where $w$ is 0.

# %% tags=["lib:evaluate.attention_maps.attention_entropy"]
from lib.device import at_least_float32


def attention_entropy(weights: Tensor) -> Tensor:
    return torch.special.entr(at_least_float32(weights)).sum(dim=-1)


# %%
rows = [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
entropies = attention_entropy(torch.tensor(rows))
for row, entropy in zip(rows, entropies):
    print(row, f"{entropy:.3f} nats")
assert torch.allclose(entropies, torch.tensor([1.0, 2.0, 4.0]).log())

# %% [markdown]
# All on one position: 0. Two positions alike: $\ln 2 = 0.693$. Four alike: $\ln 4 = 1.386$.

# %% [markdown]
# ### A head
#
# The three matrices and the function together make one [head](../book/glossary.md#head) of
# attention. (The last layer of a model, which makes the logits, is called a head too.) This one
# is as wide as the model, so `d_head` is `d_model`. `[0]` takes the output and leaves the
# weights.


# %%
class Head(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.k = nn.Linear(d_model, d_model, bias=False)
        self.v = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, mask):
        return scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), mask)[0]


# %% [markdown]
# ### A language model around it
#
# A head takes vectors and gives vectors. To make it a [language
# model](../book/glossary.md#language-model), put in front what lesson
# [04](04_embeddings.ipynb) built, token vectors plus position vectors, and behind
# it a layer that makes logits. This frame stays until lesson 09; only what stands in the
# middle, the `blocks`, will grow. `nn.ModuleList` is a list whose modules count as parts of the
# model. `nn.Identity` gives back what it gets: there is no norm yet.

# %% tags=["lib:models.language_model.LanguageModel"]
from collections.abc import Iterable

from lib.position import LearnedPositions


class LanguageModel(nn.Module):
    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        context_length: int,
        blocks: Iterable[nn.Module],
        final_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        require_sizes(vocab_size=vocab_size, d_model=d_model)
        self.context_length = context_length
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = LearnedPositions(context_length, d_model)
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm or nn.Identity()
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        mask = causal_mask(ids.size(1)).to(ids.device)
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.final_norm(x))  # (B, T, D) -> (B, T, V)


# %% [markdown]
# The data, as always, and the counted bigram to compare with. Then the size of a model with 64
# numbers per vector and a context of 32 characters: look at where its parameters are.
# <!-- from: a-language-model-around-it "LanguageModel(V, 64, 32" -->

# %% tags=["corpus"]
from lib.models.bigram import count_pairs
from lib.text.corpus import load_corpus
from lib.text.batches import split_text
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

# %%
model = LanguageModel(V, 64, 32, [Head(64)])
for name, parameter in model.named_parameters():
    print(f"{name:22} {str(tuple(parameter.shape)):9} {parameter.numel():6,}")
n_parameters = sum(parameter.numel() for parameter in model.parameters())
print(f"{n_parameters:,} parameters")
assert n_parameters == 22_721
assert model(torch.zeros(3, 8, dtype=torch.long)).shape == (3, 8, V)

# %% [markdown]
# 22,721 [parameters](../book/glossary.md#parameter), more than half of them in the three
# matrices of the head. Those do not depend on how many positions attend to how many: the
# weights of attention are computed, not stored. Only the table of positions grows with the
# context.

# %% [markdown]
# ## Check
#
# ### Equal to PyTorch's own
#
# Without a mask, with the causal one, and with one in which position 2 may look at nothing:
# output and gradients. `torch.autograd.grad` gives the gradients of a number by each
# of the inputs.

# %%
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
# ### The classic bug, first kind: the wrong size in the root
#
# The scores are sums over `d_head`, so the root is of `d_head`. It is easy to write `d_model`
# there, the larger number that stands nearby. Compare with PyTorch on two sizes, while
# `d_model` is 64. Look at which of the two finds the bug.

# %%
d_model = 64
for d_head in (64, 16):
    q, k, v = torch.randn(3, 100, d_head)
    scores = q @ k.T / math.sqrt(d_model)  # the bug
    right = F.scaled_dot_product_attention(q, k, v)
    equal = torch.allclose(scores.softmax(dim=-1) @ v, right, atol=1e-6)
    print(f"d_head {d_head}: std of scores {scores.std():.1f}, like PyTorch: {equal}")
    assert equal == (d_head == d_model)

# %% [markdown]
# With `d_head` equal to `d_model` the bug cannot be seen; our own `Head` would not show it.
# With 16 it can, in the comparison and in the scores, whose standard deviation is no longer 1.
# Nothing crashes, so nothing else would tell you. **Test with sizes that differ.**

# %% [markdown]
# ### The classic bug, second kind: a leak
#
# A model that predicts the next character must not see it. Two ways to get that wrong: a
# triangle that is one too wide, `tril(diagonal=1)`; and a mask that comes *after* the softmax,
# when the future has already had its part in the sum. (`super().forward` is the `forward` of
# `Head`; `ones_like` makes a tensor of the same shape and type.)


# %%
class OneTooWide(Head):
    def forward(self, x, mask):
        return super().forward(x, torch.ones_like(mask).tril(diagonal=1))


class MaskTooLate(Head):
    def forward(self, x, mask):
        weights = attention_weights(self.q(x), self.k(x))
        return (weights * mask) @ self.v(x)


# %% [markdown]
# A test for the usual leaks: change the last token, and see whether any *earlier* position
# gives other logits. An honest model cannot know. (A leak in the middle of the window would
# escape it; in exercise 3 you write the complete test.)


# %%
@torch.no_grad()
def sees_the_future(model, length=8):
    ids = torch.arange(length).unsqueeze(0)  # (1, T): any tokens will do
    changed = ids.clone()
    changed[0, -1] += 1
    before, after = model(ids)[:, :-1], model(changed)[:, :-1]
    return not torch.allclose(before, after, atol=1e-6)


for kind in (Head, OneTooWide, MaskTooLate):
    torch.manual_seed(0)
    sees = sees_the_future(LanguageModel(V, 64, 32, [kind(64)]))
    print(f"{kind.__name__:12} sees the future: {sees}")
    assert sees == (kind is not Head)

# %% [markdown]
# The test needs no training and takes no time. What happens to those who skip it? Train all
# three for a short while, and look at the mean loss of the last steps and at the validation
# loss.

# %%
from lib.text.batches import random_batch
from lib.train import estimate_loss, fit


def train_model(kind, n_steps, seed):
    torch.manual_seed(seed)
    model = LanguageModel(V, 64, 32, [kind(64)])
    generator = torch.Generator().manual_seed(seed)
    losses = fit(model, lambda: random_batch(train, 32, 32, generator), n_steps, 3e-3)
    return model, losses


# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

short = {}
for kind in (Head, OneTooWide, MaskTooLate):
    model, losses = train_model(kind, 200, seed=0)
    loss = estimate_loss(model, validation, 32)
    short[kind] = model, loss
    late = sum(losses[-20:]) / 20
    print(f"{kind.__name__:12} training {late:.2f}, validation {loss:.2f} nats")
claim(short[OneTooWide][1] < 0.2, "the model that copies has a tiny loss")
honest = short[Head][1]
claim(abs(short[MaskTooLate][1] - honest) < 0.3, "the other leak looks like no leak")

# %% [markdown]
# 0.11 nats after 200 steps, on text that the model has never seen! Shannon (1951) put the
# entropy of printed English at 0.6 to 1.3 bits per letter, which is 0.4 to 0.9 nats
# ([bibliography](../book/bibliography.md#shannon-1951)). When one head gets far below that in
# 200 steps, on text that it has never seen, it is not a success. It is a bug. **The validation
# loss does not find it**, because the future stands in the validation text as well.
#
# `MaskTooLate` is worse in its way: its loss is nothing special, and raises no suspicion. A
# test like this one finds it at once.
#
# Where do the 0.11 nats come from? The last position of a window has nothing after it to copy
# from. Measure it apart from the others, then let the model write.

# %% tags=["corpus", "measured"]
from lib.text.batches import consecutive_batches
from lib.evaluate.losses import cross_entropy

cheat = short[OneTooWide][0]
inputs, targets = next(consecutive_batches(validation, 2_000, 32))
with torch.no_grad():
    logits = cheat(inputs)
last = cross_entropy(logits[:, -1], targets[:, -1]).item()
others = cross_entropy(logits[:, :-1], targets[:, :-1]).item()
print(f"last position {last:.1f} nats, all others {others:.3f} nats")
claim(last > 2.5 and others < 0.1, "all of the loss is at the last position")

# %% tags=["corpus", "sample"]
from lib.generate import sample

prompt = torch.tensor([tokenizer.encode("T")])
generator = torch.Generator().manual_seed(0)
text = tokenizer.decode(sample(cheat, prompt, 60, 1.0, generator)[0])
print(repr(text))
claim(len(set(text)) < 10, "the model that copies repeats itself")

# %% [markdown]
# The model has learned to copy what comes next, and nothing else. The one position of a window
# that cannot copy pays more than 3 nats, and that is nearly all there is of the loss. When it
# writes, nothing comes next: it repeats itself. A wonderful loss with terrible text is a sign
# of a leak.

# %% [markdown]
# ## Look
#
# ### One line, many scales
#
# Take the line from lesson [02](02_bigram.ipynb), and give each *different* character a random
# vector of 16 numbers. Nothing is learned. Use the vector as the query and as the key: each
# position then looks for its own character, for the dot product of a vector with itself is its
# squared length, here about 16, and with another random vector it is around 0, give or take 4.
# What does the scale of the scores do? Multiply the queries by a factor, from 0 to 8.

# %%
line = "to be or not to be"
generator = torch.Generator().manual_seed(0)
vectors = {c: torch.randn(16, generator=generator) for c in sorted(set(line))}
x = torch.stack([vectors[c] for c in line])  # (T, 16)
same = torch.tensor([[a == b for b in line] for a in line])
mask, entropies = causal_mask(len(line)), []
for factor in (0, 0.25, 0.5, 1, 2, 4, 8):
    weights = attention_weights(factor * x, x, mask)
    entropies.append(attention_entropy(weights).mean().item())
    share = (weights * same).sum(dim=-1).mean()
    print(f"factor {factor:4}: {entropies[-1]:.2f} nats, {share:.2f} on the same")
claim(entropies == sorted(entropies, reverse=True), "larger scores, sharper choices")
claim(share > 0.98, "at factor 8 nearly all weight is on the same character")

# %% [markdown]
# First the mean entropy, then the weight that goes to positions with the same character. Now
# the maps. Move the slider: a row looks, the columns are looked at.

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.show.frames import slider

labels = plot.visible(list(line))


def draw(factor):
    weights = attention_weights(factor * x, x, mask)
    axes = "at this position", "this position looks"
    return plot.heat_map(weights, labels, labels, *axes, (5.6, 5), 1.0, label="weight")


def describe(factor):
    weights = attention_weights(factor * x, x, mask)
    entropy, first_e = attention_entropy(weights).mean(), weights[-1, 4]
    return (
        f"Factor {factor}: mean entropy {entropy:.2f} nats; the last e puts "
        f"{first_e:.2f} on the e of the first be, {weights[-1, -1]:.2f} on itself."
    )


factors = [0, 0.25, 0.5, 1, 2, 4]
slider(draw, factors, "factor on the scores", alt=describe, start=3)

# %% [markdown]
# *At factor 0 every position takes the mean of its past; as the factor grows, the weight
# gathers on equal characters, until they share nearly everything among themselves.*
#
# The factor does what one over a [temperature](../book/glossary.md#temperature) does. A model
# can learn it: longer queries make sharper choices. And the map shows what a table of bigrams
# cannot: the last `e` finds the `e` of the first `be`, however far back it is.

# %% [markdown]
# ## Experiment: one head on Shakespeare
#
# Two models in the same frame, with the same context. One has a `Head`. The other takes the
# plain mean of the past: it has values, and no choice.


# %%
class Mean(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.v = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, mask):
        return (mask / mask.sum(dim=-1, keepdim=True)) @ self.v(x)


# %% [markdown]
# The head gets 2,000 steps, from three [seeds](../book/glossary.md#seed). The mean gets 500;
# the picture will show that more would hardly help it.
# <!-- from: experiment-one-head-on-shakespeare "train_model(" -->

# %% tags=["corpus", "measured"]
mean_model, mean_curve = train_model(Mean, 500, seed=0)
mean_loss = estimate_loss(mean_model, validation, 32)
print(f"mean of the past: {mean_loss:.2f} nats")
claim(mean_loss > bigram_loss + 0.4, "the plain mean of the past is far worse")

# %% tags=["corpus", "measured"]
import time

heads, curves, seconds = [], [], []
for seed in range(3):
    start = time.process_time()
    model, losses = train_model(Head, 2_000, seed)
    seconds.append(time.process_time() - start)
    heads.append(model)
    curves.append(losses)
head_losses = [estimate_loss(model, validation, 32) for model in heads]
print("one head:", [round(loss, 2) for loss in head_losses], "nats")
print("mean of the three:", round(sum(head_losses) / 3, 4), "nats")
claim(max(head_losses) < bigram_loss - 0.08, "the head is better than the bigram")

# %% [markdown]
# Reading a window without a choice gives 3.08 nats: far *worse* than reading one character,
# which is 2.48. The character that matters most drowns among the others. With a choice the same
# window gives 2.35 nats, well below the bigram, and hardly another loss with another seed.
# <!-- from: experiment-one-head-on-shakespeare "mean of" -->
# <!-- from: a-language-model-around-it "counted bigram:" -->

# %% mystnb={"image": {"alt": "Line chart of training losses, each point a mean over 50 steps. The plain mean of the past flattens out just above three nats. The head falls below the dashed line of the counted bigram within a few hundred steps and goes on falling slowly."}}
smooth = {
    name: torch.tensor(losses).unfold(0, 50, 1).mean(dim=-1).tolist()
    for name, losses in (("one head", curves[0]), ("mean of the past", mean_curve))
}
claim(min(smooth["mean of the past"]) > 2.9, "the mean flattens out far above")
claim(min(smooth["one head"]) < bigram_loss, "the head goes below the bigram")
plot.loss_curve(smooth, {"bigram, counted (validation)": bigram_loss})

# %% [markdown]
# *Training losses: the mean of the past flattens out far above what the bigram reaches on the
# validation split; one head that chooses goes below it.*
# (Each point is the mean of 50 steps; `unfold` cuts a row of numbers into windows.)
#
# ### Where does it look?
#
# The trained head on one line. Read it row by row.


# %%
@torch.no_grad()
def head_weights(model, ids):
    head, x = model.blocks[0], model.positions(model.tokens(ids))
    mask = causal_mask(ids.size(1))
    return attention_weights(head.q(x), head.k(x), mask)  # (B, T, T)


# %% mystnb={"image": {"alt": "Heat map of the attention of the trained head on the line to be or not to be, my lord. Most rows are darkest on the diagonal, their own character, or one step left of it; some spread over two or three places. Above the diagonal all is white."}} tags=["corpus"]
line = "to be or not to be, my lord"
labels = plot.visible(list(line))
weights = head_weights(heads[0], torch.tensor([tokenizer.encode(line)]))[0]
own, before = (weights.diagonal(-n).mean().item() for n in (0, 1))
assert weights.triu(1).max() == 0
claim(own > before and own + before > 0.7, "most weight is near the diagonal")
axes = "at this position", "this position looks"
plot.heat_map(weights, labels, labels, *axes, (7, 6.3), 1.0, label="weight")

# %% [markdown]
# *Most rows are darkest on the diagonal: the own character. Much of the rest goes to the
# character before; further back the head looks only here and there.*
#
# One line is an anecdote. Take the first 500 windows of the validation split, and all three
# models: the mean weight by distance, and the mean entropy of the last position beside that of
# an equal share, $\ln 32$.

# %% tags=["corpus", "measured:wide"]
windows, _ = next(consecutive_batches(validation, 500, 32))
for seed, model in enumerate(heads):
    weights = head_weights(model, windows)
    by_distance = [weights.diagonal(-n, 1, 2).mean().item() for n in range(4)]
    entropy = attention_entropy(weights)[:, -1].mean().item()
    print(f"seed {seed}: own, 1, 2, 3 back", [round(w, 2) for w in by_distance], end="")
    print(f"; entropy {entropy:.1f} of {math.log(32):.1f} nats")
    claim(by_distance[0] > 0.5, "most of the weight stays on the own character")
    claim(by_distance[1] > max(0.1, *by_distance[2:]), "most of the rest goes one back")
    claim(entropy < math.log(32) / 2, "the head does not look widely")

# %% [markdown]
# `diagonal(-n, 1, 2)` takes the entries $n$ places left of the main diagonal. All three models
# tell the same story: about two thirds of the weight stay on the own character, about a fifth
# goes one back, and little further. The entropy is about 1 nat, as if it looked at $e^1$, fewer
# than three, positions alike.
#
# That is a sensible choice, and a limited one. The weights of a row sum to 1, so every
# look elsewhere is paid for with the own character, which matters most. And behind the mix
# stands only a linear layer. The window of lesson [04](04_embeddings.ipynb) had a
# hidden layer, and with eight characters it does better than our head with 32. The next lessons
# give attention what it lacks, one thing at a time.
#
# ### The rung

# %% tags=["corpus", "sample"]
from lib.show.ladder import rung

prompt = torch.tensor([tokenizer.encode("T")])
written = sample(heads[0], prompt, 160, 1.0, torch.Generator().manual_seed(1))
text = tokenizer.decode(written[0, 1:])
mean_of_seeds = sum(head_losses) / 3
cpu_seconds = sum(seconds) / 3
rung("One head of attention", 22_721, mean_of_seeds, cpu_seconds, text, seeds=3)

# %% [markdown]
# An eighth of a nat below the bigram. The text is hardly easier to read. It is the next rung of
# the [ladder](../book/ladder.md).

# %% [markdown]
# ## Predict, then run
#
# <details><summary>Take the positions away and swap two characters in the past. What changes in the output of the last position?</summary>
#
# Nothing. The output is a sum over positions, and a sum has no order: the same values arrive
# with the same weights. In this layer all sense of order within the past comes from the
# position vectors.
#
# </details>
#
# <details><summary>All keys are zero. What are the weights?</summary>
#
# All scores are 0, so each position takes the plain mean of itself and its past. The entropy at
# position $i$ is $\ln (i + 1)$.
#
# </details>
#
# <details><summary>You double the length of the text. How many scores are computed, and how many parameters does the head have?</summary>
#
# Four times as many scores; the same parameters. The quadratic cost is the price of letting
# everyone look at everyone. Lesson 20 is about it.
#
# </details>

# %%
head, ids = heads[0].blocks[0], torch.arange(8)
swapped = ids[[1, 0, 2, 3, 4, 5, 6, 7]]
with torch.no_grad():
    outputs = [head(heads[0].tokens(i), causal_mask(8))[-1] for i in (ids, swapped)]
assert torch.allclose(*outputs, atol=1e-5)

q, no_keys = torch.randn(8, 16), torch.zeros(8, 16)
weights = attention_weights(q, no_keys, causal_mask(8))
assert torch.allclose(attention_entropy(weights), torch.arange(1, 9).log())
for length in (32, 64):
    q = torch.randn(length, 16)
    print(f"{length} positions: {attention_weights(q, q).numel():,} scores")

# %% [markdown]
# ## Exercises

# %%
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
# Long texts are expensive, so many models let a position look only at a *window*: itself and
# the `window - 1` positions before it. Return that mask as a bool tensor `(length, length)`,
# true where row $i$ may look at column $j$. `window` is at least 1, and may be larger than
# `length`.
#
# <details><summary>Hint</summary>
#
# Take the causal mask, and take away what is too far back. `tril(diagonal=-n)` keeps what is
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
# `length` from two to a hundred. Later, in lesson 23, you will find such a head in a trained
# model.
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
# - You built **attention**: scores from queries and keys, a softmax, a weighted mean of values.
#   It equals PyTorch's, with and without a mask, and gives zeros where nothing may be looked
#   at.
# - You saw why the scores are **divided by $\sqrt{D_h}$**: their standard deviation grows with
#   it, and the softmax then saturates.
# - You built the **causal mask**, and a test for leaks. A leaking model reached 0.11 nats and
#   wrote hardly anything but repetitions.
#   <!-- from: the-classic-bug-second-kind-a-leak "OneTooWide training" -->
# - You measured how widely a head looks, by its **entropy**: about 1 nat after training.
# - You put one head into a **language model**: 2.35 nats, the mean of three seeds. The bigram
#   has 2.4819, the plain mean of the same past 3.08.
#   <!-- from: experiment-one-head-on-shakespeare "mean of" -->
#   <!-- from: a-language-model-around-it "counted bigram:" -->
#
# What is still wrong: each position has one row of weights, and it sums to 1. To look at two
# things it must blur them, and to look anywhere it must look away from itself. Several heads
# end the blurring: lesson 07. And lesson 09 lets a position keep what it has while it looks
# elsewhere.
#
# The library entries of what you built: [causal_mask, attention_weights and
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
