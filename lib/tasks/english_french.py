"""Pairs of English and French sentences from a small grammar, with held-out parts.

The grammar has what makes French hard: gender and number, adjectives before and after
the noun, elision, pronouns before the verb, and ``ne ... pas`` with its ``de``. On
request its sentences have several translations, as real ones do.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from lib.shapes import require_sizes
from lib.tasks.french_choices import (
    ADDRESSES,
    ADJECTIVE_SYNONYMS,
    NOUN_SYNONYMS,
    OFTEN,
    OFTEN_AFTER_NOT,
    POLITE,
    TIME_LAST,
    VERB_SYNONYMS,
    YOU,
    Choose,
    all_ways,
    drawn_with,
    first_of,
)

__all__ = [
    "Pair",
    "TranslationData",
    "translation_pairs",
    "translation_data",
    "Question",
    "AmbiguousData",
    "ambiguous_data",
]


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
    forms: tuple[str, ...]  # with je, il, ils, tu, vous
    kinds: tuple[str, ...]  # the nouns that it goes with


class Phrase(NamedTuple):
    """English words, and French ones with the place of the English word or None."""

    english: list[str]
    french: list[tuple[str, int | None]]
    form: int = 0  # of the verb that goes with it: its place in `Verb.forms`


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
        ("see", "sees", "vois voit voient vois voyez", ANY),
        ("draw", "draws", "dessine dessine dessinent dessines dessinez", ANY),
        ("look for", "looks for", "cherche cherche cherchent cherches cherchez", ANY),
        ("find", "finds", "trouve trouve trouvent trouves trouvez", ANY),
        ("want", "wants", "veux veut veulent veux voulez", ANY),
        ("show", "shows", "montre montre montrent montres montrez", ANY),
        ("know", "knows", "connais connaît connaissent connais connaissez", ANY),
        ("leave", "leaves", "quitte quitte quittent quittes quittez", (BEING, PLACE)),
        ("follow", "follows", "suis suit suivent suis suivez", (BEING,)),
        ("take", "takes", "prends prend prennent prends prenez", (THING,)),
        ("sell", "sells", "vends vend vendent vends vendez", (PLACE, THING)),
        ("carry", "carries", "porte porte portent portes portez", (BEING, THING)),
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
            pairs.append(_pair(phrase))
    return pairs


def _pair(phrase: Phrase) -> Pair:
    """Return a sentence as a pair of texts with its links."""
    french = " ".join(word for word, _ in phrase.french)
    links = [(i, e) for i, (_, e) in enumerate(phrase.french) if e is not None]
    return Pair(" ".join(phrase.english), french, tuple(links))


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


class Question(NamedTuple):
    """An English sentence with all its translations.

    Attributes:
        english: words with spaces between them.
        answers: each correct French sentence -> its share, which sum to 1.
    """

    english: str
    answers: dict[str, float]


class AmbiguousData(NamedTuple):
    """Pairs to learn from, and sentences with all their translations to test with.

    Attributes:
        train: pairs for training, some of them wrong.
        unseen: other sentences.
    """

    train: list[Pair]
    unseen: list[Question]


def ambiguous_data(
    n_train: int = 40_000, n_test: int = 500, seed: int = 0, noise: float = 0.05
) -> AmbiguousData:
    """Return pairs whose sentences have several translations, as real ones do.

    There are synonyms with shares, adverbs with two places, and a "you" that is polite
    after "sir" or "madam", familiar after "mum" or "dad", and either one elsewhere.

    Args:
        n_train: pairs to draw for training; those that the tests have are left out.
        n_test: sentences to test with, all different.
        seed: of the random draws.
        noise: share of the training pairs whose French breaks off before its end.

    Raises:
        ValueError: if a number is below 1, or ``noise`` is not in [0, 1].
    """
    require_sizes(n_train=n_train, n_test=n_test)
    if not 0 <= noise <= 1:
        raise ValueError(f"noise={noise} must lie in [0, 1]")
    rng, questions = random.Random(f"{seed} ambiguous test"), {}
    while len(questions) < n_test:
        question = _question(rng)
        questions.setdefault(question.english, question)
    rng, train = random.Random(f"{seed} ambiguous train"), []
    choose = drawn_with(random.Random(f"{seed} choices"))
    broken = random.Random(f"{seed} noise")
    for _ in range(n_train):
        pair = _pair(_sentence(rng, set(), choose, YOU))
        if broken.random() < noise:
            words = pair.french.split()
            words = words[: broken.randrange(len(words))]
            links = tuple(link for link in pair.links if link[0] < len(words))
            pair = Pair(pair.english, " ".join(words), links)
        if pair.english not in questions:
            train.append(pair)
    return AmbiguousData(train, list(questions.values()))


def _question(rng: random.Random) -> Question:
    """Return a sentence with all its translations."""
    start, answers = rng.getstate(), {}

    def make(choose: Choose) -> Pair:
        rng.setstate(start)
        return _pair(_sentence(rng, set(), choose, YOU))

    for pair, share in all_ways(make):
        answers[pair.french] = answers.get(pair.french, 0.0) + share
    return Question(pair.english, answers)


def _sentence(
    rng: random.Random, used: set, choose: Choose = first_of, you: float = 0.0
) -> Phrase:
    """Return a sentence; add its adjective-noun pairs to ``used``.

    ``you`` is the share of sentences with that subject, ``choose`` takes one of the
    ways to translate. What it takes changes no other draw of ``rng``.
    """
    if you and rng.random() < you:
        subject = _you(rng, choose)
    elif rng.random() < 0.3:
        english, french, form = rng.choice(SUBJECTS)
        subject = Phrase([english], [(french, None)], form)
    else:
        subject = _noun_phrase(rng, used, (BEING,), choose=choose)
    verb, negated, often = rng.choice(VERBS), rng.random() < 0.3, rng.random() < 0.1
    before, after = [], Phrase([], [])
    if rng.random() < 0.3:
        english, french = rng.choice(OBJECTS)
        after, before = Phrase([english], []), [(french, None)]
    else:
        after = _noun_phrase(rng, used, verb.kinds, negated, choose)
    phrase = _verb_phrase(verb, subject.form, negated, often, before, choose)
    core = _join(_join(subject, phrase), after)
    return _with_ending(rng, used, core, choose)


def _you(rng: random.Random, choose: Choose) -> Phrase:
    """Return "you", half of the time after an address that says how polite it is."""
    address, start = rng.choice(ADDRESSES), Phrase([], [])
    if rng.random() < 0.5:
        english, french, polite = address
        start = Phrase([english], [(french, None)])
    else:
        polite = choose(POLITE)
    pronoun = Phrase(["you"], [("vous" if polite else "tu", None)])
    return _join(start, pronoun)._replace(form=4 if polite else 3)


def _verb_phrase(
    verb: Verb, form: int, negated: bool, often: bool, before: list, choose: Choose
) -> Phrase:
    """Return the verb with what stands around it."""
    synonyms = VERB_SYNONYMS.get(verb.base, [])
    others = [(words.split(), share) for words, share in synonyms]
    forms = choose(_with_rest(verb.forms, others))
    french = [*before, (forms[form], None)]
    adverb = [(choose(OFTEN), None)] if often else []
    if negated:
        does = "does" if form == 1 else "do"
        english = [does, "not", *["often"] * often, *verb.base.split()]
        last = not often or choose(OFTEN_AFTER_NOT)
        end = [("pas", None), *adverb] if last else [*adverb, ("pas", None)]
        return Phrase(english, [("ne", None), *french, *end])
    verb_words = (verb.third if form == 1 else verb.base).split()
    return Phrase([*["often"] * often, *verb_words], french + adverb)


def _with_rest(first: object, others: list[tuple]) -> list[tuple]:
    """Return the others, and before them the first with what is left of the shares."""
    return [(first, 1 - sum(share for _, share in others)), *others]


def _noun_phrase(
    rng: random.Random,
    used: set,
    kinds: tuple[str, ...],
    negated: bool = False,
    choose: Choose = first_of,
) -> Phrase:
    """Return a noun of one of the kinds, with determiner and perhaps adjective."""
    noun = rng.choice([noun for noun in NOUNS if noun.kind in kinds])
    plural = rng.random() < 0.45
    determiner = rng.choice(PLURAL if plural else SINGULAR)
    english = [determiner, noun.plural if plural else noun.english]
    others = [(words, share) for *words, share in NOUN_SYNONYMS.get(noun.english, [])]
    name = choose(_with_rest([noun.french, noun.french_plural], others))[plural]
    french, first = [(name, 1)], False
    if rng.random() < 0.55:
        adjective = rng.choice([a for a in ADJECTIVES if noun.kind in a.kinds])
        used.add((adjective.english, noun.english))
        english.insert(1, adjective.english)
        word, first = _adjective(adjective, noun.gender + "sp"[plural], name, choose)
        french = [(name, 2)]
        french.insert(0 if first else 1, (word, 1))
    if english[0] == "a" and _starts_with_vowel(english[1]):
        english[0] = "an"
    word = _determiner(determiner, noun.gender, plural, french[0][0], first, negated)
    return Phrase(english, [(word, None), *french], 2 if plural else 1)


def _adjective(
    adjective: Adjective, form: str, noun: str, choose: Choose
) -> tuple[str, bool]:
    """Return an adjective's form beside a noun, and whether it stands before it."""
    others = [
        ((dict(zip(adjective.forms, words.split())), first), share)
        for words, first, share in ADJECTIVE_SYNONYMS.get(adjective.english, [])
    ]
    forms, first = choose(_with_rest((adjective.forms, adjective.first), others))
    if forms[form] == "vieux" and form == "ms" and _starts_with_vowel(noun):
        return "vieil", first
    return forms[form], first


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


def _with_ending(
    rng: random.Random, used: set, core: Phrase, choose: Choose
) -> Phrase:
    """Add a place, a companion, a time, or, most often, nothing."""
    draw = rng.random()
    if draw < 0.25:
        english, french, kinds = rng.choice(PREPOSITIONS)
        start = Phrase([english], [(french, None)])
        noun = _noun_phrase(rng, used, kinds, choose=choose)
        return _join(core, _join(start, noun))
    if draw < 0.4:
        english, french = rng.choice(ADVERBS)
        adverb, whole = [(french, None)], core.english + [english]
        last = choose(TIME_LAST)
        both = core.french + adverb if last else adverb + core.french
        return Phrase(whole, both, core.form)
    return core


def _join(a: Phrase, b: Phrase) -> Phrase:
    """Return one phrase after the other."""
    n = len(a.english)
    moved = [(word, None if e is None else e + n) for word, e in b.french]
    return Phrase(a.english + b.english, a.french + moved, a.form)
