"""A contestant in its own process, whose threads sleep between its turns.

``python -m peers.turns CONTESTANT``, with the contestant's fields as JSON, reads one request per line, as JSON
``[method, argument, ...]``, and answers each with a line ``{"reply": ...}`` or ``{"failed": reason}``.
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
import traceback
from pathlib import Path

from peers.contestants import Contestant
from peers.problem import Problem


class Failed(Exception):
    """Raised if a contestant cannot take part or continue; the message says why."""


class Player:
    """The process of a contestant, as seen by the process that gives the turns.

    Parameters
    ----------
    contestant : Contestant
    patience : float or None
        Timeout of an answer in seconds; None for no timeout.
    """

    def __init__(self, contestant, patience=None):
        self.patience, environment = patience, os.environ | contestant.environment
        bench = str(Path(__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (bench, os.environ.get("PYTHONPATH"))))
        # Only read if the contestant fails.
        self.noise = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peers.turns", json.dumps(dataclasses.asdict(contestant))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.noise, text=True, env=environment,
        )  # fmt: skip

    def ask(self, *request):
        """Request a call of a method of `Seat`."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass

    def answer(self):
        """Wait for the result of the requested call, and return it."""
        if self.patience and not select.select([self.process.stdout], [], [], self.patience)[0]:
            raise Failed(f"it did not answer in {self.patience:g} s")
        answer = json.loads(self.process.stdout.readline() or "{}")
        if "reply" in answer:
            return answer["reply"]
        raise Failed(answer.get("failed") or self._last_words())

    def said(self):
        """Return what the process has printed so far, such as warnings and a traceback."""
        self.noise.seek(0)
        return self.noise.read()

    def leave(self):
        self.process.kill()
        self.process.communicate()
        self.noise.close()

    def _last_words(self):
        code = self.process.wait()
        lines = [line for line in self.said().splitlines() if line.strip()]
        return ": ".join([f"its process ended with {code}", *lines[-1:]])


class Seat:
    """The contestant, as seen by its own process."""

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
        """Prepare a problem, given by its attributes, and return what the contestant chose itself."""
        # Free the previous problem before the next allocates memory.
        self.contestant = None
        self.contestant = self.kind(Problem(**problem))
        return getattr(self.contestant, "setting", "")

    def turn(self, number):
        """Return the seconds of an epoch, and its mean loss.

        Unless it is a whole fit, an untimed epoch precedes it, so that the caches no longer hold another contestant's
        data, as in a run.
        """
        goes_on = self.chosen.lane != "fit"
        if goes_on and number:
            self.contestant.turn(2 * number - 1)
        began = time.perf_counter()
        loss = self.contestant.turn(2 * number if goes_on else number)
        seconds = time.perf_counter() - began
        return seconds / getattr(self.contestant, "epochs", 1), loss


def main(contestant):
    """Answer requests until the input ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # Output of libraries must not mix with replies.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    seat = Seat(contestant)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = {"reply": getattr(seat, method)(*arguments)}
        except Exception as error:  # no error may stop the other contestants
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            if kind:
                traceback.print_exc()
            answer = {"failed": kind + " ".join(str(error).split())[:300]}
        print(json.dumps(answer), file=replies, flush=True)


if __name__ == "__main__":
    main(Contestant(**json.loads(sys.argv[1])))
