# %% [markdown]
# # 20 · Long context
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/20_long_context.ipynb)
#
# You read longer texts: without a table of all scores, with a cache that forgets, and beyond the
# length that a model was trained on.
#
# - **You will build** attention in blocks, a sliding window, and the cache that goes with it.
# - **You will see** what a byte of cache is worth, and which positions a model can read on with.
# - **Needs** lessons [13](13_generation.ipynb) and [19](19_modern_blocks.ipynb).
# - **Takes** about 75 minutes; the notebook runs in under 45 s.

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
# Lesson [19](19_modern_blocks.ipynb) ended with two things that grow with the text. The cache of
# lesson [13](13_generation.ipynb) keeps keys and values of every token. And attention compares
# every token with every other: for twice the text, four times the scores. See how fast that gets
# out of hand, with the sizes of a Llama of eight billion parameters and two bytes per number.

# %%
n_layers, n_kv_heads, d_head = 32, 8, 128
for length in (1_000, 100_000):
    cached = 2 * n_layers * n_kv_heads * d_head * length  # keys and values
    cache = f"cache {2 * cached / 2**30:.1f} GiB"
    print(f"{length:7,} tokens: {length**2:14,} scores in a head, {cache}")

# %% [markdown]
# A hundred thousand tokens are a novel. The scores of *one* head would take twenty gigabytes. And
# there is a third question: the model was trained on short texts. Does it know what to do at a
# position that it has never seen?

# %% [markdown]
# ## The machine
#
# First the table. You do not need all of it at once.

# %% mystnb={"image": {"alt": "A table of six queries by six keys, the future hatched. The keys come in three blocks: one seen, one looked at now, one to come. Beside it three columns are kept for each query: the largest score m, the sum l and the output o."}}
from lib.show import diagrams

diagrams.blockwise()

# %% [markdown]
# ## By hand
#
# One query, four keys. Their scores are 1, 3, 5 and 2, and the values are single numbers. You
# want the softmax of the scores, times the values, but you see only two keys at a time.
#
# Keep three numbers: the largest score so far, $m$; the sum $\ell$ of all $e^{s - m}$; and the
# same sum with values, $o$. When a larger score $m'$ comes, what you have was computed with the wrong
# $m$. Shrink it by $e^{m - m'}$, and go on.

# %%
import math

import torch

scores = torch.tensor([1.0, 3.0, 5.0, 2.0])
values = torch.tensor([10.0, 20.0, 30.0, 40.0])
m, l, o = torch.tensor(-math.inf), torch.tensor(0.0), torch.tensor(0.0)
for s, v in zip(scores.split(2), values.split(2)):
    new = torch.maximum(m, s.max())
    shrink, p = (m - new).exp(), (s - new).exp()
    m, l, o = new, shrink * l + p.sum(), shrink * o + p @ v
    print(f"m = {m:.0f}, l = {l:.3f}, o = {o:.3f}, o / l = {o / l:.3f}")
print(f"all at once: {scores.softmax(dim=0) @ values:.3f}")

# %% [markdown]
# The last line but one has the result of all at once, and no moment had more than two scores. This
# is the [online softmax](../book/glossary.md#online-softmax).

# %% [markdown]
# ## The formula
#
# For all queries together, and a block of keys with scores $S$ of shape $(T, \text{block})$ and
# values $V_b$ of shape $(\text{block}, D_v)$:
#
# $$m' = \max(m, \max_j S_j) \qquad \ell' = e^{m - m'} \ell + \sum_j e^{S_j - m'} \qquad o' = e^{m - m'} o + e^{S - m'} V_b$$
#
# $m$ and $\ell$ have the shape $(T, 1)$, $o$ has $(T, D_v)$. They start at $-\infty$, 0 and 0;
# the output is $o / \ell$ (Milakov and Gimelshein 2018, section 3; Dao et al. 2022, section 3.1,
# who call it FlashAttention).

# %% [markdown]
# ## Build
#
# ### Attention in blocks
#
# As a reminder: `amax` is the largest number along a dimension, and `.mT` swaps the last two.

# %%
x = torch.tensor([[1.0, 3.0], [5.0, 2.0]])
print("amax:", x.amax(dim=-1, keepdim=True).tolist(), " mT:", x.mT.tolist())

# %% [markdown]
# Now the formula in code, with the causal mask. A key that comes after the query gets the score
# $-\infty$, and so the weight $e^{-\infty} = 0$.


# %% tags=["naive:flash.flash_attention"]
def flash_attention(q, k, v, block_size=64):
    length, scale = q.size(-2), math.sqrt(q.size(-1))
    m = torch.full((*q.shape[:-1], 1), -math.inf)  # (..., T, 1)
    l, o = torch.zeros_like(m), torch.zeros_like(q)
    queries = torch.arange(length).unsqueeze(1)
    for start in range(0, length, block_size):
        keys = torch.arange(start, min(start + block_size, length))
        s = q @ k[..., keys, :].mT / scale  # (..., T, block)
        s = s.masked_fill(keys > queries, -math.inf)
        new = torch.maximum(m, s.amax(dim=-1, keepdim=True))
        shrink, p = (m - new).exp(), (s - new).exp()
        l = shrink * l + p.sum(dim=-1, keepdim=True)
        o, m = shrink * o + p @ v[..., keys, :], new
    return o / l


# %% [markdown]
# Hold it against the attention of lesson [06](06_attention.ipynb), with blocks of three sizes.
# Only the last holds all fifty keys.

# %%
from lib.attention import attention_weights, causal_mask


def with_table(q, k, v):
    return attention_weights(q, k, causal_mask(q.size(-2))) @ v


torch.manual_seed(0)
q, k, v = torch.randn(3, 1, 4, 50, 16)  # each (B, H, T, Dh)
for block_size in (1, 7, 64):
    ours = flash_attention(q, k, v, block_size)
    same = torch.allclose(ours, with_table(q, k, v), atol=1e-5)
    print(f"blocks of {block_size:2}: the same output: {same}")

# %% [markdown]
# The same numbers, up to rounding. And the memory? PyTorch can tell an object about each
# operation that it carries out. This one notes how many numbers the largest result holds.

# %% tags=["hide-input"]
# @title What notes the largest result
from torch.utils._python_dispatch import TorchDispatchMode


class Largest(TorchDispatchMode):
    numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.numbers = max(self.numbers, result.numel())
        return result


for length in (256, 512, 1_024):
    q, k, v = torch.randn(3, 1, 1, length, 16)
    with Largest() as table:
        with_table(q, k, v)
    with Largest() as blocks:
        flash_attention(q, k, v)
    print(f"{length:5,} tokens: {table.numbers:9,} and {blocks.numbers:6,} numbers")

# %% [markdown]
# For twice the tokens the table is four times as large, the block only twice: memory grows
# *linearly*. The work does not shrink: every score is still computed once.
#
# Why is it called [flash attention](../book/glossary.md#flash-attention)? On a GPU, moving a
# table between its large, slow memory and its small, fast one takes longer than the arithmetic. A
# block stays in the fast one. PyTorch's `scaled_dot_product_attention`, which you have used since
# lesson 06, works this way where it can. Training needs gradients too, and the table for them is
# not there: the backward pass computes each block once more. You build it in *Deeper*.
#
# ### The classic bug: a mask that is only a large number
#
# Some code fills what may not be looked at with a large negative number in place of $-\infty$,
# since $-\infty - (-\infty)$ is not a number. Here are two scores far below zero, and a third key
# that is masked.

# %%
scores = torch.tensor([-20_000.0, -20_001.0, 7.0])
future = torch.tensor([False, False, True])
for value in (-10_000.0, -math.inf):
    weights = scores.masked_fill(future, value).softmax(dim=-1)
    print(f"{value:8}:", [round(w, 2) for w in weights.tolist()])

# %% [markdown]
# With the finite value the masked key is the *best* one, and takes everything. Real scores that
# low are rare, but nothing forbids them, and no error tells. Use $-\infty$, and handle the one
# case that breaks: a query which sees no key in any block so far. Ours never meets it, for everybody
# sees key 0, in the first block. With a window it happens; the library's `flash_attention` handles it.

# %% [markdown]
# ### A window
#
# Blocks of keys save memory, but neither work nor cache. Both shrink if a token may look only at the last
# $W$ positions, itself included: a [sliding window](../book/glossary.md#sliding-window).
# `triu(n)` keeps what lies on the $n$-th diagonal and above it (0 is the main one, negative ones lie
# below); what lies further down is too long ago. You wrote this mask in lesson 06.

# %% tags=["lib:attention.window_mask"]
from torch import Tensor

from lib.shapes import require_sizes


def window_mask(length: int, window: int) -> Tensor:
    require_sizes(length=length, window=window)
    return causal_mask(length).triu(1 - window)


# %%
for row in window_mask(6, window=3).int().tolist():
    print(*row)

# %% [markdown]
# Each row has at most three ones: $T W$ scores in place of $T^2$. Is the rest of the text lost?
# No: a token hears of older ones through those that it sees, one layer of the model after the other.
# In the matrix product of the mask with itself, entry $(i, j)$ counts the tokens that $i$ sees and that
# see $j$. Where it is not 0, $i$ hears of $j$ in two steps. And so on.

# %%
mask = window_mask(40, window=4).float()
for n_blocks in (1, 2, 3):
    reached = torch.matrix_power(mask, n_blocks)[-1].nonzero()
    print(f"after layer {n_blocks}: {39 - reached.min()} tokens before the last one")

# %% [markdown]
# $L$ blocks reach $L\,(W - 1)$ tokens back. Many models add some blocks without a window between
# the others: every second one in Gemma 2 and gpt-oss, every sixth in Gemma 3.
#
# ### A cache that forgets
#
# With a window the cache needs only the last $W$ tokens. Moving all of them for each new one
# would be slow, so the cache is a ring: a new token takes the place of the one that nobody can
# see any more.

# %% mystnb={"image": {"alt": "A row of ten tokens, the last four in a window. Below it a ring of four places, which hold the tokens 8, 9, 6 and 7: the token at position p lies in place p modulo 4."}}
diagrams.ring_cache()

# %% [markdown]
# The remainder `position % window` is the place. Look at the order of the steps in `append`:
# first it puts together what the *first* of the new tokens can see, up to $W - 1$ old ones, and
# all new ones. Only then does it throw away. And `length` counts on.


# %% tags=["naive:attention.WindowCache"]
class WindowCache:
    def __init__(self, window):
        self.window, self.length = window, 0

    def append(self, k, v):
        start, n_new = self.length, k.size(2)
        if start == 0:
            room = (*k.shape[:2], self.window, k.size(3))
            self.keys, self.values = torch.empty(room), torch.empty(room)
        old = torch.arange(max(0, start - self.window + 1), start) % self.window
        seen_k = torch.cat([self.keys[:, :, old], k], dim=2)
        seen_v = torch.cat([self.values[:, :, old], v], dim=2)
        n_kept = min(n_new, self.window)
        places = torch.arange(start + n_new - n_kept, start + n_new) % self.window
        self.keys[:, :, places] = k[:, :, -n_kept:]
        self.values[:, :, places] = v[:, :, -n_kept:]
        self.length = start + n_new
        return seen_k, seen_v


# %%
cache = WindowCache(window=4)
tokens = torch.arange(10.0).view(1, 1, 10, 1)  # (B, H, T, Dh)
for new in tokens.split([5, 1, 4], dim=2):
    k, _ = cache.append(new, new)
    seen, ring = k.flatten().int().tolist(), cache.keys.flatten().int().tolist()
    print(f"{len(new[0, 0])} new: seen {seen}, ring {ring}, length {cache.length}")

# %% [markdown]
# The ring ends as in the picture. With four new tokens at once attention sees seven: the first of
# them needs three old ones. Which of the seven each may look at is the window mask's last rows.
#
# (The library's `WindowCache` also takes the context length, first.) `GPTConfig(window=4)` gives each
# block such a window and such a cache, and `full_every=2` leaves
# it out in every second block.
#
# ### Shorter keys
#
# A third way: keep all tokens, and less of each. Shared key heads do that (lesson 19). DeepSeek's
# [latent attention](../book/glossary.md#latent-attention) goes further: the cache keeps one short
# vector for all heads, $c = x W_c^\top$, and each head makes its keys and values from it,
#
# $$k = c\, W_k^\top \qquad v = c\, W_v^\top$$
#
# Rotary positions do not fit between $c$ and $k$; *Deeper* says why. So one short key, which is
# rotated and shared by all heads, goes beside the latent vector. You build it there, too; here
# the option `kv_rank` of `GPTConfig` does. Fill the caches of a small model with a text of
# sixty-four tokens, and count.

# %%
from lib.models.gpt import GPT, GPTConfig

sizes = dict(d_model=64, n_layers=2, n_heads=4, context_length=64, init="fan_in")
ids = torch.randint(65, (1, 64))


def cache_bytes(**options):
    model = GPT(GPTConfig(**sizes, position="rotary", **options))
    caches = model.new_cache()
    model(ids, caches)
    return sum(cache.keys.nbytes + cache.values.nbytes for cache in caches)


# %%
kinds = {"4 key heads": {}, "2 key heads": dict(n_kv_heads=2)}
kinds |= {"latent 24": dict(kv_rank=24), "window 16": dict(window=16)}
kinds |= {"every 2nd full": dict(window=16, full_every=2)}
for name, options in kinds.items():
    n_bytes = cache_bytes(**options)
    each = n_bytes / (4 * 2 * 64)  # 4 bytes, 2 blocks, 64 tokens
    print(f"{name:14} {n_bytes:6,} bytes, {each:3.0f} numbers per token and block")

# %% [markdown]
# A latent vector of 24 numbers and a rotated key of 8, half of a head's width, are 32 in place of
# 128. The window has as
# few here, and does better the longer the text is: its cache does not grow.

# %% [markdown]
# ## Check
#
# Does a model with a window say the same, whether the text comes at once or in pieces? Look at a
# first piece that is longer than the window, and at single tokens far beyond it.

# %%
torch.manual_seed(0)
model = GPT(GPTConfig(**sizes, position="rotary", window=16)).eval()


def in_pieces(caches, lengths):
    pieces = ids.split(lengths, dim=1)
    return torch.cat([model(piece, caches) for piece in pieces], dim=1)


whole = model(ids)
for lengths in ([40, 24], [16] * 4, [1] * 64):
    logits = in_pieces(model.new_cache(), lengths)
    same = torch.allclose(logits, whole, atol=1e-4)
    print(f"{len(lengths):2} pieces: the same logits: {same}")

# %% [markdown]
# Now the bug that such caches are known for: the window is cut *before* attention has looked.

# %%
from lib import attention as library


class Trimmed(library.WindowCache):
    def append(self, k, v):
        k, v = super().append(k, v)
        return k[:, :, -self.window :], v[:, :, -self.window :]


logits = in_pieces([Trimmed(64, 16) for _ in model.blocks], [16] * 4)
wrong = (logits - whole).abs().amax(dim=-1)[0] > 1e-3  # (T,)
print("first wrong position:", wrong.nonzero().min().item())
logits = in_pieces([Trimmed(64, 16) for _ in model.blocks], [1] * 64)
print("token by token:", torch.allclose(logits, whole, atol=1e-4))

# %% [markdown]
# The first token of the second piece has lost the old ones that it should see. Token by token
# nothing is wrong, so a test that only writes text does not notice. **Test a cache with pieces of
# several lengths.** The sister of this bug keeps the window right, and takes the number of tokens
# in the ring for the *position*, which then stops at $W$. Token by token again (`positions` gives the
# model its positions in place of 0, 1, 2 ...):

# %%
stuck, caches = torch.arange(64).clamp(max=16), model.new_cache()
steps = [
    model(ids[:, t : t + 1], caches, positions=stuck[t].view(1, 1)) for t in range(64)
]
wrong = (torch.cat(steps, dim=1) - whole).abs().amax(dim=-1)[0] > 1e-3
print("first wrong position:", wrong.nonzero().min().item())

# %% [markdown]
# Wrong from the second token on that comes after the ring is full: the distance to every older key is
# off.

# %% tags=["same:flash.flash_attention", "same:attention.WindowCache", "proof"]
# @title Proof: blocks equal the library's and PyTorch's, and so does the ring
from torch.nn import functional as F

from lib import flash

q, k, v = torch.randn(3, 2, 4, 50, 16)
for block_size in (1, 7, 64):
    ours = flash_attention(q, k, v, block_size)
    theirs = flash.flash_attention(q, k, v, is_causal=True, block_size=block_size)
    assert torch.allclose(ours, theirs, atol=1e-5)
fused = F.scaled_dot_product_attention(q, k, v, is_causal=True)
assert torch.allclose(ours, fused, atol=1e-5)
rings = WindowCache(window=5), library.WindowCache(50, window=5)
for k_new, v_new in zip(k.split([8, 1, 1, 3, 37], 2), v.split([8, 1, 1, 3, 37], 2)):
    ours, theirs = (ring.append(k_new, v_new) for ring in rings)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
print("the same numbers")

# %% [markdown]
# ## Experiment: what is a byte of cache worth?
#
# Eight models with about as many parameters each, trained for a short while (the width of the feed-forward network makes up
# for what a cache saves), the same batches, three seeds. The losses were recorded with
# `python book/_tools/long_context.py`. The table has the bytes of the cache for sixty-four
# tokens, the mean loss, and the smallest and largest difference to the first row with the same
# seed.

# %% tags=["corpus", "hide-input"]
# @title The text, and the recorded runs
import json
from pathlib import Path

import lib
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
train_ids, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
data = Path(lib.__file__).parents[1] / "data"
record = json.loads((data / "long_context.json").read_text("utf-8"))
print(f"{corpus.name}: {len(train_ids):,} + {len(validation):,} tokens")

# %%
runs = record["caches"]
full = torch.tensor(runs["4 key heads"]["losses"])
for name, run in runs.items():
    losses = torch.tensor(run["losses"])
    low, high = (losses - full).min(), (losses - full).max()
    size = f"{run['bytes']:6,} bytes"
    print(f"{name:26}{size}  {losses.mean():.3f}  {low:+.3f} to {high:+.3f}")

# %% [markdown]
# As a picture. Lower is better, further left is cheaper.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scatter plot: loss over the bytes of the cache, three dots for each of eight models. The windows lie lowest, although their caches are small. Four, two and one key heads lie at about the same height, with fewer and fewer bytes. The latent models lie a little higher than key heads of the same size."}}
# @title Loss over bytes of the cache
from matplotlib import pyplot as plt

from lib.show import plot

figure, axes = plt.subplots(figsize=(7, 3.4))
for (name, run), mark in zip(runs.items(), "ooossDDD"):
    axes.plot([run["bytes"]] * 3, run["losses"], mark, label=name, alpha=0.8)
axes.set(xlabel="cache of 64 tokens", ylabel="loss (nats per token)", xscale="log")
ticks = [2**n for n in (12, 13, 14, 15, 16)]
axes.set_xticks(ticks, [f"{tick // 1024} kB" for tick in ticks], minor=False)
axes.minorticks_off()
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.close(figure)
figure

# %% tags=["proof"]
# @title Proof: what the list says about the recorded runs
difference = {n: torch.tensor(run["losses"]) - full for n, run in runs.items()}
assert all((difference[n] < 0).all() for n in difference if n.startswith("window"))
assert all(d.mean() < 0.02 for n, d in difference.items() if n.startswith("window"))
assert all((difference[n] > 0).all() for n in ("latent 56", "latent 24"))
for latent, shared in (("latent 56", "2 key heads"), ("latent 24", "1 key head")):
    assert runs[latent]["bytes"] == runs[shared]["bytes"]  # as many bytes
    assert (difference[latent] > difference[shared]).all()
for name in ("2 key heads", "1 key head"):
    assert difference[name].min() < 0 < difference[name].max()
counts = [run["parameters"] for run in runs.values()]
assert max(counts) / min(counts) < 1.005
for name, run in runs.items():
    options = {n: x for n, x in run["options"].items() if n != "d_ff"}
    assert cache_bytes(**options) == run["bytes"]
print("so it stands in the table")

# %% [markdown]
# - **Windows cost nothing here. They even help**, with every seed, and the narrowest helps most.
#   A likely reason: a model that has read little need not find out by itself that what is near
#   matters most.
# - **Shared key heads:** no difference that three seeds could show. The hundredth or two of lesson 19,
#   with six seeds, would not be seen here.
# - **Latent keys cost** with every seed, two to five hundredths of a nat on average. With as many bytes
#   sharing is better here, with every seed. DeepSeek found the opposite for its own, far larger models.
#
# Be careful with the first line. These models have probably hardly learned to use what is far away,
# so they cannot miss it. `base`, a larger model that comes with the course, was trained much longer.
# Give it windows *afterwards*, when it reads 128 tokens at a time, its context.

# %% tags=["corpus", "measured"]
import dataclasses

from lib.train import Training, estimate_loss, train
from lib.train.checkpoint import load_checkpoint

base = load_checkpoint(data / "base.safetensors").model
by_window = {}
for window in (4, 16, 32, 64, None):
    reader = GPT(dataclasses.replace(base.config, window=window))
    reader.load_state_dict(base.state_dict())
    by_window[window] = estimate_loss(reader, validation[:12_801], 128)
    print(f"window {window or 'none':4}: {by_window[window]:.3f} nats")

# %% tags=["corpus", "proof"]
# @title Proof: what a window costs a model that was trained without one
from lib.checks.claims import claim

lost = {window: loss - by_window[None] for window, loss in by_window.items()}
claim(lost[4] > 0.08, "a window of 4 costs the trained model much")
claim(lost[16] > lost[64], "the narrower window costs more")
claim(abs(lost[64]) < 0.02, "a window of 64 costs next to nothing")
print("so it is")

# %% [markdown]
# This one misses what a narrow window hides, and a window of 64 costs it next to nothing. How
# wide is wide enough depends on what a model has learned to use.

# %% [markdown]
# ## Experiment: beyond the trained length
#
# Now positions. A model with rotary positions is trained on sixty-four tokens at a time, and then
# reads four times as many. Nothing stops it: the table of angles is computed for any length. But
# at position two hundred it compares tokens at distances that it has never seen.

# %% tags=["corpus", "measured", "hide-input"]
# @title A model trained on 64 tokens at a time, with a seed that is not in the record
from lib.models import count_parameters
from lib.train.settings import TrainConfig

torch.manual_seed(7)
model = GPT(GPTConfig(**record["base"]))
generator = torch.Generator().manual_seed(7)
next_batch = lambda: random_batch(train_ids, 16, 64, generator)
train(Training(model, TrainConfig(**record["recipe"])), next_batch)
found = estimate_loss(model, validation, 64)
print(f"{count_parameters(model):,} parameters, {found:.2f} nats")

# %% [markdown]
# Read windows of 256 tokens, and average the loss over each 32 positions. (`reduction="none"`
# keeps the loss of each token. `cross_entropy` wants the vocabulary in the second dimension,
# hence `.mT`.)


# %%
from torch.nn import functional as F


@torch.no_grad()
def read_on(model, **changes):
    longer = GPT(dataclasses.replace(model.config, context_length=256, **changes))
    longer.load_state_dict(model.state_dict())
    inputs, targets = validation[:8_192], validation[1:8_193]
    logits = longer(inputs.view(32, 256))
    losses = F.cross_entropy(logits.mT, targets.view(32, 256), reduction="none")
    return losses.view(32, 8, 32).mean(dim=(0, 2)).tolist()  # (8,)


# %% [markdown]
# Four ways to read, all with the same weights:
#
# - **as it is**;
# - **[position interpolation](../book/glossary.md#position-interpolation)**: all rotations four
#   times slower, so that no angle is larger than those it knows (`RotaryScaling(4.0)`, *Slower
#   clocks* in lesson 19);
# - **[YaRN](../book/glossary.md#yarn)**: pairs that turn at least four times within the trained length
#   keep their speed, those with less than one turn become four times slower, those between get a mean.
#   And queries and keys are multiplied by a `gain` of $0.1 \ln 4 + 1$, since a softmax over more keys
#   is flatter (Peng et al. 2023, section 3.4);
# - **a window** of the trained length: no distance is new.

# %% tags=["corpus", "measured"]
from lib.position import RotaryScaling

turns = dict(n_slow=1.0, n_fast=4.0)
yarn = RotaryScaling(4.0, **turns, trained_length=64, gain=0.1 * math.log(4) + 1)
readings = {"as it is": {}, "interpolated": dict(rotary_scaling=RotaryScaling(4.0))}
readings |= {"YaRN": dict(rotary_scaling=yarn), "window 64": dict(window=64)}
losses = {name: read_on(model, **changes) for name, changes in readings.items()}
for name, means in losses.items():
    print(f"{name:13}", *(f"{loss:.2f}" for loss in means))

# %% tags=["corpus", "proof"]
# @title Proof: what the text says about this run
plain, seen = losses["as it is"], losses["as it is"][0]
claim(plain[-1] > seen + 0.3, "far beyond the trained length the model fails")
claim(losses["interpolated"][0] > seen + 0.3, "interpolation blurs what is near")
claim(max(losses["YaRN"]) < plain[-1], "YaRN is better than nothing far out")
claim(max(losses["YaRN"]) < seen + 0.4, "YaRN reads on, a little worse")
claim(max(losses["window 64"][2:]) < seen + 0.15, "with a window it reads on")
print("so it is")

# %% [markdown]
# As it is, the model fails some way beyond what it was trained on. Interpolation makes it fail
# *everywhere*: without a little training on the slow clocks, neighbours blur. YaRN reads all of
# it, a little worse. The window reads all of it as well as before; what is older comes only at second
# hand.
#
# The recorded runs have three seeds, and the positions that are added to the vectors: sinusoidal,
# and learned, where the later rows of the table were never trained.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Line chart: loss over the position, for six ways of reading; a dashed line stands at the trained length. Rotary positions with a window stay flat and lowest. YaRN is flat and a little higher. Learned and sinusoidal positions jump at the dashed line; rotary ones as they are follow some way beyond it. Interpolation is high everywhere."}}
# @title Loss by position, mean of three seeds
figure, axes = plt.subplots(figsize=(7, 3.4))
for name, places in record["places"].items():
    axes.plot(range(16, 256, 32), torch.tensor(places).mean(dim=0), label=name)
axes.axvline(64, color="0.45", linestyle="--", linewidth=1)
axes.set(xlabel="position", ylabel="loss (nats per token)")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.close(figure)
figure

# %% tags=["proof"]
# @title Proof: what the picture shows of the recorded runs, seed by seed
places = {name: torch.tensor(runs) for name, runs in record["places"].items()}
for name in ("rotary", "sinusoidal", "learned"):
    assert (places[name][:, -1] > places[name][:, 0] + 0.3).all()
assert (places["window"][:, 2:] < places["window"][:, :1] + 0.02).all()
assert (places["YaRN"][:, 4:] < places["rotary"][:, 4:] - 0.1).all()
lowest, highest = places["interpolated"].amin(dim=1), places["YaRN"].amax(dim=1)
assert (lowest > highest).all()
print("so it is")

# %% [markdown]
# *No kind of position reads on by itself. The remedies that work change what the model sees, so that
# it is something it knows.*

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You give flash attention blocks of one key each. Does the output change? And the memory?</summary>
#
# The output stays the same. The largest tensor becomes the output itself: it is wider than one
# column of scores.
#
# </details>
#
# <details><summary>A model with a window of 1 and ten blocks: what does it know of the token before?</summary>
#
# Nothing: ten times 0 tokens back. It is a bigram model.
#
# </details>
#
# <details><summary>The ring has forgotten token 0. You change token 0. Can the model still notice, some tokens later?</summary>
#
# Yes: the keys and values that *are* in the ring were made by tokens which had heard of it, in a
# model with several blocks.
#
# </details>

# %% tags=["answer"]
# @title Answers: blocks of one key, a window of one, what the ring still knows
q, k, v = torch.randn(3, 1, 1, 256, 16)
with Largest() as largest:
    flash_attention(q, k, v, block_size=1)
print(f"blocks of one key: largest tensor {largest.numbers:,} = 256 × 16")
windows = dict(position="rotary", context_length=64, d_model=32, d_ff=64, init="fan_in")
changed = ids.clone()
changed[0, 0] = (changed[0, 0] + 1) % 65
for window, n_layers in ((1, 10), (4, 3)):
    torch.manual_seed(0)
    small = GPT(GPTConfig(**windows, window=window, n_layers=n_layers)).eval()
    moved = (small(ids) - small(changed)).abs().amax(dim=-1)[0] > 1e-6
    print(f"window {window}: the last position that notices is {moved.nonzero().max()}")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_20 import check_merge, check_new_mask, check_window_bytes

# %% [markdown]
# ### Exercise 1: Bytes of many windows
#
# *warm-up · 10 minutes* · [Solution](../solutions/20_long_context.ipynb#exercise-1-bytes-of-many-windows)
#
# How many bytes do the caches of one text take, in float32, when they are filled? `config` is a
# `GPTConfig`. Its `n_kv_heads` may be None, for `n_heads`; `d_head`, for `d_model / n_heads`;
# `window`, for none; and `full_every`, for a window in every block. A block without a window has room
# for `context_length` tokens; with `full_every=3` these are the blocks 3, 6, 9 and so on.
#
# <details><summary>Hint</summary>
#
# `n_layers // full_every` blocks have no window. The others have room for `window` tokens, but never
# for more than the context.
#
# </details>


# %%
def window_bytes(config):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_window_bytes(window_bytes)

# %% [markdown]
# ### Exercise 2: Merge two halves
#
# *core · 15 minutes* · [Solution](../solutions/20_long_context.ipynb#exercise-2-merge-two-halves)
#
# Two machines hold one half of the keys each. Each sends `(m, l, o)` of its half, for all
# queries: tensors `(T, 1)`, `(T, 1)` and `(T, Dv)`. Return the triple of all keys. One half may
# be empty for a query: then its `m` is $-\infty$, and `l` and `o` are 0.
#
# <details><summary>Hint</summary>
#
# The new `m` is the larger of the two. Each side shrinks by $e^{m_\text{side} - m}$.
#
# </details>


# %%
def merge(first, second):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_merge(merge)

# %% [markdown]
# ### Exercise 3: The mask of new tokens
#
# *core · 15 minutes* · [Solution](../solutions/20_long_context.ipynb#exercise-3-the-mask-of-new-tokens)
#
# A cache returns `n_keys` keys, and the last `n_new` of them belong to the tokens that have just
# come. Return the bool mask `(n_new, n_keys)` of who may look at whom, in a model with a window.
# `window_mask` would build a table for all keys: do without.
#
# <details><summary>Hint</summary>
#
# Query $i$ stands at place `n_keys - n_new + i`. Compute the distance to each key with `arange`
# and `unsqueeze`.
#
# </details>


# %%
def new_mask(n_new, n_keys, window):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_new_mask(new_mask)

# %% [markdown]
# ## Recap
#
# - You built **attention in blocks**: the same numbers, and memory that grows with the text and
#   not with its square.
# - You built **a window and its ring**, and saw the bug that only pieces of several tokens show.
# - You saw **what a byte of cache is worth** to small models: windows and shared heads save a third
#   of them or far more at no cost that we could measure, latent keys cost a little. What a long-trained model has learned to use, a
#   narrow window takes away.
# - You saw that **no kind of position reads on by itself**, and that YaRN or a window lets rotary
#   ones.
#
# What is still wrong: every token goes through every weight of the model, easy or hard. More
# knowledge means more work for each. Lesson 21 breaks that tie.
#
# The library's entries: [window_mask and WindowCache](../book/api.md#attention),
# [flash_attention](../book/api.md#flash), [LatentAttention](../book/api.md#latent),
# [RotaryScaling](../book/api.md#position).

# %% [markdown]
# ## To read
#
# - Dao et al. (2022), *FlashAttention*, section 3.1 and figure 1: why moving numbers is what
#   takes time.
# - Jiang et al. (2023), *Mistral 7B*, section 2: window, ring and prefill in pieces, with
#   pictures.
# - DeepSeek-AI (2024), *DeepSeek-V2*, section 2.1: latent attention, and appendix D.2 for the
#   comparison at size.
# - Peng et al. (2023), *YaRN*, section 3: from interpolation to YaRN, step by step.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: the way back
#
# Training needs the gradients of $Q$, $K$ and $V$. With the table $P$ of weights at hand they
# are, for a gradient $\mathrm{d}O$ of the output,
#
# $$\mathrm{d}V = P^\top \mathrm{d}O \qquad \mathrm{d}S = P \odot (\mathrm{d}O\, V^\top - D) \qquad \mathrm{d}Q = \mathrm{d}S\, K / \sqrt{D_h} \qquad \mathrm{d}K = \mathrm{d}S^\top Q / \sqrt{D_h}$$
#
# where $D$ holds the sum over each row of $\mathrm{d}O \odot O$: the softmax's share. $P$ is not
# there, but one number per query brings any block of it back: $P = e^{S - L}$ with
# $L = m + \ln \ell$ (Dao et al. 2022, appendix B). So the forward pass keeps the output and $L$.


# %%
def flash_backward(q, k, v, out, log_sum, grad, block_size=64):
    scale, queries = math.sqrt(q.size(-1)), torch.arange(q.size(-2)).unsqueeze(1)
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    taken = (grad * out).sum(dim=-1, keepdim=True)  # D: (..., T, 1)
    for start in range(0, k.size(-2), block_size):
        keys = torch.arange(start, min(start + block_size, k.size(-2)))
        s = q @ k[..., keys, :].mT / scale
        p = (s - log_sum).exp().masked_fill(keys > queries, 0)  # the weights again
        ds = p * (grad @ v[..., keys, :].mT - taken) / scale
        dq += ds @ k[..., keys, :]
        dk[..., keys, :] = ds.mT @ q
        dv[..., keys, :] = p.mT @ grad
    return dq, dk, dv


# %% [markdown]
# Compare with what PyTorch's own `backward` finds through the table.

# %%
q, k, v, grad = torch.randn(4, 1, 2, 50, 16)
scores = (q @ k.mT / 4).masked_fill(~causal_mask(50), -math.inf)
log_sum = scores.logsumexp(dim=-1, keepdim=True)
ours = flash_backward(q, k, v, with_table(q, k, v), log_sum, grad, block_size=7)
wanted = [w.clone().requires_grad_() for w in (q, k, v)]
with_table(*wanted).backward(grad)
for name, own, w in zip("qkv", ours, wanted):
    same = torch.allclose(own, w.grad, atol=1e-5)
    print(f"gradient of {name}: the same: {same}")

# %% [markdown]
# The library's `flash_attention` joins both passes in a `torch.autograd.Function`: `forward`
# keeps what the way back needs, `backward` returns the gradients.

# %% tags=["proof"]
# @title Proof: the library's gradients
inputs = [w.clone().requires_grad_() for w in (q, k, v)]
flash.flash_attention(*inputs, is_causal=True, block_size=7).backward(grad)
for own, w in zip(ours, inputs):
    assert torch.allclose(own, w.grad, atol=1e-5)
print("the same gradients")

# %% [markdown]
# ## Deeper: latent attention
#
# The cache would hold what the second line of `forward` computes: `latent` and `turned`. Each
# query has two parts, one for the key that is made of the latent vector, one for the rotated key
# that all heads share. Their scores add up, because the parts lie side by side. (DeepSeek also
# normalises the latent vectors, and makes the queries of a short vector, too.)


# %% tags=["naive:latent.LatentAttention"]
from torch import nn

from lib.attention import scaled_dot_product_attention
from lib.position import Rotary


class LatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, kv_rank, rotary):
        super().__init__()
        self.n_heads, self.rotary = n_heads, rotary
        self.d_turned = 2 * rotary.cos.size(1)
        self.q_proj = nn.Linear(d_model, d_model + n_heads * self.d_turned)
        self.turned_proj = nn.Linear(d_model, self.d_turned)
        self.latent_proj = nn.Linear(d_model, kv_rank)
        self.k_proj = nn.Linear(kv_rank, d_model)
        self.v_proj = nn.Linear(kv_rank, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x):
        q = self.split(self.q_proj(x))  # (B, H, T, Dh + Dr)
        latent, turned = self.latent_proj(x), self.rotary(self.turned_proj(x))
        k, v = self.split(self.k_proj(latent)), self.split(self.v_proj(latent))
        shared = turned.unsqueeze(1).expand(-1, self.n_heads, -1, -1)  # (B, H, T, Dr)
        q_plain, q_turned = q[..., : -self.d_turned], q[..., -self.d_turned :]
        q = torch.cat([q_plain, self.rotary(q_turned)], dim=-1)
        k = torch.cat([k, shared], dim=-1)
        mixed, _ = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def split(self, wide):
        return wide.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


# %% tags=["same:latent.LatentAttention", "proof"]
# @title Proof: latent attention equals the library's
from lib import latent as library_latent

ours = LatentAttention(32, 4, 6, Rotary(4, 64))
theirs = library_latent.LatentAttention(32, 4, 6, Rotary(4, 64))
theirs.load_state_dict(ours.state_dict())
x = torch.randn(2, 20, 32)
assert torch.allclose(ours(x), theirs(x, is_causal=True)[0], atol=1e-5)
print("the same outputs")

# %% [markdown]
# Must every step make the keys of *all* cached tokens again? No:
# $q \cdot (W_k c) = (W_k^\top q) \cdot c$. Move the matrix to the query, which is one, and
# compare it with the latent vectors directly.

# %%
latent, q = torch.randn(20, 6), torch.randn(8)  # of 20 tokens, and one head's query
w_k = torch.randn(8, 6)
made, moved = latent @ w_k.T @ q, latent @ (w_k.T @ q)
print("the same scores:", torch.allclose(made, moved, atol=1e-4))

# %% [markdown]
# With a rotation $R$, which differs from token to token, $q \cdot (R\, W_k c)$ would need another
# moved matrix for each token. That is why the rotated key goes beside the latent vector.

# %% [markdown]
# ## Deeper: attention sinks
#
# In large models many heads put much weight on the first token, whatever it is, an [attention
# sink](../book/glossary.md#attention-sink): a softmax must put its weights *somewhere*, and a
# token that all can see is a place to park them. A window that throws this token away then breaks
# such a model, and keeping the first few tokens beside the window repairs it (Xiao et al. 2023).
# Is it so here? Take the last half of each window of 128 tokens, the share that the first token
# gets on average, and what an even share would be.

# %% tags=["corpus", "measured:wide"]
from lib.evaluate.attention_maps import attention_maps

maps = attention_maps(base, validation[:2_048].view(16, 128))
first = [m[:, :, 64:, 0].mean().item() for m in maps]  # (B, H, T_q, T_k) each
even = (1 / torch.arange(65.0, 129.0)).mean().item()
for number, share in enumerate(first, start=1):
    print(f"block {number}: {share:.2%} of the weight, evenly it would be {even:.2%}")

# %% tags=["corpus", "proof"]
# @title Proof: no block of the model has a sink on average
claim(max(first) < even, "the first token gets less than an even share in each block")
print("so it is")

# %% [markdown]
# No: in no block does the first token get even its fair share. A null, as far as this model goes;
# perhaps it is too small to need a sink.

# %% [markdown]
# ## Deeper: other patterns
#
# A window is one pattern of a sparse mask. Child et al. (2019) let each position look at its
# window and at every $W$-th position before it (section 4.3). Two blocks then reach the whole
# past. Count the scores, and check that claim with the product of masks.

# %%
length, window = 256, 16
places = torch.arange(length)
distance = places.unsqueeze(1) - places
strided = causal_mask(length) & (distance % window == 0)
sparse = window_mask(length, window) | strided
in_two = torch.matrix_power(sparse.float(), 2) > 0
n_scores = sparse.sum().item()
print(f"{n_scores:,} of {causal_mask(length).sum().item():,} scores")
print("two blocks reach everything before:", torch.equal(in_two, causal_mask(length)))

# %% [markdown]
# Less than a fifth of the scores, and in two steps everything is reached. In plain PyTorch that
# saves nothing, since the table is computed and then masked. It pays where a kernel leaves out
# whole blocks, as `_blocks` of the library's `flash_attention` leaves out those outside the
# window.
