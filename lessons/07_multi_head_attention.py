# %% [markdown]
# # 07 · Multi-head attention
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/07_multi_head_attention.ipynb)
#
# You run several attentions side by side, so that a position can look at several places
# at once and keep apart what it finds there.
#
# - **You will build** multi-head attention: first head by head, then all heads in one
#   matrix product.
# - **You will see** four heads beat one of the same size, what each head looks at, and a
#   bug that makes the loss *better*.
# - **Needs** lesson [06](06_attention.ipynb).
# - **Takes** about 70 minutes without exercises 2 and 4; the notebook runs in under 45 s.

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
# With one [head](../book/glossary.md#head) of attention, the model of lesson
# [06](06_attention.ipynb) can look at a whole window of characters. But its weights at a
# position sum to 1: whatever it gives to an earlier character, it takes away from the one
# that it has just read, and it needs both. Trained for as short a time as the models of this
# lesson, it reaches 2.42 nats. Can a position look at two places and keep them apart?
# <!-- from: experiment-one-head-or-four "one head:" -->

# %% [markdown]
# ## The machine
#
# One attention becomes a stack of them, with one matrix more behind it.

# %% mystnb={"image": {"alt": "Diagram of the model so far: token ids become vectors, positions are added. New: the attention box is a stack of several heads, which look at different places."}}
from lib.show import diagrams

diagrams.stream("heads")

# %% [markdown]
# ## By hand
#
# Two positions hold a `t` and an `h`, each as a vector of two numbers. The second position
# wants to know both letters. One head, with half of its weight on each, returns the mean.
# (`@` is the [matrix product](../book/mathematics.md#matrix-product).)

# %%
import torch

th = torch.tensor([[2.0, 20.0], [6.0, 60.0]])  # row 0 is the t, row 1 is the h
ht = torch.tensor([[6.0, 60.0], [2.0, 20.0]])  # the other order
half = torch.tensor([0.5, 0.5])
print("one head:  th gives", (half @ th).tolist(), " ht gives", (half @ ht).tolist())

# %% [markdown]
# The mean of a `t` and an `h` is neither of them, and it does not say which came first.
# Unequal weights would tell the order, and still blend the letters.
#
# Now cut the vectors in two. Head 1 gets the first number of each vector, head 2 the
# second, and each has weights of its own: head 1 looks at position 0, head 2 at position 1.

# %%
look_at_0, look_at_1 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
for name, x in (("th", th), ("ht", ht)):
    head_1 = look_at_0 @ x[:, :1]  # the first column
    head_2 = look_at_1 @ x[:, 1:]  # the second column
    print("two heads:", name, "gives", torch.cat([head_1, head_2]).tolist())

# %% [markdown]
# Still two numbers, but each comes from one position alone. That is the whole idea: **as
# many numbers as before, shared out among heads that look at different places.** The price:
# each head hands over fewer numbers. (Here the vectors themselves were cut. In the formula
# every head reads the whole vector, and a matrix of its own makes a few numbers of it.)

# %% [markdown]
# ## The formula
#
# Each head $h = 1, \ldots, H$ makes its own narrow queries, keys and values from $x$, and
# attends as in lesson [06](06_attention.ipynb). The results are put side by side, and one
# more matrix mixes them:
#
# $$\text{head}_h = \operatorname{softmax}\!\left(\frac{Q_h K_h^\top}{\sqrt{D_h}}\right) V_h, \qquad Q_h = x W^Q_h, \quad K_h = x W^K_h, \quad V_h = x W^V_h$$
#
# $$\text{MultiHead}(x) = \operatorname{Concat}(\text{head}_1, \ldots, \text{head}_H)\, W^O$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(B, T, D)` | one vector for each position |
# | $W^Q_h, W^K_h, W^V_h$ | `(D, Dh)` | what head $h$ looks for, is found by, hands over |
# | $\text{head}_h$ | `(B, T, Dh)` | what head $h$ has gathered |
# | $\operatorname{Concat}(\ldots)$ | `(B, T, D)` | all heads side by side, $H \cdot D_h = D$ |
# | $W^O$ | `(D, D)` | the output projection: each head meets $D_h$ of its rows, and the results add up |
#
# This is section 3.2.2 of [Vaswani et al. (2017)](../book/bibliography.md#vaswani-2017), who
# have $D = 512$ and 8 heads of 64 numbers, and write $h$ for our $H$, $d_k$ and $d_v$ for our
# $D_h$. (The mask is left out here.)

# %% [markdown]
# ## Build
#
# ### Head by head
#
# This is the head of lesson [06](06_attention.ipynb), but for `d_head`: its queries, keys and
# values may be narrower than the vectors.

# %%
from torch import nn

from lib.attention import causal_mask, scaled_dot_product_attention


class Head(nn.Module):
    def __init__(self, d_model, d_head):
        super().__init__()
        self.q = nn.Linear(d_model, d_head, bias=False)
        self.k = nn.Linear(d_model, d_head, bias=False)
        self.v = nn.Linear(d_model, d_head, bias=False)

    def forward(self, x, mask):
        output, _ = scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), mask)
        return output  # (B, T, Dh)


# %% [markdown]
# Several heads in a list, their results side by side, one more linear layer: that is the
# formula, term by term.


# %%
class HeadsInALoop(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        d_head = d_model // n_heads
        self.heads = nn.ModuleList(Head(d_model, d_head) for _ in range(n_heads))
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, mask):
        found = [head(x, mask) for head in self.heads]  # H times (B, T, Dh)
        return self.out(torch.cat(found, dim=-1))  # (B, T, D)


# %%
torch.manual_seed(0)
loop = HeadsInALoop(d_model=8, n_heads=2)
x = torch.randn(1, 3, 8)
print(tuple(x.shape), "->", tuple(loop(x, causal_mask(3)).shape))

# %% [markdown]
# Vectors of 8 in, vectors of 8 out: it fits where the single head stood.
#
# ### One product for all heads
#
# The loop makes many small products where one large one would do. Stack the query matrices of
# both heads, and one product gives both queries, side by side. (PyTorch
# stores the matrix of a linear layer transposed: `(out, in)`.)

# %%
small = [head.q.weight for head in loop.heads]  # two of (4, 8)
wide = torch.cat(small)  # (8, 8)
apart = torch.cat([x @ weight.T for weight in small], dim=-1)  # (B, T, 8)
together = x @ wide.T  # (B, T, 8)
print(tuple(wide.shape), "the same queries:", torch.allclose(apart, together))

# %% [markdown]
# So one layer of `D` times `D` makes the queries of all heads, another one the keys, a third
# one the values. What is left is to take the heads apart, and to put them together again:

# %% mystnb={"image": {"alt": "Diagram: queries, keys and values of D numbers are split into slices, one per head; each head attends with its own slice; the outputs are merged to D numbers again, and an output projection mixes them."}}
diagrams.heads()

# %% [markdown]
# Do it on 3 positions with 4 numbers each; the tens digit says the position.
# `unflatten(-1, (2, 2))` cuts the last dimension into 2 pieces of 2.

# %%
entries = 10 * torch.arange(3).unsqueeze(1) + torch.arange(4)
entries = entries.unsqueeze(0)  # (B, T, D)
cut = entries.unflatten(-1, (2, 2))  # (B, T, H, Dh)
print("position 1:", entries[0, 1].tolist())
print("is cut into", cut[0, 1].tolist())

# %% [markdown]
# Attention works on the last two dimensions, which must be positions and numbers. So
# `transpose(1, 2)` swaps dimensions 1 and 2.

# %%
by_head = cut.transpose(1, 2)  # (B, H, T, Dh)
for h in range(2):
    print(f"head {h + 1}:", by_head[0, h].tolist())

# %% [markdown]
# Each head has one row for each position: head 1 the left half of every vector, head 2 the
# right half. Now back. `flatten(2)` joins dimension 2 and all after it into one.

# %%
back = by_head.transpose(1, 2).flatten(2)  # (B, H, T, Dh) -> (B, T, D)
print("split and merged:", tuple(back.shape), "unchanged:", torch.equal(back, entries))

# %% [markdown]
# ### The module
#
# Three wide layers, the split, attention for all heads at once, the merge, one more layer. In
# `split`, the inner -1 means "as many pieces of `d_head` as fit". With `need_weights=True`, an
# argument of the library's version of lesson 06's function, you also get the attention weights, `(B, H, T, T)`: each head has its own table of who looks at whom. One mask
# serves them all.


# %% tags=["naive:attention.MultiHeadAttention"]
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.d_head = d_model // n_heads
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def split(self, x):  # (B, T, D) -> (B, H, T, Dh)
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)

    def forward(self, x, mask=None, need_weights=False):
        q, k = self.split(self.q_proj(x)), self.split(self.k_proj(x))
        v = self.split(self.v_proj(x))
        mixed, weights = scaled_dot_product_attention(q, k, v, mask, need_weights)
        merged = mixed.transpose(1, 2).flatten(2)  # (B, H, T, Dh) -> (B, T, D)
        return self.out_proj(merged), weights


# %% [markdown]
# Four matrices of $D \times D$, however many heads: heads share out the numbers, they add none.
# What grows is the number of attention weights, $H$ tables of $T \times T$.
#
# With the matrices of the loop in it, the module gives the output of the loop. The library's
# [MultiHeadAttention](../book/api.md#attention) has the same parts, refuses sizes that do not
# fit, and has options for later: biases, a cache (lesson 13), a second sequence to look at
# (lesson 15).

# %% tags=["proof"]
# @title Proof: with the matrices of the loop, the module equals the loop
@torch.no_grad()
def stack_heads(loop, attention):
    """Copy the small matrices of the loop into the wide ones of the module."""
    wide = (attention.q_proj, attention.k_proj, attention.v_proj)
    for name, projection in zip("qkv", wide):
        small = [getattr(head, name).weight for head in loop.heads]
        projection.weight.copy_(torch.cat(small))
    attention.out_proj.weight.copy_(loop.out.weight)
    return attention


attention, mask = stack_heads(loop, MultiHeadAttention(8, 2)), causal_mask(3)
assert torch.allclose(attention(x, mask)[0], loop(x, mask), atol=1e-6)
for n_heads in (1, 8, 64):
    sizes = [p.numel() for p in MultiHeadAttention(512, n_heads).parameters()]
    assert sum(sizes) == 4 * 512**2
print("the module = the loop")

# %% tags=["same:attention.MultiHeadAttention", "proof"]
# @title Proof: the library's module gives the same outputs and weights
from lib import attention as library

for bias in (False, True):
    theirs = library.MultiHeadAttention(8, 2, bias=bias)
    for parameter in theirs.parameters():
        nn.init.zeros_(parameter)  # the biases, a default there, stay zero
    theirs.load_state_dict(attention.state_dict(), strict=not bias)
    for mask in (None, causal_mask(3)):
        pair = attention(x, mask, need_weights=True), theirs(x, mask, need_weights=True)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*pair))
        assert torch.allclose(attention(x, mask)[0], theirs(x, mask)[0], atol=1e-6)
print("the module = the library's module")

# %% [markdown]
# ## Check
#
# Ours equals PyTorch's `nn.MultiheadAttention`: outputs, weights and gradients. (That one
# keeps the matrices for queries, keys and values in one tensor, and its masks say where
# looking is *forbidden*.)

# %% tags=["proof"]
# @title Proof: outputs, weights and gradients equal PyTorch's
ours = MultiHeadAttention(d_model=12, n_heads=3)
torchs = nn.MultiheadAttention(12, 3, bias=False, batch_first=True)
inputs = (ours.q_proj, ours.k_proj, ours.v_proj)
torchs.in_proj_weight.data = torch.cat([p.weight for p in inputs]).detach()
torchs.out_proj.load_state_dict(ours.out_proj.state_dict())

y = torch.randn(2, 4, 12)
options = {"attn_mask": ~causal_mask(4), "average_attn_weights": False}
mine, theirs = ours(y, causal_mask(4), need_weights=True), torchs(y, y, y, **options)
assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mine, theirs))

for output in (mine[0], theirs[0]):
    output.square().mean().backward()
gradient = torch.cat([p.weight.grad for p in inputs])
assert torch.allclose(gradient, torchs.in_proj_weight.grad, atol=1e-5)
assert torch.allclose(ours.out_proj.weight.grad, torchs.out_proj.weight.grad, atol=1e-5)
print("equal outputs, weights and gradients")

# %% [markdown]
# ### The classic bug: a view without a transpose
#
# We need the shape `(B, H, T, Dh)`. Why two moves, when `view` gives any shape in one? (The
# picture leaves the batch out. `unflatten` is a `view` of one dimension.)

# %% mystnb={"image": {"alt": "Diagram: three tokens with four numbers each, split in two ways. Right, view and transpose: head 1 has the first two numbers of every token, head 2 the last two. Wrong, view at once: head 1 has all of token 0 and half of token 1, head 2 the rest."}}
diagrams.wrong_split()

# %% [markdown]
# `view` keeps all numbers in their order and only moves the cuts.

# %%
wrong = entries.view(1, 2, 3, 2)  # straight to (B, H, T, Dh)
print("head 2: right", by_head[0, 1].tolist())
print("        wrong", wrong[0, 1].tolist())

# %% [markdown]
# The shape is right and nothing crashes. Row $t$ of a head is used as position $t$. But row 0 of
# head 2 now holds a piece of position 1, and row 1 a piece of position 2: the future. The causal
# mask only counts rows, whatever they hold. What will that do to the loss? Guess.


# %%
class WrongSplit(MultiHeadAttention):
    def split(self, x):
        B, T, D = x.shape
        return x.view(B, D // self.d_head, T, self.d_head)


# %% [markdown]
# To train it we need text, and the `LanguageModel` of lesson [06](06_attention.ipynb). Its blocks
# return vectors only, so a wrapper drops the weights.

# %% tags=["corpus", "hide-input"]
# @title The text
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
parts = split_text(corpus.text)
train, validation = (torch.tensor(tokenizer.encode(part)) for part in parts)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")


# %%
class AttentionBlock(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x, mask):
        return self.attention(x, mask)[0]


# %% [markdown]
# Vectors of 64 numbers, 32 characters of context, a number of heads that divides 64, any
# [seed](../book/glossary.md#seed):

# %%
from lib.models.language_model import LanguageModel
from lib.train import estimate_loss, fit


def train_heads(n_heads, seed, n_steps=600, kind=MultiHeadAttention):
    torch.manual_seed(seed)
    block = AttentionBlock(kind(64, n_heads))
    model = LanguageModel(V, d_model=64, context_length=32, blocks=[block])
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: random_batch(train, 32, 32, generator)
    fit(model, next_batch, n_steps=n_steps, learning_rate=3e-3)
    return model, estimate_loss(model, validation, 32)


# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

_, right_loss = train_heads(4, seed=0, n_steps=200)
_, wrong_loss = train_heads(4, seed=0, n_steps=200, kind=WrongSplit)
print(f"200 steps: right split {right_loss:.2f}, wrong split {wrong_loss:.2f} nats")
claim(wrong_loss < right_loss - 0.3, "the module with the bug has a far better loss")

# %% [markdown]
# The bug makes the loss *better*, on the validation split: many positions can read the answer. **A loss
# that is too good to be true is a sign of a leak.** The test of lesson
# [06](06_attention.ipynb) finds it without any training: change the last position, and see
# whether earlier outputs change.


# %% tags=["hide-input"]
# @title The test for the future
@torch.no_grad()
def sees_the_future(attention):
    x, mask = torch.randn(1, 8, 64), causal_mask(8)
    changed = x.clone()
    changed[:, -1] += 1
    before, after = (attention(y, mask)[0][:, :-1] for y in (x, changed))
    return not torch.allclose(before, after, atol=1e-6)


for kind in (MultiHeadAttention, WrongSplit):
    print(f"{kind.__name__} sees the future: {sees_the_future(kind(64, 4))}")
    assert sees_the_future(kind(64, 4)) == (kind is WrongSplit)

# %% [markdown]
# A second test finds it too, and also mix-ups that do not leak: with the weights of the loop, the
# module must give the output of the loop. Wherever you split heads, test both.

# %% [markdown]
# ## Look
#
# Train a model with four heads.

# %% tags=["corpus", "measured"]
four_heads, four_loss = train_heads(4, seed=0)
n_parameters = sum(parameter.numel() for parameter in four_heads.parameters())
print(f"4 heads: {n_parameters:,} parameters, {four_loss:.2f} nats on validation")

# %% [markdown]
# What do its heads look at? Rows look, columns are looked at (␣ is the space). Look for dark cells
# on the diagonal, where a position looks at itself, and just left of it, at the character before.

# %% mystnb={"image": {"alt": "Four square heat maps in two rows, one per head, for the line To be, or not to be. White above the diagonal. In some heads the dark cells lie on the diagonal, in others just below it or further to the left."}} tags=["corpus"]
from lib.show import plot


@torch.no_grad()
def head_weights(model, ids):
    x, mask = model.positions(model.tokens(ids)), causal_mask(ids.size(1))
    return model.blocks[0].attention(x, mask, need_weights=True)[1]  # (B, H, T, T)


line = "To be, or not to be"
labels = plot.visible(line)
line_weights = head_weights(four_heads, torch.tensor([tokenizer.encode(line)]))[0]
plot.attention_maps([line_weights], labels)

# %% [markdown]
# *Four heads of one layer, four patterns. None of them looks to the right of the diagonal.*
#
# Now one position at a time: move the slider, and see where its four heads look.

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider

names, places = [f"head {h + 1}" for h in range(4)], range(3, 19, 3)


def draw(i):
    axes = f"looked at by position {i}, {labels[i]}", ""
    return plot.heat_map(
        line_weights[:, i], names, labels, *axes, size=(7, 2.2), top=1, label="weight"
    )


def describe(i):
    most = line_weights[:, i].argmax(dim=-1).tolist()
    said = [f"{name} most at position {j}, {labels[j]}" for name, j in zip(names, most)]
    return f"Position {i} holds {labels[i]}. It looks: " + "; ".join(said) + "."


slider(draw, places, "position", alt=describe, name=lambda i: labels[i], start=5)

# %% [markdown]
# *Each row sums to 1 by itself: a head that looks back takes nothing from one that looks at its
# own character.*

# %% [markdown]
# ## Experiment: one head or four?
#
# Equal size, batches, steps; three seeds each.

# %% tags=["corpus", "measured"]
import time

start = time.process_time()
four = [(four_heads, four_loss)] + [train_heads(4, seed) for seed in (1, 2)]
seconds = (time.process_time() - start) / 2  # of one training
one = [train_heads(1, seed) for seed in range(3)]
for seed in range(3):
    print(f"seed {seed}: 1 head {one[seed][1]:.3f}, 4 heads {four[seed][1]:.3f} nats")
    claim(one[seed][1] - four[seed][1] > 0.07, "four heads beat one head")
one_loss, mean_loss = (sum(loss for _, loss in runs) / 3 for runs in (one, four))
print(f"one head: {one_loss:.4f} nats on average")
print(f"four heads: {mean_loss:.4f} nats, the mean of three seeds")

# %% [markdown]
# Four heads win with every seed, by about a seventh of a nat; the seeds of one kind differ by far
# less.
#
# How do they do it? Measure, on 64 windows of the validation split, how much weight goes to the
# character itself, and how much to the one before. `diagonal(-n)` takes the entries n places left of
# the diagonal: what each position gives to the one n before.

# %% tags=["corpus", "measured:wide"]
windows = validation[: 64 * 32].view(64, 32)


def mean_weights(model, back):
    weights = head_weights(model, windows)  # (B, H, T, T)
    return weights.diagonal(-back, dim1=-2, dim2=-1).mean(dim=(0, 2))  # (H,)


for seed in range(3):
    own, before = (mean_weights(one[seed][0], back).item() for back in (0, 1))
    best = mean_weights(four[seed][0], 1).max().item()
    print(f"seed {seed}: 1 head: own {own:.2f}, before {before:.2f};", end=" ")
    print(f"best of 4: before {best:.2f}")
    claim(own > 0.5, "the single head keeps most for its own character")
    claim(best > 1.5 * before, "one of four gives the character before much more")

# %% [markdown]
# The single head keeps more than half for its own character, and has little left for the one
# before. Among four heads there is always one that gives it much more. **With several heads, a
# position need not divide one row of weights.**
#
# The rung for the [ladder](../book/ladder.md), with what the model writes:

# %% tags=["corpus", "sample", "hide-input"]
# @title The rung, and what the model writes
from lib.generate import sample
from lib.show.ladder import rung

prompt = torch.tensor([tokenizer.encode("T")])
generator = torch.Generator().manual_seed(1)
text = tokenizer.decode(sample(four_heads, prompt, 120, 1.0, generator)[0, 1:])
rung("Four heads of attention", n_parameters, mean_loss, seconds, text, seeds=3)

# %% [markdown]
# ### What it has not learned yet
#
# After `th` an `e` is likely, after `gh` it is not. How likely do the three models find an `e`, on
# average over the places in the validation split where the pair has just been read?

# %%
e, texts = tokenizer.ids["e"], validation[: 3_000 * 32].view(-1, 32)


@torch.no_grad()
def e_after(model, pair):
    first, second = tokenizer.encode(pair)
    here = (texts[:, :-1] == first) & (texts[:, 1:] == second)
    return model(texts).softmax(dim=-1)[:, 1:, e][here].mean().item()


# %% tags=["corpus", "measured:wide"]
read = parts[1][: 3_000 * 32]  # the same characters as text
print(f"'e' after any h: text {read.count('he') / read.count('h'):.3f}")
for pair in ("th", "gh"):
    share = read.count(pair + "e") / max(1, read.count(pair))
    chances = [e_after(model, pair) for model, _ in four]
    said = ", ".join(f"{chance:.2f}" for chance in chances)
    print(f"'e' after {pair!r}: text {share:.3f}, models {said}")
    right = sum(chances) / 3 < 1.5 * share
    claim(corpus.is_stand_in or right == (pair == "th"), "right after th, not after gh")

# %% [markdown]
# For `th` the models are not far off. For `gh` they expect, on average, an `e` far too often: they
# know what follows an `h`, and not well enough what a `g` before it changes.
#
# Attention *can* learn this, but what the heads bring is only added up: a head must turn from the `h`
# to the `g`, or take away what another has added. Is there a shorter way?

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You reorder the heads: the rows of <code>weight</code> in the three input layers, and in the same way the columns of <code>out_proj.weight</code> (PyTorch stores matrices transposed). What happens to the output?</summary>
#
# Nothing. The output is a sum over the heads, and a sum has no order.
#
# </details>
#
# <details><summary>Somebody splits by a bare view, and merges by a bare view too. Shapes are right both ways. Does the test for the future find it?</summary>
#
# No, for nothing leaks: the merge puts every piece back where the split took it from. But each of
# four heads works on a quarter of the sequence, and where the cuts fall depends on its length. So
# an output depends on how long the text is. The comparison with the loop finds it.
#
# </details>

# %% tags=["answer"]
# @title Answer: heads in another order
import copy

columns = torch.arange(64).view(4, 16)  # row h: the columns of head h
loop, x, mask = HeadsInALoop(64, 4), torch.randn(1, 8, 64), causal_mask(8)
attention = stack_heads(loop, MultiHeadAttention(64, 4))
reordered, order = copy.deepcopy(attention), columns[[2, 0, 3, 1]].flatten()
for projection in (reordered.q_proj, reordered.k_proj, reordered.v_proj):
    projection.weight.data = projection.weight.data[order]
reordered.out_proj.weight.data = reordered.out_proj.weight.data[:, order]
same = torch.allclose(reordered(x, mask)[0], attention(x, mask)[0], atol=1e-6)
print("heads in another order, the same output:", same)
assert same

# %% [markdown]
# And the two bare views:


# %% tags=["answer"]
# @title Answer: two bare views
class TwoBareViews(WrongSplit):
    def forward(self, x, mask=None, need_weights=False):
        q, k, v = (self.split(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        mixed, weights = scaled_dot_product_attention(q, k, v, mask, need_weights)
        return self.out_proj(mixed.reshape(x.shape)), weights


views = stack_heads(loop, TwoBareViews(64, 4))
short, long = views(x[:, :6], causal_mask(6))[0], views(x, mask)[0][:, :6]
unchanged = torch.allclose(short, long, atol=1e-3)
as_loop = torch.allclose(views(x, mask)[0], loop(x, mask), atol=1e-3)
print("sees the future:", sees_the_future(views))
print("the same when two tokens follow:", unchanged, " equal to the loop:", as_loop)
assert not (sees_the_future(views) or unchanged or as_loop)

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_07 import (
    check_from_torch,
    check_head_contributions,
    check_multiplications,
    check_two_heads,
)

# %% [markdown]
# ### Exercise 1: Count the work
#
# *warm-up · 10 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-1-count-the-work)
#
# An $(n, m)$ matrix times an $(m, p)$ matrix takes $n \cdot m \cdot p$ multiplications. Return how
# many `MultiHeadAttention(d_model, n_heads)` makes for one sequence of `length` tokens: in its four
# layers, in the scores of all heads, and in mixing the values. Scaling, mask and softmax do not
# count. What does `n_heads` change?
#
# <details><summary>Hint</summary>
#
# Go through `forward` line by line and write down the shape of each matrix. Each head makes two
# products with narrow matrices.
#
# </details>


# %%
def multiplications(length, d_model, n_heads):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_multiplications(multiplications)

# %% [markdown]
# ### Exercise 2: Load PyTorch's weights
#
# *stretch · 10 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-2-load-pytorchs-weights)
#
# Given `torchs`, an `nn.MultiheadAttention` without biases, return a `MultiHeadAttention` that
# computes the same. `torchs.embed_dim` is $D$, `torchs.num_heads` is $H$.
# `torchs.in_proj_weight`, of shape `(3 D, D)`, holds the matrices for queries, keys and values, one
# below the other; `torchs.out_proj.weight` is the output projection. Training one module must not
# change the other.
#
# <details><summary>Hint</summary>
#
# `chunk(3)` cuts a tensor into three along its rows. Copy numbers into a parameter with
# `parameter.data.copy_(numbers)`.
#
# </details>


# %%
def from_torch(torchs):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_from_torch(from_torch)

# %% [markdown]
# ### Exercise 3: What each head adds
#
# *core · 20 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-3-what-each-head-adds)
#
# "Side by side, times one matrix" is a sum with one term for each head. Given a
# `MultiHeadAttention`, vectors `x` of shape `(B, T, D)` and a mask, return the terms: a tensor
# `(H, B, T, D)` whose entry `h` is what head `h` alone adds to the output. All terms together
# give the output. Leave the attention as it is.
#
# <details><summary>Hint</summary>
#
# Follow `forward` up to `mixed`, of shape `(B, H, T, Dh)`. Head `h` fills `d_head` of the numbers
# that go into `out_proj`: which columns of `out_proj.weight` do these meet? A linear layer
# computes $x W^\top$.
#
# </details>


# %%
def head_contributions(attention, x, mask):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_head_contributions(head_contributions)

# %% [markdown]
# ### Exercise 4: Two heads by hand
#
# *stretch · 30 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-4-two-heads-by-hand)
#
# Set the weights yourself. Each vector has 16 numbers: the first 8 say which of eight letters
# stands here (a 1 at its place, else 0), the last 8 at which of eight positions. Return a
# `MultiHeadAttention(16, 2)` that, with a causal mask, gives each position from the second one on
# **its own letter** in the first 8 numbers of the output and
# **the letter before** in the last 8, each entry within a hundredth. Sequences may be shorter than
# eight. Set weights with `attention.q_proj.weight.data[...] = ...`, first all four to 0: they start
# as random numbers.
# <!-- from: solutions/07_multi_head_attention#exercise-4-two-heads-by-hand
# "MultiHeadAttention(" -->
#
# <details><summary>Hint</summary>
#
# Row $i$ of a weight says how number $i$ of the result is made from the inputs; rows 0 to 7 belong
# to the first head. Let the keys of both heads be the position. What must the query of each head
# be? Large queries make a softmax choose. The values are the letter, and then `out_proj`
# only passes everything on: which matrix changes nothing?
#
# </details>


# %%
def two_heads():
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_two_heads(two_heads)

# %% [markdown]
# ## Recap
#
# - You built **multi-head attention** head by head and as one product: split, attend, merge, mix.
#   It equals PyTorch's, and has $4 D^2$ parameters, however many heads.
# - You saw **four heads beat one** of the same size with each of three seeds: a single head has to
#   divide one row of weights, several heads have a row each.
# - You saw **what the heads look at**: four heads of one layer, four patterns.
# - You saw a **bug that makes the loss better**: a view without a transpose mixes up positions, and
#   the future leaks.
#
# What is still wrong: what the heads bring is only added up, and an exception such as `gh` is not
# learned yet. To work on what has been gathered, at each position by itself, is the task of the
# next part: lesson [08](08_feed_forward.ipynb).
#
# The library's entries: [MultiHeadAttention and padding_mask](../book/api.md#attention),
# [attention_maps and attention_distance](../book/api.md#evaluateattention_maps).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, section 3.2.2, and the last figures: what
#   some heads of a trained translator look at.
# - Michel, Levy and Neubig (2019), *Are Sixteen Heads Really Better than One?*, section 3: heads
#   removed one by one from large models, where most are hardly missed.
# - Elhage et al. (2021), *A Mathematical Framework for Transformer Circuits*: heads as terms of a
#   sum, which is Exercise 3.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: take a head away
#
# Does the model need all four? Head $h$ reaches the rest of the model through its own columns of `out_proj.weight`. Set them to
# zero, and measure the loss again. The control: as many columns, but a quarter of *each* head.
# (`deepcopy` makes a copy to work on.)

# %% tags=["corpus"]
columns = torch.arange(64).view(4, 16)  # row h: the columns of head h
quarters = columns.view(4, 4, 4).transpose(0, 1).reshape(4, 16)  # some of each head


def cost_without(model, columns):
    pruned = copy.deepcopy(model)
    pruned.blocks[0].attention.out_proj.weight.data[:, columns] = 0
    losses = [estimate_loss(m, validation[:20_000], 32) for m in (pruned, model)]
    return losses[0] - losses[1]


# %% tags=["corpus", "measured:wide"]
costs, control = [], []
for seed, (model, _) in enumerate(four):
    heads = [cost_without(model, one_head) for one_head in columns]
    spread = [cost_without(model, some_of_each) for some_of_each in quarters]
    print(f"seed {seed}: a head", " ".join(f"{cost:+.2f}" for cost in heads), end="; ")
    print("a quarter of each", " ".join(f"{cost:+.2f}" for cost in spread), "nats")
    costs, control = costs + heads, control + spread
claim(min(costs) > 0.04, "each of the twelve heads is missed")
claim(sum(costs) > 1.2 * sum(control), "more than as many columns of all heads")

# %% [markdown]
# Each of the twelve heads is missed, and on average more than equally many columns taken from all
# heads: it matters which go. But such numbers say what *this* model relies on, not what
# the task needs: the other heads were trained to count on the missing one.
#
# Train a model with two heads from the start. Is its loss nearer to that of one head, or of four?

# %% tags=["corpus", "measured"]
two_loss = train_heads(2, seed=0)[1]
print(f"1 head {one[0][1]:.3f}, 2 heads {two_loss:.3f}, 4 heads {four_loss:.3f} nats")
claim(two_loss < (one[0][1] + four_loss) / 2, "two heads are nearer to four")
claim(two_loss - four_loss < min(costs), "taking a head away costs more than that")

# %% [markdown]
# Nearer to four. Taking *any* one head from a trained model costs more than doing with two from the
# start.

# %% [markdown]
# ## Deeper: do the heads become specialists?
#
# It is tempting to say: training makes the heads different. Measure it. Two rows of weights
# differ by half of the sum of their absolute differences: 0 if they are equal, 1 if they have no
# place in common. Take the mean over all positions and pairs of heads.


# %%
def head_difference(weights):  # (B, H, T, T)
    pairs = weights.unsqueeze(1) - weights.unsqueeze(2)  # (B, H, H, T, T)
    halves = pairs.abs().sum(dim=-1).mean(dim=(0, 3)) / 2  # (H, H)
    n_heads = len(halves)
    return halves.sum().item() / (n_heads * (n_heads - 1))  # a head and itself: 0


rows = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])  # two heads, one position
print("half of the weight lies elsewhere:", head_difference(rows.view(1, 2, 1, 3)))

# %% [markdown]
# Compare with the same models before their training. But that is not enough: trained heads are
# also *sharper*, and two sharp rows differ more, wherever they look. So here is a second control,
# random heads that are as sharp as the trained ones: enlarge the queries of the untrained model
# until its rows have the same mean [entropy](../book/glossary.md#entropy). (A bisection: each round halves the
# interval in which the factor lies.)

# %%
from lib.evaluate.attention_maps import attention_entropy


def sharpen(model, entropy):
    queries = model.blocks[0].attention.q_proj.weight
    start, low, high = queries.data.clone(), 0.0, 50.0
    for _ in range(20):
        factor = (low + high) / 2
        queries.data = factor * start
        wide = attention_entropy(head_weights(model, windows)).mean() > entropy
        low, high = (factor, high) if wide else (low, factor)


# %% tags=["corpus", "measured:wide"]
for seed in range(3):
    trained, (random, _) = four[seed][0], train_heads(4, seed, n_steps=0)
    entropy = attention_entropy(head_weights(trained, windows)).mean()
    before = head_difference(head_weights(random, windows))
    sharpen(random, entropy)
    sharp = head_difference(head_weights(random, windows))
    after = head_difference(head_weights(trained, windows))
    print(f"seed {seed}: untrained {before:.2f}, trained {after:.2f};", end=" ")
    print(f"untrained, as sharp as the trained ones {sharp:.2f}")
    claim(after > before + 0.1, "trained heads differ more than untrained ones")
    claim(after < sharp - 0.05, "but less than random heads of the same sharpness")

# %% [markdown]
# With the first control alone we would report that training makes heads different. The second
# one says: it makes them *sharp*, and random heads that are as sharp differ even more. So this
# number does not show specialists. How much a head is needed, you only see by taking it away, as above.

# %% [markdown]
# ## Deeper: looking inside any model
#
# `head_weights` knows our model by heart. For other models we want the weights of *all* their
# attentions, wherever they sit. PyTorch has *hooks* for that: functions that it calls whenever a
# module runs. A pre-hook is called before, and may change the arguments. Ours asks for the weights
# (`|` joins two dictionaries).


# %% tags=["lib:evaluate.attention_maps._with_weights"]
from torch import Tensor


def _with_weights(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    return args, kwargs | {"need_weights": True}


# %% [markdown]
# A forward hook is called afterwards, with the module, its inputs and its output: `call[-1]` is
# the output, `[1]` its second part, the weights. `finally` removes the hooks whatever happens, so
# that the model is left as it was.

# %% tags=["lib:evaluate.attention_maps.attention_maps"]
@torch.no_grad()
def attention_maps(model: nn.Module, *inputs: Tensor) -> list[Tensor]:
    maps, hooks = [], []
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            hooks += [
                module.register_forward_pre_hook(_with_weights, with_kwargs=True),
                module.register_forward_hook(lambda *call: maps.append(call[-1][1])),
            ]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


# %%
maps = attention_maps(four_heads, windows)
print(len(maps), "attention, weights", tuple(maps[0].shape))
assert torch.equal(maps[0], head_weights(four_heads, windows))

# %% [markdown]
# The entropy says over how many places a row spreads. A second number says how far away they are:
# the **distance** of position $i$ is the mean of $|i - j|$ over the positions $j$ that it looks at,
# weighted by how much it looks.
#
# $$\text{distance}_i = \sum_j w_{ij} \, |i - j|$$


# %% tags=["lib:evaluate.attention_maps.attention_distance"]
def attention_distance(weights: Tensor) -> Tensor:
    n_queries, n_keys = weights.shape[-2:]
    if n_queries != n_keys:
        raise ValueError(f"weights has shape {tuple(weights.shape)}; it must be (T, T)")
    places = torch.arange(n_keys, device=weights.device)
    distances = (places.unsqueeze(1) - places).abs()  # (T, T)
    return (weights * distances).sum(dim=-1)


# %%
own = torch.eye(4)  # each position looks at itself only
even = causal_mask(4) / torch.arange(1, 5).unsqueeze(1)  # at all the past alike
print("own position:", attention_distance(own).tolist())
print("all the past:", attention_distance(even).tolist())

# %% [markdown]
# A head that looks at itself has distance 0. One that spreads over all of the past looks, on
# average, half of the way back. And the four trained heads?

# %% tags=["corpus", "measured:wide"]
for h in range(4):
    weights = maps[0][:, h]
    entropy, away = (f(weights).mean() for f in (attention_entropy, attention_distance))
    print(f"head {h + 1}: entropy {entropy:.2f} nats, distance {away:.1f} positions")
spread = causal_mask(32) / torch.arange(1, 33).unsqueeze(1)
all_alike = attention_distance(spread).mean().item()
print(f"all the past alike: distance {all_alike:.2f} positions")
nearest = min(attention_distance(maps[0][:, h]).mean().item() for h in range(4))
claim(nearest < all_alike / 3, "a head looks much nearer than all the past alike")

# %% [markdown]
# ## Deeper: sequences of unequal length
#
# A [batch](../book/glossary.md#batch) is a box: all its rows are equally long. Shorter sequences
# are filled up with an id that means "nothing here", called
# [padding](../book/glossary.md#padding). Nobody may look at it. Each `None` in square brackets
# adds a dimension of size 1: a mask `(B, 1, 1, T)` is shared by all heads and by all positions that
# look.


# %% tags=["naive:attention.padding_mask"]
def padding_mask(ids, pad_id):
    return (ids != pad_id)[:, None, None, :]


# %% [markdown]
# `&` is "and", entry by entry. With the causal mask it says: not the future *and* not the padding.
# Here is what the second sequence, which has two tokens, may look at (1 is "yes"):

# %%
ids = torch.tensor([[4, 7, 2, 9, 5], [3, 8, 0, 0, 0]])  # 0 is the padding
mask = causal_mask(5) & padding_mask(ids, pad_id=0)  # (B, 1, T, T)
for row in mask[1, 0].int().tolist():
    print(row)

# %% tags=["same:attention.padding_mask", "proof"]
# @title Proof: equal to the library's, and noise in the padding changes nothing
assert torch.equal(padding_mask(ids, 0), library.padding_mask(ids, 0))
attention, real = MultiHeadAttention(8, 2), ids != 0
vectors = torch.randn(2, 5, 8)
noisy = torch.where(real.unsqueeze(-1), vectors, torch.randn(2, 5, 8))
with_mask = [attention(y, padding_mask(ids, 0))[0][real] for y in (vectors, noisy)]
without = [attention(y)[0][real] for y in (vectors, noisy)]
assert torch.allclose(*with_mask, atol=1e-6) and not torch.allclose(*without, atol=1e-3)
print("with the mask, noise in the padding changes nothing; without it, it does")

# %% [markdown]
# The last three rows belong to padded positions. They look at the two real tokens, which does no
# harm as long as nobody uses what they return. Lesson 15 needs this mask for its sentences.
