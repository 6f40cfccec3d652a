"""A trained network as one file that travels: safetensors, with all else as JSON in its metadata."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu import metadata
from mlpgpu.errors import InputError, one_line
from mlpgpu.files import replacing
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, logits
from mlpgpu.maths.parameters import layout
from mlpgpu.maths.scaling import scale

# The entry of the metadata of a file that holds all but the arrays, and the version of what it says.
KEY, VERSION = "mlpgpu", 1
# What it is called in a run folder.
FILE = "model.safetensors"


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
        Label of each class; empty for regression.
    feature_names : tuple of str
        May be empty.
    target : str or None
        Column that is predicted.
    columns : list of dict or None
        How the columns of a table become features.
    config : dict
        Settings of the run that made it.
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
    columns: list[dict[str, Any]] | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def network(self) -> Network:
        """The network apart from its parameters."""
        return Network(self.sizes, tuple(ACTIVATIONS[name] for name in self.activations), LOSSES[self.loss])

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probability of each class, or the expected target.

        Parameters
        ----------
        x : array of shape (n_rows, n_features)
            As it was before scaling.

        Returns
        -------
        array of shape (n_rows, n_classes), or (n_rows, n_outputs) for regression
        """
        outputs = self.network.loss.link(np, self.logits(x))
        return np.hstack([1 - outputs, outputs]) if self.task == "classification" and self.sizes[-1] == 1 else outputs

    def logits(self, x: np.ndarray) -> np.ndarray:
        """What the link makes a prediction of.

        Parameters
        ----------
        x : array of shape (n_rows, n_features)
            As it was before scaling.

        Returns
        -------
        array of shape (n_rows, n_outputs)
            Of two classes, one output.
        """
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.sizes[0]:
            raise InputError(f"x has shape {x.shape}; the model takes (n_rows, {self.sizes[0]})")
        scaled = scale(np, x, self.shift, self.factor).astype(self.params.dtype)
        return logits(np, self.network, self.params, scaled)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class, each label of a probability above one half, or the expected target.

        Parameters
        ----------
        x : array of shape (n_rows, n_features)
            As it was before scaling.

        Returns
        -------
        array of shape (n_rows,), or (n_rows, n_outputs) for several labels or regression
        """
        outputs = self.predict_proba(x)
        if not self.classes:
            return outputs
        if self.loss == "logistic" and self.sizes[-1] > 1:
            return (outputs > 0.5).astype(np.int64)
        # Where there is one class only, it is the first of the two that the output stands for.
        return np.asarray(self.classes)[outputs[:, : len(self.classes)].argmax(axis=1)]

    def save(self, path: str | Path) -> None:
        """Write the model to `path`, whole or not at all."""
        from safetensors.numpy import save

        arrays = {"params": self.params, "shift": self.shift, "factor": self.factor}
        rest = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in arrays}
        content = {
            "version": VERSION,
            "layout": [block._asdict() for block in layout(self.sizes)],
            "link": LOSSES[self.loss].link.__name__,
            **rest,
        }
        with replacing(Path(path)) as beside:
            # One entry, since safetensors puts several in an order of chance: the same model is the same bytes.
            beside.write_bytes(save(arrays, {KEY: json.dumps(content)}))

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read a model that `save` has written.

        Parameters
        ----------
        path : path
            The file, or the run folder that it is in.

        Raises
        ------
        InputError
            Where `path` holds no such model.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path).expanduser()
        path = path / FILE if path.is_dir() else path
        try:
            with safe_open(path, "numpy") as file:
                known = (file.metadata() or {}).get(KEY)
                if known is None:
                    raise InputError(f"{path} is not a model of mlpgpu; give the model.safetensors of a run")
                arrays = {name: file.get_tensor(name) for name in ("params", "shift", "factor")}
            content = json.loads(known)
            if content["version"] > VERSION:
                raise InputError(
                    f"{path} has format version {content['version']}; this mlpgpu reads up to {VERSION}: upgrade it"
                )
            values: dict[str, Any] = {f.name: content[f.name] for f in dataclasses.fields(cls) if f.name not in arrays}
            metadata.check(values, arrays)
            for name in ("sizes", "activations", "classes", "feature_names"):
                values[name] = tuple(values[name])
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read the model {path}: {one_line(error)}") from None
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = one_line(error) if isinstance(error, ValueError) else repr(error)
            raise InputError(f"the model {path} is damaged: its metadata do not fit ({reason})") from None
        return cls(**arrays, **values)
