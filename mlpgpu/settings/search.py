"""Settings of a range test: its own, and those of a run that apply to it."""

from dataclasses import dataclass
from pathlib import Path

from mlpgpu.errors import InputError
from mlpgpu.files import ending
from mlpgpu.settings.config import Config, of_run, of_training, settings

# Settings of a run that do not apply: a range test takes a few steps at rising rates, and keeps no weights.
UNUSED = (
    "learning_rate", "schedule", "warmup", "decay_rate", "decay_epochs", "power_t", "epochs", "early_stopping",
    "monitor", "patience", "min_delta", "on_divergence", "run_dir", "checkpoint_every", "log_to", "log_every",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Search(Config):
    """Validated settings of a range test.

    Raises
    ------
    InputError
        If a value is not allowed, or two values conflict.
    """

    # Within these bounds, both rates and their ratio are representable in single precision.
    low: float = of_training(1e-7, "first learning rate", within="[1e-20, 1e10]")
    high: float = of_training(10.0, "last learning rate", within="[1e-20, 1e10]")
    steps: int = of_training(
        100, "number of steps, over which the learning rate rises by a constant factor per step", within="[10, inf)"
    )
    out: str | None = of_run(None, "PNG file for a plot of the loss against the learning rate")

    def _check_together(self) -> None:
        super()._check_together()
        check_range(self.low, self.high)
        if self.out is not None and Path(self.out).suffix.lower() != ".png":
            raise InputError(f"out is {self.out}, which {ending(Path(self.out))}; allowed: .png")


# Settings with a flag, in the order of the help.
FLAGS = settings(Search, UNUSED)


def check_range(low: float, high: float) -> None:
    """Refuse learning rates that do not rise.

    Raises
    ------
    InputError
        If `low` is not below `high`.
    """
    if low >= high:
        raise InputError(f"low={low:g} is not below high={high:g}; give a range such as low=1e-7, high=10")
