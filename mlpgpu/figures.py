"""Losses, scores and counts as text, with decimals that suit their magnitude, and as JSON, even if not finite."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any


def in_words(figure: float | None, decimals: int = 4) -> str:
    """Format `figure` with `decimals` if they suit its magnitude, else by `in_digits`."""
    plain = figure is not None and (figure == 0 or 0.001 <= abs(figure) < 1000)
    return f"{figure:.{decimals}f}" if plain else in_digits(figure)


def or_undefined(figure: float | None) -> str:
    """Format a figure by `in_words`; None, as for R² of one row or ROC AUC of one class, becomes ``undefined``."""
    return "undefined" if figure is None else in_words(figure)


def in_digits(figure: float | None) -> str:
    """Format `figure` with four significant digits or all before the point; None, as JSON has NaN, becomes ``nan``."""
    if figure is None:
        return "nan"
    return f"{figure:,.0f}" if 1000 <= abs(figure) < 1e9 else f"{figure:.4g}"


def spoken(
    called: str,
    name: str,
    words: Callable[[Any], str],
    figures: Mapping[str, Any],
    spread: Mapping[str, Any] | None = None,
) -> str:
    """Format one of `figures` after what it is called, and followed by its `spread`, if given."""
    more = "" if spread is None or spread[name] is None else f" ± {words(spread[name])}"
    return f"{called} {words(figures[name])}{more}"


def counted(n: int, noun: str) -> str:
    """Format a number of things, such as ``1 step`` or ``1,250 steps``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def as_json(found: Any, indent: int | None = None) -> str:
    """Return `found` as JSON, with null for numbers that are not finite, which JSON cannot represent (RFC 8259)."""
    return json.dumps(_finite(found), indent=indent, allow_nan=False)


def _finite(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _finite(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found
