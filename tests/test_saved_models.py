"""Each model of the course comes back from a checkpoint, or is refused when saved."""

import importlib
import inspect
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_bad_checkpoints import good, rewrite  # noqa: F401
from torch import nn

from lib.attention import MultiHeadAttention
from lib.block import Block
from lib.embedding import BigramEmbedding, PatchEmbedding, Smear
from lib.ffn import FeedForward, SwiGLU
from lib.latent import LatentAttention
from lib.models import build_model
from lib.models.attention_lm import AttentionConfig, AttentionLM
from lib.models.bigram import BigramConfig, BigramLM
from lib.models.encoder_decoder import (
    Decoder,
    Encoder,
    Transformer,
    TransformerConfig,
)
from lib.models.gpt import GPT, GPTConfig
from lib.models.language_model import LanguageModel
from lib.models.masked_lm import MaskedLM, MaskedLMConfig
from lib.models.presets import PRESETS, preset_config
from lib.module import Linear, Module
from lib.moe import MoE
from lib.norm import LayerNorm, RMSNorm
from lib.position import LearnedPositions, Rotary, SinusoidalPositions
from lib.text.bpe import BPETokenizer
from lib.text.tokenizer import CharTokenizer, WordTokenizer
from lib.train import checkpoint as library
from lib.train import tensor_file
from lib.train.checkpoint import (
    load_checkpoint,
    save_checkpoint,
)
from lib.train.parallel import SharedModel
from lib.train.run import Run
from lib.train.uses import load_for_command
from lib.tune.lora import LoRA, LoRALinear
from lib.tune.reward_model import RewardModel

ROOT = Path(__file__).parents[1]
SIZES = {"d_model": 8, "n_heads": 2, "d_ff": 8, "context_length": 6, "dropout": 0.0}


def make_block() -> Block:
    return Block(MultiHeadAttention(8, 2), FeedForward(8, 8))


SAVED = {
    GPT: lambda: GPT(PRESETS["demo"]),
    BigramLM: lambda: BigramLM(BigramConfig(7)),
    AttentionLM: lambda: AttentionLM(AttentionConfig(7, 8, 2, 6)),
    Transformer: lambda: Transformer(
        TransformerConfig(9, 11, n_encoder_layers=1, n_decoder_layers=1, **SIZES)
    ),
    MaskedLM: lambda: MaskedLM(MaskedLMConfig(7, 8, 2, 2, 8, 6)),
}
BUILT = {kind: preset_config(kind, vocab_size=7) for kind in ("bigram", "single-head")}
BUILT["multi-head"] = preset_config("multi-head", vocab_size=7, context_length=6)
REFUSED = {
    Linear: lambda: Linear(8, 8),
    Module: Module,
    LanguageModel: lambda: LanguageModel(7, 8, 6, [make_block()]),
    MultiHeadAttention: lambda: MultiHeadAttention(8, 2),
    LatentAttention: lambda: LatentAttention(8, 2, 3, Rotary(2, 6)),
    Smear: lambda: Smear(8),
    BigramEmbedding: lambda: BigramEmbedding(3, 8),
    Encoder: lambda: Encoder(8, 2, 1, 8),
    Decoder: lambda: Decoder(8, 2, 1, 8),
    Block: make_block,
    FeedForward: lambda: FeedForward(8, 8),
    SwiGLU: lambda: SwiGLU(8, 8),
    MoE: lambda: MoE(8, [FeedForward(8, 8)]),
    LayerNorm: lambda: LayerNorm(8),
    RMSNorm: lambda: RMSNorm(8),
    LearnedPositions: lambda: LearnedPositions(6, 8),
    SinusoidalPositions: lambda: SinusoidalPositions(6, 8),
    Rotary: lambda: Rotary(8, 6),
    PatchEmbedding: lambda: PatchEmbedding(8, 4, 8),
    LoRA: lambda: LoRA(8, 8, 2, 4.0),
    LoRALinear: lambda: LoRALinear(Linear(8, 8)),
    RewardModel: lambda: RewardModel(GPT(GPTConfig(7, 8, 2, 1, 8, 6))),
}


def test_no_module_of_the_library_is_forgotten():
    exported = set()
    for path in sorted((ROOT / "lib").rglob("*.py")):
        if path.stem != "__main__" and path.parent.name != "checks":
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
            named = [getattr(module, name) for name in getattr(module, "__all__", [])]
            exported |= {x for x in named if inspect.isclass(x)}
    modules = {kind for kind in exported if issubclass(kind, nn.Module)}
    modules.remove(SharedModel)  # it lives in a process group only
    assert modules == SAVED.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", [kind.__name__ for kind in SAVED] + [*BUILT])
def test_a_model_comes_back_as_it_was(name, tmp_path):
    torch.manual_seed(0)
    kinds = {kind.__name__: make for kind, make in SAVED.items()}
    model = kinds[name]() if name in kinds else build_model(BUILT[name])
    before = torch.get_rng_state()
    save_checkpoint(tmp_path / "x.safetensors", model)
    assert torch.equal(torch.get_rng_state(), before)  # saving draws nothing
    loaded = load_checkpoint(tmp_path / "x.safetensors").model
    assert type(loaded) is type(model) and loaded.config == model.config
    ids = torch.tensor([[3, 4, 5], [6, 2, 1]])
    inputs = [ids, ids] if isinstance(model, Transformer) else [ids]
    assert torch.equal(loaded(*inputs), model.eval()(*inputs))


def refused(tmp_path: Path, model: nn.Module, message: str, *others, **notes) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        save_checkpoint(tmp_path / "x.safetensors", model, *others, **notes)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("kind", REFUSED)
def test_another_module_is_refused_and_nothing_is_written(kind, tmp_path):
    name = kind.__name__
    refused(tmp_path, REFUSED[kind](), f"a {name} without a configuration .*GPT")


def test_a_model_that_was_rebuilt_is_refused(tmp_path):
    class Own(GPT):
        pass

    wider = GPT(PRESETS["demo"])
    wider.head = nn.Linear(16, 11)
    untied = GPT(preset_config("demo", tie_weights=True, head_bias=False))
    untied.head = nn.Linear(16, 10, bias=False)
    deeper = GPT(PRESETS["demo"])
    deeper.config = replace(deeper.config, n_layers=3)
    for model, differ in ((wider, "head.bias"), (untied, "head.w"), (deeper, "blocks")):
        refused(tmp_path, model, f"this GPT cannot be saved: .*{differ}")
    refused(tmp_path, Own(GPTConfig()), "this Own cannot be saved: .* builds a GPT")


@pytest.mark.parametrize("tokenizer", [object(), (CharTokenizer("ab"),), "abc", []])
def test_a_tokenizer_that_cannot_be_kept_is_refused(tokenizer, tmp_path):
    refused(tmp_path, GPT(PRESETS["demo"]), "tokenizer has the type", tokenizer)


def test_a_note_that_cannot_be_kept_is_refused(tmp_path):
    refused(tmp_path, GPT(PRESETS["demo"]), "not JSON serializable", when=object())


# What a file says of itself


@pytest.mark.parametrize("missing", ["model", "tokenizer", "notes"])
def test_a_file_that_does_not_say_enough(good, tmp_path, missing):  # noqa: F811
    path = tmp_path / "bad"
    with safe_open(good, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        about = file.metadata()
    del about[missing], about["sha256"]
    save_file(tensors, path, about | {"sha256": tensor_file._sum(tensors, about)})
    with pytest.raises(ValueError, match=f"bad' does not say its '{missing}'"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "tokenizer",
    [[], [[]], {}, 7, "a", [None, None], {"words": []}, {"bpe": []}, {"bpe": [7] * 3}],
)
def test_a_vocabulary_of_no_known_kind(good, tmp_path, tokenizer):  # noqa: F811
    path = rewrite(good, tmp_path / "bad", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="bad': "):
        load_checkpoint(path)


@pytest.mark.parametrize("notes", [None, 7, ["a"], "notes"])
def test_notes_that_are_none(good, tmp_path, notes):  # noqa: F811
    with pytest.raises(ValueError, match="bad': "):
        load_checkpoint(rewrite(good, tmp_path / "bad", notes=notes))


# Which command can use it


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder with a file of each kind of model, with its vocabulary."""
    monkeypatch.chdir(tmp_path)
    letters, words = CharTokenizer("abcdefg"), WordTokenizer(["the boy sees"])
    save_checkpoint("gpt.safetensors", GPT(PRESETS["demo"]), letters)
    save_checkpoint("masked.safetensors", SAVED[MaskedLM](), letters)
    save_checkpoint("pair.safetensors", SAVED[Transformer](), (words, words))
    save_checkpoint("half.safetensors", SAVED[Transformer](), words)
    large = "large.safetensors", GPT(PRESETS["demo"]), BPETokenizer([])
    with pytest.raises(ValueError, match="vocabulary of 256 for a model of 10 tokens"):
        save_checkpoint(*large)
    with monkeypatch.context() as damaged:
        damaged.setattr(library, "require_vocabulary", lambda *given: None)
        save_checkpoint(*large)
    save_checkpoint("bare.safetensors", GPT(PRESETS["demo"]))
    return tmp_path


def test_a_command_takes_its_own_models(models):
    assert isinstance(load_for_command("generate", "gpt.safetensors").model, GPT)
    pair = load_for_command("translate", "pair.safetensors")
    assert isinstance(pair.model, Transformer) and len(pair.tokenizer) == 2


@pytest.mark.parametrize(
    "command, name, message",
    [
        ("generate", "pair", "no language model but a translator: python -m lib.trans"),
        ("translate", "gpt", "no translator but a language model: python -m lib.gener"),
        ("generate", "masked", "no language model but a MaskedLM: no command uses it"),
        ("translate", "masked", "no translator but a MaskedLM: no command uses it"),
        ("translate", "half", "no vocabulary of its translator"),
        ("generate", "bare", "no vocabulary of its language model"),
        ("generate", "large", "vocabulary of 256 for a model of 10 tokens"),
    ],
)
def test_a_command_refuses_the_models_of_others(models, command, name, message):
    with pytest.raises(ValueError, match=f"'{name}.safetensors' h.*{message}"):
        load_for_command(command, f"{name}.safetensors")


@pytest.mark.parametrize("name", ["gpt", "masked", "pair"])
def test_only_a_run_goes_on(models, name):
    with pytest.raises(ValueError, match="holds no run of lib.train to go on with"):
        Run.resume(f"{name}.safetensors")
