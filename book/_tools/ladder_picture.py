"""Put the shipped models on the ladder, and draw it as the README shows it.

``python book/_tools/ladder_picture.py`` writes ``data/ladder.json``, where a checkpoint
of ``data/`` is not on it yet, and ``book/_static/ladder.svg``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]

import ladder_svg  # noqa: E402
from course_data import read_course, read_ladder  # noqa: E402

SHIPPED = {"base.safetensors": "GPT, the preset base"}  # file of data/ -> its name
SAMPLE = 160  # characters


def shipped_rung(file: str, name: str) -> dict:
    """The rung of a checkpoint: its recorded loss, and the first text it writes."""
    import torch

    from lib.generate import sample
    from lib.models import count_parameters
    from lib.train.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(ROOT / "data" / file)
    start = torch.tensor([checkpoint.tokenizer.encode("\n")])
    generator = torch.Generator().manual_seed(0)
    ids = sample(checkpoint.model, start, SAMPLE, generator=generator)
    return {
        "lesson": "",
        "name": name,
        "parameters": count_parameters(checkpoint.model),
        "cpu_seconds": None,
        "seeds": 1,
        "validation_loss": checkpoint.notes["validation_loss"],
        "sample": checkpoint.tokenizer.decode(ids[0, 1:].tolist()),
        "checkpoint": file,
    }


def add_shipped(path: Path) -> None:
    """Add what is shipped to a ladder; a sample stays until its model changes."""
    rungs = json.loads(path.read_text("utf-8"))["rungs"]
    old = {rung["checkpoint"]: rung for rung in rungs if rung.get("checkpoint")}
    new = {file: shipped_rung(file, name) for file, name in SHIPPED.items()}
    for file, rung in new.items():
        known = old.get(file, {})
        if {**known, "sample": ""} == {**rung, "sample": ""}:
            rung["sample"] = known["sample"]
    rungs = [rung for rung in rungs if not rung.get("checkpoint")] + [*new.values()]
    rungs.sort(key=lambda rung: -rung["validation_loss"])
    text = json.dumps({"rungs": rungs}, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Write both files."""
    add_shipped(ROOT / "data" / "ladder.json")
    picture = ladder_svg.file(read_ladder(), read_course().next_rungs())
    path = ROOT / "book" / "_static" / "ladder.svg"
    path.write_text(picture, encoding="utf-8", newline="\n")
    print(f"wrote {path.relative_to(ROOT).as_posix()}")


if __name__ == "__main__":
    main()
