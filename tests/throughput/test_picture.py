"""The figure of the throughput by batch size."""

import itertools

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.text import Text

from mlpgpu.throughput.contenders import Contender
from mlpgpu.throughput.measure import Point
from mlpgpu.throughput.picture import draw

SIZES = [2**power for power in range(4, 15)]


def contenders(*labels):
    return [Contender(label, label.split()[-1], "auto", f"{label}, Fake") for label in labels]


def points(sizes=SIZES, **powers):
    """Return points of three rates each that grow as a power of the batch size: label -> (rate at size 1, power)."""
    return [
        Point(
            size,
            {k.replace("_", ":"): [f * at * size**power for f in (0.9, 1, 1.2)] for k, (at, power) in powers.items()},
        )
        for size in sizes
    ]


def both(sizes=SIZES):
    return draw(points(sizes, cpu=(1000, 0.3), cuda_0=(100, 0.8)), contenders("cpu", "cuda:0"), title="a title")


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def test_each_device_is_a_line_of_medians_in_a_band_of_all():
    figure = both()
    axes = figure.axes[0]
    for label, band, (at, power) in zip(("cpu", "cuda:0"), axes.collections, ((1000, 0.3), (100, 0.8)), strict=True):
        medians = at * np.array(SIZES) ** power
        line = lines(figure)[label]
        np.testing.assert_allclose(line.get_xdata(), SIZES)
        np.testing.assert_allclose(line.get_ydata(), medians)
        box = band.get_datalim(axes.transData)
        assert (box.y0, box.y1) == pytest.approx((0.9 * medians.min(), 1.2 * medians.max()))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert figure.get_suptitle() == "a title"
    assert "cuda:0, Fake" in figure.get_supxlabel()


def test_the_crossing_is_marked_where_the_lines_meet():
    # 1000 b^0.3 = 100 b^0.8
    figure = both()
    ((x,), (y,)) = lines(figure)["crossing"].get_data()
    assert (x, y) == pytest.approx((100, 1000 * 100**0.3))
    assert "batch ~100" in [text.get_text() for text in figure.axes[0].texts]


def test_crossings_that_lie_close_are_told_apart():
    rates = {"cpu": (1000, 0.3), "cuda_0": (100, 0.8), "cuda_1": (102, 0.8)}
    figure = draw(points(**rates), contenders("cpu", "cuda:0", "cuda:1"))
    figure.draw_without_rendering()
    words = [text for text in figure.axes[0].texts if text.get_text().startswith("batch")]
    assert sorted(text.get_text() for text in words) == ["batch ~100", "batch ~96"]
    assert not words[0].get_window_extent().overlaps(words[1].get_window_extent())


@pytest.mark.parametrize("at", [1e-3, 1e6])
def test_without_a_crossing_there_is_no_mark(at):
    figure = draw(points(cpu=(1000, 0.3), cuda_0=(at, 0.3)), contenders("cpu", "cuda:0"))
    assert "crossing" not in lines(figure)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["cpu", "cuda:0"]


@pytest.mark.parametrize("sizes", [SIZES, SIZES[:2], [16]], ids=len)
def test_names_stand_inside_and_apart(sizes):
    names = ["cpu", "cuda:0", "cuda:1", "jax cuda:1"]
    rates = {name: [5e4] for name in names}
    figure = draw([Point(size, rates) for size in sizes], contenders(*names))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    # The extents of the text alone: those of annotations include their leader lines.
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    end = axes.transData.transform((sizes[-1], 5e4))[0]
    assert all(end < box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
    assert len({line.get_color() for line in axes.get_lines()}) == len(names)


def test_ticks_are_batch_sizes_that_were_measured_and_can_be_read():
    figure = both()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert set(axes.get_xticks()) <= set(SIZES)
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(boxes) > 3
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert "1,024" in [label.get_text() for label in axes.get_xticklabels()]


def test_more_devices_than_colours_and_more_sizes_than_ticks():
    names, sizes = ["cpu", *(f"cuda:{number}" for number in range(8))], [2**power for power in range(21)]
    rates = {name: [1e4 * (1 + number)] for number, name in enumerate(names)}
    figure = draw([Point(size, rates) for size in sizes], contenders(*names))
    figure.draw_without_rendering()
    assert set(names) <= lines(figure).keys()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_the_file_is_a_picture(tmp_path):
    draw(points(cpu=(1000, 0.3)), contenders("cpu"), tmp_path / "a.png", title="")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
