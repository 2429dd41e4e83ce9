"""The course's own modules are PyTorch's, only quicker to call."""

import copy
import pickle
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from against_torch import random
from torch import nn
from torch.nn.utils import parametrize

from lib.models import build_model
from lib.models.encoder_decoder import TransformerConfig
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import export_gpt2
from lib.models.llama_files import export_llama
from lib.models.masked_lm import MaskedLMConfig
from lib.models.presets import PRESETS
from lib.module import Linear, Module, sizes_only
from lib.position import RotaryScaling

ROOT = Path(__file__).parents[1]
MASKED = MaskedLMConfig(10, 16, 2, 1, 32, 8)
SLOWED = {"all": RotaryScaling(4.0), "some": RotaryScaling(4.0, 1, 32, 64)}
KINDS = PRESETS | {
    name: replace(PRESETS["base"], rotary_scaling=how) for name, how in SLOWED.items()
}
KINDS |= {"translator": TransformerConfig(10, 12), "masked": MASKED}


class Doubling(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Holder(Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.part(x)


MODES = {"plain": nullcontext, "no_grad": torch.no_grad}
MODES["inference"] = torch.inference_mode


@pytest.fixture(params=MODES)
def mode(request):
    with MODES[request.param]():
        yield


@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_is_pytorchs(mode, bias):
    ours, torchs, x = Linear(4, 3, bias=bias), nn.Linear(4, 3, bias=bias), random(2, 4)
    torchs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), torchs(x))


def test_a_part_that_is_replaced_in_any_way_is_the_one_that_works(mode):
    holder, x = Holder(), random(2, 3)
    for replace in (setattr, Holder.add_module, Holder.register_module):
        new = Doubling(3, 3)
        replace(holder, "part", new)
        assert holder.part is new and torch.equal(holder(x), new(x))
    holder.part = None
    assert holder.part is None and "part" not in dict(holder.named_modules())
    holder.part = Linear(3, 3)
    del holder.part
    assert not hasattr(holder, "part") and not list(holder.parameters())


def test_copies_have_parts_of_their_own(mode):
    holder, x = Holder(), random(2, 3)
    for other in (copy.deepcopy(holder), pickle.loads(pickle.dumps(holder))):
        assert other.part is other._modules["part"] is not holder.part
        assert torch.equal(other(x), holder(x))
        with torch.no_grad():
            other.part.weight.zero_()
        assert not torch.equal(other(x), holder(x))


def test_hooks_are_asked(mode):
    model, seen = GPT(PRESETS["demo"]).eval(), []
    for name in ("blocks.0.attention", "blocks.1.ffn.up", "blocks.0.ffn_norm"):
        part = model.get_submodule(name)
        part.register_forward_hook(lambda m, i, o: seen.append(m))
        part.register_forward_pre_hook(lambda m, i: seen.append(m))
    model(torch.zeros(1, 3, dtype=torch.long))
    assert len(seen) == 6 and len(set(seen)) == 3


def test_hooks_of_the_backward_pass_are_asked():
    model, seen = GPT(PRESETS["demo"]), []
    model.blocks[0].attention.register_full_backward_hook(lambda *_: seen.append(1))
    model(torch.zeros(1, 3, dtype=torch.long)).sum().backward()
    assert seen == [1]


def test_a_weight_that_is_computed_anew_is_used(mode):
    class Zero(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 0 * weight

    holder = Holder()
    parametrize.register_parametrization(holder.part, "weight", Zero())
    assert torch.equal(holder(random(1, 3))[0], holder.part.bias)


def test_a_model_compiles_as_a_whole(mode):
    model, ids = GPT(PRESETS["demo"]).eval(), torch.arange(9).unsqueeze(0)
    torch.compiler.reset()
    whole = torch.compile(model, backend="eager", fullgraph=True)  # no break in between
    torch.testing.assert_close(whole(ids), model(ids))


@pytest.mark.parametrize("name", KINDS)
def test_sizes_alone_are_those_of_the_model(name) -> None:
    before = torch.get_rng_state()
    with sizes_only():
        quick = build_model(KINDS[name])
    assert torch.equal(before, torch.get_rng_state())
    with torch.device("meta"):
        model = build_model(KINDS[name])
    tensors = [(*m.named_parameters(), *m.named_buffers()) for m in (quick, model)]
    ours, torchs = ([(n, t.shape, t.dtype) for n, t in each] for each in tensors)
    assert ours == torchs
    assert {t.device.type for _, t in tensors[0]} == {"meta"}


def test_models_are_counted_and_read_without_the_compiler(tmp_path) -> None:
    export_gpt2(GPT(GPTConfig(9, 4, 2, 1, 4, 6)), tmp_path / "gpt2")
    shape = {"norm": "rms", "position": "rotary", "ffn": "swiglu"}
    llama = GPTConfig(10, 8, 2, 1, 16, 4, **shape, attention_bias=False)
    export_llama(GPT(llama), tmp_path / "llama")
    code = """
import sys
from lib.models import build_model
from lib.models.encoder_decoder import TransformerConfig
from lib.models.gpt2_files import load_gpt2
from lib.models.llama_files import load_llama
from lib.models.presets import PRESETS
from lib.module import sizes_only
from lib.train.checkpoint import load_checkpoint

for config in (*PRESETS.values(), TransformerConfig(10, 12)):
    with sizes_only():
        build_model(config)
load_checkpoint("data/base.safetensors")
load_gpt2(sys.argv[1] + "/gpt2")
load_llama(sys.argv[1] + "/llama")
sys.exit("torch._dynamo" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
