# %% [markdown]
# # Solutions 15 · Encoder and decoder
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/15_encoder_decoder.ipynb)
#
# One way to solve each exercise of lesson [15](../lessons/15_encoder_decoder.ipynb), and
# what to learn from it.

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
from torch.nn import functional as F

from lib.attention import causal_mask, padding_mask
from lib.evaluate.attention_maps import attention_maps
from lib.checks.lesson_15 import (
    check_decoder_block_parameters,
    check_prefix_mask,
    check_sorter,
    check_write_again,
)
from lib.checks.claims import claim
from lib.models.encoder_decoder import Transformer
from lib.show import plot
from lib.text.tokenizer import pad_batch
from lib.train.settings import TrainConfig
from lib.train import Training, train

# %% [markdown]
# ## Exercise 1: One block of the decoder
#
# [Exercise](../lessons/15_encoder_decoder.ipynb#exercise-1-one-block-of-the-decoder)


# %%
def decoder_block_parameters(d_model, d_ff, attention_bias):
    attention = 4 * d_model**2 + 4 * d_model * attention_bias
    ffn = 2 * d_model * d_ff + d_ff + d_model
    return 2 * attention + ffn + 3 * 2 * d_model


# %% tags=["exercise"]
check_decoder_block_parameters(decoder_block_parameters)

# %%
block = decoder_block_parameters(512, 2048, False)
print(f"six blocks of the base model: {6 * block:,}")
print(f"share of the two attentions: {2 * 4 * 512**2 / block:.1%}")
assert 6 * block == 25_199_616

# %% [markdown]
# With $F = 4D$ the feed-forward network has $8D^2$ numbers and two attentions have
# $8D^2$: half and half. In a block without cross-attention the feed-forward network has
# two thirds.

# %% [markdown]
# ## Exercise 2: One stack instead of two
#
# [Exercise](../lessons/15_encoder_decoder.ipynb#exercise-2-one-stack-instead-of-two)


# %%
def prefix_mask(ids, n_source, pad_id):
    T = ids.size(1)
    source = torch.arange(T) < n_source[:, None, None, None]  # (B, 1, 1, T)
    return (causal_mask(T) | source) & padding_mask(ids, pad_id)


# %% tags=["exercise"]
check_prefix_mask(prefix_mask)

# %% [markdown]
# One row: a source of four tokens, a target of four, two places of padding.

# %% mystnb={"image": {"alt": "A mask of ten by ten squares. The four columns of the source are dark in every row. To their right a staircase: each target position sees itself and the targets before it. The two columns of the padding are white."}}
ids = torch.tensor([[5, 6, 7, 8, 1, 8, 7, 6, 0, 0]])
mask = prefix_mask(ids, torch.tensor([4]), pad_id=0)[0, 0]
names = [*"abcd", ">", *"dcb", "-", "-"]
axes = "may be looked at", "looks"
plot.heat_map(mask.float(), names, names, *axes, (5, 4.4), label="allowed")

# %% [markdown]
# *The columns of the source are open to all, the target has its staircase, padding is
# closed.* A model with this mask is called a *prefix language model*. It needs no
# cross-attention: source and target share the same weights.

# %% [markdown]
# ## Exercise 3: Write a whole batch
#
# [Exercise](../lessons/15_encoder_decoder.ipynb#exercise-3-write-a-whole-batch)


# %%
@torch.no_grad()
def write_again(model, src, max_len):
    c, (memory, memory_mask) = model.config, model.encode(src)
    ids = torch.full((len(src), 1), c.bos_id)
    ended = torch.zeros_like(ids, dtype=torch.bool)
    while ids.size(1) <= max_len and not ended.all():
        logits = model.decode(ids, memory, memory_mask)[:, -1]  # (B, V)
        logits[:, c.pad_id] = -torch.inf
        chosen = logits.argmax(dim=-1, keepdim=True).masked_fill(ended, c.pad_id)
        ids, ended = torch.cat([ids, chosen], dim=1), ended | (chosen == c.eos_id)
    return ids[:, 1:]


# %% tags=["exercise"]
check_write_again(write_again)

# %% [markdown]
# How much work do the library's caches save, for a source and a target of 50 tokens? Count
# the positions that go through the decoder, and the source positions that become keys and
# values in each block.

# %%
n = 50
print(f"decoder positions: {sum(range(1, n + 1)):,} without, {n} with a cache")
print(f"source positions per block: {n * n:,} if read at each step, {n} if read once")

# %% [markdown]
# ## Exercise 4: Sort
#
# [Exercise](../lessons/15_encoder_decoder.ipynb#exercise-4-sort)

# %%
LETTERS = "adeilnorst"
PAD, BOS, EOS = 0, 1, 2


def encode(word):
    return [3 + LETTERS.index(letter) for letter in word] + [EOS]


def make_batch(words):
    targets = [[BOS, *encode("".join(sorted(word)))] for word in words]
    return pad_batch([encode(word) for word in words]), pad_batch(targets)


def next_batch():
    lengths = torch.randint(3, 9, (64,), generator=generator).tolist()
    rows = [torch.randint(10, (n,), generator=generator).tolist() for n in lengths]
    return make_batch(["".join(LETTERS[i] for i in row) for row in rows])


# %% tags=["measured"]
def sequence_loss(model, src, tgt):
    logits = model(src, tgt[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), tgt[:, 1:], ignore_index=PAD)


torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
sizes = dict(src_vocab_size=13, tgt_vocab_size=13, d_model=32, n_heads=1, d_ff=64)
sizes |= dict(n_encoder_layers=1, n_decoder_layers=1, dropout=0.0)
recipe = dict(optimizer="muon", learning_rate=0.005, schedule="linear", n_warmup=10)
sorter = Transformer(**sizes)
training = Training(sorter, TrainConfig(350, **recipe), sequence_loss)
losses = train(training, next_batch)
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f} nats")

# %% tags=["exercise", "measured"]
check_sorter(sorter)

# %% mystnb={"image": {"alt": "A table of attention weights, the letters of rotation sorted as rows, the word itself as columns. The dark squares are scattered: for most rows they lie on letters of the word that are the ones to write or near them in the alphabet."}}
word = "rotation"
src, tgt = make_batch([word])
weights = attention_maps(sorter, src, tgt[:, :-1])[-1][0, 0]  # (T - 1, S)
rows, columns = [*sorted(word), "<eos>"], [*word, "<eos>"]
axes = "source", "to write"
plot.heat_map(weights, rows, columns, *axes, (5.6, 5), top=1.0, label="weight")

# %% [markdown]
# One word can be luck. So count, for a batch of words: in what share of the rows does the
# largest weight lie on the letter to write, or on the line of the lesson?

# %% tags=["measured:wide"]
src, tgt = next_batch()
looked_at = attention_maps(sorter, src, tgt[:, :-1])[-1][:, 0].argmax(dim=-1)
n_letters = (src > EOS).sum(dim=1, keepdim=True)  # (B, 1)
line = n_letters - 1 - torch.arange(looked_at.size(1))  # (B, T - 1)
is_letter = tgt[:, 1:] > EOS
same_letter = src.gather(1, looked_at) == tgt[:, 1:]
shares = [x[is_letter].float().mean() for x in (same_letter, looked_at == line)]
print("letter to write {:.2f}, line of the lesson {:.2f}".format(*shares))
claim(shares[0] > 0.5, "most rows look most at the letter to write")
claim(shares[1] < 0.35, "the line of the lesson is gone")

# %% [markdown]
# *There is no line any more: where to look depends on the letters, not on their places.*
# The same network and the same training have learned another rule, only because the
# targets were others.
