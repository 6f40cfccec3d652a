"""Parquet files, whose few bytes can stand for many: what they promise is counted before it is unpacked."""

from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.data import header
from mlpgpu.data.inflation import refuse_bomb
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read"]


def read(path: Path, rows: int | None, unused: Callable[[list[str]], Set[str]]) -> Iterator["pd.DataFrame"]:
    """The rows of a Parquet file, at most `rows` of them at a time; all at once for None.

    Of ``unused(names)``, the columns whose values do not matter, those that hold other than single values are empty.

    Raises
    ------
    InputError
        Where columns have one name, one that is used holds other than single values, or they promise far more than
        the file has.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = parquet.read_schema(path)
    # Its own message on duplicates names none of the user's doing.
    header.check(path, schema.names)
    nested = {field.name: field.type for field in schema if pa.types.is_nested(field.type)}
    if used := sorted(nested.keys() - unused(schema.names)):
        raise InputError(
            f"column {used[0]!r} of {path} holds values of type {nested[used[0]]}; "
            "allowed: numbers, truth values, dates, text; convert it, or leave it out with --drop"
        )
    names = [name for name in schema.names if name not in nested]
    # A word that stands in the file once may be in every row: words stay numbers until they are counted.
    words = [field.name for field in schema if _is_text(field.type)]
    with parquet.ParquetFile(path, read_dictionary=words) as file:
        refuse_bomb(path, _promised(file.metadata))
        if rows is None:
            tables = iter([file.read(names, use_pandas_metadata=True)])
        else:
            tables = (pa.Table.from_batches([batch]) for batch in file.iter_batches(rows, columns=names))
        for table in tables:
            frame = _spelled_out(path, table, words).to_pandas()
            for name in nested:
                frame[name] = None
            yield frame


def _is_text(dtype: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(dtype) for is_kind in (*kinds, types.is_binary, types.is_large_binary, types.is_binary_view))


def _promised(metadata: Any) -> int:
    """Bytes of all rows, a word as its number, or of all pages where those are more."""
    row = sum(max(8, metadata.schema.column(i).length) for i in range(metadata.num_columns))
    pages = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(row * metadata.num_rows, pages)


def _spelled_out(path: Path, table: Any, words: list[str]) -> Any:
    """`table` with the words of some columns in the place of their numbers."""
    from pyarrow import compute, types

    columns = {
        field.name: table.column(i)
        for i, field in enumerate(table.schema)
        if types.is_dictionary(field.type) and _is_text(field.type.value_type)
    }
    parts = [part for column in columns.values() for part in column.chunks]
    lengths = (compute.sum(compute.take(compute.binary_length(part.dictionary), part.indices)) for part in parts)
    refuse_bomb(path, sum(length.as_py() or 0 for length in lengths))
    for i, field in enumerate(table.schema):
        if field.name in words and field.name in columns:
            word = field.type.value_type
            table = table.set_column(i, field.with_type(word), columns[field.name].cast(word))
    # Arrow believes a file that its text is such, and fails where it is used.
    table.validate(full=True)
    return table
