"""Device and size of the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# SciPy reads the first only when it is imported; the second stops JAX from allocating memory in advance.
ENVIRONMENT = {"SCIPY_ARRAY_API": "1", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
# The threads of stand-ins would spend most of their time waiting for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Place:
    """A device, and the size of the checks on it.

    Attributes
    ----------
    device : str
        ``cuda`` or ``cuda:N``; or ``cpu``, to test the checks themselves on stand-ins.
    tiny : bool
        Whether to use scikit-learn's digits in place of MNIST, and smaller problems.
    """

    device: str = "cuda"
    tiny: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device != "cpu"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the processes that run checks."""
        return ENVIRONMENT if self.on_gpu else ENVIRONMENT | ONE_THREAD

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return "digits" if self.tiny else "mnist"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of 784-128-10 with Adam, for one epoch of all training rows in batches of 200, or 20 if tiny."""
        return {
            "dataset": self.dataset,
            "validation_fraction": 0,
            "hidden": (128,),
            "dropout": 0,
            "input_dropout": 0,
            "schedule": "constant",
            # Batches of 20 give the digits enough steps not to run line by line.
            "batch_size": 20 if self.tiny else 200,
            "epochs": 1,
        }
