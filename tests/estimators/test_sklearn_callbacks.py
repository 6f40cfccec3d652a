"""The estimators with scikit-learn's own callbacks, which exist since its version 1.9."""

import subprocess
import sys

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlpgpu import MLPClassifier

callbacks = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)


class Recorder:
    """Callback that records its calls, and stops the fit after `last` epochs."""

    def __init__(self, last=None):
        self.told, self.last, self.scores, self.metadata = [], last, [], None

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, metadata):
        self.told.append(f"begin {context.task_name}")
        self.metadata = metadata

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):  # noqa: N803
        self.told.append(f"end {context.task_name}")
        if context.task_name == "epoch" and fitted_estimator is not None:
            self.scores.append(accuracy_score(y, fitted_estimator.predict(X)))
        return context.task_name == "epoch" and context.task_id + 1 == self.last


def classifier(**given):
    return MLPClassifier(**{"max_iter": 3, "hidden_layer_sizes": (5,), "random_state": 0} | given)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_each_epoch_is_a_task(solver):
    recorder, weights = Recorder(), np.ones(150)
    fitted = classifier(solver=solver).set_callbacks(recorder).fit(X, Y, weights)
    told = recorder.told
    assert (told[:2], told[-2:]) == (["setup", "begin fit"], ["end fit", "teardown"])
    assert told[2:-2] == ["begin epoch", "end epoch"] * 3
    assert recorder.scores[-1] == fitted.score(X, Y)
    assert len(recorder.scores) == 3
    np.testing.assert_array_equal(recorder.metadata["sample_weight"], weights)


def test_a_callback_stops_the_fit():
    fitted = classifier(max_iter=50).set_callbacks(Recorder(last=2)).fit(X, Y)
    assert fitted.n_iter_ == 2


def test_teardown_comes_whatever_happens():
    recorder = Recorder()
    with pytest.raises(ValueError, match="non-finite"):
        classifier(solver="sgd", learning_rate_init=1e300, activation="identity").set_callbacks(recorder).fit(
            1e9 * X, Y
        )
    assert recorder.told[-1] == "teardown"


def test_the_scores_of_its_monitor_are_those_of_the_epochs():
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    classifier().set_callbacks(monitor).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    by_hand = [classifier(max_iter=n).fit(X, Y).score(X, Y) for n in (1, 2, 3)]
    assert [row["accuracy"] for row in rows] == by_hand


def test_the_end_of_the_fit_has_the_weights_that_are_kept():
    def by_hand(fitted):
        return -log_loss(Y, fitted.predict_proba(X))

    monitor = callbacks.ScoringMonitor(scoring="neg_log_loss")
    # At this learning rate, the last weights are not the best.
    fitted = classifier(max_iter=20, early_stopping=True, learning_rate_init=0.1).set_callbacks(monitor)
    fitted.fit(X, Y, X_val=X[::4], y_val=Y[::4])
    rows = {row["task_name"]: row["neg_log_loss"] for row in monitor.get_logs().data}
    assert rows["fit"] == pytest.approx(by_hand(fitted))
    assert rows["epoch"] != pytest.approx(by_hand(fitted))


def test_the_estimators_of_an_epoch_are_where_the_rows_are():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = torch.asarray(X)

    class Predictor(Recorder):
        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):  # noqa: N803
            self.told.append(fitted_estimator.predict_proba(X))

    recorder = Predictor()
    with sklearn.config_context(array_api_dispatch=True):
        fitted = classifier().set_callbacks(recorder).fit(x, torch.asarray(Y))
        assert torch.equal(recorder.told[-2], fitted.predict_proba(x))


def test_its_progress_bar_alone(capsys):
    classifier().set_callbacks(callbacks.ProgressBar()).fit(X, Y)
    said = capsys.readouterr().out
    assert "MLPClassifier - fit" in said
    assert "100%" in said


def test_its_progress_bar_nests(capsys):
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier()), {"mlpclassifier__alpha": [0, 1]}, cv=2)
    search.set_callbacks(callbacks.ProgressBar(max_propagation_depth=None)).fit(X, Y)
    assert "MLPClassifier - fit" in capsys.readouterr().out


def test_without_them():
    """scikit-learn before 1.9 has no callbacks."""
    code = """
import sys
sys.modules["sklearn.callback"] = None
import warnings
from mlpgpu import MLPClassifier
from mlpgpu.protocol import tasks
assert not tasks.CallbackSupportMixin.__module__.startswith("sklearn")
assert not hasattr(MLPClassifier(), "set_callbacks")
def fitted():
    return MLPClassifier(max_iter=2, random_state=0, batch_size=2).fit([[0.0], [1.0]], [0, 1])
with warnings.catch_warnings(record=True) as told:
    assert fitted().n_iter_ == 2
print({warning.lineno - fitted.__code__.co_firstlineno for warning in told})
"""
    # scikit-learn's own modules need its callbacks, so import them before these are blocked.
    code = "import sklearn.linear_model, sklearn.model_selection, sklearn.pipeline\n" + code
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "{1}", found.stderr
