"""Learning-rate schedules: what the rate is multiplied by at each step."""

from __future__ import annotations

import math

from lib.shapes import require_sizes

__all__ = [
    "warmup",
    "cosine_schedule",
    "linear_schedule",
    "noam_schedule",
    "SCHEDULES",
]


def warmup(step: int, n_warmup: int) -> float:
    """Rise in equal steps from ``1 / n_warmup`` at step 0 to 1; then stay there.

    Args:
        step: number of updates made before this one.
        n_warmup: number of steps that the rise takes; 0 for none.

    Returns:
        A factor for the learning rate, above 0 and at most 1.

    Source: Vaswani et al. (2017), section 5.3; Goyal et al. (2017), section 2.2.

    Home lesson: 11_training
    """
    return min(1.0, (step + 1) / n_warmup) if n_warmup else 1.0


def cosine_schedule(step: int, n_steps: int, n_warmup: int, end: float = 0.1) -> float:
    """Warm up, then fall along half a cosine from 1 to ``end``.

    Args:
        step: number of updates made before this one.
        n_steps: number of updates in all.
        n_warmup: number of steps of the warm-up.
        end: the factor after the last step.

    Returns:
        A factor for the learning rate, ``end`` after the last step. A warm-up longer
        than the run is only begun.

    Raises:
        ValueError: if ``n_steps`` is below 1.

    Source: Loshchilov and Hutter (2017), equation (5).

    Home lesson: 11_training
    """
    require_sizes(n_steps=n_steps)
    done = max(0.0, (step - n_warmup) / max(1, n_steps - n_warmup))  # 0 .. 1
    fall = (1 + math.cos(math.pi * min(1.0, done))) / 2  # 1 .. 0
    return warmup(step, n_warmup) * (end + (1 - end) * fall)


def linear_schedule(
    step: int, n_steps: int, n_warmup: int, end: float = 0.0, decay: float = 0.6
) -> float:
    """Warm up, stay, then fall in a straight line to ``end``.

    Args:
        step: number of updates made before this one.
        n_steps: number of updates in all.
        n_warmup: number of steps of the warm-up.
        end: the factor after the last step.
        decay: the share of all steps that the fall takes.

    Returns:
        A factor for the learning rate, ``end`` after the last step. A warm-up that
        lasts into the fall, or longer than the run, makes it smaller, never negative.

    Raises:
        ValueError: if ``n_steps`` is below 1.

    Source: Hägele et al. (2024), section 3.

    Home lesson: 11_training
    """
    require_sizes(n_steps=n_steps)
    left = max(0.0, 1 - step / n_steps)  # 1 .. 0
    return warmup(step, n_warmup) * (end + (1 - end) * min(1.0, left / decay))


SCHEDULES = {
    "constant": lambda step, n_steps, n_warmup: warmup(step, n_warmup),
    "cosine": cosine_schedule,
    "linear": linear_schedule,
}
"""The schedules by name, each called with ``(step, n_steps, n_warmup)``.

Home lesson: 11_training
"""


def noam_schedule(step: int, n_steps: int, n_warmup: int) -> float:
    r"""Rise in a straight line, then fall with the root of the step.

    The schedule of the original Transformer,
    :math:`d^{-0.5} \min(s^{-0.5}, s\, w^{-1.5})` with s = ``step + 1`` and
    w = ``n_warmup``, divided by its highest value :math:`(d w)^{-0.5}`.

    Args:
        step: number of updates made before this one.
        n_steps: not used; a schedule by name is given it.
        n_warmup: number of steps of the rise, at least 1.

    Returns:
        A factor for the learning rate, 1 where the rise ends.

    Raises:
        ValueError: if ``n_warmup`` is below 1.

    Source: Vaswani et al. (2017), section 5.3, equation (3).

    Home lesson: 16_translation
    """
    require_sizes(n_warmup=n_warmup)
    risen = (step + 1) / n_warmup
    return min(risen**-0.5, risen)


SCHEDULES["noam"] = noam_schedule
