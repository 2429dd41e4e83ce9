# %% [markdown]
# # Solutions 31 · Evaluation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/31_evaluation.ipynb)
#
# One way to solve each exercise of lesson [31](../lessons/31_evaluation.ipynb), and what to learn
# from it.

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

from lib.checks.lesson_31 import check_byte_losses, check_needed, check_swapped_judge

# %% [markdown]
# ## Exercise 1: How many questions?
#
# [Exercise](../lessons/31_evaluation.ipynb#exercise-1-how-many-questions)


# %%
def needed(p, half, z=1.96):
    return math.ceil(z**2 * p * (1 - p) / half**2)


# %% tags=["exercise"]
check_needed(needed)

# %% [markdown]
# How many for a share near .7, to within five, two, and one hundredths?

# %%
print([needed(0.7, half) for half in (0.05, 0.02, 0.01)])

# %% [markdown]
# Tests of a hundred questions are common, and tell models apart that differ by a tenth.

# %% [markdown]
# ## Exercise 2: Several documents
#
# [Exercise](../lessons/31_evaluation.ipynb#exercise-2-several-documents)


# %%
def byte_losses(documents):
    nats = sum(losses.double().sum().item() for _, losses in documents)
    n_bytes = sum(len(text.encode("utf-8")) for text, _ in documents)
    return nats / math.log(2) / n_bytes


# %% tags=["exercise"]
check_byte_losses(byte_losses)

# %% [markdown]
# The sums come first, so a document counts by its length, and the number of tokens is nowhere in it.

# %% [markdown]
# ## Exercise 3: A judge asked twice
#
# [Exercise](../lessons/31_evaluation.ipynb#exercise-3-a-judge-asked-twice)


# %%
def swapped_judge(pairs, judge):
    points = 0.0
    for a, b in pairs:
        wins = (judge(a, b) == 1) + (judge(b, a) == 2)
        points += wins / 2 if a != b else 0.5
    return points / len(pairs)


# %% tags=["exercise"]
check_swapped_judge(swapped_judge)

# %% [markdown]
# A judge that always takes the first answer gives half a point for each pair, so a win rate of one half: as if it knew nothing, which is
# true.
