"""How a model is trained: each setting with the words that ``--help`` says of it."""

from __future__ import annotations

from dataclasses import dataclass

from lib.shapes import require_sizes
from lib.train.ranges import check_ranges
from lib.train.schedule import SCHEDULES

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        n_steps: Number of updates.
        learning_rate: Of AdamW, before the schedule.
        optimizer: adamw, or muon for the matrices and AdamW for the rest.
        muon_learning_rate: Of Muon, before the schedule.
        embedding_learning_rate: Of the tables; None for the learning rate.
        weight_decay: Share of the rate by which matrices shrink at each step.
        betas: Memory of AdamW: of the gradient, and of its square.
        momentum: Memory of Muon.
        rounds: Of Muon's orthogonalisation, 1 to 5.
        schedule: constant, cosine, linear, or noam, which needs a warm-up.
        n_warmup: Number of steps in which the rate rises.
        clip: Largest norm of all gradients together; None for no limit.
        accumulation: Parts into which each batch is cut, to save memory.
        dtype: Of matrix products: float32, bfloat16, or auto: bfloat16 where it is
            fast.

    Raises:
        TypeError: for a value of another type.
        ValueError: for a number outside its range, see `RANGES`; Noam without a
            warm-up; or an unknown name.

    Home lesson: 11_training
    """

    n_steps: int
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    muon_learning_rate: float = 0.02
    embedding_learning_rate: float | None = None
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.95
    rounds: int = 5
    schedule: str = "cosine"
    n_warmup: int = 0
    clip: float | None = 1.0
    accumulation: int = 1
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.schedule == "noam":
            require_sizes(n_warmup=self.n_warmup)
        for name, allowed in (
            ("optimizer", ["adamw", "muon"]),
            ("schedule", [*SCHEDULES]),
            ("dtype", ["auto", "float32", "bfloat16"]),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be in {allowed}")
