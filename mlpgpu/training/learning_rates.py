"""The learning rate range test: raise the rate from tiny to large, and find where the loss falls fastest."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu import plots
from mlpgpu.maths.schedules import exponential
from mlpgpu.training.epoch import Training

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from mlpgpu.backends import Backend
    from mlpgpu.training.feed import Placement, Rows
    from mlpgpu.training.plan import Plan

# As in fastai: decay of the moving average of the loss, and the multiple of its minimum above which it has diverged.
SMOOTHING, DIVERGED = 0.98, 4


@dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """Losses of a run whose learning rate rises by a constant factor per step.

    Attributes
    ----------
    rates : float64 array of shape (n_steps,)
        Learning rate of each step done; fewer than requested if the loss diverged.
    losses : float64 array of shape (n_steps,)
        Training loss of each step.
    """

    rates: np.ndarray
    losses: np.ndarray

    @cached_property
    def smoothed(self) -> np.ndarray:
        """Bias-corrected exponential moving average of `losses`, shape (n_steps,)."""
        return _smooth(self.losses)

    @cached_property
    def suggested(self) -> float | None:
        """Learning rate at which the smoothed loss falls most steeply, on a logarithmic axis of the rate.

        The slope is taken over a tenth of the steps, since that over one step is mostly noise. Two parts are ignored:
        the first tenth of the steps, where the average is over few losses, and all steps after the lowest smoothed
        loss. None if the smoothed loss falls by no more than the noise of `losses`.
        """
        span, lowest = max(len(self.rates) // 10, 1), int(np.argmin(self.smoothed))
        losses, smoothed = self.losses[span : lowest + 1], self.smoothed[span : lowest + 1]
        # Differences between successive losses contain the noise, by a factor of √2, but hardly any trend.
        if len(smoothed) <= span or smoothed[0] - smoothed[-1] <= np.std(np.diff(losses)) / np.sqrt(2):
            return None
        steepest = int(np.argmin(smoothed[span:] - smoothed[:-span]))
        return float(self.rates[span + steepest + span // 2])

    def plot(self, path: plots.PathLike | None = None) -> Figure:
        """Plot the loss against the learning rate, with the suggested rate marked.

        Parameters
        ----------
        path : path-like, default=None
            PNG file to write.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if not plots.available():
            raise ImportError(plots.NO_PICTURES)
        return plots.save(_figure(self), path)

    def __repr__(self) -> str:
        suggested = "None" if self.suggested is None else f"{self.suggested:.2g}"
        first, last = self.rates[[0, -1]]
        return f"RangeTest(suggested={suggested}, {len(self.rates)} rates from {first:.2g} to {last:.2g})"


class NotFinite(ArithmeticError):
    """The loss is not finite before the first step."""


def range_test(
    backend: Backend,
    plan: Plan,
    rows: Rows,
    placement: Placement,
    *,
    low: float,
    high: float,
    steps: int,
    beside: int = 0,
    tell: Callable[[int], object] = lambda done: None,
) -> RangeTest:
    """Train a network while its learning rate rises.

    Parameters
    ----------
    backend : Backend
    plan : Plan
        Its learning rate and schedule are replaced by the rising rate.
    rows : Rows
    placement : Placement
    low, high : float
        First and last learning rate, above 0.
    steps : int
        Number of steps from `low` to `high`, at least 10. The run ends early if the loss is not finite, or the smoothed
        loss exceeds four times its minimum.
    beside : int
        Bytes of device memory that the rows must leave free.
    tell : callable
        Called as ``tell(done)`` every few steps, with the number of steps done.

    Returns
    -------
    RangeTest

    Raises
    ------
    NotFinite
        If the first loss is not finite.
    """
    rise = partial(exponential, total=steps - 1, decay_rate=high / low)
    plan = dataclasses.replace(plan, learning_rate=low, recipe=dataclasses.replace(plan.recipe, schedule=rise))
    training = Training(backend, plan, rows, placement, beside=lambda: beside)
    losses = curve = np.empty(0)

    def after_steps(done: int, fetch: Callable[[], np.ndarray]) -> bool:
        nonlocal losses, curve
        losses = np.append(losses, fetch())
        curve = _until_diverged(losses[:steps])
        tell(len(curve))
        return not goes_on()

    def goes_on() -> bool:
        return len(curve) == len(losses) < steps

    epoch = 0
    while goes_on():
        epoch += 1
        training.epoch(epoch, after_steps)
    if not len(curve):
        raise NotFinite(f"the loss is {losses[0]} before the first step")
    return RangeTest(np.geomspace(low, high, steps)[: len(curve)], curve)


def _smooth(losses: np.ndarray) -> np.ndarray:
    from scipy.signal import lfilter

    return lfilter([1 - SMOOTHING], [1, -SMOOTHING], losses) / (1 - SMOOTHING ** np.arange(1, len(losses) + 1))


def _until_diverged(losses: np.ndarray) -> np.ndarray:
    """Return the finite losses up to and including the one at which the smoothed loss diverges."""
    losses = losses[: _first(~np.isfinite(losses))]
    smoothed = _smooth(losses)
    lowest = np.minimum.accumulate(smoothed)
    # A user-defined loss may be negative.
    return losses[: _first(smoothed - lowest > (DIVERGED - 1) * np.abs(lowest)) + 1]


def _first(true: np.ndarray) -> int:
    """Return the index of the first true value, or the length if there is none."""
    return int(np.argmax(np.append(true, True)))


def _figure(test: RangeTest) -> Figure:
    rates, losses, smoothed, suggested = test.rates, test.losses, test.smoothed, test.suggested
    found = "does not fall" if suggested is None else f"falls fastest at a learning rate of {suggested:.2g}"
    figure = plots.new_figure((8, 5), f"Range test: the loss {found}")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=plots.LOSS, alpha=0.35, lw=1, label="each step")
    axes.plot(rates, smoothed, color=plots.LOSS, lw=2, label="smoothed")
    # Later losses above this range are cut off: a loss that diverges would flatten the rest of the curve.
    low, high = losses.min(), losses[: np.argmin(smoothed) + 1].max()
    room = 0.05 * (high - low) or 0.5
    axes.set(xscale="log", ylim=(low - room, high + room))
    axes.set_xlabel("learning rate (log scale)")
    axes.set_ylabel("loss", color=plots.LOSS)
    axes.tick_params(axis="x", which="both", labelsize=plots.SMALL, colors=plots.INK)
    axes.tick_params(axis="y", labelcolor=plots.LOSS, color=plots.LOSS)
    plots.baseline(axes)
    axes.legend(frameon=False, fontsize=plots.SMALL, loc="lower left", labelcolor=plots.INK)
    if suggested is not None:
        height = smoothed[np.searchsorted(rates, suggested)]
        axes.axvline(suggested, color=plots.QUIET, lw=1, zorder=0)
        axes.plot(suggested, height, "o", color=plots.LOSS, markersize=8, markerfacecolor="white", label="suggested")
        place = axes.get_xaxis_transform()
        text = f"suggested {suggested:.2g}"
        axes.text(suggested, 1.015, text, transform=place, ha="center", fontsize=plots.SMALL, color=plots.INK)
    return figure
