"""Training and evaluation mode: whatever switches it puts it back, part by part."""

import pytest
import torch
from torch import Tensor, nn

from lib.generate import generate
from lib.generate.beam import beam_search
from lib.generate.targets import generate_targets
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.models.gpt import GPT
from lib.models.presets import preset_config
from lib.module import in_mode
from lib.train import Training, estimate_loss, fit, train
from lib.train.checkpoint import load_checkpoint, save_checkpoint
from lib.train.settings import TrainConfig

TOKENS = torch.arange(60) % 10


def modes(model: nn.Module) -> list[bool]:
    return [part.training for part in model.modules()]


def partly_frozen(training: bool = True) -> GPT:
    """A model of which one part is in the other mode than the rest."""
    torch.manual_seed(0)
    model = GPT(preset_config("demo", dropout=0.4, context_length=8)).train(training)
    model.blocks[0].train(not training)
    return model


def batch() -> tuple[Tensor, Tensor]:
    return TOKENS[None, :8], TOKENS[None, 1:9]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("during", [True, False])
def test_every_part_is_switched_and_put_back(before, during):
    model = partly_frozen(before)
    kept = modes(model)
    with in_mode(model, training=during):
        assert set(modes(model)) == {during}
    assert modes(model) == kept
    with pytest.raises(ZeroDivisionError), in_mode(model, training=during):
        1 / 0
    assert modes(model) == kept


def fails(*args, **kwargs):
    raise ZeroDivisionError


def small_transformer() -> Transformer:
    sizes = {"d_model": 8, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1}
    return Transformer(
        TransformerConfig(10, 10, **sizes, d_ff=8, dropout=0.4, context_length=9)
    )


SRC = torch.tensor([[3, 4, 2]])
SWITCHES = {  # what switches, a model for it, and the mode in which it computes
    "estimate_loss": (lambda m: estimate_loss(m, TOKENS, 8), partly_frozen, False),
    "generate": (lambda m: generate(m, TOKENS[None, :3], 4), partly_frozen, False),
    "fit": (lambda m: fit(m, batch, 2, 0.01), partly_frozen, True),
    "train": (
        lambda m: train(Training(m, TrainConfig(2)), batch), partly_frozen, True
    ),
    "step": (lambda m: Training(m, TrainConfig(2)).step(batch()), partly_frozen, True),
    "translate": (lambda m: generate_targets(m, SRC, 4), small_transformer, False),
    "beam_search": (lambda m: beam_search(m, SRC, 2, 4), small_transformer, False),
}  # fmt: skip


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("before", [True, False])
def test_whatever_switches_puts_back(name, failing, before):
    switch, make, expected = SWITCHES[name]
    model, seen = make(), []
    model.train(before)
    model.dropout.train(not before)
    kept = modes(model)
    head = model.decoder if isinstance(model, Transformer) else model.blocks[1]
    head.register_forward_pre_hook(lambda *_: seen.append(set(modes(model))))
    if failing:
        head.register_forward_hook(fails)
        with pytest.raises(ZeroDivisionError):
            switch(model)
    else:
        switch(model)
    assert modes(model) == kept
    assert seen and all(found == {expected} for found in seen)


def test_a_model_from_a_checkpoint_is_tuned_with_its_dropout(tmp_path):
    save_checkpoint(tmp_path / "x.safetensors", partly_frozen())
    tuned = []
    for ready in (True, False):
        model = load_checkpoint(tmp_path / "x.safetensors").model.train(not ready)
        torch.manual_seed(0)
        tuned.append(train(Training(model, TrainConfig(3)), batch))
        assert model.training == (not ready)
    assert tuned[0] == tuned[1]
    torch.manual_seed(1)  # other numbers are dropped
    model = load_checkpoint(tmp_path / "x.safetensors").model
    assert train(Training(model, TrainConfig(3)), batch) != tuned[0]


def test_between_steps_a_model_is_in_its_own_mode():
    model, seen = partly_frozen(training=False), []
    kept = modes(model)

    def evaluate() -> float:
        seen.append(modes(model))
        return 1.0

    train(Training(model, TrainConfig(2)), batch, 1, evaluate)
    assert seen == [kept, kept]
