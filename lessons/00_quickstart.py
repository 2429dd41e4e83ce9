# %% [markdown]
# # 00 · Quickstart: a Transformer that counts
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/00_quickstart.ipynb)
#
# On this page you train a complete Transformer from nothing, watch it learn to count, and
# take it apart to see which part did the work.
#
# - **You will build** a training set, a training loop, and a test that a model can fail.
# - **You will see** the whole life of a model: data, loss, predictions, attention.
# - **Needs** a little Python. No mathematics beyond logarithms, no GPU.
# - **Takes** about 60 minutes without exercise 4; the notebook runs in under 15 s.

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
# A large language model that writes does one thing: it reads some
# [tokens](../book/glossary.md#token) and predicts the next one. Whatever it writes, from
# chat to code, is that step repeated.
#
# The machine behind the prediction is the Transformer. Can you build one that is small
# enough to understand completely, on a laptop, in a minute? Yes, if the text is easy
# enough. So here is the easiest text there is: `0 1 2 3 4 5 6 7 8 9 0 1 2 ...`, round
# and round. The model does not know how it goes on: for it, the ten digits are ten
# meaningless symbols.

# %% [markdown]
# ## The machine
#
# This is the whole life of a language model, one round of which takes milliseconds here and
# seconds on thousands of processors elsewhere. Every box but the first is a part of this page: the
# text here is made of numbers already. Lesson [01](01_text_and_tokens.ipynb) turns letters into numbers.

# %% mystnb={"image": {"alt": "Diagram of a loop: text becomes numbers, the model turns them into probabilities of the next token, the loss compares them with the token that came, and the weights are changed a little; then the next text comes."}}
from lib.show import diagrams

diagrams.life_of_a_model()

# %% [markdown]
# ## By hand
#
# Take six digits from the middle of the sequence. At every position the model is asked
# the same question: *given what you have read so far, what comes next?* The answers stand in
# the sequence itself, one place further on.

# %%
piece = [7, 8, 9, 0, 1, 2]

for length in range(1, len(piece)):
    print(f"read {piece[:length]!s:17} next: {piece[length]}")

# %% [markdown]
# One piece of six digits holds five questions, each with its answer. Nobody had to label
# anything: the text is its own teacher.
#
# Before any learning, the best a model can do is to give each of the ten digits the same
# probability, one tenth. How bad is that? We measure surprise: the
# [loss](../book/glossary.md#loss) of one answer is $-\ln p$, where $p$ is the probability
# that the model gave to the digit that came. Why a
# [logarithm](../book/mathematics.md#logarithm)? A certainty, $p = 1$, costs nothing; and the
# probabilities of two answers multiply, but their surprises add up. The unit is the
# [nat](../book/glossary.md#nat).

# %%
import math

for p in (0.1, 0.5, 0.9, 0.99):
    print(f"probability {p}: loss {-math.log(p):.3f} nats")

# %% [markdown]
# A model that knows nothing pays 2.303 nats per digit. A model that is sure and right
# pays almost nothing. Training is the way from the first number to the last.

# %% [markdown]
# ## The formula
#
# A model reads a [batch](../book/glossary.md#batch) of $B$ sequences of $T$ digits. At
# each of the $B \times T$ positions it gives ten probabilities. The loss is the mean
# surprise over all positions:
#
# $$L = -\frac{1}{B\,T} \sum_{b=1}^{B} \sum_{t=1}^{T} \ln p_{b,t}(\text{target}_{b,t})$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | `inputs` | `(B, T)` | the digits that were read |
# | `targets` | `(B, T)` | the digit that follows each of them |
# | `logits` | `(B, T, 10)` | ten scores per position, of any size |
# | $L$ | one number | the loss, in nats |
#
# A model gives [logits](../book/glossary.md#logits), not probabilities. The
# [softmax](../book/glossary.md#softmax) turns them into probabilities: it takes $e$ to the
# power of each of the ten scores and divides by the sum of the ten.
#
# The mean surprise $L$ is called the [cross-entropy](../book/glossary.md#cross-entropy). Every
# model in this course is trained with it, and so are the large ones.

# %% [markdown]
# ## Build
#
# ### The data
#
# `torch` is PyTorch. Its *tensor* is an array like NumPy's, which can also keep track of gradients.
#
# Each sequence starts at a random digit and counts on. One extra digit at the end makes
# room for the shift between inputs and targets. (A column `(B, 1)` plus a row `(T + 1,)`
# gives a table `(B, T + 1)`: that is [broadcasting](../book/mathematics.md#broadcasting). The
# `generator` is the source of the random numbers; the same
# [seed](../book/glossary.md#seed) gives the same batch.)

# %%
import torch


def counting_batch(batch_size, length, generator):
    starts = torch.randint(10, (batch_size, 1), generator=generator)  # (B, 1)
    digits = (starts + torch.arange(length + 1)) % 10  # (B, T + 1)
    return digits[:, :-1], digits[:, 1:]


inputs, targets = counting_batch(3, 8, torch.Generator().manual_seed(0))
print("inputs ", *inputs.tolist(), sep="\n")
print("targets", *targets.tolist(), sep="\n")

# %% [markdown]
# Compare the first row of inputs with the first row of targets: the same digits, one
# step later.
#
# ### The model
#
# `GPT` is the Transformer that you will build yourself, part by part, in lessons 04
# to 10. For now, take it as it is. `preset_config` knows sizes of models by name; here
# is "demo".

# %%
from lib.models.gpt import GPT
from lib.models.presets import preset_config

torch.manual_seed(0)
config = preset_config("demo")
model = GPT(config)
sizes = ("vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "context_length")
print({name: getattr(config, name) for name in sizes})

# %% [markdown]
# Ten different digits, each held as a vector of `d_model` = 16 numbers; two
# [attention](../book/glossary.md#attention) heads in each of two
# [blocks](../book/glossary.md#block); a
# [feed-forward network](../book/glossary.md#feed-forward-network) of 32 units in each block; at
# most 32 digits of [context](../book/glossary.md#context). The other settings choose between
# kinds of parts. How many numbers does this model have to learn? Count them by part.

# %%
from collections import Counter

by_part = Counter()
for name, parameter in model.named_parameters():
    by_part[name.split(".")[0]] += parameter.numel()
    if not name.startswith("blocks.1"):
        print(f"{name:33} {str(tuple(parameter.shape)):9} {parameter.numel():5,}")
print(dict(by_part))
total = by_part.total()
print(f"{total:,} parameters")
assert total == 5_162

# %% [markdown]
# The list shows the first of the two blocks; below it are the sums: 160 numbers for the
# ten digits, 512 for the 32 positions, 4,320 in the blocks, 170 for the output
# head (not an attention head), which turns a vector back into ten scores. Together 5,162 [parameters](../book/glossary.md#parameter).
# The names get their meaning in lessons 04 to 09. GPT-2 is built from the same kinds of parts,
# larger and more of them, with some of the other settings changed.

# %% [markdown]
# ### Before training
#
# Ask the model what follows each digit, before it has learned anything.

# %%
inputs, targets = counting_batch(32, 16, torch.Generator().manual_seed(1))
logits = model(inputs)
probabilities = logits.softmax(dim=-1)
print("logits", tuple(logits.shape))
print("row of probabilities:", [round(p, 2) for p in probabilities[0, 0].tolist()])

# %% [markdown]
# All near 0.1: it has no idea, and says so. Now the loss. At each position we need the
# logarithm of *one* of the ten probabilities, that of the target. `gather` picks it: along the
# last dimension (`-1`), it takes the entry that `targets` names; `unsqueeze(-1)` turns `(B, T)` into
# a column to pick with, `(B, T, 1)`. Look for the 2.30 that we computed by hand.

# %%
from lib.checks.claims import claim

log_p = logits.log_softmax(dim=-1)  # (B, T, 10)
log_p_of_target = log_p.gather(-1, targets.unsqueeze(-1))  # (B, T, 1)
loss = -log_p_of_target.mean()
print(f"loss before training: {loss.item():.2f} nats; ln 10 = {math.log(10):.2f}")
claim(abs(loss.item() - math.log(10)) < 0.05, "an untrained model guesses")

# %% [markdown]
# A `claim` checks a sentence of this page on your run. Should it not be true of yours, the claim says so,
# and the notebook goes on.
#
# ### The training loop
#
# Training repeats four moves: predict and measure the loss; forget the old gradients; compute
# for each parameter how the loss changes with it (the
# [gradient](../book/glossary.md#gradient)); move each parameter a little to where the loss is
# smaller. The [optimiser](../book/glossary.md#optimiser) does the moving, and `lr`, the
# [learning rate](../book/glossary.md#learning-rate), sets how far. This one is AdamW; you will
# write it by hand in lesson 11.

# %%
from lib.evaluate.losses import cross_entropy

optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)


def train_step(model, optimizer, inputs, targets):
    loss = cross_entropy(model(inputs), targets)  # predict, measure
    optimizer.zero_grad()  # forget the gradients of the step before
    loss.backward()  # compute the gradients of this step
    optimizer.step()  # move the parameters
    return loss.item()


# %% [markdown]
# `cross_entropy` does what we did by hand, in one function. Now a hundred steps, each on 32
# sequences of 16 digits. On the way we keep a copy of the model now and then, to look at later.

# %% tags=["measured"]
import copy

generator = torch.Generator().manual_seed(0)
losses, snapshots = [], {}
for step in range(100):
    if step in (0, 5, 10, 20):
        snapshots[step] = copy.deepcopy(model)
    losses.append(train_step(model, optimizer, *counting_batch(32, 16, generator)))
snapshots[100] = copy.deepcopy(model)

print(f"loss on the first batch: {losses[0]:.1f}, on the last: {losses[-1]:.2f}")
claim(losses[-1] < 0.01, "after a hundred steps the loss is almost zero")

# %% [markdown]
# From 2.3 nats to almost nothing, within about a second.

# %% mystnb={"image": {"alt": "Line chart of the training loss. It starts at the dashed line of pure guessing and falls to almost zero within the first half of the steps."}}
from lib.show import plot

plot.loss_curve({"counting": losses}, {"pure guessing, ln 10": math.log(10)})

# %% [markdown]
# *The loss starts where guessing would be and is close to zero after half of the
# training.*

# %% [markdown]
# ## Check
#
# ### Does it count?
#
# There are only ten different sequences of 16 digits, and training has shown them all. So a low
# loss is no more than a promise. The proof is to let the model write, twice as far: give it one
# digit, take its most likely next digit (`temperature=0`), append it, and ask again, 32 times.
# All ten starts at once. <!-- from: the-training-loop "counting_batch(32, 16" -->
# <!-- from: does-it-count "n_new=32" -->

# %%
from lib.generate import sample

starts = torch.arange(10).unsqueeze(1)  # (10, 1): one start per row
everything = (starts + torch.arange(16)) % 10  # (10, 16): all ten sequences
written = sample(model, starts, n_new=32, temperature=0)  # (10, 33)
for row in written[:3].tolist():
    print("".join(map(str, row)))

right = (starts + torch.arange(33)) % 10
n_right = (written == right).all(dim=1).sum().item()
print("rows that are right to the last digit:", n_right)
claim(n_right == 10, "all ten rows are right for all 32 digits")

# %% [markdown]
# All 10 rows are right for all 32 digits, although no training sequence was longer
# than 16. <!-- from: the-training-loop "counting_batch(32, 16" -->
# <!-- from: does-it-count "n_new=32" -->

# %% tags=["proof"]
# @title Proof: the loss equals PyTorch's own
ours = cross_entropy(logits, targets)
torchs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
print("equal to PyTorch:", torch.allclose(ours, torchs, atol=1e-6))
assert torch.allclose(ours, torchs, atol=1e-6)

# %% [markdown]
# ### The classic bug: gradients that pile up
#
# PyTorch *adds* each new gradient to the old one. Forget `zero_grad`, and the optimiser is
# given the sum of all gradients so far, most of them out of date. Nothing crashes. Here are
# 60 steps of it without that one line.

# %%
torch.manual_seed(0)
broken = GPT(config)
broken_optimizer = torch.optim.AdamW(broken.parameters(), lr=0.01)
generator = torch.Generator().manual_seed(0)
broken_losses = []
for step in range(60):
    inputs, targets = counting_batch(32, 16, generator)
    loss = cross_entropy(broken(inputs), targets)
    loss.backward()  # no zero_grad before this line
    broken_optimizer.step()
    broken_losses.append(loss.item())
claim(min(broken_losses[40:]) > math.log(10), "without it: worse than guessing")

# %% mystnb={"image": {"alt": "Line chart with two losses. With zero_grad the loss falls to zero. Without it the loss falls at first, then climbs far above the dashed line of guessing."}}
runs = {"with zero_grad": losses, "without zero_grad": broken_losses}
plot.loss_curve(runs, {"pure guessing": math.log(10)})

# %% [markdown]
# *Without `zero_grad` the model learns for a moment, then runs past its goal and ends far
# worse than guessing.*
#
# A test finds it without any training: make the same step twice, with a learning rate of 0 so
# that nothing moves. (`SGD` is the plainest optimiser.) The stored gradient must be the same
# both times.


# %%
def gradients_pile_up(step_function):
    model = GPT(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # rate 0: nothing moves
    inputs, targets = counting_batch(4, 8, torch.Generator().manual_seed(0))
    step_function(model, optimizer, inputs, targets)
    once = model.head.weight.grad.clone()
    step_function(model, optimizer, inputs, targets)  # the same step again
    return not torch.allclose(model.head.weight.grad, once)


# %% [markdown]
# Try both:


# %%
def broken_step(model, optimizer, inputs, targets):
    cross_entropy(model(inputs), targets).backward()
    optimizer.step()


print("our step piles up gradients:   ", gradients_pile_up(train_step))
print("broken step piles up gradients:", gradients_pile_up(broken_step))
assert not gradients_pile_up(train_step)
assert gradients_pile_up(broken_step)

# %% [markdown]
# ## Look
#
# ### How the predictions grow
#
# Each row is a digit that was read, each column a digit that could come next. Move the
# slider through the training and watch the dark cells gather one place to the right of
# the diagonal.


# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider

digits = [str(digit) for digit in range(10)]


def prediction_table(model):
    """Probabilities of the next digit after each digit, at the eighth position."""
    with torch.no_grad():
        probabilities = model(everything).softmax(dim=-1)[:, 7]  # (10, 10)
    return probabilities[everything[:, 7].argsort()]


def draw(step):
    table = prediction_table(snapshots[step])
    axes = "next digit", "digit read"
    return plot.heat_map(table, digits, digits, *axes, size=(5.2, 4.4), top=1)


def describe(step):
    right = prediction_table(snapshots[step])[range(10), [*range(1, 10), 0]].mean()
    return f"Table after {step} steps: the right digit gets {right:.0%} on average."


slider(draw, list(snapshots), "training step", alt=describe, start=3)

# %% [markdown]
# *Training moves probability from everywhere to the one right place in each row; the last
# row wraps around from 9 to 0.*
#
# ### Where it looks
#
# In attention, each position decides how much to take from itself and from each earlier
# position. These are the weights of all four heads after training, for one sequence. Read a
# picture row by row: the digit on the left takes most from where its row is dark.

# %% mystnb={"image": {"alt": "Four square heat maps, one per block and head. All cells above the diagonal are white. Below it the weight is spread over the earlier digits, in each head in another way."}}
from lib.evaluate.attention_maps import attention_maps

sequence = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 0, 1, 2]])
maps = [weights[0] for weights in attention_maps(model, sequence)]  # each (H, T, T)
futures = [weights.triu(diagonal=1).max().item() for weights in maps]
print("largest weight on a later position:", max(futures))
assert max(futures) == 0
plot.attention_maps(maps, labels=[str(d) for d in sequence[0].tolist()])

# %% [markdown]
# *Above the diagonal everything is exactly 0.0: no position sees the future. Below it the
# heads spread their weights over the past in various ways.*
#
# Which of these patterns does the counting? Let us find out.

# %% [markdown]
# ## Experiment: which part does the work?
#
# Take the trained model and silence one part at a time by setting its last weights to zero (`out_proj`
# in attention, `down` in the feed-forward network). Each part only *adds* its output to the vector: the
# vector then passes unchanged. If the model still counts correctly, it can do without that part.


# %%
@torch.no_grad()  # only measuring
def accuracy_without(model, part):
    model = copy.deepcopy(model)
    for block in model.blocks:
        if part == "attention":
            block.attention.out_proj.weight.zero_()  # in place
        if part == "feed-forward":
            block.ffn.down.weight.zero_()
            block.ffn.down.bias.zero_()
    if part == "positions":
        model.positions.table.weight.zero_()
    if part == "tokens":
        model.tokens.weight.zero_()
    return (model(everything).argmax(-1) == (everything + 1) % 10).float().mean().item()


# %% [markdown]
# `everything`, from the check above, holds a sequence of digits from each of the ten starts. Which
# parts can the model do without?

# %% tags=["measured:wide"]
parts = ("nothing", "attention", "positions", "feed-forward", "tokens")
without = {part: accuracy_without(model, part) for part in parts}
for part, share in without.items():
    print(f"without {part:13} {share:4.0%} of the next digits right")
claim(without["attention"] == without["positions"] == 1, "neither is needed")
claim(without["feed-forward"] < 0.95, "the feed-forward networks are needed")
claim(without["tokens"] < 0.2, "without tokens it guesses")

# %% [markdown]
# Without attention the model still gets 100 % right. **Counting needs no attention**: the next
# digit depends on the last digit alone. Remember the heat maps above: they looked busy, and the
# model did not need them. A picture of attention is no proof that the attention matters;
# switching it off is.
#
# Positions are not needed either. (Those beyond 16, used when it wrote
# 32 digits, are small random numbers and did no harm.) <!-- from: the-training-loop "counting_batch(32, 16" -->
#
# The feed-forward networks *are* needed. So is counting what they are for? Careful: the table
# says where *this* model has put the work, not where the work must be done. Train another one
# whose feed-forward networks are silent from the first step to the last.

# %% tags=["measured:wide"]
torch.manual_seed(0)
lean, generator = GPT(config), torch.Generator().manual_seed(0)
for block in lean.blocks:
    block.ffn.down.requires_grad_(False)  # no training changes it
    block.ffn.down.weight.zero_()
    block.ffn.down.bias.zero_()
optimizer = torch.optim.AdamW(lean.parameters(), lr=0.01)
for step in range(100):
    train_step(lean, optimizer, *counting_batch(32, 16, generator))
share = accuracy_without(lean, "nothing")
print(f"trained without feed-forward: {share:.0%} of the next digits right")
claim(share == 1, "a model learns to count without feed-forward networks")

# %% [markdown]
# It counts as well as the first one. The work can be done by other parts.
#
# The model that only looks at the last token has a name, the bigram model. You build it in
# lesson [02](02_bigram.ipynb).
#
# ### A text that does need attention
#
# Change the text a little: two random digits that alternate, `7 2 7 2 7 2 ...`. After a 2
# anything can come; what does come is the digit that stood *before* the 2. Only attention can
# fetch it. (`repeat(1, n)` writes the table n times side by side.)


# %%
def alternating_batch(batch_size, length, generator):
    pair = torch.randint(10, (batch_size, 2), generator=generator)  # (B, 2)
    digits = pair.repeat(1, length // 2 + 1)[:, : length + 1]  # (B, T + 1)
    return digits[:, :-1], digits[:, 1:]


# %% [markdown]
# Train a new model on any such batch, with attention or with its attention switched off (the
# weights of its output stay 0), and score it.


# %%
def train_on(batch, with_attention, n_steps):
    torch.manual_seed(0)
    model = GPT(config)
    if not with_attention:  # zeros that no training changes
        for block in model.blocks:
            block.attention.out_proj.weight.requires_grad_(False).zero_()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for step in range(n_steps):
        train_step(model, optimizer, *batch(32, 16, generator))
    return model


# %%
@torch.no_grad()
def score(model, batch, skip):
    """Share of right digits in 500 sequences, the first `skip` targets left out."""
    inputs, targets = batch(500, 16, torch.Generator().manual_seed(1))
    right = model(inputs).argmax(dim=-1) == targets  # (B, T)
    return right[:, skip:].float().mean().item()


# %% [markdown]
# Now two models from the same seed, with and without attention. The first target is left out of
# the score: nobody can guess the second digit of a pair.

# %% tags=["measured:wide"]
pair_models = {on: train_on(alternating_batch, on, n_steps=120) for on in (True, False)}
scores = {on: score(pair_models[on], alternating_batch, 1) for on in (True, False)}
print(f"with attention {scores[True]:.0%} right, without {scores[False]:.0%}")
claim(scores[True] > 0.9, "with attention more than nine in ten digits are right")
claim(scores[False] < 0.2, "without attention the model nearly guesses")

# %% [markdown]
# Without attention it nearly guesses, one in ten. Look at the attention again.

# %% mystnb={"image": {"alt": "Four square heat maps for the sequence 7 2 7 2 and so on. All cells above the diagonal are white; below it the weight is spread unevenly, in each head in another way."}}
sequence = torch.tensor([[7, 2] * 5])
maps = [weights[0] for weights in attention_maps(pair_models[True], sequence)]
plot.attention_maps(maps, labels=[str(d) for d in sequence[0].tolist()])

# %% [markdown]
# *Each head spreads its weight in its own way; another training would give other patterns. Do not try
# to read the answer off them.*
#
# Which block fetches the digit? The picture does not say. So switch off the attention of one
# block at a time.


# %% tags=["measured:wide"]
@torch.no_grad()
def score_without(block):
    silenced = copy.deepcopy(pair_models[True])
    silenced.blocks[block].attention.out_proj.weight.zero_()
    return score(silenced, alternating_batch, 1)


without_first, without_second = score_without(block=0), score_without(block=1)
print(f"without the first block's attention {without_first:.0%} right")
print(f"without the second block's {without_second:.0%}")
claim(without_first < 0.3, "without the attention of the first block it nearly guesses")
claim(without_second > 0.7, "it hardly needs the attention of the second block")

# %% [markdown]
# The first block does most of the fetching. How a head finds its place is the subject of lessons 06 and
# 07.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>The model wrote 32 digits, as many as its context holds. What happens if it writes on?</summary> <!-- from: does-it-count "n_new=32" -->
#
# Nothing special here: `sample` gives the model only the last 32 digits, the length of
# its context. A window that starts at another digit is just another sequence. Try it with a
# larger `n_new`. <!-- from: the-model "'context_length': 32" -->
#
# </details>
#
# <details><summary>The loss after a hundred steps is tiny, but is it exactly zero?</summary>
#
# No. On paper a softmax never gives exactly 1 to one digit, so $-\ln p$ stays a little above
# 0. Print `losses[-1]` with more decimals.
#
# </details>
#
# <details><summary>What would the loss be for digits drawn at random, after long training?</summary>
#
# 2.303 nats, the same as at the start. Where nothing can be known, the uniform guess is
# already the best one. <!-- from: by-hand "probability 0.1" -->
#
# </details>

# %% [markdown]
# ## Exercises
#
# Each exercise ends with a check that looks at *your* object. Until you start it prints
# "not attempted yet".

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_00 import (
    check_accuracy,
    check_countdown_batch,
    check_needs_attention,
    check_parameter_count,
)

# %% [markdown]
# ### Exercise 1: Count the parameters
#
# *warm-up · 10 minutes* · [Solution](../solutions/00_quickstart.ipynb#exercise-1-count-the-parameters)
#
# Write the formula for the number of parameters of a `GPT` like the one above (no bias in
# attention, no final norm). Use the list of shapes that you printed: a block holds two
# norms, four square matrices and a feed-forward network with two biases.
#
# <details><summary>Hint</summary>
#
# Per block: $4 D^2$ for attention, $2 D$ for each of the two norms, and
# $2 D F + F + D$ for the feed-forward network, where $D$ is `d_model` and $F$ is `d_ff`.
# Around the blocks: token vectors, position vectors, and a head with a bias.
#
# </details>


# %%
def parameter_count(vocab_size, d_model, n_layers, d_ff, context_length):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_parameter_count(parameter_count)

# %% [markdown]
# ### Exercise 2: Count down
#
# *core · 10 minutes* · [Solution](../solutions/00_quickstart.ipynb#exercise-2-count-down)
#
# Write the batch that teaches the model to count backwards: `3 2 1 0 9 8 ...`. Inputs and
# targets have shape `(batch_size, length)`, each row starts at a random digit.
#
# <details><summary>Hint</summary>
#
# In Python, `(-1) % 10` is 9, and the same holds for tensors.
#
# </details>


# %%
def countdown_batch(batch_size, length, generator):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_countdown_batch(countdown_batch)

# %% [markdown]
# ### Exercise 3: Measure accuracy
#
# *core · 10 minutes* · [Solution](../solutions/00_quickstart.ipynb#exercise-3-measure-accuracy)
#
# The loss is in nats, people prefer percent. Write a function that takes logits
# `(B, T, V)` and targets `(B, T)` and returns the share of positions at which the most
# likely token is the target, as a Python float.
#
# <details><summary>Hint</summary>
#
# `argmax` over the last dimension gives ids of shape `(B, T)`. Compare, convert to float,
# take the mean.
#
# </details>


# %%
def accuracy(logits, targets):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_accuracy(accuracy)

# %% [markdown]
# ### Exercise 4: Invent a text that needs attention
#
# *stretch · 20 minutes* · [Solution](../solutions/00_quickstart.ipynb#exercise-4-invent-a-text-that-needs-attention)
#
# Write a batch function of your own (same arguments, same shapes, digits 0 to 9) for a text
# that needs attention: once four digits have been read, everything that follows is fixed, but
# knowing the last digit and its position is *not* enough. Two alternating digits are the example above; find
# another.
# Then see what a model makes of it, with `True` and with `False`:
# `score(train_on(my_batch, True, 120), my_batch, skip=3)`. If both guess, try more steps.
# <!-- from: a-text-that-does-need-attention "n_steps=120" -->
#
# <details><summary>Hint</summary>
#
# Three random digits that repeat: a hundred steps teach it. Harder: each digit is the sum of
# the two before it, modulo 10; that takes about six times as many.
#
# </details>


# %%
def my_batch(batch_size, length, generator):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_needs_attention(my_batch)

# %% [markdown]
# ## Recap
#
# - You built a **training set** whose targets are its inputs, moved by one; the text is
#   its own teacher.
# - You built a **training loop**: predict, measure, clear the gradients, compute new ones,
#   move. Without the clearing it ends worse than guessing, and a **test** catches that.
# - You saw the **whole life of a model** of 5,162 parameters: the loss fell from 2.30 nats
#   to almost nothing, all ten starts were written right for 32 digits.
#   <!-- from: the-model "5,162 parameters" --> <!-- from: does-it-count "n_new=32" -->
#   <!-- from: before-training "loss before training" -->
# - You saw that **attention** was not needed for counting, and that without it the same model
#   only guesses when the answer stands further back.
#
# What is still wrong: ten digits are not a language. Real text has capital letters, commas
# and names, and nobody can be always right about it. How do you turn such a text into
# numbers, and how good can a prediction be? That is lesson
# [01](01_text_and_tokens.ipynb).
#
# The library entries behind this page: [GPT](../book/api.md#modelsgpt),
# [sample](../book/api.md#generate), [cross_entropy](../book/api.md#evaluatelosses).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*: look at Figure 1 only. The model of
#   this page is its right half without the box in the middle, and with each norm moved to the
#   front of its part; by the end of the course you will have built the left half too. See the [bibliography](../book/bibliography.md).
# - Radford et al. (2018), *Improving Language Understanding by Generative Pre-Training*,
#   section 3.1: a model like this one in three lines of formulas.
