"""How an experiment is run: its arguments, its progress, its report."""

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
    """What a run was asked for.

    Attributes
    ----------
    quick : bool
        Whether to show in a minute that all of it runs, with figures that say little.
    device : str
        To train on; see `mlpgpu.Config`.
    seeds : int or None
        Runs that differ in their seed alone; None for the experiment's own number.
    """

    quick: bool = False
    device: str = "cpu"
    seeds: int | None = None


class Progress:
    """A bar over everything that is to be done, with an estimate of the time left, on stderr.

    Parameters
    ----------
    seconds : float
        That all of it is expected to take; what counts is how long one part takes beside another.
    """

    def __init__(self, seconds: float) -> None:
        form = "{l_bar}{bar}| {elapsed} gone, about {remaining} left{postfix}"
        # Whole numbers, which add up to the whole.
        self._rest = round(1000 * seconds)
        self._bar = tqdm(total=self._rest, bar_format=form, file=sys.stderr, dynamic_ncols=True)

    def over(self, jobs: Iterable[Job], seconds: float, label: Callable[[Job], str] = str) -> Iterator[Job]:
        """The jobs in turn, which are expected to take `seconds` together."""
        each = list(jobs)
        for job in each:
            self._bar.set_postfix_str(label(job)[:40])
            yield job
            done = min(round(1000 * seconds / len(each)), self._rest)
            self._rest -= done
            self._bar.update(done)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes
    ----------
    name : str
        Of its module and its report.
    title : str
    run : callable
        ``run(given, report, progress)``.
    seconds, quick_seconds : float
        That a full and a quick run take on two cores: the shares of `Progress.over` add up to them.
    """

    name: str
    title: str
    run: Callable[[Given, Report, Progress], None]
    seconds: float
    quick_seconds: float

    def expected(self, given: Given) -> float:
        """Seconds that such a run takes."""
        return self.quick_seconds if given.quick else self.seconds


def main(*experiments: Experiment, description: str | None, command: str) -> None:
    """Run experiments as a command: read its arguments, run them in turn, write a report each.

    Parameters
    ----------
    experiments : Experiment
    description : str or None
        The first line of ``--help``.
    command : str
        After ``python -m``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute's version, which shows that it runs")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto [default: cpu]")
    parser.add_argument("--seeds", type=_count, help="runs that differ in their seed alone")
    parser.add_argument(
        "--out", type=Path, help="folder of the report [default: docs/experiments; of a quick run, a temporary one]"
    )
    read = parser.parse_args()
    given = Given(read.quick, read.device, read.seeds)
    folder = read.out or (Path(tempfile.mkdtemp(prefix="experiments-")) if given.quick else REPORTS)
    # A fit ends after the epochs that a report names.
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
    """A share as a number of per cent."""
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
