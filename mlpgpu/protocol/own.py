"""Checks of custom activations and losses on a few made-up rows, before training."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.errors import OwnFunctionWarning, one_line
from mlpgpu.maths.activations import Activation
from mlpgpu.maths.losses import Loss
from mlpgpu.protocol import arrays
from mlpgpu.protocol.warning import warn_user

# Number of rows, and a smaller number to test whether the value of a row depends on the other rows.
ROWS, FEWER = 8, 5
# Apart from rounding, finite differences of a smooth function are much closer than this, and a wrong factor is not.
CLOSE = 0.01
# Fraction of places allowed to differ, because they may lie at a kink.
FORGIVEN = 1 / 8

LOSS = (
    "the value is to be the loss of each row, of shape (n_rows,), of which the mean is taken elsewhere, and the "
    "gradient of each row at its logits z, of the shape of z"
)
CODES = "; t holds class numbers, which mlpgpu.maths.losses.one_hot(xp, t, z) turns into columns as z has them"
ACTIVATION = "value and derivative are to be of the shape of z, element by element"


def check_activation(given: Activation, backend: Backend, dtype: str) -> None:
    """Check a custom activation.

    Parameters
    ----------
    given : Activation
    backend : Backend
        Backend of the fit, on which functions that fail on NumPy are checked.
    dtype : str
        Floating-point type of the fit.

    Raises
    ------
    ValueError
        If a function takes other arguments, fails, returns an array of another shape than `z`, or returns no finite
        number.

    Warns
    -----
    OwnFunctionWarning
        If a value depends on other elements of `z`, or the derivative does not match the value.
    """
    # At least 0.1 from 0, where most kinks are.
    z = np.random.RandomState(0).uniform(0.1, 3, (ROWS, 4)) * np.resize([1, -1, -1], (ROWS, 4))
    _on_host_or_backend(_try_activation, backend, dtype, given, z)


def check_loss(given: Any, targets: np.ndarray, n_outputs: int, backend: Backend, dtype: str) -> None:
    """Check a custom loss.

    Parameters
    ----------
    given : Loss, or pair of callable
    targets : array of shape (n_rows,) or (n_rows, n_columns)
        Training targets, a few of which are used.
    n_outputs : int
    backend, dtype
        See `check_activation`.

    Raises
    ------
    ValueError
        If a function takes other arguments, fails, returns an array of another shape than `LOSS` says, or returns no
        finite number.

    Warns
    -----
    OwnFunctionWarning
        If the loss of a row depends on other rows, the gradient does not match the value, or neither depends on the
        logits.
    """
    t = targets[np.linspace(0, len(targets) - 1, ROWS).astype(int)]
    z, scale = 2 * np.random.RandomState(0).standard_normal((ROWS, n_outputs)), 1.0
    if t.dtype.kind == "f":
        # A loss often differs near the targets and far from them. The targets may all be equal, so std may be 0.
        scale = max(float(t.std()), 1e-5 * float(np.abs(t).max())) or scale
        z[::2] = t[::2] + scale * z[::2]
    _on_host_or_backend(_try_loss, backend, dtype, given, z, t, min(scale, 1.0))


def _on_host_or_backend(attempt: Callable[..., None], backend: Backend, dtype: str, *given: Any) -> None:
    """Try on the host in float64, and if that fails, as for functions of another library, on `backend`."""
    with np.errstate(all="ignore"):
        try:
            attempt(arrays.HOST, "float64", *given)
        except ValueError:
            if backend.name == arrays.HOST.name:
                raise
            attempt(backend, dtype, *given)


def _try_activation(at: Backend, dtype: str, given: Activation, z: np.ndarray) -> None:
    value, derivative, _ = given
    assert derivative is not None

    def found(z: np.ndarray) -> np.ndarray:
        return _called("activation", value, at, {"z": at.asarray(z, dtype)}, z.shape, ACTIVATION)

    _check_arguments("activation", value, ("z",))
    _check_arguments("derivative of the activation", derivative, ("z", "y"))
    y = found(z)
    wanted = {"z": at.asarray(z, dtype), "y": at.asarray(y, dtype)}
    slope = _called("derivative of the activation", derivative, at, wanted, z.shape, ACTIVATION)
    _check_independent(f"activation {_name(value)}", y[:FEWER, :2], found(z[:FEWER, :2]), "an element")
    h = _step(z, dtype)
    differences = (found(z + h) - found(z - h)) / (2 * h)
    _check_slopes(f"derivative {_name(derivative)} of the activation", slope, differences, _noise(y, h, dtype))


def _try_loss(at: Backend, dtype: str, given: Any, z: np.ndarray, t: np.ndarray, scale: float) -> None:
    on_device = at.asarray(t, dtype if t.dtype.kind == "f" else None)
    expected = LOSS + (CODES if t.dtype.kind == "i" else "")

    def call(what: str, function: Callable[..., Any], z: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return _called(what, function, at, {"z": at.asarray(z, dtype), "t": on_device[: len(z)]}, shape, expected)

    value, gradient = _parts(given.rows) if isinstance(given, Loss) else given

    def found(z: np.ndarray) -> np.ndarray:
        return call("loss", value, z, z.shape[:1])

    _check_arguments("loss", value, ("z", "t"))
    _check_arguments("gradient of the loss", gradient, ("z", "t"))
    each, slopes = found(z), call("gradient of the loss", gradient, z, z.shape)
    _check_independent(f"loss {_name(value)}", each[:FEWER], found(z[:FEWER]), "a row")
    h = _step(z, dtype, scale)
    towards = np.random.RandomState(1).standard_normal(z.shape) * h
    along, differences = np.empty(ROWS), np.empty(ROWS)
    for row, way in enumerate(towards):
        step = np.zeros_like(z)
        step[row] = way
        along[row] = slopes[row] @ way / np.abs(way).max()
        # Summed over all rows, because the gradient includes the effect on the loss of other rows.
        differences[row] = (found(z + step) - found(z - step)).sum() / (2 * np.abs(way).max())
    _check_slopes(
        f"gradient {_name(gradient)} of the loss", along, differences, _noise(each, np.abs(towards).max(axis=1), dtype)
    )
    if not along.any() and not differences.any():
        warn_user(
            f"the loss {_name(value)} is the same for all made-up z of shape {z.shape}, so nothing is learned from it; "
            "choose another loss, or more outputs if it compares them.",
            OwnFunctionWarning,
        )


def _parts(rows: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Split a function with two results into two functions with its name."""

    def value(xp: Any, z: Any, t: Any) -> Any:
        each, _ = rows(xp, z, t)
        return each

    def gradient(xp: Any, z: Any, t: Any) -> Any:
        _, slopes = rows(xp, z, t)
        return slopes

    value.__name__ = gradient.__name__ = _name(rows)
    return value, gradient


def _called(
    what: str, function: Callable[..., Any], at: Backend, given: dict[str, Any], shape: tuple[int, ...], expected: str
) -> np.ndarray:
    """Call a function, check that the result has the right shape and a finite number, and return it on the host."""
    try:
        found = function(at.xp, *given.values())
    except Exception as error:
        why = one_line(error) or type(error).__name__
        raise ValueError(f"{_told(what, function, given)} fails: {why}; {expected}.") from error
    got = tuple(getattr(found, "shape", ()))
    if got != shape:
        raise ValueError(f"{_told(what, function, given)} gives an array of shape {got}, not of {shape}; {expected}.")
    host = np.asarray(at.to_host(found), np.float64)
    if not np.isfinite(host).any():
        raise ValueError(f"{_told(what, function, given)} gives no finite number; {expected}.")
    return host


def _told(what: str, function: Callable[..., Any], given: dict[str, Any]) -> str:
    made_up = " and ".join(f"{name} of shape {tuple(array.shape)}, {array.dtype}," for name, array in given.items())
    return f"the {what}, {_name(function)}(xp, {', '.join(given)}), of made-up {made_up}"


def _check_arguments(what: str, function: Callable[..., Any], names: tuple[str, ...]) -> None:
    try:
        takes = inspect.signature(function)
    except (TypeError, ValueError):
        # Functions not written in Python may have no signature.
        return
    try:
        takes.bind("xp", *names)
    except TypeError:
        raise ValueError(
            f"the {what}, {_name(function)}{takes}, is called with (xp, {', '.join(names)}); define it with these."
        ) from None


def _check_independent(which: str, among: np.ndarray, alone: np.ndarray, of_what: str) -> None:
    same = np.isclose(among, alone, rtol=CLOSE, atol=CLOSE * _typical(among), equal_nan=True)
    if not same.all():
        here = tuple(np.argwhere(~same)[0])
        warn_user(
            f"the {which} gives {of_what} a value that depends on others, such as {among[here]:.4g} among more and "
            f"{alone[here]:.4g} among fewer; leave out a mean or a sum over rows, which is taken elsewhere.",
            OwnFunctionWarning,
        )


def _check_slopes(which: str, slopes: np.ndarray, differences: np.ndarray, noise: np.ndarray) -> None:
    off = np.abs(slopes - differences)
    # A non-finite slope is wrong. Where the difference is not finite, there is nothing to compare with.
    known = np.isfinite(differences)
    allowed = CLOSE * np.maximum(np.abs(slopes), np.abs(differences)) + CLOSE * 1e-3 * _typical(differences) + noise
    wrong = known & ~(off <= allowed)
    if wrong.sum() > FORGIVEN * wrong.size:
        here = np.unravel_index(np.argmax(np.where(wrong, off, -1)), off.shape)
        warn_user(
            f"the {which} is not that of its value at {wrong.sum()} of {wrong.size} made-up places: "
            f"{slopes[here]:.4g} at one of them, where differences of the value give {differences[here]:.4g}; mend the "
            "one or the other, or, where that is on purpose, ignore mlpgpu.OwnFunctionWarning.",
            OwnFunctionWarning,
        )


def _typical(numbers: np.ndarray) -> float:
    """Return the median absolute value of the finite numbers."""
    finite = np.abs(numbers[np.isfinite(numbers)])
    return float(np.median(finite)) if finite.size else 0.0


def _step(z: np.ndarray, dtype: str, scale: float = 1.0) -> Any:
    """Return a finite-difference step that balances rounding and truncation errors and is not lost in `z`."""
    eps = np.finfo(dtype).eps
    return np.maximum(scale * eps ** (1 / 3), 1e3 * eps * np.abs(z))


def _noise(values: np.ndarray, h: np.ndarray, dtype: str) -> np.ndarray:
    """Return a bound on the rounding error of a finite difference."""
    return np.asarray(10 * np.finfo(dtype).eps * np.nanmax(np.abs(values), initial=0, where=np.isfinite(values)) / h)


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
