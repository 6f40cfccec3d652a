"""Settings of a throughput study: those of a run, but with several batch sizes and devices."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from mlpgpu.backends import BACKENDS
from mlpgpu.config import RUN, TRAINING, Config, settings
from mlpgpu.setting import Setting, as_text, setting

__all__ = ["FLAGS", "OF_STEPS", "Study"]

# Settings shared with a run; then those of a study alone.
SHARED = (
    "dataset", "data_dir", "target", "samples", "features", "classes", "hidden", "activation", "normalization",
    "dropout", "input_dropout", "optimizer", "learning_rate", "weight_decay", "clip_norm", "dtype", "precision", "seed",
    "quiet", "json",
)  # fmt: skip
OWN = ("batch_sizes", "seconds", "repeats", "devices", "backends", "out")
# Shared settings that add work to a step of plain layers.
OF_STEPS = ("activation", "normalization", "dropout", "input_dropout", "weight_decay", "clip_norm")


class Several(Setting):
    """A setting of one or more values."""

    def allowed(self) -> str:
        """See `Setting.allowed`."""
        return super().allowed().removesuffix(", or none")

    def parse(self, given: Any) -> Any:
        """See `Setting.parse`."""
        if not (values := super().parse(given)):
            raise ValueError
        return values


def _several(default: Any, help: str, group: str, kind: type, **limits: Any) -> Any:
    return dataclasses.field(default=default, metadata={"setting": Several(help, group, kind, many=True, **limits)})


def _shared(name: str, default: Any, in_words: str = "") -> Any:
    """Return the field of this name in `Config`, with another default."""
    known, _ = settings()[name]
    text = known.help.partition(" [default")[0] + (f" [default: {in_words}]" if in_words else "")
    return dataclasses.field(default=default, metadata={"setting": dataclasses.replace(known, help=text)})


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
    dropout: tuple[float, ...] = _shared("dropout", (0.0,))
    input_dropout: float = _shared("input_dropout", 0.0)
    schedule: str = _shared("schedule", "constant")

    batch_sizes: tuple[int, ...] = _several(
        tuple(2**power for power in range(4, 15)), "rows a step", TRAINING, int, within="[1, inf)"
    )
    seconds: float = setting(
        0.5,
        "seconds of each measurement: whole epochs, or as much of one as can be done",
        RUN,
        float,
        within="(0, 3600]",
    )
    repeats: int = setting(5, "measurements, of which the median counts", RUN, int, within="[1, 1000]")
    devices: tuple[str, ...] | None = _several(None, "cpu, cuda:0 and so on [default: all there are]", RUN, str)
    backends: tuple[str, ...] | None = _several(
        None,
        "array libraries, each on every device that it has; GPUs are compared with the first on the CPU "
        "[default: numpy on the CPU, cupy on CUDA]",
        RUN,
        str,
        choices=BACKENDS,
    )
    out: str | None = setting(None, "folder to write [default: runs/bench-<time>]", RUN, str)

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


_KNOWN = settings(Study)
# Settings with a flag, in the order of the help.
FLAGS = {name: _KNOWN[name] for name in (*SHARED, *OWN)}
