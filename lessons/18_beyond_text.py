# %% [markdown]
# # 18 · Beyond text
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/18_beyond_text.ipynb)
#
# You let the same blocks read pictures and say what they see.
#
# - **You will build** the layer that turns a picture into tokens, a model that names handwritten
#   digits, and one that writes their names letter by letter.
# - **You will see** which patches a model needs, by covering them one by one; a bug that the
#   accuracy does not show; and a rival without any training that does as well.
# - **Needs** lesson [15](15_encoder_decoder.ipynb).
# - **Takes** about 60 minutes without the exercises; the notebook runs in under 45 s.

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

# %% [markdown]
# ## The question
#
# The encoder of lesson [17](17_masked_language_model.ipynb) reads a whole text at once. But where
# in its code does it say *text*? Attention takes vectors. So do the norm and the feed-forward
# network. Only two layers know what a token is: the table at the bottom that makes vectors of ids,
# and the head at the top that makes logits of vectors.
#
# Change these two. Can the blocks between them read a picture? 
#
# The pictures come with scikit-learn: 1,797 handwritten digits ([Alpaydin and
# Kaynak](https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits), licence
# CC BY 4.0). Each has 8 × 8 pixels, numbers from 0, white, to 16, black.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
pixels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
labels = torch.tensor(digits.target)
print(tuple(pixels.shape), f"from {pixels.min():.0f} to {pixels.max():.0f}")

# %% [markdown]
# The second dimension holds the *channels*, the numbers per pixel: 1 for grey, 3 for red, green and
# blue. Here are the first ten pictures.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten small pictures of 8 by 8 squares, the handwritten digits 0 to 9 in order, coarse but readable."}}
# @title The first ten pictures
import matplotlib.pyplot as plt


def panels(pictures, names, size, **colours):  # (n, h, w), five in a row
    figure, grid = plt.subplots(len(pictures) // 5, 5, figsize=size)
    for axes, picture, name in zip(grid.flat, pictures, names):
        drawn = axes.imshow(picture, **colours)
        axes.set_title(name)
        axes.axis("off")
    plt.close(figure)
    return figure, grid, drawn


names = [str(digit) for digit in range(10)]
panels(pixels[:10, 0], names, (7, 3.2), cmap="Greys")[0]

# %% [markdown]
# A Transformer needs a row of vectors.

# %% [markdown]
# ## The machine
#
# Cut the picture into squares, called [patches](../book/glossary.md#patch), and make each square a
# token. What is new is in colour; the encoder is that of lesson 15.

# %% mystnb={"image": {"alt": "Diagram from top to bottom. A picture of 8 by 8 pixels is cut into sixteen patches. Flatten, times E, plus place makes sixteen tokens of them. An encoder of two blocks follows, then the mean over the sixteen vectors and a head with ten logits. New are the patches, the matrix E, and mean and head."}}
from lib.show import diagrams

diagrams.patch_encoder()

# %% [markdown]
# Why not a token for each pixel? Attention compares every token with every other: four times as
# many tokens need sixteen times as many scores.

# %% [markdown]
# ## By hand
#
# Take a picture of 4 × 4 pixels and cut it into squares of 2 × 2. Write each as a row of four
# numbers, line by line. 

# %%
picture = torch.tensor([[0.0, 0, 5, 5], [0, 9, 5, 5], [3, 3, 0, 0], [3, 3, 0, 1]])
corners = [(0, 0), (0, 2), (2, 0), (2, 2)]  # row and column of each patch
patches = torch.stack([picture[r : r + 2, c : c + 2].flatten() for r, c in corners])
for row in patches.tolist():
    print(row)

# %% [markdown]
# The 9 stands last in the first row: in its square it is at the bottom right.
#
# Now make a vector of each row, with a matrix. This one has two columns that are easy to name: "how
# much ink", and "right side minus left side".

# %%
E = torch.tensor([[1.0, -1], [1, 1], [1, -1], [1, 1]])  # (4 pixels, 2 numbers)
for row in (patches @ E).tolist():
    print(row)

# %% [markdown]
# Four tokens of two numbers. That is all: **cut, flatten, multiply.** A table of embeddings holds a
# row for each token id. In a photograph no table could list them. The matrix *computes* the row, and is
# learned like the table.

# %% [markdown]
# ## The formula
#
# A picture of $H \times W$ pixels becomes $N$ patches of $P \times P$ pixels. Each is flattened to
# a row $x_p$ and multiplied by $E$. A learned vector says where it stood.
#
# $$N = \frac{H}{P} \cdot \frac{W}{P} \qquad\qquad z_0 = [\, x_p^1 E;\; x_p^2 E;\; \ldots;\; x_p^N E \,] + E_\text{pos}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(B, C, H, W)` | pictures with $C$ channels |
# | $x_p^n$ | `(B, C*P*P)` | patch $n$, flattened, channel first |
# | $E$ | `(C*P*P, D)` | makes a vector of a patch |
# | $E_\text{pos}$ | `(N, D)` | one learned vector per place |
# | $z_0$ | `(B, N, D)` | what the first block reads |
#
# This is equation (1) in section 3.1 of [Dosovitskiy et al. (2021)](../book/bibliography.md), *An
# Image is Worth 16x16 Words*. $P$ must divide $H$ and $W$. (Our layer adds a bias. The paper reads the answer from one more vector in front, the *class
# token*. We take the mean over all patches.)

# %% [markdown]
# ## Build
#
# ### Cut all pictures at once
#
# `unfold(2, p, p)` cuts dimension 2, the height, into pieces of `p`, and puts the pixels inside a
# piece into a new last dimension. Do it for height and width. In the example each pixel says where
# it is: the tens digit is the row, the ones digit the column.

# %%
entries = 10 * torch.arange(4).unsqueeze(1) + torch.arange(4)
entries = entries.view(1, 1, 4, 4)  # B, C, height, width
cut = entries.unfold(2, 2, 2).unfold(3, 2, 2)
print(tuple(cut.shape), "= B, C, rows, columns, p, p")
print("patch at row 0, column 1:", cut[0, 0, 0, 1].tolist())

# %% [markdown]
# The square at the top right. The channels of a patch belong to the patch, so C moves behind the
# place: `permute` puts the dimensions in a new order. Then flatten place and content. `flatten(3)`
# joins all dimensions from number 3 on, `flatten(1, 2)` numbers 1 and 2.

# %%
by_place = cut.permute(0, 2, 3, 1, 4, 5)  # (B, rows, columns, C, p, p)
in_rows = by_place.flatten(3).flatten(1, 2)  # (B, N, C p p)
for row in in_rows[0].tolist():
    print(row)

# %% [markdown]
# Each row is a square. The module does these two steps and the product.


# %% tags=["naive:embedding.PatchEmbedding"]
class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, d_model, n_channels=1):
        super().__init__()
        self.patch_size, self.n_patches = patch_size, (image_size // patch_size) ** 2
        self.project = nn.Linear(n_channels * patch_size**2, d_model)

    def forward(self, images):
        p = self.patch_size
        x = images.unfold(2, p, p).unfold(3, p, p)  # (B, C, rows, columns, p, p)
        x = x.permute(0, 2, 3, 1, 4, 5)  # (B, rows, columns, C, p, p)
        return self.project(x.flatten(3).flatten(1, 2))  # (B, N, C p p) -> (B, N, D)


# %% [markdown]
# With the matrix from above it must give the tokens computed by hand. (`project.weight` is
# $E^\top$.) Then cut three digits of 8 × 8 into patches of 2 × 2.

# %%
embed = PatchEmbedding(image_size=4, patch_size=2, d_model=2)
embed.project.weight.data = E.T
embed.project.bias.data.zero_()
assert torch.equal(embed(picture.view(1, 1, 4, 4))[0], patches @ E)
embed = PatchEmbedding(image_size=8, patch_size=2, d_model=48)
print(tuple(pixels[:3].shape), "->", tuple(embed(pixels[:3]).shape))

# %% [markdown]
# From here on they could be text.
#
# ### A model that names digits
#
# Patches, the learned positions of lesson [05](05_positions.ipynb), the `Encoder` of lesson 15, the
# mean, a head. There is no mask: a picture has no future to hide.

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

    def encode(self, images):
        return self.encoder(self.positions(self.patches(images)))  # (B, N, D)

    def forward(self, images):
        return self.head(self.encode(images).mean(dim=1))  # (B, 10)


# %% [markdown]
# Draw 360 pictures at random and hold them back: the model never trains on them. Bring the pixels
# to numbers between -1 and 1.

# %%
SEED = 7
images = pixels / 8 - 1
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
held_out, rest = order[:360], order[360:]
test_images, test_labels = images[held_out], labels[held_out]
print(f"{len(rest):,} pictures to learn from, {len(held_out)} to test on")

# %% [markdown]
# Training is that of lesson [11](11_training.ipynb), with Muon. The loss is the same cross-entropy,
# over ten digits instead of a vocabulary. `eval()` switches the
# [dropout](../book/glossary.md#dropout) off.

# %%
from lib.train import Training, train
from lib.train.settings import TrainConfig


def recipe(n_steps):
    rates = dict(learning_rate=0.003, muon_learning_rate=0.01, weight_decay=0.5)
    return TrainConfig(n_steps, optimizer="muon", schedule="linear", **rates)


def random_pictures(generator):
    return rest[torch.randint(len(rest), (64,), generator=generator)]


# %%
def train_classifier():
    torch.manual_seed(SEED)
    model, generator = DigitClassifier(), torch.Generator().manual_seed(SEED)

    def next_batch():
        chosen = random_pictures(generator)
        return images[chosen], labels[chosen]

    train(Training(model, recipe(n_steps=250)), next_batch)
    return model.eval()


# %% [markdown]
# How many held-out digits are named rightly?

# %% tags=["measured"]
from lib.checks.claims import claim

classifier = train_classifier()
with torch.no_grad():
    said = classifier(test_images).argmax(dim=-1)
right = (said == test_labels).float().mean().item()
n_parameters = sum(parameter.numel() for parameter in classifier.parameters())
print(f"{n_parameters:,} parameters, {right:.1%} of the held-out digits are right")
claim(right > 0.95, "more than 95 % of the held-out digits are named rightly")

# %% [markdown]
# Blocks that were built for text read pictures. (A lucky seed; see Experiment 1.)

# %% [markdown]
# ## Check
#
# PyTorch has this layer under another name. A *convolution* slides a small window of weights over a
# picture. If its step, the `stride`, is as long as the window is wide, the windows are patches. Our
# layer equals it, and the library's.

# %% tags=["same:embedding.PatchEmbedding", "proof"]
# @title Proof: equal to torch.nn.Conv2d with kernel_size = stride, and to the library's
from lib import embedding as library

torch.manual_seed(0)
for image_size, patch_size, n_channels in ((8, 2, 1), (12, 4, 3), (6, 1, 2), (5, 5, 3)):
    sizes = image_size, patch_size, 7, n_channels
    embed, theirs = PatchEmbedding(*sizes), library.PatchEmbedding(*sizes)
    conv = nn.Conv2d(n_channels, 7, kernel_size=patch_size, stride=patch_size)
    square = n_channels, patch_size, patch_size
    conv.weight.data = embed.project.weight.data.unflatten(1, square)
    conv.bias.data = embed.project.bias.data
    theirs.load_state_dict(embed.state_dict())
    x = torch.randn(2, n_channels, image_size, image_size)
    torchs = conv(x).flatten(2).transpose(1, 2)  # (B, D, N) -> (B, N, D)
    assert torch.allclose(embed(x), torchs, atol=1e-5)
    assert torch.equal(embed(x), theirs(x))
print("ours = the library's = PyTorch's convolution")

# %% [markdown]
# ### The classic bug: strips instead of squares
#
# We need N rows of `p * p` numbers. Why `unfold` and `permute`, when one `reshape` gives that
# shape?

# %% mystnb={"image": {"alt": "Diagram of a picture of 4 by 4 numbered pixels, twice. Left, squares: the first token holds the pixels 0, 1, 4 and 5. Right, strips: it holds 0, 1, 2 and 3, a whole line."}}
diagrams.square_patches()

# %% [markdown]
# `reshape` reads the picture line by line, so each "patch" is a piece of a line. Nothing crashes,
# and the experiment below finds no loss of accuracy: a strip holds neighbours too, and its learned
# position says where it lies. But with weights made by correct code the pictures would be nonsense,
# and every map of patches would be wrong.
#
# So test the layer, not the model: make *one square* dark, and count the tokens that change.


# %%
class StripEmbedding(PatchEmbedding):
    def forward(self, images):
        return self.project(images.reshape(len(images), self.n_patches, -1))


white, marked = torch.zeros(2, 1, 1, 8, 8)
marked[:, :, 2:4, 4:6] = 1  # the square at row 1, column 2
for embedding in (PatchEmbedding, StripEmbedding):
    embed = embedding(8, 2, 48)
    changed = (embed(marked) != embed(white)).any(dim=-1)[0]  # (N,)
    print(f"{embedding.__name__}: tokens", changed.nonzero().flatten().tolist())
    assert (changed.sum() == 1) == (embedding is PatchEmbedding)

# %% [markdown]
# One square, one token: number 6. The wrong layer splits
# it between two.

# %% [markdown]
# ## Look: which patches does it need?
#
# It is tempting to draw the attention weights and say "there it looks". First ask how much a single
# vector knows *after* the encoder: give each of the 16 alone to the head. As a control, take the
# four pixels of the patch *before* the encoder, and the label of the training picture with the most
# similar ones. (`cdist` gives all distances between two sets of rows.)

# %% tags=["measured"]
with torch.no_grad():
    alone = classifier.head(classifier.encode(test_images)).argmax(dim=-1)  # (360, 16)
after = (alone == test_labels.unsqueeze(1)).float().mean(dim=0)  # (16,)
small = pixels.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).flatten(1, 3)  # (1797, 16, 4)
before = torch.empty(16)
for n in range(16):
    nearest = torch.cdist(small[held_out, n], small[rest, n]).argmin(dim=1)
    before[n] = (labels[rest[nearest]] == test_labels).float().mean()
print(f"one patch, before the encoder: {before.min():.0%} to {before.max():.0%}")
print(f"one vector, after it:          {after.min():.0%} to {after.max():.0%}")
assert before.max() < 0.6
claim(after.mean() > 0.91 and after.min() > 0.8, "any vector names most digits")

# %% [markdown]
# Before, a patch names about half of the digits at most. After, any vector names nearly all, even
# one from a corner that is almost always white. Two layers of attention have carried to every place enough to name the digit. (The head is linear, so the logits of the mean vector are the mean of the 16 vectors' logits.)
#
# A weight on "patch 7" in the last layer is therefore no weight on *those four pixels*. Change the
# pixels instead: **cover a patch, and see how far the probability of the right digit falls.** Cover with
# what? White would say "no ink here". The mean of all training pictures at that place
# favours no digit (it is grey, so where a digit is white it adds some ink).


# %%
mean_picture = images[rest].mean(dim=0)  # (1, 8, 8)


def cover(images, n):
    r, c = 2 * (n // 4), 2 * (n % 4)
    covered = images.clone()
    covered[:, :, r : r + 2, c : c + 2] = mean_picture[:, r : r + 2, c : c + 2]
    return covered


# %% [markdown]
# `gather` takes from each row the column that `labels` names.


# %%
@torch.no_grad()
def falls(model, images, labels):
    def probability(images):
        shares = model(images).softmax(dim=-1)  # (B, 10)
        return shares.gather(1, labels.unsqueeze(1))  # (B, 1)

    whole = probability(images)
    each = [whole - probability(cover(images, n)) for n in range(16)]
    return torch.cat(each, dim=1)  # (B, 16)


# %% [markdown]
# The sixteen falls, mean over the held-out sevens, row by row as in a picture:

# %% tags=["measured:wide"]
fall = falls(classifier, test_images, test_labels)
sevens = fall[test_labels == 7].mean(dim=0)  # (16,)
for row in sevens.view(4, 4).tolist():
    print(" ".join(f"{value:6.2f}" for value in row))
claim((sevens < 0.05).sum() >= 9, "most patches hardly matter")

# %% [markdown]
# For a seven one patch matters much, a second a little. But one model may be an accident. Make such a map for each
# digit, and compare with five other models, recorded by `python book/_tools/patches.py`: other
# first weights, other held-out pictures. Two sets of maps with the same pattern have correlation 1,
# with nothing in common 0.

# %% tags=["hide-input"]
# @title The recorded runs
import json
from pathlib import Path

import lib

record_file = Path(lib.__file__).parents[1] / "data" / "patches.json"
record = json.loads(record_file.read_text("utf-8"))
runs = record["runs"]
print(record["held_out"], "held-out pictures, seeds", *record["seeds"])


# %% tags=["measured:wide"]
def by_digit(values):  # (360, 16) -> (10, 16)
    return torch.stack([values[test_labels == d].mean(dim=0) for d in range(10)])


def agreement(maps):
    pairs = torch.corrcoef(torch.stack([m.flatten() for m in maps]))
    return pairs[~torch.eye(len(maps), dtype=torch.bool)]


maps = [by_digit(fall), *map(torch.tensor, runs["squares"]["covered"])]
print(f"six models: {agreement(maps).min():.2f} to {agreement(maps).max():.2f}")
claim(agreement(maps).min() > 0.4, "the six maps are alike")
mean_map = torch.stack(maps).mean(dim=0)  # (10, 16)

# %% [markdown]
# The map belongs to these digits and this kind of model, not to one seed. Draw its mean:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten grids of 4 by 4 squares, each over a grey mean digit. In most grids one square is dark blue. For the 9 it is the square to the left of its lower half, for the 7 the one to the right of its foot, for the 6 the one at its upper right: there the digit has no stroke."}}
# @title What each digit needs, mean over six models
scale = dict(cmap="RdBu", vmin=-0.6, vmax=0.6)
figure, grid, drawn = panels(mean_map.view(10, 4, 4), names, (7, 3), **scale)
for axes, digit in zip(grid.flat, range(10)):
    ink = pixels[rest][labels[rest] == digit].mean(dim=0)[0]
    under = dict(cmap="Greys", vmin=0, vmax=1, extent=(-0.5, 3.5, 3.5, -0.5))
    axes.imshow(torch.ones(8, 8), alpha=(ink / 32).numpy(), **under)
figure.colorbar(drawn, ax=grid, label="fall of the probability", shrink=0.8)
figure

# %% [markdown]
# *Blue: the probability of the right digit falls when this patch is covered. Grey: the mean digit.*
#
# Look at the 9. The patch that matters most is nearly *empty*: an 8 has a stroke there, a 9 has
# none. The 7 is empty at the bottom beside its foot, where a 2 or a 3 has ink; the 6 right of its middle, where a 9 has. **The model uses what is missing, too.** If they are empty in nearly each picture, painting them white changes almost nothing.

# %% tags=["measured:wide"]
painted = torch.tensor(runs["squares"]["painted white"]).mean(dim=0)  # (10, 16)
for digit, n in ((9, 9), (7, 14), (6, 6)):
    place = f"row {n // 4 + 1}, column {n % 4 + 1}"
    falls_by = f"covered {mean_map[digit, n]:.2f}, white {painted[digit, n]:.2f}"
    print(f"{digit}, patch in {place}: {falls_by}")
    claim(mean_map[digit, n] > 0.1, "the empty patch is needed")
    assert painted[digit, n] < 0.05

# %% [markdown]
# It hardly does. Such a map is called an [occlusion
# map](../book/glossary.md#occlusion-map).

# %% [markdown]
# ## Experiment 1: how good is it?
#
# Compare with the *nearest neighbour*, which is not trained at all: it takes the label of the
# training picture with the smallest distance, pixel by pixel. Compare also with models in which one thing is
# changed: strips for squares; no positions; all pixels shuffled, in the same way in every picture.
# Five seeds each, recorded, with the recipe from above.

# %%
scores = {"nearest neighbour": runs["squares"]["nearest"]}
scores |= {arm: run["right"] for arm, run in runs.items()}
for name, each in scores.items():
    listed = " ".join(f"{score:.1%}" for score in each)
    print(f"{name:17} mean {sum(each) / len(each):.1%}: {listed}")

# %% tags=["proof"]
# @title Proof: what the text says about the recorded runs
means = {name: sum(each) / len(each) for name, each in scores.items()}
squares = scores["squares"]
assert min(squares) > 0.97
assert 0 < means["nearest neighbour"] - means["squares"] < 0.01
assert abs(means["strips"] - means["squares"]) < 0.002
assert 0.7 < means["no positions"] < 0.8
assert all(a < b for a, b in zip(scores["shuffled pixels"], squares))
assert means["squares"] - means["shuffled pixels"] < 0.012
print("so it is")

# %% [markdown]
# - **The nearest neighbour** does as well, even a little better. These pictures are small and
#   centred, and come from only [13 of its 43 writers](https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits), whom
#   a random split puts on both sides. We have not shown that a Transformer reads small digits best,
#   but that *its blocks did not have to change*.
# - **Strips** cost nothing that five seeds could show: the accuracy does not find the bug.
# - **Without positions** a picture is a bag of patches. That is enough for three digits in four.
# - **Shuffled pixels** cost something with every seed, on average about one picture in a hundred, though to you they
#   would look like noise. Apart from the cut into squares the model has no built-in idea of neighbours. A convolution has it built in; for large pictures, learning it
#   takes much data.
#
# (Our recipe was chosen while looking at held-out pictures, which flatters it a little. And the
# held-out pictures are few: from seed to seed the share moves by about one in a hundred.)

# %% [markdown]
# ## Experiment 2: say what you see
#
# A classifier chooses one of ten. A *captioner* writes. Its [decoder](../book/glossary.md#decoder)
# looks at the patches by [cross-attention](../book/glossary.md#cross-attention), as the decoder of
# lesson 15 looked at a source text.

# %% mystnb={"image": {"alt": "Diagram in two columns. Left, the picture passes the trained, frozen encoder and becomes a memory of sixteen vectors. Right, the caption so far passes self-attention, then cross-attention, in colour, which takes keys and values from the memory, then feed-forward and head, and the next letters come out."}}
diagrams.caption_decoder()

# %% [markdown]
# First the vocabulary and the ten captions, filled up to one length.

# %%
from lib.text.tokenizer import pad_batch

words = "zero one two three four five six seven eight nine".split()
letters = ["<pad>", "<bos>", "<eos>", *sorted(set("".join(words)))]
PAD, BOS, EOS = 0, 1, 2
captions = pad_batch([[BOS, *map(letters.index, w), EOS] for w in words], PAD)
print(len(letters), "tokens; seven:", captions[7].tolist())

# %% [markdown]
# The encoder is the trained one, *frozen*: its weights no longer change. So each picture is encoded
# once. Only the decoder, of one layer, is new.

# %%
from lib.models.encoder_decoder import Decoder

with torch.no_grad():
    memory = classifier.encode(images)  # (1797, 16, D)


class Captioner(nn.Module):
    def __init__(self, d_model=48):
        super().__init__()
        self.tokens = nn.Embedding(len(letters), d_model)
        self.positions = LearnedPositions(captions.size(1), d_model)
        self.decoder = Decoder(d_model, 4, 1, 4 * d_model, dropout=0.1)
        self.head = nn.Linear(d_model, len(letters))

    def forward(self, ids, memory):
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        return self.head(self.decoder(x, memory))  # (B, T, V)


# %% [markdown]
# It is trained like a translator: it reads the caption up to each letter and predicts the next.
# Padding does not count.

# %%
from lib.evaluate.losses import cross_entropy


def caption_loss(model, memory, captions):
    inputs, targets = captions[:, :-1], captions[:, 1:]
    real = targets != PAD
    return cross_entropy(model(inputs, memory)[real], targets[real])


def caption_batch():
    chosen = random_pictures(generator)
    return memory[chosen], captions[labels[chosen]]


# %% tags=["measured:wide"]
torch.manual_seed(SEED)
captioner, generator = Captioner(), torch.Generator().manual_seed(SEED)
training = Training(captioner, recipe(n_steps=200), caption_loss)
losses = train(training, caption_batch)
print(f"loss: {losses[0]:.2f} nats at first, {losses[-1]:.2f} at the end")

# %% [markdown]
# Let it write: `<bos>`, the likeliest letter, the next one, up to the length of the longest
# caption. What stands before the first special token is the caption.


# %%
@torch.no_grad()
def write(memory):
    captioner.eval()
    ids = torch.full((len(memory), 1), BOS)
    while ids.size(1) < captions.size(1):
        best = captioner(ids, memory)[:, -1:].argmax(dim=-1)  # (B, 1)
        ids = torch.cat([ids, best], dim=1)
    texts = ["".join(letters[i] for i in row) for row in ids[:, 1:].tolist()]
    return [text.split("<")[0] for text in texts]


# %% [markdown]
# How many captions are exact, letter for letter? And is it the picture that decides? As a control,
# give it for each picture the memory of *another* one.

# %% tags=["measured"]
def share(written, digits):
    pairs = zip(written, digits.tolist())
    return sum(text == words[digit] for text, digit in pairs) / len(written)


own_memory, other = memory[held_out], memory[held_out.roll(1)]
written, swapped = write(own_memory), write(other)
exact = share(written, test_labels)
names_other = share(swapped, test_labels.roll(1))
print(f"exact: {exact:.1%}; the memory of another picture:")
own_digit = share(swapped, test_labels)
print(f"names its own digit {own_digit:.1%}, the other's {names_other:.1%}")
misspelled = sum(text not in words for text in written)
claim(exact > 0.93, "more than nine captions in ten are exact")
claim(misspelled <= 4, "hardly anything is misspelled")
claim(names_other > 0.93, "the caption follows the memory")

# %% [markdown]
# What does it write, and where is it wrong?

# %% tags=["sample"]
wrong = [n for n in range(len(written)) if written[n] != words[test_labels[n]]]
print("the first pictures:", *written[:8])
print(", ".join(f"{written[n]} for {words[test_labels[n]]}" for n in wrong))

# %% [markdown]
# Nearly all captions are exact, and the picture decides: with another memory it writes the other
# digit's name. (Its own then comes by chance.) Mistakes are names of other digits, hardly ever
# misspelled. A caption of ten possible words is only a class that is spelled out; models for
# photographs have the same parts, and free captions to learn from.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You shuffle the 16 tokens of a picture before they reach the encoder of a model without positions. What happens to its logits?</summary>
#
# Nothing. Attention has no order of its own, and the mean has none. The picture is a bag of
# patches.
#
# </details>
#
# <details><summary>You move the held-out pictures by one pixel to the right. What does that cost our model?</summary>
#
# Many digits. All training pictures are centred, so it has learned what stands at each place
# exactly. A convolution does the same at every place; a Transformer with learned positions must be shown. Exercise 4 shows
# it.
#
# </details>
#
# <details><summary>You give the captioner one of the 16 vectors as its whole memory. How many captions are exact?</summary>
#
# Still most of them, whichever vector it is: each one knows the digit.
#
# </details>

# %% tags=["answer", "measured:wide"]
# @title Answers: a bag of patches, moved pictures, one vector as memory
with torch.no_grad():
    bag = DigitClassifier().eval()
    bag.positions = nn.Identity()
    x, mixed = bag.patches(test_images), torch.randperm(16)
    in_order, shuffled = (bag.encoder(t).mean(dim=1) for t in (x, x[:, mixed]))
    assert torch.allclose(in_order, shuffled, atol=1e-4)
    moved = nn.functional.pad(test_images, (1, 0, 0, 0), value=-1)[..., :8]
    hits = classifier(moved).argmax(dim=-1) == test_labels
moved_right = hits.float().mean().item()
one = [share(write(own_memory[:, n : n + 1]), test_labels) for n in range(16)]
print(f"moved by one pixel: {moved_right:.0%} instead of {right:.0%}")
print(f"one vector as memory: {min(one):.0%} to {max(one):.0%} exact, all: {exact:.0%}")
claim(moved_right < 0.75, "a move by one pixel costs many digits")
claim(min(one) > 0.75, "one vector is enough for most captions")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_18 import (
    check_patch_numbers,
    check_pixel_map,
    check_random_shift,
    check_unpatchify,
)

# %% [markdown]
# ### Exercise 1: Count patches and parameters
#
# *warm-up · 5 minutes* · [Solution](../solutions/18_beyond_text.ipynb#exercise-1-count-patches-and-parameters)
#
# Return a pair of integers for `PatchEmbedding(image_size, patch_size, d_model, n_channels)`: how
# many patches a picture has, and how many parameters the layer has. `patch_size` divides `image_size`. Use a formula; do not build the
# layer.
#
# <details><summary>Hint</summary>
#
# How many patches fit side by side? The only parameters are those of one linear layer, from the
# numbers of *one* patch to $D$, with a bias.
#
# </details>


# %%
def patch_numbers(image_size, patch_size, d_model, n_channels):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_patch_numbers(patch_numbers)

# %% [markdown]
# ### Exercise 2: Put it together again
#
# *core · 20 minutes* · [Solution](../solutions/18_beyond_text.ipynb#exercise-2-put-it-together-again)
#
# Write the way back. Given `rows` `(B, N, C * p * p)` in the order in which `PatchEmbedding`
# flattens them, with `p = patch_size` and `C = n_channels`, return the square pictures `(B, C, S,
# S)`. A model that *makes* pictures ends with this step.
#
# <details><summary>Hint</summary>
#
# Go backwards through `forward`: `unflatten` or `reshape` the rows to `(B, rows, columns, C, p,
# p)`, with as many rows as columns. In which order must these six dimensions be, so that the row of
# a patch comes just before the row in it?
#
# </details>


# %%
def unpatchify(rows, patch_size, n_channels):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_unpatchify(unpatchify)

# %% [markdown]
# ### Exercise 3: Draw the map of a layer
#
# *core · 20 minutes* · [Solution](../solutions/18_beyond_text.ipynb#exercise-3-draw-the-map-of-a-layer)
#
# `embed` is any layer that makes tokens `(B, N, D)` of pictures `(B, 1, S, S)`, where each pixel
# goes into exactly one token. Return integers `(S, S)`: for each pixel, the number of the token
# that changes when this pixel changes. For `PatchEmbedding(4, 2, d_model)` the first line is 0, 0,
# 1, 1. Only call `embed`; do not look at what it is made of.
#
# <details><summary>Hint</summary>
#
# Make a batch of `S * S` pictures, each with another single dark pixel: `torch.eye` and `view`.
# Compare their tokens with those of a white picture. Which token changed most?
#
# </details>


# %%
def pixel_map(embed, image_size):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_pixel_map(pixel_map)

# %% [markdown]
# ### Exercise 4: Move the pictures
#
# *stretch · 30 minutes* · [Solution](../solutions/18_beyond_text.ipynb#exercise-4-move-the-pictures)
#
# To make a model that does not mind where a digit stands, train it on pictures that move:
# [augmentation](../book/glossary.md#augmentation). Return pictures of the shape of `images` `(B, C,
# S, S)`, each moved by -1, 0 or 1 pixels downwards and by -1, 0 or 1 to the right. Draw the two
# moves for each picture on its own, all nine cases equally likely, from `generator`. Places that
# become free get the value `blank`.
#
# Then move the pictures in `next_batch` above (white is -1 there), train again, and measure on
# pictures moved by one pixel. The solution does it.
#
# <details><summary>Hint</summary>
#
# `nn.functional.pad(images, (1, 1, 1, 1), value=blank)` adds an edge all around. A moved picture is
# a window of `S` by `S` out of it. A loop over the pictures is fine; `torch.randint(3, (B, 2),
# generator=generator)` draws where the windows begin.
#
# </details>


# %%
def random_shift(images, generator, blank):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_random_shift(random_shift)

# %% [markdown]
# ## Recap
#
# - You built the **patch embedding**: cut, flatten, multiply. It equals a convolution whose stride
#   is as long as its window is wide.
# - You built a **classifier** from the encoder that read text. It is about as good as the nearest
#   neighbour: small centred digits do not need a Transformer.
# - You saw **which patches it needs**, by covering them: six models agree.
# - You saw a **bug that the accuracy does not show**: strips for squares.
# - You built a **captioner**: a decoder that looks at patches and writes.
#
# Sound is cut into pieces in the same way. So the same blocks translate, fill in blanks, and see.
# Yet the models of today are not built from exactly these parts. What did they change, and what is
# it worth? Lesson [19](19_modern_blocks.ipynb).
#
# The library's entry: [PatchEmbedding](../book/api.md#embedding).

# %% [markdown]
# ## To read
#
# - Dosovitskiy et al. (2021), *An Image is Worth 16x16 Words*: section 3.1 for the model, section
#   4.3 for how much data it needs before it beats convolutions.
# - Zeiler and Fergus (2014), *Visualizing and Understanding Convolutional Networks*, section 4.2:
#   covering parts of a photograph.
# - Vinyals et al. (2015), *Show and Tell*: captions for photographs, before the Transformer.
# - Jain and Wallace (2019), *Attention is not Explanation*: more reasons to distrust maps of
#   attention.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: do maps of attention agree?
#
# Take the weights of the last layer, mean over heads and over the patches that look: how much each
# of the 16 vectors *is looked at*. Again one map per digit, for our model and for the five recorded
# ones. Then take out what all digits share, the mean over the ten maps. What is left is what a map
# says about *this* digit.

# %% tags=["measured:wide"]
from lib.evaluate.attention_maps import attention_maps

looked = attention_maps(classifier, test_images)[-1].mean(dim=(1, 2))  # (360, 16)
weights = [by_digit(looked), *map(torch.tensor, runs["squares"]["looked at"])]
own = {}
for name, each in (("covered", maps), ("looked at", weights)):
    own[name] = agreement([m - m.mean(dim=0) for m in each]).mean().item()
    whole = agreement(each).mean()
    print(f"{name:9}: agreement {whole:.2f}, of what is left {own[name]:.2f}")
claim(own["covered"] > own["looked at"] + 0.2, "maps of attention agree less")

# %% [markdown]
# Much of a map of attention is the same for every digit: some places are looked at whatever is
# drawn there. What is left agrees little from model to model. A story about one such map may be a story
# about one seed. What is left of the occlusion maps agrees well.

# %% [markdown]
# ## Deeper: which letters need the picture?
#
# Once `<bos>`, `z` is written, a language model that sees nothing could finish the word. Only some
# letters *decide*: the first, and after `t`, `f` and `s` the second. Give the decoder the right
# beginning, but the memory of another picture with another digit. Which letters does it still get
# right?


# %%
@torch.no_grad()
def letters_right(memory):
    targets = captions[test_labels]
    hits = captioner(targets[:, :-1], memory).argmax(dim=-1) == targets[:, 1:]
    decides = torch.zeros_like(hits)
    decides[:, 0] = True
    decides[:, 1] = torch.tensor([words[d][0] in "tfs" for d in test_labels])
    later = (targets[:, 1:] != PAD) & ~decides
    return hits[decides].float().mean().item(), hits[later].float().mean().item()


# %% tags=["measured:wide"]
generator = torch.Generator().manual_seed(SEED)


def another_digit(label):
    candidates = held_out[test_labels != label]
    return candidates[torch.randint(len(candidates), (1,), generator=generator)]


different = torch.cat([another_digit(label) for label in test_labels])
for name, chosen in (("its own picture", held_out), ("another digit", different)):
    decide, later = letters_right(memory[chosen])
    print(f"{name:15}: {decide:.0%} of the deciding letters, {later:.0%} of the rest")
claim(decide < 0.35 and later > 0.8, "only the deciding letters need the picture")

# %% [markdown]
# With a wrong picture few deciding letters are right (some words share a first letter, and after a given `t`, `f` or `s` only two
# letters can follow), and most of the others still are: those are spelling, which the decoder knows by heart.
