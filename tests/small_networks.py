"""Small networks and data, for properties that every activation, loss and optimizer must have."""

import numpy as np

from mlpgpu.maths.losses import LOSSES
from mlpgpu.models.model import Model
from mlpgpu.settings.config import Config
from mlpgpu.training.feed import Rows
from mlpgpu.training.initial import draw
from mlpgpu.training.plan import make_plan

ALL_AT_ONCE = {
    "normalization": "batch",
    "dropout": 0.3,
    "input_dropout": 0.2,
    "clip_norm": 0.5,
    "l2": 0.01,
    "weight_decay": 0.1,
    "schedule": "one_cycle",
    "warmup": 1.0,
}
# 26 rows in batches of 7: the last batch has 2 rows of padding.
N_ROWS = 26


def rows_of(loss, n_features=5, n_outputs=3, dtype="float64", weighted=True):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(N_ROWS, n_features))
    if dtype == "uint8":
        x = rng.integers(0, 256, size=x.shape, dtype=np.uint8)
    if LOSSES[loss].task == "classification":
        targets = rng.integers(0, 2 if loss == "logistic" else n_outputs, size=N_ROWS)
    elif loss == "poisson":
        targets = rng.poisson(2.0, size=(N_ROWS, n_outputs)).astype(float)
    else:
        targets = rng.normal(size=(N_ROWS, n_outputs))
    return Rows(x, targets, rng.uniform(0, 2, size=N_ROWS) * (rng.random(N_ROWS) > 0.3) if weighted else None)


def plan_of(rows, loss, **given):
    defaults = {
        "dtype": "float64",
        "hidden": (6, 4),
        "activation": "tanh",
        "batch_size": 7,
        "epochs": 3,
        "dropout": 0.0,
    }
    outputs = 2 if loss == "logistic" else rows.targets.shape[1] if rows.targets.ndim == 2 else 3
    shape = {"n_rows": len(rows), "n_features": rows.x.shape[1], "n_outputs": outputs}
    return make_plan(Config(loss=loss, **(defaults | given)), **shape, task=LOSSES[loss].task)


def model_of(loss="cross_entropy", sizes=(5, 8, 7, 4), activations=("relu", "relu"), dtype="float64", **more):
    """Return a model with random weights and scaling, and text that is not ASCII in its settings."""
    rng = np.random.default_rng(4)
    classes = () if LOSSES[loss].task == "regression" else tuple("abcd"[: max(sizes[-1], 2)])
    given = {
        "params": (draw(sizes, ["he_normal"] * (len(sizes) - 1), 1) + 0.1 * rng.normal(size=())).astype(dtype),
        "shift": rng.normal(size=5).astype(dtype),
        "factor": rng.uniform(0.5, 2, size=5).astype(dtype),
        "sizes": sizes,
        "activations": activations,
        "loss": loss,
        "task": LOSSES[loss].task,
        "classes": classes,
        "config": Config(hidden=sizes[1:-1], dataset="räder.csv").to_dict(),
    }
    return Model(**(given | more))
