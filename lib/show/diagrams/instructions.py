"""Diagrams of the lesson on instruction tuning: what is learned, and what is tested."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["tuned_row", "held_out_grid"]

QUESTION, ANSWER = 'Q: Shout "king".↵A: ', "KING↵"
TUNED = (
    "Above, a base model goes through tuning and becomes a tuned model of the same "
    'shape. Below, the row that it learns from: the question Q: Shout "king". and the '
    "opening A: are read and have no loss; the answer KING and the end of its line, "
    "which is the stop, are what it learns to write."
)
GRID = (
    "A table. Columns: known wordings, unseen wordings. Rows: known words, unseen "
    "words. Tuning uses known words in known wordings. The first test has unseen words "
    "in known wordings, the second one unseen words in unseen wordings."
)


def tuned_row() -> Diagram:
    """Draw a base that is tuned, and a row with the places that count."""
    diagram = Diagram("tuned-row", "A row to be tuned on", TUNED, height=262)
    diagram.box(24, 24, 150, 56, "base", "continues a text")
    diagram.box(306, 24, 150, 56, "tuned", "answers", "new")
    diagram.arrow([(174, 52), (306, 52)], "new", 2.5)
    diagram.note(240, 34, "rows like this", "ink", "middle")
    wide, top = 18, 124
    left = 240 - wide * (len(QUESTION) + len(ANSWER)) / 2
    middle = left + wide * len(QUESTION)
    diagram.cells(left, top, [QUESTION.replace(" ", "·")], wide, 36, "quiet")
    diagram.cells(middle, top, [ANSWER], wide, 36, "new")
    diagram.line([(left, 176), (middle - 4, 176)], "edge")
    diagram.line([(middle, 176), (middle + wide * len(ANSWER), 176)], "new", 2.5)
    diagram.note((left + middle) / 2, 196, "is read: no loss", "ink", "middle")
    diagram.note(middle + wide * len(ANSWER) / 2, 196, "is learned", "new", "middle")
    stop = middle + wide * (len(ANSWER) - 0.5)
    diagram.arrow([(stop - 70, 236), (stop, 236), (stop, 206)], "new", 1.5)
    diagram.note(stop - 78, 236, "with the end of its line: the stop", "ink", "end")
    return diagram


def held_out_grid() -> Diagram:
    """Draw what is kept for the tests: words, and wordings."""
    diagram = Diagram("held-out-grid", "What is kept for two tests", GRID, height=222)
    diagram.note(216, 28, "known wordings", "ink", "middle")
    diagram.note(378, 28, "unseen wordings", "ink", "middle")
    diagram.note(122, 80, "known words", "ink", "end")
    diagram.note(122, 160, "unseen words", "ink", "end")
    diagram.box(138, 46, 156, 68, "tuning", "learns from these", "accent")
    diagram.rect(300, 46, 156, 68, "paper", "rule", 1.5)
    diagram.note(378, 80, "not used", "quiet", "middle")
    diagram.box(138, 126, 156, 68, "first test", '"words"', "new")
    diagram.box(300, 126, 156, 68, "second test", '"wordings"', "new")
    return diagram
