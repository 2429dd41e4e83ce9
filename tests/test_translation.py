"""The grammar writes correct French, and its tests are never trained on; batches, loss
and translating of sentence pairs.
"""

import itertools
import re
from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from against_torch import few, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.show import diagrams
from lib.tasks.english_french import (
    ADJECTIVES,
    BEING,
    HELD_OUT,
    NOUNS,
    OBJECTS,
    VERBS,
    Noun,
    Pair,
    ambiguous_data,
    translation_data,
    translation_pairs,
)
from lib.tasks.french_choices import NOUN_SYNONYMS, TIME_LAST, all_ways
from lib.text.tokenizer import WordTokenizer, pad_batch
from lib.translate import PairBatches, encode_pairs, translate, translation_loss

VOWELS = "aeiouéê"
ENGLISH = {form: noun for noun in NOUNS for form in (noun.english, noun.plural)}
FRENCH = {noun.french: noun for noun in NOUNS} | {n.french_plural: n for n in NOUNS}
FORMS = {form: a for a in ADJECTIVES for form in [*a.forms.values(), "vieil"]}
FORMS["vieil"] = next(a for a in ADJECTIVES if a.english == "old")
ADJECTIVE = {a.english: a for a in ADJECTIVES}
VERB_FORMS = {form for verb in VERBS for form in verb.forms}


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Sentences of both kinds."""
    return translation_pairs(4_000) + translation_pairs(1_000, held_out=True)


@pytest.fixture(scope="module")
def data():
    return translation_data(3_000, 100)


# Pairs and their parts


def test_the_same_seed_gives_the_same_pairs():
    one, same, other = (translation_pairs(20, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert translation_pairs(30, 1)[:20] == one
    assert translation_data(50, 5, 1) == translation_data(50, 5, 1)
    assert translation_data(50, 5, 1).unseen != translation_data(50, 5, 2).unseen


def test_the_vocabularies_are_complete_after_3000_pairs(data):
    for side, n_words in (("english", 107), ("french", 154)):
        train, tests = (
            {word for pair in pairs for word in getattr(pair, side).split()}
            for pairs in (data.train, data.unseen + data.held_out)
        )
        assert len(train) == n_words and tests <= train


def adjective_noun_pairs(english: str) -> set[tuple[str, str]]:
    return {
        (a, ENGLISH[b].english)
        for a, b in pairwise(english.split())
        if a in ADJECTIVE and b in ENGLISH
    }


def test_held_out_pairs_are_never_in_train(data):
    seen = set().union(*(adjective_noun_pairs(p.english) for p in data.train))
    assert len(HELD_OUT) == 30 and not seen & HELD_OUT
    for pair in data.held_out:
        assert adjective_noun_pairs(pair.english) & HELD_OUT
    tested = set().union(*(adjective_noun_pairs(p.english) for p in data.held_out))
    assert len(tested & HELD_OUT) == 30


def test_every_adjective_and_noun_of_a_held_out_pair_is_learnt_with_others(data):
    seen = set().union(*(adjective_noun_pairs(p.english) for p in data.train))
    assert {a for a, _ in HELD_OUT} <= {a for a, _ in seen}
    assert {n for _, n in HELD_OUT} <= {n for _, n in seen}


def test_unseen_sentences_are_not_in_train_but_their_pairs_are(data):
    train = {pair.english for pair in data.train}
    assert not train & {pair.english for pair in data.unseen}
    for pair in data.unseen:
        assert not adjective_noun_pairs(pair.english) & HELD_OUT


def test_test_sentences_are_all_different(data):
    for test in (data.unseen, data.held_out):
        assert len({pair.english for pair in test}) == len(test) == 100


def test_short_sentences_of_the_tests_are_taken_out_of_train():
    data = translation_data(2_000, 300)
    assert len(data.train) < 2_000
    assert not {p.english for p in data.train} & {p.english for p in data.unseen}


def test_an_english_sentence_has_one_translation(pairs):
    translations = defaultdict(set)
    for pair in pairs + translation_pairs(3_000, 1):
        translations[pair.english].add(pair.french)
    assert max(map(len, translations.values())) == 1


def test_links_join_words_that_translate_each_other(pairs):
    for english, french, links in pairs:
        english, french = english.split(), french.split()
        for f, e in links:
            if french[f] in FRENCH:
                noun = FRENCH[french[f]]
                assert english[e] in (noun.english, noun.plural)
                if noun.french != noun.french_plural:
                    assert (english[e] == noun.plural) == (french[f] != noun.french)
            else:
                assert french[f] in (*ADJECTIVE[english[e]].forms.values(), "vieil")
        known = {f for f, word in enumerate(french) if word in FRENCH or word in FORMS}
        assert known == {f for f, _ in links}
        assert len(known) == len({e for _, e in links}) == len(links)


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0)])
def test_no_pairs_at_all(sizes):
    with pytest.raises(ValueError, match="n_pairs=0 must be at least 1"):
        translation_data(*sizes)


# Spelling


class Phrase(NamedTuple):
    """What a sentence says of a noun: from the determiner on, in both languages."""

    english: list[str]
    french: list[str]
    noun: Noun
    plural: bool
    adjective: str | None  # in French
    first: bool  # whether it stands before the noun


def phrases(pair: Pair) -> list[Phrase]:
    english, french = pair.english.split(), pair.french.split() + [""]
    found = []
    for f, e in pair.links:
        if french[f] in FRENCH:
            first, second = (french[i] in FORMS for i in (f - 1, f + 1))
            adjective = french[f - 1] if first else french[f + 1] if second else None
            ours = english[e - 1 - (adjective is not None) : e + 1]
            theirs = french[f - 1 - first : f + 1 + second]
            noun, plural = FRENCH[french[f]], english[e] == FRENCH[french[f]].plural
            found.append(Phrase(ours, theirs, noun, plural, adjective, first))
    return found


def test_adjectives_agree_and_stand_on_their_side(pairs):
    n_seen = 0
    for phrase in itertools.chain(*map(phrases, pairs)):
        if phrase.adjective is None:
            continue
        adjective, noun = FORMS[phrase.adjective], phrase.noun
        expected = adjective.forms[noun.gender + "sp"[phrase.plural]]
        if expected == "vieux" and not phrase.plural and noun.french[0] in VOWELS:
            expected = "vieil"
        assert phrase.adjective == expected, phrase
        assert phrase.english[1] == adjective.english, phrase
        assert phrase.first == adjective.first, phrase
        n_seen += 1
    assert n_seen > 3_000


PLURAL = {"the": "les", "my": "mes", "her": "ses", "these": "ces", "some": "des"}
SINGULAR = {  # by gender, and whether a vowel follows
    "m": {"the": "le", "a": "un", "this": "ce", "my": "mon", "her": "son"},
    "f": {"the": "la", "a": "une", "this": "cette", "my": "ma", "her": "sa"},
    "m'": {"the": "l'", "a": "un", "this": "cet", "my": "mon", "her": "son"},
    "f'": {"the": "l'", "a": "une", "this": "cette", "my": "mon", "her": "son"},
}


def test_determiners_agree(pairs):
    seen = set()
    for phrase in itertools.chain(*map(phrases, pairs)):
        determiner, french = phrase.english[0].replace("an", "a"), phrase.french[0]
        vowel = "'" * (phrase.french[1][0] in VOWELS)
        table = PLURAL if phrase.plural else SINGULAR[phrase.noun.gender + vowel]
        seen.add((determiner, french))
        if french in ("de", "d'"):  # of an object after "pas", see below
            assert determiner in ("a", "some"), phrase
        else:
            assert french == table[determiner], phrase
    assert len(seen) == 21


NEVER = [
    rf"\b(le|la|de|ce|ma|sa) ['{VOWELS}]",
    rf"\bcet [^{VOWELS}]",
    r"\bcet (école|étoile|église)",
    r"\bvieux (ami|arbre|oiseau)\b",
    rf"\b(l'|d'|vieil) [^{VOWELS}]",
    r"\b(des|les|mes|ses|ces) (le|la|les)\b",
    r"\bdes (petit|grand|jeune|vieux|vieille|joli|mauvais)",
    r"\bde (les|des|du)\b",
    r"\bpas (un|une|des)\b",
    r"\bne (pas|souvent)\b",
]


@pytest.mark.parametrize("wrong", NEVER)
def test_what_nobody_writes_in_french(pairs, wrong):
    found = [pair.french for pair in pairs if re.search(wrong, pair.french)]
    assert not found


def test_an_in_english_stands_before_vowels_only(pairs):
    text = "\n".join(pair.english for pair in pairs)
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text)
    assert re.search(r"\ban apple", text) and re.search(r"\ban old", text)


SPELT = """
a black bird: un oiseau noir / an apple: une pomme / the white bird: l' oiseau blanc
this tree: cet arbre / this star: cette étoile / this church: cette église
these schools: ces écoles / my school: mon école / her star: son étoile
my friend: mon ami / her friends: ses amis / the old friend: le vieil ami
the old friends: les vieux amis / the old bird: le vieil oiseau / the mice: les souris
the happy mice: les souris heureuses / some trees: des arbres
some houses: des maisons / some old houses: de vieilles maisons
this big friend: ce grand ami / her old bird: son vieil oiseau
my small church: ma petite église / the bad horses: les mauvais chevaux
"""


def test_noun_phrases_are_spelt_as_in_a_schoolbook(pairs):
    spelt = defaultdict(set)
    for pair in pairs:
        if " not " not in pair.english:
            for phrase in phrases(pair):
                spelt[" ".join(phrase.english)].add(" ".join(phrase.french))
    for entry in SPELT.strip().replace("\n", " / ").split(" / "):
        english, french = entry.split(": ")
        assert spelt[english] == {french}, entry


def test_pronouns_stand_before_the_verb_and_negation_around_both(pairs):
    objects, n_seen = dict(OBJECTS), 0
    for pair in pairs:
        words = pair.french.split()
        verbs = [i for i, word in enumerate(words) if word in VERB_FORMS]
        negated = " not " in pair.english
        verb = verbs[0]
        assert ("ne" in words) == ("pas" in words) == negated
        before = verb - 1 - (words[verb - 1] in objects.values())
        if negated:
            assert words[verb + 1] == "pas" and words[before] == "ne", pair
            n_seen += 1
        if "often" in pair.english.split():
            assert words[verb + 1 + negated] == "souvent", pair
    assert n_seen > 500


def test_a_pronoun_is_the_right_one(pairs):
    clitics, n_seen = dict(OBJECTS), 0
    for pair in pairs:
        after = r"(?: in| behind| with| for| today| here| tomorrow|$)"
        for word, clitic in clitics.items():
            if re.search(rf" {word}{after}", pair.english):
                verbs = "|".join(VERB_FORMS)
                assert re.search(rf"\b{clitic} ({verbs})\b", pair.french), pair
                n_seen += 1
    assert n_seen > 500


def test_a_negated_object_has_de_in_place_of_a_and_some(pairs):
    n_seen = 0
    for pair in pairs:
        found = re.search(
            r"\bnot (?:often )?(?:look for|\w+) (a|an|some) ", pair.english
        )
        if found:
            n_seen += 1
            assert re.search(
                r"\bpas (souvent )?(de [^aeiouéê]|d' [aeioué])", pair.french
            )
        else:
            assert not re.search(r"\bpas (souvent )?(de|d') ", pair.french)
    assert n_seen > 100


def test_only_beings_act(pairs):
    subjects = {"I", "he", "she", "they"}
    for pair in pairs:
        words = pair.english.split()
        if words[0] not in subjects:
            noun = next(word for word in words if word in ENGLISH)
            assert ENGLISH[noun].kind == BEING


def test_verbs_agree_with_their_subjects(pairs):
    form = {"je": 0, "il": 1, "elle": 1, "ils": 2}
    for pair in pairs:
        english, french = pair.english.split(), pair.french.split()
        verb = next(word for word in french if word in VERB_FORMS)
        number = form.get(french[0])
        if number is None:
            noun = next(word for word in english if word in ENGLISH)
            number = 2 if noun == ENGLISH[noun].plural else 1
        assert verb in {v.forms[number] for v in VERBS}, pair
        third = " does " in pair.english or any(
            v.third.split()[0] in english for v in VERBS
        )
        assert third == (number == 1), pair


# Several translations


@pytest.fixture(scope="module")
def ambiguous():
    return ambiguous_data(2_000, 300)


def test_all_ways_are_made_with_their_shares():
    def make(choose):
        first = choose([("a", 0.75), ("b", 0.25)])
        return first + (choose([("x", 0.5), ("y", 0.25), ("z", 0.25)]) * (first == "b"))

    def make_all(choose):
        first = choose([("a", 0.75), ("b", 0.25)])
        return first if first == "a" else first + choose([("x", 0.5), ("y", 0.5)])

    assert dict(all_ways(make_all)) == {"a": 0.75, "bx": 0.125, "by": 0.125}
    assert sum(share for _, share in all_ways(make)) == 1


def test_the_shares_of_all_answers_are_one(ambiguous):
    for question in ambiguous.unseen:
        assert sum(question.answers.values()) == pytest.approx(1)
        assert min(question.answers.values()) > 0
    assert max(len(question.answers) for question in ambiguous.unseen) > 8


@pytest.mark.parametrize("wrong", NEVER[:5] + NEVER[5:6] + NEVER[7:9])
def test_what_nobody_writes_is_no_answer_either(ambiguous, wrong):
    texts = [text for question in ambiguous.unseen for text in question.answers]
    assert not [text for text in texts if re.search(wrong, text)]


def test_you_is_polite_or_not_by_the_address(ambiguous):
    seen = set()
    for english, answers in ambiguous.unseen:
        words = english.split()
        if "you" not in words[:2]:
            assert not any({"tu", "vous"} & {*text.split()} for text in answers)
            continue
        pronouns = {w for text in answers for w in text.split() if w in ("tu", "vous")}
        address = words[0] if words[0] != "you" else ""
        polite = {"sir": {"vous"}, "madam": {"vous"}, "": {"tu", "vous"}}
        assert pronouns == polite.get(address, {"tu"}), english
        seen.add(address)
    assert seen == {"", "sir", "madam", "mum", "dad"}


def test_drawn_sentences_have_the_shares_of_the_answers(ambiguous):
    pairs = ambiguous_data(3_000, 1, noise=0.0).train
    you = [pair.french for pair in pairs if pair.english.startswith("you ")]
    polite = sum("vous" in text.split() for text in you) / len(you)
    assert len(you) > 200 and 0.5 < polite < 0.7


def test_the_example_of_the_beam_tree_has_the_shares_of_the_grammar():
    (_, _, copain), (_, last), (_, first) = *NOUN_SYNONYMS["friend"], *TIME_LAST
    diagram = diagrams.beam_tree().svg()
    for share in (first, (1 - copain) * last, copain * last, (1 - copain) * first):
        assert f">{share:.2f}<" in diagram


def test_noise_breaks_so_many_sentences_off_and_no_others():
    clean, noisy = (ambiguous_data(2_000, 5, noise=noise).train for noise in (0, 0.05))
    different = [(a, b) for a, b in zip(clean, noisy, strict=True) if a != b]
    assert 0.03 < len(different) / len(clean) < 0.07
    for whole, broken in different:
        words = broken.french.split()
        assert whole.english == broken.english
        assert words == whole.french.split()[: len(words)] != whole.french.split()
        assert all(f < len(words) for f, _ in broken.links)


def test_ambiguous_sentences_of_the_test_are_not_in_train(ambiguous):
    hidden = {question.english for question in ambiguous.unseen}
    assert len(hidden) == 300 and not hidden & {p.english for p in ambiguous.train}
    assert ambiguous_data(20, 5) == ambiguous_data(20, 5)
    assert ambiguous_data(20, 5).unseen != ambiguous_data(20, 5, seed=1).unseen


@pytest.mark.parametrize("given, words", [((1, 1, 0, 1.5), "noise=1.5"), ((0,), "n_t")])
def test_settings_outside_their_range(given, words):
    with pytest.raises(ValueError, match=words):
        ambiguous_data(*given)


# Words to ids


words = st.text("abcé'", min_size=1, max_size=3)
sentences = st.lists(st.lists(words, min_size=1, max_size=5).map(" ".join), min_size=1)


@few
@given(sentences)
def test_every_sentence_comes_back(texts):
    tokenizer = WordTokenizer(texts)
    for text in texts:
        ids = tokenizer.encode(text)
        assert len(ids) == len(text.split()) and min(ids) > 2
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(torch.tensor([1, *ids, 2, 0, 5, 0])) == text
    assert tokenizer.vocab_size == 3 + len({w for text in texts for w in text.split()})


def test_ids_follow_the_sorted_words_after_the_special_ones():
    tokenizer = WordTokenizer(["the cat", "a dog"])
    assert tokenizer.words == ["<pad>", "<bos>", "<eos>", "a", "cat", "dog", "the"]
    assert tokenizer.encode("the dog") == [6, 5] and tokenizer.encode("") == []


def test_an_unknown_word_is_named_with_its_place():
    with pytest.raises(ValueError, match="word 2, 'cow', is not in .* of 5 words"):
        WordTokenizer(["the cat"]).encode("the cow")


@pytest.mark.parametrize("bad", [5, -1])
def test_an_id_out_of_range_is_named_with_its_place(bad):
    with pytest.raises(ValueError, match=rf"ids\[1\]={bad} must be 0 \.\. 4"):
        WordTokenizer(["the cat"]).decode([3, bad])


def test_sentences_without_words_or_with_special_ones():
    for empty in ([], ["", " "]):
        with pytest.raises(ValueError, match="sentences have no words"):
            WordTokenizer(empty)
    with pytest.raises(ValueError, match="must not contain <pad> <bos> <eos>"):
        WordTokenizer(["a <eos> b"])


@few
@given(st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1), st.integers(0, 9))
def test_rows_are_filled_up_at_their_ends(rows, pad_id):
    batch = pad_batch(rows, pad_id)
    width = max(map(len, rows))
    assert batch.dtype == torch.long and batch.shape == (len(rows), width)
    assert batch.tolist() == [row + [pad_id] * (width - len(row)) for row in rows]


def test_a_batch_of_no_rows():
    with pytest.raises(ValueError, match=r"rows=\[\] is empty"):
        pad_batch([])


# Batches, loss, sentences


PAIRS = [Pair("the cat", "le chat", ()), Pair("a big dog", "un grand chien", ())]
SOURCE = WordTokenizer(pair.english for pair in PAIRS)
TARGET = WordTokenizer(pair.french for pair in PAIRS)


def make_model(**changes) -> Transformer:
    sizes = {"d_model": 12, "n_heads": 3, "n_encoder_layers": 1, "n_decoder_layers": 1}
    sizes |= {"d_ff": 20, "dropout": 0.0, "context_length": 50}
    model = Transformer(
        TransformerConfig(SOURCE.vocab_size, TARGET.vocab_size, **(sizes | changes))
    )
    random_weights(model)
    return model.eval()


def test_a_source_ends_with_eos_and_a_target_begins_with_bos_too():
    sources, targets = encode_pairs(PAIRS, SOURCE, TARGET)
    for pair, source, target in zip(PAIRS, sources, targets):
        assert source == [*SOURCE.encode(pair.english), 2]
        assert target == [1, *TARGET.encode(pair.french), 2]
    with pytest.raises(ValueError, match="word 2, 'vache'"):
        encode_pairs([Pair("the cat", "le vache", ())], SOURCE, TARGET)


def test_a_batch_keeps_pairs_together():
    sources = [[10 + i] * (1 + i) for i in range(5)]
    targets = [[20 + i] * (5 - i) for i in range(5)]
    drawn, batches = set(), PairBatches(sources, targets, 3, torch.Generator())
    for _ in range(30):
        src, tgt = batches()
        assert len(src) == len(tgt) == 3
        rows = [i - 10 for i in src[:, 0].tolist()]
        assert torch.equal(src, pad_batch([sources[row] for row in rows]))
        assert torch.equal(tgt, pad_batch([targets[row] for row in rows]))
        drawn |= {*rows}
    assert drawn == {0, 1, 2, 3, 4}


def test_the_same_generator_draws_the_same_batches():
    rows = [[i] for i in range(50)]
    one, same, other = (
        PairBatches(rows, rows, 20, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    first = one()
    assert torch.equal(first[0], same()[0]) and not torch.equal(first[0], other()[0])
    assert not torch.equal(first[0], one()[0])


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((2, 1, 4), "2 sources for 1 targets"),
        ((0, 0, 4), "0 sources for 0 targets"),
        ((2, 2, 0), "batch_size=0 must be at least 1"),
    ],
)
def test_batches_that_cannot_be_drawn(sizes, message):
    n, m, batch_size = sizes
    with pytest.raises(ValueError, match=message):
        PairBatches([[3]] * n, [[3]] * m, batch_size, torch.Generator())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_for_each_next_token(smoothing):
    model = make_model()
    src, tgt = map(pad_batch, encode_pairs(PAIRS, SOURCE, TARGET))
    logits = model(src, tgt)[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(
        logits, tgt[:, 1:].flatten(), ignore_index=0, label_smoothing=smoothing
    )
    loss = translation_loss(model, src, tgt, smoothing)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    wider = F.pad(src, (0, 2)), F.pad(tgt, (0, 3))
    torch.testing.assert_close(translation_loss(model, *wider, smoothing), loss)


def test_sentences_of_a_batch_are_translated_apart():
    model, texts = make_model(), [pair.english for pair in PAIRS]
    for n_beams in (1, 3):
        together = translate(model, SOURCE, TARGET, texts, n_beams)
        alone = [translate(model, SOURCE, TARGET, [t], n_beams)[0] for t in texts]
        assert together == alone
        assert all(set(text.split()) <= set(TARGET.words[3:]) for text in together)


def test_translating_bad_sentences():
    with pytest.raises(ValueError, match="word 1, 'cow', is not in"):
        translate(make_model(), SOURCE, TARGET, ["the cat", "cow"])
    with pytest.raises(ValueError, match="is empty"):
        translate(make_model(), SOURCE, TARGET, [])
    with pytest.raises(ValueError, match="n_beams=0"):
        translate(make_model(), SOURCE, TARGET, ["the cat"], 0)
