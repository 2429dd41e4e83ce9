"""Sums, logic, commands and calculations: written right, and held-out parts apart.

Every fault that such data is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.evaluate.exact_match import exact_match
from lib.evaluate.losses import masked_loss
from lib.generate.tools import calculate
from lib.tasks import make_task, task
from lib.tasks.arithmetic import Addition, write_sum
from lib.tasks.commands import Commands, all_commands, phrase
from lib.tasks.logic import write_logic
from lib.tasks.task import Example, encode_examples
from lib.tasks.tools import write_calculation
from lib.text.tokenizer import CharTokenizer, WordTokenizer

EVERY = [
    *("addition", "addition:style=reversed", "addition:style=steps,n_examples=50"),
    *("addition:style=hints,test_digits=5", "addition:digits=2,test_digits=4"),
    *("logic", "logic:style=steps,n_values=4", "calculation"),
    *("calculation:style=tool,digits=1", "calculation:style=tool,n_examples=30"),
    *("commands", "commands:split=jump", "commands:split=jump,n_jump=32"),
]


# Every task


@pytest.mark.parametrize("words", EVERY)
def test_what_is_tested_is_never_learnt_and_all_of_it_fits(words: str) -> None:
    made, rng = make_task(words), random.Random(3)
    tested = {example.prompt for example in made.test_examples}
    assert len(tested) == len(made.test_examples) > 50
    drawn = [made.draw_to_learn(rng) for _ in range(400)]
    assert not tested & {example.prompt for example in drawn + made.examples}
    for rows in (made.test, made.batch(40, torch.Generator().manual_seed(1))):
        assert rows.inputs.size(1) <= made.context_length
        assert rows.counted.any(dim=1).all()
    longest = encode_examples(made.tokenizer, made.test_examples + drawn).inputs
    assert longest.size(1) <= made.context_length


@pytest.mark.parametrize("words", EVERY)
def test_the_same_seed_draws_the_same(words: str) -> None:
    rows = [make_task(words).batch(8, torch.Generator().manual_seed(4)) for _ in "ab"]
    assert all(torch.equal(a, b) for a, b in zip(*rows))
    assert make_task(words).test_examples == make_task(words).test_examples


# Sums


@pytest.mark.parametrize("digits", [1, 2, 4])
def test_every_style_of_a_sum_says_the_sum(digits: int) -> None:
    rng = random.Random(digits)
    for _ in range(60):
        a, b = (rng.randrange(10**digits) for _ in "ab")
        plain = write_sum(a, b, digits)
        assert plain.prompt == f"{a:0{digits}}+{b:0{digits}}="
        assert int(plain.answer[:-1]) == a + b and len(plain.answer) == digits + 2
        assert write_sum(a, b, digits, "reversed").answer[-2::-1] == plain.answer[:-1]
        steps, last = write_sum(a, b, digits, "steps").answer.split(">")
        assert last == plain.answer
        assert "".join(step[1] for step in steps.split(";")[-2::-1]) == last[1:-1]
        assert steps.split(";")[-2][0] == last[0]
        first = rng.randrange(12 - digits)
        prompt, answer, _ = write_sum(a, b, digits, "hints", first)
        assert re.sub("[a-l]", "", prompt) == plain.prompt
        assert re.sub("[a-l]", "", answer)[-2::-1] == plain.answer[:-1]
        units = "abcdefghijkl"[first]
        assert prompt[2 * digits - 2] == answer[0] == prompt[-3] == units


def test_steps_are_what_is_written_on_paper() -> None:
    assert write_sum(123, 456, 3, "steps").answer == "09;07;05;>0579."
    assert write_sum(95, 7, 2, "steps").answer == "12;10;>102."
    assert write_sum(12, 34, 2, "hints", 2) == Example("d1c2+d3c4=", "c6d4e0.")


def test_a_test_may_have_longer_sums() -> None:
    made = Addition(digits=2, style="steps", test_digits=4)
    assert {len(e.prompt) for e in made.test_examples} == {10}
    assert len(made.draw_to_learn(random.Random(1)).prompt) == 6
    assert made.context_length == Addition(digits=4, style="steps").context_length


def test_sums_to_learn_from_may_be_of_several_lengths() -> None:
    made, rng = Addition(digits=4, fewest=2), random.Random(0)
    lengths = {len(made.draw_to_learn(rng).prompt) for _ in range(60)}
    assert lengths == {6, 8, 10}
    assert {len(e.prompt) for e in made.test_examples} == {10}


# Logic


def python_value(prompt: str) -> bool:
    """The value of an expression, computed by Python."""
    text = prompt.rstrip("=").replace(" ", "").replace("!T", "F'").replace("!F", "T'")
    return bool(eval(text.replace("'", "").replace("T", "1").replace("F", "0")))


@pytest.mark.parametrize("n_values", [1, 2, 3])
def test_every_expression_has_the_value_that_python_gives(n_values: int) -> None:
    values = [*product((False, True), repeat=n_values)]
    for operators in product("&|^", repeat=n_values - 1):
        for value, negated in product(values, values):
            args = [*value], "".join(operators), [*negated]
            plain, steps = (write_logic(*args, style) for style in ("plain", "steps"))
            assert plain.answer == "FT"[python_value(plain.prompt)] + "."
            assert steps.prompt == plain.prompt
            work, last = steps.answer.split(">")
            assert last == plain.answer and len(work) == 2 * (n_values - 1)


def test_the_steps_of_logic_are_the_brackets_from_the_inside() -> None:
    written = write_logic([True, False, True], "^|", [False, True, True], "steps")
    assert written == Example(" T^(!F|!T)=", "T;F;>F.")
    values = [python_value(part) for part in ("!F|!T", "T^(!F|!T)")]
    assert values == [True, False]


# Commands


def by_rules(words: str) -> list[str]:
    """The actions of a command, by a second reading of the rules."""
    for joint in ("and", "after"):
        if joint in words.split():
            first, second = words.split(f" {joint} ")
            pair = by_rules(first), by_rules(second)
            return sum(pair if joint == "and" else pair[::-1], [])
    *rest, last = words.split()
    if last in ("twice", "thrice"):
        return by_rules(" ".join(rest)) * (2 if last == "twice" else 3)
    own = {} if "turn" in words else {words.split()[0]: [words.split()[0].upper()]}
    turn = [f"{last[0].upper()}TURN"] if last in ("left", "right") else []
    return turn * (2 if "opposite" in words else 1) + [*own.values(), []][0]


def test_every_command_means_what_the_rules_say() -> None:
    commands = all_commands()
    assert len({e.prompt for e in commands}) == len(commands) == 10_440
    for prompt, answer, _ in commands:
        assert answer.split() == [*by_rules(prompt.removesuffix(" =>")), "<eos>"]


def test_the_jump_split_keeps_every_combination_apart() -> None:
    made, rng = Commands(split="jump", n_jump=8), random.Random(0)
    assert all("jump" in e.prompt and len(e.prompt) > 7 for e in made.test_examples)
    drawn = [made.draw_to_learn(rng) for _ in range(4_000)]
    combined = {e.prompt for e in drawn if "jump" in e.prompt} - {"jump =>"}
    assert combined == {e.prompt for e in made.jump_examples} and len(combined) == 8
    bare = sum(e.prompt == "jump =>" for e in drawn) / 4_000
    assert 0.08 < bare < 0.13
    more = Commands(split="jump", n_jump=32)
    assert more.test_examples == made.test_examples
    assert not {e.prompt for e in more.jump_examples} & made._test_questions


def test_the_end_of_a_command_is_a_token() -> None:
    made = Commands()
    stop = made.tokenizer.encode("<eos>")
    assert stop == [2] and made.tokenizer.vocab_size == 3 + 13 + 6
    rows = made.test
    assert all(t[c][-1] == 2 for t, c in zip(rows.targets, rows.counted))


# Calculations


def test_calls_give_what_the_calculator_gives() -> None:
    made = make_task("calculation:style=tool")
    for prompt, answer, given in made.test_examples[:100]:
        calls = re.findall(r"\[(.*?)\]", answer)
        assert [answer[slice(*place)] for place in given] == [
            f"{calculate(call)};" for call in calls
        ]
        assert int(answer.split(">")[1][:-1]) == calculate(calls[-1])
        sign = "+" if "+" in prompt else "-"
        a, b, c = map(int, re.findall(r"\d+", prompt))
        assert write_calculation(a, b, c, sign).prompt == prompt


# Rows


def loss_by_hand(model: nn.Module, tokenizer, examples: list[Example]) -> float:
    """The mean loss over the model's own tokens, one example at a time."""
    losses = []
    for prompt, answer, given in examples:
        ids = torch.tensor([tokenizer.encode(prompt + answer)])
        each = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="none")
        own = each[len(prompt) - 1 :]
        kept = [
            not any(first <= place < last for first, last in given)
            for place in range(len(answer))
        ]
        losses += own[torch.tensor(kept)].tolist()
    return sum(losses) / len(losses)


def reader(vocab_size: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model that sees one token back, with weights that are not alike."""
    torch.manual_seed(0)
    table = nn.Embedding(vocab_size, vocab_size)
    return table.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("words", ["addition:style=steps", "calculation:style=tool"])
def test_the_loss_of_rows_is_that_of_the_answers(words: str, dtype) -> None:
    made = make_task(words)
    examples = [*made.test_examples[:20], made.test_examples[3]]
    model = reader(made.tokenizer.vocab_size, dtype)
    ours = masked_loss(model, *encode_examples(made.tokenizer, examples)).item()
    assert abs(ours - loss_by_hand(model.float(), made.tokenizer, examples)) < 1e-4


ROWS = CharTokenizer("0123456789+=[];.")
SOME = [Example("1+2=", "[1+2]3;3.", ((5, 7),)), Example("12=", "12.")]


def counted_text(encode: Callable = encode_examples) -> list[str]:
    """The characters that count, row by row."""
    rows = encode(ROWS, SOME)
    pairs = zip(rows.targets, rows.counted)
    return [ROWS.decode(targets[counted]) for targets, counted in pairs]


def test_what_counts_is_the_answer_without_what_is_given() -> None:
    assert counted_text() == ["[1+2]3.", "12."]
    rows = encode_examples(ROWS, SOME)
    assert rows.inputs.shape == rows.targets.shape == rows.counted.shape == (2, 12)
    assert torch.equal(rows.inputs[:, 1:], rows.targets[:, :-1])
    words = WordTokenizer(["turn left twice"])
    rows = encode_examples(words, [Example("turn twice", "left left <eos>")])
    assert rows.targets[rows.counted].tolist() == words.encode("left left <eos>")


FAULTS = {  # what to replace in `encode_examples`, and by what
    "the question counts too": ("[0] * start", "[1] * start"),
    "the stop does not count": ("[1] * len(row)", "[1] * (len(row) - 1) + [0]"),
    "what is given counts": ("[0] * (last - first)", "[1] * (last - first)"),
    "given from the row's start": ("start + first : start + last", "first:last"),
    "given begins one later": ("[0] * (last", "[1] + [0] * (last - 1"),
    "targets not moved": ("ids[:, 1:], own", "ids[:, :-1], own"),
    "mask not moved": ("own[:, 1:]", "own[:, :-1]"),
    "filling counts": ("pad_batch(counted)", "pad_batch(counted, 1)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_in_the_rows_are_noticed(name: str) -> None:
    source = inspect.getsource(encode_examples)
    old, new = FAULTS[name]
    assert source.count(old) == 1, old
    faulty = dict(vars(task))
    exec("from __future__ import annotations\n" + source.replace(old, new), faulty)
    try:
        assert counted_text(faulty["encode_examples"]) != ["[1+2]3.", "12."]
    except IndexError:  # the mask does not fit
        pass


# Exact match


class Fixed(nn.Module):
    """Has the same logits for all that it reads."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_right_if_all_that_counts_is(dtype: torch.dtype) -> None:
    targets = torch.tensor([[1, 2, 0], [1, 2, 0], [2, 2, 1], [0, 0, 0]])
    said = torch.tensor([[1, 2, 0], [1, 0, 0], [1, 2, 1], [2, 2, 2]])
    counted = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]]).bool()
    model = Fixed(F.one_hot(said, 3).to(dtype)).train()
    assert exact_match(model, targets, targets, counted) == 0.5
    assert model.training
    tokens = (said == targets)[counted].float().mean().item()
    assert tokens != 0.5  # the share of tokens is another number


# Refusals


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: write_sum(100, 1, 2), "a=100 must be 0 .. 99"),
        (lambda: write_sum(1, -1, 2), "b=-1 must be 0 .. 99"),
        (lambda: write_sum(1, 1, 0), "digits=0 must be at least 1"),
        (lambda: write_sum(1, 1, 1, "x"), "style='x' must be one of plain"),
        (lambda: write_sum(1, 1, 3, "hints", 9), "first_hint=9 must be 0 .. 8"),
        (lambda: write_sum(1, 1, 12, "hints"), "first_hint=0 must be 0 .. -1"),
        (lambda: make_task("addition:test_digits=0"), "digits=0 must be at least 1"),
        (lambda: make_task("addition:fewest=0"), "fewest=0 must be 1 .. digits=3"),
        (lambda: make_task("addition:fewest=4"), "fewest=4 must be 1 .. digits=3"),
        (lambda: write_logic([], "", []), "0 values need"),
        (lambda: write_logic([True], "&", [True]), "1 values need 1 in negated"),
        (lambda: write_logic([True] * 2, "+", [True] * 2), "operators has '+'"),
        (lambda: make_task("logic:style=x"), "style='x' must be one of plain, steps"),
        (lambda: make_task("logic:n_values=0"), "n_values=0 must be 2 .. 1000"),
        (lambda: phrase("fly"), "verb='fly' must be one of walk"),
        (lambda: phrase("walk", "up"), "turn='up' must be one of"),
        (lambda: phrase("walk", times="once"), "times='once' must be one of"),
        (lambda: phrase("turn"), "turn='' must be left or right here"),
        (lambda: make_task("commands:split=x"), "split='x' must be one of random"),
        (lambda: make_task("commands:n_jump=3"), "n_jump=3 needs split=jump"),
        (lambda: make_task("commands:split=jump,n_jump=9999"), "n_jump=9999 must be 0"),
        (lambda: write_calculation(1, 2, 3, "*"), "sign='*' must be + or -"),
        (lambda: write_calculation(1, 2, 3, "-"), "must be 0 or more"),
        (lambda: make_task("calculation:style=x"), "style='x' must be one of plain"),
    ],
)
def test_what_there_is_not_is_refused_by_name(call: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
