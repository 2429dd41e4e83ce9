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


def eleven_starts(batch_size, length, generator):
    starts = torch.randint(0, 11, (batch_size, 1), generator=generator)  # 10 becomes 0
    digits = (starts - torch.arange(length + 1)) % 10
    return digits[:, :-1], digits[:, 1:]


def one_draw(batch_size, length, generator):
    starts = torch.arange(batch_size).unsqueeze(1)
    starts = starts + torch.randint(10, (1, 1), generator=generator)
    digits = (starts - torch.arange(length + 1)) % 10
    return digits[:, :-1], digits[:, 1:]


def thirteen_digits(batch_size, length, generator):
    starts = torch.randint(10, (batch_size, 1), generator=generator)
    digits = (starts - torch.arange(13)) % 10
    return digits[:, :-1], digits[:, 1:]


def fifteen_digits(batch_size, length, generator):
    first = torch.randint(10, (batch_size, 3), generator=generator)
    digits = first.repeat(1, 5)[:, : length + 1]
    return digits[:, :-1], digits[:, 1:]


def no_generator(batch_size, length, generator):
    digits = (torch.randint(10, (batch_size, 1)) - torch.arange(length + 1)) % 10
    return digits[:, :-1], digits[:, 1:]


def alternating(batch_size, length, generator):
    pair = torch.randint(10, (batch_size, 2), generator=generator)
    digits = pair.repeat(1, length // 2 + 1)[:, : length + 1]
    return digits[:, :-1], digits[:, 1:]


def repeating(period):
    def batch(batch_size, length, generator):
        first = torch.randint(10, (batch_size, period), generator=generator)
        digits = first.repeat(1, length // period + 1)[:, : length + 1]
        return digits[:, :-1], digits[:, 1:]

    return batch


def as_lists(batch_size, length, generator):
    return tuple(w.tolist() for w in digit_batch()(batch_size, length, generator))


def as_floats(batch_size, length, generator):
    return tuple(w.float() for w in digit_batch()(batch_size, length, generator))


def right_share(logits, targets):
    return (logits.argmax(-1) == targets).float().mean().item()


def rows_only(logits, targets):
    return (logits.argmax(-1) == targets).all(dim=1).float().mean().item()


def in_place(logits, targets):
    return targets.sub_(logits.argmax(-1)).eq(0).float().mean().item()


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
        (count_without("ffn biases"), "feed-forward biases"),
        (lambda **sizes: 5_162, "a GPT has 7,146"),
        (lambda **sizes: count_without("head")(**sizes), "token vectors, or the head"),
        (lambda **sizes: f"{count_without('head bias')(**sizes)}", "must be a number"),
    ],
    "check_countdown_batch": [
        (digit_batch(step=1), "count up"),
        (digit_batch(shift=0), "not the inputs moved by one"),
        (digit_batch(same_start=True), "at random from 0 to 9"),
        (low_starts, "at random from 0 to 9"),
        (eleven_starts, "equally likely"),
        (one_draw, "a number for each row"),
        (thirteen_digits, "must give (300, 17)"),
        (
            lambda b, n, g: digit_batch()(b, n, torch.Generator().manual_seed(0)),
            "do not set its seed",
        ),
        (no_generator, "pass generator=generator on"),
        (lambda b, n, g: random_digits(b, n, g)[0], "Return two tensors"),
        (digit_batch(keep=0), "has shape"),
        (digit_batch(step=-2), "one less than the one before"),
        (negative_digits, "% 10"),
        (as_lists, "yours is list"),
        (as_floats, "yours is torch.float32"),
        (lambda b, n, g: digit_batch()(300, 12, g)[0], "Return two tensors"),
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
        (lambda x, y: (x.argmax(-1) == y).sum().item() / len(y), "not of rows"),
        (lambda x, y: 0.9, "12 of 16 positions are right"),
        (lambda x, y: (x.argmax(-1) == y).sum().item() / 30, "12 of 16"),
        (rows_only, "not whole rows"),
        (lambda x, y: x.argmax(-1).eq_(y).float().mean(), ".item()"),
        (in_place, "You changed logits or targets"),
        (lambda x, y: round(right_share(x, y)), "you return 1.000"),
        (lambda x, y: None, "is a `return` missing"),
    ],
    "check_needs_attention": [
        (digit_batch(step=3), "already give 100%"),
        (squares, "already give 100%"),
        (alternating, "are the example above"),
        (random_digits, "nothing may be left to chance"),
        (fifteen_digits, "must give (300, 17)"),
        (repeating(5), "nothing may be left to chance"),
        (lambda b, n, g: repeating(3)(b, n, g)[0].tolist(), "Return two tensors"),
        (
            lambda b, n, g: (repeating(3)(b, n, g)[0],) * 2,
            "not the inputs moved by one",
        ),
    ],
}
