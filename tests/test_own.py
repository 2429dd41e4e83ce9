"""A reader's own part is tested, kept and used; a wrong one is refused by name."""

import copy
import functools
import json
import linecache
import re
import shutil
import sys
from pathlib import Path

import nbclient
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from notebooks import ROOT, lesson_paths

import lib.attention
import lib.models.gpt
from lib.command_line import run_command
from lib.generate import generate
from lib.generate.__main__ import generate_command
from lib.models import build_model
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import preset_config
from lib.own import PARTS, Refused, in_use, keep, use_library, use_own
from lib.own.tests.near import Unknown
from lib.train import Training, train
from lib.train.__main__ import train_command
from lib.train.checkpoint import load_checkpoint
from lib.train.settings import TrainConfig

TEXT = "To be, or not to be: that is the question.\n" * 45
BEFORE = """
import math
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from lib.attention import causal_mask
inf = float("inf")
show, encode, next_logits, claim, logits = (lambda *x: x,) * 5
"""
Space = dict[str, object]


@functools.cache
def lesson_code(name: str) -> str:
    """What a lesson shows of a part: its small version, or the library's code."""
    tag = re.compile(rf'(?ms)^# %% tags=\[[^\n]*"(naive|lib):{re.escape(name)}".*?\n'
                     r"(.*?)(?=^# %%|\Z)")  # fmt: skip
    for path in lesson_paths():
        if found := tag.search(path.read_text("utf-8")):
            return only_definitions(found[2])
    raise AssertionError(f"no lesson builds {name}")


def only_definitions(source: str) -> str:
    """A cell up to the first line that is neither definition nor import."""
    blocks = re.split(r"\n(?=\S)", source)
    kept = [b for b in blocks if re.match(r"class |def |from |import |@|\)|#", b)]
    return "\n".join(kept)


def defined(source: str, name: str, space: Space | None = None) -> object:
    """What a cell defines, run as a notebook runs it."""
    space = {"__name__": "__main__"} if space is None else space
    defined.count += 1
    for number, text in enumerate((BEFORE, source)):
        file = f"<cell {defined.count}.{number}>"
        linecache.cache[file] = len(text), None, text.splitlines(True), file
        exec(compile(text, file, "exec"), space)
    return space[name.rpartition(".")[2]]


defined.count = 0


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A folder with the small version of every part, as the lessons build them."""
    folder, space = tmp_path_factory.mktemp("own"), {"__name__": "__main__"}
    for name in PARTS:
        keep(defined(lesson_code(name), name, space), name, folder, tell=quiet)
    return folder


@pytest.fixture(autouse=True)
def library_afterwards():
    yield
    use_library()


# What is right


@pytest.mark.parametrize("name", PARTS)
def test_the_library_passes_the_tests_of_its_parts(name: str) -> None:
    part = PARTS[name]
    for test in part.tests:
        torch.manual_seed(0)
        test(getattr(part.module, part.short))


def test_the_small_versions_of_the_lessons_are_kept(own: Path) -> None:
    names = {f"{name.replace('.', '_')}.{e}" for name in PARTS for e in ("py", "json")}
    assert {path.name for path in own.iterdir()} == names
    text = (own / "block_Block.py").read_text("utf-8")
    assert (
        "from lib.norm import LayerNorm\nfrom torch import nn\n\n\nclass Block" in text
    )
    assert "from math import inf" in (
        own / "generate_sampling_keep_top_k.py"
    ).read_text("utf-8")


def test_what_is_kept_is_told(tmp_path: Path, capsys) -> None:
    name = "block.Block"
    path = keep(defined(lesson_code("norm.LayerNorm") + "\n" + lesson_code(name), name),
                name, tmp_path / "a" / "own")  # fmt: skip
    first, second = capsys.readouterr().out.splitlines()
    n_tests = len(PARTS[name].tests)
    assert first.startswith(f"{name} passes its {n_tests} tests and is kept in ")
    assert second == "it takes LayerNorm from the library, or from what you have kept"
    words = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert words["part"] == name and len(words["tests"]) == n_tests
    assert path.is_file() and len([*path.parent.iterdir()]) == 2


def test_a_part_of_another_name_is_kept(tmp_path: Path) -> None:
    code = lesson_code("norm.RMSNorm").replace("class RMSNorm", "class Mine")
    path = keep(defined(code, "Mine"), "norm.RMSNorm", tmp_path, tell=quiet)
    assert path.read_text("utf-8").endswith("\n\nRMSNorm = Mine\n")
    with use_own(tmp_path, tell=quiet):
        assert type(lib.models.gpt.RMSNorm(4)).__mro__[2].__name__ == "Mine"


def test_checking_draws_no_random_numbers(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    name = "attention.MultiHeadAttention"
    code = "from lib.attention import scaled_dot_product_attention\n" + lesson_code(
        name
    )
    keep(defined(code, name), name, tmp_path, tell=quiet)
    assert torch.equal(torch.get_rng_state(), state)


# What is wrong

LAYER, BLOCK = "norm.LayerNorm", "block.Block"
LAYERS = "attention.MultiHeadAttention"
ATTEND, TOP = "attention.scaled_dot_product_attention", "generate.sampling.keep_top_"
SPLIT = "x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)"
FIRST = "x + self.attention(self.attention_norm(x), mask)[0]"
SECOND = "x + self.ffn(self.ffn_norm(x))"
HAND = """
def {name}(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / {divisor}
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    {weights}
    return weights @ v, weights
"""
FORMULA = "weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)"
FORMULA += ".masked_fill(~mask, 0.0)"


def by_hand(weights: str = FORMULA, divisor: str = "math.sqrt(q.size(-1))") -> str:
    """An attention function in one piece."""
    name = "scaled_dot_product_attention"
    return HAND.format(name=name, weights=weights, divisor=divisor)


def attention_of(old: str, new: str) -> str:
    """The lesson's attention of several heads with something else in it."""
    code = lesson_code(LAYERS)
    assert old in code
    first = "from lib.attention import scaled_dot_product_attention\n"
    return first + code.replace(old, new)


def changed(name: str, *changes: tuple[str, str]) -> str:
    """The lesson's part with something else in it."""
    code = lesson_code(name)
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    return code


MIXED = "mixed, weights = scaled_dot_product_attention(q, k, v, mask, need_weights)"
WIDE = """q = q * math.sqrt(self.d_head / x.size(-1))
        """
WRONG = {  # name of a part, its code, the test that fails, and what it says
    "softmax over the queries": (
        ATTEND,
        by_hand(FORMULA.replace("dim=-1", "dim=-2")),
        "equals_torch_without_a_mask",
        "the softmax runs over the queries",
    ),
    "no root": (
        ATTEND,
        by_hand(divisor="q.size(-1)"),
        "equals_torch_without_a_mask",
        "divided by d_head, not by its root",
    ),
    "mask too late": (
        ATTEND,
        by_hand("weights = scores.softmax(dim=-1).masked_fill(~mask, 0.0)"),
        "equals_torch_with_a_causal_mask",
        "the softmax is taken before the mask",
    ),
    "NaN where nothing may be seen": (
        ATTEND,
        by_hand(FORMULA.replace(".masked_fill(~mask, 0.0)", "")),
        "gives_zeros_where_nothing_may_be_seen",
        "gives NaN",
    ),
    "scaled by d_model": (
        LAYERS,
        attention_of(MIXED, WIDE + MIXED),
        "layer_equals_torch",
        "divided by the root of d_model",
    ),
    "view without transpose": (
        LAYERS,
        attention_of(SPLIT, "x.view(x.size(0), -1, x.size(1), self.d_head)"),
        "layer_equals_torch",
        "heads are cut by a view alone",
    ),
    "the mask is forgotten": (
        LAYERS,
        attention_of("(q, k, v, mask, need_weights)", "(q, k, v, None, need_weights)"),
        "layer_equals_torch",
        "is not what it must be",
    ),
    "other names": (
        LAYERS,
        attention_of("out_proj", "last"),
        "has_four_projections",
        "there is no weight out_proj.weight",
    ),
    "unbiased variance": (
        LAYER,
        changed(LAYER, ("centred.square().mean(dim=-1,", "x.var(dim=-1,")),
        "layer_norm_equals_torch",
        "divided by D - 1, not by D",
    ),
    "epsilon outside the root": (
        LAYER,
        changed(
            LAYER, ("(variance + self.eps).sqrt()", "(variance.sqrt() + self.eps)")
        ),
        "layer_norm_equals_torch",
        "epsilon is added outside the root",
    ),
    "wrong axis": (
        LAYER,
        changed(LAYER, ("x.mean(dim=-1,", "x.mean(dim=-2,")),
        "normalises_each_vector_on_its_own",
        "a vector beside one that was changed",
    ),
    "input changed": (
        LAYER,
        changed(LAYER, ("centred = x - x.mean", "x -= x.mean"), ("centred", "x")),
        "layer_norm_equals_torch",
        "a leaf Variable that requires grad is being used in an in-place operation",
    ),
    "no residual": (
        BLOCK,
        changed(BLOCK, (FIRST, FIRST[4:]), (SECOND, SECOND[4:])),
        "block_equals_torch",
        "the residual stream is missing",
    ),
    "post-norm": (
        BLOCK,
        changed(
            BLOCK,
            (FIRST, "self.attention_norm(x + self.attention(x, mask)[0])"),
            (SECOND, "self.ffn_norm(x + self.ffn(x))"),
        ),
        "block_equals_torch",
        "post-norm",
    ),
    "the stream is changed in place": (
        BLOCK,
        changed(BLOCK, ("x = " + FIRST, "x += " + FIRST[4:])),
        "leaves_its_input_as_it_is",
        "input number 1 was changed in place",
    ),
    "crossing token dropped": (
        TOP + "p",
        changed(TOP + "p", ("cumsum(dim=-1) - probabilities", "cumsum(dim=-1)")),
        "leaves_the_fewest_that_reach_p",
        "the token that crosses p is dropped it must stay",
    ),
    "top-p in sorted order": (
        TOP + "p",
        changed(TOP + "p", (".scatter(1, order, before >= p)", " | (before >= p)")),
        "leaves_the_fewest_that_reach_p",
        "still in sorted order",
    ),
    "top-k in place": (
        TOP + "k",
        changed(TOP + "k", ("logits.scatter(", "logits.scatter_(")),
        "top_k_leaves_its_input_as_it_is",
        "input number 1 was changed in place",
    ),
    "negative logits divided": (
        "generate.sampling.penalize_repetition",
        changed(
            "generate.sampling.penalize_repetition",
            ("seen * penalty", "seen / penalty"),
        ),
        "penalises_what_was_there",
        "negative logits are divided",
    ),
    "alpha without r": (
        "tune.lora.LoRA",
        changed("tune.lora.LoRA", ("alpha, alpha / rank", "alpha, alpha")),
        "equals_its_formula",
        "multiplied by alpha, not by alpha / r",
    ),
    "gate and up swapped": (
        "ffn.SwiGLU",
        changed(
            "ffn.SwiGLU", ("self.gate(x)) * self.up(x)", "self.up(x)) * self.gate(x)")
        ),
        "swiglu_equals_its_formula",
        "stands on `up`",
    ),
    "a sum for a mean": (
        "evaluate.losses.cross_entropy",
        changed("evaluate.losses.cross_entropy", (".mean()", ".sum()")),
        "cross_entropy_equals_torch",
        "a sum over the targets",
    ),
    "a function for a class": (
        LAYER,
        "def LayerNorm(d_model):\n    return nn.LayerNorm(d_model)",
        "fits_the_library",
        "is no class of modules",
    ),
    "a size is missing": (
        LAYER,
        "class LayerNorm(nn.Module):\n    def __init__(self):\n        pass\n"
        "    def forward(self, x):\n        return x",
        "fits_the_library",
        "your part must take d_model",
    ),
    "it raises": (
        LAYER,
        changed(LAYER, ("return centred", "return wrongly_spelt")),
        "stands_alone",
        "LayerNorm uses wrongly_spelt, which stands elsewhere",
    ),
    "a name of the notebook": (
        LAYER,
        "small = 1e-5\n" + changed(LAYER, ("eps=1e-5", "eps=small")),
        "stands_alone",
        "LayerNorm uses small, which stands elsewhere",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_part_is_refused_by_the_test_that_failed(case, tmp_path: Path) -> None:
    name, code, test, words = WRONG[case]
    with pytest.raises(Refused) as refused:
        keep(defined(code, name), name, tmp_path / "new" / "own", tell=quiet)
    assert refused.value.test == test, refused.value
    assert words in refused.value.words
    assert str(refused.value).startswith(f"own code for {name} is refused by its test ")
    assert not [*tmp_path.iterdir()]  # not even the folder is left


def test_a_refused_part_leaves_the_one_before(own: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(own, tmp_path / "own")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    name, code, *_ = WRONG["unbiased variance"]
    with pytest.raises(Refused):
        keep(defined(code, name), name, folder, tell=quiet)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("thing", [lambda x: x, torch.nn.LayerNorm(4), "LayerNorm"])
def test_what_has_no_definition_is_refused(thing, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="stands_alone: give the class or the function"):
        keep(thing, LAYER, tmp_path, tell=quiet)
    with pytest.raises(ValueError, match="name='norm.Layer' must be one of attention"):
        keep(torch.nn.LayerNorm, "norm.Layer", tmp_path)


# The folder


def test_a_part_that_was_edited_is_tested_again(own: Path, tmp_path: Path) -> None:
    folder, told = shutil.copytree(own, tmp_path / "own"), []
    file = folder / "norm_LayerNorm.py"
    right = file.read_text("utf-8")
    file.write_text(right + "# a note\n", "utf-8")
    for _ in range(2):
        with use_own(folder, [LAYER], tell=told.append):
            pass
    assert ["it passes its 6 tests" in line for line in told] == [True, False, False]
    file.write_text(right.replace("+ self.eps", ""), "utf-8")
    with pytest.raises(Refused, match="layer_norm_equals_torch: .* epsilon is missing"):
        use_own(folder, ["block.Block", LAYER], tell=quiet)
    assert not in_use() and lib.models.gpt.Block is lib.block.Block
    file.write_text("raise OSError('no')\n", "utf-8")
    with pytest.raises(
        Refused, match="can_be_imported: .*norm_LayerNorm.py .* OSError"
    ):
        use_own(folder, tell=quiet)


def test_a_part_without_a_record_is_tested(own: Path, tmp_path: Path) -> None:
    shutil.copy(own / "norm_RMSNorm.py", tmp_path)
    told = []
    with use_own(tmp_path, tell=told.append):
        assert [*in_use()] == ["norm.RMSNorm"]
    assert len(told) == 2 and "is new or has changed: it passes" in told[0]


def test_foreign_and_missing_files(own: Path, tmp_path: Path) -> None:
    folder, told = shutil.copytree(own, tmp_path / "own"), []
    (folder / "other.py").write_text("raise SystemExit", "utf-8")
    (folder / "notes.txt").write_text("mine", "utf-8")
    with use_own(folder, tell=told.append):
        assert [*in_use()] == [*PARTS]
    assert [
        line for line in told if "is no part of the library: it is not read" in line
    ]
    (folder / "block_Block.py").unlink()
    with pytest.raises(
        ValueError, match="block_Block.py is missing, though its record"
    ):
        use_own(folder, tell=quiet)
    (folder / "block_Block.json").unlink()
    with pytest.raises(ValueError, match=r"has no block\.Block; it has \["):
        use_own(folder, ["block.Block"], tell=quiet)
    for empty in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"has no part: keep\(YourClass"):
            use_own(empty, tell=quiet)


# In use


def test_every_name_is_replaced_and_comes_back(own: Path) -> None:
    gpt, places = lib.models.gpt, {}
    for name, part in PARTS.items():
        places[name] = getattr(part.module, part.short)
    before = gpt.NORMS["layer"], lib.block.Block.__init__.__defaults__
    with use_own(own, tell=quiet):
        for name, part in PARTS.items():
            assert getattr(part.module, part.short) is not places[name]
        assert gpt.NORMS["layer"] is gpt.LayerNorm is lib.norm.LayerNorm
        assert gpt.LayerNorm is not before[0]
        assert lib.train.cross_entropy is lib.evaluate.losses.cross_entropy
        kept_block = sys.modules["own_block_Block"]
        assert kept_block.LayerNorm is gpt.LayerNorm  # a part uses other own parts
        model = GPT(GPTConfig(d_model=16, n_heads=2, n_layers=1, d_ff=16))
        assert isinstance(model.blocks[0], gpt.Block) and len(in_use()) == len(PARTS)
    for name, part in PARTS.items():
        assert getattr(part.module, part.short) is places[name]
    assert (gpt.NORMS["layer"], lib.block.Block.__init__.__defaults__) == before
    assert not in_use()


MODELS = {  # what lessons 10 to 13 build
    "10": {"d_model": 64, "n_heads": 4, "n_layers": 3, "d_ff": 256, "init": "normal"},
    "11": {"d_model": 32, "n_heads": 2, "n_layers": 2, "d_ff": 64, "init": "fan_in"},
    "12": {"d_model": 32, "n_heads": 4, "n_layers": 1, "d_ff": 128, "dropout": 0.1},
    "13": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 4,
        "d_ff": 64,
        "tie_weights": False,
    },
}


def trained(options: dict) -> tuple[GPT, list[float]]:
    """A small model after a few updates, and its losses."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(context_length=16, **options))
    rows = torch.randint(65, (4, 17), generator=torch.Generator().manual_seed(1))
    run = Training(model, TrainConfig(5, 0.01))
    return model, train(run, lambda: (rows[:, :-1], rows[:, 1:]))


@pytest.mark.parametrize("lesson", MODELS)
def test_models_of_the_lessons_run_on_own_parts(lesson: str, own: Path) -> None:
    model, losses = trained(MODELS[lesson])
    with use_own(own, tell=quiet):
        same, own_losses = trained(MODELS[lesson])
        assert own_losses == pytest.approx(losses, abs=1e-4)
        assert losses[-1] < losses[0] - 0.05
        names = [name for name, _ in model.named_parameters()]
        assert [name for name, _ in same.named_parameters()] == names
        same.load_state_dict(model.state_dict())
        ids = torch.tensor([[1, 2, 3], [4, 5, 6]])  # on and past the context of 16
        drawn = [
            generate(each, ids, 40, use_cache=cache, top_k=5, top_p=0.9, generator=g(7))
            for each in (model, same)
            for cache in (True, False)
        ]
    assert all(torch.equal(drawn[0], other) for other in drawn[1:])


def g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_library_stands_in_for_what_a_small_part_does_not_know(own: Path) -> None:
    small, told = {"d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 16}, []
    theirs = lib.attention.MultiHeadAttention
    for options, words in (
        ({"n_kv_heads": 1}, "n_kv_heads=1: your own attention.MultiHeadAttention"),
        ({"window": 4}, "window=4: your own attention.MultiHeadAttention"),
        ({"norm": "rms"}, "your own block.Block has no option norm"),
        ({"ffn": "none"}, "ffn=None: your own block.Block"),
    ):
        torch.manual_seed(0)
        model, ids = GPT(GPTConfig(**small, **options)), torch.tensor([[1, 2, 3]])
        told.clear()
        with use_own(own, tell=told.append):
            torch.manual_seed(0)
            same = GPT(GPTConfig(**small, **options))
            said = [line for line in told if words in line]
            assert len(said) == 1 and said[0].startswith("own code: ")
            assert said[0].endswith("there the library's own stands in")
            if "window" in options:
                assert type(same.blocks[1].attention) is theirs
            assert torch.allclose(same(ids), model(ids), atol=1e-5)
    with use_own(own, tell=quiet):
        attention = lib.attention.MultiHeadAttention(8, 2)
        with pytest.raises(Unknown, match="memory=a tensor: the forward of your own"):
            attention(torch.zeros(1, 2, 8), memory=torch.zeros(1, 2, 8))
        with pytest.raises(ValueError, match="top_p|p=2"):
            ids = torch.zeros(1, 1, dtype=torch.long)
            lib.generate.sampling.choose_next(torch.zeros(1, 3), ids, top_p=2.0)
        assert GPT(GPTConfig(**small, attention_bias=False)).blocks[0].attention.q_proj
        assert GPT(GPTConfig(**small)).blocks[0].attention.q_proj.bias is not None


def test_a_part_that_knows_a_cache_gets_one(tmp_path: Path) -> None:
    code = attention_of("mask=None, need", "mask=None, cache=None, need")
    reads = "        if cache is not None:\n            k, v = cache.append(k, v)\n"
    code = code.replace("        mixed,", f"{reads}        mixed,")
    keep(defined(code, LAYERS), LAYERS, tmp_path, tell=quiet)
    with use_own(tmp_path, tell=quiet):
        attention = lib.attention.MultiHeadAttention(6, 2, n_kv_heads=2, d_head=3)
        cache = attention.new_cache(8)
        attention(torch.ones(1, 3, 6), is_causal=True, cache=cache)
        assert cache.keys.shape == (1, 2, 8, 3)  # keys of two heads, no inputs


def test_a_cache_goes_past_a_block_that_knows_none(tmp_path: Path) -> None:
    keep(defined(lesson_code(BLOCK), BLOCK), BLOCK, tmp_path, tell=quiet)
    with use_own(tmp_path, tell=quiet):
        model = copy.deepcopy(GPT(GPTConfig(d_model=8, n_heads=2, n_layers=1))).eval()
        attention, caches = model.blocks[0].attention, model.new_cache()
        ids = torch.tensor([[1, 2, 3, 4]])
        model(ids[:, :3], caches)
        lengths = []
        attention.register_forward_pre_hook(lambda _, x: lengths.append(x[0].size(1)))
        last = model(ids[:, 3:], caches)
        assert lengths == [1] and caches[0].length == 4
        assert torch.allclose(last, model(ids)[:, 3:], atol=1e-6)
        assert caches[0].length == 4  # a call without a cache leaves it alone
        assert attention(torch.ones(1, 2, 8))[0].shape == (1, 2, 8)


# The commands


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its output and its error."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, "utf-8")

    def start(function, *words) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(function)
        output, error = capsys.readouterr()
        return output, end.value.code if isinstance(end.value.code, str) else error

    return start


def test_training_from_the_shell_reaches_the_same_loss(command, own: Path) -> None:
    words = ["--preset", "demo", "--text", "text.txt", "--steps", 30, "--device", "cpu"]
    words += ["--dtype", "float32", "--batch-size", 4]
    command(train_command, *words, "--out", "library")
    _, error = command(train_command, *words, "--out", "mine", "--own", own)
    assert not in_use()  # it is over with the command
    for name in (LAYERS, LAYER, BLOCK, "generate.sampling.choose_next"):
        assert f"own code: {name} from " in error
    theirs, mine = load_checkpoint("library"), load_checkpoint("mine")
    losses = [run.notes["validation"][-1][1] for run in (theirs, mine)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    before = build_model(theirs.model.config)
    assert any(
        (a != b).any() for a, b in zip(before.parameters(), mine.model.parameters())
    )
    assert [*mine.notes["own"]] == [*PARTS] and "own" not in theirs.notes
    assert all(
        re.fullmatch("[0-9a-f]{64}", code) for code in mine.notes["own"].values()
    )

    ask = ["mine", "--length", 60, "--top-k", 3, "--seed", 1, "--prompt", "To be"]
    plain, error = command(generate_command, *ask)
    assert "own code" not in error
    for more in ((), ("--no-cache",)):
        text, error = command(generate_command, *ask, "--own", own, *more)
        assert text == plain and f"own code: {BLOCK} from " in error
        assert "own code: generate.sampling.keep_top_k from " in error
    command(train_command, "--out", "mine", "--resume")
    assert [*load_checkpoint("mine").notes["own"]] == [*PARTS]


def test_a_command_names_what_is_wrong_in_one_line(command, own, tmp_path) -> None:
    folder = shutil.copytree(own, tmp_path / "wrong")
    file = folder / "norm_LayerNorm.py"
    file.write_text(file.read_text("utf-8").replace("+ self.eps", ""), "utf-8")
    for function, words in (
        (train_command, ["--out", "run", "--preset", "demo"]),
        (generate_command, ["run"]),
    ):
        _, error = command(function, *words, "--own", folder)
        start = "error: own code for norm.LayerNorm is refused by its test layer_norm_"
        assert error.splitlines()[-1].startswith(start)
    (tmp_path / "empty").mkdir()
    for name, words in (("nowhere", "is no folder"), ("empty", "has no part")):
        _, error = command(train_command, "--out", "run", "--own", tmp_path / name)
        assert error.startswith("error: ") and words in error
    assert not Path("run").exists()


def test_a_notebook_keeps_what_stands_in_its_cells(tmp_path: Path) -> None:
    cells = ["import torch\nfrom torch import nn", lesson_code(LAYER)]
    cells.append(f"""
from lib.own import Refused, keep, use_own
keep(LayerNorm, "norm.LayerNorm", {str(tmp_path / "own")!r})
{changed(LAYER, ("(variance + self.eps).sqrt()", "(variance.sqrt() + self.eps)"))}
try:
    keep(LayerNorm, "norm.LayerNorm", {str(tmp_path / "own")!r})
except Refused as error:
    print("refused:", error.test)
use_own({str(tmp_path / "own")!r});""")
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(
        notebook, resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    said = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert "norm.LayerNorm passes its 6 tests and is kept in " in said
    assert "refused: layer_norm_equals_torch" in said
    assert "own code: norm.LayerNorm from " in said


def test_presets_of_the_course_can_be_built(own: Path) -> None:
    with use_own(own, tell=quiet):
        for name in ("block", "mini", "demo"):
            assert build_model(preset_config(name))(torch.tensor([[1, 2]])).dim() == 3
