"""Every preset has exactly the size that it says, and can be written down and read."""

import json
from dataclasses import replace

import pytest
import torch

from lib.models import build_model, config_from_dict, config_to_dict, count_parameters
from lib.models.attention_lm import AttentionConfig
from lib.models.bigram import BigramConfig
from lib.models.gpt import GPTConfig
from lib.models.presets import PRESETS, preset_config

COUNTS = {
    "demo": 5_162,
    "bigram": 4_225,
    "single-head": 22_721,
    "multi-head": 26_817,
    "block": 60_545,
    "mini": 619_904,
    "solver": 112_000,
    "toy": 249_200,
    "base": 807_936,
    "modern": 743_040,
    "base-512": 19_079_680,
    "tiny": 6_834_688,
    "small": 25_194_496,
    "medium": 97_602_048,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}
SMALL = ["demo", "bigram", "single-head", "multi-head", "block"]


def test_every_preset_has_a_count():
    assert COUNTS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    with torch.device("meta"):
        model = build_model(PRESETS[name])
    assert count_parameters(model) == COUNTS[name]
    assert model.config == PRESETS[name]


def test_the_bias_of_gpt2_is_counted_where_it_is():
    with torch.device("meta"):
        model = build_model(PRESETS["gpt2"])
    names = [name for name, p in model.named_parameters() if p.dim() == 1]
    per_block = 2 * 2 + 4 + 2  # two norms, four projections, two of the feed-forward
    assert len(names) == 12 * per_block + 2
    assert model.head.weight is model.tokens.weight and model.head.bias is None


@pytest.mark.parametrize("name", SMALL)
def test_small_models_read_and_do_not_see_the_future(name):
    model = build_model(PRESETS[name]).eval()
    v = PRESETS[name].vocab_size
    ids = torch.arange(2 * 32).view(2, 32) % v
    changed = ids.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % v
    before, after = model(ids), model(changed)
    assert before.shape == (2, 32, v)
    assert torch.equal(before[:, :20], after[:, :20])
    assert (before != after).any(-1)[:, 20:].all()


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_survives_being_written_down(name):
    written = json.dumps(config_to_dict(PRESETS[name]))
    assert config_from_dict(json.loads(written)) == PRESETS[name]


def test_values_of_a_preset_can_be_changed():
    config = preset_config("demo", vocab_size=7, dropout=0.1)
    assert config == replace(PRESETS["demo"], vocab_size=7, dropout=0.1)
    small = preset_config("multi-head", vocab_size=7, context_length=5)
    assert build_model(small)(torch.zeros(1, 5).long()).shape == (1, 5, 7)


def test_names_and_values_that_do_not_exist():
    with pytest.raises(ValueError, match="preset 'gpt5' must be one of demo, bigram"):
        preset_config("gpt5")
    with pytest.raises(ValueError, match="norm='batch' must be in .*'layer', 'rms'"):
        preset_config("demo", norm="batch")
    with pytest.raises(TypeError, match="dropout"):
        preset_config("bigram", dropout=0.1)
    with pytest.raises(ValueError, match="n_heads=3 does not divide d_model=64"):
        AttentionConfig(n_heads=3)
    for config in (AttentionConfig, BigramConfig):
        with pytest.raises(ValueError, match="context_length=0 must be at least 1"):
            config(context_length=0)
    with pytest.raises(TypeError, match="config='gpt' must be one of BigramConfig"):
        build_model("gpt")


def test_the_defaults_are_a_sensible_gpt():
    model = build_model(GPTConfig())
    assert count_parameters(model) == 818_048
    assert model.head.weight is model.tokens.weight and model.config.final_norm


@pytest.mark.parametrize("kind", ["bigram", "single-head", "multi-head"])
def test_small_models_of_the_first_edition_are_read(kind):
    values = {"model": "small", "kind": kind, "vocab_size": 9, "context_length": 6}
    changed = preset_config(kind, vocab_size=9, context_length=6)
    assert config_from_dict(values) == changed


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "model=None must be in"),
        ({"model": "rnn"}, "model='rnn' must be in .*'gpt', 'transformer'"),
        ({"model": "gpt", "n_wings": 2}, "does not fit.*n_wings"),
        ({"model": "small"}, "model='small' must be in"),
        ({"model": "small", "kind": "trigram"}, "model='small' must be in"),
        ({"model": "gpt", "d_model": 0}, "d_model=0 must be at least 1"),
    ],
)
def test_configurations_that_do_not_fit(values, message):
    with pytest.raises(ValueError, match=message):
        config_from_dict(values)
