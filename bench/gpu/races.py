"""Networks to train, their contestants, and the target ratios."""

import math
import statistics
from dataclasses import dataclass

from peers.figures import compare, fastest, ratio

from gpu.contestants import CONTESTANTS

SMALL, WIDE = (784, 128, 10), (784, 1024, 1024, 10)


@dataclass(frozen=True)
class Race:
    """A network, a batch size and a precision, and the contestants that train it.

    Attributes
    ----------
    name : str
    sizes : tuple of int
    batch_size : int
    precision : str
    names : tuple of str
        Names in `CONTESTANTS`.
    """

    name: str
    sizes: tuple[int, ...]
    batch_size: int
    precision: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """A ratio of times, and its target.

    Attributes
    ----------
    what, race : str
    one, other : str
        Names of contestants, or prefixes, which stand for the fastest contestant with them.
    least, most : float
        Range of the seconds of one over those of the other.
    """

    what: str
    race: str
    one: str
    other: str
    least: float = 0
    most: float = math.inf

    @property
    def limit(self):
        return f"at least {self.least:g}" if self.least else f"at most {self.most:g}"


PEERS = ("captured", "torch-step", "torch-epoch", "torch-compiled", "jax")
RACES = (
    Race("784-128-10, batch 200", SMALL, 200, "float32", (*PEERS, "eager")),
    Race("784-128-10, batch 8,192", SMALL, 8192, "float32", (*PEERS, "products")),
    Race("784-1024-1024-10, batch 8,192", WIDE, 8192, "float32", ("captured", "torch-step", "products")),
    Race("784-1024-1024-10, batch 8,192, TF32", WIDE, 8192, "tf32", ("captured", "torch-step", "products")),
)
TARGETS = (
    Target("eager over captured", RACES[0].name, "eager", "captured", least=10),
    Target("captured over PyTorch's graph", RACES[0].name, "captured", "torch", most=0.6),
    Target("captured over JAX's scan", RACES[0].name, "captured", "jax", most=0.5),
    Target("epoch over its products", RACES[1].name, "captured", "products", most=1.5),
    Target("products over the epoch", RACES[2].name, "products", "captured", least=0.9),
    Target("products over the epoch", RACES[3].name, "products", "captured", least=0.9),
)
# Relative tolerances of the loss of the first epoch, which has the same start and order for all.
TOLERANCES = {"float32": 0.01, "tf32": 0.03}


def judge(results, tolerance):
    """Disqualify each contestant whose loss in the first epoch differs from the median of all."""
    losses = {name: r.losses[0] for name, r in results.items() if not r.reason and r.losses[0] is not None}
    compare(results, losses, losses.values(), tolerance)


def ratio_to(target, results):
    """Return the ratio; None if one of the two does not count."""
    starts = target.one, target.other
    return ratio(results, *(fastest(results, [name for name in results if name.startswith(start)]) for start in starts))


def verdicts(played):
    """Yield a row for each target: ratio, race, measured, limit, verdict; `played` is a dict of race -> results."""
    for target in TARGETS:
        found = ratio_to(target, played.get(target.race, {}))
        word = "not measured" if found is None else "reached" if target.least <= found <= target.most else "not reached"
        yield target.what, target.race, "" if found is None else f"{found:.2f}", target.limit, word


def finding(played):
    """Summarise the first ratios in a sentence."""
    results = played.get(RACES[0].name, {})
    eager, torch, jax = (ratio_to(target, results) for target in TARGETS[:3])
    shares = {"PyTorch's graph": torch, "JAX's scan": jax, "--no-capture": eager and 1 / eager}
    said = [f"{share:.2f} of {whose}" for whose, share in shares.items() if share]
    return f"{RACES[0].name}: a captured step takes {', '.join(said)}" if said else "Microseconds of a training step"


def lines(played, n_rows):
    """Yield Markdown tables of microseconds per step, for epochs of `n_rows` rows, and of ratios with their targets."""
    yield "| | race | us per step, median (least to most) | |\n| --- | --- | --- | --- |"
    for race in RACES:
        for name, result in played.get(race.name, {}).items():
            cells = (
                CONTESTANTS[name].label,
                race.name,
                _span(result, steps(race, n_rows)),
                result.reason or result.setting,
            )
            yield f"| {' | '.join(cells)} |"
    yield "\n| ratio | race | measured | target | |\n| --- | --- | --- | --- | --- |"
    yield from (f"| {' | '.join(cells)} |" for cells in verdicts(played))


def steps(race, n_rows):
    """Return the number of steps per epoch."""
    return -(-n_rows // race.batch_size)


def _span(result, n_steps):
    if result.reason:
        return ""
    low, middle, high = (1e6 * f(result.seconds) / n_steps for f in (min, statistics.median, max))
    return f"{middle:,.1f} ({low:,.1f} to {high:,.1f})"
