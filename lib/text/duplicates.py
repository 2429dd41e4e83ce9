"""Texts that are nearly the same: find them, and keep them on one side of a split."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence, Set
from itertools import combinations

import torch
from torch import Tensor

from lib.shapes import require_sizes

__all__ = [
    "shingles",
    "jaccard",
    "minhash",
    "candidate_pairs",
    "near_duplicates",
    "group_numbers",
    "split_groups",
    "contaminated",
]

PRIME = 2**31 - 1  # a product of two numbers below it fits into 64 bits


def shingles(text: str, n: int = 3) -> set[str]:
    """Return all runs of n words of a text, in small letters, without punctuation.

    A text of fewer words is one run; a text without words has none.

    Args:
        text: any.
        n: words in a run.

    Source: Broder (1997), section 2.

    Home lesson: 28_data_preparation
    """
    require_sizes(n=n)
    words = re.findall(r"\w+", text.lower())
    last = max(len(words) - n, 0)
    return {" ".join(words[i : i + n]) for i in range(last + 1)} - {""}


def jaccard(a: Set, b: Set) -> float:
    r"""Return the share that two sets have in common, :math:`|A \cap B| / |A \cup B|`.

    Two empty sets have everything in common: 1.

    Home lesson: 28_data_preparation
    """
    return len(a & b) / len(a | b) if a or b else 1.0


def minhash(items: Set[str], n_hashes: int = 128, seed: int = 0) -> Tensor:
    r"""Return the signature of a set: its smallest number under each hash function.

    An item becomes a number x, the same on every machine; function i makes
    :math:`(a_i x + b_i) \bmod (2^{31} - 1)` of it. Two sets agree in a place of their
    signatures with a probability that is their Jaccard similarity.

    Args:
        items: texts.
        n_hashes: length of the signature.
        seed: draws the functions; compare signatures of one seed only.

    Returns:
        Integers ``(n_hashes,)``; those of an empty set are all larger than any other.

    Source: Broder (1997), section 3.

    Home lesson: 28_data_preparation
    """
    require_sizes(n_hashes=n_hashes)
    if not isinstance(items, Set):
        raise TypeError(f"items has type {type(items).__name__}; it must be a set")
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(1, PRIME, (n_hashes, 1), generator=generator)
    b = torch.randint(PRIME, (n_hashes, 1), generator=generator)
    digests = (hashlib.blake2b(item.encode(), digest_size=8).digest() for item in items)
    x = torch.tensor([int.from_bytes(d) % PRIME for d in digests], dtype=torch.long)
    nothing = torch.full((n_hashes, 1), PRIME)
    return torch.cat([(a * x + b) % PRIME, nothing], dim=1).amin(dim=1)


def candidate_pairs(signatures: Tensor, n_bands: int) -> list[tuple[int, int]]:
    r"""Return pairs of texts whose signatures agree in at least one whole band.

    A signature is cut into ``n_bands`` pieces of r numbers. Texts with the same piece
    in the same band meet in one bucket, without a look at all pairs. With similarity s
    that happens with probability :math:`1 - (1 - s^r)^{b}`.

    Args:
        signatures: of N texts, ``(N, n_hashes)``.
        n_bands: b, which divides ``n_hashes``.

    Returns:
        Pairs ``(i, j)`` with i < j, sorted.

    Raises:
        ValueError: if the bands do not divide the signatures.

    Source: Leskovec, Rajaraman and Ullman (2014), section 3.4.

    Home lesson: 28_data_preparation
    """
    require_sizes(n_bands=n_bands)
    if signatures.dim() != 2 or signatures.size(1) % n_bands:
        raise ValueError(
            f"n_bands={n_bands} must divide the width of signatures (N, n_hashes), "
            f"here {tuple(signatures.shape)}"
        )
    buckets = defaultdict(list)
    for number, signature in enumerate(signatures):
        for band, piece in enumerate(signature.view(n_bands, -1).tolist()):
            buckets[band, *piece].append(number)
    pairs = {pair for bucket in buckets.values() for pair in combinations(bucket, 2)}
    return sorted(pairs)


def near_duplicates(
    texts: Sequence[str],
    threshold: float = 0.5,
    n: int = 3,
    n_hashes: int = 128,
    n_bands: int = 32,
    seed: int = 0,
) -> list[tuple[int, int]]:
    """Return the pairs of texts whose runs of words are alike.

    MinHash proposes pairs; of each the exact similarity decides.

    Args:
        texts: any.
        threshold: the smallest Jaccard similarity of a pair.
        n: words in a run.
        n_hashes: numbers in a signature.
        n_bands: pieces of a signature; more find pairs that are less alike.
        seed: draws the hash functions.

    Returns:
        Pairs ``(i, j)`` with i < j, sorted.

    Raises:
        ValueError: for a threshold that is not in (0, 1], or sizes that do not fit.

    Source: Lee et al. (2022), section 4.2.

    Home lesson: 28_data_preparation
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} must be in (0, 1]")
    sets = [shingles(text, n) for text in texts]
    if not sets:
        return []
    signatures = torch.stack([minhash(items, n_hashes, seed) for items in sets])
    pairs = candidate_pairs(signatures, n_bands)
    return [(i, j) for i, j in pairs if jaccard(sets[i], sets[j]) >= threshold]


def group_numbers(n_texts: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return a group for each text, the same for all that pairs connect.

    Args:
        n_texts: how many texts there are.
        pairs: numbers of texts that belong together.

    Returns:
        For each text the smallest number in its group.

    Raises:
        ValueError: for a pair with a number that no text has.

    Home lesson: 28_data_preparation
    """
    group = list(range(n_texts))
    for pair in pairs:
        if not all(0 <= i < n_texts for i in pair):
            raise ValueError(f"pair {pair} must hold numbers in 0 .. {n_texts - 1}")
        low, high = sorted(group[i] for i in pair)
        group = [low if g == high else g for g in group]
    return group


def split_groups(
    groups: Sequence[Hashable], test_share: float = 0.2, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Return which texts are to learn from and which to test with.

    All texts of one group go to the same side. Groups are drawn for the test until it
    has its share of the texts, so it may get a little more.

    Args:
        groups: the group of each text.
        test_share: share of the texts, inside (0, 1).
        seed: draws the groups.

    Returns:
        The numbers of the texts on either side, sorted.

    Raises:
        ValueError: for a share out of its range, or if nothing is left to learn from.

    Home lesson: 28_data_preparation
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share={test_share} must be inside (0, 1)")
    order = sorted({*groups}, key=str)
    random.Random(seed).shuffle(order)
    sizes, chosen, n_chosen = Counter(groups), set(), 0
    for group in order:
        if n_chosen < test_share * len(groups):
            chosen.add(group)
            n_chosen += sizes[group]
    sides = [
        [i for i, g in enumerate(groups) if (g in chosen) == side]
        for side in (False, True)
    ]
    if not all(sides):
        raise ValueError(
            f"{len(groups)} texts in {len(order)} groups cannot be split: each side "
            "needs a group"
        )
    return sides[0], sides[1]


def contaminated(
    questions: Sequence[str], training: Sequence[str], n: int = 8
) -> list[int]:
    """Return the numbers of questions of which n words in a row stand in the training.

    A shorter question counts if all of its words do, in a row.

    Args:
        questions: of a test.
        training: texts that a model has learnt from.
        n: words in a row.

    Source: Brown et al. (2020), appendix C, with runs of 8 to 13 words.

    Home lesson: 28_data_preparation
    """
    require_sizes(n=n)
    asked = [shingles(question, n) for question in questions]
    widths = {len(run.split()) for runs in asked for run in runs}
    known = {width: set() for width in widths}
    for text in training:
        for width, runs in known.items():
            runs |= shingles(text, width)
    return [
        number
        for number, runs in enumerate(asked)
        if any(run in known[len(run.split())] for run in runs)
    ]
