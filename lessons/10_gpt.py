# %% [markdown]
# # 10 · GPT
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/10_gpt.ipynb)
#
# You assemble all parts into a GPT, know where each of its parameters sits and what it should hold
# before training, and read GPT-2's files into your own class.
#
# - **You will build** the class `GPT`, its configuration and its start.
# - **You will see** one class with five thousand parameters or with 124 million, and a model that is
#   sure of nonsense before it has learned anything. <!-- from: from-the-demo-to-gpt-2 "gpt2  " -->
# - **Needs** lesson [09](09_transformer_block.ipynb).
# - **Takes** about 65 minutes without the exercises; the notebook runs in under 60 s.

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
# One Transformer block came to 2.1 nats in lesson [09](09_transformer_block.ipynb). GPT-2's smallest
# model has twelve of them and 124 million parameters, and it is made of the parts that you have built.
# <!-- from: 09_transformer_block#one-block-on-shakespeare "parameters, 2" -->
# <!-- from: from-the-demo-to-gpt-2 "gpt2  " -->
#
# How do the parts become that model, where do its parameters sit, and which numbers should they hold
# before training? A test of your answers: a GPT must read a file in GPT-2's format, and give the logits of GPT-2's formulas.

# %% [markdown]
# ## The machine
#
# Little is missing: around the blocks, in colour, a last norm and the head of lesson [06](06_attention.ipynb), which
# turns each vector into the logits of the next token. (The N of the picture is the number of blocks; below it is called $n$.)

# %% mystnb={"image": {"alt": "Diagram of the whole model. Four tokens become vectors, positions are added, N blocks of norm, attention, norm and feed-forward follow, each part added to the stream. New are a last norm and the head below the blocks, which give logits of shape B, T, V."}}
from lib.show import diagrams

diagrams.stream("gpt")

# %% [markdown]
# ## By hand
#
# ### Count the parameters on paper
#
# The model that counts, of lesson [00](00_quickstart.ipynb): ten tokens, vectors of 16 numbers, 32
# positions, two blocks with 32 units in the middle. Its attention has no biases, and it has no
# last norm. The head reads 16 numbers and writes ten, with ten biases.

# %%
tokens, positions, head = 10 * 16, 32 * 16, 16 * 10 + 10
attention = 4 * 16 * 16  # queries, keys, values, output: four matrices
feed_forward = (16 * 32 + 32) + (32 * 16 + 16)  # up and down, with biases
norms = 2 * (16 + 16)  # two norms, each with a gain and a bias
block = attention + feed_forward + norms
total = tokens + positions + 2 * block + head
print(f"block: {attention:,} + {feed_forward:,} + {norms} = {block:,}")
print(f"all:   {tokens} + {positions} + 2 x {block:,} + {head} = {total:,}")

# %% [markdown]
# 5,162, as lesson 00 counted. The number of heads plays no part: they share the four matrices.
#
# ### Sure of nonsense
#
# A model that has learned nothing should give every token the same score. Say there are two tokens,
# each right half of the time. What does a model pay on average for these
# [logits](../book/glossary.md#logits)?

# %%
import torch

for logits in ([0.0, 0.0], [0.1, 0.0], [8.0, 0.0]):
    p = torch.tensor(logits).softmax(dim=0)
    print(f"logits {logits}: probabilities {p[0]:.4f}, {p[1]:.4f}", end="")
    print(f", loss {-p.log().mean():.2f}")

# %% [markdown]
# Equal scores cost $\ln 2 = 0.69$ nats, and nearly equal ones hardly more. The third model is sure
# without a reason: half of the time it pays nothing, half of the time 8. So large logits before training do harm.
#
# ### A sum of many
#
# Every part adds a vector to the residual stream. How large is a sum of 48 numbers, each +1 or -1 at
# random? Try it ten thousand times.

# %%
generator = torch.Generator().manual_seed(0)
signs = 2.0 * torch.randint(2, (10_000, 48), generator=generator) - 1  # +1 or -1
size = signs.sum(dim=1).std()
print(f"typical size of the sum: {size:.1f}; root of 48: {48**0.5:.1f}")

# %% [markdown]
# The sum grows with the *root* of their number. Divide each by that root,
# and the sum of 48 is as large as a single one was.

# %% [markdown]
# ## The formula
#
# | part | parameters |
# |---|---|
# | token vectors, position vectors | $V D$, $T_{\max} D$ |
# | attention, one block | $4 D^2 + 4 D$; without biases $4 D^2$ |
# | feed-forward, one block | $2 D F + F + D$ |
# | two norms, one block | $4 D$ |
# | last norm | $2 D$ |
# | head | $V D$, with a bias $V$ more; tied: none |
#
# $V$ is `vocab_size`, $D$ `d_model`, $T_{\max}$ `context_length`, $F$ `d_ff`, $n$ `n_layers`. With
# $F = 4 D$ a block has $4 D^2 + 8 D^2$, and a few single $D$. So GPT-2 has
#
# $$N = V D + T_{\max} D + n\,(12 D^2 + 13 D) + 2 D$$
# <!-- from: from-the-demo-to-gpt-2 "size =" -->
#
# parameters. In a large model one term rules: $N \approx 12\,n D^2$ (Kaplan et al., 2020, table 1, count
# only these, without the tables).
#
# Two formulas for the start. Equal logits give each token the probability $1 / V$, so the first loss
# should be near
#
# $$L_0 = -\ln \frac{1}{V} = \ln V$$
#
# All weights are drawn from a bell curve around 0 with a small standard deviation, the second number
# here. The last matrix of each part gets a smaller one, because $2 n$ parts write into one stream:
#
# $$W \sim \mathcal{N}(0,\ 0.02) \qquad\qquad W_\text{out},\ W_\text{down} \sim \mathcal{N}\!\left(0,\ \frac{0.02}{\sqrt{2 n}}\right)$$
# <!-- from: start-near-nothing "std=0.02" -->
#
# Sources: section 3.1 of Radford et al. (2018) for the model, their section 4.1 for the 0.02; section
# 2.3 of Radford et al. (2019) for the last norm and the root. OpenAI's
# [code for GPT-2](https://github.com/openai/gpt-2) draws the position vectors with 0.01.
# <!-- from: start-near-nothing "std=0.02" -->

# %% [markdown]
# ## Build
#
# ### One object for all sizes
#
# Six numbers in a row are easy to mix up. A *dataclass* is a class that only holds values: Python
# writes its `__init__` from the list of fields. `frozen=True` forbids changes.

# %% tags=["naive:models.gpt.GPTConfig"]
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class GPTConfig:
    vocab_size: int = 65
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 4
    d_ff: int = 512
    context_length: int = 128
    tie_weights: bool = True


# %% [markdown]
# To change a value, make a new object with `replace`. What `tie_weights` means comes below.

# %%
config = GPTConfig(d_model=64, n_layers=3, d_ff=256, context_length=32)
config = replace(config, tie_weights=False)

# %% [markdown]
# ### The model
#
# Next to each part stand its name in the code and the shape of its weights.

# %% mystnb={"image": {"alt": "Diagram of a GPT by its names in the code, from top to bottom: tokens, an nn.Embedding; positions, LearnedPositions; n blocks of attention_norm, attention, ffn_norm and ffn; then, in colour, final_norm, a LayerNorm, and head, an nn.Linear. A line in colour joins tokens and head: one table."}}
diagrams.gpt_names()

# %% [markdown]
# It is the `LanguageModel` of lesson [06](06_attention.ipynb), but makes its
# blocks itself, always has a last norm, and its head has no bias. (`parts()` makes new modules for each block.)

# %% tags=["naive:models.gpt.GPT"]
from torch import nn

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.ffn import FeedForward
from lib.norm import LayerNorm
from lib.position import LearnedPositions


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        V, D, F = config.vocab_size, config.d_model, config.d_ff
        self.tokens = nn.Embedding(V, D)
        self.positions = LearnedPositions(config.context_length, D)
        parts = lambda: (MultiHeadAttention(D, config.n_heads), FeedForward(D, F))
        self.blocks = nn.ModuleList(Block(*parts()) for _ in range(config.n_layers))
        self.final_norm = LayerNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        if config.tie_weights:
            self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        for block in self.blocks:
            x = block(x, causal_mask(ids.size(1)))
        return self.head(self.final_norm(x))  # (B, T, D) -> (B, T, V)


# %% [markdown]
# `count_parameters` adds up their sizes. Is it the formula's number?

# %%
from lib.models import count_parameters

V, D, T, n = 65, 64, 32, 3
size = V * D + T * D + n * (12 * D**2 + 13 * D) + 2 * D
print(f"formula {size:,}, and {V * D:,} more for a head of its own")
print(f"counted {count_parameters(GPT(config)):,}")
assert count_parameters(GPT(config)) == size + V * D

# %% [markdown]
# ### The first loss
#
# Now the loss *before any training*, on random tokens: an untrained model cannot tell. It should be
# near $\ln 65$.

# %%
import math

from lib.evaluate.losses import cross_entropy

random_ids = torch.randint(65, (32, 33), generator=generator)


@torch.no_grad()
def first_loss(model):
    return cross_entropy(model(random_ids[:, :-1]), random_ids[:, 1:]).item()


# %% tags=["measured"]
from lib.checks.claims import claim

losses = {}
for tie in (False, True):
    torch.manual_seed(0)
    losses[tie] = first_loss(GPT(replace(config, tie_weights=tie)))
    print(f"tie_weights={tie!s:5}: loss {losses[tie]:.1f} (ln 65 = {math.log(65):.2f})")
claim(abs(losses[False] - math.log(65)) < 0.6, "untied it starts near ln 65")
claim(losses[True] > 3 * math.log(65), "tied it starts far above")

# %% [markdown]
# PyTorch draws the numbers of a table from a bell curve of standard deviation 1. With `tie_weights` that table is
# also the head's matrix, and there it is far too large: the model is sure of nonsense. (Sure of the token that
# it has just read, see *Predict*.)
#
# ### Start near nothing
#
# So draw the weights yourself, as GPT-2 does. Biases go to 0. (Functions whose name
# ends in `_` change their argument in place.)

# %%
LAST = ("out_proj.weight", "down.weight")  # the matrices that write into the stream


@torch.no_grad()
def initialise(model, std=0.02):
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            shrink = math.sqrt(2 * len(model.blocks)) if name.endswith(LAST) else 1
            nn.init.normal_(weight, std=std / shrink)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)
    return model


# %% [markdown]
# Draw the untied model with 0.02, and with larger numbers.

# %% tags=["measured"]
losses = {}
for std in (0.02, 0.1, 0.3, 1):
    torch.manual_seed(0)
    model = initialise(GPT(config), std)
    losses[std], size = first_loss(model), model(random_ids[:, :-1]).std().item()
    print(f"std {std:4}: logits of size {size:4.2f}, loss {losses[std]:5.2f}")
    near = abs(size / (std * math.sqrt(64)) - 1) < 0.2
    claim(near, "the size is std times the root of the width")
claim(abs(losses[0.02] - math.log(65)) < 0.1, "small weights start near ln 65")
claim(losses[1] > 2 * math.log(65), "large ones start far above")

# %% [markdown]
#
#
# You can predict the size of the logits. The last norm gives the head 64 numbers of size about one. A
# logit is the sum of them, each times a weight of size `std`: again a sum of many, so its size is
# `std` times the root of the width. <!-- from: start-near-nothing "math.sqrt(64)" -->

# %%
for d_model in (64, 768, 1600):
    root = math.sqrt(d_model)
    print(f"{d_model:4} wide: logits of size {0.02 * root:.2f} from 0.02", end="")
    print(f"; 1 / root of the width = {1 / root:.3f}")

# %% [markdown]
# So *why 0.02?* At GPT-2's widths, 768 to 1,600, it is within a factor of two of one over the root of the width: the
# logits are small, but not tiny. In a narrow model they are tiny. 
#
# ### What does the root of 2n do?
#
# Build 24 blocks, and undo the shrinking in a copy. How large is the residual stream, the root of
# its mean square, after some of them?

# %% tags=["hide-input"]
# @title Two deep models, and the size of the stream at each depth
import copy

torch.manual_seed(0)
deep = initialise(GPT(replace(config, n_layers=24)))
unshrunk = copy.deepcopy(deep)
for name, weight in unshrunk.named_parameters():
    if name.endswith(LAST):
        weight.data *= math.sqrt(2 * 24)


@torch.no_grad()
def stream_sizes(model, ids):
    stream = [model.positions(model.tokens(ids))]
    for block in model.blocks:
        stream.append(block(stream[-1], causal_mask(ids.size(1))))
    return [x.square().mean().sqrt().item() for x in stream]


# %% tags=["measured"]
lines = {}
for name, model in (("shrunk by the root of 2n", deep), ("not shrunk", unshrunk)):
    lines[name] = stream_sizes(model, random_ids[:, :-1])
    shown = ", ".join(f"{lines[name][depth]:.3f}" for depth in (0, 6, 12, 24))
    print(f"{name:24}: {shown} after 0, 6, 12, 24 blocks")
grown = [line[-1] / line[0] for line in lines.values()]
claim(grown[0] < 2, "shrunk, the stream grows a little")
claim(grown[1] > 3 * grown[0], "not shrunk, it grows several times as much")

# %% [markdown]
# And at all depths:

# %% mystnb={"image": {"alt": "Line chart of the size of the residual stream over the blocks passed. Both lines start at the same small size. Shrunk by the root of 2n, the line creeps up a little; not shrunk, it climbs to several times the start."}}
from lib.show import plot

plot.line_chart(lines, "blocks passed", "size of the residual stream")

# %% [markdown]
# *Shrunk, the stream grows a little; not shrunk, to several times the tokens' size.*
#
# ### One table for two jobs
#
# The token vectors and the head's matrix have the same shape, `(V, D)`. A row of the first is what a
# token writes into the stream. A row of the second is what the stream must look like for the token to
# come next. [Weight tying](../book/glossary.md#weight-tying) uses one table for both:
# `self.head.weight = self.tokens.weight` gives one parameter two names.

# %%
tied = initialise(GPT(replace(config, tie_weights=True)))
tied.tokens.weight.data[0, 0] = 7  # write into one
print("read from the other:", tied.head.weight[0, 0].item())
assert tied.head.weight is tied.tokens.weight

# %% [markdown]
# It saves $V D$ parameters. Vaswani et al. (2017) tie in section 3.4, and GPT-2 does; many newer models do not.
#
# ### From the demo to GPT-2
#
# The library's `GPT` calls such a start itself, and has options for later lessons. At its defaults
# it is ours. From here on we use it.

# %% tags=["same:models.gpt.GPTConfig", "same:models.gpt.GPT", "proof"]
# @title Proof: ours equal the library's
from lib.models import gpt as library

for options in ({}, dict(tie_weights=False, n_layers=2), dict(d_model=32, n_heads=2)):
    config_, theirs_ = GPTConfig(**options), library.GPTConfig(**options)
    assert vars(config_).items() <= vars(theirs_).items()
    torch.manual_seed(0)
    ours = initialise(GPT(config_))
    torch.manual_seed(0)
    theirs = library.GPT(theirs_)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ids = torch.randint(65, (2, 9))
    assert torch.allclose(ours(ids), theirs(ids), atol=1e-6)
print("the same weights from the same seed, and the same logits")

# %% [markdown]
# `PRESETS` is a table of configurations by name: the GPTs of this course, and OpenAI's four. `sizes_only`
# builds models without numbers, on PyTorch's device `meta`: counting needs no memory.

# %%
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import PRESETS
from lib.module import sizes_only

config = GPTConfig(**vars(config))  # now the library's


def count(config):
    with sizes_only():
        return count_parameters(GPT(config))


# %%
for name, c in PRESETS.items():
    if isinstance(c, GPTConfig):
        N, blocks = count(c), 12 * c.n_layers * c.d_model**2
        print(f"{name:11} D {c.d_model:5,}  n {c.n_layers:2}  ", end="")
        print(f"V {c.vocab_size:6,} {N:13,}  12 n D² is {blocks / N:4.0%}")

# %% [markdown]
# The demo comes out as by hand, and OpenAI's four as in the formula:

# %% tags=["proof"]
# @title Proof: the demo as by hand, and GPT-2 as in the formula
assert count(PRESETS["demo"]) == total == 5_162
for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"):
    c = PRESETS[name]
    V, D, T, n = c.vocab_size, c.d_model, c.context_length, c.n_layers
    size = V * D + T * D + n * (12 * D**2 + 13 * D) + 2 * D
    assert count(c) == size and count(replace(c, tie_weights=False)) == size + V * D
assert count(PRESETS["gpt2"]) == 124_439_808
print("all equal")

# %% [markdown]
# From 5,162 to more than a billion, with one class. The rule of thumb $12\,n D^2$ comes close where the
# vocabulary is small for the width, as in `base-512` or `gpt2-xl`. (Above the whole: `demo` has a smaller $F$, `modern`
# smaller matrices for keys and values, lesson 19.) <!-- from: from-the-demo-to-gpt-2 "demo " -->
# <!-- from: from-the-demo-to-gpt-2 "base-512" -->
#
# Where do GPT-2's parameters sit?

# %% mystnb={"image": {"alt": "All parameters of GPT-2's smallest model as areas. The table of token vectors is nearly a third. The table of positions is a thin strip. Below stand twelve equal blocks; in each, attention takes one third and feed-forward two thirds. Norms are too small to be seen."}}
diagrams.gpt2_parameters()

# %% [markdown]
# The feed-forward networks hold the most. The token table is nearly a third, and without tying
# there would be two. 
#
# ### GPT-2's files
#
# GPT-2 comes as two files: `config.json` with the sizes, and `model.safetensors` with tensors by name.
# Three things differ from ours:
#
# 1. **Names.** Its `wte` is our `tokens`, its `h.0.ln_1.weight` our `blocks.0.attention_norm.gain`.
# 2. **Turned.** GPT-2's linear layer computes $x W$, PyTorch's $x W^\top$. So its matrices are stored
#    with rows and columns swapped (*transposed*).
# 3. **Three in one.** `c_attn` holds the matrices of queries, keys and values side by side.
#
# The smallest case: two numbers in, three times two out.

# %% mystnb={"image": {"alt": "The matrix c_attn of a GPT-2 file, two rows and six columns: two columns for queries, two for keys, two for values. Turned, it has six rows and two columns. Cut into three from top to bottom it gives q_proj, k_proj and v_proj."}}
diagrams.gpt2_file()

# %%
c_attn = torch.tensor([[1.0, 2, 3, 4, 5, 6], [10.0, 20, 30, 40, 50, 60]])  # (D, 3 D)
x = torch.tensor([1.0, 0.5])
print("GPT-2:  x W =", (x @ c_attn).tolist())
q, k, v = c_attn.T.chunk(3)  # turned, then cut into three of (D, D)
print("ours: q, k, v =", [(x @ part.T).tolist() for part in (q, k, v)])

# %% [markdown]
# The same six numbers. (*Deeper* shows the code.) The
# library's `load_gpt2("gpt2")` fetches the real ones, half a gigabyte. Here you write a file of
# your own, tiny and random: `export_gpt2` is the way back, so that other programs can read your model.

# %%
from safetensors.torch import load_file
from tempfile import TemporaryDirectory

from lib.models.gpt2_files import export_gpt2, load_gpt2

sizes = dict(vocab_size=50, d_model=32, n_heads=4, n_layers=2, d_ff=128)
torch.manual_seed(0)
original = GPT(replace(PRESETS["gpt2"], **sizes, context_length=16))
for parameter in original.parameters():
    nn.init.normal_(parameter, std=0.3)  # biases and gains too: no mix-up hides
folder = TemporaryDirectory()
export_gpt2(original, folder.name)

# %%
tensors = load_file(Path(folder.name, "model.safetensors"))
for name, tensor in tensors.items():
    if ".h.1." not in name:
        print(f"{name:34} {tuple(tensor.shape)}")

# %% [markdown]
# GPT-2's names and shapes: `c_attn` has 32 rows and 96 columns. (Hugging Face's programs put `transformer.` in front; the files that `load_gpt2` fetches lack it. GPT-2's approximate GELU is set by the preset.) There is no head, because it is
# tied. Read the file back:

# %%
loaded = load_gpt2(folder.name)
ids = torch.randint(50, (3, 16), generator=generator)
print("the same logits:", torch.equal(loaded(ids), original(ids)))
assert torch.equal(loaded(ids), original(ids))

# %% [markdown]
# ## Check
#
# Compute GPT-2 without our classes, straight from the tensors of the file.

# %% tags=["proof"]
# @title Proof: GPT-2 in its own names, part by part
from torch.nn import functional as F


def linear(t, name, x):
    return x @ t[f"{name}.weight"] + t[f"{name}.bias"]


def norm(t, name, x):
    return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"])


def attend(t, name, x, n_heads):
    qkv = linear(t, f"{name}.c_attn", x).chunk(3, dim=-1)
    q, k, v = (y.unflatten(-1, (n_heads, -1)).transpose(1, 2) for y in qkv)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return linear(t, f"{name}.c_proj", mixed.transpose(1, 2).flatten(2))


# %% tags=["proof"]
# @title Proof, continued: the same logits as our class
def gpt2_logits(t, ids, n_layers, n_heads):
    wte, wpe = t["transformer.wte.weight"], t["transformer.wpe.weight"]
    x = wte[ids] + wpe[: ids.size(1)]
    for h in (f"transformer.h.{i}" for i in range(n_layers)):
        x = x + attend(t, f"{h}.attn", norm(t, f"{h}.ln_1", x), n_heads)
        middle = linear(t, f"{h}.mlp.c_fc", norm(t, f"{h}.ln_2", x))
        x = x + linear(t, f"{h}.mlp.c_proj", F.gelu(middle, approximate="tanh"))
    return norm(t, "transformer.ln_f", x) @ wte.T


difference = (gpt2_logits(tensors, ids, 2, 4) - loaded(ids)).abs().max().item()
print("logits differ by less than 0.0001:", difference < 1e-4)
assert difference < 1e-4

# %% [markdown]
# Equal: our class computes what GPT-2's formulas compute, in about twenty lines. (That our files are GPT-2's the course's
# tests check against Hugging Face's `transformers`.) And the model equals a stack of PyTorch's own blocks, and sees no future:

# %% tags=["proof"]
# @title Proof: a stack of nn.TransformerEncoderLayer with the same weights
def torch_layer(block, c):
    options = dict(dropout=0.0, batch_first=True, norm_first=True, activation="gelu")
    layer = nn.TransformerEncoderLayer(c.d_model, c.n_heads, c.d_ff, **options)
    a, theirs = block.attention, layer.self_attn
    three = (a.q_proj, a.k_proj, a.v_proj)
    theirs.in_proj_weight.data = torch.cat([part.weight for part in three])
    theirs.in_proj_bias.data = torch.cat([part.bias for part in three])
    theirs.out_proj.load_state_dict(a.out_proj.state_dict())
    layer.linear1, layer.linear2 = block.ffn.up, block.ffn.down
    norms = (block.attention_norm, layer.norm1), (block.ffn_norm, layer.norm2)
    for n, theirs in norms:
        theirs.load_state_dict({"weight": n.gain, "bias": n.bias})
    return layer


# %% tags=["proof"]
# @title Proof, continued: equal logits, and the future is out of sight
ours, ids = GPT(config), random_ids[:, :32]
for parameter in ours.parameters():
    nn.init.normal_(parameter, std=0.2)
x = ours.tokens(ids) + ours.positions.table.weight
for block in ours.blocks:
    x = torch_layer(block, ours.config)(x, src_mask=~causal_mask(32))
theirs = ours.head(F.layer_norm(x, (64,), *ours.final_norm.parameters()))
assert torch.allclose(ours(ids), theirs, atol=1e-4)
changed = ids.clone()
changed[:, 20:] = (changed[:, 20:] + 1) % 65
moved = (ours(changed) - ours(ids)).abs().amax(dim=(0, 2)) > 1e-5  # (T,)
assert not moved[:20].any() and moved[20:].all()
print("as from PyTorch's blocks; first position that moved:", moved.nonzero()[0].item())

# %% [markdown]
# ### The classic bug: tied in name only
#
# Somebody ties the weights by *copying*: the head gets its own tensor with the same numbers. It runs,
# and before training the logits are even the same.

# %%
torch.manual_seed(0)
right = GPT(replace(config, tie_weights=True))
wrong = GPT(replace(right.config, tie_weights=False))
wrong.load_state_dict(right.state_dict())  # the head gets a copy
print("same logits:", torch.equal(right(random_ids[:, :32]), wrong(random_ids[:, :32])))
counts = [count_parameters(model) for model in (right, wrong)]
print(f"{counts[0]:,} parameters and {counts[1]:,}: {counts[1] - counts[0]:,} too many")

# %% [markdown]
# The count gives it away: $V D$ too many. Train both for 20 steps on the same text, and compare head
# and embedding. <!-- from: the-classic-bug-tied-in-name-only "n_steps=20" -->

# %% tags=["corpus", "hide-input"]
# @title The text
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")

# %% tags=["corpus", "measured"]
from lib.train import fit

for name, model in (("tied", right), ("copied", wrong)):
    batches = torch.Generator().manual_seed(0)
    next_batch = lambda: random_batch(train, 16, 32, batches)
    losses = fit(model, next_batch, n_steps=20, learning_rate=0.001)
    a, b = model.head.weight, model.tokens.weight
    cosine, loss = torch.cosine_similarity(a, b).mean().item(), losses[-1]
    print(f"{name:6}: head and embedding, mean cosine {cosine:.2f}; loss {loss:.2f}")
claim(cosine < 0.95, "the copies have gone their own ways")

# %% [markdown]
# The copies have gone their own ways. The loss tells you only beside the right run. And whoever loads this as a tied model must
# throw one of the two tables away. **Count, and compare with the formula.**

# %% [markdown]
# ## Look
#
# Ask an untrained model what follows one character. Move the slider: each bar is the probability of one of the 65 characters, for weights drawn wider and wider.
# <!-- from: look "range(0, 65" -->

# %% tags=["hide-input", "nbval-ignore-output"]
# @title Probabilities for five starts
from lib.show.frames import slider

one = torch.tensor([[40]])
first_guess = {}
for std in (0.02, 0.1, 0.2, 0.5, 1):
    torch.manual_seed(0)
    with torch.no_grad():
        model = initialise(GPT(config), std)
        first_guess[std] = model(one)[0, 0].softmax(dim=0)


def draw(std):
    heights = dict(enumerate(first_guess[std].tolist()))
    figure = plot.bar_chart(heights, "id of the character", "probability", top=1)
    axes = figure.axes[0]
    axes.set_xticks(range(0, 65, 8), range(0, 65, 8))
    axes.axhline(1 / 65, color="0.45", linestyle="--", linewidth=1)
    axes.set_title(f"highest bar {max(heights.values()):.2f}, dashed line 1/65")
    return figure


def describe(std):
    top = first_guess[std].max()
    return (
        f"Probabilities of 65 characters for weights of standard deviation {std}. The "
        f"highest bar has {top:.2f}; a dashed line marks an even share."
    )


tops = [p.max().item() for p in first_guess.values()]
claim(tops[0] < tops[2] < tops[4], "the wider the weights, the higher the highest bar")
claim(tops[0] < 0.05 and tops[-1] > 0.2, "from an even share to a large part of all")
slider(draw, list(first_guess), "standard deviation", alt=describe)

# %% [markdown]
# *With 0.02 all characters are about equally likely. With 1 a single one gets nearly all, for
# no reason.* <!-- from: look "for std in" -->

# %% [markdown]
# ## Experiment: does the start matter?
#
# Our model is 64 wide. One over the root of that is 0.125, six times 0.02. Train three starts that
# differ in *this one number*: 0.02, 0.125 and 1. A [warm-up](../book/glossary.md#warm-up) lets the
# learning rate grow from almost nothing over the first `n_warmup` steps.
# <!-- from: start-near-nothing "64 wide" -->


# %%
from lib.train import estimate_loss


def train_from(std, rate, n_warmup=0, seed=0):
    torch.manual_seed(seed)
    model = initialise(GPT(config), std)
    batches = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0, fused=True)
    for step in range(50):
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / max(1, n_warmup))
        inputs, targets = random_batch(train, 16, 32, batches)
        loss = cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return estimate_loss(model, validation[:8_192], 32)


# %% [markdown]
# First before your eyes, with one seed: the high rate 0.005, and then 20 steps of warm-up.

# %% tags=["corpus", "measured"]
small = train_from(0.02, 0.005)
warmed = train_from(0.02, 0.005, n_warmup=20)
print(f"std 0.02: {small:.2f} nats, with a warm-up {warmed:.2f}")
claim(warmed < small - 0.03, "the warm-up helps the small start")

# %% [markdown]
# Now with three seeds each, recorded by `python book/_tools/starts.py` (you need not run it): a careful rate,
# the high one, and the high one with a warm-up. Compare 0.02 with 0.125 in each group.

# %%
import json

import lib

record_file = Path(lib.__file__).parents[1] / "data" / "starts.json"
record = json.loads(record_file.read_text("utf-8"))
for run in record["runs"]:
    shown = ", ".join(f"{loss:.2f}" for loss in run["losses"])
    setting = f"rate {run['rate']}, warm-up {run['n_warmup']:2}, std {run['std']:5}"
    print(f"{setting}: {shown} nats")

# %% tags=["proof"]
# @title Proof: what the next paragraph says about the recorded runs
low_small, low_large, far, high_small, high_large, warm_small, warm_large = (
    run["losses"] for run in record["runs"]
)
assert min(far) > math.log(65)
assert all(a < b for a, b in zip(low_small, low_large))
assert sum(high_small) > sum(high_large) + 0.3
assert all(a > b for a, b in zip(high_small, high_large))
assert sum(warm_small) < sum(warm_large) + 0.15
assert max(warm_small) < min(high_small)
print("so it stands in the table")

# %% [markdown]
# Drawn with 1, the model is still worse than guessing after fifty steps. Between the two others the *rate* decides: at the
# careful one 0.02 is a little better with each seed. At the high one it is a little worse with two seeds and much worse with
# one; a warm-up repairs that. 
# <!-- from: experiment-does-the-start-matter "rate 0.005, warm-up 20, std 0.02" -->
#
# Why? AdamW's first step moves every number by about the rate, whatever its size (lesson
# [11](11_training.ipynb) shows why). Compare that step with the weights.

# %% tags=["corpus", "measured"]
share = {}
for std in (0.02, 0.125):
    torch.manual_seed(0)
    model = initialise(GPT(config), std)
    weight = model.blocks[0].attention.q_proj.weight
    before = weight.detach().clone()
    batches = torch.Generator().manual_seed(0)
    next_batch = lambda: random_batch(train, 16, 32, batches)
    fit(model, next_batch, n_steps=1, learning_rate=0.005)
    share[std] = ((weight - before).norm() / before.norm()).item()
    print(f"std {std:5}: the first step changes q_proj by {share[std]:.0%} of its size")
claim(share[0.02] > 4 * share[0.125], "small weights move more, relative to their size")

# %% [markdown]
# The same step is a quarter of the small weights, and a few percent of the larger ones. A lower
# rate or a warm-up makes the first steps small again. So **width, start and learning rate belong
# together**: change one, and look at the others again. (`init="fan_in"` of the library draws each
# matrix by the number of its inputs; lesson 11 uses it, and trains a GPT for the ladder.)

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You double the width of GPT-2's smallest model, <code>d_model</code> and <code>d_ff</code>, and leave the rest. How many times as many parameters has it? And if you double the context instead?</summary>
#
# Every matrix of a block becomes four times as large, every table twice: together 3.4 times as many.
# Twice the context adds position vectors, 0.6 %, and nothing else: no parameter of attention belongs to
# a distance. (It costs work and memory instead, lesson 20.)
#
# </details>
#
# <details><summary>While loading GPT-2 you forget to turn one of its four kinds of matrices. For which kind does nobody complain?</summary>
#
# For `attn.c_proj`, the only square one: turned or not, it fits. The other three have the wrong
# shape and are refused. So do not only compare shapes; compare logits.
#
# </details>
#
# <details><summary>The weights are tied, nothing is trained, and the loss is near that of guessing. Which next token does the model find likeliest?</summary>
#
# The one that it has just read. The stream still holds the token's own vector, and the head compares
# it with all token vectors: nothing is more like it than itself. With a table of 0.02 that is a weak
# preference. With 0.1 it is a strong one, and wrong: one more reason to draw a tied table small.
# <!-- from: predict-then-run "(0.02, 0.1)" -->
#
# </details>

# %% tags=["answer"]
# @title Answers 1 and 2: twice as wide, twice as long; one matrix the wrong way
gpt2 = PRESETS["gpt2"]
base = count(gpt2)
wide = count(replace(gpt2, d_model=2 * 768, d_ff=2 * 3072))
long = count(replace(gpt2, context_length=2 * 1024))
print(f"twice as wide: {wide / base:.1f} times as many")
print(f"twice the context: {(long - base) / base:.1%} more")
for kind in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
    name = f"transformer.h.0.{kind}.weight"
    shape = tuple(tensors[name].shape)
    print(f"{kind:11} {shape}:", "fits" if shape == shape[::-1] else "refused")

# %% tags=["answer", "measured"]
# @title Answer 3: what a tied model repeats
tied = replace(config, tie_weights=True)
for std in (0.02, 0.1):
    torch.manual_seed(0)
    with torch.no_grad():
        model = GPT(tied)
        nn.init.normal_(model.tokens.weight, std=std)
        p = model(random_ids[:, :32]).softmax(dim=-1)
    read = random_ids[:, :32]
    repeats = (p.argmax(dim=-1) == read).double().mean().item()
    share_ = p.gather(-1, read.unsqueeze(-1)).mean().item()
    print(f"table {std:4}: likeliest is the token just read: {repeats:.0%}", end="")
    print(f"; it gets {share_:.3f} (even share {1 / 65:.3f})")
    claim(repeats > 0.9, "the likeliest token is the one just read")
claim(share_ > 0.3, "with the larger table it gets a large part of all")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_10 import (
    check_count_by_formula,
    check_shared_names,
    check_split_c_attn,
    check_start_anew,
)

# %% [markdown]
# ### Exercise 1: Count any GPT
#
# *warm-up · 10 minutes* · [Solution](../solutions/10_gpt.ipynb#exercise-1-count-any-gpt)
#
# Count any `GPTConfig` of the library with learned positions, layer norms and the usual
# feed-forward networks: return the number of parameters as an integer. Mind four switches:
# `attention_bias`, `final_norm`, `head_bias`, `tie_weights`. Use the configuration's numbers only:
# build no model, not even on `meta`.
#
# <details><summary>Hint</summary>
#
# Go down the table in *The formula*. `True` counts as 1 in a product, so `config.final_norm * 2 * D` is
# $2 D$ or 0.
#
# </details>


# %%
def count_by_formula(config):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_count_by_formula(count_by_formula)

# %% [markdown]
# ### Exercise 2: Shared or copied?
#
# *core · 15 minutes* · [Solution](../solutions/10_gpt.ipynb#exercise-2-shared-or-copied)
#
# For any `nn.Module`, return a list with one entry for each parameter that goes by more than one name:
# the list of its names, in alphabetical order. For a tied GPT that is
# `[["head.weight", "tokens.weight"]]`; for one whose head is a copy it is `[]`. Two parameter objects
# count as two, even if they share their memory. Buffers do not count, frozen parameters do; the entries may come in any order.
#
# <details><summary>Hint</summary>
#
# `model.named_parameters()` gives each parameter once, with its first name;
# `model.named_parameters(remove_duplicate=False)` gives all names. Parameters with equal numbers need
# not be the same object: `is` and `id()` know the difference, `==` does not.
#
# </details>


# %%
def shared_names(model):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_shared_names(shared_names)

# %% [markdown]
# ### Exercise 3: Three in one
#
# *core · 15 minutes* · [Solution](../solutions/10_gpt.ipynb#exercise-3-three-in-one)
#
# You get GPT-2's `c_attn`: `weight` `(D, 3 D)` and `bias` `(3 D,)`. Return a dictionary with the
# six keys `"q_proj.weight"`, `"q_proj.bias"`, `"k_proj.weight"` and so on, whose tensors fit a
# `MultiHeadAttention(D, n_heads)`: `x @ weight + bias` is queries, keys and values one after the
# other, for every vector `x`.
#
# <details><summary>Hint</summary>
#
# The first $D$ columns of `weight` make the queries. An `nn.Linear` holds its matrix with one *row*
# per output.
#
# </details>


# %%
def split_c_attn(weight, bias):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_split_c_attn(split_c_attn)

# %% [markdown]
# ### Exercise 4: GPT-2's own start
#
# *stretch · 20 minutes* · [Solution](../solutions/10_gpt.ipynb#exercise-4-gpt-2s-own-start)
#
# Give a GPT of the library with GPT-2's parts, perhaps a trained one, the start of GPT-2, in place, and return it:
# tables and matrices from $\mathcal N(0, 0.02)$, but position vectors with half of that standard
# deviation, as in OpenAI's code; what writes into the stream divided by $\sqrt{2n}$, as in the paper; biases 0, gains 1. All random numbers
# come from the `torch.Generator` that is passed in. A tied head stays tied, and the model's mode stays as it is.
# <!-- from: start-near-nothing "std=0.02" -->
#
# <details><summary>Hint</summary>
#
# `nn.init.normal_(weight, std=..., generator=generator)` draws in place. The gains were 1 in
# `initialise` because the model was new. `model.named_parameters()` gives a tied table once.
#
# </details>


# %%
def start_anew(model, generator):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_start_anew(start_anew)

# %% [markdown]
# ## Recap
#
# - You **assembled a GPT** from one configuration: one class, from the model that counts to GPT-2.
# - You can **count it on paper**. The feed-forward networks hold the most; the tables weigh much only
#   where the vocabulary is large for the width. Tying saves one table, if it is really *one*: count.
# - You know **how it starts**: with a loss near $\ln V$, and what writes into the stream shrunk by
#   $\sqrt{2n}$. In our experiment the small start needed a lower rate or a warm-up.
# - You **read and wrote files in GPT-2's format**: names, turned matrices, three in one. A computation in
#   GPT-2's own names gives the same logits.
#
# What is still wrong: your training is careless, with one rate from the first step to the last. Lesson
# [11](11_training.ipynb) trains with care.
#
# The library's entries: [GPTConfig and GPT](../book/api.md#modelsgpt),
# [load_gpt2, gpt2_config and export_gpt2](../book/api.md#modelsgpt2_files).

# %% [markdown]
# ## To read
#
# - Radford et al. (2019), *Language Models are Unsupervised Multitask Learners*, section 2.3: half a page that lists
#   what GPT-2 changed.
# - Radford et al. (2018), *Improving Language Understanding by Generative Pre-Training*, sections 3.1 and 4.1: the
#   first GPT in three formulas, with the 0.02.
# - Press and Wolf (2017), *Using the output embedding to improve language models*: why input and
#   output can share a table.
# - Karpathy, nanoGPT, `model.py`: the same model in one file. You can read it now, line by line.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: the code that reads GPT-2's files
#
# Three steps: the configuration, the names, the tensors. `hf` is the contents of `config.json`. All
# else of GPT-2 is a default of ours but its GELU, an approximation (lesson
# [08](08_feed_forward.ipynb)).

# %% tags=["naive:models.gpt2_files.gpt2_config"]
SIZES = {
    "vocab_size": "vocab_size",
    "n_embd": "d_model",
    "n_head": "n_heads",
    "n_layer": "n_layers",
    "n_inner": "d_ff",
    "n_positions": "context_length",
}


def gpt2_config(hf):
    sizes = {ours: hf.get(theirs) for theirs, ours in SIZES.items()}
    sizes["d_ff"] = sizes["d_ff"] or 4 * sizes["d_model"]
    return GPTConfig(**sizes, ffn="gelu_tanh")


# %% [markdown]
# The names. `{i}` is the number of the block; `*` stands for q, k and v.

# %% tags=["lib:models.gpt2_files.MODULES"]
MODULES = {  # GPT-2's name of a part, and ours; * is q, k and v, there side by side
    "wte": "tokens",
    "wpe": "positions.table",
    "h.{i}.ln_1": "blocks.{i}.attention_norm",
    "h.{i}.attn.c_attn": "blocks.{i}.attention.*_proj",
    "h.{i}.attn.c_proj": "blocks.{i}.attention.out_proj",
    "h.{i}.ln_2": "blocks.{i}.ffn_norm",
    "h.{i}.mlp.c_fc": "blocks.{i}.ffn.up",
    "h.{i}.mlp.c_proj": "blocks.{i}.ffn.down",
    "ln_f": "final_norm",
}

# %% [markdown]
# `tensor_names` fills in the numbers of the blocks. For each of GPT-2's names it lists ours: three for
# `c_attn`, else one. A norm's `weight` is our `gain`.

# %% tags=["lib:models.gpt2_files.tensor_names"]
from itertools import product


def tensor_names(c: GPTConfig) -> dict[str, list[str]]:
    names = {} if c.tie_weights else {"lm_head.weight": ["head.weight"]}
    for i, (theirs, ours) in product(range(c.n_layers), MODULES.items()):
        theirs, ours = f"transformer.{theirs}".format(i=i), ours.format(i=i)
        parts = [ours.replace("*", x) for x in ("qkv" if "*" in ours else "*")]
        weight = "gain" if ours.endswith("norm") else "weight"
        names[f"{theirs}.weight"] = [f"{part}.{weight}" for part in parts]
        if not theirs.endswith(("wte", "wpe")):
            names[f"{theirs}.bias"] = [f"{part}.bias" for part in parts]
    return names


# %% [markdown]
# The tensors: turn what is stored the other way round, and cut three in one. A name that the file
# lacks stops `our_weights`, and `load_state_dict` refuses a wrong shape.

# %% tags=["naive:models.gpt2_files.load_gpt2"]
import json

CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # stored transposed


def our_weights(tensors, config):
    weights = {}
    for name, parts in tensor_names(config).items():
        tensor = tensors[name].T if name.endswith(CONV1D) else tensors[name]
        weights |= zip(parts, tensor.chunk(len(parts)))
    return weights | {"head.weight": weights["tokens.weight"]}  # tied


def load_gpt2(folder):
    model = GPT(gpt2_config(json.loads(Path(folder, "config.json").read_text("utf-8"))))
    tensors = load_file(Path(folder, "model.safetensors"))
    model.load_state_dict(our_weights(tensors, model.config))
    return model


# %% [markdown]
# The way back takes the same table from right to left. (The short versions are for a tied GPT with GPT-2's GELU; the library
# refuses or translates the others.)

# %% tags=["naive:models.gpt2_files.export_gpt2"]
from safetensors.torch import save_file


def export_gpt2(model, folder):
    config = {theirs: getattr(model.config, ours) for theirs, ours in SIZES.items()}
    config |= {"model_type": "gpt2", "activation_function": "gelu_new"}
    Path(folder, "config.json").write_text(json.dumps(config), "utf-8")
    ours, tensors = model.state_dict(), {}
    for name, parts in tensor_names(model.config).items():
        rows = torch.cat([ours[part] for part in parts])
        rows = rows.T if name.endswith(CONV1D) else rows
        tensors[name] = rows.contiguous()
    save_file(tensors, Path(folder, "model.safetensors"))


# %% [markdown]
# The library's functions also read names without `transformer.`, refuse what a GPT of ours does not compute, fetch OpenAI's weights,
# read files in several pieces, and write each file whole or not at all. Each reads what the other
# has written.

# %% tags=["same:models.gpt2_files.gpt2_config", "same:models.gpt2_files.load_gpt2", "same:models.gpt2_files.export_gpt2", "proof"]
# @title Proof: the library reads our files, and we read the library's
from lib.models import gpt2_files as library

ids = torch.randint(50, (3, 16), generator=torch.Generator().manual_seed(0))
hf = json.loads(Path(folder.name, "config.json").read_text("utf-8"))
assert vars(library.gpt2_config(hf)) == vars(gpt2_config(hf)) == vars(original.config)
assert torch.equal(load_gpt2(folder.name)(ids), original(ids))
export_gpt2(original, folder.name)
assert torch.equal(library.load_gpt2(folder.name)(ids), original(ids))
written = load_file(Path(folder.name, "model.safetensors"))
assert written.keys() == tensors.keys()
print("the same configuration, the same files, the same logits")
