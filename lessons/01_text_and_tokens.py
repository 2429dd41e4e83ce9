# %% [markdown]
# # 01 · Text and tokens
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/01_text_and_tokens.ipynb)
#
# You turn a real text into numbers that a model can learn from, and you find out how hard
# the text is to predict before any model exists.
#
# - **You will build** a tokenizer, a split into training and validation text, random
#   batches of inputs and targets, and a measure of surprise: entropy.
# - **You will see** what text looks like to a model, and how good the two simplest
#   predictions are.
# - **Needs** lesson [00](00_quickstart.ipynb), or some PyTorch.
# - **Takes** about 70 minutes without exercise 4; the notebook runs in under 20 s.

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
# In lesson [00](00_quickstart.ipynb) a model learned to continue `0 1 2 3 ...`
# without a mistake. Ten symbols, one right answer each time: that is not a language. From
# here on the text is Shakespeare. It has capital letters, commas and names, and after most
# characters several others could follow.
#
# Two things are missing. A model computes with numbers, so how does text become numbers?
# And if nobody can be always right, what is a *good* prediction?

# %% [markdown]
# ## The machine
#
# A model reads a window of text and predicts, at every place, what comes next. The answers are
# the same text, one place further on. This lesson prepares both rows.

# %% mystnb={"image": {"alt": "Diagram of one window: a row of inputs and below it a row of targets, which is the same text moved by one place; arrows lead from each growing beginning of the window to the character that follows it."}}
from lib.show import diagrams

diagrams.shifted_windows()

# %% [markdown]
# ## By hand
#
# Start with a text that fits on one line. List each character that occurs, in sorted order,
# and number the list. That list is the [vocabulary](../book/glossary.md#vocabulary).

# %%
line = "to be or not to be"
vocabulary = sorted(set(line))
print(vocabulary)
print({character: i for i, character in enumerate(vocabulary)})

# %% [markdown]
# The space is the first of 7 characters, so it has number 0. Replace each character of the
# line by its number. The numbers are called ids, and what they stand for is called a
# [token](../book/glossary.md#token).

# %%
print([vocabulary.index(character) for character in line])

# %% [markdown]
# Now predict. Somebody picks a character of this line at random and hides it. You say how
# probable each character is. Counting is the best you can do: 4 of the 18 characters are an
# `o`, so you say $p = 0.222$ for it. Then the character is shown, and your surprise is
# $-\ln p$, as in lesson [00](00_quickstart.ipynb).

# %%
import math
from collections import Counter

mean_surprise = 0.0
for character, count in Counter(line).most_common():
    p = count / len(line)
    mean_surprise += p * -math.log(p)
    print(
        f"{character!r}: {count} of {len(line)}, p {p:.3f}, surprise {-math.log(p):.3f}"
    )
print(f"mean surprise: {mean_surprise:.3f}")

# %% [markdown]
# An `o` surprises you by 1.504, a rare `r` by 2.890. An `o` comes in 4 of 18 cases, an `r` in 1
# of 18: the mean weights each surprise by its $p$, and is 1.798. That mean is the entropy of
# the line.

# %% [markdown]
# ## The formula
#
# A language model says how probable a whole text is, one token at a time. The probability of
# the first token, times that of the second if you know the first, and so on:
#
# $$p(x_1, \ldots, x_N) = p(x_1) \cdot p(x_2 \mid x_1) \cdots = \prod_{t=1}^{N} p(x_t \mid x_{<t})$$
#
# This *chain rule* of probability is exact: nothing is left out. The product is called the
# *likelihood* of the text. It is a tiny number, so take its
# [logarithm](../book/mathematics.md#logarithm), which turns the product into a sum, change the
# sign, and divide by the number of tokens:
#
# $$L = -\frac{1}{N} \sum_{t=1}^{N} \ln p(x_t \mid x_{<t})$$
#
# That is the mean surprise, the [loss](../book/glossary.md#loss). **A small loss means that
# the model finds the text likely.**
#
# A model that ignores the past has just one distribution $p$ over the $V$ tokens. Its mean
# surprise at tokens drawn from $p$ itself is its [entropy](../book/glossary.md#entropy) (Shannon, 1948,
# section 6):
#
# $$H(p) = -\sum_{i=1}^{V} p_i \ln p_i$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x_t$, $x_{<t}$ | | the token at place $t$, and all before it |
# | $p$ | `(V,)` | probabilities, sum 1 |
# | $-\ln p_i$ | number | the surprise when token $i$ comes, in [nats](../book/glossary.md#nat) |
# | $H(p)$ | number | the mean surprise, in nats per token |
#
# With logarithms to the base 2 the unit is the bit; one bit is $\ln 2$ nats. If all $V$ tokens
# are equally likely, each surprises by $\ln V$, so $H = \ln V$; no distribution over $V$ tokens
# has more.

# %% [markdown]
# ## Build
#
# ### Entropy
#
# One special case: $0 \ln 0$ counts as 0, because what never happens surprises
# nobody. `torch.xlogy(x, y)` is $x \ln y$ with that rule built in. The vocabulary is the last
# dimension, `dim=-1`, so that a whole table of distributions can be measured at once.

# %% tags=["naive:evaluate.losses.entropy"]
import torch


def entropy(p):
    return (-torch.xlogy(p, p)).sum(dim=-1)


# %% [markdown]
# The library's [entropy](../book/api.md#evaluatelosses) also raises an error if `p` is no distribution. Try ours
# on a fair coin, a loaded coin, and a coin with two heads.

# %%
for coin in ([0.5, 0.5], [0.9, 0.1], [1.0, 0.0]):
    print(coin, f"{entropy(torch.tensor(coin)):.3f} nats")

# %% [markdown]
# The fair coin is the hardest to predict: 0.693 nats, which is $\ln 2$, one bit. The coin
# with two heads holds no surprise at all.


# %% tags=["lib:evaluate.losses.nats_to_bits"]
def nats_to_bits(nats: float) -> float:
    return nats / math.log(2)


# %%
counts = torch.tensor([float(line.count(character)) for character in vocabulary])
H = entropy(counts / counts.sum()).item()
print(f"our line: {H:.3f} nats = {nats_to_bits(H):.3f} bits per character")
print(f"at most:  {math.log(7):.3f} nats for 7 characters")

# %% [markdown]
# Our line has 1.798 nats per character, a little less than the 1.946 of seven equally
# likely characters.
#
# ### The text
#
# The course trains on *Tiny Shakespeare*, about a million characters of plays. A corpus is a
# text that knows its name and where it came from. (A *data class* writes its own `__init__`
# from the list of fields. `@property` makes `corpus.is_stand_in` out of a function.)

# %% tags=["lib:text.corpus.Corpus"]
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Corpus:
    text: str = field(repr=False)
    name: str
    origin: str

    @property
    def is_stand_in(self) -> bool:
        return self.name == "stand-in play"


# %% [markdown]
# The file is read from the folder that the environment variable `COURSE_DATA` names, or from the
# *cache*, where programs keep what they have downloaded. If it is not there, the library writes
# a play of its own, the stand-in, so that every lesson runs offline too.

# %% tags=["naive:text.corpus.load_corpus"]
import os
from pathlib import Path

from lib.device import cache_folder
from lib.text.standin import write_play


def load_corpus():
    folder = Path(os.getenv("COURSE_DATA") or cache_folder())
    path = folder / "tinyshakespeare.txt"
    if path.is_file():
        text = path.read_bytes().decode("utf-8")
        return Corpus(text, "Tiny Shakespeare", str(path))
    return Corpus(write_play(), "stand-in play", "lib/text/standin.py")


# %% [markdown]
# All lessons use the library's function, which also downloads what is not in the cache, and
# checks that no character is missing.

# %% tags=["corpus"]
from lib.text import corpus as library

corpus = library.load_corpus()
print(
    f"{corpus.name}: {len(corpus.text):,} characters, {len(set(corpus.text))} different"
)
print(corpus.text[:212])

# %% [markdown]
# 1,115,394 characters, of which only 65 are different. Notice the layout: a name in one
# line, a colon, a speech, an empty line. Nobody will tell the models about it.

# %% tags=["same:text.corpus.load_corpus", "same:evaluate.losses.entropy", "proof", "corpus"]
# @title Proof: the library finds the same text, and the same entropy
from lib.evaluate.losses import entropy as library_entropy

if not corpus.origin.startswith("http"):  # downloaded, and no cache to keep it in
    assert corpus.text == load_corpus().text
p = torch.randn(5, 65, generator=torch.Generator().manual_seed(0)).clamp_min(0)
p = p / p.sum(dim=-1, keepdim=True)  # about half of them are exactly 0
assert torch.equal(entropy(p), library_entropy(p))
torchs = torch.distributions.Categorical(probs=p).entropy()
assert torch.allclose(entropy(p), torchs, atol=1e-4)
print("the same text; entropy = the library's = PyTorch's")

# %% [markdown]
# ### The tokenizer
#
# Now the list of numbered characters as a class. `encode` turns text into ids, `decode`
# turns ids back into text. `vocab_size` is a property again.


# %% tags=["naive:text.tokenizer.CharTokenizer"]
class CharTokenizer:
    def __init__(self, text):
        self.characters = sorted(set(text))
        self.ids = {character: i for i, character in enumerate(self.characters)}

    @property
    def vocab_size(self):
        return len(self.characters)

    def encode(self, text):
        return [self.ids[character] for character in text]

    def decode(self, ids):
        return "".join(self.characters[i] for i in ids)


# %% [markdown]
# Here is the vocabulary of the plays, and a word to encode.

# %%
tokenizer = CharTokenizer(corpus.text)
print("".join(tokenizer.characters[1:]))
print(tokenizer.encode("O Romeo!"))
print(tokenizer.decode([27, 1, 30, 53, 51, 43, 53, 2]))

# %% [markdown]
# The vocabulary (printed without its first character, the newline) holds the space, some
# punctuation and signs, one digit, and the letters in both cases. The ids of `O Romeo!` go
# back to the same text.
#
# ### Training and validation
#
# A model that has seen a text can repeat it without having understood anything. So we hide
# the last tenth. The model learns from the first part, the
# [training split](../book/glossary.md#training-split), and is judged on the rest, the
# [validation split](../book/glossary.md#validation-split).


# %% tags=["lib:text.batches.split_text"]
def split_text(text: str, train_fraction: float = 0.9) -> tuple[str, str]:
    if not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction={train_fraction} must lie between 0 and 1")
    cut = int(train_fraction * len(text))
    return text[:cut], text[cut:]


# %% tags=["corpus"]
train_text, validation_text = split_text(corpus.text)
train = torch.tensor(tokenizer.encode(train_text))
validation = torch.tensor(tokenizer.encode(validation_text))
print(f"training:   {len(train):,} tokens, they begin with {train[:6].tolist()}")
print(f"validation: {len(validation):,} tokens")

# %% [markdown]
# 1,003,854 tokens to learn from and 111,540 to be judged on. The cut is not random: if you hid
# single characters here and there, their neighbours on both sides would give them away.
#
# ### Windows
#
# A million tokens are too many to read at once. A model reads a window of $T$ tokens; $T$
# is its [context length](../book/glossary.md#context-length). The targets are the same
# window, one token later. So each window asks $T$ questions, one per position, each with
# a longer past than the one before.

# %% tags=["corpus"]
window = train[: 8 + 1]
inputs, targets = window[:-1], window[1:]
for t in range(8):
    past, answer = tokenizer.decode(inputs[: t + 1]), tokenizer.decode([targets[t]])
    print(f"after {past!r:10} comes {answer!r}")

# %% [markdown]
# ### Batches
#
# Processors are fast when they do the same thing to many numbers. So we stack $B$ windows
# from random places into one table of shape `(B, T)`. First the plain way, a slice for each
# place.


# %%
def sliced_batch(tokens, starts, context_length):
    inputs = [tokens[start : start + context_length] for start in starts]
    targets = [tokens[start + 1 : start + 1 + context_length] for start in starts]
    return torch.stack(inputs), torch.stack(targets)


# %% [markdown]
# The library does the same without a loop. Two facts about tensors make it possible. A column
# of starts, `(B, 1)`, plus a row of steps, `(T,)`, gives a table `(B, T)` of places. And a
# tensor can be indexed by a table of places: the result has the shape of the table, and holds
# what stands at each place.

# %%
letters = torch.tensor([10, 11, 12, 13, 14, 15])
places = torch.tensor([[0], [3]]) + torch.arange(3)
print(places.tolist())
print(letters[places].tolist())

# %% [markdown]
# A guard comes first: `require_windows` refuses a size below 1, or a text shorter than one
# window, with a clear message. The last window must leave room for its last target, so there are
# `len(tokens) - context_length` places to start at. They come from a generator that you pass
# in, so that the same seed gives the same batch.

# %% tags=["lib:text.batches.random_batch"]
from torch import Tensor

from lib.shapes import require_windows


def random_batch(
    tokens: Tensor,
    batch_size: int,
    context_length: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    require_windows(tokens, batch_size, context_length)
    places = len(tokens) - context_length
    starts = torch.randint(places, (batch_size, 1), generator=generator)
    index = starts + torch.arange(context_length)  # (B, 1) + (T,) -> (B, T)
    return tokens[index], tokens[index + 1]


# %% tags=["corpus"]
inputs, targets = random_batch(train, 4, 12, torch.Generator().manual_seed(0))
print("inputs ", tuple(inputs.shape), "targets", tuple(targets.shape))
for b in range(4):
    print(repr(tokenizer.decode(inputs[b])), "->", repr(tokenizer.decode(targets[b])))

# %% [markdown]
# ## Check
#
# With the same starts, the loop and the index table give the same numbers. Encoding and
# decoding the whole corpus gives back every character. And the library's tokenizer gives the
# same ids as ours; where a character is not in the vocabulary, it says where it stands.

# %% tags=["same:text.tokenizer.CharTokenizer", "proof", "corpus"]
# @title Proof: both ways to a batch agree, and no character is lost
from lib.text.tokenizer import CharTokenizer as LibraryTokenizer

starts = torch.randint(
    len(train) - 12, (4, 1), generator=torch.Generator().manual_seed(0)
)
slow_inputs, slow_targets = sliced_batch(train, starts.flatten(), 12)
assert torch.equal(slow_inputs, inputs) and torch.equal(slow_targets, targets)
assert tokenizer.decode(tokenizer.encode(corpus.text)) == corpus.text
theirs, word = LibraryTokenizer(corpus.text), "O Romeo!"
assert theirs.vocab_size == tokenizer.vocab_size
assert theirs.encode(word) == tokenizer.encode(word)
assert theirs.decode(range(20)) == tokenizer.decode(range(20))
try:
    theirs.encode("a naïve plan")
except ValueError as error:
    print(error)

# %% [markdown]
# ### The classic bug: targets that are not shifted
#
# Forget the `+ 1` and the targets are the inputs. The model is asked to predict what it has
# just read. Let the simplest model of all learn that: a table with one row of logits per
# character, from which `nn.Embedding` looks up the row of the character that was read. (`fit`,
# the training loop with the four moves of lesson [00](00_quickstart.ipynb), is built in
# lesson [02](02_bigram.ipynb).)

# %% tags=["corpus", "measured"]
from lib.checks.claims import claim
from lib.train import fit

torch.manual_seed(0)
copier = torch.nn.Embedding(tokenizer.vocab_size, tokenizer.vocab_size)
generator = torch.Generator().manual_seed(0)


def unshifted_batch():
    inputs, _ = random_batch(train, 256, 8, generator)
    return inputs, inputs  # the bug


copy_losses = fit(copier, unshifted_batch, n_steps=200, learning_rate=0.1)
print(f"loss: {copy_losses[0]:.1f} at first, {copy_losses[-1]:.2f} after 200 steps")
claim(copy_losses[-1] < 0.05, "the loss is almost zero")

# %% [markdown]
# The loss is almost zero! That is the sign: a loss too good for its text points to a bug. Let it continue a
# word, each time with the character of the largest logit.

# %%
ids = tokenizer.encode("The")
for _ in range(12):
    ids.append(copier(torch.tensor(ids[-1])).argmax().item())
print(repr(tokenizer.decode(ids)))

# %% [markdown]
# It has learned to copy. The test that catches the bug needs no model: except for the last
# column, every target must be the input that follows it.


# %%
def targets_are_shifted(inputs, targets):
    return torch.equal(targets[:, :-1], inputs[:, 1:])


print("random_batch:   ", targets_are_shifted(*random_batch(train, 32, 8)))
print("unshifted_batch:", targets_are_shifted(*unshifted_batch()))
assert targets_are_shifted(*random_batch(train, 32, 8))
assert not targets_are_shifted(*unshifted_batch())

# %% [markdown]
# ## Look
#
# How often does each character occur in the training split? `bincount` counts each id; `minlength`
# gives a 0 to those that never occur. The 30 most frequent ones (␣ is the space, ↵ the newline):

# %% mystnb={"image": {"alt": "Bar chart of the 30 most frequent characters. The space is by far the tallest bar, followed by e, t, o and a; then the bars shrink steadily; punctuation and the first capital letters stand near the end."}} tags=["corpus"]
import time

from lib.show import plot

start = time.process_time()
counts = train.bincount(minlength=tokenizer.vocab_size).double()
frequency = counts / counts.sum()
counting_seconds = time.process_time() - start
top = frequency.argsort(descending=True)[:30]
names = plot.visible([tokenizer.characters[i] for i in top])
heights = dict(zip(names, frequency[top].tolist()))
print(f"most frequent: {names[0]} with {frequency[top[0]]:.1%}")
plot.bar_chart(heights, "character", "share of the training split")

# %% [markdown]
# *A few characters do most of the work: the space alone makes up 15.3 % of the training split.*
#
# Unequal bars are good news: what is unequal can be predicted.

# %% [markdown]
# ## Experiment: two models that read nothing
#
# The simplest predictions ignore what came before. The **uniform** model gives every
# character the same probability. The **unigram** model gives each character its
# share of the training split, the heights of the bars above. Both are judged on the
# validation split, by their mean surprise over its tokens: the
# [loss](../book/glossary.md#loss).

# %% tags=["corpus"]
models = {
    "Uniform": torch.full((tokenizer.vocab_size,), 1 / tokenizer.vocab_size).double(),
    "Unigram": frequency,
}
losses = {name: -p[validation].log().mean().item() for name, p in models.items()}
for name, loss in losses.items():
    print(f"{name}: {loss:.4f} nats, {nats_to_bits(loss):.2f} bits per character")
print(f"saved: {losses['Uniform'] - losses['Unigram']:.2f} nats")

# %% [markdown]
# Uniform costs 4.1744 nats, $\ln V$. Knowing the frequencies saves 0.83 nats: 3.3473. (In the
# code `p[validation]` is the indexing from above: the probability of each token that came.)
#
# Where does 3.3473 come from? Compare it with the entropies of the two splits.

# %% tags=["corpus"]
shares = validation.bincount(minlength=tokenizer.vocab_size).double() / len(validation)
divergence = (shares * (shares / frequency).log()).nansum().item()  # 0 ln 0 is 0
print(f"entropy of the training frequencies:   {entropy(frequency):.4f} nats")
print(f"entropy of the validation frequencies: {entropy(shares):.4f} nats")
print(f"predicted with those of training:      {divergence:.5f} nats more")
assert abs(losses["Unigram"] - entropy(shares).item() - divergence) < 1e-9

# %% [markdown]
# The frequencies of the training split have an entropy of 3.3091. The validation split has
# frequencies of its own, with an entropy of 3.3373: it is slightly harder text. The remaining
# 0.01002 nats are the price of predicting it with the frequencies of another text instead of
# its own. Write $p$ for the shares of the text and $q$ for the model. The price is called the *Kullback-Leibler divergence*:
#
# $$H(p, q) = H(p) + \mathrm{KL}(p \,\|\, q), \qquad
# \mathrm{KL}(p \,\|\, q) = \sum_{i=1}^{V} p_i \ln \frac{p_i}{q_i}$$
#
# On the left is the *cross-entropy*, what the model $q$ pays. The divergence is never negative,
# so no prediction of this kind pays less than the entropy of the text. **Training can only
# lower the divergence; the entropy is in the text.**
#
# And if a model may read the past? Then the floor lies lower, and nobody knows exactly where.
# Shannon (1951) let people guess the next letter of English and put the floor between two
# numbers:

# %%
for bits in (0.6, 1.3):
    print(f"{bits} bits = {bits * math.log(2):.1f} nats per letter")

# %% [markdown]
# From 3.35 nats down towards these: that is the way of this course. (He left out capitals and
# punctuation, so take it as a direction.)
# <!-- from: experiment-two-models-that-read-nothing "Unigram:" -->
#
# What does text at these losses look like? Draw 80 characters from each.

# %% tags=["corpus"]
from lib.show.ladder import rung

generator = torch.Generator().manual_seed(0)
seconds = {"Uniform": 0.0, "Unigram": counting_seconds}
for (name, p), n_parameters in zip(models.items(), (0, 65)):
    ids = torch.multinomial(p, 80, replacement=True, generator=generator)
    text = tokenizer.decode(ids)
    rung(name, n_parameters, losses[name], seconds[name], sample=text)

# %% [markdown]
# These are the first two rungs of the [ladder](../book/ladder.md): every model of the course
# gets one, measured on the same validation split. In the second sample spaces and letters have
# about the right shares, but no character knows its neighbour.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You merge upper and lower case before tokenizing. Does the unigram loss go up or down? Is the model better?</summary>
#
# Down: nobody has to guess the case any more. But the text is another one, so the two losses
# cannot be compared. Only losses on the same tokens can.
#
# </details>
#
# <details><summary>How many questions does a batch of <i>B</i> windows of <i>T</i> tokens ask?</summary>
#
# One per position: $B \cdot T$. A model answers all of them at once.
#
# </details>
#
# <details><summary>The unigram model is judged on its own training split. What is its loss?</summary>
#
# Exactly its entropy, 3.3091 nats: there, the probabilities are the true shares. Replace
# `validation` by `train` and see. <!-- from: experiment-two-models-that-read-nothing "training frequencies" -->
#
# </details>

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_01 import (
    check_conditional_entropy,
    check_perplexity,
    check_safe_tokenizer,
    check_unigram_loss,
)

# %% [markdown]
# ### Exercise 1: How many choices?
#
# *warm-up · 5 minutes* · [Solution](../solutions/01_text_and_tokens.ipynb#exercise-1-how-many-choices)
#
# A loss in nats is hard to picture. Turn it into a number of choices: how many equally
# likely tokens would give this loss? Their number is called the
# [perplexity](../book/glossary.md#perplexity). Return it as a float.
#
# <details><summary>Hint</summary>
#
# Equally likely tokens, $V$ of them, have the loss $\ln V$. You are given the loss and look for
# $V$.
#
# </details>


# %%
def perplexity(loss):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_perplexity(perplexity)

# %% [markdown]
# ### Exercise 2: Judge on another text
#
# *core · 10 minutes* · [Solution](../solutions/01_text_and_tokens.ipynb#exercise-2-judge-on-another-text)
#
# A character that never occurs in the training tokens gets probability 0 and costs an
# infinite surprise. Add 1 to every count before you divide: that is called *add-one
# smoothing*. Write the unigram loss with it: counts from `train_ids`, mean surprise over
# `other_ids` (both 1-d tensors of ids), returned as a float in nats.
#
# <details><summary>Hint</summary>
#
# `train_ids.bincount(minlength=vocab_size) + 1` gives the counts. Indexing the
# probabilities with `other_ids` picks the probability of each token that came.
#
# </details>


# %%
def unigram_loss(train_ids, other_ids, vocab_size):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_unigram_loss(unigram_loss)

# %% [markdown]
# ### Exercise 3: A tokenizer that never fails
#
# *core · 15 minutes* · [Solution](../solutions/01_text_and_tokens.ipynb#exercise-3-a-tokenizer-that-never-fails)
#
# Write a class `SafeTokenizer(text)` with `vocab_size`, `encode` and `decode` that gives
# every character outside its vocabulary one extra id, the largest one. That id decodes to
# `"?"`. Each character passed to `encode` gets exactly one id, and a question mark that is in
# the vocabulary keeps its own. `decode` takes a list or a tensor of ids.
#
# <details><summary>Hint</summary>
#
# `self.ids.get(character, default)` returns the default for an unknown character. You may write
# `class SafeTokenizer(CharTokenizer):` and change three things; `vocab_size` is a property
# there, so write it as a property again.
#
# </details>


# %%
class SafeTokenizer:
    def __init__(self, text):
        raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_safe_tokenizer(SafeTokenizer)

# %% [markdown]
# ### Exercise 4: What does one character tell about the next?
#
# *stretch · 20 minutes* · [Solution](../solutions/01_text_and_tokens.ipynb#exercise-4-what-does-one-character-tell-about-the-next)
#
# The entropy of *pairs* of neighbours, minus the entropy of their first characters, is what
# remains unknown about the second when you know the first. Write a function that returns
# this difference, a float in nats, for a 1-d tensor of ids. Take the first characters from the pairs:
# a text of $N$ tokens has $N - 1$ of them. Then run it on `train`: to what value does one
# character of context lower the 3.3091 nats? (The
# [solution](../solutions/01_text_and_tokens.ipynb) gets 2.4519.)
# <!-- from: experiment-two-models-that-read-nothing "training frequencies" -->
# <!-- from: solutions/01_text_and_tokens#exercise-4-what-does-one-character-tell-about-the-next "one character known" -->
#
# <details><summary>Hint</summary>
#
# Give each pair one number, `first * vocab_size + second`. Then `bincount` counts the
# pairs, and dividing by the sum gives $V^2$ probabilities in one row for `entropy`.
#
# </details>


# %%
def conditional_entropy(ids, vocab_size):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_conditional_entropy(conditional_entropy)

# %% [markdown]
# ## Recap
#
# - You built a **tokenizer**: one id per character, 65 of them, there and back
#   unchanged. <!-- from: the-text "different" -->
# - You built a **split** (the last tenth is hidden) and **batches** whose targets are the
#   inputs moved by one. Without the move the loss goes to 0 by copying.
# - You built **entropy**, the mean surprise in nats, and you can turn nats into bits.
# - You saw the first two rungs of the ladder: 4.1744 nats for knowing nothing, 3.3473 for
#   knowing how frequent each character is. <!-- from: experiment-two-models-that-read-nothing "bits per character" -->
#
# What is still wrong: both models ignore what they have just read. After a `q` comes a `u`,
# after a comma a space or a new line, and neither model knows. How much does *one* character
# of context help? That is lesson [02](02_bigram.ipynb).
#
# The library entries of what you built: [CharTokenizer](../book/api.md#texttokenizer),
# [load_corpus](../book/api.md#textcorpus), [split_text and random_batch](../book/api.md#textbatches),
# [entropy and nats_to_bits](../book/api.md#evaluatelosses).

# %% [markdown]
# ## To read
#
# - Shannon (1948), *A Mathematical Theory of Communication*: section 3 draws text from letter
#   frequencies by hand, section 6 introduces entropy.
# - Shannon (1951), *Prediction and Entropy of Printed English*: people guess the next
#   letter; with enough context they do better than tables of letters.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
