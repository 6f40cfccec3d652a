"""A trained network as one file that travels: safetensors, with all else as JSON in its metadata."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu import metadata, sealed
from mlpgpu.errors import InputError, one_line
from mlpgpu.files import expanded
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, logits
from mlpgpu.maths.parameters import layout
from mlpgpu.maths.scaling import scale, unscale

if TYPE_CHECKING:
    from mlpgpu.data.label_columns import Pair

# Of what a file says.
VERSION = 2
ARRAYS = ("params", "shift", "factor", "target_shift", "target_factor")
# What it is called in a run folder.
FILE = "model.safetensors"
# Lists in JSON.
TUPLES = {"sizes", "activations", "classes", "feature_names", "targets", "label_values"}


@dataclass(frozen=True)
class Model:
    """A trained network and what it needs to predict.

    Attributes
    ----------
    params : array of shape (n_parameters,)
        Laid out as `mlpgpu.maths.parameters.layout` says.
    shift, factor : float64 array of shape () or (n_features,)
        Inputs are scaled as ``(x - shift) * factor``, and then cast to the dtype of `params`.
    sizes : tuple of int
        Units of each layer, from the inputs to the outputs.
    activations : tuple of str
        Of the hidden layers.
    loss : str
        Its link makes the prediction of the outputs.
    task : str
        ``classification`` or ``regression``.
    classes : tuple
        Label of each class, or number of each of several labels; empty for regression.
    feature_names : tuple of str
        May be empty.
    target : str or None
        What is predicted: a column, columns with commas between them, or an array.
    targets : tuple of str
        One an output of a regression that has several, or of several labels; may be empty.
    label_values : tuple of tuple
        For several labels, what a prediction says of a row without, and of one with each; empty where that is 0 and 1.
    columns : list of dict or None
        How the columns of a table become features.
    config : dict
        Settings of the run that made it.
    estimator : dict or None
        What `mlpgpu.MLPClassifier.load` needs beside the network, where an estimator was saved.
    target_shift, target_factor : float64 array of shape (n_outputs,), or None
        The network was trained on ``(target - target_shift) * target_factor``, and its predictions are scaled back;
        None where it was trained on the target as it is.
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

    @property
    def network(self) -> Network:
        """The network apart from its parameters."""
        return Network(self.sizes, tuple(ACTIVATIONS[name] for name in self.activations), LOSSES[self.loss])

    @property
    def multilabel(self) -> bool:
        """Whether a row may have several labels, each with an output of its own."""
        return self.loss == "logistic" and self.sizes[-1] > 1

    @property
    def alternatives(self) -> tuple[tuple[Any, ...], ...]:
        """What there is to choose from in each column of a prediction; of a regression nothing."""
        if self.multilabel:
            return self.label_values or ((0, 1),) * self.sizes[-1]
        return (self.classes,) if self.classes else ()

    @property
    def labels(self) -> np.ndarray:
        """The alternatives as an array: of shape (n_classes,), or (n_labels, 2) for several labels."""
        each = [label for column in self.alternatives for label in column]
        kinds = {type(label) for label in each}
        if self.multilabel and len(kinds) > 1:
            # What NumPy has in common for them would change words: of False and 0 both are 0.
            each = [str(label) for label in each]
        # NumPy takes whole numbers on both sides of 2^63 for floating-point ones.
        unsigned = kinds == {int} and min(each) >= 0 and max(each) >= 2**63
        found = np.array(each, np.uint64 if unsigned else None)
        return found.reshape(-1, 2) if self.multilabel else found

    @property
    def target_names(self) -> tuple[str, ...]:
        """What each column of a prediction is called."""
        from mlpgpu.data.target import numbered

        name, n = self.target or "prediction", 1 if self.classes and not self.multilabel else self.sizes[-1]
        return self.targets or ((name,) if n == 1 else numbered(name, n))

    @property
    def encoding(self) -> list[dict[str, Any]] | None:
        """How the columns of a table become features; an estimator that was fitted on named columns knows those."""
        if self.columns is None and self.estimator and self.feature_names:
            from mlpgpu.data.columns import numbers

            return numbers(self.feature_names)
        return self.columns

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probability of each class, or the expected target.

        Parameters
        ----------
        x : array of shape (n_rows, n_features), or DataFrame
            As it was before scaling; a table as it was before its columns were encoded.

        Returns
        -------
        array of shape (n_rows, n_classes), or (n_rows, n_outputs) for regression and for several labels

        Raises
        ------
        InputError
            Where the features are none that the model takes, missing, or too large for it.

        Warns
        -----
        UserWarning
            Where a table has categories that training had not.
        """
        outputs = self.linked(self.logits(x))
        return np.hstack([1 - outputs, outputs]) if self.task == "classification" and self.sizes[-1] == 1 else outputs

    def logits(self, x: Any) -> np.ndarray:
        """What the link makes a prediction of.

        Parameters
        ----------
        x : array of shape (n_rows, n_features), or DataFrame
            As it was before scaling; a table as it was before its columns were encoded.

        Returns
        -------
        array of shape (n_rows, n_outputs)
            Of two classes, one output; not finite where the features are too large.
        """
        if self.encoding is not None and hasattr(x, "columns"):
            from mlpgpu.data.columns import encode
            from mlpgpu.data.unseen import Unseen

            # Of pandas, or of a library that can make one of pandas; messages number its rows.
            x = x.to_pandas() if hasattr(x, "to_pandas") else x
            unseen = Unseen()
            x = encode(x.reset_index(drop=True), self.encoding, unseen)
            for note in unseen.notes():
                # Of whom calls `predict` or `predict_proba`.
                warnings.warn(note, stacklevel=3)
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.sizes[0]:
            table = "" if self.columns is None else ", or a DataFrame with the columns of its table"
            raise InputError(f"x has shape {x.shape}; the model takes (n_rows, {self.sizes[0]}){table}")
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = scale(np, x, self.shift, self.factor).astype(self.params.dtype)
            return logits(np, self.network, self.params, scaled)

    def linked(self, z: np.ndarray) -> np.ndarray:
        """What the link makes of logits, scaled back to the units of the target.

        Parameters
        ----------
        z : array of shape (n_rows, n_outputs)

        Returns
        -------
        array of shape (n_rows, n_outputs)

        Raises
        ------
        InputError
            Where one of either is not finite.
        """
        outputs, finite = self.outputs(z)
        check_finite(finite)
        return outputs

    def outputs(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `linked`, and for which rows both are finite, of shape (n_rows,), where nothing is refused."""
        with np.errstate(over="ignore", invalid="ignore"):
            outputs: np.ndarray = self.network.loss.link(np, z)
            if self.target_shift is not None:
                outputs = unscale(np, outputs, self.target_shift, self.target_factor)
        return outputs, (np.isfinite(z) & np.isfinite(outputs)).all(axis=1)

    def predict(self, x: Any) -> np.ndarray:
        """The most probable class, each label of a probability above one half, or the expected target.

        Parameters
        ----------
        x : array of shape (n_rows, n_features), or DataFrame
            As it was before scaling; a table as it was before its columns were encoded.

        Returns
        -------
        array of shape (n_rows,), or (n_rows, n_outputs) for several labels or regression
        """
        return self.labelled(self.decided(self.linked(self.logits(x))))

    def decided(self, outputs: np.ndarray) -> np.ndarray:
        """What outputs predict, on the host.

        Parameters
        ----------
        outputs : array of shape (n_rows, n_outputs)
            As `linked` has them.

        Returns
        -------
        array
            Numbers of classes, of shape (n_rows,), 0 and 1 of several labels, of that of the outputs, or the outputs of
            a regression.
        """
        if not self.classes:
            return outputs
        if self.multilabel:
            return (outputs > 0.5).astype(np.int64)
        # Where there is one class only, it is the first of the two that the output stands for.
        second = (outputs[:, 0] > 0.5) & (len(self.classes) > 1)
        return second.astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)

    def labelled(self, numbers: np.ndarray) -> np.ndarray:
        """What numbers of classes stand for, or 0 and 1 of several labels; the numbers of a regression as they are."""
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
        """All of it as what fits JSON, and arrays."""
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
        """Read a model that `save` has written, or that of a checkpoint.

        Parameters
        ----------
        path : path
            The file, or the run folder that it is in.

        Raises
        ------
        InputError
            Where `path` holds no such model.
        """
        path = file_of(path)
        if path.name == FILE and not path.exists():
            from mlpgpu import run_folder

            run_folder.refuse_unfinished(path.parent)
        model = cls.of(*sealed.read(path, "model", VERSION), path)
        if not np.isfinite(model.params).all():
            raise InputError(f"the model {path} is damaged: its parameters are not finite")
        return model

    @classmethod
    def of(cls, content: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> Model:
        """The model of its `parts`, read from `path`.

        Raises
        ------
        InputError
            Where they are not those of a model.
        """
        try:
            # Files of before estimators were saved, or targets or labels had words each, know nothing of them.
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
    """Refuse rows for which a model's output is not finite; `finite` of shape (n_rows,).

    Raises
    ------
    InputError
        It says how many there are.
    """
    if n_bad := int(np.count_nonzero(~finite)):
        raise InputError(
            f"for {n_bad:,} of {len(finite):,} rows the model's output is not finite; their features are missing or "
            "too large for it: compare them with those of training"
        )


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def file_of(given: str | Path) -> Path:
    """The file of a model, which may be given as the run folder that it is in."""
    path = expanded(given)
    return path / FILE if path.is_dir() else path
