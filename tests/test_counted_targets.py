"""Parts and processes change nothing, also where not every target counts."""

import math
import os
from functools import partial

import pytest
import torch
from processes import in_two_processes
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from lib.device import windows_that_fit
from lib.evaluate.losses import cross_entropy, masked_loss, mean_over
from lib.models import build_model
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.models.gpt import GPT
from lib.models.masked_lm import MaskedLM, MaskedLMConfig
from lib.models.presets import PRESETS
from lib.train import Training, estimate_loss
from lib.train.optimizer import make_optimizers
from lib.train.run import Run
from lib.train.run_settings import RunSettings
from lib.train.settings import TrainConfig
from lib.translate import translation_loss

ROWS = 8
Bucket = torch.futures.Future[Tensor]  # gradients that are exchanged at once


def numbers(*shape: int, low: int = 3) -> Tensor:
    return torch.randint(low, 10, shape, generator=torch.Generator().manual_seed(0))


def padded() -> tuple[Tensor, Tensor]:
    """Sources and targets, each pair of another length, from very short to full."""
    src, tgt = numbers(ROWS, 7), numbers(ROWS, 9)
    for row, length in enumerate((9, 2, 8, 3, 9, 4, 7, 2)):
        tgt[row, 0], tgt[row, length:] = 1, 0
    return src, tgt


def masked(nothing_in_the_first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of which more and more is hidden."""
    ids = numbers(ROWS, 8)
    hidden = torch.arange(8) <= torch.arange(ROWS).unsqueeze(1)
    hidden[:nothing_in_the_first] = False
    return ids.masked_fill(hidden, 10), ids, hidden


def translator() -> nn.Module:
    sizes = {"d_model": 8, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1}
    return Transformer(
        TransformerConfig(10, 10, **sizes, d_ff=8, dropout=0.0, context_length=9)
    )


def small_masked_lm() -> MaskedLM:
    return MaskedLM(MaskedLMConfig(10, 8, 2, 1, 8, 8))


@mean_over(lambda model, inputs, targets: targets != 0)
def skipping_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).transpose(1, 2), targets, ignore_index=0)


CASES = {  # a model, its loss, and a batch
    "padded": (translator, translation_loss, padded()),
    "smoothed": (translator, partial(translation_loss, smoothing=0.1), padded()),
    "masked": (small_masked_lm, masked_loss, masked()),
    "nothing counts in a part": (small_masked_lm, masked_loss, masked(4)),
    "torch's loss": (lambda: GPT(PRESETS["demo"]), skipping_loss, padded()[1:] * 2),
    "all": (
        lambda: GPT(PRESETS["demo"]),
        lambda m, x, y: cross_entropy(m(x), y),
        (numbers(ROWS, 8), numbers(ROWS, 8, low=2)),
    ),
}  # fmt: skip


def loss_and_gradients(name: str, parts: int = 1) -> tuple[float, list[Tensor]]:
    make, loss_of, batch = CASES[name]
    torch.manual_seed(0)
    model = make()
    training = Training(model, TrainConfig(1, accumulation=parts, clip=None), loss_of)
    loss = training.step(batch)
    return loss, [p.grad.clone() for p in model.parameters()]


def assert_same(ours: tuple, expected: tuple) -> None:
    assert ours[0] == pytest.approx(expected[0], abs=1e-6)
    for gradient, other in zip(ours[1], expected[1], strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("parts", [2, 3, 4, 8])
def test_parts_give_the_loss_and_gradients_of_the_whole(name, parts):
    whole = loss_and_gradients(name)
    assert math.isfinite(whole[0]) and any(g.abs().max() > 1e-3 for g in whole[1])
    assert_same(loss_and_gradients(name, parts), whole)


def test_weighing_by_rows_would_be_wrong(monkeypatch):
    whole = loss_and_gradients("padded")
    monkeypatch.delattr(translation_loss, "counts")
    assert loss_and_gradients("padded")[0] == whole[0]
    assert abs(loss_and_gradients("padded", 4)[0] - whole[0]) > 1e-4


def test_a_batch_in_which_nothing_counts_moves_nothing():
    torch.manual_seed(0)
    model = small_masked_lm()
    batch = masked(ROWS)
    training = Training(model, TrainConfig(1, accumulation=2), masked_loss)
    loss = training._gradients(batch)
    assert loss == 0 and all(not p.grad.any() for p in model.parameters())


# Evaluation


def test_evaluation_of_large_models_is_cut_to_fit(monkeypatch):
    def windows(name: str) -> int:
        with torch.device("meta"):
            model = build_model(PRESETS[name])
        return windows_that_fit(model, PRESETS[name].context_length)

    for name, c in PRESETS.items():
        n = windows(name)
        assert n == 1 or c.context_length * c.vocab_size * n <= 2**20
    assert windows("bigram") == 256 and windows("mini") == 32
    assert windows("tiny") == 2 and windows("gpt2") == 1
    assert windows_that_fit(nn.Identity(), 8) == 256

    torch.manual_seed(0)
    model, tokens, seen = GPT(PRESETS["demo"]), numbers(100), []
    expected = estimate_loss(model, tokens, 8)
    model.register_forward_pre_hook(lambda m, given: seen.append(len(given[0])))
    monkeypatch.setattr("lib.device.LARGEST_OUTPUT", 3 * 8 * 32)
    assert estimate_loss(model, tokens, 8) == pytest.approx(expected, abs=1e-6)
    assert seen == [3] * 4 + [1]


# Two processes


def in_a_process(number: int, folder: str) -> None:
    """What each of two processes does; the first one keeps what it found."""
    found = {}
    for name in CASES:
        for parts in (1, 2, 4):
            found[name, parts] = loss_and_gradients(name, parts)
    found["exchanges"] = exchanges()
    training = Training(GPT(PRESETS["demo"]), TrainConfig(1))
    muon = make_optimizers(training.runner, TrainConfig(1, optimizer="muon"))[1]
    found["muon"] = sum(p.numel() for p in muon.param_groups[0]["params"])
    run, read = short_run(folder), []
    run.training.model.register_forward_pre_hook(
        lambda m, given: read.append(given[0].numel())
    )
    found["validation"] = run.evaluate()
    shares = [None, None]
    distributed.all_gather_object(shares, sum(read))
    found["read"] = shares
    try:
        short_run(folder, batch_size=3)
    except ValueError as error:
        found["odd"] = str(error), os.path.exists(f"{folder}/run")
    if number == 0:
        torch.save(found, f"{folder}/found")


def exchanges() -> int:
    """How often gradients are exchanged in a step of four parts."""
    torch.manual_seed(0)
    calls, (make, loss_of, batch) = [], CASES["all"]
    training = Training(make(), TrainConfig(1, accumulation=4), loss_of)

    def count(state: object, bucket: distributed.GradBucket) -> Bucket:
        calls.append(1)
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    training.runner.register_comm_hook(None, count)
    training.step(batch)
    return len(calls)


def write_the_text(folder: str) -> None:
    with open(f"{folder}/text.txt", "w", encoding="utf-8") as file:
        file.write("To be, or not to be: that is the question.\n" * 45)


def short_run(folder: str, **changes) -> Run:
    """A run on the text of a folder, which one process has written for all."""
    settings = {"preset": "demo", "batch_size": 4, "n_steps": 2} | changes
    settings["text"] = f"{folder}/text.txt"
    return Run.new(f"{folder}/run", RunSettings(**settings), "cpu")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> dict:
    folder = str(tmp_path_factory.mktemp("pair"))
    write_the_text(folder)
    in_two_processes(in_a_process, folder)
    return torch.load(f"{folder}/found")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_two_processes_give_the_loss_and_gradients_of_one(pair, name, parts):
    assert_same(pair[name, parts], loss_and_gradients(name))


def test_gradients_are_exchanged_once_a_step(pair):
    assert pair["exchanges"] == 1


def test_muon_spares_the_head_inside_of_ddp(pair):
    model = GPT(PRESETS["demo"])
    matrices = [p for p in model.blocks.parameters() if p.dim() > 1]
    assert pair["muon"] == sum(p.numel() for p in matrices)


def test_two_processes_share_the_evaluation(pair, tmp_path):
    write_the_text(str(tmp_path))
    run = short_run(str(tmp_path))
    assert pair["validation"] == pytest.approx(run.evaluate(), abs=1e-6)
    assert sum(pair["read"]) == len(run.source.validation) - 1
    assert max(pair["read"]) - min(pair["read"]) < 2 * run.source.length


def test_two_processes_refuse_an_odd_batch_before_the_work(pair):
    message, is_there = pair["odd"]
    assert "batch_size=3 must be a multiple of 2" in message and not is_there
