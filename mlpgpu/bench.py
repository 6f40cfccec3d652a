"""The command that compares the speed of devices by batch size: ``python -m mlpgpu.bench``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.command_line import INTERRUPTED, application, print_json, run_command, with_flags
from mlpgpu.figures import counted
from mlpgpu.files import out_folder, write_json
from mlpgpu.throughput.study import FLAGS, OF_STEPS, Study

if TYPE_CHECKING:
    from mlpgpu.data.dataset import DataSet
    from mlpgpu.throughput.contenders import Contender
    from mlpgpu.throughput.measure import Point

FIGURES, PICTURE = "throughput.json", "throughput.png"


app = application("bench")


@app.default
@with_flags(FLAGS)
def bench(**given: Any) -> int:
    """Measure how fast each device trains, by batch size, and where a GPU overtakes the CPU.

    Prints a table, and writes a picture and a JSON file.
    Ctrl-C ends it with what was measured so far.
    """
    from mlpgpu.machine import describe
    from mlpgpu.results.report import Output
    from mlpgpu.throughput.contenders import find
    from mlpgpu.throughput.crossing import findings
    from mlpgpu.throughput.measure import measure, plan_of, read

    study = Study(**given)
    console = Output(results_only=study.quiet)
    contenders, notes = find(study)
    data = read(study)
    folder = out_folder(study.out, "bench")
    sizes = plan_of(study, data).network.sizes
    subject = ", ".join([data.name, "-".join(map(str, sizes)), study.optimizer, study.dtype, *study.beside()])
    features = f"{counted(data.n_features, 'feature')}, {data.x_train.dtype}"
    console.say(
        f"Data      {data.name}: {len(data.x_train):,} rows of {features}",
        f"Training  {subject}: median of {counted(study.repeats, 'run')} of {study.seconds:g} s",
        *(f"Device    {contender.description}" for contender in contenders),
        *(f"Note      {note}" for note in (*data.notes, *notes)),
    )

    table = _Table(contenders)
    points: list[Point] = []
    described = describe()

    def write(interrupted: bool) -> dict[str, Any]:
        figures = {
            "findings": findings(points, contenders),
            "interrupted": interrupted,
            "sizes": sizes,
            **_figures(study, data, contenders, points),
            "machine": described,
        }
        write_json(figures, folder / FIGURES)
        return figures

    interrupted = False
    console.say(table.heading())
    try:
        for point in measure(study, data, contenders):
            points.append(point)
            console.say(table.row(point))
            # After each point: if the process is killed, what was measured so far is kept.
            write(interrupted=True)
    except KeyboardInterrupt:
        if not points:
            raise
        interrupted = True

    figures = write(interrupted)
    found = figures["findings"]
    missing = _draw(folder / PICTURE, points, contenders, f"{subject}: {'; '.join(found[:2])}")
    if study.json:
        print_json(figures, out=folder)
    else:
        console.show(*(f"Finding   {sentence}" for sentence in found), *missing, f"Saved     {folder}")
    return INTERRUPTED if interrupted else 0


class _Table:
    """Table that is printed row by row, as measurements come in."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        from mlpgpu.throughput.contenders import pairs

        self.labels, self.pairs = [who.label for who in contenders], pairs(contenders)
        self.heads = ["batch", *(f"{label}, samples/s" for label in self.labels)]
        self.heads += [f"{gpu} / {cpu}" for gpu, cpu in self.pairs]

    def heading(self) -> str:
        return self._line(self.heads)

    def row(self, point: Point) -> str:
        rates = [f"{point.median(label):,.0f}" for label in self.labels]
        ratios = [f"{point.median(gpu) / point.median(cpu):.2f}" for gpu, cpu in self.pairs]
        return self._line([f"{point.batch_size:,}", *rates, *ratios])

    def _line(self, cells: Sequence[str]) -> str:
        return "   ".join(cell.rjust(max(len(head), 6)) for cell, head in zip(cells, self.heads, strict=True))


def _figures(study: Study, data: DataSet, contenders: Sequence[Contender], points: Sequence[Point]) -> dict[str, Any]:
    from mlpgpu.throughput.crossing import crossings

    return {
        "dataset": data.name,
        "rows": len(data.x_train),
        "optimizer": study.optimizer,
        **{name: getattr(study, name) for name in OF_STEPS},
        "dtype": study.dtype,
        "precision": study.precision,
        "seed": study.seed,
        "seconds": study.seconds,
        "repeats": study.repeats,
        "devices": {who.label: who.description for who in contenders},
        "crossings": [
            {"gpu": found.gpu, "cpu": found.cpu, "batch_size": found.batch_size}
            for found in crossings(points, contenders)
        ],
        "points": [
            {
                "batch_size": point.batch_size,
                "samples_per_second": {label: point.median(label) for label in point.rates},
                "measurements": point.rates,
            }
            for point in points
        ],
    }


def _draw(path: Path, points: Sequence[Point], contenders: Sequence[Contender], title: str) -> list[str]:
    """Draw the plot; return what to install if there can be none."""
    from mlpgpu import plots
    from mlpgpu.throughput.picture import draw

    if not plots.available():
        return [plots.NO_PICTURES]
    draw(points, contenders, path, title=title)
    return []


if __name__ == "__main__":
    sys.exit(run_command(app))
