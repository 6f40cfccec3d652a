"""Settings and model of a run, as TensorBoard and MLflow log them, and the packages that these need."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlpgpu.errors import InputError, one_line
from mlpgpu.maths.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from mlpgpu.models.model import Model
    from mlpgpu.training.run import Run

# Tracker, which is also the name of its extra -> package that it needs.
PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}


def check_installed(names: Iterable[str]) -> None:
    """Check that the packages of trackers can be imported.

    Raises
    ------
    InputError
        If one is missing, or broken; the message names the extra.
    """
    for name in names:
        package = PACKAGES[name]
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{name} needs {package}, which is not installed; pip install 'mlpgpu[{name}]'")
        try:
            importlib.import_module(package)
        # With a dependency of another version, it raises other errors than ImportError.
        except Exception as error:
            raise InputError(
                f"{name} needs {package}, which cannot be imported ({one_line(error)}); leave {name} out, or pip "
                f"install --force-reinstall 'mlpgpu[{name}]'"
            ) from None


def settings(run: Run) -> dict[str, str]:
    """Return the settings of a run by name, as text; values that the run resolved replace those that were given."""
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
    return {name: _as_text(value) for name, value in known.items() if value is not None}


def _as_text(value: Any) -> str:
    """Return a setting as Python writes it: MLflow has it so of a user's own calls, and refuses any other text."""
    return ",".join(map(str, value if isinstance(value, tuple | list) else [value])) or "none"


def model(run: Run) -> Model | None:
    """Return the current model; None if a model file cannot hold it, because of a user's own functions."""
    if run.as_model is None:
        return None
    try:
        return run.model()
    except ValueError:
        return None
