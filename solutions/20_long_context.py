# %% [markdown]
# # Solutions 20 · Long context
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/20_long_context.ipynb)
#
# One way to solve each exercise of lesson [20](../lessons/20_long_context.ipynb), and what to
# learn from it.

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

from lib.checks.lesson_20 import check_merge, check_new_mask, check_window_bytes
from lib.models.gpt import GPTConfig

# %% [markdown]
# ## Exercise 1: Bytes of many windows
#
# [Exercise](../lessons/20_long_context.ipynb#exercise-1-bytes-of-many-windows)


# %%
def window_bytes(config):
    n_full = config.n_layers
    if config.window is not None:
        n_full = config.n_layers // config.full_every if config.full_every else 0
    room = min(config.window or config.context_length, config.context_length)
    n_tokens = n_full * config.context_length + (config.n_layers - n_full) * room
    n_kv_heads = config.n_kv_heads or config.n_heads
    d_head = config.d_head or config.d_model // config.n_heads
    return 4 * 2 * n_kv_heads * d_head * n_tokens  # bytes, keys and values


# %% tags=["exercise"]
check_window_bytes(window_bytes)

# %% [markdown]
# The sizes of Gemma 3 with one billion parameters, at its full context: without a window, with
# every sixth block full, and with windows only.

# %%
sizes = dict(vocab_size=262_144, d_model=1_152, d_ff=6_912, n_layers=26, d_head=256)
sizes |= dict(n_heads=4, n_kv_heads=1, context_length=32_768, position="rotary")
for options in ({}, dict(window=512, full_every=6), dict(window=512)):
    n_bytes = window_bytes(GPTConfig(**sizes, **options))
    print(f"{n_bytes / 2**20:7,.0f} MiB with {options}")

# %% [markdown]
# The few full blocks hold nearly all of what is left.

# %% [markdown]
# ## Exercise 2: Merge two halves
#
# [Exercise](../lessons/20_long_context.ipynb#exercise-2-merge-two-halves)


# %%
def merge(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = torch.maximum(m1, m2)
    shrink1, shrink2 = (m1 - m).exp(), (m2 - m).exp()
    return m, shrink1 * l1 + shrink2 * l2, shrink1 * o1 + shrink2 * o2


# %% tags=["exercise"]
check_merge(merge)

# %% [markdown]
# An empty half has $e^{-\infty - m} = 0$ and drops out by itself. The order does not matter, so
# any number of machines can merge in any order: three parts, in two ways.

# %%
parts = [(torch.randn(5, 1), torch.rand(5, 1) + 1, torch.randn(5, 3)) for _ in "abc"]
a, b, c = parts
for left, right in zip(merge(merge(a, b), c), merge(a, merge(c, b))):
    print("the same:", torch.allclose(left, right, atol=1e-5))

# %% [markdown]
# Ring attention spreads a text over machines in this way: each keeps its queries, and the keys
# and values go round (Liu et al. 2023).

# %% [markdown]
# ## Exercise 3: The mask of new tokens
#
# [Exercise](../lessons/20_long_context.ipynb#exercise-3-the-mask-of-new-tokens)


# %%
def new_mask(n_new, n_keys, window):
    queries = torch.arange(n_keys - n_new, n_keys).unsqueeze(1)  # (n_new, 1)
    distance = queries - torch.arange(n_keys)  # (n_new, n_keys)
    return (distance >= 0) & (distance < window)


# %% tags=["exercise"]
check_new_mask(new_mask)

# %% [markdown]
# With one new token and a full ring the mask is all True: the ring holds just what may be seen.

# %%
print(new_mask(1, 4, window=4).int().tolist())
for row in new_mask(3, 6, window=4).int().tolist():
    print(*row)

# %% [markdown]
# That is why writing token by token needs no mask at all, and why it hides so many bugs.
