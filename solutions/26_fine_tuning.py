# %% [markdown]
# # Solutions 26 · Fine-tuning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/26_fine_tuning.ipynb)
#
# One way to solve each exercise of lesson [26](../lessons/26_fine_tuning.ipynb), and what
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

from lib.checks.lesson_26 import check_drift, check_freeze_first, check_mixed_batch
from lib.text.batches import random_batch

# %% [markdown]
# ## Exercise 1: Freeze the first blocks
#
# [Exercise](../lessons/26_fine_tuning.ipynb#exercise-1-freeze-the-first-blocks)


# %%
def freeze_first(model, n):
    model.requires_grad_(True)
    for part in (model.tokens, *model.blocks[:n]):
        part.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# %% tags=["exercise"]
check_freeze_first(freeze_first)

# %% [markdown]
# The first line matters when you try several values of `n` on one model: without it, what was frozen
# stays frozen, and each trial is worse than the one before.

# %% [markdown]
# ## Exercise 2: How far did it go?
#
# [Exercise](../lessons/26_fine_tuning.ipynb#exercise-2-how-far-did-it-go)


# %%
def drift(before, after):
    found = {}
    pairs = zip(before.named_parameters(), after.named_parameters())
    for (name, old), (_, new) in pairs:
        change = new.detach() - old.detach()
        found[name] = (change.norm() / old.detach().norm()).item()
    return found


# %% tags=["exercise"]
check_drift(drift)

# %% [markdown]
# It is the lesson's "how far did the weights go" as a number for each part. A part that hardly moves is one
# that could have been frozen.

# %% [markdown]
# ## Exercise 3: Replay
#
# [Exercise](../lessons/26_fine_tuning.ipynb#exercise-3-replay)


# %%
def mixed_batch(new, old, batch_size, n_old, T, generator):
    parts = [(old, n_old), (new, batch_size - n_old)]
    batches = [random_batch(text, n, T, generator) for text, n in parts if n > 0]
    inputs, targets = zip(*batches)
    return torch.cat(inputs), torch.cat(targets)


# %% tags=["exercise"]
check_mixed_batch(mixed_batch)

# %% [markdown]
# `random_batch` refuses a batch of no rows, so a part without rows is left out. With a few old rows in
# each batch the gradient pulls both ways, and the model has a reason to keep what it knew.
