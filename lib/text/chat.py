"""Conversations as one text: who speaks, and which tokens are the model's to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.text.vocabulary import Tokenizer

__all__ = ["Template", "QUESTIONS", "CHATML", "render", "encode_messages"]

Message = dict[str, str]  # with "role" and "content", as most tools have them
Piece = tuple[str, bool, bool]  # a text; is it the template's? does the model write it?


@dataclass(frozen=True)
class Template:
    """What stands around what each role says.

    Attributes:
        system: before and after the words of the system, which come first if at all.
        user: before and after the words of the user.
        assistant: before and after the words of the model; what stands after them is
            its stop.
        separator: between two messages, and after the last; nobody's to write.
        marks: texts that a tokenizer may have as single tokens; no message may hold
            them as such.

    Home lesson: 28_data_preparation
    """

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    separator: str = ""
    marks: tuple[str, ...] = ()

    @property
    def stop(self) -> str:
        """What ends an answer."""
        return self.assistant[1]


QUESTIONS = Template(system=("S: ", "\n"), user=("Q: ", "\n"), assistant=("A: ", "\n"))
"""Two lines: a question, and an answer that ends with its line.

Home lesson: 28_data_preparation
"""

CHATML = Template(
    system=("<|im_start|>system\n", "<|im_end|>"),
    user=("<|im_start|>user\n", "<|im_end|>"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>"),
    separator="\n",
    marks=("<|im_start|>", "<|im_end|>"),
)
"""The marks of ChatML, which many open models use.

Home lesson: 28_data_preparation
"""


def _pieces(
    messages: Sequence[Message], template: Template, marks_are_safe: bool
) -> list[Piece]:
    """Return the texts of a conversation, in their order."""
    if not messages:
        raise ValueError("messages=[] is empty; a conversation needs one or more")
    pieces, last = [], None
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or {*message} != {"role", "content"}:
            kind = type(message).__name__
            has = sorted(map(str, message)) if isinstance(message, dict) else kind
            raise ValueError(f"messages[{number}] is {has}; it must have role, content")
        role, content = message["role"], message["content"]
        allowed = {None: ["system", "user"], "user": ["assistant"]}.get(last, ["user"])
        if role not in allowed:
            raise ValueError(
                f"messages[{number}] has role={role!r} after {last!r}; it must be "
                f"{' or '.join(allowed)}"
            )
        _check_content(number, content, template, marks_are_safe)
        (before, after), own = getattr(template, role), role == "assistant"
        pieces += [(before, True, False), (content, False, own), (after, True, own)]
        pieces += [(template.separator, True, False)]
        last = role
    return pieces


def _check_content(
    number: int, content: object, template: Template, marks_are_safe: bool
) -> None:
    """Refuse a content that would end its message, or begin another one."""
    if not isinstance(content, str):
        raise TypeError(f"messages[{number}] has content={content!r}, not a text")
    ends = {part[1] for part in (template.system, template.user, template.assistant)}
    forged = {*ends, *template.marks} - {""}
    if marks_are_safe:
        forged -= {*template.marks}
    for text in sorted(forged):
        if text in content:
            raise ValueError(
                f"messages[{number}] has {text!r} in its content, which would end it "
                "or begin another one"
            )


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
            end it or with a mark.

    Home lesson: 28_data_preparation
    """
    text = "".join(piece for piece, *_ in _pieces(messages, template, False))
    if ask and messages[-1]["role"] != "user":
        raise ValueError("ask=True needs a last message of the user")
    return text + template.assistant[0] if ask else text


def encode_messages(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    template: Template = QUESTIONS,
    ask: bool = False,
) -> tuple[list[int], list[bool]]:
    """Return the ids of a conversation, and True for those that the model writes.

    Each piece is encoded by itself, so that no token reaches over the end of one. What
    the model writes are its words and its stop. Where the tokenizer has the template's
    marks among its special tokens, each mark of the template becomes its single id; the
    same letters in a message stay letters, so nobody can forge one.

    Args:
        tokenizer: knows every character of the conversation.
        messages: see `render`.
        template: what stands around the words.
        ask: as in `render`.

    Raises:
        ValueError: as in `render`, but marks in a content are allowed where they are
            special tokens; or for a character outside the vocabulary.

    Home lesson: 28_data_preparation
    """
    special = getattr(tokenizer, "special_tokens", {})
    safe = bool(template.marks) and {*template.marks} <= {*special}
    pieces = _pieces(messages, template, safe)
    if ask and messages[-1]["role"] != "user":
        raise ValueError("ask=True needs a last message of the user")
    if ask:
        pieces.append((template.assistant[0], True, False))
    ids, own = [], []
    for text, is_template, is_own in pieces:
        options = {"allowed_special": True} if safe and is_template else {}
        new = tokenizer.encode(text, **options)
        ids += new
        own += [is_own] * len(new)
    return ids, own
