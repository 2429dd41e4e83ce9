"""The text that the course trains on, and where it is found."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import sys
import textwrap
import threading
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from lib import data_folder, is_offline, stay_offline
from lib.device import PER_BYTE, cache_folder
from lib.text.files import read_regular
from lib.text.pieces import require_length, text_pieces
from lib.text.standin import write_play

__all__ = ["Corpus", "load_corpus", "read_text"]

FILE = "tinyshakespeare.txt"
URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/"
    "data/tinyshakespeare/input.txt"
)
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SIZE = 1_115_394  # bytes, and characters too
LARGEST = 2**24  # bytes that are read of what should be this text
PATIENCE = 5.0  # seconds for the whole download: name, connection and bytes


@dataclass(frozen=True)
class Corpus:
    """A text, its name, and where it was found.

    ``name`` is "Tiny Shakespeare" or "stand-in play"; ``origin`` is the file, the
    address or the module that the text came from.

    Home lesson: 01_text_and_tokens
    """

    text: str = field(repr=False)
    name: str
    origin: str

    @property
    def is_stand_in(self) -> bool:
        """Whether this is the course's own play instead of Tiny Shakespeare."""
        return self.name == "stand-in play"


def load_corpus() -> Corpus:
    """Find Tiny Shakespeare: your folder, the cache, a download, or else the stand-in.

    Your folder is the one that the variable ``COURSE_DATA`` names. The download gives
    up after five seconds, once for this process and all that it starts; it is not tried
    at all with ``COURSE_OFFLINE=1``. One line on stderr says that the stand-in is used.

    Returns:
        The corpus. Tiny Shakespeare is the same 1,115,394 characters on every system.

    Raises:
        ValueError: if ``COURSE_DATA`` names a folder that does not hold it.

    Home lesson: 01_text_and_tokens
    """
    if folder := data_folder():
        return from_folder(folder)
    return from_cache() or from_download() or stand_in()


def from_folder(folder: str) -> Corpus:
    """Read the reader's own copy; anything wrong with it is an error."""
    path = Path(folder, FILE).absolute()
    try:
        return _tiny_shakespeare(read_regular(path, LARGEST), str(path))
    except (OSError, ValueError) as error:
        needed = f"a folder that holds Tiny Shakespeare as {FILE}"
        raise ValueError(f"COURSE_DATA={folder!r} must be {needed}: {error}") from None


def from_cache() -> Corpus | None:
    """Read the copy that an earlier download left; a bad one is named, not used."""
    path = cache_folder() / FILE
    try:
        return _tiny_shakespeare(read_regular(path, LARGEST), str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _tell(f"the copy in the cache is not used: {error}")
        return None


def from_download() -> Corpus | None:
    """Fetch a copy and put it into the cache; a failure is final, and told once."""
    reason = "COURSE_OFFLINE is set"
    if not is_offline():
        try:
            data = _fetch()
            return _tiny_shakespeare(data, _keep(data))
        except Exception as error:  # whatever it is, the course goes on
            reason = textwrap.shorten(f"{type(error).__name__}: {error}", 100)
    if stay_offline():
        _tell(
            f"no download of Tiny Shakespeare ({reason}); a stand-in play takes its "
            "place, and data/README.md says how to get the real text"
        )
    return None


def stand_in() -> Corpus:
    """Write the course's own play."""
    return Corpus(write_play(), "stand-in play", "lib/text/standin.py")


def read_text(path: str | Path) -> str:
    """Read a text of your own, character for character as the file has it.

    Args:
        path: a utf-8 file of 1,000 characters or more; a byte order mark is dropped.

    Returns:
        The text, line ends unchanged.

    Raises:
        ValueError: if the file cannot be read, is not utf-8, is too short, or has more
            bytes than this machine has the memory for.

    Home lesson: 12_training_runs
    """
    text = "".join(text_pieces(path, PER_BYTE))
    require_length(path, len(text))
    return text


def _tiny_shakespeare(data: bytes, origin: str) -> Corpus:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{origin} has {len(data):,} bytes with sha256 {found}; "
            f"Tiny Shakespeare has {SIZE:,} bytes with sha256 {SHA256}"
        )
    return Corpus(data.decode("utf-8"), "Tiny Shakespeare", origin)


def _fetch() -> bytes:
    """Download the file within PATIENCE, or raise what went wrong."""
    replies: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    # A name server or a host that never answers can block a thread for minutes. A
    # daemon thread may be left behind: nobody waits for it, not even Python's exit.
    threading.Thread(target=_download, args=[replies], daemon=True).start()
    try:
        reply = replies.get(timeout=PATIENCE)
    except queue.Empty:
        raise TimeoutError(f"no answer within {PATIENCE:g} s") from None
    if isinstance(reply, Exception):
        raise reply
    return reply


def _download(replies: queue.SimpleQueue[bytes | Exception]) -> None:
    """Put the file's bytes, sha256 checked, into ``replies``, or the error.

    They come into memory: a thread that nobody waits for may leave no file behind.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    file = io.BytesIO()
    try:
        pooch.HTTPDownloader()(URL, file, None)
        if (found := hashlib.sha256(file.getvalue()).hexdigest()) != SHA256:
            raise ValueError(f"the sha256 hash is {found}; it must be {SHA256}")
        replies.put(file.getvalue())
    except Exception as error:
        replies.put(error)


def _keep(data: bytes) -> str:
    """Put the file into the cache, whole or not at all, and return where it is now."""
    path = cache_folder() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as draft:
            Path(draft, FILE).write_bytes(data)
            os.replace(Path(draft, FILE), path)
    except OSError as error:
        _tell(f"Tiny Shakespeare was downloaded but the cache cannot keep it: {error}")
        return URL
    return str(path)


def _tell(message: str) -> None:
    print(f"corpus: {message}", file=sys.stderr)
