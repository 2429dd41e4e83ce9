"""`python -m lib.tune` on a user's own examples, and `--chat` with the result."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from lib.command_line import run_command
from lib.generate.__main__ import generate_command
from lib.models.gpt import GPT, GPTConfig
from lib.text.tokenizer import CharTokenizer
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.tune.__main__ import dpo_command, lora_command, sft_command
from lib.tune.adapter_files import load_adapter

TOKENIZER = CharTokenizer("".join(map(chr, [10, *range(32, 127)])))
QUESTIONS = {"one?": "a", "two?": "bb", "three?": "ccc"}
CONFIG = GPTConfig(
    vocab_size=96,
    d_model=32,
    n_layers=2,
    n_heads=2,
    d_ff=64,
    context_length=48,
    position="rotary",
    tie_weights=False,
    init="fan_in",
)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command beside a base and three files; return status, output, error."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_checkpoint("base.safetensors", GPT(CONFIG), TOKENIZER)
    rows = [{"prompt": q, "answer": a} for q, a in QUESTIONS.items()]
    write("rows.jsonl", rows)
    pairs = [{"prompt": q, "chosen": a, "rejected": "no"} for q, a in QUESTIONS.items()]
    write("pairs.jsonl", pairs)
    Path("text.txt").write_text("to be or not to be\n" * 60, "utf-8")

    def start(function, *words, said: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        with pytest.raises(SystemExit) as end:
            run_command(function)
        output, error = capsys.readouterr()
        if isinstance(end.value.code, str):
            return 1, output, end.value.code
        return end.value.code or 0, output, error

    return start


def write(name: str, rows: list[dict]) -> None:
    Path(name).write_text("\n".join(map(json.dumps, rows)), "utf-8")


def words(data: str = "rows.jsonl", **options) -> list[str]:
    """The words of a command line, with an option for each name."""
    chosen = {"base": "base.safetensors", "data": data, "out": "run", "device": "cpu"}
    chosen |= {"steps": 60, "learning-rate": 0.01, "batch-size": 8} | options
    return [str(x) for name, value in chosen.items() for x in (f"--{name}", value)]


def test_a_model_learns_a_users_rows_and_answers_line_after_line(command):
    status, output, error = command(sft_command, *words())
    assert (status, error) == (0, "")
    assert "talk to it: python -m lib.generate run --chat" in output
    notes = load_checkpoint("run").notes
    assert notes["template"] == "questions" and notes["n_turns"] == 1
    assert notes["base"] == "base.safetensors" and len(notes["data_sha256"]) == 64
    asked = "".join(f"{question}\n\n" for question in QUESTIONS)
    status, output, error = command(generate_command, "run", "--chat", said=asked)
    assert (status, error, output.split()) == (0, "", [*QUESTIONS.values()])


def test_a_line_that_cannot_be_read_is_named_and_the_talk_goes_on(command):
    command(sft_command, *words())
    asked = f"one?\n{'x' * 99}\n\u00e9\ntwo?\n"
    status, output, error = command(generate_command, "run", "--chat", said=asked)
    assert status == 0 and output.split() == ["a", "bb"]
    first, second = error.splitlines()
    assert "106 tokens" in first and "'\u00e9'" in second


def test_an_adapter_is_kept_alone_and_merged(command):
    status, _, _ = command(lora_command, *words(rank=4, alpha=8.0))
    assert status == 0
    model = load_checkpoint("base.safetensors").model
    load_adapter("run/adapter", model)
    ids = torch.tensor([TOKENIZER.encode("Q: three?\nA: ")])
    merged = load_checkpoint("run").model
    assert torch.allclose(model(ids), merged(ids), atol=1e-4)
    assert merged(ids).argmax(dim=-1)[0, -1] == TOKENIZER.ids["c"]


def test_preferences_are_learned_from_a_tuned_model(command):
    command(sft_command, *words(steps=10))
    options = {"base": "run", "out": "better", "steps": 20, "learning-rate": 0.003}
    status, output, _ = command(dpo_command, *words("pairs.jsonl", **options))
    assert status == 0 and "dpo: loss 0.6931" in output
    assert float(output.split("steps ")[1].split()[0]) < 0.3
    assert load_checkpoint("better").notes["settings"]["beta"] == 0.1


def test_what_the_model_comes_from_can_be_replayed(command):
    options = words(steps=2) + ["--replay", 4, "--replay-text", "text.txt"]
    assert command(sft_command, *options)[0] == 0
    status, _, error = command(sft_command, *words(out="other"), "--replay", 4)
    assert status == 1 and "n_replay=4" in error


def test_questions_can_count_too(command):
    status, _, _ = command(sft_command, *words(steps=2), "--no-answers-only")
    assert status == 0
    assert load_checkpoint("run").notes["settings"]["answers_only"] is False


@pytest.mark.parametrize(
    "function, changes, error",
    [
        (sft_command, {"data": "none.jsonl"}, "none.jsonl"),
        (sft_command, {"data": "pairs.jsonl"}, "pairs.jsonl, line 1: it has"),
        (sft_command, {"base": "none.safetensors"}, "no such checkpoint"),
        (sft_command, {"template": "llama"}, "template='llama' must be one of"),
        (sft_command, {"steps": 0}, "n_steps=0"),
        (sft_command, {"batch-size": 0}, "batch_size=0"),
        (lora_command, {"rank": 0}, "rank=0"),
        (lora_command, {"targets": "nowhere"}, "targets='nowhere'"),
        (dpo_command, {"data": "rows.jsonl"}, "rows.jsonl, line 1: it has"),
        (dpo_command, {"data": "pairs.jsonl", "beta": 0}, "beta=0"),
        (dpo_command, {"data": "pairs.jsonl", "loss": "hinge"}, "loss='hinge'"),
    ],
)
def test_a_refused_start_leaves_nothing(command, function, changes, error):
    before = sorted(Path().iterdir())
    status, _, said = command(function, *words(**changes))
    assert status == 1 and error in said and len(said.splitlines()) == 1
    assert sorted(Path().iterdir()) == before


def test_a_folder_with_a_model_is_not_written_over(command):
    command(sft_command, *words(steps=2))
    before = Path("run/checkpoint.safetensors").read_bytes()
    for function in (sft_command, lora_command):
        status, _, error = command(function, *words(steps=2))
        assert status == 1 and "is there already" in error
    assert Path("run/checkpoint.safetensors").read_bytes() == before
    assert not Path("run/adapter").exists()


@pytest.mark.parametrize("option", ["--prompt", "--stop"])
def test_a_talk_takes_its_words_from_its_lines(command, option):
    status, _, error = command(
        generate_command, "base.safetensors", "--chat", option, "x"
    )
    assert status == 1 and f"{option} 'x' does not go with --chat" in error


# What is refused before any work


LORA = ["--base", "base.safetensors", "--steps", 1, "--batch-size", 2]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--out", "m.safetensors"], "out='m.safetensors' must be a folder"),
        (["--out", "taken"], "taken/adapter is there already: move it"),
        (["--out", "x", "--rank", 33], "rank=33 is more than any layer has: 32"),
        (["--out", "x", "--data", "zz"], "data='zz': .*No such file"),
        (["--out", "x", "--data", "."], "data='.': "),
        (["--out", "x", "--accumulation", 3], "accumulation=3 is more than batch_size"),
    ],
)
def test_a_refused_adapter_is_one_line_and_leaves_nothing(command, words, message):
    Path("taken").mkdir()
    Path("taken/adapter").write_text("mine", "utf-8")
    before = sorted(Path().rglob("*"))
    data = [] if "--data" in words else ["--data", "rows.jsonl"]
    status, shown, error = command(lora_command, *LORA, *data, *words)
    assert status == 1 and not shown and "\n" not in error
    assert re.search(message, error.replace("\\", "/"))
    assert sorted(Path().rglob("*")) == before


def test_a_byte_order_mark_is_no_part_of_the_first_row(command):
    rows = Path("rows.jsonl").read_bytes()
    Path("rows.jsonl").write_bytes(b"\xef\xbb\xbf" + rows)
    words = [*LORA, "--data", "rows.jsonl", "--out", "x"]
    assert command(sft_command, *words)[0] == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["--top-p", 2], "p=2.0 must be above 0 and at most 1"),
        (["--temperature", "nan"], "temperature=nan"),
        (["--repetition-penalty", 0], "penalty=0.0"),
        (["--length", -1], "length=-1 must be at least 1"),
        (["--samples", 3], "--samples 3 does not go with --chat"),
    ],
)
def test_chat_refuses_its_settings_before_a_question(command, words, message):
    words = ["base.safetensors", "--chat", *words]
    status, shown, error = command(generate_command, *words)
    assert status == 1 and not shown and message in error


def test_questions_without_an_answer_are_no_success(command):
    words = ["base.safetensors", "--chat", "--length", 2]
    status, shown, error = command(generate_command, *words, said="é\nß\n")
    assert status == 1 and error.count("error: ") == 2 and not shown
