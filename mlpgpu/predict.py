"""Predict for the rows of a file: ``python -m mlpgpu.predict``."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from mlpgpu.command_line import application, run_command
from mlpgpu.endings import DATA_FILE
from mlpgpu.errors import InputError, printable
from mlpgpu.files import expanded

Chunk = TypeVar("Chunk", bound=Any)

app = application("predict")


@app.default
def predict(
    model: str,
    data: Annotated[
        str,
        Parameter(
            help=f"A {DATA_FILE} with the features that the model was trained on (it needs no target); - for CSV on "
            "standard input; or mnist or fashion-mnist, for their test rows."
        ),
    ],
    *,
    proba: Annotated[bool, Parameter(negative="")] = False,
    out: str | None = None,
) -> int:
    """Predict for each row of a file of any length.

    Parameters
    ----------
    model : str
        A model.safetensors file, or the run folder that holds it.
    proba : bool
        Write the probability of each class or label instead of the prediction.
    out : str
        A .csv, .parquet or .npy file [default: standard output, as CSV].
    """
    from mlpgpu.data import mnist, reading, writing
    from mlpgpu.data.remarks import Remarks
    from mlpgpu.models.model import Model, file_of

    loaded = Model.load(model)
    if proba and not loaded.classes:
        raise InputError(f"the model {model} predicts a number, which has no probabilities; leave out --proba")
    path = None if out is None else expanded(out)
    if path is not None:
        writing.check(path, file_of(model), expanded(data))
    function = loaded.predict_proba if proba else loaded.predict
    names = loaded.targets or [*map(str, loaded.classes)] if proba else loaded.target_names
    remarks = Remarks()
    rows: Iterable[Any]
    if data in mnist.MIRRORS:
        rows = [reading.of_mnist(data).x]
    else:
        rows = reading.features(data, loaded.encoding, reading.ROWS, remarks)
    with telling_warnings():
        writing.write(path, names, (function(x) for x in with_bar(rows)))
    tell(remarks.notes())
    return 0


def tell(notes: Iterable[str]) -> None:
    """Print notes on a file to standard error."""
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def telling_warnings() -> Iterator[None]:
    """While active, keep the warnings of a model, and print each of them once when it ends."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        yield
    tell(dict.fromkeys(str(warning.message) for warning in found))


def with_bar(chunks: Iterable[Chunk], size: Callable[[Chunk], int] = len) -> Iterator[Chunk]:
    """Iterate over `chunks`, counting their rows in a progress bar if standard error is a terminal."""
    from tqdm import tqdm

    with tqdm(unit=" rows", unit_scale=True, disable=None, file=sys.stderr, leave=False) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(size(chunk))


if __name__ == "__main__":
    sys.exit(run_command(app))
