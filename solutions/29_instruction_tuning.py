# %% [markdown]
# # Solutions 29 · Instruction tuning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/29_instruction_tuning.ipynb)
#
# One way to solve each exercise of lesson [29](../lessons/29_instruction_tuning.ipynb), and what
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

from lib.checks.lesson_29 import (
    check_two_rows,
    check_replay_rows,
    check_stop_report,
    check_marked,
)

# %% [markdown]
# ## Exercise 1: A template with its mask
#
# [Exercise](../lessons/29_instruction_tuning.ipynb#exercise-1-a-template-with-its-mask)


# %%
def marked(question, answer):
    given = f"### Question\n{question}\n\n### Answer\n"
    own = f"{answer}\n\n"
    return given + own, [False] * len(given) + [True] * len(own)


# %% tags=["exercise"]
check_marked(marked)

# %% [markdown]
# Text and marks come from the same two pieces, so they cannot disagree. Who makes the text first and then searches
# for the answer in it finds the wrong place as soon as a question quotes its answer.

# %% [markdown]
# ## Exercise 2: A batch of two conversations
#
# [Exercise](../lessons/29_instruction_tuning.ipynb#exercise-2-a-batch-of-two-conversations)


# %%
def batch_of(first, second):
    width = max(len(first[0]), len(second[0]))
    rows = [(ids, own, width - len(ids)) for ids, own in (first, second)]
    ids = torch.tensor([ids + [0] * missing for ids, _, missing in rows])
    own = torch.tensor([own + [False] * missing for _, own, missing in rows])
    return ids[:, :-1], ids[:, 1:], own[:, 1:]


# %% tags=["exercise"]
check_two_rows(batch_of)

# %% [markdown]
# The filling has the id 0, and in this course that is the stop as well. It does no harm, because the marks decide,
# not the ids. Who lets all targets count that are not 0 loses the stop.

# %% [markdown]
# ## Exercise 3: How often it stops, and how much it says
#
# [Exercise](../lessons/29_instruction_tuning.ipynb#exercise-3-how-often-it-stops-and-how-much-it-says)


# %%
def stop_report(answers, stop_id):
    ends = [answer[-1] == stop_id for answer in answers]
    lengths = [len(answer) - end for answer, end in zip(answers, ends)]
    return sum(ends) / len(answers), sum(lengths) / len(answers)


# %% tags=["exercise"]
check_stop_report(stop_report)

# %% [markdown]
# `True` counts as 1 in a difference. A stop rate below one says that the mean length is too small, too: what was cut off
# would have been longer.

# %% [markdown]
# ## Exercise 4: How many rows to replay
#
# [Exercise](../lessons/29_instruction_tuning.ipynb#exercise-4-how-many-rows-to-replay)


# %%
def replay_rows(n_answers, width, percent):
    return -(-percent * n_answers // ((100 - percent) * width))


# %% tags=["exercise"]
check_replay_rows(replay_rows)

# %% [markdown]
# `-(-x // y)` rounds up without a float: `//` rounds down, so the negative of a negative is rounded up. With floats, a
# share that is met exactly may come out a little above a whole number, and then one row too many.
