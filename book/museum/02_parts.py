# %% [markdown]
# # Bug museum, room 2: Parts of a Transformer
#
# [![Open in Colab](../_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/book/museum/02_parts.ipynb)
#
# All shapes are right in this room. The numbers in them are not.
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
# ## All shapes are right
#
# *Where: [FuxiCTR, issue 30](https://github.com/reczoo/FuxiCTR/issues/30). To read: lesson [07](../../lessons/07_multi_head_attention.ipynb).*
#
# Somebody has split the attention into several heads. All shapes are what they should be, the
# loss falls, and with one head the results are as before. With more heads they get worse.
#
# Below, each number says where it comes from: 10 times the position, plus the place in the vector.

# %%
def split_heads(x, n_heads):
    """(B, T, D) to (B, H, T, D / H): each head gets its slice of every vector."""
    n_rows, length, d_model = x.shape
    return x.view(n_rows, n_heads, length, d_model // n_heads)

# %%
x = 10 * torch.arange(3)[:, None] + torch.arange(4)
print("the vectors:", x.tolist())
print("head 0 gets:", split_heads(x[None], n_heads=2)[0, 0].tolist())

# %% [markdown]
# The hunt: mend `split_heads` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("heads", split_heads)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Head 0 should get the first half of each vector. In which order does `view` go through the
# numbers?
#
# </details>
#
# <details><summary>Answer</summary>
#
# `view` does not move any number: it goes through them in order and cuts them into new rows. The
# heads must first be cut out of each vector, as the last but one dimension, and then change
# places with the positions. Without that, one head got whole vectors of the first positions, and
# the other one those of the last.
#
# ```diff
# -    return x.view(n_rows, n_heads, length, d_model // n_heads)
# +    return x.view(n_rows, length, n_heads, d_model // n_heads).transpose(1, 2)
# ```
#
# Planted in this course's `lib/attention.py` it makes `test_layer_equals_torch`
# fail, in `tests/test_attention.py`.
#
# </details>

# %% [markdown]
# ## The checkpoint that talks nonsense
#
# *Where: [ONNX, pull request 7274](https://github.com/onnx/onnx/pull/7274). To read: lesson [07](../../lessons/07_multi_head_attention.ipynb).*
#
# A model with fewer key heads than query heads. Trained from scratch in this code it is as good as
# it should be. The weights of a released model load without a complaint, every name and every
# shape fits, and it writes nonsense.
#
# Below, the numbers say which key head each of four query heads gets.

# %%
def share_heads(k, n_heads):
    """Keys (B, H_kv, T, Dh) to (B, H, T, Dh): neighbouring query heads share one."""
    n_shared = n_heads // k.size(1)
    return k.repeat(1, n_shared, 1, 1)

# %%
k = torch.tensor([[[[0.0]], [[1.0]]]])  # two key heads, one token
shared = share_heads(k, n_heads=4).flatten().int().tolist()
print("query heads 0 to 3 get key heads", shared)

# %% [markdown]
# The hunt: mend `share_heads` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("shared-heads", share_heads)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The docstring says *neighbouring* query heads. Are 0 and 1 served by the same key head?
#
# </details>
#
# <details><summary>Answer</summary>
#
# `repeat` puts copies of the whole behind each other: 0 1 0 1. `repeat_interleave` repeats each
# head in its place: 0 0 1 1, which is what grouped-query attention means and released weights
# were trained with. A model that is trained from scratch adapts to either, so only a comparison
# with somebody else's weights shows it.
#
# ```diff
# -    return k.repeat(1, n_shared, 1, 1)
# +    return k.repeat_interleave(n_shared, dim=1)
# ```
#
# Planted in this course's `lib/attention.py` it makes `test_grouped_heads_equal_full_heads_with_repeated_weights`
# fail, in `tests/test_attention_options.py`.
#
# </details>

# %% [markdown]
# ## Almost the same output
#
# *Where: [The Annotated Transformer, pull request 119](https://github.com/harvardnlp/annotated-transformer/pull/119). To read: lesson [09](../../lessons/09_transformer_block.ipynb).*
#
# A model is written anew, and gets the weights of the old one. At its width of 768 the outputs
# agree to two or three digits. "Rounding", says somebody. But the narrower a model is, the less
# they agree, and where the vectors are tiny they do not agree at all. Below, the width is 4.

# %%
class LayerNorm(nn.Module):
    """Bring each vector to mean 0 and variance 1, as `nn.LayerNorm` does."""

    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x):
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return self.gain * (x - mean) / (std + self.eps) + self.bias

# %%
ours, theirs = LayerNorm(4), nn.LayerNorm(4)
for x in (torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([1e-3, 0.0, 0.0, 0.0])):
    for layer in (ours, theirs):
        print(type(layer).__module__, [round(y, 3) for y in layer(x).tolist()])

# %% [markdown]
# The hunt: mend `LayerNorm` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("layer-norm", LayerNorm)

# %% [markdown]
# <details><summary>Hint</summary>
#
# There are two differences. Look up what `torch.std` divides by, and think about where the
# formula adds its small number: inside or outside of the root?
#
# </details>
#
# <details><summary>Answer</summary>
#
# Two things. `std` divides by D - 1, as one does for a sample; layer normalisation divides by D.
# And the small number belongs to the variance, under the root: where a vector is small it is
# what counts, and outside of the root it is much weaker. At the width of a real model the first
# is invisible, and the second waits for the first quiet layer.
#
# ```diff
# -        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
# -        return self.gain * (x - mean) / (std + self.eps) + self.bias
# +        mean = x.mean(-1, keepdim=True)
# +        variance = x.var(-1, keepdim=True, correction=0)
# +        return self.gain * (x - mean) / (variance + self.eps).sqrt() + self.bias
# ```
#
# Planted in this course's `lib/norm.py` it makes `test_layer_norm_equals_torch`
# fail, in `tests/test_parts.py`.
#
# </details>

# %% [markdown]
# ## Worse than guessing
#
# *Where: [Transformers, pull request 26441](https://github.com/huggingface/transformers/pull/26441). To read: lesson [10](../../lessons/10_gpt.ipynb).*
#
# The table of token vectors is used twice, at the entrance and as the head. At the first step, before anything
# was learned, the loss is enormous. The run recovers, so nobody stops it, but
# it needs thousands of steps to get to where others start. Logits that are divided by the root of
# the width make it better, and still worse than guessing.

# %%
class TiedModel(nn.Module):
    """The table that turns ids into vectors scores the next token, too."""

    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.table = nn.Embedding(vocab_size, d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, ids):
        x = self.norm(self.table(ids))  # (B, T, D)
        return x @ self.table.weight.T  # (B, T, V)

# %%
torch.manual_seed(0)
model, ids = TiedModel(vocab_size=200, d_model=64), torch.arange(200)[None]
loss = F.cross_entropy(model(ids)[0], ids[0].roll(-1))
print(f"first loss {loss:.0f} nats; one token in 200 by chance: {math.log(200):.1f}")

# %% [markdown]
# The hunt: mend `TiedModel` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("first-loss", TiedModel)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How large are the numbers that `nn.Embedding` draws? As vectors of tokens they may be; what do
# they do as weights of a head?
#
# </details>
#
# <details><summary>Answer</summary>
#
# `nn.Embedding` draws from N(0, 1). Used as a head, too, such a table gives the token that was
# just read a logit as large as the width: a model that knows nothing is sure that each token
# comes twice. GPT-2 draws the table from N(0, 0.02). The test to keep: a new model's loss is the
# logarithm of the size of the vocabulary, or close to it.
#
# ```diff
# +        nn.init.normal_(self.table.weight, std=0.02)
# ```
#
# Planted in this course's `lib/models/gpt.py` it makes `test_a_tied_model_knows_nothing_at_the_start`
# fail, in `tests/test_gpt.py`.
#
# </details>

# %% [markdown]
# ## A small weight that is not small
#
# *Where: [Transformers, issue 28255](https://github.com/huggingface/transformers/issues/28255). To read: lesson [21](../../lessons/21_mixture_of_experts.ipynb).*
#
# In a mixture of experts a router chooses, for each token, which of several networks work on it.
# A loss keeps all of them evenly busy. It is 1 for an even load, says the paper of the Switch
# Transformer, and gets a small weight. With one active expert per token all is well. With two or more the
# same weight seems too strong.

# %%
def balance_loss(probabilities, chosen):
    """1 if all E experts get the same; probabilities (N, E), chosen (N, K)."""
    n_experts = probabilities.size(-1)
    times = F.one_hot(chosen, n_experts).sum(dim=1).float()  # (N, E)
    share, mean = times.mean(dim=0), probabilities.mean(dim=0)  # (E,)
    return n_experts * (share * mean).sum()

# %%
even = torch.full((8, 4), 0.25)  # the router gives all 4 experts the same
for n_active in (1, 2, 4):
    chosen = (torch.arange(8)[:, None] + torch.arange(n_active)) % 4
    loss = balance_loss(even, chosen).item()
    print(f"{n_active} active experts, an even load: a loss of {loss:.1f}")

# %% [markdown]
# The hunt: mend `balance_loss` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("balance-loss", balance_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `share` is to be a distribution over the experts. What does it sum to?
#
# </details>
#
# <details><summary>Answer</summary>
#
# Each token made K choices, and all were counted, so the shares summed to K and not to 1. The
# loss, and its pull on the router, grew with the number of active experts. Each choice counts
# 1 / K.
#
# ```diff
# -    share, mean = times.mean(dim=0), probabilities.mean(dim=0)  # (E,)
# +    share, mean = times.mean(dim=0) / chosen.size(1), probabilities.mean(dim=0)  # (E,)
# ```
#
# Planted in this course's `lib/moe.py` it makes `test_it_is_transformers_by_the_number_of_active_experts`
# fail, in `tests/test_moe.py`.
#
# </details>
