# %% [markdown]
# # 07 · Multi-head attention
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/07_multi_head_attention.ipynb)
#
# You run several attentions side by side, so that a position can look at several places
# at once, and then you look at what each of them looks at.
#
# - **You will build** multi-head attention, first head by head and then as one matrix
#   product, a mask for padding, and two tools that look inside a model.
# - **You will see** four heads beat one head of the same size, what each head looks at,
#   what a model loses without it, and a bug that makes the loss *better*.
# - **Needs** lesson [06](06_attention.ipynb).
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
# The model of lesson [06](06_attention.ipynb), with one
# [head](../book/glossary.md#head) of attention, stands at 2.35 nats. It beats the
# bigram, but not by much. The weights of a head sum to 1 at each position: what it
# gives to an earlier character it takes away from the character it has just read, and
# it needs both. Can a position look at two places and keep them apart?
# <!-- from: 06_attention#experiment-one-head-on-shakespeare "mean of the three" -->

# %% [markdown]
# ## By hand
#
# Two positions hold a `t` and an `h`, each as a vector of two numbers. The second
# position wants to know both letters. One head with half of its weight on each gives
# the mean. (`@` is the matrix product, `flip(0)` turns the order of the rows around.)

# %%
import torch

th = torch.tensor([[2.0, 20.0], [6.0, 60.0]])  # row 0 is the t, row 1 is the h
ht = th.flip(0)

half = torch.tensor([0.5, 0.5])
print("one head: th gives", (half @ th).tolist(), "and ht gives", (half @ ht).tolist())
assert torch.equal(half @ th, half @ ht)

# %% [markdown]
# The mean of a `t` and an `h` is neither of them, and it does not say which came first.
# Uneven shares would tell the order, but each letter would still be blurred by the
# other.
#
# Now cut the vectors in two. One head gets the first number of each vector, another
# head the second, and each has weights of its own: the first looks at position 0, the
# second at position 1.

# %%
first, second = torch.eye(2)  # two rows of weights: (1, 0) and (0, 1)


def two_heads_by_hand(values):
    return torch.cat([first @ values[:, :1], second @ values[:, 1:]])


print("two heads: th gives", two_heads_by_hand(th).tolist())
print("           ht gives", two_heads_by_hand(ht).tolist())
assert not torch.equal(two_heads_by_hand(th), two_heads_by_hand(ht))

# %% [markdown]
# The result still has two numbers, but now one comes from the `t` and the other from
# the `h`, and both are unmixed. That is the whole idea: **as many numbers as before,
# shared out among heads that look at different places.** The price is that each head
# hands over fewer numbers. (Here the vectors themselves were cut, to keep it small. In
# the formula below every head reads the whole vector, and a matrix of its own decides
# which few numbers it makes of it.)

# %% [markdown]
# ## The formula
#
# Each head $h = 1, \ldots, H$ makes its own queries, keys and values from $x$, narrow
# ones, and attends as in lesson [06](06_attention.ipynb). The results are put side by
# side and go through one more matrix:
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
# | $W^O$ | `(D, D)` | the output projection: mixes what the heads bring |
#
# This is section 3.2.2 of Vaswani et al. (2017). [The
# paper](../book/bibliography.md#vaswani-2017) has $D = 512$ and 8 heads of 64 numbers
# each, so it costs about as much as one head of 512. (The paper writes $h$ for the
# number of heads and $d_k$ for $D_h$. Masks and biases are left out of the formula.) The
# product with $W^O$ is a sum with one term for each head: its slice times its own rows
# of $W^O$.

# %% [markdown]
# ## Build
#
# ### Head by head
#
# A head is what you built in lesson [06](06_attention.ipynb), with narrower queries,
# keys and values.

# %%
from torch import Tensor, nn

from lib.attention import causal_mask, scaled_dot_product_attention


class Head(nn.Module):
    def __init__(self, d_model, d_head):
        super().__init__()
        self.query = nn.Linear(d_model, d_head)
        self.key = nn.Linear(d_model, d_head)
        self.value = nn.Linear(d_model, d_head)

    def forward(self, x, mask):
        q, k, v = self.query(x), self.key(x), self.value(x)  # each (B, T, Dh)
        return scaled_dot_product_attention(q, k, v, mask)[0]


# %% [markdown]
# Several of them in a list, their results side by side, one more linear layer: that is
# the formula, word for word. (`nn.ModuleList` is a list whose modules PyTorch knows
# about, so that their parameters are trained.)


# %%
class HeadsInALoop(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        d_head = d_model // n_heads
        self.heads = nn.ModuleList(Head(d_model, d_head) for _ in range(n_heads))
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x, mask):
        found = [head(x, mask) for head in self.heads]  # H times (B, T, Dh)
        return self.out(torch.cat(found, dim=-1))  # (B, T, D)


# %%
torch.manual_seed(0)
loop = HeadsInALoop(d_model=8, n_heads=2)
x = torch.randn(1, 3, 8)
print(tuple(x.shape), "->", tuple(loop(x, causal_mask(3)).shape))

# %% [markdown]
# ### All heads at once
#
# The loop is easy to read, but it makes many small matrix products where one large one
# would do. A linear layer from 8 to 8 *is* two layers from 8 to 4, one below the other
# in the same matrix. So one product gives the queries of all heads, side by side in
# each row. What is left is to take them apart.
#
# Watch that on entries that say where they come from. There are three positions with
# eight numbers each; the tens digit is the position.

# %%
entries = 10 * torch.arange(3).unsqueeze(1) + torch.arange(8)
entries = entries.unsqueeze(0)  # (1, 3, 8): B, T, D
for row in entries[0]:
    print(row.tolist())

# %% [markdown]
# `unflatten(-1, (-1, 4))` cuts the last dimension into pieces of 4, as many as there
# are (the inner `-1`). Now the head is the third of four dimensions, `(B, T, H, Dh)`.
# Attention works on the last two, which must be positions and numbers, so
# `transpose(1, 2)` swaps T and H.

# %%
cut = entries.unflatten(-1, (-1, 4))  # (B, T, H, Dh)
by_head = cut.transpose(1, 2)  # (B, H, T, Dh)
print(tuple(cut.shape), "->", tuple(by_head.shape))
for h in range(2):
    print(f"head {h + 1}:", by_head[0, h].tolist())

# %% [markdown]
# Each head has three rows, one for each position. Head 1 has the left half of every
# row, head 2 the right half. The way back is the same in reverse: swap, then
# `flatten(2)`, which makes one dimension of all from number 2 on.

# %%
back = by_head.transpose(1, 2).flatten(2)  # (B, H, T, Dh) -> (B, T, D)
assert torch.equal(back, entries)
print("split and merged: unchanged, shape", tuple(back.shape))

# %% [markdown]
# ### The module
#
# Now the class, without the checks and the options that the library's adds. Three things
# are new.
#
# - Queries come from `x`, keys and values from a `memory`. Without a memory, `x` looks
#   at itself: [self-attention](../book/glossary.md#self-attention). With one, it looks
#   at another sequence: [cross-attention](../book/glossary.md#cross-attention).
# - `need_weights=True` gives the attention weights as well. Without it the faster way
#   of lesson [06](06_attention.ipynb) is taken, which never writes them down.
# - `bias=False` leaves out the biases of the four linear layers.
#
# `by_head` is the split from above. `read` is a method of its own: a memory is often read
# by many queries, and its keys and values stay the same. (What stands after the `*` must
# be given by name, as in `memory=...`.)


# %% tags=["naive:attention.MultiHeadAttention"]
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, *, bias=True):
        super().__init__()
        self.d_model, self.d_head = d_model, d_model // n_heads
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, d_model, bias=bias)
        self.v_proj = nn.Linear(d_model, d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(self, x, mask=None, *, memory=None, need_weights=False):
        q = self.by_head(self.q_proj(x))  # (B, H, T, Dh)
        k, v = self.read(x if memory is None else memory)  # both (B, H, T_k, Dh)
        mixed, weights = scaled_dot_product_attention(
            q, k, v, mask, need_weights=need_weights
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights

    def read(self, memory):
        return self.by_head(self.k_proj(memory)), self.by_head(self.v_proj(memory))

    def by_head(self, wide):  # (B, T, H Dh) -> (B, H, T, Dh)
        return wide.unflatten(-1, (-1, self.d_head)).transpose(1, 2)


# %% [markdown]
# Is it the loop? Stack the matrices of the small heads, one below the other, and put
# them into the large module. Then both must give the same output. (`load_state_dict`
# copies all parameters of one module into another.)


# %%
def stack_heads(loop):
    attention = MultiHeadAttention(loop.out.in_features, len(loop.heads))
    wide = (attention.q_proj, attention.k_proj, attention.v_proj)
    for name, projection in zip(("query", "key", "value"), wide):
        small = [getattr(head, name) for head in loop.heads]
        projection.weight.data = torch.cat([s.weight for s in small]).detach()
        projection.bias.data = torch.cat([s.bias for s in small]).detach()
    attention.out_proj.load_state_dict(loop.out.state_dict())
    return attention


attention = stack_heads(loop)
difference = (attention(x, causal_mask(3))[0] - loop(x, causal_mask(3))).abs().max()
print("the loop and the module agree:", difference.item() < 1e-6)
assert difference < 1e-6

# %% [markdown]
# The library's class has the same parts under the same names, so it takes our weights. It
# refuses shapes that do not fit, and has more options, which later lessons bring.

# %% tags=["same:attention.MultiHeadAttention", "proof"]
from lib import attention as library

theirs = library.MultiHeadAttention(8, 2)
theirs.load_state_dict(attention.state_dict())
for mask in (None, causal_mask(3)):
    pairs = zip(*(a(x, mask, need_weights=True) for a in (attention, theirs)))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
print("the library's module gives the same outputs and weights")

# %% [markdown]
# ### More heads cost no parameters
#
# How many parameters do 1, 8 and 64 heads have at the width of the paper?

# %%
d_model = 512
for n_heads in (1, 8, 64):
    module = MultiHeadAttention(d_model, n_heads)
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    print(f"{n_heads:2} heads of {module.d_head:3}: {n_parameters:,} parameters")
    assert n_parameters == 4 * d_model**2 + 4 * d_model

# %% [markdown]
# Always 1,050,624: four matrices of $D \times D$ and four biases of $D$. Heads are a
# way to *share out* the numbers, not to have more of them. (What does grow is the
# weights of attention: each head has its own table of $T \times T$.)
#
# ### Looking at something else
#
# Three positions look at a memory of five. Predict the shape of the weights before you
# look.

# %%
memory = torch.randn(1, 5, 8)
output, weights = attention(x, memory=memory, need_weights=True)
print("output", tuple(output.shape), "weights", tuple(weights.shape))
assert torch.allclose(weights.sum(dim=-1), torch.ones(1, 2, 3))

# %% [markdown]
# The weights are `(B, H, T_q, T_k)`: for each head, one row per position that looks,
# one column per position that is looked at. Each row sums to 1. In lesson 15, a French
# sentence will look at an English one in this way.
#
# ### Sentences of unequal length
#
# A [batch](../book/glossary.md#batch) is a box: all its rows are equally long. Shorter
# sequences are filled up with an id that means "nothing here", called
# [padding](../book/glossary.md#padding). Nobody may look at it.


# %% tags=["lib:attention.padding_mask"]
def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    if ids.dim() != 2:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; it must be (B, T)")
    return (ids != pad_id)[:, None, None, :]


# %% [markdown]
# Each `None` in the square brackets adds a dimension of size 1: `(B, 1, 1, T)` is
# repeated for all heads and for all positions that look. `&` is "and", entry by entry.
# With the causal mask it says: not the future *and* not the padding. Here is what the
# second sentence, which has two tokens, may look at (1 is "yes"):

# %%
ids = torch.tensor([[4, 7, 2, 9, 5], [3, 8, 0, 0, 0]])  # 0 is the padding
padding = padding_mask(ids, pad_id=0)
mask = causal_mask(5) & padding
print(tuple(padding.shape), "->", tuple(mask.shape))
for row in mask[1, 0].int().tolist():
    print(row)

# %% [markdown]
# The last three rows belong to padded positions. They still look at the two real
# tokens, which does no harm as long as nobody uses what they give.
#
# If the mask works, it makes no difference what stands in the padding. Put noise there
# and compare the real positions.

# %%
embedded = torch.randn(2, 5, 8)
noisy = torch.where((ids == 0).unsqueeze(-1), torch.randn(2, 5, 8), embedded)
real = ids != 0  # (B, T)
with_mask = [attention(y, padding)[0][real] for y in (embedded, noisy)]
without = [attention(y)[0][real] for y in (embedded, noisy)]
print("with the mask, the same:   ", torch.allclose(*with_mask, atol=1e-6))
print("without it, the same:      ", torch.allclose(*without, atol=1e-6))
assert torch.allclose(*with_mask, atol=1e-6) and not torch.allclose(*without, atol=1e-3)

# %% [markdown]
# With the mask the padding is invisible. Without it, a sentence would mean something
# else depending on what stands in the padding, and on how much of it there is. (With
# padding at the *front*, some rows of the combined mask have no True at all; the
# library gives zeros there, not NaN.)
#
# ### Looking inside
#
# A model returns logits, not weights. To see the weights of all its attentions, we use
# hooks. A *hook* is a function that PyTorch calls whenever a module runs: a pre-hook
# before, where it may change the arguments, and a forward hook after, where it gets the
# output. Our pre-hook asks for the weights (`|` joins two dictionaries):


# %% tags=["lib:evaluate.attention_maps._with_weights"]
def _with_weights(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    return args, kwargs | {"need_weights": True}


# %% [markdown]
# and our forward hook keeps them. It is called with the module, its inputs and its
# output; `call[-1]` is the output, and `[1]` its second part. `finally` removes the
# hooks, whatever happens, so that the model is left as it was.


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


# %% [markdown]
# Lesson [06](06_attention.ipynb) summed up a row of weights by its entropy: how many
# places it spreads over. A second number says how far away these places are. The
# **distance** of position $i$ is the mean of $|i - j|$ over the positions $j$ that it
# looks at, weighted by how much it looks:
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
spread = causal_mask(4) / torch.arange(1, 5).unsqueeze(1)  # at all the past alike
print("own position: ", attention_distance(own).tolist())
print("all the past: ", attention_distance(spread).tolist())
assert attention_distance(own).sum() == 0

# %% [markdown]
# A head that looks at itself has distance 0. One that spreads over the whole past looks
# half of the way back on average.
#
# ### A model with heads
#
# Now train one. The frame is `LanguageModel` from lesson [06](06_attention.ipynb):
# token vectors, positions, blocks, logits. The only block is our attention, with a
# causal mask. First the text.

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
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")

# %% [markdown]
# A block must return vectors only, so a small wrapper drops the weights.

# %%
from lib.models.language_model import LanguageModel
from lib.train import estimate_loss, fit


class CausalHeads(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads, bias=False)

    def forward(self, x, mask):
        return self.attention(x, mask)[0]


# %% [markdown]
# The next function builds a model of width 64 for 32 characters of context, trains it,
# and measures its loss on the whole validation split. We will call it with other seeds,
# other numbers of heads and another block.


# %%
def train_heads(n_heads, seed, n_steps=600, block=CausalHeads):
    torch.manual_seed(seed)
    model = LanguageModel(V, 64, 32, [block(64, n_heads)])
    generator = torch.Generator().manual_seed(seed)
    fit(model, lambda: random_batch(train, 32, 32, generator), n_steps, 3e-3)
    return model, estimate_loss(model, validation, 32)


# %% tags=["corpus", "measured"]
four_heads, four_loss = train_heads(4, seed=0)
n_parameters = sum(parameter.numel() for parameter in four_heads.parameters())
print(f"4 heads: {n_parameters:,} parameters, {four_loss:.3f} nats on validation")
assert n_parameters == 26_817

# %% [markdown]
# It reaches 2.27 nats. The counted bigram of lesson [02](02_bigram.ipynb) stands at
# 2.4819. Is that the heads, or would one head have done as well? The experiment below
# answers that. First make sure that the module is right.
# <!-- from: a-model-with-heads "4 heads:" --> <!-- from: 02_bigram#smoothing "validation:" -->

# %% [markdown]
# ## Check
#
# ### Equal to PyTorch's own
#
# `nn.MultiheadAttention` has the same parts under other names: it keeps the matrices
# for queries, keys and values in one tensor, one below the other.


# %%
def as_torchs(ours):
    n_heads = ours.d_model // ours.d_head
    torchs = nn.MultiheadAttention(ours.d_model, n_heads, batch_first=True)
    inputs = (ours.q_proj, ours.k_proj, ours.v_proj)
    torchs.in_proj_weight.data = torch.cat([p.weight for p in inputs]).detach()
    torchs.in_proj_bias.data = torch.cat([p.bias for p in inputs]).detach()
    torchs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return torchs


# %% [markdown]
# Two cases: self-attention with a causal mask, and cross-attention to a padded memory.
# PyTorch's masks say the opposite of ours: True *hides*, so they get a `~` ("not").

# %%
ours = MultiHeadAttention(12, 3)
torchs = as_torchs(ours)
x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
hidden, per_head = ~causal_mask(4), {"average_attn_weights": False}

mine, my_weights = ours(x, causal_mask(4), need_weights=True)
theirs, their_weights = torchs(x, x, x, attn_mask=hidden, **per_head)
assert torch.allclose(mine, theirs, atol=1e-6)
assert torch.allclose(my_weights, their_weights, atol=1e-6)

mine, _ = ours(x, padding_mask(ids, pad_id=0), memory=memory)
theirs, _ = torchs(x, memory, memory, key_padding_mask=ids == 0)
assert torch.allclose(mine, theirs, atol=1e-6)
print("outputs and weights agree to 1e-6")

# %% [markdown]
# Training follows gradients, so these must agree as well.

# %%
ours(x, memory=memory)[0].square().mean().backward()
torchs(x, memory, memory)[0].square().mean().backward()

wide = torch.cat([p.weight.grad for p in (ours.q_proj, ours.k_proj, ours.v_proj)])
assert torch.allclose(wide, torchs.in_proj_weight.grad, atol=1e-5)
assert torch.allclose(ours.out_proj.weight.grad, torchs.out_proj.weight.grad, atol=1e-5)
print("gradients agree to 1e-5")

# %% [markdown]
# ### The classic bug: a view without a transpose
#
# We need the shape `(B, H, T, Dh)`. Why two moves, when `view` gives any shape in one?
# Ask the numbered entries. The tens digit is the position, and each row of a head
# should hold one position.

# %%
wrong = entries.view(1, 2, 3, 4)  # straight to (B, H, T, Dh)
assert wrong.shape == by_head.shape
for h in range(2):
    print(f"head {h + 1}: right", by_head[0, h].tolist())
    print("        wrong", wrong[0, h].tolist())

# %% [markdown]
# The shape is right and nothing crashes, but the content is wrong. `view` only cuts the
# long row of numbers anew. Head 1 now holds both halves of position 0 and half of
# position 1; head 2 starts in the middle of position 1. What head 2 takes for its first
# row is a piece of a *later* position. The causal mask cannot know that. Here is the
# bug in a block:


# %%
class MixedHeads(CausalHeads):
    def split(self, projected):  # (B, T, D) -> (B, H, T, Dh), wrongly
        B, T, D = projected.shape
        d_head = self.attention.d_head
        return projected.view(B, D // d_head, T, d_head)

    def merge(self, mixed):  # (B, H, T, Dh) -> (B, T, D), rightly
        return mixed.transpose(1, 2).flatten(2)

    def forward(self, x, mask):
        a = self.attention
        q, k, v = (self.split(p(x)) for p in (a.q_proj, a.k_proj, a.v_proj))
        return a.out_proj(self.merge(scaled_dot_product_attention(q, k, v, mask)[0]))


# %% [markdown]
# Train it for a few steps, and the right one as well.

# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

right_loss = train_heads(4, seed=0, n_steps=200)[1]
mixed_loss = train_heads(4, seed=0, n_steps=200, block=MixedHeads)[1]
print(f"right: {right_loss:.2f} nats after 200 steps")
print(f"wrong: {mixed_loss:.2f} nats after 200 steps")
claim(mixed_loss < right_loss - 0.4, "the block with the bug has a far better loss")

# %% [markdown]
# The wrong one is *better*, by more than half a nat, on the validation split. It
# reads the answer. A loss that is too good to be true is the mark of a leak, and the
# test from lesson [06](06_attention.ipynb) finds it: change the last position and see
# whether earlier outputs move.


# %%
def sees_the_future(block):
    x, mask = torch.randn(1, 8, 64), causal_mask(8)
    changed = x.clone()
    changed[:, -1] += 1
    before, after = block(x, mask)[:, :-1], block(changed, mask)[:, :-1]
    return not torch.allclose(before, after, atol=1e-6)


right_block, mixed_block = CausalHeads(64, 4), MixedHeads(64, 4)
print("right block sees the future:", sees_the_future(right_block))
print("wrong block sees the future:", sees_the_future(mixed_block))
assert not sees_the_future(right_block) and sees_the_future(mixed_block)

# %% [markdown]
# A second test finds this bug as well, and also mix-ups that do not leak: give the
# block the weights of the loop and ask for the loop's output.

# %%
loop = HeadsInALoop(64, 4)
x, mask = torch.randn(1, 8, 64), causal_mask(8)
for name, block in (("right", right_block), ("wrong", mixed_block)):
    block.attention = stack_heads(loop)
    same = torch.allclose(block(x, mask), loop(x, mask), atol=1e-6)
    print(f"{name} block equals the loop: {same}")
    assert same == (name == "right")

# %% [markdown]
# Test both wherever you split heads: that the future changes nothing, and that each
# head gets its own slice. (And a third thing, as the last question below shows: that
# tokens *added* at the end change nothing.)

# %% [markdown]
# ## Look
#
# What do the four heads of the trained model look at? Each square shows one of them on
# the same line. Rows look, columns are looked at (␣ is the space). Look for dark cells
# on the diagonal, where a position looks at itself, and just left of it, at the
# character before.

# %% mystnb={"image": {"alt": "Four square heat maps in two rows, one per head, for the line To be, or not to be. White above the diagonal. In some heads the dark cells lie on the diagonal, in others just below it or further to the left."}} tags=["corpus"]
from lib.show import plot

line = "To be, or not to be"
labels = plot.visible(line)
line_ids = torch.tensor([tokenizer.encode(line)])
line_maps = attention_maps(four_heads, line_ids)[0][0]  # (H, T, T)
assert (line_maps.triu(diagonal=1) == 0).all()
plot.attention_maps([line_maps], labels)

# %% [markdown]
# *Four heads of one layer, four patterns. None of them looks to the right of the
# diagonal.*
#
# Move the slider to see one head at a time, with the letters large enough to read.

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.evaluate.attention_maps import attention_entropy
from lib.show.frames import slider


def draw(h):
    axes = "at this position", "this position looks"
    return plot.heat_map(line_maps[h], labels, labels, *axes, top=1, label="weight")


def describe(h):
    spread = attention_entropy(line_maps[h]).mean()
    away = attention_distance(line_maps[h]).mean()
    own, before = (line_maps[h].diagonal(i).mean() for i in (0, -1))
    return (
        f"Weights of head {h + 1} on the line. Mean entropy {spread:.2f} nats, mean "
        f"distance {away:.2f} positions; on the diagonal {own:.2f} on average, just "
        f"left of it {before:.2f}."
    )


slider(draw, range(4), "head", alt=describe, name=lambda h: str(h + 1), start=3)

# %% [markdown]
# *The same line through each head: where a row is one dark cell, the head has made a
# choice; where it is a row of pale cells, it takes a little of many.*
#
# Here and there a row has a dark cell on an earlier copy of its own letter. Is there a
# head that looks for such copies? One line can deceive. So take the mean
# over 64 windows of the validation split: entropy, distance, the weight that goes to
# the own character and to the one before it, and the part of the weight on earlier
# characters that goes to copies of the own one. (`diagonal(-1)` are the entries just
# left of the diagonal; `tril(-1)` keeps what lies below it.)

# %%
windows = validation[: 64 * 32].view(64, 32)
copies = (windows.unsqueeze(2) == windows.unsqueeze(1)).tril(-1)  # (64, 32, 32)


def describe_heads(model):
    weights = attention_maps(model, windows)[0]  # (64, H, 32, 32)
    numbers = {
        "entropy": attention_entropy(weights),  # (64, H, 32)
        "distance": attention_distance(weights),
        "own": weights.diagonal(0, dim1=-2, dim2=-1),
        "before": weights.diagonal(-1, dim1=-2, dim2=-1),
        "copies": (weights * copies.unsqueeze(1)).sum(dim=-1),
    }
    means = {name: values.mean(dim=(0, 2)) for name, values in numbers.items()}
    means["copies"] /= 1 - means["own"]  # of what goes to earlier characters
    return means


# %% tags=["corpus", "measured:wide"]
numbers = describe_heads(four_heads)
print("       " + "  ".join(f"{name:>8}" for name in numbers))
for h in range(4):
    print(f"head {h + 1} " + "  ".join(f"{v[h]:8.2f}" for v in numbers.values()))
evenly = causal_mask(32) / torch.arange(1, 33).unsqueeze(1)
earlier = 1 - evenly.diagonal().mean()
even_copies = (evenly * copies).sum(dim=-1).mean() / earlier
print(f"copies, for a head that looks at all the past alike: {even_copies:.2f}")
claim((numbers["own"] > 0.5).any(), "one head keeps most weight on the own character")
sharper = numbers["before"] > numbers["own"]
claim(sharper.any(), "another gives more to the character before")
most = numbers["copies"].max()
claim(2 * even_copies < most < 0.5, "a head gives copies more, and not half")

# %% [markdown]
# The heads differ. One keeps most of its weight on its own character, another gives
# more to the character before than to its own.
#
# And the copies? There is a head that gives them more than twice what a head gives that
# looks at all the past alike. But more than half of what goes to earlier characters
# goes elsewhere: "it looks for the same letter" says too much. A picture of one line is
# where a guess begins, not where it ends.

# %% [markdown]
# ## Experiment: one head or four?
#
# Both models have 26,817 parameters, the same batches and the same 600 steps. Three
# [seeds](../book/glossary.md#seed) each, so that luck has a chance to show.
# <!-- from: a-model-with-heads "26,817 parameters" -->
# <!-- from: a-model-with-heads "n_steps=600" -->

# %% tags=["corpus", "measured"]
import time

one, four = [train_heads(1, seed=0)], [(four_heads, four_loss)]
for seed in (1, 2):
    one.append(train_heads(1, seed))
    start = time.process_time()
    four.append(train_heads(4, seed))
    cpu_seconds = time.process_time() - start
for seed in range(3):
    loss_1, loss_4 = one[seed][1], four[seed][1]
    print(f"seed {seed}: 1 head {loss_1:.3f}, 4 heads {loss_4:.3f} nats", end=", ")
    print(f"better by {loss_1 - loss_4:.2f}")
    claim(loss_1 - loss_4 > 0.08, "four heads beat one head, by much")

# %% [markdown]
# Four heads win with every seed, by about a seventh of a nat, and the seeds of one
# column differ by far less. What did the single head do with its one choice?

# %% tags=["corpus", "measured:wide"]
for seed in range(3):
    alone, shared = describe_heads(one[seed][0]), describe_heads(four[seed][0])
    print(
        f"seed {seed}: weight on the character before: "
        f"1 head {alone['before'].item():.2f}, best of 4 {shared['before'].max():.2f}"
    )
    claim(alone["own"].item() > 0.5, "the single head keeps most for its own")
    more = shared["before"].max() > 1.5 * alone["before"].item()
    claim(more, "one of four heads looks at the character before much more")

# %% [markdown]
# The single head keeps more than half of its weight on its own character, in all three
# models, and gives the one before about a fifth. Among four heads there is always one
# that gives it much more. (Which of the four that is differs from seed to seed: the
# order of the heads means nothing.) That is the conflict of the first section, and how
# the model resolves it: **with several heads a position need not divide its
# attention.** (Compare within this table: the single head of lesson
# [06](06_attention.ipynb) got further, in more than three times as many steps.)
#
# The mean of the three runs goes on the [ladder](../book/ladder.md), with a sample of
# the first.

# %% tags=["corpus", "measured"]
mean_loss = sum(loss for _, loss in four) / 3
print(f"four heads: {mean_loss:.4f} nats, the mean of three seeds")

# %% tags=["corpus", "sample"]
from lib.generate import sample
from lib.show.ladder import rung

prompt = torch.tensor([tokenizer.encode("T")])
generator = torch.Generator().manual_seed(1)
text = tokenizer.decode(sample(four_heads, prompt, 120, 1.0, generator)[0, 1:])
rung("Four heads of attention", 26_817, mean_loss, cpu_seconds, sample=text, seeds=3)

# %% [markdown]
# ### Are the heads different?
#
# Compare two heads position by position: half of the sum of the absolute differences of
# their weights. It is 0 when both look at the same places and 1 when they have no place
# in common. An untrained model is the yardstick.


# %%
def head_difference(model):
    weights = attention_maps(model, windows)[0]  # (64, H, 32, 32)
    pairs = weights.unsqueeze(1) - weights.unsqueeze(2)  # (64, H, H, 32, 32)
    halves = pairs.abs().sum(dim=-1).mean(dim=(0, 3)) / 2  # (H, H)
    n_heads = len(halves)
    return halves.sum().item() / (n_heads * (n_heads - 1))  # a head against itself is 0


# %% tags=["corpus", "measured:wide"]
torch.manual_seed(0)
untrained = LanguageModel(V, 64, 32, [CausalHeads(64, 4)])
before_training = head_difference(untrained)
trained = [head_difference(model) for model, _ in four]
print(f"untrained: {before_training:.2f}")
print("trained, three seeds:", [round(difference, 2) for difference in trained])
claim(min(trained) > before_training + 0.1, "training takes the heads further apart")

untrained.blocks[0].attention.q_proj.weight.data *= 6
sharp = head_difference(untrained)
print(f"untrained, with queries six times as large: {sharp:.2f}")
claim(sharp > max(trained), "sharp heads differ, trained or not")

# %% [markdown]
# Training takes the heads further apart. Does that make each of them a specialist? The
# last line says: be careful. In an *untrained* model with larger queries the heads
# differ even more. Their softmax makes sharp choices, at random, and two of these
# rarely meet. So the number says that the trained heads choose, and not all the same
# places. What a head is good for, it does not say.
#
# ### Take a head away
#
# Which head does a model need? Remove one: set the columns of the output projection
# that read its slice to zero, and measure the loss again. (`deepcopy` makes a copy to
# work on.)

# %%
import copy


def loss_without(model, head):
    pruned = copy.deepcopy(model)
    attention = pruned.blocks[0].attention
    start = head * attention.d_head
    attention.out_proj.weight.data[:, start : start + attention.d_head] = 0
    return estimate_loss(pruned, validation, 32)


# %% tags=["corpus", "measured:wide"]
costs, entropies = [], []
for seed, (model, loss) in enumerate(four):
    cost = [loss_without(model, head) - loss for head in range(4)]
    print(f"seed {seed}:", "  ".join(f"{c:+.2f}" for c in cost), "nats")
    costs += cost
    entropies += describe_heads(model)["entropy"].tolist()
claim(min(costs) > 0.05, "each of the twelve heads is missed")
correlation = torch.corrcoef(torch.tensor([costs, entropies]))[0, 1]
print(f"correlation of cost and entropy: {correlation:.1f}")
claim(correlation < -0.3, "heads that look at few places are missed more")

# %% [markdown]
# Each of the twelve heads is missed. Heads that look at few places tend to be missed
# more (the correlation is negative), but all twelve come from models of one size on one
# task: that is no law.
#
# Be careful with such numbers. They say what *this* model leans on, not what the task
# needs: the other heads were trained to count on the missing one, and here nothing else
# carries information past the attention. The first question under *Predict, then run*
# shows how well a model does that never had more than two heads.

# %% [markdown]
# ### What it has not learned yet
#
# After `th` an `e` is likely, after `gh` it is not. Take the probability that the model
# with four heads gives to an `e`, averaged over all places of 1,000 windows where the
# pair has just been read. Compare it with the share of `e` in the training text.

# %% tags=["corpus", "measured:wide"]
e, texts = tokenizer.ids["e"], validation[: 1_000 * 32].view(-1, 32)
with torch.no_grad():
    chance = four_heads(texts).softmax(dim=-1)[:, 1:, e]  # (1000, 31)
for pair in ("th", "ch", "gh"):
    first, second = tokenizer.encode(pair)
    here = (texts[:, :-1] == first) & (texts[:, 1:] == second)
    guess = chance[here].mean().item()
    after = train[2:][(train[:-2] == first) & (train[1:-1] == second)]
    share = (after == e).float().mean().item()
    print(f"an 'e' after {pair!r}: model {guess:.2f}, text {share:.2f}")
far_off = guess > 5 * share
claim(corpus.is_stand_in or far_off, "the model expects an e after gh far too often")

# %% [markdown]
# For `th` the model is about right. For `gh`, after this training, it is far off: it
# has learned what follows an `h`, and hardly yet that the `g` before it changes
# everything. (A longer training would get there in the end.)

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A model is trained with two heads, each half as wide as the model. Does it stand nearer to one head or to four?</summary>
#
# Nearer to four. A model that was trained with four loses more with any *one* head that
# you take away than it would have lost with two from the start. What a trained model
# misses and what the task needs are two things. (One seed.)
#
# </details>
#
# <details><summary>You reorder the heads: the slices of the three input projections, and in the same way the columns of the output projection. What happens to the outputs?</summary>
#
# Nothing. The sum over the heads does not care about their order.
#
# </details>
#
# <details><summary>Somebody splits with a bare <code>view</code> and merges with a bare <code>view</code> too. The shapes are right both ways. Does the test for the future find it?</summary>
#
# No, because nothing leaks: the merge puts each piece back where the split took it
# from. But each head now works on a quarter of the sequence, and which quarter depends
# on how long the sequence is. So the output of a position changes when tokens are
# *added* after it. The loss says nothing either: after a short training it is no worse
# than the right one. The comparison with the loop finds it.
#
# </details>

# %% tags=["corpus", "measured"]
two_loss = train_heads(2, seed=0)[1]
print(f"1 head {one[0][1]:.3f}, 2 heads {two_loss:.3f}, 4 heads {four_loss:.3f} nats")
claim(two_loss < (one[0][1] + four_loss) / 2, "two heads stand nearer to four")
claim(two_loss - four_loss < min(costs), "to take a head away costs more than that")

# %%
order = torch.tensor([2, 0, 3, 1])
slices = torch.arange(64).view(4, 16)[order].flatten()  # 16 rows for each head
reordered, x = copy.deepcopy(right_block), torch.randn(1, 8, 64)
a = reordered.attention
for projection in (a.q_proj, a.k_proj, a.v_proj):
    projection.weight.data = projection.weight.data[slices]
    projection.bias.data = projection.bias.data[slices]
a.out_proj.weight.data = a.out_proj.weight.data[:, slices]
same = torch.allclose(reordered(x, mask), right_block(x, mask), atol=1e-6)
print("heads in another order, the same output:", same)
assert same

# %% [markdown]
# And the two bare views. The only change is the way back.


# %%
class TwiceMixedHeads(MixedHeads):
    def merge(self, mixed):  # (B, H, T, Dh) -> (B, T, D), as wrongly as the split
        B, H, T, d_head = mixed.shape
        return mixed.reshape(B, T, H * d_head)


block = TwiceMixedHeads(64, 4)
short, long = block(x[:, :6], causal_mask(6)), block(x, causal_mask(8))[:, :6]
print("sees the future:", sees_the_future(block))
print("the same when two tokens follow:", torch.allclose(short, long))
assert not sees_the_future(block) and not torch.allclose(short, long, atol=1e-3)
block.attention = stack_heads(loop)
same = torch.allclose(block(x, mask), loop(x, mask), atol=1e-6)
print("equals the loop with the loop's weights:", same)
assert not same

# %% tags=["corpus", "measured"]
twice_loss = train_heads(4, seed=0, n_steps=200, block=TwiceMixedHeads)[1]
print(f"mixed twice: {twice_loss:.2f} nats after 200 steps, right: {right_loss:.2f}")
claim(twice_loss < right_loss + 0.05, "the loss does not betray the second bug")

# %% [markdown]
# ## Exercises

# %%
from lib.checks.lesson_07 import (
    check_head_contributions,
    check_lengths_mask,
    check_multiplications,
    check_two_heads,
)

# %% [markdown]
# ### Exercise 1: Count the work
#
# *warm-up · 10 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-1-count-the-work)
#
# To multiply an $(n, m)$ matrix with an $(m, p)$ matrix takes $n \cdot m \cdot p$
# multiplications. Return how many `MultiHeadAttention(d_model, n_heads)` makes for one
# sequence of `length` tokens that looks at itself: in its projections, in the scores of
# all heads, and in mixing the values. Biases, scaling, masks and the softmax do not
# count. Then ask: what does `n_heads` change, and from which length on do scores and
# mixing cost more than the projections?
#
# <details><summary>Hint</summary>
#
# Go through `forward` line by line and write down the shape of each matrix. There are
# four projections, and for each head two products with narrow matrices.
#
# </details>


# %%
def multiplications(length, d_model, n_heads):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_multiplications(multiplications)

# %% [markdown]
# ### Exercise 2: A mask from lengths
#
# *core · 10 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-2-a-mask-from-lengths)
#
# Sometimes you know how long each sequence is, but no id is reserved for padding. Given
# `lengths`, integers of shape `(B,)`, and the length `T` to which all are filled up at
# the end, return a bool mask `(B, 1, 1, T)`: True where a real token stands.
#
# <details><summary>Hint</summary>
#
# `torch.arange(T)` are the positions. Compare them with the lengths; a column `(B, 1)`
# against a row `(T,)` gives a table `(B, T)`.
#
# </details>


# %%
def lengths_mask(lengths, T):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_lengths_mask(lengths_mask)

# %% [markdown]
# ### Exercise 3: What each head adds
#
# *core · 25 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-3-what-each-head-adds)
#
# "Put side by side, times one matrix" is the same as a sum with one term for each head.
# Given a `MultiHeadAttention`, vectors `x` of shape `(B, T, D)` and a mask, return the
# terms: a tensor `(H, B, T, D)` whose entry `h` is what head `h` alone adds to the
# output, without the bias of the output projection. All terms together, plus that bias,
# must give the output. Leave the attention as it is.
#
# <details><summary>Hint</summary>
#
# `attention.read(x)` gives keys and values by head. Make the queries from
# `attention.q_proj(x)` and split them in the same way; `scaled_dot_product_attention` then
# gives what each head has gathered. Head `h` fills `d_head` of the numbers that go into
# `out_proj`: which columns of `out_proj.weight` do these meet? A linear layer computes
# $x W^\top$.
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
# *stretch · 35 minutes* · [Solution](../solutions/07_multi_head_attention.ipynb#exercise-4-two-heads-by-hand)
#
# Set the weights yourself, without training. Each vector has 16 numbers: the first 8
# say which of eight letters stands here (a 1 at its place, else 0), the last 8 at which
# of eight positions (likewise). Return a `MultiHeadAttention(16, 2, bias=False)` that,
# with a causal mask, gives each position from the second one on **its own letter** in
# the first 8 numbers of the output and **the letter before** in the last 8, each entry
# within a hundredth. Sequences may be shorter than eight. Set weights with
# `attention.q_proj.weight.data[...] = ...`.
# <!-- from: solutions/07_multi_head_attention#exercise-4-two-heads-by-hand
# "MultiHeadAttention(" -->
#
# <details><summary>Hint</summary>
#
# Row $i$ of a weight says how number $i$ of the result is made from the inputs; rows
# 0 to 7 belong to the first head. Let the keys of both heads be the position. What must
# the query of each head be? Large queries make a softmax choose. The values are the
# letter, and then `out_proj` has nothing left to do.
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
# - You built **multi-head attention** head by head and as one matrix product; both give
#   the same numbers, and the module equals PyTorch's own. It has $4 D^2$ weights,
#   however many heads.
# - You built the **mask for padding**: with it, what stands in the padding changes
#   nothing.
# - You saw **four heads beat one** of the same size with each of three seeds, 2.27
#   against 2.43 nats with the first. One head must divide its weight; among four, one
#   always gave the character before much more than the single head did.
#   <!-- from: experiment-one-head-or-four "seed 0: 1 head" -->
# - You looked inside with **attention maps**, entropy and distance, and took heads
#   away: each was missed.
# - You saw a **bug that makes the loss better**: a view without a transpose mixes time
#   and heads, and the future leaks. Test with a changed future, and against the loop.
#
# What is still wrong: only the weights can react to a combination of characters; what
# is handed over is added up. So after this training the model knows that an `h` is
# often followed by an `e`, but hardly the exceptions. To work on what has been
# gathered, position by position, is the task of the feed-forward network: lesson 08.
#
# The library entries of what you built:
# [MultiHeadAttention and padding_mask](../book/api.md#attention),
# [attention_maps and attention_distance](../book/api.md#evaluateattention_maps).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), section 3.2.2, and the last figures of the paper: what some
#   heads of a trained translator look at.
# - Michel, Levy and Neubig (2019), *Are Sixteen Heads Really Better than One?*, section
#   3: heads removed one by one from large models, where most are hardly missed.
# - Clark et al. (2019), *What Does BERT Look At?*, section 3: heads that look at the
#   token before, at the next one, or at everything.
# - Elhage et al. (2021), *A Mathematical Framework for Transformer Circuits*: heads as
#   terms of a sum, which is Exercise 3.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
