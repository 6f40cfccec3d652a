"""Vanishing gradients: why a deep network of logistic units does not learn, and two remedies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu import MLPClassifier, plots
from mlpgpu.maths import normalization, parameters
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, loss_and_gradient
from mlpgpu.training import initial
from scripts.experiments.drawing import dress
from scripts.experiments.report import Report
from scripts.experiments.running import Given, Progress, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIDDEN = (64,) * 5
SGD = {"optimizer": "sgd", "learning_rate_init": 0.1, "batch_size": 128, "alpha": 0, "init": "glorot_uniform"}
CASES: dict[str, dict[str, Any]] = {
    "logistic": {"activation": "logistic"},
    "relu": {"activation": "relu"},
    "logistic, batch normalisation": {"activation": "logistic", "normalization": "batch"},
}
COLORS = plots.LOSS, "#009e73", plots.SCORE


def vanishing(
    given: Given, rows: Sequence[np.ndarray], epochs: int, report: Report, progress: Progress, seconds: float
) -> None:
    """Train networks of five hidden layers; report the initial gradient of each layer and the accuracy.

    Parameters
    ----------
    rows : sequence of array
        Training images, their labels, test images, their labels.
    """
    x, y, x_test, y_test = rows
    sizes = [_sizes(x[:1000], y[:1000], case) for case in CASES.values()]
    networks = []
    for case in progress.over(list(CASES.values()), seconds, lambda case: case["activation"]):
        network = MLPClassifier(HIDDEN, **SGD, **case, max_iter=epochs, random_state=0, device=given.device)
        networks.append(network.fit(x, y, X_val=x_test, y_val=y_test))
    curves = [[record["validation_score"] for record in network.history_] for network in networks]
    report.heading("Vanishing gradients")
    report.text(
        f"The post names this problem. Here it is shown in {len(HIDDEN)} hidden layers of {HIDDEN[0]} units, trained "
        f"by SGD with a learning rate of {SGD['learning_rate_init']} and batches of {SGD['batch_size']} for {epochs} "
        "epochs, from the same initial weights. The derivative of the logistic function is at most a quarter, so the "
        "gradient shrinks with each layer in the backward pass. The derivative of ReLU is 1 or 0. Batch normalisation "
        "keeps the inputs of the units where the derivative is large, and their outputs different from row to row.",
    )
    title = (
        f"{len(HIDDEN)} logistic layers: {percent(curves[0][-1])}, "
        f"and {percent(curves[-1][-1])} with batch normalisation"
    )
    report.picture(_drawn(title, dict(zip(CASES, zip(sizes, curves, strict=True), strict=True))), "vanishing", title)
    report.table(
        ["hidden layers", "gradient in the first layer over that in the last", "test accuracy"],
        [
            [name, f"{each[0] / each[-1]:.2g}", percent(curve[-1])]
            for name, each, curve in zip(CASES, sizes, curves, strict=True)
        ],
    )
    report.text(
        "The size of a gradient is its root mean square over the weights of a layer, at the initial weights, over the "
        "first 1,000 training images.",
    )


def _sizes(x: np.ndarray, y: np.ndarray, case: Mapping[str, Any]) -> list[float]:
    """Return the root mean square of the initial gradient with respect to the weights of each layer."""
    sizes, normalized = (x.shape[1], *HIDDEN, 10), ("normalization" in case,) * len(HIDDEN)
    network = Network(
        sizes, (ACTIVATIONS[case["activation"]],) * len(HIDDEN), LOSSES["cross_entropy"], normalized=normalized
    )
    drawn = initial.draw(sizes, [SGD["init"]] * (len(sizes) - 1), seed=0)
    params = normalization.begin(np, drawn, sizes, normalized)
    _, gradient = loss_and_gradient(np, network, params, np.float64(x), y, np.ones(len(x)))
    return [float(np.sqrt(np.mean(dw**2))) for dw, _ in parameters.split(np, gradient, sizes)]


def _drawn(title: str, found: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Plot the gradient by layer on the left, the accuracy by epoch on the right."""
    figure = plots.new_figure((9.5, 4.4), title)
    left, right = figure.subplots(1, 2)
    for color, (sizes, curve) in zip(COLORS, found.values(), strict=True):
        left.plot(range(1, len(sizes) + 1), sizes, "o-", color=color, lw=2, markersize=5)
        right.plot(range(1, len(curve) + 1), 100 * np.array(curve), "o-", color=color, lw=2, markersize=4)
    left.set_yscale("log")
    right.set_ylim(0, 100)
    heights = plots.apart([curve[-1] for _, curve in found.values()], 0.1)
    for color, name, height in zip(COLORS, found, heights, strict=True):
        words = name.replace(", ", ",\n")
        right.text(1.03, height, words, transform=right.transAxes, va="center", fontsize=plots.SMALL, color=color)
    for axes, across, up in (
        (left, "layer", "size of the gradient at the start (log scale)"),
        (right, "epoch", "test accuracy (%)"),
    ):
        axes.set_xlabel(across)
        axes.set_ylabel(up, fontsize=plots.SMALL)
        axes.grid(axis="y", color=plots.FAINT)
        dress(axes, "bottom")
    return figure
