"""Talking with a tuned model, one answer after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lib.generate import stream
from lib.text.chat import CHATML, QUESTIONS, Message, Template, encode_messages
from lib.text.vocabulary import Tokenizer

__all__ = ["TEMPLATES", "reply"]

TEMPLATES = {"questions": QUESTIONS, "chatml": CHATML}
"""What stands around the words, by name."""


def reply(
    model: nn.Module,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    n_new: int,
    template: Template = QUESTIONS,
    **options,
) -> str:
    """Return what a model answers to a conversation, without its stop.

    Args:
        model: see `stream`.
        tokenizer: knows every character of the conversation.
        messages: the last one is the user's. Older ones are left out, a question and
            its answer at a time, until the rest fits; the system's stays.
        n_new: tokens that the answer may have at most, as far as they fit.
        template: what stands around the words.
        options: settings of `stream` and `choose_next`.

    Raises:
        ValueError: for a last message that does not fit, as in `encode_messages`, or a
            setting outside its range.
    """
    ids, messages = [], list(messages)
    while len(ids := encode_messages(tokenizer, messages, template, ask=True)[0]) >= (
        model.context_length
    ):
        first = int(messages[0]["role"] == "system")
        if len(messages) < first + 3:
            raise ValueError(
                f"messages[-1] is {len(ids)} tokens with its template; there is room "
                f"for {model.context_length - 1}"
            )
        del messages[first : first + 2]
    room = min(n_new, model.context_length - len(ids))
    device, answer = next(model.parameters()).device, []
    for token in stream(model, torch.tensor([ids], device=device), room, **options):
        answer.append(token.item())
        text = tokenizer.decode(answer)
        if template.stop in text:
            return text.partition(template.stop)[0]
    return tokenizer.decode(answer)
