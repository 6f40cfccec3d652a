"""Learning rate schedules, against PyTorch's and scikit-learn's."""

import numpy as np
import pytest

from mlpgpu.maths import schedules
from mlpgpu.maths.schedules import SCHEDULES, with_warmup

TOTAL = 40


def factors_of(backend, schedule, total=TOTAL):
    return [float(backend.to_host(schedule(backend.xp, backend.asarray(np.asarray(float(t)))))) for t in range(total)]


def torch_factors(make, total=TOTAL):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("name", "settings", "make"),
    [
        ("constant", {}, lambda module, o: module.ConstantLR(o, 1.0)),
        ("cosine", {}, lambda module, o: module.CosineAnnealingLR(o, TOTAL)),
        ("exponential", {"decay_rate": 0.2}, lambda module, o: module.ExponentialLR(o, 0.2 ** (1 / TOTAL))),
        ("step", {"decay_rate": 0.5, "every": 7.0}, lambda module, o: module.StepLR(o, 7, 0.5)),
        ("one_cycle", {}, lambda module, o: module.OneCycleLR(o, 1.0, TOTAL, cycle_momentum=False)),
    ],
)
def test_is_torchs(backend, name, settings, make):
    ours = factors_of(backend, with_warmup(SCHEDULES[name], TOTAL, **settings))
    np.testing.assert_allclose(ours, torch_factors(make), rtol=1e-9, atol=1e-12)


def test_a_cosine_stays_at_its_end(backend):
    """It does not restart when `partial_fit` trains beyond its end."""
    schedule = with_warmup(SCHEDULES["cosine"], TOTAL / 2)
    np.testing.assert_allclose(factors_of(backend, schedule)[TOTAL // 2 :], 0, atol=1e-15)


@pytest.mark.parametrize("total", [2, 3, 4, 10])
def test_one_cycle_of_few_steps_is_torchs(backend, total):
    ours = factors_of(backend, with_warmup(SCHEDULES["one_cycle"], total), total)
    theirs = torch_factors(lambda module, o: module.OneCycleLR(o, 1.0, total, cycle_momentum=False), total)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_invscaling_is_scikit_learns(backend, power):
    sgd = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    theirs = sgd.SGDOptimizer([np.zeros(1)], 1.0, "invscaling", power_t=power)
    expected = [1.0]
    for t in range(TOTAL - 1):
        theirs.iteration_ends(t)
        expected.append(theirs.learning_rate)
    # After a step, scikit-learn sets the rate by the count before the step, so its first two rates are the same.
    ours = factors_of(backend, with_warmup(SCHEDULES["invscaling"], TOTAL, power_t=power))
    np.testing.assert_allclose(ours[:-1], expected[1:], rtol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_is_linear_then_the_schedule_of_the_rest(backend, name):
    warm = factors_of(backend, with_warmup(SCHEDULES[name], TOTAL, 8))
    rest = factors_of(backend, with_warmup(SCHEDULES[name], TOTAL - 8))
    np.testing.assert_allclose(warm[:8], rest[0] * np.arange(1, 9) / 8, rtol=1e-12)
    np.testing.assert_allclose(warm[8:], rest[: TOTAL - 8], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 10, 1000])
def test_stays_between_nothing_and_one_for_any_run(name, total):
    settings = {"every": total / 3} if name == "step" else {}
    schedule = with_warmup(SCHEDULES[name], total, **settings)
    factors = np.array([schedule(np, np.asarray(float(t))) for t in range(total)])
    assert np.isfinite(factors).all()
    assert (factors > 0).all()
    assert (factors <= 1).all()


def test_one_cycle_rises_to_its_peak_and_falls_to_almost_nothing():
    factors = on_numpy = [float(schedules.one_cycle(np, np.asarray(float(t)), total=100)) for t in range(100)]
    assert on_numpy[0] == pytest.approx(1 / 25)
    assert np.argmax(factors) == 29
    assert factors[29] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(4e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_takes_a_step_count_of_many_models(name):
    t = np.arange(5.0)
    together = with_warmup(SCHEDULES[name], 10, 2)(np, t)
    apart = [with_warmup(SCHEDULES[name], 10, 2)(np, count) for count in t]
    np.testing.assert_allclose(together, apart, rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_falls_at_its_step_also_where_it_is_compiled(real_backend, dtype):
    """A compiler may multiply by the inverse of `every`; for one value in seven, the product is below the integer."""
    every = [41, 47, 49, 55, 98, 469, 18760]
    t = np.array([times * of + after for of in every for times in range(1, 40) for after in (-1, 0)], dtype)
    fallen = real_backend.compile(
        lambda t: real_backend.xp.stack([schedules.step(real_backend.xp, t, every=float(of)) for of in every])
    )
    ours = real_backend.to_host(fallen(real_backend.asarray(t)))
    expected = [0.1 ** (t.astype(int) // of) for of in every]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-37)
