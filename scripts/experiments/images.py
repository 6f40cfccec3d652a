"""All images of MNIST or Fashion-MNIST."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlpgpu.data import load
from mlpgpu.settings.config import Config

CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class Images(NamedTuple):
    """Training images and test images as rows of pixels, and their labels from 0 to 9."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def images(dataset: str) -> Images:
    """Return all images of ``mnist`` or ``fashion-mnist``, one byte per pixel, in the original order and split."""
    data = load(Config(dataset=dataset, validation_fraction=0))
    return Images(data.x_train, data.y_train, data.x_test, data.y_test)
