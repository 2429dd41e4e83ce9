# %% [markdown]
# # 08 · Feed-forward networks
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/08_feed_forward.ipynb)
#
# You build the part of a Transformer that works on each position by itself. It holds twice as
# many parameters as attention, and is worth nothing without one small function in it.
#
# - **You will build** the feed-forward network, and its gated form, SwiGLU.
# - **You will see** what single neurons of a trained model respond to, and what that small
#   function is worth, with three seeds.
# - **Needs** lesson [07](07_multi_head_attention.ipynb).
# - **Takes** about 70 minutes without exercise 4; the notebook runs in under 60 s.

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
# In the training text an `e` follows `th` almost every second time, and `gh` hardly ever: .462 against
# .005. A model with four heads of attention, as in lesson [07](07_multi_head_attention.ipynb),
# sees both letters. Yet after a short training it still expects an `e` after `gh` far too
# often. Why? <!-- from: what-comes-after-gh -->
#
# Each value that a head hands over is a matrix times a vector, and all values are added up. So
# the `h` can vote for `e` and the `g` against it. But then the `g` votes against it after `gr`
# too, and `great` is a common word. As long as the shares that attention takes of the two letters do not
# depend on which letters they are, its output is such a sum, and what a sum cannot say is: a `g` **and** an `h`, so no `e`.

# %% [markdown]
# ## The machine
#
# New after attention: two layers as in lesson 04, *inside* each position.

# %% mystnb={"image": {"alt": "Diagram of the model so far: token and position vectors, attention with several heads, and the new part after it, a feed-forward network that widens and narrows the vector of each position by itself."}}
from lib.show import diagrams

diagrams.stream("feed_forward")

# %% [markdown]
# ## By hand
#
# ### A linear layer cannot say "and"
#
# Say a position knows two facts, each 1 for yes or 0 for no: $a$, the character before is a
# `g`; $b$, this one is an `h`. It wants a 1 where both hold and a 0 everywhere else. Try a
# linear layer, $f(a, b) = w_1 a + w_2 b + c$, with any weights. Compare the sums of opposite
# corners.

# %%
import torch

corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
for w1, w2, c in ((3, -2, 5), (1, 1, 0), (0.5, 0.5, -0.25)):
    f00, f01, f10, f11 = (w1 * a + w2 * b + c for a, b in corners.tolist())
    print(f"f(0,0) + f(1,1) = {f00 + f11:g},  f(0,1) + f(1,0) = {f01 + f10:g}")

# %% [markdown]
# Always equal: both are $w_1 + w_2 + 2c$. But "both" needs 0 + 1 on one side and 0 + 0 on the
# other. A linear layer can only add what each fact gives by itself.
#
# ### One cut is enough
#
# Draw the four corners as a square. One straight line separates "both" from the rest.

# %% mystnb={"image": {"alt": "Diagram: the four corners of a square for a and b. Only the corner where both are 1 says yes, and one straight line, a plus b equals 1.5, separates it from the other three."}}
diagrams.corners("and")

# %% [markdown]
# The line is $a + b = 1.5$. So subtract 1.5 from the sum, and set what is below zero to zero.
# This cut is the [ReLU](../book/glossary.md#relu), $\max(0, z)$; in PyTorch, `clamp(min=0)`.

# %%
for a, b in corners.tolist():
    z = torch.tensor(a + b - 1.5)
    print(f"a={a:.0f} b={b:.0f}: {z:4.1f}, after the cut {z.clamp(min=0):.1f}")

# %% [markdown]
# 0, 0, 0 and 0.5: twice that is "and".
#
# ### Two cuts, two answers
#
# What about "exactly one of the two", called XOR? No single line does it.

# %% mystnb={"image": {"alt": "Diagram: the same four corners. The two opposite corners where exactly one of a and b is 1 say yes; they lie between two parallel lines, a plus b equals 0.5 and a plus b equals 1.5."}}
diagrams.corners("xor")

# %% [markdown]
# Two lines do, so make two cuts side by side, at 0.5 and at 1.5. A second layer then mixes what
# they give: "both" is 2 times the second; "exactly one" is 2 times the first minus 6 times the
# second, so that (1, 1) gives 2 · 1.5 - 6 · 0.5 = 0. Here it is with matrices.

# %%
W1, b1 = torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([-0.5, -1.5])
W2 = torch.tensor([[0.0, 2.0], [2.0, -6.0]])
middle = (corners @ W1.T + b1).clamp(min=0)
answers = middle @ W2.T
for facts, inner, answer in zip(corners, middle, answers):
    print(f"facts {facts.tolist()} -> {inner.tolist()} -> {answer.tolist()}")

# %% [markdown]
# The last pair is (both, exactly one), and it is right in all four corners. A matrix, a cut, a
# matrix: that is a whole [feed-forward network](../book/glossary.md#feed-forward-network).

# %% [markdown]
# ## The formula
#
# The function that cuts, $\phi$, is called the [activation
# function](../book/glossary.md#activation-function), or the nonlinearity:
#
# $$\mathrm{FFN}(x) = W_2\, \phi(W_1 x + b_1) + b_2$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(D,)` | the vector of one position |
# | $W_1, b_1$ | `(F, D)`, `(F,)` | from `d_model` $= D$ numbers to `d_ff` $= F$ |
# | $\phi$ | | the activation function, applied to each number by itself |
# | $W_2, b_2$ | `(D, F)`, `(D,)` | back from $F$ numbers to $D$ |
#
# This is equation (2) in section 3.3 of Vaswani et al. (2017), who take the ReLU and $F = 4 D$.
# Four times as wide in the middle is still usual. ($x$ is one vector here, so matrices stand on its
# left; for rows of vectors it is $x W_1^\top$, as in lesson 04.)

# %% mystnb={"image": {"alt": "Diagram: at each of three positions a vector of D numbers becomes 4D numbers by W_1, the ReLU sets those below zero to zero, and W_2 makes D numbers again. All positions use the same weights."}}
diagrams.widen()

# %% [markdown]
# Now read it number by number. One of the $F$ numbers in the middle is a *neuron* (or
# [unit](../book/glossary.md#unit)). Row $i$ of $W_1$, call it $w_i$, is what neuron $i$ responds
# to; column $i$ of $W_2$, call it $u_i$, is what it adds to the output, times its *activation*
# $\phi(w_i \cdot x + b_{1,i})$:
#
# $$\mathrm{FFN}(x) = b_2 + \sum_{i=1}^{F} \phi(w_i \cdot x + b_{1,i})\, u_i$$

# %% [markdown]
# ## Build
#
# ### Without the nonlinearity, two layers are one
#
# Leave $\phi$ out, and $W_2 (W_1 x + b_1) + b_2 = (W_2 W_1)\, x + (W_2 b_1 + b_2)$: a single
# linear layer. Compare the two.

# %%
from torch import nn


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


torch.manual_seed(0)
x = torch.randn(5, 64)
up, down = nn.Linear(64, 256), nn.Linear(256, 64)
W, b = down.weight @ up.weight, down.weight @ up.bias + down.bias
print("the same:", torch.allclose(down(up(x)), x @ W.T + b, atol=1e-5))
two, one = n_parameters(up) + n_parameters(down), W.numel() + b.numel()
print(f"two layers: {two:,} parameters, one layer: {one:,}")

# %% [markdown]
# 33,088 parameters that cannot say more than 4,160. Width is worth something only with an
# activation function.
#
# ### Three activation functions
#
# Below zero the ReLU has the slope 0. So a neuron whose input is always below zero gets no
# gradient and stays silent: it is *dead*. Two smoother functions are more common today, the
# [GELU](../book/glossary.md#gelu) and the SiLU:
#
# $$\mathrm{GELU}(z) = z\, \Phi(z) \qquad \mathrm{SiLU}(z) = z\, \sigma(z)$$
#
# $\Phi(z)$ is the probability that a draw from the normal distribution lies below $z$, and
# $\sigma(z) = 1 / (1 + e^{-z})$. Both grow from 0 to 1. (`linspace` makes evenly spaced numbers;
# $\Phi(z) = (1 + \operatorname{erf}(z / \sqrt 2)) / 2$, and PyTorch has $\operatorname{erf}$. In calls `F` is
# `torch.nn.functional`, in shapes the width.)

# %% mystnb={"image": {"alt": "Three curves over z from -4 to 4. All are near zero on the left and rise like z on the right. ReLU has a corner at zero; GELU and SiLU dip slightly below zero first, SiLU deeper."}}
from torch.nn import functional as F

from lib.show import plot

z = torch.linspace(-4, 4, 161)
gelu = z * (1 + torch.erf(z / 2**0.5)) / 2
curves = {"ReLU": z.clamp(min=0), "GELU": gelu, "SiLU": z * torch.sigmoid(z)}
plot.line_chart(curves, "z", "activation", x=z)

# %% [markdown]
# *Three ways to cut, nearly silent far to the left and nearly a straight line on the right. The
# smooth ones dip below zero first, so their slope on the left is not 0 everywhere.*
#
# ### The module
#
# The formula as a class, with the GELU by default.


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
# Put the numbers found by hand into it. (`.data` are the numbers of a parameter.)

# %%
by_hand = FeedForward(2, 2, activation=F.relu)
by_hand.up.weight.data, by_hand.up.bias.data = W1, b1
by_hand.down.weight.data, by_hand.down.bias.data = W2, torch.zeros(2)
print(by_hand(corners).tolist())
assert torch.equal(by_hand(corners), answers)

# %% [markdown]
# ### Each position by itself
#
# A linear layer works on the last dimension, so `(B, T, D)` goes through position by position,
# with the same weights for all. Change one of six positions: where does the output change?

# %%
ffn = FeedForward(64, 256)
x = torch.randn(1, 6, 64)
changed = x.clone()
changed[0, 3] += 1
moved = (ffn(changed) - ffn(x)).abs().amax(dim=-1)  # the largest change, (1, 6)
print("the output changes at position", moved.nonzero()[:, 1].tolist())

# %% [markdown]
# Only there. **Attention moves information between positions; the feed-forward network works
# with it inside a position.** It cannot fetch anything. Attention's *weights* can respond to
# combinations, but with the weights fixed its output is linear in the values.
#
# ### A gate: SwiGLU
#
# Many of today's models have two linear layers side by side. One gives values, the other a
# *gate* for each value, which says how much of it comes through:
# [SwiGLU](../book/glossary.md#swiglu), equation (6) in [Shazeer
# 2020](../book/bibliography.md#shazeer-2020).
#
# $$\mathrm{SwiGLU}(x) = W_2\, (\mathrm{SiLU}(W_g x) \odot W_1 x)$$
#
# $\odot$ multiplies number by number. First a single value, 2, and its gate:

# %%
for gate in (-4.0, 0.0, 1.0, 4.0):
    opening = F.silu(torch.tensor(gate))
    print(f"gate {gate:4.1f}: SiLU {opening:5.2f}, 2 becomes {opening * 2:.2f}")

# %% [markdown]
# The gate is nearly shut far below zero, and opens wider and wider above, even beyond 1. The class
# has three matrices and no biases.


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
# Three matrices make $3 D F$ weights. To have as many as before, the middle must be narrower:
# from $3 D F' = 2 D F$ follows $F' = \frac{2}{3} F$.

# %%
for part in (FeedForward(64, 256), SwiGLU(64, 256), SwiGLU(64, 171)):
    name, d_ff = type(part).__name__, part.up.out_features
    print(f"{name:11} d_ff {d_ff}: {n_parameters(part):,} parameters")

# %% [markdown]
# With `d_ff` 171 it is within one percent of the other. With 256 it has one and a half times as many.
#
# ### Where the parameters sit
#
# Attention has four matrices of $D \cdot D$, a feed-forward network with $F = 4 D$ has two of
# $D \cdot 4D$: $4 D^2$ against $8 D^2$. Count, with biases:

# %%
from lib.attention import MultiHeadAttention

attention = n_parameters(MultiHeadAttention(d_model=64, n_heads=4))
feed_forward = n_parameters(FeedForward(d_model=64, d_ff=256))
share = feed_forward / (attention + feed_forward)
print(f"{attention:,} + {feed_forward:,}, share {share:.1%}")

# %% [markdown]
# Two thirds. (*Deeper* counts a whole GPT-2.)
#
# ### Attention, then feed-forward
#
# Now a model, in the frame of lesson [06](06_attention.ipynb).

# %% tags=["corpus", "hide-input"]
# @title The text
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
class AttentionThenFFN(nn.Module):
    def __init__(self, ffn):
        super().__init__()
        self.attention = MultiHeadAttention(d_model=64, n_heads=4)
        self.ffn = ffn

    def forward(self, x, mask):
        return self.ffn(self.attention(x, mask)[0])  # [1] would be the weights


# %% [markdown]
# The context is 16 characters, half of
# lesson 07's, because this lesson trains many models.

# %%
from lib.models.language_model import LanguageModel
from lib.train import estimate_loss, fit


def train_with(make_ffn, n_steps, seed):
    torch.manual_seed(seed)
    block = AttentionThenFFN(make_ffn())
    model = LanguageModel(V, d_model=64, context_length=16, blocks=[block])
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: random_batch(train, 32, 16, generator)
    fit(model, next_batch, n_steps=n_steps, learning_rate=3e-3)
    return model


# %% tags=["corpus", "measured"]
import time

from lib.checks.claims import claim

start = time.process_time()
model = train_with(lambda: FeedForward(64, 256), n_steps=1_000, seed=0)
seconds = time.process_time() - start
model_loss = estimate_loss(model, validation, 16)
print(f"{n_parameters(model):,} parameters, validation {model_loss:.3f} nats")
claim(model_loss < 2.2, "the model with a feed-forward network gets below 2.2 nats")

# %% [markdown]
# What is the nonlinearity worth? First look inside.

# %% [markdown]
# ## Check
#
# `FeedForward` equals PyTorch's own modules in sequence, outputs and gradients. The library's
# classes compute the same as ours, and refuse sizes that do not fit.

# %% tags=["proof"]
# @title Proof: outputs and gradients equal those of PyTorch's own modules
ours, x = FeedForward(16, 40), torch.randn(2, 5, 16)
torchs = nn.Sequential(nn.Linear(16, 40), nn.GELU(), nn.Linear(40, 16))
torchs[0].load_state_dict(ours.up.state_dict())
torchs[2].load_state_dict(ours.down.state_dict())
assert torch.allclose(ours(x), torchs(x), atol=1e-6)
for network in (ours, torchs):
    network(x).square().sum().backward()
for p, q in zip(ours.parameters(), torchs.parameters(), strict=True):
    assert torch.allclose(p.grad, q.grad, atol=1e-5)
for name, function in (("ReLU", F.relu), ("GELU", F.gelu), ("SiLU", F.silu)):
    assert torch.allclose(curves[name], function(z), atol=1e-6)
print("outputs and gradients equal those of nn.Sequential")

# %% tags=["same:ffn.FeedForward", "same:ffn.SwiGLU", "proof"]
# @title Proof: ours equal the library's
from lib import ffn as library

kinds = (FeedForward, library.FeedForward), (SwiGLU, library.SwiGLU)
for our_kind, library_kind in kinds:
    ours, theirs = our_kind(16, 40), library_kind(16, 40)
    theirs.load_state_dict(ours.state_dict())
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
print("same weights, same outputs")

# %% [markdown]
# ### The classic bug: comparing at unequal parameter counts
#
# You read that SwiGLU is better, put it in place of your feed-forward network, leave `d_ff` as it
# is, and the loss falls. No shape is wrong. But was it the gate, or was it one and a half
# times as many parameters? So compare the counts first.


# %%
def is_fair(first, second, tolerance=0.01):
    counts = sorted([n_parameters(first), n_parameters(second)])
    return counts[1] <= (1 + tolerance) * counts[0]


for d_ff in (256, 171):
    fair = is_fair(FeedForward(64, 256), SwiGLU(64, d_ff))
    print(f"FeedForward d_ff 256, SwiGLU d_ff {d_ff}: fair is {fair}")

# %% [markdown]
# "A network against none" is unfair too. So the experiment needs a control: all the parameters,
# no nonlinearity.

# %% [markdown]
# ## Look
#
# ### What a neuron responds to
#
# Let the trained model read validation text, and keep the inputs $z$ of its 256 neurons, before
# the GELU. (The first position of a window has no character before it, and is left out.)
# <!-- from: attention-then-feed-forward "FeedForward(64, 256)" -->

# %% tags=["corpus", "measured"]
from lib.attention import causal_mask

ids = validation[: 2_048 * 16].view(-1, 16)
before, now = ids[:, :-1].flatten(), ids[:, 1:].flatten()


@torch.no_grad()
def neuron_inputs(model):
    block, x = model.blocks[0], model.positions(model.tokens(ids))
    gathered, _ = block.attention(x, causal_mask(16))
    return block.ffn.up(gathered)[:, 1:].flatten(0, 1)  # (N, F)


z = neuron_inputs(model)
print(f"{len(z):,} positions; the input is above 0 at {(z > 0).float().mean():.1%}")
claim((z > 0).float().mean() < 0.35, "most neurons are silent at most positions")

# %% [markdown]
# On average four fifths of the neurons are nearly silent. Do they wait for a *combination*?
# Measure four corners, as by hand: a neuron's means over the positions where neither of two facts
# holds, only the first, only the second, both. The **interaction** is how much the sums of
# opposite corners differ, as a share of "both" minus "neither": 0 where the facts only add up, 1
# for a pure "and".


# %%
def corner_means(values, first, second):
    cases = ~first & ~second, first & ~second, ~first & second, first & second
    return [values[case].mean().item() for case in cases]


def interaction(means):
    neither, only_first, only_second, both = means
    return (both + neither - only_first - only_second) / (both - neither)


# %% [markdown]
# Try it on the "and" from above, at six positions:

# %%
a = torch.tensor([True, True, False, False, True, False])
b = torch.tensor([True, False, True, False, True, False])
summed = a.float() + b.float() - 1.5
for name, values in (("before", summed), ("after", summed.clamp(min=0))):
    means = corner_means(values, a, b)
    print(f"{name} the cut: {means}, interaction {interaction(means):.2f}")

# %% [markdown]
# Now the trained neurons. The two facts are the character before and the current one, for the
# pair where the neuron is most active on average (of those that occur at least 100 times). `index_add`
# adds each row to the sum of its group.


# %%
pair = before * V + now  # one number per pair of characters
n_pairs = pair.bincount(minlength=V * V).unsqueeze(1)


def pair_means(values):  # (N, F) -> (V * V, F)
    sums = torch.zeros(V * V, values.size(1)).index_add(0, pair, values)
    return sums / n_pairs.clamp(min=1)


def best_pairs(z):
    means = pair_means(F.gelu(z)).masked_fill(n_pairs < 100, -torch.inf)
    return [divmod(best, V) for best in means.argmax(dim=0).tolist()]


# %% [markdown]
# For each neuron, the four corners before and after the GELU. The control is an untrained model.
# (`unbind` splits a tensor along a dimension.)


# %%
def all_corners(z):
    found = []
    for neuron, (first, second) in enumerate(best_pairs(z)):
        facts, inputs = (before == first, now == second), z[:, neuron]
        found.append([corner_means(v, *facts) for v in (inputs, F.gelu(inputs))])
    return torch.tensor(found)  # (F, 2, 4)


# %% tags=["corpus", "measured:wide"]
untrained = train_with(lambda: FeedForward(64, 256), n_steps=0, seed=0)
medians = {}
for name, inputs in (("untrained", neuron_inputs(untrained)), ("trained", z)):
    four = all_corners(inputs)
    by_neuron = interaction(four.unbind(dim=-1))  # (F, 2)
    medians[name] = by_neuron.median(dim=0).values.tolist()
    print(f"{name:9} before {medians[name][0]:.2f}, after {medians[name][1]:.2f}")
first, last = medians["trained"]
claim(first < 0.25, "before the GELU the median neuron adds up")
claim(last > first + 0.2, "after it, the median neuron responds to the pair")
claim(medians["untrained"][1] < last - 0.15, "an untrained neuron does so less")

# %% [markdown]
# *Before* the GELU the median neuron nearly adds one fact to the other (the rest of the window differs,
# too); *after* it, a large part is what the two do together. In the untrained model it is little: the GELU lets a neuron say "and",
# training makes use of it.
#
# Here is the neuron with the largest difference of corner sums, the best of 256 neurons, each at its
# best pair: an extreme case, not a typical one.

# %% tags=["corpus", "sample"]
neither, only_first, only_second, both = four[:, 1].unbind(dim=-1)  # the trained
ranked = (both + neither - only_first - only_second).argsort(descending=True)
neuron, pairs = ranked[0].item(), best_pairs(z)
print(f"neuron {neuron}, pair {tokenizer.decode(pairs[neuron])!r}")
print("means: neither, only first, only second, both")
for name, means in zip(("before", "after"), four[neuron].tolist()):
    print(f"{name:6} the GELU:", [round(mean, 2) for mean in means])

# %% [markdown]
# Its means for other pairs:

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider

frequent = now.bincount(minlength=V).argsort(descending=True)[:15].tolist()
shown = sorted({*frequent, *pairs[neuron]})
labels = plot.visible([tokenizer.characters[i] for i in shown])
tables = {
    "before": pair_means(z[:, [neuron]]).view(V, V)[shown][:, shown],
    "after": pair_means(F.gelu(z[:, [neuron]])).view(V, V)[shown][:, shown],
}


def draw(when):
    axes = "current character", "character before"
    return plot.heat_map(
        tables[when], labels, labels, *axes, size=(6.4, 5.6), label="mean"
    )


def describe(when):
    first, second = plot.visible(tokenizer.decode(pairs[neuron]))
    mean = tables[when][shown.index(pairs[neuron][0]), shown.index(pairs[neuron][1])]
    share = (tables[when].abs() > mean / 10).float().mean()
    return (
        f"Heat map of neuron {neuron}, {when} the GELU. For the pair {first}{second} "
        f"its mean is {mean:.1f}; {share:.0%} of the cells are at least a tenth of "
        "that from 0."
    )


slider(draw, ["before", "after"], "the GELU", alt=describe)

# %% [markdown]
# *Before the GELU most cells are far from 0, and most of these below it (red). After it little is
# left but the pair and a few others. Pairs that do not occur are white.*
#
# The neuron asks for a pair, as the one by hand did. *Deeper* silences it, and counts its votes.

# %% [markdown]
# ## Experiment: what is the nonlinearity worth?
#
# What comes after the attention? Nothing (`nn.Identity` returns what it gets); a network without an
# activation function, the control; or one with ReLU, GELU or SwiGLU. The last four have about
# equal parameter counts. 300 steps, three seeds, judged on the first part of the validation split.
# <!-- from: experiment-what-is-the-nonlinearity-worth "n_steps=300" -->

# %%
variants = {
    "nothing": nn.Identity,
    "no activation": lambda: FeedForward(64, 256, activation=nn.Identity()),
    "ReLU": lambda: FeedForward(64, 256, activation=F.relu),
    "GELU": lambda: FeedForward(64, 256),
    "SwiGLU": lambda: SwiGLU(64, 171),
}
for name in ("no activation", "ReLU", "SwiGLU"):
    assert is_fair(variants[name](), variants["GELU"]())

# %% tags=["corpus", "measured"]
piece, models, losses, mean = validation[:32_769], {}, {}, {}
for name, make_ffn in variants.items():
    models[name] = [train_with(make_ffn, n_steps=300, seed=s) for s in range(3)]
    losses[name] = [estimate_loss(run, piece, 16) for run in models[name]]
    mean[name] = sum(losses[name]) / 3
    each = ", ".join(f"{loss:.3f}" for loss in losses[name])
    print(f"{name:13} {each}; mean {mean[name]:.3f}")

# %% [markdown]
# Believe a difference if it has the same sign with every seed and exceeds the spread between seeds.

# %% tags=["corpus", "measured"]
for control, *others in zip(losses["no activation"], losses["GELU"], losses["ReLU"]):
    claim(control - max(others) > 0.02, "GELU and ReLU beat the control, each seed")
gain = mean["no activation"] - mean["GELU"]
print(f"the GELU is worth {gain:.2f} nats at equal parameters")
claim(gain > 0.06, "the GELU is worth more than 0.06 nats")
claim(mean["nothing"] - mean["no activation"] < 0.03, "width alone gains nothing")
claim(mean["nothing"] - mean["GELU"] > 0.04, "the GELU beats no network at all")

# %% [markdown]
# - **The nonlinearity pays**, at equal parameters, with every seed.
# - **Width alone does not.** The control has 33,088 parameters more than nothing at all, and
#   loses with one seed. <!-- from: without-the-nonlinearity-two-layers-are-one -->
# - **ReLU, GELU, SwiGLU: this run cannot say.** They differ by less than the seeds, the
#   training is short, at one learning rate. In larger models SwiGLU came out ahead ([Shazeer
#   2020](../book/bibliography.md#shazeer-2020)). Lesson 19 compares them in real blocks.

# %% [markdown]
# ### What comes after gh
#
# Back to the question. Take the probability of an `e`, averaged over all places where `gh` was
# just read, in the models with and without a nonlinearity.


# %%
@torch.no_grad()
def chance_of_e(model, text):
    first, second = tokenizer.encode(text)
    chance = model(ids).softmax(dim=-1)[:, 1:, tokenizer.ids["e"]].flatten()
    return chance[(before == first) & (now == second)].mean().item()


def mean_chance(names, text):
    chances = [chance_of_e(run, text) for name in names for run in models[name]]
    return sum(chances) / len(chances)


# %% tags=["corpus", "measured:wide"]
for text in ("th", "gh"):
    first, second = tokenizer.encode(text)
    after = train[2:][(train[:-2] == first) & (train[1:-1] == second)]
    share = (after == tokenizer.ids["e"]).float().mean()
    linear = mean_chance(["nothing", "no activation"], text)
    nonlinear = mean_chance(["ReLU", "GELU", "SwiGLU"], text)
    said = f"models {linear:.2f} and {nonlinear:.2f}"
    print(f"e after {text}: training text {share:.3f}, {said}")
claim(nonlinear < 0.8 * linear, "with a nonlinearity it is unlearned sooner")

# %% [markdown]
# After `th` both kinds expect an `e` about equally. After `gh` the six models without a
# nonlinearity expect it clearly more often than the nine with one.
#
# Is it *impossible* without a nonlinearity? No: the `h` can learn to look for a `g`. Train the
# control for 1,000 steps, as long as the model from above.

# %% tags=["corpus", "measured:wide"]
longer = train_with(variants["no activation"], n_steps=1_000, seed=0)
longer_loss = estimate_loss(longer, validation, 16)
print(f"control: e after gh {chance_of_e(longer, 'gh'):.2f}, loss {longer_loss:.2f}")
print(f"GELU:    e after gh {chance_of_e(model, 'gh'):.2f}, loss {model_loss:.2f}")
claim(chance_of_e(longer, "gh") < 0.8 * linear, "attention alone learns it, too")
claim(longer_loss > model_loss + 0.05, "its loss stays behind")

# %% [markdown]
# Attention alone gets there, too. But `gh` is one exception of many, and the loss of the control,
# which counts them all, is clearly behind, at equal steps and parameters. The nonlinearity does
# not make the impossible possible: it makes exceptions cheap.
#
# The model with it is the next rung of the [ladder](../book/ladder.md).

# %% tags=["corpus", "sample", "hide-input"]
# @title The rung, and what the model writes
from lib.generate import sample
from lib.show.ladder import rung

prompt = torch.tensor([tokenizer.encode("\n")])
generator = torch.Generator().manual_seed(1)
text = tokenizer.decode(sample(model, prompt, 160, 1.0, generator)[0, 1:])
rung("Four heads and feed-forward", n_parameters(model), model_loss, seconds, text)

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You set all biases of the first layer to -100, with a ReLU. What does the network give?</summary>
#
# $b_2$, at every position, for any ordinary input. No neuron is ever above zero. And because
# the slope there is 0, the first layer gets no gradient: all neurons are dead.
#
# </details>
#
# <details><summary>You take the SiLU out of SwiGLU and keep the product of gate and value. Is the network linear now?</summary>
#
# No. Twice the input gives *four* times the output, because gate and value both double. A
# product of two linear functions is a nonlinearity of its own.
#
# </details>
#
# <details><summary>You multiply the first layer, weights and biases, by 10, and divide the weights of the second by 10. What changes with a ReLU, and what with a GELU?</summary>
#
# With the ReLU nothing: $\max(0, 10 z) = 10 \max(0, z)$. With the GELU the outputs change: it
# is now a function with a ten times smaller dip, closer to the ReLU.
#
# </details>

# %% tags=["answer"]
# @title Answers: all biases at -100, no SiLU
dead, x = FeedForward(8, 32, activation=F.relu), torch.randn(5, 8)
nn.init.constant_(dead.up.bias, -100)  # fills it in place
assert torch.allclose(dead(x), dead.down.bias.expand(5, 8))
print("every neuron silent: the output is the last bias")

part = SwiGLU(8, 32)
product, of_double = (part.down(part.gate(y) * part.up(y)) for y in (x, 2 * x))
assert torch.allclose(of_double, 4 * product, atol=1e-5)
print("gate times value: twice the input, four times the output")

# %% tags=["answer"]
# @title Answers, continued: times and divided by 10
for name, activation in (("ReLU", F.relu), ("GELU", F.gelu)):
    network = FeedForward(8, 32, activation)
    with torch.no_grad():
        y = network(x)
        for parameter in network.up.parameters():
            parameter.mul_(10)
        network.down.weight.div_(10)
        same = torch.allclose(network(x), y, atol=1e-5)
    assert same == (name == "ReLU")
    print(f"{name}, times 10 and divided by 10: the same is {same}")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_08 import (
    check_dead_units,
    check_equal_d_ff,
    check_tent_weights,
    check_who_decides,
)

# %% [markdown]
# ### Exercise 1: A fair SwiGLU
#
# *warm-up · 5 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-1-a-fair-swiglu)
#
# Two thirds of `d_ff` is close, not exact: a `FeedForward` has biases, a `SwiGLU` has none. Given
# the sizes of a `FeedForward`, return the `d_ff`, an `int`, with which a `SwiGLU` of the same
# `d_model` comes nearest to its number of parameters.
#
# <details><summary>Hint</summary>
#
# Write down both counts, set them equal, solve for the `d_ff` of the SwiGLU. Then round to the
# nearest integer.
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
# *core · 15 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-2-pitch-a-tent)
#
# "Exactly one" is 0, 1, 0 where $a + b$ is 0, 1, 2, as a tent would be. Pitch one anywhere: ReLU
# neurons read one number $x$ and give $f(x) = d + \sum_i c_i \max(0, a_i x + b_i)$. Choose weights
# such that $f$ is 1 at
# `centre`, falls in straight lines to 0 at `centre - width` and `centre + width`, and is 0
# outside. (Here `a` and `b` are weights, no longer facts.) Return `a, b, c, d`: three lists with one number for each neuron, as many as you like,
# and a number. `centre` is any number, `width` is above 0.
#
# <details><summary>Hint</summary>
#
# Walk from left to right. A neuron that begins at the place $p$ is $\max(0, x - p)$; from there
# on it changes the slope by its $c$. At which places does the slope of a tent change, and by
# how much?
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
# *core · 10 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-3-count-the-dead)
#
# A ReLU neuron is dead on some data if its input is above 0 at *no* position. Given a
# `FeedForward` with ReLU and vectors `x` of shape `(..., D)`, with any number of dimensions
# before the last, even none, return how many of its neurons are dead on `x`, an `int`.
#
# <details><summary>Hint</summary>
#
# `ffn.up(x)` are the inputs of the neurons. Bring them to the shape `(N, F)` with `reshape`;
# then ask each column whether *any* of it is above 0.
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
# *stretch · 20 minutes* · [Solution](../solutions/08_feed_forward.ipynb#exercise-4-who-decides)
#
# A model prefers token `a` to token `b`. Which neurons are responsible? Given a `FeedForward`
# with the activation function `ffn.activation`, the head behind it (an `nn.Linear` from `d_model`
# to `vocab_size`), vectors `x` `(..., D)` that go into the network, and two ids, return what each
# neuron adds to the difference of the two logits, that of `a` minus that of `b`, as a tensor
# `(..., F)`. The biases of `ffn.down` and of the head belong to no neuron: leave them out.
#
# <details><summary>Hint</summary>
#
# A neuron's vote for `a` is row `a` of `head.weight` times its column of `ffn.down.weight`. What
# you need is the vote for `a` minus the vote for `b`, times the neuron's activation.
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
# - You built the **feed-forward network**: wider, a nonlinearity, and back, at each position by
#   itself; and **SwiGLU**, whose one half is a gate for the other.
# - You saw that **without the nonlinearity** two layers are one, on paper and in training.
# - Two thirds of the **parameters** of a block are here. Compare at equal counts.
# - **Neurons** add facts before the activation function, and respond to combinations after it.
#
# What is still wrong: this model gathers once and computes once. To gather again, with what it
# has computed, it needs more layers. But stack ten of these blocks and they hardly learn: lesson
# [09](09_transformer_block.ipynb).
#
# The library's entries: [FeedForward and SwiGLU](../book/api.md#ffn).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, section 3.3: the feed-forward network in
#   six lines.
# - Hendrycks and Gimpel (2016), *Gaussian Error Linear Units*, section 2: where the GELU comes
#   from.
# - Shazeer (2020), *GLU Variants Improve Transformer*: equal parameters, and an honest last
#   sentence.
# - Geva et al. (2021), *Transformer Feed-Forward Layers Are Key-Value Memories*, sections 2 to
#   4: what neurons respond to and vote for, in a model of real size.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: silence a neuron
#
# A neuron responds to its pair. Does the model use that? Set its activation to 0. How much does the surprise at the next character change,
# up or down, after the neuron's pair and elsewhere? Do so with the 16 neurons at the head of
# `ranked`. The control silences another of them at the same places. (`reduction="none"` keeps
# the surprise of each position.)


# %%
following = validation[1 : 2_048 * 16 + 1].view(-1, 16)[:, 1:].flatten()


@torch.no_grad()
def surprise(silent=()):
    activation = F.gelu(z)
    activation[:, silent] = 0
    logits = model.head(model.blocks[0].ffn.down(activation))  # (N, V)
    return F.cross_entropy(logits, following, reduction="none")


# %% tags=["corpus", "measured:wide"]
normal, rows, some = surprise(), [], ranked[:16].tolist()
changes = {neuron: (surprise([neuron]) - normal).abs() for neuron in some}
for neuron, other in zip(some, some[1:] + some[:1]):
    here = (before == pairs[neuron][0]) & (now == pairs[neuron][1])
    own, control = changes[neuron], changes[other]
    rows.append([own[here].mean(), own[~here].mean(), control[here].mean()])
own, elsewhere, control = torch.tensor(rows).mean(dim=0).tolist()
print(f"own pair {own:.2f} nats, elsewhere {elsewhere:.3f}, control {control:.3f}")
claim(own > 2 * max(elsewhere, control), "a neuron matters at its own pair")

# %% [markdown]
# It matters after its own pair and little elsewhere; another neuron matters little there. So such
# a neuron is a small rule, *where I see this, I vote for that*: $W_1$ holds the conditions, $W_2$
# the conclusions.

# %% [markdown]
# ## Deeper: what a neuron votes for
#
# In this model only the head comes after the neurons, a matrix. So each neuron has a fixed *vote*
# for each character, $W_\text{head}\, u_i$, and the logits are the sum of all votes times
# activations, plus a constant. What does the neuron from above vote for, and what comes after its
# pair in the training text? (`common` leaves out rare characters, whose rows have hardly been
# trained.)

# %% tags=["corpus", "sample"]
block, neuron = model.blocks[0], ranked[0].item()
votes = (model.head.weight @ block.ffn.down.weight).detach()  # (V, F)
common = train.bincount(minlength=V).argsort(descending=True)[:40]
top = common[votes[common, neuron].argsort(descending=True)[:4]]
print("it votes for", plot.visible(tokenizer.decode(top)))
first, second = pairs[neuron]
after = train[2:][(train[:-2] == first) & (train[1:-1] == second)]
most = after.bincount(minlength=V).argsort(descending=True)[:4]
print("after the pair come", plot.visible(tokenizer.decode(most)))

# %% tags=["corpus", "proof"]
# @title Proof: votes times activations, and a constant, are the logits
with torch.no_grad():
    logits = model(ids)[:, 1:].flatten(0, 1)  # (N, V)
    constant = model.head(block.ffn.down.bias)
assert torch.allclose(F.gelu(z) @ votes.T + constant, logits, atol=1e-3)
print("they add up")

# %% [markdown]
# Not every vote makes sense alone, because many neurons vote at once and only the sum counts. Do
# the votes fit on average? Take each neuron's vote for the character that came, after its pair
# and elsewhere.

# %% tags=["corpus", "measured:wide"]
fits = []
for neuron, (first, second) in enumerate(pairs):
    here, vote = (before == first) & (now == second), votes[following, neuron]
    fits.append([vote[here].mean(), vote[~here].mean()])
after_pair, elsewhere = torch.tensor(fits).mean(dim=0).tolist()
print(f"votes for what came: after the pair {after_pair:.2f}, else {elsewhere:z.2f}")
claim(after_pair > elsewhere + 0.02, "neurons vote for what comes after their pair")

# %% [markdown]
# ## Deeper: where GPT-2 keeps its parameters
#
# Around the blocks stand the token table, which is also the head, and the position table. How much do they matter? GPT-2
# is public: 50,257 tokens, 1,024 positions, and four sizes. Each of its blocks also has two
# normalisations of $2 D$ numbers, and one more stands at the end (lesson 09).


# %%
def gpt2_parts(d_model, n_layers):
    D, F = d_model, 4 * d_model
    return {
        "tables": (50_257 + 1_024) * D,
        "attention": n_layers * (4 * D * D + 4 * D),
        "feed-forward": n_layers * (2 * D * F + F + D),
        "norms": n_layers * 4 * D + 2 * D,
    }


for d_model, n_layers in ((768, 12), (1024, 24), (1280, 36), (1600, 48)):
    parts = gpt2_parts(d_model, n_layers)
    total = sum(parts.values())
    shares = [f"{name} {count / total:.1%}" for name, count in parts.items()]
    print(f"{total:13,}:", ", ".join(shares))

# %% [markdown]
# The first total, 124,439,808, is the number of parameters that you find when you load the real
# file; lesson 10 does. In every size the feed-forward networks hold the largest share, and it
# grows towards two thirds, because the tables grow more slowly than the blocks.

# %% [markdown]
# ## Deeper: two formulas for one GELU
#
# Real models disagree about the GELU. GPT-2 uses a shorter formula with a hyperbolic tangent,
# made when `erf` was slow. How far apart are the two?

# %%
places = torch.linspace(-4, 4, 161)
gap = (F.gelu(places) - F.gelu(places, approximate="tanh")).abs().max()
print(f"largest difference between -4 and 4: {gap:.4f}")

# %% [markdown]
# At most 0.0005: too little to hurt a model, and too much for a test that compares six digits.
# When you load someone's weights, use their formula.
