"""A calculator that a model may call while it answers."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from lib.generate.sampling import sample_next
from lib.models.gpt import GPT
from lib.module import in_mode
from lib.shapes import require_sizes
from lib.text.tokenizer import CharTokenizer

__all__ = ["calculate", "answer_with_tool"]

LONGEST = 40  # characters of an expression


def calculate(expression: str, max_digits: int = 6) -> int:
    """Return the value of whole numbers with ``+``, ``-`` and ``*`` between them.

    It reads the expression itself: what a model wrote is never run as a program.

    Args:
        expression: such as ``12*-7+3``; products go first.
        max_digits: of each number in it; the value may have twice as many.

    Raises:
        ValueError: for anything else, also for an expression of more than 40
            characters, or a number or value that is too long.

    Home lesson: 24_reasoning
    """
    require_sizes(max_digits=max_digits)
    number = rf"-?[0-9]{{1,{max_digits}}}"
    if len(expression) > LONGEST or not re.fullmatch(
        rf"{number}(?:[-+*]{number})*", expression
    ):
        raise ValueError(
            f"expression={expression[:LONGEST]!r} must be whole numbers of at most "
            f"{max_digits} digits with + - or * between them"
        )
    first, *rest = re.findall(r"(?<![0-9])-?[0-9]+|[-+*]", expression)
    total, product = 0, int(first)
    for sign, other in zip(rest[::2], map(int, rest[1::2])):
        if sign == "*":
            product *= other
        else:
            total, product = total + product, other if sign == "+" else -other
    if abs(total + product) >= 10 ** (2 * max_digits):
        raise ValueError(
            f"expression={expression!r} has a value of more than "
            f"{2 * max_digits} digits"
        )
    return total + product


@torch.no_grad()
def answer_with_tool(
    model: GPT,
    tokenizer: CharTokenizer,
    prompt: str,
    n_new: int,
    tool: Callable[[str], object] = calculate,
    marks: str = "[];.",
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> str:
    """Let a model answer a prompt, and put in what a tool returns for its calls.

    Args:
        model: writes; afterwards it is in the mode that it was in.
        tokenizer: of the model.
        prompt: one character or more.
        n_new: characters that the answer may have, with what the tool returns.
        tool: called with the text of a call. Where it raises a ``ValueError`` or an
            ``ArithmeticError``, a ``?`` is put in.
        marks: what opens a call and what closes it, what is put behind a result, and
            what ends an answer.
        temperature: see `sample_next`; 0 always takes the likeliest character.
        generator: source of the random draws.

    Returns:
        The answer, calls and results included.

    Raises:
        ValueError: for an empty prompt, four marks that are not different, an answer
            for which there is no room, or a result outside the vocabulary.

    Home lesson: 24_reasoning
    """
    require_sizes(n_new=n_new)
    if len(set(marks)) != 4 or len(marks) != 4:
        raise ValueError(f"marks={marks!r} must be four different characters")
    ids = tokenizer.encode(prompt)
    if not ids or len(ids) + n_new > model.context_length:
        raise ValueError(
            f"prompt={prompt!r} and n_new={n_new} must fit into context_length="
            f"{model.context_length}, with a prompt of a character or more"
        )
    tokenizer.encode(marks)  # which refuses one that the model cannot write
    opening, closing, behind, stop = marks
    device, answer, call = next(model.parameters()).device, "", None
    with in_mode(model, training=False):
        cache, new = model.new_cache(), ids
        while len(answer) < n_new:
            logits = model(torch.tensor([new], device=device), cache)[:, -1]
            written = tokenizer.decode(sample_next(logits, temperature, generator)[0])
            answer, new = answer + written, written
            if written == stop:
                break
            if written == closing and call is not None:
                result = (_returned(tool, call) + behind)[: n_new - len(answer)]
                answer, new, call = answer + result, written + result, None
            elif written == opening:
                call = ""
            elif call is not None:
                call += written
            new = tokenizer.encode(new)
    return answer


def _returned(tool: Callable[[str], object], call: str) -> str:
    """Return what a tool makes of a call, as text; a question mark for an error."""
    try:
        return str(tool(call))
    except (ValueError, ArithmeticError):
        return "?"
