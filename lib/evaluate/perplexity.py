"""How well a model predicts a text that is longer than its context."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lib.device import at_least_float32
from lib.module import in_mode
from lib.shapes import require_between

__all__ = ["sliding_losses", "perplexity", "bits_per_byte"]

ROWS = 32  # windows that are read at once


@torch.no_grad()
def sliding_losses(model: nn.Module, ids: Tensor, length: int, stride: int) -> Tensor:
    """Return the loss of every token of a text but the first, each counted once.

    A window of ``length`` tokens moves by ``stride``. The first one counts for all its
    targets, each later one only for those that no window before it has counted, so a
    target has at least ``length - stride`` tokens before it. The last window moves less
    if it has to, and stays full.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``.
        ids: a text of N tokens, ``(N,)``.
        length: tokens that the model reads at once.
        stride: how far the window moves, 1 .. ``length``.

    Returns:
        Nats, ``(N - 1,)``, in float32 or better; afterwards the model is in the mode
        that it was in.

    Raises:
        ValueError: for a stride out of its range, or a text of less than two tokens.

    Source: Press et al. (2021), section 2, and Hugging Face's guide to perplexity.

    Home lesson: 31_evaluation
    """
    require_between(1, length, stride=stride)
    if ids.dim() != 1 or len(ids) < 2:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; it must be (N,), N > 1")
    n_targets = len(ids) - 1
    length = min(length, n_targets)
    ends = [*range(length, n_targets, stride), n_targets]
    losses = []
    with in_mode(model, training=False):
        for first in range(0, len(ends), ROWS):
            last = torch.tensor(ends[first : first + ROWS], device=ids.device)
            places = last[:, None] + torch.arange(-length, 0, device=ids.device)
            logits = at_least_float32(model(ids[places]))  # (B, T, V)
            targets = ids[places + 1].unsqueeze(-1)
            losses.append(-logits.log_softmax(-1).gather(-1, targets)[..., 0])
    found = torch.cat(losses)  # (windows, T)
    new = [end - before for before, end in zip([0, *ends], ends)]
    return torch.cat([row[length - n :] for row, n in zip(found, new)])


def perplexity(losses: Tensor) -> float:
    r"""Return :math:`e^{\text{mean loss}}`: among how many tokens a model hesitates.

    Args:
        losses: nats of single targets, any shape; all count the same.

    Raises:
        ValueError: if there are none.

    Source: Jelinek et al. (1977).

    Home lesson: 31_evaluation
    """
    if not losses.numel():
        raise ValueError("losses has no numbers; perplexity is of one target or more")
    return losses.double().mean().exp().item()


def bits_per_byte(losses: Tensor, text: str) -> float:
    r"""Return the bits that a model needs for each byte of a text.

    Texts cut into different tokens can be compared by it: the sum over all tokens does
    not depend on how many they are.

    Args:
        losses: nats of the tokens of ``text``, all of them.
        text: what was predicted; its bytes are those of utf-8.

    Raises:
        ValueError: for an empty text.

    Source: Gao et al. (2020), section 3.1.

    Home lesson: 31_evaluation
    """
    n_bytes = len(text.encode("utf-8"))
    if not n_bytes:
        raise ValueError("text='' has no bytes")
    return losses.double().sum().item() / math.log(2) / n_bytes
