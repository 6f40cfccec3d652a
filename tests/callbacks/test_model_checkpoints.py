"""Models that are saved while they are trained."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from irises import four_epochs as iris
from played import play, record_of, run_of

from mlpgpu import InputError, Model
from mlpgpu.callbacks import LambdaCallback, ModelCheckpoint

pytestmark = pytest.mark.usefixtures("step_by_step")


def test_checkpoints_are_the_weights_of_their_epochs(tmp_path):
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda run, record: kept.append((record, run.params.copy())))
    outcome = iris(ModelCheckpoint(tmp_path / "to" / "come" / "{epoch:03d}-{loss:.4f}.safetensors"), keep)
    assert len(kept) == 4
    assert {path.name for path in (tmp_path / "to" / "come").iterdir()} == {
        f"{record['epoch']:03d}-{record['loss']:.4f}.safetensors" for record, _ in kept
    }
    for path, (_, params) in zip(sorted((tmp_path / "to" / "come").iterdir()), kept, strict=True):
        np.testing.assert_array_equal(Model.load(path).params, params)
    assert not np.array_equal(kept[0][1], kept[1][1])
    model = Model.load(path)
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])
    np.testing.assert_array_equal(model.predict_proba(rows), outcome.model.predict_proba(rows))


def saved_in(values, path, key="validation_loss", **given):
    """Return the epochs after which a run with these values of `key` is saved."""
    saved = []
    run = run_of()
    run.model = lambda: SimpleNamespace(save=lambda path: saved.append(run.epoch))
    records = [record_of(epoch, **{key: value}) for epoch, value in enumerate(values, 1)]
    list(play(run, records, ModelCheckpoint(path, **given)))
    return saved


@pytest.mark.parametrize(("key", "values", "given", "epochs"), [
    ("validation_loss", [3, 4, 2, 2, 1, 5], {}, [1, 2, 3, 4, 5, 6]),
    ("validation_loss", [3, 4, 2, 2, 1, 5], {"save_every": 2}, [2, 4, 6]),
    ("validation_loss", [3, 4, 2, 2, 1, 5], {"save_best_only": True}, [1, 3, 5]),
    ("validation_loss", [3, 4, 2, 2, 1, 5], {"save_best_only": True, "mode": "max"}, [1, 2, 6]),
    # The epoch with 1 is not due, so 3 is compared with the saved 4.
    ("validation_loss", [1, 4, 2, 3, 1, 5], {"save_best_only": True, "save_every": 2}, [2, 4]),
    ("train_accuracy", [3, 4, 2, 2, 1, 5], {"save_best_only": True, "monitor": "train_accuracy"}, [1, 2, 6]),
    ("validation_loss", [math.nan, 4, math.nan, 3], {"save_best_only": True}, [2, 4]),
])  # fmt: skip
def test_checkpoints_are_written_when_they_are_due(tmp_path, key, values, given, epochs):
    assert saved_in(values, tmp_path / "model.safetensors", key, **given) == epochs


@pytest.mark.parametrize("name", ["{val_loss}", "{}", "{0}", "{loss", "{loss:x}", "{loss.real.more}", "{loss[0]}"])
def test_a_checkpoint_whose_name_cannot_be_filled_in(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot be filled in .*; allowed: the fields epoch, loss, .* \{epoch:03d\}"):
        saved_in([1], tmp_path / name, save_every=10)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_every_epoch_needs_no_validation_rows(tmp_path):
    iris(ModelCheckpoint(tmp_path / "{epoch}"), validation_fraction=0)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3", "4"}
