"""The map: every box leads to a lesson, a file of the library and a formula."""

from pathlib import Path

import map_data
import pytest
from notebooks import ROOT


def test_each_entry_leads_to_a_lesson_a_file_and_a_formula() -> None:
    entries, columns, _ = map_data.read_map()
    api = (ROOT / "book" / "api.md").read_text("utf-8")
    assert len(entries) >= 15 and len(columns) == 3
    for entry in entries.values():
        for lesson in (entry.lesson, *entry.also):
            assert (ROOT / "lessons" / f"{lesson}.py").exists(), entry
        script = (ROOT / "lessons" / f"{entry.lesson}.py").read_text("utf-8")
        assert "# ## The formula\n" in script, entry
        place = ROOT / "lib" / entry.file.replace(".", "/")
        assert place.with_suffix(".py").exists() or place.is_dir(), entry
        assert f"\n## {entry.file}\n" in api, entry
        assert entry.formula in map_data.formula(entry)


def test_a_box_without_an_entry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    text = map_data.MAP.read_text("utf-8")
    for old, new in (
        ("[gpt, attention", "[gpt, attentoin"),
        ("block: [norm", "block: [nrom"),
    ):
        (tmp_path / "book" / "map.yml").write_text(text.replace(old, new), "utf-8")
        with pytest.raises(ValueError, match="a box or an entry is missing: "):
            map_data.read_map(tmp_path)


def test_a_formula_that_is_gone_is_noticed(tmp_path: Path) -> None:
    entry = map_data.read_map()[0]["attention"]
    (tmp_path / "lessons").mkdir()
    script = tmp_path / "lessons" / f"{entry.lesson}.py"
    script.write_text("# $$a = b$$\n", "utf-8")
    with pytest.raises(ValueError, match="0 formulas"):
        map_data.formula(entry, tmp_path)
