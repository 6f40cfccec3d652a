"""How far the losses of captured, eager and NumPy's steps are from each other, and the picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu import plots
from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place
from scripts.smoke.ways import CAPTURED, EAGER, FLOAT64, NUMPY, REFUSED, Way, apart, train, warned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DROPOUT = {"dropout": 0.2, "input_dropout": 0.1}
# In float32 a step may be so many times as far from float64 as NumPy's own has been up to it, and so far at least: some
# units of the last digit of a loss.
TIMES, LEAST = 4, 5e-7
# A rectified unit whose input is next to zero may fall on either side of it, in float32 about once in some epochs of
# this network: from there on the runs are two. How far the mean loss of the epoch may be apart then.
KINKS = 0.01

PANELS = {"float64": "relu", "float32, tanh": "tanh", "float32": "relu"}


def agree(place: Place, dtype: str, ways: Sequence[Way] = (CAPTURED, EAGER), **settings: Any) -> Found:
    """Steps by some ways beside NumPy's in float64, step by step over an epoch."""
    exact = train(place, NUMPY, dtype="float64", **settings).losses
    with warned() as lines:
        found = {way.label: apart(train(place, way, dtype=dtype, **settings).losses, exact) for way in ways}
    own = np.zeros_like(exact)
    if dtype == "float32":
        found[NUMPY.label] = own = apart(train(place, NUMPY, dtype=dtype, **settings).losses, exact)
    limit = np.full_like(exact, FLOAT64) if dtype == "float64" else bound(own)
    refused = next((line for line in lines if REFUSED in line), "")
    good = not refused and all(bool(np.all(found[way.label] <= limit)) for way in ways)
    words = ", ".join(f"{label} {np.max(values):.1e}" for label, values in found.items())
    details = {"steps": len(exact), "bound": limit.tolist(), **{label: each.tolist() for label, each in found.items()}}
    return Found(refused or words, good, details)


def bound(own: np.ndarray) -> np.ndarray:
    """How far from float64 the losses of float32 steps may be, where NumPy's own are so far."""
    return np.maximum(TIMES * np.maximum.accumulate(own), LEAST)


def agree_on_average(place: Place, ways: Sequence[Way] = (CAPTURED, EAGER), **settings: Any) -> Found:
    """Rectified units in float32: the mean loss of an epoch beside NumPy's in float64, and each step for the picture."""
    exact = train(place, NUMPY, dtype="float64", **settings).losses
    runs = {way.label: train(place, way, dtype="float32", **settings).losses for way in (*ways, NUMPY)}
    means = {label: float(abs(losses.mean() / exact.mean() - 1)) for label, losses in runs.items()}
    words = ", ".join(f"{label} {mean:.1e}" for label, mean in means.items())
    good = all(means[way.label] <= KINKS for way in ways)
    return Found(words, good, {"means": means, **{label: apart(each, exact).tolist() for label, each in runs.items()}})


CHECKS = (
    Check("float64", f"within {FLOAT64:g} of NumPy", partial(agree, dtype="float64"), 30),
    Check("float64, dropout", f"within {FLOAT64:g} of NumPy", partial(agree, dtype="float64", **DROPOUT), 30),
    Check("float32, tanh", f"within {TIMES} times NumPy's", partial(agree, dtype="float32", activation="tanh"), 30),
    Check(
        "float32, tanh, dropout",
        f"within {TIMES} times NumPy's",
        partial(agree, dtype="float32", activation="tanh", **DROPOUT),
        30,
    ),
    Check("float32", f"mean within {KINKS:g}", agree_on_average, 30),
)


def draw(found: Mapping[str, Mapping[str, Any]], note: str, path: plots.PathLike) -> None:
    """Draw the distance of each step's loss from NumPy's in float64.

    Parameters
    ----------
    found : mapping
        Name of a check -> its details; those of `PANELS` that are there are drawn.
    note : str
        Device and libraries.
    path : path-like
        The PNG file to write.
    """
    shown = {name: found[name] for name in PANELS if name in found}
    figure = plots.new_figure((4.6 * len(shown) + 1, 5), "Losses of captured, eager and NumPy's steps agree to rounding")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, details) in zip(panels, shown.items(), strict=True):
        _panel(axes, name, details)
    panels[0].set_ylabel("distance from NumPy's loss in float64, as a share", fontsize=plots.TEXT, color=plots.INK)
    figure.supxlabel(note, x=0.99, ha="right", fontsize=10, color=plots.QUIET)
    plots.save(figure, path)


# The least that is drawn: what is less, is the same number.
FLOOR = 1e-16
COLORS = {CAPTURED.label: plots.SCORE, EAGER.label: plots.LOSS, NUMPY.label: plots.QUIET}


def _panel(axes: Axes, name: str, details: Mapping[str, Any]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    for label, color in COLORS.items():
        if label not in details:
            continue
        values = np.maximum(details[label], FLOOR)
        steps = np.arange(1, len(values) + 1)
        axes.plot(steps, values, ".", ms=3, color=color, alpha=0.5)
        axes.plot(steps, np.maximum.accumulate(values), color=color, lw=1.8, label=label)
    if "bound" in details:
        axes.plot(steps, details["bound"], "--", color=plots.INK, lw=1.2, label="allowed")
    axes.set_title(f"{name.partition(',')[0]}, {PANELS[name]}", loc="left", fontsize=plots.TEXT, color=plots.INK)
    axes.set_ylim(FLOOR / 2, 1)
    axes.set_xlim(0, len(steps))
    axes.yaxis.set_major_locator(LogLocator(numticks=20))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("step", fontsize=plots.TEXT, color=plots.INK)
    axes.tick_params(labelsize=plots.SMALL, colors=plots.INK)
    axes.grid(axis="y", color=plots.FAINT, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.legend(loc="upper left", fontsize=plots.SMALL, frameon=False, labelcolor="linecolor", handlelength=1.2)
