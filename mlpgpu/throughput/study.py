"""Settings of a throughput study: those of a run, but with several batch sizes and devices."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from mlpgpu.backends import BACKENDS
from mlpgpu.settings.config import Config, of_run, of_training, settings
from mlpgpu.settings.setting import as_text

# Settings shared with a run.
SHARED = (
    "dataset", "data_dir", "target", "samples", "features", "classes", "hidden", "activation", "normalization",
    "dropout", "input_dropout", "optimizer", "learning_rate", "weight_decay", "clip_norm", "dtype", "precision", "seed",
    "quiet", "json",
)  # fmt: skip
# Shared settings that add work to a step of plain layers.
OF_STEPS = ("activation", "normalization", "dropout", "input_dropout", "weight_decay", "clip_norm")


def _shared(name: str, default: Any, in_words: str = "") -> Any:
    """Return the field of this name in `Config`, with another default."""
    known = Config.__dataclass_fields__[name].metadata
    text = known["help"].partition(" [default")[0] + (f" [default: {in_words}]" if in_words else "")
    return dataclasses.field(default=default, metadata={**known, "help": text})


@dataclass(frozen=True, kw_only=True)
class Study(Config):
    """Settings of a study, checked; with one of its batch sizes, it serves as the `Config` of a training.

    Raises
    ------
    InputError
        If a value is not allowed, or two conflict.
    """

    dataset: str | None = _shared(
        "dataset", None, "mnist, or synthetic where MNIST can be neither found nor downloaded"
    )
    validation_fraction: float = _shared("validation_fraction", 0.0)
    hidden: tuple[int, ...] = _shared("hidden", (128,))
    activation: tuple[str, ...] = _shared("activation", ("relu",))
    dropout: tuple[float, ...] = _shared("dropout", (0.0,))
    input_dropout: float = _shared("input_dropout", 0.0)
    schedule: str = _shared("schedule", "constant")

    batch_sizes: tuple[int, ...] = of_training(
        tuple(2**power for power in range(4, 15)), "rows a step", within="[1, inf)", may_be_empty=False
    )
    seconds: float = of_run(
        0.5, "seconds of each measurement: whole epochs, or as much of one as can be done", within="(0, 3600]"
    )
    repeats: int = of_run(5, "measurements, of which the median counts", within="[1, 1000]")
    devices: tuple[str, ...] | None = of_run(None, "cpu, cuda:0 and so on [default: all there are]", may_be_empty=False)
    backends: tuple[str, ...] | None = of_run(
        None,
        "array libraries, each on every device that it has; GPUs are compared with the first on the CPU "
        "[default: numpy on the CPU, cupy on CUDA]",
        choices=BACKENDS,
        may_be_empty=False,
    )
    out: str | None = of_run(None, "folder to write [default: runs/bench-<time>]")

    def beside(self) -> list[str]:
        """Describe the settings of `OF_STEPS` that differ from their defaults."""
        given = {name: getattr(self, name) for name in OF_STEPS}
        return [
            f"{name.replace('_', ' ')} {as_text(value)}"
            for name, value in given.items()
            if value != getattr(Study, name)
        ]

    def _check_together(self) -> None:
        super()._check_together()
        for device in self.devices or ():
            Config(device=device)


# Settings with a flag, in the order of the help.
FLAGS = settings(Study, settings().keys() - SHARED)
