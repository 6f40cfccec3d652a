"""The figure of all plots: with fonts for all its characters, and shown by a notebook."""

import io
import warnings
from typing import Any

from matplotlib.figure import Figure

from mlpgpu.plots import glyphs


class Picture(Figure):
    """Figure that a notebook shows as the result of a cell, even if Pyplot, which keeps global state, is not used."""

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
