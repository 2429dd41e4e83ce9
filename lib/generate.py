"""Writing with a model: predict, draw, append, repeat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["sample_next", "sample"]


def sample_next(
    logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Choose one token per row from the logits of the next token.

    Args:
        logits: ``(B, V)``, one score per token of the vocabulary.
        temperature: divides the logits: below 1 sharper, above 1 flatter; 0 always
            takes the most likely token (greedy).
        generator: source of the random draws.

    Returns:
        Ids of the chosen tokens, shape ``(B, 1)``.

    Raises:
        ValueError: for a negative temperature.

    Home lesson: 02_bigram
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature} must be 0 or more")
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)  # (B, 1)
    probabilities = (logits / temperature).softmax(dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)


@torch.no_grad()
def sample(
    model: nn.Module,
    ids: Tensor,
    n_new: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Append ``n_new`` tokens to each row, each drawn from the model's prediction.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``; its ``context_length`` says
            how many of the last tokens it reads.
        ids: the prompts, shape ``(B, T)`` with T >= 1.
        n_new: number of tokens to append.
        temperature: see `sample_next`; 0 is greedy.
        generator: source of the random draws.

    Returns:
        Prompts and new tokens, shape ``(B, T + n_new)``.

    Raises:
        ValueError: for a negative temperature or an empty prompt.

    Home lesson: 02_bigram
    """
    if ids.dim() != 2 or ids.size(1) == 0:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; it must be (B, T), T >= 1")
    for _ in range(n_new):
        logits = model(ids[:, -model.context_length :])[:, -1]  # (B, V)
        ids = torch.cat([ids, sample_next(logits, temperature, generator)], dim=1)
    return ids
