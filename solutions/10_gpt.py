# %% [markdown]
# # Solutions 10 · GPT
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/10_gpt.ipynb)
#
# One way to solve each exercise of lesson [10](../lessons/10_gpt.ipynb), and what to
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
from dataclasses import replace

import torch
from torch import nn

from lib.attention import MultiHeadAttention
from lib.checks.lesson_10 import (
    check_count_by_formula,
    check_shared_names,
    check_split_c_attn,
    check_start_anew,
)
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import PRESETS

# %% [markdown]
# ## Exercise 1: Count any GPT
#
# [Exercise](../lessons/10_gpt.ipynb#exercise-1-count-any-gpt)


# %%
def count_by_formula(config):
    V, D, F = config.vocab_size, config.d_model, config.d_ff
    tables = V * D + config.context_length * D
    attention = 4 * D * D + config.attention_bias * 4 * D
    feed_forward = 2 * D * F + F + D
    blocks = config.n_layers * (attention + feed_forward + 4 * D)
    head = (not config.tie_weights) * V * D + config.head_bias * V
    return tables + blocks + config.final_norm * 2 * D + head


# %% tags=["exercise"]
check_count_by_formula(count_by_formula)

# %% [markdown]
# GPT-2's attention has biases, and most of today's models leave them out. What would
# GPT-2's smallest save without them?

# %%
gpt2 = PRESETS["gpt2"]
full = count_by_formula(gpt2)
saved = full - count_by_formula(replace(gpt2, attention_bias=False))
print(f"saved: {saved:,} of {full:,} parameters, {saved / full:.2%}")
assert saved == 4 * 12 * 768

# %% [markdown]
# 36,864, or 0.03 %. Nobody leaves them out to save parameters. Everything that counts is
# a matrix.

# %% [markdown]
# ## Exercise 2: Shared or copied?
#
# [Exercise](../lessons/10_gpt.ipynb#exercise-2-shared-or-copied)


# %%
def shared_names(model):
    names = {}  # by the identity of the parameter
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [sorted(group) for group in names.values() if len(group) > 1]


# %% tags=["exercise"]
check_shared_names(shared_names)

# %% [markdown]
# A shared parameter is used twice, so two gradients arrive at it. What does PyTorch do
# with them? Take a tied model and an untied one with the same numbers, and compare.

# %%
torch.manual_seed(0)
demo = replace(PRESETS["demo"], head_bias=False)
tied, untied = GPT(replace(demo, tie_weights=True)), GPT(demo)
untied.load_state_dict(tied.state_dict())
ids = torch.randint(10, (4, 32), generator=torch.Generator().manual_seed(0))
for model in (tied, untied):
    model(ids).log_softmax(dim=-1)[..., 0].mean().backward()
total = untied.tokens.weight.grad + untied.head.weight.grad
print("the two gradients are added:", torch.allclose(tied.tokens.weight.grad, total))
assert torch.allclose(tied.tokens.weight.grad, total, atol=1e-7)
assert shared_names(tied) and not shared_names(untied)

# %% [markdown]
# It adds them. The one table learns from both of its jobs at once.

# %% [markdown]
# ## Exercise 3: Three in one
#
# [Exercise](../lessons/10_gpt.ipynb#exercise-3-three-in-one)


# %%
def split_c_attn(weight, bias):
    entries = {}
    pieces = zip("qkv", weight.chunk(3, dim=1), bias.chunk(3))
    for name, columns, piece in pieces:
        entries[f"{name}_proj.weight"] = columns.T
        entries[f"{name}_proj.bias"] = piece
    return entries


# %% tags=["exercise"]
check_split_c_attn(split_c_attn)

# %% [markdown]
# Load it into an attention and compare queries, keys and values. (`strict=False` lets
# `load_state_dict` leave `out_proj` alone.)

# %%
torch.manual_seed(0)
weight, bias, x = torch.randn(32, 96), torch.randn(96), torch.randn(5, 32)
attention = MultiHeadAttention(32, 4)
attention.load_state_dict(split_c_attn(weight, bias), strict=False)
parts = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
same = torch.allclose(torch.cat(parts, dim=-1), x @ weight + bias, atol=1e-5)
print("three small products equal one large one:", same)
assert same

# %% [markdown]
# GPT-2 multiplies once instead of three times because one large product keeps the
# processor busier than three small ones. The numbers are the same.

# %% [markdown]
# ## Exercise 4: GPT-2's own start
#
# [Exercise](../lessons/10_gpt.ipynb#exercise-4-gpt-2s-own-start)


# %%
@torch.no_grad()
def start_anew(model, generator):
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            std = 0.01 if name.startswith("positions") else 0.02
            if name.endswith(("out_proj.weight", "down.weight")):
                std /= math.sqrt(2 * len(model.blocks))
            nn.init.normal_(parameter, std=std, generator=generator)
        else:
            parameter.fill_(1 if name.endswith("gain") else 0)
    return model


# %% tags=["exercise"]
check_start_anew(start_anew)

# %% [markdown]
# Why a smaller number for the positions? Compare what each of the two tables brings into the stream of
# a fresh GPT of 64 numbers: the length of a token vector, and that of a position vector.

# %%
sizes = dict(d_model=64, n_layers=2, d_ff=256, context_length=64)
model = start_anew(GPT(GPTConfig(**sizes)), torch.Generator().manual_seed(0))
for name in ("tokens", "positions.table"):
    table = model.get_submodule(name).weight
    print(f"{name:15} vectors of length {table.norm(dim=-1).mean():.3f}")

# %% [markdown]
# At the start a token says twice as much as its place. OpenAI's papers give no reason; trained
# models choose their own lengths.
