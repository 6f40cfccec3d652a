"""A step reads no value, takes none from the host and has static shapes, as a captured step must."""

import array_api_strict
import numpy as np
import pytest
from strict import Array, StrictBackend

from mlpgpu.backends.precision import emulated
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES
from mlpgpu.settings.config import Config
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import make_plan

CASES = [
    *({"optimizer": name} for name in OPTIMIZERS),
    *({"loss": name} for name in LOSSES),
    *({"activation": name} for name in TRAINABLE),
    *({"schedule": name, "warmup": 1.0} for name in SCHEDULES),
    {"clip_norm": 1.0, "l2": 0.1, "weight_decay": 0.1, "label_smoothing": 0.1, "normalization": "batch"},
]


def named(case):
    return ", ".join(map(str, case.values()))


def training_of(backend, case, **more):
    """Return a training with dropout, on bytes scaled on the device; by default with the shapes of MNIST."""
    config = Config(**({"dropout": 0.2, "input_dropout": 0.1} | case | more))
    rng, loss = np.random.default_rng(0), LOSSES[config.loss or "cross_entropy"]
    n_features, n_outputs = (784, 10) if config.hidden == (256, 256) else (6, 2 if config.loss == "logistic" else 3)
    n_outputs = 2 if config.loss == "logistic" else n_outputs
    x = rng.integers(0, 256, (300, n_features), dtype=np.uint8)
    y = rng.integers(0, n_outputs, 300) if loss.task == "classification" else rng.random((300, n_outputs))
    plan = make_plan(config, n_rows=300, n_features=n_features, n_outputs=n_outputs, task=loss.task)
    return Training(backend, plan, Rows(x, y), Scaled(backend, np.float64(0), np.float64(1 / 255), plan.dtype))


def steps_of(training):
    """Return a function that runs two steps of `training`, whose arguments are already on the device."""
    plan, loop = training.plan, training._loop
    order, present = np.arange(2 * plan.batch_size).reshape(2, -1), np.ones((2, plan.batch_size), bool)
    items = training.feed.items(order, present)(0, 2)
    return lambda: loop(training.state, training.feed.data, items)


@pytest.fixture
def no_reads(monkeypatch):
    """After ``no_reads()``, array-api-strict refuses reads of values. It refuses data-dependent shapes throughout."""

    def refuse(self, *given, **more):
        raise AssertionError("a step has read a value of the device")

    def start():
        for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__", "__buffer__"):
            monkeypatch.setattr(Array, name, refuse, raising=False)

    flags = array_api_strict.get_array_api_strict_flags()
    array_api_strict.set_array_api_strict_flags(data_dependent_shapes=False, boolean_indexing=False)
    yield start
    array_api_strict.set_array_api_strict_flags(
        **{name: flags[name] for name in ("data_dependent_shapes", "boolean_indexing")}
    )


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("case", CASES, ids=named)
def test_of_the_standard(case, precision, no_reads):
    backend = StrictBackend()
    backend.xp = emulated(backend.xp, precision)
    training = training_of(backend, case, precision=precision, hidden=(5, 4), batch_size=8)
    run = steps_of(training)
    no_reads()
    state, losses = run()
    assert losses.shape == (2,)
    assert state.params.shape == training.state.params.shape


def test_a_read_would_be_seen(no_reads):
    no_reads()
    with pytest.raises(AssertionError, match="a step has read"):
        float(array_api_strict.ones(()))
    with pytest.raises(RuntimeError, match="data-dependent|data_dependent"):
        array_api_strict.nonzero(array_api_strict.ones(3))


# --- PyTorch's tensors without values -------------------------------------------------------------------------------


@pytest.fixture
def meta():
    """PyTorch's backend on the device ``meta``, whose tensors have no values: reading one is an error."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import array_api_compat.torch as xp

    from mlpgpu.backends.torch import TorchBackend

    class Meta(TorchBackend):
        def __init__(self, precision="float32"):
            super().__init__(torch, xp, "cpu", precision)

        def asarray(self, array, dtype=None):
            return super().asarray(array, dtype).to("meta")

    return Meta


@pytest.fixture
def watched():
    """A context that fails if an operation takes or returns a host tensor, or makes a tensor of a Python number."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Calls(TorchFunctionMode):
        def __torch_function__(self, function, kinds, arguments=(), more=None):
            # To a GPU, these copy from the host.
            assert function not in {torch.tensor, torch.asarray, torch.as_tensor}, f"{function} copies {arguments}"
            return function(*arguments, **(more or {}))

    class Watch(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen, self.calls = 0, Calls()

        def __enter__(self):
            self.calls.__enter__()
            return super().__enter__()

        def __exit__(self, *error):
            super().__exit__(*error)
            self.calls.__exit__(*error)

        def __torch_dispatch__(self, function, kinds, arguments=(), more=None):
            result = function(*arguments, **(more or {}))
            for part in tree_leaves((arguments, more, result)):
                if isinstance(part, torch.Tensor):
                    assert part.device.type == "meta", f"{function} has to do with a tensor of the host"
            self.seen += 1
            return result

    return Watch()


@pytest.mark.parametrize("case", CASES, ids=named)
def test_of_pytorch_on_the_default_network_of_mnist(case, meta, watched):
    training = training_of(meta(), case)
    assert training.plan.network.sizes[:-1] == (784, 256, 256)
    assert all(training.plan.dropout)
    before = training.state
    run = steps_of(training)
    with watched:
        after, losses = run()
    assert watched.seen > 50
    assert (losses.shape, losses.device.type) == ((2,), "meta")
    for one, other in zip(
        (after.params, *after.slots, after.step), (before.params, *before.slots, before.step), strict=True
    ):
        assert (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


def test_with_rounded_products(meta, watched):
    run = steps_of(training_of(meta("bf16"), {"precision": "bf16"}))
    with watched:
        run()


def test_a_read_of_pytorch_and_a_number_of_the_host_would_be_seen(meta, watched):
    import array_api_compat.torch as xp
    import torch

    backend = meta()
    x = backend.asarray(np.ones(3))
    with pytest.raises(RuntimeError, match="meta"):
        float(x.sum())
    # This copy is why the backend has a `maximum` and a `minimum` of its own.
    with watched, pytest.raises(AssertionError, match="copies"):
        xp.maximum(x, 0)
    with watched, pytest.raises(AssertionError, match="a tensor of the host"):
        x * torch.ones(3)
    with watched:
        assert backend.xp.maximum(x, 0).shape == (3,)
        assert backend.xp.minimum(2, x).shape == (3,)


def test_extremes_beside_a_number_are_those_of_arrays(backend):
    xp = backend.xp
    x = np.array([-2.0, -0.5, 0.0, 1.0, np.inf, -np.inf, np.nan])
    array = backend.asarray(x)
    for found, expected in (
        (xp.maximum(array, 0), np.maximum(x, 0)),
        (xp.maximum(0.5, array), np.maximum(0.5, x)),
        (xp.minimum(array, 1), np.minimum(x, 1)),
        (xp.minimum(array, array * 2), np.minimum(x, x * 2)),
    ):
        np.testing.assert_array_equal(backend.to_host(found), expected)
        assert found.dtype == array.dtype
