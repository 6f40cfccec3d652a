"""Loss, score and predictions of a network on rows, computed on the device."""

from typing import Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.feed import CHUNK, Feed, Scaling
from mlpgpu.maths import scores
from mlpgpu.maths.network import Network, forward

Array = Any


class Evaluation:
    """Runs a network forward, without dropout.

    Parameters
    ----------
    backend : Backend
    network : Network
    scaling : Scaling
    """

    def __init__(self, backend: Backend, network: Network, scaling: Scaling) -> None:
        self.backend, self.network, self.scaling = backend, network, scaling
        self.score_name = {"classification": "accuracy", "regression": "r2"}[network.loss.task]
        self._sums = backend.compile(self._compute_sums)
        self._predict = backend.compile(self._compute_predictions)

    def _compute_sums(self, params: Array, x: Array, targets: Array, weights: Array) -> tuple[Array, ...]:
        xp, loss = self.backend.xp, self.network.loss
        z, _ = forward(xp, self.network, params, self.scaling(x))
        rows, _ = loss.rows(xp, z, targets)
        if loss.task == "classification":
            score = scores.correct(xp, z, targets) * weights
        else:
            score = scores.squared_residuals(xp, loss.link(xp, z), targets) * weights[:, None]
        return xp.sum(rows * weights), xp.sum(weights), xp.sum(score, axis=0)

    def _compute_predictions(self, params: Array, x: Array) -> Array:
        xp = self.backend.xp
        return self.network.loss.link(xp, forward(xp, self.network, params, self.scaling(x))[0])

    def measure(self, params: Array, feed: Feed) -> dict[str, float]:
        """Weighted mean loss, and accuracy or R² (the mean over the outputs, as scikit-learn has it).

        Parameters
        ----------
        params : array of shape (n_parameters,)
            On the device.
        feed : Feed

        Returns
        -------
        dict
            ``loss``, and ``accuracy`` or ``r2``.
        """
        targets, weights = feed.rows.targets, feed.rows.weights
        parts = [
            self._sums(params, *feed.chunk(start, min(start + CHUNK, len(targets))))
            for start in range(0, len(targets), CHUNK)
        ]
        loss, weight, score = (
            sum(self.backend.to_host(part).astype(np.float64) for part in column) for column in zip(*parts, strict=True)
        )
        if self.score_name == "accuracy":
            return {"loss": float(loss / weight), "accuracy": float(score / weight)}
        each = np.ones(len(targets)) if weights is None else weights
        spread = each @ (targets - np.average(targets, axis=0, weights=each)) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = np.where(spread > 0, 1 - score / spread, np.where(score > 0, 0.0, 1.0))
        return {"loss": float(loss / weight), "r2": float(r2.mean())}

    def predict(self, params: Array, x: np.ndarray) -> np.ndarray:
        """Probabilities or expected targets, shape (n_rows, n_outputs), on the host.

        Parameters
        ----------
        params : array of shape (n_parameters,)
            On the device.
        x : array of shape (n_rows, n_features)
            Unscaled, on the host.
        """
        parts = [
            self.backend.to_host(self._predict(params, self.scaling.place(x[start : start + CHUNK])))
            for start in range(0, len(x), CHUNK)
        ]
        return np.concatenate(parts)
