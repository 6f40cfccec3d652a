"""Learning-rate schedules: a factor of the learning rate as a function of the step count.

A new schedule is one function and one entry in `SCHEDULES`. It takes ``(xp, t, total)``, with `t` the number of steps
done so far as a float array and `total` that of the whole run. Its own settings are keyword-only.
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
    """``1 / (t + 1)^power_t``, as in scikit-learn."""
    return (t + 1) ** -power_t


def step(xp: Any, t: Array, total: float, *, decay_rate: float = 0.1, every: float = 1.0) -> Array:
    """``decay_rate^floor(t / every)``."""
    n_decays = xp.floor(t / every)
    # A compiler that multiplies by the inverse of `every` may come out just below a whole number.
    return decay_rate ** xp.where(t >= (n_decays + 1) * every, n_decays + 1, n_decays)


def exponential(xp: Any, t: Array, total: float, *, decay_rate: float = 0.1) -> Array:
    """``decay_rate^(t / total)``: exponential decay to `decay_rate` over the run."""
    return decay_rate ** (t / total)


def cosine(xp: Any, t: Array, total: float) -> Array:
    """``(1 + cos(π t / total)) / 2``, then 0: cosine decay (Loshchilov and Hutter, 2017) without restarts."""
    return 0.5 + 0.5 * xp.cos(xp.minimum(t * (math.pi / total), math.pi))


# First and last factor, and the fraction of the run in which it rises: the defaults of PyTorch and fastai.
ONE_CYCLE_START, ONE_CYCLE_END, ONE_CYCLE_RISE = 1 / 25, 1 / 25e4, 0.3


def one_cycle(xp: Any, t: Array, total: float) -> Array:
    """Cosine rise from 1/25 to 1, then cosine decay to 4e-6: the 1cycle policy (Smith and Topin, 2018)."""
    # As in PyTorch. The peak of a run of 2 or 3 steps comes before its first step, so that the factor only falls; a
    # run of 1 step takes the first factor.
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
    """Return a schedule with a linear warm-up over `warmup` steps, then `schedule` over the remaining steps.

    Parameters
    ----------
    schedule : callable
        An entry of `SCHEDULES`.
    total : float
        Number of steps of the whole run.
    warmup : float
        Number of steps of the warm-up, which rises from ``1 / warmup`` to 1 times the schedule's first factor.
    **settings : float
        Settings of the schedule.

    Returns
    -------
    callable
        ``factor(xp, t)``, with `t` the number of steps done so far as a float array of any shape.
    """
    rest = functools.partial(schedule, total=max(total - warmup, 1.0), **settings)
    return functools.partial(_warmed_up, rest, warmup) if warmup > 0 else rest


# A function of the module, as all schedules are, so that a plan can be pickled.
def _warmed_up(schedule: Schedule, warmup: float, xp: Any, t: Array) -> Array:
    return xp.minimum((t + 1) / warmup, 1) * schedule(xp, xp.maximum(t - warmup, 0))
