"""Cross-validation: a run for each fold of the rows, tested on that fold."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu.callbacks import Callback, RunCheckpoint
from mlpgpu.callbacks.base import callbacks_of
from mlpgpu.callbacks.checkpoints import kept
from mlpgpu.errors import InputError
from mlpgpu.files import expanded
from mlpgpu.prepared import Prepared, check_config, prepare_folds
from mlpgpu.settings.config import Config
from mlpgpu.settings.setting import Setting, shown
from mlpgpu.training.run import Record, Run
from mlpgpu.workflow import Outcome, train_and_test


@dataclass(frozen=True, eq=False)
class Fold:
    """One run of a cross-validation, and the rows it was tested on.

    Attributes
    ----------
    rows : int array of shape (n_test,)
        Indices of the test rows.
    outcome : Outcome
    """

    rows: np.ndarray = field(repr=False)
    outcome: Outcome


@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation:
    """Results of a cross-validation.

    Attributes
    ----------
    n_folds : int
        Number of folds requested.
    folds : tuple of Fold
        Folds that are done; fewer than `n_folds` after Ctrl-C.
    signal : int
        Number of the signal that ended the cross-validation early; 0 if none did.
    """

    n_folds: int
    folds: tuple[Fold, ...]
    signal: int = 0

    def __repr__(self) -> str:
        from mlpgpu.results import report

        found = [report.figures_in_words(report.tested(self.mean), report.tested(self.std))] if self.folds else []
        return f"CrossValidation({', '.join([f'{len(self.folds)} of {self.n_folds} folds', *found])})"

    @property
    def complete(self) -> bool:
        """Whether all folds are done."""
        return len(self.folds) == self.n_folds

    @property
    def mean(self) -> dict[str, Any]:
        """Mean over the folds of each test metric, such as ``test_accuracy``; numbers of rows are summed.

        It is None if the metric of a fold is, such as ROC AUC where all test rows are of one class.
        """
        return {name: _mean(values) for name, values in self._tested.items()}

    @property
    def std(self) -> dict[str, float | None]:
        """Standard deviation over the folds (``ddof=0``) of each test metric but those of single targets; or None."""
        return {name: _std(values) for name, values in self._tested.items() if not isinstance(values[0], dict)}

    @property
    def rows(self) -> np.ndarray:
        """Indices of the rows that were tested on, ascending, shape (n_rows,)."""
        return np.sort(np.concatenate([fold.rows for fold in self.folds]))

    @property
    def fold_of_row(self) -> np.ndarray:
        """Number of the fold, from 1, in which each of `rows` was tested on, shape (n_rows,)."""
        return self._in_order(np.full(len(fold.rows), i) for i, fold in enumerate(self.folds, 1))

    @property
    def truth(self) -> np.ndarray:
        """Targets of `rows`, as in `Outcome.truth`."""
        return self._in_order(fold.outcome.truth for fold in self.folds)

    @property
    def predictions(self) -> np.ndarray:
        """Predictions for `rows`, each by the network that was not trained on it, as in `Outcome.predictions`."""
        return self._in_order(fold.outcome.predictions for fold in self.folds)

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of `rows`, as in `Outcome.weights`."""
        parts = [fold.outcome.weights for fold in self.folds if fold.outcome.weights is not None]
        return self._in_order(parts) if parts else None

    @property
    def confusion(self) -> np.ndarray | None:
        """Confusion matrix of all `rows`, as in `Outcome.confusion`."""
        parts = [fold.outcome.confusion for fold in self.folds if fold.outcome.confusion is not None]
        return np.sum(parts, axis=0) if parts else None

    @property
    def metrics(self) -> dict[str, Any]:
        """All metrics, JSON-able: ``mean`` and ``std`` over the folds, and those of each fold in ``by_fold``."""
        by_fold = [fold.outcome.metrics for fold in self.folds]
        shared = ("dataset", "task", "backend", "device", "dtype", "precision", "seed", "n_features", "n_parameters")
        return {
            **{name: by_fold[0][name] for name in shared},
            "n_rows": len(self.rows),
            "n_folds": self.n_folds,
            "complete": self.complete,
            "mean": self.mean,
            "std": self.std,
            "by_fold": by_fold,
        }

    @property
    def _tested(self) -> dict[str, list[Any]]:
        by_fold = [fold.outcome.metrics for fold in self.folds]
        return {name: [one[name] for one in by_fold] for name in by_fold[0] if name.startswith("test_")}

    def _in_order(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(parts))[np.argsort(np.concatenate([fold.rows for fold in self.folds]))]


def cross_validate(
    config: Config,
    folds: int = 5,
    callbacks: Sequence[Callback] = (),
    *,
    checkpoints: str | Path | Callable[[Prepared], Path] | None = None,
    on_fold_begin: Callable[[Prepared], None] | None = None,
    on_fold_end: Callable[[CrossValidation], None] | None = None,
) -> CrossValidation:
    """Train a network for each fold of the rows, and test it on that fold.

    Every row is tested on once, by a network whose training, encoding and scaling did not use it. The folds are of
    (nearly) equal size, and stratified for a classification where possible; rows of one ``group`` are in one fold.
    Validation rows are drawn from the training rows, as in a single run. Test rows that the data set comes with are
    distributed over the folds like all others.

    Parameters
    ----------
    config : Config
        Settings of each run; ``test_fraction`` and those of the run folder are ignored. ``seed`` seeds the draw of the
        folds as well as each run.
    folds : int
        Number of folds: at least 2, at most the number of rows, or of groups.
    callbacks : sequence of Callback
        Callbacks of each run.
    checkpoints : path, callable or None
        Folder for checkpoints, which each fold writes as often as ``checkpoint_every`` of the settings says and at its
        end. Folds with a checkpoint there are resumed: repeating the call continues where it was stopped or killed. Or
        a function that returns the folder, called as ``checkpoints(prepared)`` for the first fold. None writes none.
    on_fold_begin : callable or None
        Called as ``on_fold_begin(prepared)`` before the first step of each fold.
    on_fold_end : callable or None
        Called as ``on_fold_end(found)`` after each fold, with the results so far.

    Returns
    -------
    CrossValidation

    Raises
    ------
    InputError
        If a file, a device, a setting or a callback cannot be used, or does not match the checkpoints.
    Diverged
        If the loss of a run is not finite, and there are no best weights to restore.
    KeyboardInterrupt
        After Ctrl-C in the first fold. Any other signal that ends the first fold is raised again.
    """
    check_config(config)
    for name, hook in {"on_fold_begin": on_fold_begin, "on_fold_end": on_fold_end}.items():
        if hook is not None and not callable(hook):
            raise InputError(f"{name} is {shown(hook)!r}; allowed: a function of one argument, or None")
    n_folds = Setting(int, within="[2, inf)").checked("folds", folds)
    found, callbacks = CrossValidation(n_folds, ()), callbacks_of(callbacks)
    try:
        for rows, prepared in prepare_folds(config, n_folds):
            if callable(checkpoints):
                checkpoints = checkpoints(prepared)
            if on_fold_begin is not None:
                on_fold_begin(prepared)
            if checkpoints is None:
                outcome = train_and_test(prepared, callbacks)
            else:
                folder = expanded(checkpoints) / f"fold-{len(found.folds) + 1}"
                saving = _FoldCheckpoint(folder, config.checkpoint_every)
                outcome = train_and_test(prepared, [*callbacks, saving], resume=folder if kept(folder) else None)
            # Frees the rows of this fold before those of the next are selected.
            del prepared
            # A run that a time limit stopped is not final, but it has been tested.
            if outcome.run.final or not outcome.run.signal:
                found = replace(found, folds=(*found.folds, Fold(rows, outcome)))
                if on_fold_end is not None:
                    on_fold_end(found)
            if outcome.run.signal:
                found = replace(found, signal=outcome.run.signal)
                break
    except KeyboardInterrupt:
        # The signal came between two runs, or was the second one.
        found = replace(found, signal=signal.SIGINT)
    if not found.folds:
        # There are no results to return: leave the signal to the process.
        signal.raise_signal(found.signal)
        raise KeyboardInterrupt
    return found


class _FoldCheckpoint(RunCheckpoint):
    """`RunCheckpoint` that also writes at the end of a run: a fold resumed from there only has to be tested."""

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write a checkpoint if one is due or this is the last epoch."""
        super().on_epoch_end(run, record)
        if run.stopped or run.epoch == run.plan.epochs:
            self._write(run)


def _mean(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _mean([value[name] for value in values]) for name in first}
    if isinstance(first, int):
        return sum(values)
    return None if None in values else float(np.mean(values))


def _std(values: Sequence[Any]) -> float | None:
    # An infinite loss makes the deviation NaN, which is no reason for a warning.
    with np.errstate(invalid="ignore"):
        return None if None in values else float(np.std(values))
