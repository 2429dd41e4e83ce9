"""Wrong answers to the exercises of lesson 01, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_01.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import math

import torch

from lib.evaluate.losses import entropy
from lib.models.bigram import count_pairs
from lib.text.tokenizer import CharTokenizer


def unigram(smooth: int = 1, base: float = 1.0, own: bool = False, total: bool = False):
    """A unigram loss with one mistake in it."""

    def loss(train_ids, other_ids, vocab_size):
        counts = train_ids.bincount(minlength=vocab_size) + smooth
        surprise = -(counts / counts.sum()).log()[train_ids if own else other_ids]
        return (surprise.sum() if total else surprise.mean()).item() / base

    return loss


def late_smoothing(train_ids, other_ids, vocab_size):
    counts = train_ids.bincount(minlength=vocab_size)
    return -((counts + 1) / counts.sum())[other_ids].log().mean().item()


def sorts_in_place(train_ids, other_ids, vocab_size):
    train_ids.copy_(train_ids.sort().values)
    return unigram()(train_ids, other_ids, vocab_size)


class Skips(CharTokenizer):
    """Leaves unknown characters out."""

    vocab_size = property(lambda self: len(self.characters) + 1)

    def encode(self, text):
        return [self.ids[c] for c in text if c in self.ids]


class FirstForUnknown(CharTokenizer):
    """Mixes unknown characters up with the first known one."""

    vocab_size = property(lambda self: len(self.characters) + 1)

    def encode(self, text):
        return [self.ids.get(c, 0) for c in text]


class SmallVocabulary(CharTokenizer):
    """Forgets to count the extra id."""

    def encode(self, text):
        return [self.ids.get(c, len(self.characters)) for c in text]


class OtherSymbol(SmallVocabulary):
    """Decodes the extra id to a star."""

    vocab_size = property(lambda self: len(self.characters) + 1)

    def decode(self, ids):
        return "".join([*self.characters, "*"][i] for i in ids)


class SharesTheQuestionMark(CharTokenizer):
    """Gives unknown characters the id of the question mark."""

    vocab_size = property(lambda self: len(self.characters) + 1)

    def encode(self, text):
        return [self.ids.get(c, self.ids["?"]) for c in text]


class TakesTheQuestionMark(CharTokenizer):
    """Gives the question mark of the vocabulary the id for unknown characters."""

    vocab_size = property(lambda self: len(self.characters) + 1)

    def encode(self, text):
        extra = len(self.characters)
        return [extra if c == "?" else self.ids.get(c, extra) for c in text]


class Right(CharTokenizer):
    """A right answer, to go wrong from."""

    @property
    def vocab_size(self):
        return len(self.characters) + 1

    def encode(self, text):
        return [self.ids.get(c, len(self.characters)) for c in text]

    def decode(self, ids):
        return "".join([*self.characters, "?"][i] for i in ids)


class AddsAQuestionMark(Right):
    """Gives the question mark an id of its own even where the text has none."""

    def __init__(self, text):
        super().__init__(text + "?")


class EightCharacters(Right):
    """Takes the size from the message of the check."""

    def encode(self, text):
        return [self.ids.get(c, 8) for c in text]


class SharedByAll(Right):
    """Keeps the vocabulary in the class."""

    characters, ids = [], {}

    def __init__(self, text):
        for c in sorted(set(text) - set(self.ids)):
            self.ids[c] = len(self.characters)
            self.characters.append(c)


class IgnoresItsText(Right):
    def __init__(self, text):
        super().__init__("to be or not?")


class DropsNewlines(Right):
    def encode(self, text):
        return super().encode(text.replace("\n", ""))


class DropsTabs(Right):
    def encode(self, text):
        return super().encode(text.replace("\t", ""))


class AMethod(Right):
    def vocab_size(self):
        return len(self.characters) + 1


class NotYet:
    def __init__(self, text):
        self.characters = sorted(set(text))
        self.vocab_size = len(self.characters) + 1


def pair_entropy(ids, vocab_size):
    pairs = count_pairs(ids, vocab_size).flatten().double()
    return entropy(pairs / pairs.sum()).item()


def minus(part):
    """The entropy of the pairs, less that of the wrong single tokens."""

    def difference(ids, vocab_size):
        singles = part(ids).bincount(minlength=vocab_size).double()
        return pair_entropy(ids, vocab_size) - entropy(singles / singles.sum()).item()

    return difference


def single_entropy(ids, vocab_size):
    singles = ids[:-1].bincount(minlength=vocab_size).double()
    return entropy(singles / singles.sum()).item()


WRONG = {
    "check_perplexity": [
        (lambda loss: math.exp(-loss), "how many there are"),
        (lambda loss: 2**loss, "not 2"),
        (lambda loss: round(math.exp(loss)), "Do not round"),
        (lambda loss: loss / math.log(2), "in bits"),
        (lambda loss: None, "is a `return` missing"),
        (lambda loss: 10**loss, "not 10"),
        (lambda loss: f"{math.exp(loss):.1f}", "must be a number"),
        (lambda loss: 2.0, "10 equally likely tokens"),
        (lambda loss: math.exp(loss / math.log(2)), "undoes the logarithm"),
    ],
    "check_unigram_loss": [
        (unigram(smooth=0), "without smoothing"),
        (lambda a, b, v: torch.tensor(unigram()(a, b, v)), ".item()"),
        (unigram(own=True), "own training tokens"),
        (unigram(base=-1.0), "minus the logarithm"),
        (unigram(base=0.6931472), "in bits"),
        (unigram(total=True), "not the sum"),
        (late_smoothing, "divide by the new sum"),
        (lambda a, b, v: unigram()(b, b, v), "count train_ids"),
        (lambda a, b, v: unigram()(b, a, v), "The two texts are exchanged"),
        (lambda a, b, v: unigram()(a, b.unique(), v), "when it comes again"),
        (sorts_in_place, "You changed train_ids"),
    ],
    "check_safe_tokenizer": [
        (Skips, "leave no unknown one out"),
        (FirstForUnknown, "must get the extra one"),
        (SmallVocabulary, "vocab_size is 8"),
        (OtherSymbol, "'t?nt'"),
        (TakesTheQuestionMark, "must keep its own"),
        (SharesTheQuestionMark, "must get the extra one"),
        (AddsAQuestionMark, "do not include '?'"),
        (EightCharacters, "all unknown characters share one id"),
        (SharedByAll, "it must be 6"),
        (IgnoresItsText, "has vocab_size 9"),
        (DropsNewlines, "must give 'a\\n?b?'"),
        (DropsTabs, "must give 'a\\n?b?'"),
        (AMethod, "make it a property"),
        (NotYet, "no `encode` yet"),
    ],
    "check_conditional_entropy": [
        (pair_entropy, "take off that of their first tokens"),
        (single_entropy, "nothing was read yet"),
        (minus(lambda ids: ids[1:]), "second tokens of the pairs"),
        (minus(lambda ids: ids), "entropy of all tokens"),
        (
            lambda ids, v: single_entropy(ids, v) - pair_entropy(ids, v),
            "wrong way round",
        ),
        (lambda ids, v: pair_entropy(ids, v) / 2, "Half of the entropy"),
        (lambda ids, v: minus(lambda w: w[:-1])(ids, v) / math.log(2), "in bits"),
        (lambda ids, v: minus(lambda w: w[:-1])(ids.clamp_(max=1), v), "`ids` itself"),
    ],
}
