# %% [markdown]
# # Solutions 19 · Modern blocks
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/19_modern_blocks.ipynb)
#
# One way to solve each exercise of lesson [19](../lessons/19_modern_blocks.ipynb),
# and what to learn from it.

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

from lib.checks.lesson_19 import check_cache_bytes, check_half_split, check_share_heads
from lib.models.gpt import GPT, GPTConfig

# %% [markdown]
# ## Exercise 1: Count the cache
#
# [Exercise](../lessons/19_modern_blocks.ipynb#exercise-1-count-the-cache)


# %%
def cache_bytes(config):
    n_kv_heads = config.n_kv_heads or config.n_heads
    d_head = config.d_head or config.d_model // config.n_heads
    n_numbers = 2 * n_kv_heads * config.context_length * d_head  # keys and values
    return 4 * config.n_layers * n_numbers


# %% tags=["exercise"]
check_cache_bytes(cache_bytes)

# %% [markdown]
# The sizes of Llama 3 with 8 billion parameters, and what its cache would be without shared heads:

# %%
sizes = dict(vocab_size=128_256, d_model=4_096, n_heads=32, n_layers=32, d_ff=14_336)
for n_kv_heads in (32, 8):
    llama = GPTConfig(**sizes, context_length=131_072, n_kv_heads=n_kv_heads)
    print(f"{n_kv_heads} key heads: {cache_bytes(llama) / 2**30:.0f} GiB in float32")

# %% [markdown]
# For *one* text. (Half of that in bfloat16.) That is what shared key heads are for.

# %% [markdown]
# ## Exercise 2: From interleaved to half-split
#
# [Exercise](../lessons/19_modern_blocks.ipynb#exercise-2-from-interleaved-to-half-split)


# %%
def half_split(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))  # (H, Dh, D)
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)


# %% tags=["exercise"]
check_half_split(half_split)

# %% [markdown]
# `v_proj` and `out_proj` stay as they are: values are not turned. And a bias of `q_proj` would need the
# same order as its rows.

# %% [markdown]
# ## Exercise 3: Fewer key heads
#
# [Exercise](../lessons/19_modern_blocks.ipynb#exercise-3-fewer-key-heads)


# %%
def share_heads(weight, n_heads, n_kv_heads):
    groups = weight.unflatten(0, (n_kv_heads, n_heads // n_kv_heads, -1))
    return groups.mean(dim=1).flatten(0, 1)  # (H_kv, H / H_kv, Dh, D) -> (H_kv Dh, D)


# %% tags=["exercise"]
check_share_heads(share_heads)

# %% [markdown]
# Is the model as good as before? Not yet: the mean of two different heads is neither. Here is how far
# the logits of a random model move. The paper trains on for a twentieth of the steps.

# %%
torch.manual_seed(0)
sizes = dict(d_model=64, n_layers=2, n_heads=4, d_ff=128, init="fan_in")
many = GPT(GPTConfig(**sizes))
few = GPT(GPTConfig(**sizes, n_kv_heads=2))
weights = many.state_dict()
for name, weight in weights.items():
    if ".k_proj.weight" in name or ".v_proj.weight" in name:
        weights[name] = share_heads(weight, 4, 2)
    elif ".k_proj.bias" in name or ".v_proj.bias" in name:
        weights[name] = share_heads(weight.unsqueeze(1), 4, 2).squeeze(1)
few.load_state_dict(weights)
ids = torch.randint(65, (4, 32))
moved = (few(ids) - many(ids)).norm() / many(ids).norm()
print(f"the logits move by {moved:.0%} of their length")
