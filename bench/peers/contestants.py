"""Who takes part: one entry each, and the class that trains in a process of its own.

Such a class is made with a `Problem` and has

- ``turn(number)`` -> mean loss of epoch `number` (or None where nothing is trained), once all its work is done; of an
  estimator, of a whole fit;
- ``epochs``, how many a turn does, where it is more than one;
- ``setting``, where it chose something for itself, in words.

Its module imports the library that it is about, and no other contestant's.
"""

from dataclasses import dataclass, field

# How mlpgpu runs its steps: as it does in a long run where Numba is installed, as it does without Numba, and as it
# chooses itself, which for a short fit may be either.
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
        In tables and pictures.
    entry : str
        ``module:class``.
    lane : str
        What it is compared with: ``epoch`` for those that go on from turn to turn, ``fit`` for estimators, which
        draw their own start and order; ``floor`` for what does not train.
    color : str
    own : bool
        Whether it is mlpgpu.
    needs : tuple of str
        Modules without which it is not what it says.
    environment : dict of str
        Variables of its process.
    normalizes : bool
        Whether it can train a network with batch normalisation.
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
