"""Rows drawn with replacement."""

import numpy as np
import pytest
from quick import THREE, X, classifier, pairs, same_weights

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_rows_drawn_with_replacement():
    given = {"solver": "sgd", "batch_size": 150, "max_iter": 1, "alpha": 0.0, "momentum": 0.0, "init": "he_normal"}
    start = pairs(classifier(learning_rate_init=1e-300, **given).fit(X, THREE))
    drawn = classifier(replacement=True, **given).fit(X, THREE)
    assert not same_weights(drawn, classifier(**given).fit(X, THREE))
    assert same_weights(drawn, classifier(replacement=True, **given).fit(X, THREE))
    # The only step equals that on all rows, weighted by how often each was drawn.
    state = np.random.RandomState(1)
    state.randint(np.iinfo(np.int32).max)
    counts = np.bincount(state.randint(150, size=150), minlength=150)
    weighted = classifier(**given | {"init": start}).fit(X, THREE, sample_weight=counts)
    for ours, expected in zip(drawn.coefs_, weighted.coefs_, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)
