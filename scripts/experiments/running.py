"""Running an experiment: its arguments, its progress, its report."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from mlpgpu.errors import InputError
from scripts.experiments.report import Report

Job = TypeVar("Job")
REPORTS = Path(__file__).parents[2] / "docs" / "experiments"


@dataclass(frozen=True)
class Given:
    """Arguments of a run.

    Attributes
    ----------
    quick : bool
        Whether to only show that everything runs, in a minute and with meaningless figures.
    device : str
        Device to train on; see `mlpgpu.Config`.
    seeds : int or None
        Number of runs that differ only in their seed; None for the default of the experiment.
    """

    quick: bool = False
    device: str = "cpu"
    seeds: int | None = None


class Progress:
    """Progress bar over all jobs, with an estimate of the remaining time, on stderr.

    Parameters
    ----------
    seconds : float
        Expected total duration. Only the ratios of the durations of its parts matter.
    """

    def __init__(self, seconds: float) -> None:
        form = "{l_bar}{bar}| {elapsed} gone, about {remaining} left{postfix}"
        # Integers, so that the parts add up to the total exactly.
        self._rest = round(1000 * seconds)
        self._bar = tqdm(total=self._rest, bar_format=form, file=sys.stderr, dynamic_ncols=True)

    def over(self, jobs: Iterable[Job], seconds: float, label: Callable[[Job], str] = str) -> Iterator[Job]:
        """Yield the jobs in turn, which are expected to take `seconds` in total."""
        each = list(jobs)
        for job in each:
            self._bar.set_postfix_str(label(job)[:40])
            yield job
            done = min(round(1000 * seconds / len(each)), self._rest)
            self._rest -= done
            self._bar.update(done)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes
    ----------
    name : str
        Name of its module and of its report.
    title : str
    run : callable
        Called as ``run(given, report, progress)``.
    seconds, quick_seconds : float
        Durations of a full and a quick run on two cores; those given to `Progress.over` add up to them.
    """

    name: str
    title: str
    run: Callable[[Given, Report, Progress], None]
    seconds: float
    quick_seconds: float

    def expected(self, given: Given) -> float:
        """Return the expected duration in seconds."""
        return self.quick_seconds if given.quick else self.seconds


def main(*experiments: Experiment, description: str | None) -> None:
    """Run experiments as a command: parse its arguments, run them in turn, write one report per experiment.

    Parameters
    ----------
    experiments : Experiment
    description : str or None
        The first line of ``--help``.
    """
    only = f".{experiments[0].name}" if len(experiments) == 1 else ""
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.experiments{only}", description=(description or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a minute's version, which shows that it runs")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto [default: cpu]")
    parser.add_argument("--seeds", type=_count, help="runs that differ in their seed alone")
    parser.add_argument(
        "--out", type=Path, help="folder of the report [default: docs/experiments; of a quick run, a temporary one]"
    )
    read = parser.parse_args()
    given = Given(read.quick, read.device, read.seeds)
    folder = read.out or (Path(tempfile.mkdtemp(prefix="experiments-")) if given.quick else REPORTS)
    # Fits end after a fixed number of epochs, as their reports say.
    warnings.simplefilter("ignore", ConvergenceWarning)
    progress = Progress(sum(experiment.expected(given) for experiment in experiments))
    written = []
    try:
        for experiment in experiments:
            began = time.perf_counter()
            report = Report(experiment.title, experiment.name, folder)
            experiment.run(given, report, progress)
            shown = ["python -m", f"scripts.experiments.{experiment.name}", *_shown(given)]
            written.append(report.write(" ".join(shown), time.perf_counter() - began))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    finally:
        progress.close()
    print("\n".join(f"Saved {path}" for path in written))


def percent(share: float, digits: int = 2) -> str:
    """Format a fraction as a percentage."""
    return f"{100 * share:.{digits}f} %"


def _shown(given: Given) -> Sequence[str]:
    seeds = [] if given.seeds is None else [f"--seeds {given.seeds}"]
    device = [] if given.device == "cpu" else [f"--device {given.device}"]
    return [*(["--quick"] if given.quick else []), *device, *seeds]


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of runs; give 1 or more")
    return number
