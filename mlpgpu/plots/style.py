"""What all plots share: colours, sizes, names in a plot, an empty figure, its note and its file."""

import logging
import os
import re
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import numpy as np

from mlpgpu.errors import one_line
from mlpgpu.files import expanded, replacing
from mlpgpu.plots import glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Vermilion and blue of Okabe and Ito's palette, which colour-blind readers can tell apart. Vermilion is for what
# should be small (loss, errors), blue for what should be large or correct (accuracy, R², predictions).
LOSS, SCORE = "#d55e00", "#0072b2"
INK, QUIET, FAINT = "#222222", "#707070", "#dedede"
TITLE, TEXT, SMALL = 14, 12, 11
# Characters in a line of a title.
WIDTH = 68
NO_PICTURES = "no pictures without matplotlib: pip install 'mlpgpu[plots]'"

PathLike = str | os.PathLike[str]

log = logging.getLogger(__name__)


def available() -> bool:
    """Whether matplotlib can be imported; a warning in the log says why one that is installed cannot be."""
    if find_spec("matplotlib") is None:
        return False
    try:
        import matplotlib.figure  # noqa: F401
    # Of another NumPy, or with an unknown MPLBACKEND, it raises other errors than ImportError.
    except Exception as error:
        log.warning("matplotlib cannot be imported: %s", one_line(error))
        return False
    return True


def new_figure(size: tuple[float, float], title: str) -> "Figure":
    """Return an empty figure of `size` inches; a long title wraps, where possible after a comma, colon or semicolon."""
    from mlpgpu.plots.picture import Picture

    # No figure is then parted from its value.
    parts = re.split(r"(?<=[,:;]) ", title)
    whole = [part.replace(" ", "\xa0") if len(part) <= WIDTH else part for part in parts]
    lines = textwrap.fill(" ".join(whole), WIDTH).replace("\xa0", " ")
    figure = Picture(figsize=size, dpi=150, layout="constrained", facecolor="white")
    figure.suptitle(lines, x=0.012, ha="left", fontsize=TITLE, color=INK, parse_math=False)
    return figure


def save(figure: "Figure", path: PathLike | None) -> "Figure":
    """Write the PNG, if there is a path, atomically: a reader sees the old file or the new one. Return the figure."""
    if path is not None:
        with replacing(expanded(path)) as unfinished:
            figure.savefig(unfinished, format="png", dpi="figure")
    return figure


def note(figure: "Figure", text: str) -> None:
    """Write a note below the axes, at the right."""
    figure.supxlabel(text, x=0.99, ha="right", fontsize=10, color=QUIET)


def baseline(axes: "Axes") -> None:
    """Draw no side of the axes but the bottom one."""
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights in [0, 1] until neighbours are `gap` apart; their order is kept."""
    order = np.argsort(heights, kind="stable")
    moved = [heights[i] for i in order]
    for _ in range(100):
        for i in range(1, len(moved)):
            push = max(gap - moved[i] + moved[i - 1], 0) / 2
            moved[i - 1], moved[i] = max(moved[i - 1] - push, gap / 2), min(moved[i] + push, 1 - gap / 2)
    return [moved[i] for i in np.argsort(order)]


def written(names: Sequence[object]) -> list[str]:
    """Shorten names for a plot, and put a number in front of those that no installed font can render."""
    short = _shortened([" ".join(str(name).split()) for name in names])
    boxes = glyphs.lacking("".join(short))
    return [f"{number}: {name}" if boxes.intersection(name) else name for number, name in enumerate(short, 1)]


def width(name: str) -> int:
    """Return the width in characters; those of Chinese, Japanese and Korean count twice."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in name)


def _shortened(names: list[str]) -> list[str]:
    """Shorten names to at most 18 characters, and keep them distinct."""
    # Long names often differ only at their end.
    ends = [name if len(name) <= 18 else f"{name[:9]}…{name[-8:]}" for name in names]
    start = max(len(os.path.commonprefix(names)) - 4, 0)  # noqa: RUF071
    middles = [f"…{name[start : start + 16]}…" for name in names]
    numbered = [f"{number}: {name[:12]}…" for number, name in enumerate(names, 1)]
    return next((short for short in (ends, middles) if len({*short}) == len(names)), numbered)
