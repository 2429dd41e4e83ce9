# %% [markdown]
# # Solutions 21 · Mixture of experts
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/21_mixture_of_experts.ipynb)
#
# One way to solve each exercise of lesson [21](../lessons/21_mixture_of_experts.ipynb), and what
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

from lib.checks.lesson_21 import check_gate_table, check_limited, check_whole_balance
from lib.moe import balance_loss

# %% [markdown]
# ## Exercise 1: A table of gates
#
# [Exercise](../lessons/21_mixture_of_experts.ipynb#exercise-1-a-table-of-gates)


# %%
def gate_table(scores, n_active, renormalise=False):
    p = scores.softmax(dim=-1)
    gates, chosen = p.topk(n_active, dim=-1)
    if renormalise:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, chosen, gates)


# %% tags=["exercise"]
check_gate_table(gate_table)

# %% [markdown]
# With this table the layer is one line, `sum(table[:, i, None] * expert(x) ...)`, and right. It is
# also as slow as if all experts were active: they compute every token, and most of it is
# multiplied by 0.

# %% [markdown]
# ## Exercise 2: Balance over a whole batch
#
# [Exercise](../lessons/21_mixture_of_experts.ipynb#exercise-2-balance-over-a-whole-batch)


# %%
def whole_balance_loss(parts):
    n_experts = parts[0][0].size(-1)
    counts, sums, n_tokens, n_choices = 0, 0, 0, 0
    for probabilities, chosen in parts:
        counts = counts + chosen.flatten().bincount(minlength=n_experts)
        sums = sums + probabilities.sum(dim=0)
        n_tokens += len(probabilities)
        n_choices += chosen.numel()
    return n_experts * (counts / n_choices * sums / n_tokens).sum()


# %% tags=["exercise"]
check_whole_balance(whole_balance_loss)

# %% [markdown]
# Why care? Suppose one process reads only verse and another only prose, and each has an expert for
# its text. Over the whole batch the experts are balanced:

# %%
verse, prose = torch.tensor([[0.9, 0.1]] * 8), torch.tensor([[0.1, 0.9]] * 8)
parts = [(p, p.topk(1).indices) for p in (verse, prose)]
each = [round(balance_loss(*part).item(), 2) for part in parts]
print(f"parts: {each}, whole: {whole_balance_loss(parts).item():.2f}")

# %% [markdown]
# The mean of the parts' losses would force each expert to take half of every part, and forbid what
# experts are for. Qiu et al. (2025) find larger models better when the counts are added up over
# all processes. The course's `Training` balances each part on its own, as Switch did; its *biases*
# see the sum.

# %% [markdown]
# ## Exercise 3: Experts with few places
#
# [Exercise](../lessons/21_mixture_of_experts.ipynb#exercise-3-experts-with-few-places)


# %%
def limited(stream, gates, chosen, experts, capacity):
    new = stream.clone()
    for number, expert in enumerate(experts):
        tokens, slots = (chosen == number).nonzero(as_tuple=True)
        tokens, slots = tokens[:capacity], slots[:capacity]
        gate = gates[tokens, slots].unsqueeze(-1)
        new.index_add_(0, tokens, gate * expert(stream[tokens]))
    return new


# %% tags=["exercise"]
check_limited(limited)

# %% [markdown]
# `nonzero` goes through the tokens in order, so the first come first. And each expert reads
# `stream`, not `new`: in `new` other experts may have written already.
