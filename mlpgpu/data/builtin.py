"""Data sets that need no file: those that scikit-learn ships, and a synthetic one."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.source import Source
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

# Approximate distance between two centres, divided by sqrt(2), in standard deviations of the noise.
_SPREAD = 4.0
_CHUNK_ROWS = 8192


def digits(_config: "Config") -> Source[np.ndarray]:
    """1,797 images of handwritten digits, 8x8 pixels with integer values from 0 to 16."""
    bunch = _load("load_digits")
    # scikit-learn ships the integers as float64.
    x = bunch.data.astype(np.uint8)
    classes = tuple(range(10))
    return Source("digits", x, bunch.target, task="classification", classes=classes, scale="minmax")


def iris(_config: "Config") -> Source[np.ndarray]:
    """150 irises of three species, four measurements each."""
    return _labelled("iris", _load("load_iris"))


def breast_cancer(_config: "Config") -> Source[np.ndarray]:
    """569 tumours, 30 measurements each; code 0 is malignant, 1 benign, as in scikit-learn."""
    return _labelled("breast-cancer", _load("load_breast_cancer"))


def diabetes(_config: "Config") -> Source[np.ndarray]:
    """442 patients, ten measurements each; the target is the disease progression after one year."""
    bunch = _load("load_diabetes")
    names = tuple(map(str, bunch.feature_names))
    return Source("diabetes", bunch.data, bunch.target, task="regression", feature_names=names)


def synthetic(config: "Config") -> Source[np.ndarray]:
    """Gaussian clusters, one per class, drawn with ``numpy.random.default_rng(config.seed)``.

    In order of drawing:

    1. the centres, an array of shape (classes, features) of standard normal numbers times ``4 / sqrt(features)``, so
       that two centres are about 5.7 apart for any number of features;
    2. the labels, a permutation of ``0, 1, ..., classes - 1, 0, 1, ...``;
    3. the rows, each the centre of its class plus standard normal noise.

    Centres and rows are drawn in float32.

    Raises
    ------
    InputError
        If there are fewer samples than classes.
    """
    if config.samples < config.classes:
        raise InputError(
            f"samples is {config.samples} for {config.classes} classes of the synthetic set; "
            "allowed: at least as many samples as classes; raise samples or lower classes"
        )
    rng = np.random.default_rng(config.seed)
    centres = rng.standard_normal((config.classes, config.features), dtype=np.float32)
    centres *= np.float32(_SPREAD / config.features**0.5)
    y = rng.permutation(np.arange(config.samples) % config.classes)
    x = np.empty((config.samples, config.features), np.float32)
    # In chunks, so that an array with the centre of every row is never in memory.
    for start in range(0, len(x), _CHUNK_ROWS):
        chunk = x[start : start + _CHUNK_ROWS]
        rng.standard_normal(dtype=np.float32, out=chunk)
        chunk += centres[y[start : start + _CHUNK_ROWS]]
    names = tuple(f"x{i}" for i in range(config.features))
    classes = tuple(range(config.classes))
    return Source("synthetic", x, y, task="classification", classes=classes, feature_names=names)


BUILTIN = {
    "digits": digits,
    "iris": iris,
    "breast-cancer": breast_cancer,
    "diabetes": diabetes,
    "synthetic": synthetic,
}


def _load(function: str) -> Any:
    import sklearn.datasets

    return getattr(sklearn.datasets, function)()


def _labelled(name: str, bunch: Any) -> Source[np.ndarray]:
    classes = tuple(map(str, bunch.target_names))
    names = tuple(map(str, bunch.feature_names))
    return Source(name, bunch.data, bunch.target, task="classification", classes=classes, feature_names=names)
