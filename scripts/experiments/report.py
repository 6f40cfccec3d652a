"""A report in Markdown, with its pictures in the same folder."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlpgpu import machine, plots
from mlpgpu.files import out_folder, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Report:
    """Text, tables and pictures in order, written together at the end.

    Parameters
    ----------
    title : str
    name : str
        Name of the file without extension, and prefix of the names of its pictures.
    folder : path
        Output folder; created if it does not exist.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """

    def __init__(self, title: str, name: str, folder: Path) -> None:
        self.name, self.folder = name, out_folder(folder, name)
        self._parts = [f"# {title}"]

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs of Markdown."""
        self._parts += paragraphs

    def heading(self, words: str) -> None:
        """Begin a section."""
        self._parts.append(f"## {words}")

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table, with the first column left-aligned and the others right-aligned."""
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
        self._parts.append("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))

    def picture(self, figure: Figure, name: str, alt: str) -> None:
        """Save a picture and add it; `alt` is its alternative text."""
        path = self.folder / f"{self.name}-{name}.png"
        plots.save(figure, path)
        self._parts.append(f"![{alt}]({path.name})")

    def code(self, text: str, language: str = "") -> None:
        """Add a code block."""
        self._parts.append(f"```{language}\n{text.rstrip()}\n```")

    def write(self, command: str, seconds: float) -> Path:
        """Write the report, with the command, duration and machine that made it; return its path."""
        known = machine.describe()
        versions = ", ".join(f"{name} {known['versions'][name]}" for name in ("mlpgpu", "numpy", "scikit-learn"))
        cuda = "".join(f", {device['name']}" for device in known["cuda"])
        made = (
            f"Made by `{command}` in {seconds:,.0f} s on {known['cpu']}, {known['cores']} cores{cuda}; "
            f"Python {platform.python_version()}, {versions}."
        )
        path = self.folder / f"{self.name}.md"
        with replacing(path) as unfinished:
            unfinished.write_text("\n\n".join([*self._parts, made]) + "\n", encoding="utf-8")
        return path
