"""What the pictures of several experiments share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpgpu import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dress(axes: Axes, *shown: str) -> None:
    """Quiet axes, of whose sides only those named are drawn: ``left``, ``bottom``."""
    axes.tick_params(labelsize=plots.SMALL, colors=plots.INK)
    for name, side in axes.spines.items():
        side.set_visible(name in shown)
        side.set_color(plots.QUIET)
