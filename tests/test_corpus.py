"""The corpus is found in a fixed order, is the same bytes everywhere, never hangs."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import lib
from lib.text import corpus
from lib.text.corpus import Corpus, load_corpus, read_text

ROOT = Path(__file__).parents[1]
REAL = b"Good morrow.\r\nAnd to you, \xc3\xa9t\xc3\xa9!\n" * 40  # plays the real file
PAGE = b"<!doctype html><title>Sign in to the network</title>"
PLAY = "KING:\nA short play.\n"
LAX = 10  # seconds; what may take long takes half a second here


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, no COURSE_DATA, and an address where nobody listens."""
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(corpus, "SHA256", hashlib.sha256(REAL).hexdigest())
    monkeypatch.setattr(corpus, "URL", "http://127.0.0.1:9/input.txt")
    monkeypatch.setattr(corpus, "PATIENCE", LAX)
    monkeypatch.setattr(corpus, "write_play", lambda: PLAY)
    monkeypatch.setattr(corpus, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    return tmp_path / "cache"


@pytest.fixture
def serve(monkeypatch):
    """Start a server on this machine that gives one answer; it counts the requests."""
    servers = []

    def start(body=REAL, status=200, missing=0, pause=0.0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) + missing))
                self.end_headers()
                step = 1 if pause else len(body) + 1
                for i in range(0, len(body), step):
                    if closing.wait(pause):
                        return
                    self.wfile.write(body[i : i + step])
                    self.wfile.flush()

            def log_message(self, *_):
                pass

            def handle(self):
                try:
                    super().handle()
                except OSError:  # the client has given up
                    pass

        requests: list[str] = []
        closing = threading.Event()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        servers.append((server, closing))
        address = f"http://127.0.0.1:{server.server_port}/input.txt"
        monkeypatch.setattr(corpus, "URL", address)
        return requests

    yield start
    for server, closing in servers:
        closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def silence(monkeypatch):
    """A host that takes the connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(corpus, "URL", f"http://127.0.0.1:{port}/input.txt")
        monkeypatch.setattr(corpus, "PATIENCE", 0.5)
        yield listener


def put(folder: Path, data: bytes = REAL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tinyshakespeare.txt"
    path.write_bytes(data)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def notices(capsys) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith("corpus: ") for line in err.splitlines())
    return err.splitlines()


def is_real(found: Corpus) -> bool:
    return found.text.encode() == REAL and found.name == "Tiny Shakespeare"


def assert_stand_in(found: Corpus, notice: list[str], *words: str) -> None:
    assert found == Corpus(PLAY, "stand-in play", "lib/text/standin.py")
    assert found.is_stand_in
    assert len(notice) == 1
    for word in ("Tiny Shakespeare", "stand-in play", "data/README.md", *words):
        assert word in notice[0]


# The order of looking


def test_the_readers_folder_comes_first(cache, serve, monkeypatch, tmp_path, capsys):
    requests = serve()
    put(cache)
    mine = put(tmp_path / "mine")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "mine"))
    found = load_corpus()
    assert is_real(found) and not found.is_stand_in
    assert found.origin == str(mine)
    assert requests == [] and notices(capsys) == []


def test_an_empty_course_data_counts_as_unset(cache, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", "")
    path = put(cache)
    assert load_corpus().origin == str(path)


def test_the_cache_comes_before_the_download(cache, serve, capsys):
    requests = serve()
    path = put(cache)
    found = load_corpus()
    assert is_real(found) and found.origin == str(path)
    assert requests == [] and notices(capsys) == []


def test_a_download_is_kept_and_not_repeated(cache, serve, capsys, tmp_path):
    requests = serve()
    first, second = load_corpus(), load_corpus()
    assert is_real(first) and first == second
    assert first.origin == str(cache / "tinyshakespeare.txt")
    assert len(requests) == 1
    assert files(cache) == ["tinyshakespeare.txt"] and files(tmp_path / "temp") == []
    assert (cache / "tinyshakespeare.txt").read_bytes() == REAL
    assert os.environ["COURSE_OFFLINE"] == "0"
    assert notices(capsys) == []
    assert logging.getLogger("pooch").getEffectiveLevel() >= logging.WARNING


def test_without_a_network_the_stand_in_is_used(cache, capsys):
    assert_stand_in(load_corpus(), notices(capsys), "ConnectionError")
    assert not cache.exists()


def test_course_offline_forbids_the_attempt(cache, serve, monkeypatch, capsys):
    requests = serve()
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    assert_stand_in(load_corpus(), notices(capsys), "COURSE_OFFLINE")
    assert requests == []


# The reader's own folder


def course_data_error(monkeypatch, folder: Path | str) -> str:
    monkeypatch.setenv("COURSE_DATA", str(folder))
    with pytest.raises(ValueError) as caught:
        load_corpus()
    message = str(caught.value)
    assert f"COURSE_DATA={str(folder)!r}" in message
    assert "tinyshakespeare.txt" in message
    return message


def test_a_folder_without_the_file_is_an_error(cache, monkeypatch, tmp_path):
    put(cache)  # no silent way out: not even with a good copy at hand
    assert "No such file" in course_data_error(monkeypatch, tmp_path)
    assert "No such file" in course_data_error(monkeypatch, tmp_path / "nowhere")


def test_a_relative_folder_is_spelled_out(cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = course_data_error(monkeypatch, "texts")
    assert repr(str(tmp_path / "texts" / "tinyshakespeare.txt"))[1:-1] in message


@pytest.mark.parametrize("data", [b"", REAL[:-1], REAL.replace(b"\r\n", b"\n"), PAGE])
def test_a_wrong_file_prints_both_sums(cache, monkeypatch, tmp_path, data):
    path = put(tmp_path / "mine", data)
    message = course_data_error(monkeypatch, tmp_path / "mine")
    assert hashlib.sha256(data).hexdigest() in message
    assert corpus.SHA256 in message
    assert f"{len(data):,} bytes" in message
    assert path.read_bytes() == data


def test_a_folder_in_place_of_the_file_is_an_error(cache, monkeypatch, tmp_path):
    (tmp_path / "mine" / "tinyshakespeare.txt").mkdir(parents=True)
    course_data_error(monkeypatch, tmp_path / "mine")


# The cache


def test_a_bad_copy_in_the_cache_is_replaced_by_a_good_one(cache, serve, capsys):
    serve()
    path = put(cache, PAGE)
    assert is_real(load_corpus())
    assert path.read_bytes() == REAL
    (notice,) = notices(capsys)
    assert str(path) in notice and "not used" in notice
    assert hashlib.sha256(PAGE).hexdigest() in notice and corpus.SHA256 in notice


def test_a_bad_copy_in_the_cache_survives_a_failed_download(cache, serve, capsys):
    serve(PAGE)
    path = put(cache, b"somebody's notes")
    found = load_corpus()
    bad_copy, *rest = notices(capsys)
    assert "not used" in bad_copy
    assert_stand_in(found, rest)
    assert path.read_bytes() == b"somebody's notes"
    assert files(cache) == ["tinyshakespeare.txt"]


def test_a_cache_that_cannot_be_made_does_not_matter(cache, serve, capsys, tmp_path):
    serve()
    cache.write_text("a file where the folder should be", "utf-8")
    found = load_corpus()
    assert is_real(found) and found.origin == corpus.URL
    assert "cannot keep" in notices(capsys)[-1]
    assert cache.read_text("utf-8") == "a file where the folder should be"
    assert files(tmp_path / "temp") == []


def test_a_read_only_cache_does_not_matter(cache, serve, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    serve()
    monkeypatch.setattr(os, "replace", refuse)
    found = load_corpus()
    assert is_real(found) and found.origin == corpus.URL
    (notice,) = notices(capsys)
    assert "cannot keep" in notice and "Permission denied" in notice
    assert files(cache) == []  # no draft is left behind


# The download


@pytest.mark.parametrize(
    "answer, word",
    [
        ({"body": PAGE}, "hash"),
        ({"body": REAL[:-200]}, "hash"),
        ({"body": b""}, "hash"),
        ({"body": REAL[:-200], "missing": 200}, "Error"),
        ({"body": PAGE, "status": 404}, "404"),
        ({"body": REAL, "status": 500}, "500"),
    ],
    ids=["web page", "cut short", "empty", "broken off", "not there", "server error"],
)
def test_a_bad_answer_leaves_nothing_behind(
    cache, serve, capsys, tmp_path, answer, word
):
    requests = serve(**answer)
    assert_stand_in(load_corpus(), notices(capsys), word)
    assert len(requests) == 1
    assert not cache.exists() and files(tmp_path / "temp") == []
    assert os.environ["COURSE_OFFLINE"] == lib.TOLD


def test_a_silent_host_is_given_up(cache, silence, capsys):
    start = time.monotonic()
    found = load_corpus()
    assert time.monotonic() - start < LAX
    assert_stand_in(found, notices(capsys), "no answer within 0.5 s")


def test_a_host_that_drips_is_given_up_too(cache, serve, capsys, monkeypatch):
    serve(pause=0.05)  # every byte comes in time, all of them would take a minute
    monkeypatch.setattr(corpus, "PATIENCE", 0.5)
    start = time.monotonic()
    found = load_corpus()
    assert time.monotonic() - start < LAX
    assert_stand_in(found, notices(capsys), "no answer within 0.5 s")
    assert not cache.exists()


def test_the_promise_is_five_seconds():
    assert corpus.PATIENCE == 5


def test_a_failure_is_final_in_this_process_and_told_once(
    cache, silence, serve, capsys
):
    assert_stand_in(load_corpus(), notices(capsys))
    requests = serve()
    assert load_corpus().is_stand_in
    assert requests == [] and notices(capsys) == []


CHILD = """
import socket, time
from pathlib import Path
from lib.text import corpus
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
corpus.URL, corpus.PATIENCE = "http://name.that.hangs.invalid/", 0.5
corpus.cache_folder = lambda: Path("no cache here")
corpus.write_play = lambda: "A short play."
print(corpus.load_corpus().name)
"""


def run_child(temp: Path, offline: str) -> list[str]:
    """Load the corpus in a process of its own, where no name is ever resolved."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COURSE_OFFLINE": offline}
    environment |= {"TMPDIR": str(temp), "TEMP": str(temp), "TMP": str(temp)}
    environment.pop("COURSE_DATA", None)
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=30,  # a name server's silence would last 60 s
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout == "stand-in play\n"
    return child.stderr.splitlines()


def test_a_hanging_name_server_blocks_neither_the_call_nor_the_exit(tmp_path):
    (notice,) = run_child(tmp_path, offline="0")
    assert "no answer within 0.5 s" in notice
    assert files(tmp_path) == []


def test_a_failure_is_final_in_the_processes_started_later(cache, silence, tmp_path):
    load_corpus()
    assert run_child(tmp_path, offline=os.environ["COURSE_OFFLINE"]) == []


# The corpus itself


def test_a_corpus_cannot_be_changed_and_prints_briefly():
    one = Corpus("text " * 1000, "Tiny Shakespeare", "here")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.text = "other"
    assert repr(one) == "Corpus(name='Tiny Shakespeare', origin='here')"


@pytest.mark.skipif(
    not os.environ.get("COURSE_DATA"), reason="COURSE_DATA names no Tiny Shakespeare"
)
def test_tiny_shakespeare_is_what_the_course_says():
    found = load_corpus()
    assert (found.name, found.is_stand_in) == ("Tiny Shakespeare", False)
    assert len(found.text) == corpus.SIZE == 1_115_394
    assert len(set(found.text)) == 65
    assert hashlib.sha256(found.text.encode()).hexdigest() == corpus.SHA256
    assert found.text.startswith("First Citizen:\nBefore we proceed")


# The reader's own text


def test_a_text_keeps_its_line_ends_and_loses_its_byte_order_mark(tmp_path):
    path = tmp_path / "text.txt"
    text = "One line.\r\nAnother line.\rÜber.\n" * 40
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_text(path) == read_text(str(path)) == text


@pytest.mark.parametrize("count", [0, 1, 999])
def test_a_short_text_is_refused_with_its_length(tmp_path, count):
    path = tmp_path / "short.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"x" * count)
    with pytest.raises(ValueError, match=rf"path=.*short.txt.* {count} char.* 1,000"):
        read_text(path)
    path.write_bytes(b"x" * 1000)
    assert len(read_text(path)) == 1000


def test_a_text_that_is_not_utf8_is_refused_with_the_place(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"x" * 1500 + "é".encode("latin-1") + b"x" * 100)
    with pytest.raises(ValueError, match=r"latin.txt.* not utf-8 at byte 1,500 .*0xe9"):
        read_text(path)
    path.write_text("In another encoding.\n" * 100, encoding="utf-16")
    with pytest.raises(ValueError, match=r"not utf-8 at byte 0 "):
        read_text(path)
    path.write_text("And without its mark.\n" * 100, encoding="utf-16-le")
    with pytest.raises(ValueError, match=r"latin.txt.* number 0, .* may be utf-16"):
        read_text(path)


def test_a_missing_text_is_refused_by_name(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match="path=.* cannot be read") as caught:
            read_text(path)
        assert repr(str(path)) in str(caught.value)
