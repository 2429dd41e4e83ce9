"""Reinforcement learning with groups of answers: REINFORCE, RLOO, GRPO, Dr. GRPO."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib.device import at_least_float32, choose_dtype
from lib.evaluate.losses import mean_over
from lib.generate.rollouts import Rollouts, rollout
from lib.models.gpt import GPT
from lib.module import in_mode
from lib.shapes import require_sizes
from lib.text.tokenizer import CharTokenizer, WordTokenizer
from lib.train import Training
from lib.train.guards import progress_bar
from lib.train.settings import TrainConfig

__all__ = [
    "GRPOConfig",
    "advantages",
    "log_probabilities",
    "kl_estimate",
    "policy_loss",
    "Report",
    "GRPO",
]

METHODS = ("reinforce", "rloo", "grpo", "dr_grpo")
AVERAGES = ("tokens", "answers", "constant")
SMALLEST_SPREAD = 1e-4  # added to the standard deviation of a group


@dataclass(frozen=True)
class GRPOConfig:
    """How a model learns from rewards.

    Attributes:
        n_new: Tokens that an answer may have at most.
        stop: The character, or word, that ends an answer.
        group_size: Answers to each prompt.
        temperature: At which answers are drawn, and scored.
        method: How rewards become advantages: reinforce, rloo, grpo or dr_grpo.
        average: Of the loss: over all tokens; over those of each answer, then over the
            answers; or by a constant, which is n_new for each answer.
        clip: How far the ratio may move from 1 before it gets no gradient.
        kl_weight: Of the distance to the model as it was at the start.
        n_updates: Made with each batch of answers.

    Raises:
        ValueError: for a size below 1, a group of 1 where answers are compared, a
            temperature, clip or weight out of its range, or an unknown name.

    Home lesson: 25_reinforcement_learning
    """

    n_new: int
    stop: str = "."
    group_size: int = 8
    temperature: float = 1.0
    method: str = "grpo"
    average: str = "tokens"
    clip: float = 0.2
    kl_weight: float = 0.0
    n_updates: int = 1

    def __post_init__(self) -> None:
        sizes = {"n_new": self.n_new, "n_updates": self.n_updates}
        require_sizes(**sizes, group_size=self.group_size)
        for name, allowed in (("method", METHODS), ("average", AVERAGES)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} must be one of "
                    f"{', '.join(allowed)}"
                )
        if self.method != "reinforce" and self.group_size < 2:
            raise ValueError(f"group_size=1 must be 2 or more for {self.method}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(
                f"temperature={self.temperature} must be above 0 and finite"
            )
        if not 0 < self.clip:
            raise ValueError(f"clip={self.clip} must be above 0")
        if not 0 <= self.kl_weight < math.inf:
            raise ValueError(f"kl_weight={self.kl_weight} must be 0 or more and finite")


def advantages(rewards: Tensor, method: str = "grpo") -> Tensor:
    r"""Return by how much each answer is better than others to the same prompt.

    Args:
        rewards: ``(P, G)``, of G answers to each of P prompts.
        method: ``reinforce`` for the rewards themselves; ``rloo`` less the mean of the
            other answers; ``dr_grpo`` less the mean of all; ``grpo`` that, divided by
            the group's standard deviation (of samples, with G - 1).

    Returns:
        Advantages ``(P, G)`` in float32 or better. But for ``reinforce`` each row sums
        to 0, and a row whose rewards are all the same is exactly 0.

    Raises:
        ValueError: for an unknown method, rewards of another shape, or a group of 1
            where answers are compared.

    Source: Williams (1992); Ahmadian et al. (2024); Shao et al. (2024), section 4.1.2;
    Liu et al. (2025), section 3.2.

    Home lesson: 25_reinforcement_learning
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(METHODS)}")
    least = 1 if method == "reinforce" else 2
    if rewards.dim() != 2 or rewards.size(1) < least:
        raise ValueError(
            f"rewards has shape {tuple(rewards.shape)}; for {method} it must be "
            f"(P, G) with G of {least} or more"
        )
    rewards = at_least_float32(rewards)
    if method == "reinforce":
        return rewards
    apart = rewards - rewards[:, :1]  # so that equal ones are exactly 0
    apart = apart - apart.mean(dim=1, keepdim=True)
    if method == "rloo":
        return apart * (rewards.size(1) / (rewards.size(1) - 1))
    if method == "dr_grpo":
        return apart
    return apart / (apart.std(dim=1, keepdim=True) + SMALLEST_SPREAD)


def log_probabilities(model: nn.Module, rollouts: Rollouts) -> Tensor:
    """Return how likely a model is to write what was written, token by token.

    It is scored as it was drawn: at the temperature that the rollouts hold, in
    evaluation mode, without dropout.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``; afterwards it is in the mode
            that it was in. Gradients reach it.
        rollouts: B rows of T tokens.

    Returns:
        Logarithms in float32 or better, ``(B, T - 1)``: of each token but the first of
        a row, and 0 for those that the model did not write.

    Raises:
        ValueError: for rollouts drawn at temperature 0, which have no probabilities.

    Home lesson: 25_reinforcement_learning
    """
    if not rollouts.temperature > 0:
        raise ValueError(f"temperature={rollouts.temperature} must be above 0")
    with in_mode(model, training=False):
        logits = at_least_float32(model(rollouts.ids[:, :-1])) / rollouts.temperature
    places = rollouts.ids[:, 1:].unsqueeze(-1)  # (B, T - 1, 1)
    found = logits.log_softmax(dim=-1).gather(-1, places).squeeze(-1)
    return found.masked_fill(~rollouts.written[:, 1:], 0.0)


def kl_estimate(new: Tensor, reference: Tensor) -> Tensor:
    r"""Estimate how far a model is from a reference, at each token that it wrote.

    :math:`e^d - 1 - d` with d = reference - new: on average over what the model writes
    the divergence KL(model || reference), never below 0, with its digits down to a d of
    about 1e-6.

    Args:
        new: log-probabilities of the tokens, of the model that wrote them.
        reference: those of the other one, same shape.

    Returns:
        Nats, same shape.

    Source: Schulman (2020), estimator k3; Shao et al. (2024), equation (4).

    Home lesson: 25_reinforcement_learning
    """
    apart = at_least_float32(reference) - at_least_float32(new)
    return torch.expm1(apart) - apart


def policy_loss(
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    written: Tensor,
    average: str = "tokens",
    length: int | None = None,
    clip: float = 0.2,
) -> Tensor:
    r"""Return a loss that makes answers of positive advantage more likely.

    At each token :math:`-\min(\rho A, \mathrm{clip}(\rho, 1 - c, 1 + c) A)` with the
    ratio :math:`\rho = e^{new - old}`.

    Args:
        new: log-probabilities ``(B, T)``, with their gradient.
        old: those of the model that wrote the answers, without.
        advantages: ``(B,)``, one for each answer.
        written: bool ``(B, T)``; True at the tokens of the answers.
        average: ``tokens``, ``answers`` or ``constant``, see `GRPOConfig`.
        length: the constant.
        clip: c, above 0.

    Returns:
        A scalar in float32 or better; 0 if nothing was written.

    Raises:
        ValueError: if the shapes do not fit, an average is unknown, or ``constant`` has
            no length.

    Source: Schulman et al. (2017), equation (7); Shao et al. (2024), equation (3);
    Liu et al. (2025), section 3.2.

    Home lesson: 25_reinforcement_learning
    """
    if not new.shape == old.shape == written.shape or len(new) != advantages.numel():
        raise ValueError(
            f"new {tuple(new.shape)}, old {tuple(old.shape)} and written "
            f"{tuple(written.shape)} must be (B, T), and advantages "
            f"{tuple(advantages.shape)} (B,)"
        )
    apart = at_least_float32(new) - at_least_float32(old)
    ratio = apart.masked_fill(~written, 0.0).exp()  # filling may be anything
    a = advantages.view(-1, 1)  # the same at all tokens of an answer
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
    return _mean(-gain, written, average, length)


class Report(NamedTuple):
    """What happened in one step.

    Attributes:
        answers: what was written, P times G texts.
        rewards: ``(P, G)``.
        length: mean number of tokens of an answer.
        entropy: nats per token; estimated, as the mean surprise of the model at its own
            tokens.

    Home lesson: 25_reinforcement_learning
    """

    answers: list[str]
    rewards: Tensor
    length: float
    entropy: float

    @property
    def dead(self) -> float:
        """The share of groups in which all rewards are the same."""
        return (self.rewards == self.rewards[:, :1]).all(dim=1).float().mean().item()


class GRPO:
    """A model that learns from rewards for what it writes.

    Args:
        model: changed in place.
        tokenizer: of prompts and answers.
        reward_of: called once for each answer, with its prompt.
        config: how rewards become a loss.
        recipe: how the optimiser goes on; its ``n_steps`` are updates.
        generator: draws the answers.

    Raises:
        ValueError: if the stop is not one token of the vocabulary.

    Source: Shao et al. (2024), section 4.1.

    Home lesson: 25_reinforcement_learning
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: CharTokenizer | WordTokenizer,
        reward_of: Callable[[str, str], float],
        config: GRPOConfig,
        recipe: TrainConfig,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model, self.tokenizer, self.reward_of = model, tokenizer, reward_of
        self.config, self.generator = config, generator
        stop = tokenizer.encode(config.stop)
        if len(stop) != 1:
            raise ValueError(f"stop={config.stop!r} must be one token, not {len(stop)}")
        self.stop_id, self.reference = stop[0], None
        if config.kl_weight:
            self.reference = copy.deepcopy(model).requires_grad_(False)

        def loss_of(model: nn.Module, *batch: Tensor) -> Tensor:
            return self._loss(model, *batch)

        if config.average == "tokens":
            loss_of = mean_over(lambda model, ids, written, *_: written)(loss_of)
        self.training = Training(model, recipe, loss_of)

    def step(self, prompts: Sequence[str]) -> Report:
        """Answer each prompt several times, and learn from the rewards.

        Raises:
            ValueError: for prompts that `rollout` refuses, or a reward that is no
                finite number.
        """
        c, n = self.config, self.config.group_size
        asked = [prompt for prompt in prompts for _ in range(n)]
        ids = [self.tokenizer.encode(prompt) for prompt in asked]
        rollouts = rollout(
            self.model, ids, c.n_new, self.stop_id, c.temperature, self.generator
        )
        answers = [self.tokenizer.decode(answer) for answer in rollouts.answers()]
        pairs = zip(asked, answers, strict=True)
        rewards = torch.tensor([self._reward(*pair) for pair in pairs]).view(-1, n)
        old = self.score(self.model, rollouts)
        batch = [*rollouts[:2], advantages(rewards, c.method).flatten().to(old), old]
        if self.reference is not None:
            batch.append(self.score(self.reference, rollouts))
        for _ in range(c.n_updates):
            self.training.step(tuple(batch))
        n_written = rollouts.written.sum().item()
        entropy = -old.sum().item() / n_written
        return Report(answers, rewards, n_written / len(asked), entropy)

    def _reward(self, prompt: str, answer: str) -> float:
        """Return what an answer is worth; refuse what is no finite number."""
        reward = self.reward_of(prompt, answer)
        if not isinstance(reward, int | float) or not math.isfinite(reward):
            pair = f"{prompt!r}, {answer!r}"
            raise ValueError(f"reward_of({pair}) is {reward!r}, not a finite number")
        return float(reward)

    def run(
        self, next_prompts: Callable[[], Sequence[str]], n_steps: int
    ) -> list[Report]:
        """Make steps with new prompts; return the `Report` of each.

        A progress bar is shown while it runs, unless ``COURSE_QUIET`` is set.
        """
        reports = []
        with progress_bar(0, n_steps) as advance:
            for _ in range(n_steps):
                reports.append(self.step(next_prompts()))
                advance(self.training.losses[-1], len(reports[-1].answers))
        return reports

    @torch.no_grad()
    def score(self, model: nn.Module, rollouts: Rollouts) -> Tensor:
        """Return log-probabilities, computed as the loss computes them."""
        kind = rollouts.ids.device.type
        dtype = choose_dtype(self.training.config.dtype, rollouts.ids.device)
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            return log_probabilities(model, rollouts)

    def _loss(
        self,
        model: nn.Module,
        ids: Tensor,
        written: Tensor,
        advantages: Tensor,
        old: Tensor,
        reference: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of some answers."""
        c = self.config
        new = log_probabilities(model, Rollouts(ids, written, c.temperature))
        how = written[:, 1:], c.average, c.n_new
        loss = policy_loss(new, old, advantages, *how, clip=c.clip)
        if reference is not None:
            loss = loss + c.kl_weight * _mean(kl_estimate(new, reference), *how)
        return loss


def _mean(
    losses: Tensor, written: Tensor, average: str, length: int | None
) -> Tensor:
    """Return one number for losses ``(B, T)``, of which only the written ones count."""
    losses = losses.masked_fill(~written, 0.0)
    if average == "tokens":
        return losses.sum() / written.sum().clamp(min=1)
    if average == "answers":
        return (losses.sum(dim=1) / written.sum(dim=1).clamp(min=1)).mean()
    if average != "constant":
        raise ValueError(f"average={average!r} must be one of {', '.join(AVERAGES)}")
    if length is None:
        raise ValueError("length=None must be a number where average='constant'")
    return losses.sum(dim=1).mean() / length
