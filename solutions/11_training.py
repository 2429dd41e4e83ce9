# %% [markdown]
# # Solutions 11 · Training
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/11_training.ipynb)
#
# One way to solve each exercise of lesson [11](../lessons/11_training.ipynb), and what
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
import math

import torch

from lib.checks.lesson_11 import (
    check_WeightAverage,
    check_accumulate,
    check_clip_gradients,
    check_inverse_root_schedule,
)
from lib.checks.claims import claim
from lib.text.corpus import load_corpus
from lib.text.batches import random_batch, split_text
from lib.models.gpt import GPT, GPTConfig
from lib.text.tokenizer import CharTokenizer
from lib.train.settings import TrainConfig
from lib.train import Training, estimate_loss, next_token_loss

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train_tokens, validation_tokens = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train_tokens):,} + {len(validation_tokens):,} tokens")

# %% [markdown]
# ## Exercise 1: The schedule of the first Transformer
#
# [Exercise](../lessons/11_training.ipynb#exercise-1-the-schedule-of-the-first-transformer)


# %%
def inverse_root_schedule(step, n_warmup):
    n = step + 1
    return min(n / n_warmup, math.sqrt(n_warmup / n))


# %% tags=["exercise"]
check_inverse_root_schedule(inverse_root_schedule)

# %% mystnb={"image": {"alt": "The factor over 400 steps with 40 steps of warm-up: a straight line up to 1, a sharp corner, and then a fall that gets slower and slower."}}
from lib.show import plot

factors = [inverse_root_schedule(step, 40) for step in range(400)]
print(f"at ten times the warm-up: {factors[-1]:.2f}")
plot.line_chart({"inverse root": factors}, "step", "factor for the rate")

# %% [markdown]
# Vaswani et al. (2017), equation (3), writes it as the smaller of two terms,
# $1 / \sqrt{n}$ and $n / n_\text{warmup}^{3/2}$; that is the same up to a constant. It
# needs no end, but at the moment when you stop the rate is still large: at ten times the
# warm-up it is 0.32.

# %% [markdown]
# ## Exercise 2: Clip by hand
#
# [Exercise](../lessons/11_training.ipynb#exercise-2-clip-by-hand)


# %%
def clip_gradients(gradients, limit):
    length = math.sqrt(sum(g.square().sum().item() for g in gradients))
    factor = limit / length if length > limit else 1.0
    return [g * factor for g in gradients], length


# %% tags=["exercise"]
check_clip_gradients(clip_gradients)

# %% [markdown]
# Asking first whether the length is above the limit also keeps a gradient of zeros from a
# division by zero. How long is the gradient of a batch of one row, and of 16 rows?

# %% tags=["corpus"]
config = GPTConfig(
    V, d_model=64, n_heads=4, n_layers=1, d_ff=256, context_length=32,
    attention_bias=False, head_bias=True, tie_weights=False, init="fan_in",
)  # fmt: skip


def new_model():
    torch.manual_seed(0)
    return GPT(config)


model, generator = new_model(), torch.Generator().manual_seed(0)
lengths = []
for rows in (1, 16):
    for _ in range(10):
        model.zero_grad()
        next_token_loss(
            model, *random_batch(train_tokens, rows, 32, generator)
        ).backward()
        lengths.append(clip_gradients([p.grad for p in model.parameters()], 1.0)[1])
for name, some in (("1 row", lengths[:10]), ("16 rows", lengths[10:])):
    print(f"{name}: from {min(some):.1f} to {max(some):.1f}")
mean_of_1, mean_of_16 = sum(lengths[:10]) / 10, sum(lengths[10:]) / 10
claim(mean_of_16 < 0.8 * mean_of_1, "more rows make a shorter gradient")

# %% [markdown]
# Averaged over more rows, the noise of single rows cancels and the gradient is shorter: a good limit
# depends on the size of the batch.

# %% [markdown]
# ## Exercise 3: Parts that are not equal
#
# [Exercise](../lessons/11_training.ipynb#exercise-3-parts-that-are-not-equal)


# %%
def accumulate(model, parts):
    n_targets = sum(targets.numel() for _, targets in parts)
    model.zero_grad()
    total = 0.0
    for inputs, targets in parts:
        loss = next_token_loss(model, inputs, targets) * (targets.numel() / n_targets)
        loss.backward()
        total += loss.item()
    return total


# %% tags=["exercise"]
check_accumulate(accumulate)

# %% [markdown]
# How wrong is the mean of the means? Take a long row and a short one: what a reader
# of chat messages has in every batch.

# %% tags=["corpus"]
long, short = train_tokens[:33], train_tokens[1_000:1_003]
parts = [(ids[None, :-1], ids[None, 1:]) for ids in (long, short)]
right = accumulate(model, parts)
losses = [next_token_loss(model, *part).item() for part in parts]
share = parts[1][1].numel() / 34
print(f"the short part has {share:.0%} of the targets")
print(f"right {right:.2f}, mean of means {sum(losses) / 2:.2f}: it counts them as 50 %")
claim(abs(right - sum(losses) / 2) > 0.001, "the mean of means is another number")

# %% [markdown]
# This bug stood for years in widely used training code: every part counted the same,
# however many targets it had.

# %% [markdown]
# ## Exercise 4: The average of a path
#
# [Exercise](../lessons/11_training.ipynb#exercise-4-the-average-of-a-path)


# %%
class WeightAverage:
    def __init__(self, decay):
        self.decay, self.n_updates, self.means = decay, 0, {}

    @torch.no_grad()
    def update(self, model):
        self.n_updates += 1
        for name, parameter in model.named_parameters():
            old = self.means.get(name, torch.zeros_like(parameter))
            self.means[name] = self.decay * old + (1 - self.decay) * parameter

    def average(self):
        share = 1 - self.decay**self.n_updates
        return {name: mean / share for name, mean in self.means.items()}


# %% tags=["exercise"]
check_WeightAverage(WeightAverage)

# %% [markdown]
# Is the mean better than the model that it follows? Train for 250 steps at a high constant rate:

# %% tags=["corpus", "measured"]
training = Training(new_model(), TrainConfig(250, 0.02, schedule="constant"))
generator, path = torch.Generator().manual_seed(0), WeightAverage(0.95)
for _ in range(250):
    training.step(random_batch(train_tokens, 16, 32, generator))
    path.update(training.model)
end = estimate_loss(training.model, validation_tokens, 32)
training.model.load_state_dict(path.average())
mean = estimate_loss(training.model, validation_tokens, 32)
print(f"the last weights {end:.2f} nats, the mean of the path {mean:.2f} nats")
claim(mean < end - 0.02, "the mean of the path is better than its end")

# %% [markdown]
# The mean is better than the last weights, for nothing but an addition per step. A rate that falls to 0
# does a similar thing: both let the noise of single batches cancel.
