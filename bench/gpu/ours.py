"""mlpgpu on a GPU, captured and line by line."""

from peers import ours

from gpu.lasting import Lasting


class Captured(Lasting):
    """As the command trains."""

    kind = ours.Epochs


class Eager(Lasting):
    """With ``--no-capture``."""

    kind = ours.LineByLine
