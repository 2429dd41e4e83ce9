"""Every address that a page once had leads to it. Needs the built site."""

import re
from pathlib import Path

import pytest
import yaml
from built_site import ROOT, leads_on, page_names, require_site
from course_data import Lesson, read_course

pytestmark = pytest.mark.browser

FOLDERS = ("lessons", "solutions")


def target(path: Path) -> str:
    """Where a page leads that leads on: by script, by itself, by hand, by its word."""
    text = path.read_text("utf-8")
    found = {
        *re.findall(r'location\.replace\("([^"]+)" \+ location\.search \+ ', text),
        *re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', text),
        *re.findall(r'<a href="([^"]+)"', text),
    }
    canonical = re.search(r'rel="canonical" href="([^"]+)"', text)
    assert len(found) == 1 and canonical, f"{path.name} leads to {found}"
    (one,) = found
    assert canonical[1].endswith(f"/{one}"), f"{path.name}: {canonical[1]} or {one}?"
    return one


def forwarding_problems(site: Path, lessons: list[Lesson]) -> list[str]:
    """Old addresses that lead to no page, or to another one than their lesson's."""
    problems = []
    for lesson in lessons:
        for folder in FOLDERS:
            page = site / folder / f"{lesson.name}.html"
            for old in lesson.was if page.exists() else ():
                way = site / folder / f"{old}.html"
                if not way.exists():
                    problems.append(f"{folder}/{old} leads nowhere")
                elif not leads_on(way):
                    problems.append(f"{folder}/{old} is a page of its own")
                elif target(way) != page.name:
                    problems.append(f"{folder}/{old} leads to {target(way)}")
    return problems


def test_every_old_address_leads_to_its_page() -> None:
    site, lessons = require_site(), read_course().lessons
    ways = [path for path in site.glob("*/*.html") if leads_on(path)]
    assert len(ways) > 20
    assert forwarding_problems(site, lessons) == []


def test_ways_are_no_pages() -> None:
    site = require_site()
    pages, sitemap = page_names(site), (site / "sitemap.xml").read_text("utf-8")
    index = (site / "searchindex.js").read_text("utf-8")
    for path in site.glob("*/*.html"):
        if leads_on(path):
            name = path.relative_to(site).as_posix()
            text = path.read_text("utf-8")
            assert name not in pages and f"/{name}<" not in sitemap
            assert f'"{name.removesuffix(".html")}"' not in index
            assert '<html lang="en">' in text and "noindex" in text
            assert re.search(r"<title>(Solutions )?\d\d · .+</title>", text)


def test_the_root_and_a_wrong_address_say_what_the_course_is() -> None:
    site = require_site()
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    root = (site / "index.html").read_text("utf-8")
    lost = (site / "404.html").read_text("utf-8")
    assert target(site / "index.html") == "book/intro.html"
    assert re.search(r'name="description" content="[^"]{20,}"', root)
    assert "noindex" not in root and "noindex" in lost
    links = re.findall(r'<a href="([^"]+)"', lost)
    base = config["html"]["baseurl"]
    assert all(link.startswith(base) for link in links), "404.html lies in any folder"
    assert all((site / link.removeprefix(base)).exists() for link in links)


def test_a_wrong_way_is_found(tmp_path: Path) -> None:
    lesson = Lesson(2, "x", "X", "I", "", 9.0, was=("01_x", "00_x", "03_x", "04_x"))
    folder = tmp_path / "lessons"
    folder.mkdir()
    way = (
        '<link rel="canonical" href="https://example.org/lessons/{0}">\n'
        '<script>location.replace("{0}" + location.search + location.hash)</script>\n'
        '<meta http-equiv="refresh" content="0; url={0}"> <a href="{0}">x</a>'
    )
    (folder / "02_x.html").write_text("a page", encoding="utf-8")
    (folder / "01_x.html").write_text(way.format("02_x.html"), encoding="utf-8")
    (folder / "00_x.html").write_text(way.format("07_y.html"), encoding="utf-8")
    (folder / "03_x.html").write_text("a page", encoding="utf-8")
    assert forwarding_problems(tmp_path, [lesson]) == [
        "lessons/00_x leads to 07_y.html",
        "lessons/03_x is a page of its own",
        "lessons/04_x leads nowhere",
    ]
