# %% [markdown]
# # Solutions 00 · Quickstart: a Transformer that counts
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/00_quickstart.ipynb)
#
# One way to solve each exercise of lesson [00](../lessons/00_quickstart.ipynb), and what to
# learn from it. Try first; a solution that you only read is forgotten tomorrow.

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

from lib.checks.lesson_00 import (
    check_accuracy,
    check_countdown_batch,
    check_needs_attention,
    check_parameter_count,
)
from lib.checks.claims import claim
from lib.models.gpt import GPT
from lib.models.presets import preset_config
from lib.evaluate.losses import cross_entropy

# %% [markdown]
# ## Exercise 1: Count the parameters
#
# [Exercise](../lessons/00_quickstart.ipynb#exercise-1-count-the-parameters)
#
# Follow the list of shapes. A linear layer from $n$ to $m$ numbers has $n \cdot m$ weights,
# and $m$ more if it has a bias.


# %%
def parameter_count(vocab_size, d_model, n_layers, d_ff, context_length):
    embeddings = vocab_size * d_model + context_length * d_model
    norms = 2 * (2 * d_model)  # two norms, each a gain and a bias
    attention = 4 * d_model * d_model  # queries, keys, values, output; no bias
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    head = d_model * vocab_size + vocab_size
    return embeddings + n_layers * (norms + attention + feed_forward) + head


# %% tags=["exercise"]
check_parameter_count(parameter_count)

# %% [markdown]
# For the model of the lesson, by part:

# %%
print(f"{parameter_count(10, 16, 2, 32, 32):,} parameters")
more = parameter_count(10, 16, 2, 32, 64) - parameter_count(10, 16, 2, 32, 32)
print(f"{more} more with twice the context")
print(f"{parameter_count(10, 32, 2, 64, 32):,} with everything twice as wide")

# %% [markdown]
# 5,162, as counted by PyTorch. Twice the context costs only 512 more, the new position
# vectors. Twice the width costs more than three times as much: square matrices grow with the
# square.
#
# Where people slip: the bias of the head (10 numbers), and that a norm has a gain *and* a
# bias.

# %% [markdown]
# ## Exercise 2: Count down
#
# [Exercise](../lessons/00_quickstart.ipynb#exercise-2-count-down)
#
# The only change is a minus sign. The remainder takes care of the step from 0 to 9.


# %%
def countdown_batch(batch_size, length, generator):
    starts = torch.randint(10, (batch_size, 1), generator=generator)  # (B, 1)
    digits = (starts - torch.arange(length + 1)) % 10  # (B, T + 1)
    return digits[:, :-1], digits[:, 1:]


# %% tags=["exercise"]
check_countdown_batch(countdown_batch)

# %%
inputs, targets = countdown_batch(2, 12, torch.Generator().manual_seed(0))
print(inputs.tolist())
print(targets.tolist())

# %% [markdown]
# ## Exercise 3: Measure accuracy
#
# [Exercise](../lessons/00_quickstart.ipynb#exercise-3-measure-accuracy)
#
# The softmax is not needed: it keeps the order of the logits, so the largest logit has the
# largest probability.


# %%
def accuracy(logits, targets):
    return (logits.argmax(dim=-1) == targets).float().mean().item()


# %% tags=["exercise"]
check_accuracy(accuracy)

# %% [markdown]
# ## Exercise 4: Invent a text that needs attention
#
# [Exercise](../lessons/00_quickstart.ipynb#exercise-4-invent-a-text-that-needs-attention)
#
# The smallest step away from two alternating digits: three random digits that repeat. After a
# 7 anything can come; the answer stands three places back.


# %%
def my_batch(batch_size, length, generator):
    triples = torch.randint(10, (batch_size, 3), generator=generator)  # (B, 3)
    digits = triples.repeat(1, length // 3 + 1)[:, : length + 1]  # (B, T + 1)
    return digits[:, :-1], digits[:, 1:]


# %% tags=["exercise"]
check_needs_attention(my_batch)

# %% [markdown]
# Does attention learn it? One hundred steps with it and without it, scored from the third
# target on, with the accuracy of exercise 3.


# %%
def trained_accuracy(with_attention):
    torch.manual_seed(0)
    model = GPT(preset_config("demo"))
    if not with_attention:
        for block in model.blocks:
            block.attention.out_proj.weight.requires_grad_(False).zero_()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for step in range(100):
        inputs, targets = my_batch(32, 16, generator)
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    inputs, targets = my_batch(500, 16, torch.Generator().manual_seed(1))
    return accuracy(model(inputs)[:, 2:], targets[:, 2:])


# %%
with_attention, without_attention = trained_accuracy(True), trained_accuracy(False)
print("with attention, more than nine in ten right:   ", with_attention > 0.9)
print("without attention, fewer than two in ten right:", without_attention < 0.2)
claim(with_attention > 0.9, "with attention more than nine in ten digits are right")
claim(without_attention < 0.2, "without attention the model guesses")

# %% [markdown]
# With attention more than nine in ten are right, without it about one in ten. For a harder text let
# each digit be the sum of the two before it, modulo 10: the model must fetch *two* digits
# and add them, and needs several hundred steps.
