"""The command that cross-validates settings: ``python -m mlpgpu.cross_validation``."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.command_line import (
    DIVERGED,
    SIGNALLED,
    application,
    complain,
    print_json,
    run_command,
    telling,
    train_command,
    with_file,
    with_flags,
)
from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.settings.config import OWN_ROWS, Config, of_training, settings
from mlpgpu.settings.config_file import read_file
from mlpgpu.settings.resumed import as_saved

if TYPE_CHECKING:
    from tqdm import tqdm

    from mlpgpu.folds import CrossValidation
    from mlpgpu.models.model import Model
    from mlpgpu.prepared import Prepared
    from mlpgpu.results.report import Output
    from mlpgpu.workflow import Outcome

PREDICTIONS = "predictions.csv"
# Settings of a single run that do not apply here: its test rows, its folder and its log.
UNUSED = ("test_fraction", "run_dir", "log_to", "log_every")
# Those that choose the rows of a single run: without a flag, and refused where a file has them.
REFUSED = ("hold_out", *OWN_ROWS.values())


@dataclass(frozen=True, kw_only=True)
class Validation(Config):
    """Validated settings of a cross-validation, which are also the `Config` of each fold.

    Raises
    ------
    InputError
        If a value is not allowed, or two values conflict.
    """

    folds: int = of_training(5, "number of folds, each of which is tested on once", within="[2, inf)")


# Settings that are read, also from a file.
KNOWN = settings(Validation, UNUSED)

app = application("cross-validate")


@app.default
@with_flags(
    settings(Validation, (*UNUSED, *REFUSED)),
    config="TOML or YAML file with settings, such as config.toml of a run",
    out="folder to write [default: runs/<dataset>-folds-<time>]",
    resume="folder of a cross-validation to continue where it stopped",
)
def cross_validate(**given: Any) -> int:
    """Train a network for each fold of the rows, test it on that fold, and report the mean and spread of the scores.

    Every row is tested on once, including test rows that come with the data set.
    Ctrl-C ends it with the folds that are done.
    --resume continues where it was stopped or killed.
    Settings in --config that concern only a run, such as its folder, are ignored.
    """
    from mlpgpu.results import run_folder

    resume, out = given.pop("resume", None), given.pop("out", None)
    if resume is None:
        validation = Validation(**with_file(given, KNOWN))
        with contextlib.ExitStack() as held:

            def opened(prepared: Prepared) -> Path:
                kept = {name: value for name, value in prepared.config.to_dict().items() if name in KNOWN}
                return held.enter_context(run_folder.new(run_folder.FOLDS, out, prepared.data.name, kept))

            return _run(validation, opened)
    if out is not None or "config" in given:
        raise InputError("resume brings the settings and the folder of its folds; leave out config and out")
    folder = run_folder.begun(resume, run_folder.FOLDS)
    validation = as_saved(Validation, read_file(folder / run_folder.FOLDS.file, KNOWN), given)
    if not run_folder.is_complete(folder):
        with run_folder.held(folder):
            return _run(validation, lambda _: folder)
    if validation.json:
        print_json(run_folder.read_metrics(folder), out=folder)
    else:
        print(f"Complete  the cross-validation in {folder} is finished, and its results are there")  # noqa: T201
    return 0


def _run(validation: Validation, opened: Callable[[Prepared], Path]) -> int:
    from tqdm import tqdm

    from mlpgpu import folds
    from mlpgpu.callbacks import LambdaCallback
    from mlpgpu.results import report, run_folder
    from mlpgpu.training.run import Diverged

    console = report.Output(results_only=validation.quiet)
    bar = tqdm(unit="epoch", disable=validation.quiet or None, file=sys.stderr, leave=False)
    progress = _Progress(validation, opened, console, bar)
    try:
        with bar, telling(console.say):
            found = folds.cross_validate(
                validation,
                validation.folds,
                [LambdaCallback(on_epoch_end=lambda *_: bar.update())],
                checkpoints=progress.open,
                on_fold_begin=progress.begin,
                on_fold_end=progress.end,
            )
    except Diverged as error:
        if progress.folder and progress.found:
            run_folder.write_metrics(progress.folder, progress.found.metrics)
        complain(f"fold {progress.done + 1}: {error}")
        return DIVERGED
    except KeyboardInterrupt:
        if progress.folder and not validation.json:
            console.show(_on(progress.folder))
        raise
    folder = progress.folder
    assert folder is not None
    missing = _write(folder, found)
    if validation.json:
        print_json(found.metrics, out=folder)
    else:
        mean = report.tested(found.mean)
        if found.signal:
            console.show(f"Stopped   after {len(found.folds)} of {validation.folds} folds")
        console.show(
            f"Mean      {report.figures_in_words(mean, report.tested(found.std))}",
            *report.tables(mean.get("targets", {}), found.confusion, found.folds[0].outcome.model.classes),
            *missing,
            f"Saved     {folder}",
            _on(folder) if found.signal else _keeping(validation),
        )
    diverged = [(number, fold.outcome.run) for number, fold in enumerate(found.folds, 1) if fold.outcome.run.diverged]
    if diverged:
        (number, run), *more = diverged
        also = f"; {counted(len(more), 'fold')} more diverged" if more else ""
        complain(f"fold {number}: {run.diverged}; it was tested with the weights of epoch {run.best_epoch}{also}")
    return DIVERGED if diverged else SIGNALLED + found.signal if found.signal else 0


class _Progress:
    """Progress of a cross-validation, as it is printed.

    Attributes
    ----------
    folder : Path or None
        Output folder; None before the first fold begins.
    found : CrossValidation or None
        Results so far; None before the first fold ends.
    """

    def __init__(self, validation: Validation, opened: Callable[[Prepared], Path], console: Output, bar: tqdm) -> None:
        self.validation, self.opened, self.console, self.bar = validation, opened, console, bar
        self.folder: Path | None = None
        self.found: CrossValidation | None = None

    @property
    def done(self) -> int:
        """Number of folds that are done."""
        return 0 if self.found is None else len(self.found.folds)

    def open(self, prepared: Prepared) -> Path:
        """Print the data and the plan; return the folder for checkpoints."""
        from mlpgpu.results import report, run_folder

        self.folder = self.opened(prepared)
        self.console.say(*report.opening(prepared, report.training_line(prepared)))
        self.console.say(f"Folds     {self.validation.folds}; the rows above are those of the first")
        return self.folder / run_folder.CHECKPOINTS

    def begin(self, prepared: Prepared) -> None:
        """Move the progress bar to the beginning of the next fold."""
        self.bar.total = self.validation.folds * prepared.plan.epochs
        # A run that stopped early did not do all of its epochs.
        self.bar.update(self.done * prepared.plan.epochs - self.bar.n)

    def end(self, found: CrossValidation) -> None:
        """Print the result of the fold that has ended."""
        self.found = found
        with self.bar.external_write_mode():
            self.console.say(_line(self.done, found.folds[-1].outcome))


def _line(number: int, outcome: Outcome) -> str:
    from mlpgpu.results import report

    metrics, run = outcome.metrics, outcome.run
    of = f", weights of epoch {metrics['weights_of_epoch']}" if run.restored else ""
    why = run.diverged or (run.stopped and f"{run.stopped} in epoch {run.epoch}")
    return (
        f"Fold {number:<4} {report.figures_in_words(report.tested(metrics))} on {counted(metrics['n_test'], 'row')}; "
        f"{sum(metrics['epoch_seconds']):.1f} s{f'; {why}{of}' if why else ''}"
    )


def _on(folder: Path) -> str:
    from mlpgpu.results import run_folder

    return f"Resume    go on with it by {run_folder.FOLDS.resuming(folder)}"


def _keeping(validation: Validation) -> str:
    from mlpgpu.data.used import sort_of

    # The hidden layers of a run that starts from a model have other defaults.
    plain = Validation(start_from=validation.start_from)
    asked = {name: given for name in settings() if (given := getattr(validation, name)) != getattr(plain, name)}
    asked["start_from"] = validation.start_from
    untested = "" if sort_of(validation.dataset or "mnist") == "mnist" else " --test-fraction 0"
    return f"Train     a model to keep by {train_command(asked)}{untested}"


def _write(folder: Path, found: CrossValidation) -> list[str]:
    """Write predictions, their plot and the metrics; return what to install if there can be no plot."""
    import numpy as np

    from mlpgpu import plots
    from mlpgpu.data import writing
    from mlpgpu.results import run_folder

    model = found.folds[0].outcome.model
    truth, predictions = (model.labelled(numbers) for numbers in (found.truth, found.predictions))
    names = [f" {name}" for name in model.target_names] if predictions.ndim > 1 and predictions.shape[1] > 1 else [""]
    columns = [found.rows + 1, found.fold_of_row, truth, predictions]
    writing.write(
        folder / PREDICTIONS,
        ["row", "fold", *(f"{what}{name}" for what in ("true", "predicted") for name in names)],
        [np.column_stack([column.astype(object) for column in columns])],
    )
    missing = [] if plots.available() else [plots.NO_PICTURES]
    if not missing:
        title = run_folder.titled(found, model, _finding(found, model), f", {len(found.folds)} folds")
        run_folder.draw_tested(folder, model, found, title=title)
    # Written last: complete metrics mean that all files are there, and that nothing is left to resume.
    run_folder.write_metrics(folder, found.metrics)
    checkpoints = folder / run_folder.CHECKPOINTS
    # There is no such folder if every fold diverged before its first checkpoint was due.
    if found.complete and checkpoints.exists():
        shutil.rmtree(checkpoints)
    return missing


def _finding(found: CrossValidation, model: Model) -> str:
    from mlpgpu.results import report
    from mlpgpu.results.regression_figures import in_title

    if not model.classes:
        return in_title(report.tested(found.mean), report.tested(found.std))
    mean, std = found.mean["test_accuracy"], found.std["test_accuracy"]
    return f"{'subset' if model.multilabel else 'test'} accuracy {mean:.2%} ± {std:.2%}"


if __name__ == "__main__":
    sys.exit(run_command(app))
