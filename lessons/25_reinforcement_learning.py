# %% [markdown]
# # 25 · Reinforcement learning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/25_reinforcement_learning.ipynb)
#
# A model answers, a program checks, and what was right becomes more likely.
#
# - **You will build** a verifier, group advantages, the clipped loss, and GRPO.
# - **You will see** a model that blurts out wrong sums discover that writing the steps pays; and
#   several ways in which it learns nothing.
# - **Needs** lessons [11](11_training.ipynb) and [13](13_generation.ipynb); lesson [24](24_reasoning.ipynb) helps.
# - **Takes** about 75 minutes, and forty for the exercises; the notebook runs in under 45 s.

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
# You can teach a model to add by showing it sums with all their steps. Somebody has to write these
# steps. For most questions nobody has. But an answer is often easy to *check*: a sum, a proof, a
# program with tests. Can a model learn from the check alone?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "The loop of reinforcement learning: the model answers one prompt several times, a verifier gives each answer a reward, rewards become advantages by comparison, and the update makes the better answers more likely. The changed model answers the next prompt."}}
from lib.show import diagrams

diagrams.reward_loop()

# %% [markdown]
# The model is a GPT as before, called a [policy](../book/glossary.md#policy) here. It writes several
# answers to each prompt. A program, the [verifier](../book/glossary.md#verifier), gives each a
# number, the [reward](../book/glossary.md#reward). No answer is ever shown to the model.

# %% [markdown]
# ## By hand
#
# One prompt, four answers, rewards 1, 0, 0, 1. How much better is each than the others? Take the
# mean away. What is left is the [advantage](../book/glossary.md#advantage).

# %%
import torch

rewards = torch.tensor([1.0, 0.0, 0.0, 1.0])
print("mean      ", rewards.mean().item())
print("advantages", (rewards - rewards.mean()).tolist())

# %% mystnb={"image": {"alt": "Four answers to one prompt with the rewards 1, 0, 0, 1, and their advantages as bars: plus one half for the right ones, minus one half for the wrong ones."}}
diagrams.answer_group()

# %% [markdown]
# Two answers get more likely, two less. If all four are right, or all wrong, all advantages are
# 0 and nothing is learned from this prompt: the group is *dead*.
#
# Why is that a gradient? Take a model of three tokens with the probabilities $p$. Its expected
# reward is $\sum_y p(y)\, r(y)$. Compare its gradient with that of $\ln p(y)$, weighted by rewards
# and averaged over what the model writes. The third line takes 0.5 off all rewards.

# %%
z = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
p, r = z.softmax(dim=0), torch.tensor([1.0, 0.0, 0.0])
drawn = p.detach()  # how often each token is drawn
for name, value in (
    ("expected reward", p @ r),
    ("r ln p", (drawn * r) @ p.log()),
    ("(r - 0.5) ln p", (drawn * (r - 0.5)) @ p.log()),
):
    (slope,) = torch.autograd.grad(value, z, retain_graph=True)
    print(f"{name:16}", [round(s, 4) for s in slope.tolist()])

# %% [markdown]
# Three times the same. So you can draw answers, weight their log-probabilities, and follow that
# gradient: the verifier itself needs none. And taking a *baseline* away changes
# nothing on average. It makes single draws less noisy.

# %% [markdown]
# ## The formula
#
# For an answer $y$ with reward $r$, REINFORCE (Williams 1992) follows
#
# $$\nabla J = \mathbb{E}_{y \sim \pi}\left[\, A(y)\; \nabla \ln \pi(y) \,\right]$$
#
# $\pi$ is the model, and $\ln \pi(y)$ the sum over the tokens of the answer. For $G$ answers to one
# prompt, GRPO (Shao et al. 2024, section 4.1.2) takes, with the standard deviation of samples,
#
# $$A_i = \frac{r_i - \mathrm{mean}(r)}{\mathrm{std}(r) + \epsilon}$$
#
# and at each token, as PPO does (Schulman et al. 2017, equation 7), maximises
#
# $$\min\left(\rho\, A,\; \mathrm{clip}(\rho,\, 1 - c,\, 1 + c)\, A\right), \qquad \rho = \frac{\pi_{\mathrm{new}}(\mathrm{token})}{\pi_{\mathrm{old}}(\mathrm{token})}$$
#
# At $\rho = 1$ the gradient of $\rho A$ is $A\, \nabla \ln \pi$: the first update is REINFORCE's. Rewards
# and advantages are $(P, G)$ for $P$ prompts; $\rho$ is $(B, T)$ with $B = P\,G$ rows.

# %% [markdown]
# ## Build
#
# ### A verifier
#
# The task: sums of two numbers with three digits. An answer may be the result alone, or the
# result behind its steps:

# %%
from lib.tasks.arithmetic import Addition, write_sum

for style in ("plain", "steps"):
    print(*write_sum(123, 456, digits=3, style=style)[:2])

# %% [markdown]
# Each step is a carry and a digit, from the right. The stop `.` ends an answer. The reward is 1 if
# what stands after the last `>`, or all of it, is exactly right:


# %% tags=["naive:tune.rewards.sum_reward"]
def sum_reward(prompt, answer):
    a, b = prompt.removesuffix("=").split("+")
    right = write_sum(int(a), int(b), digits=len(a)).answer  # such as "0579."
    body, stop, rest = answer.partition(".")
    return float(not rest and body.split(">")[-1] + stop == right)


# %% [markdown]
# A model that is paid for being right will find whatever else is paid. So try answers that a careless
# verifier gets wrong:

# %%
for answer in (
    *("0579.", "09;07;05;>0579.", "11;11;11;>0579.", "0579", "0579.1."),
    *("-0579.", "579.", "0579>0578.", "٠٥٧٩.", ""),
):
    print(f"{answer!r:20} {sum_reward('123+456=', answer):.0f}")

# %% [markdown]
# Wrong steps are paid if the result is right: nobody looks at them. Everything that cannot be read
# gets 0, as a wrong answer does. (The fourth from the top has no stop; the one before the last has
# digits of another script, which Python's `int` would take.)
#
# ### Answers to many prompts
#
# A [rollout](../book/glossary.md#rollout) is an answer that the model wrote, with what is needed to
# learn from it: its tokens, which of them the model wrote, and the temperature.

# %% tags=["lib:generate.rollouts.Rollouts"]
from typing import NamedTuple

from torch import Tensor


class Rollouts(NamedTuple):
    ids: Tensor  # (B, T): prompt and answer
    written: Tensor  # (B, T): True at the tokens of the answers
    temperature: float = 1.0

    def answers(self) -> list[list[int]]:
        return [row[own].tolist() for row, own in zip(self.ids, self.written)]


# %% [markdown]
# `written` is True at the stop too: else the model never learns to stop. `in_mode` puts the
# model into evaluation mode meanwhile, so that no dropout disturbs.

# %% tags=["naive:generate.rollouts.rollout"]
from lib.generate.sampling import sample_next
from lib.module import in_mode


@torch.no_grad()
def rollout(model, prompts, n_new, stop_id, temperature=1.0, generator=None):
    ids = torch.tensor(prompts)  # (B, T), all of one length
    written = torch.zeros_like(ids, dtype=torch.bool)
    done = torch.zeros(len(ids), 1, dtype=torch.bool)
    with in_mode(model, training=False):
        while written.sum(dim=1).max() < n_new and not done.all():
            new = sample_next(model(ids)[:, -1], temperature, generator)  # (B, 1)
            ids = torch.cat([ids, new.masked_fill(done, 0)], dim=1)
            written = torch.cat([written, ~done], dim=1)
            done = done | (new == stop_id)
    return Rollouts(ids, written, temperature)


# %% [markdown]
# (The library's has a cache, and takes prompts of any length.) The course ships a model to start
# from. It was trained on sums with steps, and then mostly on sums without. Let it answer
# one prompt eight times:

# %% tags=["sample"]
import lib
from lib.train.checkpoint import load_checkpoint

data = Path(lib.__file__).parents[1] / "data"
start = load_checkpoint(data / "rl-start.safetensors").model
tokenizer = Addition(digits=3).tokenizer
stop_id, prompt = tokenizer.ids["."], "123+456="
asked = [tokenizer.encode(prompt)] * 8
found = rollout(start, asked, 16, stop_id, generator=torch.Generator().manual_seed(3))
said = {1: "paid: the result is exactly right", 0: "nothing: the result is not right"}
for answer in map(tokenizer.decode, found.answers()):
    print(f"{answer:16} {said[sum_reward(prompt, answer)]}")

# %% [markdown]
# Mostly it blurts out a result, mostly a wrong one. Sometimes it writes steps.
#
# ### Advantages
#
# Four methods differ in what they compare a reward with. **REINFORCE**: with nothing.
# **RLOO** (Ahmadian et al. 2024): with the mean of the *other* answers. **Dr. GRPO** (Liu et al.
# 2025): with the mean of all. **GRPO** divides that by the standard deviation.

# %% tags=["naive:tune.grpo.advantages"]
def advantages(rewards, method="grpo"):  # (P, G)
    if method == "reinforce":
        return rewards
    apart = rewards - rewards.mean(dim=1, keepdim=True)
    if method == "rloo":
        return apart * rewards.size(1) / (rewards.size(1) - 1)
    if method == "dr_grpo":
        return apart
    return apart / (rewards.std(dim=1, keepdim=True) + 1e-4)


# %% [markdown]
# Look at two prompts: one that half of the answers get right, and one that only a single one does.

# %%
rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
for method in ("reinforce", "rloo", "dr_grpo", "grpo"):
    rows = advantages(rewards, method).tolist()
    print(f"{method:10}", *([round(a, 2) for a in row] for row in rows))

# %% [markdown]
# RLOO and Dr. GRPO differ by a factor, $G / (G - 1)$: leaving yourself out only makes everything
# larger. A rare success counts more in all three, and most in GRPO. Its division also lifts groups that are
# nearly all right or all wrong, which Liu et al. call a bias.
#
# ### Scores
#
# Next, how likely the model is to write what it wrote, token by token. It has to be scored as it
# was drawn: at the same temperature.

# %% tags=["naive:tune.grpo.log_probabilities"]
def log_probabilities(model, rollouts):
    ids, written, temperature = rollouts
    with in_mode(model, training=False):
        logits = model(ids[:, :-1]).float() / temperature
    places = ids[:, 1:].unsqueeze(-1)  # (B, T - 1, 1): the tokens that came
    found = logits.log_softmax(dim=-1).gather(-1, places).squeeze(-1)
    return found.masked_fill(~written[:, 1:], 0.0)  # 0 where it did not write


# %% [markdown]
# `float` matters for models in bfloat16: a logarithm with three digits makes ratios that are off by
# a percent. The temperature comes from the rollouts, so that nobody can forget it.
#
# ### The loss
#
# Several updates may be made with one batch of answers. After the first the model is not the one
# that wrote them. The ratio $\rho$ says by how much, and the clip stops an update that goes too far:

# %% mystnb={"image": {"alt": "The gain at one token against the ratio of new and old probability. For a positive advantage it rises with the ratio, and is flat above the clip. For a negative advantage it falls, and is flat below the clip."}}
diagrams.clipped_ratio()

# %% tags=["naive:tune.grpo.policy_loss"]
def policy_loss(new, old, advantages, written, clip=0.2):
    ratio = (new - old).exp()  # (B, T)
    a = advantages.unsqueeze(-1)  # (B, 1): the same at all tokens of an answer
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
    return -gain[written].sum() / written.sum()


# %% [markdown]
# Where the clip has taken hold, the gradient is 0. The slope of the loss at four ratios, with both
# signs (a negative slope makes the token likelier):

# %%
written = torch.ones(1, 4, dtype=torch.bool)
for sign in (1.0, -1.0):
    new = torch.tensor([[0.5, 0.9, 1.1, 1.5]]).log().requires_grad_()
    loss = policy_loss(new, torch.zeros(1, 4), torch.tensor([sign]), written)
    (slope,) = torch.autograd.grad(loss, new)
    print(f"advantage {sign:+.0f}:", [round(s, 2) + 0.0 for s in slope[0].tolist()])

# %% [markdown]
# A good answer that is already 1.5 times as likely is not pushed on. One that has become half as
# likely is still pulled back. Here every token counts the same. The DeepSeekMath paper averages
# within each answer first; Dr. GRPO divides by a constant, so that a long wrong
# answer is not punished less for each token. The library has all three (`average`). With one update
# for each batch, as in all runs here, every ratio is 1 and the clip does nothing; it is there for
# several (`n_updates`).
#
# ### How far has it moved?
#
# A copy of the model at the start is the *reference*. Its distance is estimated at the tokens that
# were written, from $d = \ln \pi_{\mathrm{ref}} - \ln \pi$:

# %% tags=["lib:tune.grpo.kl_estimate"]
from lib.device import at_least_float32


def kl_estimate(new: Tensor, reference: Tensor) -> Tensor:
    apart = at_least_float32(reference) - at_least_float32(new)
    return torch.expm1(apart) - apart


# %% [markdown]
# On average over what the model writes that is the divergence
# [KL](../book/glossary.md#kl-divergence)$(\pi \| \pi_{\mathrm{ref}})$, because the mean of $e^d$ is 1 (Schulman's estimator k3).
# Each value is at least 0. `exp(d) - 1` loses its digits near 0; `expm1(d)` does not:

# %%
d = torch.tensor([1e-3, 6e-5])
exact = torch.expm1(d.double()) - d
near = lambda value: ((value / exact - 1).abs() < 0.01).tolist()
print("right to one percent? expm1(d) - d:  ", near(kl_estimate(0 * d, d)))
print("                      exp(d) - 1 - d:", near(d.exp() - 1 - d))

# %% [markdown]
# Rounding alone may even be negative. GRPO adds the estimate to the loss with a small
# weight, `kl_weight`. DeepSeek-R1 used it; many others leave it out, and so do we at first.
#
# ### All together
#
# `GRPOConfig` holds the settings, and `Report` says what happened in a step.

# %% tags=["naive:tune.grpo.GRPOConfig"]
from dataclasses import dataclass


@dataclass(frozen=True)
class GRPOConfig:
    n_new: int  # tokens that an answer may have
    stop: str = "."
    group_size: int = 8
    temperature: float = 1.0
    method: str = "grpo"


# %% tags=["lib:tune.grpo.Report"]
class Report(NamedTuple):
    answers: list[str]
    rewards: Tensor  # (P, G)
    length: float  # mean number of tokens
    entropy: float  # nats per token

    @property
    def dead(self) -> float:
        return (self.rewards == self.rewards[:, :1]).all(dim=1).float().mean().item()


# %% [markdown]
# A step: draw, judge, compare, score, update. The update is the `Training` of lesson 11, with our loss.

# %% tags=["naive:tune.grpo.GRPO"]
from lib.train import Training


class GRPO:
    def __init__(self, model, tokenizer, reward_of, config, recipe, generator=None):
        self.model, self.tokenizer, self.reward_of = model, tokenizer, reward_of
        self.config, self.generator = config, generator
        self.training = Training(model, recipe, self.loss)

    def step(self, prompts):
        c, words = self.config, self.tokenizer
        asked = [prompt for prompt in prompts for _ in range(c.group_size)]
        draw = (c.n_new, words.ids[c.stop], c.temperature, self.generator)
        rollouts = rollout(self.model, [words.encode(p) for p in asked], *draw)
        answers = [words.decode(answer) for answer in rollouts.answers()]
        rewards = [self.reward_of(*pair) for pair in zip(asked, answers)]
        rewards = torch.tensor(rewards).view(-1, c.group_size)  # (P, G)
        with torch.no_grad():
            old = log_probabilities(self.model, rollouts)
        gains = advantages(rewards, c.method).flatten()
        self.training.step((rollouts.ids, rollouts.written, gains, old))
        n_written = rollouts.written.sum().item()
        mean = n_written / len(asked), -old.sum().item() / n_written
        return Report(answers, rewards, *mean)

    def loss(self, model, ids, written, gains, old):
        new = log_probabilities(model, Rollouts(ids, written, self.config.temperature))
        return policy_loss(new, old, gains, written[:, 1:])


# %% [markdown]
# The entropy is estimated: the mean surprise of the model at its own tokens.

# %% tags=["proof", "same:tune.rewards.sum_reward", "same:generate.rollouts.rollout", "same:tune.grpo.advantages"]
# @title Proof: verifier, rollouts and advantages are the library's
import copy

from lib.generate import rollouts as library_rollouts
from lib.train.settings import TrainConfig
from lib.tune import grpo, rewards as library_rewards

for answer in ("0579.", "09;07;05;>0579.", "0579", "0579.0579.", "-0579.", ""):
    pair = prompt, answer
    assert sum_reward(*pair) == library_rewards.sum_reward(*pair)
draws = rollout, library_rollouts.rollout
greedy = [draw(start, asked, 16, stop_id, 0.0).answers() for draw in draws]
assert greedy[0] == greedy[1]
table = torch.randn(5, 8)
for method in ("reinforce", "rloo", "dr_grpo", "grpo"):
    pair = advantages(table, method), grpo.advantages(table, method)
    assert torch.allclose(*pair, atol=1e-5)

# %% tags=["proof", "same:tune.grpo.log_probabilities", "same:tune.grpo.policy_loss", "same:tune.grpo.GRPOConfig", "same:tune.grpo.GRPO"]
# @title Proof: scores, loss and a whole step are the library's
scores = log_probabilities(start, found), grpo.log_probabilities(start, found)
assert torch.allclose(*scores, atol=1e-5)
new = scores[0] + 0.3 * torch.randn(scores[0].shape)
values = (new, scores[0], table[0], found.written[:, 1:])
assert torch.allclose(policy_loss(*values), grpo.policy_loss(*values), atol=1e-5)
assert vars(GRPOConfig(16)).items() <= vars(grpo.GRPOConfig(16)).items()
by_length, weights = lambda prompt, answer: float(len(answer)), []
for kind, config in ((GRPO, GRPOConfig), (grpo.GRPO, grpo.GRPOConfig)):
    pupil, draws = copy.deepcopy(start), torch.Generator().manual_seed(0)
    recipe = TrainConfig(n_steps=1)
    kind(pupil, tokenizer, by_length, config(16), recipe, draws).step([prompt])
    weights.append(torch.cat([w.flatten() for w in pupil.parameters()]))
assert (weights[0] - weights[1]).abs().mean() < 1e-5
print("the same numbers")

# %% [markdown]
# ## Check
#
# ### The classic bug: drawn at one temperature, scored at another
#
# Before the first update the model that scores is the model that wrote. So every ratio must be 1. Draw
# at the temperature 0.8, and score once at 0.8 and once at 1:

# %% tags=["measured"]
from lib.checks.claims import claim

generator = torch.Generator().manual_seed(0)
cool = rollout(start, asked * 32, 16, stop_id, 0.8, generator)
with torch.no_grad():
    right = log_probabilities(start, cool)
    wrong = log_probabilities(start, cool._replace(temperature=1.0))
own = cool.written[:, 1:]
for name, scores in (("scored at 0.8", right), ("scored at 1.0", wrong)):
    off = ((scores - right).exp()[own] - 1).abs()
    outside = (off > 0.2).double().mean()
    print(f"{name}: off by {off.mean():.3f} on average, {outside:.3f} beyond the clip")

# %% tags=["proof"]
# @title Proof: what the text says about these ratios
claim(outside > 0.01, "some ratios lie beyond the clip")
claim(off.max() > 0.5, "the largest is far from 1")
with torch.no_grad():
    again = grpo.log_probabilities(start, cool)
assert torch.allclose(again, right, atol=1e-5)

# %% [markdown]
# At another temperature the ratios are off before anything was learned. Unlikely tokens are off most: some
# of them lie beyond the clip, and may get no gradient at all. Nothing crashes, and rewards may even rise. The same
# happens if old and new scores come in different number formats, or with dropout in one of
# them. *Print the largest ratio before the first update* is the cheapest test there is.

# %% [markdown]
# ## Experiment: fifty steps
#
# The library's parts from here on. How good is the start? 500 sums of the test, which are never
# asked in training, answered greedily, and drawn at temperature 1:

# %% tags=["hide-input"]
# @title The library's parts, and the sums of the test
from lib.generate.rollouts import rollout
from lib.tune.grpo import GRPO, GRPOConfig, log_probabilities
from lib.tune.rewards import sum_reward

task = Addition(digits=3)
test = [example.prompt for example in task.test_examples]
print(f"{len(test)} sums")


# %% tags=["measured"]
def judge(model, temperature, prompts=test):
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    draws = torch.Generator().manual_seed(0)
    rollouts = rollout(model, ids, 16, stop_id, temperature, draws)
    answers = [tokenizer.decode(answer) for answer in rollouts.answers()]
    right = sum(map(sum_reward, prompts, answers)) / len(prompts)
    steps = sum(">" in answer for answer in answers) / len(prompts)
    return right, steps, rollouts


before = judge(start, 0.0)[:2], judge(start, 1.0)[:2]
print("greedy: right {:.2f}, with steps {:.2f}".format(*before[0]))
print("drawn:  right {:.2f}, with steps {:.2f}".format(*before[1]))

# %% [markdown]
# About one answer in four is right, and one in eight shows steps. Now fifty steps of GRPO. Each asks 32
# prompts, eight times each.

# %%
import random

rng, draws = random.Random(0), torch.Generator().manual_seed(0)
model, reports, distance = copy.deepcopy(start), [], []
rates = dict(learning_rate=3e-4, schedule="constant", n_warmup=5)
config, recipe = GRPOConfig(n_new=16), TrainConfig(n_steps=50, **rates)
learner = GRPO(model, tokenizer, sum_reward, config, recipe, draws)


def ask():
    return [task.draw_to_learn(rng).prompt for _ in range(32)]


# %% [markdown]
# After every ten steps the distance to the start is measured. (This runs for some seconds.)

# %% tags=["measured"]
for _ in range(5):
    reports += learner.run(ask, 10)
    drawn = judge(model, 1.0)[2]
    with torch.no_grad():
        scores = [log_probabilities(each, drawn) for each in (model, start)]
    distance.append((kl_estimate(*scores).sum() / drawn.written.sum()).item())
after = judge(model, 0.0)[:2], judge(model, 1.0)[:2]
print("greedy: right {:.2f}, with steps {:.2f}".format(*after[0]))
print("drawn:  right {:.2f}, with steps {:.2f}".format(*after[1]))

# %% tags=["proof"]
# @title Proof: what the text says about this run
claim(before[0][0] <= 0.45, "at the start less than half is right")
claim(after[0][0] >= 0.85, "at the end nearly all is right")
claim(before[1][1] <= 0.3, "at the start few answers show steps")
claim(after[1][1] >= 0.9, "at the end nearly all do")
lengths = [report.length for report in reports]
claim(lengths[-1] >= 2 * lengths[0], "answers become twice as long")
claim(reports[-1].entropy < reports[0].entropy / 2, "the entropy falls")
claim(reports[-1].dead > reports[0].dead, "dead groups become more")

# %% [markdown]
# From one in four to nearly all. In these fifty steps not one worked example was shown. The same
# prompt as before:

# %% tags=["sample"]
found = judge(model, 1.0, [prompt] * 8)[2]
for answer in map(tokenizer.decode, found.answers()):
    print(f"{answer:16} {said[sum_reward(prompt, answer)]}")

# %% [markdown]
# Now it writes the steps. Watch how it came to that:

# %% mystnb={"image": {"alt": "Three lines over fifty steps. The share of answers with steps rises first, to nearly one. The mean reward follows it. The share of dead groups stays low at first and then rises to more than half."}}
from lib.show import plot

steps = [sum(">" in a for a in r.answers) / len(r.answers) for r in reports]
lines = {"answers with steps": steps}
lines["mean reward"] = [report.rewards.mean().item() for report in reports]
lines["dead groups"] = [report.dead for report in reports]
plot.line_chart(lines, "step", "share")

# %% [markdown]
# First the *share of answers with steps* rises: they are right more often, so they are paid more
# often. Then the steps themselves get better, as a table below shows, and the reward follows. The
# length:

# %% mystnb={"image": {"alt": "The mean length of the answers over fifty steps: it rises from about six tokens to fifteen."}}
plot.line_chart({"length": lengths}, "step", "tokens in an answer")

# %% [markdown]
# Answers get more than twice as long, though nobody pays for length. Last, how sure the model is, and how far
# it has gone from the start:

# %% mystnb={"image": {"alt": "Two lines over the steps: the entropy falls steadily to nearly nothing, while the distance to the start rises at first and then falls a little."}}
entropy = [report.entropy for report in reports[9::10]]
lines = {"entropy": entropy, "distance to the start": distance}
plot.line_chart(lines, "step", "nats per token", x=range(10, 51, 10))

# %% [markdown]
# In the end the model is sure of itself, and most groups are dead, because all
# eight answers are right. Such prompts cost time and teach nothing.
# DeepSeek-R1 (DeepSeek-AI 2025) shows the same at large: rewards rise, and answers grow by themselves.

# %% [markdown]
# ## Experiment: what does it take?
#
# One run is a story. These are recorded runs, made by `python book/_tools/rl.py`, each with several
# seeds, from the same start if nothing else is said, with as many steps. `greedy` and `sampled` are
# the shares of right answers, `steps` the share of drawn answers with steps, `right_steps` and
# `right_plain` what is right among those with and without. First the four methods:

# %%
import json

record = json.loads((data / "rl.json").read_text("utf-8"))["runs"]


def shown(names, *columns):
    for name in names:
        for column in columns:
            curves = [run[column] for run in record[name]]
            words = [f"{c[0]:.2f} -> {c[-1]:.2f}" for c in curves]
            print(f"{name:13} {column:11}", "  ".join(words))


shown(("grpo", "reinforce", "rloo", "dr_grpo"), "greedy")
shown(("grpo",), "sampled", "right_steps")

# %% [markdown]
# All seeds of all methods arrive. **GRPO is not better than REINFORCE here**, which has no baseline at
# all.
#
# Now controls. Two other rewards: one that pays for the *form* only, and one that pays one answer in
# five, at random.

# %% tags=["naive:tune.rewards.format_reward", "naive:tune.rewards.random_reward"]
import re


def format_reward(prompt, answer):  # one step for each of the three digits
    return float(bool(re.fullmatch(r"([0-9]{2};){3}>[0-9]+\.", answer)))


def random_reward(share, seed=0):
    rng = random.Random(seed)
    return lambda prompt, answer: float(rng.random() < share)


# %% tags=["proof", "same:tune.rewards.format_reward", "same:tune.rewards.random_reward"]
# @title Proof: these rewards and the library's are the same
for answer in ("09;07;05;>0579.", "00;00;00;>1.", "0579.", "09;07;>0579.", ""):
    pair = prompt, answer
    assert format_reward(*pair) == library_rewards.format_reward(*pair)
pair = random_reward(0.2, seed=1), library_rewards.random_reward(0.2, seed=1)
for answer in range(100):
    assert pair[0](prompt, answer) == pair[1](prompt, answer)
print("the same rewards")

# %% [markdown]
# Each starts as before. Look at what is right, and at how many answers show steps:

# %%
shown(("random reward", "format reward"), "greedy", "steps", "right_steps")

# %% [markdown]
# **The random reward does harm**, with every seed: a third to two thirds of the right answers are left. Random
# advantages are not 0, AdamW still makes steps of the usual size, and the model drifts. So the gain
# of the other runs comes from what is paid, not from updates as such. The reward for the form brings the
# form to all answers, and at most one in ten more right ones: the steps themselves get worse.
#
# Then three changes: a weight of 0.1 on the distance to the start, a rate ten times as high, and other
# starts, one for each seed, that had few sums with steps to learn from. Their steps are right less
# often than their blurts.

# %%
shown(("kl", "high rate"), "greedy", "sampled", "steps")
shown(("other start",), "greedy", "right_plain", "right_steps", "steps")

# %% tags=["proof"]
# @title Proof: what the text says about the recorded runs
ends = lambda name, column, place=-1: torch.tensor(
    [run[column][place] for run in record[name]]
)
first = ends("grpo", "greedy", 0)[0]
methods = ("grpo", "reinforce", "rloo", "dr_grpo")
assert all(ends(name, "greedy").min() >= 0.95 for name in methods)
assert ends("grpo", "greedy")[:3].mean() <= ends("reinforce", "greedy").mean()
assert first / 3 < ends("random reward", "greedy").min()
assert ends("random reward", "greedy").max() < 2 / 3 * first
assert ends("format reward", "steps").min() > 0.99
assert ends("format reward", "greedy").max() < 0.45
assert ends("format reward", "right_steps").max() < 0.3
assert ends("kl", "steps").max() < 0.95 < ends("grpo", "steps").min()
assert ends("grpo", "right_steps").min() > 0.9 > 0.5 > ends("grpo", "right_steps", 0)[0]
print("so it stands in the tables")

# %% [markdown]
# - **With the weight** the greedy answers are as good, and some drawn ones stay without steps.
# - **At ten times the rate** less than one answer in a hundred is right, with any seed. Nearly all groups
#   are dead, so hardly a gradient is left that could bring the model back. The form has survived.
# - **From the other starts** two models blurt well. Their steps disappear,
#   and greedily neither gains. The third does neither well: it comes to write steps in half of its
#   answers, and nearly all are wrong.
#
# **Reinforcement learning amplifies what sometimes succeeds, and sharpens it.** What never succeeds is
# never paid for: that it cannot teach.
#
# ### What a trained model can hand on
#
# The trained model's right answers can teach others: *distillation*. A fresh model, and the
# start, are trained on thousands of them, and for comparison on the same sums with the steps
# that the task writes.

# %%
rows = record["distilled"]
for name in ("fresh, traces", "fresh, written", "start, traces", "start, written"):
    print(f"{name:15} greedy {[round(row[name]['greedy'], 2) for row in rows]}")

# %% tags=["proof"]
# @title Proof: what the text says about rates, starts and pupils
assert ends("high rate", "greedy").max() < 0.05 and ends("high rate", "dead").min() == 1
other = {name: ends("other start", name) for name in ("steps", "sampled")}
assert other["steps"][:2].max() < 0.02 and other["steps"][2] > 0.5
assert other["sampled"][2] - ends("other start", "sampled", 0)[2] < 0.05
assert all(row["start, traces"]["greedy"] > 0.99 for row in record["distilled"])
assert all(row["fresh, traces"]["greedy"] > 0.99 for row in record["distilled"])
print("so it stands in the tables")

# %% [markdown]
# Everything arrives. The answers of the trained model are as good to learn from as the written
# steps; on this task nothing tells them apart. Nobody wrote an answer for these models: the verifier chose them.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>All eight answers to a prompt are right. What does GRPO learn from it, and what REINFORCE without a baseline?</summary>
#
# GRPO nothing: all advantages are 0. REINFORCE makes all eight more likely.
#
# </details>
#
# <details><summary>You pay 10 for a right answer instead of 1. What changes in GRPO, what in Dr. GRPO?</summary>
#
# In GRPO nothing: the standard deviation grows as well. In Dr. GRPO the advantages are ten times as large.
# (AdamW divides by the gradient's size, so that you may see little of it.)
#
# </details>
#
# <details><summary>No answer to any prompt is ever right. What happens?</summary>
#
# Nothing. All groups are dead. Reinforcement learning starts from what sometimes succeeds.
#
# </details>

# %% tags=["answer"]
# @title Answers: groups of equals, and larger rewards
same = torch.ones(1, 8)
print("all right: ", grpo.advantages(same).tolist())
print("REINFORCE: ", grpo.advantages(same, "reinforce").tolist())
once = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
for method in ("grpo", "dr_grpo"):
    pair = grpo.advantages(once, method), grpo.advantages(10 * once, method)
    print(f"{method:10}", [[round(a, 2) for a in each[0].tolist()] for each in pair])

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_25 import (
    check_advantages,
    check_kl,
    check_policy_loss,
    check_verifier,
)

# %% [markdown]
# ### Exercise 1: A verifier
#
# *warm-up · 10 minutes* · [Solution](../solutions/25_reinforcement_learning.ipynb#exercise-1-a-verifier)
#
# A model is asked `7-10=` and shall answer with the difference and a stop: `-3.`, without leading
# zeros. Its first stop ends the answer: nothing may follow it. Before the last `>` it may write
# anything but a stop. Return 1 for exactly the right result, else
# 0, as a float. Nothing that a model writes may raise an error.
#
# <details><summary>Hint</summary>
#
# Compute the one text that is right, and compare texts. `int(answer)` takes much that is wrong.
#
# </details>


# %%
def verifier(prompt, answer):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_verifier(verifier)

# %% [markdown]
# ### Exercise 2: Advantages of four methods
#
# *core · 15 minutes* · [Solution](../solutions/25_reinforcement_learning.ipynb#exercise-2-advantages-of-four-methods)
#
# Here the rewards `(B,)` of all answers come in one row, and `groups` `(B,)` says to which prompt each
# belongs, in any order; groups may differ in size, but have two answers or more. Return the advantages `(B,)` for `"reinforce"`,
# `"rloo"`, `"dr_grpo"` and `"grpo"`, which adds `small` to the standard deviation.
#
# <details><summary>Hint</summary>
#
# For each group: `own = groups == group` picks its rewards, and `result[own] = ...` puts the
# advantages back.
#
# </details>


# %%
def group_advantages(rewards, groups, method, small=1e-4):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_advantages(group_advantages)

# %% [markdown]
# ### Exercise 3: The loss of rows with filling
#
# *core · 20 minutes* · [Solution](../solutions/25_reinforcement_learning.ipynb#exercise-3-the-loss-of-rows-with-filling)
#
# Return the clipped loss as GRPO's paper averages it: over the written tokens of each answer, then
# over the answers. `new`, `old` and `written` are `(B, T)`, `advantages` is `(B,)`. What stands at
# places that were not written may be anything, and must not matter.
#
# <details><summary>Hint</summary>
#
# Set `new - old` to 0 where nothing was written, with `torch.where`, *before* `exp`: behind it the
# gradient of an infinite number stays. Then divide by `written.sum(dim=1)`.
#
# </details>


# %%
def answer_loss(new, old, advantages, written, clip):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_policy_loss(answer_loss)

# %% [markdown]
# ### Exercise 4: How far from the start?
#
# *warm-up · 10 minutes* · [Solution](../solutions/25_reinforcement_learning.ipynb#exercise-4-how-far-from-the-start)
#
# Return the mean of the k3 estimate over all written tokens (elsewhere stand finite numbers), as a tensor with a gradient to `new`. `new`,
# `reference` and `written` are `(B, T)`. It must be right for distances of a thousandth, too.
#
# <details><summary>Hint</summary>
#
# $d$ is reference minus new, and `torch.expm1` keeps its digits.
#
# </details>


# %%
def mean_distance(new, reference, written):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_kl(mean_distance)

# %% [markdown]
# ## Recap
#
# - You built a **verifier** that pays for exactly the right result, **group advantages** by four
#   methods, the **clipped loss**, and **GRPO**.
# - You saw a model **discover** that its steps pay, and its answers grow by themselves.
# - You saw the bug that the **ratio before the first update** shows.
# - You saw controls: a random reward, a reward for the form, a rate that is too high, and a start from which
#   the steps disappear. **Reinforcement learning amplifies what sometimes succeeds.**
#
# What is still open: the model had to bring the skill along. How to teach a trained model something new, and what
# it forgets meanwhile, is lesson 26.
#
# The library's entries: [rewards](../book/api.md#tunerewards), [advantages, losses and
# GRPO](../book/api.md#tunegrpo), [rollouts](../book/api.md#generaterollouts).

# %% [markdown]
# ## To read
#
# - Shao et al. (2024), *DeepSeekMath*, section 4: GRPO, with the average within each answer.
# - DeepSeek-AI (2025), *DeepSeek-R1*, section 2.2 and figure 3: rewards by rules, and answers that grow.
# - Liu et al. (2025), *Understanding R1-Zero-Like Training*, section 3: what the divisions in GRPO do.
# - Ahmadian et al. (2024), *Back to Basics*: REINFORCE and RLOO are enough for language models.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
