"""Orthogonalisation: singular values close to 1, in float32 and in bfloat16.

Every processor multiplies bfloat16, some of them slowly, so both are tested everywhere.
"""

import pytest
import torch
from against_torch import assert_near, few, random
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib.device import has_bfloat16
from lib.train import optimizer
from lib.train.optimizer import EXACT_ROUNDS, orthogonalize

shapes = pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5), (5, 1)])
TEN_SHAPES = [
    *[(2, 2), (16, 16), (64, 64), (128, 128), (6, 20), (20, 6), (64, 256), (256, 64)],
    *[(1, 50), (50, 1)],
]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def dtype(request, monkeypatch) -> torch.dtype:
    """The format in which it multiplies, whatever this processor prefers."""
    force(monkeypatch, request.param)
    return request.param


def force(monkeypatch, dtype: torch.dtype) -> None:
    wanted = dtype == torch.bfloat16
    monkeypatch.setattr(optimizer, "has_bfloat16", lambda device: wanted)


def singular_values(matrices: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrices.double())


def hundred_matrices(n_rows: int, n_columns: int) -> Tensor:
    """Half of them random, a quarter nearly of rank one, a quarter falling steeply."""
    x = random(100, n_rows, n_columns, seed=n_rows + n_columns)
    columns, rows = random(25, n_rows, 1, seed=1), random(25, 1, n_columns, seed=2)
    x[50:75] = columns @ rows + 1e-3 * x[50:75]
    u, s, v = torch.linalg.svd(x[75:], full_matrices=False)
    x[75:] = u * torch.logspace(0, -4, s.size(-1)) @ v
    return x


@pytest.mark.parametrize("shape", TEN_SHAPES, ids=str)
def test_no_singular_value_grows_far_above_one(dtype, shape):
    result = orthogonalize(hundred_matrices(*shape))
    assert result.dtype == dtype and result.isfinite().all()
    assert singular_values(result).max() <= 1.2


@pytest.mark.parametrize("rounds", range(1, 6))
def test_fewer_rounds_do_not_grow_either(dtype, rounds):
    result = orthogonalize(hundred_matrices(16, 16), rounds)
    assert singular_values(result).max() <= 2.05


def test_without_the_safety_factors_bfloat16_diverges(monkeypatch):
    monkeypatch.setattr(optimizer, "POLAR_EXPRESS", EXACT_ROUNDS)
    matrices = random(300, 16, 16)
    for dtype, diverges in ((torch.float32, False), (torch.bfloat16, True)):
        force(monkeypatch, dtype)
        largest = singular_values(orthogonalize(matrices)).amax(dim=-1)
        assert (largest > 1.2).any() == diverges


@shapes
def test_all_singular_values_are_pushed_to_one(dtype, shape):
    matrices = random(3, *shape)
    result = orthogonalize(matrices)
    assert result.shape == matrices.shape
    assert (singular_values(result) - 1).abs().max() < 0.15
    one_by_one = torch.cat([orthogonalize(m[None]) for m in matrices])
    assert_near(result, one_by_one, atol=1e-5)


@shapes
@pytest.mark.parametrize("rounds", range(1, 6))
def test_singular_values_change_as_the_formula_says(monkeypatch, shape, rounds):
    force(monkeypatch, torch.float32)
    matrices = random(3, *shape)
    u, s, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    s = s / (1.01 * s.norm(dim=-1, keepdim=True))
    for a, b, c in optimizer.POLAR_EXPRESS[:rounds]:
        s = a * s + b * s**3 + c * s**5
    expected = u * s.unsqueeze(-2) @ v
    assert_near(orthogonalize(matrices, rounds), expected, atol=1e-3)


@pytest.mark.parametrize("rounds, lowest, highest", [(3, 0.12, 1.87), (5, 0.84, 1.13)])
def test_the_ranges_in_the_docstring(monkeypatch, rounds, lowest, highest):
    force(monkeypatch, torch.float32)
    values = torch.ones(2_000, 2)
    values[:, 0] = torch.logspace(-3, 0, 2_000)  # shares of the norm
    values[:, 1] = (1 - values[:, 0] ** 2).sqrt()
    reached = orthogonalize(torch.diag_embed(values), rounds)[:, 0, 0]
    assert lowest < reached.min() < lowest + 0.01
    assert highest - 0.01 < reached.max() < highest


@few
@given(st.floats(-2.6, 0), st.floats(-10, 20), st.booleans())
def test_small_singular_values_and_sizes_do_not_matter(log10_value, log2_size, half):
    u, v = (torch.linalg.qr(random(6, 6, seed=s))[0] for s in (0, 1))
    values = torch.ones(6)
    # At the least 0.001 of the norm, sqrt(5); in bfloat16 rounding hides what is below
    # 0.01 of it before the first round.
    values[-1] = 10 ** (max(log10_value, -1.6) if half else log10_value)
    matrices = 2**log2_size * (u * values @ v)[None]
    with pytest.MonkeyPatch.context() as patch:
        force(patch, torch.bfloat16 if half else torch.float32)
        result = orthogonalize(matrices)
    assert (singular_values(result) - 1).abs().max() < 0.15


@pytest.mark.parametrize("given_as", [torch.float16, torch.bfloat16])
def test_matrices_of_16_bits_may_be_large_or_small(dtype, given_as):
    for size in (1e-4, 5e3):  # the norm of the second does not fit in float16
        matrices = (size * random(2, 64, 64).clamp(-3, 3)).to(given_as)
        result = orthogonalize(matrices)
        assert 0.8 < singular_values(result)[:, 0].min()
        assert singular_values(result).max() <= 1.2


def test_rounds_are_one_to_five_and_zeros_stay_zero():
    assert not orthogonalize(torch.zeros(1, 3, 4)).any()
    for rounds in (0, 6):
        with pytest.raises(ValueError, match=f"rounds={rounds} must be in 1 .. 5"):
            orthogonalize(random(1, 2, 3), rounds)


def test_an_older_pytorch_does_not_say_what_the_processor_has(monkeypatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16(torch.device("cpu"))
    assert orthogonalize(torch.eye(3).expand(2, 3, 3)).dtype == torch.float32
