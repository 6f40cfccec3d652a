"""Check whole runs on the device: resumed, evaluated, and through the estimators."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu import MLPClassifier, MLPRegressor, cross_validate
from mlpgpu.callbacks import Callback
from mlpgpu.prepared import prepare
from mlpgpu.settings.config import Config
from mlpgpu.training.checkpoint import Checkpoint
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import Rows, Scaled, open_feed
from mlpgpu.workflow import train_and_test
from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place
from scripts.smoke.ways import FLOAT64, difference

# Tolerance of probabilities and losses in float32.
FLOAT32 = 1e-5


class Pause(Callback):
    """Callback that writes a checkpoint within an epoch, and stops the run there."""

    def __init__(self, path: Path, epoch: int) -> None:
        self.path, self.epoch = path, epoch

    def on_steps(self, run: Any, done: int, losses: Any) -> None:
        """Write and stop after the first steps of the epoch."""
        if run.epoch == self.epoch and not run.stopped:
            run.checkpoint(self.path)
            run.stop("pause", final=False)


def resumed(place: Place) -> Found:
    """Compare a run resumed from the middle of an epoch with an uninterrupted one."""
    settings = {**place.settings, "epochs": 3, "validation_fraction": 0.1, "dropout": 0.2, "batch_size": 32}
    config = Config(device=place.device, **settings)
    prepared = prepare(config)
    # Split an epoch into several calls of the loop.
    prepared.backend.steps_per_call = 8
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "paused.safetensors")
        train_and_test(prepared, [Pause(path, epoch=2)])
        where = Checkpoint.load(path).where()
        again = train_and_test(prepared, resume=path)
    whole = train_and_test(prepared)
    losses = [np.concatenate(outcome.run.losses) for outcome in (again, whole)]
    off = float(np.max(difference(*losses)))
    weights = float(np.max(np.abs(again.model.params - whole.model.params)))
    details = {"after": where, "losses": off, "weights": weights}
    return Found(f"after {where}: losses {off:.1e}, weights {weights:.1e}", off == weights == 0, details)


def evaluated(place: Place) -> Found:
    """Compare loss, accuracy and predictions on the device with NumPy's."""
    found = {}
    for device in (place.device, "cpu"):
        prepared = prepare(Config(**place.settings, device=device))
        data, backend, plan = prepared.data, prepared.backend, prepared.plan
        placement = Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype)
        evaluation = Evaluation(backend, plan.network, placement, plan.score_name)
        params = backend.asarray(plan.params, plan.dtype)
        measured = evaluation.measure(params, open_feed(backend, Rows(data.x_test, data.y_test), placement))
        outputs = plan.network.loss.link(backend.xp, evaluation.logits(params, data.x_test))
        if device != "cpu" and isinstance(outputs, np.ndarray):
            return Found("predictions are on the host", False)
        found[device] = measured, backend.to_host(outputs)
    (here, ours), (there, theirs) = found[place.device], found["cpu"]
    loss, most = abs(here["loss"] / there["loss"] - 1), float(np.max(np.abs(ours - theirs)))
    same = here["accuracy"] == there["accuracy"]
    figure = f"loss {loss:.1e}, probabilities {most:.1e}, accuracy {'the same' if same else 'another'}"
    return Found(figure, loss <= FLOAT32 and most <= FLOAT32, {"loss": loss, "probabilities": most})


def estimators(place: Place) -> Found:
    """Compare fits on the device with fits on the CPU, for rows on the host."""
    from sklearn.datasets import load_diabetes, load_digits
    from sklearn.exceptions import ConvergenceWarning

    weights = np.random.default_rng(0).uniform(0.5, 2, 1797)
    given: dict[str, Any] = {"random_state": 0, "hidden_layer_sizes": (16,), "max_iter": 12}
    digits, diabetes = load_digits(return_X_y=True), load_diabetes(return_X_y=True)
    jobs: dict[str, Any] = {
        "classifier": lambda device: MLPClassifier(**given, device=device).fit(*digits),
        "sample weights": lambda device: MLPClassifier(**given, device=device).fit(*digits, sample_weight=weights),
        "dropout": lambda device: MLPClassifier(**given, device=device, dropout=0.2).fit(*digits),
        "early stopping": lambda device: MLPClassifier(**given, device=device, early_stopping=True).fit(*digits),
        # Eager at first, then captured.
        "partial_fit": lambda device: _in_parts(MLPClassifier(**given, device=device), *digits),
        "lbfgs": lambda device: MLPClassifier(**given, device=device, solver="lbfgs").fit(*digits),
        "regressor": lambda device: MLPRegressor(**given, device=device).fit(*diabetes),
    }
    distances = {}
    for name, job in jobs.items():
        with warnings.catch_warnings():
            # A few epochs are enough for a check.
            warnings.simplefilter("ignore", ConvergenceWarning)
            ours, theirs = (np.concatenate([w.ravel() for w in job(device).coefs_]) for device in (place.device, "cpu"))
        distances[name] = float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))
    name = max(distances, key=distances.__getitem__)
    figure = f"{len(jobs)} fits, weights at most {distances[name]:.1e} apart ({name})"
    # A line search may end a step earlier or later.
    limits = {name: 1e-6 if name == "lbfgs" else FLOAT64 for name in jobs}
    return Found(figure, all(distances[name] <= limits[name] for name in jobs), {"distances": distances})


def _in_parts(estimator: MLPClassifier, x: np.ndarray, y: np.ndarray) -> MLPClassifier:
    for _ in range(8):
        estimator.partial_fit(x, y, classes=range(10))
    return estimator


def folded(place: Place) -> Found:
    """Compare a cross-validation on the device with one on the CPU."""
    given: dict[str, Any] = {"dataset": "digits", "hidden": (16,), "epochs": 5, "dtype": "float64"}
    here, there = (cross_validate(Config(**given, device=device), 3).metrics for device in (place.device, "cpu"))
    losses = [np.array([one["test_loss"] for one in found["by_fold"]]) for found in (here, there)]
    off, same = float(np.max(difference(*losses))), here["mean"]["test_accuracy"] == there["mean"]["test_accuracy"]
    figure = f"losses {off:.1e}, accuracy {'the same' if same else 'another'}"
    return Found(figure, off <= FLOAT64 and same, {"losses": off})


def own_arrays(place: Place) -> Found:
    """Check that predictions for rows on the device stay there."""
    import sklearn
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning

    backend = prepare(Config(dataset="iris", device=place.device)).backend
    x, y = (backend.asarray(part) for part in load_digits(return_X_y=True))
    with sklearn.config_context(array_api_dispatch=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = MLPClassifier(random_state=0, max_iter=30).fit(x, y)
        guess = fitted.predict(x)
    score = float(np.mean(backend.to_host(guess) == backend.to_host(y)))
    return Found(f"{type(guess).__module__} arrays, accuracy {score:.3f}", type(guess) is type(x) and score > 0.9)


CHECKS = (
    Check("a resumed run", "the same to the bit", resumed, 60),
    Check("evaluation", f"within {FLOAT32:g} of NumPy", evaluated, 20),
    Check("estimators", f"weights within {FLOAT64:g}", estimators, 40),
    Check("cross-validation", f"within {FLOAT64:g} of NumPy", folded, 40),
    Check("arrays of the device", "predictions are there too", own_arrays, 30),
)
