# %% [markdown]
# # Solutions 09 · The Transformer block
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/09_transformer_block.ipynb)
#
# One way to solve each exercise of lesson [09](../lessons/09_transformer_block.ipynb),
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

# %% tags=["corpus"]
import torch
from torch import nn

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.checks.lesson_09 import (
    check_logits_by_depth,
    check_make_blocks,
    check_residual_parts,
    check_rms_norm,
)
from lib.checks.claims import claim
from lib.text.corpus import load_corpus
from lib.text.batches import random_batch, split_text
from lib.ffn import FeedForward
from lib.models.language_model import LanguageModel
from lib.norm import LayerNorm
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")

# %% [markdown]
# ## Exercise 1: A stack of blocks
#
# [Exercise](../lessons/09_transformer_block.ipynb#exercise-1-a-stack-of-blocks)


# %%
def make_blocks(n_layers, d_model, n_heads, d_ff):
    return [
        Block(MultiHeadAttention(d_model, n_heads), FeedForward(d_model, d_ff))
        for _ in range(n_layers)
    ]


# %% tags=["exercise"]
check_make_blocks(make_blocks)

# %%
for name, blocks in (
    ("ten blocks", make_blocks(10, 64, 4, 256)),
    ("one block, ten times", make_blocks(1, 64, 4, 256) * 10),
):
    parameters = nn.ModuleList(blocks).parameters()
    print(f"{name}: {sum(parameter.numel() for parameter in parameters):,} parameters")

# %% [markdown]
# Both run, and both are ten blocks deep. But PyTorch counts shared parameters once: 49,984 instead
# of 499,840. So count the parameters of every model that you build. (Sharing on purpose is a known
# way to make small models. By accident it is a bug that no error reports.)

# %% [markdown]
# ## Exercise 2: A simpler norm
#
# [Exercise](../lessons/09_transformer_block.ipynb#exercise-2-a-simpler-norm)


# %%
def rms_norm(x, gain, eps=1e-5):
    mean_square = x.square().mean(dim=-1, keepdim=True)  # (..., 1)
    return x / (mean_square + eps).sqrt() * gain


# %% tags=["exercise"]
check_rms_norm(rms_norm)

# %% [markdown]
# How different is it from the layer norm? They agree where the mean is 0. Try vectors
# of 64 random numbers, as they are, and with 1 added to every number.

# %%
torch.manual_seed(0)
x, ones = torch.randn(1_000, 64), torch.ones(64)
for shift in (0, 1):
    layer, rms = LayerNorm(64)(x + shift), rms_norm(x + shift, ones)
    cosine = nn.functional.cosine_similarity(layer, rms, dim=-1).mean()
    print(f"plus {shift}: mean cosine of the two results {cosine:.2f}")
    assert (cosine > 0.98) == (shift == 0)

# %% [markdown]
# Numbers around 0 have a mean near 0, and there is little to subtract: the results
# point almost the same way. Only where all numbers of a vector lean to one side do the
# two norms disagree. Lesson 19 asks whether a model is better with one or the other.

# %% [markdown]
# ## Exercise 3: What each part adds
#
# [Exercise](../lessons/09_transformer_block.ipynb#exercise-3-what-each-part-adds)


# %%
def residual_parts(block, x, mask):
    a = block.attention(block.attention_norm(x), mask)[0]
    f = block.ffn(block.ffn_norm(x + a))
    return a, f


# %% tags=["exercise"]
check_residual_parts(residual_parts)

# %% [markdown]
# How long is what a fresh block adds, compared with the vector on the stream?

# %%
torch.manual_seed(0)
block, x = make_blocks(1, 64, 4, 256)[0], torch.randn(8, 32, 64)
with torch.no_grad():
    a, f = residual_parts(block, x, causal_mask(32))
for name, added in (("attention", a), ("feed-forward", f)):
    share = (added.norm(dim=-1) / x.norm(dim=-1)).mean()
    print(f"{name:12} adds {share:.2f} of the length of x")
    assert share < 0.4

# %% [markdown]
# Not much. A fresh block changes little, so a deep stack of fresh blocks is close to no stack at
# all. That is a good place to start learning from.

# %% [markdown]
# ## Exercise 4: Read the stream half-way
#
# [Exercise](../lessons/09_transformer_block.ipynb#exercise-4-read-the-stream-half-way)


# %%
def logits_by_depth(model, ids):
    mask = causal_mask(ids.size(1))
    stream = [model.positions(model.tokens(ids))]
    for block in model.blocks:
        stream.append(block(stream[-1], mask))
    return model.head(model.final_norm(torch.stack(stream)))


# %% tags=["exercise"]
check_logits_by_depth(logits_by_depth)

# %% [markdown]
# Train three blocks, 200 batches of 16 windows, and ask the head at each depth, on 256
# windows of the validation split.

# %% tags=["corpus", "measured"]
from lib.evaluate.losses import cross_entropy
from lib.train import fit

torch.manual_seed(0)
model = LanguageModel(V, 64, 32, make_blocks(3, 64, 4, 256), LayerNorm(64))
generator = torch.Generator().manual_seed(0)
fit(model, lambda: random_batch(train, 16, 32, generator), 200, 0.005)
inputs, targets = random_batch(validation, 256, 32, generator)
with torch.no_grad():
    rows = logits_by_depth(model, inputs)
losses = [cross_entropy(row, targets).item() for row in rows]
print("after 0, 1, 2, 3 blocks:", [round(loss, 2) for loss in losses], "nats")
claim(losses == sorted(losses, reverse=True), "every block improves the prediction")
claim(losses[0] - losses[1] > losses[1] - losses[3], "the first by most")

# %% mystnb={"image": {"alt": "Bar chart of the loss when the head reads the residual stream after 0, 1, 2 and 3 blocks. The bar after three blocks is the lowest."}} tags=["corpus"]
from lib.show import plot

heights = {str(depth): loss for depth, loss in enumerate(losses)}
plot.bar_chart(heights, "blocks passed", "loss (nats per token)")

# %% [markdown]
# *The head can read the stream half-way, although it was only ever trained to read its end. Every
# block improves the prediction, the first by most.*
#
# The first block takes off more than both others together. Each block writes to the same stream, so
# none has to wait for the others: each improves what is already there.
