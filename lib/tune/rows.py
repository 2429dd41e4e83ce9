"""A user's own examples, one JSON object per line, each line checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lib.text.chat import QUESTIONS, Message, Template, encode_messages
from lib.text.vocabulary import Tokenizer

__all__ = ["Row", "Choice", "read_rows", "read_choices"]

LONGEST_SHOWN = 60  # characters of a bad line
MOST_NAMED = 5  # bad lines of one file


class Row(NamedTuple):
    """A conversation to learn from.

    Attributes:
        ids: its tokens.
        own: True for those that the model is to write.
    """

    ids: list[int]
    own: list[bool]


class Choice(NamedTuple):
    """A question with a better and a worse answer, each as a row."""

    chosen: Row
    rejected: Row


def read_rows(
    path: str | Path,
    tokenizer: Tokenizer,
    context_length: int,
    template: Template = QUESTIONS,
) -> list[Row]:
    """Read conversations, one in a line.

    A line is ``{"prompt": ..., "answer": ...}`` or ``{"messages": [...]}``.

    Args:
        path: a utf-8 file; empty lines are passed over.
        tokenizer: of the model that will learn from them.
        context_length: tokens that the model can read.
        template: what stands around the words.

    Raises:
        OSError: for a file that cannot be read.
        ValueError: if a line is bad, which names it and says how many others are; or
            if there are no rows.
    """

    def read(values: dict) -> Row:
        if "messages" in values:
            _require_keys(values, "messages")
            messages = values["messages"]
            if not isinstance(messages, list):
                raise ValueError(f"messages={_short(messages)} must be a list")
        else:
            _require_keys(values, "prompt", "answer")
            messages = _turns(values, "answer")
        return _encode(messages, tokenizer, context_length, template)

    return _read_lines(path, read)


def read_choices(
    path: str | Path,
    tokenizer: Tokenizer,
    context_length: int,
    template: Template = QUESTIONS,
) -> list[Choice]:
    """Read preferences: ``{"prompt": ..., "chosen": ..., "rejected": ...}``.

    The arguments and errors are those of `read_rows`. A line whose two answers are the
    same is bad: it says nothing.
    """

    def read(values: dict) -> Choice:
        _require_keys(values, "prompt", "chosen", "rejected")
        if values["chosen"] == values["rejected"]:
            raise ValueError("chosen and rejected are the same")
        sizes = tokenizer, context_length, template
        return Choice(
            *(_encode(_turns(values, which), *sizes) for which in Choice._fields)
        )

    return _read_lines(path, read)


def _read_lines(path: str | Path, read: Callable[[dict], NamedTuple]) -> list:
    """Return what ``read`` makes of each line; name the bad ones."""
    rows, bad = [], []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        try:
            if text := line.decode().strip():
                rows.append(read(_parse(text)))
        except (ValueError, TypeError, RecursionError) as error:
            bad.append((number, error))
    if bad:
        (first, error), others = bad[0], bad[1:]
        more = ", ".join(str(number) for number, _ in others[:MOST_NAMED])
        more += ", ..." if len(others) > MOST_NAMED else ""
        also = f" ({len(others)} more bad lines: {more})" if others else ""
        raise ValueError(f"{path}, line {first}: {error}{also}")
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def _parse(text: str) -> dict:
    """Return the object that a line holds."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{_short(text)} is not JSON: {error.msg}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{_short(values)} is not an object in braces")
    return values


def _require_keys(values: dict, *names: str) -> None:
    """Refuse a line with other names than these."""
    if {*values} != {*names}:
        raise ValueError(f"it has {_short([*values])}; it must have {', '.join(names)}")


def _turns(values: dict, answer: str) -> list[Message]:
    """Return a question and an answer as a conversation."""
    for name in ("prompt", answer):
        if not isinstance(values[name], str):
            raise ValueError(f"{name}={_short(values[name])} must be a text")
        if not values[name].strip():
            raise ValueError(f"{name} is empty")
    return [
        {"role": "user", "content": values["prompt"]},
        {"role": "assistant", "content": values[answer]},
    ]


def _encode(
    messages: list[Message],
    tokenizer: Tokenizer,
    context_length: int,
    template: Template,
) -> Row:
    """Return a conversation as a row that the model can read."""
    ids, own = encode_messages(tokenizer, messages, template)
    if not own[-1]:
        raise ValueError("its last message is not the assistant's")
    if len(ids) - 1 > context_length:
        raise ValueError(
            f"it has {len(ids)} tokens; the model reads {context_length} and one more"
        )
    return Row(ids, own)


def _short(value: object) -> str:
    """Return a value as it is written in Python, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " ..."
