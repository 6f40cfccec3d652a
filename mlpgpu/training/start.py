"""Start a run with the lowest layers of a trained model in place of drawn weights."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.scaling import NOT_FITTED, Scaling, of_model
from mlpgpu.errors import InputError, listed
from mlpgpu.figures import counted
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.normalization import begin
from mlpgpu.maths.parameters import count, join, split
from mlpgpu.settings.config import LAYERS, settings
from mlpgpu.settings.setting import as_text

if TYPE_CHECKING:
    from mlpgpu.data.dataset import DataSet
    from mlpgpu.models.model import Model
    from mlpgpu.settings.config import Config
    from mlpgpu.training.plan import Plan


@dataclass(frozen=True)
class Start:
    """The layers that a run takes from a trained model.

    Attributes
    ----------
    model : Model
    n_layers : int
        Number of lowest layers that are taken.
    why : str
        Why the layers above are drawn; empty if there are none.
    """

    model: Model
    n_layers: int
    why: str

    @classmethod
    def find(cls, model: Model, plan: Plan, data: DataSet) -> Start:
        """Find the layers that a model and a plan for these data have in common.

        Raises
        ------
        InputError
            If there are none, the features differ, or a layer to take has another activation.
        """
        _check_features(model, data)
        theirs, ours = model.sizes[1:-1], plan.network.sizes[1:-1]
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(theirs, ours, strict=False))
        n_layers = len(list(alike))
        if n_layers == 0 and (theirs or ours):
            raise InputError(
                f"hidden is {as_text(ours)}, and the model to start from has {as_text(theirs)}, so that no "
                f"layer is the same; leave out hidden, or start_from"
            )
        activations = (*model.activations[:n_layers], *plan.activations[n_layers:])
        if activations != plan.activations:
            raise InputError(
                f"activation is {as_text(plan.activations)}, and the layers to take from the model to start "
                f"from have {as_text(model.activations[:n_layers])}; leave out activation, or give "
                f"{as_text(in_short(activations))}"
            )
        why = "other sizes" if theirs != ours else _other_outputs(model, plan, data)
        if n_layers == 0 and why:
            raise InputError(
                f"the model to start from has no hidden layers, and the one that it has is for {why}; "
                "leave out start_from"
            )
        return cls(model, n_layers if why else n_layers + 1, why)

    @property
    def target_scaling(self) -> Scaling | None:
        """Scaling of the targets that the model was trained on; None if they were not scaled."""
        shift, factor = self.model.target_shift, self.model.target_factor
        return None if shift is None or factor is None else of_model(shift, factor)

    def begin(self, plan: Plan, kept: Collection[int] | None = None) -> Plan:
        """Return `plan` with the parameters of these layers and, if the last layer is taken, its scaling of targets.

        The layers are trained without normalisation: the model has it folded into their weights.

        Parameters
        ----------
        plan : Plan
        kept : collection of int or None
            When resuming, numbers of the layers that the run normalises. The model in its checkpoint does not tell
            which layers were taken, since it has all layers of the run.
        """
        if not self.why:
            scaling = self.target_scaling
            plan = dataclasses.replace(plan, target_scale="none" if scaling is None else scaling.kind)
        sizes = plan.network.sizes
        above = range(self.n_layers + 1, len(sizes)) if kept is None else kept
        normalized = tuple(one and i in above for i, one in enumerate(plan.network.normalized, 1))
        taken = split(np, self.model.params, self.model.sizes)[: self.n_layers]
        drawn = split(np, plan.params, sizes)[self.n_layers :]
        params, knows_nothing = join(np, [*taken, *drawn]), plan.params[: count(sizes)]
        return dataclasses.replace(
            plan,
            network=dataclasses.replace(plan.network, normalized=normalized),
            params=begin(np, params, sizes, normalized),
            drawn=begin(np, knows_nothing, sizes, normalized),
        )


def open_settings(config: Config, model: Model) -> dict[str, Any]:
    """Return the settings of hidden layers that `config` leaves open, as the model to start from has them.

    Layers above those of the model have its last activation.
    """
    hidden = model.sizes[1:-1] if config.hidden is None else config.hidden
    known = model.activations or LAYERS["activation"]
    activations = (*known, *known[-1:] * len(hidden))[: len(hidden)]
    as_there = {"hidden": hidden, "activation": in_short(activations)}
    return {name: value for name, value in as_there.items() if getattr(config, name) is None}


def in_short(activations: tuple[str, ...]) -> tuple[str, ...]:
    """Return activations of hidden layers as a setting: one, if all are the same."""
    return activations[:1] if len(set(activations)) == 1 else activations


def check_setting(name: str, config: Config, model: Model) -> None:
    """Refuse a setting of data preparation that differs from that of the model to start from.

    Raises
    ------
    InputError
        If it is neither the default nor the setting that the model was trained with. The model of an estimator has no
        such setting: its rows were prepared by the user, perhaps by a scaling that is not fitted.
    """
    given = getattr(config, name)
    theirs = (model.config[name],) if name in model.config else NOT_FITTED if name == "scale" else ()
    if given not in (settings()[name].default, *theirs):
        how = f", with {name} {model.config[name]}" if name in model.config else ""
        raise InputError(
            f"{name} is {given!r}, and a run that starts from a model prepares its rows as the training of that model "
            f"did{how}; leave out {name}, or start_from"
        )


def _check_features(model: Model, data: DataSet) -> None:
    if data.n_features != model.sizes[0]:
        raise InputError(
            f"{data.name} has {counted(data.n_features, 'feature')}, and the model to start from takes "
            f"{model.sizes[0]}; give data with as many, or leave out start_from"
        )
    ours, theirs = data.feature_names, model.feature_names
    if ours != theirs and _tell(ours) and _tell(theirs):
        raise InputError(
            f"{data.name} has the features {listed(ours)}, and the model to start from takes {listed(theirs)}; give "
            "data with these, in this order, or leave out start_from"
        )


def _tell(names: tuple[str, ...]) -> bool:
    """Whether names are more than column numbers, which is what the columns of arrays are called."""
    return bool(names) and names != tuple(f"x{i}" for i in range(len(names)))


def _other_outputs(model: Model, plan: Plan, data: DataSet) -> str:
    """Return how the outputs of the plan differ from those of the model, in words; empty if they do not."""
    if model.task != data.task:
        return "another task"
    if data.task == "classification" and model.alternatives != (data.label_values or (data.classes,)):
        return "other classes"
    if data.task == "regression" and model.sizes[-1] != data.n_targets:
        return "another number of targets"
    # Classes identify their target; numbers, and labels of 0 and 1, need its name.
    by_name = data.task == "regression" or data.multilabel
    if by_name and None not in (model.target, data.target) and model.target != data.target:
        return "other targets" if data.targets else "another target"
    if LOSSES[model.loss].link is not plan.network.loss.link or model.sizes[-1] != plan.network.sizes[-1]:
        return "another loss"
    return ""
