"""scikit-learn's own run: its draws, its split, its shuffles and its stopping rule, so that its numbers are ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split

from mlpgpu.callbacks import Callback
from mlpgpu.maths.losses import Loss
from mlpgpu.maths.parameters import join

if TYPE_CHECKING:
    from mlpgpu.trainer import Record, Run


def draw(random_state: np.random.RandomState, sizes: Sequence[int], activations: Sequence[str]) -> np.ndarray:
    """Initial parameters: Glorot's uniform ones, biases too, layer by layer.

    Parameters
    ----------
    random_state : RandomState
    sizes : sequence of int
        Units of each layer, from the inputs to the outputs.
    activations : sequence of str
        Name for each layer but the inputs; the bound is ``sqrt(2 / (fan_in + fan_out))`` for ``logistic``, with 6 in
        place of 2 for all others.

    Returns
    -------
    float64 array of shape (n_parameters,)
    """
    pairs = []
    for fan_in, fan_out, name in zip(sizes[:-1], sizes[1:], activations, strict=True):
        bound = math.sqrt((2 if name == "logistic" else 6) / (fan_in + fan_out))
        weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
        pairs.append((weights, random_state.uniform(-bound, bound, fan_out)))
    return join(np, pairs)


def split(
    random_state: np.random.RandomState, n_rows: int, fraction: float, stratify: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training rows, and of those held out for early stopping.

    At least two rows are held out, one of each class to stratify by, where scikit-learn's MLP gives up.

    Parameters
    ----------
    random_state : RandomState
    n_rows : int
    fraction : float
        Of the rows to hold out.
    stratify : array of shape (n_rows, 1) or None
        Binary labels.

    Raises
    ------
    ValueError
        Where there are too few rows.
    """
    if fraction == 0:
        raise ValueError(
            "early_stopping=True needs validation rows: give X_val and y_val, or a validation_fraction > 0."
        )
    held_out = max(math.ceil(fraction * n_rows), 2)
    if n_rows - held_out < 1:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset "
            f"(n_samples = {n_rows})."
        )
    train, validation = train_test_split(
        np.arange(n_rows), random_state=random_state, test_size=held_out, stratify=stratify
    )
    return train, validation


@dataclass
class Order:
    """The order of the rows of each epoch, each a shuffle of the one before.

    Attributes
    ----------
    random_state : RandomState
    rows : int array of shape (n_rows,)
        The present order.
    replacement : bool
        Whether each row of an epoch is drawn from all of them instead.
    """

    random_state: np.random.RandomState
    rows: np.ndarray
    replacement: bool = False

    def epoch(self, number: int) -> np.ndarray:
        """The next order; `number` is the trainer's, and plays no part."""
        if self.replacement:
            return self.random_state.randint(len(self.rows), size=len(self.rows))
        # What sklearn.utils.shuffle does, without its tenth of a millisecond of checks.
        drawn = np.arange(len(self.rows))
        self.random_state.shuffle(drawn)
        self.rows = self.rows[drawn]
        return self.rows


def mean_over_outputs(loss: Loss) -> Loss:
    """`loss` reported as the mean over the outputs, while its gradient stays that of their sum.

    scikit-learn does so with the squared error of several targets.
    """

    def rows(xp: Any, z: Any, t: Any) -> tuple[Any, Any]:
        each, dz = loss.rows(xp, z, t)
        return each / z.shape[-1], dz

    return loss._replace(rows=rows)


@dataclass
class StoppingRule(Callback):
    """Ends a run, or lowers its learning rate, after too many epochs that were no better by `tol`.

    Attributes
    ----------
    tol : float
    patience : float
        Epochs without progress that are let pass.
    monitor : str
        ``loss``, or a key of the record of which more is better.
    learning_rate : str
        ``constant``; ``invscaling``, after each epoch; or ``adaptive``, which divides by 5 in place of an end.
    initial_rate, power_t : float
    samples : int
        Rows seen before the run.
    best : float
        The best value so far.
    count : int
        Epochs without progress so far.
    verbose : bool
    """

    tol: float
    patience: float
    monitor: str
    learning_rate: str
    initial_rate: float
    power_t: float
    samples: int
    best: float
    count: int
    verbose: bool

    def state(self) -> dict[str, Any]:
        """What it has counted."""
        return {"samples": self.samples, "best": self.best, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Count on."""
        self.samples, self.best, self.count = state["samples"], state["best"], state["count"]

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Count, and act."""
        sign = 1 if self.monitor == "loss" else -1
        value = record[self.monitor]
        self._tell(f"Iteration {run.epoch}, loss = {record['loss']:.8f}")
        if sign < 0:
            self._tell(f"Validation score: {value:f}")
        self.count = self.count + 1 if sign * value > sign * self.best - self.tol else 0
        if sign * value < sign * self.best:
            self.best = value
        self.samples += run.n_rows
        if self.learning_rate == "invscaling":
            run.learning_rate = self.initial_rate / (self.samples + 1) ** self.power_t
        if self.count > self.patience:
            self._act(run)

    def _act(self, run: Run) -> None:
        what = "Training loss" if self.monitor == "loss" else "Validation score"
        why = f"{what} did not improve more than tol={self.tol:f} for {self.patience} consecutive epochs."
        if self.learning_rate != "adaptive":
            run.stop("converged")
            self._tell(f"{why} Stopping.")
        elif run.learning_rate <= 1e-6:
            run.stop("converged")
            self._tell(f"{why} Learning rate too small. Stopping.")
        else:
            run.learning_rate /= 5
            self.count = 0
            self._tell(f"{why} Setting learning rate to {run.learning_rate:f}")

    def _tell(self, line: str) -> None:
        if self.verbose:
            print(line)  # noqa: T201
