"""Settings for scikit-learn's estimator checks: the tests run some of them, scripts/estimator_checks.py all."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from mlpgpu import InputError, MLPClassifier, MLPRegressor, backends
from mlpgpu.maths.optimizers import OPTIMIZERS

KINDS = {"classifier": MLPClassifier, "regressor": MLPRegressor}
# Enough for the accuracy and the R² that the checks require.
QUICK = {"hidden_layer_sizes": (30,), "learning_rate_init": 0.02, "max_iter": 60}


def _with_optimizer(name):
    settings = QUICK | {"optimizer": name, "learning_rate_init": OPTIMIZERS[name].learning_rate}
    if name in {"sgd", "momentum", "nesterov"}:
        # Some checks have targets in the hundreds, too large for plain gradient descent at a rate for scaled data.
        settings |= {"clip_norm": 1.0}
    if name == "lion":
        # Each step moves a weight by at most the learning rate, so more steps are needed.
        settings |= {"max_iter": 400}
    return settings


def _with_backends():
    """Yield a name and settings for each installed backend."""
    for name in backends.BACKENDS:
        device = "cuda" if name == "cupy" else "cpu"
        try:
            backends.select(device, name)
        except InputError:
            continue
        yield f'backend="{name}"', QUICK | {"backend": name, "device": device}


# Name of a row of the table -> parameters.
GRID = {
    "defaults": {},
    # The check of class weights requires that nearly all rows are predicted to be of one class. A tenth of its rows are
    # five: a hardly trained network gets those of that class right, and no later epoch scores better.
    "early_stopping=True, validation_fraction=0.5": {"early_stopping": True, "validation_fraction": 0.5},
    # Smaller than the data of each check for which more than one batch makes a difference.
    "batch_size=8": QUICK | {"batch_size": 8, "max_iter": 20},
    'solver="lbfgs"': {"solver": "lbfgs"},
    "dropout=0.2": QUICK | {"dropout": 0.2},
    'normalization="batch"': QUICK | {"normalization": "batch"},
    **{f'optimizer="{name}"': _with_optimizer(name) for name in OPTIMIZERS},
    "weight_decay=0.01": QUICK | {"weight_decay": 0.01},
    "clip_norm=1": QUICK | {"clip_norm": 1.0},
    'learning_rate_schedule="one_cycle", warmup=2': QUICK | {"learning_rate_schedule": "one_cycle", "warmup": 2.0},
    **dict(_with_backends()),
}

DRAWN_BY_ROW = (
    "the result depends on the order of the rows, as it does in scikit-learn, and a weighted set does not have the "
    "order of the repeated one: the position of a row determines its split, batch or dropout mask"
)


def expected_failures(estimator):
    """Return the names of the checks that cannot pass, each with the reason."""
    if estimator.early_stopping or estimator.dropout or estimator.batch_size != "auto":
        return {f"check_sample_weight_equivalence_on_{kind}_data": DRAWN_BY_ROW for kind in ("dense", "sparse")}
    return {}


def run_checks(estimator):
    """Run `check_estimator` on an estimator; return its list of one dict per check."""
    # The arrays are small: several threads would only wait for each other when other processes run too.
    with threadpool_limits(1), warnings.catch_warnings():
        # Few epochs are enough here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return check_estimator(
            estimator, expected_failed_checks=expected_failures(estimator), on_skip=None, on_fail=None
        )
