"""The curves of a run: their lines, names, scales and ticks."""

import math

import numpy as np
import pytest
from drawn import all_boxes, lines, mnist, records, size_of, texts
from matplotlib.text import Text

from mlpgpu import InputError, plots


def test_curves_show_the_history():
    history = mnist()
    figure = plots.curves(history, title="a title")
    loss, score = figure.axes
    drawn = lines(figure)
    for name, key, scale in [
        ("train loss", "loss", 1),
        ("validation loss", "validation_loss", 1),
        ("train accuracy", "train_accuracy", 100),
        ("validation accuracy", "validation_accuracy", 100),
    ]:
        assert list(drawn[name].get_xdata()) == list(range(1, 21))
        np.testing.assert_allclose(drawn[name].get_ydata(), [record[key] * scale for record in history])
        assert drawn[name].get_marker() == ""
    assert figure.get_suptitle() == "a title"
    assert loss.get_ylabel() == "loss"
    assert score.get_ylabel() == "accuracy"
    assert loss.get_xlabel() == "epoch"


def test_a_history_is_records():
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no data frames")
    frame = pd.DataFrame(mnist())
    drawn, expected = lines(plots.curves(frame.to_dict("records"))), lines(plots.curves(mnist()))
    for name in ("train loss", "validation accuracy"):
        np.testing.assert_array_equal(drawn[name].get_ydata(), expected[name].get_ydata())
    for given, said in ((frame, "DataFrame"), (object(), "object"), (list(frame), "list")):
        with pytest.raises(
            InputError, match=f"history is of type {said}; allowed: a list with a record of each epoch, such as"
        ):
            plots.curves(given)


def test_colour_tells_loss_from_score_and_style_tells_train_from_validation():
    figure = plots.curves(mnist())
    drawn = lines(figure)
    loss, score = figure.axes
    assert plots.LOSS != plots.SCORE
    for axes, name, color in [(loss, "loss", plots.LOSS), (score, "accuracy", plots.SCORE)]:
        assert {drawn[f"train {name}"].get_color(), drawn[f"validation {name}"].get_color()} == {color}
        assert axes.yaxis.label.get_color() == color
        assert {label.get_color() for label in axes.get_yticklabels()} == {color}
        assert drawn[f"train {name}"].get_linestyle() == "--"
        assert drawn[f"validation {name}"].get_linestyle() == "-"


def test_lines_are_named_at_their_ends_with_the_last_value():
    figure = plots.curves(mnist())
    loss, score = figure.axes
    assert set(texts(loss)) == {"train 0.120", "validation 0.0850", "lowest validation loss 0.0800, epoch 10"}
    assert set(texts(score)) == {"train 96.65 %", "validation 98.15 %"}
    # Each is to the right of the last epoch, inside the axes.
    figure.draw_without_rendering()
    edge = loss.transData.transform((20, 0))[0]
    for box in (
        Text.get_window_extent(text) for axes in (loss, score) for text in axes.texts if "lowest" not in text.get_text()
    ):
        assert edge < box.x0
        assert box.x1 < loss.bbox.x1


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(mnist(), id="twenty"),
        pytest.param(mnist(1), id="one"),
        pytest.param(mnist(300), id="three hundred"),
        pytest.param(
            records(9, loss=0.5, validation_loss=0.5, train_accuracy=0.5, validation_accuracy=0.5),
            id="all ends meet",
        ),
        pytest.param(
            records(9, loss=1.0, validation_loss=1.0, train_r2=1.0, validation_r2=1.0),
            id="all ends meet at the top",
        ),
        pytest.param(records(9, loss=math.nan, validation_loss=math.nan), id="never finite"),
    ],
)
def test_names_do_not_overlap(history):
    boxes = all_boxes(plots.curves(history, title="title"))
    assert len(boxes) >= 2
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert box.x0 >= 0
        assert box.x1 <= 1200
        assert box.y0 >= 0
        assert box.y1 <= 750


def test_a_name_stands_at_the_height_of_its_line():
    figure = plots.curves(records(5, loss=lambda e: 1 / e, validation_loss=2.0))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for text, value in zip(axes.texts, (0.2, 2.0), strict=False):
        box = Text.get_window_extent(text)
        assert (box.y0 + box.y1) / 2 == pytest.approx(axes.transData.transform((5, value))[1], abs=20)


@pytest.mark.parametrize(("ratio", "scale"), [(9, "linear"), (11, "log"), (1e5, "log")])
def test_loss_is_on_a_log_scale_past_a_decade(ratio, scale):
    figure = plots.curves(records(2, loss=[ratio * 0.013, 0.013]))
    axes = figure.axes[0]
    assert axes.get_yscale() == scale
    assert ("log" in axes.get_ylabel()) == (scale == "log")
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert 3 <= len(ticks) <= 10


def test_loss_with_zero_stays_linear():
    assert plots.curves(records(2, loss=[1.0, 0.0])).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("first", "last", "limits"),
    [
        (0.92, 0.985, (92, 100)),
        (0.981, 0.983, (95, 100)),
        (0.42, 0.57, (40, 60)),
        (1.0, 1.0, (95, 100)),
        (0.0, 0.0, (0, 5)),
        (0.1, 0.98, (0, 100)),
    ],
)
def test_accuracy_is_zoomed_but_covers_the_curve_and_at_least_five_points(first, last, limits):
    history = records(2, loss=[1.0, 0.5], train_accuracy=[first, last])
    low, high = plots.curves(history).axes[1].get_ylim()
    margin = 0.02 * (limits[1] - limits[0])
    assert low <= 100 * first <= 100 * last <= high
    assert high - low >= 5
    assert (low, high) == pytest.approx((limits[0] - margin, limits[1] + margin), abs=2.1)
    assert high <= 100 + 2 * margin


def test_accuracy_ticks_are_in_per_cent():
    figure = plots.curves(mnist())
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert "92 %" in labels


def test_very_negative_r2_is_cut_and_said_to_be():
    history = records(3, loss=[9.0, 8.0, 7.0], train_r2=[-50.0, 0.2, 0.7], validation_r2=[-60.0, 0.1, 0.6])
    axes = plots.curves(history).axes[1]
    assert "below -1 not drawn" in axes.get_ylabel()
    assert -1.1 < axes.get_ylim()[0] < -1
    assert axes.get_ylim()[1] < 1.1
    assert set(texts(axes)) == {"train 0.700", "validation 0.600"}


def test_an_r2_of_many_digits_is_short():
    axes = plots.curves(records(2, loss=[9.0, 8.0], train_r2=[-9.0, -865515772917.908])).axes[1]
    assert texts(axes) == ["train -8.655e+11"]


@pytest.mark.parametrize("r2", [[-0.5, 0.2], [-9.0, -3.0]])
def test_r2_that_is_never_far_above_its_start_is_drawn_whole(r2):
    axes = plots.curves(records(2, loss=[9.0, 8.0], train_r2=r2)).axes[1]
    assert axes.get_ylabel() == "R²"
    assert axes.get_ylim()[0] <= r2[0] < r2[1] <= axes.get_ylim()[1]


def test_no_validation_no_mark():
    figure = plots.curves(records(4, loss=lambda e: 1 / e))
    assert list(lines(figure)) == ["train loss"]
    assert texts(figure.axes[0]) == ["train 0.250"]


@pytest.mark.parametrize(("best", "side"), [(2, "left"), (18, "right")])
def test_best_epoch_is_that_of_the_lowest_finite_validation_loss(best, side):
    values = [math.nan, *(1.0 + abs(e - best) for e in range(2, 21))]
    figure = plots.curves(records(20, loss=1.0, validation_loss=values))
    mark = lines(figure)["best"]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (best, 1.0)
    (text,) = [text for text in figure.axes[0].texts if "lowest" in text.get_text()]
    assert text.get_text() == f"lowest validation loss 1.00, epoch {best}"
    assert text.get_ha() == side
    assert all(box.x0 >= 0 and box.x1 <= 1200 for box in all_boxes(figure))


def test_one_epoch_has_markers_and_no_best():
    drawn = lines(plots.curves(mnist(1)))
    assert set(drawn) == {"train loss", "validation loss", "train accuracy", "validation accuracy"}
    assert {line.get_marker() for line in drawn.values()} == {"o"}
    assert drawn["train loss"].get_markerfacecolor() != drawn["validation loss"].get_markerfacecolor()


def test_validation_now_and_then_is_still_a_line():
    history = records(6, loss=lambda e: 1 / e)
    for record in history[1::2]:
        record["validation_loss"] = 1.0
    history[0]["validation_loss"] = None
    assert lines(plots.curves(history))["validation loss"].get_xdata().tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("bad", "finite"), [(math.nan, 0), (math.inf, 1), (-math.inf, 4), (math.nan, 4), (math.inf, 0)]
)
def test_losses_that_are_not_finite_are_said_not_drawn(tmp_path, bad, finite):
    history = records(
        6,
        loss=lambda e: 1 / e if e <= finite else bad,
        validation_loss=lambda e: 2 / e,
        train_accuracy=lambda e: 0.5 if e <= finite else bad,
        validation_accuracy=0.5,
    )
    plots.curves(history, tmp_path / "curves.png", title="diverged")
    figure = plots.curves(history, title="diverged")
    assert "train not finite" in texts(figure.axes[0])
    assert np.isfinite(lines(figure)["train loss"].get_ydata()).sum() == finite
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_nothing_finite_has_no_made_up_scale(tmp_path):
    history = records(2, loss=math.nan, train_r2=math.nan)
    plots.curves(history, tmp_path / "curves.png", title="")
    assert list(plots.curves(history).axes[0].get_yticks()) == []


def test_no_epochs_is_an_empty_picture(tmp_path):
    plots.curves([], tmp_path / "curves.png", title="nothing yet")
    assert size_of(tmp_path / "curves.png") == (1200, 750)


@pytest.mark.parametrize("epochs", [1, 2, 5, 20, 300])
def test_epoch_ticks_are_epochs_of_the_run(epochs):
    ticks = plots.curves(mnist(epochs)).axes[0].get_xticks()
    assert ticks[0] == 1
    assert ticks[-1] <= epochs
    assert all(tick == int(tick) for tick in ticks)
    assert epochs < 5 or len(ticks) >= 4


def test_long_titles_stay_inside():
    figure = plots.curves(mnist(), title="A finding that needs many more words than one line of the picture has " * 2)
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= 1200
    assert "\n" in figure.get_suptitle()
