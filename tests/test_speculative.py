"""Speculative decoding: the target's distribution whatever drafts, and fewer passes."""

import math

import pytest
import torch
from torch import Tensor, nn

from lib.generate import generate
from lib.generate.speculative import accept_drafts, speculative_generate
from lib.models.bigram import BigramConfig, BigramLM
from lib.models.gpt import GPT
from lib.models.presets import preset_config

# Chi-square: the value that is exceeded with probability 0.001, by degrees of freedom.
LIMITS = {3: 16.27, 15: 37.70}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_gpt(seed: int = 0, **changes) -> GPT:
    model = GPT(preset_config("demo", **({"context_length": 16} | changes))).eval()
    generator = seeded(seed)
    for weights in model.parameters():
        nn.init.normal_(weights, std=0.5, generator=generator)
    return model


def prompt(length: int = 3) -> Tensor:
    return torch.randint(10, (1, length), generator=seeded(1))


def table(rows: Tensor) -> BigramLM:
    """A bigram model with these probabilities."""
    model = BigramLM(BigramConfig(len(rows))).requires_grad_(False)
    model.logits.weight.copy_(rows.log())
    return model


def chi_square(counts: Tensor, expected: Tensor) -> float:
    expected = expected.flatten() * counts.sum()
    return ((counts.flatten() - expected) ** 2 / expected).sum().item()


def random_rows(n: int, seed: int, V: int = 4, spread: float = 1.0) -> Tensor:
    return (spread * torch.randn(n, V, generator=seeded(seed))).softmax(dim=-1)


# The distribution


def drawn(p: Tensor, q: Tensor, accept, n: int = 4_000) -> Tensor:
    """How often each token comes first, drafted from q and accepted by a rule."""
    generator, counts = seeded(5), torch.zeros(p.size(1))
    for drafted in torch.multinomial(q[0], n, replacement=True, generator=generator):
        n_accepted, token = accept(p, q, drafted.view(1), generator)
        counts[drafted if n_accepted else token.item()] += 1
    return counts


def never_redrawn_from_the_rest(p, q, drafted, generator):
    """The classic mistake: what is rejected is drawn again from p itself."""
    n_accepted, token = accept_drafts(p, q, drafted, generator)
    if n_accepted < len(drafted):
        token = torch.multinomial(p[n_accepted], 1, generator=generator)
    return n_accepted, token


def test_one_token_has_the_targets_distribution_and_a_wrong_rule_is_noticed():
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    q = torch.tensor([[0.55, 0.25, 0.15, 0.05]])  # very different
    assert chi_square(drawn(p, q, accept_drafts), p[0]) < LIMITS[3]
    wrong = drawn(p, q, never_redrawn_from_the_rest)
    assert chi_square(wrong, p[0]) > 3 * LIMITS[3]


@pytest.mark.parametrize("n_draft", [1, 2])
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_two_tokens_have_the_targets_distribution(n_draft, spread):
    rows = random_rows(4, seed=0)
    target, draft = table(rows), table(random_rows(4, seed=1, spread=spread))
    exact = rows[0].unsqueeze(1) * rows  # (V, V): first token, second token
    counts, generator, start = torch.zeros(4, 4), seeded(2), torch.zeros(1, 1).long()
    for _ in range(800):
        run = speculative_generate(
            target, draft, start, 2, n_draft, generator=generator
        )
        counts[tuple(run.ids[0, 1:])] += 1
    assert chi_square(counts, exact) < LIMITS[15]


def test_settings_change_the_distribution_as_in_generate():
    rows = torch.tensor([[0.4, 0.3, 0.2, 0.1]] * 4)
    target, draft = table(rows), table(random_rows(4, seed=3))
    start = torch.zeros(1, 1).long()
    for how, allowed in (
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.8}, {0, 1, 2}),
        ({"temperature": 1e-3}, {0}),
    ):
        ids = speculative_generate(target, draft, start, 150, generator=seeded(), **how)
        assert set(ids.ids[0, 1:].tolist()) == allowed


# Accepting


def test_a_draft_that_agrees_is_accepted_whole():
    p = random_rows(5, seed=0)
    drafted = torch.multinomial(p[:4], 1, generator=seeded()).flatten()
    for seed in range(50):
        n, token = accept_drafts(p, p[:4], drafted, seeded(seed))
        assert n == 4 and token.shape == (1,)


def test_the_first_rejected_token_ends_it_and_is_not_drawn_again():
    p = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    q = torch.tensor([[0.5, 0.5]] * 3)
    for drafted, n_right, own in (
        ([0, 1, 0], 3, {0, 1}),
        ([0, 0, 0], 1, {1}),
        ([1, 1, 0], 0, {0}),
        ([0, 1, 1], 2, {0}),
    ):
        n, token = accept_drafts(p, q, torch.tensor(drafted), seeded())
        assert n == n_right and token.item() in own


def test_without_drafts_the_target_draws():
    n, token = accept_drafts(
        torch.tensor([[0.0, 1.0]]), torch.empty(0, 2), torch.empty(0).long()
    )
    assert n == 0 and token.tolist() == [1]


def test_distributions_that_are_equal_but_for_rounding():
    p = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    q = p[:1] * (1 + 3e-7)  # p is nowhere above q
    for seed in range(200):
        n, token = accept_drafts(p, q, torch.tensor([0]), seeded(seed))
        assert token.item() in (0, 1)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3), 2), ((3, 3), (2, 4), 2)])
@pytest.mark.parametrize("extra", [0, 1])
def test_probabilities_that_do_not_fit(shapes, extra):
    p, q, n = shapes
    with pytest.raises(ValueError, match="p and q have shapes"):
        accept_drafts(
            torch.ones(p), torch.ones(q), torch.zeros(n + extra, dtype=torch.long)
        )


# Texts


@pytest.mark.parametrize("n_draft", [1, 3, 20])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
def test_the_greedy_text_is_that_of_generate(n_draft, length):
    target, draft = make_gpt(0), make_gpt(1, context_length=8, position="rotary")
    expected = generate(target, prompt(length), 40, temperature=0)
    for other in (draft, target, make_gpt(0, context_length=6)):
        run = speculative_generate(target, other, prompt(length), 40, n_draft, 0)
        assert torch.equal(run.ids, expected)


PARTS = [
    {"position": "rotary", "n_kv_heads": 1},
    {"position": "rotary", "window": 5},  # its cache cannot go back
    {"position": "rotary", "kv_rank": 8, "d_head": 8},
]


@pytest.mark.parametrize("parts", PARTS)
def test_other_caches_go_back_too_or_are_not_used(parts):
    target, draft = make_gpt(0, **parts), make_gpt(1, **parts)
    expected = generate(target, prompt(), 40, temperature=0)
    run = speculative_generate(target, draft, prompt(), 40, 3, temperature=0)
    assert torch.equal(run.ids, expected)
    assert run.n_accepted < run.n_drafted


def test_the_target_as_its_own_draft_accepts_all():
    model = make_gpt()
    run = speculative_generate(model, model, prompt(), 40, 4, generator=seeded())
    assert run.n_accepted == run.n_drafted > 0
    alone = speculative_generate(model, make_gpt(1), prompt(), 40, 4, 0)
    assert run.n_passes < alone.n_passes <= 40


def test_models_without_a_cache_draft_and_check():
    target, draft = make_gpt(), table(random_rows(10, seed=1, V=10))
    expected = generate(target, prompt(), 30, temperature=0)
    run = speculative_generate(target, draft, prompt(), 30, temperature=0)
    assert torch.equal(run.ids, expected)
    other = speculative_generate(draft, target, prompt(), 30, temperature=0)
    assert torch.equal(other.ids, generate(draft, prompt(), 30, temperature=0))


class Counted(nn.Module):
    """A model that says how many tokens it is given."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model, self.context_length, self.read = model, model.context_length, []

    def forward(self, ids: Tensor, cache: list | None = None) -> Tensor:
        self.read.append(ids.size(1))
        return self.model(ids, cache)

    def new_cache(self) -> list:
        return self.model.new_cache()


def test_no_token_is_read_twice_but_what_was_rejected():
    target, draft = Counted(make_gpt(0)), Counted(make_gpt(0))
    run = speculative_generate(target, draft, prompt(4), 11, 3, temperature=0)
    assert run.n_accepted == run.n_drafted == 8 and run.n_passes == 3
    assert target.read[1:] == [7, 4, 3]  # prompt and drafts, then its own and drafts
    assert draft.read[1:] == [4, 1, 1, 2, 1, 1, 2, 1]


def test_counts_and_lengths():
    target, draft = make_gpt(0), make_gpt(1)
    for n_tokens in (0, 1, 2, 5):
        run = speculative_generate(target, draft, prompt(), n_tokens, 3, 0.9)
        assert run.ids.shape == (1, 3 + n_tokens)
        assert torch.equal(run.ids[:, :3], prompt())
        assert run.n_accepted + run.n_passes == n_tokens
        assert 0 <= run.n_accepted <= run.n_drafted <= 3 * run.n_passes


def test_the_same_seed_writes_the_same_and_the_prompt_stays():
    target, draft, ids = make_gpt(0), make_gpt(1), prompt()
    before = ids.clone()
    one, two, other = (
        speculative_generate(target, draft, ids, 30, generator=seeded(seed)).ids
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(ids, before) and not one.requires_grad


def test_dropout_is_off_and_both_models_are_given_back():
    target, draft = make_gpt(0, dropout=0.5), make_gpt(1, dropout=0.5)
    expected = speculative_generate(target, draft, prompt(), 20, temperature=0)
    target.train()
    run = speculative_generate(target, draft, prompt(), 20, temperature=0)
    assert torch.equal(run.ids, expected.ids)
    assert target.training and not draft.training


def test_half_precision_writes_too():
    target, draft = make_gpt(0).bfloat16(), make_gpt(1)
    run = speculative_generate(target, draft, prompt(), 20, generator=seeded())
    assert run.ids.shape == (1, 23)


# What cannot be written


@pytest.mark.parametrize(
    "how, message",
    [
        ({"ids": torch.zeros(1, 0).long()}, r"ids has shape \(1, 0\); it must be \(1,"),
        ({"ids": torch.zeros(2, 3).long()}, r"ids has shape \(2, 3\); it must be \(1,"),
        ({"ids": torch.zeros(3).long()}, r"ids has shape \(3,\)"),
        ({"n_tokens": -1}, "n_tokens=-1 must be 0 or more"),
        ({"n_draft": 0}, "n_draft=0 must be at least 1"),
        ({"temperature": -0.5}, "temperature=-0.5 must be 0 or more, and finite"),
        ({"temperature": math.nan}, "temperature=nan must be 0 or more, and finite"),
        ({"temperature": math.inf}, "temperature=inf must be 0 or more, and finite"),
        ({"top_k": 0}, "k=0 must be at least 1"),
        ({"top_p": 1.5}, "p=1.5 must be above 0 and at most 1"),
    ],
)
def test_settings_outside_their_range(how, message):
    settings = {"ids": prompt(), "n_tokens": 3} | how
    with pytest.raises(ValueError, match=message):
        speculative_generate(make_gpt(0), make_gpt(1), **settings)


def test_models_with_other_vocabularies():
    with pytest.raises(ValueError, match="draft knows 7 tokens and target 10; they mu"):
        speculative_generate(make_gpt(), make_gpt(vocab_size=7), prompt() % 7, 3)


@pytest.mark.parametrize("damaged", [0, 1])
def test_logits_that_are_no_numbers(damaged):
    models = [make_gpt(0), make_gpt(1)]
    models[damaged].head.weight.data[2] = math.nan
    with pytest.raises(ValueError, match="the largest logit of a row is nan"):
        speculative_generate(*models, prompt(), 5)
