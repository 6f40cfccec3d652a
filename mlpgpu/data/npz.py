"""NumPy's .npz files: arrays x and y, or x_train and y_train beside x_val, y_val, x_test and y_test."""

import math
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu import endings
from mlpgpu.data import aside, npy
from mlpgpu.data.inflation import refuse_bomb
from mlpgpu.data.source import Source, flat, of_arrays
from mlpgpu.errors import InputError, did_you_mean, listed, one_line
from mlpgpu.figures import counted

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

# Ending of the names of arrays -> the part of the set that they hold.
OWN = {"_val": "validation", "_test": "test"}


def load(path: Path, config: "Config") -> Source[np.ndarray]:
    """Load the arrays of an .npz file.

    If the file has ``x_train`` and ``y_train``, and ``x_val`` and ``y_val`` or ``x_test`` and ``y_test``, and
    ``config.target`` is None, these are used, and the set has validation or test rows of its own. Otherwise the rows
    are ``x`` or ``X``, and the targets ``y`` or the array that ``config.target`` names. ``config.sample_weight`` and
    ``config.group`` name arrays in the same way as ``x`` and ``y``: for a set with rows of its own, ``w`` stands for
    ``w_train``, ``w_val`` and ``w_test``. Images, in an array of shape (n_rows, height, width) or with colours, are
    flattened. A note names the arrays that are not used.

    Raises
    ------
    InputError
        If the file cannot be read, or its arrays do not match.
    """
    names = _names(path)
    found = [ending for ending in ("_train", *OWN) if {f"x{ending}", f"y{ending}"} <= set(names)]
    has_own = len(found) > 1 and found[0] == "_train" and config.target is None
    x_name, y_name = ("x", "y") if has_own else (_x_name(path, names), config.target or "y")
    if not has_own and y_name not in names:
        hint = did_you_mean(y_name, names, 0.5) or "; give one of them as target"
        raise InputError(f"{path} has no array {y_name!r} to predict; it has {', '.join(names)}{hint}")
    endings = found if has_own else [""]
    roles = _roles(path, names, x_name, y_name, aside.given(config), endings)
    parts = [{role: name + ending for role, name in roles.items()} for ending in endings]
    arrays = _read(path, [name for part in parts for name in part.values()])
    train, *others = (_part(path, part, arrays) for part in parts)
    own = {
        OWN[ending]: Source(f"{names['x']} and {names['y']}", **part)
        for ending, names, part in zip(endings[1:], parts[1:], others, strict=True)
    }
    unused = [name for name in names if name not in arrays]
    notes = (f"not used: array{'s' if len(unused) > 1 else ''} {listed(unused)}",) if unused else ()
    return of_arrays(path.stem, shape=arrays[parts[0]["x"]].shape, target=parts[0]["y"], notes=notes, own=own, **train)


def load_own(path: Path, config: "Config", _: Source[np.ndarray]) -> Source[np.ndarray]:
    """Load the validation or test rows of a set from a file that holds only these; it may lack their groups.

    Raises
    ------
    InputError
        As for `read_known`.
    """
    return Source(str(path), **_known(path, config.target, aside.given(config), ("group",)))


def _roles(
    path: Path,
    names: Sequence[str],
    x_name: str,
    y_name: str,
    given: Mapping[str, str],
    endings: Sequence[str],
    *,
    optional: Collection[str] = (),
) -> dict[str, str]:
    """Return attribute of `Source` -> name of its array without the endings; see `aside.named` for the last two."""
    lacking = f"{path} does not have"
    if any(endings):
        lacking += f" with {' and '.join(endings)} after it"
    bases = [name.removesuffix(endings[0]) for name in names if name.endswith(endings[0])]
    bases = [base for base in bases if all(base + ending in names for ending in endings)]
    taken = {x_name: "holds the features", y_name: "is the target"}
    return {"x": x_name, "y": y_name, **aside.named(given, bases, lacking, taken, optional=optional)}


def _part(path: Path, names: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return attribute of `Source` -> checked values, given attribute -> name and name -> values."""
    found = {role: arrays[name] for role, name in names.items()}
    for role, values in found.items():
        if len(values) != len(found["x"]):
            raise InputError(
                f"{path} has {counted(len(found['x']), 'row')} of x for {len(values):,} of {role}; allowed: as many; "
                "mend the file"
            )
    aside_only = names.keys() - {"x", "y"}
    return {
        "x": flat(found["x"], f"array {names['x']!r} of {path}"),
        "y": found["y"],
        **{role: aside.checked(role, found[role], f"array {names[role]!r} of {path}") for role in aside_only},
    }


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
    return flat(_read(path, [name])[name], f"array {name!r} of {path}")


def read_known(
    path: Path, target: str | None, given: Mapping[str, str], *, optional: Collection[str] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Read the rows to evaluate a model on: ``x_test`` and ``y_test``, or otherwise ``x`` or ``X`` and the target.

    Parameters
    ----------
    path : Path
    target : str or None
        Name of the target array; None for ``y``. ``x_test`` and ``y_test`` are used if the file has both, and this is
        None, ``y``, ``y_train`` or ``y_test``.
    given, optional
        As for `aside.named`; beside ``x_test``, ``w`` stands for ``w_test``.

    Returns
    -------
    x : ndarray of shape (n_rows, n_features)
    y : ndarray
    weights : float64 ndarray of shape (n_rows,) or None

    Raises
    ------
    InputError
        If the file cannot be read, lacks an array, or two have different numbers of rows.
    """
    found = _known(path, target, given, optional)
    return found["x"], found["y"], found.get("weights")


def _known(path: Path, target: str | None, given: Mapping[str, str], optional: Collection[str]) -> dict[str, Any]:
    """Return attribute of `Source` -> values, of rows as for `read_known`."""
    names = _names(path)
    tested = {"x_test", "y_test"} <= set(names) and target in {None, "y", "y_train", "y_test"}
    x_name, y_name = ("x", "y") if tested else (_x_name(path, names), "y" if target is None else target)
    if not tested and y_name not in names:
        raise InputError(
            f"{path} has no array {y_name!r} to compare with; it has {', '.join(names)}; give its --target"
        )
    ending = "_test" if tested else ""
    roles = _roles(path, names, x_name, y_name, given, [ending], optional=optional)
    part = {role: name + ending for role, name in roles.items()}
    return _part(path, part, _read(path, [*part.values()]))


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
        "allowed: x and y, or x_train and y_train, with x_val and y_val, x_test and y_test, or both; name them so"
    )


def _read(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            refuse_bomb(path, sum(_promised(archive.zip, name) for name in names))
            arrays = {name: npy.decoded(archive[f"{name}.npy"]) for name in names}
    except InputError:
        raise
    # A damaged file can raise any exception in the libraries that read it.
    except Exception as error:
        reason = one_line(error) or "it is damaged"
        raise InputError(f"cannot read {path} as .npz: {reason}; write it with numpy.savez") from None
    for name, array in arrays.items():
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
