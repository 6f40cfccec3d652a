"""Short runs on iris for tests of callbacks, and one that an error ends: 108 training rows, 11 steps per epoch."""

from functools import partial

import pytest

from mlpgpu import Config, train_and_test
from mlpgpu.callbacks import LambdaCallback, RunCheckpoint
from mlpgpu.training.checkpoint import Checkpoint

IRIS = {"dataset": "iris", "hidden": (8,), "epochs": 6, "batch_size": 10, "schedule": "constant"}


def iris(*callbacks, resume=None, **given):
    return train_and_test(Config(**(IRIS | given)), callbacks, resume=resume)


four_epochs = partial(iris, epochs=4)


def fail_in(epoch, error):
    def fail(run):
        if run.epoch == epoch:
            raise error

    return LambdaCallback(on_epoch_begin=fail)


def cut_short(folder, callback):
    """Return the checkpoint after two epochs of a run that an error ends after three."""
    with pytest.raises(OSError, match="device lost"):
        iris(callback, RunCheckpoint(folder, 2), fail_in(4, OSError("device lost")))
    return Checkpoint.load(folder)
