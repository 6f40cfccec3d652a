"""The batch size from which a GPU is faster than the CPU."""

import math

import numpy as np
import pytest

from mlpgpu.throughput.contenders import Contender
from mlpgpu.throughput.crossing import crossings, findings, overtaking, rounded
from mlpgpu.throughput.measure import Point

SIZES = [16, 64, 256, 1024]


def contender(label, device=None):
    return Contender(label, device or label, "auto", label)


def points(**rates):
    by_label = {label.replace("_", ":"): values for label, values in rates.items()}
    return [Point(size, {label: [r[i]] for label, r in by_label.items()}) for i, size in enumerate(SIZES)]


@pytest.mark.parametrize(("power", "where"), [(0.7, 90.0), (2.0, 20.5), (0.1, 1000.0)])
def test_powers_cross_where_they_are_equal(power, where):
    sizes = np.array([16, 32, 64, 128, 256, 512, 1024, 2048])
    cpu = 5000 * sizes**0.3
    gpu = cpu * (sizes / where) ** power
    assert overtaking(sizes, gpu, cpu) == pytest.approx(where)


def test_it_is_ahead_from_the_first_on():
    assert overtaking(SIZES, [2, 3, 4, 5], [1, 1, 1, 1]) == 16
    assert overtaking([16], [2], [1]) == 16


@pytest.mark.parametrize("rates", [[0.5, 0.5, 0.5, 0.5], [0.5, 2, 2, 1], [2, 2, 2, 0.5]])
def test_what_is_not_ahead_with_the_last_does_not_overtake(rates):
    assert overtaking(SIZES, rates, [1, 1, 1, 1]) is None
    assert overtaking([16], [1], [1]) is None


def test_of_several_crossings_the_last_counts():
    # Ahead, behind, and ahead again: equal halfway between 64 and 256, in logarithms.
    assert overtaking(SIZES, [3, 0.5, 2, 4], [1, 1, 1, 1]) == pytest.approx(math.sqrt(64 * 256))


def test_equal_is_not_ahead():
    assert overtaking(SIZES, [1, 1, 2, 2], [1, 1, 1, 1]) == pytest.approx(64)


def test_each_gpu_is_compared_with_the_first_on_the_cpu():
    who = [
        contender("jax cpu", "cpu"),
        contender("numpy cpu", "cpu"),
        contender("a", "cuda:0"),
        contender("b", "cuda:1"),
    ]
    rates = {"jax cpu": 1.0, "numpy cpu": 9.0, "a": 2.0, "b": 0.5}
    measured = [Point(size, {label: [rate] for label, rate in rates.items()}) for size in SIZES]
    found = crossings(measured, who)
    assert [(c.gpu, c.cpu, c.batch_size, c.everywhere) for c in found] == [
        ("a", "jax cpu", 16.0, True),
        ("b", "jax cpu", None, False),
    ]
    assert findings(measured, who) == [
        "a is ahead of jax cpu from batch 16 up",
        "b is not ahead of jax cpu with the largest batch",
    ]


def test_a_crossing_in_words():
    measured = points(cpu=[1, 1, 1, 1], cuda_0=[0.25, 0.5, 2, 4])
    assert findings(measured, [contender("cpu"), contender("cuda:0")]) == ["cuda:0 overtakes cpu at batch ~130"]


def test_medians_cross_not_means():
    measured = [Point(16, {"cpu": [1, 1, 1], "cuda:0": [0.9, 0.9, 99]}), Point(64, {"cpu": [1] * 3, "cuda:0": [2] * 3})]
    (found,) = crossings(measured, [contender("cpu"), contender("cuda:0")])
    assert 16 < found.batch_size < 64


@pytest.mark.parametrize(("device", "kind"), [("cpu", "GPU"), ("cuda:0", "CPU")])
def test_without_a_pair_the_best_is_told(device, kind):
    measured = [Point(size, {device: [rate]}) for size, rate in zip(SIZES, [10, 4321, 98_765, 300], strict=True)]
    (said,) = findings(measured, [contender(device)])
    assert said == f"no {kind} measured, {device} does 99,000 samples/s at most, at batch 256"


def test_two_digits():
    assert [rounded(x) for x in (89.6, 1249.0, 36_719.0, 1_953_000.0)] == ["90", "1,200", "37,000", "2,000,000"]
