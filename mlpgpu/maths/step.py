"""One training step: ``(state, batch) -> (state, loss)``. This is what a backend compiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlpgpu.maths import parameters
from mlpgpu.maths.network import Network, measured
from mlpgpu.maths.normalization import followed
from mlpgpu.maths.optimizers import Optimizer, Slots
from mlpgpu.maths.parameters import Array


class State(NamedTuple):
    """All that a step changes, as arrays.

    Attributes
    ----------
    params : array of shape (..., n_parameters)
    slots : tuple of array
        What the optimizer keeps, each like `params`.
    step : int32 array of shape ()
        Steps done.
    learning_rate : array of shape (...)
        Multiplied with the schedule's factor in each step.
    """

    params: Array
    slots: Slots
    step: Array
    learning_rate: Array


class Batch(NamedTuple):
    """Rows of one step: `x` (..., n_rows, n_features), `targets` as the loss takes them, `weights` (..., n_rows)."""

    x: Array
    targets: Array
    weights: Array


@dataclass(frozen=True)
class Recipe:
    """How a step updates the parameters; all of it stays as it is during a run.

    Attributes
    ----------
    optimizer : Optimizer
    schedule : callable
        ``factor(xp, steps done)``, of the state's learning rate.
    settings : mapping
        The optimizer's own settings; its defaults for those left out.
    weight_decay : float
        Decoupled decay of the weights (Loshchilov and Hutter, 2019), biases free.
    l2 : float
        Strength of the L2 penalty in the loss.
    clip_norm : float or None
        Largest Euclidean norm of the whole gradient (Pascanu et al., 2013).
    """

    optimizer: Optimizer
    schedule: Callable[[Any, Array], Array]
    settings: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    l2: float = 0.0
    clip_norm: float | None = None


def clip_by_norm(xp: Any, grads: Array, clip_norm: float) -> Array:
    """`grads`, scaled down where their Euclidean norm over the last axis is above `clip_norm`."""
    norm = xp.sqrt(xp.sum(grads * grads, axis=-1, keepdims=True))
    return grads * (clip_norm / xp.maximum(norm, clip_norm))


def trained_weights(network: Network) -> slice:
    """Where the weights that are trained lie in the flat vector; the biases come after them."""
    begin = parameters.count_weights(network.sizes[: network.frozen + 1])
    return slice(begin, parameters.count_weights(network.sizes))


def decay(xp: Any, network: Network, params: Array, factor: Array) -> Array:
    """`params` with the weights that are trained multiplied by `factor`, the biases as they are."""
    weights = trained_weights(network)
    held = [params[..., : weights.start]] if weights.start else []
    return xp.concat([*held, params[..., weights] * factor, params[..., weights.stop :]], axis=-1)


def train_step(
    xp: Any,
    network: Network,
    recipe: Recipe,
    state: State,
    batch: Batch,
    masks: Sequence[Array | None] = (),
) -> tuple[State, Array]:
    """One step of `recipe` on `batch`.

    Returns
    -------
    state : State
    loss : array of shape (...)
        Before the update, with the L2 penalty.
    """
    loss, grads, moments = measured(xp, network, state.params, *batch, masks, recipe.l2)
    new = update(xp, network, recipe, state, grads)
    if moments:
        last = followed(xp, state.params, network.sizes, network.normalized, moments, batch.weights)
        new = new._replace(params=xp.concat([new.params[..., : -last.shape[-1]], last], axis=-1))
    return new, loss


def update(xp: Any, network: Network, recipe: Recipe, state: State, grads: Array) -> State:
    """What `recipe` makes of a state, given the gradient of the loss, shape (..., n_parameters)."""
    if recipe.clip_norm is not None:
        grads = clip_by_norm(xp, grads, recipe.clip_norm)
    done = xp.astype(state.step, grads.dtype)
    rate = (state.learning_rate * recipe.schedule(xp, done))[..., None]
    params = state.params
    if recipe.weight_decay:
        params = decay(xp, network, params, 1 - rate * recipe.weight_decay)
    params, slots = recipe.optimizer.update(
        xp, params, grads, state.slots, rate, (done + 1)[..., None], **recipe.settings
    )
    return State(params, slots, state.step + 1, state.learning_rate)
