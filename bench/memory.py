"""Compare the peak memory of calls of the estimators with that of the same calls of scikit-learn's.

``python bench/memory.py`` makes each call in a process of its own, after a small one that imports all it needs, and
prints by how many MB the kernel's peak exceeds what the process had before. It needs Linux. The data are made up.
"""

import re
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse
from alone import alone
from sklearn import neural_network

import mlpgpu

LIBRARIES = {"scikit-learn": neural_network, "mlpgpu": mlpgpu}
N_ROWS, N_FEATURES = 100_000, 250


def dense(dtype="float64", order="C"):
    x = np.random.default_rng(0).integers(0, 9, (N_ROWS, N_FEATURES), np.uint8)
    return np.asarray(x, dtype, order=order)


def sparse():
    n_stored = 100 * N_ROWS
    columns = np.random.default_rng(0).integers(0, 2000, n_stored)
    return scipy.sparse.csr_array((np.ones(n_stored), columns, np.arange(0, n_stored + 1, 100)), (N_ROWS, 2000))


def labels(n_classes):
    return lambda: np.arange(N_ROWS) % n_classes


def targets(dtype):
    return lambda: np.random.default_rng(1).normal(size=(N_ROWS, N_FEATURES)).astype(dtype)


# Rows, targets, the method, and settings of the estimator.
CALLS = {
    "fit, float64": (dense, labels(2), "fit", {}),
    "fit, float64, Fortran order": (lambda: dense(order="F"), labels(2), "fit", {}),
    "fit, bytes, Fortran order": (lambda: dense("uint8", "F"), labels(2), "fit", {}),
    "fit, early stopping": (dense, labels(2), "fit", {"early_stopping": True}),
    "fit, L-BFGS": (dense, labels(2), "fit", {"solver": "lbfgs"}),
    "fit, sparse": (sparse, labels(2), "fit", {}),
    "fit, 250 targets": (dense, targets("float64"), "fit", {}),
    "fit, 250 targets, float32": (lambda: dense("float32"), targets("float32"), "fit", {}),
    "predict": (dense, labels(2), "predict", {}),
    "predict, sparse": (sparse, labels(2), "predict", {}),
    "predict_proba, 1,000 classes": (dense, labels(1000), "predict_proba", {}),
    "predict, 250 targets": (dense, targets("float64"), "predict", {}),
}


def resident(key):
    """Return MB from the kernel's description of this process."""
    return int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1000


def measure(library, name):
    """Return the MB that a call takes at its peak."""
    warnings.simplefilter("ignore")
    rows, wanted, method, settings = CALLS[name]
    x, y = rows(), wanted()
    kind = getattr(LIBRARIES[library], "MLPRegressor" if y.ndim == 2 else "MLPClassifier")
    estimator = kind(hidden_layer_sizes=(50,), max_iter=1, random_state=0, **settings)
    given = (x, y) if method == "fit" else (x,)
    # A small fit and call, which import what the measured call needs.
    estimator.fit(x[:2000], y[:2000])
    getattr(estimator, method)(*(array[:2000] for array in given))
    # Resets the peak.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    _ = getattr(estimator, method)(*given)
    return resident("VmHWM") - before


def main():
    """Measure, and print a table."""
    print("| call | scikit-learn, MB | mlpgpu, MB |\n| --- | --- | --- |")
    for name in CALLS:
        found = [alone(measure, library, name) for library in LIBRARIES]
        print(f"| {name} | {found[0]:.0f} | {found[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
