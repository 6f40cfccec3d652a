"""Measurement of training throughput on several devices in turn."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from mlpgpu.data import load, used
from mlpgpu.data.dataset import DataSet
from mlpgpu.data.mirrors import UnavailableError
from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.settings import dependent
from mlpgpu.throughput.contenders import Contender
from mlpgpu.throughput.study import Study
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import Plan, make_plan

# Untimed warm-up before each measurement, as a fraction of its length.
WARM_UP = 0.1


@dataclass(frozen=True)
class Point:
    """Measurements with one batch size.

    Attributes
    ----------
    batch_size : int
    rates : dict of str to list of float
        Label of a contender -> samples per second of each measurement, in order.
    """

    batch_size: int
    rates: dict[str, list[float]]

    def median(self, label: str) -> float:
        """Return the median samples per second of a contender."""
        return float(np.median(self.rates[label]))


def read(study: Study) -> DataSet:
    """Load the data set of a study; by default MNIST, or the synthetic set with a note if MNIST is not available.

    Raises
    ------
    InputError
        If there is no such set, or it cannot be used with these settings.
    """
    named = study if study.dataset is not None else dataclasses.replace(study, dataset="mnist")
    try:
        data = load(named)
    except UnavailableError as error:
        if study.dataset is not None:
            raise
        data = load(dataclasses.replace(study, dataset="synthetic"))
        return dataclasses.replace(data, notes=(f"using the synthetic set, because {error}", *data.notes))
    used.check(named)
    dependent.check(named)
    return data


def plan_of(study: Study, data: DataSet) -> Plan:
    """Make the plan of a training with the batch size of `study`."""
    return make_plan(study, **data.dimensions)


def measure(study: Study, data: DataSet, contenders: Sequence[Contender]) -> Iterator[Point]:
    """Train with each batch size on all devices, in turn, after a warm-up.

    Parameters
    ----------
    study : Study
    data : DataSet
        Data set whose training rows are used; batch sizes above their number are left out.
    contenders : sequence of Contender

    Yields
    ------
    Point
        In ascending order of batch size.

    Raises
    ------
    InputError
        If no batch size is left, or the weights are no longer finite.
    """
    n_rows = len(data.x_train)
    batch_sizes = sorted({size for size in study.batch_sizes if size <= n_rows})
    if not batch_sizes:
        raise InputError(
            f"batch_sizes starts at {min(study.batch_sizes):,}, and {data.name} has {counted(n_rows, 'training row')}; "
            "give some up to that"
        )
    for batch_size in batch_sizes:
        # In a function of its own, so that the memory on the devices is freed before the next batch size.
        yield _point(dataclasses.replace(study, batch_size=batch_size), data, contenders)


def _point(study: Study, data: DataSet, contenders: Sequence[Contender]) -> Point:
    epochs = itertools.count(1)
    trainings = [_warm(study, data, contender, epochs) for contender in contenders]
    rates: dict[str, list[float]] = {contender.label: [] for contender in contenders}
    # In turn, so that other load on the machine affects all of them alike.
    for _ in range(study.repeats):
        for contender, training in zip(contenders, trainings, strict=True):
            contender.open(study)
            # The caches hold another contender's data, and an idle GPU lowers its clock.
            _rate(training, WARM_UP * study.seconds, epochs)
            rates[contender.label].append(_rate(training, study.seconds, epochs))
    for contender, training in zip(contenders, trainings, strict=True):
        contender.open(study)
        if not training.is_finite():
            raise InputError(
                f"the weights on {contender.label} are no longer finite with batch size {study.batch_size}, and a "
                "speed without them means nothing; lower --learning-rate, or choose another --optimizer"
            )
    return Point(int(study.batch_size), rates)


def _warm(study: Study, data: DataSet, contender: Contender, epochs: Iterator[int]) -> Training:
    """Return a training after its first steps, which may compile, and as many more as one measurement takes."""
    backend, rows = contender.open(study), Rows(data.x_train, data.y_train)
    plan = plan_of(study, data)
    training = Training(backend, plan, rows, Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype))
    for seconds in (0, study.seconds):
        _rate(training, seconds, epochs)
    return training


def _rate(training: Training, seconds: float, epochs: Iterator[int]) -> float:
    """Return samples per second over whole epochs until the time is up, or over part of the first if it is longer."""
    began, samples = perf_counter(), 0

    def is_up(done: int, losses: object) -> bool:
        return not samples and perf_counter() - began >= seconds

    while True:
        # An epoch fetches its losses at the end, and so waits for the device.
        _, counts = training.epoch(next(epochs), is_up)
        samples += int(counts.sum())
        passed = perf_counter() - began
        if passed >= seconds:
            return samples / passed
