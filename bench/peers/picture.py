"""Plot the seconds per epoch by batch size: dots for medians, bars from minimum to maximum."""

import itertools
import statistics

from mlpgpu import plots
from peers.contestants import CONTESTANTS
from peers.figures import counts, finding

TICKS = [base * 10.0**power for power in range(-4, 5) for base in (1, 2, 5)]
# Width of the names to the right of the last batch size, in distances between batch sizes.
NAMES_WIDTH = 1.6


def draw(played, note, path):
    """Write the PNG: a panel for each network, that with the most batch sizes last, where lines are labelled."""
    panels = [list(group) for _, group in itertools.groupby(played, key=lambda pair: pair[0].network)]
    panels.sort(key=len)
    figure = plots.new_figure((11, 6.5), finding(played))
    widths = [len(group) + 0.3 for group in panels]
    widths[-1] += NAMES_WIDTH
    all_axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for axes, group in zip(all_axes, panels, strict=True):
        _panel(axes, group)
    _name_lines(all_axes[-1], panels[-1])
    all_axes[0].set_ylabel("seconds per epoch (log scale)")
    plots.note(figure, f"dots: medians; bars: least to most; {note}")
    plots.save(figure, path)


def _points(group):
    """Return name -> [(place, seconds), ...] of all but mlpgpu's fits, which would overlap its epochs."""
    shown = [name for name, known in CONTESTANTS.items() if not (known.own and known.lane == "fit")]
    series = {
        name: [(place, results[name].seconds) for place, (_, results) in enumerate(group) if counts(results, name)]
        for name in shown
    }
    return {name: points for name, points in series.items() if points}


def _panel(axes, group):
    for name, points in _points(group).items():
        known = CONTESTANTS[name]
        places, medians = zip(*((place, statistics.median(seconds)) for place, seconds in points), strict=True)
        style = {"ls": "--" if known.lane == "floor" else "-", "lw": 2.4 if known.own else 1.3}
        axes.plot(places, medians, color=known.color, marker="o", ms=6, zorder=3 + known.own, **style)
        for place, seconds in points:
            axes.plot([place] * 2, [min(seconds), max(seconds)], color=known.color, lw=5, alpha=0.35, zorder=2)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in TICKS if low <= tick <= high])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set_ylim(low, high)
    axes.set_title(group[0][0].network, loc="left", fontsize=plots.TEXT, color=plots.INK)
    axes.set_xticks(range(len(group)), [f"{problem.batch_size:,}" for problem, _ in group])
    axes.set_xlim(-0.4, len(group) - 0.6)
    axes.set_xlabel("batch size")
    axes.grid(axis="y", color=plots.FAINT, lw=0.7)
    axes.spines[:].set_visible(False)


def _name_lines(axes, group):
    """Label each line to the right of its last dot, with labels moved apart if dots are close."""
    axes.set_xlim(right=len(group) - 0.6 + NAMES_WIDTH)
    axes.xaxis.label.set_x((len(group) + 0.3) / (len(group) + 0.3 + NAMES_WIDTH) / 2)
    lasts = {name: points[-1] for name, points in _points(group).items()}
    ends = {name: (place, statistics.median(seconds)) for name, (place, seconds) in lasts.items()}
    to_height = axes.transScale + axes.transLimits
    heights = plots.apart([float(to_height.transform(end)[1]) for end in ends.values()], 0.055)
    for (name, end), height in zip(ends.items(), heights, strict=True):
        known = CONTESTANTS[name]
        axes.annotate(
            known.label, end, (len(group) - 0.6, height), textcoords=axes.get_xaxis_transform(), va="center",
            color=known.color, fontsize=plots.SMALL, fontweight="bold" if known.own else "normal",
            arrowprops={"arrowstyle": "-", "color": plots.FAINT, "shrinkA": 2, "shrinkB": 5, "relpos": (0, 0.5)},
        )  # fmt: skip
