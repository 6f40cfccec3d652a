"""Matrix products of the estimators with operands rounded to TF32 or bfloat16."""

import numpy as np
import pytest
import sklearn
from quick import THREE as Y
from quick import X
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from mlpgpu import InputError, MLPClassifier, MLPRegressor
from mlpgpu.backends.precision import BITS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NARROW = X.astype(np.float32)
QUICK = {"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0}


def rounded(array, bits):
    """Return the nearest numbers with `bits` fraction bits, computed by another method than the package's."""
    significands, exponents = np.frexp(array.astype(np.float64))
    return np.ldexp(np.rint(significands * 2 ** (bits + 1)), exponents - bits - 1)


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("given", [{}, {"solver": "lbfgs"}, {"early_stopping": True}])
def test_it_predicts_by_rounded_products(kind, given, precision):
    fitted = kind(**QUICK | given, precision=precision).fit(NARROW, Y)
    assert fitted.coefs_[0].dtype == np.float32
    hidden, bits = NARROW, BITS[precision]
    z = rounded(hidden, bits) @ rounded(fitted.coefs_[0], bits) + fitted.intercepts_[0]
    np.testing.assert_allclose(fitted.hidden_activations(NARROW), np.maximum(z, 0), rtol=1e-5, atol=1e-5)
    # Rows of another dtype do not change the rounding of the products.
    np.testing.assert_array_equal(fitted.predict(NARROW.astype(np.float64)), fitted.predict(NARROW))


@pytest.mark.parametrize("precision", BITS)
def test_a_fit_is_near_that_of_float32_and_not_the_same(real_backend, precision):
    device = "cuda" if real_backend.device.startswith("cuda") else "cpu"
    there = {"backend": real_backend.name, "device": device}
    plain, found = (MLPClassifier(**QUICK, **there, **more).fit(NARROW, Y) for more in ({}, {"precision": precision}))
    difference = max(np.abs(one - other).max() for one, other in zip(plain.coefs_, found.coefs_, strict=True))
    assert 2.0 ** -BITS[precision] / 100 < difference < 20 * 2.0 ** -BITS[precision]
    assert found.score(NARROW, Y) == pytest.approx(plain.score(NARROW, Y), abs=0.03)


def test_float32_is_what_it_was():
    for dtype in (np.float32, np.float64):
        plain, named = (
            MLPClassifier(**QUICK, **more).fit(X.astype(dtype), Y) for more in ({}, {"precision": "float32"})
        )
        for one, other in zip(plain.coefs_, named.coefs_, strict=True):
            np.testing.assert_array_equal(one, other)


def test_it_is_of_float32_alone():
    with pytest.raises(InputError, match="^precision 'tf32' is for dtype float32, and dtype is 'float64'; "):
        MLPClassifier(**QUICK, precision="tf32").fit(X, Y)
    assert MLPClassifier(**QUICK, precision="tf32", dtype="float32").fit(X, Y).predict_proba(X).dtype == np.float32
    with pytest.raises(InvalidParameterError, match="The 'precision' parameter"):
        MLPClassifier(**QUICK, precision="fp8").fit(NARROW, Y)


def test_arrays_of_torch_stay_there():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with sklearn.config_context(array_api_dispatch=True):
        found = MLPClassifier(**QUICK, precision="bf16").fit(torch.asarray(NARROW), torch.asarray(Y))
        p = found.predict_proba(torch.asarray(NARROW))
    assert type(p) is type(found.coefs_[0]) is torch.Tensor
    expected = MLPClassifier(**QUICK, precision="bf16").fit(NARROW, Y).predict_proba(NARROW)
    np.testing.assert_allclose(p.numpy(), expected, atol=1e-3)


def test_it_is_a_parameter_as_others_are(tmp_path):
    fitted = MLPClassifier(**QUICK, precision="bf16").fit(NARROW, Y)
    assert clone(fitted).get_params()["precision"] == "bf16"
    fitted.save(tmp_path / "m.safetensors")
    again = MLPClassifier.load(tmp_path / "m.safetensors")
    assert again.precision == "bf16"
    np.testing.assert_array_equal(again.predict_proba(NARROW), fitted.predict_proba(NARROW))
    for part in (0, 1):
        fitted.partial_fit(NARROW[part::2], Y[part::2])
    assert np.isfinite(fitted.coefs_[0]).all()
