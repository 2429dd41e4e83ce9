# %% [markdown]
# # 27 · LoRA
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/27_lora.ipynb)
#
# You tune a small add-on instead of the whole model.
#
# - **You will build** LoRA: adapters beside the matrices of a model, to be trained, switched,
#   merged and saved.
# - **You will see** five percent of the parameters do nearly what all of them did, and where that ends.
# - **Needs** lesson [26](26_fine_tuning.ipynb).
# - **Takes** about 65 minutes, and forty minutes for the exercises; the notebook runs in under 45 s.

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
# Lesson [26](26_fine_tuning.ipynb) tuned all parameters of a model, so each new purpose costs one
# more copy of the whole model. For this one that is three megabytes; for a model with billions of
# parameters it is many gigabytes, and its gradients need as much memory again, and its
# optimiser twice as much. Freezing most parts made it cheap; but the head alone learned less, and the last block leaves all other
# layers as they were. Can a small add-on tune every layer?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "The input x goes two ways. On the left it passes the frozen matrix W. On the right it passes A, which makes r numbers of it, then B, and the result is multiplied by alpha over r. A plus adds both. Only A and B learn."}}
from lib.show import diagrams

diagrams.adapter()

# %% [markdown]
# The matrix $W$ of a linear layer is [frozen](../book/glossary.md#frozen). Beside it stands a
# detour through two thin matrices, and only these learn. The detour is called an
# [adapter](../book/glossary.md#adapter), and this kind of it [LoRA](../book/glossary.md#lora):
# low-rank adaptation.

# %% [markdown]
# ## By hand
#
# A column times a row is a whole matrix. Seven numbers make twelve:

# %%
import torch

column, row = torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([[1.0, 2.0, 0.0, 1.0]])
print(column @ row)

# %% [markdown]
# Every row of it is a multiple of the same row. Such a matrix has *rank* 1. The sum of $r$ of them
# is the product of a matrix with $r$ columns and one with $r$ rows; its rank is $r$ at most. How
# much is saved at a real size?

# %%
d_in, d_out = 512, 128
for r in (1, 4, 16):
    print(f"rank {r:2}: {r * (d_in + d_out):6,} numbers for {d_in * d_out:,}")

# %% [markdown]
# The bet of LoRA: a matrix that has learned a lot needs only a *change* of low rank to learn a
# little more.

# %% [markdown]
# ## The formula
#
# $$y = W x + b + \frac{\alpha}{r}\, B A\, x$$
#
# $W$ is $(d_{out}, d_{in})$ and frozen, $A$ is $(r, d_{in})$, and $B$ is $(d_{out}, r)$ (Hu et al.
# 2021, section 4.1). The number $\alpha$ sets how strongly the adapter speaks. It is divided by
# $r$, because a larger rank has more terms in its sum.
#
# $A$ starts at random and $B$ at zero. So at first the adapter adds nothing, and the model is
# still the one that you trust. If both were zero, neither would ever get a gradient.

# %% [markdown]
# ## Build
#
# ### The two matrices
#
# `uniform_` draws evenly between two bounds, in place. The bound is the one that Hugging Face's
# library `peft` uses. Dropout (lesson [11](11_training.ipynb)) is for the adapter's input alone. (`Module` is PyTorch's, but quicker
# to call; the conversions matter only for a base in half precision.)

# %% tags=["lib:tune.lora.LoRA"]
import math

from torch import Tensor, nn
from torch.nn import functional as F

from lib.device import at_least_float32
from lib.module import Module


class LoRA(Module):
    def __init__(
        self, d_in: int, d_out: int, rank: int, alpha: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, alpha / rank
        bound = 1 / math.sqrt(d_in)
        self.a = nn.Parameter(torch.empty(rank, d_in).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x.to(self.a.dtype))
        return self.scale * F.linear(F.linear(x, self.a), self.b)

    def product(self) -> Tensor:
        return self.scale * (at_least_float32(self.b) @ at_least_float32(self.a))


# %% [markdown]
# `forward` never builds the large matrix: $A$ first makes $r$ numbers, $B$ makes $d_{out}$ of
# them. `product` does build it; we need that once, at the end. Look at what the first gradient
# reaches:

# %%
torch.manual_seed(0)
adapter, x = LoRA(d_in=6, d_out=4, rank=2, alpha=4), torch.randn(5, 6)
y = adapter(x)
(y - 1).square().sum().backward()
print("adds nothing:", y.abs().max().item() == 0)
print("gradient of A is 0:", adapter.a.grad.abs().max().item() == 0)
print("gradient of B is 0:", adapter.b.grad.abs().max().item() == 0)

# %% [markdown]
# In the first step only $B$ moves, and from then on both do.
#
# ### Beside a layer
#
# A layer can hold several adapters, by name, of which one works at a time. (Our small `add_lora` puts in
# one only; the library's adds more.) A `ModuleDict` is a dictionary whose modules PyTorch knows about.

# %% tags=["naive:tune.lora.LoRALinear"]
class LoRALinear(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base, self.adapters, self.active = base, nn.ModuleDict(), None

    def forward(self, x):
        y = self.base(x)
        if self.active in self.adapters:
            y = y + self.adapters[self.active](x)
        return y


# %% [markdown]
# ### In a whole model
#
# The settings, and then a walk through all parts of a model. `endswith` takes several endings at
# once, `rpartition` splits a name at its last dot, `get_submodule` finds a part by its name, and `setattr` puts the new layer in the
# old one's place. (`list(...)`, because the model changes during the walk.)

# %% tags=["naive:tune.lora.LoRAConfig"]
from dataclasses import dataclass


@dataclass
class LoRAConfig:
    rank: int = 8
    alpha: float = 16.0
    targets: tuple = ()  # endings of names; none here means no layer
    dropout: float = 0.0
# %% tags=["naive:tune.lora.add_lora"]
def add_lora(model, config, name="default"):
    model.requires_grad_(False)
    for place, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and place.endswith(config.targets):
            parent, _, last = place.rpartition(".")
            wrapped = LoRALinear(layer)
            setattr(model.get_submodule(parent), last, wrapped)
            sizes = layer.in_features, layer.out_features
            adapter = LoRA(*sizes, config.rank, config.alpha, config.dropout)
            wrapped.adapters[name], wrapped.active = adapter, name


# %% [markdown]
# The first line freezes everything. The adapters come later, so they are the only parameters that
# learn. Two small functions more: one chooses which adapter works, and one gets rid of them all.

# %% tags=["naive:tune.lora.use_adapter"]
def use_adapter(model, name):
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.active = name


# %% [markdown]
# With `None` no adapter works, and the base is alone.

# %% tags=["naive:tune.lora.remove_lora"]
def remove_lora(model):
    for place, layer in list(model.named_modules()):
        if isinstance(layer, LoRALinear):
            parent, _, last = place.rpartition(".")
            setattr(model.get_submodule(parent), last, layer.base)


# %% [markdown]
# ### Back into the weights
#
# The adapter costs a little time at each call. After training that can end: $W x +
# \frac{\alpha}{r} B A x$ is the same as one matrix $W + \frac{\alpha}{r} B A$ times $x$. To
# *merge* is to write that sum into the weights. We keep the old weights, so that we can go back.

# %% tags=["naive:tune.lora.merge"]
@torch.no_grad()
def merge(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.kept = layer.base.weight.clone()
            layer.merged, layer.active = layer.active, None
            layer.base.weight += layer.adapters[layer.merged].product()


# %% [markdown]
# And back:

# %% tags=["naive:tune.lora.unmerge"]
@torch.no_grad()
def unmerge(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.base.weight.copy_(layer.kept)
            layer.active = layer.merged


# %% [markdown]
# The library's versions (`lib/tune/lora.py`) also say what is wrong: a layer that does not exist,
# a head that shares its matrix with the embedding, a second merge on top of the first.

# %% tags=["same:tune.lora.LoRALinear", "same:tune.lora.LoRAConfig", "same:tune.lora.add_lora", "proof"]
# @title Proof: the small versions and the library's give the same numbers
import copy

from lib.models.gpt import GPT, GPTConfig
from lib.tune import lora

torch.manual_seed(0)
small = GPT(GPTConfig(20, 16, 4, 2, 24, 12, n_kv_heads=2)).eval()
large, ids = copy.deepcopy(small), torch.randint(20, (2, 9))
plain, settings = small(ids), (3, 6.0, ("q_proj", "v_proj", "down"))
assert vars(lora.LoRAConfig(*settings)) == vars(LoRAConfig(*settings))
add_lora(small, LoRAConfig(*settings))
lora.add_lora(large, lora.LoRAConfig(*settings))
for model in (small, large):
    torch.manual_seed(1)
    for parameter in filter(lambda p: p.requires_grad, model.parameters()):
        nn.init.normal_(parameter)
assert torch.allclose(small(ids), large(ids), atol=1e-5)

# %% tags=["same:tune.lora.use_adapter", "same:tune.lora.remove_lora", "same:tune.lora.merge", "same:tune.lora.unmerge", "proof"]
# @title Proof: and merged, unmerged, switched off, and removed
for model, ways in ((small, globals()), (large, vars(lora))):
    tuned = model(ids)
    assert not torch.allclose(tuned, plain, atol=0.1)
    ways["merge"](model)
    assert torch.allclose(model(ids), tuned, atol=1e-4)
    ways["unmerge"](model)
    assert torch.equal(model(ids), tuned)
    ways["use_adapter"](model, None)
    assert torch.equal(model(ids), plain)
    ways["remove_lora"](model)
    assert torch.equal(model(ids), plain)
print("the same numbers")

# %% [markdown]
# (The library's tests hold it against `peft`: the same outputs, the same gradients, and files that
# each can read from the other.)

# %% [markdown]
# ## Check: the classic bug
#
# It is an easy slip to multiply by $\alpha$ instead of $\alpha / r$. No shape is wrong. At rank 1 both
# are the same, so a test at rank 1 sees nothing. Watch how loud random matrices become, as the
# rank grows:

# %%
torch.manual_seed(0)
x = torch.randn(1_000, 64)
for rank in (1, 4, 16, 64):
    adapter = LoRA(64, 64, rank, alpha=8)
    nn.init.normal_(adapter.b)
    right = adapter(x).std().item()
    print(f"rank {rank:2}: alpha / r {right:4.1f}, alpha alone {right * rank:5.1f}")

# %% [markdown]
# With $\alpha$ alone a rank of 64 speaks many times as loud as a rank of 1, and the learning rate
# that was right for one may be far too high for the other. Dividing by $r$ more than makes up for the number of terms: a larger rank gets quieter.
# (Independent terms add up like the root of their number. So some divide by $\sqrt r$; in `peft`
# that is the option `use_rslora`.)

# %% [markdown]
# ## Experiment: another voice, again
#
# The same base, the same text and the same recipe as in lesson 26, but for the rate: a hundred steps on a little
# plain prose. This time with adapters of rank 4 beside all linear layers of all blocks.

# %% tags=["hide-input"]
# @title The base, the text, and the recorded runs
import json
from pathlib import Path

import lib
from lib.checks.claims import claim
from lib.generate import generate
from lib.models import count_parameters
from lib.text.batches import random_batch
from lib.train import Training, estimate_loss, train
from lib.train.checkpoint import load_checkpoint
from lib.train.settings import TrainConfig
from lib.tune.freezing import trainable_parameters
from lib.tune.lora import (
    LoRAConfig,
    add_lora,
    merge,
    remove_lora,
    unmerge,
    use_adapter,
)

data = Path(lib.__file__).parents[1] / "data"
record = json.loads((data / "fine_tuning.json").read_text("utf-8"))
base = load_checkpoint(data / "base.safetensors")
text = (data / "plain.txt").read_text("utf-8")
ids = torch.tensor(base.tokenizer.encode(text))
learn, test = ids[:20_000], ids[20_000:]

# %% [markdown]
# From here on the functions are the library's; without `targets` it takes every linear layer but the
# head. The adapters are named after their purpose. Where do they stand, and how many parameters is that?

# %%
torch.manual_seed(0)
model = copy.deepcopy(base.model)
places = add_lora(model, LoRAConfig(rank=4, alpha=8), name="prose")
n_learn = sum(p.numel() for p in trainable_parameters(model).values())
print(f"{len(places)} adapters, such as beside {places[0]}")
share = n_learn / (count_parameters(model) - n_learn)
print(f"{n_learn:,} parameters learn, {100 * share:.1f} % of the base's")

# %% [markdown]
# Twenty-four adapters, six in each block. Now train them, with a higher rate than whole models bear: the
# matrix $B$ has to come all the way from zero.

# %% tags=["measured"]
before = estimate_loss(base.model, test, model.context_length)
settings = TrainConfig(n_steps=100, learning_rate=0.005, schedule="linear", n_warmup=10)
generator = torch.Generator().manual_seed(0)
next_batch = lambda: random_batch(learn, 8, model.context_length, generator)
losses = train(Training(model, settings), next_batch)
after = estimate_loss(model, test, model.context_length)
print(f"loss on unseen prose: {before:.3f} -> {after:.3f} nats")

# %% tags=["proof"]
# @title Proof: what the text says about this run
claim(after < before - 0.3, "the adapter has learned the new voice")
full = record["runs"]["full"]["new"]
claim(after < max(full) + 0.15, "it comes close to what tuning everything reaches")

# %% [markdown]
# Under forty thousand numbers have learned the new voice. Compare in the table below what tuning
# all parameters reaches. And the base is still in there. Switch the adapter off:

# %%
use_adapter(model, None)
again = estimate_loss(model, test, model.context_length)
print("the base again, to the last bit:", again == before)
use_adapter(model, "prose")

# %% [markdown]
# So **with an adapter you can always get the base back**. Two purposes, one base: keep two
# adapters, and switch. What does each write after the same beginning?

# %% tags=["sample"]
prompt = torch.tensor([base.tokenizer.encode("The king ")])
for name in (None, "prose"):
    use_adapter(model, name)
    generator = torch.Generator().manual_seed(1)
    written = generate(model, prompt, 150, temperature=0.7, generator=generator)
    print(f"--- {name or 'the base'}\n{base.tokenizer.decode(written[0])}")

# %% [markdown]
# The first is a play, the second tries to be a lesson. Both are nonsense: this is a small model.
# Now merge, and look at what changes in its logits, and what is needed to keep the adapter in a
# file:

# %% tags=["measured"]
from tempfile import TemporaryDirectory

from lib.tune.adapter_files import save_adapter

with torch.no_grad():
    one = model(test[:512].view(4, -1))
    merge(model)
    other = model(test[:512].view(4, -1))
    unmerge(model)
near = (one - other).abs().max().item() <= 1e-4
print("merged, the logits differ by 1e-4 at most:", near)
with TemporaryDirectory() as folder:
    save_adapter(folder, model)
    size = sum(file.stat().st_size for file in Path(folder).iterdir())
whole = (data / "base.safetensors").stat().st_size
print(f"adapter {size / 1e3:.0f} kB, base {whole / 1e3:,.0f} kB")

# %% [markdown]
# The file holds the adapter alone, and a fingerprint of the base's weights, so that it is never put beside
# another base unnoticed. After `merge` and `remove_lora` the model is an ordinary one (still frozen: `requires_grad_(True)` ends
# that), and can be saved as a checkpoint.

# %% [markdown]
# ### Against the others
#
# Recorded with `python book/_tools/fine_tuning.py`, three seeds each. *Full* is everything, at
# two rates; *rank 4* is LoRA; *last block*, *head* and *scratch* are those of lesson [26](26_fine_tuning.ipynb). The seconds are the processor's, for
# all hundred steps. *New* is the loss on unseen prose, *old* that on a part of Shakespeare's validation text, both in nats per character, on average over the seeds.

# %%
runs, mean = record["runs"], lambda numbers: sum(numbers) / len(numbers)
start = record["before"]
print(f"{'before':41} new {start['new']:.3f}  old {start['old']:.3f}")
shown = ("full at 0.0003", "full", "last block at 0.001", "rank 4, alpha 8")
shown += ("head", "scratch")
for name in shown:
    run, kind = runs[name], name.split(" at ")[0]
    seconds = mean(runs[kind]["seconds"])  # a rate changes nothing about them
    new, old = mean(run["new"]), mean(run["old"])
    start = f"{kind.split(',')[0]:10} {run['learn']:7,} learn at {run['rate']:<6}"
    print(f"{start}  {seconds:4.1f} s  new {new:.3f}  old {old:.3f}")

# %% [markdown]
# Each row is one choice of learning rate. A larger one learns more and forgets more. So
# draw both losses against each other, for three rates of each kind. Lower left is better.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Chart of the loss on unseen prose over the loss on Shakespeare, with a line for each kind of tuning. The line of tuning everything, at three rates, lies lowest. The lines of LoRA with rank 4 and of the last block lie a little above it and cross each other; that of the head lies far above all."}}
# @title New loss against old loss, at several rates
from matplotlib import pyplot as plt

kinds = {
    "everything": [f"full at {rate}" for rate in (0.0001, 0.0003)] + ["full"],
    "LoRA, rank 4": ["rank 4 at 0.001", "rank 4 at 0.002", "rank 4, alpha 8"],
    "last block": ["last block at 0.0003", "last block at 0.001", "last block"],
    "head": ["head at 0.001", "head", "head at 0.02"],
}
figure, axes = plt.subplots(figsize=(7, 3.8))
for (kind, names), mark in zip(kinds.items(), "osD^"):
    points = [[mean(runs[name][key]) for key in ("old", "new")] for name in names]
    axes.plot(*zip(*points), f"{mark}-", label=kind)
axes.set(xlabel="loss on Shakespeare (nats)", ylabel="loss on unseen prose (nats)")
axes.legend()
plt.close(figure)
figure

# %% tags=["proof"]
# @title Proof: what the list says about the recorded runs
at = lambda name, key: torch.tensor(runs[name][key])  # of three seeds
full, adapter = "full at 0.0003", "rank 4, alpha 8"
order = [at(name, "new") for name in (full, adapter, "head", "scratch")]
assert all((a < b).all() for a, b in zip(order, order[1:]))
assert (order[1] - order[0]).max() < 0.05
last = "last block at 0.001"
assert all((at(last, key) < at(adapter, key)).all() for key in ("new", "old"))
assert mean(runs["last block"]["seconds"]) < 0.7 * mean(runs[adapter]["seconds"])
assert (at(adapter, "new") - at("full", "new")).max() < 0.02
assert (at("full", "old") - at(adapter, "old")).min() > 0.1
assert (at(full, "old") < at(adapter, "old")).all()
for name in ("rank 4 at 0.001", "rank 4 at 0.002"):
    for key in ("new", "old"):
        assert (at(name, key) > at("full at 0.0001", key)).all()
print("so it stands in the table and in the picture")

# %% [markdown]
# - **LoRA reaches nearly what everything reaches**, with under five percent of the parameters.
# - **The last block does at least as well here.** At its best rate it learns slightly more, forgets less, and takes half the
#   time, because the gradient can stop early. It has more than five times as many parameters. What
#   LoRA has is the small file, and the switch.
# - **Here it saves no time.** The gradients of the frozen matrices are not computed, but at this size the adapters' own
#   small products take as long. (Hu et al. report a quarter more speed with GPT-3.) What it saves is memory, for
#   gradients, optimiser and copies.
# - **Does it forget less?** Compared with the second *full*, yes: a new loss that is no worse, and a
#   much lower old one. But everything at smaller rates lies below LoRA's whole line: better on both texts.
#   Here it is the rate that decides what is forgotten. Biderman et al. (2024) find that LoRA
#   forgets less at full size, with harder tasks; you cannot see it here.
#
# All rates were chosen by looking at the test, more of them for everything than for the others.

# %% [markdown]
# ### Rank and strength
#
# Nine adapters, all with the same learning rate. Rows are ranks, columns are $\alpha$:

# %%
for key in ("new", "old"):
    print(f"{key}, alpha:      2      8     32")
    for rank in (1, 4, 16):
        cells = [mean(runs[f"rank {rank}, alpha {alpha}"][key]) for alpha in (2, 8, 32)]
        print(f"   rank {rank:2}   ", "  ".join(f"{cell:.3f}" for cell in cells))

# %% tags=["proof"]
# @title Proof: what the text says about the grid
table = {
    key: torch.tensor(
        [
            [runs[f"rank {rank}, alpha {alpha}"][key] for alpha in (2, 8, 32)]
            for rank in (1, 4, 16)
        ]
    )
    for key in ("new", "old")
}  # each (rank, alpha, seed)
new, old = table["new"], table["old"]
assert (new[0] - new[1]).min() > 0.02  # a rank of 4 is better than 1
assert ((new[1] - new[2]).mean(-1) < (new[0] - new[1]).mean(-1)).all()
assert (old.diff(dim=1) > 0).all() and (new[:, 0] - new[:, 1] > 0).all()
assert (new[:, 1] - new[:, 2]).mean(-1).max() < 0  # from 8 to 32
print("so it stands in the tables")

# %% [markdown]
# - **Down a column**: a rank of 4 is better on the new text than a rank of 1, which is already worth
#   most of the gain, with one percent of the parameters. Going on to 16 brings less.
# - **Along a row**: a larger $\alpha$ means larger steps. From 2 to 8 that helps the new loss, from 8 to 32 no
#   more. The old one gets worse with each step to the right. Rate and $\alpha$ push the same way, so tune one of
#   them and leave the other: many take $\alpha = 2r$.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A and B both start at zero. What does the adapter learn?</summary>
#
# Nothing. The gradient of $A$ is a product with $B$, and that of $B$ a product with $A$. Both are
# zero forever.
#
# </details>
#
# <details><summary>Both start at random. What is the loss before the first step?</summary>
#
# No longer the base's: the adapter adds noise to every layer.
#
# </details>
#
# <details><summary>A layer has 128 inputs and 128 outputs. From which rank on does an adapter have as many parameters as the layer?</summary>
#
# From 64 on: $64 \cdot (128 + 128)$ is $128 \cdot 128$.
#
# </details>

# %% tags=["answer", "measured"]
# @title Answers: a random B, and the rank at which nothing is saved
spoiled = copy.deepcopy(model)
add_lora(spoiled, LoRAConfig(rank=4, alpha=8), name="noise")
for name, parameter in trainable_parameters(spoiled).items():
    if name.endswith(".b"):
        nn.init.normal_(parameter)
noisy = estimate_loss(spoiled, test, model.context_length)
print(f"base {before:.2f}, with a random B {noisy:.2f}")
print("rank 64:", 64 * (128 + 128) == 128 * 128)
claim(noisy > before + 1, "a random B spoils the base")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_27 import check_best_adapter, check_count, check_merged

# %% [markdown]
# ### Exercise 1: How many learn?
#
# *warm-up · 10 minutes* · [Solution](../solutions/27_lora.ipynb#exercise-1-how-many-learn)
#
# Return how many parameters adapters of this rank have, beside all linear layers of `model` whose names
# end with one of `targets`. Any ending counts (`proj` matches `q_proj`), each layer counts once, and a target may match none. Do not change the model.
#
# <details><summary>Hint</summary>
#
# `named_modules()` gives names and parts. A linear layer has `in_features` and `out_features`.
#
# </details>


# %%
def count_adapters(model, rank, targets):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_count(count_adapters)

# %% [markdown]
# ### Exercise 2: A mixture of two adapters
#
# *core · 10 minutes* · [Solution](../solutions/27_lora.ipynb#exercise-2-a-mixture-of-two-adapters)
#
# Two adapters were trained beside the same matrix `weight` `(d_out, d_in)`. Each is a tuple `(a,
# b, alpha)`, with a rank of its own. Return a new matrix: the weight, plus `share` of the first
# adapter and `1 - share` of the second. The weight itself stays as it is.
#
# <details><summary>Hint</summary>
#
# The rank is `len(a)`. Divide by it.
#
# </details>


# %%
def merge_two(weight, first, second, share):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_merged(merge_two)

# %% [markdown]
# ### Exercise 3: An adapter from a tuned matrix
#
# *stretch · 20 minutes* · [Solution](../solutions/27_lora.ipynb#exercise-3-an-adapter-from-a-tuned-matrix)
#
# Somebody tuned everything, and you have a matrix before and after: `old` and `new`. Return `(a,
# b)` of the given rank, so that `old + alpha / rank * b @ a` comes as close to `new` as it can: the norm of the difference is smallest.
# The rank is at most the smaller side of the matrix.
#
# <details><summary>Hint</summary>
#
# `u, s, vh = torch.linalg.svd(change, full_matrices=False)` writes the change as `u @ s.diag() @
# vh`, with the most important terms first. The best matrix of rank r is the first r terms (lesson
# [11](11_training.ipynb) met these singular values).
#
# </details>


# %%
def best_adapter(old, new, rank, alpha):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_best_adapter(best_adapter)

# %% [markdown]
# ## Recap
#
# - You built **LoRA**: a product of two thin matrices beside each frozen one, of which one starts
#   at zero.
# - You put adapters into a whole model, **switched** them, and **merged** one into the weights.
# - You saw the bug that hides at rank 1: **alpha instead of alpha over r**.
# - You tuned a model with under five percent of its parameters, and saw what that costs and saves.
#
# What is still wrong: we tuned on any text that was there. To teach a model a *skill* you need
# examples of it, and they have to be prepared: what is the prompt, what the answer, where does one
# end, and is the test really unseen? That is lesson 28.
#
# The library's entry: [LoRA and what belongs to it](../book/api.md#tunelora).

# %% [markdown]
# ## To read
#
# - Hu et al. (2021), *LoRA*, sections 4.1 and 7: the method, and which rank is enough.
# - Biderman et al. (2024), *LoRA Learns Less and Forgets Less*, section 4: the same two losses at
#   full size.
# - Dettmers et al. (2023), *QLoRA*, section 3: a base in four bits.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: a base in four bits
#
# The base never changes, so it may be stored roughly. QLoRA (Dettmers et al. 2023) keeps each
# weight in four bits, and trains an adapter on top in more. By hand: cut the numbers
# into blocks of 64, divide each block by its largest magnitude (*absmax*), and round to one of 15
# steps from -7 to 7. Stored are four bits for each number, and 16 more for the magnitude of each
# block.

# %%
def quantise(weight, block=64):
    blocks = weight.reshape(-1, block)
    scale = (blocks.abs().amax(dim=1, keepdim=True) / 7).half().float()
    steps = (blocks / scale.clamp(min=1e-8)).round().clamp(-7, 7)  # whole, -7 .. 7
    return (steps * scale).view_as(weight)


row = torch.tensor([[0.7, -0.31, 0.06, 0.12]])
print([round(number, 2) for number in quantise(row, block=4)[0].tolist()])

# %% [markdown]
# Each number has moved to the nearest multiple of a seventh of the largest, here 0.1. What does that do to
# the base, and what can an adapter still learn on top of it? We round all matrices in the blocks,
# and keep the rounded numbers as float32: that gives the losses of a four-bit base, and none of
# its savings.

# %% tags=["measured"]
torch.manual_seed(0)
rough = load_checkpoint(data / "base.safetensors").model
with torch.no_grad():
    for name, weight in rough.named_parameters():
        if name.startswith("blocks") and weight.dim() == 2:
            weight.copy_(quantise(weight))
rounded = estimate_loss(rough, test, rough.context_length)
add_lora(rough, LoRAConfig(rank=4, alpha=8))
generator = torch.Generator().manual_seed(0)
train(Training(rough, settings), next_batch)
tuned = estimate_loss(rough, test, rough.context_length)
print(f"base {before:.3f}, in four bits {rounded:.3f}")
print(f"tuned {after:.3f}, in four bits {tuned:.3f}")

# %% tags=["proof"]
# @title Proof: what the text says about the rounded base
claim(before < rounded < before + 0.2, "rounding costs the base something")
claim(tuned < after + 0.06, "an adapter makes up for it")

# %% [markdown]
# Rounding costs the base a few hundredths of a nat. The adapter, which is trained on the rounded
# base, learns around the errors and ends about where the other did. Its matrices would take $4 +
# 16/64 = 4.25$ bits a weight instead of 32. QLoRA does better still: its 16 steps are not evenly
# spaced, but lie where weights of a normal distribution are.
