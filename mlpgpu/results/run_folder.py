"""Folders of runs and cross-validations."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpgpu.callbacks.checkpoints import kept
from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.files import expanded, in_runs, replacing, write_json
from mlpgpu.models.model import FILE
from mlpgpu.results.regression_figures import in_title
from mlpgpu.settings.config_file import read_file

if TYPE_CHECKING:
    from mlpgpu.folds import CrossValidation
    from mlpgpu.models.model import Model
    from mlpgpu.training.checkpoint import Checkpoint
    from mlpgpu.workflow import Outcome

METRICS, CHECKPOINTS, LOCK = "metrics.json", "checkpoints", ".lock"
HISTORY, HISTORY_LINES, TENSORBOARD = "history.csv", "history.jsonl", "tensorboard"


class Kind(NamedTuple):
    """A kind of folder.

    Attributes
    ----------
    what : str
        What it holds, in words.
    file : str
        Name of the file with the settings.
    command : str
        Command that writes it.
    setting : str
        Setting of that command for the path of the folder.
    ending : str
        Suffix after the data set in the default name of the folder.
    """

    what: str
    file: str
    command: str
    setting: str
    ending: str

    def resuming(self, folder: Path) -> str:
        """Return the command line that goes on with what `folder` holds."""
        return f"mlpgpu {self.command} --resume {shlex.quote(str(folder))}"


RUN = Kind("run", "config.toml", "train", "run_dir", "")
FOLDS = Kind("cross-validation", "folds.toml", "cross-validate", "out", "-folds")


@contextlib.contextmanager
def new(kind: Kind, asked: str | None, name: str, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Create the folder, write the settings into it, and keep it locked while active.

    Parameters
    ----------
    kind : Kind
    asked : str or None
        Path of the folder; None for ``runs/<dataset>-<time>``.
    name : str
        Name of the data set.
    settings : mapping
        Settings that repeat the run or cross-validation in another folder.

    Yields
    ------
    path

    Raises
    ------
    InputError
        If the folder cannot be created, or already holds a run or a cross-validation.
    """
    import tomli_w

    folder = in_runs(f"{Path(name).stem}{kind.ending}") if asked is None else expanded(asked)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder))
            if (there := _kind_of(folder)) is not None:
                raise InputError(
                    f"{kind.setting} {folder} holds a {there.what} already; choose another folder, remove that one, or "
                    f"go on with it by {there.resuming(folder)}"
                )
            with replacing(folder / kind.file) as beside:
                beside.write_text(tomli_w.dumps(settings), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"cannot write the folder {folder}: {error.strerror}; choose another with "
                f"--{kind.setting.replace('_', '-')}"
            ) from None
        yield folder


def _kind_of(folder: Path) -> Kind | None:
    return next((kind for kind in (RUN, FOLDS) if (folder / kind.file).exists()), None)


def is_complete(folder: Path) -> bool:
    """Whether the run in `folder` is complete, so that it cannot be resumed."""
    return read_metrics(folder).get("complete") is True


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the figures of a run; empty if its folder has none that can be read."""
    try:
        found = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write figures atomically."""
    write_json(metrics, folder / METRICS)


def refuse_unfinished(folder: Path) -> None:
    """Refuse to read a model from an unfinished run; `folder` is that of the run or of its checkpoints.

    Raises
    ------
    InputError
        If `folder` belongs to a run. The message says how to resume it.
    """
    run = folder.parent if folder.name == CHECKPOINTS else folder
    if not (run / RUN.file).exists():
        return
    there = kept(run / CHECKPOINTS)
    instead = f", or give the model of its last checkpoint, {there[0]}" if there else ""
    raise InputError(
        f"{folder} has no {FILE}, which a run writes when it ends: go on with this one by {RUN.resuming(run)}{instead}"
    )


def begun(given: str, kind: Kind) -> Path:
    """Return the folder of a run or cross-validation to resume.

    Parameters
    ----------
    given : str
        The folder, or a checkpoint in it.
    kind : Kind

    Raises
    ------
    InputError
        If it is not a folder of this kind.
    """
    path = expanded(given)
    # Checkpoints of a run are in a subfolder, those of a fold one level deeper.
    for folder in path.parents[1:3] if path.is_file() else (path,):
        there = _kind_of(folder)
        if there == kind:
            return folder
        if there is not None:
            raise InputError(
                f"resume is {given}, which is of a {there.what}; go on with it by {there.resuming(folder)}"
            )
    raise InputError(f"resume is {given}, which is neither the folder of a {kind.what} nor one of its checkpoints")


@contextlib.contextmanager
def again(folder: Path, path: Path) -> Iterator[tuple[dict[str, Any], Checkpoint | None]]:
    """Keep the folder of a run locked while active, and read what is needed to resume it from `path`.

    Parameters
    ----------
    folder : path
        As returned by `begun`.
    path : path
        The same folder, or one of its checkpoints.

    Yields
    ------
    settings : dict
        Settings of the run.
    checkpoint : Checkpoint or None
        None if the run has not written one.

    Raises
    ------
    InputError
        If its checkpoint cannot be used, if the file with its settings has others than the checkpoint, or if another
        process has locked the folder.
    """
    from mlpgpu.settings.config import Config
    from mlpgpu.settings.resumed import as_saved
    from mlpgpu.training.checkpoint import Checkpoint

    with held(folder):
        for part in (*folder.glob(".*.part*"), *(folder / CHECKPOINTS).glob(".*.part*")):
            # A file that was being written when the run was killed.
            part.unlink()
        if path.is_file() or any((folder / CHECKPOINTS).glob("*")):
            checkpoint = Checkpoint.load(path if path.is_file() else folder / CHECKPOINTS)
            saved = checkpoint.model.config
            try:
                # The checkpoint counts: settings that someone has changed in the file would be ignored without a word.
                as_saved(Config, saved, read_file(folder / RUN.file))
            except InputError as error:
                raise InputError(f"{folder / RUN.file}: {error}") from None
            yield saved, checkpoint
        else:
            yield read_file(folder / RUN.file), None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder locked against other processes while active; the lock of a process that is killed is released."""
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
        What could not be drawn, and what to install for it.
    """
    outcome.model.save(folder / FILE)
    missing = _draw(folder, outcome)
    # Written last: if the metrics are there, so is all else.
    write_metrics(folder, outcome.metrics)
    return missing


def _draw(folder: Path, outcome: Outcome) -> list[str]:
    from mlpgpu import plots

    if not plots.available():
        return [plots.NO_PICTURES]
    title = titled(outcome, outcome.model, _finding(outcome))
    if outcome.metrics["n_test"]:
        draw_tested(folder, outcome.model, outcome, title=title)
    plots.curves(outcome.run.history, folder / "curves.png", title=title)
    return []


def titled(tested: Outcome | CrossValidation, model: Model, finding: str, folds: str = "") -> str:
    """Return the title of pictures: the data set, the layers, the `folds`, and what was found."""
    by = ", by weight" if tested.weights is not None and len(tested.weights) else ""
    return f"{tested.metrics['dataset']}, {'-'.join(map(str, model.sizes))}{folds}: {finding}{by}"


def _finding(outcome: Outcome) -> str:
    from mlpgpu.results import report

    metrics, model = outcome.metrics, outcome.model
    if not metrics["n_test"]:
        return f"{counted(metrics['n_train'], 'row')}, none to test on"
    if model.classes:
        how = " in all labels" if model.multilabel else ""
        return f"{metrics['test_accuracy']:.2%} of {counted(metrics['n_test'], 'test row')} right{how}"
    mean = "mean " if len(model.target_names) > 1 else ""
    return f"{mean}test {in_title(report.tested(metrics))}"


def draw_tested(folder: Path, model: Model, tested: Outcome | CrossValidation, *, title: str) -> None:
    """Draw predictions against true values: ``confusion.png``, ``labels.png`` or ``predictions.png``.

    Parameters
    ----------
    folder : path
    model : Model
        A model that predicts the same targets.
    tested : Outcome or CrossValidation
    title : str
    """
    from mlpgpu import plots

    rows = tested.truth, tested.predictions
    if tested.confusion is not None:
        plots.confusion(tested.confusion, [str(c) for c in model.classes], folder / "confusion.png", title=title)
    elif model.multilabel:
        plots.labels(*rows, model.target_names, folder / "labels.png", title=title, weights=tested.weights)
    else:
        target = model.target_names if model.target else "target"
        path = folder / "predictions.png"
        of_loss: dict[str, Any] = {"loss": model.loss, **model.loss_settings}
        plots.predictions(*rows, path, title=title, target=target, weights=tested.weights, **of_loss)
