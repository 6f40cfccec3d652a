"""mlpgpu on a GPU, with captured steps, as the command trains, and with eager ones, as with ``--no-capture``."""

from functools import partial

from peers.ours import Epochs

from gpu.lasting import Lasting

Captured = partial(Lasting, Epochs)
Eager = partial(Lasting, partial(Epochs, capture=False))
