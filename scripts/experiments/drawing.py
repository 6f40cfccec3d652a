"""Style shared by the plots of several experiments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlpgpu import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dress(axes: Axes, *shown: str) -> None:
    """Style axes plainly, and draw only the named spines: ``left``, ``bottom``."""
    for name, side in axes.spines.items():
        side.set_visible(name in shown)
        side.set_color(plots.QUIET)


def name_lines(axes: Axes, ends: Mapping[str, float], colors: Iterable[str], gap: float) -> None:
    """Label lines to the right of the axes, at the heights where they end, or `gap` apart if those are close."""
    low, high = axes.get_ylim()
    heights = plots.apart([(end - low) / (high - low) for end in ends.values()], gap)
    for name, color, height in zip(ends, colors, heights, strict=False):
        axes.text(1.01, height, name, transform=axes.transAxes, va="center", fontsize=plots.SMALL, color=color)
