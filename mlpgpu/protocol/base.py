"""Base class of both estimators: parameters, fitting and evaluation of the network."""

from __future__ import annotations

import copy
import operator
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils.validation import check_is_fitted

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.errors import InputError, listed
from mlpgpu.figures import counted
from mlpgpu.maths import network as networks
from mlpgpu.maths.losses import Loss
from mlpgpu.maths.network import Network
from mlpgpu.models.model import Model
from mlpgpu.protocol import arrays, conversion, rates, saving
from mlpgpu.protocol.advice import advised, on_targets
from mlpgpu.protocol.arrays import Array
from mlpgpu.protocol.available import NotAvailable
from mlpgpu.protocol.choices import activations_of, by_lbfgs, compute_backend
from mlpgpu.protocol.constraints import CONSTRAINTS, validate
from mlpgpu.protocol.fitting import Fit, HeldOut
from mlpgpu.protocol.held import (
    CURVES,
    Continuation,
    fitted_sizes,
    loss_of,
    params_of,
    parts_of,
    restored_on_failure,
)
from mlpgpu.protocol.tasks import CallbackSupportMixin, with_callbacks
from mlpgpu.settings.search import Search
from mlpgpu.training.evaluation import in_chunks
from mlpgpu.training.feed import Unscaled, is_sparse
from mlpgpu.training.learning_rates import RangeTest

# Private methods that scikit-learn's fit and predictions call, and that subclasses of its estimators override.
SKLEARN_STEPS = (
    "_backprop",
    "_compute_loss_grad",
    "_fit",
    "_fit_lbfgs",
    "_fit_stochastic",
    "_forward_pass",
    "_forward_pass_fast",
    "_init_coef",
    "_initialize",
    "_loss_grad_lbfgs",
    "_predict",
    "_score",
    "_update_no_improvement_count",
    "_validate_input",
)


class Perceptron(CallbackSupportMixin, BaseEstimator):
    """Multilayer perceptron with scikit-learn's protocol; see `mlpgpu.MLPClassifier` for its parameters."""

    _parameter_constraints = CONSTRAINTS
    _y_numeric = False
    _stratifies = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if ignored := [name for name in SKLEARN_STEPS if name in vars(cls)]:
            warnings.warn(
                f"{cls.__name__} overrides {', '.join(ignored)}, which scikit-learn's MLP calls but mlpgpu's does not; "
                "this has no effect. Use init, loss, activation, callbacks or X_val instead, or inherit from "
                "sklearn.neural_network.",
                stacklevel=2,
            )

    def _keep(self, given: Mapping[str, Any]) -> None:
        """Set the parameters to the constructor's arguments."""
        for name, value in given.items():
            if name not in {"self", "__class__"}:
                setattr(self, name, value)

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        sample_weight_val: Any = None,
        resume: Any = None,
    ) -> Any:
        """Fit the network to the given data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Training data. With scikit-learn's array API dispatch on, an array of any library and device, on which the
            fit then runs.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Class labels, or targets of a regression.
        sample_weight : array-like of shape (n_rows,), default=None
            Sample weights.
        X_val, y_val, sample_weight_val : array-like, default=None
            Validation set, evaluated after each epoch. With ``early_stopping=True`` it replaces the rows held out of
            `X`.
        resume : path, default=None
            Checkpoint of a fit that was stopped or killed, written by `RunCheckpoint` or `ModelCheckpoint`, or the
            folder of the `RunCheckpoint`. With the same data and parameters, this fit ends as that one would have. A
            `random_state` other than an int is restored to its state at the start of that fit.

        Returns
        -------
        self
        """
        held_out = HeldOut(X_val, y_val, sample_weight_val)
        with restored_on_failure(self):
            Fit(self, X, y, sample_weight, incremental=False, held_out=held_out, resume=resume).run()
        return self

    def _validate_params(self) -> None:
        validate(self)

    def _check_partial_fit(self) -> None:
        if by_lbfgs(self):
            raise NotAvailable(
                "partial_fit is only available for stochastic optimizers, and solver='lbfgs' is not one; choose 'adam' "
                "or 'sgd'."
            )
        if self.early_stopping:
            raise NotAvailable(
                "partial_fit does not support early_stopping=True, for there is no end to stop before; set it to False."
            )

    @abstractmethod
    def _learn(self, y: Any, incremental: bool) -> int:
        """Learn the targets from `y`, or check `y` against those learned; return the number of outputs."""

    @abstractmethod
    def _encode(self, y: Any) -> np.ndarray:
        """Encode targets for the loss."""

    @abstractmethod
    def _choose_loss(self, n_outputs: int) -> tuple[str, Loss]:
        """Return the name of the loss, and the loss."""

    def _class_weights(self, y: np.ndarray, incremental: bool) -> list[np.ndarray] | None:
        return None

    def _scoring(self) -> Any:
        """The scorer of validation rows; None for the network's own score."""
        return self.scoring

    def _keep_classes(self, at: Backend) -> None:
        pass

    def _outputs(self, X: Any, method: str, function: Callable[..., Array]) -> tuple[Array, Backend, Backend]:  # noqa: N803
        """Return ``function(xp, network, params, x)`` of validated rows, its backend, and the backend of `X`."""
        check_is_fitted(self, "coefs_")
        at, fitted_at = arrays.home(X), backends.beside(self.coefs_[0])
        foreign = get_config()["array_api_dispatch"] or at is not arrays.HOST
        if foreign and not arrays.same_home(at, fitted_at):
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): these are of {at.description}, those were of {fitted_at.description}. Move "
                "the rows, or the estimator with sklearn.utils._array_api.move_estimator_to."
            )
        x = arrays.check_inputs(self, X)
        weights = arrays.dtype_name(self.coefs_[0])
        # `max` finds the wider type, whose name sorts last. Rounded products keep the type of the weights.
        dtype = weights if self.dtype is not None or self.precision != "float32" else max(weights, arrays.dtype_name(x))
        backend = compute_backend(self, at, dtype)
        if not is_sparse(x):
            x = x if arrays.same_home(at, backend) else at.to_host(x)
        network, params = self._network(), backend.asarray(params_of(self, backend), dtype)
        compiled = backend.compile(lambda params, rows: function(backend.xp, network, params, rows), once=True)
        return in_chunks(backend, lambda rows: compiled(params, rows), Unscaled(backend, dtype), x), backend, at

    def _measure(self, metric: Callable[..., float], X: Any, y: Any, sample_weight: Any) -> float:  # noqa: N803
        weights = None if sample_weight is None else arrays.to_host(sample_weight)
        predicted = arrays.to_host(self.predict(X))
        with advised(on_targets, y):
            return float(metric(arrays.to_host(y), predicted, sample_weight=weights))

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> Array:  # noqa: N803
        """Return the activations of the output layer; programs call scikit-learn's private method of this name."""
        found, backend, at = self._outputs(X, "_forward_pass_fast", networks.predict)
        return arrays.move(found, backend, at)

    def _forward_pass(self, activations: list[Any]) -> list[Any]:
        """Fill `activations` with those of all layers for the rows in ``activations[0]``, as in scikit-learn."""
        x = activations[0]
        hidden = [self.hidden_activations(x, layer) for layer in range(len(self.coefs_) - 1)]
        activations[1:] = [*hidden, self._forward_pass_fast(x)]
        return activations

    def _network(self) -> Network:
        sizes = fitted_sizes(self)
        return Network(sizes, activations_of(self.activation, len(sizes) - 2)[1], loss_of(self, sizes[-1])[1])

    def hidden_activations(self, X: Any, layer: int = -1) -> Array:  # noqa: N803
        """Return the activations of a hidden layer.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Input data.
        layer : int, default=-1
            Index of the hidden layer; by default the last.

        Returns
        -------
        array of shape (n_rows, n_units)
        """
        check_is_fitted(self, "coefs_")
        n_hidden = self.n_layers_ - 2
        if not n_hidden:
            raise ValueError("there is no hidden layer in this network, a linear model; give it hidden_layer_sizes.")
        try:
            number = range(n_hidden)[operator.index(layer)]
        except (TypeError, IndexError):
            raise ValueError(
                f"layer is {layer!r}, and the network has {counted(n_hidden, 'hidden layer')}; "
                f"allowed: {-n_hidden} to {n_hidden - 1}."
            ) from None
        found, backend, at = self._outputs(
            X,
            "hidden_activations",
            lambda xp, network, params, x: networks.hidden(xp, network, params, x, number),
        )
        return arrays.move(found, backend, at)

    def find_learning_rate(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        *,
        low: float = Search.low,
        high: float = Search.high,
        steps: int = Search.steps,
    ) -> RangeTest:
        """Train a copy with a rising learning rate, and suggest the rate at which the loss falls fastest.

        Parameters
        ----------
        X, y, sample_weight : array-like
            Training data, as for `fit`.
        low, high : float, default=1e-7, 10
            First and last learning rate (Smith, 2017; the range is that of fastai).
        steps : int, default=100
            Number of steps, at least 10. More steps give a lower suggestion, because more is learned on the way.

        Returns
        -------
        RangeTest
            Loss curve, suggested rate and plot.

        Raises
        ------
        ValueError
            If `low`, `high` or `steps` is out of range, the solver is L-BFGS, or the first loss is not finite.
        """
        return rates.find_learning_rate(self, X, y, sample_weight, low=low, high=high, steps=steps)

    def summary(self) -> str:
        """Return a table of the layers of the fitted network: units, activation and number of parameters."""
        check_is_fitted(self, "coefs_")
        return conversion.summary(self)

    def to_sklearn(self) -> Any:
        """Return scikit-learn's estimator, fitted, with the same network."""
        check_is_fitted(self, "coefs_")
        return conversion.to_sklearn(self)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Any:
        """Create a fitted estimator from one of scikit-learn.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            Fitted estimator.
        """
        return conversion.from_sklearn(cls, estimator)

    def save(self, path: str | Path) -> None:
        """Save the fitted estimator to a model file, atomically.

        The commands and `mlpgpu.Model.load` read it too. Parameters that JSON cannot represent (callbacks, a
        RandomState, a scorer function, arrays in `init`) are omitted, and load as their defaults.

        Parameters
        ----------
        path : path
            File to write.

        Raises
        ------
        ValueError
            If the activation or the loss is a custom function, or a label is neither text nor a number.
        """
        check_is_fitted(self, "coefs_")
        saving.to_model(self, fitted_sizes(self), params_of(self, arrays.HOST)).save(path)

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """Load a fitted estimator from a model file, with its arrays on the host and no optimizer state.

        Parameters
        ----------
        path : path
            File written by `save`, by a callback during `fit`, or by the command for a model that neither scales nor
            encodes its data; or its run folder.

        Raises
        ------
        InputError
            If there is no such model.
        """
        return saving.from_model(cls, Model.load(path), path)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that prediction needs, on the host, and after `partial_fit` also what the next one needs."""
        state = dict(super().__getstate__())
        kept = state.pop("_continuation", None)
        if kept is not None and kept.in_parts:
            state["_kept"] = kept.to_plain()
        for name in ("coefs_", "intercepts_"):
            if name in state:
                state[name] = [_to_host(array) for array in state[name]]
        if "classes_" in state:
            state["classes_"] = _to_host(state["classes_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a pickle; raise `InputError` if it lacks a parameter, as one of an earlier version may."""
        lacking = [name for name in self._get_param_names() if name not in state]
        if lacking:
            raise InputError(
                f"the pickled {type(self).__name__} lacks {listed(lacking)}: another version wrote it; unpickle it by "
                "that one, save it there by its method save, and read that file by load"
            )
        super().__setstate__({name: value for name, value in state.items() if name != "_kept"})
        if "coefs_" in vars(self):
            params = params_of(self, arrays.HOST)
            self.__dict__.update(parts_of(np, params, fitted_sizes(self)))
            if "_kept" in state:
                self._continuation = Continuation.from_plain(state["_kept"], params)

    def __copy__(self) -> Any:
        """Copy the complete state, on its device, unlike pickling; curves are copied because fits extend them."""
        copied: Any = object.__new__(type(self))
        vars(copied).update(vars(self))
        for name in CURVES:
            if name in vars(self):
                setattr(copied, name, copy.copy(getattr(self, name)))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """See `__copy__`."""
        copied: Any = object.__new__(type(self))
        memo[id(self)] = copied
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


def _to_host(array: Array) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else backends.beside(array).to_host(array)
