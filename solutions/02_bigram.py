# %% [markdown]
# # Solutions 02 · The bigram model
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/02_bigram.ipynb)
#
# One way to solve each exercise of lesson [02](../lessons/02_bigram.ipynb), and what to
# learn from it.

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

# %% tags=["corpus"]
import torch

from lib.models.bigram import count_pairs
from lib.checks.lesson_02 import (
    check_bigram_gradient,
    check_most_likely_next,
    check_smoothed_probabilities,
    check_trigram_loss,
)
from lib.checks.claims import claim
from lib.text.corpus import load_corpus
from lib.text.batches import split_text
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
counts = count_pairs(train, V)
print(f"{corpus.name}: {counts.sum():,} pairs of {V} different characters")

# %% [markdown]
# ## Exercise 1: The likeliest next character
#
# [Exercise](../lessons/02_bigram.ipynb#exercise-1-the-likeliest-next-character)


# %%
def most_likely_next(counts, tokenizer, character):
    row = counts[tokenizer.ids[character]]
    return tokenizer.characters[row.argmax()]


# %% tags=["exercise"]
check_most_likely_next(most_likely_next)

# %% tags=["corpus"]
for character in "qtTe,":
    print(repr(character), "->", repr(most_likely_next(counts, tokenizer, character)))

# %% [markdown]
# ## Exercise 2: Smooth with any amount
#
# [Exercise](../lessons/02_bigram.ipynb#exercise-2-smooth-with-any-amount)


# %%
def smoothed_probabilities(counts, alpha):
    smoothed = counts + alpha
    return smoothed / smoothed.sum(dim=1, keepdim=True)


# %% tags=["exercise"]
check_smoothed_probabilities(smoothed_probabilities)

# %% tags=["corpus"]
for alpha in (0.01, 0.1, 1, 10, 100):
    p = smoothed_probabilities(counts.double(), alpha)
    loss = -p[validation[:-1], validation[1:]].log().mean().item()
    print(f"alpha {alpha:<5} {loss:.4f} nats")

# %% [markdown]
# With a million pairs the amount hardly matters between 0.1 and 1. Far too much of it, 100,
# drowns the counts; hardly any, 0.01, makes the unseen pairs almost impossible again.

# %% [markdown]
# ## Exercise 3: The gradient of the whole table
#
# [Exercise](../lessons/02_bigram.ipynb#exercise-3-the-gradient-of-the-whole-table)
#
# With $C$ pairs in all, $C_i = \sum_j C_{ij}$ of them in row $i$, the loss is
# $L = \frac{1}{C} \sum_i \sum_j C_{ij} \, (-\ln p_{ij})$: each row adds its share $C_i / C$ of all
# pairs, times its own loss. Its own gradient is $p_{ij} - C_{ij} / C_i$. Multiply the two:
# $(C_i \, p_{ij} - C_{ij}) / C$. This form also works for a row without any pair.


# %%
def bigram_gradient(logits, counts):
    row_sums = counts.sum(dim=1, keepdim=True)
    return (row_sums * logits.softmax(dim=1) - counts) / counts.sum()


# %% tags=["exercise"]
check_bigram_gradient(bigram_gradient)

# %% [markdown]
# Rare characters have a small $C_i$, so their rows get tiny gradients and learn slowly. That
# is why the lesson used AdamW, which gives every parameter a step of about the same length.
# Here is plain gradient descent with the longest steps that still work:

# %% tags=["corpus", "measured"]
logits = torch.zeros(V, V)
for step in range(200):
    logits -= 100 * bigram_gradient(logits, counts)
loss = -(counts * logits.log_softmax(dim=1)).sum() / counts.sum()
print(f"plain gradient descent, 200 steps: {loss:.3f} nats on the training split")
claim(loss < 2.6, "plain gradient descent comes near, with long steps")

# %% [markdown]
# ## Exercise 4: Read two characters
#
# [Exercise](../lessons/02_bigram.ipynb#exercise-4-read-two-characters)


# %%
def trigram_loss(train_ids, other_ids, vocab_size, alpha):
    V = vocab_size
    triples = (train_ids[:-2] * V + train_ids[1:-1]) * V + train_ids[2:]
    counts = triples.bincount(minlength=V**3).view(V, V, V).double() + alpha
    probabilities = counts / counts.sum(dim=-1, keepdim=True)
    return (
        -probabilities[other_ids[:-2], other_ids[1:-1], other_ids[2:]]
        .log()
        .mean()
        .item()
    )


# %% tags=["exercise"]
check_trigram_loss(trigram_loss)

# %% tags=["corpus"]
for alpha in (0.01, 0.1, 1):
    print(f"alpha {alpha:<4} {trigram_loss(train, validation, V, alpha):.3f} nats")
pairs_seen = (counts > 0).sum().item()
print(f"the table has {V**3:,} cells; {pairs_seen:,} pairs ever occur as a past")
assert trigram_loss(train, validation, V, 0.1) < 2.3

# %% [markdown]
# One more character of memory takes the loss from 2.48 in lesson
# [02](../lessons/02_bigram.ipynb) to 2.046 nats. The price is a table of 274,625 cells,
# most of them empty, and the amount of smoothing begins to matter. With every further
# character the table grows as many times as there are characters, while the text stays the
# same: counting ends here. <!-- from: exercise-4-read-two-characters -->
# <!-- from: lessons/02_bigram#smoothing "validation:" -->
