"""Export a model to the format of another library: ``python -m mlpgpu.export``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlpgpu.command_line import application, run_command
from mlpgpu.errors import InputError, did_you_mean
from mlpgpu.files import expanded

if TYPE_CHECKING:
    from mlpgpu.models.model import Model

app = application("export")
FORMATS = ("onnx",)


@app.default
def export(model: str, *, to: str = FORMATS[0], out: str | None = None) -> int:
    """Write a model in the format of another library, its scaling included.

    Parameters
    ----------
    model : str
        A model.safetensors file, or the run folder that holds it.
    to : str
        Format; onnx is the only one.
    out : str
        File to write [default: beside the model, with the ending of the format].
    """
    from mlpgpu.files import check_out, replacing
    from mlpgpu.models.model import Model, file_of
    from mlpgpu.models.onnx_graph import to_onnx

    if to not in FORMATS:
        raise InputError(f"to is {to!r}; allowed: {', '.join(FORMATS)}{did_you_mean(to, FORMATS)}")
    loaded, source = Model.load(model), file_of(model)
    path = source.with_suffix(f".{to}") if out is None else expanded(out)
    if path.is_dir():
        raise InputError(f"out is {path}, which is a folder; give a file")
    check_out(path, source)
    content, dtype = to_onnx(loaded)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
    for line in _lines(loaded, path, dtype):
        print(line)  # noqa: T201
    return 0


def _lines(model: Model, path: Path, dtype: str) -> Iterator[str]:
    outputs = "label and probabilities" if model.classes else "prediction"
    yield f"Saved     {path}: x, {dtype} of shape (n_rows, {model.sizes[0]}), to {outputs}"
    if dtype != model.params.dtype:
        yield f"Note      the scaling would lose digits in {model.params.dtype}: give x as {dtype}"
    if model.columns is not None:
        yield (
            "Note      x is the features of the table, encoded as by mlpgpu.data.read_features; feature_names in the "
            "metadata names them"
        )


if __name__ == "__main__":
    sys.exit(run_command(app))
