"""Learning from rewards: verifiers, advantages, ratios, losses, answers to prompts.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from against_torch import random
from torch import Tensor, nn
from torch.nn import functional as F

from lib.generate import rollouts as rollouts_file
from lib.generate.rollouts import Rollouts, rollout
from lib.models.gpt import GPT, GPTConfig
from lib.tasks.arithmetic import Addition, write_sum
from lib.train import TrainConfig
from lib.tune import grpo as grpo_file
from lib.tune.grpo import (
    Report,
    GRPO,
    GRPOConfig,
    advantages,
    kl_estimate,
    log_probabilities,
    policy_loss,
)
from lib.tune.rewards import format_reward, random_reward, sum_reward

TASK = Addition(digits=2)
SMALL = GPTConfig(TASK.tokenizer.vocab_size, 16, 2, 2, 24, 24, init="fan_in")
PROMPTS = ["12+34=", "55+55=", "07+01="]
STOP = TASK.tokenizer.ids["."]
SETTINGS = GRPOConfig(n_new=9, group_size=4)
RECIPE = TrainConfig(n_steps=20, learning_rate=1e-3, schedule="constant")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_model(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(dataclasses.replace(SMALL, **changes)).eval()


def ids_of(prompts: list[str]) -> list[list[int]]:
    return [TASK.tokenizer.encode(prompt) for prompt in prompts]


def some_rollouts(
    model: GPT, temperature: float = 1.0, prompts: list[str] | None = None
) -> Rollouts:
    ids = ids_of(prompts or PROMPTS * 4)
    return rollout(model, ids, 9, STOP, temperature, seeded())


def assert_near(ours: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


# Rewards

AWKWARD = {  # answers to 123+456=
    "0579.": 1,
    "09;07;05;>0579.": 1,
    "11;11;11;>0579.": 1,  # the steps are not looked at
    ">0579.": 1,
    "0578>0579.": 1,  # after the last mark
    "": 0,
    ".": 0,
    "0579": 0,  # no stop
    "0579..": 0,
    "0579.0579.": 0,
    "09;07;05;>0579.>0579.": 0,
    "0579.1": 0,
    "579.": 0,
    "00579.": 0,
    "+0579.": 0,
    "-0579.": 0,
    " 0579.": 0,
    "0579 .": 0,
    "0 579.": 0,
    "0579.\n": 0,
    "0579>0578.": 0,
    "0579>.": 0,
    "0579;": 0,
    "09;07;05;0579.": 0,
    "٠٥٧٩.": 0,
    "0579。": 0,
    "579.0.": 0,
    "1e3.": 0,
    "05_79.": 0,
    "no idea": 0,
}


def judge_wrong(reward: Callable[[str, str], float]) -> list[str]:
    """The awkward answers that a verifier misjudges."""
    found = []
    for answer, worth in AWKWARD.items():
        try:
            found += [answer] if reward("123+456=", answer) != worth else []
        except (ValueError, IndexError):
            found.append(answer)
    return found


def test_a_verifier_pays_for_the_right_result_and_nothing_else() -> None:
    assert not judge_wrong(sum_reward)
    for a, b, digits in ((0, 0, 1), (9, 9, 1), (999, 1, 3), (1234, 8766, 4)):
        for style in ("plain", "steps"):
            example = write_sum(a, b, digits, style)
            assert sum_reward(*example[:2]) == 1
            assert sum_reward(example.prompt, "9" + example.answer[1:]) in (0, 1)


def as_a_number(prompt: str, answer: str) -> float:
    """Takes other scripts, underlines, spaces, signs and any number of zeros."""
    return float(int(answer.split(">")[-1].rstrip(".") or 0) == 579)


def without_its_sign(prompt: str, answer: str) -> float:
    return sum_reward(prompt, answer.replace("-", "").replace("+", ""))


def last_number(prompt: str, answer: str) -> float:
    """Takes the end of an answer that never stops."""
    digits = "".join(c if c.isdigit() else " " for c in answer).split()
    return float(bool(digits) and digits[-1] == "0579")


def anywhere(prompt: str, answer: str) -> float:
    return float("0579" in answer)


def half_for_unreadable(prompt: str, answer: str) -> float:
    """What cannot be read gets something, and so all others of its group less."""
    return sum_reward(prompt, answer) if answer.endswith(".") else 0.5


def first_mark(prompt: str, answer: str) -> float:
    return float((answer + ">").split(">")[1] == "0579." or answer == "0579.")


@pytest.mark.parametrize(
    "wrong",
    [
        as_a_number,
        without_its_sign,
        last_number,
        anywhere,
        half_for_unreadable,
        first_mark,
    ],
)
def test_a_wrong_verifier_is_noticed(wrong) -> None:
    assert judge_wrong(wrong)


@pytest.mark.parametrize("reward", [sum_reward, format_reward])
@pytest.mark.parametrize("prompt", ["", "12+3=", "12+34", "-1+02=", "٣+٤=", "1+2+3="])
def test_a_prompt_that_is_no_sum(reward, prompt: str) -> None:
    with pytest.raises(ValueError, match=r"^prompt='.*' must be a sum"):
        reward(prompt, "01;>01.")


def test_the_form_is_paid_right_or_wrong() -> None:
    prompt = "123+456="
    for answer in ("09;07;05;>0579.", "00;00;00;>1.", "99;99;99;>00000."):
        assert format_reward(prompt, answer) == 1
    for answer in ("0579.", "09;07;>0579.", "09;07;05;>0579", "", "09;07;05;>.", "x."):
        assert format_reward(prompt, answer) == 0


def test_a_random_reward_does_not_look() -> None:
    reward = random_reward(0.3, seed=1)
    paid = [reward("123+456=", "0579." if i % 2 else "") for i in range(4_000)]
    assert set(paid) == {0.0, 1.0}
    for half in (paid[::2], paid[1::2]):
        assert abs(sum(half) / 2_000 - 0.3) < 0.04
    again = random_reward(0.3, seed=1)
    assert paid[:50] == [again("", "") for _ in range(50)]
    with pytest.raises(ValueError, match=r"^share=1.2 must lie in \[0, 1\]"):
        random_reward(1.2)


# Advantages

REWARDS = torch.tensor(
    [[1.0, 0, 0, 1, 0, 0, 0, 0], [0, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95]]
)
BASELINES = ["rloo", "grpo", "dr_grpo"]


def check_sums(of: Callable[[Tensor, str], Tensor], method: str) -> None:
    rows = torch.cat([REWARDS, REWARDS + 1_000, 10 * random(5, 8)])
    assert_near(of(rows, method).sum(dim=1), torch.zeros(len(rows)), atol=1e-4)


def check_sizes(of: Callable[[Tensor, str], Tensor]) -> None:
    """The same rewards, and more of them for everybody."""
    for more in (0, 1_000):
        rewards = REWARDS + more
        wide = rewards.double()
        apart = wide - wide.mean(dim=1, keepdim=True)
        right = apart / (wide.std(dim=1, keepdim=True) + 1e-4)
        assert_near(of(rewards, "grpo").double(), right, atol=1e-3)


@pytest.mark.parametrize("method", BASELINES)
def test_advantages_sum_to_0(method: str) -> None:
    check_sums(advantages, method)
    check_sizes(advantages)


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("worth", [0.0, 0.1, 0.95, 1.0, 1e-8, 12_345.678])
def test_a_group_of_equals_has_none(method: str, worth: float) -> None:
    rewards = torch.full((2, 7), worth)
    assert torch.equal(advantages(rewards, method), torch.zeros(2, 7))


def test_each_method_is_what_its_paper_says() -> None:
    rewards = random(4, 5)
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    assert torch.equal(advantages(rewards, "reinforce"), rewards)
    assert_near(advantages(rewards, "dr_grpo"), centred)
    others = torch.stack(
        [rewards[:, i] - rewards[:, [*range(i), *range(i + 1, 5)]].mean(dim=1)
         for i in range(5)], dim=1
    )  # fmt: skip
    assert_near(advantages(rewards, "rloo"), others)
    assert_near(advantages(rewards, "rloo"), 5 / 4 * centred)
    spread = centred.square().sum(dim=1, keepdim=True).div(4).sqrt()
    assert_near(advantages(rewards, "grpo"), centred / (spread + 1e-4))
    assert torch.equal(advantages(rewards), advantages(rewards, "grpo"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", BASELINES)
def test_advantages_of_other_number_formats(method: str, dtype: torch.dtype) -> None:
    rewards = torch.tensor([[0.0, 1, 1, 1], [1, 0, 0, 0]])
    ours = advantages(rewards.to(dtype), method)
    assert ours.dtype == torch.promote_types(dtype, torch.float32)
    assert_near(ours.float(), advantages(rewards, method))


@pytest.mark.parametrize(
    ("rewards", "method", "words"),
    [
        (torch.ones(2, 4), "ppo", "method='ppo' must be one of reinforce, rloo"),
        (torch.ones(4), "grpo", r"rewards has shape \(4,\)"),
        (torch.ones(4, 1), "rloo", r"\(4, 1\); for rloo .* G of 2 or more"),
        (torch.ones(4, 0), "reinforce", "G of 1 or more"),
    ],
)
def test_advantages_that_make_no_sense(rewards, method, words) -> None:
    with pytest.raises(ValueError, match=words):
        advantages(rewards, method)


def spread_by_squares(rewards: Tensor, method: str) -> Tensor:
    """E[x^2] - mean^2: two large numbers that are nearly the same."""
    mean = rewards.mean(dim=1, keepdim=True)
    spread = (rewards.square().mean(dim=1, keepdim=True) - mean**2).clamp(min=0)
    return (rewards - mean) / (spread.sqrt() + 1e-4)


def test_a_spread_by_squares_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_sizes(spread_by_squares)


def test_a_spread_of_all_groups_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_sizes(
            lambda r, method: advantages(r, "dr_grpo") / (r.std(unbiased=True) + 1e-4)
        )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda r, method: (r - r.mean()) / (r.std() + 1e-4),  # of the whole batch
        lambda r, method: advantages(r, method).clamp(min=0),  # only the good ones
        lambda r, method: r - r.median(dim=1, keepdim=True).values,
    ],
)
def test_advantages_that_are_not_0_on_average_are_noticed(wrong) -> None:
    with pytest.raises(AssertionError):
        check_sums(wrong, "grpo")


def test_equals_that_are_only_divided_are_noticed() -> None:
    rewards = torch.full((1, 7), 0.1)
    apart = rewards - rewards.mean(dim=1, keepdim=True)
    assert (apart / (rewards.std(dim=1, keepdim=True) + 1e-12)).abs().max() > 0.1


# Answers to many prompts


@torch.no_grad()
def one_by_one(model: GPT, prompt: list[int], n_new: int, stop: int) -> list[int]:
    ids = [*prompt]
    for _ in range(n_new):
        ids.append(model(torch.tensor([ids]))[0, -1].argmax().item())
        if ids[-1] == stop:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_all_prompts_at_once_are_answered_as_one_by_one(position: str) -> None:
    model = small_model(position=position)
    prompts = [[3], [1, 2, 3, 4, 5], [9, 8, 7], [5, 5, 5, 5, 5, 5, 5]]
    alone = [one_by_one(model, prompt, 9, stop=4) for prompt in prompts]
    found = rollout(model, prompts, 9, 4, temperature=0)
    assert found.answers() == alone
    for row, own, prompt, answer in zip(*found[:2], prompts, alone, strict=True):
        assert row[: len(prompt) + len(answer)].tolist() == prompt + answer
        assert own.nonzero().flatten().tolist() == [
            len(prompt) + i for i in range(len(answer))
        ]


def test_an_answer_ends_with_its_first_stop() -> None:
    found = some_rollouts(small_model(), temperature=3.0, prompts=PROMPTS * 40)
    lengths = {len(answer) for answer in found.answers()}
    assert len(lengths) > 3
    for answer in found.answers():
        assert STOP not in answer[:-1]
        assert answer[-1] == STOP or len(answer) == 9


def check_dropout_rests(model: GPT) -> None:
    model.train()
    found = some_rollouts(model)
    assert model.training
    model.eval()
    again = some_rollouts(model)
    assert torch.equal(found.ids, again.ids)
    with torch.no_grad():
        pair = []
        for mode in (True, False):
            model.train(mode)
            pair.append(log_probabilities(model, found))
    assert torch.equal(*pair)


def test_dropout_rests_while_answers_are_written_and_scored() -> None:
    check_dropout_rests(small_model(dropout=0.5))


@pytest.mark.parametrize("file", [rollouts_file, grpo_file])
def test_dropout_in_answers_or_in_scores_is_noticed(monkeypatch, file) -> None:
    monkeypatch.setattr(file, "in_mode", lambda model, training: nullcontext())
    with pytest.raises(AssertionError):
        check_dropout_rests(small_model(dropout=0.5))


@pytest.mark.parametrize(
    ("prompts", "n_new", "words"),
    [
        ([], 3, "prompts must be one or more"),
        ([[1], []], 3, "prompts must be one or more, of one token or more"),
        ([[1]], 0, "n_new=0 must be at least 1"),
        ([[1, 2]], 23, "n_new=23 after a prompt of 2 tokens is more than"),
    ],
)
def test_prompts_that_cannot_be_answered(prompts, n_new, words) -> None:
    with pytest.raises(ValueError, match=words):
        rollout(small_model(), prompts, n_new, STOP)


# Log-probabilities


def by_cross_entropy(model: nn.Module, found: Rollouts, temperature: float) -> Tensor:
    logits = model(found.ids[:, :-1]).float() / temperature
    surprise = F.cross_entropy(
        logits.flatten(0, 1), found.ids[:, 1:].flatten(), reduction="none"
    )
    return (-surprise).view(len(found.ids), -1) * found.written[:, 1:]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_scores_are_those_of_the_drawn_tokens(temperature: float) -> None:
    model = small_model()
    found = some_rollouts(model, temperature)
    assert found.temperature == temperature
    ours = log_probabilities(model, found)
    assert_near(ours, by_cross_entropy(model, found, temperature))
    assert (ours[~found.written[:, 1:]] == 0).all()


def test_scores_of_greedy_answers_are_refused() -> None:
    model = small_model()
    with pytest.raises(ValueError, match=r"^temperature=0.0 must be above 0"):
        log_probabilities(model, some_rollouts(model, 0.0))


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_drawn_at_a_temperature_and_scored_at_it_agree(temperature: float) -> None:
    """The mean surprise of many draws is the entropy of what they are drawn from."""
    model = small_model()
    model.head.weight.data *= 3  # surer than a new model is
    found = some_rollouts(model, temperature, prompts=PROMPTS[:1] * 3_000)
    first = len(PROMPTS[0]) - 1
    with torch.no_grad():
        logits = model(found.ids[:1, : first + 1])[0, -1] / temperature
        scores = log_probabilities(model, found)[:, first]
    p = logits.softmax(dim=-1)
    entropy = -(p * p.log()).sum()
    assert abs(-scores.mean() - entropy) < 0.06
    other = log_probabilities(model, found._replace(temperature=2.5))[:, first]
    assert abs(-other.mean() - entropy) > 0.06


def test_scores_do_not_depend_on_the_length_of_other_rows() -> None:
    model = small_model()
    found = some_rollouts(model, 3.0, prompts=PROMPTS * 10)
    lengths = found.written.sum(dim=1)
    short = lengths < lengths.max()
    width = found.written[short].int().cumsum(dim=1).argmax(dim=1).max() + 1
    cut = Rollouts(found.ids[short, :width], found.written[short, :width], 3.0)
    assert width < found.ids.size(1)
    whole = log_probabilities(model, found)[short, : width - 1]
    assert_near(log_probabilities(model, cut), whole)


def scores_of(model: GPT, dtype: torch.dtype, found: Rollouts) -> tuple[Tensor, Tensor]:
    """The scores that a step compares: without a gradient, and with one."""
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32)
    with autocast:
        with torch.no_grad():
            old = log_probabilities(model, found)
        return old, log_probabilities(model, found)


@pytest.mark.parametrize("half", ["autocast", "weights", None])
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_the_ratio_is_1_before_an_update(half: str | None, norm: str) -> None:
    model = small_model(norm=norm)
    if half == "weights":
        model = model.bfloat16()
    found = some_rollouts(model, 0.7)
    dtype = torch.bfloat16 if half == "autocast" else torch.float32
    old, new = scores_of(model, dtype, found)
    assert old.dtype == new.dtype == torch.float32
    assert new.requires_grad and not old.requires_grad
    assert_near((new - old).exp(), torch.ones_like(old), atol=1e-6)


def test_another_temperature_is_noticed_by_the_ratio() -> None:
    model = small_model()
    found = some_rollouts(model, 0.7)
    new = log_probabilities(model, found._replace(temperature=1.0))
    ratio = (new - log_probabilities(model, found)).exp()
    assert (ratio - 1).abs().max() > 0.05


def test_another_precision_is_noticed_by_the_ratio() -> None:
    model = small_model()
    found = some_rollouts(model, 0.7)
    old, _ = scores_of(model, torch.float32, found)
    _, new = scores_of(model, torch.bfloat16, found)
    assert ((new - old).exp() - 1).abs().max() > 1e-4


def test_scores_in_half_precision_are_noticed_by_the_ratio() -> None:
    """The logarithm of a probability needs more digits than bfloat16 has."""
    scores = log_probabilities(small_model(), some_rollouts(small_model(), 0.7))
    ratio = (scores.bfloat16().float() - scores).exp()
    assert (ratio - 1).abs().max() > 1e-4


# The loss


def hand_made() -> tuple[Tensor, ...]:
    """Scores of four answers of different lengths, with prompts before them."""
    written = torch.zeros(4, 7, dtype=torch.bool)
    for row, (first, n) in enumerate([(2, 3), (2, 5), (1, 1), (3, 2)]):
        written[row, first : first + n] = True
    old = -random(4, 7).abs()
    new = (old + 0.3 * random(4, 7, seed=1)).requires_grad_()
    return new, old, torch.tensor([1.2, -0.7, 0.4, -0.9]), written


def by_hand(
    new: Tensor, old: Tensor, a: Tensor, written: Tensor, average: str, clip: float
) -> Tensor:
    """The formula, token by token."""
    rows = []
    for i in range(len(a)):
        losses = []
        for t in range(new.size(1)):
            if written[i, t]:
                ratio = torch.exp(new[i, t] - old[i, t])
                kept = min(max(ratio.item(), 1 - clip), 1 + clip)
                whole, limited = ratio * a[i], kept * a[i]
                losses.append(-(whole if whole <= limited else limited))
        rows.append(losses)
    if average == "tokens":
        return sum(sum(r) for r in rows) / sum(len(r) for r in rows)
    if average == "answers":
        return sum(sum(r) / len(r) for r in rows) / len(rows)
    return sum(sum(r) for r in rows) / len(rows) / 9


AVERAGES = ["tokens", "answers", "constant"]


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("clip", [0.2, 5.0])
def test_the_loss_and_its_gradient_are_the_formula(average: str, clip: float) -> None:
    new, old, a, written = hand_made()
    ours = policy_loss(new, old, a, written, average, length=9, clip=clip)
    right = by_hand(new, old, a, written, average, clip)
    assert_near(ours, right.detach().to(ours))
    gradients = [torch.autograd.grad(each, new)[0] for each in (ours, right)]
    assert_near(*gradients)
    assert (gradients[0][~written] == 0).all()


def check_padding(loss: Callable) -> None:
    new, old, a, written = hand_made()
    more = [F.pad(each, (0, 5), value=-4.0) for each in (new, old)]
    wide = F.pad(written, (0, 5))
    for average in AVERAGES:
        ours = loss(new, old, a, written, average, 9)
        assert_near(loss(*more, a, wide, average, 9), ours)


def test_filling_changes_no_loss() -> None:
    check_padding(policy_loss)


@pytest.mark.parametrize("filling", [math.inf, -math.inf, math.nan, 1e4])
def test_filling_may_be_anything(filling: float) -> None:
    new, old, a, written = hand_made()
    right = torch.autograd.grad(policy_loss(new, old, a, written), new)[0]
    leaf = new.detach().masked_fill(~written, filling).requires_grad_()
    ours = torch.autograd.grad(policy_loss(leaf, old, a, written), leaf)[0]
    assert_near(ours, right)


def test_a_mean_over_the_padded_width_is_noticed() -> None:
    def wrong(new, old, a, written, average, length):
        ratio = (new - old).exp()
        return -(ratio * a.view(-1, 1) * written).mean()

    with pytest.raises(AssertionError):
        check_padding(wrong)


def test_a_sum_over_filling_is_noticed() -> None:
    def wrong(new, old, a, written, average, length):
        everywhere = torch.ones_like(written)
        return policy_loss(new, old, a, everywhere, average, length)

    with pytest.raises(AssertionError):
        check_padding(wrong)


def check_the_stop(model: GPT) -> None:
    """The token that ends an answer is one of those that the loss moves."""
    found = some_rollouts(model, 3.0, prompts=PROMPTS * 10)
    ends = found.ids[:, 1:] == STOP
    assert ends.any()
    new = log_probabilities(model, found)
    scores = new.detach().requires_grad_()
    written = found.written[:, 1:]
    loss = policy_loss(scores, new.detach(), torch.ones(len(ends)), written)
    (slope,) = torch.autograd.grad(loss, scores)
    assert (slope[ends & written] != 0).all()
    assert (written & ends).sum() == ends.sum()


def test_the_end_of_an_answer_gets_a_gradient() -> None:
    check_the_stop(small_model())


def test_a_mask_without_the_end_is_noticed(monkeypatch) -> None:
    right = rollout

    def wrong(*values, **options) -> Rollouts:
        found = right(*values, **options)
        return found._replace(written=found.written & (found.ids != STOP))

    monkeypatch.setitem(globals(), "rollout", wrong)
    with pytest.raises(AssertionError):
        check_the_stop(small_model())


def test_beyond_the_clip_there_is_no_gradient() -> None:
    old, written = torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
    new = torch.tensor([[0.5, 0.1, -0.1, -0.5]], requires_grad=True)  # ratios 1.6 .. .6
    for sign, moved in ((1.0, [False, True, True, True]), (-1.0, [True] * 3 + [False])):
        loss = policy_loss(new, old, torch.tensor([sign]), written)
        (slope,) = torch.autograd.grad(loss, new)
        assert (slope[0] != 0).tolist() == moved


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": torch.ones(3)}, r"advantages \(3,\) \(B,\)"),
        ({"written": torch.ones(4, 6, dtype=torch.bool)}, r"written \(4, 6\) must be"),
        ({"average": "rows"}, "average='rows' must be one of tokens, answers, constan"),
        ({"average": "constant"}, "length=None must be a number"),
    ],
)
def test_a_loss_that_makes_no_sense(change: dict, words: str) -> None:
    new, old, a, written = hand_made()
    values = {"a": a, "written": written, "average": "tokens"} | change
    with pytest.raises(ValueError, match=words):
        policy_loss(new, old, values["a"], values["written"], values["average"])


def test_a_loss_of_nothing_is_0() -> None:
    new, old, a, written = hand_made()
    for average in AVERAGES:
        assert policy_loss(new, old, a, written & False, average, 9) == 0


# The distance to a reference


def check_kl(estimate: Callable[[Tensor, Tensor], Tensor]) -> None:
    sizes = torch.tensor([1e-4, 1e-3, 0.1, 2.0])
    apart = torch.cat([torch.tensor([0.0, 1e-7, -1e-6, 1e-5]), sizes, -sizes])
    new = torch.zeros(12, requires_grad=True)
    found = estimate(new, apart)
    assert (found >= 0).all() and found.dtype == torch.float32
    exact = torch.expm1(apart.double()) - apart
    torch.testing.assert_close(found.double()[4:], exact[4:], rtol=1e-2, atol=0)
    (slope,) = torch.autograd.grad(found.sum(), new)
    assert_near(slope, -torch.expm1(apart), atol=5e-7)


def test_the_distance_is_never_below_0_and_exact_near_it() -> None:
    check_kl(kl_estimate)
    half = torch.tensor([-1.0, -2.0], dtype=torch.bfloat16)
    assert kl_estimate(half, half).dtype == torch.float32


def test_a_distance_that_cancels_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_kl(lambda new, reference: (reference - new).exp() - (reference - new) - 1)


def test_a_distance_the_wrong_way_round_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_kl(lambda new, reference: kl_estimate(reference, new))


def test_the_distance_is_the_divergence_on_average() -> None:
    ours, other = random(6).log_softmax(-1), random(6, seed=1).log_softmax(-1)
    exact = (ours.exp() * (ours - other)).sum()
    assert_near((ours.exp() * kl_estimate(ours, other)).sum(), exact)


# Steps


def learner(reward=lambda prompt, answer: 0.0, model=None, recipe=RECIPE, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    own = model or small_model()
    return GRPO(own, TASK.tokenizer, reward, settings, recipe, seeded())


@pytest.mark.parametrize("method", ["reinforce", "rloo", "grpo", "dr_grpo"])
@pytest.mark.parametrize("average", AVERAGES)
def test_what_pays_becomes_more_frequent(method: str, average: str) -> None:
    ours = learner(
        lambda prompt, answer: float(answer.startswith("7")),
        method=method,
        average=average,
        recipe=dataclasses.replace(RECIPE, learning_rate=0.01),
        n_new=3,
    )
    reports = ours.run(lambda: PROMPTS * 2, 15)
    assert reports[-1].rewards.mean() > max(0.5, 2 * reports[0].rewards.mean())
    assert not ours.model.training and len(ours.training.losses) == 15


def test_each_answer_is_judged_once_with_its_own_prompt() -> None:
    seen = []

    def reward(prompt: str, answer: str) -> float:
        seen.append((prompt, answer))
        return sum_reward(prompt, answer)

    report = learner(reward).step(PROMPTS)
    assert [prompt for prompt, _ in seen] == [p for p in PROMPTS for _ in range(4)]
    assert [answer for _, answer in seen] == report.answers
    assert report.rewards.shape == (3, 4) and report.rewards.sum() == 0
    assert report.dead == 1.0
    assert report.length == sum(map(len, report.answers)) / 12
    assert 0 < report.entropy < math.log(SMALL.vocab_size)


def test_groups_of_equals_change_nothing() -> None:
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    learner(lambda prompt, answer: 0.1, model, group_size=7).step(PROMPTS)
    assert all(torch.all(p.grad == 0) for p in model.parameters())
    torch.testing.assert_close(model.state_dict(), before, rtol=1e-5, atol=0)


def gradient_of_a_step(**changes) -> Tensor:
    model = small_model()
    recipe = dataclasses.replace(RECIPE, clip=None, **changes.pop("recipe", {}))
    ours = learner(lambda p, a: float(len(a)), model, recipe, **changes)
    ours.step(PROMPTS)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("average", AVERAGES)
def test_a_step_is_the_plain_gradient(average: str) -> None:
    """With one update the ratio is 1, so the gradient is that of A log p."""
    settings = {"average": average, "method": "dr_grpo"}
    ours = gradient_of_a_step(**settings)
    model = small_model()
    asked = [prompt for prompt in PROMPTS for _ in range(4)]
    found = some_rollouts(model, prompts=asked)
    lengths = found.written.sum(dim=1)
    rewards = lengths.float().view(3, 4)
    a = (rewards - rewards.mean(dim=1, keepdim=True)).flatten()
    pairs = zip(found.ids.unsqueeze(1), found.written.unsqueeze(1), strict=True)
    rows = [by_cross_entropy(model, Rollouts(*pair), 1.0).sum() for pair in pairs]
    sizes = {"tokens": lengths.sum().expand(12), "answers": 12 * lengths}
    sizes = sizes.get(average, torch.full((12,), 12 * SETTINGS.n_new))
    loss = -sum(a[i] * row / sizes[i] for i, row in enumerate(rows))
    loss.backward()
    assert len(set(lengths.tolist())) > 1
    assert_near(ours, torch.cat([p.grad.flatten() for p in model.parameters()]))


@pytest.mark.parametrize("average", AVERAGES)
def test_parts_of_a_batch_change_no_gradient(average: str) -> None:
    options = {"average": average, "kl_weight": 0.1}
    whole = gradient_of_a_step(**options)
    assert_near(gradient_of_a_step(**options, recipe={"accumulation": 5}), whole)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_before_an_update_old_and_new_scores_are_the_same(monkeypatch, dtype) -> None:
    apart, right = [], policy_loss

    def spy(new, old, *others, **options) -> Tensor:
        apart.append((new - old).abs().max().item())
        return right(new, old, *others, **options)

    monkeypatch.setattr(grpo_file, "policy_loss", spy)
    model = small_model(dropout=0.3)
    recipe = dataclasses.replace(RECIPE, dtype=dtype)
    ours = learner(
        lambda p, a: float(len(a)), model, recipe, temperature=0.7, n_updates=2
    )
    ours.step(PROMPTS)
    assert apart[0] < 1e-6 < 1e-5 < apart[1]


def test_a_weight_on_the_distance_holds_the_model_back() -> None:
    moved = {}
    for weight in (0.0, 10.0):
        model = small_model()
        first = copy.deepcopy(model)
        ours = learner(lambda p, a: float("7" in a), model, kl_weight=weight)
        ours.run(lambda: PROMPTS * 4, 10)
        found = some_rollouts(model)
        with torch.no_grad():
            pair = [log_probabilities(each, found) for each in (model, first)]
        moved[weight] = kl_estimate(*pair).sum().item()
        if weight:
            kept = zip(first.parameters(), ours.reference.parameters(), strict=True)
            assert all(torch.equal(*pair) for pair in kept)
    assert moved[10.0] < moved[0.0] / 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "ppo"}, "method='ppo' must be one of reinforce, rloo, grpo, dr_g"),
        ({"average": "mean"}, "average='mean' must be one of tokens, answers"),
        ({"n_new": 0}, "n_new=0 must be at least 1"),
        ({"n_updates": 0}, "n_updates=0 must be at least 1"),
        ({"group_size": 1}, "group_size=1 must be 2 or more for grpo"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0 and finite"),
        ({"temperature": math.nan}, "temperature=nan must be above 0 and finite"),
        ({"clip": 0.0}, "clip=0.0 must be above 0"),
        ({"kl_weight": -1.0}, "kl_weight=-1.0 must be 0 or more and finite"),
        ({"stop": ";>"}, "stop=';>' must be one token, not 2"),
    ],
)
def test_settings_that_make_no_sense(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        learner(**changes)


# What a step reports


def test_groups_of_equals_are_dead_whatever_they_got() -> None:
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert Report([], rewards, 1.0, 1.0).dead == 0.5


def test_the_entropy_is_the_mean_over_what_was_written() -> None:
    taught = learner(reward=lambda prompt, answer: 0.0)
    taught.generator = seeded(3)
    report = taught.step(["12+3=", "1="])
    n = taught.config.group_size
    prompts = [prompt for prompt in ids_of(["12+3=", "1="]) for _ in range(n)]
    size, stop = taught.config.n_new, taught.stop_id
    found = rollout(small_model(), prompts, size, stop, 1.0, seeded(3))
    scores = log_probabilities(small_model(), found)[found.written[:, 1:]]
    assert report.entropy == pytest.approx(-scores.mean().item(), abs=1e-5)


@pytest.mark.parametrize("average", AVERAGES)
def test_the_distance_counts_where_something_was_written(average: str) -> None:
    taught = learner(kl_weight=1.0, average=average)
    found = some_rollouts(taught.model)
    with torch.no_grad():
        old = log_probabilities(taught.model, found)
        away = old + 0.3 * random(*old.shape)
        batch = found.ids, found.written, torch.zeros(len(old)), old
        plain = taught._loss(taught.model, *batch, away)
        filled = away.masked_fill(~found.written[:, 1:], 5.0)
        assert plain > 0
        assert_near(taught._loss(taught.model, *batch, filled), plain)


@pytest.mark.parametrize("worth", [math.nan, math.inf, None, "1"])
def test_a_reward_that_is_no_number_is_named(worth) -> None:
    with pytest.raises(ValueError, match=r"reward_of\('1=', .*\) is .*, not a finite"):
        learner(reward=lambda prompt, answer: worth).step(["1="])
