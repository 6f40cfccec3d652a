"""A perceptron from scratch on Iris and MNIST: its sixteen tables reproduced, then improved on.

The published system is a student report: one logistic hidden layer and a softmax output, written in NumPy, trained by
plain gradient descent and compared with scikit-learn's MLPClassifier by 5-fold cross-validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier as ScikitLearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mlpgpu import MLPClassifier
from mlpgpu.callbacks import LambdaCallback
from mlpgpu.maths.losses import log_softmax, one_hot, softmax
from scripts.experiments.images import images
from scripts.experiments.perceptron_report import (
    write_activations,
    write_iris,
    write_mnist,
    write_summary,
    write_wishes,
)
from scripts.experiments.perceptron_tables import FOLDS, IRIS, MNIST, SCIKIT_LEARN_SEEDS, WISHES, Result, Table
from scripts.experiments.report import Report
from scripts.experiments.running import Experiment, Given, Progress, main

SEEDS, QUICK_SEEDS = 50, 2
QUICK_ROWS, QUICK_SHARE = 2000, 0.04
LOW, HIGH = math.log(1e-4), math.log(0.9999)
SETTINGS = (
    "The published system is a student's perceptron in NumPy. It has one logistic hidden layer (10 units for Iris, 128 "
    "for MNIST) and a softmax output. Weights are drawn from N(0, 1), and biases are 1. Plain gradient descent "
    "minimises the mean cross-entropy with a learning rate of 0.08, in full batches or in consecutive minibatches, in "
    "the same order every epoch.\n\n"
    "In the tables named own, mlpgpu runs with these settings. It does not clip the input of the logistic function to "
    "[-300, 300] as the published system does: logistic(-300) is 5e-131, which is 0 in float32 and too small for any "
    "digit shown in float64. Probabilities are clipped to [1e-4, 0.9999] only in the reported loss, by a custom `loss` "
    "of the script. The tables named scikit-learn are for its MLPClassifier with the same number of units and epochs "
    "and otherwise default settings.\n\n"
    "All figures are from 5-fold cross-validation, with the scaler fitted on the training folds. Rows are assigned to "
    "folds at random and keep the order of the data set. Iris is sorted by species, so a minibatch of 32 rows has one "
    "or two of the three species. Iris is trained in float64, and MNIST, with its 70,000 training and test images "
    "together, in float32."
)
QUICK = (
    f"This is a quick run on {QUICK_ROWS:,} images with {QUICK_SHARE:.0%} of the epochs. It only shows that the script "
    "works; its figures mean nothing."
)


def clipped_loss(xp: Any, z: Any, t: Any) -> Any:
    """Cross-entropy as the published report shows it, of probabilities clipped to [1e-4, 0.9999]."""
    return -xp.sum(one_hot(xp, t, z) * xp.minimum(xp.maximum(log_softmax(xp, z), LOW), HIGH), axis=-1)


def gradient(xp: Any, z: Any, t: Any) -> Any:
    """Gradient of the cross-entropy without clipping, which the published system uses."""
    return softmax(xp, z) - one_hot(xp, t, z)


def own(rows: int, batch: int, **settings: Any) -> MLPClassifier:
    """The published system as settings of mlpgpu."""
    return MLPClassifier(
        activation="logistic",
        init="normal",
        init_std=1.0,
        bias_init=1.0,
        loss=(clipped_loss, gradient),
        optimizer="sgd",
        learning_rate_init=0.08,
        alpha=0,
        batch_size=batch or rows,
        shuffle=False,
        tol=0,
        n_iter_no_change=math.inf,
        **settings,
    )


def wishes(_rows: int, batch: int, **settings: Any) -> MLPClassifier:
    """What the published report wishes for in closing: ReLU, Adam, dropout, two hidden layers."""
    return MLPClassifier(
        activation="relu",
        dropout=0.2,
        optimizer="adam",
        learning_rate_init=0.003,
        learning_rate_schedule="one_cycle",
        batch_size=batch,
        tol=0,
        n_iter_no_change=math.inf,
        **settings,
    )


def scikit_learn(*_sizes: int, device: str, callbacks: list[Any], **settings: Any) -> ScikitLearn:
    """scikit-learn's own classifier, which has neither devices nor these callbacks."""
    return ScikitLearn(**settings)


MODELS: dict[str, Callable[..., Any]] = {
    "own": own,
    "scikit-learn": scikit_learn,
    "scikit-learn, logistic": partial(scikit_learn, activation="logistic"),
    "wishes": wishes,
}


def cross_validated(table: Table, x: np.ndarray, y: np.ndarray, seed: int, given: Given) -> Result:
    """Train and test on five folds; the seed determines the folds and the initial weights, which differ by fold."""
    losses: list[np.ndarray] = []
    accuracy, f1, confusion = [], [], 0
    for fold, (train, test) in enumerate(KFold(FOLDS, shuffle=True, random_state=seed).split(x)):
        network = MODELS[table.model](
            len(train),
            table.batch,
            hidden_layer_sizes=table.hidden,
            max_iter=math.ceil(table.epochs * QUICK_SHARE) if given.quick else table.epochs,
            random_state=FOLDS * seed + fold,
            device=given.device,
            callbacks=[LambdaCallback(on_end=lambda run: losses.append(np.array(run.losses)))],
        )
        scaler = StandardScaler() if table.input == "standardised" else None
        # In scikit-learn's small products, a second thread costs more by waiting than it saves.
        with threadpool_limits(1) if table.model.startswith("scikit-learn") else nullcontext():
            found = make_pipeline(scaler, network).fit(x[train], y[train]).predict(x[test])
        accuracy.append(accuracy_score(y[test], found))
        f1.append(f1_score(y[test], found, average="weighted", zero_division=0))
        confusion = confusion + confusion_matrix(y[test], found, labels=np.unique(y))
    return Result(np.array(accuracy), np.array(f1), np.asarray(confusion), losses[0] if losses else np.empty((0, 0)))


def run(given: Given, report: Report, progress: Progress) -> None:
    """Run all tables and write the report."""
    seeds = given.seeds or (QUICK_SEEDS if given.quick else SEEDS)
    share = EXPERIMENT.expected(given) / EXPERIMENT.seconds

    def results(table: Table, x: np.ndarray, y: np.ndarray, count: int = 1) -> list[Result]:
        """Return the results for the seeds from 0 to `count` - 1."""
        turns = progress.over(range(count), table.seconds * share, lambda _: f"table {table.number}")
        return [cross_validated(table, x, y, seed, given) for seed in turns]

    flowers = load_iris()
    counts = {"own": seeds, "scikit-learn": min(seeds, SCIKIT_LEARN_SEEDS)}
    iris = {table: results(table, flowers.data, flowers.target, counts[table.model]) for table in IRIS}
    x, y = digits(QUICK_ROWS if given.quick else None)
    inputs = {"raw": x, "divided by 255": x / np.float32(255)}
    mnist = {table: results(table, inputs[table.input], y)[0] for table in (*MNIST, WISHES)}
    granted = mnist.pop(WISHES)
    logistic = {
        table: results(
            replace(table, model="scikit-learn, logistic"),
            *((flowers.data, flowers.target, counts["scikit-learn"]) if table in IRIS else (inputs[table.input], y)),
        )
        for table in (*IRIS, *MNIST)
        if table.model == "scikit-learn"
    }
    means = {table: np.array([result.accuracy.mean() for result in of_seeds]) for table, of_seeds in iris.items()}
    report.text(SETTINGS, *([QUICK] if given.quick else []))
    write_summary(report, means, mnist, granted)
    write_iris(report, iris, means, flowers.target_names)
    write_mnist(report, mnist)
    write_activations(report, iris | {table: [result] for table, result in mnist.items()}, logistic)
    write_wishes(report, granted, mnist[MNIST[-1]])


def digits(rows: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's training and test images together, as 0..255 in float32, and their labels."""
    x_train, y_train, x_test, y_test = images("mnist")
    return np.concatenate([x_train, x_test])[:rows].astype(np.float32), np.concatenate([y_train, y_test])[:rows]


EXPERIMENT = Experiment(
    "iris_and_mnist",
    "Iris and MNIST: a perceptron from scratch, reproduced and surpassed",
    run,
    # scikit-learn's tables are run twice: with ReLU and with logistic units.
    seconds=sum(table.seconds * (1 + (table.model == "scikit-learn")) for table in (*IRIS, *MNIST, WISHES)),
    quick_seconds=25,
)

if __name__ == "__main__":
    main(EXPERIMENT, description=__doc__)
