# %% [markdown]
# # Solutions 25 · Reinforcement learning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/25_reinforcement_learning.ipynb)
#
# One way to solve each exercise of lesson [25](../lessons/25_reinforcement_learning.ipynb), and what
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

from lib.checks.lesson_25 import (
    check_advantages,
    check_kl,
    check_policy_loss,
    check_verifier,
)

# %% [markdown]
# ## Exercise 1: A verifier
#
# [Exercise](../lessons/25_reinforcement_learning.ipynb#exercise-1-a-verifier)


# %%
def verifier(prompt, answer):
    a, b = prompt.removesuffix("=").split("-")
    right = f"{int(a) - int(b)}."
    body, stop, rest = answer.partition(".")
    return float(not rest and body.split(">")[-1] + stop == right)


# %% tags=["exercise"]
check_verifier(verifier)

# %% [markdown]
# `partition` never fails: without a stop, `stop` is empty and the comparison says no. What a model
# writes is compared as text. Everything that `int` forgives is something that a model
# would learn to write.

# %% [markdown]
# ## Exercise 2: Advantages of four methods
#
# [Exercise](../lessons/25_reinforcement_learning.ipynb#exercise-2-advantages-of-four-methods)


# %%
def group_advantages(rewards, groups, method, small=1e-4):
    result = torch.zeros_like(rewards)
    for group in groups.unique():
        own = groups == group
        r = rewards[own]
        apart = r - r.mean()
        if method == "rloo":
            apart = apart * len(r) / (len(r) - 1)
        if method == "grpo":
            apart = apart / (r.std() + small)
        result[own] = r if method == "reinforce" else apart
    return result


# %% tags=["exercise"]
check_advantages(group_advantages)

# %% [markdown]
# The mean of the others is $(G \bar r - r_i) / (G - 1)$. Subtract it from $r_i$ and collect:
# $\frac{G}{G - 1}(r_i - \bar r)$.

# %% [markdown]
# ## Exercise 3: The loss of rows with filling
#
# [Exercise](../lessons/25_reinforcement_learning.ipynb#exercise-3-the-loss-of-rows-with-filling)


# %%
def answer_loss(new, old, advantages, written, clip):
    apart = torch.where(written, new - old, 0.0)
    ratio, a = apart.exp(), advantages.unsqueeze(-1)
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
    rows = torch.where(written, gain, 0.0).sum(dim=1) / written.sum(dim=1)
    return -rows.mean()


# %% tags=["exercise"]
check_policy_loss(answer_loss)

# %% [markdown]
# The mask comes in twice. Before `exp`, because an infinite ratio times 0 is no number, and
# neither is its gradient. And before the sum, because filling has a ratio of 1, not of 0.

# %% [markdown]
# ## Exercise 4: How far from the start?
#
# [Exercise](../lessons/25_reinforcement_learning.ipynb#exercise-4-how-far-from-the-start)


# %%
def mean_distance(new, reference, written):
    d = (reference - new)[written]
    return (torch.expm1(d) - d).mean()


# %% tags=["exercise"]
check_kl(mean_distance)

# %% [markdown]
# Near 0 the estimate is about $d^2 / 2$: for a thousandth half a millionth, which is near the rounding
# of float32 beside the number 1.
