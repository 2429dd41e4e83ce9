"""Wrong answers to the exercises of lesson 18, which their checks must reject."""

import torch
from torch.nn import functional as F


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


def together(order, channels_last=False):
    """The way back with the six dimensions in another order."""

    def unpatchify(rows, p, C):
        B, n = len(rows), int(rows.size(1) ** 0.5)
        content = (p, p, C) if channels_last else (C, p, p)
        x = rows.view(B, n, n, *content).permute(order)
        return x.reshape(B, C, n * p, n * p)

    return unpatchify


def strips(rows, p, C):
    S = int((rows.size(1)) ** 0.5) * p
    return rows.reshape(len(rows), C, S, S)


def one_row(rows, p, C):
    return rows.view(len(rows), C, p, -1)


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
        padded = F.pad(source, (1, 1, 1, 1), value=value)
        pairs = zip(padded, moves.tolist())
        return torch.stack([x[:, r : r + S, c : c + S] for x, (r, c) in pairs])

    return random_shift


def shift_in_place(images, generator, blank):
    images[:, :, 0] = blank
    return images


def smaller(images, generator, blank):
    return images[:, :, 1:, 1:]


WRONG = {
    "check_patch_numbers": [
        (numbers(lambda S, p, D, C, N, i: S // p), "one row of patches"),
        (numbers(lambda S, p, D, C, N, i: N + 1), "class token of the paper"),
        (numbers(lambda S, p, D, C, N, i: N * C), "belong to the same patch"),
        (numbers(None, lambda S, p, D, C, N, i: i * D), "has a bias"),
        (numbers(None, lambda S, p, D, C, N, i: p * p * D + D), "`n_channels` numbers"),
        (numbers(None, lambda S, p, D, C, N, i: N * (i * D + D)), "share one matrix"),
        (numbers(None, lambda S, p, D, C, N, i: i * D + D + N * D), "of their own"),
        (lambda S, p, D, C: (S // p) ** 2, "Return two numbers"),
    ],
    "check_unpatchify": [
        (strips, "you joined strips"),
        (together((0, 3, 1, 5, 2, 4)), "Each patch is turned"),
        (together((0, 3, 2, 4, 1, 5)), "column by column"),
        (together((0, 5, 1, 3, 2, 4), channels_last=True), "the channel comes first"),
        (together((0, 3, 1, 2, 4, 5)), "you joined strips"),
        (one_row, "The side of a picture is the root"),
        (lambda rows, p, C: None, "is a `return` missing"),
    ],
    "check_pixel_map": [
        (lambda e, S: changes(e, S).argmax(-1).view(S, S).T, "Rows and columns"),
        (lambda e, S: changes(e, S).argmax(-1).view(S, S) + 1, "count from 0"),
        (lambda e, S: changes(e, S).argmax(-1), "one number for each pixel"),
        (lambda e, S: changes(e, S).argmax(-1).view(S, S).float(), "integers"),
        (map_without_white, "compare with the tokens of a *white* picture"),
        (
            lambda e, S: changes(e, S, white=False).argmax(-1).view(S, S),
            "against a white picture",
        ),
        (map_of_squares, "You return the map of squares"),
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
        (smaller, "has the shape of `images`"),
    ],
}
