"""Seconds of ``MLPClassifier.predict`` and of scikit-learn's, on one row and on 10,000."""

import pytest


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_rows", [1, 10_000])
def test_predict(benchmark, classifier, samples, scaled, n_rows):
    (x_train, y_train), (x, y) = scaled
    # One epoch on some of the rows, since the time does not depend on the weights.
    fitted = classifier(max_iter=1).fit(x_train[:10_000], y_train[:10_000])
    rows = x[:n_rows]
    benchmark.group = f"predict, {len(rows):,} rows"
    calls = 1 if n_rows > 1 else 100
    benchmark.pedantic(fitted.predict, args=(rows,), rounds=50, iterations=calls, warmup_rounds=5)

    benchmark.extra_info.update(data=samples[0].name, samples=len(rows))
    assert (fitted.predict(x) == y).mean() > 0.75
