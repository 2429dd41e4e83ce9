"""What an English sentence leaves open in French, and how often each way is taken.

Synonyms, places of adverbs, and the polite or the familiar form of "you".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["Choose", "first_of", "drawn_with", "all_ways"]

Option = TypeVar("Option")
Choose = Callable[[Sequence[tuple[Option, float]]], Option]

# Of the same gender as the first word, which stands in the grammar: both numbers.
NOUN_SYNONYMS = {
    "friend": [("copain", "copains", 0.4)],
    "boy": [("gamin", "gamins", 0.4)],
    "girl": [("gamine", "gamines", 0.4)],
    "house": [("demeure", "demeures", 0.3)],
    "book": [("bouquin", "bouquins", 0.4)],
    "car": [("auto", "autos", 0.4)],
}
ADJECTIVE_SYNONYMS = {  # with the place: whether it stands before the noun
    "big": [("gros gros grosse grosses", True, 0.4)],
    "bad": [("méchant méchants méchante méchantes", False, 0.4)],
    "famous": [("connu connus connue connues", False, 0.4)],
    "happy": [
        ("content contents contente contentes", False, 0.3),
        ("joyeux joyeux joyeuse joyeuses", False, 0.3),
    ],
}
VERB_SYNONYMS = {  # with je, il, ils, tu, vous
    "find": [("découvre découvre découvrent découvres découvrez", 0.4)],
    "want": [("désire désire désirent désires désirez", 0.4)],
    "show": [("présente présente présentent présentes présentez", 0.4)],
    "leave": [("laisse laisse laissent laisses laissez", 0.4)],
    "carry": [
        ("transporte transporte transportent transportes transportez", 0.3),
        ("promène promène promènent promènes promenez", 0.3),
    ],
}
OFTEN = [("souvent", 0.6), ("fréquemment", 0.4)]
OFTEN_AFTER_NOT = [(True, 0.7), (False, 0.3)]  # ne voit pas souvent, souvent pas
TIME_LAST = [(True, 0.6), (False, 0.4)]  # of "today": at the end, or before all else
POLITE = [(True, 0.6), (False, 0.4)]  # for "you", where nothing else decides
ADDRESSES = [  # what the sentence begins with, and whether it asks for "vous"
    ("sir", "monsieur", True),
    ("madam", "madame", True),
    ("mum", "maman", False),
    ("dad", "papa", False),
]
YOU = 0.25  # of all sentences have "you" as their subject, half of them an address


def first_of(options: Sequence[tuple[Option, float]]) -> Option:
    """Choose the first: without ambiguity every sentence has one translation."""
    return options[0][0]


def drawn_with(rng: random.Random) -> Choose:
    """Return a function that draws one of some options, by their shares."""

    def choose(options: Sequence[tuple[Option, float]]) -> Option:
        things, shares = zip(*options)
        return rng.choices(things, shares)[0]

    return choose


class _Recorded:
    """Take given options, then the first ones; remember what there was to choose."""

    def __init__(self, taken: list[int]) -> None:
        self.taken, self.counts, self.share, self.n = list(taken), [], 1.0, 0

    def __call__(self, options: Sequence[tuple[Option, float]]) -> Option:
        if self.n == len(self.taken):
            self.taken.append(0)
        thing, share = options[self.taken[self.n]]
        self.counts.append(len(options))
        self.share *= share
        self.n += 1
        return thing


def all_ways(make: Callable[[Choose], Option]) -> Iterator[tuple[Option, float]]:
    """Yield whatever can be made by choosing, each with its share."""
    waiting: list[list[int]] = [[]]
    while waiting:
        start = waiting.pop()
        choose = _Recorded(start)
        yield make(choose), choose.share
        for place in range(len(start), len(choose.counts)):
            for other in range(1, choose.counts[place]):
                waiting.append([*choose.taken[:place], other])
