"""Smear: each token's vector with a share of the one before, however it is read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lib.attention import KVCache, document_mask
from lib.embedding import Smear
from lib.evaluate.scaling_laws import training_bytes
from lib.generate import generate
from lib.generate.rollouts import rollout
from lib.models import build_model, config_from_dict, config_to_dict
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import export_gpt2
from lib.models.llama_files import export_llama
from lib.show.live import playground
from lib.text.tokenizer import CharTokenizer
from lib.train import Training
from lib.train.settings import TrainConfig

CONFIG = GPTConfig(20, 16, 2, 2, 32, 12, position="rotary", smear=True)
IDS = torch.randint(1, 20, (2, 12), generator=torch.Generator().manual_seed(0))


def model_with(config: GPTConfig = CONFIG) -> GPT:
    """A model whose smear has learned something."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    with torch.no_grad():
        model.smear.share.normal_()
    return model


def by_hand(x: Tensor, share: Tensor) -> Tensor:
    rows = [x[:, t] + (share * x[:, t - 1] if t else 0) for t in range(x.size(1))]
    return torch.stack(rows, dim=1)


def test_it_adds_a_share_of_the_one_before() -> None:
    smear, x = Smear(3), torch.randn(2, 5, 3)
    assert torch.equal(smear(x), x)  # as it starts
    smear.share.data = torch.tensor([1.0, 0.5, -2.0])
    assert torch.allclose(smear(x), by_hand(x, smear.share))
    assert torch.equal(smear(x[:, :1]), x[:, :1])


@pytest.mark.parametrize("cuts", [(1, 2, 3, 4), (3,), (4,), ()])
def test_with_a_cache_it_is_the_same(cuts: tuple[int, ...]) -> None:
    smear, x, cache = Smear(3), torch.randn(2, 5, 3), KVCache(5)
    smear.share.data = torch.tensor([1.0, 0.5, -2.0])
    parts = torch.tensor_split(x, cuts, dim=1)
    read = torch.cat([smear(part, cache) for part in parts if part.size(1)], dim=1)
    assert torch.equal(read, smear(x))
    cache.length = 2  # forget three again
    assert torch.equal(smear(x[:, 2:], cache), read[:, 2:])


def test_a_text_has_nothing_before_its_start() -> None:
    smear, x = Smear(3), torch.randn(1, 5, 3)
    smear.share.data = torch.tensor([1.0, 0.5, -2.0])
    positions = torch.tensor([[0, 1, 2, 0, 1]])
    alone = torch.cat([smear(x[:, :3]), smear(x[:, 3:])], dim=1)
    assert torch.equal(smear(x, positions=positions), alone)
    with pytest.raises(ValueError, match="d_model=3"):
        smear(torch.zeros(1, 2, 4))


def test_a_model_smears_its_tokens_and_not_their_positions() -> None:
    model = model_with(replace(CONFIG, position="learned"))
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model(IDS)
    tokens = by_hand(model.tokens(IDS), model.smear.share)
    assert torch.allclose(seen[0], model.positions(tokens), atol=1e-6)


@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_a_model_writes_the_same_with_and_without_a_cache(position: str) -> None:
    model, drawn = model_with(replace(CONFIG, position=position)), []
    for use_cache in (True, False):
        g = torch.Generator().manual_seed(1)
        drawn.append(generate(model, IDS[:, :3], 40, use_cache=use_cache, generator=g))
    assert torch.equal(*drawn)
    model.smear.share.data.zero_()
    g = torch.Generator().manual_seed(1)
    assert not torch.equal(generate(model, IDS[:, :3], 40, generator=g), drawn[0])


def test_caches_of_another_number_are_refused() -> None:
    model = model_with()
    assert len(model.new_cache()) == 3
    with pytest.raises(ValueError, match="zip"):
        model(IDS, model.new_cache()[1:])


def test_documents_side_by_side_and_behind_padding() -> None:
    model = model_with()
    documents = torch.tensor([[0] * 5 + [1] * 7]).expand(2, -1)
    positions = torch.tensor([[*range(5), *range(7)]]).expand(2, -1)
    mask = document_mask(documents)
    packed = model(IDS, positions=positions, mask=mask)
    alone = torch.cat([model(IDS[:, :5]), model(IDS[:, 5:])], dim=1)
    assert torch.allclose(packed, alone, atol=1e-5)
    prompts = [[1, 2, 3, 4, 5], [6, 7]]
    both = rollout(model, prompts, 5, None, 0.0)
    each = [rollout(model, [prompt], 5, None, 0.0) for prompt in prompts]
    for row, one in zip(both.ids, each, strict=True):
        n = one.ids.size(1)
        assert row[:n].tolist() == one.ids[0].tolist()


def test_it_is_trained_and_kept() -> None:
    torch.manual_seed(0)
    run = Training(GPT(CONFIG), TrainConfig(5, optimizer="muon", learning_rate=0.01))
    for _ in range(5):
        run.step((IDS[:, :-1], IDS[:, 1:]))
    assert run.model.smear.share.abs().max() > 0.001
    assert build_model(config_from_dict(config_to_dict(CONFIG))).config == CONFIG
    assert "smear" not in dict(GPT(replace(CONFIG, smear=False)).named_modules())


def test_what_knows_no_smear_says_so(tmp_path) -> None:
    model = model_with(replace(CONFIG, position="learned"))
    tokenizer = CharTokenizer("abcdefghijklmnopqrst")
    for use in (
        lambda: export_gpt2(model, tmp_path / "gpt2"),
        lambda: export_llama(model, tmp_path / "llama"),
        lambda: playground(model, tokenizer),
        lambda: training_bytes(model.config, 4),
    ):
        with pytest.raises(ValueError, match="smear|position|norm"):
            use()
    assert not [*tmp_path.iterdir()]
