"""The folder that a run leaves behind."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mlpgpu.errors import InputError
from mlpgpu.files import replacing
from mlpgpu.model import FILE

if TYPE_CHECKING:
    from mlpgpu.workflow import Outcome, Prepared

CONFIG, HISTORY, METRICS = "config.toml", "history.csv", "metrics.json"


def create(prepared: Prepared) -> Path:
    """Make the folder and write the settings into it.

    Parameters
    ----------
    prepared : Prepared

    Returns
    -------
    path
        ``run_dir`` of the settings, or ``runs/<dataset>-<time>``.

    Raises
    ------
    InputError
        Where the folder cannot be made or holds a run already.
    """
    import tomli_w

    config = prepared.config
    if config.run_dir is None:
        now = dt.datetime.now().strftime("%Y%m%d-%H%M%S")  # the user's own clock
        first = Path("runs") / f"{Path(prepared.data.name).stem}-{now}"
        others = (first.with_name(f"{first.name}-{n}") for n in range(2, 1000))
        folder = next(path for path in (first, *others) if not path.exists())
    else:
        folder = Path(config.run_dir)
        if (folder / CONFIG).exists():
            raise InputError(f"run_dir {folder} holds a run already; choose another folder, or remove that one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CONFIG) as beside:
            # The next run with these settings goes elsewhere.
            repeatable = dataclasses.replace(config, run_dir=None)
            beside.write_text(tomli_w.dumps(repeatable.to_dict()), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write the run folder {folder}: {error.strerror}; choose another with --run-dir"
        ) from None
    return folder


def write(folder: Path, outcome: Outcome) -> list[str]:
    """Write model, metrics and pictures.

    Parameters
    ----------
    folder : path
    outcome : Outcome

    Returns
    -------
    list of str
        What could not be made, and what to install for it.
    """
    outcome.model.save(folder / FILE)
    with replacing(folder / METRICS) as beside:
        beside.write_text(json.dumps(outcome.metrics, indent=1) + "\n", encoding="utf-8")
    return _draw(folder, outcome)


def _draw(folder: Path, outcome: Outcome) -> list[str]:
    from mlpgpu import plots

    if not plots.available():
        return ["no pictures without matplotlib: pip install 'mlpgpu[plots]'"]
    metrics, model = outcome.metrics, outcome.model
    size = "-".join(map(str, model.sizes))
    if outcome.confusion is not None:
        finding = f"{metrics['test_accuracy']:.2%} of {metrics['n_test']:,} test rows right"
        plots.confusion(
            outcome.confusion,
            [str(c) for c in model.classes],
            folder / "confusion.png",
            title=f"{metrics['dataset']}, {size}: {finding}",
        )
    else:
        finding = f"test R² {metrics['test_r2']:.3f}"
        plots.predictions(
            outcome.truth,
            outcome.predictions,
            folder / "predictions.png",
            title=f"{metrics['dataset']}, {size}: {finding}",
            target=model.target or "target",
        )
    plots.curves(outcome.run.history, folder / "curves.png", title=f"{metrics['dataset']}, {size}: {finding}")
    return []
