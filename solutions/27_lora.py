# %% [markdown]
# # Solutions 27 · LoRA
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/27_lora.ipynb)
#
# One way to solve each exercise of lesson [27](../lessons/27_lora.ipynb), and what
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
from torch import nn

from lib.checks.lesson_27 import check_best_adapter, check_count, check_merged

# %% [markdown]
# ## Exercise 1: How many learn?
#
# [Exercise](../lessons/27_lora.ipynb#exercise-1-how-many-learn)


# %%
def count_adapters(model, rank, targets):
    total = 0
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and name.endswith(targets):
            total += rank * (part.in_features + part.out_features)
    return total


# %% tags=["exercise"]
check_count(count_adapters)

# %% [markdown]
# With grouped heads the keys have fewer outputs than inputs, and in a feed-forward network no matrix
# is square. Code that takes `d_model` for both sizes breaks there, or worse, skips these layers.

# %% [markdown]
# ## Exercise 2: A mixture of two adapters
#
# [Exercise](../lessons/27_lora.ipynb#exercise-2-a-mixture-of-two-adapters)


# %%
def merge_two(weight, first, second, share):
    total = weight.clone()
    for (a, b, alpha), part in ((first, share), (second, 1 - share)):
        total += part * alpha / len(a) * (b @ a)
    return total


# %% tags=["exercise"]
check_merged(merge_two)

# %% [markdown]
# The products are mixed, not the thin matrices: $B_1 A_1 + B_2 A_2$ is something else than
# $(B_1 + B_2)(A_1 + A_2)$, which has cross terms that nobody trained.

# %% [markdown]
# ## Exercise 3: An adapter from a tuned matrix
#
# [Exercise](../lessons/27_lora.ipynb#exercise-3-an-adapter-from-a-tuned-matrix)


# %%
def best_adapter(old, new, rank, alpha):
    u, s, vh = torch.linalg.svd(new - old, full_matrices=False)
    b = u[:, :rank] * s[:rank] * rank / alpha
    return vh[:rank], b


# %% tags=["exercise"]
check_best_adapter(best_adapter)

# %% [markdown]
# The scale is divided out once, in `b`; it could as well stand in `a`. That the first terms of the
# singular value decomposition are the best of all matrices of that rank is the theorem of Eckart and
# Young.
