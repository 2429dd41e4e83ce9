"""Direct preference optimisation: a model learns which of two answers is preferred."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.device import at_least_float32, choose_dtype
from lib.generate.rollouts import Rollouts
from lib.shapes import require_sizes
from lib.train import Training, train
from lib.train.settings import TrainConfig
from lib.tune.grpo import log_probabilities
from lib.tune.pairs import PairRows

__all__ = [
    "DPOConfig",
    "answer_log_probabilities",
    "margins",
    "dpo_loss",
    "ipo_loss",
    "reference_log_probabilities",
    "tune_on_pairs",
]


@dataclass(frozen=True)
class DPOConfig:
    """How preferences become a loss.

    Attributes:
        beta: Of the loss: how much a step away from the reference counts.
        loss: sigmoid for DPO, or ipo.
        average: Whether an answer is worth the mean of its tokens' log-probabilities,
            not their sum.
        smoothing: Share of the pairs that are taken to be the wrong way round; for
            sigmoid.

    Raises:
        ValueError: for a beta that is not above 0 and finite, an unknown loss, or a
            smoothing that is not in [0, 0.5), or not 0 with ipo.

    Home lesson: 30_preference_tuning
    """

    beta: float = 0.1
    loss: str = "sigmoid"
    average: bool = False
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        _require_beta(self.beta)
        if self.loss not in ("sigmoid", "ipo"):
            raise ValueError(f"loss={self.loss!r} must be sigmoid or ipo")
        _require_smoothing(self.smoothing)
        if self.smoothing and self.loss == "ipo":
            raise ValueError(f"smoothing={self.smoothing} must be 0 with loss='ipo'")


def answer_log_probabilities(
    model: nn.Module, ids: Tensor, written: Tensor, average: bool = False
) -> Tensor:
    """Return how likely a model is to write each answer: the sum over its tokens.

    Prompt and filling count nothing. The model reads in evaluation mode, without
    dropout; gradients reach it.

    Args:
        model: maps ids ``(N, T)`` to logits ``(N, T, V)``; afterwards it is in the mode
            that it was in.
        ids: prompts with their answers, ``(..., T)``.
        written: bool ``(..., T)``; True at the tokens of the answers.
        average: whether to return the mean over the tokens of each answer.

    Returns:
        Logarithms in nats, ``(...)``, in float32 or better.

    Raises:
        ValueError: if the shapes differ, the first token of a row belongs to its
            answer, or a row has no answer.
        TypeError: if ``written`` is not bool.

    Home lesson: 30_preference_tuning
    """
    if written.dtype != torch.bool:
        raise TypeError(f"written has dtype {written.dtype}; it must be torch.bool")
    if ids.shape != written.shape:
        raise ValueError(
            f"written has shape {tuple(written.shape)}; it must be that of ids, "
            f"{tuple(ids.shape)}"
        )
    own = written[..., 1:]
    if written[..., 0].any() or not own.any(dim=-1).all():
        raise ValueError("written must mark an answer in each row, after its prompt")
    rows = Rollouts(ids.flatten(0, -2), written.flatten(0, -2))
    total = log_probabilities(model, rows).sum(dim=-1).view(own.shape[:-1])
    return total / own.sum(dim=-1) if average else total


def margins(policy: Tensor, reference: Tensor) -> Tensor:
    """Return by how much the model prefers the chosen answers more than the reference.

    Args:
        policy: log-probabilities of the model ``(..., 2)``, chosen answer first.
        reference: those of the reference, same shape.

    Returns:
        Nats, ``(...)``, in float32 or better; 0 where both models are the same.

    Raises:
        ValueError: if the shapes differ, or the last dimension is not 2.

    Home lesson: 30_preference_tuning
    """
    if policy.shape != reference.shape or policy.shape[-1:] != (2,):
        raise ValueError(
            f"policy {tuple(policy.shape)} and reference {tuple(reference.shape)} "
            "must have one shape (N, 2)"
        )
    moved = at_least_float32(policy) - at_least_float32(reference)
    return moved[..., 0] - moved[..., 1]


def dpo_loss(
    policy: Tensor, reference: Tensor, beta: float = 0.1, smoothing: float = 0.0
) -> Tensor:
    r"""Return the mean of :math:`-\ln \sigma(\beta m)` over the margins m.

    Args:
        policy: log-probabilities of the model ``(..., 2)``, chosen answer first.
        reference: those of the reference, same shape.
        beta: above 0.
        smoothing: the share of pairs that are taken to be the wrong way round: the loss
            of a pair is the mean of both ways, with this weight for the other one.

    Returns:
        Nats, a scalar; ln 2 where both models are the same.

    Raises:
        ValueError: as in `margins`, or for a beta or smoothing out of its range.

    Source: Rafailov et al. (2023), equation (7).

    Home lesson: 30_preference_tuning
    """
    _require_beta(beta)
    _require_smoothing(smoothing)
    m = beta * margins(policy, reference)
    wrong_way = smoothing * F.logsigmoid(-m) if smoothing else 0.0
    return -((1 - smoothing) * F.logsigmoid(m) + wrong_way).mean()


def ipo_loss(policy: Tensor, reference: Tensor, beta: float = 0.1) -> Tensor:
    r"""Return the mean of :math:`(m - 1 / (2\beta))^2` over the margins m.

    A margin that is large enough is left alone; one that is larger is pulled back.

    Args:
        policy: log-probabilities of the model ``(..., 2)``, chosen answer first.
        reference: those of the reference, same shape.
        beta: above 0; the paper's tau.

    Returns:
        A scalar in squared nats.

    Raises:
        ValueError: as in `margins`, or for a beta that is not above 0 and finite.

    Source: Azar et al. (2023), equation (17).

    Home lesson: 30_preference_tuning
    """
    _require_beta(beta)
    return (margins(policy, reference) - 1 / (2 * beta)).square().mean()


@torch.no_grad()
def reference_log_probabilities(
    model: nn.Module,
    rows: PairRows,
    average: bool = False,
    dtype: str = "float32",
    batch_size: int = 64,
) -> Tensor:
    """Return what a model that stays as it is gives to all answers, without gradients.

    Args:
        model: the reference: the model before it is tuned.
        rows: N pairs.
        average: see `answer_log_probabilities`.
        dtype: of matrix products, as in the training: see `TrainConfig`.
        batch_size: pairs that are read at once.

    Returns:
        Log-probabilities ``(N, 2)``.

    Raises:
        ValueError: as in `answer_log_probabilities`, or for a size below 1.

    Home lesson: 30_preference_tuning
    """
    require_sizes(batch_size=batch_size)
    device = next(model.parameters()).device
    kind, number_format = device.type, choose_dtype(dtype, device)
    half = torch.autocast(kind, number_format, enabled=number_format != torch.float32)
    found = []
    for batch in zip(*(part.split(batch_size) for part in rows)):
        with half:
            batch = (part.to(device) for part in batch)
            found.append(answer_log_probabilities(model, *batch, average))
    return torch.cat(found)


def tune_on_pairs(
    model: nn.Module,
    rows: PairRows,
    config: DPOConfig,
    recipe: TrainConfig,
    batch_size: int = 32,
    generator: torch.Generator | None = None,
    every: int = 0,
    evaluate: Callable[[], float] | None = None,
) -> Training:
    """Tune a model on pairs; what it is at the start is the reference.

    Args:
        model: changed in place.
        rows: N pairs.
        config: how preferences become a loss.
        recipe: how the optimiser goes on.
        batch_size: pairs for each step, drawn at random.
        generator: source of the random draws.
        every: evaluate after so many steps, and after the last one.
        evaluate: returns a number, see `train`.

    Returns:
        The finished training, with the loss of each step in ``losses``.

    Raises:
        ValueError: for a size below 1, or rows that `answer_log_probabilities` refuses.

    Source: Rafailov et al. (2023), section 4.

    Home lesson: 30_preference_tuning
    """
    require_sizes(batch_size=batch_size)
    device = next(model.parameters()).device
    options = config.average, recipe.dtype, batch_size
    table = (*rows, reference_log_probabilities(model, rows, *options))
    table = tuple(part.to(device) for part in table)

    def next_batch() -> tuple[Tensor, ...]:
        places = torch.randint(len(rows.ids), (batch_size,), generator=generator)
        return tuple(part[places.to(device)] for part in table)

    def loss_of(
        model: nn.Module, ids: Tensor, written: Tensor, reference: Tensor
    ) -> Tensor:
        policy = answer_log_probabilities(model, ids, written, config.average)
        if config.loss == "ipo":
            return ipo_loss(policy, reference, config.beta)
        return dpo_loss(policy, reference, config.beta, config.smoothing)

    training = Training(model, recipe, loss_of)
    train(training, next_batch, every, evaluate)
    return training


def _require_beta(beta: float) -> None:
    if not 0 < beta < math.inf:
        raise ValueError(f"beta={beta} must be above 0 and finite")


def _require_smoothing(smoothing: float) -> None:
    if not 0 <= smoothing < 0.5:
        raise ValueError(f"smoothing={smoothing} must be in [0, 0.5)")
