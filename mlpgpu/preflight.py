"""How much memory a run takes on its device, known before it starts, and what to lower where that is too much.

Predicted is the most that is there at once where steps run line by line, as on CuPy and PyTorch. What libraries take
for themselves (a CUDA context, the work space of BLAS, what an allocator keeps back) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu.backends.base import is_out_of_memory
from mlpgpu.backends.cuda_devices import left_of_memory
from mlpgpu.backends.cuda_failures import FULL
from mlpgpu.errors import InputError, one_line
from mlpgpu.feed import chunk_rows
from mlpgpu.machine import available_memory
from mlpgpu.maths.parameters import count

if TYPE_CHECKING:
    from mlpgpu.backends import Backend
    from mlpgpu.plan import Plan

# Predictions lie from 0.9 to 1.4 times what was measured: less than this part of one surely is too much.
SURE = 1 / 1.5


@dataclass(frozen=True)
class Need:
    """Bytes on the device beside the data.

    Attributes
    ----------
    model : int
        Parameters and what the optimizer keeps, both also as before the epoch, and the best parameters, old and new.
    update : int
        What an update makes.
    row : int
        What a step makes for each row.
    step : int
        What a step makes for its batch, with the gradient in pieces and joined.
    evaluation : int
        What a chunk of rows that is evaluated takes.
    """

    model: int
    update: int
    row: int
    step: int
    evaluation: int

    @property
    def total(self) -> int:
        """The most that is there at once."""
        return self.model + max(self.update, self.step, self.evaluation)


def predict(plan: Plan) -> Need:
    """What a run of `plan` needs, in bytes."""
    sizes, recipe, itemsize = plan.network.sizes, plan.recipe, np.dtype(plan.dtype).itemsize
    params = count(sizes) * itemsize
    # Inputs as they come and scaled; of each layer what goes into the activation and what comes out.
    forward = itemsize * (2 * sizes[0] + 2 * sum(sizes[1:]))
    # The mask of a layer's inputs and what it leaves of them; its counters are two to a 32-bit hash.
    masked = sum((2 * itemsize + 2) * width for width, rate in zip(sizes, plan.dropout, strict=False) if rate)
    # The way back has the gradients before and behind an activation, and its derivative.
    row = forward + masked + 3 * itemsize * max(sizes[1:])
    slots = recipe.optimizer.n_slots
    # The gradient, new parameters and slots, three operands of the rule; and what decay and clipping leave.
    made = 1 + 1 + slots + 3 + bool(recipe.weight_decay) + (recipe.clip_norm is not None)
    return Need(
        model=params * (2 * (1 + slots) + 2),
        update=params * made,
        row=row,
        step=row * plan.batch_size + 2 * params,
        evaluation=forward * min(chunk_rows(sizes[0]), plan.steps_per_epoch * plan.batch_size),
    )


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


def check(backend: Backend, plan: Plan) -> None:
    """Refuse a run that cannot fit, however its rows reach the device.

    Raises
    ------
    InputError
        It says how much is needed for what, and which setting to lower.
    """
    free = backend.free_memory()
    free = available_memory() if free is None else free
    need = predict(plan)
    if free is not None and need.total * SURE > free:
        left = left_of_memory(backend.device, free)
        others = f"{FULL.todo}, or " if left else ""
        raise InputError(
            f"the run needs about {size(need.total)} on {backend.device}, which has {left or f'{size(free)} free'}: "
            f"{_parts(plan, need)}; {others}{_advice(plan, need, free)}"
        )


@contextmanager
def explained(backend: Backend, plan: Plan) -> Iterator[None]:
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
        need, left = predict(plan), left_of_memory(backend.device)
        said = f"{one_line(error)[:120]}, {left}".removesuffix(", ")
        raise InputError(
            f"out of memory on {backend.device} ({said}): the run needs about {size(need.total)} "
            f"beside the data: {_parts(plan, need)}; {_advice(plan, need, 0)}"
        ) from error


def size(n_bytes: float) -> str:
    """A number of bytes in words."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"


def _parts(plan: Plan, need: Need) -> str:
    return (
        f"{size(need.model)} for weights and {plan.recipe.optimizer.update.__name__}, {size(need.update)} for an "
        f"update, {size(need.step)} for a step of {plan.batch_size:,} rows, {size(need.evaluation)} for evaluation"
    )


def _advice(plan: Plan, need: Need, free: int) -> str:
    """Which setting to lower, and to how much where that is known."""
    rows = (free - need.model - need.step + need.row * plan.batch_size) // need.row
    if need.step < max(need.update, need.evaluation) or (free and rows < 1):
        return "lower --hidden"
    return f"lower --batch-size to {rows:,} or less, or --hidden" if free else "lower --batch-size or --hidden"
