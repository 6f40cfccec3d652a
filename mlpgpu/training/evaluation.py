"""Loss, score and logits of a network, computed on the device."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.maths import scores
from mlpgpu.maths.network import Network, logits
from mlpgpu.training.feed import Feed, Placement, chunks

Array = Any


class Evaluation:
    """Runs a network forward, without dropout.

    Parameters
    ----------
    backend : Backend
    network : Network
    placement : Placement
    score_name : str
        Name of the score.
    """

    def __init__(self, backend: Backend, network: Network, placement: Placement, score_name: str = "score") -> None:
        self.backend, self.network, self.placement, self.score_name = backend, network, placement, score_name

    # Compiled when first used: most fits watch no rows.
    @cached_property
    def _sums(self) -> Callable[..., Array]:
        return self.backend.compile(self.sums)

    @cached_property
    def _logits(self) -> Callable[..., Array]:
        return self.backend.compile(self._compute_logits)

    def sums(self, params: Array, x: Array, targets: Array, weights: Array) -> Array:
        """Return the sums that `measure` adds up over chunks, concatenated into one vector; pure, since it is compiled.

        They are the weighted loss, the weights, and the weighted score: correct rows, or squared residuals per output.
        """
        xp, loss = self.backend.xp, self.network.loss
        z = self._compute_logits(params, x)
        rows, _ = loss.rows(xp, z, targets)
        if loss.task == "classification":
            score = scores.correct(xp, z, targets) * weights
        else:
            score = scores.squared_residuals(xp, loss.link(xp, z), targets) * weights[:, None]
        sums = xp.sum(rows * weights), xp.sum(weights), xp.sum(score, axis=0)
        return xp.concat([xp.reshape(part, (-1,)) for part in sums])

    def _compute_logits(self, params: Array, x: Array) -> Array:
        return logits(self.backend.xp, self.network, params, self.placement(x))

    def measure(self, params: Array, feed: Feed) -> dict[str, float]:
        """Compute the weighted mean loss, and accuracy or R² (the mean over the outputs, as in scikit-learn).

        Parameters
        ----------
        params : array of shape (n_parameters,)
            On the device.
        feed : Feed

        Returns
        -------
        dict
            ``loss``, and the score by its name.
        """
        parts = [self._sums(params, *feed.chunk(start, stop)) for start, stop in chunks(len(feed.rows), feed.width)]
        # Copied at once to wait for the device only once, and added in float64, since the sum needs more digits.
        sums = self.backend.to_host(self.backend.xp.stack(parts)).astype(np.float64).sum(axis=0)
        loss, weight, score = sums[0], sums[1], sums[2:]
        if self.network.loss.task == "classification":
            return {"loss": float(loss / weight), self.score_name: float(score[0] / weight)}
        targets, each = feed.rows.targets, feed.rows.weight_of_each()
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            # Shifted by a row that has weight, so that constant targets become 0: the computed mean of another constant
            # may be rounded.
            targets = targets - targets[np.argmax(each > 0)].astype(np.float64)
            spread = each @ (targets - np.average(targets, axis=0, weights=each)) ** 2
            r2 = np.where(spread > 0, 1 - score / spread, np.where(np.isnan(score), np.nan, score == 0))
        return {"loss": float(loss / weight), self.score_name: float(r2.mean())}

    def watch(
        self, params: Array, feeds: Mapping[str, Feed], score: Callable[[Array], float] | None
    ) -> dict[str, float]:
        """Compute loss and score of several feeds, for the record of an epoch.

        Parameters
        ----------
        params : array of shape (n_parameters,)
            On the device.
        feeds : mapping of str to Feed
            Keyed by name, such as ``validation``.
        score : callable or None
            ``score(params)`` replaces the network's own score of the validation rows.

        Returns
        -------
        dict
            Loss and score of each feed, with keys such as ``validation_loss``.
        """
        record = {f"{name}_{key}": value for name in feeds for key, value in self.measure(params, feeds[name]).items()}
        if score is not None and "validation" in feeds:
            record[f"validation_{self.score_name}"] = score(params)
        return record

    def logits(self, params: Array, x: Array) -> Array:
        """Compute the logits of rows, an array of shape (n_rows, n_outputs) on the device.

        Parameters
        ----------
        params : array of shape (n_parameters,)
            On the device.
        x : array of shape (n_rows, n_features)
            As for `Placement.place`.
        """
        return in_chunks(self.backend, lambda rows: self._logits(params, rows), self.placement, x)


def in_chunks(backend: Backend, function: Callable[[Array], Array], placement: Placement, x: Array) -> Array:
    """Place rows on the device chunk by chunk, apply a function to each chunk, and concatenate the results."""
    n_rows = x.shape[0]
    parts = (function(placement.place(x[start:stop, ...])) for start, stop in chunks(n_rows, placement.width(x)))
    return backend.joined(parts, n_rows)
