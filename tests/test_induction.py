"""Heads that look back: scores against loops, a model without a head, attention only.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from against_torch import random
from notebooks import ROOT
from torch import Tensor

from lib.attention import causal_mask
from lib.block import Block
from lib.evaluate import induction
from lib.evaluate.attention_maps import attention_maps
from lib.evaluate.induction import (
    induction_score,
    previous_token_score,
    without_head,
)
from lib.generate import generate
from lib.models import build_model, config_from_dict, config_to_dict, count_parameters
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import export_gpt2
from lib.models.llama_files import export_llama
from lib.norm import LayerNorm
from lib.tasks import make_task
from lib.tasks.patterns import Patterns, draw_patterns
from lib.tasks.repeats import Repeats, draw_repeats

SMALL = GPTConfig(20, 24, 4, 2, 40, 16)
IDS = torch.randint(20, (3, 12), generator=torch.Generator().manual_seed(0))
PERIODS = torch.tensor([[3], [5], [11], [40], [1]])
DTYPES = [torch.float32, torch.bfloat16]


def model_with(**changes) -> GPT:
    """A model whose weights are large enough that each of them matters."""
    model = GPT(dataclasses.replace(SMALL, **changes)).eval()
    for seed, p in enumerate(model.parameters()):
        p.data.add_(0.3 * random(*p.shape, seed=seed))
    return model


def causal_weights(n_rows: int, n_heads: int, length: int) -> Tensor:
    scores = 2 * random(n_rows, n_heads, length, length)
    return scores.masked_fill(~causal_mask(length), -torch.inf).softmax(dim=-1)


def assert_near(ours: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


# Scores


def previous_by_loops(weights: Tensor) -> Tensor:
    n_rows, n_heads, length, _ = weights.shape
    found = torch.zeros(n_heads)
    for b in range(n_rows):
        for i in range(1, length):
            found += weights[b, :, i, i - 1].float()
    return found / (n_rows * (length - 1))


def induction_by_loops(weights: Tensor, period: Tensor) -> Tensor:
    n_rows, n_heads, length, _ = weights.shape
    found, n_places = torch.zeros(n_heads), 0
    for b, p in enumerate(period.flatten().tolist()):
        for i in range(p, length):
            n_places += 1
            for earlier in range(i - p, -1, -p):
                found += weights[b, :, i, earlier + 1].float()
    return found / n_places


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_what_loops_find(dtype) -> None:
    weights = causal_weights(5, 3, 12).to(dtype)
    ours = previous_token_score(weights)
    assert ours.dtype == torch.float32
    assert_near(ours, previous_by_loops(weights))
    ours = induction_score(weights, PERIODS)
    assert ours.dtype == torch.float32
    assert_near(ours, induction_by_loops(weights, PERIODS))


def test_perfect_heads_have_the_score_one_and_others_zero() -> None:
    ids, period = draw_repeats(4, 20, 9, (3, 8), torch.Generator().manual_seed(0))
    before, after = torch.zeros(4, 20, 20), torch.zeros(4, 20, 20)
    for b, p in enumerate(period.flatten().tolist()):
        for i in range(20):
            before[b, i, max(i - 1, 0)] = 1
            after[b, i, i - p + 1 if i >= p else 0] = 1
            if i >= p and i + 1 < 20:
                assert ids[b, i - p + 1] == ids[b, i + 1]
    weights = torch.stack([before, after], dim=1)
    assert_near(previous_token_score(weights)[0], torch.tensor(1.0))
    assert previous_token_score(weights)[1] < 0.2
    assert induction_score(weights, period).tolist() == [0, 1]


def test_scores_refuse_what_does_not_fit() -> None:
    weights, one = causal_weights(2, 3, 6), torch.ones(2, 1, dtype=torch.long)
    for wrong in (weights[0], weights[..., :5], weights[..., :1, :1], weights[:0]):
        with pytest.raises(ValueError, match=r"weights has shape .* \(B, H, T, T\)"):
            previous_token_score(wrong)
        with pytest.raises(ValueError, match="weights has shape"):
            induction_score(wrong, one)
    for wrong in (one[:1], one.flatten(), one.expand(2, 2)):
        with pytest.raises(ValueError, match="period has shape .* not .2, 1."):
            induction_score(weights, wrong)
    for lowest in (0, -2, 6, 60):
        with pytest.raises(ValueError, match=rf"{lowest} as its lowest .* 1 \.\. 5"):
            induction_score(weights, lowest + 0 * one)
    for wrong in (one.float(), one.bool()):
        with pytest.raises(TypeError, match="period has dtype .* integers"):
            induction_score(weights, wrong)


# A model without a head


def with_output_of_a_head_zeroed(model: GPT, layer: int, head: int) -> Tensor:
    """The logits, with the head's numbers set to 0 on their way to ``out_proj``."""
    attention = model.blocks[layer].attention
    size = attention.d_head

    def silence(part, args):
        mixed = args[0].clone()
        mixed[..., head * size : (head + 1) * size] = 0
        return (mixed,)

    hook = attention.out_proj.register_forward_pre_hook(silence)
    logits = model(IDS)
    hook.remove()
    return logits


KINDS = [
    {},
    {"n_kv_heads": 2, "position": "rotary", "norm": "rms"},
    {"n_kv_heads": 1, "d_head": 10, "attention_bias": False},
    {"kv_rank": 8, "position": "rotary", "d_head": 8},
    {"ffn": "none", "window": 3},
]


@pytest.mark.parametrize("changes", KINDS)
def test_a_model_without_a_head_is_one_whose_head_writes_nothing(changes) -> None:
    model = model_with(**changes)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    whole = model(IDS)
    for layer in (0, 1):
        for head in range(4):
            with without_head(model, layer, head):
                logits = model(IDS)
            assert_near(logits, with_output_of_a_head_zeroed(model, layer, head))
            assert (logits - whole).abs().max() > 1e-3
    assert torch.equal(model(IDS), whole)
    for name, p in model.state_dict().items():
        assert torch.equal(p, before[name])


def test_heads_can_be_left_out_together_and_come_back_after_an_error() -> None:
    model = model_with()
    whole = model(IDS)
    with pytest.raises(ZeroDivisionError), without_head(model, 1, 2):
        with without_head(model, 1, 3), without_head(model, 1, 3):
            both = model(IDS)
        assert (both - model(IDS)).abs().max() > 1e-3
        1 / 0
    assert torch.equal(model(IDS), whole)
    assert not any(p.grad_fn or not p.requires_grad for p in model.parameters())


def test_it_serves_a_cache_and_bfloat16() -> None:
    model = model_with().to(torch.bfloat16)
    whole, text = model(IDS), generate(model, IDS[:1], 3, temperature=0)
    with without_head(model, 0, 1):
        first, cache = model(IDS), model.new_cache()
        parts = [model(IDS[:, t : t + 1], cache) for t in range(12)]
        assert_near(torch.cat(parts, dim=1).float(), first.float(), atol=0.3)
    assert torch.equal(model(IDS), whole)
    assert torch.equal(generate(model, IDS[:1], 3, temperature=0), text)


def test_there_must_be_such_a_head() -> None:
    model = model_with(n_kv_heads=2)
    for place in ((2, 0), (-1, 0)):
        with pytest.raises(ValueError, match=rf"layer={place[0]} must be 0 \.\. 1"):
            with without_head(model, *place):
                pass
    for place in ((0, 4), (0, -1)):
        with pytest.raises(ValueError, match=rf"head={place[1]} must be 0 \.\. 3"):
            with without_head(model, *place):
                pass
    for name, place in (("layer", ("0", 0)), ("head", (0, True)), ("head", (0, 1.0))):
        with pytest.raises(TypeError, match=f"{name}=.* must be an integer"):
            with without_head(model, *place):
                pass


# Faults that are put in, and must be noticed


def test_scores_that_are_off_by_one_are_noticed(monkeypatch) -> None:
    right, rolled = induction.induction_score, lambda w: w.roll(1, dims=-1)
    for wrong in (
        lambda w, p: right(w, p + 1),
        lambda w, p: right(rolled(w), p),
        lambda w, p: right(w, p.min().expand_as(p)),
        lambda w, p: right(w.transpose(-1, -2), p),
    ):
        monkeypatch.setitem(globals(), "induction_score", wrong)
        with pytest.raises(AssertionError):
            test_scores_are_what_loops_find(torch.float32)
    monkeypatch.undo()
    for wrong in (
        lambda w: w.diagonal(-2, 2, 3).mean((0, 2)),
        lambda w: w.diagonal(-1, 2, 3).sum((0, 2)) / w.size(2) / len(w),
        lambda w: w.diagonal(1, 2, 3).mean((0, 2)),
        lambda w: w.diagonal(-1, 2, 3).mean((1, 2))[:3],
    ):
        monkeypatch.setitem(globals(), "previous_token_score", wrong)
        with pytest.raises(AssertionError):
            test_scores_are_what_loops_find(torch.float32)


@pytest.mark.parametrize("changes", KINDS[1:3])
def test_columns_that_assume_heads_times_size_is_the_width(changes, monkeypatch):
    def wrong(model, layer, head):
        attention = model.blocks[layer].attention
        size = attention.k_proj.out_features // 4  # as if all heads had their own keys
        weight = attention.out_proj.weight.data
        kept = weight.clone()
        weight[:, head * size : (head + 1) * size] = 0
        return Undo(weight, kept)

    monkeypatch.setitem(globals(), "without_head", wrong)
    with pytest.raises(AssertionError):
        test_a_model_without_a_head_is_one_whose_head_writes_nothing(changes)


class Undo:
    """Puts weights back, but for an error."""

    def __init__(self, weight: Tensor, kept: Tensor) -> None:
        self.weight, self.kept = weight, kept

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.weight.copy_(self.kept)


def test_rows_and_weights_that_do_not_come_back_are_noticed(monkeypatch) -> None:
    def rows(model, layer, head):
        weight = model.blocks[layer].attention.out_proj.weight.data
        kept = weight.clone()
        weight[head * 6 : (head + 1) * 6] = 0  # what is written, not what is read
        return Undo(weight, kept)

    monkeypatch.setitem(globals(), "without_head", rows)
    with pytest.raises(AssertionError):
        test_a_model_without_a_head_is_one_whose_head_writes_nothing({})

    def forgets_after_an_error(model, layer, head):
        weight = model.blocks[layer].attention.out_proj.weight.data
        kept = weight.clone()
        weight[:, head * 6 : (head + 1) * 6] = 0
        return Undo(weight, kept)

    monkeypatch.setitem(globals(), "without_head", forgets_after_an_error)
    with pytest.raises(AssertionError):
        test_heads_can_be_left_out_together_and_come_back_after_an_error()


# Blocks of attention only


@pytest.mark.parametrize("pre_norm", [True, False])
def test_a_block_of_attention_only_adds_attention_and_nothing_else(pre_norm) -> None:
    attention = model_with().blocks[0].attention
    block, x = Block(attention, None, pre_norm=pre_norm), random(2, 5, 24)
    mask, norm = causal_mask(5), block.attention_norm
    if pre_norm:
        expected = x + attention(norm(x), mask)[0]
    else:
        expected = norm(x + attention(x, mask)[0])
    assert torch.equal(block(x, mask), expected)


def test_a_model_of_attention_only() -> None:
    model = model_with(ffn="none", tie_weights=False)
    assert config_from_dict(config_to_dict(model.config)) == model.config
    assert type(build_model(model.config)) is GPT
    x = model.positions(model.tokens(IDS), 0)
    for block in model.blocks:
        x = x + block.attention(block.attention_norm(x), causal_mask(12))[0]
    assert_near(model(IDS), model.head(model.final_norm(x)))
    assert len(attention_maps(model, IDS)) == 2
    per_block = 4 * 24 * 24 + 4 * 24 + 2 * 24
    assert count_parameters(model) == 2 * per_block + 2 * 24 + (20 + 20 + 16) * 24
    assert sum(type(part) is LayerNorm for part in model.modules()) == 3


def test_attention_only_reads_with_a_cache_what_it_reads_at_once() -> None:
    model = model_with(ffn="none")
    cache = model.new_cache()
    parts = [model(IDS[:, :5], cache), model(IDS[:, 5:6], cache)]
    parts += [model(IDS[:, 6:], cache)]
    assert_near(torch.cat(parts, dim=1), model(IDS))


def test_files_and_experts_refuse_attention_only(tmp_path) -> None:
    model = model_with(ffn="none")
    with pytest.raises(ValueError, match="ffn='none' must be in"):
        export_gpt2(model, tmp_path)
    with pytest.raises(ValueError, match="ffn='none' must be 'swiglu'"):
        modern = {"norm": "rms", "position": "rotary", "attention_bias": False}
        export_llama(model_with(ffn="none", **modern), tmp_path)
    with pytest.raises(ValueError, match="n_experts=2 needs an ffn, not 'none'"):
        model_with(ffn="none", n_experts=2)


# Rows with a rule


def test_the_rule_of_a_row_is_two_labels_for_two_kinds() -> None:
    ids, kinds = draw_patterns(500, 6, 8, 10, False, torch.Generator().manual_seed(0))
    items, labels = ids[:, ::2], ids[:, 1::2]
    assert ids.shape == (500, 14) and kinds.shape == items.shape == (500, 7)
    assert items.unique().tolist() == list(range(8))
    assert labels.unique().tolist() == list(range(8, 18))
    assert torch.equal(kinds, items % 2)
    for row, own in zip(labels.tolist(), kinds.tolist()):
        rule = dict(zip(own, row))
        assert [rule[kind] for kind in own] == row and len(rule) == len(set(row))


def test_no_rule_of_the_test_is_ever_learned_from() -> None:
    def rules(held_out: bool) -> set:
        sizes = (4_000, 12, 4, 20, held_out, torch.Generator().manual_seed(1))
        ids, kinds = draw_patterns(*sizes)
        found = zip(ids[:, 1::2].tolist(), kinds.tolist())
        pairs = [tuple(dict(sorted(zip(own, row))).values()) for row, own in found]
        return {pair for pair in pairs if len(pair) == 2}

    learned, kept = rules(False), rules(True)
    assert not learned & kept and len(learned | kept) == 20 * 19
    assert 0.15 < len(kept) / 380 < 0.25
    task, generator = Patterns(), torch.Generator().manual_seed(2)
    assert torch.equal(task.test.inputs, Patterns().test.inputs)
    inputs, targets, counted = task.batch(4, generator)
    assert torch.equal(inputs[:, 1:], targets[:, :-1]) and inputs.size(1) == 17
    assert counted[0].tolist() == [True, False] * 8 + [True]
    assert torch.equal(counted[0], counted[3])


def test_patterns_by_words_and_what_they_refuse() -> None:
    task = make_task("patterns:shots=2,n_items=4,n_labels=5")
    assert task == Patterns(2, 4, 5) and task.context_length == 5
    text = task.tokenizer.decode(task.test.inputs[0])
    assert text[::2].isupper() and text[1::2].islower()
    assert task.tokenizer.vocab_size == 9
    for words, message in (
        ("shots=0", "shots=0"),
        ("n_items=1", "n_items=1 must be 2 or more"),
        ("n_items=27", "n_items=27 must be at most 26"),
        ("n_labels=3", "n_labels=3 must be 4 or more"),
        ("n_labels=27", "n_labels=27 must be at most 26"),
    ):
        with pytest.raises(ValueError, match=message):
            make_task(f"patterns:{words}")


def test_what_counts_in_a_repetition_can_be_known(monkeypatch) -> None:
    task = Repeats(shortest=3, longest=9, length=20, vocab_size=40)

    def check() -> None:
        inputs, targets, counted = task.batch(200, torch.Generator().manual_seed(0))
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        rows = torch.cat([inputs, targets[:, -1:]], dim=1)
        for row, own in zip(rows, counted):
            first = int(own.int().argmax()) + 1  # of the row, the first that counts
            period = first - 1
            assert 3 <= period <= 9 and own[period:].all()
            assert torch.equal(row[period:], row[:-period])

    check()
    right = torch.Tensor.__gt__
    monkeypatch.setattr(torch.Tensor, "__gt__", lambda a, b: right(a, b - 1))
    with pytest.raises(AssertionError):
        check()


def test_rules_that_leak_into_the_test_are_noticed(monkeypatch) -> None:
    right = draw_patterns

    def leaks(n_rows, shots, n_items, n_labels, held_out, generator):
        return right(n_rows, shots, n_items, n_labels, False, generator)

    monkeypatch.setitem(globals(), "draw_patterns", leaks)
    with pytest.raises(AssertionError):
        test_no_rule_of_the_test_is_ever_learned_from()


def test_the_recorded_runs_are_five_of_each_and_above_the_bars() -> None:
    record = json.loads((ROOT / "data" / "induction.json").read_text("utf-8"))
    runs, n_seeds = record["runs"], len(record["seeds"])
    assert n_seeds == 5
    for run in runs.values():
        assert len(run["accuracy"]) == n_seeds
        steps = run["recipe"]["n_steps"]
        assert {len(curve) for curve in run["accuracy"]} == {steps // record["every"]}
    assert min(curve[-1] for curve in runs["two layers"]["accuracy"]) >= 0.97
    assert max(curve[-1] for curve in runs["one layer"]["accuracy"]) <= 0.3
    sizes = [runs[name]["parameters"] for name in ("two layers", "one layer")]
    assert sizes[0] - sizes[1] == 2 * 64  # one norm


def test_rows_repeat_with_their_own_period() -> None:
    ids, period = draw_repeats(200, 40, 30, (3, 9), torch.Generator().manual_seed(0))
    assert period.unique().tolist() == list(range(3, 10))
    for row, p in zip(ids, period.flatten().tolist()):
        assert torch.equal(row[p:], row[:-p])
    assert (ids[:, 1:4] != ids[:, :3]).any()
