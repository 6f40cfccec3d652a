"""Initial weights, drawn on the host: every backend starts from the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mlpgpu.maths.parameters import count, layout

if TYPE_CHECKING:
    import numpy as np

Draw = Callable[["np.random.Generator", int, int, float], "np.ndarray"]


def glorot_uniform(rng: np.random.Generator, fan_in: int, fan_out: int, std: float) -> np.ndarray:
    """Draw from a uniform distribution of variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def glorot_normal(rng: np.random.Generator, fan_in: int, fan_out: int, std: float) -> np.ndarray:
    """Draw from a normal distribution of variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""
    return normal(rng, fan_in, fan_out, math.sqrt(2 / (fan_in + fan_out)))


def he_uniform(rng: np.random.Generator, fan_in: int, fan_out: int, std: float) -> np.ndarray:
    """Draw from a uniform distribution of variance ``2 / fan_in`` (He et al., 2015)."""
    bound = math.sqrt(6 / fan_in)
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def he_normal(rng: np.random.Generator, fan_in: int, fan_out: int, std: float) -> np.ndarray:
    """Draw from a normal distribution of variance ``2 / fan_in`` (He et al., 2015)."""
    return normal(rng, fan_in, fan_out, math.sqrt(2 / fan_in))


def lecun_normal(rng: np.random.Generator, fan_in: int, fan_out: int, std: float) -> np.ndarray:
    """Draw from a normal distribution of variance ``1 / fan_in`` (LeCun et al., 1998)."""
    return normal(rng, fan_in, fan_out, math.sqrt(1 / fan_in))


def normal(rng: np.random.Generator, fan_in: int, fan_out: int, std: float) -> np.ndarray:
    """Draw from a normal distribution of standard deviation `std`."""
    return std * rng.standard_normal((fan_in, fan_out))


def zeros(rng: np.random.Generator, fan_in: int, fan_out: int, std: float) -> np.ndarray:
    """Return all zeros."""
    import numpy as np

    return np.zeros((fan_in, fan_out))


INITIALS: dict[str, Draw] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_normal": lecun_normal,
    "normal": normal,
    "zeros": zeros,
}


def draw(sizes: Sequence[int], inits: Sequence[str], seed: int, *, std: float = 0.01, bias: float = 0.0) -> np.ndarray:
    """Draw the initial flat parameter vector of a run.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, from the inputs to the outputs.
    inits : sequence of str
        Name in `INITIALS` for the weights of each layer except the input layer.
    seed : int
        The same seed gives the same numbers.
    std : float
        Standard deviation for ``"normal"``.
    bias : float
        Value of every bias.

    Returns
    -------
    float64 array of shape (n_parameters,)
        Laid out as `mlpgpu.maths.parameters.layout` says.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    params = np.full(count(sizes), bias)
    for block, init in zip(layout(sizes), inits, strict=False):
        params[block.start : block.stop] = INITIALS[init](rng, *block.shape, std).ravel()  # type: ignore[call-arg]
    return params
