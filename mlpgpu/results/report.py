"""Text and tables that a run prints before and after training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlpgpu.errors import printable
from mlpgpu.figures import counted, in_digits, in_words, or_undefined, spoken
from mlpgpu.maths.parameters import count, count_normalized
from mlpgpu.models.model import file_of
from mlpgpu.results import regression_figures
from mlpgpu.settings.config import OWN_ROWS
from mlpgpu.settings.setting import as_text
from mlpgpu.training import preflight
from mlpgpu.training.start import in_short

if TYPE_CHECKING:
    from mlpgpu.data.dataset import DataSet
    from mlpgpu.maths.network import Network
    from mlpgpu.prepared import Prepared
    from mlpgpu.workflow import Outcome

# A table with more classes or targets than this would be too long to read.
MAX_CLASSES = MAX_TARGETS = 20
# With fewer test rows, the confidence interval of an accuracy of 0.9 is wider than 0.1.
FEW_ROWS = 100
# The last epoch is much worse than the best if its loss is above this multiple and its score lower by more than this.
WORSE_LOSS, WORSE_SCORE = 1.05, 0.05


class Output(Console):
    """Console on standard output that ignores a closed pipe: the results of a run are in its folder as well."""

    def __init__(self, *, results_only: bool = False) -> None:
        # Print names verbatim: Rich would take [red] for a colour and :x: for an emoji.
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True)
        self.results_only = results_only
        if not self.is_terminal:
            # Files and pipes have no width that lines must fit.
            self.width = 200

    def show(self, *parts: str | Table) -> None:
        """Print lines and tables, one after the other."""
        for part in parts:
            self.print(part)

    def say(self, *parts: str | Table) -> None:
        """Print lines and tables on the way to the results, if they are wanted."""
        if not self.results_only:
            self.show(*parts)

    def on_broken_pipe(self) -> None:
        """Continue instead of exiting, as Rich would."""
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left")
    return table


def network_table(network: Network, activations: Sequence[str]) -> Table:
    """Return a table of the layers with output shape and number of parameters, and the total."""
    sizes = network.sizes
    table = _table("Network", "layer", "output shape", "parameters")
    table.add_row("input", f"({sizes[0]},)", "0")
    names = [*activations, network.loss.link.__name__]
    for i, (name, fan_in, fan_out) in enumerate(zip(names, sizes, sizes[1:], strict=False)):
        frozen = ", frozen" if i < network.frozen else ""
        normalized = i < len(network.normalized) and network.normalized[i]
        trained = fan_in * fan_out + fan_out * (2 if normalized else 1)
        table.add_row(
            f"dense, {'batch normalisation, ' if normalized else ''}{name}{frozen}", f"({fan_out},)", f"{trained:,}"
        )
    table.add_section()
    table.add_row("total", "", f"{count(sizes) + count_normalized(sizes, network.normalized):,}")
    return table


def data_lines(data: DataSet, target_scale: str) -> list[str]:
    """Describe the rows, features, and classes or targets of a data set, with its notes."""
    validation = 0 if data.x_validation is None else len(data.x_validation)
    lines = [
        f"Data      {data.name}: {len(data.x_train):,} training, {validation:,} validation and "
        f"{len(data.x_test):,} test rows of {counted(data.n_features, 'feature')}, {data.x_train.dtype}, "
        f"scaled: {data.scaling.kind}"
    ]
    if data.multilabel:
        labels = list(zip(data.targets, data.label_values, data.y_train.sum(axis=0), strict=True))
        for name, (_, value), n in labels[:MAX_TARGETS]:
            lines.append(f"Label     {name}: {value} in {counted(int(n), 'training row')}")
        if len(data.targets) > MAX_TARGETS:
            lines.append(f"Label     and {len(data.targets) - MAX_TARGETS} more")
    elif data.classes:
        counts = np.bincount(data.y_train, minlength=len(data.classes))
        shown = ", ".join(f"{name}: {n:,}" for name, n in list(zip(data.classes, counts, strict=True))[:MAX_CLASSES])
        more = f", and {len(data.classes) - MAX_CLASSES} more" if len(data.classes) > MAX_CLASSES else ""
        lines.append(f"Classes   {shown}{more} (training rows)")
    else:
        for name, y in list(zip(data.target_names, data.y_train.T, strict=True))[:MAX_TARGETS]:
            lines.append(
                f"Target    {name}: mean {in_digits(y.mean())}, from {in_digits(y.min())} to {in_digits(y.max())}, "
                f"scaled: {target_scale}"
            )
        if len(data.target_names) > MAX_TARGETS:
            lines.append(f"Target    and {len(data.target_names) - MAX_TARGETS} more")
    return [printable(line) for line in (*lines, *(f"Note      {note}" for note in data.notes))]


def device_line(prepared: Prepared) -> str:
    """Describe the device, why it was chosen, and the memory of the run."""
    note = f" ({prepared.backend_note})" if prepared.backend_note else ""
    free = prepared.backend.free_memory()
    needs = f"about {preflight.size(prepared.need.data)} for the data and {preflight.size(prepared.need.beside)} beside"
    memory = "" if free is None else f"; {needs}, of {preflight.size(free)} free"
    return f"Device    {prepared.backend.description}, {prepared.plan.dtype}{note}{memory}"


def start_line(prepared: Prepared) -> str:
    """Say which layers start from a trained model, with their units and activations, and why the others do not."""
    start, n_layers = prepared.start, len(prepared.plan.network.sizes) - 1
    assert start is not None
    assert prepared.config.start_from is not None
    taken, drawn = (_layers(first, last) for first, last in ((1, start.n_layers), (start.n_layers + 1, n_layers)))
    rest = f"; {drawn} drawn: {start.why}" if start.why else ""
    hidden, functions = start.model.sizes[1:-1][: start.n_layers], start.model.activations[: start.n_layers]
    having = f", with hidden {as_text(hidden)} and activation {as_text(in_short(functions))}" if hidden else ""
    return printable(f"Start     {taken} of {n_layers} from {file_of(prepared.config.start_from)}{having}{rest}")


def _layers(first: int, last: int) -> str:
    return f"layer {first}" if first == last else f"layers {first} {'and' if last == first + 1 else 'to'} {last}"


def opening(prepared: Prepared, how: str, *, resumed: bool = False) -> Iterator[str | Table]:
    """Yield what to print before the first step; `how` is the line that describes what will be done."""
    yield from data_lines(prepared.data, prepared.plan.target_scale)
    yield device_line(prepared)
    yield how
    if prepared.start is not None and not resumed:
        yield start_line(prepared)
    if (frozen := prepared.plan.network.frozen) and prepared.start is None:
        yield f"Note      not trained, but as drawn: {_layers(1, frozen)}, as freeze is {frozen} without start_from"
    taken = 0 if prepared.start is None else prepared.start.n_layers
    if prepared.config.init == "zeros" and taken < len(prepared.config.hidden):
        yield (
            "Note      as init is zeros, all units of a hidden layer start equal, and learn alike or nothing; leave "
            "out --init, or choose --hidden none"
        )
    yield network_table(prepared.plan.network, prepared.plan.activations)


def training_line(prepared: Prepared) -> str:
    """Describe the training."""
    plan, config = prepared.plan, prepared.config
    return (
        f"Training  {counted(plan.epochs, 'epoch')} of {counted(plan.steps_per_epoch, 'step')} of "
        f"{counted(plan.batch_size, 'row')}: "
        f"loss {plan.loss}, {config.optimizer}, learning rate {plan.learning_rate:g}, {config.schedule} schedule"
    )


def result_lines(outcome: Outcome) -> list[str]:
    """Return the test figures, notes on them, why the run stopped, and the speed."""
    metrics = outcome.metrics
    lines = [
        test_line(metrics, outcome.model.config),
        *_few_tested(outcome),
        *_never_found(outcome),
        *_overfitted(outcome),
    ]
    of = f"; weights of epoch {metrics['weights_of_epoch']}" if outcome.run.restored else ""
    if outcome.run.stopped:
        lines.append(f"Stopped   {outcome.run.stopped} in epoch {outcome.run.epoch}{of}")
    lines.append(
        f"Speed     {sum(metrics['epoch_seconds']):.1f} s in {counted(metrics['epochs'], 'epoch')}, "
        f"{metrics['samples_per_second']:,.0f} samples/s"
    )
    return lines


def _few_tested(outcome: Outcome) -> list[str]:
    """Return a note on an accuracy measured on few rows, with its Wilson score interval (Wilson, 1927)."""
    from scipy.stats import binomtest

    metrics, config = outcome.metrics, outcome.model.config
    weighted = metrics["n_test_effective"]
    n = metrics["n_test"] if weighted is None else max(round(weighted), 1)
    # The interval is that of independent rows, which those of a group are not.
    if not 0 < n < FEW_ROWS or "test_accuracy" not in metrics or "group" in config:
        return []
    low, high = binomtest(round(metrics["test_accuracy"] * n), n).proportion_ci(method="wilson")
    rows = counted(n, "test row") if weighted is None else f"test rows that count as much as {n} of equal weight"
    # The last rows cannot be divided into folds, nor can rows of several files.
    divisible = config["hold_out"] == "random" and config.keys().isdisjoint(OWN_ROWS.values())
    cure = "; mlpgpu cross-validate tests on every row" if divisible else ""
    return [f"Note      with {rows}, that accuracy is between {low:.0%} and {high:.0%} (95 % confidence){cure}"]


def _never_found(outcome: Outcome) -> list[str]:
    """Return a note on classes or labels with test rows, none of which is predicted correctly."""
    model, confusion = outcome.model, outcome.confusion
    if confusion is not None:
        counts = confusion.sum(axis=1)
        found = list(zip(model.classes, counts, confusion.diagonal(), [counts.max()] * len(counts), strict=True))
    elif model.multilabel:
        # The two classes of a label are its rows and the others.
        labels, n_test = outcome.metrics.get("test_targets", {}), outcome.metrics["n_test"]
        found = [(name, n := of["n_rows"], of["f1"], n_test - n) for name, of in labels.items()]
    else:
        return []
    lost = [(name, n, commonest) for name, n, right, commonest in found if n and not right]
    if not lost:
        return []
    what = "labels" if model.multilabel else "classes"
    named = ", ".join(f"{printable(str(name))} ({counted(n, 'row')})" for name, n, _ in lost[:3])
    more = f" and {len(lost) - 3:,} {what} more" if len(lost) > 3 else ""
    cure = "more --epochs or another --learning-rate may help"
    if model.config["class_weight"] == "none" and any(n < commonest / 2 for _, n, commonest in lost):
        cure = "--class-weight balanced weighs rare ones up"
    return [f"Note      no test row is found of {named}{more}; {cure}"]


def _overfitted(outcome: Outcome) -> list[str]:
    """Return a note if the validation figures were much better in an epoch whose weights were not restored."""
    best, history = outcome.metrics["best_epoch"], outcome.run.history
    if not best or outcome.run.restored:
        return []
    then, now = next(record for record in history if record["epoch"] == best), history[-1]
    score = f"validation_{outcome.run.plan.score_name}"
    # In a classification, the loss may rise while the accuracy improves.
    if now["validation_loss"] <= WORSE_LOSS * then["validation_loss"] or then[score] - now[score] <= WORSE_SCORE:
        return []
    called, shown = ("R²", in_words) if score == "validation_r2" else ("accuracy", "{:.2%}".format)
    return [
        f"Note      the validation {called} was {shown(then[score])} in epoch {best}, and is {shown(now[score])} at "
        "the end; --early-stopping keeps the best weights, --weight-decay 1 or fewer --epochs may help as well"
    ]


def test_line(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the line with the test figures among the metrics of a run; `config` has its settings."""
    if not metrics["n_test"]:
        return "Test      no rows: all were trained or validated on"
    return figures_line(config.get("test_data") or metrics["dataset"], metrics["n_test"], tested(metrics))


def tested(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the test rows, by their names without the prefix ``test_``."""
    return {name.removeprefix("test_"): value for name, value in figures.items() if name.startswith("test_")}


def figures_line(name: str, n_rows: int, figures: Mapping[str, Any]) -> str:
    """Return the line with figures of rows that a network was not trained on."""
    return f"Test      {figures_in_words(figures)} on {counted(n_rows, 'row')} of {printable(name)}"


def figures_in_words(figures: Mapping[str, Any], spread: Mapping[str, float | None] | None = None) -> str:
    """Format loss and scores, each followed by its `spread`, if given."""
    shown, percent, four = partial(spoken, figures=figures, spread=spread), "{:.2%}".format, "{:.4f}".format
    parts = [shown("loss", "loss", in_words)]
    if "f1_micro" in figures:
        parts += [
            shown("all labels right", "accuracy", percent),
            shown("micro F1", "f1_micro", four),
            shown("macro F1", "f1_macro", four),
        ]
    elif "accuracy" in figures:
        parts += [shown("accuracy", "accuracy", percent), shown("weighted F1", "f1_weighted", four)]
        if "roc_auc" in figures:
            parts.append(shown("ROC AUC", "roc_auc", or_undefined))
    else:
        parts += regression_figures.shown(figures, spread)
    return ", ".join(parts)


def tables(targets: Mapping[str, Any], confusion: np.ndarray | None, labels: Sequence[object]) -> Iterator[Table]:
    """Yield a table of the figures by target, and the confusion matrix, unless there are too many targets or classes.

    `labels` holds the name of each row of the confusion matrix; those of its columns come first.
    """
    if 0 < len(targets) <= MAX_TARGETS:
        yield _labels_table(targets) if "f1" in next(iter(targets.values())) else _targets_table(targets)
    if confusion is not None and len(confusion) <= MAX_CLASSES:
        yield _confusion_table(confusion, labels)


def _targets_table(targets: Mapping[str, Any]) -> Table:
    """Return a table of the figures of each target on the test rows."""
    first = next(iter(targets.values()))
    known = {name: figure for name, figure in regression_figures.FIGURES.items() if name in first}
    headings = [figure.called for figure in known.values()]
    title = f"Test rows by target; {', '.join(headings[:-1])} and {headings[-1]} above are the means of these"
    table = _table(title, "", *headings)
    for target, figures in targets.items():
        table.add_row(printable(target), *(figure.words(figures[name]) for name, figure in known.items()))
    return table


def _labels_table(labels: Mapping[str, Any]) -> Table:
    """Return a table of each label's number of test rows, accuracy and F1."""
    table = _table("Test rows by label; macro F1 above is the mean of these", "", "rows with it", "accuracy", "F1")
    for name, figures in labels.items():
        table.add_row(printable(name), f"{figures['n_rows']:,}", f"{figures['accuracy']:.2%}", f"{figures['f1']:.4f}")
    return table


def _confusion_table(confusion: np.ndarray, labels: Sequence[object]) -> Table:
    """Return the table of test rows by true and predicted class, with correct ones in bold."""
    names, n_classes = [printable(str(label)) for label in labels], confusion.shape[1]
    table = _table("Confusion matrix of the test rows: true class down, predicted class across", "", *names[:n_classes])
    for i, (name, row) in enumerate(zip(names, confusion, strict=True)):
        cells = [Text(str(n), "bold") if i == j else str(n) if n else "·" for j, n in enumerate(row)]
        table.add_row(name, *cells)
    return table
