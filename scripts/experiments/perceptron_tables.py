"""The sixteen tables of the published perceptron, and the results to compare with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOLDS, SCIKIT_LEARN_SEEDS = 5, 20
# Published figures have four digits, truncated rather than rounded.
DIGITS = 1e-4


@dataclass(frozen=True)
class Table:
    """A table of the published report, which has the accuracy on each fold.

    Attributes
    ----------
    number : int
    input : str
        ``raw``, ``standardised`` or ``divided by 255``.
    model : str
        ``own``, ``scikit-learn`` or ``wishes``.
    batch : int
        Batch size; 0 for a full batch, and for scikit-learn's default, which is 200 or all rows if there are fewer.
    epochs : int
    hidden : tuple of int
    published : tuple of float
    seconds : float
        Approximate duration of its full run.
    """

    number: int
    input: str
    model: str
    batch: int
    epochs: int
    hidden: tuple[int, ...]
    published: tuple[float, ...]
    seconds: float

    def __str__(self) -> str:
        batches = {"scikit-learn": ""}.get(self.model, f" batch {self.batch}," if self.batch else " full batch,")
        return f"{self.number}: {self.input}, {self.model},{batches} {self.epochs} epochs"


IRIS = (
    Table(1, "raw", "own", 0, 1800, (10,), (1.0000, 0.9666, 1.0000, 1.0000, 0.9333), 35),
    Table(2, "raw", "scikit-learn", 0, 1800, (10,), (1.0000, 0.9333, 1.0000, 1.0000, 0.9333), 15),
    Table(3, "standardised", "own", 0, 1800, (10,), (0.9666, 0.9333, 1.0000, 1.0000, 0.9333), 35),
    Table(4, "standardised", "scikit-learn", 0, 1800, (10,), (1.0000, 0.9000, 0.9666, 1.0000, 0.9000), 15),
    Table(5, "raw", "own", 0, 300, (10,), (0.9333, 0.9000, 1.0000, 0.9333, 0.8666), 7),
    Table(6, "raw", "scikit-learn", 0, 300, (10,), (0.5666, 0.5000, 0.6666, 0.6666, 0.6666), 5),
    Table(7, "standardised", "own", 0, 300, (10,), (0.9666, 0.8333, 0.9333, 1.0000, 0.9000), 7),
    Table(8, "standardised", "scikit-learn", 0, 300, (10,), (0.6666, 0.7000, 0.9000, 0.9000, 0.8666), 5),
    Table(9, "raw", "own", 32, 300, (10,), (0.9333, 0.9333, 0.8666, 1.0000, 0.9000), 13),
    Table(10, "standardised", "own", 32, 300, (10,), (1.0000, 0.8666, 1.0000, 1.0000, 0.9000), 13),
)
MNIST = (
    Table(11, "raw", "own", 0, 50, (128,), (0.2322, 0.2092, 0.2210, 0.2161, 0.2730), 45),
    Table(12, "divided by 255", "own", 0, 50, (128,), (0.2280, 0.2221, 0.2287, 0.2441, 0.2481), 45),
    Table(13, "raw", "own", 200, 50, (128,), (0.8864, 0.8892, 0.8936, 0.8835, 0.8900), 45),
    Table(14, "divided by 255", "own", 200, 50, (128,), (0.9082, 0.9098, 0.9112, 0.9109, 0.9083), 45),
    Table(15, "raw", "scikit-learn", 0, 50, (128,), (0.9473, 0.9542, 0.9537, 0.9495, 0.9547), 90),
    Table(16, "divided by 255", "scikit-learn", 0, 50, (128,), (0.9750, 0.9763, 0.9757, 0.9789, 0.9782), 90),
)
WISHES = Table(17, "divided by 255", "wishes", 200, 20, (256, 256), (), 70)


@dataclass(frozen=True)
class Result:
    """Accuracy and weighted F1 by fold, the confusion matrix of all folds, losses of fold 1 by epoch and update."""

    accuracy: np.ndarray
    f1: np.ndarray
    confusion: np.ndarray
    losses: np.ndarray
