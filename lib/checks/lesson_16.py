"""The checks of the exercises in lesson 16, translation."""

from __future__ import annotations

import math
from collections import Counter
from numbers import Integral
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from lib.checks import (
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    python_number,
    returned,
    rounded,
    tensor,
)

__all__ = [
    "check_lowest_loss",
    "check_run_matches",
    "check_log_probability",
    "check_forbidden",
]


LOSSES = (  # smoothing, vocab_size
    *((0.3, 4), (0.1, 157), (0.5, 2), (0.9, 3), (1e-3, 1_000)),
    *((0.1, 20_000), (1.0, 10), (0.0, 50)),
)
NOTHING = "0 times ln 0 counts as 0: what never happens adds nothing."


@exercise
def check_lowest_loss(lowest_loss) -> str:
    """Takes a function of smoothing, vocab_size."""
    for smoothing, vocab_size in LOSSES:
        right = _lowest(smoothing, vocab_size)
        try:
            given = python_number(lowest_loss(smoothing, vocab_size))
        except (ValueError, ZeroDivisionError) as error:
            expect(smoothing > 0, f"With smoothing=0: {error}. {NOTHING}")
            raise
        hint = hint_for(
            given,
            _lowest_mistakes(smoothing, vocab_size),
            "Which probabilities does the smoothed target have?",
        )
        if smoothing == 0 and not math.isfinite(given):
            hint = NOTHING
        expect(
            math.isclose(given, right, rel_tol=1e-5, abs_tol=1e-8),
            f"With smoothing={smoothing} and {vocab_size} words the lowest loss is "
            f"{right:.4f} nats, you return {given:.4f}. {hint}",
        )
    return "A smoothed loss never comes to 0; compare it with its floor."


def _lowest(smoothing: float, vocab_size: int) -> float:
    share = smoothing / vocab_size
    parts = [1 - smoothing + share] + [share] * (vocab_size - 1)
    return -sum(p * math.log(p) for p in parts if p > 0)


def _lowest_mistakes(smoothing: float, vocab_size: int) -> dict[float, str]:
    share, top = smoothing / vocab_size, 1 - smoothing + smoothing / vocab_size
    if not share:
        return {}
    others = -(vocab_size - 1) * share * math.log(share)
    apart = smoothing / (vocab_size - 1)
    apart = (
        -smoothing * math.log(apart) - (1 - smoothing) * math.log(1 - smoothing)
        if smoothing < 1
        else math.inf
    )
    return {
        math.log(vocab_size): "That is the loss of a model that knows nothing.",
        -math.log(top): "That is the part of the right word, without its weight. The "
        "other words count, too.",
        -top * math.log(top): "The other words are part of the loss, too.",
        others: "The right word is part of the loss, too.",
        _lowest(smoothing, vocab_size) - share * math.log(share): "The right word is "
        "not one of the others: they are V - 1.",
        apart: "The right word also gets its share of what is spread: epsilon / V "
        "for each of V words.",
        _lowest(smoothing, vocab_size) / math.log(2): "That is in bits; take the "
        "natural logarithm.",
        -_lowest(smoothing, vocab_size): "A loss is a surprise: minus the logarithm.",
    }


CASES = (  # candidate, references, n
    ("the the the the the cat is", ("the cat sat", "the the is", "a cat"), 1),
    ("the the the the the cat is", ("the cat is here", "a cat is on the the mat"), 2),
    ("le chat noir", ("le chat noir", "le chat noir"), 2),
    ("elle la voit ici", ("elle ne la voit pas", "il la voit ici"), 3),
    ("oui", ("oui oui",), 2),
    ("le", ("le chat noir",), 4),
    ("le chat", ("le chaton",), 2),
    ("a a a", ("a a a",), 2),
    ("Le chat", ("le chat",), 1),
    ("le chat le chat le chien", ("le chat le chien", "le chat dort le chat"), 5),
    ("a b c d e f g", ("a b c d e f h", "x b c d e f g"), 6),
    ("a bc d", ("ab c d", "x y"), 2),
    ("le roi voit la reine", ("le", "roi la", "la reine dort"), 2),
    ("", ("le chat",), 1),
    ("le chat", (), 1),
)


@exercise
def check_run_matches(run_matches) -> str:
    """Takes a function of candidate, references, n."""
    for candidate, kept, n in CASES:
        references = list(kept)
        given = returned(run_matches(candidate, references, n))
        expect(references == list(kept), "You changed the list of references.")
        expect(
            isinstance(given, tuple | list)
            and len(given) == 2
            and all(isinstance(one, Integral) for one in given),
            "Return two integers: matches, and runs of the candidate.",
        )
        right = _run_matches(candidate, references, n)
        given = tuple(map(int, given))
        hints = _run_mistakes(candidate, references, n)
        hint = next((words for words, wrong in hints if wrong == given), "")
        expect(
            given == right,
            f"{candidate!r} against {references} with n={n}: {right[0]} of {right[1]} "
            f"runs match, you return {given[0]} of {given[1]}. "
            + (hint or "Count the runs of each text."),
        )
    return "More references can only help a translation."


def _runs(text: str, n: int) -> Counter:
    words = text.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _run_matches(candidate: str, references: list[str], n: int) -> tuple[int, int]:
    runs, wanted = _runs(candidate, n), Counter()
    for reference in references:
        wanted |= _runs(reference, n)
    return (runs & wanted).total(), runs.total()


def _in_text(runs: Counter, references: list[str]) -> int:
    """Return the matches that a search in the text finds."""
    texts = {run: " ".join(run) for run in runs}
    most = {run: max([0, *(r.count(texts[run]) for r in references)]) for run in runs}
    return sum(min(count, most[run]) for run, count in runs.items())


def _run_mistakes(
    candidate: str, references: list[str], n: int
) -> list[tuple[str, tuple[int, int]]]:
    """Return known mistakes with what they give."""
    runs = _runs(candidate, n)
    each = [_runs(reference, n) for reference in references] or [Counter()]
    added = sum(each, Counter())
    found, total = _run_matches(candidate, references, n)
    n_words = len(candidate.split())
    lower = [text.lower() for text in references]
    matched = [
        (words, (count, total)) for words, count in _match_mistakes(runs, each)
    ]
    return [
        *matched,
        ("A run that comes twice counts twice.", (
            len(runs.keys() & added.keys()), len(runs),
        )),
        ("The second number counts runs of n words, not words.", (found, n_words)),
        ("Use the n that is passed in, also above 4.", _run_matches(
            candidate, references, min(n, 4)
        )),
        ("Upper and lower case differ: compare the words as they are.", _run_matches(
            candidate.lower(), lower, n
        )),
        ("Without references nothing matches, but the runs still count.", (0, 0)),
        ("A text of fewer than n words has no runs.", (found, n_words - n + 1)),
        ("Compare whole words, and runs that overlap; str.count does neither.", (
            _in_text(runs, references), total,
        )),
        ("Matches first, then all runs.", (total, found)),
    ]  # fmt: skip


def _match_mistakes(runs: Counter, each: list[Counter]) -> list[tuple[str, int]]:
    """Return mistakes in the number of matches, with that number."""
    added, common = sum(each, Counter()), each[0]
    for other in each[1:]:
        common = common & other
    counted = sum(count for run, count in runs.items() if added[run])
    best = "The matches of the references are added up; take the best for each run."
    return [
        ("You took only the first reference.", (runs & each[0]).total()),
        ("You took only the last reference.", (runs & each[-1]).total()),
        (
            "The references are not added up; take the larger count.",
            (runs & added).total(),
        ),
        ("It need not stand in *all* references.", (runs & common).total()),
        ("A run counts at most as often as in a reference.", counted),
        (best, sum((runs & one).total() for one in each)),
    ]


class _Fixed(nn.Module):
    """Logits that depend on the source and on the past, at no cost."""

    def __init__(self, pad_id: int, vocab_size: int = 9, size: float = 2.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        table = size * torch.randn(vocab_size, vocab_size, generator=generator)
        self.table = nn.Parameter(table)
        self.config = SimpleNamespace(pad_id=pad_id, bos_id=1, eos_id=2)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        past = self.table[tgt].cumsum(dim=1)  # (B, T, V)
        return past + self.table.T[src].mean(dim=1, keepdim=True)


SOURCES = [[3, 4, 2], [5, 2, 0], [6, 7, 2]]
TARGETS = [[1, 4, 5, 6, 2], [1, 7, 2, 0, 0], [1, 3, 3, 2, 0]]
LIKELIHOODS = (  # padding, vocabulary, size of the logits, rows, columns
    *((0, 9, 2.0, 3, 5), (8, 9, 2.0, 3, 5), (0, 13, 2.0, 3, 4), (0, 9, 2.0, 1, 5)),
    *((8, 13, 0.5, 3, 3), (0, 9, 90.0, 3, 5)),
)


@exercise
def check_log_probability(log_probability) -> str:
    """Takes a function of model, src, tgt."""
    for pad_id, vocab_size, size, n_rows, n_columns in LIKELIHOODS:
        tgt = torch.tensor(TARGETS)[:n_rows, :n_columns]
        src, tgt = torch.tensor(SOURCES)[:n_rows], tgt.masked_fill(tgt == 0, pad_id)
        model = _Fixed(pad_id, vocab_size, size)
        before = src.clone(), tgt.clone()
        given = returned(log_probability(model, src, tgt))
        same = torch.equal(src, before[0]) and torch.equal(tgt, before[1])
        expect(same, "You changed `src` or `tgt` itself; make a new tensor.")
        given = tensor(given, (n_rows,), "One number for each target: the result")
        right = _log_probability(model, src, tgt)
        mistakes = _log_mistakes(model, src, tgt)
        otherwise = "Which tokens are predicted?"
        hint = hint_for_tensor(given.detach(), mistakes, otherwise)
        if size > 50 and not given.isfinite().all():
            hint = "softmax and then log loses small probabilities: take log_softmax."
        expect(
            torch.allclose(given.float(), right, rtol=1e-4, atol=1e-4),
            f"The targets {tgt.tolist()} with padding {pad_id} have the log "
            f"probabilities {rounded(right)}, you return {rounded(given)}. {hint}",
        )
        expect(
            given.requires_grad,
            "The numbers are right, but no gradient reaches the model: without detach, "
            ".data, .item() or no_grad one could train with it.",
        )
    return "With it you can tell a bad model from a bad search."


def _token_logs(model: nn.Module, src: Tensor, tgt: Tensor) -> Tensor:
    logs = model(src, tgt[:, :-1]).log_softmax(dim=-1)  # (B, T - 1, V)
    return logs.gather(-1, tgt[:, 1:].unsqueeze(-1)).squeeze(-1)


def _log_probability(model: nn.Module, src: Tensor, tgt: Tensor) -> Tensor:
    real = tgt[:, 1:] != model.config.pad_id
    return (_token_logs(model, src, tgt) * real).sum(dim=-1)


def _log_mistakes(model: nn.Module, src: Tensor, tgt: Tensor) -> dict[str, Tensor]:
    logs, c = _token_logs(model, src, tgt), model.config
    real, right = tgt[:, 1:] != c.pad_id, _log_probability(model, src, tgt)
    logits = model(src, tgt[:, :-1])
    raw = logits.gather(-1, tgt[:, 1:].unsqueeze(-1)).squeeze(-1)
    same = model(src, tgt).log_softmax(dim=-1).gather(-1, tgt.unsqueeze(-1)).squeeze(-1)
    return {
        "The padding's id is model.config.pad_id, not always 0.": (
            (logs * (tgt[:, 1:] != 0)).sum(dim=-1)
        ),
        "Padding counts in yours.": logs.sum(dim=-1),
        "That is the mean; a probability of the whole needs the sum.": (
            right / real.sum(dim=-1)
        ),
        "<eos> counts, too.": (logs * (real & (tgt[:, 1:] != c.eos_id))).sum(dim=-1),
        "Yours are raw logits: take log_softmax.": (raw * real).sum(dim=-1),
        "The logits at a token speak about the token *after* it: shift.": (
            (same * (tgt != c.pad_id)).sum(dim=-1)
        ),
        "That is a loss; a log probability is at most 0.": -right,
        "That is the probability; return its logarithm.": right.exp(),
    }


@exercise
def check_forbidden(forbidden) -> str:
    """Takes a function of ids, vocab_size, n."""
    generator = torch.Generator().manual_seed(0)
    hand = torch.tensor([[5, 6, 7, 5], [5, 5, 5, 5], [1, 2, 3, 4]])
    drawn = torch.randint(3, (6, 12), generator=generator)
    for ids, n, vocab_size in (
        *((hand, 2, 8), (hand, 1, 8), (drawn, 3, 8), (drawn, 4, 8), (drawn, 2, 3)),
        *((hand[:, :1], 3, 8), (hand[:1], 2, 11), (hand, 4, 8), (drawn[:, :2], 1, 5)),
        (torch.tensor([[1, 12, 11, 2, 1]]), 2, 15),
    ):
        before = ids.clone()
        given = returned(forbidden(ids, vocab_size, n))
        expect(torch.equal(ids, before), "You changed `ids` itself; make a copy.")
        expect(
            isinstance(given, Tensor) and given.shape == (len(ids), vocab_size),
            "Return a tensor (B, V): a row for each row of ids, a column per token of "
            f"the vocabulary. Here that is ({len(ids)}, {vocab_size}).",
        )
        expect(given.dtype == torch.bool, "Return bools, True where forbidden.")
        right = _forbidden(ids, vocab_size, n)
        if torch.equal(given, right):
            continue
        row = int(
            (given == right).all(dim=-1).int().argmin()
        )  # the first that is wrong
        expect(
            False,
            f"With n={n} and the row {ids[row].tolist()} the tokens "
            f"{_tokens(right[row])} are forbidden, yours are {_tokens(given[row])}. "
            + _forbidden_hint(given, ids, n, vocab_size),
        )
    return "Every row has its own past, and nothing but its own."


def _tokens(row: Tensor) -> list[int]:
    return row.nonzero().flatten().tolist()


def _forbidden(ids: Tensor, vocab_size: int, n: int, skipped: int = 0) -> Tensor:
    """Return which tokens are forbidden; so many of the last places are skipped."""
    mask = torch.zeros(len(ids), vocab_size, dtype=torch.bool)
    length = ids.size(1)
    for i, row in enumerate(ids.tolist()):
        start = row[max(0, length - n + 1) :]
        for place in range(length - n + 1 - skipped):
            if row[place : place + n - 1] == start:
                mask[i, row[place + n - 1]] = True
    return mask


def _forbidden_hint(given: Tensor, ids: Tensor, n: int, size: int) -> str:
    right = _forbidden(ids, size, n)
    wrong = {
        "Use the n that is passed in: that is n=2.": _forbidden(ids, size, 2)
        if n != 2
        else right,
        "True stands for forbidden, not for allowed.": ~right,
        "All rows together are forbidden in yours; each row has its own past.": (
            right.any(dim=0).expand_as(right)
        ),
        "Rows are independent; yours looks at the first row only.": (
            right[:1].expand_as(right)
        ),
        "Rows are independent; yours forbids nothing in those after the first.": (
            torch.cat([right[:1], torch.zeros_like(right[1:])])
        ),
        "That forbids every token that was there; compare the n - 1 tokens before "
        "it.": _forbidden(ids, size, 1),
        "The last token may complete an earlier run: one place more.": (
            _forbidden(ids, size, n, skipped=1)
        ),
        "Your runs have one token too many.": _forbidden(ids, size, n + 1),
        "For n=1 the beginning is empty, and fits everywhere; row[-0:] is the whole "
        "row.": torch.zeros_like(right) if n == 1 else right,
    }
    if n > 1:
        wrong["Your runs have one token too few."] = _forbidden(ids, size, n - 1)
    return hint_for_tensor(given, wrong, "Where did the last n - 1 tokens stand?")
