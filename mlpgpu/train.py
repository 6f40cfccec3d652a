"""Train a multilayer perceptron: ``python -m mlpgpu.train``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
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
    with_file,
    with_flags,
)
from mlpgpu.errors import InputError
from mlpgpu.files import expanded
from mlpgpu.settings.config import Config, settings
from mlpgpu.settings.config_file import read_file
from mlpgpu.settings.resumed import as_saved

if TYPE_CHECKING:
    from mlpgpu.prepared import Prepared
    from mlpgpu.training.checkpoint import Checkpoint

app = application("train")


@app.default
@with_flags(
    settings(),
    config="TOML or YAML file with settings",
    resume="run folder, or one of its checkpoints, to resume from",
)
def train(**given: Any) -> int:
    """Train a multilayer perceptron, test it, and write a run folder.

    Flags override the settings in --config, which override the defaults.
    A run resumed with --resume keeps its settings.
    """
    from mlpgpu.callbacks.trackers import check_installed
    from mlpgpu.prepared import prepare
    from mlpgpu.results import run_folder

    resume = given.pop("resume", None)
    if resume is None:
        config = Config(**with_file(given, settings()))
        check_installed(config.log_to)
        prepared = prepare(config)
        # A run that repeats these settings needs its own folder.
        repeatable = dataclasses.replace(prepared.config, run_dir=None).to_dict()
        with run_folder.new(run_folder.RUN, config.run_dir, prepared.data.name, repeatable) as folder:
            return _run(prepared, folder)
    if "config" in given or "run_dir" in given:
        raise InputError("resume brings the settings and the folder of its run; leave out config and run_dir")
    path, folder = expanded(resume), run_folder.begun(resume, run_folder.RUN)
    if path == folder and run_folder.is_complete(folder):
        if as_saved(Config, read_file(folder / run_folder.RUN.file), given).json:
            print_json(run_folder.read_metrics(folder), run_dir=folder)
        else:
            print(  # noqa: T201
                f"Complete  the run in {resume} is finished, and its results are there; to train on from its weights, "
                f"start a new run with --start-from {shlex.quote(resume)}"
            )
        return 0
    with run_folder.again(folder, path) as (saved, checkpoint):
        config = as_saved(Config, saved, given)
        check_installed(config.log_to)
        return _run(prepare(config, checkpoint), folder, checkpoint)


def _run(prepared: Prepared, folder: Path, checkpoint: Checkpoint | None = None) -> int:
    from mlpgpu.callbacks import Callback, CSVLogger, JSONLogger, MLflowLogger, RunCheckpoint, TensorBoard
    from mlpgpu.callbacks.progress import EpochLines, ProgressBar
    from mlpgpu.results import report, run_folder
    from mlpgpu.training.run import Diverged
    from mlpgpu.workflow import train_and_test

    config = prepared.config
    console = report.Output(results_only=config.quiet)
    console.say(*report.opening(prepared, report.training_line(prepared), resumed=checkpoint is not None))

    callbacks: list[Callback] = [
        CSVLogger(folder / run_folder.HISTORY),
        JSONLogger(folder / run_folder.HISTORY_LINES),
    ]
    if "tensorboard" in config.log_to:
        callbacks.append(TensorBoard(folder / run_folder.TENSORBOARD))
    if "mlflow" in config.log_to:
        callbacks.append(MLflowLogger(run_name=folder.name))
    if not config.quiet:
        callbacks.append(ProgressBar() if console.is_terminal else EpochLines(config.log_every, console.out))
    callbacks.append(RunCheckpoint(folder / run_folder.CHECKPOINTS, config.checkpoint_every))
    if checkpoint is not None:
        console.say(f"Resumed   after {checkpoint.where()} of {folder}")
    try:
        with telling(console.say):
            outcome = train_and_test(prepared, callbacks, resume=checkpoint)
    except Diverged as error:
        complain(f"{error}; its history is in {folder}")
        return DIVERGED
    missing = run_folder.write(folder, outcome)
    if config.json:
        print_json(outcome.metrics, run_dir=folder)
    else:
        targets = outcome.metrics.get("test_targets", {})
        console.show(
            *report.result_lines(outcome),
            *report.tables(targets, outcome.confusion, outcome.model.classes),
            *missing,
            f"Saved     {folder}",
        )
        if outcome.run.stopped and not outcome.run.final:
            console.show(f"Resume    go on with it by {run_folder.RUN.resuming(folder)}")
    if outcome.run.diverged:
        complain(f"{outcome.run.diverged}; the weights of epoch {outcome.run.best_epoch} are in {folder}")
        return DIVERGED
    return SIGNALLED + outcome.run.signal if outcome.run.signal else 0


if __name__ == "__main__":
    sys.exit(run_command(app))
