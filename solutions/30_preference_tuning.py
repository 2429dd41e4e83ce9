# %% [markdown]
# # Solutions 30 · Preference tuning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/30_preference_tuning.ipynb)
#
# One way to solve each exercise of lesson [30](../lessons/30_preference_tuning.ipynb), and what
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
from torch.nn import functional as F

from lib.checks.lesson_30 import (
    check_answer_sums,
    check_drop_equal,
    check_pair_losses,
    check_win_table,
)

# %% [markdown]
# ## Exercise 1: Who beats whom
#
# [Exercise](../lessons/30_preference_tuning.ipynb#exercise-1-who-beats-whom)


# %%
def win_table(rewards):
    return (rewards[:, None] - rewards[None, :]).sigmoid()


# %% tags=["exercise"]
check_win_table(win_table)

# %% [markdown]
# An entry and the one across the diagonal sum to 1: one of the two wins. Chess players know the
# table from their Elo numbers, which are rewards with another unit.

# %% [markdown]
# ## Exercise 2: The sum over an answer
#
# [Exercise](../lessons/30_preference_tuning.ipynb#exercise-2-the-sum-over-an-answer)


# %%
def answer_sums(logits, ids, written):
    logs = logits[:, :-1].log_softmax(dim=-1)
    found = logs.gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return (found * written[:, 1:]).sum(dim=1)


# %% tags=["exercise"]
check_answer_sums(answer_sums)

# %% [markdown]
# Three things move by one together: logits lose their last place, ids and marks their first.

# %% [markdown]
# ## Exercise 3: Four numbers for each pair
#
# [Exercise](../lessons/30_preference_tuning.ipynb#exercise-3-four-numbers-for-each-pair)


# %%
def pair_losses(chosen, rejected, reference_chosen, reference_rejected, beta):
    moved = chosen - reference_chosen
    away = rejected - reference_rejected
    return -F.logsigmoid(beta * (moved - away))


# %% tags=["exercise"]
check_pair_losses(pair_losses)

# %% [markdown]
# A training reports more than their mean. Keep `moved` and `away` too: only they show that both
# answers become less likely.

# %% [markdown]
# ## Exercise 4: Pairs that teach nothing
#
# [Exercise](../lessons/30_preference_tuning.ipynb#exercise-4-pairs-that-teach-nothing)


# %%
def drop_equal(pairs, max_length):
    kept = []
    for prompt, *answers in pairs:
        one, other = ((prompt + answer)[:max_length] for answer in answers)
        if one != other:
            kept.append((prompt, *answers))
    return kept, len(pairs) - len(kept)


# %% tags=["exercise"]
check_drop_equal(drop_equal)

# %% [markdown]
# With `max_length=None` nothing is cut, and what is left out is equal from the start.
