# %% [markdown]
# # Solutions 08 · Feed-forward networks
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/08_feed_forward.ipynb)
#
# One way to solve each exercise of lesson [08](../lessons/08_feed_forward.ipynb), and what
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

# %% tags=["corpus"]
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from lib.attention import MultiHeadAttention, causal_mask
from lib.checks.claims import claim
from lib.checks.lesson_08 import (
    check_dead_units,
    check_equal_d_ff,
    check_tent_weights,
    check_who_decides,
)
from lib.ffn import FeedForward, SwiGLU
from lib.models.language_model import LanguageModel
from lib.show import plot
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer
from lib.train import fit

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens")

# %% [markdown]
# ## Exercise 1: A fair SwiGLU
#
# [Exercise](../lessons/08_feed_forward.ipynb#exercise-1-a-fair-swiglu)
#
# Set the counts equal, $3 D F' = 2 D F + F + D$, and solve for $F'$.


# %%
def equal_d_ff(d_model, d_ff):
    return round((2 * d_model * d_ff + d_ff + d_model) / (3 * d_model))


# %% tags=["exercise"]
check_equal_d_ff(equal_d_ff)

# %%
for d_model, d_ff in ((64, 256), (768, 3_072), (4_096, 16_384)):
    fair = equal_d_ff(d_model, d_ff)
    extra = fair - 2 * d_ff / 3
    print(f"d_model {d_model:,}, d_ff {d_ff:,}: {fair:,}, {extra:.1f} above two thirds")
    assert 0 < extra < 2.5
part = SwiGLU(64, equal_d_ff(64, 256))
print(f"SwiGLU(64, 172): {sum(p.numel() for p in part.parameters()):,} parameters")

# %% [markdown]
# With $F = 4D$ the biases are worth $5/3$ neurons, whatever the size. In a large model that is
# nothing, and the rule of two thirds is good enough.

# %% [markdown]
# ## Exercise 2: Pitch a tent
#
# [Exercise](../lessons/08_feed_forward.ipynb#exercise-2-pitch-a-tent)
#
# The slope changes at three places: from 0 to `1 / width`, from there to `-1 / width`, and back
# to 0. The changes are 1, -2 and 1, each divided by the width.


# %%
def tent_weights(centre, width):
    a = [1, 1, 1]
    b = [-(centre - width), -centre, -(centre + width)]
    c = [1 / width, -2 / width, 1 / width]
    return a, b, c, 0


# %% tags=["exercise"]
check_tent_weights(tent_weights)

# %% [markdown]
# One tent is a brick. Put tents side by side, each as high as a curve at its centre, and you
# get the curve, in straight pieces. Here is a sine from three, five and thirteen tents.

# %% mystnb={"image": {"alt": "A sine wave and three approximations of straight pieces. With three tents it misses both waves, with five it follows them with sharp corners, with thirteen it nearly lies on the sine."}}
x = torch.linspace(0, 6, 241)
lines, errors = {"sine": x.sin()}, []
for n_tents in (3, 5, 13):
    centres = torch.linspace(0, 6, n_tents)
    total = torch.zeros_like(x)
    for centre in centres.tolist():
        weights = tent_weights(centre, 6 / (n_tents - 1))
        a, b, c = (torch.tensor(w, dtype=torch.float) for w in weights[:3])
        total += torch.tensor(centre).sin() * ((a * x[:, None] + b).clamp(min=0) @ c)
    lines[f"{n_tents} tents"] = total
    errors.append((total - x.sin()).abs().max().item())
    print(f"{n_tents:2} tents, {3 * n_tents} neurons: largest error {errors[-1]:.2f}")
assert errors[0] > errors[1] > errors[2]
plot.line_chart(lines, "x", "f(x)", x=x)

# %% [markdown]
# *The more neurons, the closer: with enough of them a feed-forward network can follow any
# curve.* Training does not pitch tents one by one, but this shows what width can buy.

# %% [markdown]
# ## Exercise 3: Count the dead
#
# [Exercise](../lessons/08_feed_forward.ipynb#exercise-3-count-the-dead)


# %%
def dead_units(ffn, x):
    alive = ffn.up(x).reshape(-1, ffn.up.out_features) > 0  # (N, F)
    return (~alive.any(dim=0)).sum().item()


# %% tags=["exercise"]
check_dead_units(dead_units)

# %% [markdown]
# (`flatten(0, -2)` fails where `x` is a single vector; `reshape` does not.) Do neurons really
# die? Train the model of the lesson with a ReLU for a short while, at its learning rate and at a
# much higher one, and count on validation text.


# %%
class AttentionThenFFN(nn.Module):
    def __init__(self, ffn):
        super().__init__()
        self.attention = MultiHeadAttention(d_model=64, n_heads=4)
        self.ffn = ffn

    def forward(self, x, mask):
        return self.ffn(self.attention(x, mask)[0])


def train_with(ffn, n_steps, learning_rate):
    block = AttentionThenFFN(ffn)
    model = LanguageModel(V, d_model=64, context_length=16, blocks=[block])
    generator = torch.Generator().manual_seed(0)
    batch = partial(random_batch, train, 32, 16, generator)  # a function of nothing
    return model, fit(model, batch, n_steps, learning_rate)


@torch.no_grad()
def gather(model, ids):
    """What goes into the feed-forward network."""
    x = model.positions(model.tokens(ids))
    return model.blocks[0].attention(x, causal_mask(ids.size(1)))[0]


# %% tags=["corpus", "measured:wide"]
ids, dead = validation[: 512 * 16].view(-1, 16), []
for rate in (0.003, 0.1):
    torch.manual_seed(1)
    model, losses = train_with(FeedForward(64, 256, F.relu), 100, rate)
    dead.append(dead_units(model.blocks[0].ffn, gather(model, ids)) / 256)
    last = sum(losses[-20:]) / 20
    print(f"learning rate {rate}: {dead[-1]:.2f} of the neurons dead, {last:.2f} nats")
claim(dead[0] < 0.05, "at the rate of the lesson nearly all neurons live")
claim(dead[1] > 0.8, "at the high rate nearly all are dead")

# %% [markdown]
# At the rate of the lesson all neurons live, or nearly all. At the high rate nearly all are dead
# after so short a training. (Between the two it is a matter of luck: try a rate there with
# several seeds.) One step that is too long pushes a neuron below zero for every input; its slope
# there is 0, so no gradient ever brings it back. A network of dead neurons says the same at every
# position, and the loss is stuck near that of single characters, lesson
# [01](../lessons/01_text_and_tokens.ipynb)'s unigram. If a ReLU network stops learning, count its
# dead.

# %% [markdown]
# ## Exercise 4: Who decides?
#
# [Exercise](../lessons/08_feed_forward.ipynb#exercise-4-who-decides)
#
# The logit of `a` is row `a` of the head times the output, and the output is a sum over neurons.
# So each neuron adds its activation times (row `a` minus row `b`) times its column.


# %%
def who_decides(ffn, head, x, a, b):
    votes = (head.weight[a] - head.weight[b]) @ ffn.down.weight  # (F,)
    return ffn.activation(ffn.up(x)) * votes


# %% tags=["exercise"]
check_who_decides(who_decides)

# %% [markdown]
# Ask it of a trained model: after `th`, why `e` and not `a`? One place is an anecdote, so take the
# mean over all places in the windows from above.

# %% tags=["corpus"]
torch.manual_seed(0)
model, _ = train_with(FeedForward(64, 256), 500, 0.003)
ffn, head = model.blocks[0].ffn, model.head
a, b, t, h = tokenizer.encode("eath")
here = torch.zeros_like(ids, dtype=torch.bool)
here[:, 1:] = (ids[:, :-1] == t) & (ids[:, 1:] == h)  # right after a "th"
with torch.no_grad():
    parts = who_decides(ffn, head, gather(model, ids)[here], a, b).mean(dim=0)  # (F,)
    logits, constant = model(ids)[here].mean(dim=0), head(ffn.down.bias)
difference, rest = (logits[a] - logits[b]).item(), (constant[a] - constant[b]).item()
assert abs(parts.sum().item() + rest - difference) < 1e-3

# %% [markdown]
# The neurons and the biases add up. And how many neurons does it take? Sort them by the size of
# what they add, for `e` or for `a`.

# %% tags=["corpus", "measured:wide"]
print(f"'e' leads 'a' by {difference:.2f}")
five = parts.abs().sort(descending=True).values[:5].sum() / parts.abs().sum()
print(f"five of 256 neurons ({5 / 256:.0%}) add {five:.0%} of all that is added")
claim(difference > 0, "after th the model prefers e to a")
claim(five > 0.08, "a few neurons add much more than their share")

# %% [markdown]
# Five of 256 are 2 % of the neurons, and they add several times as much. Still, most of the
# decision is spread over many.
