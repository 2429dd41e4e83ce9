# %% [markdown]
# # Solutions 06 · Attention
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/06_attention.ipynb)
#
# One way to solve each exercise of lesson [06](../lessons/06_attention.ipynb), and what to
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
import math

import torch
from torch import nn

from lib.show import plot
from lib.attention import (
    attention_weights,
    causal_mask,
    scaled_dot_product_attention,
)
from lib.evaluate.attention_maps import attention_entropy
from lib.checks.lesson_06 import (
    check_dependencies,
    check_effective_positions,
    check_local_mask,
    check_previous_token,
)

# %% [markdown]
# ## Exercise 1: How many positions alike
#
# [Exercise](../lessons/06_attention.ipynb#exercise-1-how-many-positions-alike)


# %%
def effective_positions(weights):
    return attention_entropy(weights).exp()


# %% tags=["exercise"]
check_effective_positions(effective_positions)

# %% [markdown]
# Try it on a causal attention with random queries and keys of 16 numbers: 32 positions, a
# thousand times. The last position could look at all 32. How many does it look at?

# %%
generator = torch.Generator().manual_seed(0)
q, k = torch.randn(2, 1_000, 32, 16, generator=generator)
for factor in (0, 1, 4):
    weights = attention_weights(factor * q, k, causal_mask(32))
    n = effective_positions(weights)[:, -1].mean().item()
    print(f"scores times {factor}: as if it looked at {n:.1f} positions alike")
assert n < 5

# %% [markdown]
# Without scores all 32. With random ones 20.9: even chance has favourites. With scores four
# times as large not even 4.

# %% [markdown]
# ## Exercise 2: Only the near past
#
# [Exercise](../lessons/06_attention.ipynb#exercise-2-only-the-near-past)
#
# The causal mask, without what is `window` or more places back.


# %%
def local_mask(length, window):
    mask = causal_mask(length)
    return mask & ~mask.tril(diagonal=-window)


# %% tags=["exercise"]
check_local_mask(local_mask)

# %% [markdown]
# How much work does a window of 256 save? Count the pairs that may look at each other.

# %%
for length in (256, 1_024, 4_096):
    full, local = causal_mask(length).sum(), local_mask(length, 256).sum()
    print(f"{length:5,} positions: {full:9,} pairs, with the window {local:9,}")
    assert local == sum(min(i + 1, 256) for i in range(length))

# %% [markdown]
# From 1,024 to 4,096 positions, the full table grows sixteenfold, the window's a little more
# than fourfold: as the text itself. Lesson 20 makes models of that.

# %% [markdown]
# ## Exercise 3: What depends on what
#
# [Exercise](../lessons/06_attention.ipynb#exercise-3-what-depends-on-what)


# %%
def dependencies(mix, x):
    before = mix(x)
    generator = torch.Generator().manual_seed(0)
    columns = []
    for j in range(len(x)):
        changed = x.clone()
        changed[j] = torch.randn(x.size(1), generator=generator)
        columns.append((mix(changed) - before).abs().amax(dim=-1) > 1e-6)
    return torch.stack(columns, dim=1)


# %% tags=["exercise"]
check_dependencies(dependencies)

# %% [markdown]
# Why random numbers? Adding 1 to the whole row would be easier, but a function that takes the
# mean of each row away would not notice.
#
# The honest attention and the two leaks of the lesson, as pictures in text:

# %%
torch.manual_seed(0)
x, mask = torch.randn(6, 8), causal_mask(6)
to_q, to_k, to_v = (nn.Linear(8, 8, bias=False) for _ in range(3))
kinds = {
    "honest": lambda x: attention_weights(to_q(x), to_k(x), mask) @ to_v(x),
    "one too wide": lambda x: (
        attention_weights(to_q(x), to_k(x), torch.ones(6, 6).tril(1).bool()) @ to_v(x)
    ),
    "mask too late": lambda x: (attention_weights(to_q(x), to_k(x)) * mask) @ to_v(x),
}
found = {}
for name, mix in kinds.items():
    with torch.no_grad():
        found[name] = dependencies(mix, x)
    rows = ["".join("x" if d else "." for d in row) for row in found[name].tolist()]
    print(f"{name}:", *rows, sep="\n  ")

# %%
assert torch.equal(found["honest"], mask)
assert found["mask too late"].all() and found["one too wide"].sum() == mask.sum() + 5

# %% [markdown]
# With the mask that comes too late, everything depends on everything, although each position
# only *takes* from its past: the sums under the softmax have seen it all.

# %% [markdown]
# ## Exercise 4: A head that looks one step back
#
# [Exercise](../lessons/06_attention.ipynb#exercise-4-a-head-that-looks-one-step-back)
#
# The key of position $j$ is row $j$ of the identity; the query of position $i$ is row $i - 1$,
# times a number. So the score is large where $j = i - 1$, and 0 elsewhere. With a score of $s$
# after the division, the right position gets $e^s / (e^s + n - 1)$, if $n$ positions may be
# looked at. For a hundred positions $s = 20$ is far more than enough. (The first query is row
# 0, its own.)


# %%
def previous_token(length):
    k = torch.eye(length)  # "I am position j"
    rows = torch.arange(length).sub(1).clamp(min=0)  # 0, 0, 1, 2, ...
    return 20 * math.sqrt(length) * k[rows], k


# %% tags=["exercise"]
check_previous_token(previous_token)

# %% mystnb={"image": {"alt": "Heat map of the weights of the handmade head on the line to be or not to be. The one dark cell of each row stands one place left of the diagonal; the first row is dark on the diagonal."}}
line = "to be or not to be"
q, k = previous_token(len(line))
values = torch.tensor([[float(ord(c))] for c in line])
mixed, weights = scaled_dot_product_attention(
    q, k, values, causal_mask(len(line)), need_weights=True
)
copied = "".join(chr(round(number)) for number in mixed[:, 0].tolist())
print(repr(line), "->", repr(copied))
assert copied[1:] == line[:-1]
labels = plot.visible(list(line))
axes = "at this position", "this position looks"
plot.heat_map(weights, labels, labels, *axes, (5.6, 5), 1.0, label="weight")

# %% [markdown]
# *With queries and keys made from positions alone, a head copies the line one place to the
# right.*
#
# With the previous token beside its own, a position knows a pair. That is what a second layer
# can work with, and how lesson 23's models learn from their own prompt.
