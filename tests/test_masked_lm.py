"""The masked model: what is hidden, what it sees, and what its loss counts."""

import pytest
import torch
from against_torch import assert_near, few, random, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import causal_mask
from lib.evaluate.losses import masked_loss
from lib.models.masked_lm import MaskedLM, MaskedLMConfig, mask_tokens
from lib.train import Training
from lib.train.settings import TrainConfig

MASK = 9


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_ids(batch: int, t: int, seed: int = 0) -> Tensor:
    return torch.randint(MASK, (batch, t), generator=seeded(seed))


def make_model() -> MaskedLM:
    model = MaskedLM(MaskedLMConfig(MASK, 12, 3, 2, 20, 8))
    random_weights(model)
    return model.eval()


# Hiding


@few
@given(st.integers(1, 4), st.integers(1, 30), st.floats(0.01, 1.0), st.integers(0, 99))
def test_the_same_number_of_tokens_is_hidden_in_each_row(b, t, share, seed):
    ids = some_ids(b, t)
    before = ids.clone()
    inputs, hidden = mask_tokens(ids, MASK, share, seeded(seed))
    assert hidden.dtype == torch.bool and hidden.shape == ids.shape
    assert hidden.sum(1).tolist() == [max(1, round(share * t))] * b
    assert (inputs[hidden] == MASK).all()
    assert torch.equal(inputs[~hidden], ids[~hidden]) and torch.equal(ids, before)


def test_fifteen_in_a_hundred_are_hidden_unless_it_is_said():
    _, hidden = mask_tokens(some_ids(5, 100), MASK)
    assert hidden.sum(1).tolist() == [15] * 5


def test_the_same_seed_hides_the_same():
    ids = some_ids(4, 30)
    one, same, other = (mask_tokens(ids, MASK, 0.3, seeded(s))[1] for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_every_place_is_hidden_as_often_as_the_others():
    _, hidden = mask_tokens(some_ids(4_000, 10), MASK, 0.3, seeded())
    shares = hidden.float().mean(0)
    assert (shares - 0.3).abs().max() < 0.04
    together = (hidden[:, 0] & hidden[:, 1]).float().mean()
    assert together.item() == pytest.approx(3 / 10 * 2 / 9, abs=0.02)


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_share_out_of_range(share):
    with pytest.raises(ValueError, match=rf"share={share} must be above 0 and at most"):
        mask_tokens(some_ids(1, 4), MASK, share)


# Reading


def test_each_prediction_depends_on_every_place():
    model, ids = make_model(), some_ids(1, 6)
    before = model(ids)
    for place in range(6):
        changed = ids.clone()
        changed[0, place] = MASK
        assert (model(changed) != before).any(-1).all()


@pytest.mark.parametrize("t", range(1, 6))
def test_with_a_causal_mask_it_reads_from_left_to_right(t):
    model, ids = make_model(), some_ids(2, 6)
    changed = ids.clone()
    changed[:, t:] = MASK
    before, after = (model(x, causal_mask(6)) for x in (ids, changed))
    assert torch.equal(before[:, :t], after[:, :t])
    assert not torch.equal(before[:, t:], after[:, t:])


def test_it_is_embeddings_an_encoder_and_a_head():
    model, ids = make_model(), some_ids(2, 6)
    x = model.tokens(ids) + model.positions.table.weight[:6]
    for block in model.encoder.blocks:
        x = x + block.attention(block.attention_norm(x))[0]
        x = x + block.ffn(block.ffn_norm(x))
    expected = model.encoder.final_norm(x) @ model.head.weight.T
    assert_near(model(ids), expected, atol=1e-5)


def test_the_blank_can_be_read_but_not_written():
    model = make_model()
    assert model.mask_id == MASK and model.tokens.num_embeddings == MASK + 1
    assert model(torch.full((1, 8), MASK)).shape == (1, 8, MASK)


def test_new_weights_are_scaled_by_width():
    torch.manual_seed(0)
    model = MaskedLM(MaskedLMConfig(200, 64, 4, 1, 256, 100))
    block = model.encoder.blocks[0]
    for weight in (model.tokens.weight, block.ffn.down.weight, model.head.weight):
        expected = 0.7 * weight.size(1) ** -0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.05)


def test_inputs_and_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="length=9 is more than context_length=8"):
        make_model()(some_ids(1, 9))
    with pytest.raises(ValueError, match="n_heads=5 does not divide d_model=12"):
        MaskedLM(MaskedLMConfig(MASK, 12, 5, 2, 20, 8))
    with pytest.raises(ValueError, match="vocab_size=0 must be at least 1"):
        MaskedLM(MaskedLMConfig(0, 12, 3, 2, 20, 8))


# The loss


class Fixed(nn.Module):
    """Gives the same logits whatever it reads."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits


def test_the_loss_is_torchs_at_the_hidden_places_only():
    ids, model = some_ids(3, 7), Fixed(random(3, 7, MASK))
    inputs, hidden = mask_tokens(ids, MASK, 0.4, seeded())
    loss = masked_loss(model, inputs, ids, hidden)
    targets = ids.masked_fill(~hidden, -100).flatten()
    expected = F.cross_entropy(model.logits.flatten(0, 1), targets)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.equal(model.logits.grad.any(-1), hidden)


def test_it_learns_what_only_the_other_side_tells():
    """Rows of two equal tokens: the first is known only by reading backwards."""
    torch.manual_seed(0)
    ids = torch.randint(MASK, (64, 1)).expand(-1, 2)
    hidden = torch.tensor([True, False]).expand(64, -1)
    model = MaskedLM(MaskedLMConfig(MASK, 16, 2, 1, 16, 2))
    training = Training(model, TrainConfig(40, 0.01), masked_loss)
    for _ in range(40):
        training.step((ids.masked_fill(hidden, MASK), ids, hidden))
    assert training.losses[0] > 1.5 and training.losses[-1] < 0.5
