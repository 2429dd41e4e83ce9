# %% [markdown]
# # 09 · The Transformer block
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/09_transformer_block.ipynb)
#
# You wire attention and feed-forward so that ten of them in a row still learn, and find out which
# part does the work.
#
# - **You will build** the layer norm and the Transformer block, pre-norm and post-norm.
# - **You will see** a deep stack in which all positions become the same, the two plus signs that
#   repair it, and a task that needs two blocks.
# - **Needs** lesson [08](08_feed_forward.ipynb).
# - **Takes** about 75 minutes without exercise 4; the notebook runs in under 60 s.

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
# The model of lesson [08](08_feed_forward.ipynb) gathers once, computes once, and reaches 2.1 nats.
# To gather again, with what it has understood, it needs more layers. So stack ten of them.
# <!-- from: 08_feed_forward#attention-then-feed-forward "parameters, validation" -->

# %% tags=["corpus", "hide-input"]
# @title The text
import torch
from torch import nn

from lib.checks.claims import claim
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")


# %%
from lib.attention import MultiHeadAttention
from lib.ffn import FeedForward
from lib.models.language_model import LanguageModel


class AttentionThenFFN(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = MultiHeadAttention(d_model=32, n_heads=2)
        self.ffn = FeedForward(d_model=32, d_ff=64)

    def forward(self, x, mask):
        return self.ffn(self.attention(x, mask)[0])


# %% [markdown]
# Deep models are slow: these are narrow, train for 60 steps, and are judged on the first 4,096
# characters of the validation split.

# %%
from lib.train import estimate_loss, fit

some = validation[:4_096]


def train_deep(model, learning_rate, seed):
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: random_batch(train, 8, 32, generator)
    fit(model, next_batch, n_steps=60, learning_rate=learning_rate)
    return estimate_loss(model, some, 32)


# %% [markdown]
# Compare with the [unigram](../book/glossary.md#unigram) model.


# %% tags=["corpus", "measured"]
def plain_stack(n_layers):
    torch.manual_seed(0)
    layers = [AttentionThenFFN() for _ in range(n_layers)]
    return LanguageModel(V, d_model=32, context_length=32, blocks=layers)


shares = train.bincount(minlength=V).double() / len(train)
unigram_loss = -shares[some[1:]].log().mean().item()
one, ten = plain_stack(1), plain_stack(10)
one_loss, ten_loss = (train_deep(model, 0.01, seed=0) for model in (one, ten))
print(f"unigram {unigram_loss:.2f}, one layer {one_loss:.2f}, ten {ten_loss:.2f} nats")
claim(one_loss < unigram_loss - 0.1, "one layer learns to read")
claim(abs(ten_loss - unigram_loss) < 0.1, "ten layers only learn the unigram model")

# %% [markdown]
# Ten layers are no better than the unigram model. Why?

# %% [markdown]
# ## The machine
#
# The repair is in colour. The vectors run *past* attention and feed-forward, and what these two
# compute is added to them. Two norms bring what these two read to one size. All of it is one **block**.

# %% mystnb={"image": {"alt": "Diagram of the model so far. New are two norms, before attention and before feed-forward, and two lines that lead the vectors past both and add what they compute. A frame around all this says block, times N."}}
from lib.show import diagrams

diagrams.stream("block")

# %% [markdown]
# ## By hand
#
# ### Forwards: everything becomes the same
#
# Untrained scores are close to 0, so attention takes about the mean of all the past. Four positions
# hold the numbers 8, 0, 4, 0. Replace each by the mean of itself and all before it, ten times.
# (`cumsum` adds up from the left: 8, 8, 12, 12.)

# %%
x = torch.tensor([8.0, 0.0, 4.0, 0.0])
counts = torch.arange(1, 5)
replaced = added = x
for _ in range(10):
    replaced = replaced.cumsum(dim=0) / counts
    added = added + 0.1 * added.cumsum(dim=0) / counts
for name, numbers in (("replaced", replaced), ("added", added)):
    print(f"{name:9}", [round(number, 2) for number in numbers.tolist()])

# %% [markdown]
# *Replaced* ten times, all four hold nearly what the first held at the start. The 4 in the third
# place has left no trace. In the second line a tenth of the mean was **added** each time (untrained
# layers add little): the third position still differs from its neighbours. (Add the full mean, and
# all become alike again, only more slowly.)
#
# ### Backwards: nothing arrives
#
# The [gradient](../book/glossary.md#gradient) comes back through all layers. By the chain rule of
# lesson [03](03_gradients.ipynb), it is multiplied by the slope of each. Take three layers $f$ of
# slopes 0.3, -0.2 and 0.1. In $x + f(x)$ each slope becomes 1 plus that of $f$.

# %%
import math
from itertools import product

slopes = (0.3, -0.2, 0.1)
print(f"f(x):     {math.prod(slopes):.3f}")
print(f"x + f(x): {math.prod(1 + slope for slope in slopes):.3f}")

# %% [markdown]
# Almost nothing, against more than 1. Multiply the brackets $(1 + 0.3)(1 - 0.2)(1 + 0.1)$ out: each
# offers a choice, the 1 or the slope, *past* the layer or *through* it. The product is the sum over
# all paths. (`itertools.product` lists all choices.)

# %%
paths = [math.prod(path) for path in product(*[(1, slope) for slope in slopes])]
print(f"{len(paths)} paths:", [round(path, 3) for path in paths])
print(f"sum:      {sum(paths):.3f}")

# %% [markdown]
# The same. As a picture:

# %% mystnb={"image": {"alt": "Diagram of eight paths from left to right through three layers. Each path passes through some of the layers and by the others. One path is in colour: it passes by all three."}}
diagrams.depth_paths()

# %% [markdown]
# The path in colour gives 1, whatever the layers do: nothing on it is ever damped. The others add to
# it or take away from it. (Slopes near -1 would cancel it; a few small ones cannot.)
#
# ### Keep the size
#
# Adding has a price: the numbers grow from block to block. A [layer
# norm](../book/glossary.md#layer-norm) brings every vector to one size. Take 4, 4, 2, 10. Their mean
# is 5, the distances from it are -1, -1, -3, 5. The mean of the *squared* distances is the
# **variance**: (1 + 1 + 9 + 25) / 4 = 9. Divide the distances by its root, 3.

# %%
vector = torch.tensor([4.0, 4.0, 2.0, 10.0])
centred = vector - vector.mean()
variance = centred.square().mean()
print(f"mean {vector.mean():.0f}, squared distances {centred.square().tolist()}")
print(f"variance {variance:.0f}, root {variance.sqrt():.0f}")
print("normalised:", [round(n, 2) for n in (centred / variance.sqrt()).tolist()])

# %% [markdown]
# The result has mean 0 and variance 1. At the end each number gets a learned gain and bias, so that
# the model may choose another size.

# %% mystnb={"image": {"alt": "Four rows of bars for a vector of four numbers: as it is, 4, 4, 2 and 10; minus its mean; divided by its standard deviation 3; and after gain and bias, which are learned."}}
diagrams.layer_norm((4.0, 4.0, 2.0, 10.0))

# %% [markdown]
# ## The formula
#
# A **residual connection** adds what a part $f$ computes to its input. Its derivative contains a 1,
# the path past $f$:
#
# $$y = x + f(x) \qquad\qquad y' = 1 + f'(x)$$
#
# A **layer norm** works on the $D$ numbers of *one* vector. It never looks at another position:
#
# $$\mu = \frac{1}{D} \sum_{i} x_i \qquad \sigma^2 = \frac{1}{D} \sum_{i} (x_i - \mu)^2 \qquad \operatorname{LN}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot g + b$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$, $y$ | `(B, T, D)` | the vectors before and after |
# | $\mu$, $\sigma^2$ | `(B, T, 1)` | mean and variance of each vector |
# | $g$, $b$ | `(D,)` | gain and bias; they start at 1 and 0 |
# | $\epsilon$ | a number | `eps`: tiny, keeps the root away from 0 |
#
# The original Transformer normalises *after* adding; nearly all models since GPT-2 do so *before* the
# part:
#
# $$\text{post-norm: } \operatorname{LN}(x + f(x)) \qquad\qquad \text{pre-norm: } x + f(\operatorname{LN}(x))$$

# %% mystnb={"image": {"alt": "Diagram of two blocks side by side. Pre-norm: each branch has a norm before attention or feed-forward, and nothing but plus signs stands on the stream. Post-norm: the branches have no norm, and a norm stands on the stream after each plus sign."}}
diagrams.norm_places()

# %% [markdown]
# In pre-norm the path past all parts stays free. In post-norm every path leads through all norms.
#
# Sources: equation (1) of He et al. (2016) for the residual connection, equation (4) of Ba et al.
# (2016) for the layer norm, section 3.1 of Vaswani et al. (2017) for post-norm. Xiong et al. (2020)
# compare both places.

# %% [markdown]
# ## Build
#
# ### Layer norm
#
# Mean and variance run over the last dimension, and `keepdim=True` leaves a 1 in its place, so that
# each vector is divided by its own root. `nn.Parameter` makes a tensor part of the model: the
# optimiser will find it.


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
# Give it the vector from above, then random vectors of three very different sizes.

# %%
print([round(number, 2) for number in LayerNorm(4)(vector).tolist()])
torch.manual_seed(0)
for size in (0.001, 1, 1_000):
    y = LayerNorm(64)(size * torch.randn(5, 64))
    print(f"numbers of size {size:5}: variance {y.square().mean():.2f} afterwards")

# %% [markdown]
# The same four numbers as by hand. Vectors of size 1 and 1,000 come out alike. Only the tiny ones
# stay small: next to their variance $\epsilon$ is large.
#
# ### The block
#
# A [block](../book/glossary.md#block) is wiring, in two lines. The parts are passed in, so that one
# class serves every model of this course. (The library's attention knows its
# `d_model`. It returns its output and its weights; `[0]` takes the output.)


# %% tags=["naive:block.Block"]
class Block(nn.Module):
    def __init__(self, attention, ffn):
        super().__init__()
        self.attention_norm = LayerNorm(attention.d_model)
        self.attention = attention
        self.ffn_norm = LayerNorm(attention.d_model)
        self.ffn = ffn

    def forward(self, x, mask=None):
        x = x + self.attention(self.attention_norm(x), mask)[0]
        return x + self.ffn(self.ffn_norm(x))


# %% [markdown]
# Compare each line with the picture. Post-norm has the same parts in another order.


# %%
class PostNormBlock(Block):
    def forward(self, x, mask=None):
        x = self.attention_norm(x + self.attention(x, mask)[0])
        return self.ffn_norm(x + self.ffn(x))


# %% [markdown]
# The shape stays, so blocks can follow each other. What do the new parts cost?

# %%
block = Block(MultiHeadAttention(d_model=64, n_heads=4), FeedForward(64, 256))
x = torch.randn(2, 32, 64)
print(f"{tuple(x.shape)} -> {tuple(block(x).shape)}")
for name, part in block.named_children():
    print(f"{name:14} {sum(p.numel() for p in part.parameters()):6,} parameters")

# %% [markdown]
# Two norms of 128 numbers, and two plus signs that cost nothing at all.
#
# ### The stream is a bus
#
# In pre-norm blocks no part replaces a vector. It starts as token plus position, and each part adds
# what it has computed. This is the [residual stream](../book/glossary.md#residual-stream):
#
# $$x_\text{last} = x_\text{token} + x_\text{position} + \text{attention}_1 + \text{ffn}_1 + \text{attention}_2 + \text{ffn}_2 + \ldots$$
#
# In a computer, a *bus* is the line on which all parts exchange data. The stream is one: what block 1
# writes, block 2 can read, and so can block 9.
#
# At the end the sum has grown, and no norm comes after it. So a pre-norm model has one more norm
# before its head. The library's `LanguageModel` takes it as `final_norm=LayerNorm(64)`.

# %% [markdown]
# ## Check
#
# Our norm and our blocks equal PyTorch's `nn.LayerNorm` and `nn.TransformerEncoderLayer`, outputs and gradients.
# The library's [Block](../book/api.md#block) has both orders in one class, `Block(...,
# pre_norm=False)`, and room for what comes later: dropout (lesson 11) and a second attention that
# looks at another text (lesson 15). Without these it computes the same as ours.

# %% tags=["same:norm.LayerNorm", "proof"]
# @title Proof: layer norm equals PyTorch's and the library's
from lib import norm as library

for d_model in (2, 4, 64):
    norm, x = LayerNorm(d_model), 3 * torch.randn(2, 5, d_model) + 1
    nn.init.normal_(norm.gain)
    nn.init.normal_(norm.bias)
    theirs = library.LayerNorm(d_model)
    theirs.load_state_dict(norm.state_dict())
    torchs = nn.functional.layer_norm(x, (d_model,), norm.gain, norm.bias)
    assert torch.allclose(norm(x), torchs, atol=1e-5)
    assert torch.allclose(norm(x), theirs(x), atol=1e-5)
print("ours = the library's = PyTorch's")

# %% tags=["same:block.Block", "proof"]
# @title Proof: both blocks equal the library's
from lib import block as library
from lib.attention import causal_mask

mask = causal_mask(32)
for kind, pre_norm in ((Block, True), (PostNormBlock, False)):
    parts = MultiHeadAttention(64, 4), FeedForward(64, 256)
    theirs = library.Block(*parts, pre_norm=pre_norm)
    x = torch.randn(2, 32, 64)
    assert torch.allclose(kind(*parts)(x, mask), theirs(x, mask), atol=1e-5)
print("ours = the library's, pre-norm and post-norm")

# %% [markdown]
# And the block equals PyTorch's:


# %% tags=["proof"]
# @title Proof: outputs and gradients equal those of nn.TransformerEncoderLayer
def copy_weights(block, layer):
    ours, theirs = block.attention, layer.self_attn
    inputs = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.in_proj_weight.data = torch.cat([linear.weight.data for linear in inputs])
    theirs.in_proj_bias.data = torch.cat([linear.bias.data for linear in inputs])
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    layer.linear1.load_state_dict(block.ffn.up.state_dict())
    layer.linear2.load_state_dict(block.ffn.down.state_dict())
    norms = (block.attention_norm, layer.norm1), (block.ffn_norm, layer.norm2)
    for norm, torchs in norms:
        nn.init.normal_(norm.gain)
        nn.init.normal_(norm.bias)
        torchs.weight.data, torchs.bias.data = norm.gain.data, norm.bias.data


# %% tags=["proof"]
# @title Proof, continued: the comparison
for kind in (Block, PostNormBlock):
    block = kind(MultiHeadAttention(64, 4), FeedForward(64, 256))
    options = dict(dropout=0.0, activation="gelu", batch_first=True)
    options["norm_first"] = kind is Block
    layer = nn.TransformerEncoderLayer(64, 4, 256, **options)
    copy_weights(block.double(), layer.double())
    x, weight = torch.randn(2, 2, 32, 64).double()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, torchs = block(a, mask), layer(b, src_mask=~mask)  # true is forbidden there
    (weight * ours).sum().backward()
    (weight * torchs).sum().backward()
    assert torch.allclose(ours, torchs, atol=1e-9)
    assert torch.allclose(a.grad, b.grad, atol=1e-9)
    print(f"{kind.__name__:13} gives the outputs and gradients of PyTorch")

# %% [markdown]
# ### The classic bug: almost the right variance
#
# Two slips give a layer norm that looks right. `x.var()` divides by $D - 1$, as statisticians do
# for samples. And $\epsilon$ may slip out of the root.


# %%
def wrong_variance(x, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (x.var(dim=-1, keepdim=True) + eps).sqrt()


def wrong_epsilon(x, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True).sqrt() + eps)


# %% [markdown]
# How long are their results, compared with those of the right norm? Try vectors of 64 numbers, of
# four, and tiny ones.

# %%
torch.manual_seed(0)
long, short, tiny = torch.randn(64), torch.randn(4), 1e-4 * torch.randn(64)
for name, x in (("64 numbers", long), ("4 numbers", short), ("64, tiny", tiny)):
    right = LayerNorm(len(x))(x).norm().item()
    variance, epsilon = wrong_variance(x).norm().item(), wrong_epsilon(x).norm().item()
    print(f"{name:10}: wrong variance x {variance / right:.3f}, ", end="")
    print(f"wrong epsilon x {epsilon / right:.1f}")

# %% [markdown]
# On 64 ordinary numbers you hardly see either. On four, the wrong variance gives 0.866 of the right
# length; on tiny ones the wrong $\epsilon$ gives many times the right length. **Test a norm on short
# vectors and on tiny ones.** Training would not tell you (*Deeper*, below). The bug shows on the day
# you load somebody else's weights into your code; lesson 10 loads GPT-2's.

# %% [markdown]
# ## Look
#
# Take the repair apart: ten blocks with and without residuals, with and without norms, not trained
# yet. `WithoutResiduals` leaves out both plus signs; `nn.Identity` stands in for a norm that is left
# out. From here on the name `LayerNorm` means the library's, which is quicker. New blocks use it too.


# %%
from lib.norm import LayerNorm


class WithoutResiduals(Block):
    def forward(self, x, mask=None):
        x = self.attention(self.attention_norm(x), mask)[0]
        return self.ffn(self.ffn_norm(x))


KINDS = {  # the class of the blocks, and whether they have norms
    "pre-norm": (Block, True),
    "post-norm": (PostNormBlock, True),
    "residuals only": (Block, False),
    "norms only": (WithoutResiduals, True),
    "neither": (WithoutResiduals, False),
}


# %%
def stack(name, seed=0, n_layers=10):
    kind, has_norms = KINDS[name]
    torch.manual_seed(seed)
    blocks = [
        kind(MultiHeadAttention(32, 2), FeedForward(32, 64)) for _ in range(n_layers)
    ]
    if not has_norms:
        for block in blocks:
            block.attention_norm = block.ffn_norm = nn.Identity()
    final_norm = LayerNorm(32) if has_norms and kind is not PostNormBlock else None
    sizes = dict(d_model=32, context_length=32)
    return LanguageModel(V, **sizes, blocks=blocks, final_norm=final_norm)


# %% [markdown]
# ### Forwards: how alike are the positions?
#
# `stream` keeps the vectors after the embedding and after each block. Two of them point the same
# way when their cosine is 1 (lesson [04](04_embeddings.ipynb)).


# %%
from lib.attention import causal_mask


@torch.no_grad()
def stream(model, text, mask=None):
    ids = torch.tensor([tokenizer.encode(text)])
    mask = causal_mask(ids.size(1)) if mask is None else mask
    vectors = [model.positions(model.tokens(ids))]
    for block in model.blocks:
        vectors.append(block(vectors[-1], mask))
    return torch.cat(vectors)  # (n_layers + 1, T, D)


def cosines(x):
    unit = x / x.norm(dim=-1, keepdim=True)
    return unit @ unit.mT  # (..., T, T); mT swaps the last two dimensions


# %% [markdown]
# How alike are two different positions of `to be or not`, on average, after 0, 1, 3 and 10 blocks?
# And if you change the *last* character, how much does the last vector change, as a share of its
# length?


# %%
def alike(vectors):
    n = vectors.size(-2)
    total = cosines(vectors).sum(dim=(-2, -1)) - n  # without each with itself
    return (total / (n * (n - 1))).tolist()


def change(model):
    a, b = (stream(model, line)[-1, -1] for line in ("to be or not", "to be or now"))
    return ((a - b).norm() / a.norm()).item()


# %% tags=["measured"]
for name in KINDS:
    model = stack(name)
    levels = alike(stream(model, "to be or not"))
    shown = ", ".join(f"{levels[depth]:.2f}" for depth in (0, 1, 3, 10))
    print(f"{name:14}  alike {shown}; change {change(model):.3f}")
    collapsed = levels[-1] > 0.95 and change(model) < 0.01
    claim(collapsed == (KINDS[name][0] is WithoutResiduals), "no residuals: all alike")

# %% [markdown]
# Without residuals all positions point the *same way* after ten blocks, with norms or without. Such
# a stack cannot tell `not` from `now`. With residuals each position keeps a vector of its own.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two squares of 12 by 12 cosines. Left, the stack with neither residuals nor norms: dark blue throughout. Right, the pre-norm stack: only the diagonal is dark, the rest is pale."}}
# @title Two heat maps
import matplotlib.pyplot as plt

from lib.show import plot

labels = plot.visible(list("to be or not"))
figure, panels = plt.subplots(ncols=2, figsize=(7, 3.6), sharey=True)
for name, axes in zip(("neither", "pre-norm"), panels):
    matrix = cosines(stream(stack(name), "to be or not")[3])
    picture = axes.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_xticks(range(12), labels)
    axes.set_yticks(range(12), labels)
    axes.set_title(name)
    axes.grid(visible=False)
figure.colorbar(picture, ax=panels, label="cosine", shrink=0.8)
plt.close(figure)
figure

# %% [markdown]
# *After three blocks. Blue: the same direction; white: nothing in common. Left, all twelve positions
# are the same; right, each is still itself.*
#
# And the ten plain layers from the beginning, *after* their training?

# %% tags=["corpus", "measured"]
print(f"alike {alike(stream(ten, 'to be or not'))[-1]:.2f}, change {change(ten):.3f}")
claim(change(ten) < 0.01, "the trained plain stack does not see the last character")

# %% [markdown]
# The short training has found no way out. If the last vector does not depend on the text, the best prediction is
# the same everywhere: the unigram model.
#
# ### Backwards: what arrives at the first block?
#
# One batch, one `backward`, no training. Join all gradients of a block into one vector and take its
# length.

# %% tags=["corpus"]
from lib.evaluate.losses import cross_entropy

inputs, targets = random_batch(train, 8, 32, torch.Generator().manual_seed(0))
lengths = {}
for name in KINDS:
    model = stack(name)
    cross_entropy(model(inputs), targets).backward()
    lengths[name] = [
        torch.cat([p.grad.flatten() for p in block.parameters()]).norm().item()
        for block in model.blocks
    ]
least = {name: min(each) for name, each in lengths.items()}
claim(least.pop("neither") < 1e-8, "without both, the gradient vanishes")
claim(min(least.values()) > 0.01, "residuals or norms keep it")

# %% tags=["corpus"] mystnb={"image": {"alt": "Line chart on a logarithmic axis: length of the gradient for blocks 1 to 10. The line of the stack with neither residuals nor norms falls steeply towards block 1, by more than ten powers of ten. The four others are nearly level."}}
axes = ("block", "length of the gradient")
plot.line_chart(lengths, *axes, x=range(1, 11), log=True)

# %% [markdown]
# *The axis is logarithmic. With neither residuals nor norms the first blocks get next to nothing.
# Residuals keep it by their 1. So do norms: dividing by a small size makes the slope larger.*
#
# **Norms only**: a healthy gradient, all positions alike. Is the gradient enough?

# %% [markdown]
# ## Experiment: which part does the work?
#
# Four stacks of ten blocks, a careful learning rate and one ten times as large, three seeds each.

# %% tags=["corpus", "measured"]
grid = {}
print(f"to compare: unigram {unigram_loss:.2f}")
print("three seeds at rate 0.003, then at rate 0.03:")
for name in ("pre-norm", "post-norm", "residuals only", "norms only"):
    for rate in (0.003, 0.03):
        grid[name, rate] = [
            train_deep(stack(name, seed=s), rate, seed=s) for s in range(3)
        ]
    losses = grid[name, 0.003] + grid[name, 0.03]
    print(f"{name:14}", *(f"{x:7.2f}" if x < 10 else " broken" for x in losses))

# %% tags=["corpus"]
limit = unigram_loss - 0.1
learned = {run: [loss < limit for loss in losses] for run, losses in grid.items()}
for name in ("pre-norm", "post-norm", "residuals only"):
    claim(all(learned[name, 0.003]), "with residuals all learn at the low rate")
claim(all(learned["pre-norm", 0.03]), "pre-norm learns at the high rate too")
for name in ("post-norm", "residuals only", "norms only"):
    claim(not any(learned[name, 0.03]), "at the high rate the others fail")
claim(not any(learned["norms only", 0.003]), "norms alone fail at the low one too")

# %% [markdown]
# Read the rows; *broken* is a loss of ten or more, or not a number.
#
# - **Norms only** learns no more than the unigram model at either rate, though its gradients are healthy. So the gradient is
#   not enough: the residuals do the work.
# - **Residuals only** learns at the low rate. At the high rate it breaks, probably because each part
#   reads a stream that has grown, and adds more to it.
# - **Post-norm** learns at the low rate too. At the high one it is stuck at the unigram loss.
# - **Pre-norm** alone learns at both. That is what its norms are for: each part reads vectors of one
#   size, and the path past all parts stays free.
#
# These runs do not say that post-norm cannot be trained: the original Transformer was post-norm, with a
# learning rate that grew slowly from almost nothing (lesson 16).

# %% [markdown]
# ## Experiment: a task that needs depth
#
# Does a second block *pay*? Each row repeats five to nine random digits until it is 33 long; the last one is only
# a target. A model that has found out how many knows the next digit. (`gather` takes from each row the columns that its second
# argument lists.)


# %%
def repeated_digits(n_rows, generator):
    digits = torch.randint(10, (n_rows, 9), generator=generator)
    periods = torch.randint(5, 10, (n_rows, 1), generator=generator)
    rows = digits.gather(1, torch.arange(33) % periods)  # (B, T + 1)
    return rows[:, :-1], rows[:, 1:]


for row in repeated_digits(3, torch.Generator().manual_seed(0))[0].tolist():
    print("".join(map(str, row)))

# %% [markdown]
# After twice nine digits every row has repeated itself. From there on, count the right predictions in
# 500 new rows. The models: one block, two, and as a control one block with a wider feed-forward network, as
# large as two.


# %%
def train_digits(n_blocks, d_ff, seed):
    torch.manual_seed(seed)
    blocks = [
        Block(MultiHeadAttention(32, 2), FeedForward(32, d_ff)) for _ in range(n_blocks)
    ]
    sizes = dict(d_model=32, context_length=32)
    model = LanguageModel(10, **sizes, blocks=blocks, final_norm=LayerNorm(32))
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: repeated_digits(16, generator)
    fit(model, next_batch, n_steps=200, learning_rate=0.01)
    inputs, targets = repeated_digits(500, generator)  # new rows
    right = model(inputs).argmax(dim=-1) == targets
    return model, right[:, 17:].float().mean().item()  # from the 18th digit on


# %% tags=["measured"]
shares = {}
for name, n_blocks, d_ff in (("one", 1, 64), ("one, wide", 1, 195), ("two", 2, 64)):
    runs = [train_digits(n_blocks, d_ff, seed) for seed in range(3)]
    shares[name] = [share for _, share in runs]
    n_parameters = sum(p.numel() for p in runs[0][0].parameters())
    each = ", ".join(f"{share:.2f}" for share in shares[name])
    print(f"{name:9} {n_parameters:6,} parameters: right {each}")
worst_two, best_one = min(shares["two"]), max(shares["one"] + shares["one, wide"])
claim(worst_two > best_one + 0.2, "two blocks beat one of any width")

# %% [markdown]
# One block is right about every second time (guessing: one in ten), and no better when it is as
# large as two. Two are right almost nine times in ten. Depth pays here, not size.
#
# Why two? One way: find an earlier copy of your digit, and take the digit *after* it. In a
# single block a vector still holds only its own digit and position: whoever looks at it cannot see
# the digit before. With two, the first block can write into each vector which digit stood before,
# and the second can look for the positions where that is *my* digit. One part writes, a later part
# reads. Whether a trained model does this: lesson 23.
#
# ### One block on Shakespeare
#
# For the [ladder](../book/ladder.md): the model of lesson [08](08_feed_forward.ipynb), trained in the
# same way, with two plus signs and three norms.

# %% tags=["corpus", "measured", "hide-input"]
# @title The training, as in lesson 08
import time

torch.manual_seed(0)
block = Block(MultiHeadAttention(d_model=64, n_heads=4), FeedForward(64, 256))
sizes = dict(d_model=64, context_length=16)
model = LanguageModel(V, **sizes, blocks=[block], final_norm=LayerNorm(64))
generator = torch.Generator().manual_seed(0)
start = time.process_time()
fit(model, lambda: random_batch(train, 32, 16, generator), 1_000, learning_rate=0.003)
seconds = time.process_time() - start
n_parameters = sum(p.numel() for p in model.parameters())
loss = estimate_loss(model, validation, 16)
print(f"{n_parameters:,} parameters, {loss:.2f} nats")
claim(loss < 2.17, "one block gets below 2.17 nats")

# %% tags=["corpus", "sample", "hide-input"]
# @title The rung, and what the model writes
from lib.generate import sample
from lib.show.ladder import rung

prompt = torch.tensor([tokenizer.encode("\n")])
generator = torch.Generator().manual_seed(1)
text = tokenizer.decode(sample(model, prompt, 160, 1.0, generator)[0, 1:])
rung("One Transformer block", n_parameters, loss, seconds, text)

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You add 100 to every number of a vector. Or you multiply every number by 10. What does the layer norm give?</summary>
#
# The same as before, both times, except for the small $\epsilon$. It takes out the mean and the
# size.
#
# </details>
#
# <details><summary>You set the last matrix and bias of both parts to zero: <code>out_proj</code> and <code>ffn.down</code>. What does a pre-norm block do now, and what gradient does its input get?</summary>
#
# Each part adds zero, so the block returns its input, and passes the gradient on unchanged. A
# hundred such blocks begin as if there were none. Some deep models start like that.
#
# </details>
#
# <details><summary>How many paths lead through ten blocks?</summary>
#
# A block has *two* plus signs, so there are twenty choices: $2^{20} = 1048576$ paths.
#
# </details>
#
# <details><summary>Between the two rates of the table, at 0.01: which is better, pre-norm or residuals only?</summary>
#
# Neither: they are nearly equal. The norms do not make a model better at a rate that it
# survives without them.
#
# </details>

# %% tags=["answer", "corpus", "measured"]
# @title Answers: shifted and scaled, zeros, paths, the rate between
x, norm = torch.randn(5, 64), LayerNorm(64)
for y in (x + 100, 10 * x):
    assert torch.allclose(norm(y), norm(x), atol=1e-3)
block = Block(MultiHeadAttention(64, 4), FeedForward(64, 256))
for last in (block.attention.out_proj, block.ffn.down):
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
x = torch.randn(2, 32, 64, requires_grad=True)
block(x, causal_mask(32)).sum().backward()
assert torch.equal(block(x), x) and (x.grad == 1).all()
names = ("pre-norm", "residuals only")
between = [train_deep(stack(name), 0.01, seed=0) for name in names]
print(f"{2**20} paths; at 0.01 {between[0]:.2f} and {between[1]:.2f} nats")
claim(abs(between[0] - between[1]) < 0.2, "both are nearly equal at the middle rate")

# %% [markdown]
# ## Exercises
#
# A *pre-norm block* is a `Block` as above, with the attributes `attention_norm`, `attention`,
# `ffn_norm` and `ffn`.

# %% tags=["hide-input"]
# @title The checks
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
# Return a list of `n_layers` pre-norm blocks of the given sizes, each with parameters of its own,
# which begin with random numbers of their own.
#
# <details><summary>Hint</summary>
#
# `[block] * 3` is a list that holds the *same* block three times. A list comprehension makes a
# new one for every element.
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
# Many newer models divide each vector by the root of the mean of its squares (*RMS*, root mean
# square) and multiply by a gain: no mean, no bias. For `x` `(..., D)` and `gain` `(D,)` return a new
# tensor of the shape of `x`. `eps` stands where the layer norm has it.
#
# <details><summary>Hint</summary>
#
# Take `LayerNorm.forward` from *Build*, and leave out the centring and the bias.
#
# </details>


# %%
def rms_norm(x, gain, eps=1e-5):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_rms_norm(rms_norm)

# %% [markdown]
# ### Exercise 3: What each part adds
#
# *core · 15 minutes* · [Solution](../solutions/09_transformer_block.ipynb#exercise-3-what-each-part-adds)
#
# Return a pair `(a, f)` of tensors `(B, T, D)`: what the attention of a pre-norm block adds to the
# stream, and what its feed-forward network adds. For `x` `(B, T, D)` and a `mask` `(T, T)`,
# `x + a + f` is `block(x, mask)`. Compute both from the parts of the block, not as differences.
#
# <details><summary>Hint</summary>
#
# Follow the two lines of `Block.forward`. What is on the stream when the feed-forward network
# reads it? And `attention(...)` returns two things.
#
# </details>


# %%
def residual_parts(block, x, mask):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_residual_parts(residual_parts)

# %% [markdown]
# ### Exercise 4: Read the stream half-way
#
# *stretch · 30 minutes* · [Solution](../solutions/09_transformer_block.ipynb#exercise-4-read-the-stream-half-way)
#
# The head reads the stream after the last block. To ask it earlier is called the *logit lens*. For a
# `LanguageModel` of pre-norm blocks and `ids` `(B, T)`, return one tensor `(n_layers + 1, B, T, V)`:
# the logits after 0, 1, 2, ... blocks, each through the model's `final_norm` and `head`. Row 0 reads
# token plus position; the last row is what the model says itself. `final_norm` is never None here.
#
# <details><summary>Hint</summary>
#
# `stream` above has nearly all of it. `torch.stack` makes one tensor of a list of tensors of
# equal shape.
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
# - You built the **layer norm**. Of its two classic bugs one shows on short vectors, the other on
#   tiny ones.
# - You built the **block**, pre-norm and post-norm, each in two lines. It equals PyTorch's.
# - You saw **why a plain stack fails**: its positions become alike, its gradient vanishes, and it
#   ends at the unigram loss. **Residuals** repair both; norms alone repair only the gradient.
#   **Pre-norm** alone learns at both rates.
# - You saw a **task that needs depth**: one block can write into the residual stream, the next read it.
#
# You have all the parts. Lesson [10](10_gpt.ipynb) assembles a GPT, asks what
# numbers it should start with, and loads those that OpenAI trained.
#
# The library's entries: [LayerNorm](../book/api.md#norm), [Block](../book/api.md#block).

# %% [markdown]
# ## To read
#
# - He et al. (2016), *Deep Residual Learning for Image Recognition*, sections 1 and 3: deep networks
#   that did worse than shallow ones *on the training set*, and the plus sign that repaired them.
# - Xiong et al. (2020), *On Layer Normalization in the Transformer Architecture*, section 3: why
#   post-norm needs a warm-up and pre-norm does not.
# - Dong et al. (2021), *Attention is not all you need*, sections 1 and 2: attention alone makes all
#   positions alike.
# - All references, among them Elhage et al. (2021) on the residual stream as a place where parts
#   talk to each other: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: two reasons why positions become alike
#
# By hand it was the averaging. Test it: let each position look at itself only, so that nothing is
# averaged. There is a second suspect. Without residuals and norms each layer makes what it reads
# smaller, and adds the same biases at every position. Set all biases to 0, and try the four
# combinations.

# %% tags=["measured"]
bare = stack("neither")
for name, parameter in bare.blocks.named_parameters():
    if name.endswith("bias"):
        nn.init.zeros_(parameter)
itself = torch.eye(12, dtype=torch.bool)  # each position may look at itself
found = {}
for biases, model in (("biases", stack("neither")), ("no biases", bare)):
    for looks, mask in (("the past", None), ("itself", itself)):
        level = alike(stream(model, "to be or not", mask))[-1]
        found[biases, looks] = level
        print(f"{biases:9}, looks at {looks:8}: alike {abs(level):.2f}")
claim(found.pop(("no biases", "itself")) < 0.4, "without both they stay apart")
claim(min(found.values()) > 0.95, "averaging or biases alone make them alike")

# %% [markdown]
# Either one is enough: averaging makes the positions alike, and so do biases when the rest of the
# signal shrinks from layer to layer. (How fast it shrinks depends on the weights that PyTorch
# starts with. Lesson 10 chooses others.) Residuals help against both, since nothing has to pass
# *through* a layer.

# %% [markdown]
# ## Deeper: training does not notice the wrong variance
#
# Train two models of one block, one with the right norm and one with the wrong variance. Then load
# the weights of the right one into the wrong code.


# %%
class WrongVariance(LayerNorm):
    def forward(self, x):
        return wrong_variance(x) * self.gain + self.bias


def one_block_with(norm):
    torch.manual_seed(0)
    block = Block(MultiHeadAttention(32, 2), FeedForward(32, 64))
    block.attention_norm, block.ffn_norm = norm(32), norm(32)
    sizes = dict(d_model=32, context_length=32)
    return LanguageModel(V, **sizes, blocks=[block], final_norm=norm(32))


# %% tags=["corpus", "measured"]
right, wrong = one_block_with(LayerNorm), one_block_with(WrongVariance)
ends = [train_deep(model, 0.01, seed=0) for model in (right, wrong)]
print(f"right {ends[0]:.2f} nats, wrong {ends[1]:.2f} nats")
wrong.load_state_dict(right.state_dict())
difference = (wrong(some[None, :32]) - right(some[None, :32])).abs().max()
print(f"same weights, other code: logits differ by up to {difference:.2f}")
claim(abs(ends[0] - ends[1]) < 0.02, "training sees no difference")
claim(difference > 0.01, "the same weights give other logits in the wrong code")

# %% [markdown]
# Training sees no difference: every normalised vector is a little shorter, and the weights learn
# around that. But the same weights give other logits in the wrong code.
