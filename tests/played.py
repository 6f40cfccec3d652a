"""Runs without a network, which call callbacks as the trainer does."""

from types import SimpleNamespace

import numpy as np

from mlpgpu.callbacks.base import finalised
from mlpgpu.training.run import Run


def run_of(epochs=12, steps=4, rows=100, learning_rate=1.0):
    plan = SimpleNamespace(epochs=epochs, steps_per_epoch=steps)
    return Run(plan, rows, training=SimpleNamespace(base_rate=learning_rate))


def record_of(epoch, **more):
    return {
        "epoch": epoch,
        "loss": 0.123456 / epoch,
        "train_accuracy": 0.9,
        "validation_loss": 0.25,
        "validation_accuracy": 0.97531,
        "learning_rate": 1e-3,
        "seconds": 0.1 + 0.2,
        "samples_per_second": 123456.7,
        **more,
    }


def play(run, records, *callbacks):
    """Yield the number of each epoch as it ends, up to the one in which the run is stopped."""
    with finalised(callbacks, run):
        for run.epoch, record in enumerate(records, 1):
            for callback in callbacks:
                callback.on_epoch_begin(run)
            for done in range(1, run.plan.steps_per_epoch + 1):
                for callback in callbacks:
                    callback.on_steps(run, done, lambda: np.array([record["loss"]]))  # noqa: B023
                if run.stopped:
                    break
            run.history.append(record)
            for callback in callbacks:
                callback.on_epoch_end(run, record)
            run.write_checkpoints()
            yield run.epoch
            if run.stopped:
                break
