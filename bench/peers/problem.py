"""The problem of all contestants: the same rows, initial weights and order, reproduced in each process."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np


def save_images(folder, rows=None):
    """Write MNIST's images and labels for the processes to read: the first `rows`, or all 70,000."""
    from mlpgpu.data import load
    from mlpgpu.settings.config import Config

    data = load(Config(dataset="mnist", validation_fraction=0))
    np.save(Path(folder, "rows.npy"), np.concatenate([data.x_train, data.x_test])[:rows])
    np.save(Path(folder, "labels.npy"), np.concatenate([data.y_train, data.y_test])[:rows])


@dataclass(frozen=True)
class Problem:
    """A network to train on the images in ``rows.npy``, as bytes, with the labels in ``labels.npy``.

    Attributes
    ----------
    folder : str
        Folder of the two files.
    sizes : sequence of int
        Units of each layer, inputs first.
    batch_size : int
    rounds : int
        Number of timed turns.
    fit_epochs : int
        Epochs per turn of an estimator, which starts anew each time.
    device, precision, normalization : str
        As in `mlpgpu.Config`.
    """

    folder: str
    sizes: tuple[int, ...]
    batch_size: int
    rounds: int
    fit_epochs: int
    device: str = "cpu"
    precision: str = "float32"
    normalization: str = "none"

    @property
    def network(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def name(self) -> str:
        normalized = "" if self.normalization == "none" else ", batch normalisation"
        return f"{self.network}, batch {self.batch_size:,}{normalized}"

    @cached_property
    def rows(self):
        """Images as bytes."""
        return np.load(Path(self.folder, "rows.npy"))

    @cached_property
    def labels(self):
        return np.load(Path(self.folder, "labels.npy"))

    @cached_property
    def x(self):
        """Images as float32 in [0, 1]."""
        return self.rows.astype(np.float32) / np.float32(255)

    @property
    def weights(self):
        """Initial (w, b) of each layer, with w of shape (fan_in, fan_out) from Glorot's uniform distribution."""
        rng = np.random.default_rng(0)
        bounds = [((6 / sum(pair)) ** 0.5, pair) for pair in itertools.pairwise(self.sizes)]
        return [
            (rng.uniform(-bound, bound, pair).astype(np.float32), np.zeros(pair[1], np.float32))
            for bound, pair in bounds
        ]

    def order(self, number):
        """Return the order of the rows in epoch `number`."""
        return np.random.default_rng([0, number]).permutation(len(self.labels))
