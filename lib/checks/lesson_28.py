"""The checks of the exercises in lesson 28, data preparation."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.checks import Mistake, exercise, expect, hint_for_tensor, returned, tensor

__all__ = ["check_last_answer", "check_stream", "check_fewest_bands"]


# Exercise 1

CONVERSATIONS = (
    "..^^..^^^",
    "..^^..^^^.",  # a newline behind the last stop
    "^^",
    "...",
    "",
    "^.^.^..",
    "..^^^^",
    "^^^....^",
)


@exercise
def check_last_answer(last_answer) -> str:
    """Takes a function of a list of marks."""
    for shown in CONVERSATIONS:
        own = [mark == "^" for mark in shown]
        before = list(own)
        answer = returned(last_answer(own))
        expect(own == before, "Your function changed the list `own` itself: copy it.")
        expect(answer is not own, "Return a new list, also where nothing changes.")
        expect(
            isinstance(answer, list) and all(type(mark) is bool for mark in answer),
            f"Return a list of True and False; yours is {answer!r}.",
        )
        given = "".join(".^"[mark] for mark in answer)
        right = _last_run(shown)
        expect(
            given == right,
            f"For {shown!r} (^ is True) the marks are {right!r}, not {given!r}. "
            + _hint_for_marks(given, shown),
        )
    return "The last answer, and its stop."


def _last_run(shown: str) -> str:
    trimmed = shown.rstrip(".")
    start = trimmed.rfind(".") + 1
    return "." * start + trimmed[start:] + "." * (len(shown) - len(trimmed))


def _hint_for_marks(given: str, shown: str) -> str:
    right = _last_run(shown)
    begun = [shown[:i].lstrip(".") for i in range(len(shown))]
    first = "".join("." if "." in b else mark for b, mark in zip(begun, shown))
    hints = {
        shown: "All answers are still in it.",
        first: "That is the first answer.",
        right.rstrip(".")[:-1] + "." * (len(shown) - len(right.rstrip(".")) + 1): (
            "The stop, its last token, belongs to the answer."
        ),
        "." * len(shown): (
            "The last answer may have tokens behind it: go on to a True."
            if shown.endswith(".")
            else "The last run of True is the answer: keep it."
        ),
        "." * (len(right.rstrip(".")) - 1) + right[len(right.rstrip(".")) - 1 :]: (
            "Keep the whole last run of True, not its last token alone."
        ),
        shown[: shown.find("^") + 1] + "^" * (len(shown) - shown.find("^") - 1): (
            "Questions between two answers do not count."
        ),
    }
    if len(given) != len(shown):
        return "There is one mark for each token, as before."
    return hints.get(given, "Keep the last run of True, whole, and nothing else.")


# Exercise 2

STREAMS = (
    ([[5, 6, 0, 7, 0, 8]], 0),
    ([[1, 2, 9, 3], [9, 9, 4, 4], [1, 1, 1, 1]], 9),
    ([[3, 3, 3, 1, 3], [1, 2, 1, 3, 1]], 3),
    ([[7]], 7),
    ([[4] * 300, [0] * 300], 0),
)


@exercise
def check_stream(stream) -> str:
    """Takes a function of ids and end_id."""
    for rows, end_id in STREAMS:
        ids = torch.tensor(rows)
        before = ids.clone()
        answer = returned(stream(ids, end_id))
        expect(torch.equal(ids, before), "Your function changed `ids` itself.")
        expect(
            isinstance(answer, tuple | list) and len(answer) == 2,
            "Return two tensors: the documents, and the positions.",
        )
        documents, positions = _documents_and_positions(ids, end_id)
        names = ("The documents", "The positions")
        for given, right, name in zip(answer, (documents, positions), names):
            given = tensor(given, tuple(ids.shape), name)
            if not torch.equal(given.double(), right.double()):
                row = (given != right).any(dim=1).nonzero()[0].item()
                shown, wanted, own = (
                    str(each[row].tolist()[:30]) for each in (ids, right, given)
                )
                raise Mistake(
                    f"{name} of {shown} with end_id={end_id} are {wanted}, not {own}. "
                    + hint_for_tensor(given, _stream_mistakes(ids, end_id), OTHERWISE)
                )
    expect(
        not any(given.is_floating_point() for given in answer),
        "Numbers of documents, and positions, are integers: yours are floats.",
    )
    kinds = [str(given.dtype).removeprefix("torch.") for given in answer]
    words = f"Both tensors have the type int64, as `ids`; yours are {kinds}: in a long "
    expect(kinds == ["int64"] * 2, words + "row small integers run over.")
    return "Each document starts anew, and every row does too."


OTHERWISE = "Go through a row: after an `end_id` the number grows, the position is 0."


def _documents_and_positions(ids: Tensor, end_id: int) -> tuple[Tensor, Tensor]:
    documents, positions = torch.zeros_like(ids), torch.zeros_like(ids)
    for row in range(len(ids)):
        number = place = 0
        for i, token in enumerate(ids[row].tolist()):
            documents[row, i], positions[row, i] = number, place
            place += 1
            if token == end_id:
                number, place = number + 1, 0
    return documents, positions


def _stream_mistakes(ids: Tensor, end_id: int) -> dict[str, Tensor]:
    is_end = (ids == end_id).long()
    flat, places = _documents_and_positions(ids.view(1, -1), end_id)
    documents, positions = _documents_and_positions(ids, end_id)
    return {
        "The number of the document is wanted first, then the position.": positions,
        "The token `end_id` still belongs to the document that it ends.": is_end.cumsum(
            1
        ),
        "Numbers go on from row to row: in each row they begin at 0.": flat.view(
            ids.shape
        ),
        "Positions go on from row to row: in each row they begin at 0.": places.view(
            ids.shape
        ),
        "Positions start anew in each document: yours go on.": torch.arange(
            ids.size(1)
        ).expand_as(ids),
        "Positions begin at 0, not at 1.": positions + 1,
        "Documents are counted from 0, not from 1.": documents + 1,
        "That is where the ends are. How many ends came before?": is_end,
        "Sums go along a row: `dim=1`.": is_end.cumsum(0) - is_end,
    }


# Exercise 3

CASES = (
    (0.5, 128, 0.9),
    (0.8, 128, 0.9),
    (0.2, 128, 0.5),
    (0.9, 100, 0.99),
    (0.05, 12, 0.9),
    (1.0, 12, 1.0),
    (0.5, 2, 0.75),
    (0.4, 60, 0.3),
    (0.01, 128, 0.5),
    (0.5, 128, 1 - (1 - 0.5**4) ** 32 + 5e-4),
)


@exercise
def check_fewest_bands(fewest_bands) -> str:
    """Takes a function of similarity, n_hashes and least."""
    for similarity, n_hashes, least in CASES:
        answer = fewest_bands(similarity, n_hashes, least)
        right = _fewest(similarity, n_hashes, least)
        where = f"For similarity={similarity}, n_hashes={n_hashes}, least={least}"
        if right is None:
            expect(
                answer is None,
                f"{where} no number of bands is enough: return None, not {answer!r}.",
            )
            continue
        expect(
            answer is not None,
            f"{where} {right} bands are enough, but yours found none: did you try "
            "every divisor, 1 and n_hashes included? And `least` itself is enough.",
        )
        expect(
            type(answer) is int,
            f"{where} the number of bands is a whole number, an int; yours is "
            f"{answer!r}.",
        )
        expect(
            answer == right,
            f"{where} it is {right}, not {answer}. "
            + _hint_for_bands(answer, similarity, n_hashes, least),
        )
    return "No more comparisons than it takes."


def _chance(similarity: float, n_bands: int, n_rows: float) -> float:
    return 1 - (1 - similarity**n_rows) ** n_bands


def _fewest(similarity: float, n_hashes: int, least: float) -> int | None:
    for n_bands in range(1, n_hashes + 1):
        if n_hashes % n_bands == 0:
            if _chance(similarity, n_bands, n_hashes // n_bands) >= least:
                return n_bands
    return None


def _hint_for_bands(given: int, similarity: float, n_hashes: int, least: float) -> str:
    right = _fewest(similarity, n_hashes, least)
    if given < 1 or n_hashes % given:
        return f"{given} bands do not divide {n_hashes} hashes."
    if given == n_hashes // right:
        return "That is how long a band is."
    enough = _chance(similarity, given, n_hashes // given) >= least
    if given > right and enough:
        return f"{right} bands are enough too: look for the smallest number."
    return (
        "With b bands of r numbers they meet with the probability 1 - (1 - s**r)**b, "
        "and `least` itself is enough."
    )
