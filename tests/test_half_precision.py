"""Numbers of 16 bits: losses, norms, entropies and softmaxes are still computed in 32.

Held against torch's own on the same numbers in float32, or against the formula in
float64. Inside autocast a processor multiplies in bfloat16; there nothing may change.
"""

import math

import pytest
import torch
from against_torch import random, random_weights
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import causal_mask, scaled_dot_product_attention
from lib.device import at_least_float32
from lib.evaluate.attention_maps import attention_entropy
from lib.evaluate.losses import cross_entropy, entropy, label_smoothing_loss
from lib.generate.sampling import keep_top_p, sample_next
from lib.models.gpt import GPT
from lib.models.presets import preset_config
from lib.norm import LayerNorm, RMSNorm

HALVES = [torch.float16, torch.bfloat16]
dtypes = pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
halves = pytest.mark.parametrize("dtype", HALVES, ids=str)
norms = pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])


@pytest.fixture(params=[False, True], ids=["plain", "autocast"], autouse=True)
def autocast(request):
    with torch.autocast("cpu", torch.bfloat16, enabled=request.param):
        yield request.param


def near(ours: Tensor, exact: Tensor, n_roundings: int = 1) -> bool:
    """Whether a result differs from the exact one by no more than its last digits."""
    step = torch.finfo(ours.dtype).eps * n_roundings
    step += torch.finfo(torch.float32).eps * 64  # of the computation before
    return (ours.double() - exact).abs().max() <= step * exact.abs().max()


def by_formula(norm: nn.Module, x: Tensor, *weights: Tensor) -> Tensor:
    """What a norm computes, from its weights, step by step in float64."""
    if isinstance(norm, LayerNorm):
        x = x - x.mean(dim=-1, keepdim=True)
    scaled = x / (x.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return scaled * weights[0] + sum(weights[1:])


def make_norm(norm: type[nn.Module], width: int, dtype: torch.dtype) -> nn.Module:
    made = norm(width)
    random_weights(made)
    return made.to(dtype)


# Losses


@dtypes
@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_torchs_of_the_logits_in_float32(dtype, scale, smoothing):
    logits = (scale * random(4, 8, 1_000)).to(dtype).requires_grad_()
    same = logits.detach().clone().requires_grad_()
    targets = torch.arange(32).view(4, 8)  # the first is padding
    options = {"ignore_index": 0, "label_smoothing": smoothing}
    loss = label_smoothing_loss(logits, targets, smoothing, pad_id=0)
    torchs = F.cross_entropy(same.float().flatten(0, 1), targets.flatten(), **options)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, torchs, atol=1e-6, rtol=1e-6)
    loss.backward()
    torchs.backward()
    assert logits.grad.dtype == dtype
    assert near(logits.grad, same.grad.double())


@dtypes
def test_cross_entropy_is_torchs_of_the_logits_in_float32(dtype):
    logits = (3 * random(4, 8, 1_000)).to(dtype).requires_grad_()
    same = logits.detach().clone().requires_grad_()
    targets = torch.arange(32).view(4, 8)
    loss = cross_entropy(logits, targets)
    torchs = F.cross_entropy(same.float().flatten(0, 1), targets.flatten())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, torchs, atol=1e-6, rtol=1e-6)
    loss.backward()
    torchs.backward()
    assert near(logits.grad, same.grad.double())


@halves
def test_the_loss_of_equal_logits_is_exact(dtype):
    logits = torch.full((3, 65), 2.0, dtype=dtype)  # ln 65 lies between two bfloat16
    for loss in (cross_entropy, label_smoothing_loss):
        assert loss(logits, torch.arange(3)).item() == pytest.approx(math.log(65))


def test_the_loss_of_a_linear_layer_has_all_its_digits(autocast):
    head, x = nn.Linear(16, 65), random(50, 16)
    logits = head(x)
    assert logits.dtype == (torch.bfloat16 if autocast else torch.float32)
    loss, targets = cross_entropy(logits, torch.arange(50)), torch.arange(50)
    exact = F.cross_entropy(logits.double(), targets).item()
    assert loss.item() == pytest.approx(exact, abs=2e-6)


def test_numbers_with_more_digits_keep_them():
    assert cross_entropy(random(3, 5).double(), torch.arange(3)).dtype == torch.float64
    assert at_least_float32(torch.tensor([1, 2])).dtype == torch.float32
    x = random(2)
    assert at_least_float32(x) is x


# Entropy


@dtypes
def test_entropies_are_those_of_the_numbers_in_float64(dtype):
    p = (3 * random(20, 1_000)).softmax(dim=-1).to(dtype)
    exact = torch.special.entr(p.double()).sum(dim=-1)
    for measured in (entropy(p), attention_entropy(p)):
        assert measured.dtype == torch.float32
        assert near(measured, exact)


@halves
def test_half_precision_is_no_excuse_for_what_is_no_distribution(dtype):
    with pytest.raises(ValueError, match="must be >= 0 and sum to 1"):
        entropy(torch.tensor([0.5, 0.48], dtype=dtype))


# Norms


@norms
@dtypes
@pytest.mark.parametrize("size, offset", [(1, 0), (200, 0), (1, 30), (8_000, 30_000)])
def test_norms_are_their_formula_in_float64(norm, dtype, size, offset):
    ours = make_norm(norm, 64, dtype)
    x = (size * random(8, 64).clamp(-3, 3) + offset).to(dtype).requires_grad_()
    arriving = random(8, 64, seed=1).to(dtype)
    inputs = [x, *ours.parameters()]
    same = [w.detach().double().requires_grad_() for w in inputs]
    output, exact = ours(x), by_formula(ours, *same)
    assert output.dtype == dtype
    assert near(output, exact, 2)
    output.backward(arriving)
    exact.backward(arriving.double())
    for given, wanted in zip(inputs, same, strict=True):
        assert given.grad.dtype == dtype
        assert near(given.grad, wanted.grad, 8)


@dtypes
def test_norms_are_torchs_to_the_last_bit(dtype):
    x = (1 + 200 * random(8, 64)).to(dtype)
    ln, rms = (make_norm(norm, 64, dtype) for norm in (LayerNorm, RMSNorm))
    assert torch.equal(ln(x), F.layer_norm(x, (64,), ln.gain, ln.bias, ln.eps))
    assert torch.equal(rms(x), F.rms_norm(x, (64,), rms.gain, rms.eps))


@norms
@dtypes
@pytest.mark.parametrize("weights", [torch.float32, None], ids=["float32", "the same"])
@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch's own path is then longer
def test_norms_take_one_path_with_and_without_gradients(norm, dtype, weights):
    ours, x = make_norm(norm, 64, weights or dtype), random(8, 64).to(dtype)
    learning = ours(x.clone().requires_grad_())
    with torch.no_grad():
        reading = ours(x)
    assert learning.requires_grad and torch.equal(learning, reading)
    assert reading.dtype == dtype


# Attention


@dtypes
@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_is_its_formula_with_and_without_gradients(dtype, need_weights):
    q, k, v = (random(2, 3, 9, 16, seed=s).to(dtype) for s in range(3))
    mask = causal_mask(9)
    scores = (q.double() @ k.double().mT / 4).masked_fill(~mask, -math.inf)
    exact = scores.softmax(dim=-1) @ v.double()
    learning = [w.clone().requires_grad_() for w in (q, k, v)]
    output, _ = scaled_dot_product_attention(*learning, mask, need_weights)
    with torch.no_grad():
        reading, _ = scaled_dot_product_attention(q, k, v, mask, need_weights)
    assert output.requires_grad and torch.equal(output, reading)
    if not need_weights:
        assert output.dtype == dtype and near(output, exact)


# Log-probabilities of a model


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_the_ratio_of_a_policy_to_itself_is_one(dtype, norm, position):
    torch.manual_seed(0)
    sizes = {"d_model": 32, "n_heads": 4, "n_layers": 2, "d_ff": 64}
    model = GPT(
        preset_config(
            "demo",
            vocab_size=65,
            **sizes,
            norm=norm,
            position=position,
            final_norm=True,
        )
    )
    random_weights(model)
    model.to(dtype)
    ids = torch.arange(60).view(3, 20)

    def log_probabilities() -> Tensor:
        log_p = at_least_float32(model(ids[:, :-1])).log_softmax(dim=-1)
        return log_p.gather(-1, ids[:, 1:].unsqueeze(-1))

    learning = log_probabilities()
    with torch.no_grad():
        reading = log_probabilities()
    assert learning.requires_grad and torch.equal(learning, reading)
    assert learning.dtype == torch.float32


# Choosing a token


@halves
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.99])
def test_top_p_keeps_the_same_tokens_in_half_precision(dtype, p):
    logits = (2 * random(4, 5_000)).to(dtype)
    kept = keep_top_p(logits, p)
    assert kept.dtype == dtype
    assert torch.equal(kept.isfinite(), keep_top_p(logits.float(), p).isfinite())


@halves
def test_draws_are_the_same_in_half_precision(dtype):
    logits = (2 * random(200, 500)).to(dtype)
    drawn, same = (
        sample_next(x, 0.7, torch.Generator().manual_seed(0))
        for x in (logits, logits.float())
    )
    assert torch.equal(drawn, same)
