"""Translating: batches of sentence pairs, their loss, and whole sentences.

As a command it trains a translator or asks one: ``python -m lib.translate --help``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.evaluate.losses import label_smoothing_loss, mean_over
from lib.generate.beam import beam_search
from lib.generate.targets import generate_targets
from lib.models.encoder_decoder import Transformer
from lib.shapes import require_sizes
from lib.tasks.english_french import Pair
from lib.text.tokenizer import WordTokenizer, pad_batch

__all__ = ["encode_pairs", "PairBatches", "translation_loss", "translate"]


def encode_pairs(
    pairs: Sequence[Pair], source: WordTokenizer, target: WordTokenizer
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the ids of sentences and of their translations.

    Args:
        pairs: English sentences with French ones.
        source: the vocabulary of the English words.
        target: the vocabulary of the French words.

    Returns:
        One list per sentence: the source ends with ``<eos>``, the target starts with
        ``<bos>`` and ends with ``<eos>``.

    Raises:
        ValueError: for a word outside its vocabulary.

    Home lesson: 16_translation
    """
    bos, end = target.ids["<bos>"], target.ids["<eos>"]
    sources = [source.encode(pair.english) + [source.ids["<eos>"]] for pair in pairs]
    targets = [[bos, *target.encode(pair.french), end] for pair in pairs]
    return sources, targets


class PairBatches:
    """Draw batches of sentence pairs; call it for the next one.

    Args:
        sources: ids of each source.
        targets: ids of each target, as many.
        batch_size: pairs per batch B.
        generator: source of the random draws.

    Shapes:
        src ``(B, S)`` and tgt ``(B, T)``, as wide as the longest row of the batch.

    Raises:
        ValueError: if there are no pairs, or not as many of both, or for a
            ``batch_size`` below 1.

    Home lesson: 16_translation
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        batch_size: int,
        generator: torch.Generator,
    ) -> None:
        require_sizes(batch_size=batch_size)
        if not sources or len(sources) != len(targets):
            raise ValueError(
                f"{len(sources)} sources for {len(targets)} targets; there must be as "
                "many, and one or more"
            )
        self.sources, self.targets = sources, targets
        self.batch_size, self.generator = batch_size, generator

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return the next sources and targets."""
        size = (self.batch_size,)
        rows = torch.randint(len(self.sources), size, generator=self.generator).tolist()
        return (
            pad_batch([self.sources[row] for row in rows]),
            pad_batch([self.targets[row] for row in rows]),
        )


@mean_over(lambda model, src, tgt: tgt[:, 1:] != model.config.pad_id)
def translation_loss(
    model: Transformer, src: Tensor, tgt: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Return the mean loss of each target token, given the ones before it, in nats.

    Args:
        model: reads the target without its last token, predicts it without its first.
        src: sources ``(B, S)``.
        tgt: targets ``(B, T)``, from start token to end token.
        smoothing: see `label_smoothing_loss`.

    Source: Vaswani et al. (2017), section 5.4, for the smoothing.

    Home lesson: 16_translation
    """
    logits = model(src, tgt[:, :-1])  # (B, T - 1, V)
    return label_smoothing_loss(logits, tgt[:, 1:], smoothing, model.config.pad_id)


def translate(
    model: Transformer,
    source: WordTokenizer,
    target: WordTokenizer,
    sentences: Sequence[str],
    n_beams: int = 1,
) -> list[str]:
    """Translate sentences, greedily or by `beam_search`.

    Args:
        model: a trained translator.
        source: the vocabulary of the sentences.
        target: the vocabulary of the translations.
        sentences: words with spaces between them.
        n_beams: beginnings to follow; 1 is greedy.

    Raises:
        ValueError: if there are no sentences, or for a word outside the vocabulary.

    Home lesson: 16_translation
    """
    src = pad_batch([source.encode(s) + [source.ids["<eos>"]] for s in sentences])
    src = src.to(model.head.weight.device)
    max_len = min(50, model.config.context_length)
    if n_beams == 1:
        ids = generate_targets(model, src, max_len, temperature=0.0)
    else:
        ids, _ = beam_search(model, src, n_beams, max_len)
    return [target.decode(row) for row in ids]
