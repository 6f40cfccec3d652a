"""Plots of a run: learning curves, confusion matrix, predicted against true values.

Each function returns a figure, which a notebook shows, and saves it as a PNG, atomically, if it is given a path. The
other plots of the package use what `style` has. Matplotlib is an optional dependency: it is imported where it is used.
Pyplot, which keeps global state, is not used.
"""

from mlpgpu.plots.confusion_picture import confusion
from mlpgpu.plots.curves_picture import STYLES, curves
from mlpgpu.plots.labels_picture import labels
from mlpgpu.plots.predictions_picture import predictions
from mlpgpu.plots.style import (
    FAINT,
    INK,
    LOSS,
    NO_PICTURES,
    QUIET,
    SCORE,
    SMALL,
    TEXT,
    TITLE,
    PathLike,
    apart,
    available,
    baseline,
    new_figure,
    note,
    save,
    written,
)

__all__ = [
    "FAINT", "INK", "LOSS", "NO_PICTURES", "QUIET", "SCORE", "SMALL", "STYLES", "TEXT", "TITLE", "PathLike", "apart",
    "available", "baseline", "confusion", "curves", "labels", "new_figure", "note", "predictions", "save", "written",
]  # fmt: skip
