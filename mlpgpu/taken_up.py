"""Settings of a run that is taken up: those that must be as they were, and those that may be otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mlpgpu.config import Config, settings
from mlpgpu.errors import InputError

__all__ = ["UNBOUND", "as_saved", "check_same"]

AnyConfig = TypeVar("AnyConfig", bound=Config)
# What may be otherwise where a run is taken up: where things are, and what is shown and written. The device and the way
# of a step change no more than the last digits.
UNBOUND = (
    "data_dir", "device", "backend", "capture", "run_dir", "checkpoint_every", "log_to", "log_every", "quiet", "json",
)  # fmt: skip


def as_saved(of: type[AnyConfig], saved: Mapping[str, Any], given: Mapping[str, Any]) -> AnyConfig:
    """The settings of a run that is taken up, and what is `given` of those that may be otherwise.

    Raises
    ------
    InputError
        It names what may not.
    """
    config = of(**{**saved, **given})
    check_same(config, saved)
    return config


def check_same(config: Config, saved: Mapping[str, Any]) -> None:
    """Refuse settings that are not those of the run that is to be taken up.

    Parameters
    ----------
    config : Config
    saved : mapping
        Of `Config.to_dict`.

    Raises
    ------
    InputError
        It names what differs.
    """
    ours, theirs = config.to_dict(), type(config)(**saved).to_dict()
    for name in settings(type(config)):
        one, other = ours.get(name), theirs.get(name)
        # A file may lie elsewhere by now: its rows are compared when they are read.
        moved = name in {"dataset", "target", "start_from"} and one and other and Path(one).name == Path(other).name
        if name not in UNBOUND and one != other and not moved:
            raise InputError(
                f"{name} is {one}, and the run to be taken up has {other}; leave it out, or begin a new run, from "
                f"its weights with start_from; allowed to differ: {', '.join(UNBOUND)}, and the folder of a file"
            )
