"""Seconds of ``MLPClassifier.fit`` and of scikit-learn's: small data sets with the defaults, MNIST for two epochs."""

import pytest
from sklearn.datasets import load_digits, load_iris

# Neither two epochs nor, on iris, the default of 200 converge.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def time_fit(benchmark, classifier, name, x, y, *, rounds, floor, **given):
    benchmark.group = f"fit, {name}"
    fitted = benchmark.pedantic(lambda: classifier(**given).fit(x, y), rounds=rounds, warmup_rounds=1)

    accuracy = float(fitted.score(x, y))
    benchmark.extra_info.update(
        data=name, samples=len(x) * fitted.n_iter_, epochs=fitted.n_iter_, dtype=str(x.dtype), accuracy=accuracy
    )
    assert accuracy > floor


def test_fit_digits(benchmark, classifier):
    time_fit(benchmark, classifier, "digits", *load_digits(return_X_y=True), rounds=5, floor=0.98)


def test_fit_iris(benchmark, classifier):
    time_fit(benchmark, classifier, "iris", *load_iris(return_X_y=True), rounds=10, floor=0.94)


def test_fit_mnist(benchmark, classifier, samples, scaled):
    name = f"{samples[0].name}, two epochs"
    time_fit(benchmark, classifier, name, *scaled[0], rounds=5, floor=0.9, max_iter=2)
