"""A run that is ready for its first step: the data read, the device opened, all settings resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.data import folds, load, scaling, used
from mlpgpu.data.dataset import DataSet
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.scaling import Scaling
from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.scaling import scale
from mlpgpu.models.model import Model
from mlpgpu.settings import dependent
from mlpgpu.settings.config import Config
from mlpgpu.settings.setting import shown
from mlpgpu.training import preflight
from mlpgpu.training.checkpoint import Checkpoint
from mlpgpu.training.feed import Rows
from mlpgpu.training.plan import Plan, make_plan, stops_early
from mlpgpu.training.start import Start, check_setting, open_settings

# The training score is measured on at most this many training rows.
SCORED_ROWS = 10_000
# Maximum number of rollbacks after divergence. Each divides the learning rate by 10; a run that needs less than a
# thousandth of its learning rate needs other settings.
ROLLBACKS = 3


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """A run that is ready for its first step.

    Attributes
    ----------
    config : Config
    data : DataSet
    backend : Backend
    backend_note : str
        Why ``auto`` chose this device.
    plan : Plan
    target_scaling : Scaling or None
        Fitted on the training rows, or taken from the model whose last layer the run starts with; None if the target is
        not scaled.
    train : Rows
        Training rows, with scaled targets.
    watched : dict of str to Rows
        Rows on which loss and score are measured after each epoch, by name.
    test : Rows or None
        Test rows, with scaled targets; None if there are none.
    rollbacks : int
        Maximum number of rollbacks after divergence.
    need : Need
        Estimated device memory.
    start : Start or None
        Layers taken from a trained model.
    """

    config: Config
    data: DataSet
    backend: Backend
    backend_note: str
    plan: Plan
    target_scaling: Scaling | None
    train: Rows
    watched: dict[str, Rows]
    test: Rows | None
    rollbacks: int
    need: preflight.Need
    start: Start | None

    def __repr__(self) -> str:
        plan, backend = self.plan, self.backend
        network = ", ".join(["-".join(map(str, plan.network.sizes)), *plan.activations, f"loss {plan.loss}"])
        how = f"{counted(plan.epochs, 'epoch')}, {backend.name} on {backend.device}"
        return f"Prepared({self.data!r}, {network}, {how})"


def prepare(config: Config, resume: Checkpoint | None = None) -> Prepared:
    """Read the data, open the device and resolve all settings.

    Parameters
    ----------
    config : Config
    resume : Checkpoint or None
        Checkpoint of the run to resume. If the run started from a model, the checkpoint holds everything taken from it.

    Raises
    ------
    InputError
        If a file, a device or a setting cannot be used.
    """
    config, device, model = _begun(config, resume)
    return _arranged(config, load(config, model), device, model, resume)


def prepare_folds(config: Config, n_folds: int) -> Iterator[tuple[np.ndarray, Prepared]]:
    """Prepare one run for each fold, which tests on that fold and trains on the other rows.

    Parameters
    ----------
    config : Config
        ``test_fraction`` is ignored.
    n_folds : int
        At least 2.

    Yields
    ------
    rows : ndarray of int64
        Indices of the test rows; the data set's own validation and test rows, if any, are numbered after all others.
    prepared : Prepared

    Raises
    ------
    InputError
        As `prepare`, and if there are fewer rows than folds.
    """
    config, device, model = _begun(config, None)
    for rows, data in folds(config, n_folds, model):
        yield rows, _arranged(config, data, device, model, None)
        # Free the memory before the next fold is read.
        del data


def check_config(given: Any) -> None:
    """Refuse settings of a run that are no `Config`.

    Raises
    ------
    InputError
    """
    if not isinstance(given, Config):
        raise InputError(
            f"the settings of a run are {shown(given)!r}; allowed: a Config, such as Config(dataset='digits'); for "
            "arrays, take MLPClassifier or MLPRegressor, which fit(X, y)"
        )


def _begun(config: Config, resume: Checkpoint | None) -> tuple[Config, tuple[Backend, str], Model | None]:
    """Return the settings, with all hidden layers; the device, and why that; and the model that the run starts from."""
    check_config(config)
    device = backends.select(config.device, config.backend, config.dtype, config.precision)
    model = None
    if config.start_from is not None:
        model = Model.load(config.start_from) if resume is None else resume.model
        for name in ("scale", "impute"):
            check_setting(name, config, model)
        config = dataclasses.replace(config, **open_settings(config, model))
    if resume is None:
        # Not checked on resume: an older version may have accepted the settings.
        used.check(config)
        dependent.check(config)
    return config, device, model


def _arranged(
    config: Config, data: DataSet, device: tuple[Backend, str], model: Model | None, resume: Checkpoint | None
) -> Prepared:
    backend, note = device
    preflight.check_host((data.n_features, *config.hidden, data.n_targets))
    plan = make_plan(config, **data.dimensions)
    if resume is None:
        validated = data.x_validation is not None
        stops = stops_early(config, data.task, validated=validated)
        dependent.check(config, validated=validated, early_stopping=stops, epochs=plan.epochs)
    lowest = LOSSES[plan.loss].lowest
    smallest = min(y.min() for y in (data.y_train, data.y_validation, data.y_test) if y is not None and len(y))
    if smallest < lowest:
        raise InputError(
            f"loss {plan.loss!r} takes targets from {lowest:g} up, and the smallest here is {smallest:g}; choose "
            "another loss, such as squared_error"
        )
    start = None if model is None else Start.find(model, plan, data)
    if start is not None:
        plan = start.begin(plan, None if resume is None else resume.plan["normalized layers"])
    target_scaling = _target_scaling(config, plan, data, start)
    rollbacks = ROLLBACKS if config.on_divergence == "rollback" else 0
    train, watched = _rows(config, data, target_scaling)
    # Not weighted by class, unlike the others: it is tested on the rows as they are.
    test = Rows(data.x_test, scaled(data.y_test, target_scaling), data.weights_test) if len(data.x_test) else None
    need = preflight.check(backend, plan, train, watched, rollbacks)
    chosen: dict[str, Any] = {"dataset": config.dataset or data.name}
    if config.memory_map == "auto" and used.sort_of(chosen["dataset"]) == "array":
        # The choice depended on free memory, and it affects the order of the rows. Record it so that the run can be
        # repeated exactly.
        chosen["memory_map"] = "always" if isinstance(data.x_train, Mapped) else "never"
    config = dataclasses.replace(config, **chosen)
    return Prepared(config, data, backend, note, plan, target_scaling, train, watched, test, rollbacks, need, start)


def _target_scaling(config: Config, plan: Plan, data: DataSet, start: Start | None) -> Scaling | None:
    if start is not None and not start.why:
        check_setting("target_scale", config, start.model)
        return start.target_scaling
    if plan.target_scale == "none":
        return None
    return scaling.fit(
        plan.target_scale, data.y_train, names=data.target_names, setting="target_scale", column="target"
    )


def _rows(config: Config, data: DataSet, target_scaling: Scaling | None) -> tuple[Rows, dict[str, Rows]]:
    """Return the training rows, and the watched rows by name."""
    balanced = _balanced(data) if config.class_weight == "balanced" else None

    def rows_of(x: np.ndarray | Mapped, y: np.ndarray, weights: np.ndarray | None) -> Rows:
        if balanced is not None:
            weights = balanced(y) if weights is None else weights * balanced(y)
        return Rows(x, scaled(y, target_scaling), weights)

    train = rows_of(data.x_train, data.y_train, data.weights_train)
    watched = {"train": _thinned(train)}
    if data.x_validation is not None and data.y_validation is not None:
        watched["validation"] = rows_of(data.x_validation, data.y_validation, data.weights_validation)
    return train, watched


def _balanced(data: DataSet) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from targets to weights that balance the classes of the training rows."""
    from mlpgpu.protocol.labels import Labels

    labels = Labels(np.arange(len(data.classes)), data.multilabel)
    by_class = labels.weigh("balanced", data.y_train)
    return lambda y: labels.row_weights(by_class, y)


def scaled(y: np.ndarray, scaling: Scaling | None) -> np.ndarray:
    """Scale targets, unless their `scaling` is None."""
    return y if scaling is None else scale(np, y, scaling.shift, scaling.factor)


def _thinned(rows: Rows) -> Rows:
    """Return every n-th row, so that a sorted set is scored on all its classes, or all rows if they are few."""
    if len(rows) <= SCORED_ROWS:
        return rows
    if rows.weights is None:
        every = slice(None, None, -(-len(rows) // SCORED_ROWS))
        return Rows(rows.x[every], rows.targets[every])
    # Of rows with weight: there may be none among every n-th of all.
    weighty = np.flatnonzero(rows.weights)
    weighty = weighty[:: -(-len(weighty) // SCORED_ROWS)]
    return Rows(rows.x[weighty], rows.targets[weighty], rows.weights[weighty])
