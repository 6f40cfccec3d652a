"""784-50-10 on 10,000 images at three learning rates, and a range test that predicts which of them train.

The system is from a blog post of 2021: two dense layers, ReLU between them, batches drawn with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpgpu import MLPClassifier, plots
from mlpgpu.callbacks import Callback
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, logits, loss_and_gradient
from mlpgpu.maths.parameters import layout
from mlpgpu.training import initial
from mlpgpu.training.learning_rates import RangeTest
from scripts.experiments.gradients import central_differences, relative_error
from scripts.experiments.images import Images, images
from scripts.experiments.report import Report
from scripts.experiments.running import Experiment, Given, Progress, main, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mlpgpu.training.run import Record, Run

# From the post.
RATES = (0.5, 1.2, 1.5)
SIZES, STD, BATCH = (784, 50, 10), 0.01, 100
DIFFERENCE = 1e-4
# A run with a lower final accuracy on the test images counts as failed.
FAILED = 0.5


class Size(NamedTuple):
    """Extent of a run."""

    rows: int
    epochs: int
    seeds: int
    checked: int
    range_steps: Sequence[int]


FULL = Size(rows=10_000, epochs=100, seeds=5, checked=400, range_steps=(100, 300, 1000))
QUICK = Size(rows=2_000, epochs=4, seeds=2, checked=20, range_steps=(100, 300))


class Trace(Callback):
    """Records the loss of every update, and the accuracy after every epoch."""

    def __init__(self, data: Images) -> None:
        self.data = data
        self.train: list[float] = []
        self.test: list[float] = []

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Score the training rows; the test rows are the validation set, and so are scored already."""
        found = logits(np, run.plan.network, run.params, self.data.x).argmax(axis=1)
        self.train.append(float(np.mean(found == self.data.y)))
        self.test.append(record["validation_score"])

    def on_end(self, run: Run) -> None:
        """Record the losses."""
        self.losses = np.concatenate(run.losses)


@dataclass(frozen=True)
class Foretold:
    """Range tests of one length, one per seed.

    Attributes
    ----------
    steps : int
    suggested : float
        Median of the suggested rates.
    turn : float
        Median of the rates at which the smoothed loss is lowest, before it rises.
    """

    steps: int
    suggested: float
    turn: float

    @classmethod
    def by(cls, steps: int, tests: Sequence[RangeTest]) -> Foretold:
        """Return the medians of `tests`."""
        suggested = [np.nan if test.suggested is None else test.suggested for test in tests]
        return cls(steps, float(np.nanmedian(suggested)), float(np.median([turn(test) for test in tests])))


def turn(test: RangeTest) -> float:
    """Return the learning rate at which the smoothed loss is lowest."""
    return float(test.rates[np.argmin(test.smoothed)])


def some_images(rows: int) -> Images:
    """Return the first `rows` training images of a seeded shuffle and all test images, from 0 to 1 in float32."""
    x, y, x_test, y_test = images("mnist")
    drawn = np.random.default_rng(0).permutation(len(x))[:rows]
    return Images((x[drawn] / 255).astype(np.float32), y[drawn], (x_test / 255).astype(np.float32), y_test)


def network(rate: float, size: Size, seed: int, device: str, callbacks: Sequence[Callback] = ()) -> MLPClassifier:
    """Return the untrained network."""
    return MLPClassifier(
        hidden_layer_sizes=SIZES[1:-1], activation="relu", optimizer="sgd", learning_rate_init=rate, alpha=0,
        init="normal", init_std=STD, bias_init=0, batch_size=BATCH, replacement=True, max_iter=size.epochs, tol=0,
        n_iter_no_change=float("inf"), random_state=seed, dtype="float32", device=device, callbacks=list(callbacks),
    )  # fmt: skip


def traced(rate: float, size: Size, seed: int, device: str, data: Images) -> Trace:
    """Train one network and return its trace."""
    trace = Trace(data)
    network(rate, size, seed, device, [trace]).fit(data.x, data.y, X_val=data.x_test, y_val=data.y_test)
    return trace


def check_gradient(data: Images, size: Size) -> list[tuple[str, ...]]:
    """Check the initial gradient on one batch in float64; return one table row per weight matrix and bias vector."""
    known = Network(SIZES, (ACTIVATIONS["relu"],), LOSSES["cross_entropy"])
    params = initial.draw(SIZES, ["normal"] * 2, seed=0, std=STD)
    x, y, weights = data.x[:BATCH].astype(np.float64), data.y[:BATCH], np.ones(BATCH)
    _, gradient = loss_and_gradient(np, known, params, x, y, weights)
    lines = []
    for block in layout(SIZES):
        of = np.random.default_rng(0).permutation(np.arange(block.start, block.stop))[: size.checked]
        errors = [
            relative_error(
                gradient[of],
                central_differences(
                    lambda at: loss_and_gradient(np, known, at, x, y, weights)[0], params, of, difference
                ),
            )
            for difference in (DIFFERENCE, DIFFERENCE / 100)
        ]
        lines.append((block.name, f"{len(of)} of {block.stop - block.start:,}", *(f"{error:.1e}" for error in errors)))
    return lines


def failures(traces: Sequence[Trace]) -> int:
    """Count the runs that failed to train."""
    return sum(trace.test[-1] < FAILED for trace in traces)


def outcome(rate: float, traces: Sequence[Trace]) -> tuple[object, ...]:
    """Return one row of the table of results."""
    final = [trace.test[-1] for trace in traces]
    train = np.median([trace.train[-1] for trace in traces])
    return (
        f"{rate:g}", percent(np.median(final)), percent(min(final)), percent(max(final)), percent(train),
        f"{failures(traces)} of {len(traces)}",
    )  # fmt: skip


def place(rate: float, foretold: Foretold) -> str:
    """Describe where a rate lies on the curve of a range test."""
    if rate > foretold.turn:
        return "above the turn"
    return "up to the suggestion" if rate <= foretold.suggested else "between"


def verdict(foretold: Foretold, runs: dict[float, Sequence[Trace]]) -> str:
    """Describe for how many rates the turn of the range test predicts whether all runs train."""
    right = sum((rate > foretold.turn) == (failures(traces) > 0) for rate, traces in runs.items())
    safe = [traces for rate, traces in runs.items() if rate <= foretold.turn]
    failed, n_runs = sum(map(failures, safe)), sum(map(len, safe))
    return (
        f"The turn of the {foretold.steps:,}-step test predicts {right} of the {len(runs)} rates correctly; at rates "
        f"up to it, {failed} of {n_runs} runs failed."
    )


def training_figure(runs: dict[float, Sequence[Trace]]) -> Figure:
    """Plot loss (left axis) and accuracy (right axis) of the first run at each rate, side by side."""
    said = ", ".join(f"{failures(traces)} of {len(traces)} at {rate:g}" for rate, traces in runs.items())
    figure = plots.new_figure((12, 4.6), f"Runs that fail to train: {said}")
    for number, (rate, traces) in enumerate(runs.items()):
        axes = figure.add_subplot(1, len(runs), number + 1)
        right = axes.twinx()
        _draw_run(axes, right, traces[0])
        axes.set_title(f"learning rate {rate:g}", loc="left", fontsize=plots.TEXT, color=plots.INK)
        first, last = number == 0, number == len(runs) - 1
        axes.tick_params(axis="y", left=first, labelleft=first, colors=plots.LOSS)
        right.tick_params(axis="y", right=last, labelright=last, colors=plots.SCORE)
        if first:
            axes.set_ylabel("loss of the batch", color=plots.LOSS)
            right.legend(frameon=False, fontsize=plots.SMALL, labelcolor=plots.SCORE, loc="center right")
        if last:
            right.set_ylabel("accuracy", color=plots.SCORE)
    return figure


def _draw_run(axes: Axes, right: Axes, trace: Trace) -> None:
    updates = np.arange(1, len(trace.losses) + 1)
    axes.plot(updates, trace.losses, color=plots.LOSS, lw=0.6, alpha=0.45)
    # An untrained network has a loss of log 10; losses above twice that are cut off.
    axes.set(ylim=(0, 2 * np.log(SIZES[-1])), xlim=(0, updates[-1]))
    axes.set_xlabel("update")
    axes.set_xticks(np.linspace(0, updates[-1], 3))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    ends = np.linspace(0, updates[-1], len(trace.train) + 1)[1:]
    right.plot(ends, trace.train, color=plots.SCORE, lw=1.5, ls=plots.STYLES["train"], label="training images")
    right.plot(ends, trace.test, color=plots.SCORE, lw=1.5, label="test images")
    right.set_ylim(0, 1.02)
    right.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    for side in (axes, right):
        side.spines[["top", "left", "right"]].set_visible(False)


def range_figure(test: RangeTest, runs: dict[float, Sequence[Trace]]) -> Figure:
    """Plot the range test, with the final accuracy of every run at its rate on a right axis."""
    figure = test.plot()
    figure.suptitle(
        f"Range test: the loss falls fastest at {test.suggested or np.nan:.2g} and turns at {turn(test):.2g}",
        x=0.012, ha="left", fontsize=plots.TITLE, color=plots.INK,
    )  # fmt: skip
    axes = figure.axes[0]
    axes.set_xlim(0.05, 4)
    right = axes.twinx()
    for rate, traces in runs.items():
        axes.axvline(rate, color=plots.FAINT, lw=1, zorder=0)
        right.plot([rate] * len(traces), [trace.test[-1] for trace in traces], "o", ms=7, alpha=0.6, color=plots.SCORE)
        at = right.get_xaxis_transform()
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        right.text(
            rate, 0.02, f"{rate:g}", transform=at, ha="center", fontsize=plots.SMALL, color=plots.SCORE, bbox=behind
        )
    right.set_ylim(0, 1)
    right.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    right.set_ylabel("final accuracy of each run on the test images", color=plots.SCORE)
    right.tick_params(axis="y", colors=plots.SCORE)
    right.spines[["top", "left", "right"]].set_visible(False)
    return figure


def run(given: Given, report: Report, progress: Progress) -> None:
    """Check the gradient, train at each rate, and compare with the range tests."""
    size = QUICK if given.quick else FULL
    seeds = range(given.seeds or size.seeds)
    data, seconds = some_images(size.rows), EXPERIMENT.expected(given)
    (checked,) = [check_gradient(data, size) for _ in progress.over(["gradient"], 0.02 * seconds)]
    tests = {
        steps: [network(RATES[0], size, seed, given.device).find_learning_rate(
            data.x, data.y, low=1e-3, high=10, steps=steps) for seed in seeds]
        for steps in progress.over(size.range_steps, 0.03 * seconds, lambda steps: f"range test of {steps} steps")
    }  # fmt: skip
    runs: dict[float, list[Trace]] = {rate: [] for rate in RATES}
    for rate, seed in progress.over(
        [(rate, seed) for rate in RATES for seed in seeds], 0.95 * seconds, lambda job: "rate {}, seed {}".format(*job)
    ):
        runs[rate].append(traced(rate, size, seed, given.device, data))

    report.text(
        f"A blog post of 2021 trains a {'-'.join(map(str, SIZES))} network, with ReLU between its two layers, on "
        f"{size.rows:,} training images of MNIST. Initial weights are normal with standard deviation {STD}, and biases "
        f"are 0. A batch is {BATCH} images drawn with replacement, and plain gradient descent makes "
        f"{size.epochs * size.rows // BATCH:,} updates. The post asks how large the learning rate may be. Here each "
        f"rate is run with {len(seeds)} seeds, which determine the initial weights and the batches; the training "
        "images stay the same."
    )
    report.heading("The gradient")
    report.text(
        "The table compares the gradient of one batch at the initial weights, computed by backpropagation, to central "
        "differences, both in float64. The error is the norm of the difference over the norm of the central "
        "differences. In a larger array, a random sample of the elements is checked. The post uses a step of "
        f"{DIFFERENCE:g}. If the input of a ReLU changes sign within the step, the difference quotient is wrong; a "
        "smaller step makes this rarer."
    )
    report.table(["array", "checked", f"step {DIFFERENCE:g}", f"step {DIFFERENCE / 100:g}"], checked)
    report.heading("Three learning rates")
    report.text(
        f"The table shows the accuracy after the last update, over {len(seeds)} seeds. A run counts as failed if its "
        f"test accuracy is below {percent(FAILED, 0)}."
    )
    heads = ["learning rate", "test, median", "lowest", "highest", "training images, median", "failed"]
    report.table(heads, [outcome(rate, traces) for rate, traces in runs.items()])
    report.picture(
        training_figure(runs), "training", "Loss by update and accuracy by epoch, for each of three learning rates"
    )
    report.text(
        "The picture shows the runs of the first seed: the loss of each batch before its update, and the accuracy on "
        f"all {size.rows:,} training images and all {len(data.y_test):,} test images after each epoch of "
        f"{size.rows // BATCH} updates."
    )
    report.heading("What the range test predicts")
    foretold = [Foretold.by(steps, found) for steps, found in tests.items()]
    report.text(
        "`find_learning_rate` trains the same network while the learning rate rises from 0.001 to 10, and smooths the "
        "loss. It suggests the rate at which the smoothed loss falls fastest. The turn is the rate at which the "
        f"smoothed loss is lowest. Both are medians over {len(seeds)} seeds."
    )
    heads = ["steps of the test", "suggested", "turn", *(f"{rate:g} lies" for rate in runs)]
    lines = [
        (f"{of.steps:,}", f"{of.suggested:.2f}", f"{of.turn:.2f}", *(place(rate, of) for rate in runs))
        for of in foretold
    ]
    failed = ("runs that failed", "", "", *(f"{failures(traces)} of {len(traces)}" for traces in runs.values()))
    report.table(heads, [*lines, failed])
    report.text(
        "Read as a prediction: up to the turn every run trains, and above it some runs fail. "
        + " ".join(verdict(of, runs) for of in foretold)
    )
    shown = size.range_steps[1]
    report.picture(
        range_figure(tests[shown][0], runs),
        "range",
        "Loss by learning rate in the range test, and the final accuracy of the runs at the three rates",
    )
    report.text(
        f"The picture shows the range test of {shown} steps with the first seed, and the final test accuracy of each "
        "run at its rate."
    )


EXPERIMENT = Experiment(
    "two_layers", "A two-layer network: how large a learning rate may be", run, seconds=45, quick_seconds=4
)

if __name__ == "__main__":
    main(EXPERIMENT, description=__doc__)
