"""The figure for several labels: its bars against scikit-learn's counts."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, multilabel_confusion_matrix

pytest.importorskip("matplotlib")
from mlpgpu.plots import labels_picture


def rows(n=200, k=4):
    rng = np.random.default_rng(0)
    true = rng.random((n, k)) < np.linspace(0.1, 0.6, k)
    return true, true ^ (rng.random((n, k)) < 0.2)


def bars(figure):
    """Return the start and length of each label's bar, by name of the group of bars."""
    (axes,) = figure.axes
    return {
        group.get_label(): np.array([(bar.get_x(), bar.get_width()) for bar in group.patches])
        for group in axes.containers
    }


def test_bars_are_counts_and_the_commonest_label_comes_first():
    true, predicted = rows()
    names = ["a", "b", "$c$", "d"]
    figure = labels_picture.labels(true, predicted, names, title="a title")
    (axes,) = figure.axes
    order = np.argsort(-true.sum(axis=0))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [names[i] for i in order]
    counts = multilabel_confusion_matrix(true, predicted)[order]
    drawn = bars(figure)
    found, missed, wrong = counts[:, 1, 1], counts[:, 1, 0], counts[:, 0, 1]
    np.testing.assert_array_equal(drawn["true positives"], np.column_stack([np.zeros(4), found]))
    np.testing.assert_array_equal(drawn["false negatives"], np.column_stack([found, missed]))
    np.testing.assert_array_equal(drawn["false positives"], np.column_stack([found + missed, wrong]))
    f1 = f1_score(true, predicted, average=None)[order]
    assert [text.get_text() for text in axes.texts] == [f"F1 {value:.2f}" for value in f1]
    # The first label is at the top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert figure.get_suptitle() == "a title"


def test_the_most_common_of_many_are_drawn_and_the_picture_says_so():
    true, predicted = rows(k=labels_picture.MAX_LABELS + 5)
    figure = labels_picture.labels(true, predicted, list(map(str, range(true.shape[1]))))
    assert len(bars(figure)["true positives"]) == labels_picture.MAX_LABELS
    assert figure.get_supxlabel() == "the 30 most common of 35 labels"
    assert labels_picture.labels(*rows(), list("abcd")).get_supxlabel() == ""


def test_words_stay_inside_and_apart():
    true, predicted = rows(n=2000, k=30)
    figure = labels_picture.labels(true, predicted, [f"a rather long name of a label {i}" for i in range(30)])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    texts = [text.get_window_extent() for text in [*axes.texts, *axes.get_yticklabels()]]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in texts)
    assert not any(one.overlaps(other) for i, one in enumerate(texts) for other in texts[:i])


def test_labels_without_rows_are_drawn(tmp_path):
    nothing = np.zeros((3, 2))
    labels_picture.labels(nothing, nothing, ["a", "b"], tmp_path / "labels.png", title="none")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.png"]


def test_f1_is_weighted_and_bars_count_rows(rng):
    true, predicted = rows()
    weights = rng.choice([0, 0.5, 3.25], len(true))
    figure, plain = (labels_picture.labels(true, predicted, "abcd", weights=w) for w in (weights, None))
    f1 = f1_score(true, predicted, average=None, sample_weight=weights)[np.argsort(-true.sum(axis=0))]
    assert [text.get_text() for text in figure.axes[0].texts] == [f"F1 {value:.2f}" for value in f1]
    assert [text.get_text() for text in plain.axes[0].texts] != [f"F1 {value:.2f}" for value in f1]
    for name, drawn in bars(figure).items():
        np.testing.assert_array_equal(drawn, bars(plain)[name])
    assert (figure.get_supxlabel(), plain.get_supxlabel()) == ("F1 weighted, bars by row", "")
