"""Files: read within bounds, shown in one line, written together or not at all."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from test_bad_checkpoints import good, rewrite  # noqa: F401

from lib.models import build_model
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import export_gpt2
from lib.models.presets import PRESETS, preset_config
from lib.models.weight_shapes import weight_shapes
from lib.text.files import parse_json, printable, read_json, write_files
from lib.train import Training
from lib.train.checkpoint import load_checkpoint
from lib.train.settings import TrainConfig
from lib.tune.adapter_files import save_adapter
from lib.tune.lora import LoRAConfig, add_lora

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="it has no named pipes")
SMALL = GPTConfig(9, 4, 2, 1, 4, 6)


def test_a_text_from_a_file_is_shown_in_one_line():
    assert printable("\x1b[31m\nrot\ud800\u202e é") == r"\x1b[31m\nrot\ud800\u202e é"
    assert len(printable("x" * 9_999, 100)) < 110


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 65 + "]" * 65, "64 deep are allowed"),
        ("[" * 100_000, "64 deep are allowed"),
        ("[" + "[]," * 2**20 + "1]", "1,048,576 in all"),
        ('{"a": 1, "a": 2}', "it says 'a' twice"),
        ('"' + "\\\\" * 10**5, "Unterminated string"),
        (b"\xff", "utf-8"),
        (b"9" * 5_000, "4300"),
    ],
)
def test_json_that_is_too_much(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text)
    assert parse_json('{"a": "[[[[", "b": "\\\\"}') == {"a": "[[[[", "b": "\\"}


@POSIX
def test_what_has_no_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(OSError, match="must be a file"):
            read_json(path)


@pytest.mark.parametrize("name", PRESETS)
def test_the_weights_of_a_model_are_known_without_building_it(name):
    config = preset_config(name)
    with torch.device("meta"):
        model = build_model(config)
    wanted = {n: tuple(p.shape) for n, p in model.named_parameters()}
    assert weight_shapes(config, 10_000, 10**10) == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"d_model": 10**9},
        {"d_model": 10**30},
        {"n_layers": 10**9},
        {"n_experts": 10**9, "ffn": "gelu"},
        {"context_length": 10**9},
        {"context_length": 10**8, "position": "rotary", "d_model": 4},
        {"context_length": 10**8, "position": "sinusoidal"},
    ],
)
def test_a_small_file_asks_for_a_large_model(good, tmp_path, change):  # noqa: F811
    model = json.loads(parse_metadata(good)["model"]) | change
    path = rewrite(good, tmp_path / "large", model=model)
    with pytest.raises(ValueError, match="large': .*(too large|bytes for its pos|but)"):
        load_checkpoint(path)


def parse_metadata(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size])["__metadata__"]


@pytest.mark.parametrize(
    "name, tensor, words",
    [
        ("model.head.weight", torch.ones(260, 4, dtype=torch.bool), "torch.bool; it m"),
        ("model.head.weight", torch.full((260, 4), torch.nan), "not finite"),
        ("model.head.weight", torch.ones(260, 4).double() * 1e300, "not finite"),
        ("wing", torch.zeros(2), "is no state of a run"),
        ("run.generator", torch.zeros(3, dtype=torch.uint8), "it must be"),
        ("run.torch", None, "is missing"),
        ("optimizer.0.0.exp_avg_sq", torch.full((260, 4), -1.0), "below 0"),
    ],
)
def test_a_tensor_that_is_wrong(good, tmp_path, name, tensor, words):  # noqa: F811
    path = rewrite(good, tmp_path / "wrong", {name: tensor})
    with pytest.raises(ValueError, match=f"wrong': {name}.*{words}"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "name, tensor, words",
    [
        ("optimizer.0.0.exp_avg", torch.zeros(1), "has shape"),
        ("optimizer.0.0.exp_avg", None, "not \\["),
        ("optimizer.0.0.step", torch.tensor(9.0), "must lie in 1"),
        ("optimizer.0.99.step", torch.tensor(1.0), "is the state of no weight"),
        ("optimizer.1.0.momentum_buffer", None, "has no state after 1 steps"),
    ],
)
def test_a_state_of_nothing(good, tmp_path, name, tensor, words):  # noqa: F811
    """PyTorch writes past the end of one that is too small."""
    loaded = load_checkpoint(rewrite(good, tmp_path / "x", {name: tensor}))
    training = Training(GPT(loaded.model.config), TrainConfig(3, optimizer="muon"))
    before = {n: p.clone() for n, p in training.model.named_parameters()}
    with pytest.raises(ValueError, match=words):
        loaded.resume(training, torch.Generator())
    after = dict(training.model.named_parameters())
    assert all(torch.equal(before[n], after[n]) for n in before)


def save_gpt2(folder: Path, n_layers: int) -> None:
    export_gpt2(GPT(GPTConfig(9, 4, 2, n_layers, 4, 6)), folder)


def save_lora(folder: Path, rank: int) -> None:
    model = GPT(SMALL)
    add_lora(model, LoRAConfig(rank=rank))
    save_adapter(folder, model)


@pytest.mark.parametrize("save", [save_gpt2, save_lora])
@pytest.mark.parametrize("n_good", [0, 1])
def test_two_files_take_their_place_together(save, n_good, tmp_path, monkeypatch):
    save(tmp_path / "there", 1)
    replace, taken = Path.replace, []

    def fail_later(self: Path, target: Path) -> None:
        if len(taken) == n_good:
            raise OSError("No space left on device")
        taken.append(target)
        replace(self, target)

    before = {p.name: p.read_bytes() for p in (tmp_path / "there").iterdir()}
    monkeypatch.setattr(Path, "replace", fail_later)
    for folder in ("there", "new"):
        taken.clear()
        with pytest.raises(OSError, match="cannot be written: No space left"):
            save(tmp_path / folder, 2)
    assert {p.name: p.read_bytes() for p in (tmp_path / "there").iterdir()} == before
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("save", [save_gpt2, save_lora])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_rights_of_new_files_are_the_systems(save, mask, tmp_path):
    before = os.umask(mask)
    try:
        save(tmp_path / "x", 1)
    finally:
        os.umask(before)
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "x").iterdir()}
    assert modes == {0o666 & ~mask}


def test_a_draft_of_a_program_that_was_killed_is_removed(tmp_path):
    (tmp_path / "a.tmp").mkdir()
    (tmp_path / "a.tmp" / "half").write_text("half", "utf-8")
    write_files(tmp_path, {"a": lambda place: place.write_text("whole", "utf-8")})
    assert os.listdir(tmp_path) == ["a"]
