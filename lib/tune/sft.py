"""Supervised fine-tuning: a model learns to answer from conversations with answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.evaluate.exact_match import exact_match
from lib.evaluate.losses import masked_loss
from lib.generate.rollouts import Rollouts, rollout
from lib.models.gpt import GPT
from lib.tasks.task import Example, Rows, encode_examples
from lib.text.batches import random_batch
from lib.text.chat import QUESTIONS, Template, encode_messages
from lib.text.tokenizer import pad_batch
from lib.text.vocabulary import Tokenizer
from lib.train import Training, train
from lib.train.settings import TrainConfig

__all__ = [
    "SFTConfig",
    "Conversations",
    "fine_tune",
    "conversation_rows",
    "with_prompts",
    "with_replay",
    "ask",
    "stop_rate",
    "share_right",
]


@dataclass(frozen=True)
class SFTConfig(TrainConfig):
    """How a model is tuned; see also `TrainConfig`.

    Attributes:
        n_steps: Number of updates.
        batch_size: Conversations per update.
        n_replay: Rows of the text that the model comes from, per update.
        answers_only: Whether only the answers count, and not the questions.
        seed: Of batches.

    Raises:
        ValueError: for a size out of its range, or what a training does not allow.

    Home lesson: 29_instruction_tuning
    """

    n_steps: int = 600
    batch_size: int = 16
    n_replay: int = 0
    answers_only: bool = True
    schedule: str = "linear"
    n_warmup: int = 20
    seed: int = 0


def conversation_rows(
    tokenizer: Tokenizer,
    conversations: Sequence[Sequence[dict]],
    template: Template = QUESTIONS,
) -> Rows:
    """Return conversations as rows in which all that the model writes counts.

    Args:
        tokenizer: knows every character of the conversations.
        conversations: B lists of messages, of any length; each has an answer.
        template: what stands around the words.

    Returns:
        Rows as wide as the longest conversation, less one token. Filling has the id 0;
        it never counts, and stands behind what does.

    Raises:
        ValueError: if there are none, one has no answer, or as in `encode_messages`.

    Home lesson: 29_instruction_tuning
    """
    rows, counted = [], []
    for number, messages in enumerate(conversations):
        ids, own = encode_messages(tokenizer, messages, template)
        if not any(own):
            raise ValueError(f"conversations[{number}] has no answer to learn from")
        rows.append(ids)
        counted.append(own)
    ids, own = pad_batch(rows), pad_batch(counted).bool()  # (B, T + 1)
    return Rows(ids[:, :-1], ids[:, 1:], own[:, 1:])


@dataclass(frozen=True)
class Conversations:
    """Conversations to draw batches from, as a task does.

    Attributes:
        tokenizer: knows every character of them.
        conversations: see `conversation_rows`.
        template: what stands around the words.

    Home lesson: 29_instruction_tuning
    """

    tokenizer: Tokenizer
    conversations: Sequence[Sequence[dict]]
    template: Template = QUESTIONS

    def batch(self, batch_size: int, generator: torch.Generator) -> Rows:
        """Draw rows to learn from; a conversation may come more than once."""
        n = len(self.conversations)
        if not n:
            raise ValueError("conversations=[] is empty; a batch needs one or more")
        drawn = torch.randint(n, (batch_size,), generator=generator).tolist()
        chosen = [self.conversations[i] for i in drawn]
        return conversation_rows(self.tokenizer, chosen, self.template)


def with_prompts(rows: Rows) -> Rows:
    """Return rows in which all counts but the filling behind the last answer.

    Home lesson: 29_instruction_tuning
    """
    still_to_come = rows.counted.flip(1).cumsum(dim=1).flip(1)  # (B, T)
    return rows._replace(counted=still_to_come > 0)


def with_replay(
    rows: Rows, text: Tensor, n_rows: int, generator: torch.Generator | None = None
) -> Rows:
    """Return rows with windows of a text after them, as wide, in which all counts.

    Args:
        rows: ``(B, T)``.
        text: ids of the text ``(N,)``, longer than T.
        n_rows: number of windows.
        generator: draws their places.

    Returns:
        Rows ``(B + n_rows, T)``.

    Raises:
        ValueError: if there is no window, or the text is too short for one.

    Home lesson: 29_instruction_tuning
    """
    inputs, targets = random_batch(text, n_rows, rows.inputs.size(1), generator)
    replayed = Rows(inputs, targets, torch.ones_like(inputs, dtype=torch.bool))
    return Rows(*map(torch.cat, zip(rows, replayed)))


def fine_tune(
    model: GPT,
    draw: Callable[[int, torch.Generator], Rows],
    config: SFTConfig,
    replay: Tensor | None = None,
) -> list[float]:
    """Tune a model on answers, in place.

    Args:
        model: afterwards it is in the mode that it was in.
        draw: draws rows, ``draw(batch_size, generator)``, as ``batch`` of a task and of
            `Conversations` does.
        config: how it is tuned.
        replay: ids ``(N,)`` of the text that the model comes from; needs ``n_replay``.

    Returns:
        The loss of each step in nats per token that counts, before its update.

    Raises:
        ValueError: if only one of ``replay`` and ``n_replay`` is given.

    Source: Ouyang et al. (2022), section 3.5.

    Home lesson: 29_instruction_tuning
    """
    if (replay is None) != (config.n_replay == 0):
        given = "no replay" if replay is None else "a replay"
        raise ValueError(f"n_replay={config.n_replay} does not go with {given}")
    generator = torch.Generator().manual_seed(config.seed)
    device = next(model.parameters()).device

    def next_batch() -> Rows:
        rows = draw(config.batch_size, generator)
        if not config.answers_only:
            rows = with_prompts(rows)
        if replay is not None:
            rows = with_replay(rows, replay, config.n_replay, generator)
        return Rows(*(part.to(device) for part in rows))

    return train(Training(model, config, masked_loss), next_batch)


def ask(
    model: GPT,
    tokenizer: Tokenizer,
    conversations: Sequence[Sequence[dict]],
    n_new: int = 32,
    template: Template = QUESTIONS,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Rollouts:
    """Let a model answer conversations, all at once.

    Args:
        model: writes.
        tokenizer: knows every character of them.
        conversations: each ends with a message of the user.
        n_new: tokens that an answer may have at most.
        template: what stands around the words; its stop is one token.
        temperature: see `sample_next`; 0 always takes the likeliest token.
        generator: source of the random draws.

    Raises:
        ValueError: if a conversation does not end with the user, a stop has several
            tokens, or as in `rollout`.

    Home lesson: 29_instruction_tuning
    """
    prompts, stop = [], []
    for number, messages in enumerate(conversations):
        if messages and messages[-1]["role"] != "user":
            raise ValueError(f"conversations[{number}] must end with the user")
        prompt, stop = _prompt(tokenizer, messages, template)
        prompts.append(prompt)
    if prompts and len(stop) != 1:
        raise ValueError(
            f"stop={template.stop!r} is {len(stop)} tokens; it must be one"
        )
    return rollout(model, prompts, n_new, *(stop or [0]), temperature, generator)


def _prompt(
    tokenizer: Tokenizer, messages: Sequence[dict], template: Template
) -> tuple[list[int], list[int]]:
    """Return a conversation up to where the answer begins, and the stop of an answer.

    They are what is left of the row of an empty answer, so that a model meets in use
    what it meets in training.
    """
    empty = {"role": "assistant", "content": ""}
    ids, own = encode_messages(tokenizer, [*messages, empty], template)
    end = len(own) - own[::-1].index(True)
    start = end
    while own[start - 1]:
        start -= 1
    return ids[:start], ids[start:end]


def stop_rate(rollouts: Rollouts, stop_id: int) -> float:
    """Return the share of answers that end with their stop.

    Home lesson: 29_instruction_tuning
    """
    last = [answer[-1] == stop_id for answer in rollouts.answers()]
    return sum(last) / len(last)


def share_right(
    model: GPT, tokenizer: Tokenizer, questions: dict[str, Sequence[Example]]
) -> dict[str, float]:
    """Return the share of right answers by skill, as greedy generation gives them.

    Args:
        model: any.
        tokenizer: knows every character of the questions.
        questions: examples by the name of their skill.

    Raises:
        ValueError: if a skill has no questions.

    Home lesson: 29_instruction_tuning
    """
    return {
        name: exact_match(model, *encode_examples(tokenizer, examples))
        for name, examples in questions.items()
    }
