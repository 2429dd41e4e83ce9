# %% [markdown]
# # 09 · The Transformer block
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/09_transformer_block.ipynb)
#
# You put attention and feed-forward together so that ten of them in a row still learn,
# and you find out what goes wrong when you just stack them.
#
# - **You will build** the layer norm and the Transformer block, in its two forms,
#   pre-norm and post-norm.
# - **You will see** a deep stack in which every position ends up with the same vector,
#   and the plus sign that repairs it.
# - **Needs** lessons [07](07_multi_head_attention.ipynb) and [08](08_feed_forward.ipynb).
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
# Attention gathers, the feed-forward network thinks. The model of lesson
# [08](08_feed_forward.ipynb) did that once and is the lowest rung so far. Surely ten
# times is better: gather, think, gather what the others thought, think again. Try it.
# First the data.

# %% tags=["corpus"]
import torch
from torch import nn

from lib.checks.claims import claim
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
# Then lesson 08's pair of attention and feed-forward, ten of them one after the other
# inside the language model of lesson [06](06_attention.ipynb).

# %%
from lib.attention import MultiHeadAttention
from lib.ffn import FeedForward
from lib.models.language_model import LanguageModel


class AttentionThenFFN(nn.Module):
    def __init__(self, ffn):
        super().__init__()
        self.attention = MultiHeadAttention(d_model=64, n_heads=4)
        self.ffn = ffn

    def forward(self, x, mask):
        return self.ffn(self.attention(x, mask)[0])


# %% [markdown]
# All deep models on this page see the same batches, 80 of them with 16 windows of 32
# tokens. A deep model is slow to evaluate, so they are judged on the first 4,096
# characters of the validation split. The yardstick is the
# [unigram](../book/glossary.md#unigram) model of lesson [01](01_text_and_tokens.ipynb),
# which reads nothing.

# %% tags=["corpus"]
from lib.train import estimate_loss, fit

some = validation[:4_096]
shares = train.bincount(minlength=V).double() / len(train)
unigram_loss = -shares[some[1:]].log().mean().item()


def train_deep(model, learning_rate, n_steps=80):
    generator = torch.Generator().manual_seed(0)
    return fit(
        model, lambda: random_batch(train, 16, 32, generator), n_steps, learning_rate
    )


print(f"unigram: {unigram_loss:.2f} nats")

# %% [markdown]
# Now one pair, then the stack of ten with half a million parameters. Compare both with
# the line above.

# %% tags=["corpus", "measured"]
def plain_stack(n_layers):
    torch.manual_seed(0)
    blocks = [AttentionThenFFN(FeedForward(64, 256)) for _ in range(n_layers)]
    return LanguageModel(V, 64, 32, blocks)


single, plain = plain_stack(1), plain_stack(10)
single_losses, plain_losses = train_deep(single, 1e-3), train_deep(plain, 1e-3)
single_loss, plain_loss = (estimate_loss(m, some, 32) for m in (single, plain))
n_parameters = sum(parameter.numel() for parameter in plain.parameters())
print(f"one: {single_loss:.2f} nats, ten: {plain_loss:.2f} nats")
print(f"{n_parameters:,} parameters in the ten")
claim(abs(plain_loss - unigram_loss) < 0.1, "ten pairs learn the unigram model")
claim(single_loss < plain_loss - 0.1, "one pair learns more than ten")

# %% [markdown]
# With 507,713 parameters and ten chances to look around, the model is about as good as
# one that reads nothing. It has learned how frequent each character is, and that is
# all. A single pair learns more in the same training: more layers made it *worse*.
#
# What goes wrong, and what repairs it?

# %% [markdown]
# ## By hand
#
# ### Forwards: everything becomes the same
#
# An untrained attention looks at all of the past about equally: it *averages*. Four
# positions carry the numbers 8, 0, 4, 0. Replace each number by the mean of itself and
# all before it, and do that ten times. (`cumsum` adds up from the left: 8, 8, 12, 12.)

# %%
x = torch.tensor([8.0, 0.0, 4.0, 0.0])
places = torch.arange(1, 5)
averaged = x
for depth in range(1, 11):
    averaged = averaged.cumsum(0) / places
    if depth in (1, 2, 10):
        numbers = [round(number, 2) for number in averaged.tolist()]
        print(f"after {depth:2} averages: {numbers}")
assert averaged.min() > 7.5

# %% [markdown]
# After ten averages all four say about 8, what the *first* position said at the start.
# The 4 in the third place has left no trace. (In a real stack something else happens as
# well; you will see it below.) Now *add* a little of the average to what is already
# there, instead of replacing it.

# %%
added = x
for _ in range(10):
    added = added + 0.1 * added.cumsum(0) / places
print("after 10 additions:", [round(number, 2) for number in added.tolist()])
assert added[2] > added[1] + 3 and added[2] > added[3] + 3

# %% [markdown]
# The numbers have grown, and everyone knows something about the others. But the third
# place still stands out from its neighbours: what was there is still there.
#
# ### Backwards: nothing arrives
#
# The [gradient](../book/glossary.md#gradient) comes back through the layers from top to
# bottom. By the chain rule it is multiplied by the slope of each. Ten layers with a
# slope of 0.3 or -0.3, once as they are, and once as $x + f(x)$, whose slope is 1 plus
# the slope of $f$:

# %%
import math

slopes = [0.3, -0.3] * 5
print(f"f(x):     product of ten slopes {abs(math.prod(slopes)):.7f}")
print(f"x + f(x): product of ten slopes {math.prod(1 + s for s in slopes):.2f}")
print(f"x + f(x), all slopes 0.3: {1.3**10:.2f}")

# %% [markdown]
# 0.0000059 against 0.62. In the first case the bottom layer hears nothing from the
# loss. In the second the 1 carries the message past every layer: multiply the brackets
# out, and one term of the sum is ten times the 1. (With equal signs the product would
# drift, to 13.79 for ten slopes of 0.3. To make it vanish, slopes must be near -1.)
#
# ### Keep the size: four numbers
#
# Adding has a price: the numbers grow. A [layer norm](../book/glossary.md#layer-norm)
# gives a vector one size, whatever size it had. Take 4, 4, 2, 10. Their mean is 5; the
# distances from it are -1, -1, -3, 5. The mean of the squared distances, the
# *variance*, is (1 + 1 + 9 + 25) / 4 = 9, its root is 3. Divide the distances by 3.

# %%
vector = torch.tensor([4.0, 4.0, 2.0, 10.0])
centred = vector - vector.mean()
variance = centred.square().mean()
print(f"mean {vector.mean():.0f}, variance {variance:.0f}")
print(f"squared distances {centred.square().tolist()}")
print("normalised:", [round(number, 2) for number in (centred / 3).tolist()])
assert variance == 9

# %% [markdown]
# The result has mean 0 and variance 1, whatever the size of the numbers was. Who is
# large and who is small within the vector has stayed.

# %% [markdown]
# ## The formula
#
# A **residual connection** adds what a part $f$ computes to what went in. Its derivative
# contains the identity $I$, a 1 for each number:
#
# $$y = x + f(x) \qquad\qquad \frac{\partial y}{\partial x} = I + \frac{\partial f}{\partial x}$$
#
# A **layer norm** works on the $D$ numbers of *one* vector. It never looks at other
# positions, nor at other sequences of the batch:
#
# $$\mu = \frac{1}{D} \sum_{i} x_i \qquad \sigma^2 = \frac{1}{D} \sum_{i} (x_i - \mu)^2 \qquad
# \text{LN}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot g + b$$
#
# There are two ways to combine the two. The original Transformer normalises *after*
# adding, most models since GPT-2 normalise *before* the part. (Then the stream itself
# goes on growing, but every part reads it at one size.)
#
# $$\text{post-norm: } \text{LN}(x + f(x)) \qquad\qquad \text{pre-norm: } x + f(\text{LN}(x))$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$, $y$ | `(B, T, D)` | the residual stream before and after |
# | $f$ | `(B, T, D)` -> `(B, T, D)` | a part: attention or feed-forward network |
# | $\mu$, $\sigma^2$ | `(B, T, 1)` | mean and variance of each vector |
# | $g$, $b$ | `(D,)` | gain and bias, learned; they start at 1 and 0 |
# | $\epsilon$ | number | `eps` in code; tiny, keeps the root away from 0 |
#
# Where they come from: the residual connection is equation (1) in section 3.2 of He et
# al. (2016), the layer norm equation (4) in section 3.1 of Ba et al. (2016), post-norm
# section 3.1 of Vaswani et al. (2017). Xiong et al. (2020) compare pre-norm and
# post-norm.

# %% [markdown]
# ## Build
#
# ### Layer norm
#
# Mean and variance run over the last dimension, and `keepdim=True` keeps a 1 in its
# place, so that each vector is divided by its own root. `nn.Parameter` makes a tensor
# part of the model: the optimiser will find it.


# %% tags=["naive:norm.LayerNorm"]
class LayerNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)  # (..., 1)
        return centred / (variance + self.eps).sqrt() * self.gain + self.bias


# %% [markdown]
# Give it the vector from above, then random vectors of 64 numbers of three very different
# sizes. Look at the variance of what comes out.

# %%
torch.manual_seed(0)
print([round(number, 2) for number in LayerNorm(4)(vector).tolist()])
for size in (0.001, 1, 1_000):
    y = LayerNorm(64)(size * torch.randn(5, 64))
    print(
        f"numbers of size {size:5}: variance after the norm {y.var(correction=0):.2f}"
    )

# %% [markdown]
# The same four numbers as by hand. Vectors of size 1 and 1,000 come out alike. Only the
# tiny ones stay small: their variance is far below $\epsilon$, so $\epsilon$ decides what
# they are divided by. Without it, a vector of equal numbers would be divided by zero.

# %% [markdown]
# ### The residual stream
#
# In a stack of pre-norm blocks, the vector of a position is never replaced. It starts
# as token plus position, and each part *adds* something. This is the [residual
# stream](../book/glossary.md#residual-stream). Think of a notice board, one for each
# position: every part reads it, and pins its own note next to the others. Nobody takes
# a note down. At the top stands the sum of all notes:
#
# $$x_\text{top} = x_\text{token} + x_\text{position} + \text{attention}_1 + \text{ffn}_1 + \text{attention}_2 + \text{ffn}_2 + \ldots$$
#
# Attention reads the boards of all positions that it may look at, the feed-forward
# network only its own.

# %% [markdown]
# ### The block
#
# A [block](../book/glossary.md#block) is wiring. The parts are passed in, as you would
# plug devices into a socket, so the same class serves every model of this course:
#
# ```
# x --+------------------------- + --+---------------------- + --> x
#     |                          |   |                       |
#     +--> norm --> attention ---+   +--> norm --> ffn ------+
# ```
#
# In code each of the two parts is one line with a plus sign. In the other order,
# post-norm, the norm stands around the sum. (The attention returns its output and its
# weights; `_` takes the weights, which nobody needs here.)


# %% tags=["naive:block.Block"]
class Block(nn.Module):
    def __init__(self, attention, ffn, *, pre_norm=True):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention_norm = LayerNorm(attention.d_model)
        self.attention = attention
        self.ffn_norm = LayerNorm(attention.d_model)
        self.ffn = ffn

    def forward(self, x, mask=None):
        if self.pre_norm:
            y, _ = self.attention(self.attention_norm(x), mask)
            x = x + y
            return x + self.ffn(self.ffn_norm(x))
        y, _ = self.attention(x, mask)
        x = self.attention_norm(x + y)
        return self.ffn_norm(x + self.ffn(x))


# %% [markdown]
# Shapes do not change, so blocks can follow each other.

# %%
block = Block(MultiHeadAttention(64, 4), FeedForward(64, 256))
x = torch.randn(2, 32, 64)
print(f"{tuple(x.shape)} -> {tuple(block(x).shape)}")
sizes = {
    name: sum(parameter.numel() for parameter in part.parameters())
    for name, part in block.named_children()
}
print(sizes, f"together {sum(sizes.values()):,}")
assert sum(sizes.values()) == 49_984

# %% [markdown]
# 49,984 parameters. The norms are cheap, 128 numbers each: they cost next to nothing,
# and the plus signs cost nothing at all.
#
# One thing is missing at the top. In pre-norm nobody normalises the sum of all notes,
# so a model of pre-norm blocks has one more norm between the last block and the head:
# `LanguageModel(..., final_norm=LayerNorm(64))`. Post-norm blocks end with a norm of
# their own.

# %% [markdown]
# ## Check
#
# ### Equal to PyTorch's own
#
# The layer norm first, on vectors of several sizes, with random gains and biases
# (`nn.init.normal_` fills a parameter with random numbers). The library's has the same
# parameters, but calls PyTorch's `layer_norm`. That does our lines in one go, and several
# times faster. It also takes mean and variance in `float32` where the vectors hold shorter
# numbers, whose squares may be too large to write down.

# %% tags=["same:norm.LayerNorm", "proof"]
import lib.norm

for d_model in (2, 4, 64):
    norm, x = LayerNorm(d_model), 3 * torch.randn(2, 5, d_model) + 1
    nn.init.normal_(norm.gain)
    nn.init.normal_(norm.bias)
    library_norm = lib.norm.LayerNorm(d_model)
    library_norm.load_state_dict(norm.state_dict())
    torchs = nn.functional.layer_norm(x, (d_model,), norm.gain, norm.bias)
    assert torch.allclose(norm(x), torchs, atol=1e-5)
    assert torch.allclose(norm(x), library_norm(x), atol=1e-5)
print("layer norm equals PyTorch's and the library's")

# %% [markdown]
# PyTorch has the block too, as `nn.TransformerEncoderLayer`. It keeps the weights of
# queries, keys and values in one tall matrix, so copying takes a few lines.


# %%
def copy_weights(block, layer):
    attention, theirs = block.attention, layer.self_attn
    inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
    theirs.in_proj_weight.data = torch.cat([linear.weight.data for linear in inputs])
    theirs.in_proj_bias.data = torch.cat([linear.bias.data for linear in inputs])
    theirs.out_proj.load_state_dict(attention.out_proj.state_dict())
    layer.linear1.load_state_dict(block.ffn.up.state_dict())
    layer.linear2.load_state_dict(block.ffn.down.state_dict())
    norms = (block.attention_norm, layer.norm1), (block.ffn_norm, layer.norm2)
    for ours, torchs in norms:
        nn.init.normal_(ours.gain)
        nn.init.normal_(ours.bias)
        torchs.weight.data, torchs.bias.data = ours.gain.data, ours.bias.data


# %% [markdown]
# Now pre-norm and post-norm, outputs and gradients, with a causal mask. (PyTorch's mask
# says where looking is *forbidden*, hence `~mask`, the opposite. `double` computes with
# twice as many digits, so that rounding plays no part. The outputs get random weights
# before they are summed, because the plain sum of normalised numbers hardly has a
# gradient.)

# %%
from lib.attention import causal_mask

mask = causal_mask(32)
for pre_norm in (True, False):
    block = Block(MultiHeadAttention(64, 4), FeedForward(64, 256), pre_norm=pre_norm)
    options = dict(dropout=0.0, activation="gelu", batch_first=True)
    layer = nn.TransformerEncoderLayer(64, 4, 256, norm_first=pre_norm, **options)
    copy_weights(block.double(), layer.double())
    x, weight = torch.randn(2, 2, 32, 64).double()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, torchs = block(a, mask), layer(b, src_mask=~mask)
    (weight * ours).sum().backward()
    (weight * torchs).sum().backward()
    assert torch.allclose(ours, torchs, atol=1e-9)
    assert torch.allclose(a.grad, b.grad, atol=1e-9)
    print(f"pre_norm={pre_norm!s:5}: the same outputs and gradients as PyTorch")

# %% [markdown]
# Equal in both forms. Your block *is* the Transformer's block.
#
# The library's block has an empty slot more, for a second attention between the two
# parts. It stays empty until lesson 15, where a block also looks at a second text. (And
# `dropout` waits for lesson 11.)

# %% tags=["same:block.Block", "proof"]
import lib.block

for pre_norm in (True, False):
    parts = MultiHeadAttention(64, 4), FeedForward(64, 256)
    ours = Block(*parts, pre_norm=pre_norm)
    theirs = lib.block.Block(*parts, pre_norm=pre_norm)
    x = torch.randn(2, 32, 64)
    assert torch.allclose(ours(x, mask), theirs(x, mask), atol=1e-5)
print("the library's block gives the same outputs")

# %% [markdown]
# ### The classic bug: almost the right variance
#
# Two slips give a layer norm that looks right. The first takes the variance from
# `x.var()`, which by default divides by $D - 1$, as statisticians do for samples. The
# second puts $\epsilon$ outside the root.


# %%
class WrongVariance(LayerNorm):
    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True)  # divides by D - 1
        return centred / (variance + self.eps).sqrt() * self.gain + self.bias


class WrongEpsilon(LayerNorm):
    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        root = centred.square().mean(dim=-1, keepdim=True).sqrt()
        return centred / (root + self.eps) * self.gain + self.bias


# %% [markdown]
# How long are their results, compared with those of the right norm? Try ordinary vectors,
# short ones, and tiny ones.

# %%
torch.manual_seed(0)
cases = ("D=64", torch.randn(5, 64)), ("D=4", torch.randn(5, 4))
for name, x in (*cases, ("D=64, tiny", 1e-4 * torch.randn(5, 64))):
    kinds = LayerNorm, WrongVariance, WrongEpsilon
    right, variance, epsilon = (kind(x.size(-1))(x).norm() for kind in kinds)
    factors = f"variance x {variance / right:.3f}, epsilon x {epsilon / right:.1f}"
    print(f"{name:10}: {factors}")
assert epsilon > 20 * right

# %% [markdown]
# On ordinary vectors of 64 numbers you hardly see either. On four numbers the wrong
# variance gives 0.866 of the right length. On tiny numbers the wrong $\epsilon$ gives
# 28 times the right length. So test a norm on *short* vectors and on *tiny* ones.
#
# Would training notice? Train two models with one block for 30 steps, one with the
# right norm and one with the wrong variance. Then load the weights of the right one
# into the wrong code. (`state_dict` is the dictionary of all parameters by name,
# `load_state_dict` reads one.)


# %% tags=["corpus", "measured"]
def one_block_with(norm):
    torch.manual_seed(0)
    block = Block(MultiHeadAttention(64, 4), FeedForward(64, 256))
    block.attention_norm, block.ffn_norm = norm(64), norm(64)
    return LanguageModel(V, 64, 32, [block], norm(64))


right, wrong = one_block_with(LayerNorm), one_block_with(WrongVariance)
ends = [sum(train_deep(model, 5e-3, 30)[-10:]) / 10 for model in (right, wrong)]
print(f"last ten batches: right {ends[0]:.2f} nats, wrong {ends[1]:.2f} nats")
wrong.load_state_dict(right.state_dict())
difference = (wrong(some[None, :32]) - right(some[None, :32])).abs().max()
print(f"same weights, other code: logits differ by up to {difference:.2f}")
claim(abs(ends[0] - ends[1]) < 0.02, "training sees no difference")
claim(difference > 0.01, "the same weights give other logits in the wrong code")

# %% [markdown]
# Training sees no difference: every normalised vector is a little shorter, and the
# weights learn around that. But the same weights give other logits in the wrong code.
# The bug shows on the day you load somebody else's weights, or they load yours. Lesson
# 10 loads GPT-2's.

# %% [markdown]
# ## Look
#
# ### Five stacks, before training
#
# Take the stack of ten apart: with and without residuals, with and without norms. The
# class below leaves out both plus signs; `nn.Identity` is a module that does nothing. The
# stack with neither is the plain stack from above.


# %%
class WithoutResidual(Block):
    def forward(self, x, mask=None):
        x, _ = self.attention(self.attention_norm(x), mask)
        return self.ffn(self.ffn_norm(x))


def stack(kind=Block, norm=True, pre_norm=True, n_layers=10):
    torch.manual_seed(0)
    blocks = []
    for _ in range(n_layers):
        parts = MultiHeadAttention(64, 4), FeedForward(64, 256)
        blocks.append(kind(*parts, pre_norm=pre_norm))
        if not norm:
            blocks[-1].attention_norm = blocks[-1].ffn_norm = nn.Identity()
    final_norm = LayerNorm(64) if norm and pre_norm else None
    return LanguageModel(V, 64, 32, blocks, final_norm)


# %% [markdown]
# Same seed, same order: all stacks start with the same attention and feed-forward
# weights.
#
# ### Forwards: how alike are the positions?
#
# Two vectors point the same way when their *cosine* is 1, and have nothing to do with
# each other when it is 0 (lesson [04](04_embeddings.ipynb)). `stream`
# runs a model and keeps the vectors after the embedding and after each block. (`mT` swaps
# the last two dimensions.)


# %%
@torch.no_grad()
def stream(model, ids, mask=None):
    mask = causal_mask(ids.size(1)) if mask is None else mask
    vectors = [model.positions(model.tokens(ids))]
    for block in model.blocks:
        vectors.append(block(vectors[-1], mask))
    return vectors  # n_layers + 1 tensors (B, T, D)


def cosines(x):
    unit = x / x.norm(dim=-1, keepdim=True)
    return unit @ unit.mT  # (B, T, T)


# %% [markdown]
# Take a line of 12 characters. Number one: the mean cosine between two different
# positions. Number two: change the *last* character of the line; by how much does the
# last vector change, as a share of its length? Look at how alike the positions are after
# 0, 1, 3 and 10 blocks.


# %%
def alike(x):
    n = x.size(1)
    return (cosines(x).sum().item() - n) / (n * (n - 1))  # without x with itself


def change(model):
    lines = ("to be or not", "to be or now")
    ids = torch.tensor([tokenizer.encode(line) for line in lines])
    a, b = stream(model, ids)[-1][:, -1]
    return ((a - b).norm() / a.norm()).item()


# %%
line = torch.tensor([tokenizer.encode("to be or not")])
kinds_of_stacks = {
    "neither": dict(kind=WithoutResidual, norm=False),
    "norms only": dict(kind=WithoutResidual),
    "residuals only": dict(norm=False),
    "pre-norm": dict(),
    "post-norm": dict(pre_norm=False),
}
stacks = {name: stack(**options) for name, options in kinds_of_stacks.items()}
for name, model in stacks.items():
    levels = [alike(x) for x in stream(model, line)]
    shown = ", ".join(f"{levels[depth]:.2f}" for depth in (0, 1, 3, 10))
    print(f"{name:14}: alike {shown}, change {change(model):.3f}")
    collapsed = levels[10] > 0.95 and change(model) < 1e-3
    claim(collapsed == (name in ("neither", "norms only")), "no residuals: all alike")

# %% [markdown]
# Without residuals the vectors of all twelve positions point the *same way* after ten
# blocks, with norms or without. The stack cannot tell `not` from `now`. With residuals
# each position keeps its own vector.
#
# Why? By hand it was the averaging. Test it: let each position look at itself only, so
# that nothing is averaged. There is a second suspect. Each block makes what it reads
# smaller, and adds the same biases at every position. Set all biases to 0, and try all
# four combinations on the stack with neither.

# %%
bare = stack(WithoutResidual, norm=False)
for name, parameter in bare.blocks.named_parameters():
    if name.endswith("bias"):
        nn.init.zeros_(parameter)
alone = torch.eye(12, dtype=torch.bool)  # each position looks at itself
results = {}
for biases, model in (("biases", stacks["neither"]), ("no biases", bare)):
    for looks, seen in (("at the past", None), ("at itself", alone)):
        results[biases, looks] = alike(stream(model, line, seen)[-1])
        print(f"{biases:9}, looks {looks:11}: alike {results[biases, looks]:.2f}")
claim(results.pop(("no biases", "at itself")) < 0.3, "without both they stay apart")
claim(min(results.values()) > 0.95, "averaging alone or biases alone make them alike")

# %% [markdown]
# Both suspects are guilty, and either one is enough: averaging makes the positions
# alike, and so do biases that drown a signal which shrinks from block to block. (How
# fast it shrinks depends on the weights that PyTorch starts with; lesson 10 chooses
# better ones.) Residuals help against both, because nothing has to pass *through* a
# block.
#
# Now the plain stack from the top of the page, *after* its training:

# %% tags=["corpus", "measured"]
top = alike(stream(plain, line)[-1])
print(f"plain stack, trained: alike {top:.2f}, change {change(plain):.3f}")
claim(top > 0.95 and change(plain) < 1e-3, "after training all positions are alike")

# %% [markdown]
# It has not found the way out. And when the last vector does not depend on what was
# read, the best prediction is the same everywhere: the unigram model. That is why it
# stopped there.
#
# Compare the two stacks after three blocks, position by position.

# %% mystnb={"image": {"alt": "Two squares of 12 by 12 cosines. The left one, of the plain stack, is dark blue throughout. In the right one, of the pre-norm stack, only the diagonal is dark; the rest is pale blue and pale red."}}
from lib.show import plot
from lib.show.frames import slider

labels = plot.visible("to be or not")
both = {name: stream(stacks[name], line) for name in ("neither", "pre-norm")}
left, right = (cosines(both[name][3])[0] for name in both)
matrix = torch.cat([left, torch.zeros(12, 1), right], dim=1)
claim(alike(both["neither"][3]) > 0.95, "the plain stack is one colour")
claim(alike(both["pre-norm"][3]) < 0.5, "the pre-norm stack is not")
axes = "left: plain stack        right: pre-norm stack", "position"
columns = [*labels, "", *labels]
plot.heat_map(matrix, labels, columns, *axes, size=(8, 4), top=1, label="cosine")

# %% [markdown]
# *After three blocks every position of the plain stack points the same way. In the
# pre-norm stack each is still itself.*
#
# ### Backwards: what arrives at the bottom?
#
# One batch, one `backward`, no training. For each block, collect the gradients of all its
# parameters into one long vector and take its length.


# %%
def gradient_length(block):
    gradients = [parameter.grad.flatten() for parameter in block.parameters()]
    return torch.cat(gradients).norm().item()


# %% tags=["corpus"]
from lib.evaluate.losses import cross_entropy

inputs, targets = random_batch(train, 16, 32, torch.Generator().manual_seed(0))


def gradient_lengths(model):
    model.zero_grad()
    cross_entropy(model(inputs), targets).backward()
    return [gradient_length(block) for block in model.blocks]


lengths = {name: gradient_lengths(model) for name, model in stacks.items()}
for name, (first, *_, last) in lengths.items():
    print(f"{name:14}: block 1 {first:.1e}, block 10 {last:.1e}")
vanishing = lengths.pop("neither")
claim(vanishing[0] < 1e-9 * vanishing[-1], "in the plain stack the gradient vanishes")
claim(min(min(each) for each in lengths.values()) > 0.1, "norms or residuals keep it")

# %% [markdown]
# From block 10 down to block 1 the gradient of the plain stack shrinks to less than a
# billionth (`e-12` moves the point twelve places to the left). Move the slider to
# build the stacks deeper and deeper, and watch the left end of each line.

# %% tags=["hide-input", "nbval-ignore-output"]
def lengths_at(depth):
    models = {name: stack(n_layers=depth, **o) for name, o in kinds_of_stacks.items()}
    return {name: gradient_lengths(model) for name, model in models.items()}


by_depth = {depth: lengths_at(depth) for depth in (2, 6, 10)}


def draw(depth):
    axes = "block", "length of the gradient"
    figure = plot.line_chart(by_depth[depth], *axes, x=range(1, depth + 1), log=True)
    figure.axes[0].set(xlim=(0.7, 10.3), ylim=(1e-13, 100))
    return figure


def describe(depth):
    worst = by_depth[depth]["neither"][0]
    others = min(lines[0] for n, lines in by_depth[depth].items() if n != "neither")
    return (
        f"Length of the gradient in stacks of {depth} blocks, logarithmic. In block 1 "
        f"the plain stack has {worst:.0e}, every other stack at least {others:.1f}."
    )


bottoms = [by_depth[depth]["neither"][0] for depth in by_depth]
shrinks = all(deep < 0.1 * shallow for shallow, deep in zip(bottoms, bottoms[1:]))
claim(shrinks, "the deeper the plain stack, the less arrives")
slider(draw, list(by_depth), "number of blocks", alt=describe, start=2)

# %% [markdown]
# *With neither residuals nor norms each block passes on a small part of the gradient:
# of ten, block 1 gets less than a billionth of what block 10 gets. Norms or residuals,
# either of them, keep it at about one size at every depth.*
#
# Two diseases, then: positions become alike on the way up, and gradients vanish on the
# way down. Norms alone help only against the second: their gradients are healthy, and
# their positions are all alike. Residuals help against both.
#
# At the start, residuals without norms look no worse than with them, and post-norm no
# worse than pre-norm. Do they stay that way when the model moves?

# %% [markdown]
# ## Experiment 1: ten blocks, two learning rates
#
# Same training as the plain stack had. First a careful learning rate, then one that is
# five times as large; pre-norm and post-norm with both. One seed each: the differences
# that matter here are large.

# %% tags=["corpus", "measured"]
deep = {"plain, 0.001": (plain, plain_losses, plain_loss)}
for rate in (0.001, 0.005):
    for name in ("pre-norm", "post-norm"):
        model = stack(**kinds_of_stacks[name])
        losses = train_deep(model, rate)
        deep[f"{name}, {rate}"] = model, losses, estimate_loss(model, some, 32)
for name, (_, _, loss) in deep.items():
    print(f"{name:21}: {loss:.2f} nats (unigram {unigram_loss:.2f})")

plain_end, pre_slow, post_slow, pre_fast, post_fast = (run[2] for run in deep.values())
learned = max(pre_slow, post_slow, pre_fast)
claim(learned < plain_end - 0.4, "pre-norm learns, and so does careful post-norm")
claim(pre_fast < pre_slow, "pre-norm gains from the higher rate")
claim(post_fast > learned + 0.3, "post-norm fails at the higher rate")

# %% [markdown]
# The same ten blocks, now with residuals and norms, learn: 2.67 nats instead of 3.31.
# At this careful rate post-norm does about as well as pre-norm. At five times the
# learning rate the two part. Pre-norm gets further in as many steps, to 2.55.
# Post-norm hardly does better than the unigram model. Whether residuals would do without
# any norm is a question for you: train `stack(norm=False)` in the same way.
# <!-- from: experiment-1-ten-blocks-two-learning-rates "pre-norm, 0.0" -->
# <!-- from: experiment-1-ten-blocks-two-learning-rates "plain, 0.001" -->

# %% mystnb={"image": {"alt": "Training losses of five deep models. The two pre-norm stacks and post-norm at the low rate fall well below the dashed unigram line. The plain stack and post-norm at the high rate stay near it."}} tags=["corpus"]
curves = {name: losses for name, (_, losses, _) in deep.items()}
figure = plot.loss_curve(curves, {"unigram": unigram_loss})
figure.axes[0].set(ylim=(2.3, 4.7))
figure

# %% [markdown]
# *Both pre-norm stacks and the careful post-norm stack fall below the unigram line and
# go on falling. The plain stack and post-norm at the high rate stay near it.*
#
# What happened to that post-norm stack? Ask it the question from above: how alike are
# the positions, after training?

# %% tags=["corpus", "measured:wide"]
tops = []
for name in ("pre-norm, 0.005", "post-norm, 0.005"):
    levels = [alike(x) for x in stream(deep[name][0], line)]
    tops.append(levels[-1])
    print(f"{name}: alike {levels[0]:.2f}, after ten blocks {tops[-1]:.2f}")
claim(tops[1] > tops[0] + 0.2, "positions of the post-norm stack are more alike")

# %% [markdown]
# The large steps have pushed it towards the same hole: at the top all positions say
# nearly the same. One difference to pre-norm is that post-norm normalises the stream
# itself, after every part, so nothing that a part adds passes to the top unchanged.
# Whether that is the reason, this run cannot say.
#
# Be careful with what this shows: few steps, one seed, two learning rates. It does not
# say that post-norm cannot be trained, nor that norms are useless: larger models, with
# longer training, are hardly ever built without them. The original Transformer was
# post-norm, and its learning rate started tiny and grew slowly. Lesson 16 trains one
# that way.

# %% [markdown]
# ## Experiment 2: one block, three blocks
#
# Back to the ladder: 350 batches of 32 windows of 32 tokens. One block at a learning
# rate of 0.01; three blocks at half of that, to be careful.
# <!-- from: experiment-2-one-block-three-blocks "random_batch(" -->
# <!-- from: experiment-2-one-block-three-blocks "(1, 0.01)" -->

# %%
import time


def train_blocks(n_layers, learning_rate):
    torch.manual_seed(0)
    blocks = [
        Block(MultiHeadAttention(64, 4), FeedForward(64, 256)) for _ in range(n_layers)
    ]
    model = LanguageModel(V, 64, 32, blocks, LayerNorm(64))
    generator = torch.Generator().manual_seed(0)
    start = time.process_time()
    fit(model, lambda: random_batch(train, 32, 32, generator), 350, learning_rate)
    return model, time.process_time() - start


# %% tags=["corpus", "measured"]
final = {}
for n_layers, rate in ((1, 0.01), (3, 0.005)):
    model, seconds = train_blocks(n_layers, rate)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    loss = estimate_loss(model, validation, 32)
    final[n_layers] = model, n_parameters, loss, seconds
    print(f"blocks: {n_layers}, parameters: {n_parameters:,}, loss: {loss:.4f} nats")
claim(abs(final[1][2] - final[3][2]) < 0.08, "three blocks do as well as one, so far")

# %% [markdown]
# One block has 60,545 parameters. It is the model from the end of lesson
# [08](08_feed_forward.ipynb), plus two plus signs and three norms, and it takes the
# lowest rung so far.
#
# Three blocks have 160,513 parameters, and nearly the same loss. That is an honest null:
# at this budget, with one seed and another learning rate each, depth buys nothing that
# you could see. What you have won is that depth no longer *hurts*. Lesson 11 asks
# whether it pays with more training. Both go on the [ladder](../book/ladder.md), with
# what they write.

# %% tags=["corpus", "sample"]
from lib.generate import sample
from lib.show.ladder import rung

names = {1: "One Transformer block", 3: "Three Transformer blocks"}
for n_layers, (model, n_parameters, loss, seconds) in final.items():
    generator = torch.Generator().manual_seed(1)
    prompt = torch.tensor([tokenizer.encode("T")])
    text = tokenizer.decode(sample(model, prompt, 120, 1.0, generator)[0, 1:])
    rung(names[n_layers], n_parameters, loss, seconds, text)

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You add 100 to every number of a vector. Or you multiply every number by 10. What does the layer norm give?</summary>
#
# The same as before, both times, up to the small $\epsilon$. It takes out the mean and
# the size.
#
# </details>
#
# <details><summary>You set the last matrix and bias of both parts to zero, <code>out_proj</code> and <code>ffn.down</code>. What does a pre-norm block do now, and what gradient does its input get?</summary>
#
# Each part adds zero, so the block hands on its input unchanged, and the gradient too.
# Some deep models start like that: a hundred such blocks begin as if there were none.
#
# </details>

# %%
x = torch.randn(5, 64)
norm = LayerNorm(64)
for name, y in (("plus 100", x + 100), ("times 10", 10 * x)):
    print(
        f"{name}: differs by less than 0.001: {(norm(y) - norm(x)).abs().max() < 1e-3}"
    )
    assert torch.allclose(norm(y), norm(x), atol=1e-3)

# %%
block = Block(MultiHeadAttention(64, 4), FeedForward(64, 256))
for last in (block.attention.out_proj, block.ffn.down):
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
x = torch.randn(2, 32, 64, requires_grad=True)
y = block(x, mask)
y.sum().backward()
print(
    "unchanged:", torch.equal(y, x), "- gradient all ones:", bool((x.grad == 1).all())
)
assert torch.equal(y, x) and (x.grad == 1).all()

# %% [markdown]
# ## Exercises
#
# In these exercises a *pre-norm block* is a `Block` as above, with the attributes
# `attention_norm`, `attention`, `ffn_norm` and `ffn`, and without cross-attention.

# %%
from lib.checks.lesson_09 import (
    check_logits_by_depth,
    check_make_blocks,
    check_residual_parts,
    check_rms_norm,
)

# %% [markdown]
# ### Exercise 1: A stack of blocks
#
# *warm-up · 5 minutes* · [Solution](../solutions/09_transformer_block.ipynb#exercise-1-a-stack-of-blocks)
#
# Write a function that returns a list of `n_layers` pre-norm blocks of the given sizes,
# ready to be passed to `LanguageModel`. Each block must have parameters of its own.
#
# <details><summary>Hint</summary>
#
# `[block] * 3` is a list that holds the *same* block three times. A list comprehension
# evaluates its expression anew for every element.
#
# </details>


# %%
def make_blocks(n_layers, d_model, n_heads, d_ff):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_make_blocks(make_blocks)

# %% [markdown]
# ### Exercise 2: A simpler norm
#
# *core · 10 minutes* · [Solution](../solutions/09_transformer_block.ipynb#exercise-2-a-simpler-norm)
#
# Many newer models leave out the mean and the bias: they divide each vector by the root
# of the mean of its squares, and multiply by a gain (*RMS* stands for root mean
# square). Write it: `x` has shape `(..., D)`, `gain` has shape `(D,)`, the result the
# shape of `x`. `eps` belongs where the layer norm has it. Leave `x` as it is.
#
# <details><summary>Hint</summary>
#
# Take `LayerNorm.forward` and ask of each piece: does it have to do with the mean? With
# the bias? Strike it out.
#
# </details>


# %%
def rms_norm(x, gain, eps=1e-5):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_rms_norm(rms_norm)

# %% [markdown]
# ### Exercise 3: The two notes
#
# *core · 20 minutes* · [Solution](../solutions/09_transformer_block.ipynb#exercise-3-the-two-notes)
#
# A pre-norm block pins two notes to the board. Return them as a pair `(a, f)`, both of
# shape `(B, T, D)`: what the attention adds to the stream, and what the feed-forward
# network adds. For `x` of shape `(B, T, D)` and a `mask` of shape `(T, T)`, `x + a + f`
# must be `block(x, mask)`. Compute each note directly from the parts of the block, not
# as a difference.
#
# <details><summary>Hint</summary>
#
# Follow the picture of the block from left to right. What is on the board when the
# feed-forward network reads it? And `attention(...)` returns two things.
#
# </details>


# %%
def residual_parts(block, x, mask):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_residual_parts(residual_parts)

# %% [markdown]
# ### Exercise 4: Read the board half-way
#
# *stretch · 30 minutes* · [Solution](../solutions/09_transformer_block.ipynb#exercise-4-read-the-board-half-way)
#
# The head turns the top of the stream into logits. Nothing stops you from asking it
# earlier. For a `LanguageModel` of pre-norm blocks and `ids` of shape `(B, T)`, return
# the logits that you get after 0, 1, 2, ... blocks, as one tensor of shape `(n_layers +
# 1, B, T, V)`. Row 0 reads token plus position, before any block; the last row is what
# the model says itself. Every row goes through the model's `final_norm` and `head`.
# This is called the *logit lens*. Then train a model of three blocks and look: how good
# is the prediction after each of them?
#
# <details><summary>Hint</summary>
#
# `stream` above has nearly all of it. `torch.stack` makes one tensor of a list of
# tensors of equal shape.
#
# </details>


# %%
def logits_by_depth(model, ids):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_logits_by_depth(logits_by_depth)

# %% [markdown]
# ## Recap
#
# - You built the **layer norm**, by hand on four numbers and as a module, equal to
#   PyTorch's. Its classic bug, the wrong variance, trains just as well; it shows when
#   weights are exchanged.
# - You built the **block**, pre-norm and post-norm, equal to
#   `nn.TransformerEncoderLayer` in outputs and gradients. What matters are the two plus
#   signs.
# - You saw **why a plain stack fails**: positions become alike on the way up, the
#   gradient vanishes on the way down, and the model ends at the unigram loss, 3.31
#   nats. **Residuals** repair both.
#   <!-- from: experiment-1-ten-blocks-two-learning-rates "plain, 0.001" -->
# - You saw what **pre-norm** buys: a stack of ten that learns at both learning rates,
#   where post-norm learned at the lower and got stuck at the higher one. One block
#   reaches 2.09 nats; three blocks, at this budget, hardly another loss.
#   <!-- from: experiment-2-one-block-three-blocks "blocks: 1" -->
#
# What is still missing is not a part. Embedding, positions, attention, feed-forward,
# norm, block: everything is on the table. Lesson 10 puts them together into a GPT,
# starts it with better weights than PyTorch's default, and loads the ones that OpenAI
# trained.
#
# The library entries of what you built: [LayerNorm](../book/api.md#norm) and
# [Block](../book/api.md#block).

# %% [markdown]
# ## To read
#
# - He et al. (2016), sections 1 and 3: deep networks that did worse than shallow ones
#   *on the training set*, and the plus sign that repaired them.
# - Ba et al. (2016), sections 2 and 3: from normalising over a batch to normalising one
#   vector.
# - Xiong et al. (2020), section 3: why post-norm needs a warm-up and pre-norm does not.
# - Dong et al. (2021), *Attention is not all you need*, sections 1 and 2: attention
#   alone makes all positions alike, at a breathtaking speed.
# - All references with what to read in them, among them Elhage et al. (2021) for the
#   residual stream as a place where parts talk to each other:
#   [bibliography](../book/bibliography.md).
