"""Training: schedules and optimisers against torch and against their formulas, steps
that may be cut into parts, and a run that Ctrl-C does not harm.
"""

import itertools
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from against_torch import assert_near, few, random, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.block import Block
from lib.embedding import PatchEmbedding
from lib.evaluate.losses import cross_entropy
from lib.ffn import FeedForward
from lib.models.bigram import BigramConfig, BigramLM
from lib.models.encoder_decoder import Decoder, Encoder, Transformer, TransformerConfig
from lib.models.gpt import GPT
from lib.models.language_model import LanguageModel
from lib.models.masked_lm import MaskedLM, MaskedLMConfig
from lib.models.presets import preset_config
from lib.position import LearnedPositions
from lib.train import Training, optimizer, train
from lib.train.light import AdamW
from lib.train.optimizer import Muon, make_optimizers
from lib.train.schedule import (
    SCHEDULES,
    cosine_schedule,
    linear_schedule,
    noam_schedule,
    warmup,
)
from lib.train.settings import TrainConfig

ROOT = Path(__file__).parents[1]
KELLER_JORDAN = (3.4445, -4.7750, 2.0315)  # what torch's Muon multiplies with
both_optimizers = pytest.mark.parametrize("name", ["adamw", "muon"])


# Schedules


@settings(few, max_examples=100)
@given(st.integers(0, 50), st.integers(0, 20))
def test_the_warm_up_rises_in_equal_steps(step, n_warmup):
    expected = (step + 1) / n_warmup if step < n_warmup else 1.0
    assert warmup(step, n_warmup) == pytest.approx(expected)
    assert 0 < warmup(step, n_warmup) <= 1


@pytest.mark.parametrize("end", [0.0, 0.1, 0.5])
def test_the_cosine_equals_torchs(end):
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 40, end)
    for step in range(41):
        assert cosine_schedule(step, 40, 0, end) == pytest.approx(
            sgd.param_groups[0]["lr"]
        )
        sgd.step()
        torchs.step()


def test_the_cosine_begins_after_the_warm_up():
    assert [cosine_schedule(s, 50, 4) for s in range(5)][:4] == pytest.approx(
        [0.25, 0.5, 0.75, 1.0]
    )
    assert cosine_schedule(4, 50, 4) == 1
    assert cosine_schedule(27, 50, 4) == pytest.approx(0.55)  # half way from 1 to 0.1
    assert cosine_schedule(50, 50, 4) == pytest.approx(0.1)
    assert cosine_schedule(90, 50, 4) == pytest.approx(0.1)


def test_the_line_stays_and_then_falls():
    factors = [linear_schedule(s, 100, 10) for s in range(101)]
    assert factors[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert factors[10:41] == [1.0] * 31
    assert factors[70] == pytest.approx(0.5) and factors[100] == 0
    falls = [a - b for a, b in zip(factors[40:], factors[41:])]
    assert falls == pytest.approx([1 / 60] * 60)
    assert linear_schedule(100, 100, 0, end=0.2) == pytest.approx(0.2)
    assert linear_schedule(50, 100, 0, decay=1.0) == pytest.approx(0.5)


@few
@given(st.integers(0, 20_000), st.integers(1, 5_000), st.integers(1, 1_024))
def test_noam_is_the_papers_rate_by_its_highest(step, n_warmup, d_model):
    s = step + 1
    paper = d_model**-0.5 * min(s**-0.5, s * n_warmup**-1.5)
    highest = (d_model * n_warmup) ** -0.5
    assert noam_schedule(step, 9, n_warmup) == pytest.approx(paper / highest)


def test_noam_rises_and_falls_and_needs_a_warm_up():
    factors = [noam_schedule(s, 9, 4) for s in range(16)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[15] == 0.5 and factors[3:] == sorted(factors[3:], reverse=True)
    assert SCHEDULES["noam"] is noam_schedule
    with pytest.raises(ValueError, match="n_warmup=0 must be at least 1"):
        noam_schedule(0, 9, 0)


def test_no_rate_is_negative_after_the_last_step():
    for step in (9, 10, 15, 1_000):
        for n_warmup in (0, 3, 9, 40):
            assert linear_schedule(step, 9, n_warmup) == 0
            assert linear_schedule(step, 9, 0, end=0.2) == pytest.approx(0.2)
            assert cosine_schedule(step, 9, 0, end=0.2) == pytest.approx(0.2)
            for name in {*SCHEDULES} - {"noam"}:
                assert 0 <= SCHEDULES[name](step, 9, n_warmup) <= 1


def test_the_schedules_by_name():
    assert [SCHEDULES["constant"](s, 9, 2) for s in range(4)] == [0.5, 1, 1, 1]
    for name, factor in (("cosine", cosine_schedule), ("linear", linear_schedule)):
        for step in range(9):
            assert SCHEDULES[name](step, 9, 2) == factor(step, 9, 2)
    for factor in (cosine_schedule, linear_schedule):
        with pytest.raises(ValueError, match="n_steps=0 must be at least 1"):
            factor(0, 0, 0)


@settings(few, max_examples=100)
@given(st.sampled_from(list(SCHEDULES)), st.integers(1, 60), st.integers(0, 70))
def test_every_rate_of_a_run_is_above_zero(name, n_steps, n_warmup):
    n_warmup = max(n_warmup, name == "noam")  # which cannot do without
    factors = [SCHEDULES[name](s, n_steps, n_warmup) for s in range(n_steps)]
    assert all(0 < f <= 1 for f in factors)


# PyTorch's optimisers, without its compiler


def test_adamw_is_torchs():
    kinds, found = (AdamW, torch.optim.AdamW), []
    for kind, fused in itertools.product(kinds, (False, True)):
        weight, seen = nn.Parameter(random(3, 4)), []
        settings = {"lr": 0.1, "weight_decay": 0.2, "fused": fused}
        adamw = kind([weight], **settings)
        adamw.register_step_pre_hook(lambda *given: seen.append(1))
        for step in range(4):
            adamw.zero_grad()
            assert weight.grad is None

            def closure() -> torch.Tensor:
                loss = (weight - random(3, 4, seed=step)).square().sum()
                loss.backward()
                return loss

            loss = adamw.step(closure)
            if step == 1:  # go on with what was saved
                state, adamw = adamw.state_dict(), kind([weight], **settings)
                adamw.load_state_dict(state)
        assert seen == [1, 1] and loss.requires_grad
        found.append((weight.detach().clone(), *adamw.state[weight].values()))
    for ours, torchs in zip(found[:2], found[2:]):
        for one, other in zip(ours, torchs, strict=True):
            assert torch.equal(one, other)


def test_a_training_is_begun_saved_and_continued_without_the_compiler(tmp_path):
    code = """
import sys
import torch
from lib.models.gpt import GPT
from lib.models.presets import PRESETS
from lib.text.tokenizer import CharTokenizer
from lib.train import Training, fit
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.train.settings import TrainConfig

batch = torch.arange(18).view(2, 9) % 10
batch, config = (batch[:, :-1], batch[:, 1:]), TrainConfig(4, optimizer="muon")
model, generator = GPT(PRESETS["demo"]), torch.Generator()
fit(model, lambda: batch, 2, 0.01)
training = Training(model, config)
training.step(batch)
digits, path = CharTokenizer("0123456789"), "run.safetensors"
save_checkpoint(path, model, digits, training, generator)
old = load_checkpoint(path)
training = Training(old.model, config)
old.resume(training, generator)
training.step(batch)
sys.exit("torch._dynamo" in sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == 0


# Muon


def precise_newton_schulz(grad, ns_coefficients, ns_steps, eps):
    """Torch's function in float32, with the norm of ours, which is 1 % larger."""
    x, (a, b, c) = grad.T if len(grad) > len(grad.T) else grad, ns_coefficients
    x = x / (1.01 * x.norm() + eps)
    for _ in range(ns_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(grad) > len(grad.T) else x


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("precise", [False, True])
def test_muon_equals_torchs(monkeypatch, precise, decay):
    monkeypatch.setattr(optimizer, "POLAR_EXPRESS", (KELLER_JORDAN,) * 5)
    monkeypatch.setattr(optimizer, "has_bfloat16", lambda device: False)
    if precise:
        place = "torch.optim._muon._zeropower_via_newtonschulz"
        monkeypatch.setattr(place, precise_newton_schulz)
    sizes = [(8, 8), (6, 20), (20, 6), (6, 20)]
    ours = [nn.Parameter(random(*s, seed=n)) for n, s in enumerate(sizes)]
    torchs = [nn.Parameter(p.detach().clone()) for p in ours]
    start = [p.detach().clone() for p in ours]
    settings = {"lr": 0.05, "momentum": 0.8, "weight_decay": decay}
    one, other = Muon(ours, **settings), torch.optim.Muon(torchs, **settings)
    for step in range(4):
        for n, (p, same) in enumerate(zip(ours, torchs)):
            p.grad = random(*p.shape, seed=10 * step + n)
            same.grad = p.grad.clone()
        one.step()
        other.step()
    for p, same, before in zip(ours, torchs, start):
        if precise:
            assert_near(p.detach(), same.detach(), atol=2e-5)
        else:
            moved, same_moved = p - before, same - before
            assert (moved - same_moved).norm() < 0.05 * same_moved.norm()


def test_muon_leaves_alone_what_has_no_gradient():
    moving, still = (nn.Parameter(random(3, 4)) for _ in range(2))
    muon = Muon([moving, still], lr=0.1, weight_decay=0.5)
    moving.grad = random(3, 4, seed=1)
    before = still.detach().clone()
    assert muon.step(lambda: torch.tensor(7.0)) == 7
    assert torch.equal(still, before) and not torch.equal(moving, before)


# Which optimiser gets what


def make_model(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(preset_config("demo", **changes))


def names_of(model: nn.Module, group: dict) -> set[str]:
    by_id = {id(p): name for name, p in model.named_parameters()}
    return {by_id[id(p)] for p in group["params"]}


def test_muon_takes_the_matrices_of_blocks_and_adamw_the_rest():
    model = make_model(final_norm=True, attention_bias=True)
    config = TrainConfig(
        9, 0.1, "muon", 0.2, embedding_learning_rate=0.3, weight_decay=0.5
    )
    adamw, muon = make_optimizers(model, config)
    tables, matrices, vectors = adamw.param_groups
    assert names_of(model, tables) == {"tokens.weight", "positions.table.weight"}
    assert names_of(model, matrices) == {"head.weight"}
    taken = names_of(model, muon.param_groups[0])
    weights = ("q_proj", "k_proj", "v_proj", "out_proj", "up", "down")
    assert {name.split(".")[-2] for name in taken} == set(weights)
    assert len(taken) == 12 and all(name.startswith("blocks") for name in taken)
    every = {name for name, p in model.named_parameters() if p.dim() == 1}
    assert names_of(model, vectors) == every
    decays = [g["weight_decay"] for g in (tables, matrices, vectors)]
    assert decays == [0.5, 0.5, 0.0] and muon.param_groups[0]["weight_decay"] == 0.5
    rates = [g["initial_lr"] for o in (adamw, muon) for g in o.param_groups]
    assert rates == [0.3, 0.1, 0.1, 0.2]


@both_optimizers
@pytest.mark.parametrize("tied", [False, True])
def test_every_weight_is_taken_once(name, tied):
    model = make_model(tie_weights=tied, head_bias=not tied)
    optimizers = make_optimizers(model, TrainConfig(9, optimizer=name))
    taken = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    assert {id(p) for p in taken} == {id(p) for p in model.parameters()}
    assert len(taken) == len(list(model.parameters()))
    assert len(optimizers) == (2 if name == "muon" else 1)
    if tied:
        tables = names_of(model, optimizers[0].param_groups[0])
        assert "tokens.weight" in tables


class Around(nn.Module):
    """Another module around a model, which calls it what it likes."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.anything = inner


class Valued(Around):
    """A model with a second output layer, by another name."""

    def __init__(self, inner: nn.Module):
        super().__init__(inner)
        self.value = nn.Linear(16, 1)


class Classifier(nn.Module):
    """As in lesson 18: patches, positions, an encoder and a head."""

    def __init__(self):
        super().__init__()
        self.patches, self.positions = PatchEmbedding(4, 2, 8), LearnedPositions(4, 8)
        self.encoder = Encoder(8, 2, 1, 16)
        self.head = nn.Linear(8, 10)


class Captioner(nn.Module):
    """As in lesson 18: letters, positions, a decoder and a head."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(9, 8), LearnedPositions(7, 8)
        self.decoder = Decoder(8, 2, 1, 16)
        self.head = nn.Linear(8, 9)


class Unembedded(nn.Module):
    """Somebody else's model, with no name of ours."""

    def __init__(self):
        super().__init__()
        self.wte, self.hidden = nn.Embedding(9, 8), nn.Linear(8, 8)
        self.lm_out = nn.Linear(8, 9)


def transformer(shared: bool = False, **options) -> Transformer:
    sizes = {"d_model": 8, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1}
    model = Transformer(TransformerConfig(10, 10, **sizes, d_ff=16, **options))
    if shared:
        model.source.weight = model.target.weight
    return model


def block() -> Block:
    return Block(MultiHeadAttention(8, 2), FeedForward(8, 16))


def gpt(**changes) -> GPT:
    return GPT(preset_config("demo", **changes))


TIED = {"tie_weights": True, "head_bias": False}
MODELS = {  # a model, and the output layers and embeddings that Muon spares
    "language model": (
        lambda: LanguageModel(10, 8, 8, [block()]),
        {"tokens", "positions.table", "head"},
    ),
    "gpt": (gpt, {"tokens", "positions.table", "head"}),
    "gpt without a bias": (
        lambda: gpt(head_bias=False), {"tokens", "positions.table", "head"}
    ),
    "gpt, tied": (lambda: gpt(**TIED), {"tokens", "positions.table"}),
    "bigram": (lambda: BigramLM(BigramConfig(10, 8)), {"logits.0", "logits.1"}),
    "transformer": (
        lambda: transformer(tie_weights=False), {"source", "target", "head"}
    ),
    "transformer, tied": (transformer, {"source", "target"}),
    "transformer, one table": (lambda: transformer(shared=True), {"source"}),
    "masked": (
        lambda: MaskedLM(MaskedLMConfig(10, 8, 2, 1, 16, 8)),
        {"tokens", "positions.table", "head"},
    ),
    "classifier": (Classifier, {"positions.table", "head"}),
    "captioner": (Captioner, {"tokens", "positions.table", "head"}),
    "somebody else's": (Unembedded, {"wte", "lm_out"}),
}  # fmt: skip
WRAPPERS = {
    "bare": lambda model: model,
    "inside": Around,
    "inside twice": lambda model: Around(Around(model)),
    "compiled": torch.compile,
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_muon_spares_output_layers_and_embeddings(kind, wrapper):
    make, spared = MODELS[kind]
    model = make()
    optimizers = make_optimizers(
        WRAPPERS[wrapper](model), TrainConfig(9, optimizer="muon")
    )
    taken = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    assert len(taken) == len({id(p) for p in taken}) == len(list(model.parameters()))
    weights = {n.removesuffix(".weight"): p for n, p in model.named_parameters()}
    matrices = {n for n, p in weights.items() if p.dim() == 2}
    muon = names_of(model, optimizers[1].param_groups[0]) if optimizers[1:] else []
    assert {name.removesuffix(".weight") for name in muon} == matrices - spared
    assert spared <= matrices


def test_muon_spares_a_second_output_layer():
    model = Valued(gpt())
    muon = make_optimizers(model, TrainConfig(9, optimizer="muon"))[1]
    taken = names_of(model, muon.param_groups[0])
    assert len(taken) == 12 and all(".blocks." in name for name in taken)


@both_optimizers
def test_a_table_that_two_share_makes_one_step(name):
    model = transformer(shared=True, dropout=0.0)
    before = model.source.weight.detach().clone()
    model.source.weight.grad = torch.ones_like(before)
    for optimizer in make_optimizers(model, TrainConfig(9, 0.1, name)):
        optimizer.step()
    assert_near(model.source.weight.detach(), before - 0.1)


def test_adamw_alone_for_a_table_of_bigrams():
    (adamw,) = make_optimizers(
        BigramLM(BigramConfig(5)), TrainConfig(9, optimizer="muon")
    )
    assert len(adamw.param_groups) == 1


@both_optimizers
def test_vectors_do_not_decay(name):
    model = make_model(attention_bias=True, final_norm=True)
    random_weights(model)
    config = TrainConfig(9, 0.1, name, 0.1, weight_decay=0.5)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for each in make_optimizers(model, config):
        each.step()
    for n, p in model.named_parameters():
        shrunk = 1.0 if p.dim() == 1 else 1 - 0.1 * 0.5
        assert_near(p.detach(), shrunk * before[n])


def test_adamw_equals_its_formula():
    model = make_model()
    config = TrainConfig(9, 0.01, weight_decay=0.1, betas=(0.8, 0.9))
    (adamw,) = make_optimizers(model, config)
    p, (b1, b2) = model.head.weight, config.betas
    expected = p.detach().double()
    m = v = torch.zeros_like(expected)
    for step in range(1, 4):
        for weight in model.parameters():
            weight.grad = random(*weight.shape, seed=step)
        g = p.grad.double()
        adamw.step()
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**step), v / (1 - b2**step)
        expected = expected - 0.01 * 0.1 * expected
        expected = expected - 0.01 * m_hat / (v_hat.sqrt() + 1e-8)
        assert_near(p.detach(), expected)


# Steps


def make_batch(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows that count on: what comes next is the number after."""
    starts = torch.randint(10, (n, 1), generator=torch.Generator().manual_seed(seed))
    rows = (starts + torch.arange(9)) % 10
    return rows[:, :-1], rows[:, 1:]


def make_training(n_steps: int = 10, **changes) -> Training:
    return Training(make_model(), TrainConfig(n_steps, **changes))


@pytest.mark.parametrize("parts", [2, 3, 6, 9])
@pytest.mark.parametrize("rows", [6, 7])
def test_a_batch_in_parts_is_a_batch_in_one(parts, rows):
    whole, cut = make_training(clip=None), make_training(clip=None, accumulation=parts)
    batch = make_batch(rows)
    batch[1][0] = 3  # so that the rows are not equally hard
    losses = [t.step(batch) for t in (whole, cut)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    for p, same in zip(whole.model.parameters(), cut.model.parameters()):
        assert_near(same.grad, p.grad, atol=1e-6)


def test_the_loss_is_that_of_the_whole_batch_before_the_update():
    t, batch = make_training(), make_batch()
    expected = cross_entropy(t.model(batch[0]), batch[1]).item()
    assert t.step(batch) == pytest.approx(expected, abs=1e-6)
    assert t.losses == [pytest.approx(expected, abs=1e-6)] and t.n_done == 1
    assert cross_entropy(t.model(batch[0]), batch[1]).item() < expected


def test_gradients_of_the_last_step_are_forgotten():
    one, two = make_training(clip=None), make_training(clip=None)
    one.step(make_batch())
    two.model.load_state_dict(one.model.state_dict())
    for t in (one, two):
        t.step(make_batch(seed=1))
    for p, same in zip(one.model.parameters(), two.model.parameters()):
        assert torch.equal(p.grad, same.grad)


@pytest.mark.parametrize("clip", [None, 1e-3, 1e3])
def test_all_gradients_together_are_clipped(clip):
    t, unclipped = make_training(clip=clip), make_training(clip=None)
    for each in (t, unclipped):
        each.step(make_batch())

    def norm(training):
        squares = (p.grad.square().sum() for p in training.model.parameters())
        return math.sqrt(sum(squares))

    expected = min(norm(unclipped), clip or math.inf)
    assert norm(t) == pytest.approx(expected, rel=1e-3)


@both_optimizers
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_of_each_step_is_the_schedules(name, schedule):
    t = make_training(6, schedule=schedule, n_warmup=2, optimizer=name)
    for step in range(6):
        t.step(make_batch())
        for group in (g for o in t.optimizers for g in o.param_groups):
            factor = SCHEDULES[schedule](step, 6, 2)
            assert group["lr"] == pytest.approx(group["initial_lr"] * factor)


@both_optimizers
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_loss_falls(name, dtype):
    rate = {"learning_rate": 0.02, "optimizer": name, "dtype": dtype}
    t = make_training(25, n_warmup=2, **rate)
    losses = train(t, make_batch)
    assert losses is t.losses and len(losses) == t.n_done == 25
    assert abs(losses[0] - math.log(10)) < 0.05 and losses[-1] < 1.0
    assert all(p.dtype == torch.float32 for p in t.model.parameters())


def test_bfloat16_multiplies_in_bfloat16():
    found = []
    for dtype in ("bfloat16", "float32"):
        t = make_training(dtype=dtype)
        t.model.blocks[0].ffn.up.register_forward_hook(
            lambda module, given, output: found.append(output.dtype)
        )
        t.step(make_batch())
    assert found == [torch.bfloat16, torch.float32]


def test_the_same_seed_gives_the_same_losses():
    def losses(seed):
        generator = torch.Generator().manual_seed(seed)

        def next_batch():
            return make_batch(seed=torch.randint(99, (1,), generator=generator).item())

        return train(make_training(optimizer="muon"), next_batch)

    assert losses(1) == losses(1) != losses(2)


def test_the_loss_may_be_another_function_of_any_batch():
    model, given = nn.Linear(3, 1), []

    def loss_of(model, x, y, weights):
        given.append(len(x))
        return (weights * (model(x) - y).square()).mean()

    t = Training(model, TrainConfig(30, 0.1, accumulation=2), loss_of)
    x = random(8, 3)
    train(t, lambda: (x, x.sum(1, keepdim=True), torch.ones(8, 1)))
    assert given == [4] * 60 and t.losses[-1] < 0.1 * t.losses[0]


# Runs


def test_it_evaluates_and_saves_every_so_often_and_at_the_end():
    t, saved = make_training(11), []
    values = iter([2.0, 1.5, 1.25])
    train(t, make_batch, 4, lambda: next(values), lambda: saved.append(t.n_done))
    assert t.validation == [(4, 2.0), (8, 1.5), (11, 1.25)]
    assert saved == [4, 8, 11]


def test_without_every_it_neither_evaluates_nor_saves():
    t, saved = make_training(3), []
    train(t, make_batch, evaluate=lambda: 1 / 0, save=lambda: saved.append(1))
    assert t.validation == [] and saved == []


def lost(at: int, value: float = math.nan):
    """A loss that is no number at some step."""
    calls = []

    def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        factor = value if len(calls) == at else 1.0
        return factor * cross_entropy(model(inputs), targets)

    return loss_of


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(value):
    t, saved = Training(make_model(), TrainConfig(9), lost(at=4, value=value)), []

    def save() -> None:
        saved.append([p.detach().clone() for p in t.model.parameters()])

    with pytest.raises(ValueError, match=f"loss={value} after 3 updates must be fin"):
        train(t, make_batch, 1, save=save)
    assert t.n_done == len(t.losses) == len(saved) == 3
    for p, kept in zip(t.model.parameters(), saved[-1]):
        assert torch.equal(p, kept)


def test_a_validation_loss_that_is_not_finite_is_not_saved():
    t, saved = make_training(9), []
    values = iter([1.0, math.nan])
    with pytest.raises(ValueError, match="validation loss=nan after 2 updates must be"):
        train(t, make_batch, 1, lambda: next(values), lambda: saved.append(t.n_done))
    assert saved == [1] and t.validation == [(1, 1.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("interrupted", [True, False])
def test_weights_that_are_not_finite_are_not_saved(value, interrupted):
    t, saved = make_training(9), []

    def next_batch() -> tuple[Tensor, Tensor]:
        if t.n_done == 1:
            p = t.optimizers[0].param_groups[0]["params"][0]
            p.register_hook(lambda gradient: torch.full_like(gradient, value))
            if interrupted:
                signal.raise_signal(signal.SIGINT)
        return make_batch()

    every = 0 if interrupted else 1
    with pytest.raises(ValueError, match="norm of weights=nan after 2 updates must be"):
        train(t, next_batch, every, save=lambda: saved.append(t.n_done))
    assert saved == [1] * every


def test_a_negative_every_is_refused_before_the_work():
    t = make_training(9)
    with pytest.raises(ValueError, match="every=-1 must be 0 or more"):
        train(t, lambda: 1 / 0, -1)


def interrupting(at: int, times: int = 1):
    """A source of batches in which somebody presses Ctrl-C."""
    calls = []

    def next_batch():
        calls.append(1)
        for _ in range(times if len(calls) == at else 0):
            signal.raise_signal(signal.SIGINT)
        return make_batch(seed=len(calls))

    return next_batch


def test_ctrl_c_ends_the_step_saves_and_stops():
    t, saved, before = make_training(9), [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(t, interrupting(at=3), save=lambda: saved.append(t.n_done))
    assert t.n_done == len(t.losses) == 3 and saved == [3]
    assert signal.getsignal(signal.SIGINT) is before


def test_after_ctrl_c_a_second_call_goes_on():
    whole, cut = make_training(9), make_training(9)
    train(whole, interrupting(at=99))
    next_batch = interrupting(at=4)
    with pytest.raises(KeyboardInterrupt):
        train(cut, next_batch)
    assert train(cut, next_batch) == whole.losses
    assert train(cut, lambda: 1 / 0) == whole.losses  # nothing is left to do


def test_a_second_ctrl_c_stops_at_once():
    t, saved = make_training(9), []
    with pytest.raises(KeyboardInterrupt):
        train(t, interrupting(at=3, times=2), save=lambda: saved.append(t.n_done))
    assert t.n_done == 2 and saved == []


def test_it_trains_in_another_thread():
    t = make_training(3)
    thread = threading.Thread(target=train, args=(t, make_batch))
    thread.start()
    thread.join()
    assert t.n_done == 3


# Settings


@pytest.mark.parametrize(
    "values, message",
    [
        ({"n_steps": 0}, "n_steps=0 must be at least 1"),
        ({"accumulation": 0}, "accumulation=0 must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan must be above 0"),
        ({"muon_learning_rate": -1.0}, "muon_learning_rate=-1.0 must be above 0"),
        ({"optimizer": "sgd"}, "optimizer='sgd' must be in .*'adamw', 'muon'"),
        ({"schedule": "step"}, "schedule='step' must be in .*'constant', 'cosine'"),
        ({"dtype": "float16"}, "dtype='float16' must be in .*'float32', 'bfloat16'"),
        ({"n_warmup": -1}, "n_warmup=-1 must be 0 or more"),
        ({"clip": 0.0}, "clip=0.0 must be above 0, or None"),
        ({"clip": math.nan}, "clip=nan must be above 0, or None"),
        ({"learning_rate": math.inf}, "learning_rate=inf must be above 0 and finite"),
        ({"muon_learning_rate": math.inf}, "muon_learning_rate=inf must be above 0"),
        ({"embedding_learning_rate": 0.0}, "embedding_learning_rate=0.0 must be above"),
        ({"embedding_learning_rate": math.nan}, "embedding_learning_rate=nan must be"),
        ({"weight_decay": math.nan}, "weight_decay=nan must be 0 or more"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must be 0 or more"),
        ({"weight_decay": math.inf}, "weight_decay=inf must be 0 or more and finite"),
        ({"schedule": "noam"}, "n_warmup=0 must be at least 1"),
    ],
)
def test_settings_that_do_not_exist(values, message):
    with pytest.raises(ValueError, match=message):
        replace(TrainConfig(9), **values)
