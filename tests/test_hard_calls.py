"""Calls of the library that are answered rightly or refused, never with nonsense."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.embedding import BigramEmbedding
from lib.evaluate.bleu import bleu
from lib.evaluate.calibration import fit_temperature
from lib.evaluate.induction import without_head
from lib.evaluate.intervals import bootstrap_interval, paired_p_value
from lib.generate.chat import reply
from lib.generate.rollouts import rollout
from lib.models import config_from_dict
from lib.models.bigram import count_pairs
from lib.models.encoder_decoder import TransformerConfig
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import export_gpt2
from lib.models.llama_files import export_llama
from lib.norm import LayerNorm, RMSNorm
from lib.position import LearnedPositions, Rotary, SinusoidalPositions
from lib.text.pieces import encode_pieces
from lib.text.tokenizer import CharTokenizer
from lib.train import Training, estimate_loss
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.train.settings import TrainConfig
from lib.tune.adapter_files import load_adapter, save_adapter
from lib.tune.freezing import train_only
from lib.tune.lora import LoRAConfig, add_lora, lora_layers, use_adapter

SIZES = (11, 16, 2, 2, 16, 8)
LLAMA = {"norm": "rms", "position": "rotary", "ffn": "swiglu"}
LLAMA |= {"attention_bias": False, "tie_weights": False}
IDS = torch.arange(16).view(2, 8) % 11


def make(**options) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(*SIZES, **options)).eval()


def adapted(model: GPT, *targets: str) -> GPT:
    """The model with an adapter that changes what it computes."""
    add_lora(model, LoRAConfig(rank=2, targets=targets or "all"))
    for _, layer in lora_layers(model):
        nn.init.normal_(layer.adapters["default"].b)
    return model


# What is frozen


def train_a_little(model: GPT) -> None:
    training = Training(model, TrainConfig(n_steps=3, learning_rate=0.1))
    for _ in range(3):
        training.step((IDS, IDS))


def test_a_frozen_mixture_does_not_move_under_an_adapter(tmp_path: Path) -> None:
    model = make(n_experts=4, bias_rate=0.05, init="fan_in")
    base = copy.deepcopy(model)
    add_lora(model, LoRAConfig(rank=2))
    train_a_little(model)
    save_adapter(tmp_path, model)
    use_adapter(model, None)
    assert torch.equal(model.eval()(IDS), base(IDS))
    load_adapter(tmp_path, base)


def test_a_frozen_mixture_does_not_move_beside_a_head() -> None:
    model = make(n_experts=4, bias_rate=0.05, tie_weights=False)
    before = [block.ffn.bias.clone() for block in model.blocks]
    train_only(model, "head")
    train_a_little(model)
    assert all(torch.equal(b.ffn.bias, old) for b, old in zip(model.blocks, before))
    model.requires_grad_(True)
    train_a_little(model)
    assert not torch.equal(model.blocks[0].ffn.bias, before[0])


# Files


@pytest.mark.parametrize(
    "export, options", [(export_gpt2, {"ffn": "gelu_tanh"}), (export_llama, LLAMA)]
)
def test_only_the_model_of_its_configuration_is_exported(
    export, options, tmp_path: Path
) -> None:
    longer = make(**options)
    longer.blocks.append(copy.deepcopy(longer.blocks[0]))
    for model in (adapted(make(**options)), longer):
        with pytest.raises(ValueError, match="cannot be saved: its configuration"):
            export(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_a_checkpoint_that_could_not_be_read_does_not_replace_one(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    path, model = tmp_path / "x.safetensors", make()
    save_checkpoint(path, model)
    with pytest.raises(ValueError, match="has dtype"):
        save_checkpoint(path, model, dtype=dtype)
    large = copy.deepcopy(model)
    large.head.weight.data[0] = 7e4
    with pytest.raises(ValueError, match="not finite"):
        save_checkpoint(path, large, dtype=torch.float16)
    assert torch.equal(load_checkpoint(path).model(IDS), model(IDS))


@pytest.mark.parametrize(
    "place, options, reason",
    [
        ("head", {}, "shares its weights"),
        ("blocks.0.ffn.router", {"n_experts": 4}, "is a router"),
    ],
)
def test_an_adapter_of_a_file_goes_where_an_own_one_may(
    place: str, options: dict, reason: str, tmp_path: Path
) -> None:
    model, name = make(**options), f"base_model.model.{place}"
    n_out, n_in = model.get_submodule(place).weight.shape
    pair = {"lora_A": torch.zeros(2, n_in), "lora_B": torch.zeros(n_out, 2)}
    tensors = {f"{name}.{matrix}.weight": t for matrix, t in pair.items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(ValueError, match=reason):
        load_adapter(tmp_path, model)
    assert not list(lora_layers(model))


def test_every_activation_can_be_pickled() -> None:
    model = make(ffn="relu2")
    assert torch.equal(pickle.loads(pickle.dumps(model))(IDS), model(IDS))


# Measuring


def test_pairs_are_counted_in_any_number_format() -> None:
    letters = CharTokenizer("abcdefghijklmnopqrstuvwxyz")
    tokens = encode_pieces(letters, ["azazaz"])
    assert tokens.dtype == torch.uint8
    assert count_pairs(tokens, 26).nonzero().tolist() == [[0, 25], [25, 0]]
    assert count_pairs(tokens.short(), 26).sum() == 5
    with pytest.raises(ValueError, match="tokens is empty"):
        count_pairs(tokens[:0], 26)


def test_a_head_with_an_adapter_behind_it_is_left_out() -> None:
    model = adapted(make(), "out_proj")
    attention, x = model.blocks[0].attention, torch.randn(1, 4, 16)
    whole = attention(x, is_causal=True)[0]
    with without_head(model, 0, 0), without_head(model, 0, 1):
        bias = attention(x, is_causal=True)[0]
    assert torch.equal(bias, attention.out_proj.bias.expand_as(bias))
    assert torch.equal(attention(x, is_causal=True)[0], whole)


def test_a_token_that_is_ruled_out_does_not_change_the_temperature() -> None:
    torch.manual_seed(0)
    logits = torch.randn(500, 5)
    targets = torch.multinomial((logits / 2).softmax(-1), 1)[:, 0]
    wide = torch.cat([logits, torch.full((500, 1), -math.inf)], dim=1)
    assert fit_temperature(wide, targets) == fit_temperature(logits, targets)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="logits must be finite"):
            fit_temperature(logits.index_fill(1, torch.tensor(2), bad), targets)
    with pytest.raises(ValueError, match="logits must be finite"):
        fit_temperature(wide, torch.full_like(targets, 5))


def test_scores_of_strings_and_units() -> None:
    for given in (("the cat", ["the cat"]), (["the cat"], "the cat")):
        with pytest.raises(TypeError, match="must be a list of sentences"):
            bleu(*given)
    assert paired_p_value([1e-11] * 20, [0] * 20) == paired_p_value([1] * 20, [0] * 20)
    with pytest.raises(ValueError, match="differences must be finite"):
        paired_p_value([math.nan, 1], [0, 0])
    with pytest.raises(ValueError, match="values must be finite"):
        bootstrap_interval([math.inf, 1])


def test_an_evaluation_in_batches_of_nothing() -> None:
    for sizes in ((8, 0), (0, None)):
        with pytest.raises(ValueError, match="must be at least 1"):
            estimate_loss(make(), torch.arange(20) % 11, *sizes)


# Sizes and places


@pytest.mark.parametrize(
    "values, message",
    [
        ({"pre_norm": "no"}, "pre_norm='no' must be of type bool"),
        ({"d_model": "512"}, "d_model='512' must be of type int"),
        ({"d_model": 8.0}, "d_model=8.0 must be of type int"),
        ({"dropout": True}, "dropout=True must be of type float"),
    ],
)
def test_a_translator_of_values_of_another_type(values: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        TransformerConfig(**values)
    assert TransformerConfig(dropout=0).dropout == 0
    assert config_from_dict({"model": "transformer", "dropout": 0}).dropout == 0


@pytest.mark.parametrize("start", [-1, -2, -3])
def test_no_position_lies_before_the_first(start: int) -> None:
    for part in (LearnedPositions(4, 4), SinusoidalPositions(4, 4), Rotary(4, 8)):
        with pytest.raises(ValueError, match=f"start={start} must be 0 or more"):
            part(torch.zeros(1, 2, 4), start)


@pytest.mark.parametrize("options", [{}, {"position": "rotary"}])
def test_positions_are_those_of_the_batch(options: dict) -> None:
    model, places = make(**options), torch.arange(8).expand(3, 8)
    with pytest.raises(ValueError, match=r"shape \(3, 8\); .* = \(1, 8\)"):
        model(IDS[:1], positions=places)
    for dtype in (torch.uint8, torch.int16, torch.bool, torch.float32):
        with pytest.raises(TypeError, match="it must be int64"):
            model(IDS[:1], positions=places[:1].to(dtype))


def test_numbers_outside_their_range_are_refused() -> None:
    for wrong in (
        lambda: SinusoidalPositions(2, 4, base=0.0),
        lambda: Rotary(4, 8, base=-1.0),
        lambda: LayerNorm(4, eps=-1.0),
        lambda: RMSNorm(4, eps=math.nan),
    ):
        with pytest.raises(ValueError, match="must be above 0 and finite"):
            wrong()
    with pytest.raises(TypeError, match="n_new=2.5 must be an integer"):
        rollout(make(), [[1]], 2.5, None)


@pytest.mark.parametrize("ids", [[[1, 5]], [[1, -1]]])
def test_pairs_of_unknown_tokens_have_no_vector(ids: list) -> None:
    with pytest.raises(ValueError, match="ids=.* must be 0 .. 4"):
        BigramEmbedding(5, 4)(torch.tensor(ids))


# Talking


def test_a_long_conversation_keeps_what_the_system_said(monkeypatch) -> None:
    tokenizer, read = CharTokenizer("SQA: \nabcdefghij?"), []
    model = GPT(GPTConfig(tokenizer.vocab_size, 8, 2, 1, 8, 24))

    def stream(model: GPT, ids: Tensor, *_, **options) -> list:
        read.append(tokenizer.decode(ids[0].tolist()))
        return []

    monkeypatch.setattr("lib.generate.chat.stream", stream)
    roles = ("system", "user", "assistant", "user")
    said = zip(roles, ("abc", "abcd", "abcdef", "j"))
    messages = [{"role": role, "content": text} for role, text in said]
    assert reply(model, tokenizer, messages, 3) == ""
    assert "abc" in read[0] and "abcd" not in read[0] and "j" in read[0]
    assert len(messages) == 4  # the caller's own are not touched
    messages[-1]["content"] = "j" * 24
    with pytest.raises(ValueError, match="there is room for 23"):
        reply(model, tokenizer, messages, 3)
