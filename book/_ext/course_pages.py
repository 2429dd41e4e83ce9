"""Directives that fill pages from the recorded files, so that no page repeats a number.

`start-buttons`, `road-map`, `ladder-picture`, `ladder-table`, `ladder-samples`,
`timings-table`, `benchmarks-table`, `abilities-table`, `abilities-commands`,
`commands`, and the role `fact`.
"""

from __future__ import annotations

from pathlib import Path

import ladder_svg
from course_data import (
    ROOT,
    Ability,
    Course,
    Lesson,
    Rung,
    is_finished,
    read_abilities,
    read_benchmarks,
    read_course,
    read_ladder,
    read_timings,
)
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

LOGGER = logging.getLogger(__name__)
LADDER, TIMINGS = ROOT / "data" / "ladder.json", ROOT / "data" / "timings.json"
BENCHMARKS = ROOT / "data" / "benchmarks.json"
RECORDED = ("induction", "reasoning", "rl", "instructions")
RECORDS = [ROOT / "data" / f"{name}.json" for name in RECORDED]
COURSE = ROOT / "book" / "course.yml"
TO_COME = " *to come*"


class CourseDirective(SphinxDirective):
    """A directive that writes MyST text from the recorded files."""

    def warn(self, message: str) -> None:
        """Report a gap in the recorded files as a warning of the build."""
        LOGGER.warning(message, location=self.get_location())

    def watch(self, *paths: Path) -> None:
        """Build this page again when one of these files changes."""
        for path in paths:
            self.env.note_dependency(str(path))
            if not path.exists():
                self.warn(f"{path.relative_to(ROOT).as_posix()} is not there yet")

    def myst(self, text: str) -> list[nodes.Node]:
        """Turn MyST text into nodes."""
        return self.parse_text_to_nodes(text)

    def lesson_link(self, name: str, text: str, source: Path) -> str:
        """A link to a finished lesson; plain text and a warning for any other."""
        lesson = read_course().lesson(name)
        if lesson and is_finished(lesson):
            return f"[{text}](/lessons/{name}.ipynb)"
        self.warn(f"{source.name} names lesson {name!r}, which is not finished")
        return text


class StartButtons(CourseDirective):
    """Two buttons: read the first lesson here, or run it in Colab."""

    def run(self) -> list[nodes.Node]:
        """Write the two links."""
        first = f"lessons/{read_course().lessons[0].name}.ipynb"
        owner = self.config.html_theme_options["repository_url"].split(".com/")[-1]
        branch = self.config.html_theme_options["repository_branch"]
        colab = (
            f"https://colab.research.google.com/github/{owner}/blob/{branch}/{first}"
        )
        return self.myst(
            f"[Start with the first lesson](/{first}){{.button .button-main}}\n"
            f"[Run the first lesson in Colab]({colab}){{.button}}"
        )


class RoadMap(CourseDirective):
    """All parts and lessons with their minutes; finished ones are links."""

    def run(self) -> list[nodes.Node]:
        """Write one list of lessons per part."""
        self.watch(COURSE)
        course = read_course()
        lines = []
        for part, title in course.parts.items():
            lessons = [one for one in course.lessons if one.part == part]
            begun = any(map(is_finished, lessons))
            hours = f"about {round(sum(one.minutes() for one in lessons) / 60)} hours"
            takes = f" [{hours}]{{.takes}}" if begun else TO_COME
            lines.append(f"- **Part {part}: {title}**{takes}")
            lines += [f"  - {self.line(one, begun)}" for one in lessons]
        return [nodes.container("", *self.myst("\n".join(lines)), classes=["road-map"])]

    def line(self, lesson: Lesson, begun: bool) -> str:
        """One lesson: its heading and its promise."""
        if is_finished(lesson):
            heading = f"[{lesson.heading}](/lessons/{lesson.name}.ipynb)"
            takes = f" [{lesson.minutes()} min]{{.takes}}"
        else:
            heading = f"[{lesson.heading}{TO_COME if begun else ''}]{{.to-come}}"
            takes = ""
        return f"{heading} [{lesson.promise}]{{.promise}}{takes}"


class LadderPicture(CourseDirective):
    """The ladder as an inline SVG that follows the theme's colours."""

    def run(self) -> list[nodes.Node]:
        """Draw the rungs and the models to come."""
        self.watch(LADDER, COURSE)
        svg = ladder_svg.inline(read_ladder(), read_course().next_rungs())
        html = f'<div class="ladder-picture">{svg}</div>'
        return [nodes.raw("", html, format="html")]


class LadderTable(CourseDirective):
    """One row per model: parameters, time, seeds and the loss in three units."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        self.watch(LADDER, COURSE)
        head = (
            "| Model | Parameters | CPU seconds | Seeds | Loss (nats) | Bits "
            "| Perplexity |\n|---|--:|--:|--:|--:|--:|--:|"
        )
        return self.myst("\n".join([head, *map(self.row, read_ladder())]))

    def row(self, rung: Rung) -> str:
        """One model."""
        name, seconds = rung.name, "–"
        if not rung.checkpoint:
            name = self.lesson_link(rung.lesson, rung.name, LADDER)
        if rung.cpu_seconds is not None:
            seconds = f"{rung.cpu_seconds:.2f}"
        return (
            f"| {name} | {rung.parameters:,} | {seconds} | {rung.seeds} "
            f"| {rung.validation_loss:.4f} | {rung.bits:.3f} | {rung.perplexity:.2f} |"
        )


class LadderSamples(CourseDirective):
    """What each model writes."""

    def run(self) -> list[nodes.Node]:
        """Write a line of facts and the sample, model by model."""
        self.watch(LADDER)
        found: list[nodes.Node] = []
        for rung in read_ladder():
            if rung.sample:
                loss = f"{rung.validation_loss:.4f} nats per character"
                found += self.myst(f"**{rung.name}**, {loss}")
                found.append(block(rung.sample, "none", classes=["sample"]))
        return found


class TimingsTable(CourseDirective):
    """Seconds and peak memory of each notebook, beside its limit."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        self.watch(TIMINGS, COURSE)
        notebooks = read_timings()["notebooks"]
        if not notebooks:
            return self.myst("*Nothing is recorded yet.*")
        head = (
            "| Notebook | Seconds | Limit | Used | Peak memory |\n|---|--:|--:|---|--:|"
        )
        rows = [self.row(name, facts) for name, facts in sorted(notebooks.items())]
        return self.myst("\n".join([head, *rows]))

    def row(self, name: str, facts: dict) -> str:
        """One notebook, with a bar as long as the used share of its limit."""
        folder, lesson = name.split("/")
        known = read_course().lesson(lesson)
        link = f"{known.heading}" if known else name
        if folder == "solutions":
            link = f"Solutions to {lesson[:2]}"
        if known and (ROOT / folder / f"{lesson}.py").exists():
            link = f"[{link}](/{name}.ipynb)"
        else:
            self.warn(f"timings.json names {name!r}, which is not finished")
        limit = limit_of(folder, lesson, read_course())
        share = min(100, 100 * facts["seconds"] / limit)
        bar = f'<span class="share"><span style="width: {share:.0f}%"></span></span>'
        return (
            f"| {link} | {facts['seconds']:.1f} | {limit:g} | {bar} "
            f"| {facts['peak_mb']:.0f} MB |"
        )


class AbilitiesTable(CourseDirective):
    """How often a small model is right at each task, in the worst and the best run."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        self.watch(COURSE, *RECORDS)
        head = "| Asked to | Right | Runs | Such as |\n|---|---|--:|---|"
        return self.myst("\n".join([head, *map(self.row, read_abilities())]))

    def row(self, ability: Ability) -> str:
        """One task, with a bar as long as the share of right answers."""
        right = sorted(ability.right)
        low, high = f"{right[0]:.0%}", f"{right[-1]:.0%}"
        share = low if low == high else f"{low} – {high}"
        width = 100 * sum(ability.right) / len(ability.right)
        bar = f'<span class="share"><span style="width: {width:.0f}%"></span></span>'
        asked = self.lesson_link(ability.lesson, ability.asked, COURSE)
        example = ability.example.replace("|", "\\|")
        return f"| {asked} | {bar} | {share} | `{example}` |"


class AbilitiesCommands(CourseDirective):
    """Commands that train what the table shows."""

    def run(self) -> list[nodes.Node]:
        """Write the commands as one block of code."""
        self.watch(COURSE, *RECORDS)
        trainings = [one.training for one in read_abilities() if one.training]
        lines = [
            f"python -m lib.train --preset solver --task {t['task']} "
            f"--steps {t['n_steps']} --batch-size {t['batch_size']} --warmup 50 "
            f"--out runs/{number:02}"
            for number, t in enumerate(trainings, start=1)
        ]
        return [block("\n".join(lines), "bash")]


class BenchmarksTable(CourseDirective):
    """What was measured, what it was compared with, and the ratio."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        self.watch(BENCHMARKS)
        lines = ["| What | Ours | Compared with | Ratio |", "|---|---|---|--:|"]
        for row in read_benchmarks()["rows"]:
            ratio = f"{row['ratio']:g} ×" if row["ratio"] else ""
            lines.append(
                f"| {row['what']} | {row['ours']} | {row['compared']} | {ratio} |"
            )
        return self.myst("\n".join(lines))


class Commands(CourseDirective):
    """Shell commands; `{repository}` and `{folder}` come from `_config.yml`."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write the block."""
        url = self.config.html_theme_options["repository_url"]
        text = "\n".join(self.content).replace("{repository}", url)
        text = text.replace("{folder}", url.rstrip("/").split("/")[-1])
        return [block(text, "shell")]


class Fact(SphinxRole):
    """A number of the course: `lessons`, `finished`, `parts`, `limit`, ..."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the number, or warn about a name that is none."""
        facts = course_facts()
        if self.text not in facts:
            LOGGER.warning(
                f"fact {self.text!r} is none of {', '.join(facts)}",
                location=self.get_location(),
            )
        return [nodes.Text(str(facts.get(self.text, self.text)))], []


def block(text: str, language: str, **attributes: object) -> nodes.literal_block:
    """A block of text or code in a language of its own."""
    return nodes.literal_block(text, text, language=language, **attributes)


def course_facts() -> dict[str, object]:
    """The numbers that the role `fact` knows."""
    course = read_course()
    return {
        "lessons": len(course.lessons),
        "finished": sum(map(is_finished, course.lessons)),
        "parts": len(course.parts),
        "hours": round(sum(one.minutes() for one in course.lessons) / 60),
        "lesson limit": f"{course.limits['lessons']:g}",
        "solution limit": f"{course.limits['solutions']:g}",
        "machine": read_timings()["machine"],
        "bench machine": read_benchmarks()["machine"],
    }


def limit_of(folder: str, name: str, course: Course) -> float:
    """How many seconds a notebook may take."""
    lesson = course.lesson(name) if folder == "lessons" else None
    return lesson.limit if lesson else course.limits[folder]


def setup(app: Sphinx) -> None:
    """Make the directives and the role known to Sphinx."""
    app.add_directive("start-buttons", StartButtons)
    app.add_directive("road-map", RoadMap)
    app.add_directive("ladder-picture", LadderPicture)
    app.add_directive("ladder-table", LadderTable)
    app.add_directive("ladder-samples", LadderSamples)
    app.add_directive("timings-table", TimingsTable)
    app.add_directive("abilities-table", AbilitiesTable)
    app.add_directive("abilities-commands", AbilitiesCommands)
    app.add_directive("benchmarks-table", BenchmarksTable)
    app.add_directive("commands", Commands)
    app.add_role("fact", Fact())
