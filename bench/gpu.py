"""Compare mlpgpu with PyTorch, JAX and the matrix products alone on one GPU, and measure the limits of that GPU.

``python bench/gpu.py`` measures the limits first. Then all contestants train the same network from the same weights
with Adam, in turn, each in its own process, as an expert would write it: PyTorch with whole steps in CUDA graphs and
fused Adam, JAX as a scan with donated state. It prints microseconds per step, and ratios with their targets, and writes
``gpu-GPU.json`` and ``gpu-GPU.png``. ``--device cpu --tiny`` tests the benchmark itself without a GPU.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import output
from gpu.contestants import CONTESTANTS, ON_REQUEST
from gpu.picture import draw
from gpu.races import RACES, TOLERANCES, finding, judge, lines, verdicts
from peers.problem import Problem, save_images
from peers.rounds import Rounds

from mlpgpu import machine, plots
from mlpgpu.errors import InputError
from mlpgpu.files import write_json

# Timeouts in seconds for the answer of a contestant, without and with compilation.
PATIENCE, COMPILING = 90, 180
LIBRARIES = (*machine.CUPY, "torch", "jax")
ROWS, TINY_ROWS = 70_000, 10_000


def n_rows(given):
    """Return the number of rows per epoch."""
    return TINY_ROWS if given.tiny else ROWS


def ceilings(device):
    """Measure the limits of the device in a separate process; return them, or the reason for failure."""
    command = [sys.executable, "-m", "gpu.ceilings", device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"failed": f"it took more than {PATIENCE} s"}
    if done.returncode:
        sys.stderr.write(done.stderr)
        return {"failed": (done.stderr.strip().splitlines() or ["nothing said"])[-1]}
    return json.loads(done.stdout)


def shown(found):
    """Format the limits as lines."""
    if "failed" in found:
        yield f"Ceilings  not measured: {found['failed']}"
        return
    yield f"Copy      {found['copy_bytes_per_second'] / 1e9:,.0f} GB/s, read and written"
    for precision, rates in found["product_flop_per_second"].items():
        each = ", ".join(f"{shape} {rate / 1e12:.3g}" for shape, rate in rates.items())
        yield f"Products  {precision}, TFLOP/s: {each}"
    alone, inside = found["kernel_seconds"], found["kernel_in_a_graph_seconds"]
    yield f"Kernel    {1e6 * alone:.2f} us alone, {1e6 * inside:.2f} us in a graph"


def play(names, given, ends, write):
    """Run the races until the time is up, and return race -> results; call ``write(played)`` after each race."""
    played = {}
    contestants = {name: CONTESTANTS[name] for name in names}
    patience = COMPILING if "torch-compiled" in names else PATIENCE
    with tempfile.TemporaryDirectory() as folder:
        save_images(folder, n_rows(given))
        with Rounds(contestants, patience) as rounds:
            for i, race in enumerate(RACES):
                began = time.perf_counter()
                if began > ends:
                    break
                problem = Problem(folder, race.sizes, race.batch_size, given.rounds, 1, given.device, race.precision)
                # Divide the remaining time equally among this race and those after it.
                results = rounds.play(problem, race.names, began + (ends - began) / (len(RACES) - i))
                judge(results, TOLERANCES[race.precision])
                played[race.name] = results
                print(f"{race.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
                write(played)
    return played


def record(played, found, description, given):
    """Return all results as JSON types."""
    return {
        "device": given.device,
        "rows": n_rows(given),
        "machine": description,
        "ceilings": found,
        "reaches": [
            dict(zip(("ratio", "race", "measured", "reach", "verdict"), row, strict=True)) for row in verdicts(played)
        ],
        "races": [
            {
                **dataclasses.asdict(race),
                "contestants": {name: dataclasses.asdict(result) for name, result in played[race.name].items()},
            }
            for race in RACES
            if race.name in played
        ],
    }


def where(description, given):
    """Describe device, libraries and training in a line."""
    versions = [f"{name} {description['versions'][name]}" for name in LIBRARIES if name in description["versions"]]
    return ", ".join([machine.name_of(description, given.device), *versions, f"Adam, {n_rows(given):,} rows"])


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to see that it runs [default: cuda]")
    parser.add_argument("--rounds", type=int, default=7, help="maximum timed turns of each contestant [default: 7]")
    parser.add_argument("--minutes", type=float, default=4, help="time after which no round is started [default: 4]")
    parser.add_argument("--only", help=f"contestants [default: all but {', '.join(ON_REQUEST)}]")
    parser.add_argument("--tiny", action="store_true", help=f"{TINY_ROWS:,} rows in place of {ROWS:,}")
    output.add_argument(parser)
    given = parser.parse_args()
    names = given.only.split(",") if given.only else [name for name in CONTESTANTS if name not in ON_REQUEST]
    if unknown := [name for name in names if name not in CONTESTANTS]:
        parser.error(f"--only has {unknown[0]!r}; allowed: {', '.join(CONTESTANTS)}")
    if given.rounds < 1:
        parser.error("--rounds takes whole numbers from 1")
    return names, given


def main():
    """Measure, print and write the results."""
    names, given = read_arguments()
    ends = time.perf_counter() + 60 * given.minutes
    description = machine.describe()
    slug = machine.name_of(description, given.device)
    figures, picture = (given.out / f"gpu-{slug}{ending}" for ending in (".json", ".png"))
    found = ceilings(given.device)
    print("\n".join(shown(found)), flush=True)

    def write(played):
        write_json(record(played, found, description, given), figures)

    write({})
    try:
        played = play(names, given, ends, write)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"error: interrupted; what was measured is in {figures}")
    if plots.available():
        draw(played, n_rows(given), finding(played), where(description, given), picture)
    print("\n".join(["", *lines(played, n_rows(given)), "", f"Saved {figures}"]))


if __name__ == "__main__":
    main()
