"""Learn the byte pairs that the site's tokenizer shows, those of lesson 14's models.

``python book/_tools/merges.py`` writes ``data/bpe-1024.json``: 768 merges, learnt from
the training split of Tiny Shakespeare in a few seconds, the same on every machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.text.batches import split_text  # noqa: E402
from lib.text.bpe import BPETokenizer  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402

PATH = ROOT / "data" / "bpe-1024.json"
VOCAB_SIZE = 1_024


def learn() -> BPETokenizer:
    """Return the tokenizer.

    Raises:
        ValueError: if only the stand-in play is found.
    """
    corpus = load_corpus()
    if corpus.is_stand_in:
        raise ValueError("these merges come from Tiny Shakespeare: set COURSE_DATA")
    return BPETokenizer.train(split_text(corpus.text)[0], VOCAB_SIZE)


def main() -> None:
    """Write the file."""
    learn().save(PATH)
    print(f"{PATH.name}: {PATH.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
