"""Parquet files; the sizes that they declare are checked before they are unpacked, to refuse decompression bombs."""

from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.data import header
from mlpgpu.data.inflation import refuse_bomb
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def read(path: Path, rows: int | None, unused: Callable[[list[str]], Set[str]]) -> Iterator["pd.DataFrame"]:
    """Yield the rows of a Parquet file, at most `rows` at a time, or all at once for None.

    ``unused(names)`` returns the columns whose values do not matter; those with nested values are returned empty.

    Raises
    ------
    InputError
        If columns have the same name, a used column has nested values, or the file unpacks to far more than a file of
        its size should.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = parquet.read_schema(path)
    # pyarrow's message on duplicate names is of no help to the user.
    header.check(path, schema.names)
    nested = {field.name: field.type for field in schema if pa.types.is_nested(field.type)}
    if used := sorted(nested.keys() - unused(schema.names)):
        raise InputError(
            f"column {used[0]!r} of {path} holds values of type {nested[used[0]]}; "
            "allowed: numbers, truth values, dates, text; convert it, or leave it out with --drop"
        )
    names = [name for name in schema.names if name not in nested]
    # A text stored once may be in every row, so text stays dictionary-encoded until its total length is checked.
    text_columns = [field.name for field in schema if _is_text(field.type)]
    with parquet.ParquetFile(path, read_dictionary=text_columns) as file:
        refuse_bomb(path, _promised(file.metadata))
        if rows is None:
            tables = iter([file.read(names)])
        else:
            tables = (pa.Table.from_batches([batch]) for batch in file.iter_batches(rows, columns=names))
        for table in tables:
            frame = _decoded(path, table, text_columns).to_pandas()
            for name in nested:
                frame[name] = None
            yield frame


def _is_text(dtype: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(dtype) for is_kind in (*kinds, types.is_binary, types.is_large_binary, types.is_binary_view))


def _promised(metadata: Any) -> int:
    """Return the bytes of all rows, with text as dictionary codes, or those of all pages if they are more."""
    row = sum(max(8, metadata.schema.column(i).length) for i in range(metadata.num_columns))
    pages = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(row * metadata.num_rows, pages)


def _decoded(path: Path, table: Any, text_columns: list[str]) -> Any:
    """Decode the dictionary-encoded `text_columns` of `table`, after checking the total length of its text."""
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
        if field.name in text_columns and field.name in columns:
            plain = field.type.value_type
            table = table.set_column(i, field.with_type(plain), columns[field.name].cast(plain))
    # Arrow does not check on reading that text is valid UTF-8, and would fail later, where it is used.
    table.validate(full=True)
    return table
