# %% [markdown]
# # Solutions 01 · Text and tokens
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/01_text_and_tokens.ipynb)
#
# One way to solve each exercise of lesson [01](../lessons/01_text_and_tokens.ipynb), and
# what to learn from it.

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
import math

import torch

from lib.checks.lesson_01 import (
    check_conditional_entropy,
    check_perplexity,
    check_safe_tokenizer,
    check_unigram_loss,
)
from lib.text.corpus import load_corpus
from lib.text.batches import split_text
from lib.evaluate.losses import entropy
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")

# %% [markdown]
# ## Exercise 1: How many choices?
#
# [Exercise](../lessons/01_text_and_tokens.ipynb#exercise-1-how-many-choices)
#
# The exponential undoes the logarithm: if $\ln V = L$, then $V = e^L$.


# %%
def perplexity(loss):
    return math.exp(loss)


# %% tags=["exercise"]
check_perplexity(perplexity)

# %%
for loss in (4.1744, 3.3473):
    print(f"{loss} nats: as uncertain as {perplexity(loss):.1f} equally likely tokens")

# %% [markdown]
# The unigram model is as uncertain as if it had to choose among 28.4 equally likely
# characters instead of 65.0.

# %% [markdown]
# ## Exercise 2: Judge on another text
#
# [Exercise](../lessons/01_text_and_tokens.ipynb#exercise-2-judge-on-another-text)


# %%
def unigram_loss(train_ids, other_ids, vocab_size):
    counts = train_ids.bincount(minlength=vocab_size) + 1
    probabilities = counts / counts.sum()
    return -probabilities[other_ids].log().mean().item()


# %% tags=["exercise"]
check_unigram_loss(unigram_loss)

# %% tags=["corpus"]
print(f"validation: {unigram_loss(train, validation, tokenizer.vocab_size):.4f} nats")

# %% [markdown]
# 3.3473 nats, as in the lesson: every character occurs in the training split, and adding one
# to counts of thousands changes nothing that you can see.

# %% [markdown]
# ## Exercise 3: A tokenizer that never fails
#
# [Exercise](../lessons/01_text_and_tokens.ipynb#exercise-3-a-tokenizer-that-never-fails)


# %%
class SafeTokenizer(CharTokenizer):
    @property
    def vocab_size(self):
        return len(self.characters) + 1

    def encode(self, text):
        unknown = len(self.characters)
        return [self.ids.get(character, unknown) for character in text]

    def decode(self, ids):
        symbols = [*self.characters, "?"]
        return "".join(symbols[int(i)] for i in ids)


# %% tags=["exercise"]
check_safe_tokenizer(SafeTokenizer)

# %%
safe = SafeTokenizer("a plain plan")
print(safe.encode("a naïve plan"), repr(safe.decode(safe.encode("a naïve plan"))))

# %% [markdown]
# Convenient, and dangerous: the text that comes back is another one, and nothing warned you.
# The course's own tokenizer prefers the error. Lesson 14 solves the problem for good, with
# tokens made of bytes.

# %% [markdown]
# ## Exercise 4: What does one character tell about the next?
#
# [Exercise](../lessons/01_text_and_tokens.ipynb#exercise-4-what-does-one-character-tell-about-the-next)


# %%
def conditional_entropy(ids, vocab_size):
    first, second = ids[:-1], ids[1:]
    pairs = (first * vocab_size + second).bincount(minlength=vocab_size**2).double()
    firsts = first.bincount(minlength=vocab_size).double()
    return (entropy(pairs / pairs.sum()) - entropy(firsts / firsts.sum())).item()


# %% tags=["exercise"]
check_conditional_entropy(conditional_entropy)

# %% tags=["corpus"]
known = conditional_entropy(train, tokenizer.vocab_size)
frequency = train.bincount(minlength=tokenizer.vocab_size).double() / len(train)
print(f"nothing known: {entropy(frequency):.4f} nats")
print(f"one character known: {known:.4f} nats")
assert known < entropy(frequency) - 0.5

# %% [markdown]
# Knowing one character lowers the entropy from 3.3091 to 2.4519 nats. No model that reads
# one character can do better on this text; lesson
# [02](../lessons/02_bigram.ipynb) builds the model that reaches it.
