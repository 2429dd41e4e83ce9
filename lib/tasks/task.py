"""What a task is: rows of tokens to learn from, and others to be tested with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lib.shapes import require_between
from lib.text.tokenizer import CharTokenizer, WordTokenizer, pad_batch

__all__ = ["Example", "Rows", "Task", "ExampleTask", "encode_examples"]

N_TEST = 500
MOST_EXAMPLES = 10**6  # they are drawn one by one, before the first step
TEST_SEED = 5
PATIENCE = 1_000  # draws in a row that may fall into the test before a task gives up


class Example(NamedTuple):
    """A question and its answer.

    Attributes:
        prompt: what a model is given.
        answer: what it should write, with the stop at its end.
        given: places ``(start, stop)`` in the answer that are not the model's to
            write, such as the result that a tool returns; in characters, or in words.
    """

    prompt: str
    answer: str
    given: tuple[tuple[int, int], ...] = ()


class Rows(NamedTuple):
    """Tokens to train or test with, each ``(B, T)``.

    Attributes:
        inputs: what a model reads, filled up at the end.
        targets: the inputs, one token later.
        counted: bool; True where a target is the model's to predict.
    """

    inputs: Tensor
    targets: Tensor
    counted: Tensor


def encode_examples(
    tokenizer: CharTokenizer | WordTokenizer, examples: Sequence[Example]
) -> Rows:
    """Return examples as rows in which only the answers count.

    Args:
        tokenizer: knows every character, or word, of the examples.
        examples: B of them, of any length.

    Returns:
        Rows as wide as the longest example, less one token. Filling has the id 0; it
        never counts, and stands behind what does, so a causal model never reads it.

    Raises:
        ValueError: if there are no examples, a prompt is empty, or one has a token
            outside the vocabulary.

    Home lesson: 24_reasoning
    """
    rows, counted = [], []
    for prompt, answer, given in examples:
        start, row = len(tokenizer.encode(prompt)), tokenizer.encode(answer)
        if not start:
            raise ValueError(f"prompt={prompt!r} of {answer!r} is empty")
        rows.append(tokenizer.encode(prompt) + row)
        own = [0] * start + [1] * len(row)
        for first, last in given:
            own[start + first : start + last] = [0] * (last - first)
        counted.append(own)
    ids, own = pad_batch(rows), pad_batch(counted).bool()  # (B, T + 1)
    return Rows(ids[:, :-1], ids[:, 1:], own[:, 1:])


@dataclass(frozen=True)
class Task:
    """A kind of rows to learn. The fields of a task are its settings.

    A task has a ``tokenizer``, a ``context_length`` that its longest row needs, draws
    rows in `batch`, and has rows in `test` that ask something else: other questions,
    other rules, or other random letters.
    """

    def batch(self, batch_size: int, generator: torch.Generator) -> Rows:
        """Draw rows to learn from."""
        raise NotImplementedError

    @cached_property
    def test(self) -> Rows:
        """The rows to test with, always the same."""
        raise NotImplementedError

    @property
    def answerable(self) -> Rows:
        """The rows of the test, in which only counts what their beginning tells."""
        return self.test


@dataclass(frozen=True)
class ExampleTask(Task):
    """A task of questions and answers; a task of its own says how one is drawn.

    Attributes:
        n_examples: Different examples to learn from. None for new ones at every step.
        seed: Draws these examples.

    Raises:
        ValueError: in `examples` and `batch` if nearly all that a task draws is kept
            for the test.
    """

    n_examples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_examples is not None:
            require_between(1, MOST_EXAMPLES, n_examples=self.n_examples)

    def draw(self, rng: random.Random) -> Example:
        """Draw any example."""
        raise NotImplementedError

    def draw_for_test(self, rng: random.Random) -> Example:
        """Draw an example for the test; other ones, if a task is tested on others."""
        return self.draw(rng)

    def question(self, example: Example) -> str:
        """Return what two examples share that ask the same in other letters."""
        return example.prompt

    @cached_property
    def test_examples(self) -> list[Example]:
        """Examples that are never drawn to learn from, always the same.

        They are 500, or a fifth of all where there are few.
        """
        rng, found = random.Random(TEST_SEED), {}
        for _ in range(20 * N_TEST):
            if len(found) < 5 * N_TEST:
                example = self.draw_for_test(rng)
                found.setdefault(self.question(example), example)
        if len(found) < 5:
            raise ValueError(f"{self}: {len(found)} examples are too few for a test")
        return list(found.values())[: min(N_TEST, len(found) // 5)]

    @cached_property
    def _test_questions(self) -> set[str]:
        return {self.question(example) for example in self.test_examples}

    def draw_to_learn(self, rng: random.Random) -> Example:
        """Draw an example that is not kept for the test."""
        for _ in range(PATIENCE):
            example = self.draw(rng)
            if self.question(example) not in self._test_questions:
                return example
        raise ValueError(f"{self}: all that it draws is kept for the test")

    @cached_property
    def examples(self) -> list[Example]:
        """The ``n_examples`` different examples to learn from; none if they are new."""
        rng, found, in_vain = random.Random(self.seed), {}, 0
        while len(found) < (self.n_examples or 0) and in_vain < PATIENCE:
            example = self.draw_to_learn(rng)
            in_vain = in_vain + 1 if example.prompt in found else 0
            found.setdefault(example.prompt, example)
        if len(found) < (self.n_examples or 0):
            raise ValueError(
                f"n_examples={self.n_examples} is more than the {len(found)} that "
                "there are"
            )
        return list(found.values())

    def batch(self, batch_size: int, generator: torch.Generator) -> Rows:
        """Draw rows to learn from."""
        rng = random.Random(int(torch.randint(2**62, (), generator=generator)))
        if self.n_examples is None:
            chosen = [self.draw_to_learn(rng) for _ in range(batch_size)]
        else:
            chosen = rng.choices(self.examples, k=batch_size)
        return encode_examples(self.tokenizer, chosen)

    @cached_property
    def test(self) -> Rows:
        """The rows to test with, always the same."""
        return encode_examples(self.tokenizer, self.test_examples)
