"""Extensions of data files: the source of what is read, what is refused and what help texts list."""

import re
from pathlib import Path

# Delimited text; the separator is detected from the content, not from the extension.
TEXT = (".csv", ".tsv", ".tab", ".txt")
# Compressed text: .csv.gz and so on.
PACKED = (".gz", ".bz2", ".zip")
# For messages and help texts, which put an article in front.
TABLE_FILE = f"{', '.join(TEXT)} or .parquet file"
DATA_FILE = f"{', '.join(TEXT)} (plain, {', '.join(PACKED)}), .parquet, .npz, .npy or IDX file"

# x.idx, x.idx3, train-images.idx3-ubyte and train-images-idx3-ubyte, gzipped or not.
_IDX = re.compile(r"(^|[.-])idx(\d+([.-]\w+)?)?(\.gz)?$", re.IGNORECASE)
_WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")


def instead(path: Path) -> str:
    """Return what to do with a file whose extension is none of these."""
    if path.suffix.lower() in _WORKBOOKS:
        return "save the sheet of the workbook as CSV UTF-8"
    return "give one, or rename it to .csv if it is a text table" if path.is_file() else "give one"


def kind(path: Path) -> str | None:
    """Return the kind of a file by its name: ``table``, ``npz``, or ``array`` for .npy and IDX; None for any other."""
    ending = parts(path)[1]
    if ending in (*TEXT, ".parquet"):
        return "table"
    if ending == ".npz":
        return "npz"
    return "array" if ending == ".npy" or _IDX.search(path.name) else None


def parts(path: Path) -> tuple[str, str]:
    """Return the stem and the lower-case extension of a data file: ``("houses", ".csv")`` of houses.csv.gz."""
    if path.suffix.lower() in PACKED and Path(path.stem).suffix.lower() in TEXT:
        path = Path(path.stem)
    return path.stem, path.suffix.lower()
