"""A user's own examples, one JSON object per line, each line checked."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from lib.text.chat import QUESTIONS, Message, Template, encode_messages
from lib.text.files import parse_json, printable, read_regular
from lib.text.vocabulary import Tokenizer
from lib.tune.pairs import Pair

__all__ = ["read_conversations", "read_pairs"]

LONGEST_SHOWN = 60  # characters of a bad line
LONGEST_ERROR = 240  # and of what is wrong with it
MOST_NAMED = 5  # bad lines of one file


def read_conversations(
    path: str | Path,
    tokenizer: Tokenizer,
    context_length: int,
    template: Template = QUESTIONS,
) -> list[list[Message]]:
    """Read conversations, one in a line.

    A line is ``{"prompt": ..., "answer": ...}`` or ``{"messages": [...]}``.

    Args:
        path: a utf-8 file; empty lines and a byte order mark are passed over.
        tokenizer: of the model that will learn from them.
        context_length: tokens that the model can read.
        template: what stands around the words.

    Returns:
        The messages of each, which ends with one of the assistant.

    Raises:
        OSError: for a file that cannot be read.
        ValueError: if a line is bad, which names it and says how many others are; or
            if there are no rows.
    """

    def read(values: dict) -> list[Message]:
        if "messages" in values:
            _require_keys(values, "messages")
            messages = values["messages"]
            if not isinstance(messages, list):
                raise ValueError(f"messages={_short(messages)} must be a list")
        else:
            _require_keys(values, "prompt", "answer")
            messages = _turns(values, "answer")
        _encode(messages, tokenizer, context_length, template)
        return messages

    return _read_lines(path, read)


def read_pairs(
    path: str | Path,
    tokenizer: Tokenizer,
    context_length: int,
    template: Template = QUESTIONS,
) -> list[Pair]:
    """Read preferences: ``{"prompt": ..., "chosen": ..., "rejected": ...}``.

    The arguments and errors are those of `read_conversations`. A line whose two answers
    are the same is bad: it says nothing.
    """

    def read(values: dict) -> Pair:
        _require_keys(values, "prompt", "chosen", "rejected")
        if values["chosen"] == values["rejected"]:
            raise ValueError("chosen and rejected are the same")
        sizes, answers = (tokenizer, context_length, template), []
        for name in ("chosen", "rejected"):
            ids, own = _encode(_turns(values, name), *sizes)
            prompt = ids[: own.index(True)]
            answers.append([i for i, is_own in zip(ids, own) if is_own])
        return Pair(prompt, *answers)

    return _read_lines(path, read)


def _read_lines(path: str | Path, read: Callable[[dict], object]) -> list:
    """Return what ``read`` makes of each line; name the bad ones."""
    rows, bad, reason = [], [], ""
    data = read_regular(path).removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            if text := line.decode().strip():
                rows.append(read(_parse(text)))
        except (ValueError, TypeError) as error:
            reason = reason or printable(error, LONGEST_ERROR)
            bad.append(number)
    if bad:
        first, *others = bad
        more = ", ".join(map(str, others[:MOST_NAMED]))
        more += ", ..." if len(others) > MOST_NAMED else ""
        also = f" ({len(others)} more bad lines: {more})" if others else ""
        raise ValueError(f"{printable(path)}, line {first}: {reason}{also}")
    if not rows:
        raise ValueError(f"{printable(path)} has no rows")
    return rows


def _parse(text: str) -> dict:
    """Return the object that a line holds."""
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{_short(text)} is not JSON: {error}") from None
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
) -> tuple[list[int], list[bool]]:
    """Return a conversation as a row that the model can read."""
    ids, own = encode_messages(tokenizer, messages, template)
    if not all(message["content"].strip() for message in messages):
        raise ValueError("a message of it is empty")
    if messages[-1]["role"] != "assistant":
        raise ValueError("its last message is not the assistant's")
    if len(ids) - 1 > context_length:
        raise ValueError(
            f"it has {len(ids)} tokens; the model reads {context_length} and one more"
        )
    return ids, own


def _short(value: object) -> str:
    """Return a value as it is written in Python, cut where it is long."""
    text = printable(repr(value), 10 * LONGEST_SHOWN)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " ..."
