"""Train the masked models of lesson 17 and their rivals, and try what they know.

``python book/_tools/masked.py`` writes ``data/masked.json``, for three seeds: losses on
the same characters with both sides and with the left one only, and the share of right
answers of small classifiers. One task is who wrote a text, the play's author or a
bigram model; the other one is which of six characters of the play speaks. (The encoders
have read all speeches before, with the names, but without being told what to look for.)
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.attention import causal_mask  # noqa: E402
from lib.evaluate.losses import cross_entropy, masked_loss  # noqa: E402
from lib.models.bigram import count_pairs  # noqa: E402
from lib.models.masked_lm import MaskedLM, MaskedLMConfig, mask_tokens  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import TrainConfig, Training, fit, train  # noqa: E402

RECORD = Path("data", "masked.json")
SEEDS = range(3)
SIZES = dict(d_model=64, n_heads=4, n_layers=2, d_ff=256, context_length=16)
RECIPE = TrainConfig(
    n_steps=270, learning_rate=0.01, muon_learning_rate=0.02, optimizer="muon",
    schedule="linear", n_warmup=20,
)  # fmt: skip
BATCH_SIZE = 64
SHARE = 0.3  # of the characters that are hidden
LENGTH = 64  # characters of a text whose author is asked for
N_TEXTS, N_NEW = 400, 500  # texts of each author: to learn from, and to test with
SPEAKERS, PIECES, NEW_PIECES = 6, 100, 40
TUNING = TrainConfig(n_steps=100, learning_rate=0.002, schedule="linear", n_warmup=10)
Rows = tuple[Tensor, Tensor]  # texts and their labels


class Text:
    """The play as ids, and the windows on whose characters models are compared."""

    def __init__(self) -> None:
        corpus = load_corpus()
        self.name, self.text = corpus.name, corpus.text
        self.tokenizer = CharTokenizer(corpus.text)
        self.vocab_size = self.tokenizer.vocab_size
        parts = split_text(corpus.text)
        self.train, self.held_out = (self.ids(part) for part in parts)
        self.starts = torch.arange(16, 111_000, 185).unsqueeze(1)
        self.windows = self.held_out[self.starts + torch.arange(16)]

    def ids(self, text: str) -> Tensor:
        """Return the ids of a text."""
        return torch.tensor(self.tokenizer.encode(text))


def pretrain(text: Text, kind: str, seed: int) -> MaskedLM:
    """Return a model that fills blanks, or one that reads from the left."""
    torch.manual_seed(seed)
    model = MaskedLM(MaskedLMConfig(text.vocab_size, **SIZES))
    generator = torch.Generator().manual_seed(seed)
    share = 1.0 if kind == "from the left" else SHARE
    blank = text.vocab_size

    def next_batch() -> tuple[Tensor, ...]:
        ids, following = random_batch(text.train, BATCH_SIZE, 16, generator)
        inputs, hidden = mask_tokens(ids, blank, share, generator)
        if kind == "both sides":
            return inputs, ids, hidden
        return ids, following, hidden

    def left_loss(model: nn.Module, ids: Tensor, following: Tensor, counted: Tensor):
        return cross_entropy(model(ids, causal_mask(16))[counted], following[counted])

    loss_of = masked_loss if kind == "both sides" else left_loss
    train(Training(model, RECIPE, loss_of), next_batch)
    return model


@torch.no_grad()
def losses(text: Text, model: MaskedLM, kind: str) -> list[float]:
    """Return loss and share of right answers; each answer sees 15 characters."""
    found = []
    for place in range(5, 11):
        answers = text.windows[:, place]
        if kind == "both sides":
            inputs = text.windows.clone()
            inputs[:, place] = model.mask_id
            logits = model(inputs)[:, place]
        else:
            seen = text.held_out[text.starts + place - 15 + torch.arange(15)]
            logits = model(seen, causal_mask(15))[:, -1]
        right = (logits.argmax(dim=-1) == answers).float().mean()
        found.append(torch.stack([F.cross_entropy(logits, answers), right]))
    return [round(value, 4) for value in torch.stack(found).mean(dim=0).tolist()]


# What an encoder is good for


class Classifier(nn.Module):
    """The encoder of a masked model, the mean of its vectors, and a head."""

    def __init__(self, model: MaskedLM, n_classes: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(SIZES["d_model"], n_classes)

    def features(self, ids: Tensor) -> Tensor:
        """Return the mean vector of each text, (B, D); it is read 16 by 16."""
        pieces = ids.unflatten(1, (-1, 16)).flatten(0, 1)
        model = self.model
        vectors = model.encoder(model.positions(model.tokens(pieces)))
        return vectors.mean(dim=1).unflatten(0, (len(ids), -1)).mean(dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of the classes."""
        return self.head(self.features(ids))


def written(text: Text, tokens: Tensor, n: int, generator: torch.Generator) -> Rows:
    """Return n texts of the author, taken from tokens, and n of a bigram model."""
    starts = torch.randint(len(tokens) - LENGTH, (n, 1), generator=generator)
    authors = tokens[starts + torch.arange(LENGTH)]
    table = count_pairs(text.train, text.vocab_size).float()
    columns = [tokens[torch.randint(len(tokens), (n,), generator=generator)]]
    while len(columns) < LENGTH:
        draws = torch.multinomial(table[columns[-1]], 1, generator=generator)
        columns.append(draws.squeeze(1))
    bigrams = torch.stack(columns, dim=1)
    return torch.cat([authors, bigrams]), torch.arange(2).repeat_interleave(n)


def spoken(text: Text, generator: torch.Generator) -> tuple[Rows, Rows]:
    """Return pieces of the longest parts, and pieces of other speeches of the same."""
    parts = defaultdict(list)
    for name, speech in re.findall(r"(?m)^([A-Z][^\n:]*):\n((?:.+\n)+)", text.text):
        parts[name].append(speech)
    longest = sorted(parts, key=lambda name: -sum(map(len, parts[name])))[:SPEAKERS]
    sides: tuple[list, list] = ([], [])
    for label, name in enumerate(longest):
        order = torch.randperm(len(parts[name]), generator=generator).tolist()
        for side, most in ((0, PIECES), (1, NEW_PIECES)):
            chosen = [parts[name][i] for i in order if (i % 3 == 0) == (side == 1)]
            pieces = [
                speech[i : i + LENGTH]
                for speech in chosen
                for i in range(0, len(speech) - LENGTH, LENGTH)
            ]
            sides[side].extend((piece, label) for piece in pieces[:most])
    return tuple(
        (torch.stack([text.ids(p) for p, _ in s]), torch.tensor([y for _, y in s]))
        for s in sides
    )


def probe(features: Callable, known: Rows, new: Rows) -> float:
    """Train a linear head on features that stay as they are; return its right share."""
    with torch.no_grad():
        x, x_new = features(known[0]), features(new[0])
    mean, spread = x.mean(dim=0), x.std(dim=0) + 0.01
    head = nn.Linear(x.size(1), int(known[1].max()) + 1)
    fit(head, lambda: ((x - mean) / spread, known[1]), 300, learning_rate=0.01)
    guesses = head((x_new - mean) / spread).argmax(dim=-1)
    return round((guesses == new[1]).float().mean().item(), 4)


def tune(model: MaskedLM, known: Rows, new: Rows, generator: torch.Generator) -> float:
    """Train encoder and head together; return the share of right answers."""
    classifier = Classifier(model, int(known[1].max()) + 1)

    def next_batch() -> Rows:
        rows = torch.randint(len(known[0]), (16,), generator=generator)
        return known[0][rows], known[1][rows]

    train(Training(classifier, TUNING), next_batch)
    with torch.no_grad():
        guesses = classifier(new[0]).argmax(dim=-1)
    return round((guesses == new[1]).float().mean().item(), 4)


def fresh(text: Text, seed: int) -> MaskedLM:
    """Return an untrained model of the same kind, with other numbers."""
    torch.manual_seed(1_000 + seed)
    return MaskedLM(MaskedLMConfig(text.vocab_size, **SIZES))


def shares(text: Text, model: MaskedLM, seed: int) -> dict[str, dict[str, float]]:
    """Return the shares of right answers in both tasks."""
    generator = torch.Generator().manual_seed(seed)
    known = written(text, text.train, N_TEXTS, generator)
    new = written(text, text.held_out, N_NEW, generator)
    tasks = {"writer": (known, new), "speaker": spoken(text, generator)}
    counted = lambda ids: F.one_hot(ids, text.vocab_size).float().mean(dim=1)
    found = {}
    for task, rows in tasks.items():
        torch.manual_seed(seed)
        frozen, untrained = Classifier(model, 2), Classifier(fresh(text, seed), 2)
        found[task] = {
            "counted characters": probe(counted, *rows),
            "untrained, frozen": probe(untrained.features, *rows),
            "trained, frozen": probe(frozen.features, *rows),
        }
    for name, start in (("untrained", fresh(text, seed)), ("trained", model)):
        found["writer"][f"{name}, tuned"] = tune(start, known, new, generator)
    return found


def main() -> None:
    """Train with every seed and write the record, whole or not at all."""
    text = Text()
    kinds = ("both sides", "from the left", "from the left, few")
    runs: dict[str, dict] = {kind: {"losses": [], "right": []} for kind in kinds}
    tasks: dict[str, dict] = {"writer": {}, "speaker": {}}
    start = time.process_time()
    for seed in SEEDS:
        models = {kind: pretrain(text, kind, seed) for kind in kinds}
        for kind, model in models.items():
            loss, right = losses(text, model, kind)
            runs[kind]["losses"].append(loss)
            runs[kind]["right"].append(right)
            print(
                f"seed {seed}, {kind}: {loss:.3f} nats, {right:.0%} right", flush=True
            )
        for task, found in shares(text, models["both sides"], seed).items():
            for name, share in found.items():
                tasks[task].setdefault(name, []).append(share)
            print(f"seed {seed}, {task}: {found}", flush=True)
    seconds = round((time.process_time() - start) / len(SEEDS), 1)
    record = {"text": text.name, "sizes": SIZES, "recipe": asdict(RECIPE)}
    record |= {"batch_size": BATCH_SIZE, "share": SHARE, "seeds": [*SEEDS]}
    record |= {"length": LENGTH, "texts": [N_TEXTS, N_NEW], "tuning": asdict(TUNING)}
    record |= {"pieces": [PIECES, NEW_PIECES], "seconds": seconds}
    draft = ROOT / RECORD.with_suffix(".draft")
    words = json.dumps(record | {"runs": runs, "tasks": tasks}, indent=1)
    draft.write_text(words + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main()
