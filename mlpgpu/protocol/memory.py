"""Refuse a fit that does not fit into memory before it begins; a machine that swaps would be lost to its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlpgpu.maths.parameters import count
from mlpgpu.training import preflight

if TYPE_CHECKING:
    from mlpgpu.backends import Backend
    from mlpgpu.training.feed import Rows
    from mlpgpu.training.plan import Plan
    from mlpgpu.training.preflight import Need

# A fit of fewer parameters and activations is not checked: that would take longer than its steps.
LARGE = 20_000_000


def check_drawing(sizes: Sequence[int]) -> None:
    """Refuse a network whose initial parameters do not fit into memory.

    Raises
    ------
    InputError
    """
    if count(sizes) > LARGE:
        preflight.check_host(sizes, "hidden_layer_sizes")


def check_steps(backend: Backend, plan: Plan, train: Rows, watched: Mapping[str, Rows]) -> Need | None:
    """Refuse a fit whose steps do not fit into memory; return the estimate, or None for a small fit.

    Raises
    ------
    InputError
    """
    sizes = plan.network.sizes
    if count(sizes) + plan.batch_size * sum(sizes) <= LARGE:
        return None
    return preflight.check(backend, plan, train, watched, batch_size="batch_size", hidden="hidden_layer_sizes")
