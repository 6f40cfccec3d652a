"""The training command in a process of its own, to be killed at any moment, or by itself in the middle of a write."""

import contextlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path

# Every process is the copy of one that has imported all there is to import, also what a run imports as it goes.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([
    "killed", "mlpgpu.train", "mlpgpu.workflow", "mlpgpu.run_folder", "mlpgpu.report", "mlpgpu.fusion.loop",
    "sklearn.datasets", "sklearn.model_selection",
])  # fmt: skip


def start(arguments, folder, **more):
    """The command in `folder`; see `command` for `more`."""
    process = CONTEXT.Process(target=command, args=(arguments, folder), kwargs=more)
    process.start()
    return process


def command(arguments, folder, kill_in=None, largest=None, variables=None):
    """What the process does.

    Parameters
    ----------
    arguments : list of str
    folder : path
    kill_in : (str, int) or None
        ``written`` (half of it), ``synced``, ``kept`` or ``replaced``: what has just been done when the process kills
        itself, and in which write of a checkpoint.
    largest : int or None
        Bytes that a file may have.
    variables : dict or None
        Of the environment.
    """
    from mlpgpu import plots, train

    os.chdir(folder)
    os.environ |= {"MLPGPU_LOOP": "numpy", **(variables or {})}
    # Pictures take longer than all else, and lie behind the last moment of interest.
    plots.available = lambda: False
    with open("said.txt", "a") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):  # noqa: PTH123
        if kill_in is not None:
            _kill_in(*kill_in)
        with contextlib.ExitStack() as stack:
            if largest is not None:
                from limits import limited

                # Not for what measures the tests, which is written later.
                stack.enter_context(limited(largest))
            code = train.run_command(train.app, arguments)
    sys.exit(code)


def _kill_in(moment, number):
    """Have the `number`-th write of a checkpoint end the process."""
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
