"""Compare calls of the estimators with the same calls of scikit-learn's.

``python bench/calls.py`` times fits, predictions and other calls of both, in turn, in one process. It prints medians
and ratios, and writes ``calls-CPU.json``. The data are scikit-learn's or made up.
"""

import argparse
import pickle
import statistics
import sys
import time
import warnings

import numpy as np
import output
import scipy.sparse
from sklearn import datasets, neural_network
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

import mlpgpu
from mlpgpu import machine
from mlpgpu.files import write_json

LIBRARIES = {"scikit-learn": neural_network, "mlpgpu": mlpgpu}


def scaled(load):
    """Return the standardised inputs and the targets of one of scikit-learn's data sets."""
    x, y = load(return_X_y=True)
    return StandardScaler().fit_transform(x), y


def classes(n_rows, n_features, n_classes=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, n_features))
    return x, (x[:, : 2 * n_classes] @ rng.normal(size=(2 * n_classes, n_classes))).argmax(axis=1)


def words(n_rows, n_features, per_row):
    """Return sparse rows like those of a bag of words, some words more frequent than others, in two classes."""
    rng = np.random.default_rng(0)
    columns = (n_features * rng.random(n_rows * per_row) ** 3).astype(int)
    rows = np.repeat(np.arange(n_rows), per_row)
    x = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (n_rows, n_features))
    return x, np.asarray(x[:, : n_features // 2].sum(axis=1)).ravel() > per_row * 0.8


IRIS, DIGITS, CANCER = map(scaled, (datasets.load_iris, datasets.load_digits, datasets.load_breast_cancer))
DIABETES, SMALL, LONG = scaled(datasets.load_diabetes), classes(5_000, 20), classes(200_000, 20)
DIABETES = DIABETES[0], (DIABETES[1] - DIABETES[1].mean()) / DIABETES[1].std()
IMAGES, TEXT = classes(4_000, 784, 10), words(4_000, 20_000, 100)


def fit(data, kind="MLPClassifier", **settings):
    """Return the preparation of a fit."""
    return lambda library: lambda: getattr(library, kind)(random_state=0, **settings).fit(*data)


def after_fit(data, call):
    """Return the preparation of a call of an estimator that is fitted for one epoch."""

    def prepare(library):
        fitted = library.MLPClassifier(random_state=0, max_iter=1).fit(data[0][:2_000], data[1][:2_000])
        return lambda: call(fitted, *data)

    return prepare


def parts(size, n_calls, data=DIGITS, **settings):
    """Return the preparation of calls of ``partial_fit``."""
    x, y = data
    slices = [slice(i * size % len(x), i * size % len(x) + size) for i in range(n_calls)]

    def prepare(library):
        def call():
            estimator = library.MLPClassifier(random_state=0, **settings)
            for part in slices:
                estimator.partial_fit(x[part], y[part], classes=range(10))

        return call

    return prepare


def warm(library):
    def call():
        estimator = library.MLPClassifier(random_state=0, warm_start=True, max_iter=1)
        for _ in range(20):
            estimator.fit(*DIGITS)

    return call


def search(n_jobs):
    """Return the preparation of a grid search."""
    grid = {"alpha": [1e-4, 1e-2], "hidden_layer_sizes": [(50,), (100,)]}
    return lambda library: (
        lambda: GridSearchCV(library.MLPClassifier(random_state=0, max_iter=30), grid, cv=3, n_jobs=n_jobs).fit(*DIGITS)
    )


CALLS = {
    "fit of iris": fit(IRIS),
    "fit of breast-cancer": fit(CANCER),
    "fit of diabetes, regression": fit(DIABETES, "MLPRegressor"),
    "fit of digits": fit(DIGITS),
    "fit of digits, early stopping": fit(DIGITS, early_stopping=True),
    "fit of digits, batch 32": fit(DIGITS, batch_size=32, max_iter=50),
    "fit of digits, SGD, adaptive": fit(DIGITS, solver="sgd", learning_rate="adaptive", max_iter=100),
    "fit of 5,000 x 20, three layers": fit(SMALL, hidden_layer_sizes=(100,) * 3, max_iter=20),
    "fit of 200,000 x 20, 3 epochs": fit(LONG, max_iter=3),
    "fit of 4,000 x 784, 20 epochs": fit(IMAGES, max_iter=20),
    "fit of sparse 4,000 x 20,000, 3 epochs": fit(TEXT, max_iter=3),
    "L-BFGS, iris": fit(IRIS, solver="lbfgs"),
    "L-BFGS, digits, 50 iterations": fit(DIGITS, solver="lbfgs", max_iter=50),
    "L-BFGS, 5,000 x 20, 50 iterations": fit(SMALL, solver="lbfgs", max_iter=50),
    "L-BFGS, 4,000 x 784, 10 iterations": fit(IMAGES, solver="lbfgs", max_iter=10),
    "L-BFGS, sparse 4,000 x 20,000, 3 iterations": fit(TEXT, solver="lbfgs", max_iter=3),
    "partial_fit, 96 calls of 50 rows": parts(50, 96),
    "partial_fit, 200 calls of 1 row": parts(1, 200),
    "partial_fit, 500 calls of 200 rows": parts(200, 500),
    "partial_fit, 60 calls of 200 rows, 784-1024-1024-10": parts(200, 60, IMAGES, hidden_layer_sizes=(1024, 1024)),
    "warm start, 20 fits of 1 epoch": warm,
    "grid search, 12 fits, n_jobs=1": search(1),
    "grid search, 12 fits, n_jobs=2": search(2),
    "predict, 1 row": after_fit(DIGITS, lambda fitted, x, y: [fitted.predict(x[:1]) for _ in range(100)]),
    "predict_proba, 200,000 x 20": after_fit(LONG, lambda fitted, x, y: fitted.predict_proba(x)),
    "predict, sparse 4,000 x 20,000": after_fit(TEXT, lambda fitted, x, y: fitted.predict(x)),
    "score, 4,000 x 784": after_fit(IMAGES, lambda fitted, x, y: fitted.score(x, y)),
    "pickle and back": after_fit(IMAGES, lambda fitted, x, y: pickle.loads(pickle.dumps(fitted))),
}


def measure(prepare, rounds):
    """Return the seconds of each library in each round, after one that does not count."""
    calls = {name: prepare(library) for name, library in LIBRARIES.items()}
    seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def row(name, seconds):
    """Return the line of a call in the table."""
    theirs, ours = (statistics.median(seconds[library]) for library in LIBRARIES)
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    return f"| {name} | {theirs:.3g} | {ours:.3g} | {ratio:.2f} |"


def main():
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each call [default: 5]")
    parser.add_argument("--only", default="", help="calls whose name contains this")
    output.add_argument(parser)
    given = parser.parse_args()
    chosen = {name: prepare for name, prepare in CALLS.items() if given.only in name}
    if given.rounds < 1 or not chosen:
        parser.error(f"--rounds takes whole numbers from 1, and --only a part of one of: {', '.join(CALLS)}")
    description = machine.describe()
    for warning in machine.warnings(description, machine.load()):
        print(f"warning: {warning}", file=sys.stderr)
    # Fits of a fixed number of epochs do not converge.
    warnings.simplefilter("ignore")
    print(f"| call, median of {given.rounds} | scikit-learn, s | mlpgpu, s | ratio |\n| --- | --- | --- | --- |")
    found = {}
    for name, prepare in chosen.items():
        found[name] = measure(prepare, given.rounds)
        print(row(name, found[name]), flush=True)
    path = given.out / f"calls-{machine.name_of(description, 'cpu')}.json"
    write_json({"machine": description, "seconds": found}, path)
    print(f"\nSaved {path}")


if __name__ == "__main__":
    main()
