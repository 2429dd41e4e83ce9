"""The checks of the exercises in lesson 04, embeddings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.checks import Mistake, exercise, expect, hint_for_tensor, rounded, tensor

__all__ = ["check_bag", "check_mean_cosines", "check_neural_lm"]


@exercise
def check_bag(bag) -> str:
    """Takes a function of ids, vocab_size."""
    for rows, vocab_size in (
        ([[1, 0, 1, 4], [2, 2, 2, 3]], 6),
        ([[0, 2, 0], [1, 1, 1], [2, 0, 1]], 3),
        ([[3, 5, 3, 5, 0, 3, 7]], 9),
    ):
        ids = torch.tensor(rows)
        own = ids.clone()
        shape = (len(ids), vocab_size)
        given = tensor(
            bag(own, vocab_size),
            shape,
            f"For ids {tuple(ids.shape)} and vocab_size={vocab_size} the bag",
        )
        expect(torch.equal(own, ids), "You changed `ids` itself; leave it as it is.")
        counts = torch.stack([row.bincount(minlength=vocab_size) for row in ids])
        _expect_counts(ids, given, counts.float())
        expect(
            given.dtype == torch.float32,
            f"The bag has dtype {given.dtype}; it must have torch.float32, that of the "
            "table of vectors that it is multiplied with. `.float()` makes it.",
        )
    return "Multiply it with a table, and you have the sum of the vectors."


def _expect_counts(ids: Tensor, given: Tensor, right: Tensor) -> None:
    """Expect that each row counts the tokens of its own window."""
    mistakes = {
        "A token that stands there twice counts twice; you only note that it is "
        "there.": right.clamp(max=1),
        "These are shares; count, and do not divide by the length.": right
        / ids.size(1),
        "Every row counts the whole batch; each window has its own row.": right.sum(
            dim=0
        ).expand_as(right),
        "The counts are one column too far to the right; ids begin at 0.": right.roll(
            1, 1
        ),
        "The windows are in the wrong rows.": right.flip(0),
    }
    row = int((given.float() != right).any(dim=1).int().argmax())
    expect(
        torch.equal(given.float(), right),
        f"The window {ids[row].tolist()} has the counts {rounded(right[row])}, yours "
        f"are {rounded(given[row])}. "
        + hint_for_tensor(
            given, mistakes, "Count every place of the window once, to the last."
        ),
    )


WITH_RIGHT_ANGLES = [[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0], [0.1, 0.1, 0.3]]


@exercise
def check_mean_cosines(mean_cosines) -> str:
    """Takes a function of vectors, groups."""
    generator = torch.Generator().manual_seed(0)
    cases = []
    for groups in ([0, 0, 1, 1, 1], [2, 0, 1, 2, 0, 1, 1, 2, 1], [0, 0, 0]):
        vectors = 3 * torch.randn(len(groups), 4, generator=generator) + 1
        groups = torch.tensor(groups)
        vectors[1] = 2 * vectors[(groups == groups[1]).nonzero()[-1]]  # cosine 1
        cases.append((vectors, groups))
    angles = torch.tensor(WITH_RIGHT_ANGLES)
    cases.append((angles, torch.tensor([0, 1, 1, 0])))
    cases.append((angles[[0, 1, 0, 3]], torch.tensor([0, 0, 1, 1])))  # within a group
    for vectors, groups in cases:
        own, n_groups = (vectors.clone(), groups.clone()), int(groups.max()) + 1
        given = tensor(
            mean_cosines(*own),
            (n_groups, n_groups),
            f"With {n_groups} groups the answer",
        )
        expect(
            torch.equal(own[0], vectors) and torch.equal(own[1], groups),
            "You changed `vectors` or `groups` itself; work on copies.",
        )
        _expect_means(vectors, groups, given.detach().double())
    return "And no vector was counted as its own neighbour."


def _expect_means(vectors: Tensor, groups: Tensor, given: Tensor) -> None:
    """Expect the mean cosines of all pairs of groups."""
    right = _block_means(_cosines(vectors), groups)
    wrong = ~torch.isclose(given, right, atol=1e-4)
    g, h = divmod(int(wrong.flatten().int().argmax()), len(right))
    expect(
        not wrong.any(),
        f"For the groups {groups.tolist()} the entry [{g}, {h}] must be "
        f"{right[g, h]:.3f}, yours is {given[g, h]:.3f}. "
        + hint_for_tensor(
            given,
            _group_mistakes(vectors, groups) | _pair_mistakes(vectors, groups),
            "A cosine is never above 1: divide each row by its own length first."
            if given.abs().max() > 1.001
            else "For each pair of groups, take the mean over all pairs of rows, one "
            "from each, without a row and itself.",
        ),
    )


def _cosines(vectors: Tensor, dim: int = -1) -> Tensor:
    unit = F.normalize(vectors.double(), dim=dim)
    return unit @ unit.T


def _block_means(
    table: Tensor, groups: Tensor, counted: Tensor | None = None, total: bool = False
) -> Tensor:
    """Return the means of a table over the counted pairs of each two groups."""
    member = F.one_hot(groups).double()  # (V, G)
    counted = 1 - torch.eye(len(table)).double() if counted is None else counted
    sums, counts = (member.T @ t @ member for t in (table * counted, counted))
    return sums if total else sums / counts


def _group_mistakes(vectors: Tensor, groups: Tensor) -> dict[str, Tensor]:
    cosines, x = _cosines(vectors), vectors.double()
    everything, itself = torch.ones_like(cosines), torch.eye(len(cosines))
    member = F.one_hot(groups).double()
    centres = (member / member.sum(dim=0)).T @ x
    paired = "Within a group each row was also paired with itself, cosine 1: leave out "
    return {
        paired + "the diagonal.": _block_means(cosines, groups, everything),
        paired + "the pair, not only its cosine: the mean has fewer "
        "terms.": _block_means(cosines - itself, groups, everything),
        "Two different rows may have the cosine 1; leave out the diagonal by its "
        "place, not by its value.": _block_means(
            cosines, groups, (cosines < 0.9999).double()
        ),
        "These are dot products; divide by both lengths.": _block_means(
            x @ x.T, groups
        ),
        "You scaled the columns to length 1; the rows must be.": _block_means(
            _cosines(vectors, dim=0), groups
        ),
        "These are sums; take the mean over the pairs.": _block_means(
            cosines, groups, total=True
        ),
        "The cosine of two mean vectors is not the mean of the cosines.": _cosines(
            centres
        ),
    }


def _pair_mistakes(vectors: Tensor, groups: Tensor) -> dict[str, Tensor]:
    """Return the means where pairs are left out, or entries of the answer."""
    cosines, itself = _cosines(vectors), torch.eye(len(vectors))
    x = vectors.double()
    return {
        "Only one half is filled: [1, 0] is the same as [0, 1].": _block_means(
            cosines, groups
        ).triu(),
        "These are half of the pairs, divided by all.": _block_means(
            cosines.triu(1), groups
        ),
        "You divided by the length of the whole table; each row has a length of its "
        "own.": _block_means(x @ x.T / x.square().sum(), groups),
        "You left out the diagonal of every block; only within one group do rows meet "
        "themselves.": _without_every_diagonal(cosines, groups),
        "A right angle is a pair, too: do not leave out cosines of 0.": _block_means(
            cosines, groups, (cosines.abs() > 1e-6).double() - itself
        ),
    }


def _without_every_diagonal(cosines: Tensor, groups: Tensor) -> Tensor:
    """Return the means of the blocks, without the diagonal of each square block."""
    members = [groups == group for group in range(int(groups.max()) + 1)]
    means = torch.empty(len(members), len(members)).double()
    for g, rows in enumerate(members):
        for h, columns in enumerate(members):
            block = cosines[rows][:, columns]
            kept = torch.ones_like(block, dtype=torch.bool)
            if block.size(0) == block.size(1):
                kept.fill_diagonal_(False)
            means[g, h] = block[kept].mean()
    return means


@exercise
def check_neural_lm(neural_lm) -> str:
    """Takes a class built with vocab_size, context_length, d_model, d_hidden."""
    for sizes in ((7, 4, 5, 6), (9, 2, 3, 8)):
        torch.manual_seed(0)
        model = neural_lm(*sizes)
        expect(isinstance(model, nn.Module), "NeuralLM must be an nn.Module.")
        parts = _parts(model, *sizes)
        for n_windows in (3, 1):
            ids = torch.randint(sizes[0], (n_windows, sizes[1]))
            own = ids.clone()
            given = tensor(
                _run(model, own),
                (n_windows, sizes[0]),
                f"For ids {tuple(ids.shape)} the logits",
            )
            expect(
                torch.equal(own, ids), "You changed `ids` itself; leave it as it is."
            )
            _expect_logits(parts, ids, given)
            _expect_gradients(model, parts, ids)
    return "That is equation 1 of Bengio et al. (2003), gradients included."


def _run(model: nn.Module, ids: Tensor) -> object:
    """Return what the reader's model returns; `Mistake` where the widths differ."""
    try:
        return model(ids)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        raise Mistake(
            f"For ids {tuple(ids.shape)} your model raised {error}. (The layers take "
            "context_length * d_model numbers: put the vectors side by side.)"
        ) from None


def _parts(
    model: nn.Module, vocab_size: int, context_length: int, d_model: int, d_hidden: int
) -> dict[str, nn.Module]:
    """Return the four layers of the reader's model, found by their sizes."""
    wide = context_length * d_model
    wanted = {
        "embed": f"Embedding({vocab_size}, {d_model})",
        "hidden": f"Linear({wide}, {d_hidden}, with a bias)",
        "head": f"Linear({d_hidden}, {vocab_size}, with a bias)",
        "direct": f"Linear({wide}, {vocab_size}, without a bias)",
    }
    layers = [part for part in model.modules() if not list(part.children())]
    layers = [part for part in layers if list(part.parameters(recurse=False))]
    found = {_describe(layer): layer for layer in layers}
    for description in wanted.values():
        expect(
            description in found,
            f"NeuralLM({vocab_size}, {context_length}, {d_model}, {d_hidden}) has no "
            f"{description}; its layers are {', '.join(map(_describe, layers))}. "
            + _hint_for_layers(found, wide, d_model, d_hidden, vocab_size),
        )
    parts = {part: found[description] for part, description in wanted.items()}
    _expect_no_more(model, parts, ", ".join(map(_describe, layers)))
    return parts


def _expect_no_more(model: nn.Module, parts: dict[str, nn.Module], layers: str) -> None:
    """Expect that the model has no weights but those of the four layers."""
    n_given = sum(p.numel() for p in model.parameters())
    n_right = sum(p.numel() for part in parts.values() for p in part.parameters())
    expect(
        n_given == n_right,
        f"Beside the four layers there are {n_given - n_right} more parameters (the "
        f"layers are {layers}); the equation has no others.",
    )
    embed = parts["embed"]
    expect(
        embed.padding_idx is None and embed.max_norm is None,
        "nn.Embedding takes only the two sizes here: with padding_idx one row never "
        "learns, and with max_norm the rows are cut to a length.",
    )


def _describe(layer: nn.Module) -> str:
    """Name a layer and its sizes."""
    if isinstance(layer, nn.Embedding):
        return f"Embedding({layer.num_embeddings}, {layer.embedding_dim})"
    if isinstance(layer, nn.Linear):
        bias = "without a" if layer.bias is None else "with a"
        return f"Linear({layer.in_features}, {layer.out_features}, {bias} bias)"
    return type(layer).__name__


def _hint_for_layers(
    found: dict, wide: int, d_model: int, d_hidden: int, vocab_size: int
) -> str:
    """Say what is likely wrong with layers of these sizes."""
    hints = {
        f"Linear({d_model}, {d_hidden}, with a bias)": "Your hidden layer reads "
        "d_model numbers: side by side there are context_length * d_model.",
        f"Linear({wide}, {vocab_size}, with a bias)": "U reads the hidden layer: "
        "d_hidden numbers."
        if f"Linear({wide}, {vocab_size}, without a bias)" in found
        else "W has no bias: U has one already, and both are added.",
        f"Linear({d_hidden}, {vocab_size}, without a bias)": "W reads x, not the "
        "hidden layer."
        if f"Linear({d_hidden}, {vocab_size}, with a bias)" in found
        else "U needs its bias b.",
        f"Linear({wide}, {d_hidden}, without a bias)": "H needs its bias d.",
    }
    likely = [hint for name, hint in hints.items() if name in found]
    if likely:
        return likely[0]
    if len(found) == 4:
        return "Compare the sizes: from how many numbers, to how many?"
    return (
        "Make each of them once, in __init__, as an attribute of its own: a plain "
        "Python list hides layers from PyTorch."
    )


def _logits(
    parts: dict[str, nn.Module],
    ids: Tensor,
    activation: Callable[[Tensor], Tensor] = torch.tanh,
    join: Callable[[Tensor], Tensor] = lambda x: x.flatten(1),
) -> Tensor:
    """Compute the logits with the reader's own weights."""
    x = join(parts["embed"](ids))
    return parts["head"](activation(parts["hidden"](x))) + parts["direct"](x)


def _expect_logits(parts: dict[str, nn.Module], ids: Tensor, given: Tensor) -> None:
    """Expect the logits of the equation, and say what is wrong with others."""
    right = _logits(parts, ids)
    if torch.allclose(given.float(), right, atol=1e-5):
        return
    mistakes = _logit_mistakes(parts, ids, right)
    row = int((given - right).abs().amax(dim=1).gt(1e-5).int().argmax())
    raise Mistake(
        f"With your own weights the equation gives {rounded(right[row, :3])} for the "
        f"first logits of window {row}; your model gives {rounded(given[row, :3])}. "
        + hint_for_tensor(given, mistakes, "Follow the equation term by term.")
    )


def _logit_mistakes(
    parts: dict[str, nn.Module], ids: Tensor, right: Tensor
) -> dict[str, Tensor]:
    x = parts["embed"](ids).flatten(1)
    direct, hidden = parts["direct"](x), parts["hidden"](x)
    head, b = parts["head"], parts["head"].bias
    return (
        _activation_mistakes(parts, ids)
        | _join_mistakes(parts, ids)
        | {
            "The direct way, W x, is not added.": head(hidden.tanh()),
            "The hidden layer is missing: only the direct way is there.": direct,
            "The direct way starts from x, not from tanh of it.": head(hidden.tanh())
            + parts["direct"](x.tanh()),
            "tanh stands inside U, not around everything.": right.tanh(),
            "tanh comes after H and before U.": (head(hidden) - b).tanh() + b + direct,
            "The model gives logits, scores of any size: no softmax.": right.softmax(
                -1
            ),
            "The model gives logits: cross_entropy takes the log-softmax "
            "itself.": right.log_softmax(-1),
        }
    )


def _activation_mistakes(parts: dict[str, nn.Module], ids: Tensor) -> dict[str, Tensor]:
    """Return what other functions between H and U give."""
    others = {
        "The tanh between H and U is missing.": lambda h: h,
        "The equation has tanh, not ReLU.": torch.relu,
        "The equation has tanh, not a sigmoid.": torch.sigmoid,
        "The equation has tanh, not GELU.": F.gelu,
    }
    return {hint: _logits(parts, ids, function) for hint, function in others.items()}


def _join_mistakes(parts: dict[str, nn.Module], ids: Tensor) -> dict[str, Tensor]:
    """Return what other ways to join the vectors (B, T, D) give."""
    others = {
        "tanh belongs to the hidden layer, not to the vectors.": lambda x: (
            x.tanh().flatten(1)
        ),
        "Vectors of different windows were mixed: keep dimension 0, the batch, when "
        "you join them.": lambda x: x.transpose(0, 1).reshape(len(x), -1),
        "Join vector after vector: first all numbers of the first token.": lambda x: (
            x.transpose(1, 2).flatten(1)
        ),
        "The window is read backwards.": lambda x: x.flip(1).flatten(1),
    }
    return {hint: _logits(parts, ids, join=join) for hint, join in others.items()}


def _expect_gradients(
    model: nn.Module, parts: dict[str, nn.Module], ids: Tensor
) -> None:
    """Expect that training would reach every weight."""
    weights = list(model.parameters())
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    expect(not frozen, f"{', '.join(frozen)} cannot learn: requires_grad is False.")
    right = torch.autograd.grad(_logits(parts, ids).square().sum(), weights)
    loss = model(ids).square().sum()
    expect(
        loss.requires_grad,
        "The logits have no gradient, so the model cannot learn: is there a detach(), "
        "or a no_grad()?",
    )
    given = torch.autograd.grad(loss, weights, allow_unused=True)
    for (name, _), own, wanted in zip(model.named_parameters(), given, right):
        expect(
            own is not None and torch.allclose(own, wanted, atol=1e-4),
            f"The gradient of {name} is not that of the equation: is something "
            "detached, or computed twice?",
        )
