"""Rounds in which each contestant has a turn, and their results."""

import dataclasses
import math
import random
import sys
import time
from dataclasses import dataclass, field

from peers.turns import Failed, Player

# Threads of the previous contestant may spin for this long before they sleep.
PAUSE = 0.1


@dataclass
class Result:
    """Result of a contestant on a problem.

    Attributes
    ----------
    seconds : list of float
        Seconds per epoch in each round.
    losses : list of float or None
        Mean loss of the epoch in each turn, the warm-up first.
    setting : str
        What it chose itself.
    reason : str
        Reason why it does not count; empty if it does.
    """

    seconds: list[float] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    setting: str = ""
    reason: str = ""


class Rounds:
    """Contestants by name, each in its own process; a context manager that ends the processes.

    Parameters
    ----------
    contestants : dict of str to Contestant
    patience : float or None
        See `Player`.
    """

    def __init__(self, contestants, patience=None):
        self.players = {name: Player(contestant, patience) for name, contestant in contestants.items()}
        self.reasons: dict[str, str] = {}

    def __enter__(self):
        # All at once, because it takes seconds and is not timed.
        for player in self.players.values():
            player.ask("open")
        for name in list(self.players):
            self._answer(name)
        return self

    def __exit__(self, *exception):
        for player in self.players.values():
            player.leave()

    def play(self, problem, names=None, ends=math.inf):
        """Play all rounds, and return name -> `Result`; a contestant that fails is excluded from here on.

        Parameters
        ----------
        problem : Problem
        names : collection of str or None
            Participants; None for all.
        ends : float
            Time of ``time.perf_counter()`` after which no round is started, except the first timed one.
        """
        playing = [name for name in (*self.players, *self.reasons) if names is None or name in names]
        results = {name: Result() for name in playing}
        for name in self._left(playing):
            results[name].setting = self._ask(name, "prepare", dataclasses.asdict(problem)) or ""
        for number in range(problem.rounds + 1):
            if number > 1 and time.perf_counter() > ends:
                break
            # Shuffled, so that a contestant does not always follow the same other.
            left = self._left(playing)
            for name in random.Random(number).sample(left, len(left)):
                time.sleep(PAUSE)
                if answer := self._ask(name, "turn", number):
                    seconds, loss = answer
                    results[name].losses.append(loss)
                    # Turn 0 is a warm-up.
                    results[name].seconds += [seconds] if number else []
        for name in playing:
            results[name].reason = self.reasons.get(name, "")
        return results

    def _left(self, names):
        return [name for name in names if name in self.players]

    def _ask(self, name, *request):
        """Return the answer of a contestant; None if it fails, which excludes it."""
        self.players[name].ask(*request)
        return self._answer(name)

    def _answer(self, name):
        try:
            return self.players[name].answer()
        except Failed as why:
            self.reasons[name] = str(why)
            sys.stderr.write(self.players[name].said())
            self.players.pop(name).leave()
            return None
