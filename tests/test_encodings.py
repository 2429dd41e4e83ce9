"""Text is utf-8 wherever it is read or written, and narrow outputs end no program."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.models.gpt import GPT
from lib.models.presets import PRESETS
from lib.text.tokenizer import CharTokenizer
from lib.train.checkpoint import save_checkpoint

ROOT = Path(__file__).parents[1]
FOLDERS = ["lib", "book/_tools", "book/_ext", "tests", "tests/emulation", "lessons"]
FOLDERS += ["solutions", "."]
PATTERN = ["*.py", "**/*.py"]  # the library has folders of its own
BYTES = {"os", "tarfile", "Image"}  # what these open is no text
RUN = {"run", "Popen", "check_output", "check_call", "call"}  # of subprocess


def unnamed_encodings(source: str) -> Iterator[int]:
    """The lines that read or write text without naming its encoding."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        owner = getattr(getattr(call.func, "value", None), "id", "")
        words = {word.arg: word.value for word in call.keywords}
        if "encoding" in words or None in words:  # None: **options
            continue
        if name == "open" and (owner or isinstance(call.func, ast.Name)):
            if owner in BYTES:
                continue
            modes = [words.get("mode"), *call.args]
            modes = [m.value for m in modes if isinstance(m, ast.Constant)]
            if not any("b" in str(m) and set(str(m)) <= set("rwxab+") for m in modes):
                yield call.lineno
        n_args = {"read_text": 1, "write_text": 2}.get(name)
        if n_args and len(call.args) < n_args:
            yield call.lineno
        if name in RUN and owner == "subprocess" and {"text"} & words.keys():
            yield call.lineno


def test_every_text_file_has_its_encoding_named():
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).glob(PATTERN[folder == "lib"]))
        for line in unnamed_encodings(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source, is_found",
    [
        ("Path('x').read_text()", True),
        ("Path('x').read_text('utf-8')", False),
        ("Path('x').read_text(encoding='utf-8')", False),
        ("Path('x').write_text('é')", True),
        ("Path('x').write_text('é', 'utf-8')", False),
        ("open('x')", True),
        ("open('x', 'w')", True),
        ("open('x', 'rb')", False),
        ("open('x', mode='wb')", False),
        ("open('x', encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('rb')", False),
        ("subprocess.run(words, text=True)", True),
        ("subprocess.run(words, text=True, encoding='utf-8')", False),
        ("subprocess.run(words)", False),
        ("os.open('x', 0)", False),
        ("Image.open('x')", False),
        ("other.open('x')", True),
    ],
)
def test_a_missing_encoding_is_found(source, is_found):
    assert bool([*unnamed_encodings(source)]) == is_found


# Narrow outputs


def with_encoding(encoding: str, *words: str) -> subprocess.CompletedProcess:
    """Run Python with such an output."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True
    )


COMMANDS = """
import runpy
import sys
import lib

PROMPT = ["lib.generate", sys.argv[1], "--prompt", "天地", "--length", "9"]
for words in (
    ["lib.translate", "--say", "the small boy", "--beams", "1"],
    ["lib.generate", "data/base.safetensors", "--length", "3"],
    ["lib.models"],
    ["lib.train", "--help"],
    PROMPT,
):
    print(f"> {words[0]}")
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""


def test_commands_write_what_a_narrow_output_can_show(tmp_path):
    """What is written begins with the prompt, also one outside the code page."""
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, GPT(PRESETS["demo"]), CharTokenizer("天地玄黄宇宙洪荒éö"))
    done = with_encoding("cp1252", "-c", COMMANDS, str(path))
    assert done.returncode == 0 and not done.stderr, done.stderr
    first, *said = done.stdout.decode("cp1252").split("> lib.")
    assert first == "" and len(said) == 5
    assert all(len(text.splitlines()) > 1 for text in said)
    assert said[-1].splitlines()[1].startswith("??")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_script_of_the_course_prints_any_character(encoding):
    done = with_encoding(encoding, "-c", "import lib; print('é 中 █')")
    assert done.returncode == 0
    assert (
        done.stdout.decode(encoding).strip()
        == {
            "cp1252": "é ? ?",
            "ascii": "? ? ?",
        }[encoding]
    )
    utf8 = with_encoding("utf-8", "-c", "import lib; print('é 中 █')")
    assert utf8.stdout.decode("utf-8").strip() == "é 中 █"


def test_lessons_import_the_library_before_they_need_a_wide_output():
    """As scripts: `import lib` is what lets a narrow output show any character."""
    for path in sorted([*ROOT.glob("lessons/*.py"), *ROOT.glob("solutions/*.py")]):
        tree = ast.parse(path.read_text("utf-8"))
        imports = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module.startswith("lib")
        ]
        wide = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and not str(node.value).isascii()
        ]
        assert not wide or min(imports) < min(wide), path.name
