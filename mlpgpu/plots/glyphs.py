"""Fallback fonts for text that matplotlib's default font has no glyphs for, such as class names in Chinese."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def lacking(text: str) -> set[str]:
    """Return the characters of `text` that no installed font has."""
    return _families(text)[1]


def give(figure: Figure) -> None:
    """Add fallback fonts to each text of a figure, for the characters that its own font lacks."""
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    families, _ = _families("".join(text.get_text() for text in texts))
    if families:
        for text in texts:
            # A figure may be drawn again.
            text.set_fontfamily(list(dict.fromkeys([*text.get_fontfamily(), *families])))


def _families(text: str) -> tuple[list[str], set[str]]:
    """Return a few font families for what the default font lacks of `text`, and the characters that no font has."""
    from matplotlib.font_manager import FontProperties, findfont

    wanted = {character for character in text if character.isprintable()}
    missing = wanted - _known(findfont(FontProperties()), wanted)
    # The default font suffices for most texts: the others are opened only if it does not.
    known = {family: _known(path, missing) for family, path in sorted(_installed().items())} if missing else {}
    families: list[str] = []
    while missing and known:
        best = max(known, key=lambda family: len(known[family] & missing))
        if not known[best] & missing:
            break
        families.append(best)
        missing = missing - known[best]
    return families, missing


def _installed() -> dict[str, str]:
    """Return family -> file of the installed fonts, except Last Resort, which has a box for every character."""
    from matplotlib.font_manager import fontManager

    found = {font.name: font.fname for font in fontManager.ttflist if font.style == "normal"}
    return {family: path for family, path in found.items() if not family.startswith("Last Resort")}


def _known(path: str, characters: Iterable[str]) -> set[str]:
    """Return the characters that the font in a file has."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        # The file was removed since matplotlib listed it, or its format is not supported.
        return set()
    return {character for character in characters if font.get_char_index(ord(character))}
