"""Training as a captured graph, on the stand-in for a device, compared with NumPy; and the loop by itself."""

import dataclasses
import gc
import logging

import hosted
import numpy as np
import pytest
from small_networks import ALL_AT_ONCE, plan_of, rows_of

from mlpgpu.backends import base
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.callbacks import Callback
from mlpgpu.cuda import elements, grid, loop
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.training import preflight
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Scaled, Unscaled
from mlpgpu.training.trainer import fit

HOST = NumpyBackend()


def trained(backend, plan, rows):
    """Return the parameters, slots, step count and losses after all epochs of `plan`."""
    placement = Unscaled(backend, plan.dtype)
    if rows.x.dtype == np.uint8:
        placement = Scaled(backend, np.full(rows.x.shape[1], 127.5), np.full(rows.x.shape[1], 1 / 64), plan.dtype)
    training = Training(backend, plan, rows, placement)
    losses = [training.epoch(number)[0] for number in range(1, plan.epochs + 1)]
    state = training.state
    return [backend.to_host(array) for array in (state.params, *state.slots, state.step)] + [np.concatenate(losses)]


def assert_captured(cuda, plan, rows, caplog, tolerance=1e-12):
    """Assert that training replays a graph, logs nothing and agrees with NumPy."""
    launched = hosted.Graph.launches
    ours = trained(cuda, plan, rows)
    assert hosted.Graph.launches > launched
    assert not caplog.records
    for one, other in zip(ours, trained(HOST, plan, rows), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1.0, np.abs(other).max()))


@pytest.mark.parametrize(
    "pair", list(zip(TRAINABLE, TRAINABLE[1:] + TRAINABLE[:1], strict=True)), ids=lambda pair: "-".join(pair)
)
def test_every_activation(cuda, pair, caplog):
    rows = rows_of("cross_entropy")
    assert_captured(cuda, plan_of(rows, "cross_entropy", activation=pair), rows, caplog)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(cuda, loss, caplog):
    rows = rows_of(loss)
    assert_captured(cuda, plan_of(rows, loss, **ALL_AT_ONCE), rows, caplog)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(cuda, optimizer, caplog):
    rows = rows_of("squared_error")
    given = {"optimizer": optimizer, "weight_decay": 0.1, "clip_norm": 0.5}
    assert_captured(cuda, plan_of(rows, "squared_error", **given), rows, caplog)


@pytest.mark.parametrize("hidden", [(), (1,), (40,), (33, 1, 70)])
@pytest.mark.parametrize("n_outputs", [1, 2, 40])
def test_shapes(cuda, hidden, n_outputs, caplog):
    rows = rows_of("squared_error", n_features=3, n_outputs=n_outputs)
    plan = plan_of(rows, "squared_error", hidden=hidden, l2=0.1, dropout=0.2)
    assert_captured(cuda, plan, rows, caplog)


def test_targets_that_lie_column_by_column(cuda, caplog):
    """Such as those of a DataFrame."""
    rows = rows_of("squared_error", n_outputs=3)
    rows = dataclasses.replace(rows, targets=np.asfortranarray(rows.targets))
    assert_captured(cuda, plan_of(rows, "squared_error"), rows, caplog)


@pytest.mark.parametrize("chosen", [np.s_[:], np.s_[:, :3]], ids=["whole", "columns"])
def test_an_array_of_the_device_that_lies_otherwise(cuda, cupy, chosen):
    table = np.arange(20.0).reshape(5, 4, order="F" if chosen == np.s_[:] else "C")
    laid = cuda.asarray(cupy.asarray(table)[chosen])
    assert laid.flags.c_contiguous
    np.testing.assert_array_equal(cuda.to_host(laid), table[chosen])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_in_float32(cuda, dtype, caplog):
    rows = rows_of("logistic", dtype="uint8", weighted=False)
    plan = plan_of(rows, "logistic", dtype=dtype, input_dropout=0.2)
    assert_captured(cuda, plan, rows, caplog, tolerance=1e-12 if dtype == "float64" else 2e-6)


@pytest.mark.parametrize("epilogues", [True, False], ids=["epilogues", "kernels"])
def test_relu_as_epilogues_and_in_kernels(cuda, cupy, epilogues, caplog):
    cupy.lt.has_epilogues = epilogues
    rows = rows_of("cross_entropy")
    plan = plan_of(rows, "cross_entropy", dtype="float32", activation="relu", hidden=(70, 33, 9), l2=0.1)
    assert_captured(cuda, plan, rows, caplog, tolerance=2e-6)
    # Four products forward, three of them with an epilogue. Backward, the gradients of four weights and three inputs.
    counts = {kind: cupy.lt.epilogues.count(kind) for kind in set(cupy.lt.epilogues)}
    assert counts[1] * 3 == counts[6] * 8 if epilogues else set(counts) == {1}


def test_reductions_by_several_blocks(cuda, caplog):
    rows = rows_of("cross_entropy")
    rows = dataclasses.replace(
        rows, **{name: np.concatenate([getattr(rows, name)] * 100) for name in ("x", "targets", "weights")}
    )
    plan = plan_of(rows, "cross_entropy", hidden=(40,), batch_size=2400, clip_norm=0.1, epochs=1)
    assert_captured(cuda, plan, rows, caplog)


@pytest.mark.parametrize(
    ("order", "at_once"),
    [(1, False), (2, True), (3, True)],
    ids=["backward-late", "shuffled-at-once", "otherwise-at-once"],
)
def test_threads_blocks_and_streams_in_any_order(cuda, monkeypatch, order, at_once, caplog):
    monkeypatch.setattr(hosted.Function, "order", order)
    monkeypatch.setattr(hosted.Stream, "at_once", at_once)
    rows = rows_of("cross_entropy", dtype="uint8")
    rows = dataclasses.replace(
        rows, **{name: np.concatenate([getattr(rows, name)] * 20) for name in ("x", "targets", "weights")}
    )
    # Column sums take several blocks, in tiles of columns, and three layers have products on the side stream.
    given = ALL_AT_ONCE | {"hidden": (70, 40, 7), "batch_size": 260, "epochs": 2}
    assert_captured(cuda, plan_of(rows, "cross_entropy", **given), rows, caplog)


def test_indices_of_64_bits(cuda, monkeypatch, caplog):
    monkeypatch.setattr(grid, "INT32_LIMIT", 1)
    monkeypatch.setattr(elements, "INT32_LIMIT", 1)
    rows = rows_of("cross_entropy", dtype="uint8")
    assert_captured(cuda, plan_of(rows, "cross_entropy", hidden=(40,), **ALL_AT_ONCE), rows, caplog)


def test_a_learning_rate_that_a_callback_changes_is_seen_by_a_replay(cuda):
    class Lower(Callback):
        def on_epoch_end(self, run, record):
            run.learning_rate *= 0.5

    rows = rows_of("cross_entropy")
    plan = plan_of(rows, "cross_entropy", optimizer="sgd", schedule="constant")
    ours, theirs = (fit(backend, plan, rows, {}, Unscaled(backend, plan.dtype), [Lower()]) for backend in (cuda, HOST))
    np.testing.assert_allclose(cuda.to_host(ours[0].params), theirs[0].params, rtol=0, atol=1e-13)
    assert float(ours[0].learning_rate) == plan.learning_rate / 8


# --- the loop by itself ---------------------------------------------------------------------------------------------


def count_up(backend):
    xp = backend.xp

    def step(state, data, item):
        (total,), (row,) = state, item
        return (total + row * data[0],), xp.sum(total)

    return step


def numbers(cuda, n, first=0.0):
    return (cuda.asarray(np.arange(first, first + 3 * n).reshape(n, 3)),)


def test_graphs_of_many_steps_and_of_one_make_up_a_call(cuda):
    step, data = count_up(cuda), (cuda.asarray(np.full(3, 2.0)),)
    by_graph = cuda.compile_loop(step)
    state, items = (cuda.asarray(np.zeros(3)),), numbers(cuda, 77)
    launched = hosted.Graph.launches
    (total,), losses = by_graph(state, data, items)
    # 77 steps are 64 + 8 + 5 * 1.
    assert hosted.Graph.launches - launched == 1 + 1 + 5
    rows = np.arange(231.0).reshape(77, 3)
    np.testing.assert_array_equal(cuda.to_host(total), 2 * rows.sum(axis=0))
    before = np.concatenate([[0], np.cumsum(2 * rows.sum(axis=1))[:-1]])
    np.testing.assert_array_equal(cuda.to_host(losses), before)


def test_a_loop_takes_fewer_steps_more_and_other_data(cuda, caplog):
    step, data = count_up(cuda), (cuda.asarray(np.ones(3)),)
    by_graph = cuda.compile_loop(step, 100)
    state, _ = by_graph((cuda.asarray(np.zeros(3)),), data, numbers(cuda, 4))
    first = by_graph._captured
    state, _ = by_graph(state, data, numbers(cuda, 2, 12.0))
    assert by_graph._captured is first
    state, _ = by_graph(state, data, numbers(cuda, 9, 18.0))
    assert by_graph._captured is not first
    np.testing.assert_array_equal(cuda.to_host(state[0]), np.arange(45.0).reshape(15, 3).sum(axis=0))
    state, _ = by_graph(state, (cuda.asarray(np.zeros(3)),), numbers(cuda, 1))
    np.testing.assert_array_equal(cuda.to_host(state[0]), np.arange(45.0).reshape(15, 3).sum(axis=0))
    assert not caplog.records


def test_a_returned_state_whose_parts_are_exchanged(cuda):
    def swap(state, data, item):
        a, b = state
        return (a + item[0], b - item[0]), a[0]

    loop_ = cuda.compile_loop(swap)
    items = numbers(cuda, 2)
    (a, b), _ = loop_((cuda.asarray(np.zeros(3)), cuda.asarray(np.ones(3))), (), items)
    (a, b), _ = loop_((b, a), (), items)
    total = np.arange(6.0).reshape(2, 3).sum(axis=0)
    np.testing.assert_array_equal(cuda.to_host(a), 1 - total + total)
    np.testing.assert_array_equal(cuda.to_host(b), 0.0)


@pytest.mark.parametrize("kept", ["product", "sum"])
def test_the_operands_of_an_epilogue_may_be_results(cuda, kept, caplog):
    def step(state, data, item):
        (x, _), (w, b) = state, data
        product = x @ w
        inside = product + b
        return (xp.maximum(inside, 0) @ w, {"product": product, "sum": inside}[kept]), xp.sum(item[0])

    xp, rng = cuda.xp, np.random.default_rng(7)
    x, w, b = (rng.integers(-3, 4, size=shape).astype(np.float32) for shape in ((4, 3), (3, 3), (3,)))
    items = np.ones((1, 2), np.float32)
    state, data, on = (cuda.asarray(x), cuda.asarray(x)), (cuda.asarray(w), cuda.asarray(b)), (cuda.asarray(items),)
    (after, before), _ = cuda.compile_loop(step)(state, data, on)
    np.testing.assert_array_equal(cuda.to_host(after), np.maximum(x @ w + b, 0) @ w)
    np.testing.assert_array_equal(cuda.to_host(before), x @ w + (b if kept == "sum" else 0))
    assert not caplog.records


def test_a_number_for_each_row_is_written_once(cuda, caplog):
    def step(state, data, item):
        x, _ = state
        low = xp.min(x, axis=1, keepdims=True)
        # The concatenation has a domain of its own. It therefore reads `low` from memory, and reduces no row again.
        return (xp.maximum(x, item[0]), low * 2), xp.sum(xp.concat([low, low], axis=-1))

    xp, x, items = cuda.xp, np.arange(60.0).reshape(20, 3), np.array([2.0, 30.0])
    given = (cuda.asarray(x), cuda.asarray(x[:, :1])), (), (cuda.asarray(items),)
    (a, b), losses = cuda.compile_loop(step)(*given)
    np.testing.assert_array_equal(cuda.to_host(a), np.maximum(x, 30))
    np.testing.assert_array_equal(cuda.to_host(b), 2 * np.maximum(x[:, :1], 2))
    np.testing.assert_array_equal(cuda.to_host(losses), [2 * x[:, 0].sum(), 2 * np.maximum(x[:, 0], 2).sum()])
    assert not caplog.records


def test_a_number_for_each_row_is_written_once_beside_tiles_of_columns(cuda, monkeypatch, caplog):
    def step(state, data, item):
        x, _, _ = state
        low = xp.min(x, axis=1, keepdims=True)
        shift = xp.sum(x) - item[0]
        # As above, `low` is read from memory. The kernel that reads it has column sums, so no block has a whole row.
        return (x, low * 2 + shift, xp.sum(x * shift, axis=0)), xp.sum(xp.concat([low, low], axis=-1))

    monkeypatch.setattr(hosted.Function, "order", 2)
    xp, x, items = cuda.xp, np.arange(120.0).reshape(3, 40), np.array([2.0, 30.0])
    (_, b, c), losses = cuda.compile_loop(step)(
        tuple(map(cuda.asarray, (x, x[:, :1], x[0]))), (), (cuda.asarray(items),)
    )
    np.testing.assert_array_equal(cuda.to_host(b), 2 * x[:, :1] + x.sum() - 30)
    np.testing.assert_array_equal(cuda.to_host(c), (x * (x.sum() - 30)).sum(axis=0))
    np.testing.assert_array_equal(cuda.to_host(losses), np.full(2, 2 * x[:, 0].sum()))
    assert not caplog.records


def test_views_of_views(cuda, caplog):
    def step(state, data, item):
        (a,) = state
        turned = xp.reshape(xp.reshape(xp.matrix_transpose(a), (-1,)) + item[0], (4, 4))
        return (xp.matrix_transpose(xp.reshape(turned[::-1, :], (2, 8))[:, 1::2] * 1.0) @ data[0],), xp.sum(a)

    xp, mix, start = cuda.xp, np.arange(8.0).reshape(2, 4) - 3, np.arange(16.0).reshape(4, 4)
    items = np.arange(32.0).reshape(2, 16) % 5
    (a,), _ = cuda.compile_loop(step)((cuda.asarray(start),), (cuda.asarray(mix),), (cuda.asarray(items),))
    xp = np
    (expected,), _ = base.eager_loop(np, step)((start,), (mix,), (items,))
    np.testing.assert_array_equal(cuda.to_host(a), expected)
    assert not caplog.records


@pytest.mark.parametrize("at_once", [False, True])
def test_operands_of_a_product_on_the_side_stream_are_not_overwritten(cuda, monkeypatch, at_once):
    def step(state, data, item):
        a, w, b = state
        soon, late = a @ w, a @ b
        new = a + soon
        return (new, w, (new @ w) * late), xp.sum(item[0])

    monkeypatch.setattr(hosted.Stream, "at_once", at_once)
    xp, rng = cuda.xp, np.random.default_rng(5)
    state, items = [rng.integers(-2, 3, size=(3, 3)).astype(float) for _ in range(3)], (np.zeros((2, 3)),)
    (a, w, b), _ = cuda.compile_loop(step)(tuple(map(cuda.asarray, state)), (), tuple(map(cuda.asarray, items)))
    xp = np
    expected, _ = base.eager_loop(np, step)(tuple(state), (), items)
    for ours, theirs in zip((a, w, b), expected, strict=True):
        np.testing.assert_array_equal(cuda.to_host(ours), theirs)


def test_products_on_the_side_stream_have_a_workspace_of_their_own(cuda, workspaces, caplog):
    rows = rows_of("cross_entropy")
    plan = plan_of(rows, "cross_entropy", hidden=(8, 8, 8), epochs=1)
    Training(cuda, plan, rows, Unscaled(cuda, "float64")).epoch(1)
    (one,), (another,) = workspaces.values()
    assert one != another
    assert not caplog.records


def test_products_become_the_state(cuda, caplog):
    def step(state, data, item):
        a, b = state
        return (a @ data[0], xp.maximum(b @ data[0], 0)), a[0, 0] + item[0][0]

    xp, turn = cuda.xp, np.array([[0.0, -1.0], [1.0, 0.0]])
    start, items = np.array([[1.0, 2.0], [3.0, 4.0]]), numbers(cuda, 3)
    (a, b), _ = cuda.compile_loop(step)((cuda.asarray(start), cuda.asarray(start)), (cuda.asarray(turn),), items)
    np.testing.assert_array_equal(cuda.to_host(a), start @ turn @ turn @ turn)
    np.testing.assert_array_equal(cuda.to_host(b), np.maximum(np.maximum(start @ turn, 0) @ turn, 0) @ turn)
    assert not caplog.records


def test_few_steps_go_line_by_line(cuda, monkeypatch, caplog):
    """They take less time than a capture would, as in each `partial_fit`."""
    rows, launched = rows_of("cross_entropy"), hosted.Graph.launches
    plan = plan_of(rows, "cross_entropy", epochs=2)
    monkeypatch.setattr(base, "FEW_STEPS", plan.n_steps + 1)
    few = preflight.predict(cuda, plan, rows)
    trained(cuda, plan, rows)
    assert hosted.Graph.launches == launched
    monkeypatch.setattr(base, "FEW_STEPS", plan.n_steps)
    assert preflight.predict(cuda, plan, rows).steps > few.steps
    assert few == preflight.predict(cuda, dataclasses.replace(plan, capture=False), rows)
    trained(cuda, plan, rows)
    assert hosted.Graph.launches > launched
    assert not caplog.records


def test_losses_are_not_written_over_by_the_next_call(cuda):
    loop_ = cuda.compile_loop(count_up(cuda))
    data = (cuda.asarray(np.ones(3)),)
    state, losses = loop_((cuda.asarray(np.zeros(3)),), data, numbers(cuda, 3))
    kept = losses.copy()
    loop_(state, data, numbers(cuda, 3))
    np.testing.assert_array_equal(losses, kept)


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        (lambda xp, x: xp.sort(x), "numpy.sort"),
        (lambda xp, x: x if float(x[0]) > 0 else -x, "no values"),
        (lambda xp, x: xp.arctan(x), "'arctan'"),
        (lambda xp, x: xp.astype(x, xp.float32), "a state of float64 (3,) becomes one of float32 (3,)"),
        (lambda xp, x: xp.reshape(x, (1, 3)), "a state of float64 (3,) becomes one of float64 (1, 3)"),
    ],
    ids=["unknown", "host-read", "no-kernel", "other-type", "other-shape"],
)
def test_what_cannot_be_captured_runs_line_by_line_and_is_told_once(cuda, breaks, why, caplog):
    def step(state, data, item):
        x = breaks(cuda.xp, state[0] + item[0])
        return (x,), cuda.xp.sum(x)

    loop_ = cuda.compile_loop(step)
    with caplog.at_level(logging.WARNING):
        state, _ = loop_((cuda.asarray(np.ones(3)),), (), numbers(cuda, 2))
        loop_(state, (), numbers(cuda, 2))
    (record,) = caplog.records
    assert record.getMessage().startswith("the step runs line by line on cuda:0, for it cannot be captured: ")
    assert "\n" not in record.getMessage()
    assert why in record.getMessage()


@pytest.mark.parametrize("why", ["losses of several models", "data whose rows do not follow each other"])
def test_what_no_graph_takes_runs_line_by_line(cuda, why, caplog):
    def step(state, data, item):
        total = state[0] + item[0] * data[0]
        return (total,), total if why.startswith("losses") else xp.sum(total)

    xp, items, data = cuda.xp, np.arange(6.0).reshape(2, 3), np.arange(6.0)
    chosen = slice(3) if why.startswith("losses") else slice(None, None, 2)
    on_device = (cuda.asarray(np.ones(3)),), (cuda.asarray(data)[chosen],), (cuda.asarray(items),)
    (total,), losses = cuda.compile_loop(step)(*on_device)
    xp = np
    (expected,), of_steps = base.eager_loop(np, step)((np.ones(3),), (data[chosen],), (items,))
    np.testing.assert_array_equal(cuda.to_host(total), expected)
    np.testing.assert_array_equal(cuda.to_host(losses), of_steps)
    assert why in caplog.text


def test_a_stream_that_refuses_ends_its_capture(cuda, caplog, monkeypatch):
    def refuse(stream, work):
        if stream.captured is not None:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
        work()

    monkeypatch.setattr(hosted.Stream, "launch", refuse)
    loop_ = cuda.compile_loop(count_up(cuda))
    (total,), _ = loop_((cuda.asarray(np.zeros(3)),), (cuda.asarray(np.ones(3)),), numbers(cuda, 2))
    np.testing.assert_array_equal(cuda.to_host(total), np.arange(6.0).reshape(2, 3).sum(axis=0))
    assert "cudaErrorStreamCaptureUnsupported" in caplog.text


def test_a_failed_launch_waits_for_those_before_it(cuda, cupy, caplog, monkeypatch):
    """Their memory is freed afterwards."""
    waited, synchronize = [], hosted.Stream.synchronize

    def wait(stream):
        waited.append(stream)
        synchronize(stream)

    monkeypatch.setattr(hosted.Stream, "synchronize", wait)
    monkeypatch.setattr(cupy.lt, "cublasLtMatmul", lambda *_: 13, raising=False)
    rows = rows_of("cross_entropy")
    training = Training(cuda, plan_of(rows, "cross_entropy"), rows, Unscaled(cuda, "float64"))
    assert np.isfinite(training.epoch(1)[0]).all()
    assert "cublasLtMatmul of cuBLASLt fails with status 13" in caplog.text
    # The default stream, and the main and the side stream of the step.
    assert len({id(stream) for stream in waited}) == 3


def test_out_of_memory_is_raised(cuda, cupy, monkeypatch):
    def refuse(shape, dtype):
        raise MemoryError("Out of memory allocating 1,024 bytes")

    monkeypatch.setattr(cupy, "zeros", refuse)
    with pytest.raises(MemoryError):
        cuda.compile_loop(count_up(cuda))((cuda.asarray(np.zeros(3)),), (cuda.asarray(np.ones(3)),), numbers(cuda, 2))


def test_nothing_is_allocated_while_a_graph_is_captured(cuda, cupy, monkeypatch):
    capture = loop.Captured._capture

    def without_memory(self, n_steps):
        with monkeypatch.context() as patch:
            for name in ("zeros", "empty", "asarray", "ascontiguousarray"):
                patch.setattr(cupy, name, None)
            return capture(self, n_steps)

    monkeypatch.setattr(loop.Captured, "_capture", without_memory)
    rows = rows_of("cross_entropy")
    training = Training(cuda, plan_of(rows, "cross_entropy", **ALL_AT_ONCE), rows, Unscaled(cuda, "float64"))
    assert np.isfinite(training.epoch(1)[0]).all()


def test_nothing_is_collected_while_a_graph_is_captured(cuda, monkeypatch):
    step, seen = loop.Captured._step, {}

    def watch(self):
        seen.setdefault(self._stream.captured is not None, gc.isenabled())
        step(self)

    monkeypatch.setattr(loop.Captured, "_step", watch)
    cuda.compile_loop(count_up(cuda))((cuda.asarray(np.zeros(3)),), (cuda.asarray(np.ones(3)),), numbers(cuda, 2))
    assert seen == {False: True, True: False}
    assert gc.isenabled()


def test_the_order_of_the_next_epoch_is_drawn_while_the_device_is_at_work(cuda):
    rows, drawn = rows_of("cross_entropy"), []

    def order(epoch):
        drawn.append(epoch)
        return plan.order(epoch)

    plan = plan_of(rows, "cross_entropy", optimizer="sgd")
    watched = dataclasses.replace(plan, order=order)
    training = Training(cuda, watched, rows, Unscaled(cuda, "float64"))
    training.epoch(1, lambda done, losses: bool(drawn.append(f"{done} steps done")))
    assert drawn == [1, 2, "4 steps done"]
    training.epoch(2)
    training.epoch(3)
    # None after the last epoch of the plan, and none twice.
    assert drawn == [1, 2, "4 steps done", 3]
    theirs = Training(HOST, plan, rows, Unscaled(HOST, "float64"))
    for number in (1, 2, 3):
        theirs.epoch(number)
    np.testing.assert_allclose(cuda.to_host(training.state.params), theirs.state.params, rtol=0, atol=1e-13)
    # A measurement of speed goes on after the last epoch of the plan.
    training.epoch(4)
    training.epoch(5)
    assert drawn[4:] == [4, 5, 6]
    # An order that continues from the previous one is drawn when its epoch begins.
    training = Training(cuda, dataclasses.replace(watched, draws_ahead=False), rows, Unscaled(cuda, "float64"))
    training.epoch(1)
    assert drawn[7:] == [1]
