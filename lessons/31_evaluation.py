# %% [markdown]
# # 31 · Evaluation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/31_evaluation.ipynb)
#
# You say how good a model is, and how sure you are.
#
# - **You will build** intervals and a paired test, perplexity with moving windows, pass@k without bias, and a
#   measure of honest probabilities.
# - **You will see** a model that knows the right answer and does not write it, and a judge that people agree with,
#   and that is easily fooled.
# - **Needs** lessons [11](11_training.ipynb), [13](13_generation.ipynb) and [28](28_data_preparation.ipynb).
# - **Takes** about 75 minutes, and forty minutes for the exercises; the notebook runs in under 30 s.

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

# %% [markdown]
# ## The question
#
# Through the whole course you have compared models: by their loss, by the share of right answers, by
# winners of pairs. "The second is better" was the usual conclusion. How many questions does it take to be sure of that? And does the
# number measure what you want to know?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "A text of 11 targets and windows of 6 that move by 2. The first window counts for its six targets. Each later one reads four of them again and counts for its last two; the final one for one. Each target counts once."}}
from lib.show import diagrams

diagrams.sliding_windows()

# %% [markdown]
# A model reads a short piece at once; a text may have a million characters. So a *window* moves over the text. How far it moves at once is
# the [stride](../book/glossary.md#stride). It decides how much context each token gets, and what it costs. This is how the
# first of all measures, the loss on a text, should be taken, and how reports take it. You build it below.

# %% [markdown]
# ## By hand
#
# Model A answers 14 of 20 questions right, model B 12. Is A better? Ask first how much chance there is in "14 of 20". A model that is right
# with probability .7 does not get 14 every time:

# %%
import random

rng = random.Random(0)
found = [sum(rng.random() < 0.7 for _ in range(20)) for _ in range(12)]
print("right of 20, twelve tests of the same model:", *found)

# %% [markdown]
# The same model gets fewer than 12 in two of the tests, and more than 16 in another. With 20 questions, 14 against 12 says nearly nothing.

# %% [markdown]
# ## The formula
#
# A share $\hat p$ of $n$ independent answers has the *standard error* $\sqrt{p(1-p)/n}$. Take all shares $p$ from which
# $\hat p$ is at most $z$ standard errors away, with $z = 1.96$. <!-- from: how-sure-is-a-share --> Solved for $p$, that is Wilson's interval (1927):
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat p (1 - \hat p)}{n} + \frac{z^2}{4 n^2}}}{1 + \frac{z^2}{n}}$$
#
# In about nineteen of twenty tests the true share lies inside, if the answers are independent. Such a range is a [confidence interval](../book/glossary.md#confidence-interval).

# %% [markdown]
# ## Build
#
# ### How sure is a share?

# %% tags=["naive:evaluate.intervals.wilson_interval"]
import math


def wilson_interval(n_right, n, z=1.96):
    share, weight = n_right / n, z * z / n
    middle = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    return (middle - half) / (1 + weight), (middle + half) / (1 + weight)


# %% [markdown]
# See how the range shrinks with the number of questions:

# %%
for n in (20, 200, 2_000, 20_000):
    low, high = wilson_interval(round(0.7 * n), n)
    print(f"{n:6} questions: {low:.3f} to {high:.3f}")

# %% [markdown]
# A hundred times the questions, a tenth of the width. To tell .70 from .72 takes thousands of questions, if two models get *different*
# questions.
#
# ### Two models, the same questions
#
# Usually both get the same ones. Then most of the chance is shared: a hard question is hard for both. Look at the
# *differences*, question by question. If both models are equally good, each difference could as well have had the other sign. So
# give all differences random signs, often, and count how often chance alone goes as far as what was found, in either direction. This share is
# the [p-value](../book/glossary.md#p-value). (The difference that was found counts as one more draw; so no p-value is 0.)

# %% tags=["naive:evaluate.intervals.paired_p_value"]
import torch


def paired_p_value(a, b, n_draws=5_000, seed=0):
    d = torch.tensor([float(x) - float(y) for x, y in zip(a, b)])
    generator = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, (n_draws, len(d)), generator=generator) - 1
    as_far = (signs.float() @ d).abs() >= d.sum().abs()
    return (as_far.sum().item() + 1) / (n_draws + 1)


# %% [markdown]
# Two pairs of models, two hundred questions each. In both A has 140 right and B 126. In the first pair B is wrong wherever A
# is; in the second 34 failures are common, and besides each fails where the other does not:

# %%
a = [True] * 140 + [False] * 60
nested = [True] * 126 + [False] * 74
apart = [False] * 40 + [True] * 126 + [False] * 34
for name, b in (("the same failures", nested), ("partly others", apart)):
    print(f"{name:17} A {sum(a)}, B {sum(b)}, p-value {paired_p_value(a, b):.4f}")

# %% [markdown]
# The same two shares, and in one case hardly any doubt, in the other a difference that chance makes often. Two separate
# intervals cannot see that. For an interval of the difference itself, draw the *questions* again, with replacement: the
# [bootstrap](../book/glossary.md#bootstrap) of lesson [22](22_scaling.ipynb).

# %% tags=["naive:evaluate.intervals.bootstrap_interval"]
def bootstrap_interval(values, n_draws=2_000, seed=0):
    x = torch.tensor([float(value) for value in values], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    n, options = len(x), dict(generator=generator)
    drawn = [torch.randint(n, (n,), **options) for _ in range(n_draws)]
    means = torch.stack([x[places].mean() for places in drawn])
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return low.item(), high.item()


# %%
for name, b in (("the same failures", nested), ("partly others", apart)):
    low, high = bootstrap_interval([x - y for x, y in zip(a, b)])
    print(f"{name:17} A is better by {low:.2f} to {high:.2f}")

# %% [markdown]
# The second range contains 0: there, A may be the worse one.

# %% tags=["same:evaluate.intervals.wilson_interval", "same:evaluate.intervals.paired_p_value", "same:evaluate.intervals.bootstrap_interval", "proof"]
# @title Proof: the library's intervals and p-values are the same
from lib.checks.claims import claim
from lib.evaluate import intervals as library

for pair in ((14, 20), (1, 5), (199, 200)):
    both = wilson_interval(*pair), library.wilson_interval(*pair)
    assert torch.allclose(*map(torch.tensor, both))
for b in (nested, apart):
    assert abs(paired_p_value(a, b) - library.paired_p_value(a, b)) < 1e-9
    d = [x - y for x, y in zip(a, b)]
    assert bootstrap_interval(d) == library.bootstrap_interval(d)
claim(paired_p_value(a, nested) < 0.01, "with the same failures there is no doubt")
claim(paired_p_value(a, apart) > 0.05, "with different ones there is")
print("the same numbers")

# %% [markdown]
# ### The loss of a long text
#
# Now the windows. The first one counts for all its targets, every later one for the new ones only. With a small stride each target has
# nearly a full window before it, and the model reads everything many times. In the code, `ends` are the targets at which the windows end, and
# `new` says how many of its targets each window counts.

# %% tags=["naive:evaluate.perplexity.sliding_losses"]
@torch.no_grad()
def sliding_losses(model, ids, length, stride):
    n_targets = len(ids) - 1
    length = min(length, n_targets)
    ends = [*range(length, n_targets, stride), n_targets]
    places = torch.tensor(ends)[:, None] + torch.arange(-length, 0)  # (windows, T)
    log_p = model.eval()(ids[places]).log_softmax(dim=-1)
    losses = -log_p.gather(-1, ids[places + 1].unsqueeze(-1))[..., 0]
    new = [end - before for before, end in zip([0, *ends], ends)]
    return torch.cat([row[length - n :] for row, n in zip(losses, new)])


ends = [*range(6, 11, 2), 11]  # the picture: windows of 6, stride 2, 11 targets
print("ends", ends, "new", [end - before for before, end in zip([0, *ends], ends)])
# %% [markdown]
# From losses, two numbers are made. [Perplexity](../book/glossary.md#perplexity) is $e$ to the mean loss: among how many equally likely tokens
# a model seems to choose. It depends on what a token is. *Bits per byte* do not: the bits of all tokens together, divided by the bytes of the text.

# %% tags=["naive:evaluate.perplexity.perplexity", "naive:evaluate.perplexity.bits_per_byte"]
def perplexity(losses):
    return losses.double().mean().exp().item()


def bits_per_byte(losses, text):
    return losses.double().sum().item() / math.log(2) / len(text.encode("utf-8"))


# %% [markdown]
# A letter with an accent takes two bytes, and so does each Cyrillic one. Let a model need one bit for each character:

# %%
for text in ("cafe", "café", "кафе"):
    one_bit = torch.full((len(text),), math.log(2))
    n_bytes = len(text.encode("utf-8"))
    print(f"{text}: {n_bytes} bytes, {bits_per_byte(one_bit, text):.2f} bits per byte")

# %% [markdown]
# If you divide by `len(text)` instead, you get bits per *character*, which you cannot compare with bits per byte.
#
# The course's small GPT, which comes with it, reads the first part of the validation text:

# %% tags=["corpus", "hide-input"]
# @title The text and the trained model
from pathlib import Path

import lib
from lib.text.batches import split_text
from lib.text.corpus import load_corpus
from lib.train.checkpoint import load_checkpoint

root = Path(lib.__file__).parents[1]
checkpoint = load_checkpoint(root / "data" / "base.safetensors")
base, tokenizer = checkpoint.model.eval(), checkpoint.tokenizer
corpus = load_corpus()
held_out = split_text(corpus.text)[1]
ids = torch.tensor(tokenizer.encode(held_out))
print(corpus.name, "- reads", base.context_length, "characters at once")

# %% tags=["corpus", "measured"]
part, by_stride = ids[:3_001], {}
for stride in (128, 112, 96, 64, 32, 16):
    losses = sliding_losses(base, part, length=128, stride=stride)
    by_stride[stride] = losses.mean().item()
    print(f"stride {stride:3}: {len(losses)} targets, loss {by_stride[stride]:.3f}")
bits = bits_per_byte(losses, held_out[1:3_001])
print(f"perplexity {perplexity(losses):.2f}, bits per byte {bits:.2f}")

# %% [markdown]
# As a curve:

# %% mystnb={"image": {"alt": "A line: the loss of the same text against the stride, 16 to 128. It is level up to about 96 and then rises: targets after a jump have little context."}} tags=["corpus"]
from lib.show import plot

strides = sorted(by_stride)
heights = [by_stride[stride] for stride in strides]
plot.line_chart({"loss": heights}, "stride", "loss in nats", x=strides)

# %% tags=["same:evaluate.perplexity.sliding_losses", "same:evaluate.perplexity.perplexity", "same:evaluate.perplexity.bits_per_byte", "proof", "corpus"]
# @title Proof: the library's losses are the same; what the text says about strides
from lib.evaluate import perplexity as windows

for stride in (128, 50):
    some = sliding_losses(base, part[:700], 128, stride)
    other = windows.sliding_losses(base, part[:700], 128, stride)
    assert torch.allclose(some, other, atol=1e-4)
assert perplexity(some) == windows.perplexity(some)
text = held_out[1:700]
assert bits_per_byte(some, text) == windows.bits_per_byte(some, text)
claim(by_stride[64] < by_stride[128] - 0.006, "windows that overlap: a smaller loss")
more = by_stride[64] - by_stride[16]
claim(abs(more) < 0.01, "below half a window nothing is gained")
print("the same losses")

# %% [markdown]
# The same model and the same text, and another loss: without overlap, the first targets after each jump have little to go by. A little overlap repairs that. Below three quarters of a window
# **nothing more is gained**, at six times the cost: this model makes little of what stands more than a few dozen characters back. A reported
# perplexity needs window and stride beside it. (Elsewhere in the course windows do not overlap.)
#
# ### One of several samples
#
# Where answers can be checked, by running a program say, one asks: with $k$ samples, how likely is at least one right? Draw $n \geq k$ samples, of which $c$
# are right. Of all ways to take $k$ of them, find the share in which none is right:
#
# $$\text{pass@}k = 1 - \binom{n-c}{k} \Big/ \binom{n}{k} = 1 - \prod_{i=0}^{k-1} \frac{n - c - i}{n - i}$$
#
# (Chen et al., 2021, section 2.1.) The product needs no large numbers:

# %% tags=["naive:evaluate.pass_at_k.pass_at_k"]
def pass_at_k(n, n_right, k):
    none_right = 1.0
    for i in range(k):
        none_right *= max(n - n_right - i, 0) / (n - i)
    return 1 - none_right


# %% [markdown]
# It is tempting to take the share $c/n$ and compute $1 - (1 - c/n)^k$. See what that does on average, for a question with a chance of
# .3, five samples, and $k = 4$:

# %%
drawn = [sum(rng.random() < 0.3 for _ in range(5)) for _ in range(20_000)]
mean = lambda numbers: sum(numbers) / len(numbers)
print(f"truth      {1 - 0.7**4:.2f}")
print(f"pass@k     {mean([pass_at_k(5, c, 4) for c in drawn]):.2f}")
print(f"from share {mean([1 - (1 - c / 5) ** 4 for c in drawn]):.2f}")

# %% tags=["same:evaluate.pass_at_k.pass_at_k", "proof"]
# @title Proof: the library's pass@k, and the two binomials, are the same
from lib.evaluate import pass_at_k as pass_file

for n, c, k in ((5, 2, 4), (9, 0, 3), (9, 9, 1), (20, 3, 20)):
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert abs(pass_at_k(n, c, k) - exact) < 1e-12
    assert pass_at_k(n, c, k) == pass_file.pass_at_k(n, c, k)
print("the same probabilities")

# %% [markdown]
# The product is right on average; the plain formula is too low by more than a tenth.
#
# ### Does it know what it does not know?
#
# A model gives probabilities. If it is sure by eight tenths, it should be right in eight of ten such cases: then it is
# [calibrated](../book/glossary.md#calibration). Sort its predictions into bins by their confidence, and compare in each bin the mean
# confidence with the share of right ones. The mean of these gaps, each weighted by the number of predictions in its bin, is the *expected calibration error*.

# %% tags=["lib:evaluate.calibration.Bin"]
from typing import NamedTuple


class Bin(NamedTuple):
    count: int
    confidence: float
    accuracy: float


# %% tags=["naive:evaluate.calibration.reliability", "naive:evaluate.calibration.calibration_error"]
def reliability(confidences, right, n_bins=10):
    place = (confidences * n_bins).ceil().long().clamp(min=1) - 1
    bins = []
    for own in (place == number for number in range(n_bins)):
        if own.any():
            mean, share = confidences[own].double().mean(), right[own].double().mean()
            bins.append(Bin(int(own.sum()), mean.item(), share.item()))
    return bins


def calibration_error(bins):
    gaps = [each.count * abs(each.accuracy - each.confidence) for each in bins]
    return sum(gaps) / sum(each.count for each in bins)


# %% [markdown]
# The GPT's guesses of the next character, and those of the same GPT with all logits doubled. The second always guesses the same
# character as the first:

# %% tags=["corpus", "measured"]
with torch.no_grad():
    rows = ids[: 64 * 128 + 1]
    logits = base(rows[:-1].view(64, 128)).flatten(0, 1)  # (8192, V)
targets, tables = rows[1:], {}
for name, factor in (("as trained", 1), ("logits doubled", 2)):
    p, guess = (factor * logits).softmax(dim=-1).max(dim=-1)
    tables[name] = reliability(p, guess == targets)
    right = (guess == targets).double().mean()
    error = calibration_error(tables[name])
    print(f"{name:14} right {right:.3f}, confidence {p.mean():.3f}, error {error:.3f}")

# %% [markdown]
# Bin by bin, beside a model that would be exactly as often right as it says:

# %% mystnb={"image": {"alt": "Share of right guesses against confidence, in ten bins. The trained model stays near the diagonal. With doubled logits the curve lies below it: the model is less often right than it says."}} tags=["corpus"]
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(5, 3.6))
ax.plot([0, 1], [0, 1], "--", color="gray", label="honest")
for name, bins in tables.items():
    x, y = zip(*[(each.confidence, each.accuracy) for each in bins])
    ax.plot(x, y, marker="o", label=name)
ax.set(xlabel="confidence", ylabel="share right")
ax.legend()
plt.close(figure)
figure

# %% tags=["same:evaluate.calibration.reliability", "same:evaluate.calibration.calibration_error", "proof", "corpus"]
# @title Proof: the library's bins are the same; the doubled logits are less honest
from lib.evaluate import calibration

p, guess = logits.softmax(dim=-1).max(dim=-1)
bins = calibration.reliability(p, guess == targets)
assert bins == reliability(p, guess == targets)
errors = [calibration_error(table) for table in tables.values()]
assert errors[0] == calibration.calibration_error(bins)
claim(errors[1] > errors[0] + 0.05, "doubled logits are less honest")
print("the same bins")

# %% [markdown]
# As often right, and much less honest. Accuracy does not see the difference; whoever acts on the probabilities does. Cross-entropy, which the model was trained
# with, rewards honesty. What is tuned for right answers only, or for being liked, has no reason to stay honest.

# %% [markdown]
# ## Check
#
# ### The classic bug: targets that count twice
#
# Cut the text into windows that overlap, and take the mean of all losses. Everything runs:

# %% tags=["corpus", "measured"]
@torch.no_grad()
def twice(model, ids, length, stride):
    starts = range(0, len(ids) - length, stride)
    rows = torch.stack([ids[start : start + length + 1] for start in starts])
    log_p = model.eval()(rows[:, :-1]).log_softmax(dim=-1)
    return -log_p.gather(-1, rows[:, 1:].unsqueeze(-1)).flatten()


for stride in (128, 32):
    losses = twice(base, part, length=128, stride=stride)
    print(f"stride {stride:3}: {len(losses)} targets, loss {losses.mean():.3f}")

# %% [markdown]
# There are three thousand targets in this part (the last few, which fill no window, are missing in the first line). With the stride 32 the bug counts most of them four times, with much context and with little, so the smaller stride gains
# nothing. *Count your targets.* The same kind of bug averages the means of windows of unequal length.

# %% [markdown]
# ## Experiment: what a number hides
#
# ### It recognises, and does not write
#
# Tests with several choices are often scored by *likelihood*: which choice gives the model the most probability? Let the GPT
# choose between the true continuation of a text and three from elsewhere, and then let it write. The control chooses without seeing the text before.

# %%
def choice_questions(ids, n, n_before=64, n_after=16, seed=0):
    chosen = random.Random(seed)
    starts = [chosen.randrange(len(ids) - 100) for _ in range(4 * n)]
    after = torch.stack([ids[s + n_before : s + n_before + n_after] for s in starts])
    before = torch.stack([ids[s : s + n_before] for s in starts[::4]])
    return before, after.view(n, 4, n_after)  # the first of four is right


@torch.no_grad()
def score(before, after):
    totals = []
    for choice in after.unbind(dim=1):
        rows = torch.cat([before, choice], dim=1)
        log_p = base(rows[:, :-1]).log_softmax(dim=-1).gather(-1, rows[:, 1:, None])
        totals.append(log_p[:, -choice.size(-1) :, 0].sum(dim=1))
    return torch.stack(totals, dim=1)


# %% [markdown]
# A hundred questions, with sixteen characters to continue:

# %% tags=["corpus", "measured"]
from lib.generate import generate

before, after = choice_questions(ids, n=100)
line_break = torch.full((100, 1), tokenizer.ids["\n"])
ranked = (score(before, after).argmax(dim=1) == 0).tolist()
blind = (score(line_break, after).argmax(dim=1) == 0).tolist()
written = generate(base, before, 16, temperature=0)[:, -16:]
wrote = (written == after[:, 0]).all(dim=1).tolist()
own = score(before, torch.stack([written, *after[:, :3].unbind(1)], dim=1))
liked = (own[:, 0] >= own[:, 1]).sum().item()  # its own text, the true one
for name, right in (("ranks it first", ranked), ("blind", blind), ("writes it", wrote)):
    low, high = wilson_interval(sum(right), 100)
    print(f"{name:14} {sum(right) / 100:.2f}, interval {low:.2f} to {high:.2f}")
print(f"finds its own text at least as likely as the true one: {liked} of 100")

# %% tags=["corpus", "proof"]
# @title Proof: what the text says about likelihood and writing
claim(sum(ranked) >= 50, "it ranks the right one first in most cases")
claim(sum(blind) <= 40, "without the text before it does not")
claim(sum(wrote) <= 5, "and it hardly ever writes it")
claim(liked >= 80, "its own text is nearly always likelier")

# %% [markdown]
# In most cases the model ranks the right continuation first, and it hardly ever writes it: what it writes is nearly always likelier to it than the true text. (The cut may be inside
# a word, so spelling alone helps it to recognise; and to write all sixteen characters alike is hard.) Blind, it
# chooses about as often right as chance, so it does use the text. Both numbers are true. **Ask which of them somebody reports**, and what a user will
# experience. And either may be memory: look for the questions in the training text, as in lesson [28](28_data_preparation.ipynb). (Whole answers that must be written are the *exact match* of lesson [24](24_reasoning.ipynb); for translations there is BLEU, lesson [16](16_translation.ipynb).)
#
# ### A judge, and how it is fooled
#
# For free text there is often no right answer to compare with. Then a second model judges: of two answers, which is better? Build a small one. An answer states
# facts, some of which are right. The judge cannot check all: it notices a right fact with probability .7. It also sees how long the answer is, and whether it
# *claims* to be right. From pairs that people have judged (more right facts win), it learns a weight for each of the three.

# %%
def draw_answers(n, generator, careful):
    facts = torch.randint(5, (n, 2), generator=generator).float()
    noticed = torch.binomial(facts, torch.full_like(facts, 0.7), generator)
    noise = torch.randn(n, 2, generator=generator)
    length = 2 * facts * careful + 2 * noise
    claims = torch.rand(n, 2, generator=generator) < 0.3 + 0.1 * facts * careful
    seen = torch.stack([noticed, length, claims.float()], dim=-1)  # (n, 2, 3)
    unequal = facts[:, 0] != facts[:, 1]
    return facts[unequal], seen[unequal]


# %% [markdown]
# The judge adds up what it sees, times its weights; of two answers the one with the larger sum is better. It learns like
# any classifier:

# %%
def learn_judge(facts, seen, n_steps=300):
    weights = torch.zeros(3, requires_grad=True)
    better = (facts[:, 0] > facts[:, 1]).float()
    for _ in range(n_steps):
        gap = (seen[:, 0] - seen[:, 1]) @ weights
        loss = torch.nn.functional.binary_cross_entropy_with_logits(gap, better)
        (slope,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.3 * slope).detach().requires_grad_()
    return weights.detach()


# %% [markdown]
# `careful` is 1 where people who know more also write more, and 0 in the control, where length and claims say nothing. Train a judge on either kind of
# pairs. Then test both twice: on new pairs of the usual kind, and with an *attack*, an answer without a single right fact that is long and claims to be right, against an honest
# one with three, two of which the judge notices.

# %% tags=["measured"]
judged = {}
for name, careful in (("usual pairs", 1), ("control", 0)):
    draws = torch.Generator().manual_seed(0)
    weights = learn_judge(*draw_answers(4_000, draws, careful))
    facts, seen = draw_answers(1_000, draws, careful=1)
    gap = (seen[:, 0] - seen[:, 1]) @ weights
    agrees = ((gap > 0) == (facts[:, 0] > facts[:, 1])).double().mean().item()
    attack, honest = torch.tensor([[0.0, 16.0, 1.0], [2.0, 6.0, 0.0]])
    fooled = bool(attack @ weights > honest @ weights)
    judged[name] = agrees, fooled
    print(f"{name:12} agrees with people {agrees:.3f}, fooled: {fooled}")

# %% tags=["proof"]
# @title Proof: what the text says about the judges
usual, control = judged["usual pairs"], judged["control"]
claim(usual[0] > 0.85 and usual[0] > control[0] - 0.03, "it agrees with people")
claim(usual[1] and not control[1], "only the judge of the usual pairs is fooled")

# %% [markdown]
# **Agreement with people does not show it.** The judge that is fooled agrees with them as well as the other, or better. On ordinary answers length goes with knowledge, so it has learned to trust length. An answer that is *written for* the judge breaks this
# link. A model that is tuned on its verdicts tends to do just that, and answers grow longer. (Zheng et al., 2023, section 3.3, find that large judges often prefer the first of two, and long answers.) So: exchange the places, compare at equal length, let people check a sample, and *never tune on the judge that you report*.
#
# ### One seed against five
#
# Two small models, one with a feed-forward network twice as wide, were trained with twenty seeds each; recorded with `python book/_tools/seeds.py`. On average the wider one is better. How often does one run of each say the opposite? And
# the means of five?

# %% tags=["hide-input"]
# @title The recorded runs
import json

runs = json.loads((root / "data" / "seeds.json").read_text("utf-8"))["runs"]
for name, each in runs.items():
    losses = torch.tensor(each["losses"])
    spread = f"a seed changes it by {losses.std():.3f}"
    print(f"{name:7} {each['parameters']:,} parameters, {losses.mean():.3f}, {spread}")

# %% [markdown]
# Draw that many runs of each at random, and compare the means:

# %%
narrow, wide = (runs[name]["losses"] for name in ("narrow", "wide"))
rng, wrong = random.Random(0), {}
for n in (1, 3, 5):
    means = lambda losses: mean(rng.sample(losses, n))
    wrong[n] = mean([means(narrow) < means(wide) for _ in range(4_000)])
    print(f"{n:2} seeds each: the wrong model wins in {wrong[n]:.0%}")

# %% tags=["proof"]
# @title Proof: what the text says about seeds
assert mean(wide) < mean(narrow) and wrong[1] > 0.15
assert wrong[1] > wrong[3] > wrong[5] and wrong[5] < 0.05
print("so it stands in the table")

# %% [markdown]
# One run of each picks the wrong model in more than one of five cases; five runs of each hardly ever. (The draws come from the same twenty runs, so for more seeds they would look too good.) Also, the
# better model has more parameters here: whether *width* is worth them is another question. Say how many seeds you ran, and how far they lie apart.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A model answers all of 30 questions right. What is the smallest true share that fits, by Wilson's interval?</summary>
#
# About .89. A perfect test of thirty questions does not promise nine tenths.
#
# </details>
#
# <details><summary>For one question, 10 samples were drawn, and 3 are right. What is pass@8?</summary>
#
# 1: seven are wrong, so eight of them cannot all be.
#
# </details>
#
# <details><summary>You make twenty independent tests, each of two equally good models on its own questions. How often is at least one p-value below one in twenty?</summary>
#
# In more than six of ten cases: each has one chance in twenty. With one common baseline it is less, and still far more than one in twenty. Choose on one set of questions, report on another.
#
# </details>

# %% tags=["answer"]
# @title Answers: an interval, pass@8, and the luckiest of twenty
print(f"{wilson_interval(30, 30)[0]:.2f}, {pass_at_k(10, 3, 8)}, {1 - 0.95**20:.2f}")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_31 import check_byte_losses, check_needed, check_swapped_judge

# %% [markdown]
# ### Exercise 1: How many questions?
#
# *warm-up · 10 minutes* · [Solution](../solutions/31_evaluation.ipynb#exercise-1-how-many-questions)
#
# A share near `p`, between 0 and 1, is to be measured to plus or minus `half`. With the standard error of the formula and the given `z`, return the smallest number of questions
# that is enough, an int.
#
# <details><summary>Hint</summary>
#
# Solve $z \sqrt{p (1 - p) / n} \leq h$ for $n$, and round up.
#
# </details>


# %%
def needed(p, half, z=1.96):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_needed(needed)

# %% [markdown]
# ### Exercise 2: Several documents
#
# *core · 15 minutes* · [Solution](../solutions/31_evaluation.ipynb#exercise-2-several-documents)
#
# Several documents were read by a model: `documents` is a list of pairs, a text and the tensor of its losses in nats. Return the bits per byte of all of them together,
# a float. A document without text and losses adds nothing.
#
# <details><summary>Hint</summary>
#
# Not a mean of means: all nats first, all bytes, one division.
#
# </details>


# %%
def byte_losses(documents):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_byte_losses(byte_losses)

# %% [markdown]
# ### Exercise 3: A judge asked twice
#
# *core · 15 minutes* · [Solution](../solutions/31_evaluation.ipynb#exercise-3-a-judge-asked-twice)
#
# `judge(first, second)` returns 1 if it prefers the first answer, 2 for the second. It may prefer a *place*. Ask it in both orders for each pair `(a, b)` in `pairs`. If both verdicts
# name the same answer, that one wins; otherwise it is a tie, worth one half. Two equal answers are always a tie, whatever the judge says. Return the win rate of the a's.
#
# <details><summary>Hint</summary>
#
# In the second order, `judge(b, a)`, the verdict 2 means a.
#
# </details>


# %%
def swapped_judge(pairs, judge):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_swapped_judge(swapped_judge)

# %% [markdown]
# ## Recap
#
# - You built **intervals and a paired test**: the same two shares can mean much or nothing.
# - You built **perplexity with strides**, each target counted once, and bits per byte, which compare models with different tokens.
# - You built **pass@k** without bias, and a measure of **honest probabilities**.
# - You saw a model that **ranks the answer first and does not write it**, a **judge that people agree with and that is fooled**, and how
#   often **one seed** picks the wrong model.
#
# What is still wrong: no number says what a model will do with questions that nobody thought of. This is the last lesson: what you need to find
# out, you can now build, train and measure yourself.
#
# The library's entries: [intervals](../book/api.md#evaluateintervals), [perplexity](../book/api.md#evaluateperplexity),
# [pass_at_k](../book/api.md#evaluatepass_at_k), [calibration](../book/api.md#evaluatecalibration) and
# [rouge](../book/api.md#evaluaterouge).

# %% [markdown]
# ## To read
#
# - Dror et al. (2018), *The Hitchhiker's Guide to Testing Statistical Significance*, section 3.
# - Chen et al. (2021), *Evaluating Large Language Models Trained on Code*, section 2.1.
# - Guo et al. (2017), *On Calibration of Modern Neural Networks*, sections 2 and 4.2.
# - Zheng et al. (2023), *Judging LLM-as-a-Judge*, section 3.3.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: one temperature
#
# A model that is too sure can be repaired with a single number: divide all logits by a temperature $T$ that makes the loss on some held-out examples smallest. The loss is convex in $1 / T$, so
# halving an interval finds where its slope is 0.

# %% tags=["naive:evaluate.calibration.fit_temperature"]
def fit_temperature(logits, targets):
    z = logits.double()
    own = z.gather(1, targets.unsqueeze(1))[:, 0]
    low, high = 1e-3, 1e3  # of 1 / T
    for _ in range(60):
        b = (low * high) ** 0.5
        slope = ((b * z).softmax(dim=1) * z).sum(dim=1) - own
        low, high = (b, high) if slope.mean() < 0 else (low, b)
    return 1 / b


# %% [markdown]
# Fitted on one half of the guesses, and judged by the other:

# %% tags=["corpus", "measured"]
half = len(targets) // 2
found = fit_temperature(2 * logits[:half], targets[:half])
p, guess = (2 * logits[half:] / found).softmax(dim=-1).max(dim=-1)
error = calibration_error(reliability(p, guess == targets[half:]))
print(f"temperature {found:.2f}, error on the other half {error:.3f}")

# %% tags=["same:evaluate.calibration.fit_temperature", "proof", "corpus"]
# @title Proof: the library finds the same temperature
other = calibration.fit_temperature(2 * logits[:half], targets[:half])
assert abs(found - other) < 1e-6
claim(error < errors[1], "the temperature makes it more honest")
print("the same temperature")

# %% [markdown]
# The doubled logits are halved again, and a little more, since the model itself is a little too sure. No guess has changed. (The error is that of
# half as many guesses, on another half; so it is not exactly that of the undoubled model.)

# %% [markdown]
# ## Deeper: how much of a summary is there?
#
# [ROUGE](../book/glossary.md#rouge) compares a summary with one that a person wrote. ROUGE-1 and ROUGE-2 count shared words and pairs of words, each as often as it stands in both.
# *Recall* is the share of the reference that was found, *precision* the share of what was written.

# %% tags=["lib:evaluate.rouge.Overlap"]
class Overlap(NamedTuple):
    precision: float
    recall: float
    f1: float


# %% tags=["naive:evaluate.rouge.rouge_n"]
import re
from collections import Counter


def words_of(text):
    return re.findall("[a-z0-9]+", text.lower())


def overlap(shared, n_written, n_wanted):
    if not shared:
        return Overlap(0.0, 0.0, 0.0)
    p, r = shared / n_written, shared / n_wanted
    return Overlap(p, r, 2 * p * r / (p + r))


def rouge_n(candidate, reference, n=1):
    runs = [Counter(zip(*(words_of(text)[i:] for i in range(n))))
            for text in (candidate, reference)]  # fmt: skip
    return overlap((runs[0] & runs[1]).total(), *(r.total() for r in runs))


# %% [markdown]
# ROUGE-L takes the longest sequence of words that both have in the same order, gaps allowed. ROUGE-Lsum does that sentence by sentence, where a line is a
# sentence, and counts no word more often than it is written.

# %% tags=["naive:evaluate.rouge.rouge_l"]
def shared_places(a, b):  # the places in a of a longest sequence that b has too
    best = [[()] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, word in enumerate(a):
        for j, other in enumerate(b):
            longer = max(best[i][j + 1], best[i + 1][j], key=len)
            best[i + 1][j + 1] = (*best[i][j], i) if word == other else longer
    return best[-1][-1]


def rouge_l(candidate, reference):
    written, wanted = words_of(candidate), words_of(reference)
    return overlap(len(shared_places(wanted, written)), len(written), len(wanted))


# %% [markdown]
# In the second function each sentence of the reference collects the places that any sentence of the summary shares with it:

# %% tags=["naive:evaluate.rouge.rouge_l_sum"]
def rouge_l_sum(candidate, reference):
    written, wanted = (
        [words_of(line) for line in text.split("\n")] for text in (candidate, reference)
    )
    left, found = Counter(sum(written, [])), 0
    n_written = left.total()
    for sentence in wanted:
        places = {i for other in written for i in shared_places(sentence, other)}
        for i in sorted(places):
            found += left[sentence[i]] > 0
            left[sentence[i]] -= 1
    return overlap(found, n_written, sum(map(len, wanted)))


# %%
reference = "The queen gave the crown to her fool.\nThe fool laughed."
for written in ("The fool laughed.\nThe queen gave him the crown.", reference * 4, ""):
    scores = [f"{score.f1:.2f}" for score in (
        rouge_n(written, reference), rouge_n(written, reference, n=2),
        rouge_l(written, reference), rouge_l_sum(written, reference))]  # fmt: skip
    recall = rouge_n(written, reference).recall
    print("F1 of 1, 2, L, Lsum:", *scores, f"recall {recall:.2f}")

# %% [markdown]
# The first summary has its sentences in another order: ROUGE-L misses that, ROUGE-Lsum does not. The second one, the reference four times, has a recall of 1: *recall alone can be had by writing
# everything*. An empty text gets 0, and so does any text against an empty reference.

# %% tags=["same:evaluate.rouge.rouge_n", "same:evaluate.rouge.rouge_l", "same:evaluate.rouge.rouge_l_sum", "proof"]
# @title Proof: the library's ROUGE is the same
from lib.evaluate import rouge

for written in ("The fool laughed.\nThe queen gave him the crown.", "a fool", "", "?!"):
    for n in (1, 2):
        pair = rouge_n(written, reference, n), rouge.rouge_n(written, reference, n)
        assert pair[0] == pair[1]
    assert rouge_l(written, reference) == rouge.rouge_l(written, reference)
    assert rouge_l_sum(written, reference) == rouge.rouge_l_sum(written, reference)
print("the same scores")

# %% [markdown]
# The library's numbers are those of Google's `rouge-score` without stemming, also where a text is blank: `tests/test_evaluation.py` compares them.
