"""The commands under attack: settings, signals, locks, disks, pipes, resumed runs.

Most of it runs in this process. ``make kills`` stops many more trainings.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lib import stopping
from lib.checks.__main__ import checks_command
from lib.command_line import help_texts, output, run_command, with_settings
from lib.device import choose_device, memory_of, require_file
from lib.generate.__main__ import generate_command
from lib.models.presets import preset_config
from lib.train import lock, memory
from lib.train.__main__ import train_command
from lib.train.checkpoint import load_checkpoint
from lib.train.guards import progress_bar
from lib.train.ranges import RANGES, Range, check_ranges
from lib.train.run import Run
from lib.train.run_settings import RunSettings
from lib.translate.__main__ import translate_command
from lib.tune.__main__ import LoRASettings, sft_command

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "data/gpt-mini.safetensors"
TEXT = "To be, or not to be: that is the question.\n" * 45
SHORT = ["--preset", "demo", "--text", "text.txt", "--batch-size", 4, "--out", "run"]
SHORT += ["--device", "cpu"]
GIGABYTE = 2**30
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals, pipes of POSIX")


@pytest.fixture
def command(monkeypatch, capfd, tmp_path, request):
    """Run a command here, in an empty folder; return its status, output and error."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, "utf-8")
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None:  # the tests themselves may run under nohup
        before = signal.signal(hangup, signal.SIG_DFL)
        request.addfinalizer(lambda: signal.signal(hangup, before))

    def start(function, *words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(function)
        shown, error = capfd.readouterr()
        if isinstance(end.value.code, str):  # Python writes it to stderr, status 1
            return 1, shown, end.value.code
        return end.value.code or 0, shown, error

    return start


# Settings


@pytest.mark.parametrize(
    "words, message",
    [
        (["--steps", 10**23], f"--steps: n_steps={10**23} must be at least 1, and at"),
        (["--epochs", "1e300"], "epochs=.* must be above 0, and at most"),
        (["--batch-size", 10**26], "batch_size=10+ must be at least 1, and at most"),
        (["--context-length", 10**26], "context_length=10+ must be at least 1, and"),
        (["--context-length", 10**9], "text has .* tokens; context_length=10+ needs"),
        (["--vocab-size", 0], "vocab_size=0 must be at least 1"),
        (["--accumulation", 9], "accumulation=9 is more than batch_size=4"),
        (["--seed", -1], "seed=-1 must lie in"),
        (["--seed", 10**30], "seed=10+ must lie in"),
        (["--betas", 0.9, "nan"], r"betas=\(0.9, nan\) must lie in \[0, 1\)"),
        (["--betas", 1, 0.9], r"betas=\(1.0, 0.9\) must lie in"),
        (["--momentum", "nan"], "momentum=nan must lie in"),
        (["--rounds", 6], "rounds=6 must lie in"),
        (["--dropout", "nan"], "dropout=nan must lie in"),
        (["--every", 10**23], "every=10+ must be at least 1, and at most"),
        (["--text", "/dev/zero"], "is no file but a pipe or a device"),
        (["--text", "pipe"], "is no file but a pipe or a device"),
        (["--device", "meta"], "device='meta' cannot be used here: it must be auto"),
        (["--device", "mkldnn"], "device='mkldnn' cannot be used here"),
        (["--device", "privateuseone"], "device='privateuseone' cannot be used here"),
        (["--device", ""], "device='' cannot be used here"),
        (["--device", "cpu:3"], "device='cpu:3' cannot be used here"),
        (["--out", "text.txt/x"], "path='text.txt/x' cannot be written"),
    ],
)
@POSIX
def test_a_refused_training_is_one_line_and_leaves_nothing(command, words, message):
    os.mkfifo("pipe")
    given = words if words[0] in ("--steps", "--epochs") else [*words, "--steps", 2]
    status, shown, error = command(train_command, *SHORT, *given)
    assert status == 1 and error.startswith("error: ") and "\n" not in error
    assert re.search(message, error) and not shown
    assert sorted(os.listdir()) == ["pipe", "text.txt"]


def test_an_empty_path_is_refused(command):
    for function, words in (
        (train_command, ["--out", ""]),
        (generate_command, [""]),
        (sft_command, ["--base", MODEL, "--data", "text.txt", "--out", ""]),
        (translate_command, ["--say", "the boy", "--model", " "]),
    ):
        status, _, error = command(function, *words)
        assert status == 2 and "is empty: name a file or a folder" in error


def test_settings_of_a_file_may_be_of_a_wrong_type():
    for values in ({"n_steps": "9"}, {"seed": True}, {"betas": 3}, {"text": 7}):
        (name,) = values
        with pytest.raises(TypeError, match=f"^{name}="):
            RunSettings(**values)
    with pytest.raises(ValueError, match="rank=100000 must be at least|rank=100000 mu"):
        LoRASettings(rank=100_000)


@pytest.mark.parametrize(
    "allowed, inside, outside",
    [
        (Range(0, above=True, below=True), [1e-9, 9e9], [0, -1, float("inf")]),
        (Range(0, 1, below=True), [0, 0.99], [1, -0.1]),
        (Range(1, 5), [1, 5], [0, 6]),
    ],
)
def test_ranges(allowed, inside, outside):
    assert all(number in allowed for number in inside)
    assert not any(number in allowed for number in [*outside, float("nan")])


def test_every_number_of_a_training_has_a_range():
    numbers = {n for n, v in vars(RunSettings()).items() if type(v) in (int, float)}
    assert numbers <= RANGES.keys()


def test_check_ranges_looks_at_each_number_of_a_pair():
    @dataclass
    class Pair:
        betas: tuple[float, float]

    check_ranges(Pair((0.1, 0.2)))
    for wrong in ((0.1, 1.0), (float("nan"), 0.5)):
        with pytest.raises(ValueError, match="betas="):
            check_ranges(Pair(wrong))


# Memory


def test_what_does_not_fit_says_what_would(monkeypatch):
    monkeypatch.setattr(memory, "memory_of", lambda device: GIGABYTE)
    cpu, config = torch.device("cpu"), preset_config("base")
    memory.require_memory(config, RunSettings(batch_size=16), cpu)
    with pytest.raises(ValueError, match="batch_size=1000000 .* a batch size of") as e:
        memory.require_memory(config, RunSettings(batch_size=10**6), cpu)
    size = int(re.search(r"a batch size of ([\d,]+)", str(e.value))[1].replace(",", ""))
    needed = [
        memory.bytes_of_training(config, RunSettings(batch_size=n))
        for n in (size, size + 1)
    ]
    assert needed[0] <= GIGABYTE < needed[1]
    long = preset_config("base", context_length=10**7)
    with pytest.raises(ValueError, match="a batch size of 1 and a context length of"):
        memory.require_memory(long, RunSettings(), cpu)
    with pytest.raises(ValueError, match="has 1.0 GB: take a smaller preset"):
        memory.require_memory(preset_config("gpt2-xl"), RunSettings(), cpu)
    monkeypatch.setattr(memory, "memory_of", lambda device: None)
    memory.require_memory(long, RunSettings(), cpu)  # nobody knows


def test_no_estimate_is_above_what_a_small_run_has_had():
    random = torch.get_rng_state()
    config = preset_config("demo")
    few, many = (
        memory.bytes_of_training(config, RunSettings(batch_size=n)) for n in (1, 64)
    )
    assert few < many < 8 * 2**20
    assert torch.equal(torch.get_rng_state(), random)
    assert memory_of(torch.device("cpu")) is None or memory_of(torch.device("cpu")) > 0


def test_a_text_beyond_the_memory_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("lib.device.memory_of", lambda device: 17_000)
    path = tmp_path / "text.txt"
    path.write_bytes(b"x" * 1_000)
    require_file(path)
    path.write_bytes(b"x" * 1_001)
    with pytest.raises(ValueError, match="has 1,001 bytes; .* a text may have 1,000"):
        require_file(path)


def test_memory_that_is_not_there_is_one_line(command, monkeypatch):
    def fail(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Run, "next_batch", fail)
    status, _, error = command(train_command, *SHORT, "--steps", 2)
    assert status == 1 and error.startswith("error: the memory of this machine is not")
    assert sorted(os.listdir()) == ["text.txt"]  # nothing was learnt: nothing is kept


def test_another_runtime_error_is_not_hidden(monkeypatch):
    def broken_command():
        raise RuntimeError("a fault of the course")

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(RuntimeError, match="a fault of the course"):
        run_command(broken_command)


def test_one_list_of_devices():
    for name in ("meta", "mkldnn", "privateuseone", "vulkan", "cpu:1", "", "CPU"):
        with pytest.raises(ValueError, match="it must be auto, cpu, cuda"):
            choose_device(name)
    assert choose_device("cpu").type == choose_device("cpu:0").type == "cpu"


# Signals


def train_with(command, monkeypatch, at: int, *signals: int, steps: int = 6):
    """Train; at a step, send signals to this process."""
    draw, calls = Run.next_batch, []

    def next_batch(self):
        calls.append(1)
        if len(calls) == at:
            for number in signals:
                signal.raise_signal(number)
        return draw(self)

    monkeypatch.setattr(Run, "next_batch", next_batch)
    return command(train_command, *SHORT, "--steps", steps, "--every", 100)


@POSIX
@pytest.mark.parametrize(
    "signals, status",
    [
        ([signal.SIGINT], 130),
        ([signal.SIGINT] * 5, 130),
        ([signal.SIGTERM], 143),
        ([getattr(signal, "SIGHUP", 1)], 129),
        ([signal.SIGINT, signal.SIGTERM], 130),
    ],
)
def test_every_wish_to_stop_saves(command, monkeypatch, signals, status):
    code, shown, error = train_with(command, monkeypatch, 3, *signals)
    assert code == status and not error
    assert "stopped after step 3; go on with python -m lib.train" in shown
    assert len(load_checkpoint("run").run["run.losses"]) == 3
    assert os.listdir("run") == ["checkpoint.safetensors"]


@POSIX
def test_a_signal_while_it_saves_waits(command, monkeypatch):
    save = Run.save

    def signalled(self):
        os.kill(os.getpid(), signal.SIGINT)
        save(self)

    monkeypatch.setattr(Run, "save", signalled)
    status, shown, _ = command(train_command, *SHORT, "--steps", 6, "--every", 2)
    assert status == 130 and os.listdir("run") == ["checkpoint.safetensors"]
    n = len(load_checkpoint("run").run["run.losses"])
    assert f"stopped after step {n};" in shown


@POSIX
def test_a_late_second_wish_says_what_the_file_holds(command, monkeypatch):
    draw, calls = Run.next_batch, []

    def next_batch(self):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(stopping, "ONE_WISH", -1.0)  # as if time had passed
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self)

    monkeypatch.setattr(Run, "next_batch", next_batch)
    status, shown, _ = command(train_command, *SHORT, "--steps", 9, "--every", 2)
    assert status == 130 and "stopped after step 2; go on with" in shown
    assert len(load_checkpoint("run").run["run.losses"]) == 2


@POSIX
def test_a_wish_that_an_import_swallows_is_heeded(command, monkeypatch):
    new = Run.new

    def swallowing(*arguments, **options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:  # as some modules do
            pass
        return new(*arguments, **options)

    monkeypatch.setattr(Run, "new", swallowing)
    status, shown, _ = command(train_command, *SHORT, "--steps", 9)
    assert status == 130 and "stopped after step" in shown


@POSIX
def test_other_commands_stop_in_one_line(command, monkeypatch):
    def stop(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("lib.generate.__main__.load_for_command", stop)
    status, shown, error = command(generate_command, MODEL)
    assert (status, shown, error) == (143, "", "stopped\n")


@POSIX
@pytest.mark.parametrize("number, status", [("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_while_the_options_are_made_out(command, monkeypatch, number, status):
    def stop(*_, **__):
        os.kill(os.getpid(), getattr(signal, number))

    monkeypatch.setattr("typer.main.get_command", stop)
    assert command(generate_command, MODEL) == (status, "", "stopped\n")


def test_handlers_are_put_back(command):
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    command(train_command, *SHORT, "--steps", 1)
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


@POSIX
def test_nohup_is_respected(command, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        status, shown, _ = train_with(command, monkeypatch, 2, signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert status == 0 and "stopped" not in shown


@POSIX
def test_a_command_that_is_stopped_while_it_starts_is_quick():
    code = """if True:
    import os, signal, sys
    signal.signal(signal.{0}, signal.SIG_DFL)
    sys.argv = ["-m"]
    import lib
    os.kill(os.getpid(), signal.{0})
    print("not reached")
    """
    for name, status in (("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)):
        words = [sys.executable, "-S", "-c", code.format(name)]
        run = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
        )
        assert (run.returncode, run.stdout) == (status, "")
        assert run.stderr == "stopped before it began\n"


def test_a_notebook_keeps_its_own_way_to_stop():
    code = """if True:
    import signal
    own = signal.default_int_handler
    signal.signal(signal.SIGINT, own)
    import lib
    print(signal.getsignal(signal.SIGINT) is own)
    """
    words = [sys.executable, "-S", "-c", code]
    run = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert run.stdout == "True\n"


# One writer


def test_a_second_writer_gets_one_line(command):
    with lock.one_writer("run"):
        status, shown, error = command(train_command, *SHORT, "--steps", 2)
        assert (status, shown) == (1, "")
        assert error == "error: run is being written by another program"
    assert not Path("run").exists()
    assert command(train_command, *SHORT, "--steps", 2)[0] == 0
    with lock.one_writer("run"):
        words = ["--out", "run", "--resume"]
        status, _, error = command(train_command, *words)
        assert status == 1 and "is being written by another program" in error
    assert command(train_command, "--out", "run", "--resume")[0] == 0


def test_a_lock_leaves_no_folder_that_it_made(tmp_path):
    with lock.one_writer(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with lock.one_writer(tmp_path / "mine"):
        pass
    assert os.listdir(tmp_path) == ["mine"]


def test_a_lock_ends_with_its_process(tmp_path):
    code = f"""if True:
    import os
    from lib.train.lock import one_writer
    with one_writer({str(tmp_path / "x")!r}):
        os.kill(os.getpid(), 9)
    """
    if sys.platform != "win32":
        words = [sys.executable, "-c", code]
        assert subprocess.run(words, cwd=ROOT).returncode == -9
    with lock.one_writer(tmp_path / "x"):
        pass


def test_on_windows_a_file_is_locked(tmp_path, monkeypatch):
    locked, mode = set(), 2

    def locking(place, how, n):
        name = os.fstat(place).st_ino
        if (how, n) != (mode, 1) or name in locked:
            raise OSError("taken")
        locked.add(name)

    fake = types.SimpleNamespace(locking=locking, LK_NBLCK=mode)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    monkeypatch.setattr(lock.os, "O_TEMPORARY", 0, raising=False)
    monkeypatch.setattr(lock.sys, "platform", "win32")
    with lock.one_writer(tmp_path):
        assert os.listdir(tmp_path) == [".lock"]
        with pytest.raises(ValueError, match="is being written by another program"):
            with lock.one_writer(tmp_path):
                pass


# Output


def test_a_message_is_one_line_that_moves_no_cursor():
    shown = output.one_line("a\x1b[31m\n\u2028b\x00é漢\u202e")
    assert shown == "a\\x1b[31m  b\\x00é漢\\u202e"
    assert len(output.one_line("x" * 10**6)) < 700


def run_quickly(*words, **options) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, **options)


@POSIX
def test_a_pipe_that_is_closed_ends_a_command_quietly(command, monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        words = [MODEL, "--prompt", "To", "--length", 3, "--device", "cpu"]
        status, _, error = command(generate_command, *words)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    assert (status, error) == (output.CLOSED_PIPE, "")


class Closed:
    """An output that nobody reads any more."""

    encoding = "utf-8"

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        pass


def test_a_closed_pipe_is_no_reason_to_stop_a_training(command, monkeypatch):
    monkeypatch.delenv("COURSE_QUIET", raising=False)
    monkeypatch.setattr(sys, "stderr", Closed())
    status, shown, _ = command(train_command, *SHORT, "--steps", 3)
    assert status == 0 and "step 3: validation loss" in shown


def one_bar() -> None:
    with progress_bar(0, 2) as advance:
        advance(1.0, 10)


@pytest.mark.parametrize("place", [Closed(), None])
def test_a_bar_that_nobody_sees_keeps_nobody_waiting(monkeypatch, place):
    """The lock of all bars was left shut where one could not be shown."""
    monkeypatch.delenv("COURSE_QUIET", raising=False)
    monkeypatch.setattr(sys, "stderr", place)
    one_bar()
    other = threading.Thread(target=one_bar, daemon=True)
    other.start()
    other.join(timeout=20)
    assert not other.is_alive()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "ascii:surrogateescape"])
def test_narrow_code_pages(encoding):
    code = "import sys, lib; print('█ 漢 é', sys.stdout.errors)"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    words = [sys.executable, "-S", "-c", code]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, env=environment)
    assert run.returncode == 0 and run.stderr == b""
    assert run.stdout.startswith(b"? ? ") and b"replace" in run.stdout


def test_of_several_processes_the_first_to_know_says_it(monkeypatch):
    said = {}

    class Store:
        def __init__(self, *place, is_master, timeout):
            assert place == ("host", 29_500) and not is_master

        def add(self, key, n):
            said[key] = said.get(key, 0) + n
            return said[key]

    assert output.first_to_say("a") and output.first_to_say("a")  # alone
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "host")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setattr(output.distributed, "TCPStore", Store)
    assert [output.first_to_say(word) for word in "aabab"] == [1, 0, 1, 0, 0]


# Resumed runs


def test_a_text_that_has_moved_is_the_same_text(command):
    assert command(train_command, *SHORT, "--steps", 3)[0] == 0
    go_on = ["--out", "run", "--resume", "--device", "cpu"]
    for name in ("./text.txt", Path("text.txt").absolute()):
        assert command(train_command, *go_on, "--text", name)[0] == 0
    Path("elsewhere").mkdir()
    Path("text.txt").rename("elsewhere/t.txt")
    status, _, error = command(train_command, *go_on)
    assert status == 1 and "text.txt' cannot be read" in error
    assert command(train_command, *go_on, "--text", "elsewhere/t.txt")[0] == 0
    Path("other.txt").write_text(TEXT.replace("To", "No"), "utf-8")
    status, _, error = command(train_command, *go_on, "--text", "other.txt")
    assert status == 1 and error.startswith("error: --text other.txt cannot change")


def test_a_run_may_be_told_what_it_has_chosen_itself(command):
    assert command(train_command, *SHORT, "--steps", 2)[0] == 0
    go_on = ["--out", "run", "--resume", "--device", "cpu"]
    own = ["--context-length", 32, "--dropout", 0, "--tokenizer", "characters"]
    assert command(train_command, *go_on, *own, "--preset", "demo")[0] == 0
    for words in (["--context-length", 31], ["--dropout", 0.5], ["--seed", 1]):
        status, _, error = command(train_command, *go_on, *words)
        assert status == 1 and error.startswith(f"error: {words[0]} {words[1]} cannot")


@POSIX
def test_a_link_to_another_disk_is_followed(command):
    Path("run").mkdir()
    Path("run/checkpoint.safetensors").symlink_to(Path("real.safetensors").absolute())
    assert command(train_command, *SHORT, "--steps", 1)[0] == 0
    assert Path("run/checkpoint.safetensors").is_symlink()
    assert len(load_checkpoint("real.safetensors").run["run.losses"]) == 1


@POSIX
@pytest.mark.parametrize("mask, mode", [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(command, mask, mode):
    before = os.umask(mask)
    try:
        assert command(train_command, *SHORT, "--steps", 1)[0] == 0
    finally:
        os.umask(before)
    assert Path("run/checkpoint.safetensors").stat().st_mode & 0o777 == mode


def test_a_full_disk_is_one_line_and_leaves_what_was_there(command, monkeypatch):
    from lib.train import tensor_file

    write, calls = tensor_file.save_file, []

    def full(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(tensor_file, "save_file", full)
    status, _, error = command(train_command, *SHORT, "--steps", 8, "--every", 2)
    assert status == 1 and "cannot be written" in error and "No space left" in error
    assert os.listdir("run") == ["checkpoint.safetensors"]
    assert len(load_checkpoint("run").run["run.losses"]) == 2


# Writing and translating


@pytest.mark.parametrize(
    "words, message",
    [
        (["--top-k", 66], "top_k=66 is more than the vocabulary has: 65 tokens"),
        (["--top-k", 10**20], "more than the vocabulary has"),
        (["--top-k", 0], "--top-k: k=0 must be at least 1"),
        (["--length", -1], "--length: n_new=-1 must be 0 or more"),
        (["--length", 10**23], "length=10+ must be at least 1, and at most"),
        (["--samples", 10**23], "samples=10+ must be at least 1, and at most"),
        (["--seed", 10**23], "seed=10+ must lie in"),
        (["--strategy", "greedy", "--temperature", 1.0], "--temperature 1.0 does not"),
        (["--temperature", 0, "--top-k", 5], "--top-k 5 does not go with --temper"),
        (["--temperature", 0, "--top-p", 0.5], "--top-p 0.5 does not go with"),
        (["--temperature", 0, "--strategy", "sample"], "--strategy sample does not"),
        (["--device", "meta"], "device='meta' cannot be used here"),
    ],
)
def test_what_is_not_written(command, words, message):
    given = [MODEL, "--prompt", "To", "--length", 3, "--device", "cpu", *words]
    status, shown, error = command(generate_command, *given)
    assert (status, shown) == (1, "") and re.search(message, error)
    assert error.startswith("error: ") and "\n" not in error


def test_a_long_prompt_is_told_of(command):
    words = [MODEL, "--length", 2, "--device", "cpu", "--prompt"]
    status, shown, error = command(generate_command, *words, "a" * 10_000)
    assert status == 0 and len(shown) == 10_003
    words_of_it = "the model reads the last 64 at most"
    assert error == f"the prompt has 10,000 tokens; {words_of_it}\n"
    assert command(generate_command, *words, "a" * 64)[2] == ""


@pytest.mark.parametrize(
    "words, message",
    [
        (["--say", "<eos> the boy"], "'<eos>', a mark of the model, which is no word"),
        (["--say", "the boy " * 40], "length=81 is more than context_length=64"),
        (["--say", "the boy", "--beams", 999], "--beams: n_beams=999 must be 1 .. 157"),
        (["--say", "the boy", "--steps", 5], "--steps 5 does not go with --say"),
        (["--say", "the boy", "--seed", 5], "--seed 5 does not go with --say"),
        (["--say", "the boy", "--out", "x"], "--out x does not go with --say"),
        (["--train", "--model", "x"], "--model x does not go with --train: see --out"),
        (["--train", "--steps", 0], "--steps: n_steps=0 must be at least 1"),
        (["--train", "--out", "text.txt/x"], "cannot be written"),
    ],
)
def test_what_is_not_translated(command, words, message):
    status, shown, error = command(translate_command, *words)
    assert (status, shown) == (1, "") and re.search(message, error)
    assert error.startswith("error: ") and "\n" not in error
    assert os.listdir() == ["text.txt"]


def test_a_long_sentence_is_told_of(command):
    status, shown, error = command(translate_command, "--say", "the boy " * 8)
    assert status == 0 and shown
    assert error == (
        "the sentence has 16 words; the translator has learnt from 14 at most\n"
    )


# More that once came through


def test_the_same_command_goes_on_whatever_its_options(command):
    words = [*SHORT, "--steps", 2, "--betas", 0.9, 0.98]
    assert command(train_command, *words)[0] == 0
    assert command(train_command, *words, "--resume")[0] == 0
    status, _, error = command(train_command, *words[:-1], 0.99, "--resume")
    assert status == 1 and "--betas (0.9, 0.99) cannot change" in error


@POSIX
def test_a_link_to_itself_is_refused_and_stays(command):
    Path("run").mkdir()
    Path("run/checkpoint.safetensors").symlink_to("checkpoint.safetensors")
    status, _, error = command(train_command, *SHORT, "--steps", 1)
    assert status == 1 and "checkpoint.safetensors" in error and "\n" not in error
    assert Path("run/checkpoint.safetensors").is_symlink()


@POSIX
def test_a_pipe_is_no_corpus(command, monkeypatch):
    os.mkfifo("tinyshakespeare.txt")
    monkeypatch.setenv("COURSE_DATA", ".")
    words = ["--preset", "demo", "--steps", 1, "--out", "run"]
    status, _, error = command(train_command, *words)
    assert status == 1 and "it is a folder, a pipe or a device" in error


def test_a_place_among_processes_is_a_number(command, monkeypatch):
    monkeypatch.setenv("RANK", "x")
    status, _, error = command(train_command, *SHORT, "--steps", 1)
    assert status == 1 and "RANK='x'" in error and "as torchrun sets them" in error


@pytest.mark.parametrize(
    "words, message",
    [
        (["--say", "dragon"], "'dragon', is not in the vocabulary"),
        (["--say", "the boy " * 40], "words of --say=80 must be 0 .. 64"),
        (["--beams", 3], "--beams 3 does not go with --train without --say"),
    ],
)
def test_a_translation_is_refused_before_the_training(command, words, message):
    new = ["--train", "--steps", 1, "--out", "french"]
    status, shown, error = command(translate_command, *new, *words)
    assert status == 1 and message in error and not shown
    assert not Path("french").exists()


@pytest.mark.parametrize("out", ["anna.ipynb", "class"])
def test_marks_do_not_take_the_place_of_answers(command, out):
    Path("class").mkdir()
    Path("anna.ipynb").write_text("{}", "utf-8")
    status, shown, error = command(checks_command, "06", "anna.ipynb", "--out", out)
    assert status == 1 and f"out='{out}' must be a table" in error and not shown
    assert Path("anna.ipynb").read_text("utf-8") == "{}"


def test_options_without_docstrings_have_no_help_texts() -> None:
    @dataclass
    class Bare:
        n_steps: int = 1

    Bare.__doc__ = None
    assert help_texts(Bare) == {}
    with_settings(Bare)(lambda **settings: None)
    assert "batch_size" in help_texts(RunSettings)


def test_ctrl_c_while_options_are_made_out_is_said(command, monkeypatch):
    def parse(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("typer.core.TyperCommand.make_context", parse)
    status, _, error = command(train_command, *SHORT)
    assert status == 130 and "stopped" in error
