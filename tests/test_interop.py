"""GPT-2's weights give the logits of transformers, read or written; so do Llama's."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from against_torch import random
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from lib.generate import generate
from lib.models import gpt2_files, hf_files
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import RELEASED, export_gpt2, gpt2_config, load_gpt2

SIZES = {"vocab_size": 65, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 24}
SILENT = {"bos_token_id": None, "eos_token_id": None}  # 50256 is not among 65 tokens
PARTS = {"attention_bias": False, "tie_weights": False, "init": "normal"}
OURS = GPTConfig(65, 32, 4, 2, 128, 24, **PARTS)
IDS = torch.randint(65, (3, 24), generator=torch.Generator().manual_seed(0))
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

Change = Callable[[dict[str, Tensor]], object]


def move_weights(model: nn.Module) -> None:
    """Put all weights somewhere around 0, or around 1 for gains; none stays there."""
    for seed, p in enumerate(model.parameters()):
        p.data.round_().add_(0.3 * random(*p.shape, seed=seed))


def theirs(**options) -> GPT2LMHeadModel:
    model = GPT2LMHeadModel(GPT2Config(**SIZES, **SILENT, **options)).eval()
    move_weights(model)
    return model


def ours(**options) -> GPT:
    model = GPT(dataclasses.replace(OURS, **options))
    move_weights(model)
    return model


@torch.no_grad()
def assert_same_logits(ours: nn.Module, theirs: nn.Module) -> None:
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def their_model() -> GPT2LMHeadModel:
    return theirs()


@pytest.fixture
def folder(their_model: GPT2LMHeadModel, tmp_path: Path) -> Path:
    """A folder with their model, as transformers saves it."""
    their_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def change_tensors(folder: Path, change: Change) -> None:
    tensors = {n: t.clone() for n, t in load_file(folder / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


# Theirs in


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_function": "gelu"},
        {"activation_function": "gelu_pytorch_tanh"},
        {"activation_function": "gelu_fast"},
        {"activation_function": "relu"},
        {"activation_function": "relu2", "n_inner": 40},
        {"tie_word_embeddings": False},
    ],
    ids=str,
)
def test_the_logits_are_theirs(options: dict, tmp_path: Path) -> None:
    model = theirs(**options)
    model.save_pretrained(tmp_path)
    assert_same_logits(load_gpt2(tmp_path), model)


def test_the_greedy_text_is_theirs(their_model: GPT2LMHeadModel, folder: Path) -> None:
    prompt = IDS[:, :4]
    expected = their_model.generate(prompt, max_new_tokens=20, do_sample=False)
    assert all(len(row[4:].unique()) > 5 for row in expected)  # no loop of one token
    assert generate(load_gpt2(folder), prompt, 20, temperature=0).equal(expected)


def test_the_configuration_says_what_gpt2_is(folder: Path) -> None:
    wanted = {"ffn": "gelu_tanh", "attention_bias": True, "tie_weights": True}
    expected = dataclasses.replace(OURS, init="gpt2", **wanted)
    assert load_gpt2(str(folder)).config == expected


def test_shards_are_put_together(their_model: GPT2LMHeadModel, tmp_path: Path) -> None:
    their_model.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same_logits(load_gpt2(tmp_path), their_model)
    next(tmp_path.glob("model-00002-*")).unlink()
    with pytest.raises(ValueError, match="model-00002-.* cannot be read"):
        load_gpt2(tmp_path)


def test_a_file_like_openais(their_model: GPT2LMHeadModel, folder: Path) -> None:
    """Names without their first word, and buffers of old beside the weights."""

    def age(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        for i in range(2):
            tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 24, 24).tril()
            tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)

    change_tensors(folder, age)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    old = {"vocab_size", "n_embd", "n_head", "n_layer", "model_type"}
    old = {name: config[name] for name in old} | {"n_ctx": 24}
    (folder / "config.json").write_text(json.dumps(old), "utf-8")
    assert_same_logits(load_gpt2(folder), their_model)


def test_half_precision_is_loaded_as_float32(folder: Path) -> None:
    change_tensors(folder, lambda t: t.update({n: w.half() for n, w in t.items()}))
    weights = dict(load_gpt2(folder).named_parameters())
    assert {w.dtype for w in weights.values()} == {torch.float32}
    expected = load_file(folder / WEIGHTS)["transformer.wte.weight"].float()
    assert weights["tokens.weight"].equal(expected)


def test_a_stored_head_must_be_the_tied_one(
    their_model: GPT2LMHeadModel, folder: Path
) -> None:
    wte = their_model.transformer.wte.weight.detach()
    change_tensors(folder, lambda t: t.update({"lm_head.weight": wte}))
    assert_same_logits(load_gpt2(folder), their_model)
    change_tensors(folder, lambda t: t.update({"lm_head.weight": wte + 1}))
    with pytest.raises(ValueError, match="lm_head.weight must equal .*wte.weight"):
        load_gpt2(folder)


def test_a_head_that_is_not_tied_must_be_there(folder: Path) -> None:
    change_config(folder, tie_word_embeddings=False)
    with pytest.raises(ValueError, match="^lm_head.weight is missing"):
        load_gpt2(folder)


# What is wrong with a file


C_ATTN = "transformer.h.1.attn.c_attn.weight"


@pytest.mark.parametrize("name", [C_ATTN, "transformer.ln_f.bias"])
def test_a_missing_tensor_is_named(name: str, folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match=f"^{name} is missing"):
        load_gpt2(folder)


@pytest.mark.parametrize(
    "name",
    ["transformer.h.2.ln_1.bias", "transformer.h.0.attn.q_attn.weight", "wte.weight"],
)
def test_an_unknown_tensor_is_named(name: str, folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(32)}))
    with pytest.raises(ValueError, match=f"{name} is not known"):
        load_gpt2(folder)


@pytest.mark.parametrize("shape", [(96, 32), (32, 64), (32,), (1, 32, 96)], ids=str)
def test_a_misshapen_tensor_is_named(shape: tuple, folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({C_ATTN: torch.ones(shape)}))
    with pytest.raises(ValueError) as error:
        load_gpt2(folder)
    assert str(error.value) == f"{C_ATTN} has shape {shape}; it must be (32, 96)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation_function", "silu"),
        ("add_cross_attention", True),
        ("layer_norm_epsilon", 1e-6),
        ("model_type", "llama"),
        ("n_embd", None),
        ("n_head", "4"),
        ("n_inner", 1.5),
        ("n_layer", True),
        ("n_positions", None),
        ("reorder_and_upcast_attn", True),
        ("scale_attn_by_inverse_layer_idx", True),
        ("scale_attn_weights", False),
        ("tie_word_embeddings", "no"),
    ],
)
def test_a_setting_that_we_do_not_have(name: str, value: object, folder: Path) -> None:
    change_config(folder, **{name: value})
    with pytest.raises(ValueError, match=f"config.json: {name}={value!r} must be"):
        load_gpt2(folder)


def test_the_configuration_of_another_model() -> None:
    with pytest.raises(ValueError, match="model_type='llama' must be in .'gpt2'."):
        gpt2_config(LlamaConfig().to_dict())
    with pytest.raises(ValueError, match="vocab_size=None must be an integer"):
        gpt2_config({})
    with pytest.raises(ValueError, match="n_heads=5 does not divide d_model=32"):
        GPT(gpt2_config({**SIZES, "n_head": 5}))


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
@pytest.mark.parametrize("how", ["foreign", "truncated", "missing"])
def test_a_file_that_cannot_be_read(name: str, how: str, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if how == "foreign":
        torch.save([1, 2], folder / name)
    elif how == "truncated":
        (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{name} cannot be read: "):
        load_gpt2(folder)


def test_a_configuration_that_is_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]", "utf-8")
    with pytest.raises(ValueError, match="config.json cannot be read"):
        load_gpt2(folder)


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="'gpt3' must be a folder or one of .'gpt2'"):
        load_gpt2("gpt3")
    with pytest.raises(ValueError, match="'gpt2' must be a folder"):
        load_gpt2(Path("gpt2"))


# The released ones


@pytest.mark.parametrize(
    ("name", "sizes", "n_parameters", "more"),
    [
        ("gpt2", (768, 12, 12), 124_439_808, {}),
        (
            "gpt2-medium",
            (1024, 16, 24),
            354_823_168,
            {"n_special": 0, "predict_special_tokens": True},
        ),
        ("gpt2-large", (1280, 20, 36), 774_030_080, {}),
        ("gpt2-xl", (1600, 25, 48), 1_557_611_200, {"output_past": True}),
    ],
)
def test_the_released_configurations(name, sizes, n_parameters, more) -> None:
    """Their files are known to the byte, so the checksums of these can be computed."""
    hf = dict(zip(("n_embd", "n_head", "n_layer"), sizes)) | more
    hf |= dict.fromkeys(("n_ctx", "n_positions"), 1024)
    hf |= dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.1)
    hf |= dict.fromkeys(("bos_token_id", "eos_token_id"), 50256)
    hf |= {"vocab_size": 50257, "initializer_range": 0.02, "layer_norm_epsilon": 1e-5}
    hf |= {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
    hf |= {"activation_function": "gelu_new", "summary_activation": None}
    hf |= {"summary_type": "cls_index", "summary_first_dropout": 0.1}
    hf |= dict.fromkeys(("summary_proj_to_labels", "summary_use_proj"), True)
    task = {"text-generation": {"do_sample": True, "max_length": 50}}
    text = json.dumps(hf | {"task_specific_params": task}, indent=2, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == RELEASED[name][1]
    c = gpt2_config(hf)
    assert (c.d_model, c.n_heads, c.n_layers) == sizes
    in_blocks = c.n_layers * (12 * c.d_model**2 + 13 * c.d_model)
    outside = (c.vocab_size + c.context_length + 2) * c.d_model
    assert in_blocks + outside == n_parameters


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server on this machine that has `folder` as GPT-2, and lists what is asked."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def do_GET(self):
            requests.append(self.path)
            self.path = self.path.removeprefix("/gpt2/abc")
            super().do_GET()

        def log_message(self, *_):
            pass

    requests: list[str] = []
    files = [(folder / name).read_bytes() for name in gpt2_files.FILES]
    released = "abc", *(hashlib.sha256(file).hexdigest() for file in files)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    page = f"http://127.0.0.1:{server.server_port}/{{}}/{{}}/"
    monkeypatch.setattr(gpt2_files, "PAGE", page)
    monkeypatch.setattr(gpt2_files, "RELEASED", {"gpt2": released})
    monkeypatch.setattr(gpt2_files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("COURSE_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield requests
    server.shutdown()
    server.server_close()


def test_a_released_model_is_fetched_once(
    hub: list[str], their_model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same_logits(load_gpt2("gpt2"), their_model)
    asked = ["/gpt2/abc/config.json", f"/gpt2/abc/{WEIGHTS}"]
    assert hub == asked
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    assert_same_logits(load_gpt2("gpt2"), their_model)
    assert hub == asked


def test_other_bytes_are_not_kept(
    hub: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / WEIGHTS).write_bytes(b"Sign in to the network")
    with pytest.raises(OSError, match="^gpt2 was not downloaded .*does not match"):
        load_gpt2("gpt2")
    kept = [path.name for path in (tmp_path / "cache" / "gpt2").iterdir()]
    assert kept == ["config.json"]


def test_a_file_that_the_hub_does_not_have(hub: list[str], folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(OSError, match="^gpt2 was not downloaded .404"):
        load_gpt2("gpt2")


@pytest.mark.parametrize("setting", ["1", "told"])
def test_offline_says_what_to_do(
    setting: str, hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_OFFLINE", setting)
    with pytest.raises(OSError) as error:
        load_gpt2("gpt2")
    for words in ("COURSE_OFFLINE is set", "COURSE_OFFLINE=0", str(tmp_path / "cache")):
        assert words in str(error.value)
    assert hub == []


def test_without_a_network(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt2_files, "PAGE", "http://127.0.0.1:9/{}/{}/")
    with pytest.raises(OSError) as error:
        load_gpt2("gpt2")
    assert "or save http://127.0.0.1:9/gpt2/abc/config.json and" in str(error.value)


# Ours out


@pytest.mark.parametrize(
    "options",
    [
        {"ffn": "gelu_tanh", "attention_bias": True, "tie_weights": True},
        {"ffn": "gelu_tanh", "attention_bias": True},
        {"tie_weights": True},
        {"ffn": "relu2", "d_ff": 40, "n_kv_heads": 4},
    ],
    ids=str,
)
def test_there_and_back(options: dict, tmp_path: Path) -> None:
    model = ours(**options, dropout=0.25, init="fan_in").eval()
    export_gpt2(model, tmp_path / "new" / "folder")
    there, found = GPT2LMHeadModel.from_pretrained(
        tmp_path / "new" / "folder", output_loading_info=True
    )
    assert not any(found.values())
    assert_same_logits(model, there.eval())
    dropouts = (
        there.config.embd_pdrop,
        there.config.resid_pdrop,
        there.config.attn_pdrop,
    )
    assert dropouts == (0.25, 0.25, 0)
    back = load_gpt2(tmp_path / "new" / "folder")
    assert_same_logits(back, there)
    wanted = options | {"attention_bias": True, "n_kv_heads": None}
    assert back.config == dataclasses.replace(OURS, init="gpt2", **wanted)


def test_what_is_written_is_what_was_read(folder: Path, tmp_path: Path) -> None:
    export_gpt2(load_gpt2(folder), tmp_path / "copy")
    read, written = (load_file(f / WEIGHTS) for f in (folder, tmp_path / "copy"))
    assert read.keys() == written.keys()
    assert all(read[name].equal(written[name]) for name in read)
    with safe_open(tmp_path / "copy" / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    export_gpt2(load_gpt2(tmp_path / "copy"), tmp_path / "copy")  # over itself
    names = sorted(path.name for path in (tmp_path / "copy").iterdir())
    assert names == ["config.json", WEIGHTS]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ffn", "swiglu"),
        ("d_head", 4),
        ("final_norm", False),
        ("head_bias", True),
        ("n_kv_heads", 2),
        ("norm", "rms"),
        ("norm_eps", 1e-6),
        ("position", "rotary"),
        ("position", "sinusoidal"),
        ("qk_norm", True),
    ],
)
def test_what_gpt2_cannot_express(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"^{name}={value!r} must be in .* for a GPT-2"
    ):
        export_gpt2(ours(**{name: value}), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_export_leaves_the_old_files(
    error: BaseException, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(tensors, path, metadata):
        save_file(tensors, path, metadata)
        path.write_bytes(path.read_bytes()[:999])
        raise error

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    before = files()
    monkeypatch.setattr(hf_files, "save_file", write_half)
    with pytest.raises(type(error)):
        export_gpt2(ours(), folder)
    assert files() == before


# Llama


LLAMA = {
    "tokens": "model.embed_tokens",
    "attention_norm": "input_layernorm",
    "attention.out_proj": "self_attn.o_proj",
    "attention": "self_attn",
    "ffn_norm": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
    "blocks": "model.layers",
    "final_norm": "model.norm",
    "gain": "weight",
    "head": "lm_head",
}


def llama_name(name: str) -> str:
    """Their name of one of our weights, every part of it renamed once."""
    parts = {f".{ours}.": f".{theirs}." for ours, theirs in LLAMA.items()}
    name = f".{name}."
    for ours_part, their_part in parts.items():
        name = name.replace(ours_part, their_part)
    return name.strip(".")


def test_the_same_parts_make_a_llama() -> None:
    config = LlamaConfig(
        vocab_size=65,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=24,
        rms_norm_eps=1e-5,
        **SILENT,
    )
    llama = LlamaForCausalLM(config).eval()
    move_weights(llama)
    ours = GPT(
        dataclasses.replace(
            OURS, norm="rms", position="rotary", ffn="swiglu", n_kv_heads=2, d_ff=48
        )
    )
    weights, names = llama.state_dict(), list(ours.state_dict())
    assert {llama_name(name) for name in names} == weights.keys()
    ours.load_state_dict({name: weights[llama_name(name)] for name in names})
    assert_same_logits(ours, llama)
