"""Extensions of data files: the source of what is read, what is refused and what help texts list."""

from pathlib import Path

__all__ = ["DATA_FILE", "PACKED", "TABLES", "TABLE_FILE", "TEXT", "instead", "parts"]

# Delimited text; the separator is detected from the content, not from the extension.
TEXT = (".csv", ".tsv", ".tab", ".txt")
# Compressed text: .csv.gz and so on.
PACKED = (".gz", ".bz2", ".zip")
TABLES = (*TEXT, ".parquet")
# For messages and help texts, which put an article in front.
TABLE_FILE = f"{', '.join(TEXT)} or .parquet file"
DATA_FILE = f"{', '.join(TEXT)} (plain, {', '.join(PACKED)}), .parquet, .npz, .npy or IDX file"

_WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")


def instead(path: Path) -> str:
    """Return what to do with a file whose extension is none of these."""
    return "save the sheet of the workbook as CSV UTF-8" if path.suffix.lower() in _WORKBOOKS else "give one"


def parts(path: Path) -> tuple[str, str]:
    """Return the stem and the lower-case extension of a data file: ``("houses", ".csv")`` of houses.csv.gz."""
    if path.suffix.lower() in PACKED and Path(path.stem).suffix.lower() in TEXT:
        path = Path(path.stem)
    return path.stem, path.suffix.lower()
