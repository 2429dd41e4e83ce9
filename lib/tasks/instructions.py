"""Questions about words in many wordings, and plain statements of the same facts."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from lib.shapes import require_between
from lib.tasks.task import Example, ExampleTask
from lib.text.chat import QUESTIONS, render
from lib.text.tokenizer import CharTokenizer

__all__ = [
    "Skill",
    "SKILLS",
    "Instructions",
    "word_lists",
    "draw_statement",
    "draw_repeated",
]

WORDS_FILE = Path(__file__).resolve().parents[2] / "data" / "words.txt"
N_HELD_OUT = 300  # words, at the end of the file
LETTERS = "abcdefghilmnoprstuvwy"
DIGITS = range(10)
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
LONGEST = 127
MOST_OF_EACH = 1_000
TEST_SEED = 31
KINDS = ("words", "wordings")


@cache
def word_lists() -> tuple[list[str], list[str]]:
    """Return the words to learn with, and the words that are kept for the test.

    They have 3 to 6 letters and come from ``data/words.txt``: so they are the same
    whatever text is found.

    Home lesson: 29_instruction_tuning
    """
    words = WORDS_FILE.read_text("utf-8").split()
    return words[:-N_HELD_OUT], words[-N_HELD_OUT:]


Values = dict[str, str | int]
Draw = Callable[[random.Random, bool], Values]


def _draw_word(rng: random.Random, unseen: bool) -> Values:
    return {"w": rng.choice(word_lists()[unseen])}


def _draw_letter(rng: random.Random, unseen: bool) -> Values:
    """Draw a word, and a letter that is in it half of the time."""
    word = rng.choice(word_lists()[unseen])
    others = [letter for letter in LETTERS if letter not in word]
    return {"w": word, "l": rng.choice(word if rng.random() < 0.5 else others)}


def _draw_numbers(rng: random.Random, unseen: bool) -> Values:
    """Draw two digits; a fifth of all pairs is kept for the test."""
    pairs = [(a, b) for a in DIGITS for b in DIGITS if ((3 * a + b) % 5 == 0) == unseen]
    return dict(zip("ab", rng.choice(pairs)))


def _draw_words(rng: random.Random, unseen: bool) -> Values:
    words = word_lists()[unseen]
    return {"w": " ".join(rng.choice(words) for _ in range(rng.randint(2, 4)))}


@dataclass(frozen=True)
class Skill:
    """One thing to ask for.

    Attributes:
        draw: draws what a question is about; True for what is kept for the test.
        answer: makes the right answer of it.
        known: wordings to learn with, each with the names of what is drawn in braces.
        unseen: wordings that are kept for the test.

    Home lesson: 29_instruction_tuning
    """

    draw: Draw
    answer: Callable[[Values], str]
    known: tuple[str, ...]
    unseen: tuple[str, ...]


def _skill(draw: Draw, answer: Callable[[Values], str], wordings: str) -> Skill:
    """Return a skill whose wordings stand in lines; the last two are kept."""
    lines = tuple(line.strip() for line in wordings.strip().splitlines())
    return Skill(draw, answer, lines[:-2], lines[-2:])


SKILLS: dict[str, Skill] = {
    "reverse": _skill(
        _draw_word,
        lambda drawn: drawn["w"][::-1],
        """Reverse the word "{w}".
        Write "{w}" backwards.
        Spell "{w}" from right to left.
        Give the letters of "{w}" in reverse.
        Turn "{w}" around.
        Say the word "{w}" backwards.
        Read "{w}" from the end.
        What is "{w}" in reverse?
        Write the word "{w}" in reverse.
        Spell "{w}" backwards.""",
    ),
    "upper": _skill(
        _draw_word,
        lambda drawn: drawn["w"].upper(),
        """Write "{w}" in capital letters.
        Put "{w}" in upper case.
        Capitalise every letter of "{w}".
        Make "{w}" all capitals.
        Shout the word "{w}".
        Give "{w}" in capitals.
        Use capital letters for the word "{w}".
        What is "{w}" in upper case?
        Put the word "{w}" in capital letters.
        Write "{w}" in upper case.""",
    ),
    "count": _skill(
        _draw_word,
        lambda drawn: str(len(drawn["w"])),
        """How many letters are in "{w}"?
        Count the letters of "{w}".
        How long is the word "{w}"?
        Give the number of letters in "{w}".
        What is the length of "{w}"?
        How many letters has the word "{w}"?
        Say how many letters "{w}" has.
        What number of letters is in "{w}"?
        How many letters does "{w}" have?
        Count the letters in the word "{w}".""",
    ),
    "first": _skill(
        _draw_word,
        lambda drawn: drawn["w"][0],
        """What is the first letter of "{w}"?
        Give the first letter of "{w}".
        Which letter begins "{w}"?
        How does the word "{w}" start?
        Write the first letter of "{w}".
        Say the first letter of the word "{w}".
        With which letter does "{w}" begin?
        Which is the first letter in "{w}"?
        Which letter is first in "{w}"?
        Tell me the first letter of "{w}".""",
    ),
    "last": _skill(
        _draw_word,
        lambda drawn: drawn["w"][-1],
        """What is the last letter of "{w}"?
        Give the last letter of "{w}".
        Which letter ends "{w}"?
        How does the word "{w}" end?
        Write the last letter of "{w}".
        Say the last letter of the word "{w}".
        With which letter does "{w}" end?
        Which is the last letter in "{w}"?
        Which letter is last in "{w}"?
        Tell me the last letter of "{w}".""",
    ),
    "repeat": _skill(
        _draw_word,
        lambda drawn: f"{drawn['w']} {drawn['w']}",
        """Repeat "{w}" twice.
        Say "{w}" two times.
        Write the word "{w}" twice.
        Say "{w}" and again "{w}".
        Double the word "{w}".
        Give the word "{w}" two times.
        Write "{w}" and "{w}" again.
        Say it twice: "{w}".
        Write "{w}" two times.
        Say the word "{w}" twice.""",
    ),
    "spell": _skill(
        _draw_word,
        lambda drawn: "-".join(drawn["w"]),
        """Spell "{w}" with hyphens.
        Put a hyphen between the letters of "{w}".
        Spell out "{w}".
        Separate the letters of "{w}".
        Write "{w}" letter by letter.
        Spell the word "{w}" out.
        Give "{w}" letter by letter, with hyphens.
        Write the word "{w}" with hyphens.
        Spell the word "{w}" with hyphens.
        Spell "{w}" letter by letter.""",
    ),
    "sum": _skill(
        _draw_numbers,
        lambda drawn: str(drawn["a"] + drawn["b"]),
        """What is {a} plus {b}?
        Add {a} and {b}.
        Compute {a} + {b}.
        How much is {a} and {b}?
        Give the sum of {a} and {b}.
        What do {a} and {b} make?
        Say what {a} plus {b} is.
        Add {b} to {a}.
        What is the sum of {a} and {b}?
        How much is {a} plus {b}?""",
    ),
    "contains": _skill(
        _draw_letter,
        lambda drawn: "yes" if drawn["l"] in drawn["w"] else "no",
        """Is there a letter {l} in "{w}"?
        Does "{w}" contain {l}?
        Does the word "{w}" have the letter {l}?
        Is {l} in "{w}"?
        Can you find {l} in "{w}"?
        Is the letter {l} in "{w}"?
        Does the word "{w}" contain {l}?
        Is {l} a letter of "{w}"?
        Does "{w}" have the letter {l}?
        Is there {l} in the word "{w}"?""",
    ),
    "copy": _skill(
        _draw_words,
        lambda drawn: drawn["w"],
        """Copy: "{w}"
        Repeat after me: "{w}"
        Say this: "{w}"
        Write down "{w}".
        Quote the words "{w}".
        Copy what I say: "{w}"
        Write the words "{w}".
        Say the words "{w}".
        Copy the words "{w}".
        Write this: "{w}\"""",
    ),
}
"""The ten skills by name, each with eight wordings to learn with and two others."""


@dataclass(frozen=True)
class Instructions(ExampleTask):
    """Short instructions about words and small numbers, each in several wordings.

    Words, pairs of numbers and wordings that are kept for the test are never drawn.

    Attributes:
        unseen: What the test asks of: new words in known wordings (words), or new words
            in new wordings (wordings).
        n_each: Questions of each skill in the test.
    """

    unseen: str = "words"
    n_each: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between(1, MOST_OF_EACH, n_each=self.n_each)
        if self.unseen not in KINDS:
            allowed = ", ".join(KINDS)
            raise ValueError(f"unseen={self.unseen!r} must be one of {allowed}")

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        """The newline, which ends an answer, and the printable characters of ASCII."""
        return CharTokenizer(CHARACTERS)

    @property
    def context_length(self) -> int:
        """More than the longest question and its answer have."""
        return LONGEST

    def draw(self, rng: random.Random) -> Example:
        """Draw an instruction to learn from."""
        return _ask(rng, SKILLS[rng.choice([*SKILLS])])

    @cached_property
    def questions(self) -> dict[str, list[Example]]:
        """The test, by skill; the same with every seed.

        A question may come twice where there are few, as with two digits.
        """
        rng, new_wording = random.Random(TEST_SEED), self.unseen == "wordings"
        return {
            name: [_ask(rng, skill, True, new_wording) for _ in range(self.n_each)]
            for name, skill in SKILLS.items()
        }

    @cached_property
    def test_examples(self) -> list[Example]:
        """The questions of all skills, each once."""
        every = (example for some in self.questions.values() for example in some)
        return list({example.prompt: example for example in every}.values())


def _ask(
    rng: random.Random, skill: Skill, new_words: bool = False, new_wording: bool = False
) -> Example:
    """Draw a question and its answer, as the template `QUESTIONS` writes them."""
    drawn = skill.draw(rng, new_words)
    wording = rng.choice(skill.unseen if new_wording else skill.known)
    question = {"role": "user", "content": wording.format(**drawn)}
    return Example(
        render([question], QUESTIONS, ask=True), skill.answer(drawn) + QUESTIONS.stop
    )



def draw_statement(rng: random.Random) -> str:
    """Draw a line that states a fact about a word to learn with, or about a sum.

    No line asks for anything, and none has the form of a question and its answer.

    Home lesson: 29_instruction_tuning
    """
    word = rng.choice(word_lists()[0])
    a, b = rng.choice(DIGITS), rng.choice(DIGITS)
    some, drawn = _draw_words(rng, False)["w"], _draw_letter(rng, False)
    is_in = SKILLS["contains"].answer(drawn)
    found = f'The letter {drawn["l"]} is in "{drawn["w"]}", {is_in}.'
    lines = [
        f'The word "{word}" read backwards is {word[::-1]}.',
        f'The word "{word}" in capitals is {word.upper()}.',
        f'The word "{word}" has {len(word)} letters.',
        f'The word "{word}" begins with {word[0]} and ends with {word[-1]}.',
        f'He said "{word}" and again {word} {word}.',
        f'The letters of "{word}" are {"-".join(word)}.',
        f"We know that {a} and {b} make {a + b}.",
        *(found, found),  # there are two kinds of it, yes and no
        f'She said "{some}" and he wrote {some}.',
    ]
    return rng.choice(lines) + "\n"


def draw_repeated(rng: random.Random) -> str:
    """Draw a line of random letters that comes two to four times: a text to copy.

    Home lesson: 29_instruction_tuning
    """
    some = "".join(rng.choices(string.ascii_lowercase + " ", k=rng.randint(4, 14)))
    return " ".join([some] * rng.randint(2, 4)) + "\n"
