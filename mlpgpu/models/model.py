"""A trained network in one portable file: safetensors, with everything else as JSON in the metadata."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.errors import InputError, one_line
from mlpgpu.files import expanded
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, logits
from mlpgpu.maths.parameters import layout
from mlpgpu.maths.scaling import scale, unscale
from mlpgpu.models import metadata, sealed
from mlpgpu.models.inputs import features_of

if TYPE_CHECKING:
    from mlpgpu.data.label_columns import Pair

# Version of the file format.
VERSION = 2
ARRAYS = ("params", "shift", "factor", "target_shift", "target_factor")
# Name of the model file in a run folder.
FILE = "model.safetensors"
# Fields that are tuples here and lists in JSON.
TUPLES = {"sizes", "activations", "classes", "feature_names", "targets", "label_values"}


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained network with everything needed to predict.

    Attributes
    ----------
    params : array of shape (n_parameters,)
        Weights and biases, laid out as described by `mlpgpu.maths.parameters.layout`.
    shift, factor : float64 array of shape () or (n_features,)
        Inputs are scaled as ``(x - shift) * factor``, and then cast to the dtype of `params`.
    sizes : tuple of int
        Units of each layer, from the inputs to the outputs.
    activations : tuple of str
        Activation of each hidden layer.
    loss : str
        Training loss, whose link function turns logits into predictions.
    task : str
        ``classification`` or ``regression``.
    classes : tuple
        Label of each class; for a multilabel model, index of each label; empty for regression.
    feature_names : tuple of str
        Name of each feature; may be empty.
    target : str or None
        Name of the predicted column or array, or names of columns separated by commas.
    targets : tuple of str
        Name of each output of a multi-output regression or a multilabel model; may be empty.
    label_values : tuple of tuple
        For a multilabel model, the values predicted for rows without and with each label; empty if they are 0 and 1.
    columns : list of dict or None
        Encoding of the columns of a table as features.
    config : dict
        Settings of the training run.
    estimator : dict or None
        For a saved estimator, what `mlpgpu.MLPClassifier.load` needs besides the network.
    target_shift, target_factor : float64 array of shape (n_outputs,), or None
        The network was trained on ``(target - target_shift) * target_factor``, and its predictions are scaled back.
        None if it was trained on the unscaled target.
    """

    params: np.ndarray
    shift: np.ndarray
    factor: np.ndarray
    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str
    task: str
    classes: tuple[Any, ...] = ()
    feature_names: tuple[str, ...] = ()
    target: str | None = None
    targets: tuple[str, ...] = ()
    label_values: tuple[Pair, ...] = ()
    columns: list[dict[str, Any]] | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    estimator: dict[str, Any] | None = None
    target_shift: np.ndarray | None = None
    target_factor: np.ndarray | None = None

    def __repr__(self) -> str:
        sizes, layers = "-".join(map(str, self.sizes)), ", ".join(("", *self.activations))
        return f"Model({self.task}, {sizes}{layers}, loss {self.loss})"

    @property
    def network(self) -> Network:
        """The network without its parameters."""
        return Network(self.sizes, tuple(ACTIVATIONS[name] for name in self.activations), LOSSES[self.loss])

    @property
    def loss_settings(self) -> dict[str, float]:
        """Settings of the loss in training, by name; its defaults where the file has none."""
        given = {**self.config, **(self.estimator or {}).get("parameters", {})}
        return {name: given.get(name, default) for name, default in LOSSES[self.loss].settings.items()}

    @property
    def multilabel(self) -> bool:
        """Whether a row may have several labels, each with its own output."""
        return self.loss == "logistic" and self.sizes[-1] > 1

    @property
    def binary(self) -> bool:
        """Whether a row belongs to one of two classes."""
        return len(self.classes) == 2 and not self.multilabel

    @property
    def alternatives(self) -> tuple[tuple[Any, ...], ...]:
        """Possible values of each column of a prediction; empty for regression."""
        if self.multilabel:
            return self.label_values or ((0, 1),) * self.sizes[-1]
        return (self.classes,) if self.classes else ()

    @property
    def labels(self) -> np.ndarray:
        """`alternatives` as an array of shape (n_classes,), or (n_labels, 2) for a multilabel model."""
        each = [label for column in self.alternatives for label in column]
        kinds = {type(label) for label in each}
        if self.multilabel and len(kinds) > 1:
            # NumPy's common type would merge labels: False and 0 would both become 0.
            each = [str(label) for label in each]
        # NumPy would store integers below and above 2^63 together as floats.
        unsigned = kinds == {int} and min(each) >= 0 and max(each) >= 2**63
        found = np.array(each, np.uint64 if unsigned else None)
        return found.reshape(-1, 2) if self.multilabel else found

    @property
    def target_names(self) -> tuple[str, ...]:
        """Name of each column of a prediction."""
        from mlpgpu.data.target import numbered

        name, n = self.target or "prediction", 1 if self.classes and not self.multilabel else self.sizes[-1]
        return self.targets or ((name,) if n == 1 else numbered(name, n))

    @property
    def encoding(self) -> list[dict[str, Any]] | None:
        """Encoding of the columns of a table as features, also for an estimator fitted on named columns."""
        if self.columns is None and self.estimator and self.feature_names:
            from mlpgpu.data.columns import numbers

            return numbers(self.feature_names)
        return self.columns

    def predict_proba(self, x: Any) -> np.ndarray:
        """Predict the probability of each class, or the target of a regression.

        Parameters
        ----------
        x : array of shape (n_rows, n_features), or DataFrame
            Unscaled features; of a table, the columns before encoding.

        Returns
        -------
        array of shape (n_rows, n_classes), or (n_rows, n_outputs) for regression and for several labels

        Raises
        ------
        InputError
            If the features are not those of the model, missing, or too large.

        Warns
        -----
        UserWarning
            If a table has categories that the training data did not have, or if the model divides bytes by 255 and the
            features seem to be divided already.
        """
        outputs = self.linked(self.logits(x))
        return np.hstack([1 - outputs, outputs]) if self.task == "classification" and self.sizes[-1] == 1 else outputs

    def logits(self, x: Any) -> np.ndarray:
        """Compute the network's outputs before the link function.

        Parameters
        ----------
        x : array of shape (n_rows, n_features), or DataFrame
            Unscaled features; of a table, the columns before encoding.

        Returns
        -------
        array of shape (n_rows, n_outputs)
            One output for two classes; not finite where the features are too large.
        """
        x = features_of(self, x)
        with np.errstate(all="ignore"):
            scaled = scale(np, x, self.shift, self.factor).astype(self.params.dtype, order="C")
            return logits(np, self.network, self.params, scaled)

    def linked(self, z: np.ndarray) -> np.ndarray:
        """Apply the link function to logits, and scale the result back to the units of the target.

        Parameters
        ----------
        z : array of shape (n_rows, n_outputs)
            Logits.

        Returns
        -------
        array of shape (n_rows, n_outputs)

        Raises
        ------
        InputError
            If a logit or an output is not finite.
        """
        outputs, finite = self.outputs(z)
        check_finite(finite)
        return outputs

    def outputs(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the outputs of `linked` without refusing any, and a mask of shape (n_rows,) of the finite rows."""
        with np.errstate(all="ignore"):
            outputs: np.ndarray = self.network.loss.link(np, z)
            if self.target_shift is not None:
                outputs = unscale(np, outputs, self.target_shift, self.target_factor)
        return outputs, (np.isfinite(z) & np.isfinite(outputs)).all(axis=1)

    def predict(self, x: Any) -> np.ndarray:
        """Predict the most probable class, the labels with a probability above 0.5, or the target of a regression.

        Parameters
        ----------
        x : array of shape (n_rows, n_features), or DataFrame
            Unscaled features; of a table, the columns before encoding.

        Returns
        -------
        array of shape (n_rows,), or (n_rows, n_outputs) for several labels or regression
        """
        return self.labelled(self.decided(self.linked(self.logits(x))))

    def decided(self, outputs: np.ndarray) -> np.ndarray:
        """Turn outputs into predictions, on the host.

        Parameters
        ----------
        outputs : array of shape (n_rows, n_outputs)
            As returned by `linked`.

        Returns
        -------
        array
            Class indices of shape (n_rows,); 0 and 1 of shape (n_rows, n_outputs) for a multilabel model; or the
            outputs of a regression.
        """
        if not self.classes:
            return outputs
        if self.multilabel:
            return (outputs > 0.5).astype(np.int64)
        # A single class in the training data is the first of the two classes that the output stands for.
        second = (outputs[:, 0] > 0.5) & (len(self.classes) > 1)
        return second.astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)

    def labelled(self, numbers: np.ndarray) -> np.ndarray:
        """Replace class indices, or the 0 and 1 of a multilabel model, by their labels; return other numbers as is."""
        if not self.classes:
            return numbers
        if self.multilabel:
            without, having = self.labels.T
            return np.where(numbers, having, without)
        return self.labels[numbers]

    def save(self, path: str | Path) -> None:
        """Write the model to `path`, whole or not at all."""
        sealed.write(expanded(path), *self.parts())

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the model as JSON-serialisable content and arrays."""
        arrays = {name: array for name in ARRAYS if (array := getattr(self, name)) is not None}
        rest = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ARRAYS}
        content = {
            "version": VERSION,
            "layout": [block._asdict() for block in layout(self.sizes)],
            "link": LOSSES[self.loss].link.__name__,
            **rest,
        }
        return content, arrays

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read a model written by `save`, or the model in a checkpoint.

        Parameters
        ----------
        path : path
            The file, or the run folder that contains it.

        Raises
        ------
        InputError
            If `path` holds no such model.
        """
        path = file_of(path)
        if path.name == FILE and not path.exists():
            from mlpgpu.results import run_folder

            run_folder.refuse_unfinished(path.parent)
        model = cls.of(*sealed.read(path, "model", VERSION), path)
        if not np.isfinite(model.params).all():
            raise InputError(f"the model {path} is damaged: its parameters are not finite")
        return model

    @classmethod
    def of(cls, content: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> Model:
        """Build a model from its `parts`, which were read from `path`.

        Raises
        ------
        InputError
            If they are not those of a model.
        """
        try:
            # Older files lack these fields.
            content = {"estimator": None, "targets": [], "label_values": [], **content}
            described = {f.name: content[f.name] for f in dataclasses.fields(cls) if f.name not in ARRAYS}
            own: dict[str, Any] = {name: arrays[name] for name in ARRAYS if name in arrays}
            metadata.check(described, own)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = one_line(error) if isinstance(error, ValueError) else repr(error)
            raise InputError(f"the model {path} is damaged: its metadata do not fit ({reason})") from None
        values: dict[str, Any] = {name: _tuple(v) if name in TUPLES else v for name, v in described.items()}
        return cls(**own, **values)


def check_finite(finite: np.ndarray) -> None:
    """Refuse outputs that are not finite; `finite` is a mask of shape (n_rows,).

    Raises
    ------
    InputError
        If the output of a row is not finite; the message gives the number of such rows.
    """
    if n_bad := int(np.count_nonzero(~finite)):
        raise InputError(
            f"for {n_bad:,} of {len(finite):,} rows the model's output is not finite; their features are missing or "
            "too large for it: compare them with those of training"
        )


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def file_of(given: str | Path) -> Path:
    """Return the path of a model file, given that path or its run folder."""
    path = expanded(given)
    return path / FILE if path.is_dir() else path
