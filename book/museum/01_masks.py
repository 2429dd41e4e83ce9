# %% [markdown]
# # Bug museum, room 1: Masks and caches
#
# [![Open in Colab](../_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/book/museum/01_masks.ipynb)
#
# Who may look at what. A wrong mask crashes nothing and often improves the loss.
#
# Each exhibit is a bug that somebody had. You read what was seen, then the faulty code,
# then a cell that shows the symptom in small numbers. **Mend the code in its cell**, run
# it, and run the cell that begins with `hunt`: it looks at your version and says what it
# still observes. Often one line is wrong, sometimes more, and sometimes one is missing;
# import what you need. Hint and answer are folded below. [All rooms](../museum.md).

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

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from lib.checks.museum import hunt

# %% [markdown]
# ## Good marks that nobody can repeat
#
# *Where: a classic of the field. To read: lesson [06](../../lessons/06_attention.ipynb).*
#
# Every later position gets a weight of exactly 0: you have printed the matrix and seen the
# zeros. The loss is a little better than that of a colleague, on validation text as well. But
# when the model writes, token by token, its text is clearly worse than its loss promises.
#
# Below, position 0 scores itself the same both times. Only its scores of the later positions
# change, and these it must not see.

# %%
def causal_weights(scores):
    """Scores (T, T) to weights: each position looks at itself and at the past."""
    length = scores.size(-1)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.softmax(dim=-1)
    return weights.masked_fill(future, 0.0)

# %%
scores = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
for later in (0.0, 2.0):
    scores[0, 1:] = later
    weights = causal_weights(scores)
    shown = [round(w, 3) for w in weights[0].tolist()]
    print(f"later scores {later}: position 0 takes", shown)

# %% [markdown]
# The hunt: mend `causal_weights` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("causal-weights", causal_weights)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Add up each row of the weights. What is it that a softmax divides by?
#
# </details>
#
# <details><summary>Answer</summary>
#
# The mask came after the softmax. The weights of later positions were set to 0, but their
# scores were already in the sum that all weights were divided by. So the size of a weight told
# each position something about the future, and in training the model learns to read it. While
# it writes there is no future, and what it relied on is missing. Hide the *scores*, with minus
# infinity, and then take the softmax.
#
# ```diff
# -    weights = scores.softmax(dim=-1)
# -    return weights.masked_fill(future, 0.0)
# +    scores = scores.masked_fill(future, float("-inf"))
# +    return scores.softmax(dim=-1)
# ```
#
# Planted in this course's `lib/attention.py` it makes `test_the_future_changes_nothing`
# fail, in `tests/test_attention.py`.
#
# </details>

# %% [markdown]
# ## The model that forgets its prompt
#
# *Where: [PyTorch, issue 144858](https://github.com/pytorch/pytorch/issues/144858). To read: lesson [13](../../lessons/13_generation.ipynb).*
#
# You have added a cache of keys and values, and the model is much faster. Training is
# untouched, and reading a whole prompt gives the same output as before. But after the prompt it
# writes the same token again and again, or words that have nothing to do with the question.
#
# Each of six positions has its own value, 0 to 5, and all keys are alike: a position that looks
# at n positions returns the mean of their values.

# %%
def cached_attention(q, k, v):
    """q (T_q, D) of new tokens; keys and values (T_k, D) of all, the new ones last."""
    n_queries, n_keys = len(q), len(k)
    scores = q @ k.T / math.sqrt(q.size(-1))
    seen = torch.ones(n_queries, n_keys, dtype=torch.bool).tril()
    scores = scores.masked_fill(~seen, float("-inf"))
    return scores.softmax(dim=-1) @ v

# %%
q, k = torch.zeros(6, 2), torch.zeros(6, 2)
v = torch.arange(6.0)[:, None]
for name, queries in (("all six", q), ("the last alone", q[5:])):
    y = cached_attention(queries, k, v)[:, 0]
    print(f"{name}:", [round(mean, 2) for mean in y.tolist()])

# %% [markdown]
# The hunt: mend `cached_attention` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("cached-attention", cached_attention)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Print `seen` for one query and six keys. Which position is that query, and which ones is it
# allowed to look at?
#
# </details>
#
# <details><summary>Answer</summary>
#
# The triangle of the mask began in the upper left corner: query 0 saw key 0. With a cache query
# 0 is not position 0, it is the first of the *last* positions, and must see all keys before its
# own. The triangle has to end in the lower right corner. Where there are as many queries as
# keys both are the same, which is why no test on whole texts noticed.
#
# ```diff
# -    seen = torch.ones(n_queries, n_keys, dtype=torch.bool).tril()
# +    seen = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries)
# ```
#
# Planted in this course's `lib/attention.py` it makes `test_with_a_cache_it_is_the_same_in_chunks`
# fail, in `tests/test_gpt.py`.
#
# </details>

# %% [markdown]
# ## Alone it answers well, in company badly
#
# *Where: [TRL, issue 469](https://github.com/huggingface/trl/issues/469). To read: lesson [25](../../lessons/25_reinforcement_learning.ipynb).*
#
# Prompts of different lengths are answered as one batch. They are filled up at the left, so that
# they all end at the same place and their answers can begin there. The mask hides the filling.
# The longest prompt of a batch gets the same answer as alone; the shorter ones get worse
# answers, and the shorter they are, the worse. The model has learned positions, and no prompt
# holds the token that fills up.

# %%
def start_batch(prompts, pad_id):
    """Fill prompts up at their left; return ids, mask and positions, all (B, T)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (width - len(p)) + p for p in prompts])
    mask = ids != pad_id
    positions = torch.arange(width).expand(len(prompts), -1)
    return ids, mask, positions

# %%
ids, mask, positions = start_batch([[7, 3, 9, 2], [4, 1]], pad_id=0)
for row in range(2):
    print("ids", ids[row].tolist(), "mask", mask[row].int().tolist(), end=" ")
    print("positions", positions[row].tolist())

# %% [markdown]
# The hunt: mend `start_batch` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("short-prompts", start_batch)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Where would the token 4 stand if its prompt were alone? The mask knows how much filling is
# before each token.
#
# </details>
#
# <details><summary>Answer</summary>
#
# Positions counted the filling. A mask keeps the filling from being looked at, but a prompt that
# begins at place 2 was also told that it begins at position 2, and a model with learned
# positions has seen few texts that do. Each prompt has to count from its own first token. What
# number the filling gets does not matter, as long as the table has such a row.
#
# ```diff
# -    positions = torch.arange(width).expand(len(prompts), -1)
# +    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
# ```
#
# Planted in this course's `lib/generate/rollouts.py` it makes `test_all_prompts_at_once_are_answered_as_one_by_one`
# fail, in `tests/test_rl.py`.
#
# </details>

# %% [markdown]
# ## Different after exactly so many tokens
#
# *Where: [Transformers, issue 39408](https://github.com/huggingface/transformers/issues/39408). To read: lesson [20](../../lessons/20_long_context.ipynb).*
#
# The model looks back over a window of a few tokens, itself included. In training a mask says so;
# while it writes, a cache keeps as many tokens as the window has. On short texts both
# give the same logits. From a certain length on they differ, a little, at every token.

# %%
def window_mask(length, window):
    """True where i may look at j: at `window` positions, itself and those before it."""
    places = torch.arange(length)
    distance = places[:, None] - places[None, :]
    return (distance >= 0) & (distance <= window)

# %%
print(window_mask(6, 3).int())

# %% [markdown]
# The hunt: mend `window_mask` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("window", window_mask)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Count the ones in the last row.
#
# </details>
#
# <details><summary>Answer</summary>
#
# Off by one: a window of 3 holds the distances 0, 1 and 2. With `<=` each position saw one more
# token than the cache keeps. Code that says "itself included" and code that says "so many before
# it" meet often, and both call their number the window.
#
# ```diff
# -    return (distance >= 0) & (distance <= window)
# +    return (distance >= 0) & (distance < window)
# ```
#
# Planted in this course's `lib/attention.py` it makes `test_a_window_is_itself_and_the_few_before`
# fail, in `tests/test_long_context.py`.
#
# </details>

# %% [markdown]
# ## The answer that was in another document
#
# *Where: [TRL, issue 805](https://github.com/huggingface/trl/issues/805). To read: lesson [28](../../lessons/28_data_preparation.ipynb).*
#
# Several short documents share a row, so that little is wasted on filling. A mask is to keep them
# apart, so that none looks at another one. It does not. Documents that stand first in
# their row are right, the others have a loss that is too low, above all near-copies of their
# neighbours.

# %%
def packed_mask(documents):
    """documents (T,): which text each token is of. (T, T), True: i may look at j."""
    length = len(documents)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = documents[:, None] >= documents[None, :]
    return causal & same

# %%
print(packed_mask(torch.tensor([0, 0, 1, 1])).int())

# %% [markdown]
# The hunt: mend `packed_mask` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("packed-rows", packed_mask)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Row 2 is the first token of the second document. Which columns may it look at?
#
# </details>
#
# <details><summary>Answer</summary>
#
# The comparison was "not before" in place of "the same". A token of document 1 could look at
# document 0, and the causal mask does not forbid that. Starting the positions anew in each
# document would not help either: positions say where a token stands, only a mask says who may
# look at it.
#
# ```diff
# -    same = documents[:, None] >= documents[None, :]
# +    same = documents[:, None] == documents[None, :]
# ```
#
# Planted in this course's `lib/attention.py` it makes `test_a_document_sees_nothing_of_another_one`
# fail, in `tests/test_data_preparation.py`.
#
# </details>
