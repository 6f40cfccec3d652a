"""mlpgpu on a GPU, with captured and with eager steps."""

from peers import ours

from gpu.lasting import Lasting


class Captured(Lasting):
    """Training as by the command."""

    kind = ours.Epochs


class Eager(Lasting):
    """Training with ``--no-capture``."""

    kind = ours.LineByLine
