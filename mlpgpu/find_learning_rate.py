"""The command that suggests a learning rate: ``python -m mlpgpu.find_learning_rate``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlpgpu.command_line import (
    DIVERGED,
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
from mlpgpu.files import check_out, expanded
from mlpgpu.settings.config import settings
from mlpgpu.settings.config_file import read_file
from mlpgpu.settings.search import FLAGS, Search

if TYPE_CHECKING:
    from mlpgpu.prepared import Prepared
    from mlpgpu.training.learning_rates import RangeTest


app = application("find-learning-rate")


@app.default
@with_flags(FLAGS, config="TOML or YAML file with settings, such as config.toml of a run")
def find_learning_rate(**given: Any) -> int:
    """Train for some steps while the learning rate rises from tiny to large, and see where the loss falls fastest.

    Prints the rate to use for a run with the same settings.
    Settings in --config that have no flag here, such as epochs, are those of that run, and do not change the search.
    """
    from tqdm import tqdm

    from mlpgpu import plots
    from mlpgpu.prepared import prepare
    from mlpgpu.results import report
    from mlpgpu.training.device_failure import explained
    from mlpgpu.training.feed import Scaled
    from mlpgpu.training.learning_rates import NotFinite, range_test

    # Both read --config, which may be gone when the search ends. All its settings are checked, for the run has them.
    search, to_train = Search(**with_file(given, settings(Search))), train_command(_of_training(given))
    out = None if search.out is None else expanded(search.out)
    if out is not None:
        check_out(out)
        if not plots.available():
            raise InputError(f"{plots.NO_PICTURES}, or leave out --out")
    # This refuses a run that would not fit in memory: it would have no use for a learning rate.
    prepared = prepare(search)
    backend, data, console = prepared.backend, prepared.data, report.Output(results_only=search.quiet)
    plan = dataclasses.replace(prepared.plan, epochs=-(-search.steps // prepared.plan.steps_per_epoch))
    console.say(*report.opening(prepared, _line(prepared, search)))

    bar = tqdm(total=search.steps, unit="step", disable=search.quiet or None, file=sys.stderr, leave=False)
    try:
        with bar, telling(console.say), explained(backend, plan, prepared.need):
            found = range_test(
                backend,
                plan,
                prepared.train,
                Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype),
                low=search.low,
                high=search.high,
                steps=search.steps,
                beside=prepared.need.beside,
                tell=lambda done: bar.update(done - bar.n),
            )
    except NotFinite as error:
        complain(f"{error}; scale the inputs, such as by --scale standard")
        return DIVERGED
    if out is not None:
        found.plot(out)
    if search.json:
        print_json(_figures(prepared, search, found))
        return 0
    console.show(*_result_lines(search, found, to_train))
    if out is not None:
        console.show(f"Saved     {out}")
    return 0


def _of_training(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a command to train repeats: flags, and the file, or its settings if it also has those of a search."""
    file = read_file(given["config"], FLAGS) if "config" in given else {}
    if file.keys() <= settings().keys():
        return dict(given)
    return {name: value for name, value in (file | dict(given)).items() if name not in {"config", "learning_rate"}}


def _line(prepared: Prepared, search: Search) -> str:
    """Return the line that describes the search."""
    plan = prepared.plan
    return (
        f"Search    {search.steps:,} steps of {counted(plan.batch_size, 'row')}, learning rate from {search.low:g} to "
        f"{search.high:g}: loss {plan.loss}, {search.optimizer}"
    )


def _result_lines(search: Search, found: RangeTest, command: str) -> list[str]:
    """Return the result in words, with the command that uses it."""
    diverged = len(found.rates) < search.steps
    if found.suggested is not None:
        lines = [f"Suggested {found.suggested:.2g}; {command} --learning-rate {found.suggested:.2g}"]
    elif diverged:
        lines = ["Suggested none: the loss diverges before it falls; lower --low, or raise --steps"]
    else:
        lines = ["Suggested none: the loss falls by no more than its noise; raise --high or --steps"]
    if diverged:
        lines.insert(
            0, f"Diverged  at a learning rate of {found.rates[-1]:.2g}, after {counted(len(found.rates), 'step')}"
        )
    return lines


def _figures(prepared: Prepared, search: Search, found: RangeTest) -> dict[str, Any]:
    return {
        "dataset": prepared.data.name,
        "n_train": len(prepared.train),
        "device": prepared.backend.device,
        "dtype": prepared.plan.dtype,
        "optimizer": search.optimizer,
        "batch_size": prepared.plan.batch_size,
        "suggested": found.suggested,
        "diverged": len(found.rates) < search.steps,
        "rates": found.rates.tolist(),
        "losses": found.losses.tolist(),
        "out": search.out,
    }


if __name__ == "__main__":
    sys.exit(run_command(app))
