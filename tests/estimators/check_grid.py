"""Settings that scikit-learn's estimator checks run with: some in the tests, all in scripts/estimator_checks.py."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from mlpgpu import InputError, MLPClassifier, MLPRegressor, backends
from mlpgpu.maths.optimizers import OPTIMIZERS

KINDS = {"classifier": MLPClassifier, "regressor": MLPRegressor}
# Enough for the accuracy and the R² that the checks ask for.
QUICK = {"hidden_layer_sizes": (30,), "learning_rate_init": 0.02, "max_iter": 60}


def _with_optimizer(name):
    settings = QUICK | {"optimizer": name, "learning_rate_init": OPTIMIZERS[name].learning_rate}
    if name in {"sgd", "momentum", "nesterov"}:
        # Some checks have targets in the hundreds, too far off for plain descent at a rate that suits scaled data.
        settings |= {"clip_norm": 1.0}
    if name == "lion":
        # Each step moves a weight by no more than the rate.
        settings |= {"max_iter": 400}
    return settings


def _with_backends():
    """Those that are there."""
    for name in backends.BACKENDS:
        device = "cuda" if name == "cupy" else "cpu"
        try:
            backends.select(device, name)
        except InputError:
            continue
        yield f'backend="{name}"', QUICK | {"backend": name, "device": device}


# What a row of the table is called -> parameters.
GRID = {
    "defaults": {},
    # The check of class weights asks that nearly all rows go to one class. Of the five rows that a tenth is, a network
    # that is hardly trained gets all of that class right, and nothing is better than that.
    "early_stopping=True, validation_fraction=0.5": {"early_stopping": True, "validation_fraction": 0.5},
    # Fewer than the rows of any check that more than one batch makes a difference to.
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
    "what a run makes of rows without weights depends on their order too, scikit-learn's included, and a weighted set "
    "has not the order of the repeated one: here a row's place says what split, batch or dropout it gets"
)


def expected_failures(estimator):
    """Names of the checks that cannot pass -> why."""
    if estimator.early_stopping or estimator.dropout or estimator.batch_size != "auto":
        return {f"check_sample_weight_equivalence_on_{kind}_data": DRAWN_BY_ROW for kind in ("dense", "sparse")}
    return {}


def run_checks(estimator):
    """What `check_estimator` makes of an estimator: a list of dict, one a check."""
    # The arrays are small: threads would wait for each other where others run too.
    with threadpool_limits(1), warnings.catch_warnings():
        # Few epochs are enough here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return check_estimator(
            estimator, expected_failed_checks=expected_failures(estimator), on_skip=None, on_fail=None
        )
