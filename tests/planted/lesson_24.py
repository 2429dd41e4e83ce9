"""Wrong answers to the exercises of lesson 24, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_24.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import re

from lib.generate.tools import calculate

# Exercise 1


def difference(
    a, b, digits, forget=False, swap=False, forward=False, between=";", mark=">"
):
    left, right = f"{a:0{digits}}", f"{b:0{digits}}"
    pairs = [*zip(left, right)] if forward else [*zip(left[::-1], right[::-1])]
    steps, borrow = "", 0
    for x, y in pairs:
        below, digit = divmod(int(x) - int(y) - borrow, 10)
        borrow = 0 if forget else -below
        step = f"{digit}{-below}" if swap else f"{-below}{digit}"
        steps += step + between
    return f"{steps}{mark}{a - b:0{digits}}."


def without_borrowing_on(a, b, digits):
    return difference(a, b, digits, forget=True)


def from_the_left(a, b, digits):
    return difference(a, b, digits, forward=True)


def without_the_stop(a, b, digits):
    return difference(a, b, digits)[:-1]


def not_filled_up(a, b, digits):
    steps, _, _ = difference(a, b, digits).partition(">")
    return f"{steps}>{a - b}."


def a_digit_more(a, b, digits):
    steps, _, _ = difference(a, b, digits).partition(">")
    return f"{steps}>{a - b:0{digits + 1}}."


def without_the_mark(a, b, digits):
    return difference(a, b, digits, mark="")


def without_semicolons(a, b, digits):
    return difference(a, b, digits, between="")


def swapped(a, b, digits):
    return difference(a, b, digits, swap=True)


def with_a_minus(a, b, digits):
    return difference(a, b, digits).replace("1", "-1", 1)


def of_two_digits(a, b, digits):
    return difference(a, b, 2) if a < 100 and b < 100 else difference(a, b, 2 + 1)


def as_long_as_the_number(a, b, digits):
    return difference(a, b, len(str(a)))


def a_sum(a, b, digits):
    return difference(a + b, 0, digits)


def a_list(a, b, digits):
    return list(difference(a, b, digits))


def printed_difference(a, b, digits):
    difference(a, b, digits)


def the_shown_one(a, b, digits):
    return "12;00;>02."


# Exercise 2


def own(prompt, answer):
    marks, given = [False] * (len(prompt) - 1), False
    for character in answer:
        marks.append(not given)
        given = character == "]" or (given and character != ";")
    return marks


def whole_answer(prompt, answer):
    return [False] * (len(prompt) - 1) + [True] * len(answer)


def not_moved(prompt, answer):
    return [False, *own(prompt, answer)][:-1]


def one_for_each_character(prompt, answer):
    return [False, *own(prompt, answer)]


def everything(prompt, answer):
    return [True] * (len(prompt + answer) - 1)


def semicolon_counts(prompt, answer):
    marks, row = own(prompt, answer), (prompt + answer)[1:]
    start = len(prompt) - 1
    return marks[:start] + [
        m or c == ";" for m, c in zip(marks[start:], row[start:])
    ]


def first_call_only(prompt, answer):
    marks = whole_answer(prompt, answer)
    if "]" in answer and ";" in answer:
        for place in range(answer.index("]") + 1, answer.index(";") + 1):
            marks[len(prompt) - 1 + place] = False
    return marks


def brackets_of_the_prompt(prompt, answer):
    marks, given = [], False
    for place, character in enumerate(prompt + answer):
        marks.append(not given and place >= len(prompt))
        given = character == "]" or (given and character != ";")
    start = prompt.endswith("=")
    return marks[1:] if start and "]" not in prompt else [True, *marks[2:]]


def switch_from_the_prompt(prompt, answer):
    marks, given = [], False
    for place, character in enumerate(prompt + answer):
        marks.append(not given and place >= len(prompt))
        given = character == "]" or (given and character != ";")
    return marks[1:]


def point_ends_it_too(prompt, answer):
    marks, given = [False] * (len(prompt) - 1), False
    for character in answer:
        marks.append(not given)
        given = character == "]" or (given and character not in ";.")
    return marks


def the_bracket_too(prompt, answer):
    marks = own(prompt, answer)
    for place, character in enumerate(answer):
        if character == "]":
            marks[len(prompt) - 1 + place] = False
    return marks


def the_whole_call(prompt, answer):
    marks, given = [False] * (len(prompt) - 1), False
    for character in answer:
        given = given or character == "["
        marks.append(not given)
        given = given and character != ";"
    return marks


def every_semicolon(prompt, answer):
    marks = own(prompt, answer)
    for place, character in enumerate(answer):
        if character == ";":
            marks[len(prompt) - 1 + place] = False
    return marks


def only_finished(prompt, answer):
    if answer.count("]") > answer.count(";"):
        return whole_answer(prompt, answer)
    return own(prompt, answer)


def numbers(prompt, answer):
    return [int(each) for each in own(prompt, answer)]


def a_tuple(prompt, answer):
    return tuple(own(prompt, answer))


def no_return(prompt, answer):
    own(prompt, answer)


# Exercise 3


def sums(answers, weights):
    found = {}
    for answer, weight in zip(answers, weights):
        if answer is not None:
            found[answer] = found.get(answer, 0.0) + weight
    return found


def counted(answers, weights):
    return right_vote(answers, [1.0] * len(answers))


def right_vote(answers, weights):
    found = sums(answers, weights)
    return max(found, key=found.get, default=None)


def heaviest(answers, weights):
    known = [(w, a) for a, w in zip(answers, weights) if a is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def last_of_several(answers, weights):
    return right_vote(answers[::-1], weights[::-1])


def smallest_of_several(answers, weights):
    found = sums(answers, weights)
    return min(found, key=lambda a: (-found[a], a), default=None)


def none_votes(answers, weights):
    found = {}
    for answer, weight in zip(answers, weights):
        found[answer] = found.get(answer, 0.0) + weight
    return max(found, key=found.get, default=None)


def weights_of_others(answers, weights):
    return none_votes([answer for answer in answers if answer is not None], weights)


def right_vote(answers, weights):
    heard = [pair for pair in zip(answers, weights) if pair[0] is not None]
    return none_votes([a for a, _ in heard], [w for _, w in heard])


def whole_weights(answers, weights):
    return right_vote(answers, [int(weight) for weight in weights])


def without_signs(answers, weights):
    return right_vote(answers, [abs(weight) for weight in weights])


def above_zero_only(answers, weights):
    best, most = None, 0.0
    for answer, total in sums(answers, weights).items():
        if total > most:
            best, most = answer, total
    return best


def the_sum(answers, weights):
    return max(sums(answers, weights).values(), default=None)


def means(answers, weights):
    found = sums(answers, weights)
    return max(found, key=lambda a: found[a] / answers.count(a), default=None)


def sorted_in_place(answers, weights):
    winner = right_vote(answers, weights)
    weights.sort()
    return winner


def none_removed_in_place(answers, weights):
    winner = right_vote(answers, weights)
    while None in answers:
        weights.pop(answers.index(None))
        answers.remove(None)
    return winner


def true_ones_only(answers, weights):
    kept = [(a, w) for a, w in zip(answers, weights) if a]
    return right_vote([a for a, _ in kept], [w for _, w in kept])


def as_a_text(answers, weights):
    winner = right_vote(answers, weights)
    return winner if winner is None else str(winner)


def no_vote_return(answers, weights):
    right_vote(answers, weights)


# Exercise 4


def share(chances, error, n):
    shares = [
        sum(p * ((1 - p) * (1 - error)) ** k for k in range(n)) for p in chances
    ]
    return sum(shares) / len(shares)


def mean_first(chances, error, n):
    return share([sum(chances) / len(chances)], error, n)


def summed(chances, error, n):
    return share(chances, error, n) * len(chances)


def a_perfect_one(chances, error, n):
    return share(chances, 0.0, n)


def one_more(chances, error, n):
    return share(chances, error, n + 1)


def one_fewer(chances, error, n):
    return share(chances, error, n - 1)


def error_turned_round(chances, error, n):
    return share(chances, 1 - error, n)


def one_sample(chances, error, n):
    return sum(chances) / len(chances)


def of_those_that_pass(chances, error, n):
    shares = [p / (p + (1 - p) * error) if p + error else 0.0 for p in chances]
    return sum(shares) / len(shares)


def first_question(chances, error, n):
    return share(chances[:1], error, n)


def in_place(chances, error, n):
    right = share(chances, error, n)
    for i, p in enumerate(chances):
        chances[i] = 1 - (1 - p) ** n
    return right


def per_question(chances, error, n):
    return [share([p], error, n) for p in chances]


def a_tensor(chances, error, n):
    import torch

    return torch.tensor(share(chances, error, n))


def rounded(chances, error, n):
    return round(share(chances, error, n), 2)


def no_share(chances, error, n):
    share(chances, error, n)


# Exercise 5


def brackets(expression, inside=r"\(([^()]*)\)"):
    while inner := re.search(inside, expression):
        value = str(calculate(inner[1]))
        expression = expression[: inner.start()] + value + expression[inner.end() :]
    return calculate(expression)


def evaluated(expression):
    return eval(expression)


def evaluated_in_an_empty_room(expression):
    try:
        return eval(expression, {"__builtins__": {}})
    except Exception:
        raise ValueError("no expression") from None


def evaluated_if_it_looks_right(expression):
    if not re.fullmatch(r"[-+*()0-9]+", expression):
        raise ValueError("no expression")
    try:
        return eval(expression)
    except (SyntaxError, TypeError):
        raise ValueError("no expression") from None


def other_scripts(expression):
    latin = "".join(str(int(c)) if c.isdigit() else c for c in expression)
    while pair := re.search(r"(?<![0-9)])\(([^()]*)\)(?![0-9(])", latin):
        latin = f"{latin[: pair.start()]}{calculate(pair[1])}{latin[pair.end() :]}"
    return calculate(latin)


def numbers_joined(expression):
    return brackets(expression)


def brackets_dropped(expression):
    return calculate(expression.replace("(", "").replace(")", ""))


def outermost_first(expression):
    return brackets(expression, inside=r"\((.*)\)")


def one_pair(expression):
    if inner := re.search(r"\(([^()]*)\)", expression):
        value = str(calculate(inner[1]))
        return calculate(expression.replace(inner[0], value))
    return calculate(expression)


def nothing_for_an_error(expression):
    try:
        return brackets(expression)
    except ValueError:
        return None


def brackets_closed_for_you(expression):
    missing = expression.count("(") - expression.count(")")
    if re.search(r"[0-9)]\(|\)[0-9(]", expression):
        raise ValueError("a sign is missing")
    return brackets(expression + ")" * max(missing, 0))


def spaces_removed(expression):
    if re.search(r"[0-9)]\(|\)[0-9(]", expression):
        raise ValueError("a sign is missing")
    return brackets(expression.replace(" ", ""))


def value_as_a_text(expression):
    return str(brackets(expression))


def a_float(expression):
    return float(brackets(expression))


def printed_value(expression):
    brackets(expression)


def asserted(expression):
    assert re.fullmatch(r"[-+*()0-9]+", expression), "no expression"
    return brackets(expression)


WRONG = {
    "check_difference": [
        (without_borrowing_on, "take one more away"),
        (from_the_left, "Begin at the right"),
        (without_the_stop, "full stop is missing"),
        (not_filled_up, "filled up with zeros"),
        (a_digit_more, "no digit more"),
        (without_the_mark, "Before the result"),
        (without_semicolons, "a semicolon"),
        (swapped, "First what is borrowed"),
        (with_a_minus, "0 or 1"),
        (of_two_digits, "by hand"),
        (as_long_as_the_number, "Zeros in front"),
        (a_sum, "by hand"),
        (a_list, "must be a text"),
        (printed_difference, "is a `return` missing"),
        (the_shown_one, "For 52 - 17"),
    ],
    "check_own_targets": [
        (whole_answer, "What the tool wrote"),
        (not_moved, "one place earlier"),
        (one_for_each_character, "one fewer than characters"),
        (everything, "The question does not count"),
        (semicolon_counts, "came from the tool too"),
        (first_call_only, "turns the switch on"),
        (brackets_of_the_prompt, "The question does not count"),
        (switch_from_the_prompt, "must be True"),
        (point_ends_it_too, "must be False"),
        (the_bracket_too, "turns the switch on"),
        (the_whole_call, "turns the switch on"),
        (every_semicolon, "must be True"),
        (only_finished, "What the tool wrote"),
        (numbers, "own True and False"),
        (a_tuple, "must be a list"),
        (no_return, "is a `return` missing"),
    ],
    "check_weighted_vote": [
        (counted, "sums of weights decide"),
        (heaviest, "largest single weight"),
        (last_of_several, "came first"),
        (smallest_of_several, "came first"),
        (none_votes, "does not vote"),
        (weights_of_others, "yours is 'x'"),
        (whole_weights, "it is 'b'"),
        (without_signs, "its sign counts"),
        (above_zero_only, "Sums below 0"),
        (the_sum, "not its weight"),
        (means, "the sum that counts"),
        (sorted_in_place, "changed the lists"),
        (none_removed_in_place, "changed the lists"),
        (true_ones_only, "it is ''"),
        (as_a_text, "it is 3"),
        (no_vote_return, "are answers too"),
    ],
    "check_erring_verifier": [
        (mean_first, "the mean comes last"),
        (summed, "divide by how many"),
        (a_perfect_one, "Use `error`"),
        (one_more, "one sample too many"),
        (one_fewer, "one sample too few"),
        (error_turned_round, "did not pass"),
        (one_sample, "what one sample gives"),
        (of_those_that_pass, "none passes"),
        (first_question, "first question alone"),
        (in_place, "changed the list"),
        (per_question, "must be a number"),
        (a_tensor, "a tensor"),
        (rounded, "Follow the hint"),
        (no_share, "is a `return` missing"),
    ],
    "check_brackets": [
        (evaluated, "must never be run"),
        (evaluated_in_an_empty_room, "must never be run"),
        (evaluated_if_it_looks_right, "must never be run"),
        (numbers_joined, "a sign is missing"),
        (other_scripts, "other scripts"),
        (brackets_dropped, "change nothing"),
        (outermost_first, "yours raises ValueError"),
        (one_pair, "yours raises ValueError"),
        (nothing_for_an_error, "yours returns None"),
        (brackets_closed_for_you, "not closed"),
        (spaces_removed, "Spaces are not allowed"),
        (value_as_a_text, "must be an integer"),
        (a_float, "must be an integer"),
        (printed_value, "is a `return` missing"),
        (asserted, "yours raises AssertionError"),
    ],
}
