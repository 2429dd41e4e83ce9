"""Rule 2: a claim raises where the course is tested, and not in a reader's run."""

import ast
import os
import re

import pytest
from cells import expect_none, is_claim, parse
from nbformat import NotebookNode
from notebooks import code_cells, lesson_paths, pair_name, read_py, solution_paths
from small_lessons import code, complaint, lesson

from lib.checks.claims import claim

CLOCK = re.compile(r"perf_counter|process_time|monotonic|timeit|seconds\b|elapsed")


@pytest.fixture(params=["a reader's run", "a test of the course"])
def strict(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to run a lesson."""
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    if request.param == "a test of the course":
        monkeypatch.setenv("COURSE_STRICT", "1")
    return "COURSE_STRICT" in os.environ


def test_a_claim_that_holds_says_nothing(strict: bool, capsys) -> None:
    claim(2 > 1, "two is more than one")
    assert capsys.readouterr().out == ""


def test_a_claim_that_fails_raises_in_a_test_and_prints_for_a_reader(
    strict: bool, capsys
) -> None:
    words = "four heads beat one"
    if strict:
        with pytest.raises(AssertionError, match=words):
            claim(1 > 2, words)
        return
    claim(1 > 2, words)
    said = capsys.readouterr().out
    assert said.startswith("In this run it is different.") and words in said


def test_a_claim_says_something(strict: bool) -> None:
    with pytest.raises(ValueError, match="words is empty"):
        claim(True, " ")
    with pytest.raises(TypeError, match="words=3.5 must be a string"):
        claim(True, 3.5)


# The rule, on the course


def claim_problems(name: str, notebook: NotebookNode) -> list[str]:
    """Claims without words of their own, and times that a notebook depends on."""
    problems = []
    for number, cell in enumerate(code_cells(notebook)):
        where = f"{name}, code cell {number}"
        for node in ast.walk(parse(cell.source)):
            if is_claim(node) and not says_something(node):
                problems.append(f"{where}: this claim has no words in the cell")
            if isinstance(node, ast.Assert) or is_claim(node):
                if clock := names_in(node) & times(cell):
                    problems.append(f"{where}: {min(clock)} is a time")
    return problems


def says_something(node: ast.Call) -> bool:
    """Whether the second argument of a call is a text written there, not computed."""
    words = node.args[1] if len(node.args) == 2 else None
    return isinstance(words, ast.Constant | ast.JoinedStr)


def names_in(node: ast.AST) -> set[str]:
    """The names and attributes that an expression reads."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def times(cell: NotebookNode) -> set[str]:
    """Names that stand for a time: clocks, seconds, what is computed from them."""
    tree = parse(cell.source)
    found = {name for name in names_in(tree) if CLOCK.search(name)}
    for node in ast.walk(tree):  # in the order of the cell, near enough
        if isinstance(node, ast.Assign) and names_in(node.value) & found:
            found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return found


PAIRS = lesson_paths() + solution_paths()


@pytest.mark.parametrize("path", PAIRS, ids=pair_name)
def test_claims_have_words_and_no_notebook_asserts_a_time(path) -> None:
    expect_none(claim_problems(pair_name(path), read_py(path)))


# The rule's own test, on small broken lessons


def test_a_claim_whose_words_are_computed_is_found() -> None:
    broken = lesson(code("claim(loss < 2, words)"))
    assert "no words in the cell" in complaint(claim_problems("x", broken))
    fine = lesson(code("claim(loss < 2, f'the loss falls below {2}')"))
    assert not claim_problems("x", fine)


def test_an_assertion_about_time_is_found_also_through_variables() -> None:
    for source in (
        "start = process_time()\nspent = process_time() - start\nassert spent < 2",
        "a = time.perf_counter()\nb = a / 2\nclaim(b > 3, 'it is quick')",
        "assert time.perf_counter() > 0",
    ):
        assert "is a time" in complaint(claim_problems("x", lesson(code(source))))
    assert not claim_problems("x", lesson(code("n = len(ids)\nassert n > 3")))
