"""The translator as a command and as a file, and how its work is judged."""

import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from against_torch import assert_near

from lib.command_line import run_command
from lib.evaluate.attention_maps import attention_maps
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.models.gpt import GPT
from lib.models.presets import PRESETS
from lib.tasks.english_french import Pair, translation_data
from lib.text.tokenizer import CharTokenizer, WordTokenizer
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.train.settings import TrainConfig
from lib.translate import translate
from lib.translate.__main__ import translate_command
from lib.translate.translator import (
    TRAINING,
    alignment,
    exact_match,
    train_translator,
)

SENTENCE = "the small boy does not see the black cats"


def steps(n: int) -> TrainConfig:
    return TrainConfig(n, **TRAINING)


@pytest.fixture(scope="module")
def data():
    return translation_data(3_000, 6)


@pytest.fixture(scope="module")
def trained(data):
    """A translator after few steps, and its vocabularies."""
    return train_translator(data, steps(2))


@pytest.fixture
def command(monkeypatch, capsys, tmp_path, data, trained):
    """Run the command in a folder with a translator; return status, output, error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lib.translate.__main__.translation_data", lambda: data)
    model, *tokenizers = trained
    save_checkpoint("old.safetensors", model, tuple(tokenizers))

    def start(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(translate_command)
        output, error = capsys.readouterr()
        if isinstance(end.value.code, str):
            return 1, output, end.value.code
        return end.value.code or 0, output, error

    return start


def eager_to_end(trained, bias: float) -> Transformer:
    """A copy of the translator that likes to end, or does not."""
    model, source, target = trained
    copy = Transformer(
        TransformerConfig(source.vocab_size, target.vocab_size, **own(model))
    ).eval()
    copy.load_state_dict(model.state_dict())
    copy.head.bias = torch.nn.Parameter(torch.zeros(target.vocab_size))
    copy.head.bias.data[2] = bias
    return copy


def own(model: Transformer) -> dict:
    sizes = vars(model.config).items()
    return {name: value for name, value in sizes if "vocab_size" not in name}


# Training


def test_the_same_seed_trains_the_same_translator(data, trained):
    again, other = (
        train_translator(data, steps(2))[0],
        train_translator(data, steps(1), 3)[0],
    )
    same = trained[0].state_dict()
    assert all(torch.equal(w, same[n]) for n, w in again.state_dict().items())
    assert not torch.equal(again.head.weight, other.head.weight)
    assert not again.training


def test_its_vocabularies_are_those_of_the_training_pairs(data, trained):
    model, source, target = trained
    assert source.words[3:] == sorted({w for p in data.train for w in p[0].split()})
    assert target.words[3:] == sorted({w for p in data.train for w in p[1].split()})
    c = model.config
    assert (c.src_vocab_size, c.tgt_vocab_size) == (110, 157)
    with pytest.raises(ValueError, match="n_steps=0 must be at least 1"):
        train_translator(data, steps(0))


def test_the_share_of_right_translations():
    pairs = [Pair("", text, ()) for text in ("le chat", "un chien", "la reine")]
    assert exact_match(["le chat", "un chat", "la reine"], pairs) == 2 / 3
    with pytest.raises(ValueError):
        exact_match(["le chat"], pairs)


# Alignment


@pytest.mark.parametrize("n_beams", [1, 3])
def test_an_alignment_names_the_word_that_was_looked_at_most(trained, n_beams):
    model, source, target = trained
    rows = alignment(model, source, target, SENTENCE, n_beams)
    french = translate(model, source, target, [SENTENCE], n_beams)[0]
    assert [word for word, _, _ in rows] == french.split()
    src = torch.tensor([[*source.encode(SENTENCE), 2]])
    tgt = torch.tensor([[1, *target.encode(french)]])
    weights = attention_maps(model, src, tgt)[-1].mean(1)[0]  # (T, S)
    assert weights.shape == (tgt.size(1), src.size(1))
    places = [*SENTENCE.split(), "<eos>"]
    for row, (_, english, share) in zip(weights, rows):
        assert english == places[row.argmax()]
        assert share == pytest.approx(row.max().item(), abs=1e-5) and 0 < share <= 1


def test_a_translation_without_a_word_has_no_alignment(trained):
    model = eager_to_end(trained, 1e4)
    assert alignment(model, *trained[1:], SENTENCE) == []


# Files


def test_a_translator_comes_back_with_both_vocabularies(trained, tmp_path):
    model, source, target = trained
    path = tmp_path / "translator.safetensors"
    save_checkpoint(path, model, (source, target), seed=7)
    loaded = load_checkpoint(path)
    assert type(loaded.model) is Transformer and loaded.model.config == model.config
    assert [type(t) for t in loaded.tokenizer] == [WordTokenizer] * 2
    assert [t.words for t in loaded.tokenizer] == [source.words, target.words]
    assert loaded.notes == {"seed": 7}
    src, tgt = torch.tensor([[3, 4, 2]]), torch.tensor([[1, 5]])
    assert torch.equal(loaded.model(src, tgt), model(src, tgt))
    save_checkpoint(path, model, source)
    assert load_checkpoint(path).tokenizer.words == source.words


def test_a_tied_translator_comes_back_tied(tmp_path):
    sizes = {"d_model": 8, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1}
    model = Transformer(TransformerConfig(9, 7, **sizes, d_ff=8)).eval()
    save_checkpoint(tmp_path / "x", model, (CharTokenizer("ab"), CharTokenizer("c")))
    loaded = load_checkpoint(tmp_path / "x")
    assert loaded.model.head.weight is loaded.model.target.weight
    src, tgt = torch.tensor([[3, 8, 2]]), torch.tensor([[1, 5]])
    assert_near(loaded.model(src, tgt), model(src, tgt))
    assert [t.characters for t in loaded.tokenizer] == [["a", "b"], ["c"]]


# The command


def test_training_says_how_good_it_is_keeps_the_translator_and_asks_it(command):
    words = ["--train", "--steps", 1, "--seed", 3, "--out", "new", "--beams", 1]
    status, output, error = command(*words, "--say", SENTENCE)
    assert (status, error) == (0, "")
    lines = output.splitlines()
    assert re.fullmatch(r"[\d,]+ parameters, 1 steps", lines[0])
    for line, kind in zip(lines[1:3], ("unseen", "held-out")):
        pattern = rf"6 {kind} sentences: \d+\.\d% right, BLEU \d+\.\d"
        assert re.fullmatch(pattern, line)
    assert lines[3] == f"kept in {Path('new/checkpoint.safetensors')}"
    loaded = load_checkpoint("new")
    assert loaded.notes["seed"] == 3
    assert (
        loaded.notes["command"] == "python -m lib.translate --train --steps 1 --seed 3"
    )
    asked = command("--say", SENTENCE, "--model", "new", "--beams", 1)[1]
    assert lines[4:] == asked.splitlines()


def test_a_translation_is_shown_with_what_each_word_looked_at(command, trained):
    status, output, error = command("--say", SENTENCE, "--model", "old.safetensors")
    assert (status, error) == (0, "")
    first, *lines = output.splitlines()
    rows = alignment(*trained, SENTENCE, 4)
    assert first == " ".join(word for word, _, _ in rows).replace("' ", "'")
    assert len(lines) == len(rows)
    for line, (word, english, share) in zip(lines, rows):
        assert line.split()[0] == word and line.split()[-1] == english
        assert f"{share:4.0%}" in line


def test_capitals_and_a_full_stop_do_not_matter(command):
    ask = partial(command, "--model", "old.safetensors", "--beams", 1, "--say")
    expected = ask("I see the small boy")[1]
    for same in (
        "I See The Small Boy.",
        "i see the small boy ! ",
        " I  SEE the small boy",
    ):
        assert ask(same)[:2] == (0, expected)


def test_the_number_of_beams_is_the_one_given(command, trained):
    greedy = translate(*trained, [SENTENCE])[0].replace("' ", "'")
    words = ["--say", SENTENCE, "--model", "old.safetensors", "--beams", 1]
    assert command(*words)[1].splitlines()[0] == greedy


def test_a_translator_that_says_nothing(command, monkeypatch):
    monkeypatch.setattr("lib.translate.__main__.alignment", lambda *_: [])
    assert command("--say", "I see him", "--model", "old.safetensors") == (0, "\n", "")


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give a sentence with --say, or train with --train"),
        (["--say", "the red cow"], "word 3, 'cow', is not in the vocabulary of 110"),
        (["--say", ""], "say='' has no words"),
        (["--say", " . "], "say=' . ' has no words"),
        (["--say", "I see him", "--beams", 0], "beams=0 must be at least 1"),
        (["--say", "I see him", "--beams", 999], r"n_beams=999 must be 1 \.\. 157"),
        (["--say", "I see him " * 30], "length=91 is more than context_length=64"),
        (["--say", "I see him", "--model", "none"], "there is no such checkpoint"),
        (["--say", "I see", "--model", "gpt.safetensors"], "holds no translator but"),
        (["--say", "I see him", "--model", "bare.safetensors"], "holds no vocabulary"),
        (["--train"], "--model old.safetensors does not go with --train: see --out"),
    ],
)
def test_what_cannot_be_translated(command, trained, words, message):
    save_checkpoint("gpt.safetensors", GPT(PRESETS["demo"]))
    save_checkpoint("bare.safetensors", trained[0])
    status, output, error = command("--model", "old.safetensors", *words)
    assert status == 1 and error.startswith("error: ") and output == ""
    assert re.search(message, error) and "\n" not in error


def test_a_translator_is_not_overwritten(command):
    before = Path("old.safetensors").read_bytes()
    status, output, error = command("--train", "--steps", 1, "--out", "old.safetensors")
    assert status == 1 and output == ""
    assert "old.safetensors holds a model already: move it, or choose --out" in error
    assert Path("old.safetensors").read_bytes() == before
    assert command("--train", "--steps", 0, "--out", "new")[0] == 1
    assert not Path("new").exists()


def test_the_help_explains_every_option(command):
    status, output, _ = command("--help")
    assert status == 0 and "Example: python -m lib.translate --say" in output
    for name in ("say", "train", "model", "out", "steps", "beams", "seed"):
        assert re.search(rf"--{name}\b[^\n]* [\w\n]", output), name
