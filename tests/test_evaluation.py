"""Measures of how good a model is, against other code and against simulation.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import json
import math
import random as plain_random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from against_torch import random
from torch import Tensor
from torch.nn import functional as F

from lib.evaluate.calibration import calibration_error, fit_temperature, reliability
from lib.evaluate.intervals import (
    bootstrap_interval,
    paired_p_value,
    wilson_interval,
)
from lib.evaluate.pass_at_k import pass_at_k
from lib.evaluate.perplexity import bits_per_byte, perplexity, sliding_losses
from lib.evaluate.rouge import rouge_l, rouge_l_sum, rouge_n
from lib.models.gpt import GPT, GPTConfig

REFERENCE = json.loads(
    Path(__file__).with_name("rouge_score.json").read_text("utf-8")
)  # made with the package rouge-score


def notices(check: Callable[..., None], *broken: object) -> bool:
    """Whether a check fails on what is broken."""
    try:
        check(*broken)
    except (AssertionError, pytest.fail.Exception):
        return True
    return False


# Perplexity


def model_with(dtype: torch.dtype = torch.float32) -> GPT:
    torch.manual_seed(1)
    model = GPT(GPTConfig(20, 16, 2, 2, 24, 64, position="rotary"))
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model.to(dtype)


IDS = torch.randint(20, (50,), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def one_at_a_time(model: GPT, ids: Tensor, length: int, stride: int) -> Tensor:
    """Each target from its own window, found by hand."""
    losses, n = [], len(ids) - 1
    ends = [e for e in range(length, n, stride)] + [n] if n > length else [n]
    for target in range(1, n + 1):
        end = next(e for e in ends if e >= target)
        logits = model.eval()(ids[max(end - length, 0) : target][None])[0, -1]
        losses.append(F.cross_entropy(logits, ids[target]))
    return torch.stack(losses)


def check_windows(losses_of: Callable) -> None:
    model = model_with()
    for length in (1, 7, 16, 49, 60):
        for stride in {1, length // 2 or 1, length}:
            expected = one_at_a_time(model, IDS, length, stride)
            found = losses_of(model, IDS, length, stride)
            assert found.shape == expected.shape
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def windows(ids: Tensor, length: int, stride: int) -> list[Tensor]:
    return [ids[a : a + length + 1] for a in range(0, len(ids) - 1, stride)]


def losses_in(model: GPT, row: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model.eval()(row[None, :-1])[0]
        return F.cross_entropy(logits, row[1:], reduction="none")


def twice_counted(model, ids, length, stride):
    return torch.cat([losses_in(model, row) for row in windows(ids, length, stride)])


def seams_lost(model, ids, length, stride):
    pieces = ids.split(max(length, 2))
    return torch.cat([losses_in(model, row) for row in pieces if len(row) > 1])


def first_window_short(model, ids, length, stride):
    return sliding_losses(model, ids, length, stride)[length - stride :]


def cold_windows(model, ids, length, stride):
    return sliding_losses(model, ids, length, length)


def shifted_by_one(model, ids, length, stride):
    return sliding_losses(model, ids, max(length - 1, 1), max(stride - 1, 1))


def last_window_short(model, ids, length, stride):
    found = sliding_losses(model, ids, length, stride).clone()
    n = (len(ids) - 1) % length or length
    found[-n:] = losses_in(model, ids[-n - 1 :])
    return found


def test_each_target_counts_once_with_all_the_context_of_its_window() -> None:
    check_windows(sliding_losses)
    for wrong in (
        twice_counted,
        seams_lost,
        first_window_short,
        cold_windows,
        shifted_by_one,
        last_window_short,
    ):
        assert notices(check_windows, wrong), wrong


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_window_over_the_whole_text_is_one_reading(dtype) -> None:
    model = model_with(dtype).train()
    found = sliding_losses(model, IDS, 64, 7)
    assert model.training and found.dtype == torch.float32
    with torch.no_grad():
        logits = model.eval()(IDS[None, :-1])[0].float()
    expected = F.cross_entropy(logits, IDS[1:], reduction="none")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert abs(perplexity(found) - expected.mean().exp().item()) < 1e-3


def check_mean(perplexity: Callable) -> None:
    losses = torch.tensor([1.0, 2.0, 6.0, 7.0])
    assert math.isclose(perplexity(losses), math.exp(4))


def test_perplexity_is_of_the_mean_over_targets() -> None:
    check_mean(perplexity)
    for wrong in (
        lambda x: x.exp().mean().item(),  # the mean of perplexities
        lambda x: (x[:3].mean() / 2 + x[3:].mean() / 2).exp().item(),  # of windows
        lambda x: 2 ** x.mean().item(),  # nats taken for bits
    ):
        assert notices(check_mean, wrong)
    with pytest.raises(ValueError, match="losses has no numbers"):
        perplexity(torch.tensor([]))


def check_bytes(bits_per_byte: Callable) -> None:
    losses = torch.full((4,), math.log(2), dtype=torch.double)  # a bit each
    assert math.isclose(bits_per_byte(losses, "naïf"), 4 / 5)
    assert math.isclose(bits_per_byte(losses, "€uro"), 4 / 6)
    assert math.isclose(bits_per_byte(losses[:2], "euro"), 2 / 4)


def test_bytes_are_those_of_utf8() -> None:
    check_bytes(bits_per_byte)
    for wrong in (
        lambda x, text: x.sum().item() / math.log(2) / len(text),
        lambda x, text: x.sum().item() / math.log(2) / len(str(text.encode())),
        lambda x, text: x.sum().item() / len(text.encode()),
        lambda x, text: x.mean().item() / math.log(2),
    ):
        assert notices(check_bytes, wrong)
    with pytest.raises(ValueError, match="text='' has no bytes"):
        bits_per_byte(torch.ones(1), "")


def test_windows_that_make_no_sense() -> None:
    for stride in (0, 9):
        with pytest.raises(ValueError, match=f"stride={stride} must be 1 .. 8"):
            sliding_losses(model_with(), IDS, 8, stride)
    for ids in (IDS[:1], IDS[None]):
        with pytest.raises(ValueError, match=r"it must be \(N,\), N > 1"):
            sliding_losses(model_with(), ids, 8, 1)


# Samples


def check_pass(pass_at_k: Callable) -> None:
    for n in (1, 2, 5, 9):
        for right in range(n + 1):
            for k in range(1, n + 1):
                expected = 1 - math.comb(n - right, k) / math.comb(n, k)
                assert math.isclose(pass_at_k(n, right, k), expected, abs_tol=1e-12)


def test_pass_at_k_is_the_share_of_draws_with_a_right_one() -> None:
    check_pass(pass_at_k)
    for wrong in (
        lambda n, right, k: 1 - (1 - right / n) ** k,
        lambda n, right, k: pass_at_k(k, min(right, k), k),
        lambda n, right, k: min(1.0, right * k / n),
        lambda n, right, k: float(right >= k),
    ):
        assert notices(check_pass, wrong)
    assert math.isclose(pass_at_k(10**6, 1, 1), 1e-6)
    assert 0.99 < pass_at_k(10_000, 100, 500) < 1
    for values in ((5, 6, 1), (5, -1, 1), (5, 1, 0), (5, 1, 6)):
        with pytest.raises(ValueError, match="must be"):
            pass_at_k(*values)


def test_pass_at_k_has_no_bias_where_the_plain_formula_has_one() -> None:
    rng, p, n, k = plain_random.Random(0), 0.3, 5, 4
    drawn = [sum(rng.random() < p for _ in range(n)) for _ in range(20_000)]
    truth = 1 - (1 - p) ** k
    own = sum(pass_at_k(n, right, k) for right in drawn) / len(drawn)
    plain = sum(1 - (1 - right / n) ** k for right in drawn) / len(drawn)
    assert abs(own - truth) < 0.006 and plain < truth - 0.03


# ROUGE


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_rouge_is_that_of_the_package(case) -> None:
    texts = case["candidate"], case["reference"]
    for name, found in (
        ("rouge1", rouge_n(*texts)),
        ("rouge2", rouge_n(*texts, n=2)),
        ("rougeL", rouge_l(*texts)),
        ("rougeLsum", rouge_l_sum(*texts)),
    ):
        assert found == pytest.approx(case[name], abs=1e-12), name


def test_the_fixture_has_what_goes_wrong_elsewhere() -> None:
    cases = REFERENCE["cases"]
    assert sum(not case["reference"].strip(" .?!\n") for case in cases) >= 2
    assert any(case["rougeL"] != case["rougeLsum"] for case in cases)
    for wrong in (
        lambda c, r: rouge_l(c, r),  # without sentences
        lambda c, r: rouge_l_sum(c.replace("\n", " "), r),
        lambda c, r: rouge_l_sum(r, c),
    ):
        found = [
            wrong(x["candidate"], x["reference"])[2] - x["rougeLsum"][2] for x in cases
        ]
        precision = [
            wrong(x["candidate"], x["reference"])[0] - x["rougeLsum"][0] for x in cases
        ]
        assert max(map(abs, found + precision)) > 0.01
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        rouge_n("a", "b", 0)


# Calibration


def check_bins(reliability: Callable) -> None:
    p = torch.tensor([0.0, 0.5, 0.51, 0.6, 0.99, 1.0])
    right = torch.tensor([False, True, True, False, True, True])
    bins = reliability(p, right, 2)
    assert [each.count for each in bins] == [2, 4]
    assert [round(each.confidence, 3) for each in bins] == [0.25, 0.775]
    assert [each.accuracy for each in bins] == [0.5, 0.75]
    assert abs(calibration_error(bins) - (2 * 0.25 + 4 * 0.025) / 6) < 1e-4


def test_bins_and_their_error() -> None:
    check_bins(reliability)
    for wrong in (
        lambda p, right, n: reliability(p, right, n + 1),
        lambda p, right, n: reliability(p * 0.99, right, n),
        lambda p, right, n: reliability(p, ~right, n),
        lambda p, right, n: reliability(p[1:], right[1:], n),
    ):
        assert notices(check_bins, wrong)
    assert len(reliability(torch.tensor([0.95]), torch.tensor([True]))) == 1
    with pytest.raises(ValueError, match="must be in"):
        reliability(torch.tensor([1.2]), torch.tensor([True]))
    with pytest.raises(ValueError, match=r"must be \(N,\) both"):
        reliability(torch.rand(3), torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_temperature_is_the_one_with_the_least_loss(dtype) -> None:
    z = random(400, 7).to(dtype)
    targets = (2.5 * z.float()).softmax(-1).multinomial(
        1, generator=torch.Generator().manual_seed(0)
    )[:, 0]
    found = fit_temperature(z, targets)
    losses = [
        F.cross_entropy(z.double() / t, targets)
        for t in (0.97 * found, found, found / 0.97)
    ]
    assert losses[1] < min(losses[0], losses[2]) and abs(found - 0.4) < 0.1
    hot = fit_temperature(10 * z.float(), targets)
    assert abs(hot - 10 * found) < 0.1 * hot
    with pytest.raises(ValueError, match=r"must be \(N, V\) and \(N,\)"):
        fit_temperature(z, targets[:2])


def test_calibrated_probabilities_have_a_small_error() -> None:
    z = 3 * random(4_000, 5)
    draw = torch.Generator().manual_seed(1)
    targets = z.softmax(-1).multinomial(1, generator=draw)[:, 0]
    errors = []
    for factor in (1.0, 3.0):
        p, guess = (factor * z).softmax(-1).max(-1)
        errors.append(calibration_error(reliability(p, guess == targets)))
    assert errors[0] < 0.03 and errors[1] > 0.1


# Intervals


def check_coverage(interval_of: Callable, n: int, p: float) -> None:
    """The true share lies inside in about 95 of 100 tests, with any seed."""
    rng, inside = plain_random.Random(0), 0
    for _ in range(400):
        low, high = interval_of([rng.random() < p for _ in range(n)])
        inside += low <= p <= high
    assert 0.91 <= inside / 400 <= 0.99


def wilson(right: list[bool]) -> tuple[float, float]:
    return wilson_interval(sum(right), len(right))


def wald(right: list[bool]) -> tuple[float, float]:
    share = sum(right) / len(right)
    half = 1.96 * math.sqrt(share * (1 - share) / len(right))
    return share - half, share + half


def one_sided(right: list[bool]) -> tuple[float, float]:
    return wilson_interval(sum(right), len(right), z=1.0)


def test_intervals_hold_what_they_promise() -> None:
    for n, p in ((20, 0.1), (20, 0.5), (100, 0.9), (300, 0.3)):
        check_coverage(wilson, n, p)
    assert notices(check_coverage, wald, 20, 0.1)
    assert notices(check_coverage, one_sided, 100, 0.5)
    check_coverage(lambda right: bootstrap_interval(right, 300), 100, 0.4)
    narrow = lambda right: bootstrap_interval(right, 300, level=0.5)
    assert notices(check_coverage, narrow, 100, 0.4)


def test_wilson_is_that_of_the_paper() -> None:
    low, high = wilson_interval(0, 10)
    assert low == 0 and abs(high - 0.2775) < 1e-3
    low, high = wilson_interval(81, 263)
    assert abs(low - 0.2553) < 1e-3 and abs(high - 0.3662) < 1e-3
    assert wilson_interval(10, 10)[1] == 1
    for values in ((11, 10), (-1, 10), (0, 0)):
        with pytest.raises(ValueError, match="must be"):
            wilson_interval(*values)
    with pytest.raises(ValueError, match="z=0 must be above 0"):
        wilson_interval(1, 2, z=0)


def check_p_value(p_value: Callable) -> None:
    """Where both models are equally good, p is below 0.1 in a tenth of the tests.

    Their answers are alike, so pairs tell more than two separate shares.
    """
    rng, low, found = plain_random.Random(1), 0, 0
    for _ in range(300):
        hard = [rng.random() for _ in range(40)]
        a, b = ([h + rng.gauss(0, 0.1) for h in hard] for _ in range(2))
        low += p_value(a, b) < 0.1
        better = [h + rng.gauss(0, 0.1) < 0.68 for h in hard]
        found += p_value(better, [h < 0.5 for h in b]) < 0.1
    assert low / 300 <= 0.14 and found / 300 >= 0.7


def unpaired(a: list[bool], b: list[bool]) -> float:
    n = len(a)
    p = (sum(a) + sum(b)) / (2 * n)
    z = abs(sum(a) - sum(b)) / n / math.sqrt(max(p * (1 - p) * 2 / n, 1e-9))
    return math.erfc(z / math.sqrt(2))


def one_way(a: list[bool], b: list[bool]) -> float:
    return paired_p_value(a, b, 200) / 2


def other_order(a: list[bool], b: list[bool]) -> float:
    return paired_p_value(a, sorted(b), 200)


def test_pairs_find_what_separate_shares_do_not() -> None:
    check_p_value(lambda a, b: paired_p_value(a, b, 200))
    for wrong in (unpaired, one_way, other_order):
        assert notices(check_p_value, wrong), wrong
    same = [True, False, True]
    assert paired_p_value(same, same) == 1
    assert paired_p_value([1] * 12, [0] * 12) < 0.01
    assert paired_p_value(same, same, 10) == paired_p_value(same, same, 10)
    with pytest.raises(ValueError, match="3 and 2 numbers"):
        paired_p_value(same, same[:2])
    with pytest.raises(ValueError, match="values has 1 numbers"):
        bootstrap_interval([1.0])
    with pytest.raises(ValueError, match="level=1 must be inside"):
        bootstrap_interval([1.0, 2.0], level=1)
