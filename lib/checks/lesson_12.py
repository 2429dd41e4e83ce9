"""The checks of the exercises in lesson 12, training runs."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from torch import Tensor

from lib.checks import Mistake, exercise, expect, hint_for, number, returned, tensor

__all__ = [
    "check_first_difference",
    "check_compare",
    "check_replace_file",
    "check_ShuffledBatches",
]

# Exercise 1

PAIRS = (
    ([3.0, 2.5, 2.0, 1.5], [3.0, 2.5, 2.1, 1.5]),
    ([3.0, 2.5, 2.0, 1.0], [3.0, 2.4, 2.0, 1.5]),
    ([3.0, 2.5], [2.0, 2.5]),
    ([2.0, 1.5, 1.0], [2.0, 1.5, 1.0 + 2**-52]),
    ([2.0, 1.5, 1.0], [2.0, 1.5, 1.0]),
    ([2.0, 1.5, 1.0], [2.0, 1.5]),
    ([2.0], [2.0, 1.5, 1.0]),
    ([2.0, 1.0], [2.0, 3.0, 4.0]),
    ([2.0, 1.0, 1.0], [1.0, 2.0, 1.0]),
    ([3.0, 2.0, 3.0], [3.0, 2.0, 2.5]),
    ([2.0, 1.5, 1.0], []),
)


@exercise
def check_first_difference(first_difference) -> str:
    """Takes a function of one, other."""
    for one, other in PAIRS:
        lists = [*one], [float(str(loss)) for loss in other]  # equal, not the same
        given = first_difference(*lists)
        expect(lists == (one, other), "You changed a list that was given.")
        common = range(min(len(one), len(other)))
        parted = [i for i in common if one[i] != other[i]]
        right = parted[0] if parted else None
        kind = isinstance(given, int) and not isinstance(given, bool)
        expect(
            given is None or kind,
            f"Return an index, a whole number, or None; yours is {given!r}.",
        )
        if given != right:
            hint = _index_hint(given, right, parted, (one, other))
            raise Mistake(f"For {one} and {other} it is {right}, not {given}. {hint}")
    return "Equal means equal, to the last digit."


def _index_hint(
    given: int | None, right: int | None, parted: list[int], pair: tuple[list, list]
) -> str:
    """Name the mistake behind a wrong index."""
    if given is None:
        close = math.isclose(*(losses[right] for losses in pair), rel_tol=1e-6)
        if close:
            return "The losses must be exactly equal, not just close."
        return "Index 0 counts, too." if right == 0 else "Look at every step."
    if right is None:
        if len(pair[0]) != len(pair[1]):
            return "Where one list is shorter, compare only as far as it goes."
        return "Nothing differs: return None."
    if given == len(parted) and given not in parted:
        return "Do not count how many differ; say where the first is."
    if given == parted[-1]:
        return "That is the last step that differs, not the first."
    if given == right + 1:
        return "Count from 0."
    return "Go through both lists together, from the start."


# Exercise 2

GROUPS = (
    ([2.0, 2.5, 2.75], [3.0, 3.25, 4.25]),
    ([3.0, 2.0, 2.125], [1.0, 1.25]),
    ([1.5], [1.25, 2.0, 1.25, 1.5]),
    ([1.0, 1.5], [3.0, 3.25, 5.0]),
    ([1.0, 2.5], [3.0, 3.25]),
)


@exercise
def check_compare(compare) -> str:
    """Takes a function of ours, theirs."""
    for ours, theirs in GROUPS:
        lists = [*ours], [*theirs]
        answer = returned(compare(*lists))
        expect(
            lists == (ours, theirs),
            "You changed a list that was given: `sorted` makes a new one.",
        )
        expect(
            isinstance(answer, tuple | list) and len(answer) == 2,
            "Return a pair of numbers: the difference of the means, and the spread.",
        )
        _expect_comparison(ours, theirs, *map(number, answer))
    return "Only a difference above the spread is a result."


def _expect_comparison(
    ours: list[float], theirs: list[float], difference: float, spread: float
) -> None:
    """Expect the difference of the means, and the larger spread."""
    means = sum(ours) / len(ours), sum(theirs) / len(theirs)
    what = f"For ours={ours} and theirs={theirs}"
    right = means[1] - means[0]
    expect(
        math.isclose(difference, right, rel_tol=1e-5, abs_tol=1e-7),
        f"{what} the difference is {right:.4f}, you return {difference:.4f}. "
        + hint_for(
            difference,
            _difference_mistakes(ours, theirs),
            "Take one mean from the other, and do not round.",
        ),
    )
    right = max(max(ours) - min(ours), max(theirs) - min(theirs))
    expect(
        math.isclose(spread, right, rel_tol=1e-5, abs_tol=1e-7),
        f"{what} the spread is {right:.4f}, you return {spread:.4f}. "
        + hint_for(
            spread,
            _spread_mistakes(ours, theirs),
            "The largest loss of a list minus its smallest.",
        ),
    )


def _difference_mistakes(ours: list[float], theirs: list[float]) -> dict[float, str]:
    means = sum(ours) / len(ours), sum(theirs) / len(theirs)
    spread = max(max(ours) - min(ours), max(theirs) - min(theirs))
    middle = [statistics.median(losses) for losses in (ours, theirs)]
    return {
        means[0] - means[1]: "Turn it: positive where `ours` is lower.",
        abs(means[0] - means[1]): "It is negative where `ours` is higher."
        if means[0] > means[1]
        else "Do not round.",
        spread: "First the difference, then the spread.",
        min(theirs) - min(ours): "You compare the best runs, which rewards the one "
        "who tried more often; take the means.",
        middle[1] - middle[0]: "That is the difference of the medians.",
        sum(theirs) - sum(ours): "Divide each sum by the length of its list.",
        (sum(theirs) - sum(ours)) / len(ours): "Each list has its own length.",
    }


def _spread_mistakes(ours: list[float], theirs: list[float]) -> dict[float, str]:
    pooled, both = ours + theirs, (ours, theirs)
    spreads = [max(losses) - min(losses) for losses in both]
    deviations = [
        torch.tensor(losses).std(correction=c).item()
        for losses in both
        for c in (0, 1)
        if len(losses) > c
    ]
    return {
        max(pooled) - min(pooled): "You pooled the lists; each has its own spread.",
        min(spreads): "Take the larger of the two spreads, not the smaller.",
        sum(spreads): "Take the larger of the two spreads, not their sum.",
        sum(spreads) / 2: "Take the larger of the two spreads, not their mean.",
        spreads[0]: "That is the spread of `ours` alone; take the larger of the two.",
        spreads[1]: "That is the spread of `theirs` alone; take the larger of the two.",
        -max(spreads): "Largest minus smallest, not the other way round.",
    } | dict.fromkeys(deviations, "That is a standard deviation; take the range.")


# Exercise 3


class _Failed(RuntimeError):
    """What the check's own writer raises."""


class _Interrupted(BaseException):
    """The same as a Ctrl-C."""


ERRORS = (None, _Failed, _Interrupted)


@exercise
def check_replace_file(replace_file) -> str:
    """Takes a function of path, write."""
    for there, error, at_once in (
        *((there, error, False) for there in (True, False) for error in ERRORS),
        (True, _Failed, True),
    ):
        with TemporaryDirectory() as folder:
            writer = _Writer(Path(folder, "run.bin"), there, error, at_once)
            heard = writer.call(replace_file)
            writer.look_at_folder(heard)
    return "The old file or the new one, and never half of one."


class _Writer:
    """A folder, a function that writes into it and perhaps fails, and what it saw."""

    def __init__(
        self,
        path: Path,
        there: bool,
        error: type[BaseException] | None,
        at_once: bool,
    ) -> None:
        self.path, self.there, self.error = path, there, error
        self.at_once = at_once  # fails before there is a file
        self.before = dict.fromkeys(("other.bin", "other.tmp"), b"of somebody else")
        if there:
            self.before[path.name] = b"old"
        for name, content in self.before.items():
            path.with_name(name).write_bytes(content)
        self.mistakes: list[Mistake] = []
        self.inodes: list[int] = []

    def write(self, target: Path) -> None:
        """Write half of the new version, look around, then fail or write the rest."""
        target = Path(target)
        try:
            self._look_at_draft(target)
        except Mistake as mistake:
            self.mistakes.append(mistake)  # the reader's code may catch it
            raise
        if self.at_once:
            raise self.error("the disk is full")
        target.write_bytes(b"ne")
        if self.there and (not self.path.is_file() or self.path.read_bytes() != b"old"):
            words = "While the new version is being written, the old one must be there."
            self.mistakes.append(Mistake(words))
        if self.error is not None:
            raise self.error("the disk is full")
        target.write_bytes(b"new")
        self.inodes.append(target.stat().st_ino)

    def _look_at_draft(self, target: Path) -> None:
        expect(
            target != self.path,
            "You gave `write` the file itself: when it fails, the old version is lost.",
        )
        expect(
            self.path.parent.resolve() in target.resolve().parents,
            "Your draft is in another folder, perhaps on another disk: from there a "
            "move is a copy, not atomic.",
        )

    def call(self, replace_file: Callable) -> bool:
        """Call the reader's function; return whether it let the error out."""
        heard = False
        moves = [mock.patch(f"os.{n}", self._watched(n)) for n in ("replace", "rename")]
        try:
            with moves[0], moves[1]:
                replace_file(self.path, self.write)
        except (_Failed, _Interrupted):
            heard = True
        except Mistake:
            pass
        except Exception as error:
            if self.error is None or self.mistakes:
                raise
            raise Mistake(
                f"`write` failed, and the caller got {type(error).__name__}: {error}. "
                "Let the error of `write` out; is there always a draft to remove?"
            ) from None
        if self.mistakes:
            raise self.mistakes[0]
        return heard

    def _watched(self, name: str) -> Callable:
        """A move of the system that looks whether the old file is still there."""
        move = getattr(os, name)

        def watched(source: Path, target: Path, **options) -> None:
            if Path(target) == self.path and self.there and not self.path.exists():
                words = "You removed the old file before the move: do not, `replace` "
                words += "takes its place at once."
                self.mistakes.append(Mistake(words))
            move(source, target, **options)

        return watched

    def look_at_folder(self, heard: bool) -> None:
        """Look at what is there in the end."""
        wanted = dict(self.before)
        if self.error is None:
            _expect_one_call(len(self.inodes))
            wanted[self.path.name] = b"new"
        found = {
            entry.name: entry.read_bytes() if entry.is_file() else b""
            for entry in self.path.parent.iterdir()
        }
        then = "When `write` fails" if self.error else "After it"
        name = self.path.name
        expect(
            found.get(name) == wanted.get(name),
            f"{then}, `path` must hold {wanted.get(name)!r}; it holds "
            f"{found.get(name)!r}.",
        )
        left = sorted(found.keys() - wanted.keys())
        expect(not left, f"{then}, nothing else may stay in the folder: {left} does.")
        expect(found == wanted, f"{then}, another file of the folder has changed.")
        expect(
            heard or self.error is None,
            "`write` failed, and the caller heard nothing: let the error out.",
        )
        expect(
            self.error is not None or self.path.stat().st_ino == self.inodes[0],
            "You copied the draft over the file: in between the file is half new. Move "
            "it with `replace`.",
        )


def _expect_one_call(n: int) -> None:
    expect(n > 0, "`write` was not called, or its error was lost.")
    expect(n == 1, f"`write` was called {n} times; once is enough.")


# Exercise 4


@exercise
def check_ShuffledBatches(ShuffledBatches) -> str:
    """Takes a class with next(), state() and load(state)."""
    for n_items, batch_size, seed in ((12, 3, 0), (10, 5, 1), (6, 6, 2), (5, 1, 3)):
        torch.manual_seed(123)
        size = n_items // batch_size  # batches of an epoch
        make = lambda s: ShuffledBatches(n_items, batch_size, s)  # noqa: E731
        rows = _draw(make(seed), 4 * size, batch_size)
        _check_epochs(rows.view(4, n_items), n_items)
        _check_seeds(make, rows, batch_size, seed)
        for done in (size + 1, size, 2 * size - 1, 0):
            _check_resume(make, rows, done, batch_size, seed)
    return "It goes on in the middle of an epoch."


def _draw(batches: object, n: int, batch_size: int) -> Tensor:
    """Take n batches, and look at each."""
    drawn = []
    for _ in range(n):
        batch = tensor(batches.next(), (batch_size,), "A batch")
        expect(
            not batch.dtype.is_floating_point and batch.dtype != torch.bool,
            f"A batch holds indices, whole numbers; yours are {batch.dtype}.",
        )
        drawn.append(batch.clone().long())
        batch.zero_()  # whoever gets a batch may change it
    return torch.stack(drawn) if drawn else torch.empty(0, batch_size)


def _check_epochs(epochs: Tensor, n_items: int) -> None:
    every = torch.arange(n_items)
    for i, epoch in enumerate(epochs):
        expect(
            torch.equal(epoch.sort().values, every),
            f"Epoch {i} must hold each of the {n_items} items once; yours holds "
            f"{epoch.tolist()}. (The check sets each batch to 0 after it was drawn: "
            "hand out copies.)",
        )
    sorted_ones = [torch.equal(epoch, every) for epoch in epochs]
    repeats = [torch.equal(*two) for two in zip(epochs[1:], epochs, strict=False)]
    wrong = any if n_items >= 10 else all  # of few items chance may repeat an order
    expect(
        not wrong(sorted_ones),
        "The order of an epoch is not random: the items come as they are numbered.",
    )
    expect(
        not wrong(repeats),
        "An epoch has the same order as the one before: draw a new one at its start.",
    )


def _check_seeds(make: Callable, rows: Tensor, batch_size: int, seed: int) -> None:
    torch.manual_seed(321)
    expect(
        torch.equal(_draw(make(seed), len(rows), batch_size), rows),
        "The same seed gives other batches: make a generator of its own from `seed`.",
    )
    one, other = make(seed), make(seed + 50)
    both = []
    for _ in rows:
        both.append(_draw(one, 1, batch_size)[0])
        other.next()
    expect(
        torch.equal(torch.stack(both), rows),
        "Two objects disturb each other: each needs a generator of its own.",
    )
    expect(
        not torch.equal(_draw(make(seed + 50), len(rows), batch_size), rows),
        "Another seed gives the same batches.",
    )
    later = _draw(make(seed + 1), len(rows), batch_size)
    size = len(rows) // 4  # batches of an epoch
    expect(
        not torch.equal(later[:-size], rows[size:]),
        "With the next seed the epochs are the same, one earlier: draw all orders from "
        "one generator.",
    )


def _check_resume(
    make: Callable, rows: Tensor, done: int, batch_size: int, seed: int
) -> None:
    """Stop after some batches, and go on in a new object of another seed."""
    old = make(seed)
    _draw(old, done, batch_size)
    state = returned(old.state())
    expect(
        isinstance(state, dict),
        f"`state` must return a dictionary; yours returns a {type(state).__name__}.",
    )
    kept = _plain(state)
    expect(
        torch.equal(_draw(old, len(rows) - done, batch_size), rows[done:]),
        "After a call of `state` the batches are others: it must only look.",
    )
    expect(
        _plain(state) == kept,
        "The dictionary changed when the next batches were drawn: copy what is in it.",
    )
    for attempt in ("", " for the second time"):
        new = make(seed + 50)
        new.next()
        new.load(state)
        given = _draw(new, len(rows) - done, batch_size)
        expect(
            _plain(state) == kept,
            "The dictionary changed while the loaded object went on: copy what you "
            "load.",
        )
        if not torch.equal(given, rows[done:]):
            raise Mistake(_resume_hint(given, rows, done, attempt))


def _plain(value: object) -> object:
    """Return a state as plain values, a copy that can be compared."""
    expect(
        not isinstance(value, torch.Generator),
        "The dictionary holds the generator itself, which goes on: take its "
        "`get_state()`.",
    )
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _resume_hint(given: Tensor, rows: Tensor, done: int, attempt: str) -> str:
    """Say where a resumed run parts from the unbroken one, and why perhaps."""
    wrong = (given != rows[done:]).any(dim=1).nonzero()[0].item()
    n_items = int(rows.max()) + 1
    size = n_items // rows.size(1)
    words = (
        f"Loaded{attempt} after {done} batches, batch {wrong} from there on is "
        f"{given[wrong].tolist()}, not {rows[done + wrong].tolist()}. "
    )
    left = -done % size  # batches of the epoch that was cut
    if torch.equal(given[:1], rows[:1]) and done:
        return words + "It begins the run anew."
    if wrong == left:
        return (
            words + "The epoch that was cut is right, the next one is not: the state "
            "of the generator is missing, or the place."
        )
    start = done - done % size
    if torch.equal(given[:1], rows[start : start + 1]):
        return words + "It begins the epoch anew: the place in it is missing."
    return words + "Order, place in it, state of the generator: which is missing?"
