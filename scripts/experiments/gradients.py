"""Gradient checks by central differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np


def central_differences(
    loss: Callable[[np.ndarray], float], params: np.ndarray, places: Iterable[int], step: float
) -> np.ndarray:
    """Return ``(loss(p + h e_i) - loss(p - h e_i)) / 2h`` for each index i in `places`; `params` is float64."""

    def moved(place: int, by: float) -> float:
        at = params.copy()
        at[place] += by
        return float(loss(at))

    return np.asarray([(moved(place, step) - moved(place, -step)) / (2 * step) for place in places])


def relative_error(found: np.ndarray, true: np.ndarray) -> float:
    """Return ``|found - true| / |true|``."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))
