"""Train multilayer perceptrons on NumPy, CuPy, PyTorch or JAX, on CPU or GPU."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlpgpu.errors import InputError as InputError
    from mlpgpu.errors import OwnFunctionWarning as OwnFunctionWarning
    from mlpgpu.estimators import MLPClassifier as MLPClassifier
    from mlpgpu.estimators import MLPRegressor as MLPRegressor
    from mlpgpu.folds import cross_validate as cross_validate
    from mlpgpu.models.model import Model as Model
    from mlpgpu.settings.config import Config as Config
    from mlpgpu.workflow import train_and_test as train_and_test

__version__ = "0.1.0"

# Imported on first access, so that importing mlpgpu is fast and imports no array library.
_PUBLIC = {
    "Config": "mlpgpu.settings.config",
    "InputError": "mlpgpu.errors",
    "MLPClassifier": "mlpgpu.estimators",
    "MLPRegressor": "mlpgpu.estimators",
    "Model": "mlpgpu.models.model",
    "OwnFunctionWarning": "mlpgpu.errors",
    "cross_validate": "mlpgpu.folds",
    "train_and_test": "mlpgpu.workflow",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name == "data":
        return importlib.import_module("mlpgpu.data")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mlpgpu' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
