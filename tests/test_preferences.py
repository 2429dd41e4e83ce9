"""Preferences: pairs as rows, log-probabilities of answers, DPO, IPO, reward models.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from against_torch import random
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.gpt import GPT, GPTConfig
from lib.train import TrainConfig
from lib.tune import dpo, reward_model
from lib.tune.dpo import DPOConfig, answer_log_probabilities, dpo_loss, ipo_loss
from lib.tune.pairs import Pair, PairRows, encode_pairs
from lib.tune.reward_model import RewardModel, bradley_terry_loss, fit_reward_model

SMALL = GPTConfig(12, 16, 2, 2, 32, 16, position="rotary", norm="rms")
PAIRS = [
    Pair([1, 2, 3], [4, 5], [6, 7, 8, 9]),
    Pair([2], [5, 5, 5, 1], [5]),
    Pair([3, 4, 5, 6, 7], [8], [9, 1]),
    Pair([9, 9], [1, 2, 3], [3, 2, 1]),
]
RECIPE = TrainConfig(3, 0.01, schedule="constant")


def model_with(**changes) -> GPT:
    """A model whose weights are large enough that each of them matters."""
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(SMALL, **changes)).eval()
    for seed, p in enumerate(model.parameters()):
        p.data.add_(0.3 * random(*p.shape, seed=seed))
    return model


def by_hand(model: nn.Module, pair: Pair) -> Tensor:
    """Both answers' log-probabilities, token by token, from rows without filling."""
    found = []
    for answer in (pair.chosen, pair.rejected):
        total, read = 0.0, list(pair.prompt)
        for token in answer:
            logits = model(torch.tensor([read]))[0, -1].double()
            total = total + logits[token] - logits.exp().sum().log()
            read.append(token)
        found.append(total)
    return torch.stack(found)


def all_by_hand(model: nn.Module) -> Tensor:
    return torch.stack([by_hand(model, pair) for pair in PAIRS])


def assert_near(ours: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, expected.to(ours.dtype), atol=atol, rtol=1e-5)


# Pairs


def test_rows_hold_prompt_and_answer_and_say_what_was_written() -> None:
    rows, n_equal = encode_pairs(PAIRS)
    assert rows.ids.shape == rows.written.shape == (4, 2, 7) and n_equal == 0
    assert rows.ids[0].tolist() == [[1, 2, 3, 4, 5, 0, 0], [1, 2, 3, 6, 7, 8, 9]]
    assert rows.written.dtype == torch.bool
    for pair, ids, written in zip(PAIRS, *rows):
        for answer, row, own in zip((pair.chosen, pair.rejected), ids, written):
            assert row[own].tolist() == answer
            assert not own[: len(pair.prompt)].any()


@pytest.mark.parametrize(("length", "n_kept"), [(None, 3), (6, 3), (5, 2), (4, 1)])
def test_equal_answers_are_left_out_and_counted(length: int, n_kept: int) -> None:
    some = [
        Pair([1, 2], [3, 4, 5, 6], [3, 4, 5, 7]),  # they differ in their 6th token
        Pair([1, 2], [3, 4, 5], [3, 4, 6]),  # in their 5th
        Pair([1, 2, 3], [4, 5], [4, 5]),  # nowhere
        Pair([1], [3], [4]),
    ]
    rows, n_equal = encode_pairs(some, length)
    assert len(rows.ids) == n_kept and n_equal == 4 - n_kept
    assert rows.ids.size(-1) <= (length or 6)


def test_an_answer_that_begins_the_other_one_is_another_answer() -> None:
    rows, n_equal = encode_pairs([Pair([1], [2, 3], [2])])
    assert n_equal == 0 and rows.written[0].sum(dim=1).tolist() == [2, 1]
    with pytest.raises(ValueError, match="none of 1 has two different answers"):
        encode_pairs([Pair([1], [2, 3], [2])], max_length=2)


def test_a_prompt_as_long_as_a_row_leaves_nothing_to_learn() -> None:
    rows, n_equal = encode_pairs([Pair([1, 2, 3], [4], [5]), PAIRS[1]], max_length=3)
    assert n_equal == 1 and len(rows.ids) == 1


def test_pairs_are_not_changed() -> None:
    before = copy.deepcopy(PAIRS)
    encode_pairs(PAIRS, 4)
    assert before == PAIRS


@pytest.mark.parametrize(
    ("some", "options", "words"),
    [
        ([Pair([], [1], [2])], {}, r"pairs\[0\] has an empty prompt"),
        ([PAIRS[0], Pair([1], [2], [])], {}, r"pairs\[1\] has an empty rejected"),
        ([Pair([1], [], [2])], {}, r"pairs\[0\] has an empty chosen"),
        ([Pair([1], [2], [2])], {}, "none of 1 has two different answers"),
        ([], {}, "none of 0"),
        (PAIRS, {"max_length": 0}, "max_length=0 must be at least 1"),
    ],
)
def test_pairs_that_cannot_be(some: list, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encode_pairs(some, **options)


# Log-probabilities of answers


def expect_the_right_log_probabilities() -> None:
    model, rows = model_with(), encode_pairs(PAIRS)[0]
    expected = all_by_hand(model)
    ours = dpo.answer_log_probabilities(model, *rows)
    assert ours.shape == (4, 2) and ours.dtype == torch.float32
    assert_near(ours, expected, 1e-4)


def test_an_answer_is_worth_the_sum_over_its_tokens() -> None:
    expect_the_right_log_probabilities()
    model, rows = model_with(), encode_pairs(PAIRS)[0]
    mean = answer_log_probabilities(model, *rows, average=True)
    lengths = torch.tensor([[len(p.chosen), len(p.rejected)] for p in PAIRS])
    assert_near(mean, all_by_hand(model) / lengths, 1e-4)


def test_gradients_are_those_of_a_sum_by_hand() -> None:
    model, rows = model_with().double(), encode_pairs(PAIRS)[0]
    weight, leaves = random(4, 2), [*model.parameters()]
    ours = torch.autograd.grad(
        (answer_log_probabilities(model, *rows) * weight).sum(), leaves
    )
    expected = torch.autograd.grad((all_by_hand(model) * weight).sum(), leaves)
    for a, b in zip(ours, expected):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_filling_and_other_rows_change_nothing() -> None:
    model, rows = model_with(), encode_pairs(PAIRS)[0]
    alone = [answer_log_probabilities(model, *encode_pairs([p])[0])[0] for p in PAIRS]
    assert_near(answer_log_probabilities(model, *rows), torch.stack(alone))
    ids, written = (F.pad(part, (0, 5)) for part in rows)
    filled = torch.where(written | (ids > 0), ids, 11)
    assert_near(
        answer_log_probabilities(model, filled, written), torch.stack(alone)
    )


def test_they_are_float32_in_bfloat16() -> None:
    model, rows = model_with(), encode_pairs(PAIRS)[0]
    expected = answer_log_probabilities(model, *rows)
    ours = answer_log_probabilities(model.bfloat16(), *rows)
    assert ours.dtype == torch.float32
    assert (ours - expected).abs().mean() < 0.03 * expected.abs().mean()
    exact = (ours * 256 == (ours * 256).round()).all()
    assert not exact  # it has more digits than bfloat16 has


def test_dropout_is_off_and_comes_back() -> None:
    model, rows = model_with(dropout=0.5), encode_pairs(PAIRS)[0]
    expected = answer_log_probabilities(model, *rows)
    model.train()
    model.blocks[0].eval()
    assert torch.equal(answer_log_probabilities(model, *rows), expected)
    assert model.training and not model.blocks[0].training
    assert torch.equal(dpo.reference_log_probabilities(model, rows), expected)


def test_the_reference_has_no_gradient_and_reads_in_batches() -> None:
    model, rows = model_with(), encode_pairs(PAIRS)[0]
    whole = dpo.reference_log_probabilities(model, rows)
    assert not whole.requires_grad
    assert_near(dpo.reference_log_probabilities(model, rows, batch_size=3), whole)
    mean = dpo.reference_log_probabilities(model, rows, average=True)
    assert_near(mean, answer_log_probabilities(model, *rows, average=True))
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        dpo.reference_log_probabilities(model, rows, batch_size=0)


def test_rows_that_cannot_be() -> None:
    model, (ids, written) = model_with(), encode_pairs(PAIRS)[0]
    with pytest.raises(TypeError, match="written has dtype torch.int64"):
        answer_log_probabilities(model, ids, written.long())
    with pytest.raises(ValueError, match=r"written has shape \(4, 2, 6\)"):
        answer_log_probabilities(model, ids, written[..., 1:])
    for wrong in (torch.zeros_like(written), torch.ones_like(written)):
        with pytest.raises(ValueError, match="an answer in each row, after its prompt"):
            answer_log_probabilities(model, ids, wrong)


# Losses


POLICY, REFERENCE = 3 * random(6, 2) - 9, 3 * random(6, 2, seed=1) - 9


def expect_the_right_loss() -> None:
    new, old = POLICY.double(), REFERENCE.double()
    m = (new[:, 0] - old[:, 0]) - (new[:, 1] - old[:, 1])
    for beta, smoothing in ((0.1, 0.0), (0.7, 0.0), (0.3, 0.2)):
        targets = torch.full_like(m, 1 - smoothing)
        expected = F.binary_cross_entropy_with_logits(beta * m, targets)
        ours = dpo.dpo_loss(POLICY, REFERENCE, beta, smoothing)
        assert_near(ours, expected, 1e-6)
    assert_near(ipo_loss(POLICY, REFERENCE, 0.2), ((m - 2.5) ** 2).mean(), 1e-4)


def test_losses_are_those_of_the_papers() -> None:
    expect_the_right_loss()


def test_equal_models_have_the_loss_ln_2() -> None:
    for beta in (0.01, 0.1, 5.0):
        loss = dpo_loss(POLICY, POLICY, beta)
        assert loss.item() == pytest.approx(math.log(2), abs=1e-7)
        smooth = dpo_loss(POLICY, POLICY, beta, 0.1)
        assert smooth.item() == pytest.approx(math.log(2), abs=1e-6)


def test_the_gradient_pushes_the_chosen_up_and_the_rejected_down() -> None:
    new = POLICY.clone().requires_grad_()
    dpo_loss(new, REFERENCE, 0.3).backward()
    m = dpo.margins(POLICY, REFERENCE)
    expected = -0.3 * torch.sigmoid(-0.3 * m) / 6  # equation after (7)
    assert_near(new.grad, torch.stack([expected, -expected], dim=1), 1e-7)
    assert (new.grad[:, 0] < 0).all() and (new.grad[:, 1] > 0).all()


def test_ipo_pulls_a_margin_back_that_is_too_large() -> None:
    for gap, sign in ((1.0, -1), (9.0, 1)):
        new = torch.tensor([[gap, 0.0]], requires_grad=True)
        ipo_loss(new, torch.zeros(1, 2), 0.1).backward()  # wants a margin of 5
        assert new.grad[0, 0].sign() == sign == -new.grad[0, 1].sign()


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_large_margins_give_numbers(scale: float) -> None:
    new = torch.tensor([[scale, -scale]], requires_grad=True)
    loss = dpo_loss(new, torch.zeros(1, 2), 1.0)
    loss.backward()
    assert loss.isfinite() and new.grad.isfinite().all()


def test_losses_in_bfloat16_are_computed_in_float32() -> None:
    new, old = POLICY.bfloat16() - 90, REFERENCE.bfloat16() - 90
    for loss in (dpo_loss, ipo_loss):
        ours = loss(new, old, 0.1)
        assert ours.dtype == torch.float32
        assert_near(ours, loss(new.double(), old.double(), 0.1), 1e-5)
    ours = bradley_terry_loss(new)
    assert ours.dtype == torch.float32
    assert_near(ours, bradley_terry_loss(new.double()), 1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DPOConfig(beta=0), "beta=0 must be above 0"),
        (lambda: DPOConfig(beta=math.inf), "beta=inf must be above 0 and finite"),
        (lambda: DPOConfig(loss="hinge"), "loss='hinge' must be sigmoid or ipo"),
        (lambda: DPOConfig(smoothing=0.5), r"smoothing=0.5 must be in \[0, 0.5\)"),
        (lambda: DPOConfig(loss="ipo", smoothing=0.1), "must be 0 with loss='ipo'"),
        (lambda: dpo_loss(POLICY, REFERENCE, -1.0), "beta=-1.0 must be above 0"),
        (lambda: dpo_loss(POLICY, REFERENCE, 0.1, 0.7), "smoothing=0.7"),
        (lambda: ipo_loss(POLICY, REFERENCE, 0.0), "beta=0.0 must be above 0"),
        (lambda: dpo_loss(POLICY, REFERENCE[:3]), r"must have one shape \(N, 2\)"),
        (lambda: dpo_loss(POLICY.T, REFERENCE.T), r"must have one shape \(N, 2\)"),
        (lambda: bradley_terry_loss(POLICY.T), r"\(2, 6\); it must be \(N, 2\)"),
        (lambda: tune(batch_size=0), "batch_size=0 must be at least 1"),
    ],
)
def test_settings_that_cannot_be(call: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# Tuning


def tune(
    config: DPOConfig = DPOConfig(beta=0.5),
    recipe: TrainConfig = RECIPE,
    model: GPT | None = None,
    **options,
):
    generator = torch.Generator().manual_seed(1)
    options = {"batch_size": 3, "generator": generator} | options
    rows = encode_pairs(PAIRS)[0]
    model = model_with() if model is None else model
    return dpo.tune_on_pairs(model, rows, config, recipe, **options)


def expect_the_steps_of_a_loop_by_hand(config: DPOConfig = DPOConfig(beta=0.5)) -> None:
    model = model_with()
    reference = copy.deepcopy(model).double()
    adam = torch.optim.AdamW(model.parameters(), 0.01, (0.9, 0.95), weight_decay=0)
    generator, losses = torch.Generator().manual_seed(1), []
    old = all_by_hand(reference).detach()
    for _ in range(3):
        places = torch.randint(4, (3,), generator=generator)
        m = all_by_hand(model)[places] - old[places]
        m = m[:, 0] - m[:, 1]
        loss = -(config.beta * m).sigmoid().log().mean()
        if config.loss == "ipo":
            loss = (m - 1 / (2 * config.beta)).square().mean()
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        losses.append(loss.item())
    training = tune(config)
    assert training.losses == pytest.approx(losses, rel=1e-3)
    for a, b in zip(training.model.parameters(), model.parameters()):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_steps_are_those_of_a_loop_by_hand(loss: str) -> None:
    expect_the_steps_of_a_loop_by_hand(DPOConfig(beta=0.5, loss=loss))


def expect_a_start_at_ln_2_and_a_fall() -> None:
    recipe = dataclasses.replace(RECIPE, n_steps=20)
    losses = tune(recipe=recipe).losses
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[-1] < 0.3


def test_it_starts_at_ln_2_and_falls() -> None:
    expect_a_start_at_ln_2_and_a_fall()


def expect_chosen_answers_to_become_likelier() -> None:
    model, rows = model_with(), encode_pairs(PAIRS)[0]
    before = answer_log_probabilities(model, *rows).detach()
    tune(recipe=dataclasses.replace(RECIPE, n_steps=20), model=model)
    moved = answer_log_probabilities(model, *rows) - before
    assert (moved[:, 0] > moved[:, 1] + 0.5).all()


def test_chosen_answers_become_likelier_than_rejected_ones() -> None:
    expect_chosen_answers_to_become_likelier()


@pytest.mark.parametrize("training", [True, False])
def test_dropout_does_not_disturb_it(training: bool) -> None:
    model = model_with(dropout=0.5).train(training)
    assert tune(model=model).losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert model.training == training


def test_the_start_is_ln_2_in_bfloat16_too() -> None:
    recipe = dataclasses.replace(RECIPE, dtype="bfloat16")
    assert tune(recipe=recipe).losses[0] == pytest.approx(math.log(2), abs=1e-4)


def test_parts_of_a_batch_change_nothing() -> None:
    whole = tune(batch_size=4)
    parts = tune(batch_size=4, recipe=dataclasses.replace(RECIPE, accumulation=2))
    assert parts.losses == pytest.approx(whole.losses, rel=1e-4)


def test_options_reach_the_loss() -> None:
    found = {
        tuple(round(loss, 4) for loss in tune(config).losses)
        for config in (
            DPOConfig(beta=0.5),
            DPOConfig(beta=0.2),
            DPOConfig(beta=0.5, average=True),
            DPOConfig(beta=0.5, smoothing=0.2),
            DPOConfig(beta=0.5, loss="ipo"),
        )
    }
    assert len(found) == 5


def test_it_can_be_watched_and_repeated() -> None:
    seen = []
    training = tune(every=2, evaluate=lambda: seen.append(1) or 0.5)
    assert training.validation == [(2, 0.5), (3, 0.5)] and len(seen) == 2
    assert tune().losses == tune().losses


# Reward models


def test_the_loss_of_rewards_is_a_cross_entropy() -> None:
    r = random(7, 2).requires_grad_()
    ours, m = bradley_terry_loss(r), r[:, 0] - r[:, 1]
    expected = F.binary_cross_entropy_with_logits(m, torch.ones(7))
    assert_near(ours, expected, 1e-6)
    gradient = torch.autograd.grad(ours, r)[0]
    assert (gradient[:, 0] < 0).all() and (gradient[:, 1] > 0).all()
    assert bradley_terry_loss(r + 100).item() == pytest.approx(ours.item(), abs=1e-5)
    assert bradley_terry_loss(torch.zeros(3, 2)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("average", [False, True])
def test_the_head_reads_vectors_of_the_answer_alone(average: bool) -> None:
    base, rows = model_with(), encode_pairs(PAIRS)[0]
    model = RewardModel(base, average)
    model.head.weight.data = random(1, 16)
    headless = copy.deepcopy(base)
    headless.head = nn.Identity()
    rewards = model(*rows)
    assert rewards.shape == (4, 2)
    for pair, found in zip(PAIRS, rewards):
        for answer, reward in zip((pair.chosen, pair.rejected), found):
            x = headless(torch.tensor([pair.prompt + answer]))[0, len(pair.prompt) :]
            x = x.mean(dim=0) if average else x[-1]
            assert_near(reward, model.head.weight[0] @ x)
    ids, written = (F.pad(part, (0, 4), value=0) for part in rows)
    assert_near(model(ids, written), rewards)


def test_only_the_head_learns() -> None:
    base, rows = model_with(dropout=0.5), encode_pairs(PAIRS)[0]
    before = copy.deepcopy(base.state_dict())
    model = RewardModel(base, average=True).train()
    assert torch.equal(model(*rows), torch.zeros(4, 2))
    losses = fit_reward_model(model, rows, TrainConfig(100, 0.1))
    assert losses[0] == pytest.approx(math.log(2)) and losses[-1] < 0.1
    assert (model(*rows)[:, 0] > model(*rows)[:, 1]).all()
    assert all(torch.equal(before[n], p) for n, p in base.state_dict().items())
    frozen = {n: p for n, p in model.base.state_dict().items() if n in before}
    assert all(torch.equal(before[n], p) for n, p in frozen.items())
    assert "head.weight" not in frozen and base.head.weight.requires_grad
    assert model.training


def test_a_reward_model_in_bfloat16_gives_float32() -> None:
    base, rows = model_with(), encode_pairs(PAIRS)[0]
    model = RewardModel(base.bfloat16(), average=True)
    assert model(*rows).dtype == torch.float32
    assert fit_reward_model(model, rows, TrainConfig(50, 0.1))[-1] < 0.3


def test_rows_without_an_answer_have_no_reward() -> None:
    model, (ids, written) = RewardModel(model_with()), encode_pairs(PAIRS)[0]
    for wrong in (torch.zeros_like(written), written[..., 1:]):
        with pytest.raises(ValueError, match="with a token of an answer in each row"):
            model(ids, wrong)


# What is known to go wrong


def prompt_counts_too(model, ids, written, average=False) -> Tensor:
    """Up to the end of the answer everything counts: the prompt's tokens as well."""
    whole = written.flip(-1).cummax(dim=-1).values.flip(-1)
    whole[..., 0] = False
    return answer_log_probabilities(model, ids, whole, average)


def filling_counts_too(model, ids, written, average=False) -> Tensor:
    whole = written.cummax(dim=-1).values
    return answer_log_probabilities(model, ids, whole, average)


def mask_not_moved(model, ids, written, average=False) -> Tensor:
    logits = model(ids[..., :-1].flatten(0, -2)).log_softmax(dim=-1)
    found = logits.view(*written[..., 1:].shape, -1)
    found = found.gather(-1, ids[..., 1:].unsqueeze(-1)).squeeze(-1)
    return (found * written[..., :-1]).sum(dim=-1)


def mean_for_sum(model, ids, written, average=False) -> Tensor:
    return answer_log_probabilities(model, ids, written, average=True)


@pytest.mark.parametrize(
    "wrong", [prompt_counts_too, filling_counts_too, mask_not_moved, mean_for_sum]
)
def test_other_sums_are_noticed(wrong: Callable, monkeypatch) -> None:
    monkeypatch.setattr(dpo, "answer_log_probabilities", wrong)
    with pytest.raises(AssertionError):
        expect_the_right_log_probabilities()
    if wrong is not prompt_counts_too:  # of both answers, so it cancels in a margin
        with pytest.raises(AssertionError):
            expect_the_steps_of_a_loop_by_hand()


def swapped(policy, reference, beta=0.1, smoothing=0.0) -> Tensor:
    return dpo_loss(policy.flip(-1), reference.flip(-1), beta, smoothing)


def without_beta(policy, reference, beta=0.1, smoothing=0.0) -> Tensor:
    return dpo_loss(policy, reference, 1.0, smoothing)


def wrong_sign(policy, reference, beta=0.1, smoothing=0.0) -> Tensor:
    return -F.logsigmoid(-beta * dpo.margins(policy, reference)).mean()


def without_reference(policy, reference, beta=0.1, smoothing=0.0) -> Tensor:
    return dpo_loss(policy, torch.zeros_like(policy), beta, smoothing)


def sigmoid_of_the_mean(policy, reference, beta=0.1, smoothing=0.0) -> Tensor:
    return -F.logsigmoid(beta * dpo.margins(policy, reference).mean())


@pytest.mark.parametrize(
    "wrong",
    [swapped, without_beta, wrong_sign, without_reference, sigmoid_of_the_mean],
)
def test_other_losses_are_noticed(wrong: Callable, monkeypatch) -> None:
    monkeypatch.setattr(dpo, "dpo_loss", wrong)
    with pytest.raises(AssertionError):
        expect_the_right_loss()
    if wrong in (swapped, wrong_sign):
        with pytest.raises(AssertionError):
            expect_chosen_answers_to_become_likelier()


def test_a_reference_that_is_not_frozen_is_noticed(monkeypatch) -> None:
    """Its loss is ln 2 for ever: the model is compared with itself."""

    def moving(policy, reference, beta=0.1, smoothing=0.0) -> Tensor:
        return dpo_loss(policy, policy.detach(), beta, smoothing)

    monkeypatch.setattr(dpo, "dpo_loss", moving)
    assert tune().losses == pytest.approx(3 * [math.log(2)])
    with pytest.raises(AssertionError):
        expect_a_start_at_ln_2_and_a_fall()
    with pytest.raises(AssertionError):
        expect_the_steps_of_a_loop_by_hand()


def test_dropout_in_the_reference_is_noticed(monkeypatch) -> None:
    def noisy(model, rows, *options) -> Tensor:
        with torch.no_grad():
            logits = model.train()(rows.ids[..., :-1].flatten(0, 1)).log_softmax(-1)
        model.eval()
        found = logits.view(*rows.ids[..., 1:].shape, -1)
        found = found.gather(-1, rows.ids[..., 1:, None]).squeeze(-1)
        return (found * rows.written[..., 1:]).sum(dim=-1)

    monkeypatch.setattr(dpo, "reference_log_probabilities", noisy)
    tune(model=model_with())  # without dropout nothing is wrong
    with pytest.raises(AssertionError):
        test_dropout_does_not_disturb_it(False)


def test_another_precision_of_the_reference_is_noticed(monkeypatch) -> None:
    right = dpo.reference_log_probabilities
    monkeypatch.setattr(
        dpo, "reference_log_probabilities", lambda m, rows, *_: right(m, rows)
    )
    with pytest.raises(AssertionError):
        test_the_start_is_ln_2_in_bfloat16_too()


def test_pairs_that_are_equal_only_when_cut_are_noticed(monkeypatch) -> None:
    """Compared before the cut, they stay, and teach nothing."""
    right = encode_pairs

    def compared_too_early(some, max_length=None) -> tuple[PairRows, int]:
        some = [pair for pair in some if pair.chosen != pair.rejected]
        rows, n_equal = right(some)
        return PairRows(*(part[..., :max_length] for part in rows)), n_equal

    monkeypatch.setitem(globals(), "encode_pairs", compared_too_early)
    with pytest.raises(AssertionError):
        test_equal_answers_are_left_out_and_counted(5, 2)


def test_a_head_that_reads_the_filling_is_noticed(monkeypatch) -> None:
    def at_the_last_place(self: RewardModel, ids: Tensor, written: Tensor) -> Tensor:
        return self.base(ids.flatten(0, -2))[:, -1].view(*ids.shape[:-1], -1)

    monkeypatch.setattr(reward_model.RewardModel, "vectors", at_the_last_place)
    with pytest.raises(AssertionError):
        test_the_head_reads_vectors_of_the_answer_alone(False)


