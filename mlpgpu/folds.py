"""Cross-validation: a run for each fold of the rows, tested on that fold."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu.callbacks import Callback, RunCheckpoint
from mlpgpu.callbacks.base import checked
from mlpgpu.callbacks.checkpoints import kept
from mlpgpu.config import Config
from mlpgpu.files import expanded
from mlpgpu.run import Record, Run
from mlpgpu.workflow import Outcome, Prepared, prepare_folds, train_and_test

__all__ = ["CrossValidation", "Fold", "cross_validate"]


@dataclass(frozen=True)
class Fold:
    """A run, and which rows it was tested on.

    Attributes
    ----------
    rows : int array of shape (n_test,)
        Their numbers, counted from 0.
    outcome : Outcome
    """

    rows: np.ndarray
    outcome: Outcome


@dataclass(frozen=True)
class CrossValidation:
    """What the runs of all folds have found.

    Attributes
    ----------
    n_folds : int
        How many were asked for.
    folds : tuple of Fold
        Those that came to their end; fewer than `n_folds` after Ctrl-C.
    signal : int
        Number of the signal that ended it before the last fold; 0 where none did.
    """

    n_folds: int
    folds: tuple[Fold, ...]
    signal: int = 0

    @property
    def complete(self) -> bool:
        """Whether all folds are done."""
        return len(self.folds) == self.n_folds

    @property
    def mean(self) -> dict[str, Any]:
        """Each figure of the tests, such as ``test_accuracy``: its mean over the folds. Numbers of rows are sums."""
        return {name: _mean(values) for name, values in self._tested.items()}

    @property
    def std(self) -> dict[str, float]:
        """The standard deviation over the folds, by their number, of each figure but those of single targets."""
        return {name: _std(values) for name, values in self._tested.items() if not isinstance(values[0], dict)}

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the rows that were tested on, ascending and counted from 0, shape (n_rows,)."""
        return np.sort(np.concatenate([fold.rows for fold in self.folds]))

    @property
    def fold_of_row(self) -> np.ndarray:
        """The fold in which each of `rows` was tested on, counted from 1, shape (n_rows,)."""
        return self._in_order(np.full(len(fold.rows), i) for i, fold in enumerate(self.folds, 1))

    @property
    def truth(self) -> np.ndarray:
        """Of `rows`, as `Outcome.truth`."""
        return self._in_order(fold.outcome.truth for fold in self.folds)

    @property
    def predictions(self) -> np.ndarray:
        """Of `rows`, each by the network that was not trained on it, as `Outcome.predictions`."""
        return self._in_order(fold.outcome.predictions for fold in self.folds)

    @property
    def confusion(self) -> np.ndarray | None:
        """Of all `rows`, as `Outcome.confusion`."""
        parts = [fold.outcome.confusion for fold in self.folds if fold.outcome.confusion is not None]
        return np.sum(parts, axis=0) if parts else None

    @property
    def metrics(self) -> dict[str, Any]:
        """All of it in figures, JSON-able: ``mean`` and ``std``, and the metrics ``by_fold``."""
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

    Every row is tested on once, by a network that was not trained on it, with encoding and scaling that were not fitted
    on it. The folds have a size, and of a classification the same share of each class where that can be. Rows to
    validate on are drawn from those of training, as in a single run. Test rows that a set has of its own are in the
    folds with the others.

    Parameters
    ----------
    config : Config
        Settings of each run; ``test_fraction`` and those of its folder are not read. The ``seed`` draws the folds as
        well, and is that of each run.
    folds : int
        At least 2, at most the number of rows.
    callbacks : sequence of Callback
        Told of each run.
    checkpoints : path, callable or None
        Folder with those of each fold, as often as ``checkpoint_every`` of the settings says and at its end; folds that
        have one there are taken up, so that the same call again goes on where it was stopped or killed. Or a function
        of the first fold that says which folder. None keeps none.
    on_fold_begin : callable or None
        ``on_fold_begin(prepared)`` before the first step of each fold.
    on_fold_end : callable or None
        ``on_fold_end(found)`` after each fold, with what was found so far.

    Returns
    -------
    CrossValidation

    Raises
    ------
    InputError
        Where a file, a device or a setting cannot be used, or is not that of the checkpoints.
    Diverged
        Where the loss of a run is not finite, and there are no best weights to bring back.
    KeyboardInterrupt
        After Ctrl-C in the first fold; another signal is for the process then.
    """
    n_folds = checked("folds", folds, int, within="[2, inf)")
    found = CrossValidation(n_folds, ())
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
            # Before the rows of the next fold are taken.
            del prepared
            # A run whose time is up may be gone on with, and has been tested all the same.
            if outcome.run.final or not outcome.run.signal:
                found = replace(found, folds=(*found.folds, Fold(rows, outcome)))
                if on_fold_end is not None:
                    on_fold_end(found)
            if outcome.run.signal:
                found = replace(found, signal=outcome.run.signal)
                break
    except KeyboardInterrupt:
        # It came between two runs, or was the second one.
        found = replace(found, signal=signal.SIGINT)
    if not found.folds:
        # There is nothing to end with: it is for the process.
        signal.raise_signal(found.signal)
        raise KeyboardInterrupt
    return found


class _FoldCheckpoint(RunCheckpoint):
    """Writes one at the end of a run as well, which goes on from there with its test."""

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write where it is due, or the last epoch is done."""
        super().on_epoch_end(run, record)
        if run.stopped or run.epoch == run.plan.epochs:
            self._write(run)


def _mean(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _mean([value[name] for value in values]) for name in first}
    if isinstance(first, int):
        return sum(values)
    return float(np.mean(_numbers(values)))


def _std(values: Sequence[float | None]) -> float:
    # Of an infinite loss there is none.
    with np.errstate(invalid="ignore"):
        return float(np.std(_numbers(values)))


def _numbers(values: Sequence[float | None]) -> list[float]:
    # The R² of a single row is none.
    return [np.nan if value is None else value for value in values]
