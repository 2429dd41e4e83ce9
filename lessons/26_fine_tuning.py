# %% [markdown]
# # 26 · Fine-tuning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/26_fine_tuning.ipynb)
#
# You teach a trained model something new, and see what it forgets.
#
# - **You will build** a way to freeze parts of a model, and a classifier on top of a frozen one.
# - **You will see** a model change its voice in a few seconds, and forget the old one meanwhile.
# - **Needs** lessons [11](11_training.ipynb) and [13](13_generation.ipynb).
# - **Takes** about 60 minutes, and half an hour for the exercises; the notebook runs in under 45 s.

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
# Every model so far started from random numbers. It had to learn what a letter, a word and a
# sentence are before it could learn anything else, and that took a million characters. Now you
# have twenty thousand characters of another kind of text, far too few for that. Does a model that
# was trained on Shakespeare help?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "The same model three times: embedding, four blocks, norm and head. Under all, every part learns. Under last block, only block 4, norm and head learn. Under head, only norm and head learn."}}
from lib.show import diagrams

diagrams.frozen_parts()

# %% [markdown]
# To train a trained model further, on something else, is called
# [fine-tuning](../book/glossary.md#fine-tuning). The model that you start from is the
# [base](../book/glossary.md#base-model). You may tune all of it, or keep some parts as they are:
# those are [frozen](../book/glossary.md#frozen).

# %% [markdown]
# ## By hand
#
# One weight, two data sets. The old one wants $w = 1$, the new one wants $w = 3$; each loss is a
# squared distance. Start at the old optimum and go down the new loss:

# %%
w = 1.0  # trained on the old data
for step in range(5):
    print(f"w {w:.2f}: new loss {(w - 3) ** 2:.2f}, old loss {(w - 1) ** 2:.2f}")
    w -= 0.2 * 2 * (w - 3)

# %% [markdown]
# Each step improves the new loss and spoils the old one. Nothing in the new data asks the weight
# to stay. That is [forgetting](../book/glossary.md#forgetting), and the only brakes are the size
# and the number of the steps. Real models have many weights, and some directions serve both; the
# question is how many.

# %% [markdown]
# ## The formula
#
# $$\theta_0 = \theta_{\mathrm{base}}, \qquad \theta_{t+1} = \theta_t - \eta\, m \odot \nabla_\theta
# L_{\mathrm{new}}(\theta_t)$$
#
# It is the training you know, with another start. $\eta$ is the learning rate. The mask $m$ is 1
# for parameters that learn and 0 for frozen ones; $\odot$ multiplies element by element. (This is plain gradient descent. AdamW
# leaves frozen parameters out altogether.)

# %% [markdown]
# ## Build
#
# ### Freezing
#
# A parameter whose `requires_grad` is False gets no gradient, and an optimiser passes over what
# has none:

# %%
import torch
from torch import nn

tiny = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
tiny[0].requires_grad_(False)
tiny(torch.ones(1, 3)).sum().backward()
print([parameter.grad is None for parameter in tiny.parameters()])

# %% [markdown]
# The first layer has no gradients, the second has. (Freeze before the first step: a gradient from before would still be
# used.) To freeze all but some parts, go by their names:

# %% tags=["naive:tune.freezing.train_only"]
def train_only(model, *parts):
    for name, parameter in model.named_parameters():
        chosen = any(f"{name}.".startswith(f"{part}.") for part in parts)
        parameter.requires_grad_(chosen)


# %% [markdown]
# (The dot at the end keeps `blocks.1` from meaning `blocks.10` too. The library's version does two things more. A head that is
# tied to the embedding is one matrix with two names, of which `named_parameters` gives only `tokens.weight`; the library finds it under
# both. And it refuses a name that does not exist.) And what learns then?

# %% tags=["lib:tune.freezing.trainable_parameters"]
def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


# %% tags=["same:tune.freezing.train_only", "proof"]
# @title Proof: the small version and the library's freeze the same
from lib.models.gpt import GPT, GPTConfig
from lib.tune import freezing

for parts in ((), ("head",), ("blocks.1", "final_norm"), ("blocks.1.ffn.up.bias",)):
    models = [GPT(GPTConfig(n_layers=11, tie_weights=False)) for _ in range(2)]
    train_only(models[0], *parts)
    freezing.train_only(models[1], *parts)
    names = [[*trainable_parameters(model)] for model in models]
    assert names[0] == names[1] and bool(names[0]) == bool(parts)
print("the same parts")

# %% [markdown]
# ### The base
#
# `data/base.safetensors` is a GPT of four blocks that was trained on Tiny Shakespeare for a few
# minutes. A checkpoint keeps its characters too, so the new text must use the same ones.

# %% tags=["hide-input"]
# @title The base, the new text, and the recorded runs
import copy
import json
from pathlib import Path

import lib
from lib.checks.claims import claim
from lib.generate import generate
from lib.show import plot
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.train import Training, estimate_loss, train
from lib.train.checkpoint import load_checkpoint
from lib.train.settings import TrainConfig
from lib.tune.freezing import train_only

data = Path(lib.__file__).parents[1] / "data"
record = json.loads((data / "fine_tuning.json").read_text("utf-8"))

# %%
checkpoint = load_checkpoint(data / "base.safetensors")
base, tokenizer = checkpoint.model, checkpoint.tokenizer
text = (data / "plain.txt").read_text("utf-8")
ids = torch.tensor(tokenizer.encode(text))
learn, new = ids[:20_000], ids[20_000:]
print(text.split("\n\n")[0])
for parts in (("final_norm", "head"), ("blocks.3", "final_norm", "head"), None):
    model = copy.deepcopy(base)
    if parts:
        train_only(model, *parts)
    n = sum(p.numel() for p in trainable_parameters(model).values())
    print(f"{n:8,} parameters learn: {' '.join(parts or ['all'])}")

# %% [markdown]
# The new text is plain prose, from the pages of this course. Its first 20,000 characters are for
# tuning, the others for the test. (From here on, `train_only` is the library's. Code counts from 0, so `blocks.3` is block 4 of
# the picture.)

# %% [markdown]
# ## Check
#
# ### The classic bug: dropout that stays off
#
# `load_checkpoint` returns a model in evaluation mode, ready to write. Whoever writes a loop of
# their own and forgets `model.train()` tunes without [dropout](../book/glossary.md#dropout), and
# nothing complains. Look at the same batch read twice in each mode:

# %%
torch.manual_seed(0)
model = GPT(GPTConfig(d_model=32, n_layers=2, dropout=0.2))
for mode in ("eval", "train"):
    model.train(mode == "train")
    same = torch.equal(model(ids[None, :50]), model(ids[None, :50]))
    print(f"{mode:5}: the same output twice: {same}")

# %% [markdown]
# With dropout on, two readings differ. The course's `Training` switches it on for each step and
# then back. Our base was trained without dropout, so here it makes no difference.

# %% [markdown]
# ## Experiment: another voice
#
# We tune all parameters for a hundred steps of eight windows, and measure the loss on both texts
# as we go: on unseen prose, and on the beginning of Shakespeare's validation text.

# %% tags=["corpus", "measured"]
old_text = split_text(load_corpus().text)[1]
old = torch.tensor(tokenizer.encode(old_text[:25_601]))
losses = {"new": [], "old": []}


def measure(model):
    for name, tokens in (("new", new), ("old", old)):
        losses[name].append(estimate_loss(model, tokens, model.context_length))
    return losses["new"][-1]


measure(base)
print(f"before: new {losses['new'][0]:.3f}, old {losses['old'][0]:.3f} nats")

# %% [markdown]
# Now tune a copy of it, with a small learning rate, and measure after every twenty steps:

# %% tags=["corpus", "measured"]
model, generator = copy.deepcopy(base), torch.Generator().manual_seed(0)
rate = dict(learning_rate=0.0003, schedule="linear", n_warmup=10)
training = Training(model, TrainConfig(n_steps=100, **rate))
del losses["new"][1:], losses["old"][1:]  # if you run this cell again
next_batch = lambda: random_batch(learn, 8, model.context_length, generator)
train(training, next_batch, every=20, evaluate=lambda: measure(model))
print(f"after: new {losses['new'][-1]:.3f}, old {losses['old'][-1]:.3f} nats")

# %% [markdown]
# And the two losses on the way there:

# %% mystnb={"image": {"alt": "Line chart of two losses against the step, 0 to 100. The loss on new prose falls quickly in the first forty steps and then slowly; the loss on the old text rises during the same steps."}} tags=["corpus"]
plot.line_chart(losses, "step", "loss (nats per character)", x=range(0, 101, 20))

# %% tags=["corpus", "proof"]
# @title Proof: what the text says about this run
claim(losses["new"][-1] < losses["new"][0] - 0.3, "the new voice is learned")
claim(losses["old"][-1] > losses["old"][0] + 0.2, "the old one is forgotten")
gain = losses["new"][0] - losses["new"][2]
half = gain > (losses["new"][0] - losses["new"][-1]) / 2
claim(half, "the first forty steps bring more than half of the gain")

# %% [markdown]
# The new loss falls, most of it in the first forty steps, and the old one rises meanwhile. After a
# hundred steps, a few seconds, the model is much better on prose and much worse on what it was
# trained for. Here is what base and tuned model write after the same words:

# %% tags=["sample"]
prompt = torch.tensor([tokenizer.encode("The king ")])
for name, writer in (("base", base), ("tuned", model)):
    generator = torch.Generator().manual_seed(1)
    written = generate(writer, prompt, 150, temperature=0.7, generator=generator)
    print(f"--- {name}\n{tokenizer.decode(written[0])}")

# %% [markdown]
# Most of the words are real in both, and neither makes sense. But the voice is another one: no
# speakers, no verse.

# %% [markdown]
# ### Which rate, which parts
#
# Recorded with `python book/_tools/fine_tuning.py`: the same recipe, three seeds each. *learn* is the number of
# parameters that learn, *new* and *old* are the two losses, on average over the seeds. First all of them, at six rates:

# %%
runs, mean = record["runs"], lambda numbers: sum(numbers) / len(numbers)


def show(name):
    run = runs[name]
    start = f"{name.split(' at ')[0]:11} rate {run['rate']:<7} learn {run['learn']:7,}"
    print(f"{start}  new {mean(run['new']):.3f}  old {mean(run['old']):.3f}")


print(f"before: new {record['before']['new']:.3f}, old {record['before']['old']:.3f}")
for name in sorted((n for n in runs if "full" in n), key=lambda n: runs[n]["rate"]):
    show(name)

# %% tags=["proof"]
# @title Proof: what the text says about the recorded runs
before = record["before"]
for seed in range(3):
    by_rate = [runs[f"full at {rate}"] for rate in (0.0001, 0.0003, 0.003, 0.01, 0.03)]
    by_rate.insert(2, runs["full"])
    new, old = ([run[key][seed] for run in by_rate] for key in ("new", "old"))
    assert min(new) == new[1] and new[5] > before["new"]
    assert new[1:] == sorted(new[1:]) and old[:5] == sorted(old[:5])
print("so it stands in the table of rates")

# %% [markdown]
# The best rate for the new text is 0.0003. Above it both losses rise; from 0.01 on the old one rises no
# further. At 0.03 the model is worse on prose than before any tuning. Below it the model learns a
# little less and **forgets about half as much**. So a good rate for tuning is small, and the last
# small gain on the new text costs the most of the old one.

# %% [markdown]
# Now other parts, at three rates each, and a model that starts from random numbers. (*head* is the head with the norm before it.)

# %%
show("full at 0.0003")
for part in ("last block", "head"):
    own = [name for name in runs if name.startswith(part)]
    for name in sorted(own, key=lambda n: runs[n]["rate"]):
        show(name)
show("scratch")

# %% tags=["proof"]
# @title Proof, continued: the parts
scratch = runs["scratch"]
for seed in range(3):
    names = ("full at 0.0003", "last block at 0.001", "head", "head at 0.001")
    best, last, head, slow = (runs[n] for n in names)
    order = [run["new"][seed] for run in (best, last, head, scratch)]
    assert order == sorted(order)
    assert last["new"][seed] - best["new"][seed] < 0.03
    assert abs(last["old"][seed] - best["old"][seed]) < 0.04
    gain = (before["new"] - head["new"][seed]) / (before["new"] - best["new"][seed])
    assert 0.6 < gain < 0.75
    others = [run for name, run in runs.items() if "rank" not in name]
    assert slow["old"][seed] == min(run["old"][seed] for run in others)
    assert scratch["new"][seed] > before["new"]
print("so it stands in the table of parts")

# %% [markdown]
# - **The model from scratch is the worst**, on prose too: in the same hundred steps it does not even
#   reach the base as it was before tuning.
# - **The last block** with norm and head, at the middle one of its rates, is nearly as good as everything, with a quarter of the
#   parameters, and forgets about as much.
# - **The head alone** has one percent of the parameters. At its middle rate it learns two thirds of what everything
#   learns. At its smallest rate it forgets the least of all, and learns the least.
# - **Freezing alone is no protection**: with each choice of parts, a larger rate forgets more. All parameters at 0.0001 (one table up) learn
#   more than the head at 0.005, and forget less. <!-- from: which-rate-which-parts -->
#
# Rates were chosen by looking at the test, a luxury that you pay for with a slightly too good
# number.

# %% [markdown]
# ### A classifier on top
#
# A base can also lend its *vectors*. Take the head away, and what comes out is the last vector of
# each token; the mean of a line's vectors describes the line. A small matrix on top tells classes
# apart: a *classifier head*. The task: has a line of prose two pairs of neighbouring letters swapped?
# `nn.Identity` is a layer that returns its input.

# %%
import random


def swap_letters(line, rng):
    letters, pairs = list(line), range(len(line) - 1)
    places = [i for i in pairs if line[i : i + 2].isalpha() and line[i] != line[i + 1]]
    for i in rng.sample(places, 2):
        letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


print(swap_letters("the model reads one more line", random.Random(1)))

# %% tags=["hide-input"]
# @title The lines, right and wrong, as rows of one length
from functools import partial

from torch.nn import functional as F


def rows(text, seed):
    rng = random.Random(seed)
    lines = [line for line in text.split("\n") if len(line) >= 40]
    lines += [swap_letters(line, rng) for line in lines]
    ids = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.long)
    for row, line in zip(ids, lines):
        row[: len(line)] = torch.tensor(tokenizer.encode(line))
    return ids, torch.tensor([len(line) for line in lines])


known, unseen = rows(text[:20_000], seed=0), rows(text[20_000:], seed=1)
sizes = [len(lengths) for _, lengths in (known, unseen)]
labels = [(torch.arange(size) >= size // 2).long() for size in sizes]

# %% [markdown]
# Half of the lines are right, and half have been spoiled. The base stays frozen, so its vectors
# are computed once. The fillers at the end of a row do not count (and a causal model never looks
# ahead at them).

# %%
@torch.no_grad()
def features(model, ids, lengths):
    body = copy.deepcopy(model)
    body.head = nn.Identity()
    inside = torch.arange(ids.size(1)) < lengths[:, None]
    return (body(ids) * inside.unsqueeze(-1)).sum(dim=1) / lengths[:, None]


def in_parts(function, rows):  # 64 lines at once, for all need much memory
    return torch.cat([function(*some) for some in zip(*(t.split(64) for t in rows))])


def accuracy(head, vectors, labels):
    return (head(vectors).argmax(dim=-1) == labels).double().mean().item()


# %% [markdown]
# Train the head on the vectors of the known lines, for 200 steps, and count how often it is right
# on unseen ones. The control is the same on a model that was never trained. (Each number of the
# vectors is brought to mean 0 and spread 1 first, so that one rate suits all.)

# %% tags=["measured"]
torch.manual_seed(0)
results = {}
for name, model in (("base", base), ("untrained", GPT(base.config).eval())):
    vectors = [in_parts(partial(features, model), part) for part in (known, unseen)]
    mean_of, spread = vectors[0].mean(dim=0), vectors[0].std(dim=0)
    vectors = [(each - mean_of) / spread for each in vectors]
    head = nn.Linear(128, 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(200):
        loss = F.cross_entropy(head(vectors[0]), labels[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    results[name] = accuracy(head, vectors[1], labels[1])
    print(f"head on {name:9}: {results[name]:.0%} of {len(labels[1])} unseen lines")

# %% [markdown]
# A guess would be right for half of the lines, give or take four percent. So the head on the base knows a
# little, and the one on the untrained model guesses. Tune more than the head, then: the last block, or all. Recorded with
# `python book/_tools/classifier.py`, for three rates, with the best and the worst of three seeds (here nothing is brought to
# mean 0 and spread 1, and the head alone learns next to nothing):

# %%
for run in json.loads((data / "classifier.json").read_text("utf-8"))["runs"]:
    low, high = min(run["right"]), max(run["right"])
    print(f"{run['name']:13} rate {run['rate']:<6}  right {low:.2f} to {high:.2f}")

# %% [markdown]
# With a suitable rate, the last block or all of it learns a little, about as much as the head above; with a larger
# one, or from random numbers, nothing in as many steps. Before you look for a better rate, ask what the base knows
# already. It predicts letters; a swapped pair should *surprise* it. So no gradient at all: call a line
# wrong if its mean loss is above a threshold, the best one for the known lines.

# %% tags=["measured"]
@torch.no_grad()
def surprise(ids, lengths):
    losses = F.cross_entropy(
        base(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none"
    )
    inside = torch.arange(1, ids.size(1)) < lengths[:, None]
    return (losses * inside).sum(dim=1) / (lengths - 1)


values = in_parts(surprise, known)
right = lambda limit: ((values > limit).long() == labels[0]).sum()
limit = max(values, key=right)
wrong = (in_parts(surprise, unseen) > limit).long()
found = (wrong == labels[1]).double().mean().item()
print(f"threshold of {limit.item():.2f} nats: {found:.0%}")

# %% tags=["proof"]
# @title Proof: what the text says about the classifiers
claim(0.5 < results["base"] < 0.72, "the head on the base knows a little")
claim(results["untrained"] < 0.6, "the one on the untrained model guesses")
claim(found > results["base"] + 0.08, "the base's own loss tells more")
tries = json.loads((data / "classifier.json").read_text("utf-8"))["runs"]
best = {}
for run in tries:
    best[run["name"]] = max(best.get(run["name"], 0.0), mean(run["right"]))
assert best["last block"] > best["head"] + 0.05 and best["all"] > best["head"] + 0.05
assert best["all, scratch"] < 0.56
claim(abs(max(best.values()) - results["base"]) < 0.12, "they learn about as much")
claim(found > max(best.values()), "and the base's own loss more than each of them")

# %% [markdown]
# **One number that the base gives for nothing beats every classifier that we tuned.** With more lines and steps a
# tuned one may well win. Fine-tuning is a tool for what a model cannot do yet. Look first for what it can.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>The head is tied to the embedding. What does freezing all but the head leave free?</summary>
#
# The embedding too: it is one matrix with two names.
#
# </details>
#
# <details><summary>AdamW with weight decay: do frozen weights shrink?</summary>
#
# No. The optimiser passes over parameters without a gradient, and the decay with it.
#
# </details>
#
# <details><summary>Why freeze the first blocks and not the last?</summary>
#
# The first layers are thought to hold what texts share, such as spelling. And gradients need to flow back
# only as far as the lowest part that learns, which saves time.
#
# </details>

# %% tags=["answer"]
# @title Answers: a tied head, and decay
tied = GPT(GPTConfig(d_model=16, n_layers=1, d_ff=16))
train_only(tied, "head")
print("learns:", *trainable_parameters(tied))
train_only(tied, "blocks")
before = tied.tokens.weight.clone()
options = dict(learning_rate=0.1, weight_decay=0.5)
Training(tied, TrainConfig(n_steps=1, **options)).step((ids[None, :9], ids[None, 1:10]))
print("frozen ones keep their size:", torch.equal(tied.tokens.weight, before))

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_26 import check_drift, check_freeze_first, check_mixed_batch

# %% [markdown]
# ### Exercise 1: Freeze the first blocks
#
# *warm-up · 10 minutes* · [Solution](../solutions/26_fine_tuning.ipynb#exercise-1-freeze-the-first-blocks)
#
# Freeze the table of tokens and the first `n` blocks of a `GPT`; everything else learns (a table of positions too), whatever was
# frozen before. Change the model in place, and return the number of parameters that learn, as an
# int. A tied head is the embedding, and so it is frozen too.
#
# <details><summary>Hint</summary>
#
# `model.tokens`, and `model.blocks[:n]`. Let everything learn first.
#
# </details>


# %%
def freeze_first(model, n):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_freeze_first(freeze_first)

# %% [markdown]
# ### Exercise 2: How far did it go?
#
# *core · 10 minutes* · [Solution](../solutions/26_fine_tuning.ipynb#exercise-2-how-far-did-it-go)
#
# Return how far each part of a model has moved in tuning, as a dictionary: the name of each
# parameter, and the norm of its change divided by the norm of what it was before, as a Python
# float. Both models have the same parameters; neither may change.
#
# <details><summary>Hint</summary>
#
# `zip(before.named_parameters(), after.named_parameters())`, and `detach()`.
#
# </details>


# %%
def drift(before, after):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_drift(drift)

# %% [markdown]
# ### Exercise 3: Replay
#
# *core · 15 minutes* · [Solution](../solutions/26_fine_tuning.ipynb#exercise-3-replay)
#
# An old remedy against forgetting: mix some of the old text into each batch. Return inputs and
# targets, both `(batch_size, T)` and int64, of which the first `n_old` rows are windows of `old` and the
# others windows of `new`, both at random places, drawn with `generator`.
#
# <details><summary>Hint</summary>
#
# `random_batch` twice, and `torch.cat`. What if `n_old` is 0?
#
# </details>


# %%
def mixed_batch(new, old, batch_size, n_old, T, generator):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_mixed_batch(mixed_batch)

# %% [markdown]
# ## Recap
#
# - You tuned a trained model on another text: **the training you know, with another start**.
# - You saw what it **forgets**, and that the learning rate decides how much.
# - You **froze** parts of it, by name, and compared what is left to learn.
# - You put a **classifier head** on the base, frozen and tuned, and found a number that does better with nothing to fit but a
#   threshold.
#
# What is still wrong: tuning everything costs a whole copy of the model for each purpose. Freezing
# is cheap, and learns less. Lesson [27](27_lora.ipynb) finds a third way.
#
# The library's entry: [train_only and trainable_parameters](../book/api.md#tunefreezing).

# %% [markdown]
# ## To read
#
# - Howard and Ruder (2018), *ULMFiT*, section 3: fine-tuning a language model, part by part.
# - Radford et al. (2018), section 3.2: a GPT with a classifier head, all of it tuned.
# - McCloskey and Cohen (1989), *Catastrophic Interference*: forgetting, found long ago.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
