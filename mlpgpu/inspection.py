"""The command that describes a model and its training: ``python -m mlpgpu.inspection``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mlpgpu.command_line import application, run_command
from mlpgpu.errors import first_of, printable
from mlpgpu.figures import as_json, counted
from mlpgpu.files import expanded
from mlpgpu.settings.resumed import UNBOUND
from mlpgpu.settings.setting import as_text

if TYPE_CHECKING:
    from mlpgpu.models.model import Model

app = application("inspect")
# Longer lists of names are cut.
MAX_NAMES = 10


@app.default
def inspect(model: str, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show the inputs, outputs and layers of a model, the settings it was trained with, and the results.

    Parameters
    ----------
    model : str
        A model.safetensors file, or the run folder that holds it.
    json : bool
        Print one JSON object.
    """
    from mlpgpu.models.model import Model
    from mlpgpu.results import report

    loaded, metrics = Model.load(model), _metrics(expanded(model))
    if json:
        print(as_json({**_facts(loaded), "config": loaded.config, "metrics": metrics}, indent=2))  # noqa: T201
        return 0
    lines = map(printable, _lines(loaded, metrics))
    report.Output().show(*lines, report.network_table(loaded.network, loaded.activations))
    return 0


def _facts(model: Model) -> dict[str, Any]:
    names = ("task", "target", "targets", "label_values", "classes", "feature_names", "sizes", "activations", "loss")
    facts = {name: getattr(model, name) for name in names}
    return {**facts, "dtype": str(model.params.dtype), "n_parameters": len(model.params)}


def _lines(model: Model, metrics: dict[str, Any] | None) -> Iterator[str]:
    from mlpgpu.results import report

    what = f"one of {len(model.classes)} classes ({first_of(model.classes, MAX_NAMES)})" if model.classes else "numbers"
    what = "a number each" if model.targets else what
    what = _of_labels(model) if model.multilabel else what
    target = first_of(model.targets, MAX_NAMES) or model.target
    target = f"{target}, " if target else ""
    yield f"Predicts  {target}{what}"
    names = f": {first_of(model.feature_names, MAX_NAMES)}" if model.feature_names else ""
    yield f"Takes     {counted(model.sizes[0], 'feature')}{names}"
    filled = sum(column.get("fill") is not None for column in model.columns or ())
    scaled = "the same for all features" if model.shift.ndim == 0 else "each feature by its own"
    target = "" if model.target_shift is None else "; the target is scaled, each column by its own"
    yield f"Prepares  scaling, {scaled}{target}" + (
        f"; missing values of {counted(filled, 'column')} filled" if filled else ""
    )
    yield f"Loss      {model.loss}, {model.params.dtype}"
    shown = {name: value for name, value in model.config.items() if name not in {*UNBOUND, "hidden"}}
    if shown:
        yield "Settings  " + ", ".join(f"{name} {as_text(value)}" for name, value in shown.items())
    if model.estimator is not None:
        yield f"Estimator {model.estimator.get('class')}, which its load brings back"
    if metrics is not None:
        # Invalid metrics are skipped, as are files that are not JSON: the request was for the model alone.
        with contextlib.suppress(KeyError, TypeError, ValueError):
            rows, epochs = counted(metrics["n_train"], "row"), counted(metrics["epochs"], "epoch")
            yield f"Trained   {rows}, {epochs}, on {metrics['device']}"
            yield report.test_line(metrics, model.config)


def _of_labels(model: Model) -> str:
    """Describe the values of several labels."""
    each = {" or ".join(map(str, pair)) for pair in model.label_values}
    if not each:
        return f"each of {len(model.classes)} labels, or not"
    return f"{each.pop()} each" if len(each) == 1 else f"each by values of its own ({'; '.join(sorted(each))})"


def _metrics(path: Path) -> dict[str, Any] | None:
    """Return the metrics of the run, if they are next to the model."""
    from mlpgpu.results.run_folder import read_metrics

    found = read_metrics(path if path.is_dir() else path.parent)
    return found if "n_test" in found else None


if __name__ == "__main__":
    sys.exit(run_command(app))
