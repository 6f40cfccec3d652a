"""Fuzzing targets: for each file format its reader, seed files and dictionary."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu import evaluate, inspection
from mlpgpu.callbacks import EarlyStopping
from mlpgpu.data import idx, load, reading
from mlpgpu.maths.parameters import count
from mlpgpu.models.model import Model
from mlpgpu.settings.config import Config, settings
from mlpgpu.settings.config_file import read_file
from mlpgpu.training.checkpoint import Checkpoint
from scripts.fuzz import mutators, seeds


@dataclass(frozen=True)
class Target:
    """A file format.

    Attributes
    ----------
    suffix : str
        File name suffix.
    read : callable
        ``read(path)``, which must raise `mlpgpu.errors.InputError` or nothing.
    seeds : callable
        ``seeds()`` -> files, as bytes, from which mutations start.
    words : tuple of bytes
        Dictionary of words that mutations may insert.
    mutate : callable or None
        ``mutate(data, max_size, seed) -> data``, which replaces libFuzzer's mutator.
    """

    suffix: str
    read: Callable[[Path], Any]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    mutate: Callable[[bytes, int, int], bytes] | None = None


def _train_and_measure(path: Path) -> None:
    """Read a file for training, then for prediction and evaluation with a model of that data."""
    data = load(Config(dataset=str(path), target=None if path.suffix == ".npz" else "y", impute="median"))
    for _ in reading.features(path, data.columns, 3):
        pass
    loss = "logistic" if data.multilabel else {"classification": "cross_entropy"}.get(data.task, "squared_error")
    sizes = (data.n_features, data.n_targets)
    zeros = np.zeros(count(sizes))
    labels = {"classes": data.classes, "targets": data.targets, "label_values": data.label_values}
    model = Model(zeros, data.scaling.shift, data.scaling.factor, sizes, (), loss, data.task, **labels)
    for known in reading.features_and_targets(path, data.columns, data.target):
        evaluate.measure(model, [model.logits(known.x)], known.y)


def _settings(path: Path) -> Config:
    return Config(**read_file(path))


def _predict(path: Path) -> None:
    """Load a model, describe it, and predict and evaluate a few rows."""
    model = Model.load(path)
    x = np.ones((3, model.sizes[0]))
    list(inspection._lines(model, None))
    model.predict(x)
    first = [column[0] for column in model.alternatives]
    truth = np.array([first] * 3, object) if first else np.zeros((3, model.sizes[-1]))
    evaluate.measure(model, [model.logits(x)], truth)


def _resume(path: Path) -> None:
    """Load a checkpoint, and resume up to the comparison of the data."""
    found = Checkpoint.load(path)
    found.where()
    found.check(found.plan, found.data, found.model)
    found.restore([EarlyStopping(patience=1)])


_NAMES = tuple(name.encode() for name in settings())
_CSV = (
    b"a",
    b"y",
    b",",
    b";",
    b"\t",
    b"|",
    b".",
    b"\n",
    b"\r\n",
    b'"',
    b'""',
    b"nan",
    b"NA",
    b"inf",
    b"1e400",
    b"True",
    b"2020-01-02",
    b"\0",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
)
_TOML = (b"[", b"]", b"{", b"}", b"=", b'"""', b"'''", b".", b"1e9", b"inf", b"0x", b"2020-01-02", b"12:00:00", b"\\u")
_YAML = (b": ", b"- ", b"? ", b"&a", b"*a", b"<<", b"!!int", b"!!float", b"!!python/name:os", b"!!binary", b"|", b">")

TARGETS: dict[str, Target] = {
    "idx": Target(".gz", idx.read, seeds.idx, mutate=mutators.gzipped),
    "csv": Target(".csv", _train_and_measure, seeds.csv, _CSV),
    "csv.gz": Target(".csv.gz", _train_and_measure, seeds.packed, _CSV, mutators.gzipped),
    "npz": Target(".npz", _train_and_measure, seeds.npz, mutate=mutators.npz),
    "parquet": Target(".parquet", _train_and_measure, seeds.parquet),
    "toml": Target(".toml", _settings, seeds.toml, (*_NAMES, *_TOML)),
    "yaml": Target(".yaml", _settings, seeds.yaml, (*_NAMES, *_YAML)),
    "model": Target(".safetensors", _predict, seeds.models, mutate=mutators.described),
    "checkpoint": Target(".safetensors", _resume, seeds.checkpoints, mutate=mutators.described),
}
