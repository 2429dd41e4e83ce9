"""BLEU is sacrebleu's, and the smoothed loss is torch's."""

import pytest
import sacrebleu
import torch
from against_torch import few, random
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib.evaluate.bleu import bleu
from lib.evaluate.losses import cross_entropy, label_smoothing_loss

# BLEU

words = st.sampled_from("le la chat chien voit , . L'".split())
sentence = st.lists(words, max_size=9).map(" ".join)


@st.composite
def translations(draw) -> tuple[list[str], list[str]]:
    """References, and candidates that are theirs with some words lost or replaced."""
    references = draw(st.lists(sentence.filter(len), min_size=1, max_size=4))
    candidates = []
    for reference in references:
        kept = [draw(st.sampled_from([w, w, w, "", "x"])) for w in reference.split()]
        near = " ".join(filter(None, kept))
        candidates.append(draw(st.sampled_from([reference, near]) | sentence))
    return candidates, references


def sacrebleus(candidates: list[str], *references: list[str]) -> float:
    how = {"tokenize": "none", "lowercase": False, "force": True}
    return sacrebleu.corpus_bleu(candidates, list(references), **how).score


@few
@given(translations())
@example((["a b c d"], ["e f g h"]))  # no match at all
@example((["a"], ["a"]))  # no run of four words
@example((["a b", "a b c d"], ["a b", "a c b d"]))  # no match of two or more
@example((["", "a b c d e"], ["a b", "a b c d e"]))
@example((["", ""], ["a b", "a"]))
@example((["the the the the"], ["the cat is on the mat"]))
@example((["a b c d e f"], ["a b c d"]))  # longer than the reference
def test_bleu_is_sacrebleus(pairs):
    assert bleu(*pairs) == pytest.approx(sacrebleus(*pairs), abs=1e-9)


@few
@given(translations(), st.randoms())
@example((["a b", "a a a a"], ["a", "a a"]), None)  # both lengths are equally near
def test_bleu_with_several_references_is_sacrebleus(pairs, rng):
    candidates, references = pairs
    others = [f"{text} le" for text in references]
    third = [text[: len(text) // 2] + "x" for text in candidates]
    if rng is not None:
        rng.shuffle(others)
    together = list(zip(references, others, third))
    expected = sacrebleus(candidates, references, others, third)
    assert bleu(candidates, together) == pytest.approx(expected, abs=1e-9)


def test_one_reference_may_be_a_list_and_none_is_an_error():
    candidates, references = ["a b c d e"], ["a b x d e"]
    alone = bleu(candidates, references)
    assert bleu(candidates, [references]) == alone < bleu(candidates, [candidates])
    with pytest.raises(ValueError, match=r"references\[1\] is empty"):
        bleu(["a", "b"], ["a", []])


def test_a_perfect_translation_has_100_and_one_of_other_words_0():
    texts = ["le chat voit le chien noir", "il dort ici aujourd'hui"]
    assert bleu(texts, texts) == pytest.approx(100)
    assert bleu(["a b c d e", "f g h i"], texts) == 0


def test_the_example_of_papineni():
    """Two of seven words: "the" counts at most as often as in the reference."""
    candidate, reference = "the the the the the the the", "the cat is on the mat"
    shares = (2 / 7) * (0.5 / 6) * (0.25 / 5) * (0.125 / 4)
    assert bleu([candidate], [reference]) == pytest.approx(100 * shares**0.25)


def test_bleu_is_of_the_whole_text_and_not_the_mean_of_its_sentences():
    candidates = ["a b c d e", "a x y z w v"]
    references = ["a b c d e", "a b c d e f"]
    mean = sum(bleu([c], [r]) for c, r in zip(candidates, references)) / 2
    assert abs(bleu(candidates, references) - mean) > 5


@pytest.mark.parametrize("texts", [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_bleu_of_nothing_or_of_unequal_numbers(texts):
    n, m = map(len, texts)
    with pytest.raises(ValueError, match=f"{n} candidates for {m} references"):
        bleu(*texts)


# Label smoothing


@few
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(2, 9),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([1.0, 30.0, 1e4]),
)
def test_label_smoothing_is_torchs(b, t, v, smoothing, pad_id, scale):
    logits = (scale * random(b, t, v)).requires_grad_()
    same = logits.detach().double().requires_grad_()
    targets = torch.randint(v, (b, t), generator=torch.Generator().manual_seed(t))
    targets[0, 0] = 0 if pad_id == 1 else 1  # at least one target counts
    loss = label_smoothing_loss(logits, targets, smoothing, pad_id)
    ignored = -100 if pad_id is None else pad_id
    expected = F.cross_entropy(
        same.flatten(0, 1),
        targets.flatten(),
        ignore_index=ignored,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(loss.double(), expected, atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(logits.grad.double(), same.grad, atol=1e-6, rtol=1e-4)


def test_without_smoothing_it_is_the_cross_entropy():
    logits, targets = random(2, 3, 5), torch.tensor([[0, 1, 2], [3, 4, 0]])
    loss = label_smoothing_loss(logits, targets)
    torch.testing.assert_close(loss, cross_entropy(logits, targets))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_logits_give_a_finite_loss_and_finite_gradients(smoothing):
    logits = torch.tensor([[[1e30, -1e30, 0.0], [-1e30, 5.0, 1e30]]])
    logits.requires_grad_()
    label_smoothing_loss(logits, torch.tensor([[1, 2]]), smoothing).backward()
    loss = label_smoothing_loss(logits, torch.tensor([[1, 2]]), smoothing)
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_a_batch_of_padding_only_costs_nothing():
    logits = random(2, 3, 5).requires_grad_()
    loss = label_smoothing_loss(logits, torch.zeros(2, 3).long(), 0.1, pad_id=0)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_smoothing_punishes_being_too_sure():
    sure = torch.tensor([[20.0, 0.0, 0.0]])
    less = torch.tensor([[3.0, 0.0, 0.0]])
    target = torch.tensor([0])
    plain, smooth = (
        [label_smoothing_loss(x, target, s).item() for x in (sure, less)]
        for s in (0.0, 0.1)
    )
    assert plain[0] < plain[1] and smooth[0] > smooth[1]


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_a_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match=rf"smoothing={smoothing} must lie in \[0, 1"):
        label_smoothing_loss(random(2, 3), torch.tensor([0, 1]), smoothing)


def test_targets_of_another_shape():
    with pytest.raises(ValueError, match=r"targets has shape \(3,\).*must be \(2,\)"):
        label_smoothing_loss(random(2, 3), torch.tensor([0, 1, 2]))


def test_a_logit_of_minus_infinity_and_padding_with_any_id_are_fine():
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [1.0, 2.0, 0.0]], requires_grad=True)
    loss = label_smoothing_loss(logits, torch.tensor([1, -100]), 0.0, pad_id=-100)
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([1, -100])))
    loss.backward()
    assert logits.grad.isfinite().all()
