"""Ten steps of every optimizer, against PyTorch's or scikit-learn's, and against its published rule on all backends."""

import numpy as np
import pytest

from mlpgpu.maths.optimizers import OPTIMIZERS, one_minus_power

STEPS, RATE = 10, 0.03


def run(backend, name, params, gradients, rate=RATE, **settings):
    xp, optimizer = backend.xp, OPTIMIZERS[name]
    p = backend.asarray(params)
    slots = optimizer.init(xp, p)
    for t, gradient in enumerate(gradients, 1):
        p, slots = optimizer.update(
            xp,
            p,
            backend.asarray(gradient),
            slots,
            backend.asarray(np.array([rate])),
            backend.asarray(np.array([float(t)])),
            **settings,
        )
    return backend.to_host(p)


def by_hand(name, p, gradients, rate=RATE):
    """Apply the published rules, element by element."""
    p = p.copy()
    for i in np.ndindex(p.shape):
        v = m = s = 0.0
        for t, gradient in enumerate(gradients, 1):
            g = gradient[i]
            if name == "sgd":
                p[i] -= rate * g
            elif name == "momentum":
                v = 0.9 * v - rate * g
                p[i] += v
            elif name == "nesterov":
                # The gradient is taken at p, which stands for the look-ahead point: Sutskever's change of variables.
                before, v = v, 0.9 * v - rate * g
                p[i] += -0.9 * before + (1 + 0.9) * v
            elif name == "rmsprop":
                s = 0.99 * s + 0.01 * g**2
                p[i] -= rate * g / (np.sqrt(s) + 1e-8)
            elif name == "adagrad":
                s += g**2
                p[i] -= rate * g / (np.sqrt(s) + 1e-10)
            elif name in {"adam", "adamw"}:
                m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
                p[i] -= rate * (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
            elif name == "adam_hat":
                m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
                p[i] -= rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(s) + 1e-8)
            else:
                assert name == "lion"
                p[i] -= rate * np.sign(0.9 * m + 0.1 * g)
                m = 0.99 * m + 0.01 * g
    return p


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("lead", [(), (3,)])
def test_ten_steps_by_hand(backend, rng, name, lead):
    params, gradients = rng.normal(size=(*lead, 12)), rng.normal(size=(STEPS, *lead, 12))
    np.testing.assert_allclose(
        run(backend, name, params, gradients), by_hand(name, params, gradients), rtol=1e-12, atol=1e-12
    )


# PyTorch has neither Lion nor the Adam that adds epsilon before the bias correction.
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in {"lion", "adam_hat"}])
def test_ten_steps_of_torch(real_backend, rng, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    make = {
        "sgd": lambda p: torch.optim.SGD([p], RATE),
        "momentum": lambda p: torch.optim.SGD([p], RATE, momentum=0.9),
        "nesterov": lambda p: torch.optim.SGD([p], RATE, momentum=0.9, nesterov=True),
        "rmsprop": lambda p: torch.optim.RMSprop([p], RATE, alpha=0.99),
        "adagrad": lambda p: torch.optim.Adagrad([p], RATE),
        "adam": lambda p: torch.optim.Adam([p], RATE),
        "adamw": lambda p: torch.optim.AdamW([p], RATE, weight_decay=0.0),
    }[name]
    params, gradients = rng.normal(size=30), rng.normal(size=(STEPS, 30))
    p = torch.tensor(params, requires_grad=True)
    theirs = make(p)
    for gradient in gradients:
        p.grad = torch.tensor(gradient)
        theirs.step()
    ours = run(real_backend, name, params, gradients)
    np.testing.assert_allclose(ours, p.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1}])
def test_ten_steps_of_scikit_learn(backend, rng, settings):
    """A large epsilon, and gradients that are small compared with epsilon, distinguish its Adam from PyTorch's."""
    optimizers = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    params, gradients = rng.normal(size=30), rng.normal(size=(STEPS, 30)) * 10.0 ** rng.uniform(-9, 0, size=30)
    p = params.copy()
    theirs = optimizers.AdamOptimizer([p], RATE, **settings)
    for gradient in gradients:
        theirs.update_params([p], [gradient])
    np.testing.assert_allclose(run(backend, "adam_hat", params, gradients, **settings), p, rtol=1e-12, atol=1e-14)
    adam = run(backend, "adam", params, gradients, **settings)
    assert np.abs(adam - p).max() > 1e-3


@pytest.mark.parametrize("nesterov", [False, True])
def test_ten_steps_of_scikit_learns_momentum(backend, rng, nesterov):
    """Also with a momentum of 1, which scikit-learn allows: the velocity never decays."""
    optimizers = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    params, gradients = rng.normal(size=30), rng.normal(size=(STEPS, 30))
    for momentum in (0.5, 1.0):
        p = params.copy()
        theirs = optimizers.SGDOptimizer([p], RATE, momentum=momentum, nesterov=nesterov)
        for gradient in gradients:
            theirs.update_params([p], [gradient])
        ours = run(backend, "nesterov" if nesterov else "momentum", params, gradients, momentum=momentum)
        np.testing.assert_allclose(ours, p, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_own_settings_are_used(backend, rng, name):
    params, gradients = rng.normal(size=5), rng.normal(size=(3, 5))
    usual = run(backend, name, params, gradients)
    for setting, default in OPTIMIZERS[name].settings.items():
        changed = run(backend, name, params, gradients, **{setting: default * 0.5 if setting != "epsilon" else 0.1})
        assert np.abs(changed - usual).max() > 1e-6, setting


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_finds_the_bottom_of_a_bowl(name):
    """With a falling rate, each comes close to the minimum of an ill-conditioned quadratic."""
    optimizer = OPTIMIZERS[name]
    p, scales = np.full(4, 0.3), np.array([1.0, 2.0, 5.0, 10.0])
    slots = optimizer.init(np, p)
    for t in range(1, 2001):
        rate = np.array([optimizer.learning_rate * (1 - t / 2001)])
        p, slots = optimizer.update(np, p, scales * p, slots, rate, np.array([float(t)]))
    assert np.abs(p).max() < 0.01


def test_a_rate_for_each_model(backend, rng):
    params, gradients = rng.normal(size=(2, 6)), rng.normal(size=(STEPS, 2, 6))
    xp, optimizer = backend.xp, OPTIMIZERS["adam"]
    p = backend.asarray(params)
    slots = optimizer.init(xp, p)
    for t, gradient in enumerate(gradients, 1):
        rates, count = backend.asarray(np.array([[0.01], [0.2]])), backend.asarray(np.array([float(t)]))
        p, slots = optimizer.update(xp, p, backend.asarray(gradient), slots, rates, count)
    for model, rate in enumerate([0.01, 0.2]):
        alone = run(backend, "adam", params[model], gradients[:, model], rate)
        np.testing.assert_allclose(backend.to_host(p)[model], alone, rtol=1e-13)


def test_bias_correction_is_exact_in_float32():
    for t in (1, 2, 10, 1000):
        ours = one_minus_power(np, 0.999, np.array([t], np.float32))
        np.testing.assert_allclose(ours, 1 - 0.999**t, rtol=3e-7)
    np.testing.assert_array_equal(one_minus_power(np, 0.0, np.array([3.0])), [1.0])
