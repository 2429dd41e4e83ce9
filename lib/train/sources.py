"""What a run learns from: windows of a text, or the rows of a task."""

from __future__ import annotations

import hashlib
import math
import shlex
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.evaluate.exact_match import exact_match
from lib.evaluate.losses import masked_loss
from lib.models.presets import preset_config
from lib.module import in_mode
from lib.tasks import make_task
from lib.text.batches import random_batch, split_text
from lib.text.bpe import BPETokenizer
from lib.text.corpus import load_corpus, read_text
from lib.text.pieces import (
    TextFacts,
    UnknownCharacter,
    alphabet,
    encode_pieces,
    require_length,
    text_pieces,
)
from lib.text.tokenizer import CharTokenizer
from lib.text.vocabulary import Tokenizer
from lib.train import estimate_loss, next_token_loss
from lib.train.parallel import is_cut, n_processes, rank, sum_over_processes
from lib.train.run_settings import RunSettings

__all__ = ["TextSource", "TaskSource", "open_source"]

LARGEST_ALPHABET = 256  # presets with more tokens than this read byte pairs
N_STEPS = 1_000  # of a task
LONGEST_TEST = 1_000_000  # tokens of a text
TEXT_ONLY = ("text", "epochs", "tokenizer", "vocab_size")  # settings without a task


class TextSource:
    """Windows of a text; its first 90 % to learn from, the rest to test with.

    A text of the reader's own is read in pieces, and its characters become ids of one
    byte. Only byte pairs need it as a whole. With the tokenizer of its run, a text is
    read once, and one that has changed is known by its sha256.

    Attributes:
        about: what the text was, for the notes of a checkpoint.
        context_length: the preset's own.
        loss_of: what a run makes small.
    """

    context_length, loss_of = None, staticmethod(next_token_loss)

    def __init__(self, s: RunSettings, tokenizer: Tokenizer | None) -> None:
        self.settings, self.ids = s, None
        if s.text is None:
            corpus = load_corpus()
            self.whole, name = lambda: corpus.text, corpus.name
            self.pieces = lambda: [corpus.text]
        else:
            self.whole, name = partial(read_text, s.text), Path(s.text).name
            self.pieces = partial(text_pieces, s.text)
        self.facts = TextFacts()
        pieces = self.facts.watch(self.pieces())
        if isinstance(tokenizer, CharTokenizer):
            with suppress(UnknownCharacter):  # another text: the rest is not read
                self.ids = encode_pieces(tokenizer, pieces)
        else:
            self.alphabet = alphabet(pieces)
        require_length(s.text, self.facts.length)
        self.about = _about(name, self.facts.sha256)

    def make_tokenizer(self) -> CharTokenizer | BPETokenizer:
        """Return the tokenizer that the settings name, made from the text."""
        s = self.settings
        vocab_size = s.vocab_size or preset_config(s.preset).vocab_size
        kind = s.tokenizer
        if kind == "auto":
            pairs = s.vocab_size or vocab_size > LARGEST_ALPHABET
            kind = "bpe" if pairs else "characters"
        if kind == "characters":
            if s.vocab_size is not None:
                raise ValueError(f"vocab_size={s.vocab_size} needs tokenizer='bpe'")
            return CharTokenizer("".join(self.alphabet))
        if kind != "bpe":
            raise ValueError(f"tokenizer={kind!r} must be auto, characters or bpe")
        tokenizer = BPETokenizer.train(split_text(self.whole())[0], vocab_size)
        if (found := tokenizer.vocab_size) < (s.vocab_size or 0):
            raise ValueError(
                f"vocab_size={s.vocab_size} is more than the text has: no pair occurs "
                f"twice beyond {found} tokens"
            )
        return tokenizer

    def prepare(self, tokenizer: Tokenizer, length: int, device: str) -> None:
        """Cut the text into tokens, to be read in windows of a length."""
        self.length = length
        splits = [ids.to(device) for ids in self._encode(tokenizer)]
        for name, ids in zip(("training", "validation"), splits):
            if len(ids) <= length:
                raise ValueError(
                    f"the {name} text has {len(ids)} tokens; context_length="
                    f"{length} needs {length + 1} or more: "
                    "take a longer text, a shorter context or fewer tokens of bpe"
                )
        self.tokens, self.validation = splits

    def _encode(self, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
        """Return the ids of both parts of the text."""
        if isinstance(tokenizer, CharTokenizer):
            ids, self.ids = self.ids, None
            if ids is None:
                ids = encode_pieces(tokenizer, self.pieces())
            if (now := len(ids)) != (old := self.facts.length):
                raise ValueError(f"the text had {old:,} characters and has {now:,} now")
            train, rest = split_text(ids)  # an id for each character
        else:
            parts = split_text(self.whole())
            train, rest = (torch.tensor(tokenizer.encode(part)) for part in parts)
        self.n_untested = max(0, len(rest) - LONGEST_TEST)
        return train, rest[:LONGEST_TEST].long()

    def n_steps(self) -> int:
        """Return how many steps the settings ask for."""
        s = self.settings
        steps = s.epochs * len(self.tokens) / (s.batch_size * self.length)
        return math.ceil(steps) if s.n_steps is None else s.n_steps

    def describe(self) -> str:
        """Return how much there is to learn from, and to test with if not all."""
        tested = f", tested on {LONGEST_TEST:,} more" if self.n_untested else ""
        return f"{len(self.tokens):,} tokens{tested}"

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch of windows."""
        size = self.settings.batch_size
        windows = random_batch(self.tokens, size, self.length, generator)
        return tuple(ids.long() for ids in windows)

    def loss(self, model: nn.Module) -> float:
        """Return the loss on the whole validation text, in nats per token.

        Each process reads its share of the windows; with FSDP, which needs all of them
        at each step, the whole text.
        """
        n_targets, total = len(self.validation) - 1, 0.0
        n_windows, cut = math.ceil(n_targets / self.length), is_cut(model)
        n_shares, place = (1, 0) if cut else (n_processes(), rank())
        share = math.ceil(n_windows / n_shares) * self.length  # targets of each
        first = share * place
        own = self.validation[first : first + share + 1]
        if (n := len(own) - 1) > 0:
            total = n * estimate_loss(model, own, min(n, self.length))
        return sum_over_processes(total) / n_targets * n_shares / n_processes()

    def closing(self, model: nn.Module, place: str) -> list[str]:
        """Return what to say when a run is over, of a model in a place."""
        return [f'write with it: python -m lib.generate {place} --prompt "..."']


class TaskSource:
    """Rows of a task of `lib.tasks`, and others to test with; see `TextSource`."""

    loss_of = staticmethod(masked_loss)

    def __init__(self, s: RunSettings) -> None:
        for name in TEXT_ONLY:
            if (given := getattr(s, name)) != getattr(type(s), name):
                raise ValueError(f"{name}={given!r} does not go with task={s.task!r}")
        self.settings, self.task = s, make_task(s.task)
        self.context_length = self.task.context_length
        self.task.batch(1, torch.Generator())  # what it cannot draw is refused now
        rows = torch.stack([*self.task.test]).numpy().tobytes()
        self.about = _about(s.task, hashlib.sha256(rows).hexdigest())

    def make_tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the task."""
        return self.task.tokenizer

    def prepare(self, tokenizer: Tokenizer, length: int, device: str) -> None:
        """Take a model's length and device."""
        if length < self.context_length:
            raise ValueError(
                f"context_length={length} must be {self.context_length} or more for "
                f"task={self.settings.task!r}"
            )
        self.device = device
        self.rows = [tensor.to(device) for tensor in self.task.test]

    def n_steps(self) -> int:
        """Return how many steps the settings ask for."""
        n_steps = self.settings.n_steps
        return N_STEPS if n_steps is None else n_steps

    def describe(self) -> str:
        """Return what is learned."""
        return f"task {self.settings.task}"

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a batch of rows."""
        rows = self.task.batch(self.settings.batch_size, generator)
        return tuple(tensor.to(self.device) for tensor in rows)

    @torch.no_grad()
    def loss(self, model: nn.Module) -> float:
        """Return the loss on the test's rows, in nats per token that counts."""
        with in_mode(model, training=False):
            return masked_loss(model, *self.rows).item()

    def closing(self, model: nn.Module, place: str) -> list[str]:
        """Return what to say when a run is over, of a model in a place."""
        rows = self.task.answerable
        start = int(rows.counted[0].int().argmax()) + 1
        prompt = shlex.quote(self.task.tokenizer.decode(rows.inputs[0, :start]))
        right = exact_match(model, *(tensor.to(self.device) for tensor in rows))
        return [
            f"right from end to end: {right:.1%} of the test's {len(rows.inputs)} rows",
            f"ask it: python -m lib.generate {place} --prompt {prompt} "
            f"--strategy greedy --length {self.context_length - start + 1}",
        ]


def open_source(
    s: RunSettings, tokenizer: Tokenizer | None = None
) -> TextSource | TaskSource:
    """Return what the settings learn from.

    Args:
        s: the settings.
        tokenizer: that of the run, if it goes on.

    Raises:
        ValueError: for an unknown task, or settings that do not go with it.
    """
    return TextSource(s, tokenizer) if s.task is None else TaskSource(s)


def _about(name: str, sha256: str) -> dict:
    """Return notes of where the data came from."""
    return {"data": name, "data_sha256": sha256, "torch": torch.__version__}
