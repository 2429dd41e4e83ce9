# %% [markdown]
# # Solutions 22 · Scaling
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/22_scaling.ipynb)
#
# One way to solve each exercise of lesson [22](../lessons/22_scaling.ipynb),
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
import math

import torch

from lib.checks.lesson_22 import check_mean_gradient, check_modern_flops
from lib.checks.lesson_22 import check_own_slice, check_size_for
from lib.evaluate.scaling_laws import ScalingLaw
from lib.models.gpt import GPTConfig

# %% [markdown]
# ## Exercise 1: Operations of a modern GPT
#
# [Exercise](../lessons/22_scaling.ipynb#exercise-1-operations-of-a-modern-gpt)


# %%
def modern_flops(config):
    c = config
    n_kv_heads = c.n_kv_heads or c.n_heads
    shared = c.d_model**2 * n_kv_heads // c.n_heads  # one projection of keys or values
    block = 2 * c.d_model**2 + 2 * shared + 3 * c.d_model * c.d_ff
    weights = c.n_layers * block + c.d_model * c.vocab_size
    return 6 * weights + 12 * c.n_layers * c.context_length * c.d_model


# %% tags=["exercise"]
check_modern_flops(modern_flops)

# %% [markdown]
# The sizes of Llama 3 with 8 billion parameters. How much work is a token?

# %%
sizes = dict(vocab_size=128_256, d_model=4_096, n_heads=32, n_layers=32, d_ff=14_336)
llama = GPTConfig(**sizes, context_length=8_192, n_kv_heads=8, ffn="swiglu")
print(f"{modern_flops(llama):.2e} operations a token")
print(f"{15e12 * modern_flops(llama):.1e} for fifteen trillion tokens")

# %% [markdown]
# On one GPU like that of the lesson, the second number takes more than a hundred years.
#
# ## Exercise 2: The right mean
#
# [Exercise](../lessons/22_scaling.ipynb#exercise-2-the-right-mean)


# %%
def mean_gradient(gradients, counts):
    weighed = [n * gradient for n, gradient in zip(counts, gradients) if n > 0]
    return sum(weighed) / sum(counts)


# %% tags=["exercise"]
check_mean_gradient(mean_gradient)

# %% [markdown]
# Thirty targets with gradient 1 in one process, ten with gradient 2 in the other:

# %%
pair = [torch.tensor([1.0]), torch.tensor([2.0])]
print("right", mean_gradient(pair, [30, 10]).item(), "plain mean", 1.5)

# %% [markdown]
# DDP takes the plain mean over processes. So `Training` multiplies each loss by its own count over the
# mean count *before* the backward pass; then the plain mean is the right one. It does the same for the parts of
# a batch that is accumulated.
#
# ## Exercise 3: Cut it yourself
#
# [Exercise](../lessons/22_scaling.ipynb#exercise-3-cut-it-yourself)


# %%
def own_slice(n_numbers, n_processes, rank):
    size, rest = divmod(n_numbers, n_processes)
    start = rank * size + min(rank, rest)  # an extra number for each before it
    return start, start + size + (1 if rank < rest else 0)


# %% tags=["exercise"]
check_own_slice(own_slice)

# %% [markdown]
# Ten numbers in four processes:

# %%
print([own_slice(10, 4, rank) for rank in range(4)])

# %% [markdown]
# The lengths are 3, 3, 2, 2. Rounding up every length would leave the last process with one number.
#
# ## Exercise 4: How large must it be?
#
# [Exercise](../lessons/22_scaling.ipynb#exercise-4-how-large-must-it-be)


# %%
def size_for(law, loss):
    if loss <= law.floor:
        return math.inf
    return (law.scale / (loss - law.floor)) ** (1 / law.exponent)


# %% tags=["exercise"]
check_size_for(size_for)

# %% [markdown]
# With a law like that of the lesson, what do the next tenths of a nat cost?

# %%
law = ScalingLaw(floor=1.73, scale=6.3, exponent=0.29)
for loss in (2.0, 1.9, 1.8, 1.7):
    print(f"{loss} nats: {size_for(law, loss):,.0f} weights")

# %% [markdown]
# Each tenth costs many times the one before, and the last is not to be had. (This floor is badly known: the
# lesson says why.)
