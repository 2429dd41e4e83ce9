"""A calculator that is safe to call, answers with it, votes and verifiers.

Every fault that such code is known for is put into it once, and must be noticed.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.generate import tools, voting
from lib.generate.sampling import sample_next
from lib.generate.tools import answer_with_tool, calculate
from lib.generate.voting import best_of_n, majority_vote
from lib.models.gpt import GPT, GPTConfig
from lib.text.tokenizer import CharTokenizer

# The calculator


def test_its_values_are_those_of_python() -> None:
    rng = random.Random(0)
    for _ in range(2_000):
        numbers = [str(rng.randrange(-30, 30)) for _ in range(rng.randrange(1, 6))]
        expression = "".join(n + rng.choice("+-*") for n in numbers)[:-1]
        python = eval(re.sub(r"(?<![0-9])-([0-9]+)", r"(-\1)", expression))
        assert calculate(expression) == python, expression
    assert calculate("007*2") == 14 and calculate("999999*999999") == 999_998_000_001


@pytest.mark.parametrize(
    "expression",
    [
        *("", "+", "1+", "*2", "1++2", "--1", "1 + 2", "1+2\n", "2**3", "7/2", "1e3"),
        *("(1)", "x", "１+1", "٣+1", "0x1", "1_0", "__import__('os')", "1234567"),
        *("1+1234567", "1" + "+1" * 30, "999999*999999*9"),
    ],
)
def test_all_else_is_refused_and_never_run(expression: str) -> None:
    with pytest.raises(ValueError, match=r"expression=.* (must be|has a value)"):
        calculate(expression)


def test_the_number_of_digits_is_a_choice() -> None:
    assert calculate("99*99", max_digits=2) == 9_801
    for expression in ("100*1", "99*99*99"):
        with pytest.raises(ValueError, match=r"digits"):
            calculate(expression, max_digits=2)
    with pytest.raises(ValueError, match="max_digits=0 must be at least 1"):
        calculate("1", max_digits=0)


# Answers with it

SIGNS = CharTokenizer("0123456789+-*=[];.?!")


class Scripted(nn.Module):
    """Says the next character of what it was told to write, and notes what it reads."""

    context_length = 60

    def __init__(self, written: str) -> None:
        super().__init__()
        self.written, self.read, self.said = written, "", 0
        self.weight = nn.Parameter(torch.zeros(1))

    def new_cache(self) -> list:
        return []

    def forward(self, ids: torch.Tensor, cache: list) -> torch.Tensor:
        assert not self.training and cache == [] and ids.size(1)
        self.read += SIGNS.decode(ids[0])
        following = SIGNS.ids[self.written[self.said]]
        self.said += 1
        return F.one_hot(torch.tensor([[following]]), SIGNS.vocab_size).float()


def scripted(written: str, n_new: int = 40, **options) -> tuple[str, str]:
    """The answer, and what the model read for it."""
    model = Scripted(written).train()
    options = {"n_new": n_new} | options
    answer = options.pop("by", answer_with_tool)(model, SIGNS, "1=", **options)
    assert model.training
    return answer, model.read


CASES = {  # what the model writes -> the answer
    "[1+2]7.": "[1+2]3;7.",
    "[1+2][3*4]9.": "[1+2]3;[3*4]12;9.",
    "[9-12].": "[9-12]-3;.",
    "[].": "[]?;.",
    "[1++2]5.": "[1++2]?;5.",
    "[2!3].": "[2!3]?;.",
    "1]2.": "1]2.",
    "[1[2+3].": "[1[2+3]5;.",
    "[1+2.": "[1+2.",
    "[1234567+1].": "[1234567+1]?;.",
}


@pytest.mark.parametrize("written", CASES)
def test_results_are_put_in_and_read(written: str) -> None:
    answer, read = scripted(written)
    assert answer == CASES[written]
    assert read == "1=" + answer[:-1]  # all but the stop, results included, once


def test_an_answer_is_never_longer_than_it_may_be() -> None:
    for n_new in range(1, 12):
        answer, _ = scripted("[9*9][8*8].", n_new=n_new)
        assert answer == "[9*9]81;[8*8]64;."[:n_new]


def test_any_tool_and_marks_will_do() -> None:
    reversed_text, marks = lambda text: text[::-1], "!?=;"
    answer, _ = scripted("!123?5;", tool=reversed_text, marks=marks)
    assert answer == "!123?321=5;"


def without_cache(
    model: GPT, prompt: str, n_new: int, generator: torch.Generator
) -> str:
    """The answer of a model that reads all anew for each character."""
    answer = ""
    while len(answer) < n_new and not answer.endswith("."):
        ids = torch.tensor([SIGNS.encode(prompt + answer)])
        answer += SIGNS.decode(sample_next(model(ids)[:, -1], 2.0, generator)[0])
        call = re.search(r"\[([^\[\]]*)\]$", answer)
        opened = call and not re.search(r"\[[^\[\]]*\]$", answer[: call.start()])
        if call and opened:
            try:
                answer += f"{calculate(call[1])};"
            except ValueError:
                answer += "?;"
    return answer[:n_new]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_with_its_cache_it_writes_what_it_writes_without(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(SIGNS.vocab_size, 16, 2, 2, 32, 60)).to(dtype).eval()
    model.head.weight.data[SIGNS.encode("[]")] *= 3
    results = 0
    for seed in range(12):
        texts = [
            write(torch.Generator().manual_seed(seed))
            for write in (
                lambda g: without_cache(model, "1+2=", 50, g),
                lambda g: answer_with_tool(
                    model, SIGNS, "1+2=", 50, temperature=2.0, generator=g
                ),
            )
        ]
        same = next((i for i, (a, b) in enumerate(zip(*texts)) if a != b), 50)
        assert texts[0] == texts[1] or (dtype == torch.bfloat16 and same > 3)
        results += texts[1].count(";")
    assert results > 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": ""}, "prompt='' and n_new=40 must fit"),
        ({"prompt": "1" * 21}, "and n_new=40 must fit into context_length=60"),
        ({"n_new": 0}, "n_new=0 must be at least 1"),
        ({"marks": "[];"}, "marks='[];' must be four different"),
        ({"marks": "[][]"}, "marks='[][]' must be four different"),
        ({"prompt": "a"}, "text[0]='a' is not in the vocabulary"),
        ({"tool": lambda call: "x"}, "text[1]='x' is not in the vocabulary"),
    ],
)
def test_wrong_arguments_are_refused_by_name(change: dict, words: str) -> None:
    options = {"prompt": "1=", "n_new": 40} | change
    with pytest.raises(ValueError, match=re.escape(words)):
        answer_with_tool(Scripted("[1+2]."), SIGNS, **options)


# Votes and verifiers


def test_a_vote_is_won_by_the_most_and_by_the_first_of_several() -> None:
    assert majority_vote("abcbb") == "b"
    assert majority_vote(["b", "a", "a", "b"]) == "b"
    assert majority_vote([3, 1, 1, 3, 1]) == 1
    assert majority_vote([None, None, "x"]) == "x"
    assert majority_vote([None, None]) is None
    with pytest.raises(ValueError, match="answers=.. is empty"):
        majority_vote([])


def test_the_best_is_the_first_with_the_largest_score() -> None:
    seen = []

    def score(text: str) -> int:
        seen.append(text)
        return len(text)

    assert best_of_n(["a", "cc", "bb", "a"], score) == "cc"
    assert seen == ["a", "cc", "bb", "a"]
    assert best_of_n(["x"], lambda _: float("-inf")) == "x"
    assert best_of_n([1, 2], lambda x: torch.tensor(-x)) == 1
    assert best_of_n(["no", "yes"], lambda text: text == "yes") == "yes"
    with pytest.raises(ValueError, match="candidates=.. is empty"):
        best_of_n([], score)
    with pytest.raises(ValueError, match="must be numbers"):
        best_of_n(["a"], lambda _: float("nan"))


# Faults that must be noticed


def made(function: Callable, module: object, old: str, new: str) -> Callable:
    """The function with a fault in it."""
    source = inspect.getsource(function)
    assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times"
    names = dict(vars(module))
    exec("from __future__ import annotations\n" + source.replace(old, new), names)
    return names[function.__name__]


READ = "answer + result, written + result"
CLOSED = "and call is not None:\n                r"
ANY = "and [call := call or '']:\n                r"
LOOP = {
    "the result is not read": (READ, "answer + result, written"),
    "the bracket is not read": (READ, "answer + result, result"),
    "an error stops it": ("_returned(tool, call)", "str(tool(call))"),
    "calls are never closed": ("written + result, None", "written + result, call"),
    "results run over": ("[: n_new - len(answer)]", ""),
    "the stop is ignored": ("if written == stop", "if written == '!'"),
    "an old call goes on": ('call = ""', "call = call or ''"),
    "every bracket calls": (CLOSED, ANY),
    "the mode is left": ("in_mode(model, training=False)", "in_mode(model, True)"),
}


@pytest.mark.parametrize("name", LOOP)
def test_faults_in_the_loop_are_noticed(name: str) -> None:
    faulty = made(answer_with_tool, tools, *LOOP[name])
    noticed = False
    for written, right in CASES.items():
        for n_new in (40, 6):
            try:
                answer, read = scripted(written + "!" * 60, n_new=n_new, by=faulty)
            except (ValueError, AssertionError):
                noticed = True
                continue
            noticed |= answer != right[:n_new] or read != "1=" + answer[:-1]
    assert noticed


RUNNING = "total, product = 0, (total + product) * other"
CALCULATOR = {
    "from left to right": ("product *= other", RUNNING),
    "minus is plus": ('if sign == "+" else -other', ""),
    "other digits": ("[0-9]{{", r"\d{{"),
    "no limit of digits": ("{{1,{max_digits}}}", "+"),
    "no limit of length": ("len(expression) > LONGEST or", ""),
    "the start is enough": ("re.fullmatch", "re.match"),
    "no limit of the value": ("if abs(total + product) >=", "if False and 0 <"),
}


@pytest.mark.parametrize("name", CALCULATOR)
def test_faults_in_the_calculator_are_noticed(name: str) -> None:
    faulty = made(calculate, tools, *CALCULATOR[name])
    values = {"2+3*4": 14, "7-2*3": 1, "1-2-3": -4}
    refused = ["1٣+1", "1234567", "1" + "+1" * 30, "1+2)", "999999*999999*9"]
    noticed = False
    for expression, value in values.items():
        noticed |= faulty(expression) != value
    for expression in refused:
        try:
            faulty(expression)
            noticed = True
        except ValueError:
            pass
    assert noticed


VOTES = {
    "no answer has a vote": ("if answer is not None", ""),
    "the last of several": ("answer in answers", "answer in answers[::-1]"),
    "the largest answer": ("key=votes.get", "key=lambda x: x"),
    "nobody fails": (", default=None", ""),
}


@pytest.mark.parametrize("name", VOTES)
def test_faults_in_the_vote_are_noticed(name: str) -> None:
    faulty = made(majority_vote, voting, *VOTES[name])
    cases = {"abb": "b", "abab": "a", "cbcb": "c"}
    try:
        same = all(faulty(answers) == right for answers, right in cases.items())
        same &= faulty([None, None, "x"]) == "x" and faulty([None]) is None
    except ValueError:
        same = False
    assert not same
