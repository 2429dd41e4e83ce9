# %% [markdown]
# # 22 · Scaling
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/22_scaling.ipynb)
#
# You count what a training costs before it runs, spread it over two processes, and predict how good
# a larger model will be.
#
# - **You will build** counts of operations and of memory, recomputed activations, a training shared
#   by two processes, an optimiser that is shared out, and a scaling law.
# - **You will see** that two processes can make exactly the training of one, and that five small
#   models predict a sixth.
# - **Needs** lessons [11](11_training.ipynb) and [12](12_training_runs.ipynb).
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
# Every lesson so far trained a model that fits your laptop. The models that people talk to are a
# hundred thousand times as large. How do you know *before* you train one: how much work it is,
# whether it fits into memory, how to share it among machines, and how good it will be?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "What two processes keep of weights, gradients and the optimiser's state. DDP: everything in each process. ZeRO-1: half of the optimiser's state in each. FSDP: half of the weights and the gradients too."}}
from lib.show import diagrams

diagrams.shared_memory()

# %% [markdown]
# A process is a program that runs, with memory of its own. Two of them can train one model
# together. You will build the first two rows, and start the third by a command.

# %% [markdown]
# ## By hand
#
# Count the work of one matrix with 3 rows and 2 columns, for one vector. Each of its 6 weights is
# used once: one multiplication, one addition. An operation on numbers with a decimal point is
# called a [FLOP](../book/glossary.md#flop) (floating-point operation), so this product has 12 of them.
#
# The backward pass makes two products of the same size: one for the gradient of the vector, one for
# the gradient of the matrix. The cell counts all three.

# %%
n_weights = 3 * 2
forward = 2 * n_weights  # multiply and add
backward = 2 * forward  # a gradient for the input, and one for the matrix
each = (forward + backward) // n_weights
print(f"forward {forward}, backward {backward}: {each} for each weight")

# %% [markdown]
# That is the rule of thumb: training takes $6N$ operations for each token.

# %% [markdown]
# ## The formula
#
# Attention has products without weights: queries with keys, and shares with values. For each token
# each has $T \cdot D$ multiplications in each of $n$ blocks, those behind the mask counted. Two
# products, times 2 for multiply and add, times 3 for forward and backward: the operations for each
# token of training are
#
# $$C = 6N + 12\, n\, T D$$
#
# $N$ counts the weights that take part in a product: no norms, and no tables but the head (Kaplan et al. 2020,
# section 2.1; Chowdhery et al. 2022, appendix B).
#
# And the loss after training falls with size along a *scaling law* (Hoffmann et al. 2022, equation
# 2, without its term for the data):
#
# $$L(N) = E + A\, N^{-a}$$
#
# $E$ is a floor that no size comes below. $A$ and $a$ say how fast the rest goes away.

# %% [markdown]
# ## Build
#
# ### Operations
#
# A block has four matrices of $D \times D$ in attention and two of $D \times F$ in the feed-forward
# network, where $F$ is `d_ff`. The head has $D \times V$.

# %% tags=["naive:evaluate.scaling_laws.flops_per_token"]
import torch


def flops_per_token(config):
    c = config
    weights = c.n_layers * (4 * c.d_model**2 + 2 * c.d_model * c.d_ff)
    weights += c.d_model * c.vocab_size
    return 6 * weights + 12 * c.n_layers * c.context_length * c.d_model


# %% [markdown]
# PyTorch can count too: inside `FlopCounterMode` it adds up the products that really run. (It does
# not know the fused attention, so `sdpa_kernel` asks for the plain one.) Do both counts agree?

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.evaluate.losses import cross_entropy
from lib.models.gpt import GPT, GPTConfig

config = GPTConfig(d_model=64, n_heads=4, n_layers=3, d_ff=256, context_length=64)
ids = torch.randint(65, (8, 64))


def counted(model):
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        cross_entropy(model(ids), ids).backward()
    return counter.get_total_flops()


print(f"formula {flops_per_token(config) * ids.numel():,}")
print(f"PyTorch {counted(GPT(config)):,}")

# %% [markdown]
# They agree. So you can price a training that you will never run. Take GPT-2 and ten billion
# tokens, on a GPU whose data sheet promises `4e14` operations a second. Nobody reaches the promise;
# the share that is reached is called [MFU](../book/glossary.md#mfu). Let it be four tenths.

# %%
from lib.models.presets import preset_config

gpt2 = preset_config("gpt2")
work = flops_per_token(gpt2) * 10e9
attention = 12 * gpt2.n_layers * gpt2.context_length * gpt2.d_model
print(f"{work:.1e} operations, {work / (0.4 * 4e14) / 3600:.0f} hours")
print(f"attention's share: {attention / flops_per_token(gpt2):.0%}")

# %% [markdown]
# Less than a day on one GPU. At this context, attention's own products are a small part. At ten
# times the context they would be the larger.
#
# ### Memory
#
# A training keeps four things: weights, gradients, the optimiser's state (AdamW has two means for
# each weight), and *activations*: what the forward pass computed and the backward pass will need. A
# float32 has 4 bytes.
#
# What does a block keep for each token? The inputs of its two norms, and their outputs, which the next
# products read; $q$, $k$, $v$; and what attention mixed, which `out_proj` reads: $4 + 3 + 1 = 8$ vectors
# of $D$. And the feed-forward network's middle, before and after GELU: $2F$. The end of
# the model keeps $2D + 2V$: the last norm's input and output, the logits and their softmax. (The fused
# attention of PyTorch keeps no $T \times T$ weights. A plain one would keep $H T$ numbers more for each
# token: for GPT-2 as much again as all the rest of a block.)

# %% tags=["naive:evaluate.scaling_laws.training_bytes"]
from lib.models import count_parameters
from lib.module import sizes_only


def training_bytes(config, batch_size, recompute=False):
    c = config
    with sizes_only():  # without memory
        n = count_parameters(GPT(c))
    block = c.d_model if recompute else 8 * c.d_model + 2 * c.d_ff
    kept = c.n_layers * block + 2 * c.d_model + 2 * c.vocab_size
    parts = dict(weights=4 * n, gradients=4 * n, optimizer=8 * n)
    return parts | dict(activations=4 * kept * batch_size * c.context_length)


# %%
for name, size in training_bytes(gpt2, batch_size=8).items():
    print(f"{name:12} {size / 2**30:5.1f} GiB")

# %% [markdown]
# The weights are a small part. Activations are by far the largest, and unlike the others
# they grow with the batch.
#
# Now measure. `saved_tensors_hooks` calls a function for every tensor that an operation keeps, and
# a second one when it is needed again. Count each piece of memory once, by its address (`data_ptr`), and
# leave out the weights.

# %% tags=["naive:evaluate.scaling_laws.kept_bytes"]
from torch.autograd.graph import saved_tensors_hooks


def kept_bytes(model, compute):
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        loss = compute()  # while it is there, so are they
    return sum(kept.values())


# %%
model = GPT(config)
formula = training_bytes(config, batch_size=8)["activations"]
measured = kept_bytes(model, lambda: cross_entropy(model(ids), ids))
print(f"formula {formula:,}, kept {measured:,}: {formula / measured:.1%}")

# %% [markdown]
# The formula leaves out a few small things, such as the mean that each norm keeps for each token.
#
# ### Half the bytes
#
# A number in bfloat16 has 2 bytes, and products with it are several times as fast on hardware made
# for it. But it has only about three digits, so no long sum and no loss may be bfloat16: lesson
# [12](12_training_runs.ipynb#deeper-short-numbers) shows what happens.
# [Mixed precision](../book/glossary.md#mixed-precision) does the products in bfloat16 and the rest in
# float32: `autocast`, inside of a `with`. What does it save of the activations?

# %%
with torch.autocast("cpu", torch.bfloat16):
    loss = cross_entropy(model(ids), ids)
    short = kept_bytes(model, lambda: cross_entropy(model(ids), ids))
print(f"kept {short:,}, {short / measured:.0%}; loss {loss.dtype}")

# %% [markdown]
# A part of them, for what norms, softmax and loss keep stays long. The weights stay in float32, too,
# and are rounded for each product.
#
# ### Recomputed activations
#
# Activations are the largest part, and they can be had twice. Keep only the input of each block.
# When the backward pass comes to a block, run it forward once more from there.

# %% mystnb={"image": {"alt": "Three blocks. In the forward pass each keeps only its input. In the backward pass, from the last block to the first, each runs forward once more from its input."}}
diagrams.recomputed()

# %% [markdown]
# PyTorch's `checkpoint` calls a function in that way; despite its name it writes no file. We put it
# before the `forward` of each block. (`partial(f, a)` is `f` with its first argument filled in;
# `use_reentrant=False` asks for the newer of PyTorch's two ways.)

# %% tags=["naive:train.recompute.recompute_blocks"]
from functools import partial

from torch.utils.checkpoint import checkpoint


def recompute_blocks(model):
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


# %% [markdown]
# The same model twice, one of them with recomputation, *and with dropout*: the second forward pass
# must drop the same numbers. Compare bytes and gradients.

# %%
def bytes_and_gradients(recompute):
    torch.manual_seed(0)
    model = GPT(GPTConfig(d_model=64, n_layers=6, context_length=64, dropout=0.1))
    if recompute:
        recompute_blocks(model)
    size = kept_bytes(model, lambda: cross_entropy(model(ids), ids))
    torch.manual_seed(1)
    cross_entropy(model(ids), ids).backward()
    return size, [p.grad for p in model.parameters()]


(plain, gradients), (small, again) = map(bytes_and_gradients, (False, True))
assert all(torch.equal(a, b) for a, b in zip(gradients, again))
print(f"kept: {plain / 2**20:.1f} MiB, with recomputation {small / 2**20:.1f} MiB")

# %% [markdown]
# A small part of the memory at the end of the forward pass (going backward, that of one block at a
# time comes on top), and the same gradients bit for bit: `checkpoint` puts the random numbers back.
# The price is one more forward pass. In the library's command it is `--recompute`.
#
# ### Two processes, one training
#
# Now share the work. Both processes start with the same weights. Each takes half of the rows,
# computes its gradients, and then they exchange: `all_reduce` replaces a tensor, in every process,
# by the sum over all of them. Divided by their number it is the mean. The mean of the gradients of
# two equal halves is that of the whole batch, as a mean of means is.

# %%
from torch import distributed

from lib.train.parallel import n_processes, rank


def exchange_gradients(model):
    for p in model.parameters():
        distributed.all_reduce(p.grad)  # the sum, in every process
        p.grad /= n_processes()


def own_rows(batch):
    return [t[rank() :: n_processes()] for t in batch]


# %% [markdown]
# `n_processes()` is 2, and `rank()` the number of the process that asks: 0 or 1. Process 0 takes
# rows 0, 2, 4 and so on, process 1 the others. This is [data
# parallel](../book/glossary.md#data-parallel) training. PyTorch's class for it, DDP, does the same,
# but sends the first gradients while the backward pass still computes the last.
#
# ### An optimiser that is shared out
#
# Both processes keep all of the optimiser's state, and make the *same* update from the same
# gradients. Why twice? [ZeRO](../book/glossary.md#zero), stage 1: every weight gets an owner, who
# alone keeps its two means, makes its update, and sends the result to the others.
#
# Who owns what? The largest first, each to the process that has least so far.

# %% tags=["lib:train.zero.share_out"]
from lib.shapes import require_sizes


def share_out(sizes: list[int], n_shares: int) -> list[int]:
    require_sizes(n_shares=n_shares)
    owners, totals = [0] * len(sizes), [0] * n_shares
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        owners[place] = totals.index(min(totals))
        totals[owners[place]] += sizes[place]
    return owners


# %%
print(share_out([5, 1, 1, 3], n_shares=2))

# %% [markdown]
# The 5 goes to process 0, the 3 to process 1, and so do both 1s.
#
# An optimiser of PyTorch leaves out a weight that has no gradient, and makes no state for it. So
# before the step, take away the gradients of what others own. `broadcast` sends a tensor from one
# process to all.

# %% tags=["naive:train.zero.ShardedOptimizer"]
class ShardedOptimizer:
    def __init__(self, optimizer):
        self.optimizer, groups = optimizer, optimizer.param_groups
        self.parameters = [p for group in groups for p in group["params"]]
        sizes = [p.numel() for p in self.parameters]
        self.owners = share_out(sizes, n_processes())

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self):
        for p, owner in zip(self.parameters, self.owners):
            if owner != rank():
                p.grad = None  # no gradient, no update, no state
        self.optimizer.step()
        for p, owner in zip(self.parameters, self.owners):
            distributed.broadcast(p.data, owner)


# %% [markdown]
# ### All ways, side by side
#
# One training for all of them. What differs is filled in: how the model is wrapped, how the
# optimiser is, which rows are taken, and how gradients are exchanged.

# %%
from lib.text.batches import random_batch


def losses_of(wrap=None, shard=None, rows=own_rows, exchange=exchange_gradients):
    torch.manual_seed(0)
    sizes = dict(d_model=16, n_heads=2, n_layers=2, d_ff=32)
    model = GPT(GPTConfig(10, **sizes, context_length=8))
    runner = wrap(model) if wrap else model
    adamw = torch.optim.AdamW(model.parameters(), lr=0.01)
    optimizer = shard(adamw) if shard else adamw
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(10):
        batch = random_batch(torch.arange(400) ** 2 % 10, 8, 8, generator)
        losses.append(one_step(runner, optimizer, rows(batch), exchange))
    states = [t for each in adamw.state.values() for t in each.values()]
    return losses, sum(t.numel() for t in states)


# %% [markdown]
# Each process has the loss of its own rows; we want the mean of both.


# %%
def one_step(runner, optimizer, batch, exchange):
    inputs, targets = batch
    loss = cross_entropy(runner(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    exchange(runner)
    optimizer.step()
    loss = loss.detach() / n_processes()
    if n_processes() > 1:
        distributed.all_reduce(loss)
    return loss.item()


# %% [markdown]
# **The classic bug** of shared training: every process draws the same batch, as here, and then trains
# on the *same* rows instead of its own. Nothing complains. We let it run, too. `train_all` is what each process
# will do.


# %%
def nothing(model):
    pass


def same_rows(batch):
    return [t[: len(t) // n_processes()] for t in batch]


def train_all():
    from lib.train.zero import ShardedOptimizer as TheLibrarys

    return {
        "by hand": losses_of(),
        "DDP": losses_of(wrap=DistributedDataParallel, exchange=nothing),
        "ZeRO-1": losses_of(shard=ShardedOptimizer),
        "library": losses_of(shard=TheLibrarys),
        "same rows": losses_of(rows=same_rows),
    }


# %% [markdown]
# New processes know nothing of this notebook. `in_processes` writes the code of the functions into
# a file, with the imports of this lesson in front, starts it twice, and brings back what each process
# returned.

# %% tags=["measured"]
from torch.nn.parallel import DistributedDataParallel

from lib.train.processes import in_processes

parts = (exchange_gradients, own_rows, same_rows, nothing, one_step, losses_of)
both = in_processes(train_all, share_out, ShardedOptimizer, *parts)
alone, _ = losses_of(exchange=nothing)
print(f"one process {alone[0]:.4f} ... {alone[-1]:.4f}")
for way in ("by hand", "DDP", "ZeRO-1", "same rows"):
    found = both[0][way][0]
    print(f"{way:11} {found[0]:.4f} ... {found[-1]:.4f}")

# %% [markdown]
# Three ways have the losses of one process. With the same rows the losses differ: each is a mean over
# half of the rows, and the model sees half of the data, at the price of all of it. Now closer, with the state that each process keeps:

# %%
for way in ("by hand", "DDP", "ZeRO-1"):
    far = max(abs(a - b) for a, b in zip(both[0][way][0], alone))
    assert far < 1e-6
    print(f"{way:8} less than 1e-6 apart, state:", both[0][way][1], both[1][way][1])

# %% [markdown]
# Two processes made the training of one, and with ZeRO-1 each keeps half of the state. (Whole
# tensors are shared out, so the halves are not quite equal.)
#
# ### Everything shared out
#
# The third row of the picture: [FSDP](../book/glossary.md#fsdp) cuts each weight itself. A block
# gathers its weights just before it computes and lets them go after it; gradients are added up and
# cut at once. PyTorch's `fully_shard` does that. In the library `ddp`, `zero1` and `fsdp` are one word of
# a command; `torchrun`, PyTorch's starter, starts it in several processes:
#
# ```
# torchrun --nproc-per-node 2 -m lib.train --parallel fsdp --recompute --out runs/x
# python -m lib.train --out runs/x --resume
# ```
#
# The second line goes on in a single process: whatever wrote a checkpoint, it holds whole weights
# and the whole state, so anything can read it. If a process dies, the others stop, and the last
# checkpoint stays. On several machines: [From laptop to cluster](../book/cluster.md).

# %% [markdown]
# ## Check
#
# The library's versions know more parts and more options. At these they agree with ours.

# %% tags=["same:evaluate.scaling_laws.flops_per_token", "same:evaluate.scaling_laws.training_bytes", "same:evaluate.scaling_laws.kept_bytes", "proof"]
# @title Proof: operations and bytes equal the library's
from lib.evaluate import scaling_laws as library

for c in (config, gpt2):
    assert flops_per_token(c) == library.flops_per_token(c)
    for recompute in (False, True):
        ours = training_bytes(c, 8, recompute)
        assert ours == library.training_bytes(c, 8, recompute=recompute)
compute = lambda: cross_entropy(model(ids), ids)
assert kept_bytes(model, compute) == library.kept_bytes(model, compute)
print("the same")

# %% tags=["same:train.zero.ShardedOptimizer", "same:train.recompute.recompute_blocks", "proof"]
# @title Proof: the shared optimiser and recomputation equal the library's
from lib.train.recompute import recompute_blocks as library_recompute

for process in both:
    assert process["ZeRO-1"] == process["library"]
kept = []
for recompute in (recompute_blocks, library_recompute):
    twin = GPT(config)
    twin.load_state_dict(model.state_dict())
    recompute(twin)
    kept.append(kept_bytes(twin, lambda: cross_entropy(twin(ids), ids)))
assert kept[0] == kept[1]
assert 0.9 < training_bytes(config, 8, True)["activations"] / kept[0] < 1.1
print("the same")

# %% [markdown]
# ## Look and experiment: a scaling law
#
# Six models of three blocks that differ in width (and so in the number of heads, which are 8 wide), trained on the same batches by the same
# recipe. Each was trained with three seeds, by `python book/_tools/scaling.py`; the losses were
# recorded. The five smaller ones should predict the sixth. Here $N$ counts the weights in the matrices of the
# blocks alone, $12 n D^2$.

# %% tags=["corpus", "hide-input"]
# @title The recorded runs, and the text
import json
from pathlib import Path

import lib
from lib.text.batches import split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
train_ids, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
record_file = Path(lib.__file__).parents[1] / "data" / "scaling.json"
record = json.loads(record_file.read_text("utf-8"))
print(f"{corpus.name}: {len(train_ids):,} + {len(validation):,} tokens")

# %%
sizes = [run["n"] for run in record["sizes"]["runs"]]
losses = [run["losses"] for run in record["sizes"]["runs"]]
means = [sum(runs) / len(runs) for runs in losses]
for n, runs, mean in zip(sizes, losses, means):
    print(f"{n:7,} weights: {runs} mean {mean:.3f}")

# %% [markdown]
# The seeds lie closer together than the sizes. Two more runs, of the two smallest, with a seed that is
# not in the record, come near to these:

# %% tags=["corpus", "measured", "hide-input"]
# @title Two widths, trained as in lesson 11
from lib.checks.claims import claim
from lib.train import Training, estimate_loss, train
from lib.train.settings import TrainConfig


def train_width(d_model, seed=7):
    torch.manual_seed(seed)
    options = dict(d_model=d_model, n_heads=d_model // 8, d_ff=4 * d_model)
    model = GPT(GPTConfig(**record["sizes"]["base"], **options))
    generator = torch.Generator().manual_seed(seed)
    next_batch = lambda: random_batch(train_ids, 16, 64, generator)
    train(Training(model, TrainConfig(**record["sizes"]["recipe"])), next_batch)
    return estimate_loss(model, validation, 64)


narrow, wider = train_width(16), train_width(24)
print(f"width 16: {narrow:.2f} nats, width 24: {wider:.2f}")
claim(wider < narrow - 0.03, "the wider model is better")

# %% [markdown]
# Now the law. If you knew the floor $E$, you could write $\ln(L - E) = \ln A - a \ln N$: a straight
# line, and least squares finds it. You do not know it, so try many floors, and keep the one whose law
# has the smallest squared error of the losses themselves.

# %% tags=["lib:evaluate.scaling_laws.ScalingLaw"]
from dataclasses import dataclass


@dataclass(frozen=True)
class ScalingLaw:
    floor: float
    scale: float
    exponent: float

    def predict(self, size: float) -> float:
        return self.floor + self.scale * size**-self.exponent


# %% [markdown]
# For each floor: heights $\ln(L - E)$, the slope of the line through them (heights times centred $x$,
# summed, over the sum of squares of centred $x$), and where it starts.

# %% tags=["naive:evaluate.scaling_laws.fit_scaling_law"]
def fit_scaling_law(sizes, losses, n_floors=400):
    x = torch.tensor(sizes, dtype=torch.float64).log()
    y = torch.tensor(losses, dtype=torch.float64)
    best, centred = None, x - x.mean()
    for floor in torch.linspace(0, 0.999 * min(losses), n_floors).tolist():
        heights = (y - floor).log()
        slope = (heights * centred).sum() / centred.square().sum()
        start = heights.mean() - slope * x.mean()
        law = ScalingLaw(floor, start.exp().item(), -slope.item())
        error = sum((law.predict(n) - loss) ** 2 for n, loss in zip(sizes, losses))
        if best is None or error < best[0]:
            best = error, law
    return best[1]


# %%
law = fit_scaling_law(sizes[:5], means[:5])
print(f"L = {law.floor:.2f} + {law.scale:.1f} N^-{law.exponent:.2f}")
print(f"predicted {law.predict(sizes[5]):.3f}, trained {means[5]:.3f}")

# %% [markdown]
# Five models predict one more than twice as large as any of them, to within a hundredth of a nat.
# How sure was that prediction? The [bootstrap](../book/glossary.md#bootstrap) asks: what if the
# seeds had come out otherwise? Draw from the three losses of each size three, with replacement;
# fit; predict; and again, four hundred times. (That is the luck of the seeds, and not whether the
# curve has this form at all.) The interval leaves out the lowest and the highest
# fortieth.

# %% tags=["naive:evaluate.scaling_laws.predicted_interval"]
from lib.evaluate.scaling_laws import fit_scaling_law as fit  # the same, quicker


def predicted_interval(sizes, losses, size, n=400):
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(n):
        means = []
        for runs in losses:
            drawn = torch.randint(len(runs), (len(runs),), generator=generator)
            means.append(sum(runs[i] for i in drawn) / len(runs))
        found.append(fit(sizes, means).predict(size))
    ends = torch.tensor([0.025, 0.975]).double()
    return torch.tensor(found).double().quantile(ends).tolist()


# %%
low, high = predicted_interval(sizes[:5], losses[:5], sizes[5])
floors = [fit(sizes[:5], [r[s] for r in losses[:5]]).floor for s in range(3)]
print(f"predicted {low:.2f} to {high:.2f}, trained {means[5]:.2f}")
print("the floor, by each seed alone:", [f"{floor:.2f}" for floor in floors])
assert low < means[5] < high and abs(law.predict(sizes[5]) - means[5]) < 0.05

# %% [markdown]
# The trained loss lies inside. But the floors lie far apart: five sizes fix the curve near them,
# and hardly its end. **Predict the next size with it, and no more.** Also, this is one recipe with
# a fixed number of steps: with more data, the same sizes have another law.

# %% tags=["same:evaluate.scaling_laws.fit_scaling_law", "same:evaluate.scaling_laws.predicted_interval", "proof"]
# @title Proof: law and interval equal the library's
there = library.fit_scaling_law(sizes[:5], means[:5])
assert abs(there.predict(sizes[5]) - law.predict(sizes[5])) < 1e-4
pair = library.predicted_interval(sizes[:5], losses[:5], sizes[5])
assert all(abs(a - b) < 1e-6 for a, b in zip(pair, (low, high)))
assert max(floors) - min(floors) > 0.1
print("the same")

# %% mystnb={"image": {"alt": "Line chart: loss against the number of weights. The recorded losses of six sizes fall and flatten. The law, fitted to the first five, passes through them and close to the sixth."}}
from lib.show import plot

lines = {"trained": means, "law of the first five": [law.predict(n) for n in sizes]}
plot.line_chart(lines, "weights in the blocks", "loss (nats)", x=sizes)

# %% [markdown]
# *The law was fitted to the first five points. The last one was not used.*

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A model with recomputation: how many operations for each weight and token?</summary>
#
# Between seven and eight in place of six, in the blocks: one more forward pass, two for each
# weight. PyTorch ends it as soon as it has all that it needs, so the last product of a block is not
# made again.
#
# </details>
#
# <details><summary>Two processes. Process 0 has 30 targets that count, process 1 has 10. Is the mean of both gradients right?</summary>
#
# No. Each target of process 1 would count three times as much. Weigh each process by its targets;
# `Training` does. It is Exercise 2.
#
# </details>
#
# <details><summary>With ZeRO-1 a process forgets to send its update. What happens?</summary>
#
# The processes drift apart. Each loss is that of a model which is new in one half and old in the
# other.
#
# </details>

# %% tags=["answer"]
# @title Answers: what a second forward pass costs, and the mean of two means
twin = GPT(config)
library_recompute(twin)
blocks = 12 * config.n_layers * config.d_model**2
more = 4 * config.n_layers * config.context_length * config.d_model  # attention again
extra = (counted(twin) - counted(GPT(config))) / ids.numel()
print(f"extra operations for each weight: {(extra - more) / blocks:.2f}")
first, second = torch.full((30,), 1.0), torch.full((10,), 2.0)
print("mean of the means:", ((first.mean() + second.mean()) / 2).item())
print("mean of all:", torch.cat([first, second]).mean().item())

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_22 import check_mean_gradient, check_modern_flops
from lib.checks.lesson_22 import check_own_slice, check_size_for

# %% [markdown]
# ### Exercise 1: Operations of a modern GPT
#
# *warm-up · 10 minutes* · [Solution](../solutions/22_scaling.ipynb#exercise-1-operations-of-a-modern-gpt)
#
# `flops_per_token` for a model with SwiGLU and shared key heads (`n_kv_heads` may be None, for as
# many as `n_heads`).
#
# <details><summary>Hint</summary>
#
# SwiGLU has three matrices. The projections of keys and values are narrower: `n_kv_heads / n_heads`
# of the square. Attention itself lends the shared heads to all queries, so its $12 n T D$ stays.
#
# </details>


# %%
def modern_flops(config):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_modern_flops(modern_flops)

# %% [markdown]
# ### Exercise 2: The right mean
#
# *core · 10 minutes* · [Solution](../solutions/22_scaling.ipynb#exercise-2-the-right-mean)
#
# `gradients` holds a tensor from each process, the gradient of the mean loss over its own targets
# that count. `counts` says how many those are; where it is 0, the tensor may hold
# anything, even NaN. Return the gradient of the mean over
# all targets.
#
# <details><summary>Hint</summary>
#
# Undo each mean, add, and divide once by all targets. Leave out who has none.
#
# </details>


# %%
def mean_gradient(gradients, counts):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_mean_gradient(mean_gradient)

# %% [markdown]
# ### Exercise 3: Cut it yourself
#
# *core · 15 minutes* · [Solution](../solutions/22_scaling.ipynb#exercise-3-cut-it-yourself)
#
# FSDP does not hand out whole tensors, it cuts. Return `(start, end)` of the numbers that belong to
# process `rank`: slices follow each other from 0 to `n_numbers`, and their lengths differ by at
# most 1, the longer ones first.
#
# <details><summary>Hint</summary>
#
# `divmod(10, 3)` is `(3, 1)`: slices of 3, and one number is left, which goes to process 0. How
# many of the extra numbers lie before yours?
#
# </details>


# %%
def own_slice(n_numbers, n_processes, rank):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_own_slice(own_slice)

# %% [markdown]
# ### Exercise 4: How large must it be?
#
# *stretch · 15 minutes* · [Solution](../solutions/22_scaling.ipynb#exercise-4-how-large-must-it-be)
#
# Read a law backwards: how many weights does a model need to reach `loss`? At the floor or below
# it, no size is enough: return `math.inf`. `law` is a `ScalingLaw`.
#
# <details><summary>Hint</summary>
#
# Solve $L - E = A N^{-a}$ for $N$: first divide, then take the root.
#
# </details>


# %%
def size_for(law, loss):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_size_for(size_for)

# %% [markdown]
# ## Recap
#
# - You built **counts of operations and bytes**, and what PyTorch counts and keeps agrees with them.
# - You built **recomputed activations**: the same gradients bit for bit in a part of the memory.
# - You built a **training that two processes share**, and one whose **optimiser is shared out**.
#   Their losses are those of one process, to a millionth. Same rows everywhere is the bug that
#   nothing reports.
# - You built a **scaling law**, and saw five small models predict a sixth. You saw, too, how little
#   they say about its floor.
#
# What is still open: why does a larger model do things that a smaller one does not do at all? The
# law knows only of a loss. That is lesson [23](23_in_context_learning.ipynb).
#
# The library's entries: [flops_per_token and the laws](../book/api.md#evaluatescaling_laws),
# [ShardedOptimizer](../book/api.md#trainzero), [recompute_blocks](../book/api.md#trainrecompute).

# %% [markdown]
# ## To read
#
# - Kaplan et al. (2020), *Scaling Laws for Neural Language Models*, section 2.1: where $6N$ comes
#   from.
# - Hoffmann et al. (2022), *Training Compute-Optimal Large Language Models*, section 3: three ways
#   to find the best size for a budget, with the data as a second term.
# - Rajbhandari et al. (2020), *ZeRO*, sections 3 and 5: who keeps what, in three stages.
# - McCandlish et al. (2018), *An Empirical Model of Large-Batch Training*, section 2: when a larger
#   batch stops paying.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: on a GPU
#
# Everything on this page is the same on a GPU, with other speeds. `make bench NAMES=gpu` trains the
# preset `small` there for a few steps, in float32, in bfloat16, and compiled, and prints tokens per
# second, MFU and the largest memory. On a machine without a GPU it says so and records nothing.

# %% [markdown]
# ## Deeper: how large may a batch be?
#
# More processes read more rows at once. The gradient of a larger batch is less noisy, so the steps
# can be longer, and fewer. The recorded runs count the steps that a small model needs to come below
# a fixed loss, for six batch sizes. Each batch size had four learning rates; the best one counts.
# Look at the steps, and at all rows that were read.

# %% tags=["hide-input"]
# @title Steps and rows for each batch size
batches = record["batches"]
best = {}
for size, rates in batches["runs"].items():
    found = [steps for steps in rates.values() if None not in steps]
    best[int(size)] = min(sum(steps) / len(steps) for steps in found)
print(f"to {batches['target']} nats, {len(batches['seeds'])} seeds")
for size, steps in best.items():
    print(f"batch {size:3}: {steps:4.0f} steps, {size * steps:7,.0f} rows")
assert best[16] < 0.6 * best[8] and best[256] > 0.8 * best[128]

# %% [markdown]
# From 8 to 16 rows the steps nearly halve, and all rows together are about as many. Whoever has a
# second machine is done in half the time. At the largest batches a batch twice as
# large saves few steps and costs far more rows: the gradient was sure enough. In between lies the [critical batch
# size](../book/glossary.md#critical-batch-size) (McCandlish et al. 2018). It grows while the loss
# falls, so this one holds for this model and this loss.

# %% [markdown]
# ## Deeper: short rows first?
#
# Attention costs more on long rows. So read short rows first, many at once, and long ones in the
# end: a *curriculum*. Both trainings below see the same number of tokens and differ only in that.
# Look at the work, and at each seed.

# %%
from lib.evaluate.scaling_laws import flops_per_token as flops_at

runs, base = record["lengths"]["runs"], record["sizes"]["base"]
width = record["lengths"]["d_model"]
shape = GPTConfig(**base, d_model=width, n_heads=width // 8, d_ff=4 * width)
for name, run in runs.items():
    stages = run["stages"]
    work = sum(rows * T * n * flops_at(shape, T) for rows, T, n in stages)
    print(f"{name:13} {work:.2e} operations, losses {run['losses']}")
pairs = zip(*(run["losses"] for run in runs.values()))
assert sum(long < short for long, short in pairs) == 2

# %% [markdown]
# A little less work, and no gain: two of three seeds are worse with short rows, one is better. At
# this context attention is a small part of the work, so there is little to save. Where rows are
# thousands of tokens long, there is more.
