"""Diagrams of the lesson on rewards: the loop, one group of answers, and the clip."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram, signed

__all__ = ["reward_loop", "answer_group", "clipped_ratio"]

LOOP = (
    "The loop of reinforcement learning. The model answers one prompt several times. A "
    "verifier gives each answer a reward. Rewards become advantages, by comparing the "
    "answers with each other. The update makes answers with a positive advantage more "
    "likely, and the changed model answers the next prompt."
)
ANSWERS = (("0579.", 1), ("0569.", 0), ("0479.", 0), ("..>0579.", 1))

GROUP = (
    "One prompt, 123+456=, and four answers with the rewards "
    f"{', '.join(str(reward) for _, reward in ANSWERS)}. Their mean is 0.5. A bar for "
    "each advantage, the reward less the mean: +0.5 for the two right answers, to the "
    "right; −0.5 for the two wrong ones, to the left."
)
ZERO, UNIT, ROW = 350, 160, 44  # of the bars

CLIP = (
    "The gain at one token against the ratio of its new and its old probability, with "
    "a clip of 0.2. For a positive advantage the gain rises with the ratio and is flat "
    "from 1.2 on. For a negative one it falls with the ratio, and is flat below 0.8. "
    "Where it is flat there is no gradient."
)


def reward_loop() -> Diagram:
    """Draw how a model answers, is rewarded, and is changed."""
    diagram = Diagram("reward-loop", "Answer, reward, update", LOOP, height=330)
    diagram.box(16, 24, 130, 54, "prompt", "123+456=", "quiet")
    diagram.arrow([(146, 51), (184, 51)])
    diagram.box(184, 24, 112, 54, "model", "", "accent")
    diagram.arrow([(296, 51), (334, 51)])
    diagram.cells(334, 16, [[answer] for answer, _ in ANSWERS], 104, 28)
    diagram.note(386, 144, "G answers", "quiet", "middle")
    diagram.arrow([(386, 158), (386, 196)], "new", 2.5)
    diagram.box(310, 196, 152, 54, "verifier", "a program", "new")
    diagram.arrow([(386, 250), (386, 290), (336, 290)], "new", 2.5)
    diagram.note(470, 272, "rewards", "ink", "end")
    diagram.box(176, 263, 160, 54, "advantages", "above the mean?", "new")
    diagram.arrow([(176, 290), (80, 290), (80, 250)], "new", 2.5)
    diagram.box(16, 196, 128, 54, "update", "log p times A", "new")
    diagram.arrow([(80, 196), (80, 140), (240, 140), (240, 78)], "new", 2.5)
    diagram.note(160, 158, "a changed model", "ink", "middle")
    return diagram


def answer_group() -> Diagram:
    """Draw the answers to one prompt, their rewards, and their advantages as bars."""
    height = 78 + ROW * len(ANSWERS) + 30
    diagram = Diagram("answer-group", "One group and its advantages", GROUP, height)
    diagram.note(60, 26, "answer", "ink", "middle")
    diagram.note(170, 26, "reward", "ink", "middle")
    diagram.note(ZERO, 26, "advantage", "ink", "middle")
    mean = sum(reward for _, reward in ANSWERS) / len(ANSWERS)
    for row, (answer, reward) in enumerate(ANSWERS):
        y = 52 + ROW * row
        diagram.cells(10, y, [[answer]], 104, 32)
        diagram.shape(170, y + 16, str(reward), "ink")
        advantage, tone = reward - mean, "accent" if reward > mean else "new"
        start = ZERO + min(0, advantage) * UNIT
        thick = 2.5 if reward > mean else 1.5
        wide = abs(advantage) * UNIT
        diagram.rect(start, y + 2, wide, 28, f"{tone}-soft", tone, thick, 3)
        words = ("+" if advantage > 0 else "") + signed(advantage, 1)
        diagram.shape(start + wide / 2, y + 16, words, "ink")
    bottom = 52 + ROW * len(ANSWERS)
    diagram.line([(ZERO, 44), (ZERO, bottom)], "edge")
    diagram.note(10, bottom + 20, f"mean of the rewards {mean}", "ink")
    diagram.note(ZERO, bottom + 20, "they sum to 0", "ink", "middle")
    return diagram


def clipped_ratio() -> Diagram:
    """Draw the gain against the ratio, for a good answer and for a bad one."""
    diagram = Diagram("clipped-ratio", "Where the gain is clipped", CLIP, height=270)
    bottom, top = 200, 60
    for left, good in ((24, True), (264, False)):
        words = "advantage > 0" if good else "advantage < 0"
        diagram.note(left + 96, 26, words, "ink", "middle")
        diagram.line([(left, top - 14), (left, bottom), (left + 192, bottom)], "edge")
        diagram.note(left + 4, top - 18, "gain", "quiet")
        low, one, high = left + 48, left + 96, left + 144  # ratios 0.8, 1 and 1.2
        for x, name in ((low, "0.8"), (one, "1"), (high, "1.2")):
            diagram.line([(x, bottom), (x, bottom + 6)], "edge")
            diagram.shape(x, bottom + 20, name, "ink")
        if good:
            diagram.line([(left + 12, 182), (high, 83)], "accent", 2.5)
            diagram.line([(high, 83), (left + 188, 83)], "new", 4)
            diagram.note(high + 20, 68, "flat", "ink", "middle")
        else:
            diagram.line([(left + 4, 99), (low, 99)], "new", 4)
            diagram.line([(low, 99), (left + 180, 198)], "accent", 2.5)
            diagram.note(left + 26, 84, "flat", "ink", "middle")
    diagram.note(240, 250, "ratio of new and old probability", "ink", "middle")
    return diagram
