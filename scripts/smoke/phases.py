"""Time the phases of a run: ``python -m scripts.smoke.phases STARTED FILE FLAGS...``.

Runs ``mlpgpu train FLAGS`` and writes the seconds of each phase into FILE; STARTED is the start time of the process.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS: dict[str, float] = defaultdict(float)
_INNER: list[float] = []


def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `function` to add its seconds to `part`, and to exclude them from the part of its caller."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        _INNER.append(0.0)
        try:
            return function(*args, **kwargs)
        finally:
            took = time.perf_counter() - began
            SECONDS[part] += took - _INNER.pop()
            if _INNER:
                _INNER[-1] += took

    return call


def main(started: float, file: Path, flags: list[str]) -> int:
    """Run the command, and write the seconds of its parts."""
    SECONDS["start of Python"] = time.time() - started
    began = time.perf_counter()
    from mlpgpu import backends, prepared, train, workflow
    from mlpgpu.results import run_folder
    from mlpgpu.training import evaluation, trainer

    SECONDS["imports"] = time.perf_counter() - began
    first = [True]

    def epoch(function: Callable[..., Any]) -> Callable[..., Any]:
        ways = {True: timed("first epoch", function), False: timed("other epochs", function)}

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return ways[first[0]](*args, **kwargs)
            finally:
                first[0] = False

        return call

    for owner, name, part in (
        (backends, "select", "device"),
        (prepared, "load", "data"),
        (prepared, "make_plan", "plan"),
        (trainer.Training, "__init__", "rows to the device"),
        (evaluation.Evaluation, "measure", "evaluation"),
        (workflow, "_test", "test"),
        (run_folder, "write", "files"),
    ):
        setattr(owner, name, timed(part, getattr(owner, name)))
    trainer.Training.epoch = epoch(trainer.Training.epoch)  # type: ignore[method-assign]
    code: int = timed("all else", train.run_command)(train.app, flags)
    file.write_text(json.dumps(SECONDS), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
