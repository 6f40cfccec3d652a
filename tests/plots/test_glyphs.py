"""The fonts that are chosen for the characters of a figure; the tests make their own fonts."""

import io
import itertools
import warnings

import numpy as np
import pytest

from mlpgpu import plots
from mlpgpu.plots import glyphs

matplotlib = pytest.importorskip("matplotlib")
from matplotlib import font_manager  # noqa: E402


@pytest.fixture
def installed(monkeypatch):
    """``installed(family=characters)`` simulates the fonts that are installed besides Matplotlib's own."""

    def install(**known):
        own = glyphs._known
        monkeypatch.setattr(glyphs, "_installed", lambda: {family: family for family in known})
        monkeypatch.setattr(
            glyphs, "_known", lambda path, text: set(text) & set(known[path]) if path in known else own(path, text)
        )

    return install


def test_no_more_fonts_than_it_takes(installed):
    installed(one="大小", two="大小中한", three="a한글", four="z")
    assert glyphs._families("größer") == ([], set())
    assert glyphs._families("大小中\n") == (["two"], set())
    assert glyphs._families("大글") == (["one", "three"], set())
    assert glyphs._families("a大글中") == (["two", "three"], set())
    assert glyphs._families("a大?ไไ") == (["one"], {"ไ"})
    assert glyphs.lacking("大ไ木") == {"ไ", "木"}


def test_latin_names_open_no_other_font(monkeypatch):
    monkeypatch.setattr(glyphs, "_installed", lambda: pytest.fail("looked for other fonts"))
    assert glyphs.lacking("größer, Ελλάδα, кошка: 12.5 % ± 3 →") == set()
    glyphs.give(plots.confusion(np.eye(2, dtype=int), ["größer", "smaller"], title="a title"))


def test_a_font_that_only_draws_boxes_does_not_count():
    assert glyphs.lacking("\U00012000") == {"\U00012000"}


def test_a_font_that_is_gone_or_broken_has_nothing(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    for name in ("gone.ttf", "broken.ttf"):
        assert glyphs._known(str(tmp_path / name), "a") == set()


@pytest.fixture
def chinese(tmp_path, monkeypatch):
    """Family name of an installed font with two characters."""
    builder = pytest.importorskip("fontTools.fontBuilder", reason="fontTools is not installed")
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")
    pen = pens.TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((900, 0), (900, 900), (0, 900)):
        pen.lineTo(point)
    pen.closePath()
    font, names, square = builder.FontBuilder(1000), [".notdef", "big", "tree"], pen.glyph()
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord("大"): "big", ord("木"): "tree"})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Two Trees", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "two.ttf")
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    manager.addfont(tmp_path / "two.ttf")
    return "Two Trees"


def test_a_picture_takes_the_fonts_that_its_names_need(chinese, tmp_path):
    figure = plots.confusion(np.eye(3, dtype=int), ["大木", "木", "small"], title="大 and small")
    plots.save(figure, tmp_path / "confusion.png")
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["大木", "木", "small"]
    assert all(text.get_fontfamily()[-1] == chinese for text in (*labels, figure._suptitle))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO())


def test_names_that_no_font_has_are_numbered_without_a_warning(tmp_path, recwarn):
    figure = plots.confusion(np.eye(3, dtype=int), ["\U00012000", "small", "\U00012001"], title="title")
    plots.save(figure, tmp_path / "confusion.png")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["1: \U00012000", "small", "3: \U00012001"]
    assert not list(recwarn)


@pytest.mark.parametrize("k", [2, 7])
def test_wide_names_do_not_overlap(chinese, k):
    figure = plots.confusion(np.eye(k, dtype=int), ["大木" * 3 + str(i) for i in range(k)], title="title")
    glyphs.give(figure)
    figure.draw_without_rendering()
    across = figure.axes[0].get_xticklabels()
    boxes = [label.get_window_extent() for label in across]
    assert across[0].get_rotation() or not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
