"""Measured throughput, on fake devices whose steps take known times."""

import dataclasses

import numpy as np
import pytest

from mlpgpu.data.mirrors import UnavailableError
from mlpgpu.errors import InputError
from mlpgpu.throughput import measure as module
from mlpgpu.throughput.contenders import find
from mlpgpu.throughput.measure import measure, read
from mlpgpu.throughput.study import Study

pytestmark = pytest.mark.usefixtures("step_by_step")


def study_of(n_rows, **given):
    # A fifth of the rows is held out for testing.
    given = {"dataset": "synthetic", "samples": n_rows * 5 // 4, "features": 3, "repeats": 2, **given}
    study = Study(**given)
    return study, read(study)


def measured(n_rows, **given):
    study, data = study_of(n_rows, **given)
    return list(measure(study, data, find(study)[0]))


def test_samples_a_second_of_whole_epochs(machine):
    machine(cpu=(0.5, 0.25))
    points = measured(160, batch_sizes="16,160", seconds=100)
    assert [point.batch_size for point in points] == [16, 160]
    for point in points:
        rate = point.batch_size / (0.5 + 0.25 * point.batch_size)
        assert point.rates["cpu"] == pytest.approx([rate, rate])
        assert point.median("cpu") == pytest.approx(rate)


def test_padding_of_the_last_batch_is_no_sample(machine):
    machine(cpu=(0.0, 1.0))
    # Two steps of 64 rows for 80 samples.
    (point,) = measured(80, batch_sizes="64", seconds=1000)
    assert point.median("cpu") == pytest.approx(80 / 128)


def test_an_epoch_that_is_longer_than_the_time_is_cut_short(machine):
    timed = machine(cpu=(1.0, 0.0))
    (point,) = measured(160, batch_sizes="1", seconds=5, repeats=3)
    assert point.rates["cpu"] == [1.0] * 3
    # A first step, a warm-up measurement, and three measurements, each after a step that is not timed.
    assert timed.now == 1 + 5 + 3 * (1 + 5)


def test_short_epochs_are_repeated_until_the_time_is_up(machine):
    timed = machine(cpu=(1.0, 0.0))
    (point,) = measured(160, batch_sizes="80", seconds=5, repeats=1)
    # Three epochs of two steps, to warm up and to measure, each time after one more step.
    assert timed.now == 2 * (1 + 6)
    assert point.rates["cpu"] == [480 / 6]


def test_devices_take_turns_after_their_warm_up(machine):
    timed = machine(cpu=(1.0, 0.0), cuda_0=(2.0, 0.0), cuda_1=(4.0, 0.0))
    seen = []
    timed.on_step = lambda device, batch_size: seen.append(device)
    (point,) = measured(16, batch_sizes="16", seconds=1, repeats=2)
    twice = [device for device in timed.costs for _ in range(2)]
    assert seen == twice * 3
    assert point.rates == {"cpu": [16.0] * 2, "cuda:0": [8.0] * 2, "cuda:1": [4.0] * 2}


def test_warm_up_does_not_count(machine):
    timed = machine(cpu=(1.0, 0.0))
    calls = []

    def slow_at_first(device, batch_size):
        calls.append(device)
        timed.now += 1000 if len(calls) <= 2 else 0

    timed.on_step = slow_at_first
    (point,) = measured(16, batch_sizes="16", seconds=1)
    assert point.rates["cpu"] == [16.0] * 2


def test_what_a_device_needs_after_another_had_its_turn_does_not_count(machine):
    timed = machine(cpu=(1.0, 0.0), cuda_0=(2.0, 0.0))
    seen = ["nobody"]

    def slow_after_another(device, batch_size):
        timed.now += 1000 if device != seen[-1] else 0
        seen.append(device)

    timed.on_step = slow_after_another
    (point,) = measured(16, batch_sizes="16", seconds=1, repeats=3)
    assert point.rates == {"cpu": [16.0] * 3, "cuda:0": [8.0] * 3}


def test_batch_sizes_ascend_once_each_up_to_the_rows(machine):
    machine(cpu=(1.0, 0.0))
    points = measured(100, batch_sizes="64,16,64,101,100", seconds=1)
    assert [point.batch_size for point in points] == [16, 64, 100]
    with pytest.raises(InputError, match="batch_sizes starts at 101, and synthetic has 100 training rows"):
        measured(100, batch_sizes="2000,101")


@pytest.mark.parametrize("batch_size", [8, 60])
def test_real_training_on_each_backend(real_backend, batch_size):
    study, data = study_of(60, backends=real_backend.name, dtype="float64", batch_sizes=batch_size, seconds=0.01)
    contenders, _ = find(study)
    (point,) = measure(study, data, contenders)
    assert point.rates.keys() == {who.label for who in contenders}
    assert all(len(rates) == 2 and min(rates) > 0 for rates in point.rates.values())


def test_weights_that_are_not_finite_have_no_speed():
    study, data = study_of(60, devices="cpu", optimizer="sgd", learning_rate=1e30, batch_sizes="8", seconds=0.01)
    with pytest.raises(InputError, match="weights on cpu are no longer finite with batch size 8"):
        list(measure(study, data, find(study)[0]))


def test_all_training_rows_are_trained_on(data_dir):
    data = read(Study())
    assert (data.name, len(data.x_train), data.x_train.dtype) == ("mnist", 60_000, np.uint8)


def test_without_mnist_the_synthetic_set_and_why(monkeypatch):
    load = module.load

    def without_mnist(config):
        if config.dataset == "mnist":
            raise UnavailableError("mnist is on no server")
        return load(config)

    monkeypatch.setattr(module, "load", without_mnist)
    study = Study(samples=50, features=3)
    data = read(study)
    assert (data.name, data.n_features) == ("synthetic", 3)
    assert data.notes == ("using the synthetic set, because mnist is on no server",)
    # A data set that was named is not replaced.
    with pytest.raises(UnavailableError):
        read(dataclasses.replace(study, dataset="mnist"))
