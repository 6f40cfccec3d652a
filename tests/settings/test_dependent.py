"""Settings that are used only with some values of others."""

import pytest

from mlpgpu import Config, InputError, train_and_test
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES
from mlpgpu.prepared import prepare
from mlpgpu.settings import dependent
from mlpgpu.settings.config import settings
from mlpgpu.training.plan import make_recipe

SMALL = {"hidden": (3,), "epochs": 2, "quiet": True}
# Setting -> value, other settings with which it is used, and others with which it is not.
GIVEN = {
    "activation": ("tanh", {"hidden": 3}, {"hidden": "none"}),
    "normalization": ("batch", {"hidden": 3}, {"hidden": "none"}),
    "dropout": (0.5, {"hidden": 3}, {"hidden": "none"}),
    "hold_out": ("last", {"validation_fraction": 0}, {"validation_fraction": 0, "test_fraction": 0}),
    "init_std": (1, {"init": "normal"}, {"init": "he_normal"}),
    "huber_delta": (2, {"loss": "huber"}, {"loss": "quantile"}),
    "quantile": (0.9, {"loss": "quantile"}, {}),
    "warmup": (2, {"epochs": 2}, {"epochs": 1}),
    "decay_rate": (0.5, {"schedule": "step"}, {}),
    "decay_epochs": (1, {"schedule": "step"}, {"schedule": "exponential"}),
    "power_t": (1, {"schedule": "invscaling"}, {"schedule": "cosine"}),
    "early_stopping": (True, {}, {"validation_fraction": 0}),
    "monitor": ("score", {}, {"validation_fraction": 0}),
    "patience": (3, {"early_stopping": True}, {"early_stopping": False}),
    "min_delta": (0.1, {"early_stopping": True}, {"early_stopping": False}),
}


@pytest.mark.parametrize("name", sorted({*GIVEN, *dependent.USES}))
def test_a_setting_is_used_or_refused(name):
    value, used, unused = GIVEN[name]
    config = Config(dataset="iris", **used, **{name: value})
    dependent.check(Config(**config.to_dict()))
    config = Config(dataset="iris", **unused, **{name: value})
    other = dependent.USES[name].other
    said = f"{name} is {value}, and {other} is .*; allowed: {name} with {other} .*; give that, or leave out {name}"
    with pytest.raises(InputError, match=f"(?i){said}"):
        prepare(config)


def test_what_is_so_anyway_is_no_mistake():
    dependent.check(Config(hidden="none", activation="relu", dropout=0, power_t=0.5))
    dependent.check(Config(hidden=(), activation=(), normalization=(), dropout=()))


def _passes(**given):
    try:
        dependent.check(Config(**given))
    except InputError:
        return False
    return True


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("given", [{"decay_rate": 0.3}, {"decay_epochs": 3}, {"power_t": 2}], ids=str)
def test_a_schedule_that_does_not_change_does_not_use_the_setting(schedule, given):
    plain, other = (make_recipe(Config(schedule=schedule, **more), epochs=9, steps_per_epoch=1) for more in ({}, given))
    assert _passes(schedule=schedule, **given) == (plain.schedule != other.schedule)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("given", [{"huber_delta": 2}, {"quantile": 0.9}], ids=str)
def test_a_loss_uses_its_own_settings(loss, given):
    assert _passes(loss=loss, **given) == (given.keys() <= LOSSES[loss].settings.keys())


def test_every_setting_of_an_entry_of_a_table_is_known():
    of_entries = {name for rule in (*LOSSES.values(), *OPTIMIZERS.values()) for name in rule.settings}
    # Label smoothing is for all losses of classifications, and refused for the others as they are.
    assert of_entries & settings().keys() <= {*dependent.USES, *dependent.OF_OPTIMIZERS, "label_smoothing"}


def test_whether_a_run_may_stop_early_can_depend_on_the_data():
    assert prepare(Config(dataset="diabetes", hidden=3, patience=2)).config.patience == 2
    unstopped = "patience is 2, and early_stopping is false; allowed: patience with early_stopping true; give that, or"
    for given in ({"dataset": "iris"}, {"dataset": "diabetes", "epochs": 3}):
        with pytest.raises(InputError, match=unstopped):
            prepare(Config(**given, patience=2))
    with pytest.raises(InputError, match=r"warmup is 5000, and epochs is 1000; allowed: warmup with epochs of at"):
        prepare(Config(dataset="iris", warmup=5000))


def test_a_run_of_before_goes_on(tmp_path, monkeypatch):
    """A run of an earlier version resumes, even with a setting that is refused now."""
    from mlpgpu.callbacks import RunCheckpoint

    config = Config(dataset="iris", **SMALL, patience=3, power_t=2)
    with monkeypatch.context() as patched:
        patched.setattr(dependent, "check", lambda _, **decided: None)
        whole = train_and_test(config, [RunCheckpoint(tmp_path, 1)])
    again = train_and_test(config, resume=tmp_path / "previous.safetensors")
    assert (again.model.params == whole.model.params).all()
