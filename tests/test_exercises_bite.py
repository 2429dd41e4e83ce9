"""Rule 3: the check of an exercise says what is wrong, and accepts what is right.

Every check of lib/checks/ rejects the wrong answers that are planted in
tests/planted/ (`WRONG = {"check_x": [(answer, words of its message), ...]}`), in
words that name the mistake, each check at least two different ones. It stands in one
lesson, where it says "not attempted yet", and in that lesson's solutions, where it says
"correct"; the exercise and its solution link to each other.
"""

import ast
import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cells import Section, expect_none, outline, parse, printed, slug
from nbformat import NotebookNode
from notebooks import ROOT, code_cells, lesson_paths, read_ipynb, solution_paths, tags
from small_lessons import code, complaint, lesson, prose
from torch import nn

from lib.checks import Mistake, exercise

Check = Callable[[object], None]
Planted = Sequence[tuple[object, str]]  # wrong answers, words of their messages

SHORTEST_MESSAGE = 25  # characters, enough to name a mistake
CRASH = ("Your code raised", "The check itself stopped")  # how a crash is told


# The checks by themselves


def read_checks(root: Path = ROOT) -> dict[str, Check]:
    """All checks of the library, by name."""
    found = {}
    for path in sorted((root / "lib" / "checks").glob("lesson_*.py")):
        module = importlib.import_module(f"lib.checks.{path.stem}")
        checks = [name for name in module.__all__ if name.startswith("check_")]
        found |= {name: getattr(module, name) for name in checks}
    return found


def read_planted() -> dict[str, Planted]:
    """All planted wrong answers, by the name of their check."""
    found = {}
    for path in sorted((Path(__file__).parent / "planted").glob("lesson_*.py")):
        found |= importlib.import_module(f"planted.{path.stem}").WRONG
    return found


def bite_problems(check: Check, planted: Planted) -> list[str]:
    """Wrong answers that a check accepts, or rejects without naming the mistake."""
    problems, messages = [], set()
    for number, (answer, words) in enumerate(planted, start=1):
        verdict = check.run(answer)
        message = verdict.message.removeprefix("not yet. ")
        where = f"{check.__name__}, wrong answer {number}"
        messages.add(message)
        if verdict.status != "wrong":
            problems.append(f"{where}: found {verdict.status}")
        elif message.startswith(CRASH):
            problems.append(f"{where}: only crashed: {message}")
        elif words not in message or len(message) < SHORTEST_MESSAGE:
            problems.append(f"{where}: {words!r} is not what it says: {message!r}")
    if len(planted) < 2 or len(messages) < 2:
        name = check.__name__
        problems.append(f"{name}: less than two different mistakes are planted")
    return problems


def manner_problems(check: Check, planted: Planted) -> list[str]:
    """Checks that take a stub for an answer, or stop at a reader's own error."""
    cases = [(..., "not attempted", "not attempted yet")]
    if any(callable(answer) for answer, _ in planted):
        cases += [
            (raiser(NotImplementedError), "not attempted", "not attempted yet"),
            (raiser(ZeroDivisionError), "wrong", "ZeroDivisionError"),
        ]
    problems = []
    for answer, status, words in cases:
        verdict = check.run(answer)
        if verdict.status != status or words not in verdict.message:
            name = getattr(answer, "__name__", "...")
            said = f"{verdict.status}: {verdict.message}"
            problems.append(f"{check.__name__}: for {name} it says {said}")
    return problems


def raiser(error: type[Exception]) -> Callable:
    """An answer that raises this error, whatever it is called with."""

    def answer(*args: object, **kwargs: object) -> None:
        raise error("your code here")

    answer.__name__ = f"raise_{error.__name__}"
    return answer


# The checks on the page


def calls(cell: NotebookNode) -> list[str]:
    """The checks that a code cell calls."""
    nodes = [n.func for n in ast.walk(parse(cell.source)) if isinstance(n, ast.Call)]
    names = [getattr(node, "id", getattr(node, "attr", "")) for node in nodes]
    return [name for name in names if name.startswith("check_")]


def page_problems(name: str, tasks: NotebookNode, solutions: NotebookNode) -> list[str]:
    """Exercises of one lesson without a check, a verdict, a solution or a link."""
    problems = [
        f"{name}: {wrong}"
        for wrong in verdict_problems(tasks, "not attempted yet", "lessons")
        + verdict_problems(solutions, "correct", "solutions")
    ]
    asked, solved = exercises(tasks), exercises(solutions)
    for title, section in asked.items():
        where = f"{name}, {title}"
        anchor = slug(title)
        if f"[Solution](../solutions/{name}.ipynb#{anchor})" not in section.prose:
            problems.append(f"{where}: no link to its solution, #{anchor}")
        if title not in solved:
            problems.append(f"{where}: no solution under the same heading")
        elif f"[Exercise](../lessons/{name}.ipynb#{anchor})" not in solved[title].prose:
            problems.append(f"{where}: its solution does not link back, #{anchor}")
        elif checks_of(section) != checks_of(solved[title]):
            problems.append(f"{where}: its solution has another check")
        if len(checks_of(section)) != 1:
            problems.append(f"{where}: it calls {checks_of(section)}, not one check")
    extra = solved.keys() - asked.keys()
    return problems + [f"{name}: a solution without exercise: {t}" for t in extra]


def exercises(notebook: NotebookNode) -> dict[str, Section]:
    """The sections of a notebook that are exercises or their solutions."""
    found = outline(notebook)
    return {s.title: s for s in found if re.match(r"Exercise \d+: ", s.title)}


def checks_of(section: Section) -> list[str]:
    """The checks that the cells of a section call."""
    return [name for cell in section.code for name in calls(cell)]


def verdict_problems(notebook: NotebookNode, verdict: str, folder: str) -> list[str]:
    """Checks that did not print this verdict; check cells without their tag."""
    problems = []
    for cell in code_cells(notebook):
        names = calls(cell)
        for name in names:
            if f"{name}: {verdict}" not in printed(cell):
                said = printed(cell).strip() or "nothing"
                problems.append(f"{folder}: {name} should say {verdict!r}, says {said}")
        if (len(names) == 1) != ("exercise" in tags(cell)) or len(names) > 1:
            rule = "a cell tagged `exercise` calls one check"
            problems.append(f"{folder}: {rule}: {names}")
    return problems


def use_problems(names: Sequence[str], used: Sequence[str]) -> list[str]:
    """Checks that no lesson uses, or several; calls of checks that do not exist."""
    problems = [
        f"{name}: used in {used.count(name)} cells of the lessons, not in one"
        for name in names
        if used.count(name) != 1
    ]
    unknown = sorted(set(used) - set(names))
    return problems + [f"{name}: no such check in lib/" for name in unknown]


# The rule, on the course


def test_every_check_rejects_the_planted_mistakes() -> None:
    planted = read_planted()
    checks = read_checks()
    assert checks, "lib/checks/ holds no check"
    found = [bite_problems(c, planted.get(name, [])) for name, c in checks.items()]
    found.append([f"{name}: planted, but no check" for name in planted.keys() - checks])
    expect_none(sum(found, []))


def test_every_check_is_patient_with_stubs_and_errors() -> None:
    planted = read_planted()
    checks = read_checks().items()
    found = [manner_problems(check, planted.get(name, [])) for name, check in checks]
    expect_none(sum(found, []))


def test_every_exercise_has_its_check_and_its_solution() -> None:
    solutions = {path.stem: path for path in solution_paths()}
    problems = []
    for path in lesson_paths():
        solution = solutions.pop(path.stem, None)
        pair = read_ipynb(path), read_ipynb(solution) if solution else lesson()
        problems += page_problems(path.stem, *pair)
    expect_none(problems + [f"{name}: solutions without lesson" for name in solutions])


def test_every_check_is_used_in_one_lesson() -> None:
    cells = [cell for path in lesson_paths() for cell in code_cells(read_ipynb(path))]
    used = [name for cell in cells for name in calls(cell)]
    expect_none(use_problems(list(read_checks()), used))


# The rule's own test, on small broken checks and lessons


@exercise
def check_double(answer: Callable[[int], int]) -> str:
    """A check as it should be."""
    if answer(3) == 9:
        raise Mistake("3 gave 9: that is the square, the double is the sum 3 + 3")
    if answer(3) != 6:
        raise Mistake(f"3 gave {answer(3)}: the double of 3 is the sum 3 + 3")
    return "Twice as much."


@exercise
def check_nothing(answer: object) -> str:
    """A check that accepts everything."""
    return "Well done."


@exercise
def check_all(answer: object) -> str:
    """A check that rejects everything, stubs too, with the same words."""
    raise Mistake("this is not the answer that was expected")


@exercise
def check_terse(answer: object) -> str:
    """A check that does not say why."""
    raise Mistake("wrong" if answer == 1 else "no")


SQUARE, HALF = (lambda n: n * n, "the square"), (lambda n: n / 2, "3 gave 1.5")


def test_a_good_check_is_accepted() -> None:
    assert not bite_problems(check_double, [SQUARE, HALF])
    assert not manner_problems(check_double, [SQUARE, HALF])
    assert check_double.run(lambda n: 2 * n).status == "correct"


def test_a_crash_is_told_of_the_one_who_crashed() -> None:
    names: dict = {}
    source = "def check_size(answer):\n    return str(answer(2).size)"
    exec(compile(source, str(ROOT / "lib" / "checks" / "lesson_99.py"), "exec"), names)
    check = exercise(names["check_size"])
    readers = check.run(lambda x: x / 0).message
    assert readers == "not yet. Your code raised ZeroDivisionError: division by zero"
    for answer, kind in ((lambda x: x, "function"), (3, "int")):
        said = check.run(answer).message
        assert said.startswith("not yet. The check itself stopped, with ")
        assert said.endswith(f"given a {kind}: is that what the exercise asks for?")


def test_a_module_without_forward_is_an_attempt() -> None:
    class Misspelt(nn.Module):
        def foward(self, x: int) -> int:
            return 2 * x

    said = check_double.run(Misspelt()).message
    assert said == (
        "not yet. Your module has no method `forward`: is its name spelt right?"
    )


def test_other_arguments_are_told() -> None:
    said = check_double.run(lambda: 2).message
    assert "takes 0 positional arguments" in said
    assert said.endswith("(Compare the arguments with those of the exercise.)")


def test_a_check_that_accepts_everything_is_found() -> None:
    first, second, third = bite_problems(check_nothing, [SQUARE, HALF])
    assert first == "check_nothing, wrong answer 1: found correct"
    assert second == "check_nothing, wrong answer 2: found correct"
    said = manner_problems(check_nothing, [SQUARE])
    assert "for raise_NotImplementedError it says correct" in said[0]
    assert "for raise_ZeroDivisionError it says correct" in said[1]


def test_a_check_that_rejects_everything_is_found() -> None:
    same = [(1, "not the answer"), (2, "not the answer")]
    assert "less than two different" in complaint(bite_problems(check_all, same))
    assert "for raise_NotImplementedError it says wrong" in "\n".join(
        manner_problems(check_all, [SQUARE])
    )
    refused = "check_double: not yet. this is not the answer that was expected"
    said = complaint(pair_problems(verdict=refused))
    assert "solutions: check_double should say 'correct', says " + refused in said


def test_a_check_without_reasons_is_found() -> None:
    said = bite_problems(check_terse, [(1, "wrong"), (2, "no")])
    assert len(said) == 2 and "'wrong' is not what it says" in said[0]
    said = complaint(bite_problems(check_double, [SQUARE, HALF, ("2 * n", "text")]))
    assert "wrong answer 3: only crashed" in said
    other = (lambda n: 0, "the square")
    assert "not what it says" in complaint(bite_problems(check_double, [SQUARE, other]))


def test_too_few_planted_mistakes_are_found() -> None:
    for planted in ([], [SQUARE], [SQUARE, SQUARE]):
        said = complaint(bite_problems(check_double, planted))
        assert said == "check_double: less than two different mistakes are planted"


TITLE = "Exercise 1: Why `n + n`?"
TASK = f"### {TITLE}\n\n[Solution](../solutions/02_x.ipynb#exercise-1-why-n--n)"
SOLUTION = f"### {TITLE}\n\n[Exercise](../lessons/02_x.ipynb#exercise-1-why-n--n)"
CALL = "check_double(double)"
OPEN, CORRECT = "check_double: not attempted yet\n", "check_double: correct. Good."


def pair_problems(
    task: str = TASK,
    solution: str = SOLUTION,
    call: str = CALL,
    open_verdict: str = OPEN,
    verdict: str = CORRECT,
    cell_tags: Sequence[str] = ("exercise",),
) -> list[str]:
    """What is said about a pair of one exercise and its solution."""
    tasks = lesson(prose(task), code(call, open_verdict, tags=cell_tags))
    solutions = lesson(prose(solution), code(CALL, verdict, tags=["exercise"]))
    return page_problems("02_x", tasks, solutions)


def test_a_good_exercise_is_accepted() -> None:
    assert not pair_problems()


def test_a_missing_link_is_found() -> None:
    bare, wrong = f"### {TITLE}", TASK.replace("#exercise-1-why-n--n", "#exercise-1")
    for task in (bare, wrong):
        assert "no link to its solution" in complaint(pair_problems(task=task))
    for back in (bare, SOLUTION.replace("02_x", "01_x")):
        assert "does not link back" in complaint(pair_problems(solution=back))


def test_an_exercise_without_check_or_solution_is_found() -> None:
    said = "\n".join(pair_problems(call="print(1)", cell_tags=()))
    assert "it calls [], not one check" in said
    said = "\n".join(pair_problems(solution=SOLUTION.replace("Why", "How")))
    assert "no solution under the same heading" in said
    assert "a solution without exercise: Exercise 1: How" in said
    assert "says nothing" in complaint(pair_problems(open_verdict=""))
    said = complaint(pair_problems(cell_tags=()))
    assert "a cell tagged `exercise` calls one check" in said


def test_an_unused_or_unknown_check_is_found() -> None:
    assert not use_problems(["check_a", "check_b"], ["check_b", "check_a"])
    assert "check_b: used in 0" in complaint(use_problems(["check_b"], []))
    twice = ["check_b", "check_b"]
    assert "check_b: used in 2" in complaint(use_problems(["check_b"], twice))
    assert "check_c: no such check" in complaint(use_problems([], ["check_c"]))
