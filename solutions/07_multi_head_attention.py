# %% [markdown]
# # Solutions 07 · Multi-head attention
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/07_multi_head_attention.ipynb)
#
# One way to solve each exercise of lesson
# [07](../lessons/07_multi_head_attention.ipynb), and what to learn from it.

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
from torch import nn

from lib.attention import (
    MultiHeadAttention,
    causal_mask,
    scaled_dot_product_attention,
)
from lib.checks.lesson_07 import (
    check_from_torch,
    check_head_contributions,
    check_multiplications,
    check_two_heads,
)

# %% [markdown]
# ## Exercise 1: Count the work
#
# [Exercise](../lessons/07_multi_head_attention.ipynb#exercise-1-count-the-work)


# %%
def multiplications(length, d_model, n_heads):
    d_head = d_model // n_heads
    layers = 4 * length * d_model * d_model
    scores = n_heads * length * d_head * length  # (T, Dh) times (Dh, T), H times
    mixing = n_heads * length * length * d_head  # (T, T) times (T, Dh), H times
    return layers + scores + mixing


# %% tags=["exercise"]
check_multiplications(multiplications)

# %% [markdown]
# `n_heads * d_head` is `d_model`, so the heads drop out: $4 T D^2 + 2 T^2 D$. The first
# term grows with the length, the second with its square. They are equal where $T = 2 D$:

# %%
d_model = 512
for length in (128, 1_024, 8_192):
    layers = 4 * length * d_model**2
    share = 1 - layers / multiplications(length, d_model, n_heads=8)
    print(f"{length:5,} tokens: {share:.0%} of the work is scores and mixing")
assert multiplications(1_024, d_model, 8) == 2 * 4 * 1_024 * d_model**2

# %% [markdown]
# At 128 tokens it is 11 %, at 1,024 half, at 8,192 89 %. That is why long texts are
# expensive, and why lesson 20 looks for ways around the square.

# %% [markdown]
# ## Exercise 2: Load PyTorch's weights
#
# [Exercise](../lessons/07_multi_head_attention.ipynb#exercise-2-load-pytorchs-weights)
#
# `copy_` writes numbers into the parameter that is there. It stays a parameter that can be
# trained, and shares nothing with where the numbers came from.


# %%
def from_torch(torchs):
    ours = MultiHeadAttention(torchs.embed_dim, torchs.num_heads, bias=False)
    layers = (ours.q_proj, ours.k_proj, ours.v_proj)
    for layer, matrix in zip(layers, torchs.in_proj_weight.chunk(3)):
        layer.weight.data.copy_(matrix)
    ours.out_proj.weight.data.copy_(torchs.out_proj.weight)
    return ours


# %% tags=["exercise"]
check_from_torch(from_torch)

# %% [markdown]
# `ours.q_proj.weight.data = matrix` would pass every comparison of outputs, and still be
# wrong: both modules would then hold the *same* numbers, and whoever trains one changes the
# other.

# %% [markdown]
# ## Exercise 3: What each head adds
#
# [Exercise](../lessons/07_multi_head_attention.ipynb#exercise-3-what-each-head-adds)
#
# A row of results side by side, times a matrix, is a sum of products, one for each slice.
# With $W^O$ cut into $H$ pieces of $D_h$ rows,
# $\operatorname{Concat}(\text{head}_1, \ldots)\, W^O = \sum_h \text{head}_h W^O_h$.
# PyTorch stores the transposed matrix, so the pieces are columns.


# %%
def head_contributions(attention, x, mask):
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    wide = [layer(x).unflatten(-1, (-1, attention.d_head)) for layer in layers]
    q, k, v = (w.transpose(1, 2) for w in wide)  # each (B, H, T, Dh)
    mixed = scaled_dot_product_attention(q, k, v, mask)[0]
    pieces = attention.out_proj.weight.split(attention.d_head, dim=1)  # H of (D, Dh)
    return torch.stack([mixed[:, h] @ piece.T for h, piece in enumerate(pieces)])


# %% tags=["exercise"]
check_head_contributions(head_contributions)

# %% [markdown]
# What is it good for? In the lesson's model nothing stands between the attention and the last
# layer, so the logits are a sum over heads too. Train the model of the lesson again, and ask
# which head votes for what.

# %% tags=["corpus"]
from lib.checks.claims import claim
from lib.models.language_model import LanguageModel
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer
from lib.train import estimate_loss, fit

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} tokens")


# %%
class AttentionBlock(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x, mask):
        return self.attention(x, mask)[0]


def train_heads(n_heads):
    torch.manual_seed(0)
    block = AttentionBlock(MultiHeadAttention(64, n_heads, bias=False))
    model = LanguageModel(tokenizer.vocab_size, 64, 32, [block])
    generator = torch.Generator().manual_seed(0)
    fit(model, lambda: random_batch(train, 32, 32, generator), 600, 3e-3)
    return model, estimate_loss(model, validation, 32)


model, four_loss = train_heads(4)

# %% [markdown]
# After `What is t` comes an `h`. How much does each head add to the logit of the `h`,
# compared with the mean over all characters?

# %% tags=["corpus", "measured:wide"]
ids = torch.tensor([tokenizer.encode("What is t")])
h = tokenizer.ids["h"]
with torch.no_grad():
    x = model.positions(model.tokens(ids))
    mask = causal_mask(ids.size(1))
    terms = head_contributions(model.blocks[0].attention, x, mask)[:, 0, -1]  # (H, D)
    votes = terms @ model.head.weight.T  # (H, V)
    assert torch.allclose(votes.sum(0) + model.head.bias, model(ids)[0, -1], atol=1e-4)
for_h = (votes[:, h] - votes.mean(dim=1)).sort(descending=True).values  # (H,)
print("for the h, from the loudest head down:", [round(v, 1) for v in for_h.tolist()])
claim(for_h[1] > 0, "more than one head speaks for the h")
claim(for_h[0] < 0.8 * for_h.sum(), "no head decides alone")

# %% [markdown]
# More than one head speaks for the `h`; none of them decides alone. The votes and the bias of
# the last layer add up to the logits, which the assertion holds. In a deeper model norms and
# feed-forward networks stand in between, and the sum is no longer exact all the way to the
# logits.
#
# Heads cost no parameters, and no multiplications. Then why not take sixteen, of four numbers
# each?

# %% tags=["corpus", "measured"]
many_loss = train_heads(16)[1]
print(f"4 heads {four_loss:.3f}, 16 heads {many_loss:.3f} nats")
claim(many_loss > four_loss - 0.01, "sixteen heads are no better than four")

# %% [markdown]
# They are no better. Each head can look where it likes, but it compares queries and keys of
# four numbers only, and hands over four numbers.

# %% [markdown]
# ## Exercise 4: Two heads by hand
#
# [Exercise](../lessons/07_multi_head_attention.ipynb#exercise-4-two-heads-by-hand)
#
# The key of a position is its number. The query of the first head is the own number, that of
# the second the number before: row $i$ of the matrix `back` has its 1 in column $i + 1$, so
# position $i + 1$ asks for position $i$.


# %%
def two_heads():
    attention = MultiHeadAttention(16, 2, bias=False)
    one, none = torch.eye(8), torch.zeros(8, 8)
    back = torch.diag(torch.ones(7), diagonal=1)
    letter, place = torch.cat([one, none], dim=1), torch.cat([none, one], dim=1)
    queries = [30 * place, 30 * torch.cat([none, back], dim=1)]
    attention.q_proj.weight.data = torch.cat(queries)
    attention.k_proj.weight.data = torch.cat([place, place])
    attention.v_proj.weight.data = torch.cat([letter, letter])
    attention.out_proj.weight.data = torch.eye(16)
    return attention


# %% tags=["exercise"]
check_two_heads(two_heads)

# %% [markdown]
# The trained heads of the lesson found something like these two by themselves. Here they are
# in their pure form:

# %% mystnb={"image": {"alt": "Two square heat maps for the word ABCABCAB. Head 1 has dark cells on the diagonal. Head 2 has them one step to the left of it, and one in the corner at the first position."}}
from lib.show import plot

word = "ABCABCAB"
letters = torch.eye(8)[[ord(character) - ord("A") for character in word]]
x = torch.cat([letters, torch.eye(8)], dim=-1).unsqueeze(0)
with torch.no_grad():
    weights = two_heads()(x, causal_mask(8), need_weights=True)[1][0]
assert weights[0].diagonal().min() > 0.99 and weights[1].diagonal(-1).min() > 0.99
plot.attention_maps([weights], labels=list(word))

# %% [markdown]
# *One head looks at itself, the other one step back; the first position has only itself to
# look at.*
#
# A head that looks one step back will return in lesson 23, as the first half of a mechanism
# that lets a model learn from its own prompt.
