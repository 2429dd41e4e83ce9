"""The directive `model-map`: a picture of the Transformer whose boxes lead on.

What stands in it is in book/map.yml. Each box leads to an entry below the picture, and
the entry to a lesson, to a file of the library, and to the lesson's formula.
"""

from __future__ import annotations

from html import escape

from course_data import ROOT, read_course
from course_pages import CourseDirective
from docutils import nodes
from map_data import MAP, Column, Entry, formula, read_map
from sphinx.application import Sphinx


class ModelMap(CourseDirective):
    """The picture, then an entry for each box."""

    def run(self) -> list[nodes.Node]:
        """Write the boxes as links, and the entries as text."""
        self.watch(MAP)
        entries, columns, around = read_map()
        picture = "".join(self.column(column, entries) for column in columns)
        html = f'<div class="model-map">{picture}</div>'
        html += "<p>Around the boxes, or inside of them:</p>"
        html += f'<ul class="model-map-around">{self.links(around, entries)}</ul>'
        made = [nodes.raw("", html, format="html")]
        for entry in entries.values():
            section = nodes.section(ids=[f"map-{entry.id}"])
            section += nodes.title(entry.name, entry.name)
            section += self.myst(self.text(entry))
            made.append(section)
        return made

    def column(self, column: Column, entries: dict[str, Entry]) -> str:
        """One model as a list of links, from top to bottom."""
        block = self.links(column.block, entries)
        return (
            f'<div><p class="map-title">{column.title}</p>'
            f"<ol>{self.links(column.before, entries)}"
            f'<li class="map-block"><ol>{block}</ol><span>× N</span></li>'
            f"{self.links(column.after, entries)}</ol></div>"
        )

    def links(self, ids: list[str], entries: dict[str, Entry]) -> str:
        """Boxes as items of a list."""
        return "".join(
            f'<li><a href="#map-{i}" class="box-{i}">{escape(entries[i].name)}</a></li>'
            for i in ids
        )

    def text(self, entry: Entry) -> str:
        """What an entry says, its formula, and where it leads."""
        lesson = read_course().lesson(entry.lesson)
        file = entry.file.replace(".", "/") + ".py"
        if (ROOT / "lib" / entry.file.replace(".", "/")).is_dir():
            file = entry.file.replace(".", "/") + "/__init__.py"
        ways = [
            self.lesson_link(entry.lesson, f"Lesson {lesson.heading}", MAP),
            f"[the formula](/lessons/{entry.lesson}.ipynb#the-formula)",
            f"[lib/{file}](/book/api.md#{entry.file.replace('.', '')})",
        ]
        text = f"{entry.says}\n\n$${formula(entry)}$$\n\n" + " · ".join(ways)
        if entry.also:
            more = (read_course().lesson(name) for name in entry.also)
            links = [self.lesson_link(m.name, m.heading, MAP) for m in more]
            text += f"\n\nMore: {', '.join(links)}."
        return text


def setup(app: Sphinx) -> None:
    """Make the directive known to Sphinx."""
    app.add_directive("model-map", ModelMap)
