"""Learning-rate schedules: a factor of the learning rate as a function of the step count.

A new schedule is one function and one entry in `SCHEDULES`. It takes ``(xp, t)``, with `t` the number of steps done so
far as a float array. Its settings are keyword-only; one called `total` is the number of steps of the whole run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Array = Any
Schedule = Callable[..., Array]


def constant(xp: Any, t: Array) -> Array:
    """``1``."""
    return xp.ones_like(t)


def invscaling(xp: Any, t: Array, *, power_t: float = 0.5) -> Array:
    """``1 / (t + 1)^power_t``, as in scikit-learn."""
    return (t + 1) ** -power_t


def step(xp: Any, t: Array, *, decay_rate: float = 0.1, every: float = 1.0) -> Array:
    """``decay_rate^floor(t / every)``."""
    n_decays = xp.floor(t / every)
    # A compiler that multiplies by the inverse of `every` may come out just below a whole number.
    return decay_rate ** xp.where(t >= (n_decays + 1) * every, n_decays + 1, n_decays)


def exponential(xp: Any, t: Array, *, total: float = 1.0, decay_rate: float = 0.1) -> Array:
    """``decay_rate^(t / total)``: exponential decay to `decay_rate` over the run."""
    return decay_rate ** (t / total)


def cosine(xp: Any, t: Array, *, total: float = 1.0) -> Array:
    """``(1 + cos(π t / total)) / 2``, then 0: cosine decay (Loshchilov and Hutter, 2017) without restarts."""
    return 0.5 + 0.5 * xp.cos(xp.minimum(t * (math.pi / total), math.pi))


# First and last factor, and the fraction of the run in which it rises: the defaults of PyTorch and fastai.
ONE_CYCLE_START, ONE_CYCLE_END, ONE_CYCLE_RISE = 1 / 25, 1 / 25e4, 0.3


def one_cycle(xp: Any, t: Array, *, total: float = 1.0) -> Array:
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


@dataclass(frozen=True)
class Course:
    """A linear warm-up, and then a schedule with its settings; equal to another with the same of these."""

    schedule: Schedule
    warmup: float
    settings: Mapping[str, float]

    def __call__(self, xp: Any, t: Array) -> Array:
        """Return the factor, with `t` the number of steps done so far as a float array of any shape."""
        if self.warmup > 0:
            after = self.schedule(xp, xp.maximum(t - self.warmup, 0), **self.settings)
            return xp.minimum((t + 1) / self.warmup, 1) * after
        return self.schedule(xp, t, **self.settings)


def with_warmup(schedule: Schedule, total: float, warmup: float = 0.0, **settings: float) -> Course:
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
        Settings of schedules; those that this one does not take are left out.

    Returns
    -------
    Course
    """
    offered, takes = {"total": max(total - warmup, 1.0), **settings}, schedule.__kwdefaults__ or {}
    return Course(schedule, warmup, {name: value for name, value in offered.items() if name in takes})
