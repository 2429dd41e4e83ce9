"""Optimisers: AdamW for tables, heads and vectors, Muon for the matrices of blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lib.device import has_bfloat16

if TYPE_CHECKING:
    from lib.train import TrainConfig

__all__ = ["orthogonalize", "Muon", "make_optimizers"]

# Five rounds that take every singular value from [0.001, 1] close to 1.
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


def orthogonalize(matrices: Tensor, rounds: int = 5) -> Tensor:
    r"""Push all singular values of each matrix close to 1, by products alone.

    Each round is :math:`X \leftarrow aX + (bA + cA^2)X` with :math:`A = XX^\top`, which
    maps every singular value s to :math:`as + bs^3 + cs^5`.

    Args:
        matrices: ``(n, R, C)``, treated one by one.
        rounds: how many, 1 to 5. Values between 0.001 and 1 of the largest possible
            come to 0.13 .. 1.87 after 3 rounds, and to 0.87 .. 1.13 after 5.

    Returns:
        Matrices of the same shape; in bfloat16 where the processor computes with it.

    Raises:
        ValueError: if ``rounds`` is not in 1 .. 5.

    Source: Jordan et al. (2024); coefficients: Amsel et al. (2025), Polar Express.

    Home lesson: 09_training
    """
    if not 1 <= rounds <= len(POLAR_EXPRESS):
        raise ValueError(f"rounds={rounds} must be in 1 .. {len(POLAR_EXPRESS)}")
    x = matrices.mT if matrices.size(-2) > matrices.size(-1) else matrices
    x = x / (1.01 * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # all values below 1
    x = x.to(torch.bfloat16 if has_bfloat16(x.device) else torch.float32)
    for a, b, c in POLAR_EXPRESS[:rounds]:
        gram = x @ x.mT
        x = torch.baddbmm(
            x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a
        )
    return x.mT if matrices.size(-2) > matrices.size(-1) else x


class Muon(torch.optim.Muon):
    """PyTorch's Muon, with matrices of one shape done together and in a fast dtype.

    PyTorch's own step multiplies in bfloat16, matrix by matrix. A processor without
    bfloat16 arithmetic takes twenty times as long for that as in float32.

    Of the arguments of ``torch.optim.Muon`` it uses ``params``, ``lr``,
    ``weight_decay``, ``momentum`` (always Nesterov's), and ``ns_steps``, the rounds of
    `orthogonalize`.

    Source: Jordan et al. (2024), Muon.

    Home lesson: 09_training
    """

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Tensor | None:
        """Update every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            same_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    same_shape[p.shape].append(p)
            for params in same_shape.values():
                self._update(group, params)
        return loss

    def _update(self, group: dict, params: list[nn.Parameter]) -> None:
        """Move matrices of one shape along their orthogonalised momentum."""
        rows, columns = params[0].shape
        buffers = []
        for p in params:
            zeros = torch.zeros_like(p)
            buffers.append(self.state[p].setdefault("momentum_buffer", zeros))
        gradients = [p.grad for p in params]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        updates = orthogonalize(torch.stack(ahead), group["ns_steps"])
        rate = group["lr"] * max(1, rows / columns) ** 0.5
        for p, update in zip(params, updates.to(params[0].dtype)):
            p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)


def make_optimizers(
    model: nn.Module, config: TrainConfig
) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a model: AdamW alone, or Muon with AdamW.

    Only matrices decay: a decay would pull gains and biases to 0 for no reason. Muon
    gets the weights of all linear layers but the head; AdamW gets the rest.

    Args:
        model: any model; its head is called ``head``.
        config: names the optimizer and holds the rates.

    Returns:
        Optimisers whose groups hold ``initial_lr``, the rate before any schedule.

    Source: Loshchilov and Hutter (2019); Jordan et al. (2024).

    Home lesson: 09_training
    """
    c = config
    matrices = _inner_matrices(model) if c.optimizer == "muon" else []
    groups = _adamw_groups(model, c, matrices)
    rates = {"lr": c.learning_rate, "weight_decay": c.weight_decay}
    optimizers = [torch.optim.AdamW(groups, betas=c.betas, fused=True, **rates)]
    if matrices:
        rates |= {"lr": c.muon_learning_rate, "momentum": c.momentum}
        optimizers.append(Muon(matrices, ns_steps=c.rounds, **rates))
    for group in chain(*(optimizer.param_groups for optimizer in optimizers)):
        group["initial_lr"] = group["lr"]
    return optimizers


def _inner_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of all linear layers but the head."""
    inner = [m for name, m in model.named_modules() if name != "head"]
    return [m.weight for m in inner if isinstance(m, nn.Linear)]


def _adamw_groups(
    model: nn.Module, c: TrainConfig, matrices: list[nn.Parameter]
) -> list[dict]:
    """Return tables, other matrices and vectors, without the matrices of Muon."""
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    taken = {id(p) for p in tables + matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    groups = [
        {"params": tables, "lr": c.embedding_learning_rate or c.learning_rate},
        {"params": [p for p in rest if p.dim() > 1], "lr": c.learning_rate},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
