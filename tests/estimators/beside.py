"""Our estimators beside scikit-learn's, with the same data, seed and settings."""

import warnings

import numpy as np
from sklearn import neural_network

from mlpgpu import MLPClassifier, MLPRegressor

OURS = {"classifier": MLPClassifier, "regressor": MLPRegressor}
THEIRS = {"classifier": neural_network.MLPClassifier, "regressor": neural_network.MLPRegressor}
RNG = np.random.default_rng(20260101)
X, X_NEW = RNG.normal(size=(72, 5)), RNG.normal(size=(20, 5))
TRUTH = np.tanh(X @ RNG.normal(size=(5, 3)))
TARGETS = {
    "classifier": (TRUTH + 0.3 * RNG.gumbel(size=TRUTH.shape)).argmax(1),
    "regressor": TRUTH[:, 0] + 0.1 * RNG.normal(size=len(X)),
}
BINARY, MULTILABEL, COUNTS = (
    (TRUTH[:, 0] > 0.2).astype(int),
    (TRUTH > 0.1).astype(int),
    RNG.poisson(np.exp(TRUTH[:, 0])),
)
WEIGHTS = RNG.uniform(0.2, 3, size=len(X))
# Low patience and a high learning rate, so that runs end before max_iter and adaptive rates fall within a few epochs.
SETTINGS = {
    "hidden_layer_sizes": (7, 4),
    "batch_size": 20,
    "max_iter": 12,
    "n_iter_no_change": 2,
    "tol": 0.01,
    "learning_rate_init": 0.05,
    "alpha": 0.01,
    "random_state": 3,
}
COUNTED = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "_no_improvement_count")
MEASURED = ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")


def fit(estimator, *data, **more):
    """Fit the estimator; return it and the categories of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(*data, **more)
    return estimator, [warning.category for warning in caught]


def quietly(estimator, *data, **more):
    return fit(estimator, *data, **more)[0]


def fit_both(pair, *data, **more):
    (_, ours), (_, theirs) = (fit(estimator, *data, **more) for estimator in pair)
    assert ours == theirs


def both(task, **settings):
    """Return our estimator and scikit-learn's."""
    return OURS[task](**(SETTINGS | settings)), THEIRS[task](**(SETTINGS | settings))


def relative_error(ours, theirs):
    """Return the largest absolute difference, divided by the largest absolute value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / (np.abs(theirs).max() or 1)


def difference(ours, theirs, x=X_NEW):
    """Return the largest relative difference of weights, losses, scores and predictions; counts must be equal."""
    for name in (*COUNTED, *MEASURED):
        assert hasattr(ours, name) == hasattr(theirs, name), name
    for name in COUNTED:
        assert getattr(ours, name, None) == getattr(theirs, name, None), name
    pairs = [*zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True)]
    for name in MEASURED:
        if getattr(theirs, name, None) is None:
            assert getattr(ours, name, None) is None, name
        else:
            pairs.append((getattr(ours, name), getattr(theirs, name)))
    if getattr(theirs, "validation_scores_", None) is None:
        pairs.append((ours.loss_, theirs.loss_))
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_, strict=True)
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x), strict=True)
        pairs.append((ours.predict_proba(x), theirs.predict_proba(x)))
    else:
        pairs.append((ours.predict(x), theirs.predict(x)))
    return max(relative_error(*pair) for pair in pairs)
