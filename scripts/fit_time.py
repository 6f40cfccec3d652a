"""Time the fit of MLPClassifier against scikit-learn's, in turn, on digits and on MNIST."""

import time
import warnings

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import mlpgpu
from mlpgpu.data import load


def seconds(kind: type, x: np.ndarray, y: np.ndarray, **given: object) -> float:
    """Of one fit."""
    started = time.perf_counter()
    kind(random_state=0, **given).fit(x, y)
    return time.perf_counter() - started


def compare(name: str, x: np.ndarray, y: np.ndarray, rounds: int, **given: object) -> None:
    """Print the median of the ratios of as many rounds, and the medians of both sides."""
    kinds = (neural_network.MLPClassifier, mlpgpu.MLPClassifier)
    times = np.array([[seconds(kind, x, y, **given) for kind in kinds] for _ in range(rounds)])
    theirs, ours = np.median(times, axis=0)
    ratio = np.median(times[:, 1] / times[:, 0])
    print(f"{name}, {x.dtype}: scikit-learn {theirs:.2f} s, mlpgpu {ours:.2f} s, ratio {ratio:.2f}", flush=True)


def main() -> None:
    """Digits with all defaults, MNIST for five epochs, each in both float types."""
    # Five epochs are enough to time.
    warnings.simplefilter("ignore", ConvergenceWarning)
    digits, labels = load_digits(return_X_y=True)
    mnist = load(mlpgpu.Config(dataset="mnist", validation_fraction=0.0))
    for dtype in ("float64", "float32"):
        compare("digits, defaults", (digits / 16).astype(dtype), labels, 5)
        compare("MNIST, 5 epochs", (mnist.x_train / 255).astype(dtype), mnist.y_train, 3, max_iter=5)


if __name__ == "__main__":
    main()
