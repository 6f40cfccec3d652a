"""Measure how time and memory of an epoch grow with width, depth and rows, compared with their lower bounds.

``python bench/scaling.py`` varies one of the three at a time, around 784-256-256-10 on 70,000 rows, with batches of
200 rows, Adam and float32 on the CPU. Each point runs in its own process, to measure its peak memory.
"""

import argparse
import itertools
import statistics
import sys
from time import perf_counter

import output
from alone import alone

from mlpgpu.files import write_json

BASE = {"width": 256, "depth": 2, "rows": 70_000}
BATCH_SIZE, FEATURES, CLASSES = 200, 784, 10
FULL = {
    "width": (32, 64, 128, 256, 512, 1024, 2048, 4096),
    "depth": (1, 2, 4, 8, 16),
    "rows": (1_000, 3_000, 10_000, 30_000, 70_000, 300_000, 1_000_000),
}
QUICK = {"width": (32, 256, 1024), "depth": (1, 2, 16), "rows": (1_000, 70_000, 1_000_000)}
NAMES = {"width": "units", "depth": "layers", "rows": "rows"}


def measure(width, depth, rows, seconds, rounds):
    """Measure one point in this process: its epoch, in turn with its matmul floor, and its peak memory."""
    import numpy as np
    from floor import Floor

    from mlpgpu import backends
    from mlpgpu.settings.config import Config
    from mlpgpu.training.epoch import Training
    from mlpgpu.training.feed import Rows, Scaled
    from mlpgpu.training.plan import make_plan

    rng = np.random.default_rng(0)
    data = Rows(rng.integers(0, 256, (rows, FEATURES), np.uint8), rng.integers(0, CLASSES, rows))
    config = Config(
        hidden=(width,) * depth,
        dropout=0,
        input_dropout=0,
        batch_size=BATCH_SIZE,
        learning_rate=0.001,
        schedule="constant",
    )
    plan = make_plan(config, n_rows=rows, n_features=FEATURES, n_outputs=CLASSES, task="classification")
    backend, _ = backends.select("cpu")
    training = Training(backend, plan, data, Scaled(backend, np.array(0.0), np.array(1 / 255), plan.dtype))
    numbers, ours, floors = itertools.count(1), [], []

    def epoch():
        return epoch_seconds(training, next(numbers), seconds)

    # A warm-up, since the first steps may compile.
    _, steps = epoch()
    for _ in range(rounds):
        ours += until(seconds, lambda: epoch()[0])
        if not floors:
            # Before the floor allocates its arrays.
            peak = peak_bytes()
            floor = Floor(plan.network.sizes, BATCH_SIZE, steps * BATCH_SIZE)
            floor.epoch()
        floors += until(seconds, lambda: floor.epoch() * plan.steps_per_epoch / steps)  # noqa: B023
    if not training.is_finite():
        raise SystemExit("the weights are no longer finite, so the times mean nothing")
    return {
        "sizes": plan.network.sizes,
        "seconds": statistics.median(ours),
        "floor_seconds": statistics.median(floors),
        "peak_bytes": peak,
        # Rows and targets; parameters, their gradient and Adam's two moments.
        "floor_bytes": data.nbytes + 4 * plan.params.size * np.dtype(plan.dtype).itemsize,
        "steps_timed": steps,
        "steps_per_epoch": plan.steps_per_epoch,
    }


def epoch_seconds(training, number, limit):
    """Return the seconds of an epoch and the steps done; steps beyond `limit` seconds are extrapolated."""
    began, marks = perf_counter(), []

    def after_steps(done, losses):
        marks.append((done, perf_counter()))
        return len(marks) > 3 and marks[-1][1] - began >= limit

    training.epoch(number, after_steps)
    ended = perf_counter()
    (first, after_first), (done, after_last) = marks[0], marks[-1]
    left = training.plan.steps_per_epoch - done
    # The time before the first step is not extrapolated: the order of the rows is made there, for all steps.
    return ended - began + (left and left * (after_last - after_first) / (done - first)), done


def until(seconds, timed):
    """Call `timed` repeatedly until the time is up, and return the results."""
    began, taken = perf_counter(), [timed()]
    while perf_counter() - began < seconds:
        taken.append(timed())
    return taken


def peak_bytes():
    """Return the peak memory of this process."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def study(sweeps, seconds, rounds):
    """Measure each point of the sweeps once, as ``{"width": 512, ..., "seconds": 1.2, ...}``."""
    wanted = [{**BASE, name: value} for name, values in sweeps.items() for value in values]
    points = []
    for asked in (dict(items) for items in dict.fromkeys(tuple(point.items()) for point in wanted)):
        points.append({**asked, **alone(measure, **asked, seconds=seconds, rounds=rounds)})
        print(row(points[-1]), flush=True)
    return points


def swept(points, name):
    """Return the points that differ from the base only in `name`, in ascending order."""
    others = BASE.keys() - {name}
    return sorted((p for p in points if all(p[o] == BASE[o] for o in others)), key=lambda point: point[name])


HEAD = """\
| width | layers | rows | epoch, s | matmul floor, s | ratio | peak memory, MB | rows and weights, MB | steps timed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def row(point):
    """Format a row of the table."""
    whole = point["steps_timed"] == point["steps_per_epoch"]
    cells = (
        f"{point['width']:,}",
        f"{point['depth']}",
        f"{point['rows']:,}",
        f"{point['seconds']:#.3g}",
        f"{point['floor_seconds']:#.3g}",
        f"{point['seconds'] / point['floor_seconds']:.2f}",
        f"{point['peak_bytes'] / 1e6:,.0f}",
        f"{point['floor_bytes'] / 1e6:,.0f}",
        "all" if whole else f"{point['steps_timed']:,} of {point['steps_per_epoch']:,}",
    )
    return f"| {' | '.join(cells)} |"


def finding(points):
    """Summarise the points in a sentence."""
    ratios = [point["seconds"] / point["floor_seconds"] for point in points]
    more = max(point["peak_bytes"] - point["floor_bytes"] for point in points)
    return (
        f"An epoch takes {min(ratios):.1f} to {max(ratios):.1f} times as long as its matrix products alone, "
        f"and at most {more / 1e6:,.0f} MB besides its rows and weights"
    )


def draw(points, path):
    """Plot time on the left and memory on the right, with their lower bounds dashed."""
    from matplotlib.ticker import EngFormatter

    from mlpgpu import plots

    figure = plots.new_figure((12, 6), finding(points))
    panels = figure.subplots(1, 2, sharex=True, subplot_kw={"xscale": "log", "yscale": "log"})
    for axes, measured, floor, unit, quantity, without in (
        (panels[0], "seconds", "floor_seconds", 1, "seconds per epoch", "matrix products alone"),
        (panels[1], "peak_bytes", "floor_bytes", 1e6, "peak memory in MB", "rows, weights and moments alone"),
    ):
        for name, color in zip(FULL, (plots.SCORE, plots.LOSS, "#009e73"), strict=True):
            line = swept(points, name)
            x, y = [point[name] for point in line], [point[measured] / unit for point in line]
            axes.plot(x, y, "-o", color=color, lw=2, ms=4)
            axes.plot(x, [point[floor] / unit for point in line], "--", color=color, lw=1.3)
            place = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
            axes.annotate(NAMES[name], (x[-1], y[-1]), color=color, fontsize=plots.TEXT, **place)
        axes.set_title(f"dashed: {without}", loc="left", fontsize=plots.SMALL, color=plots.QUIET)
        axes.set(xlabel="layers, units or rows (log scale)", ylabel=f"{quantity} (log scale)")
        axes.margins(y=0.08)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.minorticks_off()
        axes.grid(color=plots.FAINT, lw=0.7)
        axes.spines[:].set_visible(False)
    note = f"784-256-256-10 on 70,000 rows, changed in one respect at a time; Adam, float32, batches of {BATCH_SIZE}"
    plots.note(figure, note)
    plots.save(figure, path)


def main():
    """Measure the points, and write ``scaling.json``, ``scaling.md`` and ``scaling.png``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    output.add_argument(parser)
    parser.add_argument("--quick", action="store_true", help="a few points, under a minute")
    given = parser.parse_args()
    print(HEAD)
    points = study(QUICK, 0.5, 1) if given.quick else study(FULL, 2, 3)

    from mlpgpu.machine import describe

    machine = describe()
    figures = {"finding": finding(points), "batch_size": BATCH_SIZE, "points": points, "machine": machine}
    write_json(figures, given.out / "scaling.json")
    where = f"{machine['cpu']}, {machine['cores']} cores, NumPy {machine['versions']['numpy']}"
    said = (
        f"{finding(points)}: {where}, float32, Adam, batches of {BATCH_SIZE}. "
        "If not all steps of an epoch were timed, the time is extrapolated."
    )
    (given.out / "scaling.md").write_text("\n".join([said, "", HEAD, *map(row, points), ""]), encoding="utf-8")
    draw(points, given.out / "scaling.png")
    print(f"\n{said}\nSaved in {given.out}")


if __name__ == "__main__":
    main()
