"""How much memory a run takes on its device, known before it starts, and what to lower where that is too much.

A run is rehearsed on arrays without values, whose bytes are counted: its step and the evaluation of a chunk of rows, as
the backend will run them. What libraries take for themselves (a CUDA context, the code of kernels, what a pool keeps
back) is not in it.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends import live_bytes
from mlpgpu.backends.base import is_out_of_memory
from mlpgpu.backends.cuda_devices import left_of_memory
from mlpgpu.backends.cuda_failures import FULL
from mlpgpu.backends.live_bytes import Bytes, in_pieces, total
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.data.mapped import Mapped
from mlpgpu.errors import InputError, one_line
from mlpgpu.evaluation import Evaluation
from mlpgpu.feed import SMALL_INTEGERS, Placement, Resident, Rows, Scaled, Unscaled, chunk_rows, is_sparse
from mlpgpu.machine import available_memory
from mlpgpu.maths.parameters import count
from mlpgpu.maths.step import State
from mlpgpu.training import is_captured, make_step, steps_per_call

if TYPE_CHECKING:
    from mlpgpu.backends import Backend
    from mlpgpu.plan import Plan

# Less than this part of what is predicted surely is too little: on a GPU, and on the host, where NumPy writes over what
# others make anew, and predictions lie up to 1.5 times above what is taken.
SURE, SURE_ON_HOST = 0.9, 1 / 1.5


@dataclass(frozen=True)
class Need:
    """Bytes on the device.

    Attributes
    ----------
    data : int
        All rows, where they stay there.
    model : int
        Parameters and what the optimizer keeps, both also as before the epoch where a run may go back, and the best
        parameters.
    steps : int
        What steps work in, beside the model.
    evaluation : int
        What a chunk of rows that is evaluated takes.
    beside : int
        The most that is there at once, beside the data.
    """

    data: int
    model: int
    steps: int
    evaluation: int
    beside: int

    @property
    def total(self) -> int:
        """The most that is there at once, with the data."""
        return self.data + self.beside


def predict(
    backend: Backend, plan: Plan, train: Rows, watched: Mapping[str, Rows] | None = None, rollbacks: int | None = None
) -> Need:
    """What a run needs, in bytes.

    Parameters
    ----------
    backend : Backend
        Which is asked how it would run, and does nothing yet.
    plan, train, watched, rollbacks
        As `mlpgpu.trainer.fit` takes them; of all rows, number and types are looked at.
    """
    watched = watched or {}
    rehearsal = _Rehearsal(backend, plan, train)
    loop, evaluation = rehearsal.loop(), rehearsal.evaluation(max(map(len, watched.values()), default=0))
    state = rehearsal.state_bytes
    params = rehearsal.param_bytes
    before = state if rollbacks else 0
    best = params if "validation" in watched else 0
    # The order of an epoch and which of its rows are no padding.
    order = rehearsal.order_bytes
    orders = 2 * order if plan.draws_ahead and backend.device != "cpu" else order
    model, kept = state + before + best, loop.kept + evaluation.kept
    rows = {id(each): each for each in (train, *watched.values())}.values()
    return Need(
        data=sum(rehearsal.placed(each) for each in rows),
        model=model,
        steps=loop.kept + max(loop.call, loop.first) + orders,
        evaluation=evaluation.kept + evaluation.call,
        beside=max(
            # In the first call there is no best yet, and what evaluates only where the start was measured.
            state + before + loop.kept + loop.first + order + (0 if rollbacks is None else evaluation.kept),
            model + kept + loop.call + orders,
            model + kept + evaluation.call + order,
            # The new one is copied while the old one is still there: the best parameters, and a state to go back to.
            model + kept + order + max(best, before),
        ),
    )


class _Rehearsal:
    """A run on NumPy's namespace, with arrays that only have shapes and types."""

    def __init__(self, backend: Backend, plan: Plan, train: Rows) -> None:
        self._backend, self._plan, network = backend, plan, plan.network
        self._captured = is_captured(plan)
        # Where steps run line by line, rounded operands are arrays too.
        self._host = host = NumpyBackend("float32" if self._captured else plan.precision)
        kind = train.x.dtype if train.x.dtype in SMALL_INTEGERS else plan.dtype
        self._placement: Placement = Unscaled(host, plan.dtype)
        if kind != plan.dtype:
            self._placement = Scaled(host, np.array(1.0), np.array(2.0), plan.dtype)
        row = Rows(np.zeros((1, network.sizes[0]), kind), train.targets[:1])
        self._feed = Resident(host, row, self._placement)
        params = _of((count(network.sizes, network.normalized),), plan.dtype)
        slots = (params,) * plan.recipe.optimizer.n_slots
        self._state = State(params, slots, _of((), "int32"), _of((), plan.dtype))
        self.state_bytes, self.param_bytes = total((params, *slots)), in_pieces(params)
        whole = (plan.steps_per_epoch, plan.batch_size)
        self.order_bytes = total((_of(whole, "int64"), _of(whole, plan.dtype)))

    def placed(self, rows: Rows) -> int:
        """Bytes of rows on the device; none of those that are streamed in any case."""
        if is_sparse(rows.x) or isinstance(rows.x, Mapped):
            return 0
        return total(_of((len(rows), *part.shape[1:]), part.dtype) for part in self._feed.data)

    def loop(self) -> Bytes:
        """Of the loop of steps."""
        plan, feed = self._plan, self._feed
        step = make_step(self._host, plan, feed, self._placement, np.dtype(plan.dtype))
        rows = (min(steps_per_call(self._backend, plan), plan.steps_per_epoch), plan.batch_size)
        given = self._state, feed.data, (_of(rows, "int64"), _of(rows, plan.dtype))
        if not self._captured:
            return _known(live_bytes.of_loop, step, *given)
        return _known(self._backend.loop_bytes, step, *given, plan.n_steps)

    def evaluation(self, n_rows: int) -> Bytes:
        """Of a chunk of as many rows, or of as many as are evaluated at once."""
        n_rows = min(chunk_rows(self._plan.network.sizes[0]), n_rows)
        if not n_rows:
            return Bytes(0, 0, 0)
        sums = Evaluation(self._host, self._plan.network, self._placement).sums
        chunk = (_of((n_rows, *part.shape[1:]), part.dtype) for part in self._feed.data)
        return _known(self._backend.function_bytes, sums, self._state.params, *chunk)


def _known(measure: Callable[..., Bytes], *given: Any) -> Bytes:
    try:
        return measure(*given)
    except Exception:
        # A function of the user may do what arrays without values cannot. It runs all the same.
        return Bytes(0, 0, 0)


def _of(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of this shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def check_host(sizes: Sequence[int]) -> None:
    """Refuse a network whose parameters cannot be drawn, which is done on the host and in float64.

    Raises
    ------
    InputError
        It says how much is needed.
    """
    n_params, free = count(sizes), available_memory()
    if free is not None and 8 * n_params > free:
        raise InputError(
            f"the network has {n_params:,} parameters, whose drawing takes {size(8 * n_params)} of the host's memory, "
            f"which has {size(free)} free; lower --hidden"
        )


def check(
    backend: Backend, plan: Plan, train: Rows, watched: Mapping[str, Rows] | None = None, rollbacks: int | None = None
) -> Need:
    """What a run needs; one that cannot fit, however its rows reach the device, is refused.

    Parameters
    ----------
    backend, plan, train, watched, rollbacks
        See `predict`.

    Raises
    ------
    InputError
        It says how much is needed for what, and which setting to lower.
    """
    need = predict(backend, plan, train, watched, rollbacks)
    own = backend.free_memory()
    sure, free = (SURE_ON_HOST, available_memory()) if own is None else (SURE, own)
    if free is None or need.beside * sure <= free:
        return need

    def of(batch_size: int) -> int:
        smaller = dataclasses.replace(plan, batch_size=batch_size, steps_per_epoch=-(-len(train) // batch_size))
        return predict(backend, smaller, train, watched, rollbacks).beside

    fitting = bisect_right(range(1, plan.batch_size), free, key=of)
    advice = f"lower --batch-size to {fitting:,} or less, or --hidden" if fitting else "lower --hidden"
    left = left_of_memory(backend.device, free)
    others = f"{FULL.todo}, or " if left else ""
    raise InputError(
        f"the run needs about {size(need.beside)} on {backend.device}, which has {left or f'{size(free)} free'}: "
        f"{_parts(plan, need)}; {others}{advice}"
    )


@contextmanager
def explained(backend: Backend, plan: Plan, need: Need) -> Iterator[None]:
    """Within it, an error of the backend for want of memory becomes one that says what is needed for what.

    Raises
    ------
    InputError
        In place of that error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(backend, error):
            raise
        left = left_of_memory(backend.device)
        said = ", ".join(filter(None, (one_line(error)[:120], left)))
        advice = "lower --batch-size or --hidden" if need.steps > max(need.model, need.evaluation) else "lower --hidden"
        raise InputError(
            f"out of memory on {backend.device}{f' ({said})' if said else ''}: the run needs about "
            f"{size(need.beside)} beside the data: {_parts(plan, need)}; {advice}"
        ) from error


def size(n_bytes: float) -> str:
    """A number of bytes in words."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"


def _parts(plan: Plan, need: Need) -> str:
    return (
        f"{size(need.model)} for weights and {plan.recipe.optimizer.update.__name__}, {size(need.steps)} for steps of "
        f"{plan.batch_size:,} rows, {size(need.evaluation)} for evaluation"
    )
