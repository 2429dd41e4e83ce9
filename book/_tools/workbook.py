"""Train the base that lesson 29 tunes, and write ``data/base-workbook.safetensors``.

``python book/_tools/workbook.py`` takes about four minutes. The model reads three
texts: Tiny Shakespeare, a "workbook" of plain statements about words and sums, and
random letters that come again, which teach it to copy. It reads no question.
``python book/_tools/workbook.py words`` writes ``data/words.txt`` instead.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.tasks.instructions import (  # noqa: E402
    N_HELD_OUT,
    WORDS_FILE,
    Instructions,
    draw_repeated,
    draw_statement,
)
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import SHA256, load_corpus  # noqa: E402
from lib.train import TrainConfig, Training, estimate_loss, train  # noqa: E402
from lib.train.checkpoint import save_checkpoint  # noqa: E402

CHECKPOINT = Path("data", "base-workbook.safetensors")
SEED = 0
PARTS = dict(position="rotary", attention_bias=False, init="fan_in", tie_weights=False)
SIZES = dict(d_model=96, n_heads=4, n_layers=4, d_ff=384, context_length=128)
RECIPE = TrainConfig(
    n_steps=2_000,
    learning_rate=0.005,
    optimizer="muon",
    muon_learning_rate=0.01,
    schedule="linear",
    n_warmup=20,
)
N_LINES = {draw_statement: 40_000, draw_repeated: 15_000}
Shares = tuple[int, int, int]
# Rows of a batch: of Shakespeare, of statements, of what is repeated.
EARLY, LATE = (2, 4, 6), (4, 6, 2)
EARLY_STEPS = 500  # in which it learns to copy
RARE = 4  # so often a word of the list comes, at least
SHORTEST, LONGEST = 3, 6  # letters of such a word
LEFT_OUT = {"whore", "bawd", "rape", "damned", "damn", "harlot", "bitch", "ass", "jew"}


def write_words() -> None:
    """Write the words of the training text, those to be held out at the end."""
    text = split_text(load_corpus().text)[0].lower()
    pattern = rf"\b[a-z]{{{SHORTEST},{LONGEST}}}\b"
    counts = Counter(re.findall(pattern, text))
    words = sorted(w for w, n in counts.items() if n >= RARE and w not in LEFT_OUT)
    held_out = sorted(random.Random(1).sample(words, N_HELD_OUT))
    kept = sorted(set(words) - set(held_out))
    WORDS_FILE.write_text("\n".join(kept + held_out) + "\n", encoding="utf-8")
    print(f"{len(kept)} words to learn with, {len(held_out)} held out")


def lines_of(draw: Callable[[random.Random], str], n: int, seed: int) -> str:
    """Return so many lines as one text."""
    rng = random.Random(seed)
    return "".join(draw(rng) for _ in range(n))


def texts_of(text: str) -> list[Tensor]:
    """Return the ids of a text, of the statements, and of what is repeated."""
    others = [lines_of(draw, n, SEED) for draw, n in N_LINES.items()]
    encode = Instructions().tokenizer.encode
    return [torch.tensor(encode(each)) for each in (text, *others)]


def batches_of(texts: list[Tensor], early: Shares, late: Shares) -> Callable:
    """Return what draws a batch of rows of all texts; how many changes on the way."""
    generator, done = torch.Generator().manual_seed(SEED), 0

    def next_batch() -> tuple[Tensor, ...]:
        nonlocal done
        shares = early if done < EARLY_STEPS else late
        done += 1
        rows = [
            random_batch(ids, n, SIZES["context_length"], generator)
            for ids, n in zip(texts, shares)
            if n
        ]
        return tuple(torch.cat(part) for part in zip(*rows))

    return next_batch


def new_model(seed: int = SEED) -> GPT:
    """Return the model before its training."""
    torch.manual_seed(seed)
    vocab_size = Instructions().tokenizer.vocab_size
    return GPT(GPTConfig(vocab_size=vocab_size, **SIZES, **PARTS))


def train_base(text: str, early: Shares = EARLY, late: Shares = LATE) -> GPT:
    """Return a base that has read these shares of the three texts."""
    model = new_model()
    train(Training(model, RECIPE), batches_of(texts_of(text), early, late))
    return model


def main() -> int:
    """Train the base and write it."""
    if sys.argv[1:] == ["words"]:
        write_words()
        return 0
    corpus, tokenizer = load_corpus().text, Instructions().tokenizer
    if hashlib.sha256(corpus.encode()).hexdigest() != SHA256:
        print("the base is trained on Tiny Shakespeare: set COURSE_DATA")
        return 1
    text, held_out = split_text(corpus)
    model = train_base(text).half().float()  # with the precision of the file
    notes = {"command": "python book/_tools/workbook.py", "seed": SEED}
    notes |= {"settings": asdict(RECIPE), "torch": torch.__version__}
    notes |= {"data": "Tiny Shakespeare", "data_sha256": SHA256}
    notes["words_sha256"] = hashlib.sha256(WORDS_FILE.read_bytes()).hexdigest()
    statements = lines_of(draw_statement, 1_000, SEED + 1)
    for name, test in (("validation_loss", held_out), ("statements_loss", statements)):
        ids = torch.tensor(tokenizer.encode(test))
        notes[name] = round(estimate_loss(model, ids, SIZES["context_length"]), 4)
        print(name, notes[name])
    save_checkpoint(ROOT / CHECKPOINT, model, tokenizer, dtype=torch.float16, **notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
