"""The confusion matrix: its counts against scikit-learn's, its colours and class names."""

import io
import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from mlpgpu import plots

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.text import Text  # noqa: E402


def labels_of(k, rows=400, wrong=0.2, seed=0):
    random = np.random.default_rng(seed)
    true = random.integers(k, size=rows)
    return true, np.where(random.random(rows) < wrong, random.integers(k, size=rows), true)


@pytest.mark.parametrize("k", [2, 3, 10, 20])
def test_counts_in_cells_are_those_of_scikit_learn(k):
    true, predicted = labels_of(k)
    matrix = confusion_matrix(true, predicted, labels=range(k))
    axes = plots.confusion(matrix, range(k)).axes[0]
    assert len(axes.texts) == k * k
    for text in axes.texts:
        column, row = text.get_position()
        assert text.get_text() == str(np.sum((true == row) & (predicted == column)))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title(loc="left").startswith(f"accuracy {100 * np.mean(true == predicted):.2f} %\n")


def test_colour_is_the_share_of_the_true_class_without_the_diagonal():
    matrix = np.array([[5, 5, 0], [1, 99, 0], [0, 0, 0]])
    axes = plots.confusion(matrix, "abc").axes[0]
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
    axes = plots.confusion(matrix, range(12)).axes[0]
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
    figure = plots.confusion(matrix, [f"a class with a long name {i}" for i in range(k)], title="title")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / k
    assert cell > 30
    assert all(text.get_window_extent().width < cell for text in axes.texts)


@pytest.mark.parametrize("k", [2, 10, 20, 21, 36, 37, 200])
@pytest.mark.parametrize("name", ["{}", "class {}", "a class whose name is long {}"])
def test_class_names_do_not_overlap(k, name):
    figure = plots.confusion(np.eye(k, dtype=int), [name.format(i) for i in range(k)], title="title")
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
    figure = plots.confusion(np.eye(30, dtype=int), [name.format(f"{i:02}") for i in range(30)], title="title")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 30
    assert labels[7] == seventh


def test_class_names_that_no_cut_tells_apart_are_numbered():
    names = ["a" * 20 + digit * 20 + middle + "z" * 20 for digit in "12" for middle in "xy"]
    figure = plots.confusion(np.eye(4, dtype=int), names, title="title")
    assert [label.get_text()[:3] for label in figure.axes[0].get_yticklabels()] == ["1: ", "2: ", "3: ", "4: "]


def test_many_classes_are_those_with_most_rows():
    """A cell is at least one pixel, and its colour is the fraction of all rows of its true class."""
    matrix = np.zeros((3000, 3000), np.uint16)
    common = np.arange(7, 3000, 6)
    matrix[common, common] = 3
    matrix[common, 0] = 1
    matrix[common, common[::-1]] += 1
    figure = plots.confusion(matrix, [f"c{i}" for i in range(3000)], title="title")
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
    assert not plots.confusion(np.diag([3, 4]), "ab").axes[0].child_axes
    assert plots.confusion(np.array([[3, 1], [0, 4]]), "ab").axes[0].child_axes


def test_matrix_without_rows_is_drawn(tmp_path):
    plots.confusion([[0, 0], [0, 0]], ["a", "b"], tmp_path / "confusion.png", title="")
    assert plots.confusion(np.zeros((2, 2), int), "ab").axes[0].get_title(loc="left").startswith("accuracy undefined")


def test_class_names_are_text_whatever_they_hold(tmp_path):
    names = ["$^$", "a\nb", "\U00012000", 4, "_hidden"]
    plots.confusion(np.eye(5, dtype=int), names, tmp_path / "confusion.png", title="$^$ title")
    labels = plots.confusion(np.eye(5, dtype=int), names).axes[0].get_xticklabels()
    # A character that no font has is drawn as a box, so the name gets a number.
    assert [label.get_text() for label in labels] == ["$^$", "a b", "3: \U00012000", "4", "_hidden"]


def test_a_figure_that_is_drawn_again_warns_of_no_character_and_keeps_its_fonts():
    figure = plots.confusion(np.eye(2, dtype=int), ["größer", "\U00012000"], title="\U00012000 is in no font")
    drawn = []
    for form in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=form)
        drawn.append([text.get_fontfamily() for text in figure.findobj(Text)])
    assert drawn[0] == drawn[1]
