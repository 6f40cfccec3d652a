"""Measure peak memory and cost of training on a file that is larger than the memory allowed.

``python bench/larger_than_memory.py`` writes shifted and noisy copies of MNIST's images to a .npy file of 4.2 GB, and
trains one epoch on it by the command, memory-mapped, with at most 1 GB of allocated memory (``RLIMIT_DATA``, which does
not count mapped files) and none of the file in the page cache at the start. In turn with it, a tenth of the rows is
trained on in memory and memory-mapped. Then MNIST sorted by label is trained on in more and less shuffled orders. Runs
on Linux; needs MNIST and disk space for the file.
"""

import argparse
import dataclasses
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import output
from alone import alone

from mlpgpu.files import write_json

ROWS, LIMIT = 5_400_000, 10**9
SETTINGS = ("--epochs", "1", "--device", "cpu", "--json", "--quiet")
# (blocks per window, rows per block), with 64 windows per epoch, as for 4.2 GB. Without blocks, all rows are shuffled,
# or with 0 rows none.
ORDERS = ((None, 1), (256, 3), (64, 13), (16, 53), (4, 211), (None, 0))
EPOCHS, SEEDS = 5, (0, 1, 2)


def write(folder, rows):
    """Write ``x.npy`` and ``y.npy``: MNIST's training images, shifted by up to two pixels, with 2 % noise pixels."""
    import numpy as np

    from mlpgpu.data import load
    from mlpgpu.settings.config import Config

    data = load(Config(dataset="mnist", validation_fraction=0))
    images, labels = data.x_train.reshape(-1, 28, 28), data.y_train.astype(np.uint8)
    moved = np.lib.stride_tricks.sliding_window_view(np.pad(images, ((0, 0), (2, 2), (2, 2))), (28, 28), axis=(1, 2))
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (rows, 28, 28))
    y = np.empty(rows, np.uint8)
    for start in range(0, rows, 20_000):
        which = rng.integers(len(images), size=min(20_000, rows - start))
        part = moved[which, rng.integers(5, size=len(which)), rng.integers(5, size=len(which))]
        noisy = rng.random(part.shape, np.float32) < 0.02
        part[noisy] = rng.integers(0, 256, size=np.count_nonzero(noisy))
        x[start : start + len(which)], y[start : start + len(which)] = part, labels[which]
    x.flush()
    np.save(folder / "y.npy", y)


def train(folder, memory_map, limit=None):
    """Run the command; return its results, the peak memory of its process, and the accuracy on MNIST's test images."""
    x, run = folder / "x.npy", folder / f"run-{memory_map}"
    with x.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-m", "mlpgpu.train", "--dataset", x, "--target", folder / "y.npy", *SETTINGS]
    bounded = None if limit is None else partial(resource.setrlimit, resource.RLIMIT_DATA, (limit, limit))
    process = subprocess.Popen(
        [*command, "--memory-map", memory_map, "--run-dir", run], stdout=subprocess.PIPE, preexec_fn=bounded
    )
    lines = process.stdout.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the run with memory_map {memory_map} failed")
    metrics = json.loads(lines[-1])
    tested = subprocess.run(
        [sys.executable, "-m", "mlpgpu.evaluate", run, "mnist", "--json"], stdout=subprocess.PIPE, check=True
    )
    shutil.rmtree(run)
    return {
        "rows": sum(metrics[f"n_{part}"] for part in ("train", "validation", "test")),
        "memory_map": memory_map,
        "limit_bytes": limit,
        "file_bytes": x.stat().st_size,
        "peak_bytes": used.ru_maxrss * 1024,
        "epoch_seconds": metrics["epoch_seconds"][0],
        "samples_per_second": metrics["samples_per_second"],
        "test_accuracy": metrics["test_accuracy"],
        "mnist_test_accuracy": json.loads(tested.stdout)["accuracy"],
    }


def sorted_by_label(blocks, rows, seed):
    """Train on MNIST with the rows sorted by class, shuffled by these blocks, and return the test accuracy."""
    import numpy as np

    from mlpgpu.data import batches
    from mlpgpu.settings.config import Config
    from mlpgpu.workflow import prepare, train_and_test

    prepared = prepare(Config(dataset="mnist", epochs=EPOCHS, seed=seed, device="cpu", shuffle=rows > 0))
    train, plan = prepared.train, prepared.plan
    ascending = np.argsort(train.targets, kind="stable")
    train = dataclasses.replace(train, x=train.x[ascending], targets=train.targets[ascending])
    if blocks:
        batches.WINDOW = blocks
        n_rows = len(train)
        plan = dataclasses.replace(plan, order=lambda epoch: batches.order(n_rows, seed=seed, epoch=epoch, block=rows))
    return train_and_test(dataclasses.replace(prepared, train=train, plan=plan)).metrics["test_accuracy"]


HEAD = """\
| rows | file, MB | rows are | peak memory, MB | epoch, s | samples/s | accuracy on MNIST's test images |
| --- | --- | --- | --- | --- | --- | --- |"""


def row(run):
    """Format a row of the table."""
    limit = f", of at most {run['limit_bytes'] / 1e6:,.0f}" if run["limit_bytes"] else ""
    cells = (
        f"{run['rows']:,}",
        f"{run['file_bytes'] / 1e6:,.0f}",
        "memory-mapped" if run["memory_map"] == "always" else "in memory",
        f"{run['peak_bytes'] / 1e6:,.0f}{limit}",
        f"{run['epoch_seconds']:.1f}",
        f"{run['samples_per_second']:,.0f}",
        f"{run['mnist_test_accuracy']:.2%}",
    )
    return f"| {' | '.join(cells)} |"


def order_row(blocks, rows, accuracies):
    """Format a row of the table of orders."""
    name = f"{blocks} blocks of {rows} rows per window" if blocks else "all rows shuffled" if rows else "not shuffled"
    low, high = min(accuracies), max(accuracies)
    return f"| {name} | {statistics.median(accuracies):.2%} ({low:.2%} to {high:.2%}) |"


def main():
    """Measure, and write ``larger-than-memory.json``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the file is written, and removed [default: a temporary one]")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of 784 bytes [default: {ROWS:,}]")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each run [default: 3]")
    output.add_argument(parser)
    given = parser.parse_args()
    runs = []
    print(HEAD)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        for path, rows in ((small, given.rows // 10), (large, given.rows)):
            path.mkdir()
            alone(write, path, rows)
        # In turn, so that other load on the machine affects all of them.
        for _ in range(given.rounds):
            for path, memory_map, limit in ((small, "never", None), (small, "always", None), (large, "always", LIMIT)):
                runs.append(train(path, memory_map, limit))
                print(row(runs[-1]), flush=True)
    print("\n| order of MNIST sorted by label | test accuracy, median of three seeds |\n| --- | --- |")
    orders = []
    for blocks, rows in ORDERS:
        accuracies = [alone(sorted_by_label, blocks, rows, seed) for seed in SEEDS]
        orders.append({"blocks": blocks, "rows": rows, "test_accuracy": accuracies})
        print(order_row(blocks, rows, accuracies), flush=True)

    from mlpgpu.machine import describe

    figures = {"runs": runs, "epochs": EPOCHS, "orders": orders, "machine": describe()}
    write_json(figures, given.out / "larger-than-memory.json")


if __name__ == "__main__":
    main()
