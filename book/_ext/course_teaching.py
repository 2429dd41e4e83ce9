"""Directives of the page for teachers, made from the lessons, checks and tests.

`needs-picture`: which lesson needs which; `teaching-table`: for each lesson what it
needs, asks and checks; `outcome-table`: what proves that it keeps its promises.
"""

from __future__ import annotations

import needs_svg
from course_data import ROOT, Lesson, is_finished, read_course
from course_pages import COURSE, CourseDirective
from docutils import nodes
from outcome_data import proof
from sphinx.application import Sphinx
from teaching_data import exercises, needs, script_file, script_of


class NeedsPicture(CourseDirective):
    """All finished lessons as links, with lines from each to those that need it."""

    def run(self) -> list[nodes.Node]:
        """Draw the picture."""
        course = read_course()
        wanted = {
            one.number: [int(number) for number in needs(script_of(one))]
            for one in course.lessons
            if is_finished(one)
        }
        self.watch(COURSE, *map(script_file, course.lessons))
        svg = needs_svg.draw(course, wanted, "../lessons/{}.html")
        return [nodes.raw("", f'<div class="needs-picture">{svg}</div>', format="html")]


class TeachingTable(CourseDirective):
    """One table a part: lesson, what it needs, its exercises, and what holds them."""

    def run(self) -> list[nodes.Node]:
        """Write the tables."""
        self.watch(COURSE)
        course, lines = read_course(), []
        for part, title in course.parts.items():
            lines += [f"### Part {part}: {title}", ""]
            lines += [
                "| Lesson | Needs | Exercises, and their checks |",
                "|---|---|---|",
            ]
            for lesson in course.lessons:
                if lesson.part == part and is_finished(lesson):
                    lines.append(self.row(lesson))
            lines.append("")
        return self.myst("\n".join(lines))

    def row(self, lesson: Lesson) -> str:
        """One lesson as a line of a table."""
        script, names = script_of(lesson), {}
        for other in read_course().lessons:
            names[f"{other.number:02}"] = other.name
        links = [self.lesson_link(names[n], n, ROOT) for n in needs(script)]
        heading = self.lesson_link(lesson.name, lesson.heading, ROOT)
        asked = "<br>".join(
            f"{one.number}. {one.title} ({one.level}, {one.minutes} min): `{one.check}`"
            for one in exercises(script)
        )
        return (
            f"| {heading}<br>{lesson.promise} | {', '.join(links) or '-'} | {asked} |"
        )


class OutcomeTable(CourseDirective):
    """One table a part: what a lesson promises, its exercises, tests of its code."""

    def run(self) -> list[nodes.Node]:
        """Write the tables."""
        self.watch(COURSE)
        course, lines = read_course(), []
        for part, title in course.parts.items():
            lines += [f"### Proof of part {part}: {title}", ""]
            lines += [
                "| You will build, and see | Asked for by | Tests of the code |",
                "|---|---|---|",
            ]
            lines += [
                self.row(lesson)
                for lesson in course.lessons
                if lesson.part == part and is_finished(lesson)
            ]
            lines.append("")
        return self.myst("\n".join(lines))

    def row(self, lesson: Lesson) -> str:
        """One lesson as a line of a table."""
        number = f"{lesson.number:02}"
        file = ROOT / "tests" / "planted" / f"lesson_{number}.py"
        self.watch(file)
        held = proof(lesson)
        link = self.lesson_link(lesson.name, number, ROOT)
        asked = "<br>".join(
            f"{one.number}. `{one.check}`: {held.planted[one.check]} wrong answers"
            for one in held.exercises
        )
        code = "<br>".join(f"`{test}`" for test in held.tests) or "on the page itself"
        return f"| {link}: {held.build}<br>{held.see} | {asked} | {code} |"


def setup(app: Sphinx) -> None:
    """Make the directive known to Sphinx."""
    app.add_directive("needs-picture", NeedsPicture)
    app.add_directive("teaching-table", TeachingTable)
    app.add_directive("outcome-table", OutcomeTable)
