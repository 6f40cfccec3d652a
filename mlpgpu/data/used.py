"""Check that the data set uses the settings that are given."""

from typing import TYPE_CHECKING

from mlpgpu import endings
from mlpgpu.data import aside, mnist
from mlpgpu.data.builtin import BUILTIN
from mlpgpu.errors import InputError
from mlpgpu.files import expanded
from mlpgpu.settings.config import OWN_ROWS, settings

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

_SYNTHETIC = ({"synthetic"}, "synthetic, a set that is drawn")
# Setting -> the sorts of data that use it, and their name in messages.
_USED_BY = {
    "data_dir": ({"mnist"}, "mnist and fashion-mnist"),
    "target": ({"table", "npz", "array"}, "a file"),
    **dict.fromkeys(aside.SETTINGS, ({"table", "npz", "array"}, "a file")),
    "drop": ({"table"}, f"a {endings.TABLE_FILE}, whose columns have names"),
    **dict.fromkeys(OWN_ROWS.values(), ({"table", "npz"}, f"a {endings.TABLE_FILE}, or an .npz file")),
    "memory_map": ({"array"}, "a .npy file, as numpy.save writes it, or an IDX file"),
    "samples": _SYNTHETIC,
    "features": _SYNTHETIC,
    "classes": _SYNTHETIC,
}


def check(config: "Config") -> None:
    """Refuse a setting that differs from its default, but is not used by the data set of `config`.

    Raises
    ------
    InputError
    """
    sort = sort_of(config.dataset or "mnist")
    for name, (users, called) in _USED_BY.items():
        given = getattr(config, name)
        # Other data are never memory-mapped, so "never" holds for them.
        as_is = given == settings()[name].default or (name, given) == ("memory_map", "never")
        if sort is None or sort in users or as_is:
            continue
        shown = ", ".join(given) if isinstance(given, tuple) else given
        raise InputError(
            f"{name} is {shown}, and dataset is {config.dataset or 'mnist'}; allowed: {name} for {called}; leave it out"
        )


def sort_of(dataset: str) -> str | None:
    """Return ``mnist``, ``table``, ``npz``, ``array`` or the name of a built-in set; None for an unknown name."""
    if dataset in mnist.MIRRORS:
        return "mnist"
    if dataset in BUILTIN:
        return dataset
    return endings.kind(expanded(dataset))
