"""What a model costs before it is trained, and how good a larger one will be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lib.models.gpt import GPT, GPTConfig
from lib.module import sizes_only
from lib.shapes import require_sizes

__all__ = [
    "flops_per_token",
    "training_bytes",
    "kept_bytes",
    "ScalingLaw",
    "fit_scaling_law",
    "predicted_interval",
]

STATES = {"sgd": 0, "muon": 1, "adamw": 2}  # numbers that are kept for each weight


def flops_per_token(config: GPTConfig, length: int | None = None) -> int:
    r"""Return the operations that training on one token takes, :math:`6N + 12nTD`.

    N are the weights that take part in a matrix product: all but tables and vectors.
    Each is multiplied and added once forward, and twice backward. The other summand is
    attention, whose two products of width :math:`D = H D_h` go over all T positions in
    each of n blocks, as if without a mask.

    Args:
        config: of a `GPT`.
        length: tokens per row T; None for ``context_length``.

    Returns:
        Floating-point operations, forward and backward, the update left out.

    Raises:
        ValueError: for a length that is not in 1 .. ``context_length``, or a
            ``kv_rank``.

    Source: Kaplan et al. (2020), section 2.1; with attention: Chowdhery et al. (2022),
    appendix B.

    Home lesson: 22_scaling
    """
    c = config
    length = c.context_length if length is None else length
    if not 1 <= length <= c.context_length:
        raise ValueError(f"length={length} must be in 1 .. {c.context_length}")
    if c.kv_rank is not None:
        raise ValueError(f"kv_rank={c.kv_rank} must be None: latents are not counted")
    d_head = c.d_head or c.d_model // c.n_heads
    n_kv_heads = c.n_kv_heads or c.n_heads
    attention = 2 * c.d_model * d_head * (c.n_heads + n_kv_heads)
    feed_forward = {"swiglu": 3, "none": 0}.get(c.ffn, 2) * c.d_model * c.d_ff
    if c.n_experts is not None:  # those that one token uses, and the router
        feed_forward *= c.n_active + c.shared_expert
        feed_forward += c.d_model * c.n_experts
    weights = c.n_layers * (attention + feed_forward) + c.d_model * c.vocab_size
    return 6 * weights + 12 * c.n_layers * length * c.n_heads * d_head


def training_bytes(
    config: GPTConfig,
    batch_size: int,
    optimizer: str = "adamw",
    recompute: bool = False,
) -> dict[str, int]:
    r"""Return what is in memory at the end of a forward pass in float32.

    For each token a block keeps :math:`8D + 2F` numbers (the inputs of its two norms,
    of its six products, of attention and of GELU), the head :math:`2D + 2V`.

    Args:
        config: of a `GPT` with the default parts, in any sizes.
        batch_size: rows of ``context_length`` tokens.
        optimizer: ``"adamw"``, ``"muon"`` for all weights, or ``"sgd"`` without
            momentum.
        recompute: whether each block keeps only its input; see `recompute_blocks`.

    Returns:
        Bytes of the weights, their gradients, the optimiser's state, and activations.

    Raises:
        ValueError: for a batch below 1, an unknown optimiser, or a model with parts
            that keep other numbers.

    Source: Korthikanti et al. (2022), section 4.1, for half precision and dropout.

    Home lesson: 22_scaling
    """
    require_sizes(batch_size=batch_size)
    if optimizer not in STATES:
        raise ValueError(f"optimizer={optimizer!r} must be in {[*STATES]}")
    c = config
    _require_plain(c)
    with sizes_only():
        n = sum(p.numel() for p in GPT(c).parameters())
    block = c.d_model if recompute else 8 * c.d_model + 2 * c.d_ff
    kept = c.n_layers * block + 2 * c.d_model + 2 * c.vocab_size
    return {
        "weights": 4 * n,
        "gradients": 4 * n,
        "optimizer": 4 * n * STATES[optimizer],
        "activations": 4 * kept * batch_size * c.context_length,
    }


def _require_plain(c: GPTConfig) -> None:
    """Refuse a model whose activations the formula does not count."""
    plain = {
        "norm": "layer",
        "position": "learned",
        "n_kv_heads": (None, c.n_heads),
        "d_head": (None, c.d_model // c.n_heads),
        "qk_norm": False,
        "dropout": 0.0,
        "final_norm": True,
        "ffn": ("gelu", "gelu_tanh"),
        "window": None,
        "kv_rank": None,
        "n_experts": None,
        "smear": False,
        "bigrams": False,
    }
    for name, allowed in plain.items():
        allowed = allowed if isinstance(allowed, tuple) else (allowed,)
        if getattr(c, name) not in allowed:
            raise ValueError(
                f"{name}={getattr(c, name)!r} must be in {[*allowed]}: the formula is "
                "that of a GPT with the default parts"
            )


def kept_bytes(model: nn.Module, compute: Callable[[], Tensor]) -> int:
    """Return the bytes of what operations keep for the backward pass.

    Args:
        model: whose weights and buffers do not count: they are there anyway.
        compute: computes a loss of the model on a batch, with its graph.

    Returns:
        Bytes of tensors; what several operations keep counts once.

    Home lesson: 22_scaling
    """
    own = (*model.parameters(), *model.buffers())
    known = {t.untyped_storage().data_ptr() for t in own}
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        loss = compute()
    total = sum(kept.values())
    del loss  # until here it has kept all of them alive
    return total


@dataclass(frozen=True)
class ScalingLaw:
    r"""How the loss falls with size: :math:`L(N) = E + A N^{-a}`.

    Attributes:
        floor: the loss E that no size comes below, in nats.
        scale: the number A.
        exponent: the number a.

    Source: Hoffmann et al. (2022), equation (2), without its term for the data.

    Home lesson: 22_scaling
    """

    floor: float
    scale: float
    exponent: float

    def predict(self, size: float) -> float:
        """Return the loss of a model of some size, in nats."""
        return self.floor + self.scale * size**-self.exponent


def fit_scaling_law(
    sizes: list[float], losses: list[float], n_floors: int = 400
) -> ScalingLaw:
    r"""Return the law that comes nearest to losses at several sizes.

    With a floor E given, :math:`\ln(L - E) = \ln A - a \ln N` is a straight line, which
    least squares finds. So many floors are tried, from 0 to the smallest loss; the law
    with the smallest squared error of the losses wins.

    Args:
        sizes: numbers of weights N; a size may come several times.
        losses: one for each, in nats.
        n_floors: how many floors are tried.

    Raises:
        ValueError: for less than three different sizes, lists that do not fit, sizes or
            losses that are not above 0, or less than two floors.

    Source: Hestness et al. (2017), section 3; Hoffmann et al. (2022), section 3.3.

    Home lesson: 22_scaling
    """
    if len(sizes) != len(losses):
        raise ValueError(f"{len(sizes)} sizes do not fit {len(losses)} losses")
    if len({*sizes}) < 3:
        raise ValueError(f"sizes={sizes} must be three or more different ones")
    if not all(0 < number < math.inf for number in (*sizes, *losses)):
        raise ValueError("sizes and losses must be above 0 and finite")
    if n_floors < 2:
        raise ValueError(f"n_floors={n_floors} must be at least 2")
    x = torch.tensor(sizes, dtype=torch.float64).log()
    y = torch.tensor(losses, dtype=torch.float64)
    floors = torch.linspace(0, 0.999 * min(losses), n_floors, dtype=torch.float64)
    heights = (y - floors.unsqueeze(1)).log()  # ln(L - E): (floors, sizes)
    spread = x - x.mean()
    slopes = (heights * spread).sum(dim=1) / spread.square().sum()
    starts = heights.mean(dim=1) - slopes * x.mean()
    fitted = floors.unsqueeze(1) + (starts.unsqueeze(1) + slopes.outer(x)).exp()
    best = (fitted - y).square().sum(dim=1).argmin()
    values = floors[best], starts[best].exp(), -slopes[best]
    return ScalingLaw(*(value.item() for value in values))


def predicted_interval(
    sizes: list[float], losses: list[list[float]], size: float, n: int = 400
) -> tuple[float, float]:
    """Return between which losses a law's prediction lies in 95 of 100 draws.

    Each draw takes as many runs of each size as there are, with replacement, and fits a
    law to their means (the *bootstrap*). It knows how much the seeds vary; it does not
    know whether the formula goes on to hold.

    Args:
        sizes: numbers of weights.
        losses: of the runs of each size, two or more, in nats.
        size: whose loss is predicted.
        n: how many draws.

    Raises:
        ValueError: for a size with less than two runs, less than one draw, or what
            `fit_scaling_law` refuses.

    Source: Efron (1979).

    Home lesson: 22_scaling
    """
    require_sizes(n=n)
    if min(len(runs) for runs in losses) < 2:
        raise ValueError("losses must hold two runs of each size, or more")
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(n):
        means = []
        for runs in losses:
            drawn = torch.randint(len(runs), (len(runs),), generator=generator)
            means.append(sum(runs[i] for i in drawn.tolist()) / len(runs))
        found.append(fit_scaling_law(sizes, means).predict(size))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.tensor(found, dtype=torch.float64).quantile(ends).tolist()
    return low, high
