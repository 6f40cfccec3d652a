"""What a range test is told: the settings of a run that it has a use for, and its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpgpu.config import RUN, TRAINING, Config, settings
from mlpgpu.errors import InputError
from mlpgpu.setting import Setting, setting

__all__ = ["Search", "check_range", "flags"]

# Settings of a run that a few steps, each with a learning rate of its own and nothing kept of them, have no use for.
UNUSED = (
    "learning_rate", "schedule", "warmup", "decay_rate", "decay_epochs", "power_t", "epochs", "early_stopping",
    "monitor", "patience", "min_delta", "on_divergence", "run_dir", "checkpoint_every", "log_to", "log_every",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Search(Config):
    """Every setting of a range test, checked.

    Raises
    ------
    InputError
        Where a value is not allowed, or two do not go together.
    """

    # Single precision holds these, and how many times the one the other is.
    low: float = setting(1e-7, "first learning rate", TRAINING, float, within="[1e-20, 1e10]")
    high: float = setting(10.0, "last learning rate", TRAINING, float, within="[1e-20, 1e10]")
    steps: int = setting(
        100,
        "steps from one to the other, each with the rate of the one before times the same factor",
        TRAINING,
        int,
        within="[10, inf)",
    )
    out: str | None = setting(None, "PNG file to draw the loss by learning rate in", RUN, str)

    def _check_together(self) -> None:
        super()._check_together()
        check_range(self.low, self.high)
        if self.out is not None and Path(self.out).suffix.lower() != ".png":
            raise InputError(f"out is {self.out}, which ends in {Path(self.out).suffix!r}; allowed: .png")


def check_range(low: float, high: float) -> None:
    """Refuse learning rates that do not rise.

    Raises
    ------
    InputError
        Where `low` is not below `high`.
    """
    if low >= high:
        raise InputError(f"low={low:g} is not below high={high:g}; give a range such as low=1e-7, high=10")


def flags() -> dict[str, tuple[Setting, Any]]:
    """Name -> (setting, default) of what the command asks for, in order."""
    return settings(Search, UNUSED)
