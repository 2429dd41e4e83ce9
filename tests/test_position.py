"""Positions: the sines and cosines of the paper, and the rows of a learned table."""

import math

import pytest
import torch
from against_torch import assert_near, few, random
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib.position import LearnedPositions, SinusoidalPositions

both = pytest.mark.parametrize("positions", [LearnedPositions, SinusoidalPositions])
pairs, lengths = st.integers(1, 5), st.integers(1, 20)


def vectors(module, length: int, d_model: int) -> Tensor:
    """What the module adds: p(0), p(1), ..."""
    return module(torch.zeros(1, length, d_model))[0].detach()


@few
@given(st.integers(1, 3), lengths, pairs, st.sampled_from([1e4, 500.0]))
def test_sinusoids_equal_the_paper(batch, length, n_pairs, base):
    d_model = 2 * n_pairs
    x, expected = random(batch, length, d_model), []
    for t in range(length):
        row = []
        for i in range(n_pairs):
            angle = t / base ** (2 * i / d_model)
            row += [math.sin(angle), math.cos(angle)]
        expected.append(row)
    module = SinusoidalPositions(20, d_model, base)
    assert_near(vectors(module, length, d_model), torch.tensor(expected))
    assert torch.equal(module(x), x + vectors(module, length, d_model))


def test_the_base_is_10000():
    table = vectors(SinusoidalPositions(3, 4), 3, 4)
    assert_near(table[2, 2:], torch.tensor([math.sin(0.02), math.cos(0.02)]))


@few
@given(pairs, st.integers(0, 30))
def test_k_steps_further_is_one_rotation_for_all_positions(n_pairs, k):
    table = vectors(SinusoidalPositions(60, 2 * n_pairs), 60, 2 * n_pairs)
    here, there = (table[s:][:30].unflatten(-1, (-1, 2)) for s in (0, k))
    for i in range(n_pairs):
        angle = k / 1e4 ** (i / n_pairs)
        cos, sin = math.cos(angle), math.sin(angle)
        rotation = torch.tensor([[cos, -sin], [sin, cos]])  # acts on (sin t, cos t)
        assert_near(here[:, i] @ rotation, there[:, i], atol=2e-6)


@few
@given(pairs)
def test_dot_products_depend_on_the_distance_only(n_pairs):
    table = vectors(SinusoidalPositions(30, 2 * n_pairs), 30, 2 * n_pairs)
    products = table @ table.T
    for distance in range(30):
        cosines = [math.cos(distance / 1e4 ** (i / n_pairs)) for i in range(n_pairs)]
        along = products.diagonal(distance)
        assert_near(along, torch.full_like(along, sum(cosines)))


def test_far_positions_are_still_right():
    table = vectors(SinusoidalPositions(4096, 64), 4096, 64)
    angle = 4095 / 1e4 ** (2 / 64)
    expected = torch.tensor([math.sin(angle), math.cos(angle)])
    assert_near(table[-1, 2:4], expected, atol=5e-4)


def test_sinusoids_are_not_learned_and_not_saved():
    module = SinusoidalPositions(7, 4)
    assert list(module.parameters()) == []
    assert module.state_dict() == {}
    assert module.to(torch.float64)(torch.zeros(1, 7, 4)).dtype == torch.float64


@few
@given(st.integers(1, 3), lengths, st.integers(1, 7))
def test_learned_positions_are_rows_of_a_table(batch, length, d_model):
    module, x = LearnedPositions(20, d_model), random(batch, length, d_model)
    (table,) = module.parameters()
    assert table.shape == (20, d_model)
    for b in range(batch):
        for t in range(length):
            assert torch.equal(module(x)[b, t], x[b, t] + table[t])


def test_only_the_rows_in_use_learn():
    module = LearnedPositions(5, 2)
    module(torch.zeros(4, 3, 2)).sum().backward()
    assert module.table.weight.grad.tolist() == [[4, 4]] * 3 + [[0, 0]] * 2


@both
def test_positions_tell_equal_tokens_apart(positions):
    rows = vectors(positions(50, 8), 50, 8)
    assert len({tuple(row) for row in rows.tolist()}) == 50


@both
def test_a_batch_of_one_token_gets_the_first_position(positions):
    module, x = positions(4, 6), random(1, 1, 6)
    assert torch.equal(module(x), x + vectors(module, 4, 6)[:1])


@both
def test_an_input_longer_than_the_context(positions):
    positions(5, 4)(random(2, 5, 4))
    with pytest.raises(ValueError, match="length=6 .* context_length=5"):
        positions(5, 4)(random(2, 6, 4))


@both
@pytest.mark.parametrize("width", [1, 3, 5])
def test_vectors_of_another_width(positions, width):
    with pytest.raises(ValueError, match=rf"\(2, 3, {width}\).* d_model=4"):
        positions(5, 4)(random(2, 3, width))


@both
@pytest.mark.parametrize("name", ["context_length", "d_model"])
@pytest.mark.parametrize("size", [0, -2])
def test_sizes_below_one(positions, name, size):
    with pytest.raises(ValueError, match=f"{name}={size} must be at least 1"):
        positions(**{"context_length": 4, "d_model": 4, name: size})


def test_sines_and_cosines_come_in_pairs():
    with pytest.raises(ValueError, match="d_model=5 must be even"):
        SinusoidalPositions(4, 5)
