# %% [markdown]
# # Solutions 23 · In-context learning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/23_in_context_learning.ipynb)
#
# One way to solve each exercise of lesson [23](../lessons/23_in_context_learning.ipynb), and what
# to learn from it.

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
import torch
from torch.nn import functional as F

from lib.attention import causal_mask
from lib.checks.lesson_23 import (
    check_damage,
    check_followers,
    check_longest_tail,
    check_looks_back,
)
from lib.evaluate.induction import without_head

# %% [markdown]
# ## Exercise 1: The longest tail
#
# [Exercise](../lessons/23_in_context_learning.ipynb#exercise-1-the-longest-tail)


# %%
def longest_tail(text, most=3):
    for n in range(most, 0, -1):
        tail = text[-n:]
        for end in range(n, len(text)):
            if text[end - n : end] == tail:
                return text[end]


# %% tags=["exercise"]
check_longest_tail(longest_tail)

# %% [markdown]
# How good is it on the test rows of the lesson?

# %%
from lib.tasks.repeats import Repeats

task = Repeats()
letters = [task.tokenizer.decode(row) for row in task.test.inputs]
answers = [task.tokenizer.decode(row) for row in task.test.targets]
places = task.test.counted.nonzero().tolist()
for most in (1, 2, 3):
    found = [longest_tail(letters[b][: t + 1], most) for b, t in places]
    hits = sum(letter == answers[b][t] for letter, (b, t) in zip(found, places))
    print(f"at most {most}: {hits / len(places):.3f} right")

# %% [markdown]
# With a second letter where there is one, the rule is nearly always right. The trained model
# comes close to that.

# %% [markdown]
# ## Exercise 2: How far back?
#
# [Exercise](../lessons/23_in_context_learning.ipynb#exercise-2-how-far-back)


# %%
def looks_back(weights, n_back):
    means = []
    for back in range(n_back):
        weight = weights.diagonal(-back, dim1=-2, dim2=-1)  # (B, H, T - back)
        means.append(weight.mean(dim=(0, 2)))
    return torch.stack(means, dim=1)


# %% tags=["exercise"]
check_looks_back(looks_back)

# %% [markdown]
# Column 1 is the previous-token score. A head that looks two back, as in the lesson, has its
# largest number in column 2.

# %% [markdown]
# ## Exercise 3: The damage
#
# [Exercise](../lessons/23_in_context_learning.ipynb#exercise-3-the-damage)


# %%
def damage(model, measure):
    whole, falls = measure(model), []
    for layer, block in enumerate(model.blocks):
        attention = block.attention
        n_heads = attention.out_proj.in_features // attention.d_head
        for head in range(n_heads):
            with without_head(model, layer, head):
                falls.append(whole - measure(model))
    return torch.tensor(falls).view(len(model.blocks), -1)


# %% tags=["exercise"]
check_damage(damage)

# %% [markdown]
# The number of heads is read off the matrix: heads need not fill the width of the model. And a
# small fall does not prove that a head does nothing: another one may do the same.

# %% [markdown]
# ## Exercise 4: Two heads without training
#
# [Exercise](../lessons/23_in_context_learning.ipynb#exercise-4-two-heads-without-training)


# %%
def followers(ids, vocab_size):
    letters = F.one_hot(ids, vocab_size).float()  # (B, T, V)
    to_the_left = torch.eye(ids.size(1)).roll(1, 0).tril(-1)  # head 1: (T, T)
    before = to_the_left @ letters  # (B, T, V); zeros at position 0
    mask = causal_mask(ids.size(1))
    same = (letters @ before.transpose(1, 2)) * mask  # (B, T, T)
    weights = same / same.sum(dim=-1, keepdim=True).clamp(min=1)  # of head 2
    return weights @ letters


# %% tags=["exercise"]
check_followers(followers)

# %% [markdown]
# Both are attentions: a `(T, T)` table of weights, times values. The first table depends on places
# only, the second on letters only. `clamp` leaves the rows of zeros at 0. Does it predict as
# well as the rules?

# %% tags=["measured"]
predicted = followers(task.test.inputs, 50).argmax(dim=-1)
hits = (predicted == task.test.targets)[task.test.counted]
print(f"{hits.double().mean().item():.2f} right")

# %% [markdown]
# It takes what followed most often. The rule of one letter, with the earliest place, is better: a
# letter that stood in the same repetition already has a place too many here.
