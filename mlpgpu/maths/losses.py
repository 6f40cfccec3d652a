"""Losses, each with its gradient with respect to the logits and the link that turns logits into a prediction.

A new loss is one function ``(xp, z, t) -> (loss of each row, gradient with respect to z)`` and one
entry in `LOSSES`. Logits `z` have shape (..., n_rows, n_outputs). Targets `t` are floats of that
shape, or integer labels of shape (..., n_rows).
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from mlpgpu.maths.activations import identity, logistic, softplus

Array = Any


class Loss(NamedTuple):
    """A loss.

    Attributes
    ----------
    rows : callable
        ``rows(xp, z, t)`` -> loss of each row, shape (..., n_rows), and its gradient with respect to `z`.
    link : callable
        ``link(xp, z)`` -> prediction: probabilities, or the expected target of a regression.
    task : str
        ``classification`` or ``regression``.
    lowest : float
        Smallest target that the loss allows.
    log_link : callable or None
        ``log_link(xp, z)`` -> logarithm of the prediction, finite even where the prediction rounds to 0.
    """

    rows: Callable[..., tuple[Array, Array]]
    link: Callable[[Any, Array], Array]
    task: str
    lowest: float = float("-inf")
    log_link: Callable[[Any, Array], Array] | None = None

    @property
    def settings(self) -> dict[str, float]:
        """Default of each setting of the loss, by name: the keyword-only arguments of `rows`."""
        return dict(getattr(self.rows, "__kwdefaults__", None) or {})

    def having(self, **settings: float) -> "Loss":
        """Return the loss with some of its settings changed."""
        # A NumPy scalar has a dtype, which would promote that of the arrays, or which other libraries refuse.
        numbers = tuple((name, float(value)) for name, value in settings.items())
        return self._replace(rows=_having(self.rows, numbers)) if numbers else self


# Cached, so that losses with the same settings are equal.
@lru_cache
def _having(rows: Callable[..., tuple[Array, Array]], numbers: tuple[tuple[str, float], ...]) -> Callable[..., Any]:
    return partial(rows, **dict(numbers))


def log_softmax(xp: Any, z: Array) -> Array:
    """``z - log sum exp z`` over the outputs, stable for logits of any magnitude."""
    z = z - xp.max(z, axis=-1, keepdims=True)
    return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True))


def softmax(xp: Any, z: Array) -> Array:
    """``exp z / sum exp z`` over the outputs, stable for logits of any magnitude."""
    p = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    return p / xp.sum(p, axis=-1, keepdims=True)


def log_logistic(xp: Any, z: Array) -> Array:
    """``log logistic(z)``, stable for logits of any magnitude."""
    return -softplus(xp, -z)


def one_hot(xp: Any, t: Array, z: Array) -> Array:
    """Return the targets as floats of the shape and dtype of the logits `z`.

    Parameters
    ----------
    t : array
        Integer labels of shape (..., n_rows), which are one-hot encoded, or floats of shape (..., n_rows, n_outputs),
        which are returned as they are: probabilities, one-hot, soft or multilabel.
    z : array of shape (..., n_rows, n_outputs)
        With one output, the labels 0 and 1 are themselves the targets.
    """
    n_outputs = z.shape[-1]
    if xp.isdtype(t.dtype, "integral"):
        labels = xp.reshape(t, (*t.shape, 1))
        if n_outputs > 1:
            # A traced array has no device, and constants in a trace need none.
            labels = labels == xp.arange(n_outputs, dtype=t.dtype, device=getattr(t, "device", None))
        t = xp.astype(labels, z.dtype)
    return t


def smooth(t: Array, smoothing: float, n_classes: int) -> Array:
    """``(1 - smoothing) t + smoothing / n_classes``: label smoothing (Szegedy et al., 2016)."""
    return t * (1 - smoothing) + smoothing / n_classes if smoothing else t


def cross_entropy(xp: Any, z: Array, t: Array, *, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    """``-sum t log softmax(z)``, with gradient ``softmax(z) sum t - t``."""
    p_t = smooth(one_hot(xp, t, z), label_smoothing, z.shape[-1])
    log_p = log_softmax(xp, z)
    p = xp.exp(log_p)
    if not xp.isdtype(t.dtype, "integral"):
        # The probabilities of integer labels sum to 1.
        p = p * xp.sum(p_t, axis=-1, keepdims=True)
    return -xp.sum(p_t * log_p, axis=-1), p - p_t


def logistic_loss(xp: Any, z: Array, t: Array, *, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    """``sum log(1 + exp z) - t z``, binary or multilabel, with gradient ``logistic(z) - t``."""
    # Each output is a problem of two classes.
    t = smooth(one_hot(xp, t, z), label_smoothing, 2)
    # Subtract the large terms first: `softplus(z) - t z` would lose the digits of a small loss.
    rows = xp.maximum(z, 0) - t * z + xp.log1p(xp.exp(-xp.abs(z)))
    return xp.sum(rows, axis=-1), logistic(xp, z) - t


def squared_error(xp: Any, z: Array, t: Array) -> tuple[Array, Array]:
    """``sum (z - t)² / 2``, with gradient ``z - t``."""
    error = z - t
    return 0.5 * xp.sum(error * error, axis=-1), error


def absolute_error(xp: Any, z: Array, t: Array) -> tuple[Array, Array]:
    """``sum |z - t|``, with gradient ``sign(z - t)``."""
    error = z - t
    return xp.sum(xp.abs(error), axis=-1), xp.sign(error)


def huber(xp: Any, z: Array, t: Array, *, huber_delta: float = 1.0) -> tuple[Array, Array]:
    """``error² / 2`` up to `huber_delta` and linear beyond (Huber, 1964), with gradient ``z - t`` clipped to it."""
    error = z - t
    clipped = xp.minimum(xp.maximum(error, -huber_delta), huber_delta)
    return xp.sum(clipped * (error - 0.5 * clipped), axis=-1), clipped


def pinball(xp: Any, z: Array, t: Array, *, quantile: float = 0.5) -> tuple[Array, Array]:
    """``sum max(q (t - z), (q - 1) (t - z))``, lowest at the `quantile` q of the target (Koenker and Bassett, 1978)."""
    error = z - t
    slope = xp.where(error > 0, xp.ones_like(error), xp.zeros_like(error)) - quantile
    # Any slope from -q to 1 - q is a subgradient at the target; 0 leaves an exact prediction as it is.
    slope = xp.where(error == 0, xp.zeros_like(error), slope)
    return xp.sum(slope * error, axis=-1), slope


def exponential(xp: Any, z: Array) -> Array:
    """``exp z``."""
    return xp.exp(z)


def poisson(xp: Any, z: Array, t: Array) -> tuple[Array, Array]:
    """Half the Poisson deviance, ``sum t log(t / μ) - t + μ`` with ``μ = exp z``; gradient ``μ - t``."""
    mean = xp.exp(z)
    log_t = xp.log(xp.where(t > 0, t, xp.ones_like(t)))
    return xp.sum(t * (log_t - z) - t + mean, axis=-1), mean - t


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(cross_entropy, softmax, "classification", log_link=log_softmax),
    "logistic": Loss(logistic_loss, logistic, "classification", log_link=log_logistic),
    "squared_error": Loss(squared_error, identity, "regression"),
    "absolute_error": Loss(absolute_error, identity, "regression"),
    "huber": Loss(huber, identity, "regression"),
    "quantile": Loss(pinball, identity, "regression"),
    "poisson": Loss(poisson, exponential, "regression", lowest=0.0),
}
