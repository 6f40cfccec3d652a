"""Losses and scores in words, whatever their size, and in JSON, whether or not they are numbers."""

import json
import math
from typing import Any

__all__ = ["as_json", "in_digits", "in_words", "r2_in_words"]


def in_words(figure: float | None, decimals: int = 4) -> str:
    """`figure` with `decimals`, where it has a size that they suit; None is what JSON has for what is no number."""
    if figure is None:
        return "nan"
    size = abs(figure)
    if 1000 <= size < 1e9:
        return f"{figure:,.0f}"
    return f"{figure:.{decimals}f}" if size == 0 or 0.001 <= size < 1000 else f"{figure:.4g}"


def r2_in_words(r2: float | None, decimals: int = 4) -> str:
    """`in_words` of an R²; that of a single row is None."""
    return "undefined" if r2 is None else in_words(r2, decimals)


def in_digits(figure: float | None) -> str:
    """Four digits of `figure`; None as for `in_words`."""
    return "nan" if figure is None else f"{figure:.4g}"


def as_json(found: Any, indent: int | None = None) -> str:
    """`found` as JSON, with null for what is no finite number: there is no other word for it (RFC 8259)."""
    return json.dumps(_finite(found), indent=indent, allow_nan=False)


def _finite(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _finite(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found
