"""Wrong answers to the exercises of lesson 12, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_12.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import math
import os
import shutil
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import torch


# Exercise 1


def looked_up(one, other):
    for a, b in zip(one, other):
        if a != b:
            return one.index(a)  # where the number stands first
    return None


def nearly(one, other):
    for i, (a, b) in enumerate(zip(one, other)):
        if not math.isclose(a, b, rel_tol=1e-9):
            return i
    return None


def counted_from_1(one, other):
    for i, (a, b) in enumerate(zip(one, other), start=1):
        if a != b:
            return i
    return None


def last_one(one, other):
    parted = [i for i, (a, b) in enumerate(zip(one, other)) if a != b]
    return parted[-1] if parted else None


def how_many(one, other):
    return sum(a != b for a, b in zip(one, other)) or None


def minus_one(one, other):
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), -1)


def to_the_longer(one, other):
    for i in range(max(len(one), len(other))):
        if one[i : i + 1] != other[i : i + 1]:
            return i
    return None


def falsy(one, other):
    parted = [i for i, (a, b) in enumerate(zip(one, other)) if a != b]
    return (parted[0] if parted else None) or None


def emptied(one, other):
    i = 0
    while one and other:
        if one.pop(0) != other.pop(0):
            return i
        i += 1
    return None


def the_loss(one, other):
    return next((float(a) for a, b in zip(one, other) if a != b), None)


def same_object(one, other):
    pairs = enumerate(zip(one, other))
    return next((i for i, (a, b) in pairs if a is not b), None)


def not_among(one, other):
    n = min(len(one), len(other))
    return next((i for i in range(n) if one[i] not in other[:n]), None)


def only_the_ends(one, other):
    n = min(len(one), len(other))
    return n - 1 if n and one[n - 1] != other[n - 1] else None


# Exercise 2


def comparing(
    middle=statistics.mean, spread=lambda a: max(a) - min(a), pick=max, sign=1
):
    """A comparison with one mistake in it."""

    def compare(ours, theirs):
        difference = sign * (middle(theirs) - middle(ours))
        return difference, pick(spread(ours), spread(theirs))

    return compare


def pooled(ours, theirs):
    both = ours + theirs
    return comparing()(ours, theirs)[0], max(both) - min(both)


def never_negative(ours, theirs):
    difference, spread = comparing()(ours, theirs)
    return abs(difference), spread


def of_one_length(ours, theirs):
    difference = (sum(theirs) - sum(ours)) / len(ours)
    return difference, comparing()(ours, theirs)[1]


def sorts(ours, theirs):
    ours.sort()
    theirs.sort()
    spread = max(ours[-1] - ours[0], theirs[-1] - theirs[0])
    return comparing()(ours, theirs)[0], spread


def verdict(ours, theirs):
    difference, spread = comparing()(ours, theirs)
    return difference > spread


def deviation(losses):
    return statistics.stdev(losses) if len(losses) > 1 else 0.0


# Exercise 3


def draft_of(path):
    return path.with_name(f"{path.name}.tmp")


def in_place(path, write):
    write(path)


def left_behind(path, write):
    write(draft_of(path))
    draft_of(path).replace(path)


def silent(path, write):
    try:
        write(draft_of(path))
        draft_of(path).replace(path)
    except BaseException:
        draft_of(path).unlink(missing_ok=True)


def errors_only(path, write):
    try:
        write(draft_of(path))
    except Exception:
        draft_of(path).unlink(missing_ok=True)
        raise
    draft_of(path).replace(path)


def copied(path, write):
    try:
        write(draft_of(path))
        shutil.copy(draft_of(path), path)
    finally:
        draft_of(path).unlink(missing_ok=True)


def elsewhere(path, write):
    with TemporaryDirectory() as folder:
        write(Path(folder, "draft"))
        shutil.move(Path(folder, "draft"), path)


def removed_first(path, write):
    try:
        write(draft_of(path))
        path.unlink(missing_ok=True)
        draft_of(path).rename(path)
    finally:
        draft_of(path).unlink(missing_ok=True)


def moved_away(path, write):
    old = path.with_name("old")
    if path.exists():
        path.rename(old)
    try:
        write(draft_of(path))
        draft_of(path).rename(path)
        old.unlink(missing_ok=True)
    finally:
        draft_of(path).unlink(missing_ok=True)
        if old.exists():
            old.rename(path)


def moves_half(path, write):
    try:
        write(draft_of(path))
    finally:
        if draft_of(path).exists():
            draft_of(path).replace(path)


def keeps_a_backup(path, write):
    try:
        write(draft_of(path))
        if path.exists():
            shutil.copy(path, path.with_name("backup"))
        os.replace(draft_of(path), path)
    finally:
        draft_of(path).unlink(missing_ok=True)


def never_moved(path, write):
    try:
        write(draft_of(path))
    finally:
        draft_of(path).unlink(missing_ok=True)


def tried_first(path, write):
    try:
        write(draft_of(path))
        write(draft_of(path))
        draft_of(path).replace(path)
    finally:
        draft_of(path).unlink(missing_ok=True)


# Exercise 4


class Right:
    """A right answer, from which the wrong ones differ in one method."""

    def __init__(self, n_items, batch_size, seed):
        self.n, self.size = n_items, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self.order, self.place = torch.arange(0), 0

    def draw(self):
        return torch.randperm(self.n, generator=self.generator)

    def next(self):
        if self.place >= len(self.order):
            self.order, self.place = self.draw(), 0
        self.place += self.size
        return self.order[self.place - self.size : self.place].clone()

    def state(self):
        return {
            "order": self.order.clone(),
            "place": self.place,
            "generator": self.generator.get_state(),
        }

    def load(self, state):
        self.order, self.place = state["order"].clone(), state["place"]
        self.generator.set_state(state["generator"])


class NoPlace(Right):
    def load(self, state):
        super().load(state)
        self.place = 0


class NoGenerator(Right):
    def load(self, state):
        self.order, self.place = state["order"].clone(), state["place"]


class NoOrder(Right):
    def load(self, state):
        self.generator.set_state(state["generator"])
        self.order, self.place = self.draw(), state["place"]


class Anew(Right):
    def __init__(self, n_items, batch_size, seed):
        super().__init__(n_items, batch_size, seed)
        self.first = self.generator.get_state()

    def state(self):
        return super().state() | {"generator": self.first}

    def load(self, state):
        self.generator.set_state(state["generator"])
        self.order, self.place = torch.arange(0), 0


class Shared(Right):
    def next(self):
        if self.place >= len(self.order):
            if len(self.order):
                self.order.copy_(self.draw())
            else:
                self.order = self.draw()
            self.place = 0
        self.place += self.size
        return self.order[self.place - self.size : self.place].clone()

    def state(self):
        return super().state() | {"order": self.order}


class SharedAfterLoad(Shared):
    def state(self):
        return Right.state(self)

    def load(self, state):
        super().load(state)
        self.order = state["order"]


class HoldsGenerator(Right):
    def state(self):
        return super().state() | {"generator": self.generator}


class DrawsInState(Right):
    def state(self):
        self.order, self.place = self.draw(), 0
        return super().state()


class GlobalNumbers(Right):
    def draw(self):
        return torch.randperm(self.n)

    def state(self):
        return super().state() | {"generator": torch.get_rng_state()}

    def load(self, state):
        super().load(state)
        torch.set_rng_state(state["generator"])


class SameOrder(Right):
    def next(self):
        if not len(self.order):
            self.order = self.draw()
        self.place = self.place % self.n + self.size
        return self.order[self.place - self.size : self.place].clone()


class Sorted(Right):
    def draw(self):
        return torch.arange(self.n)


class FirstSorted(Right):
    def __init__(self, n_items, batch_size, seed):
        super().__init__(n_items, batch_size, seed)
        self.order = torch.arange(n_items)


class SeedPlusEpoch(Right):
    def __init__(self, n_items, batch_size, seed):
        super().__init__(n_items, batch_size, seed)
        self.seed = seed

    def draw(self):
        self.generator.manual_seed(self.seed)
        self.seed += 1
        return super().draw()

    def state(self):
        return super().state() | {"seed": self.seed}

    def load(self, state):
        super().load(state)
        self.seed = state["seed"]


class WithReplacement(Right):
    def next(self):
        return torch.randint(self.n, (self.size,), generator=self.generator)


class Lists(Right):
    def next(self):
        return super().next().tolist()


class EmptiesTheState(Right):
    def load(self, state):
        self.order, self.place = state.pop("order"), state.pop("place")
        self.generator.set_state(state.pop("generator"))


class NoState(Right):
    def state(self):
        super().state()


def removes_what_is_not_there(path, write):
    half = path.with_name(path.name + ".tmp")
    try:
        write(half)
    except BaseException:
        half.unlink()
        raise
    half.replace(path)


def to_13_digits(one, other):
    pairs = enumerate(zip(one, other))
    return next((i for i, (a, b) in pairs if abs(a - b) > 1e-13), None)


def spread_of_the_worse(ours, theirs):
    difference = sum(theirs) / len(theirs) - sum(ours) / len(ours)
    worse = ours if difference < 0 else theirs
    return difference, max(worse) - min(worse)


def clears_the_folder(path, write):
    draft = path.with_name("draft.tmp")
    try:
        write(draft)
        draft.replace(path)
    finally:
        for file in path.parent.glob("*.tmp"):
            file.unlink()


WRONG = {
    "check_first_difference": [
        (nearly, "exactly equal"),
        (to_13_digits, "exactly equal"),
        (looked_up, "not 0"),
        (counted_from_1, "Count from 0"),
        (last_one, "not the first"),
        (how_many, "how many differ"),
        (minus_one, "return None"),
        (to_the_longer, "only as far as it goes"),
        (falsy, "Index 0 counts"),
        (emptied, "You changed a list"),
        (the_loss, "Return an index"),
        (only_the_ends, "Look at every step"),
        (same_object, "Go through both lists together"),
        (not_among, "Index 0 counts, too"),
    ],
    "check_compare": [
        (comparing(sign=-1), "Turn it"),
        (never_negative, "negative where `ours` is higher"),
        (comparing(middle=min), "best runs"),
        (comparing(middle=sum), "Divide each sum"),
        (comparing(middle=statistics.median), "medians"),
        (of_one_length, "its own length"),
        (pooled, "pooled"),
        (spread_of_the_worse, "larger of the two"),
        (comparing(pick=min), "larger of the two"),
        (comparing(pick=lambda a, b: a + b), "not their sum"),
        (comparing(pick=lambda a, b: b), "larger of the two"),
        (comparing(spread=deviation), "standard deviation"),
        (sorts, "You changed a list"),
        (verdict, "Return a pair"),
        (lambda ours, theirs: None, "is a `return` missing"),
    ],
    "check_replace_file": [
        (in_place, "the file itself"),
        (removes_what_is_not_there, "always a draft to remove"),
        (left_behind, "nothing else may stay"),
        (silent, "the caller heard nothing"),
        (clears_the_folder, "another file of the folder"),
        (errors_only, "nothing else may stay"),
        (copied, "Move it with `replace`"),
        (elsewhere, "another folder"),
        (removed_first, "before the move"),
        (moved_away, "the old one must be there"),
        (moves_half, "`path` must hold"),
        (keeps_a_backup, "nothing else may stay"),
        (never_moved, "`path` must hold"),
        (tried_first, "called 2 times"),
        (lambda path, write: None, "was not called"),
    ],
    "check_ShuffledBatches": [
        (NoPlace, "begins the epoch anew"),
        (NoGenerator, "state of the generator is missing"),
        (NoOrder, "which is missing"),
        (Anew, "begins the run anew"),
        (Shared, "copy what is in it"),
        (SharedAfterLoad, "copy what you load"),
        (HoldsGenerator, "get_state()"),
        (DrawsInState, "it must only look"),
        (GlobalNumbers, "generator of its own"),
        (SameOrder, "the same order"),
        (FirstSorted, "not random"),
        (SeedPlusEpoch, "the epochs are the same, one earlier"),
        (Sorted, "not random"),
        (WithReplacement, "each of the 12 items once"),
        (Lists, "must be a tensor"),
        (EmptiesTheState, "The dictionary changed"),
        (NoState, "is a `return` missing"),
    ],
}
