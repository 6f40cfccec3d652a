"""Turn settings and the shape of the data into a training plan."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data import batches
from mlpgpu.errors import InputError
from mlpgpu.maths.activations import ACTIVATIONS, identity
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network
from mlpgpu.maths.normalization import begin
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES, with_warmup
from mlpgpu.maths.step import Recipe
from mlpgpu.settings.dependent import check_batches, each_layer
from mlpgpu.training import initial

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

# Default epochs, but more on a small data set, to reach this many steps; likewise for patience.
EPOCHS, STEPS = 20, 1000
PATIENCE, PATIENCE_STEPS = 10, 100
# Default dropout rates of inputs and of hidden units. Dropout perturbs the outputs. That rarely changes which of them
# is largest, but it harms the value of a regression, most of all if it passes through exp.
DROPOUT = {"classification": (0.1, 0.2), "regression": (0.0, 0.0)}


@dataclass(frozen=True, eq=False)
class Plan:
    """A training run with every choice made.

    Attributes
    ----------
    activations : tuple of str
        Name of each hidden layer's activation.
    loss : str
        Name of the loss.
    target_scale : str
        Kind of the `Scaling` of the targets; ``none`` if they are not scaled.
    score_name : str
        Name of the score in a record: ``accuracy``, ``r2``, or another word.
    network : Network
    recipe : Recipe
    params : array of shape (n_parameters,)
        Initial parameters: float64 on the host, or on the device.
    drawn : array of shape (n_parameters,) or None
        If some of `params` come from a trained model: the parameters with all of them drawn.
    learning_rate : float
    dropout : tuple of float
        Dropout rate for the inputs of each layer.
    epochs, batch_size, steps_per_epoch : int
    order : callable
        ``order(epoch)`` returns the order of the training rows, an int array of shape (n_rows,).
    seed : int
        Random seed of dropout.
    dtype : str
    precision : str
        Rounding of the operands of matrix products.
    capture : bool
        Whether the backend compiles steps; otherwise they run eagerly.
    draws_ahead : bool
        Whether the order of the next epoch may be drawn before it is known whether that epoch takes place.
    """

    activations: tuple[str, ...]
    loss: str
    score_name: str
    network: Network
    recipe: Recipe
    params: np.ndarray
    learning_rate: float
    dropout: tuple[float, ...]
    epochs: int
    batch_size: int
    steps_per_epoch: int
    order: Callable[[int], np.ndarray]
    seed: int
    dtype: str
    target_scale: str = "none"
    precision: str = "float32"
    capture: bool = True
    draws_ahead: bool = False
    drawn: np.ndarray | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps of all epochs."""
        return self.epochs * self.steps_per_epoch

    @property
    def of_step(self) -> tuple[Any, ...]:
        """What the step of a run depends on; those of two plans are equal only if their steps are the same."""
        names = "network", "recipe", "dropout", "seed", "batch_size", "dtype", "precision", "capture"
        return tuple(getattr(self, name) for name in names)

    def facts(self) -> dict[str, Any]:
        """Return the JSON-serialisable facts that a plan must share with this one to resume its run."""
        recipe = self.recipe
        return {
            "layers": [int(size) for size in self.network.sizes],
            "activation": list(self.activations),
            "loss": self.loss,
            "frozen layers": self.network.frozen,
            "normalized layers": [i for i, is_normalized in enumerate(self.network.normalized, 1) if is_normalized],
            "optimizer": recipe.optimizer.update.__name__,
            **recipe.settings,
            "weight_decay": recipe.weight_decay,
            "l2": recipe.l2,
            "clip_norm": recipe.clip_norm,
            "learning_rate": self.learning_rate,
            "dropout": list(self.dropout),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "dtype": self.dtype,
            "precision": self.precision,
        }


def make_plan(
    config: Config,
    *,
    n_rows: int,
    n_features: int,
    n_outputs: int,
    task: str,
    multilabel: bool = False,
    block: int = 1,
) -> Plan:
    """Resolve `config` for data of this shape.

    Parameters
    ----------
    config : Config
    n_rows, n_features : int
        Shape of the training rows.
    n_outputs : int
        Number of classes, labels, or target columns.
    task : str
        ``classification`` or ``regression``.
    multilabel : bool
        Whether a row may have several labels rather than one class.
    block : int
        Number of consecutive rows to read together, see `mlpgpu.data.batches.order`.

    Raises
    ------
    InputError
        If the loss does not suit the task, or a setting does not suit the loss.
    """
    loss = _choose_loss(config, task, n_outputs, multilabel)
    known_loss = LOSSES[loss].having(**_given(config, LOSSES[loss].settings))
    one_output = loss == "logistic" and not multilabel
    sizes = (n_features, *config.hidden, 1 if one_output else n_outputs)
    n_hidden = len(config.hidden)
    activations = each_layer("activation", config.activation, n_hidden)
    kinds = each_layer("normalization", config.normalization, n_hidden)
    of_inputs, of_hidden = DROPOUT[task]
    input_dropout = of_inputs if config.input_dropout is None else config.input_dropout
    dropout = each_layer("dropout", (of_hidden,) if config.dropout is None else config.dropout, n_hidden)
    normalized = tuple(kind == "batch" and i >= config.freeze for i, kind in enumerate(kinds))
    inits = [config.init or ACTIVATIONS[name].init for name in activations]
    inits.append(config.init or "glorot_uniform")

    drawn = initial.draw(sizes, inits, config.seed, std=config.init_std, bias=config.bias_init)

    batch_size = n_rows if config.batch_size == "full" else min(int(config.batch_size), n_rows)
    check_batches(batch_size, normalized)
    steps_per_epoch = -(-n_rows // batch_size)
    epochs = config.epochs or _at_least(EPOCHS, STEPS, steps_per_epoch)
    return Plan(
        activations=activations,
        loss=loss,
        target_scale=_target_scale(config.target_scale, loss),
        score_name="r2" if task == "regression" else "accuracy",
        network=Network(sizes, tuple(ACTIVATIONS[name] for name in activations), known_loss, config.freeze, normalized),
        recipe=make_recipe(config, epochs=epochs, steps_per_epoch=steps_per_epoch),
        params=begin(np, drawn, sizes, normalized),
        learning_rate=config.learning_rate or OPTIMIZERS[config.optimizer].learning_rate,
        dropout=(input_dropout, *dropout),
        epochs=epochs,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        order=partial(
            batches.order, n_rows, shuffle=config.shuffle, replacement=config.replacement, seed=config.seed, block=block
        ),
        draws_ahead=True,
        seed=config.seed,
        dtype=config.dtype,
        precision=config.precision,
        capture=config.capture,
    )


def stops_early(config: Config, task: str, *, validated: bool) -> bool:
    """Whether to stop early: by default for a regression with validation rows whose number of epochs is not given.

    A classification has dropout against overfitting.
    """
    if config.early_stopping is None:
        return validated and task == "regression" and config.epochs is None
    return config.early_stopping


def patience(config: Config, steps_per_epoch: int) -> int:
    """Return the number of epochs without improvement before an early stop."""
    return config.patience or _at_least(PATIENCE, PATIENCE_STEPS, steps_per_epoch)


def _at_least(epochs: int, steps: int, steps_per_epoch: int) -> int:
    """Return the number of epochs: at least `epochs`, and enough for `steps` steps."""
    return max(epochs, -(-steps // steps_per_epoch))


def make_recipe(config: Config, *, epochs: int, steps_per_epoch: int) -> Recipe:
    """Return the update rule that `config` describes, for a run of this length."""
    optimizer = OPTIMIZERS[config.optimizer]
    return Recipe(
        optimizer=optimizer,
        schedule=with_warmup(
            SCHEDULES[config.schedule],
            # scikit-learn's max_iter may be a whole number that has no float.
            total=min(epochs * steps_per_epoch, sys.float_info.max),
            warmup=config.warmup * steps_per_epoch,
            decay_rate=config.decay_rate,
            every=config.decay_epochs * steps_per_epoch,
            power_t=config.power_t,
        ),
        settings=_given(config, optimizer.settings),
        weight_decay=optimizer.weight_decay if config.weight_decay is None else config.weight_decay,
        l2=config.l2,
        clip_norm=config.clip_norm,
    )


def _choose_loss(config: Config, task: str, n_outputs: int, multilabel: bool) -> str:
    """Return the name of the loss, and refuse one, or a setting, that does not suit the task."""
    for_classes = "logistic" if multilabel or n_outputs == 2 else "cross_entropy"
    loss = config.loss or ("squared_error" if task == "regression" else for_classes)
    if LOSSES[loss].task != task:
        of_quantities = ", ".join(name for name, known in LOSSES.items() if known.task == "regression")
        suits, other = of_quantities if task == "regression" else for_classes, LOSSES[loss].task
        target = "the target is a quantity" if other == "regression" else "its numbers are labels"
        instead = f", or give task {other} if {target}" if config.task == "auto" else ""
        raise InputError(f"loss {loss!r} is for {other}, and the target makes this {task}; choose {suits}{instead}")
    if multilabel and loss != "logistic":
        raise InputError(f"loss {loss!r} is for one class a row, and there are {n_outputs} labels; choose logistic")
    if loss == "logistic" and not multilabel and n_outputs != 2:
        raise InputError(f"loss 'logistic' is for two classes, and there are {n_outputs}; choose cross_entropy")
    for name, without in (("label_smoothing", 0), ("class_weight", "none")):
        if task == "regression" and getattr(config, name) != without:
            raise InputError(f"{name} is for classification, and the target makes this regression; leave it out")
    return loss


def _given(config: Config, names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a loss or an optimizer that are given, by name; it has defaults for the others."""
    return {name: value for name in names if (value := getattr(config, name)) is not None}


def _target_scale(asked: str, loss: str) -> str:
    known = LOSSES[loss]
    if known.task == "regression" and known.link is identity:
        return "standard" if asked == "auto" else asked
    if asked == "standard":
        raise InputError(f"target_scale is 'standard', and loss {loss!r} takes its target as it is; leave it out")
    return "none"
