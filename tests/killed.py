"""The training command in a process of its own, which is killed at any moment or kills itself during a write."""

import contextlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path

# Each process is forked from a server that has imported everything, including the modules that a run imports late.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([
    "killed", "mlpgpu.train", "mlpgpu.workflow", "mlpgpu.results.run_folder", "mlpgpu.results.report",
    "mlpgpu.fusion.loop", "sklearn.datasets", "sklearn.model_selection",
])  # fmt: skip


def start(arguments, folder, **more):
    """Start a process that runs `command`, and return it."""
    process = CONTEXT.Process(target=command, args=(arguments, folder), kwargs=more)
    process.start()
    return process


def command(arguments, folder, kill_in=None, largest=None, variables=None):
    """Run the training command, and exit with its code.

    Parameters
    ----------
    arguments : list of str
        Command-line arguments.
    folder : path
        Working folder. The output is appended to ``said.txt`` there.
    kill_in : (str, int) or None
        Operation after which the process kills itself, and in which write of a checkpoint, from 1: ``written`` (half
        of the data), ``synced``, ``kept`` (the previous checkpoint) or ``replaced`` (the last one).
    largest : int or None
        Largest size of a file in bytes.
    variables : dict or None
        Environment variables.
    """
    from mlpgpu import plots, train

    # Under nohup, the tests ignore SIGHUP, and the process would inherit that.
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(folder)
    os.environ |= {"MLPGPU_LOOP": "numpy", **(variables or {})}
    # Plots take longer than the rest, and are drawn after the last moment of interest.
    plots.available = lambda: False
    with open("said.txt", "a") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):  # noqa: PTH123
        if kill_in is not None:
            _kill_in(*kill_in)
        with contextlib.ExitStack() as stack:
            if largest is not None:
                from limits import limited

                # The limit ends before coverage data is written.
                stack.enter_context(limited(largest))
            code = train.run_command(train.app, arguments)
    sys.exit(code)


def _kill_in(moment, number):
    """Kill this process in the `number`-th write of a checkpoint, after the operation `moment`."""
    writes = 0

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def is_due(path):
        nonlocal writes
        writes += path.match(".last.*.part.safetensors")
        return writes == number

    written, moved, synced = Path.write_bytes, Path.replace, os.fsync
    state = {"due": False}

    def write_bytes(self, data):
        state["due"] = is_due(self)
        if state["due"] and moment == "written":
            written(self, bytes(data)[: len(data) // 2])
            die()
        return written(self, data)

    def fsync(file):
        synced(file)
        if state["due"] and moment == "synced":
            die()

    def replace(self, target):
        found = moved(self, target)
        if state["due"] and (moment, Path(target).name) in {
            ("kept", "previous.safetensors"),
            ("replaced", "last.safetensors"),
        }:
            die()
        return found

    Path.write_bytes, Path.replace, os.fsync = write_bytes, replace, fsync
