"""How the files that hold data end; what is read, what is refused and what help says of them all come from here."""

from pathlib import Path

__all__ = ["DATA_FILE", "PACKED", "TABLES", "TABLE_FILE", "TEXT", "instead", "parts"]

# Text, whose separator is found out from the file, not from its ending.
TEXT = (".csv", ".tsv", ".tab", ".txt")
# What text may be compressed by: .csv.gz and so on.
PACKED = (".gz", ".bz2", ".zip")
TABLES = (*TEXT, ".parquet")
# As messages and help have them, with an article in front.
TABLE_FILE = f"{', '.join(TEXT)} or .parquet file"
DATA_FILE = f"{', '.join(TEXT)} (plain, {', '.join(PACKED)}), .parquet, .npz, .npy or IDX file"

_WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")


def instead(path: Path) -> str:
    """What to do with a file whose ending is none of these."""
    return "save the sheet of the workbook as CSV UTF-8" if path.suffix.lower() in _WORKBOOKS else "give one"


def parts(path: Path) -> tuple[str, str]:
    """The name of a file of data and its ending, in lower case: ``("houses", ".csv")`` of houses.csv.gz."""
    if path.suffix.lower() in PACKED and Path(path.stem).suffix.lower() in TEXT:
        path = Path(path.stem)
    return path.stem, path.suffix.lower()
