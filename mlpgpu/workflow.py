"""A run from settings to test figures: read the data, open the device, train, test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu import backends, preflight
from mlpgpu.backends import Backend
from mlpgpu.callbacks import Callback, EarlyStopping
from mlpgpu.checkpoint import Checkpoint
from mlpgpu.config import Config
from mlpgpu.data import folds, load, scaling, used
from mlpgpu.data.dataset import DataSet
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.scaling import Scaling
from mlpgpu.device_loss import survivable
from mlpgpu.errors import InputError
from mlpgpu.evaluation import Evaluation, compare
from mlpgpu.feed import Placement, Rows, Scaled, chunks, open_feed
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import plain
from mlpgpu.maths.scaling import scale, unscale
from mlpgpu.model import Model
from mlpgpu.plan import Plan, make_plan, patience, stops_early
from mlpgpu.resumed import check_same
from mlpgpu.start import Start, check_setting
from mlpgpu.trainer import Best, Run, fit

# The training score is measured on at most this many training rows.
SCORED_ROWS = 10_000
# Maximum number of rollbacks after divergence. Each divides the learning rate by 10; a run that needs less than a
# thousandth of its learning rate needs other settings.
ROLLBACKS = 3


@dataclass(frozen=True)
class Prepared:
    """A run that is ready for its first step.

    Attributes
    ----------
    config : Config
    data : DataSet
    backend : Backend
    backend_note : str
        Why ``auto`` chose this device.
    plan : Plan
    target_scaling : Scaling or None
        Fitted on the training rows, or taken from the model whose last layer the run starts with; None if the target is
        not scaled.
    train : Rows
        Training rows, with scaled targets.
    watched : dict of str to Rows
        Rows on which loss and score are measured after each epoch, by name.
    rollbacks : int
        Maximum number of rollbacks after divergence.
    need : Need
        Estimated device memory.
    start : Start or None
        Layers taken from a trained model.
    """

    config: Config
    data: DataSet
    backend: Backend
    backend_note: str
    plan: Plan
    target_scaling: Scaling | None
    train: Rows
    watched: dict[str, Rows]
    rollbacks: int
    need: preflight.Need
    start: Start | None


@dataclass(frozen=True)
class Outcome:
    """Results of a finished and tested run.

    Attributes
    ----------
    model : Model
    run : Run
        Holds the history.
    metrics : dict
        Figures of the run, JSON-serialisable.
    truth, predictions : array
        Of the test rows: class indices of shape (n_test,), or values of shape (n_test, n_outputs), which are 0 and 1
        for several labels.
    confusion : int array of shape (n_classes, n_classes), or None for regression and for several labels
        Number of test rows by true class (row) and predicted class (column).
    """

    model: Model
    run: Run
    metrics: dict[str, Any]
    truth: np.ndarray
    predictions: np.ndarray
    confusion: np.ndarray | None


def prepare(config: Config, resume: Checkpoint | None = None) -> Prepared:
    """Read the data, open the device and resolve all settings.

    Parameters
    ----------
    config : Config
    resume : Checkpoint or None
        Checkpoint of the run to resume. If the run started from a model, the checkpoint holds everything taken from it.

    Raises
    ------
    InputError
        If a file, a device or a setting cannot be used.
    """
    device, model = _begun(config, resume)
    return _arranged(config, load(config, model), device, model, resume)


def prepare_folds(config: Config, n_folds: int) -> Iterator[tuple[np.ndarray, Prepared]]:
    """Prepare one run for each fold, which tests on that fold and trains on the other rows.

    Parameters
    ----------
    config : Config
        ``test_fraction`` is ignored.
    n_folds : int
        At least 2.

    Yields
    ------
    rows : ndarray of int64
        Indices of the test rows; the data set's own test rows, if any, are numbered after all its other rows.
    prepared : Prepared

    Raises
    ------
    InputError
        As `prepare`, and if there are fewer rows than folds.
    """
    device, model = _begun(config, None)
    for rows, data in folds(config, n_folds, model):
        yield rows, _arranged(config, data, device, model, None)
        # Free the memory before the next fold is read.
        del data


def _begun(config: Config, resume: Checkpoint | None) -> tuple[tuple[Backend, str], Model | None]:
    """Return the device with the reason for choosing it, and the model that the run starts from."""
    device = backends.select(config.device, config.backend, config.dtype, config.precision)
    model = None
    if resume is None:
        # Not checked on resume: an older version may have accepted the settings.
        used.check(config)
    if config.start_from is not None:
        model = Model.load(config.start_from) if resume is None else resume.model
        for name in ("scale", "impute"):
            check_setting(name, config, model)
    return device, model


def _arranged(
    config: Config, data: DataSet, device: tuple[Backend, str], model: Model | None, resume: Checkpoint | None
) -> Prepared:
    backend, note = device
    preflight.check_host((data.n_features, *config.hidden, data.n_targets))
    plan = make_plan(config, **data.dimensions)
    lowest = LOSSES[plan.loss].lowest
    smallest = min(y.min() for y in (data.y_train, data.y_validation, data.y_test) if y is not None and len(y))
    if smallest < lowest:
        raise InputError(
            f"loss {plan.loss!r} takes targets from {lowest:g} up, and the smallest here is {smallest:g}; choose "
            "another loss, such as squared_error"
        )
    start = None if model is None else Start.find(model, plan, data)
    if start is not None:
        plan = start.begin(plan, None if resume is None else resume.plan["normalized layers"])
    target_scaling = _target_scaling(config, plan, data, start)
    rollbacks = ROLLBACKS if config.on_divergence == "rollback" else 0
    train, watched = _rows(config, data, target_scaling)
    need = preflight.check(backend, plan, train, watched, rollbacks)
    chosen: dict[str, Any] = {"dataset": config.dataset or data.name}
    if config.memory_map == "auto" and used.sort_of(chosen["dataset"]) == "array":
        # The choice depended on free memory, and it affects the order of the rows. Record it so that the run can be
        # repeated exactly.
        chosen["memory_map"] = "always" if isinstance(data.x_train, Mapped) else "never"
    config = dataclasses.replace(config, **chosen)
    return Prepared(config, data, backend, note, plan, target_scaling, train, watched, rollbacks, need, start)


def train_and_test(
    prepared: Prepared | Config, callbacks: Sequence[Callback] = (), *, resume: Checkpoint | str | Path | None = None
) -> Outcome:
    """Train on the training rows, and evaluate on the test rows, if there are any.

    Parameters
    ----------
    prepared : Prepared or Config
    callbacks : sequence of Callback
        In addition to the early stopping that the settings ask for.
    resume : Checkpoint, path or None
        Checkpoint of a run with the same settings and callbacks. The resumed run ends as if it had never stopped.

    Returns
    -------
    Outcome

    Raises
    ------
    InputError
        If a file, a device or a setting cannot be used or does not match the checkpoint, or if the device fails during
        training.
    Diverged
        If the loss is not finite or has exploded, and there are no best weights to restore.
    """
    if isinstance(resume, str | Path):
        resume = Checkpoint.load(resume)
    if isinstance(prepared, Config):
        prepared = prepare(prepared, resume)
    config, data, backend, plan = prepared.config, prepared.data, prepared.backend, prepared.plan
    if resume is not None:
        check_same(config, resume.model.config)
        _check_scaling(prepared, resume)
    best = Best(f"validation_{plan.score_name}", greater=True) if config.monitor == "score" else Best()
    monitor = best.monitor if config.min_delta else None
    stopping = EarlyStopping(monitor, min_delta=config.min_delta, patience=patience(config, plan.steps_per_epoch))
    watched = prepared.watched
    as_model = partial(_model, prepared)
    with survivable(backend, callbacks), preflight.explained(backend, plan, prepared.need):
        # Within `explained`: even a scalar is a device array, and its allocation can fail on a full device.
        placement = Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype)
        state, run = fit(
            backend,
            plan,
            prepared.train,
            watched,
            placement,
            [stopping, *callbacks] if stops_early(config, data.task, validated="validation" in watched) else callbacks,
            best=best,
            as_model=as_model,
            rollbacks=prepared.rollbacks,
            resume=resume,
            need=prepared.need,
        )
        # An outcome may be kept or pickled: it must hold neither rows nor device arrays.
        run.training = run.fetch = run.as_model = run.best_params = None
        params = plain(np, plan.network, backend.to_host(state.params))
        model = as_model(params)
        tested, predictions, confusion = _test(prepared, state.params, placement, model)
    metrics = _metrics(prepared, run, len(params)) | tested
    return Outcome(model, run, metrics, data.y_test, predictions, confusion)


def _metrics(prepared: Prepared, run: Run, n_parameters: int) -> dict[str, Any]:
    """Return the figures of a run but those of its test."""
    data, plan, watched = prepared.data, prepared.plan, prepared.watched
    # A run interrupted in its first epoch and rolled back has no record.
    last = run.history[-1] if run.history else {}
    seconds = [record["seconds"] for record in run.history]
    return {
        "dataset": data.name,
        "start_from": prepared.config.start_from,
        "task": data.task,
        "backend": prepared.backend.name,
        "device": prepared.backend.device,
        "dtype": plan.dtype,
        "precision": plan.precision,
        "seed": plan.seed,
        "n_train": len(data.x_train),
        "n_validation": len(watched["validation"]) if "validation" in watched else 0,
        "n_test": len(data.x_test),
        "n_features": data.n_features,
        "n_parameters": n_parameters,
        "epochs": len(run.history),
        "best_epoch": run.best_epoch or None,
        "weights_of_epoch": run.best_epoch if run.restored else len(run.history),
        "stopped": run.stopped or None,
        "complete": run.final,
        "rollbacks": run.rollbacks,
        "epoch_seconds": seconds,
        "samples_per_second": sum(record["samples_per_second"] * record["seconds"] for record in run.history)
        / (sum(seconds) or 1),
        "train_loss": last.get("loss"),
        **{key: value for key, value in last.items() if key.startswith(("train_", "validation_"))},
    }


def _check_scaling(prepared: Prepared, resume: Checkpoint) -> None:
    """Refuse to resume if the scaling differs: the model file given as start_from has changed.

    Its other effects on the data show in the fingerprint of the rows.
    """
    ours, theirs = prepared.data.scaling, resume.model
    same = np.array_equal(ours.shift, theirs.shift) and np.array_equal(ours.factor, theirs.factor)
    if prepared.start is not None and not same:
        raise InputError(
            f"start_from is {prepared.config.start_from}, which is another model than when the run began; prepare the "
            "run with its checkpoint, which holds all that it took"
        )


def _target_scaling(config: Config, plan: Plan, data: DataSet, start: Start | None) -> Scaling | None:
    if start is not None and not start.why:
        check_setting("target_scale", config, start.model)
        return start.target_scaling
    if plan.target_scale == "none":
        return None
    return scaling.fit(
        plan.target_scale, data.y_train, names=data.target_names, setting="target_scale", column="target"
    )


def _rows(config: Config, data: DataSet, target_scaling: Scaling | None) -> tuple[Rows, dict[str, Rows]]:
    """Return the training rows, and the watched rows by name."""
    balanced = _balanced(data) if config.class_weight == "balanced" else None

    def rows_of(x: np.ndarray | Mapped, y: np.ndarray) -> Rows:
        return Rows(x, _scaled(y, target_scaling), None if balanced is None else balanced(y))

    train = rows_of(data.x_train, data.y_train)
    watched = {"train": _thinned(train)}
    if data.x_validation is not None and data.y_validation is not None:
        watched["validation"] = rows_of(data.x_validation, data.y_validation)
    return train, watched


def _balanced(data: DataSet) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from targets to weights that balance the classes; for several labels, a product over labels."""
    n_classes = 2 if data.multilabel else len(data.classes)

    def columns(y: np.ndarray) -> np.ndarray:
        return y.reshape(len(y), -1).T.astype(np.int64)

    # n / (k n_c) for n rows in k classes, n_c of them in class c, as in scikit-learn. n_c is 0 for a class that occurs
    # in test rows only.
    counts = np.array([np.bincount(column, minlength=n_classes) for column in columns(data.y_train)])
    by_class = len(data.y_train) / (np.count_nonzero(counts, axis=1)[:, None] * np.maximum(counts, 1))
    return lambda y: np.prod([each[codes] for each, codes in zip(by_class, columns(y), strict=True)], axis=0)


def _scaled(y: np.ndarray, scaling: Scaling | None) -> np.ndarray:
    return y if scaling is None else scale(np, y, scaling.shift, scaling.factor)


def _thinned(rows: Rows) -> Rows:
    """Return every n-th row, so that a sorted set is scored on all its classes, or all rows if they are few."""
    if len(rows) <= SCORED_ROWS:
        return rows
    every = slice(None, None, -(-len(rows) // SCORED_ROWS))
    return Rows(rows.x[every], rows.targets[every], None if rows.weights is None else rows.weights[every])


def _model(prepared: Prepared, params: np.ndarray) -> Model:
    config, data, plan, targets = prepared.config, prepared.data, prepared.plan, prepared.target_scaling
    return Model(
        params=params,
        shift=data.scaling.shift,
        factor=data.scaling.factor,
        target_shift=None if targets is None else targets.shift,
        target_factor=None if targets is None else targets.factor,
        sizes=plan.network.sizes,
        activations=plan.activations,
        loss=plan.loss,
        task=data.task,
        classes=data.classes,
        feature_names=data.feature_names,
        target=data.target,
        targets=data.targets,
        label_values=data.label_values,
        columns=data.columns,
        config=config.to_dict(),
    )


def _test(
    prepared: Prepared, params: Any, placement: Placement, model: Model
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    backend, plan, data, targets = prepared.backend, prepared.plan, prepared.data, prepared.target_scaling
    if not len(data.x_test):
        return {}, data.y_test, None
    evaluation = Evaluation(backend, plan.network, placement, plan.score_name)
    rows = Rows(data.x_test, _scaled(data.y_test, targets))
    figures = evaluation.measure(params, open_feed(backend, rows, placement))

    def predicted(start: int, stop: int) -> np.ndarray:
        outputs = backend.to_host(evaluation.predict(params, data.x_test[start:stop]))
        if targets is not None:
            outputs = unscale(np, outputs, targets.shift, targets.factor)
        return model.decided(outputs)

    # In chunks: probabilities of many classes take far more memory than the rows themselves.
    predictions = np.concatenate([predicted(start, stop) for start, stop in chunks(*data.x_test.shape)])
    compared, confusion = compare(data.y_test, predictions, len(data.classes), model.target_names)
    tested: dict[str, Any] = figures | compared
    if data.task == "regression" and len(data.x_test) == 1:
        # R² is undefined for a single row, although the evaluation returns a number.
        tested["r2"] = None
    return {f"test_{name}": value for name, value in tested.items()}, predictions, confusion
