"""Check matrix products with rounded operands."""

from __future__ import annotations

from functools import partial

import numpy as np

from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place
from scripts.smoke.ways import CAPTURED, Way, difference, train

# Half a unit in the last place of an operand.
UNITS = {"tf32": 2.0**-11, "bf16": 2.0**-8}
# Tolerance of the first loss in these units, and relative tolerance of the mean loss of an epoch, whose steps diverge.
TIMES, EPOCH = 2, 0.03


def rounded(place: Place, precision: str, way: Way = CAPTURED) -> Found:
    """Compare an epoch with rounded operands with one in float32."""
    exact, found = (train(place, way, precision=name).losses for name in ("float32", precision))
    first, mean = float(difference(found, exact)[0]), float(abs(found.mean() / exact.mean() - 1))
    differ = bool(np.any(found != exact))
    figure = f"first {first:.1e}, epoch {mean:.1e}" + ("" if differ else ", the bits of float32")
    return Found(figure, differ and first <= TIMES * UNITS[precision] and mean <= EPOCH, {"losses": found.tolist()})


WANTED = {name: f"first {TIMES * unit:.1g}, epoch {EPOCH:g}, not float32" for name, unit in UNITS.items()}
CHECKS = tuple(Check(name, wanted, partial(rounded, precision=name), 40) for name, wanted in WANTED.items())
