"""A run that is stopped anywhere, even killed, goes on as if nothing had happened."""

import os
import random as dice
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib.models import build_model
from lib.models.gpt import GPT
from lib.models.presets import preset_config
from lib.text.batches import random_batch
from lib.text.bpe import BPETokenizer
from lib.text.tokenizer import CharTokenizer
from lib.train import Training, train
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.train.run import Run
from lib.train.run_settings import RunSettings
from lib.train.settings import TrainConfig
from lib.train.tensor_file import checkpoint_path

ROOT = Path(__file__).parents[1]
TOKENS = torch.arange(400) ** 2 % 10
# What Popen.kill() leaves, on Unix and on Windows.
KILLED = -signal.SIGKILL if hasattr(signal, "SIGKILL") else 1


def make(dropout: float = 0.0, **changes) -> tuple[Training, torch.Generator]:
    torch.manual_seed(0)
    model = GPT(
        preset_config("demo", dropout=dropout, tie_weights=True, head_bias=False)
    )
    config = TrainConfig(8, n_warmup=3, weight_decay=0.1, **changes)
    return Training(model, config), torch.Generator().manual_seed(5)


def go_on(training: Training, generator: torch.Generator, save=None) -> None:
    def evaluate() -> float:
        return training.losses[-1] / 3  # a number of many digits

    train(training, lambda: random_batch(TOKENS, 4, 8, generator), 2, evaluate, save)


def assert_same_run(one: Training, other: Training) -> None:
    assert one.losses == other.losses and one.validation == other.validation
    assert one.n_done == other.n_done
    for p, same in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, same)


def test_one_checkpoint_can_be_resumed_twice(tmp_path: Path) -> None:
    training, generator = make()
    for _ in range(3):
        training.step(random_batch(TOKENS, 4, 8, generator))
    path = tmp_path / "three.safetensors"
    save_checkpoint(path, training.model, None, training, generator)
    checkpoint, runs = load_checkpoint(path), []
    for _ in range(2):
        again, generator = make()
        checkpoint.resume(again, generator)
        go_on(again, generator)
        runs.append(again)
    assert_same_run(*runs)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw"},
        {"optimizer": "muon"},
        {"optimizer": "muon", "dropout": 0.3},
        {"optimizer": "adamw", "accumulation": 3, "clip": None, "schedule": "linear"},
        {"optimizer": "muon", "dtype": "bfloat16"},
    ],
)
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, settings):
    whole, generator = make(**settings)
    paths = []

    def save() -> None:
        paths.append(tmp_path / f"{whole.n_done}.safetensors")
        save_checkpoint(paths[-1], whole.model, None, whole, generator)

    go_on(whole, generator, save)
    assert [path.stem for path in paths] == ["2", "4", "6", "8"]
    for path in paths[:3:2]:
        resumed, generator = make(**settings)
        go_on(resumed, generator)  # what is there before does not matter
        load_checkpoint(path).resume(resumed, generator)
        assert resumed.n_done == int(path.stem)
        go_on(resumed, generator)
        assert_same_run(resumed, whole)


def test_a_checkpoint_gives_the_model_ready_to_write(tmp_path):
    training, generator = make(dropout=0.3)
    go_on(training, generator)
    path = tmp_path / "checkpoint.safetensors"
    notes = {"command": 'train "x" é', "seed": 3, "data": [1, 2.5, None]}
    save_checkpoint(path, training.model, **notes)
    for place in (path, str(path), tmp_path):
        loaded = load_checkpoint(place)
        assert loaded.notes == notes and loaded.run == {} and loaded.tokenizer is None
        assert not loaded.model.training
        assert loaded.model.config == training.model.config
        assert loaded.model.head.weight is loaded.model.tokens.weight
        ids = TOKENS[None, :9]
        assert torch.equal(loaded.model(ids), training.model.eval()(ids))
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["demo", "bigram", "single-head", "multi-head"])
def test_all_kinds_of_models(tmp_path, name):
    model = build_model(preset_config(name, vocab_size=10)).eval()
    save_checkpoint(tmp_path / "x.safetensors", model)
    loaded = load_checkpoint(tmp_path / "x.safetensors").model
    assert torch.equal(loaded(TOKENS[None, :9]), model(TOKENS[None, :9]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_of_the_digits_make_half_of_the_file(tmp_path, dtype):
    model = GPT(preset_config("demo", d_model=64))
    for name, kept in (("whole", None), ("half", dtype)):
        save_checkpoint(tmp_path / name, model, dtype=kept)
    sizes = [(tmp_path / name).stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_checkpoint(tmp_path / "half").model
    for p, rounded in zip(model.parameters(), loaded.parameters()):
        assert rounded.dtype == torch.float32
        assert torch.equal(rounded, p.to(dtype).float())
    assert next(model.parameters()).dtype == torch.float32


TEXT = "Ein naïver Text: 東京, 🙂, \u2028 und \x00 dazu.\n" * 5


@pytest.mark.parametrize(
    "tokenizer",
    [
        CharTokenizer(TEXT),
        CharTokenizer("x"),
        BPETokenizer.train(TEXT, 280, ["<|end|>", "ü"]),
        BPETokenizer([], alphabet=reversed(range(256))),
    ],
)
def test_vocabularies_are_kept(tmp_path, tokenizer):
    model = GPT(preset_config("demo", vocab_size=tokenizer.vocab_size))
    save_checkpoint(tmp_path / "x", model, tokenizer)
    loaded = load_checkpoint(tmp_path / "x").tokenizer
    assert type(loaded) is type(tokenizer)
    assert loaded.vocab_size == tokenizer.vocab_size
    text = "x" if loaded.vocab_size == 1 else TEXT + " "
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(tokenizer.encode(text)) == text
    if isinstance(tokenizer, BPETokenizer):
        assert loaded.special_tokens == tokenizer.special_tokens
        assert loaded.alphabet == tokenizer.alphabet


def test_what_cannot_be_resumed(tmp_path):
    training, generator = make()
    go_on(training, generator)
    save_checkpoint(tmp_path / "weights", training.model)
    with pytest.raises(ValueError, match="holds weights only; it cannot be resumed"):
        load_checkpoint(tmp_path / "weights").resume(training, generator)
    save_checkpoint(tmp_path / "run", training.model, None, training, generator)
    for change in ({"optimizer": "muon"}, {"learning_rate": 0.1}, {"clip": None}):
        with pytest.raises(ValueError, match="a training with other settings"):
            load_checkpoint(tmp_path / "run").resume(*make(**change))
    with pytest.raises(ValueError, match="generator=None: .* cannot go on without"):
        save_checkpoint(tmp_path / "new", training.model, None, training)
    assert not (tmp_path / "new").exists()


# Runs in a folder


def settings(folder: Path, **changes) -> RunSettings:
    text = folder / "text.txt"
    text.write_text("To be, or not to be: that is the question.\n" * 45, "utf-8")
    small = {"preset": "demo", "batch_size": 4, "n_steps": 6, "n_warmup": 2}
    return RunSettings(text=str(text), **(small | changes))


@pytest.mark.parametrize(
    "changes", [{}, {"dropout": 0.2, "tokenizer": "bpe", "vocab_size": 265}]
)
def test_a_run_goes_on_from_its_folder(tmp_path, changes):
    s, found = settings(tmp_path, **changes), []
    for name in ("whole", "cut"):
        run = Run.new(tmp_path / name, s, "cpu")
        if name == "cut":

            def next_batch(draw=run.next_batch) -> tuple[Tensor, Tensor]:
                if run.training.n_done == 2:
                    signal.raise_signal(signal.SIGINT)
                return draw()

            run.next_batch = next_batch
            with pytest.raises(KeyboardInterrupt):
                run.train(2)
            run = Run.resume(tmp_path / name, "cpu")
            assert run.training.n_done == 3
        run.train(2)
        found.append(run)
    assert_same_run(found[0].training, found[1].training)
    assert [n for n, _ in found[1].training.validation] == [2, 4, 6]
    notes = [load_checkpoint(tmp_path / n).notes for n in ("whole", "cut")]
    assert notes[0] == notes[1]
    assert notes[0]["seed"] == 0 and notes[0]["data"] == "text.txt"


def test_a_folder_holds_one_run(tmp_path):
    s = settings(tmp_path)
    Run.new(tmp_path / "x", s, "cpu").save()
    with pytest.raises(ValueError, match="x.* is there already: --resume its run"):
        Run.new(tmp_path / "x", s, "cpu")
    with pytest.raises(FileNotFoundError, match="there is no such checkpoint"):
        Run.resume(tmp_path / "y", "cpu")


def test_a_run_does_not_go_on_with_another_text(tmp_path):
    s = settings(tmp_path)
    Run.new(tmp_path / "x", s, "cpu").save()
    Path(s.text).write_text("Somebody has changed the text. éé\n" * 50, "utf-8")
    with pytest.raises(ValueError, match="text.txt' has changed since the run began"):
        Run.resume(tmp_path / "x", "cpu")


def test_what_a_dead_run_left_does_not_hurt(tmp_path):
    s = settings(tmp_path, n_steps=2)
    half = tmp_path / "x" / "checkpoint.safetensors.tmp"
    half.parent.mkdir()
    half.write_bytes(b"half a checkpo")
    run = Run.new(tmp_path / "x", s, "cpu")
    run.save()
    assert os.listdir(tmp_path / "x") == ["checkpoint.safetensors"]
    half.write_bytes(b"half a checkpo")
    assert load_checkpoint(tmp_path / "x").notes["seed"] == 0
    Run.resume(tmp_path / "x", "cpu").train()
    assert os.listdir(tmp_path / "x") == ["checkpoint.safetensors"]


def test_of_several_processes_only_the_first_writes(tmp_path, monkeypatch):
    run = Run.new(tmp_path / "x", settings(tmp_path), "cpu")
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for rank, written in ((1, False), (7, False), (0, True)):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        run.save()
        assert checkpoint_path(tmp_path / "x").exists() == written


# Killed


def n_saved(folder: Path) -> int:
    """How many steps the checkpoint holds, which is whole at any moment."""
    return len(load_checkpoint(folder).run["run.losses"])


def start_and_kill(folder: Path, options: list[str]) -> None:
    """Train in another process; kill it at some moment after it has saved a step."""

    def age() -> int:
        path = checkpoint_path(folder)
        return path.stat().st_mtime_ns if path.exists() else 0

    ages, words = {age()}, [sys.executable, "-m", "lib.train", *options]
    words += ["--out", str(folder), "--every", "1", "--device", "cpu"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            while len(ages) < 3:  # the first one may be of step 0
                assert process.poll() is None
                time.sleep(0.01)
                ages.add(age())
            time.sleep(dice.uniform(0, 0.2))
        finally:
            process.kill()
    assert process.returncode == KILLED  # it had not come to its end


def test_a_run_that_is_killed_twice_ends_as_one_that_is_not(tmp_path):
    s = settings(tmp_path, n_steps=60, dropout=0.1)
    given = ["--preset", "demo", "--batch-size", "4", "--steps", "60", "--warmup", "2"]
    given += ["--dropout", "0.1", "--text", s.text]
    start_and_kill(tmp_path / "killed", given)
    first = n_saved(tmp_path / "killed")
    start_and_kill(tmp_path / "killed", ["--resume"])
    assert 0 < first < n_saved(tmp_path / "killed") < 60
    resumed = Run.resume(tmp_path / "killed", "cpu")
    resumed.train(60)
    whole = Run.new(tmp_path / "whole", s, "cpu")
    whole.train(60)
    assert resumed.training.losses == whole.training.losses
    assert resumed.training.validation[-1] == whole.training.validation[-1]
    assert os.listdir(tmp_path / "killed") == ["checkpoint.safetensors"]
    assert whole.training.losses[-1] < 0.9 * whole.training.losses[0]
