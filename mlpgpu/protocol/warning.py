"""Warnings at the line that calls an estimator."""

from __future__ import annotations

import sys
import warnings
from typing import Any

# Modules between that line and the warning: ours, and scikit-learn's wrappers of fit.
BETWEEN = ("mlpgpu.", "sklearn.base", "sklearn.callback")


def warn_user(message: str, category: type[Warning] = UserWarning, module: str | None = None) -> None:
    """Warn at the line that calls the estimator.

    Parameters
    ----------
    message : str
    category : type
    module : str or None
        Name of the module by which programs filter the warning; None for that of the line.
    """
    frame: Any = sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(BETWEEN):
        frame = frame.f_back
    names = frame.f_globals
    registry = names.setdefault("__warningregistry__", {})
    module = module or names.get("__name__")
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)
