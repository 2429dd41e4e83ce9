"""Wrong answers to the exercises of lesson 00, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_00.py: two wrong answers or
more, each with a few words of the message that it must get. Plant the mistakes that a
reader makes (off by one, the wrong axis, a forgotten bias), not nonsense, and quote the
words that name the mistake. The right answers are the solutions.
"""

import torch
from torch import Tensor


def count_without(part: str):
    """A parameter count that forgets one part, or adds a bias that is not there."""

    def count(vocab_size, d_model, n_layers, d_ff, context_length):
        parts = {
            "tokens": vocab_size * d_model,
            "positions": context_length * d_model,
            "norms": n_layers * 4 * d_model,
            "attention": n_layers * 4 * d_model**2,
            "ffn": n_layers * 2 * d_model * d_ff,
            "ffn biases": n_layers * (d_ff + d_model),
            "head": vocab_size * d_model,
            "head bias": vocab_size,
        }
        if part == "attention biases":
            return sum(parts.values()) + n_layers * 4 * d_model
        return sum(parts.values()) - parts[part]

    return count


def digit_batch(
    step: int = -1, same_start: bool = False, shift: int = 1, keep: int = 1
):
    """A counting batch with one mistake in it."""

    def batch(batch_size, length, generator) -> tuple[Tensor, Tensor]:
        starts = torch.randint(10, (batch_size, 1), generator=generator)
        digits = (starts * (not same_start) + step * torch.arange(length + 1)) % 10
        if not keep:
            return digits, digits
        return digits[:, :-1], digits[:, shift : length + shift]

    return batch


def negative_digits(batch_size, length, generator):
    starts = torch.randint(10, (batch_size, 1), generator=generator)
    digits = starts - torch.arange(length + 1)
    return digits[:, :-1], digits[:, 1:]


def low_starts(batch_size, length, generator):
    starts = torch.randint(9, (batch_size, 1), generator=generator)
    digits = (starts - torch.arange(length + 1)) % 10
    return digits[:, :-1], digits[:, 1:]


def no_generator(batch_size, length, generator):
    digits = (torch.randint(10, (batch_size, 1)) - torch.arange(length + 1)) % 10
    return digits[:, :-1], digits[:, 1:]


def alternating(batch_size, length, generator):
    pair = torch.randint(10, (batch_size, 2), generator=generator)
    digits = pair.repeat(1, length // 2 + 1)[:, : length + 1]
    return digits[:, :-1], digits[:, 1:]


def squares(batch_size, length, generator):
    """What follows is fixed by the last digit and its position."""
    starts = torch.randint(10, (batch_size, 1), generator=generator)
    digits = (starts + torch.arange(length + 1) ** 2) % 10
    return digits[:, :-1], digits[:, 1:]


def random_digits(batch_size, length, generator):
    digits = torch.randint(10, (batch_size, length + 1), generator=generator)
    return digits[:, :-1], digits[:, 1:]


WRONG = {
    "check_parameter_count": [
        (count_without("head bias"), "the head's bias"),
        (count_without("positions"), "the position vectors"),
        (count_without("norms"), "gains and biases of the norms"),
        (count_without("attention biases"), "attention has no bias"),
    ],
    "check_countdown_batch": [
        (digit_batch(step=1), "count up"),
        (digit_batch(shift=0), "not the inputs moved by one"),
        (digit_batch(same_start=True), "at random from 0 to 9"),
        (low_starts, "at random from 0 to 9"),
        (no_generator, "pass generator=generator on"),
        (lambda b, n, g: random_digits(b, n, g)[0], "Return two tensors"),
        (digit_batch(keep=0), "has shape"),
        (digit_batch(step=-2), "one less than the one before"),
        (negative_digits, "% 10"),
    ],
    "check_accuracy": [
        (lambda x, y: (x.argmax(-1) == y).float().mean(), ".item()"),
        (lambda x, y: (x.argmax(-1) != y).float().mean().item(), "wrong answers"),
        (lambda x, y: (x.argmax(-1) == y).sum().item(), "divide by the number"),
        (
            lambda x, y: (x.argmax(-1) == y)[:, -1].float().mean().item(),
            "last position",
        ),
        (lambda x, y: 100 * (x.argmax(-1) == y).float().mean().item(), "percent"),
        (lambda x, y: (x.argmax(-1) == y).sum().item() / len(y), "number of rows"),
    ],
    "check_needs_attention": [
        (digit_batch(step=3), "already give 100%"),
        (squares, "already give 100%"),
        (alternating, "are taken"),
        (random_digits, "nothing may be left to chance"),
    ],
}
