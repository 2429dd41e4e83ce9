"""Room 1 of the bug museum: masks and caches, or who may look at what."""

from __future__ import annotations

import math

import torch

from lib.checks import expect, tensor
from lib.checks.museum.exhibit import Exhibit, Mutant, near, noise

__all__ = ["EXHIBITS"]


def causal_weights(scores):
    """Scores (T, T) to weights: each position looks at itself and at the past."""
    length = scores.size(-1)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.softmax(dim=-1)
    return weights.masked_fill(future, 0.0)


def check_causal_weights(answer):
    """Takes a function of scores."""
    scores = noise(5, 5)
    given = tensor(answer(scores.clone()), (5, 5))
    expect(not given.triu(1).any(), "Some position gives a weight to a later one.")
    sums = [round(total, 3) for total in given.sum(dim=-1).tolist()]
    expect(near(given.sum(dim=-1), torch.ones(5)), f"The rows sum to {sums}.")
    for rise in (1.0, 300.0):
        later = scores + rise * torch.ones(5, 5).triu(1)
        expect(
            near(answer(later), given),
            f"Only scores of later positions rose, by {rise:g}, and the weights of "
            "earlier ones changed.",
        )
    last = scores[4].softmax(dim=-1)
    expect(near(given[4], last), "The last row sees all; it must be a softmax.")
    return "No score of the future has any say."


def cached_attention(q, k, v):
    """q (T_q, D) of new tokens; keys and values (T_k, D) of all, the new ones last."""
    n_queries, n_keys = len(q), len(k)
    scores = q @ k.T / math.sqrt(q.size(-1))
    seen = torch.ones(n_queries, n_keys, dtype=torch.bool).tril()
    scores = scores.masked_fill(~seen, float("-inf"))
    return scores.softmax(dim=-1) @ v


def check_cached_attention(answer):
    """Takes a function of q, k and v."""
    q, k, v = (noise(6, 4, seed=seed) for seed in range(3))
    mask = torch.ones(6, 6, dtype=torch.bool).triu(1)
    scores = (q @ k.T / 2).masked_fill(mask, -math.inf)
    right = scores.softmax(dim=-1) @ v
    for n_queries in (6, 1, 3):
        given = tensor(answer(q[-n_queries:], k, v), (n_queries, 4))
        expect(
            near(given, right[-n_queries:]),
            f"With {n_queries} new of 6 tokens the output is not that of reading all 6 "
            "at once, one looking at itself and at the past.",
        )
    return "With a cache as without."


def start_batch(prompts, pad_id):
    """Fill prompts up at their left; return ids, mask and positions, all (B, T)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (width - len(p)) + p for p in prompts])
    mask = ids != pad_id
    positions = torch.arange(width).expand(len(prompts), -1)
    return ids, mask, positions


def check_start_batch(answer):
    """Takes a function of prompts and pad_id."""
    prompts = [[5, 6, 7, 8], [5, 6], [9]]
    returned = answer([[*prompt] for prompt in prompts], 0)
    expect(isinstance(returned, tuple) and len(returned) == 3, "Return three tensors.")
    ids, mask, positions = (tensor(each, (3, 4)) for each in returned)
    for row, prompt in enumerate(prompts):
        own = ids[row][mask[row]].tolist()
        expect(own == prompt, f"The prompt {prompt} is {own} where the mask is True.")
        expect(ids[row, -1] == prompt[-1], "A prompt no longer ends its row.")
        places = positions[row][mask[row]].tolist()
        wanted = [*range(len(prompt))]
        expect(
            places == wanted,
            f"Alone {prompt} stands at {wanted}; in this batch it stands at {places}.",
        )
    low, high = positions.min().item(), positions.max().item()
    expect(
        0 <= low and high < 4,
        f"Positions from {low} to {high}: a table of 4 rows has none for some of them.",
    )
    return "A prompt stands where it would stand alone."


def window_mask(length, window):
    """True where i may look at j: at `window` positions, itself and those before it."""
    places = torch.arange(length)
    distance = places[:, None] - places[None, :]
    return (distance >= 0) & (distance <= window)


def check_window_mask(answer):
    """Takes a function of length and window."""
    for length, window in ((6, 3), (5, 1), (4, 9)):
        given = tensor(answer(length, window), (length, length))
        expect(given.dtype == torch.bool, "The mask must be bool.")
        expect(not given.triu(1).any(), "A position looks at a later one.")
        counts = given.sum(dim=-1).tolist()
        wanted = [min(i + 1, window) for i in range(length)]
        expect(
            counts == wanted and bool(given.diagonal().all()),
            f"With {length=} and {window=} the positions look at {counts} positions; "
            f"they should look at {wanted}, each at itself and the nearest before it.",
        )
        expect(given.equal(given.tril().triu(1 - window)), "They are not the nearest.")
    return "As many as the window has, and no more."


def packed_mask(documents):
    """documents (T,): which text each token is of. (T, T), True: i may look at j."""
    length = len(documents)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = documents[:, None] >= documents[None, :]
    return causal & same


def check_packed_mask(answer):
    """Takes a function of documents."""
    for numbers in ([0, 0, 1, 1, 1], [4, 4, 2, 7, 7], [3], [1, 1, 1]):
        length = len(numbers)
        given = tensor(answer(torch.tensor(numbers)), (length, length))
        for i in range(length):
            for j in range(length):
                seen, right = bool(given[i, j]), j <= i and numbers[i] == numbers[j]
                expect(
                    seen == right,
                    f"In documents {numbers} position {i} "
                    f"{'looks' if seen else 'does not look'} at position {j}.",
                )
    return "Each text reads itself only."


EXHIBITS = [
    Exhibit(
        "causal-weights",
        causal_weights,
        check_causal_weights,
        (
            (
                "    weights = scores.softmax(dim=-1)\n"
                "    return weights.masked_fill(future, 0.0)",
                '    scores = scores.masked_fill(future, float("-inf"))\n'
                "    return scores.softmax(dim=-1)",
            ),
        ),
        Mutant(
            "attention.py",
            "weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)",
            "weights = scores.softmax(dim=-1)",
        ),
        "test_attention.py::test_the_future_changes_nothing",
    ),
    Exhibit(
        "cached-attention",
        cached_attention,
        check_cached_attention,
        ((".tril()", ".tril(n_keys - n_queries)"),),
        Mutant(
            "attention.py",
            "mask = causal_mask(n_keys)[n_keys - n_queries :].to(q.device)",
            "mask = causal_mask(n_keys)[:n_queries].to(q.device)",
        ),
        "test_gpt.py::test_with_a_cache_it_is_the_same_in_chunks",
    ),
    Exhibit(
        "short-prompts",
        start_batch,
        check_start_batch,
        (
            (
                "torch.arange(width).expand(len(prompts), -1)",
                "(mask.cumsum(dim=1) - 1).clamp(min=0)",
            ),
        ),
        Mutant(
            "generate/rollouts.py",
            "own = places[:, -new.size(1) :].clamp(min=0)",
            "own = (places + filled)[:, -new.size(1) :]",
        ),
        "test_rl.py::test_all_prompts_at_once_are_answered_as_one_by_one",
    ),
    Exhibit(
        "window",
        window_mask,
        check_window_mask,
        (("distance <= window", "distance < window"),),
        Mutant(
            "attention.py",
            "return causal_mask(length).triu(1 - window)",
            "return causal_mask(length).triu(-window)",
        ),
        "test_long_context.py::test_a_window_is_itself_and_the_few_before",
    ),
    Exhibit(
        "packed-rows",
        packed_mask,
        check_packed_mask,
        ((">=", "=="),),
        Mutant(
            "attention.py",
            "(documents[:, :, None] == documents[:, None, :])",
            "(documents[:, :, None] >= documents[:, None, :])",
        ),
        "test_data_preparation.py::test_a_document_sees_nothing_of_another_one",
    ),
]
