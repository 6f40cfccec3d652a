"""scikit-learn's random draws, validation split, shuffles and stopping rule, reproduced for identical results."""

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
    from mlpgpu.training.run import Record, Run


def draw(random_state: np.random.RandomState, sizes: Sequence[int], activations: Sequence[str]) -> np.ndarray:
    """Draw the initial weights and biases, layer by layer, from Glorot's uniform distribution.

    Parameters
    ----------
    random_state : RandomState
    sizes : sequence of int
        Units of each layer, from the inputs to the outputs.
    activations : sequence of str
        Activation of each layer except the inputs; the bound is ``sqrt(2 / (fan_in + fan_out))`` for ``logistic``, and
        ``sqrt(6 / (fan_in + fan_out))`` for all others.

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
    """Return the indices of the training rows, and of the rows held out for early stopping.

    At least two rows are held out, one of each class if stratified; scikit-learn's MLP fails for fewer.

    Parameters
    ----------
    random_state : RandomState
    n_rows : int
    fraction : float
        Fraction of the rows to hold out.
    stratify : array of shape (n_rows, 1) or None
        Binary labels.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    if fraction == 0:
        raise ValueError(
            "early_stopping=True needs validation rows: give X_val and y_val, or set validation_fraction above 0, such "
            "as 0.1."
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


@dataclass(eq=False)
class Order:
    """Order of the rows in each epoch, a shuffle of the previous one.

    Attributes
    ----------
    random_state : RandomState
    rows : int array of shape (n_rows,)
        Current order.
    replacement : bool
        Whether to draw the rows of an epoch with replacement instead.
    """

    random_state: np.random.RandomState
    rows: np.ndarray
    replacement: bool = False

    def epoch(self, number: int) -> np.ndarray:
        """Return the next order; the epoch `number`, which the trainer passes, is ignored."""
        if self.replacement:
            return self.random_state.randint(len(self.rows), size=len(self.rows))
        # As sklearn.utils.shuffle, without its 0.1 ms of checks.
        drawn = np.arange(len(self.rows))
        self.random_state.shuffle(drawn)
        self.rows = self.rows[drawn]
        return self.rows


def mean_over_outputs(loss: Loss) -> Loss:
    """Return `loss` with its value averaged over the outputs, but with the gradient of their sum.

    scikit-learn does so with the squared error of several targets.
    """

    def rows(xp: Any, z: Any, t: Any) -> tuple[Any, Any]:
        each, dz = loss.rows(xp, z, t)
        return each / z.shape[-1], dz

    return loss._replace(rows=rows)


@dataclass
class StoppingRule(Callback):
    """Callback that stops a run, or lowers its learning rate, after too many epochs without progress.

    Attributes
    ----------
    tol : float
        Minimum improvement that counts as progress.
    patience : float
        Maximum number of consecutive epochs without progress.
    monitor : str
        ``loss``, or the key of a value in the record for which greater is better.
    learning_rate : str
        ``constant``; ``invscaling``, applied after each epoch; or ``adaptive``, which divides the rate by 5 instead of
        stopping.
    initial_rate, power_t : float
        Initial learning rate and exponent of ``invscaling``.
    samples : int
        Number of rows seen so far, earlier runs included.
    best : float
        Best value so far.
    count : int
        Consecutive epochs without progress so far.
    verbose : bool
        Whether to print scikit-learn's messages.
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
        """Return the counts and the best value."""
        return {"samples": self.samples, "best": self.best, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the counts and the best value."""
        self.samples, self.best, self.count = state["samples"], state["best"], state["count"]

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Update the counts, then stop the run or change the learning rate if due."""
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
