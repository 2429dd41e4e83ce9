"""The checks of the exercises in lesson 18, beyond text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.checks import exercise, expect, hint_for, hint_for_tensor, returned
from lib.embedding import PatchEmbedding

__all__ = [
    "check_patch_numbers",
    "check_unpatchify",
    "check_pixel_map",
    "check_random_shift",
]


@exercise
def check_patch_numbers(patch_numbers) -> str:
    """Takes a function of image_size, patch_size, d_model, n_channels."""
    for S, p, D, C in ((224, 16, 768, 3), (8, 2, 48, 1), (12, 4, 10, 2), (6, 6, 5, 4)):
        given = returned(patch_numbers(S, p, D, C))
        expect(
            isinstance(given, (tuple, list, Tensor)) and len(given) == 2,
            "Return two numbers: the patches of a picture, then the parameters.",
        )
        n_patches, n_parameters = (float(number) for number in given)
        N, inputs = (S // p) ** 2, C * p * p
        what = f"{S} x {S} pixels, patches of {p} x {p}, {C} channels and d_model={D}"
        expect(
            n_patches == N,
            f"With {what} there are {N:,} patches, you return {n_patches:,.0f}. "
            + _patch_hint(n_patches, S, p, C),
        )
        expect(
            n_parameters == inputs * D + D,
            f"With {what} the layer has {inputs * D + D:,} parameters, you return "
            f"{n_parameters:,.0f}. " + _parameter_hint(n_parameters, S, p, D, C),
        )
    return "The number of patches does not change the number of parameters."


def _patch_hint(given: float, S: int, p: int, C: int) -> str:
    N = (S // p) ** 2
    hints = {
        S // p: "That is one row of patches; there are as many rows as columns.",
        N * C: "All channels of a place belong to the same patch.",
        N + 1: "The class token of the paper is no patch, and ours has none.",
        S * S // p: "A patch is `patch_size` wide *and* high.",
    }
    return hint_for(given, hints, "How many fit side by side?")


def _parameter_hint(given: float, S: int, p: int, D: int, C: int) -> str:
    N, inputs = (S // p) ** 2, C * p * p
    hints = {
        inputs * D: "The linear layer has a bias.",
        inputs * D + inputs: "There is one bias for each number that comes out.",
        N * (inputs * D + D): "All patches share one matrix.",
        (inputs + 1) * D + N * D: "The positions are a layer of their own.",
        p * p * D + D: "Each pixel has `n_channels` numbers.",
        C * p * D + D: "A patch has `patch_size` rows *and* columns.",
        C * S * S * D + D: "The layer reads one patch, not the whole picture.",
    }
    return hint_for(given, hints, "How many numbers has one patch?")


def _cut(images: Tensor, p: int) -> Tensor:
    """Cut pictures ``(B, C, S, S)`` into rows ``(B, N, C p p)``."""
    x = images.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5)
    return x.flatten(3).flatten(1, 2)


@exercise
def check_unpatchify(unpatchify) -> str:
    """Takes a function of rows, patch_size, n_channels."""
    for B, C, S, p in ((2, 1, 4, 2), (3, 3, 6, 2), (1, 2, 12, 4), (2, 3, 5, 5)):
        images = torch.arange(B * C * S * S, dtype=torch.float32).view(B, C, S, S)
        rows = _cut(images, p)
        given = returned(unpatchify(rows.clone(), p, C))
        what = f"For rows of shape {tuple(rows.shape)}, patch_size={p}, n_channels={C}"
        expect(
            isinstance(given, Tensor) and given.shape == images.shape,
            f"{what} the pictures have the shape {tuple(images.shape)}, yours "
            f"{tuple(getattr(given, 'shape', ()))}. The side of a picture is the root "
            "of the number of patches, times `patch_size`.",
        )
        expect(
            torch.equal(given, images),
            f"{what} the pixels stand at the wrong places. "
            + hint_for_tensor(
                given,
                _misplaced(rows, images.shape, p),
                "Number the pixels of a small picture and follow them.",
            ),
        )
    return "Cut and put together: the same picture."


def _misplaced(rows: Tensor, shape: torch.Size, p: int) -> dict[str, Tensor]:
    """What the usual mistakes make of the rows."""
    B, C, S, _ = shape
    n, order = S // p, (0, 3, 1, 4, 2, 5)
    places = rows.view(B, n, n, C, p, p)
    last = rows.view(B, n, n, p, p, C).permute(0, 5, 1, 3, 2, 4)
    turned, by_column = places.mT.permute(order), places.transpose(1, 2).permute(order)
    return {
        "A `reshape` alone keeps the numbers in their old order: you joined strips. "
        "Put the six dimensions in order first.": rows.reshape(shape),
        "Each patch is turned: rows and columns in it are exchanged.": turned.reshape(
            shape
        ),
        "The patches are placed column by column; they are counted row by "
        "row.": by_column.reshape(shape),
        "In a row the channel comes first, then the pixels of that "
        "channel.": last.reshape(shape),
    }


class _Strips(PatchEmbedding):
    """A patch embedding that cuts lines instead of squares."""

    def forward(self, images: Tensor) -> Tensor:
        return self.project(images.reshape(len(images), self.n_patches, -1))


class _Scattered(nn.Module):
    """A layer whose tokens gather pixels from anywhere."""

    def __init__(self, image_size: int, d_model: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.order = torch.randperm(image_size**2, generator=generator)
        self.image_size, self.project = image_size, nn.Linear(3, d_model)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1)[:, self.order].unflatten(1, (-1, 3))
        return self.project(rows)


@exercise
def check_pixel_map(pixel_map) -> str:
    """Takes a function of embed, image_size."""
    four = torch.arange(4).view(2, 2)
    sixteen = torch.arange(16).view(4, 4)
    scattered = _Scattered(6, 5)
    where = torch.empty(36, dtype=torch.long)
    where[scattered.order] = torch.arange(12).repeat_interleave(3)
    cases = (
        ("PatchEmbedding(4, 2, 3)", PatchEmbedding(4, 2, 3), _enlarge(four), 4),
        ("PatchEmbedding(8, 2, 6)", PatchEmbedding(8, 2, 6), _enlarge(sixteen), 8),
        ("strips", _Strips(8, 2, 6), torch.arange(64).view(8, 8) // 4, 8),
        ("a layer with scattered pixels", scattered, where.view(6, 6), 6),
    )
    for name, embed, right, S in cases:
        generator = torch.Generator().manual_seed(S)
        for parameter in embed.parameters():
            nn.init.normal_(parameter, generator=generator).requires_grad_(False)
        given = returned(pixel_map(embed, S))
        shape = tuple(getattr(given, "shape", ()))
        expect(
            isinstance(given, Tensor) and shape == (S, S),
            f"For {name} the map has the shape {(S, S)}, yours {shape}: one number for "
            "each pixel.",
        )
        expect(
            not given.is_floating_point() and given.dtype != torch.bool,
            f"The map holds numbers of tokens, integers; yours is {given.dtype}.",
        )
        _expect_map(given.long(), right, name)
    return "You can see how a layer cuts without opening it."


def _enlarge(numbers: Tensor) -> Tensor:
    """Make two by two pixels of each number."""
    return numbers.repeat_interleave(2, 0).repeat_interleave(2, 1)


def _expect_map(given: Tensor, right: Tensor, name: str) -> None:
    S, side = len(right), int(int(right.max() + 1) ** 0.5)
    place = torch.arange(S) * side // S
    mistakes = {
        "Rows and columns are exchanged.": right.T,
        "Tokens count from 0.": right + 1,
        "All pixels are said to reach one token: compare with the tokens of a *white* "
        "picture, since the biases and the other pixels stand in all tokens.": (
            torch.full_like(right, int(given.flatten()[0]))
        ),
        "You return the map of squares, whatever the layer does: call `embed` and see "
        "what changes.": place.unsqueeze(1) * side + place,
    }
    otherwise = (
        "Which token changes most, against a white picture, when this pixel alone is "
        "dark? Take the sizes of the changes, not their signs."
    )
    expect(
        torch.equal(given, right),
        f"For {name} the first line of the map is {right[0].tolist()}, yours "
        f"{given[0].tolist()}. " + hint_for_tensor(given, mistakes, otherwise),
    )


@exercise
def check_random_shift(random_shift) -> str:
    """Takes a function of images, generator, blank."""
    for B, C, S, blank in ((450, 1, 4, -1.0), (450, 2, 5, 0.5)):
        generator = torch.Generator().manual_seed(B + C)
        images = torch.rand(B, C, S, S, generator=generator) + 1
        before = images.clone()
        given = returned(random_shift(images, generator, blank))
        expect(torch.equal(images, before), "You changed `images` itself; make a copy.")
        shape = tuple(getattr(given, "shape", ()))
        expect(
            shape == (B, C, S, S),
            f"The result has the shape of `images`, {(B, C, S, S)}; yours has {shape}.",
        )
        cases = _match_shifts(given, images, blank)
        _expect_even(cases)
        again, second = (
            random_shift(images, torch.Generator().manual_seed(seed), blank)
            for seed in (5, 5)
        )
        expect(
            torch.equal(again, second),
            "The same generator must give the same moves: draw from `generator`, not "
            "from PyTorch's own.",
        )
    return "Every picture moves on its own."


def _windows(images: Tensor, blank: float) -> Tensor:
    """All nine moves of all pictures, ``(9, B, C, S, S)``."""
    S = images.size(-1)
    padded = F.pad(images, (1, 1, 1, 1), value=blank)
    starts = [(r, c) for r in range(3) for c in range(3)]
    return torch.stack([padded[:, :, r : r + S, c : c + S] for r, c in starts])


def _match_shifts(given: Tensor, images: Tensor, blank: float) -> Tensor:
    """Return which of the nine moves each picture made; refuse anything else."""
    fits = (_windows(images, blank) == given).flatten(2).all(dim=-1)  # (9, B)
    if not fits.any(dim=0).all():
        rolled = [images.roll((r, c), (2, 3)) for r in (-1, 0, 1) for c in (-1, 0, 1)]
        candidates = {
            "What leaves at one side must not come in at the other (`roll` does "
            "that).": torch.stack(rolled),
            f"Places that become free get `blank`, here {blank}, not 0.": _windows(
                images, 0.0
            ),
            "Down and to the right are exchanged with the picture itself: you turned "
            "it.": _windows(images.mT, blank),
        }
        hints = [
            hint
            for hint, windows in candidates.items()
            if (windows == given).flatten(2).all(dim=-1).any(dim=0).all()
        ]
        otherwise = (
            "Each is the window of `S` by `S` out of the picture with an edge of one "
            "pixel, all channels moved alike."
        )
        expect(
            False,
            "Some pictures are none of the nine moves by at most one pixel. "
            + (hints[0] if hints else otherwise),
        )
    return fits.long().argmax(dim=0)  # (B,)


def _expect_even(cases: Tensor) -> None:
    counts = cases.bincount(minlength=9)
    down, right = cases // 3, cases % 3
    reason = "Draw both moves from three values with `torch.randint(3, ...)`."
    if (cases == cases[0]).all():
        reason = "All pictures made the same move: draw two numbers for *each* picture."
    elif (down == right).all() or (down + right == 2).all():
        reason = "Both moves are always equal: draw them separately."
    elif (counts == 0).any():
        reason = (
            "Some moves never happen; the upper end of `torch.randint` is left out."
        )
    expect(
        counts.min() >= 20 and counts.max() <= 95,
        f"Over {len(cases)} pictures the nine moves came {counts.tolist()} times; they "
        f"should be about equally frequent. {reason}",
    )
