"""Turn a finished run of ``python -m lib.train`` into a checkpoint of ``data/``.

``python book/_tools/ship.py runs/mini gpt-mini`` writes ``data/gpt-mini.safetensors``
and ``data/gpt-mini-fp16.safetensors``: the weights, the vocabulary and the notes,
without the state of the training. It prints the loss of each on the whole validation
text, and notes it in the file.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.text.batches import split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.train import estimate_loss  # noqa: E402
from lib.train.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402

KEPT = ("command", "settings", "seed", "data", "data_sha256", "torch")


def main() -> int:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="name of the shipped files")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.run)
    notes = {name: checkpoint.notes[name] for name in KEPT}
    words = shlex.split(notes["command"])
    words[words.index("--out") + 1] = f"runs/{options.name}"  # anybody's folder
    notes["command"] = shlex.join(words)
    corpus = load_corpus().text
    if hashlib.sha256(corpus.encode()).hexdigest() != notes["data_sha256"]:
        print(f"{options.run} was trained on another text: set COURSE_DATA")
        return 1
    validation = torch.tensor(checkpoint.tokenizer.encode(split_text(corpus)[1]))
    for ending, dtype in (("", torch.float32), ("-fp16", torch.float16)):
        path = ROOT / "data" / f"{options.name}{ending}.safetensors"
        model = checkpoint.model.to(dtype).float()  # with the precision of the file
        loss = estimate_loss(model, validation, model.context_length)
        notes["validation_loss"] = round(loss, 4)
        save_checkpoint(path, model, checkpoint.tokenizer, dtype=dtype, **notes)
        print(f"{path.name}: {path.stat().st_size:,} bytes, {loss:.4f} nats")
    return 0


if __name__ == "__main__":
    sys.exit(main())
