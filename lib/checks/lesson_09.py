"""The checks of the exercises in lesson 09, the Transformer block."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lib.attention import MultiHeadAttention, causal_mask
from lib.block import Block
from lib.checks import Mistake, exercise, expect, hint_for_tensor, returned, tensor
from lib.ffn import FeedForward
from lib.models.language_model import LanguageModel
from lib.norm import LayerNorm

__all__ = [
    "check_make_blocks",
    "check_rms_norm",
    "check_residual_parts",
    "check_logits_by_depth",
]


def _near(given: Tensor, right: Tensor) -> bool:
    """Whether two tensors have one shape and nearly the same numbers."""
    return given.shape == right.shape and torch.allclose(
        given.double(), right.double(), rtol=1e-3, atol=1e-5
    )


def _first_wrong(given: Tensor, right: Tensor) -> str:
    """Name the first wrong number of a tensor of the right shape."""
    far = ~torch.isclose(given.double(), right.double(), rtol=1e-3, atol=1e-5)
    place = tuple(far.nonzero()[0].tolist())
    wrong, wanted = given[place].item(), right[place].item()
    return f"The first wrong number, at {list(place)}, is {wrong:.4g}, not {wanted:.4g}"


def _noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Exercise 1


@exercise
def check_make_blocks(make_blocks) -> str:
    """Takes a function of n_layers, d_model, n_heads, d_ff."""
    for n_layers, d_model, n_heads, d_ff in ((3, 24, 2, 40), (1, 16, 4, 16)):
        blocks = returned(make_blocks(n_layers, d_model, n_heads, d_ff))
        single = hasattr(blocks, "attention")
        expect(not single, "You returned one block; return a list of n_layers blocks.")
        expect(
            isinstance(blocks, list | tuple | nn.ModuleList),
            f"Return a list of blocks; yours is a {type(blocks).__name__}.",
        )
        expect(
            len(blocks) == n_layers,
            f"n_layers={n_layers} asks for {n_layers} blocks; yours: {len(blocks)}.",
        )
        for number, block in enumerate(blocks):
            _expect_block(number, block)
            _expect_sizes(block, d_model, n_heads, d_ff)
            _expect_pre_norm(block, d_model)
        _expect_own_parameters(blocks)
    return "Every block has parameters of its own."


def _expect_block(number: int, block: object) -> None:
    for name in ("attention_norm", "attention", "ffn_norm", "ffn"):
        expect(
            isinstance(getattr(block, name, None), nn.Module),
            f"Element {number} of the list, a {type(block).__name__}, has no part "
            f"`{name}`: make each with Block(attention, ffn).",
        )


def _expect_sizes(block: nn.Module, d_model: int, n_heads: int, d_ff: int) -> None:
    asked = f"With d_model={d_model}, n_heads={n_heads}, d_ff={d_ff} "
    width = block.attention.d_model
    found = width // block.attention.d_head
    expect(
        width == d_model,
        f"{asked}the attention must be {d_model} wide, yours is {width}.",
    )
    expect(
        found == n_heads,
        f"{asked}the attention must have {n_heads} heads, yours has {found}.",
    )
    up = block.ffn.up
    expect(
        (up.in_features, up.out_features) == (d_model, d_ff),
        f"{asked}the feed-forward network must go from {d_model} to {d_ff} and back, "
        f"yours goes from {up.in_features} to {up.out_features}.",
    )


@torch.no_grad()
def _expect_pre_norm(block: nn.Module, d_model: int) -> None:
    x, mask = _noise(2, 5, d_model), causal_mask(5)
    for seed, norm in enumerate((block.attention_norm, block.ffn_norm)):
        numbers = [p for p in norm.parameters() if p.shape == (d_model,)]
        expect(
            len(numbers) == 2,
            "Each norm must be a LayerNorm with a gain and a bias of d_model numbers.",
        )
        for number in numbers:  # so that no norm can stand in for the other
            number.add_(_noise(d_model, seed=seed))
    given = block(x, mask)
    after = block.attention_norm(x + block.attention(x, mask)[0])
    after = block.ffn_norm(after + block.ffn(after))
    hint = hint_for_tensor(
        given,
        {"These blocks are post-norm; the task asks for pre-norm.": after},
        "Norm, part, plus: a pre-norm block adds what each part makes of its norm.",
    )
    a, f = _added(block, x, mask)
    expect(_near(given, x + a + f), hint)


def _expect_own_parameters(blocks: Sequence[nn.Module]) -> None:
    found = [block.named_parameters(remove_duplicate=False) for block in blocks]
    ids = [parameter.data_ptr() for named in found for _, parameter in named]
    expect(
        len(set(ids)) == len(ids),
        "The blocks share parameters: the same part is used more than once. Make a new "
        "attention, network and block for every layer.",
    )
    first, *others = (block.attention.q_proj.weight for block in blocks)
    expect(
        not any(torch.equal(first, weight) for weight in others),
        "The blocks begin with the same numbers: make each anew, instead of a copy.",
    )
    expect(
        all(parameter.requires_grad for b in blocks for parameter in b.parameters()),
        "Some parameters do not want a gradient: the blocks could not learn.",
    )


# Exercise 2


@exercise
def check_rms_norm(rms_norm) -> str:
    """Takes a function of x, gain, eps."""
    shapes = ((2, 3, 4), 1.0), ((5,), 3.0), ((4, 4), 1.0), ((2, 8), 1e-3)
    for eps in (1e-5, 1e-2):
        for shape, size in (*shapes, ((2, 1, 3, 6), 2.0)):
            x, gain = size * (_noise(*shape) + 0.5), _noise(shape[-1], seed=1) + 2
            before = x.clone(), gain.clone()
            given = tensor(rms_norm(x, gain, eps), shape, f"For x {shape} the result")
            expect(torch.equal(x, before[0]), "You changed `x` itself: make a new one.")
            expect(torch.equal(gain, before[1]), "You changed `gain` itself.")
            right = _rms(x, gain, eps)
            mistakes = _rms_mistakes(x, gain, eps)
            hint = hint_for_tensor(
                given,
                mistakes,
                "Compare with x / sqrt(mean of x * x over D, plus eps) * gain.",
            )
            if not _near(given, right):
                case = f"For x {shape} with numbers of size {size:g} and eps={eps}: "
                expect(False, f"{case}{_first_wrong(given, right)}. {hint}")
    x, gain = 1e-3 * _noise(2, 6), _noise(6, seed=1)
    expect(
        _near(returned(rms_norm(x, gain)), _rms(x, gain, 1e-5)),
        "Without `eps` it must use 1e-5.",
    )
    _expect_rms_gradient(rms_norm)
    return "Equal for all shapes, and for tiny vectors too."


def _rms(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * gain


def _rms_mistakes(x: Tensor, gain: Tensor, eps: float) -> dict[str, Tensor]:
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    plain = _rms(x, torch.ones_like(gain), eps)
    return {
        "The gain is missing.": plain,
        "The gain multiplies; you add it.": plain + gain,
        "You subtract the mean: that is the layer norm. Leave the mean out.": gain
        * centred
        / (variance + eps).sqrt(),
        "You divide by the standard deviation; take the mean of the squares of x "
        "itself.": gain * x / (variance + eps).sqrt(),
    } | {words: gain * x / root for words, root in _wrong_roots(x, eps).items()}


def _wrong_roots(x: Tensor, eps: float) -> dict[str, Tensor]:
    """Return what x may be divided by in place of the root of its mean square."""
    squares = x.square()
    total, mean = squares.sum(-1, keepdim=True), squares.mean(-1, keepdim=True)
    unbiased = total / max(x.size(-1) - 1, 1)
    return {
        "eps belongs inside the root, added to the mean of the squares.": mean.sqrt()
        + eps,
        "Use the eps that is passed in.": (mean + 1e-5).sqrt(),
        "eps is missing.": mean.sqrt(),
        "You take the sum of the squares; take their mean.": (total + eps).sqrt(),
        "You divide by D - 1; the mean divides by D.": (unbiased + eps).sqrt(),
        "The root is missing.": mean + eps,
        "You take the mean of the absolute values; take that of the squares, and "
        "its root.": x.abs().mean(-1, keepdim=True) + eps,
        "You take one mean over all numbers; each vector has its own: dim=-1.": (
            squares.mean() + eps
        ).sqrt(),
        "You take the mean over the first dimension; it runs over the last.": (
            squares.mean(0) + eps
        ).sqrt(),
    }


def _expect_rms_gradient(rms_norm: Callable) -> None:
    """Expect that x and the gain can learn, in double precision too."""
    x, gain = _noise(2, 3, 4).double(), _noise(4, seed=1).double()
    x.requires_grad_(), gain.requires_grad_()
    given = tensor(rms_norm(x, gain), (2, 3, 4), "For x (2, 3, 4) the result")
    expect(
        given.dtype == torch.float64,
        f"For x of dtype float64 the result has dtype {given.dtype}; keep that of x.",
    )
    wanted = torch.autograd.grad(_rms(x, gain, 1e-5).square().sum(), (x, gain))
    found: tuple = (None, None)
    if given.requires_grad:
        found = torch.autograd.grad(given.square().sum(), (x, gain), allow_unused=True)
    for name, ours, theirs in zip(("x", "gain"), found, wanted):
        expect(
            ours is not None and _near(ours, theirs),
            f"The numbers are right, but the gradient of {name} is not: stay with "
            "PyTorch's functions, without detach, .data, .item() or no_grad.",
        )


# Exercises 3 and 4


def _random_model(n_layers: int, seed: int, d_model: int = 16) -> LanguageModel:
    """Return a language model whose norms are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [
        Block(MultiHeadAttention(d_model, 2), FeedForward(d_model, 24))
        for _ in range(n_layers)
    ]
    model = LanguageModel(11, d_model, 9, blocks, LayerNorm(d_model))
    for parameter in model.parameters():
        width = parameter.size(-1) if parameter.dim() == 2 else 2
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(2 * noise / width**0.5)
    return model


def _added(block: nn.Module, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what the two parts of a pre-norm block add to the stream."""
    a = block.attention(block.attention_norm(x), mask)[0]
    return a, block.ffn(block.ffn_norm(x + a))


def _expect_untouched(model: nn.Module, before: nn.Module, what: str) -> None:
    """Expect that the numbers and the mode of a model are what they were."""
    pairs = zip(model.state_dict().values(), before.state_dict().values())
    expect(
        all(torch.equal(ours, theirs) for ours, theirs in pairs),
        f"You changed the parameters of the {what}; only read them.",
    )
    modes = zip(model.modules(), before.modules(), strict=True)
    expect(
        all(ours.training == theirs.training for ours, theirs in modes),
        f"You changed the mode of the {what}; leave it as it is.",
    )


WEIGHTS_ARE_NONE = (
    "The attention returns a pair, its output and the weights, and the weights are "
    "None unless you ask for them: take the first."
)


@exercise
def check_residual_parts(residual_parts) -> str:
    """Takes a function of block, x, mask."""
    everything = torch.ones(4, 4, dtype=torch.bool)
    for seed, d_model, mask, n_rows in (
        (0, 16, causal_mask(5), 2),
        (1, 8, causal_mask(8).tril(2) & ~causal_mask(8).tril(-3), 2),
        (2, 12, everything, 2),
        (3, 8, causal_mask(4), 1),
    ):
        block = _random_model(1, seed, d_model).blocks[0]
        x, before = _noise(n_rows, len(mask), d_model, seed=seed), copy.deepcopy(block)
        block.forward = _refuse
        masks = mask, mask.clone()
        given = _parts_of(residual_parts, block, x, masks[0])
        same = torch.equal(_noise(n_rows, len(mask), d_model, seed=seed), x)
        expect(same, "You changed `x` itself; make a new tensor.")
        expect(torch.equal(*masks), "You changed `mask` itself.")
        _expect_untouched(block, before, "block")
        _check_pair(given, x)
        _check_added(block, x, mask, given)
    return "x + a + f is what the block returns."


def _parts_of(residual_parts, block: nn.Module, x: Tensor, mask: Tensor) -> object:
    """Return what the reader's function returns; `Mistake` where it adds None."""
    try:
        return returned(residual_parts(block, x, mask))
    except TypeError as error:
        if "NoneType" not in str(error):
            raise
        raise Mistake(WEIGHTS_ARE_NONE) from None


def _refuse(*_inputs: object, **_options: object) -> None:
    """Stand in for the forward of a block that must not be called."""
    raise Mistake("Compute both from the parts of the block, without calling it.")


def _check_pair(given: object, x: Tensor) -> None:
    expect(
        isinstance(given, tuple | list) and len(given) == 2,
        "Return a pair (a, f): two tensors, one per part.",
    )
    for name, part in zip("af", given):
        expect(part is not None, f"{name} is None. {WEIGHTS_ARE_NONE}")
        expect(
            not isinstance(part, tuple | list),
            f"{name} is a {type(part).__name__}; it must be a tensor. The attention "
            "returns a pair, its output and the weights: take the first.",
        )
        tensor(part, tuple(x.shape), name)


def _check_added(
    block: nn.Module, x: Tensor, mask: Tensor, given: Sequence[Tensor]
) -> None:
    """Compare what a reader says that the parts add with what they add."""
    right = _added(block, x, mask)
    mistakes = _attention_mistakes(block, x, mask), _network_mistakes(block, x, *right)
    otherwise = "Which norm and which mask does it get?", "What does ffn read?"
    for which, name in enumerate(("attention", "feed-forward network")):
        if not _near(given[which], right[which]):
            hint = hint_for_tensor(given[which], mistakes[which], otherwise[which])
            wrong = _first_wrong(given[which], right[which])
            expect(False, f"{'af'[which]} is not what the {name} adds. {hint} {wrong}.")
        expect(
            given[which].requires_grad,
            f"The numbers of {'af'[which]} are right, but they are cut off from the "
            "parameters: without detach, .data or no_grad they could be trained.",
        )


def _attention_mistakes(block: nn.Module, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
    a, f = _added(block, x, mask)
    normed = block.attention_norm(x)
    return {
        "That is what the network adds: return the pair as (a, f).": f,
        "The attention reads the *normalised* stream: attention_norm comes "
        "first.": block.attention(x, mask)[0],
        "Pass the mask to the attention.": block.attention(normed)[0],
        "Pass on the mask that you are given, not one of your own.": block.attention(
            normed, causal_mask(x.size(1))
        )[0],
        "That is the stream after the attention, x + a; return what is added.": x + a,
        "That is the post-norm order; here the norm comes before the part.": (
            block.attention_norm(block.attention(x, mask)[0])
        ),
        "The attention has its own norm, attention_norm.": block.attention(
            block.ffn_norm(x), mask
        )[0],
    }


def _network_mistakes(
    block: nn.Module, x: Tensor, a: Tensor, f: Tensor
) -> dict[str, Tensor]:
    return {
        "The network reads the stream *after* the attention has written: x + a.": (
            block.ffn(block.ffn_norm(x))
        ),
        "The network reads the stream x + a, not a alone.": block.ffn(
            block.ffn_norm(a)
        ),
        "The network reads the *normalised* stream: ffn_norm comes first.": block.ffn(
            x + a
        ),
        "That is the stream after the block; return what is added.": x + a + f,
        "That is a + f; return the two apart.": a + f,
        "The network has its own norm, ffn_norm.": block.ffn(
            block.attention_norm(x + a)
        ),
        "The norm comes before the network, not after it.": block.ffn_norm(
            block.ffn(x + a)
        ),
    }


@exercise
def check_logits_by_depth(logits_by_depth) -> str:
    """Takes a function of model, ids."""
    for n_layers, n_rows, length in ((2, 2, 9), (3, 1, 4), (1, 3, 6), (5, 1, 3)):
        model = _random_model(n_layers, seed=n_layers)
        generator = torch.Generator().manual_seed(n_layers)
        ids = torch.randint(11, (n_rows, length), generator=generator)
        before = copy.deepcopy(model), ids.clone()
        given = returned(logits_by_depth(model, ids))
        expect(torch.equal(before[1], ids), "You changed `ids` itself.")
        _expect_untouched(model, before[0], "model")
        with torch.no_grad():
            _check_depths(given, model, ids)
    return "The last row is the model's own answer."


def _check_depths(given: object, model: LanguageModel, ids: Tensor) -> None:
    n_layers = len(model.blocks)
    asked = (n_layers + 1, *ids.shape, 11)
    expect(
        not isinstance(given, tuple | list),
        f"Return one tensor; yours is a {type(given).__name__}. torch.stack makes one "
        "of a list.",
    )
    expect(
        not isinstance(given, Tensor) or given.shape != (n_layers, *asked[1:]),
        "One row is missing: row 0 is before any block, and there is one row after "
        "each block.",
    )
    case = f"With {n_layers} blocks and ids {tuple(ids.shape)} the result"
    given = tensor(given, asked, case)
    stream = _stream(model, ids, causal_mask(ids.size(1)))
    right = model.head(model.final_norm(stream))
    for depth in range(n_layers + 1):
        if not _near(given[depth], right[depth]):
            hint = hint_for_tensor(
                given,
                _depth_mistakes(model, ids, stream),
                _row_hint(depth, given, model, stream),
            )
            expect(False, f"Row {depth} is the first that is not right. {hint}")


def _row_hint(depth: int, given: Tensor, model: LanguageModel, stream: Tensor) -> str:
    """Return a hint about the first wrong row, where all rows together give none."""
    if _near(given[depth], model.head(stream[depth])):
        return "final_norm is missing: every row goes through final_norm and head."
    if depth > 0:
        return (
            f"It must be head(final_norm(x)) of the stream x after block {depth}. Feed "
            "each block, with the causal mask, what the one before it gave."
        )
    tokens = stream[0] - model.positions.table.weight[: stream.size(2)]
    if _near(given[0], model.head(model.final_norm(tokens))):
        return "The positions are missing: the stream starts as token plus position."
    return (
        "It passes token plus position through the model's own `final_norm` and `head`."
    )


def _depth_mistakes(
    model: LanguageModel, ids: Tensor, stream: Tensor
) -> dict[str, Tensor]:
    bare, right = model.head(stream), model.head(model.final_norm(stream))
    no_mask = model.head(model.final_norm(_stream(model, ids, None)))
    return {
        "final_norm is missing: every row goes through final_norm and head.": bare,
        "Only the last row went through final_norm; every row must.": torch.cat(
            [bare[:-1], right[-1:]]
        ),
        "Each block needs the causal mask, or it reads the future.": no_mask,
        "The rows are in the wrong order: row 0 is before any block.": right.flip(0),
        "These are probabilities; return the logits.": right.softmax(dim=-1),
        "All rows are the last one: keep what stands on the stream before each "
        "block.": right[-1:].expand_as(right),
    }


def _stream(model: LanguageModel, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Return the vectors after 0, 1, 2 ... blocks, ``(n_layers + 1, B, T, D)``."""
    vectors = [model.positions(model.tokens(ids))]
    for block in model.blocks:
        vectors.append(block(vectors[-1], mask))
    return torch.stack(vectors)
