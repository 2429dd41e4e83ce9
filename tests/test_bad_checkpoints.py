"""Bad input is named and nothing is lost: damaged files, foreign ones, full disks."""

import errno
import json
import os
import random as dice
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lib.models.gpt import GPT
from lib.models.presets import preset_config
from lib.models.tensor_table import TensorFile
from lib.text.bpe import BPETokenizer
from lib.train import Training, tensor_file
from lib.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lib.train.settings import TrainConfig


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A checkpoint with all that one can hold: a small model, a vocabulary, a run."""
    torch.manual_seed(0)
    sizes = {"d_model": 4, "n_heads": 1, "n_layers": 1, "d_ff": 4, "context_length": 4}
    model = GPT(preset_config("demo", vocab_size=260, **sizes))
    training = Training(model, TrainConfig(3, optimizer="muon"))
    ids = torch.arange(8).view(2, 4)
    training.step((ids, ids + 1))
    path = tmp_path_factory.mktemp("good") / "checkpoint.safetensors"
    tokenizer = BPETokenizer.train("na na na na naïve", 260, ["<|end|>"])
    generator = torch.Generator().manual_seed(0)
    save_checkpoint(path, model, tokenizer, training, generator, command="é", seed=7)
    return path


def said(loaded: Checkpoint) -> list:
    """All that a checkpoint says, in a form that can be compared."""
    tensors = loaded.model.state_dict() | loaded.run
    tokenizer = loaded.tokenizer
    return [
        {name: (t.dtype, t.tolist()) for name, t in tensors.items()},
        [loaded.model.config, loaded.notes, tokenizer.merges, tokenizer.special_tokens],
    ]


def rewrite(good: Path, path: Path, tensors=None, raw=None, **metadata) -> Path:
    """A copy of the good file with other tensors or metadata, and the right sum."""
    with safe_open(good, "pt") as file:
        old = {name: file.get_tensor(name) for name in file.keys()}
        about = file.metadata()
    tensors = {n: t for n, t in (old | (tensors or {})).items() if t is not None}
    about |= {name: json.dumps(v) for name, v in metadata.items()} | (raw or {})
    del about["sha256"]
    about["sha256"] = tensor_file._sum(tensors, about)
    save_file(tensors, path, about)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path)
    assert repr(str(path)) in str(caught.value) and "\n" not in str(caught.value)


def test_a_copy_of_the_good_file_is_good(good, tmp_path):
    expected = said(load_checkpoint(good))
    assert said(load_checkpoint(rewrite(good, tmp_path / "x"))) == expected


# Damaged files


def test_no_flipped_bit_goes_unseen(good, tmp_path):
    data, expected = good.read_bytes(), said(load_checkpoint(good))
    head, path = 8 + int.from_bytes(data[:8], "little"), tmp_path / "flipped"
    draw = dice.Random(0)
    bits = list(range(64))  # the length of the header
    bits += [draw.randrange(64, 8 * head) for _ in range(120)]
    bits += [draw.randrange(8 * head, 8 * len(data)) for _ in range(30)]
    n_refused = 0
    for bit in bits:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            loaded = load_checkpoint(path)
        except ValueError as error:
            assert repr(str(path)) in str(error), error
            n_refused += 1
        else:
            assert said(loaded) == expected
    assert n_refused > 0.95 * len(bits)


def test_a_file_that_was_cut_off(good, tmp_path):
    data, path = good.read_bytes(), tmp_path / "cut"
    places = [*range(0, 12), *range(12, len(data), len(data) // 30), len(data) - 1]
    for place in places:
        path.write_bytes(data[:place])
        refused(path, "damaged")
    path.write_bytes(data + b"\0")
    refused(path, "damaged")


def test_a_file_that_is_saved_anew_while_it_is_read(good, tmp_path, monkeypatch):
    """A training run may save between the header and the tensors."""
    path, newer = tmp_path / "x", tmp_path / "newer"
    save_again(good, path)
    rewrite(good, newer)
    expected = load_checkpoint(path)

    def read(self, name, read_tensor=TensorFile.read):
        if newer.exists():
            newer.replace(path)
        return read_tensor(self, name)

    monkeypatch.setattr(TensorFile, "read", read)
    loaded = load_checkpoint(path)
    assert loaded.notes == expected.notes == {"seed": 8} and not newer.exists()
    assert said(load_checkpoint(path)) == said(load_checkpoint(good))


@pytest.mark.parametrize("how", ["cut", "emptied"])
def test_a_file_that_is_cut_off_while_it_is_used(good, tmp_path, monkeypatch, how):
    """What was read is in memory; a map of the file would end the program."""
    path = tmp_path / "x"
    path.write_bytes(good.read_bytes())
    loaded = load_checkpoint(path)
    os.truncate(path, 100 if how == "cut" else 0)
    assert said(loaded) == said(load_checkpoint(good))
    path.write_bytes(good.read_bytes())

    def read(self, name, read_tensor=TensorFile.read):
        os.truncate(path, 100 if how == "cut" else 0)
        return read_tensor(self, name)

    monkeypatch.setattr(TensorFile, "read", read)
    refused(path, "ends before the end of")


def test_a_file_of_anything(tmp_path):
    draw, path = dice.Random(0), tmp_path / "noise"
    for n in (1, 7, 8, 9, 100, 10_000):
        for first in (b"", (n // 2).to_bytes(8, "little") + b"{"):
            path.write_bytes(first + draw.randbytes(n))
            refused(path, "damaged")
    path.write_text("A text, and no checkpoint.\n" * 9, "utf-8")
    refused(path, "damaged")


def test_a_missing_file_and_a_folder_without_one(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(FileNotFoundError, match="there is no such checkpoint"):
            load_checkpoint(path)


# Files of another kind


def test_weights_of_somebody_else(good, tmp_path):
    path = tmp_path / "foreign"
    for metadata in (None, {"format": "pt"}, {"format": "1", "sha256": "0"}):
        save_file({"wte.weight": torch.zeros(3)}, path, metadata)
        refused(path, "is no checkpoint of this course")


@pytest.mark.parametrize("version", [2, 99, "new", None])
def test_a_later_format(good, tmp_path, version):
    path = rewrite(good, tmp_path / "later", format=version)
    written = json.dumps(version)
    refused(path, f"has format {written}; .* reads format 1: update the course")


@pytest.mark.parametrize(
    "tensors, message",
    [
        (
            {"model.head.weight": torch.zeros(259, 4)},
            r"head.weight is \(259, 4\), but the model has \(260, 4\)",
        ),
        (
            {"model.head.weight": torch.zeros(4, 260)},
            r"head.weight is \(4, 260\), but the model has \(260, 4\)",
        ),
        ({"model.head.bias": None}, r"head.bias is missing, but the model has \(260,"),
        ({"model.wing": torch.zeros(2)}, r"wing is \(2,\), but .* no such weight"),
    ],
)
def test_weights_that_do_not_fit_their_model(good, tmp_path, tensors, message):
    refused(rewrite(good, tmp_path / "bad", tensors), message)


@pytest.mark.parametrize(
    "model, message",
    [
        ({"model": "rnn"}, "model='rnn' must be in"),
        ({"model": "gpt", "n_wings": 2}, "does not fit.*n_wings"),
        ({"model": "gpt", "d_model": 0}, "d_model=0 must be at least 1"),
    ],
)
def test_a_configuration_that_does_not_exist(good, tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        load_checkpoint(rewrite(good, tmp_path / "bad", model=model))


# Places that cannot be written


def save_again(good: Path, path: Path) -> None:
    save_checkpoint(path, load_checkpoint(good).model, seed=8)


def test_a_folder_that_is_none(good, tmp_path):
    (tmp_path / "file").write_text("I am a file.", "utf-8")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "runs" / "x"):
        with pytest.raises(OSError, match="x' cannot be written"):
            save_again(good, path)
    assert (tmp_path / "file").read_text("utf-8") == "I am a file."
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_where_a_folder_is(good, tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(OSError, match="x' cannot be written"):
        save_again(good, tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"] and os.listdir(tmp_path / "x") == ["y"]


def test_folders_on_the_way_are_made(good, tmp_path):
    save_again(good, tmp_path / "a" / "b" / "x")
    assert load_checkpoint(tmp_path / "a" / "b" / "x").notes == {"seed": 8}


def full(tensors, path, metadata):
    Path(path).write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def no_fsync(number):
    raise OSError(errno.EIO, "Input/output error")


def no_replace(self, target):
    raise OSError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    "place, broken",
    [
        ("lib.train.tensor_file.save_file", full),
        ("lib.text.files.os.fsync", no_fsync),
        ("pathlib.Path.replace", no_replace),
    ],
)
def test_a_failed_write_leaves_the_old_file(good, tmp_path, monkeypatch, place, broken):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(good.read_bytes())
    monkeypatch.setattr(place, broken)
    with pytest.raises(OSError, match="checkpoint.safetensors' cannot be written: "):
        save_again(good, path)
    assert path.read_bytes() == good.read_bytes()
    assert os.listdir(tmp_path) == [path.name]


def test_a_disk_that_is_full_halfway(good, tmp_path):
    """The same with the operating system's own error: files may not become large."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(good.read_bytes())
    model, before = (
        load_checkpoint(good).model,
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        with pytest.raises(OSError, match="cannot be written: .*[Ff]ile too large"):
            save_checkpoint(path, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == good.read_bytes()
    assert os.listdir(tmp_path) == [path.name]
