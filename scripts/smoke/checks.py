"""Run checks one after another in separate processes, so that no failure stops the others."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from textwrap import shorten
from typing import Any, NamedTuple
from unittest import mock

from mlpgpu.errors import one_line
from scripts.smoke.place import Place

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
# Timeouts in seconds for a process to start, and to exit.
START_TIMEOUT, EXIT_TIMEOUT = 60, 5
# Fraction of the time limit of a check after which its process prints where it is, while it still can.
PRINTS_AFTER = 0.9
# Maximum width of a figure in the table, in characters.
MAX_WIDTH = 84


class NotHere(Exception):
    """Raised by a check that does not apply to this machine; the message says why."""


@dataclass(frozen=True)
class Found:
    """Outcome of a check.

    Attributes
    ----------
    figure : str
        Short description of the measurement.
    good : bool
        Whether the check passed.
    details : dict
        All measurements, as JSON types.
    """

    figure: str
    good: bool
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name, wanted : str
        Name and criterion, for the table.
    run : callable
        ``run(place) -> Found``, a function that can be pickled.
    seconds : float
        Time limit.
    process : str
        Consecutive checks with the same word share a process, and so its loaded libraries.
    """

    name: str
    wanted: str
    run: Callable[[Place], Found]
    seconds: float
    process: str = "cupy"


@dataclass(frozen=True)
class Row:
    """Result of a check, as a row of the table."""

    check: str
    result: str
    figure: str
    wanted: str
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


def run(checks: Sequence[Check], place: Place, seconds: float) -> Iterator[Row]:
    """Run checks, and yield the row of each as it completes.

    A check that raises, exceeds its time limit or crashes its process has failed. The next check then gets a new
    process, since the device may be in an unusable state.

    Parameters
    ----------
    checks : sequence of Check
    place : Place
    seconds : float
        Time limit for all checks. A check whose own limit exceeds the remaining time is not run.
    """
    ends, worker = time.perf_counter() + seconds, None
    try:
        for check in checks:
            began = time.perf_counter()
            if check.seconds > ends - began:
                left = max(ends - began, 0)
                yield Row(check.name, NOT_RUN, f"may take {check.seconds:g} s, {left:.0f} s left", check.wanted)
                continue
            if worker is None or worker.process_of != check.process:
                if worker is not None:
                    worker.leave()
                worker = _Worker(check.process, place)
            answer = worker.ask(check)
            if not answer.sound:
                worker.kill()
                worker = None
            took = round(time.perf_counter() - began, 2)
            yield Row(check.name, answer.result, answer.figure, check.wanted, took, answer.details)
    finally:
        if worker is not None:
            worker.leave()


class _Answer(NamedTuple):
    """Answer of a process to a check; `sound` tells whether the process can run another."""

    result: str
    figure: str
    details: dict[str, Any]
    sound: bool


def _failed(why: str) -> _Answer:
    return _Answer(FAILED, why, {}, sound=False)


class _Worker:
    """A process that runs one check after another."""

    def __init__(self, process_of: str, place: Place) -> None:
        self.process_of = process_of
        # A forked process would inherit threads and a device context that do not work in it.
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, place), daemon=True)
        with mock.patch.dict(os.environ, place.environment):
            self._process.start()
        other.close()
        self._ready = False

    def ask(self, check: Check) -> _Answer:
        """Run a check, and return the answer, or the reason why there is none."""
        try:
            if not self._ready:
                if not self._end.poll(START_TIMEOUT):
                    return _failed(f"its process was not ready in {START_TIMEOUT} s")
                self._ready = self._end.recv()
            self._end.send(check)
            if self._end.poll(check.seconds):
                return self._end.recv()
        except (EOFError, OSError):
            self._process.join(EXIT_TIMEOUT)
            return _failed(f"its process ended with {self._process.exitcode}")
        return _failed(f"took more than {check.seconds:g} s")

    def leave(self) -> None:
        self._end.close()
        self._process.join(EXIT_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _work(end: Connection, place: Place) -> None:
    """Answer checks until the pipe is closed."""
    # Prints where a crash happens.
    faulthandler.enable()
    end.send(True)
    while True:
        try:
            check = end.recv()
        except EOFError:
            return
        faulthandler.dump_traceback_later(PRINTS_AFTER * check.seconds)
        try:
            found = check.run(place)
            answer = _Answer(PASSED if found.good else FAILED, found.figure, found.details, sound=True)
        except NotHere as why:
            answer = _Answer(NOT_RUN, str(why), {}, sound=True)
        except BaseException as error:  # no error may stop the other checks
            traceback.print_exc()
            answer = _failed(f"{type(error).__name__}: {one_line(error)[:200]}")
        faulthandler.cancel_dump_traceback_later()
        end.send(answer)


def table(rows: Sequence[Row]) -> list[str]:
    """Format the rows as aligned lines under a heading, with long figures shortened."""
    shown = (replace(row, figure=shorten(row.figure, MAX_WIDTH, placeholder=" ...")) for row in rows)
    cells = [("check", "result", "figure", "wanted"), *((r.check, r.result, r.figure, r.wanted) for r in shown)]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in cells
    ]
