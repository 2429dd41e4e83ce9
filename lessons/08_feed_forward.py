# %% [markdown]
# # 08 · Feed-forward networks
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/08_feed_forward.ipynb)
#
# You build the part of a Transformer in which each position thinks for itself. It holds
# two thirds of the parameters of each block, and all its worth comes from one small
# bend.
#
# - **You will build** the feed-forward network, its gated form SwiGLU, and a count that
#   says where the parameters of a Transformer sit.
# - **You will see** single units of a trained model that have learned the word "and", and
#   a training run that shows what the bend is worth.
# - **Needs** lesson [07](07_multi_head_attention.ipynb).
# - **Takes** about two hours to read and do; the notebook runs in under 60 s.

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
# The model of lesson [07](07_multi_head_attention.ipynb), with four heads, is the best
# so far: 2.28 nats. But look at what a position does with the things that it has
# gathered: it adds them up. Once the attention weights are chosen, the output is a sum
# of values, and each value is a matrix times a vector. Sums and matrices mix. They
# never *conclude*.
# <!-- from: 07_multi_head_attention#experiment-one-head-or-four "the mean of three seeds" -->
#
# A reader concludes all the time: "this is a new line, **and** the line before ended in
# a full stop, so perhaps the speech is over." What must a position be able to do to
# think that?

# %% [markdown]
# ## By hand
#
# ### Two facts, and a layer that cannot join them
#
# Say a position has gathered two facts. 1 means yes, 0 means no:
#
# - $a$: this character is a new line,
# - $b$: the character before it is a full stop.
#
# It wants one number that is 1 where both hold, and 0 otherwise. Try it with a linear
# layer, $f(a, b) = w_1 a + w_2 b + c$, with any weights you like. Look at the sums of
# opposite corners: $f(0,0) + f(1,1)$ against $f(0,1) + f(1,0)$.

# %%
import torch

corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
for w1, w2, c in ((3, -2, 5), (1, 1, 0), (0.5, 0.5, -0.25)):
    f00, f01, f10, f11 = (w1 * a + w2 * b + c for a, b in corners.tolist())
    print(f"f(0,0) + f(1,1) = {f00 + f11:.4g},  f(0,1) + f(1,0) = {f01 + f10:.4g}")
    assert abs((f00 + f11) - (f01 + f10)) < 1e-9

# %% [markdown]
# Equal every time, and always: both sums are $w_1 + w_2 + 2c$. But "both" needs 0 + 1
# on one side and 0 + 0 on the other. No weights can do that. To a linear layer, two
# facts together are never more than one fact plus the other. (A softmax at the end
# could still separate "both" from the rest. "Exactly one" it could not.)
#
# ### One bend is enough
#
# Now add the facts, subtract 1, and cut off what is below zero. That cut is the
# [ReLU](../book/glossary.md#relu), $\max(0, z)$; in PyTorch, `clamp(min=0)`.

# %%
for a, b in corners.tolist():
    z = torch.tensor(a + b - 1)
    print(f"a={a:.0f} b={b:.0f}  a+b-1 = {z:2.0f}  after the bend {z.clamp(min=0):.0f}")

# %% [markdown]
# 0, 0, 0, 1. A line with one bend in it says "and".
#
# ### Two units, two answers
#
# Use two such lines side by side. The first is $\max(0, a + b)$, the second is
# $\max(0, a + b - 1)$. Another layer then mixes the two: "both" is the second one alone,
# "exactly one" is the first minus twice the second. Here it is with matrices; one row of
# the print is one corner.

# %%
W1, b1 = torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([0.0, -1.0])
W2 = torch.tensor([[0.0, 1.0], [1.0, -2.0]])
hidden = (corners @ W1.T + b1).clamp(min=0)
answers = hidden @ W2.T
for facts, middle, answer in zip(corners, hidden, answers):
    print(f"facts {facts.tolist()} -> middle {middle.tolist()} -> {answer.tolist()}")
assert answers.tolist() == [[0, 0], [0, 1], [0, 1], [1, 0]]

# %% [markdown]
# The last pair is (both, exactly one), right in all four corners. A matrix, a bend, a
# matrix: that is a whole [feed-forward
# network](../book/glossary.md#feed-forward-network).

# %% [markdown]
# ## The formula
#
# The bend is called the [activation function](../book/glossary.md#activation-function),
# written $\phi$:
#
# $$\mathrm{FFN}(x) = W_2\, \phi(W_1 x + b_1) + b_2$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(D,)` | the vector of one position |
# | $W_1, b_1$ | `(F, D)`, `(F,)` | widen: from `d_model` $= D$ numbers to `d_ff` $= F$ |
# | $\phi$ | | the bend, applied to each number on its own |
# | $W_2, b_2$ | `(D, F)`, `(D,)` | bring back: from $F$ numbers to $D$ |
#
# [Vaswani 2017](../book/bibliography.md#vaswani-2017), section 3.3, equation (2), has
# the ReLU for $\phi$, $D = 512$ and $F = 2048$. Four times as wide in the middle is
# still the habit.
#
# Read it unit by unit. Row $i$ of $W_1$, call it $w_i$, is what
# [unit](../book/glossary.md#unit) $i$ looks for, and $b_{1,i}$ says how easily it
# switches on. Column $i$ of $W_2$, call it $u_i$, is what it says when it finds it:
#
# $$\mathrm{FFN}(x) = b_2 + \sum_{i=1}^{F} \phi(w_i \cdot x + b_{1,i})\, u_i$$
#
# Keep that form in mind for the pictures below. The number of parameters is
# $2 D F + F + D$: two matrices, two biases.

# %% [markdown]
# ## Build
#
# ### Without the bend, two layers are one
#
# Leave $\phi$ out. Then $W_2 (W_1 x + b_1) + b_2 = (W_2 W_1)\, x + (W_2 b_1 + b_2)$: a
# single linear layer. Multiply the matrices, and compare.

# %%
from torch import nn

torch.manual_seed(0)
x = torch.randn(5, 64)
up, down = nn.Linear(64, 256), nn.Linear(256, 64)
W, b = down.weight @ up.weight, down.weight @ up.bias + down.bias
assert torch.allclose(down(up(x)), x @ W.T + b, atol=1e-5)

sizes = [sum(p.numel() for p in layer.parameters()) for layer in (up, down)]
print(f"two layers: {sum(sizes):,} parameters, one layer: {W.numel() + b.numel():,}")

# %% [markdown]
# 33,088 parameters, and they can say nothing that 4,160 could not. All that the width
# buys, it buys through the bend.
#
# ### Three bends
#
# The ReLU has a sharp corner, and to the left of it a slope of 0: a unit that is below
# zero for every input gets no gradient. Two smoother bends are more common today, the
# [GELU](../book/glossary.md#gelu) and the SiLU:
#
# $$\mathrm{GELU}(z) = z\, \Phi(z) \qquad \mathrm{SiLU}(z) = z\, \sigma(z)$$
#
# $\Phi(z)$ is the chance that a number from the bell curve lies below $z$, and
# $\sigma(z) = 1 / (1 + e^{-z})$. Both go from 0 to 1, and fast enough that the products
# are almost 0 far to the left and almost $z$ far to the right. Look at what happens in
# between. (`erf` is the function with which $\Phi$ is computed, `linspace` makes evenly
# spaced numbers.)

# %% mystnb={"image": {"alt": "Three curves over z from -4 to 4. All are near zero on the left and rise like z on the right. ReLU has a corner at zero; GELU and SiLU dip slightly below zero first, SiLU deeper."}}
from torch.nn import functional as F

from lib.show import plot

z = torch.linspace(-4, 4, 161)
gelu = z * (1 + torch.erf(z / 2**0.5)) / 2
bends = {"ReLU": z.clamp(min=0), "GELU": gelu, "SiLU": z * torch.sigmoid(z)}
for (name, ours), torchs in zip(bends.items(), (F.relu, F.gelu, F.silu)):
    assert torch.allclose(ours, torchs(z), atol=1e-6)
    left, right = ours[40], ours[120]  # at -2 and 2
    print(f"{name}: {left:5.2f} at -2, {right:.2f} at 2, lowest {ours.min():5.2f}")
assert bends["SiLU"].min() < bends["GELU"].min() < 0
plot.line_chart(bends, "z", "bend(z)", x=z)

# %% [markdown]
# *Three ways to bend a line: the ReLU has a corner, the GELU and the SiLU dip a little
# below zero before they rise, so that their slope is not 0 everywhere on the left.*
#
# All three do the job of the corner by hand: nearly silent on one side, nearly a straight
# line on the other.
#
# ### The module
#
# Now the formula as a class. The bend is an argument, the GELU if you say nothing.


# %% tags=["naive:ffn.FeedForward"]
class FeedForward(nn.Module):
    def __init__(self, d_model, d_ff, activation=F.gelu):
        super().__init__()
        self.up = nn.Linear(d_model, d_ff)
        self.down = nn.Linear(d_ff, d_model)
        self.activation = activation

    def forward(self, x):
        return self.down(self.activation(self.up(x)))


# %% [markdown]
# Put the numbers from above into it: it must give the same answers in all four corners.
# (`.data` are the numbers of a parameter, as in lesson [02](02_bigram.ipynb).)

# %%
by_hand = FeedForward(2, 2, activation=F.relu)
by_hand.up.weight.data, by_hand.up.bias.data = W1, b1
by_hand.down.weight.data, by_hand.down.bias.data = W2, torch.zeros(2)
assert torch.equal(by_hand(corners), answers)
print(by_hand(corners).tolist())

# %% [markdown]
# ### Each position on its own
#
# A linear layer works on the last dimension. So a tensor `(B, T, D)` goes through
# position by position, every position through the same network. Change one position of
# six and look where the output changes.

# %%
ffn = FeedForward(64, 256)
x = torch.randn(1, 6, 64)
changed = x.clone()
changed[0, 3] += 1
moved = (ffn(changed) - ffn(x)).abs().amax(dim=-1)  # the largest change, (1, 6)
print("output changes at position", moved.nonzero()[:, 1].tolist())
assert moved.nonzero()[:, 1].tolist() == [3]

# %% [markdown]
# Only there. That is the division of labour in a Transformer: **attention moves
# information between positions, the feed-forward network works with it inside a
# position.** The network cannot fetch anything from elsewhere; and what attention hands
# over, once its weights are chosen, is a sum.
#
# ### A gate: SwiGLU
#
# Many of today's models bend in another way. They compute two things from $x$: a value,
# and a *gate* that decides how much of the value comes through. This is
# [SwiGLU](../book/glossary.md#swiglu):
#
# $$\mathrm{SwiGLU}(x) = W_2\, (\mathrm{SiLU}(W_g x) \odot W_1 x)$$
#
# $\odot$ multiplies number by number. It is equation (6) in [Shazeer
# 2020](../book/bibliography.md#shazeer-2020). First with one unit whose value is 2:

# %%
for gate in (-4.0, 0.0, 1.0, 4.0):
    opening = F.silu(torch.tensor(gate))
    print(
        f"gate {gate:4.1f}: SiLU {opening:5.2f}, a value of 2 becomes {opening * 2:.2f}"
    )

# %% [markdown]
# A gate far below zero is nearly shut, at zero it is shut, and above it opens wider and
# wider. The class has three matrices and no biases.


# %% tags=["naive:ffn.SwiGLU"]
class SwiGLU(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


# %% [markdown]
# Three matrices instead of two: $3 D F$ parameters. To have as many as before, the
# middle must be narrower: from $3 D F' = 2 D F$ follows $F' = \frac{2}{3} F$.


# %%
def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


for part in (FeedForward(64, 256), SwiGLU(64, 256), SwiGLU(64, 171)):
    d_ff = part.up.out_features
    print(f"{type(part).__name__:11} d_ff {d_ff}: {n_parameters(part):,} parameters")
    assert part(x).shape == x.shape

# %% [markdown]
# With `d_ff` 171 it is within one percent of the other: 32,832 against 33,088.
# (Counting the biases too, another size is a little nearer: exercise 1.) With the same
# 256 it has half as many again.

# %% [markdown]
# ### Where the parameters sit
#
# An attention has four matrices of $D \cdot D$. A feed-forward network with $F = 4 D$
# has two of $D \cdot 4D$. So in each block it is $4 D^2$ against $8 D^2$, and the
# feed-forward network has two thirds. Count it, with all biases:

# %%
from lib.attention import MultiHeadAttention

for d_model in (64, 768):
    attention = n_parameters(MultiHeadAttention(d_model, n_heads=4))
    feed_forward = n_parameters(FeedForward(d_model, 4 * d_model))
    share = feed_forward / (attention + feed_forward)
    print(f"d_model {d_model}: {attention:,} + {feed_forward:,}, share {share:.1%}")
    assert abs(share - 2 / 3) < 0.002

# %% [markdown]
# Two thirds. Around the blocks stand the tables of vectors for tokens and positions.
# How large are they? GPT-2 is public: 50,257 tokens, 1,024 positions, and in the
# smallest of its four sizes 12 blocks of `d_model` 768. Each block has two
# normalisations with $2 D$ numbers each, and one more stands at the end (lesson 09).


# %%
def gpt2_parts(d_model, n_layers):
    """Parameters of GPT-2, part by part; the head shares the table of tokens."""
    D, F = d_model, 4 * d_model
    return {
        "tokens": 50_257 * D,
        "positions": 1_024 * D,
        "attention": n_layers * (4 * D * D + 4 * D),
        "feed-forward": n_layers * (2 * D * F + F + D),
        "norms": n_layers * 4 * D + 2 * D,
    }


for part, count in gpt2_parts(768, 12).items():
    print(f"{part:13} {count:11,}")
assert sum(gpt2_parts(768, 12).values()) == 124_439_808

# %% [markdown]
# Together 124,439,808, which is the number that you find when you load the real one
# (lesson 10 does). Move the slider from the smallest GPT-2 to the largest, and watch
# the share of the feed-forward networks.

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.show.frames import slider

gpt2_sizes = {768: 12, 1024: 24, 1280: 36, 1600: 48}  # d_model: n_layers


def shares(d_model):
    parts = gpt2_parts(d_model, gpt2_sizes[d_model])
    return {part: count / sum(parts.values()) for part, count in parts.items()}


def draw(d_model):
    total = sum(gpt2_parts(d_model, gpt2_sizes[d_model]).values())
    label = f"part of GPT-2 with {total / 1e6:,.0f} million parameters"
    return plot.bar_chart(shares(d_model), label, "share of parameters", top=0.7)


def describe(d_model):
    share = shares(d_model)
    tables = share["tokens"] + share["positions"]
    return (
        f"d_model {d_model}: feed-forward {share['feed-forward']:.0%}, attention "
        f"{share['attention']:.0%}, tables of tokens and positions {tables:.0%}."
    )


growing = [shares(d_model)["feed-forward"] for d_model in gpt2_sizes]
assert all(max(shares(d).values()) == shares(d)["feed-forward"] for d in gpt2_sizes)
assert growing == sorted(growing) and 0.45 < growing[0] and 0.63 < growing[-1] < 2 / 3
slider(draw, list(gpt2_sizes), "d_model", alt=describe)

# %% [markdown]
# *The feed-forward networks hold the largest share in every size, and the wider and
# deeper the model, the closer they come to two thirds of all.*
#
# ### Attention, then feed-forward
#
# Now a model. The block gathers, then thinks: no more than that. Everything around it is
# the `LanguageModel` from lesson [06](06_attention.ipynb).

# %% tags=["corpus"]
from lib.text.corpus import load_corpus
from lib.text.batches import random_batch, split_text
from lib.models.language_model import LanguageModel
from lib.text.tokenizer import CharTokenizer
from lib.train import estimate_loss, fit

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")


# %%
class AttentionThenFFN(nn.Module):
    def __init__(self, ffn):
        super().__init__()
        self.attention = MultiHeadAttention(d_model=64, n_heads=4)
        self.ffn = ffn

    def forward(self, x, mask):
        return self.ffn(self.attention(x, mask)[0])


# %% [markdown]
# We will train it with several networks in the middle, so the training gets a function
# that makes one. Batches are 32 windows of 32 characters, the learning rate is 0.01.


# %%
def train_with(make_ffn, n_steps, seed):
    torch.manual_seed(seed)
    model = LanguageModel(V, 64, 32, [AttentionThenFFN(make_ffn())])
    generator = torch.Generator().manual_seed(seed)
    fit(model, lambda: random_batch(train, 32, 32, generator), n_steps, 0.01)
    return model


# %% tags=["corpus", "measured"]
import time

from lib.checks.claims import claim

train_with(nn.Identity, 1, seed=0)  # PyTorch loads its optimisers at their first use
start = time.process_time()
model = train_with(lambda: FeedForward(64, 256), 600, seed=0)
seconds = time.process_time() - start
model_loss = estimate_loss(model, validation, context_length=32)
print(f"{n_parameters(model):,} parameters, validation {model_loss:.3f} nats")
assert n_parameters(model) == 60_161
claim(model_loss < 2.25, "a network after the attention lowers the loss")

# %% [markdown]
# That is lower than the 2.28 nats of lesson [07](07_multi_head_attention.ipynb), after as
# many steps, but at another learning rate. Is it thanks to the feed-forward network, and
# thanks to its bend? The experiment below will tell. First the checks, then a look inside
# this model.
# <!-- from: 07_multi_head_attention#experiment-one-head-or-four "the mean of three seeds" -->

# %% [markdown]
# ## Check
#
# ### Equal to PyTorch's own
#
# `nn.Sequential` runs modules one after the other. Give it the same weights
# (`state_dict` are the parameters of a module by name), and compare outputs and
# gradients.

# %%
torch.manual_seed(0)
ours, x = FeedForward(16, 40), torch.randn(2, 5, 16)
torchs = nn.Sequential(nn.Linear(16, 40), nn.GELU(), nn.Linear(40, 16))
torchs[0].load_state_dict(ours.up.state_dict())
torchs[2].load_state_dict(ours.down.state_dict())
assert torch.allclose(ours(x), torchs(x), atol=1e-6)
for network in (ours, torchs):
    network(x).square().sum().backward()
for p, q in zip(ours.parameters(), torchs.parameters()):
    assert torch.allclose(p.grad, q.grad, atol=1e-5)
print("outputs and gradients equal those of nn.Sequential")

# %% [markdown]
# PyTorch has no SwiGLU. The library has both, with the same parts under the same names; it
# refuses wrong sizes and shapes with an error that names them.

# %% tags=["same:ffn.FeedForward", "same:ffn.SwiGLU", "proof"]
from lib import ffn as library

for kind, library_kind in (
    (FeedForward, library.FeedForward),
    (SwiGLU, library.SwiGLU),
):
    ours, theirs = kind(16, 40), library_kind(16, 40)
    theirs.load_state_dict(ours.state_dict())
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
print("outputs equal those of the library")

# %% [markdown]
# ### Two formulas for one GELU
#
# Real models disagree about the GELU: GPT-2 uses a shorter formula with a hyperbolic
# tangent, made when `erf` was slow. How far apart are the two?

# %%
gap = (F.gelu(z) - F.gelu(z, approximate="tanh")).abs().max()
print(f"largest difference between -4 and 4: {gap:.4f}")
assert 1e-4 < gap < 1e-3

# %% [markdown]
# At most 0.0005: too little to hurt a model, and too much for a test that compares to six
# digits. When you load someone's weights, use their formula.
#
# ### The classic bug: an unfair comparison
#
# Nothing crashes here, and no shape is wrong. You read that SwiGLU is better, you put
# it in place of your feed-forward network, you leave `d_ff` as it is, and the loss
# falls. Was it the gate? Or was it half as many parameters again? You cannot know. So
# let a function refuse the question when it is not fair.


# %%
def refuse_unfair(first, second, tolerance=0.01):
    counts = [n_parameters(first), n_parameters(second)]
    if max(counts) > (1 + tolerance) * min(counts):
        raise ValueError(f"unfair: {counts[0]:,} against {counts[1]:,} parameters")


refuse_unfair(FeedForward(64, 256), SwiGLU(64, 171))
print("d_ff 171: fair")
try:
    refuse_unfair(FeedForward(64, 256), SwiGLU(64, 256))
except ValueError as error:
    print("d_ff 256:", error)
else:
    raise AssertionError("an unfair comparison went through")

# %% [markdown]
# Equal parameters are one way to be fair. Equal training time is another. Say which one
# you mean, and hold it.

# %% [markdown]
# ## Look
#
# ### When is a unit on?
#
# The trained model has 256 units. Feed it windows of the validation text, and keep two
# numbers per unit and position: its input $z$, before the bend, and its activation, after
# it. The steps are those of the model, one by one. The first position of each window is
# left out, because it has no character before it.
# <!-- from: attention-then-feed-forward "FeedForward(64, 256)" -->

# %% tags=["corpus", "measured"]
from lib.attention import causal_mask

ids = validation[: 1024 * 32].view(-1, 32)  # 1,024 windows
block = model.blocks[0]
with torch.no_grad():
    vectors = model.positions(model.tokens(ids))
    gathered = block.attention(vectors, causal_mask(32))[0]
    z = block.ffn.up(gathered)[:, 1:].flatten(0, 1)  # (B * (T - 1), F)
activation = F.gelu(z)
before, now = ids[:, :-1].flatten(), ids[:, 1:].flatten()
print(f"{len(z):,} positions; at each, {(z > 0).float().mean():.1%} of units are on")
claim((z > 0).float().mean() < 0.2, "most units are off at any moment")

# %% [markdown]
# A unit is *on* where its input is above 0. At any moment hardly one in ten is: most
# units wait for something. For what?
#
# Here is a measure. Sort the positions into groups, for example by the character that
# stands there. If a unit does the same within each group, the group explains the unit.
# The measure is the share of the unit's variance that disappears when each group's mean
# is subtracted: 1 where the group says everything, 0 where it says nothing.
# (`index_add` adds each row to the sum of its group.)


# %%
def explain(groups, values):
    sizes = groups.bincount().clamp(min=1).unsqueeze(-1)
    sums = torch.zeros(len(sizes), values.size(1)).index_add(0, groups, values)
    means = sums / sizes  # (groups, F)
    rest = values - means[groups]
    return 1 - rest.var(dim=0) / values.var(dim=0), means


# %% [markdown]
# Which units listen to the current character alone? Take the eight that it explains
# best, and draw how active each is, in the mean, at the most frequent characters.

# %% mystnb={"image": {"alt": "Heat map of eight units against twenty-five frequent characters. In each row some cells are blue, at one character or at several, and most are white."}} tags=["corpus", "measured:wide"]
by_now, mean_activation = explain(now, activation)
best = by_now.argsort(descending=True)[:8]
frequent = now.bincount(minlength=V).argsort(descending=True)[:25].sort().values
labels = plot.visible([tokenizer.characters[i] for i in frequent])
print("explained:", [f"{share:.2f}" for share in by_now[best].tolist()])
claim(by_now[best].min() > 0.6, "these units listen to the current character")
rows = [str(unit) for unit in best.tolist()]
matrix = mean_activation[frequent][:, best].T.clamp(min=0)  # (8, 25)
silent = matrix.median(dim=1).values < 0.2 * matrix.amax(dim=1)
claim(silent.sum() > 4, "most are nearly silent at half of the characters or more")
axes = "current character", "unit"
plot.heat_map(matrix, rows, labels, *axes, size=(8.6, 3.2), label="mean activation")

# %% [markdown]
# *Most of these units are nearly silent at half of the characters or more. Some wait
# for one or two characters, others for a whole family of letters.*
#
# These are the eight that the current character explains best. What does the median
# unit listen to? Try the character before as well, and then both, in two ways. As a
# *sum*: some number for the current character plus some number for the one before, the
# best such numbers that there are. And as a *pair*: any number for each pair of
# characters. What a unit does beyond the sum is what it makes of the two *together*.
#
# (To find the best sum, take away the means of one kind of group, then of the other,
# and again, until nothing changes.)


# %%
pair = before * V + now  # one number per pair, as in lesson 02


def explain_sum(values, rounds=8):
    rest = values - values.mean(dim=0)
    for _ in range(rounds):
        for groups in (now, before):
            rest = rest - explain(groups, rest)[1][groups]
    return 1 - rest.var(dim=0) / values.var(dim=0)


# %% tags=["corpus", "measured:wide"]
medians = {}
for name, values in (("before the bend", z), ("after the bend", activation)):
    shares = [explain(groups, values)[0] for groups in (now, before)]
    shares += [explain_sum(values), explain(pair, values)[0]]
    medians[name] = [share.median().item() for share in shares]
    parts = zip(("now", "before", "sum", "pair"), medians[name])
    print(f"{name:15}", *(f"{part} {median:.2f}" for part, median in parts), sep="  ")
(*_, sum_in, pair_in), (*_, sum_out, pair_out) = medians.values()
claim(pair_in - sum_in < 0.1, "before the bend the pair says little more than a sum")
claim(pair_out - sum_out > 0.2, "after the bend it says much more")

# %% [markdown]
# This table is the lesson in eight numbers. *Before* the bend the best sum explains
# nearly as much of the median unit as the pair does: two facts next to each other.
# *After* the bend the sum explains much less than the pair. The rest is what the units
# do with the two characters together, and the bend has made it. (The attention weights
# depend on the characters, too; that is why the two are not exactly equal before the
# bend.)
#
# ### Units that say "and"
#
# Take a unit and a pair of characters, and look at four corners, as by hand: both
# characters are there; only the second; only the first; neither. The mean over all
# positions of each kind gives four numbers, once for the input of the unit and once for
# its activation.


# %%
def corner_means(values):
    """Means over positions with both characters, only now, only before, or none."""
    n = pair.bincount(minlength=V * V).view(V, V, 1)
    sums = torch.zeros(V * V, 256).index_add(0, pair, values).view(V, V, 256)
    n_now, n_before = n.sum(dim=0), n.sum(dim=1, keepdim=True)
    of_now, of_before = sums.sum(dim=0), sums.sum(dim=1, keepdim=True)
    both, only_now = sums / n, (of_now - sums) / (n_now - n)
    only_before = (of_before - sums) / (n_before - n)
    neither = sums.sum((0, 1)) - of_now - of_before + sums
    return both, only_now, only_before, neither / (n.sum() - n_now - n_before + n)


def surplus(both, only_now, only_before, neither):
    return both + neither - only_now - only_before


# %% [markdown]
# The *surplus* is what opposite corners differ by: 0 for a layer that only adds the two
# facts, 1 for a perfect "and". For each unit, search all pairs that occur a hundred
# times or more, for the largest surplus after the bend that was not there before it.
# Keep the eight units that gain most. (This picks the best of very many units and pairs:
# it shows what is there, not what is usual.)

# %%
corners_in, corners_out = corner_means(z), corner_means(activation)
gained = surplus(*corners_out) - surplus(*corners_in).abs()
n_pairs = pair.bincount(minlength=V * V).view(V, V)
gained[n_pairs < 100] = -torch.inf
gained = gained.nan_to_num(-torch.inf)  # where a corner is empty: 0 / 0
gain, best_pair = gained.flatten(0, 1).max(dim=0)  # for each unit, (F,)
units = gain.argsort(descending=True)[:8]
first_ids, second_ids = best_pair[units] // V, best_pair[units] % V
eight = list(zip(first_ids.tolist(), second_ids.tolist(), units.tolist()))

# %% [markdown]
# In the mean over these eight, as shares of what both characters give: what neither of
# them gives, and the surplus.

# %% tags=["corpus", "measured:wide"]
found = {}
for name, four in (("before the bend", corners_in), ("after the bend", corners_out)):
    means = torch.stack([mean[first_ids, second_ids, units].mean() for mean in four])
    found[name] = (means / means[0]).tolist()
    print(f"{name:15}  neither {found[name][3]:5.2f}", end="  ")
    print(f"surplus {surplus(*found[name]):.2f}")
before_bend, after_bend = found.values()
claim(abs(surplus(*before_bend)) < 0.35, "before the bend opposite corners balance")
claim(surplus(*after_bend) > 0.5, "after the bend they do not")
claim(max(after_bend[1:]) < 0.4, "after the bend both together stand out")

# %% [markdown]
# Compare the two lines. *Before* the bend the opposite corners nearly balance: with
# neither character the input is about as far below zero as it is above zero with both,
# and each of the two lifts it half of the way. *After* the bend only "both" is left
# standing. That is $a + b - 1$ and the cut, with other numbers. Nobody asked for it.
#
# Here is the unit that gains most. (When this page was made it was the thought from the
# beginning of this lesson: a full stop, then a new line. On another machine or with
# another seed another pair may win.)

# %% tags=["corpus", "sample"]
*first_pair, first_unit = eight[0]
print(f"a unit, number {first_unit}, for the pair {tokenizer.decode(first_pair)!r}")

# %% [markdown]
# ### What a unit says
#
# Remember the sum over units: each adds its column $u_i$, times its activation. In this
# model nothing but the head comes after, which is linear too. So every unit has a fixed
# *vote* for each character, $W_\text{head}\, u_i$, and the logits are the sum of all
# votes times activations, plus a constant.

# %%
votes = (model.head.weight @ block.ffn.down.weight).detach()  # (V, F)
constant = model.head.weight @ block.ffn.down.bias + model.head.bias
with torch.no_grad():
    logits = model(ids)[:, 1:].flatten(0, 1)
assert torch.allclose(activation @ votes.T + constant, logits, atol=1e-3)
print("the votes, and the constant, add up to the logits")

# %% [markdown]
# Here is what our unit votes for. (`common` leaves out the rarest characters, whose rows
# of the head have hardly been trained.)

# %% tags=["corpus", "sample"]
common = train.bincount(minlength=V).argsort(descending=True)[:40]


def voted_for(unit, n=4):
    top = common[votes[common, unit].argsort(descending=True)[:n]]
    return plot.visible([tokenizer.characters[i] for i in top])


print("it votes for", *voted_for(first_unit))

# %% [markdown]
# And here is what it hears when it is loudest, and which character came next.

# %% tags=["corpus", "sample"]
loud = activation[:, first_unit].argsort(descending=True)[:40:10]
following = validation[1 : 1024 * 32 + 1].view(-1, 32)[:, 1:].flatten()
for place in loud.tolist():
    window, position = divmod(place, 31)
    heard = tokenizer.decode(ids[window, max(0, position - 16) : position + 2])
    comes = tokenizer.decode(following[place : place + 1])
    print(f"{heard!r} -> {comes!r}")

# %% [markdown]
# Not each of these places need end in the pair: a unit may have several conditions for
# one conclusion. Do the votes fit what comes? For each of the eight units, take its vote
# for the character that came, after its pair and elsewhere.

# %% tags=["corpus", "measured:wide"]
fits = []
for first, second, unit in eight:
    here = (before == first) & (now == second)
    vote = votes[following, unit]  # for the character that came
    fits.append([vote[here].mean().item(), vote[~here].mean().item()])
after_pair, elsewhere = torch.tensor(fits).mean(dim=0)
print(f"votes for what came: {after_pair:.2f}, elsewhere {elsewhere:.2f}")
claim(after_pair > elsewhere + 0.1, "the units vote for what comes after their pair")

# %% [markdown]
# So a unit is a small rule: *when I hear this, I vote for that*. The matrix $W_1$ holds
# the conditions, $W_2$ the conclusions. Move the slider through the eight units. Not
# every vote makes sense alone: many units speak at once, and what counts is the sum.

# %% tags=["hide-input", "nbval-ignore-output"]
def loudest(unit):
    mean = corners_out[0][:, :, unit].masked_fill(n_pairs < 30, 0)
    values, places = mean.flatten().topk(8)
    ends = [(tokenizer.characters[p // V], tokenizer.characters[p % V]) for p in places]
    return {"".join(plot.visible(end)): v for end, v in zip(ends, values.tolist())}


def draw(unit):
    label = f"last two characters (the unit votes for {'  '.join(voted_for(unit))})"
    return plot.bar_chart(loudest(unit), label, "mean activation")


def describe(unit):
    first, second = list(loudest(unit))[:2]
    return (
        f"Unit {unit} is loudest after {first}, then after {second}. "
        f"It votes for {' '.join(voted_for(unit))}."
    )


slider(draw, units.tolist(), "unit", alt=describe)

# %% [markdown]
# *Each unit answers to a few pairs of characters, and has a few characters to propose.*

# %% [markdown]
# ## Experiment: what is the bend worth?
#
# Five models, equal but for what stands after the attention: no network at all
# (`nn.Identity` gives back what it gets); the network with its bend left out; ReLU;
# GELU; SwiGLU at equal parameters. 170 steps each, three seeds each, all judged on the
# same first part of the validation split.
# <!-- from: experiment-what-is-the-bend-worth "train_with(make_ffn" -->

# %%
variants = {
    "no network": nn.Identity,
    "no bend": lambda: FeedForward(64, 256, activation=nn.Identity()),
    "ReLU": lambda: FeedForward(64, 256, activation=F.relu),
    "GELU": lambda: FeedForward(64, 256),
    "SwiGLU": lambda: SwiGLU(64, 171),
}
for name in ("no bend", "ReLU", "SwiGLU"):
    refuse_unfair(variants["GELU"](), variants[name]())

# %% tags=["corpus", "measured"]
piece, losses, mean = validation[:32_768], {}, {}
for name, make_ffn in variants.items():
    runs = [train_with(make_ffn, 170, seed) for seed in (0, 1, 2)]
    losses[name] = [estimate_loss(run, piece, 32) for run in runs]
    mean[name] = sum(losses[name]) / 3
    print(f"{name:10}", *(f"{x:.3f}" for x in losses[name]), f" mean {mean[name]:.3f}")

# %% [markdown]
# Which of these differences would you believe? Let the seeds decide: a difference that
# every seed shows, or one that is larger than the spread of the seeds.

# %% tags=["corpus", "measured"]
for seed in range(3):
    better = losses["GELU"][seed] < losses["no bend"][seed]
    claim(better, "the GELU is better than no bend with every seed")
claim(mean["ReLU"] < mean["no bend"], "the ReLU is better than no bend, in the mean")
claim(mean["no bend"] > mean["no network"] - 0.02, "width without a bend gains nothing")
gains = [mean[other] - mean["GELU"] for other in ("no bend", "no network")]
print(f"GELU against no bend: {gains[0]:.2f} nats, against no network: {gains[1]:.2f}")
claim(gains[0] > 0.06, "the GELU is worth more than the spread of the seeds")
claim(gains[1] > 0.03, "it is better than no network, by less")

# %% [markdown]
# - **The bend pays.** With the GELU the loss is below that of the network without a bend
#   for every seed, with the ReLU it is below in the mean. The number of parameters is the
#   same. Against no network at all the gain is smaller.
# - **Width alone does not.** The network without a bend has more than twice the
#   parameters of the model without a network, and its mean is no better.
# - **ReLU, GELU, SwiGLU: this run cannot say.** Their rows lie close together, and the
#   training is short, at one learning rate: SwiGLU may only be slower at this rate. In
#   larger models it came out ahead ([Shazeer 2020](../book/bibliography.md#shazeer-2020)).
#   Lesson 19 tries it again, in real blocks.
#
# The longer run from above is the next rung of the [ladder](../book/ladder.md).

# %% tags=["corpus", "sample"]
from lib.generate import sample
from lib.show.ladder import rung

prompt, generator = torch.tensor([tokenizer.encode("\n")]), torch.Generator()
text = tokenizer.decode(
    sample(model, prompt, 160, 1.0, generator.manual_seed(1))[0, 1:]
)
name = "Four heads and feed-forward"
rung(name, n_parameters(model), model_loss, seconds, sample=text)

# %% [markdown]
# It is not English yet, but the layout of a play is there: short lines that begin with
# capitals, empty lines, and a name with a colon.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You set all 32 biases of the first layer to -100, with a ReLU. What does the network give?</summary>
#
# $b_2$, at every position, for any ordinary input. No unit is ever on, so only the last
# bias is left. And since the slope is 0 too, they get no gradient: these units are dead.
#
# </details>
#
# <details><summary>You take the SiLU out of SwiGLU and keep the product of gate and value. Is the network linear now?</summary>
#
# No. Twice the input gives *four* times the output, because gate and value both double. A
# product of two linear things is a bend of its own.
#
# </details>
#
# <details><summary>You silence one of the eight units of the trained model. What happens to the surprise at each place?</summary>
#
# Almost nothing in most places. After the unit's own pair it changes more than ten times
# as much. Much of what the model does at such a place sits in this one unit.
#
# </details>

# %%
numb, x = FeedForward(8, 32, activation=F.relu), torch.randn(5, 8)
nn.init.constant_(numb.up.bias, -100)  # fills it in place
assert torch.allclose(numb(x), numb.down.bias.expand(5, 8))
print("every unit off: the output is the last bias")

part = SwiGLU(8, 32)
product, of_double = (part.down(part.gate(y) * part.up(y)) for y in (x, 2 * x))
assert torch.allclose(of_double, 4 * product, atol=1e-5)
print("gate times value: twice the input, four times the output")

# %% [markdown]
# And the silenced unit: its column of $W_2$ becomes 0 in a copy of the model. Each of
# the eight gets its turn. (`reduction="none"` keeps the surprise of each position
# instead of the mean.)


# %%
@torch.no_grad()
def surprise(model):
    logits = model(ids)[:, 1:].flatten(0, 1)
    return F.cross_entropy(logits, following, reduction="none")


# %% tags=["corpus", "measured:wide"]
from copy import deepcopy

normal, changes = surprise(model), []
for first, second, unit in eight:
    silenced = deepcopy(model)
    silenced.blocks[0].ffn.down.weight.data[:, unit] = 0
    change = (surprise(silenced) - normal).abs()
    here = (before == first) & (now == second)
    changes.append([change[here].mean().item(), change[~here].mean().item()])
after_pair, elsewhere = torch.tensor(changes).mean(dim=0)
print(f"the surprise changes by {after_pair:.2f} nats after the pair of the unit")
print(f"and by {elsewhere:.3f} nats elsewhere")
claim(after_pair > 10 * elsewhere, "a unit matters after its pair, hardly elsewhere")

# %% [markdown]
# ## Exercises

# %%
from lib.checks.lesson_08 import (
    check_dead_units,
    check_equal_d_ff,
    check_tent_weights,
    check_who_decides,
)

# %% [markdown]
# ### Exercise 1: A fair SwiGLU
#
# *warm-up · 10 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-1-a-fair-swiglu)
#
# Two thirds of `d_ff` is close, not exact: a `FeedForward` has biases and a `SwiGLU`
# has none. Write a function that takes the sizes of a `FeedForward` and returns the
# `d_ff` (an integer) with which a `SwiGLU` of the same `d_model` comes nearest to its
# number of parameters.
#
# <details><summary>Hint</summary>
#
# Write down both counts, set them equal, solve for the `d_ff` of the SwiGLU. Then round
# to the nearest integer.
#
# </details>


# %%
def equal_d_ff(d_model, d_ff):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_equal_d_ff(equal_d_ff)

# %% [markdown]
# ### Exercise 2: Pitch a tent
#
# *core · 20 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-2-pitch-a-tent)
#
# A network of ReLU units reads one number $x$ and gives one number: $f(x) = d + \sum_i
# c_i \max(0, a_i x + b_i)$. Choose the weights so that $f$ is a tent: 1 at `centre`,
# falling in straight lines to 0 at `centre - width` and `centre + width`, and 0
# everywhere outside. Return four things, `a, b, c, d`: three lists with one number per
# unit, and a number. Use as many units as you like. `centre` is any number, `width` is
# above 0.
#
# <details><summary>Hint</summary>
#
# Walk from left to right. A unit that switches on at the place $p$ is $\max(0, x - p)$;
# from there on it changes the slope by its $c$. At which places does the slope of a
# tent change, and by how much?
#
# </details>


# %%
def tent_weights(centre, width):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_tent_weights(tent_weights)

# %% [markdown]
# ### Exercise 3: Count the dead
#
# *core · 15 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-3-count-the-dead)
#
# A ReLU unit is dead on some data if it is off, its input not above 0, at *every*
# position. Write a function that takes a `FeedForward` with ReLU and vectors `x` of
# shape `(..., D)` with any number of dimensions before the last, and returns how many
# of its units are dead on `x`, as an integer.
#
# <details><summary>Hint</summary>
#
# `ffn.up(x)` are the inputs of the units. Bring them to the shape `(N, F)` with
# `flatten` or `reshape`; then ask each column whether *all* of it is off.
#
# </details>


# %%
def dead_units(ffn, x):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_dead_units(dead_units)

# %% [markdown]
# ### Exercise 4: Who decides?
#
# *stretch · 30 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-4-who-decides)
#
# The model prefers token `a` to token `b`. Which units are responsible? Given a
# `FeedForward`, the head (an `nn.Linear` from `d_model` to `vocab_size`), vectors `x`
# `(..., D)` that go into the network, and two ids, return what each unit adds to the
# difference of the two logits, $z_a - z_b$, as a tensor `(..., F)`. The biases of
# `ffn.down` and of the head belong to no unit: leave them out. The activation is
# `ffn.activation`.
#
# <details><summary>Hint</summary>
#
# A unit's vote for `a` is row `a` of `head.weight` times its column of
# `ffn.down.weight`. What you need is the vote for `a` minus the vote for `b`, times how
# active the unit is.
#
# </details>


# %%
def who_decides(ffn, head, x, a, b):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_who_decides(who_decides)

# %% [markdown]
# ## Recap
#
# - You built the **feed-forward network**: widen, bend, bring back, at each position on
#   its own; and **SwiGLU**, where one half gates the other.
# - You saw that **without the bend** two layers are one: 33,088 parameters that can say
#   no more than 4,160. In training, the bend was worth more than the spread of the seeds.
#   <!-- from: without-the-bend-two-layers-are-one "two layers:" -->
# - You counted **where the parameters sit**: two thirds of each block. In the smallest
#   GPT-2 56,669,184 of 124,439,808. <!-- from: where-the-parameters-sit "feed-forward" -->
#   <!-- from: where-the-parameters-sit "124_439_808" -->
# - You saw units that learned **"and"** from text, and found their rule: what they wait
#   for, and what they vote for. Silence one, and the predictions change after its pair,
#   and hardly elsewhere.
# - You met a **bug that nothing reports**: comparing at unequal parameters.
#
# What is still wrong: this model gathers once and thinks once. To gather again with
# what it has understood, it needs more layers. But stack ten of these blocks and it
# learns next to nothing. Why, and what repairs it, is lesson 09.
#
# The library entries of what you built: [FeedForward and SwiGLU](../book/api.md#ffn).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, section 3.3: the feed-forward
#   network in six lines.
# - Hendrycks and Gimpel (2016), *Gaussian Error Linear Units*, section 2: where the
#   GELU comes from.
# - Shazeer (2020), *GLU Variants Improve Transformer*: a few pages, equal parameters,
#   and an honest last sentence.
# - Geva et al. (2021), *Transformer Feed-Forward Layers Are Key-Value Memories*,
#   sections 2 to 4: units with what they wait for and what they vote for, in a model of
#   real size.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
