"""The checks of the exercises in lesson 24, reasoning."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from unittest import mock

from lib.checks import Mistake, exercise, expect, hint_for, python_number, returned
from lib.generate.tools import calculate

__all__ = [
    "check_difference",
    "check_own_targets",
    "check_weighted_vote",
    "check_erring_verifier",
    "check_brackets",
]


# Exercise 1


@exercise
def check_difference(difference_steps) -> str:
    """Takes a function of a, b and digits."""
    cases = [(11, 9, 2), (52, 17, 2), (58, 17, 2), (7, 7, 1), (1000, 1, 4)]
    cases += [(305, 298, 3)]
    cases += [(40, 0, 3), (9, 3, 1), (81_234, 7_777, 5), (17, 9, 2), (100, 99, 4)]
    for a, b, digits in cases:
        answer = returned(difference_steps(a, b, digits))
        expect(
            isinstance(answer, str),
            f"The answer must be a text; yours has the type {type(answer).__name__}.",
        )
        right = _difference(a, b, digits)
        if answer != right:
            hint = _difference_hint(answer, a, b, digits)
            raise Mistake(
                f"For {a} - {b} with digits={digits} it is {right!r}; yours is "
                f"{answer!r}. {hint}"
            )
    return "Borrowed, written, and carried on."


def _difference(
    a: int,
    b: int,
    digits: int,
    carries: bool = True,
    forward: bool = False,
) -> str:
    """Return the right answer, or what two mistakes make of it."""
    places = range(digits - 1, -1, -1) if forward else range(digits)
    steps, borrow = "", 0
    for place in places:
        x, y = (number // 10**place % 10 for number in (a, b))
        below, digit = divmod(x - y - borrow, 10)
        steps += f"{-below}{digit};"
        borrow = -below if carries else 0
    return f"{steps}>{a - b:0{digits}}."


def _difference_hint(answer: str, a: int, b: int, digits: int) -> str:
    """Return what is probably wrong."""
    right = _difference(a, b, digits)
    steps, _, result = right.partition(">")
    swapped = "".join(step[::-1] + ";" for step in steps.split(";")[:-1])
    later = [step[0] for step in steps.split(";")[:-1]]
    shifted = "".join(
        f"{borrow}{step[1]};"
        for borrow, step in zip(["0", *later], steps.split(";")[:-1])
    )
    hints = {
        _difference(a, b, digits, carries=False): "A borrowed ten is missing in the "
        "next place: take one more away there.",
        _difference(a, b, digits, forward=True): "Begin at the right, with the units.",
        right[:-1]: "The full stop is missing.",
        f"{steps}>{a - b}.": "The result is filled up with zeros to `digits` digits.",
        f"{steps}>{a - b:0{digits + 1}}.": "A difference has no digit more: `digits`.",
        f"{steps}{result}": "Before the result stands `>`.",
        f"{steps.replace(';', '')}>{result}": "Behind each step stands a semicolon.",
        f"{steps[:-1]}>{result}": "Behind each step stands a semicolon, the last too.",
        f"{swapped}>{result}": "First what is borrowed, then what is written.",
        f"{shifted}>{result}": "A step says what *it* borrows from the next place.",
    }
    short = _difference(a, b, len(str(a)))
    hints |= {short: "Zeros in front have steps too: one for each of `digits` places."}
    if "-" in answer:
        return "What is borrowed is 0 or 1: `divmod` gives it with a minus."
    return hints.get(answer, "Follow the example 11 - 9 by hand.")


# Exercise 2


@exercise
def check_own_targets(own_targets) -> str:
    """Takes a function of prompt and answer."""
    cases = [
        ("1+2=", "[1+2]3;>3."),
        ("(1+2)*4=", "[1+2]3;[3*4]12;>12."),
        ("5=", "5."),
        ("[1]2;=", "[1+1]2;2;."),
        ("[1]=", "2."),
        ("2=", "[1]2.5;.>"),
        ("3=", "[1]>;2>."),
        ("9*9=", "[9*9]8"),
        ("a=", "b;c;[1]?;."),
        ("12=", "[1][2]3;."),
        ("x", "]7;."),
    ]
    for prompt, answer in cases:
        _expect_own(returned(own_targets(prompt, answer)), prompt, answer)
    return "The model's own words, and no others."


def _expect_own(given: object, prompt: str, answer: str) -> None:
    """Expect the right marks."""
    expect(
        isinstance(given, list),
        f"The answer must be a list; yours has the type {type(given).__name__}.",
    )
    right = _own(prompt, answer)
    row = prompt + answer
    expect(
        len(given) == len(right),
        f"For {row!r} there are {len(right)} targets, one fewer than characters; "
        f"your list has {len(given)}.",
    )
    expect(
        all(isinstance(each, bool) for each in given),
        f"The list must hold Python's own True and False; yours holds {given[0]!r}.",
    )
    if given != right:
        place = next(i for i, (a, b) in enumerate(zip(given, right)) if a != b)
        raise Mistake(
            f"In {row!r} the target {row[place + 1]!r} (character {place + 1}) "
            f"must be {right[place]}. {_own_hint(given, prompt, answer)}"
        )


def _own(prompt: str, answer: str) -> list[bool]:
    own, given = [False] * (len(prompt) - 1), False
    for character in answer:
        own.append(not given)
        given = character == "]" or (given and character != ";")
    return own


def _own_hint(given: list[bool], prompt: str, answer: str) -> str:
    """Return what is probably wrong."""
    right = _own(prompt, answer)
    whole = [False, *right]
    all_own = [False] * (len(prompt) - 1) + [True] * len(answer)
    unmarked = list(all_own)
    without, after = list(right), False
    for place, character in enumerate(answer, start=len(prompt) - 1):
        if character == ";" and not right[place]:
            without[place] = True
        if character == "]":
            unmarked[place] = False
        after = after or character == "]"
    everything = [not (character in "[]") for character in (prompt + answer)[1:]]
    hints = {
        "What the tool wrote does not count.": all_own,
        "The marks belong to targets, one place earlier than the characters.": whole[
            :-1
        ],
        "The semicolon behind a result came from the tool too.": without,
        "The question does not count.": [True] * len(right),
        "Only what follows the bracket came from the tool.": everything,
    }
    for hint, wrong in hints.items():
        if given == wrong:
            return hint
    if any(given[: len(prompt) - 1]):
        return "The question does not count, whatever stands in it."
    return "A `]` turns the switch on for what follows; a `;` turns it off again."


# Exercise 3


@exercise
def check_weighted_vote(weighted_vote) -> str:
    """Takes a function of answers and weights."""
    cases = [
        (["7", "9", "7"], [1.0, 3.0, 1.0]),
        (["7", "9", "7"], [1.0, 1.5, 1.0]),
        ([3, 1, 1, 3], [1.0, 1.0, 1.0, 1.0]),
        (["b", "a", "a"], [2.0, 1.0, 1.0]),
        ([None, "x", None], [9.0, 0.5, 9.0]),
        ([None, "x", "y"], [5.0, 1.0, 2.0]),
        (["a", "b"], [0.2, 0.7]),
        (["x", "y"], [-2.0, -1.0]),
        (["x", "y", "x"], [-2.0, -1.0, 1.5]),
        ([None, None], [1.0, 2.0]),
        (["a", None], [-1.0, 5.0]),
        (["0", "", "0"], [0.5, 2.0, 0.5]),
        ([], []),
    ]
    for answers, weights in cases:
        kept = list(answers), list(weights)
        given = weighted_vote(answers, weights)
        expect(
            (answers, weights) == kept,
            "Your function changed the lists that it got: leave them as they are.",
        )
        right = _winner(answers, weights)
        if given != right or type(given) is not type(right):
            raise Mistake(
                f"With answers={answers} and weights={weights} it is {right!r}; yours "
                f"is {given!r}. {_vote_hint(given, answers, weights)}"
            )
    return "Every answer has been heard, and nobody else."


def _sums(answers: Sequence, weights: Sequence[float]) -> dict:
    sums: dict = {}
    for answer, weight in zip(answers, weights):
        if answer is not None:
            sums[answer] = sums.get(answer, 0.0) + weight
    return sums


def _winner(answers: Sequence, weights: Sequence[float]) -> object:
    sums = _sums(answers, weights)
    return max(sums, key=sums.get, default=None)


def _vote_hint(given: object, answers: list, weights: list[float]) -> str:
    """Return what is probably wrong."""
    sums = _sums(answers, weights)
    if given is not None and given not in answers:
        return "Return one of the answers, not its weight or its place."
    if None in answers and given is None and sums:
        return "None is no answer: it does not vote, however large its weight."
    if not sums:
        return "Where nobody votes, return None."
    if given == _winner(answers, [abs(weight) for weight in weights]):
        return "A weight below 0 takes away: its sign counts."
    ones = _winner(answers, [1.0] * len(answers))
    heaviest = answers[max(range(len(answers)), key=lambda i: weights[i])]
    best = max(sums.values())
    last = [answer for answer, total in sums.items() if total == best][-1]
    if given == last and list(sums.values()).count(best) > 1:
        return "Of several with the same sum take the one that came first."
    if given is None:
        return "Sums below 0, and empty texts, are answers too."
    if given == heaviest:
        return "That has the largest single weight, or mean: it is the sum that counts."
    if given == ones:
        return "That comes most often; here the sums of weights decide."
    return "Add up the weights for each answer, negative ones too."


# Exercise 4


@exercise
def check_erring_verifier(share_right) -> str:
    """Takes a function of chances, error and n."""
    cases = [([0.5], 0.0, 1), ([0.5], 0.25, 3), ([0.2, 0.9], 0.0, 4)]
    cases += [([0.2, 0.9, 0.0], 0.25, 4), ([0.3, 1.0], 1.0, 8), ([0.1, 0.4], 0.5, 2)]
    cases += [([0.0, 0.5], 0.0, 3), ([0.0], 0.3, 5), ([0.05, 0.6, 0.7, 0.2], 0.1, 16)]
    for chances, error, n in cases:
        kept = list(chances)
        given = python_number(share_right(chances, error, n))
        expect(chances == kept, "You changed the list `chances`: leave it as it is.")
        right = _share(chances, error, n)
        hints = _share_hints(chances, error, n)
        expect(
            abs(given - right) < 1e-6,
            f"For chances={chances}, error={error} and n={n} it is {right:.4f}; yours "
            f"is {given:.4f}. " + hint_for(given, hints, "Follow the hint."),
        )
    return _simulated()


def _share(chances: Sequence[float], error: float, n: int) -> float:
    shares = [
        sum(p * ((1 - p) * (1 - error)) ** k for k in range(n)) for p in chances
    ]
    return sum(shares) / len(shares)


def _share_hints(chances: Sequence[float], error: float, n: int) -> dict[float, str]:
    """Return what known mistakes give, and words that name them."""
    right = _share(chances, error, n)
    mean = sum(chances) / len(chances)
    hints = {
        _share([mean], error, n): "You took the mean of the chances first. Each "
        "question has a share of its own; the mean comes last.",
        right * len(chances): "That is the sum over the questions: divide by how "
        "many there are.",
        sum(1 - (1 - p) ** n for p in chances) / len(chances): "So it would be if "
        "the verifier passed no wrong answer. Use `error`.",
        _share(chances, error, n + 1): "That is one sample too many.",
        _share(chances, error, n - 1): "That is one sample too few.",
        _share(chances, 1 - error, n): "`error` is how often a wrong answer "
        "*passes*; before the taken one, wrong ones did not pass.",
        mean: "That is what one sample gives.",
        _passed(chances, error, n): "That is the share among answers that passed; "
        "if none passes, the answer is wrong.",
        _share(chances[:1], error, n): "That is the first question alone.",
    }
    return {value: words for value, words in hints.items() if abs(value - right) > 1e-6}


def _passed(chances: Sequence[float], error: float, n: int) -> float:
    """Return the share of right ones if somebody passes for certain."""
    shares = [p / (p + (1 - p) * error) if p + error else 0.0 for p in chances]
    return sum(shares) / len(shares)


def _simulated() -> str:
    """Return praise, with the same thing drawn at random."""
    rng, right = random.Random(0), 0
    for _ in range(2_000):
        for _ in range(8):
            if rng.random() < 0.2:
                right += 1
                break
            if rng.random() < 0.1:
                break
    return (
        f"For a chance of .2, an error of .1 and 8 samples it gives "
        f"{_share([0.2], 0.1, 8):.2f}; 2,000 draws gave {right / 2_000:.2f}."
    )


# Exercise 5

VALUES = {
    "(12+34)*(5-7)": -92,
    "2+3*4": 14,
    "(2+3)*4": 20,
    "7-(2-3)": 8,
    "((1+2)*(3+4))": 21,
    "2*(3+(4-(5-6)))*2": 32,
    "(-3)*5": -15,
    "8": 8,
    "(9)": 9,
    "10-(1+2)-(3*2)": 1,
}
REFUSED = {
    "__import__('os')": "What a model wrote must never be run.",
    "len('abc')": "What a model wrote must never be run.",
    "2**3": "Only + - and * are allowed.",
    "7/2": "Only + - and * are allowed.",
    "2(3)": "Between a number and a bracket a sign is missing.",
    "(2)(3)": "Between two brackets a sign is missing.",
    "(2)3": "Between a bracket and a number a sign is missing.",
    "(1+2": "A bracket is not closed.",
    "1+2)": "A bracket was not opened.",
    ")1+2(": "The brackets stand the wrong way round.",
    "()": "There is nothing in the brackets.",
    "": "There is nothing at all.",
    "1 + 2": "Spaces are not allowed.",
    "(1+)": "Behind the sign stands nothing.",
    "0x10": "Numbers have digits only.",
    "1_0": "Numbers have digits only.",
    "1.5+2": "Numbers are whole: digits only.",
    "'a'*3": "There are numbers only.",
    "\u0663+1": "Digits of other scripts are not allowed.",
}


def _without_eval(with_brackets: Callable, expression: str) -> object:
    """Return the value of an expression; refuse a function that runs it."""
    calls: list = []

    def refuse(*arguments, **options) -> None:
        calls.append(arguments)
        raise ValueError("eval")

    with mock.patch("builtins.eval", refuse), mock.patch("builtins.exec", refuse):
        try:
            return with_brackets(expression)
        finally:
            expect(not calls, "What a model wrote must never be run: no `eval`.")


@exercise
def check_brackets(with_brackets) -> str:
    """Takes a function of an expression."""
    for expression, right in VALUES.items():
        try:
            given = _without_eval(with_brackets, expression)
        except ValueError as error:
            raise Mistake(
                f"{expression!r} is {right}; yours raises ValueError: {error}"
            ) from error
        given = returned(given)
        expect(
            type(given) is int,
            f"The value must be an integer; yours has the type {type(given).__name__}.",
        )
        hint = _bracket_hint(expression, given)
        expect(given == right, f"{expression!r} is {right}; yours is {given}. {hint}")
    for expression, why in REFUSED.items():
        try:
            given = _without_eval(with_brackets, expression)
        except ValueError:
            continue
        except NotImplementedError:
            raise
        except Exception as error:
            raise Mistake(
                f"{expression!r} must raise a ValueError; yours raises "
                f"{type(error).__name__}. {why}"
            ) from error
        raise Mistake(
            f"{expression!r} must raise a ValueError; yours returns {given!r}. {why}"
        )
    return "It reads brackets, and nothing that it should not."


def _bracket_hint(expression: str, given: int) -> str:
    """Return what is probably wrong."""
    flat = expression.replace("(", "").replace(")", "")
    if given == _plain(flat):
        return "The brackets change nothing in yours: what is inside goes first."
    return "The innermost brackets go first, and products before sums."


def _plain(expression: str) -> int | None:
    """Return the value of an expression without brackets; None if it is none."""
    try:
        return calculate(expression)
    except ValueError:
        return None
