"""Functions compiled to a few launches, on the stand-in for a device, compared with NumPy."""

import dataclasses
import logging
import threading

import hosted
import numpy as np
import pytest
from small_networks import plan_of, rows_of

from mlpgpu import MLPClassifier
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.cuda import function as functions
from mlpgpu.maths import scores
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, predict
from mlpgpu.maths.parameters import count
from mlpgpu.training import feed as feeds
from mlpgpu.training import lbfgs
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import Resident, Scaled, Streamed, Unscaled

HOST = NumpyBackend()


@pytest.fixture
def launches(cupy, monkeypatch):
    """A list of the launches: ``kernel`` or ``product``."""
    names, launch, multiply = [], hosted.Function.__call__, hosted.Lt.cublasLtMatmul

    def launched(self, *given):
        names.append("kernel")
        launch(self, *given)

    def multiplied(self, *given):
        names.append("product")
        return multiply(self, *given)

    monkeypatch.setattr(hosted.Function, "__call__", launched)
    monkeypatch.setattr(hosted.Lt, "cublasLtMatmul", multiplied)
    return names


# --- evaluation -----------------------------------------------------------------------------------------------------


def evaluated(backend, network, params, rows, feed=Resident, dtype="float64"):
    placement = Unscaled(backend, dtype)
    if rows.x.dtype == np.uint8:
        placement = Scaled(backend, np.full(rows.x.shape[1], 127.5), np.full(rows.x.shape[1], 1 / 64), dtype)
    evaluation = Evaluation(backend, network, placement)
    return evaluation, backend.asarray(params, dtype), feed(backend, rows, placement)


def several_labels(rows):
    labels = np.random.default_rng(1).integers(0, 2, size=(len(rows), 3))
    return dataclasses.replace(rows, targets=labels.astype(float))


CASES = {
    **{name: (name, 3, rows_of(name)) for name in LOSSES if name != "logistic"},
    "one logit": ("logistic", 1, rows_of("logistic", dtype="uint8")),
    "several labels": ("logistic", 3, several_labels(rows_of("squared_error"))),
}


@pytest.mark.parametrize("case", CASES)
def test_every_loss(cuda, case, monkeypatch, caplog):
    monkeypatch.setattr(feeds, "CHUNK", 13)
    loss, n_outputs, rows = CASES[case]
    network = Network((5, 6, n_outputs), (ACTIVATIONS["tanh"],), LOSSES[loss])
    params = np.random.default_rng(0).normal(size=count(network.sizes))
    ours, theirs = (
        evaluation.measure(params, feed)
        for evaluation, params, feed in (evaluated(backend, network, params, rows) for backend in (cuda, HOST))
    )
    assert ours == pytest.approx(theirs, rel=1e-13)
    assert not caplog.records


def test_scores_of_ties_and_of_what_is_no_number(cuda, caplog):
    rng = np.random.default_rng(0)

    def logits(n):
        z = rng.integers(-1, 2, size=(60, n)).astype(float)
        for some, number in ((0.1, np.nan), (0.1, np.inf), (0.1, -np.inf)):
            z[rng.random(z.shape) < some] = number
        z[:3] = np.array([[np.nan], [np.inf], [-np.inf]])
        return z

    # A single logit; fewer classes than threads that share a row; more.
    given = [(z := logits(n), np.argmax(z, axis=1) if n > 1 else rng.integers(0, 2, 60)) for n in (1, 3, 40)]
    given = [(z, np.where(rng.random(60) < 0.3, 0, labels)) for z, labels in given]
    z = logits(3)
    given += [
        (z, np.where(rng.random((60, 1)) < 0.2, 0.0, z > 0)),
        (z.astype(np.float32), np.int8((z > 0) ^ (rng.random(z.shape) < 0.2))),
    ]

    def correct(xp):
        return lambda *pairs: tuple(scores.correct(xp, *pair) for pair in pairs)

    pairs = tuple(tuple(map(cuda.asarray, pair)) for pair in given)
    for ours, (z, labels) in zip(cuda.compile(correct(cuda.xp))(*pairs), given, strict=True):
        expected = scores.correct(np, z, labels)
        assert 0 < expected.mean() < 1
        assert ours.dtype == z.dtype
        np.testing.assert_array_equal(cuda.to_host(ours), expected)
    assert not caplog.records


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "float32"])
def test_sums_are_in_the_type_that_numpy_gives_them(cuda, dtype, caplog):
    # Column sums by one block per tile of columns, and by several.
    arrays = [np.arange(n * 40).reshape(n, 40) % 3 == 1 for n in (4, 700)]
    arrays = [array if dtype == "bool" else (100 * array).astype(dtype) for array in arrays]

    def sums(xp):
        return lambda *given: tuple(xp.sum(x, axis=axis) for x in given for axis in (0, 1, None))

    for ours, expected in zip(cuda.compile(sums(cuda.xp))(*map(cuda.asarray, arrays)), sums(np)(*arrays), strict=True):
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(cuda.to_host(ours), expected)
    assert not caplog.records


def test_sums_of_rows_that_are_read_in_other_rows(cuda, caplog):
    # Square, so that the shape of the sums fits the current row too.
    x = np.arange(16.0).reshape(4, 4) ** 2

    def function(xp):
        def of(x):
            sums = xp.sum(x, axis=1, keepdims=True)
            return x + sums, x - xp.matrix_transpose(sums), x * sums[::-1], x - sums[2:3]

        return of

    ours = cuda.compile(function(cuda.xp))(cuda.asarray(x))
    for one, expected in zip(ours, function(np)(x), strict=True):
        np.testing.assert_array_equal(cuda.to_host(one), expected)
    assert not caplog.records


def test_products_of_all_rows_and_columns(cuda, caplog):
    signs = np.where(np.random.default_rng(5).random((300, 3)) < 0.3, -1.0, 1.0)
    ours = cuda.compile(lambda x: tuple(cuda.xp.prod(x, axis=axis) for axis in (0, 1, None)))(cuda.asarray(signs))
    for one, axis in zip(ours, (0, 1, None), strict=True):
        np.testing.assert_array_equal(cuda.to_host(one), np.prod(signs, axis=axis))
    assert not caplog.records


def test_extremes_are_those_of_numpy_at_the_ends_of_every_type(cuda, caplog):
    ends = [(-np.inf, np.inf, "float32"), (-np.inf, np.inf, "float64"), (False, True, "bool")]
    ends += [(np.iinfo(kind).min, np.iinfo(kind).max, kind) for kind in ("int8", "uint8", "int16", "int64", "uint64")]
    arrays = [np.full((300, 3), end, kind) for *pair, kind in ends for end in pair]
    arrays += [np.where(np.arange(900).reshape(300, 3) == 500, np.float32(np.nan), one) for one in arrays[:4]]

    def extremes(xp):
        return lambda *given: tuple(f(x, axis=axis) for x in given for f in (xp.max, xp.min) for axis in (0, 1, None))

    ours = cuda.compile(extremes(cuda.xp))(*map(cuda.asarray, arrays))
    for one, expected in zip(ours, extremes(np)(*arrays), strict=True):
        np.testing.assert_array_equal(cuda.to_host(one), expected)
    assert not caplog.records


def test_operations_on_what_is_whole_true_or_no_number(cuda, caplog):
    x = np.array([[np.nan, np.inf, -np.inf], [-0.5, 0, 2], [1, -1, 3]])
    n, big = np.arange(-4, 5).reshape(3, 3), np.array([2**64 - 1, 2**63, 5], np.uint64)
    given = x, n, big, x.astype(np.float32), n > 0

    def function(xp):
        def of(x, n, big, small, true):
            top = xp.max(x, axis=1, keepdims=True)
            return (
                *(xp.sign(x), xp.sign(n), xp.isfinite(x), xp.isnan(x), xp.maximum(x, -xp.inf), xp.minimum(x, xp.inf)),
                *(n / 4, n / n[::-1], n > -(2**63), big == 2**64 - 1, big > 2**63, true & (n > 2), true ^ (x > 0)),
                *(xp.where(true, small, x), xp.where(true, n, small), xp.sum(true[:, :1], axis=1), xp.abs(n)),
                *(xp.sum(xp.concat([small, n], axis=1), axis=0), xp.concat([x]) * 2),
                xp.concat([n[:, :1] - top, n[:, 1:]], axis=1) * 2,
            )

        return of

    ours = cuda.compile(function(cuda.xp))(*map(cuda.asarray, given))
    with np.errstate(all="ignore"):
        for one, expected in zip(ours, function(np)(*given), strict=True):
            assert one.dtype == expected.dtype
            np.testing.assert_array_equal(cuda.to_host(one), expected)
    assert not caplog.records


def test_predictions_through_every_activation(cuda, caplog):
    networks = [Network((5, 6, 3), (activation,), LOSSES["cross_entropy"]) for activation in ACTIVATIONS.values()]
    params, x = 2 * np.random.default_rng(0).normal(size=count((5, 6, 3))), rows_of("cross_entropy").x

    def function(xp):
        return lambda params, x: tuple(predict(xp, network, params, x) for network in networks)

    ours = cuda.compile(function(cuda.xp))(cuda.asarray(params), cuda.asarray(x))
    for one, other in zip(ours, function(np)(params, x), strict=True):
        np.testing.assert_allclose(cuda.to_host(one), other, rtol=1e-12)
    assert not caplog.records


@pytest.mark.parametrize("feed", [Resident, Streamed])
def test_few_launches_and_one_read_for_all_chunks(cuda, cupy, launches, feed, monkeypatch, caplog):
    monkeypatch.setattr(feeds, "CHUNK", 8)
    rows, reads = rows_of("cross_entropy", dtype="uint8"), []
    network = Network((5, 6, 4, 3), (ACTIVATIONS["relu"], ACTIVATIONS["tanh"]), LOSSES["cross_entropy"])
    params = np.random.default_rng(0).normal(size=count(network.sizes))
    evaluation, on_device, feed = evaluated(cuda, network, params, rows, feed, "float32")
    first, read = evaluation.measure(on_device, feed), cupy.asnumpy
    monkeypatch.setattr(cupy, "asnumpy", lambda array: reads.append(array.shape) or read(array))
    launches.clear()
    assert evaluation.measure(on_device, feed) == first
    # Per chunk: scaling; a product with ReLU as its epilogue; a product and tanh; a product, and loss with scores.
    assert launches == ["kernel", "product", *["product", "kernel"] * 2] * 4
    assert reads == [(4, 3)]
    theirs, _, of_theirs = evaluated(HOST, network, params, rows, Resident, "float32")
    for factor in (1, -2):
        # The second parameters are at another address.
        expected = theirs.measure(HOST.asarray(factor * params, "float32"), of_theirs)
        assert evaluation.measure(cuda.asarray(factor * params, "float32"), feed) == pytest.approx(expected, rel=1e-6)
    assert not caplog.records


def test_loss_and_gradient_of_lbfgs(cuda, launches, monkeypatch, caplog):
    monkeypatch.setattr(feeds, "CHUNK", 13)
    rows = rows_of("cross_entropy")
    plan = plan_of(rows, "cross_entropy", hidden=(6,), l2=0.1)
    ours, theirs = (
        lbfgs._objective(backend, plan, Resident(backend, rows, Unscaled(backend, "float64")))
        for backend in (cuda, HOST)
    )
    ours(plan.params)
    launches.clear()
    for scale in (1, 2):
        for one, other in zip(ours(scale * plan.params), theirs(scale * plan.params), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    # At most ten for each of two chunks in two calls: concatenations are written in place.
    assert len(launches) <= 4 * 10
    assert not caplog.records


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_predicts(cuda, launches, monkeypatch, caplog):
    monkeypatch.setattr("mlpgpu.backends.cupy.PATIENCE", 0)
    rows = rows_of("cross_entropy")
    fitted = MLPClassifier((4,), max_iter=1, random_state=0).fit(rows.x, rows.targets)
    expected = fitted.predict_proba(rows.x)
    on_device = fitted.set_params(device="cuda")
    np.testing.assert_allclose(on_device.predict_proba(rows.x), expected, rtol=1e-12)
    assert len(launches) == 4
    np.testing.assert_array_equal(on_device.predict(rows.x), fitted.classes_[expected.argmax(axis=1)])
    assert not caplog.records


ALMOST_EPILOGUES = {
    "a number": lambda xp, z, w, b, wide: xp.maximum(z + 1.0, 0.0),
    "a matrix": lambda xp, z, w, b, wide: xp.maximum(z + w, 0.0),
    "a column": lambda xp, z, w, b, wide: xp.maximum(z + xp.reshape(b, (3, 1)), 0.0),
    "a row backwards": lambda xp, z, w, b, wide: xp.maximum(z + b[::-1], 0.0),
    "a row that is made": lambda xp, z, w, b, wide: xp.maximum(z + b * 2, 0.0),
    "a row of another type": lambda xp, z, w, b, wide: xp.maximum(z + wide, 0.0),
    "a difference": lambda xp, z, w, b, wide: xp.maximum(z - b, 0.0),
    "another number": lambda xp, z, w, b, wide: xp.maximum(z + b, 1.0),
    "another number throughout": lambda xp, z, w, b, wide: xp.maximum(z + b, xp.full_like(z, 2)),
    "the negative part": lambda xp, z, w, b, wide: xp.minimum(z + b, 0.0),
}


@pytest.mark.parametrize("name", ALMOST_EPILOGUES)
def test_what_is_almost_an_epilogue(cuda, cupy, name, caplog):
    rng, before = np.random.default_rng(3), ALMOST_EPILOGUES[name]
    x, w, b = (rng.integers(-3, 4, size=shape).astype(np.float32) for shape in ((3, 3), (3, 3), 3))
    given = x, w, b, b.astype(np.float64)

    def function(xp):
        return lambda x, w, *rows: (y := before(xp, x @ w, w, *rows)) @ xp.astype(w, y.dtype)

    ours = cuda.compile(function(cuda.xp))(*map(cuda.asarray, given))
    np.testing.assert_array_equal(cuda.to_host(ours), function(np)(*given))
    assert set(cupy.lt.epilogues) == {1}
    assert not caplog.records


# --- the function by itself -----------------------------------------------------------------------------------------


def affine(xp):
    """Return a function of two results: the product of `x` and a view of `params`, and column sums."""

    def function(x, params):
        return xp.matmul(x, xp.reshape(params[2:], (3, 4))), xp.sum(x, axis=0)

    return function


def numbers(*shape):
    return np.arange(1.0, 1 + np.prod(shape)).reshape(shape)


def test_arguments_that_lie_elsewhere(cuda, caplog):
    compiled, params = cuda.compile(affine(cuda.xp)), numbers(14)
    x = cuda.asarray(numbers(12, 3))
    turned = cuda.asarray(numbers(3, 4)).T
    # The stand-in for cuBLASLt asserts that each address has the alignment that it was promised.
    given = [*(x[start : start + 4] for start in (0, 1, 2, 3, 8)), turned, cuda.asarray(numbers(12, 6))[::3, ::2]]
    for part in given:
        for values in (params, -params):
            ours = compiled(part, cuda.asarray(values))
            for one, other in zip(ours, affine(np)(cuda.to_host(part), values), strict=True):
                np.testing.assert_array_equal(cuda.to_host(one), other)
    assert len(compiled._launched) == 1
    assert not caplog.records


def test_arguments_of_other_shapes_and_types(cuda, launches, monkeypatch):
    monkeypatch.setattr(functions, "KEPT", 2)
    compiled, params = cuda.compile(affine(cuda.xp)), numbers(14)

    def check(n_rows, dtype):
        ours = compiled(*(cuda.asarray(array.astype(dtype)) for array in (numbers(n_rows, 3), params)))
        for one, other in zip(ours, affine(np)(numbers(n_rows, 3), params), strict=True):
            assert one.dtype == dtype
            np.testing.assert_array_equal(cuda.to_host(one), other)

    for shape in ((4, "float64"), (1, "float64"), (4, "float32"), (4, "float64"), (4, "float32")):
        check(*shape)
    # A product and a kernel per call.
    assert len(launches) == 10
    assert len(compiled._launched) == 2


def test_results_are_the_callers_own(cuda, caplog):
    x = cuda.asarray(numbers(4, 3))

    def function(pair, other):
        x, (y,) = pair
        total = x + y
        return total, (x, total, cuda.xp.reshape(total, (12,))[3:5]), other, cuda.xp.concat([total, x, total[1:]])

    compiled = cuda.compile(function)
    ours = compiled((x, (x,)), x)
    total, (same, again, part), other, joined = ours
    kept = [cuda.to_host(array) for array in (total, same, again, part, other, joined)]
    values = numbers(4, 3)
    expected = (2 * values, values, 2 * values, 2 * values.ravel()[3:5], values)
    for one, array in zip(kept, (*expected, np.concatenate([2 * values, values, 2 * values[1:]])), strict=True):
        np.testing.assert_array_equal(one, array)
    arrays = [total, same, again, part, other, joined, x]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    compiled((-x, (x,)), x)
    for one, array in zip(kept, (total, same, again, part, other, joined), strict=True):
        np.testing.assert_array_equal(one, cuda.to_host(array))
    assert not caplog.records


def test_results_that_are_joined_along_any_axis_and_of_several_types(cuda, caplog):
    x, small = numbers(4, 3), numbers(2, 3).astype(np.float32)

    def function(xp):
        return lambda x, small: (
            xp.concat([x + 1, x], axis=1),
            xp.concat([small + 1, x * 2, small]),
            xp.concat([xp.reshape(small * 3, (6,)), xp.reshape(x - 1, (12,))]),
        )

    ours = cuda.compile(function(cuda.xp))(cuda.asarray(x), cuda.asarray(small))
    for one, expected in zip(ours, function(np)(x, small), strict=True):
        assert one.dtype == expected.dtype
        np.testing.assert_array_equal(cuda.to_host(one), expected)
    assert not caplog.records


def test_parts_of_parts_and_operands_of_products_that_are_made_of_others(cuda, caplog):
    x, b = numbers(6, 3), numbers(3)

    def function(xp):
        def of(x, b):
            parts = x[::2][1:] + 1, x[::-1][2:4] + 1, x[:, ::-2][:, 1:] + 1, x[-1] + 1, x[1:, -2] + 1
            part = xp.reshape(xp.reshape(x, (2, 9))[:, :3], (6,)) + 1
            return *parts, part, x @ xp.reshape(b[None, :], (3, 1)), xp.full_like(x, 2) @ xp.ones_like(x[:3])

        return of

    ours = cuda.compile(function(cuda.xp))(cuda.asarray(x), cuda.asarray(b))
    for one, expected in zip(ours, function(np)(x, b), strict=True):
        np.testing.assert_array_equal(cuda.to_host(one), expected)
    assert not caplog.records


def test_numbers_of_the_device_that_a_function_makes_of_its_own(cuda, caplog):
    own = cuda.asarray(np.array(3.0))
    # Each temporary is freed before the next is created, which may then have the same `id`.
    compiled = cuda.compile(lambda x: x * (own + 1) + (own + 2) - (own + 3))
    np.testing.assert_array_equal(cuda.to_host(compiled(cuda.asarray(numbers(3)))), numbers(3) * 4 + 5 - 6)
    assert not caplog.records


def test_products_may_be_all_that_is_wanted(cuda, caplog):
    x, w = numbers(4, 3), numbers(3, 3)
    ours = cuda.compile(lambda x, w: (x @ w, x @ (w + 1), w @ w))(cuda.asarray(x), cuda.asarray(w))
    for one, expected in zip(ours, (x @ w, x @ (w + 1), w @ w), strict=True):
        np.testing.assert_array_equal(cuda.to_host(one), expected)
    assert not caplog.records


@pytest.mark.parametrize(
    "breaks",
    [lambda xp, x: xp.sort(x), lambda xp, x: x if float(x[0]) > 0 else -x, lambda xp, x: xp.arctan(x)],
    ids=["unknown", "host-read", "no-kernel"],
)
def test_what_cannot_be_recorded_runs_line_by_line_and_is_told_once(cuda, breaks, caplog):
    compiled = cuda.compile(lambda x: breaks(cuda.xp, x))
    with caplog.at_level(logging.WARNING):
        for x in (numbers(3), numbers(3), numbers(4)):
            np.testing.assert_array_equal(cuda.to_host(compiled(cuda.asarray(x))), breaks(np, x))
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "the evaluation of rows runs line by line on cuda:0, for it cannot be captured"
    )
    assert "\n" not in record.getMessage()


def test_a_product_that_cublaslt_does_not_support_runs_line_by_line(cuda, cupy, monkeypatch, caplog):
    choose = cupy.lt.cublasLtMatmulAlgoGetHeuristic

    def only_if_aligned(*given):
        promised = cupy.lt.made[given[6].value]
        # CUBLAS_STATUS_NOT_SUPPORTED.
        return 15 if promised[6] < 16 else choose(*given)

    monkeypatch.setattr(cupy.lt, "cublasLtMatmulAlgoGetHeuristic", only_if_aligned, raising=False)
    compiled, params, x = cuda.compile(affine(cuda.xp)), numbers(14), numbers(12, 3)
    on_device = cuda.asarray(x)
    for start in (0, 1, 0):
        ours = compiled(on_device[start : start + 4], cuda.asarray(params))
        for one, other in zip(ours, affine(np)(x[start : start + 4], params), strict=True):
            np.testing.assert_array_equal(cuda.to_host(one), other)
    (record,) = caplog.records
    assert "cublasLtMatmulAlgoGetHeuristic of cuBLASLt fails with status 15" in record.getMessage()


def test_streams_have_workspaces_of_their_own(cuda, workspaces, caplog):
    compiled, other, given = cuda.compile(affine(cuda.xp)), hosted.Stream(), (numbers(4, 3), numbers(14))
    for _ in range(2):
        compiled(*map(cuda.asarray, given))
        with other:
            compiled(*map(cuda.asarray, given))
    (one,), (another,) = workspaces.values()
    assert one != another
    assert not caplog.records


def test_each_thread_chooses_algorithms_for_itself(cuda, cupy, monkeypatch, caplog):
    """Another thread may choose one at the same time, on the same stream and for arrays of other alignment."""
    choose, x, first = cupy.lt.cublasLtMatmulAlgoGetHeuristic, numbers(12, 3), threading.get_ident()
    given = cuda.asarray(x), cuda.asarray(numbers(14))

    def while_another_chooses(*to_choose):
        if threading.get_ident() == first:
            other = threading.Thread(target=cuda.compile(affine(cuda.xp)), args=given)
            other.start()
            other.join()
        return choose(*to_choose)

    monkeypatch.setattr(cupy.lt, "cublasLtMatmulAlgoGetHeuristic", while_another_chooses, raising=False)
    # The stand-in for cuBLASLt asserts that each address has the alignment that it was promised.
    ours, _ = cuda.compile(affine(cuda.xp))(given[0][1:], given[1])
    np.testing.assert_array_equal(cuda.to_host(ours), affine(np)(x[1:], numbers(14))[0])
    assert not caplog.records


def test_what_the_function_itself_raises_is_raised(cuda):
    def function(x):
        raise ZeroDivisionError("this is the user's")

    with pytest.raises(ZeroDivisionError, match="the user's"):
        cuda.compile(function)(cuda.asarray(numbers(3)))


def test_out_of_memory_is_raised(cuda, cupy, monkeypatch):
    def refuse(shape, dtype):
        raise MemoryError("Out of memory allocating 1,024 bytes")

    monkeypatch.setattr(cupy, "empty", refuse)
    with pytest.raises(MemoryError):
        cuda.compile(lambda x: x + 1)(cuda.asarray(numbers(3)))


def test_a_function_within_a_step_is_recorded_with_it(cuda, caplog):
    double = cuda.compile(lambda x: x * 2)

    def step(state, data, item):
        return (double(state[0]) + item[0],), cuda.xp.sum(state[0])

    launched = hosted.Graph.launches
    (state,), losses = cuda.compile_loop(step)((cuda.asarray(numbers(3)),), (), (cuda.asarray(numbers(2, 3)),))
    np.testing.assert_array_equal(cuda.to_host(state), [4 + 2 + 4, 8 + 4 + 5, 12 + 6 + 6])
    np.testing.assert_array_equal(cuda.to_host(losses), [6, 18])
    assert hosted.Graph.launches > launched
    assert not double._launched
    assert not caplog.records


def test_one_pass_is_line_by_line_until_it_has_proved_long(cuda, launches, monkeypatch):
    monkeypatch.setattr("mlpgpu.backends.cupy.PATIENCE", 3)
    compiled, x = cuda.compile(lambda x: x + 1, once=True), cuda.asarray(numbers(3))
    counts = []
    for _ in range(5):
        np.testing.assert_array_equal(cuda.to_host(compiled(x)), numbers(3) + 1)
        counts.append(len(launches))
    assert counts == [0, 0, 0, 1, 2]
    compiled(cuda.asarray(numbers(4)))
    assert len(launches) == 2


def test_line_by_line_where_that_is_asked_for(cuda, launches, monkeypatch):
    monkeypatch.setenv("MLPGPU_LOOP", "eager")
    compiled = cuda.compile(lambda x: x + 1)
    np.testing.assert_array_equal(cuda.to_host(compiled(cuda.asarray(numbers(3)))), numbers(3) + 1)
    assert not launches
