# %% [markdown]
# # 18 · Beyond text
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/18_beyond_text.ipynb)
#
# Let the same blocks read pictures and say what they see.
#
# - **You will build** the layer that turns a picture into tokens, a model that names
#   handwritten digits, and one that writes what it sees, letter by letter.
# - **You will see** that only the first and last layers of a Transformer know what its
#   tokens are, what a model of pictures loses without positions, and a map of attention
#   that does not show what it seems to show.
# - **Needs** lesson 15, for the encoder and the decoder.
# - **Takes** about two hours to read and do; the notebook runs in under 60 s.

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
# Every model so far has read text: characters, pieces of words, words. Where in the
# code does it say so? Attention takes vectors. So do the norm, the feed-forward
# network, the whole block. Only two layers know about text: the table at the bottom
# that turns ids into vectors, and the head at the top that turns vectors into logits.
#
# So change these two and leave the blocks between them alone. Can the blocks of lesson
# 15 read a picture?
#
# The pictures come with scikit-learn: 1,797 handwritten digits of 8 × 8 pixels
# ([Optical Recognition of Handwritten Digits](https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits)
# by Alpaydin and Kaynak, licence CC BY 4.0). Each pixel is a number from 0, white, to
# 16, black.

# %%
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

digits = load_digits()
pixels = torch.tensor(digits.images, dtype=torch.float32)
pixels = pixels.unsqueeze(1)  # (1797, 1, 8, 8): B, C, height, width
labels = torch.tensor(digits.target)
print(tuple(pixels.shape), f"from {pixels.min():.0f} to {pixels.max():.0f}")
print(pixels[0, 0].int())

# %% [markdown]
# Can you see which digit that is? It is easier in grey. The second dimension of the
# shape holds the *channels* C, the numbers per pixel: 1 for grey, 3 for a picture in
# red, green and blue. Here are the first ten pictures, side by side.


# %% mystnb={"image": {"alt": "Ten small pictures of 8 by 8 squares in a row, the handwritten digits 0 to 9 in order, coarse but readable."}}
from lib.show import plot


def gallery(pictures, names):  # (n, 1, 8, 8), and a name for each
    gap = torch.zeros(8, 1)
    columns = torch.cat([torch.cat([p[0], gap], dim=1) for p in pictures], dim=1)
    below = [name if i == 4 else "" for name in names for i in range(9)]
    size = (1 + 0.85 * len(names), 1.7)
    axes = "", ""
    return plot.heat_map(columns, [""] * 8, below, *axes, size=size, label="darkness")


gallery(pixels[:10], [str(label) for label in labels[:10].tolist()])

# %% [markdown]
# *Ten digits of the data, 8 × 8 numbers each.*
#
# You read them at once. A Transformer needs them as a sequence of vectors first.

# %% [markdown]
# ## By hand
#
# Take a picture of 4 × 4 pixels. A token for each pixel would be wasteful: a single
# pixel says little, and attention compares every token with every other. So cut the
# picture into squares of 2 × 2, called [patches](../book/glossary.md#patch), and write
# each as a row of four numbers, line by line. Do it on paper for the four squares, then
# look.

# %%
picture = torch.tensor(
    [[0.0, 0, 5, 5], [0, 9, 5, 5], [3, 3, 0, 0], [3, 3, 0, 1]],
)
corners = [(0, 0), (0, 2), (2, 0), (2, 2)]  # row and column of each patch
rows = [picture[r : r + 2, c : c + 2].flatten() for r, c in corners]
patches = torch.stack(rows)  # (4, 4): four patches of four numbers
for row in patches.tolist():
    print(row)

# %% [markdown]
# The top left patch has lost nothing: its 9 is the last of four numbers, because it
# stands at the bottom right of its square.
#
# Now a vector for each: multiply the row by a matrix. Take one with two columns that
# are easy to name, "how much ink" and "right side minus left side". Work out the first
# two patches before you look.

# %%
E = torch.tensor([[1.0, -1], [1, 1], [1, -1], [1, 1]])  # (4 pixels, 2 numbers)
tokens = patches @ E
for row in tokens.tolist():
    print(row)
assert tokens[0].tolist() == [9, 9] and tokens[1].tolist() == [20, 0]

# %% [markdown]
# Four tokens of two numbers. That is all there is to it: **cut, flatten, multiply.** A
# table of embeddings gave each token id a row of its own. Here there is no table,
# because no two patches need ever be alike; the matrix *computes* the row. It is
# learned, like the table.

# %% [markdown]
# ## The formula
#
# A picture of $H \times W$ pixels with $C$ channels becomes $N$ patches of $P \times P$
# pixels, each flattened to $x_p$ and multiplied by $E$. A learned vector says where it
# stood.
#
# $$N = \frac{H}{P} \cdot \frac{W}{P} \qquad\qquad z_0 = [\, x_p^1 E;\; x_p^2 E;\; \ldots;\; x_p^N E \,] + E_\text{pos}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(B, C, H, W)` | pictures |
# | $x_p^n$ | `(B, C*P*P)` | patch $n$ (row by row), flattened, channel first |
# | $E$ | `(C*P*P, D)` | the matrix that makes a vector of a patch |
# | $E_\text{pos}$ | `(N, D)` | one learned vector per place |
# | $z_0$ | `(B, N, D)` | what the first block reads |
#
# This is section 3.1, equation (1) of
# [Dosovitskiy et al. (2021)](../book/bibliography.md), *An Image is Worth 16x16 Words*.
# (Here $H$ and $W$ are height and width, not heads and weights.) The paper puts one more
# vector in front, the *class token*; more about it below. The equation leaves out the bias
# of the linear layer.

# %% [markdown]
# ## Build
#
# ### Cut all pictures at once
#
# Two loops over corners are slow. `unfold(2, p, p)` cuts dimension 2, the height, into
# pieces of `p`, in steps of `p`, and puts the pixels within a piece into a new last
# dimension. Do it for height and width. Watch it on a picture whose pixels say where
# they stand: the tens digit is the row, the ones digit the column.

# %%
entries = 10 * torch.arange(4).unsqueeze(1) + torch.arange(4)
entries = entries.view(1, 1, 4, 4)  # B, C, height, width
cut = entries.unfold(2, 2, 2).unfold(3, 2, 2)  # (B, C, rows, columns, p, p)
print(tuple(entries.shape), "->", tuple(cut.shape))
print("patch at row 0, column 1:", cut[0, 0, 0, 1].tolist())
assert cut[0, 0, 0, 1].tolist() == [[2, 3], [12, 13]]

# %% [markdown]
# The square at the top right. Two things are left: the channels of a patch belong to
# the patch, so C moves behind the place (`permute` puts the dimensions in a new order),
# and then place and content are flattened. `flatten(3)` makes one dimension of all from
# number 3 on, `flatten(1, 2)` one of numbers 1 and 2.

# %%
by_place = cut.permute(0, 2, 3, 1, 4, 5)  # (B, rows, columns, C, p, p)
in_rows = by_place.flatten(3).flatten(1, 2)  # (B, N, C p p)
print(tuple(by_place.shape), "->", tuple(in_rows.shape))
for row in in_rows[0].tolist():
    print(row)

# %% [markdown]
# Each row is a square: 0, 1 and below them 10, 11. Now the module. It does these two
# steps and the product.


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
# With the matrix from above it must give the tokens that you computed by hand.
# (`project.weight` is $E^\top$, as in every linear layer of PyTorch.) And a digit of
# 8 × 8 pixels in patches of 2 × 2?

# %%
by_hand = PatchEmbedding(image_size=4, patch_size=2, d_model=2)
by_hand.project.weight.data = E.T
by_hand.project.bias.data.zero_()
assert torch.equal(by_hand(picture.view(1, 1, 4, 4))[0], tokens)

embed = PatchEmbedding(image_size=8, patch_size=2, d_model=48)
print(tuple(pixels[:3].shape), "->", tuple(embed(pixels[:3]).shape))

# %% [markdown]
# Three pictures, 16 tokens each, 48 numbers per token. From here on nobody needs to
# know that these were pictures.
#
# The library's layer does the same with the same weights. It also refuses pictures of
# another shape than it was built for.

# %% tags=["same:embedding.PatchEmbedding", "proof"]
from lib import embedding as library

theirs = library.PatchEmbedding(image_size=8, patch_size=2, d_model=48)
theirs.load_state_dict(embed.state_dict())
assert torch.equal(theirs(pixels[:3]), embed(pixels[:3]))
try:
    theirs(pixels[:3, :, :7])
except ValueError as error:
    print(error)

# %% [markdown]
# ### A model that names digits
#
# It has the patches, the learned positions of lesson
# [05](05_positions.ipynb), the `Encoder` of lesson 15, and a head. The
# encoder gives a vector for each of the 16 patches, but we want one answer for the
# whole picture. There are two ways.
#
# - **A class token.** Put one more learned vector in front of the patches. It stands
#   for nothing, so it is free to gather what the answer needs; read the answer at its
#   place. The paper does that.
# - **The mean** over all patches. No extra token and no extra parameters, and every
#   patch gets its share of the gradient directly. We take that.

# %%
from lib.models.encoder_decoder import Encoder
from lib.position import LearnedPositions


class DigitClassifier(nn.Module):
    def __init__(self, patches=PatchEmbedding, positions=LearnedPositions, d_model=48):
        super().__init__()
        self.patches = patches(8, 2, d_model)
        self.positions = positions(16, d_model)
        self.encoder = Encoder(d_model, 4, 2, 4 * d_model, dropout=0.1)
        self.head = nn.Linear(d_model, 10)

    def encode(self, images):
        return self.encoder(self.positions(self.patches(images)))  # (B, N, D)

    def forward(self, images):
        return self.head(self.encode(images).mean(dim=1))  # (B, 10)


# %% [markdown]
# Four heads, two layers, and no mask: a picture has no future that must be hidden.
# `patches` and `positions` are arguments so that you can swap them later.
#
# Hold 360 pictures back, drawn at random: the model never trains on them. And bring the
# pixels to numbers between -1 and 1, a size that suits a network better than 0 to 16.

# %%
images = pixels / 8 - 1
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
held_out, rest = order[:360], order[360:]
test_images, test_labels = images[held_out], labels[held_out]
print(f"{len(rest):,} pictures to learn from, {len(held_out)} to test on")

# %% [markdown]
# The loss is the [cross-entropy](../book/glossary.md#cross-entropy) that you know, over
# ten digits instead of a vocabulary. `Training` from lesson [11](11_training.ipynb)
# takes any `loss_of(model, *batch)`. We train with
# [Muon](../book/glossary.md#muon) and weight decay, for batches of 64 pictures.

# %%
from lib.evaluate.losses import cross_entropy
from lib.train.settings import TrainConfig
from lib.train import Training, train


def label_loss(model, images, labels):
    return cross_entropy(model(images), labels)


def settings(n_steps):
    rates = dict(learning_rate=3e-3, muon_learning_rate=0.01, weight_decay=0.5)
    return TrainConfig(n_steps, optimizer="muon", **rates)


def random_pictures(generator, size=64):
    return rest[torch.randint(len(rest), (size,), generator=generator)]


# %% [markdown]
# One function builds and trains a classifier, another counts how many digits it names
# rightly. `eval()` switches the [dropout](../book/glossary.md#dropout) off.


# %%
def train_classifier(n_steps=250, pictures=images, **parts):
    torch.manual_seed(0)
    model, generator = DigitClassifier(**parts), torch.Generator().manual_seed(0)

    def next_batch():
        chosen = random_pictures(generator)
        return pictures[chosen], labels[chosen]

    train(Training(model, settings(n_steps), label_loss), next_batch)
    return model.eval()


@torch.no_grad()
def accuracy(model, images, labels=test_labels):
    return (model(images).argmax(dim=-1) == labels).float().mean().item()


# %% [markdown]
# Train it. It takes some seconds.

# %% tags=["measured"]
from lib.checks.claims import claim

classifier = train_classifier()
n_parameters = sum(parameter.numel() for parameter in classifier.parameters())
right = accuracy(classifier, test_images)
print(f"{n_parameters:,} parameters, {right:.1%} of the held-out digits named rightly")
claim(right > 0.95, "more than 95 % of the held-out digits are named rightly")

# %% [markdown]
# More than 95 %, from blocks that were built for text. Whether that is much, the
# experiment below says. First make sure that the new layer is right.

# %% [markdown]
# ## Check
#
# ### Equal to PyTorch's own
#
# PyTorch has no layer of this name, because it has another one that does the same: a
# *convolution* slides a small window of weights over a picture. If its step, the
# `stride`, is as long as the window is wide, the windows are patches. So give
# `nn.Conv2d` the same weights, cut back into squares, and compare. (Its output is
# `(B, D, rows, columns)`.)

# %%
torch.manual_seed(0)
for image_size, patch_size, n_channels in ((8, 2, 1), (12, 4, 3), (6, 1, 2), (5, 5, 3)):
    embed = PatchEmbedding(image_size, patch_size, 7, n_channels)
    conv = nn.Conv2d(n_channels, 7, kernel_size=patch_size, stride=patch_size)
    square = n_channels, patch_size, patch_size
    conv.weight.data = embed.project.weight.data.unflatten(1, square)
    conv.bias.data = embed.project.bias.data
    x = torch.randn(2, n_channels, image_size, image_size)
    theirs = conv(x).flatten(2).transpose(1, 2)  # (B, D, N) -> (B, N, D)
    assert torch.allclose(embed(x), theirs, atol=1e-5)
print("PatchEmbedding equals torch.nn.Conv2d with kernel_size = stride")

# %% [markdown]
# That also checks the order of the patches, row by row from the top left, and the order
# of the channels. Many libraries write the patch embedding as such a convolution.
#
# ### The classic bug: strips instead of squares
#
# We need N rows of `p * p` numbers. Why `unfold` and `permute`, when a `reshape` gives
# that shape in one go? Ask the numbered picture.


# %%
class StripEmbedding(PatchEmbedding):
    def forward(self, images):
        return self.project(images.reshape(len(images), self.n_patches, -1))


for name, rows in (("right", in_rows[0]), ("wrong", entries.reshape(4, 4))):
    print(f"{name}: {rows.tolist()}")

# %% [markdown]
# `reshape` reads the picture line by line, so each "patch" is a strip: here a whole
# line, in a picture of 8 × 8 the half of one. Nothing crashes. Does the model learn
# with strips?

# %% tags=["measured"]
in_strips = accuracy(train_classifier(patches=StripEmbedding), test_images)
print(f"squares: {right:.1%}, strips: {in_strips:.1%}")
claim(abs(right - in_strips) < 0.03, "with strips it learns as well")

# %% [markdown]
# It does, and as far as so few pictures can tell it does so as well as the right one:
# **the accuracy does not find this bug.** A strip of four pixels holds neighbours too,
# and the learned positions say where each strip lies. What is broken is the meaning:
# "patch 5" is no square. With the weights of somebody else's model the picture would be
# nonsense, and any map of patches that you draw would be wrong.
#
# So test the layer, not the model. The comparison with the convolution finds it. So
# does this: make *one square* dark, and count the tokens that change.


# %%
@torch.no_grad()
def tokens_touched(embed):
    white, marked = torch.zeros(2, 1, 1, 8, 8)
    marked[:, :, 2:4, 4:6] = 1  # the patch at row 1, column 2
    changed = (embed(marked) - embed(white)).abs().sum(dim=-1)[0] > 0  # (N,)
    return changed.nonzero().flatten().tolist()


print("squares:", tokens_touched(PatchEmbedding(8, 2, 48)))
print("strips: ", tokens_touched(StripEmbedding(8, 2, 48)))
assert tokens_touched(PatchEmbedding(8, 2, 48)) == [6]
assert tokens_touched(StripEmbedding(8, 2, 48)) == [5, 7]

# %% [markdown]
# One square, one token: number 6, because row 1 of four begins with number 4. In the
# wrong layer two tokens share it.

# %% [markdown]
# ## Look
#
# Where does the model look? `attention_maps` from lesson
# [07](07_multi_head_attention.ipynb) gives the weights of both layers. In the last one,
# take the mean over heads and over the patches that look: what is left is one number
# per patch, how much it *is looked at*. Move the slider through the ten digits. On the
# left is the picture, on the right the 4 × 4 patches, darkest where most of the weight
# goes.

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.evaluate.attention_maps import attention_maps
from lib.show.frames import slider

# the first held-out picture of each digit
examples = [int((test_labels == digit).nonzero()[0]) for digit in range(10)]
looked_at = attention_maps(classifier, test_images)[-1].mean(dim=(1, 2))  # (360, 16)


def large(weights):  # (16,) -> (8, 8): each patch as large as in the picture
    return weights.view(4, 4).repeat_interleave(2, 0).repeat_interleave(2, 1)


def draw(digit):
    i = examples[digit]
    ink = pixels[held_out[i], 0]
    both = ink / ink.max(), torch.zeros(8, 2), large(looked_at[i]) / looked_at[i].max()
    below = ["", "", "", "pixels", *[""] * 9, "looked at", *[""] * 4]
    names = [""] * 8, below, "", ""
    return plot.heat_map(
        torch.cat(both, dim=1), *names, size=(7, 3.2), label="share of the largest"
    )


def describe(digit):
    place = int(looked_at[examples[digit]].argmax())
    return (
        f"A handwritten {digit}; beside it the weights of its 16 patches, the largest "
        f"at row {place // 4 + 1}, column {place % 4 + 1} of four."
    )


slider(draw, range(10), "digit", alt=describe, start=3)

# %% [markdown]
# *Left: the picture. Right: weight per patch, last layer, relative to the largest.*
#
# It is tempting to tell a story now: "there it checks whether the 3 is open on the
# left". Before you do, ask two questions with numbers. First: does the map depend on the
# picture at all? Take the mean map over all held-out pictures. If the maps differ much
# from it, from picture to picture, it explains little of their variance.

# %% tags=["measured:wide"]
by_place = looked_at.mean(dim=0)  # (16,): the mean map
explained = by_place.var(correction=0) / looked_at.var(correction=0)
print(f"of the variance of the weights, the place explains {explained:.0%}")
claim(explained > 0.25, "much of the map is the same for every picture")

# %% [markdown]
# Much of what you see is the place: some patches are looked at more in *every* picture,
# whatever is drawn there. A story about this one 3 explains only the rest.
#
# Second: how much does a single patch know, before the encoder and after it? *Before*
# is only its four pixels: take the label of the most similar patch at the same place
# (`cdist` gives all distances between two sets of rows). *After* is its vector alone,
# given to the head.

# %% tags=["measured"]
flat = pixels.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).flatten(1, 3)  # (B, 16, 4)
with torch.no_grad():
    alone = classifier.head(classifier.encode(test_images)).argmax(dim=-1)  # (360, 16)
after = (alone == test_labels.unsqueeze(1)).float().mean(dim=0)  # (16,)
nearest = torch.stack(
    [torch.cdist(flat[held_out, n], flat[rest, n]).argmin(dim=1) for n in range(16)], 1
)
before = (labels[rest][nearest] == test_labels.unsqueeze(1)).float().mean(dim=0)
print(f"one patch alone, before the encoder: {before.min():.0%} to {before.max():.0%}")
print(f"one patch alone, after it:           {after.min():.0%} to {after.max():.0%}")
assert before.max() < 0.6
claim(after.min() > 0.85, "after the encoder any patch names most digits")

# %% mystnb={"image": {"alt": "Two grids of 4 by 4 squares. On the left, before the encoder, all are pale, those at the edges palest. On the right, after it, all are equally dark."}}
both = before.view(4, 4), torch.zeros(4, 1), after.view(4, 4)
places = [str(n) for n in range(1, 5)]
axes = "column (left: before the encoder, right: after it)", "row of the patch"
joined = torch.cat(both, dim=1)
plot.heat_map(joined, places, [*places, "", *places], *axes, (7, 3.2), 1, 1, "accuracy")

# %% [markdown]
# *Before the encoder a patch alone names half of the digits at most. After it any patch
# names nearly all of them, even a corner that is nearly always white.*
#
# So "this patch" no longer means "these four pixels": two layers of attention have
# carried everything everywhere. Our head even asks for it. It reads the mean, so the
# logits of a picture are the mean of its patches' own logits, and training pushes every
# patch to name the digit. The map shows from which *vectors* the model gathers. It does
# not show which *pixels* it needs. That is true of the maps of every layer but the
# first, where the vectors still are patches, text or picture.

# %% [markdown]
# ## Experiment 1: name the digit
#
# Is that much? Two yardsticks. Always naming the most frequent digit is the least
# that a model should beat. The *nearest neighbour* learns nothing at all: it looks for
# the training picture with the smallest distance, pixel by pixel, and takes its label.

# %% tags=["measured"]
most_frequent = labels[rest].bincount().argmax()
base = (test_labels == most_frequent).float().mean().item()
closest = torch.cdist(pixels[held_out].flatten(1), pixels[rest].flatten(1)).argmin(1)
neighbour = (labels[rest][closest] == test_labels).float().mean().item()
print(f"always {most_frequent}: {base:.1%}")
print(f"nearest neighbour: {neighbour:.1%}, Transformer: {right:.1%}")
assert base < 0.2 and neighbour > 0.96
claim(abs(right - neighbour) < 0.03, "the nearest neighbour does as well")

# %% [markdown]
# Honest and sobering: one line without any learning does as well, to within a few
# pictures. These pictures are small and centred, and each has near twins among
# the others: they come from only
# [13 writers](https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits),
# and a random split puts pictures by the same hand on both sides. (A difference of one
# or two pictures means nothing. And the settings of the training were chosen by looking
# at these very pictures, so the number of the Transformer is a little flattering.)
#
# What the experiment shows is not that a Transformer is the best reader of small
# digits. It shows that *the blocks did not have to change*.
#
# Which ones does it get wrong? Below each picture: what it is, and what the model says.

# %% mystnb={"image": {"alt": "A few held-out digits that the model names wrongly, each with its label and the model's answer below. The answers differ from the labels."}}
with torch.no_grad():
    said = classifier(test_images).argmax(dim=-1)
wrong = (said != test_labels).nonzero().flatten()[:6]
names = [f"{test_labels[i]}, said {said[i]}" for i in wrong.tolist()]
print(f"some of the {len(said)} that are wrong:")
gallery(pixels[held_out[wrong]], names)

# %% [markdown]
# *Look at each: would you have known?*
#
# ### What the positions are worth
#
# Lesson [05](05_positions.ipynb) said that a model without positions
# sees a bag of tokens. Is that true of patches? Put the tokens of each picture in
# another order, the same for all, before the positions are added. `nn.Identity` is a
# layer that does nothing; a second model gets it instead of positions, and is trained in
# the same way.

# %%
no_places = train_classifier(positions=nn.Identity)
generator = torch.Generator().manual_seed(1)
shuffle = torch.randperm(16, generator=generator)


@torch.no_grad()
def shuffled_logits(model):
    x = model.positions(model.patches(test_images)[:, shuffle])
    return model.head(model.encoder(x).mean(dim=1))


# %% tags=["measured:wide"]
table = {}
for name, model in (("with positions", classifier), ("without", no_places)):
    in_order, mixed = model(test_images).detach(), shuffled_logits(model)
    answers = in_order.argmax(dim=-1), mixed.argmax(dim=-1)
    scores = [(given == test_labels).float().mean().item() for given in answers]
    table[name] = scores
    same = torch.allclose(in_order, mixed, atol=1e-3)
    print(f"{name:14}: in order {scores[0]:.0%}, shuffled {scores[1]:.0%}", end="")
    print(f", the same logits: {same}")
    assert same == (model is no_places)
claim(0.5 < table["without"][0] < 0.9, "without positions most digits, far from all")
claim(table["with positions"][1] < 0.4, "shuffled, it is lost")

# %% [markdown]
# Without positions the logits are the same, in whatever order the patches stand. Such a
# model only knows which patches there are. That is enough for more than half of the
# digits, far more than the most frequent one, and far from the full score. The model
# with positions falls to pieces when the patches are shuffled: it has learned where
# things belong.

# %% [markdown]
# ## Experiment 2: say what you see
#
# A classifier points at one of ten drawers. A *captioner* writes. Its
# [decoder](../book/glossary.md#decoder) looks at the picture by cross-attention, as the
# decoder of lesson 15 looked at a source text, and writes the number word character by
# character: `<bos>`, `s`, `e`, `v`, `e`, `n`, `<eos>`. First the vocabulary and the ten
# captions, filled up to one length by `pad_batch` from lesson 15.

# %%
from lib.text.tokenizer import pad_batch

words = "zero one two three four five six seven eight nine".split()
letters = ["<pad>", "<bos>", "<eos>", *sorted(set("".join(words)))]
PAD, BOS, EOS = 0, 1, 2
ids = [[BOS, *map(letters.index, word), EOS] for word in words]
captions = pad_batch(ids, PAD)  # (10, 7)
print(len(letters), "tokens:", *letters)
print("seven:", captions[7].tolist())

# %% [markdown]
# The picture is read by the encoder that you have trained. It stays as it is: nobody
# trains it any further, it is *frozen*. So every picture needs to be encoded only once,
# and the result is the memory, a vector for each patch. Only the decoder is new, with one
# layer.

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
# Train it like a translator: it reads the caption up to each letter and predicts the
# next one; padding does not count.


# %%
def caption_loss(model, memory, captions):
    inputs, targets = captions[:, :-1], captions[:, 1:]
    real = targets != PAD
    return cross_entropy(model(inputs, memory)[real], targets[real])


def caption_batch(generator):
    chosen = random_pictures(generator)
    return memory[chosen], captions[labels[chosen]]


# %% tags=["measured"]
torch.manual_seed(0)
captioner, generator = Captioner(), torch.Generator().manual_seed(0)
training = Training(captioner, settings(200), caption_loss)
losses = train(training, lambda: caption_batch(generator))
print(f"loss: {losses[0]:.2f} nats before training, {losses[-1]:.2f} at the end")

# %% [markdown]
# Down to almost nothing, because nothing is left to guess: the frozen encoder was trained on
# these same pictures, and its vectors name their digits. What counts are the held-out
# ones.
#
# Now let it write. Each picture starts with `<bos>` and gets its likeliest letter, then
# the next, six times. `read` computes the keys and values of the memory once, for all
# steps. A caption ends at its first special token: `split("<")[0]` is what stands
# before it.


# %%
@torch.no_grad()
def write(captioner, memory, start=(BOS,)):
    captioner.eval()
    ids = torch.tensor([start] * len(memory))
    seen = captioner.decoder.read(memory)
    while ids.size(1) < captions.size(1):
        best = captioner(ids, seen)[:, -1:].argmax(dim=-1)  # (B, 1)
        ids = torch.cat([ids, best], dim=1)
    texts = ["".join(letters[i] for i in row) for row in ids[:, 1:].tolist()]
    return [text.split("<")[0] for text in texts]


# %% tags=["measured"]
written = write(captioner, memory[held_out])
truth = [words[label] for label in test_labels.tolist()]
exact = sum(w == t for w, t in zip(written, truth)) / len(truth)
misspelled = sum(w not in words for w in written)
print(f"{exact:.1%} of the held-out captions are exact")
claim(exact > 0.93, "more than nine captions in ten are exact")
claim(misspelled <= 3, "hardly anything is misspelled")

# %% [markdown]
# What does it write, and where is it wrong?

# %% tags=["sample"]
wrong = [(w, t) for w, t in zip(written, truth) if w != t]
print("written for the first pictures:", *written[:8])
print("mistakes:", ", ".join(f"{w} for {t}" for w, t in wrong))

# %% [markdown]
# More than nine captions in ten are exact, letter for letter. And hardly anything is
# misspelled: where it errs, it writes the name of another digit.
#
# ### Which letters need the picture?
#
# Be careful not to think too much of it. Once `<bos>`, `z` is written, a language model
# that sees nothing could finish the word. Only some letters *decide*: the first, and
# after `t`, `f` and `s` the second. So give the decoder the right beginning, but the
# memory of a random other picture with another digit, and see which letters it still
# gets right.


# %%
@torch.no_grad()
def letters_right(memory):
    targets = captions[test_labels]
    hits = captioner(targets[:, :-1], memory).argmax(dim=-1) == targets[:, 1:]
    decides = torch.zeros_like(hits)
    decides[:, 0] = True
    decides[:, 1] = torch.tensor([word[0] in "tfs" for word in truth])
    later = (targets[:, 1:] != PAD) & ~decides
    return hits[decides].float().mean().item(), hits[later].float().mean().item()


# %% tags=["measured:wide"]
generator = torch.Generator().manual_seed(3)


def another_digit(label):
    candidates = held_out[test_labels != label]
    return candidates[torch.randint(len(candidates), (1,), generator=generator)]


other = torch.cat([another_digit(label) for label in test_labels])
own_right, swapped_right = (letters_right(memory[i]) for i in (held_out, other))
for name, numbers in (("its own picture", own_right), ("another digit", swapped_right)):
    print(f"{name:15}: {numbers[0]:.0%} of the deciding letters", end=", ")
    print(f"{numbers[1]:.0%} of the rest")
claim(min(own_right) > 0.9, "with its own picture nearly all letters are right")
claim(swapped_right[0] < 0.3, "with another one few deciding letters are")
claim(swapped_right[1] > 0.85, "and most of the rest still are")

# %% [markdown]
# With a wrong picture the decoder keeps few of the deciding letters
# (two words may share one), and most of the others stay: those are spelling,
# which it knows by heart. A caption of a single digit is a class that is spelled out.
# (A model for photographs differs in size and data, and in captions that are not one of
# ten, not in its parts.)
#
# Where does the decoder look while it writes? Its weights on the patches, for the
# first held-out seven, mean over the heads; each row is the letter that comes next.
# `attention_maps` lists the decoder's own attention first, `[0]`, and the
# cross-attention last, `[-1]`.

# %% mystnb={"image": {"alt": "Heat map with six rows, the letters s, e, v, e, n and the end, and sixteen columns, the patches. Every row is spread over all patches; no cell is white and none holds more than a small share."}}
seven = held_out[examples[7]]
caption = captions[7:8]
cross = attention_maps(captioner, caption[:, :-1], memory[seven : seven + 1])[-1]
rows = [letters[i] for i in caption[0, 1:].tolist()]
axes = "patch, row by row from the top left", "letter to be written"
columns = [str(n) for n in range(1, 17)]
shown = cross[0].mean(dim=0)  # (6, 16)
claim(shown.max() < 0.25, "no patch gets a quarter of the weight")
plot.heat_map(shown, rows, columns, *axes, (8, 3.4), top=0.25, label="weight")

# %% [markdown]
# *Averaged over the heads, every letter is written from many patches: an even share
# would be one sixteenth, and no weight comes to a quarter.*
#
# Is that so for all pictures, and for each head on its own? (A mean over heads always
# looks more even than the heads do.) The entropy of a row says how widely it spreads;
# $\ln 16$ is the entropy of a row that spreads evenly.

# %% tags=["measured:wide"]
import math

from lib.evaluate.attention_maps import attention_entropy

targets = captions[test_labels]
maps = attention_maps(captioner, targets[:, :-1], memory[held_out])[-1]
first = attention_entropy(maps)[:, :, 0].mean(dim=0)  # (4,): one number per head
rows = maps.transpose(1, 2)[targets[:, 1:] != PAD]  # (letters, 4, 16), no padding
lowest, largest = attention_entropy(rows).min(), rows.max()
print(f"first letter, per head: {first.min():.2f} to {first.max():.2f} nats", end=", ")
print(f"evenly: {math.log(16):.2f} nats")
print(f"lowest entropy of a row: {lowest:.2f} nats, largest weight: {largest:.2f}")
claim(first.mean() > 0.75 * math.log(16), "the first letter is written from many")
claim(lowest < 0.7 * math.log(16), "single rows are sharper than that")

# %% [markdown]
# Fairly even on average, with exceptions. Does it matter, then, which vectors the
# decoder reads? You saw that each has heard of the whole digit. So test it: give the
# decoder *one* of these vectors as its whole memory, and let it write all captions.

# %% tags=["measured"]
exact_alone = []
for n in range(16):
    texts = write(captioner, memory[held_out][:, n : n + 1])
    exact_alone.append(sum(w == t for w, t in zip(texts, truth)) / len(truth))
print(f"one vector: {min(exact_alone):.0%} to {max(exact_alone):.0%} exact", end=", ")
print(f"all 16: {exact:.0%}")
claim(min(exact_alone) > 0.8, "from any one place most captions are exact")

# %% [markdown]
# It hardly matters: from any single place more than eight captions in ten are exact. So a map of these weights says little about the strokes.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You shuffle all 64 pixels, in the same way in every picture, and train a new model. You could not read a single one of these pictures. Can the model?</summary>
#
# Yes, nearly as well as the real ones, after the same number of steps. Only the cut
# into patches assumes neighbours; which patches are neighbours the model has to learn
# anyway, and it learns from the data what each place means. (That is also why the
# strips did no harm.) The price: it must learn what is built into a convolution, and
# for large pictures that takes a great deal of data.
#
# </details>
#
# <details><summary>You move the held-out pictures by one pixel, to the right or to the left. What does that cost?</summary>
#
# About half of the digits. All training pictures are centred, so the model has learned
# what stands at each place exactly. The nearest neighbour loses many too, but clearly
# fewer. Exercise 4 repairs the model.
#
# </details>
#
# <details><summary>You write an <code>s</code> yourself, show the captioner the held-out zeros, and let it go on. What will it write?</summary>
#
# A quarrel: the picture says `zero`, the letters say `six` or `seven`. It was never
# trained on such a case. For some pictures it writes a mixture such as `sero`, a word that
# it has never seen; for others it obeys the letter and ignores the picture.
#
# </details>

# %% tags=["measured"]
generator = torch.Generator().manual_seed(2)
places = torch.randperm(64, generator=generator)
scrambled = images.flatten(1)[:, places].view_as(images)
score = accuracy(train_classifier(pictures=scrambled), scrambled[held_out])
print(f"shuffled pixels: {score:.1%}, in order: {right:.1%}")
claim(score > 0.93, "shuffled pixels are read nearly as well")

# %% [markdown]
# Now the moved pictures. A white edge of one pixel is put around them; then a window of
# 8 × 8 is cut out that begins too far left, so that the digit moves to the right, or
# too far right.

# %% tags=["measured:wide"]
wide = nn.functional.pad(pixels[held_out], (1, 1, 1, 1))
for name, start in (("right", 0), ("left", 2)):
    moved = wide[:, :, 1:9, start : start + 8]
    closest = torch.cdist(moved.flatten(1), pixels[rest].flatten(1)).argmin(1)
    model_right = accuracy(classifier, moved / 8 - 1)
    closest_right = (labels[rest][closest] == test_labels).float().mean().item()
    print(f"one pixel to the {name}: {model_right:.0%}", end=", ")
    print(f"nearest neighbour {closest_right:.0%}")
    claim(model_right < 0.75, "a move by one pixel costs the model many digits")
    claim(model_right < closest_right < 0.85, "the nearest neighbour loses fewer")

# %% tags=["sample"]
from collections import Counter

zeros = memory[held_out[test_labels == 0]]
answers = Counter(write(captioner, zeros, start=(BOS, letters.index("s"))))
print("zeros that begin with an s:", *answers)

# %% [markdown]
# ## Exercises

# %%
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
# Return two integers for `PatchEmbedding(image_size, patch_size, d_model, n_channels)`:
# how many patches a picture has, and how many parameters the layer has. Do it with a
# formula, without building the layer. Then use it for the model of the paper, whose
# sizes stand in the cell below.
#
# <details><summary>Hint</summary>
#
# How many patches fit side by side? And the only parameters are those of one linear
# layer, from the numbers of *one* patch to $D$, with a bias.
#
# </details>


# %%
def patch_numbers(image_size, patch_size, d_model, n_channels):
    raise NotImplementedError("your code here")


paper = dict(image_size=224, patch_size=16, d_model=768, n_channels=3)
# print(patch_numbers(**paper))

# %% tags=["exercise"]
check_patch_numbers(patch_numbers)

# %% [markdown]
# ### Exercise 2: Put it together again
#
# *core · 20 minutes* · [Solution](../solutions/18_beyond_text.ipynb#exercise-2-put-it-together-again)
#
# Write the way back from `in_rows` to the picture. Given `rows` of shape
# `(B, N, C * p * p)`, in the order in which `PatchEmbedding` flattens them (channel
# first), with `p = patch_size` and `C = n_channels`, return the square pictures
# `(B, C, S, S)`. A model that *makes* pictures ends with this step.
#
# <details><summary>Hint</summary>
#
# Go backwards through `forward`: first `view` the rows as `(B, rows, columns, C, p, p)`
# with as many rows as columns. In which order must these six dimensions stand, so that
# `flatten` can join row of the patch with row in the patch, and column with column?
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
# The test `tokens_touched` looks at one square. Look at all pixels. `embed` is any
# layer that takes pictures `(B, 1, S, S)` and gives tokens `(B, N, D)`, where each
# pixel goes into exactly one token. Return a tensor of integers `(S, S)` that says for
# each pixel *which*: the number of the token that changes when this pixel changes. For
# `PatchEmbedding(4, 2, d_model)` the first line is 0, 0, 1, 1. You may not look at what
# `embed` is made of, only call it.
#
# <details><summary>Hint</summary>
#
# Make a batch of `S * S` pictures, each with another single dark pixel: `torch.eye` and
# `view`. Compare their tokens with those of a white picture. Which token changed most?
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
# To make a model that does not mind where a digit stands, train it on pictures that do
# not stand still. This is called [augmentation](../book/glossary.md#augmentation).
# Given `images` `(B, C, S, S)`, return pictures of the same shape, each moved by -1, 0
# or 1 pixels downwards and by -1, 0 or 1 to the right. Draw the two moves for each
# picture on its own, all nine cases equally likely, from `generator`. What moves out of
# the picture is lost; places that become free get the value `blank`. Leave `images` as
# they are.
#
# Then complete `train_on_moved` below, and measure the model as in *Predict, then run*,
# on held-out pictures moved by one pixel. White in `images` is -1. Move anew for each
# batch: pictures that are moved once and then stay teach less. Expect a little under
# nine in ten to the right and to the left. There is a price: in place it is about nine
# in ten too, where the model that never saw a moved digit names nearly all. No check
# sees the training; that part is for you to look at.
#
# <details><summary>Hint</summary>
#
# `nn.functional.pad(images, (1, 1, 1, 1), value=blank)` adds an edge all around. A
# moved picture is a window of `S` by `S` out of it. A loop over the pictures is fine;
# `torch.randint(3, (B, 2), generator=generator)` draws where the windows begin.
#
# </details>


# %%
def random_shift(images, generator, blank):
    raise NotImplementedError("your code here")


def train_on_moved(n_steps=250):
    torch.manual_seed(0)
    model, generator = DigitClassifier(), torch.Generator().manual_seed(0)

    def next_batch():
        chosen = random_pictures(generator)
        return images[chosen], labels[chosen]  # move the pictures here

    train(Training(model, settings(n_steps), label_loss), next_batch)
    return model.eval()


# %% tags=["exercise"]
check_random_shift(random_shift)

# %% [markdown]
# ## Recap
#
# - You built the **patch embedding**: cut, flatten, multiply. It equals a convolution
#   whose stride is as long as its window is wide.
# - You built a **classifier** from the same encoder that read text in lesson 15: it
#   names more than 95 % of held-out digits. So does the nearest neighbour; small pictures
#   do not need a Transformer. <!-- from: a-model-that-names-digits "claim" -->
# - You built a **captioner**: the decoder looks at the patches and writes the number
#   word. More than nine captions in ten are exact; the deciding letters come from the
#   picture, the others from the spelling.
# - You saw what **positions** are worth: without them the patches are a bag, and many
#   digits are lost.
# - You saw a **bug that the accuracy does not find**, strips for squares, and a **map of
#   attention** that does not show which pixels matter: after two layers every patch knows
#   the digit.
#
# This closes Part IV. The blocks do not care what they read: text in one language and
# the next, text with blanks, pictures. Sound is cut into pieces in the same way.
#
# What is still open: apart from pre-norm and the patches, nearly all parts are those of
# Vaswani et al. (2017). They learned to translate, to fill in blanks and to see. Yet the
# models of today are not built from *exactly* these parts. What did they change, and
# what is it worth? That is Part V, and it begins with lesson 19.
#
# The library entry of what you built: [PatchEmbedding](../book/api.md#embedding).

# %% [markdown]
# ## To read
#
# - Dosovitskiy et al. (2021), *An Image is Worth 16x16 Words*: section 3.1 for the
#   model, section 4.3 for how much data it needs before it beats convolutions, appendix
#   D.3 for the class token against the mean.
# - Vinyals et al. (2015), *Show and Tell*: captions for photographs from an encoder that
#   reads pictures and a decoder that writes, before there were Transformers.
# - Jain and Wallace (2019), *Attention is not Explanation*: more reasons not to trust
#   maps of attention.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
