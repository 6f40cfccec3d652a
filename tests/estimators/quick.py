"""Short fits on iris and diabetes, for settings that scikit-learn does not have."""

import numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.preprocessing import scale

from mlpgpu import MLPClassifier, MLPRegressor

X, THREE = load_iris(return_X_y=True)
X = scale(X)
TWO = (THREE == 2).astype(int)
X_REG, Y_REG = load_diabetes(return_X_y=True)
X_REG, Y_REG = scale(X_REG), scale(Y_REG)
QUICK = {"hidden_layer_sizes": (8, 5), "max_iter": 6, "random_state": 1, "batch_size": 50}


def classifier(**given):
    return MLPClassifier(**QUICK | given)


def regressor(**given):
    return MLPRegressor(**QUICK | given)


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.coefs_, other.coefs_, strict=True))


def pairs(fitted):
    return list(zip(fitted.coefs_, fitted.intercepts_, strict=True))
