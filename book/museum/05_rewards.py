# %% [markdown]
# # Bug museum, room 5: Rewards and preferences
#
# [![Open in Colab](../_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/book/museum/05_rewards.ipynb)
#
# Here a model learns from rewards and choices, and so it learns from our mistakes, too.
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
# ## One long answer changes all others
#
# *Where: [TRL, pull request 6654](https://github.com/huggingface/trl/pull/6654). To read: lesson [25](../../lessons/25_reinforcement_learning.ipynb).*
#
# A batch of answers of different lengths, filled up to the longest. Each answer should count the
# same, whatever its length. While all answers are short, training goes well. As soon as one goes on
# and on, progress slows down for all of them.

# %%
def answer_loss(losses, written):
    """The mean over each answer's tokens, then over answers; both (B, T)."""
    per_answer = (losses * written).mean(dim=1)  # (B,)
    return per_answer.mean()

# %%
for width in (4, 8, 40):
    written = torch.zeros(2, width, dtype=torch.bool)
    written[:, :4] = True  # two answers of 4 tokens, each with a loss of 1
    print(f"filled up to {width}: loss {answer_loss(written.float(), written):.2f}")

# %% [markdown]
# The hunt: mend `answer_loss` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("answer-loss", answer_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `mean` divides by the number of entries of a row. How many of them were written?
#
# </details>
#
# <details><summary>Answer</summary>
#
# The mean went over the padded width. The filling added nothing to the sum but counted in the
# divisor, so short answers next to a long one weighed almost nothing. Divide the sum of an answer by
# the tokens that *it* has.
#
# ```diff
# -    per_answer = (losses * written).mean(dim=1)  # (B,)
# +    per_answer = (losses * written).sum(dim=1) / written.sum(dim=1)  # (B,)
# ```
#
# Planted in this course's `lib/tune/grpo.py` it makes `test_filling_changes_no_loss`
# fail, in `tests/test_rl.py`.
#
# </details>

# %% [markdown]
# ## A ratio that should be one
#
# *Where: [TRL, pull request 3029](https://github.com/huggingface/trl/pull/3029). To read: lesson [25](../../lessons/25_reinforcement_learning.ipynb).*
#
# A model draws answers, and an update makes good ones more likely. The learning is unstable. The
# numbers that the run writes down show something odd: no token has the probability with which
# it was drawn, so the ratio of the new to the old model is not 1 before the first update. With
# other sampling settings the oddity is gone.

# %%
class Policy:
    """Draws tokens from logits (V,) at a temperature, and says how likely they were."""

    def __init__(self, logits, temperature):
        self.logits, self.temperature = logits, temperature

    def sample(self, n, generator=None):
        p = (self.logits / self.temperature).softmax(dim=-1)
        return torch.multinomial(p, n, replacement=True, generator=generator)

    def log_probability(self, tokens):
        return self.logits.log_softmax(dim=-1)[tokens]

# %%
policy = Policy(torch.tensor([2.0, 1.0, 0.0]), temperature=0.5)
drawn = policy.sample(10_000, torch.Generator().manual_seed(0))
share = (drawn == 0).double().mean().item()
says = policy.log_probability(torch.tensor([0])).exp().item()
print(f"token 0 is drawn in {share:.0%} of all cases, and said to have {says:.0%}")

# %% [markdown]
# The hunt: mend `Policy` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("first-ratio", Policy)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Compare the first lines of the two methods.
#
# </details>
#
# <details><summary>Answer</summary>
#
# Tokens were drawn at one temperature and scored at 1. The gradient then belongs to a
# distribution that nobody drew from, and the ratio of new to old is wrong where old
# probabilities come from the sampler. Whatever changes the logits before drawing has to change
# them before scoring.
#
# ```diff
# -        return self.logits.log_softmax(dim=-1)[tokens]
# +        return (self.logits / self.temperature).log_softmax(dim=-1)[tokens]
# ```
#
# Planted in this course's `lib/tune/grpo.py` it makes `test_drawn_at_a_temperature_and_scored_at_it_agree`
# fail, in `tests/test_rl.py`.
#
# </details>

# %% [markdown]
# ## A distance below zero
#
# *Where: [Unsloth, pull request 1240](https://github.com/unslothai/unsloth-zoo/pull/1240). To read: lesson [25](../../lessons/25_reinforcement_learning.ipynb).*
#
# A small penalty keeps the model near its reference. The estimate of the distance can never be
# negative, says the formula. At the beginning of a run, where both models are almost the same, the
# logged distance is often exactly 0 and sometimes below it.

# %%
def kl_estimate(new, reference):
    """How far two log-probabilities are apart, e^d - 1 - d; never below 0."""
    d = reference - new
    return d.exp() - 1 - d

# %%
reference = torch.linspace(-1e-4, 1e-4, 1000)  # none of them is 0
found = kl_estimate(torch.zeros(1000), reference)
right = reference.double() ** 2 / 2  # so near to 0 nothing else counts
far = (found.double() / right - 1).abs() > 0.5
print("are most estimates off by more than a half?", far.sum().item() > 500)
print("are some of them 0, or below?", (found <= 0).any().item())

# %% [markdown]
# The hunt: mend `kl_estimate` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("distance", kl_estimate)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `d.exp()` is a number near 1 with about seven digits. What is left of them after the 1 is taken
# away, and then almost the same again?
#
# </details>
#
# <details><summary>Answer</summary>
#
# Nearly equal numbers were subtracted, and the digits that count were gone: `exp(d) - 1` has an error
# of about 1e-7, and the result is as small as that. `torch.expm1` computes the
# difference itself, with all digits. Taking the larger of 0 and the noise hides the sign and keeps
# the error.
#
# ```diff
# -    return d.exp() - 1 - d
# +    return torch.expm1(d) - d
# ```
#
# Planted in this course's `lib/tune/grpo.py` it makes `test_the_distance_is_never_below_0_and_exact_near_it`
# fail, in `tests/test_rl.py`.
#
# </details>

# %% [markdown]
# ## Every step, the same loss
#
# *Where: [POVID, issue 11](https://github.com/YiyangZhou/POVID/issues/11). To read: lesson [30](../../lessons/30_preference_tuning.ipynb).*
#
# Preference tuning compares the model with a reference, which is the model as it was at the
# beginning. The loss starts at ln 2, as it must, and stays there, step after step. The
# model does change: after a while it writes badly.

# %%
def start_tuning(model):
    """Return the model to tune, and a reference that stays what the model is now."""
    reference = model
    for p in reference.parameters():
        p.grad = None
    return model, reference

# %%
torch.manual_seed(0)
policy, reference = start_tuning(nn.Linear(2, 2))
x = torch.ones(1, 2)
with torch.no_grad():
    for p in policy.parameters():
        p += 1.0  # an update
gap = (policy(x) - reference(x)).abs().max().item()
print(f"after an update of the policy it differs from the reference by {gap:.1f}")

# %% [markdown]
# The hunt: mend `start_tuning` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("reference", start_tuning)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many models are there in memory?
#
# </details>
#
# <details><summary>Answer</summary>
#
# An assignment copies nothing: both names meant one model, so the reference moved with every update
# and the margin between them was 0 for ever. The reference has to be a deep copy. A shallow one,
# `copy.copy`, shares the weights, and freezing "the reference" would freeze the model.
#
# ```diff
# -    reference = model
# +    reference = copy.deepcopy(model)
# ```
#
# Planted in this course's `lib/tune/grpo.py` it makes `test_a_weight_on_the_distance_holds_the_model_back`
# fail, in `tests/test_rl.py`.
#
# </details>

# %% [markdown]
# ## Bad habits are never unlearned
#
# *Where: [takuseno/ppo, issue 3](https://github.com/takuseno/ppo/issues/3). To read: lesson [25](../../lessons/25_reinforcement_learning.ipynb).*
#
# Each token has an advantage: above 0 if it was good, below if it was bad. What an update gains
# by a token is clipped, so that none goes too far. Good answers become
# likelier, as they should. But if an update makes a bad answer likelier by accident, nothing
# takes it back.
#
# Below, a token with a negative advantage has become four times as likely. There should be a
# gradient that makes it less likely again.

# %%
def clipped_gain(ratio, advantage, clip=0.2):
    """The gain that is made large, token by token: the smaller of two; both (N,)."""
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return torch.minimum(ratio, clipped) * advantage

# %%
for advantage in (1.0, -1.0):
    ratio = torch.tensor([4.0], requires_grad=True)
    clipped_gain(ratio, torch.tensor([advantage])).backward()
    slope = ratio.grad.item()
    print(f"advantage {advantage:4}, 4 times as likely: gradient {slope:.1f}")

# %% [markdown]
# The hunt: mend `clipped_gain` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("clipped-gain", clipped_gain)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of 4 and 1.2 is the smaller? And which of -4 and -1.2?
#
# </details>
#
# <details><summary>Answer</summary>
#
# The smaller of two *gains* is meant, and a gain is a ratio times an advantage. Taking the smaller
# ratio first is the same for positive advantages; for negative ones it takes the larger gain, the one
# that is clipped and has no gradient. Multiply first, then take the minimum.
#
# ```diff
# -    return torch.minimum(ratio, clipped) * advantage
# +    return torch.minimum(ratio * advantage, clipped * advantage)
# ```
#
# Planted in this course's `lib/tune/grpo.py` it makes `test_the_loss_and_its_gradient_are_the_formula`
# fail, in `tests/test_rl.py`.
#
# </details>
