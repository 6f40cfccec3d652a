"""Evaluate a model on the rows of a file: ``python -m mlpgpu.evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mlpgpu.command_line import application, run_command
from mlpgpu.endings import DATA_FILE
from mlpgpu.errors import InputError
from mlpgpu.figures import as_json, counted
from mlpgpu.files import called

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.data.reading import Known
    from mlpgpu.data.remarks import Remarks
    from mlpgpu.models.model import Model

# Maximum number of unknown labels that a note names.
MAX_LABELS = 5

app = application("evaluate")


@app.default
def evaluate(
    model: str,
    data: Annotated[
        str,
        Parameter(
            help=f"A {DATA_FILE} with features and, but for .npy and IDX, the target; - for CSV on standard input; or "
            "mnist or fashion-mnist, for their test rows."
        ),
    ],
    *,
    target: str | None = None,
    sample_weight: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Evaluate a model on rows whose targets are known.

    Parameters
    ----------
    model : str
        A model.safetensors file, or the run folder that holds it.
    target : str
        Column, comma-separated columns, or array to compare with [default: as in training]; columns with other names
        must be in the order of those in training; for a .npy or IDX file, the file with its targets.
    sample_weight : str
        Column or array with the weight of each row in the figures [default: as in training, if data has it]; for a
        .npy or IDX file, the file with the weights.
    json : bool
        Print one JSON object.
    """
    import numpy as np

    from mlpgpu.data.remarks import Remarks
    from mlpgpu.models.model import Model
    from mlpgpu.predict import tell, telling_warnings, with_bar
    from mlpgpu.results.comparison import too_large

    loaded, remarks = Model.load(model), Remarks()
    weight = loaded.config.get("sample_weight") if sample_weight is None else sample_weight
    known = _rows(loaded, data, target, weight, remarks, optional=sample_weight is None)
    with telling_warnings():
        parts = [part._replace(x=loaded.logits(part.x)) for part in with_bar(known, lambda part: len(part.y))]
    y = np.concatenate([part.y for part in parts])
    given = [part.weights for part in parts if part.weights is not None]
    weights = np.concatenate(given) if given else None
    figures, confusion = measure(loaded, [part.x for part in parts], y, weights)
    if json:
        used = weight if given else None
        print(as_json({"model": model, "data": data, "n_rows": len(y), "sample_weight": used, **figures}))  # noqa: T201
    else:
        _show(loaded, data, len(y), figures, confusion)
    notes = [] if weight is None else [_weighed(data, weight, weights)]
    tell(
        [
            *remarks.notes(),
            *notes,
            *too_large("loss", figures["loss"]),
            *_unknown(figures.get("unknown_labels", {}), len(y)),
        ]
    )
    return 0


def measure(
    model: Model, z: Sequence[np.ndarray], y: np.ndarray, weights: np.ndarray | None = None
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Compute the metrics of logits and targets.

    Parameters
    ----------
    model : Model
    z : sequence of array of shape (any, n_outputs)
        Logits of all rows, in chunks.
    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Labels; one of two values per label for multilabel classification; or numbers for regression.
    weights : float array of shape (n_rows,) or None
        Weights of the rows in the figures; None for equal weights.

    Returns
    -------
    figures : dict
        Beside ``loss``:

        - Classification: ``accuracy``, ``balanced_accuracy``, ``f1_macro`` and ``f1_weighted``. Rows whose label is no
          class of the model count as wrong, and are left out of the loss. If there are any, ``unknown_labels`` has the
          number of rows of each such label. For two classes also those of `mlpgpu.results.comparison.rank`.
        - Multilabel classification: ``accuracy`` (the share of rows with all labels right), ``f1_macro``, ``f1_micro``
          and ``f1_weighted``; ``targets`` has ``accuracy``, ``f1`` and ``n_rows`` of each label, keyed by its name.
        - Regression: those of `mlpgpu.results.regression_figures.measure`. The loss is that of the scaled targets.
    confusion : int array of shape (n_labels, n_classes), or None for regression and multilabel classification
        Counts by true label (row) and predicted class (column); rows of unknown labels come after those of the classes.

    Raises
    ------
    InputError
        If the model does not know such targets, a logit is not finite, or no row of a known label has weight.
    """
    import numpy as np

    from mlpgpu.models.model import check_finite
    from mlpgpu.models.truth import codes, flags, numbers
    from mlpgpu.results.comparison import judge
    from mlpgpu.training.feed import chunks

    unknown: dict[str, int] = {}
    if model.multilabel:
        truth = flags(model, y)
    elif model.classes:
        truth, unknown = codes(model, y)
    else:
        truth = numbers(model, y)
    of_known = weights if weights is None else weights[_is_known(model, truth)]
    if of_known is not None and not of_known.any():
        known = "" if len(of_known) == len(truth) else " with a class of the model"
        raise InputError(
            f"sample_weight is 0 in every row{known}; allowed: some weight; give other rows, or name "
            "another column by --sample-weight"
        )
    # In chunks: the logits of many classes may leave no memory for temporaries as large as they are.
    pieces = [part[start:stop] for part in z for start, stop in chunks(*part.shape)]
    compared, predictions, confusion, finite = judge(model, pieces, truth, weights)
    check_finite(finite)
    parts = np.split(truth, np.cumsum([len(piece) for piece in pieces])[:-1])
    losses = [_losses(model, piece.astype(np.float64), part) for piece, part in zip(pieces, parts, strict=True)]
    figures: dict[str, Any] = {"loss": float(np.average(np.concatenate(losses), weights=of_known))}
    if model.classes:
        is_right = (predictions == truth).reshape(len(truth), -1).all(axis=1)
        figures["accuracy"] = float(np.average(is_right, weights=weights))
    more = {"unknown_labels": unknown} if unknown else {}
    return {**figures, **compared, **more}, confusion


def _rows(
    model: Model, data: str, target: str | None, sample_weight: str | None, remarks: Remarks, *, optional: bool
) -> Iterator[Known]:
    from mlpgpu.data import mnist
    from mlpgpu.data.reading import features_and_targets, of_mnist
    from mlpgpu.data.target_columns import named

    if target is not None and sorted(named(target, model.targets)) == sorted(model.targets):
        # The same names in another order mean the same outputs: the order of the model applies.
        target = model.target
    if data not in mnist.MIRRORS:
        as_text = [any(isinstance(label, str) for label in column) for column in model.alternatives or ((),)]
        return features_and_targets(
            data,
            model.encoding,
            model.target if target is None else target,
            as_text=as_text,
            remarks=remarks,
            sample_weight=sample_weight,
            optional=optional,
        )
    if not optional:
        raise InputError(f"sample_weight is {sample_weight!r}, and {data} has no weights; leave it out")
    return iter([of_mnist(data, model.classes)])


def _losses(model: Model, z: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the loss of each row whose label is known, with the loss settings that the model was trained with."""
    import numpy as np

    from mlpgpu.maths.scaling import scale

    loss = model.network.loss.having(**model.loss_settings)
    if model.target_shift is not None:
        truth = scale(np, truth, model.target_shift, model.target_factor)
    is_known = _is_known(model, truth)
    with np.errstate(over="ignore"):
        losses: np.ndarray = loss.rows(np, z[is_known], truth[is_known])[0]
    return losses


def _is_known(model: Model, truth: np.ndarray) -> np.ndarray | slice:
    """Select the rows whose label is a class of the model."""
    return truth < len(model.classes) if truth.ndim == 1 else slice(None)


def _weighed(data: str, name: str, weights: np.ndarray | None) -> str:
    """Return a note on the weights of the rows, in the column or array `name`."""
    if weights is not None:
        return f"the rows are weighted by {name!r}"
    return (
        f"the rows count alike: {called(data)} has no {name!r}, by which those of the training were weighted; give its "
        "--sample-weight"
    )


def _unknown(labels: dict[str, int], n_rows: int) -> list[str]:
    """Return a note of the rows whose labels are no classes of the model, if there are any."""
    if not labels:
        return []
    shown = ", ".join(f"{label!r} ({count:,})" for label, count in list(labels.items())[:MAX_LABELS])
    more = f" and {len(labels) - MAX_LABELS:,} more" if len(labels) > MAX_LABELS else ""
    return [
        f"{counted(sum(labels.values()), 'row')} of {n_rows:,} with a label that is no class of the model, "
        f"{shown}{more}: whatever it predicts there counts as wrong, and the loss is that of the other rows"
    ]


def _show(model: Model, data: str, n_rows: int, figures: dict[str, Any], confusion: np.ndarray | None) -> None:
    from mlpgpu.results import report

    labels = [*model.classes, *figures.get("unknown_labels", {})]
    report.Output().show(
        report.figures_line(called(data), n_rows, figures),
        *report.tables(figures.get("targets", {}), confusion, labels),
    )


if __name__ == "__main__":
    sys.exit(run_command(app))
