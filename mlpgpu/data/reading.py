"""Read the rows of a file as unscaled inputs of a trained model, in chunks, so that their number is not limited."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpgpu import endings
from mlpgpu.data import array_file, aside, missing, mnist, npz, table, target_columns, used
from mlpgpu.data import columns as table_columns
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.remarks import Remarks
from mlpgpu.errors import InputError, did_you_mean, listed
from mlpgpu.figures import counted
from mlpgpu.files import STANDARD_INPUT, called, ending, expanded

if TYPE_CHECKING:
    import pandas as pd

# Few enough that a chunk of wide rows fits into memory, many enough that the overhead per chunk is negligible.
ROWS = 16_384
Records = list[dict[str, Any]]


class Known(NamedTuple):
    """Rows whose targets are known.

    Attributes
    ----------
    x : ndarray of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        As in the file.
    weights : float64 ndarray of shape (n_rows,) or None
        None if no weights are asked for, or if they are optional and absent.
    """

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None = None


def of_mnist(name: str, classes: Collection[Any] = ()) -> Known:
    """Read the test rows of ``mnist`` or ``fashion-mnist``.

    Their labels are the names of their classes if one of these is among `classes`, else the numbers of the files.

    Raises
    ------
    InputError
        If they can neither be found nor downloaded.
    """
    from mlpgpu.settings.config import Config

    source = mnist.load(name, Config(dataset=name, quiet=True))
    test = source.own["test"]
    return Known(test.x, test.y if set(source.classes).isdisjoint(classes) else np.array(source.classes)[test.y])


def read_features(path: str | Path, columns: Records | None) -> np.ndarray:
    """Read the features of all rows in a file.

    Parameters
    ----------
    path : str or Path
        A file as for training; it needs no target. ``/dev/stdin``, on Windows too, means CSV on standard input.
    columns : list of dict or None
        `DataSet.columns` of the model's training set.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        C-contiguous.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks a column.
    """
    (x,) = features(path, columns, rows=None)
    return x


def features(
    path: str | Path, columns: Records | None, rows: int | None, remarks: Remarks | None = None
) -> Iterator[np.ndarray]:
    """Read features in chunks of at most `rows` rows, or all at once for None; for `remarks` see `encode`."""
    x: np.ndarray | Mapped
    remarks = remarks or Remarks()
    with _local_file(path) as file:
        kind = endings.kind(file)
        if kind == "npz":
            x = _filled(file, npz.read_x(file), columns, remarks)
            yield from (x[part] for part in _parts(len(x), rows))
        elif kind == "table":
            for frame in table.read_chunks(file, columns, rows, written=remarks.written):
                yield _encoded(frame, columns, remarks)
        else:
            x = array_file.read_x(file)
            yield from (_filled(file, x[part], columns, remarks) for part in _parts(len(x), rows))


def features_and_targets(
    path: str | Path,
    columns: Records | None,
    target: str | None,
    *,
    as_text: Sequence[bool] = (False,),
    remarks: Remarks | None = None,
    sample_weight: str | None = None,
    optional: bool = False,
) -> Iterator[Known]:
    """Read features, targets and weights of the rows in a file, in chunks of at most `ROWS` rows.

    Parameters
    ----------
    path, columns
        As for `read_features`.
    target : str or None
        Comma-separated columns of a table; an array of an .npz file, by default ``y``; or the second file for a .npy or
        IDX file.
    as_text : sequence of bool
        Whether each target is read as text, even if a CSV file has only numbers or NA for it.
    remarks : Remarks, optional
        Counts the rows with categories that were not in the training rows, and the missing values that are filled.
    sample_weight : str or None
        Column, array or file with the weights.
    optional : bool
        Whether the weights may be absent. A file beside that of the training rows is never that of others.

    Yields
    ------
    Known

    Raises
    ------
    InputError
        As for `read_features`, and if a target is absent or has missing values.
    """
    x: np.ndarray | Mapped
    remarks = remarks or Remarks()
    with _local_file(path) as file:
        kind = endings.kind(file)
        given = {} if sample_weight is None else {"sample_weight": sample_weight}
        may_lack = given if optional else ()
        if kind == "table":
            yield from _of_table(file, columns, target, as_text, remarks, given, may_lack)
            return
        if kind == "npz":
            x, y, weights = npz.read_known(file, target, given, optional=may_lack)
            x = _filled(file, x, columns, remarks)
        else:
            x, y, weights = array_file.read_known(file, target, {} if optional else given)
        for part in _parts(len(x), ROWS):
            rows = x[part] if kind == "npz" else _filled(file, x[part], columns, remarks)
            yield Known(rows, y[part], None if weights is None else weights[part])


def _of_table(
    path: Path,
    columns: Records | None,
    target: str | None,
    as_text: Sequence[bool],
    remarks: Remarks,
    given: Mapping[str, str],
    optional: Collection[str],
) -> Iterator[Known]:
    """Yield the rows of a table; see `features_and_targets`, and `aside.named` for `given` and `optional`."""
    parts = [] if target is None else [target] if len(as_text) == 1 else target_columns.named(target, ())
    labels = [name for name, text in zip(parts, as_text, strict=False) if text]
    wanted: dict[str, Any] = {"beside": given.values(), "labels": labels, "written": remarks.written}
    for frame in table.read_chunks(path, columns, ROWS, target, **wanted):
        if target is None:
            has = f"{path} has the columns {listed(list(frame.columns))}"
            raise InputError(f"target is not given, and the model knows no name of it; {has}; give --target")
        names = target_columns.named(target, list(frame.columns))
        taken = {record["name"]: "is a feature of the model" for record in columns or []}
        if absent := [name for name in names if name not in frame.columns]:
            hint = did_you_mean(absent[0], [name for name in frame.columns if name not in taken], 0.5, repr)
            hint = hint or f"; it has {listed(list(frame.columns))}; give its --target"
            raise InputError(f"{path} has no column {absent[0]!r} to compare with{hint}")
        taken |= dict.fromkeys(names, "is the target")
        set_aside = aside.named(given, list(frame.columns), f"{path} does not have", taken, optional=optional)
        y, _ = target_columns.values(frame[names])
        kept = {role: aside.checked(role, frame[name], f"column {name!r}") for role, name in set_aside.items()}
        yield Known(_encoded(frame.drop(columns=[*names, *set_aside.values()]), columns, remarks), y, **kept)


@contextlib.contextmanager
def _local_file(given: str | Path) -> Iterator[Path]:
    """Give a data file; standard input is copied to a temporary file, since it is read more than once."""
    if str(given) == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputError("standard input is closed; give it a table, or give a file")
        with tempfile.TemporaryDirectory(prefix="mlpgpu-") as folder:
            path = Path(folder) / "standard-input.csv"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            try:
                yield path
            except InputError as error:
                raise InputError(str(error).replace(str(path), called(given))) from None
        return
    path = expanded(given)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a {endings.DATA_FILE}")
    if endings.kind(path) is None:
        known = (
            f"{given} is a data set to train on, and not a file"
            if used.sort_of(str(given))
            else f"{path} {ending(path)}"
        )
        raise InputError(f"{known}; allowed: a {endings.DATA_FILE}; {endings.instead(path)}")
    yield path


def _filled(path: Path, x: np.ndarray, columns: Records | None, remarks: Remarks) -> np.ndarray:
    if columns is not None and x.shape[1] != (n := len(table_columns.feature_names(columns))):
        raise InputError(f"{path} has {counted(x.shape[1], 'feature')}; the model was trained on {n}; give as many")
    columns = missing.filling(columns, x.shape[1])
    missing.refuse(x, (), filled=columns is not None, by_model=True)
    return x if columns is None else missing.fill(x, columns, remarks)


def _encoded(frame: "pd.DataFrame", columns: Records | None, remarks: Remarks) -> np.ndarray:
    # A model trained on an array knows no column names, so the columns are its features in order.
    return table_columns.encode(frame, columns or table_columns.numbers(frame.columns), remarks)


def _parts(n_rows: int, rows: int | None) -> Iterator[slice]:
    return (slice(start, start + (rows or n_rows)) for start in range(0, n_rows, rows or n_rows))
