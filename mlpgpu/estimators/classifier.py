"""MLPClassifier, compatible with scikit-learn's and extended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import StrOptions

from mlpgpu.backends import Backend
from mlpgpu.maths import network as networks
from mlpgpu.maths.losses import LOSSES, Loss
from mlpgpu.protocol import arrays
from mlpgpu.protocol.arrays import Array
from mlpgpu.protocol.available import Available
from mlpgpu.protocol.base import Perceptron
from mlpgpu.protocol.choices import own_loss
from mlpgpu.protocol.constraints import CONSTRAINTS, limits
from mlpgpu.protocol.fitting import Fit
from mlpgpu.protocol.held import restored_on_failure
from mlpgpu.protocol.labels import Labelled, Labels, classes_of
from mlpgpu.protocol.tasks import with_callbacks


class MLPClassifier(Labelled, ClassifierMixin, Perceptron):
    """Multilayer perceptron classifier, compatible with scikit-learn's ``MLPClassifier``.

    The parameters up to `max_fun` are those of scikit-learn 1.9, in the same order and with the same defaults. The
    others are additions, off by default.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Number of units in each hidden layer; ``()`` for a linear model.
    activation : str, pair of callable, or list of them, default="relu"
        Activation of all hidden layers, or a list of one per layer: ``identity``, ``logistic``, ``tanh``, ``relu``,
        ``leaky_relu``, ``elu``, ``selu``, ``gelu``, ``silu``, ``softplus``, or a pair of functions
        ``(value(xp, z), derivative(xp, z, y))``.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Adam, SGD with momentum, or L-BFGS; ignored if `optimizer` is given.
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights.
    batch_size : int or "auto", default="auto"
        Minibatch size; ``"auto"`` is ``min(200, n_rows)``. ``lbfgs`` does not use minibatches.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Learning rate schedule of ``solver="sgd"``.
    learning_rate_init : float, default=0.001
        Initial learning rate; with `learning_rate_schedule`, the rate that the schedule multiplies.
    power_t : float, default=0.5
        Exponent of the ``invscaling`` schedules.
    max_iter : int, default=200
        Maximum number of epochs, or of iterations of ``lbfgs``.
    shuffle : bool, default=True
        Whether to shuffle the rows before each epoch.
    random_state : int, RandomState or None, default=None
        Random generator or seed of the initial weights, the validation split, the shuffling and dropout.
    tol : float, default=1e-4
        Minimum improvement of the loss, or with early stopping of the validation score, that counts as progress. For
        ``lbfgs``, the gradient tolerance.
    verbose : bool, default=False
        Whether to print the progress of each epoch.
    warm_start : bool, default=False
        Whether `fit` continues from the fitted weights.
    momentum : float, default=0.9
        Momentum of ``solver="sgd"`` and of the optimizers ``momentum`` and ``nesterov``.
    nesterovs_momentum : bool, default=True
        Whether ``solver="sgd"`` uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to stop when the validation score no longer improves, and to restore the best weights, however the fit
        ends. The validation set is ``X_val`` of `fit`, or else a `validation_fraction` of the rows. Without effect on
        ``lbfgs``, whose `best_validation_score_` may be that of other weights than the fitted ones.
    validation_fraction : float, default=0.1
        Fraction of the rows held out for early stopping.
    beta_1 : float, default=0.9
        Exponential decay rate of the first moment in ``adam``, ``adamw`` and ``adam_hat``; weight of the momentum
        against the gradient in ``lion``.
    beta_2 : float, default=0.999
        Exponential decay rate of the second moment in ``adam``, ``adamw``, ``adam_hat`` and ``rmsprop``, and of the
        momentum in ``lion``. The default is that of scikit-learn; `Config` has 0.99 for ``rmsprop`` and ``lion``.
    epsilon : float, default=1e-8
        Term added to the denominator in ``adam``, ``adamw``, ``adam_hat``, ``rmsprop`` and ``adagrad``.
    n_iter_no_change : int or inf, default=10
        Maximum number of consecutive epochs without progress.
    max_fun : int, default=15000
        Maximum number of loss evaluations by ``lbfgs``.
    device : str or None, default=None
        Device to compute on: ``cpu``, ``cuda``, ``cuda:N`` or ``auto`` (CUDA if it works, else the CPU), or a PyTorch
        device object; None for that of `X`.
    backend : {"auto", "numpy", "cupy", "torch", "jax"} or None, default=None
        Array library to compute with; None for that of `X`.
    dtype : {"float32", "float64"} or None, default=None
        Floating-point type to compute in, also as a dtype object such as ``np.float32`` or ``torch.float32``; None for
        that of `X`.
    precision : {"float32", "tf32", "bf16"}, default="float32"
        Precision to which matrix products round their operands: ``tf32`` keeps 10 fraction bits, ``bf16`` 7. CUDA
        rounds in hardware; elsewhere rounding is emulated and no faster. Products accumulate in float32, and everything
        else is float32, so `dtype`, or that of `X`, must be float32.
    optimizer : str or None, default=None
        Optimizer that replaces `solver`: ``sgd``, ``momentum``, ``nesterov``, ``rmsprop``, ``adagrad``, ``adam``,
        ``adamw``, ``adam_hat`` (the Adam of `solver`) or ``lion``. A warning names each parameter that the optimizer
        does not use and that is not at its default.
    learning_rate_schedule : str or None, default=None
        Learning rate schedule of any optimizer over `max_iter` epochs: ``constant``, ``invscaling``, ``step``,
        ``exponential``, ``cosine`` or ``one_cycle``; None for ``constant``.
    warmup : float, default=0
        Number of epochs of linear warm-up before the schedule.
    decay_rate : float, default=0.1
        Factor of the ``step`` schedule at each drop, and of ``exponential`` over the whole fit.
    decay_epochs : float, default=10
        Number of epochs between drops of the ``step`` schedule.
    weight_decay : float or None, default=None
        Decoupled decay of the weights, not of the biases; None for the optimizer's own: 0.01 for ``adamw``, else 0.
    clip_norm : float or None, default=None
        Maximum Euclidean norm of the gradient; None for no clipping.
    normalization : str or list of str, default="none"
        ``none`` or ``batch`` for all hidden layers, or a list of one per layer. With ``batch``, each hidden unit is
        normalised over the batch before its activation, then scaled and shifted by learned parameters (Ioffe and
        Szegedy, 2015). `coefs_` and `intercepts_` are those of the equivalent network without normalisation. Layers
        whose weights are given, frozen or read from a file are trained without it.
    dropout : float or array-like of float, default=0
        Probability of dropping a hidden unit in a step, for all hidden layers or one per layer.
    input_dropout : float, default=0
        Probability of dropping an input in a step.
    init : str, list of (array, array) or None, default=None
        Distribution of the initial weights, with biases of 0: ``glorot_uniform``, ``glorot_normal``, ``he_uniform``,
        ``he_normal``, ``lecun_normal``, ``normal`` or ``zeros``; None for scikit-learn's. Or the weights of shape
        (fan_in, fan_out) and biases of shape (fan_out,) of the lowest layers, such as
        ``list(zip(other.coefs_, other.intercepts_))[:-1]``; the layers above them are drawn as for None.
    init_std : float, default=0.01
        Standard deviation of ``init="normal"``.
    bias_init : float or None, default=None
        Initial value of all biases except those given in `init`; None for the default of `init`.
    freeze : int, default=0
        Number of lowest layers whose weights and biases are not trained, at most the number of hidden layers.
    replacement : bool, default=False
        Whether to draw the rows of an epoch with replacement.
    loss : "log_loss", pair of callable, or Loss, default="log_loss"
        Loss function: ``log_loss``, a `mlpgpu.maths.losses.Loss`, or a pair
        ``(value(xp, z, t), gradient(xp, z, t))``. For logits `z` of shape (n_rows, n_outputs), `value` returns the loss
        of each row, of shape (n_rows,), and `gradient` its gradient, of the shape of `z`. `t` holds class indices of
        shape (n_rows,), which ``mlpgpu.maths.losses.one_hot(xp, t, z)`` encodes; for multilabel targets, zeros and ones
        of the shape of `z`.
    label_smoothing : float, default=0
        Fraction of each label that is spread evenly over the classes, in the validation loss too.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class, which multiplies the weights of its rows, in the validation loss and accuracy too; for
        multilabel targets, a list of one dict per label. ``balanced`` counts all rows of `X`, including those held out.
    scoring : str, callable or None, default=None
        scikit-learn scorer for early stopping, given sample weights if it accepts them; None for accuracy.
    callbacks : list of Callback or None, default=None
        Callbacks of the fit, instances of `mlpgpu.callbacks.Callback`.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels.
    coefs_, intercepts_ : list of array
        Weights of shape (fan_in, fan_out) and biases of shape (fan_out,) of each layer.
    n_features_in_, n_outputs_, n_layers_ : int
        Number of inputs, outputs, and layers including the input layer.
    n_iter_, t_ : int
        Number of epochs of the last fit, and number of training rows seen.
    feature_names_in_ : array of shape (n_features,)
        Names of the features, if the columns of `X` have names.
    out_activation_ : str
        Name of the output activation.
    loss_ : float
        Training loss at the end; with early stopping, that of the epoch whose weights were kept.
    best_loss_ : float or None
        Lowest training loss; None with early stopping.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_loss_curve_, validation_scores_ : list of float or None
        Validation loss and score of each epoch; None without a validation set.
    best_validation_score_ : float or None
        Best validation score; None without a validation set.
    history_ : list of dict
        ``epoch``, ``loss``, ``validation_loss``, ``validation_score``, ``learning_rate``, ``seconds`` and
        ``samples_per_second`` of each epoch.
    """

    _parameter_constraints = CONSTRAINTS | {
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
        """Train for one more epoch on the given rows, with the optimizer and learning rate of the first call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Training data.
        y : array-like of shape (n_rows,) or (n_rows, n_labels)
            Class labels.
        sample_weight : array-like of shape (n_rows,), default=None
            Sample weights.
        classes : array-like of shape (n_classes,), default=None
            Classes across all calls; required in the first call.

        Returns
        -------
        self
        """
        known: Any = getattr(self, "_labels", None)
        listed = arrays.to_host(classes)
        if known is None:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            known = Labels.given(listed, arrays.to_host(y))
        elif classes is not None and not known.same_as(listed):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known.classes!r}"
            )
        with restored_on_failure(self):
            self._labels = known
            Fit(self, X, y, sample_weight, incremental=True).run()
        return self

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Predict the most probable class of each row; for multilabel targets, the labels more probable than 0.5.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Input data.

        Returns
        -------
        array of shape (n_rows,) or (n_rows, n_labels)
        """

        def chosen(xp: Any, network: networks.Network, params: Array, x: Array) -> Array:
            return self._labels.chosen(xp, networks.predict(xp, network, params, x))

        found = self._outputs(X, "predict", chosen)
        return self._labels.decode(*found)

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Input data.

        Returns
        -------
        array of shape (n_rows, n_classes)
            Probabilities in the order of `classes_`; for multilabel targets, that of each label, strictly between 0
            and 1.
        """
        return self._from_logits(X, "predict_proba", Labels.probabilities)

    def predict_log_proba(self, X: Any) -> Array:  # noqa: N803
        """Predict the logarithm of the probability of each class, finite even where the probability rounds to 0.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Input data.

        Returns
        -------
        array of shape (n_rows, n_classes)
            Log probabilities in the order of `classes_`.
        """
        return self._from_logits(X, "predict_log_proba", Labels.log_probabilities)

    def _from_logits(self, X: Any, method: str, function: Callable[..., Array]) -> Array:  # noqa: N803
        """Return ``function(labels, xp, loss, z)`` of the logits, which are computed chunk by chunk and not kept."""

        def of_chunk(xp: Any, network: networks.Network, params: Array, x: Array) -> Array:
            return function(self._labels, xp, network.loss, networks.logits(xp, network, params, x))

        return arrays.move(*self._outputs(X, method, of_chunk))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the accuracy; for multilabel targets, the fraction of rows with all labels correct.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Test data.
        y : array-like of shape (n_rows,) or (n_rows, n_labels)
            True labels.
        sample_weight : array-like of shape (n_rows,), default=None
            Sample weights.

        Returns
        -------
        float
        """
        return self._measure(accuracy_score, X, y, sample_weight)

    def _learn(self, y: Any, incremental: bool) -> int:
        known = getattr(self, "_labels", None)
        if known is None or not (self.warm_start or incremental):
            self._labels = known = Labels.of(y)
        elif self.warm_start or y.ndim > 1 or y.dtype == object:
            # Otherwise `encode` looks up each label, and refuses what is none.
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
