# %% [markdown]
# # 19 · Modern blocks
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/19_modern_blocks.ipynb)
#
# You build the parts that today's models put in the place of GPT-2's, and measure which of
# them pay.
#
# - **You will build** RMSNorm, rotary positions, shared key heads, and norms of queries and keys.
# - **You will see** which replacement makes a small model better, which do not, and what they
#   are good for then.
# - **Needs** lessons [10](10_gpt.ipynb) and [13](13_generation.ipynb).
# - **Takes** about 70 minutes; the notebook runs in under 45 s.

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
# The GPT of lesson [11](11_training.ipynb) has the parts of GPT-2, but for its positions, which it
# borrowed from this lesson, and its attention without biases. Open a Llama or a Qwen of today: it is still a decoder of pre-norm
# blocks, yet nearly every part in it has been replaced. Was each of the old ones wrong? Or are some
# replacements cheaper, some calmer, and some only fashion?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "Two columns, GPT-2 and today. Norm: LayerNorm, then RMSNorm. Positions: learned and added, then rotary, in attention. Key heads: one per query head, then shared by several. Queries and keys: as they are, then normalised in Qwen3. Feed-forward: GELU, then SwiGLU. Biases: everywhere, then none."}}
from lib.show import diagrams

diagrams.replaced_parts()

# %% [markdown]
# You built SwiGLU in lesson [08](08_feed_forward.ipynb). With shared key heads, several query heads use
# the keys of one. Leaving out biases needs no code. Three parts are new: [RMSNorm](../book/glossary.md#rmsnorm),
# [rotary positions](../book/glossary.md#rotary-positions) and
# [QK-norm](../book/glossary.md#qk-norm).

# %% [markdown]
# ## By hand
#
# The idea of rotary positions: do not *add* a position to the vector, as in lesson
# [05](05_positions.ipynb). *Turn* the query and the key by an angle that grows with their position.
#
# Take vectors of two numbers, and turn them by 0.35 radians for each position. Position 3 then
# turns three times as far as position 1.

# %%
import math

import torch


def turned(x, position, angle=0.35):
    c, s = math.cos(position * angle), math.sin(position * angle)
    a, b = x
    return torch.tensor([a * c - b * s, b * c + a * s])


q, k = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0])
for at_q, at_k in ((3, 1), (7, 5), (3, 2), (7, 6)):
    score = turned(q, at_q) @ turned(k, at_k)
    print(f"query at {at_q}, key at {at_k}: score {score:.3f}")

# %% [markdown]
# Same distance, same score, wherever the two stand. Another distance, another score. (The last
# line of the function is a point turned around the origin: $a$ and $b$ are its coordinates.)

# %% mystnb={"image": {"alt": "Two circles. A query and a key that pointed the same way are turned by an angle for each position. Left, the query stands at 3 and the key at 1; right, at 7 and 5. Both have turned further on the right, but the angle between them is the same."}}
diagrams.rotation()

# %% [markdown]
# A dot product depends on lengths and on the angle between two vectors. Turning keeps the lengths,
# and turning both by the same angle keeps the angle. So attention sees *how far apart* two tokens
# are, and not where.

# %% [markdown]
# ## The formula
#
# One pair of numbers has one speed: it cannot tell distance 1 from a whole turn later. So a head of
# width $D_h$ is cut into $D_h / 2$ pairs, each with a speed of its own, like the hands of the clock in
# lesson 05:
#
# $$R_t \begin{pmatrix} a_i \\ b_i \end{pmatrix} = \begin{pmatrix} a_i \cos t\theta_i - b_i \sin t\theta_i \\ b_i \cos t\theta_i + a_i \sin t\theta_i \end{pmatrix}$$
#
# $t$ is the position, and $\theta_i = \mathrm{base}^{-2i/D_h}$ the angle per position of pair $i$. The base
# is a large number (Su et al. 2021, section 3.4.2). With a query $q$ at $t$ and a key $k$ at $s$,
#
# $$(R_t\, q) \cdot (R_s\, k) = q \cdot (R_{s-t}\, k)$$
#
# The other new part is the norm. With the mean square over the $D$ numbers of one vector,
#
# $$\mathrm{RMSNorm}(x) = \frac{x}{\sqrt{\mathrm{mean}(x^2) + \epsilon}} \cdot g$$
#
# That is a LayerNorm which does not take off the mean and has no bias (Zhang and Sennrich,
# equation 4).

# %% [markdown]
# ## Build
#
# ### RMSNorm
#
# You wrote its formula as an exercise of lesson [09](09_transformer_block.ipynb). One thing to add:
# squares are computed in float32. In float16 (`.half()`) they soon become infinite; the last line
# below shows it.

# %% tags=["naive:norm.RMSNorm"]
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.gain, self.eps = nn.Parameter(torch.ones(d_model)), eps

    def forward(self, x):
        mean_square = x.float().square().mean(dim=-1, keepdim=True)
        return (x.float() / (mean_square + self.eps).sqrt()).to(x.dtype) * self.gain


# %%
x = torch.tensor([[3.0, 4.0, 0.0, 0.0], [300.0, 400.0, 0.0, 0.0]])
for row in RMSNorm(4)(x).tolist():
    print([round(number, 2) for number in row])
half = RMSNorm(4).half()(x.half())[1]
print("in float16:      ", [round(number, 2) for number in half.tolist()])
print("squares there:   ", x.half().square().tolist()[1])

# %% [markdown]
# Both rows come out alike, as from a LayerNorm. What is it good for? It needs one sum over the
# vector instead of two, and one table of numbers instead of two.
#
# ### Rotary positions
#
# All angles fit into a table, one row for each position. Which two numbers make a pair? The paper
# takes neighbours, $(x_0, x_1)$, $(x_2, x_3)$: *interleaved*. Llama's files take number $i$ of the first
# half and number $i$ of the second: *half-split*. The course does it Llama's way.

# %% tags=["naive:position.Rotary"]
class Rotary(nn.Module):
    def __init__(self, d_head, context_length, base=10_000.0):
        super().__init__()
        speeds = base ** -(torch.arange(0, d_head, 2).double() / d_head)  # (Dh/2,)
        angles = torch.arange(context_length).unsqueeze(1) * speeds  # (T, Dh/2)
        self.cos, self.sin = angles.cos().float(), angles.sin().float()

    def forward(self, x, start=0):
        positions = slice(start, start + x.size(-2))
        cos, sin = self.cos[positions], self.sin[positions]
        a, b = x.float().chunk(2, dim=-1)  # first and second half
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


# %% [markdown]
# `chunk(2, dim=-1)` cuts the last dimension into two halves. First the promise of the formula: the
# scores between four queries and four keys, once at positions 0 to 3 and once fifty further on.

# %%
torch.manual_seed(0)
rotary = Rotary(d_head=16, context_length=64)
q, k = torch.randn(4, 16), torch.randn(4, 16)
here = rotary(q) @ rotary(k).T
there = rotary(q, start=50) @ rotary(k, start=50).T
for scores in (here, there):
    print([round(score, 3) for score in scores[3].tolist()])
assert torch.allclose(here, there, atol=1e-4)
assert torch.allclose(rotary(q, start=50).norm(dim=-1), q.norm(dim=-1), atol=1e-4)

# %% [markdown]
# The same scores, and the vectors keep their lengths. `start` is for a cache: a new token that comes
# after 50 others stands at position 50, and the cache keeps keys that have been turned.
#
# The two layouts differ by an order of numbers. If you reorder the rows of `q_proj` and `k_proj` within
# each head (and their biases, where there are any), a model of one layout becomes one of the other, and
# no score changes. The order:

# %%
interleaved = torch.arange(8)  # pairs 01, 23, 45, 67
order = torch.cat([interleaved[0::2], interleaved[1::2]])
print("half-split order:", order.tolist())
print("its pairs:", list(zip(order[:4].tolist(), order[4:].tolist())))

# %% [markdown]
# The pairs are the old ones. Loading interleaved weights *without* reordering them gives no error and
# a broken model. It is Exercise 2.
#
# ### Norms of queries and keys
#
# A score is the product of two lengths and the cosine. In training the lengths can grow, and then
# the softmax turns into a hard choice that hardly learns any more. **QK-norm** divides the lengths
# out: an RMSNorm on each head's queries and keys, before they are turned. A gain is left to learn.
#
# Enlarge the queries a hundredfold, and look at the largest weight of the last row.

# %%
norm = RMSNorm(16)
for scale in (1, 100):
    plain = (scale * q) @ k.T / math.sqrt(16)
    normed = norm(scale * q) @ norm(k).T / math.sqrt(16)
    largest = [scores.softmax(dim=-1)[3].max().item() for scores in (plain, normed)]
    print(f"queries times {scale:3}: plain {largest[0]:.2f}, normed {largest[1]:.2f}")

# %% [markdown]
# Without the norm one key takes everything. With it nothing has changed: with gains of 1 no score can
# exceed $\sqrt{D_h}$, whatever the weights do.
#
# ### Into attention
#
# The attention of lesson 13, without its cache and with what is new: norms (`qk_norm` is a class of
# norms, such as our RMSNorm) for queries and keys, the rotation, and a head
# width of its own (Qwen3's heads are not `d_model / n_heads` wide). `repeat_interleave` lends each
# key head to the query heads that share it.

# %% tags=["grows:attention.MultiHeadAttention"]
from lib.attention import scaled_dot_product_attention


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, d_head, rotary, qk_norm):
        super().__init__()
        self.d_head, self.n_shared, self.rotary = d_head, n_heads // n_kv_heads, rotary
        self.q_proj = nn.Linear(d_model, n_heads * d_head, bias=False)
        self.k_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.v_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.out_proj = nn.Linear(n_heads * d_head, d_model, bias=False)
        self.q_norm, self.k_norm = qk_norm(d_head), qk_norm(d_head)

    def forward(self, x, is_causal=False):
        wide = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (w.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for w in wide)
        q, k = self.rotary(self.q_norm(q)), self.rotary(self.k_norm(k))
        k, v = (w.repeat_interleave(self.n_shared, dim=1) for w in (k, v))
        mixed, _ = scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


# %% [markdown]
# Values are neither normed nor turned: they say *what* is handed over, and only who looks at whom
# depends on places. And `repeat_interleave` is not `repeat`:

# %%
heads = torch.tensor([0, 1])
print("repeat_interleave:", heads.repeat_interleave(2).tolist())
print("repeat:           ", heads.repeat(2).tolist())

# %% [markdown]
# ### A whole model
#
# No new class: the library's `GPTConfig` has a word for each part. (`qk_norm` and `d_head` are new
# there; `qk_norm` is a switch, and the norm is the one that `norm` names.)

# %%
from lib.models import count_parameters
from lib.models.gpt import GPT, GPTConfig

sizes = dict(d_model=64, n_layers=2, n_heads=4, context_length=64, tie_weights=False)
old = GPTConfig(**sizes, d_ff=256)
llama = dict(norm="rms", position="rotary", ffn="swiglu", n_kv_heads=2)
new = GPTConfig(**sizes, **llama, d_ff=192, attention_bias=False, qk_norm=True)
for name, config in (("GPT-2's parts", old), ("today's", new)):
    print(f"{name:13} {count_parameters(GPT(config)):,} parameters")

# %% [markdown]
# ## Check
#
# The library's parts compute the same as ours, and RMSNorm the same as PyTorch's.

# %% tags=["same:norm.RMSNorm", "same:position.Rotary", "proof"]
# @title Proof: norm and rotation equal the library's and PyTorch's
from torch.nn import functional as F

from lib.norm import RMSNorm as LibraryRMSNorm
from lib.position import Rotary as LibraryRotary

x = torch.randn(2, 4, 9, 16)
assert torch.allclose(RMSNorm(16)(x), F.rms_norm(x, (16,), eps=1e-5), atol=1e-6)
assert torch.allclose(RMSNorm(16)(x), LibraryRMSNorm(16)(x), atol=1e-6)
for start in (0, 40):
    pair = rotary(x, start), LibraryRotary(16, 64)(x, start)
    assert torch.allclose(*pair, atol=1e-6)
print("the same numbers")

# %% tags=["same:attention.MultiHeadAttention", "proof"]
# @title Proof: attention equals the library's
from lib import attention as library

ours = MultiHeadAttention(20, 4, 2, 16, rotary, LibraryRMSNorm)
turn = LibraryRotary(16, 64)
options = dict(bias=False, n_kv_heads=2, d_head=16, rotary=turn, qk_norm=LibraryRMSNorm)
theirs = library.MultiHeadAttention(20, 4, **options)
theirs.load_state_dict(ours.state_dict())
x = torch.randn(2, 9, 20)
assert torch.allclose(ours(x, is_causal=True), theirs(x, is_causal=True)[0], atol=1e-6)
print("the same outputs")

# %% [markdown]
# ### The classic bug: `repeat` for `repeat_interleave`
#
# Both give four heads, and no shape is wrong. A model that is *trained* with `repeat` learns as
# well: which query head reads which key head is only a matter of names. The bug shows when you load
# weights that were made the other way. Train a small model, then read the same weights wrongly. Instead
# of changing the code, the cell moves the query heads: `repeat` lends key head 0 to the query heads 0
# and 2, our class to the first two. So heads 0 and 2 come first, in `q_proj` and in the columns of
# `out_proj`.

# %% tags=["corpus", "hide-input"]
# @title The text, and the recorded runs
import json
from dataclasses import replace
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
record_file = Path(lib.__file__).parents[1] / "data" / "ablation.json"
record = json.loads(record_file.read_text("utf-8"))
print(f"{corpus.name}: {len(train_ids):,} + {len(validation):,} tokens")

# %% [markdown]
# `record` holds the settings of a larger comparison, which comes below. Here is its training.

# %%
print(record["recipe"])


from lib.train import Training, estimate_loss, train
from lib.train.settings import TrainConfig


def train_variant(seed, **options):
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**(record["base"] | options)))
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: random_batch(train_ids, 16, 64, generator)
    train(Training(model, TrainConfig(**record["recipe"])), next_batch)
    return model, estimate_loss(model, validation, 64)


# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

parts = dict(position="rotary", n_kv_heads=2, d_ff=304)  # as many parameters
shared, right_loss = train_variant(seed=7, **parts)
swapped = torch.tensor([0, 2, 1, 3])  # the query heads that `repeat` would serve
wrong = GPT(shared.config)
wrong.load_state_dict(shared.state_dict())
for block in wrong.blocks:
    q_proj, out_proj = block.attention.q_proj, block.attention.out_proj
    for tensor in (q_proj.weight.data, q_proj.bias.data):
        tensor.copy_(tensor.unflatten(0, (4, -1))[swapped].flatten(0, 1))
    columns = out_proj.weight.data.unflatten(1, (4, -1))[:, swapped].flatten(1)
    out_proj.weight.data.copy_(columns)
wrong_loss = estimate_loss(wrong, validation, 64)
print(f"read rightly {right_loss:.2f} nats, read wrongly {wrong_loss:.2f}")
claim(wrong_loss > right_loss + 0.05, "the wrong order breaks a trained model")

# %% [markdown]
# The model is worse, and
# nothing complains. **Compare the logits of loaded weights with those of the code that wrote them.**
# The library's tests do so with transformers' Llama and Qwen3.

# %% [markdown]
# ## Look
#
# What can a rotated pair tell about distance? Take a query and a key that are equal, all numbers 1,
# and look at the score as the key moves away: for the fastest pair, for a slow one, and for all
# eight pairs together.

# %% mystnb={"image": {"alt": "Line chart: score against distance. The fastest pair swings up and down about ten times. A slow pair falls gently. The mean of all pairs falls from 1, and then waves up and down well below it."}}
from lib.show import plot

ones = torch.ones(64, 16)
turned_ones = rotary(ones)
first, rest = turned_ones[:1], turned_ones
products = (first * rest).unflatten(-1, (2, 8)).sum(dim=1) / 2  # (T, pairs)
lines = {"fastest pair": products[:, 0], "a slow pair": products[:, 3]}
lines |= {"all pairs": products.mean(dim=1)}
plot.line_chart({n: y.tolist() for n, y in lines.items()}, "distance", "score")

# %% [markdown]
# *The fast pair tells near distances apart and soon repeats itself. The slow one is still on its
# first turn. Together only distance 0 and its neighbours come near to 1: a query that equals a key can
# find its own place, and what is next to it.*

# %% [markdown]
# ## Experiment: which part pays?
#
# GPT-2's parts, and eight models with one thing changed. Each has about as many parameters as the first (the width
# of the feed-forward network makes up for what a change adds or saves), the same batches, the same
# recipe, six seeds. That is more training than fits here, so the losses were recorded with
# `python book/_tools/ablation.py`.
#
# The seeds are shared: with the same seed two models read the same batches. So look at the *difference*
# for each seed, and at its mean over the seeds. How sure is that mean? The interval that covers the
# true mean in nineteen of twenty such experiments is, for six differences, the mean $\pm\ 2.57 \cdot s / \sqrt 6$,
# where $s$ is their standard deviation. (2.57 is that of the *t*-distribution for six numbers.)


# %%
def interval(differences):
    d = torch.tensor(differences)
    return d.mean().item(), 2.57 * d.std().item() / math.sqrt(len(d))


runs = record["runs"]
base = runs["GPT-2's parts"]
gains = {}
for name, found in runs.items():
    pairs = zip(base["losses"], found["losses"])
    gains[name] = interval([old - new for old, new in pairs])
    mean = sum(found["losses"]) / len(found["losses"])
    gain, half = gains[name]
    n_parameters = found["parameters"]
    print(f"{name:13} {n_parameters:,}  {mean:.3f}  gain {gain:+.3f} ± {half:.3f}")
    assert abs(n_parameters / base["parameters"] - 1) < 0.005

# %% tags=["proof"]
# @title Proof: what the list says about the recorded runs
low = {name: gain - half for name, (gain, half) in gains.items()}
high = {name: gain + half for name, (gain, half) in gains.items()}
others = [high[name] for name in gains if name not in ("rotary", "sinusoidal")]
assert low["rotary"] > high["sinusoidal"] > low["sinusoidal"] > max(others)
assert low["QK-norm"] > 0
assert all(low[name] < 0 < high[name] for name in ("SwiGLU", "no biases"))
assert all(high[name] < 0 for name in ("2 key heads", "1 key head"))
worse = zip(runs["RMSNorm"]["losses"], base["losses"])
assert all(new > old for new, old in worse) and gains["RMSNorm"][0] > -0.02
print("so it stands in the table")

# %% [markdown]
# - **Rotary positions pay**, with every seed, more than anything else. One reason is that nobody has
#   to learn them: the sinusoidal ones, which are fixed too, get a part of the gain. Where the rest
#   comes from, this table does not say: rotary positions also act in every block, and on queries and
#   keys only.
# - **QK-norm** gains a little here, and its interval leaves out 0.
# - **SwiGLU and no biases:** null. Both intervals hold 0.
# - **Shared key heads cost** a hundredth or two. They are there to save the cache.
# - **RMSNorm** is worse with each of the six seeds, by a hundredth on average. Its interval only just
#   leaves out 0, and of eight intervals one may miss by bad luck: so we do not count it. It is there to
#   save arithmetic.
#
# What the table does not say: whether it stays so in longer training, in larger models, or at other
# learning rates. These are two blocks, a short training, and one rate.
#
# One run before your eyes, with a seed that is not in the record: GPT-2's parts, against the model
# from the bug above, which has rotary positions and shared heads.

# %% tags=["corpus", "measured"]
_, old_loss = train_variant(seed=7)
print(f"GPT-2's parts {old_loss:.2f} nats, rotary and shared heads {right_loss:.2f}")
claim(right_loss < old_loss - 0.05, "rotary positions pay, with shared heads too")

# %% [markdown]
# Now today's parts together, all but the shared key heads, which save only a cache: at the size of
# lesson 11's GPT and with its fast recipe, for the [ladder](../book/ladder.md).

# %% tags=["corpus", "measured", "hide-input"]
# @title The modern GPT, with lesson 11's fast recipe
import time

from lib.generate import sample

recipe = TrainConfig(
    520, 0.01, "muon", 0.02, 0.05, momentum=0.9, rounds=3, schedule="linear",
    n_warmup=10, clip=0.1,
)  # fmt: skip
parts = dict(position="rotary", norm="rms", ffn="swiglu", qk_norm=True)
parts |= dict(attention_bias=False, tie_weights=False, init="fan_in")
torch.manual_seed(0)
best = GPT(GPTConfig(d_model=64, n_layers=2, d_ff=172, context_length=64, **parts))
generator = torch.Generator().manual_seed(0)
next_batch = lambda: random_batch(train_ids, 12, 64, generator)
start = time.process_time()
train(Training(best, recipe), next_batch)
seconds = time.process_time() - start
best_loss = estimate_loss(best, validation, 64)
print(f"{count_parameters(best):,} parameters, {best_loss:.2f} nats")
claim(best_loss < 1.88, "the modern GPT comes below 1.88 nats")

# %% tags=["corpus", "sample", "hide-input"]
# @title The rung, and what the model writes
from lib.show.ladder import rung

prompt = torch.tensor([tokenizer.encode("T")])
text = tokenizer.decode(sample(best, prompt, 160, 1.0, generator)[0, 1:])
rung("GPT with modern parts", count_parameters(best), best_loss, seconds, text)

# %% [markdown]
# Lesson 11's GPT, which has rotary positions too, came to 1.85. So the other parts together gain a few
# hundredths here. That is one seed, and no proof.
# <!-- from: 11_training#experiment-2-the-fast-recipe "Muon:" -->

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You turn the values too, as the queries and keys. Does a model with one block still see only distances?</summary>
#
# No. The output is a sum of values, each turned by its own position: move the whole text on by ten
# places, and the output turns.
#
# </details>
#
# <details><summary>RMSNorm for 100 times its input gives the same output, but for the epsilon. And for its input plus 100?</summary>
#
# Another one: the mean is not taken off. A LayerNorm gives the same for both.
#
# </details>
#
# <details><summary>A model with rotary positions gets one token only. What does the rotation change?</summary>
#
# Nothing. The token looks at itself, at distance 0, with a weight of 1.
#
# </details>

# %% tags=["answer"]
# @title Answers: turned values, shifted inputs, one token
x = torch.randn(1, 16)
assert torch.allclose(RMSNorm(16)(100 * x), RMSNorm(16)(x), atol=1e-3)
assert not torch.allclose(RMSNorm(16)(x + 100), RMSNorm(16)(x), atol=0.1)
assert torch.allclose(nn.LayerNorm(16)(x + 100), nn.LayerNorm(16)(x), atol=1e-3)
weights = (rotary(q) @ rotary(k).T).softmax(dim=-1)
v = torch.randn(4, 16)
moved = weights @ rotary(v, start=10) - weights @ rotary(v)
print(f"turned values: the output moves by {moved.norm():.2f}")
block = MultiHeadAttention(20, 4, 2, 16, rotary, LibraryRMSNorm)
still = MultiHeadAttention(20, 4, 2, 16, lambda x: x, LibraryRMSNorm)
still.load_state_dict(block.state_dict())
one = torch.randn(1, 1, 20)
assert torch.allclose(block(one, is_causal=True), still(one, is_causal=True))

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_19 import check_cache_bytes, check_half_split, check_share_heads

# %% [markdown]
# ### Exercise 1: Count the cache
#
# *warm-up · 5 minutes* · [Solution](../solutions/19_modern_blocks.ipynb#exercise-1-count-the-cache)
#
# How many bytes does a full cache take for one text, in float32? `config` is a `GPTConfig`; its
# `n_kv_heads` and `d_head` may be None.
#
# <details><summary>Hint</summary>
#
# Each block keeps a key *and* a value for each key head and position. A float32 has 4 bytes. None
# means `n_heads`, and `d_model / n_heads`.
#
# </details>


# %%
def cache_bytes(config):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_cache_bytes(cache_bytes)

# %% [markdown]
# ### Exercise 2: From interleaved to half-split
#
# *core · 15 minutes* · [Solution](../solutions/19_modern_blocks.ipynb#exercise-2-from-interleaved-to-half-split)
#
# A file holds the matrix of a `q_proj` for interleaved pairs, `(H Dh, D)`: its rows are head after
# head. Return a new matrix with the rows of each head in half-split order, so that the library's
# `Rotary` gives the same scores.
#
# <details><summary>Hint</summary>
#
# `weight.unflatten(0, (n_heads, -1))` gives `(H, Dh, D)`. In each head first the rows with even
# numbers, then those with odd ones.
#
# </details>


# %%
def half_split(weight, n_heads):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_half_split(half_split)

# %% [markdown]
# ### Exercise 3: Fewer key heads
#
# *core · 15 minutes* · [Solution](../solutions/19_modern_blocks.ipynb#exercise-3-fewer-key-heads)
#
# A trained model with as many key heads as query heads can be turned into one that shares them: each
# new key head is the mean of the old ones of its group (Ainslie et al. 2023, section 2.1). Return the
# new matrix `(H_kv Dh, D)` of a `k_proj` or `v_proj` of `(H Dh, D)`. Groups are neighbours, as
# `repeat_interleave` serves them.
#
# <details><summary>Hint</summary>
#
# `unflatten` the rows into `(H_kv, H / H_kv, Dh)`. Over which of these dimensions is the mean?
#
# </details>


# %%
def share_heads(weight, n_heads, n_kv_heads):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_share_heads(share_heads)

# %% [markdown]
# ## Recap
#
# - You built **RMSNorm**, a LayerNorm without mean and bias; **rotary positions**, which turn queries
#   and keys so that scores depend on distance; **shared key heads** and **QK-norm** in one attention.
# - You saw **which part pays** here: rotary positions, clearly, with every seed. The others are worth
#   little or nothing to the loss of a model this small. They are kept for other reasons: a smaller
#   cache, less arithmetic, calmer training at size.
# - You saw a **bug that only foreign weights show**: `repeat` for `repeat_interleave`.
#
# What is still wrong: the cache grows with the text, and attention compares every token with every
# other. A text of a book's length needs other means: lesson [20](20_long_context.ipynb).
#
# `python -m lib.train --preset modern --text my.txt --out runs/modern` trains one with these parts on
# a text of yours.
#
# The library's entries: [RMSNorm](../book/api.md#norm), [Rotary and RotaryScaling](../book/api.md#position),
# [MultiHeadAttention](../book/api.md#attention), [Smear and BigramEmbedding](../book/api.md#embedding),
# [load_llama and export_llama](../book/api.md#modelsllama_files).

# %% [markdown]
# ## To read
#
# - Su et al. (2021), *RoFormer*, section 3.2: how the rotation is found from what a score should
#   depend on.
# - Zhang and Sennrich (2019), *Root Mean Square Layer Normalization*, section 4: what is lost without
#   the mean.
# - Ainslie et al. (2023), *GQA*, section 2: shared heads from a trained model.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: read a Llama
#
# A Llama in Hugging Face's format is a folder: `config.json` and tensors by name, as GPT-2's in lesson
# [10](10_gpt.ipynb). Nothing is stored transposed here, and nothing is joined. So two tables do: one
# for the settings, one for the names.

# %%
SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "head_dim": "d_head",
    "num_hidden_layers": "n_layers",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "norm_eps",
}


# %% [markdown]
# What has no number is fixed, or follows from the kind: a Qwen3 has QK-norms.


# %% tags=["naive:models.llama_files.llama_config"]
def llama_config(hf):
    sizes = {ours: hf[theirs] for theirs, ours in SIZES.items()}
    parts = dict(norm="rms", position="rotary", ffn="swiglu", attention_bias=False)
    base = hf["rope_parameters"]["rope_theta"]
    tied, qk_norm = hf["tie_word_embeddings"], hf["model_type"] == "qwen3"
    options = dict(rotary_base=base, tie_weights=tied, qk_norm=qk_norm)
    return GPTConfig(**sizes, **parts, **options, init="normal")


# %% [markdown]
# The names: take ours apart at the dots, and replace word by word.

# %%
WORDS = {
    "tokens": "model.embed_tokens",
    "blocks": "model.layers",
    "attention_norm": "input_layernorm",
    "attention": "self_attn",
    "out_proj": "o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn": "mlp",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
    "final_norm": "model.norm",
    "head": "lm_head",
    "gain": "weight",
}

# %% [markdown]
# For example:


# %%
def llama_name(ours):
    return ".".join(WORDS.get(word, word) for word in ours.split("."))


print(llama_name("blocks.3.attention.q_norm.gain"))

# %% [markdown]
# Now both ways. A tied head stands in no file.


# %% tags=["naive:models.llama_files.load_llama"]
from safetensors.torch import load_file, save_file


def load_llama(folder):
    hf = json.loads(Path(folder, "config.json").read_text("utf-8"))
    model, tensors = GPT(llama_config(hf)), load_file(Path(folder, "model.safetensors"))
    names = [ours for ours, _ in model.named_parameters()]
    weights = {ours: tensors[llama_name(ours)] for ours in names}
    model.load_state_dict(weights, strict=not model.config.tie_weights)
    return model


# %% tags=["naive:models.llama_files.export_llama"]
def export_llama(model, folder):
    c = model.config
    hf = {theirs: getattr(c, ours) for theirs, ours in SIZES.items()}
    hf |= {"num_key_value_heads": c.n_kv_heads or c.n_heads}
    hf |= {"head_dim": c.d_head or c.d_model // c.n_heads}
    hf |= {"model_type": "qwen3" if c.qk_norm else "llama"}
    hf |= {"rope_parameters": {"rope_theta": c.rotary_base}}
    hf |= {"tie_word_embeddings": c.tie_weights}
    Path(folder, "config.json").write_text(json.dumps(hf), "utf-8")
    tensors = {llama_name(ours): w.data for ours, w in model.named_parameters()}
    save_file(tensors, Path(folder, "model.safetensors"))


# %% [markdown]
# Write the model from the experiment as a Qwen3 (it has QK-norms), and read it back.

# %% tags=["corpus"]
from tempfile import TemporaryDirectory

ids = torch.randint(65, (2, 30))
with TemporaryDirectory() as folder:
    export_llama(best, folder)
    copy = load_llama(folder)
    stored = sorted(load_file(Path(folder, "model.safetensors")))
print(len(stored), "tensors, among them", stored[2])
assert torch.equal(copy(ids), best(ids))

# %% tags=["same:models.llama_files.llama_config", "same:models.llama_files.load_llama", "same:models.llama_files.export_llama", "corpus", "proof"]
# @title Proof: the library reads our folder, and we read the library's
from lib.models import llama_files as library_llama

with TemporaryDirectory() as folder:
    export_llama(best, folder)
    hf = json.loads(Path(folder, "config.json").read_text("utf-8"))
    assert library_llama.llama_config(hf) == llama_config(hf)
    assert torch.equal(library_llama.load_llama(folder)(ids), best(ids))
    library_llama.export_llama(best, folder)
    assert torch.equal(load_llama(folder)(ids), best(ids))
print("both ways the same logits")

# %% [markdown]
# The library's `load_llama` also reads files in several pieces and older settings, and refuses what a
# `GPT` does not compute. A real model of a billion parameters takes four gigabytes in float32:
# `load_llama(folder, context_length=1_024)` keeps at least its cache small.

# %% [markdown]
# ## Deeper: slower clocks
#
# A model was trained on 64 positions and gets more. The angles at later positions are new to it.
# One remedy is to turn all pairs more slowly, so that four times the text fits into the angles
# that it knows (*position interpolation*, Chen et al. 2023). But then the fast pairs blur neighbours.
# So spare them (Peng et al. 2023, section 3.2; Llama 3.1 does): a pair that turns often within the trained context keeps its speed, one that
# does not finish a single turn gets the whole factor, and between them it is a mean of both.

# %% tags=["naive:position.RotaryScaling"]
from dataclasses import dataclass

from torch import Tensor

from lib.shapes import require_sizes


@dataclass(frozen=True)
class RotaryScaling:
    factor: float
    n_slow: float | None = None
    n_fast: float | None = None
    trained_length: int = 1

    def __post_init__(self) -> None:
        require_sizes(trained_length=self.trained_length)
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor={self.factor} must be at least 1 and finite")
        both = self.n_slow, self.n_fast
        if both != (None, None) and not (None not in both and 0 <= both[0] < both[1]):
            raise ValueError(f"n_fast={self.n_fast} must be above n_slow={self.n_slow}")

    def slowed(self, frequencies: Tensor) -> Tensor:
        if self.n_slow is None:
            return frequencies / self.factor
        n_turns = self.trained_length * frequencies / (2 * math.pi)
        spared = (n_turns - self.n_slow) / (self.n_fast - self.n_slow)
        spared = spared.clamp(0, 1)  # share of a pair that stays as it is
        return frequencies * (spared + (1 - spared) / self.factor)


# %%
speeds = 10_000.0 ** -(torch.arange(0, 16, 2) / 16)
llama31 = RotaryScaling(factor=4.0, n_slow=1.0, n_fast=4.0, trained_length=64)
for name, scaling in (("all alike", RotaryScaling(4.0)), ("Llama 3.1", llama31)):
    shares = (scaling.slowed(speeds) / speeds).tolist()
    print(f"{name}: speed kept", [round(share, 2) for share in shares])

# %% [markdown]
# With one factor for all, each pair keeps a quarter of its speed. The other way spares the fast
# pairs.

# %% tags=["same:position.RotaryScaling", "proof"]
# @title Proof: the library slows the same pairs
from lib.position import RotaryScaling as LibraryScaling

for values in ((4.0,), (4.0, 1.0, 4.0, 64), (8.0, 0.5, 2.0, 100)):
    pair = RotaryScaling(*values).slowed(speeds), LibraryScaling(*values).slowed(speeds)
    assert torch.equal(*pair)
print("the same speeds")

# %% [markdown]
# Whether that helps a model to read on: lesson [20](20_long_context.ipynb).

# %% [markdown]
# ## Deeper: a look at the token before
#
# Some heads of a trained GPT do no more than look one token back. A model can have such a look for
# almost nothing, before its first block, in two ways. The first adds to each token's vector a *share*
# of the vector before it,
#
# $$x_t + s \odot x_{t-1}$$
#
# with a learned number in $s$ for each of a vector's $D$; $\odot$ multiplies element by element, and
# before the first token stand zeros. People who race to train a GPT (in the repository
# *modded-nanogpt*) call such a part **smear**; theirs also looks at the token to decide how much. It
# *changes the model*: runs that are to show something else must all have it, or none.

# %% tags=["naive:embedding.Smear"]
class Smear(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        before = F.pad(x, (0, 0, 1, 0))[:, :-1]  # (B, T, D), a row of zeros in front
        return x + self.share * before


# %%
smear = Smear(2)
smear.share.data = torch.tensor([0.5, 0.0])
x = torch.tensor([[[2.0, 1.0], [4.0, 1.0], [6.0, 1.0]]])
print(smear(x)[0].tolist())

# %% [markdown]
# The first number of each vector gets half of the one before it in `x`; the second has a share of
# 0. All shares start at 0, so the model begins as if nothing were smeared.
#
# And now generate with a cache, as in lesson [13](13_generation.ipynb): the model gets one token at a
# time.

# %%
whole = smear(x)
alone = torch.cat([smear(x[:, t : t + 1]) for t in range(3)], dim=1)
print("alone:", alone[0].tolist())

# %% [markdown]
# Nothing is smeared, and no error says so: **a part that looks back needs a cache too.** The library's
# class takes one, which keeps the vectors as they came in. `GPT.new_cache` returns it behind the caches
# of the blocks.

# %% tags=["same:embedding.Smear", "proof"]
# @title Proof: the library smears the same, at once and token by token
from lib.attention import KVCache
from lib.embedding import Smear as LibrarySmear

theirs = LibrarySmear(2)
theirs.load_state_dict(smear.state_dict())
assert torch.equal(theirs(x), whole)
cache = KVCache(3)
steps = [theirs(x[:, t : t + 1], cache) for t in range(3)]
assert torch.equal(torch.cat(steps, dim=1), whole)
assert not torch.equal(alone, whole)
print("the same vectors")

# %% [markdown]
# The second way is a table with a vector for each *pair* of tokens, where lesson [2](02_bigram.ipynb)
# had a count for each. The vector of its pair is added to that of the token; all rows start at 0 as
# well.

# %% tags=["naive:embedding.BigramEmbedding"]
class BigramEmbedding(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.vocab_size = vocab_size
        zeros = torch.zeros((vocab_size + 1) * vocab_size, d_model)
        self.pairs = nn.Embedding.from_pretrained(zeros, freeze=False)

    def forward(self, ids):
        before = F.pad(ids, (1, 0), value=self.vocab_size)[:, :-1]  # id V: no token
        return self.pairs(before * self.vocab_size + ids)


# %%
table = BigramEmbedding(3, 2)
table.pairs.weight.data = torch.arange(24.0).view(12, 2)
ids = torch.tensor([[0, 2, 1, 1]])
print(table(ids)[0].tolist())

# %% [markdown]
# The pair (0, 2) has row $0 \cdot 3 + 2$; then come (2, 1) and (1, 1) with rows 7 and 4. Before the first
# token stands none, which has the number 3 here: row $3 \cdot 3 + 0$. That makes $(V + 1) V$ rows, 4,290
# for 65 characters, and 2.5 billion for the 50,257 tokens of GPT-2: there, several pairs would have to
# share a row. But however long the table is, *one* row is read for each token. Its parameters take
# memory and hardly any time; only their gradient and the optimiser go over all of them.

# %% tags=["same:embedding.BigramEmbedding", "proof"]
# @title Proof: the library finds the same rows, at once and token by token
from lib.embedding import BigramEmbedding as LibraryBigramEmbedding

theirs = LibraryBigramEmbedding(3, 2)
theirs.load_state_dict(table.state_dict())
cache = KVCache(4)
steps = [theirs(ids[:, t : t + 1], cache) for t in range(4)]
assert torch.equal(theirs(ids), table(ids))
assert torch.equal(torch.cat(steps, dim=1), table(ids))
print("the same rows")

# %% [markdown]
# Are they worth it? The GPT of lesson [11](11_training.ipynb), its fast recipe, and the same first
# weights: without the two, with smear, and with both, which looks the pairs up and then smears the
# sums. It stops after 240 steps in place of 520: what is learnt sooner shows early.

# %% tags=["corpus", "measured"]
fast = dict(d_model=64, n_layers=2, d_ff=256, context_length=64, position="rotary")
fast |= dict(attention_bias=False, tie_weights=False, init="fan_in")
losses = []
for parts in ({}, {"smear": True}, {"smear": True, "bigrams": True}):
    torch.manual_seed(0)
    small = GPT(GPTConfig(**fast, **parts))
    generator = torch.Generator().manual_seed(0)  # `next_batch` draws with it
    train(Training(small, replace(recipe, n_steps=240)), next_batch)
    losses.append(estimate_loss(small, validation, 64))
    names = " and ".join(parts) or "neither"
    print(f"{names:17} {count_parameters(small):,}  {losses[-1]:.2f} nats")
claim(losses[1] < losses[0] - 0.01, "smear gains in as many steps")
claim(losses[2] < losses[1], "a table of pairs gains on top of that")

# %% [markdown]
# Both help. One seed again: five, with the times, are on the page of
# [benchmarks](../book/benchmarks.md).
