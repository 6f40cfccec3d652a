"""Plot of a study: samples per second against batch size, one line per device."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu import plots
from mlpgpu.throughput.contenders import Contender
from mlpgpu.throughput.crossing import crossings, rounded
from mlpgpu.throughput.measure import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# The palette of Okabe and Ito. The first is for the CPU.
COLORS = (plots.SCORE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", plots.QUIET)
MAX_TICKS = 7


def draw(
    points: Sequence[Point], contenders: Sequence[Contender], path: plots.PathLike | None = None, *, title: str = ""
) -> "Figure":
    """Draw samples per second by batch size: the median as a line, lowest to highest measurement as a band.

    Parameters
    ----------
    points : sequence of Point
        At least one, in ascending order of batch size.
    contenders : sequence of Contender
    path, title
        As for `mlpgpu.plots.curves`.
    """
    figure = plots.new_figure((8, 5), title)
    axes = figure.add_subplot(xscale="log", yscale="log")
    sizes, ends = [point.batch_size for point in points], []
    for who, color in zip(contenders, itertools.cycle(COLORS), strict=False):
        rates = np.asarray([point.rates[who.label] for point in points])
        medians = np.median(rates, axis=1)
        axes.fill_between(sizes, rates.min(axis=1), rates.max(axis=1), color=color, alpha=0.15, lw=0)
        axes.plot(sizes, medians, "-o", color=color, lw=2, ms=4, label=who.label)
        ends.append((float(medians[-1]), who.label, color))
    _scale(axes, sizes, max(len(who.label) for who in contenders))
    _name_lines(axes, sizes[-1], ends)
    found = crossings(points, contenders)
    _mark(axes, points, [(each.batch_size, each.cpu) for each in found if each.batch_size and not each.everywhere])
    notes = [*(who.description for who in contenders), "medians, between lowest and highest"]
    plots.note(figure, textwrap.fill("; ".join(notes), 96))
    return plots.save(figure, path)


def _scale(axes: "Axes", sizes: Sequence[int], longest: int) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    span = max(sizes[-1] / sizes[0], 2)
    # Leaves room to the right of the largest batch for names of length `longest`.
    axes.set_xlim(sizes[0] / span**0.02, sizes[-1] * span ** (0.05 + 0.018 * longest))
    axes.set_xticks(sizes[:: -(-len(sizes) // MAX_TICKS)])
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 1000 * low else (1.0, 2.0, 5.0)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(xlabel="batch size in rows (log scale)", ylabel="samples per second (log scale)")
    axes.grid(axis="y", color=plots.FAINT, lw=0.7)
    plots.baseline(axes)


def _name_lines(axes: "Axes", size: int, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label each line to the right of its end at `size`; labels of close ends are moved apart."""
    to_axes = axes.transScale + axes.transLimits
    positions = [to_axes.transform((size, rate)) for rate, _, _ in ends]
    heights = plots.apart([float(height) for _, height in positions], 0.06)
    leader = {"arrowstyle": "-", "color": plots.FAINT, "shrinkA": 0, "shrinkB": 3}
    for (rate, label, color), (x, _), height in zip(ends, positions, heights, strict=True):
        axes.annotate(
            label, (size, rate), (x + 0.03, height), textcoords=axes.transAxes, va="center", color=color,
            fontsize=plots.SMALL, arrowprops=leader,
        )  # fmt: skip


def _mark(axes: "Axes", points: Sequence[Point], found: Sequence[tuple[float, str]]) -> None:
    """Mark the batch sizes where lines cross that of a CPU; labels of close crossings are moved apart."""
    sizes, to_axes = [point.batch_size for point in points], axes.transScale + axes.transLimits
    positions = plots.apart([float(to_axes.transform((size, 1))[0]) for size, _ in found], 0.14)
    for (size, cpu), x in zip(found, positions, strict=True):
        rates = np.log([point.median(cpu) for point in points])
        rate = float(np.exp(np.interp(np.log(size), np.log(sizes), rates)))
        axes.axvline(size, color=plots.QUIET, lw=1, zorder=0)
        axes.plot(size, rate, "o", color=plots.INK, ms=8, mfc="white", label="crossing")
        text, transform = f"batch ~{rounded(size)}", axes.transAxes
        axes.text(x, 1.015, text, transform=transform, ha="center", fontsize=plots.SMALL, color=plots.INK)
