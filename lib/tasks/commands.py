"""Commands and the actions that they stand for: known words in new combinations.

A small version of SCAN (Lake and Baroni 2018), without "around".
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from lib.tasks.task import Example, ExampleTask
from lib.text.tokenizer import WordTokenizer

__all__ = ["Commands", "phrase", "all_commands"]

ACTIONS = {"walk": "WALK", "run": "RUN", "look": "LOOK", "jump": "JUMP", "turn": ""}
TURNS = {"left": "LTURN", "right": "RTURN"}
TIMES = {"": 1, "twice": 2, "thrice": 3}
SPLITS = ("random", "jump")
BARE_SHARE = 10  # one in so many examples is "jump" alone; as many are its combinations


def phrase(verb: str, turn: str = "", opposite: bool = False, times: str = "") -> tuple:
    """Return a command without "and" or "after", and its actions.

    Args:
        verb: walk, run, look, jump, or turn, which needs a turn.
        turn: left or right; empty for neither.
        opposite: whether to turn twice.
        times: twice or thrice; empty for once.

    Returns:
        The words and the actions, each as one text: ``("walk left twice", "LTURN WALK
        LTURN WALK")``.

    Raises:
        ValueError: for an unknown word, or words that do not go together.
    """
    for name, word, allowed in (
        ("verb", verb, ACTIONS),
        ("turn", turn, ("", *TURNS)),
        ("times", times, TIMES),
    ):
        if word not in allowed:
            raise ValueError(f"{name}={word!r} must be one of {', '.join(allowed)}")
    if not turn and (opposite or verb == "turn"):
        raise ValueError(f"turn={turn!r} must be left or right here")
    words = [verb, "opposite" * opposite, turn, times]
    turning = [TURNS[turn]] * (1 + opposite) if turn else []
    actions = (turning + [ACTIONS[verb]]) * TIMES[times]
    return tuple(" ".join(filter(None, each)) for each in (words, actions))


def all_commands() -> list[Example]:
    """Return every command: one phrase, or two with "and" or "after" between them."""
    phrases = [
        phrase(verb, turn, opposite, times)
        for verb in ACTIONS
        for turn in ("", *TURNS)
        for opposite in (False, True)
        for times in TIMES
        if turn or not (opposite or verb == "turn")
    ]
    pairs = list(phrases)
    for first, actions in phrases:
        for second, others in phrases:
            pairs.append((f"{first} and {second}", f"{actions} {others}"))
            pairs.append((f"{first} after {second}", f"{others} {actions}"))
    return [Example(f"{words} =>", f"{does} <eos>") for words, does in pairs]


@dataclass(frozen=True)
class Commands(ExampleTask):
    """Actions that a command stands for.

    Attributes:
        split: random, or jump: the test has all that "jump" is combined with.
        n_jump: With split=jump, combinations with "jump" to learn from nevertheless.
    """

    split: str = "random"
    n_jump: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r} must be one of {', '.join(SPLITS)}")
        if self.n_jump and self.split != "jump":
            raise ValueError(f"n_jump={self.n_jump} needs split=jump")
        if self.n_examples is not None and self.split == "jump":
            raise ValueError(f"n_examples={self.n_examples} needs split=random")
        most = len(self._combined) // 2
        if not 0 <= self.n_jump <= most:
            raise ValueError(f"n_jump={self.n_jump} must be 0 .. {most}")

    @cached_property
    def tokenizer(self) -> WordTokenizer:
        """The words of the commands and of the actions."""
        texts = (f"{e.prompt} {e.answer}" for e in all_commands())
        return WordTokenizer(text.removesuffix("<eos>") for text in texts)

    @cached_property
    def context_length(self) -> int:
        """The length of the longest row."""
        texts = (f"{e.prompt} {e.answer}" for e in all_commands())
        return max(len(text.split()) for text in texts)

    @cached_property
    def _commands(self) -> list[Example]:
        """All commands but those that are combined with "jump", if these are tested."""
        held_out = {e.prompt for e in self._combined}
        return [e for e in all_commands() if e.prompt not in held_out]

    @cached_property
    def _combined(self) -> list[Example]:
        """Commands with "jump" and another word; none if the split is random."""
        if self.split == "random":
            return []
        with_jump = (e for e in all_commands() if "jump" in e.prompt)
        return [e for e in with_jump if e.prompt != "jump =>"]

    @cached_property
    def jump_examples(self) -> list[Example]:
        """The ``n_jump`` combinations with "jump" to learn from; never in the test."""
        free = [e for e in self._combined if e.prompt not in self._test_questions]
        return random.Random(self.seed).sample(free, self.n_jump)

    def draw_for_test(self, rng: random.Random) -> Example:
        """Draw any command, or one in which "jump" is combined."""
        return rng.choice(self._combined or self._commands)

    def draw(self, rng: random.Random) -> Example:
        """Draw a command to learn from."""
        if self.split == "jump":
            place = rng.randrange(BARE_SHARE)
            if place == 0:
                return Example("jump =>", "JUMP <eos>")
            if place == 1 and self.n_jump:
                return rng.choice(self.jump_examples)
        return rng.choice(self._commands)
