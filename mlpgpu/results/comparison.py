"""Predictions compared with the truth, on the host, by the metrics of scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.results import regression_figures

if TYPE_CHECKING:
    from mlpgpu.models.model import Model
    from mlpgpu.training.run import Run


def judge(
    model: Model, logits: Iterable[np.ndarray], truth: np.ndarray, weights: np.ndarray | None = None
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None, np.ndarray]:
    """Compare what a model predicts from logits with the truth, on the host.

    Parameters
    ----------
    model : Model
    logits : iterable of array of shape (any, n_outputs)
        Those of all rows, in chunks: probabilities of many classes take far more memory than the rows themselves.
    truth, weights
        As for `compare`.

    Returns
    -------
    figures : dict
        Those of `compare`, and for two classes those of `rank`; for a regression those of `regression_figures.measure`.
    predictions : array
    confusion : int array or None
        As from `compare`; None for a regression.
    finite : bool array of shape (n_rows,)
        Whether logits and outputs of each row are finite.
    """
    decided, odds, finite = [], [], []
    for z in logits:
        z = z.astype(np.float64)
        outputs, is_finite = model.outputs(z)
        decided.append(model.decided(outputs))
        if model.binary:
            # The logit of the second class, or the difference of two. The probabilities of logits above 37 are all 1.
            with np.errstate(invalid="ignore"):
                odds.append(np.diff(z, axis=1, prepend=0)[:, -1])
        finite.append(is_finite)
    predictions = np.concatenate(decided)
    if model.classes:
        figures, confusion = compare(truth, predictions, len(model.classes), model.target_names, weights)
    else:
        confusion = None
        figures = regression_figures.measure(
            truth, predictions, model.target_names, weights, loss=model.loss, **model.loss_settings
        )
    if model.binary:
        figures |= rank(truth, np.concatenate(odds), weights)
    return figures, predictions, confusion, np.concatenate(finite)


def too_large(name: str, loss: float | None) -> list[str]:
    """Return why a loss of a trained network is not finite; nothing if it is, or is not known."""
    if loss is None or math.isfinite(loss):
        return []
    return [
        f"the {name} is {loss}: a row has a target, or features, too large for the model; compare them with those of "
        "training"
    ]


def unvalidated(run: Run) -> list[str]:
    """Return what `too_large` says of the validation loss in the first epoch, after which weights may grow.

    Nothing if the run diverged, for then they may have grown in that epoch.
    """
    first = [] if run.diverged else run.history[:1]
    return [note for record in first for note in too_large("validation loss", record.get("validation_loss"))]


def compare(
    truth: np.ndarray,
    predictions: np.ndarray,
    n_classes: int,
    targets: Sequence[str],
    weights: np.ndarray | None = None,
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Compare predicted classes or labels with the truth, on the host.

    Parameters
    ----------
    truth : array
        Codes of shape (n_rows,) for classification, where codes from `n_classes` up are labels that are unknown to the
        model; 0 and 1 of shape (n_rows, n_labels) for multilabel classification.
    predictions : array
        As `truth`, without unknown labels.
    n_classes : int
        The number of labels for multilabel classification.
    targets : sequence of str
        Names of the labels.
    weights : float array of shape (n_rows,) or None
        Weights of the rows in the figures, not all 0; None for equal weights.

    Returns
    -------
    figures : dict
        - Classification: ``balanced_accuracy``, ``f1_macro`` and ``f1_weighted``.
        - Multilabel classification: ``f1_macro``, ``f1_micro``, ``f1_weighted``, and ``targets`` from `by_label`.
    confusion : int array of shape (n_labels, n_classes), or None for multilabel classification
        Counts by true label (row) and predicted class (column); rows of unknown labels come after those of the classes.
    """
    from sklearn import metrics

    # A class that only rows of weight 0 have, or are predicted to have, does not occur.
    counted = slice(None) if weights is None else weights > 0
    of_counted = None if weights is None else weights[counted]
    f1 = partial(metrics.f1_score, truth[counted], predictions[counted], sample_weight=of_counted, zero_division=0)
    if truth.ndim > 1:
        averages = {f"f1_{average}": float(f1(average=average)) for average in ("macro", "micro", "weighted")}
        return {**averages, "targets": by_label(truth, predictions, targets, weights)}, None
    n_labels = max(n_classes, int(truth.max()) + 1)

    def cells(weights: np.ndarray | None) -> np.ndarray:
        counts = np.bincount(truth * n_classes + predictions, weights, minlength=n_labels * n_classes)
        return counts.reshape(n_labels, n_classes)

    weighted = cells(weights)
    rows = weighted.sum(axis=1)
    occurs = rows > 0
    recalls = weighted.diagonal() / np.where(occurs, rows, 1)[:n_classes]
    figures = {
        # Mean recall of the labels that occur; scikit-learn's function would warn of the others.
        "balanced_accuracy": float(np.sum(recalls) / np.sum(occurs)),
        "f1_macro": float(f1(average="macro")),
        "f1_weighted": float(f1(average="weighted")),
    }
    return figures, weighted if weights is None else cells(None)


def rank(truth: np.ndarray, odds: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float | None]:
    """Return ``roc_auc`` and ``average_precision`` of the log-odds of the second of two classes.

    Parameters
    ----------
    truth : int array of shape (n_rows,)
        0, 1, or a label that is unknown to the model, whose rows are left out.
    odds : float array of shape (n_rows,)
    weights : float array of shape (n_rows,) or None
        As for `compare`.

    Returns
    -------
    dict
        The values are None if the rows with weight are all of one class, or a logit is not finite.
    """
    from sklearn import metrics

    counted = (truth < 2) & (True if weights is None else weights > 0)
    truth, odds = truth[counted], odds[counted]
    weights = None if weights is None else weights[counted]
    figures = {"roc_auc": metrics.roc_auc_score, "average_precision": metrics.average_precision_score}
    if len(np.unique(truth)) < 2 or not np.isfinite(odds).all():
        return dict.fromkeys(figures)
    return {name: float(figure(truth, odds, sample_weight=weights)) for name, figure in figures.items()}


def by_label(
    truth: np.ndarray, predictions: np.ndarray, labels: Sequence[str], weights: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """Return ``accuracy``, ``f1`` and ``n_rows`` (the number of rows that have it) of each label, keyed by its name."""
    from sklearn import metrics

    f1 = metrics.f1_score(truth, predictions, average=None, sample_weight=weights, zero_division=0)
    figures = {
        "accuracy": np.average(truth == predictions, axis=0, weights=weights).tolist(),
        "f1": f1.tolist(),
        "n_rows": truth.sum(axis=0).astype(int).tolist(),
    }
    return {name: {key: values[i] for key, values in figures.items()} for i, name in enumerate(labels)}
