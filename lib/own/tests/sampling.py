"""The tests of the sampler: which tokens stay, and how one of them is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lib.own.tests.near import Unknown, expect, expect_near, expect_unchanged, random

__all__ = ["SAMPLE_NEXT", "PENALTY", "TOP_K", "TOP_P", "CHOOSE_NEXT"]

Rule = Callable[..., Tensor]
LOGITS = torch.tensor([[0.4, 0.05, 0.3, 0.25], [0.1, 0.6, 0.1001, 0.1999]]).log()
N_DRAWS, NEAR = 4000, 0.04  # four standard deviations of a share are at most 0.032


def _kept(logits: Tensor) -> list[list[int]]:
    """Return the ids that a rule has left, row by row."""
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


def _expect_kept(rule: Rule, setting: float, wanted: list[list[int]], **hints) -> None:
    """Expect which tokens a rule leaves, and that their logits are what they were."""
    given = rule(LOGITS.clone(), setting)
    expect(isinstance(given, Tensor), f"it gives a {type(given).__name__}, no tensor")
    shapes = tuple(given.shape), tuple(LOGITS.shape)
    expect(shapes[0] == shapes[1], "the new logits have shape %s, not %s" % shapes)
    kept, name = _kept(given), hints.pop("name")
    for hint, wrong in hints.items():
        words = f"with {name}={setting}: {hint.replace('_', ' ')}"
        expect(kept != wrong, words)
    words = f"with {name}={setting} the rows leave {kept}; they must leave {wanted}"
    expect(kept == wanted, words)
    stay = given.isfinite()
    expect_near(given[stay], LOGITS[stay], "a logit that stays")
    lost = given[~stay]
    expect(bool((lost == -math.inf).all()), "what is dropped is not minus infinity")


def leaves_the_k_highest(rule: Rule) -> None:
    """The k highest logits of each row stay; all others are minus infinity."""
    _expect_kept(rule, 1, [[0], [1]], name="k", the_lowest_stay=[[1], [0]])
    one_more = [[0, 2, 3], [1, 2, 3]]
    _expect_kept(rule, 2, [[0, 2], [1, 3]], name="k", one_too_many_stays=one_more)
    _expect_kept(rule, 3, [[0, 2, 3], [1, 2, 3]], name="k")


def takes_a_k_beyond_the_vocabulary(rule: Rule) -> None:
    """A k as large as the vocabulary, or larger, leaves all."""
    for k in (4, 9):
        _expect_kept(rule, k, [[0, 1, 2, 3]] * 2, name="k")


def top_k_leaves_its_input_as_it_is(rule: Rule) -> None:
    """The logits are not changed in place."""
    expect_unchanged(lambda x: rule(x, 2), LOGITS.clone())


def leaves_the_fewest_that_reach_p(rule: Rule) -> None:
    """The token that crosses p stays, too; shares are 0.4, 0.3, 0.25, 0.05 and so."""
    dropped = [[0], [1]]
    hint = {"the_token_that_crosses_p_is_dropped_it_must_stay": dropped}
    hint["the_choice_is_still_in_sorted_order_bring_it_back"] = [[0, 1], [0, 1]]
    _expect_kept(rule, 0.65, [[0, 2], [1, 3]], name="p", **hint)
    places = [[0, 1, 2], [0, 1]]
    hint = {"the_choice_is_still_in_sorted_order_bring_it_back": places}
    _expect_kept(rule, 0.75, [[0, 2, 3], [1, 3]], name="p", **hint)
    _expect_kept(rule, 0.35, [[0], [1]], name="p")


def always_leaves_the_likeliest(rule: Rule) -> None:
    """However small p is, the most likely token stays."""
    _expect_kept(rule, 0.001, [[0], [1]], name="p", nothing_stays=[[], []])


def a_p_of_one_leaves_all(rule: Rule) -> None:
    """With p=1 nothing is dropped."""
    _expect_kept(rule, 1.0, [[0, 1, 2, 3]] * 2, name="p")


def top_p_leaves_its_input_as_it_is(rule: Rule) -> None:
    """The logits are not changed in place."""
    expect_unchanged(lambda x: rule(x, 0.65), LOGITS.clone())


def penalises_what_was_there(rule: Rule) -> None:
    """Positive logits are divided and negative ones multiplied, each once."""
    logits = torch.tensor([[2.0, -2.0, 1.0], [3.0, -1.0, 0.5]])
    ids = torch.tensor([[0, 1, 1], [2, 2, 2]])
    expected = torch.tensor([[1.0, -4.0, 1.0], [3.0, -1.0, 0.25]])
    hints = {
        "negative logits are divided, too: that makes them likelier": torch.tensor(
            [[1.0, -1.0, 1.0], [3.0, -1.0, 0.25]]
        ),
        "a token that came twice is penalised twice": torch.tensor(
            [[1.0, -8.0, 1.0], [3.0, -1.0, 0.0625]]
        ),
        "the penalty falls on all tokens": torch.tensor(
            [[1.0, -4.0, 0.5], [1.5, -2.0, 0.25]]
        ),
    }
    expect_near(rule(logits, ids, 2.0), expected, "the new row of logits", hints=hints)


def a_penalty_of_one_changes_nothing(rule: Rule) -> None:
    """With a penalty of 1 the logits are what they were."""
    logits, ids = random(2, 7), torch.tensor([[0, 3], [6, 6]])
    expect_near(rule(logits, ids, 1.0), logits, "the new row of logits")


def penalty_leaves_its_input_as_it_is(rule: Rule) -> None:
    """Logits and ids are not changed in place."""
    ids = torch.tensor([[0, 3], [6, 6]])
    expect_unchanged(lambda x, i: rule(x, i, 2.0), random(2, 7), ids)


def _shares(draw: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """Return how often each token of the first row is drawn."""
    generator = torch.Generator().manual_seed(3)
    chosen = draw(LOGITS[:1].expand(N_DRAWS, -1), generator)
    shape = tuple(chosen.shape)
    expect(shape == (N_DRAWS, 1), f"the ids have shape {shape}; it must be (B, 1)")
    whole = not chosen.is_floating_point()
    expect(whole, f"the ids have dtype {chosen.dtype}; it must be int64")
    return chosen.flatten().bincount(minlength=4) / N_DRAWS


def _expect_shares(shares: Tensor, logits: Tensor, what: str) -> None:
    """Expect the shares that these logits ask for."""
    wanted = logits.softmax(dim=-1)
    for token, (share, rate) in enumerate(zip(shares.tolist(), wanted.tolist())):
        words = f"{what} token {token} is drawn in {share:.2f} of all cases"
        words += f", not in {rate:.2f}"
        expect(abs(share - rate) < NEAR and (rate > 0 or share == 0), words)


def draws_by_the_probabilities(rule: Rule) -> None:
    """Each token comes as often as the softmax says, at each temperature."""
    shares = _shares(lambda z, g: rule(z, generator=g))
    _expect_shares(shares, LOGITS[0], "without a temperature")
    for t in (0.5, 2.0):
        shares = _shares(lambda z, g, t=t: rule(z, t, generator=g))
        _expect_shares(shares, LOGITS[0] / t, f"with temperature={t}")


def a_temperature_of_zero_takes_the_likeliest(rule: Rule) -> None:
    """Temperature 0 is greedy; nothing is divided by it."""
    chosen = rule(LOGITS.clone(), 0)
    expect(chosen.tolist() == [[0], [1]], f"it takes {chosen.tolist()}, not [[0], [1]]")


def the_same_seed_draws_the_same(rule: Rule) -> None:
    """The draws come from the generator that is given."""
    many = LOGITS[:1].expand(99, -1)
    seeded = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    draws = [rule(many, generator=generator) for generator in seeded]
    expect(torch.equal(draws[0], draws[1]), "the same seed draws other tokens")
    expect(not torch.equal(draws[0], draws[2]), "another seed draws the same tokens")


def sample_next_leaves_its_input_as_it_is(rule: Rule) -> None:
    """The logits are not changed in place."""
    expect_unchanged(lambda z: rule(z, 0.5), LOGITS.clone())


def _choose(rule: Rule, **options) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return how a sampler draws, after a text of token 1."""
    return lambda z, g: rule(
        z, torch.ones(len(z), 1, dtype=torch.long), generator=g, **options
    )


def follows_its_settings(rule: Rule) -> None:
    """Each setting alone does what its rule says; one that it lacks is left out."""
    z = LOGITS[0]
    lost = torch.tensor([False, True, False, True])
    wanted = {
        ("temperature", 0.5): z / 0.5,
        ("top_k", 2): z.masked_fill(lost, -math.inf),
        ("top_p", 0.65): z.masked_fill(lost, -math.inf),
        ("repetition_penalty", 3.0): torch.where(z == z[1], 3 * z, z),
    }
    _expect_shares(_shares(_choose(rule)), z, "without a setting")
    for (name, value), logits in wanted.items():
        try:
            shares = _shares(_choose(rule, **{name: value}))
        except Unknown:
            continue
        _expect_shares(shares, logits, f"with {name}={value}")


def divides_before_it_cuts(rule: Rule) -> None:
    """The temperature comes before top-p: it changes which tokens reach p."""
    options = {"temperature": 0.25, "top_p": 0.65}
    try:
        shares = _shares(_choose(rule, **options))
    except Unknown:
        return
    logits = LOGITS[0] / 0.25  # the first token alone reaches 0.65 now
    kept = logits.masked_fill(logits < logits.max(), -math.inf)
    _expect_shares(shares, kept, "with temperature=0.25 and top_p=0.65")


def greedy_after_the_penalty(rule: Rule) -> None:
    """Temperature 0 takes the likeliest, after a penalty if there is one."""
    ids = torch.tensor([[3], [1]])
    chosen = rule(LOGITS.clone(), ids, temperature=0).tolist()
    expect(chosen == [[0], [1]], f"with temperature=0 it takes {chosen}")
    try:
        chosen = rule(LOGITS.clone(), ids, temperature=0, repetition_penalty=9.0)
    except Unknown:
        return
    words = f"greedy after a penalty it takes {chosen.tolist()}, not [[0], [3]]"
    expect(chosen.tolist() == [[0], [3]], words)


def draws_from_its_generator(rule: Rule) -> None:
    """The same seed draws the same, and another one does not."""
    ids = torch.ones(99, 1, dtype=torch.long)
    the_same_seed_draws_the_same(lambda z, generator: rule(z, ids, generator=generator))


def choose_next_leaves_its_input_as_it_is(rule: Rule) -> None:
    """Logits and ids are not changed in place."""
    ids = torch.ones(2, 3, dtype=torch.long)
    expect_unchanged(lambda z, i: rule(z, i, temperature=0.5), LOGITS.clone(), ids)


SAMPLE_NEXT = (
    draws_by_the_probabilities,
    a_temperature_of_zero_takes_the_likeliest,
    the_same_seed_draws_the_same,
    sample_next_leaves_its_input_as_it_is,
)
PENALTY = (
    penalises_what_was_there,
    a_penalty_of_one_changes_nothing,
    penalty_leaves_its_input_as_it_is,
)
TOP_K = (
    leaves_the_k_highest,
    top_k_leaves_its_input_as_it_is,
    takes_a_k_beyond_the_vocabulary,
)
TOP_P = (
    leaves_the_fewest_that_reach_p,
    always_leaves_the_likeliest,
    a_p_of_one_leaves_all,
    top_p_leaves_its_input_as_it_is,
)
CHOOSE_NEXT = (
    follows_its_settings,
    divides_before_it_cuts,
    greedy_after_the_penalty,
    draws_from_its_generator,
    choose_next_leaves_its_input_as_it_is,
)
