"""The report on the published perceptron: tables and pictures of its results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu import plots
from scripts.experiments.drawing import dress
from scripts.experiments.perceptron_tables import DIGITS, FOLDS, IRIS, MNIST, SCIKIT_LEARN_SEEDS, WISHES, Result, Table
from scripts.experiments.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"own": plots.SCORE, "scikit-learn": "#009e73"}

FOLD_HEADS = (*(f"fold {fold}" for fold in range(1, FOLDS + 1)), "mean")


def write_summary(report: Report, means: dict[Table, np.ndarray], mnist: dict[Table, Result], granted: Result) -> None:
    """Write a summary of the results."""
    inside = sum(place(table, drawn) == "inside" for table, drawn in means.items())
    agree = sum(abs(difference(table, result)) <= allowed(table) for table, result in mnist.items())
    above = int((granted.accuracy > MNIST[-1].published).sum())
    report.text(
        f"On Iris, {inside} of the {len(means)} published means lie inside the range over seeds (5th to 95th "
        f"percentile). On MNIST, {agree} of {len(mnist)} agree within the tolerance. With the improvements that the "
        f"published report suggests, the mean accuracy on MNIST is {granted.accuracy.mean():.4f}, compared with "
        f"{np.mean(MNIST[-1].published):.4f} published for scikit-learn, and higher on {above} of {FOLDS} folds.",
    )


def write_iris(
    report: Report, results: dict[Table, list[Result]], means: dict[Table, np.ndarray], species: Sequence[str]
) -> None:
    """Write the folds of seed 0, the distribution over seeds, the confusion matrix and the losses."""
    report.heading("Iris: tables 1 to 10, fold by fold")
    report.text("Folds and weights are those of seed 0. The published folds differ, so compare rows, not single cells.")
    fold_table(report, {table: of_seeds[0] for table, of_seeds in results.items()})
    report.heading("Iris: the same tables over many seeds")
    rows = []
    for table, drawn in means.items():
        low, median, high = np.percentile(drawn, (5, 50, 95))
        figures = f"{np.mean(table.published):.4f}", f"{median:.4f}", f"{low:.4f} to {high:.4f}"
        rows.append((table, len(drawn), *figures, f"{percentile(table, drawn):.0f}"))
    report.text(
        "Each figure is the mean accuracy over five folds. A seed determines the folds and all initial weights. "
        f"scikit-learn's tables are run with at most {SCIKIT_LEARN_SEEDS} seeds, since they take longer."
    )
    report.table(("table", "seeds", "published", "median", "5 to 95 %", "percentile of the published mean"), rows)
    for side in ("inside", "above", "below"):
        found = [f"{t.number} (percentile {percentile(t, means[t]):.0f})" for t in means if place(t, means[t]) == side]
        report.text(f"The published mean lies {side} the range in {len(found)} tables: {', '.join(found) or 'none'}.")
    figure = distributions(means)
    report.picture(figure, "iris-seeds", "Range of the mean accuracy over seeds, with the published mean, by table")
    best = max((table for table in results if table.model == "own"), key=lambda table: means[table].mean())
    write_confusion(report, best, results[best][0], species, "Iris")
    write_losses(report, "Iris", {table: results[table][0] for table in IRIS if table.number in (1, 3, 9, 10)})


def write_mnist(report: Report, results: dict[Table, Result]) -> None:
    """Write the folds, the distance from the published means, the confusion matrix and the losses."""
    report.heading("MNIST: tables 11 to 16, fold by fold")
    fold_table(report, results)
    report.heading("MNIST: distance from the published means")
    rows = []
    for table, result in results.items():
        means = f"{np.mean(table.published):.4f}", f"{result.accuracy.mean():.4f}"
        points = 100 * difference(table, result)
        rows.append((table, *means, f"{points:+.2f}", f"{100 * allowed(table):.0f}"))
    report.table(("table", "published", "here", "difference in points", "tolerance"), rows)
    missed = [table for table, result in results.items() if abs(difference(table, result)) > allowed(table)]
    report.text(f"{len(results) - len(missed)} of {len(results)} tables agree.")
    report.text(*(explained(table, results[table]) for table in missed))
    own_results = {table: result for table, result in results.items() if table.model == "own"}
    best = max(own_results, key=lambda table: results[table].accuracy.mean())
    write_confusion(report, best, results[best], range(10), "MNIST")
    write_losses(report, "MNIST", own_results)


def write_activations(
    report: Report, by_default: dict[Table, list[Result]], logistic: dict[Table, list[Result]]
) -> None:
    """Write scikit-learn's tables with logistic hidden units, which the published ones may have had."""

    def middle(of_seeds: list[Result]) -> float:
        return float(np.median([result.accuracy.mean() for result in of_seeds]))

    report.heading("scikit-learn's tables with logistic units")
    rows, nearer = [], 0
    for table, of_seeds in logistic.items():
        published, relu, other = np.mean(table.published), middle(by_default[table]), middle(of_seeds)
        nearer += abs(other - published) < abs(relu - published)
        rows.append((table, f"{published:.4f}", f"{relu:.4f}", f"{other:.4f}", f"{100 * (other - published):+.2f}"))
    report.text(
        "The published tables are said to use scikit-learn's default settings except for size and epochs, and "
        "therefore ReLU. With the logistic units of the own model instead, on the same folds (Iris: the median over "
        f"seeds), the means are closer to the published ones in {nearer} of {len(rows)} tables.",
    )
    heads = "table", "published", "ReLU, the default", "logistic", "logistic: difference in points"
    report.table(heads, rows)


def write_wishes(report: Report, granted: Result, peer: Result) -> None:
    """Write the last table, compared with scikit-learn's best."""
    report.heading("The suggested improvements")
    published = np.array(MNIST[-1].published)
    report.text(
        f"Two hidden layers of {WISHES.hidden[0]} ReLU units with 20 % dropout are trained by Adam with batches of "
        f"{WISHES.batch} for {WISHES.epochs} epochs. The learning rate follows one cycle, with a maximum of 0.003. The "
        "folds of MNIST are the same, and the input is divided by 255."
    )
    figures = {
        "improved, accuracy": granted.accuracy,
        "improved, weighted F1": granted.f1,
        "table 16, scikit-learn, published": published,
        "table 16, scikit-learn, here": peer.accuracy,
    }
    report.table(("", *FOLD_HEADS), [(name, *with_mean(values)) for name, values in figures.items()])
    for name, values in (("published", published), ("run here", peer.accuracy)):
        gains = 100 * (granted.accuracy - values)
        report.text(
            f"Compared with table 16 as {name}, {(gains > 0).sum()} of {FOLDS} folds are higher; the differences are "
            f"{gains.min():+.2f} to {gains.max():+.2f} points."
        )


def fold_table(report: Report, results: dict[Table, Result]) -> None:
    """Write published accuracy, accuracy and weighted F1 of each fold: three rows per table."""
    rows: list[Sequence[object]] = []
    for table, result in results.items():
        rows.append((f"**{table}**", "published accuracy", *with_mean(table.published)))
        rows += [("", "accuracy", *with_mean(result.accuracy)), ("", "weighted F1", *with_mean(result.f1))]
    report.table(("table", "", *FOLD_HEADS), rows)


def with_mean(values: Sequence[float] | np.ndarray) -> list[str]:
    """Format the values of the folds and their mean, to four digits."""
    return [f"{value:.4f}" for value in (*values, np.mean(values))]


def percentile(table: Table, drawn: np.ndarray) -> float:
    """Return the percentage of draws below the published mean, where those equal to it count half."""
    above = drawn - np.mean(table.published)
    return 100 * float(np.mean((above < -DIGITS) + 0.5 * (abs(above) <= DIGITS)))


def place(table: Table, drawn: np.ndarray) -> str:
    """Return whether the published mean is inside, below or above the 5 to 95 % range of the draws."""
    published, (low, high) = np.mean(table.published), np.percentile(drawn, (5, 95))
    return "below" if published < low - DIGITS else "above" if published > high + DIGITS else "inside"


def allowed(table: Table) -> float:
    """Return the distance from the published mean that counts as agreement.

    It is larger for full batches, whose few updates end while the loss still falls steeply.
    """
    return 0.02 if table.model == "own" and not table.batch else 0.01


def difference(table: Table, result: Result) -> float:
    """Return the mean here minus the published mean."""
    return float(result.accuracy.mean() - np.mean(table.published))


def explained(table: Table, result: Result) -> str:
    """Compare a mean that does not agree with the standard error that follows from the spread of the folds."""
    error = math.sqrt((result.accuracy.var(ddof=1) + np.var(table.published, ddof=1)) / FOLDS)
    ratio = abs(difference(table, result)) / error
    cause = "which random initial weights can explain"
    if ratio >= 2:
        cause = "which is more than random initial weights can explain"
        cause += "; compare the tables with logistic units below" * (table.model == "scikit-learn")
    return (
        f"Table {table.number} does not agree. Estimated from the spread of the folds, each with its own initial "
        f"weights, the standard error of the difference of two such means is {100 * error:.2f} points. This difference "
        f"is {ratio:.1f} times as large, {cause}."
    )


def write_confusion(report: Report, table: Table, result: Result, classes: Sequence[object], name: str) -> None:
    """Write the confusion matrix of all folds."""
    mistakes = result.confusion * ~np.eye(len(result.confusion), dtype=bool)
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    title = f"{name}, table {table.number}: the most common error is {classes[true]} taken for {classes[predicted]}"
    report.heading(f"{name}: confusion matrix")
    report.text(f"The matrix is the sum over all folds of table {table.number}, the best of the own tables.")
    figure = plots.confusion(result.confusion, classes, title=title)
    report.picture(figure, f"{name.lower()}-confusion", title)


def write_losses(report: Report, name: str, results: dict[Table, Result]) -> None:
    """Plot loss against update in four panels: full batch and mini-batch, raw and scaled."""
    report.heading(f"{name}: loss against update")
    report.text(
        "The picture shows the loss of every update of fold 1, with probabilities clipped to [1e-4, 0.9999]. With "
        "minibatches, the thick line is the mean of each epoch. The figure at the end of a line is the mean loss of "
        "its last epoch."
    )
    ends = {table: result.losses[-1].mean() for table, result in results.items()}
    best, worst = (pick(ends, key=lambda table: ends[table]) for pick in (min, max))
    title = f"{name}: final loss from {ends[best]:.2f} ({updates(best)}) to {ends[worst]:.2f} ({updates(worst)})"
    figure = plots.new_figure((9, 6.5), title)
    panels = figure.subplots(2, 2, sharey=True)
    for axes, (table, result) in zip(panels.flat, results.items(), strict=True):
        draw_losses(axes, result.losses)
        axes.set_title(updates(table), loc="left", fontsize=plots.TEXT, color=plots.INK)
    for axes in panels[:, 0]:
        axes.set_ylabel("loss (log scale)", color=plots.LOSS)
    for axes in panels[1]:
        axes.set_xlabel("update")
    report.picture(figure, f"{name.lower()}-loss", title)


def updates(table: Table) -> str:
    """Describe the batches and the input of a table."""
    return f"{f'batches of {table.batch}' if table.batch else 'full batches'}, {table.input}"


def draw_losses(axes: Axes, losses: np.ndarray) -> None:
    """Draw one panel: every update and, if an epoch has several, the mean of each epoch on top."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    epochs, steps = losses.shape
    means = losses.mean(axis=1)
    if steps > 1:
        axes.plot(np.arange(losses.size) + 1, losses.ravel(), color=plots.LOSS, lw=0.5, alpha=0.35)
    axes.plot((np.arange(epochs) + 0.5) * steps, means, color=plots.LOSS, lw=2)
    end = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(f"{means[-1]:.2f}", (losses.size, means[-1]), fontsize=plots.SMALL, color=plots.INK, **end)
    axes.set(yscale="log", xlim=(0, 1.13 * losses.size))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    dress(axes, "left", "bottom")


def distributions(means: dict[Table, np.ndarray]) -> Figure:
    """Plot the range of the mean accuracy over seeds, the median and the published mean of each table."""
    inside = sum(place(table, drawn) == "inside" for table, drawn in means.items())
    figure = plots.new_figure((9, 5.5), f"Iris: {inside} of {len(means)} published means lie in the range over seeds")
    axes = figure.add_subplot()
    for row, (table, drawn) in enumerate(means.items()):
        low, median, high = np.percentile(drawn, (5, 50, 95))
        name = "" if row > 1 else f"{table.model}: median, 5 to 95 %"
        axes.hlines(row, low, high, color=COLORS[table.model], lw=6, alpha=0.35)
        axes.plot(median, row, "o", color=COLORS[table.model], markersize=7, label=name)
    published = [np.mean(table.published) for table in means]
    axes.plot(published, range(len(means)), "x", color=plots.INK, markersize=8, mew=2, label="published")
    axes.set_yticks(range(len(means)), list(map(str, means)))
    axes.invert_yaxis()
    axes.set_xlabel("mean accuracy of five folds")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=plots.SMALL, labelcolor=plots.INK)
    dress(axes, "left", "bottom")
    return figure
