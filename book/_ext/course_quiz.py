"""The directive `quiz`: the questions of a part, whose options say why.

Each option is a fold. Opening it says whether it is right, and why; that needs no
script. A script counts which were opened first (book/_static/progress.js).
"""

from __future__ import annotations

from course_data import ROOT, read_course
from course_pages import CourseDirective
from docutils import nodes
from quiz_data import Option, Question, read_quiz
from sphinx.application import Sphinx


class Quiz(CourseDirective):
    """All questions of one part."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the questions."""
        part = self.arguments[0]
        self.watch(ROOT / "book" / "quizzes" / f"part_{part}.yml")
        quiz = nodes.container(classes=["quiz"], ids=[f"quiz-{part.lower()}"])
        for number, question in enumerate(read_quiz(part), 1):
            quiz += self.question(f"{part}-{number}", number, question)
        return [quiz]

    def question(self, name: str, number: int, question: Question) -> nodes.Node:
        """One question with its options."""
        lesson = read_course().lesson(question.lesson)
        link = self.lesson_link(question.lesson, f"{lesson.number:02}", ROOT)
        box = nodes.container(
            classes=["quiz-question"], ids=[f"question-{name.lower()}"]
        )
        box += self.myst(f"**{number}.** {question.ask}")
        for option in question.options:
            box += self.option(option, link)
        return box

    def option(self, option: Option, link: str) -> list[nodes.Node]:
        """One option: what it says, and behind it what it is worth."""
        kind, word = ("right", "Right.") if option.right else ("wrong", "No.")
        paragraph = self.myst(option.text)[0]
        start = f'<details class="option {kind}"><summary>'
        more = f" Lesson {link}." if option.right else ""
        return [
            nodes.raw("", start, format="html"),
            nodes.inline("", "", *paragraph.children),
            nodes.raw("", "</summary>", format="html"),
            *self.myst(f"**{word}** {option.why}{more}"),
            nodes.raw("", "</details>", format="html"),
        ]


def setup(app: Sphinx) -> None:
    """Make the directive known to Sphinx."""
    app.add_directive("quiz", Quiz)
