"""A reward model: one number for an answer, learnt from pairs of answers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.device import at_least_float32, windows_that_fit
from lib.models.gpt import GPT
from lib.module import Linear, in_mode
from lib.train import Training, train
from lib.train.settings import TrainConfig
from lib.tune.pairs import PairRows

__all__ = ["RewardModel", "bradley_terry_loss", "fit_reward_model"]


class RewardModel(nn.Module):
    """A GPT with a head that gives one number for an answer.

    Args:
        base: a trained model; its copy is used, frozen and without its head.
        average: whether the head reads the mean of the vectors at the tokens of the
            answer; else the vector at its last token, which has seen all others.

    Shapes:
        ids and written ``(..., T)``, see `PairRows` -> rewards ``(...)``, float32.

    Source: Ouyang et al. (2022), section 3.5; Stiennon et al. (2020), section 3.4.

    Home lesson: 30_preference_tuning
    """

    def __init__(self, base: GPT, average: bool = False) -> None:
        super().__init__()
        self.average = average
        self.base = copy.deepcopy(base).requires_grad_(False)
        self.base.head = nn.Identity()
        self.head = Linear(base.config.d_model, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def vectors(self, ids: Tensor, written: Tensor) -> Tensor:
        """Return what the head reads of each row, ``(..., D)``, in evaluation mode.

        Raises:
            ValueError: if the shapes differ, or a row has no token that was written.
        """
        if ids.shape != written.shape or not written.any(dim=-1).all():
            raise ValueError(
                f"ids {tuple(ids.shape)} and written {tuple(written.shape)} must have "
                "one shape, with a token of an answer in each row"
            )
        if not self.average:
            places = torch.arange(ids.size(-1), device=ids.device)
            last = (places * written).amax(dim=-1, keepdim=True)  # (..., 1)
            written = places == last
        with torch.no_grad(), in_mode(self.base, training=False):
            some = ids.flatten(0, -2).split(windows_that_fit(self.base, ids.size(-1)))
            x = at_least_float32(torch.cat([*map(self.base, some)]))  # (N, T, D)
        x = x.view(*ids.shape, -1) * written.unsqueeze(-1)
        return x.sum(dim=-2) / written.sum(dim=-1, keepdim=True)

    def forward(self, ids: Tensor, written: Tensor) -> Tensor:
        """Return the reward of each row."""
        return self.head(self.vectors(ids, written)).squeeze(-1)


def bradley_terry_loss(rewards: Tensor) -> Tensor:
    r"""Return the mean surprise that the chosen answers were chosen.

    With rewards r and s of two answers the first one is chosen with the probability
    :math:`\sigma(r - s)`.

    Args:
        rewards: ``(..., 2)``, of the chosen answer first, then of the rejected one.

    Returns:
        Nats, a scalar, in float32 or better.

    Raises:
        ValueError: if the last dimension is not 2.

    Source: Bradley and Terry (1952), section 2; Ouyang et al. (2022), equation (1).

    Home lesson: 30_preference_tuning
    """
    if rewards.dim() == 0 or rewards.size(-1) != 2:
        raise ValueError(f"rewards has shape {tuple(rewards.shape)}; it must be (N, 2)")
    chosen, rejected = at_least_float32(rewards).unbind(dim=-1)
    return -F.logsigmoid(chosen - rejected).mean()


def fit_reward_model(
    model: RewardModel, rows: PairRows, recipe: TrainConfig
) -> list[float]:
    """Train the head of a reward model on all pairs at each step.

    The base is frozen, so the vectors that the head reads are computed once.

    Args:
        model: changed in place.
        rows: N pairs.
        recipe: how the head is trained.

    Returns:
        The loss of each step, in nats.

    Home lesson: 30_preference_tuning
    """
    vectors = model.vectors(*rows)  # (N, 2, D)

    def loss_of(head: nn.Module, vectors: Tensor) -> Tensor:
        return bradley_terry_loss(head(vectors).squeeze(-1))

    return train(Training(model.head, recipe, loss_of), lambda: (vectors,))
