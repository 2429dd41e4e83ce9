"""Writing with a model: predict, draw, append, repeat.

As a command it continues a prompt: ``python -m lib.generate --help``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lib.generate.sampling import choose_next, sample_next
from lib.module import in_mode

if TYPE_CHECKING:
    from lib.text.bpe import BPETokenizer
    from lib.text.tokenizer import CharTokenizer

__all__ = ["sample", "window_start", "stream", "generate", "stream_text"]


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


def window_start(length: int, context_length: int) -> int:
    """Return the first token that a model reads when there are ``length`` of them.

    All are read while they fit. When the window is full it moves on by a quarter of
    its length, so that the cache stays good for many tokens: after a move every token
    has another position, and all keys and values must be computed again.

    Args:
        length: number of tokens so far.
        context_length: number of tokens that the model can read.

    Returns:
        A multiple of a quarter of the context, 0 while all fit.

    Home lesson: 13_generation
    """
    step = max(1, context_length // 4)
    return -(-max(0, length - context_length) // step) * step  # rounded up


@torch.no_grad()
def stream(
    model: nn.Module, ids: Tensor, n_new: int, use_cache: bool = True, **options
) -> Iterator[Tensor]:
    """Yield ``n_new`` tokens for each row, one after the other.

    While it writes, up to its last token or until it is closed, the model is in
    evaluation mode, so without dropout; then it is as it was before.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``. The cache is used if it has
            a ``new_cache``, as `GPT` has.
        ids: the prompts, ``(B, T)`` with T >= 1. Past the context of the model it
            reads from `window_start` on.
        n_new: number of tokens.
        use_cache: False to read all tokens again for each new one: same tokens, slower.
        options: settings of `choose_next`.

    Yields:
        The chosen tokens, ``(B, 1)``.

    Raises:
        ValueError: for an empty prompt, a negative ``n_new``, or a setting outside its
            range.

    Home lesson: 13_generation
    """
    _check_request(ids, n_new)
    with in_mode(model, training=False):
        yield from _tokens(model, ids, n_new, use_cache, **options)


def _tokens(
    model: nn.Module, ids: Tensor, n_new: int, use_cache: bool, **options
) -> Iterator[Tensor]:
    """Yield what `stream` does, from a model in evaluation mode."""
    cached, start, cache = use_cache and hasattr(model, "new_cache"), -1, None
    for _ in range(n_new):
        first = window_start(ids.size(1), model.context_length)
        new = ids[:, first:]  # what the cache does not hold
        if cached and start == first:
            new = ids[:, -1:]
        elif cached:
            cache = model.new_cache()
        start = first
        with torch.inference_mode():
            logits = (model(new, cache) if cached else model(new))[:, -1]  # (B, V)
        chosen = choose_next(logits, ids, **options)  # (B, 1)
        ids = torch.cat([ids, chosen], dim=1)
        yield chosen


def _check_request(ids: Tensor, n_new: int) -> None:
    """Refuse an empty prompt, or a negative number of tokens."""
    if ids.dim() != 2 or ids.size(1) == 0:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; it must be (B, T), T >= 1")
    if n_new < 0:
        raise ValueError(f"n_new={n_new} must be 0 or more")


def generate(model: nn.Module, ids: Tensor, n_new: int, **options) -> Tensor:
    """Append ``n_new`` tokens to each row; see `stream` for the settings.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``.
        ids: the prompts, ``(B, T)`` with T >= 1.
        n_new: number of tokens to append.
        options: settings of `stream` and `choose_next`.

    Returns:
        Prompts and new tokens, ``(B, T + n_new)``.

    Raises:
        ValueError: for an empty prompt or a setting outside its range.

    Home lesson: 13_generation
    """
    return torch.cat([ids, *stream(model, ids, n_new, **options)], dim=1)


def stream_text(
    model: nn.Module,
    tokenizer: CharTokenizer | BPETokenizer,
    prompt: str,
    n_new: int,
    stop: str | None = None,
    **options,
) -> Iterator[str]:
    """Yield the text that a model writes after a prompt, piece by piece.

    Args:
        model: see `stream`.
        tokenizer: has ``encode`` and ``decode``.
        prompt: the text to go on from, not empty.
        n_new: number of tokens at most.
        stop: the text ends before this string. What could be its beginning is held
            back until it is clear, and so is half a character of a byte tokenizer.
        options: settings of `stream` and `choose_next`.

    Yields:
        New text; all pieces together are the continuation.

    Raises:
        ValueError: for an empty prompt or stop, characters outside the vocabulary, or
            a setting outside its range.

    Home lesson: 13_generation
    """
    if not prompt:
        raise ValueError("prompt='' is empty; give the model something to go on from")
    if stop == "":
        raise ValueError("stop='' is in every text; give a string, or None")
    device = next(model.parameters()).device
    ids = torch.tensor([tokenizer.encode(prompt)], device=device)
    yield from _pieces(tokenizer, stream(model, ids, n_new, **options), stop)


def _pieces(
    tokenizer: CharTokenizer | BPETokenizer, tokens: Iterator[Tensor], stop: str | None
) -> Iterator[str]:
    """Yield the text of tokens ``(1, 1)`` up to a stop, as soon as it is clear."""
    new, shown, text = [], 0, ""
    for token in tokens:
        new.append(token.item())
        text = tokenizer.decode(new)
        if stop and stop in text:
            yield text[shown : text.index(stop)]
            return
        sure = len(text.rstrip("\ufffd")) - (len(stop) - 1 if stop else 0)
        if sure > shown:
            yield text[shown:sure]
            shown = sure
    yield text[shown:]
