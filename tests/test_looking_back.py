"""What looks one token back before the blocks, `Smear` and `BigramEmbedding`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib.attention import KVCache, document_mask
from lib.embedding import BigramEmbedding, Smear
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

CONFIG = GPTConfig(20, 16, 2, 2, 32, 12, position="rotary")
IDS = torch.randint(1, 20, (2, 12), generator=torch.Generator().manual_seed(0))
PARTS = [("smear",), ("bigrams",), ("smear", "bigrams")]
each_part = pytest.mark.parametrize("parts", PARTS, ids="+".join)


def model_with(*parts: str, position: str = "rotary") -> GPT:
    """A model whose parts that look back have learned something."""
    torch.manual_seed(0)
    switches = dict.fromkeys(parts, True)
    model = GPT(replace(CONFIG, position=position, **switches)).eval()
    with torch.no_grad():
        model.tokens.weight.mul_(10)  # and the head's: what it draws depends on them
        for name in parts:
            for weight in getattr(model, name).parameters():
                weight.normal_()
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


def test_each_pair_has_a_vector() -> None:
    table, ids = BigramEmbedding(3, 2), torch.tensor([[0, 2, 1, 1]])
    assert torch.equal(table(ids), torch.zeros(1, 4, 2))  # as it starts
    table.pairs.weight.data = torch.arange(24.0).view(12, 2)
    rows = [3 * 3 + 0, 0 * 3 + 2, 2 * 3 + 1, 1 * 3 + 1]  # nothing comes before the 0
    assert torch.equal(table(ids)[0], table.pairs.weight[rows])
    assert len({before * 3 + id_ for before in range(4) for id_ in range(3)}) == 12
    with pytest.raises(ValueError, match="vocab_size=0"):
        BigramEmbedding(0, 2)


@pytest.mark.parametrize("cuts", [(1, 2, 3, 4), (3,), (4,), ()])
def test_pairs_are_found_with_a_cache(cuts: tuple[int, ...]) -> None:
    table, cache = BigramEmbedding(20, 3), KVCache(12)
    table.pairs.weight.data.normal_()
    parts = torch.tensor_split(IDS, cuts, dim=1)
    read = torch.cat([table(part, cache) for part in parts if part.size(1)], dim=1)
    assert torch.equal(read, table(IDS))
    cache.length = 2  # forget the others again
    assert torch.equal(table(IDS[:, 2:], cache), read[:, 2:])


def test_pairs_do_not_reach_into_another_text() -> None:
    table, positions = BigramEmbedding(20, 3), torch.tensor([[0, 1, 2, 0, 1]])
    table.pairs.weight.data.normal_()
    ids = IDS[:1, :5]
    alone = torch.cat([table(ids[:, :3]), table(ids[:, 3:])], dim=1)
    assert torch.equal(table(ids, positions=positions), alone)
    assert not torch.equal(table(ids), alone)


def test_pairs_come_before_the_smear() -> None:
    model = model_with("smear", "bigrams", position="learned")
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model(IDS)
    tokens = by_hand(model.tokens(IDS) + model.bigrams(IDS), model.smear.share)
    assert torch.allclose(seen[0], model.positions(tokens), atol=1e-6)


@each_part
@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_a_model_writes_the_same_with_and_without_a_cache(
    parts: tuple[str, ...], position: str
) -> None:
    model, drawn = model_with(*parts, position=position), []
    for use_cache in (True, False):
        g = torch.Generator().manual_seed(1)
        drawn.append(generate(model, IDS[:, :3], 40, use_cache=use_cache, generator=g))
    assert torch.equal(*drawn)
    for name in parts:
        for weight in getattr(model, name).parameters():
            weight.data.zero_()
    g = torch.Generator().manual_seed(1)
    assert not torch.equal(generate(model, IDS[:, :3], 40, generator=g), drawn[0])


@each_part
def test_caches_of_another_number_are_refused(parts: tuple[str, ...]) -> None:
    model = model_with(*parts)
    assert len(model.new_cache()) == 2 + len(parts)
    with pytest.raises(ValueError, match="zip"):
        model(IDS, model.new_cache()[1:])


@each_part
def test_documents_side_by_side_and_behind_padding(parts: tuple[str, ...]) -> None:
    model = model_with(*parts)
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


@each_part
def test_it_is_trained_and_kept(parts: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, **dict.fromkeys(parts, True))
    settings = TrainConfig(5, optimizer="muon", learning_rate=0.01)
    run = Training(GPT(config), settings)
    for name in parts:  # as if it were not there
        assert not any(w.any() for w in getattr(run.model, name).parameters())
    for _ in range(5):
        run.step((IDS[:, :-1], IDS[:, 1:]))
    for name in parts:
        (weight,) = getattr(run.model, name).parameters()
        assert weight.abs().max() > 0.001
    assert build_model(config_from_dict(config_to_dict(config))).config == config
    assert not {*parts} & {*dict(GPT(CONFIG).named_modules())}


@pytest.mark.parametrize("part", ["smear", "bigrams"])
def test_what_does_not_know_it_says_so(part: str, tmp_path: Path) -> None:
    model = model_with(part, position="learned")
    tokenizer = CharTokenizer("abcdefghijklmnopqrst")
    for use in (
        lambda: export_gpt2(model, tmp_path / "gpt2"),
        lambda: export_llama(model, tmp_path / "llama"),
        lambda: playground(model, tokenizer),
        lambda: training_bytes(model.config, 4),
    ):
        with pytest.raises(ValueError, match=f"{part}|position|norm"):
            use()
    assert not [*tmp_path.iterdir()]
