"""Progress of an estimator over its fits: counts, curves and best values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mlpgpu.protocol.parity import StoppingRule
from mlpgpu.protocol.warning import warn_user
from mlpgpu.results.comparison import unvalidated
from mlpgpu.training.run import Best, Run

# Fitted attributes that do not follow from the network, for users and for a warm start.
RECORD = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
    "history_",
)


def begin(estimator: Any, first: bool) -> None:
    """Reset the record of earlier fits if this is the first, and add missing counts, as with weights set by hand."""
    for name in (*RECORD, "_scored_by", "_continuation") if first else ():
        vars(estimator).pop(name, None)
    for name, start in (("n_iter_", 0), ("t_", 0), ("history_", [])):
        vars(estimator).setdefault(name, start)


def stopping_rule(estimator: Any) -> StoppingRule:
    """Return scikit-learn's stopping rule; it continues from the previous fit unless that had another scorer."""
    scored, by_sgd = estimator.early_stopping, estimator.solver == "sgd" and estimator.optimizer is None
    best = getattr(estimator, "best_validation_score_" if scored else "best_loss_", None)
    count = getattr(estimator, "_no_improvement_count", 0)
    if scored and getattr(estimator, "_scored_by", estimator.scoring) != estimator.scoring:
        best, count = None, 0
    worst = -np.inf if scored else np.inf
    return StoppingRule(
        tol=estimator.tol,
        patience=estimator.n_iter_no_change,
        monitor="validation_score" if scored else "loss",
        learning_rate=estimator.learning_rate if by_sgd else "constant",
        initial_rate=estimator.learning_rate_init,
        power_t=estimator.power_t,
        samples=estimator.t_,
        best=worst if best is None else best,
        count=count,
        verbose=bool(estimator.verbose),
    )


def best_of(estimator: Any, rule: StoppingRule) -> Best:
    """Return the rule for the weights a fit ends with: the best with early stopping, else the last."""
    if not estimator.early_stopping:
        return Best(restore="never")
    than = rule.best if np.isfinite(rule.best) else None
    return Best("validation_score", greater=True, restore="always", than=than)


def keep(estimator: Any, run: Run, rule: StoppingRule, validated: bool) -> None:
    """Add a run of a stochastic solver to the fitted attributes.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    run : Run
    rule : StoppingRule
        Stopping rule in its state after the run.
    validated : bool
        Whether there was a validation set.
    """
    scored = estimator.early_stopping
    estimator.t_, estimator._no_improvement_count = rule.samples, rule.count
    losses = [record["loss"] for record in run.history]
    if run.diverged:
        losses = [*losses, float(run.losses[-1][-1])]
    # A callback may stop the run before its first epoch.
    if losses and not run.restored:
        estimator.loss_ = losses[-1]
    elif run.best_epoch:
        estimator.loss_ = losses[run.best_epoch - 1]
    add(estimator, "loss_curve_", losses)
    estimator.best_loss_ = None if scored else rule.best
    if validated:
        keep_validation(estimator, run)
    else:
        estimator.validation_scores_ = estimator.validation_loss_curve_ = estimator.best_validation_score_ = None
    if scored:
        estimator.best_validation_score_ = rule.best


def keep_validation(estimator: Any, run: Run) -> None:
    """Add the validation losses and scores of a run to the fitted attributes."""
    scores = [record["validation_score"] for record in run.history]
    estimator.best_validation_score_ = max(scores, default=None)
    estimator._scored_by = estimator.scoring
    if run.diverged:
        scores = [*scores, math.nan]
    add(estimator, "validation_scores_", scores)
    add(estimator, "validation_loss_curve_", [record["validation_loss"] for record in run.history])


def add(estimator: Any, name: str, items: list[Any]) -> None:
    """Extend a fitted list in place, as in scikit-learn, so that a long list does not slow down ``partial_fit``."""
    curve = getattr(estimator, name, None)
    if not isinstance(curve, list):
        curve = [] if curve is None else list(curve)
        setattr(estimator, name, curve)
    curve.extend(items)


def warn(run: Run, most: int, incremental: bool) -> None:
    """Warn, at the user's call of ``fit``, of a run that ended before it had converged, or could not be validated.

    Parameters
    ----------
    run : Run
    most : int
        Maximum number of epochs.
    incremental : bool
        Whether the call is ``partial_fit``, and more epochs may follow.
    """
    for note in unvalidated(run):
        warn_user(f"{note}.")
    if run.diverged:
        _tell(
            f"Training diverged in epoch {run.diverged.epoch}, step {run.diverged.step}; the weights are the best "
            "before. Scale the data, or lower learning_rate_init."
        )
    elif run.stopped == "interrupted":
        warn_user("Training interrupted by user.")
    elif run.unconverged:
        _tell(run.unconverged)
    elif not run.stopped and not incremental and run.training is not None:
        _tell(f"Stochastic Optimizer: Maximum iterations ({most}) reached and the optimization hasn't converged yet.")


def _tell(message: str) -> None:
    """Warn under the module name of scikit-learn's warning, by which programs filter it."""
    warn_user(message, ConvergenceWarning, "sklearn.neural_network._multilayer_perceptron")
