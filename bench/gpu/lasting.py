"""Turns of several epochs, because one takes only milliseconds on a GPU, too short for its clocks to rise."""

import math
import time

# Duration and maximum number of epochs of a turn.
SECONDS, MAX_EPOCHS = 0.25, 400


class Lasting:
    """A contestant that trains for `SECONDS` in each turn; the first turn is one epoch, whose loss is compared.

    Parameters
    ----------
    kind : callable
        ``kind(problem)``, a contestant whose turn is an epoch.
    problem : Problem

    Attributes
    ----------
    epochs : int
        Epochs per turn.
    """

    def __init__(self, kind, problem):
        self.inner = kind(problem)
        self.setting = getattr(self.inner, "setting", "")
        self.epochs, self._done = 1, 0

    def turn(self, number):
        loss = self._train(self.epochs)
        if number == 0:
            # The minimum, since the first of these may still include preparations.
            took = min(self._seconds() for _ in range(3))
            self.epochs = max(1, min(math.ceil(SECONDS / took), MAX_EPOCHS))
        return loss

    def _seconds(self):
        began = time.perf_counter()
        self._train(1)
        return time.perf_counter() - began

    def _train(self, epochs):
        for _ in range(epochs):
            loss = self.inner.turn(self._done)
            self._done += 1
        return loss
