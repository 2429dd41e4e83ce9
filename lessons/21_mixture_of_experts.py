# %% [markdown]
# # 21 · Mixture of experts
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/21_mixture_of_experts.ipynb)
#
# You add parameters to a GPT without adding work for each token.
#
# - **You will build** a router, a mixture of experts, and a loss that keeps all experts busy.
# - **You will see** experts divide the characters among them, without being told what a
#   character is.
# - **Needs** lessons [11](11_training.ipynb) and [19](19_modern_blocks.ipynb).
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
# A larger GPT predicts better, and every one of its parameters works on every token. Twice the
# feed-forward network is twice the work, for a comma as much as for a rare name. Most of a block's
# parameters are in that network (lesson [08](08_feed_forward.ipynb)). Can a model have many more
# of them, and still use only a few for each token?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "The feed-forward half of a block. A token passes the norm and comes to a router, which gives a probability to each of four experts. Only the likeliest expert computes; its output times its probability is added to the residual stream."}}
from lib.show import diagrams

diagrams.routed()

# %% [markdown]
# The feed-forward network is there four times. Each copy is an
# [expert](../book/glossary.md#expert), with weights of its own. A small matrix, the
# [router](../book/glossary.md#router), looks at the token's vector and says which expert computes.
# The others do nothing for this token. Together they are a [mixture of
# experts](../book/glossary.md#mixture-of-experts).

# %% [markdown]
# ## By hand
#
# Three tokens, three experts. A row of scores for each token comes from the router; a softmax
# makes probabilities of it. `topk` finds the largest numbers of a row and their places.

# %%
import torch

scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 1.5], [1.0, 0.9, 0.8]])
probabilities = scores.softmax(dim=-1)
gates, chosen = probabilities.topk(1, dim=-1)
for row, gate, expert in zip(probabilities.tolist(), gates, chosen):
    print([round(p, 2) for p in row], f"-> {expert.item()}, gate {gate.item():.2f}")

# %% [markdown]
# The expert's output is multiplied by its probability, the *gate*. The third token is hardly sure:
# its expert counts little.
#
# Why multiply at all? "Take the largest" has no gradient: a small change of the scores changes
# nothing, until it changes everything. The gate has one. If the expert's output helped, the loss
# pulls the gate up, and so the router learns.

# %% [markdown]
# ## The formula
#
# For one vector $x$ of $D$ numbers and $E$ experts,
#
# $$p(x) = \mathrm{softmax}(W_r\, x)$$
#
# $$y = \sum_{i \in \mathrm{top}\,K(p)} p_i(x)\; \mathrm{FFN}_i(x)$$
#
# $W_r$ is $(E, D)$, and $p$ has $E$ numbers. $K$ experts compute for each token. With $K = 1$
# these are equations 1 and 2 of Fedus et al. (2022), section 2.1, whose model is called Switch.

# %% [markdown]
# ## Build
#
# ### Rows for each expert
#
# The experts compute one after the other, each on the rows of its tokens. Two functions help.
# `nonzero` says where a condition holds; `index_add_` adds rows to given rows of a tensor:

# %%
chosen = torch.tensor([[1], [0], [1]])  # (N, K): the experts of three tokens
tokens, slots = (chosen == 1).nonzero(as_tuple=True)
print("expert 1 takes the tokens", tokens.tolist())
y = torch.zeros(3, 2)
y.index_add_(0, tokens, torch.tensor([[5.0, 5.0], [7.0, 7.0]]))
print(y.tolist())

# %% [markdown]
# The outputs for tokens 0 and 2 have come back to rows 0 and 2. (`slots` says as which of its $K$
# choices the token came; with one choice it is always 0.) That is the whole layer. The library's
# router computes in float32, whatever the model does: a rounded score may choose another expert.

# %% tags=["naive:moe.MoE"]
from torch import nn


class MoE(nn.Module):
    def __init__(self, d_model, experts, n_active=1):
        super().__init__()
        self.experts, self.n_active = nn.ModuleList(experts), n_active
        self.router = nn.Linear(d_model, len(self.experts), bias=False)

    def forward(self, x):
        rows = x.flatten(0, -2)  # (B, T, D) -> (N, D)
        probabilities = self.router(rows).softmax(dim=-1)  # (N, E)
        gates, chosen = probabilities.topk(self.n_active, dim=-1)  # (N, K)
        y = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            tokens, slots = (chosen == number).nonzero(as_tuple=True)
            gate = gates[tokens, slots].unsqueeze(-1)  # (n, 1)
            y.index_add_(0, tokens, gate * expert(rows[tokens]))
        return y.view_as(x)


# %% tags=["same:moe.MoE", "proof"]
# @title Proof: the layer, the library's, and the formula give the same numbers
from lib import moe
from lib.ffn import FeedForward

for n_active in (1, 2, 4):
    experts = [FeedForward(8, 16) for _ in range(4)]
    small, large = MoE(8, experts, n_active), moe.MoE(8, experts, n_active)
    large.load_state_dict(small.state_dict())
    x = torch.randn(3, 5, 8)
    p = small.router(x).softmax(dim=-1)
    gates = torch.where(p >= p.topk(n_active).values[..., -1:], p, 0.0)
    whole = sum(g.unsqueeze(-1) * e(x) for g, e in zip(gates.unbind(-1), experts))
    assert torch.allclose(small(x), whole, atol=1e-6)
    assert torch.allclose(large(x), whole, atol=1e-6)
print("the same numbers")

# %% [markdown]
# (The library's tests also hold it against Hugging Face's Mixtral.)
#
# It takes and returns what a `FeedForward` does, so a `Block` works with it unchanged. In the
# library a `GPTConfig` with `n_experts` puts it into every block. Look at what that makes of a
# model's size. *Active* are the parameters that one token uses.

# %%
from lib.models import count_parameters
from lib.models.gpt import GPT, GPTConfig
from lib.moe import MoE


def count_active(model):
    idle = 0
    for part in model.modules():
        if isinstance(part, MoE):
            share = 1 - part.n_active / len(part.experts)
            idle += share * count_parameters(part.experts)
    return count_parameters(model) - round(idle)


# %% [markdown]
# (From here on, `MoE` is the library's.) Mixtral
# (Jiang et al. 2024) is Mistral's model with eight experts in the place of each network. `sizes_only`
# builds a model without numbers in it (on PyTorch's device `meta`), so that its size can be counted:

# %%
from lib.module import sizes_only

sizes = dict(vocab_size=32_000, d_model=4_096, n_heads=32, n_layers=32, d_ff=14_336)
parts = dict(norm="rms", position="rotary", ffn="swiglu", n_kv_heads=8)
parts |= dict(attention_bias=False, tie_weights=False)
for experts in ({}, dict(n_experts=8, n_active=2, renormalise=True)):
    with sizes_only():
        mixtral = GPT(GPTConfig(**sizes, **parts, **experts, context_length=512))
    total, active = count_parameters(mixtral), count_active(mixtral)
    print(f"{total / 1e9:.1f} billion parameters, {active / 1e9:.1f} active")

# %% [markdown]
# (`renormalise` divides the gates of a token by their sum.) Each token uses two of the eight: 46.7
# billion parameters, and the work of a model of 12.9
# billion. The price is memory: all experts have to be there.
#
# ### All experts busy
#
# Nothing so far keeps the router from sending every token to the same expert. The expert that gets
# more tokens learns more, is preferred more, and so on. The *balance loss* pushes against that:
#
# $$L_{\mathrm{balance}} = E \sum_{i=1}^{E} f_i\, P_i$$
#
# $f_i$ is the share of the choices that fell on expert $i$, and $P_i$ its mean probability (Fedus
# et al., equations 4 to 6).

# %% tags=["lib:moe.balance_loss"]
from torch import Tensor

from lib.device import at_least_float32


def balance_loss(probabilities: Tensor, chosen: Tensor) -> Tensor:
    if probabilities.dim() != 2 or chosen.shape[:-1] != probabilities.shape[:-1]:
        raise ValueError(
            f"probabilities has shape {tuple(probabilities.shape)} and chosen "
            f"{tuple(chosen.shape)}; they must be (N, E) and (N, K)"
        )
    n_experts = probabilities.size(-1)
    counts = chosen.flatten().bincount(minlength=n_experts)  # (E,)
    mean = at_least_float32(probabilities).mean(dim=0)  # (E,)
    return n_experts * (counts.to(mean.dtype) / chosen.numel() * mean).sum()


# %% [markdown]
# A count has no gradient. But $P_i$ has: the
# loss pulls down the probabilities of those experts that were chosen often. What does it give for
# a router that does not care?

# %%
torch.manual_seed(0)
uniform = torch.full((100, 4), 1 / 4)
for n_active in (1, 2, 3):
    chosen = torch.rand(100, 4).topk(n_active).indices
    print(f"uniform, {n_active} active: {balance_loss(uniform, chosen).item():.3f}")

# %% [markdown]
# A uniform router gives 1, however many are chosen, and whichever. (If you forget to divide by
# $K$, as some code does, two active experts give 2.) One expert for all:

# %%
same = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(100, 4)
print(f"always expert 0: {balance_loss(same, same.topk(1).indices).item():.3f}")

# %% [markdown]
# That gives $E$, the most that is possible with one active expert.
#
# ### How it reaches the loss
#
# The balance loss is computed inside of each block; it is needed where the loss is made.
# The library's `Training` (in lesson 11 we left this out) opens this context around the forward pass,
# and adds what was collected. A layer that finds a list in `collected` appends its loss. It has
# multiplied its loss by a small weight, `balance_weight`:

# %% tags=["lib:moe.extra_losses"]
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    collected: list[Tensor] = []
    parts = [part for part in model.modules() if isinstance(part, MoE)]
    for part in parts:
        part.collected = collected
    try:
        yield collected
    finally:
        for part in parts:
            part.collected = None


# %% [markdown]
# `yield` hands the list to the `with` block, and comes back when that ends. A model without
# experts leaves the list empty:

# %%
ids = torch.randint(65, (2, 10))
for experts in ({}, dict(n_experts=4, balance_weight=0.01)):
    model = GPT(GPTConfig(d_model=32, n_layers=2, d_ff=64, **experts))
    with extra_losses(model) as extra:
        model(ids)
    print(experts, [round(loss.item(), 4) for loss in extra])

# %% [markdown]
# Two blocks, two losses, each close to 0.01 times 1: these routers are nearly uniform. These losses are trained
# on, and left out of those that `Training` reports.
#
# ### Limited places
#
# On many machines each expert may live on another one. All must be given work of the same size,
# known before: so an expert has a number of places, its *capacity*. A token that comes too late is
# *dropped*.

# %% mystnb={"image": {"alt": "Six tokens choose among three experts with two places each. Tokens 0 and 2 fill expert 0, so token 3 finds no place and goes past the experts in the residual stream. Expert 2 has a place left."}}
diagrams.places()

# %% [markdown]
# Dropped is only its visit to the expert. The block adds zeros to the token's vector: it keeps its
# [residual](../book/glossary.md#residual-connection). `one_hot` makes a row of zeros with a 1 at
# the chosen expert, and `cumsum` adds up from the top: so each choice gets a number, the first for
# this expert, the second, and so on.

# %% tags=["lib:moe.within_capacity"]
from torch.nn import functional as F

from lib.shapes import require_sizes


def within_capacity(chosen: Tensor, n_experts: int, capacity: int) -> Tensor:
    require_sizes(n_experts=n_experts, capacity=capacity)
    own = F.one_hot(chosen.flatten(), n_experts)  # (N K, E)
    places = (own.cumsum(dim=0) * own).sum(dim=1)  # 1 for the first of each expert
    return (places <= capacity).view(chosen.shape)


# %%
chosen = torch.tensor([[0], [1], [0], [0], [2], [1]])
print(within_capacity(chosen, n_experts=3, capacity=2).flatten().tolist())

# %% [markdown]
# Token 3 is out, as in the picture. Places go to the *earlier* tokens,
# not to the surest: else a later token could push out an earlier one, and the model would see the
# future. And the library limits only in training. When you write token by token, each would find
# every place free; the same text read at once would not. With a limit the cache would change the
# text.
#
# ### Balance without a loss
#
# The balance loss has a price: its gradient has nothing to do with the text. DeepSeek-V3 does
# nearly without (Wang et al. 2024). Each expert gets a bias, which is added to the probabilities *for the
# choice only*, not for the gate. After each update the biases of busy experts go down by a fixed
# step, `bias_rate`, those of idle ones up. In the library's layer that is
#
# ```
# chosen = (probabilities + self.bias).topk(self.n_active).indices
# gates = probabilities.gather(-1, chosen)
# ...
# self.bias += self.bias_rate * (load.mean() - load).sign()
# ```
#
# Watch the loads of four experts, of 400 random tokens that a random router treats unequally; nothing
# is trained but the bias. (A layer keeps in `chosen` where its last tokens went.)

# %% tags=["measured"]
from lib.ffn import FeedForward

torch.manual_seed(2)
options = dict(bias_rate=0.005, balance_weight=0.0)
part = MoE(8, [FeedForward(8, 16) for _ in range(4)], **options).train()
nn.init.normal_(part.router.weight)
x = torch.randn(400, 8) + torch.tensor([1.0] * 4 + [0.0] * 4)
for step in range(201):
    part(x)
    if step in (0, 20, 200):
        print(f"after {step:3} updates:", part.chosen.flatten().bincount().tolist())
    part.rebalance()

# %% [markdown]
# The loads come together around 100 each. `Training` calls `rebalance` after each update.

# %% [markdown]
# ## Check
#
# ### The classic bug: a softmax after the choice
#
# Choose first, then take the softmax over the chosen scores: that looks the same, and with two
# active experts it is a choice that Mixtral made. (It gives the same as dividing the gates by their
# sum, the library's `renormalise`.) With one active
# expert it is a bug. Look at the gates, and at the router's gradient.

# %%
torch.manual_seed(0)
x, weight = torch.randn(6, 8), torch.randn(4, 8, requires_grad=True)
slopes = torch.randn(6)  # pretend: the loss's slope for each gate
for name in ("before", "after"):
    scores = x @ weight.T
    if name == "before":
        gates = scores.softmax(dim=-1).topk(1).values
    else:
        gates = scores.topk(1).values.softmax(dim=-1)
    (slope,) = torch.autograd.grad(gates[:, 0] @ slopes, weight)
    shown = [round(gate, 2) for gate in gates[:, 0].tolist()]
    print(f"softmax {name:6} {shown}, gradient {slope.norm().item():.2f}")

# %% [markdown]
# A softmax over one number is 1, whatever the number is. The router gets no gradient from the text,
# and learns nothing from it. No shape is wrong and the loss falls, since the experts learn. So the library
# refuses `renormalise=True` with one active expert.

# %% [markdown]
# ## Experiment: who takes what?
#
# Two small GPTs with four experts in each block, one active: one with the balance loss, one
# without, trained for a short while. The other settings are those of a longer comparison, which comes
# below.

# %% tags=["corpus", "hide-input"]
# @title The text, and the recorded runs
import json

import lib
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
train_ids, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
record_file = Path(lib.__file__).parents[1] / "data" / "experts.json"
record = json.loads(record_file.read_text("utf-8"))
print(f"{corpus.name}: {len(train_ids):,} + {len(validation):,} tokens")

# %%
from lib.train import Training, train
from lib.train.settings import TrainConfig

four = dict(n_experts=4, n_active=1, d_ff=256)


def train_mixture(n_steps=300, **options):
    torch.manual_seed(0)
    model = GPT(GPTConfig(**record["base"], **four, **options))
    generator = torch.Generator().manual_seed(0)
    next_batch = lambda: random_batch(train_ids, 16, 64, generator)
    recipe = TrainConfig(**(record["recipe"] | dict(n_steps=n_steps)))
    train(Training(model, recipe), next_batch)
    return model


# %% [markdown]
# Count how much each expert gets
# of 256 windows of the validation text:

# %% tags=["corpus", "measured:wide"]
from lib.checks.claims import claim

models = {"with": train_mixture(), "without": train_mixture(balance_weight=0.0)}
held_out = validation[: 256 * 64].view(256, 64)
loads = {}
for name, model in models.items():
    with torch.no_grad():
        model.eval()(held_out)
    chosen = [block.ffn.chosen.flatten() for block in model.blocks]
    shares = [c.bincount(minlength=4) / len(c) for c in chosen]
    loads[name] = torch.stack(shares).sort(descending=True).values  # (blocks, experts)
    busiest = [round(load, 2) for load in loads[name][:, 0].tolist()]
    print(f"{name:8} busiest expert of each block: {busiest}")

# %% [markdown]
# As bars, on average over the two blocks:

# %% mystnb={"image": {"alt": "Bar chart: the load of the busiest, second, third and fourth expert, with the balance loss and without. With it the four bars are nearly level. Without it none is empty either."}} tags=["corpus"]
from lib.show import plot

places = ("busiest", "second", "third", "fourth")
heights = {
    f"{place}\n{name}": share
    for name, load in loads.items()
    for place, share in zip(places, load.mean(dim=0).tolist())
}
plot.bar_chart(heights, "experts of a block", "share of the tokens")

# %% tags=["corpus", "proof"]
# @title Proof: what the text says about the loads
claim(loads["with"].max() <= 0.4, "with the loss no expert has more than .40")
claim(loads["without"].min() > 0.02, "without it no expert is left out")
claim(loads["without"].max() < 0.8, "and none takes nearly all")

# %% [markdown]
# With the balance loss the loads stay near a quarter each. Without it **nothing collapses**
# either: no expert takes all, none is left out. The danger that the balance loss was made for does
# not show in this run. At this size there is nothing to see. In the longer runs below the loads do drift apart without the loss; in large models they
# can collapse.
#
# ### What do they specialise in?
#
# A line of the validation text, and below each character its expert, A to D, in both blocks of the
# balanced model:

# %% tags=["corpus", "sample"]
balanced = models["with"]
with torch.no_grad():
    balanced.eval()(held_out)
print(tokenizer.decode(held_out[3]).replace("\n", " "))
for block in balanced.blocks:
    print("".join("ABCD"[expert] for expert in block.ffn.chosen[3, :, 0].tolist()))

# %% [markdown]
# How are each character's occurrences shared out?

# %% mystnb={"image": {"alt": "Heat map: the four experts of each of two blocks against characters, ordered as spaces, vowels, consonants and punctuation. In each block most characters go mainly to one or two experts, and each expert has characters of its own."}} tags=["corpus"]
shown = " \naeioubcdfghjklmnpqrstvwyz.,;:!?'"
columns = [tokenizer.ids[character] for character in shown]
tables = []
for block in balanced.blocks:
    pairs = block.ffn.chosen.flatten() * 65 + held_out.flatten()
    counts = pairs.bincount(minlength=4 * 65).view(4, 65)[:, columns].float()
    tables.append(counts / counts.sum(dim=0).clamp(min=1))
rows = [f"block {b}, expert {e}" for b in (1, 2) for e in "ABCD"]
labels, options = plot.visible(shown), dict(size=(9, 3), top=1.0, label="share")
plot.heat_map(torch.cat(tables), rows, labels, "character", "", **options)

# %% [markdown]
# *Each column adds up to 1 in each block.*
#
# The experts clearly have characters of their own. Is that what training taught the router? A
# number, and a control. The number is the *mutual information* of expert $a$ and character $b$: by how
# many bits one tells about the other. It is $H(a) + H(b) - H(a, b)$, with the entropies of lesson
# [01](01_text_and_tokens.ipynb). Two bits would name one of four experts. The control is the same
# model before its training.

# %%
from lib.evaluate.losses import entropy, nats_to_bits


def bits(*columns):  # the entropy of what stands side by side in them
    _, counts = torch.stack(columns).unique(dim=1, return_counts=True)
    return nats_to_bits(entropy(counts / counts.sum()).item())


def tells(expert, now, following):
    about_now = bits(expert) + bits(now) - bits(expert, now)
    apart = bits(expert, now) + bits(now, following)
    return about_now, apart - bits(expert, now, following) - bits(now)


# %% [markdown]
# The second number asks: when you know the character, what does the expert *further* tell about
# the *next* one, $c$? That is $H(a, b) + H(b, c) - H(a, b, c) - H(b)$. The router of a block sees a
# vector that holds the context too.

# %% tags=["corpus", "measured:wide"]
torch.manual_seed(0)
fresh = GPT(balanced.config)
following = validation[1 : 256 * 64 + 1]
told = {}
for name, model in (("untrained", fresh), ("trained", balanced)):
    with torch.no_grad():
        model.eval()(held_out)
    for block in model.blocks:
        expert = block.ffn.chosen.flatten()
        found = tells(expert, held_out.flatten(), following)
        told.setdefault(name, []).append(found)
        print(f"{name:9} character {found[0]:.2f} bits, next {found[1]:.3f}")

# %% tags=["corpus", "proof"]
# @title Proof: what the text says about these numbers
now, next_one = (
    {name: [pair[i] for pair in pairs] for name, pairs in told.items()} for i in (0, 1)
)
claim(min(now["trained"]) >= 1, "an expert tells at least one bit of the character")
claim(min(now["untrained"]) >= 1, "that of an untrained router does too")
more = sum(next_one["trained"]) > 2 * sum(next_one["untrained"])
claim(more, "training makes it tell of the next character")
characters = held_out.flatten().double()
by_character = characters.argsort(stable=True)  # and now mixed, character by character
mixed = (characters + 0.9 * torch.rand(len(characters))).argsort()
expert = balanced.blocks[1].ffn.chosen.flatten()
shuffled = torch.empty_like(expert)
shuffled[by_character] = expert[mixed]
chance = tells(shuffled, held_out.flatten(), following)[1]
claim(chance < next_one["trained"][1] / 2, "chance does not explain it")

# %% [markdown]
# An expert tells more than one bit of its character. **So does the router that was never
# trained**, and even more. Its input is mostly the character's embedding, so any matrix sorts characters. A
# picture like the one above proves nothing without its control.
#
# Training shows in the second number. The untrained router's choice says next to nothing about
# what comes next; the trained one's says several times as much. (A part of that is chance in the
# counting. Mixed at random within each character, the second block's experts still tell less than half
# of it. The first block's number is too small to say.) The
# router has learned to send the same character to different experts, by its context.

# %% [markdown]
# ## Experiment: does it pay?
#
# Seven models, three seeds each, one recipe and one learning rate, all with the same number of steps, except *more steps*,
# judged on the validation text; recorded with `python book/_tools/experts.py`. The dense model's
# network is two units wider than an expert: as many weights as a router has. So it has as many
# parameters as one token uses in a mixture. The last three are dense models too. Two of them get
# about the time that the mixture takes, as more steps or as more width. The last has as many
# parameters as a mixture has in all.

# %%
runs = record["runs"]
for name, found in runs.items():
    loss, sizes = sum(found["losses"]) / 3, (found["active"], found["parameters"])
    size, seconds = f"{sizes[0]:,} of {sizes[1]:,}", found["seconds"]
    print(f"{name:12}  {size:18} active  {loss:.3f} nats  {seconds:.0f} s")

# %% [markdown]
# The same seed means the same batches, so look at the difference for each seed, first against the
# dense model. Beside it stands the load of the busiest expert.

# %%
for name in ("balance loss", "bias", "no balance"):
    pairs = zip(runs["dense"]["losses"], runs[name]["losses"])
    gains = [round(dense - mixture, 3) for dense, mixture in pairs]
    busiest = [round(max(both), 2) for both in runs[name]["busiest"]]
    print(f"{name:12}  gain {gains}  busiest expert {busiest}")

# %% [markdown]
# The balance loss against the other three:

# %%
for name in ("more steps", "wider", "as large"):
    pairs = zip(runs[name]["losses"], runs["balance loss"]["losses"])
    gains = [round(dense - mixture, 3) for dense, mixture in pairs]
    print(f"{name:12}  gain {gains}")

# %% tags=["proof"]
# @title Proof: what the list says about the recorded runs
losses = {name: torch.tensor(found["losses"]) for name, found in runs.items()}
mixtures = ("balance loss", "bias", "no balance")
active = [runs[name]["active"] for name in ("dense", *mixtures)]
assert max(active) / min(active) < 1.001
assert all((losses["dense"] - losses[name]).min() >= 0.015 for name in mixtures)
best = losses["balance loss"]
assert all((losses[name] > best).all() for name in runs if name != "balance loss")
gap = {name: losses[name] - best for name in ("wider", "more steps")}
assert gap["wider"].min() > 0.02 > gap["more steps"].max()
loads = {name: torch.tensor(runs[name]["busiest"]) for name in mixtures}
assert loads["balance loss"].max() <= 0.4 and loads["bias"].max() <= 0.4
assert (loads["no balance"].amax(1) > loads["balance loss"].amax(1)).all()
assert min(min(each) for name in mixtures for each in runs[name]["bits"]) >= 1
print("so it stands in the tables")

# %% [markdown]
# - **At equal active parameters a mixture is better**, with every seed, by three to five
#   hundredths of a nat.
# - **At equal seconds it is nearly a draw.** A step of the mixture takes about three tenths longer:
#   routing and copying rows cost time, and four small products are slower than one large one. A
#   dense model that gets this time as more steps comes within a hundredth or two. As more width (a
#   little less time) it does not.
# - **At equal memory** the dense model is no better here, and takes nearly half as long again.
# - **The balance loss pays**, and not because of the balance: the mixture with it is the best with
#   every seed, while the bias balances better and gains no more than no balance. Without either the
#   busiest expert takes up to two and a half times its share.
#
# These are two blocks, four experts, one processor.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>With four experts and one active, what share of the experts' weights does one token use? And a batch of 1,024 tokens?</summary>
#
# A quarter; and nearly always all of them. So a mixture saves work for each token, but no memory. And a
# batch, whose tokens choose differently, reads all the weights.
#
# </details>
#
# <details><summary>All experts are copies of one network, and the gates are renormalised. What does the layer compute?</summary>
#
# That network, whatever the router says: the gates sum to 1.
#
# </details>
#
# <details><summary>Two active experts of four: what is the least load that the busiest can have, as a share of all choices?</summary>
#
# A quarter, with $f_i$ counted over all $2N$ choices. The most is a half: an expert is chosen once
# by each token.
#
# </details>

# %% tags=["answer"]
# @title Answers: weights used, copies, the most that an expert gets
one = FeedForward(8, 16)
copies = MoE(8, [one, one, one], n_active=2, renormalise=True)
x = torch.randn(50, 8)
assert torch.allclose(copies(x), one(x), atol=1e-6)
used = balanced.blocks[0].ffn.chosen[:16].unique().tolist()
print("experts that 1,024 tokens use:", used)
always = torch.tensor([[0, 1]]).expand(50, 2)
print("load of expert 0:", (always == 0).sum().item() / always.numel())

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_21 import check_gate_table, check_limited, check_whole_balance

# %% [markdown]
# ### Exercise 1: A table of gates
#
# *warm-up · 10 minutes* · [Solution](../solutions/21_mixture_of_experts.ipynb#exercise-1-a-table-of-gates)
#
# Return the gates as a matrix `(N, E)` with zeros for all experts that were not chosen. `scores`
# is `(N, E)`; the gradient must flow from the gates back to it. The softmax goes over all experts; with `renormalise` the gates of a row sum to 1.
#
# <details><summary>Hint</summary>
#
# `torch.zeros_like(p).scatter(-1, chosen, gates)` puts the numbers of a row at the places
# `chosen`.
#
# </details>


# %%
def gate_table(scores, n_active, renormalise=False):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_gate_table(gate_table)

# %% [markdown]
# ### Exercise 2: Balance over a whole batch
#
# *core · 15 minutes* · [Solution](../solutions/21_mixture_of_experts.ipynb#exercise-2-balance-over-a-whole-batch)
#
# Several processes each have a part of the batch: a pair of `probabilities` `(n, E)` and `chosen`
# `(n, K)`, with an `n` that may differ. Return the balance loss of the whole batch, as if one
# process had it all. Each process may only send its counts and its sums, so do not join the
# tensors. The loss is for training: keep its gradient.
#
# <details><summary>Hint</summary>
#
# The mean of the parts' losses is wrong: $f$ and $P$ are multiplied, and the mean of products is
# not the product of means. Add up counts, sums of probabilities, and numbers of tokens; then
# compute once.
#
# </details>


# %%
def whole_balance_loss(parts):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_whole_balance(whole_balance_loss)

# %% [markdown]
# ### Exercise 3: Experts with few places
#
# *core · 20 minutes* · [Solution](../solutions/21_mixture_of_experts.ipynb#exercise-3-experts-with-few-places)
#
# Return the new residual stream: `stream` `(N, D)` plus the outputs of the experts, times their
# gates. `gates` and `chosen` are `(N, K)`, `experts` a list of functions of rows `(n, D)`, here of
# `stream` itself (the norm is left out). Each expert takes the first `capacity` tokens that chose it
# and computes no others. Gates stay as they are.
#
# <details><summary>Hint</summary>
#
# For each expert: where is `chosen == number`? Keep the first `capacity` of these tokens. `new =
# stream.clone()` is a good start.
#
# </details>


# %%
def limited(stream, gates, chosen, experts, capacity):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_limited(limited)

# %% [markdown]
# ## Recap
#
# - You built a **router** and a **mixture of experts**: many parameters, of which each token uses a few.
# - You built the **balance loss** and **limited places**, and saw a **bias** for the choice at work.
# - You saw a bug that no shape shows: the **softmax after the choice**, with which the router learns nothing.
# - You saw **experts divide the characters**, and that an untrained router does that too. What training adds is
#   a choice that depends on the context.
#
# What is still wrong: whether experts, width or more steps are worth their time is a question of
# size, and small models may answer it differently from large ones. How to find out before paying
# for a large one is lesson 22.
#
# The library's entry: [balance_loss, within_capacity, MoE and extra_losses](../book/api.md#moe).

# %% [markdown]
# ## To read
#
# - Fedus, Zoph and Shazeer (2022), *Switch Transformers*, section 2: one expert per token, capacity, and
#   the balance loss.
# - Jiang et al. (2024), *Mixtral of Experts*, section 5: what its experts specialise in. (Words more than topics.)
# - Wang et al. (2024), *Auxiliary-Loss-Free Load Balancing*, section 3: the bias.
# - Dai et al. (2024), *DeepSeekMoE*, section 3: many small experts, and one that everybody shares.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: smaller experts, and one for all
#
# DeepSeekMoE (Dai et al. 2024, section 3) changes two things. Experts are cut in half, and twice as
# many are active: the work stays the same, and a token has more combinations to choose from. And one
# expert is *shared*: every token uses it, without a gate. What all tokens need is then learned
# once, and not by each expert again. In a `GPTConfig` that is `shared_expert`. Look at the
# active parameters, and at the number of combinations:

# %%
import math

for name, options in (
    ("one of 4", dict(d_ff=256, n_experts=4, n_active=1)),
    ("two of 8", dict(d_ff=128, n_experts=8, n_active=2)),
    ("one of 7, one shared", dict(d_ff=128, n_experts=7, shared_expert=True)),
):
    model = GPT(GPTConfig(d_model=64, n_layers=2, context_length=64, **options))
    combinations = math.comb(options["n_experts"], options.get("n_active", 1))
    print(f"{name:20} {combinations:2} combinations, {count_active(model):,} active")

# %% [markdown]
# About the same work in all three, and 28 pairs instead of four single experts. Whether that pays at
# this size is not measured here: `python book/_tools/experts.py` takes further models in its
# table `VARIANTS`.
