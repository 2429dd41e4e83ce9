"""Beam search: greedy with one beam, exhaustive with enough, with true scores."""

import itertools
import math

import pytest
import torch
from against_torch import few
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lib.generate.beam import beam_search, length_penalty
from lib.generate.targets import generate_targets
from lib.models.encoder_decoder import Transformer, TransformerConfig

PAD, BOS, EOS = 0, 1, 2


def make_model(seed: int = 0, vocab_size: int = 9, **options) -> Transformer:
    """A small model that has an opinion: its weights are large."""
    sizes = {"d_model": 8, "n_heads": 2, "d_ff": 8, "context_length": 12}
    sizes |= {"n_encoder_layers": 1, "n_decoder_layers": 1, "tie_weights": False}
    torch.manual_seed(seed)
    model = Transformer(
        TransformerConfig(vocab_size, vocab_size, **(sizes | options))
    ).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 3
    return model


def some_sources(batch: int, seed: int = 0) -> Tensor:
    """Rows of words of several lengths, filled up."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 9, (batch, 4), generator=generator)
    ids[::3, 2:] = PAD
    return ids


@torch.no_grad()
def log_probability(model: Transformer, src: Tensor, text: list[int]) -> float:
    """Of one text from its first token to its last, in one pass."""
    logits = model(src[None], torch.tensor([[BOS, *text[:-1]]]))[0]
    steps = logits.log_softmax(-1).gather(1, torch.tensor(text).unsqueeze(1))
    return steps.sum().item()


def without_padding(row: Tensor) -> list[int]:
    return [i for i in row.tolist() if i != PAD]


class Table(nn.Module):
    """A model that writes each token with a probability that the last one decides."""

    def __init__(self, rows: dict[int, dict[int, float]], vocab_size: int) -> None:
        super().__init__()
        self.config = TransformerConfig(vocab_size, vocab_size)
        self.table = torch.full((vocab_size, vocab_size), 1e-9)
        for last, row in rows.items():
            for token, probability in row.items():
                self.table[last, token] = probability

    def begin(self, src: Tensor, max_len: int) -> tuple[list, Tensor, list]:
        return [], torch.ones_like(src), []

    def decode(self, tgt: Tensor, *_) -> Tensor:
        return self.table.log()[tgt]


# How many beams


def test_each_source_is_encoded_once_however_many_beams(monkeypatch):
    model, shapes = make_model(), []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda x: shapes.append(x.shape) or encode(x))
    src = some_sources(3)
    beam_search(model, src, 5, 4)
    assert shapes == [src.shape]


@few
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 7))
def test_one_beam_is_greedy(seed, batch, max_len):
    model, src = make_model(seed), some_sources(batch, seed)
    ids, _ = beam_search(model, src, 1, max_len)
    assert torch.equal(ids, generate_targets(model, src, max_len, temperature=0))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_enough_beams_find_the_best_of_all_texts(alpha):
    """The model can write three tokens, so there are 15 texts of at most three."""
    model, src = make_model(3, 20), some_sources(6)
    bias = torch.full((20,), -1e4)
    bias[[EOS, 3, 4]] = torch.tensor([1.0, 0.0, 0.0])
    model.head.bias = nn.Parameter(bias)
    texts = [
        [*words, *end]
        for n in range(4)
        for words in itertools.product((3, 4), repeat=n)
        for end in ([[EOS]] if n < 3 else [[]])
    ]
    assert len(texts) == 15
    ids, scores = beam_search(model, src, 15, 3, alpha)
    found = []
    for row, written, score in zip(src, ids, scores):
        penalised = {}
        for text in texts:
            penalty = ((5 + len(text)) / 6) ** alpha
            penalised[tuple(text)] = log_probability(model, row, text) / penalty
        best = max(penalised, key=penalised.get)
        found.append(best)
        assert without_padding(written) == [*best]
        assert score.item() == pytest.approx(penalised[best], abs=1e-4)
    assert len(set(found)) > 1


def test_four_beams_find_likelier_texts_than_greedy():
    """No theorem, as the next test shows, but so it is for these models."""
    n_better = 0
    for seed in range(5):
        model, src = make_model(seed), some_sources(20, seed)
        greedy, wide = (beam_search(model, src, k, 5, 0.0)[1] for k in (1, 4))
        assert (wide >= greedy - 1e-5).all()
        n_better += (wide > greedy + 1e-3).sum().item()
    assert n_better > 10


def test_a_wider_beam_can_miss_what_greedy_finds():
    """Greedy writes a r: 0.4 · 0.2. Two beams leave a for b p and b q, 0.35 · 0.5
    each, and learn too late that from there all is unlikely.
    """
    a, b, p, q, *others = range(3, 12)
    after = {BOS: {a: 0.4, b: 0.35}, a: dict.fromkeys(others, 0.2), b: {p: 0.5, q: 0.5}}
    after[BOS] |= dict.fromkeys(others, 0.05)
    after |= {last: dict.fromkeys(others, 0.2) for last in (p, q)}
    after |= {last: {EOS: 1.0} for last in others}
    model, src = Table(after, 12), torch.tensor([[5]])
    greedy, score = beam_search(model, src, 1, 4, 0.0)
    assert greedy.tolist()[0][:1] == [a]
    wide, less = beam_search(model, src, 2, 4, 0.0)
    assert wide.tolist()[0][:1] == [b]
    assert score.exp().item() == pytest.approx(0.08, rel=1e-3)
    assert less.exp().item() == pytest.approx(0.035, rel=1e-3)


# Complete targets


@pytest.mark.parametrize("n_beams", [2, 3, 17])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_complete_target_is_not_lost_to_likelier_beginnings(n_beams, alpha):
    """`<eos>` at once has 0.3. Then two beginnings are likelier, and fall apart."""
    a, b, c, *others = range(3, 17)
    after = {BOS: {a: 0.7, EOS: 0.3}, a: {b: 0.5, c: 0.5}}
    after |= {last: dict.fromkeys(others, 1 / 11) for last in (b, c, *others)}
    ids, scores = beam_search(
        Table(after, 17), torch.tensor([[5], [5]]), n_beams, 6, alpha
    )
    assert ids.tolist() == [[EOS], [EOS]]
    assert scores.tolist() == pytest.approx([math.log(0.3)] * 2, rel=1e-4)


def test_the_search_is_over_when_no_beginning_can_win_and_not_before():
    """`<eos>` at once, or four words: less likely, but alpha prefers the long text."""
    a, b, c, d = range(3, 7)
    after = {BOS: {EOS: 0.55, a: 0.45}, a: {b: 1.0}, b: {c: 1.0}, c: {d: 1.0}}
    after |= {d: {EOS: 1.0}}
    for alpha, text, n_steps in ((0.0, [EOS], 1), (2.0, [a, b, c, d, EOS], 5)):
        model, steps = Table(after, 7), []
        write = model.decode
        model.decode = lambda *inputs: steps.append(1) or write(*inputs)
        ids, _ = beam_search(model, torch.tensor([[5]]), 2, 8, alpha)
        assert ids[0].tolist() == text and len(steps) == n_steps


@few
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.6, 3.0]))
def test_as_many_beams_as_texts_are_an_exhaustive_search(seed, alpha):
    """Two words and the end: 2 to the 4 texts go on for four tokens, 15 end before."""
    max_len, draw = 4, torch.Generator().manual_seed(seed)
    after = torch.rand(32, 3, generator=draw).pow(4).tolist()
    rows = {last: dict(zip((EOS, 3, 4), after[last])) for last in range(32)}
    model, best = Table(rows, 32), (-math.inf, [])
    logs = model.table.log().log_softmax(-1)
    for n in range(1, max_len + 1):
        for text in itertools.product((EOS, 3, 4), repeat=n):
            whole = text[-1] == EOS or n == max_len
            if whole and EOS not in text[:-1]:
                steps = [logs[pair].item() for pair in zip((BOS, *text), text)]
                best = max(best, (sum(steps) / ((5 + n) / 6) ** alpha, list(text)))
    ids, scores = beam_search(model, torch.tensor([[5]]), 31, max_len, alpha)
    assert ids[0].tolist() == best[1]
    assert scores.item() == pytest.approx(best[0], abs=1e-4)


def test_logits_that_are_no_numbers():
    model = make_model()
    model.head.weight.data[3] = math.nan
    with pytest.raises(ValueError, match="logits are not numbers"):
        beam_search(model, some_sources(2), 3, 5)


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
def test_an_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match=f"alpha={alpha} must be 0 or more"):
        beam_search(make_model(), some_sources(2), 3, 5, alpha)


# Scores and lengths


@few
@given(st.integers(0, 10_000), st.integers(2, 9), st.sampled_from([0.0, 0.6, 1.0]))
def test_a_score_is_the_log_probability_by_its_penalty(seed, n_beams, alpha):
    model, src = make_model(seed).double(), some_sources(4, seed)
    ids, scores = beam_search(model, src, n_beams, 5, alpha)
    assert ids.size(1) <= 5 and scores.shape == (4,)
    for row, written, score in zip(src, ids, scores):
        text = without_padding(written)
        assert text[-1] == EOS or len(text) == 5
        penalty = ((5 + len(text)) / 6) ** alpha
        expected = log_probability(model, row, text) / penalty
        assert score.item() == pytest.approx(expected, abs=1e-9)


def test_padding_follows_the_end_and_stands_nowhere_else():
    for seed in range(10):
        ids, _ = beam_search(make_model(seed), some_sources(10, seed), 4, 6)
        for row in ids.tolist():
            text = row[: row.index(EOS) + 1] if EOS in row else row
            assert PAD not in text and row == text + [PAD] * (len(row) - len(text))


def test_a_larger_alpha_chooses_longer_texts():
    a, b = 3, 4
    after = {BOS: {EOS: 0.4, a: 0.6}, a: {b: 0.9, EOS: 0.1}, b: {EOS: 0.6, a: 0.4}}
    model, src = Table(after, 6), torch.tensor([[5]])
    short, medium = [EOS], [a, b, EOS]
    for alpha, expected in ((0.0, short), (1.0, medium)):
        ids, _ = beam_search(model, src, 3, 3, alpha)
        assert without_padding(ids[0]) == expected


def test_the_length_penalty_is_the_one_of_wu():
    lengths = torch.tensor([[1, 7], [13, 25]])
    expected = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert torch.equal(length_penalty(lengths, 1.0), expected)
    torch.testing.assert_close(length_penalty(lengths, 0.6), expected**0.6)
    assert torch.equal(length_penalty(lengths, 0.0), torch.ones(2, 2))


# Batches


def test_rows_of_a_batch_are_written_apart():
    model, src = make_model(1), some_sources(8)
    together, scores = beam_search(model, src, 4, 6)
    for row, n in enumerate((src != PAD).sum(1).tolist()):
        alone, score = beam_search(model, src[row : row + 1, :n], 4, 6)
        assert without_padding(together[row]) == without_padding(alone[0])
        assert scores[row].item() == pytest.approx(score.item(), abs=1e-4)


def test_as_many_beams_as_tokens():
    ids, scores = beam_search(make_model(), some_sources(3), 9, 4)
    assert scores.isfinite().all() and math.isfinite(scores.sum())
    assert (ids[:, 0] != PAD).all()


def test_dropout_is_off_while_it_writes_and_on_again_after():
    model, src = make_model(dropout=0.5), some_sources(6)
    expected, scores = beam_search(model, src, 3, 6)
    assert not model.training and not scores.requires_grad
    model.train()
    ids, same_scores = beam_search(model, src, 3, 6)
    assert torch.equal(ids, expected) and torch.equal(same_scores, scores)
    assert all(m.training for m in model.modules())
    with pytest.raises(ValueError, match="max_len"):
        beam_search(model, src, 3, 0)
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((0, 5), "n_beams=0 must be 1 \\.\\. "),
        ((10, 5), r"n_beams=10 must be 1 \.\. 9"),
        ((2, 0), r"max_len=0 must be 1 \.\. 12"),
        ((2, 13), r"max_len=13 must be 1 \.\. 12"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        beam_search(make_model(), some_sources(2), *sizes)
