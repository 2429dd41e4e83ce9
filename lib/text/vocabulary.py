"""The tokenizers of the course as plain values, for a checkpoint."""

from __future__ import annotations

from lib.text.bpe import BPETokenizer
from lib.text.tokenizer import CharTokenizer, WordTokenizer

__all__ = ["Tokenizer", "tokenizer_from_dict", "tokenizer_to_dict"]

Tokenizer = CharTokenizer | BPETokenizer | WordTokenizer


def tokenizer_to_dict(tokenizer: object) -> dict | list | None:
    """Return a vocabulary, or several, as plain values.

    Raises:
        TypeError: for something else.
    """
    if tokenizer is None:
        return None
    if isinstance(tokenizer, tuple) and len(tokenizer) == 2:
        return [tokenizer_to_dict(one) for one in tokenizer]
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.to_dict()
    raise TypeError(
        f"tokenizer has the type {type(tokenizer).__name__}; it must be a "
        "CharTokenizer, a WordTokenizer, a BPETokenizer, a pair of them, or None"
    )


def tokenizer_from_dict(values: dict | list | None) -> Tokenizer | tuple | None:
    """Return what `tokenizer_to_dict` was given, also in the first edition.

    Raises:
        ValueError: for values of no tokenizer of the course.
    """
    match values:
        case None:
            return None
        case {"characters": _}:
            return CharTokenizer.from_dict(values)
        case {"words": _}:
            return WordTokenizer.from_dict(values)
        case {"merges": _}:
            return BPETokenizer.from_dict(values)
        case {"bpe": [merges, marks, alphabet]}:  # of the first edition
            values = {"merges": merges, "special_tokens": marks, "alphabet": alphabet}
            return BPETokenizer.from_dict(values)
        case [dict(source), dict(target)]:
            return tokenizer_from_dict(source), tokenizer_from_dict(target)
    raise ValueError("its vocabulary is of no kind that the course knows")
