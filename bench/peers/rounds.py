"""Rounds in which each contestant has a turn, and what comes of them."""

import dataclasses
import random
import time
from dataclasses import dataclass, field

from peers.turns import Failed, Player

# So long, the threads of the one before may spin before they sleep.
PAUSE = 0.1


@dataclass
class Result:
    """What a contestant did on a problem.

    Attributes
    ----------
    seconds : list of float
        An epoch, in each round.
    losses : list of float or None
        Mean of the epoch in each turn, the warm-up first.
    setting : str
        What it chose for itself.
    reason : str
        Why it is not counted; empty where it is.
    """

    seconds: list[float] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    setting: str = ""
    reason: str = ""


class Rounds:
    """Contestants by name, each in its own process; a context that ends them."""

    def __init__(self, names):
        self.players = {name: Player(name) for name in names}
        self.reasons: dict[str, str] = {}

    def __enter__(self):
        for name in list(self.players):
            self._ask(name, "open")
        return self

    def __exit__(self, *exception):
        for player in self.players.values():
            player.leave()

    def play(self, problem):
        """Name -> `Result` of each contestant; one that fails is out, here and from here on."""
        results = {name: Result() for name in (*self.players, *self.reasons)}
        for name in list(self.players):
            results[name].setting = self._ask(name, "prepare", dataclasses.asdict(problem)) or ""
        for number in range(problem.rounds + 1):
            # None is to have the same one before it each time.
            for name in random.Random(number).sample(list(self.players), len(self.players)):
                time.sleep(PAUSE)
                if answer := self._ask(name, "turn", number):
                    seconds, loss = answer
                    results[name].losses.append(loss)
                    # Turn 0 warms up.
                    results[name].seconds += [seconds] if number else []
        for name, reason in self.reasons.items():
            results[name].reason = reason
        return results

    def _ask(self, name, *request):
        """Its answer; None where it fails, and then it is out."""
        try:
            return self.players[name].ask(*request)
        except Failed as why:
            self.reasons[name] = str(why)
            self.players.pop(name).leave()
            return None
