"""A contestant in a process of its own, where its threads sleep until it is its turn.

``python -m peers.turns CONTESTANT``, where that is the contestant's fields in JSON, reads a request a line, ``[method,
argument, ...]`` in JSON, and answers each with a line: ``{"reply": ...}``, or ``{"failed": reason}``.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers.contestants import Contestant
from peers.problem import Problem


class Failed(Exception):
    """Why a contestant cannot take part, or go on."""


class Player:
    """The process of a contestant, as the one that gives the turns sees it.

    Parameters
    ----------
    contestant : Contestant
    patience : float or None
        Seconds after which it is out that has not answered; None for no such limit.
    """

    def __init__(self, contestant, patience=None):
        self.patience, environment = patience, os.environ | contestant.environment
        bench = str(Path(__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (bench, os.environ.get("PYTHONPATH"))))
        # Of what libraries print, nobody reads more than the last line of one that fell.
        self.noise = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peers.turns", json.dumps(dataclasses.asdict(contestant))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.noise, text=True, env=environment,
        )  # fmt: skip

    def ask(self, *request):
        """Have it call a method of `Seat`."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass

    def answer(self):
        """What the method returned that it was asked to call."""
        if self.patience and not select.select([self.process.stdout], [], [], self.patience)[0]:
            raise Failed(f"it did not answer in {self.patience:g} s")
        answer = json.loads(self.process.stdout.readline() or "{}")
        if "reply" in answer:
            return answer["reply"]
        raise Failed(answer.get("failed") or self._last_words())

    def leave(self):
        self.process.kill()
        self.process.communicate()
        self.noise.close()

    def _last_words(self):
        code = self.process.wait()
        self.noise.seek(0)
        lines = [line for line in self.noise.read().splitlines() if line.strip()]
        return ": ".join([f"its process ended with {code}", *lines[-1:]])


class Seat:
    """The contestant, as its own process sees it."""

    def __init__(self, contestant):
        self.chosen = contestant

    def open(self):
        """Import the library."""
        for module in self.chosen.needs:
            if importlib.util.find_spec(module) is None:
                raise Failed(f"{module} is not installed")
        module, _, name = self.chosen.entry.partition(":")
        self.kind = getattr(importlib.import_module(module), name)

    def prepare(self, problem):
        """Make ready for a problem, given as its attributes; what it chose for itself."""
        # Before the next takes its place in memory.
        self.contestant = None
        self.contestant = self.kind(Problem(**problem))
        return getattr(self.contestant, "setting", "")

    def turn(self, number):
        """Seconds of an epoch, and its mean loss.

        One that goes on from turn to turn does an epoch before it that is not timed, as in a run it would have: the
        caches are no more those of the contestant before.
        """
        goes_on = self.chosen.lane != "fit"
        if goes_on and number:
            self.contestant.turn(2 * number - 1)
        began = time.perf_counter()
        loss = self.contestant.turn(2 * number if goes_on else number)
        seconds = time.perf_counter() - began
        return seconds / getattr(self.contestant, "epochs", 1), loss


def main(contestant):
    """Answer until nobody asks any more."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # What a library prints is no reply.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    seat = Seat(contestant)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = {"reply": getattr(seat, method)(*arguments)}
        except Exception as error:  # whatever it is, the others go on
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            answer = {"failed": kind + " ".join(str(error).split())[:300]}
        print(json.dumps(answer), file=replies, flush=True)


if __name__ == "__main__":
    main(Contestant(**json.loads(sys.argv[1])))
