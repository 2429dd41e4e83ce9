# %% [markdown]
# # 02 · The bigram model
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/02_bigram.ipynb)
#
# You build your first language model twice: by counting, where the best answer is known
# exactly, and by training, where you can watch gradient descent arrive at the same answer.
#
# - **You will build** the bigram model as counts and as a network, the cross-entropy loss,
#   the training loop, a fair evaluation, and a sampler that writes text.
# - **You will see** that counting and training agree, and a bug that its own training
#   loss cannot see.
# - **Needs** lesson [01](01_text_and_tokens.ipynb).
# - **Takes** about 75 minutes without exercise 4; the notebook runs in under 30 s.

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
# Lesson [01](01_text_and_tokens.ipynb) left you with a model that knows how frequent each
# character is, and reads nothing: 3.3473 nats per character. How much better is a model
# that reads *one* character, the last one? <!-- from: 01_text_and_tokens#experiment-two-models-that-read-nothing "Unigram:" -->

# %% [markdown]
# ## The machine
#
# The whole model is a table. The character that was read chooses the row. The row holds a score, a
# *logit*, for each next character, and the softmax makes probabilities of the scores. You first fill
# the table with probabilities directly, by counting.

# %% mystnb={"image": {"alt": "Diagram: the last character read selects one row of a table with a row and a column per character; the row becomes a bar chart of probabilities, from which the next character is drawn."}}
from lib.show import diagrams

diagrams.bigram_table()

# %% [markdown]
# ## By hand
#
# Two neighbouring tokens are a [bigram](../book/glossary.md#bigram). Go through the line and
# note what follows each `o`.

# %%
from collections import Counter

line = "to be or not to be"
followers = Counter(after for before, after in zip(line, line[1:]) if before == "o")
for character, count in followers.items():
    print(f"after 'o' comes {character!r} {count} of {followers.total()} times")

# %% [markdown]
# So after an `o` the model says: a space with probability 2/4, an `r` with 1/4, a `t` with
# 1/4. Do that for every character and you have the whole model.

# %% [markdown]
# ## The formula
#
# Let $C_{ij}$ be the number of times that token $j$ follows token $i$ in the training text.
# The probability of $j$ after $i$ is its share of the row:
#
# $$p(j \mid i) = \frac{C_{ij}}{\sum_{k} C_{ik}}$$
#
# and the loss of a text $x_1, \ldots, x_N$ is the mean surprise over its $N - 1$ pairs. (The
# past $x_{<t}$ of lesson [01](01_text_and_tokens.ipynb) is cut to its last token.)
#
# $$L = -\frac{1}{N - 1} \sum_{n=1}^{N-1} \ln p(x_{n+1} \mid x_n)$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $C_{ij}$ | `(V, V)` | counts: row = the token read, column = the token after it |
# | $p(j \mid i)$ | `(V, V)` | probabilities; each **row** sums to 1 |
# | $L$ | number | the loss, in nats per token |
#
# On
# the training text no other table has a smaller loss: in each row nothing beats the row's own
# shares (the divergence of lesson [01](01_text_and_tokens.ipynb) is never negative).

# %% [markdown]
# ## Build
#
# ### Counting
#
# First the data, as in the last lesson.

# %% tags=["corpus"]
import torch

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
# A Python loop over a million pairs is slow. So give each pair one number, `row * V + column`,
# and let `bincount` count the numbers. The result is one long row of counts; `view` cuts it
# into rows of length $V$.

# %% tags=["naive:models.bigram.count_pairs"]
def count_pairs(tokens, vocab_size):
    pairs = tokens[:-1] * vocab_size + tokens[1:]  # row * V + column
    counts = torch.bincount(pairs, minlength=vocab_size**2)
    return counts.view(vocab_size, vocab_size)


# %%
print(count_pairs(torch.tensor([0, 1, 1, 2, 1]), vocab_size=3).tolist())

# %% [markdown]
# In the row of ids `0 1 1 2 1`, a 1 follows the 0 once; after a 1 came a 1 and a 2; after the 2
# came a 1.

# %% [markdown]
# The training split:

# %% tags=["corpus"]
import time

start = time.process_time()
counts = count_pairs(train, V)
counting_seconds = time.process_time() - start
t, h = tokenizer.encode("th")
print(f"{counts.sum():,} pairs; 'th' occurs {counts[t, h]:,} times")
print(f"{(counts == 0).sum():,} of the {V * V:,} possible pairs never occur")

# %% [markdown]
# Two thirds of *possible* pairs never occur.
#
# ### From counts to probabilities, and to a loss
#
# Each row is divided by its sum (`keepdim=True` keeps the sums in a column, so that each row is
# divided by its own). Then `pair_loss` looks up the probability of each pair that occurs in a text.


# %%
def pair_loss(probabilities, tokens):
    """Mean surprise in nats over the N - 1 pairs of a text."""
    return -probabilities[tokens[:-1], tokens[1:]].log().mean().item()


# %% tags=["corpus"]
probabilities = counts.double() / counts.sum(dim=1, keepdim=True)
train_floor = pair_loss(probabilities, train)
print(f"training split:   {train_floor:.4f} nats")
print(f"validation split: {pair_loss(probabilities, validation):.4f} nats")
unseen = (counts[validation[:-1], validation[1:]] == 0).sum().item()
print(f"pairs in the validation split that training never saw: {unseen}")

# %% [markdown]
# On the training split the loss is 2.4519 nats. On the validation split it is *infinite*: 187
# pairs there never occurred in training, the model gave them probability 0, and $-\ln 0$
# is infinite.
#
# ### Smoothing
#
# Nothing should be impossible. The oldest repair: add one to every count before dividing.
#
# $$p(j \mid i) = \frac{C_{ij} + 1}{\sum_{k} (C_{ik} + 1)}$$

# %% tags=["corpus"]
smoothed = (counts + 1).double() / (counts + 1).sum(dim=1, keepdim=True)
counted_loss = pair_loss(smoothed, validation)
print(f"add-one smoothing, validation: {counted_loss:.4f} nats")
print(f"add-one smoothing, training:   {pair_loss(smoothed, train):.4f} nats")

shares = train.bincount(minlength=V).double() / len(train)
unigram_loss = -shares[validation].log().mean().item()
print(f"reading one character saves {unigram_loss - counted_loss:.2f} nats")

# %% [markdown]
# 2.4819 nats: reading a single character saves 0.87 nats.
# [Smoothing](../book/glossary.md#smoothing) costs a little on the training split, 2.4546
# instead of 2.4519, and rescues the rest. <!-- from: smoothing -->
# <!-- from: from-counts-to-probabilities-and-to-a-loss "training split:" -->

# %% [markdown]
# ### Logits and cross-entropy
#
# A network does not output probabilities but [logits](../book/glossary.md#logits): one
# score of any size per token. The [softmax](../book/glossary.md#softmax) turns a row of
# logits $z$ into probabilities, $p_j = e^{z_j} / \sum_k e^{z_k}$. Take minus the logarithm of
# that quotient, and the loss of a target is
#
# $$-\ln p_\text{target} = -z_\text{target} + \ln \sum_k e^{z_k}$$
#
# The last term needs care: $e^{1000}$ is too large for a float. PyTorch has `logsumexp`,
# which subtracts the largest logit first and adds it again at the end.

# %%
large = torch.tensor([1000.0, 999.0])
print(f"as written: {large.exp().sum().log():.3f}")
print(f"logsumexp:  {large.logsumexp(dim=-1):.3f}")

# %% [markdown]
# What remains is to pick, in each row, the entry of the target. That is what `gather` does:

# %%
rows = torch.tensor([[10, 20, 30], [40, 50, 60]])
targets = torch.tensor([2, 0])  # column 2 of the first row, column 0 of the second
print(rows.gather(-1, targets.unsqueeze(-1)).tolist())

# %% [markdown]
# `unsqueeze(-1)` makes the targets a column, one entry per row; `-1` stands for the last
# dimension. Now the loss, for logits of any shape `(..., V)`.

# %% tags=["naive:evaluate.losses.cross_entropy"]
def cross_entropy(logits, targets):
    log_probabilities = logits - logits.logsumexp(dim=-1, keepdim=True)
    return -log_probabilities.gather(-1, targets.unsqueeze(-1)).mean()


# %% [markdown]
# Is it the same loss as before? The logarithms of the smoothed counts are logits whose
# softmax is exactly the smoothed table.

# %% tags=["corpus"]
logits = (counts + 1).double().log()
loss = cross_entropy(logits[validation[:-1]], validation[1:]).item()
print(f"cross-entropy of log counts: {loss:.4f} nats")

# %% [markdown]
# 2.4819. A bigram model *is* a table of logits.

# %% [markdown]
# ### Learning the table
#
# The best table is known. Can training find it?
#
# Start with all logits 0 and go against the [gradient](../book/glossary.md#gradient): how the loss
# changes when one logit changes a little, its
# [derivative](../book/mathematics.md#derivative). For one row, whose tokens have shares $s_k$
# that sum to 1, the mean loss is $L = -\sum_k s_k z_k + \ln \sum_k e^{z_k}$. Differentiated by
# $z_j$, the first term gives $-s_j$; the second, the outer derivative times the inner one, $e^{z_j} / \sum_k e^{z_k} = p_j$:
#
# $$\frac{\partial L}{\partial z_j} = p_j - s_j$$
#
# ($\partial$: the derivative by $z_j$, while the other logits stay as they are.)
#
# **What the model says, minus what was counted.** Where the model gives too much the logit
# goes down, where it gives too little it goes up, and nothing moves once $p$ equals the shares.
#
# Check it against PyTorch on a row of three tokens with counts 6, 3, 1. `requires_grad` asks
# PyTorch to keep track of what depends on `z`; `backward` then fills `z.grad`. (Lesson
# 03 shows how. `log_softmax` is $z$ minus its `logsumexp`.)

# %%
row_counts = torch.tensor([6.0, 3.0, 1.0])
z = torch.zeros(3, requires_grad=True)
loss = -(row_counts * z.log_softmax(dim=0)).sum() / row_counts.sum()
loss.backward()

by_hand = z.detach().softmax(dim=0) - row_counts / row_counts.sum()
print("PyTorch: ", [round(g, 3) for g in z.grad.tolist()])
print("by hand: ", [round(g, 3) for g in by_hand.tolist()])
assert torch.allclose(z.grad, by_hand, atol=1e-6)

# %% [markdown]
# The model says 1/3 each; counted were 6, 3 and 1 of 10. So the first logit must rise and the
# last must fall. (`detach` takes the numbers without their history.)
#
# Now the whole table, with the four moves of lesson [00](00_quickstart.ipynb) at each
# [step](../book/glossary.md#step). (`dim` is there to be set wrong later.)


# %%
def train_table(n_steps, dim=1):
    table = torch.zeros(V, V, requires_grad=True)
    # weight_decay, a part of AdamW that lesson 11 explains, is off
    optimizer = torch.optim.AdamW([table], lr=0.3, weight_decay=0.0)
    for step in range(n_steps):
        loss = -(counts * table.log_softmax(dim=dim)).sum() / counts.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return table.detach(), loss.item()


# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

train_table(1)  # the first optimiser loads code: keep that out of the time
start = time.process_time()
table, table_train_loss = train_table(100)
table_seconds = time.process_time() - start
table_loss = pair_loss(table.softmax(dim=1), validation)
print(f"training:   {table_train_loss:.3f} nats, by counting {train_floor:.3f}")
print(f"validation: {table_loss:.3f} nats, by counting {counted_loss:.3f}")
claim(abs(table_train_loss - train_floor) < 0.01, "training finds the counted loss")
claim(abs(table_loss - counted_loss) < 0.01, "and on the validation split too")

# %% [markdown]
# After 100 steps the table is within a hundredth of a nat of the counts. Gradient descent does not know that it is counting, and arrives
# close to the same place. (A pair that never occurred still has a small probability.)

# %% [markdown]
# ### The model as a module
#
# From here on, models are PyTorch modules: classes that hold their parameters and compute in
# `forward`, which runs when you call the model, `model(ids)`. `nn.Embedding` is a table whose
# rows are looked up by id. Our table of logits is one, `V` rows of `V` numbers.
#
# With `d_model` set, each token gets a short vector instead, its
# [embedding](../book/glossary.md#embedding), and a linear layer (a matrix and a bias) turns
# the vector into logits. The sizes of a model stand in a *configuration*, a data class.

# %% tags=["naive:models.bigram.BigramConfig"]
from dataclasses import dataclass


@dataclass(frozen=True)
class BigramConfig:
    vocab_size: int = 65
    d_model: int | None = None


# %% tags=["lib:models.bigram.BigramLM"]
from torch import Tensor, nn


class BigramLM(nn.Module):
    context_length = 1  # how many of the last tokens the prediction depends on

    def __init__(self, config: BigramConfig) -> None:
        super().__init__()
        c = self.config = config
        if c.d_model is None:
            self.logits = nn.Embedding(c.vocab_size, c.vocab_size)
        else:
            table = nn.Embedding(c.vocab_size, c.d_model)
            self.logits = nn.Sequential(table, nn.Linear(c.d_model, c.vocab_size))

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits(ids)


# %% [markdown]
# How many numbers do the two kinds of this model have to learn?

# %%
for d_model in (None, 32):
    model = BigramLM(BigramConfig(V, d_model))
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    shape = tuple(model(train[:24].view(3, 8)).shape)
    print(f"d_model={d_model}: {n_parameters:,} parameters, (3, 8) -> {shape}")

# %% [markdown]
# Both have 4,225 [parameters](../book/glossary.md#parameter). That is a coincidence of the
# sizes: 65 · 65 for the table; 65 · 32 for the embeddings, 32 · 65 for the layer and 65 for
# its bias. (`nn.Sequential` calls its parts one after the other.)
#
# ### The training loop
#
# Larger models have no table of counts to look at. They see random batches of windows, one
# after the other. This loop trains every model until lesson 11.


# %% tags=["naive:train.fit"]
def fit(model, next_batch, n_steps, learning_rate):
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.0)
    losses = []
    for _ in range(n_steps):
        inputs, targets = next_batch()
        loss = cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% [markdown]
# ### A fair evaluation
#
# The loss of one batch jumps up and down with the luck of the draw. For a number that can
# be compared, read the whole split once, in windows that do not overlap. Every token but the
# first is then a target exactly once; what does not fill a window comes last.


# %% tags=["naive:text.batches.consecutive_batches"]
def consecutive_batches(tokens, batch_size, context_length):
    whole = (len(tokens) - 1) // context_length * context_length
    inputs = tokens[:whole].view(-1, context_length)
    targets = tokens[1 : whole + 1].view(-1, context_length)
    yield from zip(inputs.split(batch_size), targets.split(batch_size))
    if whole < len(tokens) - 1:  # the rest, as a batch of one shorter window
        yield tokens[None, whole:-1], tokens[None, whole + 1 :]


# %% [markdown]
# Ten tokens in windows of four: two whole windows and a rest of one.

# %%
for inputs, targets in consecutive_batches(torch.arange(10), 1, 4):
    print(inputs.tolist(), "->", targets.tolist())

# %% [markdown]
# The mean over the split weighs each batch by its number of targets. Measuring needs no
# gradients, so `no_grad` switches them off.


# %% tags=["naive:train.estimate_loss"]
@torch.no_grad()
def estimate_loss(model, tokens, context_length):
    total = 0.0
    for inputs, targets in consecutive_batches(tokens, 500, context_length):
        total += cross_entropy(model(inputs), targets).item() * targets.numel()
    return total / (len(tokens) - 1)


# %% [markdown]
# ### Training with batches
#
# Embeddings of 32 numbers, 256 windows per batch, 500 steps. (To a bigram, a window of 8 is just
# eight pairs.) The dashed line is what counting reaches on the training split.

# %% mystnb={"image": {"alt": "Line chart of the training loss over 500 steps. It falls steeply from above four nats, bends, and then jitters just above the dashed line of the counted optimum."}} tags=["corpus", "measured"]
from lib.show import plot

torch.manual_seed(0)
model = BigramLM(BigramConfig(V, d_model=32))
generator = torch.Generator().manual_seed(0)
start = time.process_time()
next_batch = lambda: random_batch(train, 256, 8, generator)
losses = fit(model, next_batch, n_steps=500, learning_rate=0.01)
model_seconds = time.process_time() - start
model_loss = estimate_loss(model, validation, context_length=8)
print(f"validation: {model_loss:.2f} nats, by counting {counted_loss:.2f}")
claim(abs(model_loss - counted_loss) < 0.05, "batches come close to the counts too")
plot.loss_curve({"batches": losses}, {"by counting": train_floor})

# %% [markdown]
# *The loss of single batches comes down to the counted optimum, and jitters.*
#
# 2.50 nats against 2.48: small batches, few steps, few numbers per embedding.

# %% [markdown]
# ### Writing
#
# A language model writes by predicting, drawing one token from the prediction, appending it,
# and asking again. The [temperature](../book/glossary.md#temperature) divides the logits
# first: below 1 the likely becomes likelier, above 1 everything becomes more equal, and 0
# stands for always taking the likeliest.


# %% tags=["naive:generate.sampling.sample_next"]
def sample_next(logits, temperature=1.0, generator=None):
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)  # (B, 1)
    probabilities = (logits / temperature).softmax(dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)


# %% [markdown]
# `multinomial` draws one id per row with the probabilities of that row.
#
# The loop around it gives the model as many of the last tokens as it can read, gets logits
# `(B, T, V)`, and keeps those of the last position, `[:, -1]`: only they predict a token
# that is not there yet. The prompts of a batch, one per row, are continued side by side.


# %% tags=["naive:generate.sample"]
@torch.no_grad()
def sample(model, ids, n_new, temperature=1.0, generator=None):
    for _ in range(n_new):
        logits = model(ids[:, -model.context_length :])[:, -1]  # (B, V)
        ids = torch.cat([ids, sample_next(logits, temperature, generator)], dim=1)
    return ids


# %% [markdown]
# The counted model as a `BigramLM`: put the logarithms of the smoothed counts into its
# table (`.data` are the numbers of a parameter, without the bookkeeping for gradients). Then
# let it write, at three temperatures.

# %% tags=["corpus", "sample"]
counted = BigramLM(BigramConfig(V))
counted.logits.weight.data = (counts + 1).float().log()
prompt = torch.tensor([tokenizer.encode("T")])
for temperature in (0, 0.5, 1.0):
    generator = torch.Generator().manual_seed(0)
    written = sample(counted, prompt, 150, temperature, generator)
    text = tokenizer.decode(written[0])
    print(f"temperature {temperature}: {text}\n")

# %% [markdown]
# At temperature 0 it runs in a circle. At 1.0 it has found endings that look English, and the
# layout: capitals, colon,
# new line.

# %% [markdown]
# ## Check
#
# The library's versions guard against wrong input and give the same numbers; `cross_entropy`
# equals PyTorch's own. `estimate_loss` counts every pair once: whatever the length of its
# windows, it gives the counted model the loss of the table.

# %% tags=["same:models.bigram.count_pairs", "same:evaluate.losses.cross_entropy", "same:models.bigram.BigramConfig", "proof"]
# @title Proof: counts, losses and settings equal the library's and PyTorch's
from lib.evaluate import losses as library_losses
from lib.models import bigram as library

assert torch.equal(count_pairs(train, V), library.count_pairs(train, V))
generator = torch.Generator().manual_seed(0)
z = torch.randn(4, 8, V, generator=generator)
y = torch.randint(V, (4, 8), generator=generator)
torchs = nn.functional.cross_entropy(z.flatten(0, 1), y.flatten())
assert torch.allclose(cross_entropy(z, y), torchs, atol=1e-6)
assert torch.equal(cross_entropy(z, y), library_losses.cross_entropy(z, y))
theirs = vars(library.BigramConfig(V, 32))
assert vars(BigramConfig(V, 32)).items() <= theirs.items()
print(theirs)

# %% tags=["same:train.estimate_loss", "same:text.batches.consecutive_batches", "proof", "corpus"]
# @title Proof: the evaluation counts every pair once, and equals the library's
from lib import train as library_train
from lib.text import batches

for context_length in (1, 7, 64, 1_000):
    loss = estimate_loss(counted, validation, context_length)
    assert abs(loss - counted_loss) < 1e-4
    theirs = library_train.estimate_loss(counted, validation, context_length)
    assert abs(loss - theirs) < 1e-5
own, theirs = consecutive_batches(y.flatten(), 3, 7), batches.consecutive_batches
for pair, other in zip(own, theirs(y.flatten(), 3, 7), strict=True):
    assert torch.equal(pair[0], other[0]) and torch.equal(pair[1], other[1])
print(f"the same loss for windows of 1, 7, 64 and 1,000 tokens: {loss:.4f}")

# %% [markdown]
# And training, writing:

# %% tags=["same:train.fit", "same:generate.sample", "same:generate.sampling.sample_next", "proof"]
# @title Proof: training and writing equal the library's
from lib import generate
from lib.generate import sampling

runs = []
for train_it, write in ((fit, sample), (library_train.fit, generate.sample)):
    torch.manual_seed(0)
    twin, generator = BigramLM(BigramConfig(V)), torch.Generator().manual_seed(0)
    curve = train_it(twin, lambda: random_batch(train, 16, 8, generator), 5, 0.01)
    runs.append((curve, write(twin, prompt, 20, 0.5, generator).tolist()))
assert runs[0] == runs[1]
ours, theirs = sample_next(z[0], 0), sampling.sample_next(z[0], 0)
assert torch.equal(ours, theirs)
print("the same losses, the same text")

# %% [markdown]
# ### The classic bug: softmax over the wrong axis
#
# A softmax keeps the shape, so `dim=0` runs as well as `dim=1`. With the wrong one, each *column*
# sums to 1 instead of each row. Train the table both ways and look at the training loss.

# %% tags=["corpus", "measured"]
wrong_table, wrong_train_loss = train_table(100, dim=0)
print(f"right axis: {table_train_loss:.3f} nats")
print(f"wrong axis: {wrong_train_loss:.3f} nats")
claim(abs(wrong_train_loss - table_train_loss) < 1e-3, "the loss does not see the bug")

# %% [markdown]
# The same! The loss looks up one number per pair and never asks whether a row is a
# distribution. The wrong table answers another question: given the *next* character, what was
# the one before? That is as hard. After training $p$ is the count divided by the sum of its row, or
# with the bug of its column. So a pair costs the logarithm of that sum minus the logarithm of its
# count. The second part is the same both ways. And so is the first: each character ends one pair and
# begins the next, but for the ends of the text, so its row and its column have the same sum.
#
# Three other things find the bug: the sums of the rows; a loss that normalises each row itself,
# as `cross_entropy` does; and the text.

# %% tags=["corpus", "measured"]
tables = {"right": table.softmax(dim=1), "wrong": wrong_table.softmax(dim=0)}
writers = {}
for name, p in tables.items():
    writers[name] = BigramLM(BigramConfig(V))
    writers[name].logits.weight.data = p.log()
    loss, sums = estimate_loss(writers[name], validation, 8), p.sum(dim=1)
    print(f"{name}: rows sum to {sums.min():.2f} .. {sums.max():.2f}, {loss:.2f} nats")
    assert torch.allclose(sums, torch.ones(V)) == (name == "right")

# %% tags=["corpus", "sample"]
for name, writer in writers.items():
    generator = torch.Generator().manual_seed(0)
    text = tokenizer.decode(sample(writer, prompt, 60, 1.0, generator)[0])
    print(f"{name}: {text!r}")

# %% [markdown]
# The rows of the wrong table sum to anything between nearly 0 and about 12. Normalised, it
# costs 3.07 nats instead of 2.48, and its text is full of rare letters. Test the sums
# wherever you write a softmax. <!-- from: the-classic-bug-softmax-over-the-wrong-axis "rows sum" -->

# %% [markdown]
# ## Look
#
# The whole model in one picture. Each row is the character that was read, each column the
# character that may follow (␣ is the space, ↵ the newline).

# %% mystnb={"image": {"alt": "Heat map of probabilities, a row and a column per character. Most cells are almost white. The darkest: u after q, newline after colon and full stop, e after v, space after comma."}} tags=["corpus"]
names = plot.visible(tokenizer.characters)
axes = "next character", "character read"
plot.heat_map(smoothed, names, names, *axes, size=(9, 8.4), gamma=0.5)

# %% [markdown]
# *Most of the table is close to 0; the dark cells are spelling: `u` after `q`, `e` after `v`, a
# space after a comma, a new line after a colon.*
#
# The slider shows one row: the ten likeliest characters after the one that you choose.

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider


def draw(character):
    row = smoothed[tokenizer.ids[character]]
    top = row.argsort(descending=True)[:10].tolist()
    after = plot.visible([tokenizer.characters[i] for i in top])
    heights = dict(zip(after, row[top].tolist()))
    return plot.bar_chart(heights, "next character", "probability", top=1)


def describe(character):
    row = smoothed[tokenizer.ids[character]]
    best = tokenizer.characters[row.argmax()]
    return f"After {character!r} the likeliest is {best!r} with {row.max():.0%}."


chosen = list("etaqz,:.\n TRQ")
slider(
    draw, chosen, "character read", alt=describe,
    name=lambda c: plot.visible([c])[0], start=3,
)  # fmt: skip

# %% [markdown]
# *After a `q` the model is almost certain, after a space almost anything can come.*

# %% [markdown]
# ## Experiment: three ways to a bigram model

# %% tags=["corpus", "sample"]
from lib.show.ladder import rung

trained = BigramLM(BigramConfig(V))
trained.logits.weight.data = table
runs = {
    "Bigram, counted": (counted, counted_loss, counting_seconds),
    "Bigram, trained on counts": (trained, table_loss, table_seconds),
    "Bigram, embedding of 32": (model, model_loss, model_seconds),
}
for name, (network, loss, seconds) in runs.items():
    generator = torch.Generator().manual_seed(1)
    text = tokenizer.decode(sample(network, prompt, 120, 1.0, generator)[0, 1:])
    rung(name, 4_225, loss, seconds, sample=text)

# %% [markdown]
# All three are within a few hundredths of a nat of each other, with 4,225 parameters each.  They are the next rungs of the [ladder](../book/ladder.md).

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You train the table thirty times as long. How low can the training loss go, and what happens to the validation loss?</summary>
#
# The training loss goes to 2.4519 nats and not below: no table can beat the counts on this
# text. The validation loss *rises* from 2.485 to 2.491, because the pairs that training
# never saw drift towards probability 0. The cell below these questions shows both.
# <!-- from: predict-then-run "3,000 steps" --> <!-- from: learning-the-table "validation:" -->
#
# </details>
#
# <details><summary>Is an infinite validation loss a sign of overfitting?</summary>
#
# Yes: [overfitting](../book/glossary.md#overfitting) in its purest form. The model takes "never
# seen" for "impossible". Smoothing is a belief held before counting: everything can happen.
#
# </details>
#
# <details><summary>Is the bigram model worse with an embedding of 8 numbers?</summary>
#
# Yes: 2.54 nats instead of 2.50. The thinner the two matrices, the fewer tables their product
# can form. <!-- from: predict-then-run "embedding of 8" -->
# <!-- from: training-with-batches "validation:" -->
#
# </details>

# %% tags=["corpus", "measured", "answer"]
# @title Answers: thirty times as long, and 8 numbers per character
long_table, long_train_loss = train_table(3_000)
long_loss = pair_loss(long_table.softmax(dim=1), validation)
print(f"3,000 steps: training {long_train_loss:.4f}, validation {long_loss:.3f} nats")

torch.manual_seed(0)
small = BigramLM(BigramConfig(V, d_model=8))
generator = torch.Generator().manual_seed(0)
fit(small, lambda: random_batch(train, 256, 8, generator), 500, 0.01)
small_loss = estimate_loss(small, validation, context_length=8)
print(f"embedding of 8: {small_loss:.2f} nats")
claim(long_train_loss > train_floor - 1e-4, "no table beats the counts")
claim(small_loss > model_loss + 0.01, "8 numbers per character are too few")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_02 import (
    check_bigram_gradient,
    check_most_likely_next,
    check_smoothed_probabilities,
    check_trigram_loss,
)

# %% [markdown]
# ### Exercise 1: The likeliest next character
#
# *warm-up · 5 minutes* · [Solution](../solutions/02_bigram.ipynb#exercise-1-the-likeliest-next-character)
#
# Write a function that takes a table of counts, a tokenizer and a character, and returns the
# character that follows it most often.
#
# <details><summary>Hint</summary>
#
# `tokenizer.ids[character]` is the row, `argmax` finds the column,
# `tokenizer.characters` turns it back.
#
# </details>


# %%
def most_likely_next(counts, tokenizer, character):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_most_likely_next(most_likely_next)

# %% [markdown]
# ### Exercise 2: Smooth with any amount
#
# *core · 10 minutes* · [Solution](../solutions/02_bigram.ipynb#exercise-2-smooth-with-any-amount)
#
# Write smoothing with an amount `alpha` instead of 1: return the table of probabilities
# `(V, V)` for counts `(V, V)` and any `alpha` > 0, and leave `counts` as they are. Then try
# a hundredth, a tenth, 1, 10 and a hundred on the validation split: which is the first whose loss lies
# a hundredth of a nat above that of 1? (It is 10.)
#
# <details><summary>Hint</summary>
#
# Add `alpha` to every count first, then divide each row by the sum of what you now have.
# `keepdim=True` keeps the sums in a column.
#
# </details>


# %%
def smoothed_probabilities(counts, alpha):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_smoothed_probabilities(smoothed_probabilities)

# %% [markdown]
# ### Exercise 3: The gradient of the whole table
#
# *core · 20 minutes* · [Solution](../solutions/02_bigram.ipynb#exercise-3-the-gradient-of-the-whole-table)
#
# For one row the gradient was "what the model says, minus what was counted". Write it for the
# table: given logits `(V, V)` and counts `(V, V)`, return the gradient of the mean loss over
# *all* pairs, without using `backward`. A row without any pair has the gradient 0.
#
# <details><summary>Hint</summary>
#
# Write the loss as a sum over rows: each row adds its share of all pairs, times the loss of
# that row alone. You know the gradient of the row's own loss.
#
# </details>


# %%
def bigram_gradient(logits, counts):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_bigram_gradient(bigram_gradient)

# %% [markdown]
# ### Exercise 4: Read two characters
#
# *stretch · 30 minutes* · [Solution](../solutions/02_bigram.ipynb#exercise-4-read-two-characters)
#
# A *trigram* model predicts from the last two tokens. Count triples in `train_ids`, smooth
# with `alpha`, and return the mean loss in nats over the triples of `other_ids` (a text of
# $N$ tokens has $N - 2$). On Tiny Shakespeare, `alpha=0.1` gives about 2.046 nats from the
# training to the validation split, as the
# [solution](../solutions/02_bigram.ipynb) shows.
# <!-- from: solutions/02_bigram#exercise-4-read-two-characters "alpha 0.1" -->
#
# <details><summary>Hint</summary>
#
# Number the triples as `count_pairs` numbers pairs: `(a * V + b) * V + c`. The counts then have
# shape `(V, V, V)`. Add `alpha` to each, then divide by the sums over the last dimension, which
# must sum to 1.
#
# </details>


# %%
def trigram_loss(train_ids, other_ids, vocab_size, alpha):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_trigram_loss(trigram_loss)

# %% [markdown]
# ## Recap
#
# - You built the **bigram model** by counting, 2.4519 nats on the training split, and by
#   training, within 0.01 of it. <!-- from: learning-the-table "training finds" -->
#   <!-- from: from-counts-to-probabilities-and-to-a-loss "training split:" -->
# - You built the **cross-entropy**, whose gradient is what the model says minus what was
#   counted; **the training loop** and **the evaluation** that the next lessons use; and a
#   **sampler** with a temperature.
# - You saw why unseen pairs need **smoothing**: 2.4819 nats on the validation split with it,
#   infinite without. <!-- from: smoothing "validation:" -->
# - You saw a **bug that its own training loss cannot see**: the wrong axis in a softmax. Test
#   the sums of the rows.
#
# What is still open: `loss.backward()` computed every gradient, and you do not know how. That is
# lesson [03](03_gradients.ipynb). And what is still wrong: one character of memory. After `th`
# and after `sh` the model says the same, because it only sees the `h`. A table for longer pasts
# explodes: with eight characters it would have $65^8$ rows. Lesson [04](04_embeddings.ipynb)
# begins a model that reads a long past *without* a row for each.
# <!-- from: counting "different" -->
#
# In the library: [the bigram model](../book/api.md#modelsbigram), [losses](../book/api.md#evaluatelosses),
# [training](../book/api.md#train), [modes](../book/api.md#module),
# [batches](../book/api.md#textbatches), [drawing](../book/api.md#generatesampling),
# [writing](../book/api.md#generate).

# %% [markdown]
# ## To read
#
# - Shannon (1948), section 3: text of this kind without any table, by opening a book at
#   random places and reading on to the letter that is needed.
# - Jurafsky and Martin, *Speech and Language Processing*, the chapter on n-gram models: more
#   ways to smooth, and why they matter for words.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: a model has two modes
#
# Some parts, which lesson [11](11_training.ipynb) brings, work in training only. So a model has
# a mode for training and one for use, and a function that needs one of them must put things
# back. The library's `fit` and `estimate_loss` do it with `in_mode`: the mode lasts as long as a
# `with` block, and `finally` means whatever happens in it.

# %% tags=["lib:module.in_mode"]
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    before = {part: part.training for part in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for part, was_training in before.items():
            part.training = was_training


# %%
print("before:", model.training)
with in_mode(model, training=False):
    print("inside:", model.training)
print("after: ", model.training)
