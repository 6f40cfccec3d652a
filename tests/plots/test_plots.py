import io
import itertools
import math
import struct
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, r2_score, root_mean_squared_error

from mlpgpu import plots

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.text import Text  # noqa: E402


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


def test_curves_show_the_history():
    history = mnist()
    figure = plots.curves_figure(history, "a title")
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


def test_colour_tells_loss_from_score_and_style_tells_train_from_validation():
    figure = plots.curves_figure(mnist(), "")
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
    figure = plots.curves_figure(mnist(), "")
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
    boxes = all_boxes(plots.curves_figure(history, "title"))
    assert len(boxes) >= 2
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert box.x0 >= 0
        assert box.x1 <= 1200
        assert box.y0 >= 0
        assert box.y1 <= 750


def test_a_name_stands_at_the_height_of_its_line():
    figure = plots.curves_figure(records(5, loss=lambda e: 1 / e, validation_loss=2.0), "")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for text, value in zip(axes.texts, (0.2, 2.0), strict=False):
        box = Text.get_window_extent(text)
        assert (box.y0 + box.y1) / 2 == pytest.approx(axes.transData.transform((5, value))[1], abs=20)


@pytest.mark.parametrize(("ratio", "scale"), [(9, "linear"), (11, "log"), (1e5, "log")])
def test_loss_is_on_a_log_scale_past_a_decade(ratio, scale):
    figure = plots.curves_figure(records(2, loss=[ratio * 0.013, 0.013]), "")
    axes = figure.axes[0]
    assert axes.get_yscale() == scale
    assert ("log" in axes.get_ylabel()) == (scale == "log")
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert 3 <= len(ticks) <= 10


def test_loss_with_zero_stays_linear():
    assert plots.curves_figure(records(2, loss=[1.0, 0.0]), "").axes[0].get_yscale() == "linear"


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
    low, high = plots.curves_figure(history, "").axes[1].get_ylim()
    margin = 0.02 * (limits[1] - limits[0])
    assert low <= 100 * first <= 100 * last <= high
    assert high - low >= 5
    assert (low, high) == pytest.approx((limits[0] - margin, limits[1] + margin), abs=2.1)
    assert high <= 100 + 2 * margin


def test_accuracy_ticks_are_in_per_cent():
    figure = plots.curves_figure(mnist(), "")
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert "92 %" in labels


def test_very_negative_r2_is_cut_and_said_to_be():
    history = records(3, loss=[9.0, 8.0, 7.0], train_r2=[-50.0, 0.2, 0.7], validation_r2=[-60.0, 0.1, 0.6])
    axes = plots.curves_figure(history, "").axes[1]
    assert "below -1 not drawn" in axes.get_ylabel()
    assert -1.1 < axes.get_ylim()[0] < -1
    assert axes.get_ylim()[1] < 1.1
    assert set(texts(axes)) == {"train 0.700", "validation 0.600"}


def test_an_r2_of_many_digits_is_short():
    axes = plots.curves_figure(records(2, loss=[9.0, 8.0], train_r2=[-9.0, -865515772917.908]), "").axes[1]
    assert texts(axes) == ["train -8.655e+11"]


@pytest.mark.parametrize("r2", [[-0.5, 0.2], [-9.0, -3.0]])
def test_r2_that_is_never_far_above_its_start_is_drawn_whole(r2):
    axes = plots.curves_figure(records(2, loss=[9.0, 8.0], train_r2=r2), "").axes[1]
    assert axes.get_ylabel() == "R²"
    assert axes.get_ylim()[0] <= r2[0] < r2[1] <= axes.get_ylim()[1]


def test_no_validation_no_mark():
    figure = plots.curves_figure(records(4, loss=lambda e: 1 / e), "")
    assert list(lines(figure)) == ["train loss"]
    assert texts(figure.axes[0]) == ["train 0.250"]


@pytest.mark.parametrize(("best", "side"), [(2, "left"), (18, "right")])
def test_best_epoch_is_that_of_the_lowest_finite_validation_loss(best, side):
    values = [math.nan, *(1.0 + abs(e - best) for e in range(2, 21))]
    figure = plots.curves_figure(records(20, loss=1.0, validation_loss=values), "")
    mark = lines(figure)["best"]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (best, 1.0)
    (text,) = [text for text in figure.axes[0].texts if "lowest" in text.get_text()]
    assert text.get_text() == f"lowest validation loss 1.00, epoch {best}"
    assert text.get_ha() == side
    assert all(box.x0 >= 0 and box.x1 <= 1200 for box in all_boxes(figure))


def test_one_epoch_has_markers_and_no_best():
    drawn = lines(plots.curves_figure(mnist(1), ""))
    assert set(drawn) == {"train loss", "validation loss", "train accuracy", "validation accuracy"}
    assert {line.get_marker() for line in drawn.values()} == {"o"}
    assert drawn["train loss"].get_markerfacecolor() != drawn["validation loss"].get_markerfacecolor()


def test_validation_now_and_then_is_still_a_line():
    history = records(6, loss=lambda e: 1 / e)
    for record in history[1::2]:
        record["validation_loss"] = 1.0
    history[0]["validation_loss"] = None
    assert lines(plots.curves_figure(history, ""))["validation loss"].get_xdata().tolist() == [2, 4, 6]


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
    figure = plots.curves_figure(history, "diverged")
    assert "train not finite" in texts(figure.axes[0])
    assert np.isfinite(lines(figure)["train loss"].get_ydata()).sum() == finite
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_nothing_finite_has_no_made_up_scale(tmp_path):
    history = records(2, loss=math.nan, train_r2=math.nan)
    plots.curves(history, tmp_path / "curves.png", title="")
    assert list(plots.curves_figure(history, "").axes[0].get_yticks()) == []


def test_no_epochs_is_an_empty_picture(tmp_path):
    plots.curves([], tmp_path / "curves.png", title="nothing yet")
    assert size_of(tmp_path / "curves.png") == (1200, 750)


@pytest.mark.parametrize("epochs", [1, 2, 5, 20, 300])
def test_epoch_ticks_are_epochs_of_the_run(epochs):
    ticks = plots.curves_figure(mnist(epochs), "").axes[0].get_xticks()
    assert ticks[0] == 1
    assert ticks[-1] <= epochs
    assert all(tick == int(tick) for tick in ticks)
    assert epochs < 5 or len(ticks) >= 4


def labels_of(k, rows=400, wrong=0.2, seed=0):
    random = np.random.default_rng(seed)
    true = random.integers(k, size=rows)
    return true, np.where(random.random(rows) < wrong, random.integers(k, size=rows), true)


@pytest.mark.parametrize("k", [2, 3, 10, 20])
def test_counts_in_cells_are_those_of_scikit_learn(k):
    true, predicted = labels_of(k)
    matrix = confusion_matrix(true, predicted, labels=range(k))
    axes = plots.confusion_figure(matrix, range(k), "").axes[0]
    assert len(axes.texts) == k * k
    for text in axes.texts:
        column, row = text.get_position()
        assert text.get_text() == str(np.sum((true == row) & (predicted == column)))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title(loc="left").startswith(f"accuracy {100 * np.mean(true == predicted):.2f} %\n")


def test_colour_is_the_share_of_the_true_class_without_the_diagonal():
    matrix = np.array([[5, 5, 0], [1, 99, 0], [0, 0, 0]])
    axes = plots.confusion_figure(matrix, "abc", "").axes[0]
    diagonal, mistakes = axes.images
    shown = np.ma.filled(mistakes.get_array(), np.nan)
    np.testing.assert_allclose(shown, [[np.nan, 0.5, np.nan], [0.01, np.nan, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(np.ma.getmaskarray(diagonal.get_array()), ~np.eye(3, dtype=bool))
    # 0.01 is visibly different from white, and 0.5 from 0.01.
    few, many = (np.array(mistakes.to_rgba(share)[:3]) for share in (0.01, 0.5))
    assert 1 - few.min() > 0.15
    assert np.abs(few - many).max() > 0.3


def luminance(color):
    channels = np.array(matplotlib.colors.to_rgb(color))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


def test_counts_are_legible_on_their_cells():
    matrix = np.full((12, 12), 1000)
    matrix[np.triu_indices(12, 1)] = np.geomspace(1, 1000, 66).astype(int)
    axes = plots.confusion_figure(matrix, range(12), "").axes[0]
    diagonal, mistakes = axes.images
    for text in axes.texts:
        column, row = text.get_position()
        image = diagonal if row == column else mistakes
        cell = image.to_rgba(image.get_array()[row, column])[:3]
        dark, light = sorted([luminance(cell), luminance(text.get_color())])
        assert (light + 0.05) / (dark + 0.05) >= 3.9


@pytest.mark.parametrize("k", [2, 10, 20])
def test_counts_fit_their_cells_even_with_long_names(k):
    matrix = np.full((k, k), 333) + np.eye(k, dtype=int) * 98765
    figure = plots.confusion_figure(matrix, [f"a class with a long name {i}" for i in range(k)], "title")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / k
    assert cell > 30
    assert all(text.get_window_extent().width < cell for text in axes.texts)


@pytest.mark.parametrize("k", [2, 10, 20, 21, 36, 37, 200])
@pytest.mark.parametrize("name", ["{}", "class {}", "a class whose name is long {}"])
def test_class_names_do_not_overlap(k, name):
    figure = plots.confusion_figure(np.eye(k, dtype=int), [name.format(i) for i in range(k)], "title")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert bool(axes.texts) == (k <= 20)
    across, down = axes.get_xticklabels(), axes.get_yticklabels()
    assert len(across) == len(down) >= min(k, 15)
    assert k > 36 or len(down) == k
    for tick, label in zip(axes.get_xticks(), across, strict=True):
        assert label.get_text().endswith(str(tick))
    assert min(label.get_fontsize() for label in (*across, *down)) >= 10
    boxes = [label.get_window_extent() for label in down]
    # Boxes of slanted names overlap even if the words do not, so their perpendicular distance is compared.
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    pitch = axes.get_window_extent().width / k * (axes.get_xticks()[1] - axes.get_xticks()[0])
    turn = across[0].get_rotation()
    if turn == 0:
        boxes = [label.get_window_extent() for label in across]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    else:
        assert pitch * math.sin(math.radians(turn)) >= across[0].get_fontsize() * 150 / 72 * 0.95


@pytest.mark.parametrize(
    ("name", "seventh"),
    [
        ("class number {} with an extraordinarily long name", "…ber 07 with an e…"),
        ("{0} a name whose number {0} is far from its ends {0}", "07 a name… ends 07"),
        ("a name that says its number after another one {} and goes on", "…one 07 and goes …"),
    ],
)
def test_short_class_names_are_told_apart(name, seventh):
    figure = plots.confusion_figure(np.eye(30, dtype=int), [name.format(f"{i:02}") for i in range(30)], "title")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 30
    assert labels[7] == seventh


def test_class_names_that_no_cut_tells_apart_are_numbered():
    names = ["a" * 20 + digit * 20 + middle + "z" * 20 for digit in "12" for middle in "xy"]
    figure = plots.confusion_figure(np.eye(4, dtype=int), names, "title")
    assert [label.get_text()[:3] for label in figure.axes[0].get_yticklabels()] == ["1: ", "2: ", "3: ", "4: "]


def test_many_classes_are_those_with_most_rows():
    """A cell is at least one pixel, and its colour is the fraction of all rows of its true class."""
    matrix = np.zeros((3000, 3000), np.uint16)
    common = np.arange(7, 3000, 6)
    matrix[common, common] = 3
    matrix[common, 0] = 1
    matrix[common, common[::-1]] += 1
    figure = plots.confusion_figure(matrix, [f"c{i}" for i in range(3000)], "title")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "accuracy 60.04 %\n1,498 of 2,495 rows"
    assert figure.get_supxlabel() == "the 500 of 3,000 classes with the most rows"
    mistakes = np.ma.filled(axes.images[1].get_array(), 0)
    assert mistakes.shape == (500, 500)
    assert axes.get_window_extent().width > 500
    # The 500th class is the first of those without rows.
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["c0", f"c{common[19]}"]
    np.testing.assert_allclose(mistakes[1:, 1:], 0.2 * np.eye(499)[::-1] * (1 - np.eye(499)))
    np.testing.assert_allclose(mistakes[1:, 0], 0.2)


def test_matrix_without_mistakes_has_no_colour_bar():
    assert not plots.confusion_figure(np.diag([3, 4]), "ab", "").axes[0].child_axes
    assert plots.confusion_figure(np.array([[3, 1], [0, 4]]), "ab", "").axes[0].child_axes


def test_matrix_without_rows_is_drawn(tmp_path):
    plots.confusion([[0, 0], [0, 0]], ["a", "b"], tmp_path / "confusion.png", title="")
    assert (
        plots.confusion_figure(np.zeros((2, 2), int), "ab", "")
        .axes[0]
        .get_title(loc="left")
        .startswith("accuracy undefined")
    )


def test_class_names_are_text_whatever_they_hold(tmp_path):
    names = ["$^$", "a\nb", "\U00012000", 4, "_hidden"]
    plots.confusion(np.eye(5, dtype=int), names, tmp_path / "confusion.png", title="$^$ title")
    labels = plots.confusion_figure(np.eye(5, dtype=int), names, "").axes[0].get_xticklabels()
    # A character that no font has is drawn as a box, so the name gets a number.
    assert [label.get_text() for label in labels] == ["$^$", "a b", "3: \U00012000", "4", "_hidden"]


def test_scatter_shows_points_identity_and_quality():
    random = np.random.default_rng(1)
    true = random.normal(50, 20, 80)
    predicted = true + random.normal(3, 9, 80)
    figure = plots.predictions_figure(true, predicted, "a title", "price ($)")
    (axes,) = figure.axes
    points = axes.collections[0].get_offsets()
    np.testing.assert_array_equal(points[np.argsort(points[:, 0])], np.c_[true, predicted][np.argsort(true)])
    identity = lines(figure)["predicted = true"]
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_aspect() == 1
    assert axes.get_xlim()[0] < min(true.min(), predicted.min())
    assert axes.get_xlim()[1] > max(true.max(), predicted.max())
    assert axes.get_title(loc="left") == (
        f"RMSE {root_mean_squared_error(true, predicted):.3g}   R² {r2_score(true, predicted):.3f}"
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true price ($)", "predicted")
    assert to_hex(axes.collections[0].get_facecolor()[0]) == plots.SCORE


def test_many_points_are_thinned_the_same_way_each_time_but_all_count():
    random = np.random.default_rng(2)
    true = random.normal(0, 1e5, 20_000)
    predicted = true + random.normal(0, 3e4, 20_000)
    first, again = (plots.predictions_figure(true, predicted, "", "y") for _ in range(2))
    drawn, redrawn = (figure.axes[0].collections[0].get_offsets() for figure in (first, again))
    np.testing.assert_array_equal(drawn, redrawn)
    assert len({tuple(point) for point in drawn.tolist()} & set(zip(true, predicted, strict=True))) == 5000
    assert first.axes[0].get_title(loc="left").startswith(f"RMSE {root_mean_squared_error(true, predicted):,.0f} ")
    assert first.get_supxlabel() == "5,000 of 20,000 points drawn"
    few = plots.predictions_figure(true[:80], predicted[:80], "", "y").axes[0].collections[0]
    assert first.axes[0].collections[0].get_alpha() < few.get_alpha()


@pytest.mark.parametrize(("outputs", "panels"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (9, 6)])
def test_each_output_has_its_own_axes(outputs, panels):
    true = np.random.default_rng(3).normal(0, 10.0 ** np.arange(outputs), (30, outputs))
    figure = plots.predictions_figure(true, 0.9 * true, "", "y")
    assert len(figure.axes) == panels
    for i, axes in enumerate(figure.axes):
        assert axes.get_xlabel() == ("true y" if outputs == 1 else f"true y {i + 1}")
        assert f"R² {r2_score(true[:, i], 0.9 * true[:, i]):.3f}" in axes.get_title(loc="left")
        assert np.abs(axes.get_xlim()).max() < 2 * np.abs(true[:, i]).max()
    assert figure.get_supxlabel() == ("first 6 of 9 outputs" if outputs == 9 else "")


def test_outputs_can_be_named():
    figure = plots.predictions_figure(np.eye(2), np.eye(2), "", ["heat", "cold"])
    assert [axes.get_xlabel() for axes in figure.axes] == ["true heat", "true cold"]


def test_points_that_are_not_finite_are_left_out():
    true = np.array([1.0, 2.0, 3.0, np.inf, 4.0])
    predicted = np.array([1.5, np.nan, 3.0, 1.0, -np.inf])
    (axes,) = plots.predictions_figure(true, predicted, "", "y").axes
    assert len(axes.collections[0].get_offsets()) == 2
    assert axes.get_title(loc="left") == "RMSE 0.354   R² 0.875"


@pytest.mark.parametrize(
    ("true", "predicted", "quality"),
    [
        ([], [], "no finite values"),
        ([1.0], [np.nan], "no finite values"),
        ([2.0, 2.0], [2.0, 2.0], "RMSE 0   R² undefined"),
    ],
)
def test_scatter_of_next_to_nothing(tmp_path, true, predicted, quality):
    plots.predictions(true, predicted, tmp_path / "scatter.png", title="", target="y")
    figure = plots.predictions_figure(np.array(true), np.array(predicted), "", "y")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [quality]
    low, high = figure.axes[0].get_xlim()
    assert low < high


def draw_each(folder):
    plots.curves(mnist(), folder / "curves.png", title="title")
    plots.confusion(np.eye(3, dtype=int), "abc", str(folder / "confusion.png"), title="title")
    plots.predictions([1, 2], [2, 1], folder / "predictions.png", title="title", target="$^$")


def test_pictures_have_their_sizes_and_leave_nothing_else(tmp_path):
    draw_each(tmp_path)
    assert size_of(tmp_path / "curves.png") == size_of(tmp_path / "predictions.png") == (1200, 750)
    assert size_of(tmp_path / "confusion.png") == (1200, 1200)
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "confusion.png", "predictions.png"}


def test_without_a_path_the_picture_is_that_of_the_file_and_no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = [
        plots.curves(mnist(), title="title"),
        plots.confusion(np.eye(3, dtype=int), "abc", title="title"),
        plots.predictions([1, 2], [2, 1], title="title", target="$^$"),
    ]
    assert not list(tmp_path.iterdir())
    draw_each(tmp_path)
    for figure, name in zip(drawn, ("curves", "confusion", "predictions"), strict=True):
        # What a notebook asks a result for.
        assert figure._repr_png_() == (tmp_path / f"{name}.png").read_bytes()


def test_a_figure_that_is_drawn_again_warns_of_no_character_and_keeps_its_fonts():
    figure = plots.confusion(np.eye(2, dtype=int), ["größer", "\U00012000"], title="\U00012000 is in no font")
    drawn = []
    for form in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=form)
        drawn.append([text.get_fontfamily() for text in figure.findobj(Text)])
    assert drawn[0] == drawn[1]


def test_a_failing_save_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    plots.curves(mnist(), path, title="old")
    old = path.read_bytes()

    def fail(self, place, **settings):
        place.write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.curves(mnist(), path, title="new")
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    # A process that has the old picture open can still read all of it.
    with path.open("rb") as reader:
        plots.curves(mnist(), path, title="new")
        assert reader.read() == old
    assert path.read_bytes() != old


def test_long_titles_stay_inside():
    figure = plots.curves_figure(mnist(), "A finding that needs many more words than one line of the picture has " * 2)
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= 1200
    assert "\n" in figure.get_suptitle()


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never():
    assert plots.available()
    code = """
import sys
from mlpgpu import plots
print(plots.available(), "matplotlib" in sys.modules)
plots.curves_figure([{"epoch": 1, "loss": 1.0}], "")
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    assert run_python(code).split() == ["True", "False", "True", "False"]


def test_without_matplotlib_drawing_is_an_import_error(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "Editable" not in repr(finder)])
    assert not plots.available()
    with pytest.raises(ImportError, match="matplotlib"):
        plots.curves(mnist(), tmp_path / "curves.png", title="")
    assert not list(tmp_path.iterdir())
