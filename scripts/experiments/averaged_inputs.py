"""Fits whose layers average their inputs over the batch, compared with fits that follow the gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu import plots
from mlpgpu.data import DataSet
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, logits, loss_and_gradient
from mlpgpu.maths.parameters import join, split
from scripts.experiments.drawing import dress
from scripts.experiments.gradients import central_differences, relative_error
from scripts.experiments.report import Report
from scripts.experiments.running import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Direction = Callable[[Network, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
# Training loss after each epoch, and the parameters at the end.
Descent = tuple[list[float], np.ndarray]

BATCH, STEP = 8, 1e-6
# The learning rate of the student report, far from convergence after a hundred epochs, and one closer to convergence.
RATES = (1e-4, 1e-2)
SHOWN = ("relu", RATES[-1])
COLORS = (plots.SCORE, plots.LOSS)


def gradient(network: Network, params: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the gradient of the mean loss of a batch."""
    return loss_and_gradient(np, network, params, x, t, np.ones(len(x)))[1]


def inputs_averaged(network: Network, params: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the mean input of each layer times its mean error, instead of the mean of their products."""
    passed = []
    activations = (*network.activations, ACTIVATIONS["identity"])
    for (w, b), activation in zip(split(np, params, network.sizes), activations, strict=True):
        z = x @ w + b
        y = activation.value(np, z)
        passed.append((x, w, activation.derivative(np, z, y)))
        x = y
    dy, pairs = x - t, []
    for x, w, slope in reversed(passed):
        dz = dy * slope
        pairs.append((np.outer(x.mean(axis=0), dz.mean(axis=0)), dz.mean(axis=0)))
        dy = dz @ w.T
    return join(np, pairs[::-1])


WAYS = {"gradient": gradient, "inputs averaged": inputs_averaged}


def make_network(sizes: Sequence[int], activation: str) -> Network:
    """Return a `Network` for one-variable regression."""
    return Network(tuple(sizes), (ACTIVATIONS[activation],) * (len(sizes) - 2), LOSSES["squared_error"])


def mean_loss(network: Network, params: np.ndarray, x: np.ndarray, t: np.ndarray) -> float:
    """Return half the mean squared error."""
    return float(np.mean((logits(np, network, params, x) - t) ** 2) / 2)


def check(network: Network, params: np.ndarray, data: DataSet, checked: int) -> tuple[str, ...]:
    """Return how many parameters are checked, and the relative error of each direction."""
    batch = data.x_train[:BATCH], data.y_train[:BATCH]
    of = np.random.default_rng(0).permutation(len(params))[:checked]
    true = central_differences(lambda at: mean_loss(network, at, *batch), params, of, STEP)
    errors = [relative_error(way(network, params, *batch)[of], true) for way in WAYS.values()]
    return (f"{len(of):,} of {len(params):,}", *(f"{error:.1e}" for error in errors))


def descend(way: Direction, network: Network, params: np.ndarray, data: DataSet, rate: float, epochs: int) -> Descent:
    """Train by plain descent along `way`, with the same sequence of batches each time."""
    x, t, losses = data.x_train, data.y_train, []
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x), BATCH):
            rows = order[first : first + BATCH]
            params = params - rate * way(network, params, x[rows], t[rows])
        losses.append(mean_loss(network, params, x, t))
    return losses, params


def draw_curves(
    axes: Axes, data: DataSet, x: np.ndarray, curves: Mapping[str, np.ndarray], colors: Sequence[str]
) -> None:
    """Draw fitted curves, evaluated at the column `x`, over the validation rows."""
    axes.scatter(data.x_test, data.y_test, s=6, color="#bbbbbb", linewidths=0, label="validation rows")
    for (name, curve), color in zip(curves.items(), colors, strict=True):
        axes.plot(x, curve, color=color, lw=1.8, label=name)
    axes.locator_params(axis="x", nbins=4, integer=True)
    dress(axes, "left", "bottom")


def descents_figure(data: DataSet, network: Network, found: Mapping[str, Descent]) -> Figure:
    """Plot the loss by epoch and the final curve of both directions."""
    true, averaged = (losses[-1] for losses, _ in found.values())
    figure = plots.new_figure((10, 4.6), f"Averaging the inputs ends at {averaged / true:.1f} times the loss")
    left, right = figure.subplots(1, 2)
    for (name, (losses, _)), color in zip(found.items(), COLORS, strict=True):
        left.plot(range(1, len(losses) + 1), losses, color=color, lw=2)
        left.annotate(
            f"{name}\n{losses[-1]:.3f}", (len(losses), losses[-1]), (6, 0), textcoords="offset points", va="center",
            color=color, fontsize=plots.TEXT,
        )  # fmt: skip
    left.set_yscale("log")
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(lambda loss, _: f"{loss:g}" if f"{loss:e}"[0] in "25" else "")
    left.set(xlim=(0, 1.45 * len(losses)), xticks=np.linspace(0, len(losses), 5))
    left.set(xlabel="epoch", ylabel="training loss (log scale)")
    dress(left, "left", "bottom")
    left.tick_params(which="minor", labelsize=plots.SMALL, colors=plots.INK)
    x = np.linspace(data.x_train.min(), data.x_train.max(), 241)[:, None]
    draw_curves(right, data, x, {name: logits(np, network, params, x) for name, (_, params) in found.items()}, COLORS)
    right.set(xlabel="x", ylabel="y")
    return figure


def section(
    report: Report,
    progress: Progress,
    seconds: float,
    data: DataSet,
    starts: Mapping[str, tuple[Sequence[int], np.ndarray]],
    activations: Mapping[str, str],
    epochs: int,
    checked: int,
) -> None:
    """Compare both directions with central differences, train along each, and write the results.

    Parameters
    ----------
    report : Report
    progress : Progress
    seconds : float
        Expected duration.
    data : DataSet
    starts : mapping
        Name of a network -> its sizes and its initial parameters; the last one is trained.
    activations : mapping of str to str
        Name of an activation -> its name in the report.
    epochs, checked : int
        Epochs to train for, and number of parameters to check.
    """
    pairs = list(itertools.product(starts, activations))
    lines = []
    for name, activation in progress.over(pairs, seconds / 2, " ".join):
        sizes, params = starts[name]
        line = check(make_network(sizes, activation), params, data, checked)
        lines.append((name, activations[activation], *line))
    name, (sizes, params) = list(starts.items())[-1]
    descents: dict[tuple[str, float], dict[str, Descent]] = {}
    jobs = list(itertools.product(activations, RATES))
    for activation, rate in progress.over(jobs, seconds / 2, lambda job: f"averaged inputs, {job[0]}"):
        network = make_network(sizes, activation)
        descents[activation, rate] = {
            way: descend(along, network, params, data, rate, epochs) for way, along in WAYS.items()
        }

    report.heading("Averaging the inputs is not the gradient")
    report.text(
        "The gradient of a weight is the mean over the batch of input times error. The layers of the student report "
        "use the mean input times the mean error instead, which omits the covariance of the two within the batch. This "
        "is correct for a batch of one row, and for biases, whose input is constant. The table compares mlpgpu's "
        f"gradient and this product to central differences with a step of {STEP:g}, in float64, at the initial "
        f"weights, on one batch of {BATCH}. The error is the norm of the difference over the norm of the central "
        "differences."
    )
    report.table(["network", "activation", "checked", "gradient of mlpgpu", "inputs averaged"], lines)
    report.text(
        f"The next table is for plain gradient descent with each of the two in {name}, from the same initial weights, "
        f"over the same batches of {BATCH}. It shows the training loss after {epochs} epochs, and the ratio of the two "
        "losses."
    )
    ends = {job: [losses[-1] for losses, _ in found.values()] for job, found in descents.items()}
    report.table(
        ["activation", "learning rate", *WAYS, "ratio"],
        [
            (activations[activation], f"{rate:g}", f"{true:.4f}", f"{averaged:.4f}", f"{averaged / true:.2f}")
            for (activation, rate), (true, averaged) in ends.items()
        ],
    )
    report.picture(
        descents_figure(data, make_network(sizes, SHOWN[0]), descents[SHOWN]),
        "averaging",
        "Loss by epoch with the gradient and with averaged inputs, and both fitted curves",
    )
    report.text(
        f"The picture is for {activations[SHOWN[0]]} at a learning rate of {SHOWN[1]:g}; the points are the validation "
        "rows."
    )
