"""A run from settings to test figures: prepare, train, test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu.callbacks import Callback, EarlyStopping
from mlpgpu.callbacks.base import callbacks_of
from mlpgpu.data.aside import effective
from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.maths.network import plain
from mlpgpu.models.model import Model
from mlpgpu.prepared import Prepared, check_config, prepare
from mlpgpu.results.comparison import judge, too_large, unvalidated
from mlpgpu.settings.config import Config
from mlpgpu.settings.resumed import check_same
from mlpgpu.training.checkpoint import Checkpoint
from mlpgpu.training.device_failure import explained
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import Placement, Scaled, chunks, open_feed
from mlpgpu.training.plan import patience, stops_early
from mlpgpu.training.run import Best, Run
from mlpgpu.training.trainer import fit

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
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
    weights : float array of shape (n_test,), or None
        Weights of the test rows; None for equal weights.
    confusion : int array of shape (n_classes, n_classes), or None for regression and for several labels
        Number of test rows by true class (row) and predicted class (column).
    """

    model: Model
    run: Run
    metrics: dict[str, Any]
    truth: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray | None
    confusion: np.ndarray | None

    def __repr__(self) -> str:
        from mlpgpu.results import report

        n_test = self.metrics["n_test"]
        found = "no test rows"
        if n_test:
            found = f"{report.figures_in_words(report.tested(self.metrics))} on {counted(n_test, 'test row')}"
        why = f"; stopped: {self.run.stopped} in epoch {self.run.epoch}" if self.run.stopped else ""
        return f"Outcome({self.model!r}, {found}{why})"


def train_and_test(
    prepared: Prepared | Config, callbacks: Sequence[Callback] = (), *, resume: Checkpoint | str | Path | None = None
) -> Outcome:
    """Train on the training rows, and evaluate on the test rows, if there are any.

    Ctrl-C, SIGTERM and SIGHUP end the training after the current steps, and the weights so far are evaluated;
    ``outcome.run.signal`` is then the number of the signal, at which a loop over runs should end.

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
        If a file, a device, a setting or a callback cannot be used, or does not match the checkpoint, or if the device
        fails during training.
    Diverged
        If the loss is not finite or has exploded, and there are no best weights to restore.
    """
    if not isinstance(prepared, Prepared):
        check_config(prepared)
    callbacks = callbacks_of(callbacks)
    if resume is not None and not isinstance(resume, Checkpoint):
        resume = Checkpoint.load(resume)
    if not isinstance(prepared, Prepared):
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
    with explained(backend, plan, prepared.need, callbacks):
        # Within `explained`: even a scalar is a device array, and its allocation can fail on a full device.
        placement = Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype)
        state, run = fit(
            backend,
            plan,
            prepared.train,
            watched,
            placement,
            [stopping, *callbacks] if stops_early(config, data.task, validated="validation" in watched) else callbacks,
            test=prepared.test,
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
    for note in (*unvalidated(run), *too_large("test loss", metrics.get("test_loss"))):
        log.warning(note)
    return Outcome(model, run, metrics, data.y_test, predictions, data.weights_test, confusion)


def _metrics(prepared: Prepared, run: Run, n_parameters: int) -> dict[str, Any]:
    """Return the figures of a run but those of its test."""
    data, plan, watched = prepared.data, prepared.plan, prepared.watched
    # A run interrupted in its first epoch and rolled back has no record.
    last = run.history[-1] if run.history else {}
    seconds = [record["seconds"] for record in run.history]
    return {
        "dataset": data.name,
        "sample_weight": prepared.config.sample_weight,
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
        "n_test_effective": None if data.weights_test is None else effective(data.weights_test),
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
    backend, plan, data = prepared.backend, prepared.plan, prepared.data
    if prepared.test is None:
        return {}, data.y_test, None
    evaluation = Evaluation(backend, plan.network, placement, plan.score_name)
    figures = evaluation.measure(params, open_feed(backend, prepared.test, placement))

    parts = chunks(*data.x_test.shape)
    logits = (backend.to_host(evaluation.logits(params, data.x_test[start:stop])) for start, stop in parts)
    compared, predictions, confusion, _ = judge(model, logits, data.y_test, data.weights_test)
    # R² of the host replaces that of the device, which is a number for a single row as well.
    return {f"test_{name}": value for name, value in (figures | compared).items()}, predictions, confusion
