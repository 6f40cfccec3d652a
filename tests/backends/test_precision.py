"""Rounded operands of products, compared with rounding by integer arithmetic; what a GPU is asked for, on stand-ins."""

import copy
import types

import fakes
import numpy as np
import pytest
from rounding import by_bits
from strict import StrictBackend

from mlpgpu import Config, InputError, backends, train_and_test
from mlpgpu.backends.precision import BITS, LARGE, PRECISIONS, Namespace, emulated, rounded
from mlpgpu.backends.torch import TorchBackend

ROUNDED = list(BITS)


def bits_of(array):
    return np.asarray(array, np.float32).view(np.uint32)


def on(backend, precision):
    """Return a backend of the same library and device, with products of this precision."""
    if not isinstance(backend, StrictBackend):
        return backends.select(backend.device, backend.name, "float32", precision)[0]
    other = copy.copy(backend)
    other.xp = emulated(backend.xp, precision)
    return other


# Where denormal numbers begin, numbers of usual size, and where the largest begin; those between are drawn below.
@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("exponent", [1, 127, 226])
def test_every_significand_is_rounded_as_its_bits_say(precision, exponent):
    """All significands, with both signs: half of them are rounded down, and some are half-way cases."""
    numbers = (np.arange(2**23, dtype=np.uint32) | np.uint32(exponent << 23)).view(np.float32)
    for signed in (numbers, -numbers):
        found = rounded(np, signed, BITS[precision])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(bits_of(found), bits_of(by_bits(signed, BITS[precision])))


def some_numbers(rng):
    """Return normal numbers of all magnitudes, half-way cases among them."""
    numbers = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    for dropped in (13, 16):
        numbers[:: dropped - 3] = numbers[:: dropped - 3] >> dropped << dropped | 1 << dropped - 1
    numbers = numbers.view(np.float32)
    size = np.abs(numbers)
    return numbers[(size < LARGE) & (size >= np.finfo(np.float32).smallest_normal)]


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("way", ["as it is", "compiled"])
def test_each_library_rounds_to_the_same_bits(backend, precision, way, rng):
    numbers, bits = some_numbers(rng), BITS[precision]

    def function(array):
        return rounded(backend.xp, array, bits)

    found = (backend.compile(function) if way == "compiled" else function)(backend.asarray(numbers))
    np.testing.assert_array_equal(bits_of(backend.to_host(found)), bits_of(by_bits(numbers, bits)))
    assert len(np.unique(by_bits(numbers, bits))) > len(numbers) / 20


def test_bf16_is_what_pytorch_casts_to(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    numbers = some_numbers(rng)
    cast = torch.from_numpy(numbers).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(bits_of(rounded(np, numbers, BITS["bf16"])), bits_of(cast))


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_what_is_no_number_or_too_large_stays_as_it_is(backend, precision):
    kept = np.float32([np.inf, -np.inf, np.nan, np.finfo(np.float32).max, -3e38, 2.0**100, 0.0, 1.0, -2.0])
    found = backend.to_host(rounded(backend.xp, backend.asarray(kept), BITS[precision]))
    np.testing.assert_array_equal(found, kept)
    # Denormal numbers may be rounded or flushed to 0.
    tiny = np.float32([1e-45, 1e-40, -3e-39])
    found = backend.to_host(rounded(backend.xp, backend.asarray(tiny), BITS[precision]))
    np.testing.assert_allclose(found, tiny, rtol=0, atol=np.finfo(np.float32).smallest_normal)


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("lead", [(), (3,)])
def test_products_are_of_rounded_operands_added_up_in_float32(backend, precision, lead, rng):
    a, b = rng.normal(size=(*lead, 50, 200)).astype(np.float32), rng.normal(size=(*lead, 200, 30)).astype(np.float32)
    backend, bits = on(backend, precision), BITS[precision]
    product = backend.to_host(backend.xp.matmul(backend.asarray(a), backend.asarray(b)))
    assert product.dtype == np.float32
    exact = np.matmul(by_bits(a, bits).astype(np.float64), by_bits(b, bits).astype(np.float64))
    np.testing.assert_allclose(product, exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    # Rounding changes the product by more than that tolerance.
    assert np.abs(product - np.matmul(a.astype(np.float64), b)).max() > 1e-4 * np.abs(exact).max()


def test_a_namespace_is_another_but_for_its_own_functions():
    own = Namespace(np, matmul=lambda a, b: "own")
    assert own.matmul(1, 2) == "own"
    assert own.float32 is np.float32
    assert own.sum is np.sum
    with pytest.raises(AttributeError, match="no_such_function"):
        own.no_such_function  # noqa: B018
    assert emulated(np, "float32") is np


def test_it_is_said_that_it_is_emulated(real_backend):
    if real_backend.device != "cpu":
        pytest.skip("of the CPU")
    plain, bf16 = (on(real_backend, precision) for precision in ("float32", "bf16"))
    assert "float32" not in plain.description
    assert bf16.description == f"{plain.description}, bf16 products (emulated, no faster)"
    assert bf16.arithmetic() != plain.arithmetic()


@pytest.mark.parametrize("precision", ROUNDED)
def test_a_precision_is_of_float32(precision):
    with pytest.raises(InputError, match=f"^precision '{precision}' is for dtype float32, and dtype is 'float64'; "):
        Config(precision=precision, dtype="float64")
    assert Config(precision=precision).dtype == "float32"
    assert Config().precision == "float32" == PRECISIONS[0]


def digits(backend, precision, **more):
    given = {"hidden": (32,), "epochs": 2, "batch_size": 64, "quiet": True, "backend": backend, "device": "cpu"}
    return train_and_test(Config(dataset="digits", precision=precision, **(given | more)))


def test_training_agrees_between_backends(real_backend):
    """Within a hundredth of the spacing of bf16 at the largest weight: sums in another order round differently."""
    if real_backend.device != "cpu":
        pytest.skip("of the CPU")
    ours, expected = digits(real_backend.name, "bf16"), digits("numpy", "bf16")
    plain = digits("numpy", "float32")
    largest = np.abs(expected.model.params).max()
    difference = np.abs(ours.model.params - expected.model.params).max()
    assert difference < 2**-8 / 100 * largest
    assert np.abs(plain.model.params - expected.model.params).max() > 2**-8 / 100 * largest
    assert ours.metrics["precision"] == "bf16"
    assert ours.model.params.dtype == np.float32
    assert abs(ours.metrics["test_accuracy"] - plain.metrics["test_accuracy"]) < 0.02


# --- what a GPU is asked for ----------------------------------------------------------------------------------------


class OnDevice:
    """A matrix that records the dtype it is cast to."""

    def __init__(self, *shape, dtype="float32"):
        self.shape, self.ndim, self.dtype = shape, len(shape), dtype

    def to(self, dtype):
        return OnDevice(*self.shape, dtype=dtype)


@pytest.fixture
def cuda_torch():
    """``cuda_torch(overloads)`` -> stand-ins for PyTorch and its namespace, and a list of their products."""

    def make(overloads=("default", "dtype")):
        torch, asked = fakes.torch(devices=1), []
        settings = types.SimpleNamespace(fp32_precision="none")
        torch.backends = types.SimpleNamespace(cuda=types.SimpleNamespace(matmul=settings))
        torch.bfloat16, torch.float32 = "bfloat16", "float32"
        torch.ops = types.SimpleNamespace(
            aten=types.SimpleNamespace(mm=types.SimpleNamespace(overloads=lambda: overloads))
        )

        def product(kind):
            def multiply(a, b, out_dtype=None):
                asked.append((kind, a.dtype, b.dtype, out_dtype, vars(settings).copy()))

            return multiply

        torch.mm, torch.bmm = product("mm"), product("bmm")
        return torch, types.SimpleNamespace(matmul=product("matmul")), asked

    return make


A, B, THREE = OnDevice(4, 5), OnDevice(5, 3), OnDevice(2, 4, 5)


def test_tf32_is_a_setting_of_pytorch_that_is_put_back(cuda_torch):
    torch, xp, asked = cuda_torch()
    settings = torch.backends.cuda.matmul
    settings.fp32_precision = "ieee"
    backend = TorchBackend(torch, xp, "cuda:0", "tf32")
    backend.xp.matmul(A, B)
    assert asked == [("matmul", "float32", "float32", None, {"fp32_precision": "tf32"})]
    assert settings.fp32_precision == "ieee"
    xp.matmul = lambda a, b: 1 / 0
    with pytest.raises(ZeroDivisionError):
        backend.xp.matmul(A, B)
    assert settings.fp32_precision == "ieee"
    assert backend.description == "cuda:0, Fake cuda:0, PyTorch 2.9.0, tf32 products"


def test_tf32_by_the_setting_of_earlier_versions(cuda_torch):
    torch, xp, _ = cuda_torch()
    torch.backends.cuda.matmul = settings = types.SimpleNamespace(allow_tf32=False)
    seen = []
    xp.matmul = lambda a, b: seen.append(settings.allow_tf32)
    TorchBackend(torch, xp, "cuda:0", "tf32").xp.matmul(A, B)
    assert (seen, settings.allow_tf32) == ([True], False)


def test_bf16_products_of_pytorch_come_in_float32(cuda_torch):
    torch, xp, asked = cuda_torch()
    backend = TorchBackend(torch, xp, "cuda:0", "bf16")
    backend.xp.matmul(A, B)
    backend.xp.matmul(THREE, OnDevice(2, 5, 3))
    assert [call[:4] for call in asked] == [(kind, "bfloat16", "bfloat16", "float32") for kind in ("mm", "bmm")]


@pytest.mark.parametrize("case", ["broadcast", "an earlier version"])
def test_bf16_where_pytorch_has_no_such_product(cuda_torch, case, monkeypatch):
    monkeypatch.setattr("mlpgpu.backends.precision.rounded", lambda xp, array, bits: OnDevice(*array.shape, dtype=bits))
    torch, xp, asked = cuda_torch(("default", "dtype") if case == "broadcast" else ("default",))
    backend = TorchBackend(torch, xp, "cuda:0", "bf16")
    backend.xp.matmul(THREE if case == "broadcast" else A, B)
    assert backend.description.endswith("(emulated, no faster)") == (case != "broadcast")
    assert [call[:4] for call in asked] == [("matmul", 7, 7, None)]


def test_float32_leaves_pytorch_as_its_user_has_set_it(cuda_torch):
    torch, xp, asked = cuda_torch()
    TorchBackend(torch, xp, "cuda:0").xp.matmul(A, B)
    assert asked == [("matmul", "float32", "float32", None, {"fp32_precision": "none"})]


def test_the_settings_of_the_real_pytorch_are_put_back():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import array_api_compat.torch as xp

    settings, fake = torch.backends.cuda.matmul, fakes.torch(devices=1)
    before = getattr(settings, "fp32_precision", None), settings.allow_tf32
    fake.backends = torch.backends
    a = torch.ones(2, 2)
    TorchBackend(fake, xp, "cuda:0", "tf32").xp.matmul(a, a)
    assert (getattr(settings, "fp32_precision", None), settings.allow_tf32) == before


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ("float32", "precision = [HIGHEST, HIGHEST]"),
        ("tf32", "lhs_precision_type = tf32, rhs_precision_type = tf32, accumulation_type = f32"),
        ("bf16", "lhs_precision_type = bf16, rhs_precision_type = bf16, accumulation_type = f32"),
    ],
)
def test_what_jax_asks_of_a_gpu(precision, said):
    """Lowering for CUDA needs no GPU."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    from mlpgpu.backends.jax import JaxBackend

    gpu = types.SimpleNamespace(platform="gpu", id=1, device_kind="Fake")
    backend = JaxBackend(jax, gpu, precision)
    a = np.ones((2, 2), np.float32)
    lowered = jax.jit(backend.xp.matmul).trace(a, a).lower(lowering_platforms=("cuda",)).as_text()
    (product,) = (line for line in lowered.splitlines() if "dot_general" in line)
    assert said in product
    assert "tensor<2x2xf32>) -> tensor<2x2xf32>" in product
    words = "" if precision == "float32" else f", {precision} products"
    assert backend.description == f"cuda:1, Fake, JAX {jax.__version__}{words}"


def test_an_earlier_jax_emulates():
    fake = fakes.jax(devices=1)
    fake.lax = types.SimpleNamespace()
    from mlpgpu.backends.jax import JaxBackend

    backend = JaxBackend(fake, fake.devices("cuda")[0], "tf32")
    assert backend.description.endswith("tf32 products (emulated, no faster)")
