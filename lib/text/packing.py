"""Rows that hold several documents, so that little of them is filling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lib.shapes import require_sizes

__all__ = ["first_fit", "Packed", "pack"]

FILLING = -1  # the number of the document that filling belongs to


def first_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Share out things among boxes: each goes into the first box that has room for it.

    Args:
        lengths: of the things, in the order in which they are put away.
        room: of each box.

    Returns:
        For each box the numbers of the things in it.

    Raises:
        ValueError: for a length that is not in 1 .. ``room``.

    Source: Johnson (1973): with the longest first, at most 11/9 of the fewest boxes,
    and 4 more.

    Home lesson: 28_data_preparation
    """
    require_sizes(room=room)
    boxes: list[list[int]] = []
    left: list[int] = []
    for number, length in enumerate(lengths):
        if not 1 <= length <= room:
            raise ValueError(f"lengths[{number}]={length} must be in 1 .. {room}")
        for box, free in enumerate(left):
            if length <= free:
                break
        else:
            box = len(boxes)
            boxes.append([])
            left.append(room)
        boxes[box].append(number)
        left[box] -= length
    return boxes


class Packed(NamedTuple):
    """Rows of several documents, each ``(B, T)``.

    Attributes:
        inputs: what a model reads.
        targets: the token that follows in the same document.
        counted: bool; True where a target is the model's to write.
        documents: the number of the document in its row, -1 for filling.
        positions: the place of each token in its own document.

    Home lesson: 28_data_preparation
    """

    inputs: Tensor
    targets: Tensor
    counted: Tensor
    documents: Tensor
    positions: Tensor


def pack(
    documents: Sequence[tuple[Sequence[int], Sequence[bool]]],
    length: int,
    pad_id: int = 0,
) -> Packed:
    """Put documents into rows, the longest first, each into the first row with room.

    A document of n tokens takes n - 1 places: its last token is only a target. No
    target is the start of another document.

    Args:
        documents: the ids of each, and True for those that the model writes, as
            `encode_messages` gives them.
        length: places per row T.
        pad_id: what rows are filled up with.

    Raises:
        ValueError: if there are no documents, or one has less than two tokens, more
            than fit, or not as many booleans as ids.

    Home lesson: 28_data_preparation
    """
    require_sizes(length=length)
    if not documents:
        raise ValueError("documents=[] is empty; it must hold one or more")
    for number, (ids, own) in enumerate(documents):
        if not 2 <= len(ids) <= length + 1 or len(own) != len(ids):
            raise ValueError(
                f"documents[{number}] has {len(ids)} ids and {len(own)} booleans; both "
                f"must be as many, in 2 .. {length + 1}"
            )
    order = sorted(range(len(documents)), key=lambda i: -len(documents[i][0]))
    boxes = first_fit([len(documents[i][0]) - 1 for i in order], length)
    shape = len(boxes), length
    packed = Packed(
        torch.full(shape, pad_id),
        torch.full(shape, pad_id),
        torch.zeros(shape, dtype=torch.bool),
        torch.full(shape, FILLING),
        torch.zeros(shape, dtype=torch.long),
    )
    for row, box in enumerate(boxes):
        start = 0
        for number, place in enumerate(box):
            start = _put(packed, row, start, number, documents[order[place]])
    return packed


def _put(packed: Packed, row: int, start: int, number: int, document: tuple) -> int:
    """Write one document into a row; return where the next one begins."""
    ids, own = (torch.tensor(each) for each in map(list, document))
    end = start + len(ids) - 1
    values = ids[:-1], ids[1:], own[1:], number, torch.arange(end - start)
    for tensor, value in zip(packed, values):
        tensor[row, start:end] = value
    return end
