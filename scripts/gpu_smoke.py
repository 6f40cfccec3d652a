"""Run every check that needs a GPU, in at most eight minutes: ``python scripts/gpu_smoke.py``.

Prints one line per check as it completes and a table at the end, and writes ``gpu-smoke-GPU.json`` and, with
``--plot``, ``agreement-GPU.png``. The exit status is 1 if a check failed. ``--device cpu --tiny`` tests the checks
themselves on any machine in a minute; its results say nothing about a GPU.
"""

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# For running as a file; -m needs no change.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mlpgpu import machine, plots
from mlpgpu.errors import InputError
from mlpgpu.files import out_folder, write_json
from scripts.smoke import agreement, capture, libraries, memory, nets, opening, precision, runs, whole
from scripts.smoke.checks import FAILED, NOT_RUN, PASSED, Check, Row, run, table
from scripts.smoke.place import Place

# The most important checks come first, since time may run out.
MODULES = (opening, capture, agreement, whole, runs, memory, precision, libraries, nets)
CHECKS = tuple(check for module in MODULES for check in module.CHECKS)
RESULTS = Path(__file__).parents[1] / "bench" / "results"


def chosen(checks: Sequence[Check], words: Sequence[str]) -> list[Check]:
    """Return the checks whose names contain one of the words."""
    return [check for check in checks if any(word in check.name for word in words)]


# Description by this process, if the check that opens the device gives none.
_machine = functools.cache(machine.describe)


def record(rows: Sequence[Row], place: Place, seconds: float) -> dict[str, Any]:
    """Return all results as JSON types."""
    found = {row.check: row.details for row in rows}.get("device opens", {})
    return {
        "device": place.device,
        "tiny": place.tiny,
        "backend": found.get("backend"),
        "seconds": round(seconds, 1),
        "machine": found.get("machine") or _machine(),
        "checks": [vars(row) | {"details": {} if row.check == "device opens" else row.details} for row in rows],
    }


def write(found: dict[str, Any], folder: Path) -> str:
    """Write a record to its file, and return the name of the device, the last part of the file's name."""
    name = machine.name_of(found["machine"], found["device"])
    write_json(found, folder / f"gpu-smoke-{name}.json")
    return name


def summary(rows: Sequence[Row], seconds: float) -> str:
    """Return a line with the number of checks by result."""
    counts = [f"{sum(row.result == result for row in rows)} {result}" for result in (PASSED, FAILED, NOT_RUN)]
    return f"{', '.join(counts)}; {seconds:.0f} s"


def where_seconds_go(rows: Sequence[Row]) -> list[str]:
    """Return a line with the phases of the command's run, if that check was run."""
    parts = {row.check: row.details for row in rows}.get("command to trained", {}).get("parts")
    return [f"command to trained: {', '.join(f'{part} {took:.2f} s' for part, took in parts.items())}"] if parts else []


def main() -> int:
    """Run the checks, print their results and write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for stand-ins [default: cuda]")
    parser.add_argument("--tiny", action="store_true", help="the digits of scikit-learn in place of MNIST")
    parser.add_argument("--minutes", type=float, default=8, help="time limit of all checks [default: 8]")
    parser.add_argument("--only", help="checks whose names contain one of these words: capture,float64")
    parser.add_argument("--plot", action="store_true", help="plot the differences of the losses")
    parser.add_argument("--out", type=Path, help="folder to write [default: bench/results; of --tiny, a temporary one]")
    given = parser.parse_args()
    words = [""] if given.only is None else given.only.split(",")
    # A word that selects no check must not look like success.
    if unknown := [word for word in words if not chosen(CHECKS, [word])]:
        parser.error(f"--only has {unknown[0]!r}; allowed: parts of {', '.join(check.name for check in CHECKS)}")
    place, checks = Place(given.device, given.tiny), chosen(CHECKS, words)
    try:
        folder = out_folder(given.out or (tempfile.mkdtemp(prefix="gpu-smoke-") if given.tiny else RESULTS), "smoke")
    except InputError as error:
        parser.error(str(error))
    began, rows = time.perf_counter(), []
    try:
        for row in run(checks, place, 60 * given.minutes):
            rows.append(row)
            print(
                f"[{len(rows)}/{len(checks)}] {row.seconds:5.1f} s  {row.check}: {row.result}, {row.figure}", flush=True
            )
            # Written after each check, so that results survive the end of this process.
            write(record(rows, place, time.perf_counter() - began), folder)
    except KeyboardInterrupt:
        rows += [Row(check.name, NOT_RUN, "interrupted", check.wanted) for check in checks[len(rows) :]]
    seconds = time.perf_counter() - began
    found = record(rows, place, seconds)
    name = write(found, folder)
    if given.plot:
        _plot(rows, found, folder / f"agreement-{name}.png")
    print("\n" + "\n".join(table(rows)))
    for line in (*where_seconds_go(rows), f"{summary(rows, seconds)}; written to {folder}"):
        print(line)
    return int(any(row.result == FAILED for row in rows))


def _plot(rows: Sequence[Row], found: dict[str, Any], path: Path) -> None:
    drawn = {row.check: row.details for row in rows if row.check in agreement.PANELS and row.details}
    if drawn and plots.available():
        settings = "the digits, batch 20" if found["tiny"] else "784-128-10 on MNIST, batch 200"
        agreement.draw(drawn, f"{found['backend']}; {settings}, Adam, one epoch", path)


if __name__ == "__main__":
    sys.exit(main())
