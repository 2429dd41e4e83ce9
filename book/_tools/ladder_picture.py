"""Write `book/_static/ladder.svg`, the ladder as the README shows it.

python book/_tools/ladder_picture.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import ladder_svg
from course_data import read_course, read_ladder


def main() -> None:
    """Draw the recorded rungs."""
    picture = ladder_svg.file(read_ladder(), read_course().next_rungs())
    path = ROOT / "book" / "_static" / "ladder.svg"
    path.write_text(picture, encoding="utf-8", newline="\n")
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
