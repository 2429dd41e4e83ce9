"""Tasks: what is drawn, what is kept for the test, and answers to many prompts."""

import random
import shlex
import sys
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import pytest
import torch
from torch import nn

from lib.command_line import help_texts, run_command
from lib.evaluate.exact_match import exact_match
from lib.evaluate.losses import masked_loss
from lib.generate import generate
from lib.generate.rollouts import rollout
from lib.models.gpt import GPT, GPTConfig
from lib.tasks import TASKS, make_task
from lib.tasks.__main__ import tasks_command
from lib.tasks.arithmetic import Addition, write_sum
from lib.tasks.repeats import Repeats, draw_repeats
from lib.tasks.task import Example, ExampleTask, encode_examples
from lib.text.tokenizer import CharTokenizer
from lib.train.__main__ import train_command
from lib.train.checkpoint import load_checkpoint
from lib.train.run import Run
from lib.train.run_settings import RunSettings

SMALL = GPTConfig(
    vocab_size=17, d_model=16, n_layers=2, n_heads=2, d_ff=32, context_length=32
)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(replace(SMALL, dropout=0.5)).eval()


def every_task() -> list:
    return [pytest.param(kind(), id=name) for name, kind in TASKS.items()]


# Every task


@pytest.mark.parametrize("task", every_task())
def test_rows_fit_and_count_what_can_be_predicted(task):
    generator = torch.Generator().manual_seed(0)
    for rows in (task.batch(16, generator), task.test):
        assert len({each.shape for each in rows}) == 1 and len(rows.inputs) >= 16
        assert rows.inputs.size(1) <= task.context_length
        assert 0 <= rows.inputs.min() <= rows.inputs.max() < task.tokenizer.vocab_size
        assert rows.counted.dtype == torch.bool and rows.counted.any(dim=1).all()
        same = rows.inputs[:, 1:] == rows.targets[:, :-1]
        assert same[rows.counted[:, :-1]].all()  # one token later


@pytest.mark.parametrize("task", every_task())
def test_a_generator_says_what_is_drawn_and_the_test_is_always_the_same(task):
    def draw(seed: int) -> list:
        return [*task.batch(8, torch.Generator().manual_seed(seed))]

    assert all(map(torch.equal, draw(3), draw(3)))
    assert draw(3)[0].shape != draw(4)[0].shape or (draw(3)[0] != draw(4)[0]).any()
    assert all(map(torch.equal, task.test, type(task)().test))


@pytest.mark.parametrize("task", every_task())
def test_what_is_kept_for_the_test_is_never_drawn(task):
    if not isinstance(task, ExampleTask):
        pytest.skip("its rows are random letters: none comes twice")
    kept = {example.prompt for example in task.test_examples}
    rng = random.Random(1)
    drawn = [task.draw_to_learn(rng) for _ in range(3_000)]
    assert len(kept) == len(task.test_examples) >= 16
    assert kept.isdisjoint(example.prompt for example in drawn)


@pytest.mark.parametrize("task", every_task())
def test_every_setting_has_words(task):
    texts = help_texts(type(task))
    assert all(texts.get(field.name) for field in fields(task))
    assert f"{task.test.inputs.shape}"  # as `python -m lib.tasks` reads it


@pytest.mark.parametrize("style", ["plain", "hints"])
def test_batches_have_no_question_of_the_test(style):
    """In a task so small that a leak would show at once."""
    task = make_task(f"addition:digits=1,style={style}")
    kept = {task.question(example) for example in task.test_examples}
    rows = task.batch(4_000, torch.Generator().manual_seed(0))
    texts = [task.tokenizer.decode(row) for row in rows.inputs]
    asked = {task.question(Example(text[: text.index("=") + 1], "")) for text in texts}
    assert len(asked) == 80 and kept.isdisjoint(asked)


def test_labels_that_nothing_tells_are_not_asked_for():
    rows = make_task("patterns").answerable
    assert (rows.counted.sum(dim=1) == 1).all() and rows.counted[:, -1].all()


def test_a_few_examples_are_kept_and_the_rest_is_learned():
    small = Addition(digits=1)
    assert len(small.test_examples) == 20
    assert len(Addition(digits=1, n_examples=80).examples) == 80
    with pytest.raises(ValueError, match="n_examples=81 is more than the 80"):
        _ = Addition(digits=1, n_examples=81).examples


def test_examples_to_learn_are_as_many_as_asked_for():
    task = Addition(digits=3, n_examples=10, seed=4)
    rows = task.batch(200, torch.Generator().manual_seed(0))
    assert len({tuple(row) for row in rows.inputs.tolist()}) == 10
    assert task.examples != Addition(digits=3, n_examples=10, seed=5).examples


@dataclass(frozen=True)
class FiveQuestions(ExampleTask):
    """A task that has five questions."""

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        return CharTokenizer("01234=")

    def draw(self, rng: random.Random) -> Example:
        return Example(f"{rng.randrange(5)}=", "0")


def test_a_task_that_has_nothing_left_to_learn_from_says_so(monkeypatch):
    task = FiveQuestions()
    (kept,) = task.test_examples
    monkeypatch.setattr(FiveQuestions, "draw", lambda self, rng: kept)
    with pytest.raises(ValueError, match="all that it draws is kept for the test"):
        task.draw_to_learn(random.Random(0))


# Rows in which only answers count


def test_only_answers_count_and_not_what_a_tool_returns():
    tokenizer = CharTokenizer("0123456789+=[].")
    examples = [Example("1+2=", "3."), Example("40+2=", "[40+2]42.", ((6, 8),))]
    inputs, targets, counted = encode_examples(tokenizer, examples)
    own = [tokenizer.decode(row[mask]) for row, mask in zip(targets, counted)]
    assert own == ["3.", "[40+2]."]
    assert inputs.shape == (2, 13) and tokenizer.decode(inputs[0, :6]) == "1+2=3."


def test_filling_changes_no_loss(model):
    examples = [write_sum(1, 2, 1), write_sum(123, 456, 3, "steps")]
    tokenizer = Addition().tokenizer
    together = encode_examples(tokenizer, examples)
    n = together.counted.sum(dim=1)
    apart = [masked_loss(model, *encode_examples(tokenizer, [e])) for e in examples]
    mean = (apart[0] * n[0] + apart[1] * n[1]) / n.sum()
    assert torch.allclose(masked_loss(model, *together), mean, atol=1e-6)


@pytest.mark.parametrize(
    "examples, words",
    [
        ([], "rows="),
        ([Example("", "1.")], "prompt=''"),
        ([Example("1?", ".")], "'\\?'"),
    ],
)
def test_rows_are_refused_by_name(examples, words):
    with pytest.raises(ValueError, match=words):
        encode_examples(Addition().tokenizer, examples)


# Sums, repeats


@pytest.mark.parametrize("style, answer", [
    ("plain", "1002."), ("reversed", "2001."), ("steps", "12;10;10;>1002."),
])
def test_a_sum_is_written_in_each_style(style, answer):
    assert write_sum(3, 999, 3, style) == Example("003+999=", answer)


@pytest.mark.parametrize("arguments, words", [
    ((10, 1, 1), "a=10 must be 0 .. 9"), ((1, -1, 1), "b=-1 must be 0 .. 9"),
    ((1, 1, 0), "digits=0"), ((1, 1, 1, "roman"), "style='roman' must be one of"),
])
def test_a_sum_that_cannot_be_written_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        write_sum(*arguments)


def test_repeats_repeat_and_their_first_round_does_not_count():
    ids, period = draw_repeats(300, 40, 9, (3, 20), torch.Generator().manual_seed(0))
    assert set(period.flatten().tolist()) == set(range(3, 21))
    for row, p in zip(ids, period.flatten().tolist()):
        assert torch.equal(row[p:], row[:-p])
    task = Repeats(shortest=5, longest=5, length=12)
    assert task.test.counted[0].tolist() == [False] * 5 + [True] * 6


@pytest.mark.parametrize("settings, words", [
    ({"longest": 64}, "longest=64 must be at most length - 2 = 63"),
    ({"shortest": 0}, "shortest=0"), ({"shortest": 40}, r"periods=\(40, 32\)"),
    ({"length": 10**11}, "length=100000000000 must be 1 .. 100000"),
    ({"vocab_size": 53}, "vocab_size=53 must be 2 .. 52"),
])
def test_repeats_that_cannot_be_drawn_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Repeats(**settings)


# By words


def test_words_make_a_task():
    assert make_task("addition") == Addition()
    words = "addition:digits=2,style=steps,n_examples=7"
    assert make_task(words) == Addition(digits=2, style="steps", n_examples=7)


@pytest.mark.parametrize("words, error", [
    ("sums", "task='sums' must be one of addition"),
    ("addition:width=2", "'width' must be one of n_examples, seed, digits, style"),
    ("addition:digits=two", "digits='two' must be a number"),
    ("addition:digits", "digits='' must be a number"),
    ("addition:digits=0", "digits=0 must be 1 .. 100"),
    ("addition:digits=1000000000", "digits=1000000000 must be 1 .. 100"),
    ("addition:digits=3,digits=4", "digits stands there twice"),
    ("addition:digits=\u0663", "must be a number"),
    ("addition:test_digits=0", "test_digits=0"),
    ("logic:n_values=1", "n_values=1 must be 2"),
    ("calculation:digits=7", "digits=7 must be 1 .. 6"),
    ("patterns:shots=99999999", "shots=99999999 must be 1 .. 10000"),
    ("commands:split=jump,n_examples=9", "n_examples=9 needs split=random"),
])
def test_words_that_make_no_task_are_refused(words, error):
    with pytest.raises(ValueError, match=error):
        make_task(words)


# Right from end to end


def test_one_reading_counts_as_writing_token_by_token_does(model):
    task = Addition(digits=2)
    with torch.no_grad():  # a model that is right now and then
        model.head.weight.mul_(8)
    prompts = [task.tokenizer.encode(e.prompt) for e in task.test_examples]
    written = generate(model, torch.tensor(prompts), 4, temperature=0.0)
    inputs, targets = written[:, :-1], written[:, 1:].clone()
    targets[::3, -1] = (targets[::3, -1] + 1) % 17  # a third is wrong at its end
    counted = torch.zeros_like(targets, dtype=torch.bool)
    counted[:, 5:] = True
    right = pytest.approx(1 - len(targets[::3]) / len(targets))
    assert exact_match(model.train(), inputs, targets, counted) == right
    assert model.training
    targets[:, 0] = 16  # does not count
    assert exact_match(model, inputs, targets, counted) == right


def test_rows_of_other_shapes_are_refused(model):
    ids = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="must be the same"):
        exact_match(model, ids, ids, ids[:, :2].bool())
    with pytest.raises(ValueError, match="a row or more"):
        exact_match(model, ids[:0], ids[:0], ids[:0].bool())


# Answers to many prompts

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], [1, 2]]
ROTARY = {"position": "rotary", "attention_bias": False}


@pytest.mark.parametrize("changes", [{}, ROTARY, ROTARY | {"window": 4}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_rows_are_answered_as_if_each_were_alone(changes, dtype):
    torch.manual_seed(1)
    model = GPT(replace(SMALL, **changes)).to(dtype)
    with torch.no_grad():
        model.head.weight.mul_(20)
    together = rollout(model, PROMPTS, 9, stop_id=3, temperature=0.0)
    for prompt, answer in zip(PROMPTS, together.answers(), strict=True):
        row = generate(model, torch.tensor([prompt]), 9, temperature=0.0)[0].tolist()
        alone = row[len(prompt) :]
        if 3 in alone:
            alone = alone[: alone.index(3) + 1]
        assert answer == alone


def test_a_row_is_its_prompt_its_answer_and_then_filling(model):
    generator = torch.Generator().manual_seed(2)
    found = rollout(model, PROMPTS, 20, 3, 1.0, generator)
    ids, written, _ = found
    lengths = [len(answer) for answer in found.answers()]
    assert len(set(lengths)) > 1 and max(lengths) <= 20
    for prompt, row, own, length in zip(PROMPTS, ids, written, lengths):
        end = len(prompt) + length
        assert row[: len(prompt)].tolist() == prompt and not row[end:].any()
        assert own.nonzero().flatten().tolist() == list(range(len(prompt), end))
    for answer in found.answers():
        assert 3 not in answer[:-1] and (len(answer) == 20 or answer[-1] == 3)


def test_answers_are_written_without_dropout_and_repeat_with_a_seed(model):
    def answers(seed: int) -> list:
        generator = torch.Generator().manual_seed(seed)
        return rollout(model, PROMPTS, 8, 3, 1.0, generator).answers()

    assert answers(0) == answers(0) != answers(1)
    model.train()
    assert answers(0) == answers(0)
    assert model.training and all(part.training for part in model.modules())


def test_writing_stops_when_all_have_stopped():
    class Stopper(nn.Module):
        """Stops at once, and counts how often it is asked."""

        context_length, asked, config = 32, 0, SMALL

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(17))

        def new_cache(self) -> None:
            return None

        def forward(self, ids, cache, positions, mask):
            self.asked += 1
            one = nn.functional.one_hot(torch.tensor(3), 17).float()
            return one.expand(*ids.shape, 17)

    stopper = Stopper()
    assert rollout(stopper, PROMPTS, 20, 3, 0.0).answers() == [[3]] * 4
    assert stopper.asked == 1


@pytest.mark.parametrize("prompts, n_new, words", [
    ([], 4, "prompts must be"), ([[1], []], 4, "prompts must be"),
    ([[1]], 0, "n_new=0"), ([[1] * 20], 13, "n_new=13 after a prompt of 20 tokens"),
])
def test_what_cannot_be_answered_is_refused(model, prompts, n_new, words):
    with pytest.raises(ValueError, match=words):
        rollout(model, prompts, n_new, 3)


def test_a_stop_that_the_model_cannot_write_is_refused(model):
    with pytest.raises(ValueError, match="stop_id=17 must be 0 .. 16"):
        rollout(model, PROMPTS, 4, 17)


# From the shell


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its status, output and error."""
    monkeypatch.chdir(tmp_path)

    def start(function, *words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(function)
        output, error = capsys.readouterr()
        if isinstance(end.value.code, str):
            return 1, output, end.value.code
        return end.value.code or 0, output, error

    return start


WORDS = ["--preset", "demo", "--device", "cpu", "--batch-size", 8, "--out", "run"]


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_trained_from_the_shell(command, name):
    words = ["--task", name, "--steps", 2, *WORDS]
    status, output, error = command(train_command, *words)
    assert (status, error) == (0, "")
    assert f"task {name}; steps 0 to 2" in output
    assert "right from end to end" in output
    words = shlex.split(output.partition("ask it: ")[2])
    task = TASKS[name]()
    prompt = words[words.index("--prompt") + 1]
    assert task.tokenizer.encode(prompt)  # it knows each character of it
    start = int(task.answerable.counted[0].int().argmax()) + 1
    assert prompt == task.tokenizer.decode(task.test.inputs[0, :start])
    assert load_checkpoint("run").tokenizer.vocab_size == (
        TASKS[name]().tokenizer.vocab_size
    )


@pytest.mark.parametrize("words, error", [
    (["--task", "sums"], "task='sums'"),
    (["--task", "addition", "--text", "a.txt"], "text='a.txt' does not go with task"),
    (["--task", "addition", "--epochs", 2], "--epochs 2.0 does not go with --task"),
    (["--task", "addition:digits=1,n_examples=81"], "n_examples=81 is more than"),
    (["--task", "addition", "--context-length", 5], "context_length=5 must be 13"),
    (["--task", "addition", "--steps", 0], "n_steps=0 must be at least 1"),
])
def test_a_refused_start_leaves_nothing(command, words, error):
    status, _, said = command(train_command, *words, *WORDS)
    assert status == 1 and error in said and not Path("run").exists()


def test_a_run_of_a_task_goes_on_as_if_it_had_not_stopped(tmp_path):
    settings = RunSettings(
        preset="demo", task="addition:digits=2,n_examples=20", n_steps=6, batch_size=4
    )
    whole = Run.new(tmp_path / "whole", settings, "cpu")
    whole.train()
    half = Run.new(tmp_path / "half", settings, "cpu")
    for _ in range(3):
        half.training.step(half.next_batch())
    half.save()
    again = Run.resume(tmp_path / "half", "cpu")
    again.train()
    assert again.training.losses == whole.training.losses
    models = [run.training.model.parameters() for run in (whole, again)]
    assert all(map(torch.equal, *models))


def test_the_tasks_are_listed_with_their_settings(command):
    status, output, _ = command(tasks_command)
    assert status == 0
    for name, kind in TASKS.items():
        assert f"{name}: {kind.__doc__.splitlines()[0]}" in output
        for field in fields(kind):
            assert f"  {field.name}={field.default}: " in output
