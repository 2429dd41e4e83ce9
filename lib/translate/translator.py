"""A translator for the course's small grammar: how it is trained, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lib.evaluate.attention_maps import attention_maps
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.tasks.english_french import Pair, TranslationData
from lib.text.tokenizer import WordTokenizer
from lib.train import Training, train
from lib.train.settings import TrainConfig
from lib.translate import PairBatches, encode_pairs, translate, translation_loss

__all__ = [
    "SIZES",
    "TRAINING",
    "train_translator",
    "exact_match",
    "alignment",
]

SIZES = {"d_model": 64, "n_heads": 4, "n_encoder_layers": 2, "n_decoder_layers": 2}
SIZES |= {"d_ff": 256, "dropout": 0.0, "context_length": 64, "pre_norm": True}
SIZES |= {"tie_weights": False}
TRAINING = {"optimizer": "muon", "learning_rate": 0.005, "muon_learning_rate": 0.01}
TRAINING |= {"schedule": "linear", "n_warmup": 30}


def train_translator(
    data: TranslationData, config: TrainConfig, seed: int = 0, **sizes
) -> tuple[Transformer, WordTokenizer, WordTokenizer]:
    """Train a translator on sentence pairs, 64 at a time.

    Args:
        data: see `translation_data`.
        config: how it is trained.
        seed: of weights and batches.
        sizes: fields of `TransformerConfig` in place of those in `SIZES`.

    Returns:
        The model, and the vocabularies of the English and of the French words.
    """
    source = WordTokenizer(pair.english for pair in data.train)
    target = WordTokenizer(pair.french for pair in data.train)
    torch.manual_seed(seed)
    vocabularies = (source.vocab_size, target.vocab_size)
    model = Transformer(TransformerConfig(*vocabularies, **(SIZES | sizes)))
    rows = encode_pairs(data.train, source, target)
    batches = PairBatches(*rows, 64, torch.Generator().manual_seed(seed))
    train(Training(model, config, translation_loss), batches)
    return model.eval(), source, target


def exact_match(candidates: Sequence[str], pairs: Sequence[Pair]) -> float:
    """Return the share of translations that are right word for word."""
    right = [text == pair.french for text, pair in zip(candidates, pairs, strict=True)]
    return sum(right) / len(right)


def alignment(
    model: Transformer,
    source: WordTokenizer,
    target: WordTokenizer,
    sentence: str,
    n_beams: int = 1,
) -> list[tuple[str, str, float]]:
    """Translate a sentence, and tell what the model looked at for each word.

    Returns:
        For each French word: the word, the English word (or ``<eos>``) that the last
        layer of the decoder looks at most when it predicts it, and how much, 0 to 1.

    Raises:
        ValueError: for a word outside the vocabulary.
    """
    french = translate(model, source, target, [sentence], n_beams)[0]
    (src,), (tgt,) = encode_pairs([Pair(sentence, french, ())], source, target)
    maps = attention_maps(model, torch.tensor([src]), torch.tensor([tgt[:-1]]))
    weights = maps[-1][0].mean(dim=0)  # (T, S): the mean of the heads
    shares, places = weights[: len(french.split())].max(dim=-1)
    words = [source.words[src[place]] for place in places]
    return list(zip(french.split(), words, shares.tolist()))
