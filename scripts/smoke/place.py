"""Where checks run: which device, how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# SciPy reads the first once, when it is imported; with the second, JAX leaves the memory that it does not need.
ENVIRONMENT = {"SCIPY_ARRAY_API": "1", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
# Threads of stand-ins would wait for each other longer than they work.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Place:
    """A device and how much is done on it.

    Attributes
    ----------
    device : str
        ``cuda``, ``cuda:N``; or ``cpu``, where stand-ins show that the checks themselves run.
    tiny : bool
        Whether to take the digits of scikit-learn in place of MNIST, and less of all else.
    """

    device: str = "cuda"
    tiny: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether it is the real thing."""
        return self.device != "cpu"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process for checks."""
        return ENVIRONMENT if self.on_gpu else ENVIRONMENT | ONE_THREAD

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return "digits" if self.tiny else "mnist"

    @property
    def settings(self) -> dict[str, Any]:
        """784-128-10 at batch 200, or 20 where it is tiny, with Adam, for one epoch of all training rows."""
        return {
            "dataset": self.dataset,
            "validation_fraction": 0,
            "hidden": (128,),
            "dropout": 0,
            "input_dropout": 0,
            "schedule": "constant",
            # Of the digits, in more steps than go line by line in any case.
            "batch_size": 20 if self.tiny else 200,
            "epochs": 1,
        }
