"""Diagrams of the lesson on reasoning: steps, a tool, and a choice among samples."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["serial_steps", "written_steps", "tool_loop", "sample_tree"]

SERIAL = (
    "A model of two blocks, twice. Left, it answers at once: a token passes two, "
    "and the answer is there. Right, it writes two steps first: each token that it "
    "writes goes back in as the next input, so the answer comes after six blocks in a "
    "row."
)
SUM = "57+68=15;12;>125."
NEEDED = {7: (1, 4), 10: (0, 3, 6), 13: (9,), 14: (10,), 15: (7,)}
WRITTEN = (
    f"The sum {SUM} as characters. Arrows say which earlier ones a digit needs. The "
    "units 5 need 7 and 8. The tens 2 need 5, 6 and the carry 1 that the first step "
    "wrote. The digits of the result 125 only copy: the last carry, and the second "
    "digit of each step."
)
TOOL = (
    "A loop. The model writes [12+34] and stops at the bracket that closes. The "
    "calculator returns 46, which is put behind the call with a semicolon. The model "
    "reads the call and the result, and goes on. The result is not its own, so it does "
    "not count in the loss."
)
SAMPLES = ("125", "115", "125", "124", "125")
TREE = (
    f"One question, 57+68=, and five sampled answers: {', '.join(SAMPLES)}. A vote "
    "takes 125, which comes most often. A verifier looks at each of them and takes the "
    "one that it likes best."
)


def serial_steps() -> Diagram:
    """Draw an answer at once, and one after two written steps."""
    diagram = Diagram("serial-steps", "More computation for an answer", SERIAL, 310)
    diagram.note(76, 30, "answer at once", "ink", "middle")
    diagram.note(316, 30, "two steps first", "ink", "middle")
    for left, columns in ((32, ["="]), (176, ["=", "step", "step"])):
        for number, word in enumerate(columns):
            x, last = left + 98 * number, number == len(columns) - 1
            tone = "ink" if number == 0 else "new"
            diagram.arrow([(x + 44, 244), (x + 44, 212)])
            for top in (176, 118):
                diagram.box(x, top, 88, 36, "block", tone="ink")
            diagram.arrow([(x + 44, 176), (x + 44, 154)])
            diagram.arrow([(x + 44, 118), (x + 44, 92)])
            diagram.note(x + 44, 258, word, tone, "middle")
            word = "answer" if last else "step"
            diagram.note(x + 44, 80, word, "accent" if last else "new", "middle")
            if not last:
                way = [(x + 66, 80), (x + 93, 80), (x + 93, 258), (x + 118, 258)]
                diagram.arrow(way, "new", 2.5)
    diagram.note(84, 284, "2 blocks in a row", "ink", "middle")
    diagram.note(316, 284, "6 blocks in a row", "ink", "middle")
    return diagram


def written_steps() -> Diagram:
    """Draw a sum with its steps, and what each digit looks back at."""
    diagram = Diagram("written-steps", "What each digit needs", WRITTEN, 250)
    wide, left, top = 26, 19, 112
    for place, character in enumerate(SUM):
        tone = "ink" if place < 6 else "new" if place < 13 else "accent"
        diagram.cells(left + wide * place, top, [[character]], wide, 34, tone)
    for place, sources in NEEDED.items():
        up = place < 12
        edge, turn = (top, -1) if up else (top + 34, 1)
        tone = "new" if up else "accent"
        x = left + wide * (place + 0.5)
        for source in sources:
            start = left + wide * (source + 0.5)
            far = edge + turn * (22 + 5.5 * (place - source))
            points = ((start, edge), (start, far), (x, far), (x, edge + turn * 3))
            diagram.bow(points, tone, 1.5, head=True)
    diagram.note(left + wide * 3, 226, "question", "ink", "middle")
    diagram.note(left + wide * 8.5, 226, "steps", "new", "middle")
    diagram.note(left + wide * 14.5, 226, "result", "accent", "middle")
    return diagram


def tool_loop() -> Diagram:
    """Draw a model that calls a calculator."""
    diagram = Diagram("tool-loop", "A call, and its result", TOOL, 250)
    diagram.box(24, 96, 120, 60, "model", "writes")
    diagram.box(336, 96, 120, 60, "calculator", "returns", "new")
    diagram.arrow([(144, 112), (336, 112)])
    diagram.shape(240, 98, "[12+34]", "ink")
    diagram.arrow([(336, 142), (144, 142)], "new", 2.5)
    diagram.shape(240, 160, "46;", "new")
    diagram.note(240, 34, "the text so far", "ink", "middle")
    diagram.shape(240, 58, "(12+34)*56=[12+34]46;", "ink")
    diagram.arrow([(84, 156), (84, 196), (120, 196)])
    diagram.shape(128, 196, "[46*56]", "ink", "start")
    diagram.note(206, 196, "the next call", "ink", "start")
    diagram.note(240, 228, "what the calculator wrote has no loss", "new", "middle")
    return diagram


def sample_tree() -> Diagram:
    """Draw one question, several answers, and two ways to take one."""
    diagram = Diagram("sample-tree", "Five samples, one answer", TREE, 330)
    diagram.box(170, 20, 140, 38, "57+68=")
    for number, sample in enumerate(SAMPLES):
        x, right = 52 + 94 * number, sample == "125"
        tone = "accent" if right else "quiet"
        diagram.arrow([(240, 58), (x, 112)], "edge")
        diagram.cells(x - 30, 114, [[sample]], 60, 36, tone)
        way = [(x, 150), (120, 218)]
        diagram.arrow(way, "accent" if right else "edge", 1.5)
        diagram.line([(x, 150), (360, 218)], "edge", 1)
    diagram.box(40, 220, 160, 54, "vote", "the most frequent", "accent")
    diagram.box(280, 220, 160, 54, "verifier", "the best score", "new")
    diagram.note(120, 302, "125: three of five", "ink", "middle")
    diagram.note(360, 302, "looks at each alone", "ink", "middle")
    return diagram
