"""Room 4 of the bug museum: from logits to text, and text in numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from lib.checks import Mistake, expect, python_number, rounded, tensor
from lib.checks.museum.exhibit import Exhibit, Mutant, near, noise

__all__ = ["EXHIBITS"]


def keep_top_p(probabilities, p):
    """Keep the fewest tokens that together have p or more: (V,) to (V,), of sum 1."""
    ordered, places = probabilities.sort(descending=True)
    kept = ordered.cumsum(dim=0) <= p
    kept[0] = True
    result = torch.zeros_like(probabilities)
    result[places[kept]] = ordered[kept]
    return result / result.sum()


def check_keep_top_p(answer):
    """Takes a function of probabilities and p."""
    probabilities = torch.tensor([0.125, 0.5, 0.0625, 0.25, 0.0625])
    for p, wanted in ((0.6, [1, 3]), (0.75, [1, 3]), (0.3, [1]), (0.8, [0, 1, 3])):
        given = tensor(answer(probabilities.clone(), p), (5,))
        kept = given.nonzero().flatten().tolist()
        has = probabilities[kept].sum().item()
        expect(
            kept == wanted,
            f"Of {rounded(probabilities)} with {p=} tokens {kept} are kept, which have "
            f"{has:g} together; the fewest that reach {p} are {wanted}.",
        )
        expect(abs(given.sum().item() - 1) < 1e-5, "What is kept must sum to 1.")
        right = probabilities[wanted] / probabilities[wanted].sum()
        expect(near(given[wanted], right), "The kept tokens changed their shares.")
    return "The fewest that reach p."


def keep_top_k(logits, k):
    """Return (B, V) with all but the k highest scores of each row at minus infinity."""
    least = logits.topk(k, dim=-1).values[:, -1:]
    logits.masked_fill(logits < least, float("-inf"))
    return logits


def check_keep_top_k(answer):
    """Takes a function of logits and k."""
    logits = noise(3, 6)
    for k in (1, 2, 4, 6):
        before = logits.clone()
        given = tensor(answer(before, k), (3, 6))
        left = given.isfinite().sum(dim=-1).tolist()
        expect(left == [k] * 3, f"With {k=} {left} tokens of 6 can still be drawn.")
        best = logits.topk(k, dim=-1).indices
        kept = near(given.gather(1, best), logits.gather(1, best))
        expect(kept, "The highest scores are not left as they were.")
        expect(
            before.equal(logits),
            "The scores that were given are changed: who draws from them again, with "
            "another k, finds them cut.",
        )
    return "As many tokens as k says."


def penalise(logits, seen, penalty):
    """Make tokens that were there before less likely; logits (V,), seen: ids."""
    logits = logits.clone()
    for token in set(seen):
        logits[token] /= penalty
    return logits


def check_penalise(answer):
    """Takes a function of logits, seen and penalty."""
    logits = torch.tensor([2.0, -1.0, 0.5, -3.0])
    for seen in ([0], [1], [1, 3], [0, 0, 0], [3, 3]):
        given = tensor(answer(logits.clone(), [*seen], 1.5), (4,))
        for token in range(4):
            before, after = logits[token].item(), given[token].item()
            if token not in seen:
                expect(after == before, "A token that was not there changed.")
                continue
            expect(
                after < before,
                f"Token {token} was there before; its score went from {before:g} to "
                f"{after:.2f}, so it became more likely.",
            )
        once = answer(logits.clone(), [*set(seen)], 1.5)
        expect(near(given, once), "A token that came often is punished more.")
    same = answer(logits.clone(), [0, 1], 1.0)
    expect(near(same, logits), "A penalty of 1 must change nothing.")
    return "Whatever its sign, a score falls."


def bits_per_byte(losses, text):
    """Bits that a model needs for each byte of a text; losses: nats of its tokens."""
    return losses.sum().item() / math.log(2) / len(text)


def check_bits_per_byte(answer):
    """Takes a function of losses and text."""
    for text, n_bytes in (("to be", 5), ("déjà", 6), ("日本", 6), ("🙂", 4)):
        for n_tokens in (2, 5):
            losses = torch.full((n_tokens,), math.log(2) * n_bytes / n_tokens)
            given = python_number(answer(losses, text))
            expect(
                abs(given - 1) < 1e-4,
                f"A model that needs {n_bytes} bits for {text!r}, a file of {n_bytes} "
                f"bytes, gets {given:.2f} bits per byte.",
            )
    return "The same for every alphabet and every tokenizer."


def show(pieces):
    """Yield the text of a stream of bytes, as soon as it can be shown."""
    for piece in pieces:
        yield piece.decode("utf-8", errors="replace")


def check_show(answer):
    """Takes a function of pieces, which yields texts."""
    cases = [(b"to ", b"be"), (b"d\xc3", b"\xa9j\xc3\xa0")]
    for pieces in (*cases, (b"\xf0\x9f", b"\x99", b"\x82!")):
        text, taken = b"".join(pieces).decode("utf-8"), []

        def given() -> Iterator[bytes]:
            for piece in pieces:
                taken.append(piece)
                yield piece

        said = answer(given())
        if not isinstance(said, Iterator):
            raise Mistake("The text must come piece by piece: `yield` it.")
        first = next((words for words in said if words), "")
        if pieces == cases[0]:
            expect(len(taken) == 1, "Nothing is shown before the last piece has come.")
        shown = first + "".join(said)
        words = f"{text!r} in {len(pieces)} pieces is shown as {shown!r}."
        expect(shown == text, words)
    return "Whole characters, as soon as they are whole."


EXHIBITS = [
    Exhibit(
        "top-p",
        keep_top_p,
        check_keep_top_p,
        (("ordered.cumsum(dim=0) <= p", "ordered.cumsum(dim=0) - ordered < p"),),
        Mutant(
            "generate/sampling.py",
            "drop = rest <= 1 - p",
            "drop = rest - probabilities < 1 - p",
        ),
        "test_sampling.py::test_top_p_keeps_the_smallest_set_that_reaches_p",
    ),
    Exhibit(
        "top-k",
        keep_top_k,
        check_keep_top_k,
        (
            (
                '    logits.masked_fill(logits < least, float("-inf"))\n'
                "    return logits",
                '    return logits.masked_fill(logits < least, float("-inf"))',
            ),
        ),
        Mutant(
            "generate/sampling.py",
            "return logits.scatter(1, order[:, k:], -math.inf)",
            "logits.scatter(1, order[:, k:], -math.inf)\n    return logits",
        ),
        "test_sampling.py::test_top_k_keeps_the_k_highest_and_of_equal_ones_the_first",
    ),
    Exhibit(
        "repetition",
        penalise,
        check_penalise,
        (
            (
                "logits[token] /= penalty",
                "logits[token] *= 1 / penalty if logits[token] > 0 else penalty",
            ),
        ),
        Mutant(
            "generate/sampling.py",
            "seen = torch.where(seen > 0, seen / penalty, seen * penalty)",
            "seen = seen / penalty",
        ),
        "test_sampling.py::test_the_penalty_makes_what_was_there_less_likely",
    ),
    Exhibit(
        "bits-per-byte",
        bits_per_byte,
        check_bits_per_byte,
        (("len(text)", 'len(text.encode("utf-8"))'),),
        Mutant("evaluate/perplexity.py", 'len(text.encode("utf-8"))', "len(text)"),
        "test_evaluation.py::test_bytes_are_those_of_utf8",
    ),
    Exhibit(
        "diamonds",
        show,
        check_show,
        (
            (
                "    for piece in pieces:\n"
                '        yield piece.decode("utf-8", errors="replace")',
                "    import codecs\n\n"
                '    make = codecs.getincrementaldecoder("utf-8")\n'
                '    decoder = make(errors="replace")\n'
                "    for piece in pieces:\n"
                "        yield decoder.decode(piece)",
            ),
        ),
        Mutant(
            "generate/__init__.py",
            'sure = len(text.rstrip("\\ufffd"))',
            "sure = len(text)",
        ),
        "test_generate.py::test_no_half_character_of_a_byte_tokenizer_is_shown",
    ),
]
