"""MLPRegressor, compatible with scikit-learn's and extended."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import d2_pinball_score, make_scorer, r2_score
from sklearn.utils._param_validation import StrOptions

from mlpgpu.maths import network as networks
from mlpgpu.maths.losses import LOSSES, Loss
from mlpgpu.protocol import arrays, parity
from mlpgpu.protocol.arrays import Array
from mlpgpu.protocol.available import Available
from mlpgpu.protocol.base import Perceptron
from mlpgpu.protocol.choices import own_loss
from mlpgpu.protocol.constraints import CONSTRAINTS, limits
from mlpgpu.protocol.fitting import Fit
from mlpgpu.protocol.held import restored_on_failure
from mlpgpu.protocol.tasks import with_callbacks
from mlpgpu.results.regression_figures import beside_constant
from mlpgpu.training.feed import is_sparse


class MLPRegressor(RegressorMixin, Perceptron):
    """Multilayer perceptron regressor, compatible with scikit-learn's ``MLPRegressor``.

    The parameters up to `max_fun` are those of scikit-learn 1.9, in the same order and with the same defaults. The
    others are additions, off by default.

    Parameters
    ----------
    loss : str, pair of callable, or Loss, default="squared_error"
        Loss function: ``squared_error``, ``poisson``, ``absolute_error``, ``huber``, ``quantile``, or a pair of
        functions or a `Loss` as in `MLPClassifier`, with targets `t` of the shape of `z`, even for a single target.
    quantile : float, default=0.5
        Level of the quantile loss.
    huber_delta : float, default=1
        Absolute error beyond which the Huber loss is linear.
    scoring : str, callable or None, default=None
        scikit-learn scorer for early stopping; None for R², or for ``loss="quantile"`` the D² of `d2_pinball_score`.
    hidden_layer_sizes, activation, ...
        All other parameters are those of `MLPClassifier`, except `label_smoothing` and `class_weight`.

    Attributes
    ----------
    coefs_, intercepts_, ...
        The attributes of `MLPClassifier`, except ``classes_``.
    """

    _parameter_constraints = CONSTRAINTS | {
        "loss": [StrOptions({name for name, known in LOSSES.items() if known.task == "regression"}), tuple],
        "quantile": limits("quantile"),
        "huber_delta": limits("huber_delta"),
    }
    _y_numeric = True

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        device: str | None = None,
        backend: str | None = None,
        dtype: str | None = None,
        precision: str = "float32",
        optimizer: str | None = None,
        learning_rate_schedule: str | None = None,
        warmup: float = 0.0,
        decay_rate: float = 0.1,
        decay_epochs: float = 10.0,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        normalization: Any = "none",
        dropout: Any = 0.0,
        input_dropout: float = 0.0,
        init: Any = None,
        init_std: float = 0.01,
        bias_init: float | None = None,
        freeze: int = 0,
        replacement: bool = False,
        quantile: float = 0.5,
        huber_delta: float = 1.0,
        scoring: Any = None,
        callbacks: Any = None,
    ) -> None:
        self._keep(locals())

    @Available
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803
        """Train for one more epoch on the given rows, with the optimizer and learning rate of the first call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Training data.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_rows,), default=None
            Sample weights.

        Returns
        -------
        self
        """
        with restored_on_failure(self):
            Fit(self, X, y, sample_weight, incremental=True).run()
        return self

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Predict the target of each row: its mean, median or quantile, depending on the loss.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Input data.

        Returns
        -------
        array of shape (n_rows,) or (n_rows, n_outputs)
        """
        found, backend, at = self._outputs(X, "predict", networks.predict)
        return arrays.move(found[:, 0] if found.shape[1] == 1 else found, backend, at)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the coefficient of determination R².

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Test data.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            True targets.
        sample_weight : array-like of shape (n_rows,), default=None
            Sample weights.

        Returns
        -------
        float
        """
        return self._measure(_r2, X, y, sample_weight)

    def _learn(self, y: Any, incremental: bool) -> int:
        return 1 if y.ndim == 1 else int(y.shape[1])

    def _encode(self, y: Any) -> np.ndarray:
        if is_sparse(y):
            raise TypeError("y is a sparse matrix; allowed: targets as an array, such as y.toarray().")
        if y.dtype.kind not in "biuf":
            raise ValueError(
                f"y is of type {y.dtype}; allowed: numbers, such as y.astype(float); for classes MLPClassifier."
            )
        # Not copied in float32, which a network of that type takes as they are.
        targets = y if y.dtype == np.float32 else np.asarray(y, np.float64)
        return targets.reshape(len(y), -1)

    def _choose_loss(self, n_outputs: int) -> tuple[str, Loss]:
        if not isinstance(self.loss, str):
            return "own", own_loss(self.loss, LOSSES["squared_error"])
        known = LOSSES[self.loss]
        known = known.having(**{name: getattr(self, name) for name in known.settings})
        return self.loss, parity.mean_over_outputs(known) if self.loss == "squared_error" and n_outputs > 1 else known

    def _scoring(self) -> Any:
        # R² favours weights that predict the mean, whatever the quantile.
        if self.scoring is None and self.loss == "quantile":
            return make_scorer(d2_pinball_score, alpha=self.quantile)
        return self.scoring


def _r2(y: Any, predicted: np.ndarray, sample_weight: Any) -> float:
    """Return scikit-learn's R², which also checks what is given, and for constant targets that of the validation."""
    found = r2_score(y, predicted, sample_weight=sample_weight, multioutput="raw_values")
    if len(predicted) < 2:
        return found
    counted = slice(None) if sample_weight is None else np.ravel(sample_weight) != 0
    truth, outputs = (np.asarray(each, float).reshape(len(predicted), -1)[counted] for each in (y, predicted))
    return float(np.mean(beside_constant(found, truth, outputs)))
