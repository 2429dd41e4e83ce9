"""The checks of the exercises in lesson 18, beyond text."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.checks import exercise, expect, hint_for, hint_for_tensor, returned, tensor
from lib.embedding import PatchEmbedding

__all__ = [
    "check_patch_numbers",
    "check_unpatchify",
    "check_pixel_map",
    "check_random_shift",
]


# Exercise 1


@exercise
def check_patch_numbers(patch_numbers) -> str:
    """Takes a function of image_size, patch_size, d_model, n_channels."""
    sizes = (224, 16, 768, 3), (8, 2, 48, 1), (12, 4, 10, 2), (6, 6, 5, 4), (5, 1, 2, 1)
    for S, p, D, C in sizes:
        given = returned(patch_numbers(S, p, D, C))
        expect(
            isinstance(given, tuple | list) and len(given) == 2,
            "Return a pair of numbers: the patches of a picture, then the parameters.",
        )
        N, inputs = (S // p) ** 2, C * p * p
        whole = all(type(number) is int for number in given)
        expect(
            whole or tuple(given) != (N, inputs * D + D),
            f"The values are right, but they are of type {_kinds(given)}; both are "
            "counts, so return integers: `//` divides two and gives one.",
        )
        n_patches, n_parameters = map(float, given)
        what = f"{S} x {S} pixels, patches of {p} x {p}, {C} channels and d_model={D}"
        swapped = (n_patches, n_parameters) == (inputs * D + D, N)
        expect(not swapped, "The patches come first, then the parameters.")
        expect(
            n_patches == N,
            f"With {what} there are {N:,} patches, you return {n_patches:,g}. "
            + _patch_hint(n_patches, S, p, C),
        )
        expect(
            n_parameters == inputs * D + D,
            f"With {what} the layer has {inputs * D + D:,} parameters, you return "
            f"{n_parameters:,g}. " + _parameter_hint(n_parameters, S, p, D, C),
        )
    return "The number of patches does not change the number of parameters."


def _kinds(given: tuple | list) -> str:
    return " and ".join(sorted({type(number).__name__ for number in given}))


def _patch_hint(given: float, S: int, p: int, C: int) -> str:
    N = (S // p) ** 2
    hints = {
        S // p: "That is one row of patches; there are as many rows as columns.",
        N * C: "All channels of a place belong to the same patch.",
        N + 1: "The class token of the paper is no patch, and ours has none.",
        S * S // p: "A patch is `patch_size` wide *and* high.",
        (S - p + 1) ** 2: "Patches do not overlap: the next begins where one ends.",
        S * S: "That is the number of pixels.",
    }
    return hint_for(given, hints, "How many fit side by side?")


def _parameter_hint(given: float, S: int, p: int, D: int, C: int) -> str:
    N, inputs = (S // p) ** 2, C * p * p
    hints = {
        inputs * D: "The linear layer has a bias.",
        inputs * D + inputs: "There is one bias for each number that comes out.",
        inputs * D + 1: "There is one bias for each number that comes out.",
        N * (inputs * D + D): "All patches share one matrix.",
        (inputs + 1) * D + N * D: "The positions are a layer of their own.",
        p * p * D + D: "Each pixel has `n_channels` numbers.",
        C * p * D + D: "A patch has `patch_size` rows *and* columns.",
        C * S * S * D + D: "The layer reads one patch, not the whole picture.",
    }
    return hints.get(given, "How many numbers has one patch?")


# Exercise 2


def _cut(images: Tensor, p: int) -> Tensor:
    """Cut pictures ``(B, C, S, S)`` into rows ``(B, N, C p p)``."""
    x = images.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5)
    return x.flatten(3).flatten(1, 2)


@exercise
def check_unpatchify(unpatchify) -> str:
    """Takes a function of rows, patch_size, n_channels."""
    shapes = (3, 3, 6, 2), (2, 1, 4, 2), (1, 2, 12, 4), (2, 3, 5, 5), (2, 4, 3, 1)
    for B, C, S, p in shapes:
        dtype = torch.float64 if p == 4 else torch.float32
        images = torch.arange(B * C * S * S, dtype=dtype).view(B, C, S, S)
        rows = _cut(images, p).requires_grad_()
        before = rows.detach().clone()
        given = returned(unpatchify(rows, p, C))
        expect(torch.equal(rows, before), "You changed `rows` itself; leave it.")
        what = f"For rows of shape {tuple(rows.shape)}, patch_size={p}, n_channels={C}"
        _expect_pictures(given, images, before, p, what)
        expect(
            given.requires_grad,
            "The pixels are right, but cut off from `rows`: a model could not learn "
            "through them. Stay with PyTorch's functions, without detach or numpy.",
        )
    return "Cut and put together: the same picture."


def _expect_pictures(
    given: object, images: Tensor, rows: Tensor, p: int, what: str
) -> None:
    """Expect the pictures that were cut into rows."""
    shape = tuple(getattr(given, "shape", ()))
    expect(
        isinstance(given, Tensor) and shape == images.shape,
        f"{what} the pictures have the shape {tuple(images.shape)}, yours {shape}. "
        "The side of a picture is the root of the number of patches, times "
        "`patch_size`.",
    )
    expect(
        given.dtype == images.dtype,
        f"Rows of {images.dtype} make pictures of it, not of {given.dtype}; keep the "
        "dtype.",
    )
    if not torch.equal(given, images):
        mistakes = _misplaced(rows, images.shape, p)
        otherwise = "Number the pixels of a small picture and follow them."
        hint = hint_for_tensor(given.detach(), mistakes, otherwise)
        expect(False, f"{what} the pixels stand at the wrong places. {hint}")


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
        "The picture is turned: rows and columns are exchanged.": places.permute(
            0, 3, 2, 5, 1, 4
        ).reshape(shape),
        "Each patch is turned: rows and columns in it are exchanged.": turned.reshape(
            shape
        ),
        "The patches are placed column by column; they are counted row by "
        "row.": by_column.reshape(shape),
        "In a row the channel comes first, then the pixels of that "
        "channel.": last.reshape(shape),
        "The row of the patch comes *before* the row in it, in the height as in the "
        "width.": places.permute(0, 3, 4, 1, 5, 2).reshape(shape),
        "You joined C, rows, columns, p, p: the patches became strips. The row in the "
        "patch follows the row of the patch.": places.permute(
            0, 3, 1, 2, 4, 5
        ).reshape(shape),
    }


# Exercise 3


class _Strips(PatchEmbedding):
    """A patch embedding that cuts lines instead of squares."""

    def forward(self, images: Tensor) -> Tensor:
        return self.project(images.reshape(len(images), self.n_patches, -1))


class _Scattered(nn.Module):
    """A layer whose tokens gather pixels from anywhere, not equally many."""

    def __init__(self, image_size: int, n_tokens: int, d_model: int) -> None:
        super().__init__()
        self.n_tokens, generator = n_tokens, torch.Generator().manual_seed(3)
        shape = (image_size**2,)
        self.which = torch.randint(n_tokens, shape, generator=generator)
        self.weight = nn.Parameter(torch.empty(image_size**2, d_model))
        self.bias = nn.Parameter(torch.empty(n_tokens, d_model))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1).unsqueeze(-1) * self.weight  # (B, S * S, D)
        member = F.one_hot(self.which, self.n_tokens).to(pixels.dtype)
        return torch.einsum("bsd,sn->bnd", pixels, member) + self.bias


@exercise
def check_pixel_map(pixel_map) -> str:
    """Takes a function of embed, image_size."""
    for name, embed, right, S in _layers():
        before = copy.deepcopy(embed.state_dict())
        given = tensor(pixel_map(embed, S), (S, S), f"For {name} the map")
        pairs = zip(embed.state_dict().values(), before.values())
        expect(
            all(torch.equal(*pair) for pair in pairs),
            "You changed the parameters of `embed`; only call it.",
        )
        expect(
            not given.is_floating_point() and given.dtype != torch.bool,
            f"The map holds numbers of tokens, integers; yours is {given.dtype}.",
        )
        _expect_map(given.long(), right, name)
    return "You can see how a layer cuts without opening it."


def _layers() -> list[tuple[str, nn.Module, Tensor, int]]:
    """Return layers with their names, their maps, and the size of their pictures."""
    four, sixteen = torch.arange(4).view(2, 2), torch.arange(16).view(4, 4)
    scattered, three = _Scattered(6, 7, 5), _Scattered(5, 3, 1)
    one = torch.zeros(3, 3, dtype=torch.long)
    blind, even = PatchEmbedding(4, 2, 2), PatchEmbedding(4, 2, 2)
    cases = [
        ("PatchEmbedding(4, 2, 3)", PatchEmbedding(4, 2, 3), _enlarge(four), 4),
        ("PatchEmbedding(8, 2, 6)", PatchEmbedding(8, 2, 6), _enlarge(sixteen), 8),
        ("strips", _Strips(8, 2, 6), torch.arange(64).view(8, 8) // 4, 8),
        ("scattered pixels", scattered, scattered.which.view(6, 6), 6),
        ("three tokens of one number", three, three.which.view(5, 5), 5),
        ("PatchEmbedding(3, 3, 4)", PatchEmbedding(3, 3, 4), one, 3),
        ("a layer of which one number sees nothing", blind, _enlarge(four), 4),
        ("a layer of which two numbers cancel", even, _enlarge(four), 4),
    ]
    for _, embed, _, S in cases:
        generator = torch.Generator().manual_seed(S)
        for parameter in embed.parameters():
            nn.init.normal_(parameter, generator=generator)
    blind.project.weight.data[0] = 0.0
    even.project.bias.data.zero_()
    even.project.weight.data[1] = -even.project.weight.data[0]
    return cases


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
        "dark? Take the sizes of the changes, not their signs, over all D numbers."
    )
    wrong = (given != right).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        expect(
            False,
            f"For {name} the pixel in row {row}, column {column} reaches token "
            f"{right[row, column]}; your map says {given[row, column]}. "
            + hint_for_tensor(given, mistakes, otherwise),
        )


# Exercise 4


@exercise
def check_random_shift(random_shift) -> str:
    """Takes a function of images, generator, blank."""
    cases = (2_700, 1, 3, -1.0), (450, 2, 5, 0.5), (1, 3, 4, 0.0)
    for B, C, S, blank in cases:
        generator = torch.Generator().manual_seed(B + C)
        images = torch.rand(B, C, S, S, generator=generator) + 1
        images = images.double() if C == 2 else images
        before = images.clone()
        given = tensor(
            random_shift(images, generator, blank), (B, C, S, S), "The result"
        )
        expect(torch.equal(images, before), "You changed `images` itself; make a copy.")
        expect(
            given.dtype == images.dtype,
            f"For pictures of {images.dtype} the result is of {given.dtype}; keep it.",
        )
        moves = _match_shifts(given, images, blank)
        if B > 1:
            _expect_even(moves, images, given)
            _expect_from_generator(random_shift, images, blank)
    return "Every picture moves on its own."


def _expect_from_generator(
    random_shift: Callable, images: Tensor, blank: float
) -> None:
    """Expect moves that the generator draws, and new ones at each call."""
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    once, again = (random_shift(images, each, blank) for each in generators)
    expect(
        torch.equal(once, again),
        "The same generator must give the same moves: draw from `generator`, not "
        "from PyTorch's own.",
    )
    expect(
        not torch.equal(random_shift(images, generators[0], blank), once),
        "A second call with the same generator makes the same moves: do not seed it "
        "again, only draw from it.",
    )


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
        expect(
            False,
            "Some pictures are none of the nine moves by at most one pixel. "
            + _shift_hint(given, images, blank),
        )
    return fits.long().argmax(dim=0)  # (B,)


def _shift_hint(given: Tensor, images: Tensor, blank: float) -> str:
    """Return words for the mistake that explains all pictures."""
    S, steps = images.size(-1), (-1, 0, 1)
    padded = F.pad(images, (2, 2, 2, 2), value=blank)
    far = [padded[:, :, r : r + S, c : c + S] for r in range(5) for c in range(5)]
    nearest = F.pad(images, (1, 1, 1, 1), mode="replicate")
    edges = [nearest[:, :, r : r + S, c : c + S] for r in range(3) for c in range(3)]
    rolled = [images.roll((r, c), (2, 3)) for r in steps for c in steps]
    candidates = {
        "What leaves at one side must not come in at the other (`roll` does "
        "that).": torch.stack(rolled),
        f"Places that become free get `blank`, here {blank}, not 0.": _windows(
            images, 0.0
        ),
        "Places that become free get `blank`, not the pixel beside them.": torch.stack(
            edges
        ),
        "Down and to the right are exchanged with the picture itself: you turned "
        "it.": _windows(images.mT, blank),
        "Some moves are longer than one pixel.": torch.stack(far),
    }
    for hint, windows in candidates.items():
        if (windows == given).flatten(2).all(dim=-1).any(dim=0).all():
            return hint
    return (
        "Each is the window of `S` by `S` out of the picture with an edge of one "
        "pixel, all channels moved alike."
    )


def _expect_even(cases: Tensor, images: Tensor, given: Tensor) -> None:
    """Expect each of the nine moves about equally often."""
    expect(
        not torch.equal(given, images),
        "No picture has moved: either you return `images`, or one pair of numbers "
        "serves them all; draw two numbers for *each* picture.",
    )
    counts = cases.bincount(minlength=9)
    down, right = cases // 3, cases % 3
    reason = "Draw both moves from three values with `torch.randint(3, ...)`."
    if (cases == cases[0]).all():
        reason = "All pictures made the same move: draw two numbers for *each* picture."
    elif (down == right).all() or (down + right == 2).all():
        reason = "Both moves are always equal: draw them separately."
    elif counts[4] == 0:
        reason = "A picture may also stay where it is."
    elif (down == 1).all() or (right == 1).all():
        reason = "They only move in one direction: down *and* to the right."
    elif (counts == 0).any():
        reason = (
            "Some moves never happen; the upper end of `torch.randint` is left out."
        )
    share = len(cases) / 9
    room = 4.5 * share**0.5
    expect(
        bool(counts.min() >= share - room and counts.max() <= share + room),
        f"Over {len(cases)} pictures the nine moves came {counts.tolist()} times; they "
        f"should be about equally frequent. {reason}",
    )
