"""What a run of ``python -m lib.train`` is made from."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lib.train.ranges import check_ranges
from lib.train.settings import TrainConfig

__all__ = ["RunSettings"]


@dataclass(frozen=True)
class RunSettings(TrainConfig):
    """What a run of ``python -m lib.train`` is made from; see also `TrainConfig`.

    Attributes:
        preset: A model of `python -m lib.models`.
        text: Any utf-8 text. None for Tiny Shakespeare.
        task: A task of `python -m lib.tasks`, instead of a text.
        epochs: Updates, as passes over the training text.
        n_steps: Updates, instead of epochs; 1,000 for a task.
        batch_size: Rows per update, in all processes together.
        context_length: Tokens per row. None for the preset's, or the task's.
        tokenizer: characters, bpe, or auto for the preset's.
        vocab_size: Tokens of bpe. None for the preset's.
        dropout: Share of numbers set to 0. None for the preset's.
        seed: Of weights, batches, dropout.

    Raises:
        ValueError: for a value that its model or its training does not allow.
    """

    preset: str = "mini"
    text: str | None = None
    task: str | None = None
    epochs: float = 1.0
    n_steps: int | None = None
    batch_size: int = 16
    context_length: int | None = None
    tokenizer: str = "auto"
    vocab_size: int | None = None
    dropout: float | None = None
    optimizer: str = "muon"
    learning_rate: float = 0.005
    muon_learning_rate: float = 0.01
    schedule: str = "linear"
    n_warmup: int = 20
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.text == "":
            raise ValueError("text='' is empty: name a file, or leave it out")
        n_steps = 1 if self.n_steps is None else self.n_steps
        self.train_config(n_steps)  # which refuses what a training does not allow

    def train_config(self, n_steps: int) -> TrainConfig:
        """Return how to train for so many steps."""
        values = {f.name: getattr(self, f.name) for f in fields(TrainConfig)}
        return TrainConfig(**values | {"n_steps": n_steps})
