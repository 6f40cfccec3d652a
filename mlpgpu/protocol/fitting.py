"""Fitting: run the trainer for an estimator, and set the fitted attributes."""

from __future__ import annotations

import signal
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from mlpgpu import backends
from mlpgpu.callbacks import Callback
from mlpgpu.callbacks.base import callbacks_of
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.network import Network, plain
from mlpgpu.maths.normalization import begin
from mlpgpu.protocol import arrays, drawing, memory, own, parity, progress, saving
from mlpgpu.protocol.advice import advised, on_weights
from mlpgpu.protocol.arrays import Array
from mlpgpu.protocol.choices import (
    activations_of,
    by_lbfgs,
    compute_backend,
    config_of,
    dropout_of,
    hidden_sizes,
    normalized_of,
    unused_settings,
)
from mlpgpu.protocol.constraints import parameters
from mlpgpu.protocol.held import MADE_ONCE, Continuation, fitted_sizes, keep_shape, params_of, parts_of, unfolded_params
from mlpgpu.protocol.scoring import scorer_of
from mlpgpu.protocol.tasks import Tasks, has_callbacks
from mlpgpu.protocol.warning import warn_user
from mlpgpu.settings.dependent import check_batches, check_freeze
from mlpgpu.settings.setting import named
from mlpgpu.training import lbfgs, trainer
from mlpgpu.training.checkpoint import Checkpoint
from mlpgpu.training.epoch import Lasting
from mlpgpu.training.feed import Rows, Unscaled, is_sparse
from mlpgpu.training.plan import Plan, make_recipe
from mlpgpu.training.run import Diverged, Run

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)

# Parameters that change the result and that L-BFGS does not support.
NOT_OF_LBFGS = ("dropout", "input_dropout", "weight_decay", "clip_norm")


class HeldOut(NamedTuple):
    """Rows that a fit is validated on."""

    x: Any = None
    y: Any = None
    weights: Any = None


class Fit:
    """One call of ``fit`` or ``partial_fit``.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    x, y, sample_weight : array
    incremental : bool
        Whether the call is ``partial_fit``, for one epoch.
    held_out : HeldOut or None
        Validation set given to ``fit``.
    resume : path or None
        Checkpoint of the fit to resume.
    """

    def __init__(
        self,
        estimator: Any,
        x: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool,
        held_out: HeldOut | None = None,
        resume: Any = None,
    ) -> None:
        self.estimator, self.incremental = estimator, incremental
        if resume is not None and by_lbfgs(estimator):
            raise ValueError("resume needs a solver that goes in steps, 'adam' or 'sgd'; solver='lbfgs' begins anew.")
        self.resume = None if resume is None else Checkpoint.load(resume)
        if self.resume is not None:
            saving.check_same(estimator, self.resume.model)
        self.first = first = not hasattr(estimator, "coefs_") or not (estimator.warm_start or incremental)
        self.checked = self._check_parameters()
        hidden = hidden_sizes(estimator.hidden_layer_sizes)
        self.at = arrays.home(x)
        # Steps need C order: a copy of another type is made in it. A split copies all rows once more, in C order.
        order = None if estimator.early_stopping else "C"
        self.x, self.y = arrays.check_rows(estimator, x, y, reset=first, order=order)
        n_outputs = estimator._learn(self.y, incremental)
        self.targets = estimator._encode(self.y)
        self.weights = self._check_weights(sample_weight, len(self.targets))
        self.class_weights = estimator._class_weights(self.y, incremental)
        self.sizes = (int(self.x.shape[1]), *hidden, n_outputs)
        if not first and self.sizes != fitted_sizes(estimator):
            raise ValueError(
                f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} and the data make layers of {self.sizes}; the "
                f"fitted ones are {fitted_sizes(estimator)}; "
                f"{'give the same again' if incremental else 'set warm_start=False'}, or fit a new estimator."
            )
        check_freeze(estimator.freeze, len(hidden))
        if estimator.replacement and not estimator.shuffle:
            raise ValueError(
                "replacement=True draws rows at random, which shuffle=False rules out; leave out one of them."
            )
        self.names, self.activations = activations_of(estimator.activation, len(hidden))
        self.dropout = (float(estimator.input_dropout), *dropout_of(estimator.dropout, len(hidden)))
        self.normalized = self._normalized_layers(len(hidden))
        self.loss_name, self.loss = estimator._choose_loss(n_outputs)
        self._check_targets(self.targets)
        # `partial_fit` keeps its dtype, and so its optimizer state, even for rows of another dtype.
        goes_on = incremental and not first and arrays.same_home(self.at, backends.beside(estimator.coefs_[0]))
        self.dtype = named(estimator.dtype) or arrays.dtype_name(estimator.coefs_[0] if goes_on else self.x)
        self.backend = compute_backend(estimator, self.at, self.dtype)
        if self.first or not incremental:
            self._try_own_functions()
        self.held_out = self._check_validation(held_out)

    def prepare(self) -> Plan:
        """Resolve all settings, and draw all random numbers that precede the epochs, in scikit-learn's order."""
        estimator, backend = self.estimator, self.backend
        params = self._previous_params()
        before = getattr(estimator, "_continuation", None) if self.incremental and not self.first else None
        self.kind = estimator.optimizer, self.dtype, estimator.freeze, self.normalized
        self.before = before.on(backend) if before is not None and before.kind == self.kind else None
        self.as_made: Any = estimator
        if self.before:
            self.as_made = object.__new__(type(estimator))
            vars(self.as_made).update(vars(estimator) | self.before.optimizer_params)
        self.random_state = self.before.random_state if self.before else drawing.generator(estimator, self.resume)
        # Only callbacks write checkpoints.
        self.drawn_from = drawing.state_of(self.random_state) if estimator.callbacks else None
        if params is None:
            drawn = drawing.params(estimator, self.names, self.sizes, self.random_state)
            params = begin(np, drawn, self.sizes, self.normalized)
        # Drawn only if it is used, so that without dropout the draws are those of scikit-learn.
        drops = any(self.dropout)
        seed = self.before.seed if self.before else drawing.seed(self.random_state) if drops else 0
        if estimator.early_stopping and self.held_out is None and not by_lbfgs(estimator):
            self._hold_out()
        rows = np.arange(len(self.targets))
        if self.before and len(self.before.order) == len(rows):
            rows = self.before.order
        self.order = parity.Order(self.random_state, rows, estimator.replacement)
        return self._plan(params, seed)

    def run(self) -> None:
        """Train, and set the fitted attributes of the estimator."""
        estimator, plan = self.estimator, self.prepare()
        progress.begin(estimator, self.first)
        keep_shape(estimator, self.sizes, self.loss)
        estimator._keep_classes(self.at)
        train, watched = self.rows(self.x, self.targets, self.weights), {}
        if self.held_out is not None:
            x, y, weights = self.held_out
            watched["validation"] = self.rows(x, estimator._encode(y), weights)
        given = plan, train, watched, Unscaled(self.backend, self.dtype)
        more: dict[str, Any] = {"as_model": partial(saving.to_model, estimator, self.sizes, drawn_from=self.drawn_from)}
        scoring = estimator._scoring()
        if self.held_out is not None and scoring is not None:
            more["score"] = scorer_of(self, scoring)
        elif getattr(getattr(estimator, "_labels", None), "single", False):
            # A single class is always predicted correctly: see `Labels.decode`.
            more["score"] = lambda params: 1.0
        solve = self._by_lbfgs if by_lbfgs(estimator) else self._by_steps
        params, run = solve(*given, self._callbacks(), **more)
        estimator.n_iter_ = run.epoch
        vars(estimator).update(self._pairs(params))
        records = enumerate(run.history, len(estimator.history_) + 1)
        progress.add(estimator, "history_", [record | {"epoch": number} for number, record in records])
        # Ctrl-C ends only the fit, as in scikit-learn. Other signals, and a Ctrl-C too late to stop it, go to the
        # process.
        if run.signal and (run.signal, run.stopped) != (signal.SIGINT, "interrupted"):
            signal.raise_signal(run.signal)
        progress.warn(run, plan.epochs, self.incremental)

    def _by_lbfgs(self, *given: Any, **more: Any) -> tuple[Array, Run]:
        estimator = self.estimator
        more |= {"tol": estimator.tol, "max_fun": estimator.max_fun, "verbose": bool(estimator.verbose)}
        ignored = [name for name in NOT_OF_LBFGS if np.any(getattr(estimator, name))]
        if any(normalized_of(estimator.normalization, len(self.normalized))):
            ignored.append("normalization")
        if ignored:
            warn_user(f"solver='lbfgs' has no use for {', '.join(ignored)}; choose 'adam' or 'sgd', or leave them out.")
        params, run, estimator.loss_ = lbfgs.fit(self.backend, *given, **more)
        if not np.isfinite(self.backend.to_host(params)).all():
            raise ValueError(NON_FINITE)
        if self.held_out is not None:
            progress.keep_validation(estimator, run)
        return params, run

    def _by_steps(
        self, plan: Plan, train: Rows, watched: Any, placement: Unscaled, callbacks: list[Callback], **more: Any
    ) -> tuple[Array, Run]:
        estimator = self.estimator
        rule = progress.stopping_rule(self.as_made)
        # The weights are those of the estimator, since the user may have changed them.
        start = self.before and self.before.state._replace(params=self.backend.asarray(plan.params))
        more |= {"state": start, "best": progress.best_of(estimator, rule), "resume": self.resume}
        if start is None:
            more["need"] = memory.check_steps(self.backend, plan, train, watched)
        lasting = None
        if plan.epochs == 1 and (self.incremental or estimator.warm_start):
            # Another call is likely, and most of them are short: recording a step would take longer than its steps.
            previous = getattr(estimator, "_continuation", None)
            lasting = more["lasting"] = previous.take_loop() if previous else Lasting()
        for number in range(1, len(self.resume.history) + 1 if self.resume else 1):
            # Repeat the draws of completed epochs, since each order depends on the one before.
            plan.order(number)
        try:
            state, run = trainer.fit(self.backend, plan, train, watched, placement, [rule, *callbacks], **more)
        except Diverged as error:
            raise ValueError(
                f"{NON_FINITE} It happened in epoch {error.epoch}, step {error.step}; try StandardScaler, "
                "a smaller learning_rate_init, or clip_norm=1."
            ) from None
        estimator._continuation = Continuation(
            self.backend,
            state,
            self.random_state,
            self.order.rows,
            plan.seed,
            self.kind,
            {name: getattr(self.as_made, name) for name in MADE_ONCE},
            self.checked,
            self.incremental,
            lasting,
        )
        progress.keep(estimator, run, rule, validated=self.held_out is not None)
        return state.params, run

    def _check_parameters(self) -> dict[str, Any]:
        """Return the parameters, after checking those that changed since the last call of ``partial_fit``.

        scikit-learn checks them before ``fit`` and the first ``partial_fit`` only.
        """
        estimator, given = self.estimator, parameters(self.estimator)
        kept = getattr(estimator, "_continuation", None)
        changed = kept is None or any(kept.checked.get(name) is not value for name, value in given.items())
        if self.incremental and not self.first and changed:
            estimator._validate_params()
        return given

    @staticmethod
    def _check_weights(weights: Any, n_rows: int) -> np.ndarray | None:
        if weights is None:
            return None
        with advised(on_weights, weights):
            weights = _check_sample_weight(arrays.to_host(weights), np.empty((n_rows, 1)))
        if not weights.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        if weights.min() < 0:
            raise ValueError(f"Sample weights must not be negative, and the smallest is {weights.min():g}.")
        return np.asarray(weights)

    def _check_targets(self, targets: np.ndarray) -> None:
        if self.loss.task == "regression" and (smallest := targets.min()) < self.loss.lowest:
            raise ValueError(
                f"Some value(s) of y are out of the valid range of the loss {self.loss_name!r}: it takes targets from "
                f"{self.loss.lowest:g} up, and the smallest is {smallest:g}. Choose another, such as 'squared_error'."
            )

    def _try_own_functions(self) -> None:
        for number, activation in enumerate(self.activations):
            if activation not in (*ACTIVATIONS.values(), *self.activations[:number]):
                own.check_activation(activation, self.backend, self.dtype)
        if not isinstance(self.estimator.loss, str):
            own.check_loss(self.estimator.loss, self.targets, self.sizes[-1], self.backend, self.dtype)

    def _check_validation(self, given: HeldOut | None) -> HeldOut | None:
        if given is None or all(array is None for array in given):
            return None
        if given.x is None or given.y is None:
            missing = "X_val" if given.x is None else "y_val"
            raise ValueError(f"rows to validate on are X_val and y_val together, and {missing} is not given.")
        with advised(lambda: "This is about the rows to validate on, X_val and y_val."):
            estimator, there = self.estimator, arrays.home(given.x)
            x, y = arrays.check_rows(estimator, given.x, given.y, reset=False)
            targets = estimator._encode(y)
            self._check_targets(targets)
            if targets.shape[1:] != self.targets.shape[1:]:
                raise ValueError(f"y_val has shape {y.shape}, and y has {self.y.shape}; give it as many columns.")
            x = x if is_sparse(x) else arrays.move(x, there, self.at)
            return HeldOut(x, y, self._check_weights(given.weights, y.shape[0]))

    def _normalized_layers(self, n_hidden: int) -> tuple[bool, ...]:
        """Return whether each hidden layer is normalised: not with given or frozen weights, and none by L-BFGS."""
        estimator = self.estimator
        without = n_hidden if by_lbfgs(estimator) else estimator.freeze
        if isinstance(estimator.init, list | tuple):
            without = max(without, len(estimator.init))
        return tuple(one and i >= without for i, one in enumerate(normalized_of(estimator.normalization, n_hidden)))

    def _previous_params(self) -> Array | None:
        """Return the parameters to continue from, or None if they are to be drawn.

        Layers whose earlier normalisation is known only as folded into their weights continue without it.
        """
        estimator = self.estimator
        if self.first:
            return None
        if any(self.normalized):
            params = unfolded_params(estimator, self.normalized, self.backend)
            if params is not None:
                return params
            self.normalized = (False,) * len(self.normalized)
            warn_user(
                "normalization='batch' is ignored: the weights to continue from were changed, read from a file or "
                "fitted without it, so that any earlier normalisation is folded into them; fit anew to normalise."
            )
        return params_of(estimator, self.backend)

    def _hold_out(self) -> None:
        """Split the rows into a training and a validation set."""
        estimator, of = self.estimator, arrays.take_rows
        # scikit-learn stratifies two classes only.
        binary = estimator._stratifies and self.sizes[-1] == 1
        train, validation = parity.split(
            self.random_state,
            len(self.targets),
            estimator.validation_fraction,
            (self.targets > 0)[:, None] if binary else None,
        )
        weights = [
            None if self.weights is None else self._check_weights(self.weights[rows], len(rows))
            for rows in (train, validation)
        ]
        self.held_out = HeldOut(of(self.at, self.x, validation), self.y[validation], weights[1])
        self.x, self.y, self.weights = of(self.at, self.x, train), self.y[train], weights[0]
        # Those of a regression share the memory of `y`.
        self.targets = estimator._encode(self.y)

    def rows(self, x: Any, targets: np.ndarray, weights: np.ndarray | None) -> Rows:
        """Return rows that the backend accepts, with their weights multiplied by the class weights."""
        if not is_sparse(x) and not arrays.same_home(self.at, self.backend):
            x = self.at.to_host(x)
        if self.class_weights is not None:
            by_class = self.estimator._labels.row_weights(self.class_weights, targets)
            weights = by_class if weights is None else weights * by_class
            if not (self.incremental or weights.any()):
                raise ValueError(
                    f"class_weight is {self.estimator.class_weight!r}, which leaves these {len(targets)} rows no "
                    "weight at all; give one above 0 to a class that they are of."
                )
        return Rows(x, targets, weights)

    def _plan(self, params: np.ndarray, seed: int) -> Plan:
        estimator, n_rows = self.estimator, len(self.targets)
        self.network = Network(self.sizes, self.activations, self.loss, estimator.freeze, self.normalized)
        for message in unused_settings(estimator):
            warn_user(message)
        if estimator.batch_size != "auto" and estimator.batch_size > n_rows and not by_lbfgs(estimator):
            warn_user("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        batch_size = min(200 if estimator.batch_size == "auto" else int(estimator.batch_size), n_rows)
        check_batches(batch_size, self.normalized)
        steps_per_epoch = -(-n_rows // batch_size)
        return Plan(
            activations=self.names,
            loss=self.loss_name,
            score_name="score",
            network=self.network,
            recipe=make_recipe(config_of(self.as_made), epochs=estimator.max_iter, steps_per_epoch=steps_per_epoch),
            params=params,
            learning_rate=self.as_made.learning_rate_init,
            dropout=self.dropout,
            epochs=1 if self.incremental else estimator.max_iter,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            order=self.order.epoch if estimator.shuffle else lambda epoch: np.arange(n_rows),
            seed=seed,
            dtype=self.dtype,
            precision=estimator.precision,
        )

    def _callbacks(self) -> list[Callback]:
        estimator = self.estimator
        theirs = callbacks_of(estimator.callbacks or ())
        if not has_callbacks(estimator):
            return theirs
        return [Tasks(estimator, self.x, self.y, self.weights, lambda run: self._pairs(run.params)), *theirs]

    def _pairs(self, params: Array) -> dict[str, list[Array]]:
        """Return the fitted weights and biases on the backend of the rows."""
        backend = self.backend
        params = arrays.move(plain(backend.xp, self.network, backend.asarray(params)), backend, self.at)
        return parts_of(self.at.xp, params, self.sizes)
