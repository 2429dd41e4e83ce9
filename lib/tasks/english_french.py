"""Pairs of English and French sentences from a small grammar, with held-out parts.

The grammar has what makes French hard: gender and number, adjectives before and after
the noun, elision, pronouns before the verb, and ``ne ... pas`` with its ``de``.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from lib.shapes import require_sizes

__all__ = ["Pair", "TranslationData", "translation_pairs", "translation_data"]


class Pair(NamedTuple):
    """A sentence, its translation, and which words belong together.

    Attributes:
        english: words with spaces between them.
        french: the same; an elided word stands alone, as in ``l' arbre``.
        links: for each French noun and adjective, its place among the French words and
            the place of the English word that it translates.
    """

    english: str
    french: str
    links: tuple[tuple[int, int], ...]


class TranslationData(NamedTuple):
    """Pairs to learn from, and two kinds of pairs to test with.

    Attributes:
        train: pairs for training; some come twice.
        unseen: other sentences, from the same adjective-noun pairs.
        held_out: sentences with an adjective-noun pair that `train` never has.
    """

    train: list[Pair]
    unseen: list[Pair]
    held_out: list[Pair]


class Noun(NamedTuple):
    """A noun in both languages."""

    english: str
    plural: str
    french: str
    french_plural: str
    gender: str
    kind: str  # what it can do or suffer: "being", "place" or "thing"


class Adjective(NamedTuple):
    """An adjective in both languages."""

    english: str
    forms: dict[str, str]  # by gender and number: "ms", "mp", "fs", "fp"
    first: bool  # whether it stands before the noun
    kinds: tuple[str, ...]  # the nouns that it goes with


class Verb(NamedTuple):
    """A verb in both languages."""

    base: str
    third: str
    forms: tuple[str, str, str]  # with je, il, ils
    kinds: tuple[str, ...]  # the nouns that it goes with


class Phrase(NamedTuple):
    """English words, and French ones with the place of the English word or None."""

    english: list[str]
    french: list[tuple[str, int | None]]
    form: int = 0  # of the verb that goes with it: 0 je, 1 il, 2 ils


BEING, PLACE, THING = "being", "place", "thing"
ANY = (BEING, PLACE, THING)

NOUNS = [
    Noun(*words.split(), kind)
    for kind, lines in {
        BEING: "cat cats chat chats m/dog dogs chien chiens m/"
        "boy boys garçon garçons m/baker bakers boulanger boulangers m/"
        "horse horses cheval chevaux m/king kings roi rois m/"
        "bird birds oiseau oiseaux m/friend friends ami amis m/"
        "girl girls fille filles f/queen queens reine reines f/"
        "mouse mice souris souris f",
        PLACE: "garden gardens jardin jardins m/house houses maison maisons f/"
        "school schools école écoles f/church churches église églises f",
        THING: "book books livre livres m/tree trees arbre arbres m/"
        "table tables table tables f/car cars voiture voitures f/"
        "flower flowers fleur fleurs f/apple apples pomme pommes f/"
        "star stars étoile étoiles f",
    }.items()
    for words in lines.split("/")
]

ADJECTIVES = [
    Adjective(english, dict(zip(("ms", "mp", "fs", "fp"), forms.split())), first, kinds)
    for english, forms, first, kinds in [
        ("red", "rouge rouges rouge rouges", False, ANY),
        ("black", "noir noirs noire noires", False, ANY),
        ("green", "vert verts verte vertes", False, ANY),
        ("white", "blanc blancs blanche blanches", False, ANY),
        ("blue", "bleu bleus bleue bleues", False, ANY),
        ("happy", "heureux heureux heureuse heureuses", False, (BEING,)),
        ("famous", "célèbre célèbres célèbre célèbres", False, ANY),
        ("slow", "lent lents lente lentes", False, (BEING,)),
        ("small", "petit petits petite petites", True, ANY),
        ("big", "grand grands grande grandes", True, ANY),
        ("young", "jeune jeunes jeune jeunes", True, (BEING,)),
        ("old", "vieux vieux vieille vieilles", True, ANY),
        ("pretty", "joli jolis jolie jolies", True, ANY),
        ("bad", "mauvais mauvais mauvaise mauvaises", True, ANY),
    ]
]

VERBS = [
    Verb(base, third, tuple(forms.split()), kinds)
    for base, third, forms, kinds in [
        ("see", "sees", "vois voit voient", ANY),
        ("draw", "draws", "dessine dessine dessinent", ANY),
        ("look for", "looks for", "cherche cherche cherchent", ANY),
        ("find", "finds", "trouve trouve trouvent", ANY),
        ("want", "wants", "veux veut veulent", ANY),
        ("show", "shows", "montre montre montrent", ANY),
        ("know", "knows", "connais connaît connaissent", ANY),
        ("leave", "leaves", "quitte quitte quittent", (BEING, PLACE)),
        ("follow", "follows", "suis suit suivent", (BEING,)),
        ("take", "takes", "prends prend prennent", (THING,)),
        ("sell", "sells", "vends vend vendent", (PLACE, THING)),
        ("carry", "carries", "porte porte portent", (BEING, THING)),
    ]
]

# French determiners: before m, f, a vowel, and in the plural.
DETERMINERS = {
    "the": ("le", "la", "l'", "les"),
    "a": ("un", "une", None, None),
    "this": ("ce", "cette", "cet", None),
    "these": (None, None, None, "ces"),
    "my": ("mon", "ma", "mon", "mes"),
    "her": ("son", "sa", "son", "ses"),
    "some": (None, None, None, "des"),
}
SINGULAR = ["the", "the", "a", "this", "my", "her"]
PLURAL = ["the", "the", "my", "her", "these", "some"]
SUBJECTS = [("I", "je", 0), ("he", "il", 1), ("she", "elle", 1), ("they", "ils", 2)]
OBJECTS = [("him", "le"), ("her", "la"), ("them", "les")]
PREPOSITIONS = [
    ("in", "dans", (PLACE,)),
    ("behind", "derrière", ANY),
    ("with", "avec", (BEING, THING)),
    ("for", "pour", (BEING,)),
]
ADVERBS = [("today", "aujourd'hui"), ("here", "ici"), ("tomorrow", "demain")]

HELD_OUT = {  # one in nine of all pairs of an adjective and a noun
    (adjective.english, noun.english)
    for a, adjective in enumerate(ADJECTIVES)
    for n, noun in enumerate(NOUNS)
    if (5 * a + 2 * n) % 9 == 0 and noun.kind in adjective.kinds
}


def translation_pairs(
    n_pairs: int, seed: int | str = 0, held_out: bool = False
) -> list[Pair]:
    """Return sentence pairs; the same seed gives the same ones.

    Args:
        n_pairs: how many.
        seed: of the random draws.
        held_out: True for sentences that hold an adjective-noun pair of `HELD_OUT`,
            False for sentences without any.

    Raises:
        ValueError: if ``n_pairs`` is below 1.
    """
    require_sizes(n_pairs=n_pairs)
    rng, pairs = random.Random(seed), []
    while len(pairs) < n_pairs:
        used: set[tuple[str, str]] = set()
        phrase = _sentence(rng, used)
        if bool(used & HELD_OUT) == held_out:
            french = [word for word, _ in phrase.french]
            links = [(i, e) for i, (_, e) in enumerate(phrase.french) if e is not None]
            pairs.append(Pair(" ".join(phrase.english), " ".join(french), tuple(links)))
    return pairs


def translation_data(
    n_train: int = 40_000, n_test: int = 500, seed: int = 0
) -> TranslationData:
    """Return pairs to train with, and two kinds to test with that training never sees.

    Args:
        n_train: pairs to draw for training; those that the tests have are left out.
        n_test: pairs of each kind to test with, all different.
        seed: of the random draws.

    Raises:
        ValueError: if a number is below 1.
    """
    tests = []
    for held_out in (False, True):
        drawn = translation_pairs(3 * n_test, f"{seed} test {held_out}", held_out)
        different = list({pair.english: pair for pair in drawn}.values())
        tests.append(different[:n_test])
    hidden = {pair.english for pair in tests[0]}
    train = translation_pairs(n_train, f"{seed} train")
    return TranslationData([p for p in train if p.english not in hidden], *tests)


def _sentence(rng: random.Random, used: set) -> Phrase:
    """Return a sentence; add its adjective-noun pairs to ``used``."""
    if rng.random() < 0.3:
        english, french, form = rng.choice(SUBJECTS)
        subject = Phrase([english], [(french, None)], form)
    else:
        subject = _noun_phrase(rng, used, (BEING,))
    verb, negated, often = rng.choice(VERBS), rng.random() < 0.3, rng.random() < 0.1
    before, after = [], Phrase([], [])
    if rng.random() < 0.3:
        english, french = rng.choice(OBJECTS)
        after, before = Phrase([english], []), [(french, None)]
    else:
        after = _noun_phrase(rng, used, verb.kinds, negated)
    core = _join(subject, _verb_phrase(verb, subject.form, negated, often, before))
    return _join(_join(core, after), _ending(rng, used))


def _verb_phrase(
    verb: Verb, form: int, negated: bool, often: bool, before: list
) -> Phrase:
    """Return the verb with what stands around it."""
    french = [*before, (verb.forms[form], None)]
    if negated:
        does = "does" if form == 1 else "do"
        english = [does, "not", *["often"] * often, *verb.base.split()]
        french = [("ne", None), *french, ("pas", None)]
    else:
        english = [
            *["often"] * often,
            *(verb.third if form == 1 else verb.base).split(),
        ]
    return Phrase(english, french + [("souvent", None)] * often)


def _noun_phrase(
    rng: random.Random, used: set, kinds: tuple[str, ...], negated: bool = False
) -> Phrase:
    """Return a noun of one of the kinds, with determiner and perhaps adjective."""
    noun = rng.choice([noun for noun in NOUNS if noun.kind in kinds])
    plural = rng.random() < 0.45
    determiner = rng.choice(PLURAL if plural else SINGULAR)
    english = [determiner, noun.plural if plural else noun.english]
    french = [(noun.french_plural if plural else noun.french, 1)]
    adjective = None
    if rng.random() < 0.55:
        adjective = rng.choice([a for a in ADJECTIVES if noun.kind in a.kinds])
        used.add((adjective.english, noun.english))
        english.insert(1, adjective.english)
        word = adjective.forms[noun.gender + "sp"[plural]]
        if word == "vieux" and not plural and _starts_with_vowel(noun.french):
            word = "vieil"
        french = [(french[0][0], 2)]
        french.insert(0 if adjective.first else 1, (word, 1))
    if english[0] == "a" and _starts_with_vowel(english[1]):
        english[0] = "an"
    first = adjective is not None and adjective.first
    word = _determiner(determiner, noun.gender, plural, french[0][0], first, negated)
    return Phrase(english, [(word, None), *french], 2 if plural else 1)


def _determiner(
    english: str, gender: str, plural: bool, following: str, first: bool, negated: bool
) -> str:
    """Return the French determiner before a word; ``first``: it is an adjective."""
    vowel = _starts_with_vowel(following)
    if negated and english in ("a", "some"):
        return "d'" if vowel else "de"  # il ne voit pas de chien
    if english == "some" and first:
        return "de"  # de petits chiens
    masculine, feminine, elided, many = DETERMINERS[english]
    if english == "this" and gender == "f":
        elided = feminine  # cet arbre, but cette étoile
    if plural:
        return many
    if vowel and elided:
        return elided
    return feminine if gender == "f" else masculine


def _starts_with_vowel(word: str) -> bool:
    """Return whether a word before this one is shortened."""
    return word[0] in "aeiouéê"


def _ending(rng: random.Random, used: set) -> Phrase:
    """Return a place, a companion, a time, or, most often, nothing."""
    draw = rng.random()
    if draw < 0.25:
        english, french, kinds = rng.choice(PREPOSITIONS)
        start = Phrase([english], [(french, None)])
        return _join(start, _noun_phrase(rng, used, kinds))
    if draw < 0.4:
        english, french = rng.choice(ADVERBS)
        return Phrase([english], [(french, None)])
    return Phrase([], [])


def _join(a: Phrase, b: Phrase) -> Phrase:
    """Return one phrase after the other."""
    n = len(a.english)
    moved = [(word, None if e is None else e + n) for word, e in b.french]
    return Phrase(a.english + b.english, a.french + moved, a.form)
