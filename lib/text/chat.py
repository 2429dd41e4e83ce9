"""Conversations as one text: who speaks, and which tokens are the model's to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.text.vocabulary import Tokenizer

__all__ = ["Template", "QUESTIONS", "CHATML", "render", "encode_messages"]

Message = dict[str, str]  # with "role" and "content", as most tools have them


@dataclass(frozen=True)
class Template:
    """What stands around what each role says.

    Attributes:
        system: before and after the words of the system, which come first if at all.
        user: before and after the words of the user.
        assistant: before and after the words of the model; what stands after them is
            its stop.

    Home lesson: 28_data_preparation
    """

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]

    @property
    def stop(self) -> str:
        """What ends an answer."""
        return self.assistant[1]


QUESTIONS = Template(system=("", "\n"), user=("Q: ", "\n"), assistant=("A: ", "\n"))
"""Two lines: a question, and an answer that ends with its line."""

CHATML = Template(
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
)
"""The marks of ChatML, which many open models use."""


def _pieces(messages: Sequence[Message], template: Template) -> list[tuple[str, bool]]:
    """Return the texts of a conversation, each with whether the model writes it."""
    if not messages:
        raise ValueError("messages=[] is empty; a conversation needs one or more")
    pieces, last = [], None
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or {*message} != {"role", "content"}:
            raise ValueError(f"messages[{number}]={message!r} must have role, content")
        role, content = message["role"], message["content"]
        allowed = {None: ["system", "user"], "user": ["assistant"]}.get(last, ["user"])
        if role not in allowed:
            raise ValueError(
                f"messages[{number}] has role={role!r} after {last!r}; it must be "
                f"{' or '.join(allowed)}"
            )
        if not isinstance(content, str):
            raise TypeError(f"messages[{number}] has content={content!r}, not a text")
        before, after = getattr(template, role)
        if after in content:
            raise ValueError(
                f"messages[{number}] has {after!r} in its content, which would end it"
            )
        pieces += [(before, False), (content + after, role == "assistant")]
        last = role
    return pieces


def render(
    messages: Sequence[Message], template: Template = QUESTIONS, ask: bool = False
) -> str:
    """Return a conversation as one text.

    Args:
        messages: each with a ``role``, system, user or assistant, and a ``content``;
            user and assistant take turns.
        template: what stands around the words.
        ask: whether to add what comes before an answer, so that a model goes on with
            one.

    Raises:
        ValueError: for no messages, roles out of turn, or a content with what would
            end it.

    Home lesson: 28_data_preparation
    """
    text = "".join(piece for piece, _ in _pieces(messages, template))
    if ask and messages[-1]["role"] != "user":
        raise ValueError("ask=True needs a last message of the user")
    return text + template.assistant[0] if ask else text


def encode_messages(
    tokenizer: Tokenizer, messages: Sequence[Message], template: Template = QUESTIONS
) -> tuple[list[int], list[bool]]:
    """Return the ids of a conversation, and True for those that the model writes.

    Each piece is encoded by itself, so that no token reaches over the end of one. What
    the model writes are its words and its stop.

    Args:
        tokenizer: knows every character of the conversation.
        messages: see `render`.
        template: what stands around the words.

    Raises:
        ValueError: as in `render`, or for a character outside the vocabulary.

    Home lesson: 28_data_preparation
    """
    ids, own = [], []
    for piece, is_own in _pieces(messages, template):
        new = tokenizer.encode(piece)
        ids += new
        own += [is_own] * len(new)
    return ids, own
