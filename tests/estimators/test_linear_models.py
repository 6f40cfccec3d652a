"""A network without a hidden layer is a linear model."""

import numpy as np
import pytest
from quick import THREE, X_REG, Y_REG, X, regressor
from sklearn.linear_model import LogisticRegression, Ridge

from mlpgpu import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_a_linear_model_has_no_hidden_activations():
    with pytest.raises(ValueError, match="there is no hidden layer"):
        regressor(hidden_layer_sizes=()).fit(X, THREE).hidden_activations(X)


def test_no_hidden_layer_is_a_linear_regression():
    linear = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=2.0, max_iter=2000, tol=1e-10, random_state=0)
    theirs = Ridge(alpha=2.0).fit(X_REG, Y_REG)
    # For the tolerance, see the next test.
    np.testing.assert_allclose(linear.fit(X_REG, Y_REG).predict(X_REG), theirs.predict(X_REG), atol=5e-4)


def test_no_hidden_layer_is_a_linear_model():
    linear = MLPClassifier((), solver="lbfgs", alpha=1.0, max_iter=2000, tol=1e-10, random_state=0).fit(X, THREE)
    # scikit-learn's C is the inverse of a penalty that is not divided by the number of rows.
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(X, THREE)
    # SciPy stops when the loss falls by less than a relative 2e-9; the error of the minimiser is about its square root.
    np.testing.assert_allclose(linear.predict_proba(X), theirs.predict_proba(X), atol=5e-5)
