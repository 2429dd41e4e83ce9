# %% [markdown]
# # Solutions 18 · Beyond text
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/18_beyond_text.ipynb)
#
# One way to solve each exercise of lesson
# [18](../lessons/18_beyond_text.ipynb), and what to learn from it.

# %% tags=["remove-cell"]
# @title Set-up: makes the course's library importable; on Colab it fetches the course
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads would wait for each other
url = os.getenv("COURSE_URL", "https://github.com/from-bigram-to-transformer/course")
if find_spec("google") and find_spec("google.colab") and not Path("course").exists():
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", url, "course"])
here = globals().get("__file__") or os.getenv("JPY_SESSION_NAME", "lesson")
places = [*Path(here).resolve().parents, Path("course").resolve()]
found = [place for place in places if Path(place, "lib", "text", "corpus.py").is_file()]
assert found, f"lib/ not found: run `git clone {url}` and open this lesson in it"
sys.path.insert(0, str(found[0]))

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

from lib.checks.lesson_18 import (
    check_patch_numbers,
    check_pixel_map,
    check_random_shift,
    check_unpatchify,
)
from lib.embedding import PatchEmbedding
from lib.show import plot

digits = load_digits()
pixels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
labels = torch.tensor(digits.target)

# %% [markdown]
# ## Exercise 1: Count patches and parameters
#
# [Exercise](../lessons/18_beyond_text.ipynb#exercise-1-count-patches-and-parameters)


# %%
def patch_numbers(image_size, patch_size, d_model, n_channels):
    inputs = n_channels * patch_size**2
    return (image_size // patch_size) ** 2, (inputs + 1) * d_model


# %% tags=["exercise"]
check_patch_numbers(patch_numbers)

# %%
layer = PatchEmbedding(224, 16, 768, 3)
counted = sum(parameter.numel() for parameter in layer.parameters())
n_patches, n_parameters = patch_numbers(224, 16, 768, 3)
print(f"{n_patches} patches, {n_parameters:,} parameters")
assert (n_patches, n_parameters) == (layer.n_patches, counted)
for patch_size in (8, 1):
    n_patches = patch_numbers(224, patch_size, 768, 3)[0]
    print(f"patches of {patch_size}: {n_patches:,} tokens, {n_patches**2:,} scores")

# %% [markdown]
# These are the sizes of the paper's base model. 196 tokens are about as many as a long sentence has
# characters. With one token per pixel, a single head of a single layer would have 2.5 billion scores.

# %% [markdown]
# ## Exercise 2: Put it together again
#
# [Exercise](../lessons/18_beyond_text.ipynb#exercise-2-put-it-together-again)
#
# The rows hold `(rows, columns, C, p, p)`. In the picture the height is made of the row
# of the patch and the row in it, the width of the two columns: `(C, rows, p, columns,
# p)`.


# %%
def unpatchify(rows, patch_size, n_channels):
    B, N, _ = rows.shape
    n, p = round(N**0.5), patch_size
    x = rows.reshape(B, n, n, n_channels, p, p).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(B, n_channels, n * p, n * p)


# %% tags=["exercise"]
check_unpatchify(unpatchify)

# %% [markdown]
# With it you can draw what a model without positions cannot tell apart: a digit, and the same
# patches in other orders.

# %% mystnb={"image": {"alt": "The picture of a handwritten 4, and three pictures of the same sixteen patches in random order, in which no digit can be seen."}}
rows = pixels[4:5].unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5)
rows = rows.flatten(3).flatten(1, 2)  # (1, 16, 4)
torch.manual_seed(0)
orders = [torch.arange(16)] + [torch.randperm(16) for _ in range(3)]
mosaics = [unpatchify(rows[:, order], 2, 1)[0, 0] for order in orders]
assert torch.equal(mosaics[0], pixels[4, 0])
gap = torch.zeros(8, 1)
wide = torch.cat([torch.cat([m, gap], dim=1) for m in mosaics], dim=1)
blank = [""] * 8, [""] * 36
plot.heat_map(wide, *blank, "", "", size=(6, 2), label="darkness")

# %% [markdown]
# *One bag of patches in four orders: to a model without positions they are the same.*

# %% [markdown]
# ## Exercise 3: Draw the map of a layer
#
# [Exercise](../lessons/18_beyond_text.ipynb#exercise-3-draw-the-map-of-a-layer)


# %%
@torch.no_grad()
def pixel_map(embed, image_size):
    one_dark = torch.eye(image_size**2).view(-1, 1, image_size, image_size)
    white = torch.zeros(1, 1, image_size, image_size)
    changes = (embed(one_dark) - embed(white)).abs().sum(dim=-1)  # (S * S, N)
    return changes.argmax(dim=-1).view(image_size, image_size)


# %% tags=["exercise"]
check_pixel_map(pixel_map)

# %% [markdown]
# Here is the classic bug of the lesson, seen from outside.


# %%
class StripEmbedding(PatchEmbedding):
    def forward(self, images):
        return self.project(images.reshape(len(images), self.n_patches, -1))


torch.manual_seed(0)
for name, layer in (("squares", PatchEmbedding), ("strips", StripEmbedding)):
    print(f"{name}:")
    print(pixel_map(layer(8, 2, 16), 8))

# %% [markdown]
# Squares of four equal numbers, against halves of lines. In a layer that looks at *overlapping*
# windows a pixel goes into several tokens, and the map would need several numbers per pixel.

# %% [markdown]
# ## Exercise 4: Move the pictures
#
# [Exercise](../lessons/18_beyond_text.ipynb#exercise-4-move-the-pictures)


# %%
def random_shift(images, generator, blank):
    B, S = len(images), images.size(-1)
    padded = nn.functional.pad(images, (1, 1, 1, 1), value=blank)
    starts = torch.randint(3, (B, 2), generator=generator).tolist()
    windows = [x[:, r : r + S, c : c + S] for x, (r, c) in zip(padded, starts)]
    return torch.stack(windows)


# %% tags=["exercise"]
check_random_shift(random_shift)

# %% [markdown]
# Train the classifier of the lesson on moved pictures, every batch moved anew. White is -1 in
# `images`. To save time there are fewer steps than in the lesson, and larger ones.

# %%
from lib.models.encoder_decoder import Encoder
from lib.position import LearnedPositions


class DigitClassifier(nn.Module):
    def __init__(self, d_model=48):
        super().__init__()
        self.patches = PatchEmbedding(8, 2, d_model)
        self.positions = LearnedPositions(16, d_model)
        self.encoder = Encoder(d_model, 4, 2, 4 * d_model, dropout=0.1)
        self.head = nn.Linear(d_model, 10)

    def forward(self, images):
        x = self.encoder(self.positions(self.patches(images)))
        return self.head(x.mean(dim=1))


# %%
from lib.checks.claims import claim
from lib.evaluate.losses import cross_entropy
from lib.train.settings import TrainConfig
from lib.train import Training, train

images = pixels / 8 - 1
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
held_out, rest = order[:360], order[360:]
torch.manual_seed(0)
model, generator = DigitClassifier(), torch.Generator().manual_seed(0)


def moved_batch():
    chosen = rest[torch.randint(len(rest), (64,), generator=generator)]
    return random_shift(images[chosen], generator, -1), labels[chosen]


# %% tags=["measured:wide"]
rates = dict(learning_rate=3e-3, muon_learning_rate=0.02, weight_decay=0.5)
config = TrainConfig(200, optimizer="muon", **rates)
losses = train(
    Training(model, config, lambda m, x, y: cross_entropy(m(x), y)), moved_batch
)
model.eval()
padded = nn.functional.pad(images[held_out], (1, 1, 1, 1), value=-1)


@torch.no_grad()
def accuracy(down, right):
    window = padded[:, :, 1 - down : 9 - down, 1 - right : 9 - right]
    return (model(window).argmax(dim=-1) == labels[held_out]).float().mean().item()


print(f"in place: {accuracy(0, 0):.1%}")
print(f"right {accuracy(0, 1):.0%}, left {accuracy(0, -1):.0%}", end=", ")
print(f"down {accuracy(1, 0):.0%}, up {accuracy(-1, 0):.0%}")
sides = [accuracy(*move) for move in ((0, 1), (0, -1), (1, 0), (-1, 0))]
claim(min(sides) > 0.7, "it reads most digits wherever they stand")
claim(accuracy(0, 0) > 0.8, "and most of those in their place")

# %% [markdown]
# A move by one pixel costs the [model of the lesson](../lessons/18_beyond_text.ipynb) many digits. This
# one keeps most of them, wherever they stand. There is a price: in place it names fewer than a model
# that has only ever seen centred digits. The same short training now serves nine times as many
# pictures.
#
# A convolution gets some of this for free, because it does the same at every place. A Transformer must
# be shown.
