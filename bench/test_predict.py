"""Seconds of ``MLPClassifier.predict`` on 10,000 rows, beside scikit-learn's."""

import pytest


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_predict(benchmark, classifier, samples, scaled):
    (x_train, y_train), (x, y) = scaled
    # One epoch over some of the rows: what the weights are does not matter to the time.
    fitted = classifier(max_iter=1).fit(x_train[:10_000], y_train[:10_000])
    benchmark.group = f"predict, {len(x):,} rows"
    labels = benchmark.pedantic(fitted.predict, args=(x,), rounds=50, warmup_rounds=5)

    benchmark.extra_info.update(data=samples[0].name, samples=len(x))
    assert (labels == y).mean() > 0.75
