"""Compare mlpgpu with scikit-learn, PyTorch, JAX and Keras on this CPU, and with the matrix products alone.

``python bench/peers.py`` trains the same network with each from the same weights on the same rows in the same order,
with Adam in float32, in turn, each in its own process; and times MLPClassifier.fit of scikit-learn and of mlpgpu. It
prints medians, ranges and ratios, and writes ``peers-CPU.json`` and ``peers-CPU.png``.
"""

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import time
from importlib import metadata

import output
from peers import figures
from peers.contestants import CONTESTANTS
from peers.picture import draw
from peers.problem import Problem, save_images
from peers.rounds import Rounds

from mlpgpu import machine, plots
from mlpgpu.errors import InputError
from mlpgpu.files import write_json

BATCH_SIZES, HIDDEN = (32, 200, 1024, 8192), (128,)
WIDE, WIDE_BATCH_SIZE = (1024, 1024), 200
# A short fit; scikit-learn's default maximum is 200.
FIT_EPOCHS = 30


def problems(folder, given):
    """Return the problems in the order of training."""
    rounds, fit_epochs = given.rounds, 2 if given.quick else FIT_EPOCHS
    found = [Problem(folder, (784, *HIDDEN, 10), size, rounds, fit_epochs) for size in given.batch_sizes]
    if given.wide:
        # Each epoch takes many times as long as the others.
        found.append(Problem(folder, (784, *WIDE, 10), WIDE_BATCH_SIZE, min(rounds, 3), fit_epochs=2))
    return [dataclasses.replace(problem, normalization=given.normalization) for problem in found]


def play(names, given):
    """Run all problems; return [(problem, results), ...] and the largest relative loss difference that is accepted."""
    played, farthest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        save_images(folder)
        with Rounds({name: CONTESTANTS[name] for name in names}) as rounds:
            for problem in problems(folder, given):
                began = time.perf_counter()
                results = rounds.play(problem)
                farthest = max(farthest, figures.judge(results))
                played.append((problem, results))
                print(f"{problem.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return played, farthest


def record(played, farthest, description):
    """Return all results as JSON types."""
    # Keras is the only contestant that `describe` does not list.
    with contextlib.suppress(metadata.PackageNotFoundError):
        description["versions"]["keras"] = metadata.version("keras")
    return {
        "finding": figures.finding(played),
        "machine": description,
        "tolerance": figures.TOLERANCE,
        "farthest_loss": farthest,
        "problems": [
            {
                "name": problem.name,
                "sizes": problem.sizes,
                "batch_size": problem.batch_size,
                "fit_epochs": problem.fit_epochs,
                "contestants": {name: dataclasses.asdict(result) for name, result in results.items()},
            }
            for problem, results in played
        ],
    }


def where(description):
    """Describe the machine in a line."""
    blas = ", ".join(sorted({f"{pool['internal_api']} {pool['architecture'] or ''}" for pool in description["blas"]}))
    versions = description["versions"]
    return (
        f"{description['cpu']}, {description['cores']} cores, NumPy {versions['numpy']} ({blas.strip()}), "
        "float32, Adam, 70,000 rows"
    )


def numbers(text):
    """Parse ``32,200`` as a tuple."""
    return tuple(int(number) for number in text.split(","))


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of each contestant [default: 5]")
    parser.add_argument("--batch-sizes", type=numbers, default=BATCH_SIZES, help="[default: 32,200,1024,8192]")
    parser.add_argument("--no-wide", dest="wide", action="store_false", help="without 784-1024-1024-10")
    parser.add_argument(
        "--normalization", choices=("none", "batch"), default="none", help="of the hidden layers [default: none]"
    )
    parser.add_argument("--only", help=f"contestants [default: {','.join(CONTESTANTS)}, if they normalise as asked]")
    output.add_argument(parser)
    parser.add_argument("--name", default="peers", help="prefix of the file names [default: %(default)s]")
    parser.add_argument("--quick", action="store_true", help="one network, batch 200, two rounds")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.batch_sizes, given.wide = 2, (200,), False
    able = [name for name, each in CONTESTANTS.items() if each.normalizes or given.normalization == "none"]
    names = list(dict.fromkeys(given.only.split(","))) if given.only else able
    if unknown := [name for name in names if name not in CONTESTANTS]:
        parser.error(f"--only has {unknown[0]!r}; allowed: {', '.join(CONTESTANTS)}")
    if unable := [name for name in names if name not in able]:
        parser.error(f"--only has {unable[0]!r}; allowed with --normalization batch: {', '.join(able)}")
    if given.rounds < 1 or min(given.batch_sizes) < 1:
        parser.error("--rounds and --batch-sizes take whole numbers from 1")
    return names, given


def main():
    """Measure, print and write the results."""
    names, given = read_arguments()
    description = machine.describe()
    for warning in machine.warnings(description, machine.load()):
        print(f"warning: {warning}", file=sys.stderr)
    try:
        played, farthest = play(names, given)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    print(f"{figures.finding(played)}.\n\n{where(description)}\n")
    print("\n".join(figures.tables(played)))
    print(f"\nThe losses of the counted contestants are within {farthest:.2%} of the peers' median loss.")
    slug = machine.name_of(description, "cpu")
    found, picture = (given.out / f"{given.name}-{slug}{ending}" for ending in (".json", ".png"))
    write_json(record(played, farthest, description), found)
    print(f"\nSaved {found}")
    if plots.available():
        draw(played, where(description), picture)
        print(f"Saved {picture}")
    else:
        print(plots.NO_PICTURES)


if __name__ == "__main__":
    main()
