"""How good runs of some settings are, and by how much that differs: ``python -m mlpgpu.cross_validation``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu import train
from mlpgpu.config import RUN, TRAINING, Config, settings
from mlpgpu.errors import InputError
from mlpgpu.figures import as_json, in_words
from mlpgpu.files import out_folder
from mlpgpu.setting import Setting, setting

if TYPE_CHECKING:
    from tqdm import tqdm

    from mlpgpu.folds import CrossValidation
    from mlpgpu.workflow import Outcome, Prepared

PREDICTIONS = "predictions.csv"
# Settings of one run, its test rows and its folder, which several in turn have no use for.
UNUSED = ("test_fraction", "run_dir", "checkpoint_every", "log_to", "log_every")


@dataclass(frozen=True, kw_only=True)
class Validation(Config):
    """Every setting of a cross-validation, checked; it takes the place of a `Config` for each fold.

    Raises
    ------
    InputError
        Where a value is not allowed, or two do not go together.
    """

    folds: int = setting(5, "parts of the rows, each of which is tested on once", TRAINING, int, within="[2, inf)")
    out: str | None = setting(None, "folder to write [default: runs/<dataset>-folds-<time>]", RUN, str)


def flags() -> dict[str, tuple[Setting, Any]]:
    """Name -> (setting, default) of what the command asks for, in order."""
    return settings(Validation, UNUSED)


def cross_validate(**given: Any) -> int:
    """Train a network for each fold of the rows, test it on that fold, and say how good they are on average.

    All rows are tested on once, also the test rows that a set has of its own. Ctrl-C ends it with the folds that are
    done. Of the settings in --config, such as that of a run, the ones without a flag here are passed over.
    """
    return _run(Validation(**train.with_file(given, flags())), given)


cross_validate.__signature__ = train.signature(  # type: ignore[attr-defined]
    flags(), config="TOML or YAML file with settings, such as config.toml of a run"
)

app = train.application("cross-validate")
app.default(cross_validate)


def _run(validation: Validation, given: Mapping[str, Any]) -> int:
    from tqdm import tqdm

    from mlpgpu import folds, report
    from mlpgpu.callbacks import LambdaCallback
    from mlpgpu.data.used import sort_of
    from mlpgpu.trainer import Diverged

    console = report.console()
    say: Callable[..., None] = (lambda *_, **__: None) if validation.quiet else console.print
    bar = tqdm(unit="epoch", disable=validation.quiet or None, file=sys.stderr, leave=False)
    progress = _Progress(validation, say, bar)
    try:
        with bar, train.telling(say):
            found = folds.cross_validate(
                validation,
                validation.folds,
                [LambdaCallback(on_epoch_end=lambda *_: bar.update())],
                on_fold_begin=progress.begin,
                on_fold_end=progress.end,
            )
    except Diverged as error:
        train.complain(f"fold {progress.done + 1}: {error}")
        return train.DIVERGED
    missing = _write(progress.folder, found)
    if validation.json:
        console.out(as_json({**found.metrics, "out": str(progress.folder)}))
    else:
        mean = report.tested(found.mean)
        if found.signal:
            console.print(f"Stopped   after {len(found.folds)} of {validation.folds} folds", markup=False)
        console.print(f"Mean      {report.figures_in_words(mean, report.tested(found.std))}", markup=False)
        for table in report.tables(mean.get("targets", {}), found.confusion, found.folds[0].outcome.model.classes):
            console.print(table)
        for line in (*missing, f"Saved     {progress.folder}"):
            console.print(line, markup=False)
        if not found.signal:
            untested = "" if sort_of(validation.dataset or "mnist") == "mnist" else " --test-fraction 0"
            console.print(f"Train     a model to keep by {train.command(given)}{untested}", markup=False)
    diverged = [(number, fold.outcome.run) for number, fold in enumerate(found.folds, 1) if fold.outcome.run.diverged]
    if diverged:
        (number, run), *more = diverged
        also = f"; {len(more):,} folds more diverged" if more else ""
        train.complain(f"fold {number}: {run.diverged}; it was tested with the weights of epoch {run.best_epoch}{also}")
    return train.DIVERGED if diverged else train.SIGNALLED + found.signal if found.signal else 0


class _Progress:
    """Says how far it is, and writes the figures of the folds that are done: whatever ends the process, they are there.

    Attributes
    ----------
    folder : Path
        From the first fold on.
    done : int
    """

    folder: Path

    def __init__(self, validation: Validation, say: Callable[..., None], bar: tqdm) -> None:
        self.validation, self.say, self.bar, self.done = validation, say, bar, 0

    def begin(self, prepared: Prepared) -> None:
        """Say what is done, and move on to the next fold."""
        from mlpgpu import report

        if not self.done:
            self.folder = _created(self.validation.out, prepared.data.name)
            for part in report.opening(prepared, report.training_line(prepared)):
                self.say(part, markup=False)
            self.say(f"Folds     {self.validation.folds}; the rows above are those of the first", markup=False)
        self.bar.total = self.validation.folds * prepared.plan.epochs
        # A run that stopped early has left some out.
        self.bar.update(self.done * prepared.plan.epochs - self.bar.n)

    def end(self, found: CrossValidation) -> None:
        """Keep what was found so far, and say how good the last of the folds is."""
        from mlpgpu import run_folder

        self.done = len(found.folds)
        run_folder.write_metrics(self.folder, found.metrics)
        with self.bar.external_write_mode():
            self.say(_line(self.done, found.folds[-1].outcome), markup=False)


def _line(number: int, outcome: Outcome) -> str:
    from mlpgpu import report

    metrics, run = outcome.metrics, outcome.run
    of = f", weights of epoch {metrics['weights_of_epoch']}" if run.restored else ""
    why = run.diverged or (run.stopped and f"{run.stopped} in epoch {run.epoch}")
    return (
        f"Fold {number:<4} {report.figures_in_words(report.tested(metrics))} on {metrics['n_test']:,} rows; "
        f"{sum(metrics['epoch_seconds']):.1f} s{f'; {why}{of}' if why else ''}"
    )


def _created(out: str | None, name: str) -> Path:
    from mlpgpu import run_folder

    folder = out_folder(out, f"{Path(name).stem}-folds")
    if (folder / run_folder.CONFIG).exists():
        raise InputError(f"out is {folder}, which holds a run; choose another folder")
    return folder


def _write(folder: Path, found: CrossValidation) -> list[str]:
    """Write the figures, the predictions and their picture; in words, what to install for that."""
    import numpy as np

    from mlpgpu import plots, run_folder
    from mlpgpu.data import writing

    # Ctrl-C may have come while those of the last fold were written.
    run_folder.write_metrics(folder, found.metrics)
    model = found.folds[0].outcome.model
    truth, predictions = (model.labelled(numbers) for numbers in (found.truth, found.predictions))
    names = [f" {name}" for name in model.target_names] if predictions.ndim > 1 and predictions.shape[1] > 1 else [""]
    columns = [found.rows + 1, found.fold_of_row, truth, predictions]
    writing.write(
        folder / PREDICTIONS,
        ["row", "fold", *(f"{what}{name}" for what in ("true", "predicted") for name in names)],
        [np.column_stack([column.astype(object) for column in columns])],
    )
    if not plots.available():
        return [run_folder.NO_PICTURES]
    name = "test_accuracy" if model.classes else "test_r2"
    mean, std = found.mean[name], found.std[name]
    score = f"R² {in_words(mean, 3)} ± {in_words(std, 3)}"
    if model.classes:
        score = f"{mean:.2%} ± {std:.2%} of the rows right{' in all labels' if model.multilabel else ''}"
    subject = f"{found.metrics['dataset']}, {'-'.join(map(str, model.sizes))}, {len(found.folds)} folds"
    run_folder.draw_tested(folder, model, found.truth, found.predictions, found.confusion, title=f"{subject}: {score}")
    return []


def main() -> None:
    """Entry point of ``python -m mlpgpu.cross_validation``."""
    sys.exit(train.run_command(app))


if __name__ == "__main__":
    main()
