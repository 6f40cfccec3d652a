"""Histories to draw, and what a figure or a file of one shows."""

import struct

import pytest

pytest.importorskip("matplotlib")
from matplotlib.text import Text


def records(epochs, **quantities):
    """A history in which each quantity is a number, a list, or a function of the epoch."""
    return [
        {"epoch": e, "learning_rate": 0.1}
        | {
            name: value[e - 1] if isinstance(value, list) else value(e) if callable(value) else value
            for name, value in quantities.items()
        }
        for e in range(1, epochs + 1)
    ]


def mnist(epochs=20):
    return records(
        epochs,
        loss=lambda e: 0.10 + 0.4 / e,
        validation_loss=lambda e: 0.06 + 0.1 / e + 0.001 * e,
        train_accuracy=lambda e: 0.97 - 0.07 / e,
        validation_accuracy=lambda e: 0.983 - 0.03 / e,
    )


def lines(figure):
    return {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def all_boxes(figure):
    """Return the boxes of the labels of lines in pixels, after layout."""
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    # The text alone: the extent of an annotation includes its arrow.
    return [Text.get_window_extent(text, renderer) for axes in figure.axes for text in axes.texts]


def size_of(path):
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])
