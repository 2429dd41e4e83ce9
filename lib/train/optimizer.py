"""Optimisers: AdamW for tables, heads and vectors, Muon for the matrices of blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from lib.device import has_bfloat16
from lib.train.light import AdamW, Light
from lib.train.parallel import cut_like, whole
from lib.train.settings import TrainConfig

__all__ = [
    "orthogonalize",
    "Muon",
    "make_optimizers",
]

# Five rounds that take every singular value from [0.001, 1] close to 1.
EXACT_ROUNDS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)
# Rounding may carry a value past the range that the next round is made for, and there
# it would grow without end. So all rounds but the last take s / 1.01 in place of s.
POLAR_EXPRESS = (
    *((a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in EXACT_ROUNDS[:-1]),
    EXACT_ROUNDS[-1],
)


def orthogonalize(matrices: Tensor, rounds: int = 5) -> Tensor:
    r"""Push all singular values of each matrix close to 1, by products alone.

    Each round is :math:`X \leftarrow aX + (bA + cA^2)X` with :math:`A = XX^\top`, which
    maps every singular value s to :math:`as + bs^3 + cs^5`.

    Args:
        matrices: ``(n, R, C)``, treated one by one.
        rounds: how many, 1 to 5. Values between 0.001 and 1 of the largest possible
            come to 0.12 .. 1.87 after 3 rounds, and to 0.84 .. 1.13 after 5.

    Returns:
        Matrices of the same shape; in bfloat16 where the processor computes with it.

    Raises:
        ValueError: if ``rounds`` is not in 1 .. 5.

    Source: Jordan et al. (2024); coefficients: Amsel et al. (2025), Polar Express.

    Home lesson: 11_training
    """
    if not 1 <= rounds <= len(POLAR_EXPRESS):
        raise ValueError(f"rounds={rounds} must be in 1 .. {len(POLAR_EXPRESS)}")
    x = (matrices.mT if matrices.size(-2) > matrices.size(-1) else matrices).float()
    x = x / (1.01 * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # all values below 1
    x = x.to(torch.bfloat16 if has_bfloat16(x.device) else torch.float32)
    for a, b, c in POLAR_EXPRESS[:rounds]:
        gram = x @ x.mT
        x = torch.baddbmm(
            x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a
        )
    return x.mT if matrices.size(-2) > matrices.size(-1) else x


class Muon(Light, torch.optim.Muon):
    """PyTorch's Muon, with matrices of one shape done together and in a fast dtype.

    PyTorch's own step multiplies in bfloat16, matrix by matrix. A processor without
    bfloat16 arithmetic takes twenty times as long for that as in float32.

    Of the arguments of ``torch.optim.Muon`` it uses ``params``, ``lr``,
    ``weight_decay``, ``momentum`` (always Nesterov's), and ``ns_steps``, the rounds of
    `orthogonalize`.

    Source: Jordan et al. (2024), Muon.

    Home lesson: 11_training
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
        pairs = zip(gradients, buffers)
        ahead = [gradient.lerp(buffer, group["momentum"]) for gradient, buffer in pairs]
        matrices = torch.stack([whole(m) for m in ahead])  # FSDP cuts them
        updates = orthogonalize(matrices, group["ns_steps"])
        rate = group["lr"] * max(1, rows / columns) ** 0.5
        for p, update in zip(params, updates.to(params[0].dtype)):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.sub_(cut_like(update, p), alpha=rate)


def make_optimizers(
    model: nn.Module, config: TrainConfig
) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a model: AdamW alone, or Muon with AdamW.

    Only matrices decay: a decay would pull gains and biases to 0 for no reason. Muon
    gets the weights of all linear layers but output layers and what is an embedding,
    too; AdamW gets the rest. Each weight is in one of them, once.

    Args:
        model: any model, also inside of another one. An output layer is what any part
            of it calls ``head``, and the last linear layer of all.
        config: names the optimizer and holds the rates.

    Returns:
        Optimisers whose groups hold ``initial_lr``, the rate before any schedule.

    Source: Loshchilov and Hutter (2019); Jordan et al. (2024).

    Home lesson: 11_training
    """
    c = config
    matrices = _inner_matrices(model) if c.optimizer == "muon" else []
    groups = _adamw_groups(model, c, matrices)
    rates = {"lr": c.learning_rate, "weight_decay": c.weight_decay}
    optimizers = [AdamW(groups, betas=c.betas, fused=True, **rates)]
    if matrices:
        rates |= {"lr": c.muon_learning_rate, "momentum": c.momentum}
        optimizers.append(Muon(matrices, ns_steps=c.rounds, **rates))
    for group in chain(*(optimizer.param_groups for optimizer in optimizers)):
        group["initial_lr"] = group["lr"]
    return optimizers


def _inner_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of all linear layers but output layers, and no tables."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    heads = {id(getattr(m, "head", None)) for m in model.modules()}
    outputs = [m for m in linear if id(m) in heads] + linear[-1:]
    spared = {m.weight for m in outputs} | set(_tables(model))
    return [w for w in dict.fromkeys(m.weight for m in linear) if w not in spared]


def _tables(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of all embeddings, those that two share once."""
    tables = (m.weight for m in model.modules() if isinstance(m, nn.Embedding))
    return list(dict.fromkeys(tables))


def _adamw_groups(
    model: nn.Module, c: TrainConfig, matrices: list[nn.Parameter]
) -> list[dict]:
    """Return tables, other matrices and vectors, without the matrices of Muon."""
    tables = _tables(model)
    taken = set(tables + matrices)
    rest = [p for p in model.parameters() if p not in taken]
    groups = [
        {"params": tables, "lr": c.embedding_learning_rate or c.learning_rate},
        {"params": [p for p in rest if p.dim() > 1], "lr": c.learning_rate},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the state of optimisers as tensors by name."""
    return {
        f"optimizer.{number}.{place}.{name}": tensor
        for number, optimizer in enumerate(optimizers)
        for place, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }


def load_optimizers(
    optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]
) -> None:
    """Give optimisers the state that `optimizer_tensors` took from them."""
    for number, optimizer in enumerate(optimizers):
        prefix, state = f"optimizer.{number}.", defaultdict(dict)
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                place, key = name.removeprefix(prefix).split(".")
                state[int(place)][key] = tensor.clone()
        optimizer.load_state_dict(optimizer.state_dict() | {"state": dict(state)})
