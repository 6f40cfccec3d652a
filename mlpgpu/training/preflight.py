"""Estimate the device memory of a run before it starts, and say what to lower if that is too much.

A training step and the evaluation of a chunk of rows are traced on arrays without values, as the backend will run them,
and the bytes of their arrays are counted. Memory that libraries take for themselves is not included: CUDA context,
kernel code, memory pools.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends import live_bytes
from mlpgpu.backends.cuda_devices import left_of_memory
from mlpgpu.backends.cuda_failures import FULL
from mlpgpu.backends.live_bytes import Bytes, in_pieces, total
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.data.mapped import Mapped
from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.machine import available_memory
from mlpgpu.maths.parameters import count
from mlpgpu.maths.step import State
from mlpgpu.training.epoch import is_captured, make_step, steps_per_call
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import SMALL_INTEGERS, Placement, Resident, Rows, Scaled, Unscaled, chunk_rows, is_sparse

if TYPE_CHECKING:
    from mlpgpu.backends import Backend
    from mlpgpu.training.plan import Plan

# A run is refused if free memory is below this fraction of the estimate: in general, and with NumPy on the host, whose
# estimates are up to 1.5 times too high because it overwrites buffers that others allocate anew.
REFUSED_BELOW, REFUSED_BELOW_WITH_NUMPY = 0.9, 1 / 1.5


@dataclass(frozen=True)
class Need:
    """Estimated device memory of a run, in bytes.

    Attributes
    ----------
    data : int
        All rows, if they stay on the device.
    model : int
        Parameters and optimizer state, with their copies for a rollback, and the best parameters.
    steps : int
        Workspace of training steps.
    evaluation : int
        Workspace for evaluating a chunk of rows.
    beside : int
        Peak memory without the data.
    """

    data: int
    model: int
    steps: int
    evaluation: int
    beside: int


def predict(
    backend: Backend, plan: Plan, train: Rows, watched: Mapping[str, Rows] | None = None, rollbacks: int | None = None
) -> Need:
    """Estimate the memory of a run.

    Parameters
    ----------
    backend : Backend
        Backend that will run it; nothing is run yet.
    plan, train, watched, rollbacks
        See `mlpgpu.training.trainer.fit`; of the rows, only shapes and types are used.
    """
    watched = watched or {}
    trace = _Trace(backend, plan, train)
    loop, evaluation = trace.loop(), trace.evaluation(max(map(len, watched.values()), default=0))
    state, order = trace.state_bytes, trace.order_bytes
    before = state if rollbacks else 0
    best = trace.param_bytes if "validation" in watched else 0
    orders = 2 * order if plan.draws_ahead and backend.device != "cpu" else order
    model, kept = state + before + best, loop.kept + evaluation.kept
    rows = {id(each): each for each in (train, *watched.values())}.values()
    return Need(
        data=sum(trace.placed(each) for each in rows),
        model=model,
        steps=loop.kept + max(loop.call, loop.first) + orders,
        evaluation=evaluation.kept + evaluation.call,
        beside=max(
            # The first call: no best parameters yet, and evaluation only if the initial loss was measured.
            state + before + loop.kept + loop.first + order + (0 if rollbacks is None else evaluation.kept),
            model + kept + loop.call + orders,
            model + kept + evaluation.call + order,
            # New best parameters, or a new state for a rollback, are copied while the old ones still exist.
            model + kept + order + max(best, before),
        ),
    )


class _Trace:
    """A run traced in NumPy's namespace, with arrays that only have shapes and types."""

    def __init__(self, backend: Backend, plan: Plan, train: Rows) -> None:
        self._backend, self._plan, network = backend, plan, plan.network
        self._captured = is_captured(plan)
        # Eager steps also allocate the rounded operands of products.
        self._host = host = NumpyBackend("float32" if self._captured else plan.precision)
        # Only rows on the host are integers, and array-api-strict warns of comparing its dtypes with NumPy's.
        on_host = isinstance(train.x.dtype, np.dtype)
        kind = train.x.dtype if on_host and train.x.dtype in SMALL_INTEGERS else plan.dtype
        self._placement: Placement = Unscaled(host, plan.dtype)
        if kind != plan.dtype:
            self._placement = Scaled(host, np.array(1.0), np.array(2.0), plan.dtype)
        row = Rows(np.zeros((1, network.sizes[0]), kind), train.targets[:1])
        self._feed = Resident(host, row, self._placement)
        params = _placeholder((count(network.sizes, network.normalized),), plan.dtype)
        slots = (params,) * plan.recipe.optimizer.n_slots
        self._state = State(params, slots, _placeholder((), "int32"), _placeholder((), plan.dtype))
        self.state_bytes, self.param_bytes = total((params, *slots)), in_pieces(params)
        # The order of an epoch and its padding mask.
        whole = (plan.steps_per_epoch, plan.batch_size)
        self.order_bytes = total((_placeholder(whole, "int64"), _placeholder(whole, plan.dtype)))

    def placed(self, rows: Rows) -> int:
        """Return the bytes of rows on the device; 0 for rows that are always streamed."""
        if is_sparse(rows.x) or isinstance(rows.x, Mapped):
            return 0
        return total(_placeholder((len(rows), *part.shape[1:]), part.dtype) for part in self._feed.data)

    def loop(self) -> Bytes:
        """Estimate the loop of training steps."""
        plan, feed = self._plan, self._feed
        step = make_step(self._host, plan, feed, self._placement, np.dtype(plan.dtype))
        rows = (min(steps_per_call(self._backend, plan), plan.steps_per_epoch), plan.batch_size)
        items = _placeholder(rows, "int64"), _placeholder(rows, plan.dtype)
        given = self._state, feed.data, items
        if self._captured:
            found = _measured(self._backend.loop_bytes, step, *given, plan.n_steps)
        else:
            found = _measured(live_bytes.of_loop, step, *given)
        return self._with_slices(found, items)

    def evaluation(self, n_rows: int) -> Bytes:
        """Estimate the evaluation of `n_rows` rows, or of one chunk if they are more."""
        n_rows = min(chunk_rows(self._plan.network.sizes[0]), n_rows)
        if not n_rows:
            return Bytes(0, 0, 0)
        sums = Evaluation(self._host, self._plan.network, self._placement).sums
        chunk = [_placeholder((n_rows, *part.shape[1:]), part.dtype) for part in self._feed.data]
        return self._with_slices(_measured(self._backend.function_bytes, sums, self._state.params, *chunk), chunk)

    def _with_slices(self, found: Bytes, slices: Iterable[Any]) -> Bytes:
        """Add the slices of larger arrays that a call is given, if they are copies."""
        more = 0 if self._backend.slices_are_views else total(slices)
        return found._replace(call=found.call + more, first=found.first + more)


def _measured(measure: Callable[..., Bytes], *given: Any) -> Bytes:
    try:
        return measure(*given)
    except Exception:
        # A user's function may do what arrays without values do not support. It can still run.
        return Bytes(0, 0, 0)


def _placeholder(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of this shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def check_host(sizes: Sequence[int], hidden: str = "--hidden") -> None:
    """Refuse a network whose initial parameters, float64 on the host, do not fit into memory.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, from the inputs to the outputs.
    hidden : str
        What the user sets the hidden layers with.

    Raises
    ------
    InputError
        If they do not fit; the message says how much is needed.
    """
    n_params, free = count(sizes), available_memory()
    if free is not None and 8 * n_params > free:
        raise InputError(
            f"the network has {n_params:,} parameters, whose drawing takes {size(8 * n_params)} of the host's memory, "
            f"which has {size(free)} free; lower {hidden}"
        )


def check(
    backend: Backend,
    plan: Plan,
    train: Rows,
    watched: Mapping[str, Rows] | None = None,
    rollbacks: int | None = None,
    *,
    batch_size: str = "--batch-size",
    hidden: str = "--hidden",
) -> Need:
    """Estimate the memory of a run, and refuse one that cannot fit even if its rows are streamed.

    Parameters
    ----------
    backend, plan, train, watched, rollbacks
        See `predict`.
    batch_size, hidden : str
        What the user sets these with.

    Raises
    ------
    InputError
        If the run cannot fit. The message says how much memory each part needs, and which setting to lower.
    """
    need = predict(backend, plan, train, watched, rollbacks)
    own = backend.free_memory()
    free = available_memory() if own is None else own
    fraction = REFUSED_BELOW_WITH_NUMPY if backend.name == "numpy" else REFUSED_BELOW
    if free is None or need.beside * fraction <= free:
        return need

    def of(n_rows: int) -> int:
        smaller = dataclasses.replace(plan, batch_size=n_rows, steps_per_epoch=-(-len(train) // n_rows))
        return predict(backend, smaller, train, watched, rollbacks).beside

    fitting = bisect_right(range(1, plan.batch_size), free, key=of)
    advice = f"lower {batch_size} to {fitting:,} or less, or {hidden}" if fitting else f"lower {hidden}"
    left = left_of_memory(backend.device, free)
    others = f"{FULL.todo}, or " if left else ""
    raise InputError(
        f"the run needs about {size(need.beside)} on {backend.device}, which has {left or f'{size(free)} free'}: "
        f"{parts(plan, need)}; {others}{advice}"
    )


def size(n_bytes: float) -> str:
    """Format a number of bytes."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"


def parts(plan: Plan, need: Need) -> str:
    """Say what needs how much memory."""
    return (
        f"{size(need.model)} for weights and {plan.recipe.optimizer.update.__name__}, {size(need.steps)} for steps of "
        f"{counted(plan.batch_size, 'row')}, {size(need.evaluation)} for evaluation"
    )
