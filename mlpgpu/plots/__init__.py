"""Plots of a run: learning curves, confusion matrix, predicted against true values.

Each function builds a figure (``*_figure``), which a notebook shows, and saves it as a PNG, atomically. The other plots
of the package use the colours, the sizes, `new_figure`, `apart` and `save` of `style`. Matplotlib is an optional
dependency: it is imported where it is used. Pyplot, which keeps global state, is not used.
"""

from mlpgpu.plots.confusion_picture import confusion, confusion_figure
from mlpgpu.plots.curves_picture import STYLES, curves, curves_figure
from mlpgpu.plots.predictions_picture import predictions, predictions_figure
from mlpgpu.plots.style import (
    FAINT,
    INK,
    LOSS,
    QUIET,
    SCORE,
    SMALL,
    TEXT,
    TITLE,
    PathLike,
    apart,
    available,
    new_figure,
    save,
    written,
)

__all__ = [
    "FAINT", "INK", "LOSS", "QUIET", "SCORE", "SMALL", "STYLES", "TEXT", "TITLE", "PathLike", "apart", "available",
    "confusion", "confusion_figure", "curves", "curves_figure", "new_figure", "predictions", "predictions_figure",
    "save", "written",
]  # fmt: skip
