"""What a fitted estimator holds: its weights, and what ``partial_fit`` goes on from."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.maths.losses import LOSSES, Loss
from mlpgpu.maths.normalization import folded
from mlpgpu.maths.parameters import join, split
from mlpgpu.maths.step import State
from mlpgpu.protocol import arrays
from mlpgpu.protocol.arrays import Array


def _name(loss: Loss) -> str:
    """Of its link, as scikit-learn has it."""
    name = loss.link.__name__
    return {"exponential": "exp"}.get(name, name)


# By the name that a fitted estimator has for it.
LINKS = {_name(loss): loss.link for loss in LOSSES.values()}

# scikit-learn makes its optimizer once, of these, and partial_fit goes on with it whatever is set later.
OF_OPTIMIZER = (
    "solver",
    "learning_rate",
    "learning_rate_init",
    "power_t",
    "momentum",
    "nesterovs_momentum",
    "beta_1",
    "beta_2",
    "epsilon",
)

Kind = tuple[str | None, str, int, tuple[bool, ...]]


@dataclass
class Continuation:
    """What ``partial_fit`` goes on from, beside the weights.

    Attributes
    ----------
    backend : Backend
    state : State
        With what the optimizer keeps.
    random_state : RandomState
    order : array of shape (n_rows,)
        Of the rows in the last epoch.
    seed : int
        Of dropout.
    kind : tuple
        What the state is of: optimizer by name, dtype, number of frozen layers, which hidden layers are normalised.
    made_with : dict
        `OF_OPTIMIZER`, as they were when the optimizer began.
    """

    backend: Backend
    state: State
    random_state: np.random.RandomState
    order: np.ndarray
    seed: int
    kind: Kind
    made_with: dict[str, Any]

    def suits(self, backend: Backend, kind: Kind) -> bool:
        """Whether a fit of this kind can go on from it."""
        return arrays.same_home(self.backend, backend) and self.kind == kind

    def __deepcopy__(self, memo: dict[int, Any]) -> Continuation:
        """All but the backend, which holds nothing that changes."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "backend"}
        return dataclasses.replace(self, **copy.deepcopy(own, memo))

    def __sklearn_array_api_convert__(self, converter: Callable[[Array], Array]) -> Continuation:
        """The same with its arrays elsewhere: how scikit-learn moves an estimator."""
        step, params, rate = (converter(a) for a in (self.state.step, self.state.params, self.state.learning_rate))
        state = State(params, tuple(converter(slot) for slot in self.state.slots), step, rate)
        return dataclasses.replace(self, backend=backends.beside(params), state=state)


def fitted_sizes(estimator: Any) -> tuple[int, ...]:
    """Units of each layer of a fitted estimator, from the inputs to the outputs."""
    shapes = [tuple(w.shape) for w in estimator.coefs_]
    return (*(fan_in for fan_in, _ in shapes), shapes[-1][1])


@contextlib.contextmanager
def whole(estimator: Any) -> Iterator[None]:
    """Have what was fitted before stand where a fit fails: labels, layers and curves go with their weights."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        # The weights come last: what is raised after them is a warning.
        if vars(estimator).get("coefs_") is before.get("coefs_"):
            # scikit-learn puts away by itself what its callbacks needed.
            theirs = {
                name: value for name, value in vars(estimator).items() if name.startswith(("_skl_", "_callback_"))
            }
            vars(estimator).clear()
            vars(estimator).update(before | theirs)
        raise


def keep_shape(estimator: Any, sizes: Sequence[int], loss: Loss) -> None:
    """Set the fitted attributes that say what network it is."""
    estimator.n_layers_, estimator.n_outputs_ = len(sizes), sizes[-1]
    estimator.out_activation_ = _name(loss)


def loss_of(estimator: Any, n_outputs: int) -> tuple[str, Loss]:
    """Name and function of a loss that has the link of the fit, whichever the next fit is to have."""
    name, loss = estimator._choose_loss(n_outputs)
    link = LINKS.get(estimator.out_activation_, loss.link)
    if loss.link is link:
        return name, loss
    return next((name, loss) for name, loss in LOSSES.items() if loss.link is link)


def left_by_fit(estimator: Any, normalized: tuple[bool, ...], target: Backend) -> Array | None:
    """Its parameters on `target`, with those that go with normalised layers.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted.
    normalized : tuple of bool
        Which hidden layers are to be.
    target : Backend

    Returns
    -------
    array of shape (n_parameters,) or None
        None where its weights and biases are not what comes of these: they were changed, or read from a file, or
        fitted with other layers normalised.
    """
    kept = getattr(estimator, "_continuation", None)
    if kept is None or kept.kind[-1] != normalized:
        return None
    params, backend = kept.state.params, kept.backend
    expected = folded(np, backend.to_host(params), fitted_sizes(estimator), normalized)
    # Folded on a device, they may differ in the last digits.
    close = 16 * np.finfo(expected.dtype).eps
    same = np.allclose(params_of(estimator, arrays.HOST), expected, rtol=close, atol=close * np.abs(expected).max())
    return arrays.move(params, backend, target) if same else None


def params_of(estimator: Any, target: Backend) -> Array:
    """Its weights and biases as one flat vector on `target`: what they are parts of, where there is such a one."""
    at, parts = backends.beside(estimator.coefs_[0]), [*estimator.coefs_, *estimator.intercepts_]
    params = parts[0].base if _are_one(parts) else None
    if params is None:
        params = join(at.xp, list(zip(estimator.coefs_, estimator.intercepts_, strict=True)))
    return arrays.move(params, at, target)


def parts_of(xp: Any, params: Array, sizes: Sequence[int]) -> dict[str, list[Array]]:
    """The fitted weights and biases, as parts of one flat vector: so a prediction need not join them."""
    layers = split(xp, params, sizes)
    return {"coefs_": [w for w, _ in layers], "intercepts_": [b for _, b in layers]}


def _are_one(parts: Sequence[Any]) -> bool:
    """Whether arrays of NumPy lie one after the other in one vector, and are all of it."""
    whole = getattr(parts[0], "base", None)
    if not (type(whole) is np.ndarray and whole.ndim == 1 and whole.size == sum(part.size for part in parts)):
        return False
    at = _address(whole)
    for part in parts:
        if part.base is not whole or part.dtype != whole.dtype or not part.flags.c_contiguous or _address(part) != at:
            return False
        at += part.nbytes
    return True


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
