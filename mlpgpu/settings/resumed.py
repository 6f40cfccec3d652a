"""Settings of a resumed run: which must not change, and which may."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mlpgpu.errors import InputError
from mlpgpu.settings.config import OWN_ROWS, Config, settings

AnyConfig = TypeVar("AnyConfig", bound=Config)
# Settings that may change when a run is resumed: paths, and what is printed and written. Device, backend and
# compilation affect only the last digits of the results.
UNBOUND = (
    "data_dir", "device", "backend", "capture", "run_dir", "checkpoint_every", "log_to", "log_every", "quiet", "json",
)  # fmt: skip


def as_saved(of: type[AnyConfig], saved: Mapping[str, Any], given: Mapping[str, Any]) -> AnyConfig:
    """Return the saved settings of a resumed run, updated with the `given` ones.

    Raises
    ------
    InputError
        If a setting that may not change differs, or is unknown; the message names it.
    """
    config = _read(of, {**saved, **given})
    check_same(config, saved)
    return config


def check_same(config: Config, saved: Mapping[str, Any]) -> None:
    """Refuse settings that differ from those of the run to resume, unless they may change.

    Parameters
    ----------
    config : Config
    saved : mapping
        Settings of the run, as returned by `Config.to_dict`.

    Raises
    ------
    InputError
        If a setting differs or is unknown; the message names it.
    """
    ours, theirs = config.to_dict(), _read(type(config), saved).to_dict()
    for name in settings(type(config)):
        one, other = ours.get(name), theirs.get(name)
        # A file may have been moved. Its rows are compared when they are read.
        moved = (
            name in {"dataset", *OWN_ROWS.values(), "target", "sample_weight", "group", "start_from"}
            and one
            and other
            and Path(one).name == Path(other).name
        )
        if name not in UNBOUND and one != other and not moved:
            raise InputError(
                f"{name} is {one}, and the run to resume has {other}; leave it as it was, or begin a new run, from "
                f"its weights with start_from; allowed to differ: {', '.join(UNBOUND)}, and the folder of a file"
            )


def _read(of: type[AnyConfig], saved: Mapping[str, Any]) -> AnyConfig:
    known = settings(of)
    for name in saved:
        if name not in known:
            raise InputError(
                f"the run to resume has the setting {name}, which this version of mlpgpu does not have; go on with the "
                "version that it began with, or begin a new run, from its weights with start_from"
            )
    return of(**saved)
