"""The folder that a run leaves behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpgpu.callbacks.checkpoints import LAST, PREVIOUS
from mlpgpu.config_file import read_file
from mlpgpu.errors import InputError
from mlpgpu.figures import as_json, r2_in_words
from mlpgpu.files import expanded, in_runs, replacing
from mlpgpu.model import FILE

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.checkpoint import Checkpoint
    from mlpgpu.model import Model
    from mlpgpu.workflow import Outcome, Prepared

CONFIG, METRICS, CHECKPOINTS, LOCK = "config.toml", "metrics.json", "checkpoints", ".lock"
HISTORY, HISTORY_LINES, TENSORBOARD = "history.csv", "history.jsonl", "tensorboard"
NO_PICTURES = "no pictures without matplotlib: pip install 'mlpgpu[plots]'"


@contextlib.contextmanager
def new(prepared: Prepared) -> Iterator[Path]:
    """Make the folder, and write the settings into it; within, no other run has it.

    Parameters
    ----------
    prepared : Prepared

    Yields
    ------
    path
        ``run_dir`` of the settings, or ``runs/<dataset>-<time>``.

    Raises
    ------
    InputError
        Where the folder cannot be made, or holds a run already.
    """
    import tomli_w

    config = prepared.config
    folder = in_runs(Path(prepared.data.name).stem) if config.run_dir is None else expanded(config.run_dir)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_held(folder))
            if (folder / CONFIG).exists():
                raise InputError(
                    f"run_dir {folder} holds a run already; choose another folder, remove that one, or go on with its "
                    f"run by --resume {folder}"
                )
            with replacing(folder / CONFIG) as beside:
                # The next run with these settings goes elsewhere.
                repeatable = dataclasses.replace(config, run_dir=None)
                beside.write_text(tomli_w.dumps(repeatable.to_dict()), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"cannot write the run folder {folder}: {error.strerror}; choose another with --run-dir"
            ) from None
        yield folder


def is_complete(folder: Path) -> bool:
    """Whether there is nothing to go on with in the folder of a run."""
    return read_metrics(folder).get("complete") is True


def read_metrics(folder: Path) -> dict[str, Any]:
    """The figures of a run; empty where its folder has none that can be read."""
    try:
        found = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write figures whole or not at all."""
    with replacing(folder / METRICS) as beside:
        beside.write_text(as_json(metrics, indent=1) + "\n", encoding="utf-8")


def refuse_unfinished(folder: Path) -> None:
    """Refuse the folder of a run that has no model yet, or that of its checkpoints, where a model is to be read.

    Raises
    ------
    InputError
        It says how to go on. Of another folder nothing is said.
    """
    run = folder.parent if folder.name == CHECKPOINTS else folder
    if not (run / CONFIG).exists():
        return
    kept = [path for name in (LAST, PREVIOUS) if (path := run / CHECKPOINTS / name).exists()]
    instead = f", or give the model of its last checkpoint, {kept[0]}" if kept else ""
    raise InputError(
        f"{folder} has no {FILE}, which a run writes when it ends: go on with this one by mlpgpu train --resume {run}"
        f"{instead}"
    )


class Taken(NamedTuple):
    """A run that is taken up: its folder, its settings, and where it stopped, if it came to a checkpoint."""

    folder: Path
    settings: dict[str, Any]
    checkpoint: Checkpoint | None


@contextlib.contextmanager
def again(given: str) -> Iterator[Taken]:
    """A folder whose run is to be taken up; within, no other run has it.

    Parameters
    ----------
    given : str
        The folder, or one of its checkpoints.

    Raises
    ------
    InputError
        Where there is no run, its checkpoint cannot be used, or another process is at it.
    """
    from mlpgpu.checkpoint import Checkpoint

    path = expanded(given)
    folder = path.parent.parent if path.is_file() else path
    if not (folder / CONFIG).exists():
        raise InputError(f"resume is {given}, which is neither the folder of a run nor one of its checkpoints")
    with _held(folder):
        for part in (*folder.glob(".*.part*"), *(folder / CHECKPOINTS).glob(".*.part*")):
            # What was being written when the run was killed.
            part.unlink()
        if path.is_file() or any((folder / CHECKPOINTS).glob("*")):
            checkpoint = Checkpoint.load(path if path.is_file() else folder / CHECKPOINTS)
            yield Taken(folder, checkpoint.model.config, checkpoint)
        else:
            yield Taken(folder, read_file(folder / CONFIG), None)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Within it no other process gets here, and a process that is killed lets go."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another run is writing into {folder}; wait until it ends, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


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
    missing = _draw(folder, outcome)
    # Last: where it is, all is.
    write_metrics(folder, outcome.metrics)
    return missing


def _draw(folder: Path, outcome: Outcome) -> list[str]:
    from mlpgpu import plots

    if not plots.available():
        return [NO_PICTURES]
    metrics, model = outcome.metrics, outcome.model
    title = f"{metrics['dataset']}, {'-'.join(map(str, model.sizes))}: {_finding(metrics, model)}"
    if metrics["n_test"]:
        draw_tested(folder, model, outcome.truth, outcome.predictions, outcome.confusion, title=title)
    plots.curves(outcome.run.history, folder / "curves.png", title=title)
    return []


def _finding(metrics: dict[str, Any], model: Model) -> str:
    if not metrics["n_test"]:
        return f"{metrics['n_train']:,} rows, none to test on"
    if model.classes:
        all_of_them = " in all labels" if model.multilabel else ""
        return f"{metrics['test_accuracy']:.2%} of {metrics['n_test']:,} test rows right{all_of_them}"
    mean = "mean " if len(model.target_names) > 1 else ""
    return f"{mean}test R² {r2_in_words(metrics['test_r2'], 3)}"


def draw_tested(
    folder: Path,
    model: Model,
    truth: np.ndarray,
    predictions: np.ndarray,
    confusion: np.ndarray | None,
    *,
    title: str,
) -> None:
    """Draw predictions beside what is true: ``confusion.png``, ``labels.png`` or ``predictions.png``.

    Parameters
    ----------
    folder : path
    model : Model
        That predicts the same targets.
    truth, predictions, confusion
        As of an `Outcome`.
    title : str
    """
    from mlpgpu import labels_picture, plots

    if confusion is not None:
        plots.confusion(confusion, [str(c) for c in model.classes], folder / "confusion.png", title=title)
    elif model.multilabel:
        labels_picture.draw(truth, predictions, model.target_names, folder / "labels.png", title=title)
    else:
        target = model.target_names if model.target else "target"
        plots.predictions(truth, predictions, folder / "predictions.png", title=title, target=target)
