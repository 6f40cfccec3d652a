"""Curves fitted to one variable, by activation, optimizer and batch size; and a direction that is not the gradient.

The system is from a student report, which wrote its own perceptron library.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpgpu import Config, MLPRegressor, plots
from mlpgpu.callbacks import Callback, EarlyStopping
from mlpgpu.data import DataSet, load
from mlpgpu.maths.parameters import Pair, count, join
from scripts.experiments import averaged_inputs
from scripts.experiments.report import Report
from scripts.experiments.running import Experiment, Given, Progress, main

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlpgpu.training.run import Record, Run

# From the student report.
NETWORKS = {"1-150-1": (1, 150, 1), "1-150-150-1": (1, 150, 150, 1)}
ACTIVATIONS = {"logistic": "logistic", "tanh": "tanh", "relu": "ReLU", "leaky_relu": "leaky ReLU"}
OPTIMIZERS, BATCHES = {"sgd": "SGD", "adam": "Adam"}, (1, 4, 8)
RATE, CHANGE = 1e-4, 1e-5

SPAN, NOISE = 3.0, 0.1
COLORS = ("#009e73", plots.SCORE)


class Size(NamedTuple):
    """Extent of a run."""

    rows: int
    epochs: int
    seeds: int
    checked: int


FULL = Size(rows=1000, epochs=100, seeds=5, checked=1000)
QUICK = Size(rows=100, epochs=4, seeds=2, checked=30)


class Case(NamedTuple):
    """Settings that differ between fits."""

    network: str
    activation: str
    optimizer: str
    batch: int


@dataclass(frozen=True)
class Fit:
    """A finished fit.

    Attributes
    ----------
    losses : list of float
        Mean training loss of each epoch.
    validation_loss : float
    seconds : list of float
        Duration of the steps of each epoch.
    curve : array
        Predictions at the points of `grid`.
    """

    losses: list[float]
    validation_loss: float
    seconds: list[float]
    curve: np.ndarray

    @property
    def rose(self) -> bool:
        """Whether the loss rose by more than `CHANGE` in the last epoch."""
        return len(self.losses) > 1 and self.losses[-1] - self.losses[-2] > CHANGE


class Settled(Callback):
    """The stopping rule of the student report: the training loss changes little between two epochs, up or down."""

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Stop if the loss differs from that of the previous epoch by at most `CHANGE`."""
        if run.epoch > 1 and abs(record["loss"] - run.history[-2]["loss"]) <= CHANGE:
            run.stop("settled")


def law(x: np.ndarray) -> np.ndarray:
    """Return the true curve, to which the points add noise."""
    return np.sin(2 * x) + x / 3


def grid() -> np.ndarray:
    """Return the points at which a fitted curve is drawn, as a column."""
    return np.linspace(-SPAN, SPAN, 241)[:, None]


def points(rows: int) -> DataSet:
    """Return the seeded data set, read from a CSV file: four fifths for training, one fifth for validation."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-SPAN, SPAN, rows)
    y = law(x) + rng.normal(0, NOISE, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one_variable.csv"
        np.savetxt(path, np.column_stack((x, y)), delimiter=",", header="x,y", comments="")
        # The test rows serve for validation.
        return load(Config(dataset=str(path), target="y", scale="none", test_fraction=0.2, validation_fraction=0))


def start(sizes: Sequence[int], seed: int) -> list[Pair]:
    """Draw weights and biases as in the student report: one matrix per layer, with the bias as row 0."""
    rng = np.random.default_rng(seed)
    drawn = [
        rng.standard_normal((1 + fan_in, fan_out)) * np.sqrt(2 / (fan_in + fan_out))
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]
    return [(rows[1:], rows[0]) for rows in drawn]


def fitted(case: Case, data: DataSet, size: Size, seed: int, device: str, stopping: Callback) -> Fit:
    """Train one network."""
    sizes = NETWORKS[case.network]
    model = MLPRegressor(
        hidden_layer_sizes=sizes[1:-1], activation=case.activation, optimizer=case.optimizer, learning_rate_init=RATE,
        alpha=0, init=start(sizes, seed), batch_size=case.batch, max_iter=size.epochs, tol=0,
        n_iter_no_change=float("inf"), random_state=seed, dtype="float32", device=device, callbacks=[stopping],
    )  # fmt: skip
    model.fit(data.x_train, data.y_train[:, 0], X_val=data.x_test, y_val=data.y_test[:, 0])
    seconds = [record["seconds"] for record in model.history_]
    return Fit(model.loss_curve_, model.history_[-1]["validation_loss"], seconds, model.predict(grid()))


def both_rules(case: Case, data: DataSet, size: Size, seed: int, device: str) -> tuple[Fit, Fit]:
    """Return the fit stopped by ordinary early stopping and by `Settled`, which differ only after a rise."""
    ordinary = fitted(case, data, size, seed, device, EarlyStopping("loss", min_delta=CHANGE, patience=1))
    return ordinary, fitted(case, data, size, seed, device, Settled()) if ordinary.rose else ordinary


def quantities(fits: Sequence[tuple[Fit, Fit]]) -> tuple[str, ...]:
    """Return the figures of one table row: medians over the seeds."""
    ordinary, settled = zip(*fits, strict=True)
    return (
        f"{_median(ordinary, lambda fit: fit.losses[-1]):.4f}",
        f"{_median(ordinary, lambda fit: fit.validation_loss):.4f}",
        f"{_median(ordinary, lambda fit: len(fit.losses)):g}",
        f"{_median(ordinary, lambda fit: sum(fit.seconds)):.2f}",
        f"{_median(ordinary, lambda fit: 1000 * np.median(fit.seconds)):.1f}",
        f"{_median(settled, lambda fit: len(fit.losses)):g}",
        f"{_median(settled, lambda fit: fit.losses[-1]):.4f}",
        f"{_median(settled, lambda fit: fit.validation_loss):.4f}",
    )


def _median(fits: Sequence[Fit], of: Callable[[Fit], float]) -> float:
    return float(np.median([of(fit) for fit in fits]))


def in_words(case: Case) -> str:
    """Describe a case, such as "1-150-1, ReLU, SGD, batch 1"."""
    return f"{case.network}, {ACTIVATIONS[case.activation]}, {OPTIMIZERS[case.optimizer]}, batch {case.batch}"


def findings(settled: Mapping[Case, Sequence[Fit]]) -> list[str]:
    """List the findings of the student report, each compared with the runs that its own rule stops."""
    train = {case: _median(fits, lambda fit: fit.losses[-1]) for case, fits in settled.items()}
    validation = {case: _median(fits, lambda fit: fit.validation_loss) for case, fits in settled.items()}
    best = min(validation, key=validation.__getitem__)
    best_of_sgd = min((case for case in validation if case.optimizer == "sgd"), key=validation.__getitem__)
    epochs = {
        name: np.median([len(fit.losses) for case, fits in settled.items() if case.optimizer == name for fit in fits])
        for name in OPTIMIZERS
    }

    def lower(field: str, less: str, more: str) -> str:
        """Count how often the training loss is lower with one value of a field than with another, all else equal."""
        pairs = [(case, case._replace(**{field: more})) for case in train if getattr(case, field) == less]
        return f"{sum(train[a] < train[b] for a, b in pairs)} of {len(pairs)}"

    return [
        f"- *ReLU with batch 1 and SGD was best.* The lowest validation loss here is {validation[best]:.4f} "
        f"({in_words(best)}), and the lowest with SGD {validation[best_of_sgd]:.4f} ({in_words(best_of_sgd)}).\n"
        "- *ReLU and leaky ReLU train faster than logistic and tanh.* With all else equal, ReLU has a lower final "
        f"training loss than the logistic function in {lower('activation', 'relu', 'logistic')} pairs of settings, and "
        f"than tanh in {lower('activation', 'relu', 'tanh')}. The same holds for leaky ReLU in "
        f"{lower('activation', 'leaky_relu', 'logistic')} and {lower('activation', 'leaky_relu', 'tanh')}.\n"
        f"- *Adam converges in fewer epochs.* The median run ends after {epochs['adam']:g} epochs with Adam and "
        f"{epochs['sgd']:g} with SGD; Adam has the lower training loss in {lower('optimizer', 'adam', 'sgd')} pairs.\n"
        "- *Deeper nets underfitted.* The deeper network has the lower training loss in "
        f"{lower('network', *reversed(NETWORKS))} pairs."
    ]


def curves_figure(data: DataSet, settled: Mapping[Case, Sequence[Fit]]) -> Figure:
    """Plot fitted curves over the points: one row per activation, one column per optimizer and batch size."""
    best = min(settled, key=lambda case: settled[case][0].validation_loss)
    figure = plots.new_figure((12, 8), f"Best: {in_words(best)}, loss {settled[best][0].validation_loss:.4f}")
    columns = list(itertools.product(OPTIMIZERS, BATCHES))
    panels = figure.subplots(len(ACTIVATIONS), len(columns), sharex=True, sharey=True)
    for line, activation in zip(panels, ACTIVATIONS, strict=True):
        line[0].set_ylabel(f"y ({ACTIVATIONS[activation]})")
        for axes, (optimizer, batch) in zip(line, columns, strict=True):
            curves = {name: settled[Case(name, activation, optimizer, batch)][0].curve for name in NETWORKS}
            averaged_inputs.draw_curves(axes, data, grid(), curves, COLORS)
    for axes, (optimizer, batch) in zip(panels[0], columns, strict=True):
        axes.set_title(f"{OPTIMIZERS[optimizer]}, batch {batch}", fontsize=plots.TEXT, color=plots.INK)
    for axes in panels[-1]:
        axes.set_xlabel("x")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False,
        fontsize=plots.TEXT, labelcolor=plots.INK,
    )  # fmt: skip
    return figure


def describe_data(report: Report, data: DataSet, size: Size, n_seeds: int) -> None:
    """Describe the data set and the networks."""
    report.text(
        "The published system is a student report, which trains networks of its own library on a CSV file with the "
        f"columns x and y. That file is not public. The data here are synthetic, drawn with seed 0: {size.rows:,} rows "
        f"with x uniform from {-SPAN:g} to {SPAN:g} and y = sin 2x + x / 3 + e, where e is normal noise with standard "
        f"deviation {NOISE:g}. They are written to a CSV file and read as the command reads one. A seeded split gives "
        f"{len(data.x_train):,} training rows and {len(data.x_test):,} validation rows. The loss is half the mean "
        f"squared error; the noise alone contributes {NOISE**2 / 2:g}.",
        "The networks are "
        f"{' and '.join(f'{name} ({count(sizes):,} parameters)' for name, sizes in NETWORKS.items())}. "
        "The initial weights and biases of a layer are normal with standard deviation sqrt(2 / (fan_in + fan_out)), "
        f"the learning rate is {RATE:g}, and a run has at most {size.epochs} epochs. Each setting is run with "
        f"{n_seeds} seeds, which determine the initial weights and the order of the rows. Tables show medians over the "
        "seeds, and pictures show the first seed.",
    )


def describe_fits(report: Report, data: DataSet, size: Size, fits: Mapping[Case, Sequence[tuple[Fit, Fit]]]) -> None:
    """Write the tables and the plot of all fits, and the findings of the student report."""
    settled = {case: [fit for _, fit in pairs] for case, pairs in fits.items()}
    ordinary = [fit for pairs in fits.values() for fit, _ in pairs]
    early = [fit for fit in ordinary if len(fit.losses) < size.epochs]
    report.heading("Fits")
    report.text(
        f'The ordinary stopping rule, `EarlyStopping(monitor="loss", min_delta={CHANGE:g}, patience=1)`, stops a run '
        "after the first epoch whose mean training loss does not improve on the lowest so far by more than "
        f"{CHANGE:g}. The student report's rule stops when the loss changes by at most {CHANGE:g}, up or down. It "
        "therefore continues after a larger rise, where the ordinary rule stops. "
        f"Of {len(ordinary)} runs, the ordinary rule stopped {len(early)}, {sum(fit.rose for fit in early)} of "
        "them after such a rise. The last three columns are for the same runs with the student report's rule, which is "
        "a callback of a few lines. Training loss is the mean over the last epoch. Seconds are the time of the "
        "training steps. Long runs are compiled, which takes some seconds if the loop is not cached yet; shorter runs "
        "use NumPy calls. An epoch of many small batches may therefore take less time than one of fewer batches."
    )
    heads = [
        "activation", "optimizer", "batch", "training loss", "validation loss", "epochs", "seconds", "ms per epoch",
        "report's rule: epochs", "training loss", "validation loss",
    ]  # fmt: skip
    for name in NETWORKS:
        report.text(f"{name}:")
        of = {case: pairs for case, pairs in fits.items() if case.network == name}
        report.table(
            heads,
            [
                (ACTIVATIONS[case.activation], OPTIMIZERS[case.optimizer], case.batch, *quantities(pairs))
                for case, pairs in of.items()
            ],
        )
    report.picture(curves_figure(data, settled), "curves", "Fitted curves by activation, optimizer and batch size")
    report.text(
        "The picture and the next section use the runs with the student report's rule. The title of the picture gives "
        "the lowest validation loss of the first seed."
    )
    report.heading("Findings of the student report")
    report.text(*findings(settled))


def run(given: Given, report: Report, progress: Progress) -> None:
    """Fit every curve, then compare both directions."""
    size, seconds = QUICK if given.quick else FULL, EXPERIMENT.expected(given)
    seeds = range(given.seeds or size.seeds)
    data = points(size.rows)
    cases = list(itertools.starmap(Case, itertools.product(NETWORKS, ACTIVATIONS, OPTIMIZERS, BATCHES)))
    fits = {
        case: [both_rules(case, data, size, seed, given.device) for seed in seeds]
        for case in progress.over(cases, 0.85 * seconds, in_words)
    }
    describe_data(report, data, size, len(seeds))
    describe_fits(report, data, size, fits)
    starts = {name: (sizes, join(np, start(sizes, 0))) for name, sizes in NETWORKS.items()}
    averaged_inputs.section(report, progress, 0.15 * seconds, data, starts, ACTIVATIONS, size.epochs, size.checked)


EXPERIMENT = Experiment(
    "one_variable",
    "One variable: fitted curves by activation, batch size and optimizer",
    run,
    seconds=80,
    quick_seconds=4,
)

if __name__ == "__main__":
    main(EXPERIMENT, description=__doc__)
