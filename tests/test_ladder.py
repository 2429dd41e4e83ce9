"""The ladder shows what the lessons print, and its picture is up to date."""

import re
from dataclasses import replace
from pathlib import Path

import ladder_picture
import ladder_svg
import pytest
import torch
from course_data import Rung, read_course, read_ladder
from notebooks import ROOT, code_cells, read_ipynb

from lib.models import count_parameters
from lib.train.checkpoint import load_checkpoint

DRAWN = re.compile(r'<text class="name" y="16">([^<]+)<')


def printed_text(lesson: Path) -> str:
    """Everything that the code of a lesson printed, as stored."""
    outputs = (out for cell in code_cells(read_ipynb(lesson)) for out in cell.outputs)
    return "\n".join(out.text for out in outputs if out.output_type == "stream")


def rung_problems(rung: Rung, root: Path) -> list[str]:
    """What a rung claims and its lesson did not print."""
    lesson = root / "lessons" / f"{rung.lesson}.py"
    if not lesson.exists():
        return [f"{rung.name}: there is no lesson {rung.lesson}"]
    lines = printed_text(lesson).splitlines()
    own = [line for line in lines if f"| {rung.name} |" in line]
    wanted = {
        "parameters": f"{rung.parameters:,} parameters",
        "loss": f"{rung.validation_loss:.4f} nats",
    }
    problems = [
        f"{rung.name}: {lesson.stem} prints no {what} of {text!r}"
        for what, text in wanted.items()
        if not any(re.search(rf"(?<![\d.,]){re.escape(text)}", line) for line in own)
    ]
    if f"  {rung.sample!r}" not in lines:
        problems.append(f"{rung.name}: {lesson.stem} prints another sample")
    return problems


def ladder_problems(rungs: list[Rung], root: Path) -> list[str]:
    """What is wrong with the recorded ladder of a tree."""
    problems = [
        problem
        for rung in rungs
        if not rung.checkpoint
        for problem in rung_problems(rung, root)
    ]
    losses = [rung.validation_loss for rung in rungs]
    if losses != sorted(losses, reverse=True):
        problems.append(f"losses do not fall: {losses}")
    if len({rung.name for rung in rungs}) < len(rungs):
        problems.append("two rungs have the same name")
    return problems


def test_every_rung_is_what_its_lesson_printed() -> None:
    rungs = read_ladder()
    assert rungs, "data/ladder.json holds no rungs: run `make lessons`"
    assert ladder_problems(rungs, ROOT) == []


def shipped_problems(rung: Rung) -> list[str]:
    """What a rung says about a checkpoint of `data/` that is not so."""
    checkpoint = load_checkpoint(ROOT / "data" / rung.checkpoint)
    ids = torch.tensor([checkpoint.tokenizer.encode("\n" + rung.sample)])
    ids = ids[:, : checkpoint.model.context_length + 1]
    with torch.no_grad():
        logits = checkpoint.model(ids[:, :-1])
    surprise = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).item()
    wrong = {
        "loss": checkpoint.notes["validation_loss"] != rung.validation_loss,
        "parameters": count_parameters(checkpoint.model) != rung.parameters,
        # A model's own text surprises it as little as the text that it learned from.
        "sample": surprise > rung.validation_loss + 0.5,
    }
    return [f"{rung.name}: another {what}" for what in wrong if wrong[what]]


def test_every_shipped_rung_is_what_its_checkpoint_says() -> None:
    shipped = {rung.checkpoint: rung for rung in read_ladder() if rung.checkpoint}
    assert shipped.keys() == ladder_picture.SHIPPED.keys()
    assert sum(map(shipped_problems, shipped.values()), []) == []


def test_a_wrong_shipped_rung_is_found() -> None:
    rungs = read_ladder()
    (good,) = (rung for rung in rungs if rung.checkpoint)
    bigram = next(rung for rung in rungs if rung.lesson == "02_bigram")
    for wrong in (
        {"validation_loss": 1.4},
        {"parameters": good.parameters - 1},
        {"sample": bigram.sample},
    ):
        assert len(shipped_problems(replace(good, **wrong))) == 1, wrong


def test_the_picture_ends_with_the_best_model_and_shows_every_milestone() -> None:
    rungs = read_ladder()
    names = DRAWN.findall(ladder_svg.inline(rungs, []))
    for slug in ladder_svg.MILESTONES:
        own = [rung.name for rung in rungs if rung.lesson[3:] == slug]
        assert own and own[-1] in names, f"no bar for the best model of {slug}"
    assert names[0] == "Uniform" and names[-1] == rungs[-1].name
    assert rungs[-1].checkpoint == "base.safetensors"


def test_the_picture_of_the_readme_is_up_to_date() -> None:
    stored = (ROOT / "book" / "_static" / "ladder.svg").read_text(encoding="utf-8")
    current = ladder_svg.file(read_ladder(), read_course().next_rungs())
    assert stored == current, "run `python book/_tools/ladder_picture.py`"


def test_the_picture_says_in_words_what_it_shows() -> None:
    text = ladder_svg.describe(ladder_svg.steps(read_ladder()))
    best = read_ladder()[-1]
    assert f"{best.name} {best.validation_loss:.2f}" in text


def test_only_rungs_that_coincide_are_left_out() -> None:
    rungs = [
        rung("uniform", 4.0, lesson="01_text_and_tokens"),
        rung("unigram", 3.0, lesson="01_text_and_tokens"),
        rung("first bigram", 2.52, lesson="02_bigram"),
        rung("bigram", 2.5, lesson="02_bigram"),
        rung("far from all", 2.4, lesson="08_feed_forward"),
        rung("GPT", 1.84, lesson="11_training"),
        rung("near GPT", 1.81, lesson="14_tokenization"),
        replace(rung("shipped", 1.80), lesson="", checkpoint="base.safetensors"),
    ]
    drawn = ["uniform", "unigram", "bigram", "far from all", "GPT", "shipped"]
    assert [one.name for one in ladder_svg.steps(rungs)] == drawn


def test_a_sample_is_written_as_text_not_as_markup() -> None:
    picture = ladder_svg.inline([rung("<a>", 2.0, sample="x < y\n& z")], [])
    assert "&lt;a&gt;" in picture and "x &lt; y &amp; z" in picture


# The test's own test, on a small tree with one lesson

NOTEBOOK = """{"cells": [{"cell_type": "code", "execution_count": 1, "id": "a",
"metadata": {}, "source": "",
"outputs": [{"name": "stdout", "output_type": "stream",
"text":
"Ladder | Small | 1,234 parameters | 2.5000 nats per character\\n  'to be'\\n"}]}],
"metadata": {}, "nbformat": 4, "nbformat_minor": 5}"""


def rung(
    name: str,
    loss: float,
    parameters: int = 1234,
    lesson: str = "02_x",
    sample: str = "to be",
) -> Rung:
    """A rung for a test."""
    return Rung(name, lesson, parameters, 0.1, 1, loss, sample)


@pytest.mark.parametrize(
    ("rungs", "said"),
    [
        ([rung("Small", 2.5)], ""),
        ([rung("Small", 2.4)], "prints no loss of '2.4000 nats'"),
        ([rung("Small", 2.5, parameters=234)], "prints no parameters of '234"),
        ([rung("Other", 2.5)], "Other: 02_x prints no parameters"),
        ([rung("Small", 2.5, sample="not")], "prints another sample"),
        ([rung("Small", 2.5, lesson="03_y")], "there is no lesson 03_y"),
        ([rung("Small", 2.5), rung("Small", 2.6)], "losses do not fall"),
        ([rung("Small", 2.5), rung("Small", 2.5)], "the same name"),
    ],
)
def test_a_wrong_rung_is_found(rungs: list[Rung], said: str, tmp_path: Path) -> None:
    lesson = tmp_path / "lessons" / "02_x.py"
    lesson.parent.mkdir()
    lesson.write_text("", encoding="utf-8")
    lesson.with_suffix(".ipynb").write_text(NOTEBOOK, encoding="utf-8")
    problems = "\n".join(ladder_problems(rungs, tmp_path))
    assert said in problems and bool(said) == bool(problems)
