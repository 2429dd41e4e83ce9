# %% [markdown]
# # Bug museum, room 6: Tuning and evaluation
#
# [![Open in Colab](../_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/book/museum/06_tuning.ipynb)
#
# The last steps before somebody else uses the model, or reads how good it is.
#
# Each exhibit is a bug that somebody had. You read what was seen, then the faulty code,
# then a cell that shows the symptom in small numbers. **Mend the code in its cell**, run
# it, and run the cell that begins with `hunt`: it looks at your version and says what it
# still observes. Often one line is wrong, sometimes more, and sometimes one is missing;
# import what you need. Hint and answer are folded below. [All rooms](../museum.md).

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
from torch.nn import functional as F

from lib.checks.museum import hunt

# %% [markdown]
# ## A higher rank that explodes
#
# *Where: [LLMs from scratch, issue 821](https://github.com/rasbt/LLMs-from-scratch/issues/821). To read: lesson [27](../../lessons/27_lora.ipynb).*
#
# The settings come from a paper: rank, alpha, learning rate. At rank 1 the run behaves
# like the paper's. At a higher one, with the same alpha, it diverges, and an adapter file from
# elsewhere, loaded into this code, makes the model babble.

# %%
class Adapter(nn.Module):
    """What LoRA adds to the output of a frozen layer: (..., d_in) to (..., d_out)."""

    def __init__(self, d_in, d_out, rank, alpha):
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, d_in) / math.sqrt(d_in))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.scale = alpha

    def forward(self, x):
        return self.scale * (x @ self.a.T @ self.b.T)

# %%
for rank in (1, 2, 8):
    adapter = Adapter(d_in=4, d_out=4, rank=rank, alpha=1.0)
    with torch.no_grad():
        adapter.a.fill_(1.0)
        adapter.b.fill_(1.0)
    print(f"rank {rank}: an output of", adapter(torch.ones(4))[0].item())

# %% [markdown]
# The hunt: mend `Adapter` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("adapter", Adapter)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The product of the two matrices is a sum over the rank. What keeps a longer sum from being larger?
#
# </details>
#
# <details><summary>Answer</summary>
#
# The scale was alpha and not alpha / rank. The product sums over the rank, so its size grows with it,
# and dividing by the rank is what lets one learning rate serve all of them. At rank 1 both are the
# same: a test at rank 1 cannot see this.
#
# ```diff
# -        self.scale = alpha
# +        self.scale = alpha / rank
# ```
#
# Planted in this course's `lib/tune/lora.py` it makes `test_the_adapter_of_peft_gives_its_logits`
# fail, in `tests/test_lora.py`.
#
# </details>

# %% [markdown]
# ## Perfectly stable
#
# *Where: [SkyRL, pull request 852](https://github.com/NovaSky-AI/SkyRL/pull/852). To read: lesson [27](../../lessons/27_lora.ipynb).*
#
# An adapter must change nothing before training, and it does not. It changes nothing afterwards
# either: the loss is the same number at each step, to the last digit. The parameters are
# registered, they require gradients, the optimiser has them.

# %%
class NewAdapter(nn.Module):
    """An adapter of low rank, with its two matrices as they are before training."""

    def __init__(self, d_in, d_out, rank, alpha):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(rank, d_in))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.scale * (x @ self.a.T @ self.b.T)

# %%
adapter = NewAdapter(d_in=4, d_out=4, rank=2, alpha=4.0)
(adapter(torch.ones(3, 4)) - 1).square().mean().backward()
print("largest gradient of a:", adapter.a.grad.abs().max().item())
print("largest gradient of b:", adapter.b.grad.abs().max().item())

# %% [markdown]
# The hunt: mend `NewAdapter` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("new-adapter", NewAdapter)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The gradient of each matrix of a product has the other one as a factor.
#
# </details>
#
# <details><summary>Answer</summary>
#
# Both matrices were zero. The product is zero if *one* of them is, and then the other one's value
# gives it a gradient; with two zeros each waits for the other. One must be random, with rows that differ:
# where they are all the same, the adapter never gets beyond rank 1.
#
# ```diff
# -        self.a = nn.Parameter(torch.zeros(rank, d_in))
# +        self.a = nn.Parameter(torch.randn(rank, d_in) / d_in**0.5)
# ```
#
# Planted in this course's `lib/tune/lora.py` it makes `test_a_is_drawn_as_peft_draws_it`
# fail, in `tests/test_lora.py`.
#
# </details>

# %% [markdown]
# ## The model that never stops
#
# *Where: [Transformers, issue 23530](https://github.com/huggingface/transformers/issues/23530). To read: lesson [29](../../lessons/29_instruction_tuning.ipynb).*
#
# The model was tuned on questions and answers, each answer with its stop token. It answers well.
# Then it asks itself another question and answers that too, until it is cut off. The stop token is in
# the data, you have looked. The tokenizer has no token for filling, so rows are filled up with the
# stop, as everybody does.

# %%
def batch_of(answers, stop_id):
    """Each answer is a list of ids; each of its turns (often one) ends with stop_id.

    Returns ids and labels, both (B, T); -100 where a label does not count.
    """
    width = max(map(len, answers))
    ids = torch.tensor([a + [stop_id] * (width - len(a)) for a in answers])
    labels = ids.masked_fill(ids == stop_id, -100)
    return ids, labels

# %%
ids, labels = batch_of([[5, 6, 9], [7, 8, 4, 2, 9]], stop_id=9)
for row in range(2):
    print("ids", ids[row].tolist(), "labels", labels[row].tolist())

# %% [markdown]
# The hunt: mend `batch_of` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("stop", batch_of)

# %% [markdown]
# <details><summary>Hint</summary>
#
# After which token should the model have learned to write 9?
#
# </details>
#
# <details><summary>Answer</summary>
#
# Everything that equals the filling was taken out of the loss, and with it the one stop that
# counts. So the model was never told when to stop. What is filling must be decided by *place*, from the
# lengths, and not by the value of a token. Counting the first stop only is not enough for
# conversations, which have several.
#
# ```diff
# -    labels = ids.masked_fill(ids == stop_id, -100)
# +    lengths = torch.tensor([len(a) for a in answers])
# +    filling = torch.arange(width) >= lengths[:, None]
# +    labels = ids.masked_fill(filling, -100)
# ```
#
# Planted in this course's `lib/text/chat.py` it makes `test_the_stop_is_learnt_and_the_newline_after_it_is_not`
# fail, in `tests/test_data_preparation.py`.
#
# </details>

# %% [markdown]
# ## The same answers, another score
#
# *Where: [verl, pull request 7240](https://github.com/verl-project/verl/pull/7240). To read: lesson [31](../../lessons/31_evaluation.ipynb).*
#
# Each question is answered n times, and pass@k says how likely it is that at least one of k
# answers is right. A question with one right answer among four was certainly solved in four tries; the report
# says otherwise. Wherever some answers are right and some are not, all
# numbers with k above 1 are lower than those of other programs.

# %%
def pass_at_k(n, n_right, k):
    """How likely is one of k samples right? n samples were drawn, n_right are right."""
    return 1 - (1 - n_right / n) ** k

# %%
for k in (1, 2, 4):
    print(f"4 samples, 1 right, take {k} of them: {pass_at_k(4, 1, k):.1%}")

# %% [markdown]
# The hunt: mend `pass_at_k` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("pass-at-k", pass_at_k)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Draw k of the n samples by hand. Do you put one back before you take the next?
#
# </details>
#
# <details><summary>Answer</summary>
#
# The formula draws with replacement, as if the same wrong sample could be taken twice. The share of
# all ways to take k *different* ones of the n has no such bias: one minus the ways that hold no right
# sample, divided by all ways.
#
# ```diff
# -    return 1 - (1 - n_right / n) ** k
# +    return 1 - math.comb(n - n_right, k) / math.comb(n, k)
# ```
#
# Planted in this course's `lib/evaluate/pass_at_k.py` it makes `test_pass_at_k_is_the_share_of_draws_with_a_right_one`
# fail, in `tests/test_evaluation.py`.
#
# </details>

# %% [markdown]
# ## The loss that depends on the window
#
# *Where: [Transformers, issue 34138](https://github.com/huggingface/transformers/issues/34138). To read: lesson [31](../../lessons/31_evaluation.ipynb).*
#
# Two people evaluate one checkpoint on one text and report different losses. They use windows of
# different lengths. A bigram model, which never looks back further than one token, has different
# losses too, so context is not the reason.
#
# Below, the last token is a surprise of 10 nats, all others are certain.

# %%
def validation_loss(loss_of, tokens, length):
    """The mean loss over all N - 1 targets of a text, read in windows of `length`.

    loss_of returns the mean of a window.
    """
    losses = []
    for start in range(0, len(tokens) - 1, length):
        window = tokens[start : start + length + 1]
        losses.append(loss_of(window[:-1], window[1:]))
    return sum(losses) / len(losses)

# %%
tokens = torch.tensor([0.0] * 10 + [10.0])
loss_of = lambda inputs, targets: targets.mean().item()  # a token's value is its loss
for length in (2, 5, 7, 9):
    print(f"windows of {length}: {validation_loss(loss_of, tokens, length):.2f} nats")

# %% [markdown]
# The hunt: mend `validation_loss` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("validation-loss", validation_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many targets does the last window have?
#
# </details>
#
# <details><summary>Answer</summary>
#
# A mean of means again: the last window is shorter, and counted as much as the others. Each
# window's mean has to be weighted by its targets, and the sum divided by all of them. Dropping the
# last window would be no mend: then some targets never count.
#
# ```diff
# -        losses.append(loss_of(window[:-1], window[1:]))
# -    return sum(losses) / len(losses)
# +        losses.append(loss_of(window[:-1], window[1:]) * (len(window) - 1))
# +    return sum(losses) / (len(tokens) - 1)
# ```
#
# Planted in this course's `lib/train/__init__.py` it makes `test_the_estimate_is_the_loss_of_all_pairs_for_any_window`
# fail, in `tests/test_bigram.py`.
#
# </details>
