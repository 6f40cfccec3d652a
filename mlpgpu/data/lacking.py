"""Notes on what the training and test rows of a set lack, so that it cannot be learned or not be judged."""

import numpy as np

from mlpgpu.data.dataset import DataSet
from mlpgpu.errors import listed


def lacking(data: DataSet) -> list[str]:
    """Return a note on classes without training rows, and one on each target with a single value in all rows of a part.

    A single row, or none, is no reason for a note.
    """
    notes = []
    if data.classes and not data.multilabel:
        absent = np.setdiff1d(np.arange(len(data.classes)), data.y_train)
        if len(absent):
            what, it = ("class", "it") if len(absent) == 1 else ("classes", "they")
            absent_ones = listed([data.classes[i] for i in absent])
            notes.append(f"no training rows of {what} {absent_ones}: {it} cannot be learned")
    for part, y in (("training", data.y_train), ("test", data.y_test)):
        if len(y) < 2:
            continue
        same = (y == y[0]).reshape(len(y), -1).all(axis=0)
        if same.any():
            names = [name for name, constant in zip(data.target_names, same, strict=True) if constant]
            notes.append(f"all {len(y):,} {part} rows have one value of the target {listed(names)}")
    return notes
