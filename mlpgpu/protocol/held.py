"""State of a fitted estimator: its weights, and the state that ``partial_fit`` continues from."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.maths.losses import LOSSES, Loss
from mlpgpu.maths.normalization import folded
from mlpgpu.maths.parameters import join, split
from mlpgpu.maths.step import State
from mlpgpu.protocol import arrays
from mlpgpu.protocol.arrays import Array
from mlpgpu.training.epoch import Lasting


def _name(loss: Loss) -> str:
    """Return scikit-learn's name of the link."""
    name = getattr(loss.link, "__name__", "own")
    return {"exponential": "exp"}.get(name, name)


# Links by the name in `out_activation_`.
LINKS = {_name(loss): loss.link for loss in LOSSES.values()}

# scikit-learn creates its optimizer once, from these parameters; partial_fit ignores later changes to them.
MADE_ONCE = (
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

# Fitted lists that later fits extend in place.
CURVES = ("loss_curve_", "validation_loss_curve_", "validation_scores_", "history_")

Kind = tuple[str | None, str, int, tuple[bool, ...]]


@dataclass(eq=False)
class Continuation:
    """State that ``partial_fit`` continues from, beside the weights.

    Attributes
    ----------
    backend : Backend
    state : State
        Training state, with the slots of the optimizer.
    random_state : RandomState
    order : array of shape (n_rows,)
        Order of the rows in the last epoch.
    seed : int
        Seed of dropout.
    kind : tuple
        Settings that the state depends on: `optimizer`, dtype, number of frozen layers, and whether each hidden layer
        is normalised.
    optimizer_params : dict
        Parameters in `MADE_ONCE`, as they were when the optimizer was created.
    checked : dict
        All parameters, as they were when they were last checked.
    in_parts : bool
        Whether the last call was one of ``partial_fit``, which another is likely to follow.
    lasting : Lasting or None
        Loop that the next fit may go on using; never that of two estimators.
    """

    backend: Backend
    state: State
    random_state: np.random.RandomState
    order: np.ndarray
    seed: int
    kind: Kind
    optimizer_params: dict[str, Any]
    checked: dict[str, Any]
    in_parts: bool
    lasting: Lasting | None = None

    def take_loop(self) -> Lasting:
        """Return the loop, which is then no longer here, or a new one: a copy of the estimator may ask as well."""
        # In one operation, so that of two threads only one gets it.
        return vars(self).pop("lasting", None) or Lasting()

    def on(self, backend: Backend) -> Continuation:
        """Return it with its arrays on `backend`."""
        if arrays.same_home(self.backend, backend):
            return self
        state = self.state.copied(lambda array: arrays.move(array, self.backend, backend))
        return dataclasses.replace(self, backend=backend, state=state, lasting=None)

    def to_plain(self) -> dict[str, Any]:
        """Return what a pickle keeps: NumPy arrays and plain values, so that it can be read wherever the class is."""
        state = self.on(arrays.HOST).state._asdict()
        if not any(self.kind[-1]):
            # They are the weights and biases of the estimator.
            del state["params"]
        # Estimators without a seed draw from NumPy's generator: all that go on from one pickle shuffle differently.
        drawn = None if self.random_state is check_random_state(None) else self.random_state
        names = "order", "seed", "kind", "optimizer_params"
        return {"state": state, "random_state": drawn} | {name: getattr(self, name) for name in names}

    @classmethod
    def from_plain(cls, plain: dict[str, Any], params: np.ndarray) -> Continuation:
        """Return what `to_plain` was called on, on the host; `params` are the weights and biases of the estimator."""
        state = State(**{"params": params} | plain["state"])
        made = {"state": state, "random_state": check_random_state(plain["random_state"])}
        return cls(**plain | made, backend=arrays.HOST, checked={}, in_parts=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Continuation:
        """Copy everything except the backend, which is immutable, the parameters, and the loop."""
        names = {field.name for field in dataclasses.fields(self)} - {"backend", "checked", "lasting"}
        own = {name: getattr(self, name) for name in names}
        return dataclasses.replace(self, **copy.deepcopy(own, memo), lasting=None)

    def __sklearn_array_api_convert__(self, converter: Callable[[Array], Array]) -> Continuation:
        """Return a copy with converted arrays; scikit-learn moves estimators between libraries with it."""
        state = self.state.copied(converter)
        return dataclasses.replace(self, backend=backends.beside(state.params), state=state, lasting=None)


def fitted_sizes(estimator: Any) -> tuple[int, ...]:
    """Return the number of units in each layer of a fitted estimator, from the inputs to the outputs."""
    shapes = [tuple(w.shape) for w in estimator.coefs_]
    return (*(fan_in for fan_in, _ in shapes), shapes[-1][1])


@contextlib.contextmanager
def restored_on_failure(estimator: Any) -> Iterator[None]:
    """Restore the previous fit if a new one fails, so that labels, layers and curves match the weights."""
    before = dict(vars(estimator))
    lengths = {name: len(before[name]) for name in CURVES if isinstance(before.get(name), list)}
    try:
        yield
    except BaseException:
        # A fit sets the weights last: what is raised after that is a warning turned into an error, and the fit stands.
        if vars(estimator).get("coefs_") is before.get("coefs_"):
            for name, length in lengths.items():
                del before[name][length:]
            # scikit-learn itself removes the attributes of its callbacks.
            theirs = {
                name: value for name, value in vars(estimator).items() if name.startswith(("_skl_", "_callback_"))
            }
            vars(estimator).clear()
            vars(estimator).update(before | theirs)
        raise


def keep_shape(estimator: Any, sizes: Sequence[int], loss: Loss) -> None:
    """Set the fitted attributes that describe the network."""
    estimator.n_layers_, estimator.n_outputs_ = len(sizes), sizes[-1]
    name = _name(loss)
    # A custom link must not pass for the built-in one of the same name.
    estimator.out_activation_ = name if LINKS.get(name, loss.link) is loss.link else f"own {name}"


def loss_of(estimator: Any, n_outputs: int) -> tuple[str, Loss]:
    """Return the name of a loss with the link of the fit, and the loss, even if the parameter has changed since."""
    name, loss = estimator._choose_loss(n_outputs)
    link = LINKS.get(estimator.out_activation_, loss.link)
    if loss.link is link:
        return name, loss
    return next((name, loss) for name, loss in LOSSES.items() if loss.link is link)


def unfolded_params(estimator: Any, normalized: tuple[bool, ...], target: Backend) -> Array | None:
    """Return the parameters of a fit on `target`, including those of its normalised layers.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted estimator.
    normalized : tuple of bool
        Whether each hidden layer is normalised in the next fit.
    target : Backend

    Returns
    -------
    array of shape (n_parameters,) or None
        None if folding these parameters does not give the weights and biases of the estimator, because they were
        changed, read from a file, or fitted with other layers normalised.
    """
    kept = getattr(estimator, "_continuation", None)
    if kept is None or kept.kind[-1] != normalized:
        return None
    params, backend = kept.state.params, kept.backend
    expected = folded(np, backend.to_host(params), fitted_sizes(estimator), normalized)
    # The weights may have been folded on another device, and differ by rounding.
    close = 16 * np.finfo(expected.dtype).eps
    same = np.allclose(params_of(estimator, arrays.HOST), expected, rtol=close, atol=close * np.abs(expected).max())
    return arrays.move(params, backend, target) if same else None


def params_of(estimator: Any, target: Backend) -> Array:
    """Return the weights and biases as one flat vector on `target`; views of one vector are not joined again."""
    at, parts = backends.beside(estimator.coefs_[0]), [*estimator.coefs_, *estimator.intercepts_]
    params = _one_vector(parts)
    if params is None:
        params = join(at.xp, list(zip(estimator.coefs_, estimator.intercepts_, strict=True)))
    return arrays.move(params, at, target)


def parts_of(xp: Any, params: Array, sizes: Sequence[int]) -> dict[str, list[Array]]:
    """Return the fitted weights and biases as parts of one flat vector, which a prediction need not join again."""
    layers = split(xp, params, sizes)
    return {"coefs_": [w for w, _ in layers], "intercepts_": [b for _, b in layers]}


def _one_vector(parts: Sequence[Any]) -> np.ndarray | None:
    """Return the vector of which NumPy arrays are consecutive views, if it begins their memory; otherwise None."""
    whole = getattr(parts[0], "base", None)
    if not (type(whole) is np.ndarray and whole.ndim == 1 and whole.flags.c_contiguous):
        return None
    at, dtype = _address(whole), parts[0].dtype
    for part in parts:
        if part.base is not whole or part.dtype != dtype or not part.flags.c_contiguous or _address(part) != at:
            return None
        at += part.nbytes
    # The arrays of a recorded step are views of bytes.
    return whole.view(np.uint8)[: at - _address(whole)].view(dtype)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
