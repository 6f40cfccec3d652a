"""How good a model is on the rows of a file: ``python -m mlpgpu.evaluate``."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from mlpgpu.endings import DATA_FILE
from mlpgpu.errors import InputError, listed
from mlpgpu.train import run_command

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.data.unseen import Unseen
    from mlpgpu.maths.losses import Loss
    from mlpgpu.model import Model

app = App(name="mlpgpu evaluate", help_format="plaintext", version_flags=[], suppress_keyboard_interrupt=False)


@app.default
def evaluate(
    model: str,
    data: Annotated[
        str,
        Parameter(
            help=f"A {DATA_FILE} with features and, but for .npy and IDX, the target; or mnist or fashion-mnist, for "
            "their test rows."
        ),
    ],
    *,
    target: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure a model on rows whose targets are known.

    Parameters
    ----------
    model : str
        A model.safetensors file, or the run folder that holds it.
    data : str
        A file with features and, but for .npy and IDX, the target; or mnist or fashion-mnist, for their test rows.
    target : str
        Column, columns with commas between them, or array to compare with [default: what the model was trained on];
        file beside a .npy or IDX file.
    json : bool
        Print one JSON object.
    """
    import numpy as np

    from mlpgpu.data.unseen import Unseen
    from mlpgpu.model import Model
    from mlpgpu.predict import counted, tell

    loaded, unseen = Model.load(model), Unseen()
    rows = counted(_rows(loaded, data, target, unseen), lambda pair: len(pair[1]))
    parts = [(loaded.logits(x), y) for x, y in rows]
    z = np.concatenate([logits for logits, _ in parts])
    figures, confusion = measure(loaded, z, np.concatenate([y for _, y in parts]))
    if json:
        print(json_module.dumps({"model": model, "data": data, "n_rows": len(z), **figures}))  # noqa: T201
    else:
        _show(loaded, data, len(z), figures, confusion)
    tell(unseen)
    return 0


def measure(model: Model, z: np.ndarray, y: np.ndarray) -> tuple[dict[str, Any], np.ndarray | None]:
    """Figures of rows with these logits and targets.

    Parameters
    ----------
    model : Model
    z : array of shape (n_rows, n_outputs)
    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Labels, one of the two values of each of several labels, or numbers.

    Returns
    -------
    figures : dict
        ``loss``, ``accuracy``, ``balanced_accuracy``, ``f1_macro`` and ``f1_weighted``; of several labels ``accuracy``,
        the part of the rows with all of them right, ``f1_macro``, ``f1_micro``, ``f1_weighted``, and ``targets``:
        ``accuracy``, ``f1`` and ``n_rows`` of each by its name; or ``loss``, of the scaled target, ``rmse``, ``mae``
        and ``r2``, the mean of all targets, and where there are several, ``targets``: those three of each by its name.
    confusion : int array of shape (n_classes, n_classes), or None for regression and for several labels
        Rows by true class (row) and predicted class (column).

    Raises
    ------
    InputError
        Where the targets are none that the model knows, or a logit is not finite.
    """
    import numpy as np

    from mlpgpu.evaluation import compare
    from mlpgpu.maths.scaling import scale

    loss, z = _loss(model), z.astype(np.float64)
    truth = (_codes if model.classes else _numbers)(model, y)
    compared, predictions, confusion = compare(truth, model.linked(z), len(model.classes), model.target_names)
    score: dict[str, float | None]
    if model.classes:
        score = {"accuracy": float(np.mean((predictions == truth).reshape(len(truth), -1).all(axis=1)))}
    else:
        score = {"r2": _r2(truth, predictions)}
    scaled = truth if model.target_shift is None else scale(np, truth, model.target_shift, model.target_factor)
    return {"loss": float(np.mean(loss.rows(np, z, scaled)[0])), **score, **compared}, confusion


def _r2(truth: np.ndarray, predictions: np.ndarray) -> float | None:
    """None for a single row, which has none."""
    from sklearn.metrics import r2_score

    return float(r2_score(truth, predictions)) if len(truth) > 1 else None


def _rows(model: Model, data: str, target: str | None, unseen: Unseen) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from mlpgpu.config import Config
    from mlpgpu.data import load, mnist
    from mlpgpu.data.reading import features_and_targets

    if data not in mnist.MIRRORS:
        as_text = [any(isinstance(label, str) for label in column) for column in model.alternatives or ((),)]
        return features_and_targets(data, model.encoding, target or model.target, as_text=as_text, unseen=unseen)
    images = load(Config(dataset=data, validation_fraction=0, quiet=True))
    return iter([(images.x_test[:], images.y_test)])


def _loss(model: Model) -> Loss:
    """The loss with the settings that the model was trained with."""
    known = model.network.loss
    return known.having(**{name: model.config[name] for name in known.settings if name in model.config})


def _codes(model: Model, y: np.ndarray) -> np.ndarray:
    """The number of each label among those that there are in its column, which a file may have as text.

    Of shape (n_rows,); or floats of shape (n_rows, n_labels) for several labels.
    """
    import numpy as np

    columns, expected = y.reshape(len(y), -1).T, len(model.alternatives)
    if len(columns) != expected:
        what = "tells classes apart: give one label"
        if expected > 1:
            what = f"predicts {expected} labels ({listed(model.target_names)}): give a column for each,"
        raise InputError(f"the targets have shape {y.shape}; the model {what} for each row")
    codes = []
    for name, alternatives, column in zip(model.target_names, model.alternatives, columns, strict=True):
        known = {label: code for code, label in enumerate(alternatives)}
        as_text = {str(label): code for label, code in known.items()}
        labels = column.tolist()
        codes.append([known.get(label, as_text.get(str(label), -1)) for label in labels])
        if -1 in codes[-1]:
            row = codes[-1].index(-1)
            shown = ", ".join(map(str, alternatives[:20])) + (", ..." if len(alternatives) > 20 else "")
            of = f" for {name!r}" if expected > 1 else ""
            raise InputError(
                f"row {row + 1:,} has the label {labels[row]!r}{of}, which is no class of the model; its classes are "
                f"{shown}"
            )
    return np.array(codes[0]) if expected == 1 else np.array(codes, np.float64).T


def _numbers(model: Model, y: np.ndarray) -> np.ndarray:
    import numpy as np

    expected = model.sizes[-1]
    if y.dtype.kind not in "biuf" or y.reshape(len(y), -1).shape[1] != expected:
        text = [value for value in y.ravel().tolist() if isinstance(value, str)] if y.dtype.kind == "O" else []
        what = f"are text, such as {text[0]!r}" if text else f"have type {y.dtype} and shape {y.shape}"
        raise InputError(
            f"the targets {what}; the model predicts {expected} numbers for each row ({listed(model.target_names)}); "
            "give as many numbers"
        )
    numbers = y.reshape(len(y), -1).astype(np.float64)
    if n_bad := int(np.count_nonzero(~np.isfinite(numbers))):
        raise InputError(f"the targets have {n_bad:,} missing or infinite values; remove those rows")
    return numbers


def _show(model: Model, data: str, n_rows: int, figures: dict[str, Any], confusion: np.ndarray | None) -> None:
    from mlpgpu import report

    console = report.console()
    console.print(report.figures_line(data, n_rows, figures), markup=False)
    for table in report.tables(figures.get("targets", {}), confusion, model.classes):
        console.print(table)


def main() -> None:
    """Entry point of ``python -m mlpgpu.evaluate``."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
