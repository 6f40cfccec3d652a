"""Where one device overtakes another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlpgpu.throughput.contenders import Contender
from mlpgpu.throughput.measure import Point

__all__ = ["Crossing", "crossings", "findings", "overtaking", "rounded"]


@dataclass(frozen=True)
class Crossing:
    """From which batch size up a GPU is ahead of a CPU.

    Attributes
    ----------
    gpu, cpu : str
        Labels of the two.
    batch_size : float or None
        See `overtaking`.
    everywhere : bool
        Whether it is ahead with every batch size.
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
    """Where each GPU overtakes the first of the contenders on the CPU; empty where there are not both.

    Parameters
    ----------
    points : sequence of Point
        At least one, by batch size, ascending.
    contenders : sequence of Contender
    """
    sizes = [point.batch_size for point in points]
    rates = {who.label: [point.median(who.label) for point in points] for who in contenders}
    cpu = next((who.label for who in contenders if who.device == "cpu"), None)
    if cpu is None:
        return []
    gpus = [who.label for who in contenders if who.device != "cpu"]
    found = {gpu: overtaking(sizes, rates[gpu], rates[cpu]) for gpu in gpus}
    return [Crossing(gpu, cpu, size, everywhere=size == sizes[0]) for gpu, size in found.items()]


def overtaking(batch_sizes: Sequence[int], rates: Sequence[float], reference: Sequence[float]) -> float | None:
    """The batch size from which on `rates` are above `reference`, each a line from logarithm to logarithm.

    Parameters
    ----------
    batch_sizes : sequence of int
        Ascending.
    rates, reference : sequence of float
        Samples a second with each of them.

    Returns
    -------
    float or None
        The first batch size where `rates` are ahead with all of them; None where they are not ahead with the last.
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
    """What the figures say, a sentence for each crossing; where there can be none, how fast it is at best."""
    if found := crossings(points, contenders):
        return [str(crossing) for crossing in found]
    rate, size, label = max(
        (point.median(who.label), point.batch_size, who.label) for who in contenders for point in points
    )
    kind = "GPU" if contenders[0].device == "cpu" else "CPU"
    return [f"no {kind} measured, {label} does {rounded(rate)} samples/s at most, at batch {size:,}"]


def rounded(number: float) -> str:
    """`number` to two digits, in words for a reader."""
    return f"{float(f'{number:.2g}'):,.0f}"
