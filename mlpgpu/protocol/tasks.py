"""scikit-learn's own callbacks: each epoch is a task of the fit, so that its progress bar nests in a grid search."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks import Callback

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:
    # scikit-learn has them from 1.9 on.
    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """The method as it is."""
        return method


if TYPE_CHECKING:
    from mlpgpu.trainer import Record, Run

__all__ = ["CallbackSupportMixin", "Tasks", "has_callbacks", "with_callbacks"]


def has_callbacks(estimator: Any) -> bool:
    """Whether somebody listens: callbacks that were set on the estimator, or on what it is a part of."""
    return hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")


class Tasks(Callback):
    """Tells scikit-learn's callbacks of the fit and of each of its epochs.

    Parameters
    ----------
    estimator : estimator
    x, y : array
        What it is fitted on.
    sample_weight : array or None
    fitted : callable
        ``fitted(run)`` -> the attributes that make a copy of the estimator ready to predict.
    """

    def __init__(
        self, estimator: Any, x: Any, y: Any, sample_weight: Any, fitted: Callable[[Run], dict[str, Any]]
    ) -> None:
        self.estimator, self.fitted = estimator, fitted
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.of_task = {"estimator": estimator, "X": x, "y": y, "metadata": metadata}

    def on_begin(self, run: Run) -> None:
        """Begin the fit."""
        self.whole = self.estimator._init_callback_context(max_subtasks=run.plan.epochs)
        self.whole.call_on_fit_task_begin(**self.of_task)
        self.epoch: Any = None

    def on_epoch_begin(self, run: Run) -> None:
        """Begin the epoch."""
        self.epoch = self.whole.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.of_task)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """End the epoch, and the run where a callback wishes so."""
        wish = self.epoch.call_on_fit_task_end(**self.of_task, reconstruction_attributes=lambda: self.fitted(run))
        self.epoch = None
        if wish:
            run.stop("a callback")

    def on_end(self, run: Run) -> None:
        """End the epoch under way, if there is one, and the fit."""
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(estimator=self.estimator)
        self.whole.call_on_fit_task_end(
            **self.of_task, reconstruction_attributes=(lambda: self.fitted(run)) if run.history else None
        )
