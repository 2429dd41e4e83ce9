"""Train the picture models of lesson 18 with several seeds, and controls beside them.

``python book/_tools/patches.py`` writes ``data/patches.json``: for each seed, which
also draws the held-out pictures, the share of digits named rightly by the model and by
the nearest neighbour; the same for models with strips, without positions, and on
shuffled pixels; and what each patch is worth: covered, looked at, and alone.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.embedding import PatchEmbedding  # noqa: E402
from lib.evaluate.attention_maps import attention_maps  # noqa: E402
from lib.models.encoder_decoder import Encoder  # noqa: E402
from lib.position import LearnedPositions  # noqa: E402
from lib.train import Training, train  # noqa: E402
from lib.train.settings import TrainConfig  # noqa: E402

RECORD = Path("data", "patches.json")
SEEDS = range(5)
N_HELD_OUT, BATCH_SIZE = 360, 64
RECIPE = TrainConfig(
    n_steps=250,
    learning_rate=0.003,
    optimizer="muon",
    muon_learning_rate=0.01,
    weight_decay=0.5,
    schedule="linear",
)
ARMS = ("squares", "strips", "no positions", "shuffled pixels")


class Strips(PatchEmbedding):
    """The classic bug: each token is a piece of a line."""

    def forward(self, images: Tensor) -> Tensor:
        return self.project(images.reshape(len(images), self.n_patches, -1))


class DigitClassifier(nn.Module):
    """The classifier of the lesson."""

    def __init__(self, patches: type = PatchEmbedding, positions: bool = True) -> None:
        super().__init__()
        self.patches = patches(8, 2, 48)
        self.positions = LearnedPositions(16, 48) if positions else nn.Identity()
        self.encoder = Encoder(48, 4, 2, 192, dropout=0.1)
        self.head = nn.Linear(48, 10)

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(self.positions(self.patches(images)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encode(images).mean(dim=1))


def covered_falls(
    model: nn.Module, images: Tensor, labels: Tensor, cover: Tensor
) -> Tensor:
    """How much the right digit's probability falls for each covered patch (B, 16)."""

    def right(pictures: Tensor) -> Tensor:
        return model(pictures).softmax(dim=-1).gather(1, labels.unsqueeze(1))

    falls = []
    for n in range(16):
        row, column = 2 * (n // 4), 2 * (n % 4)
        hidden = images.clone()
        place = slice(row, row + 2), slice(column, column + 2)
        hidden[:, :, *place] = cover[:, *place]
        falls.append(right(images) - right(hidden))
    return torch.cat(falls, dim=1)


def by_digit(values: Tensor, labels: Tensor) -> list[list[float]]:
    """Return the mean row of each digit, ten rows."""
    means = [values[labels == digit].mean(dim=0) for digit in range(10)]
    return [[round(value, 4) for value in row] for row in torch.stack(means).tolist()]


@torch.no_grad()
def measure(model: nn.Module, images: Tensor, labels: Tensor, mean: Tensor) -> dict:
    """Return what the patches of the held-out pictures are worth to a model."""
    named = model.head(model.encode(images)).argmax(dim=-1)  # (B, 16)
    alone = (named == labels.unsqueeze(1)).float().mean(dim=0)
    looked = attention_maps(model, images)[-1].mean(dim=(1, 2))
    white = torch.full_like(mean, -1)
    ink = images.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(1, 4, 5)).flatten(1)
    return {
        "alone": [round(share, 4) for share in alone.tolist()],
        "covered": by_digit(covered_falls(model, images, labels, mean), labels),
        "painted white": by_digit(covered_falls(model, images, labels, white), labels),
        "looked at": by_digit(looked, labels),
        "ink": by_digit(ink + 1, labels),
    }


def nearest_neighbour(
    images: Tensor, labels: Tensor, held_out: Tensor, rest: Tensor
) -> float:
    """Return the share of digits that the most similar picture names rightly."""
    flat = images.flatten(1)
    nearest = torch.cdist(flat[held_out], flat[rest]).argmin(dim=1)
    hits = labels[rest[nearest]] == labels[held_out]
    return round(hits.float().mean().item(), 4)


def run(arm: str, seed: int, images: Tensor, labels: Tensor) -> dict:
    """Train one model; return what it is worth, and what its patches are."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held_out, rest = order[:N_HELD_OUT], order[N_HELD_OUT:]
    generator = torch.Generator().manual_seed(seed)
    if arm == "shuffled pixels":
        places = torch.randperm(64, generator=torch.Generator().manual_seed(seed + 100))
        images = images.flatten(1)[:, places].view_as(images)
    torch.manual_seed(seed)
    patches = Strips if arm == "strips" else PatchEmbedding
    model = DigitClassifier(patches, positions=arm != "no positions")

    def next_batch() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(rest), (BATCH_SIZE,), generator=generator)
        return images[rest[chosen]], labels[rest[chosen]]

    start = time.process_time()
    train(Training(model, RECIPE), next_batch)
    found = {"seconds": round(time.process_time() - start, 1)}
    model.eval()
    with torch.no_grad():
        right = model(images[held_out]).argmax(dim=-1) == labels[held_out]
    found["right"] = round(right.float().mean().item(), 4)
    if arm == "squares":
        found["nearest"] = nearest_neighbour(images, labels, held_out, rest)
        mean = images[rest].mean(dim=0)
        found |= measure(model, images[held_out], labels[held_out], mean)
    return found


def main() -> None:
    """Train with every seed and write the record, whole or not at all."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    labels = torch.tensor(digits.target)
    runs: dict[str, dict[str, list]] = {arm: {} for arm in ARMS}
    for seed in SEEDS:
        for arm in ARMS:
            found = run(arm, seed, images, labels)
            for name, value in found.items():
                runs[arm].setdefault(name, []).append(value)
            print(seed, f"{arm:16}", found["right"], found.get("nearest"), flush=True)
    record = {"recipe": asdict(RECIPE), "batch_size": BATCH_SIZE}
    record |= {"held_out": N_HELD_OUT, "seeds": [*SEEDS], "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main()
