"""MNIST after a blog post on PyTorch: its nine steps with mlpgpu, and the same network in both, step by step.

The post (2021, after a book on PyTorch) trains a multilayer perceptron by plain SGD and reaches about 90 %. One
function repeats its steps in order; the loss of every step is compared with PyTorch's, from the same weights and over
the same rows; and other settings are tried for the same number of epochs.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from mlpgpu import MLPClassifier, plots
from mlpgpu.callbacks import Callback, LambdaCallback
from scripts.experiments.drawing import dress, name_lines
from scripts.experiments.images import Images, images
from scripts.experiments.report import Report
from scripts.experiments.running import Experiment, Given, Progress, main, percent
from scripts.experiments.vanishing import vanishing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mlpgpu.training.run import Run

# From the post: its accuracy after ten epochs, its batches, and how often it prints.
PUBLISHED, EPOCHS, BATCH, EVERY = 0.90, 10, 32, 200
# Chosen here: the layers and the learning rate are not among the figures taken from the post.
HIDDEN, RATE = (256,), 0.001
# The largest difference from PyTorch that is allowed in float64.
ALLOWED = 1e-9
# Number of steps per point of a curve, which shows their mean or maximum.
AVERAGED = 125

# None of these was chosen by the test images.
SGD = {"optimizer": "sgd", "learning_rate_init": RATE, "batch_size": BATCH}
ADAM = {"optimizer": "adam", "learning_rate_init": 0.001, "batch_size": 128}
CYCLE = ADAM | {"learning_rate_init": 0.003, "learning_rate_schedule": "one_cycle", "dropout": 0.2}
BETTER = {
    "SGD, rate 0.1": SGD | {"learning_rate_init": 0.1},
    "Adam": ADAM,
    "Adam, batch normalisation": ADAM | {"normalization": "batch"},
    "Adam, one cycle, dropout": CYCLE,
}

MLPGPU, TORCH, FLOAT32 = plots.SCORE, "#e69f00", "#56b4e9"
COLORS = plots.INK, "#009e73", "#cc79a7", "#56b4e9", plots.LOSS


class Lines(Callback):
    """Prints the epoch, the samples seen and the loss of the last batch, every `every` batches."""

    def __init__(self, every: int) -> None:
        self.every, self.printed = every, []

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Print a line for each of the last few batches that is due."""
        last = losses()
        for step, loss in enumerate(last, done - len(last) + 1):
            if step % self.every == 0:
                seen = step * run.plan.batch_size
                share = percent(seen / run.n_rows, 0)
                self.printed.append(f"epoch {run.epoch:2}  {seen:6,} of {run.n_rows:,} ({share:>5})  loss {loss:.4f}")
                tqdm.write(self.printed[-1], file=sys.stderr)


def load(quick: bool) -> Images:
    """Load all images, one byte per pixel, or some of them."""
    x, y, x_test, y_test = digits = images("mnist")
    return Images(x[:8_000], y[:8_000], x_test[:1_000], y_test[:1_000]) if quick else digits


def nine_steps(given: Given) -> tuple[Images, Figure, Lines, MLPClassifier, float]:
    """From the choice of a device to the accuracy on images that the network has not seen."""
    # 1. Choose the device: "cpu", "cuda", or "auto" for the fastest there is.
    device = given.device

    # 2. Load the images: 28 x 28 pixels in a row, and the digit that they show.
    digits = load(given.quick)

    # 3. Look at the data.
    picture = look(digits)

    # 4. Scale the pixels from 0..255 to 0..1.
    digits = digits._replace(x=np.float32(digits.x) / 255, x_test=np.float32(digits.x_test) / 255)

    # 5. Define the network: a hidden layer of rectifiers. Its output layer has a unit for each label that it meets.
    network = MLPClassifier(hidden_layer_sizes=HIDDEN, activation="relu", device=device, random_state=0)

    # 6. Choose the optimizer; the loss of a classifier is the cross-entropy.
    network.set_params(optimizer="sgd", learning_rate_init=RATE, batch_size=BATCH, alpha=0)

    # 7. Train, with a line of progress every 200 batches.
    lines = Lines(every=EVERY)
    network.set_params(max_iter=epochs_of(given), callbacks=[lines])

    # 8. Evaluate on the test images after each epoch.
    network.fit(digits.x, digits.y, X_val=digits.x_test, y_val=digits.y_test)

    # 9. Measure the accuracy in the end.
    accuracy = network.score(digits.x_test, digits.y_test)
    return digits, picture, lines, network, accuracy


def epochs_of(given: Given) -> int:
    """Return the number of epochs: ten as in the post, or two in a quick run."""
    return 2 if given.quick else EPOCHS


def look(digits: Images) -> Figure:
    """Plot the first three images of each digit, and how many images it has."""
    counts = np.bincount(digits.y, minlength=10)
    most, least = counts.argmax(), counts.argmin()
    figure = plots.new_figure(
        (8, 3.4),
        f"Of {len(digits.y):,} training images, {counts[most]:,} show a {most} and {counts[least]:,} a {least}: "
        "the most and the least frequent digit",
    )
    grid = figure.subplots(3, 10)
    for digit, column in enumerate(grid.T):
        column[0].set_title(str(digit), fontsize=plots.TEXT, color=plots.INK)
        for axes, place in zip(column, np.flatnonzero(digits.y == digit), strict=False):
            axes.imshow(digits.x[place].reshape(28, 28), cmap="gray_r")
        column[-1].set_xlabel(f"{counts[digit]:,}", fontsize=plots.SMALL, color=plots.QUIET)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(plots.FAINT)
    return figure


def run(given: Given, report: Report, progress: Progress) -> None:
    """Run the nine steps, PyTorch for comparison, better settings, and a network too deep for logistic units."""
    seconds = EXPERIMENT.expected(given)
    report.text(
        "A blog post of 2021, based on a book on PyTorch, trains a multilayer perceptron on MNIST with plain SGD, "
        f"batches of {BATCH} and {EPOCHS} epochs, and reaches an accuracy of about {percent(PUBLISHED, 0)}. The "
        f"figures taken from it do not include its layers and its learning rate; here they are {_layers()} and {RATE}.",
    )
    for _ in progress.over(["nine steps"], 0.1 * seconds):
        digits, network = train(given, report)
    if find_spec("torch") is None:
        report.text("PyTorch is not installed, so the comparison with it was left out.")
    else:
        compare(given, digits, report, progress, 0.6 * seconds)
    better(given, digits, network, report, progress, 0.25 * seconds)
    vanishing(given, digits, epochs_of(given), report, progress, 0.05 * seconds)


def train(given: Given, report: Report) -> tuple[Images, MLPClassifier]:
    """Run the nine steps, and report what they print and measure."""
    digits, picture, lines, network, accuracy = nine_steps(given)
    n_steps = len(digits.y) // BATCH
    distance = 100 * (accuracy - PUBLISHED)
    report.heading("The nine steps")
    report.code(inspect.getsource(nine_steps), "python")
    report.text("This is the output of step 3. Below each column is the number of training images of its digit:")
    report.picture(picture, "images", "Three images of each digit")
    report.text(f"An epoch has {n_steps:,} updates. Output of the first epoch, with the loss of one batch per line:")
    report.code("\n".join(lines.printed[: n_steps // EVERY]))
    report.text("The test results after each epoch, averaged over all images, so that each has the same weight:")
    report.table(
        ["epoch", "mean test loss", "test accuracy"],
        [[r["epoch"], f"{r['validation_loss']:.4f}", percent(r["validation_score"])] for r in network.history_],
    )
    report.text(
        f"The final accuracy is {percent(accuracy)}, {abs(distance):.2f} points "
        f"{'above' if distance >= 0 else 'below'} the published {percent(PUBLISHED, 0)}.",
    )
    return digits, network


class Trained(NamedTuple):
    """Loss of every step of a fit, and the predictions of its network for the test images."""

    losses: np.ndarray
    predicted: np.ndarray


def with_torch(digits: Images, epochs: int, dtype: str) -> tuple[list[tuple[np.ndarray, np.ndarray]], Trained]:
    """Train the network in PyTorch on the CPU, from PyTorch's own initial values; return these and the fit."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    sizes = [digits.x.shape[1], *HIDDEN, 10]
    layers = [nn.Linear(*pair, dtype=torch.float64).to(getattr(torch, dtype)) for pair in pairwise(sizes)]
    # PyTorch keeps the weights of a unit in a row, mlpgpu in a column.
    start = [(each.weight.detach().numpy().T.copy(), each.bias.detach().numpy().copy()) for each in layers]
    hidden = [part for layer in layers[:-1] for part in (layer, nn.ReLU())]
    network = nn.Sequential(*hidden, layers[-1])
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    x, y, x_test = (
        torch.from_numpy(array) for array in (digits.x.astype(dtype), digits.y, digits.x_test.astype(dtype))
    )
    losses = []
    for _ in range(epochs):
        for rows, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(rows), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return start, Trained(np.array(losses), network(x_test).argmax(dim=1).numpy())


def with_mlpgpu(
    digits: Images, epochs: int, dtype: str, start: Sequence[tuple[np.ndarray, np.ndarray]], device: str
) -> Trained:
    """Train the network from these initial values, over the rows without shuffling."""
    losses: list[np.ndarray] = []
    kept = LambdaCallback(on_end=lambda run: losses.extend(run.losses))
    settings = {"init": list(start), "shuffle": False, "alpha": 0, "max_iter": epochs, "dtype": dtype}
    network = MLPClassifier(HIDDEN, **SGD, **settings, random_state=0, callbacks=[kept], device=device)
    network.fit(digits.x, digits.y)
    return Trained(np.concatenate(losses), network.predict(digits.x_test))


def compare(given: Given, digits: Images, report: Report, progress: Progress, seconds: float) -> None:
    """Compare both libraries from the same weights, over the same rows, in both dtypes."""
    fits, epochs = {}, epochs_of(given)
    for dtype in progress.over(["float64", "float32"], seconds, lambda dtype: f"PyTorch, {dtype}"):
        start, theirs = with_torch(digits, epochs, dtype)
        fits[dtype] = with_mlpgpu(digits, epochs, dtype, start, given.device), theirs
    apart = {dtype: np.abs(ours.losses - theirs.losses) for dtype, (ours, theirs) in fits.items()}
    largest = apart["float64"].max()
    met = largest < ALLOWED
    report.heading("The same network in PyTorch")
    report.text(
        "PyTorch draws the initial parameters by its default method, and mlpgpu starts from a copy of them (`init`). "
        f"Both train on the rows in their given order, without shuffling, for {epochs} epochs: "
        f"{len(apart['float64']):,} steps. The loss of a step is that of its batch before the update.",
    )
    title = f"Over {len(apart['float64']):,} steps the losses differ by at most {largest:.1e} in float64"
    report.picture(
        _compared(title, *fits["float64"], apart), "losses", "Loss of every step in both libraries, and the difference"
    )
    report.table(
        ["dtype", "last loss, mlpgpu", "last loss, PyTorch", "largest difference", "at step", "different predictions"],
        [
            [
                dtype,
                f"{ours.losses[-1]:.9f}",
                f"{theirs.losses[-1]:.9f}",
                f"{apart[dtype].max():.1e}",
                f"{apart[dtype].argmax() + 1:,}",
                f"{np.sum(ours.predicted != theirs.predicted)} of {len(digits.y_test):,}",
            ]
            for dtype, (ours, theirs) in fits.items()
        ],
    )
    report.text(
        f"In float64, the largest difference is {largest:.1e}, {'inside' if met else 'outside'} the tolerance of "
        f"{ALLOWED:.0e}. Different predictions are the test images for which the two trained networks predict "
        "different digits. In float64, the test accuracies are "
        f"{percent(np.mean(fits['float64'][0].predicted == digits.y_test))} and "
        f"{percent(np.mean(fits['float64'][1].predicted == digits.y_test))}.",
    )


def _compared(title: str, ours: Trained, theirs: Trained, apart: Mapping[str, np.ndarray]) -> Figure:
    """Plot both curves in one panel, and their difference in the panel below."""
    figure = plots.new_figure((8, 6.4), title)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
    steps = np.arange(1, len(ours.losses) + 1)
    middles = steps[AVERAGED // 2 :: AVERAGED]
    for name, fit, color, width, style in (("mlpgpu", ours, MLPGPU, 5, "-"), ("PyTorch", theirs, TORCH, 1.8, "--")):
        top.plot(steps, fit.losses, color=plots.FAINT, lw=0.6, zorder=1)
        means = fit.losses.reshape(-1, AVERAGED).mean(axis=1)
        top.plot(middles, means, color=color, lw=width, ls=style, label=f"{name}, float64")
    top.legend(frameon=False, fontsize=plots.SMALL, labelcolor=plots.INK)
    for (dtype, difference), color in zip(apart.items(), (plots.INK, FLOAT32), strict=True):
        largest = difference.reshape(-1, AVERAGED).max(axis=1)
        # Zero cannot be drawn on a logarithmic axis.
        bottom.plot(middles, np.where(largest > 0, largest, np.nan), color=color, lw=1.8)
        bottom.text(1.01, largest[-1], dtype, transform=bottom.get_yaxis_transform(), va="center", color=color)
    bottom.axhline(ALLOWED, color=plots.QUIET, lw=1, ls="--")
    bottom.text(
        1.01, ALLOWED, "tolerance in\nfloat64", transform=bottom.get_yaxis_transform(), va="center", color=plots.QUIET
    )
    bottom.set_yscale("log")
    _label(top, "", f"loss (pale: each step;\nbold: mean of {AVERAGED})")
    _label(bottom, "step", f"absolute difference, largest\nof {AVERAGED} steps (log scale)")
    bottom.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def better(
    given: Given, digits: Images, faithful: MLPClassifier, report: Report, progress: Progress, seconds: float
) -> None:
    """Train the same layers with other settings, for the same number of epochs."""
    epochs, seeds = epochs_of(given), range(given.seeds or (1 if given.quick else 2))
    fits: dict[str, list[MLPClassifier]] = {name: [] for name in BETTER}
    for name, seed in progress.over(list(product(BETTER, seeds)), seconds, lambda job: f"{job[0]}, {job[1]}"):
        settings = BETTER[name] | {"alpha": 0, "max_iter": epochs, "random_state": seed}
        network = MLPClassifier(HIDDEN, **settings, device=given.device)
        fits[name].append(network.fit(digits.x, digits.y, X_val=digits.x_test, y_val=digits.y_test))
    curves = {"as in the post": [_scores(faithful)]} | {name: list(map(_scores, each)) for name, each in fits.items()}
    ends = {name: np.array(scores)[:, -1] for name, scores in curves.items()}
    best, ahead = max(ends, key=lambda name: ends[name].mean()), sum(end.min() > PUBLISHED for end in ends.values())
    report.heading(f"Better in {epochs} epochs")
    report.text(
        "The same layers are trained for as many epochs with other settings. Number of seeds for each: "
        f"{len(seeds)}. No setting was chosen by the test images, and the weights are those of the last epoch. The "
        "first row is the fit of the nine steps.",
    )
    highest = ends[best].mean()
    title = f"{best}: {percent(highest)} after {epochs} epochs, {percent(PUBLISHED, 0)} published"
    report.picture(_accuracies(title, curves), "better", "Test accuracy by epoch for each setting")
    every = {"as in the post": SGD} | BETTER
    report.table(
        ["settings", "batch", "rate", "dropout", "after the first epoch", "final: mean (range)"],
        [
            [
                name,
                every[name]["batch_size"],
                every[name]["learning_rate_init"],
                percent(every[name].get("dropout", 0), 0),
                percent(np.mean([scores[0] for scores in curves[name]])),
                percent(end.mean()) + (f" ({100 * end.min():.2f} to {100 * end.max():.2f})" if len(end) > 1 else ""),
            ]
            for name, end in ends.items()
        ],
    )
    report.text(
        f"Of these {len(ends)} settings, {ahead} end above the published {percent(PUBLISHED, 0)} with every seed. "
        f"The best is {best}: its test error is {percent(1 - highest)}, compared with the published "
        f"{percent(1 - PUBLISHED, 0)}.",
    )


def _scores(network: MLPClassifier) -> list[float]:
    return [record["validation_score"] for record in network.history_]


def _accuracies(title: str, curves: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Plot test accuracy by epoch: one line per setting for the mean of the seeds, labelled at its end."""
    figure = plots.new_figure((8, 5), title)
    axes = figure.add_subplot()
    means = {name: 100 * np.mean(scores, axis=0) for name, scores in curves.items()}
    epochs = range(1, len(next(iter(means.values()))) + 1)
    for color, mean in zip(COLORS, means.values(), strict=True):
        axes.plot(epochs, mean, "o-", color=color, lw=2, markersize=4)
    axes.axhline(100 * PUBLISHED, color=plots.QUIET, lw=1, ls="--")
    ends = {name: mean[-1] for name, mean in means.items()} | {"published": 100 * PUBLISHED}
    name_lines(axes, ends, (*COLORS, plots.QUIET), 0.055)
    axes.set_xticks(list(epochs))
    _label(axes, "epoch", "test accuracy (%)")
    axes.grid(axis="y", color=plots.FAINT)
    return figure


def _label(axes: Axes, across: str, up: str) -> None:
    axes.set(xlabel=across, ylabel=up)
    dress(axes, "bottom")


def _layers() -> str:
    return "-".join(map(str, [784, *HIDDEN, 10]))


EXPERIMENT = Experiment(
    "pytorch_mnist",
    "MNIST in nine steps, and the same network in PyTorch",
    run,
    seconds=270,
    quick_seconds=15,
)

if __name__ == "__main__":
    main(EXPERIMENT, description=__doc__)
