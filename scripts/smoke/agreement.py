"""Compare the losses of captured, eager and NumPy steps, and plot the differences."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu import plots
from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place
from scripts.smoke.ways import CAPTURED, EAGER, FLOAT64, NUMPY, REFUSED, Way, difference, train, warned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DROPOUT = {"dropout": 0.2, "input_dropout": 0.1}
# A float32 step may differ from float64 by this factor times the largest difference of NumPy's float32 up to that step,
# or by the absolute minimum, a few units in the last place of a loss.
TIMES, LEAST = 10, 1e-6
# Rounding may put the input of a rectified unit on either side of zero, about once in a few epochs of this network in
# float32; the runs then diverge. This is the relative tolerance of the mean loss of an epoch.
KINKS = 0.01

SMOOTH = "float32, tanh"
# Checks that are plotted -> activation.
PANELS = {"float64": "relu", SMOOTH: "tanh", "float32": "relu"}


def agree(place: Place, dtype: str, ways: Sequence[Way] = (CAPTURED, EAGER), **settings: Any) -> Found:
    """Compare each step of an epoch, executed in several ways, with NumPy's in float64."""
    exact = train(place, NUMPY, dtype="float64", **settings).losses
    with warned() as lines:
        found = {way.label: difference(train(place, way, dtype=dtype, **settings).losses, exact) for way in ways}
    own = np.zeros_like(exact)
    if dtype == "float32":
        found[NUMPY.label] = own = difference(train(place, NUMPY, dtype=dtype, **settings).losses, exact)
    limit = np.full_like(exact, FLOAT64) if dtype == "float64" else bound(own)
    refused = next((line for line in lines if REFUSED in line), "")
    good = not refused and all(bool(np.all(found[way.label] <= limit)) for way in ways)
    words = ", ".join(f"{label} {np.max(values):.1e}" for label, values in found.items())
    details = {"steps": len(exact), "bound": limit.tolist(), **{label: each.tolist() for label, each in found.items()}}
    return Found(refused or words, good, details)


def bound(own: np.ndarray) -> np.ndarray:
    """Return the tolerance of float32 losses, given the differences of NumPy's float32 from float64."""
    return np.maximum(TIMES * np.maximum.accumulate(own), LEAST)


def agree_on_average(place: Place, ways: Sequence[Way] = (CAPTURED, EAGER), **settings: Any) -> Found:
    """Compare the mean loss of a float32 epoch with NumPy's in float64, for rectified units; record each step."""
    exact = train(place, NUMPY, dtype="float64", **settings).losses
    runs = {way.label: train(place, way, dtype="float32", **settings).losses for way in (*ways, NUMPY)}
    means = {label: float(abs(losses.mean() / exact.mean() - 1)) for label, losses in runs.items()}
    words = ", ".join(f"{label} {mean:.1e}" for label, mean in means.items())
    good = all(means[way.label] <= KINKS for way in ways)
    return Found(
        words, good, {"means": means, **{label: difference(each, exact).tolist() for label, each in runs.items()}}
    )


CHECKS = (
    Check("float64", f"within {FLOAT64:g} of NumPy", partial(agree, dtype="float64"), 60),
    Check("float64, dropout", f"within {FLOAT64:g} of NumPy", partial(agree, dtype="float64", **DROPOUT), 60),
    Check(SMOOTH, f"within {TIMES} times NumPy's", partial(agree, dtype="float32", activation="tanh"), 60),
    Check(
        f"{SMOOTH}, dropout",
        f"within {TIMES} times NumPy's",
        partial(agree, dtype="float32", activation="tanh", **DROPOUT),
        60,
    ),
    Check("float32", f"mean within {KINKS:g}", agree_on_average, 60),
)


def finding(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Summarise the differences in a sentence."""
    most = {name: max(max(details[way.label]) for way in (CAPTURED, EAGER)) for name, details in found.items()}
    said = [f"within {most['float64']:.0e} of NumPy's in float64"] if "float64" in most else []
    if SMOOTH in most:
        said.append(f"within {most[SMOOTH]:.0e} in float32 (NumPy's own {max(found[SMOOTH][NUMPY.label]):.0e})")
    return f"Captured and eager losses lie {', '.join(said)}" if said else "Losses of captured and eager steps"


def draw(found: Mapping[str, Mapping[str, Any]], note: str, path: plots.PathLike) -> None:
    """Plot the relative difference of each step's loss from NumPy's in float64, with the running maximum as a line.

    Parameters
    ----------
    found : mapping
        Name of a check -> its details; the checks in `PANELS` are plotted.
    note : str
        Device and libraries.
    path : path-like
        PNG file to write.
    """
    shown = {name: found[name] for name in PANELS if name in found}
    figure = plots.new_figure((3.7 * len(shown) + 1.4, 5.2), finding(shown))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, details) in zip(panels, shown.items(), strict=True):
        _panel(axes, name, details)
    panels[0].set_ylabel("distance as a share of the loss (log scale)")
    words = f"dots: each step; lines: the largest so far; {note}"
    plots.note(figure, textwrap.fill(words, 130))
    plots.save(figure, path)


# Range of the y axis: a smaller difference is none in float64.
LOW, HIGH = 1e-16, 1.0
COLORS = {NUMPY.label: plots.QUIET, EAGER.label: plots.LOSS, CAPTURED.label: plots.SCORE}


def _panel(axes: Axes, name: str, details: Mapping[str, Any]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    dtype, activation = name.partition(",")[0], PANELS[name]
    steps = np.arange(1, len(details[CAPTURED.label]) + 1)
    lines = {label: (np.maximum(details[label], LOW), color) for label, color in COLORS.items() if label in details}
    for label, (values, color) in lines.items():
        axes.plot(steps, values, ".", ms=2.5, color=color, alpha=0.4, mew=0)
        own = f"{label} in {dtype}" if label == NUMPY.label else label
        axes.plot(steps, np.maximum.accumulate(values), color=color, lw=1.8, label=own)
    if "bound" in details:
        axes.plot(steps, details["bound"], "--", color=plots.INK, lw=1.2, label="allowed")
    else:
        words = "a unit whose input is next to zero\nmay fall on either side of it"
        axes.text(0.02, 0.97, words, transform=axes.transAxes, va="top", fontsize=plots.SMALL, color=plots.QUIET)
    axes.set(yscale="log", ylim=(LOW / 3, HIGH), xlim=(0, steps[-1]))
    axes.yaxis.set_major_locator(FixedLocator([10.0**power for power in range(-16, 1, 2)]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(f"{dtype}, {activation}", loc="left", fontsize=plots.TEXT, color=plots.INK)
    axes.set_xlabel("step")
    axes.tick_params(length=0)
    axes.grid(axis="y", color=plots.FAINT, lw=0.7)
    axes.spines[:].set_visible(False)
    # Placed away from the lines.
    axes.legend(
        loc="center" if dtype == "float64" else "lower center", fontsize=plots.SMALL, frameon=False,
        labelcolor="linecolor", handlelength=1.2, reverse=True,
    )  # fmt: skip
