# %% [markdown]
# # Solutions 24 · Reasoning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/24_reasoning.ipynb)
#
# One way to solve each exercise of lesson [24](../lessons/24_reasoning.ipynb), and what
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
import re

from lib.checks.lesson_24 import (
    check_brackets,
    check_difference,
    check_erring_verifier,
    check_own_targets,
    check_weighted_vote,
)
from lib.generate.tools import calculate

# %% [markdown]
# ## Exercise 1: The steps of a difference
#
# [Exercise](../lessons/24_reasoning.ipynb#exercise-1-the-steps-of-a-difference)


# %%
def difference_steps(a, b, digits):
    left, right = f"{a:0{digits}}", f"{b:0{digits}}"
    steps, borrow = "", 0
    for x, y in zip(reversed(left), reversed(right)):
        below, digit = divmod(int(x) - int(y) - borrow, 10)
        borrow = -below
        steps += f"{borrow}{digit};"
    return f"{steps}>{a - b:0{digits}}."


# %% tags=["exercise"]
check_difference(difference_steps)

# %% [markdown]
# `divmod` rounds down, so that what is left lies between 0 and 9, also for negative numbers. A model
# could learn these differences as it learnt sums: only the table of digits is another one.

# %% [markdown]
# ## Exercise 2: What counts beside a tool
#
# [Exercise](../lessons/24_reasoning.ipynb#exercise-2-what-counts-beside-a-tool)


# %%
def own_targets(prompt, answer):
    own, given = [False] * (len(prompt) - 1), False
    for character in answer:
        own.append(not given)
        given = character == "]" or (given and character != ";")
    return own


# %% tags=["exercise"]
check_own_targets(own_targets)

# %% [markdown]
# The bracket itself counts: the model has to write it, or the call never happens. The library does
# not search the text for that: an `Example` says which places are `given`, and a `]` may mean
# something else in another task.

# %% [markdown]
# ## Exercise 3: A vote with weights
#
# [Exercise](../lessons/24_reasoning.ipynb#exercise-3-a-vote-with-weights)


# %%
def weighted_vote(answers, weights):
    sums = {}
    for answer, weight in zip(answers, weights):
        if answer is not None:
            sums[answer] = sums.get(answer, 0) + weight
    return max(sums, key=sums.get, default=None)


# %% tags=["exercise"]
check_weighted_vote(weighted_vote)

# %% [markdown]
# With all weights 1 this is the vote of the lesson. With a verifier's scores as weights, an
# answer wins that many samples reach and the verifier likes: a verifier that errs is less of a danger
# then than with best of $n$, where one good score decides.

# %% [markdown]
# ## Exercise 4: A verifier that errs
#
# [Exercise](../lessons/24_reasoning.ipynb#exercise-4-a-verifier-that-errs)


# %%
def share_right(chances, error, n):
    shares = []
    for p in chances:
        go_on = (1 - p) * (1 - error)  # wrong, and noticed
        shares.append(sum(p * go_on**k for k in range(n)))
    return sum(shares) / len(shares)


# %% tags=["exercise"]
check_erring_verifier(share_right)

# %% [markdown]
# What do more samples bring? Here for questions that a model gets right once in ten times:

# %%
for error in (0.0, 0.1, 1.0):
    shares = [share_right([0.1], error, n) for n in (1, 4, 16, 64)]
    print(f"error {error}:", *(f"{share:.2f}" for share in shares))

# %% [markdown]
# With a perfect verifier the share goes to 1. One that lets every tenth wrong answer pass ends at about a half,
# however many samples you pay: then the verifier is the limit. One that passes everything brings
# nothing.

# %% [markdown]
# ## Exercise 5: Brackets
#
# [Exercise](../lessons/24_reasoning.ipynb#exercise-5-brackets)


# %%
def with_brackets(expression):
    if re.search(r"[0-9)]\(|\)[0-9(]", expression):
        raise ValueError(f"expression={expression!r}: a sign is missing at a bracket")
    while inner := re.search(r"\(([^()]*)\)", expression):
        value = str(calculate(inner[1]))
        expression = expression[: inner.start()] + value + expression[inner.end() :]
    return calculate(expression)


# %% tags=["exercise"]
check_brackets(with_brackets)

# %% [markdown]
# A bracket that is not closed stays, and `calculate` refuses it. Without the first line `2(3)` would become
# a number of two digits: what is put together as text may mean something that nobody wrote. Many holes in programs
# are of this kind.
