"""The directive `teaching-table`: for each lesson what it needs, asks and checks."""

from __future__ import annotations

from course_data import ROOT, Lesson, is_finished, read_course
from course_pages import COURSE, CourseDirective
from docutils import nodes
from sphinx.application import Sphinx
from teaching_data import exercises, needs, script_of


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


def setup(app: Sphinx) -> None:
    """Make the directive known to Sphinx."""
    app.add_directive("teaching-table", TeachingTable)
