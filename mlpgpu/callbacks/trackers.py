"""What a tracker of the field is told of a run, and what it needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlpgpu.errors import InputError
from mlpgpu.maths.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from mlpgpu.model import Model
    from mlpgpu.trainer import Run

# Name of each, which is also that of its extra -> the package that it needs.
PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}


def check_installed(names: Iterable[str]) -> None:
    """Refuse a tracker whose package is missing.

    Raises
    ------
    InputError
        It names the extra.
    """
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise InputError(f"{name} needs {PACKAGES[name]}, which is not installed; pip install 'mlpgpu[{name}]'")


def settings(run: Run) -> dict[str, str]:
    """What is known of how a run trains, by name, as text: its settings, and above them what was made of them."""
    plan, recipe, network = run.plan, run.plan.recipe, model(run)
    known: dict[str, Any] = dict(network.config) if network else {}
    known |= {
        "layers": plan.network.sizes,
        "activation": plan.activations,
        "loss": plan.loss,
        "epochs": plan.epochs,
        "l2": recipe.l2,
        "dtype": plan.dtype,
        "n_train": run.n_rows,
    }
    if run.training is None:
        known["optimizer"] = "lbfgs"
    else:
        known |= {
            "optimizer": next(name for name, rule in OPTIMIZERS.items() if rule is recipe.optimizer),
            **recipe.optimizer.settings,
            **recipe.settings,
            "learning_rate": plan.learning_rate,
            "batch_size": plan.batch_size,
            "input_dropout": plan.dropout[0],
            "dropout": plan.dropout[1:],
            "normalization": ["batch" if one else "none" for one in plan.network.normalized],
            "weight_decay": recipe.weight_decay,
            "clip_norm": recipe.clip_norm,
        }
    return {name: _text(value) for name, value in known.items() if value is not None}


def _text(value: Any) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple | list) else str(value)


def model(run: Run) -> Model | None:
    """The network as it is; None where no model file can hold it, for functions of the user's own."""
    if run.as_model is None:
        return None
    try:
        return run.model()
    except ValueError:
        return None
