"""The commands do what their help says, and name what is wrong in one line."""

import inspect
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib.command_line import run_command
from lib.generate.__main__ import generate_command
from lib.models.__main__ import presets_command
from lib.models.gpt import GPT
from lib.models.presets import PRESETS
from lib.text.tokenizer import CharTokenizer
from lib.train import checkpoint as library
from lib.train.__main__ import train_command
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.train.run import Run

ROOT = Path(__file__).parents[1]
TEXT = "To be, or not to be: that is the question.\n" * 45


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command here, in an empty folder; return its status, output and error."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, "utf-8")

    def start(function, *words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(function)
        output, error = capsys.readouterr()
        if isinstance(end.value.code, str):  # Python writes it to stderr, status 1
            return 1, output, end.value.code
        return end.value.code or 0, output, error

    return start


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a finished run that writes a little like its text."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, "utf-8")
    words = ["--steps", "40", "--batch-size", "8", "--text", folder / "text.txt"]
    words += ["--preset", "demo", "--out", folder / "run", "--device", "cpu"]
    before, sys.argv = sys.argv, ["lib.train", *map(str, words)]
    try:
        with pytest.raises(SystemExit):
            run_command(train_command)
    finally:
        sys.argv = before
    return folder / "run"


SHORT = ["--preset", "demo", "--text", "text.txt", "--batch-size", 4, "--out", "run"]
SHORT += ["--device", "cpu"]


# Training


def test_training_says_what_it_does_and_keeps_notes(command):
    status, output, error = command(train_command, *SHORT, "--steps", 5, "--seed", 7)
    assert (status, error) == (0, "")
    lines = output.splitlines()
    n_tokens = int(0.9 * len(TEXT))
    assert re.fullmatch(
        rf"demo: [\d,]+ parameters on cpu; {n_tokens:,} tokens; steps 0 to 5", lines[0]
    )
    assert re.fullmatch(r"step 5: validation loss \d\.\d{4} nats per token", lines[1])
    assert "python -m lib.generate run" in lines[2]
    notes = load_checkpoint("run").notes
    assert notes["seed"] == 7 and notes["data"] == "text.txt"
    assert notes["command"].startswith("python -m lib.train --preset demo --text")
    assert [n for n, _ in notes["validation"]] == [1, 2, 3, 4, 5]
    assert len(notes["data_sha256"]) == 64


def test_epochs_are_passes_over_the_training_text(command):
    command(train_command, *SHORT, "--epochs", 0.5, "--every", 4)
    notes = load_checkpoint("run").notes
    n_steps = -(-0.5 * int(0.9 * len(TEXT)) // (4 * 32))  # rounded up
    assert notes["config"]["n_steps"] == n_steps
    assert [n for n, _ in notes["validation"]] == [4, n_steps]


def test_options_reach_the_run(command):
    given = {"context-length": 9, "vocab-size": 270, "tokenizer": "bpe"}
    given |= {"optimizer": "adamw", "learning-rate": 0.01, "clip": 0.5, "dropout": 0.2}
    given |= {"schedule": "cosine", "warmup": 3, "accumulation": 2, "steps": 2}
    given |= {"weight-decay": 0.1, "muon-learning-rate": 0.03, "dtype": "float32"}
    words = [w for name, value in given.items() for w in (f"--{name}", value)]
    assert command(train_command, *SHORT, *words)[0] == 0
    loaded = load_checkpoint("run")
    config = loaded.model.config
    assert (config.context_length, config.dropout, config.vocab_size) == (9, 0.2, 270)
    assert loaded.tokenizer.vocab_size == 270
    settings = loaded.notes["settings"]
    names = {"steps": "n_steps", "warmup": "n_warmup"}
    names |= {n: n.replace("-", "_") for n in given if n not in names}
    assert {n: settings[names[n]] for n in given} == given
    config = loaded.notes["config"]
    assert config["optimizer"] == "adamw" and config["n_warmup"] == 3


def test_ctrl_c_says_how_to_go_on_and_that_works(command, monkeypatch):
    draw, calls = Run.next_batch, []

    def next_batch(self):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return draw(self)

    monkeypatch.setattr(Run, "next_batch", next_batch)
    words = [*SHORT, "--steps", 6, "--every", 2]
    status, output, _ = command(train_command, *words)
    assert status == 130
    assert "stopped after step 3; go on with python -m lib.train --out run" in output
    assert len(load_checkpoint("run").run["run.losses"]) == 3
    for changed in (["--steps", 7], ["--seed", 1], ["--text", "other.txt"]):
        status, _, error = command(train_command, "--out", "run", "--resume", *changed)
        assert status == 1 and error.startswith(f"error: {changed[0]} ")
        assert "cannot change: the run in run has" in error
    status, output, _ = command(
        train_command, "--out", "run", "--resume", "--steps", 6, "--every", 2
    )
    assert status == 0 and "steps 3 to 6" in output
    notes = load_checkpoint("run").notes
    assert [n for n, _ in notes["validation"]] == [2, 4, 6]
    assert "--resume" not in notes["command"]
    command(train_command, *[w if w != "run" else "whole" for w in words])
    losses = [load_checkpoint(f).run["run.losses"].tolist() for f in ("run", "whole")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--preset", "gpt5"], "preset 'gpt5' must be one of demo, bigram, "),
        (["--text", "none.txt"], "path='none.txt' cannot be read"),
        (["--text", "latin.txt"], "latin.txt.* is not utf-8 at byte"),
        (["--text", "empty.txt"], "empty.txt|text=''"),
        (["--text", "short.txt"], "short.txt' has 200 characters; it must have 1,000"),
        (
            ["--context-length", 300],
            "text has 194 tokens; context_length=300 needs 301",
        ),
        (["--device", "abacus"], "device='abacus' cannot be used here"),
        (["--device", "cuda:77"], "device='cuda:77' cannot be used here"),
        (["--optimizer", "sgd"], "optimizer='sgd' must be in"),
        (["--schedule", "step"], "schedule='step' must be in"),
        (["--dtype", "int8"], "dtype='int8' must be in"),
        (["--tokenizer", "words"], "tokenizer='words' must be auto, characters or bpe"),
        (["--vocab-size", 99], "vocab_size=99 is too small"),
        (["--vocab-size", 999], "vocab_size=999 is more than the text has"),
        (["--tokenizer", "characters", "--vocab-size", 99], "needs tokenizer='bpe'"),
        (["--steps", 0], "n_steps=0 must be at least 1"),
        (["--epochs", 0], "epochs=0.0 must be above 0"),
        (["--batch-size", 0], "batch_size=0 must be at least 1"),
        (["--context-length", 0], "context_length=0 must be at least 1"),
        (["--learning-rate", 0], "learning_rate=0.0 must be above 0"),
        (["--learning-rate", "nan"], "learning_rate=nan must be above 0 and finite"),
        (["--learning-rate", "inf"], "learning_rate=inf must be above 0 and finite"),
        (["--muon-learning-rate", "inf"], "muon_learning_rate=inf must be above 0"),
        (["--weight-decay", "nan"], "weight_decay=nan must be 0 or more"),
        (["--schedule", "noam", "--warmup", 0], "n_warmup=0 must be at least 1"),
        (["--every", -1], "every=-1 must be at least 1"),
        (["--every", 0], "every=0 must be at least 1"),
        (["--warmup", -3], "n_warmup=-3 must be 0 or more"),
        (["--clip", 0], "clip=0.0 must be above 0"),
        (["--dropout", 1], r"dropout=1.0 must lie in \[0, 1\)"),
        (["--preset", "bigram", "--dropout", 0.1], "preset 'bigram' has no dropout"),
        (["--out", "text.txt/x"], "cannot be written"),
    ],
)
def test_what_cannot_be_trained(command, words, message):
    Path("latin.txt").write_bytes(b"x" * 999 + b"\xe9" + b"x" * 99)
    Path("empty.txt").touch()
    Path("short.txt").write_text(TEXT[:200], "utf-8")
    status, output, error = command(train_command, *SHORT, "--steps", 2, *words)
    assert status == 1 and error.startswith("error: ")
    assert re.search(message, error) and "\n" not in error
    assert not Path("run").exists()


def is_finite(folder: str) -> bool:
    model = load_checkpoint(folder).model
    return all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_that_is_lost_ends_in_one_line_and_keeps_what_was_good(
    command, optimizer
):
    rates = ["--learning-rate", 1e38, "--muon-learning-rate", 1e38, "--warmup", 0]
    words = [*SHORT, "--steps", 9, "--every", 1, "--optimizer", optimizer, *rates]
    status, _, error = command(train_command, *words)
    assert status == 1 and re.match("error: .*(nan|inf) after . updates must", error)
    assert "\n" not in error and "what was saved before stays" in error
    assert is_finite("run") and len(load_checkpoint("run").run["run.losses"]) == 0


def test_a_run_that_is_lost_late_keeps_its_last_good_checkpoint(command, monkeypatch):
    draw, calls = Run.next_batch, []

    def next_batch(self):
        calls.append(1)
        if len(calls) == 6:
            self.training.model.head.bias.data[0] = float("nan")
        return draw(self)

    monkeypatch.setattr(Run, "next_batch", next_batch)
    status, _, error = command(train_command, *SHORT, "--steps", 9, "--every", 2)
    assert status == 1 and error.startswith("error: loss=nan after 5 updates must be")
    assert is_finite("run") and len(load_checkpoint("run").run["run.losses"]) == 4
    words = ["run", "--length", 5, "--prompt", "To", "--device", "cpu"]
    assert command(generate_command, *words)[0] == 0


def test_a_folder_that_holds_a_run_is_not_overwritten(command, trained):
    before = (trained / "checkpoint.safetensors").read_bytes()
    status, _, error = command(train_command, *SHORT, "--out", trained)
    assert status == 1 and "is there already: --resume its run, or move it" in error
    assert (trained / "checkpoint.safetensors").read_bytes() == before
    status, _, error = command(train_command, "--out", "nowhere", "--resume")
    assert status == 1 and "there is no such checkpoint" in error


# Writing


def write(command, trained, *words) -> str:
    status, output, error = command(
        generate_command, trained, "--prompt", "To be", "--device", "cpu", *words
    )
    assert (status, error) == (0, "")
    assert output.startswith("To be") and output.endswith("\n")
    return output.removeprefix("To be").removesuffix("\n")


def test_writing_greedily(command, trained):
    text = write(command, trained, "--strategy", "greedy", "--length", 40)
    assert len(text) == 40 and set(text) <= set(TEXT)
    assert write(command, trained, "--temperature", 0, "--length", 40) == text
    assert write(command, trained, "--top-k", 1, "--length", 40) == text
    path = trained / "checkpoint.safetensors"
    assert write(command, path, "--temperature", 0, "--length", 40) == text
    no_cache = ["--no-cache", "--temperature", 0, "--length", 40]
    assert write(command, trained, *no_cache) == text


def test_the_same_seed_writes_the_same_text(command, trained):
    for how in (["--top-k", 5], ["--strategy", "top-p"], ["--temperature", 2]):
        one, same, other = (
            write(command, trained, *how, "--length", 30, "--seed", seed)
            for seed in (1, 1, 2)
        )
        assert one == same != other
        assert write(command, trained, *how, "--length", 30) != one


def test_strategies_by_name_have_their_defaults(command, trained):
    for name, same in (("top-k", ["--top-k", 10]), ("top-p", ["--top-p", 0.9])):
        ours, expected = (
            write(command, trained, *how, "--seed", 3, "--length", 40)
            for how in (["--strategy", name], same)
        )
        assert ours == expected
        assert ours != write(command, trained, "--seed", 3, "--length", 40)
    words = ["--seed", 3, "--length", 40]
    sampled = write(command, trained, "--strategy", "sample", *words)
    assert sampled == write(command, trained, *words)


def test_writing_ends_before_a_stop(command, trained):
    whole = write(command, trained, "--seed", 5, "--length", 50)
    stop = whole[30:33]
    assert (
        write(command, trained, "--seed", 5, "--length", 50, "--stop", stop)
        == whole[: whole.index(stop)]
    )


def test_writing_with_a_draft(command, trained):
    path = ROOT / "data/gpt-mini.safetensors"
    words = ["--prompt", "To", "--device", "cpu", "--length", 30]
    status, output, error = command(generate_command, path, *words, "--draft", path)
    assert status == 0 and output.startswith("To") and len(output) == 2 + 30 + 1
    n_accepted, n_drafted = re.match(r"accepted (\d+) of (\d+) drafted", error).groups()
    assert n_accepted == n_drafted and error.endswith(" in 6 passes\n")
    greedy = command(generate_command, path, *words, "--strategy", "greedy")[1]
    draft = ["--strategy", "greedy", "--draft", path]
    assert command(generate_command, path, *words, *draft)[1] == greedy


def test_a_draft_that_does_not_fit(command, trained):
    path = ROOT / "data/gpt-mini.safetensors"
    words = [trained, "--length", 3, "--draft", path]
    status, _, error = command(generate_command, *words)
    assert status == 1 and "--draft has another vocabulary" in error
    translator = ROOT / "data/translator.safetensors"
    status, _, error = command(generate_command, path, "--draft", translator)
    assert status == 1 and "holds no language model but a translator" in error
    for other in (
        ["--chat"],
        ["--no-cache"],
        ["--stop", "x"],
        ["--repetition-penalty", 2],
    ):
        status, _, error = command(generate_command, *words, *other)
        assert status == 1 and error.startswith(f"error: {other[0]}")
        assert error.endswith("does not go with --draft")


def test_several_samples_are_set_apart(command, trained):
    words = ["--samples", 3, "--length", 10, "--seed", 1, "--prompt", "be"]
    output = command(generate_command, trained, *words)[1]
    texts = output.split("-" * 40 + "\n")
    assert len(set(texts)) == 3 and all(t.startswith("be") for t in texts)
    assert [len(t) for t in texts] == [13] * 3


@pytest.mark.parametrize(
    "words, message",
    [
        (["--prompt", "To bé"], r"text\[4\]='é' is not in the vocabulary"),
        (["--prompt", ""], "prompt='' is empty"),
        (["--stop", ""], "stop='' is in every text"),
        (["--length", -1], "n_new=-1 must be 0 or more"),
        (["--temperature", -1], "temperature=-1.0 must be 0 or more"),
        (["--top-k", 0], "k=0 must be at least 1"),
        (["--strategy", "top-k", "--top-k", 0], "k=0 must be at least 1"),
        (["--strategy", "top-p", "--top-p", 0], "p=0.0 must be above 0"),
        (["--top-p", 2], "p=2.0 must be above 0 and at most 1"),
        (["--repetition-penalty", 0], "penalty=0.0 must be above 0"),
        (["--repetition-penalty", "nan"], "penalty=nan must be above 0, and finite"),
        (["--repetition-penalty", "inf"], "penalty=inf must be above 0, and finite"),
        (["--temperature", "nan"], "temperature=nan must be 0 or more, and finite"),
        (["--temperature", "inf"], "temperature=inf must be 0 or more, and finite"),
        (["--top-p", "nan"], "p=nan must be above 0 and at most 1"),
        (["--strategy", "beam"], "strategy='beam' must be one of greedy, sample,"),
        (["--strategy", "greedy", "--top-k", 3], "--top-k 3 does not go with .*greedy"),
        (["--strategy", "greedy", "--temperature", 0.5], "--temperature 0.5 does not"),
        (["--strategy", "sample", "--top-p", 0.5], "--top-p 0.5 does not go with"),
        (["--strategy", "top-k", "--top-p", 0.5], "--top-p 0.5 does not go with"),
        (["--strategy", "top-p", "--top-k", 5], "--top-k 5 does not go with .*top-p"),
        (["--device", "abacus"], "device='abacus' cannot be used here"),
    ],
)
def test_what_cannot_be_written(command, trained, words, message):
    words = ["--prompt", "To", "--length", 3, *words]
    status, _, error = command(generate_command, trained, *words)
    assert status == 1 and error.startswith("error: ")
    assert re.search(message, error) and "\n" not in error


def test_writing_with_what_is_no_checkpoint(command):
    status, _, error = command(generate_command, "nowhere")
    assert status == 1 and "there is no such checkpoint" in error
    Path("x.safetensors").write_text(TEXT, "utf-8")
    for path in ("text.txt", "x.safetensors"):
        status, _, error = command(generate_command, path)
        assert status == 1 and "is damaged" in error
    save_checkpoint("x.safetensors", GPT(PRESETS["demo"]))
    assert "holds no vocabulary" in command(generate_command, "x.safetensors")[2]


def test_writing_with_a_translator_or_damaged_weights(command, trained, monkeypatch):
    status, _, error = command(generate_command, ROOT / "data/translator.safetensors")
    assert status == 1 and "a translator: python -m lib.translate --model " in error
    status, _, error = command(train_command, "--resume", "--out", ROOT / "data" / "x")
    assert status == 1 and "there is no such checkpoint" in error
    words = ["--resume", "--out", ROOT / "data/translator.safetensors"]
    status, _, error = command(train_command, *words)
    assert status == 1 and "holds no run of lib.train to go on with" in error
    checkpoint = load_checkpoint(trained)
    checkpoint.model.head.weight.data[3] = math.nan
    words = ("x.safetensors", checkpoint.model, checkpoint.tokenizer)
    with pytest.raises(ValueError, match="head.weight has numbers that are not finite"):
        save_checkpoint(*words)
    with monkeypatch.context() as damaged:
        damaged.setattr(library, "require_sound", lambda tensors: None)
        save_checkpoint(*words)
    status, _, error = command(generate_command, "x.safetensors", "--prompt", "To")
    assert status == 1 and error == (
        "error: path='x.safetensors': model.head.weight has numbers that are not finite"
    )


def test_a_tiny_temperature_writes_greedily(command, trained):
    words = [trained, "--prompt", "To", "--length", 30]
    greedy = command(generate_command, *words, "--temperature", 0)
    assert command(generate_command, *words, "--temperature", "1e-320") == greedy
    assert command(generate_command, *words, "--top-p", "1e-300") == greedy


def test_a_vocabulary_without_a_new_line_has_a_default_prompt(command):
    save_checkpoint("x.safetensors", GPT(PRESETS["demo"]), CharTokenizer("bcdefghijk"))
    status, output, _ = command(generate_command, "x.safetensors", "--length", 3)
    assert status == 0 and output.startswith("b") and len(output) == 5


def test_the_commands_that_are_printed_can_be_pasted(command):
    words = [*SHORT, "--steps", 1, "--out", "my run's"]
    status, output, _ = command(train_command, *words)
    (printed,) = [line for line in output.splitlines() if "lib.generate" in line]
    assert status == 0 and "my run's" in shlex.split(printed.partition(": ")[2])


# Help


def test_the_list_of_presets(command):
    status, output, _ = command(presets_command)
    lines = output.splitlines()
    assert status == 0 and [line.split()[0] for line in lines[1:]] == [*PRESETS]
    assert "gpt2           124,439,808     12    12   768   1,024 50,257" in lines


@pytest.mark.parametrize("function", [train_command, generate_command])
def test_the_help_explains_every_option(command, function):
    status, output, _ = command(function, "--help")
    assert status == 0 and "Example: python -m lib." in output
    names = {
        n.strip("_").removeprefix("n_").replace("_", "-")
        for n in inspect.signature(function).parameters
    }
    for name in names - {"context", "path"}:
        assert re.search(rf"--{name}\b(.*\n)?.* [\w\n]", output), name
    entries = re.split(r"\n  (?=-)", output.split("Options:")[1])[1:]
    for entry in entries:
        words = re.sub(
            r"--?[\w-]+|\b(TEXT|INTEGER|FLOAT|PATH)\b|\[.*?\]|[,/]", "", entry
        )
        assert len(words.split()) >= 2, entry
    assert len(entries) >= len(names) - 2


def test_unknown_and_missing_options(command):
    status, _, error = command(train_command, "--preset", "demo")
    assert status == 2 and "Missing option '--out'" in error
    status, _, error = command(train_command, *SHORT, "--colour", "red")
    assert status == 2 and "No such option" in error
    status, _, error = command(train_command, *SHORT, "--steps", "many")
    assert status == 2 and "Invalid value for '--steps'" in error


def test_recomputed_activations_change_no_number(command):
    outputs = []
    for words in ([], ["--recompute"]):
        words = [*SHORT[:-4], *words, "--steps", 3, "--dropout", 0.2]
        words += ["--device", "cpu", "--out", f"run{len(outputs)}"]
        status, output, error = command(train_command, *words)
        assert (status, error) == (0, "")
        outputs.append(output.splitlines()[1])
    assert outputs[0] == outputs[1]


def test_a_model_without_blocks_and_a_process_that_is_alone(command):
    status, _, error = command(train_command, *SHORT, "--parallel", "zero1")
    assert status == 1 and "parallel='zero1' needs several processes" in error
    status, _, error = command(train_command, *SHORT, "--parallel", "all")
    assert status == 1 and "parallel='all' must be in ['ddp', 'zero1', 'fsdp']" in error
    words = [*SHORT[2:], "--preset", "bigram", "--recompute"]
    status, _, error = command(train_command, *words)
    assert status == 1 and "BigramLM without blocks: nothing to recompute" in error
    assert not Path("run").exists()


# In processes of their own


def python(*words) -> subprocess.Popen:
    words = [sys.executable, "-m", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, encoding="utf-8")


def test_the_modules_are_commands(trained):
    good = python("lib.generate", trained, "--prompt", "To be", "--length", 20)
    bad = python("lib.generate", trained, "--prompt", "é", "--length", 5)
    output, error = good.communicate()
    assert good.returncode == 0 and error == "" and len(output) == 5 + 20 + 1
    output, error = bad.communicate()
    assert bad.returncode == 1 and re.fullmatch("error: text.0.='é' is not .*\n", error)
