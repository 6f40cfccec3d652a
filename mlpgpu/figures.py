"""Losses and scores in words, whatever their size."""

__all__ = ["in_words"]


def in_words(figure: float, decimals: int = 4) -> str:
    """`figure` with `decimals`, where it has a size that they suit."""
    size = abs(figure)
    if 1000 <= size < 1e9:
        return f"{figure:,.0f}"
    return f"{figure:.{decimals}f}" if size == 0 or 0.001 <= size < 1000 else f"{figure:.4g}"
