"""Batch sizes at which one device overtakes another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlpgpu.throughput.contenders import Contender, pairs
from mlpgpu.throughput.measure import Point


@dataclass(frozen=True)
class Crossing:
    """Batch size from which a GPU is faster than a CPU.

    Attributes
    ----------
    gpu, cpu : str
        Labels of the two.
    batch_size : float or None
        See `overtaking`.
    everywhere : bool
        Whether the GPU is faster with every batch size.
    """

    gpu: str
    cpu: str
    batch_size: float | None
    everywhere: bool

    def __str__(self) -> str:
        if self.batch_size is None:
            return f"{self.gpu} is not ahead of {self.cpu} with the largest batch"
        if self.everywhere:
            return f"{self.gpu} is ahead of {self.cpu} from batch {self.batch_size:,.0f} up"
        return f"{self.gpu} overtakes {self.cpu} at batch ~{rounded(self.batch_size)}"


def crossings(points: Sequence[Point], contenders: Sequence[Contender]) -> list[Crossing]:
    """Find where the GPU of each of `pairs` overtakes the CPU.

    Parameters
    ----------
    points : sequence of Point
        At least one, in ascending order of batch size.
    contenders : sequence of Contender
    """
    sizes, found = [point.batch_size for point in points], []
    for gpu, cpu in pairs(contenders):
        rates, reference = ([point.median(label) for point in points] for label in (gpu, cpu))
        size = overtaking(sizes, rates, reference)
        found.append(Crossing(gpu, cpu, size, everywhere=size == sizes[0]))
    return found


def overtaking(batch_sizes: Sequence[int], rates: Sequence[float], reference: Sequence[float]) -> float | None:
    """Find the batch size from which on `rates` exceed `reference`, interpolated linearly in log-log scale.

    Parameters
    ----------
    batch_sizes : sequence of int
        In ascending order.
    rates, reference : sequence of float
        Samples per second at each batch size.

    Returns
    -------
    float or None
        Last crossing; the first batch size if `rates` are higher at all of them; None if they are not higher at the
        last.
    """
    ahead, sizes = np.log(rates) - np.log(reference), np.log(batch_sizes)
    behind = np.flatnonzero(ahead <= 0)
    if not behind.size:
        return float(batch_sizes[0])
    last = int(behind[-1])
    if last == len(sizes) - 1:
        return None
    return float(np.exp(np.interp(0, ahead[last : last + 2], sizes[last : last + 2])))


def findings(points: Sequence[Point], contenders: Sequence[Contender]) -> list[str]:
    """Describe each crossing in a sentence; without a GPU or a CPU, describe the highest rate."""
    if found := crossings(points, contenders):
        return [str(crossing) for crossing in found]
    rate, size, label = max(
        (point.median(who.label), point.batch_size, who.label) for who in contenders for point in points
    )
    kind = "GPU" if contenders[0].device == "cpu" else "CPU"
    return [f"no {kind} measured, {label} does {rounded(rate)} samples/s at most, at batch {size:,}"]


def rounded(number: float) -> str:
    """Format `number` to two significant digits, such as ``1,200``."""
    return f"{float(f'{number:.2g}'):,.0f}"
