"""Data sets that need no file: those that scikit-learn ships, and one that is drawn."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.source import Source
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    from mlpgpu.config import Config

__all__ = ["BUILTIN"]

# Distance between two centres, about, in standard deviations of the noise, over sqrt(2).
_SPREAD = 4.0
_CHUNK_ROWS = 8192


def digits(_config: "Config") -> Source:
    """1,797 images of handwritten digits, 8x8, of whole numbers 0 to 16."""
    bunch = _load("load_digits")
    # They ship as float64, though each is a whole number.
    x = bunch.data.astype(np.uint8)
    classes = tuple(range(10))
    return Source("digits", x, bunch.target, task="classification", classes=classes, scale="minmax")


def iris(_config: "Config") -> Source:
    """150 irises of three species, four measurements each."""
    return _labelled("iris", _load("load_iris"))


def breast_cancer(_config: "Config") -> Source:
    """569 tumours, 30 measurements each; code 0 is malignant, 1 benign, as in scikit-learn."""
    return _labelled("breast-cancer", _load("load_breast_cancer"))


def diabetes(_config: "Config") -> Source:
    """442 patients, ten measurements each, and how far the disease went on in a year."""
    bunch = _load("load_diabetes")
    names = tuple(map(str, bunch.feature_names))
    return Source("diabetes", bunch.data, bunch.target, task="regression", feature_names=names)


def synthetic(config: "Config") -> Source:
    """Gaussian clusters, one a class, drawn with ``numpy.random.default_rng(config.seed)``.

    In order of drawing: the centres, (classes, features) normal numbers times ``4 / sqrt(features)``,
    so that two centres lie some 5.7 apart whatever the number of features; the labels, a permutation
    of ``0, 1, ..., classes - 1, 0, 1, ...``; and the rows, each its class's centre plus standard
    normal noise. Everything is drawn in float32.

    Raises
    ------
    InputError
        Where there are fewer samples than classes.
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
    # In chunks, so that the centres of all rows never lie in memory at once.
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


def _labelled(name: str, bunch: Any) -> Source:
    classes = tuple(map(str, bunch.target_names))
    names = tuple(map(str, bunch.feature_names))
    return Source(name, bunch.data, bunch.target, task="classification", classes=classes, feature_names=names)
