"""Parquet files, whose few bytes can stand for many: what they promise is counted before it is read."""

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
        Where a column is no plain one, or the file would become far larger than it is.
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
    # A word that stands once in the file may be in every row, so words are counted before they are copied.
    words = [field.name for field in schema if _is_text(field.type)]
    with parquet.ParquetFile(path, read_dictionary=words) as file:
        refuse_bomb(path, _promised(file.metadata))
        if rows is None:
            yield _spelled_out(path, file.read(use_pandas_metadata=True)).to_pandas()
            return
        for batch in file.iter_batches(rows):
            yield _spelled_out(path, pa.Table.from_batches([batch])).to_pandas()


def _is_text(dtype: Any) -> bool:
    from pyarrow import types

    return types.is_string(dtype) or types.is_large_string(dtype) or types.is_binary(dtype)


def _promised(metadata: Any) -> int:
    """Bytes of all rows, text as numbers of words, and bytes of the pages."""
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    row = sum(max(8, column.length) for column in columns)
    return max(
        row * metadata.num_rows, sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    )


def _spelled_out(path: Path, table: Any) -> Any:
    """The table with the words themselves in the place of their numbers."""
    import pyarrow as pa
    from pyarrow import compute

    for i, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
            lengths = (compute.take(compute.binary_length(part.dictionary), part.indices) for part in column.chunks)
            refuse_bomb(path, sum(compute.sum(part).as_py() or 0 for part in lengths))
            table = table.set_column(
                i, table.schema.field(i).with_type(column.type.value_type), column.cast(column.type.value_type)
            )
    return table
