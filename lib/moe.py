"""Mixture of experts: several feed-forward networks, of which each token uses a few."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.device import at_least_float32
from lib.module import Linear, Module
from lib.shapes import require_between, require_sizes, require_width

__all__ = ["balance_loss", "within_capacity", "MoE", "extra_losses"]


def balance_loss(probabilities: Tensor, chosen: Tensor) -> Tensor:
    r"""Return how unevenly tokens are spread over experts, :math:`E \sum_i f_i P_i`.

    :math:`f_i` is the share of all choices that fell on expert i, and :math:`P_i` its
    mean probability. 1 for a router that gives all experts the same probability,
    whatever it chooses; E where one expert has all.

    Args:
        probabilities: what the router gives to each expert, ``(N, E)``.
        chosen: the experts of each token, int64 ``(N, K)``, all of them: before any
            capacity.

    Returns:
        A scalar, computed in float32 or better. Gradients flow through
        :math:`P_i` only: a count has none.

    Raises:
        ValueError: if the shapes do not fit each other.

    Source: Fedus, Zoph and Shazeer (2022), section 2.2, equations (4) to (6). There one
    expert is chosen; with K of them each choice counts 1 / K.

    Home lesson: 21_mixture_of_experts
    """
    if probabilities.dim() != 2 or chosen.shape[:-1] != probabilities.shape[:-1]:
        raise ValueError(
            f"probabilities has shape {tuple(probabilities.shape)} and chosen "
            f"{tuple(chosen.shape)}; they must be (N, E) and (N, K)"
        )
    n_experts = probabilities.size(-1)
    counts = chosen.flatten().bincount(minlength=n_experts)  # (E,)
    mean = at_least_float32(probabilities).mean(dim=0)  # (E,)
    return n_experts * (counts.to(mean.dtype) / chosen.numel() * mean).sum()


def within_capacity(chosen: Tensor, n_experts: int, capacity: int) -> Tensor:
    """Return which choices find a place, if each expert takes so many tokens.

    First come, first served, token after token: whether a token finds a place depends
    on those before it only, and nothing leaks from the future.

    Args:
        chosen: the experts of each token, int64 ``(N, K)``.
        n_experts: number of experts E.
        capacity: number of tokens that each of them takes.

    Returns:
        Bool ``(N, K)``.

    Raises:
        ValueError: for a size below 1.

    Source: Fedus, Zoph and Shazeer (2022), section 2.2, equation (3).

    Home lesson: 21_mixture_of_experts
    """
    require_sizes(n_experts=n_experts, capacity=capacity)
    own = F.one_hot(chosen.flatten(), n_experts)  # (N K, E)
    places = (own.cumsum(dim=0) * own).sum(dim=1)  # 1 for the first of each expert
    return (places <= capacity).view(chosen.shape)


class MoE(Module):
    r"""A router, and experts of which each token uses a few:
    :math:`\sum_{i \in \mathrm{top} K} g_i(x)\, \mathrm{expert}_i(x)`.

    The gates :math:`g_i` are the router's probabilities, a softmax over *all* experts,
    so that the router learns from the loss even where K is 1.

    Args:
        d_model: size of the vectors D.
        experts: E networks that map ``(n, D)`` to ``(n, D)``.
        n_active: number of experts that each token uses, K.
        shared: a network that every token uses besides.
        renormalise: divide the gates of the K chosen experts by their sum, as Mixtral
            does: the same as a softmax over these alone.
        capacity_factor: in training an expert takes that many times its even share of
            the choices, rounded up; a token that finds no place gets zeros from it.
            None for no limit. Never in evaluation, where a token's output must not
            depend on which others are read with it.
        balance_weight: weight of the `balance_loss` in the loss of a training.
        bias_rate: balance without a loss: a bias on the probabilities, for the choice
            only, which moves by so much after each update of a training, unless the
            router is frozen.

    Attributes:
        chosen: the experts of the last call, ``(..., K)``; -1 where there was no place.

    Shapes:
        x ``(..., D)`` -> ``(..., D)``, of the dtype of x. The router computes in
        float32 or better, and so does the sum over the experts.

    Raises:
        TypeError: for a factor, weight or rate that is no number.
        ValueError: for no experts, an ``n_active`` that is not 1 .. E, a
            ``renormalise`` with one active expert, a factor, weight or rate outside its
            range, or if x has another last dimension.

    Source: Shazeer et al. (2017), section 2; Fedus, Zoph and Shazeer (2022), section
    2.1; shared experts: Dai et al. (2024), section 3.2; balance by a bias: Wang et al.
    (2024), section 3.

    Home lesson: 21_mixture_of_experts
    """

    def __init__(
        self,
        d_model: int,
        experts: Iterable[nn.Module],
        n_active: int = 1,
        *,
        shared: nn.Module | None = None,
        renormalise: bool = False,
        capacity_factor: float | None = None,
        balance_weight: float = 0.01,
        bias_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        n_experts = len(self.experts)
        options = {"capacity_factor": capacity_factor}
        options |= {"balance_weight": balance_weight, "bias_rate": bias_rate}
        self.require_options(n_experts, n_active, renormalise, **options)
        self.router = Linear(d_model, n_experts, bias=False)
        self.n_active, self.renormalise = n_active, renormalise
        self.capacity_factor, self.balance_weight = capacity_factor, balance_weight
        self.shared, self.bias_rate, self.bias = shared, bias_rate, None
        if bias_rate > 0:  # a parameter, so that it is kept with the weights
            zeros = torch.zeros(n_experts)
            self.bias = nn.Parameter(zeros, requires_grad=False)
        self.collected: list[Tensor] | None = None
        self.chosen = self.load = None

    def forward(self, x: Tensor) -> Tensor:
        """Return what the experts of each token give, weighted by their gates."""
        require_width(x, self.router.in_features)
        rows = x.reshape(-1, x.size(-1))  # (N, D)
        probabilities, gates, chosen = self.route(rows)
        if self.training:
            self._note(probabilities, chosen)
            if self.capacity_factor is not None:
                even = chosen.numel() / len(self.experts)
                capacity = math.ceil(self.capacity_factor * even)
                fits = within_capacity(chosen, len(self.experts), capacity)
                chosen = chosen.masked_fill(~fits, -1)
        self.chosen = chosen.view(*x.shape[:-1], self.n_active)
        y = self._mix(rows, gates, chosen)
        if self.shared is not None:
            y = y + self.shared(rows)
        return y.to(x.dtype).view_as(x)

    def route(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities ``(N, E)``, and the gates and experts, ``(N, K)``."""
        weight = self.router.own("weight")
        with torch.autocast(rows.device.type, enabled=False):
            logits = F.linear(at_least_float32(rows), at_least_float32(weight))
        probabilities = logits.softmax(dim=-1)
        scores = probabilities if self.bias is None else probabilities + self.bias
        chosen = scores.topk(self.n_active, dim=-1).indices
        gates = probabilities.gather(-1, chosen)
        if self.renormalise:
            gates = logits.gather(-1, chosen).softmax(dim=-1)
        return probabilities, gates, chosen

    def rebalance(self, total: Callable[[Tensor], Tensor] = lambda load: load) -> None:
        """Move the bias of each expert against its load since the last time.

        Args:
            total: adds up the load over all processes that train together.
        """
        if self.bias is not None and self.load is not None:
            load = total(self.load)  # (E,), exact: these are counts
            self.bias.data += self.bias_rate * (load.sum() - len(load) * load).sign()
            self.load = None

    def _mix(self, rows: Tensor, gates: Tensor, chosen: Tensor) -> Tensor:
        """Return the sum over the chosen experts ``(N, D)``, expert by expert."""
        y = torch.zeros_like(rows, dtype=gates.dtype)
        for number, expert in enumerate(self.experts):
            tokens, slots = (chosen == number).nonzero(as_tuple=True)
            # Where gradients are wanted, an expert without tokens gets zeros as its
            # gradient, not none: processes that train together count on all of them.
            if len(tokens) or torch.is_grad_enabled():
                given = expert(rows.index_select(0, tokens))
                y.index_add_(0, tokens, gates[tokens, slots].unsqueeze(-1) * given)
        return y

    def _note(self, probabilities: Tensor, chosen: Tensor) -> None:
        """Keep the balance loss where it is collected, and the load for the bias."""
        if self.balance_weight > 0:
            loss = self.balance_weight * balance_loss(probabilities, chosen)
            # Made in any case: a pass that is computed again must do the same.
            if self.collected is not None:
                self.collected.append(loss)
        if self.bias is not None:
            load = chosen.flatten().bincount(minlength=len(self.experts))
            self.load = load if self.load is None else self.load + load

    @staticmethod
    def require_options(
        n_experts: int, n_active: int, renormalise: bool, **numbers: float | None
    ) -> None:
        """Refuse options that make no sense, by name."""
        require_sizes(n_experts=n_experts)
        require_between(1, n_experts, n_active=n_active)
        if renormalise and n_active == 1:
            raise ValueError(
                "renormalise=True needs n_active=2 or more: a single gate would always "
                "be 1, and the router would learn nothing from the loss"
            )
        for name, number in numbers.items():
            if type(number) not in (int, float, type(None)):
                raise TypeError(f"{name}={number!r} must be a number")
        factor = numbers.pop("capacity_factor")
        if factor is not None and not 0 < factor < math.inf:
            raise ValueError(
                f"capacity_factor={factor} must be above 0 and finite, or None"
            )
        for name, number in numbers.items():
            if not 0 <= number < math.inf:
                raise ValueError(f"{name}={number} must be 0 or more and finite")


@contextmanager
def extra_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what the experts of a model add to its loss, in each pass through it.

    Inside of the context each `MoE` in training mode appends its weighted balance loss
    to the list. A `Training` adds them to the loss of each part of a batch, with the
    part's weight; outside, as in `fit`, nothing is kept. The list of a model without
    experts stays empty.

    Home lesson: 21_mixture_of_experts
    """
    collected: list[Tensor] = []
    parts = [part for part in model.modules() if isinstance(part, MoE)]
    for part in parts:
        part.collected = collected
    try:
        yield collected
    finally:
        for part in parts:
            part.collected = None
