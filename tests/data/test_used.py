"""Settings that do not apply to a data set."""

import numpy as np
import pytest

from mlpgpu import Config, InputError, train_and_test
from mlpgpu.data import NAMES, load, used
from mlpgpu.prepared import prepare

FILES = ["a.csv", "a.parquet", "a.tsv.gz", "a.npz", "a.npy", "a.idx"]
# Setting -> value, and the data sets to which it applies.
GIVEN = {
    "data_dir": (".", {None, "mnist", "fashion-mnist"}),
    "target": ("never", set(FILES)),
    "sample_weight": ("never", set(FILES)),
    "group": ("never", set(FILES)),
    "drop": ("a,b", {"a.csv", "a.parquet", "a.tsv.gz"}),
    "memory_map": ("always", {"a.npy", "a.idx"}),
    "samples": (100, {"synthetic"}),
    "features": (3, {"synthetic"}),
    "classes": (3, {"synthetic"}),
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("dataset", [None, *NAMES, *FILES])
def test_a_setting_is_used_or_refused(name, dataset):
    given, users = GIVEN[name]
    config = Config(dataset=dataset, **{name: given})
    if dataset in users:
        used.check(config)
        return
    shown = given.replace(",", ", ") if name == "drop" else given
    said = f"{name} is {shown}, and dataset is {dataset or 'mnist'}; allowed: {name} for .*; leave it out"
    with pytest.raises(InputError, match=said):
        used.check(config)
    with pytest.raises(InputError, match=said):
        prepare(config)


def test_defaults_and_what_is_so_anyway_are_no_mistake():
    used.check(Config(dataset="iris", memory_map="never", samples=70_000))
    with pytest.raises(InputError, match="dataset is 'mnits'; allowed: mnist, .*; did you mean mnist?"):
        prepare(Config(dataset="mnits", memory_map="always"))


def test_a_run_of_before_goes_on(tmp_path, monkeypatch):
    """A run of an earlier version resumes, even with a setting that is refused now."""
    from mlpgpu.callbacks import RunCheckpoint

    given = {"dataset": "iris", "hidden": (3,), "epochs": 2, "quiet": True, "memory_map": "always"}
    with monkeypatch.context() as patched:
        patched.setattr(used, "check", lambda _: None)
        whole = train_and_test(Config(**given), [RunCheckpoint(tmp_path, 1)])
    again = train_and_test(Config(**given), resume=tmp_path / "previous.safetensors")
    np.testing.assert_array_equal(again.model.params, whole.model.params)


def test_what_has_no_use_without_harm_is_noted(tmp_path):
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 2
    path = tmp_path / "a.npz"
    np.savez(path, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    notes = load(Config(dataset=path, test_fraction=0.5, impute="mean")).notes
    assert "test_fraction 0.5 is not used: a has 10 test rows of its own" in notes
    assert "impute mean is not used: no value is missing, and the model will refuse missing values" in notes
    assert not any("is not used" in note for note in load(Config(dataset=path)).notes)
    x[3, 0] = np.nan
    np.savez(path, x=x, y=y)
    assert not any("is not used" in note for note in load(Config(dataset=path, test_fraction=0.5, impute="mean")).notes)
