"""The contestants: one entry each, with the class that trains in its own process.

The class is constructed with a `Problem` and has

- ``turn(number)``, which completes epoch `number`, or a whole fit for an estimator, and returns the mean loss, or None
  if nothing is trained;
- ``epochs``, the number of epochs per turn, if it is not 1;
- ``setting``, a description of what it chose itself, if anything.

Its module imports its own library, and no other contestant's.
"""

from dataclasses import dataclass, field

# The loop of mlpgpu: that of a long run with Numba, that without Numba, and its own choice, which may be either for a
# short fit.
WITH_NUMBA, NUMPY_ALONE, BY_ITSELF = ({"MLPGPU_LOOP": way} for way in ("numba", "numpy", "auto"))

BLUE, SKY, GREEN, VERMILION, PURPLE, ORANGE, GREY, INK = (
    "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#707070", "#222222",
)  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """A way to train.

    Attributes
    ----------
    label : str
        Name in tables and plots.
    entry : str
        Class, as ``module:class``.
    lane : str
        Group for comparison: ``epoch`` if training continues from turn to turn, ``fit`` for estimators, which draw
        their own initial weights and order, ``floor`` if nothing is trained.
    color : str
    own : bool
        Whether it is mlpgpu.
    needs : tuple of str
        Required modules.
    environment : dict of str
        Environment variables of its process.
    normalizes : bool
        Whether it supports batch normalisation.
    """

    label: str
    entry: str
    lane: str
    color: str
    own: bool = False
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    normalizes: bool = False


CONTESTANTS = {
    "floor": Contestant("matmul floor", "peers.ours:MatmulFloor", "floor", GREY, normalizes=True),
    "mlpgpu": Contestant(
        "mlpgpu with Numba", "peers.ours:Epochs", "epoch", BLUE, own=True, needs=("numba",), environment=WITH_NUMBA,
        normalizes=True,
    ),
    "mlpgpu-numpy": Contestant(
        "mlpgpu, NumPy alone", "peers.ours:Epochs", "epoch", SKY, own=True, environment=NUMPY_ALONE, normalizes=True
    ),
    "jax": Contestant("JAX", "peers.jax_scan:Scan", "epoch", GREEN, needs=("jax",)),
    "torch": Contestant("PyTorch, eager", "peers.pytorch:Eager", "epoch", VERMILION, needs=("torch",), normalizes=True),
    "torch-compiled": Contestant("PyTorch, compiled", "peers.pytorch:Compiled", "epoch", ORANGE, needs=("torch",)),
    "keras": Contestant("Keras", "peers.keras_fit:Fit", "epoch", PURPLE, needs=("keras",)),
    "mlpgpu-fit": Contestant(
        "mlpgpu with Numba: fit", "peers.estimators:Ours", "fit", BLUE, own=True, needs=("numba",),
        environment=BY_ITSELF,
    ),
    "mlpgpu-numpy-fit": Contestant(
        "mlpgpu, NumPy alone: fit", "peers.estimators:Ours", "fit", SKY, own=True, environment=NUMPY_ALONE
    ),
    "sklearn-fit": Contestant("scikit-learn: fit", "peers.estimators:ScikitLearn", "fit", INK),
}  # fmt: skip
