"""MLPClassifier and MLPRegressor: scikit-learn's, and more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.metrics import accuracy_score, d2_pinball_score, make_scorer, r2_score
from sklearn.utils._param_validation import StrOptions

from mlpgpu.backends import Backend
from mlpgpu.feed import is_sparse
from mlpgpu.maths import network as networks
from mlpgpu.maths.losses import LOSSES, Loss
from mlpgpu.protocol import arrays, parity
from mlpgpu.protocol.arrays import Array
from mlpgpu.protocol.base import Available, Perceptron, limits
from mlpgpu.protocol.choices import own_loss
from mlpgpu.protocol.fitting import Fit, Validation
from mlpgpu.protocol.held import whole
from mlpgpu.protocol.labels import Labels, classes_of
from mlpgpu.protocol.tasks import with_callbacks

__all__ = ["MLPClassifier", "MLPRegressor"]


class MLPClassifier(ClassifierMixin, Perceptron):
    """Multilayer perceptron classifier: scikit-learn's ``MLPClassifier``, and more.

    The parameters up to `max_fun` are those of scikit-learn 1.9, in its order and with its defaults; the others are
    additions, and off.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units of each hidden layer; ``()`` for a linear model.
    activation : str, pair of callable, or list of them, default="relu"
        Of the hidden layers, one or one for each: ``identity``, ``logistic``, ``tanh``, ``relu``, ``leaky_relu``,
        ``elu``, ``selu``, ``gelu``, ``silu``, ``softplus``, or ``(value(xp, z), derivative(xp, z, y))``.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights.
    batch_size : int or "auto", default="auto"
        Rows a step; ``"auto"`` is 200, or all where there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Course of the learning rate of ``solver="sgd"``.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
        Exponent of ``invscaling``.
    max_iter : int, default=200
        Most epochs, or iterations of ``lbfgs``.
    shuffle : bool, default=True
        Whether each epoch has an order of its own.
    random_state : int, RandomState or None, default=None
        Of initial weights, held-out rows, orders and dropout.
    tol : float, default=1e-4
        What counts as progress of the loss, or of the validation score.
    verbose : bool, default=False
    warm_start : bool, default=False
        Whether `fit` goes on from the weights there are.
    momentum : float, default=0.9
    nesterovs_momentum : bool, default=True
    early_stopping : bool, default=False
        Whether a part of the rows, or ``X_val`` of `fit`, decides when to stop and which weights to keep: the best,
        however the fit ends.
    validation_fraction : float, default=0.1
    beta_1, beta_2 : float, default=0.9, 0.999
    epsilon : float, default=1e-8
    n_iter_no_change : int or inf, default=10
        Epochs without progress that are let pass.
    max_fun : int, default=15000
        Most evaluations of the loss by ``lbfgs``.
    device : str or None, default=None
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``; None computes where `X` is.
    backend : {"auto", "numpy", "cupy", "torch", "jax"} or None, default=None
        Array library to compute with; None for that of `X`.
    dtype : {"float32", "float64"} or None, default=None
        None for that of `X`.
    precision : {"float32", "tf32", "bf16"}, default="float32"
        How matrix products round their operands: to 10 bits behind the point with ``tf32`` and to 7 with ``bf16``, by
        hardware on CUDA, elsewhere emulated and no faster. They add up in float32, which all else stays, so that
        `dtype`, or that of `X`, is to be float32.
    optimizer : str or None, default=None
        ``sgd``, ``momentum``, ``nesterov``, ``rmsprop``, ``adagrad``, ``adam``, ``adamw``, ``adam_hat`` or ``lion`` in
        place of `solver`. `momentum` is a setting of ``momentum`` and ``nesterov`` alone, `beta_1` of the adams and
        ``lion``, `beta_2` of these and ``rmsprop``, `epsilon` of all but ``sgd``, ``momentum``, ``nesterov`` and
        ``lion``; one that the optimizer has no use for is told of where it is not as it is by default. `beta_2` is
        scikit-learn's 0.999, of ``rmsprop`` and ``lion`` as well, for which PyTorch and `Config` have 0.99.
    learning_rate_schedule : str or None, default=None
        ``constant``, ``invscaling``, ``step``, ``exponential``, ``cosine`` or ``one_cycle``, over `max_iter` epochs.
    warmup : float, default=0
        Epochs of linear rise before it.
    decay_rate, decay_epochs : float, default=0.1, 10
        Factor of ``step`` every so many epochs, and of ``exponential`` over the whole fit.
    weight_decay : float or None, default=None
        Decoupled decay of the weights, and not of the biases; None for the optimizer's own, 0.01 for ``adamw`` and
        else 0.
    clip_norm : float or None, default=None
        Largest Euclidean norm of the gradient.
    normalization : str or list of str, default="none"
        ``batch``: each hidden unit has mean 0 and variance 1 over the rows of a batch before its activation, then a
        scale and a bias that are learned (Ioffe and Szegedy, 2015); ``none``; or one of them for each hidden layer.
        `coefs_` and `intercepts_` are those of the network without normalisation that predicts the same. Layers whose
        weights are given, frozen or read from a file are trained without it.
    dropout : float or array-like of float, default=0
        Chance that a hidden unit is dropped in a step: one, or one for each hidden layer.
    input_dropout : float, default=0
        The same of an input.
    init : str, list of (array, array) or None, default=None
        ``glorot_uniform``, ``glorot_normal``, ``he_uniform``, ``he_normal``, ``lecun_normal``, ``normal`` or ``zeros``
        weights with biases of 0; None for scikit-learn's draws. Or weights (fan_in, fan_out) and biases (fan_out,) of
        the lowest layers, such as ``list(zip(other.coefs_, other.intercepts_))[:-1]``, above which they are drawn.
    init_std : float, default=0.01
        Of ``normal``.
    bias_init : float or None, default=None
        Initial value of every bias.
    freeze : int, default=0
        Lowest layers whose weights and biases stay as they are, at most as many as there are hidden layers.
    replacement : bool, default=False
        Whether each row of an epoch is drawn from all of them, so that some come more than once.
    loss : "log_loss", pair of callable, or Loss, default="log_loss"
        ``(value(xp, z, t), gradient(xp, z, t))`` of the logits `z` of shape (n_rows, n_outputs): the loss of each row,
        of shape (n_rows,), and its gradient, of the shape of `z`. `t` are class numbers of shape (n_rows,), which
        ``mlpgpu.maths.losses.one_hot(xp, t, z)`` turns into columns; 0 and 1 of the shape of `z` where there are
        several labels. Or a `mlpgpu.maths.losses.Loss`.
    label_smoothing : float, default=0
        Part of each label that is spread over the classes.
    class_weight : dict, list of dict, "balanced" or None, default=None
        What the weights of the rows of each class are multiplied with; in the validation loss and accuracy, too. A dict
        for each label, where there may be several. All rows that `fit` is given are counted for ``balanced``.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn for early stopping, of weighted rows where it takes weights; None for accuracy.
    callbacks : list of Callback or None, default=None

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    coefs_, intercepts_ : list of array
        Weights of shape (fan_in, fan_out) and biases of shape (fan_out,) of each layer.
    n_features_in_, n_outputs_, n_layers_, n_iter_, t_ : int
        Inputs, outputs, layers, epochs of the last fit, and rows seen.
    feature_names_in_ : array of shape (n_features,)
        Where the columns of `X` have names.
    out_activation_ : str
    loss_, best_loss_ : float
        At the end, of the weights that were kept; the lowest there was, None with early stopping.
    loss_curve_, validation_loss_curve_, validation_scores_ : list of float
        An item an epoch; the latter two None without rows to validate on.
    best_validation_score_ : float or None
    history_ : list of dict
        ``epoch``, ``loss``, ``validation_loss``, ``validation_score``, ``learning_rate``, ``seconds`` and
        ``samples_per_second`` of each epoch.
    """

    _parameter_constraints = Perceptron._parameter_constraints | {
        "loss": [StrOptions({"log_loss"}), tuple],
        "label_smoothing": limits("label_smoothing"),
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    _stratifies = True

    def __init__(
        self,
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
        loss: Any = "log_loss",
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        scoring: Any = None,
        callbacks: Any = None,
    ) -> None:
        self._keep(locals())

    @Available
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:  # noqa: N803
        """Go on for one epoch over these rows, with the optimizer and the learning rate of the first call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_labels)
        sample_weight : array-like of shape (n_rows,), default=None
        classes : array-like of shape (n_classes,), default=None
            All classes there will be; needed at the first call.

        Returns
        -------
        self
        """
        known: Any = getattr(self, "_labels", None)
        if known is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            given = Labels.given(arrays.to_host(classes), arrays.to_host(y))
            if known is not None and not np.array_equal(known.classes, given.classes):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known.classes!r}"
                )
            known = known or given
        with whole(self):
            self._labels = known
            Fit(self, X, y, sample_weight, Validation(), incremental=True).run()
        return self

    def predict(self, X: Any) -> Array:  # noqa: N803
        """The most probable class of each row; for multilabel targets, each label of a probability above one half.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        array of shape (n_rows,) or (n_rows, n_labels)
        """
        probabilities, backend, at = self._outputs(X, "predict", networks.predict)
        return self._labels.decode(probabilities, backend, at)

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """The probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        array of shape (n_rows, n_classes)
            Of multilabel targets, that of each label, strictly between 0 and 1.
        """
        z, backend, at = self._outputs(X, "predict_proba", networks.logits)
        return arrays.move(self._probabilities(backend.xp, z), backend, at)

    def _probabilities(self, xp: Any, z: Array) -> Array:
        link = self._network().loss.link
        p = link(xp, z)
        if self._labels.binary:
            # The small one of the two keeps its digits.
            p = xp.concat([link(xp, -z) if link is LOSSES["logistic"].link else 1 - p, p], axis=1)
        # No logit is so large that another answer is impossible.
        limits = xp.finfo(p.dtype)
        p = xp.maximum(p, limits.smallest_normal)
        return xp.minimum(p, 1 - limits.eps / 2) if self._labels.multilabel else p

    def predict_log_proba(self, X: Any) -> Array:  # noqa: N803
        """The logarithm of the probability of each class, finite also where the probability is rounded to 0.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        array of shape (n_rows, n_classes)
        """
        z, backend, at = self._outputs(X, "predict_log_proba", networks.logits)
        xp, log_link = backend.xp, self._network().loss.log_link
        if log_link is None or self._labels.multilabel:
            found = xp.log(self._probabilities(xp, z))
        else:
            found = xp.concat([log_link(xp, -z), log_link(xp, z)], axis=1) if self._labels.binary else log_link(xp, z)
            # The least probability that `predict_proba` gives: both put the classes in one order.
            found = xp.maximum(found, math.log(xp.finfo(z.dtype).smallest_normal))
        return arrays.move(found, backend, at)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Accuracy; of multilabel targets, the part of the rows with all labels right.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_labels)
        sample_weight : array-like of shape (n_rows,), default=None

        Returns
        -------
        float
        """
        return float(accuracy_score(*(arrays.to_host(a) for a in (y, self.predict(X))), **_weighted(sample_weight)))

    def _learn(self, y: Any, incremental: bool) -> int:
        known = getattr(self, "_labels", None)
        if known is None or not (self.warm_start or incremental):
            self._labels = known = Labels.of(y)
        else:
            classes = classes_of(y)
            if self.warm_start and set(classes) != set(known.classes):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {known.classes}, `y` has {classes}"
                )
        return known.n_outputs

    def _encode(self, y: Any) -> np.ndarray:
        return self._labels.encode(y)

    def _choose_loss(self, n_outputs: int) -> tuple[str, Loss]:
        name = "logistic" if n_outputs == 1 or self._labels.multilabel else "cross_entropy"
        known = LOSSES[name].having(label_smoothing=self.label_smoothing)
        return (name, known) if isinstance(self.loss, str) else ("own", own_loss(self.loss, known))

    def _class_weights(self, y: np.ndarray, incremental: bool) -> list[np.ndarray] | None:
        if self.class_weight is None:
            return None
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows, and partial_fit has some of them; give the weights as a dict, "
                "such as from sklearn.utils.compute_class_weight."
            )
        return self._labels.weigh(self.class_weight, y)

    def _keep_classes(self, at: Backend) -> None:
        classes = self._labels.classes
        self.classes_ = classes if self._labels.on_host else at.asarray(classes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Perceptron):
    """Multilayer perceptron regressor: scikit-learn's ``MLPRegressor``, and more.

    The parameters up to `max_fun` are those of scikit-learn 1.9, in its order and with its defaults; the others are
    additions, and off.

    Parameters
    ----------
    loss : str, pair of callable, or Loss, default="squared_error"
        ``squared_error``, ``poisson``, ``absolute_error``, ``huber``, ``quantile``, or one of your own as in
        `MLPClassifier`, with targets `t` of the shape of `z`, also where there is one.
    quantile : float, default=0.5
        Level of the quantile loss.
    huber_delta : float, default=1
        Error from which the Huber loss is linear.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn for early stopping; None for R², of the quantile loss for its D², `d2_pinball_score`.
    hidden_layer_sizes, activation, ...
        All others are those of `MLPClassifier`, which has `label_smoothing` and `class_weight` beside them.

    Attributes
    ----------
    coefs_, intercepts_, ...
        Those of `MLPClassifier`, but for ``classes_``.
    """

    _parameter_constraints = Perceptron._parameter_constraints | {
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
        """Go on for one epoch over these rows, with the optimizer and the learning rate of the first call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), default=None

        Returns
        -------
        self
        """
        with whole(self):
            Fit(self, X, y, sample_weight, Validation(), incremental=True).run()
        return self

    def predict(self, X: Any) -> Array:  # noqa: N803
        """The expected target of each row, or its median or quantile, whichever the loss aims at.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        array of shape (n_rows,) or (n_rows, n_outputs)
        """
        found, backend, at = self._outputs(X, "predict", networks.predict)
        return arrays.move(found[:, 0] if found.shape[1] == 1 else found, backend, at)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """The coefficient of determination R².

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), default=None

        Returns
        -------
        float
        """
        return float(r2_score(*(arrays.to_host(a) for a in (y, self.predict(X))), **_weighted(sample_weight)))

    def _learn(self, y: Any, incremental: bool) -> int:
        return 1 if y.ndim == 1 else int(y.shape[1])

    def _encode(self, y: Any) -> np.ndarray:
        if is_sparse(y):
            raise TypeError("y is a sparse matrix; allowed: targets as an array, such as y.toarray().")
        if y.dtype.kind not in "biuf":
            raise ValueError(
                f"y is of type {y.dtype}; allowed: numbers, such as y.astype(float); for classes MLPClassifier."
            )
        return np.asarray(y, np.float64).reshape(len(y), -1)

    def _choose_loss(self, n_outputs: int) -> tuple[str, Loss]:
        if not isinstance(self.loss, str):
            return "own", own_loss(self.loss, LOSSES["squared_error"])
        known = LOSSES[self.loss]
        known = known.having(**{name: getattr(self, name) for name in known.settings})
        return self.loss, parity.mean_over_outputs(known) if self.loss == "squared_error" and n_outputs > 1 else known

    def _scoring(self) -> Any:
        # By R² the weights that predict the mean are the best, whatever the quantile.
        if self.scoring is None and self.loss == "quantile":
            return make_scorer(d2_pinball_score, alpha=self.quantile)
        return self.scoring


def _weighted(sample_weight: Any) -> dict[str, Any]:
    return {} if sample_weight is None else {"sample_weight": arrays.to_host(sample_weight)}
