"""Tables in text and Parquet files, with target columns."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu import endings
from mlpgpu.data import aside, dialect, encoding, header, parquet, row_numbers, target_columns
from mlpgpu.data.source import Source
from mlpgpu.errors import InputError, did_you_mean, listed, one_line

if TYPE_CHECKING:
    import pandas as pd

    from mlpgpu.settings.config import Config

_DECIMAL_COMMA = r"^(\s*[+-]?\d+),(\d*(?:[eE][+-]?\d+)?\s*)$"


def load(path: Path, config: "Config", columns: list[dict[str, Any]] | None) -> "Source[pd.DataFrame]":
    """Load a table, and separate its targets, weights and groups; `columns` as for `read_chunks`.

    Returns
    -------
    Source
        x is a DataFrame; it is encoded after the split.

    Raises
    ------
    InputError
        If the file cannot be read, or has no usable target.
    """
    found = _divided(path, config, columns)
    if found.targets:
        target_columns.check_varied(found.targets, found.y)
    frame, notes = row_numbers.without(_without(found.x, config.drop, path))
    return dataclasses.replace(found, x=frame, notes=(*found.notes, *notes))


def load_own(path: Path, config: "Config", rows: "Source[pd.DataFrame]") -> "Source[pd.DataFrame]":
    """Load the validation or test rows of a set from another table than its training rows, `rows`.

    It needs the columns of that table, in any order; it may lack the groups, and what is left out. Columns and targets
    that are text there are read as text.

    Raises
    ------
    InputError
        If the file cannot be read, or has no such target or weights.
    """
    import pandas as pd

    targets = zip(rows.targets or (rows.target,), rows.y.reshape(len(rows.y), -1).T, strict=True)
    held: dict[Any, Any] = {**{name: rows.x[name] for name in rows.x.columns}, **dict(targets)}
    text = ("string", "categorical")
    kinds = {name: pd.api.types.infer_dtype(values, skipna=True) for name, values in held.items()}
    columns = [{"name": name, "kind": "category" if kind in text else "number"} for name, kind in kinds.items()]
    return dataclasses.replace(_divided(path, config, columns, optional=("group",)), name=str(path))


def _divided(
    path: Path, config: "Config", columns: list[dict[str, Any]] | None, *, optional: Collection[str] = ()
) -> "Source[pd.DataFrame]":
    """Read a table, and separate its targets, weights and groups; `optional` as for `aside.named`."""
    written: list[dialect.Dialect] = []
    given = aside.given(config)
    wanted: dict[str, Any] = {"beside": given.values(), "drop": config.drop}
    # Groups are compared, not computed with: 007 is not 7, and the name of one may be NA.
    labels = [given["group"]] if "group" in given else []
    frame = read(path, columns, config.target, **wanted, labels=labels, written=written)
    if len(frame.columns) < 2:
        raise InputError(
            f"{path} has the one column {list(frame.columns)}; allowed: a target and at least one feature, "
            f"separated by {dialect.SEPARATED_BY}, and no title above their names; write it so"
        )
    targets = target_columns.chosen(list(frame.columns), config, path)
    name, ending = endings.parts(path)
    taken = {record["name"]: "is a feature of the model to start from" for record in columns or []}
    taken |= dict.fromkeys(target_columns.joined(config.drop, list(frame.columns)), "drop leaves out")
    taken |= dict.fromkeys(targets, "is the target")
    set_aside = aside.named(given, list(frame.columns), f"{path} does not have", taken, optional=optional)
    gaps = [target for target in targets if ending in endings.TEXT and _is_text_with_gaps(frame[target])]
    if gaps:
        # A class may be called NA or None.
        frame = read(path, columns, config.target, **wanted, labels=[*labels, *gaps])
    y, categorical = target_columns.values(frame[targets])
    kept: dict[str, Any] = {
        role: aside.checked(role, frame[name], f"column {name!r}") for role, name in set_aside.items()
    }
    return Source(
        name,
        frame.drop(columns=[*targets, *set_aside.values()]),
        y,
        **kept,
        categorical=categorical,
        target=",".join(targets),
        targets=tuple(targets) if len(targets) > 1 else (),
        notes=tuple(note for found in written for note in found.notes()),
        decimal=written[0].mark if written else "decimal point",
    )


def read(
    path: Path, columns: list[dict[str, Any]] | None = None, target: str | None = None, **more: Any
) -> "pd.DataFrame":
    """Read a text or Parquet file as one DataFrame; the arguments are those of `read_chunks`."""
    (frame,) = read_chunks(path, columns, None, target, **more)
    return frame


def read_chunks(
    path: Path,
    columns: list[dict[str, Any]] | None = None,
    rows: int | None = None,
    target: str | None = None,
    *,
    beside: Collection[str] = (),
    labels: Collection[str] = (),
    drop: tuple[str, ...] = (),
    written: list[dialect.Dialect] | None = None,
) -> Iterator["pd.DataFrame"]:
    """Read a text or Parquet file in chunks, as DataFrames whose column names are str.

    Their index numbers the rows of the file from 0.

    Parameters
    ----------
    path : Path
        Text is UTF-8, or UTF-16 with a byte-order mark, and has a header; `dialect.find` infers column separator and
        decimal mark.
    columns : list of dict, optional
        Records of a trained model, whose categories and dates are read as text even if this file has only numbers for
        them.
    rows : int, optional
        Maximum number of rows per DataFrame; by default all rows are in one.
    target : str, optional
        The target columns, if they are needed.
    beside : collection of str
        Other columns that are needed.
    labels : collection of str
        Columns of a text file to read as text; only their empty cells are missing values.
    drop : tuple of str
        Columns that will be dropped, so that their values do not matter.
    written : list of Dialect, optional
        The dialect of a text file is appended to it.

    Raises
    ------
    InputError
        If the file cannot be read as a table with rows.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of a {endings.DATA_FILE}")
    is_text = endings.parts(path)[1] in endings.TEXT
    known = {record["name"] for record in columns or []}

    def unused(names: list[str]) -> set[str]:
        """Return the columns whose values do not matter."""
        if not columns:
            return {*target_columns.joined(drop, names)}
        return {*names} - known - {*beside} - {*(() if target is None else target_columns.named(target, names))}

    n_rows = 0
    try:
        import pandas as pd

        for frame in (
            _read_text(path, columns or [], rows, unused, labels, written)
            if is_text
            else parquet.read(path, rows, unused)
        ):
            frame.columns = frame.columns.map(str)
            frame.index = pd.RangeIndex(n_rows, n_rows + len(frame))
            n_rows += len(frame)
            if not frame.empty:
                yield frame
    except ImportError:
        raise InputError(
            f'reading {path} needs pandas and pyarrow, which are not installed; pip install "mlpgpu[tables]"'
        ) from None
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise encoding.refusal(path, error) from None
    # A damaged file can raise any exception in the libraries that read it.
    except Exception as error:
        reason = getattr(error, "strerror", None) or one_line(error) or type(error).__name__
        kind = "CSV" if is_text else "Parquet"
        raise InputError(f"cannot read {path} as {kind}: {reason}; mend the file, or give another") from None
    if not n_rows:
        raise InputError(f"{path} has no rows; give a table with rows")


def _read_text(
    path: Path,
    columns: list[dict[str, Any]],
    rows: int | None,
    unused: Callable[[list[str]], set[str]],
    labels: Collection[str],
    written: list[dialect.Dialect] | None,
) -> Iterator["pd.DataFrame"]:
    import pandas as pd

    text = {record["name"]: str for record in columns if record["kind"] in {"category", "date"}}
    text |= dict.fromkeys(labels, str)
    found = dialect.find(path, lambda names: {*text, *unused(names)}, text=not columns)
    if not found.names:
        raise InputError(f"{path} is empty; give a table with a header and rows")
    # pandas would rename duplicate names, and read longer rows as having an index: both are errors here.
    header.check(path, found.names)
    if written is not None:
        written.append(found)
    gaps: Any = dialect.MISSING
    if labels:
        gaps = {name: "" if name in labels else dialect.MISSING for name in found.names}
    # With low_memory=True the type of a column would depend on where pandas splits the file into chunks.
    given: dict[str, Any] = {
        "sep": found.separator, "decimal": found.decimal or ".", "index_col": False, "low_memory": False, "dtype": text,
        "keep_default_na": False, "na_values": gaps,
    }  # fmt: skip
    with dialect.open_rows(path) as file:
        if rows is None:
            with _warnings_as_errors(path):
                frame = pd.read_csv(file, **given)
            yield _with_points(frame, found)
            return
        with pd.read_csv(file, chunksize=rows, **given) as reader:
            while True:
                with _warnings_as_errors(path):
                    frame = next(reader, None)
                if frame is None:
                    return
                yield _with_points(frame, found)


def _with_points(frame: "pd.DataFrame", found: dialect.Dialect) -> "pd.DataFrame":
    """Replace decimal commas by points in text columns: pandas converts only columns that hold nothing but numbers."""
    import pandas as pd

    if found.decimal != ",":
        return frame
    for name in frame.select_dtypes(exclude=["number", "bool"]).columns:
        column = frame[name]
        if pd.api.types.infer_dtype(column) == "string" and column.str.contains(",", regex=False).any():
            frame[name] = column.str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
    return frame


@contextlib.contextmanager
def _warnings_as_errors(path: Path) -> Iterator[None]:
    """Raise an error where pandas warns that a row has more cells than the header."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            yield
        except pd.errors.ParserWarning:
            raise InputError(
                f"{path} has rows with more cells than there are names in its first line; allowed: a name for each "
                "column, and nothing above the names, such as a title or a comment; mend it"
            ) from None


def _without(frame: "pd.DataFrame", drop: tuple[str, ...], path: Path) -> "pd.DataFrame":
    """Drop columns from a table without its targets."""
    names = list(frame.columns)
    if not names:
        raise InputError(f"{path} has no columns but those of target, sample_weight and group; add one to learn from")
    dropped = target_columns.joined(drop, names)
    if absent := [name for name in dropped if name not in names]:
        hint = did_you_mean(absent[0], names, 0.5, repr)
        raise InputError(f"drop has {absent[0]!r}, which {path} does not have; allowed: {listed(names)}{hint}")
    if len(set(dropped)) == len(names):
        raise InputError(f"drop leaves none of the columns {listed(names)} of {path}; leave at least one to learn from")
    return frame.drop(columns=dropped)


def _is_text_with_gaps(column: "pd.Series") -> bool:
    import pandas as pd

    present = column.dropna()
    # A column without any values may be text.
    kind = pd.api.types.infer_dtype(present.astype(object))
    return len(present) < len(column) and kind in {"string", "empty"}
