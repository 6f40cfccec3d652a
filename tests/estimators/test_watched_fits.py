"""Callbacks in the estimators, with every solver, and the history of a fit."""

import copy
import io
import itertools
import signal

import numpy as np
import pytest
from quick import THREE, X_REG, Y_REG, X, classifier, regressor, same_weights
from sklearn import metrics
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from mlpgpu import InputError, Model
from mlpgpu.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    TerminateOnNaN,
    TimeLimit,
)
from mlpgpu.callbacks.progress import ProgressBar

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_a_callback_that_stops_before_the_first_epoch(given):
    stop = LambdaCallback(on_begin=lambda run: run.stop("the budget is spent"))
    fitted = classifier(**given, callbacks=[stop]).fit(X, THREE)
    assert (fitted.n_iter_, fitted.history_, fitted.predict(X).shape) == (0, [], (150,))
    fitted = classifier(**given, warm_start=True).fit(X, THREE)
    loss, weights = fitted.loss_, fitted.coefs_[0].copy()
    fitted.set_params(callbacks=[stop]).fit(X, THREE)
    assert fitted.loss_ == loss
    np.testing.assert_array_equal(fitted.coefs_[0], weights)


def test_on_steps_comes_after_256_steps_on_numpy_and_at_the_end_of_the_epoch():
    told = []
    watch = LambdaCallback(on_steps=lambda run, done, losses: told.append((done, losses())))
    fitted = classifier(batch_size=1, max_iter=2, callbacks=[watch]).fit(np.tile(X, (2, 1)), np.tile(THREE, 2))
    assert [(done, len(losses)) for done, losses in told] == [(256, 256), (300, 44)] * 2
    assert np.concatenate([losses for _, losses in told[:2]]).mean() == pytest.approx(fitted.loss_curve_[0])


def test_callbacks_see_and_change_the_fit(tmp_path):
    rates = [0.01, 0.02, 0.005, 0.01, 0.01, 0.01]
    fitted = classifier(
        callbacks=[
            LearningRateScheduler(lambda epoch, rate: rates[epoch - 1]),
            CSVLogger(tmp_path / "history.csv"),
            ModelCheckpoint(tmp_path / "{epoch}.safetensors"),
            EarlyStopping("validation_score", patience=50),
        ]
    ).fit(X, THREE, X_val=X, y_val=THREE)
    assert [record["learning_rate"] for record in fitted.history_] == pytest.approx(rates)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 7
    model = Model.load(tmp_path / "6.safetensors")
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X))


def test_a_callback_stops_the_fit_with_the_last_weights_and_without_a_warning():
    with pytest.warns(ConvergenceWarning):
        whole = classifier(max_iter=3).fit(X, THREE)
    stopped = classifier(
        max_iter=50, callbacks=[LambdaCallback(on_epoch_end=lambda run, record: run.epoch == 3 and run.stop("enough"))]
    ).fit(X, THREE)
    assert stopped.n_iter_ == 3
    assert same_weights(whole, stopped)


def test_callbacks_with_lbfgs(tmp_path):
    fitted = classifier(solver="lbfgs", callbacks=[CSVLogger(tmp_path / "h.csv")]).fit(X, THREE, X_val=X, y_val=THREE)
    assert [record["epoch"] for record in fitted.history_] == list(range(1, fitted.n_iter_ + 1))
    assert fitted.history_[-1]["loss"] == pytest.approx(fitted.loss_)
    assert fitted.history_[-1]["validation_score"] == pytest.approx(fitted.score(X, THREE))
    assert not hasattr(fitted, "loss_curve_")
    stopped = classifier(
        solver="lbfgs", callbacks=[LambdaCallback(on_epoch_end=lambda run, record: run.stop("enough"))]
    ).fit(X, THREE)
    assert stopped.n_iter_ == 1
    with pytest.raises(InputError, match="no learning rate"):
        classifier(solver="lbfgs", callbacks=[LearningRateScheduler(lambda epoch, rate: rate)]).fit(X, THREE)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_no_epoch_begins_that_does_not_come(solver):
    seen = []
    each = LambdaCallback(
        on_epoch_begin=lambda run: seen.append(run.epoch),
        on_epoch_end=lambda run, record: seen.append(-record["epoch"]),
        on_end=lambda run: seen.append(run.epoch),
    )
    fitted = classifier(solver=solver, max_iter=3, callbacks=[each]).fit(X, THREE)
    assert fitted.n_iter_ == 3
    assert seen == [1, -1, 2, -2, 3, -3, 3]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_iteration_of_lbfgs_begins_before_its_loss_is_asked_for():
    seen = []

    def value(xp, z, t):
        seen.append("loss")
        return xp.sum((z - t) ** 2, axis=-1)

    each = LambdaCallback(
        on_begin=lambda run: seen.clear(),
        on_epoch_begin=lambda run: seen.append("begin"),
        on_epoch_end=lambda run, record: seen.append("end"),
    )
    regressor(solver="lbfgs", max_iter=3, loss=(value, lambda xp, z, t: 2 * (z - t)), callbacks=[each]).fit(
        X_REG, Y_REG
    )
    assert seen.count("begin") == 3
    assert seen[0] == "begin"
    assert all(after == "begin" for before, after in itertools.pairwise(seen) if before == "end")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_sees_the_start_and_the_end(solver):
    weights = classifier(solver=solver, max_iter=1, learning_rate_init=1e-300).fit(X, THREE).coefs_[0]
    kept = []
    look = LambdaCallback(on_begin=lambda run: kept.append(run.params), on_end=lambda run: kept.append(run.params))
    fitted = classifier(solver=solver, callbacks=[look]).fit(X, THREE)
    if solver == "adam":
        np.testing.assert_array_equal(kept[0][: weights.size], weights.ravel())
    np.testing.assert_array_equal(kept[1][: weights.size], fitted.coefs_[0].ravel())


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_all_that_watch_do_with_every_solver(tmp_path, solver):
    shown = io.StringIO()
    watching = [
        EarlyStopping("loss"),
        TimeLimit(1e9),
        TerminateOnNaN(),
        ProgressBar(shown),
        ModelCheckpoint(tmp_path / "best", monitor="validation_loss", save_best_only=True),
    ]
    fitted = classifier(solver=solver, callbacks=watching).fit(X, THREE, X_val=X, y_val=THREE)
    assert same_weights(fitted, classifier(solver=solver).fit(X, THREE))
    assert f"epoch {fitted.n_iter_}" in shown.getvalue()
    best = min(record["validation_loss"] for record in fitted.history_)
    assert metrics.log_loss(THREE, Model.load(tmp_path / "best").predict_proba(X)) == pytest.approx(best)


def test_a_clone_has_callbacks_of_its_own():
    first = classifier(callbacks=[EarlyStopping("loss", patience=3)])
    second = clone(first)
    assert second.callbacks[0] is not first.callbacks[0]
    assert vars(second.callbacks[0]) == vars(first.callbacks[0])
    assert same_weights(first.fit(X, THREE), second.fit(X, THREE))


def test_what_is_no_callback():
    with pytest.raises(ValueError, match=r"callbacks holds 3; allowed: instances of mlpgpu.callbacks.Callback"):
        classifier(callbacks=[3]).fit(X, THREE)


def test_ctrl_c_keeps_the_best_weights():
    press = LambdaCallback(on_epoch_end=lambda run, record: run.epoch == 4 and signal.raise_signal(signal.SIGINT))
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        fitted = classifier(
            callbacks=[press], max_iter=50, early_stopping=True, scoring=lambda e, x, y: -abs(e.coefs_[0]).sum()
        ).fit(X, THREE)
    assert -abs(fitted.coefs_[0]).sum() == pytest.approx(max(fitted.validation_scores_))


def test_history_goes_on():
    fitted = classifier(warm_start=True, max_iter=3).fit(X, THREE).fit(X, THREE)
    assert [record["epoch"] for record in fitted.history_] == [1, 2, 3, 4, 5, 6]
    assert [record["loss"] for record in fitted.history_] == fitted.loss_curve_
    assert set(fitted.history_[0]) == {"epoch", "loss", "learning_rate", "seconds", "samples_per_second"}
    grown = classifier()
    for _ in range(3):
        grown.partial_fit(X, THREE, classes=[0, 1, 2])
    assert [record["epoch"] for record in grown.history_] == [1, 2, 3]
    # A copy has its own history.
    copied = copy.copy(grown).partial_fit(X, THREE)
    assert [len(one.history_) for one in (grown, copied)] == [len(one.loss_curve_) for one in (grown, copied)] == [3, 4]
