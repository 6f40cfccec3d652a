"""Activations by formula, and their derivatives against central differences and PyTorch's."""

import numpy as np
import pytest
from scipy import special

from mlpgpu.maths.activations import ACTIVATIONS, TRAINABLE

FORMULAS = {
    "identity": lambda z: z,
    "logistic": special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z > 0, z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
    "gelu": lambda z: z * special.expit(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)),
    "silu": lambda z: z * special.expit(z),
    "softplus": lambda z: np.logaddexp(z, 0),
    "step": lambda z: np.heaviside(z, 0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_is_the_formula(backend, rng, name):
    z = np.concatenate([rng.normal(size=100) * 3, [0.0, -30.0, 30.0]])
    y = backend.to_host(ACTIVATIONS[name].value(backend.xp, backend.asarray(z)))
    np.testing.assert_allclose(y, FORMULAS[name](z), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", TRAINABLE)
def test_derivative_against_central_differences(backend, rng, name):
    z = rng.normal(size=200) * 3
    z = z[np.abs(z) > 1e-3]
    step = 1e-5
    value = FORMULAS[name]
    expected = (value(z + step) - value(z - step)) / (2 * step)
    on_device = backend.asarray(z)
    y = ACTIVATIONS[name].value(backend.xp, on_device)
    derivative = backend.to_host(ACTIVATIONS[name].derivative(backend.xp, on_device, y))
    np.testing.assert_allclose(derivative, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_overflow_no_nan_and_the_dtype_stays(backend, name, dtype):
    z = backend.asarray(np.array([-1e4, -100.0, -1e-30, 0.0, 1e-30, 100.0, 1e4], dtype))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = ACTIVATIONS[name].value(backend.xp, z)
        derivative = ACTIVATIONS[name].derivative(backend.xp, z, y)
    for array in (y, derivative):
        assert array.dtype == z.dtype
        assert np.isfinite(backend.to_host(array)).all()


def test_logistic_keeps_its_relative_accuracy_far_out(backend):
    z = np.array([-700.0, -80.0, -40.0])
    y = backend.to_host(ACTIVATIONS["logistic"].value(backend.xp, backend.asarray(z)))
    np.testing.assert_allclose(y, special.expit(z), rtol=1e-14)


@pytest.mark.parametrize("name", TRAINABLE)
def test_value_and_derivative_agree_with_torch(name, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = {
        "identity": lambda z: z,
        "logistic": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leaky_relu": torch.nn.functional.leaky_relu,
        "elu": torch.nn.functional.elu,
        "selu": torch.nn.functional.selu,
        "gelu": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
        "silu": torch.nn.functional.silu,
        "softplus": lambda z: torch.nn.functional.softplus(z, threshold=1e9),
    }[name]
    z = torch.tensor(rng.normal(size=100) * 4, requires_grad=True)
    expected = theirs(z)
    expected.sum().backward()
    host = z.detach().numpy()
    y = ACTIVATIONS[name].value(np, host)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(np, host, y), z.grad.numpy(), rtol=1e-12, atol=1e-14)
