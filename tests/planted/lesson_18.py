"""Wrong answers to the exercises of lesson 18, which their checks must reject."""

import torch
from torch.nn import functional as F


# Exercise 1


def numbers(n_patches=None, n_parameters=None):
    """The two numbers with a mistake in one of them."""

    def patch_numbers(S, p, D, C):
        N, inputs = (S // p) ** 2, C * p * p
        sizes = S, p, D, C, N, inputs
        return (
            n_patches(*sizes) if n_patches else N,
            n_parameters(*sizes) if n_parameters else inputs * D + D,
        )

    return patch_numbers


# Exercise 2


def together(order, channels_last=False):
    """The way back with the six dimensions in another order."""

    def unpatchify(rows, p, C):
        B, n = len(rows), int(rows.size(1) ** 0.5)
        content = (p, p, C) if channels_last else (C, p, p)
        x = rows.reshape(B, n, n, *content).permute(order)
        return x.reshape(B, C, n * p, n * p)

    return unpatchify


def back(rows, p, C):
    return together((0, 3, 1, 4, 2, 5))(rows, p, C)


def strips(rows, p, C):
    S = int((rows.size(1)) ** 0.5) * p
    return rows.reshape(len(rows), C, S, S)


def one_row(rows, p, C):
    return rows.reshape(rows.size(0), C, p, -1)


def always_two(rows, p, C):
    n = int(rows.size(1) ** 0.5)
    x = rows.reshape(len(rows), n, n, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(len(rows), -1, n * 2, n * 2)


def in_numpy(rows, p, C):
    return torch.from_numpy(back(rows, p, C).detach().numpy())


def in_float(rows, p, C):
    return back(rows.float(), p, C)


def in_place(rows, p, C):
    rows.data.mul_(1.0).add_(1.0)
    return back(rows, p, C) - 1


# Exercise 3


def changes(embed, S, white=True, signed=False):
    lit = torch.eye(S * S).view(-1, 1, S, S)
    tokens = embed(lit) - (embed(torch.zeros(1, 1, S, S)) if white else 0)
    return (tokens if signed else tokens.abs()).sum(dim=-1)  # (S * S, N)


def map_without_white(embed, S):
    return torch.full((S, S), int(changes(embed, S, white=False).sum(0).argmax()))


def map_of_squares(embed, S):
    side = int(embed(torch.zeros(1, 1, S, S)).size(1) ** 0.5)
    place = torch.arange(S) * side // S
    return place.unsqueeze(1) * side + place


def map_of_lines(embed, S):
    N = embed(torch.zeros(1, 1, S, S)).size(1)
    return (torch.arange(S * S) * N // (S * S)).view(S, S)


def map_after_zeroing(embed, S):
    for name, parameter in embed.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    return changes(embed, S, white=False).argmax(-1).view(S, S)


def map_of_first_number(embed, S):
    lit, white = torch.eye(S * S).view(-1, 1, S, S), torch.zeros(1, 1, S, S)
    return (embed(lit) - embed(white))[..., 0].argmax(-1).view(S, S)


# Exercise 4


def shift(edge=True, blank=None, each=True, equal=False, high=3, own=False, turn=False):
    """A random move with one mistake in it."""

    def random_shift(images, generator, value):
        B, S = len(images), images.size(-1)
        value = value if blank is None else blank
        source = images.mT if turn else images
        moves = torch.randint(high, (B, 2), generator=None if own else generator)
        moves = moves if each else moves[:1].expand(B, 2)
        moves = moves[:, :1].expand(B, 2) if equal else moves
        if not edge:
            pairs = zip(source, (moves - 1).tolist())
            return torch.stack([x.roll(move, (1, 2)) for x, move in pairs])
        return windows(source, moves, value)

    return random_shift


def windows(images, starts, value, edge=1, mode="constant"):
    """The windows that begin at `starts` (B, 2) in pictures with an edge."""
    S = images.size(-1)
    options = {"value": value} if mode == "constant" else {}
    padded = F.pad(images, [edge] * 4, mode=mode, **options)
    pairs = zip(padded, starts.tolist())
    return torch.stack([x[:, r : r + S, c : c + S] for x, (r, c) in pairs])


def drawn(images, generator, high=3):
    return torch.randint(high, (len(images), 2), generator=generator)


def shift_in_place(images, generator, blank):
    images[:, :, 0] = blank
    return images


def shift_far(images, generator, blank):
    return windows(images, drawn(images, generator, 5), blank, edge=2)


def shift_edges(images, generator, blank):
    return windows(images, drawn(images, generator), blank, mode="replicate")


def shift_normal(images, generator, blank):
    steps = torch.randn(len(images), 2, generator=generator).round().clamp(-1, 1)
    return windows(images, steps.long() + 1, blank)


def shift_reseeded(images, generator, blank):
    generator.manual_seed(0)
    return windows(images, drawn(images, generator), blank)


def shift_to_the_right(images, generator, blank):
    starts = drawn(images, generator)
    starts[:, 0] = 1
    return windows(images, starts, blank)


def shift_single(images, generator, blank):
    return windows(images.float(), drawn(images, generator), blank)


def shift_all_channels(images, generator, blank):
    flat = images.flatten(0, 1).unsqueeze(1)
    return windows(flat, drawn(flat, generator), blank).view_as(images)


WRONG = {
    "check_patch_numbers": [
        (numbers(lambda S, p, D, C, N, i: S // p), "one row of patches"),
        (numbers(lambda S, p, D, C, N, i: N + 1), "class token of the paper"),
        (numbers(lambda S, p, D, C, N, i: N * C), "belong to the same patch"),
        (numbers(lambda S, p, D, C, N, i: (S - p + 1) ** 2), "do not overlap"),
        (numbers(lambda S, p, D, C, N, i: S * S // p), "wide *and* high"),
        (numbers(None, lambda S, p, D, C, N, i: i * D), "has a bias"),
        (numbers(None, lambda S, p, D, C, N, i: i * D + 1), "one bias for each"),
        (numbers(None, lambda S, p, D, C, N, i: p * p * D + D), "`n_channels` numbers"),
        (numbers(None, lambda S, p, D, C, N, i: N * (i * D + D)), "share one matrix"),
        (numbers(None, lambda S, p, D, C, N, i: i * D + D + N * D), "of their own"),
        (lambda S, p, D, C: (S // p) ** 2, "Return a pair"),
        (lambda S, p, D, C: ((S / p) ** 2, (C * p * p + 1) * D), "type float and int"),
        (lambda S, p, D, C: ((C * p * p + 1) * D, (S // p) ** 2), "patches come first"),
    ],
    "check_unpatchify": [
        (strips, "you joined strips"),
        (together((0, 3, 1, 5, 2, 4)), "Each patch is turned"),
        (together((0, 3, 2, 4, 1, 5)), "column by column"),
        (together((0, 3, 2, 5, 1, 4)), "The picture is turned"),
        (together((0, 3, 4, 1, 5, 2)), "comes *before* the row in it"),
        (together((0, 5, 1, 3, 2, 4), channels_last=True), "the channel comes first"),
        (together((0, 3, 1, 2, 4, 5)), "joined"),
        (one_row, "The side of a picture is the root"),
        (always_two, "The side of a picture is the root"),
        (in_numpy, "cut off from `rows`"),
        (in_float, "keep the"),
        (in_place, "You changed `rows` itself"),
        (lambda rows, p, C: None, "is a `return` missing"),
    ],
    "check_pixel_map": [
        (lambda e, S: changes(e, S).argmax(-1).view(S, S).T, "Rows and columns"),
        (lambda e, S: changes(e, S).argmax(-1).view(S, S) + 1, "count from 0"),
        (lambda e, S: changes(e, S).argmax(-1), "must have the shape (4, 4)"),
        (lambda e, S: changes(e, S).argmax(-1).view(S, S).float(), "integers"),
        (map_without_white, "compare with the tokens of a *white* picture"),
        (
            lambda e, S: changes(e, S, white=False).argmax(-1).view(S, S),
            "against a white picture",
        ),
        (map_of_squares, "You return the map of squares"),
        (map_of_lines, "against a white picture"),
        (map_after_zeroing, "You changed the parameters of `embed`"),
        (map_of_first_number, "over all D numbers"),
        (
            lambda e, S: changes(e, S, signed=True).argmax(-1).view(S, S),
            "not their signs",
        ),
    ],
    "check_random_shift": [
        (shift(edge=False), "must not come in at the other"),
        (shift(blank=0.0), "not 0"),
        (shift(each=False), "for *each* picture"),
        (shift(equal=True), "draw them separately"),
        (shift(high=2), "the upper end of `torch.randint`"),
        (shift(own=True), "draw from `generator`"),
        (shift(turn=True), "you turned it"),
        (shift_in_place, "You changed `images` itself"),
        (shift_far, "longer than one pixel"),
        (shift_edges, "not the pixel beside them"),
        (shift_normal, "about equally frequent"),
        (shift_reseeded, "do not seed it"),
        (shift_to_the_right, "only move in one direction"),
        (shift_single, "keep it"),
        (shift_all_channels, "all channels moved alike"),
        (lambda images, g, b: images.clone(), "No picture has moved"),
        (lambda images, g, b: images[:, :, 1:, 1:], "must have the shape"),
    ],
}
