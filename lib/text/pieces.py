"""A text piece by piece, so that a training needs memory for its tokens alone."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from lib.device import require_file
from lib.text.files import open_regular
from lib.text.tokenizer import CharTokenizer

__all__ = [
    "TextFacts",
    "UnknownCharacter",
    "alphabet",
    "encode_pieces",
    "require_length",
    "text_pieces",
]

PIECE = 2**17  # bytes that are read at once; larger ones need new memory each time
SHORTEST = 1_000  # characters that a text of the reader's own needs
PER_BYTE = 6  # bytes of memory for each byte of a text: its ids, at most, and a piece
BYTE, WORD = ("latin-1", torch.uint8), ("utf-32-le", torch.int32)  # of an id


def text_pieces(
    path: str | Path, per_byte: int = PER_BYTE, size: int = PIECE
) -> Iterator[str]:
    """Yield a text of your own from its beginning, character for character.

    Args:
        path: a utf-8 file; a byte order mark is dropped.
        per_byte: bytes of memory that each of its bytes will need.
        size: bytes that are read at once.

    Raises:
        ValueError: if the file cannot be read, is not utf-8, holds characters of
            number 0, as utf-16 read as utf-8 does, or has more bytes than this machine
            has the memory for.
    """
    try:
        require_file(path, per_byte)
        with open(open_regular(path), "rb") as file:
            for piece in _decoded(file, size):
                if "\0" in piece:
                    raise ValueError(
                        f"path={str(path)!r} holds characters of number 0, which no "
                        "text has; it may be utf-16: save the text as utf-8"
                    )
                yield piece
    except OSError as error:
        raise ValueError(f"path={str(path)!r} cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path={str(path)!r} is not utf-8 at byte {error.start:,} "
            f"(0x{error.object[0]:02x}); save the text as utf-8"
        ) from None


def _decoded(file: BinaryIO, size: int) -> Iterator[str]:
    """Yield the text of a file; an error's ``start`` counts from its beginning."""
    decoder, mark = codecs.getincrementaldecoder("utf-8")(), "\ufeff"
    done, data = 0, b"."  # bytes before the piece, and the piece
    while data:
        data = file.read(size)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            start = done - (len(error.object) - len(data)) + error.start
            byte = error.object[error.start : error.start + 1]
            raise UnicodeDecodeError("utf-8", byte, start, start + 1, "") from None
        done += len(data)
        if text:
            yield text.removeprefix(mark)
            mark = ""


def require_length(path: str | Path, length: int) -> None:
    """Refuse a text with too few characters.

    Raises:
        ValueError: for such a text.
    """
    if length < SHORTEST:
        wanted = f"it must have {SHORTEST:,} or more"
        raise ValueError(f"path={str(path)!r} has {length:,} characters; {wanted}")


class TextFacts:
    """What is told of a text while somebody else reads it.

    Attributes:
        length: number of characters that have passed.
    """

    def __init__(self) -> None:
        self.length, self._digest = 0, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what has passed, in utf-8."""
        return self._digest.hexdigest()

    def watch(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield each piece of a text, and take note of it."""
        for piece in pieces:
            self._digest.update(piece.encode())
            self.length += len(piece)
            yield piece


def alphabet(pieces: Iterable[str]) -> set[str]:
    """Return the characters that occur in a text."""
    known, ascii_known = {}, b""
    for piece in pieces:
        rest = piece.encode().translate(None, ascii_known).decode()  # the new: quick
        if new := set(rest.translate(known)):
            known |= dict.fromkeys(map(ord, new))
            ascii_known = bytes(code for code in known if code < 128)
    return {chr(code) for code in known}


class UnknownCharacter(ValueError):
    """A character that a vocabulary has no id for."""


class _Ids(dict):
    """The character that stands for the id of each character; others are refused."""

    def __missing__(self, code: int) -> str:
        raise UnknownCharacter(f"{chr(code)!r} is not in the vocabulary")


def encode_pieces(tokenizer: CharTokenizer, pieces: Iterable[str]) -> Tensor:
    """Return the ids of a text's characters, in one byte each where that is enough.

    Args:
        tokenizer: gives each character its id.
        pieces: the text of N characters.

    Returns:
        Ids ``(N,)``, uint8 or int32.

    Raises:
        UnknownCharacter: for one outside the vocabulary.
    """
    code, dtype = BYTE if tokenizer.vocab_size <= 256 else WORD
    table = _Ids({ord(c): chr(i) for c, i in tokenizer.ids.items()})
    data = bytearray()
    for piece in pieces:
        data += piece.translate(table).encode(code, "surrogatepass")
    return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
