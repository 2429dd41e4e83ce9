# %% [markdown]
# # Solutions 12 · Training runs
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/12_training_runs.ipynb)
#
# One way to solve each exercise of lesson [12](../lessons/12_training_runs.ipynb), and what
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
from tempfile import TemporaryDirectory

import torch

from lib.checks.lesson_12 import (
    check_ShuffledBatches,
    check_compare,
    check_first_difference,
    check_replace_file,
)

# %% [markdown]
# ## Exercise 1: Where two runs part
#
# [Exercise](../lessons/12_training_runs.ipynb#exercise-1-where-two-runs-part)


# %%
def first_difference(one, other):
    for step, (loss, same) in enumerate(zip(one, other)):
        if loss != same:
            return step
    return None


# %% tags=["exercise"]
check_first_difference(first_difference)

# %% [markdown]
# `!=` and not `math.isclose`: a resumed run that is only *close* has lost something. And where it
# parts tells you what. At the first step after the stop it is the weights or the batch, later the
# optimiser, the schedule or dropout.

# %% [markdown]
# ## Exercise 2: More than luck?
#
# [Exercise](../lessons/12_training_runs.ipynb#exercise-2-more-than-luck)


# %%
def compare(ours, theirs):
    difference = sum(theirs) / len(theirs) - sum(ours) / len(ours)
    spreads = [max(losses) - min(losses) for losses in (ours, theirs)]
    return difference, max(spreads)


# %% tags=["exercise"]
check_compare(compare)

# %% [markdown]
# The mean and not the best run: whoever tries more seeds finds a better best one, with the same
# recipe. See how much, with losses that are nothing but luck:

# %%
generator = torch.Generator().manual_seed(0)
luck = 2 + 0.02 * torch.randn(1_000, 20, generator=generator)
best_of_3, best_of_20 = (luck[:, :n].min(dim=1).values.mean() for n in (3, 20))
print(f"mean {luck.mean():.3f}, best of 3 {best_of_3:.3f}, best of 20 {best_of_20:.3f}")

# %% [markdown]
# The same recipe, and the one with more seeds looks better.

# %% [markdown]
# ## Exercise 3: Whole or not at all
#
# [Exercise](../lessons/12_training_runs.ipynb#exercise-3-whole-or-not-at-all)


# %%
def replace_file(path, write):
    draft = path.with_name(f"{path.name}.tmp")
    try:
        write(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# %% tags=["exercise"]
check_replace_file(replace_file)

# %% [markdown]
# After a success there is no draft any more, so `unlink` finds nothing; after a failure it removes the
# half. `finally` also runs after Ctrl-C, which an `except Exception:` does not catch, and lets the
# error go on to the caller. A process that is *killed* runs nothing at all, so a draft may stay. It
# does no harm: the next `write` begins it anew.

# %%
with TemporaryDirectory() as folder:
    path = Path(folder, "notes.txt")
    replace_file(path, lambda draft: draft.write_text("first", "utf-8"))
    try:
        replace_file(path, lambda draft: draft.write_text(3, "utf-8"))  # not a text
    except TypeError as error:
        print(error)
    print(path.read_text("utf-8"), [file.name for file in path.parent.iterdir()])

# %% [markdown]
# The second version failed; the first is still there, and nothing else.

# %% [markdown]
# ## Exercise 4: Batches that can be resumed
#
# [Exercise](../lessons/12_training_runs.ipynb#exercise-4-batches-that-can-be-resumed)


# %%
class ShuffledBatches:
    def __init__(self, n_items, batch_size, seed):
        self.n_items, self.batch_size = n_items, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.empty(0, dtype=torch.long)  # of no epoch yet
        self.place = 0

    def next(self):
        if self.place == len(self.order):
            self.order = torch.randperm(self.n_items, generator=self.generator)
            self.place = 0
        batch = self.order[self.place : self.place + self.batch_size]
        self.place += self.batch_size
        return batch.clone()

    def state(self):
        return {
            "order": self.order.clone(),
            "place": self.place,
            "generator": self.generator.get_state(),
        }

    def load(self, state):
        self.order = state["order"].clone()
        self.place = state["place"]
        self.generator.set_state(state["generator"])


# %% tags=["exercise"]
check_ShuffledBatches(ShuffledBatches)

# %% [markdown]
# Three things decide what comes next: the order of this epoch, the place in it, and the generator that
# will draw the next order. With a large text the order is a long list. Then one keeps the state that
# the generator had *before* the order was drawn, and draws it again.
