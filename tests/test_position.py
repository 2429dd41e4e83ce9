"""Positions: the sines and cosines of the paper, the rows of a learned table, and the
turns of rotary positions, of which only the distance is seen.
"""

import math

import pytest
import torch
from against_torch import assert_near, few, random
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib.position import LearnedPositions, Rotary, SinusoidalPositions

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


@both
@few
@given(st.integers(0, 9), st.integers(1, 6))
def test_a_later_start_gives_later_positions(positions, start, length):
    module = positions(15, 4)
    x = random(2, length, 4)
    assert torch.equal(module(x, start), x + vectors(module, 15, 4)[start:][:length])


@both
def test_a_start_that_leaves_too_little_room(positions):
    positions(5, 4)(random(2, 2, 4), 3)
    with pytest.raises(ValueError, match="length=6 .* context_length=5"):
        positions(5, 4)(random(2, 2, 4), 4)


# Rotary positions


@few
@given(st.integers(1, 2), lengths, pairs, st.sampled_from([1e4, 500.0]))
def test_rotary_turns_each_pair_as_in_the_paper(batch, length, n_pairs, base):
    x = random(batch, 3, length, 2 * n_pairs)
    expected = torch.empty_like(x)
    for t in range(length):
        for i in range(n_pairs):
            angle = t / base ** (i / n_pairs)
            cos, sin = math.cos(angle), math.sin(angle)
            a, b = x[..., t, i], x[..., t, i + n_pairs]
            expected[..., t, i] = a * cos - b * sin
            expected[..., t, i + n_pairs] = a * sin + b * cos
    assert_near(Rotary(2 * n_pairs, 20, base)(x), expected)


def test_the_base_of_rotary_is_10000():
    x = torch.tensor([[0.0, 1.0, 0.0, 0.0]]).expand(3, 4)  # the second pair is (1, 0)
    turned = Rotary(4, 3)(x)[2]
    assert_near(turned[1::2], torch.tensor([math.cos(0.02), math.sin(0.02)]))


@few
@given(pairs, st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_rotary_products_see_the_distance_only(n_pairs, i, j, further):
    rotary, (q, k) = Rotary(2 * n_pairs, 61), random(2, 1, 2 * n_pairs)
    here = rotary(q, i) @ rotary(k, j).T
    there = rotary(q, i + further) @ rotary(k, j + further).T
    assert_near(here, there, atol=1e-5)


def test_rotary_products_do_see_the_distance():
    q, k = random(2, 1, 8)
    rotary = Rotary(8, 9)
    products = {round((rotary(q) @ rotary(k, j).T).item(), 4) for j in range(9)}
    assert len(products) == 9


@few
@given(lengths, pairs)
def test_rotary_keeps_lengths_and_the_first_position(length, n_pairs):
    x = 3 * random(2, length, 2 * n_pairs)
    turned = Rotary(2 * n_pairs, 20)(x)
    assert_near(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[:, 0], x[:, 0])


@few
@given(st.integers(0, 9), st.integers(1, 6))
def test_rotary_can_start_later(start, length):
    rotary, x = Rotary(6, 15), random(2, 15, 6)
    assert torch.equal(
        rotary(x[:, start : start + length], start),
        rotary(x)[:, start : start + length],
    )


def test_rotary_is_not_learned_not_saved_and_keeps_the_number_format():
    rotary, x = Rotary(6, 15), random(2, 15, 6)
    assert list(rotary.parameters()) == [] and rotary.state_dict() == {}
    assert rotary(x.bfloat16()).dtype == torch.bfloat16
    # Far positions need angles in more digits than bfloat16 has.
    assert_near(
        rotary(x.bfloat16()), rotary(x.bfloat16().float()).double(), average=1e-2
    )


def test_far_positions_are_turned_right():
    rotary = Rotary(64, 4096)
    turned = rotary(torch.ones(1, 64), 4095)[0]
    angle = 4095 / 1e4 ** (2 / 64)
    expected = torch.tensor(math.cos(angle) - math.sin(angle))
    assert_near(turned[1], expected, atol=5e-4)


def test_inputs_that_rotary_does_not_fit():
    with pytest.raises(ValueError, match="length=6 is more than context_length=5"):
        Rotary(4, 5)(random(2, 2, 4), 4)
    with pytest.raises(ValueError, match=r"\(2, 3, 6\).* d_head=4"):
        Rotary(4, 5)(random(2, 3, 6))
    with pytest.raises(ValueError, match="d_head=5 must be even"):
        Rotary(5, 5)
    for name in ("d_head", "context_length"):
        with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
            Rotary(**{"d_head": 4, "context_length": 4, name: 0})
