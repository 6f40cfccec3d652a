"""Users' arrays: scikit-learn's validation, and the backend of each array."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np
from sklearn import get_config
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d, validate_data

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.models.inputs import unmasked
from mlpgpu.protocol.advice import advised, on_fit, on_missing, on_rows
from mlpgpu.training.feed import is_sparse

Array = Any
HOST: Backend = NumpyBackend()
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
_SPARSE = ("csr", "csc")


def home(array: Any) -> Backend:
    """Return the backend of `array`; NumPy for anything that is converted to a NumPy array.

    With scikit-learn's array API dispatch off, that is everything but CuPy arrays. These always stay on their device,
    since CuPy does not convert to NumPy implicitly.
    """
    foreign = array_api_compat.is_array_api_obj(array) and not array_api_compat.is_numpy_array(array)
    dispatched = get_config()["array_api_dispatch"] or array_api_compat.is_cupy_array(array)
    return backends.beside(array) if foreign and dispatched and not is_sparse(array) else HOST


def same_home(one: Backend, other: Backend) -> bool:
    """Whether both backends have the same library and device."""
    return (one.name, one.device) == (other.name, other.device)


def move(array: Array, source: Backend, target: Backend) -> Array:
    """Move `array` from `source` to `target`."""
    return array if same_home(source, target) else target.asarray(source.to_host(array))


def to_host(array: Any) -> Any:
    """Convert an array of another library or device to NumPy; return anything else, None included, unchanged."""
    at = home(array)
    return unmasked(array) if at is HOST else at.to_host(array)


def dtype_name(array: Array) -> str:
    """Return the name of the dtype, such as ``float32``, without its library."""
    return str(array.dtype).rpartition(".")[2]


@np.errstate(over="ignore", invalid="ignore")
def _total(x: np.ndarray) -> Any:
    return x.sum()


def check_inputs(estimator: Any, x: Any) -> Any:
    """Validate `x` as scikit-learn does, against ``n_features_in_`` and ``feature_names_in_``.

    Parameters
    ----------
    estimator : estimator
    x : array-like or sparse matrix of shape (n_rows, n_features)

    Returns
    -------
    array of shape (n_rows, n_features)
        float64 or float32, of the backend of the input; sparse matrices as CSR.

    Raises
    ------
    ValueError
        With scikit-learn's own messages, and advice.
    """
    if _is_valid(estimator, x):
        return x
    with advised(on_rows, x):
        return _checked(estimator, x, reset=False)


def _checked(estimator: Any, x: Any, reset: bool) -> Any:
    at = home(x)
    if at is HOST:
        return _as_csr(validate_data(estimator, unmasked(x), accept_sparse=_SPARSE, dtype=_FLOATS, reset=reset))
    if get_config()["array_api_dispatch"]:
        return validate_data(estimator, x, dtype=_float_types(at), reset=reset)
    x = _check_on_device(at, x)
    validate_data(estimator, x, reset=reset, skip_check_array=True)
    return x


def check_rows(estimator: Any, x: Any, y: Any, *, reset: bool, order: str | None = None) -> tuple[Any, Any]:
    """Validate `x` as `check_inputs` does, and the targets `y`, which are returned on the host.

    With `reset`, set the attributes that `x` is otherwise checked against.
    If `x` is copied on the host, to be of another type, `order` is the layout of the copy; "C" is a reason to copy too.
    """
    if not reset and _is_valid(estimator, x) and _are_numbers(y) and len(x) == len(y):
        return x, _as_1d(y)
    with advised(on_fit, x, y):
        return _checked_with_targets(estimator, x, y, reset, order)


def _checked_with_targets(estimator: Any, x: Any, y: Any, reset: bool, order: str | None) -> tuple[Any, Any]:
    if home(x) is HOST:
        x, y = validate_data(
            estimator,
            unmasked(x),
            to_host(y),
            accept_sparse=_SPARSE,
            dtype=_FLOATS,
            order=order,
            reset=reset,
            multi_output=True,
        )
        return _as_csr(x), _as_1d(_complete(y, estimator._y_numeric))
    if y is None:
        validate_data(estimator, x, y, reset=reset, skip_check_array=True)
    x = _checked(estimator, x, reset)
    dtype = "numeric" if estimator._y_numeric else None
    y = check_array(to_host(y), accept_sparse="csr", ensure_2d=False, dtype=dtype, input_name="y")
    check_consistent_length(x, y)
    return x, _as_1d(y)


def _is_valid(estimator: Any, x: Any) -> bool:
    """Whether scikit-learn's check would return `x` unchanged; for a few rows it takes longer than the prediction."""
    return (
        type(x) is np.ndarray
        and x.ndim == 2
        and x.dtype in _FLOATS
        and x.shape[0] > 0
        and x.shape[1] == getattr(estimator, "n_features_in_", None)
        and not hasattr(estimator, "feature_names_in_")
        and bool(np.isfinite(_total(x)))
    )


def _are_numbers(y: Any) -> bool:
    """Whether scikit-learn's check of targets would return `y` unchanged."""
    return type(y) is np.ndarray and y.ndim in {1, 2} and y.dtype.kind in "biuf" and bool(np.isfinite(_total(y)))


def _complete(y: Any, numeric: bool) -> Any:
    """Return targets without missing values, which scikit-learn's check lets through among objects."""
    if y.dtype != object:
        return y
    # Most objects are text, and a look at the types takes much less time than one at each value.
    if set(map(type, y.flat)) != {str} and on_missing(y):
        raise ValueError("Input y lacks values.")
    if numeric:
        # The estimator refuses what is left of another type.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return y.astype(np.float64)
    return y


def _as_csr(x: Any) -> Any:
    return x.tocsr() if is_sparse(x) else x


def _as_1d(y: Any) -> Any:
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 and not is_sparse(y) else y


def _float_types(at: Backend) -> Sequence[Any]:
    # Some devices lack float64, and JAX has it only when it is enabled.
    widest = at.asarray(np.zeros(1)).dtype
    return [widest] if widest == at.xp.float32 else [at.xp.float64, at.xp.float32]


def _check_on_device(at: Backend, x: Array) -> Array:
    """Do the essential checks of scikit-learn without its array API dispatch, which also needs a setting of SciPy."""
    xp = at.xp
    if x.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {x.ndim}D array instead. Reshape your data either using array.reshape(-1, 1) if "
            "your data has a single feature or array.reshape(1, -1) if it contains a single sample."
        )
    if 0 in x.shape:
        what = "sample" if x.shape[0] == 0 else "feature"
        raise ValueError(f"Found array with 0 {what}(s) (shape={tuple(x.shape)}) while a minimum of 1 is required.")
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError("Complex data not supported")
    floats = _float_types(at)
    x = x if x.dtype in floats else xp.astype(x, floats[0])
    if not bool(at.to_host(xp.all(xp.isfinite(x)))):
        raise ValueError("Input X contains NaN, infinity or a value too large for its dtype; impute or drop such rows.")
    return x


def take_rows(at: Backend, x: Array, rows: np.ndarray) -> Array:
    """Return the rows of `x` at the indices `rows`."""
    return x[rows] if at is HOST else at.xp.take(x, at.asarray(rows), axis=0)
