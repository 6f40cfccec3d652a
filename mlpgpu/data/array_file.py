"""Files of one array (NumPy's .npy, IDX), with the target in a second file; large files are memory-mapped."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu import endings
from mlpgpu.data import aside, idx, npy
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.source import Source, check_rows, flat, of_arrays
from mlpgpu.errors import InputError, one_line
from mlpgpu.files import expanded
from mlpgpu.machine import available_memory

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

# A file is read if free memory is at least this many times its size: the split copies its rows, and scaled rows may be
# larger.
_COPIES = 4


def load(path: Path, config: "Config") -> Source:
    """Load the rows of a file, and their targets, weights and groups from the files that the settings name.

    Images, in an array of shape (n_rows, height, width) or with colours, are flattened.

    Raises
    ------
    InputError
        If a file cannot be read, or the rows of two do not match.
    """
    x, shape = _features(path, config.memory_map)
    y, name = _targets(path, config.target, len(x))
    return of_arrays(path.stem, x, y, shape, name, **_set_aside(path, aside.given(config), len(x)))


def read_x(path: Path) -> np.ndarray | Mapped:
    """Return the rows to predict for, of shape (n_rows, n_features).

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return _features(path, "auto")[0]


def read_known(
    path: Path, target: str | None, given: Mapping[str, str]
) -> tuple[np.ndarray | Mapped, np.ndarray, np.ndarray | None]:
    """Return the rows to evaluate a model on, and their targets and weights; `given` as for `aside.named`.

    Raises
    ------
    InputError
        If a file cannot be read, or the rows of two do not match.
    """
    x = read_x(path)
    return x, _targets(path, target, len(x))[0], _set_aside(path, given, len(x)).get("weights")


def _features(path: Path, memory_map: str) -> tuple[np.ndarray | Mapped, tuple[int, ...]]:
    """Return the rows of a file, in memory or memory-mapped, and the shape of its array."""
    left = available_memory() if memory_map == "auto" else None
    most = 0.0 if memory_map == "always" else math.inf if left is None else left / _COPIES
    size, packed = _look(path)
    if packed:
        if memory_map == "always":
            raise InputError(f"{path} is gzipped and cannot be memory-mapped; unpack it with gunzip")
        x = idx.read(path)
        return flat(x, str(path)), x.shape
    offset, dtype, shape, by_columns = _header(path)
    check_rows(dtype, shape, str(path))
    if by_columns:
        if size > most:
            raise InputError(
                f"{path} holds {size / 1e9:,.1f} GB column by column, whose rows cannot be memory-mapped; "
                "write it again with numpy.save(path, numpy.ascontiguousarray(x)), or give memory_map never"
            )
        return flat(np.load(path, allow_pickle=False), str(path)), shape
    stored = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    mapped = Mapped(path, offset, stored, (shape[0], math.prod(shape[1:])))
    return mapped if size > most else mapped[:], shape


def _targets(path: Path, target: str | None, n_rows: int) -> tuple[np.ndarray, str]:
    """Return the targets of the rows in `path`, and their name."""
    if target is None:
        raise InputError(f"target is not given; {path} has no targets: give the .npy or IDX file of them as target")
    return _beside(path, "target", target, n_rows)


def _set_aside(path: Path, given: Mapping[str, str], n_rows: int) -> dict[str, np.ndarray]:
    """Return attribute of `Source` -> values from the file that a setting names."""
    found = {}
    for setting, name in given.items():
        attribute, (values, _) = aside.SETTINGS[setting], _beside(path, setting, name, n_rows)
        found[attribute] = aside.checked(attribute, values, name)
    return found


def _beside(path: Path, setting: str, given: str, n_rows: int) -> tuple[np.ndarray, str]:
    """Return the array in the file that a setting names, which has a row for each of those in `path`, and its name."""
    beside = expanded(given)
    if endings.kind(beside) != "array":
        raise InputError(f"{setting} is {given!r}; allowed: a .npy or IDX file with a row for each of {path}")
    if beside.suffix.lower() == ".npy":
        # Checks that the size of the file agrees with its header before anything is read.
        _header(beside)
        y = npy.decoded(np.load(beside, allow_pickle=False))
    else:
        y = idx.read(beside)
    if y.shape[:1] != (n_rows,):
        raise InputError(
            f"{beside} has shape {y.shape} for {n_rows:,} rows of {path}; allowed: a {setting} for each row; "
            "give the two files that go together"
        )
    return y, beside.stem


def _look(path: Path) -> tuple[int, bool]:
    """Return the size of a file in bytes, and whether it is gzipped."""
    try:
        with path.open("rb") as file:
            return path.stat().st_size, idx.is_packed(file.read(2))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a .npy or IDX file") from None


def _header(path: Path) -> tuple[int, np.dtype, tuple[int, ...], bool]:
    """Return offset, dtype and shape of the array in a file, and whether it is column-major."""
    if path.suffix.lower() != ".npy":
        return *idx.header(path), False
    try:
        with path.open("rb") as file:
            shape, by_columns, dtype = npy.header(file)
            offset = file.tell()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a .npy file") from None
    # A damaged header can raise any exception.
    except Exception as error:
        reason = one_line(error) or "its header is damaged"
        raise InputError(f"cannot read {path} as .npy: {reason}; write it with numpy.save") from None
    if dtype.hasobject:
        raise InputError(f"{path} holds Python objects; allowed: numbers, or text for a target; convert it")
    promised, found = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
    if found != promised:
        raise InputError(f"{path} has {found:,} bytes, and its header promises {promised:,}; write it with numpy.save")
    return offset, dtype, shape, by_columns and len(shape) > 1
