# %% [markdown]
# # Solutions 13 · Generation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/13_generation.ipynb)
#
# One way to solve each exercise of lesson [13](../lessons/13_generation.ipynb), and what
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
import math
from pathlib import Path

import torch

import lib
from lib.train.checkpoint import load_checkpoint
from lib.checks.lesson_13 import (
    check_keep_min_p,
    check_nucleus_size,
    check_texts_that_fit,
    check_write_until,
)
from lib.checks.claims import claim
from lib.models.presets import preset_config
from lib.generate.sampling import keep_top_p
from lib.show import plot

data = Path(lib.__file__).parents[1] / "data"
checkpoint = load_checkpoint(data / "gpt-mini.safetensors")
model, tokenizer = checkpoint.model, checkpoint.tokenizer
print("context:", model.context_length, "characters")

# %% [markdown]
# ## Exercise 1: How many does it keep?
#
# [Exercise](../lessons/13_generation.ipynb#exercise-1-how-many-does-it-keep)


# %%
def nucleus_size(probabilities, p):
    sums = probabilities.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    return (sums < p).sum(dim=-1) + 1


# %% tags=["exercise"]
check_nucleus_size(nucleus_size)

# %% [markdown]
# How many characters does the model need to be nine tenths sure, along a line that it
# has never seen?

# %% mystnb={"image": {"alt": "A line that jumps along the characters of a sentence: more than ten where a word begins, eight or fewer inside words and at their ends, sometimes one."}}
line = "To be, or not to be, that is the question:\n"
ids = torch.tensor([tokenizer.encode(line)])
with torch.no_grad():
    sizes = nucleus_size(model(ids)[0].softmax(dim=-1), 0.9)  # (T,)
after_space = torch.tensor([character == " " for character in line])
print(f"after a space: {sizes[after_space].float().mean():.0f} on average,")
print(f"elsewhere:     {sizes[~after_space].float().mean():.0f}")
wide, narrow = (sizes[where].float().mean() for where in (after_space, ~after_space))
claim(wide > 1.5 * narrow, "where a word begins the set is larger")
plot.line_chart({"size": sizes.tolist()}, "characters read", "characters kept")

# %% [markdown]
# *The set is large where a word begins, and small inside.* One fixed `k` cannot do that.

# %% [markdown]
# ## Exercise 2: A threshold that moves
#
# [Exercise](../lessons/13_generation.ipynb#exercise-2-a-threshold-that-moves)


# %%
def keep_min_p(logits, min_p):
    probabilities = logits.softmax(dim=-1)
    largest = probabilities.max(dim=-1, keepdim=True).values  # (B, 1)
    return logits.masked_fill(probabilities < min_p * largest, -math.inf)


# %% tags=["exercise"]
check_keep_min_p(keep_min_p)

# %% [markdown]
# You can do it without any softmax: the ratio of two probabilities is $e$ to the
# difference of their logits. So the bar is $z_{\max} + \ln(\text{min-p})$.


# %%
def keep_min_p_by_logits(logits, min_p):
    bar = logits.max(dim=-1, keepdim=True).values + math.log(min_p)
    return logits.masked_fill(logits < bar, -math.inf)


logits = torch.randn(100, 20, generator=torch.Generator().manual_seed(0))
assert torch.equal(keep_min_p(logits, 0.1), keep_min_p_by_logits(logits, 0.1))

for heat in (1, 3):
    z = logits / heat
    n_p, n_min = (f(z, a).isfinite().sum(-1).float().mean() for f, a in
                  ((keep_top_p, 0.9), (keep_min_p, 0.1)))  # fmt: skip
    print(f"temperature {heat}: top-p 0.9 keeps {n_p:.1f}, min-p 0.1 keeps {n_min:.1f}")

# %% [markdown]
# Both let more through when it is hot, out of 20. Neither is the better rule for all
# purposes: top-p says how much may be lost, min-p how bad a single choice may be.

# %% [markdown]
# ## Exercise 3: How many texts fit?
#
# [Exercise](../lessons/13_generation.ipynb#exercise-3-how-many-texts-fit)


# %%
def texts_that_fit(config, n_bytes, bytes_per_number):
    n_kv_heads = config.n_kv_heads or config.n_heads
    d_head = config.d_model // config.n_heads
    numbers = 2 * config.n_layers * n_kv_heads * d_head * config.context_length
    return n_bytes // (numbers * bytes_per_number)


# %% tags=["exercise"]
check_texts_that_fit(texts_that_fit)

# %% [markdown]
# A card with 8 billion bytes left, the largest GPT-2, and the same with 5 shared key and
# value heads instead of 25:

# %%
for n_kv_heads in (None, 5):
    for width in (4, 2):
        config = preset_config("gpt2-xl", n_kv_heads=n_kv_heads)
        n_texts = texts_that_fit(config, 8_000_000_000, width)
        print(f"n_kv_heads={n_kv_heads}, {width} bytes per number: {n_texts} texts")

# %% [markdown]
# Half the bytes and a fifth of the heads: ten times as many texts at once. So the cache
# decides how many people one machine can serve.

# %% [markdown]
# ## Exercise 4: Stop each text at its own end
#
# [Exercise](../lessons/13_generation.ipynb#exercise-4-stop-each-text-at-its-own-end)


# %%
@torch.no_grad()
def write_until(model, ids, n_new, stop_id):
    cache, unread = model.new_cache(), ids
    done = torch.zeros(len(ids), 1, dtype=torch.bool)
    for _ in range(n_new):
        chosen = model(unread, cache)[:, -1].argmax(dim=-1, keepdim=True)  # (B, 1)
        unread = torch.where(done, stop_id, chosen)
        ids = torch.cat([ids, unread], dim=1)
        done = done | (unread == stop_id)
        if done.all():
            break
    return ids


# %% tags=["exercise"]
check_write_until(write_until)

# %% tags=["sample"]
starts = ("My lord, ", "What is t", "Good morr", "I will no")
prompts = torch.tensor([tokenizer.encode(start) for start in starts])
written = write_until(model, prompts, 55, stop_id=tokenizer.ids["\n"])
for row in written:
    print(tokenizer.decode(row).rstrip("\n"))
claim(written.size(1) - 9 < 55, "all lines end before the limit")

# %% [markdown]
# Each line ends at its own place, and the batch runs as long as its longest line. Rows that are done still cost their share
# of each step. Servers therefore put a new text into a row as soon as it is free.
