"""Learning-rate schedules: the step count to a factor of the learning rate.

A new schedule is one function and one entry in `SCHEDULES`. It takes ``(xp, t, total)``: the steps
done so far as a float array, and the steps of the whole run; its own settings are keyword-only.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

Array = Any
Schedule = Callable[..., Array]


def constant(xp: Any, t: Array, total: float) -> Array:
    """``1``."""
    return xp.ones_like(t)


def invscaling(xp: Any, t: Array, total: float, *, power_t: float = 0.5) -> Array:
    """``1 / (t + 1)^power_t``, as scikit-learn has it."""
    return (t + 1) ** -power_t


def step(xp: Any, t: Array, total: float, *, decay_rate: float = 0.1, every: float = 1.0) -> Array:
    """``decay_rate`` once for every `every` steps done."""
    falls = xp.floor(t / every)
    # A compiler that multiplies by the inverse instead falls short of some whole numbers.
    return decay_rate ** xp.where(t >= (falls + 1) * every, falls + 1, falls)


def exponential(xp: Any, t: Array, total: float, *, decay_rate: float = 0.1) -> Array:
    """``decay_rate^(t / total)``: a steady fall to `decay_rate` over the run."""
    return decay_rate ** (t / total)


def cosine(xp: Any, t: Array, total: float) -> Array:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, 2017), without restarts: it stays there."""
    return 0.5 + 0.5 * xp.cos(xp.minimum(t * (math.pi / total), math.pi))


# Where it starts and ends, and the part of the run that rises: PyTorch's and fastai's defaults.
ONE_CYCLE_START, ONE_CYCLE_END, ONE_CYCLE_RISE = 1 / 25, 1 / 25e4, 0.3


def one_cycle(xp: Any, t: Array, total: float) -> Array:
    """Up by half a cosine, then down to almost nothing by another (Smith and Topin, 2018)."""
    # PyTorch's; of 2 or 3 steps it lies before the first, so that they only fall. One step alone begins to rise.
    peak = ONE_CYCLE_RISE * total - 1 if total >= 2 else 1e-9
    rise = xp.minimum(t / peak, 1) if peak > 0 else xp.ones_like(t)
    fall = xp.maximum((t - peak) / max(total - 1 - peak, 1e-9), 0)
    start = 1 + (ONE_CYCLE_START - 1) * (0.5 + 0.5 * xp.cos(math.pi * rise))
    return ONE_CYCLE_END + (start - ONE_CYCLE_END) * (0.5 + 0.5 * xp.cos(math.pi * xp.minimum(fall, 1)))


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "invscaling": invscaling,
    "step": step,
    "exponential": exponential,
    "cosine": cosine,
    "one_cycle": one_cycle,
}


def with_warmup(
    schedule: Schedule, total: float, warmup: float = 0.0, **settings: float
) -> Callable[[Any, Array], Array]:
    """The factor of each step: a linear rise over `warmup` steps, then `schedule` over the rest.

    Parameters
    ----------
    schedule : callable
        An entry of `SCHEDULES`.
    total, warmup : float
        Steps of the whole run, and of its linear rise from ``1 / warmup`` to the schedule's start.
    **settings : float
        Of the schedule itself.

    Returns
    -------
    callable
        ``factor(xp, t)``, with `t` the steps done so far as a float array of any shape.
    """
    rest = functools.partial(schedule, total=max(total - warmup, 1.0), **settings)
    if warmup <= 0:
        return rest

    def factor(xp: Any, t: Array) -> Array:
        return xp.minimum((t + 1) / warmup, 1) * rest(xp, xp.maximum(t - warmup, 0))

    return factor
