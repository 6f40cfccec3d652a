"""All images of MNIST or Fashion-MNIST."""

from __future__ import annotations

import numpy as np

from mlpgpu.config import Config
from mlpgpu.data import load

CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def images(dataset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the images as bytes and their labels, in the original order and split.

    Parameters
    ----------
    dataset : str
        ``mnist`` or ``fashion-mnist``.

    Returns
    -------
    x_train, y_train, x_test, y_test : array
        uint8 of shape (60000, 784) and (10000, 784), and int64 labels from 0 to 9.
    """
    data = load(Config(dataset=dataset, validation_fraction=0))
    return data.x_train, data.y_train, data.x_test, data.y_test
