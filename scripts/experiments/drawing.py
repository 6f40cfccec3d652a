"""Style shared by the plots of several experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpgpu import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dress(axes: Axes, *shown: str) -> None:
    """Style axes plainly, and draw only the named spines: ``left``, ``bottom``."""
    axes.tick_params(labelsize=plots.SMALL, colors=plots.INK)
    for name, side in axes.spines.items():
        side.set_visible(name in shown)
        side.set_color(plots.QUIET)
