"""What both estimators share: parameters, fit, and the way of rows through the network."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import update_wrapper
from numbers import Integral, Real
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, _fit_context
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.config import settings
from mlpgpu.errors import did_you_mean
from mlpgpu.evaluation import in_chunks
from mlpgpu.feed import Unscaled, is_sparse
from mlpgpu.learning_rates import RangeTest
from mlpgpu.maths import network as networks
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import Loss
from mlpgpu.maths.network import Network
from mlpgpu.model import Model
from mlpgpu.protocol import arrays, conversion, rates, saving
from mlpgpu.protocol.arrays import Array
from mlpgpu.protocol.choices import activations_of, by_lbfgs, compute_backend
from mlpgpu.protocol.fitting import Fit, Validation
from mlpgpu.protocol.held import fitted_sizes, loss_of, params_of, parts_of, whole
from mlpgpu.protocol.tasks import CallbackSupportMixin, with_callbacks
from mlpgpu.search import Search


def limits(name: str) -> list[Any]:
    """The range of a setting of the command, as scikit-learn states it."""
    known, _ = settings()[name]
    if known.choices:
        return [StrOptions(set(known.choices))]
    low, high = (None if end.strip().endswith("inf") else float(end) for end in known.within[1:-1].split(","))
    closed = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}[known.within[0] + known.within[-1]]
    return [Interval(Integral if known.kind is int else Real, low, high, closed=closed)]


class Available:
    """A method that is there only while ``_check_<name>()`` of the estimator raises nothing."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        if estimator is None:
            return self.method
        getattr(estimator, f"_check_{self.method.__name__}")()
        return MethodType(self.method, estimator)


class NotAvailable(AttributeError, ValueError):
    """A method that the parameters of the estimator rule out."""


class Perceptron(CallbackSupportMixin, BaseEstimator):
    """A multilayer perceptron with scikit-learn's protocol; see `mlpgpu.MLPClassifier` for its parameters."""

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(TRAINABLE)), list, tuple],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "device": [str, None],
        "backend": [*limits("backend"), None],
        "dtype": [*limits("dtype"), None],
        "precision": limits("precision"),
        "optimizer": [*limits("optimizer"), None],
        "learning_rate_schedule": [*limits("schedule"), None],
        **{name: limits(name) for name in ("warmup", "decay_rate", "decay_epochs", "input_dropout")},
        "normalization": [*limits("normalization"), list, tuple],
        "dropout": [*limits("dropout"), "array-like"],
        **{name: [*limits(name), None] for name in ("weight_decay", "clip_norm", "bias_init")},
        "init": [*limits("init"), list, tuple, None],
        "init_std": limits("init_std"),
        "freeze": [Interval(Integral, 0, None, closed="left")],
        "replacement": ["boolean"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "callbacks": [list, tuple, None],
    }
    _y_numeric = False
    _stratifies = False

    def _keep(self, given: Mapping[str, Any]) -> None:
        """Set the parameters, as the constructor was given them."""
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
        """Fit the network to rows and their targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            With scikit-learn's array API dispatch on, an array of any library, on any device, where it then stays.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), default=None
        X_val, y_val, sample_weight_val : array-like, default=None
            Rows to validate on after each epoch, in place of a part of `X` where ``early_stopping=True``.
        resume : path, default=None
            A checkpoint that `RunCheckpoint` or `ModelCheckpoint` wrote in a fit that was stopped or killed, or the
            folder of the first: with the same rows and parameters, this fit ends as that one would have. What is no
            whole number as `random_state` is taken up as it was when that fit began.

        Returns
        -------
        self
        """
        held_out = Validation(X_val, y_val, sample_weight_val)
        with whole(self):
            Fit(self, X, y, sample_weight, held_out, incremental=False, resume=resume).run()
        return self

    def _validate_params(self) -> None:
        """Hold the parameters to their constraints, as scikit-learn does, with a hint for a word that is none."""
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            _, name, _ = str(error).split("'", 2)
            words = [
                constraint for constraint in self._parameter_constraints[name] if isinstance(constraint, StrOptions)
            ]
            hint = did_you_mean(str(getattr(self, name)), sorted(word for one in words for word in one.options))
            raise InvalidParameterError(f"{str(error).rstrip('.')}{hint or '.'}") from None

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
        """Learn what targets there are, or hold `y` to it; the outputs that a network for them has."""

    @abstractmethod
    def _encode(self, y: Any) -> np.ndarray:
        """Targets as a loss takes them."""

    @abstractmethod
    def _choose_loss(self, n_outputs: int) -> tuple[str, Loss]:
        """Name and function of the loss."""

    def _class_weights(self, y: np.ndarray, incremental: bool) -> list[np.ndarray] | None:
        return None

    def _scoring(self) -> Any:
        """The scorer of validation rows; None for the network's own score."""
        return self.scoring

    def _keep_classes(self, at: Backend) -> None:
        pass

    def _outputs(self, X: Any, method: str, function: Callable[..., Array]) -> tuple[Array, Backend, Backend]:  # noqa: N803
        """``function(xp, network, params, x)`` of checked rows, the backend it is on, and the home of the rows."""
        check_is_fitted(self, "coefs_")
        at, fitted_at = arrays.home(X), backends.beside(self.coefs_[0])
        foreign = get_config()["array_api_dispatch"] or at is not arrays.HOST
        if foreign and not arrays.same_home(at, fitted_at):
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): these are of {at.description}, those were of {fitted_at.description}. Move "
                "the rows, or the estimator with sklearn.utils._array_api.move_estimator_to."
            )
        x, _ = arrays.check_rows(self, X, "no_validation", reset=False)
        weights = arrays.dtype_name(self.coefs_[0])
        # The wider of both, whose name is also the later one; products that are rounded are of the weights' type.
        dtype = weights if self.dtype or self.precision != "float32" else max(weights, arrays.dtype_name(x))
        backend = compute_backend(self, at, dtype)
        if not is_sparse(x):
            x = x if arrays.same_home(at, backend) else at.to_host(x)
        network, params = self._network(), backend.asarray(params_of(self, backend), dtype)
        compiled = backend.compile(lambda params, rows: function(backend.xp, network, params, rows), once=True)
        return in_chunks(backend, lambda rows: compiled(params, rows), Unscaled(backend, dtype), x), backend, at

    def _network(self) -> Network:
        sizes = fitted_sizes(self)
        return Network(sizes, activations_of(self.activation, len(sizes) - 2)[1], loss_of(self, sizes[-1])[1])

    def hidden_activations(self, X: Any, layer: int = -1) -> Array:  # noqa: N803
        """What the units of a hidden layer make of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        layer : int, default=-1
            Index of the hidden layer; the last by default.

        Returns
        -------
        array of shape (n_rows, n_units)
        """
        check_is_fitted(self, "coefs_")
        n_hidden = self.n_layers_ - 2
        if not n_hidden:
            raise ValueError("there is no hidden layer in this network, a linear model; give it hidden_layer_sizes.")
        if not -n_hidden <= layer < n_hidden:
            raise ValueError(
                f"layer is {layer}, and there are {n_hidden} hidden layers; allowed: {-n_hidden} to {n_hidden - 1}."
            )
        found, backend, at = self._outputs(
            X,
            "hidden_activations",
            lambda xp, network, params, x: networks.hidden(xp, network, params, x, layer % n_hidden),
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
        """Train a copy with a learning rate that rises from tiny to large, and see where the loss falls fastest.

        Parameters
        ----------
        X, y, sample_weight : array-like
            As `fit` takes them.
        low, high : float, default=1e-7, 10
            First and last learning rate (Smith, 2017; the span is that of fastai).
        steps : int, default=100
            Steps from one to the other, at least 10. The more, the lower the suggestion: more is learned on the way.

        Returns
        -------
        RangeTest
            The curve, a suggested rate, and a plot.

        Raises
        ------
        ValueError
            Where `low`, `high` or `steps` is out of its range, the solver is L-BFGS, or the first loss is not finite.
        """
        return rates.find_learning_rate(self, X, y, sample_weight, low=low, high=high, steps=steps)

    def summary(self) -> str:
        """The layers of the fitted network as a table: units, activation and parameters of each."""
        check_is_fitted(self, "coefs_")
        return conversion.summary(self)

    def to_sklearn(self) -> Any:
        """The same network as scikit-learn's own estimator, fitted."""
        check_is_fitted(self, "coefs_")
        return conversion.to_sklearn(self)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Any:
        """The network of scikit-learn's own fitted estimator.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
        """
        return conversion.from_sklearn(cls, estimator)

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator as a model file, whole or not at all.

        The commands and `mlpgpu.Model.load` read it too. Parameters that JSON cannot hold, which are callbacks, a
        RandomState, a scorer that is a function and arrays to start from, are left out, and come back as their
        defaults.

        Parameters
        ----------
        path : path

        Raises
        ------
        ValueError
            Where the activation or the loss is a function of your own, or a label is neither text nor a number.
        """
        check_is_fitted(self, "coefs_")
        saving.to_model(self, fitted_sizes(self), params_of(self, arrays.HOST)).save(path)

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """The fitted estimator in a model file, its arrays on the host; an optimizer starts anew.

        Parameters
        ----------
        path : path
            A file that `save` has written, or a callback during `fit`; or one of the command, where that neither
            scales nor encodes; or the run folder that it is in.

        Raises
        ------
        InputError
            Where there is no such model.
        """
        return saving.from_model(cls, Model.load(path), path)

    def __getstate__(self) -> dict[str, Any]:
        """All that prediction needs, on the host: not what an optimizer keeps."""
        state = dict(super().__getstate__())
        state.pop("_continuation", None)
        for name in ("coefs_", "intercepts_"):
            if name in state:
                state[name] = [_at_home(array) for array in state[name]]
        if "classes_" in state:
            state["classes_"] = _at_home(state["classes_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "coefs_" in vars(self):
            self.__dict__.update(parts_of(np, params_of(self, arrays.HOST), fitted_sizes(self)))

    def __copy__(self) -> Any:
        """All of it where it is, which what is read from a file is not."""
        copied: Any = object.__new__(type(self))
        vars(copied).update(vars(self))
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


def _at_home(array: Array) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else backends.beside(array).to_host(array)
