"""What Windows would stumble over, found without it.

Names of files that it refuses or takes for one another, line ends, calls that only Unix
has, names with its separator, and a system whose own encoding is not utf-8
(``test_encodings.py`` reads the calls, and narrows what programs print to).
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from cells import expect_none
from notebooks import ROOT

LONGEST = 100  # of a name from the root on: Windows allows 259 with the folders above
REFUSED = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .]$')
DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10)
}
UNIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
UNIX_CALLS = {
    "os": {"fork", "getuid", "geteuid", "getloadavg", "kill", "killpg", "mkfifo"}
    | {"nice", "sched_getaffinity", "setsid", "uname", "wait", "waitpid"},
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "pause"}
    | {"setitimer"},
}
ON_WINDOWS = "sys.platform == 'win32'"
UNIX_WORDS = {"preexec_fn", "pass_fds", "shell"}  # of subprocess
PROGRAMS = {"python", "python3", "sh", "bash", "make", "cp", "rm", "ls", "cat"}
RUN = {"run", "Popen", "check_output", "check_call", "call"}
WORDS = {"subprocess", "get_context", *UNIX_MODULES}.union(*UNIX_CALLS.values())
SOME_WORD = re.compile(rf"\b({'|'.join(sorted(WORDS))})\b")  # else it is not read


def kept_names() -> list[str]:
    """Return every file that git keeps, or would, as a name from the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the course was not made by git")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return sorted(set(listing.stdout.decode("utf-8").split("\0")) - {""})


# Names


def name_flaws(names: Iterable[str]) -> Iterator[str]:
    """Yield names that Windows refuses, or that it takes for another one."""
    places = set()
    for name in names:
        if len(name) > LONGEST:
            yield f"{name}: longer than {LONGEST} characters"
        for part in PurePosixPath(name).parts:
            if REFUSED.search(part) or part.split(".")[0].lower() in DEVICES:
                yield f"{name}: {part!r}"
        path = PurePosixPath(name)
        places |= {str(p) for p in (path, *path.parents)}
    seen = Counter(place.lower() for place in places)
    for place in (place for place, n in seen.items() if n > 1):
        yield f"{place}: twice, but for capitals"


def test_windows_takes_every_name():
    expect_none(list(name_flaws(kept_names())))


@pytest.mark.parametrize(
    "names, said",
    [
        (["data/a:b.txt"], "'a:b.txt'"),
        (["data/what?.txt"], "'what?.txt'"),
        (["lib/aux.py"], "'aux.py'"),
        (["lib/Con.tar.gz"], "'Con.tar.gz'"),
        (["lib/com7/x.py"], "'com7'"),
        (["lib/x."], "'x.'"),
        (["lib /x"], "'lib '"),
        (["lib/" + "x" * 97], "longer than 100"),
        (["lib/Gpt.py", "lib/gpt.py"], "lib/gpt.py: twice"),
        (["Lib/a.py", "lib/b.py"], "lib: twice"),
    ],
)
def test_a_name_that_windows_refuses_is_found(names, said):
    assert said in " · ".join(name_flaws(names))


def test_other_names_pass():
    names = ["lib/auxiliary.py", "lib/com10.py", "lib/a b.py", ".ci/run"]
    assert list(name_flaws([*names, "lib/" + "x" * 96])) == []


# Line ends


def attributes(names: list[str]) -> dict[str, dict[str, str]]:
    """Return what `.gitattributes` says of each name: text and eol."""
    command = ["git", "check-attr", "-z", "--stdin", "text", "eol"]
    given = "\0".join(names).encode("utf-8")
    listing = subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, check=True
    )
    words = listing.stdout.decode("utf-8").split("\0")[:-1]
    found: dict[str, dict[str, str]] = {}
    triples = zip(words[::3], words[1::3], words[2::3], strict=True)
    for name, attribute, value in triples:
        found.setdefault(name, {})[attribute] = value
    return found


def test_files_have_the_same_bytes_on_every_system():
    """Texts end their lines alike; what is no text is said to be none."""
    problems = []
    for name, says in attributes(kept_names()).items():
        if not (ROOT / name).is_file():  # just deleted
            continue
        data = (ROOT / name).read_bytes()
        if says["text"] != "unset" and says["eol"] != "lf":
            problems.append(f"{name}: Windows would get other line ends")
        if says["text"] != "unset" and b"\r\n" in data:
            problems.append(f"{name}: has line ends of Windows")
        if says["text"] != "unset" and b"\0" in data:
            problems.append(f"{name}: is no text, and .gitattributes does not say so")
    expect_none(problems)


# Calls


def unix_calls(source: str) -> Iterator[str]:
    """Yield what a file uses without a guard that only Unix has, with its line.

    A guard is `getattr`, `hasattr` in the same line, or `pytest.importorskip`; or what
    Windows never comes to: the rest of a body after `if sys.platform == "win32":` has
    left it, and a test that is marked `POSIX`.
    """
    if not SOME_WORD.search(source):
        return
    lines, tree = source.splitlines(), ast.parse(source)
    guarded = {id(node) for body in unix_only(tree) for node in ast.walk(body)}
    for node in ast.walk(tree):
        found = ""
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found = next((a.name for a in node.names if a.name in UNIX_MODULES), "")
        elif isinstance(node, ast.ImportFrom) and node.module in UNIX_MODULES:
            found = node.module
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", "")
            guard = f'hasattr({owner}, "{node.attr}")'
            known = node.attr in UNIX_CALLS.get(owner, ())
            if known and guard not in lines[node.lineno - 1]:
                found = f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call):
            found = _unix_process(node)
        if found:
            yield f"line {node.lineno}: {found}"


def unix_only(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield statements that Windows never comes to."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for i, one in enumerate(body if isinstance(body, list) else []):
            if isinstance(one, ast.If) and ast.unparse(one.test) == ON_WINDOWS:
                if ast.unparse(one.body[-1]).startswith(("return", "sys.exit(")):
                    yield from body[i + 1 :]
        marks = getattr(node, "decorator_list", [])
        if any(ast.unparse(mark) == "POSIX" for mark in marks):
            yield node


def _unix_process(call: ast.Call) -> str:
    """What a call of `subprocess` or `multiprocessing` needs of Unix."""
    name, owner = getattr(call.func, "attr", ""), getattr(call.func, "value", None)
    first = call.args[0] if call.args else None
    if name == "get_context" and getattr(first, "value", "") in {"fork", "forkserver"}:
        return f"get_context({first.value!r})"
    if name not in RUN or getattr(owner, "id", "") != "subprocess":
        return ""
    if isinstance(first, ast.List) and first.elts:
        first = first.elts[0]
    if isinstance(first, ast.Constant) and str(first.value).split(" ")[0] in PROGRAMS:
        return f"the program {first.value!r}"
    return next((w.arg for w in call.keywords if w.arg in UNIX_WORDS), "")


def own_files() -> list[Path]:
    """Return the Python files of the library, the lessons, the tools and the tests."""
    folders = ["lib", "book", "tests", "lessons", "solutions"]
    return [ROOT / "conftest.py"] + [
        path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_no_file_needs_unix():
    expect_none(
        [
            f"{path.relative_to(ROOT).as_posix()}, {call}"
            for path in own_files()
            for call in unix_calls(path.read_text("utf-8"))
        ]
    )


@pytest.mark.parametrize(
    "source, said",
    [
        ("import os\nos.kill(os.getpid(), 2)", "line 2: os.kill"),
        ("os.fork()", "os.fork"),
        ("x = signal.SIGKILL", "signal.SIGKILL"),
        ("import resource", "resource"),
        ("from pwd import getpwnam", "pwd"),
        ("subprocess.run(['python3', 'x.py'])", "'python3'"),
        ("subprocess.run('make site', shell=True)", "'make site'"),
        ("subprocess.Popen(words, preexec_fn=f)", "preexec_fn"),
        ("multiprocessing.get_context('fork')", "get_context('fork')"),
        ("signal.raise_signal(signal.SIGINT)", ""),
        ("getattr(os, 'sched_getaffinity', None)", ""),
        ('k = -signal.SIGKILL if hasattr(signal, "SIGKILL") else 1', ""),
        ("pytest.importorskip('resource')", ""),
        ("subprocess.run([sys.executable, 'x.py'])", ""),
        ("subprocess.run(['git', 'init'])", ""),
        ("multiprocessing.get_context('spawn')", ""),
        ("process.kill()", ""),
        ("if sys.platform == 'win32':\n    sys.exit('no')\nos.fork()", ""),
        ("if sys.platform == 'win32':\n    print('no')\nos.fork()", "os.fork"),
        ("os.fork()\nif sys.platform == 'win32':\n    sys.exit()", "os.fork"),
        (
            "def f():\n    if sys.platform == 'win32':\n        return\n    os.fork()",
            "",
        ),
        ("@POSIX\ndef test():\n    os.fork()", ""),
        ("@slow\ndef test():\n    os.fork()", "os.fork"),
    ],
)
def test_a_call_that_only_unix_has_is_found(source, said):
    found = " · ".join(unix_calls(source))
    assert said in found if said else not found


# Names with Windows's separator


def names_with_its_separator(source: str) -> Iterator[int]:
    """Yield lines that take a path's name from a folder on as it is: with \\ there."""
    if "relative_to" not in source:
        return
    tree = ast.parse(source)
    above = {
        child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)
    }
    for call in ast.walk(tree):
        if getattr(getattr(call, "func", None), "attr", "") != "relative_to":
            continue
        node, used = above[call], set()
        while isinstance(node, ast.Attribute | ast.Call):
            used.add(getattr(node, "attr", ""))
            node = above[node]
        if not used & {"as_posix", "parts"}:
            yield call.lineno


def test_a_name_from_a_folder_on_is_the_same_on_every_system():
    expect_none(
        [
            f"{path.relative_to(ROOT).as_posix()}, line {line}"
            for path in own_files()
            for line in names_with_its_separator(path.read_text("utf-8"))
        ]
    )


@pytest.mark.parametrize(
    "source, is_found",
    [
        ("name = str(path.relative_to(root))", True),
        ("print(f'{path.relative_to(root)} is new')", True),
        ("name = path.relative_to(root).name", True),
        ("name = path.relative_to(root).as_posix()", False),
        ("parts = path.relative_to(root).with_suffix('').parts", False),
        ("inside = path.is_relative_to(root)", False),
    ],
)
def test_a_name_with_its_separator_is_found(source, is_found):
    assert bool([*names_with_its_separator(source)]) == is_found


# A system whose own encoding is not utf-8


FILES = """
import locale, sys, warnings
from pathlib import Path
import torch
assert locale.getpreferredencoding(False).lower() not in ("utf-8", "utf8")
from lib.models.gpt import GPT
from lib.models.presets import PRESETS
from lib.text.bpe import BPETokenizer
from lib.text.corpus import read_text
from lib.text.tokenizer import CharTokenizer
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.tune.rows import read_pairs
warnings.filterwarnings("error", category=EncodingWarning, module="lib")
folder, text = Path(sys.argv[1]), "天地玄黄 é ö\\r\\nend\\n" * 90
(folder / "a.txt").write_bytes(text.encode("utf-8-sig"))
assert read_text(folder / "a.txt") == text
bpe = BPETokenizer.train(text, 260)
bpe.save(folder / "bpe.json")
assert BPETokenizer.load(folder / "bpe.json").decode(bpe.encode(text)) == text
letters = CharTokenizer("天地玄黄宇宙洪荒éö")
save_checkpoint(folder / "x.safetensors", GPT(PRESETS["demo"]), letters)
assert load_checkpoint(folder / "x.safetensors").tokenizer.decode([0, 1])
rows = '{"prompt": "é", "chosen": "天", "rejected": "地"}\\r\\n'
(folder / "rows.jsonl").write_bytes(rows.encode())
(pair,) = read_pairs(folder / "rows.jsonl", BPETokenizer.train(text, 260), 400)
assert "é" in bpe.decode(pair.prompt) and "天" in bpe.decode(pair.chosen)
print("done")
"""


def other_encoding() -> dict[str, str]:
    """Return an environment in which Python opens files as ASCII unless told."""
    there = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    there |= {"PYTHONWARNDEFAULTENCODING": "1", "PYTHONIOENCODING": "cp1252"}
    return os.environ | there | {"COURSE_QUIET": "1", "PYTHONPATH": str(ROOT)}


def test_texts_and_models_are_the_same_files_there(tmp_path):
    script = tmp_path / "files.py"
    script.write_text(FILES, encoding="utf-8")
    words = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(words, env=other_encoding(), capture_output=True)
    assert done.returncode == 0 and done.stdout.split() == [b"done"], done.stderr
