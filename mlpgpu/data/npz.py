"""NumPy's .npz files: arrays x and y, or x_train, y_train, x_test and y_test."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu import endings
from mlpgpu.data import npy
from mlpgpu.data.inflation import refuse_bomb
from mlpgpu.data.source import Source, flat, of_arrays
from mlpgpu.errors import InputError, did_you_mean, one_line

if TYPE_CHECKING:
    from mlpgpu.config import Config

__all__ = ["load", "read_x", "read_xy"]


def load(path: Path, config: "Config") -> Source:
    """Load the arrays of an .npz file.

    If the file has ``x_train``, ``y_train``, ``x_test`` and ``y_test``, and ``config.target`` is None, these are used,
    and the set has test rows of its own. Otherwise the rows are ``x`` or ``X``, and the targets ``y`` or the array that
    ``config.target`` names. Images, in an array of shape (n_rows, height, width), are flattened.

    Raises
    ------
    InputError
        If the file cannot be read, or its arrays do not match.
    """
    names = _names(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= set(names) and config.target is None:
        x_name, y_name = "x_train", "y_train"
        arrays = _read(path, ("x_train", "y_train", "x_test", "y_test"))
    else:
        x_name, y_name = _x_name(path, names), config.target or "y"
        if y_name not in names:
            hint = did_you_mean(y_name, names, 0.5) or "; give one of them as target"
            raise InputError(f"{path} has no array {y_name!r} to predict; it has {', '.join(names)}{hint}")
        arrays = _read(path, (x_name, y_name))
    for x, y in zip(arrays[::2], arrays[1::2], strict=True):
        _match(path, x, y)
    x = flat(arrays[0], f"array {x_name!r} of {path}")
    x_test = flat(arrays[2], f"array 'x_test' of {path}") if len(arrays) > 2 else None
    if x_test is not None and x_test.shape[1] != x.shape[1]:
        raise InputError(
            f"{path} has {x.shape[1]} features in x_train and {x_test.shape[1]} in x_test; "
            "allowed: as many; mend the file"
        )
    y_test = arrays[3] if len(arrays) > 2 else None
    return of_arrays(path.stem, x, arrays[1], arrays[0].shape, y_name, x_test=x_test, y_test=y_test)


def read_x(path: Path) -> np.ndarray:
    """Read the rows to predict for: ``x``, ``X`` or, if it has neither, ``x_test``, flattened.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        With the dtype of the file.

    Raises
    ------
    InputError
        If the file cannot be read, or has no such array.
    """
    name = _x_name(path, _names(path), "x_test")
    return flat(_read(path, (name,))[0], f"array {name!r} of {path}")


def read_xy(path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Read the rows to evaluate a model on: ``x_test`` and ``y_test``, or otherwise ``x`` or ``X`` and the target.

    Parameters
    ----------
    path : Path
    target : str or None
        Name of the target array; None for ``y``. ``x_test`` and ``y_test`` are used if the file has both, and this is
        None, ``y``, ``y_train`` or ``y_test``.

    Returns
    -------
    x : ndarray of shape (n_rows, n_features)
    y : ndarray

    Raises
    ------
    InputError
        If the file cannot be read, lacks an array, or the two have different numbers of rows.
    """
    names = _names(path)
    tested = {"x_test", "y_test"} <= set(names) and target in {None, "y", "y_train", "y_test"}
    x_name, y_name = ("x_test", "y_test") if tested else (_x_name(path, names), target or "y")
    if y_name not in names:
        raise InputError(
            f"{path} has no array {y_name!r} to compare with; it has {', '.join(names)}; give its --target"
        )
    x, y = _read(path, (x_name, y_name))
    _match(path, x, y)
    return flat(x, f"array {x_name!r} of {path}"), y


def _names(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of a {endings.DATA_FILE}")
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    # Any exception, as in `_read`.
    except Exception as error:
        raise InputError(f"cannot read {path} as .npz: {one_line(error)}; write it with numpy.savez") from None


def _x_name(path: Path, names: list[str], *more: str) -> str:
    for name in ("x", "X", *more):
        if name in names:
            return name
    raise InputError(
        f"{path} has the arrays {', '.join(names) or 'none'}; "
        "allowed: x and y, or x_train, y_train, x_test and y_test; name them so"
    )


def _read(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            refuse_bomb(path, sum(_promised(archive.zip, name) for name in names))
            arrays = [archive[f"{name}.npy"] for name in names]
    except InputError:
        raise
    # A damaged file can raise any exception in the libraries that read it.
    except Exception as error:
        reason = one_line(error) or "it is damaged"
        raise InputError(f"cannot read {path} as .npz: {reason}; write it with numpy.savez") from None
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0:
            raise InputError(f"array {name!r} of {path} is a single value; allowed: one row for each sample; mend it")
    return arrays


def _promised(archive: zipfile.ZipFile, name: str) -> int:
    """Return the bytes of an array, on which its header and the archive's directory must agree.

    Raises
    ------
    ValueError
        If they disagree, the array holds Python objects, or its compression is not one that NumPy writes.
    """
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError(f"array {name!r} is packed in a way that numpy does not write")
    with archive.open(entry) as file:
        shape, _, dtype = npy.header(file)
        promised = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or promised != entry.file_size - file.tell():
            raise ValueError(
                f"array {name!r} holds Python objects, which are not read (allow_pickle)"
                if dtype.hasobject
                else f"the header of array {name!r} promises {promised:,} bytes, and it has another number"
            )
    return promised


def _match(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise InputError(f"{path} has {len(x):,} rows of x for {len(y):,} of y; allowed: as many; mend the file")
