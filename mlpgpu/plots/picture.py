"""The figure of all plots: with fonts for all its characters, and shown by a notebook."""

import io
import warnings
from typing import Any

from matplotlib.figure import Figure

from mlpgpu.plots import glyphs
from mlpgpu.plots.style import INK, SMALL, TEXT


class Picture(Figure):
    """Figure that a notebook shows as the result of a cell, even if Pyplot, which keeps global state, is not used."""

    def add_subplot(self, *args: Any, **given: Any) -> Any:
        """Add axes, whose labels and ticks have the sizes and the colour of those in all plots, over their grid."""
        axes = super().add_subplot(*args, **given)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set(fontsize=TEXT, color=INK)
        axes.tick_params(labelsize=SMALL, colors=INK)
        axes.set_axisbelow(True)
        return axes

    def draw(self, renderer: Any) -> None:
        """Draw the figure; characters that no font has are boxes, which is no reason for a warning."""
        glyphs.give(self)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi="figure")
        return file.getvalue()
