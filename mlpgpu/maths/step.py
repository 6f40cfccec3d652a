"""One training step, ``(state, batch) -> (state, loss)``: the function that a backend compiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlpgpu.maths import parameters
from mlpgpu.maths.network import Network, loss_gradient_and_moments
from mlpgpu.maths.normalization import running_moments
from mlpgpu.maths.optimizers import Optimizer, Slots
from mlpgpu.maths.parameters import Array


class State(NamedTuple):
    """The arrays that a step updates.

    Attributes
    ----------
    params : array of shape (..., n_parameters)
    slots : tuple of array
        State of the optimizer, each array like `params`.
    step : int32 array of shape ()
        Number of steps done.
    learning_rate : array of shape (...)
        Learning rate, which each step multiplies by the schedule's factor.
    """

    params: Array
    slots: Slots
    step: Array
    learning_rate: Array

    def copied(self, copy: Callable[[Array], Array]) -> "State":
        """Return the state with each of its arrays replaced by `copy` of it."""
        return State(copy(self.params), tuple(map(copy, self.slots)), copy(self.step), copy(self.learning_rate))


class Batch(NamedTuple):
    """Minibatch: `x` (..., n_rows, n_features), `targets` as the loss takes them, `weights` (..., n_rows)."""

    x: Array
    targets: Array
    weights: Array


@dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule and regularisation of a step; constant during a run.

    Attributes
    ----------
    optimizer : Optimizer
    schedule : callable
        ``factor(xp, t)`` by which the learning rate is multiplied, with `t` the number of steps done.
    settings : mapping
        Settings of the optimizer; its defaults for those left out.
    weight_decay : float
        Decoupled weight decay (Loshchilov and Hutter, 2019); biases have none.
    l2 : float
        Strength of the L2 penalty in the loss.
    clip_norm : float or None
        Largest global norm of the gradient, above which it is scaled down (Pascanu et al., 2013).
    """

    optimizer: Optimizer
    schedule: Callable[[Any, Array], Array]
    settings: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    l2: float = 0.0
    clip_norm: float | None = None


def clip_by_norm(xp: Any, grads: Array, clip_norm: float) -> Array:
    """Return `grads`, scaled down where their Euclidean norm over the last axis exceeds `clip_norm`."""
    norm = xp.sqrt(xp.sum(grads * grads, axis=-1, keepdims=True))
    return grads * (clip_norm / xp.maximum(norm, clip_norm))


def trained_weights(network: Network) -> slice:
    """Return the slice of the trained weights in the flat vector."""
    begin = parameters.count_weights(network.sizes[: network.frozen + 1])
    return slice(begin, parameters.count_weights(network.sizes))


def decay(xp: Any, network: Network, params: Array, factor: Array) -> Array:
    """Return `params` with the trained weights multiplied by `factor`."""
    weights = trained_weights(network)
    frozen = [params[..., : weights.start]] if weights.start else []
    return xp.concat([*frozen, params[..., weights] * factor, params[..., weights.stop :]], axis=-1)


def train_step(
    xp: Any,
    network: Network,
    recipe: Recipe,
    state: State,
    batch: Batch,
    masks: Sequence[Array | None] = (),
) -> tuple[State, Array]:
    """Do one step of `recipe` on `batch`.

    Returns
    -------
    state : State
    loss : array of shape (...)
        Loss before the update, including the L2 penalty.
    """
    loss, grads, moments = loss_gradient_and_moments(xp, network, state.params, *batch, masks, recipe.l2)
    new = update(xp, network, recipe, state, grads)
    if moments:
        last = running_moments(xp, state.params, network.sizes, network.normalized, moments, batch.weights)
        new = new._replace(params=xp.concat([new.params[..., : -last.shape[-1]], last], axis=-1))
    return new, loss


def update(xp: Any, network: Network, recipe: Recipe, state: State, grads: Array) -> State:
    """Return the state after one step of `recipe`, given the gradient of the loss, shape (..., n_parameters)."""
    if recipe.clip_norm is not None:
        grads = clip_by_norm(xp, grads, recipe.clip_norm)
    t = xp.astype(state.step, grads.dtype)
    rate = (state.learning_rate * recipe.schedule(xp, t))[..., None]
    params = state.params
    if recipe.weight_decay:
        params = decay(xp, network, params, 1 - rate * recipe.weight_decay)
    params, slots = recipe.optimizer.update(xp, params, grads, state.slots, rate, (t + 1)[..., None], **recipe.settings)
    return State(params, slots, state.step + 1, state.learning_rate)
