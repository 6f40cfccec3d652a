"""Parquet files, whose few bytes can stand for many: what they promise is counted before it is unpacked."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.data import header
from mlpgpu.data.inflation import refuse_bomb
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read"]


def read(path: Path, rows: int | None) -> Iterator["pd.DataFrame"]:
    """The rows of a Parquet file, at most `rows` of them at a time; all at once for None.

    Raises
    ------
    InputError
        Where columns have one name, one holds other than single values, or they promise far more than the file has.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = parquet.read_schema(path)
    # Its own message on duplicates names none of the user's doing.
    header.check(path, schema.names)
    for field in schema:
        if pa.types.is_nested(field.type):
            raise InputError(
                f"column {field.name!r} of {path} holds values of type {field.type}; "
                "allowed: numbers, truth values, text; convert or remove it"
            )
    # A word that stands in the file once may be in every row: words stay numbers until they are counted.
    words = [field.name for field in schema if _is_text(field.type)]
    with parquet.ParquetFile(path, read_dictionary=words) as file:
        refuse_bomb(path, _promised(file.metadata))
        if rows is None:
            yield _spelled_out(path, file.read(use_pandas_metadata=True), words).to_pandas()
            return
        for batch in file.iter_batches(rows):
            yield _spelled_out(path, pa.Table.from_batches([batch]), words).to_pandas()


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
